"""Running agents: `evaluate` lets an agent live many lifetimes and returns what happened as a `Result`.

Lifetime l of an evaluation depends on (seed, l) only: its environment and its agent are both seeded with
``daytwo.streams.lifetime_seeds(seed, l, l + 1)``. So results are bit-identical for any batch size, compiled or
interpreted, in one process or several, and two conditions of one seed (an agent and its amnesiac twin) are paired.
"""

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numba
import numpy as np
from gymnasium.vector import AutoresetMode

from daytwo import kernels
from daytwo.agent import Agent, LifetimeSpec, find_checkpoint, make_agent
from daytwo.course import Course
from daytwo.evaluation.rungs import memoryless_rungs
from daytwo.family import SPLITS
from daytwo.lifetime import LifetimeVectorEnv
from daytwo.streams import lifetime_seeds

MEMORIES = ("kept", "wiped")
TASKS = ("fixed", "redrawn")
ROLES = ("reference", "reactive")
LARGEST_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Result:
    """What an agent did in its lifetimes, and how it came about.

    The arrays are read-only and have the axes ``[lifetimes, episodes]`` in lived order, as wide as the course is
    long, padded where a lifetime had fewer episodes.

    Attributes:
        returns: float64, raw return of each episode; NaN where padded.
        normalized: float64, normalised return (0 is the random policy, 1 the oracle); NaN where padded.
        levels: int64, index of the level; -1 where padded.
        stages: int64, index of the stage; -1 where padded.
        reward: ``float64[lifetimes]``, total reward of the lifetime under the environment's reward rule
            (the improvement reward by default).
        agent: the agent's name.
        agent_options: the keyword options it was made with.
        env_id: the environment's id.
        settings: the keyword arguments the environment was made with, without ``split``.
        course: the course that was lived.
        level_names: of all of the family's levels.
        random_return: raw episode return of the random policy at each level (normalised, it is 0).
        oracle_return: raw episode return of the oracle at each level (normalised, it is 1).
        seed: of the evaluation.
        memory: ``"kept"``, or ``"wiped"`` for the amnesiac twin.
        task: ``"fixed"``, or ``"redrawn"`` for the redrawn control.
        split: which tasks.
        privileged: the agent saw the hidden task.
        seconds: wall time.
        versions: of daytwo, Python, NumPy, numba and Gymnasium.
        diagnostics: what the family tells about how each episode was lived (`TaskFamily.diagnostics`), by name: float64
            with the axes ``[lifetimes, episodes]``, and a third of the diagnostic's size where that is above 1; NaN
            where padded or where it does not apply.
        tags: the abilities that the family tests.
        role: ``"reference"`` if the agent is the family's reference learner, ``"reactive"`` if it is its hand-made
            agent without a memory, else ``""``.
        memoryless: normalised return of the best memoryless rung at each level, NaN where none was measured; ``()``
            where nothing is known.
        provenance: how a trained agent came about (`daytwo.Agent`); empty for others.
        random_spread: standard deviation of the random policy's normalised return at each level, over tasks and
            episodes; 0 where it is not known, ``()`` where nothing is.
    """

    returns: np.ndarray = field(repr=False)
    normalized: np.ndarray = field(repr=False)
    levels: np.ndarray = field(repr=False)
    stages: np.ndarray = field(repr=False)
    reward: np.ndarray = field(repr=False)
    agent: str
    agent_options: Mapping[str, Any]
    env_id: str
    settings: Mapping[str, Any]
    course: Course
    level_names: tuple[str, ...]
    random_return: tuple[float, ...]
    oracle_return: tuple[float, ...]
    seed: int
    memory: str
    task: str
    split: str
    privileged: bool
    seconds: float
    versions: Mapping[str, str]
    diagnostics: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = ()
    role: str = ""
    memoryless: tuple[float, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    random_spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        shape = self.returns.shape
        if len(shape) != 2:
            raise ValueError(f"returns must have the axes [lifetimes, episodes], received the shape {shape}.")
        for name in ("normalized", "levels", "stages"):
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} must have the shape {shape} of returns, received {getattr(self, name).shape}."
                )
        if self.reward.shape != shape[:1]:
            raise ValueError(f"reward must have the shape {shape[:1]}, received {self.reward.shape}.")
        if self.role not in ("", *ROLES):
            raise ValueError(f"role must be one of '', {', '.join(map(repr, ROLES))}, received {self.role!r}.")
        if len(self.memoryless) not in (0, len(self.level_names)):
            raise ValueError(
                f"memoryless must have a number for each of the {len(self.level_names)} levels, received "
                f"{self.memoryless!r}."
            )
        for name, values in self.diagnostics.items():
            if values.shape[:2] != shape:
                raise ValueError(f"diagnostic {name!r} must begin with the axes {shape}, received {values.shape}.")
            values.setflags(write=False)
        for name in ("returns", "normalized", "levels", "stages", "reward"):
            getattr(self, name).setflags(write=False)

    @property
    def lifetimes(self) -> int:
        """How many lifetimes."""
        return len(self.returns)


def versions() -> dict[str, str]:
    """The versions that a result came about with."""
    import daytwo

    return {
        "daytwo": str(daytwo.__version__),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "gymnasium": gymnasium.__version__,
    }


def _integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, received {value!r}.")
    return int(value)


def _chosen(name: str, value: Any, offered: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in offered:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, offered))}, received {value!r}.")
    return value


def agent_name(agent: Any) -> str:
    """What an agent is called in results: its ``name``, or else the name of its class."""
    name = getattr(agent, "name", None)
    if isinstance(name, str) and name:
        return name
    return agent.__name__ if isinstance(agent, type) else type(agent).__name__


def _provenance(made: Agent, name: str) -> dict[str, Any]:
    """How a trained agent came about, as it says itself.

    Raises:
        ValueError: it is no mapping that JSON can hold.
    """
    told = getattr(made, "provenance", None) or {}
    try:
        plain = json.loads(json.dumps(dict(told), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The provenance of agent {name!r} must be a mapping of plain values, received {told!r}: {error}."
        ) from error
    return plain


def _role(name: str, made: Agent, spec: LifetimeSpec) -> str:
    """Whether an agent is the family's own reference learner or reactive agent: one of `ROLES`, or ``""``."""
    for role in ROLES:
        own = getattr(spec, role)
        if own is not None and (name in (role, own) or type(made) is own):
            return role
    return ""


def check_actions(actions: Any, spec: LifetimeSpec, lanes: int, name: str) -> np.ndarray:
    """An agent's actions as the environment takes them.

    Args:
        actions: what ``act`` returned.
        spec: of the lifetimes.
        lanes: how many lifetimes the agent was asked about.
        name: of the agent, for the errors.

    Returns:
        ``int64[lanes]``, or ``float64[lanes, d]`` if continuous.

    Raises:
        ValueError: wrong shape, dtype or range, or not finite.
    """
    try:
        array = np.asarray(actions)
        received = f"shape {array.shape} of dtype {array.dtype}"
    except ValueError:
        array, received = np.empty((), dtype=object), "rows of different lengths"
    expected = (lanes, spec.actions) if spec.continuous else (lanes,)
    kinds, wanted = ("fiu", "numbers") if spec.continuous else ("iu", "integers")
    if array.shape != expected or array.dtype.kind not in kinds:
        raise ValueError(
            f"Agent {name!r} must return {wanted} of shape {expected} on {spec.env_id}, received {received}."
        )
    low, high = (-1, 1) if spec.continuous else (0, spec.actions - 1)
    # Written so that NaN, for which every comparison is false, is refused as well.
    inside = (array >= low) & (array <= high)
    if not inside.all():
        where = tuple(int(k) for k in np.argwhere(~inside)[0])
        raise ValueError(
            f"Agent {name!r} must return actions in {low}..{high} on {spec.env_id}, received {array[where]} at {where}."
        )
    return array.astype(np.float64 if spec.continuous else np.int64, copy=False)


class _Progress:
    """A progress bar over steps of an evaluation, only if asked for."""

    def __init__(self, on: bool, title: str, lifetimes: int) -> None:
        self.bar: Any = None
        self.task: Any = None
        if on:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} lifetimes"),
                TimeRemainingColumn(),
            )
            self.task = self.bar.add_task(title, total=lifetimes)

    def __enter__(self) -> "_Progress":
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(self, lifetimes: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=lifetimes)


def _live(
    env: LifetimeVectorEnv,
    agent: Agent,
    name: str,
    seeds: np.ndarray,
    wiped: bool,
    arrays: Mapping[str, np.ndarray],
    diagnostics: Mapping[str, np.ndarray],
    progress: _Progress,
    before: int,
) -> None:
    """Let one batch of lifetimes be lived to the end; ``arrays`` and ``diagnostics`` are its rows of the result."""
    spec, lanes = env.lifetime_spec, len(seeds)
    observations, info = env.reset(seed=seeds)
    agent.begin(spec, seeds)
    if getattr(agent, "privileged", False):
        agent.attach(env)  # type: ignore[attr-defined]
    fresh = np.ones(lanes, dtype=np.bool_)
    terminated = np.zeros(lanes, dtype=np.bool_)
    finished_episodes = 0
    while not terminated.all():
        actions = check_actions(agent.act(observations, fresh), spec, lanes, name)
        observations, reward, terminated, _, info = env.step(actions)
        arrays["reward"][:] += reward
        fresh = np.zeros(lanes, dtype=np.bool_)
        ended = info.get("_episode_return")
        if ended is None:
            continue
        rows = np.flatnonzero(ended)
        columns = info["episode_index"][rows]
        for key, source in (
            ("returns", "episode_return"),
            ("normalized", "episode_normalized_return"),
            ("levels", "level"),
            ("stages", "stage"),
        ):
            arrays[key][rows, columns] = info[source][rows]
        normalized = info["episode_normalized_return"][rows]
        if not np.isfinite(normalized).all():
            at = int(np.flatnonzero(~np.isfinite(normalized))[0])
            paid = info["episode_return"][rows[at]]
            raise ValueError(
                f"{spec.env_id} paid a return of {paid} in episode {columns[at]} of lifetime {before + rows[at]} (both "
                "counted from 0): rewards must be finite numbers."
            )
        for key, array in diagnostics.items():
            array[rows, columns] = info[key][rows]
        if wiped:
            # The next episode began inside this step: for the amnesiac twin a lifetime begins with it.
            fresh = ended & ~terminated
            observations = spec.layout.wipe(observations, fresh)
        finished_episodes += len(rows)
        progress.show(before + finished_episodes / spec.course.episodes)


def evaluate(
    agent: Any,
    env_id: Any,
    *,
    lifetimes: int = 512,
    seed: int = 0,
    memory: str = "kept",
    task: str = "fixed",
    num_envs: int | None = None,
    compiled: bool = True,
    progress: bool = False,
    agent_options: Mapping[str, Any] | None = None,
    split: str = "test",
    **settings: Any,
) -> Result:
    """Let an agent live lifetimes, each on a hidden task of its own, and record every episode.

    Args:
        agent: a registered name, ``"module:Class"``, a class, or an `daytwo.agent.Agent`.
        env_id: an environment's id, a `daytwo.family.TaskFamily` subclass, or ``"module:Class"`` of one.
        lifetimes: how many, at least 1.
        seed: an integer of at least 0; different seeds share no lifetime.
        memory: ``"kept"``, or ``"wiped"`` for the amnesiac twin: at every inner episode's start the agent is told
            that its lifetime begins (``fresh``) and the extras that carry the past over are zeroed in its
            observation; nothing else changes.
        task: ``"fixed"``, or ``"redrawn"`` for the control: the hidden task is silently drawn anew at every inner
            episode.
        num_envs: lifetimes lived side by side; all of them by default, at most 1024. It changes the speed only.
        compiled: run compiled; False runs everything as ordinary Python, for a debugger, with the same results.
        progress: show a progress bar.
        agent_options: keyword options for the agent's class.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``: which tasks.
        **settings: further keyword arguments of `daytwo.LifetimeVectorEnv`: ``course``, ``level``, ``episodes``,
            ``show``, the family's own settings, ...

    Returns:
        A `Result`; ``daytwo.score`` turns it into metrics.

    Raises:
        ValueError: an argument is unknown or out of range, the agent returns bad actions, or the environment pays
            rewards that are no finite numbers.
    """
    lifetimes = _integer("lifetimes", lifetimes, 1)
    seed = _integer("seed", seed, 0)
    _chosen("memory", memory, MEMORIES)
    _chosen("task", task, TASKS)
    _chosen("split", split, SPLITS)
    batch = min(lifetimes, LARGEST_BATCH if num_envs is None else _integer("num_envs", num_envs, 1))
    for name in ("autoreset_mode", "privileged", "observation"):
        if name in settings:
            raise ValueError(f"evaluate decides {name} itself: leave {name}={settings[name]!r} out.")
    options = dict(agent_options or {})
    if options and not isinstance(agent, str | type):
        raise ValueError(f"agent_options go with an agent given by name or class, received {options!r} and {agent!r}.")
    started = time.perf_counter()

    def make_env(lanes: int, privileged: bool) -> LifetimeVectorEnv:
        return LifetimeVectorEnv(
            env_id,
            num_envs=lanes,
            split=split,
            task=task,
            privileged=privileged,
            compiled=compiled,
            autoreset_mode=AutoresetMode.DISABLED,
            **settings,
        )

    with kernels.interpreted(kernels.is_interpreted() or not compiled):
        env = make_env(batch, False)
        spec, references, memoryless = env.lifetime_spec, env.reference_returns, memoryless_rungs(env.family)
        made = make_agent(agent, spec, **options)
        named = isinstance(agent, str) and find_checkpoint(agent) is None
        name = agent if named else agent_name(made)  # a checkpoint's path says nothing elsewhere
        privileged, provenance = bool(getattr(made, "privileged", False)), _provenance(made, name)
        if privileged:
            env.close()
            env = make_env(batch, True)
        shape = (lifetimes, spec.course.episodes)
        arrays = {
            "returns": np.full(shape, np.nan),
            "normalized": np.full(shape, np.nan),
            "levels": np.full(shape, -1, dtype=np.int64),
            "stages": np.full(shape, -1, dtype=np.int64),
            "reward": np.zeros(lifetimes),
        }
        diagnostics = {
            one.name: np.full(shape if one.size == 1 else (*shape, one.size), np.nan) for one in env.family.diagnostics
        }
        try:
            with _Progress(progress, f"{name} on {spec.env_id}", lifetimes) as bar:
                for start in range(0, lifetimes, batch):
                    stop = min(start + batch, lifetimes)
                    if stop - start != env.num_envs:
                        env.close()
                        env = make_env(stop - start, privileged)
                    rows = {key: array[start:stop] for key, array in arrays.items()}
                    told = {key: array[start:stop] for key, array in diagnostics.items()}
                    seeds = lifetime_seeds(seed, start, stop)
                    _live(env, made, name, seeds, memory == "wiped", rows, told, bar, start)
                    bar.show(stop)
        finally:
            env.close()
    return Result(
        **arrays,
        agent=name,
        agent_options=options,
        env_id=spec.env_id,
        settings=dict(settings),
        course=spec.course,
        level_names=tuple(level.name for level in spec.levels),
        random_return=tuple(map(float, references.random_return)),
        oracle_return=tuple(map(float, references.oracle_return)),
        seed=seed,
        memory=memory,
        task=task,
        split=split,
        privileged=privileged,
        seconds=time.perf_counter() - started,
        versions=versions(),
        diagnostics=diagnostics,
        tags=tuple(spec.tags),
        role=_role(name, made, spec),
        memoryless=memoryless,
        provenance=provenance,
        random_spread=references.random_spread,
    )
