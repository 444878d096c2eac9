"""Draw the pictures of docs/concepts.md: `python benchmarks/concept_pictures.py`.

docs/lifetime.png is one lifetime of DarkRoom's reference learner, as it is and as its amnesiac twin, with the bar that
each episode met; docs/courses.png shows the stages of every course by name.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

import daytwo
from daytwo.course import course_names, named_course

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parent.parent / "docs"
ENV_ID, EPISODES, LIFETIME, RATE = "daytwo/DarkRoom-v0", 6, 5, 0.25
LEVELS, STAGE_EPISODES = 4, 6
COLORS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c")
INK = "#222222"


def bars_met(g: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The bar that each episode met, ``float64[episodes]``: one bar per level, which follows what was reached there."""
    bars = dict.fromkeys(levels.tolist(), 0.0)
    met = np.empty(len(g))
    for k, (one, level) in enumerate(zip(g, levels.tolist(), strict=True)):
        met[k] = bars[level]
        bars[level] = (1 - RATE) * bars[level] + RATE * one
    return met


def draw_lifetime(axes: Any, result: Any, title: str) -> None:
    """One lifetime: a column for each episode, and the bar it met."""
    g, levels = result.normalized[LIFETIME], result.levels[LIFETIME]
    met, at = bars_met(g, levels), np.arange(1, len(g) + 1)
    if result.memory == "kept":
        assert np.isclose((g - met).sum(), result.reward[LIFETIME], atol=1e-5)
    axes.bar(at, g, width=0.8, color=[COLORS[level] for level in levels])
    axes.hlines(met, at - 0.5, at + 0.5, color="#d95f02", linewidth=2)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.axhline(1, color=INK, linewidth=0.8, linestyle=":")
    for edge in np.flatnonzero(np.diff(levels)) + 1.5:
        axes.axvline(edge, color="0.7", linewidth=0.8)
    axes.set(xlim=(0.4, len(g) + 0.6), ylim=(-0.35, 1.3), ylabel="normalised\nreturn")
    axes.set_yticks([0, 1], ["random 0", "oracle 1"])
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def draw_lifetimes() -> None:
    """Write docs/lifetime.png."""
    settings: dict[str, Any] = {"lifetimes": LIFETIME + 1, "seed": 0, "episodes": EPISODES, "rate": RATE}
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True, layout="constrained")
    kept = daytwo.evaluate("reference", ENV_ID, **settings)
    draw_lifetime(upper, kept, "an agent that remembers")
    draw_lifetime(lower, daytwo.evaluate("reference", ENV_ID, memory="wiped", **settings), "its amnesiac twin")
    for level, name in enumerate(kept.level_names):
        middle = (level + 0.5) * EPISODES + 0.5
        upper.text(middle, 1.14, f"level {level}: {name}", ha="center", fontsize=7, color=INK)
    upper.plot([], [], color="#d95f02", linewidth=2, label="the bar")
    figure.legend(loc="outside lower right", frameon=False, fontsize=9)
    lower.set_xlabel("episode of the lifetime (one hidden task)")
    lower.set_xticks(range(1, LEVELS * EPISODES + 1, 2))
    figure.savefig(DOCS / "lifetime.png", dpi=110)
    plt.close(figure)


def draw_courses() -> None:
    """Write docs/courses.png."""
    names = course_names()
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(names) + 0.8), layout="constrained")
    for row, name in enumerate(names):
        course = named_course(name, levels=LEVELS, episodes=STAGE_EPISODES)
        stages = list(course.stages)
        if course.shuffle:
            stages = [stages[k] for k in (2, 0, 3, 1)]  # one of the orders
        start = 0
        for stage in stages:
            axes.barh(row, stage.episodes, left=start, height=0.62, color=COLORS[stage.level], edgecolor="white")
            if stage.episodes > 1:
                light = stage.level > 1
                axes.text(
                    start + stage.episodes / 2,
                    row,
                    str(stage.level),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if light else INK,
                )
            if stage.new_task and start:
                axes.plot([start], [row - 0.42], marker="v", color="#d95f02", markersize=6, clip_on=False)
            if stage.switch_after:
                axes.plot([start + stage.switch_after], [row - 0.42], marker="v", color="#d95f02", markersize=6)
            start += stage.episodes
    axes.plot([], [], marker="v", linestyle="", color="#d95f02", label="the hidden task is drawn anew")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"episodes ({STAGE_EPISODES} a stage, {LEVELS} levels; the number is the level)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    figure.legend(loc="outside upper right", frameon=False, fontsize=9)
    figure.savefig(DOCS / "courses.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    draw_lifetimes()
    draw_courses()
    print("Wrote docs/lifetime.png and docs/courses.png")
