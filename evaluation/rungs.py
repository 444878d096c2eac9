"""The memoryless rungs that ship with the package: what the best agents without a memory reach at every level.

`daytwo ladder` measures them and, for maintainers, writes them into ``ladder.json``. Every evaluation looks its levels
up here, because *learning* is held against them. A rung counts only for the very dynamics that it was measured on.
"""

import ast
import functools
import hashlib
import inspect
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daytwo.evaluation.statistics import Estimate
from daytwo.family import TaskFamily
from daytwo.registration import env_ids

TABLE = Path(__file__).with_name("ladder.json")
# The best constant action, the family's hand-made reactive agent, and a PPO without memory.
KINDS = ("constant", "reactive", "ppo")


def dynamics_code(family: TaskFamily) -> str:
    """A hash of what decides a family's dynamics: its compiled functions, constants, settings and horizons.

    Unlike `TaskFamily.fingerprint` it does not change with words, pictures and checks, so that a rung that took
    minutes to train outlives them.
    """
    parts = [family.settings.tobytes().hex(), repr([(level.horizon, level.actions) for level in family.levels])]
    return hashlib.sha256("\n".join([*parts, *_compiled_code(family.step.__module__)]).encode()).hexdigest()[:16]


@functools.cache
def _compiled_code(module: str) -> tuple[str, ...]:
    """The constants and compiled functions of a module, without docstrings and comments."""
    parts = []
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        compiled = isinstance(node, ast.FunctionDef) and any("jit" in ast.dump(one) for one in node.decorator_list)
        if isinstance(node, ast.FunctionDef) and compiled and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        if compiled or isinstance(node, ast.Assign):
            parts.append(ast.dump(node, annotate_fields=False))
    return tuple(parts)


def as_estimate(rung: Mapping[str, Any]) -> Estimate:
    """A row of the table as a value with its interval."""
    return Estimate(float(rung["value"]), float(rung["low"]), float(rung["high"]))


def read_table(table: str | Path = TABLE) -> list[dict[str, Any]]:
    """All rows of a table of rungs; none where there is no such file."""
    path = Path(table)
    return json.loads(path.read_text()) if path.exists() else []


@functools.cache
def _shipped() -> list[dict[str, Any]]:
    return read_table()


def stored_rungs(family: TaskFamily, table: str | Path | None = None) -> dict[tuple[int, str], Estimate]:
    """The rungs of a family under its settings, by level and kind (one of `KINDS`).

    Args:
        family: the family under its settings.
        table: a table of rungs; the one that ships with the package by default.
    """
    if family.id not in env_ids():
        return {}
    rows = [row for row in (_shipped() if table is None else read_table(table)) if row["env_id"] == family.id]
    if not rows:
        return {}
    code = dynamics_code(family)
    return {(int(row["level"]), row["kind"]): as_estimate(row) for row in rows if row["family"] == code}


def memoryless_rungs(family: TaskFamily) -> tuple[float, ...]:
    """The best memoryless rung at every level, as a normalised return of at least 0, which the random policy has.

    NaN where none was ever measured on these dynamics.
    """
    found = stored_rungs(family)
    best = []
    for level in range(len(family.levels)):
        values = [found[level, kind].value for kind in KINDS if (level, kind) in found]
        best.append(max(0.0, *values) if values else math.nan)
    return tuple(best)


def store_rungs(found: Mapping[tuple[str, int, str], Mapping[str, Any]], table: str | Path = TABLE) -> None:
    """Write rungs into a table, in place of those of the same environment, settings, level and kind.

    Args:
        found: (environment, level, kind) -> ``value``, ``low``, ``high``, ``settings`` (those that are not the
            family's defaults, as text), ``family`` (its `dynamics_code`) and how it came about.
        table: the file.
    """
    rows = {(row["env_id"], row["settings"], row["level"], row["kind"]): row for row in read_table(table)}
    for (env_id, level, kind), rung in found.items():
        rows[env_id, rung["settings"], level, kind] = {"env_id": env_id, "level": level, "kind": kind, **rung}
    lines = [json.dumps(rows[key]) for key in sorted(rows)]
    Path(table).write_text("[\n" + ",\n".join(lines) + "\n]\n")
    _shipped.cache_clear()
