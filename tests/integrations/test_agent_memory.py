"""An agent that is given another one's memory goes on as that one would."""

import numpy as np
import pytest

import daytwo
from daytwo.integrations.agent_memory import memory_of, restore_memory
from daytwo.streams import lifetime_seeds

LANES = 4


def lived(agent, env, seeds, steps):
    """Observations and fresh flags up to the next action."""
    spec = env.lifetime_spec
    agent.begin(spec, seeds)
    observations, _ = env.reset(seed=seeds)
    fresh = np.ones(LANES, dtype=np.bool_)
    for _ in range(steps):
        observations, _, fresh, _, _ = env.step(agent.act(observations, fresh))
    return observations, fresh


@pytest.mark.parametrize("env_id", daytwo.env_ids())
@pytest.mark.parametrize("steps", [0, 1, 45])
def test_a_reference_learner_goes_on_from_its_memory(env_id, steps):
    """One that has lived is copied into one that has just begun; both then live on, into further lifetimes."""
    settings = {"course": "single", "level": 0, "episodes": 2, "autoreset_mode": "SameStep"}
    env, other = (daytwo.LifetimeVectorEnv(env_id, LANES, **settings) for _ in range(2))
    seeds = lifetime_seeds(0, 0, LANES)
    first, second = (daytwo.make_agent("reference", env.lifetime_spec) for _ in range(2))
    observations, fresh = lived(first, env, seeds, steps)
    other.reset(seed=seeds)
    other.restore(env.snapshot())
    second.begin(other.lifetime_spec, seeds)
    memory = memory_of(first)
    restore_memory(second, memory)
    saw, began = observations, fresh
    for _ in range(60):
        expected, found = first.act(observations, fresh), second.act(saw, began)
        np.testing.assert_array_equal(found, expected)
        observations, _, fresh, _, _ = env.step(expected)
        saw, _, began, _, _ = other.step(found)


def test_a_memory_is_a_copy():
    env = daytwo.LifetimeVectorEnv("daytwo/Bandit-v0", LANES)
    agent = daytwo.make_agent("reference", env.lifetime_spec)
    lived(agent, env, lifetime_seeds(0, 0, LANES), 5)
    memory = memory_of(agent)
    pulls = memory["_pulls"].copy()
    lived(agent, env, lifetime_seeds(1, 0, LANES), 9)
    np.testing.assert_array_equal(memory["_pulls"], pulls)


def test_memories_that_cannot_be_read_are_refused():
    class Mysterious:
        def __init__(self):
            self.generators = [np.random.default_rng(0)]

    with pytest.raises(TypeError, match=r"Mysterious\.generators\[0\] is a Generator"):
        memory_of(Mysterious())
    env = daytwo.LifetimeVectorEnv("daytwo/Bandit-v0", LANES, privileged=True)
    with pytest.raises(TypeError, match="privileged"):
        memory_of(daytwo.make_agent("oracle", env.lifetime_spec))
