import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from daytwo.curricula.plr import PLR
from daytwo.curricula.uniform import Uniform
from daytwo.teacher import Outcomes
from tests.curricula.simulated import SimulatedStudent, teach

LINE = spaces.Box(0.0, 1.0, (1,), np.float64)
SQUARE = spaces.Box(0.0, 1.0, (2,), np.float32)


def tell(teacher: PLR, tasks: Any, performance: Any) -> None:
    """One batch of lifetimes."""
    teacher.observe(Outcomes(np.array(tasks), np.array(performance), np.ones(len(performance), np.int64)))


def state_of(teacher: PLR) -> Any:
    return json.loads(json.dumps(teacher.state_dict(), default=lambda value: value.tolist()))


def row(teacher: PLR, task: Any) -> int:
    """Where a task is in the buffer."""
    found = [k for k, other in enumerate(teacher.buffer) if np.array_equal(other, task)]
    assert len(found) == 1
    return found[0]


# --- scores and ranks -------------------------------------------------------------------------------------------------


def test_the_score_is_the_variance_of_success():
    teacher = PLR(spaces.Discrete(9))
    tell(teacher, [4, 2, 7], [0.5, 0.9, 1.0])
    assert teacher.buffer.tolist() == [2, 4, 7]
    assert teacher.score == pytest.approx([0.09, 0.25, 0.0])


def test_the_score_is_of_a_running_mean():
    teacher = PLR(spaces.Discrete(2), rate=0.5)
    tell(teacher, [1], [1.0])
    tell(teacher, [1], [0.0])
    assert teacher.mean == pytest.approx([1 / 3]) and teacher.score == pytest.approx([2 / 9])
    tell(teacher, [1, 1], [1.0, 0.0])
    assert teacher.mean == pytest.approx([(0.1875 / 3 + 0.75 / 2) / 0.9375])
    assert teacher.lifetimes.tolist() == [4]


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1.0, np.array([12, 6, 4, 3]) / 25),  # 1, 1/2, 1/3, 1/4
        (0.5, np.array([144, 36, 16, 9]) / 205),  # their squares
        (1e3, np.full(4, 0.25)),
        (1e-3, np.array([1.0, 0.0, 0.0, 0.0])),
    ],
)
def test_replay_goes_by_rank(temperature, expected):
    teacher = PLR(spaces.Discrete(10), temperature=temperature, staleness=0.0)
    tell(teacher, [0, 3, 5, 8], [0.3, 0.5, 0.0, 0.1])  # ranks 2, 1, 4, 3
    assert teacher.replay_probabilities() == pytest.approx(expected[[1, 0, 3, 2]], abs=1e-3)


def test_only_the_order_of_scores_counts():
    first, second = (PLR(spaces.Discrete(4), staleness=0.0) for _ in range(2))
    first.rescore([0, 1, 2], [1.0, 2.0, 3.0])
    second.rescore([0, 1, 2], [0.0, 1e-9, 1e9])
    assert np.array_equal(first.replay_probabilities(), second.replay_probabilities())


def test_equal_scores_share_their_ranks():
    teacher = PLR(spaces.Discrete(10), temperature=1.0, staleness=0.0)
    tell(teacher, [0, 1, 2, 3], [0.0, 0.5, 0.5, 1.0])
    high, low = (1 + 1 / 2) / 2, (1 / 3 + 1 / 4) / 2
    assert teacher.replay_probabilities() == pytest.approx(np.array([low, high, high, low]) / (25 / 12))


def test_ranks_of_ten_thousand_tasks_neither_overflow_nor_underflow():
    for temperature in (0.1, 1e-3):
        teacher = PLR(spaces.Discrete(10_000), temperature=temperature, staleness=0.0)
        teacher.rescore(np.arange(10_000), np.arange(10_000.0))
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            probabilities = teacher.replay_probabilities()
        assert probabilities.sum() == pytest.approx(1.0)
        assert probabilities[-1] == probabilities.max() > 0.99
        assert temperature < 0.1 or probabilities.min() > 0.0
        assert len(teacher.sample(100)) == 100


def test_stale_tasks_are_seen_again():
    teacher = PLR(spaces.Discrete(10), staleness=1.0)
    for task in (1, 2, 3):
        tell(teacher, [task, task], [0.5, 0.5])
    assert teacher.clock == 6 and teacher.last.tolist() == [2, 4, 6]
    assert teacher.replay_probabilities() == pytest.approx([4 / 6, 2 / 6, 0.0])
    tell(teacher, [1], [0.5])
    assert teacher.replay_probabilities() == pytest.approx([0.0, 3 / 4, 1 / 4])


def test_staleness_is_mixed_with_rank():
    teacher = PLR(spaces.Discrete(10), temperature=1.0, staleness=0.25)
    tell(teacher, [5], [0.1])
    tell(teacher, [6], [0.5])
    assert teacher.replay_probabilities() == pytest.approx([0.75 * 1 / 3 + 0.25, 0.75 * 2 / 3])


def test_tasks_of_one_batch_are_equally_stale():
    teacher = PLR(spaces.Discrete(10), staleness=1.0)
    assert teacher.replay_probabilities().shape == (0,)
    tell(teacher, [5, 1, 1], [0.1, 0.9, 0.8])
    assert teacher.replay_probabilities() == pytest.approx([0.5, 0.5])


# --- draws ------------------------------------------------------------------------------------------------------------


def test_everything_is_fresh_until_something_was_seen():
    tasks = PLR(spaces.Discrete(4), replay=0.99).sample(4000)
    assert np.bincount(tasks).min() > 850


@pytest.mark.parametrize("replay", [0.0, 0.5, 0.9])
def test_a_share_of_the_draws_is_replayed(replay):
    teacher = PLR(LINE, replay=replay)
    tell(teacher, [[0.25]], [0.5])
    assert (teacher.sample(10_000) == 0.25).mean() == pytest.approx(replay, abs=0.02)


def test_draws_follow_the_probabilities():
    teacher = PLR(spaces.Discrete(10, start=-2), replay=0.6, temperature=1.0, staleness=0.0)
    tell(teacher, [0, 3, 5], [0.5, 0.3, 0.0])
    shares = np.bincount(teacher.sample(50_000) + 2, minlength=10) / 50_000
    expected = np.full(10, 0.04)
    expected[[2, 5, 7]] += 0.6 * np.array([6, 3, 2]) / 11
    assert shares == pytest.approx(expected, abs=0.01)


def best_of(count: int, what: Callable[[], Any]) -> float:
    """The shortest of so many runs, in seconds."""
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        what()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


@pytest.mark.parametrize("space", [spaces.Discrete(10_000), SQUARE], ids=["discrete", "box"])
def test_ten_thousand_tasks_are_quick_to_draw_from_and_to_score_anew(space):
    rng = np.random.default_rng(0)
    teacher = PLR(space)
    tasks = rng.permutation(10_000) if isinstance(space, spaces.Discrete) else rng.random((10_000, 2), np.float32)
    tell(teacher, tasks, rng.random(10_000))
    assert len(teacher.buffer) == 10_000

    def observe_and_draw() -> None:
        tell(teacher, tasks[:1024], np.full(1024, 0.5))
        teacher.sample(1)

    assert best_of(30, observe_and_draw) < 20e-3  # about 2 ms, on a machine that does nothing else
    assert best_of(50, lambda: teacher.sample(1024)) < 1e-3


# --- the buffer of a box ----------------------------------------------------------------------------------------------


def test_the_lowest_score_leaves_a_full_buffer():
    teacher = PLR(LINE, capacity=3)
    tell(teacher, [[0.1], [0.2], [0.3]], [0.5, 0.1, 0.2])
    tell(teacher, [[0.4]], [0.3])
    assert teacher.buffer.tolist() == [[0.1], [0.3], [0.4]]
    assert teacher.mean == pytest.approx([0.5, 0.2, 0.3])
    tell(teacher, [[0.9]], [1.0])  # scores less than all
    assert teacher.buffer.tolist() == [[0.1], [0.3], [0.4]]
    tell(teacher, [[0.3]], [0.4])  # rows are still found after some have moved
    assert teacher.lifetimes[row(teacher, [0.3])] == 2


def test_of_equal_scores_the_stalest_leaves():
    teacher = PLR(LINE, capacity=2)
    for task in (0.1, 0.2, 0.3):
        tell(teacher, [[task]], [0.5])
    assert teacher.buffer.tolist() == [[0.2], [0.3]]


def test_a_batch_may_be_larger_than_the_buffer():
    teacher = PLR(SQUARE, capacity=5)
    rng = np.random.default_rng(0)
    tasks, performance = rng.random((64, 2), np.float32), rng.random(64)
    tell(teacher, tasks, performance)
    best = np.argsort(performance * (1 - performance))[-5:]
    assert sorted(map(tuple, teacher.buffer.tolist())) == sorted(map(tuple, tasks[best].tolist()))


def test_a_row_seen_again_is_the_same_row():
    teacher = PLR(spaces.Box(-1.0, 1.0, (2,), np.float64))
    tell(teacher, [[0.0, 0.5]], [0.25])
    tell(teacher, [[-0.0, 0.5]], [0.75])
    assert len(teacher.buffer) == 1 and teacher.lifetimes.tolist() == [2]
    tell(teacher, [[0.5, 0.0]], [0.75])
    assert len(teacher.buffer) == 2


def test_boxes_of_whole_numbers_and_of_several_axes_work():
    for space in (spaces.Box(0, 3, (2,), np.int64), spaces.Box(0, 255, (2, 3), np.uint8)):
        teacher = PLR(space)
        for _ in range(5):
            tasks = teacher.sample(64)
            assert all(task in space for task in tasks)
            tell(teacher, tasks, np.linspace(0.0, 1.0, 64))
        assert len(np.unique(teacher.buffer, axis=0)) == len(teacher.buffer)
        assert teacher.lifetimes.sum() == teacher.clock == 320


# --- scores from a critic ---------------------------------------------------------------------------------------------


def test_rescore_replaces_scores_until_the_next_rescore():
    teacher = PLR(spaces.Discrete(5, start=3), temperature=1.0, staleness=0.0)
    tell(teacher, [3, 4, 5], [0.5, 0.4, 0.1])
    teacher.rescore(np.array([4, 5]), np.array([2.0, 7.0]))
    assert teacher.score == pytest.approx([0.25, 2.0, 7.0])
    assert teacher.replay_probabilities() == pytest.approx(np.array([2, 3, 6]) / 11)
    tell(teacher, [3, 5], [0.5, 0.9])
    assert teacher.score == pytest.approx([0.25, 2.0, 7.0])
    assert teacher.mean[2] > 0.4  # outcomes are not lost on it
    teacher.rescore([5], [0.0])
    assert teacher.score == pytest.approx([0.25, 2.0, 0.0])


def test_rescore_averages_equal_tasks_in_any_order():
    first, second = PLR(LINE), PLR(LINE)
    rng = np.random.default_rng(0)
    tasks, values = rng.integers(0, 5, (64, 1)) / 8, rng.random(64) * 10
    order = rng.permutation(64)
    first.rescore(tasks, values)
    second.rescore(tasks[order], values[order])
    assert state_of(first) == state_of(second)
    assert first.score[row(first, [0.25])] == pytest.approx(values[tasks[:, 0] == 0.25].mean())


def test_rescored_tasks_enter_the_buffer_and_push_others_out():
    teacher = PLR(LINE, capacity=2)
    tell(teacher, [[0.1], [0.2]], [0.5, 0.9])
    teacher.rescore([[0.3], [0.4]], [5.0, 0.001])
    assert teacher.buffer.tolist() == [[0.1], [0.3]]
    assert teacher.judged.tolist() == [False, True]


@pytest.mark.parametrize(
    ("tasks", "values", "message"),
    [
        ([0, 1], [1.0], r"values must be float\[2\]"),
        ([0, 1], [1.0, -1.0], "at least 0, received -1.0"),
        ([0, 1], [1.0, np.nan], "finite and at least 0, received nan"),
        ([0, 1], [1.0, np.inf], "finite and at least 0, received inf"),
        ([0, 9], [1.0, 1.0], r"integers in 0..4; received 9"),
        ([0.0, 1.0], [1.0, 1.0], r"int\[n\]"),
    ],
)
def test_wrong_scores_are_refused_with_nothing_changed(tasks, values, message):
    teacher = PLR(spaces.Discrete(5))
    tell(teacher, [0, 1], [0.5, 0.4])
    before = state_of(teacher)
    with pytest.raises(ValueError, match=message):
        teacher.rescore(np.array(tasks), np.array(values))
    assert state_of(teacher) == before


# --- mutation (ACCEL) -------------------------------------------------------------------------------------------------


def nudge(tasks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Move tasks of a unit box a little."""
    return np.clip(tasks + generator.normal(0.0, 0.02, tasks.shape), 0.0, 1.0)


def test_a_share_of_what_is_replayed_is_mutated():
    teacher = PLR(LINE, replay=0.8, mutate=nudge, mutation=0.5)
    tell(teacher, [[0.5]], [0.5])
    tasks = teacher.sample(20_000)[:, 0]
    assert (tasks == 0.5).mean() == pytest.approx(0.4, abs=0.02)
    near = (np.abs(tasks - 0.5) < 0.08) & (tasks != 0.5)
    assert near.mean() == pytest.approx(0.4 + 0.2 * 0.16, abs=0.02)
    assert len(teacher.buffer) == 1  # a mutation enters once it was practised


def test_mutate_receives_rows_of_the_space_and_the_teachers_generator():
    space = spaces.Discrete(5, start=3)
    received = []

    def mutate(tasks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        assert generator is teacher.generator
        received.append(tasks.copy())
        tasks[...] = 7
        return tasks

    teacher = PLR(space, replay=0.9, mutate=mutate, mutation=1.0)
    tell(teacher, [4], [0.5])
    tasks = teacher.sample(1000)
    assert set(np.concatenate(received)) == {4}
    assert (tasks == 7).mean() > 0.85
    assert teacher.buffer.tolist() == [1]


@pytest.mark.parametrize(
    ("mutate", "message"),
    [
        (lambda tasks, generator: tasks + 5.0, "mutate must return rows of the space: tasks must lie in"),
        (lambda tasks, generator: tasks[:, 0], "mutate must return rows of the space: tasks must be rows of"),
        (lambda tasks, generator: tasks[:-1], "mutate must return as many tasks as it received"),
        (lambda tasks, generator: None, "mutate must return rows of the space"),
    ],
)
def test_a_wrong_mutation_is_refused(mutate, message):
    teacher = PLR(LINE, replay=0.9, mutate=mutate, mutation=1.0)
    tell(teacher, [[0.5]], [0.5])
    with pytest.raises(ValueError, match=message):
        teacher.sample(100)


def test_a_mutating_teacher_resumes_identically():
    teacher, resumed = PLR(SQUARE, mutate=nudge), PLR(SQUARE, mutate=nudge, seed=9)
    student = SimulatedStudent(SQUARE)
    teach(teacher, student, lifetimes=640)
    resumed.load_state_dict(state_of(teacher))
    for _ in range(20):
        tasks = teacher.sample(32)
        assert np.array_equal(tasks, resumed.sample(32))
        outcomes = student.practise(tasks)
        for each in (teacher, resumed):
            each.observe(outcomes)


# --- state and options ------------------------------------------------------------------------------------------------


def test_a_state_with_columns_of_two_lengths_is_refused_with_nothing_changed():
    teacher, other = PLR(LINE), PLR(LINE)
    tell(teacher, [[0.5]], [0.5])
    tell(other, [[0.1], [0.2]], [0.5, 0.5])
    before, good = state_of(teacher), other.state_dict()
    for name in PLR.columns:
        with pytest.raises(ValueError, match="one length"):
            teacher.load_state_dict({**good, name: good[name][:1]})
        assert state_of(teacher) == before
    with pytest.raises(ValueError, match="at most 1"):
        PLR(LINE, capacity=1).load_state_dict(good)


def test_metrics_are_of_the_buffer():
    teacher = PLR(LINE)
    assert teacher.metrics() == {"buffer": 0.0, "score": 0.0, "best_score": 0.0}
    tell(teacher, [[0.5], [0.6]], [0.5, 0.9])
    assert teacher.metrics() == pytest.approx({"buffer": 2.0, "score": 0.17, "best_score": 0.25})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replay": 1.0}, "replay must be below 1"),
        ({"replay": -0.1}, r"replay must be a number in \[0, 1\]"),
        ({"temperature": 0.0}, "temperature must be a number"),
        ({"staleness": 1.1}, "staleness must be a number"),
        ({"rate": 0.0}, "rate must be above 0"),
        ({"capacity": 0}, "capacity must be an integer"),
        ({"mutate": 3}, "mutate must be a function"),
        ({"mutation": 2.0}, "mutation must be a number"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PLR(LINE, **options)


# --- the simulated student --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("space", "margin"), [(spaces.Discrete(10), 0.1), (SQUARE, 0.12)], ids=["discrete", "box"])
def test_it_teaches_a_chain_of_skills_faster_than_uniform_tasks_do(space, margin, noise, seed):
    skill = {}
    for make in (Uniform, PLR):
        student = SimulatedStudent(space, skills=10, noise=noise, seed=seed)
        skill[make] = teach(make(space, seed=seed), student, lifetimes=16_000, batch=32).skill
    assert skill[PLR] > skill[Uniform] + margin  # about .89 (box: .95) and .75


def test_mutation_teaches_faster_than_uniform_tasks_do():
    skill = []
    for teacher in (Uniform(SQUARE), PLR(SQUARE, mutate=nudge)):
        student = SimulatedStudent(SQUARE, skills=10)
        skill.append(teach(teacher, student, lifetimes=16_000, batch=32).skill)
    assert skill[1] > skill[0] + 0.1
