"""Schedule: a curriculum that was written down beforehand, by steps of training and not by what came of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_integer, check_number
from daytwo.teacher import Averages, Teacher


class Schedule(Teacher):
    """Opens tasks one after another, in the order of the space, as steps go by.

    By default the training's budget is cut into as many equal phases as there are tasks (of a ``Box``: ten); phase k
    draws uniformly from the first k + 1 tasks (of a ``Box``: from its lower corner to k + 1 tenths along every axis).
    ``phases`` says otherwise.
    """

    name = "schedule"
    staged = True
    remembered = ("steps",)

    def __init__(
        self, space: spaces.Space, *, budget: int = 1_000_000, phases: Sequence[Any] | None = None, seed: int = 0
    ) -> None:
        """Prepare to teach.

        Args:
            space: a ``Discrete``, or a bounded ``Box``.
            budget: environment steps of the whole training.
            phases: pairs ``(share, tasks)`` in order: until this share of the budget is lived, draw uniformly from
                ``tasks``, a list of tasks of a ``Discrete``, or a pair (low, high) of a ``Box``, each a number or one
                per coordinate. Shares rise to 1; the last phase goes on after it.
            seed: of the teacher.

        Raises:
            ValueError: shares do not rise to 1, or a phase holds no task of the space.
        """
        super().__init__(space, seed=seed)
        self.budget = check_integer("budget", budget, 1, 2**62)
        discrete = isinstance(space, spaces.Discrete)
        count = int(space.n) if isinstance(space, spaces.Discrete) else 10
        if phases is None:
            self.shares = [(k + 1) / count for k in range(count)]
            # Of a Discrete a range, which takes no room however many tasks there are.
            self.phases: list[Any] = [range(k + 1) if discrete else (0.0, (k + 1) / count) for k in range(count)]
        else:
            self.shares = [check_number("a phase's share", share, 0.0, 1.0) for share, _ in phases]
            if not self.shares or self.shares[-1] != 1.0 or (np.diff(self.shares) <= 0).any():
                raise ValueError(f"The shares of phases must rise to 1, received {self.shares}.")
            self.phases = [self._phase(tasks) for _, tasks in phases]
        self.steps = 0

    def _phase(self, tasks: Any) -> Any:
        """A phase as it is kept: indices of a ``Discrete``, two points of the unit cube of a ``Box``."""
        if isinstance(self.space, spaces.Discrete):
            start = int(self.space.start)
            chosen = [check_integer("a phase's task", task, start, start + int(self.space.n) - 1) for task in tasks]
            if not chosen:
                raise ValueError("A phase needs at least one task, received none.")
            return [task - start for task in chosen]
        if len(tasks) != 2:
            raise ValueError(f"A phase on a Box is a pair (low, high), received {tasks!r}.")
        corners = [np.broadcast_to(np.asarray(corner, dtype=np.float64), self.space.shape) for corner in tasks]
        if not ((self.space.low <= corners[0]) & (corners[0] <= corners[1]) & (corners[1] <= self.space.high)).all():
            raise ValueError(f"A phase must lie in {self.space}, low before high; received {tasks!r}.")
        return tuple(self.to_unit(corner[None])[0] for corner in corners)

    @property
    def phase(self) -> int:
        """Which phase is on, counted from 0."""
        passed = int(np.searchsorted(self.shares, self.steps / self.budget, side="right"))
        return min(passed, len(self.phases) - 1)

    def _sample(self, n: int) -> np.ndarray:
        now = self.phases[self.phase]
        if isinstance(self.space, spaces.Discrete):
            drawn = self.generator.integers(0, len(now), n)
            return drawn if isinstance(now, range) else np.asarray(now, dtype=np.int64)[drawn]
        low, high = now
        unit = self.generator.random((n, int(np.prod(self.space.shape))))
        return self.from_unit(low + unit * (np.asarray(high) - low))

    def _observe(self, averages: Averages) -> None:
        self.steps += int(averages.steps.sum())

    def metrics(self) -> dict[str, float]:
        """The phase that is on, as ``phase``."""
        return {"phase": float(self.phase)}
