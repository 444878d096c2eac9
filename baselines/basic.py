"""The two ends of the ladder, the random policy (0) and the oracle (1), and the simplest rung between them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from daytwo.agent import LifetimeSpec
from daytwo.random_policy import random_actions, random_vectors
from daytwo.streams import agent_streams


class Random:
    """Acts uniformly over the offered actions (uniformly in [-1, 1] if continuous)."""

    name = "random"

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        self._spec = spec
        self._streams = agent_streams(seeds)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        if self._spec.continuous:
            return random_vectors(self._streams, self._spec.actions)
        return random_actions(self._spec.observed_mask(observations), self._streams)


class Constant:
    """Takes the same action on every step."""

    name = "constant"

    def __init__(self, *, action: int | Sequence[float] = 0) -> None:
        """Choose the action: an integer counted from 0, or d numbers in [-1, 1]."""
        self._action = action

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        self._actions = np.repeat(np.asarray([self._action]), len(seeds), axis=0)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        return self._actions


class Oracle:
    """Acts as the family's oracle, which knows the hidden task: privileged, and needs the environment attached."""

    name = "oracle"
    privileged = True

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        self._env: Any = None

    def attach(self, env: Any) -> None:
        """Take the environment (made with ``privileged=True``) whose tasks the oracle knows."""
        self._env = env

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        if self._env is None:
            raise RuntimeError("The oracle must be attached to a privileged environment: oracle.attach(env).")
        return self._env.oracle_actions()
