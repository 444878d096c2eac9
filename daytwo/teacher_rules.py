"""`check_teacher`: what every teacher must keep to, checked by letting it teach a student with no pattern.

daytwo.check_teacher(MyTeacher, gymnasium.spaces.Discrete(6))
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from daytwo.teacher import Outcomes, check_tasks, make_teacher

ROUNDS, BATCH = 20, 32
DRAWS = 20_000  # in search of a task that is never drawn
LEAST_SHARE = 0.02  # of the draws for each task, or tenth of a Box, as a part of an even share
CELLS = 10  # along each axis of a Box
MOST_CELLS = 50  # tasks of a larger Discrete are counted together
BUDGET = 100_000


class TeacherError(ValueError):
    """A teacher breaks some rules.

    Attributes:
        broken: what is wrong, by name of the rule.
    """

    def __init__(self, name: str, broken: dict[str, str]) -> None:
        self.broken = broken
        lines = "\n".join(f"- {rule}: {problem}" for rule, problem in broken.items())
        super().__init__(f"The teacher {name} breaks {len(broken)} of the rules:\n{lines}")


def _anywhere(space: Any, count: int, seed: int) -> np.ndarray:
    """Tasks from all over a space."""
    generator = np.random.default_rng([seed, 17])
    if isinstance(space, spaces.Discrete):
        return space.start + generator.integers(0, space.n, count)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return np.clip((low + generator.random((count, *space.shape)) * (high - low)).astype(space.dtype), low, high)


def _outcomes(tasks: np.ndarray, seed: int) -> Outcomes:
    """Outcomes at random, the same for the same tasks and seed."""
    performance = np.random.default_rng([seed, 23]).integers(0, 65, len(tasks)) / 64.0
    return Outcomes(tasks, performance, np.full(len(tasks), 7))


def _as_json(state: Any) -> str:
    """A state as text; equal states give equal text."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
            return value.tolist()
        raise TypeError(f"a {type(value).__name__} is neither a number, nor text, nor an array of numbers")

    return json.dumps(state, default=plain)


def _teach(teacher: Any, rounds: int, first: int = 0) -> list[np.ndarray]:
    """Sample and observe in turn; what was sampled."""
    sampled = []
    for k in range(first, first + rounds):
        sampled.append(np.array(teacher.sample(BATCH)))
        teacher.observe(_outcomes(sampled[-1], k))
    return sampled


def _equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


def _tasks_fit(make: Callable[[int], Any], space: Any) -> str:
    teacher = make(0)
    for k in range(6):
        for count in (1, 3, 50):
            tasks = teacher.sample(count)
            if not isinstance(tasks, np.ndarray) or tasks.shape != (count, *(space.shape or ())):
                return f"sample({count}) gave {getattr(tasks, 'shape', type(tasks).__name__)}, not {count} rows."
            if tasks.dtype != space.dtype:
                return f"sample gave {tasks.dtype}, the space is of {space.dtype}."
            check_tasks(tasks, space)
        teacher.observe(_outcomes(_anywhere(space, 40, k), k))
    return ""


def _any_order_of_calls(make: Callable[[int], Any], space: Any) -> str:
    teacher = make(0)
    for k in range(4):
        teacher.observe(_outcomes(_anywhere(space, 20, k), k))
    for _ in range(4):
        teacher.sample(5)
    teacher.observe(_outcomes(_anywhere(space, 1, 9), 9))
    return ""


def _repeats_averaged(make: Callable[[int], Any], space: Any) -> str:
    task = _anywhere(space, 1, 3)
    states = []
    for values in ((0.25, 0.75), (0.75, 0.25), (0.5, 0.5)):
        teacher = make(0)
        teacher.observe(_outcomes(_anywhere(space, 20, 0), 0))
        teacher.observe(Outcomes(np.repeat(task, 2, axis=0), np.array(values), np.array([5, 5])))
        states.append(_as_json(teacher.state_dict()))
    if states[0] != states[1]:
        return "a task told as .25 and .75 leaves another state than as .75 and .25: one of the rows wins."
    return "" if states[0] == states[2] else "a task told as .25 and .75 leaves another state than as .5 and .5."


def _rows_have_no_order(make: Callable[[int], Any], space: Any) -> str:
    first, second = make(0), make(0)
    for k in range(8):
        tasks = _anywhere(space, 64, k)
        tasks[40:] = tasks[:24]
        told, order = _outcomes(tasks, k), np.random.default_rng(k).permutation(64)
        first.observe(told)
        second.observe(Outcomes(tasks[order], told.performance[order], told.steps[order]))
        if not np.array_equal(first.sample(16), second.sample(16)):
            return "the same rows in another order lead to other tasks."
    return ""


def _own_randomness(make: Callable[[int], Any], space: Any) -> str:
    kept = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(1)  # noqa: NPY002
        first = _teach(make(0), ROUNDS)
        np.random.seed(2)  # noqa: NPY002
        before: Any = np.random.get_state()  # noqa: NPY002
        second = _teach(make(0), ROUNDS)
        after: Any = np.random.get_state()  # noqa: NPY002
        used = not np.array_equal(before[1], after[1])
    finally:
        np.random.set_state(kept)  # noqa: NPY002
    if used or not _equal(first, second):
        return "two teachers with seed 0 differ, or NumPy's global generator was used."
    return ""


def _state_goes_on(make: Callable[[int], Any], space: Any) -> str:
    for rounds in (0, ROUNDS):
        teacher, other = make(0), make(1)
        _teach(teacher, rounds)
        _teach(other, 2, first=100)
        state = teacher.state_dict()
        if not isinstance(state, dict) or not isinstance(state.get("version"), int):
            return "state_dict() must be a dict with an integer 'version'."
        try:
            text = _as_json(state)
        except (TypeError, ValueError) as error:
            return f"state_dict() does not survive JSON: {error}."
        other.load_state_dict(json.loads(text))
        if not _equal(_teach(teacher, ROUNDS, first=50), _teach(other, ROUNDS, first=50)):
            return f"a teacher that took up the state of another after {rounds} batches chooses other tasks than it."
    return ""


def _floor(make: Callable[[int], Any], space: Any) -> str:
    if getattr(make(0), "staged", False):
        return ""
    for fate in (0.0, 1.0):
        teacher = make(0)
        for _ in range(2 * ROUNDS):
            tasks = teacher.sample(BATCH)
            teacher.observe(Outcomes(tasks, np.full(BATCH, fate), np.full(BATCH, 7)))
        drawn = np.concatenate([np.array(teacher.sample(1000)) for _ in range(DRAWS // 1000)])
        if isinstance(space, spaces.Discrete):
            cells = min(int(space.n), MOST_CELLS)
            columns = [(drawn - int(space.start)) * cells // int(space.n)]
        else:
            cells = CELLS
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            wide = (high - low >= CELLS).ravel() if space.dtype.kind in "iu" else (high > low).ravel()
            unit = ((drawn - low) / np.maximum(high - low, 1e-300)).reshape(len(drawn), -1)[:, wide]
            columns = list(np.minimum((unit * cells).astype(np.int64), cells - 1).T)
        for column in columns:
            least = np.bincount(column, minlength=cells).min() / DRAWS
            if least < LEAST_SHARE / cells:
                return (
                    f"where performance is always {fate:g}, some tasks are drawn with a share of {least:.4f}: give "
                    "every task a floor, or declare `staged = True`."
                )
    return ""


def _nonsense_refused(make: Callable[[int], Any], space: Any) -> str:
    teacher = make(0)
    outside = (
        np.array([int(space.start + space.n)])
        if isinstance(space, spaces.Discrete)
        else (space.high + 1).astype(space.dtype)[None]
    )
    wrong: list[tuple[str, Any]] = [
        ("a task outside the space", Outcomes(outside, np.array([0.5]), np.array([1]))),
        ("tasks of another shape", Outcomes(np.zeros((2, 7)), np.array([0.5, 0.5]), np.array([1, 1]))),
    ]
    for what, outcomes in wrong:
        try:
            teacher.observe(outcomes)
        except ValueError:
            continue
        return f"observe took {what}: check shapes and bounds (daytwo.teacher.check_tasks), and raise ValueError."
    return ""


RULES: dict[str, Callable[[Callable[[int], Any], Any], str]] = {
    "tasks fit the space": _tasks_fit,
    "any order of calls": _any_order_of_calls,
    "repeated tasks are averaged": _repeats_averaged,
    "rows have no order": _rows_have_no_order,
    "own randomness": _own_randomness,
    "the state goes on": _state_goes_on,
    "every task keeps a floor": _floor,
    "nonsense is refused": _nonsense_refused,
}


def check_teacher(teacher: Any, space: spaces.Space, *, budget: int = BUDGET, **options: Any) -> None:
    """Hold a teacher to the rules that those of this package keep; some seconds.

    Args:
        teacher: a name, ``"module:Class"`` or a class that takes ``(space, seed=...)``.
        space: what it shall teach on, a ``Discrete`` or a bounded ``Box``.
        budget: for teachers that plan by it.
        options: further arguments of the teacher.

    Raises:
        TeacherError: it breaks rules; the text says which, and how.
    """

    def make(seed: int) -> Any:
        return make_teacher(teacher, space, seed=seed, budget=budget, **options)

    make(0)
    broken = {}
    for rule, check in RULES.items():
        try:
            problem = check(make, space)
        except Exception as error:  # whatever a stranger's teacher may do
            problem = f"{type(error).__name__}: {error}"
        if problem:
            broken[rule] = problem
    if broken:
        raise TeacherError(getattr(teacher, "__name__", str(teacher)), broken)
