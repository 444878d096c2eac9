"""PPO with an LSTM in one file, in the style of CleanRL: memory and gradients last for a whole lifetime."""

import sys

import gymnasium
import torch

import daytwo
from daytwo.networks import Sampler

ENV, SETTINGS = "daytwo/Bandit-v0", {"arms": 3, "pulls": 5, "course": "single", "episodes": 4}
# LENGTH: of a rollout, in steps. Gradients end there, and so it is that of a lifetime.
LANES, LENGTH, WIDTH, EPOCHS, MINIBATCHES, GAMMA, LAMBDA = 64, 20, 32, 4, 4, 0.9, 0.8


class Agent(torch.nn.Module):
    """An LSTM below actor and critic. With `begin` and `act` it is an agent of daytwo."""

    def __init__(self, inputs, actions):
        super().__init__()
        self.lstm, self.heads = torch.nn.LSTM(inputs, WIDTH), torch.nn.Linear(WIDTH, actions + 1)

    # Policies and values for observations [steps, lanes, size]. The state is cleared where a lifetime begins.
    def forward(self, obs, fresh, state):
        cuts, hidden = sorted({0, *fresh.any(dim=1).nonzero()[:, 0].tolist(), len(obs)}), []
        for start, end in zip(cuts, cuts[1:], strict=False):
            out, state = self.lstm(obs[start:end], tuple(part * ~fresh[start, :, None] for part in state))
            hidden.append(out)
        heads = self.heads(torch.cat(hidden))
        return torch.distributions.Categorical(logits=heads[..., 1:]), heads[..., 0], state

    look = torch.no_grad()(forward)

    def begin(self, spec, seeds):
        self.sampler, self.state = Sampler(seeds, greedy=False), [torch.zeros(1, len(seeds), WIDTH)] * 2

    def act(self, observations, fresh):
        policy, _, self.state = self.look(torch.as_tensor(observations[None]), torch.as_tensor(fresh[None]), self.state)
        return self.sampler.discrete(policy.logits[0].double().numpy())


def report(when, agent):
    result = daytwo.evaluate(agent, ENV, lifetimes=512, **SETTINGS)
    print(when, "training:", result.normalized.mean(axis=0).round(2))


def main(steps=200_000):
    torch.manual_seed(0)
    envs = gymnasium.make_vec(ENV, LANES, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP, **SETTINGS)
    agent = Agent(envs.single_observation_space.shape[0], envs.single_action_space.n)
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-3)
    report("before", agent)
    obs, fresh, state = torch.tensor(envs.reset(seed=0)[0]), torch.ones(LANES) > 0, [torch.zeros(1, LANES, WIDTH)] * 2
    for _ in range(steps // (LANES * LENGTH)):
        first, told = state, []
        for _ in range(LENGTH):
            policy, value, state = agent.look(obs[None], fresh[None], state)
            told.append([obs, fresh, action := policy.sample()[0], policy.log_prob(action)[0], value[0]])
            obs, reward, fresh = map(torch.as_tensor, envs.step(action.numpy())[:3])
            told[-1] += [reward.float(), fresh]
        b_obs, b_fresh, b_action, b_log_prob, b_value, b_reward, b_done = map(torch.stack, zip(*told, strict=True))
        advantage, gained, later = torch.zeros_like(b_value), 0, agent.look(obs[None], fresh[None], state)[1][0]
        for t in reversed(range(LENGTH)):  # only the end of a lifetime cuts off what follows
            advantage[t] = gained = b_reward[t] + GAMMA * ~b_done[t] * (later + LAMBDA * gained) - b_value[t]
            later = b_value[t]
        returns, advantage = advantage + b_value, (advantage - advantage.mean()) / advantage.std()
        for part in torch.stack([torch.randperm(LANES) for _ in range(EPOCHS)]).view(EPOCHS * MINIBATCHES, -1):
            policy, value, _ = agent(b_obs[:, part], b_fresh[:, part], [one[:, part] for one in first])
            ratio = (policy.log_prob(b_action[:, part]) - b_log_prob[:, part]).exp()
            gain = torch.min(ratio * advantage[:, part], ratio.clamp(0.8, 1.2) * advantage[:, part])
            optimizer.zero_grad()
            (0.5 * (value - returns[:, part]) ** 2 - gain - 0.02 * policy.entropy()).mean().backward()
            optimizer.step()
    report("after", agent)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
