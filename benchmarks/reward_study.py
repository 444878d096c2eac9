"""Which reward makes better learners? The same RL2, budget and seeds, paid by different rules.

``python benchmarks/reward_study.py`` trains one agent for every environment, rule and training seed, evaluates each on
the same 1024 test lifetimes, keeps the figures in docs/reward_study.json (it can be stopped and goes on where it
was), and writes the tables and the picture of docs/which_reward.md. ``--only-pages`` writes those alone.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from pages import write_between

import daytwo
from daytwo.improvement import EXPLOITABLE_RULES, ImprovementRule

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "reward_study.json"
PICTURE = ROOT / "docs" / "which_reward.png"

RULES: dict[str, dict[str, object]] = {
    "return": {"reward": "return"},
    "improvement, rate .1": {"reward": "improvement", "rate": 0.1},
    "improvement, rate .25": {"reward": "improvement", "rate": 0.25},
    "improvement, rate .5": {"reward": "improvement", "rate": 0.5},
    "final": {"reward": "final"},
    "best": {"reward": "best"},
    "mean": {"reward": "mean"},
    "difference": {"reward": "difference"},
}
# Environment, its settings, environment steps of one training, and what differs from RL2's defaults.
STUDIES: dict[str, tuple[str, dict[str, object], int, dict[str, object]]] = {
    "Bandit": (
        "daytwo/Bandit-v0",
        {"arms": 5, "pulls": 10, "course": "single", "level": 0, "episodes": 5},
        2_500_000,
        {"rollout_steps": 50, "entropy": 0.03},
    ),
    "DarkRoom": (
        "daytwo/DarkRoom-v0",
        {"course": "single", "level": 0, "episodes": 5},
        3_000_000,
        {"rollout_steps": 60, "entropy": 0.02},
    ),
    "Workplace": (
        "daytwo/Workplace-v0",
        {"course": "single", "level": 0, "episodes": 10},
        3_000_000,
        {"rollout_steps": 140, "discount": 1.0, "gae_lambda": 0.95, "entropy": 0.03, "lifetimes_per_batch": 32},
    ),
    # The same, from a policy that has learnt in the first two fifths to predict the reference learner: does it go on?
    "Workplace, imitated first": (
        "daytwo/Workplace-v0",
        {"course": "single", "level": 0, "episodes": 10},
        3_000_000,
        {
            "rollout_steps": 140,
            "discount": 1.0,
            "gae_lambda": 0.95,
            "entropy": 0.03,
            "lifetimes_per_batch": 32,
            "encoder_size": 64,
            "gated": True,
            "previous": True,
            "memory_heads": 2,
            "imitate": 0.4,
        },
    ),
    "Maze": (
        "daytwo/Maze-v0",
        {"course": "single", "level": 0, "episodes": 5},
        3_000_000,
        {"rollout_steps": 120, "entropy": 0.02},
    ),
    "Maze, imitated first": (
        "daytwo/Maze-v0",
        {"course": "single", "level": 0, "episodes": 5},
        2_500_000,
        {
            "entropy": 0.005,
            "encoder_size": 64,
            "gated": True,
            "previous": True,
            "memory_units": 48,
            "places": ("heading", "walls_behind"),
            "place_width": 13,
            "place_ahead": 7,
            "lifetimes_per_batch": 16,
            "batches_per_update": 16,
            "imitate": 0.4,
        },
    ),
}
# Not paid by a rule, for comparison: the family's hand-made agents, and PPO without a memory, paid by improvement.
CONTROLS = {"(reference learner)": "reference", "(hand-made, no memory)": "reactive", "(PPO, no memory)": "ppo"}
PPO_STEPS = 1_000_000
LIFETIMES = 1024


def train_and_evaluate(study: str, rule: str, seed: int) -> dict[str, object]:
    """One agent, trained and lived: its mean curve, kept and wiped, and diagnostics."""
    import torch

    from daytwo.integrations.rl2_trainer import make
    from daytwo.integrations.stable_baselines3_trainers import make_ppo
    from daytwo.integrations.training_config import PPOConfig, RL2Config

    torch.set_num_threads(1)
    env_id, settings, steps, options = STUDIES[study]
    started, done = time.perf_counter(), 0
    agent: Any = CONTROLS.get(rule)
    if rule in RULES or agent == "ppo":
        paid = {**settings, **RULES.get(rule, RULES["improvement, rate .25"])}
        if rule in RULES:
            trainer = make(env_id, config=RL2Config(**options), settings=paid, steps=steps, num_envs=None, seed=seed)
        else:
            steps = PPO_STEPS
            trainer = make_ppo(env_id, config=PPOConfig(), settings=paid, steps=steps, num_envs=None, seed=seed)
        while trainer.steps < steps:
            trainer.advance()
        agent, done = trainer.agent(), trainer.steps
        trainer.close()
    seconds = time.perf_counter() - started
    kept = daytwo.evaluate(agent, env_id, lifetimes=LIFETIMES, seed=0, **settings)
    wiped = daytwo.evaluate(agent, env_id, lifetimes=LIFETIMES, seed=0, memory="wiped", **settings)
    figures: dict[str, object] = {
        "study": study,
        "rule": rule,
        "seed": seed,
        "steps": done,
        "seconds": round(seconds, 1),
        "curve": np.nanmean(kept.normalized, axis=0).round(4).tolist(),
        "wiped": np.nanmean(wiped.normalized, axis=0).round(4).tolist(),
        "error": float(np.nanmean(kept.normalized, axis=1).std(ddof=1) / np.sqrt(LIFETIMES)),
        "first_error": float(kept.normalized[:, 0].std(ddof=1) / np.sqrt(LIFETIMES)),
    }
    for name, values in kept.diagnostics.items():
        figures[name] = np.nanmean(values, axis=0).round(4).tolist()
    return figures


def read() -> list[dict]:
    """The figures that are kept."""
    return json.loads(KEPT.read_text()) if KEPT.is_file() else []


def interval(values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Mean over training seeds and the half width of its 95% interval.

    Student's t over the seeds, never narrower than the test lifetimes' own error allows.
    """
    from scipy.stats import t

    count = len(values)
    own = 1.96 * float(np.sqrt((errors**2).sum())) / count
    if count < 2:
        return float(values.mean()), own
    between = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return float(values.mean()), max(own, between)


def temptation(rows: list[dict]) -> str:
    """What the exploitable rules pay a lifetime for the mean curves that they and *return* lead to, in words."""
    curves = {
        rule: np.mean([row["curve"] for row in rows if row["rule"] == rule], axis=0).tolist()
        for rule in ("return", *EXPLOITABLE_RULES)
    }
    told = []
    for rule in EXPLOITABLE_RULES:
        pay = ImprovementRule(rule).pay
        others = ", ".join(f"{sum(pay(curve)):.2f} for that of *{name}*" for name, curve in curves.items())
        told.append(f"*{rule}* pays {others}")
    return f"Of the mean curves, {'; '.join(told)}."


def tables(rows: list[dict]) -> str:
    """The tables of the page, in Markdown."""
    parts = []
    for study in STUDIES:
        mine = [row for row in rows if row["study"] == study]
        if not mine:
            continue
        seeds = sorted({row["seed"] for row in mine})
        trained = [row for row in mine if row["rule"] in RULES]
        steps, seconds = trained[0]["steps"], np.mean([row["seconds"] for row in trained])
        parts.append(
            f"### {study}\n\n{steps / 1e6:.1f} million steps, {seconds:.0f} s on one thread each; training seeds "
            f"{', '.join(map(str, seeds))}.\n"
        )
        kicking = "can_kicking_rate" in mine[0]
        extra = " suppressed, first day | last day |" if kicking else ""
        parts.append(f"| paid by | area | first | final | gain | learning |{extra}")
        parts.append("|---|---|---|---|---|---|" + ("---|---|" if kicking else ""))
        for rule in (*RULES, *CONTROLS):
            here = [row for row in mine if row["rule"] == rule]
            if not here:
                continue
            curves, wiped = np.array([row["curve"] for row in here]), np.array([row["wiped"] for row in here])
            errors, firsts = np.array([row["error"] for row in here]), np.array([row["first_error"] for row in here])
            cells = [
                interval(curves.mean(1), errors),
                interval(curves[:, 0], firsts),
                interval(curves[:, -1], firsts),
                interval(curves[:, -1] - curves[:, 0], np.sqrt(2.0) * firsts),
                interval(curves.mean(1) - wiped.mean(1), np.sqrt(2.0) * errors),
            ]
            name = f"{rule} (exploitable)" if rule in EXPLOITABLE_RULES else rule
            line = f"| {name} | " + " | ".join(f"{mean:.3f} ± {half:.3f}" for mean, half in cells) + " |"
            if kicking:
                shares = np.array([row["can_kicking_rate"] for row in here]).mean(0)
                line += f" {shares[0]:.2f} | {shares[-1]:.2f} |"
            parts.append(line)
        parts.append("")
        parts.append(temptation(mine) + "\n")
        if kicking:
            days = len(mine[0]["can_kicking_rate"])
            parts.append("Share of the tickets that were suppressed instead of fixed, by day:\n")
            parts.append("| paid by | " + " | ".join(str(day + 1) for day in range(days)) + " |")
            parts.append("|---" * (days + 1) + "|")
            for rule in (*RULES, *CONTROLS):
                shares = [row["can_kicking_rate"] for row in mine if row["rule"] == rule]
                if shares:
                    means = " | ".join(f"{value:.2f}" for value in np.mean(shares, axis=0))
                    parts.append(f"| {rule} | {means} |")
            parts.append("")
    return "\n".join(parts)


def draw(rows: list[dict]) -> None:
    """The picture of the page: adaptation curves by rule."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [study for study in STUDIES if any(row["study"] == study for row in rows)]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.4 * len(shown), 3.4), squeeze=False)
    colors = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, 6))
    for axis, study in zip(axes[0], shown, strict=True):
        for index, rule in enumerate(RULES):
            curves = [row["curve"] for row in rows if row["study"] == study and row["rule"] == rule]
            if not curves:
                continue
            exploitable = rule in EXPLOITABLE_RULES
            color = ("crimson" if rule == "difference" else "darkorange") if exploitable else colors[index]
            mean = np.mean(curves, axis=0)
            axis.plot(np.arange(1, len(mean) + 1), mean, "--" if exploitable else "-", color=color, label=rule)
        axis.axhline(0.0, color="gray", linewidth=0.6)
        axis.set_title(study)
        axis.set_xlabel("episode")
    axes[0][0].set_ylabel("normalised return")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(PICTURE, dpi=130)


def main(arguments: list[str]) -> int:
    """Train what is missing, then write the page's tables and picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="training seeds, from 0 on")
    parser.add_argument("--studies", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--only-pages", action="store_true")
    chosen = parser.parse_args(arguments)
    rows = read()
    if not chosen.only_pages:
        todo = [
            (study, rule, seed)
            for seed in range(chosen.seeds)
            for study in chosen.studies
            for rule in (*RULES, *CONTROLS)
            if not any((row["study"], row["rule"], row["seed"]) == (study, rule, seed) for row in rows)
            and (seed == 0 or rule in RULES)
        ]
        for index, (study, rule, seed) in enumerate(todo):
            row = train_and_evaluate(study, rule, seed)
            rows = [*read(), row]  # another process may have written meanwhile
            KEPT.write_text("[\n" + ",\n".join(json.dumps(one) for one in rows) + "\n]\n")
            curve = " ".join(f"{value:.2f}" for value in row["curve"])  # type: ignore[attr-defined]
            print(f"{index + 1}/{len(todo)} {study}, {rule}, seed {seed}: {curve} ({row['seconds']} s)", flush=True)
    text = tables(rows)
    print(text)
    write_between("which_reward.md", "tables", text)
    draw(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
