"""Do teachers help? The same RL2, budget and seeds, practising what different teachers choose.

``python benchmarks/teacher_study.py`` trains one agent for every family, teacher and training seed, evaluates each at
every level on the same test tasks, which no teacher ever sees, keeps the figures in docs/teacher_study.jsonl (it can be
stopped at any time and goes on where it was), and writes the tables and pictures of docs/do_teachers_help.md.
``--only-pages`` writes those alone; ``--jobs 2`` trains two at a time.

All agents of a family take the same number of environment steps, and what a teacher spends on finding out is among
them. A second run of the teachers that go by the order of the tasks has that order scrambled.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from pages import read_rows, write_between

import daytwo
from daytwo.evaluation.aggregates import interquartile_means

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "teacher_study.jsonl"
PICTURES = {"scores": ROOT / "docs" / "do_teachers_help.png", "curricula": ROOT / "docs" / "curricula.png"}
PAGE = "do_teachers_help.md"
SEEDS = 3
LIFETIMES = 256  # per level, of the test split, seed 0
POINTS = 20  # of the curriculum's picture
RESAMPLES = 2000

# Environment, its settings, environment steps of one training.
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "DarkRoom": ("daytwo/DarkRoom-v0", {}, 2_000_000),
    "Maze": ("daytwo/Maze-v0", {"size": 9, "distances": (6, 10, 16, 24)}, 2_000_000),
    "Textbook": ("daytwo/Textbook-v0", {}, 2_000_000),
}
# The learner: rewards alone teach it.
LEARNER = {"encoder_size": 64, "gated": True, "previous": True, "memory_heads": 2, "entropy": 0.02}
STEP_OF_MUTATION = 0.5  # levels


def nearby(tasks: np.ndarray, generator: np.random.Generator, levels: int) -> np.ndarray:
    """Mutations for ACCEL: the level's coordinate, moved a little."""
    moved = tasks + STEP_OF_MUTATION * generator.standard_normal(tasks.shape)
    return np.clip(moved, 0.0, levels).astype(tasks.dtype)


# Label: the teacher's name, its options, and what its tasks are: the family's levels (one by one, or as one continuous
# coordinate), or 256 tasks at each level.
TEACHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "uniform": ("uniform", {}, "levels"),
    "schedule": ("schedule", {}, "levels"),
    "mastery-gate": ("mastery-gate", {}, "levels"),
    "learning-progress": ("learning-progress", {}, "levels"),
    "learnability": ("learnability", {}, "levels"),
    "plr": ("plr", {}, "levels"),
    "plr, single tasks": ("plr", {}, "tasks"),
    "plr with mutations (ACCEL)": ("plr", {"mutate": nearby}, "coordinate"),
    "alp-gmm": ("alp-gmm", {}, "coordinate"),
    "self-paced": ("self-paced", {}, "coordinate"),
}
# Those to which the order of the levels means something.
ORDERED = ("schedule", "mastery-gate", "plr with mutations (ACCEL)", "alp-gmm", "self-paced")


def put_teacher(env: Any, label: str, *, family: str, seed: int, scrambled: bool) -> Any:
    """A teacher of `TEACHERS` in front of an environment."""
    from daytwo.curricula.task_pool import TaskPool
    from daytwo.teaching import TaughtVectorEnv, level_box

    env_id, settings, steps = FAMILIES[family]
    name, options, kind = TEACHERS[label]
    levels = len(env.family.levels)
    # A cycle through all levels in random order: no level stays where it was.
    order = np.random.default_rng(seed).permutation(levels)
    place = np.arange(levels)
    if scrambled:
        place[order] = np.roll(order, 1)
    if "mutate" in options:
        options = {**options, "mutate": lambda tasks, generator: nearby(tasks, generator, levels)}
    if kind == "tasks":
        pool = TaskPool(env_id, tasks=256, seed=seed, **settings)
        space, decode = pool.space, pool.decode
    else:
        space, plain = level_box(levels) if kind == "coordinate" else (env.family.teacher_space, env.family.decode)

        def decode(row: Any) -> dict[str, Any]:
            return {"level": int(place[plain(row)["level"]])}

    return TaughtVectorEnv(env, name, space=space, decode=decode, seed=seed, budget=steps, **options)


def train_and_evaluate(family: str, label: str, seed: int, scrambled: bool) -> dict[str, Any]:
    """One agent, trained with a teacher and evaluated at every level."""
    import torch

    from daytwo.integrations.rl2_trainer import make
    from daytwo.integrations.training_config import RL2Config

    torch.set_num_threads(1)
    env_id, settings, steps = FAMILIES[family]
    started = time.perf_counter()
    trainer = make(
        env_id,
        config=RL2Config(**LEARNER),
        settings=settings,
        steps=steps,
        num_envs=None,
        seed=seed,
        teacher=lambda env: put_teacher(env, label, family=family, seed=seed, scrambled=scrambled),
    )
    levels = len(trainer.spec.levels)
    lived = [(0, np.zeros(levels))]  # steps done, and lifetimes at each level by then
    told: dict[str, float] = {}
    while trainer.steps < steps:
        told = {**told, **trainer.advance()}
        lived.append((trainer.steps, np.array([told.get(f"teacher/trials_{k}", 0.0) for k in range(levels)])))
    seconds = time.perf_counter() - started
    agent, areas, errors = trainer.agent(), [], []
    for level in range(levels):
        result = daytwo.evaluate(agent, env_id, lifetimes=LIFETIMES, seed=0, course="single", level=level, **settings)
        area = result.normalized.mean(axis=1)
        areas.append(round(float(area.mean()), 4))
        errors.append(round(float(area.std(ddof=1) / np.sqrt(LIFETIMES)), 4))
    edges = np.linspace(0, trainer.steps, POINTS + 1)
    done, trials = np.array([one for one, _ in lived]), np.array([one for _, one in lived])
    counts = np.diff([[np.interp(edge, done, column) for column in trials.T] for edge in edges], axis=0)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
    row = {
        "family": family,
        "teacher": label,
        "seed": seed,
        "scrambled": scrambled,
        "steps": trainer.steps,
        "seconds": round(seconds, 1),
        "areas": areas,
        "errors": errors,
        "shares": shares.round(3).tolist(),
        "effective_tasks": round(told["teacher/effective_tasks"], 2),
        "mastered": round(told["teacher/mastered"], 3),
    }
    trainer.close()
    return row


# --- tables and pictures ----------------------------------------------------------------------------------------------


def scores_of(rows: list[dict[str, Any]], label: str, families: list[str], scrambled: bool) -> np.ndarray:
    """Area by training seed and by level of each family, ``float64[seeds, levels of all families]``."""
    columns = []
    for family in families:
        mine = {
            row["seed"]: row["areas"]
            for row in rows
            if (row["family"], row["teacher"], row["scrambled"]) == (family, label, scrambled)
        }
        columns.append([mine[seed] for seed in sorted(mine)])
    fewest = min(len(column) for column in columns)
    if fewest == 0:
        return np.zeros((0, 0))
    return np.concatenate([np.array(column[:fewest]) for column in columns], axis=1)


def estimates(scores: np.ndarray, others: np.ndarray) -> tuple[list[float], list[float]]:
    """Interquartile mean, and probability of being better than ``others``: value, lower and upper end (95%).

    Stratified bootstrap over training seeds, level by level (Agarwal et al. 2021, arXiv 2108.13264).
    """

    def resampled(matrix: np.ndarray, seed: int) -> np.ndarray:
        """The matrix itself, and then with the seeds of every column drawn anew."""
        drawn = np.random.default_rng(seed).integers(0, len(matrix), (RESAMPLES, *matrix.shape))
        return np.concatenate([matrix[None], np.take_along_axis(matrix[None], drawn, axis=1)])

    def interval(values: np.ndarray) -> list[float]:
        return [float(values[0]), *np.quantile(values[1:], [0.025, 0.975]).tolist()]

    own, other = resampled(scores, 0), resampled(others, 1)
    wins = np.zeros(len(own))
    for first in range(own.shape[1]):
        for second in range(other.shape[1]):
            gap = own[:, first] - other[:, second]
            wins += ((gap > 0) + 0.5 * (gap == 0)).mean(axis=1)
    return interval(interquartile_means(own)), interval(wins / (own.shape[1] * other.shape[1]))


def _shown(estimate: list[float], digits: int = 3) -> str:
    return f"{estimate[0]:.{digits}f} [{estimate[1]:.{digits}f}, {estimate[2]:.{digits}f}]"


def table(rows: list[dict[str, Any]]) -> str:
    """All tables, in Markdown."""
    lines: list[str] = []
    families = [family for family in FAMILIES if any(row["family"] == family for row in rows)]
    groups = [("All families", families), *((family, [family]) for family in families)]
    for title, chosen in groups:
        baseline = scores_of(rows, "uniform", chosen, False)
        if not baseline.size:
            continue
        lines += [f"### {title}", ""]
        lines += [
            "| teacher | interquartile mean | better than uniform | by level | effective tasks at the end | seeds |",
            "|---|---|---|---|---|---|",
        ]
        for scrambled in (False, True):
            for label in TEACHERS:
                scores = scores_of(rows, label, chosen, scrambled)
                if not scores.size:
                    continue
                middle, better = estimates(scores, baseline)
                mine = [
                    row
                    for row in rows
                    if row["family"] in chosen and (row["teacher"], row["scrambled"]) == (label, scrambled)
                ]
                levels = " ".join(f"{value:.2f}" for value in scores.mean(axis=0)) if len(chosen) == 1 else ""
                effective = np.mean([row["effective_tasks"] for row in mine])
                name = f"{label}, order scrambled" if scrambled else label
                chance = "" if label == "uniform" else _shown(better, 2)
                lines.append(f"| {name} | {_shown(middle)} | {chance} | {levels} | {effective:.1f} | {len(scores)} |")
        lines.append("")
    seconds = sum(row["seconds"] for row in rows)
    lines.append(f"*{len(rows)} trainings, {seconds / 3600:.1f} hours of one core in all, evaluations left out.*")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]]) -> None:
    """The two pictures: scores, and the curriculum that each teacher made."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = [family for family in FAMILIES if any(row["family"] == family for row in rows)]
    labels = [label for label in TEACHERS if any(row["teacher"] == label for row in rows)]
    figure, axes = pyplot.subplots(1, len(families), figsize=(3.6 * len(families) + 1.6, 4.2), sharey=True)
    for axis, family in zip(np.atleast_1d(axes), families, strict=True):
        baseline = scores_of(rows, "uniform", [family], False)
        for scrambled, colour, shift in ((False, "#1f5a96", 0.12), (True, "#c8611a", -0.18)):
            for k, label in enumerate(labels):
                scores = scores_of(rows, label, [family], scrambled)
                if not scores.size:
                    continue
                middle, _ = estimates(scores, baseline)
                y = len(labels) - 1 - k + shift
                axis.plot(middle[1:], [y, y], color=colour, linewidth=2)
                axis.plot(middle[0], y, "o", color=colour, markersize=5)
                axis.plot(
                    interquartile_means(scores[:, None]),
                    np.full(len(scores), y),
                    "|",
                    color=colour,
                    markersize=7,
                    alpha=0.6,
                )
        if baseline.size:
            axis.axvline(estimates(baseline, baseline)[0][0], color="#999999", linewidth=0.8, linestyle=":")
        axis.set_title(family)
        axis.set_xlabel("normalised return on test tasks")
        axis.set_yticks(range(len(labels)), labels[::-1])
        axis.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Line2D([], [], color=colour, marker="o") for colour in ("#1f5a96", "#c8611a")]
    figure.legend(handles, ["levels in order", "order scrambled"], loc="lower right", ncol=2, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(PICTURES["scores"], dpi=110)
    pyplot.close(figure)

    figure, axes = pyplot.subplots(
        len(families), len(labels), figsize=(1.55 * len(labels), 1.5 * len(families) + 0.6), sharex=True, sharey=True
    )
    for line, family in zip(np.atleast_2d(axes), families, strict=True):
        for axis, label in zip(line, labels, strict=True):
            mine = [row for row in rows if (row["family"], row["teacher"]) == (family, label) and not row["scrambled"]]
            if mine:
                shares = np.mean([row["shares"] for row in mine], axis=0)
                steps = (np.arange(POINTS) + 0.5) / POINTS * FAMILIES[family][2] / 1e6
                colours = pyplot.get_cmap("viridis")(np.linspace(0.05, 0.95, shares.shape[1]))
                axis.stackplot(steps, shares.T, colors=colours)
            axis.set_ylim(0, 1)
            axis.set_xlim(0, FAMILIES[family][2] / 1e6)
            if family == families[0]:
                axis.set_title(label.replace(", ", ",\n").replace(" with", "\nwith"), fontsize=8)
        line[0].set_ylabel(family)
    figure.supxlabel("million environment steps", fontsize=9)
    figure.suptitle("share of the lifetimes at each level, from the lowest (dark) to the top (yellow)", fontsize=9)
    figure.tight_layout()
    figure.savefig(PICTURES["curricula"], dpi=110)
    pyplot.close(figure)


def write_pages() -> None:
    """Tables and pictures from the runs that are done."""
    rows = read_rows(KEPT)
    if rows:
        draw(rows)
        write_between(PAGE, "tables", table(rows))


def main(arguments: list[str]) -> int:
    """Train what is missing, and write the page's tables and pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--teachers", nargs="+", default=list(TEACHERS), choices=list(TEACHERS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="training seeds, from 0 on")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--order", choices=["kept", "scrambled", "both"], default="both")
    parser.add_argument("--only-pages", action="store_true")
    chosen = parser.parse_args(arguments)
    if not chosen.only_pages:
        import joblib
        from rich.progress import track

        done = {(row["family"], row["teacher"], row["seed"], row["scrambled"]) for row in read_rows(KEPT)}
        orders = {"kept": (False,), "scrambled": (True,), "both": (False, True)}[chosen.order]
        wanted = [
            (family, label, seed, scrambled)
            for scrambled in orders
            for seed in range(chosen.seeds)
            for family in chosen.families
            for label in chosen.teachers
            if (label in ORDERED or not scrambled) and (family, label, seed, scrambled) not in done
        ]
        runs = joblib.Parallel(n_jobs=chosen.jobs, return_as="generator_unordered")(
            joblib.delayed(train_and_evaluate)(*one) for one in wanted
        )
        for row in track(runs, total=len(wanted), description="trainings"):
            with KEPT.open("a") as file:
                file.write(json.dumps(row) + "\n")
    write_pages()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
