"""Agents for Workplace: one that remembers, one that kicks the can down the road, one whose every day is the first."""

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_number
from daytwo.kernels import kernel

SUPPRESS = 0
PAIRED = 3  # the level whose modules hang together in pairs
NOTHING = -1
# Columns of ``last``: the kind that lay on the desk, what was done about it, at which level.
KIND, ACTION, LEVEL = range(3)
# Columns of ``today``: bits of the kinds seen and of those healed, steps taken, whether who is here today is learnt.
SEEN, HEALED, TIME, COMPLETE = range(4)
# The learner suppresses a ticket if it is surer than this that its module has to wait. Chosen on the validation split;
# that finding out who waits is worth something in itself makes it high.
PATIENCE = 0.8


@register_jitable
def bits(word):
    """How many bits of a small non-negative integer are set."""
    count = 0
    while word:
        word &= word - 1
        count += 1
    return count


@register_jitable
def forget(settings, may, waste, i):
    """Know nothing but the family's rules.

    ``may[i, kind, first]`` are the fixes (bits) that may be the true one of ``kind`` if it waits for ``first``, or,
    where ``first == kind``, if it waits for nothing: none, if that cannot be. ``waste[i, kind]`` is the mean number of
    wrong fixes before the true one.
    """
    may[i] = (1 << settings.fixes) - 1
    waste[i] = 0.5 * (settings.fixes - 1)


@register_jitable
def is_open(level, today, i, kind, first):
    """Whether a kind can be healed now if it waits for ``first`` (``first == kind``: for nothing)."""
    return level != PAIRED or first == kind or (today[i, HEALED] >> first) & 1 != 0


@register_jitable
def learn_fix(may, today, i, level, kind, fix, healed):
    """Cross out what a fix has shown to be wrong; returns whether anything is left."""
    bit = 1 << fix
    left = 0
    for first in range(may.shape[1]):
        if is_open(level, today, i, kind, first):
            may[i, kind, first] &= bit if healed else 255 - bit
        elif healed:
            may[i, kind, first] = 0
        left |= may[i, kind, first]
    return left != 0


@register_jitable
def learn_company(may, today, i):
    """All of the day's kinds are seen: partners come together or not at all."""
    seen = today[i, SEEN]
    for kind in range(may.shape[1]):
        for first in range(may.shape[1]):
            if (seen >> kind) & 1 != (seen >> first) & 1:
                may[i, kind, first] = 0


@register_jitable
def settle(may, i, first, second):
    """It is certain that one kind waits for another: rule out all else about the two; returns whether that is news."""
    news = False
    for other in range(may.shape[1]):
        if other != first and may[i, first, other]:
            may[i, first, other] = 0
            news = True
        if other != first and may[i, second, other]:
            may[i, second, other] = 0
            news = True
        if other != first and other != second and may[i, other, first]:
            may[i, other, first] = 0
            news = True
    return news


@register_jitable
def conclude(may, i):
    """Draw conclusions until there are no more: every kind has one partner, and one of the two waits for the other.

    Returns whether the beliefs are free of contradiction.
    """
    kinds = may.shape[1]
    changed = True
    while changed:
        changed = False
        for kind in range(kinds):
            firsts = 0  # how many kinds it may wait for
            first = NOTHING
            seconds = 0  # how many may wait for it
            second = NOTHING
            for other in range(kinds):
                if other == kind:
                    continue
                if may[i, kind, other]:
                    firsts += 1
                    first = other
                if may[i, other, kind]:
                    seconds += 1
                    second = other
            if seconds == 0 and may[i, kind, kind]:
                may[i, kind, kind] = 0
                changed = True
            if may[i, kind, kind] == 0:
                if firsts == 0:
                    return False
                if seconds > 0:  # nobody waits for one who waits
                    for other in range(kinds):
                        if other != kind:
                            may[i, other, kind] = 0
                    changed = True
                if firsts == 1:
                    changed |= settle(may, i, first, kind)
            elif firsts == 0 and seconds == 1:
                changed |= settle(may, i, kind, second)
    return True


@register_jitable
def measure_waste(may, waste, i):
    """The mean number of wrong fixes before the true one, of each kind, if it need not wait."""
    for kind in range(may.shape[1]):
        union = 0
        for first in range(may.shape[1]):
            union |= may[i, kind, first]
        waste[i, kind] = 0.5 * (max(bits(union), 1) - 1)


@register_jitable
def observe_outcome(settings, may, waste, today, i, level, kind, fix, healed):
    """Learn what trying a fix showed. Where the world contradicts the beliefs, begin anew with this alone."""
    sound = learn_fix(may, today, i, level, kind, fix, healed)
    if sound and level == PAIRED:
        sound = conclude(may, i)
    if not sound:
        forget(settings, may, waste, i)
        today[i, COMPLETE] = 0
        learn_fix(may, today, i, level, kind, fix, healed)
        if level == PAIRED:
            conclude(may, i)
    if healed:
        today[i, HEALED] |= 1 << kind
    measure_waste(may, waste, i)


@register_jitable
def observe_ticket(settings, may, waste, today, i, level, kind):
    """Note who is here today, and, once all of the day's kinds are seen at the top level, what that says of pairs."""
    today[i, SEEN] |= 1 << kind
    if level != PAIRED or today[i, COMPLETE] or bits(today[i, SEEN]) != settings.modules[level]:
        return
    today[i, COMPLETE] = 1
    learn_company(may, today, i)
    if not conclude(may, i):
        forget(settings, may, waste, i)
        learn_company(may, today, i)
        conclude(may, i)
    measure_waste(may, waste, i)


@register_jitable
def weigh(settings, may, today, chance, i, level, kind):
    """Write the chance that each fix heals a kind now into ``chance[:fixes]``; returns the chance that none can.

    The odds between the pairs to which the kind may belong are those of the fixes left to both, times the chance that
    the partner is among today's modules; how the other kinds pair up is left out of account.
    """
    kinds = may.shape[1]
    for fix in range(settings.fixes):
        chance[fix] = 0.0
    unseen = settings.modules[level] - bits(today[i, SEEN])
    strangers = settings.kinds[level] - bits(today[i, SEEN])
    alone = bits(may[i, kind, kind])
    free = 0.0
    blocked = 0.0
    total = 0.0
    for other in range(kinds):
        if other == kind:
            continue
        here = 1.0
        if level == PAIRED and not (today[i, SEEN] >> other) & 1:
            if unseen <= 0:
                continue
            here = unseen / strangers
        free += here * alone * bits(may[i, other, kind])
        waits = bits(may[i, kind, other])
        if waits == 0:
            continue
        weight = here * waits * bits(may[i, other, other])
        total += weight
        if is_open(level, today, i, kind, other):
            for fix in range(settings.fixes):
                if (may[i, kind, other] >> fix) & 1:
                    chance[fix] += weight / waits
        else:
            blocked += weight
    total += free
    if total <= 0.0:
        return 0.0
    for fix in range(settings.fixes):
        if (may[i, kind, kind] >> fix) & 1:
            chance[fix] += free / alone
        chance[fix] /= total
    return blocked / total


@register_jitable
def repays(settings, horizons, waste, today, i, level, kind, returns):
    """Whether looking for the fix of the ticket's kind is worth more than suppressing the ticket.

    First for all of today's modules, then for this one alone, it compares what the rest of the day pays either way, and
    adds to the search the steps that it saves: those that would be wasted on the same fix on a later day. Against the
    exact optimum of a lifetime this loses less than can be measured (``benchmarks/workplace_planning.py``).

    Args:
        settings: the family's record.
        horizons: ``int64[levels]``, steps of a day.
        waste: see `forget`.
        today: the learner's notes of the day.
        i: the lifetime.
        level: the level.
        kind: of the ticket.
        returns: the chance that a kind comes up again in the days that remain.
    """
    pay = settings.pay
    left = horizons[level] - today[i, TIME]
    modules = 0.0  # still broken
    known = 0.0  # of them those whose fix is known
    wasted = 0.0  # steps to be wasted on the fixes of the others
    strangers = 0
    strangers_known = 0
    strangers_waste = 0.0
    for k in range(settings.kinds[level]):
        if not (today[i, SEEN] >> k) & 1:
            strangers += 1
            strangers_known += waste[i, k] == 0.0
            strangers_waste += waste[i, k]
        elif not (today[i, HEALED] >> k) & 1:
            modules += 1.0
            known += waste[i, k] == 0.0
            wasted += waste[i, k]
    unseen = settings.modules[level] - bits(today[i, SEEN])
    if unseen > 0 and strangers > 0:
        modules += unseen
        known += unseen * strangers_known / strangers
        wasted += unseen * strangers_waste / strangers
    if modules + wasted <= left:
        searching = left - wasted + wasted * returns
    else:  # the day is too short for all of it
        searching = left / (modules + wasted) * (modules + wasted * returns)
    if searching > pay * left + (1.0 - pay) * known:
        return True
    mine = waste[i, kind]
    return left >= 1.0 + mine and 1.0 + mine * returns > pay * (1.0 + mine)


@kernel
def remember_all(
    settings, horizons, columns, later_missed, observations, fresh, may, waste, today, last, chance, actions
):
    """Learn from the last step and choose the next, one lifetime after another."""
    at_reward, at_start, at_level, at_episode, at_length = columns[0], columns[1], columns[2], columns[3], columns[4]
    kinds = may.shape[1]
    for i in range(len(fresh)):
        row = observations[i]
        level = columns[5]
        if at_level >= 0:
            for k in range(len(horizons)):
                if row[at_level + k] > 0.5:
                    level = k
        if fresh[i]:
            forget(settings, may, waste, i)
        elif last[i, KIND] != NOTHING and last[i, ACTION] != SUPPRESS:
            healed = row[at_reward] > 0.5
            fix = last[i, ACTION] - 1
            observe_outcome(settings, may, waste, today, i, last[i, LEVEL], last[i, KIND], fix, healed)
        if fresh[i] or row[at_start] > 0.5:
            today[i] = 0
        kind = NOTHING
        for k in range(kinds):
            if row[k] > 0.5:
                kind = k
        action = SUPPRESS
        if kind != NOTHING:
            observe_ticket(settings, may, waste, today, i, level, kind)
            blocked = weigh(settings, may, today, chance, i, level, kind)
            best = 0
            for fix in range(1, settings.fixes):
                if chance[fix] > chance[best] + 1e-12:  # of equals the first, whatever the rounding
                    best = fix
            missed = later_missed[level]
            for _day in range(int(row[at_length] - row[at_episode]) - 1):
                missed *= 1.0 - settings.modules[level] / settings.kinds[level]
            if blocked < PATIENCE and (
                waste[i, kind] == 0.0 or repays(settings, horizons, waste, today, i, level, kind, 1.0 - missed)
            ):
                action = 1 + best
        today[i, TIME] += 1
        last[i, KIND] = kind
        last[i, ACTION] = action
        last[i, LEVEL] = level
        actions[i] = action


class FixElimination:
    """Crosses out what did not work, for life, and looks for a fix wherever the days that remain repay it.

    It keeps, of each kind of failure, the fixes that may still be the true one, for each kind that it may have to wait
    for; a module that could not be healed by any of them has to wait. Who belongs together it concludes from who comes
    together, and who waits from what could be healed when. All of that carries over to later days and levels. Before
    it tries anything on a kind it does not know, it weighs what suppressing pays against the search, with what the
    search saves on the days to come (`repays`): on a last day it suppresses what it does not know. A ticket that most
    probably has to wait is suppressed. Where the world contradicts it, it forgets everything and begins anew. It has
    no randomness.
    """

    name = "fix-elimination"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Workplace, with the extras shown that the learner reads."""
        one_level = len({stage.level for stage in spec.course.stages}) == 1
        needed = ["previous_reward", "episode_start", "episode", "stage_length"] + ["level"] * (not one_level)
        return spec.family == "Workplace" and all(name in spec.layout for name in needed)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        settings, layout, n = spec.constants, spec.layout, len(seeds)
        stages = spec.course.stages
        self._settings, self._layout = settings, layout
        self._horizons = np.array([level.horizon for level in spec.levels], dtype=np.int64)
        names = ("previous_reward", "episode_start", "level", "episode", "stage_length")
        self._columns = np.array([*(layout.start(name) for name in names), stages[0].level], dtype=np.int64)
        # The chance that a kind does not come up in the stages that follow the last one at each level.
        self._later_missed = np.ones(len(spec.levels))
        for level in range(len(spec.levels)):
            own = [k for k, stage in enumerate(stages) if stage.level == level]
            for stage in stages[own[-1] + 1 :] if own and not spec.course.shuffle else ():
                if stage.new_task:
                    break
                share = settings.modules[stage.level] / settings.kinds[stage.level]
                self._later_missed[level] *= (1.0 - share) ** stage.episodes
        kinds = int(settings.kinds[PAIRED])
        self._may = np.zeros((n, kinds, kinds), dtype=np.uint8)
        self._waste = np.zeros((n, kinds))
        self._today = np.zeros((n, 4), dtype=np.int64)
        self._last = np.zeros((n, 3), dtype=np.int64)
        self._chance = np.zeros(int(settings.fixes))

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        self._last[:, ACTION] = self._layout.last_actions(observations, self._last[:, ACTION])
        remember_all(
            self._settings,
            self._horizons,
            self._columns,
            self._later_missed,
            observations,
            fresh,
            self._may,
            self._waste,
            self._today,
            self._last,
            self._chance,
            actions,
        )
        return actions


class CanKicker:
    """Suppresses every ticket: the best that can be done without a memory of earlier days, and no better on any day.

    No policy that forgets the days before can do better, as planning shows (`daytwo.baselines.workplace_planning`).
    """

    name = "can-kicker"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Workplace."""
        return spec.family == "Workplace"

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._actions = np.full(len(seeds), SUPPRESS, dtype=np.int64)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        return self._actions.copy()


class FirstDayFixer:
    """Tries the fixes in order, as on a first day, and suppresses for the rest of the day.

    It has no memory: the ticket stays as long as fixes fail, so that the previous action and reward tell which fix
    comes next. A ticket that none of them heals is suppressed. It has no randomness.
    """

    name = "first-day-fixer"

    def __init__(self, *, effort: float = 1.0) -> None:
        """Choose how long to try.

        Args:
            effort: share of the day spent on trying fixes, in [0, 1]; 0 is the can-kicker.

        Raises:
            ValueError: it is anything else.
        """
        self._effort = check_number("effort", effort, 0.0, 1.0)

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Workplace, with the extras shown that the agent reads."""
        needed = ("previous_action", "previous_reward", "episode_start", "time")
        return spec.family == "Workplace" and all(name in spec.layout for name in needed)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._layout = spec.layout

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        layout = self._layout
        previous = observations[:, layout["previous_action"]]
        failed = observations[:, layout.start("previous_reward")] < 0.25
        failed &= previous.any(axis=1) & (observations[:, layout.start("episode_start")] < 0.5)
        tried = previous.argmax(axis=1)
        # After the last fix comes action 0 again, which suppresses.
        trying = np.where(failed & (tried != SUPPRESS), (tried + 1) % previous.shape[1], 1)
        return np.where(observations[:, layout.start("time")] < self._effort, trying, SUPPRESS).astype(np.int64)


__all__ = ["CanKicker", "FirstDayFixer", "FixElimination"]
