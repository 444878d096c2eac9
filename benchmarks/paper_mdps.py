"""Table 2 of RL2 (Duan et al. 2016, arXiv 1611.02779): total reward of hand-made agents on random MDPs.

Theirs: the mean over 1000 tasks, options at their best on the same tasks. Ours: options chosen on the validation split,
the mean taken on the test split. A difference is counted in standard errors of itself: ours, theirs (our standard
deviation over their 1000 tasks, since they print none) and the rounding of their figure to one decimal (+-.05).

python benchmarks/paper_mdps.py                                   both published columns
python benchmarks/paper_mdps.py --episodes 5 --states 6           any n, states and actions, without published figures
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import daytwo
from daytwo.agent import make_agent
from daytwo.baselines.tuning import lifetime_returns, stored_options, tune
from daytwo.streams import lifetime_seeds

ENV_ID = "daytwo/TabularMDP-v0"
# Row, agent, its fixed options, whether there is something to tune. The paper's rows come first.
ROWS: tuple[tuple[str, str, Mapping[str, Any], bool], ...] = (
    ("Random", "random", {}, False),
    ("PSRL", "psrl", {"prior": "paper"}, False),
    ("OPSRL", "opsrl", {}, True),
    ("UCRL2", "ucrl2", {}, True),
    ("BEB", "beb", {}, True),
    ("eps-Greedy", "epsilon-greedy", {}, True),
    ("Greedy", "greedy", {}, False),
    ("PSRL, right prior", "psrl", {"prior": "right"}, False),
    ("posterior-greedy", "posterior-greedy", {}, False),
    ("- planning each step", "posterior-greedy", {"every_step": True}, False),
    ("Q-learning", "q-learning", {}, True),
)
PUBLISHED: dict[int, dict[str, float]] = {
    10: {
        "Random": 100.1,
        "PSRL": 138.1,
        "OPSRL": 144.1,
        "UCRL2": 146.6,
        "BEB": 150.2,
        "eps-Greedy": 132.8,
        "Greedy": 134.8,
        "RL2": 156.2,
    },
    25: {
        "Random": 250.2,
        "PSRL": 408.8,
        "OPSRL": 425.2,
        "UCRL2": 424.1,
        "BEB": 427.8,
        "eps-Greedy": 377.3,
        "Greedy": 368.8,
        "RL2": 445.7,
    },
}
PUBLISHED_SIZE = (10, 5)
PUBLISHED_TASKS = 1000
ROUNDING = 0.1 / math.sqrt(12.0)
FLAG = 2.5
OPTIMUM = 21.85  # per episode, 10 states and 5 actions, +- .01
TUNING_LIFETIMES = 1024
NOTES = (
    "The paper's agents plan once an episode. Q-learning, and posterior-greedy when it plans at each step, use what an",
    "episode teaches within that episode already, and stand above them. Where Q-learning is best with discount 0, it",
    "is a bandit of its own in every state: flat Dirichlet transitions mix so fast that planning is worth little here.",
    "eps-Greedy is tuned over .1, .2, .., 1: with 0 it could not fall below Greedy, as the paper's does at n=10.",
)


@dataclass(frozen=True)
class Cell:
    """One agent over one number of episodes.

    Attributes:
        row: its name in the table.
        published: the paper's mean, None where the paper has no such cell.
        mean: ours.
        error: standard error of ours.
        spread: standard deviation over tasks.
        options: the tuned options.
    """

    row: str
    published: float | None
    mean: float
    error: float
    spread: float
    options: Mapping[str, Any]

    @property
    def difference(self) -> float | None:
        """Ours less theirs, in standard errors of the difference."""
        if self.published is None:
            return None
        theirs = self.spread / math.sqrt(PUBLISHED_TASKS)
        return (self.mean - self.published) / math.sqrt(self.error**2 + theirs**2 + ROUNDING**2)


def settings(episodes: int, states: int, actions: int) -> dict[str, Any]:
    """RL2's protocol: n episodes of the whole MDP, paid as they are."""
    return {"states": states, "actions": actions, "course": "single", "episodes": episodes, "reward": "raw"}


def cell(row: str, totals: np.ndarray, options: Mapping[str, Any], published: float | None) -> Cell:
    """A cell from the totals of the tasks, ``float64[tasks]``."""
    spread = float(totals.std(ddof=1))
    return Cell(row, published, float(totals.mean()), spread / math.sqrt(len(totals)), spread, options)


def measure(
    row: str,
    agent: str,
    fixed: Mapping[str, Any],
    tuned: bool,
    chosen: dict[str, Any],
    *,
    published: float | None,
    tasks: int,
    seed: int,
    retune: bool,
) -> Cell:
    """Tune an agent where it has options and none are stored, and measure it on the test split."""
    spec = daytwo.LifetimeVectorEnv(ENV_ID, num_envs=1, **chosen).lifetime_spec
    options: dict[str, Any] = {}
    if tuned:
        options = {} if retune else stored_options(agent, spec)
        if not options:
            options = dict(tune(agent, ENV_ID, lifetimes=TUNING_LIFETIMES, seed=seed, store=False, **chosen).options)
    made = make_agent(agent, spec, **fixed, **options)
    totals = lifetime_returns(made, ENV_ID, chosen, "test", tasks, seed)[0].sum(axis=1)
    return cell(row, totals, options, published)


def optimum(chosen: dict[str, Any], tasks: int, seed: int) -> np.ndarray:
    """The exact optimal value of an episode of each test task, ``float64[tasks]``, by value iteration in NumPy."""
    env = daytwo.LifetimeVectorEnv(ENV_ID, num_envs=tasks, split="test", privileged=True, **chosen)
    _, info = env.reset(seed=lifetime_seeds(seed, 0, tasks))
    family = env.family
    states, top = family.keywords["states"], len(family.levels) - 1
    mean = info["task"]["mean_reward"][:, :states, : family.actions].astype(np.float64)
    chance = np.stack([family.transition_probabilities(task, top) for task in info["task"]])  # type: ignore[attr-defined]
    value = np.zeros((tasks, states))
    for _ in range(family.keywords["horizon"]):
        value = (mean + np.einsum("nsak,nk->nsa", chance, value)).max(axis=2)
    return value[:, 0]


def line(result: Cell) -> str:
    """One line of the table."""
    published = "" if result.published is None else f"{result.published:.1f}"
    difference = "" if result.difference is None else f"{result.difference:+.1f} s.e."
    flag = "  <-- beyond" if result.difference is not None and abs(result.difference) > FLAG else ""
    options = ", ".join(f"{name}={value:g}" for name, value in result.options.items())
    ours = f"{result.mean:.2f} +- {result.error:.2f}"
    return f"  {result.row:22}{published:>10}{ours:>18}{difference:>14}   {options}{flag}".rstrip()


def print_tables(
    *,
    episodes: Sequence[int] = (10, 25),
    tasks: int = 4000,
    seed: int = 0,
    retune: bool = False,
    states: int = 10,
    actions: int = 5,
    write: Callable[[str], None] = print,
) -> list[Cell]:
    """Print one table per number of episodes, every row as soon as it is measured.

    Args:
        episodes: the numbers n.
        tasks: test tasks.
        seed: of the tasks, those to tune on too.
        retune: tune again where tuned options are stored.
        states: of the MDP.
        actions: of the MDP.
        write: takes each line.

    Returns:
        All the cells.
    """
    cells: list[Cell] = []
    for n in episodes:
        chosen = settings(n, states, actions)
        published = PUBLISHED.get(n, {}) if (states, actions) == PUBLISHED_SIZE else {}
        write(
            f"RL2 Table 2, n={n} episodes of 10 steps, {states} states, {actions} actions: total reward; ours on "
            f"{tasks} test tasks, seed {seed}"
        )
        write(f"  {'':22}{'published':>10}{'ours':>18}{'difference':>14}   tuned on validation")
        for row, agent, fixed, tuned in ROWS:
            cells.append(
                measure(
                    row,
                    agent,
                    fixed,
                    tuned,
                    chosen,
                    published=published.get(row),
                    tasks=tasks,
                    seed=seed,
                    retune=retune,
                )
            )
            write(line(cells[-1]))
        if "RL2" in published:
            write(f"  {'RL2 (meta-trained)':22}{published['RL2']:>10.1f}")
        cells.append(cell("optimum, exact", n * optimum(chosen, tasks, seed), {}, None))
        write(line(cells[-1]) + (f"   (over all tasks: {n * OPTIMUM:g})" if published else ""))
        write("")
    for note in NOTES:
        write(note)
    return cells


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, nargs="+", default=[10, 25], help="n (any)")
    parser.add_argument("--tasks", type=int, default=4000, help="test tasks")
    parser.add_argument("--seed", type=int, default=0, help="of the tasks")
    parser.add_argument("--states", type=int, default=10, help="of the MDP (any)")
    parser.add_argument("--actions", type=int, default=5, help="of the MDP (any)")
    parser.add_argument("--retune", action="store_true", help="tune again where tuned options are stored")
    print_tables(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
