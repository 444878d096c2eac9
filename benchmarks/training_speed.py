"""How fast RL2 trains, from end to end on one thread.

``python benchmarks/training_speed.py`` measures environment steps per second of whole training runs (acting, the
environment and learning) beside sb3-contrib's RecurrentPPO, with its own policy and with `LifetimeLstmPolicy` of
`daytwo.integrations.stable_baselines3_trainers`: on the same environment, at equal network width (64 recurrent units,
64 in the value's head) and with two epochs, in one process, in turns. Lanes, rollouts and minibatches are the same for
all; where a row says so, RecurrentPPO has the minibatches of sb3-contrib's default instead, 128 steps, which is what
most of the difference is there. A ratio's spread is that over the repetitions. Seconds are those of the processor, not
of the clock: on an idle machine they are the same, and on a shared one the clock would measure the others.

``python benchmarks/training_speed.py --to-score`` trains from scratch until the sampled policy's estimated score on
test tasks (`bandit_estimate.low_variance_returns`) is above a target at every later check, and goes on to the end of
its budget. Evaluations are not counted.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

ENV_ID = "daytwo/Bandit-v0"
WIDTH, EPOCHS = 64, 2
SINGLE = {"arms": 5, "pulls": 10, "course": "single", "episodes": 1, "reward": "raw"}
# name: settings of the environment, lanes, steps of a rollout, lifetimes in a minibatch, and whether RecurrentPPO has
# the minibatches of sb3-contrib's default.
GROUNDS: dict[str, tuple[dict[str, Any], int, int, int, bool]] = {
    "10 pulls, 64 lanes": (SINGLE, 64, 10, 16, False),
    "10 pulls, 1024 lanes": (SINGLE, 1024, 10, 128, False),
    "10 pulls, 1024 lanes, default minibatch": (SINGLE, 1024, 10, 128, True),
    "the full course, 256 lanes": ({}, 256, 120, 32, False),
    "the full course, 256 lanes, default minibatch": ({}, 256, 120, 32, True),
}
DEFAULT_MINIBATCH = 128  # steps, of sb3-contrib's RecurrentPPO
# name: settings, steps, options of RL2Config, target, checks. The learning rate and the entropy bonus fall over the
# steps, so that a longer budget would reach the target later and end higher.
BANDIT = {"arms": 5, "course": "single", "episodes": 1, "reward": "raw"}
ROUNDS: dict[str, tuple[dict[str, Any], int, dict[str, Any], float, int]] = {
    "5 arms, 10 pulls": (
        {**BANDIT, "pulls": 10},
        2_000_000,
        {
            "rollout_steps": None,
            "lifetimes_per_batch": 128,
            "batches_per_update": 8,
            "learning_rate": 3e-3,
            "entropy": 0.03,
        },
        6.5,
        10,
    ),
    "5 arms, 100 pulls": (
        {**BANDIT, "pulls": 100},
        30_000_000,
        {
            "rollout_steps": None,
            "lifetimes_per_batch": 64,
            "batches_per_update": 16,
            "learning_rate": 3e-3,
            "entropy": 0.05,
        },
        78.0,
        15,
    ),
}


def learners(ground: str) -> dict[str, Callable[[], Any]]:
    """What makes each Stable-Baselines3 model, by name."""
    from sb3_contrib import RecurrentPPO

    from daytwo.integrations.rl2 import RL2
    from daytwo.integrations.stable_baselines3 import LifetimeVecEnv
    from daytwo.integrations.stable_baselines3_trainers import LifetimeLstmPolicy

    settings, lanes, steps, lifetimes, default = GROUNDS[ground]
    batch = DEFAULT_MINIBATCH if default else lifetimes * steps
    same: dict[str, Any] = {"n_steps": steps, "n_epochs": EPOCHS, "learning_rate": 2e-3, "seed": 0, "device": "cpu"}

    def rl2() -> Any:
        env = LifetimeVecEnv(ENV_ID, lanes, seed=0, **settings)
        kwargs = {"hidden_size": WIDTH, "value_size": WIDTH}
        return RL2("GruPolicy", env, batch_lifetimes=lifetimes, policy_kwargs=kwargs, **same)

    def recurrent(policy: Any) -> Any:
        kwargs = {
            "lstm_hidden_size": WIDTH,
            "shared_lstm": True,
            "enable_critic_lstm": False,
            "net_arch": {"pi": [], "vf": [WIDTH]},
            "activation_fn": torch.nn.ReLU,
        }
        env = LifetimeVecEnv(ENV_ID, lanes, seed=0, **settings)
        return RecurrentPPO(policy, env, batch_size=batch, policy_kwargs=kwargs, **same)

    return {
        "RL2": rl2,
        "RecurrentPPO, LifetimeLstmPolicy": lambda: recurrent(LifetimeLstmPolicy),
        "RecurrentPPO, MlpLstmPolicy": lambda: recurrent("MlpLstmPolicy"),
    }


def measure(ground: str, repetitions: int, seconds: float) -> dict[str, np.ndarray]:
    """Steps per second of processor time, by learner, one figure per repetition; the learners take turns."""
    models = {name: make() for name, make in learners(ground).items()}
    lengths = {}
    for name, model in models.items():
        update = model.n_envs * model.n_steps
        model.learn(update)  # compiles, and warms up
        started = time.process_time()
        model.learn(update, reset_num_timesteps=False)
        lengths[name] = update * max(1, round(seconds / (time.process_time() - started)))
    rates: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(repetitions):
        for name, model in models.items():
            before, started = model.num_timesteps, time.process_time()
            model.learn(lengths[name], reset_num_timesteps=False)
            rates[name].append((model.num_timesteps - before) / (time.process_time() - started))
    return {name: np.array(values) for name, values in rates.items()}


def print_speeds(repetitions: int, seconds: float) -> None:
    """Measure on all grounds, and print a table."""
    for ground in GROUNDS:
        rates = measure(ground, repetitions, seconds)
        _, _, steps, lifetimes, default = GROUNDS[ground]
        others = f"; RecurrentPPO: {DEFAULT_MINIBATCH} steps" if default else ""
        print(f"\nBandit, {ground}: {steps} steps a rollout, minibatches of {lifetimes * steps} steps{others}\n")
        print("| learner | steps per second | RL2 is faster by | least to most |\n|---|---|---|---|", flush=True)
        for name, values in rates.items():
            ratio = rates["RL2"] / values
            spread = f"{np.median(ratio):.1f} times | {ratio.min():.1f} to {ratio.max():.1f}" if name != "RL2" else "|"
            print(f"| {name} | {np.median(values):,.0f} | {spread} |", flush=True)


def train_to_score(name: str, seed: int) -> None:
    """Train one of `ROUNDS`, print every check, and when the score stayed above the target."""
    from bandit_estimate import low_variance_returns

    from daytwo.integrations.rl2_trainer import make
    from daytwo.integrations.training_config import RL2Config

    settings, steps, options, target, checks = ROUNDS[name]
    trainer = make(ENV_ID, config=RL2Config(**options), settings=settings, steps=steps, num_envs=None, seed=seed)
    spent = clock = 0.0
    reached: tuple[int, float, float] | None = None
    print(f"\nBandit, {name}, seed {seed}: target {target}", flush=True)
    for check in range(1, checks + 1):
        started, began = time.process_time(), time.perf_counter()
        while trainer.steps < steps * check / checks:
            trainer.advance()
        spent, clock = spent + time.process_time() - started, clock + time.perf_counter() - began
        totals = low_variance_returns(
            trainer.agent(),
            arms=settings["arms"],
            pulls=settings["pulls"],
            lifetimes=10_000 if check == checks else 2_000,
        )
        score, error = float(totals.mean()), float(1.96 * totals.std(ddof=1) / np.sqrt(len(totals)))
        if score < target:
            reached = None
        elif reached is None:
            reached = (trainer.steps, spent, clock)
        print(
            f"  {trainer.steps:>10,} steps {spent:6.1f} s of the processor ({clock:6.1f} s of the clock) "
            f"{score:.3f} ± {error:.3f}",
            flush=True,
        )
    trainer.close()
    if reached is None:
        print(f"  not reached: {score:.3f} after {spent:.1f} s")
    else:
        spans = f"{reached[0]:,} steps, {reached[1]:.1f} s of the processor ({reached[2]:.1f} s of the clock)"
        print(f"  above {target} from {spans} on; {score:.3f} at the end")


def main(arguments: list[str]) -> int:
    """Measure speeds, or times to a score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to-score", nargs="*", metavar="ROUND", help=f"some of {', '.join(ROUNDS)}; all by default")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of each learner in a repetition, at least an update"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the trainings of --to-score")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if chosen.to_score is None:
        print_speeds(chosen.repetitions, chosen.seconds)
        return 0
    unknown = [name for name in chosen.to_score if name not in ROUNDS]
    if unknown:
        parser.error(f"unknown round {unknown[0]!r}: expected some of {', '.join(ROUNDS)}")
    for name in chosen.to_score or ROUNDS:
        train_to_score(name, chosen.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
