"""What teachers on a ``Discrete`` space share: a weight per task, a floor under every one, and a fast draw."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_number
from daytwo.teacher import Teacher


class TableTeacher(Teacher):
    """A teacher that gives each of finitely many tasks a weight.

    A task is drawn with probability ``floor / n + (1 - floor) * weight / sum of weights``.
    """

    kinds = (spaces.Discrete,)

    def __init__(self, space: spaces.Space, *, floor: float = 0.2, seed: int = 0) -> None:
        """Prepare to teach.

        Args:
            space: a ``Discrete``.
            floor: share of the draws that are uniform over all tasks, in (0, 1].
            seed: of the teacher.
        """
        super().__init__(space, seed=seed)
        self.floor = check_number("floor", floor, 0.0, 1.0)
        if self.floor == 0.0 and not self.staged:
            raise ValueError("floor must be above 0: a task that is never drawn again is never judged anew.")
        self.tasks = int(self.space.n)
        self._cumulative: np.ndarray | None = None

    def weights(self) -> np.ndarray:
        """How much each task deserves, ``float64[n]``, none negative; all 0 counts as all alike."""
        raise NotImplementedError

    def probabilities(self) -> np.ndarray:
        """How likely the next draw is each task, ``float64[n]``."""
        weights = self.weights()
        total = weights.sum()
        share = weights / total if total > 0 else np.full(self.tasks, 1.0 / self.tasks)
        return self.floor / self.tasks + (1.0 - self.floor) * share

    def changed(self) -> None:
        """To be called when weights are not what they were."""
        self._cumulative = None

    def _check_loaded(self, loaded: Mapping[str, Any]) -> None:
        for name, value in loaded.items():
            if isinstance(value, np.ndarray) and len(value) != self.tasks:
                raise ValueError(
                    f"The state's {name} has {len(value)} rows, expected one for each of {self.tasks} tasks."
                )

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.changed()

    def _sample(self, n: int) -> np.ndarray:
        if self._cumulative is None:
            self._cumulative = np.cumsum(self.probabilities())
        draws = self.generator.random(n) * self._cumulative[-1]
        return np.minimum(np.searchsorted(self._cumulative, draws, side="right"), self.tasks - 1)
