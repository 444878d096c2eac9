"""Every autoreset mode equals single environments driven by hand, lane by lane and bit for bit."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from tests.toy import SCORE, Counting, Phases, Steering, assert_same, make_single, make_vector

LANES = 5
FAMILIES = (Counting, Steering)
EPISODE_KEYS = (
    "episode_return",
    "episode_normalized_return",
    "improvement",
    "bar",
    "level",
    "stage",
    "episode_index",
)


def actions_of(family, steps, seed=0):
    random = np.random.default_rng(seed)
    if family is Steering:
        return random.uniform(-1, 1, (steps, LANES, 2))
    # Lanes differ in how long their lifetimes last: lane 0 never quits, the last one often.
    chance = np.linspace(0.0, 0.8, LANES)
    quits = random.uniform(size=(steps, LANES)) < chance
    return np.where(quits, 2, random.integers(0, 2, (steps, LANES)))


def row_of(observations, lane):
    return {k: v[lane] for k, v in observations.items()} if isinstance(observations, dict) else observations[lane]


def check_lane(step, lane, observation, reward, terminated, info, ended_by=None):
    """Hold lane ``lane`` of a vector step to what a single environment returned."""
    observations, rewards, terminations, truncations, infos = step
    assert_same(row_of(observations, lane), observation)
    assert rewards[lane] == reward and terminations[lane] == terminated and not truncations[lane]
    check_info(infos, lane, info if ended_by is None else ended_by)
    if "action_mask" in info:
        assert infos["_action_mask"][lane]
        assert infos["action_mask"][lane].tolist() == info["action_mask"].tolist()


def check_info(infos, lane, info):
    for key in EPISODE_KEYS:
        present = bool(infos["_" + key][lane]) if key in infos else False
        assert present == (key in info)
        if present:
            assert infos[key][lane] == info[key]
        elif key in infos:
            assert infos[key][lane] == 0
    assert infos["raw_reward"][lane] == info["raw_reward"] and infos["_raw_reward"][lane]


@pytest.mark.parametrize("observation", ["flat", "dict"])
@pytest.mark.parametrize("family", FAMILIES)
def test_next_step_equals_single_environments_by_hand(family, observation):
    arguments = {"episodes": 1, "observation": observation}
    env = make_vector(family, LANES, **arguments)
    singles = [make_single(family, **arguments) for _ in range(LANES)]
    observations, _ = env.reset(seed=10)
    for lane, single in enumerate(singles):
        assert_same(row_of(observations, lane), single.reset(seed=10 + lane)[0])
    over = [False] * LANES
    dummies = finished = 0
    for actions in actions_of(family, 60):
        step = env.step(actions)
        for lane, single in enumerate(singles):
            if over[lane]:
                first, info = single.reset()
                _, rewards, terminations, _, infos = step
                assert_same(row_of(step[0], lane), first)
                assert rewards[lane] == 0.0 and not terminations[lane]
                assert infos["raw_reward"][lane] == 0.0 and not infos["_raw_reward"][lane]
                assert not any(infos["_" + key][lane] for key in EPISODE_KEYS if key in infos)
                over[lane] = False
                dummies += 1
            else:
                observation, reward, terminated, _, info = single.step(actions[lane])
                check_lane(step, lane, observation, reward, terminated, info)
                over[lane] = terminated
                finished += terminated
        assert "final_obs" not in step[4] and "final_info" not in step[4]
    assert dummies >= 10 and finished >= dummies


@pytest.mark.parametrize("observation", ["flat", "dict"])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_step_equals_single_environments_by_hand(family, observation):
    arguments = {"episodes": 1, "observation": observation}
    env = make_vector(family, LANES, autoreset_mode="SameStep", **arguments)
    singles = [make_single(family, **arguments) for _ in range(LANES)]
    observations, _ = env.reset(seed=10)
    for lane, single in enumerate(singles):
        assert_same(row_of(observations, lane), single.reset(seed=10 + lane)[0])
    finished = 0
    for actions in actions_of(family, 60):
        step = env.step(actions)
        infos = step[4]
        any_over = False
        for lane, single in enumerate(singles):
            observation, reward, terminated, _, info = single.step(actions[lane])
            if terminated:
                any_over = True
                finished += 1
                first, first_info = single.reset()
                check_lane(step, lane, first, reward, True, first_info, ended_by=info)
                assert infos["_final_obs"][lane] and infos["_final_info"][lane]
                assert_same(infos["final_obs"][lane], observation)
                check_info(infos["final_info"], lane, info)
            else:
                check_lane(step, lane, observation, reward, terminated, info)
                if "final_obs" in infos:
                    assert not infos["_final_obs"][lane] and infos["final_obs"][lane] is None
                    assert not infos["_final_info"][lane]
                    assert not any(infos["final_info"]["_" + key][lane] for key in EPISODE_KEYS)
        assert ("final_obs" in infos) == ("final_info" in infos) == any_over
    assert finished >= 10


@pytest.mark.parametrize("family", FAMILIES)
def test_disabled_equals_single_environments_by_hand_with_partial_resets(family):
    env = make_vector(family, LANES, autoreset_mode="Disabled", episodes=1)
    singles = [make_single(family, episodes=1) for _ in range(LANES)]
    observations, _ = env.reset(seed=10)
    latest = [single.reset(seed=10 + lane)[0] for lane, single in enumerate(singles)]
    over = np.zeros(LANES, dtype=bool)
    resets = idle = 0
    for number, actions in enumerate(actions_of(family, 80)):
        if number % 6 == 5 and over.any():
            seed = 50 + number if number % 4 == 1 else None
            observations, info = env.reset(seed=seed, options={"reset_mask": over.copy()})
            for lane in np.flatnonzero(over):
                latest[lane], single_info = singles[lane].reset(seed=None if seed is None else seed + int(lane))
                if "action_mask" in single_info:
                    assert info["action_mask"][lane].tolist() == single_info["action_mask"].tolist()
            assert_same(list(observations), latest)
            over[:] = False
            resets += 1
        step = env.step(actions)
        for lane, single in enumerate(singles):
            if over[lane]:
                idle += 1
                assert_same(step[0][lane], latest[lane])
                assert step[1][lane] == 0.0 and step[2][lane] and step[4]["raw_reward"][lane] == 0.0
                assert not any(step[4]["_" + key][lane] for key in EPISODE_KEYS if key in step[4])
            else:
                latest[lane], reward, over[lane], _, info = single.step(actions[lane])
                check_lane(step, lane, latest[lane], reward, over[lane], info)
        assert "final_obs" not in step[4]
    assert resets >= 4 and idle >= 10


def test_a_partial_reset_of_running_lanes_leaves_the_others_alone():
    """In every mode; the lanes not chosen go on as if nothing had been."""
    for mode in AutoresetMode:
        env, twin = (make_vector(num_envs=4, autoreset_mode=mode, episodes=1) for _ in range(2))
        env.reset(seed=0), twin.reset(seed=0)
        plays = actions_of(Counting, 30)[:, :4]
        for number, actions in enumerate(plays):
            mine, other = env.step(actions), twin.step(actions)
            others = [0, 2, 3] if number >= 4 else [0, 1, 2, 3]
            for k in range(3):
                assert_same(mine[k][others], other[k][others])
            for key in EPISODE_KEYS + ("raw_reward",):
                expected = other[4].get("_" + key, np.zeros(4, dtype=bool))[others]
                assert mine[4].get("_" + key, np.zeros(4, dtype=bool))[others].tolist() == expected.tolist()
            if number == 3:
                observations, _ = env.reset(options={"reset_mask": np.array([False, True, False, False])})
                assert_same(observations[[0, 2, 3]], other[0][[0, 2, 3]])
                assert observations[1, env.layout["episode_start"]] == 1.0


def test_a_partial_reset_does_not_end_another_lanes_wait_for_its_dummy_step():
    env = make_vector(num_envs=2, course="single", level=0, episodes=1)
    env.reset(seed=0)
    env.step(np.array([SCORE, SCORE]))
    assert env.step(np.array([SCORE, SCORE]))[2].all()
    env.reset(options={"reset_mask": np.array([True, False])})
    _, rewards, terminated, _, info = env.step(np.array([SCORE, SCORE]))
    assert rewards[0] != 0.0 and rewards[1] == 0.0 and not terminated.any()
    assert info["_raw_reward"].tolist() == [True, False]


def test_actions_in_dummy_steps_are_not_taken():
    envs = [make_vector(num_envs=1, course="single", level=0, episodes=1) for _ in range(2)]
    for env in envs:
        env.reset(seed=0)
        env.step(np.array([SCORE]))
        env.step(np.array([SCORE]))
    assert_same(envs[0].step(np.array([0])), envs[1].step(np.array([1])))
    assert_same(envs[0].step(np.array([1])), envs[1].step(np.array([1])))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_mode_is_declared(mode):
    for given in (mode, mode.value):
        env = make_vector(autoreset_mode=given)
        assert env.metadata["autoreset_mode"] is mode and env.autoreset_mode is mode
    assert type(env).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_phases_begin_anew_with_the_next_lifetime():
    env = make_vector(Phases, 1, course="single", level=1, episodes=1, autoreset_mode="SameStep")
    _, info = env.reset(seed=0)
    first = info["action_mask"].tolist()
    env.step(np.array([0]))
    env.step(np.array([1]))
    *_, terminated, _, info = env.step(np.array([0]))
    assert terminated[0] and info["action_mask"].tolist() == first
