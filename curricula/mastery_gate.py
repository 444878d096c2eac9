"""MasteryGate: the next task opens once the present one is mastered; what was mastered is reviewed."""

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_integer, check_number
from daytwo.teacher import Averages, Teacher


class MasteryGate(Teacher):
    """Opens tasks one after another, in the order of the space, each when the one before is mastered.

    Mastery learning (Bloom 1968): a share ``frontier`` of the draws is the newest open task, the rest is spread evenly
    over the open ones. A task is mastered when the running mean performance on it reaches ``threshold`` over at least
    ``lifetimes`` lifetimes. A ``Box`` is cut into ``bins`` shells: the frontier is the outermost open one, measured by
    the largest coordinate, from the lower corner on.
    """

    name = "mastery-gate"
    staged = True
    remembered = ("open", "mean", "lifetimes")

    def __init__(
        self,
        space: spaces.Space,
        *,
        threshold: float = 0.8,
        least: int = 64,
        rate: float = 0.02,
        frontier: float = 0.5,
        bins: int = 10,
        seed: int = 0,
    ) -> None:
        """Prepare to teach.

        Args:
            space: a ``Discrete``, or a bounded ``Box``.
            threshold: mean performance that counts as mastery, in (0, 1].
            least: lifetimes on the frontier before it can be mastered.
            rate: how far one lifetime moves the running mean.
            frontier: share of the draws that are on the frontier, in (0, 1].
            bins: shells of a ``Box``.
            seed: of the teacher.
        """
        super().__init__(space, seed=seed)
        self.threshold = check_number("threshold", threshold, 0.0, 1.0)
        self.least = check_integer("least", least, 1, 2**31)
        self.rate = check_number("rate", rate, 0.0, 1.0)
        self.frontier = check_number("frontier", frontier, 0.0, 1.0)
        for name in ("threshold", "rate", "frontier"):
            if getattr(self, name) == 0.0:
                raise ValueError(f"{name} must be above 0, received 0.")
        self.count = int(space.n) if isinstance(space, spaces.Discrete) else check_integer("bins", bins, 1, 2**20)
        self.open = 1
        self.mean = 0.0  # on the frontier
        self.lifetimes = 0  # on the frontier, since it opened

    def _shell(self, tasks: np.ndarray) -> np.ndarray:
        """Which shell of the ``Box`` rows lie in, ``int64[n]``."""
        return np.minimum((self.to_unit(tasks).max(axis=1) * self.count).astype(np.int64), self.count - 1)

    def _sample(self, n: int) -> np.ndarray:
        at_frontier = self.generator.random(n) < self.frontier
        group = np.where(at_frontier, self.open - 1, self.generator.integers(0, self.open, n))
        if isinstance(self.space, spaces.Discrete):
            return group
        # A point whose largest coordinate is within the shell, on a random side.
        axes = int(np.prod(self.space.shape))
        reach = (group + self.generator.random(n)) / self.count
        unit = self.generator.random((n, axes)) * reach[:, None]
        unit[np.arange(n), self.generator.integers(0, axes, n)] = reach
        return self.from_unit(unit)

    def _observe(self, averages: Averages) -> None:
        if self.open == self.count:
            return  # everything is open
        group = averages.tasks if isinstance(self.space, spaces.Discrete) else self._shell(averages.tasks)
        here = group == self.open - 1
        lifetimes = int(averages.lifetimes[here].sum())
        if not lifetimes:
            return
        mean = float(np.average(averages.performance[here], weights=averages.lifetimes[here]))
        # The mean of all lifetimes at first, then a running one.
        share = max(lifetimes / (self.lifetimes + lifetimes), 1.0 - (1.0 - self.rate) ** lifetimes)
        self.mean += share * (mean - self.mean)
        self.lifetimes += lifetimes
        if self.lifetimes >= self.least and self.mean >= self.threshold:
            self.open, self.mean, self.lifetimes = self.open + 1, 0.0, 0

    def metrics(self) -> dict[str, float]:
        """Tasks (of a ``Box``: shells) that are open, as ``open``, and performance on the newest, as ``frontier``."""
        return {"open": float(self.open), "frontier": self.mean}
