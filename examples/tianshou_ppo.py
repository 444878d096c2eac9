"""Tianshou: PPO that sees all observations of the lifetime so far, stacked, and pools what it makes of each."""

import sys

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import FrameStackObservation
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.policy import PPOPolicy

import daytwo
from daytwo.networks import Sampler

ENV, SETTINGS = "daytwo/Bandit-v0", {"arms": 3, "pulls": 5, "course": "single", "episodes": 4}
LENGTH, LANES = 20, 32  # LENGTH: of a lifetime, in steps


class Pool(torch.nn.Module):
    """The mean of what a layer makes of each observation, and the present one, which stands last."""

    def __init__(self, size, outputs):
        super().__init__()
        self.each = torch.nn.Linear(size, 32)
        self.head = torch.nn.Sequential(torch.nn.Linear(32 + size, 32), torch.nn.Tanh(), torch.nn.Linear(32, outputs))

    def forward(self, obs):
        obs = torch.as_tensor(obs, dtype=torch.float32)
        return self.head(torch.cat([self.each(obs).relu().mean(1), obs[:, -1]], dim=1))


class Actor(Pool):
    """A pool with the arguments and the answer that Tianshou asks for. With `begin` and `act` it is an agent."""

    def forward(self, obs, state=None, info=None):
        return super().forward(obs), state

    def begin(self, spec, seeds):
        self.sampler, self.stack = Sampler(seeds, greedy=False), np.zeros((len(seeds), LENGTH, spec.layout.size))

    @torch.no_grad()
    def act(self, observations, fresh):
        self.stack[fresh] = 0
        self.stack = np.concatenate([self.stack[:, 1:], observations[:, None]], axis=1)
        return self.sampler.discrete(self(self.stack)[0].double().numpy())


def report(when, actor):
    result = daytwo.evaluate(actor, ENV, lifetimes=512, **SETTINGS)
    print(when, "training:", result.normalized.mean(axis=0).round(2))


def make():
    return FrameStackObservation(gymnasium.make(ENV, **SETTINGS), LENGTH, padding_type="zero")


def main(steps=60_000):
    torch.manual_seed(0)
    env, envs = make(), DummyVectorEnv([make] * LANES)
    envs.seed(0)
    size, actions = env.observation_space.shape[-1], env.action_space.n
    actor, critic = Actor(size, actions), Pool(size, 1)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=3e-3)
    options = {"discount_factor": 0.9, "gae_lambda": 0.8, "ent_coef": 0.02, "action_scaling": False}
    policy = PPOPolicy(
        actor, critic, optimizer, lambda logits: torch.distributions.Categorical(logits=logits), **options
    )
    collector = Collector(policy, envs, VectorReplayBuffer(2 * LANES * LENGTH, LANES))
    report("before", actor)
    for _ in range(steps // (LANES * LENGTH)):
        collector.collect(n_step=LANES * LENGTH)
        policy.update(0, collector.buffer, batch_size=160, repeat=4)
        collector.reset_buffer(keep_statistics=True)
    report("after", actor)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
