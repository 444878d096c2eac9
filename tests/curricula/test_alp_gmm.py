"""ALP-GMM: it practises where performance changes, and keeps an eye on everything else."""

import json
import sys
import time

import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'daytwo[teachers]'")

from daytwo.curricula.alp_gmm import ALPGMM
from tests.curricula.boxes import BOXES, LINE, outcomes


class Student:
    """Knows the lower part of the first axis, gets better between 0.6 and 0.8 with practice, and never beyond."""

    def __init__(self, rate=2e-4):
        self.skill, self.rate = 0.0, rate

    def practise(self, teacher, n):
        """Lifetimes on n tasks that the teacher chooses; returns which were between 0.6 and 0.8."""
        tasks = teacher.sample(n)
        x = teacher.to_unit(tasks)[:, 0]
        learnable = (x > 0.6) & (x < 0.8)
        self.skill = min(1.0, self.skill + self.rate * learnable.sum())
        performance = np.where(learnable, self.skill, (x <= 0.6).astype(np.float64))
        teacher.observe(outcomes(tasks, performance))
        return learnable


def saved(teacher):
    return json.loads(json.dumps(teacher.state_dict(), default=lambda array: array.tolist()))


@pytest.mark.parametrize("batch", [40, 600])
def test_draws_concentrate_where_there_is_progress(batch):
    teacher, student = ALPGMM(LINE, seed=3), Student()
    shares = [student.practise(teacher, batch).mean() for _ in range(3000 // batch)]
    # 0.2 of the axis; 0.8 + 0.2 * 0.2 would be all draws but the floor's.
    assert np.mean(shares[-len(shares) // 2 :]) > 0.6
    assert teacher.metrics()["components"] >= 2


def test_draws_move_on_when_the_progress_does():
    teacher = ALPGMM(LINE, history=500, seed=0)
    generator = np.random.default_rng(0)
    for first, last in ((0.0, 0.3), (0.7, 1.0)):
        for step in range(15):
            tasks = teacher.from_unit(generator.random((100, 1)))
            x = teacher.to_unit(tasks)[:, 0]
            moving = (x >= first) & (x <= last)
            teacher.observe(outcomes(tasks, np.where(moving, step / 15, 0.5)))
        x = teacher.to_unit(teacher.sample(2000))[:, 0]
        assert ((x >= first - 0.1) & (x <= last + 0.1)).mean() > 0.7


def test_without_progress_draws_are_uniform():
    teacher = ALPGMM(LINE, seed=5)
    for _ in range(20):
        tasks = teacher.sample(100)
        teacher.observe(outcomes(tasks, np.full(100, 0.3)))
    assert teacher.fits == 6 and len(teacher.progress) == 0
    counts, _ = np.histogram(teacher.to_unit(teacher.sample(10_000)), bins=10, range=(0, 1))
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(900)


def test_the_rounding_of_averages_is_no_progress():
    teacher = ALPGMM(spaces.Box(0, 3, (1,), np.int64), fit_every=10)
    for repeats in range(1, 12):
        teacher.observe(outcomes(np.repeat(np.arange(4), repeats)[:, None], np.full(4 * repeats, 0.1)))
    assert teacher.fits > 0 and len(teacher.progress) == 0


def test_every_task_keeps_the_floor():
    teacher, student = ALPGMM(LINE, floor=0.3, most_components=4, seed=3), Student()
    for _ in range(15):
        student.practise(teacher, 100)
    far = teacher.to_unit(teacher.sample(20_000))[:, 0] < 0.4
    assert far.mean() > 0.3 * 0.4 - 0.01


def test_progress_is_against_the_nearest_task_of_an_earlier_batch():
    teacher = ALPGMM(spaces.Box(0.0, 1.0, (2,), np.float64), seed=1)
    teacher.observe(outcomes([[0.0, 0.0], [1.0, 1.0]], [0.1, 0.9]))
    assert len(teacher.latest) == 0  # nothing earlier: no progress is known, rather than none
    teacher.observe(outcomes([[0.1, 0.0], [0.1, 0.1], [0.9, 0.7]], [0.4, 0.8, 0.2]))
    found = {tuple(row[:2]): row[2] for row in teacher.latest}
    assert found == {(0.1, 0.0): 0.3, (0.1, 0.1): 0.7, (0.9, 0.7): 0.7}


def test_a_task_seen_again_replaces_what_was_known_of_it():
    teacher = ALPGMM(spaces.Box(0.0, 1.0, (1,), np.float64))
    for performance in (0.1, 0.7, 0.6):
        teacher.observe(outcomes([[0.5]], [performance]))
    assert teacher.latest[:, -1].tolist() == [0.6, 0.1]
    assert teacher.history_performance.tolist() == [0.6]


def test_history_is_bounded_and_the_oldest_goes():
    teacher = ALPGMM(spaces.Box(0.0, 1.0, (1,), np.float64), history=30)
    for batch in range(5):
        teacher.observe(outcomes(np.linspace(0.0, 0.9, 10)[:, None] + batch / 100, np.full(10, batch / 10)))
        assert len(teacher.history_tasks) == len(teacher.history_performance) <= 30
    assert set(teacher.history_performance) == {0.2, 0.3, 0.4}


def test_what_is_kept_of_a_batch_too_large_to_keep_is_from_all_over_the_box():
    teacher = ALPGMM(spaces.Box(0.0, 1.0, (1,), np.float64), history=200)
    for _ in range(2):
        teacher.observe(outcomes(np.linspace(0.0, 1.0, 2000)[:, None], np.random.default_rng(0).random(2000)))
    for kept, size in ((teacher.history_tasks, 200), (teacher.latest, 250)):
        assert len(kept) == size
        assert kept[:, 0].min() < 0.05 and kept[:, 0].max() > 0.95 and abs(kept[:, 0].mean() - 0.5) < 0.1


def test_the_order_of_outcomes_does_not_matter():
    generator = np.random.default_rng(0)
    one, other = (ALPGMM(LINE, most_components=4, seed=1) for _ in range(2))
    for _ in range(5):
        tasks, performance = LINE.low + generator.random((120, 1)) * 8.0, generator.random(120)
        order = generator.permutation(120)
        one.observe(outcomes(tasks, performance))
        other.observe(outcomes(tasks[order], performance[order]))
    assert one.fits > 0 and saved(one) == saved(other)


@pytest.mark.parametrize("batches", [0, 1, 2, 4, 9])
def test_a_resumed_teacher_goes_on_identically(batches):
    teacher, student = ALPGMM(LINE, most_components=4, seed=7), Student()
    for _ in range(batches):
        student.practise(teacher, 110)
    resumed, second = ALPGMM(LINE, most_components=4), Student()
    resumed.load_state_dict(saved(teacher))
    second.skill = student.skill
    for _ in range(6):
        student.practise(teacher, 110)
        second.practise(resumed, 110)
        np.testing.assert_array_equal(teacher.sample(50), resumed.sample(50))
    assert teacher.fits > 0 and saved(teacher) == saved(resumed)


@pytest.mark.parametrize("space", BOXES.values(), ids=BOXES)
def test_tasks_lie_in_the_box(space):
    teacher = ALPGMM(space, seed=2, fit_every=50, most_components=5)
    generator = np.random.default_rng(0)
    for n in (1, 60, 7, 60, 200, 3):
        tasks = teacher.sample(n)
        assert tasks.shape == (n, *space.shape) and tasks.dtype == space.dtype
        assert all(space.contains(task) for task in tasks)
        teacher.observe(outcomes(tasks, generator.random(n)))
    assert teacher.fits > 0 and len(teacher.progress) > 0


def test_it_learns_whole_numbers():
    space = spaces.Box(0, 9, (1,), np.int32)
    teacher = ALPGMM(space, seed=0)
    for step in range(40):
        tasks = teacher.sample(50)
        teacher.observe(outcomes(tasks, np.where(tasks[:, 0] == 7, (step % 20) / 20, 0.5)))
    assert (teacher.sample(2000)[:, 0] == 7).mean() > 0.6


def test_drawing_is_quick():
    space = spaces.Box(0.0, 1.0, (4,), np.float32)
    teacher, student = ALPGMM(space, seed=1), Student(rate=1e-3)
    for _ in range(8):
        student.practise(teacher, 100)
    assert len(teacher.progress) > 0
    seconds = []
    for _ in range(30):
        begin = time.perf_counter()
        teacher.sample(1024)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1e-3


@pytest.mark.parametrize("missing", ["sklearn.mixture", "scipy.spatial"])
def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"needs scikit-learn: pip install 'daytwo\[teachers\]'"):
        ALPGMM(LINE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floor": 0.0}, "floor must be above 0"),
        ({"floor": 1.5}, r"floor must be a number in \[0, 1\], received 1.5"),
        ({"fit_every": 9}, "fit_every must be an integer in 10"),
        ({"fit_every": 20, "most_components": 21}, "fit_every must be at least most_components"),
        ({"most_components": 1}, "most_components must be an integer in 2"),
        ({"history": 0}, "history must be an integer in 1"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ALPGMM(LINE, **options)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-np.inf, 1.0, (1,)), spaces.MultiBinary(2)])
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match="alp-gmm"):
        ALPGMM(space)
