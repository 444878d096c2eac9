"""RLlib, new API stack: PPO with an LSTM, on DayTwo's own vector environment."""

import sys

import gymnasium
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

import daytwo
from daytwo.networks import Sampler

ENV, SETTINGS = "daytwo/Bandit-v0", {"arms": 3, "pulls": 5, "course": "single", "episodes": 4}
LENGTH, LANES, BATCH = 20, 32, 1280  # LENGTH: of a lifetime, in steps


class ModuleAgent:
    """A recurrent RLModule as an agent."""

    def __init__(self, module):
        self.module = module

    def begin(self, spec, seeds):
        self.sampler = Sampler(seeds, greedy=False)
        self.state = {
            key: torch.as_tensor(x).repeat(len(seeds), 1, 1) for key, x in self.module.get_initial_state().items()
        }

    @torch.no_grad()
    def act(self, observations, fresh):
        kept = {key: part * torch.as_tensor(~fresh)[:, None, None] for key, part in self.state.items()}
        done = self.module.forward_inference(
            {Columns.OBS: torch.as_tensor(observations)[:, None], Columns.STATE_IN: kept}
        )
        self.state = done[Columns.STATE_OUT]
        return self.sampler.discrete(done[Columns.ACTION_DIST_INPUTS][:, 0].double().numpy())


def report(when, algorithm):
    agent = ModuleAgent(algorithm.get_module())
    result = daytwo.evaluate(agent, ENV, lifetimes=512, **SETTINGS)
    print(when, "training:", result.normalized.mean(axis=0).round(2))


def main(steps=60_000):
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    # The longest sequence is the lifetime, and the step that RLlib adds for the value after its end.
    network = DefaultModelConfig(fcnet_hiddens=[32], use_lstm=True, lstm_cell_size=32, max_seq_len=LENGTH + 1)
    native = gymnasium.VectorizeMode.VECTOR_ENTRY_POINT
    config = (
        PPOConfig()
        .environment(f"daytwo:{ENV}", env_config=SETTINGS)  # the form with the module's name registers in workers, too
        .env_runners(num_env_runners=0, num_envs_per_env_runner=LANES, gym_env_vectorize_mode=native)
        .training(lr=3e-3, gamma=0.9, lambda_=0.8, entropy_coeff=0.02, train_batch_size_per_learner=BATCH)
        .training(minibatch_size=BATCH // 4, num_epochs=4, use_kl_loss=False, grad_clip=0.5)
        .rl_module(model_config=network)
        .debugging(seed=0, log_level="ERROR")
    )
    algorithm = config.build_algo()
    report("before", algorithm)
    for _ in range(steps // BATCH):
        algorithm.train()
    report("after", algorithm)
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(int, sys.argv[1:]))
