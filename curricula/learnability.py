"""Learnability: practise what sometimes succeeds.

Where a learner always fails there is nothing to learn from, and where it always succeeds nothing is left to learn.
Between them p(1 - p) is largest, with p the chance of success: the variance of the outcome, and under simple models of
learning the expected improvement (ProCuRL: Tzannetos et al. 2023, https://arxiv.org/abs/2304.12877, Section 3, with 1
as the best performance everywhere). Where outcomes are binary, it was a better score for curricula than the usual
estimates of regret (Rutherford et al. 2024, "No Regrets", https://arxiv.org/abs/2408.15099, "Sampling for
learnability"). That method draws from the best of many candidates; here tasks are drawn in proportion to the score.
"""

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_number
from daytwo.curricula.table import TableTeacher
from daytwo.teacher import Averages


class Learnability(TableTeacher):
    """Weighs each task by p(1 - p), p a running mean of its performance.

    Graded performance counts as if it were a chance of success. A task not yet seen has the greatest weight there is,
    1/4.

    Attributes:
        mean: running mean of performance, ``float64[n]``; 1/2 where nothing was seen.
        lifetimes: observed on each task, ``int64[n]``.
    """

    name = "learnability"
    remembered = ("mean", "lifetimes")

    def __init__(self, space: spaces.Space, *, rate: float = 0.1, floor: float = 0.2, seed: int = 0) -> None:
        """Prepare to teach.

        Args:
            space: a ``Discrete``.
            rate: share of the running mean that one lifetime replaces, in (0, 1]. The first few lifetimes on a task
                have nearly equal shares.
            floor: share of the draws that are uniform over all tasks, in (0, 1].
            seed: of the teacher.

        Raises:
            ValueError: an argument is out of range.
        """
        super().__init__(space, floor=floor, seed=seed)
        self.rate = check_number("rate", rate, 0.0, 1.0)
        if self.rate == 0.0:
            raise ValueError("rate must be above 0: nothing would be learned about any task.")
        self.mean = np.full(self.tasks, 0.5)
        self.lifetimes = np.zeros(self.tasks, dtype=np.int64)

    def weights(self) -> np.ndarray:
        return self.mean * (1.0 - self.mean)

    def metrics(self) -> dict[str, float]:
        """Mean learnability and performance over the tasks, and the share of them that was seen."""
        return {
            "learnability": float(self.weights().mean()),
            "performance": float(self.mean.mean()),
            "seen": float((self.lifetimes > 0).mean()),
        }

    def _observe(self, averages: Averages) -> None:
        tasks = averages.tasks
        self.lifetimes[tasks] += averages.lifetimes
        # The weight of these lifetimes over that of all so far: 1 at first, ``rate`` for each in the long run.
        new = (1.0 - (1.0 - self.rate) ** averages.lifetimes) / (1.0 - (1.0 - self.rate) ** self.lifetimes[tasks])
        self.mean[tasks] = (1.0 - new) * self.mean[tasks] + new * averages.performance
        self.changed()
