"""Stable-Baselines3: recurrent PPO. An LSTM remembers; it is cleared at the end of a lifetime and never within."""

import sys

import torch
from sb3_contrib import RecurrentPPO

import daytwo
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv, ModelAgent

ENV, SETTINGS = "daytwo/Bandit-v0", {"arms": 3, "pulls": 5, "course": "single", "episodes": 4}


def report(when, model):
    result = daytwo.evaluate(ModelAgent(model), ENV, lifetimes=512, **SETTINGS)
    print(when, "training:", result.normalized.mean(axis=0).round(2))


def main(steps=100_000):
    env = LifetimeVecEnv(ENV, num_envs=64, **SETTINGS)
    length = env.env.lifetime_spec.steps
    model = RecurrentPPO(
        "MlpLstmPolicy",
        env,
        n_steps=length,  # gradients end here: at the end of the lifetime
        batch_size=16 * length,
        n_epochs=4,
        learning_rate=3e-3,
        gamma=0.9,
        gae_lambda=0.8,
        ent_coef=0.02,
        policy_kwargs={"lstm_hidden_size": 32, "net_arch": []},
        seed=0,
    )
    report("before", model)
    model.learn(steps)
    report("after", model)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
