"""What a teacher did in a training run, from the log that ``daytwo train --teacher`` leaves: a picture and a table."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.teaching import CURRICULUM


def read_curriculum(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The log of a run, by name of the figure.

    Args:
        folder: of the run.

    Returns:
        ``steps`` and every figure of `daytwo.teaching.TeacherLog`, each ``float64[updates]``; NaN where an update has
        none.

    Raises:
        ValueError: the folder holds no such log, or an empty one.
    """
    path = Path(folder) / CURRICULUM
    rows: list[dict[str, Any]] = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # cut off in the midst of writing
    if not rows:
        raise ValueError(
            f"{os.fspath(folder)!r} holds no {CURRICULUM} with lifetimes in it: was the run trained with --teacher?"
        )
    names = sorted({name for row in rows for name in row})
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in names}


def levels_of(log: dict[str, np.ndarray]) -> int:
    """How many levels a log tells of."""
    return sum(name.startswith("trials_") and name[7:].isdigit() for name in log)


def draw_curriculum(log: dict[str, np.ndarray], out: str | os.PathLike[str], title: str = "") -> None:
    """Draw the share of each level over time, and below it performance, mastery and the effective number of tasks.

    Args:
        log: of `read_curriculum`.
        out: the picture; its ending decides the format (``.png``, ``.svg``, ``.pdf``).
        title: shown above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    levels, steps = levels_of(log), log["steps"] / 1e6
    trials = np.array([log[f"trials_{k}"] for k in range(levels)])
    # Shares over at least a fortieth of the run, so that single updates do not flicker.
    window = max(1, len(steps) // 40)
    before = np.concatenate([np.zeros((levels, window)), trials], axis=1)[:, : len(steps)]
    lived = trials - before
    shares = lived / np.maximum(lived.sum(axis=0), 1e-9)
    figure = Figure(figsize=(7.2, 4.8))
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0.05, 0.95, max(levels, 2)))
    upper.stackplot(steps, shares, colors=colours, labels=[f"level {k}" for k in range(levels)])
    upper.set(ylim=(0, 1), xlim=(0, steps[-1]), ylabel="share of lifetimes", title=title)
    handles, labels = upper.get_legend_handles_labels()
    upper.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)
    lower.plot(steps, log["performance"], color="#0072b2", label="performance")
    lower.plot(steps, log["mastered"], color="#009e73", label="share of tasks mastered")
    lower.set(ylim=(0, 1.02), xlabel="million environment steps")
    count = lower.twinx()
    count.plot(steps, log["effective_tasks"], color="#d55e00", linestyle="--", label="effective tasks (right)")
    count.set_ylim(0, None)
    lines = [*lower.get_lines(), *count.get_lines()]
    lower.legend(
        lines,
        [str(line.get_label()) for line in lines],
        loc="lower left",
        ncol=3,
        frameon=False,
        fontsize=8,
        bbox_to_anchor=(0.0, 1.0),
    )
    for axes in (upper, lower):
        axes.spines[["top"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def curriculum_rows(log: dict[str, np.ndarray]) -> list[tuple[str, ...]]:
    """By level: lifetimes and steps lived there, in all and as shares, fit for a table."""
    levels = levels_of(log)
    trials = np.array([log[f"trials_{k}"][-1] for k in range(levels)])
    steps = np.array([log[f"steps_{k}"][-1] for k in range(levels)])
    return [
        (
            str(k),
            f"{trials[k]:,.0f}",
            f"{trials[k] / max(trials.sum(), 1):.0%}",
            f"{steps[k]:,.0f}",
            f"{steps[k] / max(steps.sum(), 1):.0%}",
        )
        for k in range(levels)
    ]
