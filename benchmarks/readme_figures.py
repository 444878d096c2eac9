"""Write README's results table and picture: `python benchmarks/readme_figures.py results.sqlite`.

The results file is what `make benchmark` leaves. The table of each family's reference learner, reactive agent and
oracle replaces what stands between the two results marks in README.md; the table of all agents is docs/results.md; the
picture is docs/adaptation_curve.png.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from daytwo.evaluation import Store, score
from daytwo.registration import env_ids, make_family

ROOT = Path(__file__).resolve().parent.parent
RESULTS_HEAD = """# Results of all agents

Mean normalised return over the lifetime (*area*) and what of it is due to learning within it (*learning*: area
minus the amnesiac twin's, or minus 0 where the twin does worse than random), with 95% intervals over 1024 lifetimes on
test tasks, seed 0. Made by `make benchmark`; `python benchmarks/readme_figures.py` writes this page.
"""
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def load(path: str) -> dict:
    """(environment, course, agent) -> {(memory, task): Result}."""
    found: dict = {}
    with Store(path) as store:
        for key in store.keys():
            result = store.get(key).result
            condition = (result.memory, result.task)
            found.setdefault((result.env_id, result.course.name, result.agent), {})[condition] = result
    return found


COLUMNS = ("environment", "agent", "progressive: area", "learning", "single (top level): area", "learning")


def table(found: dict, chosen: Callable[[str], dict[str, str] | None]) -> str:
    """The results as a Markdown table.

    Args:
        found: as `load` returns it.
        chosen: which agents of an environment to show, and as what; None for all as they are.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for env_id in env_ids():
        names = chosen(env_id)
        rows = []
        for agent in {key[2] for key in found if key[0] == env_id}:
            if names is not None and agent not in names:
                continue
            cells = []
            for course in ("progressive", "single"):
                runs = found[env_id, course, agent]
                scores = score(runs["kept", "fixed"], runs["wiped", "fixed"], runs["kept", "redrawn"])
                cells += [scores.area, scores.learning]
            name = agent if names is None else names[agent]
            rows.append((cells, f"{name} (privileged)" if agent == "oracle" else name))
        for cells, name in sorted(rows, key=lambda row: (-row[0][2].value, row[1])):
            lines.append(f"| {env_id} | {name} | {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


def in_short(env_id: str) -> dict[str, str]:
    """The agents of README's table: reference learner, reactive agent and oracle, and what they are called there."""
    family = make_family(env_id)
    return {
        str(family.reference): f"reference: {family.reference}",
        str(family.reactive): f"reactive: {family.reactive}",
        "oracle": "oracle",
    }


def picture(found: dict, path: Path) -> None:
    """The adaptation curve of DarkRoom's reference learner with its twin, over a progressive course."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 3.6))
    shown = (
        ("oracle", "fixed", "kept", "oracle: knows the hidden task", "#000000", "-"),
        ("room-sweep", "fixed", "kept", "a learner that remembers", "#0072B2", "-"),
        ("room-sweep", "fixed", "wiped", "the same, memory wiped each episode", "#D55E00", "--"),
        ("random", "fixed", "kept", "random", "#999999", "-"),
    )
    for agent, task, memory, label, colour, style in shown:
        result = found["daytwo/DarkRoom-v0", "progressive", agent][memory, task]
        scores = score(result) if memory == "kept" else None
        for stage in np.unique(result.stages[0]):
            where = np.flatnonzero(result.stages[0] == stage)
            if scores is not None:
                mean, low, high = scores.stages[stage].curve
            else:
                g = result.normalized[:, where]
                mean, error = g.mean(axis=0), 1.96 * g.std(axis=0, ddof=1) / np.sqrt(len(g))
                low, high = mean - error, mean + error
            axes.plot(where + 1, mean, style, color=colour, label=label if stage == 0 else None, linewidth=2)
            axes.fill_between(where + 1, low, high, color=colour, alpha=0.2, linewidth=0)
    result = found["daytwo/DarkRoom-v0", "progressive", "oracle"]["kept", "fixed"]
    for stage in np.unique(result.stages[0]):
        where = np.flatnonzero(result.stages[0] == stage)
        if stage:
            axes.axvline(where[0] + 0.5, color="#bbbbbb", linewidth=1)
        axes.text(where.mean() + 1, 1.07, result.level_names[result.levels[0, where[0]]], ha="center", fontsize=9)
    axes.set(
        xlabel="episode of the lifetime",
        ylabel="normalised return",
        ylim=(-0.1, 1.18),
        xlim=(0.5, result.levels.shape[1] + 0.5),
    )
    axes.set_title("DarkRoom, progressive course: does day two go better than day one?", fontsize=11)
    figure.legend(loc="lower center", ncols=4, fontsize=9, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, dpi=110)


def main() -> None:
    """Rewrite README's table and picture."""
    found = load(sys.argv[1] if len(sys.argv) > 1 else "results.sqlite")
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    results = table(found, in_short)
    readme.write_text(f"{before}\n{results}\n{after}")
    page = ROOT / "docs" / "results.md"
    page.write_text(f"{RESULTS_HEAD}\n{table(found, lambda _: None)}\n")
    picture(found, ROOT / "docs" / "adaptation_curve.png")
    print(results)


if __name__ == "__main__":
    main()
