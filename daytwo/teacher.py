"""Teachers: who chooses what a meta-learner practises next, and what a teacher is told.

A teacher knows no model and no environment. It is asked for tasks, and told how lifetimes on them ended:

    sample(n) -> tasks         n tasks, as an array over a Gymnasium ``Discrete`` or ``Box`` space
    observe(outcomes)          an `Outcomes`: one row per finished lifetime
    state_dict()               plain numbers and arrays, from which
    load_state_dict(state)     another teacher of the same kind goes on identically

and optionally ``metrics()``, numbers for the log. Any object with these four methods is a teacher; `Teacher` is a base
class that does the checking. `daytwo.teaching.TaughtVectorEnv` puts one in front of an environment.
"""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from daytwo.checks import check_integer
from daytwo.loading import load, register

METHODS = ("sample", "observe", "state_dict", "load_state_dict")


@dataclass(frozen=True)
class Outcomes:
    """How lifetimes ended: one row each.

    Attributes:
        tasks: what was practised, rows of the teacher's space: ``int64[n]`` of a ``Discrete``, ``[n, *shape]`` of a
            ``Box``.
        performance: after adaptation, ``float64[n]`` in [0, 1].
        steps: environment steps that the lifetimes took, ``int64[n]``, at least 1.
    """

    tasks: np.ndarray
    performance: np.ndarray
    steps: np.ndarray

    def __post_init__(self) -> None:
        tasks, performance, steps = np.asarray(self.tasks), np.asarray(self.performance), np.asarray(self.steps)
        if performance.ndim != 1 or performance.dtype.kind not in "fiub":
            raise ValueError(
                f"performance must be float[n], one per lifetime; received "
                f"{performance.dtype}{list(performance.shape)}."
            )
        if steps.shape != performance.shape or steps.dtype.kind not in "iu":
            raise ValueError(
                f"steps must be int[{len(performance)}], one per lifetime; received {steps.dtype}{list(steps.shape)}."
            )
        if tasks.shape[:1] != performance.shape:
            raise ValueError(
                f"tasks must have one row for each of the {len(performance)} lifetimes; received shape "
                f"{list(tasks.shape)}."
            )
        performance = performance.astype(np.float64)
        wrong = ~((performance >= 0.0) & (performance <= 1.0))  # NaN as well
        if wrong.any():
            raise ValueError(f"performance must lie in [0, 1]; received {performance[wrong][0]}.")
        if (steps < 1).any():
            raise ValueError(f"steps must be at least 1; received {steps.min()}.")
        for name, array in (("tasks", tasks), ("performance", performance), ("steps", steps.astype(np.int64))):
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.performance)


@dataclass(frozen=True)
class Averages:
    """Outcomes with equal tasks taken together, in the order of the tasks: what `Teacher` hands to its subclasses.

    Attributes:
        tasks: different rows of the space, ``[m, ...]``; of a ``Discrete`` they count from 0 whatever its ``start``.
        performance: mean of the lifetimes on each, ``float64[m]``.
        steps: sum of theirs, ``int64[m]``.
        lifetimes: how many there were, ``int64[m]``.
    """

    tasks: np.ndarray
    performance: np.ndarray
    steps: np.ndarray
    lifetimes: np.ndarray


def check_tasks(tasks: Any, space: spaces.Space) -> np.ndarray:
    """Tasks as an array of the space's dtype and shape.

    Args:
        tasks: n rows.
        space: a ``Discrete`` or a bounded ``Box``.

    Returns:
        ``int64[n]`` or ``[n, *shape]``.

    Raises:
        ValueError: wrong shape, dtype, or a row outside the space.
    """
    array = np.asarray(tasks)
    if isinstance(space, spaces.Discrete):
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(f"tasks must be int[n] in {space}; received {array.dtype}{list(array.shape)}.")
        low, high = int(space.start), int(space.start + space.n) - 1
        if len(array) and not (low <= int(array.min()) and int(array.max()) <= high):
            wrong = array[(array < low) | (array > high)][0]
            raise ValueError(f"tasks must be integers in {low}..{high}; received {wrong}.")
        return array.astype(np.int64)
    assert isinstance(space, spaces.Box)
    if array.shape[1:] != space.shape or array.ndim != len(space.shape) + 1 or array.dtype.kind not in "fiu":
        raise ValueError(f"tasks must be rows of {space}, [n, *{space.shape}]; received {list(array.shape)}.")
    if len(array) == 0:
        return array.astype(space.dtype)
    # Bounds of reals are rounded to the space's dtype, as tasks are; an integer must not become one by rounding.
    whole = space.dtype is not None and space.dtype.kind in "iu"
    seen = array if whole else array.astype(space.dtype)
    fits: Any = (seen >= space.low) & (seen <= space.high)
    if whole:
        fits = fits & (seen == np.floor(seen))
    inside = fits.reshape(len(array), -1).all(axis=1)
    if not inside.all():
        raise ValueError(f"tasks must lie in {space}; received {array[~inside][0]}.")
    return array.astype(space.dtype)


def average_repeated(outcomes: Outcomes) -> Averages:
    """Outcomes with equal tasks taken together; the same, to the last bit, in whatever order the rows come."""
    rows = outcomes.tasks.reshape(len(outcomes), -1)
    order = np.lexsort((outcomes.steps, outcomes.performance, *rows.T[::-1]))
    rows = rows[order]
    new = np.ones(len(rows), dtype=np.bool_)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    starts = np.flatnonzero(new)
    lifetimes = np.diff(starts, append=len(rows))
    return Averages(
        tasks=outcomes.tasks[order][starts],
        performance=np.add.reduceat(outcomes.performance[order], starts) / lifetimes,
        steps=np.add.reduceat(outcomes.steps[order], starts),
        lifetimes=lifetimes,
    )


class Teacher:
    """Base class of teachers: checks at the door, an own generator, and a state that can be saved.

    A subclass sets ``name``, says in ``remembered`` which attributes (numbers, text, arrays) its state consists of, and
    implements ``_sample(n)`` and ``_observe(averages)``; see ``docs/curricula.md``.

    Class attributes:
        name: what ``daytwo train --teacher`` calls it.
        version: of what ``state_dict`` holds.
        staged: whether it may leave tasks out for a time. Every other teacher keeps each task at a floor probability.
        kinds: classes of the spaces it can teach on.
        remembered: attributes that change as it teaches.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    staged: ClassVar[bool] = False
    kinds: ClassVar[tuple[type[spaces.Space], ...]] = (spaces.Discrete, spaces.Box)
    remembered: ClassVar[tuple[str, ...]] = ()

    def __init__(self, space: spaces.Space, *, seed: int = 0) -> None:
        """Prepare to teach.

        Args:
            space: of the tasks, a ``Discrete`` or a bounded ``Box``.
            seed: an integer of at least 0; all of the teacher's randomness comes from it.

        Raises:
            ValueError: the teacher cannot teach on such a space, or an argument is out of range.
        """
        check_space(space, self.kinds, self.name or type(self).__name__)
        self.space: Any = copy.deepcopy(space)
        self.seed = check_integer("seed", seed, 0, 2**63 - 1)
        self.generator = np.random.Generator(np.random.PCG64(self.seed))

    # --- the four methods ---------------------------------------------------------------------------------------------

    def sample(self, n: int) -> np.ndarray:
        """Choose tasks.

        Args:
            n: how many, at least 1.

        Returns:
            ``int64[n]`` of a ``Discrete``, ``[n, *shape]`` of a ``Box``, in the space's dtype.
        """
        n = check_integer("n", n, 1, 2**31)
        tasks = self._sample(n)
        return tasks + int(self.space.start) if isinstance(self.space, spaces.Discrete) else tasks

    def observe(self, outcomes: Outcomes) -> None:
        """Take in how lifetimes ended. Neither their order matters nor whether these tasks were asked for here.

        Args:
            outcomes: any number of rows; equal tasks are averaged.

        Raises:
            ValueError: they are no outcomes on this space; nothing is taken in then.
        """
        if not isinstance(outcomes, Outcomes):
            raise ValueError(f"observe expects daytwo.Outcomes, received {type(outcomes).__name__}.")
        tasks = check_tasks(outcomes.tasks, self.space)
        if len(outcomes) == 0:
            return
        if isinstance(self.space, spaces.Discrete):
            tasks = tasks - int(self.space.start)
        self._observe(average_repeated(Outcomes(tasks, outcomes.performance, outcomes.steps)))

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs: numbers, text, lists and arrays, fit for JSON once arrays are lists."""
        return {
            "teacher": type(self).__name__,
            "version": self.version,
            "space": str(self.space),
            "generator": self.generator.bit_generator.state,
            **{name: copy.deepcopy(getattr(self, name)) for name in self.remembered},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, in a teacher made with the same arguments.

        Args:
            state: as given, or read back from JSON.

        Raises:
            ValueError: it is the state of another teacher, version or space, or lacks something. Nothing is changed
                then.
        """
        expected = {"teacher": type(self).__name__, "version": self.version, "space": str(self.space)}
        for key, value in expected.items():
            found = state.get(key) if isinstance(state, Mapping) else None
            if found != value:
                raise ValueError(f"The state's {key} is {found!r}, expected {value!r}.")
        missing = [name for name in ("generator", *self.remembered) if name not in state]
        if missing:
            raise ValueError(f"The state lacks {missing[0]!r}.")
        try:
            np.random.PCG64().state = state["generator"]
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise ValueError(f"The state's generator is no state of a PCG64 generator: {error}.") from error
        loaded = {name: _as_before(name, state[name], getattr(self, name)) for name in self.remembered}
        self._check_loaded(loaded)
        self.generator.bit_generator.state = state["generator"]
        for name, value in loaded.items():
            setattr(self, name, value)

    def metrics(self) -> dict[str, float]:
        """Numbers for the log; none by default."""
        return {}

    def _check_loaded(self, loaded: Mapping[str, Any]) -> None:
        """For subclasses: refuse remembered values that do not belong together, before any is taken up."""

    # --- what a subclass does -----------------------------------------------------------------------------------------

    def _sample(self, n: int) -> np.ndarray:
        """``n`` tasks, of a ``Discrete`` counted from 0."""
        raise NotImplementedError

    def _observe(self, averages: Averages) -> None:
        """Learn from outcomes, equal tasks taken together."""

    # --- help for spaces ----------------------------------------------------------------------------------------------

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        """Points of the unit cube ``[n, d]`` as tasks of a ``Box``; what lies outside is moved to the border."""
        space, unit = self.space, np.clip(unit, 0.0, 1.0).reshape(len(unit), *self.space.shape)
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        if space.dtype.kind in "iu":
            values = np.floor(low + unit * (high - low + 1.0))
        else:
            values = low + unit * (high - low)
        return np.clip(values.astype(space.dtype), space.low, space.high)

    def to_unit(self, tasks: np.ndarray) -> np.ndarray:
        """Tasks of a ``Box`` as points of the unit cube, ``float64[n, d]`` with d the number of coordinates."""
        space = self.space
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        if space.dtype.kind in "iu":  # the middle of the stretch that `from_unit` makes the integer of
            return ((tasks.astype(np.float64) - low + 0.5) / (high - low + 1.0)).reshape(len(tasks), -1)
        width = np.where(high > low, high - low, 1.0)
        return ((tasks.astype(np.float64) - low) / width).reshape(len(tasks), -1)


def _as_before(name: str, saved: Any, mine: Any) -> Any:
    """A saved value in the type of the present one.

    Raises:
        ValueError: it is of another type, or an array of another shape in all but its first axis.
    """
    saved = copy.deepcopy(saved)
    if isinstance(mine, np.ndarray):
        try:
            saved = np.asarray(saved, dtype=mine.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"The state's {name} is no array of {mine.dtype}: {error}.") from error
        if saved.size == 0 and saved.ndim >= 1:
            saved = saved.reshape((0, *mine.shape[1:]))  # JSON does not tell the width of no rows
        if saved.ndim != mine.ndim or saved.shape[1:] != mine.shape[1:]:
            raise ValueError(f"The state's {name} has shape {saved.shape}, expected [n, *{mine.shape[1:]}].")
    elif isinstance(mine, bool | int | float | str):
        kinds: Any = (int, float) if isinstance(mine, float) else type(mine)
        if not isinstance(saved, kinds) or isinstance(saved, bool) != isinstance(mine, bool):
            raise ValueError(f"The state's {name} is {saved!r}, expected a {type(mine).__name__}.")
    return saved


def check_space(space: Any, kinds: tuple[type[spaces.Space], ...], who: str) -> None:
    """Refuse what a teacher cannot teach on.

    Raises:
        ValueError: it is no space of these kinds, or a ``Box`` without finite bounds.
    """
    if not isinstance(space, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{who} teaches on a {names} space, received {space!r}.")
    if isinstance(space, spaces.Box) and not (
        space.dtype is not None
        and space.dtype.kind in "fiu"
        and np.isfinite(space.low).all()
        and np.isfinite(space.high).all()
        and space.shape
    ):
        raise ValueError(f"{who} needs a Box of numbers with finite bounds and at least one axis, received {space!r}.")


# --- names ------------------------------------------------------------------------------------------------------------

_teachers: dict[str, str] = {}


def register_teacher(name: str, entry_point: str) -> None:
    """Make a teacher known by name.

    Args:
        name: what ``daytwo train --teacher`` calls it.
        entry_point: ``"module:Class"``; nothing is imported yet.

    Raises:
        ValueError: the entry point is malformed, or another teacher has the name.
    """
    register(_teachers, name, entry_point)


def teacher_names() -> tuple[str, ...]:
    """The names of all registered teachers."""
    return tuple(_teachers)


def teacher_class(teacher: str) -> Any:
    """The class behind a name or ``"module:Class"``.

    Raises:
        ValueError: there is none.
    """
    if teacher not in _teachers and ":" not in teacher:
        raise ValueError(f"Unknown teacher {teacher!r}: expected one of {', '.join(_teachers)}, or module:Class.")
    return load(_teachers.get(teacher, teacher))


def make_teacher(teacher: Any, space: spaces.Space, *, seed: int = 0, budget: int | None = None, **options: Any) -> Any:
    """A teacher for a space of tasks.

    Args:
        teacher: a registered name, ``"module:Class"``, a class, or a teacher (returned as it is).
        space: of the tasks.
        seed: of the teacher.
        budget: environment steps of the whole training, for teachers that plan by it (their argument ``budget``).
        options: further arguments of the class.

    Raises:
        ValueError: unknown name or option, or it lacks a method.
    """
    made = teacher
    if isinstance(teacher, str | type):
        made_by = teacher_class(teacher) if isinstance(teacher, str) else teacher
        parameters = inspect.signature(made_by).parameters
        known = [name for name in parameters if name not in ("space", "seed")]
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            for name in options:
                if name not in known:
                    expected = f"some of {', '.join(known)}" if known else "none"
                    raise ValueError(f"Unknown option {name!r} of teacher {teacher!r}: expected {expected}.")
        if budget is not None and "budget" in parameters:
            options = {"budget": budget, **options}
        made = made_by(space, seed=seed, **options)
    elif options:
        raise ValueError(f"A teacher that is made already takes no options, received {sorted(options)}.")
    missing = [name for name in METHODS if not callable(getattr(made, name, None))]
    if missing:
        raise ValueError(
            f"A teacher has the methods {', '.join(METHODS)}; {type(made).__name__} has no {missing[0]!r}."
        )
    return made
