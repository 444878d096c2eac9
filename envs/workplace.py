"""Workplace: close the ticket, or mend what broke."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.checks import check_integer, check_integers, check_number
from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import integer

SUPPRESS = 0  # action 0; action 1 + f is fix f
FIX_NAMES = ("patch", "restart", "roll back", "reconfigure", "upgrade", "reinstall", "rewrite", "replace")
LEVEL_NAMES = ("three modules", "four modules", "six modules", "six modules in pairs")
LEVELS = len(LEVEL_NAMES)
PAIRED = 3  # the level whose modules hang together in pairs
MOST_KINDS = 32
MOST_MODULES = 8
NOBODY = -1


@register_jitable
def draw(settings, task, stream, i):
    kinds = settings.kinds[PAIRED]
    for k in range(MOST_KINDS):
        task.fix[i, k] = integer(stream, i, settings.fixes) if k < kinds else 0
        task.partner[i, k] = NOBODY
        task.waits[i, k] = 0
    # Pair the first kind that is still single with any other single one, and toss for who waits for whom.
    single = kinds
    for k in range(kinds):
        if task.partner[i, k] != NOBODY:
            continue
        single -= 1
        skip = integer(stream, i, single)
        single -= 1
        other = k + 1
        while task.partner[i, other] != NOBODY or skip > 0:
            if task.partner[i, other] == NOBODY:
                skip -= 1
            other += 1
        task.partner[i, k] = other
        task.partner[i, other] = k
        waits = integer(stream, i, 2)
        task.waits[i, k] = waits
        task.waits[i, other] = 1 - waits


@register_jitable
def next_ticket(state, stream, i):
    """Lay the ticket of a random broken module on the desk."""
    count = state.count[i]
    state.ticket[i] = integer(stream, i, count) if count > 1 else 0


@register_jitable
def begin(settings, task, state, level, stream, i):
    count = settings.modules[level]
    kinds = settings.kinds[level]
    chosen = 0  # the bits of the kinds that fail today
    k = 0
    while k < count:
        kind = integer(stream, i, kinds)
        if (chosen >> kind) & 1:
            continue
        chosen |= 1 << kind
        state.kinds[i, k] = kind
        k += 1
        if level == PAIRED:
            kind = int(task.partner[i, kind])
            chosen |= 1 << kind
            state.kinds[i, k] = kind
            k += 1
    for rest in range(count, MOST_MODULES):
        state.kinds[i, rest] = NOBODY
    state.broken[i] = chosen
    state.count[i] = count
    state.kicked[i] = 0
    state.handled[i] = 0
    next_ticket(state, stream, i)


@register_jitable
def is_blocked(task, state, level, i, kind):
    """Whether a module cannot be healed yet because the one that it waits for is still broken."""
    if level != PAIRED or not task.waits[i, kind]:
        return False
    return (state.broken[i] >> int(task.partner[i, kind])) & 1 != 0


@register_jitable
def step(settings, task, state, level, stream, i, action):
    count = state.count[i]
    if count == 0:
        return 1.0, False
    slot = state.ticket[i]
    kind = int(state.kinds[i, slot])
    blocked = is_blocked(task, state, level, i, kind)
    if action == SUPPRESS:
        if not blocked:
            state.kicked[i] += 1
            state.handled[i] += 1
        next_ticket(state, stream, i)
        return settings.pay, False
    if blocked or task.fix[i, kind] != action - 1:
        return 0.0, False
    # Broken modules stand first: swap the healed one behind them.
    state.kinds[i, slot] = state.kinds[i, count - 1]
    state.kinds[i, count - 1] = kind
    state.broken[i] &= ~(1 << kind)
    state.count[i] = count - 1
    state.handled[i] += 1
    next_ticket(state, stream, i)
    return 1.0, False


@register_jitable
def observe(settings, task, state, level, i, out):
    if state.count[i] > 0:
        out[state.kinds[i, state.ticket[i]]] = 1.0


@register_jitable
def oracle(settings, task, state, level, i):
    if state.count[i] == 0:
        return SUPPRESS
    kind = int(state.kinds[i, state.ticket[i]])
    if is_blocked(task, state, level, i, kind):
        return SUPPRESS
    return 1 + int(task.fix[i, kind])


@register_jitable
def diagnose(settings, task, state, level, i, out):
    out[0] = state.kicked[i] / state.handled[i] if state.handled[i] > 0 else np.nan


class Workplace(TaskFamily):
    """A worker's days at one company: tickets come in, and each can be closed for now or mended for good.

    What it tests:
        Deferred gratification, and memory from day to day. Suppressing a ticket (the ``try: ... except: pass``) pays
        at once and mends nothing; looking for the fix costs more than a single day gives back. So whoever takes every
        day for the first one suppresses, and is right to; whoever remembers yesterday should not.
    Task:
        ``fix``: the true fix of every kind of failure, uniform and independent. ``partner`` and ``waits``: a uniform
        pairing of the kinds, in each pair of which one, by a fair toss, waits for the other; it matters at the top
        level only.
    Episode:
        One day on a new code base: modules, each broken in a way of its own, all of different kinds, drawn uniformly
        from those of the level (at the top level whole pairs are). Lasts for the level's horizon.
    Observation:
        ``ticket``: the kind of the failure on the desk, one-hot; all zeros when nothing is broken. It is that of a
        random broken module, and stays until it is closed or its module healed. The extras ``episode`` and
        ``stage_length`` are shown by default: how many days remain decides what is worth finding out.
    Action:
        ``Discrete(1 + fixes)``: 0 suppresses the ticket: it is closed, the module stays broken, and the next ticket is
        that of any broken module. 1 + f tries fix f: the true fix of the ticket's kind heals its module for the day,
        any other does nothing and the ticket stays. At the top level a module that waits for another cannot be
        healed, by any fix, while that other one is broken.
    Reward:
        ``pay`` (0.6) for suppressing, 1 for healing, 0 for a fix that does nothing; 1 for every step of whatever kind
        while nothing is broken.
    Levels:
        (0) 3 modules a day of 6 kinds, 14 steps; (1) 4 of 10, 18 steps; (2) 6 of 16, 28 steps; (3) 6 of 20, 28 steps,
        in pairs. A level knows the kinds of those before it and some more, and a kind keeps its fix. With F fixes and
        M modules, and T < M (F - 1) / (2 (1 - pay)) steps, the best one can do on a single day, from the prior, is to
        suppress every ticket; the constants keep to that at every level.
    Oracle:
        The true fix at once; a ticket that has to wait is suppressed. Optimal: nothing pays more than 1 a step, and
        nothing but a blocked ticket pays less. Its mean return is exact (`exact_oracle_return`): all steps of the day
        at levels 0 to 2, and 26.80 of 28 at level 3.
    Reference learner:
        ``fix-elimination``: crosses out what did not work, keeps it for life, works out who waits for whom, and
        looks for a fix where the days that remain repay it. Beside it ``can-kicker`` suppresses every ticket, which is
        the best that can be done without a memory, and ``first-day-fixer`` tries all fixes in order, day after day.
    Source:
        DayTwo's own. The choice between exploring and exploiting in the long run is that of Gittins (1979) and Duff
        (2002); the one-day and the lifetime optimum are worked out exactly in `daytwo.baselines.workplace_planning`.

    Diagnostic: ``can_kicking_rate``, of the tickets closed in an episode while their module could have been healed the
    share that was suppressed: 0 for the oracle, 1 for one who always suppresses, NaN where no ticket was closed.
    """

    name = "Workplace"
    tags = ("deferred-gratification", "exploration", "memory", "rule-discovery")
    reference = "fix-elimination"
    reactive = "can-kicker"
    harder = {"horizon": (10, 14, 20, 20)}
    split_fields = ("fix",)
    show = ("previous_action", "previous_reward", "episode_start", "time", "level", "episode", "stage_length")
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)
    diagnose = staticmethod(diagnose)

    def __init__(
        self,
        *,
        modules: Sequence[int] = (3, 4, 6, 6),
        kinds: Sequence[int] = (6, 10, 16, 20),
        fixes: int = 5,
        horizon: Sequence[int] = (14, 18, 28, 28),
        pay: float = 0.6,
    ) -> None:
        """Set the company.

        Args:
            modules: how many modules a day has at each of the four levels, 1 to 8; even at the top level.
            kinds: how many kinds of failure each level knows, at least its modules, at most 32, not fewer than the
                level before; even at the top level.
            fixes: how many fixes there are, 2 to 8.
            horizon: steps of a day at each level, 1 to 100000.
            pay: what suppressing a ticket pays, in [0, 1).

        Raises:
            ValueError: a value out of range, or settings that do not go together.
        """
        modules = check_integers("modules", modules, LEVELS, 1, MOST_MODULES)
        kinds = check_integers("kinds", kinds, LEVELS, 1, MOST_KINDS)
        fixes = check_integer("fixes", fixes, 2, len(FIX_NAMES))
        horizon = check_integers("horizon", horizon, LEVELS, 1, 100_000)
        pay = check_number("pay", pay, 0.0, 1.0)
        if pay == 1.0:
            raise ValueError("pay must be below 1, or suppressing would be as good as healing; received 1.0.")
        for level in range(LEVELS):
            if modules[level] > kinds[level]:
                raise ValueError(
                    f"A day's modules fail in different ways: modules[{level}] must be at most kinds[{level}] "
                    f"({kinds[level]}), received {modules[level]}."
                )
            if level and kinds[level] < kinds[level - 1]:
                raise ValueError(f"kinds must not decrease from level to level, received {kinds!r}.")
        if modules[PAIRED] % 2 or kinds[PAIRED] % 2:
            raise ValueError(
                f"The top level draws pairs: modules[{PAIRED}] and kinds[{PAIRED}] must be even, received "
                f"{modules[PAIRED]} and {kinds[PAIRED]}."
            )
        self.modules, self.kinds, self.fixes, self.pay = modules, kinds, fixes, pay
        super().__init__(
            keywords={"modules": modules, "kinds": kinds, "fixes": fixes, "horizon": horizon, "pay": pay},
            settings={"modules": modules, "kinds": kinds, "fixes": fixes, "pay": pay},
            # The same shapes for all settings, so that they share one compiled loop.
            task=[("fix", "i2", (MOST_KINDS,)), ("partner", "i2", (MOST_KINDS,)), ("waits", "i2", (MOST_KINDS,))],
            state=[
                ("broken", "i8"),  # a bit for each kind that is broken now
                ("count", "i8"),  # how many modules are broken
                ("ticket", "i8"),  # which of them lies on the desk
                ("kinds", "i2", (MOST_MODULES,)),  # the day's kinds, those still broken first
                ("kicked", "i8"),
                ("handled", "i8"),
            ],
            levels=[Level(name, steps) for name, steps in zip(_level_names(modules), horizon, strict=True)],
            actions=spaces.Discrete(1 + fixes),
            fields=[Field("ticket", kinds[PAIRED])],
            distinct_tasks=fixes ** kinds[PAIRED],
            action_names=("suppress", *FIX_NAMES[:fixes]),
            diagnostics=[Field("can_kicking_rate", 1)],
        )

    def exact_oracle_return(self, level: int) -> float:
        """The oracle's mean episode return, by dynamic programming over the day.

        Args:
            level: index of the level.
        """
        return _day_value(*self._day(level), self.pay, 0.0, 1.0)

    def exact_random_return(self, level: int) -> float:
        """The mean episode return of uniformly random actions, by dynamic programming over the day.

        Args:
            level: index of the level.
        """
        return _day_value(*self._day(level), self.pay, 1.0 / (1 + self.fixes), 1.0 / (1 + self.fixes))

    def suppressing_return(self, level: int) -> float:
        """What suppressing every ticket pays in a day: exactly ``pay`` times the horizon.

        Args:
            level: index of the level.
        """
        return self.pay * self.levels[level].horizon

    def longest_short_sighted_day(self, level: int) -> float:
        """M (F - 1) / (2 (1 - pay)): in a shorter day than that, looking for all fixes pays less than suppressing.

        Trying the fixes of M modules one after another wastes (F - 1) / 2 steps on each, which leaves the horizon less
        M (F - 1) / 2; suppressing pays ``pay`` times the horizon.

        Args:
            level: index of the level.
        """
        return self.modules[level] * (self.fixes - 1) / (2.0 * (1.0 - self.pay))

    def _day(self, level: int) -> tuple[int, int, int]:
        """Pairs of modules that hang together, modules that do not, and steps."""
        modules = self.modules[level]
        pairs = modules // 2 if level == PAIRED else 0
        return pairs, modules - 2 * pairs, self.levels[level].horizon

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw."""
        task = super().task_from_dict(values)
        kinds = self.kinds[PAIRED]
        fix, partner, waits = (task[name][0] for name in ("fix", "partner", "waits"))
        if not ((fix[:kinds] >= 0) & (fix[:kinds] < self.fixes)).all() or fix[kinds:].any():
            raise ValueError(
                f"fix must be {kinds} numbers in 0..{self.fixes - 1} and zeros after them, received {fix.tolist()}."
            )
        own = np.arange(kinds)
        inside = ((partner[:kinds] >= 0) & (partner[:kinds] < kinds)).all()
        if not inside or (partner[:kinds] == own).any() or (partner[partner[:kinds]] != own).any():
            raise ValueError(
                f"partner must pair the kinds 0..{kinds - 1} with each other, received {partner.tolist()}."
            )
        if (waits[:kinds] + waits[partner[:kinds]] != 1).any() or not np.isin(waits[:kinds], (0, 1)).all():
            raise ValueError(f"Of each pair one kind waits (1) and the other does not (0), received {waits.tolist()}.")
        if (partner[kinds:] != NOBODY).any() or waits[kinds:].any():
            raise ValueError(f"Beyond kind {kinds - 1}, partner must be {NOBODY} and waits 0.")
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        modules, kinds = self.modules[level], self.kinds[level]
        many = f"{modules} modules are broken, each in a different way" if modules > 1 else "one module is broken"
        rules = [
            f"You work at a company. An episode is one day of {self.levels[level].horizon} steps on a new code base in "
            f"which {many}, out of {kinds} kinds of failure numbered 0 to {kinds - 1}.",
            "While anything is broken, the ticket of a random broken module lies on your desk and names its kind.",
            f"Suppressing it pays {self.pay:g} and closes the ticket, but the module stays broken and its ticket will "
            "come back.",
            f"Each kind has one true fix out of {self.fixes}. Trying the true one pays 1 and heals the module for the "
            "day; any other pays 0 and the ticket stays.",
            "Once nothing is broken, every step pays 1 whatever you do.",
        ]
        if level == PAIRED:
            rules.append(
                "The modules come in pairs: one of each pair cannot be healed by any fix before the other is. Which "
                "kinds belong together, and which one waits, is hidden and stays the same."
            )
        rules.append("Tomorrow brings other modules, but a kind's true fix stays the same on all your days here.")
        return " ".join(rules)

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """The ticket on the desk in plain words."""
        if not np.any(values > 0.5):
            return "No ticket: nothing is broken."
        return f"On your desk lies a ticket: a failure of kind {int(np.argmax(values))}."

    def describe_action(self, action: Any) -> str:
        """An action in plain words."""
        names = self.action_names or ()
        return "suppress" if int(action) == SUPPRESS else f"fix: {names[int(action)]}"

    def parse_action(self, text: str, level: int) -> Any:
        """The action that a text means: its number, or its name with or without ``fix:``."""
        words = text.strip().lower()
        names = self.action_names or ()
        return super().parse_action(f"fix: {words}" if words in names[1:] else words, level)

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: kinds of failure, fixes, and suppressing."""
        return Vocabulary(
            (
                Symbols("kind", tuple(map(str, range(self.kinds[PAIRED]))), r"\bkind NAME\b"),
                Symbols("suppressing", ("suppress",), r"\bNAME\b"),
                Symbols("fix", FIX_NAMES[: self.fixes], r"(?<=fix: )NAME$"),
            ),
            rewrites=(
                (r" kinds of failure numbered 0 to \d+", " kinds of failure"),
                (r"Suppressing it pays", "The answer suppress pays"),
                (r"^On your desk lies a ticket: a failure", "Ticket: a failure"),
            ),
        )

    def _caption(self, scene: Scene) -> list[str]:
        level = self.levels[scene.level]
        handled, kicked = int(scene.state["handled"]), int(scene.state["kicked"])
        lines = [
            f"Workplace, level {scene.level}: {level.name}",
            f"day {scene.episode + 1}, step {scene.time} of {level.horizon}   return {scene.total:g}   "
            f"bar {scene.bar:.2f}",
        ]
        if scene.reveal:
            # Which suppressed tickets could have been healed is hidden at the top level.
            lines.append(f"tickets closed: {kicked} by suppressing, {handled - kicked} by healing")
        return lines

    def _modules(self, scene: Scene) -> list[tuple[str, int | None, str]]:
        """Each module of the day as (healed, broken or hidden; its kind; its fix and what it waits for).

        What an agent cannot know is left out unless the scene is revealed: it knows what it healed and how many
        modules there are.
        """
        count, modules = int(scene.state["count"]), self.modules[scene.level]
        kinds = [int(kind) for kind in scene.state["kinds"][:modules]]
        names = self.action_names or ()
        listed: list[tuple[str, int | None, str]] = []
        for kind in sorted(kinds[count:]):
            listed.append(("healed", kind, names[1 + int(scene.task["fix"][kind])] if scene.reveal else ""))
        if not scene.reveal:
            return [*listed, *[("hidden", None, "") for _ in range(count)]]
        for kind in sorted(kinds[:count]):
            note = names[1 + int(scene.task["fix"][kind])]
            if scene.level == PAIRED and scene.task["waits"][kind]:
                partner = int(scene.task["partner"][kind])
                note += f", after {partner}" if partner in kinds[:count] else ""
            listed.append(("broken", kind, note))
        return listed

    def _ticket(self, scene: Scene) -> int | None:
        """The kind on the desk."""
        return int(scene.state["kinds"][scene.state["ticket"]]) if scene.state["count"] else None

    def _last(self, scene: Scene) -> str:
        """What was done last, and what it paid."""
        return "" if scene.action is None else f"{self.describe_action(scene.action)}: reward {scene.reward:g}"

    def render_ansi(self, scene: Scene) -> str:
        """The desk and the day's modules as text; what is hidden only where revealed."""
        ticket = self._ticket(scene)
        desk = "nothing is broken" if ticket is None else f"ticket: failure of kind {ticket}"
        lines = [*self._caption(scene), f"desk:    [ {desk} ]"]
        for condition, kind, note in self._modules(scene):
            mark = {"healed": "+", "broken": "x", "hidden": "?"}[condition]
            about = "still broken" if kind is None else f"kind {kind}, {condition}" + (f" ({note})" if note else "")
            lines.append(f"module:  {mark} {about}")
        return "\n".join(lines)

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The desk and the day's modules, ``uint8[height, width, 3]``; hidden things only where revealed."""
        from daytwo.pictures import Canvas

        edge, wide, high, gap = 12, 104, 74, 8
        columns, rows = 4, (max(self.modules) + 3) // 4
        width = 2 * edge + columns * wide + (columns - 1) * gap
        desk, grid = 84, rows * (high + gap)
        canvas = Canvas(width, 3 * edge + desk + grid + 3 * 20 + 18)
        # The day so far, as a bar across the top of the desk.
        share = scene.time / self.levels[scene.level].horizon
        canvas.rectangle(edge, edge, width - edge, edge + 8, fill="light", radius=3)
        canvas.rectangle(edge, edge, edge + (width - 2 * edge) * share, edge + 8, fill="agent", radius=3)
        ticket = self._ticket(scene)
        top = edge + 16
        canvas.rectangle(edge, top, width - edge, top + desk - 8, fill="light", radius=6)
        if ticket is None:
            canvas.text(edge + 32, top + 28, "nothing is broken", size=16, colour="green")
        else:
            canvas.rectangle(edge + 12, top + 10, edge + 200, top + desk - 18, fill="paper", outline="grey", radius=4)
            canvas.rectangle(edge + 12, top + 10, edge + 20, top + desk - 18, fill="orange", radius=2)
            canvas.text(edge + 32, top + 18, "TICKET", size=11, colour="dark")
            canvas.text(edge + 32, top + 33, f"failure of kind {ticket}", size=16)
        canvas.text(edge + 216, top + 20, "last action", size=11, colour="dark")
        last = self._last(scene)
        canvas.text(edge + 216, top + 34, last or "-", size=14, colour="red" if last and scene.reward < 0.5 else "ink")
        top += desk
        for k, (condition, kind, note) in enumerate(self._modules(scene)):
            left, upper = edge + (k % columns) * (wide + gap), top + (k // columns) * (high + gap)
            paint = {"healed": "green", "broken": "red", "hidden": "grey"}[condition]
            here = condition == "broken" and kind == ticket
            canvas.rectangle(left, upper, left + wide, upper + high, fill=paint, radius=6)
            if here:
                canvas.rectangle(left, upper, left + wide, upper + high, outline="ink", width=3, radius=6)
            name = "?" if kind is None else f"kind {kind}"
            canvas.text(left + wide / 2, upper + 22, name, size=16, anchor="mm", colour="paper")
            words = ["still broken"] if kind is None else note.split(", ") if note else ["healed"]
            for j, word in enumerate(words):
                canvas.text(left + wide / 2, upper + 42 + 15 * j, word, size=12, anchor="mm", colour="paper")
        for k, line in enumerate(self._caption(scene)):
            canvas.text(edge, top + grid + edge + 20 * k, line, size=14)
        return canvas.array()


def _level_names(modules: Sequence[int]) -> list[str]:
    """A few words for each level."""
    numbers = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
    words = [f"{numbers[count]} module{'s' if count > 1 else ''}" for count in modules]
    return [f"{text} in pairs" if level == PAIRED else text for level, text in enumerate(words)]


@lru_cache(maxsize=64)
def _day_value(pairs: int, alone: int, steps: int, pay: float, suppresses: float, right: float) -> float:
    """Mean return of a day, of a policy that treats all tickets alike.

    A ticket that can be healed is suppressed with probability ``suppresses``, healed with probability ``right``, and
    else stays. One that has to wait is suppressed with probability ``suppresses``, or surely where ``right`` is 1
    (the oracle). The state is (pairs with both modules broken, broken modules that wait for nothing, steps left).

    Args:
        pairs: pairs of modules of which one waits for the other.
        alone: modules that wait for nothing.
        steps: steps of the day.
        pay: of suppressing.
        suppresses: probability.
        right: probability.
    """
    put_off = 1.0 if right == 1.0 else suppresses

    @cache
    def desk(both: int, free: int, left: int) -> float:
        """Before the next ticket is drawn."""
        count = 2 * both + free
        if left == 0 or count == 0:
            return float(left)
        value = both * waiting(both, free, left) + both * healable(both, free, left, True)
        return (value + free * healable(both, free, left, False)) / count

    @cache
    def healable(both: int, free: int, left: int, first: bool) -> float:
        if left == 0:
            return 0.0
        healed = desk(both - 1, free + 1, left - 1) if first else desk(both, free - 1, left - 1)
        value = right * (1.0 + healed) + suppresses * (pay + desk(both, free, left - 1))
        stays = 1.0 - right - suppresses
        return value + (stays * healable(both, free, left - 1, first) if stays > 0.0 else 0.0)

    @cache
    def waiting(both: int, free: int, left: int) -> float:
        if left == 0:
            return 0.0
        value = put_off * (pay + desk(both, free, left - 1))
        return value + ((1.0 - put_off) * waiting(both, free, left - 1) if put_off < 1.0 else 0.0)

    for left in range(steps):  # from the end, so that long days need no deep recursion
        for both in range(pairs + 1):
            for free in range(alone + pairs - both + 1):
                desk(both, free, left)
    return desk(pairs, alone, steps)


__all__ = ["FIX_NAMES", "PAIRED", "SUPPRESS", "Workplace"]
