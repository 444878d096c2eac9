"""Results files for the tests of collecting, reporting and exporting."""

import numpy as np

from daytwo.evaluation.store import Store
from tests.evaluation.synthetic import make_cell, make_result

LIFETIMES = 120
STAGES = np.repeat([[0, 0, 0, 1, 1, 1]], LIFETIMES, axis=0)
UP, FLAT = [0.1, 0.5, 0.9, 0.3, 0.7, 0.9], [0.1] * 6
CORE = "core-v1"
OTHER = "daytwo/Workplace-v0"


def noisy(mean, seed):
    return np.asarray(mean) + 0.2 * np.random.default_rng(seed).standard_normal((LIFETIMES, len(mean)))


def conditions(agent, mean, twin, redrawn, seed=0, **changes):
    """An agent's result, its twin and its redrawn control on a progressive course of two stages."""
    fields = {"settings": {"course": "progressive"}, "tags": ("exploration",), "memoryless": (0.2, 0.1)}
    for k, (curve, memory, task) in enumerate(
        ((mean, "kept", "fixed"), (twin, "wiped", "fixed"), (redrawn, "kept", "redrawn"))
    ):
        if curve is not None:
            own = {**fields, "agent": agent, "memory": memory, "task": task, **changes}
            yield make_result(noisy(curve, 10 * seed + k), levels=STAGES, stages=STAGES, **own)


def fill(path, results, protocol=CORE, **cell):
    """Store results under a protocol; returns their keys."""
    with Store(path, write=True) as store:
        keys = [store.add(make_cell(result, **cell), result) for result in results]
        if protocol:
            store.link(protocol, keys)
    return keys


def everybody():
    """Agents of all kinds on one environment, some of them on a second one."""
    kicked = {"diagnostics": {"can_kicking_rate": np.full((LIFETIMES, 6), 0.9)}, "env_id": OTHER}
    fixed = {"diagnostics": {"can_kicking_rate": np.full((LIFETIMES, 6), 0.1)}, "env_id": OTHER}
    tags = {"tags": ("deferred-gratification",)}
    return [
        *conditions("learner", UP, FLAT, FLAT, 1, role="reference"),
        *conditions("leaky", UP, FLAT, UP, 2),
        *conditions("sandbagger", [-0.5, 0.5, 0.9, 0.3, 0.7, 0.9], FLAT, None, 3),
        *conditions("lonely", UP, None, None, 4),
        *conditions("random", [0.0] * 6, [0.0] * 6, [0.0] * 6, 5),
        *conditions("oracle", [1.0] * 6, [1.0] * 6, [1.0] * 6, 6, privileged=True),
        *conditions("<b>bold</b> & co", UP, FLAT, FLAT, 7),
        *conditions("fixer", UP, FLAT, FLAT, 11, role="reference", **fixed, **tags),
        *conditions("kicker", [0.5] * 6, [0.5] * 6, [0.5] * 6, 12, **kicked, **tags),
        *conditions("random", [0.0] * 6, [0.0] * 6, [0.0] * 6, 15, **fixed, **tags),
        *conditions("oracle", [1.0] * 6, [1.0] * 6, [1.0] * 6, 16, privileged=True, **fixed, **tags),
    ]
