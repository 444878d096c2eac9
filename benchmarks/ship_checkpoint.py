"""Put a trained agent among those that ship: ``python benchmarks/ship_checkpoint.py NAME RUN``; ``--table`` lists them.

NAME is what it is called (``rl2``, ``dpt``, ``ad``), RUN the folder of a run of ``daytwo train``. Whether it acts
greedily is decided on the validation split. Its figures on 1024 test lifetimes of the default course (seed 0), kept and
wiped, are written into its config.json, where tests take them from and the table of docs/learners.md is made from,
which is written as well.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pages import mean_and_error, write_between

import daytwo
from daytwo.agent import find_checkpoint

SHIPPED = Path(__file__).resolve().parent.parent / "baselines" / "checkpoints"
LIFETIMES, FEW, LARGEST = 1024, 64, 5_000_000


def figures(folder: Path, env_id: str, greedy: bool) -> dict[str, Any]:
    """Areas on the test split, with 95% intervals; also of the first few lifetimes, which a test can afford."""
    split = split_of(env_id, "test")
    kept, wiped = (evaluate(folder, env_id, greedy, LIFETIMES, split, memory) for memory in ("kept", "wiped"))
    areas, blanks = np.nanmean(kept.normalized, axis=1), np.nanmean(wiped.normalized, axis=1)
    difference = areas - blanks
    return {
        "lifetimes": LIFETIMES,
        "seed": 0,
        "area": mean_and_error(areas),
        "wiped": mean_and_error(blanks),
        "kept minus wiped": mean_and_error(difference),
        "curve": np.nanmean(kept.normalized, axis=0).round(4).tolist(),
        "memoryless": round(float(memoryless(kept)), 4),
        "few": {"lifetimes": FEW, "area": round(float(areas[:FEW].mean()), 6)},
    }


def memoryless(result: daytwo.Result) -> float:
    """The best memoryless rungs of the levels, averaged over the course's episodes."""
    episodes = np.bincount(result.levels[result.levels >= 0], minlength=len(result.memoryless))
    return float(np.average(np.maximum(np.nan_to_num(result.memoryless), 0.0), weights=episodes))


def table() -> str:
    """All that ship, in Markdown."""
    lines = [
        "| agent | environment | area | wiped | kept - wiped | best memoryless | acts | trained on | steps | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for file in sorted(SHIPPED.glob("*/*/config.json")):
        config = json.loads(file.read_text())
        told = config.get("figures")
        if told is None:
            continue
        means = [f"{told[key][0]:.3f} ± {told[key][1]:.3f}" for key in ("area", "wiped", "kept minus wiped")]
        reward = "return" if config.get("reward", {}).get("name") == "return" else "improvement"
        ways = [f"imitation of {config['imitated']}"] if config.get("imitated") else []
        ways += [] if config["config"].get("imitate") == 1.0 else [f"then {reward}" if ways else reward]
        ways += ["hidden tasks (privileged)"] if config["privileged"] else []
        acts = "greedy" if config["policy"].get("greedy") else "drawn"
        cost = [f"{config['steps_done'] / 1e6:.1f} M", f"{config['seconds'] / 60.0:.1f}"]
        cells = [
            file.parent.parent.name,
            config["env_id"],
            *means,
            f"{told['memoryless']:.3f}",
            acts,
            ", ".join(ways),
            *cost,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def split_of(env_id: str, wanted: str) -> str:
    """The split that is wanted, or ``all`` where the family has none."""
    return wanted if wanted in daytwo.make_family(env_id).splits else "all"


def evaluate(folder: Path, env_id: str, greedy: bool, lifetimes: int, split: str, memory: str) -> daytwo.Result:
    """An evaluation of the checkpoint in ``folder``."""
    env = daytwo.LifetimeVectorEnv(env_id, 1)
    agent = daytwo.make_agent(folder, env.lifetime_spec, greedy=greedy)
    env.close()
    return daytwo.evaluate(agent, env_id, lifetimes=lifetimes, seed=0, memory=memory, split=split)


def main(arguments: list[str]) -> int:
    """Choose, evaluate, copy."""
    if arguments == ["--table"]:
        write_between("learners.md", "shipped", table())
        print(table())
        return 0
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    name, run = arguments
    checkpoint = find_checkpoint(run)
    if checkpoint is None:
        raise SystemExit(f"{run!r} holds no checkpoint.")
    config = json.loads((checkpoint / "config.json").read_text())
    env_id = config["env_id"]
    split = split_of(env_id, "validation")
    areas = {
        greedy: float(np.nanmean(evaluate(checkpoint, env_id, greedy, 512, split, "kept").normalized))
        for greedy in (False, True)
    }
    greedy = areas[True] > areas[False]
    config["policy"]["greedy"] = greedy
    config["command"] = re.sub(r" --out \S+", "", config["command"])  # where it was written made no difference
    config["figures"] = figures(checkpoint, env_id, greedy)
    target = SHIPPED / name / env_id.rpartition("/")[2]
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(checkpoint / "policy.safetensors", target / "policy.safetensors")
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    size = sum(file.stat().st_size for file in target.iterdir())
    if size > LARGEST:
        raise SystemExit(f"{size / 1e6:.1f} MB are too much for a checkpoint that ships (at most 5).")
    write_between("learners.md", "shipped", table())
    told = config["figures"]
    print(f"{name} on {env_id}: area {told['area']}, wiped {told['wiped']}, {'greedy' if greedy else 'drawn'} actions")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
