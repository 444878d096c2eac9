import numpy as np
import pytest
from gymnasium import spaces

from daytwo.curricula.learnability import Learnability
from daytwo.curricula.uniform import Uniform
from daytwo.teacher import Outcomes
from tests.curricula.simulated import SimulatedStudent, teach


def tell(teacher: Learnability, task: int, *performance: float) -> None:
    """One batch of lifetimes on one task."""
    n = len(performance)
    teacher.observe(Outcomes(np.full(n, task), np.array(performance), np.ones(n, np.int64)))


def test_the_weight_is_the_variance_of_success():
    teacher = Learnability(spaces.Discrete(4), floor=0.1)
    for task, performance in enumerate((0.0, 0.2, 0.5, 1.0)):
        tell(teacher, task, performance)
    assert teacher.weights() == pytest.approx([0.0, 0.16, 0.25, 0.0])
    assert teacher.probabilities() == pytest.approx([0.025, 0.025 + 0.9 * 16 / 41, 0.025 + 0.9 * 25 / 41, 0.025])


def test_a_new_task_has_the_greatest_weight():
    teacher = Learnability(spaces.Discrete(3))
    assert teacher.weights().tolist() == [0.25, 0.25, 0.25]
    tell(teacher, 0, 0.9)
    assert teacher.weights() == pytest.approx([0.09, 0.25, 0.25])


def test_the_mean_is_the_one_computed_by_hand():
    teacher = Learnability(spaces.Discrete(2), rate=0.5)
    tell(teacher, 1, 1.0)
    assert teacher.mean.tolist() == [0.5, 1.0]
    tell(teacher, 1, 0.0)
    assert teacher.mean[1] == pytest.approx(0.25 / 0.75)
    tell(teacher, 1, 1.0, 0.0)  # two lifetimes with the mean 1/2 replace 3/4 of 15/16
    assert teacher.mean[1] == pytest.approx(((0.9375 - 0.75) * 0.25 / 0.75 + 0.75 * 0.5) / 0.9375)


def test_the_first_few_outcomes_are_averaged_and_old_ones_forgotten():
    teacher = Learnability(spaces.Discrete(1), rate=0.01)
    for performance in (0.2, 0.4, 0.9):
        tell(teacher, 0, performance)
    assert teacher.mean[0] == pytest.approx(0.5, abs=0.005)
    tell(teacher, 0, *[1.0] * 2000)
    assert teacher.mean[0] == pytest.approx(1.0)


def test_mastered_and_hopeless_tasks_are_all_alike():
    teacher = Learnability(spaces.Discrete(4))
    for task in range(4):
        tell(teacher, task, float(task % 2))
    assert teacher.probabilities() == pytest.approx([0.25] * 4)


def test_metrics_are_means_over_the_tasks():
    teacher = Learnability(spaces.Discrete(2))
    tell(teacher, 0, 0.9)
    assert teacher.metrics() == pytest.approx({"learnability": 0.17, "performance": 0.7, "seen": 0.5})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate": 0.0}, "rate must be above 0"), ({"rate": 2}, "rate must be a number"), ({"floor": 0}, "floor must be")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Learnability(spaces.Discrete(3), **options)


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_it_teaches_a_chain_of_skills_faster_than_uniform_tasks_do(noise, seed):
    space = spaces.Discrete(10)
    skill = {}
    for make in (Uniform, Learnability):
        student = SimulatedStudent(space, noise=noise, seed=seed)
        skill[make] = teach(make(space, seed=seed), student, lifetimes=16_000, batch=32).skill
    assert skill[Learnability] > skill[Uniform] + 0.15  # about .96 and .75
