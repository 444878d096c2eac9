"""TorchRL: PPO with an LSTM. `is_init` clears the state where a lifetime begins, in the rollout and in the loss."""

import sys

import gymnasium
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper
from torchrl.modules import ActorValueOperator, LSTMModule, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import daytwo
from daytwo.networks import Sampler

ENV, SETTINGS = "daytwo/Bandit-v0", {"arms": 3, "pulls": 5, "course": "single", "episodes": 4}
LANES, WIDTH = 64, 32


class LstmAgent:
    """A policy whose LSTM keeps its state in `h` and `c`, as an agent."""

    def __init__(self, policy):
        self.policy = policy

    def begin(self, spec, seeds):
        self.sampler, self.state = Sampler(seeds, greedy=False), torch.zeros(2, len(seeds), 1, WIDTH)

    @torch.no_grad()
    def act(self, observations, fresh):
        told = {"observation": observations, "is_init": fresh[:, None], "h": self.state[0], "c": self.state[1]}
        done = self.policy(TensorDict(told, batch_size=len(fresh)))
        self.state = done["next", "h"], done["next", "c"]
        return self.sampler.discrete(done["logits"].double().numpy())


def report(when, policy):
    result = daytwo.evaluate(LstmAgent(policy), ENV, lifetimes=512, **SETTINGS)
    print(when, "training:", result.normalized.mean(axis=0).round(2))


def main(steps=200_000):
    torch.manual_seed(0)
    envs = gymnasium.make_vec(ENV, LANES, autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED, **SETTINGS)
    size, actions, length = envs.single_observation_space.shape[0], envs.single_action_space.n, envs.lifetime_spec.steps
    env = GymWrapper(envs, categorical_action_encoding=True)
    keys = {"in_keys": ["observation", "h", "c", "is_init"], "out_keys": ["features", ("next", "h"), ("next", "c")]}
    logits = TensorDictModule(torch.nn.Linear(WIDTH, actions), ["features"], ["logits"])
    chosen = {"spec": env.action_spec, "distribution_class": torch.distributions.Categorical, "return_log_prob": True}
    model = ActorValueOperator(
        LSTMModule(input_size=size, hidden_size=WIDTH, **keys),
        ProbabilisticActor(logits, in_keys=["logits"], **chosen),
        ValueOperator(torch.nn.Linear(WIDTH, 1), in_keys=["features"]),
    )
    policy, critic = model.get_policy_operator(), model.get_value_operator()
    advantage = GAE(gamma=0.9, lmbda=0.8, value_network=critic, average_gae=True, shifted=True, deactivate_vmap=True)
    loss = ClipPPOLoss(policy, critic, entropy_coeff=0.02, critic_coeff=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    frames = {"frames_per_batch": LANES * length, "total_frames": steps // (LANES * length) * LANES * length}
    report("before", policy)
    for rollout in Collector(env, policy, auto_register_policy_transforms=True, **frames):
        advantage(rollout)
        for part in torch.stack([torch.randperm(LANES) for _ in range(4)]).view(16, -1):  # four times all lifetimes
            losses = loss(rollout[part])
            optimizer.zero_grad()
            (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
            optimizer.step()
    report("after", policy)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
