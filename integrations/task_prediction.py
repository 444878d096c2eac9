"""Predicting the hidden task from an agent's memory: a privileged loss that teaches the memory what to keep.

Humplik et al. 2019, "Meta reinforcement learning as task inference" (arXiv 1905.06424). The task is known in training
only; nothing of it reaches the policy's input.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from daytwo.lifetime import LifetimeVectorEnv
from daytwo.streams import lifetime_seeds

MOST_CATEGORIES, MOST_OUTPUTS, FEWEST_TASKS = 64, 1024, 1024


class TaskTargets:
    """The hidden tasks of N lifetimes as numbers to predict.

    Whole numbers are predicted as one of their values, real ones by regression in units of their standard deviation;
    what is the same in all tasks is left out.

    Attributes:
        outputs: numbers that a head must give.
        categorical: ``int64[C]``, the columns that are predicted as one of several values.
        real: ``int64[R]``, the columns that are predicted by regression.
        rows: ``float32[N, C + R]``, the present tasks: first the categorical columns, then the real ones.
    """

    def __init__(self, env: LifetimeVectorEnv) -> None:
        """Learn what varies from at least a thousand tasks; the environment (``privileged=True``) is reset for them."""
        tasks: list[dict[str, Any]] = []
        while len(tasks) < FEWEST_TASKS:
            env.reset(seed=lifetime_seeds(0, len(tasks), len(tasks) + env.num_envs))
            tasks += env.tasks()
        whole, table = self._table(tasks)
        low, high = table.min(axis=0), table.max(axis=0)
        varies = high > low
        discrete = whole & varies & (low >= 0) & (high < MOST_CATEGORIES)
        sizes = (high + 1).astype(np.int64)
        kept = discrete & (np.cumsum(np.where(discrete, sizes, 0)) <= MOST_OUTPUTS // 2)
        self.categorical, self.sizes = np.flatnonzero(kept), sizes[kept]
        self.real = np.flatnonzero(varies & ~discrete)[: MOST_OUTPUTS // 2]
        self.mean, self.deviation = table[:, self.real].mean(axis=0), table[:, self.real].std(axis=0)
        self.outputs = int(self.sizes.sum()) + len(self.real)
        if self.outputs == 0:
            raise ValueError(f"{env.family.name} has no task field that varies: there is nothing to predict.")
        self.rows = np.zeros((env.num_envs, len(self.categorical) + len(self.real)), dtype=np.float32)

    @staticmethod
    def _table(tasks: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """Which columns hold whole numbers, ``bool[C]``, and the tasks as ``float64[N, C]``."""
        arrays = {name: np.array([task[name] for task in tasks]) for name in tasks[0]}
        flat = {name: array.reshape(len(tasks), -1) for name, array in arrays.items()}
        whole = np.concatenate([np.full(array.shape[1], array.dtype.kind in "iub") for array in flat.values()])
        return whole, np.concatenate([array.astype(np.float64) for array in flat.values()], axis=1)

    def update(self, env: LifetimeVectorEnv, started: np.ndarray) -> None:
        """Take in the tasks of the lanes that ``started`` (bool[N])."""
        lanes = np.flatnonzero(started)
        if len(lanes):
            _, table = self._table(env.tasks(lanes))
            self.rows[lanes, : len(self.categorical)] = table[:, self.categorical]
            self.rows[lanes, len(self.categorical) :] = (table[:, self.real] - self.mean) / self.deviation

    def loss(self, guesses: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """How wrong ``guesses[..., outputs]`` are about ``rows[..., C + R]``: the mean over columns."""
        count, total, at = len(self.categorical), guesses.new_zeros(()), 0
        flat, wanted = guesses.reshape(-1, self.outputs), rows.reshape(-1, rows.shape[-1])
        for column, size in enumerate(self.sizes.tolist()):
            labels = wanted[:, column].long().clamp(min=0, max=size - 1)  # a value never met so far
            total = total + torch.nn.functional.cross_entropy(flat[:, at : at + size], labels)
            at += size
        total = total + 0.5 * (flat[:, at:] - wanted[:, count:]).square().mean(dim=0).sum()
        return total / (count + len(self.real))
