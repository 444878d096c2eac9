"""The oracle ladder: for every family and level, what chance, no memory, learning and omniscience are worth.

Rungs, in normalised return: the random policy (0); the best memoryless agent, which is the best of the constant
actions, the family's hand-made reactive agent, and a PPO without memory; the reference learner, which sees only what
agents see, with its amnesiac twin; and the oracle (1). A score between two rungs says which kind of failure it is. A
second table shows whether what is learnt at one level helps at the next: the reference learner's first episode at a
level after living through the lower ones (the progressive course), and after living through them with other tasks
(isolated).

Everything is measured through `daytwo.evaluation.suite`, so it is spread over processes and resumes. The PPO takes
minutes a level to train, so its rung is kept in a table that ships with the package, and trained again on request.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.evaluation.cells import Cell
from daytwo.evaluation.metrics import final, first
from daytwo.evaluation.rungs import dynamics_code, stored_rungs
from daytwo.evaluation.running import Result
from daytwo.evaluation.statistics import Estimate, bootstrap_weights, difference, estimate
from daytwo.evaluation.store import Store, plain
from daytwo.evaluation.suite import run_suite
from daytwo.family import TaskFamily
from daytwo.registration import env_ids, make_family

CONSTANT = "daytwo.baselines.basic:Constant"
EPISODES = 10  # in which a reference learner has to adapt
# What makes a level test learning.
HIGHEST_FIRST, LOWEST_FINAL, LEAST_GAP = 0.55, 0.9, 0.2
# A life of one episode, paid by its return: the setting of an agent that has no use for a memory.
MEMORYLESS = {"course": "single", "episodes": 1, "reward": "return"}


@dataclass(frozen=True)
class Rungs:
    """The ladder at one level.

    Attributes:
        env_id: the environment's id.
        settings: the family's keyword arguments that differ from the defaults.
        level: index of the level.
        level_name: its name.
        constant: the best constant action (chosen on the validation split), or None without actions to choose from.
        constant_action: which.
        reactive: the hand-made reactive agent, or None if the family names none.
        ppo: PPO without memory, or None if it was never trained.
        reference: the reference learner by episode, ``float64[3, EPISODES]``: mean, low, high; on a fresh task.
        reference_first: its first episode.
        reference_final: its last episode.
        twin_final: the last episode of its amnesiac twin.
        oracle: measured on the same lifetimes; its mean over all tasks is 1 by definition.
        progressive_first: the reference learner's first episode here in the progressive course, None at level 0.
        isolated_first: the same in the isolated course.
        transfer: their paired difference.
    """

    env_id: str
    settings: Mapping[str, Any]
    level: int
    level_name: str
    constant: Estimate | None
    constant_action: Any
    reactive: Estimate | None
    ppo: Estimate | None
    reference: np.ndarray = field(repr=False)
    reference_first: Estimate
    reference_final: Estimate
    twin_final: Estimate
    oracle: Estimate
    progressive_first: Estimate | None
    isolated_first: Estimate | None
    transfer: Estimate | None

    @property
    def memoryless(self) -> tuple[str, Estimate]:
        """The best memoryless rung and its name; the random policy where nothing beats it."""
        named = {"constant": self.constant, "reactive": self.reactive, "PPO": self.ppo}
        found = [(name, one) for name, one in named.items() if one is not None]
        best = max(found, key=lambda pair: pair[1].value, default=("random", Estimate(0.0, 0.0, 0.0)))
        return best if best[1].value > 0.0 else ("random", Estimate(0.0, 0.0, 0.0))

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """Which of the conditions for a level that tests learning do not hold, in words."""
        missing = []
        if not self.reference_first.value < HIGHEST_FIRST:
            missing.append(f"first episode {self.reference_first.value:.2f} >= {HIGHEST_FIRST}")
        if not self.reference_final.value >= LOWEST_FINAL:
            missing.append(f"last episode {self.reference_final.value:.2f} < {LOWEST_FINAL}")
        if not self.reference_final.value - self.memoryless[1].value >= LEAST_GAP:
            missing.append(f"{self.reference_final.value - self.memoryless[1].value:.2f} above memoryless")
        if not self.reference_final.value - self.twin_final.value >= LEAST_GAP:
            missing.append(f"{self.reference_final.value - self.twin_final.value:.2f} above its twin")
        if self.transfer is not None and not self.transfer.low > 0.0:
            missing.append("no transfer from the levels before")
        return tuple(missing)


def _settings_of(family: TaskFamily) -> dict[str, Any]:
    """The family's settings that are not its defaults."""
    default = make_family(type(family)).keywords
    return {name: value for name, value in family.keywords.items() if plain(default.get(name)) != plain(value)}


def constant_actions(family: TaskFamily, level: int) -> list[Any]:
    """The constant actions tried: all that the level offers, or every direction of a box (each axis -1, 0 or 1)."""
    if not family.continuous:
        return [int(action) for action in np.flatnonzero(family.action_masks[level])]
    if family.actions <= 4:
        return [list(map(float, vector)) for vector in itertools.product((-1, 0, 1), repeat=family.actions)]
    return [(sign * row).tolist() for sign in (-1.0, 1.0) for row in np.eye(family.actions)] + [[0.0] * family.actions]


class _Plan:
    """The cells of one family's ladder."""

    def __init__(self, env_id: str, settings: Mapping[str, Any], lifetimes: int, seed: int) -> None:
        self.env_id, self.settings = env_id, dict(settings)
        self.family = make_family(env_id, **settings)
        self.lifetimes, self.seed = lifetimes, seed
        self.levels = range(len(self.family.levels))
        self.tuning = "validation" if "validation" in self.family.splits else "all"
        self.split = "test" if "test" in self.family.splits else "all"

    def cell(self, agent: str, *, level: int | None = None, episodes: int, **arguments: Any) -> Cell:
        course = arguments.pop("course", "single")
        settings: dict[str, Any] = {**self.settings, "course": course, "episodes": episodes}
        if level is not None:
            settings["level"] = level
        visited = self.levels if level is None else [level]
        steps = sum(self.family.levels[k].horizon for k in visited) * episodes * self.lifetimes
        arguments.setdefault("split", self.split)
        return Cell(
            agent,
            self.env_id,
            settings,
            lifetimes=self.lifetimes,
            seed=self.seed,
            steps=float(steps * (3 if agent == "reference" else 1)),
            **arguments,
        )

    def constants(self, level: int, split: str) -> list[Cell]:
        return [
            self.cell(CONSTANT, level=level, episodes=1, split=split, agent_options={"action": action})
            for action in constant_actions(self.family, level)
        ]

    def at_level(self, level: int) -> dict[str, Cell]:
        cells = {
            "kept": self.cell("reference", level=level, episodes=EPISODES),
            "wiped": self.cell("reference", level=level, episodes=EPISODES, memory="wiped"),
            "oracle": self.cell("oracle", level=level, episodes=EPISODES),
        }
        if self.family.reactive is not None:
            # Wiped, so that it has no memory beyond the episode in any case.
            cells["reactive"] = self.cell("reactive", level=level, episodes=1, memory="wiped")
        return cells

    def courses(self) -> dict[str, Cell]:
        if len(self.levels) == 1:
            return {}
        return {
            course: self.cell("reference", course=course, episodes=EPISODES) for course in ("progressive", "isolated")
        }


def climb(
    families: Sequence[str] | None = None,
    *,
    lifetimes: int = 1024,
    seed: int = 0,
    store: str | Path = "ladder.sqlite",
    jobs: int | None = None,
    progress: bool = True,
    ppo: Mapping[tuple[str, int], Estimate] | None = None,
    **settings: Any,
) -> list[Rungs]:
    """Measure the ladder.

    Args:
        families: environment ids or ``"module:Class"``; all registered ones by default.
        lifetimes: of every measurement; constant actions are chosen with an eighth as many, on the validation split.
        seed: of the evaluations.
        store: the results file; what it holds already is not computed again.
        jobs: processes; as many as there are cores by default.
        progress: show progress bars.
        ppo: the PPO rung by environment and level; by default from the table that ships with the package.
        settings: of the families.

    Returns:
        One `Rungs` per family and level.

    Raises:
        ValueError: an unknown family or setting.
        RuntimeError: an evaluation failed; the others are stored.
    """
    plans = [_Plan(env_id, settings, lifetimes, seed) for env_id in families or env_ids()]
    known = ppo
    if known is None:
        shipped = {plan.env_id: stored_rungs(plan.family) for plan in plans}
        known = {
            (env_id, level): one
            for env_id, found in shipped.items()
            for (level, kind), one in found.items()
            if kind == "ppo"
        }
    with Store(store, write=True) as opened:

        def run(cells: list[Cell]) -> None:
            outcome = run_suite(cells, opened, jobs, progress)
            for cell, error in outcome.failures:
                raise RuntimeError(f"{cell.label} failed: {error}")

        def result(cell: Cell) -> Result:
            return opened.get(cell.key).result

        cells: list[Cell] = []
        for plan in plans:
            for level in plan.levels:
                cells += plan.constants(level, plan.tuning) + list(plan.at_level(level).values())
            cells += plan.courses().values()
        run(cells)
        # The best constant action is chosen on other tasks than it is measured on.
        chosen: dict[tuple[int, int], Cell] = {}
        for number, plan in enumerate(plans):
            for level in plan.levels:
                tried, measured = plan.constants(level, plan.tuning), plan.constants(level, plan.split)
                means = [float(np.nanmean(result(cell).normalized)) for cell in tried]
                chosen[number, level] = measured[int(np.argmax(means))]
        run(list(chosen.values()))

        rungs = []
        for number, plan in enumerate(plans):
            courses = {name: result(cell) for name, cell in plan.courses().items()}
            for level in plan.levels:
                found = {name: result(cell) for name, cell in plan.at_level(level).items()}
                constant = chosen[number, level]
                rungs.append(
                    _rungs(
                        plan,
                        level,
                        found,
                        result(constant),
                        constant.agent_options["action"],
                        courses,
                        known.get((plan.env_id, level)),
                    )
                )
        return rungs


def _at(result: Result, level: int) -> np.ndarray:
    """The normalised returns at a level of a course that visits it once, ``float64[lifetimes, episodes]``."""
    columns = np.flatnonzero((result.levels == level).all(axis=0))
    return result.normalized[:, columns]


def _rungs(
    plan: _Plan,
    level: int,
    found: Mapping[str, Result],
    constant: Result,
    action: Any,
    courses: Mapping[str, Result],
    ppo: Estimate | None,
) -> Rungs:
    weights = bootstrap_weights(plan.lifetimes)
    kept, wiped = found["kept"].normalized, found["wiped"].normalized
    reactive = found.get("reactive")
    curve = np.array([(one.value, one.low, one.high) for one in (estimate(column, weights) for column in kept.T)]).T
    progressive_first = isolated_first = transfer = None
    if level > 0 and courses:
        progressive, isolated = (first(_at(courses[name], level)) for name in ("progressive", "isolated"))
        progressive_first, isolated_first = estimate(progressive, weights), estimate(isolated, weights)
        # Not paired: the isolated course has other tasks from the second stage on.
        transfer = difference(progressive, isolated, weights, bootstrap_weights(plan.lifetimes, seed=1))
    return Rungs(
        env_id=plan.env_id,
        settings=_settings_of(plan.family),
        level=level,
        level_name=plan.family.levels[level].name,
        constant=estimate(first(constant.normalized), weights),
        constant_action=action,
        reactive=None if reactive is None else estimate(first(reactive.normalized), weights),
        ppo=ppo,
        reference=curve,
        reference_first=estimate(first(kept), weights),
        reference_final=estimate(final(kept), weights),
        twin_final=estimate(final(wiped), weights),
        oracle=estimate(np.nanmean(found["oracle"].normalized, axis=1), weights),
        progressive_first=progressive_first,
        isolated_first=isolated_first,
        transfer=transfer,
    )


# --- PPO without memory ---------------------------------------------------------------------------------------------


def train_ppo(
    families: Sequence[str] | None,
    train: Callable[..., Any],
    *,
    steps: int,
    seed: int = 0,
    lifetimes: int = 2048,
    folder: str | Path = "ladder",
    progress: bool = True,
    **settings: Any,
) -> dict[tuple[str, int], dict[str, Any]]:
    """Train a PPO without memory at every level and measure it, on a life of one episode, on the test split.

    Args:
        families: environment ids; all registered ones by default.
        train: `daytwo.integrations.training.train` (handed in, since this package does not know its neighbours).
        steps: environment steps for each level.
        seed: of training and evaluation.
        lifetimes: of the evaluation.
        folder: where the runs are kept: what is there already is not trained again.
        progress: show progress bars.
        settings: of the families.

    Returns:
        The rung by environment and level: ``value``, ``low``, ``high`` and how it came about.
    """
    from daytwo.agent import find_checkpoint
    from daytwo.evaluation.running import evaluate

    found = {}
    for env_id in families or env_ids():
        family = make_family(env_id, **settings)
        tests = "test" if "test" in family.splits else "all"
        for level, description in enumerate(family.levels):
            out = Path(folder) / f"{family.name}-{dynamics_code(family)[:8]}-level{level}-seed{seed}"
            lived = {**settings, **MEMORYLESS, "level": level}
            if find_checkpoint(out) is None or not (out / "done").exists():
                summary = train(
                    "ppo",
                    env_id,
                    steps=steps,
                    seed=seed,
                    out=out,
                    resume=find_checkpoint(out) is not None,
                    settings=lived,
                    overrides=ppo_options(description.horizon),
                    evaluate=False,
                    progress=progress,
                )
                if not summary.finished:
                    raise KeyboardInterrupt
                (out / "done").write_text(f"{summary.seconds:.0f}")
            # Sampled or most probable actions: whichever does better on other tasks than it is measured on.
            tuning = "validation" if "validation" in family.splits else "all"
            means = {}
            for greedy in (False, True):
                tried = evaluate(
                    str(out),
                    env_id,
                    lifetimes=lifetimes,
                    seed=seed,
                    split=tuning,
                    agent_options={"greedy": greedy},
                    **lived,
                )
                means[greedy] = float(np.nanmean(tried.normalized))
            greedy = means[True] > means[False]
            result = evaluate(
                str(out), env_id, lifetimes=lifetimes, seed=seed, split=tests, agent_options={"greedy": greedy}, **lived
            )
            one = estimate(first(result.normalized), bootstrap_weights(lifetimes))
            found[env_id, level] = {
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "greedy": greedy,
                "steps": steps,
                "seed": seed,
                "lifetimes": lifetimes,
                "seconds": float((out / "done").read_text()),
            }
    return found


def rows_to_keep(
    rungs: Sequence[Rungs], ppo: Mapping[tuple[str, int], Mapping[str, Any]], *, lifetimes: int, seed: int
) -> dict[tuple[str, int, str], dict[str, Any]]:
    """What `daytwo.evaluation.rungs.store_rungs` takes: the memoryless rungs that were measured, and PPO if trained.

    Args:
        rungs: of `climb`.
        ppo: of `train_ppo`, or empty.
        lifetimes: that `climb` measured with.
        seed: likewise.
    """
    rows: dict[tuple[str, int, str], dict[str, Any]] = {}
    for one in rungs:
        settings = json.dumps(plain(dict(one.settings)), sort_keys=True)
        common = {"settings": settings, "family": dynamics_code(make_family(one.env_id, **one.settings))}
        measured = {"lifetimes": lifetimes, "seed": seed}
        for kind, value in (("constant", one.constant), ("reactive", one.reactive)):
            if value is not None:
                rows[one.env_id, one.level, kind] = {**asdict(value), **measured, **common}
        if (one.env_id, one.level) in ppo:
            rows[one.env_id, one.level, "ppo"] = {**ppo[one.env_id, one.level], **common}
    return rows


def ppo_options(horizon: int) -> dict[str, Any]:
    """The training options of the memoryless rung, one set for all families but for what follows from the horizon."""
    return {
        "policy_layers": (64, 64),
        "value_layers": (64, 64),
        "learning_rate": 3e-3,
        "discount": 0.99 if horizon > 20 else 0.97,
        "gae_lambda": 0.95,
        "entropy": 0.01,
        "epochs": 4,
        "rollout_steps": min(horizon, 128),
        "lifetimes_per_batch": max(1, 2048 // min(horizon, 128)),
    }


# --- tables ---------------------------------------------------------------------------------------------------------


def _number(one: Estimate | None) -> str:
    """A value and half the width of its 95% interval."""
    if one is None or math.isnan(one.value):
        return "-"
    return f"{one.value:.2f} ± {(one.high - one.low) / 2:.2f}"


LADDER_COLUMNS = (
    "level",
    "constant",
    "reactive",
    "PPO",
    "twin, last",
    "reference, first",
    "reference, last",
    "oracle",
)
TRANSFER_COLUMNS = ("level", "progressive", "isolated", "difference")


def ladder_row(rungs: Rungs) -> tuple[str, ...]:
    """One row of the ladder's table, as text, in the order of `LADDER_COLUMNS`."""
    return (
        f"{rungs.level} {rungs.level_name}",
        _number(rungs.constant),
        _number(rungs.reactive),
        _number(rungs.ppo),
        _number(rungs.twin_final),
        _number(rungs.reference_first),
        _number(rungs.reference_final),
        _number(rungs.oracle),
    )


def transfer_row(rungs: Rungs) -> tuple[str, ...]:
    """One row of the table of first episodes, as text, in the order of `TRANSFER_COLUMNS`."""
    return (
        f"{rungs.level} {rungs.level_name}",
        _number(rungs.progressive_first),
        _number(rungs.isolated_first),
        _number(rungs.transfer),
    )


def markdown(rungs: Sequence[Rungs]) -> str:
    """The ladder of one family and the table of its first episodes, as Markdown."""
    lines = [
        "| " + " | ".join(LADDER_COLUMNS) + " |",
        "|" + "---|" * len(LADDER_COLUMNS),
        *("| " + " | ".join(ladder_row(one)) + " |" for one in rungs),
    ]
    later = [one for one in rungs if one.transfer is not None]
    if later:
        lines += [
            "",
            "The reference learner's first episode at a level, after living through the levels before:",
            "",
            "| level | same task (progressive) | other tasks (isolated) | difference |",
            "|---|---|---|---|",
            *("| " + " | ".join(transfer_row(one)) + " |" for one in later),
        ]
    return "\n".join(lines)


__all__ = [
    "EPISODES",
    "LADDER_COLUMNS",
    "TRANSFER_COLUMNS",
    "Rungs",
    "climb",
    "constant_actions",
    "ladder_row",
    "markdown",
    "rows_to_keep",
    "train_ppo",
    "transfer_row",
]
