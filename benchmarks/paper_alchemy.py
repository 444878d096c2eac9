"""The scores of Alchemy (Wang et al. 2021, arXiv 2102.02926), symbolic version: total reward of ten trials.

Theirs: mean and standard error over 1000 meta-episodes, without rotation. Ours: the same over lifetimes on tasks of all
splits. A difference is counted in pooled standard errors.

python benchmarks/paper_alchemy.py                                        as published
python benchmarks/paper_alchemy.py --rotation drawn --lifetimes 4000      the whole benchmark, more lifetimes
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from daytwo.baselines.alchemy import AlchemyBlind, AlchemyHeuristic
from daytwo.baselines.alchemy_observer import AlchemyObserver
from daytwo.baselines.basic import Oracle, Random
from daytwo.envs.alchemy import PUBLISHED, Alchemy
from daytwo.evaluation import evaluate

PUBLISHED_LIFETIMES = 1000
FLAG = 2.0
# Row, agent (None: only published), published mean and standard error (None: not printed), compare the two.
ROWS = (
    ("uniform over actions", Random, 17.6, None, True),
    ("random heuristic", AlchemyHeuristic, 145.7, 1.5, True),
    ("V-MPO", None, 155.4, 1.6, False),
    ("alchemy-blind", AlchemyBlind, None, None, False),
    ("alchemy-observer", AlchemyObserver, None, None, False),
    ("ideal observer", None, 284.4, 1.6, False),
    ("search oracle", Oracle, 288.5, 1.5, True),
)
PUBLISHED_LOSS = 288.5 - 284.4  # of the ideal observer to the oracle
NOTES = (
    "alchemy-blind plans without any memory, and stands above the published V-MPO agent, which has one.",
    "alchemy-observer has the ideal observer's posterior, without its full expectimax over what a trial may reveal.",
)


@dataclass(frozen=True)
class Row:
    """One agent.

    Attributes:
        name: in the table.
        published: the paper's mean, None where it has none.
        published_error: its standard error, None where it has none.
        mean: ours, None for agents that are not ours.
        error: standard error of ours.
        first: our mean in the first trial.
        difference: ours less theirs in pooled standard errors, None where the two are not the same agent.
    """

    name: str
    published: float | None
    published_error: float | None
    mean: float | None = None
    error: float = 0.0
    first: float | None = None
    difference: float | None = None


def print_table(
    *, lifetimes: int = 1000, seed: int = 0, rotation: str = "never", write: Callable[[str], None] = print
) -> list[Row]:
    """Print the table, every row as soon as it is measured.

    Args:
        lifetimes: how many.
        seed: of the lifetimes.
        rotation: ``never`` as published, or ``drawn``.
        write: takes each line.

    Returns:
        The rows.
    """
    settings = {**PUBLISHED, "rotation": rotation}
    write(f"Alchemy, total reward of 10 trials; ours on {lifetimes} lifetimes, seed {seed}, rotation {rotation}")
    write(f"  {'':22}{'published':>16}{'ours':>18}{'difference':>14}{'first trial':>14}")
    rows: list[Row] = []
    kept: dict[str, np.ndarray] = {}
    for name, agent, published, published_error, compare in ROWS:
        row = Row(name, published, published_error)
        if agent is not None:
            result = evaluate(agent, Alchemy, lifetimes=lifetimes, seed=seed, split="all", **settings)
            totals = kept[name] = result.returns.sum(axis=1)
            spread = float(totals.std(ddof=1))
            mean, error = float(totals.mean()), spread / math.sqrt(lifetimes)
            difference = None
            if compare:
                theirs = spread / math.sqrt(PUBLISHED_LIFETIMES) if published_error is None else published_error
                difference = (mean - published) / math.hypot(error, theirs)
            first = float(result.returns[:, 0].mean())
            row = Row(name, published, published_error, mean, error, first, difference)
        rows.append(row)
        write(line(row))
    loss = kept["search oracle"] - kept["alchemy-observer"]
    write(
        f"alchemy-observer's loss to the oracle on the same lifetimes: {loss.mean():.1f} +- "
        f"{loss.std(ddof=1) / math.sqrt(lifetimes):.1f} (published, ideal observer: {PUBLISHED_LOSS:.1f})"
    )
    for note in NOTES:
        write(note)
    return rows


def line(row: Row) -> str:
    """One line of the table."""
    published = "" if row.published is None else f"{row.published:.1f}"
    published += "" if row.published_error is None else f" +- {row.published_error:.1f}"
    ours = "" if row.mean is None else f"{row.mean:.1f} +- {row.error:.1f}"
    difference = "" if row.difference is None else f"{row.difference:+.1f} s.e."
    first = "" if row.first is None else f"{row.first:.1f}"
    flag = "  <-- beyond" if row.difference is not None and abs(row.difference) > FLAG else ""
    return f"  {row.name:22}{published:>16}{ours:>18}{difference:>14}{first:>14}{flag}".rstrip()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lifetimes", type=int, default=1000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the lifetimes")
    parser.add_argument("--rotation", choices=("never", "drawn"), default="never", help="whether stones are turned")
    print_table(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
