"""Lifetimes for people: playing one in the terminal, and filming one as a GIF with the improvement bar drawn in."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.agent import make_agent
from daytwo.checks import check_integer
from daytwo.course import Course, Stage
from daytwo.family import Scene, TaskFamily
from daytwo.improvement import ImprovementRule
from daytwo.lifetime import LifetimeEnv, LifetimeVectorEnv
from daytwo.pictures import Canvas, blend
from daytwo.streams import MASK_64, lifetime_seeds

Say = Callable[[str], None]

COMPANIONS = ("random", "reference", "oracle")  # who lives a player's lifetime again
LIVES = 64  # of each of them
THRESHOLDS = (0.9, 0.5)  # normalised returns whose first episode is told: the highest that anybody reaches


@dataclass(frozen=True)
class LivedEpisode:
    """One episode of a lifetime as people are shown it.

    Attributes:
        stage: which stage, counted from 0 in the order in which they are lived.
        place: which episode of the stage, from 0.
        level: index of its level.
        value: its normalised return; of an unfinished one, what it would be if it ended now.
        bar: the improvement bar that it has to beat; NaN where the reward rule compares it with none.
    """

    stage: int
    place: int
    level: int
    value: float
    bar: float

    @property
    def has_bar(self) -> bool:
        """Whether there is a bar to beat."""
        return not math.isnan(self.bar)

    @property
    def above(self) -> bool:
        """Whether it beats its bar; False where there is none."""
        return self.value > self.bar


def _bar_to_beat(rule: ImprovementRule, bar: float, level: int, lived: Sequence[LivedEpisode]) -> float:
    """The bar of an episode, or NaN where the rule pays it without a comparison."""
    unpaid = rule.name == "difference" and all(one.level != level for one in lived)
    return math.nan if rule.name == "raw" or unpaid else bar


def _unfinished(env: LifetimeEnv | LifetimeVectorEnv, scene: Scene, lived: Sequence[LivedEpisode]) -> LivedEpisode:
    """The present episode of an environment's first lifetime."""
    low, high = env.reference_returns.random_return[scene.level], env.reference_returns.oracle_return[scene.level]
    return LivedEpisode(
        stage=int(env._lanes.stage[0]),
        place=int(env._lanes.episode[0]),
        level=scene.level,
        value=(scene.total - low) / (high - low),
        bar=_bar_to_beat(env.rule, scene.bar, scene.level, lived),
    )


def _finished(rule: ImprovementRule, info: Mapping[str, Any], lived: Sequence[LivedEpisode], lane: int) -> LivedEpisode:
    """The episode that has just ended in a lane, from the ``info`` of its last step."""
    value, bar = (float(np.atleast_1d(info[key])[lane]) for key in ("episode_normalized_return", "bar"))
    stage, level = (int(np.atleast_1d(info[key])[lane]) for key in ("stage", "level"))
    place = sum(one.stage == stage for one in lived)
    return LivedEpisode(stage, place, level, value, _bar_to_beat(rule, bar, level, lived))


def _two(value: float) -> str:
    """Two decimals, without a minus before zero."""
    return f"{round(value, 2) + 0.0:.2f}"


def _against_bar(episode: LivedEpisode) -> str:
    """How an unfinished episode stands, in a few words."""
    if not episode.has_bar:
        return f"so far {_two(episode.value)}"
    ahead = episode.value - episode.bar
    word = "above" if ahead > 0 else "below" if ahead < 0 else "even"
    return f"so far {_two(episode.value)}, bar {_two(episode.bar)}: {_two(abs(ahead))} {word}"


def _pages(lengths: Sequence[int], room: float, slot: float, gap: float) -> list[list[tuple[int, int, int]]]:
    """Cut stages into pages that fit.

    Args:
        lengths: episodes of each stage.
        room: how wide a page is.
        slot: how much of it an episode takes.
        gap: how much the space between two stages takes.

    Returns:
        Pages of (stage, first episode, episode behind the last): whole stages as long as they fit, and stages wider
        than a page in pieces. A page holds at least one episode.
    """
    most = max(1, int(room // slot))
    pages: list[list[tuple[int, int, int]]] = [[]]
    left = room
    for stage, length in enumerate(lengths):
        for first in range(0, length, most):
            stop = min(first + most, length)
            taken = (stop - first) * slot
            if pages[-1] and taken + gap > left:
                pages.append([])
                left = room
            left -= taken + (gap if pages[-1] else 0)
            pages[-1].append((stage, first, stop))
    return pages


# --- the strip under a filmed scene --------------------------------------------------------------------------------

LOWEST, HIGHEST = -0.5, 1.5  # normalised returns between which columns are drawn to scale
NARROWEST_SLOT, WIDEST_SLOT, STAGE_GAP = 5, 48, 7  # pixels


@dataclass(frozen=True)
class Column:
    """Where an episode stands in the strip, in pixels from the strip's top left corner.

    Attributes:
        episode: what it shows.
        running: the episode is not over.
        left: of the episode's slot.
        right: of the episode's slot.
        top: of the column, which reaches from the line of 0 to the episode's value.
        bottom: of the column.
        bar: height of the bar's line, None where there is no bar.
        outside: 1 if the value lies above what is drawn to scale, -1 if below, else 0.
    """

    episode: LivedEpisode
    running: bool
    left: float
    right: float
    top: float
    bottom: float
    bar: float | None
    outside: int


@dataclass(frozen=True)
class StagePlace:
    """Where a stage, or the piece of it that is shown, stands in the strip.

    Attributes:
        stage: which stage.
        level: index of its level.
        left: pixels.
        right: pixels.
    """

    stage: int
    level: int
    left: float
    right: float


@dataclass(frozen=True)
class StripLayout:
    """What is drawn where in a strip of ``width`` x ``height`` pixels.

    Attributes:
        width: pixels.
        height: pixels.
        letters: height of the letters.
        gutter: width of the margin in which the lines of 0 and 1 are named.
        slot: width of an episode.
        top: of the chart.
        bottom: of the chart.
        zero: height of the line of normalised return 0, the random policy.
        one: height of the line of normalised return 1, the oracle.
        columns: the episodes lived, and the present one.
        stages: the stages, those to come included.
        earlier: stages or episodes before these are left out.
        later: stages or episodes after these are left out.
    """

    width: int
    height: int
    letters: int
    gutter: int
    slot: float
    top: float
    bottom: float
    zero: float
    one: float
    columns: tuple[Column, ...]
    stages: tuple[StagePlace, ...]
    earlier: bool
    later: bool


def lay_out_strip(
    width: int, stages: Sequence[Stage], lived: Sequence[LivedEpisode], running: LivedEpisode | None
) -> StripLayout:
    """Lay out the strip that shows a lifetime so far, one column an episode.

    A lifetime too long for the width is cut into pages of whole stages where they fit; the page of the present episode
    is shown.

    Args:
        width: pixels of the strip, at least 1.
        stages: of the course, in the order in which they are lived.
        lived: the finished episodes.
        running: the present one; None when the lifetime is over.

    Returns:
        The places of everything, which `draw_strip` draws.
    """
    letters = 11 if width < 380 else 13
    line, chart = letters + 4, 56 if width < 380 else 72
    gutter = 4 * letters if width >= 200 else letters
    top = 2.0 * line + 8
    bottom = top + chart
    room = width - gutter - 6.0

    def height(value: float) -> float:
        share = (min(max(value, LOWEST), HIGHEST) - LOWEST) / (HIGHEST - LOWEST)
        return bottom - share * chart

    pages = _pages([stage.episodes for stage in stages], room, NARROWEST_SLOT, STAGE_GAP)
    now = running if running is not None else lived[-1] if lived else None
    chosen = 0
    for number, page in enumerate(pages):
        if now is not None and any(stage == now.stage and first <= now.place < stop for stage, first, stop in page):
            chosen = number
    page = pages[chosen]
    shown = sum(stop - first for _, first, stop in page)
    slot = max(1.0, min(WIDEST_SLOT, (room - STAGE_GAP * (len(page) - 1)) / shown))
    if slot > NARROWEST_SLOT:
        slot = float(int(slot))

    places, lefts, x = [], {}, float(gutter)
    for stage, first, stop in page:
        lefts[stage] = (first, stop, x)
        places.append(StagePlace(stage, stages[stage].level, x, x + (stop - first) * slot))
        x += (stop - first) * slot + STAGE_GAP
    columns = []
    for episode in [*lived, *([] if running is None else [running])]:
        first, stop, left = lefts.get(episode.stage, (0, 0, 0.0))
        if not first <= episode.place < stop:
            continue
        left += (episode.place - first) * slot
        ends = sorted((height(0.0), height(episode.value)))
        columns.append(
            Column(
                episode=episode,
                running=episode is running,
                left=left,
                right=left + slot,
                top=ends[0],
                bottom=ends[1],
                bar=height(episode.bar) if episode.has_bar else None,
                outside=int(episode.value > HIGHEST) - int(episode.value < LOWEST),
            )
        )
    return StripLayout(
        width=width,
        height=int(bottom + 2 * line + 4),
        letters=letters,
        gutter=gutter,
        slot=slot,
        top=top,
        bottom=bottom,
        zero=height(0.0),
        one=height(1.0),
        columns=tuple(columns),
        stages=tuple(places),
        earlier=chosen > 0,
        later=chosen < len(pages) - 1,
    )


def _fitting(canvas: Canvas, texts: Sequence[str], room: float, size: int) -> str:
    """The first of several texts that is not wider than the room, or none."""
    return next((text for text in texts if canvas.text_width(text, size=size) <= room), "")


def draw_strip(layout: StripLayout, *, name: str, title: str, level_names: Sequence[str]) -> np.ndarray:
    """Draw a strip.

    A column is blue and full where the episode beats its bar, orange and hatched where it does not, and pale while the
    episode lasts; the bar is a black line across it. A triangle at the edge says that a value lies beyond it.

    Args:
        layout: from `lay_out_strip`.
        name: whose lifetime it is.
        title: stands opposite the name.
        level_names: of the family's levels.

    Returns:
        ``uint8[height, width, 3]``.
    """
    size, width = layout.letters, layout.width
    canvas = Canvas(width, layout.height)
    line = size + 4
    canvas.line(0, 0.5, width, 0.5, colour="grey")
    room = width - 12.0
    canvas.text(6, 4, _fitting(canvas, [name, name[:12]], room, size), size=size)
    written = canvas.text_width(name, size=size) + 8
    canvas.text(width - 6, 4, _fitting(canvas, [title], room - written, size), size=size, colour="dark", anchor="ra")
    now = next((column.episode for column in layout.columns if column.running), None)
    if now is not None:
        words = _against_bar(now)
        text = _fitting(canvas, [words, words.partition(",")[0]], room, size)
        canvas.text(6, 4 + line, text, size=size, colour=_tone(now))
    elif layout.columns:
        canvas.text(6, 4 + line, "over", size=size, colour="dark")

    right = layout.stages[-1].right
    for y, words, digit in ((layout.zero, "random", "0"), (layout.one, "oracle", "1")):
        text = _fitting(canvas, [words, digit], layout.gutter - 2, size - 1)
        canvas.text(layout.gutter - 3, y, text, size=size - 1, colour="dark", anchor="rm")
        canvas.line(layout.gutter, y, right, y, colour="grey")
    for place in layout.stages:
        canvas.rectangle(place.left, layout.top, place.right, layout.bottom, fill="light")
        for y in (layout.zero, layout.one):
            canvas.line(place.left, y, place.right, y, colour="grey")
    for column in layout.columns:
        _draw_column(canvas, column)
    for before, column in zip([None, *layout.columns], layout.columns, strict=False):
        if column.bar is None:
            continue
        canvas.line(column.left, column.bar, column.right, column.bar, width=2)
        if before is not None and before.bar is not None and before.episode.stage == column.episode.stage:
            canvas.line(column.left, before.bar, column.left, column.bar, width=1)

    _draw_values(canvas, layout, level_names)
    return canvas.array()


def _tone(episode: LivedEpisode) -> str:
    """The colour of an episode, by its bar."""
    return "dark" if not episode.has_bar else "blue" if episode.above else "red"


def _draw_column(canvas: Canvas, column: Column) -> None:
    inset = 1.0 if column.right - column.left < 12 else 2.0
    left, right = column.left + inset / 2, column.right - inset / 2
    tone = _tone(column.episode)
    hatched = column.episode.has_bar and not column.episode.above
    fill = blend("paper", tone, 0.2 if hatched else 0.45) if hatched or column.running else tone
    canvas.rectangle(left, column.top, right, column.bottom, fill=fill)
    if hatched:
        canvas.hatch(left, column.top, right, column.bottom, colour=tone)
    if hatched or column.running:
        canvas.rectangle(left, column.top, right, column.bottom, outline=tone)
    if column.outside:
        middle, half = (left + right) / 2, min(5.0, (right - left) / 2)
        tip = column.top if column.outside > 0 else column.bottom
        base = tip + column.outside * half * 1.4
        canvas.polygon([(middle - half, base), (middle + half, base), (middle, tip)], fill="ink")


def _draw_values(canvas: Canvas, layout: StripLayout, level_names: Sequence[str]) -> None:
    """Write the returns of the episodes, or of the stages where there is no room, and the names of the levels."""
    size, line = layout.letters - 1, layout.letters + 4
    done = [column for column in layout.columns if not column.running]
    roomy = layout.slot >= canvas.text_width("-0.00", size=size) + 2
    for column in done if roomy else []:
        middle = (column.left + column.right) / 2
        canvas.text(middle, layout.bottom + 3, _two(column.episode.value), size=size, anchor="ma")
    for place in layout.stages:
        wide = place.right - place.left + STAGE_GAP - 2
        values = [column.episode.value for column in done if column.episode.stage == place.stage]
        if values and not roomy:
            mean = _two(float(np.mean(values)))
            text = _fitting(canvas, [f"mean {mean}", mean], wide, size)
            canvas.text(place.left, layout.bottom + 3, text, size=size)
        names = [f"level {place.level}: {level_names[place.level]}", f"level {place.level}", str(place.level)]
        if place is layout.stages[0] and layout.earlier:
            names = [f"... {name}" for name in names] + names
        if place is layout.stages[-1] and layout.later:
            names = [f"{name} ..." for name in names] + names
        text = _fitting(canvas, names, wide, size)
        canvas.text(place.left, layout.bottom + 3 + line, text, size=size, colour="dark")


# --- filming -------------------------------------------------------------------------------------------------------

# What `film` and the companions of a player decide themselves.
_DECIDED = ("autoreset_mode", "num_envs", "observation", "privileged", "render_mode")


class _Lives:
    """Lifetimes of one agent, side by side, and the episodes that were lived in each."""

    def __init__(
        self, env_id: Any, agent: Any, seeds: np.ndarray, agent_seeds: np.ndarray, settings: Mapping[str, Any]
    ) -> None:
        self.env = LifetimeVectorEnv(env_id, len(seeds), privileged=True, autoreset_mode="Disabled", **settings)
        spec = self.env.lifetime_spec
        self.agent = make_agent(agent, spec)
        self.lived: list[list[LivedEpisode]] = [[] for _ in seeds]
        self.over = np.zeros(len(seeds), dtype=np.bool_)
        self.fresh = np.ones(len(seeds), dtype=np.bool_)
        self.observations, _ = self.env.reset(seed=seeds)
        self.agent.begin(spec, agent_seeds)
        if getattr(self.agent, "privileged", False):
            self.agent.attach(self.env)  # type: ignore[attr-defined]

    def step(self) -> bool:
        """Take a step in every lifetime that is not over; whether an inner episode ended."""
        if self.over.all():
            return False
        self.observations, _, self.over, _, info = self.env.step(self.agent.act(self.observations, self.fresh))
        self.fresh = np.zeros(len(self.over), dtype=np.bool_)
        ended = np.flatnonzero(info.get("_episode_return", False))
        for lane in ended:
            self.lived[lane].append(_finished(self.env.rule, info, self.lived[lane], lane))
        return len(ended) > 0


@dataclass(frozen=True)
class _Frame:
    """One picture of one agent's lifetime: the scene, and what the strip under it shows."""

    scene: Any
    lived: tuple[LivedEpisode, ...]
    running: LivedEpisode | None


class _Filmed(_Lives):
    """A lifetime of one agent, picture by picture."""

    def __init__(self, env_id: Any, agent: Any, seed: int, settings: Mapping[str, Any]) -> None:
        seeds = lifetime_seeds(seed, 0, 1)
        super().__init__(env_id, agent, seeds, seeds, settings)
        self.name = agent if isinstance(agent, str) else getattr(self.agent, "name", type(self.agent).__name__)
        course = self.env.course
        self.stages = [course.stages[k] for k in self.env._lanes.order[0][: len(course.stages)]]

    def frame(self, reveal: bool, width: int | None) -> _Frame:
        """The present scene, not wider than asked for, and the books."""
        from PIL import Image

        scene, lived = self.env.scene(0, reveal=reveal), self.lived[0]
        image = Image.fromarray(self.env.family.render_rgb(scene))
        if width is not None and image.width > width:
            height = max(1, round(image.height * width / image.width))
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        return _Frame(image, tuple(lived), None if self.over[0] else _unfinished(self.env, scene, lived))

    def strip(self, frame: _Frame, width: int) -> np.ndarray:
        """The strip under a scene."""
        number, episodes = len(frame.lived), self.env.course.episodes
        if frame.running is not None:
            title = f"episode {number + 1} of {episodes}"
        else:
            title = f"area {_two(float(np.mean([one.value for one in frame.lived])))}"
        layout = lay_out_strip(width, self.stages, frame.lived, frame.running)
        names = [level.name for level in self.env.family.levels]
        return draw_strip(layout, name=self.name, title=title, level_names=names)


def film(
    env_id: Any,
    path: str | Path,
    *,
    agent: Any = "reference",
    seed: int = 0,
    frames: int = 200,
    fps: int = 8,
    every: int = 1,
    width: int | None = None,
    reveal: bool = True,
    bar: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Film one lifetime of an agent as a GIF, or the same lifetime of several agents side by side.

    Under each scene a strip shows the lifetime so far: one column an episode with its normalised return, from the
    random policy (0) to the oracle (1), and the improvement bar that it had to beat (see `draw_strip`).

    Args:
        env_id: the environment's id.
        path: of the GIF.
        agent: a name or an `daytwo.Agent`, or a list of them.
        seed: which lifetime; an integer of at least 0.
        frames: stop after this many; at least 1.
        fps: frames a second, 1 to 50; the last one is shown for two seconds at least.
        every: show every so manieth step, besides the first and the last of each inner episode; at least 1.
        width: pixels of the picture of each agent, at most, 16 or more; the family's own by default.
        reveal: draw what is hidden from the agent, too.
        bar: draw the strip; False leaves the agents' names alone, where there are several.
        settings: keyword arguments of the environment.

    Returns:
        How many frames were written.

    Raises:
        ImportError: Pillow is missing.
        ValueError: a number out of range, no agent, or a setting that filming decides.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("A GIF needs Pillow: pip install 'daytwo[report]'.") from error
    check_integer("seed", seed, 0, MASK_64)
    check_integer("frames", frames, 1, 1_000_000)
    check_integer("fps", fps, 1, 50)
    check_integer("every", every, 1, 1_000_000)
    if width is not None:
        check_integer("width", width, 16, 10_000)
    given = dict(settings or {})
    for name in _DECIDED:
        if name in given:
            raise ValueError(f"A film decides {name} itself: leave {name}={given[name]!r} out.")
    agents = list(agent) if isinstance(agent, list | tuple) else [agent]
    if not agents:
        raise ValueError("Expected at least one agent to film.")
    lives = [_Filmed(env_id, one, seed, given) for one in agents]

    shots, steps = [[life.frame(reveal, width) for life in lives]], 0
    while not all(life.over[0] for life in lives) and len(shots) < frames:
        steps += 1
        ended = [life.step() for life in lives]
        if any(ended) or steps % every == 0:
            shots.append([life.frame(reveal, width) for life in lives])

    # A family may draw scenes of several sizes; the strips stay where they are.
    across = max(shot.scene.width for row in shots for shot in row)
    down = max(shot.scene.height for row in shots for shot in row)

    def caption(life: _Filmed, shot: _Frame) -> np.ndarray:
        if bar:
            return life.strip(shot, across)
        canvas = Canvas(across, 22)
        canvas.text(6, 4, life.name, size=13)
        return canvas.array()

    images = []
    for row in shots:
        captions = [Image.fromarray(caption(*pair)) for pair in zip(lives, row, strict=True)]
        image = Image.new("RGB", (across * len(row), down + captions[0].height), "white")
        for k, (shot, below) in enumerate(zip(row, captions, strict=True)):
            image.paste(shot.scene, (k * across, 0))
            image.paste(below, (k * across, down))
        images.append(image if bar or len(row) > 1 else image.crop((0, 0, across, down)))
    # One palette for all, so that what does not move is the same in every picture and costs nothing.
    shown = images[:: max(1, len(images) // 8)]
    sheet = Image.new("RGB", (shown[0].width, sum(image.height for image in shown)))
    for k, image in enumerate(shown):
        sheet.paste(image, (0, sum(one.height for one in shown[:k])))
    palette = sheet.quantize(96, method=Image.Quantize.FASTOCTREE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    durations = [1000 // fps] * (len(images) - 1) + [max(2000, 1000 // fps)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return len(images)
