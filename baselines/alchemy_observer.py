"""The reference learner of Alchemy: every chemistry that is still possible, and what to do about it.

Stones are followed in their *aligned* coordinates: as they look, freed of the rotation. There, which way is up on an
axis is unknown, and the unknowns fall apart: what happens depends on the potion map (48, a direction given as it looks)
and on the graph (109, likewise), and the glow of the stones tells which looks are good (8). Each is possible or not,
for nothing in Alchemy happens by chance but the draw of stones and potions. So the exact posterior over all chemistries
is the prior over what is left of (rotation, potion map, graph) times what is left of (rotation, looks).
"""

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_integer, check_number
from daytwo.kernels import kernel
from daytwo.streams import agent_streams, uniform

STONES, POTIONS, COLOURS = 3, 12, 6
ROTATIONS, MAPS, GRAPHS, FLIPS = 4, 48, 109, 8
PER_STONE = POTIONS + 1
GONE = -1
BEST, BEST_VALUE = 7, 15
# Prior weight of a graph by its number of requirements: each number is as likely as any other, and so are its graphs.
GRAPHS_WITH = (1, 12, 48, 48)
# Uses of the six kinds of potion (``2 * axis + up``) in one integer, five bits each: four, and one to borrow from.
FIELD = 5
SPARE = sum(16 << (FIELD * kind) for kind in range(6))
MOST_ROUTES = 4  # of one stone in one graph that no other route beats
# Candidates: cash stone 0, 1, 2; then dip stone s into colour c, 3 + 6 s + c.
CANDIDATES = STONES + STONES * COLOURS
IMPOSSIBLE = -1e18
# Columns of ``last``: the action, the colours in the slots, the stones' looks, and the steps left.
ACTION, COLOUR, LOOK, LEFT = 0, 1, 1 + POTIONS, 1 + POTIONS + STONES
COLUMNS = LEFT + 1


class Tables(NamedTuple):
    """What follows from the rules alone, the same for all lifetimes.

    Attributes:
        passable: ``uint8[graph, vertex, axis]``: whether a stone can move along the axis from there.
        mirrored: ``int64[flips, graph]``: the graph with these axes turned round.
        uses: ``int64[graph, vertex, route]``: potions used by each route to a positive value, packed by kind.
        values: likewise, what the stone is worth then; most first.
        lengths: likewise, how many steps it takes, with that of cashing.
        routes: ``int64[graph, vertex]``: how many routes there are.
        kind: ``int64[map, colour]``: which axis a potion acts on, and which way, ``2 * axis + up``.
        vertex: ``int64[rotation, look]``: the aligned vertex that looks like this, -1 for none.
    """

    passable: np.ndarray
    mirrored: np.ndarray
    uses: np.ndarray
    values: np.ndarray
    lengths: np.ndarray
    routes: np.ndarray
    kind: np.ndarray
    vertex: np.ndarray


def worth_of(vertex: int) -> int:
    """What a stone is worth."""
    return BEST_VALUE if vertex == BEST else 2 * vertex.bit_count() - 3


@lru_cache(maxsize=1)
def all_graphs() -> tuple[np.ndarray, ...]:
    """The 109 graphs as matrices of requirements, ``int64[3, 3]`` each, fewest requirements first.

    Entry ``[k, j]`` is the coordinate j (+1 or -1) that axis k requires, or 0. No cycles.
    """
    graphs = []
    arcs = list(itertools.permutations(range(3), 2))
    for values in itertools.product((-1, 0, 1), repeat=6):
        need = np.zeros((3, 3), dtype=np.int64)
        for arc, value in zip(arcs, values, strict=True):
            need[arc] = value
        links = np.abs(need)
        if not any(np.trace(np.linalg.matrix_power(links, power)) for power in (2, 3)):
            graphs.append(need)
    graphs.sort(key=np.count_nonzero)
    return tuple(graphs)


def _routes(passable: np.ndarray, start: int) -> list[tuple[int, tuple[int, ...]]]:
    """The routes from a vertex that no other beats: (value, uses by kind), most valuable first."""
    found: list[tuple[int, tuple[int, ...]]] = []

    def beats(one: tuple[int, tuple[int, ...]], other: tuple[int, tuple[int, ...]]) -> bool:
        return one[0] >= other[0] and all(a <= b for a, b in zip(one[1], other[1], strict=True))

    def walk(vertex: int, visited: frozenset[int], uses: tuple[int, ...]) -> None:
        route = worth_of(vertex), uses
        if route[0] > 0 and not any(beats(other, route) for other in found):
            found[:] = [other for other in found if not beats(route, other)] + [route]
        if vertex == BEST:
            return
        for axis in range(3):
            there = vertex ^ (1 << axis)
            if there not in visited and passable[vertex, axis]:
                kind = 2 * axis + (there >> axis & 1)
                walk(there, visited | {there}, tuple(n + (k == kind) for k, n in enumerate(uses)))

    walk(start, frozenset([start]), (0,) * 6)
    return sorted(found, key=lambda route: (-route[0], sum(route[1])))


@lru_cache(maxsize=1)
def make_tables() -> Tables:
    """Work the tables out."""
    graphs = all_graphs()
    passable = np.zeros((GRAPHS, 8, 3), dtype=np.uint8)
    mirrored = np.zeros((FLIPS, GRAPHS), dtype=np.int64)
    uses = np.zeros((GRAPHS, 8, MOST_ROUTES), dtype=np.int64)
    values, lengths = np.zeros_like(uses), np.zeros_like(uses)
    routes = np.zeros((GRAPHS, 8), dtype=np.int64)
    number = {need.tobytes(): g for g, need in enumerate(graphs)}
    signs = np.array([[2 * (vertex >> k & 1) - 1 for k in range(3)] for vertex in range(8)])
    for g, need in enumerate(graphs):
        for vertex in range(8):
            passable[g, vertex] = ((need == 0) | (need == signs[vertex])).all(axis=1)
            mirrored[vertex, g] = number[(need * -signs[vertex]).tobytes()]  # bit k set: axis k turned round
        for vertex in range(8):
            found = _routes(passable[g], vertex)
            routes[g, vertex] = len(found)
            for r, (value, used) in enumerate(found):
                uses[g, vertex, r] = sum(n << (FIELD * k) for k, n in enumerate(used))
                values[g, vertex, r], lengths[g, vertex, r] = value, sum(used) + 1
    kind = np.zeros((MAPS, COLOURS), dtype=np.int64)
    for h, (axes, ways) in enumerate(all_maps()):
        for colour in range(COLOURS):
            axis = axes[colour // 2]
            kind[h, colour] = 2 * axis + ((colour % 2 == 1) == (ways[axis] > 0))
    vertex_of = np.full((ROTATIONS, 27), GONE, dtype=np.int64)
    for vertex, (a, b, c) in enumerate(signs.tolist()):
        seen = (
            (a, b, c),
            ((a - b) // 2, (a + b) // 2, c),
            ((a + c) // 2, b, (c - a) // 2),
            (a, (b - c) // 2, (b + c) // 2),
        )
        for rotation, (x, y, z) in enumerate(seen):
            vertex_of[rotation, 9 * x + 3 * y + z + 13] = vertex
    return Tables(passable, mirrored, uses, values, lengths, routes, kind, vertex_of)


def all_maps() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The 48 potion maps: the axis of each pair of colours, and each axis' direction (+1: the second colour is up)."""
    return list(itertools.product(itertools.permutations(range(3)), itertools.product((-1, 1), repeat=3)))


@register_jitable
def fits_into(uses, stock):
    """Whether packed counts are, kind by kind, at most others."""
    return ((stock | SPARE) - uses) & SPARE == SPARE


@register_jitable
def worth(vertex):
    """What a stone is worth."""
    return BEST_VALUE if vertex == BEST else 2 * ((vertex & 1) + ((vertex >> 1) & 1) + (vertex >> 2)) - 3


@register_jitable
def best_total(tables, g, first, second, third, stock, steps):
    """The most that the rest of a trial can pay if the chemistry is known: exhaustive search, most valuable first.

    Args:
        tables: the `Tables`.
        g: the graph.
        first: vertex of the first stone, negative if it is gone.
        second: of the second.
        third: of the third.
        stock: the potions left, packed by kind.
        steps: the steps left.
    """
    routes_a = tables.routes[g, first] if first >= 0 else 0
    routes_b = tables.routes[g, second] if second >= 0 else 0
    routes_c = tables.routes[g, third] if third >= 0 else 0
    top_b = tables.values[g, second, 0] if routes_b > 0 else 0
    top_c = tables.values[g, third, 0] if routes_c > 0 else 0
    most = 0
    # One round more than there are routes: the stone is left alone.
    for a in range(routes_a + 1):
        uses_a, value_a, steps_a = 0, 0, 0
        if a < routes_a:
            uses_a, value_a, steps_a = tables.uses[g, first, a], tables.values[g, first, a], tables.lengths[g, first, a]
        if value_a + top_b + top_c <= most:
            break
        if steps_a > steps or not fits_into(uses_a, stock):
            continue
        for b in range(routes_b + 1):
            uses_b, value_b, steps_b = uses_a, value_a, steps_a
            if b < routes_b:
                uses_b += tables.uses[g, second, b]
                value_b += tables.values[g, second, b]
                steps_b += tables.lengths[g, second, b]
            if value_b + top_c <= most:
                break
            if steps_b > steps or not fits_into(uses_b, stock):
                continue
            for c in range(routes_c + 1):
                uses_c, value_c, steps_c = uses_b, value_b, steps_b
                if c < routes_c:
                    uses_c += tables.uses[g, third, c]
                    value_c += tables.values[g, third, c]
                    steps_c += tables.lengths[g, third, c]
                if value_c <= most:
                    break
                if steps_c <= steps and fits_into(uses_c, stock):
                    most = value_c
                    break
    return most


@register_jitable
def forget(weight, possible, left, flips, alive, turned, i):
    """Begin a lifetime: every chemistry of the prior is possible."""
    graphs = 0
    for g in range(GRAPHS):
        if weight[g] > 0.0:
            graphs += 1
    for r in range(possible.shape[1]):
        alive[i, r] = 1
        flips[i, r] = (1 << FLIPS) - 1
        for h in range(MAPS):
            left[i, r, h] = graphs
            for g in range(GRAPHS):
                possible[i, r, h, g] = weight[g] > 0.0
    turned[i] = 0


@register_jitable
def learn_dip(tables, full, possible, left, i, r, colour, before, after):
    """Rule out the potion maps and graphs under which a dip would have ended otherwise."""
    for h in range(MAPS):
        if left[i, r, h] == 0:
            continue
        kind = tables.kind[h, colour]
        axis, up = kind >> 1, kind & 1
        if after == before:
            if (before >> axis) & 1 == up:
                continue  # there already: nothing could happen
            if full:
                left[i, r, h] = 0
        elif after != before ^ (1 << axis) or (after >> axis) & 1 != up:
            left[i, r, h] = 0
        if full or left[i, r, h] == 0:
            continue
        graphs = 0
        for g in range(GRAPHS):
            if possible[i, r, h, g]:
                if (tables.passable[g, before, axis] != 0) == (after == before):
                    possible[i, r, h, g] = 0
                else:
                    graphs += 1
        left[i, r, h] = graphs


@register_jitable
def learn_stones(tables, flips, alive, i, r, frame, looks, glows, aligned):
    """Read the stones as a rotation would have them, and rule out what their glow denies."""
    for s in range(STONES):
        aligned[r, s] = GONE
        if looks[s] < 0:
            continue
        aligned[r, s] = tables.vertex[frame, looks[s]]
        if aligned[r, s] < 0:
            alive[i, r] = 0
            return
        for f in range(FLIPS):
            vertex = aligned[r, s] ^ f
            if (vertex & 1) + ((vertex >> 1) & 1) + (vertex >> 2) != glows[s]:
                flips[i, r] &= ~(1 << f)
    if flips[i, r] == 0:
        alive[i, r] = 0


@register_jitable
def learn(tables, weight, full, rotated, dip, possible, left, flips, alive, turned, last, i, looks, glows, aligned):
    """What the observation tells, and, where ``dip`` says so, the last step. Begins anew where nothing is left."""
    rotations = possible.shape[1]
    if rotated and not turned[i]:
        # Until stones are seen rotated, no rotation has anything to itself: only the first is kept.
        turned[i] = 1
        for r in range(1, rotations):
            alive[i, r] = alive[i, 0]
            flips[i, r] = flips[i, 0]
            left[i, r] = left[i, 0]
            possible[i, r] = possible[i, 0]
    for attempt in range(2):
        some = False
        for r in range(rotations if turned[i] else 1):
            if not alive[i, r]:
                continue
            frame = r if rotated else 0
            learn_stones(tables, flips, alive, i, r, frame, looks, glows, aligned)
            if not alive[i, r]:
                continue
            if dip and attempt == 0:
                stone = (last[i, ACTION] - 1) // PER_STONE
                slot = (last[i, ACTION] - 1) % PER_STONE - 1
                before = tables.vertex[frame, last[i, LOOK + stone]]
                colour = last[i, COLOUR + slot]
                if before >= 0 and aligned[r, stone] >= 0:
                    learn_dip(tables, full, possible, left, i, r, colour, before, aligned[r, stone])
            alive[i, r] = 0
            for h in range(MAPS):
                if left[i, r, h] > 0:
                    alive[i, r] = 1
                    some = True
        if some:
            return
        # The world contradicts every chemistry, so it must have changed.
        forget(weight, possible, left, flips, alive, turned, i)
        if rotated:
            turned[i] = 1


@register_jitable
def gather(
    tables,
    weight,
    full,
    possible,
    left,
    flips,
    alive,
    turned,
    i,
    aligned,
    colours,
    stream,
    worlds,
    chance,
    stock,
    stones,
):
    """List the possible chemistries with their probabilities, or a systematic sample where they are too many.

    Args:
        tables: the `Tables`.
        weight: ``float64[graph]``, the prior.
        full: whether the level has no bottlenecks (then all graphs are the complete one).
        possible: ``uint8[N, rotation, map, graph]``, the posterior's support.
        left: ``int64[N, rotation, map]``, how many graphs are left.
        flips: ``int64[N, rotation]``, the ways that the looks can be reversed, one bit each.
        alive: ``uint8[N, rotation]``.
        turned: ``uint8[N]``.
        i: the lifetime.
        aligned: ``int64[rotation, stone]``, aligned vertices.
        colours: ``int64[POTIONS]``, the potions' colours.
        stream: the agent's random streams.
        worlds: ``int64[most, 2]``; receives potion map and flips together (``8 * map + flips``), and the graph as
            it is in true coordinates.
        chance: ``float64[most]``; receives the probabilities.
        stock: ``int64[most]``; receives the potions left, packed by kind.
        stones: ``int64[most, STONES]``; receives the stones' true vertices.

    Returns:
        How many.
    """
    most = len(chance)
    total, count, stride, picked, passed = 0.0, 0, 0.0, 0.0, 0.0
    n = 0
    for sweep in range(2):
        if sweep == 1 and count > most:
            stride = total / most
            picked = stride * uniform(stream, i)
        for r in range(possible.shape[1] if turned[i] else 1):
            if not alive[i, r]:
                continue
            for h in range(MAPS):
                if left[i, r, h] == 0:
                    continue
                mass = 0.0
                if full:
                    for g in range(GRAPHS):
                        mass += weight[g] * possible[i, r, h, g]
                for g in range(1 if full else GRAPHS):
                    if not full:
                        if not possible[i, r, h, g]:
                            continue
                        mass = weight[g]
                    for f in range(FLIPS):
                        if not (flips[i, r] >> f) & 1:
                            continue
                        if sweep == 0:
                            total += mass
                            count += 1
                            continue
                        share = mass
                        if stride > 0.0:
                            passed += mass
                            share = 0.0
                            while picked < passed:
                                picked += stride
                                share += stride
                            if share == 0.0 or n == most:
                                continue
                        chance[n] = share / total
                        worlds[n, 0] = FLIPS * h + f
                        worlds[n, 1] = 0 if full else tables.mirrored[f, g]
                        for s in range(STONES):
                            stones[n, s] = aligned[r, s] ^ f if aligned[r, s] >= 0 else GONE
                        stock[n] = 0
                        for p in range(POTIONS):
                            if colours[p] >= 0:
                                stock[n] += 1 << (FIELD * true_kind(tables, worlds[n, 0], colours[p]))
                        n += 1
    return n


@register_jitable
def true_kind(tables, world, colour):
    """What a potion does in true coordinates: ``2 * axis + up``."""
    kind = tables.kind[world // FLIPS, colour]
    return kind ^ ((world % FLIPS) >> (kind >> 1)) & 1


@register_jitable
def weigh(tables, n, worlds, chance, stock, stones, glows, looks, counts, steps, values, news, odds):
    """The expected value of each candidate if all were known afterwards, and the information that it brings.

    Args:
        tables: the `Tables`.
        n: how many worlds.
        worlds: as from `gather`, and ``chance``, ``stock``, ``stones``.
        chance: their probabilities.
        stock: potions left.
        stones: true vertices.
        glows: ``int64[STONES]``, how many good sides.
        looks: ``int64[STONES]``, negative for a stone that is gone.
        counts: ``int64[COLOURS]``, potions left by colour.
        steps: left in the trial.
        values: ``float64[CANDIDATES]``; receives the expected values.
        news: ``float64[CANDIDATES]``; receives the entropy of what will be seen, in nats.
        odds: ``float64[7]``, a scratch space: the chances of no change and of each kind of change.
    """
    values[:] = IMPOSSIBLE
    news[:] = 0.0
    for s in range(STONES):
        if looks[s] < 0:
            continue
        rest = 0.0
        for j in range(n):
            first = GONE if s == 0 else stones[j, 0]
            second = GONE if s == 1 else stones[j, 1]
            third = GONE if s == 2 else stones[j, 2]
            rest += chance[j] * best_total(tables, worlds[j, 1], first, second, third, stock[j], steps - 1)
        values[s] = rest + (BEST_VALUE if glows[s] == 3 else 2 * glows[s] - 3)
    if steps < 2:
        return  # a stone dipped now could not be cashed any more
    for colour in range(COLOURS):
        if counts[colour] == 0:
            continue
        for s in range(STONES):
            if looks[s] >= 0:
                values[STONES + COLOURS * s + colour] = 0.0
        for j in range(n):
            g = worlds[j, 1]
            kind = true_kind(tables, worlds[j, 0], colour)
            axis, up = kind >> 1, kind & 1
            rest = stock[j] - (1 << (FIELD * kind))
            unchanged = -1.0
            for s in range(STONES):
                if looks[s] < 0:
                    continue
                vertex = stones[j, s]
                if (vertex >> axis) & 1 != up and tables.passable[g, vertex, axis]:
                    vertex ^= 1 << axis
                    first = vertex if s == 0 else stones[j, 0]
                    second = vertex if s == 1 else stones[j, 1]
                    third = vertex if s == 2 else stones[j, 2]
                    value = float(best_total(tables, g, first, second, third, rest, steps - 1))
                else:
                    if unchanged < 0.0:
                        unchanged = float(
                            best_total(tables, g, stones[j, 0], stones[j, 1], stones[j, 2], rest, steps - 1)
                        )
                    value = unchanged
                values[STONES + COLOURS * s + colour] += chance[j] * value
        for s in range(STONES):
            if looks[s] < 0:
                continue
            odds[:] = 0.0
            for j in range(n):
                kind = true_kind(tables, worlds[j, 0], colour)
                axis, up = kind >> 1, kind & 1
                if (stones[j, s] >> axis) & 1 != up and tables.passable[worlds[j, 1], stones[j, s], axis]:
                    odds[1 + kind] += chance[j]
                else:
                    odds[0] += chance[j]
            for k in range(7):
                if odds[k] > 0.0:
                    news[STONES + COLOURS * s + colour] -= odds[k] * math.log(odds[k])


@register_jitable
def choose(values, news, interest):
    """The candidate of greatest value, information included; among equals the most informative. -1: do nothing."""
    top = 0.0
    for k in range(CANDIDATES):
        top = max(top, values[k] + interest * news[k])
    close = top - 1e-9 * (1.0 + top)
    chosen, most = -1, -1.0
    for k in range(CANDIDATES):
        if values[k] + interest * news[k] >= close and news[k] > most + 1e-9:
            chosen, most = k, news[k]
    if top <= 1e-9 and most < 1e-9:
        return -1  # nothing to gain and nothing to learn
    return chosen


@kernel
def act_all(
    tables,
    weight,
    levels,
    columns,
    curiosity,
    observations,
    fresh,
    possible,
    left,
    flips,
    alive,
    turned,
    last,
    stream,
    most,
    actions,
):
    """Learn from the last step and choose the next, one lifetime after another."""
    at_start, at_level = columns[0], columns[1]
    worlds = np.empty((most, 2), dtype=np.int64)
    chance = np.empty(most)
    stock = np.empty(most, dtype=np.int64)
    stones = np.empty((most, STONES), dtype=np.int64)
    looks = np.empty(STONES, dtype=np.int64)
    glows = np.empty(STONES, dtype=np.int64)
    colours = np.empty(POTIONS, dtype=np.int64)
    counts = np.empty(COLOURS, dtype=np.int64)
    aligned = np.full((ROTATIONS, STONES), GONE, dtype=np.int64)
    values = np.empty(CANDIDATES)
    news = np.empty(CANDIDATES)
    odds = np.empty(7)
    for i in range(len(fresh)):
        row = observations[i]
        level = 0
        if at_level >= 0:
            for k in range(len(levels)):
                if row[at_level + k] > 0.5:
                    level = k
        full, rotated = levels[level, 0] == 0, levels[level, 1] != 0
        begins = fresh[i] or row[at_start] > 0.5
        unfinished = 0
        for s in range(STONES):
            looks[s], glows[s] = GONE, 0
            if row[5 * s + 4] < 0.5:
                # Looks are -1, 0 and 1: the digits of a number to the base of three.
                looks[s] = int(9.0 * row[5 * s] + 3.0 * row[5 * s + 1] + row[5 * s + 2] + 13.5)
                glows[s] = int(1.5 * row[5 * s + 3] + 2.0)
                unfinished += glows[s] < 3
        counts[:] = 0
        for p in range(POTIONS):
            colours[p] = GONE
            if row[5 * STONES + 2 * p + 1] < 0.5:
                colours[p] = int(3.0 * row[5 * STONES + 2 * p] + 3.5)
                counts[colours[p]] += 1
        if fresh[i]:
            forget(weight, possible, left, flips, alive, turned, i)
        if begins:
            last[i, ACTION] = 0
            last[i, LEFT] = levels[level, 2]
        dip = False
        if last[i, ACTION] > 0:
            stone = (last[i, ACTION] - 1) // PER_STONE
            slot = (last[i, ACTION] - 1) % PER_STONE
            dip = slot > 0 and looks[stone] >= 0 and last[i, LOOK + stone] >= 0 and last[i, COLOUR + slot - 1] >= 0
        learn(tables, weight, full, rotated, dip, possible, left, flips, alive, turned, last, i, looks, glows, aligned)
        n = gather(
            tables,
            weight,
            full,
            possible,
            left,
            flips,
            alive,
            turned,
            i,
            aligned,
            colours,
            stream,
            worlds,
            chance,
            stock,
            stones,
        )
        weigh(tables, n, worlds, chance, stock, stones, glows, looks, counts, last[i, LEFT], values, news, odds)
        chosen = choose(values, news, curiosity * unfinished)
        action = 0
        if 0 <= chosen < STONES:
            action = 1 + PER_STONE * chosen
        elif chosen >= STONES:
            for p in range(POTIONS - 1, -1, -1):
                if colours[p] == (chosen - STONES) % COLOURS:
                    action = 2 + PER_STONE * ((chosen - STONES) // COLOURS) + p
        actions[i] = action
        last[i, ACTION] = action
        for p in range(POTIONS):
            last[i, COLOUR + p] = colours[p]
        for s in range(STONES):
            last[i, LOOK + s] = looks[s]
        last[i, LEFT] = max(last[i, LEFT] - 1, 0)


class AlchemyObserver:
    """Keeps the exact posterior over all chemistries for a lifetime, and acts for the present trial.

    Every action is worth what the rest of the trial would pay, on average over the posterior, if the chemistry were
    known from the next step on (an exhaustive search in each possible chemistry), and besides it ``curiosity`` for
    each nat of information it brings and each stone that is not at its best yet. Of more possible chemistries than
    ``worlds`` it looks at a systematic sample (the posterior itself stays exact). Experiments that cost nothing, such
    as with a stone that is not worth cashing, are made. Where the world contradicts all chemistries (the task was
    changed) it begins anew.

    This is the belief of the ideal observer of Wang et al. 2021, without its full expectimax over what the trial may
    yet reveal.
    """

    name = "alchemy-observer"

    def __init__(self, *, worlds: int = 512, curiosity: float = 1.0) -> None:
        """Choose how carefully to think.

        Args:
            worlds: most possible chemistries to look at in a decision, 1 to 100,000.
            curiosity: what a nat of information is worth for each stone not at its best, at least 0.
        """
        self._worlds = check_integer("worlds", worlds, 1, 100_000)
        self._curiosity = check_number("curiosity", curiosity, 0.0, 1000.0)

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Alchemy, with the extras shown that the learner reads."""
        needed = ["episode_start"] + ["level"] * (len({stage.level for stage in spec.course.stages}) > 1)
        return spec.family == "Alchemy" and all(name in spec.layout for name in needed)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        n, constants, self._layout = len(seeds), spec.constants, spec.layout
        facts = zip(constants.bottlenecks, constants.rotated, constants.steps, strict=True)
        self._levels = np.array([[int(fact) for fact in level] for level in facts], dtype=np.int64)
        self._columns = np.array([spec.layout.start("episode_start"), spec.layout.start("level")], dtype=np.int64)
        if self._columns[1] < 0:
            # Where the level is not shown, there is but one.
            self._levels = self._levels[[spec.course.stages[0].level]]
        self._tables = make_tables()
        sizes = np.array([np.count_nonzero(need) for need in all_graphs()])
        wanted = int(constants.constraints)
        self._weight = np.array([1.0 / GRAPHS_WITH[size] if wanted in (-1, size) else 0.0 for size in sizes])
        rotations = ROTATIONS if self._levels[:, 1].any() else 1
        self._possible = np.ones((n, rotations, MAPS, GRAPHS), dtype=np.uint8)
        self._left = np.zeros((n, rotations, MAPS), dtype=np.int64)
        self._flips = np.zeros((n, rotations), dtype=np.int64)
        self._alive = np.zeros((n, rotations), dtype=np.uint8)
        self._turned = np.zeros(n, dtype=np.uint8)
        self._last = np.zeros((n, COLUMNS), dtype=np.int64)
        self._stream = agent_streams(seeds)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        self._last[:, ACTION] = self._layout.last_actions(observations, self._last[:, ACTION])
        act_all(
            self._tables,
            self._weight,
            self._levels,
            self._columns,
            self._curiosity,
            observations,
            fresh,
            self._possible,
            self._left,
            self._flips,
            self._alive,
            self._turned,
            self._last,
            self._stream,
            self._worlds,
            actions,
        )
        return actions

    def posterior(self, i: int) -> np.ndarray:
        """What lifetime ``i`` believes now, ``float64[rotation, map, graph, flips]``, summing to 1.

        Maps are those of `all_maps`, graphs those of `all_graphs`, both in coordinates as stones look (freed of the
        rotation); bit k of ``flips`` says that good looks reversed on axis k. Before stones were ever seen rotated
        there is nothing to tell rotations apart, and only the first is filled.
        """
        support = (self._possible[i] * (self._left[i] > 0)[:, :, None])[..., None] * self._weight[:, None]
        looks = (self._flips[i][:, None] >> np.arange(FLIPS)) & 1
        kept = self._alive[i].astype(np.float64)
        if not self._turned[i]:
            kept[1:] = 0.0
        belief = support * looks[:, None, None, :] * kept[:, None, None, None]
        return belief / belief.sum()


__all__ = ["AlchemyObserver", "Tables", "all_graphs", "all_maps", "make_tables"]
