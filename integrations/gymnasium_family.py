"""Any parametrised Gymnasium environment as a task family.

    family = GymnasiumFamily(make_env, sample_task, name="Poles", reward_range=(0, 1), oracle_return=500)
    daytwo.evaluate("random", family, lifetimes=32)

`sample_task` draws the hidden task of a lifetime, `make_env` builds an environment of it, and everything else is as for
every other family: courses, bars, splits, the amnesiac twin and the redrawn control, results and reports. The
environments are ordinary Python objects that live beside the state records of the loop, one for every lifetime that is
lived at a time; the loop itself runs as ordinary Python.

A lane's state record holds the episode's seed and actions so far. Where no live environment fits it (in a copy, another
process, or after a snapshot was restored) the environment is built anew and the episode replayed, which is exact for
every environment that its reset's seed makes deterministic, and refused for the others.
"""

import functools
import hashlib
import inspect
import json
import os
import re
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from daytwo.calibration import SEED, ReferenceReturns, cache_folder, episode_returns, settings_key
from daytwo.checks import check_integer
from daytwo.course import Level
from daytwo.family import SPLITS, Scene, TaskFamily
from daytwo.lifetime import LifetimeEnv
from daytwo.loading import load
from daytwo.loop import SPLIT_CODES, split_of
from daytwo.observation import Field
from daytwo.registration import make_family
from daytwo.streams import next_word

# From this size on a declared bound is none: environments write both inf and the largest float.
_UNBOUNDED = 1e30
_WHOLE_TASK = "hidden"  # the record's field of tasks that are one array
_SPLIT_FIELD = "split_code"
_CALIBRATION_LANES = 8  # environments that are lived at a time to measure returns
_MASK_63 = (1 << 63) - 1
_SUMMARIES: dict[str, Callable[[float, float], float]] = {
    "last": lambda before, now: now,
    "max": max,
    "min": min,
    "sum": lambda before, now: before + now,
}


@dataclass(frozen=True)
class GymnasiumLevel(Level):
    """A level of a `GymnasiumFamily`.

    Attributes:
        arguments: what ``make_env`` is called with at this level, besides the task.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class MeasuredReturns(ReferenceReturns):
    """Reference returns of which some were measured over few episodes.

    Attributes:
        samples: how many episodes were measured per level and policy.
    """

    samples: int = 1

    @property
    def random_spread(self) -> tuple[float, ...]:
        """Standard deviation of the random policy's normalised episode return; 0 where not measured."""
        gaps = (high - low for low, high in zip(self.random_return, self.oracle_return, strict=True))
        return tuple(error * self.samples**0.5 / gap for error, gap in zip(self.random_error, gaps, strict=True))


class _Live:
    """An environment, and where it is: ``track`` names the level, task, seed and actions that led there."""

    __slots__ = ("env", "level", "observation", "task", "track")

    def __init__(self, env: gymnasium.Env, level: int, task: bytes) -> None:
        self.env, self.level, self.task = env, level, task
        self.track, self.observation = -1, None


def _resolve(name: str, function: Any, *, optional: bool = False) -> Any:
    """A callable given as it is or as ``"module:function"``."""
    if function is None and optional:
        return None
    if isinstance(function, str):
        function = load(function)
    if not callable(function):
        raise ValueError(f"{name} must be a function or 'module:function', received {function!r}.")
    return function


def _reference_to(value: Any) -> Any:
    """A function as ``"module:function"`` where that finds it again; everything else as it is."""
    path = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
    try:
        return path if callable(value) and load(path) is value else value
    except ValueError:
        return value


def _code_of(function: Any) -> str:
    """What stands for a function's behaviour: its module's source, and what it closes over."""
    if function is None:
        return ""
    if isinstance(function, functools.partial):
        return "\n".join([_code_of(function.func), repr(function.args), repr(function.keywords)])
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    parts = []
    try:
        parts.append(inspect.getsource(module if module is not None else function))
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        parts.append(repr(function) if code is None else repr((code.co_code, code.co_consts, code.co_names)))
    parts.append(getattr(function, "__qualname__", repr(function)))
    for cell in getattr(function, "__closure__", None) or ():
        try:
            parts.append(repr(cell.cell_contents))
        except ValueError:
            parts.append("empty")
    return "\n".join(parts)


@functools.cache
def split_code(split: str) -> int:
    """The least integer that the splits' fixed hash sends to ``split``: how a task is put into a split by hand.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.

    Raises:
        ValueError: it is none of these.
    """
    if split not in SPLITS or split == "all":
        raise ValueError(f"A task's split is one of train, validation, test; received {split!r}.")
    plan = SimpleNamespace(split_bytes=8, split_at=range(8))
    with np.errstate(all="ignore"):
        code = 0
        while split_of(plan, np.frombuffer(np.int64(code).tobytes(), np.uint8)) != SPLIT_CODES[split]:
            code += 1
    return code


def _bounds_of(space: spaces.Space, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of a flattened space, ``float64[size]`` each; infinite where there are none.

    Raises:
        ValueError: the space cannot be flattened into a vector.
    """
    try:
        flat = spaces.flatten_space(space)
    except NotImplementedError:
        flat = None
    if not isinstance(flat, spaces.Box):
        raise ValueError(
            f"{what} must be a Box, or Discrete, MultiBinary, MultiDiscrete, Dict or Tuple of such spaces; received "
            f"{space}. Wrap the environment in one of gymnasium.wrappers' observation wrappers."
        )
    low, high = flat.low.astype(np.float64).ravel(), flat.high.astype(np.float64).ravel()
    return np.where(low <= -_UNBOUNDED, -np.inf, low), np.where(high >= _UNBOUNDED, np.inf, high)


def _parts_of(space: spaces.Space) -> list[tuple[str, int]]:
    """Name and size of the parts of a flattened observation."""
    if isinstance(space, spaces.Dict):
        return [(str(name), spaces.flatdim(part)) for name, part in space.spaces.items()]
    return [("observation", spaces.flatdim(space))]


def _fields(space: spaces.Space, low: np.ndarray, high: np.ndarray) -> list[Field]:
    """The observation's fields: its parts, divided where bounds differ."""
    fields, at = [], 0
    for name, size in _parts_of(space):
        bounds = np.stack([low[at : at + size], high[at : at + size]])
        cuts = [0, *(np.flatnonzero((bounds[:, 1:] != bounds[:, :-1]).any(axis=0)) + 1).tolist(), size]
        for start, stop in zip(cuts, cuts[1:], strict=False):
            own = name if len(cuts) == 2 else f"{name}_{start}"
            fields.append(Field(own, stop - start, float(bounds[0, start]), float(bounds[1, start])))
        at += size
    return fields


class GymnasiumFamily(TaskFamily):
    """Lifetimes of any parametrised Gymnasium environment.

    Use an instance wherever an environment's id is taken (``daytwo.evaluate``, ``daytwo.LifetimeVectorEnv``, ...). For
    commands, suites and other processes, which need a name, write a subclass in a module of your own, whose constructor
    takes keyword arguments and passes on the rest, and name it ``"module:Class"``.

    Observation: the environment's own, flattened (``spaces.flatten``), as field ``observation`` (of a Dict space, a
    field for each key), followed by the usual extras. Where bounds differ between columns, each run of equal bounds is
    a field of its own, called ``<name>_<first column>``.
    Action: Discrete as it is, counted from 0; a bounded Box flattened and rescaled from [-1, 1].
    End of an episode: the environment's ``terminated`` or ``truncated``, or the level's horizon.
    """

    interpreted = True

    def __init__(
        self,
        make_env: Callable[..., gymnasium.Env] | str,
        sample_task: Callable[[np.random.Generator], Any] | str,
        *,
        reward_range: tuple[float, float],
        set_task: Callable[[gymnasium.Env, Any], Any] | str | None = None,
        name: str | None = None,
        horizon: int | None = None,
        levels: Sequence[Level] | None = None,
        episodes: int | None = None,
        observation_bounds: tuple[Any, Any] | None = None,
        random_return: float | Sequence[float] | None = None,
        oracle_return: float | Sequence[float] | None = None,
        oracle: Callable[[gymnasium.Env, Any, Any], Any] | str | None = None,
        calibration_episodes: int = 64,
        distinct_tasks: int | None = None,
        split_fields: Sequence[str] | None = None,
        split_of_task: Callable[[Any], str] | str | None = None,
        splits: Sequence[str] = ("train", "test"),
        visible_at_start: Sequence[str] | None = None,
        diagnostics: Mapping[str, str] | None = None,
        action_names: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare the family.

        Functions may be given as ``"module:function"``, which other processes find again.

        Args:
            make_env: ``make_env(**task)`` returns an environment of the task (``make_env(task)`` where a task is an
                array); with `set_task`, ``make_env()``. It is also given the arguments of the level.
            sample_task: ``sample_task(generator)`` draws a task from a ``numpy.random.Generator`` and nothing else:
                a dict of numbers and arrays, or one array (or number), always of the same names and shapes.
            reward_range: finite bounds of one step's reward; a reward outside ends in an error.
            set_task: ``set_task(env, task)`` gives a new task to an environment that exists already, which is then used
                for many tasks. The task must survive the environment's ``reset``, and nothing else of the past may.
            name: of the family; by default the class attribute ``name``.
            horizon: the most steps of an episode, where `levels` are not given; by default the environment's own limit
                (``env.spec.max_episode_steps``).
            levels: `GymnasiumLevel` objects from easy to hard. All must have the same spaces.
            episodes: per stage, by default; 10 unless the class says otherwise.
            observation_bounds: ``(low, high)``, numbers or arrays over the columns, to which observations are clipped;
                needed where the environment declares no finite bounds.
            random_return: mean episode return of the random policy, one for all levels or one per level; measured if
                left out.
            oracle_return: the return that counts as 1, likewise; measured with `oracle` if left out. It may be that of
                any good policy.
            oracle: ``oracle(env, observation, task)`` returns an action of ``env.action_space``. It may look into the
                environment but must leave it as it is.
            calibration_episodes: over how many episodes per level returns are measured (kept on disk, see
                ``daytwo.calibration``).
            distinct_tasks: how many different tasks there are; None for infinitely many.
            split_fields: task fields of whole numbers whose hash decides the split. By default tasks are split by a
                random key, which is right where no two tasks are ever equal.
            split_of_task: ``split_of_task(task)`` names the split of a task, where there is an official one.
            splits: the splits that `split_of_task` names.
            visible_at_start: task fields that a lifetime's first observation rightly shows.
            diagnostics: keys of the environment's ``info`` to be kept for every episode, and how: the ``last``,
                ``max``, ``min`` or ``sum`` of the episode's values, e.g. ``{"success": "max"}``.
            action_names: words for discrete actions.
            tags: some of ``daytwo.family.TAGS``.
            keywords: of a subclass, its constructor's arguments by name; they are kept with results.

        Raises:
            ValueError: a value is out of range, a space cannot be used, levels differ in their spaces, bounds are
                missing, or there is nothing to normalise returns by.
        """
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__", "keywords")}
        self._make_env = _resolve("make_env", make_env)
        self._sample_task = _resolve("sample_task", sample_task)
        self._set_task = _resolve("set_task", set_task, optional=True)
        self._oracle = _resolve("oracle", oracle, optional=True)
        self._split_of_task = _resolve("split_of_task", split_of_task, optional=True)
        if name is not None:
            if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
                raise ValueError(f"name must be a word such as 'Poles', received {name!r}.")
            self.name = name  # type: ignore[misc]
        if not self.name:
            raise ValueError("A GymnasiumFamily needs a name: pass name='Poles', or set it in the subclass.")
        if keywords is None:
            defaults = {key: value.default for key, value in inspect.signature(GymnasiumFamily).parameters.items()}
            changed = {key: value for key, value in given.items() if value is not defaults[key]}
            keywords = {key: _reference_to(value) for key, value in changed.items()}
            keywords = keywords if type(self) is GymnasiumFamily else {}
        if episodes is not None:
            self.episodes = check_integer("episodes", episodes, 1, 1_000_000)
        if tags is not None:
            self.tags = tuple(tags)  # type: ignore[misc]
        self._calibration_episodes = check_integer("calibration_episodes", calibration_episodes, 2, 1_000_000)
        if visible_at_start is not None:
            self.visible_at_start = tuple(map(_field_name, visible_at_start))
        self._batches: dict[int, list[_Live | None]] = {}
        self._idle: dict[int, list[_Live]] = {}
        self._discarded: list[gymnasium.Env] = []
        task_fields = self._learn_task()
        self._declare_splits(task_fields, split_fields, splits)
        spaces_of, levels = self._probe(levels, horizon)
        self._declare_actions(spaces_of[1])
        fields = self._declare_observation(spaces_of[0], observation_bounds)
        self._declare_diagnostics(diagnostics)
        longest = max(level.horizon for level in levels)
        history = ("history", "f8", (longest, self._dimensions)) if self._dimensions else ("history", "i4", (longest,))
        self._bind()
        self._given_returns: ReferenceReturns | None = None
        super().__init__(
            keywords=keywords,
            settings={"levels": len(levels)},
            task=task_fields,
            state=[
                ("track", "u8"),
                ("seed", "i8"),
                ("time", "i8"),
                ("seen", "f4", (self._size,)),
                ("told", "f8", (max(len(self._summaries), 1),)),
                history,
            ],
            levels=levels,
            actions=self._unit_actions,
            fields=fields,
            reward_range=reward_range,
            distinct_tasks=distinct_tasks,
            action_names=action_names,
            diagnostics=[Field(key, 1) for key in self._summaries],
        )
        self._low_reward, self._high_reward = self.reward_range
        self._declared_random = self._per_level("random_return", random_return)
        self._declared_oracle = self._per_level("oracle_return", oracle_return)
        if self._declared_oracle is None and self._oracle is None:
            raise ValueError(
                f"{self.name}: there is nothing to normalise returns by. Pass oracle_return= (the mean episode return "
                "of a good policy, or a bound; one number or one per level), or oracle= (a function that acts well and "
                "is measured)."
            )

    # --- what the constructor finds out ----------------------------------------------------------------------------

    def _learn_task(self) -> list[tuple]:
        """Names, types and shapes of the task's fields, from one that is sampled."""
        sampled = self._sample_task(np.random.default_rng(0))
        self._whole = not isinstance(sampled, Mapping)
        parts = {_WHOLE_TASK: sampled} if self._whole else dict(sampled)
        if not parts:
            raise ValueError("sample_task must return at least one number, received {}.")
        self._names: dict[str, str] = {}  # of the record's fields, by the user's names
        self._kinds: dict[str, np.dtype] = {}
        fields: list[tuple] = []
        for name, value in parts.items():
            array = np.asarray(value)
            if not isinstance(name, str) or array.dtype.kind not in "biuf":
                raise ValueError(
                    "sample_task must return numbers, an array of numbers, or a dict of such by name; received "
                    f"{name!r}: {value!r}."
                )
            self._names[name] = _field_name(name)
            self._kinds[name] = array.dtype
            fields.append((self._names[name], "f8" if array.dtype.kind == "f" else "i8", array.shape))
        return fields

    def _declare_splits(self, task_fields: list[tuple], split_fields: Any, splits: Sequence[str]) -> None:
        self._official: tuple[str, ...] = ()
        if split_fields is not None:
            if self._split_of_task is not None:
                raise ValueError("Give split_fields or split_of_task, not both.")
            self.split_fields = tuple(map(_field_name, split_fields))
            reals = [name for name, kind, _ in task_fields if kind == "f8" and name in self.split_fields]
            if reals:
                raise ValueError(f"split_fields must hold whole numbers; {reals[0]!r} holds real ones.")
        if self._split_of_task is not None:
            bad = [split for split in splits if split not in SPLITS or split == "all"]
            if bad or not splits:
                raise ValueError(f"splits must be some of train, validation, test; received {splits!r}.")
            self._official = tuple(splits)
            task_fields.append((_SPLIT_FIELD, "i8"))
            self.split_fields = (_SPLIT_FIELD,)

    def _probe(self, levels: Any, horizon: Any) -> tuple[tuple[spaces.Space, spaces.Space], tuple[Level, ...]]:
        """Observation and action space, and the levels; makes an environment of each level to see them."""
        if levels is not None and horizon is not None:
            raise ValueError("Give horizon, or levels with a horizon each; not both.")
        if isinstance(levels, Level) or (levels is not None and not all(isinstance(one, Level) for one in levels)):
            raise ValueError(f"levels must be a sequence of GymnasiumLevel, received {levels!r}.")
        chosen = list(levels or [GymnasiumLevel("the environment", 1 if horizon is None else horizon)])
        self._arguments = [dict(getattr(level, "arguments", {})) for level in chosen]
        sampled = self._sample_task(np.random.default_rng(0))
        parts = {_WHOLE_TASK: sampled} if self._whole else sampled
        task = self._from_record({own: parts[name] for name, own in self._names.items()})
        found: tuple[spaces.Space, spaces.Space] | None = None
        for k, level in enumerate(chosen):
            env = self._make(k, task)
            if levels is None and horizon is None:
                limit = None if env.spec is None else env.spec.max_episode_steps
                if limit is None:
                    raise ValueError(
                        f"{self.name}: the environment sets no limit to an episode's steps "
                        "(env.spec.max_episode_steps): pass horizon=."
                    )
                chosen[k] = GymnasiumLevel(level.name, int(limit))
            these = (env.observation_space, env.action_space)
            if found is not None and these != found:
                raise ValueError(
                    f"All levels must have the same spaces; level {k} ({level.name}) has {these}, "
                    f"the ones before {found}."
                )
            found = these
            self._put_away(_Live(env, k, b""))
        assert found is not None
        return found, tuple(chosen)

    def _declare_actions(self, space: spaces.Space) -> None:
        self._env_actions = space
        self._dimensions = 0
        if isinstance(space, spaces.Discrete):
            self._first_action = int(space.start)
            self._unit_actions: spaces.Space = spaces.Discrete(int(space.n))
        elif isinstance(space, spaces.Box):
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            if not (np.isfinite(low).all() and np.isfinite(high).all() and (np.abs([low, high]) < _UNBOUNDED).all()):
                raise ValueError(
                    f"{self.name}: a continuous action needs finite bounds, received {space}. Wrap the environment, "
                    "e.g. in gymnasium.wrappers.RescaleAction."
                )
            self._dimensions = low.size
            self._centre, self._half = (low + high) / 2.0, (high - low) / 2.0
            self._unit_actions = spaces.Box(-1.0, 1.0, shape=(low.size,), dtype=np.float32)
        else:
            raise ValueError(f"{self.name}: actions must be Discrete or a bounded Box, received {space}.")

    def _declare_observation(self, space: spaces.Space, bounds: Any) -> list[Field]:
        self._env_observations = space
        self._plain = isinstance(space, spaces.Box)
        low, high = _bounds_of(space, f"{self.name}: observations")
        self._clip: tuple[np.ndarray, np.ndarray] | None = None
        if bounds is not None:
            try:
                low, high = (np.broadcast_to(np.asarray(b, np.float64).ravel(), low.shape) for b in bounds)
            except (TypeError, ValueError):
                raise ValueError(
                    f"observation_bounds must be (low, high), numbers or arrays of {low.size}; received {bounds!r}."
                ) from None
            if not (low <= high).all():
                raise ValueError(f"observation_bounds must be in order, low <= high; received {bounds!r}.")
            self._clip = (low.astype(np.float32), high.astype(np.float32))
        loose = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)))
        if len(loose):
            raise ValueError(
                f"{self.name}: observation column {loose[0]} of {low.size} has no finite bounds ({space}). Pass "
                "observation_bounds=(low, high), wide enough that clipping to them loses nothing."
            )
        self._size = low.size
        return _fields(space, low, high)

    def _declare_diagnostics(self, diagnostics: Mapping[str, str] | None) -> None:
        self._summaries = dict(diagnostics or {})
        for key, how in self._summaries.items():
            if how not in _SUMMARIES:
                raise ValueError(
                    f"diagnostics: {key!r} must be one of {', '.join(map(repr, _SUMMARIES))}, received {how!r}."
                )

    def _per_level(self, name: str, value: Any) -> tuple[float, ...] | None:
        if value is None:
            return None
        numbers = np.asarray(value, dtype=np.float64)
        if numbers.shape not in ((), (len(self.levels),)) or not np.isfinite(numbers).all():
            raise ValueError(f"{name} must be one number, or one for each of {len(self.levels)} levels; got {value!r}.")
        return tuple(np.broadcast_to(numbers, (len(self.levels),)).tolist())

    # --- the family's functions -------------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Make the scalar functions, which close over this very family and its environments."""

        def draw(settings, task, stream, i):
            self._draw(task, stream, i)

        def begin(settings, task, state, level, stream, i):
            self._begin_episode(task, state, int(level), int(next_word(stream, i) >> np.uint64(33)), i)

        def step(settings, task, state, level, stream, i, action):
            return self._step(task, state, int(level), i, action)

        def observe(settings, task, state, level, i, out):
            out[:] = state["seen"][i]

        def diagnose(settings, task, state, level, i, out):
            out[:] = state["told"][i]

        def oracle(settings, task, state, level, i, out=None):
            live = self._live(task, state, int(level), i)
            action = self._from_env(self._oracle(live.env, live.observation, self._task_of(task, i)))
            if out is None:
                return action
            out[:] = action

        self.draw, self.begin, self.step, self.observe = draw, begin, step, observe
        if self._summaries:
            self.diagnose = diagnose
        if self._oracle is not None:
            self.oracle = oracle

    def _draw(self, task: Any, stream: Any, i: int) -> None:
        generator = np.random.default_rng([int(next_word(stream, i)) for _ in range(2)])
        sampled = self._sample_task(generator)
        parts = {_WHOLE_TASK: sampled} if self._whole else sampled
        if not isinstance(parts, Mapping) or parts.keys() != self._names.keys():
            raise ValueError(f"sample_task must return {sorted(self._names)} each time, received {sampled!r}.")
        records = task.view(np.ndarray)
        for name, own in self._names.items():
            column, value = records[own], np.asarray(parts[name])
            if value.shape != column.shape[1:] or value.dtype.kind not in "biuf":
                raise ValueError(
                    f"sample_task: {name!r} must be numbers of shape {column.shape[1:]} each time, received {value!r}."
                )
            if column.dtype.kind == "i" and value.dtype.kind == "f" and (value % 1 != 0).any():
                raise ValueError(
                    f"sample_task: {name!r} was a whole number at first and is {value!r} now; return floats always."
                )
            column[i] = value
        if self._split_of_task is not None:
            records[_SPLIT_FIELD][i] = split_code(self._split_of_task(self._task_of(task, i)))

    def _task_of(self, task: Any, i: int) -> Any:
        """The task of row i as `make_env` takes it."""
        records = task.view(np.ndarray)
        return self._from_record({own: records[own][i] for own in self._names.values()})

    def _from_record(self, values: Mapping[str, Any]) -> Any:
        parts = {}
        for name, own in self._names.items():
            array = np.array(values[own]).astype(self._kinds[name])
            parts[name] = array.item() if array.ndim == 0 else array
        return parts[_WHOLE_TASK] if self._whole else parts

    def _key_of(self, task: Any, i: int) -> bytes:
        records = task.view(np.ndarray)
        return b"".join(records[own][i].tobytes() for own in self._names.values())

    def _make(self, level: int, task: Any) -> gymnasium.Env:
        arguments = self._arguments[level]
        if self._set_task is not None:
            env = self._make_env(**arguments)
        elif self._whole:
            env = self._make_env(task, **arguments)
        else:
            env = self._make_env(**task, **arguments)
        if not isinstance(env, gymnasium.Env):
            raise ValueError(f"make_env must return a gymnasium.Env, received {env!r}.")
        return env

    def _lives(self, state: Any) -> list[_Live | None]:
        """The live environments of the lanes whose records these are: of the memory in which they lie."""
        owner = state
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        lives = self._batches.get(id(owner))
        if lives is None:
            lives = self._batches[id(owner)] = [None] * len(state)
            weakref.finalize(owner, _release, weakref.ref(self), id(owner)).atexit = False
        return lives

    def _put_away(self, live: _Live) -> None:
        """Keep an environment for another lane, or, where it is made for one task, let it be closed."""
        if self._set_task is None:
            self._discarded.append(live.env)
        else:
            live.track = -1
            self._idle.setdefault(live.level, []).append(live)

    def _furnish(self, lives: list[_Live | None], task: Any, level: int, i: int) -> _Live:
        """An environment of this level and task for lane i."""
        while self._discarded:
            self._discarded.pop().close()
        key, live = self._key_of(task, i), lives[i]
        if live is not None and (live.level != level or (self._set_task is None and live.task != key)):
            self._put_away(live)
            live = None
        if live is None:
            idle = self._idle.get(level)
            live = idle.pop() if idle else _Live(self._make(level, self._task_of(task, i)), level, b"")
            if self._set_task is None:
                live.task = key
            lives[i] = live
        if live.task != key:
            self._set_task(live.env, self._task_of(task, i))
            live.task = key
        return live

    def _begin_episode(self, task: Any, state: Any, level: int, seed: int, i: int) -> None:
        live = self._furnish(self._lives(state), task, level, i)
        live.observation, _ = live.env.reset(seed=seed)
        live.track = hash((seed, level, zlib.crc32(live.task))) & _MASK_63
        records = state.view(np.ndarray)
        records["track"][i] = live.track
        records["seed"][i] = seed
        records["time"][i] = 0
        records["seen"][i] = self._flat(live.observation)
        records["told"][i] = np.nan
        records["history"][i] = 0

    def _live(self, task: Any, state: Any, level: int, i: int) -> _Live:
        """The environment that is where lane i's record says; where there is none, the episode is replayed in one."""
        lives = self._lives(state)
        live, records = lives[i], state.view(np.ndarray)
        track = int(records["track"][i])
        if live is not None and live.track == track:
            return live
        live = self._furnish(lives, task, level, i)
        live.track = -1
        live.observation, _ = live.env.reset(seed=int(records["seed"][i]))
        for action in records["history"][i, : int(records["time"][i])]:
            live.observation = live.env.step(self._to_env(action))[0]
        if not np.array_equal(self._flat(live.observation), records["seen"][i]):
            raise RuntimeError(
                f"{self.name}: an episode that was copied or restored from a snapshot goes differently when it is "
                "replayed. The environment must depend on its task, on reset(seed=) and on the actions alone."
            )
        live.track = track
        return live

    def _step(self, task: Any, state: Any, level: int, i: int, action: Any) -> tuple[float, bool]:
        live = self._live(task, state, level, i)
        records = state.view(np.ndarray)
        time = records["time"]
        records["history"][i, time[i]] = action
        time[i] += 1
        # Where the environment raises, nothing fits the record, and nothing goes on from it.
        track, live.track = live.track, -1
        live.observation, reward, terminated, truncated, info = live.env.step(self._to_env(action))
        reward = float(reward)
        if not self._low_reward <= reward <= self._high_reward:
            raise ValueError(
                f"{self.name}: a step paid {reward}, outside reward_range ({self._low_reward:g}, "
                f"{self._high_reward:g}): pass a wider one."
            )
        live.track = hash((track, *action.tolist()) if self._dimensions else (track, int(action))) & _MASK_63
        records["track"][i] = live.track
        records["seen"][i] = self._flat(live.observation)
        for k, (key, how) in enumerate(self._summaries.items()):
            if key in info:
                before, now = records["told"][i, k], float(info[key])
                records["told"][i, k] = now if np.isnan(before) else _SUMMARIES[how](before, now)
        return reward, bool(terminated or truncated)

    def _flat(self, observation: Any) -> np.ndarray:
        """An observation as ``float32[size]``."""
        if self._plain:
            flat = np.asarray(observation, dtype=np.float32).ravel()
        else:
            flat = np.asarray(spaces.flatten(self._env_observations, observation), dtype=np.float32)
        if self._clip is not None:
            flat = np.clip(flat, *self._clip)
        if flat.shape != (self._size,) or not np.isfinite(flat).all():
            raise ValueError(
                f"{self.name}: the environment returned an observation that is not finite or not in "
                f"{self._env_observations}: {observation!r}."
            )
        return flat

    def _to_env(self, action: Any) -> Any:
        """An action of this family as one of the environment."""
        space = self._env_actions
        if not self._dimensions:
            return int(action) + self._first_action
        assert isinstance(space, spaces.Box)
        scaled = self._centre + self._half * np.asarray(action, dtype=np.float64).reshape(self._centre.shape)
        return np.clip(scaled.astype(space.dtype), space.low, space.high)

    def _from_env(self, action: Any) -> Any:
        """An action of the environment as one of this family."""
        if not self._dimensions:
            return int(action) - self._first_action
        away = np.asarray(action, dtype=np.float64).reshape(self._centre.shape) - self._centre
        return np.clip(np.where(self._half > 0, away / np.where(self._half > 0, self._half, 1.0), 0.0), -1, 1).ravel()

    # --- what the hub asks ------------------------------------------------------------------------------------------

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits offered: the official ones, if there are such."""
        return (*self._official, "all") if self._official else super().splits

    def task_to_dict(self, task: Any) -> dict[str, Any]:
        """See `TaskFamily.task_to_dict`; the official split follows from the rest and is left out."""
        return {name: value for name, value in super().task_to_dict(task).items() if name != _SPLIT_FIELD}

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """See `TaskFamily.task_from_dict`."""
        if self._split_of_task is None or not isinstance(values, Mapping):
            return super().task_from_dict(values)
        task = super().task_from_dict({**values, _SPLIT_FIELD: 0})
        task[_SPLIT_FIELD] = split_code(self._split_of_task(self._from_record({n: task[n][0] for n in values})))
        return task

    def fingerprint(self) -> str:
        """A hash of the sources of the functions given, and of this module's."""
        functions = (self._make_env, self._sample_task, self._set_task, self._oracle, self._split_of_task)
        parts = [_code_of(GymnasiumFamily), *map(_code_of, functions), gymnasium.__version__]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @property
    def reference_returns(self) -> Any:
        """`ReferenceReturns`: given, or measured on first use over ``calibration_episodes`` episodes per level."""
        if self._given_returns is None:
            self._given_returns = self._measure()
        return self._given_returns

    @reference_returns.setter
    def reference_returns(self, value: Any) -> None:
        self._given_returns = value

    def _measure(self) -> ReferenceReturns:
        if self._declared_random is not None and self._declared_oracle is not None:
            return ReferenceReturns.given(self._declared_random, self._declared_oracle)
        rows: list[list[float]] = []
        for level in range(len(self.levels)):
            row: list[float] = []
            for policy, declared in (("random", self._declared_random), ("oracle", self._declared_oracle)):
                if declared is not None:
                    row += [declared[level], 0.0, 0.0]
                else:
                    returns = self._returns_of(policy, level)
                    spread = float(returns.std(ddof=1))
                    row += [float(returns.mean()), spread / len(returns) ** 0.5, spread]
            rows.append(row)
        columns = [tuple(column) for column in zip(*rows, strict=True)]
        low, low_error, _, high, high_error, spreads = columns
        gaps = [above - below for below, above in zip(low, high, strict=True)]
        spread_of = tuple(spread / gap if gap > 0 else 0.0 for spread, gap in zip(spreads, gaps, strict=True))
        return MeasuredReturns(low, high, low_error, high_error, spread_of, samples=self._calibration_episodes)

    def _returns_of(self, policy: str, level: int) -> np.ndarray:
        """Episode returns of ``"random"`` or ``"oracle"`` at a level, ``float64[calibration_episodes]``."""
        what = [self.id, settings_key(self), self.fingerprint(), repr(self.levels[level]), policy]
        what += [str(self._calibration_episodes), str(SEED)]
        digest = hashlib.sha256("\n".join(what).encode()).hexdigest()[:24]
        path = cache_folder() / f"{self.name}-{policy}-{digest}.json"
        try:
            kept = np.array(json.loads(path.read_text()), dtype=np.float64)
            if kept.shape == (self._calibration_episodes,) and np.isfinite(kept).all():
                return kept
        except (OSError, ValueError, TypeError):
            pass
        returns = episode_returns(self, level, policy, self._calibration_episodes, SEED, batch=_CALIBRATION_LANES)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            with os.fdopen(handle, "w") as file:
                json.dump(returns.tolist(), file)
            os.replace(temporary, path)
        except OSError:
            pass  # an unwritable cache costs time, not correctness
        return returns

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The environment's own picture, where ``make_env`` makes it with ``render_mode="rgb_array"``."""
        track = int(scene.state["track"])
        for live in [live for lives in self._batches.values() for live in lives if live is not None]:
            if live.track == track and live.env.render_mode == "rgb_array":
                picture = live.env.render()
                if isinstance(picture, np.ndarray):
                    return picture
        return super().render_rgb(scene)

    def close(self) -> None:
        """Close all environments that no lifetime is using."""
        for idle in self._idle.values():
            self._discarded += [live.env for live in idle]
        self._idle.clear()
        while self._discarded:
            self._discarded.pop().close()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but live environments, which a copy or another process makes anew."""
        state = self.__dict__.copy()
        for name in ("draw", "begin", "step", "observe", "diagnose", "oracle"):
            state.pop(name, None)
        return {**state, "_batches": {}, "_idle": {}, "_discarded": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.settings.setflags(write=False)
        self._bind()


def _field_name(name: str) -> str:
    """The record's name for a task's part: NumPy's own names are taken."""
    return f"{name}_" if hasattr(np.ndarray, str(name)) or name == _SPLIT_FIELD else name


def _release(family: "weakref.ref[GymnasiumFamily]", owner: int) -> None:
    """Take back the environments of lanes that are gone."""
    alive = family()
    if alive is not None:
        for live in alive._batches.pop(owner, ()):
            if live is not None:
                alive._put_away(live)


def make_async_lifetimes(
    family: Any,
    num_envs: int,
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    context: str | None = None,
    shared_memory: bool = True,
    **settings: Any,
) -> AsyncVectorEnv:
    """Lifetimes in processes of their own, under Gymnasium's ``AsyncVectorEnv``.

    For environments whose steps take long (from about a millisecond on). Lane i reset with seed s lives the lifetime
    that it lives in ``daytwo.LifetimeVectorEnv``, which runs in one process. The lanes are single environments, so the
    methods that only the native vector environment has (``set_tasks``, ``snapshot``, ...) are missing; reach the lanes'
    own with ``env.call(name)``.

    Args:
        family: a `GymnasiumFamily`, or whatever else ``daytwo.LifetimeEnv`` takes. It travels by cloudpickle.
        num_envs: how many lifetimes, and processes.
        autoreset_mode: Gymnasium's ``NEXT_STEP``, ``SAME_STEP`` or ``DISABLED``, or their values as text.
        context: how processes start (``"spawn"``, ``"forkserver"``, ``"fork"``); the system's way by default.
        shared_memory: hand observations over in shared memory.
        settings: further keyword arguments of ``daytwo.LifetimeEnv``.

    Raises:
        ValueError: an unknown name or a value out of range.
    """
    num_envs = check_integer("num_envs", num_envs, 1, 100_000)
    own = set(inspect.signature(LifetimeEnv).parameters)
    made = make_family(family, **{key: value for key, value in settings.items() if key not in own})
    arguments = {key: value for key, value in settings.items() if key in own}
    # Measured once, here, and not again in every process.
    if "reference_returns" not in arguments and made.reference_returns is not None:
        arguments["reference_returns"] = made.reference_returns
    LifetimeEnv(made, **arguments)  # what is wrong with the arguments is said here, in plain words
    make = functools.partial(LifetimeEnv, made, **arguments)
    return AsyncVectorEnv(
        [make] * num_envs,
        shared_memory=shared_memory,
        context=context,
        autoreset_mode=AutoresetMode(autoreset_mode),
    )


__all__ = ["GymnasiumFamily", "GymnasiumLevel", "MeasuredReturns", "make_async_lifetimes", "split_code"]
