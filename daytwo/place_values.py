"""What the places of a grid are worth to somebody on the way: value iteration over what was stored of them.

Every place has a source, what it is worth to be there, and a price for each of its four ways out. So it is worth

    U(p) = max(source(p), max over ways of U(next) - price(p, way))

the best source less the prices on the way to it. That is a shortest path to the nearest place of a kind (value
iteration as a layer: Tamar et al. 2016, arXiv 1602.02867, section 3, with max-plus in place of convolutions; over a map
drawn while walking: Gupta et al. 2017, arXiv 1702.03920). Sources and prices are learnt, one set of sources for every
kind of target, so that one kind may come to stand for a goal and another for what was not visited yet.
"""

import numpy as np
from numba.extending import register_jitable

from daytwo.activations import fast_tanh

WAYS = 4  # out of a place: to the row above, to the right, to the row below, to the left
STAY = 4  # in place of a way: a place's own source is the best there is
KINDS = 8  # of targets: as many as are compared in one instruction
SOFT = np.float32(0.25)  # what values are multiplied with before they are squashed
NOTHING = np.float32(-1e9)


@register_jitable
def soften(x):
    """Log(1 + exp(x)), above 0."""
    return max(x, np.float32(0.0)) + np.log1p(np.exp(-abs(x)))


def neighbours(width, height):
    """The places that ways out lead to, ``int64[P, WAYS]``, -1 outside of the grid."""
    rows, columns = np.divmod(np.arange(width * height), width)
    ways = ((-1, 0), (0, 1), (1, 0), (0, -1))
    there = [(rows + down, columns + across) for down, across in ways]
    inside = [(row >= 0) & (row < height) & (column >= 0) & (column < width) for row, column in there]
    return np.stack(
        [np.where(good, row * width + column, -1) for good, (row, column) in zip(inside, there, strict=True)], 1
    )


@register_jitable
def way_between(width, here, there):
    """The way out of a place that leads to a neighbour."""
    step = there - here
    if step == width:
        return 2
    if step == -width:
        return 0
    return 1 if step == 1 else 3


@register_jitable
def raise_to(here, there, price):
    """Raise ``here[KINDS]`` to ``there[KINDS]`` less a price where that is more; whether any was raised.

    Written out, for the compiler cannot know that the rows are not the same: so it is one instruction for all kinds.
    """
    a0, a1, a2, a3, a4, a5, a6, a7 = here[0], here[1], here[2], here[3], here[4], here[5], here[6], here[7]
    b0, b1, b2, b3 = there[0] - price, there[1] - price, there[2] - price, there[3] - price
    b4, b5, b6, b7 = there[4] - price, there[5] - price, there[6] - price, there[7] - price
    here[0], here[1], here[2], here[3] = max(a0, b0), max(a1, b1), max(a2, b2), max(a3, b3)
    here[4], here[5], here[6], here[7] = max(a4, b4), max(a5, b5), max(a6, b6), max(a7, b7)
    return (b0 > a0) | (b1 > a1) | (b2 > a2) | (b3 > a3) | (b4 > a4) | (b5 > a5) | (b6 > a6) | (b7 > a7)


@register_jitable
def spread_values(near, base, first, stored, values, queue):
    """Compute what every place is worth: places whose value rose tell their neighbours, first come, first served.

    Args:
        near: ``int64[P, WAYS]``: see `neighbours`.
        base: what every step costs, above 0.
        first: ``float32[P, KINDS]``: sources of places of which nothing is stored.
        stored: ``float32[P, ... + KINDS + WAYS]``: at the end what is added to sources, and to prices (0 or more).
        values: ``float32[P, KINDS]``, written.
        queue: ``int64[2, P]``, scratch.
    """
    places = len(near)
    prices = stored.shape[1] - WAYS
    order, waits = queue[0], queue[1]
    for p in range(places):
        for c in range(KINDS):
            values[p, c] = first[p, c] + stored[p, prices - KINDS + c]
        order[p] = p
        waits[p] = 1
    head, count = 0, places
    while count > 0:
        p = order[head]
        head = head + 1 if head + 1 < places else 0
        count -= 1
        waits[p] = 0
        for way in range(WAYS):
            q = near[p, way]
            # The way back is the opposite one.
            if q >= 0 and raise_to(values[q], values[p], base + stored[q, prices + (way ^ 2)]) and not waits[q]:
                last = head + count
                order[last if last < places else last - places] = q
                waits[q] = 1
                count += 1


@register_jitable
def find_ways(near, base, first, stored, values, ways):
    """By which way out a place has its value, ``int8[P, KINDS]``, `STAY` for its own source; see `spread_values`."""
    prices = stored.shape[1] - WAYS
    best = np.empty(KINDS, dtype=np.float32)
    for p in range(len(near)):
        for c in range(KINDS):
            best[c] = first[p, c] + stored[p, prices - KINDS + c]
            ways[p, c] = STAY
        for way in range(WAYS):
            q = near[p, way]
            if q >= 0:
                price = base + stored[p, prices + way]
                for c in range(KINDS):
                    value = values[q, c] - price
                    if value > best[c]:
                        best[c] = value
                        ways[p, c] = way


@register_jitable
def weigh_ways(width, base, stored, values, looked, out):
    """How good it is to leave the present place for each of its neighbours.

    Args:
        width: columns of the grid.
        base: what every step costs.
        stored: see `spread_values`.
        values: ``float32[P, KINDS]``.
        looked: ``int64[1 + WAYS]``: the present place and its neighbours, -1 for none.
        out: ``float32[1 + WAYS, KINDS]``, written: for every neighbour its weight in a softmax over what going there is
            worth, and at the end, squashed, what the best of them is worth; zeros where the place is not known.
    """
    prices = stored.shape[1] - WAYS
    here = looked[0]
    for q in range(1 + WAYS):
        for c in range(KINDS):
            out[q, c] = np.float32(0.0)
    if here < 0:
        return
    for c in range(KINDS):
        highest = NOTHING
        for k in range(WAYS):
            there = looked[1 + k]
            if there >= 0:
                way = way_between(width, here, there)
                out[k, c] = values[there, c] - (base + stored[here, prices + way])
                highest = max(highest, out[k, c])
        if highest == NOTHING:
            continue
        total = np.float32(0.0)
        for k in range(WAYS):
            if looked[1 + k] >= 0:
                out[k, c] = np.exp(out[k, c] - highest)
                total += out[k, c]
        for k in range(WAYS):
            out[k, c] /= total
        out[WAYS, c] = fast_tanh(SOFT * highest)


@register_jitable
def credit_ways(near, width, looked, out, given, ways, carried, to_first):
    """Add the gradients of `weigh_ways` to those of sources and prices.

    Args:
        near: ``int64[P, WAYS]``: see `neighbours`.
        width: columns of the grid.
        looked: ``int64[1 + WAYS]``.
        out: ``float32[1 + WAYS, KINDS]``, what it gave.
        given: the same shape, the gradients of that.
        ways: ``int8[P, KINDS]``: see `find_ways`.
        carried: ``float32[P, ... + KINDS + WAYS]``: gradients of what was stored, added to.
        to_first: ``float32[P, KINDS]``, added to.

    Returns:
        The gradient of what every step costs.
    """
    prices = carried.shape[1] - WAYS
    here, to_base = looked[0], np.float32(0.0)
    if here < 0:
        return to_base
    for c in range(KINDS):
        mean, best = np.float32(0.0), 0
        for k in range(WAYS):
            mean += out[k, c] * given[k, c]
            if out[k, c] > out[best, c]:
                best = k
        for k in range(WAYS):
            if looked[1 + k] < 0:
                continue
            slope = out[k, c] * (given[k, c] - mean)
            if k == best:
                slope += given[WAYS, c] * SOFT * (np.float32(1.0) - out[WAYS, c] * out[WAYS, c])
            place, way = here, way_between(width, here, looked[1 + k])
            for _step in range(len(near) + 1):
                if way == STAY:
                    carried[place, prices - KINDS + c] += slope
                    to_first[place, c] += slope
                    break
                carried[place, prices + way] -= slope
                to_base -= slope
                place = near[place, way]
                way = ways[place, c]
    return to_base
