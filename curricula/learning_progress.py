"""Learning progress: practise what is changing fastest.

Teacher-student curriculum learning (Matiisen et al. 2017, https://arxiv.org/abs/1707.00183, Section 3): a task is worth
practising as far as its learning curve is steep, upwards (it is being learned) or downwards (it is being forgotten).
The slope is taken as the difference of a fast and a slow running mean of performance, the two-timescale form of
Kanitscheider et al. 2021 (https://arxiv.org/abs/2106.14876, "Learning progress curriculum"). Of theirs, the reweighting
of small success probabilities and the sigmoid over tasks are left out, and both means are of the outcomes themselves.
"""

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_number
from daytwo.curricula.table import TableTeacher
from daytwo.teacher import Averages


class LearningProgress(TableTeacher):
    """Weighs each task by how far a fast running mean of its performance is from a slow one.

    The running means are corrected for their start: after the first lifetime on a task both are its performance, so
    being seen is not yet progress. A task not yet seen weighs as much as the best that is known: it is tried early, and
    yet crowds out none that is being learned. While nothing moves, new tasks come first, and then all are alike.

    Attributes:
        fast: running mean of the last few lifetimes, ``float64[n]``.
        slow: running mean of many, ``float64[n]``.
        lifetimes: observed on each task, ``int64[n]``.
    """

    name = "learning-progress"
    remembered = ("fast", "slow", "lifetimes")

    def __init__(
        self,
        space: spaces.Space,
        *,
        fast_rate: float = 0.1,
        slow_rate: float = 0.01,
        absolute: bool = True,
        floor: float = 0.2,
        seed: int = 0,
    ) -> None:
        """Prepare to teach.

        Args:
            space: a ``Discrete``.
            fast_rate: share of the fast mean that one lifetime replaces, in (0, 1].
            slow_rate: the same of the slow mean, in (0, ``fast_rate``).
            absolute: whether falling performance counts as much as rising; otherwise it counts nothing.
            floor: share of the draws that are uniform over all tasks, in (0, 1].
            seed: of the teacher.

        Raises:
            ValueError: an argument is out of range.
        """
        super().__init__(space, floor=floor, seed=seed)
        self.fast_rate = check_number("fast_rate", fast_rate, 0.0, 1.0)
        self.slow_rate = check_number("slow_rate", slow_rate, 0.0, 1.0)
        if not 0.0 < self.slow_rate < self.fast_rate:
            raise ValueError(
                f"slow_rate must be above 0 and below fast_rate, received {slow_rate!r} with fast_rate {fast_rate!r}."
            )
        if not isinstance(absolute, bool | np.bool_):
            raise ValueError(f"absolute must be True or False, received {absolute!r}.")
        self.absolute = bool(absolute)
        self.fast = np.zeros(self.tasks)
        self.slow = np.zeros(self.tasks)
        self.lifetimes = np.zeros(self.tasks, dtype=np.int64)

    def progress(self) -> np.ndarray:
        """How fast each task's performance is changing, ``float64[n]``; 0 where nothing was seen."""
        change = self.fast - self.slow
        return np.abs(change) if self.absolute else np.maximum(change, 0.0)

    def weights(self) -> np.ndarray:
        progress = self.progress()
        # Were only new tasks above 0, any number would do; with 1 they are all that is drawn, but for the floor.
        return np.where(self.lifetimes > 0, progress, progress.max() or 1.0)

    def metrics(self) -> dict[str, float]:
        """Mean progress over the tasks, and the share of them that was seen."""
        return {"progress": float(self.progress().mean()), "seen": float((self.lifetimes > 0).mean())}

    def _observe(self, averages: Averages) -> None:
        tasks = averages.tasks
        self.lifetimes[tasks] += averages.lifetimes
        for mean, rate in ((self.fast, self.fast_rate), (self.slow, self.slow_rate)):
            # The weight of these lifetimes over that of all so far: 1 at first, ``rate`` for each in the long run.
            new = (1.0 - (1.0 - rate) ** averages.lifetimes) / (1.0 - (1.0 - rate) ** self.lifetimes[tasks])
            mean[tasks] = (1.0 - new) * mean[tasks] + new * averages.performance
        self.changed()
