"""Stable-Baselines3: PPO without a memory of its own; a hand-made summary of the lifetime is part of what it sees."""

import sys

import numpy as np
import torch
from stable_baselines3 import PPO

import daytwo
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv
from daytwo.integrations.stable_baselines3_trainers import SummaryVecEnv
from daytwo.networks import Sampler
from daytwo.summary import Summary

ENV, SETTINGS = "daytwo/Bandit-v0", {"arms": 3, "pulls": 5, "course": "single", "episodes": 4}


class SummaryAgent:
    """A model that sees the summary as an agent. For one that sees plain observations, ModelAgent is enough."""

    def __init__(self, model):
        self.policy = model.policy

    def begin(self, spec, seeds):
        self.summary, self.sampler = Summary(spec, len(seeds)), Sampler(seeds, greedy=False)

    @torch.no_grad()
    def act(self, observations, fresh):
        rows = np.concatenate([observations, self.summary.update(observations, fresh)], axis=1)
        policy = self.policy.get_distribution(torch.as_tensor(rows)).distribution
        return self.sampler.discrete(policy.logits.double().numpy())


def report(when, model):
    result = daytwo.evaluate(SummaryAgent(model), ENV, lifetimes=512, **SETTINGS)
    print(when, "training:", result.normalized.mean(axis=0).round(2))


def main(steps=100_000):
    lifetimes = LifetimeVecEnv(ENV, num_envs=32, **SETTINGS)
    spec = lifetimes.env.lifetime_spec
    env = SummaryVecEnv(lifetimes, spec)
    options = {"n_epochs": 4, "learning_rate": 1e-3, "gamma": 0.9, "gae_lambda": 0.8, "ent_coef": 0.02}
    model = PPO("MlpPolicy", env, n_steps=2 * spec.steps, batch_size=320, seed=0, **options)
    report("before", model)
    model.learn(steps)
    report("after", model)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
