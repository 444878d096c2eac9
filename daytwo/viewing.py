"""Lifetimes for people: playing one in the terminal, and filming one as a GIF with the improvement bar drawn in."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.agent import make_agent
from daytwo.checks import check_integer
from daytwo.course import Course, Stage
from daytwo.family import Scene
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
NARROWEST_SLOT, WIDEST_SLOT, STAGE_GAP = 4, 48, 5  # pixels


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
        slot = int(2 * slot) / 2  # the canvas is drawn at twice the size

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
    named = _fitting(canvas, [name, name[:12], name[:6]], room, size)
    canvas.text(6, 4, named, size=size)
    free = room - canvas.text_width(named, size=size) - 8
    canvas.text(width - 6, 4, _fitting(canvas, [title], free, size), size=size, colour="dark", anchor="ra")
    now = next((column.episode for column in layout.columns if column.running), None)
    words = "over" if now is None else _against_bar(now)
    text = _fitting(canvas, [words, words.partition(",")[0]], room, size)
    canvas.text(6, 4 + line, text, size=size, colour="dark" if now is None else _tone(now))
    legend = canvas.text_width("bar", size=size) + 16
    if legend + canvas.text_width(text, size=size) + 8 <= room and any(one.bar is not None for one in layout.columns):
        canvas.text(width - 6, 4 + line, "bar", size=size, colour="dark", anchor="ra")
        canvas.line(width - 6 - legend, 4 + 1.5 * line, width + 6 - legend, 4 + 1.5 * line, width=2)

    for y, words, digit in ((layout.zero, "random", "0"), (layout.one, "oracle", "1")):
        text = _fitting(canvas, [words, digit], layout.gutter - 2, size - 1)
        canvas.text(layout.gutter - 3, y, text, size=size - 1, colour="dark", anchor="rm")
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
        wide = place.right - place.left + STAGE_GAP - 4
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
        ended = np.flatnonzero(info.get("_episode_return", False)).tolist()
        for lane in ended:
            self.lived[lane].append(_finished(self.env.rule, info, self.lived[lane], lane))
        return bool(ended)


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
        self.name = agent if isinstance(agent, str) else str(getattr(self.agent, "name", type(self.agent).__name__))
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
    while shots:  # which lets go of the scenes one by one
        row = shots.pop(0)
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
    palette = sheet.quantize(64, method=Image.Quantize.FASTOCTREE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    durations = [1000 // fps] * (len(images) - 1) + [max(2000, 1000 // fps)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
    return len(images)


# --- playing -------------------------------------------------------------------------------------------------------

# Marks in the chart, in the order in which they stand side by side.
_MARKS = {"you": "Y", "reference": "R", "oracle": "O", "random": "x"}
_WORDS = {"reference": "the reference learner", "oracle": "the oracle", "random": "random"}
_NARROWEST, _WIDEST, _MARGIN = 5, 9, 13  # columns of an episode in the chart, and of its axis


def live_again(
    env_id: Any,
    lived: Sequence[LivedEpisode],
    *,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    lives: int = LIVES,
) -> dict[str, list[float]]:
    """Let the random policy, the reference learner and the oracle live a player's lifetime again.

    Each lives it several times over and is given by its mean. The hidden task, the start states and all chance that
    does not depend on what is done are the player's; only the agent's own choices differ from time to time. So the
    luck of the lifetime is everybody's: random's mean can lie far from 0 here, and the oracle's from 1.

    Args:
        env_id: the environment's id.
        lived: the player's episodes; at least one.
        seed: of the player's lifetime.
        settings: keyword arguments of the player's environment.
        lives: how many times each lives it, at least 1.

    Returns:
        Normalised returns, one for each of the player's episodes, by name; NaN where an agent left the stage before.
        Whoever a family lacks, or is not meant for its settings, is left out.

    Raises:
        ValueError: no episode was lived, or a number is out of range.
    """
    check_integer("lives", lives, 1, 1_000_000)
    if not lived:
        raise ValueError("Expected at least one episode that the player lived, received none.")
    # What the player is shown and allowed is the player's alone: agents need what they were made for.
    given = {name: value for name, value in (settings or {}).items() if name not in (*_DECIDED, "show")}
    env = LifetimeVectorEnv(env_id, 1, **given)
    seeds = np.full(lives, check_integer("seed", seed, 0, MASK_64), dtype=np.uint64)
    own_seeds = lifetime_seeds(seed, 0, lives)
    last = (lived[-1].stage, lived[-1].place)
    curves = {}
    for name in COMPANIONS:
        if name == "oracle" and env.family.oracle is None:
            continue
        try:
            make_agent(name, env.lifetime_spec)
        except ValueError:
            continue
        them = _Lives(env_id, name, seeds, own_seeds, given)
        behind = True
        while behind:
            them.step()
            behind = any(
                not over and (not own or (own[-1].stage, own[-1].place) < last)
                for over, own in zip(them.over, them.lived, strict=True)
            )
        values: dict[tuple[int, int], list[float]] = {}
        for one in (one for own in them.lived for one in own):
            values.setdefault((one.stage, one.place), []).append(one.value)
        curves[name] = [float(np.mean(values.get((one.stage, one.place), math.nan))) for one in lived]
    return curves


def _by_stage(lived: Sequence[LivedEpisode]) -> list[range]:
    """Which of the episodes each stage holds."""
    starts = [k for k, one in enumerate(lived) if one.place == 0] + [len(lived)]
    return [range(first, stop) for first, stop in pairwise(starts)]


def _shortened(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"


def adaptation_chart(
    lived: Sequence[LivedEpisode], curves: Mapping[str, Sequence[float]], level_names: Sequence[str], columns: int
) -> str:
    """Draw adaptation curves as text: episodes from left to right, normalised returns upwards.

    Args:
        lived: the episodes, which give the stages and the bars.
        curves: normalised returns of each episode by name, some of ``you``, ``random``, ``reference`` and ``oracle``;
            NaN leaves a place empty.
        level_names: of the family's levels.
        columns: how wide it may be, 60 or more; a longer lifetime goes on below.

    Returns:
        Lines of text. What lies beyond -1 or 2 is marked at the edge.

    Raises:
        ValueError: there is no episode, or ``columns`` is too small.
    """
    check_integer("columns", columns, 60, 10_000)
    if not lived:
        raise ValueError("Expected at least one episode, received none.")
    values = np.array([[one.bar for one in lived], *curves.values()], dtype=np.float64)
    values = values[np.isfinite(values)]
    low, high = min([0.0, *values]), max([1.0, *values])
    drawn = max(low, -1.0), min(high, 2.0)
    unit = 0.1 if drawn[1] - drawn[0] <= 1.5 else 0.2
    bottom, top, one = round(drawn[0] / unit), round(drawn[1] / unit), round(1 / unit)

    def row_of(value: float) -> int:
        return top - min(max(round(value / unit), bottom), top)

    shown = [name for name in _MARKS if name in curves]
    legend = [f"{_MARKS[name]} {name}" for name in shown]
    legend += ["─ bar"] if any(episode.has_bar for episode in lived) else []
    lines = [",  ".join(legend)]
    if drawn != (low, high):
        lines.append("(marks at the top or bottom edge lie beyond it)")
    stages, room = _by_stage(lived), columns - _MARGIN
    for page in _pages([len(stage) for stage in stages], room, _NARROWEST, 1):
        slot = min(_WIDEST, (room - len(page) + 1) // sum(stop - first for _, first, stop in page))
        rows = [[" "] * room for _ in range(top - bottom + 1)]
        numbers, names = [" "] * room, [" "] * room
        x = 0
        for number, first, stop in page:
            if x:
                for row in [*rows, numbers, names]:
                    row[x] = "│"
                x += 1
            level = lived[stages[number][0]].level
            wide = (stop - first) * slot
            names[x : x + wide] = _shortened(f"{level} {level_names[level]}", wide).ljust(wide)
            for at in stages[number][first:stop]:
                for height in (0, one):
                    rows[top - height][x : x + slot] = "·" * slot
                if lived[at].has_bar:
                    rows[row_of(lived[at].bar)][x : x + slot] = "─" * slot
                for k, name in enumerate(shown):
                    if math.isfinite(curves[name][at]):
                        rows[row_of(curves[name][at])][x + (slot - len(shown)) // 2 + k] = _MARKS[name]
                numbers[x : x + slot] = str(at + 1).center(slot)[:slot]
                x += slot
        lines.append("")
        for k, row in enumerate(rows):
            word = {0: "random", one: "oracle"}.get(top - k, "")
            lines.append(f"{word:>6} {(top - k) * unit:4.1f} ┤" + "".join(row).rstrip())
        for word, row in (("episode", numbers), ("level", names)):
            lines.append(f"{word:>11} │" + "".join(row).rstrip())
    return "\n".join(lines)


def adaptation_table(
    lived: Sequence[LivedEpisode], curves: Mapping[str, Sequence[float]], level_names: Sequence[str], columns: int
) -> str:
    """Write adaptation curves as a table: a line for each episode, and the area (the mean) of each curve.

    Args:
        lived: the episodes, which give the stages and the bars.
        curves: as for `adaptation_chart`.
        level_names: of the family's levels.
        columns: how wide it may be, 60 or more.

    Returns:
        Lines of text.

    Raises:
        ValueError: ``columns`` is too small.
    """
    check_integer("columns", columns, 60, 10_000)
    shown = [name for name in ("you", *COMPANIONS) if name in curves]
    heads = ["episode", *shown, *(["bar"] if any(one.has_bar for one in lived) else [])]
    wides = [max(7, len(head) + 2) for head in heads]
    levels = [f"{one.level} {level_names[one.level]}" if one.place == 0 else "" for one in lived]
    wide = min(columns - sum(wides), max(len("level"), *map(len, levels)))

    def line(first: str, cells: Sequence[str]) -> str:
        text = "".join(cell.rjust(width) for cell, width in zip(cells, wides, strict=False))
        return (_shortened(first, wide).ljust(wide) + text).rstrip()

    def number(value: float) -> str:
        return _two(value) if math.isfinite(value) else "-"

    lines = [line("level", heads)]
    for k, one in enumerate(lived):
        lines.append(line(levels[k], [str(k + 1), *(number(curves[name][k]) for name in shown), number(one.bar)]))
    areas = [np.array(curves[name])[np.isfinite(curves[name])] for name in shown]
    lines.append(line("area", ["", *(number(float(area.mean()) if len(area) else math.nan) for area in areas)]))
    return "\n".join(lines)


def _first_at(values: Sequence[float], threshold: float) -> int | None:
    """The number of the first value, as it is printed, that reaches a threshold."""
    return next((k for k, value in enumerate(values, 1) if float(_two(value)) >= threshold), None)


def adaptation_in_words(
    lived: Sequence[LivedEpisode], curves: Mapping[str, Sequence[float]], level_names: Sequence[str]
) -> list[str]:
    """Say what a player's adaptation curve shows, beside the reference learner's.

    Args:
        lived: the player's episodes.
        curves: as for `adaptation_chart`, with ``you``.
        level_names: of the family's levels.

    Returns:
        Sentences: one for each stage of at least two episodes, and how often the bar was beaten.
    """
    sentences = []
    for stage in _by_stage(lived):
        level = lived[stage[0]].level
        again = ", again" if any(one.level == level for one in lived[: stage[0]]) else ""
        own = [curves["you"][k] for k in stage]
        if len(own) < 2:
            continue
        gain = own[-1] - own[0]
        grew = f"{_two(abs(gain))} {'above' if gain > 0 else 'below'}" if _two(abs(gain)) != "0.00" else "as good as"
        text = f"Level {level} ({level_names[level]}){again}: your last episode was {grew} your first."
        theirs = [curves["reference"][k] for k in stage] if "reference" in curves else []
        for threshold in THRESHOLDS:
            yours, other = _first_at(own, threshold), _first_at(theirs, threshold)
            if yours is None and other is None:
                continue
            you = "did not reach it" if yours is None else f"needed {yours}"
            if other is not None:
                episodes = "1 episode" if other == 1 else f"{other} episodes"
                text += f" The reference learner needed {episodes} to reach {threshold:g}; you {you}."
            else:
                episodes = "1 episode" if yours == 1 else f"{yours} episodes"
                text += f" You needed {episodes} to reach {threshold:g}"
                text += "; the reference learner did not reach it." if theirs else "."
            break
        sentences.append(text)
    judged = [one for one in lived if one.has_bar]
    if judged:
        sentences.append(f"You beat the bar in {sum(one.above for one in judged)} of {len(judged)} episodes.")
    return sentences


def play(
    env_id: Any,
    *,
    seed: int = 0,
    ask: Callable[[str], str] = input,
    say: Say = print,
    settings: Mapping[str, Any] | None = None,
    columns: int | None = None,
) -> list[float]:
    """Let a person live one lifetime, and show in the end how random, the reference learner and the oracle lived it.

    Args:
        env_id: the environment's id.
        seed: which lifetime.
        ask: shows a prompt and returns a line; EOFError or the line ``quit`` ends the game.
        say: shows a text.
        settings: keyword arguments of the environment.
        columns: how wide the chart in the end may be, 60 or more; as wide as the terminal by default, at most 100.

    Returns:
        The normalised returns of the episodes that were finished.

    Raises:
        ValueError: a setting, the seed or ``columns`` is out of range.
    """
    if columns is None:
        columns = min(100, max(60, shutil.get_terminal_size().columns))
    check_integer("columns", columns, 60, 10_000)
    given = dict(settings or {})
    if not isinstance(given.get("course"), Course):
        given.setdefault("episodes", 3)
    env = LifetimeEnv(env_id, **given)
    env.reset(seed=seed)
    family, course = env.family, env.course
    lived: list[LivedEpisode] = []
    say(f"{family.id}: a lifetime of {course.episodes} episodes. Type an action, ? for the actions, or quit.")
    stage, over = -1, False
    while not over:
        scene = env.scene(reveal=False)
        level, episode = scene.level, _unfinished(env, scene, lived)
        if episode.stage != stage:
            stage = episode.stage
            say(f"\n=== Level {level}: {family.levels[level].name} ===\n{family.describe_rules(level)}")
        if scene.time == 0:
            bar = f"; the bar to beat is {_two(episode.bar)}" if episode.has_bar else ""
            say(f"\n--- Episode {scene.episode + 1} of {course.episodes}{bar} ---")
        say(family.render_ansi(scene))
        try:
            text = ask("> ").strip()
        except EOFError:
            text = "quit"
        if text in ("quit", "q", "exit"):
            say("You left.")
            break
        if text in ("?", "help"):
            if family.continuous:
                say(f"{family.actions} numbers between -1 and 1, or what the rules name")
                continue
            names = [f"{k} {family.describe_action(k)}" for k in range(family.actions) if family.action_masks[level, k]]
            say("; ".join(names))
            continue
        try:
            action = family.parse_action(text, level)
        except ValueError as error:
            say(str(error))
            continue
        observation, _, over, _, info = env.step(action)
        said = f"{family.describe_action(action)}: reward {info['raw_reward']:g}"
        if "episode_return" not in info:
            say(f"{said} ({_against_bar(_unfinished(env, env.scene(), lived))})")
            continue
        say(said)
        if "final_observation" in env.layout:
            part = env.layout["final_observation"] if not over else slice(0, env.layout.family_size)
            say(f"The last you see of it: {family.describe_observation(_flat(observation)[part], level)}")
        lived.append(_finished(env.rule, info, lived, 0))
        say(_episode_in_words(lived[-1], info["episode_return"]))
    if lived:
        curves = {"you": [one.value for one in lived], **live_again(env_id, lived, seed=seed, settings=given)}
        _show_adaptation(env, lived, curves, say, columns)
    return [one.value for one in lived]


def _flat(observation: Any) -> np.ndarray:
    """An observation as one row, also where the environment was made with observation="dict"."""
    return np.concatenate(list(observation.values())) if isinstance(observation, dict) else observation


def _episode_in_words(episode: LivedEpisode, total: float) -> str:
    """What a finished episode came to."""
    text = f"Episode over: return {total:g}, normalised {_two(episode.value)} (0 is random, 1 the oracle)."
    if episode.has_bar:
        ahead = _two(abs(episode.value - episode.bar))
        bar = f"the bar of {_two(episode.bar)}"
        text += f" You beat {bar} by {ahead}." if episode.above else f" You stayed {ahead} below {bar}."
    return text


def _show_adaptation(
    env: LifetimeEnv, lived: list[LivedEpisode], curves: dict[str, list[float]], say: Say, columns: int
) -> None:
    """Show a player's adaptation curve beside those of the others."""
    names = [level.name for level in env.family.levels]
    say("\nYour adaptation curve: the normalised return of each episode (0 is random, 1 the oracle)\n")
    say(adaptation_chart(lived, curves, names, columns))
    say("\n" + adaptation_table(lived, curves, names, columns) + "\n")
    for sentence in adaptation_in_words(lived, curves, names):
        say(sentence)
    if len({one.level for one in lived}) > 1 and any(one.has_bar for one in lived):
        say("Each level keeps a bar of its own.")
    missing = [_WORDS[name] for name in COMPANIONS if name not in curves]
    if missing:
        say(f"{env.family.name} has nobody to play {' or '.join(missing)} under these settings.")
    say(
        f"The others lived this same lifetime, with its hidden task and its luck, {LIVES} times each (their means). "
        "One lifetime is luck as well: over many, random's mean is 0 and the oracle's 1."
    )
