"""Whatever is wrong is refused at once, naming what was received and what was expected, and changes nothing."""

import gymnasium
import numpy as np
import pytest

import daytwo
from tests.test_lifetime import state_of
from tests.toy import SCORE, Counting, Phases, Steering, assert_same, make_single, make_vector

# --- making --------------------------------------------------------------------------------------------------------

BAD_ARGUMENTS = [
    ({"course": "sideways"}, "Unknown course 'sideways': expected one of progressive, single"),
    ({"course": 3}, "Unknown course 3"),
    ({"course": "single", "level": 3}, r"level must be an integer in 0\.\.2, received 3"),
    ({"course": "single", "level": "top"}, "received 'top'"),
    ({"level": 1}, "goes with course='single' or 'switch', received course='progressive'"),
    ({"episodes": 0}, "at least 1, received 0"),
    ({"episodes": 2.5}, "received 2.5"),
    ({"course": "switch", "episodes": 1}, "at least 2 episodes, received 1"),
    ({"mastery": -1.0}, "received -1.0"),
    ({"reward": "progress"}, "Unknown reward rule 'progress': expected one of improvement, return"),
    ({"rate": 1.01}, r"in \[0, 1\], received 1.01"),
    ({"rate": float("nan")}, "received nan"),
    ({"rate": "fast"}, "received 'fast'"),
    ({"dense": "yes"}, "True or False, received 'yes'"),
    ({"split": "dev"}, "Unknown split 'dev': expected one of train, validation, test, all"),
    ({"observation": "tuple"}, "'flat' or 'dict', received 'tuple'"),
    ({"show": ("previous",)}, "unknown extra 'previous'; expected some of previous_action"),
    ({"show": "time"}, "sequence of names"),
    ({"task": "random"}, "'fixed' or 'redrawn', received 'random'"),
    ({"render_mode": "human"}, "received 'human'"),
    ({"arms": 3}, "Unknown setting 'arms' for Counting: it takes secrets"),
    ({"secrets": 0}, "received 0"),
    ({"privileged": "no"}, "privileged must be True or False, received 'no'"),
]


@pytest.mark.parametrize("make", [make_vector, make_single])
@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS, ids=lambda value: str(value)[:40])
def test_an_impossible_argument_is_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "4", None])
def test_num_envs_is_a_positive_integer(count):
    with pytest.raises(ValueError, match="num_envs must be an integer of at least 1, received"):
        make_vector(Counting, count)
    assert make_vector(Counting, np.int64(2)).num_envs == 2


@pytest.mark.parametrize("mode", ["NEXT_STEP", "never", 1, None])
def test_autoreset_modes_are_named(mode):
    with pytest.raises(
        ValueError, match=r"autoreset_mode must be one of \['NextStep', 'SameStep', 'Disabled'\], received"
    ):
        make_vector(autoreset_mode=mode)


@pytest.mark.parametrize(
    ("env_id", "settings", "message"),
    [
        ("daytwo/Bandit-v0", {"arm": 3}, "Unknown setting 'arm' for Bandit: it takes arms, pulls, kind"),
        ("daytwo/Bandit-v0", {"arms": 1}, r"2\.\.1000, received arms=1|2\.\.1000, received 1"),
        ("daytwo/Bandit-v1", {}, "Bandit"),
    ],
)
def test_gymnasiums_makers_pass_the_refusals_on(env_id, settings, message):
    for make in (gymnasium.make, lambda *a, **k: gymnasium.make_vec(*a, num_envs=2, **k)):
        with pytest.raises((ValueError, gymnasium.error.Error), match=message):
            make(env_id, **settings)


# --- resetting -----------------------------------------------------------------------------------------------------


def refuses_reset(env, message, error=ValueError, **arguments):
    before = state_of(env)
    with pytest.raises(error, match=message):
        env.reset(**arguments)
    assert_same(state_of(env), before)


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "0 or more, received -1"),
        (np.int64(-5), "0 or more, received -5"),
        (1.0, "integers; received 1.0"),
        ("7", "received '7'"),
        (True, "received True"),
        ([1, 2], r"Expected 3 seeds, one per lifetime, received shape \(2,\)"),
        ([1, 2, -3], "0 or more"),
        ([1, 2, None], "received"),
        ([1.0, 2.0, 3.0], "received"),
        (np.array([1, 2, -3]), "0 or more"),
        (np.array([1.0, 2.0, 3.0]), "received"),
        (np.array([[1, 2, 3]]), r"received shape \(1, 3\)"),
    ],
    ids=str,
)
def test_bad_seeds_are_refused(seed, message):
    env = make_vector(num_envs=3)
    env.reset(seed=0)
    refuses_reset(env, message, seed=seed)
    single = make_single()
    single.reset(seed=0)
    refuses_reset(single, ".", seed=seed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": 1}, "Unknown reset option 'mask': expected some of task, level, course, reset_mask"),
        ({"reset_mask": [True, False, True]}, r"bool array of shape \(3,\), received"),
        ({"reset_mask": np.array([1, 0, 1])}, r"bool array of shape \(3,\), received"),
        ({"reset_mask": np.array([True])}, r"bool array of shape \(3,\), received"),
        ({"reset_mask": np.zeros(3, dtype=bool)}, "at least one lifetime"),
        ({"level": 9}, r"0\.\.2, received 9"),
        ({"level": 0, "course": "single"}, "not both"),
        ({"task": [{"secret": 1}]}, "Expected 3 tasks, one per lifetime that is reset, received 1"),
        ({"task": {"goal": 1}}, "fields"),
    ],
    ids=str,
)
def test_bad_reset_options_are_refused(options, message):
    env = make_vector(num_envs=3)
    env.reset(seed=0)
    refuses_reset(env, message, options=options)
    refuses_reset(env, message, options=options, seed=5)


def test_the_first_reset_covers_every_lane():
    env = make_vector(num_envs=2)
    mask = np.array([True, False])
    refuses_reset(env, "must cover every lane", gymnasium.error.ResetNeeded, options={"reset_mask": mask})
    refuses_reset(env, "must cover every lane", gymnasium.error.ResetNeeded, options={"reset_mask": mask, "level": 1})
    assert_same(env.reset(seed=0), make_vector(num_envs=2).reset(seed=0))


def test_options_are_not_changed():
    options = {"reset_mask": np.array([True, True]), "level": 1, "task": None}
    make_vector(num_envs=2).reset(seed=0, options=options)
    assert list(options) == ["reset_mask", "level", "task"] and options["level"] == 1


# --- stepping ------------------------------------------------------------------------------------------------------

BAD_VECTOR_ACTIONS = [
    (np.array([0, 1]), r"shape \(3,\), received shape \(2,\)"),
    (np.array([[0], [1], [1]]), r"received shape \(3, 1\)"),
    (0, r"received shape \(\)"),
    (np.array([0.0, 1.0, 1.0]), "integer dtype, received float64"),
    (np.array([True, False, True]), "integer dtype, received bool"),
    (np.array(["0", "1", "1"]), "integer dtype, received <U1"),
    ([0, None, 1], "integer dtype, received object"),
    (np.array([0, 3, 1]), r"Action (np\.int64\()?3\)? in lane 1 is not in Discrete\(3\); nothing was done"),
    (np.array([0, 1, -1]), r"-1\)? in lane 2"),
    (np.array([2**63, 0, 0], dtype=np.uint64), r"0\.\.2, received 9223372036854775808"),
]


@pytest.mark.parametrize("family", [Counting, Phases])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize(("actions", "message"), BAD_VECTOR_ACTIONS, ids=str)
def test_bad_discrete_actions_are_refused_and_change_nothing(actions, message, mode, family):
    env, twin = (make_vector(family, 3, autoreset_mode=mode, episodes=1) for _ in range(2))
    shown = env.reset(seed=0)[0]
    twin.reset(seed=0)
    good = np.array([1, 0, 1])
    for _ in range(12):
        before, looked = state_of(env), shown.copy()
        with pytest.raises(ValueError, match=message):
            env.step(actions)
        assert_same(state_of(env), before)
        assert_same(shown, looked)
        mine = env.step(good)
        assert_same(mine, twin.step(good))
        shown = mine[0]


BAD_CONTINUOUS = [
    ([[0.0, 1.0]], "shape"),
    ([[0.0, 1.0, 0.5]] * 3, "shape"),
    ([[0.0, 1.5], [0, 0], [0, 0]], r"1\.5.*in lane 0 is not in Box"),
    ([[0.0, 1.0], [0, -1.0000001], [0, 0]], "in lane 1"),
    ([[0.0, 1.0], [0, 0], [float("nan"), 0]], "nan.*in lane 2"),
    ([[0.0, float("inf")], [0, 0], [0, 0]], "in lane 0"),
    (np.zeros((3, 2), dtype=complex), "float dtype, received complex128"),
    (np.zeros((3, 2), dtype=bool), "float dtype, received bool"),
    (np.full((3, 2), "a"), "float dtype, received <U1"),
]


@pytest.mark.parametrize(("actions", "message"), BAD_CONTINUOUS, ids=str)
def test_bad_continuous_actions_are_refused_and_change_nothing(actions, message):
    env, twin = make_vector(Steering, 3), make_vector(Steering, 3)
    env.reset(seed=0), twin.reset(seed=0)
    for _ in range(4):
        before = state_of(env)
        with pytest.raises(ValueError, match=message):
            env.step(actions)
        assert_same(state_of(env), before)
        good = np.array([[1, -1], [0, 0], [1, 1]])  # integers are numbers, too
        assert_same(env.step(good), twin.step(good.astype(np.float32)))


@pytest.mark.parametrize(
    ("family", "action", "message"),
    [
        (Counting, 3, r"3\)? is not in Discrete\(3\)"),
        (Counting, -1, "-1"),
        (Counting, 2**70, "1180591620717411303424"),
        (Counting, 1.0, r"integer action in Discrete\(3\), received 1\.0"),
        (Counting, None, "received None"),
        (Counting, "1", "received '1'"),
        (Counting, [1], r"received \[1\]"),
        (Counting, np.array([1]), r"received array\(\[1\]\)"),
        (Counting, float("nan"), "received nan"),
        (Steering, 0.5, r"2 numbers in \[-1, 1\], received 0\.5"),
        (Steering, [0.5], r"received \[0\.5\]"),
        (Steering, [0.5, 1.5], r"1\.5"),
        (Steering, [0.5, float("nan")], "nan"),
        (Steering, ["a", "b"], r"received \['a', 'b'\]"),
        (Steering, [[0.5, 0.5]], "received"),
        (Steering, None, "received None"),
    ],
    ids=str,
)
def test_bad_actions_of_one_lifetime_are_refused_and_change_nothing(family, action, message):
    env, twin = make_single(family), make_single(family)
    env.reset(seed=0), twin.reset(seed=0)
    good = SCORE if family is Counting else np.array([0.5, -0.5])
    for _ in range(3):
        before = state_of(env)
        with pytest.raises(ValueError, match=message):
            env.step(action)
        assert_same(state_of(env), before)
        assert_same(env.step(good), twin.step(good))


@pytest.mark.parametrize("compiled", [False, True])
def test_compiled_environments_refuse_bad_actions_too(compiled):
    env = make_vector(num_envs=2, compiled=compiled)
    env.reset(seed=0)
    before = state_of(env)
    for actions in (np.array([0, 3]), np.array([-1, 0]), np.array([2**62, 0])):
        with pytest.raises(ValueError, match=r"not in Discrete\(3\); nothing was done"):
            env.step(actions)
        assert_same(state_of(env), before)
    steering = make_vector(Steering, 2, compiled=compiled)
    steering.reset(seed=0)
    before = state_of(steering)
    for bad in (np.nan, np.inf, 1.0 + 1e-12):
        with pytest.raises(ValueError, match="not in Box"):
            steering.step(np.array([[0.0, 0.0], [0.0, bad]]))
        assert_same(state_of(steering), before)


@pytest.mark.parametrize("action", [np.int32(1), np.int64(1), np.uint8(1), np.array(1)])
def test_integers_of_any_kind_are_actions(action):
    env, twin = make_single(), make_single()
    env.reset(seed=0), twin.reset(seed=0)
    assert_same(env.step(action), twin.step(1))
    wide = make_vector(num_envs=2)
    wide.reset(seed=0)
    wide.step(np.array([1, 1], dtype=action.dtype))
    wide.step([1, 1])


def test_nothing_goes_before_the_first_reset():
    for env, action in ((make_single(privileged=True), 1), (make_vector(privileged=True), np.array([1]))):
        for ask in (
            lambda env=env, action=action: env.step(action),
            env.oracle_actions,
            env.tasks,
            env.scene,
            lambda env=env: env.random_actions(np.zeros((1, 4), dtype=np.uint64)),
        ):
            with pytest.raises(gymnasium.error.ResetNeeded, match=r"reset\(\)"):
                ask()


def test_a_lifetime_that_is_over_takes_no_step():
    env = make_single(course="single", level=0, episodes=1)
    env.reset(seed=0)
    env.step(SCORE)
    env.step(SCORE)
    before = state_of(env)
    for _ in range(2):
        with pytest.raises(gymnasium.error.ResetNeeded, match=r"is over: call reset\(\)"):
            env.step(SCORE)
    assert_same(state_of(env), before)
    env.reset()
    env.step(SCORE)


def test_a_family_without_oracle_says_so():
    blind = type("Blind", (Counting,), {"oracle": None})
    env = daytwo.LifetimeEnv(blind, privileged=True, compiled=False)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="Counting has no oracle"):
        env.oracle_actions()
