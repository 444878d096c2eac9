"""The report: one self-contained HTML page with vector pictures, and the same numbers as CSV and JSON.

Every score stands beside its amnesiac twin; an agent whose twin is not stored is named and left out. The page asks
for nothing from outside, follows the reader's light or dark setting, and prints.
"""

import csv
import importlib.resources
import json
import math
import os
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.course import Course
from daytwo.evaluation.running import Result
from daytwo.evaluation.scoring import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Scores,
    StageScores,
    adaptation_curve,
    area,
    bootstrap_weights,
    score,
    split_stages,
)
from daytwo.evaluation.store import Store, Stored, StoreError, canonical, plain

# Colours of agents: (light page, dark page), after Okabe & Ito 2008 and Tol 2021, told apart by the colour-blind. No
# palette of a dozen is safe by colour alone, so every agent has a marker of its own as well.
PALETTE = (
    ("#0072b2", "#4aa8e0"),
    ("#d55e00", "#ff8a3d"),
    ("#009e73", "#2fc79b"),
    ("#aa4499", "#e08ad0"),
    ("#b8860b", "#f0c040"),
    ("#332288", "#a99bff"),
    ("#3a9bd9", "#8fd3ff"),
    ("#882255", "#e7698f"),
    ("#6b6b00", "#c9c94d"),
    ("#117733", "#7ccf8a"),
    ("#cc6677", "#ffa3ad"),
    ("#44757a", "#86c5c9"),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", "p", ">", "h")
# Stand-ins for colours in the pictures, which become CSS variables so that one picture serves both pages.
INK, MUTED, GRID, PAPER = "#010101", "#010102", "#010103", "#010104"
PICTURE_WIDTH = 9.6  # inches at 72 to the inch in SVG; the page scales it


# --- what is shown together -----------------------------------------------------------------------------------------


@dataclass
class Entry:
    """One agent under one environment and course, with its controls."""

    agent: str
    result: Result
    twin: Result | None
    redrawn: Result | None
    cell: dict[str, Any]
    stored: str
    file: str
    label: str = ""
    tag: str = ""  # of its curves in the group's pictures
    style: int = 0
    scores: Scores | None = None
    twin_curves: list[np.ndarray] = field(default_factory=list, repr=False)
    redrawn_curves: list[np.ndarray] = field(default_factory=list, repr=False)
    flag: str = ""  # of the redrawn control: "", "above" (its own interval) or "exceeds" (corrected for all controls)


@dataclass
class Group:
    """All agents under one environment, settings, course and split."""

    env_id: str
    course: Course
    settings: dict[str, Any]
    split: str
    level_names: tuple[str, ...]
    random_return: tuple[float, ...]
    oracle_return: tuple[float, ...]
    entries: list[Entry]
    without_twin: list[str]

    @property
    def title(self) -> str:
        """The course in a few words."""
        stages = self.course.stages
        lengths = {stage.episodes for stage in stages}
        each = f"{lengths.pop()} episodes each" if len(lengths) == 1 else "of different lengths"
        if len(stages) == 1:
            level = stages[0].level
            return (
                f"{self.course.name} course: level {level} ({self.level_names[level]}), {stages[0].episodes} episodes"
            )
        return f"{self.course.name} course: {len(stages)} stages, {each}"

    @property
    def short_title(self) -> str:
        """For the list of contents."""
        if len(self.course.stages) == 1:
            return f"{self.course.name}, level {self.course.stages[0].level}"
        return self.course.name

    @property
    def diagnostics(self) -> dict[str, int]:
        """The family's diagnostics by name, and how many numbers each has."""
        told = [one for entry in self.entries if entry.scores is not None for one in entry.scores.diagnostics]
        return {one.name: len(one.mean) for one in told}

    @property
    def settings_text(self) -> str:
        """Settings beyond the course, by name."""
        shown = {name: value for name, value in self.settings.items() if name != "course"}
        return ", ".join(f"{name}={value}" for name, value in shown.items()) or "the family's own"


def _identity(row: Stored, *names: str) -> str:
    return canonical({name: row.cell.get(name) for name in names})


def collect(paths: Sequence[str | os.PathLike[str]]) -> tuple[list[Group], int]:
    """Read results files and put together what belongs together.

    Args:
        paths: of the files.

    Returns:
        The groups, with entries labelled but not scored, and how many further results (of the same evaluation under
        another version or code, in the same file) were left out.

    Raises:
        daytwo.evaluation.store.StoreError: a file cannot be read, or there is nothing to report.
    """
    conditions: dict[tuple[str, str], dict[str, Stored]] = {}
    for path in dict.fromkeys(Path(path) for path in paths):
        with Store(path) as store:
            for row in store.rows():
                identity = _identity(
                    row, "agent", "agent_options", "env_id", "settings", "split", "lifetimes", "seed", "version", "code"
                )
                found = conditions.setdefault((identity, path.name), {})
                found[f"{row.result.memory} {row.result.task}"] = row
    if not conditions:
        raise StoreError(f"There is nothing to report in {', '.join(str(path) for path in paths)}.")

    # Of one file's results under several versions of the code the newest that has its twin counts.
    newest: dict[tuple[str, str], tuple[tuple[bool, str], str, dict[str, Stored]]] = {}
    older, seen = 0, set()
    for (identity, file), found in conditions.items():
        if identity in seen:
            continue  # the very same cell in two files
        seen.add(identity)
        kept = found.get("kept fixed")
        if kept is None:
            continue  # a control alone is no result
        same = _identity(kept, "agent", "agent_options", "env_id", "settings", "split", "lifetimes", "seed")
        rank = ("wiped fixed" in found, kept.stored)
        if (same, file) in newest:
            older += 1
            if newest[same, file][0] > rank:
                continue
        newest[same, file] = (rank, file, found)

    groups: dict[str, Group] = {}
    for _, file, found in newest.values():
        kept = found["kept fixed"]
        result = kept.result
        key = _identity(kept, "env_id", "settings", "split")
        group = groups.setdefault(
            key,
            Group(
                env_id=result.env_id,
                course=result.course,
                settings=plain(kept.cell["settings"]),
                split=result.split,
                level_names=result.level_names,
                random_return=result.random_return,
                oracle_return=result.oracle_return,
                entries=[],
                without_twin=[],
            ),
        )
        twin, redrawn = found.get("wiped fixed"), found.get("kept redrawn")
        entry = Entry(
            agent=result.agent,
            result=result,
            twin=twin.result if twin else None,
            redrawn=redrawn.result if redrawn else None,
            cell=kept.cell,
            stored=kept.stored,
            file=file,
        )
        group.entries.append(entry)
    for group in groups.values():
        _label(group.entries)
        group.without_twin = sorted(entry.label for entry in group.entries if entry.twin is None)
        group.entries = [entry for entry in group.entries if entry.twin is not None]
    courses = {"progressive": 0, "single": 1}
    ordered = sorted(
        groups.values(), key=lambda group: (group.env_id, courses.get(group.course.name, 2), group.course.name)
    )
    return ordered, older


def _label(entries: list[Entry]) -> None:
    """Name entries by their agent, and by whatever else tells those of equal agents apart."""
    for entry in entries:
        options = ", ".join(f"{name}={value}" for name, value in entry.cell["agent_options"].items())
        entry.label = f"{entry.agent} ({options})" if options else entry.agent
    tellers = (
        lambda entry: f"{entry.result.lifetimes} lifetimes",
        lambda entry: f"seed {entry.result.seed}",
        lambda entry: f"version {entry.cell['version']}",
        lambda entry: entry.file,
    )
    for teller in tellers:
        shared: dict[str, list[Entry]] = {}
        for entry in entries:
            shared.setdefault(entry.label, []).append(entry)
        for alike in shared.values():
            if len({teller(entry) for entry in alike}) > 1:
                for entry in alike:
                    entry.label += f" · {teller(entry)}"


def _curves(result: Result | None) -> list[np.ndarray]:
    """The adaptation curve of each stage, ``float64[3, episodes]``, of a control."""
    if result is None:
        return []
    weights = bootstrap_weights(result.lifetimes)
    return [adaptation_curve(part.g, weights) for part in split_stages(result.normalized, result.stages, result.levels)]


def compute(groups: Sequence[Group]) -> dict[str, Any]:
    """Score every entry, judge the controls over all groups together, and hand out styles.

    Returns:
        Counts for the page: ``controls``, ``above`` (their own 95% interval lies above zero), ``exceeding``
        (corrected for all controls), ``expected`` (of ``above``, by chance alone).
    """
    styles: dict[str, int] = {}
    entries = [entry for group in groups for entry in group.entries]
    for group in groups:
        lucks = {
            (entry.result.seed, len(entry.result.normalized), entry.result.split): (
                area(entry.redrawn.normalized) - area(entry.twin.normalized)
            )
            for entry in group.entries
            if entry.result.agent == "random" and entry.twin is not None and entry.redrawn is not None
        }
        for entry in group.entries:
            same = (entry.result.seed, len(entry.result.normalized), entry.result.split)
            luck = None if entry.result.agent == "random" else lucks.get(same)
            entry.scores = score(entry.result, entry.twin, entry.redrawn, luck=luck)
    for entry in entries:
        entry.twin_curves = _curves(entry.twin)
        entry.redrawn_curves = _curves(entry.redrawn)
        if entry.label not in ("random", "oracle"):
            entry.style = styles.setdefault(entry.label, len(styles))
    # The random policy cannot remember: its row shows the luck of the redrawn tasks, which the others' are cleared of.
    judged = [
        entry
        for entry in entries
        if entry.scores is not None and entry.scores.redrawn is not None and entry.result.agent != "random"
    ]
    tail = (1.0 - CONFIDENCE) / 2.0
    for entry in judged:
        control = entry.scores.redrawn  # type: ignore[union-attr]
        assert control is not None
        if control.exceeds:
            entry.flag = "exceeds" if control.chance < tail / len(judged) else "above"
    for group in groups:
        group.entries.sort(key=lambda entry: -entry.scores.area.value)  # type: ignore[union-attr]
        for number, entry in enumerate(group.entries):
            entry.tag = f"agent{number}"
    return {
        "controls": len(judged),
        "above": sum(entry.flag != "" for entry in judged),
        "exceeding": sum(entry.flag == "exceeds" for entry in judged),
        "expected": tail * len(judged),
    }


# --- pictures -------------------------------------------------------------------------------------------------------


def _stand_in(entry: Entry) -> str:
    if entry.label == "random":
        return MUTED
    if entry.label == "oracle":
        return INK
    return f"#0200{entry.style % len(PALETTE):02x}"


def _marker(entry: Entry) -> str:
    return "." if entry.label in ("random", "oracle") else MARKERS[entry.style % len(MARKERS)]


def _curves_of(entry: Entry) -> list[np.ndarray]:
    """The agent's own curves, ``float64[3, episodes]`` for each stage."""
    return [stage.curve for stage in entry.scores.stages]  # type: ignore[union-attr]


def _positions(curves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Where each stage's episodes stand on the axis of lived episodes, counted from 1."""
    places, at = [], 0
    for curve in curves:
        places.append(np.arange(at + 1, at + curve.shape[1] + 1))
        at += curve.shape[1]
    return places


def _joined(curves: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All stages as one path with gaps between them: x ``[points]`` and mean, low, high ``[3, points]``."""
    gap = np.full((3, 1), np.nan)
    parts = [part for curve in curves for part in (curve, gap)]
    places = [part for x in _positions(curves) for part in (x, [x[-1] + 0.5])]
    return np.concatenate(places), np.concatenate(parts, axis=1)


def _draw(axes: Any, curves: Sequence[np.ndarray], colour: str, *, gid: str, band: float, **style: Any) -> None:
    """One agent's curve, stage by stage, with its interval band."""
    x, (mean, low, high) = _joined(curves)
    if band:
        axes.fill_between(x, low, high, color=colour, alpha=band, linewidth=0).set_gid(f"{gid}-band")
        alone = [k for k, curve in zip(_positions(curves), curves, strict=True) if curve.shape[1] == 1]
        for k in np.concatenate(alone) if alone else ():  # a band over one episode has no width
            at = list(x).index(k)
            axes.plot([k, k], [low[at], high[at]], color=colour, alpha=0.4, linewidth=1)
    (line,) = axes.plot(x, mean, color=colour, **style)
    line.set_gid(f"{gid}-line")


def _stage_names(group: Group, stages: Sequence[StageScores], width: float, size: float) -> list[str]:
    """Names of the stages, wrapped to the room there is (``width`` in inches, ``size`` in points)."""
    total = sum(stage.episodes for stage in stages)
    names = []
    for stage in stages:
        room = max(6, int(width * stage.episodes / total * 72 / (0.56 * size)))
        lines = textwrap.wrap(f"level {stage.level}: {group.level_names[stage.level]}", room)
        if len(lines) > 3:
            lines = [*lines[:2], textwrap.shorten(" ".join(lines[2:]), room, placeholder="…")]
        names.append("\n".join(lines))
    return names


def _limits(families: Iterable[Sequence[np.ndarray]]) -> tuple[float, float]:
    curves = np.concatenate([curve.ravel() for curves in families for curve in curves])
    curves = curves[np.isfinite(curves)]
    low, high = (curves.min(), curves.max()) if len(curves) else (0.0, 1.0)
    # Far below random is a story told by the table; a curve that goes there must not flatten the others.
    return max(min(-0.08, low - 0.04), -1.0), min(max(1.08, high + 0.04), 2.0)


def _prepare_axes(
    axes: Any, curves: Sequence[np.ndarray], limits: tuple[float, float], yticks: Sequence[float], inches: float
) -> list[str]:
    """Limits, ladder lines, stage boundaries and ticks; returns the labels of the ticks below."""
    axes.set_ylim(*limits)
    axes.set_yticks([tick for tick in yticks if limits[0] <= tick <= limits[1]])
    places = _positions(curves)
    axes.set_xlim(0.5, places[-1][-1] + 0.5)
    for rung in (0.0, 1.0):
        axes.axhline(rung, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0.5)
    for x in places[1:]:
        axes.axvline(x[0] - 0.5, color=MUTED, linewidth=0.8, zorder=0.4)
    ticks, labels = _episode_ticks(places, inches)
    axes.set_xticks(ticks)
    return labels


def _episode_ticks(places: Sequence[np.ndarray], inches: float) -> tuple[list[int], list[str]]:
    """Ticks that count the episodes within each stage, only as many as have room for their labels."""
    each = inches / sum(len(x) for x in places)  # inches an episode takes
    ticks, labels = [], []
    for x in places:
        step = next((step for step in (1, 2, 5, 10, 20, 50, 100) if step * each > 0.25), len(x))
        shown = list(range(step, len(x) + 1, step)) or [len(x)]
        if (shown[0] - 1) * each > 0.25:
            shown.insert(0, 1)
        # A label at the very end of a stage would run into the first of the next one.
        if len(places) > 1 and len(shown) > 1 and shown[0] == 1 and each < 0.25 and shown[-1] == len(x):
            shown.pop(0)
        ticks += [int(x[k - 1]) for k in shown]
        labels += [str(k) for k in shown]
    return ticks, labels


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0.0)
    return figure


_STYLE: Any = {
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.fonttype": "none",
    "svg.hashsalt": "daytwo",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.solid_capstyle": "round",
}


def overview_picture(group: Group, prefix: str) -> str:
    """The adaptation curves of all agents of a group in one picture, as an SVG element."""
    import matplotlib

    entries = group.entries
    stages = entries[0].scores.stages  # type: ignore[union-attr]
    several = len(stages) > 1
    inches = PICTURE_WIDTH * 0.92
    names = _stage_names(group, stages, inches, 8.5)
    foot, panel, head = 0.48, 3.1, 0.12 + 0.14 * max(name.count("\n") + 1 for name in names)  # inches
    height = foot + panel + head
    with matplotlib.rc_context(_STYLE):
        figure = _figure(PICTURE_WIDTH, height)
        axes = figure.add_axes((0.065, foot / height, 0.92, panel / height))
        limits = _limits([_curves_of(entry) for entry in entries])
        labels = _prepare_axes(axes, _curves_of(entries[0]), limits, np.arange(-1.0, 2.01, 0.25).tolist(), inches)
        axes.set_xticklabels(labels)
        axes.set_xlabel("episode within the stage" if several else "episode")
        axes.set_ylabel("normalised return  (0 random, 1 oracle)")
        for entry in sorted(entries, key=lambda entry: entry.label not in ("random", "oracle")):
            named = entry.label not in ("random", "oracle")
            _draw(
                axes,
                _curves_of(entry),
                _stand_in(entry),
                gid=f"curve-{entry.tag}",
                band=0.13,
                linewidth=1.6 if named else 1.2,
                marker=_marker(entry),
                markersize=4.4 if named else 2.5,
                markeredgewidth=0.5,
                markeredgecolor=PAPER if named else _stand_in(entry),
            )
        for x, name in zip(_positions(_curves_of(entries[0])), names, strict=True):
            place = ((x[0] + x[-1]) / 2, 1.015)
            axes.annotate(name, place, xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8.5)
        said = "; ".join(
            f"{entry.label} {entry.scores.first.value:.2f} to {entry.scores.final.value:.2f}"  # type: ignore[union-attr]
            for entry in entries
        )
        return _svg(
            figure,
            prefix,
            f"Adaptation curves on {group.env_id}, {group.title}",
            f"Mean normalised return by episode with 95% bands. First to last episode of the last stage: {said}.",
            {f"curve-{entry.tag}": entry.label for entry in entries},
        )


def small_multiples(group: Group, prefix: str) -> str:
    """One panel per agent: its curve, its amnesiac twin (dashed), its redrawn control (dotted), the others faint."""
    import matplotlib

    entries = group.entries
    several = len(entries[0].scores.stages) > 1  # type: ignore[union-attr]
    columns = min(4, len(entries))
    rows = math.ceil(len(entries) / columns)
    limits = _limits(
        [
            curves
            for entry in entries
            for curves in (_curves_of(entry), entry.twin_curves, entry.redrawn_curves)
            if curves
        ]
    )
    left, right, gap, panel, head, foot = 0.32, 0.06, 0.16, 1.35, 0.3, 0.42  # inches
    width = (PICTURE_WIDTH - left - right - gap * 3) / 4
    total, height = left + right + columns * width + (columns - 1) * gap, rows * (panel + head) + foot
    with matplotlib.rc_context({**_STYLE, "font.size": 8}):
        figure = _figure(total, height)
        for number, entry in enumerate(entries):
            row, column = divmod(number, columns)
            x, y = left + column * (width + gap), height - (row + 1) * (panel + head)
            axes = figure.add_axes((x / total, y / height, width / total, panel / height))
            labels = _prepare_axes(axes, _curves_of(entry), limits, (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5), width)
            colour = _stand_in(entry)
            for other in entries:
                if other is not entry:
                    x_other, (mean, _, _) = _joined(_curves_of(other))
                    axes.plot(x_other, mean, color=GRID, linewidth=0.8, zorder=1)
            if entry.redrawn_curves:
                dots = (0, (1, 1.2))
                _draw(
                    axes,
                    entry.redrawn_curves,
                    MUTED,
                    gid=f"redrawn-{entry.tag}",
                    band=0.0,
                    linewidth=1.2,
                    linestyle=dots,
                )
            dashes = (0, (3.5, 1.8))
            _draw(axes, entry.twin_curves, colour, gid=f"twin-{entry.tag}", band=0.12, linewidth=1.2, linestyle=dashes)
            _draw(axes, _curves_of(entry), colour, gid=f"own-{entry.tag}", band=0.2, linewidth=1.7)
            axes.set_title(textwrap.shorten(entry.label, 34, placeholder="…"), fontsize=8.5, loc="left", pad=3)
            last_row = number + columns >= len(entries)
            axes.set_xticklabels(labels if last_row else [])
            axes.tick_params(length=2, pad=2)
            if column:
                axes.set_yticklabels([])
            if last_row:
                axes.set_xlabel("episode within the stage" if several else "episode", labelpad=2)
        said = "; ".join(
            f"{entry.label} {entry.scores.area.value:.2f}, twin {entry.scores.twin_area.value:.2f}"  # type: ignore[union-attr]
            for entry in entries
        )
        return _svg(
            figure,
            prefix,
            f"Each agent with its controls on {group.env_id}, {group.title}",
            f"Solid: the agent; dashed: its amnesiac twin; dotted: the redrawn control. Areas: {said}.",
            {},
        )


def _svg(figure: Any, prefix: str, title: str, description: str, curves: dict[str, str]) -> str:
    """A figure as an SVG element fit to stand in a page: unique ids, CSS variables for colours, words for readers."""
    import io
    from html import escape

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    # The page's own font, at the size the layout was made for.
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    for stand_in, name in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid"), (PAPER, "paper")):
        text = text.replace(stand_in, f"var(--{name})")
    text = re.sub(r"#0200([0-9a-f]{2})", lambda found: f"var(--agent{int(found[1], 16)})", text)
    for gid, label in curves.items():
        for part in ("line", "band"):
            text = text.replace(
                f'<g id="{prefix}-{gid}-{part}">',
                f'<g id="{prefix}-{gid}-{part}" class="curve {gid}"><title>{escape(label)}</title>',
            )
    head = text.index(">")
    opening = re.sub(r'\s(width|height)="[^"]*"', "", text[:head])
    return (
        f'{opening} role="img" aria-labelledby="{prefix}-title {prefix}-desc">'
        f'<title id="{prefix}-title">{escape(title)}</title><desc id="{prefix}-desc">{escape(description)}</desc>'
        f"{text[head + 1 :]}"
    )


_MARKER_PATHS = {
    "o": '<circle cx="13" cy="6" r="3"/>',
    "s": '<rect x="10.2" y="3.2" width="5.6" height="5.6"/>',
    "^": '<path d="M13 2.6 16.4 9H9.6z"/>',
    "D": '<path d="M13 2.4 16.6 6 13 9.6 9.4 6z"/>',
    "v": '<path d="M13 9.4 16.4 3H9.6z"/>',
    "P": '<path d="M12 2.6h2V5h2.4v2H14v2.4h-2V7H9.6V5H12z"/>',
    "X": '<path d="M10 4.2 11.2 3 13 4.8 14.8 3 16 4.2 14.2 6 16 7.8 14.8 9 13 7.2 11.2 9 10 7.8 11.8 6z"/>',
    "*": '<path d="M13 2l1.1 2.7 2.9.2-2.2 1.9.7 2.8L13 8.1l-2.5 1.5.7-2.8L9 4.9l2.9-.2z"/>',
    "<": '<path d="M9.6 6 16 2.6V9.4z"/>',
    "p": '<path d="M13 2.5 16.4 5 15.1 9H10.9L9.6 5z"/>',
    ">": '<path d="M16.4 6 10 2.6V9.4z"/>',
    "h": '<path d="M13 2.4 16.1 4.2V7.8L13 9.6 9.9 7.8V4.2z"/>',
    ".": '<circle cx="13" cy="6" r="1.8"/>',
}


def _swatch(entry: Entry) -> str:
    """The agent's line and marker, for the table, which is the pictures' legend."""
    if entry.label == "random":
        colour = "muted"
    elif entry.label == "oracle":
        colour = "ink"
    else:
        colour = f"agent{entry.style % len(PALETTE)}"
    return (
        f'<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true" style="--c: var(--{colour})">'
        f'<path d="M1 6H25" stroke="var(--c)" stroke-width="1.8"/>'
        f'<g fill="var(--c)">{_MARKER_PATHS[_marker(entry)]}</g></svg>'
    )


# --- the files ------------------------------------------------------------------------------------------------------


def _rows(groups: Sequence[Group]) -> Iterable[dict[str, Any]]:
    """Every number of the report, one row each."""
    for group in groups:
        for entry in group.entries:
            scores = entry.scores
            assert scores is not None
            common = {
                "env_id": group.env_id,
                "course": group.course.name,
                "settings": canonical(group.settings),
                "split": group.split,
                "agent": entry.label,
                "privileged": int(entry.result.privileged),
                "lifetimes": entry.result.lifetimes,
                "seed": entry.result.seed,
                "version": entry.cell["version"],
                "code": entry.cell["code"],
                "file": entry.file,
            }

            def row(
                metric: str, one: Estimate | None, stage: StageScores | None = None, common: dict[str, Any] = common
            ) -> Iterable[dict[str, Any]]:
                if one is None or math.isnan(one.value):
                    return
                where = {"stage": "", "level": ""} if stage is None else {"stage": stage.stage, "level": stage.level}
                yield {**common, **where, "metric": metric, "value": one.value, "low": one.low, "high": one.high}

            yield from row("area", scores.area)
            yield from row("twin_area", scores.twin_area)
            yield from row("learning", scores.learning)
            yield from row("regret", scores.regret)
            yield from row("reward", scores.reward)
            yield from row("first_episode_deficit", scores.first_episode_deficit)
            if scores.redrawn is not None:
                yield from row("redrawn_area", scores.redrawn.area)
                yield from row("redrawn_excess", scores.redrawn.excess)
            for stage in scores.stages:
                for metric in ("first", "final", "gain", "area", "regret", "simple_regret"):
                    yield from row(metric, getattr(stage, metric), stage)
                yield from row("forward_transfer", stage.forward_transfer, stage)
                yield from row("retention", stage.retention, stage)
                for threshold, one in stage.episodes_to.items():
                    yield from row(f"episodes_to_{threshold:g}", one, stage)
            for told in scores.diagnostics:
                at = next(stage for stage in scores.stages if stage.name == told.stage)
                for k in range(len(told.mean)):
                    name = told.name if len(told.mean) == 1 else f"{told.name}_{k + 1}"
                    yield from row(name, told.mean[k], at)
                    yield from row(f"{name}_first", told.first[k], at)
                    yield from row(f"{name}_final", told.final[k], at)


def _listed(curve: np.ndarray) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in curve.tolist()]


def _document(groups: Sequence[Group], controls: dict[str, Any], created: str) -> dict[str, Any]:
    """The report as one JSON document."""
    return {
        "format": 1,
        "created": created,
        "interval": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "over": "lifetimes"},
        "redrawn_controls": controls,
        "groups": [
            {
                "env_id": group.env_id,
                "course": plain(group.course)["course"],
                "settings": group.settings,
                "split": group.split,
                "levels": list(group.level_names),
                "random_return": list(group.random_return),
                "oracle_return": list(group.oracle_return),
                "not_reported_without_twin": group.without_twin,
                "agents": [
                    {
                        "label": entry.label,
                        "agent": entry.agent,
                        "agent_options": entry.cell["agent_options"],
                        "privileged": entry.result.privileged,
                        "lifetimes": entry.result.lifetimes,
                        "seed": entry.result.seed,
                        "versions": dict(entry.result.versions),
                        "code": entry.cell["code"],
                        "file": entry.file,
                        "stored": entry.stored,
                        "seconds": sum(
                            one.seconds for one in (entry.result, entry.twin, entry.redrawn) if one is not None
                        ),
                        "redrawn_flag": entry.flag,
                        "scores": entry.scores.to_dict(),  # type: ignore[union-attr]
                        "twin_curves": [_listed(curve) for curve in entry.twin_curves],
                        "redrawn_curves": [_listed(curve) for curve in entry.redrawn_curves],
                    }
                    for entry in group.entries
                ],
            }
            for group in groups
        ],
    }


def _fixed(value: float, digits: int) -> str:
    """A number with so many decimals, a true minus sign, and no negative zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0.0 else text.replace("-", "−")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def write_report(
    store_paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> tuple[Path, ...]:
    """Write the report of one or several results files, side by side.

    Args:
        store_paths: path of a results file, or several.
        out: path of the page, such as ``report.html``; the same numbers go to ``report.csv`` and ``report.json``
            beside it. Existing files are replaced.

    Returns:
        The paths of the page, the CSV and the JSON.

    Raises:
        ImportError: matplotlib or Jinja2 is missing.
        daytwo.evaluation.store.StoreError: a file cannot be read or holds nothing to report.
    """
    try:
        import jinja2
        import markupsafe
        import matplotlib  # noqa: F401 - so that it is missed now and not in the middle
    except ImportError as error:
        raise ImportError(f"The report needs {error.name}: pip install 'daytwo[report]'.") from error

    if isinstance(store_paths, str | os.PathLike):
        store_paths = [store_paths]
    if not store_paths:
        raise ValueError("Expected at least one results file.")
    groups, older = collect(store_paths)
    controls = compute(groups)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    page = Path(out)
    pictures = {}
    for number, group in enumerate(groups):
        if group.entries:
            pictures[number] = (
                markupsafe.Markup(overview_picture(group, f"p{number}a")),
                markupsafe.Markup(small_multiples(group, f"p{number}b")),
            )
    entries = [entry for group in groups for entry in group.entries]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["duration"] = _duration
    environment.filters["fixed"] = _fixed
    template = environment.from_string(
        importlib.resources.files("daytwo.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    versions = sorted({tuple(sorted(entry.result.versions.items())) for entry in entries})
    html = template.render(
        groups=groups,
        pictures=pictures,
        controls=controls,
        older=older,
        created=created,
        files=[Path(path).name for path in store_paths],
        versions=versions,
        seeds=sorted({entry.result.seed for entry in entries}),
        codes=sorted({entry.cell["code"] for entry in entries}),
        seconds=sum(
            one.seconds for entry in entries for one in (entry.result, entry.twin, entry.redrawn) if one is not None
        ),
        palette=PALETTE,
        swatch=lambda entry: markupsafe.Markup(_swatch(entry)),
        resamples=RESAMPLES,
        isinf=math.isinf,
        isnan=math.isnan,
    )
    table = page.with_suffix(".csv")
    document = page.with_suffix(".json")
    columns = [
        *("env_id", "course", "settings", "split", "agent", "privileged", "lifetimes", "seed"),
        *("version", "code", "file"),
        *("stage", "level", "metric", "value", "low", "high"),
    ]
    page.write_text(html, encoding="utf-8")
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(_rows(groups))
    document.write_text(json.dumps(_document(groups, controls, created), indent=1, allow_nan=False), encoding="utf-8")
    return page, table, document
