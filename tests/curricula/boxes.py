"""Boxes of every kind that teachers teach on, and outcomes on them."""

import numpy as np
from gymnasium import spaces

from daytwo.teacher import Outcomes

LINE = spaces.Box(-2.0, 6.0, (1,), np.float32)
BOXES = {
    "one axis": LINE,
    "several axes": spaces.Box(np.array([-1.0, 0.0, 5.0], np.float32), np.array([1.0, 100.0, 5.5], np.float32)),
    "double precision": spaces.Box(-1e-3, 1e6, (2,), np.float64),
    "whole numbers": spaces.Box(-3, 8, (2,), np.int32),
    "a yes or no": spaces.Box(0, 1, (1,), np.uint8),
    "a matrix": spaces.Box(0.0, 1.0, (2, 3), np.float32),
    "an axis of one value": spaces.Box(np.array([0.0, 2.0], np.float32), np.array([1.0, 2.0], np.float32)),
}


def outcomes(tasks, performance):
    return Outcomes(np.asarray(tasks), np.asarray(performance, np.float64), np.full(len(tasks), 100))
