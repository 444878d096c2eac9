"""Agents for Textbook: a solver that keeps what is consistent, one that learns by heart, and one without a memory."""

import math
from functools import lru_cache
from itertools import permutations

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.kernels import kernel
from daytwo.streams import agent_streams, integer

MOST_SYMBOLS, MOST_DEPTH, MOST_QUESTIONS = 8, 4, 60
# Forms of questions, in the order in which observations show them: a(b(x)) = ?, l * r = ?, a(?) = b, ? * a = b.
APPLY, MULTIPLY, UNDO = 0, 1, 2
# Every question has a number. Those that apply d operators to x begin at APPLYING[d - 1]: 8 times the word (its
# operators as digits of base 3, the outermost first) plus x. Products: 64 times (4 l + r), where l and r are 0
# without an operator and else one more than its number, plus 8 x + y. Then a(?) = b: 8 a + b, and ? * a = b: 8 a + b.
APPLYING = (0, 24, 96, 312, 960)
PRODUCTS = 960
UNDOING = PRODUCTS + 16 * 64
DIVIDING = UNDOING + 24
NUMBERS = DIVIDING + 64
UNKNOWN = -1
# Product tables left after one entry of them is known: an eighth of the 10080, whichever entry it is.
MOST_CANDIDATES = 1260
# Entries whose operands are unsure are checked against product tables only when so few tables are left, and votes over
# them are counted only up to so many terms: it would cost time and tell little.
FEW_CANDIDATES, MOST_TERMS = 200, 20_000
CORRECT, CHANGED, CONTRADICTION = 0, 1, 2

SIZES = np.array([bin(k).count("1") for k in range(1 << MOST_SYMBOLS)])  # of sets of symbols, as bits

# What a lifetime's corrections leave possible.
BELIEFS = np.dtype(
    [
        ("allowed", "i8", (3, MOST_SYMBOLS)),  # bit v of [a, x]: a(x) = v is possible
        ("chance", "f8", (3, MOST_SYMBOLS, MOST_SYMBOLS)),  # [a, x, v]: of a(x) = v
        ("stale", "i8", (3,)),  # `chance` is to be counted anew
        ("entries", "i8", (MOST_SYMBOLS, MOST_SYMBOLS)),  # bit w of [x, y]: x * y = w is possible
        ("entries_stale", "i8"),
        ("left", "i8"),  # product tables left, or UNKNOWN for all of them
        ("candidates", "i2", (MOST_CANDIDATES,)),  # which
        ("answers", "i1", (NUMBERS,)),  # by question, UNKNOWN where never asked
        ("open", "i2", (NUMBERS,)),  # questions whose answers may tell more yet
        ("opened", "i8"),  # how many
    ],
    align=True,
)
# What was on the sheet so far: numbers of questions and right answers; the last question and the last answer given.
SHEETS = np.dtype(
    [("count", "i8"), ("question", "i2", (MOST_QUESTIONS,)), ("answer", "i1", (MOST_QUESTIONS,)), ("last", "i8")],
    align=True,
)


@lru_cache(maxsize=8)
def product_tables(symbols: int) -> np.ndarray:
    """All products that are addition modulo ``symbols`` under some numbering of the symbols, each once.

    Numberings that differ by a unit of the integers modulo ``symbols`` give the same product: of 8! = 40320 numberings
    of 8 symbols there are 10080 products.

    Args:
        symbols: how many, 2 to 8.

    Returns:
        ``uint8[products, 64]``, read-only: entry ``8 x + y`` is x * y.
    """
    n = symbols
    units = [k for k in range(n) if math.gcd(k, n) == 1]
    orders = np.array(list(permutations(range(n))), dtype=np.uint8)  # [numberings, number] -> symbol
    # Of the numberings of one product take the one whose number 1 is the least symbol among the generators.
    orders = orders[orders[:, 1] == orders[:, units].min(axis=1)]
    tables = np.zeros((len(orders), MOST_SYMBOLS, MOST_SYMBOLS), dtype=np.uint8)
    rows = np.arange(len(orders))
    for c in range(n):
        for d in range(n):
            tables[rows, orders[:, c], orders[:, d]] = orders[:, (c + d) % n]
    flat = tables.reshape(len(orders), MOST_SYMBOLS * MOST_SYMBOLS)
    flat.setflags(write=False)  # shared by all who ask
    return flat


@register_jitable
def one_hot(row, at, size):
    """Which of ``size`` numbers from column ``at`` on is set, or -1."""
    for k in range(size):
        if row[at + k] > 0.5:
            return k
    return -1


@register_jitable
def read_question(settings, row):
    """The number of the question that an observation shows, or ``UNKNOWN`` where it shows none."""
    form = one_hot(row, 0, 4)
    if form < 0:
        return UNKNOWN
    n, slots = settings.symbols, settings.depth
    x = one_hot(row, 4 + 3 * slots, n)
    y = one_hot(row, 4 + 3 * slots + n, n)
    if form == APPLY:
        word = 0
        depth = 0
        for k in range(slots):
            operator = one_hot(row, 4 + 3 * k, 3)
            if operator >= 0:
                word = 3 * word + operator
                depth += 1
        return APPLYING[depth - 1] + 8 * word + x
    left = one_hot(row, 4, 3)
    if form == MULTIPLY:
        return PRODUCTS + 64 * (4 * (left + 1) + one_hot(row, 7, 3) + 1) + 8 * x + y
    if form == UNDO:
        return UNDOING + 8 * left + x
    return DIVIDING + 8 * x + y


@register_jitable
def read_correction(settings, row, at):
    """The right answer to the last question, in the family's part of an observation that begins at column ``at``."""
    return one_hot(row, at + 4 + 3 * settings.depth + 2 * settings.symbols, settings.symbols)


@register_jitable
def depth_of(question):
    """How many operators an APPLY question has."""
    depth = 1
    while question >= APPLYING[depth]:
        depth += 1
    return depth


@register_jitable
def operator_of(question, depth, step):
    """The operator of an APPLY question that comes ``step``-th, counted from the innermost."""
    word = (question - APPLYING[depth - 1]) // 8
    for _ in range(step):
        word //= 3
    return word % 3


@register_jitable
def sole(symbols):
    """The only member of a set of symbols (bits), or -1 where it has none or several."""
    if symbols == 0 or symbols & (symbols - 1) != 0:
        return -1
    member = 0
    while symbols > 1:
        symbols >>= 1
        member += 1
    return member


# --- what corrections leave possible --------------------------------------------------------------------------------


@register_jitable
def forget(beliefs, i, n):
    """Begin a lifetime: everything is possible."""
    for a in range(3):
        for x in range(MOST_SYMBOLS):
            beliefs.allowed[i, a, x] = (1 << n) - 1
            for v in range(MOST_SYMBOLS):
                beliefs.chance[i, a, x, v] = 1.0 / n if v < n else 0.0
        beliefs.stale[i, a] = 0
    for x in range(MOST_SYMBOLS):
        for y in range(MOST_SYMBOLS):
            beliefs.entries[i, x, y] = (1 << n) - 1
    beliefs.entries_stale[i] = 0
    beliefs.left[i] = UNKNOWN
    for question in range(NUMBERS):
        beliefs.answers[i, question] = UNKNOWN
    beliefs.opened[i] = 0


@register_jitable
def restrict(beliefs, i, a, x, values):
    """Learn that a(x) is among ``values`` (bits)."""
    before = beliefs.allowed[i, a, x]
    after = before & values
    if after == 0:
        return CONTRADICTION
    if after == before:
        return CORRECT
    beliefs.allowed[i, a, x] = after
    beliefs.stale[i, a] = 1
    return CHANGED


@register_jitable
def keep(tables, beliefs, i, x, y, w):
    """Keep the product tables with x * y = w."""
    kept = 0
    before = beliefs.left[i]
    if before < 0:
        for candidate in range(len(tables)):
            if tables[candidate, 8 * x + y] == w:
                beliefs.candidates[i, kept] = candidate
                kept += 1
    else:
        for k in range(before):
            candidate = beliefs.candidates[i, k]
            if tables[candidate, 8 * x + y] == w:
                beliefs.candidates[i, kept] = candidate
                kept += 1
    if kept == 0:
        return CONTRADICTION
    if kept == before:
        return CORRECT
    beliefs.left[i] = kept
    beliefs.entries_stale[i] = 1
    return CHANGED


@register_jitable
def count(beliefs, ways, i, a, n):
    """Count the permutations that are consistent with ``allowed``, and with them the chance of each a(x) = v.

    Exact, by dynamic programming over the sets of values that the first symbols take up. ``allowed`` loses what no
    permutation has.
    """
    everything = (1 << n) - 1
    for taken in range(everything + 1):
        ways[0, taken] = 0.0
        ways[1, taken] = 0.0
    ways[0, 0] = 1.0
    for taken in range(1, everything + 1):
        free = taken & beliefs.allowed[i, a, SIZES[taken] - 1]
        for v in range(n):
            if (free >> v) & 1:
                ways[0, taken] += ways[0, taken ^ (1 << v)]
    ways[1, everything] = 1.0
    for taken in range(everything - 1, -1, -1):
        free = ~taken & beliefs.allowed[i, a, SIZES[taken]]
        for v in range(n):
            if (free >> v) & 1:
                ways[1, taken] += ways[1, taken | (1 << v)]
    total = ways[1, 0]
    if total == 0.0:
        return CONTRADICTION
    for x in range(n):
        for v in range(n):
            beliefs.chance[i, a, x, v] = 0.0
    for taken in range(everything):
        if ways[0, taken] > 0.0:
            x = SIZES[taken]
            free = ~taken & beliefs.allowed[i, a, x]
            for v in range(n):
                if (free >> v) & 1:
                    beliefs.chance[i, a, x, v] += ways[0, taken] * ways[1, taken | (1 << v)]
    changed = CORRECT
    for x in range(n):
        values = 0
        for v in range(n):
            if beliefs.chance[i, a, x, v] > 0.0:
                values |= 1 << v
                beliefs.chance[i, a, x, v] /= total
        if values != beliefs.allowed[i, a, x]:
            beliefs.allowed[i, a, x] = values
            changed = CHANGED
    return changed


@register_jitable
def list_entries(tables, beliefs, i, n):
    """Find which entries of the product are possible under the tables left."""
    for x in range(n):
        for y in range(n):
            values = 0
            for k in range(beliefs.left[i]):
                values |= 1 << int(tables[beliefs.candidates[i, k], 8 * x + y])
            beliefs.entries[i, x, y] = values
    beliefs.entries_stale[i] = 0


@register_jitable
def image(beliefs, i, a, symbols, n):
    """Which values an operator may have on a set of symbols (bits)."""
    values = 0
    for u in range(n):
        if (symbols >> u) & 1:
            values |= beliefs.allowed[i, a, u]
    return values


@register_jitable
def follow(beliefs, reach, i, question, answer, n):
    """Make beliefs agree with the answer to a composition; ``reach`` is room for the symbols after each operator.

    Returns whether something changed, and whether the answer can tell no more.
    """
    depth = depth_of(question)
    reach[0] = 1 << (question % 8)
    for step in range(depth):
        reach[step + 1] = image(beliefs, i, operator_of(question, depth, step), reach[step], n)
    reach[depth] &= 1 << answer
    for step in range(depth - 1, -1, -1):
        a = operator_of(question, depth, step)
        for u in range(n):
            if (reach[step] >> u) & 1 and beliefs.allowed[i, a, u] & reach[step + 1] == 0:
                reach[step] ^= 1 << u
    if reach[0] == 0 or reach[depth] == 0:
        return CONTRADICTION, False
    for step in range(depth):
        reach[step + 1] &= image(beliefs, i, operator_of(question, depth, step), reach[step], n)
    changed = CORRECT
    exhausted = True
    for step in range(depth):
        a = operator_of(question, depth, step)
        u, v = sole(reach[step]), sole(reach[step + 1])
        exhausted = exhausted and u >= 0 and v >= 0
        if u >= 0:
            changed = max(changed, restrict(beliefs, i, a, u, reach[step + 1]))
        if v >= 0:
            # Only what may be the operand here can have this value.
            for other in range(n):
                if not (reach[step] >> other) & 1:
                    changed = max(changed, restrict(beliefs, i, a, other, ~reach[step + 1]))
    return changed, exhausted


@register_jitable
def operands_of(beliefs, i, question):
    """Of a product: operators (-1 for none), symbols, and the operands' possible values (bits)."""
    code = question - PRODUCTS
    left, right = code // 256 - 1, code // 64 % 4 - 1
    x, y = code // 8 % 8, code % 8
    first = 1 << x if left < 0 else beliefs.allowed[i, left, x]
    second = 1 << y if right < 0 else beliefs.allowed[i, right, y]
    return left, right, x, y, first, second


@register_jitable
def together(left, right, x, y, u, v):
    """Whether the two operands can have these values at once: equal operands are equal, and others are not."""
    return left != right or (u == v) == (x == y)


@register_jitable
def weigh(tables, beliefs, i, question, answer, n):
    """Make beliefs agree with the answer to a product of operators.

    Returns whether something changed, and whether the answer can tell no more.
    """
    left, right, x, y, first, second = operands_of(beliefs, i, question)
    possible_first, possible_second = 0, 0
    for u in range(n):
        if (first >> u) & 1:
            for v in range(n):
                if (second >> v) & 1 and together(left, right, x, y, u, v) and (beliefs.entries[i, u, v] >> answer) & 1:
                    possible_first |= 1 << u
                    possible_second |= 1 << v
    if possible_first == 0:
        return CONTRADICTION, False
    changed = CORRECT
    if left >= 0:
        changed = max(changed, restrict(beliefs, i, left, x, possible_first))
    if right >= 0:
        changed = max(changed, restrict(beliefs, i, right, y, possible_second))
    u, v = sole(possible_first), sole(possible_second)
    if u >= 0 and v >= 0:
        return max(changed, keep(tables, beliefs, i, u, v, answer)), True
    if 0 <= beliefs.left[i] <= FEW_CANDIDATES:
        kept = 0
        for k in range(beliefs.left[i]):
            candidate = beliefs.candidates[i, k]
            found = False
            for u in range(n):
                if (possible_first >> u) & 1 and not found:
                    for v in range(n):
                        if (
                            (possible_second >> v) & 1
                            and tables[candidate, 8 * u + v] == answer
                            and together(left, right, x, y, u, v)
                        ):
                            found = True
                            break
            if found:
                beliefs.candidates[i, kept] = candidate
                kept += 1
        if kept == 0:
            return CONTRADICTION, False
        if kept < beliefs.left[i]:
            beliefs.left[i] = kept
            beliefs.entries_stale[i] = 1
            changed = CHANGED
    return changed, False


@register_jitable
def settle(tables, beliefs, ways, reach, i, n):
    """Draw conclusions until there are no more; returns whether beliefs are free of contradictions."""
    while True:
        changed = CORRECT
        for a in range(3):
            if beliefs.stale[i, a]:
                beliefs.stale[i, a] = 0
                changed = max(changed, count(beliefs, ways, i, a, n))
        if changed == CONTRADICTION:
            return False
        opened = beliefs.opened[i]
        kept = 0
        for k in range(opened):
            question = beliefs.open[i, k]
            answer = beliefs.answers[i, question]
            if question < PRODUCTS:
                outcome, exhausted = follow(beliefs, reach, i, question, answer, n)
            else:
                if beliefs.entries_stale[i]:
                    list_entries(tables, beliefs, i, n)
                outcome, exhausted = weigh(tables, beliefs, i, question, answer, n)
            if outcome == CONTRADICTION:
                return False
            changed = max(changed, outcome)
            if not exhausted:
                beliefs.open[i, kept] = question
                kept += 1
        beliefs.opened[i] = kept
        if changed == CORRECT:
            return True


@register_jitable
def learn(tables, beliefs, ways, reach, i, n, question, answer):
    """Take in one correction; returns whether it agrees with all before."""
    if beliefs.answers[i, question] >= 0:
        return beliefs.answers[i, question] == answer
    beliefs.answers[i, question] = answer
    outcome = CORRECT
    if question < APPLYING[1]:
        outcome = restrict(beliefs, i, question // 8, question % 8, 1 << answer)
    elif question >= DIVIDING:
        code = question - DIVIDING
        outcome = keep(tables, beliefs, i, answer, code // 8, code % 8)
    elif question >= UNDOING:
        code = question - UNDOING
        outcome = restrict(beliefs, i, code // 8, answer, 1 << (code % 8))
    elif PRODUCTS <= question < PRODUCTS + 64:
        outcome = keep(tables, beliefs, i, (question - PRODUCTS) // 8, question % 8, answer)
    else:
        beliefs.open[i, beliefs.opened[i]] = question
        beliefs.opened[i] += 1
        outcome = CHANGED
    if outcome == CONTRADICTION:
        return False
    return outcome == CORRECT or settle(tables, beliefs, ways, reach, i, n)


# --- the most probable answer ---------------------------------------------------------------------------------------


@register_jitable
def chance_on_path(beliefs, path, i, question, depth, step, v):
    """The chance that a composition goes on to ``v``, given the symbols that ``path`` holds up to this step.

    An operator that occurs twice has the same value on the same symbol, and different values on different ones.
    """
    a, u = operator_of(question, depth, step), path[step]
    rest = 1.0
    for before in range(step):
        if operator_of(question, depth, before) == a:
            if path[before] == u:
                return 1.0 if path[before + 1] == v else 0.0
            if path[before + 1] == v:
                return 0.0
            # A value counts as taken once, however often the path came by.
            counted = False
            for earlier in range(before):
                if operator_of(question, depth, earlier) == a and path[earlier] == path[before]:
                    counted = True
            if not counted:
                rest -= beliefs.chance[i, a, u, path[before + 1]]
    return beliefs.chance[i, a, u, v] / rest if rest > 1e-9 else 0.0


@register_jitable
def score_composition(beliefs, path, weight, i, question, n, scores):
    """The chance of each answer to an APPLY question, summed over all paths that the composition may take."""
    depth = depth_of(question)
    path[0] = question % 8
    weight[0] = 1.0
    step = 0
    path[1] = -1
    while step >= 0:
        path[step + 1] += 1
        v = path[step + 1]
        if v == n:
            step -= 1
            continue
        chance = chance_on_path(beliefs, path, i, question, depth, step, v)
        if chance == 0.0:
            continue
        weight[step + 1] = weight[step] * chance
        if step + 1 == depth:
            scores[v] += weight[depth]
        else:
            step += 1
            path[step + 1] = -1


@register_jitable
def score_product(tables, beliefs, i, question, n, scores):
    """The chance of each answer to a product: a vote of the tables left, weighed by the operands' chances."""
    left, right, x, y, first, second = operands_of(beliefs, i, question)
    votes = beliefs.left[i]
    if votes < 0 or votes * SIZES[first] * SIZES[second] > MOST_TERMS:
        return
    for u in range(n):
        if (first >> u) & 1:
            chance_u = 1.0 if left < 0 else beliefs.chance[i, left, x, u]
            for v in range(n):
                if (second >> v) & 1 and together(left, right, x, y, u, v):
                    chance = chance_u * (1.0 if right < 0 else beliefs.chance[i, right, y, v])
                    for k in range(votes):
                        scores[tables[beliefs.candidates[i, k], 8 * u + v]] += chance


@register_jitable
def solve(tables, beliefs, path, weight, scores, i, n, question):
    """The most probable answer (the first of several)."""
    for v in range(n):
        scores[v] = 0.0
    if question >= DIVIDING:
        code = question - DIVIDING
        for k in range(beliefs.left[i]):
            for x in range(n):
                if tables[beliefs.candidates[i, k], 8 * x + code // 8] == code % 8:
                    scores[x] += 1.0
    elif question >= UNDOING:
        code = question - UNDOING
        for x in range(n):
            scores[x] = beliefs.chance[i, code // 8, x, code % 8]
    elif question >= PRODUCTS:
        score_product(tables, beliefs, i, question, n, scores)
    else:
        score_composition(beliefs, path, weight, i, question, n, scores)
    best = 0
    for v in range(1, n):
        if scores[v] > scores[best]:
            best = v
    return best


@kernel
def solve_all(settings, columns, observations, fresh, tables, beliefs, sheets, ways, scores, reach, weight, actions):
    """Learn from the last correction and answer the next question, one lifetime after another."""
    at_start, at_final = columns[0], columns[1]
    n = settings.symbols
    for i in range(len(fresh)):
        row = observations[i]
        begins = row[at_start] > 0.5
        question = sheets.last[i]
        if fresh[i]:
            forget(beliefs, i, n)
        elif question >= 0:
            answer = read_correction(settings, row, at_final if begins else 0)
            k = sheets.count[i]
            sheets.question[i, k] = question
            sheets.answer[i, k] = answer
            sheets.count[i] = k + 1
            if not learn(tables, beliefs, ways, reach, i, n, question, answer):
                # Another algebra than before: begin anew from this sheet, or else from this correction.
                forget(beliefs, i, n)
                agrees = True
                for earlier in range(k + 1):
                    agrees = agrees and learn(
                        tables, beliefs, ways, reach, i, n, sheets.question[i, earlier], sheets.answer[i, earlier]
                    )
                if not agrees:
                    forget(beliefs, i, n)
                    learn(tables, beliefs, ways, reach, i, n, question, answer)
        if fresh[i] or begins:
            sheets.count[i] = 0
        question = read_question(settings, row)
        sheets.last[i] = question
        actions[i] = 0 if question < 0 else solve(tables, beliefs, reach, weight, scores, i, n, question)


class Algebraist:
    """Keeps what is consistent with every correction seen, and gives the answer most probable then.

    Of each of f, g and h it keeps which values are possible where, made consistent by counting all permutations that
    fit; of the product it keeps the list of the tables that fit, exactly. Corrections of compositions and of products
    of operators, which involve several unknowns at once, are kept until they can tell no more, and propagated whenever
    one of the unknowns narrows: forwards and backwards through compositions, and between operands and tables through
    products. Answers are the most probable ones: exactly so for one operator, for products of symbols and for
    equations where all corrections were of those kinds; otherwise entries of different operators are taken as
    independent, each with its share of the permutations that fit. Where a correction contradicts what it
    believes (another algebra, unannounced) it begins anew from the corrections of the present sheet. It has no
    randomness: of equally probable answers it gives the first.
    """

    name = "algebraist"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Textbook, with the extras shown that the learner reads."""
        return _fits(spec)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._settings, self._columns = spec.constants, _columns(spec)
        self._tables = product_tables(int(spec.settings["symbols"]))
        self._beliefs = np.zeros(len(seeds), dtype=BELIEFS).view(np.recarray)
        self._sheets = np.zeros(len(seeds), dtype=SHEETS).view(np.recarray)
        self._ways = np.zeros((2, 1 << MOST_SYMBOLS))
        self._scores = np.zeros(MOST_SYMBOLS)
        self._reach = np.zeros(MOST_DEPTH + 1, dtype=np.int64)
        self._weight = np.zeros(MOST_DEPTH + 1)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One answer per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        solve_all(
            self._settings,
            self._columns,
            observations,
            fresh,
            self._tables,
            self._beliefs,
            self._sheets,
            self._ways,
            self._scores,
            self._reach,
            self._weight,
            actions,
        )
        return actions


# --- by heart, and without a memory ---------------------------------------------------------------------------------


@kernel
def recite_all(settings, columns, observations, fresh, answers, last, streams, actions):
    """Note the last correction and give the answer noted for the next question, one lifetime after another."""
    at_start, at_final = columns[0], columns[1]
    for i in range(len(fresh)):
        row = observations[i]
        if fresh[i]:
            for question in range(NUMBERS):
                answers[i, question] = UNKNOWN
        elif last[i] >= 0:
            answers[i, last[i]] = read_correction(settings, row, at_final if row[at_start] > 0.5 else 0)
        question = read_question(settings, row)
        last[i] = question
        actions[i] = 0
        if question >= 0:
            known = answers[i, question]
            actions[i] = known if known >= 0 else integer(streams, i, settings.symbols)


class Memoriser:
    """Learns answers by heart: what it was asked before it knows for ever, anything else it guesses.

    It shows how much of a return is owed to questions that come again, and how much to understanding.
    """

    name = "memoriser"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Textbook, with the extras shown that the learner reads."""
        return _fits(spec)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._settings, self._columns = spec.constants, _columns(spec)
        self._answers = np.full((len(seeds), NUMBERS), UNKNOWN, dtype=np.int8)
        self._last = np.full(len(seeds), UNKNOWN, dtype=np.int64)
        self._streams = agent_streams(seeds)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One answer per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        recite_all(
            self._settings,
            self._columns,
            observations,
            fresh,
            self._answers,
            self._last,
            self._streams,
            actions,
        )
        return actions


@kernel
def note_all(settings, columns, observations, actions):
    """Answer from the present observation alone, one lifetime after another."""
    at_start, at_final, at_action = columns[0], columns[1], columns[2]
    n = settings.symbols
    for i in range(len(actions)):
        row = observations[i]
        question = read_question(settings, row)
        actions[i] = 0
        if question >= 0:
            note = question % 8
            if question >= DIVIDING:
                note = (question - (question - DIVIDING) // 8) % 8 % n
            elif PRODUCTS <= question < UNDOING:
                note = (question + (question - PRODUCTS) // 8) % 8 % n
            begins = at_start >= 0 and at_final >= 0 and row[at_start] > 0.5
            correction = read_correction(settings, row, at_final if begins else 0)
            noted = one_hot(row, at_action, n)
            actions[i] = correction if correction >= 0 and noted == note else note


class MarginNote:
    """Has no memory, and uses its own last answer as a note of what the last question was about.

    It answers with the operand itself: x to f(x) = ? and to f(?) = x, and of two operands the sum, or for ? * a = b
    the difference, of their numbers in the alphabet. If its last answer, which it sees, is what it would say now, then
    the last question may have been the same one, and it repeats the right answer to that. In compositions of one
    operator with itself the operand is also the most probable answer: f(f(x)) = x for two symbols in eight on average.
    """

    name = "margin-note"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Textbook, with the previous action shown."""
        return spec.family == "Textbook" and "previous_action" in spec.layout

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._settings, self._columns = spec.constants, _columns(spec)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One answer per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        note_all(self._settings, self._columns, observations, actions)
        return actions


def _fits(spec: LifetimeSpec) -> bool:
    return spec.family == "Textbook" and "episode_start" in spec.layout and "final_observation" in spec.layout


def _columns(spec: LifetimeSpec) -> np.ndarray:
    """First columns of the extras that the agents read, ``int64[3]``."""
    names = ("episode_start", "final_observation", "previous_action")
    return np.array([spec.layout.start(name) for name in names], dtype=np.int64)


__all__ = ["Algebraist", "MarginNote", "Memoriser", "product_tables"]
