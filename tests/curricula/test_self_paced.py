"""Self-paced learning: from the easy end to the target, no faster than the student and no further than a step."""

import json
import sys
import time

import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("scipy", reason="needs SciPy: pip install 'daytwo[teachers]'")

from daytwo.curricula import self_paced
from daytwo.curricula.self_paced import SelfPaced
from tests.curricula.boxes import BOXES, LINE, outcomes

BOXES = {**BOXES, "one task": spaces.Box(2.0, 2.0, (1,), np.float32)}


def performance(x, ability):
    """Of a student that succeeds where the hardest coordinate of a task, in the unit cube, is below its ability."""
    return 1.0 / (1.0 + np.exp((x.max(axis=1) - ability) * 25.0))


def course(teacher, abilities, lifetimes=300, generator=None):
    """Updates with a student of these abilities; returns KL(p || previous p) of each. Random draws make it 0 or 1."""
    steps = []
    for ability in abilities:
        tasks = teacher.sample(lifetimes)
        shown = performance(teacher.to_unit(tasks), ability)
        if generator is not None:
            shown = (generator.random(lifetimes) < shown).astype(np.float64)
        before = teacher.natural.copy()
        teacher.observe(outcomes(tasks, shown))
        steps.append(self_paced._divergence(teacher.natural, before))
    return np.array(steps)


def saved(teacher):
    return json.loads(json.dumps(teacher.state_dict(), default=lambda array: array.tolist()))


def test_it_starts_at_the_easy_end():
    teacher = SelfPaced(spaces.Box(-2.0, 6.0, (2,), np.float32))
    x = teacher.to_unit(teacher.sample(5000))
    # Half a normal distribution: mean 0.8 and 95th percentile 1.96 standard deviations.
    np.testing.assert_allclose(x.mean(axis=0), 0.08, atol=0.005)
    np.testing.assert_allclose(np.quantile(x, 0.95, axis=0), 0.196, atol=0.015)


def test_it_arrives_at_the_whole_box_with_a_student_that_keeps_up():
    teacher = SelfPaced(spaces.Box(-2.0, 6.0, (2,), np.float32), seed=1)
    distances = [teacher.distance()]
    for ability in np.linspace(0.3, 1.5, 40):
        course(teacher, [ability])
        distances.append(teacher.distance())
    assert distances[0] > 2.0 and distances[-1] == 0.0
    assert (np.diff(distances) < 0.01).all()
    counts, _, _ = np.histogram2d(*teacher.to_unit(teacher.sample(10_000)).T, bins=5, range=[(0, 1)] * 2)
    assert np.abs(counts - 400).max() < 5 * np.sqrt(400)


def test_it_arrives_at_a_target_of_the_users():
    teacher = SelfPaced(LINE, target=(6.0, 0.8), step=0.2)
    steps = course(teacher, [2.0] * 40)
    assert teacher.distance() == 0.0 and steps[-1] == 0.0
    x = teacher.to_unit(teacher.sample(5000))
    assert abs(x.mean() - 0.92) < 0.005 and np.quantile(x, 0.05) > 0.78


def test_it_starts_where_the_user_says():
    teacher = SelfPaced(spaces.Box(-2.0, 6.0, (2,), np.float32), initial=([3.0, 1.0], [0.3, 0.6]))
    for found in (teacher.moments(), (teacher.sample(20_000).mean(axis=0), teacher.sample(20_000).std(axis=0))):
        np.testing.assert_allclose(found[0], [3.0, 1.0], atol=0.02)
        np.testing.assert_allclose(found[1], [0.3, 0.6], atol=0.02)


@pytest.mark.parametrize("step", [0.01, 0.05, 0.3])
def test_no_update_is_longer_than_a_step(step):
    teacher, generator = SelfPaced(spaces.Box(0.0, 1.0, (2,)), step=step, seed=4), np.random.default_rng(0)
    abilities = np.concatenate([np.linspace(0.2, 0.9, 15), np.linspace(0.3, 0.0, 10), [1.5] * 10])
    steps = course(teacher, abilities, generator=generator)
    assert (steps <= step).all() and (steps > 0.9 * step).any()


def test_it_waits_for_the_student():
    teacher, generator = SelfPaced(LINE, threshold=0.6, seed=2), np.random.default_rng(0)
    course(teacher, [0.3] * 20, generator=generator)
    waiting = []
    for _ in range(20):
        course(teacher, [0.3], generator=generator)
        waiting.append(performance(teacher.to_unit(teacher.sample(4000)), 0.3).mean())
    assert abs(np.mean(waiting) - 0.6) < 0.03 and np.min(waiting) > 0.5
    assert teacher.distance() > 0.05  # half of the box at most could be mastered
    course(teacher, [2.0] * 10, generator=generator)
    assert teacher.distance() == 0.0


@pytest.mark.parametrize("random", [False, True], ids=["nothing", "by luck"])
def test_it_stays_at_the_start_while_the_student_succeeds_nowhere(random):
    teacher, generator = SelfPaced(spaces.Box(0.0, 1.0, (2,)), seed=0), np.random.default_rng(3)
    before = teacher.distance()
    for _ in range(25):
        tasks = teacher.sample(300)
        teacher.observe(outcomes(tasks, generator.random(300) < (0.05 if random else 0.0)))
    assert teacher.updates == 25 and abs(teacher.distance() - before) < 0.1


def test_from_a_start_that_is_too_hard_it_goes_where_the_student_succeeds():
    teacher = SelfPaced(LINE, initial=(2.5, 0.8), seed=0)
    assert performance(teacher.to_unit(teacher.sample(2000)), 0.4).mean() < 0.2
    steps = course(teacher, [0.4] * 4)
    assert performance(teacher.to_unit(teacher.sample(2000)), 0.4).mean() > 0.4
    assert (steps[:2] > 0.9 * 0.05).all() and (steps <= 0.05).all()


def test_it_goes_back_for_a_student_that_forgets():
    teacher = SelfPaced(LINE, seed=0)
    course(teacher, [2.0] * 15)
    assert teacher.distance() == 0.0
    course(teacher, [0.2] * 10)
    assert performance(teacher.to_unit(teacher.sample(2000)), 0.2).mean() > 0.4


def test_an_update_is_the_best_that_the_constraints_allow():
    teacher = SelfPaced(spaces.Box(0.0, 1.0, (1,), np.float64), threshold=0.8, step=0.05, seed=0)
    course(teacher, [0.35] * 5)
    tasks = teacher.sample(400)
    shown = performance(tasks, 0.35)
    expected = self_paced.Expectation(teacher.natural, tasks, shown, np.ones(400))
    previous = teacher.natural
    best = np.inf
    for a in np.linspace(0.0, 40.0, 81):
        for b in np.linspace(-60.0, 0.0, 241):
            candidate = np.array([[a, b]])
            if a <= -2 * b and self_paced._divergence(candidate, previous) <= 0.05 and expected(candidate)[0] >= 0.8:
                best = min(best, self_paced._divergence(candidate, teacher.target))
    teacher.observe(outcomes(tasks, shown))
    assert np.isfinite(best) and teacher.distance() < best + 1e-3
    assert expected(teacher.natural)[0] >= 0.8 - 1e-3


def test_it_draws_from_the_density_that_it_reckons_with():
    teacher = SelfPaced(spaces.Box(0.0, 1.0, (1,), np.float64), initial=(0.7, 0.2), seed=0)
    counts, _ = np.histogram(teacher.sample(200_000), bins=16, range=(0, 1))
    density = np.exp(self_paced._log_density(teacher.natural))[0].reshape(16, -1).mean(axis=1)
    np.testing.assert_allclose(counts / 200_000 * 16, density, atol=0.06)
    x = np.linspace(0.0, 1.0, 100_001)
    normal = np.exp(-0.5 * ((x - 0.7) / 0.2) ** 2)
    assert abs(density[11] - normal[(x >= 11 / 16) & (x < 12 / 16)].mean() / normal.mean()) < 1e-3


def test_gradients_are_right():
    generator = np.random.default_rng(0)
    here, there = np.array([[3.0, -9.0], [0.5, -1.0]]), np.array([[1.0, -4.0], [0.0, 0.0]])
    expected = self_paced.Expectation(here, generator.random((50, 2)), generator.random(50), np.ones(50))
    pairs = (
        (lambda natural: self_paced._divergence(natural, there), self_paced._divergence_gradient(here, there)),
        (lambda natural: expected(natural)[0], expected(here)[1]),
    )
    for function, gradient in pairs:
        for k in np.ndindex(2, 2):
            nudge = np.zeros((2, 2))
            nudge[k] = 1e-5
            assert abs((function(here + nudge) - function(here - nudge)) / 2e-5 - gradient[k]) < 1e-7


def test_expected_performance_is_estimated_for_other_distributions():
    teacher = SelfPaced(spaces.Box(0.0, 1.0, (1,), np.float64), initial=(0.3, 0.2), seed=0)
    other = SelfPaced(spaces.Box(0.0, 1.0, (1,), np.float64), initial=(0.4, 0.25), seed=1)
    tasks = teacher.sample(20_000)
    expected = self_paced.Expectation(teacher.natural, tasks, tasks[:, 0], np.ones(20_000))
    assert abs(expected(teacher.natural)[0] - tasks.mean()) < 0.003
    assert abs(expected(other.natural)[0] - other.sample(20_000).mean()) < 0.01


def test_tasks_from_elsewhere_do_not_break_it():
    teacher, generator = SelfPaced(spaces.Box(0.0, 1.0, (3,), np.float64), seed=0), np.random.default_rng(0)
    for _ in range(10):
        before = teacher.natural.copy()
        tasks = generator.random((300, 3))
        teacher.observe(outcomes(tasks, performance(tasks, 0.8)))
        assert self_paced._divergence(teacher.natural, before) <= 0.05
    assert np.isfinite(teacher.natural).all()


def test_the_order_of_outcomes_does_not_matter():
    generator = np.random.default_rng(0)
    one, other = SelfPaced(LINE, seed=1), SelfPaced(LINE, seed=1)
    for _ in range(5):
        tasks, order = one.sample(120), generator.permutation(120)
        other.sample(120)
        shown = performance(one.to_unit(tasks), 0.5)
        one.observe(outcomes(tasks, shown))
        other.observe(outcomes(tasks[order], shown[order]))
    assert one.updates > 0 and saved(one) == saved(other)


@pytest.mark.parametrize("batches", [0, 1, 3, 8])
def test_a_resumed_teacher_goes_on_identically(batches):
    space = spaces.Box(-2.0, 6.0, (2,), np.float32)
    teacher = SelfPaced(space, seed=7)
    course(teacher, [0.4] * batches, lifetimes=110)
    resumed = SelfPaced(space)
    resumed.load_state_dict(saved(teacher))
    for _ in range(6):
        course(teacher, [0.4], lifetimes=110)
        course(resumed, [0.4], lifetimes=110)
        np.testing.assert_array_equal(teacher.sample(50), resumed.sample(50))
    assert teacher.updates > 0 and saved(teacher) == saved(resumed)


@pytest.mark.parametrize("space", BOXES.values(), ids=BOXES)
def test_tasks_lie_in_the_box(space):
    teacher = SelfPaced(space, seed=2, update_every=2, step=0.5)
    generator = np.random.default_rng(0)
    for n in (1, 60, 7, 60, 200, 3):
        tasks = teacher.sample(n)
        assert tasks.shape == (n, *space.shape) and tasks.dtype == space.dtype
        assert all(space.contains(task) for task in tasks)
        teacher.observe(outcomes(tasks, generator.random(n)))
        assert np.isfinite(teacher.natural).all()


def test_it_covers_whole_numbers():
    teacher = SelfPaced(spaces.Box(0, 9, (1,), np.int32), step=0.2, seed=0)
    assert (teacher.sample(1000) < 5).all()
    course(teacher, [2.0] * 15)
    assert teacher.updates == 15 and teacher.distance() == 0.0  # lifetimes count, though equal tasks are averaged
    assert np.abs(np.bincount(teacher.sample(10_000)[:, 0]) - 1000).max() < 5 * np.sqrt(900)


def test_it_keeps_to_the_whole_numbers_that_the_student_masters():
    teacher = SelfPaced(spaces.Box(0, 1, (1,), np.uint8), initial=(0, 0.2), threshold=0.8, seed=0)
    shares = []
    for _ in range(60):
        tasks = teacher.sample(300)
        teacher.observe(outcomes(tasks, tasks[:, 0] == 0))
        shares.append((tasks == 0).mean())
    assert shares[0] > 0.95 and abs(np.mean(shares[-20:]) - 0.8) < 0.03


def test_drawing_is_quick():
    teacher = SelfPaced(spaces.Box(0.0, 1.0, (4,), np.float32))
    seconds = []
    for _ in range(30):
        begin = time.perf_counter()
        teacher.sample(1024)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 1e-3


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"needs SciPy: pip install 'daytwo\[teachers\]'"):
        SelfPaced(LINE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"threshold must be a number in \[0, 1\], received 1.5"),
        ({"step": 0.0}, "step must be a number in"),
        ({"update_every": 1}, "update_every must be an integer in 2"),
        ({"initial": 3.0}, "initial must be a mean and a standard deviation"),
        ({"initial": ([0.0, 1.0], 1.0)}, "initial must be a mean and a standard deviation"),
        ({"target": (7.0, 1.0)}, "target's mean must lie in"),
        ({"target": (1.0, 0.01)}, "target's standard deviation must be finite and at least"),
        ({"target": (1.0, np.nan)}, "target's standard deviation must be finite and at least"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        SelfPaced(LINE, **options)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-np.inf, 1.0, (1,)), spaces.MultiBinary(2)])
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match="self-paced"):
        SelfPaced(space)
