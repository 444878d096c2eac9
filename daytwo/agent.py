"""The `Agent` protocol, what an agent is told about a lifetime, and the names agents are known by."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces

from daytwo.course import Course, Level
from daytwo.loading import check_entry_point, load, register
from daytwo.observation import Layout


@dataclass(frozen=True)
class LifetimeSpec:
    """All that an agent may know about the lifetimes it will live. Read-only; never the environment itself.

    Attributes:
        env_id: the environment's id.
        family: the family's name.
        tags: the abilities it tests.
        settings: the family's keyword arguments, by name.
        constants: the family's settings record (``np.record``), as its own functions read it.
        levels: the family's levels.
        course: the course lived through.
        layout: where each named part of an observation row lies.
        observation_space: of one lifetime (a flat Box).
        action_space: of one lifetime.
        action_masks: which actions each level offers, ``bool[levels, actions]``.
        reward_range: bounds of one step's raw reward.
        reference: name or class of the family's reference learner.
        reactive: name or class of the family's hand-made agent without a memory.
        observed_mask: reads which actions are offered off observations ``[N, size]``.
    """

    env_id: str
    family: str
    tags: tuple[str, ...]
    settings: Mapping[str, Any]
    constants: Any
    levels: tuple[Level, ...]
    course: Course
    layout: Layout
    observation_space: spaces.Box
    action_space: spaces.Space
    action_masks: np.ndarray
    reward_range: tuple[float, float]
    reference: Any = None
    reactive: Any = None
    observed_mask: Callable[[np.ndarray], np.ndarray] = field(repr=False, default=lambda observations: observations)

    @property
    def actions(self) -> int:
        """Number of discrete actions, or of dimensions of a continuous one."""
        return int(self.action_masks.shape[1])

    @property
    def steps(self) -> int:
        """The most steps that a lifetime of the course can last."""
        return sum(stage.episodes * self.levels[stage.level].horizon for stage in self.course.stages)

    @property
    def continuous(self) -> bool:
        """Whether actions are vectors."""
        return isinstance(self.action_space, spaces.Box)


@runtime_checkable
class Agent(Protocol):
    """Anything that lives lifetimes, a batch of them at a time.

    An agent sees observations only. Optional attributes: ``name``; ``privileged = True`` with ``attach(env)`` for
    agents that need the environment itself (oracles); ``fits(spec) -> bool``, a static method that says for which
    environments the agent is meant; ``for_environment(spec, **options)``, a class method that makes an agent given by
    name where it must know the environment; ``checkpoint_folder(env_id)``, a class method that gives the folder it then
    acts from, or None; ``on_request = True`` where suites leave the agent out unless it is named;
    ``provenance``, a mapping that says how a trained agent came about: ``seed``,
    ``steps`` and ``seconds`` of its training, ``env_id`` and ``split`` it was trained on, ``privileged`` (whether the
    training saw hidden tasks). Results keep it, and agents of one name whose provenance differs in ``seed`` and
    ``seconds`` alone are training seeds of one agent.
    """

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """A batch of ``len(seeds)`` new lifetimes: forget everything.

        Args:
            spec: what is known about the lifetimes.
            seeds: ``uint64[N]``; all of the agent's randomness comes from them (`daytwo.streams.agent_streams`), so
                that results do not depend on how lifetimes are batched.
        """

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Choose actions.

        Args:
            observations: ``float32[N, size]``, laid out as ``spec.layout`` says. Row i always belongs to lifetime i.
            fresh: ``bool[N]``; lifetime i begins now, or its memory is wiped: act as if nothing was seen before.

        Returns:
            ``int64[N]``, or ``float[N, d]`` in [-1, 1] if continuous.
        """


class PolicyAgent:
    """A plain function as an agent: ``actions, state = policy(observations, state, fresh)``.

    ``state`` is whatever the function returned last, None when new lifetimes begin; where ``fresh`` is true the
    function must forget what it knows of that lifetime.
    """

    def __init__(self, policy: Callable[[np.ndarray, Any, np.ndarray], tuple[Any, Any]], *, name: str | None = None):
        """Wrap a function.

        Args:
            policy: takes observations ``float32[N, size]``, the state and fresh ``bool[N]``; returns actions
                (``int64[N]`` or ``float[N, d]`` in [-1, 1]) and the new state.
            name: what results call it; the function's name by default.

        Raises:
            ValueError: it cannot be called.
        """
        if not callable(policy):
            raise ValueError(f"Expected a function policy(observations, state, fresh), received {policy!r}.")
        self._policy = policy
        self.name = getattr(policy, "__name__", type(policy).__name__) if name is None else name

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        self._state: Any = None

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        answer = self._policy(observations, self._state, fresh)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ValueError(f"Policy {self.name!r} must return (actions, state), received {type(answer).__name__}.")
        actions, self._state = answer
        return np.asarray(actions)


_agents: dict[str, list[str]] = {}

# Names that mean another agent for every family, and what they stand for.
_ROLES = {"reference": "reference learner", "reactive": "reactive agent"}

# Kinds of checkpoint and the classes that load them. A checkpoint names its kind, never code.
_checkpoint_kinds: dict[str, str] = {
    "policy-network": "daytwo.baselines.trained:TrainedAgent",
    "in-context-transformer": "daytwo.integrations.transformer:InContextAgent",
}


def register_agent(name: str, entry_point: str) -> None:
    """Make an agent known by name.

    Args:
        name: what ``daytwo.evaluate`` and the commands call it. One name may have several implementations for
            different families (``greedy`` for bandits and for MDPs): the first that fits is used.
        entry_point: ``"module:Class"``.
    """
    check_entry_point(entry_point)
    entries = _agents.setdefault(name, [])
    if entry_point not in entries:
        entries.append(entry_point)


def register_checkpoint_kind(kind: str, entry_point: str) -> None:
    """Make a kind of checkpoint known: a folder whose ``config.json`` says ``"agent": kind``.

    Args:
        kind: the name in ``config.json``.
        entry_point: ``"module:Class"``; the class takes the folder as its first argument.
    """
    register(_checkpoint_kinds, kind, entry_point)


def find_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The checkpoint in a folder: the folder itself, or the last one of a training run.

    Returns:
        A folder that holds a ``config.json``, or None.
    """
    path = Path(folder)
    if (path / "config.json").is_file():
        return path
    saved = sorted(config.parent for config in path.glob("checkpoints/[0-9]*/config.json"))
    return saved[-1] if saved else None


def read_checkpoint(folder: str | os.PathLike[str], kind: str) -> tuple[Path, dict[str, Any]]:
    """Where the checkpoint in a folder lies (see `find_checkpoint`), and its ``config.json``.

    Args:
        folder: a checkpoint, or the folder of a run.
        kind: what the config must say under ``agent``.

    Raises:
        ValueError: there is none, or one of another kind.
    """
    path = find_checkpoint(folder)
    if path is None:
        raise ValueError(f"{os.fspath(folder)!r} holds no checkpoint: expected a config.json in it.")
    config = json.loads((path / "config.json").read_text())
    if config.get("agent") != kind:
        raise ValueError(f"{str(path)!r} is a checkpoint of kind {config.get('agent')!r}, expected {kind!r}.")
    return path, config


def _checkpoint_class(path: Path) -> Any:
    """The class that loads the checkpoint at ``path``, chosen among the registered kinds."""
    try:
        kind = json.loads((path / "config.json").read_text()).get("agent")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{str(path / 'config.json')!r} is no checkpoint's config: {error}.") from error
    if kind not in _checkpoint_kinds:
        expected = ", ".join(map(repr, _checkpoint_kinds))
        raise ValueError(f"{str(path)!r} is a checkpoint of kind {kind!r}, expected one of {expected}.")
    return load(_checkpoint_kinds[kind])


def checkpoint_module(checkpoint: Path) -> str:
    """The module of the class that loads a checkpoint; "" where the checkpoint does not say."""
    try:
        kind = json.loads((checkpoint / "config.json").read_text())["agent"]
    except (ValueError, KeyError, TypeError):
        return ""
    return _checkpoint_kinds.get(kind, "").partition(":")[0]


def agent_modules(agent: Any) -> set[str]:
    """The modules that define an agent, given by a registered name, ``"module:Class"`` or class; else none.

    Raises:
        ValueError: there is no such ``"module:Class"``.
    """
    if isinstance(agent, type):
        return {agent.__module__}
    if agent in _agents:
        return {entry.partition(":")[0] for entry in _agents[agent]}
    return {load(agent).__module__} if isinstance(agent, str) and ":" in agent else set()


def agent_folders(agent: Any, env_id: str) -> list[Path]:
    """The folders of checkpoints that an agent given by a registered name acts from in an environment."""
    classes = map(load, _agents.get(agent, ())) if isinstance(agent, str) else ()
    found = [one.checkpoint_folder(env_id) for one in classes if hasattr(one, "checkpoint_folder")]
    return [folder for folder in found if folder is not None]


def agent_names() -> tuple[str, ...]:
    """All registered names, in the order of registration."""
    return tuple(_agents)


def _fits(agent_class: Any, spec: LifetimeSpec) -> bool:
    fits = getattr(agent_class, "fits", None)
    return True if fits is None else bool(fits(spec))


def fitting_agents(spec: LifetimeSpec, names: Iterable[str] | None = None) -> tuple[str, ...]:
    """The names of agents with an implementation that fits an environment.

    Args:
        spec: the environment's `LifetimeSpec`.
        names: which names to look at; by default all registered ones that are not ``on_request`` and, where the family
            brings a reference learner that has no registered name, ``reference``.
    """
    unasked = names is None
    if names is None:
        own = () if spec.reference is None or spec.reference in _agents else ("reference",)
        names = (*own, *agent_names())
    return tuple(
        name
        for name in names
        if (name in _ROLES and getattr(spec, name) is not None)
        or any(
            _fits(candidate, spec) and not (unasked and getattr(candidate, "on_request", False))
            for candidate in map(load, _agents.get(name, ()))
        )
    )


def make_agent(agent: Any, spec: LifetimeSpec, **options: Any) -> Agent:
    """An agent for an environment.

    Args:
        agent: a registered name, ``reference`` (the family's reference learner), ``reactive`` (its hand-made agent
            without a memory), the folder of a checkpoint or of a training run, ``"module:Class"``, a class, or an
            `Agent` (returned as it is).
        spec: the environment's `LifetimeSpec`.
        options: passed to the class.

    Raises:
        ValueError: unknown name, or no implementation fits the environment.
    """
    if isinstance(agent, str | os.PathLike) and agent not in _agents and (path := find_checkpoint(agent)) is not None:
        return _checkpoint_class(path)(path, **options)
    if isinstance(agent, str) and agent in _ROLES and agent not in _agents:
        own = getattr(spec, agent)
        if own is None:
            raise ValueError(f"{spec.env_id} names no {_ROLES[agent]}.")
        made = make_agent(own, spec, **options)
        made.name = agent  # type: ignore[attr-defined]
        return made
    if isinstance(agent, str):
        if agent in _agents:
            entries = _agents[agent]
        elif ":" in agent:
            entries = [agent]
        else:
            raise ValueError(
                f"Unknown agent {agent!r}: expected {', '.join(_ROLES)}, {', '.join(agent_names())}, a checkpoint "
                "folder, or module:Class."
            )
        for entry in entries:
            candidate = load(entry)
            if _fits(candidate, spec):
                maker = getattr(candidate, "for_environment", None)
                made = candidate(**options) if maker is None else maker(spec, **options)
                if getattr(made, "name", None) is None:
                    made.name = agent
                return made
        raise ValueError(f"Agent {agent!r} is not meant for {spec.env_id} with settings {dict(spec.settings)}.")
    if isinstance(agent, type):
        return agent(**options)
    if not (callable(getattr(agent, "begin", None)) and callable(getattr(agent, "act", None))):
        raise ValueError(
            f"An agent needs the methods begin(spec, seeds) and act(observations, fresh), received {agent!r}."
        )
    return agent
