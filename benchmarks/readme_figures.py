"""Write README's results table and picture: `python benchmarks/readme_figures.py results.sqlite`.

The results file is what `make benchmark` leaves. The table replaces what stands between the two results marks in
README.md; the picture is docs/adaptation_curve.png.
"""

import sys
from pathlib import Path

import numpy as np

from daytwo.evaluation import Store, score

ROOT = Path(__file__).resolve().parent.parent
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


def table(found: dict) -> str:
    """The results as a Markdown table."""
    lines = [
        "| environment | agent | progressive: area | learning | single (top level): area | learning |",
        "|---|---|---|---|---|---|",
    ]
    for env_id in dict.fromkeys(key[0] for key in sorted(found)):
        rows = []
        for agent in {key[2] for key in found if key[0] == env_id}:
            cells = []
            for course in ("progressive", "single"):
                runs = found[env_id, course, agent]
                scores = score(runs["kept", "fixed"], runs["wiped", "fixed"], runs["kept", "redrawn"])
                cells += [scores.area, scores.learning]
            rows.append((cells, agent))
        for cells, agent in sorted(rows, key=lambda row: -row[0][2].value):
            name = f"{agent} (privileged)" if agent == "oracle" else agent
            lines.append(f"| {env_id} | {name} | {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines)


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
    results = table(found)
    readme.write_text(f"{before}\n{results}\n{after}")
    picture(found, ROOT / "docs" / "adaptation_curve.png")
    print(results)


if __name__ == "__main__":
    main()
