"""The two environments: what they return, what may be handed to them, and how their state is saved."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest

from daytwo.course import Course, Stage
from daytwo.family import settings_record, to_record_dtype
from daytwo.lifetime import LifetimeEnv
from daytwo.streams import agent_streams, lifetime_seeds
from tests.toy import (
    QUIT,
    SCORE,
    WAIT,
    Counting,
    Phases,
    Steering,
    assert_same,
    episodes_of,
    live,
    make_single,
    make_vector,
)

MODES = ("NextStep", "SameStep", "Disabled")


def run(env, steps, seed=7):
    """Random play of a vector environment from where it stands; everything returned."""
    random = np.random.default_rng(seed)
    return [env.step(random.integers(0, 3, env.num_envs)) for _ in range(steps)]


def state_of(env):
    """All that the environment is, for comparing before and after."""
    return pickle.loads(pickle.dumps(env.snapshot()))


# --- what comes back -----------------------------------------------------------------------------------------------


def test_shapes_and_dtypes_of_what_a_step_returns():
    env = make_vector(num_envs=5)
    observations, info = env.reset(seed=0)
    assert observations.dtype == np.float32 and observations.shape == (5, env.layout.size)
    assert info["action_mask"].dtype == np.bool_ and info["action_mask"].shape == (5, 3)
    for _ in range(30):
        observations, rewards, terminated, truncated, info = env.step(np.full(5, SCORE))
        assert observations.dtype == np.float32 and observations in env.observation_space
        assert rewards.dtype == np.float64 and rewards.shape == (5,)
        assert terminated.dtype == truncated.dtype == np.bool_ and not truncated.any()
        assert info["raw_reward"].dtype == np.float64
        for key in ("episode_return", "episode_normalized_return", "improvement", "bar"):
            assert (key in info) == ("_level" in info)
            assert key not in info or (info[key].dtype == np.float64 and info["_" + key].dtype == np.bool_)
        for key in ("level", "stage", "episode_index"):
            assert key not in info or info[key].dtype == np.int64


def test_masked_info_is_zero_where_no_episode_ended():
    env = make_vector(num_envs=3, course="single", level=2)
    env.reset(seed=0)
    *_, info = env.step(np.array([WAIT, QUIT, SCORE]))
    assert info["_bar"].tolist() == [False, True, False]
    assert info["episode_return"].tolist() == [0.0, 0.5, 0.0] and info["level"].tolist() == [0, 2, 0]
    *_, info = env.step(np.array([WAIT, WAIT, SCORE]))
    assert not set(info) - {"raw_reward", "_raw_reward", "action_mask", "_action_mask"}


def test_an_episode_ends_at_its_horizon_or_by_the_family():
    ends = episodes_of(live(make_single(course="single", level=2, episodes=3), (SCORE,), seed=0))
    assert [end["episode_return"] for end in ends] == [4.0] * 3
    steps = live(make_single(course="single", level=2, episodes=3), (SCORE, QUIT), seed=0)
    assert len(steps) == 1 + 6 and [end["episode_return"] for end in episodes_of(steps)] == [1.5] * 3


def test_the_action_mask_is_that_of_the_level_and_phase():
    masks = [info["action_mask"].tolist() for *_, info in live(make_single(episodes=1), (SCORE,), seed=0)]
    assert masks == [[True, True, False]] * 2 + [[True] * 3] * 8
    phases = make_single(Phases, course="single", level=2, episodes=1)
    masks = [info["action_mask"].tolist() for *_, info in live(phases, (WAIT, SCORE, WAIT, SCORE), seed=0)]
    even, odd = [True, False, True], [False, True, False]
    assert masks == [even, odd, even, odd, even]
    assert [[True, False, False]] == [
        live(make_single(Phases, course="single", level=0), (WAIT,))[0][3]["action_mask"].tolist()
    ]


def test_random_actions_are_uniform_over_those_offered():
    env = make_vector(num_envs=6000, compiled=True)
    env.reset(seed=lifetime_seeds(0, 0, 6000))
    counts = np.bincount(env.random_actions(agent_streams(lifetime_seeds(0, 0, 6000))), minlength=3)
    assert counts[2] == 0 and abs(counts[0] - 3000) < 4.5 * np.sqrt(1500)
    steering = make_vector(Steering, num_envs=2)
    steering.reset(seed=0)
    vectors = steering.random_actions(agent_streams(np.arange(2, dtype=np.uint64)))
    assert vectors.shape == (2, 2) and (np.abs(vectors) <= 1).all()


def test_the_oracle_is_asked_in_the_present_state():
    env = make_vector(Steering, num_envs=4, privileged=True, reward="raw")
    _, info = env.reset(seed=0)
    actions = env.oracle_actions()
    assert actions.tolist() == np.sign(info["task"]["aim"]).tolist()
    assert env.step(actions)[1].tolist() == pytest.approx(np.abs(info["task"]["aim"]).sum(axis=1))
    counting = make_vector(privileged=True, num_envs=2)
    counting.reset(seed=0)
    assert counting.oracle_actions().tolist() == [SCORE, SCORE] and counting.oracle_actions().dtype == np.int64


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("observation", ["flat", "dict"])
def test_what_was_returned_never_changes_and_changing_it_changes_nothing(mode, observation):
    """Held and not held, scribbled over and not: the same lifetimes."""
    arguments = {"num_envs": 3, "autoreset_mode": mode, "observation": observation, "privileged": True}

    def numbers(value):
        if isinstance(value, dict):
            for one in value.values():
                yield from numbers(one)
        elif isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.dtype == object):
            for one in value:
                yield from numbers(one)
        elif isinstance(value, np.ndarray):
            yield value

    plain, held, scribbled = (make_vector(**arguments) for _ in range(3))
    kept = []
    random = np.random.default_rng(0)
    expected = plain.reset(seed=4)
    returned = held.reset(seed=4)
    drawn_over = scribbled.reset(seed=4)
    for number in range(60):
        assert_same(expected, returned)
        assert_same(expected, drawn_over)
        kept.append((returned, copy.deepcopy(returned)))
        for array in numbers(drawn_over):
            array.view(np.uint8)[...] = 1
        if mode == "Disabled" and number % 25 == 24:
            options = {"reset_mask": np.array([True, False, True])}
            expected, returned, drawn_over = (env.reset(options=dict(options)) for env in (plain, held, scribbled))
            continue
        actions = random.integers(0, 3, 3)
        expected, returned, drawn_over = (env.step(actions.copy()) for env in (plain, held, scribbled))
    for returned, as_it_was in kept:
        assert_same(returned, as_it_was)


def test_views_of_observations_are_safe_to_keep():
    env = make_vector(num_envs=4)
    observations, _ = env.reset(seed=0)
    views = [(observations[:, 1:3], observations[:, 1:3].copy())]
    del observations
    for _ in range(20):
        observations = env.step(np.full(4, SCORE))[0]
        views.append((observations[1:].T, observations[1:].T.copy()))
        del observations
    assert all((view == copied).all() for view, copied in views)


# --- tasks, levels and courses handed over -------------------------------------------------------------------------


def secret(env, observations):
    return observations[..., env.layout["secret"]].ravel().tolist()


def test_a_task_handed_over_lasts_one_lifetime():
    env = make_single(course="single")
    plain = [live(make_single(course="single"), (SCORE,), seed=3)]
    steps = live(env, (SCORE,), seed=3, options={"task": {"secret": 123456}})
    assert {secret(env, step[0])[0] for step in steps} == {123456.0}
    assert_same([step[1] for step in steps], [step[1] for step in plain[0]])
    again = live(env, (SCORE,))
    assert secret(env, again[0][0])[0] != 123456.0


def test_a_task_handed_over_changes_nothing_else():
    given, plain = make_single(secrets=10**6), make_single(secrets=10**6)
    a = live(given, (SCORE,), seed=3, options={"task": {"secret": 5}})
    b = live(plain, (SCORE,), seed=3)
    hidden = given.layout["secret"]
    for one, other in zip(a, b, strict=True):
        one[0][hidden] = other[0][hidden] = 0
        assert_same(one, other)
    assert_same(live(given, (SCORE,)), live(plain, (SCORE,)))


@pytest.mark.parametrize("form", ["dict", "row", "record", "array", "entry"])
def test_a_task_may_be_handed_over_in_any_form(form):
    env = make_single(privileged=True)
    row = env.family.task_from_dict({"secret": 77})
    record = row.view(np.recarray)[0]
    task = {"dict": {"secret": 77}, "row": row[0], "record": record, "array": row.reshape(()), "entry": row}[form]
    _, info = env.reset(seed=0, options={"task": task})
    assert info["task"] == {"secret": 77}
    if form in ("row", "record"):
        env.set_tasks(np.array([True]), [task])
        assert env.reset()[1]["task"] == {"secret": 77}


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_tasks_are_taken_up_at_the_next_reset_of_their_lane_alone(mode):
    env = make_vector(num_envs=3, course="isolated", episodes=1, secrets=10**6, autoreset_mode=mode)
    twin = make_vector(num_envs=3, course="isolated", episodes=1, secrets=10**6, autoreset_mode=mode)
    actions = np.full(3, SCORE)
    env.reset(seed=0), twin.reset(seed=0)
    env.step(actions), twin.step(actions)
    env.set_tasks(np.array([False, True, False]), [{"task": {"secret": 31}}])
    lifetime = 2 + 3 + 4
    for number in range(1, lifetime):
        mine, other = env.step(actions), twin.step(actions)
        if number < lifetime - 1 or mode == "NextStep":
            assert_same(mine, other)  # new tasks come at each stage of an isolated course, but not the one handed over
    if mode == "NextStep":
        mine, other = env.step(actions), twin.step(actions)
    assert secret(env, mine[0])[1] == 31.0
    assert secret(env, mine[0])[::2] == secret(env, other[0])[::2]
    assert secret(env, env.step(actions)[0])[1] == 31.0
    assert secret(env, env.step(actions)[0])[1] != 31.0, "the next stage"


@pytest.mark.parametrize("changes", [{"course": "isolated"}, {"course": "switch"}, {"task": "redrawn"}])
def test_a_task_handed_over_waits_for_the_next_lifetime(changes):
    env, plain = make_single(**changes), make_single(**changes)
    env.reset(seed=0), plain.reset(seed=0)
    env.set_tasks(np.array([True]), [{"task": {"secret": 999_999}}])
    terminated = False
    while not terminated:
        mine, other = env.step(SCORE), plain.step(SCORE)
        assert_same(mine, other)
        terminated = mine[2]
    assert secret(env, env.reset()[0]) == [999_999.0]


def test_levels_and_courses_handed_over_last_one_lifetime():
    env = make_vector(num_envs=2, episodes=2, autoreset_mode="Disabled", show=("stage_length", "level"))
    env.set_tasks(np.array([True, False]), [{"level": 1}])

    def levels():
        lived = [[], []]
        terminated = np.zeros(2, dtype=bool)
        while not terminated.all():
            *_, terminated, _, info = env.step(np.array([SCORE, SCORE]))
            for lane in np.flatnonzero(info.get("_level", [])):
                lived[lane].append(int(info["level"][lane]))
        return lived

    usual = [0, 0, 1, 1, 2, 2]
    env.reset(seed=0)
    assert levels() == [[1, 1], usual]
    env.reset()
    assert levels() == [usual, usual]
    env.set_tasks(np.array([True, True]), [{"course": "reversed"}, {"course": Course([Stage(2, 1), Stage(0, 2)])}])
    env.reset()
    assert levels() == [[2, 2, 1, 1, 0, 0], [2, 0, 0]]
    env.reset()
    assert levels() == [usual, usual]
    env.reset(options={"level": 2, "reset_mask": np.array([False, True])})
    env.reset(options={"reset_mask": np.array([True, False])})
    assert levels() == [usual, [2, 2]]


def test_a_longer_course_handed_over_mid_life_disturbs_nobody():
    env, twin = (make_vector(num_envs=2, course="single", episodes=2) for _ in range(2))
    env.reset(seed=0), twin.reset(seed=0)
    env.step(np.array([1, 0])), twin.step(np.array([1, 0]))
    env.set_tasks(np.array([True, False]), [{"course": Course([Stage(k % 3, 1) for k in range(9)])}])
    for _ in range(7):
        assert_same(env.step(np.array([1, 1])), twin.step(np.array([1, 1])))


def test_rows_of_the_teacher_space_are_levels():
    env = make_vector(num_envs=3, episodes=1)
    env.set_tasks(np.array([True, True, True]), np.array([2, 0, 1]))
    observations, _ = env.reset(seed=0)
    assert observations[:, env.layout["level"]].argmax(axis=1).tolist() == [2, 0, 1]
    env.set_tasks(np.array([False, True, False]), [np.int64(1)])
    observations, _ = env.reset(seed=0)
    assert observations[:, env.layout["level"]].argmax(axis=1).tolist() == [0, 1, 0]
    env.set_tasks(np.array([True, False, False]), [{"level": np.int64(2)}])
    assert env.reset()[0][0, env.layout["level"]].tolist() == [0.0, 0.0, 1.0]


def test_many_tasks_may_come_as_one_array():
    env = make_vector(num_envs=3, privileged=True)
    rows = np.concatenate([env.family.task_from_dict({"secret": k}) for k in (4, 5, 6)])
    for tasks in (rows, list(rows), [{"secret": k} for k in (4, 5, 6)]):
        assert env.reset(seed=0, options={"task": tasks})[1]["task"]["secret"].tolist() == [4, 5, 6]
    env.set_tasks(np.ones(3, dtype=bool), rows)
    assert env.reset()[1]["task"]["secret"].tolist() == [4, 5, 6]
    masked = {"task": rows[:1], "reset_mask": np.array([False, False, True])}
    assert env.reset(options=masked)[1]["task"]["secret"].tolist() == [4, 5, 4]


BAD_ENTRIES = [
    ({"task": {"secrets": 1}}, r"has the fields \['secret'\], received \['secrets'\]"),
    ({"task": {"secret": 1.5}}, "whole numbers, received 1.5"),
    ({"task": {"secret": float("nan")}}, "finite, received nan"),
    ({"task": {"secret": [1, 2]}}, r"shape \(\), received \[1, 2\]"),
    ({"task": 5}, "received int"),
    ({"level": 3}, r"in 0\.\.2, received 3"),
    ({"level": 1.0}, r"received 1\.0"),
    ({"level": None}, r"received \[\]"),
    ({"course": "sideways"}, "Unknown course 'sideways'"),
    ({"course": Course([Stage(3, 1)])}, r"levels 0\.\.2; the course asks for 3"),
    ({"course": Course([Stage(0, 1)] * 17)}, "at most 16 stages here, received 17"),
    ({"level": 1, "course": "single"}, "not both"),
    ({"goal": 3}, r"keys task, level, course; received \['goal'\]"),
    ({}, r"received \[\]"),
    (3, "3 is no row of the teacher space"),
    ("hard", "'hard' is no row of the teacher space"),
]


@pytest.mark.parametrize(("entry", "message"), BAD_ENTRIES)
def test_a_bad_entry_changes_nothing(entry, message):
    env = make_vector(num_envs=2)
    env.reset(seed=0)
    before = state_of(env)
    with pytest.raises(ValueError, match=message):
        env.set_tasks(np.array([True, True]), [{"task": {"secret": 1}}, entry])
    assert_same(state_of(env), before)
    if isinstance(entry, dict) and entry and None not in entry.values():
        with pytest.raises(ValueError):
            env.reset(seed=1, options=entry)
        assert_same(state_of(env), before)


@pytest.mark.parametrize(
    ("mask", "tasks", "message"),
    [
        ([True, False], [0], r"received \w+\[2\]"),
        (np.array([1, 0]), [0], r"mask must be bool\[2\], received int64\[2\]"),
        (np.array([True]), [0], r"mask must be bool\[2\], received bool\[1\]"),
        (np.array([True, True]), [0], "each of the 2 chosen lifetimes, received 1"),
        (np.array([True, False]), {"level": 0}, "received one dict"),
    ],
)
def test_a_bad_mask_or_number_of_tasks_is_refused(mask, tasks, message):
    env = make_vector(num_envs=2)
    if isinstance(mask, list):
        env.set_tasks(mask, tasks)  # a list of bools is as good as an array of them
        return
    with pytest.raises(ValueError, match=message):
        env.set_tasks(mask, tasks)


def test_a_stage_longer_than_the_observation_declares_is_refused():
    env = make_vector(show=("episode",), episodes=2)
    with pytest.raises(ValueError, match="stages of at most 2 episodes, received 3"):
        env.reset(options={"course": Course([Stage(0, 3)])})


# --- saving and bringing back --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("at", [0, 5, 9, 10, 14])
def test_a_snapshot_continues_identically(mode, at):
    env, other = (make_vector(num_envs=3, autoreset_mode=mode, episodes=1) for _ in range(2))
    env.reset(seed=2)
    if at:
        env.set_tasks(np.array([False, True, True]), [{"task": {"secret": 8}}, {"course": "review"}])
    run(env, at)
    saved = pickle.loads(pickle.dumps(env.snapshot()))
    expected = run(env, 30, seed=1)
    env.restore(saved)
    assert_same(run(env, 30, seed=1), expected)
    other.restore(saved)
    assert_same(run(other, 30, seed=1), expected)
    assert_same(other.reset(), env.reset())


@pytest.mark.parametrize(
    "how", [lambda env: pickle.loads(pickle.dumps(env)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
@pytest.mark.parametrize("mode", MODES)
def test_a_copied_vector_environment_continues_identically_and_by_itself(how, mode):
    env = make_vector(num_envs=3, autoreset_mode=mode, episodes=1, observation="flat")
    env.reset(seed=2)
    run(env, 9)
    twin = how(env)
    saved = state_of(env)
    expected = run(twin, 20, seed=1)
    assert_same(state_of(env), saved)
    assert_same(run(env, 20, seed=1), expected)
    assert_same(twin.reset(), env.reset())
    assert_same(twin.reset(seed=5), env.reset(seed=5))


@pytest.mark.parametrize(
    "how", [lambda env: pickle.loads(pickle.dumps(env)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_a_copied_single_environment_continues_identically(how):
    env = make_single(Steering)
    env.reset(seed=2)
    env.step(np.array([0.5, 0.5]))
    twin = how(env)
    for _ in range(8):
        action = np.array([0.1, -1.0])
        assert_same(env.step(action), twin.step(action))
    with pytest.raises(gymnasium.error.ResetNeeded):
        twin.step(action)
    assert_same(env.reset(), twin.reset())


def test_a_copied_compiled_environment_continues_identically():
    env = LifetimeEnv(Counting)
    env.reset(seed=0)
    env.step(SCORE)
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(10):
        assert_same(env.step(SCORE), twin.step(SCORE))


def test_a_single_environment_knows_after_restoring_whether_its_lifetime_is_over():
    env = make_single(course="single", level=0, episodes=1)
    env.reset(seed=0)
    env.step(SCORE)
    saved = env.snapshot()
    assert env.step(SCORE)[2]
    over = env.snapshot()
    env.restore(saved)
    assert env.step(SCORE)[2]
    env.reset()
    env.restore(over)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(SCORE)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_envs": 2},
        {"secrets": 50},
        {"show": ("level",)},
        {"autoreset_mode": "SameStep"},
        {"rate": 0.5},
        {"dense": False},
        {"split": "test"},
        {"task": "redrawn"},
        {"course": "reversed"},
        {"episodes": 5},
    ],
)
def test_a_snapshot_of_other_arguments_is_refused_and_changes_nothing(changes):
    env, other = make_vector(num_envs=3), make_vector(**{"num_envs": 3, **changes})
    env.reset(seed=0), other.reset(seed=1)
    before = state_of(other)
    with pytest.raises(ValueError, match="snapshot"):
        other.restore(env.snapshot())
    assert_same(state_of(other), before)
    with pytest.raises(ValueError, match="Expected a dict from snapshot"):
        other.restore([1])


def test_the_spec_is_all_data_and_can_be_sent_to_another_process():
    env = make_vector(num_envs=2)
    spec = pickle.loads(pickle.dumps(env.lifetime_spec))
    assert spec.env_id == "daytwo/Counting-v0" and spec.course == env.course and spec.levels == env.family.levels
    observations, info = env.reset(seed=0)
    assert spec.observed_mask(observations).tolist() == info["action_mask"].tolist()


# --- scenes --------------------------------------------------------------------------------------------------------


def test_a_scene_tells_where_the_lifetime_stands():
    env = make_single(course="single", level=2, rate=1.0)
    env.reset(seed=0)
    scene = env.scene()
    assert (scene.level, scene.time, scene.episode, scene.total, scene.bar, scene.action) == (2, 0, 0, 0.0, 0.0, None)
    env.step(SCORE)
    assert env.scene().action == SCORE and env.scene().total == env.scene().reward == 1.0 and env.scene().time == 1
    env.step(QUIT)
    assert env.scene().action is None and env.scene().episode == 1 and env.scene().bar == pytest.approx(0.5 / 3)


def test_a_refused_action_does_not_reach_the_scene():
    env = make_single(course="single", level=2)
    env.reset(seed=0)
    env.step(WAIT)
    with pytest.raises(ValueError):
        env.step(17)
    assert env.scene().action == WAIT


def test_rendering_needs_a_mode_and_gives_one_picture_a_lane():
    env = make_vector(num_envs=2, render_mode="ansi")
    env.reset(seed=0)
    assert len(env.render()) == 2 and "Counting" in env.render()[0]
    single = make_single(render_mode="rgb_array")
    single.reset(seed=0)
    assert single.render().dtype == np.uint8 and single.render().ndim == 3
    silent = make_single()
    silent.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert silent.render() is None


# --- records -------------------------------------------------------------------------------------------------------


def test_settings_become_one_read_only_record():
    record = settings_record({"side": 3, "chances": (0.5, 1.0), "on": True})
    assert record.side[0] == 3 and record["chances"][0].tolist() == [0.5, 1.0] and record["on"][0] == 1
    with pytest.raises(ValueError):
        record["on"][0] = 0


@pytest.mark.parametrize("fields", [[], [("mean", "f8")], [("shape", "i8")]])
def test_records_refuse_names_that_arrays_use(fields):
    with pytest.raises(ValueError, match=r"received|may not be called"):
        to_record_dtype(fields)
