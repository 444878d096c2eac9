"""``daytwo train`` with Stable-Baselines3's PPO and sb3-contrib's recurrent PPO.

Three trainers (`daytwo.integrations.trainers.Trainer`): PPO without a memory, PPO that sees a hand-made summary of the
lifetime (`daytwo.summary`), and recurrent PPO with an LSTM.
"""

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor

from daytwo.agent import LifetimeSpec
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv, training_seeds
from daytwo.integrations.training_config import PPOConfig, RecurrentPPOConfig
from daytwo.loading import load
from daytwo.networks import CHECKPOINT_KIND, describe_interface
from daytwo.summary import Summary

# Steps per update that the default number of lanes aims at, and the longest rollout per lane that is chosen unasked.
TARGET_ROLLOUT = 6400
LONGEST_ROLLOUT = 1024
# The parts of a policy that act, by the beginnings of their names.
ACTING = ("lstm_actor.", "mlp_extractor.policy_net.", "action_net.", "log_std")


class LifetimeLstmPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's LSTM policy, several times faster on whole lifetimes, with the same results.

    sb3-contrib runs the LSTM step by step in Python as soon as a lifetime begins anywhere in a batch. Its sequences are
    cut where lifetimes begin, so that this can only be at a sequence's first step: clear the state there, and run
    the whole sequence in one call.
    """

    @staticmethod
    def _process_sequence(  # type: ignore[override]  # the parent's annotation lacks the pair that it returns
        features: torch.Tensor,
        lstm_states: tuple[torch.Tensor, torch.Tensor],
        episode_starts: torch.Tensor,
        lstm: torch.nn.LSTM,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        sequences = lstm_states[0].shape[1]
        starts = episode_starts.reshape(sequences, -1)
        if bool((starts[:, 1:] != 0.0).any()):
            slow: Any = RecurrentActorCriticPolicy._process_sequence
            return slow(features, lstm_states, episode_starts, lstm)
        kept = (1.0 - starts[:, 0]).view(1, sequences, 1)
        steps = features.reshape(sequences, -1, lstm.input_size).swapaxes(0, 1)
        output, states = lstm(steps, (kept * lstm_states[0], kept * lstm_states[1]))
        return torch.flatten(output.transpose(0, 1), start_dim=0, end_dim=1), states


class SummaryVecEnv(VecEnvWrapper):
    """A `LifetimeVecEnv` (or a wrapper of one) whose observations end with a summary of the lifetime so far.

    The ``terminal_observation`` in ``infos`` stays without it: lifetimes are never truncated, so nothing uses it.

    Attributes:
        summary: the `daytwo.summary.Summary` that is kept.
    """

    def __init__(self, venv: VecEnv, spec: LifetimeSpec) -> None:
        """Wrap lifetimes.

        Args:
            venv: the lifetimes, with flat observations.
            spec: what is known about them.

        Raises:
            ValueError: the observation does not show what the summary is made from.
        """
        self.summary = Summary(spec, venv.num_envs)
        space = spec.observation_space
        unbounded = np.full(self.summary.size, np.inf, dtype=np.float32)
        low, high = np.concatenate([space.low, -unbounded]), np.concatenate([space.high, unbounded])
        super().__init__(venv, observation_space=gymnasium.spaces.Box(low, high, dtype=np.float32))

    def _extended(self, observations: Any, fresh: np.ndarray) -> np.ndarray:
        return np.concatenate([observations, self.summary.update(observations, fresh)], axis=1)

    def reset(self) -> np.ndarray:
        """Begin lifetimes, and their summaries."""
        return self._extended(self.venv.reset(), np.ones(self.num_envs, dtype=np.bool_))

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One step; where a lifetime ended, the summary is that of the next one."""
        observations, rewards, dones, infos = self.venv.step_wait()
        return self._extended(observations, dones), rewards, dones, infos


class _Watch(BaseCallback):
    """Mean normalised return by inner episode, and mean reward of whole lifetimes, between two updates."""

    def __init__(self, episodes: int) -> None:
        super().__init__()
        self.sums, self.counts = np.zeros(episodes), np.zeros(episodes)
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if info:
                if "episode_index" in info:
                    self.sums[info["episode_index"]] += info["episode_normalized_return"]
                    self.counts[info["episode_index"]] += 1
                if "episode" in info:
                    self.returns.append(info["episode"]["r"])
        return True

    def take(self) -> dict[str, float]:
        """The figures since the last call."""
        seen = np.flatnonzero(self.counts)
        figures = {f"adaptation/episode_{k + 1:03d}": float(self.sums[k] / self.counts[k]) for k in seen}
        if self.returns:
            figures["lifetime/return"] = float(np.mean(self.returns))
        self.sums[:], self.counts[:] = 0.0, 0.0
        self.returns.clear()
        return figures


def rollout_steps(spec: LifetimeSpec, config: PPOConfig) -> int:
    """Steps per lane and update: those asked for, or the whole lifetime, up to 1024."""
    return config.rollout_steps or min(spec.steps, LONGEST_ROLLOUT)


def default_num_envs(spec: LifetimeSpec, config: PPOConfig) -> int:
    """Lanes such that one update sees about 6400 steps: a multiple of the minibatch, 16 to 256 of them."""
    lanes = min(256, max(16, TARGET_ROLLOUT // rollout_steps(spec, config)))
    return max(1, round(lanes / config.lifetimes_per_batch)) * config.lifetimes_per_batch


class _Globals:
    """The global generators of torch, NumPy and Python, which Stable-Baselines3 draws from, owned by one run."""

    def __init__(self, device: str) -> None:
        self._cuda = torch.device(device) if str(device).startswith("cuda") else None
        self._own: tuple[Any, ...] | None = None

    def _read(self) -> tuple[Any, ...]:
        cuda = None if self._cuda is None else torch.cuda.get_rng_state(self._cuda)
        return torch.get_rng_state(), np.random.get_state(), random.getstate(), cuda  # noqa: NPY002

    def _write(self, states: tuple[Any, ...]) -> None:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        if self._cuda is not None:
            torch.cuda.set_rng_state(states[3], self._cuda)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Where the generators are this run's; outside they are as they would be without it."""
        outside = self._read()
        if self._own is not None:
            self._write(self._own)
        try:
            yield
        finally:
            self._own = self._read()
            self._write(outside)

    def state(self) -> dict[str, Any]:
        """What `load` takes; without Python's own generator, from which nothing in training draws."""
        assert self._own is not None
        torch_state, numpy_state, _, cuda = self._own
        name, keys, at, has_gauss, gauss = numpy_state
        numpy_state = {"name": str(name), "keys": np.array(keys), "at": int(at), "has": int(has_gauss)}
        return {"torch": torch_state.clone(), "numpy": {**numpy_state, "gauss": float(gauss)}, "cuda": cuda}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        assert self._own is not None
        told = state["numpy"]
        numpy_state = (told["name"], np.array(told["keys"]), told["at"], told["has"], told["gauss"])
        self._own = (state["torch"], numpy_state, self._own[2], state["cuda"])


class StableBaselines3Trainer:
    """A training run of PPO or recurrent PPO (see `daytwo.integrations.trainers.Trainer`).

    Attributes:
        model: the Stable-Baselines3 model.
        lifetimes: the environment at the bottom.
    """

    def __init__(
        self,
        algorithm: str,
        env_id: str,
        *,
        config: PPOConfig,
        settings: Mapping[str, Any],
        steps: int,
        num_envs: int | None = None,
        seed: int = 0,
        device: str = "cpu",
        teacher: Any = None,
    ) -> None:
        """Prepare a run.

        Args:
            algorithm: ``ppo``, ``ppo-statistics`` or ``recurrent-ppo``.
            env_id: an environment's id.
            config: how to train.
            settings: keyword arguments of the environment.
            steps: environment steps of the whole run; the schedules end there.
            num_envs: lanes; by default such that one update sees about 6400 steps.
            seed: of weights, lifetimes and actions.
            device: ``cpu`` or ``cuda``.
            teacher: who chooses what is lived, as `LifetimeVecEnv` takes it.

        Raises:
            ValueError: an argument is unknown or out of range.
        """
        self.algorithm, self.config, self.total, self.seed = algorithm, config, int(steps), int(seed)
        if num_envs is None:
            probe = LifetimeVecEnv(env_id, 1, **settings)
            num_envs = default_num_envs(probe.env.lifetime_spec, config)
            probe.close()
        self.lifetimes = LifetimeVecEnv(env_id, int(num_envs), teacher=teacher, **settings)
        self.spec = self.lifetimes.env.lifetime_spec
        self.rollout_steps = rollout_steps(self.spec, config)
        self.monitor = VecMonitor(self.lifetimes)
        self.summary: Summary | None = None
        env: VecEnv = self.monitor
        if algorithm == "ppo-statistics":
            env = SummaryVecEnv(self.monitor, self.spec)
            self.summary = env.summary
        self.globals = _Globals(device)
        self.watch = _Watch(self.spec.course.episodes)
        self.lifetimes.seed_lanes(training_seeds(self.seed, int(num_envs)))
        with self.globals.held():
            self.model: Any = self._make_model(env, device)
            _, self.callback = self.model._setup_learn(self.total, self.watch)

    def _make_model(self, env: VecEnv, device: str) -> Any:
        config = self.config
        policy: dict[str, Any] = {
            "net_arch": {"pi": list(config.policy_layers), "vf": list(config.value_layers)},
            "activation_fn": {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[config.activation],
            "optimizer_kwargs": {"eps": 1e-5},
        }
        if isinstance(config, RecurrentPPOConfig):
            policy |= {"lstm_hidden_size": config.hidden_size, "shared_lstm": True, "enable_critic_lstm": False}
        common: dict[str, Any] = {
            "n_steps": self.rollout_steps,
            "batch_size": self.rollout_steps * min(config.lifetimes_per_batch, env.num_envs),
            "n_epochs": config.epochs,
            "learning_rate": self._learning_rate,
            "gamma": config.discount,
            "gae_lambda": config.gae_lambda,
            "clip_range": config.clip_range,
            "ent_coef": config.entropy,
            "vf_coef": config.value,
            "max_grad_norm": config.gradient_clip,
            # NumPy's global generator, which Stable-Baselines3 shuffles with, takes 32 bits.
            "seed": training_seeds(self.seed, 1)[0] & 0x7FFFFFFF,
            "device": device,
            "policy_kwargs": policy,
        }
        if not isinstance(config, RecurrentPPOConfig):
            return PPO(ActorCriticPolicy, env, **common)
        model = RecurrentPPO(LifetimeLstmPolicy, env, **common)
        with torch.no_grad():
            network: Any = model.policy
            for name, bias in network.lstm_actor.named_parameters():
                if name.startswith("bias_ih"):
                    bias[config.hidden_size : 2 * config.hidden_size] += config.forget_bias
        return model

    def _learning_rate(self, remaining: float) -> float:
        final = self.config.final_learning_rate
        return self.config.learning_rate * (final + (1.0 - final) * min(1.0, max(0.0, remaining)))

    @property
    def steps(self) -> int:
        """Environment steps done."""
        return int(self.model.num_timesteps)

    def advance(self) -> dict[str, float]:
        """One rollout and one update; returns what to log."""
        model = self.model
        with self.globals.held():
            model.collect_rollouts(model.env, self.callback, model.rollout_buffer, self.rollout_steps)
            model._update_current_progress_remaining(model.num_timesteps, self.total)
            remaining = 1.0 - model.num_timesteps / self.total
            model.ent_coef = self.config.entropy * min(1.0, max(0.0, (remaining - 0.2) / 0.8))
            model.train()
        told = {name: float(value) for name, value in model.logger.name_to_value.items() if name[:6] == "train/"}
        told["train/entropy_weight"] = model.ent_coef
        return {**self.watch.take(), **self.lifetimes.teacher_figures(), **told}

    def agent(self) -> Any:
        """The present policy as an agent."""
        return load("daytwo.baselines.trained:TrainedAgent").from_parts(self.describe(), self.tensors())

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights that the agent acts with."""
        return {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in self.model.policy.state_dict().items()
            if name.startswith(ACTING)
        }

    def describe(self) -> dict[str, Any]:
        """The parts of ``config.json`` that say what the agent is."""
        config, recurrent = self.config, isinstance(self.config, RecurrentPPOConfig)
        return {
            "agent": CHECKPOINT_KIND,
            "algorithm": self.algorithm,
            "interface": describe_interface(self.spec),
            "policy": {
                "activation": config.activation,
                "policy_layers": list(config.policy_layers),
                "hidden_size": config.hidden_size if isinstance(config, RecurrentPPOConfig) else None,
                "memory": "lstm" if recurrent else None,
                "summary": self.summary is not None,
                "inputs": self.spec.layout.size + (0 if self.summary is None else self.summary.size),
                "parameters": sum(tensor.size for tensor in self.tensors().values()),
            },
            "rollout_steps": self.rollout_steps,
            "num_envs": self.lifetimes.num_envs,
            "privileged": False,
        }

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on exactly."""
        model, monitor = self.model, self.monitor
        state: dict[str, Any] = {
            "policy": model.policy.state_dict(),
            "optimizer": model.policy.optimizer.state_dict(),
            "environment": self.lifetimes.env.snapshot(),
            "monitor": {
                "returns": monitor.episode_returns.copy(),
                "lengths": monitor.episode_lengths.copy(),
                "count": int(monitor.episode_count),
            },
            "observations": np.array(model._last_obs),
            "starts": np.array(model._last_episode_starts),
            "generators": self.globals.state(),
            "steps": int(model.num_timesteps),
            "updates": int(model._n_updates),
        }
        if self.summary is not None:
            state["summary"] = self.summary.snapshot()
        if isinstance(self.config, RecurrentPPOConfig):
            pairs = model._last_lstm_states
            state["hidden"] = {"pi": list(pairs.pi), "vf": list(pairs.vf)}
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        model, monitor = self.model, self.monitor
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        self.lifetimes.env.restore(state["environment"])
        monitor.episode_returns = np.array(state["monitor"]["returns"])
        monitor.episode_lengths = np.array(state["monitor"]["lengths"])
        monitor.episode_count = int(state["monitor"]["count"])
        model._last_obs = np.array(state["observations"])
        model._last_episode_starts = np.array(state["starts"])
        self.globals.load(state["generators"])
        model.num_timesteps, model._n_updates = int(state["steps"]), int(state["updates"])
        model._update_current_progress_remaining(model.num_timesteps, self.total)
        if self.summary is not None:
            self.summary.restore(state["summary"])
        if isinstance(self.config, RecurrentPPOConfig):
            pairs = [tuple(part.to(model.device) for part in state["hidden"][key]) for key in ("pi", "vf")]
            model._last_lstm_states = RNNStates(*pairs)

    def close(self) -> None:
        """Close the environment."""
        self.lifetimes.close()


def make_ppo(env_id: str, **options: Any) -> StableBaselines3Trainer:
    """A training run of PPO without a memory; see `StableBaselines3Trainer`."""
    return StableBaselines3Trainer("ppo", env_id, **options)


def make_ppo_statistics(env_id: str, **options: Any) -> StableBaselines3Trainer:
    """A training run of PPO that sees a summary of the lifetime; see `StableBaselines3Trainer`."""
    return StableBaselines3Trainer("ppo-statistics", env_id, **options)


def make_recurrent_ppo(env_id: str, **options: Any) -> StableBaselines3Trainer:
    """A training run of recurrent PPO; see `StableBaselines3Trainer`."""
    return StableBaselines3Trainer("recurrent-ppo", env_id, **options)
