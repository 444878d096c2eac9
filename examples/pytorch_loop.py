"""A plain PyTorch loop: an actor-critic with a GRU that lives batches of whole lifetimes and learns from each at once.

It leaves its weights in the current folder, where the command finds the class Saved and them:
`daytwo evaluate pytorch_loop:Saved daytwo/Bandit-v0 arms=3 pulls=5 course=single episodes=4`.
"""

import sys

import gymnasium
import torch
from torch import nn

import daytwo
from daytwo.networks import Sampler

ENV, SETTINGS = "daytwo/Bandit-v0", {"arms": 3, "pulls": 5, "course": "single", "episodes": 4}


class Learner(nn.Module):
    """A GRU cell below actor and critic. With `begin` and `act` it is an agent of daytwo."""

    def __init__(self, inputs, actions, width=32):
        super().__init__()
        self.cell, self.actor, self.critic = nn.GRUCell(inputs, width), nn.Linear(width, actions), nn.Linear(width, 1)

    def begin(self, spec, seeds):
        self.sampler, self.state = Sampler(seeds, greedy=False), torch.zeros(len(seeds), self.cell.hidden_size)

    @torch.no_grad()
    def act(self, observations, fresh):
        self.state = self.cell(torch.as_tensor(observations), self.state * torch.as_tensor(~fresh)[:, None])
        return self.sampler.discrete(self.actor(self.state).double().numpy())


class Saved(Learner):
    """The learner that `main` left in the current folder."""

    def __init__(self):
        weights = torch.load("pytorch_loop.pt", weights_only=True)
        super().__init__(weights["cell.weight_ih"].shape[1], len(weights["actor.bias"]))
        self.load_state_dict(weights)


def report(when, agent):
    result = daytwo.evaluate(agent, ENV, lifetimes=512, **SETTINGS)
    print(when, "training:", result.normalized.mean(axis=0).round(2))


def main(steps=600_000, lanes=64):
    torch.manual_seed(0)
    envs = gymnasium.make_vec(ENV, lanes, autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED, **SETTINGS)
    learner = Learner(envs.single_observation_space.shape[0], envs.single_action_space.n)
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-2)
    report("before", learner)
    for update in range(steps // (lanes * envs.lifetime_spec.steps)):
        observations, _ = envs.reset(seed=update * lanes)
        state, ended, told = torch.zeros(lanes, learner.cell.hidden_size), False, []
        while not ended:  # lifetimes of this course all last equally long
            state = learner.cell(torch.as_tensor(observations), state)
            policy, values = torch.distributions.Categorical(logits=learner.actor(state)), learner.critic(state)[:, 0]
            actions = policy.sample()
            observations, rewards, terminated, _, _ = envs.step(actions.numpy())
            told.append((policy.log_prob(actions), policy.entropy(), values, torch.as_tensor(rewards).float()))
            ended = terminated.all()
        log_probs, entropies, values, returns = (torch.stack(part) for part in zip(*told, strict=True))
        for t in reversed(range(len(returns) - 1)):
            returns[t] += 0.9 * returns[t + 1]
        advantages = returns - values
        loss = (0.5 * advantages**2 - advantages.detach() * log_probs - 0.02 * entropies).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    report("after", learner)
    torch.save(learner.state_dict(), "pytorch_loop.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
