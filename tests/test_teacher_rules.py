"""`check_teacher` finds every rule that a teacher breaks, and nothing in teachers that break none."""

import numpy as np
import pytest
from gymnasium import spaces

import daytwo
from daytwo.teacher import Outcomes, Teacher
from daytwo.teacher_rules import RULES, TeacherError

SPACE = spaces.Discrete(6)


@pytest.mark.parametrize("name", daytwo.teacher_names())
def test_the_teachers_of_this_package_break_no_rule(name):
    if name in ("alp-gmm", "self-paced"):
        pytest.importorskip("sklearn")
    options = {"most_components": 2, "fit_every": 200} if name == "alp-gmm" else {}
    kinds = daytwo.teacher.teacher_class(name).kinds
    for space in (SPACE, spaces.Box(-1.0, 3.0, (2,), dtype=np.float32)):
        if isinstance(space, kinds):
            daytwo.check_teacher(name, space, **options)


class Plain:
    """Keeps every rule; the classes below each break one."""

    def __init__(self, space, *, seed=0):
        self.space, self.generator, self.seen = space, np.random.default_rng(seed), 0

    def sample(self, n):
        return self.generator.integers(0, 6, n)

    def observe(self, outcomes):
        daytwo.teacher.check_tasks(outcomes.tasks, self.space)
        self.seen += len(outcomes)

    def state_dict(self):
        return {"version": 1, "generator": self.generator.bit_generator.state, "seen": self.seen}

    def load_state_dict(self, state):
        self.generator.bit_generator.state, self.seen = state["generator"], state["seen"]


class TooMany(Plain):
    def sample(self, n):
        return super().sample(n + 1)


class Floats(Plain):
    def sample(self, n):
        return super().sample(n).astype(float)


class Pedant(Plain):
    asked = 0

    def sample(self, n):
        self.asked += n
        return super().sample(n)

    def observe(self, outcomes):
        if len(outcomes) > self.asked:
            raise RuntimeError("nobody asked")
        super().observe(outcomes)


class LastWins(Plain):
    last = 0.0

    def observe(self, outcomes):
        super().observe(outcomes)
        self.last = float(outcomes.performance[-1])

    def sample(self, n):
        return np.minimum(super().sample(n) + (self.last > 0.5), 5)

    def state_dict(self):
        return {**super().state_dict(), "last": self.last}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.last = state["last"]


class Global(Plain):
    def sample(self, n):
        return np.random.randint(0, 6, n)  # noqa: NPY002


class Forgetful(Plain):
    def load_state_dict(self, state):
        self.seen = state["seen"]


class Objects(Plain):
    def state_dict(self):
        return {**super().state_dict(), "space": self.space}


class Narrow(Plain):
    def sample(self, n):
        return super().sample(n) % 3


class Credulous(Plain):
    def observe(self, outcomes):
        self.seen += len(outcomes)


class Maximum(Teacher):
    """The base class cannot know that a teacher counts rows of a batch one by one."""

    remembered = ("best",)
    best = 0.0

    def _sample(self, n):
        return self.generator.integers(0, 6, n)

    def _observe(self, averages):
        self.best = max(self.best, float(averages.performance.max()))


def test_teachers_that_keep_the_rules_pass():
    daytwo.check_teacher(Plain, SPACE)
    daytwo.check_teacher(Maximum, SPACE)


@pytest.mark.parametrize(
    ("teacher", "rules"),
    [
        (TooMany, {"tasks fit the space"}),
        (Floats, {"tasks fit the space"}),
        (Pedant, {"any order of calls"}),
        (LastWins, {"repeated tasks are averaged", "rows have no order"}),
        (Global, {"own randomness"}),
        (Forgetful, {"the state goes on"}),
        (Objects, {"the state goes on"}),
        (Narrow, {"every task keeps a floor"}),
        (Credulous, {"nonsense is refused"}),
    ],
)
def test_a_broken_rule_is_named(teacher, rules):
    with pytest.raises(TeacherError, match=f"The teacher {teacher.__name__} breaks") as caught:
        daytwo.check_teacher(teacher, SPACE)
    assert rules <= set(caught.value.broken) <= set(RULES)
    assert all(rule in str(caught.value) for rule in rules)


def test_staged_teachers_may_leave_tasks_out():
    class Staged(Narrow):
        staged = True

    daytwo.check_teacher(Staged, SPACE)


def test_checking_leaves_the_global_generator_alone():
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    daytwo.check_teacher("uniform", SPACE)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_outcomes_of_nothing_change_nothing():
    teacher = daytwo.make_teacher("learning-progress", SPACE)
    before = teacher.probabilities()
    teacher.observe(Outcomes(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)))
    np.testing.assert_array_equal(before, teacher.probabilities())
