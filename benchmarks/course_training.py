"""Does it matter on which course one learns to learn? The same RL2, budget and seeds, trained on different courses.

``python benchmarks/course_training.py`` trains one agent for every family, course and training seed, lets each live the
progressive course, the isolated one, the top level alone and the course with a review on the same test tasks, keeps the
figures in docs/course_training.jsonl (it can be stopped at any time and goes on where it was), and writes a table of
docs/does_the_textbook_help.md. ``--only-pages`` writes that alone; ``--jobs 2`` trains two at a time.
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

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "course_training.jsonl"
PAGE = "does_the_textbook_help.md"
SEEDS = 3
LIFETIMES = 512  # of each course that is lived, test split, seed 0

# Environment, its settings, environment steps of one training.
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "TabularMDP": ("daytwo/TabularMDP-v0", {}, 3_000_000),
    "DarkRoom": ("daytwo/DarkRoom-v0", {}, 3_000_000),
}
TRAINED = ("progressive", "review", "shuffled", "reversed", "isolated", "single")
LIVED = ("progressive", "isolated", "single", "review")
# The learner: rewards alone teach it.
LEARNER = {"encoder_size": 64, "gated": True, "previous": True, "memory_heads": 2, "entropy": 0.02}


def train_and_evaluate(family: str, course: str, seed: int) -> dict[str, Any]:
    """One agent, trained on one course and evaluated on others."""
    import torch

    from daytwo.integrations.rl2 import make
    from daytwo.integrations.training_config import RL2Config

    torch.set_num_threads(1)
    env_id, settings, steps = FAMILIES[family]
    started = time.perf_counter()
    trained = {**settings, "course": course}
    trainer = make(env_id, config=RL2Config(**LEARNER), settings=trained, steps=steps, num_envs=None, seed=seed)
    while trainer.steps < steps:
        trainer.advance()
    seconds, agent = time.perf_counter() - started, trainer.agent()
    row: dict[str, Any] = {"family": family, "course": course, "seed": seed, "steps": trainer.steps}
    row["seconds"] = round(seconds, 1)
    for lived in LIVED:
        result = daytwo.evaluate(agent, env_id, lifetimes=LIFETIMES, seed=0, course=lived, **settings)
        top = result.levels == result.levels.max()
        row[lived] = round(float(result.normalized.mean()), 4)
        row[f"{lived}_top"] = round(float(result.normalized[top].mean()), 4)
        if lived == "review":
            second = result.stages == result.stages.max()  # the first level once more
            begins = int(np.argmax(second[0]))
            first_visit = int((result.stages[0] == 0).sum())
            retained = result.normalized[:, begins] - result.normalized[:, first_visit - 1]
            row["retention"] = round(float(retained.mean()), 4)
    trainer.close()
    return row


def _shown(values: list[float]) -> str:
    """Mean and range over training seeds."""
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def table(rows: list[dict[str, Any]]) -> str:
    """The table, in Markdown: a line for each family and course."""
    lines = [
        "| family | trained on | area of a progressive life | of an isolated life | its top level after the others | "
        "top level alone | retention | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for family in FAMILIES:
        for course in TRAINED:
            mine = [row for row in rows if (row["family"], row["course"]) == (family, course)]
            if mine:
                columns = [
                    _shown([row[name] for row in mine])
                    for name in ("progressive", "isolated", "progressive_top", "single", "retention")
                ]
                lines.append(f"| {' | '.join([family, course, *columns, str(len(mine))])} |")
    steps = ", ".join(f"{family} {FAMILIES[family][2] / 1e6:g} M" for family in FAMILIES)
    lines += ["", f"*Mean and range over training seeds; environment steps: {steps}.*"]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Train what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="training seeds, from 0 on")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--only-pages", action="store_true")
    chosen = parser.parse_args(arguments)
    if not chosen.only_pages:
        import joblib
        from rich.progress import track

        done = {(row["family"], row["course"], row["seed"]) for row in read_rows(KEPT)}
        wanted = [
            (family, course, seed)
            for seed in range(chosen.seeds)
            for family in chosen.families
            for course in TRAINED
            if (family, course, seed) not in done
        ]
        runs = joblib.Parallel(n_jobs=chosen.jobs, return_as="generator_unordered")(
            joblib.delayed(train_and_evaluate)(*one) for one in wanted
        )
        for row in track(runs, total=len(wanted), description="trainings"):
            with KEPT.open("a") as file:
                file.write(json.dumps(row) + "\n")
    rows = read_rows(KEPT)
    if rows:
        write_between(PAGE, "training", table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
