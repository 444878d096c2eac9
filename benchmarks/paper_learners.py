"""RL2 on the grounds of its paper (Duan et al. 2016, arXiv 1611.02779): Bernoulli bandits and random MDPs.

``python benchmarks/paper_learners.py [ROW ...]`` trains what is missing, evaluates it on 10,000 test tasks, keeps the
figures in docs/paper_learners.json (it can be stopped and goes on where it was) and writes the table of
docs/learners.md; ``--only-table`` does that alone. Bandits are judged by `bandit_estimate.low_variance_returns`, MDPs
by their returns.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from pages import mean_and_error, write_between

import daytwo
from daytwo.agent import make_agent

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "paper_learners.json"
TASKS = 10_000
# The best hand-made agent of each, on the same tasks: differences are of pairs.
HAND_MADE = {"daytwo/Bandit-v0": "ucb1", "daytwo/TabularMDP-v0": "posterior-greedy"}

BANDIT = {"course": "single", "episodes": 1, "reward": "raw"}
MDP = {"states": 10, "actions": 5, "course": "single", "reward": "raw"}
SHORT = {
    "rollout_steps": None,
    "lifetimes_per_batch": 512,
    "batches_per_update": 8,
    "learning_rate": 3e-3,
    "entropy": 0.05,
}
LONG = {
    "rollout_steps": None,
    "lifetimes_per_batch": 64,
    "batches_per_update": 16,
    "learning_rate": 3e-3,
    "entropy": 0.05,
}
# It predicts what the Gittins index would do, and rewards teach nothing.
IMITATOR = {
    "rollout_steps": None,
    "hidden_size": 128,
    "gated": True,
    "previous": True,
    "encoder_size": 64,
    "lifetimes_per_batch": 16,
    "batches_per_update": 16,
    "learning_rate": 3e-3,
    "entropy": 0.0,
    "imitate": 1.0,
}
# A gate, the observation before the present one and a keyed memory; rewards alone teach.
PLANNER = {
    "rollout_steps": None,
    "hidden_size": 96,
    "gated": True,
    "previous": True,
    "encoder_size": 64,
    "memory_heads": 2,
    "lifetimes_per_batch": 32,
    "batches_per_update": 16,
    "learning_rate": 3e-3,
    "gae_lambda": 0.5,
    "entropy": 0.03,
}
# name: environment, settings, steps, options, the target, and what hand-made agents and papers reach.
ROWS: dict[str, tuple[str, dict[str, Any], int, dict[str, Any], float, str]] = {
    "bandit n=10 k=5": (
        "daytwo/Bandit-v0",
        {"arms": 5, "pulls": 10, **BANDIT},
        10_000_000,
        SHORT,
        6.64,
        "exact optimum 6.660, tuned UCB1 6.659; published RL2 6.7",
    ),
    "bandit n=10 k=10": (
        "daytwo/Bandit-v0",
        {"arms": 10, "pulls": 10, **BANDIT},
        10_000_000,
        SHORT,
        6.68,
        "published RL2 6.7",
    ),
    "bandit n=100 k=5": (
        "daytwo/Bandit-v0",
        {"arms": 5, "pulls": 100, **BANDIT},
        37_000_000,
        LONG,
        78.4,
        "tuned UCB1 78.43; published RL2 78.7",
    ),
    "bandit n=100 k=10": (
        "daytwo/Bandit-v0",
        {"arms": 10, "pulls": 100, **BANDIT},
        47_000_000,
        LONG,
        83.3,
        "tuned UCB1 83.31; published RL2 83.5",
    ),
    "bandit n=100 k=5, imitating the Gittins index": (
        "daytwo/Bandit-v0",
        {"arms": 5, "pulls": 100, **BANDIT},
        30_000_000,
        IMITATOR,
        78.4,
        "as above",
    ),
    "bandit n=100 k=10, imitating the Gittins index": (
        "daytwo/Bandit-v0",
        {"arms": 10, "pulls": 100, **BANDIT},
        30_000_000,
        IMITATOR,
        83.3,
        "as above",
    ),
    "mdp n=10": (
        "daytwo/TabularMDP-v0",
        {**MDP, "episodes": 10},
        10_000_000,
        PLANNER,
        154.4,
        "posterior-greedy 154.4, tuned Q-learning 160.5; published RL2 156.2",
    ),
    "mdp n=10, a GRU alone": (
        "daytwo/TabularMDP-v0",
        {**MDP, "episodes": 10},
        24_000_000,
        {**PLANNER, "gated": False, "previous": False, "encoder_size": 0, "memory_heads": 0},
        154.4,
        "as above",
    ),
    "mdp n=10, privileged loss": (
        "daytwo/TabularMDP-v0",
        {**MDP, "episodes": 10},
        16_000_000,
        {**PLANNER, "encoder_size": 96, "memory_heads": 0, "belief": 4.0},
        154.4,
        "as above; no keyed memory, predicts the task's rewards and transitions in training",
    ),
    "mdp n=25": (
        "daytwo/TabularMDP-v0",
        {**MDP, "episodes": 25},
        15_000_000,
        PLANNER,
        433.0,
        "posterior-greedy 433.4, tuned Q-learning 448.6; published RL2 445.7",
    ),
}


def judge(agent: Any, env_id: str, settings: dict[str, Any]) -> np.ndarray:
    """Total reward of every one of 10,000 test lifetimes; on bandits the low-variance estimate of it."""
    from bandit_estimate import low_variance_returns

    if env_id == "daytwo/Bandit-v0":
        return low_variance_returns(agent, arms=settings["arms"], pulls=settings["pulls"], lifetimes=TASKS)
    told = {key: value for key, value in settings.items() if key != "reward"}
    return daytwo.evaluate(agent, env_id, lifetimes=TASKS, seed=0, **told).returns.sum(axis=1)


def train_and_evaluate(name: str, seed: int) -> dict[str, Any]:
    """One training of a row, judged with drawn and with greedy actions."""
    import torch

    from daytwo.integrations.rl2_trainer import make
    from daytwo.integrations.training_config import RL2Config

    torch.set_num_threads(1)
    env_id, settings, steps, options, _, _ = ROWS[name]
    started = time.perf_counter()
    trainer = make(env_id, config=RL2Config(**options), settings=settings, steps=steps, num_envs=None, seed=seed)
    while trainer.steps < steps:
        trainer.advance()
    row: dict[str, Any] = {"row": name, "seed": seed, "steps": trainer.steps}
    row["seconds"] = round(time.perf_counter() - started, 1)
    agent = trainer.agent()
    others = judge(make_agent(HAND_MADE[env_id], trainer.spec), env_id, settings)
    for kind, greedy in (("drawn", False), ("greedy", True)):
        agent.greedy = greedy
        totals = judge(agent, env_id, settings)
        row[kind], row[f"{kind}_error"] = mean_and_error(totals)
        row[f"{kind}_difference"], row[f"{kind}_difference_error"] = mean_and_error(totals - others)
    trainer.close()
    return row


def table(kept: list[dict[str, Any]]) -> str:
    """The table, in Markdown: one line per training."""
    lines = [
        "| | seed | drawn actions | greedy | the better minus hand-made, same tasks | asked for | others | steps | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, (env_id, _, _, _, target, others) in ROWS.items():
        for row in sorted((row for row in kept if row["row"] == name), key=lambda row: row["seed"]):
            better = "drawn" if row["drawn"] > row["greedy"] else "greedy"
            figures = [f"{row[kind]:.3f} ± {row[f'{kind}_error']:.3f}" for kind in ("drawn", "greedy")]
            pair = f"{row[f'{better}_difference']:+.3f} ± {row[f'{better}_difference_error']:.3f} ({HAND_MADE[env_id]})"
            cost = [f"{row['steps'] / 1e6:.0f} M", f"{row['seconds']:.0f}"]
            lines.append(
                "| " + " | ".join([name, str(row["seed"]), *figures, pair, f"{target:g}", others, *cost]) + " |"
            )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="; ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=1, help="training seeds, from 0 on")
    parser.add_argument("--only-table", action="store_true")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.rows if name not in ROWS]
    if unknown:
        parser.error(f"unknown row {unknown[0]!r}: expected some of {', '.join(ROWS)}")
    for seed in range(chosen.seeds):
        for name in () if chosen.only_table else chosen.rows or ROWS:
            kept = json.loads(KEPT.read_text()) if KEPT.is_file() else []
            if any((row["row"], row["seed"]) == (name, seed) for row in kept):
                continue
            row = train_and_evaluate(name, seed)
            kept = json.loads(KEPT.read_text()) if KEPT.is_file() else []
            KEPT.write_text("[\n" + ",\n".join(json.dumps(one) for one in [*kept, row]) + "\n]\n")
            print(row, flush=True)
    text = table(json.loads(KEPT.read_text()) if KEPT.is_file() else [])
    write_between("learners.md", "paper", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
