"""What a task family declares.

A family is four scalar functions over named records, and data about them. The functions are plain module-level Python
functions marked with ``numba.extending.register_jitable``:

    draw(settings, task, stream, i)                              fill row i of ``task``: the hidden world of a lifetime
    begin(settings, task, state, level, stream, i)               start an episode: set every field of row i of ``state``
    step(settings, task, state, level, stream, i, action)        -> (reward, ended)
    observe(settings, task, state, level, i, out)                write the family's part of the observation into ``out``

and optionally

    oracle(settings, task, state, level, i)                      -> the action of a policy that knows the hidden task
    offered(settings, task, state, level, i, action)             -> whether the action is offered in this phase
    diagnose(settings, task, state, level, i, out)               write the diagnostics of the episode that just ended

``settings`` is one read-only record; ``task`` and ``state`` are record arrays, read as ``task.field[i]`` or
``task.field[i, k]``; ``stream`` is drawn from with `daytwo.streams`. ``out`` arrives zeroed. ``action`` is an int, or
for continuous families a float64 vector in [-1, 1] (their ``oracle`` takes a last argument ``out`` and writes there).
An action that is not offered never reaches ``step``: it is a no-op with reward 0 that takes a step of time.
`daytwo.loop` compiles the four into one fused loop over lifetimes.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces

from daytwo.course import Course, Level
from daytwo.observation import Field, Layout

if TYPE_CHECKING:
    from daytwo.narration import Vocabulary

SPLITS = ("train", "validation", "test", "all")
FEWEST_TASKS_TO_SPLIT = 30
# What `info` holds for every family.
INFO_KEYS = (
    "raw_reward",
    "action_mask",
    "task",
    "episode_return",
    "episode_normalized_return",
    "improvement",
    "bar",
    "level",
    "stage",
    "episode_index",
    "final_obs",
    "final_info",
)
TAGS = (
    "exploration",
    "memory",
    "credit-assignment",
    "system-identification",
    "composition",
    "causal",
    "navigation",
    "continuous",
    "deferred-gratification",
    "rule-discovery",
)


@dataclass(frozen=True)
class Scene:
    """What a rendering or a description is made from: one lifetime at one moment.

    Attributes:
        task: the hidden task (``np.record``); to be shown only where ``reveal`` is true.
        state: the state inside the episode (``np.record``).
        level: index of the level.
        time: steps taken in this episode.
        episode: episodes finished in this lifetime.
        total: raw return of the episode so far.
        bar: the improvement bar this episode has to beat, normalised.
        action: the last action, or None when an episode begins.
        reward: the last raw reward.
        reveal: whether the hidden task may be shown.
    """

    task: Any
    state: Any
    level: int
    time: int
    episode: int
    total: float
    bar: float
    action: Any
    reward: float
    reveal: bool


def to_record_dtype(fields: Sequence[tuple] | np.dtype) -> np.dtype:
    """An aligned structured dtype, refusing names that break attribute access on record arrays."""
    dtype: np.dtype = fields if isinstance(fields, np.dtype) else np.dtype(list(fields), align=True)
    if not dtype.names:
        raise ValueError(f"Expected a structured dtype with at least one named field, received {fields!r}.")
    for name in dtype.names:
        if hasattr(np.ndarray, name):
            raise ValueError(f"A record field may not be called {name!r}: it is an attribute of NumPy arrays.")
    return dtype


def settings_record(values: Mapping[str, Any]) -> np.recarray:
    """A read-only record array of one row from numbers and arrays."""
    fields, columns = [], {}
    for name, value in values.items():
        array = np.asarray(value)
        if array.dtype.kind == "b":
            array = array.astype(np.uint8)
        elif array.dtype.kind in "iu":
            array = array.astype(np.int64)
        elif array.dtype.kind == "f":
            array = array.astype(np.float64)
        else:
            raise ValueError(f"Setting {name!r} must be a number or an array of numbers, received {value!r}.")
        fields.append((name, array.dtype, array.shape))
        columns[name] = array
    record = np.zeros(1, dtype=to_record_dtype(fields)).view(np.recarray)
    for name, array in columns.items():
        record[name][0] = array
    record.setflags(write=False)
    return record


class TaskFamily:
    """Base class of all families; subclass it in one file and see ``docs/adding_a_family.md``.

    Class attributes to set: ``name`` (ids are ``daytwo/<name>-v<version>``), ``version``, ``tags``, ``episodes`` (per
    stage, by default), ``reference`` (name or class of the reference learner), ``reactive`` (name or class of the best
    hand-made agent without a memory: a rung of the ladder), ``harder`` (settings with the same spaces under which all
    is harder, to try agents on that were trained on the defaults), ``split_fields`` (integer task fields whose hash
    decides the split; leave empty for continuous tasks, which split by random key), ``visible_at_start`` (task fields
    that a lifetime's first observation rightly shows), ``show`` (extras in the observation by default), and the
    functions of this module's docstring as ``staticmethod``.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 0
    tags: ClassVar[tuple[str, ...]] = ()
    episodes: int = 10
    reference: Any = None
    reactive: Any = None
    harder: Mapping[str, Any] = {}
    split_fields: tuple[str, ...] = ()
    visible_at_start: tuple[str, ...] = ()
    show: tuple[str, ...] = ("previous_action", "previous_reward", "episode_start", "time", "level")
    # The functions are Python that numba cannot compile, such as closures over live environments: the loop always runs
    # as ordinary Python.
    interpreted: ClassVar[bool] = False

    draw: Callable[..., Any]
    begin: Callable[..., Any]
    step: Callable[..., Any]
    observe: Callable[..., Any]
    oracle: Callable[..., Any] | None = None
    offered: Callable[..., Any] | None = None
    diagnose: Callable[..., Any] | None = None

    def __init__(
        self,
        *,
        keywords: Mapping[str, Any],
        settings: Mapping[str, Any],
        task: Sequence[tuple],
        state: Sequence[tuple],
        levels: Sequence[Level],
        actions: spaces.Space,
        fields: Sequence[Field] = (),
        reward_range: tuple[float, float] = (0.0, 1.0),
        distinct_tasks: int | None = None,
        reference_returns: Any = None,
        action_names: Sequence[str] | None = None,
        diagnostics: Sequence[Field] = (),
    ) -> None:
        """Declare the family under these settings.

        Args:
            keywords: the constructor's keyword arguments, as given or by default (kept as provenance).
            settings: numbers and arrays that the scalar functions read as ``settings.name``.
            task: fields of the hidden task, as for ``np.dtype``.
            state: fields of the state inside an episode.
            levels: at least one `Level`.
            actions: ``Discrete(n)`` or ``Box(-1, 1, shape=(d,))``.
            fields: the family's own part of the observation.
            reward_range: finite bounds of one step's raw reward, wide enough that nothing is clipped.
            distinct_tasks: how many different tasks there are, None for (practically) infinitely many. With fewer
                than 30 the family offers ``split="all"`` only.
            reference_returns: `daytwo.calibration.ReferenceReturns` where they cannot be measured (no oracle).
            action_names: words for the discrete actions.
            diagnostics: what `diagnose` writes at an episode's end, in order: numbers that show how an agent went
                about it (never what it sees), in ``info`` and in results under these names. NaN where one does not
                apply.
        """
        if not self.name:
            raise ValueError(f"{type(self).__name__} must set the class attribute `name`.")
        for function in ("draw", "begin", "step", "observe"):
            if not callable(getattr(self, function, None)):
                raise ValueError(f"{type(self).__name__} must set `{function} = staticmethod(...)`.")
        if isinstance(actions, spaces.Discrete):
            if actions.start != 0:
                raise ValueError(f"actions must be Discrete counted from 0, received {actions}.")
        elif not (
            isinstance(actions, spaces.Box)
            and len(actions.shape) == 1
            and bool((actions.low == -1).all())
            and bool((actions.high == 1).all())
        ):
            raise ValueError(f"actions must be Discrete(n) or a Box in [-1, 1] of shape (d,), received {actions}.")
        if not levels:
            raise ValueError("levels must hold at least one daytwo.Level.")
        if not np.isfinite(reward_range).all() or reward_range[0] > reward_range[1]:
            raise ValueError(f"reward_range must be two finite numbers in order, received {reward_range!r}.")
        unknown = [tag for tag in self.tags if tag not in TAGS]
        if unknown:
            raise ValueError(f"Unknown tag {unknown[0]!r}: expected some of {', '.join(TAGS)}.")
        self.keywords = dict(keywords)
        self.settings = settings_record(settings)
        self.task_dtype = to_record_dtype(task)
        self.state_dtype = to_record_dtype(state)
        self.levels = tuple(levels)
        self.action_space = actions
        self.fields = tuple(fields)
        self.reward_range = (float(reward_range[0]), float(reward_range[1]))
        self.distinct_tasks = distinct_tasks
        self.reference_returns = reference_returns
        self.action_names = tuple(action_names) if action_names is not None else None
        self.diagnostics = tuple(diagnostics)
        if bool(self.diagnostics) != (self.diagnose is not None):
            raise ValueError(
                f"{self.name}: diagnostics and `diagnose = staticmethod(...)` go together; received "
                f"{'diagnostics' if self.diagnostics else 'diagnose'} alone."
            )
        taken = [field.name for field in self.diagnostics if field.name in INFO_KEYS]
        if taken or len({field.name for field in self.diagnostics}) < len(self.diagnostics):
            raise ValueError(
                f"{self.name}: the names of diagnostics must differ from each other and from {', '.join(INFO_KEYS)}; "
                f"received {', '.join(field.name for field in self.diagnostics)}."
            )
        for attribute in ("split_fields", "visible_at_start"):
            missing = [name for name in getattr(self, attribute) if name not in (self.task_dtype.names or ())]
            if missing:
                raise ValueError(
                    f"{attribute} names {missing[0]!r}, which is no field of the task; "
                    f"it has {', '.join(self.task_dtype.names or ())}."
                )
        if self.action_names is not None and len(self.action_names) != self.actions:
            raise ValueError(f"Expected {self.actions} action_names, received {len(self.action_names)}.")
        for level in self.levels:
            if level.actions is not None and (self.continuous or len(level.actions) != self.actions):
                raise ValueError(f"Level {level.name!r} must offer one bool per discrete action ({self.actions}).")

    @property
    def id(self) -> str:
        """The environment id."""
        return f"daytwo/{self.name}-v{self.version}"

    @property
    def continuous(self) -> bool:
        """Whether actions are vectors."""
        return isinstance(self.action_space, spaces.Box)

    @property
    def actions(self) -> int:
        """Number of discrete actions, or of dimensions of a continuous one."""
        if isinstance(self.action_space, spaces.Box):
            return int(self.action_space.shape[0])
        return int(self.action_space.n)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits offered under these settings."""
        if self.distinct_tasks is not None and self.distinct_tasks < FEWEST_TASKS_TO_SPLIT:
            return ("all",)
        return SPLITS

    @property
    def teacher_space(self) -> spaces.Space:
        """The space a teacher chooses from; by default the level."""
        return spaces.Discrete(len(self.levels))

    def decode(self, row: Any) -> dict[str, Any]:
        """What a row of ``teacher_space`` stands for: a dict with ``level`` or ``task`` (see ``set_tasks``)."""
        return {"level": int(row)}

    @property
    def action_masks(self) -> np.ndarray:
        """Which actions each level offers, ``bool[levels, actions]``."""
        masks = np.ones((len(self.levels), self.actions), dtype=np.bool_)
        for k, level in enumerate(self.levels):
            if level.actions is not None:
                masks[k] = level.actions
        return masks

    def observed_mask(self, layout: Layout, course: Course, observations: np.ndarray) -> np.ndarray:
        """Which actions are offered, read off observations ``[N, size]``: ``bool[N, actions]``.

        Where the level is not shown, those that every level of the course offers. Families whose phases offer
        different actions (that is, which declare ``offered``) override it.
        """
        masks = self.action_masks
        if "level" not in layout:
            visited = masks[[stage.level for stage in course.stages]]
            return np.repeat(visited.all(axis=0, keepdims=True), len(observations), axis=0)
        return masks[observations[:, layout["level"]].argmax(axis=1)]

    def fingerprint(self) -> str:
        """A hash of the source that defines the family, so that no stale compiled code or calibration is used."""
        sources = []
        for function in (self.draw, self.begin, self.step, self.observe, self.oracle, self.offered, self.diagnose):
            if function is None:
                continue
            module = sys.modules.get(function.__module__)
            try:
                sources.append(inspect.getsource(module if module is not None else function))
            except (OSError, TypeError):
                sources.append(repr((function.__code__.co_code, function.__code__.co_consts)))
        return hashlib.sha256("\n".join(dict.fromkeys(sources)).encode()).hexdigest()[:16]

    def task_to_dict(self, task: Any) -> dict[str, Any]:
        """A task record as plain numbers and lists, fit for JSON."""
        return {name: np.asarray(task[name]).tolist() for name in self.task_dtype.names or ()}

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`: a structured array of one row.

        Raises:
            ValueError: a field is missing, unknown, of the wrong shape or not finite.
        """
        names = self.task_dtype.names or ()
        if not isinstance(values, Mapping) or set(values) != set(names):
            received = sorted(values) if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(f"A {self.name} task has the fields {sorted(names)}, received {received}.")
        task = np.zeros(1, dtype=self.task_dtype)
        for name in names:
            expected = self.task_dtype[name]
            array = np.asarray(values[name])
            if array.shape != expected.shape or array.dtype.kind not in "biuf":
                raise ValueError(
                    f"Task field {name!r} must be numbers of shape {expected.shape}, received {values[name]!r}."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"Task field {name!r} must be finite, received {values[name]!r}.")
            if expected.base.kind in "iu" and not np.array_equal(array, np.asarray(array).astype(expected.base)):
                raise ValueError(f"Task field {name!r} must hold whole numbers, received {values[name]!r}.")
            task[name][0] = array
        return task

    # --- words and pictures; families override what they can say better -------------------------------------------

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        return (
            f"{self.name}, level {level} ({self.levels[level].name}): {self.actions} actions, "
            f"at most {self.levels[level].horizon} steps an episode. What you learn in one episode holds in the next."
        )

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """The family's own part of an observation (``float32[family_size]``) in plain words."""
        parts, at = [], 0
        for field in self.fields:
            numbers = " ".join(f"{value:g}" for value in values[at : at + field.size])
            parts.append(f"{field.name.replace('_', ' ')}: {numbers}")
            at += field.size
        return "; ".join(parts) if parts else "nothing to see"

    def describe_action(self, action: Any) -> str:
        """An action in plain words."""
        if self.continuous:
            return "move " + " ".join(f"{value:+.2f}" for value in np.asarray(action))
        return self.action_names[int(action)] if self.action_names else f"action {int(action)}"

    def parse_action(self, text: str, level: int) -> Any:
        """The action that a text means: its number or its name (any case), or d numbers if continuous.

        Raises:
            ValueError: the text means no action that the level offers.
        """
        words = text.strip().lower()
        if self.continuous:
            try:
                vector = np.array([float(word) for word in words.replace(",", " ").split()], dtype=np.float32)
            except ValueError:
                vector = np.empty(0, dtype=np.float32)
            if vector.shape == (self.actions,) and bool((np.abs(vector) <= 1).all()):
                return vector
            raise ValueError(f"Expected {self.actions} numbers in [-1, 1], received {text!r}.")
        names = [self.describe_action(action).lower() for action in range(self.actions)]
        if words in names:
            action = names.index(words)
        elif words.isdecimal() and int(words) < self.actions:
            action = int(words)
        else:
            action = -1
        if action < 0 or not self.action_masks[level, action]:
            offered = [f"{k} ({names[k]})" for k in range(self.actions) if self.action_masks[level, k]]
            raise ValueError(f"Expected one of {', '.join(offered)}; received {text!r}.")
        return action

    def vocabulary(self, rename: bool) -> "Vocabulary":
        """What in these words is a name, for `daytwo.narration`; by default the names of discrete actions.

        Args:
            rename: whether made-up words will stand in place of the names.
        """
        from daytwo.narration import Symbols, Vocabulary

        if self.continuous:
            return Vocabulary()
        return Vocabulary((Symbols("action", tuple(map(self.describe_action, range(self.actions)))),))

    def render_ansi(self, scene: Scene) -> str:
        """The scene as text for a terminal."""
        return f"{self.name} level {scene.level}  step {scene.time}  return {scene.total:g}"

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The scene as an image, ``uint8[height, width, 3]``; by default the text of `render_ansi` as a picture."""
        from daytwo.pictures import text_picture

        return text_picture(self.render_ansi(scene))
