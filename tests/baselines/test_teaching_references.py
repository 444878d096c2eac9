"""Reference learners learn from what was done, not from what they would have done: they can teach by labelling."""

import numpy as np
import pytest

import daytwo

EPISODES = 6


class Disturbed:
    """The reference learner, of whose actions a share is replaced by random ones in all episodes but the last."""

    name = "disturbed"

    def __init__(self, *, share: float) -> None:
        self.share = share

    def begin(self, spec, seeds):
        self.spec, self.random = spec, np.random.default_rng(0)
        self.inner = daytwo.make_agent("reference", spec)
        self.inner.begin(spec, seeds)
        self.episode = np.zeros(len(seeds), dtype=np.int64)

    def act(self, observations, fresh):
        actions = np.array(self.inner.act(observations, fresh))
        self.episode += observations[:, self.spec.layout.start("episode_start")] > 0.5
        offered = None if self.spec.continuous else self.spec.observed_mask(observations)
        disturbed = (self.random.random(len(actions)) < self.share) & (self.episode < EPISODES)
        for i in np.flatnonzero(disturbed):
            if self.spec.continuous:
                actions[i] = self.random.uniform(-1.0, 1.0, actions.shape[1])
            else:
                actions[i] = self.random.choice(np.flatnonzero(offered[i]))
        return actions


@pytest.mark.parametrize("env_id", daytwo.env_ids())
def test_a_reference_learner_learns_from_what_somebody_else_does(env_id):
    spec = daytwo.LifetimeVectorEnv(env_id, num_envs=1).lifetime_spec
    course = {"course": "single", "level": len(spec.levels) - 1, "episodes": EPISODES}
    lifetimes = 24 if spec.family == "Alchemy" else 64

    def last_episodes(share):
        result = daytwo.evaluate(Disturbed(share=share), env_id, lifetimes=lifetimes, num_envs=lifetimes, **course)
        return result.normalized.reshape(lifetimes, EPISODES)[:, -1]

    # In the last episode it acts by itself again, on what it has seen.
    lost = last_episodes(0.0) - last_episodes(0.1)
    assert lost.mean() < 0.05 + 2.0 * lost.std() / lifetimes**0.5, f"{lost.mean():.3f} of the last episode is lost"
