"""PLR: go back to the tasks from which most can still be learned (prioritized level replay), and ACCEL.

Jiang et al. 2021, https://arxiv.org/abs/2010.03934, Section 3: a buffer of tasks seen, each with a score; tasks are
replayed by the rank of their score, mixed with how long ago they were last seen, because scores age. With an argument
``mutate``, some of what is replayed is altered first, and what scores well stays in the buffer: ACCEL (Parker-Holder et
al. 2022, https://arxiv.org/abs/2203.01302, Section 3).

The papers score a task by errors of the learner's critic. A teacher sees none, so scores are p(1 - p) of a running mean
of performance, which did better where outcomes are binary (Rutherford et al. 2024, https://arxiv.org/abs/2408.15099);
whoever has a critic hands its errors to `PLR.rescore`. Two more departures: a fresh task is drawn from the whole space,
not only from what was never seen, which keeps every task at a floor probability; and tied scores share the weights of
their ranks, so that nothing depends on the order in which outcomes came.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_integer, check_number
from daytwo.teacher import Averages, Teacher, check_tasks

Mutation = Callable[[np.ndarray, np.random.Generator], Any]


class PLR(Teacher):
    """Replays tasks by the rank of their score.

    A draw is fresh, uniform over the space, with probability ``1 - replay``, and always while nothing was seen.
    Otherwise it is a row of the buffer, with probability ``(1 - staleness) * by rank + staleness * by age``: by rank in
    proportion to ``rank**(-1 / temperature)``, the highest score having rank 1; by age in proportion to the number of
    lifetimes observed since the row's last. If ``mutate`` is given, it alters a share ``mutation`` of the draws from
    the buffer.

    Attributes:
        buffer: tasks seen, ``int64[m]`` counted from 0 or ``[m, *shape]``.
        mean: running mean of performance on each, ``float64[m]``.
        lifetimes: observed on each, ``int64[m]``.
        score: of each, ``float64[m]``.
        judged: whether the score was given by `rescore`, ``bool[m]``.
        last: value of ``clock`` when each was last observed, ``int64[m]``.
        clock: lifetimes observed in all.
    """

    name = "plr"
    remembered = ("buffer", "mean", "lifetimes", "score", "judged", "last", "clock")
    columns = remembered[:-1]

    def __init__(
        self,
        space: spaces.Space,
        *,
        replay: float = 0.5,
        temperature: float = 0.3,
        staleness: float = 0.1,
        rate: float = 0.1,
        capacity: int = 10_000,
        mutate: Mutation | None = None,
        mutation: float = 0.5,
        seed: int = 0,
    ) -> None:
        """Prepare to teach.

        Args:
            space: a ``Discrete`` or a bounded ``Box``.
            replay: probability that a draw comes from the buffer, in [0, 1).
            temperature: of the ranks, in [0.001, 1000]. Small: almost only the highest score; large: all alike.
            staleness: share of the draws from the buffer that goes by age, in [0, 1].
            rate: share of the running mean of performance that one lifetime replaces, in (0, 1].
            capacity: rows that the buffer holds, at least 1. Beyond it the lowest score leaves, of equal ones the one
                not observed for longest.
            mutate: called as ``mutate(tasks, generator)`` with rows of the space, it returns as many rows of the space.
                It must take all randomness from the generator, which is the teacher's own.
            mutation: share of the draws from the buffer that are mutated, in [0, 1].
            seed: of the teacher.

        Raises:
            ValueError: an argument is out of range.
        """
        super().__init__(space, seed=seed)
        self.replay = check_number("replay", replay, 0.0, 1.0)
        self.temperature = check_number("temperature", temperature, 1e-3, 1e3)
        self.staleness = check_number("staleness", staleness, 0.0, 1.0)
        self.rate = check_number("rate", rate, 0.0, 1.0)
        self.capacity = check_integer("capacity", capacity, 1, 2**31)
        self.mutation = check_number("mutation", mutation, 0.0, 1.0)
        if self.replay == 1.0:
            raise ValueError("replay must be below 1: without fresh tasks most of the space would never be seen.")
        if self.rate == 0.0:
            raise ValueError("rate must be above 0: nothing would be learned about any task.")
        if mutate is not None and not callable(mutate):
            raise ValueError(f"mutate must be a function of tasks and a generator, received {mutate!r}.")
        self.mutate = mutate
        discrete = isinstance(self.space, spaces.Discrete)
        self.start = int(self.space.start) if discrete else 0
        self.buffer = np.zeros(0, dtype=np.int64) if discrete else np.zeros((0, *self.space.shape), self.space.dtype)
        self.mean = np.zeros(0)
        self.lifetimes = np.zeros(0, dtype=np.int64)
        self.score = np.zeros(0)
        self.judged = np.zeros(0, dtype=np.bool_)
        self.last = np.zeros(0, dtype=np.int64)
        self.clock = 0
        self._rows: dict[bytes, int] = {}  # where in the buffer a task is
        self._cumulative: np.ndarray | None = None

    def rescore(self, tasks: Any, values: Any) -> None:
        """Score tasks by something better than their performance, such as the mean absolute error of a critic.

        These scores stay until the next `rescore`: outcomes observed meanwhile move a task's mean, not its score. Ranks
        compare all scores, so they should be on one scale: whoever rescores should do so for all tasks observed.

        Args:
            tasks: n rows of the space. Those not in the buffer enter it. Values of equal tasks are averaged.
            values: of each, ``float[n]``, at least 0 and finite.

        Raises:
            ValueError: they are anything else. Nothing is changed then.
        """
        tasks, values = check_tasks(tasks, self.space), np.asarray(values)
        if values.shape != (len(tasks),) or values.dtype.kind not in "fiu":
            raise ValueError(
                f"values must be float[{len(tasks)}], one for each task; received {values.dtype}{list(values.shape)}."
            )
        values = values.astype(np.float64)
        wrong = ~((values >= 0.0) & np.isfinite(values))
        if wrong.any():
            raise ValueError(f"values must be finite and at least 0, received {values[wrong][0]}.")
        if len(tasks) == 0:
            return
        order = np.argsort(values)  # a sum depends on its order, to the last bit
        tasks, group = np.unique(tasks[order], axis=0, return_inverse=True)
        group = group.reshape(-1)
        rows = self._enter(tasks - self.start if self.start else tasks)
        self.score[rows] = np.bincount(group, weights=values[order]) / np.bincount(group)
        self.judged[rows] = True
        self._leave()

    def replay_probabilities(self) -> np.ndarray:
        """How likely each row of the buffer is, given that the next draw comes from there, ``float64[m]``."""
        if len(self.buffer) == 0:
            return np.zeros(0)
        order = np.argsort(-self.score, kind="stable")
        ranked = self.score[order]
        # The powers are taken as logarithms: 10,000**(1 / 0.001) is no float.
        weights = np.exp(-np.log(np.arange(1, len(order) + 1)) / self.temperature)
        ties = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
        size = np.diff(ties, append=len(order))
        by_rank = np.empty(len(order))
        by_rank[order] = np.repeat(np.add.reduceat(weights, ties) / size, size)
        age = (self.clock - self.last).astype(np.float64)
        by_age = age / age.sum() if age.any() else np.full(len(age), 1.0 / len(age))
        return (1.0 - self.staleness) * by_rank / by_rank.sum() + self.staleness * by_age

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._index()

    def _check_loaded(self, loaded: Mapping[str, Any]) -> None:
        lengths = {name: len(loaded[name]) for name in self.columns}
        if len(set(lengths.values())) > 1 or lengths["buffer"] > self.capacity:
            raise ValueError(f"The state's columns must have one length, at most {self.capacity}; received {lengths}.")

    def metrics(self) -> dict[str, float]:
        """Rows in the buffer, and the mean and greatest score."""
        if len(self.score) == 0:
            return {"buffer": 0.0, "score": 0.0, "best_score": 0.0}
        return {
            "buffer": float(len(self.score)),
            "score": float(self.score.mean()),
            "best_score": float(self.score.max()),
        }

    def _sample(self, n: int) -> np.ndarray:
        tasks = self._fresh(n)
        if len(self.buffer) == 0:
            return tasks
        replayed = np.flatnonzero(self.generator.random(n) < self.replay)
        if self._cumulative is None:
            self._cumulative = np.cumsum(self.replay_probabilities())
        draws = self.generator.random(len(replayed)) * self._cumulative[-1]
        rows = np.minimum(np.searchsorted(self._cumulative, draws, side="right"), len(self.buffer) - 1)
        tasks[replayed] = self.buffer[rows]
        if self.mutate is not None:
            mutated = replayed[self.generator.random(len(replayed)) < self.mutation]
            if len(mutated):
                tasks[mutated] = self._mutate(tasks[mutated])
        return tasks

    def _fresh(self, n: int) -> np.ndarray:
        """Tasks uniform over the space."""
        if isinstance(self.space, spaces.Discrete):
            return self.generator.integers(0, int(self.space.n), n)
        return self.from_unit(self.generator.random((n, int(np.prod(self.space.shape)))))

    def _mutate(self, tasks: np.ndarray) -> np.ndarray:
        """What ``mutate`` makes of tasks, checked."""
        assert self.mutate is not None
        mutated = self.mutate(tasks + self.start if self.start else tasks, self.generator)
        try:
            mutated = check_tasks(mutated, self.space)
        except ValueError as error:
            raise ValueError(f"mutate must return rows of the space: {error}") from error
        if len(mutated) != len(tasks):
            raise ValueError(f"mutate must return as many tasks as it received, {len(tasks)}; received {len(mutated)}.")
        return mutated - self.start if self.start else mutated

    def _observe(self, averages: Averages) -> None:
        self.clock += int(averages.lifetimes.sum())
        rows = self._enter(averages.tasks)
        self.lifetimes[rows] += averages.lifetimes
        # The weight of these lifetimes over that of all so far: 1 at first, ``rate`` for each in the long run.
        new = (1.0 - (1.0 - self.rate) ** averages.lifetimes) / (1.0 - (1.0 - self.rate) ** self.lifetimes[rows])
        mean = (1.0 - new) * self.mean[rows] + new * averages.performance
        self.mean[rows] = mean
        self.score[rows] = np.where(self.judged[rows], self.score[rows], mean * (1.0 - mean))
        self.last[rows] = self.clock
        self._leave()

    # --- the buffer ---------------------------------------------------------------------------------------------------

    def _enter(self, tasks: np.ndarray) -> np.ndarray:
        """Where different tasks are in the buffer, ``int64[k]``; those that were not there are put at its end."""
        keys = keys_of(tasks)
        new = [k for k, key in enumerate(keys) if key not in self._rows]
        for k in new:
            self._rows[keys[k]] = len(self._rows)
        self.buffer = np.concatenate([self.buffer, tasks[new]])
        self.last = np.concatenate([self.last, np.full(len(new), self.clock)])
        for name in ("mean", "lifetimes", "score", "judged"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros(len(new), column.dtype)]))
        return np.array([self._rows[key] for key in keys])

    def _leave(self) -> None:
        """Hold the buffer to its capacity, and take note that the distribution is another."""
        self._cumulative = None
        if len(self.buffer) > self.capacity:
            kept = np.sort(np.lexsort((self.last, self.score))[-self.capacity :])
            for name in self.columns:
                setattr(self, name, getattr(self, name)[kept])
            self._index()

    def _index(self) -> None:
        """Note where each task is, after the buffer has become another."""
        self._cumulative = None
        self._rows = {key: k for k, key in enumerate(keys_of(self.buffer))}


def keys_of(tasks: np.ndarray) -> list[bytes]:
    """A key for each row, the same for equal rows."""
    data = (tasks + tasks.dtype.type(0)).tobytes()  # -0.0 becomes 0.0, which it equals
    size = len(data) // max(len(tasks), 1)
    return [data[k * size : (k + 1) * size] for k in range(len(tasks))]
