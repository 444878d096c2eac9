"""Options of the hand-made agents, chosen on validation tasks and stored with where they come from.

An agent class that has options worth tuning declares

    tuned_options     {"c": (0.0, 0.1, ...)}     the values to try, by option
    default_options   {"c": 0.2}                 what holds where nothing is given and nothing is stored

takes None for them by default, and asks `resolve_options` in its ``begin``. `tune` tries every combination on the same
lifetimes of the validation split, keeps the best by mean normalised return, and writes it into ``tuned.json`` beside
this module, keyed by environment, family settings and course, together with the scores of the whole grid. What was
tuned on the default course holds for every course that was not tuned by itself, so that controls which compare courses
compare one and the same agent.
"""

import functools
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import daytwo
from daytwo.agent import Agent, LifetimeSpec, make_agent
from daytwo.course import Course
from daytwo.streams import lifetime_seeds

TUNED_PATH = Path(__file__).with_name("tuned.json")
BATCH = 4096
ANY_COURSE = "any"
COURSE_SETTINGS = ("course", "level", "episodes", "mastery")

Evaluate = Callable[[Agent, str, Mapping[str, Any], str, int, int], np.ndarray]
"""``(agent, env_id, settings, split, lifetimes, seed) -> float64[lifetimes]``, the score of each lifetime."""


@dataclass(frozen=True)
class Tuning:
    """The outcome of tuning one agent for one environment.

    Attributes:
        agent: the agent's name.
        env_id: the environment's id.
        settings: the family's settings, in full.
        course: the course, as `course_key` writes it, or ``any`` if it is the default one.
        options: the best options.
        grid: for every combination its ``options``, mean ``score`` and its standard ``error``.
        split: the split that was tuned on: ``validation``, or ``all`` where a family has too few tasks to split.
        lifetimes: how many lifetimes each combination lived, the same ones for all.
        seed: of these lifetimes.
        version: of DayTwo.
        command: what repeats it.
    """

    agent: str
    env_id: str
    settings: Mapping[str, Any]
    course: str
    options: Mapping[str, Any]
    grid: Sequence[Mapping[str, Any]]
    split: str
    lifetimes: int
    seed: int
    version: str
    command: str


def course_key(course: Course) -> str:
    """A course in one line of text: ``level:episodes`` for every stage, then what else sets it apart."""
    stages = [
        f"{stage.level}:{stage.episodes}"
        + ("+new-task" if stage.new_task else "")
        + (f"+switch-after-{stage.switch_after}" if stage.switch_after else "")
        for stage in course.stages
    ]
    extras = (["shuffled"] if course.shuffle else []) + ([f"mastery-{course.mastery}"] if course.mastery else [])
    return " ".join([*stages, *extras])


def settings_key(settings: Mapping[str, Any]) -> str:
    """A family's settings in one canonical line of text."""
    return json.dumps(dict(settings), sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else repr(value)


@functools.cache
def _stored(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def stored_options(agent: str, spec: LifetimeSpec, *, path: Path = TUNED_PATH) -> dict[str, Any]:
    """The options stored for an agent under these very settings, best for this very course; empty if there are none."""
    courses = _stored(path).get(spec.env_id, {}).get(settings_key(spec.settings), {})
    for course in (course_key(spec.course), ANY_COURSE):
        if agent in courses.get(course, {}):
            return dict(courses[course][agent]["options"])
    return {}


def resolve_options(agent_class: Any, spec: LifetimeSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """An agent's options: as given where not None, else as stored, else by default.

    Args:
        agent_class: declares ``name``, ``tuned_options`` and ``default_options``.
        spec: the lifetimes to come.
        given: by option, what the constructor received.
    """
    stored = stored_options(agent_class.name, spec)
    options = {}
    for name, value in given.items():
        options[name] = stored.get(name, agent_class.default_options[name]) if value is None else value
    return options


def live(agent: Agent, env: Any, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let an agent live one lifetime per lane.

    Args:
        agent: the agent.
        env: a `daytwo.LifetimeVectorEnv` of ``len(seeds)`` lanes with ``autoreset_mode="Disabled"``.
        seeds: ``uint64[N]``.

    Returns:
        Raw and normalised returns, each ``float64[N, episodes]`` in lived order, NaN where a lifetime was shorter.
    """
    episodes = env.lifetime_spec.course.episodes
    raw, normalized = (np.full((len(seeds), episodes), np.nan) for _ in range(2))
    agent.begin(env.lifetime_spec, seeds)
    observations, _ = env.reset(seed=seeds)
    fresh, alive = np.ones(len(seeds), dtype=np.bool_), np.ones(len(seeds), dtype=np.bool_)
    while alive.any():
        observations, _, terminated, _, info = env.step(agent.act(observations, fresh))
        fresh[:] = False
        if "_episode_return" in info:
            rows = np.flatnonzero(info["_episode_return"] & alive)
            raw[rows, info["episode_index"][rows]] = info["episode_return"][rows]
            normalized[rows, info["episode_index"][rows]] = info["episode_normalized_return"][rows]
        alive &= ~terminated
    return raw, normalized


def lifetime_returns(
    agent: Agent, env_id: str, settings: Mapping[str, Any], split: str, lifetimes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Raw and normalised returns ``float64[lifetimes, episodes]`` of an agent; lifetime l depends on (seed, l) only."""
    parts = []
    for start in range(0, lifetimes, BATCH):
        seeds = lifetime_seeds(seed, start, min(start + BATCH, lifetimes))
        env = daytwo.LifetimeVectorEnv(
            env_id, num_envs=len(seeds), split=split, autoreset_mode="Disabled", **dict(settings)
        )
        parts.append(live(agent, env, seeds))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def area(agent: Agent, env_id: str, settings: Mapping[str, Any], split: str, lifetimes: int, seed: int) -> np.ndarray:
    """Mean normalised return of each lifetime's episodes, ``float64[lifetimes]``: the default score of `tune`."""
    return np.nanmean(lifetime_returns(agent, env_id, settings, split, lifetimes, seed)[1], axis=1)


def combinations(agent_class: Any) -> list[dict[str, Any]]:
    """Every combination of an agent class's ``tuned_options``."""
    names = list(agent_class.tuned_options)
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(agent_class.tuned_options[name] for name in names))
    ]


def tune(
    agent: str,
    env_id: str,
    *,
    lifetimes: int = 1024,
    seed: int = 0,
    evaluate: Evaluate | None = None,
    store: bool = True,
    path: Path | None = None,
    progress: Callable[[Mapping[str, Any]], None] | None = None,
    **settings: Any,
) -> Tuning:
    """Choose an agent's options on the validation split.

    Args:
        agent: a registered name or ``module:Class``.
        env_id: the environment's id.
        lifetimes: how many lifetimes each combination lives, at least 2.
        seed: of these lifetimes.
        evaluate: gives the score of each lifetime (higher is better); by default `area`.
        store: write the outcome into the table of tuned options.
        path: of that table; by default the one that ships with the package.
        progress: called with every finished row of the grid.
        settings: of the environment: family settings, ``course``, ``level``, ``episodes``.

    Returns:
        The best options, and the scores of the whole grid. Equal scores go to the combination tried first.

    Raises:
        ValueError: the agent has nothing to tune, or does not fit the environment.
    """
    if isinstance(lifetimes, bool) or not isinstance(lifetimes, int) or lifetimes < 2:
        raise ValueError(f"lifetimes must be an integer of at least 2, received {lifetimes!r}.")
    if "split" in settings:
        raise ValueError("Options are always tuned on the validation split: leave `split` out.")
    probe = daytwo.LifetimeVectorEnv(env_id, num_envs=1, **settings)
    spec = probe.lifetime_spec
    split = "validation" if "validation" in probe.family.splits else "all"
    agent_class: Any = type(make_agent(agent, spec))
    if not getattr(agent_class, "tuned_options", None):
        raise ValueError(f"Agent {agent!r} has no options to tune on {env_id}.")
    evaluate = area if evaluate is None else evaluate
    grid: list[dict[str, Any]] = []
    for options in combinations(agent_class):
        scores = evaluate(make_agent(agent, spec, **options), env_id, settings, split, lifetimes, seed)
        error = float(np.std(scores, ddof=1) / np.sqrt(len(scores)))
        grid.append({"options": options, "score": float(np.mean(scores)), "error": error})
        if progress is not None:
            progress(grid[-1])
    best = max(grid, key=lambda row: row["score"])
    words = [f"{name}={value}" for name, value in sorted(settings.items())]
    tuning = Tuning(
        agent=agent_class.name,
        env_id=spec.env_id,
        settings=dict(spec.settings),
        course=course_key(spec.course) if any(name in settings for name in COURSE_SETTINGS) else ANY_COURSE,
        options=best["options"],
        grid=grid,
        split=split,
        lifetimes=lifetimes,
        seed=seed,
        version=daytwo.__version__,
        command=" ".join(["daytwo tune", agent, env_id, f"--lifetimes {lifetimes}", f"--seed {seed}", *words]),
    )
    if store:
        write(tuning, TUNED_PATH if path is None else path)
    return tuning


def write(tuning: Tuning, path: Path = TUNED_PATH) -> None:
    """Enter an outcome into a table of tuned options, in place of an earlier one for the same cell."""
    table = json.loads(path.read_text()) if path.exists() else {}
    cell = table.setdefault(tuning.env_id, {}).setdefault(settings_key(tuning.settings), {})
    row = asdict(tuning)
    for key in ("agent", "env_id", "settings", "course"):
        del row[key]
    cell.setdefault(tuning.course, {})[tuning.agent] = row
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(table, file, indent=1, sort_keys=True, default=_plain)
        file.write("\n")
    os.chmod(name, 0o644)  # temporary files are the owner's alone; this one ships with the package
    os.chmod(name, 0o644)  # mkstemp makes it private
    os.replace(name, path)
    _stored.cache_clear()
