"""LearningSet: problem after problem, learn what it is that makes one of two objects pay."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.checks import check_choice, check_integer
from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import integer

LEFT, RIGHT = 0, 1
ACTIONS = ("left", "right")
MOST_CUES, MOST_DIMENSIONS = 4, 8
OBJECTS = ("reshuffled", "kept")
CUES = ("A", "B", "C", "D")
NUMBERS = ("one", "two", "three", "four")
# What the dimensions look like, and their two values; an object's pattern has one bit for each.
DIMENSIONS = ("colour", "shape", "size", "filling", "stripe", "frame", "dot", "ground")
VALUES = (
    ("blue", "orange"),
    ("round", "square"),
    ("small", "large"),
    ("filled", "hollow"),
    ("plain", "striped"),
    ("unframed", "framed"),
    ("undotted", "dotted"),
    ("on white", "on grey"),
)

# Settings of Harlow's experiment, as in `gymnasium.make_vec("daytwo/LearningSet-v0", num_envs=64, **HARLOW)`.
HARLOW: dict[str, Any] = {"cues": 1, "trials": 6, "look": False, "objects": "kept", "flip": False}


@register_jitable
def draw(settings, task, stream, i):
    task.flip[i] = 1 + integer(stream, i, settings.trials - 1) if settings.flip_level >= 0 else 0
    for cue in range(MOST_CUES):
        task.relevant[i, cue] = -1
    for cue in range(settings.cues):
        dimension = integer(stream, i, settings.dimensions - cue)
        # The dimension-th of those that no earlier cue took, in order.
        k = 0
        while True:
            taken = False
            for other in range(cue):
                taken = taken or task.relevant[i, other] == k
            if not taken:
                if dimension == 0:
                    break
                dimension -= 1
            k += 1
        task.relevant[i, cue] = k


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.pattern[i] = integer(stream, i, 1 << settings.dimensions)
    state.value[i] = integer(stream, i, 2)
    state.cue[i] = integer(stream, i, level + 1)
    state.looking[i] = settings.look
    state.trial[i] = 0
    state.right[i] = 0


@register_jitable
def rewarded_side(settings, task, state, level, i):
    """On which side the rewarded object lies (``LEFT`` or ``RIGHT``)."""
    value = state.value[i]
    if level == settings.flip_level and state.trial[i] >= task.flip[i]:
        value = 1 - value
    # The pattern is that of the object on the left; that on the right has the other value in every dimension.
    return ((state.pattern[i] >> task.relevant[i, state.cue[i]]) & 1) ^ value


@register_jitable
def step(settings, task, state, level, stream, i, action):
    reward = 0.0
    if state.looking[i]:
        state.looking[i] = 0
    else:
        trial = state.trial[i]
        right = action == rewarded_side(settings, task, state, level, i)
        reward = 1.0 * right
        state.right[i] |= right << trial
        state.trial[i] = trial + 1
        if trial + 1 >= settings.trials:
            return reward, True
    if settings.kept:
        state.pattern[i] ^= integer(stream, i, 2) * ((1 << settings.dimensions) - 1)
    else:
        state.pattern[i] = integer(stream, i, 1 << settings.dimensions)
    return reward, False


@register_jitable
def observe(settings, task, state, level, i, out):
    size = settings.dimensions
    pattern = state.pattern[i]
    for k in range(size):
        bit = (pattern >> k) & 1
        out[k] = bit
        out[size + k] = 1 - bit
    out[2 * size + state.cue[i]] = 1.0
    if state.looking[i]:
        out[2 * size + settings.cues + rewarded_side(settings, task, state, level, i)] = 1.0


@register_jitable
def oracle(settings, task, state, level, i):
    return rewarded_side(settings, task, state, level, i)


@register_jitable
def diagnose(settings, task, state, level, i, out):
    for k in range(settings.trials):
        out[k] = (state.right[i] >> k) & 1 if k < state.trial[i] else math.nan


class LearningSet(TaskFamily):
    """Two objects at a time, one of which pays: which of their features decides is the same for a lifetime.

    What it tests:
        Rule discovery: telling the one feature that matters from those that do not, one rule for each cue, and
        applying it to objects never seen before. Memory inside the episode (which value pays this time) and over the
        lifetime (which dimension decides). At the top level also reversal: when what was right becomes wrong.
    Task:
        ``relevant``: for each cue the dimension that decides, uniform over the 8 dimensions, no two cues alike (-1
        for cues that there are not). ``flip``: after how many paid trials of an episode of the top level the value
        flips, uniform over 1 to ``trials - 1`` (0: never).
    Episode:
        A problem: a cue, uniform over those of the level, and a value, 0 or 1, uniform. Two objects lie left and
        right, the one with exactly the other values than the other. The object that has the value in the dimension
        relevant to the cue is the rewarded one. First comes a look trial, which pays nothing: the rewarded object is
        marked. Then ``trials`` (4) paid trials, each with a new pair, without a mark. ``objects="kept"`` keeps the two
        objects for the whole problem; they then change sides only. An episode always lasts for all of its trials.
    Observation:
        ``left`` and ``right``: the values (0 or 1) of the object there in each dimension; ``cue``, one-hot;
        ``marked``, one-hot over left and right in the look trial, else zeros. Which trial it is can be counted, or
        read off the extra ``time``.
    Action:
        ``Discrete(2)``: left, right. In the look trial both do the same.
    Reward:
        1 for choosing the rewarded object in a paid trial, else 0.
    Levels:
        (0) to (3): one to four cues; those of earlier levels keep their dimensions. In the last the rewarded value
        flips once an episode, after ``flip`` paid trials, unannounced.
    Oracle:
        Always right: ``trials`` an episode in every task. The random policy gets half of that.
    Reference learner:
        ``rule-posterior``: exact Bayes over all (dimension of each cue, flip). Every choice shows which object was
        the rewarded one, whichever is chosen: so nothing is to be gained by exploring, and its choices, the most
        probable side each time, are optimal for episode and lifetime alike.
    Source:
        Harlow 1949, "The formation of learning sets", Psychological Review 56(1), 51-65: `HARLOW`, his six-trial
        problems, each with two new objects that change sides only; Wang et al. 2016 (arXiv 1611.05763) gave them to a
        recurrent network. Deciding dimensions and their change: the Wisconsin card sorting of Grant & Berg 1948,
        "A behavioral analysis of degree of reinforcement and ease of shifting", Journal of Experimental Psychology
        38(4), 404-411. The look trial, the cues and the hidden time of the flip are DayTwo's.
    """

    name = "LearningSet"
    tags = ("rule-discovery", "memory")
    reference = "rule-posterior"
    reactive = "one-feature"
    harder = {"look": False}
    split_fields = ("relevant", "flip")
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)
    diagnose = staticmethod(diagnose)

    def __init__(
        self,
        *,
        dimensions: int = 8,
        cues: int = 4,
        trials: int = 4,
        look: bool = True,
        objects: str = "reshuffled",
        flip: bool = True,
    ) -> None:
        """Set the problems.

        Args:
            dimensions: of the objects, 2 to 8, and no fewer than cues.
            cues: how many rules a task has, and how many levels the family, 1 to 4.
            trials: paid trials per episode, 1 to 30; at least 2 with ``flip``.
            look: begin every episode with the look trial.
            objects: ``reshuffled`` (a new pair in every trial) or ``kept`` (the same two objects in every trial of an
                episode, their sides drawn anew).
            flip: let the rewarded value flip inside the episodes of the top level.

        Raises:
            ValueError: a value out of range, or settings that do not go together.
        """
        cues = check_integer("cues", cues, 1, MOST_CUES)
        dimensions = check_integer("dimensions", dimensions, max(2, cues), MOST_DIMENSIONS)
        for name, value in (("look", look), ("flip", flip)):
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"{name} must be True or False, received {value!r}.")
        trials = check_integer("trials", trials, 2 if flip else 1, 30)
        check_choice("objects", objects, OBJECTS)
        names = [f"{NUMBERS[level]} cue{'s' * (level > 0)}" for level in range(cues)]
        if flip:
            names[-1] += ", value flips"
        self.dimensions, self.cues, self.trials, self.look = dimensions, cues, trials, bool(look)
        super().__init__(
            keywords={
                "dimensions": dimensions,
                "cues": cues,
                "trials": trials,
                "look": bool(look),
                "objects": objects,
                "flip": bool(flip),
            },
            settings={
                "dimensions": dimensions,
                "cues": cues,
                "trials": trials,
                "look": int(look),
                "kept": int(objects == "kept"),
                "flip_level": cues - 1 if flip else -1,
            },
            task=[("relevant", "i2", (MOST_CUES,)), ("flip", "i2")],
            state=[
                ("pattern", "i4"),
                ("value", "i4"),
                ("cue", "i4"),
                ("looking", "i4"),
                ("trial", "i4"),
                ("right", "i4"),
            ],
            levels=[Level(name, trials + int(look)) for name in names],
            actions=spaces.Discrete(2),
            fields=[Field("left", dimensions), Field("right", dimensions), Field("cue", cues), Field("marked", 2)],
            diagnostics=[Field("right_by_trial", trials)],
            distinct_tasks=math.perm(dimensions, cues) * (trials - 1 if flip else 1),
            action_names=ACTIONS,
        )

    def exact_oracle_return(self, level: int) -> float:
        """The oracle's episode return, the same in every task.

        Args:
            level: index of the level.
        """
        return float(self.trials)

    def exact_random_return(self, level: int) -> float:
        """The random policy's mean episode return.

        Args:
            level: index of the level.
        """
        return self.trials / 2

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw."""
        task = super().task_from_dict(values)
        relevant, flip = task[0]["relevant"].tolist(), int(task[0]["flip"])
        used, unused = relevant[: self.cues], relevant[self.cues :]
        if len(set(used)) < self.cues or not all(0 <= k < self.dimensions for k in used) or set(unused) - {-1}:
            raise ValueError(
                f"relevant must be {self.cues} different dimensions in 0..{self.dimensions - 1}, then "
                f"{MOST_CUES - self.cues} times -1; received {relevant}."
            )
        low, high = (1, self.trials - 1) if self.keywords["flip"] else (0, 0)
        if not low <= flip <= high:
            raise ValueError(f"flip must be in {low}..{high}, received {flip}.")
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def _flips(self, level: int) -> bool:
        return level == int(self.settings.flip_level[0])

    def _paying(self, scene: Scene) -> str:
        """The value that pays now."""
        flipped = self._flips(scene.level) and int(scene.state["trial"]) >= int(scene.task["flip"])
        value = int(scene.state["value"]) ^ int(flipped)
        return VALUES[int(scene.task["relevant"][int(scene.state["cue"])])][value]

    def _side(self, scene: Scene) -> int:
        """On which side the rewarded object lies."""
        dimension = int(scene.task["relevant"][int(scene.state["cue"])])
        value = int(scene.state["pattern"]) >> dimension & 1
        return LEFT if VALUES[dimension][value] == self._paying(scene) else RIGHT

    def _caption(self, scene: Scene) -> list[str]:
        """What is said beside the objects; the last two lines only where hidden things are revealed."""
        level = self.levels[scene.level]
        if scene.state["looking"]:
            what = "look trial"
        elif int(scene.state["trial"]) >= self.trials:
            what = "over"
        else:
            what = f"trial {int(scene.state['trial']) + 1} of {self.trials}"
        lines = [
            f"LearningSet, level {scene.level}: {level.name}",
            f"cue {CUES[int(scene.state['cue'])]}   {what}   return {scene.total:g}   bar {scene.bar:.2f}",
        ]
        if scene.reveal:
            rules = [f"{CUES[cue]} {DIMENSIONS[int(scene.task['relevant'][cue])]}" for cue in range(scene.level + 1)]
            flip = f", flips after trial {int(scene.task['flip'])}" if self._flips(scene.level) else ""
            lines += [f"rules: {', '.join(rules)}", f"now {self._paying(scene)} pays{flip}"]
        return lines

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        features = ", ".join(DIMENSIONS[: self.dimensions])
        rules = [
            f"Two objects lie before you, left and right. They differ in {self.dimensions} features ({features}); one "
            "feature alone decides which of them pays. Which feature that is, you must find out: it stays the same "
            "from episode to episode."
        ]
        if level:
            cues = ", ".join(CUES[: level + 1])
            rules.append(
                f"Each episode shows one of {level + 1} cues ({cues}). Each cue has a feature of its own that decides."
            )
        rules.append("Which of the feature's two values pays is new in each episode.")
        if self.look:
            rules.append(
                "An episode begins with a look at two objects, of which the paying one is marked; that choice pays "
                "nothing."
            )
        new = "the same two objects, which may change sides" if self.keywords["objects"] == "kept" else "new objects"
        rules.append(
            f"{'Then come' if self.look else 'An episode has'} {self.trials} trials with {new}: choosing the right one "
            "pays 1, the other 0."
        )
        if self._flips(level):
            rules.append(
                "Once in each episode, always after the same number of trials, the other value begins to pay; nothing "
                "tells you when."
            )
        return " ".join(rules)

    def _words(self, bits: np.ndarray) -> str:
        return ", ".join(VALUES[k][int(bit)] for k, bit in enumerate(bits))

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """The two objects, the cue and the mark in plain words."""
        size = self.dimensions
        seen = np.asarray(values) > 0.5
        cue = int(seen[2 * size : 2 * size + self.cues].argmax())
        parts = [f"Cue {CUES[cue]}."] if self.cues > 1 else []
        parts += [f"Left: {self._words(seen[:size])}.", f"Right: {self._words(seen[size : 2 * size])}."]
        marked = seen[2 * size + self.cues :]
        if marked.any():
            parts.append(f"This is the look: the {ACTIONS[int(marked.argmax())]} one is marked as the one that pays.")
        return " ".join(parts)

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: sides, what objects look like, and cues."""
        # Not in the order of VALUES: the words that a seed draws go by this one.
        looks = "blue orange round square small large filled hollow striped plain framed unframed dotted undotted"
        return Vocabulary(
            (
                Symbols("side", ACTIONS, r"(?<!choosing the )\bNAME\b"),
                Symbols("look", (*looks.split(), *VALUES[-1]), r"\bNAME\b"),
                Symbols("feature", DIMENSIONS, r"\bNAME\b(?=[,)])"),
                Symbols("cue", CUES, r"(?:(?<=[Cc]ue )|(?<=\()|(?<=, ))NAME(?=[,).])"),
            ),
            note="An object is described by its value of every feature, in the order above.",
        )

    def render_ansi(self, scene: Scene) -> str:
        """The two objects as a table, the marked one starred; hidden things only where revealed."""
        pattern = int(scene.state["pattern"])
        lines = self._caption(scene)
        heads = list(ACTIONS)
        if scene.state["looking"]:
            heads[self._side(scene)] += " *"
        lines.append(f"{'':10}{heads[0]:12}{heads[1]}")
        decides = int(scene.task["relevant"][int(scene.state["cue"])]) if scene.reveal else -1
        for k in range(self.dimensions):
            bit = pattern >> k & 1
            note = " <- decides" if k == decides else ""
            lines.append(f"{DIMENSIONS[k]:10}{VALUES[k][bit]:12}{VALUES[k][1 - bit]:10}{note}".rstrip())
        if scene.state["looking"]:
            lines.append("* pays")
        else:
            marks = "".join(self._marks(scene))
            lines.append(f"trials: {marks} (+ right, - wrong)")
        return "\n".join(lines)

    def _marks(self, scene: Scene) -> list[str]:
        """How each paid trial of the episode went: ``+``, ``-``, or ``.`` where it is still to come."""
        done, right = int(scene.state["trial"]), int(scene.state["right"])
        return [("+" if right >> k & 1 else "-") if k < done else "." for k in range(self.trials)]

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The two objects as a picture, ``uint8[height, width, 3]``; hidden things only where revealed."""
        from daytwo.pictures import Canvas

        side, gap, top = 190, 60, 16
        canvas = Canvas(2 * side + gap + 32, side + 174)
        pattern, full = int(scene.state["pattern"]), (1 << self.dimensions) - 1
        looking = bool(scene.state["looking"])
        middle = 16 + side + gap / 2
        canvas.rectangle(middle - 20, top + 60, middle + 20, top + 116, fill="dark", radius=6)
        canvas.text(middle, top + 88, CUES[int(scene.state["cue"])], colour="paper", size=30, anchor="mm")
        pays = self._side(scene) if looking or scene.reveal else -1
        for place, bits in ((LEFT, pattern), (RIGHT, full & ~pattern)):
            left = 16 + place * (side + gap)
            _draw_object(canvas, bits, left, top, side)
            if place == pays:
                # The mark is for all to see; without it only who may see hidden things knows.
                canvas.rectangle(left - 5, top - 5, left + side + 5, top + side + 5, outline="goal", width=5, radius=8)
                label = "pays: look" if looking else "pays (hidden)"
                canvas.text(left + side / 2, top + side + 8, label, colour="goal", size=14, anchor="ma")
        spacing = min(26, (2 * side + gap - 60) / self.trials)
        for k, mark in enumerate(self._marks(scene)):
            x, y, radius = 86 + k * spacing, top + side + 41, min(9, spacing * 0.4)
            if mark == ".":
                canvas.circle(x, y, radius, outline="grey", width=2)
            else:
                canvas.circle(x, y, radius, fill="goal" if mark == "+" else "danger")
        canvas.text(16, top + side + 33, "trials", size=14)
        for k, line in enumerate(self._caption(scene)):
            canvas.text(16, top + side + 62 + 20 * k, line, size=14)
        return canvas.array()


def _draw_object(canvas: Any, bits: int, left: float, top: float, side: float) -> None:
    """Draw the object with this pattern into a square."""
    orange, square, large, hollow, striped, framed, dotted, grey = (bool(bits >> k & 1) for k in range(8))
    canvas.rectangle(left, top, left + side, top + side, fill="grey" if grey else "light", outline="ink", radius=6)
    x, y, radius = left + side / 2, top + side / 2, side * (0.32 if large else 0.18)
    paint = "orange" if orange else "blue"
    fill, width = None if hollow else paint, 7
    if framed:
        edge = side * 0.07
        canvas.rectangle(left + edge, top + edge, left + side - edge, top + side - edge, outline="ink", width=3)
    if square:
        canvas.rectangle(x - radius, y - radius, x + radius, y + radius, fill=fill, outline=paint, width=width)
    else:
        canvas.circle(x, y, radius, fill=fill, outline=paint, width=width)
    if striped:
        for k in (-1, 0, 1):
            reach = radius * 0.6
            canvas.line(x - reach, y + k * radius * 0.45, x + reach, y + k * radius * 0.45, colour="ink", width=4)
    if dotted:
        canvas.circle(left + side * 0.125, top + side * 0.125, side * 0.04, fill="ink")


__all__ = ["HARLOW", "LearningSet"]
