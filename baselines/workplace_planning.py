"""What can be had at a Workplace, worked out exactly: the best of one day, and the best of a lifetime of days.

What an agent believes of kinds of failure that wait for nothing has few sides to it: of each kind, how many fixes may
still be the true one (all of them equally likely). Kinds of which the same number is left are alike, so that a belief
is a handful of counts, and dynamic programming over all of them gives the Bayes-optimal return (`plan_lifetime`).

For modules in pairs there is a bound: `relaxed_day` is the value of an easier day, on which no module waits for another
and the agent takes whichever ticket it likes. Whatever a policy earns on a day with pairs can be earned there as well:
make up a pairing, pick the tickets as they would have come, and suppress wherever the policy tries to fix what, in the
made-up pairing, has to wait; that even pays more. So where suppressing every ticket is best on the easier day, and
trying anything else loses, the same is true of the day with pairs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from daytwo.checks import check_integer, check_number
from daytwo.kernels import kernel

MOST_STATES = 5_000_000


@dataclass(frozen=True)
class LifetimePlan:
    """The Bayes-optimal returns of lifetimes of one, two, ... days, from the prior.

    Attributes:
        values: ``float64[days]``; entry d - 1 is the return of the best policy for a lifetime of d days.
        fixing: ``float64[days]``; by how much trying a fix on the first ticket of the first day of d days is better
            than suppressing it (both followed by the best policy); negative where suppressing is better.
        worst_deviation: on a single day, the least that is lost by trying a fix, over all situations in which an agent
            that has suppressed every ticket so far can be. Positive: suppressing every ticket is the only best policy.
        states: how many situations the planning told apart.
    """

    values: np.ndarray
    fixing: np.ndarray
    worst_deviation: float
    states: int


def counts(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write a total as an ordered sum of so many counts."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in counts(total - first, parts - 1):
            yield (first, *rest)


def _moved(numbers: tuple[int, ...], source: int | None, target: int | None) -> tuple[int, ...]:
    """The counts after one thing changed its class."""
    changed = list(numbers)
    if source is not None:
        changed[source] -= 1
    if target is not None:
        changed[target] += 1
    return tuple(changed)


@kernel
def draw_tickets(time_left, values, desk, ends, offset, today, others, met, left_over, modules, kinds, fixes):
    """Before a ticket is drawn: the mean over the modules that are broken, of kinds seen today and not seen yet."""
    for seen in range(modules + 1):
        for a in range(today.shape[1]):
            if today[seen, a, 0] < 0:
                break
            broken = modules - today[seen, a, fixes]
            for b in range(others.shape[1]):
                if others[seen, b, 0] < 0:
                    break
                width = offset[seen, 1]
                state = offset[seen, 0] + a * width + b
                if broken == 0:
                    desk[state] = time_left + ends[state]
                    continue
                total = 0.0
                for c in range(fixes):
                    if today[seen, a, c] > 0:
                        total += today[seen, a, c] * values[state, c]
                if seen < modules:
                    new = 0.0
                    for c in range(fixes):
                        if others[seen, b, c] > 0:
                            after = offset[seen + 1, 0] + met[seen, a, c] * offset[seen + 1, 1] + left_over[seen, b, c]
                            new += others[seen, b, c] * values[after, c]
                    total += (modules - seen) * new / (kinds - seen)
                desk[state] = total / broken


@kernel
def back_up(before, desk, values, gains, offset, today, others, narrowed, healed, modules, fixes, pay):
    """With a ticket on the desk and one step more: suppress it, or try one of the fixes left."""
    for seen in range(1, modules + 1):
        width = offset[seen, 1]
        for a in range(today.shape[1]):
            if today[seen, a, 0] < 0:
                break
            for c in range(fixes):
                if today[seen, a, c] == 0:
                    continue
                right = 1.0 / (c + 1)
                for b in range(width):
                    state = offset[seen, 0] + a * width + b
                    suppressed = pay + desk[state]
                    fixed = right * (1.0 + desk[offset[seen, 0] + healed[seen, a, c] * width + b])
                    if c > 0:
                        fixed += (1.0 - right) * before[offset[seen, 0] + narrowed[seen, a, c] * width + b, c - 1]
                    values[state, c] = max(suppressed, fixed)
                    gains[state, c] = fixed - suppressed


def plan_lifetime(*, modules: int, kinds: int, fixes: int, horizon: int, pay: float, days: int) -> LifetimePlan:
    """Plan exactly for lifetimes at a level without pairs.

    The state is: of the kinds seen today, how many have 1, 2, ..., ``fixes`` fixes left and how many are healed; of the
    kinds not seen today, how many have 1, 2, ..., ``fixes`` left; and how many fixes are left for the kind on the desk.
    The modules not seen yet are of any of the kinds not seen yet, all alike.

    Args:
        modules: broken at the start of a day.
        kinds: of failure, of which a day has ``modules`` different ones, drawn uniformly.
        fixes: of which one is the true one of each kind.
        horizon: steps of a day.
        pay: of suppressing a ticket.
        days: of the longest lifetime to plan for.

    Returns:
        A `LifetimePlan`.

    Raises:
        ValueError: a value out of range, or more than 5 million states.
    """
    modules = check_integer("modules", modules, 1, 8)
    kinds = check_integer("kinds", kinds, modules, 32)
    fixes = check_integer("fixes", fixes, 2, 8)
    horizon = check_integer("horizon", horizon, 1, 10_000)
    pay = check_number("pay", pay, 0.0, 1.0)
    days = check_integer("days", days, 1, 1000)
    offset = np.zeros((modules + 1, 2), dtype=np.int64)  # first state, states per row
    states = 0
    for seen in range(modules + 1):
        across = math.comb(kinds - seen + fixes - 1, fixes - 1)
        offset[seen] = states, across
        states += math.comb(seen + fixes, fixes) * across
    if states > MOST_STATES:
        raise ValueError(f"This company is too large to plan for exactly: {states} states, at most {MOST_STATES}.")
    here = [list(counts(seen, fixes + 1)) for seen in range(modules + 1)]
    away = [list(counts(kinds - seen, fixes)) for seen in range(modules + 1)]
    rows, columns = max(map(len, here)), max(map(len, away))
    today = np.full((modules + 1, rows, fixes + 1), -1, dtype=np.int64)
    others = np.full((modules + 1, columns, fixes), -1, dtype=np.int64)
    narrowed, healed, met = (np.zeros((modules + 1, rows, fixes), dtype=np.int64) for _ in range(3))
    left_over = np.zeros((modules + 1, columns, fixes), dtype=np.int64)
    tomorrow = np.zeros(states, dtype=np.int64)  # what is known at the end of the day, as a row of away[0]
    row_of = [{numbers: k for k, numbers in enumerate(listed)} for listed in here]
    column_of = [{numbers: k for k, numbers in enumerate(listed)} for listed in away]
    for seen in range(modules + 1):
        for a, numbers in enumerate(here[seen]):
            today[seen, a] = numbers
            for c in range(fixes):
                if numbers[c]:
                    healed[seen, a, c] = row_of[seen][_moved(numbers, c, fixes)]
                    if c:
                        narrowed[seen, a, c] = row_of[seen][_moved(numbers, c, c - 1)]
                if seen < modules:
                    met[seen, a, c] = row_of[seen + 1][_moved(numbers, None, c)]
            known = np.array((numbers[0] + numbers[fixes], *numbers[1:fixes]))
            for b, rest in enumerate(away[seen]):
                state = offset[seen, 0] + a * offset[seen, 1] + b
                tomorrow[state] = column_of[0][tuple((known + rest).tolist())]
        for b, rest in enumerate(away[seen]):
            others[seen, b] = rest
            if seen < modules:
                for c in range(fixes):
                    if rest[c]:
                        left_over[seen, b, c] = column_of[seen + 1][_moved(rest, c, None)]
    untried = (0,) * (fixes - 1)
    prior = column_of[0][(*untried, kinds)]
    # The situations of one who has suppressed everything: so many kinds seen, and nothing known of any.
    ignorant = [
        int(offset[seen, 0] + row_of[seen][(*untried, seen, 0)] * offset[seen, 1])
        + column_of[seen][(*untried, kinds - seen)]
        for seen in range(1, modules + 1)
    ]
    known_from = np.zeros(len(away[0]))
    best, fixing, worst = [], [], np.inf
    for day in range(days):
        ends = known_from[tomorrow]
        desk = ends.copy()
        before = np.repeat(ends[:, None], fixes, axis=1)
        gains = np.zeros_like(before)
        for left in range(1, horizon + 1):
            values = np.zeros_like(before)
            back_up(before, desk, values, gains, offset, today, others, narrowed, healed, modules, fixes, pay)
            if day == 0:
                worst = min(worst, -max(gains[state, fixes - 1] for state in ignorant))
            desk = np.empty(states)
            draw_tickets(left, values, desk, ends, offset, today, others, met, left_over, modules, kinds, fixes)
            before = values
        known_from = desk[: offset[0, 1]].copy()
        best.append(known_from[prior])
        fixing.append(gains[ignorant[0], fixes - 1])
    return LifetimePlan(np.array(best), np.array(fixing), float(worst), states)


def relaxed_day(*, modules: int, fixes: int, horizon: int, pay: float) -> tuple[float, float]:
    """The best return of a single day on which the agent takes whichever ticket it likes, and nothing waits.

    Args:
        modules: broken at the start of the day.
        fixes: of which one is the true one of each kind, uniformly.
        horizon: steps.
        pay: of suppressing a ticket.

    Returns:
        The value, and the least that is lost by trying a fix on a day on which nothing was tried before, over all
        numbers of steps left (see `LifetimePlan.worst_deviation`).
    """
    start = (*((0,) * (fixes - 1)), modules, 0)

    def fixed(state: tuple[int, ...], c: int, left: int) -> float:
        right = 1.0 / (c + 1)
        wrong = (1.0 - right) * value(_moved(state, c, c - 1), left - 1) if c else 0.0
        return right * (1.0 + value(_moved(state, c, fixes), left - 1)) + wrong

    @cache
    def value(state: tuple[int, ...], left: int) -> float:
        if left == 0 or state[fixes] == modules:
            return float(left)
        suppressed = pay + value(state, left - 1)
        return max(suppressed, *(fixed(state, c, left) for c in range(fixes) if state[c]))

    losses = [
        pay + value(start, left - 1) - fixed(start, fixes - 1, left) for left in range(1, horizon + 1)
    ]  # from few steps left to many, so that no recursion is deep
    return value(start, horizon), min(losses)


__all__ = ["LifetimePlan", "plan_lifetime", "relaxed_day"]
