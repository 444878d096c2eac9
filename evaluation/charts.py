"""The report's pictures: SVG elements in the colours of the page, with words for those who cannot see them."""

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daytwo.evaluation.collecting import Entry, Group
from daytwo.evaluation.scoring import StageScores
from daytwo.evaluation.statistics import Estimate

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
INK, MUTED, GRID, PAPER, BAD = "#010101", "#010102", "#010103", "#010104", "#010105"
PICTURE_WIDTH = 9.6  # inches at 72 to the inch in SVG; the page scales it


def _stand_in(label: str, style: int) -> str:
    if label == "random":
        return MUTED
    if label == "oracle":
        return INK
    return f"#0200{style % len(PALETTE):02x}"


def _marker(label: str, style: int) -> str:
    return "." if label in ("random", "oracle") else MARKERS[style % len(MARKERS)]


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
    axes: Any, group: Group, limits: tuple[float, float], yticks: Sequence[float], inches: float
) -> list[str]:
    """Limits, the ladder's lines, boundaries of stages and ticks; returns the labels of the ticks below."""
    stages = group.reported[0].scores.stages  # type: ignore[union-attr]
    places = _positions([stage.curve for stage in stages])
    axes.set_ylim(*limits)
    axes.set_yticks([tick for tick in yticks if limits[0] <= tick <= limits[1]])
    axes.set_xlim(0.5, places[-1][-1] + 0.5)
    for rung in (0.0, 1.0):
        axes.axhline(rung, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0.5)
    for x, stage in zip(places, stages, strict=True):
        rung = group.memoryless[stage.level]
        axes.plot(
            [x[0] - 0.5, x[-1] + 0.5], [rung, rung], color=MUTED, linewidth=0.9, linestyle=(0, (6, 2)), zorder=0.5
        )
        switch = group.course.stages[stage.stage].switch_after if stage.stage >= 0 else 0
        if switch:
            axes.axvline(x[0] + switch - 0.5, color=BAD, linewidth=1.1, linestyle=(0, (4, 2)), zorder=0.6)
    for x in places[1:]:
        axes.axvline(x[0] - 0.5, color=MUTED, linewidth=0.8, zorder=0.4)
    ticks, labels = _episode_ticks(places, inches)
    axes.set_xticks(ticks)
    return labels


def _name_ladder(axes: Any, group: Group, limits: tuple[float, float]) -> None:
    """Name the ladder's lines at the right of a picture, apart from each other."""
    level = group.reported[0].scores.stages[-1].level  # type: ignore[union-attr]
    rungs = [(0.0, "random"), (group.memoryless[level], "no memory"), (1.0, "oracle")]
    apart, last = 0.06 * (limits[1] - limits[0]), -math.inf
    for value, name in sorted((value, name) for value, name in rungs if not math.isnan(value)):
        last = max(value, last + apart)
        axes.annotate(
            name, (1.006, last), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=MUTED,
            annotation_clip=False,
        )  # fmt: skip


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

    entries = group.reported
    stages = entries[0].scores.stages  # type: ignore[union-attr]
    several = len(stages) > 1
    inches = PICTURE_WIDTH * 0.845
    names = _stage_names(group, stages, inches, 8.5)
    foot, panel, head = 0.48, 3.1, 0.12 + 0.14 * max(name.count("\n") + 1 for name in names)  # inches
    height = foot + panel + head
    with matplotlib.rc_context(_STYLE):
        figure = _figure(PICTURE_WIDTH, height)
        axes = figure.add_axes((0.075, foot / height, 0.845, panel / height))
        limits = _limits([_curves_of(entry) for entry in entries])
        labels = _prepare_axes(axes, group, limits, np.arange(-1.0, 2.01, 0.25).tolist(), inches)
        _name_ladder(axes, group, limits)
        axes.set_xticklabels(labels)
        axes.set_xlabel("episode within the stage" if several else "episode")
        axes.set_ylabel("normalised return  (0 random, 1 oracle)")
        for entry in sorted(entries, key=lambda entry: entry.label not in ("random", "oracle")):
            named = entry.label not in ("random", "oracle")
            _draw(
                axes,
                _curves_of(entry),
                _stand_in(entry.label, entry.style),
                gid=f"curve-{entry.tag}",
                band=0.13,
                linewidth=1.6 if named else 1.2,
                marker=_marker(entry.label, entry.style),
                markersize=4.4 if named else 2.5,
                markeredgewidth=0.5,
                markeredgecolor=PAPER if named else _stand_in(entry.label, entry.style),
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

    entries = group.reported
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
            labels = _prepare_axes(axes, group, limits, (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5), width)
            colour = _stand_in(entry.label, entry.style)
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


@dataclass(frozen=True)
class Dot:
    """A value with its interval, in the style of an agent.

    Attributes:
        label: of the agent.
        style: number of its colour and marker.
        estimate: the value.
    """

    label: str
    style: int
    estimate: Estimate


def dots_picture(
    rows: Sequence[str], panels: Mapping[str, Sequence[Sequence[Dot]]], prefix: str, title: str, description: str
) -> str:
    """Values with their intervals, one line per row, in one or several panels side by side, as an SVG element.

    Args:
        rows: names of the rows, from the top.
        panels: title of the panel -> for each row its dots.
        prefix: of the ids in the page.
        title: for readers who cannot see the picture.
        description: likewise: the values in words.
    """
    import matplotlib

    most = max(len(dots) for panel in panels.values() for dots in panel)
    each = 0.26 + 0.085 * (most - 1)  # inches of a row
    left = min(2.6, 0.25 + 0.075 * max(map(len, rows)))
    head, foot, gap = 0.36, 0.4, 0.25
    height = head + foot + each * len(rows)
    width = (PICTURE_WIDTH - left - 0.1 - gap * (len(panels) - 1)) / len(panels)
    with matplotlib.rc_context({**_STYLE, "axes.grid.axis": "x"}):
        figure = _figure(PICTURE_WIDTH, height)
        for number, (name, panel) in enumerate(panels.items()):
            place = (left + number * (width + gap), foot, width, each * len(rows))
            axes = figure.add_axes(
                (place[0] / PICTURE_WIDTH, place[1] / height, place[2] / PICTURE_WIDTH, place[3] / height)
            )
            for rung in (0.0, 1.0):
                axes.axvline(rung, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0.5)
            for row, dots in enumerate(panel):
                for k, dot in enumerate(dots):
                    if math.isnan(dot.estimate.value):
                        continue
                    y = row + (k - (len(dots) - 1) / 2) * 0.7 / max(most, 1)
                    colour = _stand_in(dot.label, dot.style)
                    ends = [dot.estimate.low, dot.estimate.high]
                    axes.plot(ends, [y, y], color=colour, linewidth=2.2, alpha=0.55, solid_capstyle="butt")
                    axes.plot(
                        [dot.estimate.value], [y], color=colour, marker=_marker(dot.label, dot.style), markersize=6,
                        markeredgecolor=PAPER, markeredgewidth=0.5, linestyle="none",
                    )  # fmt: skip
            low = min([0.0, *(dot.estimate.low for dots in panel for dot in dots if dot.estimate.low > -1.0)])
            axes.set_xlim(max(-1.0, low - 0.05), max(1.05, *(d.estimate.high + 0.05 for dots in panel for d in dots)))
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_yticks(range(len(rows)), rows if number == 0 else [""] * len(rows))
            axes.tick_params(axis="y", length=0)
            axes.set_title(name, fontsize=9, loc="left", pad=5)
        return _svg(figure, prefix, title, description, {})


def profile_picture(
    thresholds: np.ndarray, profiles: Mapping[str, tuple[int, np.ndarray]], prefix: str, title: str
) -> str:
    """Performance profiles as an SVG element: the share of lifetimes whose score exceeds each threshold.

    Args:
        thresholds: ``float64[thresholds]``, rising.
        profiles: label of the agent -> its style and ``float64[3, thresholds]``: share, low, high.
        prefix: of the ids in the page.
        title: for readers who cannot see the picture.
    """
    import matplotlib

    height = 2.9
    with matplotlib.rc_context(_STYLE):
        figure = _figure(PICTURE_WIDTH, height)
        axes = figure.add_axes((0.065, 0.46 / height, 0.92, (height - 0.6) / height))
        for label, (style, (share, low, high)) in profiles.items():
            colour = _stand_in(label, style)
            axes.fill_between(thresholds, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(
                thresholds, share, color=colour, linewidth=1.6, marker=_marker(label, style), markevery=0.12,
                markersize=4.4, markeredgecolor=PAPER, markeredgewidth=0.5,
            )  # fmt: skip
        axes.set_xlim(thresholds[0], thresholds[-1])
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("area  (0 random, 1 oracle)")
        axes.set_ylabel("share of lifetimes above")
        middle = int(np.argmin(np.abs(thresholds - 0.5)))
        said = "; ".join(f"{label} {profile[0][middle]:.0%}" for label, (_, profile) in profiles.items())
        return _svg(figure, prefix, title, f"Share of lifetimes with an area above one half: {said}.", {})


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
    for stand_in, name in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid"), (PAPER, "paper"), (BAD, "bad")):
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


def swatch(label: str, style: int) -> str:
    """The agent's line and marker, for the tables, which are the pictures' legends."""
    if label == "random":
        colour = "muted"
    elif label == "oracle":
        colour = "ink"
    else:
        colour = f"agent{style % len(PALETTE)}"
    return (
        f'<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true" style="--c: var(--{colour})">'
        f'<path d="M1 6H25" stroke="var(--c)" stroke-width="1.8"/>'
        f'<g fill="var(--c)">{_MARKER_PATHS[_marker(label, style)]}</g></svg>'
    )
