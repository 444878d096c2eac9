"""An observation row holds what its layout says, within the bounds it declares, and nothing of the hidden task."""

import numpy as np
import pytest
from gymnasium import spaces

import daytwo
from daytwo.course import Course, Stage
from daytwo.observation import EXTRAS, Field, Layout
from tests.toy import HORIZONS, SCORE, Counting, Steering, live, make_single, make_vector

PLACE = (Field("place", 2, -1.0, 3.0),)


def layout(show=EXTRAS, fields=PLACE, **changes):
    arguments = {"actions": 3, "continuous": False, "levels": 2, "reward_range": (0.5, 2.0), "longest_stage": 7}
    return Layout(fields, show=show, **{**arguments, **changes})


def test_parts_lie_side_by_side_in_a_fixed_order():
    made = layout(show=tuple(reversed(EXTRAS)))
    assert list(made) == ["place", *EXTRAS] and made.show == EXTRAS
    at = 0
    for part in made.values():
        assert part.start == at
        at = part.stop
    assert made.size == at == 2 + 3 + 1 + 1 + 1 + 2 + 1 + 1 + 2
    assert made.start("place") == 0 and layout(show=()).start("level") == -1 and layout(show=()).size == 2


def test_bounds_are_those_of_the_parts():
    made = layout()
    bounds = {name: (made.low[part].tolist(), made.high[part].tolist()) for name, part in made.items()}
    assert bounds["place"] == ([-1.0, -1.0], [3.0, 3.0])
    assert bounds["previous_reward"] == ([0.0], [2.0]), "0 must fit: it is the first previous reward"
    assert bounds["episode"] == ([0.0], [7.0]) and bounds["stage_length"] == ([0.0], [7.0])
    assert bounds["final_observation"] == ([-1.0, -1.0], [3.0, 3.0])
    assert layout(continuous=True).low[layout()["previous_action"]].tolist() == [-1.0] * 3
    assert layout(fields=(Field("far", 1, 2.0, 3.0),)).low[-1] == 0.0, "zeros fit where nothing is shown"


def test_spaces_and_splitting_agree():
    made = layout()
    rows = np.arange(2 * made.size, dtype=np.float32).reshape(2, made.size)
    parts = made.split(rows)
    assert list(parts) == list(made) and set(parts) == set(made.dict_space().spaces)
    assert np.concatenate(list(parts.values()), axis=1).tolist() == rows.tolist()
    parts["place"][:] = -1
    assert rows[0, 0] == 0.0, "parts are copies"
    assert isinstance(made.flat_space(), spaces.Box) and made.flat_space().shape == (made.size,)


def test_wiping_forgets_the_past_where_asked():
    made = layout()
    rows = np.ones((3, made.size), dtype=np.float32)
    wiped = made.wipe(rows, np.array([True, False, True]))
    past = [made[name] for name in ("previous_action", "previous_reward", "final_observation")]
    columns = np.concatenate([np.arange(part.start, part.stop) for part in past])
    assert (wiped[[0, 2]][:, columns] == 0).all() and (wiped[1] == 1).all() and (rows == 1).all()
    assert np.delete(wiped, columns, axis=1).min() == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"show": ("levels",)}, "unknown extra 'levels'; expected some of previous_action"),
        ({"show": "level"}, "sequence of names"),
        ({"fields": (Field("time", 1),)}, "may not be called 'time'"),
        ({"fields": (Field("a", 1), Field("a", 1))}, "must differ, received a, a"),
        ({"fields": (Field("a", 1, high=np.inf),)}, "finite"),
    ],
)
def test_an_impossible_layout_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        layout(**arguments)


def test_an_unknown_part_is_named_with_those_there_are():
    with pytest.raises(KeyError, match=r"No part 'goal' in this observation; it holds place, previous_action"):
        layout()["goal"]


@pytest.mark.parametrize("arguments", [("a", 0), ("a", 1, 2.0, 1.0), ("a", 1.5)])
def test_an_impossible_field_is_refused(arguments):
    with pytest.raises(ValueError, match="received"):
        Field(*arguments)


# --- what the extras hold, step by step ----------------------------------------------------------------------------

COURSE = Course([Stage(1, 2), Stage(2, 1)])
PLAYS = (SCORE, 0, SCORE, 2, SCORE, SCORE, 0, 0)


def test_every_extra_holds_what_it_promises():
    env = make_single(course=COURSE, show=EXTRAS, reward="raw")
    part = env.layout
    steps = live(env, PLAYS, seed=3)
    assert len(steps) == 1 + 3 + 1 + 4
    time, episode, stage = 0, 0, 0
    before = None
    for number, (row, _, terminated, info) in enumerate(steps):
        ended = "episode_return" in info
        if number:
            time += 1
        if ended and not terminated:
            time, episode = 0, episode + 1
            if episode == COURSE.stages[stage].episodes:
                stage, episode = stage + 1, 0
        level = COURSE.stages[stage].level
        one_hot = np.zeros(3)
        if number:
            one_hot[PLAYS[number - 1]] = 1.0
        assert row[part["previous_action"]].tolist() == one_hot.tolist()
        assert row[part["previous_reward"]].tolist() == [info["raw_reward"] if number else 0.0]
        assert row[part["episode_start"]].tolist() == [float(number == 0 or (ended and not terminated))]
        assert row[part["time"]].tolist() == [np.float32(time / HORIZONS[level])]
        assert row[part["level"]].tolist() == [float(k == level) for k in range(3)]
        assert row[part["stage_length"]].tolist() == [COURSE.stages[stage].episodes]
        finished = COURSE.stages[stage].episodes if terminated else episode
        assert row[part["episode"]].tolist() == [finished]
        final = row[part["final_observation"]]
        if ended and not terminated:
            # The family's part counts steps first, then noise, then the secret.
            assert final[0] == before[0] + 1 and final[2] == row[part["secret"]][0] and row[part["count"]][0] == 0
        else:
            assert not final.any()
        assert env.observation_space.contains(row)
        before = row


def test_the_terminal_observation_is_the_familys_last():
    steps = live(make_single(course="single", level=1, episodes=1), (SCORE, SCORE, SCORE), seed=0)
    row, _, terminated, _ = steps[-1]
    assert terminated and row[0] == 3.0


def test_the_last_action_is_the_one_shown_and_ones_own_where_none_is():
    made, own = layout(), np.array([2, 2, 2])
    rows = np.zeros((3, made.size), dtype=np.float32)
    rows[0, made.start("previous_action") + 1] = 1.0
    rows[1, made.start("previous_action") + 2] = 1.0
    assert made.last_actions(rows, own).tolist() == [1, 2, 2], "zeros are shown where a lifetime begins"
    assert layout(show=()).last_actions(rows, own) is own

    made = layout(continuous=True)
    rows, own = np.zeros((2, made.size), dtype=np.float32), np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]])
    rows[:, made["previous_action"]] = own
    rows[1, made.start("previous_action")] = -0.5
    done = made.last_actions(rows, own)
    assert done[0].tolist() == own[0].tolist(), "one's own is kept in double precision"
    np.testing.assert_allclose(done[1], [-0.5, 0.2, 0.3], rtol=1e-6)
    assert made.last_actions(rows, own[:, :2] * 0.0, "place").tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_continuous_actions_are_shown_as_they_are():
    env = make_single(Steering)
    steps = live(env, lambda observation, info: np.array([0.25, -1.0]), seed=0)
    part = env.layout["previous_action"]
    assert steps[0][0][part].tolist() == [0.0, 0.0]
    assert all(row[part].tolist() == [0.25, -1.0] for row, *_ in steps[1:])


def test_dict_observations_are_the_flat_ones_by_name():
    flat, named = make_single(show=EXTRAS), make_single(show=EXTRAS, observation="dict")
    for (row, *_), (parts, *_) in zip(live(flat, PLAYS, seed=1), live(named, PLAYS, seed=1), strict=True):
        assert {name: row[part].tolist() for name, part in flat.layout.items()} == {
            name: value.tolist() for name, value in parts.items()
        }
        assert named.observation_space.contains(parts)
    wide = make_vector(Counting, 3, observation="dict")
    parts, _ = wide.reset(seed=0)
    assert wide.observation_space.contains(parts) and parts["level"].shape == (3, 3)


def test_nothing_but_the_familys_own_part_may_be_shown():
    env = make_single(show=())
    assert env.layout.size == 3 and live(env, PLAYS, seed=0)[1][0].shape == (3,)


# --- the shipped families ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_observations_stay_within_the_space_and_masks_can_be_read_off_them(env_id):
    env = daytwo.LifetimeVectorEnv(env_id, 64, episodes=2, course="review", show=EXTRAS, split="all")
    from daytwo.streams import agent_streams, lifetime_seeds

    seeds = lifetime_seeds(1, 0, 64)
    streams = agent_streams(seeds)
    observations, info = env.reset(seed=seeds)
    spec = env.lifetime_spec
    for _ in range(60):
        assert observations in env.observation_space
        if not spec.continuous:
            assert spec.observed_mask(observations).tolist() == info["action_mask"].tolist()
        actions = env.random_actions(streams)
        # The environment takes float64 as well, which Gymnasium's Box of float32 does not call its own.
        assert actions.astype(env.action_space.dtype) in env.action_space
        observations, _, _, _, info = env.step(actions)


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_the_hidden_task_is_told_to_the_privileged_alone(env_id):
    env = daytwo.LifetimeEnv(env_id)
    _, info = env.reset(seed=0)
    assert (
        "task" not in info and "task" not in env.step(0 if not env.family.continuous else env.action_space.sample())[4]
    )
    with pytest.raises(PermissionError, match="privileged=True"):
        env.oracle_actions()
    with pytest.raises(PermissionError, match="privileged=True"):
        env.tasks()
    told = daytwo.LifetimeEnv(env_id, privileged=True)
    _, info = told.reset(seed=0)
    assert info["task"] == told.tasks()[0]
    record = told.family.task_from_dict(info["task"])
    assert told.family.task_to_dict(record[0]) == info["task"]
