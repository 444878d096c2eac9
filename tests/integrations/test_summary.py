"""The hand-made summary of a lifetime that ``ppo-statistics`` sees."""

import numpy as np
import pytest

import daytwo
from daytwo.kernels import interpreted
from daytwo.streams import agent_streams
from daytwo.summary import Summary

BANDIT = "daytwo/Bandit-v0"
SETTINGS = {"arms": 3, "pulls": 4, "course": "single", "episodes": 3}


def lived(env_id, steps, summary_lanes=6, **settings):
    """Observations, actions, rewards and inner ends of random play, with the summary after each step."""
    env = daytwo.LifetimeVectorEnv(env_id, summary_lanes, **settings)
    observations, _ = env.reset(seed=3)
    summary = Summary(env.lifetime_spec, summary_lanes)
    streams = agent_streams(np.arange(summary_lanes, dtype=np.uint64))
    rows = [(summary.update(observations, np.ones(summary_lanes, dtype=bool)), None, None, None)]
    for _ in range(steps):
        actions = env.random_actions(streams)
        observations, _, _, _, info = env.step(actions)
        ended = info.get("_episode_return", np.zeros(summary_lanes, dtype=bool))
        rows.append((summary.update(observations, np.zeros(summary_lanes, bool)), actions, info["raw_reward"], ended))
    env.close()
    return rows, env.lifetime_spec


def expected(rows, lane, actions):
    """The summary of one lane from the actions and rewards themselves."""
    means, taken, paid = [], [], []
    episode_taken, episode_paid = [], []
    for _, chosen, rewards, ended in rows[1:]:
        taken.append(chosen[lane])
        paid.append(float(rewards[lane]))
        episode_taken.append(taken[-1])
        episode_paid.append(paid[-1])
        if ended[lane]:
            means.append(np.mean(episode_paid))
            episode_taken, episode_paid = [], []
    values = [np.mean(paid) if paid else 0.0, means[-1] if means else 0.0, max(means, default=0.0)]
    values += [np.log1p(len(means)), np.log1p(len(taken))]
    for choices, rewards in ((taken, paid), (episode_taken, episode_paid)):
        if not actions:
            break
        chosen, earned = np.array(choices), np.array(rewards)
        values += [float((chosen == a).mean()) if len(chosen) else 0.0 for a in range(actions)]
        values += [float(earned[chosen == a].mean()) if (chosen == a).any() else 0.0 for a in range(actions)]
    return values


def test_it_counts_what_happened():
    for steps in (0, 1, 3, 4, 5, 11):
        rows, spec = lived(BANDIT, steps, **SETTINGS)
        got = rows[-1][0]
        assert got.shape == (6, 5 + 4 * spec.actions) and got.dtype == np.float32
        for lane in range(6):
            np.testing.assert_allclose(got[lane], expected(rows, lane, spec.actions), rtol=1e-6, err_msg=f"{steps}")


def test_continuous_actions_leave_the_actions_out():
    rows, _ = lived("daytwo/PointRobot-v0", 25, course="single", level=0, episodes=3)
    assert rows[-1][0].shape == (6, 5)
    for lane in range(6):
        np.testing.assert_allclose(rows[-1][0][lane], expected(rows, lane, 0), rtol=1e-5)


def test_it_forgets_where_a_lifetime_is_fresh():
    env = daytwo.LifetimeVectorEnv(BANDIT, 2, **SETTINGS)
    observations, _ = env.reset(seed=1)
    summary = Summary(env.lifetime_spec, 2)
    summary.update(observations, np.ones(2, dtype=bool))
    for _ in range(3):
        observations, *_ = env.step(np.array([1, 2]))
        got = summary.update(observations, np.array([False, False]))
    assert (got[:, 4] == np.log1p(np.float32(3))).all()
    got = summary.update(observations, np.array([True, False]))
    assert (got[0] == 0.0).all() and (got[1] != 0.0).any()


def test_it_is_the_same_interpreted_and_goes_on_from_a_snapshot():
    rows, _ = lived(BANDIT, 9, **SETTINGS)
    with interpreted():
        plain, spec = lived(BANDIT, 9, **SETTINGS)
    for one, other in zip(rows, plain, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    first, second = Summary(spec, 2), Summary(spec, 2)
    row = np.random.default_rng(0).random((2, spec.layout.size), dtype=np.float32)
    first.update(row, np.zeros(2, dtype=bool))
    second.restore(first.snapshot())
    np.testing.assert_array_equal(first.update(row, np.zeros(2, bool)), second.update(row, np.zeros(2, bool)))
    with pytest.raises(ValueError, match="books of shape"):
        second.restore(np.zeros(3))
    with pytest.raises(ValueError, match="Expected 2 lifetimes, received 3"):
        second.update(np.zeros((3, spec.layout.size), dtype=np.float32), np.zeros(3, dtype=bool))


def test_what_it_needs_must_be_shown():
    spec = daytwo.LifetimeVectorEnv(BANDIT, 1, show=("previous_reward", "episode_start")).lifetime_spec
    with pytest.raises(ValueError, match="lacks previous_action"):
        Summary(spec, 1)
