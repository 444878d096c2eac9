"""A hand-made summary of the lifetime so far, which lets a policy without a memory act on what it has lived through.

It is what a careful engineer would write down instead of learning what to remember: how often each action was taken
and what it paid, and how the episodes went. Agents that learn to remember are held against it.
"""

import math
from typing import Any

import numpy as np

from daytwo.agent import LifetimeSpec
from daytwo.kernels import kernel

NEEDED = ("previous_action", "previous_reward", "episode_start")
# Columns of the books: of the lifetime, and of the present episode.
STEPS, TOTAL, EPISODES, LAST, BEST, EPISODE_STEPS, EPISODE_TOTAL, COUNTS = range(8)


@kernel
def _update(observations, fresh, at_action, at_reward, at_start, actions, books, out):
    """Take in one step of every lifetime and write the summary.

    Args:
        observations: ``float32[N, D]``.
        fresh: ``bool[N]``; these lifetimes' books are cleared.
        at_action: first column of the previous action, if discrete.
        at_reward: column of the previous reward.
        at_start: column that tells an episode's first observation.
        actions: how many discrete actions; 0 if continuous.
        books: ``float64[N, 7 + 4 * actions]``, changed in place: the seven totals, then times taken and reward of every
            action, for the lifetime and for the present episode.
        out: ``float32[N, 5 + 4 * actions]``.
    """
    for i in range(observations.shape[0]):
        if fresh[i]:
            for k in range(books.shape[1]):
                books[i, k] = 0.0
        else:
            reward = float(observations[i, at_reward])
            books[i, STEPS] += 1.0
            books[i, TOTAL] += reward
            books[i, EPISODE_STEPS] += 1.0
            books[i, EPISODE_TOTAL] += reward
            for k in range(actions):
                if observations[i, at_action + k] > 0.5:
                    for part in (0, 2 * actions):
                        books[i, COUNTS + part + k] += 1.0
                        books[i, COUNTS + part + actions + k] += reward
                    break
            if observations[i, at_start] > 0.5:
                mean = books[i, EPISODE_TOTAL] / books[i, EPISODE_STEPS]
                if books[i, EPISODES] == 0.0 or mean > books[i, BEST]:
                    books[i, BEST] = mean
                books[i, LAST] = mean
                books[i, EPISODES] += 1.0
                books[i, EPISODE_STEPS] = 0.0
                books[i, EPISODE_TOTAL] = 0.0
                for k in range(2 * actions):
                    books[i, COUNTS + 2 * actions + k] = 0.0
        out[i, 0] = books[i, TOTAL] / max(books[i, STEPS], 1.0)
        out[i, 1] = books[i, LAST]
        out[i, 2] = books[i, BEST]
        out[i, 3] = math.log1p(books[i, EPISODES])
        out[i, 4] = math.log1p(books[i, STEPS])
        for part in range(2):
            first = COUNTS + 2 * part * actions
            steps = books[i, STEPS] if part == 0 else books[i, EPISODE_STEPS]
            for k in range(actions):
                taken = books[i, first + k]
                out[i, 5 + 2 * part * actions + k] = taken / max(steps, 1.0)
                out[i, 5 + (2 * part + 1) * actions + k] = books[i, first + actions + k] / max(taken, 1.0)


class Summary:
    """The summary of a batch of lifetimes, kept up to date from their observations.

    Columns, in order: mean reward per step of the lifetime so far; of its last finished episode; of its best one;
    ``log(1 + episodes finished)``; ``log(1 + steps taken)``; and for discrete actions, for the lifetime and then for
    the present episode: the share of steps that each action was taken in, and the mean reward after each. What has
    not happened yet is 0.

    Attributes:
        size: how many numbers it has per lifetime.
    """

    def __init__(self, spec: LifetimeSpec, lanes: int) -> None:
        """Begin ``lanes`` empty summaries.

        Args:
            spec: of the lifetimes.
            lanes: how many.

        Raises:
            ValueError: the observation does not show what the summary is made from.
        """
        self._actions = 0 if spec.continuous else spec.actions
        needed = NEEDED[1:] if spec.continuous else NEEDED
        missing = [name for name in needed if name not in spec.layout]
        if missing:
            raise ValueError(
                f"A summary is made from {', '.join(needed)} in the observation; that of {spec.env_id} lacks "
                f"{', '.join(missing)} here: see show."
            )
        self._columns = tuple(spec.layout.start(name) for name in NEEDED)
        self.size = 5 + 4 * self._actions
        self._books = np.zeros((lanes, COUNTS + 4 * self._actions))

    def update(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Take in what is observed now.

        Args:
            observations: ``float32[N, D]``.
            fresh: ``bool[N]``; lifetime i begins now: its summary is cleared.

        Returns:
            ``float32[N, size]``.

        Raises:
            ValueError: another number of lifetimes than it was made for.
        """
        if len(observations) != len(self._books):
            raise ValueError(f"Expected {len(self._books)} lifetimes, received {len(observations)}.")
        out = np.zeros((len(observations), self.size), dtype=np.float32)
        _update(
            np.ascontiguousarray(observations, dtype=np.float32),
            np.ascontiguousarray(fresh, dtype=np.bool_),
            *self._columns,
            self._actions,
            self._books,
            out,
        )
        return out

    def snapshot(self) -> np.ndarray:
        """The books, ``float64[N, ...]``, which `restore` takes."""
        return self._books.copy()

    def restore(self, books: Any) -> None:
        """Bring back what `snapshot` gave.

        Raises:
            ValueError: it is of another shape.
        """
        if np.shape(books) != self._books.shape:
            raise ValueError(f"Expected books of shape {self._books.shape}, received {np.shape(books)}.")
        self._books[:] = books
