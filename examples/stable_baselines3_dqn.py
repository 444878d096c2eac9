"""Stable-Baselines3, off-policy: DQN that sees all observations of the lifetime so far, stacked.

A replay buffer of single steps holds no hidden states, so the past has to be part of the observation. The stack is
emptied at the end of a lifetime and never within.
"""

import sys

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import VecFrameStack

import daytwo
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv

ENV, SETTINGS = "daytwo/Bandit-v0", {"arms": 3, "pulls": 5, "course": "single", "episodes": 4}


def stacked(model, length):
    """The model as an agent that stacks observations as VecFrameStack does."""

    def greedy(observations, stack, fresh):
        if stack is None:
            stack = np.zeros((len(fresh), length, observations.shape[1]), dtype=np.float32)
        stack = np.concatenate([np.where(fresh[:, None, None], 0, stack[:, 1:]), observations[:, None]], axis=1)
        return model.predict(stack.reshape(len(stack), -1), deterministic=True)[0], stack

    return daytwo.PolicyAgent(greedy, name="dqn")


def report(when, agent):
    result = daytwo.evaluate(agent, ENV, lifetimes=512, **SETTINGS)
    print(when, "training:", result.normalized.mean(axis=0).round(2))


def main(steps=100_000):
    lifetimes = LifetimeVecEnv(ENV, num_envs=32, **SETTINGS)
    length = lifetimes.env.lifetime_spec.steps
    model = DQN(
        "MlpPolicy",
        VecFrameStack(lifetimes, n_stack=length),
        gamma=0.9,
        learning_rate=1e-3,
        batch_size=256,
        buffer_size=50_000,
        learning_starts=1_000,
        train_freq=1,  # a step of every lane
        gradient_steps=2,
        target_update_interval=32 * 50,
        exploration_fraction=0.5,
        seed=0,
    )
    report("before", stacked(model, length))
    model.learn(steps)
    report("after", stacked(model, length))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
