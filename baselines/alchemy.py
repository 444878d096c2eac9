"""Agents for Alchemy that need no memory: the published random heuristic, and the best plan without knowing potions."""

from functools import lru_cache

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_choice
from daytwo.kernels import kernel
from daytwo.streams import agent_streams, integer

STONES, POTIONS, COLOURS = 3, 12, 6
PER_STONE = POTIONS + 1
GONE = 4  # a glow beyond those of stones: 0 to 3 good sides
DO_NOTHING = 2 * STONES
TASTES = {"any": 0, "common": 1, "rare": -1}
# Of the 12 edges of the cube, how many a graph has on average: a quarter each has 0, 1, 2 or 3 requirements.
EDGES_WITH_BOTTLENECKS = (12 + 10 + (36 * 8 + 12 * 9) / 48 + 7) / 4 / 12


@register_jitable
def read(row, glows, colours):
    """Good sides of the stones (`GONE` for none) and colours of the potions (-1 for none)."""
    for s in range(STONES):
        glows[s] = GONE if row[5 * s + 4] > 0.5 else int(1.5 * row[5 * s + 3] + 2.0)
    for p in range(POTIONS):
        at = 5 * STONES + 2 * p
        colours[p] = -1 if row[at + 1] > 0.5 else int(3.0 * row[at] + 3.5)


@register_jitable
def level_of(row, at_level, levels):
    """The level that an observation shows."""
    level = 0
    for k in range(levels):
        if at_level >= 0 and row[at_level + k] > 0.5:
            level = k
    return level


@register_jitable
def steps_left(row, at_time, horizon):
    """Steps left in the trial, the present one included."""
    return horizon - int(row[at_time] * horizon + 0.5)


@register_jitable
def pick(wanted, count, stream, i):
    """One of the entries that are wanted, all equally likely."""
    chosen = integer(stream, i, count)
    for k in range(len(wanted)):
        if wanted[k]:
            if chosen == 0:
                return k
            chosen -= 1
    return -1


@kernel
def act_at_random(columns, horizons, observations, stream, actions):
    """The random heuristic, one lifetime after another."""
    at_time, at_level = columns[0], columns[1]
    glows = np.empty(STONES, dtype=np.int64)
    colours = np.empty(POTIONS, dtype=np.int64)
    dipped = np.empty(STONES, dtype=np.bool_)
    usable = np.empty(POTIONS, dtype=np.bool_)
    for i in range(len(actions)):
        row = observations[i]
        read(row, glows, colours)
        stones, potions, positive, first = 0, 0, 0, -1
        for s in range(STONES):
            dipped[s] = glows[s] < 3
            stones += dipped[s]
            if 2 <= glows[s] <= 3:
                positive += 1
                if first < 0:
                    first = s
        for p in range(POTIONS):
            usable[p] = colours[p] >= 0
            potions += usable[p]
        time = True
        if at_time >= 0:
            time = steps_left(row, at_time, horizons[level_of(row, at_level, len(horizons))]) > positive
        if stones > 0 and potions > 0 and time:
            stone = pick(dipped, stones, stream, i)
            actions[i] = 2 + PER_STONE * stone + pick(usable, potions, stream, i)
        else:
            actions[i] = 1 + PER_STONE * first if first >= 0 else 0


@lru_cache(maxsize=64)
def blind_plan(*, horizon: int, open_edges: float) -> np.ndarray:
    """What to do with stones when every potion is as likely to do one thing as another: dynamic programming.

    A potion acts on each of the six (axis, direction) alike, and where the stone could change by it, it does so with
    probability ``open_edges``. So of a stone with g good sides a dip makes one worse in g of six cases and one better
    in 3 - g of six.

    Args:
        horizon: steps of a trial.
        open_edges: probability that a stone can move along an axis.

    Returns:
        ``int64[steps left + 1, potions left + 1, 5, 5, 5]`` over the stones' good sides (4: gone): s cashes stone s,
        3 + s dips it, 6 does nothing. Ties go to the lowest number.
    """
    value = np.zeros((POTIONS + 1, 5, 5, 5))
    plan = np.full((horizon + 1, POTIONS + 1, 5, 5, 5), DO_NOTHING, dtype=np.int64)
    worth = np.array([-3.0, -1.0, 1.0, 15.0])
    better = open_edges * (3 - np.arange(4)) / 6
    worse = open_edges * np.arange(4) / 6
    for steps in range(1, horizon + 1):
        options = np.full((2 * STONES + 1, POTIONS + 1, 5, 5, 5), -np.inf)
        options[DO_NOTHING] = value
        for s in range(STONES):
            axis = 1 + s
            by_glow = np.moveaxis(value, axis, 1)  # [potions, glow of s, the others]
            cashed = np.moveaxis(options[s], axis, 1)
            cashed[:, :4] = worth[:, None, None] + by_glow[:, 4:5]
            dipped = np.moveaxis(options[STONES + s], axis, 1)
            for g in range(4):
                after = (1 - better[g] - worse[g]) * by_glow[:-1, g]
                if g < 3:
                    after = after + better[g] * by_glow[:-1, g + 1]
                if g > 0:
                    after = after + worse[g] * by_glow[:-1, g - 1]
                dipped[1:, g] = after
        # Rounded, so that what is equally good counts as equal; and doing nothing comes last.
        plan[steps] = np.round(options, 9).argmax(axis=0)
        value = options.max(axis=0)
    plan.setflags(write=False)  # shared by all who ask
    return plan


@kernel
def act_blindly(columns, horizons, plans, orders, observations, stream, actions):
    """The blind plan, one lifetime after another."""
    at_time, at_level = columns[0], columns[1]
    glows = np.empty(STONES, dtype=np.int64)
    colours = np.empty(POTIONS, dtype=np.int64)
    counts = np.empty(COLOURS, dtype=np.int64)
    usable = np.empty(POTIONS, dtype=np.bool_)
    for i in range(len(actions)):
        row = observations[i]
        read(row, glows, colours)
        level = level_of(row, at_level, len(horizons))
        potions = 0
        counts[:] = 0
        for p in range(POTIONS):
            if colours[p] >= 0:
                potions += 1
                counts[colours[p]] += 1
        choice = plans[level, steps_left(row, at_time, horizons[level]), potions, glows[0], glows[1], glows[2]]
        if choice == DO_NOTHING:
            actions[i] = 0
        elif choice < STONES:
            actions[i] = 1 + PER_STONE * choice
        else:
            wanted, extreme, order = 0, 0, orders[level]
            for colour in range(COLOURS):
                if counts[colour] > 0 and (extreme == 0 or (counts[colour] - extreme) * order > 0):
                    extreme = counts[colour]
            for p in range(POTIONS):
                usable[p] = colours[p] >= 0 and (order == 0 or counts[colours[p]] == extreme)
                wanted += usable[p]
            actions[i] = 2 + PER_STONE * (choice - STONES) + pick(usable, wanted, stream, i)


class _Memoryless:
    """What the agents of this file share: they look at the present observation only."""

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        levels = range(len(spec.levels))
        if "level" not in spec.layout:
            levels = range(spec.course.stages[0].level, spec.course.stages[0].level + 1)
        self._level_numbers = tuple(levels)
        self._horizons = np.array([spec.levels[level].horizon for level in levels], dtype=np.int64)
        self._columns = np.array([spec.layout.start("time"), spec.layout.start("level")], dtype=np.int64)
        self._stream = agent_streams(seeds)


class AlchemyHeuristic(_Memoryless):
    """The published random heuristic: a random stone into a random potion, again and again.

    Chooses uniformly among the stones worth less than 15 and uniformly among the potions. When there is no such stone
    or no potion left, it cashes every stone of positive value in order, and does nothing more. So that short trials
    do not end before, it also cashes when only as many steps are left as there are positive stones (this never
    happens in trials of 20 steps). Wang et al. 2021, section 4.
    """

    name = "alchemy-heuristic"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Alchemy."""
        return spec.family == "Alchemy"

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.empty(len(observations), dtype=np.int64)
        act_at_random(self._columns, self._horizons, observations, self._stream, actions)
        return actions


class AlchemyBlind(_Memoryless):
    """The best plan for agents that do not know what any potion does: which stone to dip, and when to cash.

    From the stones' glows, the potions and the steps left it follows `blind_plan`, which would be optimal if each
    potion were a draw of its own. It cannot remember what a colour did, so which one it takes is a matter of taste.
    """

    name = "alchemy-blind"

    def __init__(self, *, colour: str = "fitting") -> None:
        """Choose the taste.

        Args:
            colour: ``any``; a colour of which most (``common``) or fewest (``rare``) are left; or ``fitting``, the best
                on the validation split: common in trials that are long enough to use up all potions, else any.
        """
        check_choice("colour", colour, ("fitting", *TASTES))
        self._colour = colour

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Alchemy, with the time shown and, where the course has several, the level."""
        several = len({stage.level for stage in spec.course.stages}) > 1
        return spec.family == "Alchemy" and "time" in spec.layout and ("level" in spec.layout or not several)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        super().begin(spec, seeds)
        potions = [int(spec.constants.potions[level]) for level in self._level_numbers]
        fitting = np.where(self._horizons > potions, TASTES["common"], TASTES["any"])
        self._orders = fitting if self._colour == "fitting" else np.full(len(potions), TASTES[self._colour])
        longest = int(self._horizons.max())
        self._plans = np.full((len(self._horizons), longest + 1, POTIONS + 1, 5, 5, 5), DO_NOTHING, dtype=np.int64)
        for k, level in enumerate(self._level_numbers):
            wanted = int(spec.constants.constraints)
            edges = EDGES_WITH_BOTTLENECKS if wanted < 0 else (12, 10, 8.25, 7)[wanted] / 12
            steps = int(self._horizons[k])
            self._plans[k, : steps + 1] = blind_plan(
                horizon=steps, open_edges=edges if spec.constants.bottlenecks[level] else 1.0
            )

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.empty(len(observations), dtype=np.int64)
        act_blindly(self._columns, self._horizons, self._plans, self._orders, observations, self._stream, actions)
        return actions


__all__ = ["AlchemyBlind", "AlchemyHeuristic", "blind_plan"]
