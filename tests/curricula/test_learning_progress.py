import numpy as np
import pytest
from gymnasium import spaces

from daytwo.curricula.learning_progress import LearningProgress
from daytwo.curricula.uniform import Uniform
from daytwo.teacher import Outcomes
from tests.curricula.simulated import SimulatedStudent, teach


def tell(teacher: LearningProgress, task: int, *performance: float) -> None:
    """One batch of lifetimes on one task."""
    n = len(performance)
    teacher.observe(Outcomes(np.full(n, task), np.array(performance), np.ones(n, np.int64)))


def test_the_first_outcome_of_a_task_is_no_progress():
    teacher = LearningProgress(spaces.Discrete(3))
    tell(teacher, 1, 0.8)
    assert teacher.fast[1] == teacher.slow[1] == 0.8
    assert teacher.progress()[1] == 0.0
    tell(teacher, 2, 0.2, 0.4, 0.9)
    assert teacher.fast[2] == teacher.slow[2] == pytest.approx(0.5)


def test_the_averages_are_those_computed_by_hand():
    teacher = LearningProgress(spaces.Discrete(2), fast_rate=0.5, slow_rate=0.25)
    tell(teacher, 0, 0.0)
    tell(teacher, 0, 1.0)
    # The two outcomes weigh (1 - rate) * rate and rate.
    assert teacher.fast[0] == pytest.approx(0.5 / (0.25 + 0.5))
    assert teacher.slow[0] == pytest.approx(0.25 / (0.1875 + 0.25))
    assert teacher.progress()[0] == pytest.approx(2 / 3 - 4 / 7)
    tell(teacher, 0, 0.5)
    # And three (1 - rate)**2 * rate, (1 - rate) * rate and rate.
    assert teacher.fast[0] == pytest.approx((0.25 * 1.0 + 0.5 * 0.5) / 0.875)
    assert teacher.slow[0] == pytest.approx((0.1875 * 1.0 + 0.25 * 0.5) / 0.578125)


def test_equal_outcomes_in_one_batch_count_as_much_as_one_after_another():
    together, apart = LearningProgress(spaces.Discrete(2)), LearningProgress(spaces.Discrete(2))
    for teacher in (together, apart):
        tell(teacher, 0, 0.1)
    tell(together, 0, *[0.75] * 16)
    for _ in range(16):
        tell(apart, 0, 0.75)
    assert together.fast[0] == pytest.approx(apart.fast[0])
    assert together.slow[0] == pytest.approx(apart.slow[0])
    assert together.lifetimes.tolist() == [17, 0]


def test_steady_performance_is_no_progress_however_good():
    teacher = LearningProgress(spaces.Discrete(3))
    for _ in range(200):
        for task, performance in enumerate((0.0, 0.5, 1.0)):
            tell(teacher, task, performance)
    assert teacher.progress() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("absolute", "falling"), [(True, 2 / 3 - 4 / 7), (False, 0.0)])
def test_falling_performance_counts_only_if_progress_is_absolute(absolute, falling):
    teacher = LearningProgress(spaces.Discrete(2), fast_rate=0.5, slow_rate=0.25, absolute=absolute)
    for first, second, task in ((0.0, 1.0, 0), (1.0, 0.0, 1)):
        tell(teacher, task, first)
        tell(teacher, task, second)
    assert teacher.weights() == pytest.approx([2 / 3 - 4 / 7, falling])


def test_a_new_task_weighs_as_much_as_the_best():
    teacher = LearningProgress(spaces.Discrete(4), fast_rate=0.5, slow_rate=0.25, floor=0.1)
    assert teacher.probabilities() == pytest.approx([0.25] * 4)
    tell(teacher, 0, 0.3)  # seen, and nothing moves: the others first
    assert teacher.probabilities() == pytest.approx([0.025, 0.325, 0.325, 0.325])
    tell(teacher, 1, 0.0)
    tell(teacher, 1, 1.0)
    assert teacher.probabilities() == pytest.approx([0.025, 0.325, 0.325, 0.325])
    for task in (2, 3):
        tell(teacher, task, 0.0)
    assert teacher.probabilities() == pytest.approx([0.025, 0.925, 0.025, 0.025])


def test_while_nothing_moves_all_seen_tasks_are_alike():
    teacher = LearningProgress(spaces.Discrete(4, start=2))
    for task in range(2, 6):
        tell(teacher, task, 0.5)
    assert teacher.probabilities() == pytest.approx([0.25] * 4)


def test_metrics_are_progress_and_the_share_seen():
    teacher = LearningProgress(spaces.Discrete(4), fast_rate=0.5, slow_rate=0.25)
    tell(teacher, 1, 0.0)
    tell(teacher, 1, 1.0)
    assert teacher.metrics() == {"progress": pytest.approx((2 / 3 - 4 / 7) / 4), "seen": 0.25}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fast_rate": 1.5}, r"fast_rate must be a number in \[0, 1\]"),
        ({"fast_rate": 0.01, "slow_rate": 0.1}, "slow_rate must be above 0 and below fast_rate"),
        ({"slow_rate": 0.0}, "slow_rate must be above 0"),
        ({"absolute": 1}, "absolute must be True or False"),
        ({"floor": 0.0}, "floor must be above 0"),
        ({"floor": float("nan")}, "floor must be a number"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LearningProgress(spaces.Discrete(3), **options)


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_it_teaches_a_chain_of_skills_faster_than_uniform_tasks_do(noise, seed):
    space = spaces.Discrete(10)
    skill = {}
    for make in (Uniform, LearningProgress):
        student = SimulatedStudent(space, noise=noise, seed=seed)
        skill[make] = teach(make(space, seed=seed), student, lifetimes=16_000, batch=32).skill
    assert skill[LearningProgress] > skill[Uniform] + 0.15  # about .95 and .75


def test_practice_moves_along_the_chain():
    space = spaces.Discrete(10)
    shares = teach(LearningProgress(space), SimulatedStudent(space), lifetimes=16_000, batch=32).shares
    centre = shares @ np.arange(10)
    early, late = centre[20:80].mean(), centre[300:360].mean()
    assert late > early + 2.0
