"""Laboratory: find out by experiments what switches a lamp on, then sit an exam on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.calibration import ReferenceReturns
from daytwo.checks import check_integer, check_integers, check_numbers
from daytwo.course import Course, Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field, Layout
from daytwo.streams import integer, uniform

LETTERS = "ABCDEFGHIJ"  # what the switches are called
FEWEST_SWITCHES, MOST_SWITCHES = 4, len(LETTERS)
MOST_EXPERIMENTS, MOST_QUESTIONS = 50, 32
LEVEL_NAMES = ("one switch", "both of two", "either but not both", "one more, and a dim lamp")
PATIENCE = 2  # an episode may last so many times as long as it needs to
ACROSS = 44  # pixels from switch to switch in pictures


# A literal is a switch that has to stand up (2 * switch) or down (2 * switch + 1). A setting of the switches is a
# number whose bit k says whether switch k stands up.


@register_jitable
def holds(literal, setting):
    """Whether a literal is true in a setting, 0 or 1."""
    return ((setting >> (literal >> 1)) & 1) ^ (literal & 1)


@register_jitable
def lamp(task, level, i, setting):
    """Whether a setting lights the lamp, 0 or 1."""
    first = task.first[i]
    lit = holds(task.pair[i, first], setting)
    if level >= 1:
        lit &= holds(task.pair[i, 1 - first], setting)
    if level >= 2:
        lit ^= holds(task.third[i], setting)
    if level >= 3:
        lit ^= holds(task.fourth[i], setting)
    return lit


@register_jitable
def draw(settings, task, stream, i):
    n = settings.switches
    one = integer(stream, i, n)
    two = one
    while two == one:
        two = integer(stream, i, n)
    three = one
    while three == one or three == two:
        three = integer(stream, i, n)
    four = one
    while four == one or four == two or four == three:
        four = integer(stream, i, n)
    signs = integer(stream, i, 16)
    low, high = 2 * one + (signs & 1), 2 * two + ((signs >> 1) & 1)
    task.first[i] = 0
    if low > high:
        low, high = high, low
        task.first[i] = 1
    task.pair[i, 0] = low
    task.pair[i, 1] = high
    task.third[i] = 2 * three + ((signs >> 2) & 1)
    task.fourth[i] = 2 * four + (signs >> 3)


@register_jitable
def pose(settings, task, state, level, stream, i):
    """Set the switches for the next experiment or question."""
    word = integer(stream, i, 2 << settings.switches)
    setting = word >> 1
    if state.done[i] >= settings.experiments[level]:
        # A question: off or on is right with equal chance, and every setting of which that is true is equally likely.
        answer = word & 1
        if lamp(task, level, i, setting) != answer:
            if level == 1:
                one, two = task.pair[i, 0] >> 1, task.pair[i, 1] >> 1
                if answer == 1:
                    setting |= (1 << one) | (1 << two)
                    setting ^= ((task.pair[i, 0] & 1) << one) | ((task.pair[i, 1] & 1) << two)
                else:
                    which = 1 + integer(stream, i, 3)  # either of the two, or both
                    setting ^= ((which & 1) << one) | ((which >> 1) << two)
            else:
                # One switch that always matters: turning it maps settings of either answer one to one to the other's.
                decisive = task.pair[i, task.first[i]] if level == 0 else task.third[i]
                setting ^= 1 << (decisive >> 1)
    state.setting[i] = setting


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.done[i] = 0
    state.marks[i] = 0
    state.tested[i] = 0
    state.reading[i] = 0
    pose(settings, task, state, level, stream, i)


@register_jitable
def step(settings, task, state, level, stream, i, action):
    n = settings.switches
    setting = state.setting[i]
    done = state.done[i] + 1
    state.done[i] = done
    if done <= settings.experiments[level]:
        if action < n:
            setting ^= 1 << action
        lit = lamp(task, level, i, setting)
        if settings.noise[level] > 0.0 and uniform(stream, i) < settings.noise[level]:
            lit = 1 - lit
        state.tested[i] = setting
        state.reading[i] = 2 * lit - 1
        pose(settings, task, state, level, stream, i)
        return 0.0, False
    state.reading[i] = 0
    marks = state.marks[i] + (lamp(task, level, i, setting) == action - n - 1)
    state.marks[i] = marks
    if done == settings.experiments[level] + settings.questions:
        return float(marks), True
    pose(settings, task, state, level, stream, i)
    return 0.0, False


@register_jitable
def observe(settings, task, state, level, i, out):
    n = settings.switches
    setting, tested, reading = state.setting[i], state.tested[i], state.reading[i]
    seen = reading != 0
    for k in range(n):
        out[k] = 2 * ((setting >> k) & 1) - 1
        out[n + 1 + k] = (2 * ((tested >> k) & 1) - 1) * seen
    out[n] = state.done[i] >= settings.experiments[level]
    out[2 * n + 1] = reading


@register_jitable
def offered(settings, task, state, level, i, action):
    return (action <= settings.switches) == (state.done[i] < settings.experiments[level])


@register_jitable
def oracle(settings, task, state, level, i):
    n = settings.switches
    if state.done[i] < settings.experiments[level]:
        return n
    return n + 1 + lamp(task, level, i, state.setting[i])


class Laboratory(TaskFamily):
    """A lamp behind a row of switches: propose theories, run experiments, sit the exam.

    What it tests:
        Rule discovery and causal learning by active experiments: which question to put to nature, given all that it
        has answered so far. What counts is not the reward of the moment (experiments pay nothing) but what is known
        when the exam comes. Theories grow: that of a level contains that of the level before.
    Task:
        Four *literals*: different switches, each of which has to stand up or (negated) down, all combinations being
        equally likely. The first two are ``pair``, in ascending order, and ``first`` says which of them comes first;
        then ``third`` and ``fourth``. A literal is coded ``2 * switch + negated``.
    Episode:
        First the experiments: the switches are set at random, the agent turns one of them or none, and the lamp is
        read. Then the exam: a setting is shown, and the agent says whether the lamp would be off or on. Questions are
        drawn so that off and on are right with equal chance, independently. The number of experiments and questions is
        fixed; the horizon is twice as long as it takes, for actions that are not offered take time, too. An exam that
        is not finished by then pays nothing.
    Observation:
        ``switches``: how the switches stand, -1 (down) or 1 (up) each. ``exam``: 0 during experiments, 1 in the exam.
        On the step after an experiment, otherwise zeros: ``tested``, how the switches stood when the lamp was
        read, and ``lamp``, the reading, -1 (off) or 1 (on).
    Action:
        ``Discrete(switches + 3)``: turn one switch (0 to ``switches - 1``) or none, offered in experiments; off, on,
        offered in the exam.
    Reward:
        The number of right answers, paid in one sum with the last answer: how the exam went, and not which answers were
        right. The sum is evidence all the same.
    Levels:
        The lamp is lit if (0) the first literal holds; (1) the first AND the second; (2) that XOR the third; (3) that
        XOR the fourth, and the lamp is misread with probability 0.1 in experiments. 2, 2, 2 and 4 experiments, and 8
        questions.
    Oracle:
        Knows the rule and answers everything: ``questions`` marks, always. At random it is half of them.
    Reference learner:
        ``experimenter``: the exact posterior over all theories, from every reading, exam question and sum of marks of
        the lifetime, across levels; the experiment of the greatest information gain; the more probable answer.
    Reactive agent:
        ``last-experiment``: answers the first question by how much it resembles the experiment just made, which is all
        that an observation shows, and says off to the others.
    Source:
        The task is our own. It joins concept attainment by chosen instances (Bruner, Goodnow & Austin 1956, *A Study of
        Thinking*), causal learning about machines that light up (Gopnik & Sobel 2000, *Detecting blickets*; Lucas et
        al. 2014, with conjunctive rules) and the information gain of an experiment (Lindley 1956).
    """

    name = "Laboratory"
    tags = ("causal", "rule-discovery")
    reference = "experimenter"
    reactive = "last-experiment"
    harder = {"experiments": (1, 1, 1, 2)}
    # Rules of the levels 1, 2 and 3 that are met in one split are met in no other.
    split_fields = ("pair",)
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    offered = staticmethod(offered)
    oracle = staticmethod(oracle)

    def __init__(
        self,
        *,
        switches: int = 8,
        experiments: Sequence[int] = (2, 2, 2, 4),
        questions: int = 8,
        noise: Sequence[float] = (0.0, 0.0, 0.0, 0.1),
    ) -> None:
        """Set up the laboratory.

        Args:
            switches: how many, 4 to 10 (with 4 there are too few rules to split).
            experiments: how many an episode has at each of the four levels, 0 to 50 each.
            questions: of an exam, 1 to 32.
            noise: with what probability the lamp is misread in an experiment, at each level, 0 to 0.49 each.

        Raises:
            ValueError: a value out of range.
        """
        switches = check_integer("switches", switches, FEWEST_SWITCHES, MOST_SWITCHES)
        experiments = check_integers("experiments", experiments, len(LEVEL_NAMES), 0, MOST_EXPERIMENTS)
        questions = check_integer("questions", questions, 1, MOST_QUESTIONS)
        noise = check_numbers("noise", noise, len(LEVEL_NAMES), 0.0, 0.49)
        self.switches, self.experiments, self.questions, self.noise = switches, experiments, questions, noise
        super().__init__(
            keywords={"switches": switches, "experiments": experiments, "questions": questions, "noise": noise},
            settings={"switches": switches, "experiments": experiments, "questions": questions, "noise": noise},
            task=[("pair", "i2", (2,)), ("first", "i2"), ("third", "i2"), ("fourth", "i2")],
            state=[("setting", "i2"), ("tested", "i2"), ("reading", "i2"), ("done", "i2"), ("marks", "i2")],
            levels=[
                Level(name, PATIENCE * (count + questions))
                for name, count in zip(LEVEL_NAMES, experiments, strict=True)
            ],
            actions=spaces.Discrete(switches + 3),
            fields=[
                Field("switches", switches, -1.0),
                Field("exam", 1),
                Field("tested", switches, -1.0),
                Field("lamp", 1, -1.0),
            ],
            reward_range=(0.0, float(questions)),
            # Tasks count as different by their pairs, which are what splits keep apart.
            distinct_tasks=2 * switches * (switches - 1),
            # Off and on are right with equal chance, so every way of guessing gets half of the marks.
            reference_returns=ReferenceReturns.given([questions / 2] * 4, [float(questions)] * 4),
            action_names=[f"turn {LETTERS[k]}" for k in range(switches)] + ["leave", "off", "on"],
        )

    def observed_mask(self, layout: Layout, course: Course, observations: np.ndarray) -> np.ndarray:
        """Which actions are offered, ``bool[N, actions]``: the answers in the exam, everything else before it."""
        exam = observations[:, layout.start("exam")] > 0.5
        return exam[:, None] == (np.arange(self.actions) > self.switches)

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw."""
        task = super().task_from_dict(values)
        row = task[0]
        literals = [*row["pair"].tolist(), int(row["third"]), int(row["fourth"])]
        if not all(0 <= literal < 2 * self.switches for literal in literals):
            raise ValueError(f"Literals must be in 0..{2 * self.switches - 1}, received {literals}.")
        if len({literal >> 1 for literal in literals}) < 4:
            raise ValueError(f"The literals' switches (literal // 2) must all be different, received {literals}.")
        if literals[0] > literals[1]:
            raise ValueError(f"pair must be in ascending order, received {literals[:2]}.")
        if row["first"] not in (0, 1):
            raise ValueError(f"first must be 0 or 1, received {row['first']}.")
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def rule(self, task: Any, level: int) -> str:
        """The hidden rule of a level in words, such as ``(B AND not F) XOR A``."""
        first = int(task["first"])
        names = [_literal(int(one)) for one in (task["pair"][first], task["pair"][1 - first])]
        if level == 0:
            return names[0]
        rule = " AND ".join(names)
        for added in (task["third"], task["fourth"])[: level - 1]:
            rule = f"({rule}) XOR {_literal(int(added))}"
        return rule

    def _phase(self, scene: Scene) -> str:
        done, experiments = int(scene.state["done"]), self.experiments[scene.level]
        if done < experiments:
            return f"experiment {done + 1} of {experiments}"
        return f"exam, question {min(done - experiments + 1, self.questions)} of {self.questions}"

    def _caption(self, scene: Scene) -> list[str]:
        lines = [
            f"Laboratory, level {scene.level}: {self.levels[scene.level].name}",
            f"{self._phase(scene)}   return {scene.total:g}   bar {scene.bar:.2f}",
        ]
        if scene.reveal:
            lines.append(f"the lamp is lit if {self.rule(scene.task, scene.level)}")
            asked = int(scene.state["done"]) - self.experiments[scene.level]
            if asked > 0:
                lines[1] += f"   marks {int(scene.state['marks'])} of {asked}"
        return lines

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        kind = (
            "if one of the switches stands the right way",
            "if two of the switches both stand the right way",
            "either if two of the switches both stand the right way or if a third one does, but not if both is so",
            "if an odd number of these is true: two certain switches both stand the right way; a third one stands the "
            "right way; a fourth one does",
        )[level]
        last = LETTERS[self.switches - 1]
        rules = [
            f"Switches A to {last} work a lamp by a hidden rule: it is on {kind}. Which switches these are, and "
            "whether up or down is the right way for each, always stays the same."
        ]
        if self.experiments[level]:
            rules.append(
                f"First you make {_number(self.experiments[level], 'experiment')}: the switches are set anew, you turn "
                "one of them or leave them, and the lamp is read."
            )
            if self.noise[level]:
                rules.append(f"It is misread with probability {self.noise[level]:g}.")
        rules.append(
            f"Then comes an exam of {_number(self.questions, 'question')}: for the setting shown, say whether the lamp "
            "would be off or on. Off and on are right equally often. Every right answer is worth 1 mark, and all marks "
            "are paid together after the last question."
        )
        if level:
            rules.append("The rule contains that of the level before, and adds one switch to it.")
        return " ".join(rules)

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """How the switches stand, and what the last experiment showed, in plain words."""
        n = self.switches
        words = ""
        if values[2 * n + 1]:
            words = f"The lamp was {_word(values[2 * n + 1] > 0)} with {_setting(values[n + 1 : 2 * n + 1] > 0)}. "
        now = _setting(values[:n] > 0)
        if values[n] > 0.5:
            return f"{words}Exam: would the lamp be off or on with {now}?"
        return f"{words}Experiment: the switches stand {now}. Turn one, or leave them?"

    def parse_action(self, text: str, level: int) -> int:
        """The action that a text means: its number, its name, or the letter of a switch to turn.

        Raises:
            ValueError: the text means no action.
        """
        letter = text.strip().upper()
        if len(letter) == 1 and letter in LETTERS[: self.switches]:
            return LETTERS.index(letter)
        return super().parse_action(text, level)

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: switches, the ways they stand, and answers."""
        return Vocabulary(
            (
                Symbols("switch", tuple(LETTERS[: self.switches]), r"\bNAME\b"),
                Symbols("answer", ("leave", "off", "on"), r"\bNAME\b"),
                Symbols("way", ("up", "down"), r"\bNAME\b"),
            ),
            rewrites=((r" Turn one, or leave them\?", ""),),
        )

    def _before(self, scene: Scene) -> str:
        """What went before: an exam, an experiment or an answer."""
        if scene.state["reading"]:
            return "last experiment"
        if scene.time == 0 and scene.episode > 0:
            return f"last exam: {scene.reward:g} marks"
        if scene.action is not None and int(scene.action) > self.switches:
            return f"last answer: {self.describe_action(scene.action)}"
        return ""

    def render_ansi(self, scene: Scene) -> str:
        """The switches, the last reading, and the question, as text; the rule only where revealed."""
        state, n = scene.state, self.switches
        lines = [*self._caption(scene), f"  {self._before(scene)}".rstrip(), f"            {'  '.join(LETTERS[:n])}"]
        if state["reading"]:
            lines.append(f"  tested    {_arrows(state['tested'], n)}   the lamp was {_word(state['reading'] > 0)}")
        exam = state["done"] >= self.experiments[scene.level]
        lines.append(f"  now       {_arrows(state['setting'], n)}   {'off or on?' if exam else 'turn one, or leave'}")
        return "\n".join(lines)

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """Last experiment above, present setting below, as an image, ``uint8[height, width, 3]``."""
        from daytwo.pictures import Canvas

        state, edge = scene.state, 16
        exam = bool(state["done"] >= self.experiments[scene.level])
        canvas = Canvas(max(2 * edge + self.switches * ACROSS + 130, 510), 330)
        for k, line in enumerate(self._caption(scene)):
            canvas.text(edge, 12 + 21 * k, line, size=15)
        reading, setting = int(state["reading"]), int(state["setting"])
        tested = int(state["tested"]) if reading else None
        self._draw_bench(canvas, edge, 84, self._before(scene), tested, "grey", {})
        x = canvas.width - edge - 52
        if reading:
            canvas.circle(x, 142, 26, fill="yellow" if reading > 0 else "dark", outline="dark", width=2)
            canvas.text(x, 142, _word(reading > 0), size=17, anchor="mm", colour="ink" if reading > 0 else "paper")
        else:
            canvas.circle(x, 142, 26, outline="grey", width=2)
        title = "exam: would the lamp be on?" if exam else "experiment: turn one switch, or none"
        self._draw_bench(canvas, edge, 204, title, setting, "blue", self._right_ways(scene) if scene.reveal else {})
        canvas.circle(x, 258, 26, fill="paper", outline="dark", width=2)
        canvas.text(x, 258, "?", size=26, anchor="mm", colour="dark")
        if scene.reveal:
            canvas.text(x, 298, _word(self._lit(scene, setting)), size=14, anchor="mm", colour="goal")
        return canvas.array()

    def _draw_bench(
        self, canvas: Any, left: int, top: int, title: str, setting: int | None, outline: str, right_ways: dict
    ) -> None:
        """Draw a row of switches in a frame; ``setting`` None leaves them empty."""
        canvas.rectangle(left, top, canvas.width - left, top + 110, fill="light", outline=outline, width=2, radius=6)
        canvas.text(left + 12, top + 8, title, size=14)
        for k in range(self.switches):
            up = None if setting is None else bool(setting >> k & 1)
            x = left + 12 + (k + 0.5) * ACROSS
            _draw_switch(canvas, x, top + 62, LETTERS[k], up, right_ways.get(k))

    def _right_ways(self, scene: Scene) -> dict[int, bool]:
        """Which way (up is True) the switches of the present level's rule have to stand."""
        pair = [int(one) for one in scene.task["pair"]]
        literals = [pair[int(scene.task["first"])]] if scene.level == 0 else pair
        literals += [int(scene.task[name]) for name in ("third", "fourth")[: max(scene.level - 1, 0)]]
        return {literal >> 1: not literal & 1 for literal in literals}

    def _lit(self, scene: Scene, setting: int) -> bool:
        """Whether the present level's rule lights the lamp in a setting."""
        task = np.array([scene.task], dtype=self.task_dtype).view(np.recarray)
        return bool(lamp(task, scene.level, 0, setting))


def _literal(code: int) -> str:
    return ("not " if code & 1 else "") + LETTERS[code >> 1]


def _arrows(setting: int, switches: int) -> str:
    return "  ".join("^" if int(setting) >> k & 1 else "v" for k in range(switches))


def _word(lit: bool) -> str:
    return "on" if lit else "off"


def _setting(ups: np.ndarray) -> str:
    return " ".join(f"{letter} {'up' if up else 'down'}," for letter, up in zip(LETTERS, ups, strict=False))[:-1]


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")


def _draw_switch(canvas: Any, x: float, y: float, letter: str, up: bool | None, right_way: bool | None) -> None:
    """Draw a lever that stands up or down (None: not known), and a dot on the side that is the right way."""
    known = up is not None
    canvas.rectangle(x - 13, y - 24, x + 13, y + 24, fill="paper", outline="dark" if known else "grey", radius=5)
    if known:
        top = y - 20 if up else y + 2
        canvas.rectangle(x - 9, top, x + 9, top + 18, fill="agent" if up else "dark", radius=3)
    if right_way is not None:
        canvas.circle(x + 19, y - 11 if right_way else y + 11, 4, fill="goal")
    canvas.text(x, y + 37, letter, size=14, anchor="mm", colour="ink" if known else "grey")


__all__ = ["LETTERS", "Laboratory"]
