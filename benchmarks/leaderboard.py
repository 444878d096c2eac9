"""Keep the committed results of all baselines, and make README's and the docs' tables from them.

    python benchmarks/leaderboard.py leaderboard.sqlite   # what `daytwo benchmark core,adapt` left
    python benchmarks/leaderboard.py                      # the tables and the picture, from the committed results
    python benchmarks/leaderboard.py --check              # do they agree? status 1 if they do not

`make leaderboard` does all of it. The committed results are baselines/results/<protocol>.json: scores with intervals,
curves, and how they came about. Between its marks, README.md gets the leaderboard and each family's reference learner,
reactive agent and oracle; docs/results.md gets all agents; docs/adaptation_curve.png is DarkRoom's.
"""

import json
import math
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daytwo.evaluation.statistics import number_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "baselines" / "results"
PROTOCOLS = ("core", "adapt")
COMMAND = "daytwo benchmark core,adapt"
DIGITS = 6
CURVE_DIGITS = 4
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


# --- the committed results ------------------------------------------------------------------------------------------


def _rounded(value: Any, digits: int = DIGITS) -> Any:
    """Numbers with as many decimals as are kept; what is undefined is None."""
    if isinstance(value, list | tuple):
        return [_rounded(one, digits) for one in value]
    return round(value, digits) + 0.0 if math.isfinite(value) else None


def _estimate(one: Any) -> list[float | None] | None:
    return None if one is None else _rounded([one.value, one.low, one.high])


def summarise(store: str | Path) -> dict[str, dict[str, Any]]:
    """What is kept of a results file, by protocol.

    Raises:
        SystemExit: a protocol is not complete.
    """
    from daytwo.evaluation.cells import environment_code
    from daytwo.evaluation.collecting import collect, judge
    from daytwo.evaluation.sections import build_suites

    collection = collect([store])
    judge(collection)
    kept = {}
    for suite in build_suites(collection):
        name = suite.protocol.partition("-v")[0]
        if suite.protocol not in collection.tallies or name not in PROTOCOLS or " with " in suite.protocol:
            continue
        tally = collection.tallies[suite.protocol]
        if tally.failed or tally.missing:
            raise SystemExit(f"{suite.protocol} is not complete: {tally}.")
        entries = [entry for group in suite.environments.values() for entry in group.reported]
        kept[name] = {
            "protocol": suite.protocol,
            "command": COMMAND,
            "lifetimes": sorted({entry.result.lifetimes for entry in entries}),
            "seed": sorted({entry.result.seed for entry in entries}),
            "versions": dict(entries[0].result.versions),
            "environment_code": environment_code(entries[0].cell["code"]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "processor_seconds": round(sum(entry.seconds for entry in entries)),
            "evaluations": tally.stored,
            "suite": [_suite_row(agent) for agent in suite.agents],
            "environments": {
                env_id: {"course": group.title, "agents": [_agent_row(entry) for entry in group.reported]}
                for env_id, group in suite.environments.items()
            },
        }
    if set(kept) != set(PROTOCOLS):
        raise SystemExit(f"{store} must hold {' and '.join(PROTOCOLS)}; it holds {', '.join(collection.tallies)}.")
    return kept


def _suite_row(agent: Any) -> dict[str, Any]:
    score = agent.score
    names = ("area", "learning", "mean", "optimality_gap", "twin_area", "first_episode_deficit")
    return {
        "agent": agent.label,
        "privileged": agent.privileged,
        "provenance": agent.provenance,
        **{name: _estimate(getattr(score, name)) for name in names},
        "deficits": agent.deficits,
        "faults": [list(fault) for fault in agent.faults],
    }


def _agent_row(entry: Any) -> dict[str, Any]:
    scores = entry.scores
    names = ("area", "learning", "twin_area", "first", "final", "regret", "first_episode_deficit")
    return {
        "agent": entry.label,
        "role": entry.result.role,
        "privileged": entry.result.privileged,
        "provenance": dict(entry.result.provenance),
        **{name: _estimate(getattr(scores, name)) for name in names},
        "learning_bound": scores.learning_bound,
        "starts_below_random": entry.deficit,
        "redrawn_excess": _estimate(scores.redrawn.excess) if scores.redrawn else None,
        "redrawn_flag": entry.flag,
        "faults": [fault.name for fault in entry.faults],
        "seconds": round(entry.seconds, 1),
        "stages": [stage.name for stage in scores.stages],
        "curves": [_rounded(stage.curve.tolist(), CURVE_DIGITS) for stage in scores.stages],
        "twin_curves": [_rounded(curve.tolist(), CURVE_DIGITS) for curve in entry.twin_curves],
    }


def write_results(kept: dict[str, dict[str, Any]]) -> None:
    """Write the committed results, one line for each agent so that changes can be read."""
    RESULTS.mkdir(exist_ok=True)
    for name, found in kept.items():
        lines = ["{"]
        for key, value in found.items():
            if key not in ("suite", "environments"):
                lines.append(f" {json.dumps(key)}: {json.dumps(value)},")
        rows = ",\n".join(f"  {json.dumps(row)}" for row in found["suite"])
        lines.append(f' "suite": [\n{rows}\n ],')
        blocks = []
        for env_id, block in found["environments"].items():
            agents = ",\n".join(f"   {json.dumps(row)}" for row in block["agents"])
            blocks.append(
                f'  {json.dumps(env_id)}: {{"course": {json.dumps(block["course"])}, "agents": [\n{agents}\n  ]}}'
            )
        lines.append(' "environments": {\n' + ",\n".join(blocks) + "\n }\n}")
        (RESULTS / f"{name}.json").write_text("\n".join(lines) + "\n")


def read_results() -> dict[str, dict[str, Any]]:
    """The committed results by protocol."""
    return {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in PROTOCOLS}


# --- tables ---------------------------------------------------------------------------------------------------------


def _text(one: list[float | None] | None) -> str:
    if one is None or one[0] is None:
        return "-"
    value, low, high = (number_text(math.nan if part is None else part) for part in one)
    return f"{value} [{low}, {high}]"


def _markdown(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def leaderboard(kept: dict[str, dict[str, Any]]) -> str:
    """The suite scores of all agents that live in all environments, as Markdown."""
    columns = ("agent", "core: suite score", "learning", "adapt: suite score", "learning")
    by_name = {name: {row["agent"]: row for row in found["suite"]} for name, found in kept.items()}
    rows = []
    for row in kept["core"]["suite"]:
        label = f"{row['agent']} (privileged)" if row["privileged"] else row["agent"]
        cells = [_text(by_name[name][row["agent"]][metric]) for name in PROTOCOLS for metric in ("area", "learning")]
        rows.append([label, *cells])
    return _markdown(columns, rows)


def by_environment(kept: dict[str, dict[str, Any]], chosen: Callable[[dict[str, Any]], bool]) -> str:
    """Area and learning of agents on every environment, as Markdown.

    Args:
        kept: the committed results.
        chosen: whether an agent's row is shown.
    """
    columns = ("environment", "agent", "core: area", "learning", "adapt: area", "learning")
    rows = []
    for env_id, block in kept["core"]["environments"].items():
        others = {row["agent"]: row for row in kept["adapt"]["environments"][env_id]["agents"]}
        for row in block["agents"]:
            if chosen(row):
                other = others[row["agent"]]
                label = f"{row['role']}: {row['agent']}" if row["role"] else row["agent"]
                told = row["provenance"].get("privileged")
                label += " (privileged)" if row["privileged"] else " (privileged training)" if told else ""
                cells = [one[metric] for one in (row, other) for metric in ("area", "learning")]
                rows.append([env_id, label, *map(_text, cells)])
    return _markdown(columns, rows)


def provenance(kept: dict[str, dict[str, Any]]) -> str:
    """How the results came about, in a sentence or two."""
    core = kept["core"]
    minutes = sum(found["processor_seconds"] for found in kept.values()) / 60
    count = sum(found["evaluations"] for found in kept.values())
    versions = ", ".join(f"{name} {version}" for name, version in core["versions"].items())
    protocols = " and ".join(found["protocol"] for found in kept.values())
    return (
        f"{protocols}, {core['lifetimes'][0]} lifetimes on test tasks, seed {core['seed'][0]}: {count} evaluations, "
        f"{minutes:.0f} minutes of one core ({core['machine']}; {versions}). "
        f"Made by `make leaderboard`, which runs `{core['command']}` and `python benchmarks/leaderboard.py`."
    )


def pages(kept: dict[str, dict[str, Any]]) -> dict[Path, str]:
    """The texts that are made from the committed results, by file."""
    readme = (ROOT / "README.md").read_text()
    before, after = readme[: readme.index(BEGIN) + len(BEGIN)], readme[readme.index(END) :]
    short = by_environment(kept, lambda row: row["role"] != "" or row["agent"] in ("oracle", "rl2"))
    results = "\n".join(
        [
            "# Results of all agents",
            "",
            provenance(kept),
            "",
            "*Area*: mean normalised return over the lifetime (0 is random, 1 the oracle). *Learning*: area minus the "
            "larger of the amnesiac twin's area and the best memoryless rung: what is due to remembering earlier "
            "episodes. Both with 95% intervals; [evaluation.md](evaluation.md) explains all of it.",
            "",
            "## Agents that live in all environments",
            "",
            leaderboard(kept),
            "",
            "## Every agent on every environment",
            "",
            by_environment(kept, lambda row: True),
            "",
        ]
    )
    return {
        ROOT / "README.md": "\n".join([before, leaderboard(kept), "", short, "", f"*{provenance(kept)}*", after]),
        ROOT / "docs" / "results.md": results,
    }


def check() -> list[Path]:
    """The files whose tables differ from the committed results."""
    return [path for path, text in pages(read_results()).items() if not path.exists() or path.read_text() != text]


# --- the picture ----------------------------------------------------------------------------------------------------


def picture(kept: dict[str, dict[str, Any]], path: Path, env_id: str = "daytwo/DarkRoom-v0") -> None:
    """The adaptation curve of a family's reference learner with its twin, over a progressive course."""
    import matplotlib
    import numpy as np

    from daytwo.registration import make_family

    matplotlib.use("Agg")
    from matplotlib import pyplot

    agents = kept["core"]["environments"][env_id]["agents"]
    learner = next(row for row in agents if row["role"] == "reference")
    by_name = {row["agent"]: row for row in agents}
    levels = make_family(env_id).levels
    figure, axes = pyplot.subplots(figsize=(9, 3.6))
    shown = (
        (by_name["oracle"]["curves"], "oracle: knows the hidden task", "#000000", "-"),
        (learner["curves"], "a learner that remembers", "#0072B2", "-"),
        (learner["twin_curves"], "the same, memory wiped each episode", "#D55E00", "--"),
        (by_name["random"]["curves"], "random", "#999999", "-"),
    )
    for curves, label, colour, style in shown:
        at = 0
        for stage, curve in enumerate(curves):
            mean, low, high = np.array(curve)
            episodes = at + 1 + np.arange(len(mean))
            axes.plot(episodes, mean, style, color=colour, label=label if stage == 0 else None, linewidth=2)
            axes.fill_between(episodes, low, high, color=colour, alpha=0.2, linewidth=0)
            at += len(mean)
    at = 0
    for stage, curve in enumerate(learner["curves"]):
        width = len(curve[0])
        if stage:
            axes.axvline(at + 0.5, color="#bbbbbb", linewidth=1)
        axes.text(at + (width + 1) / 2, 1.07, levels[stage].name, ha="center", fontsize=9)
        at += width
    axes.set(xlabel="episode of the lifetime", ylabel="normalised return", ylim=(-0.1, 1.18), xlim=(0.5, at + 0.5))
    axes.set_title("DarkRoom, progressive course: does day two go better than day one?", fontsize=11)
    figure.legend(loc="lower center", ncols=4, fontsize=9, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, dpi=110)


def main(arguments: list[str]) -> int:
    """Do what the arguments say; the exit status."""
    if arguments == ["--check"]:
        differing = check()
        for path in differing:
            print(
                f"{path.relative_to(ROOT)} does not agree with baselines/results: run python benchmarks/leaderboard.py"
            )
        return 1 if differing else 0
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print(__doc__, file=sys.stderr)
        return 2
    if arguments:
        write_results(summarise(arguments[0]))
    kept = read_results()
    for path, text in pages(kept).items():
        path.write_text(text)
        print(f"Wrote {path.relative_to(ROOT)}")
    picture(kept, ROOT / "docs" / "adaptation_curve.png")
    print("Wrote docs/adaptation_curve.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
