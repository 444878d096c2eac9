"""Gymnasium's own checker, makers, wrappers and vector environments take these environments as they are."""

import copy
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics, TimeAwareObservation
from gymnasium.wrappers import vector as vector_wrappers

import daytwo
from daytwo.course import course_names
from tests.toy import SCORE, Counting, Steering, assert_same, make_single, make_vector

BANDIT = "daytwo/Bandit-v0"
SHORT = {"episodes": 1, "course": "single", "level": 1}  # a lifetime of one episode of 20 pulls


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- the checker ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("course", course_names())
@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_the_checker_finds_nothing_in_any_course(env_id, course):
    env = gymnasium.make(env_id, course=course)
    check_env(env.unwrapped, skip_render_check=course != "progressive")
    check_env(gymnasium.make(env_id, course=course, observation="dict").unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_the_checker_finds_nothing_in_what_make_returns(env_id):
    env = gymnasium.make(env_id)
    assert env is env.unwrapped, "the environment checks its inputs itself, so make wraps nothing around it"
    check_env(env)


@pytest.mark.parametrize("family", [Counting, Steering])
def test_the_checker_finds_nothing_in_toys(family):
    for arguments in ({}, {"observation": "dict"}, {"privileged": True}, {"reward": "best", "dense": False}):
        env = make_single(family, **arguments)
        env.spec = gymnasium.envs.registration.EnvSpec(
            "toy/Toy-v0", entry_point=lambda render_mode=None: make_single(family, render_mode=render_mode)
        )
        check_env(env)


def test_gymnasiums_own_wrappers_around_a_step_find_nothing():
    env = gymnasium.make(BANDIT, disable_env_checker=False, **SHORT)
    env.reset(seed=0)
    for _ in range(20):
        *_, terminated, truncated, _ = env.step(1)
    assert terminated and not truncated


# --- makers and specs ----------------------------------------------------------------------------------------------


def test_make_takes_the_module_with_the_id():
    env = gymnasium.make("daytwo:" + BANDIT, arms=5, pulls=3, render_mode="ansi")
    assert isinstance(env.unwrapped, daytwo.LifetimeEnv) and env.unwrapped.family.keywords["arms"] == 5
    env.reset(seed=0)
    assert isinstance(env.render(), str)


def test_an_environment_is_made_again_from_its_spec():
    course = daytwo.Course([daytwo.Stage(1, 2), daytwo.Stage(0, 1)])
    env = gymnasium.make(BANDIT, course=course, pulls=3, rate=0.5, show=("level", "time"))
    spec = pickle.loads(pickle.dumps(env.spec))
    again = gymnasium.make(spec)
    assert again.unwrapped.course == course and again.observation_space == env.observation_space
    assert_same(env.reset(seed=3), again.reset(seed=3))
    for _ in range(9):
        assert_same(env.step(1), again.step(1))


def test_make_vec_is_native():
    env = gymnasium.make_vec(BANDIT, num_envs=3, pulls=3, privileged=True)
    assert isinstance(env.unwrapped, daytwo.LifetimeVectorEnv) and env.num_envs == 3
    assert env.spec.id == BANDIT and env.unwrapped.oracle_actions is not None
    again = gymnasium.make_vec(pickle.loads(pickle.dumps(env.spec)), num_envs=3)
    assert_same(env.reset(seed=1), again.reset(seed=1))
    named = gymnasium.make_vec(BANDIT, num_envs=2, vectorization_mode="vector_entry_point", autoreset_mode="SameStep")
    assert named.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_the_native_vector_environment_equals_gymnasiums_over_singles(mode):
    native = make_vector(num_envs=3, episodes=1, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: make_single(episodes=1)] * 3, autoreset_mode=mode)
    assert native.single_observation_space == theirs.single_observation_space
    assert native.observation_space == theirs.observation_space
    assert native.single_action_space == theirs.single_action_space and native.action_space == theirs.action_space
    observations = [env.reset(seed=4)[0] for env in (native, theirs)]
    random = np.random.default_rng(0)
    finished = 0
    for _ in range(60):
        assert_same(*observations)
        actions = random.integers(0, 3, 3)
        mine, other = native.step(actions), theirs.step(actions)
        observations = [mine[0], other[0]]
        for one, two in zip(mine[1:4], other[1:4], strict=True):
            assert one.tolist() == two.tolist()
        finished += int(mine[2].sum())
        infos = [mine[4], other[4]]
        if mode is AutoresetMode.SAME_STEP and mine[2].any():
            assert mine[4]["_final_obs"].tolist() == other[4]["_final_obs"].tolist() == mine[2].tolist()
            assert_same(mine[4]["final_obs"], other[4]["final_obs"])
            infos = [mine[4]["final_info"], other[4]["final_info"]]
        over = mine[2] if infos[0] is not mine[4] else slice(None)
        for key in ("episode_return", "bar", "improvement", "level", "stage", "episode_index"):
            masks = [np.asarray(info.get("_" + key, np.zeros(3, dtype=bool)))[over].tolist() for info in infos]
            assert masks[0] == masks[1]
            if any(masks[0]):
                where = infos[0]["_" + key]
                assert infos[0][key][where].tolist() == np.asarray(infos[1][key])[where].tolist()
    assert finished > 10


def test_gymnasiums_vector_environments_take_ids():
    makers = [lambda: gymnasium.make("daytwo:" + BANDIT, **SHORT)] * 2
    native = gymnasium.make_vec(BANDIT, num_envs=2, **SHORT)
    sync, parallel = SyncVectorEnv(makers), AsyncVectorEnv(makers)
    try:
        envs = [native, sync, parallel]
        firsts = [env.reset(seed=0)[0] for env in envs]
        for _ in range(45):
            assert_same(firsts[0], firsts[1])
            assert_same(firsts[0], firsts[2])
            steps = [env.step(np.array([0, 1])) for env in envs]
            firsts = [copy.deepcopy(step[0]) for step in steps]
            assert steps[0][1].tolist() == steps[1][1].tolist() == steps[2][1].tolist()
            assert steps[0][2].tolist() == steps[1][2].tolist() == steps[2][2].tolist()
    finally:
        parallel.close()


# --- wrappers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_vector_episode_statistics_count_lifetimes(mode):
    env = vector_wrappers.RecordEpisodeStatistics(make_vector(num_envs=3, episodes=1, autoreset_mode=mode))
    env.reset(seed=0)
    rewards = np.zeros(3)
    seen = 0
    for number in range(40):
        actions = np.array([SCORE, 0, SCORE])
        _, reward, terminated, _, info = env.step(actions)
        rewards += reward
        if terminated.any():
            seen += 1
            assert terminated.all() and info["episode"]["l"].tolist() == [9, 9, 9]
            assert info["episode"]["r"].tolist() == pytest.approx(rewards.tolist())
            assert "episode_return" in info, "an inner episode's, beside the wrapper's own"
            rewards[:] = 0.0
        else:
            assert "episode" not in info, number
    assert seen == 4 and set(env.length_queue) == {9}


def test_vector_reward_normalisation_discounts_over_lifetimes():
    for mode in ("NextStep", "SameStep"):
        env = vector_wrappers.NormalizeReward(make_vector(num_envs=3, autoreset_mode=mode))
        env.reset(seed=0)
        rewards = [env.step(np.array([0, 1, 1]))[1] for _ in range(30)]
        assert np.isfinite(rewards).all() and env.return_rms.count > 80


def test_vector_observation_normalisation_runs_over_flat_observations():
    env = vector_wrappers.NormalizeObservation(make_vector(num_envs=3))
    observations, _ = env.reset(seed=0)
    for _ in range(30):
        assert observations.dtype == np.float32 and observations in env.observation_space
        observations = env.step(np.array([0, 1, 1]))[0]


def test_vector_observations_may_be_flattened_and_listed():
    env = vector_wrappers.FlattenObservation(make_vector(num_envs=3, observation="dict"))
    observations, _ = env.reset(seed=0)
    assert observations.shape == (3, env.unwrapped.layout.size)
    listed = vector_wrappers.DictInfoToList(make_vector(num_envs=3, episodes=1))
    listed.reset(seed=0)
    infos = [listed.step(np.array([0, 1, 1]))[-1] for _ in range(2)]
    assert "bar" not in infos[0][0] and infos[1][2]["episode_return"] == 2.0 and infos[1][2]["level"] == 0


def test_single_wrappers_take_a_lifetime_as_an_episode():
    env = RecordEpisodeStatistics(TimeAwareObservation(make_single_with_limit(9)))
    observation, _ = env.reset(seed=0)
    total, steps, terminated = 0.0, 0, False
    while not terminated:
        assert env.observation_space.contains(observation)
        observation, reward, terminated, truncated, info = env.step(SCORE)
        total, steps = total + reward, steps + 1
        assert not truncated
    assert info["episode"]["l"] == steps == 9 and info["episode"]["r"] == pytest.approx(total)


def make_single_with_limit(limit):
    """TimeAwareObservation reads the limit off the spec."""
    env = make_single(episodes=1)
    env.spec = gymnasium.envs.registration.EnvSpec("toy/Toy-v0", max_episode_steps=limit)
    return env


def test_dict_observations_flatten_to_all_of_their_parts():
    named, flat = make_single(observation="dict"), make_single()
    env = FlattenObservation(named)
    observation, _ = env.reset(seed=0)
    expected, _ = flat.reset(seed=0)
    assert observation.shape == expected.shape and sorted(observation.tolist()) == sorted(expected.tolist())


def test_a_time_limit_truncates_a_lifetime():
    env = gymnasium.make(BANDIT, max_episode_steps=7)
    env.reset(seed=0)
    steps = [env.step(0) for _ in range(7)]
    assert [step[3] for step in steps] == [False] * 6 + [True] and not any(step[2] for step in steps)


def test_spaces_are_those_of_gymnasium():
    env, wide = make_single(Steering), make_vector(Steering, 4)
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    assert wide.single_action_space == env.action_space and wide.action_space.shape == (4, 2)
    wide.reset(seed=0)
    wide.action_space.seed(0)
    for _ in range(10):
        wide.step(wide.action_space.sample())
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close(), env.close(), wide.close(), wide.close()


def test_each_environment_has_its_own_action_space():
    """Sampling from one environment's space must not move another's, nor that of its twin."""
    one, other = make_single(), make_single()
    one.action_space.seed(0), other.action_space.seed(0)
    drawn = [int(one.action_space.sample()) for _ in range(20)]
    assert [int(other.action_space.sample()) for _ in range(20)] == drawn
    family = Counting()
    shared = [daytwo.LifetimeEnv(family, compiled=False) for _ in range(2)]
    for env in shared:
        env.action_space.seed(0)
    assert [int(shared[0].action_space.sample()) for _ in range(20)] == drawn
    assert [int(shared[1].action_space.sample()) for _ in range(20)] == drawn
