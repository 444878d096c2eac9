"""Does the textbook help? Agents live the same hidden tasks in courses of several orders, on every family.

``python benchmarks/course_study.py`` lets each family's reference learner, the shipped RL2 and the family's reactive
agent live progressive, isolated, shuffled, reversed and reviewed courses, every level fresh, and lives of the same
number of episodes at the top level alone. It keeps the figures of every course in docs/course_study.json (it can be
stopped at any moment and goes on where it was), and writes the tables and the picture of
docs/does_the_textbook_help.md. ``--only-pages`` writes those alone.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pages import mean_and_error, write_between

import daytwo
from daytwo.evaluation import Result
from daytwo.evaluation.metrics import area, first, retention, split_stages
from daytwo.evaluation.statistics import fixed

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "course_study.json"
PICTURE = ROOT / "docs" / "does_the_textbook_help.png"
PAGE = "does_the_textbook_help.md"

SEEDS = (0, 1, 2)
FAMILIES = (
    "Bandit",
    "TabularMDP",
    "DarkRoom",
    "Maze",
    "LearningSet",
    "Alchemy",
    "Textbook",
    "Laboratory",
    "Workplace",
    "PointRobot",
    "CartPole",
)
AGENTS = {
    "reference": "Reference learners",
    "rl2": "RL2, meta-trained on the progressive course only",
    "reactive": "Reactive agents, which have no memory (control)",
}
# `progressive` comes first: the other courses are held against it, lifetime by lifetime.
COURSES = ("progressive", "isolated", "shuffled", "reversed", "review", "fresh", "top alone")
LIFETIMES = 512
SLOW = {("rl2", family): 256 for family in ("DarkRoom", "Maze", "Textbook", "Workplace", "CartPole")}

Returns = dict[int, np.ndarray]  # level -> float64[lifetimes, episodes of its stage], normalised
Interval = tuple[float, float]  # mean, half the width of its 95% interval
Measure = tuple[str, str]  # course, name of a figure


# --- living ---------------------------------------------------------------------------------------------------------


def lifetimes_of(family: str, agent: str) -> int:
    """How many lifetimes of one seed an agent lives."""
    return SLOW.get((agent, family), LIFETIMES)


def live(family: str, agent: str, seed: int, **settings: Any) -> Result:
    """Lives on tasks of the test split; equal seeds give equal tasks in every course until it draws another."""
    lifetimes = lifetimes_of(family, agent)
    return daytwo.evaluate(agent, f"daytwo/{family}-v0", lifetimes=lifetimes, seed=seed, split="test", **settings)


def by_level(result: Result) -> Returns:
    """Normalised returns of each level's stage, in a course that visits every level once."""
    return {part.level: part.g for part in split_stages(result.normalized, result.stages, result.levels)}


def above(returns: Returns, measure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Mean of a measure of each lifetime over the levels above the first, ``float64[lifetimes]``."""
    return np.mean([measure(g) for level, g in returns.items() if level > 0], axis=0)


def episodes_that_fit(family: str) -> int:
    """How many episodes of the top level are as long as all those of the levels below, at full length."""
    made = daytwo.make_family(f"daytwo/{family}-v0")
    horizons = [level.horizon for level in made.levels]
    return made.episodes * sum(horizons[:-1]) // horizons[-1]


def figures_of(course: str, progressive: Result, family: str, agent: str, seed: int) -> dict[str, np.ndarray]:
    """Let an agent live a course, and measure it.

    Args:
        course: one of `COURSES`.
        progressive: the same agent's progressive lives under the same seed.
        family: of the environment.
        agent: its name.
        seed: of the evaluation.

    Returns:
        One number per lifetime under every name: ``top`` is the mean return in the top level's stage, ``first`` and
        ``stage`` are of the first episode and the whole stage, averaged over the levels above the first; differences
        are progressive minus this course in the same lifetime. Of ``top alone``, ``top`` is of the episodes that come
        after as many as the lower levels have, ``top_steps`` of those after as many steps. ``saved`` is the first
        episode of the second visit to the first level minus the first episode of the first visit.
    """
    rising = by_level(progressive)
    top = max(rising)
    episodes = rising[top].shape[1]
    if course == "progressive":
        return {"area": area(progressive.normalized), "top": area(rising[top]), "first": above(rising, first)}
    if course == "fresh":
        fresh = {k: live(family, agent, seed, course="single", level=k).normalized for k in rising if k > 0}
        figures = {
            "top": area(fresh[top]),
            "first": above(fresh, first),
            "top_difference": area(rising[top]) - area(fresh[top]),
            "first_difference": above(rising, first) - above(fresh, first),
            "stage_difference": above(rising, area) - above(fresh, area),
        }
        return figures | {f"first_difference_{k}": first(rising[k]) - first(fresh[k]) for k in fresh}
    if course == "top alone":
        alone = live(family, agent, seed, course="single", level=top, episodes=progressive.course.episodes).normalized
        before = episodes_that_fit(family)
        last, even = area(alone[:, -episodes:]), area(alone[:, before : before + episodes])
        return {
            "top": last,
            "top_difference": area(rising[top]) - last,
            "top_steps": even,
            "top_steps_difference": area(rising[top]) - even,
        }
    other = live(family, agent, seed, course=course)
    if course == "review":
        parts = split_stages(other.normalized, other.stages, other.levels)
        earlier, later = parts[0].g, parts[-1].g
        return {"retention": retention(earlier, later), "saved": first(later) - first(earlier)}
    returns = by_level(other)
    return {
        "area": area(other.normalized),
        "top": area(returns[top]),
        "first": above(returns, first),
        "area_difference": area(progressive.normalized) - area(other.normalized),
        "top_difference": area(rising[top]) - area(returns[top]),
    }


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a row one of its kind."""
    return tuple(row[name] for name in ("family", "agent", "seed", "course", "lifetimes"))


def read() -> list[dict[str, Any]]:
    """The rows that are kept."""
    return json.loads(KEPT.read_text()) if KEPT.is_file() else []


def keep(rows: Sequence[dict[str, Any]]) -> None:
    """Write all rows, so that the file is whole at any moment."""
    beside = KEPT.with_suffix(".tmp")
    beside.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    os.replace(beside, KEPT)


def run(rows: list[dict[str, Any]], families: Sequence[str], agents: Sequence[str], seeds: Sequence[int]) -> None:
    """Live what is missing; every course that is done is kept at once."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    wanted = [
        {"family": family, "agent": agent, "seed": seed, "course": course, "lifetimes": lifetimes_of(family, agent)}
        for seed in seeds
        for family in families
        for agent in agents
        for course in COURSES
    ]
    done = {key_of(row) for row in rows}
    missing = [row for row in wanted if key_of(row) not in done]
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    progressive, whose = None, None
    with Progress(*columns) as bar:
        task = bar.add_task("", total=len(wanted), completed=len(wanted) - len(missing))
        for row in missing:
            family, agent, seed, course = (row[name] for name in ("family", "agent", "seed", "course"))
            bar.update(task, description=f"{family}, {agent}, {course}, seed {seed}")
            started = time.perf_counter()
            if progressive is None or whose != (family, agent, seed):
                progressive, whose = live(family, agent, seed, course="progressive"), (family, agent, seed)
            figures = figures_of(course, progressive, family, agent, seed)
            row["seconds"] = round(time.perf_counter() - started, 2)
            row["figures"] = {name: list(mean_and_error(values)) for name, values in figures.items()}
            rows.append(row)
            keep(rows)
            bar.advance(task)


# --- pooling --------------------------------------------------------------------------------------------------------


def pooled(rows: Sequence[dict[str, Any]], name: str) -> Interval:
    """Mean over the lifetimes of all seeds and half the width of its 95% interval, each seed a stratum."""
    counts = np.array([row["lifetimes"] for row in rows], dtype=np.float64)
    means, halves = np.array([row["figures"][name] for row in rows]).T
    shares = counts / counts.sum()
    return float(shares @ means), float(np.sqrt(((shares * halves) ** 2).sum()))


def measures(rows: Sequence[dict[str, Any]], family: str, agent: str) -> dict[Measure, Interval]:
    """Everything that the page says of one agent on one family; empty where a course is missing.

    Returns:
        (course, figure) -> its interval, over the lifetimes of all seeds.
    """
    mine = [row for row in rows if (row["family"], row["agent"]) == (family, agent)]
    lived = {course: [row for row in mine if row["course"] == course] for course in COURSES}
    if not all(lived.values()):
        return {}
    found = {(course, name): pooled(here, name) for course, here in lived.items() for name in here[0]["figures"]}
    # The isolated course has drawn other tasks by then: paired with nothing.
    (met, met_half), (fresh, fresh_half) = found["isolated", "first"], found["fresh", "first"]
    found["isolated", "interference"] = met - fresh, float(np.hypot(met_half, fresh_half))
    return found


# --- the page -------------------------------------------------------------------------------------------------------

# Title of a table -> heading of a column -> what stands there.
TABLES: dict[str, dict[str, Measure]] = {
    "Mean normalised return in the top level's stage": {
        "progressive": ("progressive", "top"),
        "shuffled": ("shuffled", "top"),
        "fresh": ("fresh", "top"),
        "isolated": ("isolated", "top"),
        "top alone, equal steps": ("top alone", "top_steps"),
        "top alone, equal episodes": ("top alone", "top"),
    },
    "What the chapters before are worth, first episode and whole stage averaged over the levels above the first": {
        "forward transfer (first episode)": ("fresh", "first_difference"),
        "whole stage, over fresh": ("fresh", "stage_difference"),
        "interference (isolated over fresh, first episode)": ("isolated", "interference"),
    },
    "Top level, progressive minus the other": {
        "isolated": ("isolated", "top_difference"),
        "fresh": ("fresh", "top_difference"),
        "top alone, equal steps": ("top alone", "top_steps_difference"),
        "top alone, equal episodes": ("top alone", "top_difference"),
    },
    "Whole life, progressive minus the other; and the first level visited again": {
        "shuffled": ("shuffled", "area_difference"),
        "reversed": ("reversed", "area_difference"),
        "retention (second visit over the end of the first)": ("review", "retention"),
        "second visit over the beginning of the first": ("review", "saved"),
    },
}


def cell(interval: Interval) -> str:
    """A mean and its half width, with three decimals."""
    return f"{fixed(interval[0], 3)} ± {fixed(interval[1], 3)}"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """The tables of the page, in Markdown."""
    parts = []
    for agent, title in AGENTS.items():
        found = {family: one for family in FAMILIES if (one := measures(rows, family, agent))}
        if not found:
            continue
        most = max(sum(name.startswith("first_difference_") for _, name in one) for one in found.values())
        levels = {f"level {k}": ("fresh", f"first_difference_{k}") for k in range(1, most + 1)}
        parts.append(f"### {title}\n")
        for words, columns in (TABLES | {"Forward transfer by level (the first is level 0)": levels}).items():
            body = [
                [family, *(cell(one[measure]) if measure in one else "" for measure in columns.values())]
                for family, one in found.items()
            ]
            parts.append(f"{words}:\n\n{table(['family', *columns], body)}")
    seeds = ", ".join(map(str, sorted({row["seed"] for row in rows})))
    fewer = ", ".join(f"{family} {count}" for (_, family), count in SLOW.items())
    minutes = sum(row["seconds"] for row in rows) / 60
    parts.append(
        f"*{LIFETIMES} lifetimes on test tasks for each of the evaluation seeds {seeds} (RL2 fewer on some: {fewer}); "
        f"shipped agents, one training seed; {len(rows)} courses, {minutes:.0f} minutes by the clock, one process "
        "on a machine that other work shared.*"
    )
    return "\n".join(parts)


PANELS: dict[str, Measure] = {
    "forward transfer:\nfirst episode, over fresh": ("fresh", "first_difference"),
    "top level:\nover isolated problems": ("isolated", "top_difference"),
    "top level: over as many\nsteps at the top alone": ("top alone", "top_steps_difference"),
    "whole life:\nover shuffled": ("shuffled", "area_difference"),
    "whole life:\nover reversed": ("reversed", "area_difference"),
}
STYLES = {
    "reference": ("reference learner", "o", "#31688e", 0.22),
    "rl2": ("RL2 (trained on progressive)", "D", "darkorange", 0.0),
    "reactive": ("reactive, no memory (control)", "s", "gray", -0.22),
}


def draw(rows: Sequence[dict[str, Any]]) -> None:
    """The picture of the page: differences between courses, with their intervals, by family."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = {(family, agent): measures(rows, family, agent) for family in FAMILIES for agent in AGENTS}
    shown = [family for family in FAMILIES if found[family, "reference"]]
    shown.sort(key=lambda family: found[family, "reference"]["isolated", "top_difference"][0])
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12.0, 5.0), sharey=True)
    for axis, (title, measure) in zip(axes, PANELS.items(), strict=True):
        for agent, (label, marker, color, shift) in STYLES.items():
            here = [(place, found[family, agent]) for place, family in enumerate(shown) if found[family, agent]]
            if not here:
                continue
            means, halves = np.array([one[measure] for _, one in here]).T
            places = np.array([place for place, _ in here]) + shift
            axis.errorbar(
                means, places, xerr=halves, fmt=marker, color=color, label=label, markersize=4, elinewidth=1.2
            )
        axis.axvline(0.0, color="black", linewidth=0.7)
        for place in range(0, len(shown), 2):
            axis.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.04, linewidth=0)
        axis.set_title(title, fontsize=10)
        axis.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    axes[0].set_yticks(range(len(shown)), shown)
    axes[0].set_ylim(-0.5, len(shown) - 0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    unit = "progressive minus the other, in normalised return (0 random, 1 oracle)"
    figure.text(0.5, 0.065, unit, ha="center", fontsize=9)
    figure.legend(handles, labels, loc="lower center", ncol=len(STYLES), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(PICTURE, dpi=120)


def main(arguments: list[str]) -> int:
    """Live what is missing, then write the page's tables and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--agents", nargs="*", default=list(AGENTS), choices=list(AGENTS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS), help="evaluation seeds")
    parser.add_argument("--only-pages", action="store_true")
    chosen = parser.parse_args(arguments)
    rows = [row for row in read() if row["lifetimes"] == lifetimes_of(row["family"], row["agent"])]
    if not chosen.only_pages:
        run(rows, chosen.families, chosen.agents, chosen.seeds)
    text = tables(rows)
    print(text)
    write_between(PAGE, "tables", text)
    draw(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
