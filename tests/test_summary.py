"""The hand-made summary of a lifetime says what an observer with a notebook would say."""

import numpy as np
import pytest

import daytwo
from daytwo import kernels
from daytwo.streams import lifetime_seeds
from daytwo.summary import Summary

LANES = 5
BANDIT = {"arms": 3, "pulls": 4, "course": "single", "episodes": 3}


def walk(env_id, steps, **settings):
    """Random lifetimes: the spec, then observations, actions before them, and which lifetimes began, step by step."""
    env = daytwo.LifetimeVectorEnv(env_id, LANES, autoreset_mode="SameStep", **settings)
    seeds = lifetime_seeds(0, 0, LANES)
    rng = np.random.default_rng(0)
    observations, _ = env.reset(seed=seeds)
    yield env.lifetime_spec
    fresh, taken = np.ones(LANES, dtype=np.bool_), None
    for _ in range(steps):
        yield observations, taken, fresh
        if env.lifetime_spec.continuous:
            taken = rng.uniform(-1, 1, (LANES, env.lifetime_spec.actions))
        else:
            taken = rng.integers(0, env.lifetime_spec.actions, LANES)
        observations, _, fresh, _, _ = env.step(taken)


class Notebook:
    """One lifetime's summary, computed anew from everything that happened in it."""

    def __init__(self, actions):
        self.actions, self.episodes, self.now = actions, [], []

    def write(self, action, reward, episode_begins):
        self.now.append((action, reward))
        if episode_begins:
            self.episodes.append(self.now)
            self.now = []

    def summary(self):
        lived = [pair for episode in self.episodes for pair in episode] + self.now
        means = [np.mean([reward for _, reward in episode]) for episode in self.episodes]
        row = [np.mean([reward for _, reward in lived]) if lived else 0.0]
        row += [means[-1], max(means)] if means else [0.0, 0.0]
        row += [np.log(1 + len(self.episodes)), np.log(1 + len(lived))]
        for part in (lived, self.now):
            rewards = [[reward for action, reward in part if action == one] for one in range(self.actions)]
            row += [len(one) / max(len(part), 1) for one in rewards]
            row += [np.mean(one) if one else 0.0 for one in rewards]
        return row


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        ("daytwo/Bandit-v0", BANDIT),
        ("daytwo/Bandit-v0", {**BANDIT, "course": "progressive", "arms": 10}),
        ("daytwo/DarkRoom-v0", {"course": "single", "level": 0, "episodes": 2}),
        ("daytwo/PointRobot-v0", {"course": "single", "level": 0, "episodes": 2}),
    ],
)
def test_it_says_what_a_notebook_says(env_id, settings):
    lived = walk(env_id, 70, **settings)
    spec = next(lived)
    actions = 0 if spec.continuous else spec.actions
    summary, notebooks = Summary(spec, LANES), [Notebook(actions) for _ in range(LANES)]
    assert summary.size == 5 + 4 * actions
    for observations, taken, fresh in lived:
        found = summary.update(observations, fresh)
        assert found.dtype == np.float32 and found.shape == (LANES, summary.size)
        for i in range(LANES):
            if fresh[i]:
                notebooks[i] = Notebook(actions)
            else:
                action = None if spec.continuous else taken[i]
                reward = observations[i, spec.layout.start("previous_reward")]
                notebooks[i].write(action, reward, observations[i, spec.layout.start("episode_start")] > 0.5)
            np.testing.assert_allclose(found[i], notebooks[i].summary(), rtol=1e-5, atol=1e-6)


def test_a_wiped_lifetime_starts_from_nothing():
    """The amnesiac twin's summary is cleared wherever an inner episode begins."""
    lived = walk("daytwo/Bandit-v0", 8, **BANDIT)
    summary = Summary(next(lived), LANES)
    for observations, _, _ in lived:
        summary.update(observations, np.zeros(LANES, dtype=np.bool_))
    assert (summary.update(observations, np.ones(LANES, dtype=np.bool_)) == 0).all()


def test_lifetimes_do_not_mix_and_interpreted_equals_compiled():
    lived = walk("daytwo/Bandit-v0", 20, **BANDIT)
    spec = next(lived)
    together, alone, slow = Summary(spec, LANES), Summary(spec, 1), Summary(spec, LANES)
    for observations, _, fresh in lived:
        found = together.update(observations, fresh)
        np.testing.assert_array_equal(found[2:3], alone.update(observations[2:3], fresh[2:3]))
        with kernels.interpreted():
            np.testing.assert_array_equal(found, slow.update(observations, fresh))


def test_it_goes_on_from_a_snapshot():
    lived = walk("daytwo/Bandit-v0", 20, **BANDIT)
    spec = next(lived)
    first, second = Summary(spec, LANES), Summary(spec, LANES)
    for t, (observations, _, fresh) in enumerate(lived):
        found = first.update(observations, fresh)
        if t < 7:
            second.restore(first.snapshot())
        else:
            np.testing.assert_array_equal(found, second.update(observations, fresh))


def test_what_it_cannot_be_made_from_is_refused():
    env = daytwo.LifetimeVectorEnv("daytwo/Bandit-v0", 2, show=("previous_action", "time"))
    with pytest.raises(ValueError, match=r"lacks previous_reward, episode_start here: see show"):
        Summary(env.lifetime_spec, 2)
    spec = daytwo.LifetimeVectorEnv("daytwo/Bandit-v0", 2).lifetime_spec
    summary = Summary(spec, 2)
    with pytest.raises(ValueError, match="Expected 2 lifetimes, received 3"):
        summary.update(np.zeros((3, spec.layout.size), dtype=np.float32), np.zeros(3, dtype=np.bool_))
    with pytest.raises(ValueError, match=r"Expected books of shape \(2, "):
        summary.restore(np.zeros((3, 4)))
