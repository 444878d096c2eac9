"""A low-variance estimate of an agent's score on Bernoulli bandits, for judging learners that differ by hundredths."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.streams import lifetime_seeds

BATCH = 1000


def low_variance_returns(agent: Any, *, arms: int, pulls: int, lifetimes: int = 10_000, seed: int = 0) -> np.ndarray:
    """Estimated total reward of every lifetime, with the expectation of the true one and a smaller spread.

    The true means of the chosen arms take the place of the rewards drawn, and the best arm's mean over its expectation
    k / (k + 1), times the number of pulls, is a control variate: it says how rich the task happens to be.

    Args:
        agent: a `daytwo.Agent`; it sees what agents see.
        arms: k, with success probabilities uniform on [0, 1].
        pulls: n, in one episode.
        lifetimes: test tasks.
        seed: of the tasks.

    Returns:
        ``float64[lifetimes]``.
    """
    estimates = []
    for start in range(0, lifetimes, BATCH):
        seeds = lifetime_seeds(seed, start, min(start + BATCH, lifetimes))
        env = daytwo.LifetimeVectorEnv(
            "daytwo/Bandit-v0",
            len(seeds),
            arms=arms,
            pulls=pulls,
            course="single",
            episodes=1,
            split="test",
            privileged=True,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        observations, _ = env.reset(seed=seeds)
        means = np.array([task["p"][:arms] for task in env.tasks()])
        agent.begin(env.lifetime_spec, seeds)
        fresh, total = np.ones(len(seeds), dtype=np.bool_), np.zeros(len(seeds))
        for _ in range(pulls):
            actions = agent.act(observations, fresh)
            total += means[np.arange(len(seeds)), actions]
            observations = env.step(actions)[0]
            fresh = np.zeros(len(seeds), dtype=np.bool_)
        env.close()
        estimates.append(total - pulls * (means.max(axis=1) - arms / (arms + 1.0)))
    return np.concatenate(estimates)
