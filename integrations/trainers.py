"""What every training algorithm of ``daytwo train`` is made of, and the table of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from daytwo.agent import Agent
from daytwo.course import Course
from daytwo.loading import load


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An environment's keyword arguments as JSON can hold them.

    Raises:
        ValueError: it cannot hold them.
    """
    plain = {
        key: {"course": value.to_dict()} if isinstance(value, Course) else value for key, value in settings.items()
    }
    try:
        return json.loads(json.dumps(plain))
    except TypeError as error:
        raise ValueError(f"Settings of a run must be plain values, received {dict(settings)!r}: {error}.") from None


class Trainer(Protocol):
    """One training run in memory, advanced one update at a time; between two updates it can be saved and put back.

    Attributes:
        steps: environment steps (or steps of recorded lifetimes) trained on so far.
    """

    steps: int

    def advance(self) -> dict[str, float]:
        """One update; returns figures for the log: ``train/...``, and ``adaptation/episode_001``... where known."""

    def agent(self) -> Agent:
        """The present policy as an agent."""

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights that the agent acts with: ``policy.safetensors``."""

    def describe(self) -> dict[str, Any]:
        """Its parts of ``config.json``: at least ``agent`` (the checkpoint's kind), ``interface`` and ``policy``."""

    def state(self) -> dict[str, Any]:
        """All that is needed to go on exactly: nested dicts of tensors, arrays and plain values."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, in a run made with the same arguments."""

    def close(self) -> None:
        """Free what is held."""


@dataclass(frozen=True)
class Algorithm:
    """One entry of `ALGORITHMS`.

    Attributes:
        config: ``"module:Class"`` of its settings, a frozen dataclass with a sentence per field.
        factory: ``"module:function"``: ``make(env_id, *, config, settings, steps, num_envs, seed, device)`` gives a
            `Trainer`.
        summary: what it is, in a line.
        teachable: whether a teacher can choose the tasks it trains on: the factory then takes ``teacher``, as
            `daytwo.integrations.stable_baselines3.LifetimeVecEnv` does.
    """

    config: str
    factory: str
    summary: str
    teachable: bool = True

    def config_class(self) -> Any:
        """The class of its settings."""
        return load(self.config)

    def make(self, env_id: str, **options: Any) -> Trainer:
        """A run of it."""
        return load(self.factory)(env_id, **options)


ALGORITHMS: dict[str, Algorithm] = {
    "rl2": Algorithm(
        "daytwo.integrations.training_config:RL2Config",
        "daytwo.integrations.rl2_trainer:make",
        "recurrent PPO (GRU) over whole lifetimes: learns to learn",
    ),
    "recurrent-ppo": Algorithm(
        "daytwo.integrations.training_config:RecurrentPPOConfig",
        "daytwo.integrations.stable_baselines3_trainers:make_recurrent_ppo",
        "sb3-contrib's recurrent PPO (LSTM)",
    ),
    "ppo": Algorithm(
        "daytwo.integrations.training_config:PPOConfig",
        "daytwo.integrations.stable_baselines3_trainers:make_ppo",
        "Stable-Baselines3's PPO without a memory: the control",
    ),
    "ppo-statistics": Algorithm(
        "daytwo.integrations.training_config:PPOConfig",
        "daytwo.integrations.stable_baselines3_trainers:make_ppo_statistics",
        "PPO that sees a hand-made summary of the lifetime",
    ),
    "dpt": Algorithm(
        "daytwo.integrations.in_context:DPTConfig",
        "daytwo.integrations.in_context:make_dpt",
        "transformer that predicts the oracle's action from context (privileged labels)",
        teachable=False,
    ),
    "ad": Algorithm(
        "daytwo.integrations.in_context:ADConfig",
        "daytwo.integrations.in_context:make_ad",
        "transformer that predicts a learner's next action over its history",
        teachable=False,
    ),
}
