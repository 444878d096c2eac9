"""Does a general learner emerge? One RL2 network on all discrete families but two, evaluated on all of them.

``python benchmarks/generalist.py`` trains on ``daytwo/Mixture-v0`` without the two (or takes up the run where it was
stopped), lets the network live up to 512 test lifetimes of every family's default course (fewer where they are long),
kept and wiped, and writes the table of docs/generalist.md; the figures are kept in docs/generalist.json.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pages import mean_and_error, write_between

import daytwo
from daytwo.agent import find_checkpoint, make_agent

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "docs" / "generalist.json"
HELD_OUT = ("DarkRoom", "TabularMDP")
MOST_LIFETIMES, STEPS_LIVED = 512, 250_000
OPTIONS = {
    "hidden_size": 96,
    "encoder_size": 96,
    "gated": True,
    "entropy": 0.02,
    "discount": 0.99,
}


def train_network(folder: Path, steps: int, seed: int, held_out: tuple[str, ...]) -> None:
    """Train, or go on training, in ``folder``, unless it is done."""
    from daytwo.integrations.training import train

    checkpoint = find_checkpoint(folder)
    if checkpoint is not None and json.loads((checkpoint / "config.json").read_text())["steps_done"] >= steps:
        return
    train(
        "rl2",
        "daytwo/Mixture-v0",
        steps=steps,
        seed=seed,
        out=folder,
        resume=checkpoint is not None,
        settings={"without": ",".join(held_out), "equal": "steps"},
        overrides=OPTIONS,
        evaluate=False,
        progress=sys.stderr.isatty(),
    )


def judge(folder: Path, family: str, held_out: bool) -> dict[str, Any]:
    """The network in one family, beside its twin, the best memoryless agent and the reference learner."""
    env_id = f"daytwo/{family}-v0"
    env = daytwo.LifetimeVectorEnv(env_id, 1)
    spec = env.lifetime_spec
    agent = make_agent(str(folder), spec)
    env.close()
    longest = spec.steps
    told = {"lifetimes": min(MOST_LIFETIMES, STEPS_LIVED // longest), "seed": 0}
    kept = daytwo.evaluate(agent, env_id, **told)
    wiped = daytwo.evaluate(agent, env_id, memory="wiped", **told)
    reference = daytwo.evaluate("reference", env_id, **told)
    areas, blanks = np.nanmean(kept.normalized, axis=1), np.nanmean(wiped.normalized, axis=1)
    episodes = np.bincount(kept.levels[kept.levels >= 0], minlength=len(kept.memoryless))
    rungs = np.maximum(np.nan_to_num(kept.memoryless), 0.0)
    return {
        "family": family,
        "held_out": held_out,
        "lifetimes": told["lifetimes"],
        "area": mean_and_error(areas),
        "wiped": mean_and_error(blanks),
        "difference": mean_and_error(areas - blanks),
        "memoryless": round(float(np.average(rungs, weights=episodes)), 4),
        "reference": round(float(np.nanmean(reference.normalized)), 4),
        "curve": np.nanmean(kept.normalized, axis=0).round(3).tolist(),
    }


def table(kept: dict[str, Any]) -> str:
    """The table, in Markdown."""
    lines = [
        f"{kept['steps'] / 1e6:.1f} million steps, {kept['seconds'] / 60:.0f} minutes on one thread, training seed "
        f"{kept['seed']}, {kept['parameters']} weights.",
        "",
        "| family | | lifetimes | area | wiped | kept - wiped | best memoryless | reference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(kept["rows"], key=lambda row: (not row["held_out"], row["family"])):
        means = [f"{row[key][0]:.3f} ± {row[key][1]:.3f}" for key in ("area", "wiped", "difference")]
        state = "**held out**" if row["held_out"] else "trained on"
        cells = [
            row["family"],
            state,
            str(row["lifetimes"]),
            *means,
            f"{row['memoryless']:.3f}",
            f"{row['reference']:.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/generalist"))
    parser.add_argument("--only-table", action="store_true")
    chosen = parser.parse_args(arguments)
    if not chosen.only_table:
        from daytwo.envs.mixture import FAMILIES

        train_network(chosen.out, chosen.steps, chosen.seed, HELD_OUT)
        checkpoint = find_checkpoint(chosen.out)
        assert checkpoint is not None
        config = json.loads((checkpoint / "config.json").read_text())
        names = [env_id.rpartition("/")[2].removesuffix("-v0") for env_id in FAMILIES]
        rows = [judge(chosen.out, name, name in HELD_OUT) for name in names]
        kept = {
            "steps": config["steps_done"],
            "seconds": config["seconds"],
            "seed": config["seed"],
            "parameters": config["policy"]["parameters"],
            "rows": rows,
        }
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    text = table(json.loads(KEPT.read_text()))
    write_between("generalist.md", "table", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
