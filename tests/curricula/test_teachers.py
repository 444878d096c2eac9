"""What holds for every teacher: the registered ones, a user's own subclass, and an object with just four methods."""

import json
import time
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import daytwo.curricula  # registers the teachers
from daytwo.curricula.table import TableTeacher
from daytwo.teacher import (
    METHODS,
    Averages,
    Outcomes,
    Teacher,
    average_repeated,
    make_teacher,
    teacher_class,
    teacher_names,
)

BUDGET = 10_000
NEEDS_SCIKIT_LEARN = ("alp-gmm", "self-paced")
OPTIONS: dict[str, dict[str, Any]] = {"alp-gmm": {"most_components": 2, "fit_every": 200}}  # fitting is what takes time
SPACES: dict[str, Any] = {
    "discrete": spaces.Discrete(6),
    "discrete-from-3": spaces.Discrete(5, start=3),
    "box1-float32": spaces.Box(0.0, 1.0, (1,), np.float32),
    "box1-float64": spaces.Box(-2.0, 6.0, (1,), np.float64),
    "box2-float32": spaces.Box(np.array([-1.0, 10.0], np.float32), np.array([3.0, 20.0], np.float32)),
    "box2-float64": spaces.Box(np.array([0.0, -1.0]), np.array([0.5, 1.0]), dtype=np.float64),
}


class Stern(Teacher):
    """A user's own teacher: half of its draws are the worst tasks of the last batch."""

    remembered = ("worst", "batches")

    def __init__(self, space: spaces.Space, *, keep: int = 4, seed: int = 0) -> None:
        super().__init__(space, seed=seed)
        self.keep, self.batches = keep, 0
        self.worst = self._fresh(0)

    def _fresh(self, n: int) -> np.ndarray:
        if isinstance(self.space, spaces.Discrete):
            return self.generator.integers(0, int(self.space.n), n)
        return self.from_unit(self.generator.random((n, int(np.prod(self.space.shape)))))

    def _sample(self, n: int) -> np.ndarray:
        tasks = self._fresh(n)
        if len(self.worst):
            again = self.generator.random(n) < 0.5
            tasks[again] = self.worst[self.generator.integers(0, len(self.worst), again.sum())]
        return tasks

    def _observe(self, averages: Averages) -> None:
        self.worst = averages.tasks[np.argsort(averages.performance, kind="stable")[: self.keep]]
        self.batches += 1


class Plain:
    """Nobody's subclass: the four methods, over a Discrete or a Box."""

    def __init__(self, space: Any, *, seed: int = 0) -> None:
        self.space, self.generator, self.mean = space, np.random.default_rng(seed), 0.5

    def sample(self, n: int) -> np.ndarray:
        if isinstance(self.space, spaces.Discrete):
            return self.space.start + self.generator.integers(0, self.space.n, n)
        unit = self.generator.random((n, *self.space.shape)) ** (0.5 + self.mean)
        tasks = self.space.low + unit * (self.space.high - self.space.low)
        return np.clip(tasks.astype(self.space.dtype), self.space.low, self.space.high)

    def observe(self, outcomes: Outcomes) -> None:
        self.mean = 0.9 * self.mean + 0.1 * float(average_repeated(outcomes).performance.mean())

    def state_dict(self) -> dict[str, Any]:
        return {"version": 1, "mean": self.mean, "generator": self.generator.bit_generator.state}

    def load_state_dict(self, state: Any) -> None:
        self.mean, self.generator.bit_generator.state = state["mean"], state["generator"]


OWN: dict[str, Any] = {"own-subclass": Stern, "four-methods": Plain}


def kinds_of(name: str) -> tuple[type, ...]:
    """The classes of the spaces it declares."""
    try:
        return OWN[name].kinds if name in OWN else teacher_class(name).kinds
    except AttributeError:  # says nothing
        return (spaces.Discrete, spaces.Box)
    except (ImportError, ValueError):  # a part that is not installed; the tests say so
        return (spaces.Discrete, spaces.Box)


def make(name: str, space: Any, seed: int = 0) -> Any:
    if name in NEEDS_SCIKIT_LEARN:
        pytest.importorskip("sklearn")
    return make_teacher(OWN.get(name, name), space, seed=seed, budget=BUDGET, **OPTIONS.get(name, {}))


def staged(name: str) -> bool:
    """Whether it says that it may leave tasks out for a time."""
    return getattr(OWN[name] if name in OWN else teacher_class(name), "staged", False)


CASES = [
    (name, key)
    for name in (*teacher_names(), *OWN)
    for key, space in SPACES.items()
    if isinstance(space, kinds_of(name))
]
CHECKED = [case for case in CASES if case[0] != "four-methods"]
every = pytest.mark.parametrize(("name", "key"), CASES, ids=[f"{name}-{key}" for name, key in CASES])
# What only the base class promises: checks at the door, wrong states refused.
every_checked = pytest.mark.parametrize(("name", "key"), CHECKED, ids=[f"{name}-{key}" for name, key in CHECKED])


def unit(tasks: np.ndarray, space: Any) -> np.ndarray:
    """Tasks as numbers from 0 to 1, ``[n, d]``."""
    if isinstance(space, spaces.Discrete):
        return ((tasks - space.start) / space.n)[:, None]
    return ((tasks.astype(np.float64) - space.low) / (space.high - space.low)).reshape(len(tasks), -1)


def lived(tasks: np.ndarray, seed: int = 0, steps: int = 7) -> Outcomes:
    """Outcomes at random, reproducibly."""
    performance = np.random.default_rng([seed, len(tasks)]).random(len(tasks))
    return Outcomes(tasks, performance, np.full(len(tasks), steps))


def anywhere(space: Any, n: int, seed: int = 0) -> np.ndarray:
    """Tasks from all over a space, none of a teacher's choosing."""
    rng = np.random.default_rng([seed, 99])
    if isinstance(space, spaces.Discrete):
        return space.start + rng.integers(0, space.n, n)
    return (space.low + rng.random((n, *space.shape)) * (space.high - space.low)).astype(space.dtype)


def rounds(teacher: Any, count: int, batch: int = 32, first: int = 0) -> list[np.ndarray]:
    """Sample and observe, over and over; what was sampled."""
    sampled = []
    for k in range(first, first + count):
        sampled.append(teacher.sample(batch))
        teacher.observe(lived(sampled[-1], seed=k))
    return sampled


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is neither a number nor an array")


def through_json(state: Any) -> Any:
    return json.loads(json.dumps(state, default=plain, allow_nan=False))


def same(a: Any, b: Any) -> bool:
    """Whether two teachers are in the same state, to the last bit."""
    return through_json(a.state_dict()) == through_json(b.state_dict())


def alike(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True))


# --- tasks ------------------------------------------------------------------------------------------------------------


@every
def test_it_has_the_four_methods(name, key):
    teacher = make(name, SPACES[key])
    assert all(callable(getattr(teacher, method)) for method in METHODS)


@every
def test_sample_gives_exactly_n_tasks_of_constant_shape_and_dtype_inside_the_space(name, key):
    space = SPACES[key]
    teacher = make(name, space)
    for k in range(12):
        for n in (1, 2, 33):
            tasks = teacher.sample(n)
            assert isinstance(tasks, np.ndarray)
            assert tasks.shape == (n, *space.shape)
            assert tasks.dtype == space.dtype
            assert all(task in space for task in tasks)
        teacher.observe(lived(anywhere(space, 64, seed=k), seed=k))


@every
def test_a_sample_belongs_to_who_asked_for_it(name, key):
    first, second = make(name, SPACES[key]), make(name, SPACES[key])
    for k in range(6):
        tasks = first.sample(16)
        assert np.array_equal(tasks, second.sample(16))
        for teacher in (first, second):
            teacher.observe(lived(tasks, seed=k))
        tasks = first.sample(16)
        assert np.array_equal(tasks, second.sample(16))
        tasks[...] = SPACES[key].start if isinstance(SPACES[key], spaces.Discrete) else SPACES[key].low
    assert same(first, second)


@every
def test_samples_without_outcomes_and_outcomes_without_samples_are_harmless(name, key):
    space = SPACES[key]
    teacher = make(name, space)
    for _ in range(5):
        teacher.sample(3)
        teacher.sample(40)
    for k in range(5):
        teacher.observe(lived(anywhere(space, 20, seed=k), seed=k))
    teacher.observe(lived(anywhere(space, 1)))
    assert len(teacher.sample(10)) == 10


@every_checked
def test_no_outcomes_change_nothing(name, key):
    teacher, twin = make(name, SPACES[key]), make(name, SPACES[key])
    teacher.observe(lived(anywhere(SPACES[key], 1)[:0]))
    assert same(teacher, twin)


# --- outcomes ---------------------------------------------------------------------------------------------------------


@every
def test_repeated_tasks_in_a_batch_are_averaged(name, key):
    space = SPACES[key]
    task, other = anywhere(space, 2, seed=4)

    def told(*performance: float) -> Any:
        teacher = make(name, space)
        teacher.observe(lived(anywhere(space, 32)))
        tasks = np.stack([task] * len(performance) + [other])
        teacher.observe(Outcomes(tasks, np.array([*performance, 0.5]), np.full(len(tasks), 3)))
        return teacher

    assert same(told(0.2, 0.6), told(0.6, 0.2))  # the last does not win
    assert same(told(0.25, 0.75), told(0.5, 0.5))
    assert same(told(0.25, 0.75, 0.5), told(0.5, 0.5, 0.5))
    assert same(told(0.75, 0.5, 0.25), told(0.5, 0.25, 0.75))


@every
def test_the_order_of_rows_does_not_matter(name, key):
    space = SPACES[key]
    straight, shuffled = make(name, space), make(name, space)
    rng = np.random.default_rng(0)
    for k in range(12):
        tasks = anywhere(space, 64, seed=k)
        tasks[40:] = tasks[:24]  # some more than once
        outcomes = lived(tasks, seed=k)
        order = rng.permutation(64)
        straight.observe(outcomes)
        shuffled.observe(Outcomes(tasks[order], outcomes.performance[order], outcomes.steps[order]))
        assert same(straight, shuffled)
        assert alike([straight.sample(50)], [shuffled.sample(50)])


@every
def test_outcomes_are_left_as_they_were(name, key):
    outcomes = lived(anywhere(SPACES[key], 64))
    before = [outcomes.tasks.copy(), outcomes.performance.copy(), outcomes.steps.copy()]
    teacher = make(name, SPACES[key])
    teacher.observe(outcomes)
    teacher.sample(10)
    assert alike(before, [outcomes.tasks, outcomes.performance, outcomes.steps])


# --- randomness -------------------------------------------------------------------------------------------------------


@every
def test_all_randomness_is_the_teachers_own(name, key):
    def run(seed: int) -> list[np.ndarray]:
        np.random.seed(seed)  # noqa: NPY002
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        sampled = rounds(make(name, SPACES[key]), 20)
        assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
        return sampled

    assert alike(run(1), run(2))


@every
def test_the_seed_decides(name, key):
    def run(seed: int) -> list[np.ndarray]:
        teacher = make(name, SPACES[key], seed=seed)
        sampled = []
        for _ in range(30):  # everything is mastered, so those that open tasks one by one have a choice at last
            sampled.append(teacher.sample(32))
            teacher.observe(Outcomes(sampled[-1], np.ones(32), np.full(32, 7)))
        return sampled

    assert alike(run(0), run(0))
    assert not alike(run(0), run(1))


# --- state ------------------------------------------------------------------------------------------------------------


def check_plain(value: Any) -> None:
    if isinstance(value, dict):
        assert all(isinstance(key, str) for key in value)
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            check_plain(item)
    elif isinstance(value, np.ndarray):
        assert value.dtype.kind in "biuf"
    else:
        assert value is None or isinstance(value, bool | int | float | str | np.bool_ | np.integer | np.floating)


@every
def test_a_state_is_plain_numbers_and_arrays_with_a_version(name, key):
    teacher = make(name, SPACES[key])
    rounds(teacher, 20)
    state = teacher.state_dict()
    check_plain(state)
    assert isinstance(state["version"], int)
    through_json(state)


@every
def test_a_state_is_a_copy(name, key):
    teacher = make(name, SPACES[key])
    rounds(teacher, 5)
    state = teacher.state_dict()
    before = through_json(state)
    rounds(teacher, 5, first=5)
    assert through_json(state) == before
    resumed = make(name, SPACES[key], seed=5)
    resumed.load_state_dict(state)
    rounds(resumed, 5, first=5)
    assert through_json(state) == before


@every
@pytest.mark.parametrize("before", [0, 20])
def test_a_resumed_teacher_continues_identically(name, key, before):
    teacher, resumed = make(name, SPACES[key]), make(name, SPACES[key], seed=3)
    rounds(teacher, before)
    rounds(resumed, 3, first=100)  # what it knew is gone
    resumed.load_state_dict(through_json(teacher.state_dict()))
    assert same(teacher, resumed)
    assert alike(rounds(teacher, 20, first=before), rounds(resumed, 20, first=before))
    assert same(teacher, resumed)


@every_checked
def test_wrong_states_are_refused_with_nothing_changed(name, key):
    space = SPACES[key]
    teacher, twin, other = make(name, space), make(name, space), make(name, space, seed=7)
    for each in (teacher, twin):
        rounds(each, 5)
    rounds(other, 12, first=50)
    good = other.state_dict()
    larger: Any = spaces.Discrete(99) if isinstance(space, spaces.Discrete) else spaces.Box(0.0, 99.0, (3,))
    wrong = [
        None,
        {},
        {**good, "teacher": "SomebodyElse"},
        {**good, "version": good["version"] + 1},
        {**good, "space": "Discrete(99)"},
        make(name, larger).state_dict(),
        {**good, "generator": {}},
        {**good, "generator": {**good["generator"], "bit_generator": "MT19937"}},
        {**good, "generator": "PCG64"},
        {**good, "generator": {**good["generator"], "state": {"state": 5}}},
        *({k: v for k, v in good.items() if k != left_out} for left_out in good),
    ]
    for attribute in teacher.remembered:
        value = good[attribute]
        if isinstance(value, np.ndarray):
            wrong.append({**good, attribute: np.zeros((2, 3, 4, 5, 6))})
            wrong += [{**good, attribute: nonsense} for nonsense in ("text", None, 1.0)]
            if isinstance(teacher, TableTeacher):  # one row more than there are tasks
                wrong.append({**good, attribute: np.concatenate([value, value[:1]])})
        elif isinstance(value, int | float) and not isinstance(value, bool):
            wrong += [{**good, attribute: nonsense} for nonsense in ("text", None, [1])]
    for state in wrong:
        with pytest.raises(ValueError):
            teacher.load_state_dict(state)
        assert same(teacher, twin), state
    assert alike(rounds(teacher, 5, first=5), rounds(twin, 5, first=5))


# --- a floor under every task -----------------------------------------------------------------------------------------

ADVERSARIES = {
    "always fails": lambda place, k: np.zeros(len(place)),
    "always succeeds": lambda place, k: np.ones(len(place)),
    "one half succeeds": lambda place, k: (place < 0.5).astype(float),
    "all succeed every other time": lambda place, k: np.full(len(place), float(k % 2)),
    "only the first moves": lambda place, k: np.where(place < 0.1, float(k % 2), 0.0),
}
DRAWS, LEAST = 20_000, 100  # half a percent


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize(("name", "key"), [case for case in CASES if not staged(case[0])])
def test_every_task_keeps_a_floor_probability(name, key, adversary):
    space = SPACES[key]
    teacher = make(name, space)
    for k in range(50):
        tasks = teacher.sample(32)
        performance = ADVERSARIES[adversary](unit(tasks, space)[:, 0], k)
        teacher.observe(Outcomes(tasks, performance, np.full(32, 7)))
        if isinstance(teacher, TableTeacher):
            probabilities = teacher.probabilities()
            assert probabilities.sum() == pytest.approx(1.0)
            assert probabilities.min() >= teacher.floor / len(probabilities) * (1.0 - 1e-9)
    drawn = unit(teacher.sample(DRAWS), space)
    cells = int(space.n) if isinstance(space, spaces.Discrete) else 10
    for axis in drawn.T:
        counts = np.bincount(np.minimum((axis * cells + 1e-6).astype(np.int64), cells - 1), minlength=cells)
        assert counts.min() >= LEAST, counts


# --- checks at the door -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("performance", "steps", "message"),
    [
        ([0.5, np.nan], [1, 1], r"performance must lie in \[0, 1\]; received nan"),
        ([0.5, 1.5], [1, 1], r"performance must lie in \[0, 1\]; received 1.5"),
        ([0.5, -0.1], [1, 1], r"performance must lie in \[0, 1\]; received -0.1"),
        ([[0.5, 0.5]], [1, 1], r"performance must be float\[n\]"),
        (["a", "b"], [1, 1], r"performance must be float\[n\]"),
        ([0.5, 0.5], [1], r"steps must be int\[2\]"),
        ([0.5, 0.5], [1.0, 1.0], r"steps must be int\[2\]"),
        ([0.5, 0.5], [1, 0], "steps must be at least 1; received 0"),
        ([0.5, 0.5, 0.5], [1, 1, 1], "tasks must have one row for each of the 3 lifetimes"),
    ],
)
def test_outcomes_are_checked_as_they_are_made(performance, steps, message):
    with pytest.raises(ValueError, match=message):
        Outcomes(np.array([0, 1]), np.array(performance), np.array(steps))


def test_outcomes_are_numbers_of_one_kind():
    outcomes = Outcomes([3, 4], [1, 0], np.array([5, 6], np.int32))
    assert outcomes.performance.dtype == np.float64 and outcomes.steps.dtype == np.int64 and len(outcomes) == 2


@every_checked
def test_outcomes_on_other_tasks_are_refused_with_nothing_changed(name, key):
    space = SPACES[key]
    teacher, twin = make(name, space), make(name, space)
    for each in (teacher, twin):
        rounds(each, 3)
    if isinstance(space, spaces.Discrete):
        start, end = int(space.start), int(space.start + space.n)
        wrong = [
            (np.array([start + 0.0, start + 1.0]), r"int\[n\].*float64"),
            (np.array([start, end]), f"{start}..{end - 1}; received {end}"),
            (np.array([start - 1, start]), f"{start}..{end - 1}; received {start - 1}"),
            (np.array([[start], [start]]), r"received int64\[2, 1\]"),
        ]
    else:
        inside, nan = anywhere(space, 2), anywhere(space, 2)
        nan[1, 0] = np.nan
        wrong = [
            (np.concatenate([inside[:1], space.high[None] + 1]).astype(space.dtype), "tasks must lie in"),
            (np.concatenate([inside[:1], space.low[None] - 1]).astype(space.dtype), "tasks must lie in"),
            (nan, "tasks must lie in"),
            (np.concatenate([inside, inside], axis=1), r"must be rows of.*received \[2, "),
            (np.array([0, 0]), r"must be rows of.*received \[2\]"),
        ]
    for tasks, message in wrong:
        with pytest.raises(ValueError, match=message):
            teacher.observe(lived(tasks))
    with pytest.raises(ValueError, match=r"observe expects .*Outcomes, received dict"):
        teacher.observe({"tasks": anywhere(space, 2)})
    assert same(teacher, twin)


def test_integers_of_a_box_are_not_rounded_into_it():
    space = spaces.Box(0, 255, (1,), np.uint8)
    teacher = make("uniform", space)
    for value in (1.5, 300.0, -1.0):
        with pytest.raises(ValueError, match=f"received \\[ *{value:g}"):
            teacher.observe(Outcomes(np.array([[value]]), np.array([0.5]), np.array([1])))
    teacher.observe(Outcomes(np.array([[255.0]]), np.array([0.5]), np.array([1])))


@every_checked
def test_a_number_of_tasks_is_checked(name, key):
    teacher, twin = make(name, SPACES[key]), make(name, SPACES[key])
    for n in (0, -1, 1.5, True, "3", None):
        with pytest.raises(ValueError, match="n must be an integer"):
            teacher.sample(n)
    assert same(teacher, twin)


@pytest.mark.parametrize("name", [*teacher_names(), "own-subclass"])
def test_what_it_cannot_teach_on_is_refused(name):
    wrong = [spaces.Dict({"a": spaces.Discrete(2)}), spaces.MultiBinary(3), 5, None]
    wrong += [spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(0.0, 1.0, ())]
    wrong += [space for space in SPACES.values() if not isinstance(space, kinds_of(name))]
    for space in wrong:
        with pytest.raises(ValueError, match=r"teaches on a|needs a Box"):
            make(name, space)


@every_checked
def test_wrong_options_are_refused(name, key):
    if name in NEEDS_SCIKIT_LEARN:
        pytest.importorskip("sklearn")
    for seed in (-1, 0.5, None, True):
        with pytest.raises(ValueError, match="seed must be an integer"):
            make(name, SPACES[key], seed=seed)
    with pytest.raises(ValueError, match="Unknown option 'florr'"):
        make_teacher(OWN.get(name, name), SPACES[key], florr=0.1)


# --- speed ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "space"),
    [
        (name, space)
        for name in (*teacher_names(), "own-subclass")
        for space in (spaces.Discrete(10_000), spaces.Box(0.0, 1.0, (2,), np.float32))
        if isinstance(space, kinds_of(name))
    ],
    ids=str,
)
def test_1024_tasks_are_drawn_within_a_millisecond(name, space):
    teacher = make(name, space)
    for k in range(10):
        teacher.observe(lived(anywhere(space, 256, seed=k), seed=k))
    teacher.sample(1024)
    best = np.inf
    for _ in range(50):
        begun = time.perf_counter()
        teacher.sample(1024)
        best = min(best, time.perf_counter() - begun)
    assert best < 1e-3


# --- names ------------------------------------------------------------------------------------------------------------


def test_every_teacher_is_registered_under_its_own_name():
    assert daytwo.curricula is not None
    for name in teacher_names():
        if name in NEEDS_SCIKIT_LEARN:
            pytest.importorskip("sklearn")
        assert teacher_class(name).name == name
