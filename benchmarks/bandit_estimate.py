"""A low-variance estimate of an agent's score on Bernoulli bandits, for judging learners that differ by hundredths.

``python benchmarks/bandit_estimate.py reference ucb1 --arms 5 --pulls 100`` prints it for any agents, by name or by
folder, on the same 10,000 test tasks.
"""

import argparse
import sys
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from pages import mean_and_error

import daytwo
from daytwo.agent import make_agent
from daytwo.streams import lifetime_seeds

BATCH = 1000


def low_variance_returns(agent: Any, *, arms: int, pulls: int, lifetimes: int = 10_000, seed: int = 0) -> np.ndarray:
    """Estimated total reward of every lifetime, with the expectation of the true one and a smaller spread.

    The true means of the chosen arms take the place of the rewards drawn. The best arm's mean and the mean of all arms,
    less their expectations k / (k + 1) and 1/2, are control variates: they say how rich the task happens to be. Their
    weights are those of least squares on the same lifetimes, which biases the mean by about 1 / lifetimes of its error.

    Args:
        agent: a `daytwo.Agent`, or what `make_agent` makes one of; it sees what agents see.
        arms: k, with success probabilities uniform on [0, 1].
        pulls: n, in one episode.
        lifetimes: test tasks.
        seed: of the tasks.

    Returns:
        ``float64[lifetimes]``.
    """
    totals, richness = [], []
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
        player = make_agent(agent, env.lifetime_spec)
        player.begin(env.lifetime_spec, seeds)
        fresh, total = np.ones(len(seeds), dtype=np.bool_), np.zeros(len(seeds))
        for _ in range(pulls):
            actions = player.act(observations, fresh)
            total += means[np.arange(len(seeds)), actions]
            observations = env.step(actions)[0]
            fresh = np.zeros(len(seeds), dtype=np.bool_)
        env.close()
        totals.append(total)
        richness.append(np.stack([means.max(axis=1) - arms / (arms + 1.0), means.mean(axis=1) - 0.5], axis=1))
    total, controls = np.concatenate(totals), np.concatenate(richness)
    design = np.column_stack([np.ones(len(total)), controls])
    weights = np.linalg.lstsq(design, total, rcond=None)[0]
    return total - controls @ weights[1:]


def main(arguments: list[str]) -> int:
    """Print the estimates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agents", nargs="+", help="names or folders; reference is the Gittins index")
    parser.add_argument("--arms", type=int, default=5)
    parser.add_argument("--pulls", type=int, default=100)
    chosen = parser.parse_args(arguments)
    for agent in chosen.agents:
        mean, error = mean_and_error(low_variance_returns(agent, arms=chosen.arms, pulls=chosen.pulls))
        print(f"{agent}: {mean:.3f} ± {error:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
