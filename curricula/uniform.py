"""Uniform: every task alike, whatever came of it. What every other teacher has to beat."""

import numpy as np
from gymnasium import spaces

from daytwo.teacher import Teacher


class Uniform(Teacher):
    """Draws uniformly over the space (domain randomisation)."""

    name = "uniform"

    def _sample(self, n: int) -> np.ndarray:
        if isinstance(self.space, spaces.Discrete):
            return self.generator.integers(0, int(self.space.n), n)
        return self.from_unit(self.generator.random((n, int(np.prod(self.space.shape)))))
