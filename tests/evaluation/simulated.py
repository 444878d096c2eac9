"""Normalised returns drawn by hand, for the tests of metrics and their intervals."""

import numpy as np

from daytwo.course import Course
from tests.evaluation.synthetic import make_result

LEVEL_NAMES = ("short", "middle", "long")


def noisy(mean, lifetimes=400, spread=0.3, seed=0):
    """``g[lifetimes, episodes]`` whose columns scatter around ``mean``."""
    rng = np.random.default_rng(seed)
    return np.asarray(mean) + spread * rng.standard_normal((lifetimes, len(mean)))


def lived(g, stages, *, name="custom", shuffle=False, **changes):
    """A `Result` with the normalised returns ``g[lifetimes, episodes]`` in a course of the given stages."""
    course = Course(stages, name=name, shuffle=shuffle)
    lengths = [stage.episodes for stage in course.stages]
    levels = np.repeat([stage.level for stage in course.stages], lengths)
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    fields = {"levels": levels, "stages": numbers, "course": course, "settings": {"course": name}}
    return make_result(g, **{**fields, "level_names": LEVEL_NAMES, **changes})
