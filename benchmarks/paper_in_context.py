"""In-context transformers beside what they imitate, and DPT beside its exact limit.

Algorithm Distillation (Laskin et al. 2022, arXiv 2210.14215) and the decision-pretrained transformer (Lee et al. 2023,
arXiv 2306.14892), trained here from scratch on Dark Room, a Bernoulli bandit and RL2's tabular MDP. A DPT that is
trained to the end samples from the posterior over the oracle's action. Where that posterior can be computed, so can
its limit: Thompson sampling for bandits, `GoalPosterior` for Dark Room.

Every figure is a mean over test lifetimes with a 95% interval; a trained row has one line per training seed. Finished
trainings are kept in ``--runs`` and not repeated.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import daytwo
from daytwo.agent import LifetimeSpec
from daytwo.networks import Sampler

NORMAL_95 = 1.959964


class GoalPosterior:
    """The limit of DPT on a Dark Room of one level with one goal: the oracle's action under the posterior of the goal.

    All goals are equally likely; a step that paid nothing rules a cell out, a step that paid tells the goal. Every step
    draws from the probabilities of the oracle's actions anew, or takes the likeliest one.
    """

    def __init__(self, *, argmax: bool = False) -> None:
        self.name = "goal-posterior"
        self._argmax = argmax

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether the course stays at DarkRoom's level of one goal in the whole room."""
        return spec.family == "DarkRoom" and {stage.level for stage in spec.course.stages} == {1}

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        self._layout = spec.layout
        side = self._layout["x"].stop - self._layout["x"].start
        cells = np.arange(side * side)
        right = np.sign(cells[None, :] % side - cells[:, None] % side)
        down = np.sign(cells[None, :] // side - cells[:, None] // side)
        # As the oracle walks: along the row first. Actions are up, right, down, left, stay.
        heading = np.select([right > 0, right < 0, down > 0, down < 0], [1, 3, 2, 0], 4)
        self._heading = np.eye(spec.actions)[heading]  # [cell, goal, action]
        self._possible = np.ones((len(seeds), len(cells)), dtype=np.bool_)
        self._sampler = Sampler(seeds, self._argmax)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return self._sampler.discrete(np.log(self.chances(observations, fresh)))

    def chances(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """How likely each action is the oracle's, ``float64[N, 5]``, after one step more."""
        layout, lanes = self._layout, np.arange(len(observations))

        def cell(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return x.argmax(axis=1) + y.argmax(axis=1) * x.shape[1]

        here = cell(observations[:, layout["x"]], observations[:, layout["y"]])
        before = layout["final_observation"].start
        x, y = (observations[:, before + part.start : before + part.stop] for part in (layout["x"], layout["y"]))
        reached = np.where(observations[:, layout["episode_start"]][:, 0] > 0.5, cell(x, y), here)
        paid = observations[:, layout["previous_reward"]][:, 0] > 0.5
        self._possible[fresh] = True
        known = np.zeros_like(self._possible)
        known[lanes, reached] = True
        news = np.where(paid[:, None], known, ~known)
        news[fresh] = True
        self._possible &= news
        chances = np.einsum("ng,nga->na", self._possible.astype(np.float64), self._heading[here])
        return chances / chances.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        title: what it says.
        agent: name or factory of an agent; or, for a trained one, ``ad`` or ``dpt``.
        options: of the training.
        steps: of the training; 0 for an agent that is not trained.
        split: of the tasks to train on; None for the environment's default.
    """

    title: str
    agent: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    split: str | None = None


@dataclass(frozen=True)
class Table:
    """A protocol and its rows.

    Attributes:
        title: what is measured.
        env_id: the environment.
        settings: its keyword arguments.
        split: of the tasks to measure on.
        rows: from the lowest to the highest, roughly.
    """

    title: str
    env_id: str
    settings: Mapping[str, Any]
    split: str
    rows: tuple[Row, ...]


DARK = {"course": "single", "level": 1, "episodes": 10}
BANDIT = {"arms": 5, "pulls": 100, "course": "single", "episodes": 1}
MDP = {"course": "single", "episodes": 10}
SMALL = {"lifetimes_per_batch": 16}

TABLES = {
    "dark-room": Table(
        "Dark Room, 9x9, 20 steps, 10 episodes, all goals: total return",
        "daytwo/DarkRoom-v0",
        DARK,
        "all",
        (
            Row("random", "random"),
            Row("DPT", "dpt", {"lifetimes_per_batch": 10, "decay_from": 0.5}, 4_000_000, "all"),
            Row("DPT's exact limit", GoalPosterior),
            Row("  its argmax", lambda: GoalPosterior(argmax=True)),
            Row("AD of the reference learner", "ad", SMALL, 3_000_000, "all"),
            Row("reference learner", "reference"),
            Row("known goal", "oracle"),
        ),
    ),
    "dark-room-new-goals": Table(
        "The same, trained on 50 of 81 goals, measured on goals never trained on: total return",
        "daytwo/DarkRoom-v0",
        DARK,
        "test",
        (
            Row("random", "random"),
            Row("AD of the reference learner", "ad", {"lifetimes_per_batch": 40}, 4_000_000),
            Row("reference learner", "reference"),
            Row("known goal", "oracle"),
        ),
    ),
    "bandit": Table(
        "Bernoulli bandit, 5 arms, 100 pulls: total reward",
        "daytwo/Bandit-v0",
        BANDIT,
        "test",
        (
            Row("random", "random"),
            Row("DPT", "dpt", SMALL, 2_000_000),
            Row("DPT's limit: thompson", "thompson"),
            Row("AD of thompson", "ad", {**SMALL, "source": "thompson"}, 2_000_000),
            Row("AD of the reference learner", "ad", SMALL, 2_000_000),
            Row("reference learner: gittins", "reference"),
            Row("best arm", "oracle"),
        ),
    ),
    "mdp": Table(
        "RL2's tabular MDP, 10 states, 5 actions, 10 episodes of 10 steps: total return",
        "daytwo/TabularMDP-v0",
        MDP,
        "test",
        (
            Row("random", "random"),
            Row("AD of q-learning", "ad", {**SMALL, "source": "q-learning"}, 2_000_000),
            Row("q-learning", "q-learning"),
            Row("DPT", "dpt", SMALL, 2_000_000),
            Row("AD of the reference learner", "ad", SMALL, 2_000_000),
            Row("reference learner: psrl", "reference"),
            Row("optimum", "oracle"),
        ),
    ),
}


def train_row(table: Table, row: Row, seed: int, runs: Path, scale: float) -> Path:
    """The checkpoint of a trained row: the one that is there already, or a new one.

    Args:
        table: with the environment.
        row: what to train.
        seed: of the training.
        runs: the folder that keeps trainings.
        scale: fraction of the row's steps.
    """
    import torch
    from safetensors.numpy import save_file

    from daytwo.integrations.in_context import ADConfig, DPTConfig, make_ad, make_dpt

    settings = {**table.settings, **({} if row.split is None else {"split": row.split})}
    steps = max(1, int(row.steps * scale))
    asked = {"settings": settings, "steps": steps, "seed": seed, "options": dict(row.options)}
    source = row.options.get("source", "")
    parts = [row.agent, source, table.env_id.rpartition("/")[2], row.split or "", str(steps), str(seed)]
    folder = runs / "-".join(part for part in parts if part)
    if (folder / "config.json").is_file():
        found = json.loads((folder / "config.json").read_text())["asked"]
        if found != json.loads(json.dumps(asked)):
            raise ValueError(f"{str(folder)!r} holds another training, {found!r}: choose another folder for --runs.")
        return folder
    torch.set_num_threads(1)
    config: Any = ADConfig(**row.options) if row.agent == "ad" else DPTConfig(**row.options)
    make: Any = make_ad if row.agent == "ad" else make_dpt
    trainer = make(table.env_id, config=config, settings=settings, steps=steps, seed=seed)
    started = time.perf_counter()
    while trainer.steps < steps:
        trainer.advance()
    seconds = time.perf_counter() - started
    told = {**trainer.describe(), "config": asdict(config), "seconds": round(seconds, 1), "asked": asked}
    told |= {"env_id": table.env_id, "seed": seed, "steps_done": trainer.steps, "split": trainer.stream.split}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(trainer.tensors(), folder / "policy.safetensors")
    (folder / "config.json").write_text(json.dumps(told, indent=2) + "\n")
    trainer.close()
    return folder


def print_tables(
    names: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    lifetimes: int = 2000,
    runs: str = "runs/in-context",
    scale: float = 1.0,
    write: Callable[[str], None] = print,
) -> dict[tuple[str, str, int], tuple[float, float]]:
    """Train what is to be trained, and print one table per name, every row as soon as it is measured.

    Args:
        names: of `TABLES`.
        seeds: of the trainings.
        lifetimes: per row.
        runs: the folder that keeps trainings.
        scale: fraction of the steps to train.
        write: takes each line.

    Returns:
        Mean and half width of its 95% interval by table, row and training seed (-1 where nothing is trained).
    """
    measured: dict[tuple[str, str, int], tuple[float, float]] = {}
    for name in names:
        table = TABLES[name]
        write(f"{table.title}; {lifetimes} lifetimes, seed 0")
        spec = daytwo.LifetimeVectorEnv(table.env_id, 1, **table.settings).lifetime_spec
        shown = [k for k in (1, 2, 3, 5, 10) if k <= spec.course.episodes]
        head = "".join(f"{k:>8}" for k in shown) if len(shown) > 1 else ""
        write(f"  {'':30}{'total':>18}{head}{'wiped':>10}   training")
        for row in table.rows:
            for seed in seeds if row.steps else (-1,):
                note, agent = "", row.agent
                if row.steps:
                    agent = train_row(table, row, seed, Path(runs), scale)
                    about = json.loads((agent / "config.json").read_text())
                    note = f"   seed {seed}, {about['steps_done']:.2e} steps, {about['seconds']:.0f} s"
                elif not isinstance(agent, str):
                    agent = agent()
                kept, wiped = (
                    daytwo.evaluate(
                        agent, table.env_id, lifetimes=lifetimes, memory=memory, split=table.split, **table.settings
                    ).returns
                    for memory in ("kept", "wiped")
                )
                total = kept.sum(axis=1)
                error = NORMAL_95 * float(total.std(ddof=1)) / math.sqrt(lifetimes)
                measured[name, row.title, seed] = float(total.mean()), error
                curve = "".join(f"{kept[:, k - 1].mean():>8.2f}" for k in shown) if len(shown) > 1 else ""
                twin = wiped.sum(axis=1).mean()
                write(f"  {row.title:30}{total.mean():>10.2f} +-{error:5.2f}{curve}{twin:>10.2f}{note}")
        write("")
    return measured


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--lifetimes", type=int, default=2000, help="per row")
    parser.add_argument("--runs", default="runs/in-context", help="folder that keeps trainings")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the steps to train")
    arguments = vars(parser.parse_args())
    names = arguments.pop("names") or list(TABLES)
    unknown = [name for name in names if name not in TABLES]
    if unknown:
        parser.error(f"unknown table {unknown[0]!r}: expected some of {', '.join(TABLES)}")
    print_tables(names, **arguments)


if __name__ == "__main__":
    main()
