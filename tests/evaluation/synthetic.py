"""Results made by hand, for the tests of scoring, storing and reporting."""

import numpy as np

from daytwo.course import Course, Stage
from daytwo.evaluation.running import Result


def make_result(g, *, levels=None, stages=None, **changes):
    """A `Result` with the normalised returns ``g[lifetimes, episodes]`` (NaN pads), in one stage by default."""
    g = np.array(g, dtype=np.float64)
    here = ~np.isnan(g)
    levels = np.where(here, 0 if levels is None else np.asarray(levels), -1).astype(np.int64)
    stages = np.where(here, 0 if stages is None else np.asarray(stages), -1).astype(np.int64)
    count = int(stages.max()) + 1
    parts = [Stage(max(int(levels[stages == k].max()), 0), int((stages == k).sum(axis=1).max())) for k in range(count)]
    fields = {
        "returns": g * 8.0 + 2.0,
        "normalized": g,
        "levels": levels,
        "stages": stages,
        "reward": np.nansum(g, axis=1),
        "agent": "someone",
        "agent_options": {},
        "env_id": "daytwo/Bandit-v0",
        "settings": {"course": "single"},
        "course": Course(parts, name="single" if count == 1 else "progressive"),
        "level_names": tuple(f"{10 * (k + 1)} things" for k in range(int(levels.max()) + 1)),
        "random_return": (2.0,) * (int(levels.max()) + 1),
        "oracle_return": (10.0,) * (int(levels.max()) + 1),
        "seed": 0,
        "memory": "kept",
        "task": "fixed",
        "split": "test",
        "privileged": False,
        "seconds": 1.25,
        "versions": {"daytwo": "0.1.0", "numpy": np.__version__},
    }
    return Result(**{**fields, **changes})


def make_cell(result, **changes):
    """The identity under which a store keeps a `Result`."""
    cell = {
        "agent": result.agent,
        "agent_options": dict(result.agent_options),
        "env_id": result.env_id,
        "settings": dict(result.settings),
        "memory": result.memory,
        "task": result.task,
        "split": result.split,
        "lifetimes": result.lifetimes,
        "seed": result.seed,
        "version": "0.1.0",
        "code": "abc",
    }
    return {**cell, **changes}
