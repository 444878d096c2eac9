"""Where one is, for networks that keep something for every place (`daytwo.integrations.place_memory`).

The place is read off the observation, or, where that tells only which way one looks, reckoned from the steps taken
since the episode began (dead reckoning).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daytwo.activations import fast_sigmoid, fast_tanh
from daytwo.place_values import KINDS, WAYS, neighbours, soften, spread_values, way_between, weigh_ways

LOOKS = 5  # places looked at: where one is, and its neighbours ahead, to the right, behind and to the left
HEADINGS = 4


class PlacePlan(NamedTuple):
    """How places are told from an observation.

    Attributes:
        width: columns of the grid.
        height: its rows.
        x: first number of the part that tells the column, one-hot; -1 where places are reckoned.
        y: the same for the row.
        heading: where places are reckoned: first of four numbers that tell which way one looks, one-hot and clockwise;
            else -1, and "ahead" is always the row above.
        ahead: the number that is above 1/2 where something bars the way ahead, or -1.
        forward: the number that tells that the last action was a step ahead, or -1.
        start: the number that tells that an episode begins, in the middle of the grid, or -1.
    """

    width: int
    height: int
    x: int
    y: int
    heading: int
    ahead: int
    forward: int
    start: int


class Places(NamedTuple):
    """The layer's weights, as `daytwo.networks.Network` applies them.

    Attributes:
        plan: ``int64[8]``, a `PlacePlan`; empty for no such layer.
        rows: ``float32[1 + D, 2V + C + W]``: the bias, and what the layer takes in to candidate, gate, sources and
            prices (`daytwo.place_values`; C and W are `KINDS` and `WAYS` where ways are planned, else 0).
        mixing: ``float32[LOOKS V, 2V + C]``: what was looked at to candidate, gate and sources.
        first: ``float32[P, C]``: sources of places of which nothing is stored.
        base: ``float32[1]``: what every step costs.
        near: ``int64[P, WAYS]``, `neighbours`.
        queue: ``int64[2, P]``, scratch.
        seen: ``float32[LOOKS V]``, scratch: what was looked at.
        change: ``float32[2V + C + W]``, scratch.
        values: ``float32[P, C]``, scratch.
        ways: ``float32[1 + WAYS, C]``, scratch.
    """

    plan: np.ndarray
    rows: np.ndarray
    mixing: np.ndarray
    first: np.ndarray
    base: np.ndarray
    near: np.ndarray
    queue: np.ndarray
    seen: np.ndarray
    change: np.ndarray
    values: np.ndarray
    ways: np.ndarray

    @property
    def stored(self) -> int:
        """Numbers that are stored for a place."""
        return len(self.change) - len(self.seen) // LOOKS

    @property
    def recalled(self) -> int:
        """Numbers that are read and planned."""
        return len(self.seen) + self.ways.size


def no_places() -> Places:
    """What a network without such a layer has."""
    matrix, vector = np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.float32)
    near = np.zeros((0, WAYS), dtype=np.int64)
    return Places(near[:, 0].copy(), matrix, matrix, matrix, vector, near, near, vector, vector, matrix, matrix)


def take_places(
    tensors: Mapping[str, np.ndarray], take: Callable[[str], np.ndarray], observed: int, taken: int
) -> Places:
    """The layer of a policy, or `no_places`.

    Args:
        tensors: weights by name: see `daytwo.networks.Network`.
        take: gives one of them by its name, or says that it is missing.
        observed: numbers of an observation.
        taken: D, numbers that the layer takes in.

    Raises:
        ValueError: the weights are not those of such a layer.
    """
    if "places.plan" not in tensors:
        return no_places()
    plan = take("places.plan").astype(np.int64)
    if plan.shape != (len(PlacePlan._fields),):
        raise ValueError(f"Expected places.plan of {len(PlacePlan._fields)} numbers, received {plan.tolist()}.")
    check_plan(PlacePlan(*plan.tolist()), observed)
    matrix, bias, mixing = take("places.weight"), take("places.bias"), take("places.content_weight")
    places, size = int(plan[0] * plan[1]), mixing.shape[-1] // LOOKS
    first, price = np.zeros((places, 0), dtype=np.float32), np.zeros(0, dtype=np.float32)
    if "places.source" in tensors:
        first, price = take("places.source"), take("places.price")
    kinds = first.shape[-1]
    written = 2 * size + kinds
    count = written + (WAYS if kinds else 0)
    good = matrix.shape == (count, taken) and bias.shape == (count,) and mixing.shape == (written, LOOKS * size)
    if (
        not good
        or first.shape != (places, kinds)
        or kinds not in (0, KINDS)
        or price.shape != ((1,) if kinds else (0,))
    ):
        raise ValueError(
            f"Expected places.weight of shape (2V + C + W, {taken}), places.bias of shape (2V + C + W,), "
            f"places.content_weight of shape (2V + C, {LOOKS}V) and, where ways are planned, places.source of shape "
            f"({places}, C) and places.price of shape (1,), with C={KINDS} and W={WAYS}, else 0; received "
            f"{matrix.shape}, {bias.shape}, {mixing.shape}, {first.shape} and {price.shape}."
        )
    arrays = (np.concatenate([bias[None], matrix.T]), mixing.T, first, np.logaddexp(0.0, price.astype(np.float64)))
    rows, mixed, source, base = (np.ascontiguousarray(array, dtype=np.float32) for array in arrays)
    near, queue = neighbours(int(plan[0]), int(plan[1])), np.zeros((2, places), dtype=np.int64)
    seen, change = np.zeros(LOOKS * size, dtype=np.float32), np.zeros(len(bias), dtype=np.float32)
    ways = np.zeros((1 + WAYS, kinds), dtype=np.float32)
    return Places(plan, rows, mixed, source, base, near, queue, seen, change, np.zeros_like(source), ways)


def check_plan(plan: PlacePlan, observed: int) -> None:
    """Refuse a plan that does not fit an observation.

    Args:
        plan: how places are told.
        observed: numbers of an observation.

    Raises:
        ValueError: it looks outside of the observation, or at nothing.
    """
    reckoned = (plan.heading, plan.ahead, plan.forward, plan.start)
    if plan.x >= 0:
        good = plan.y >= 0 and max(plan.x + plan.width, plan.y + plan.height) <= observed and set(reckoned) == {-1}
    else:
        good = plan.y == -1 and min(reckoned) >= 0 and max(plan.heading + HEADINGS - 1, *reckoned) < observed
    if min(plan.width, plan.height) < 1 or not good:
        raise ValueError(f"Expected a plan of places in {observed} numbers, received {plan}.")


@register_jitable
def _which(numbers):
    """The first that is above 1/2, -1 if none is."""
    for k in range(len(numbers)):
        if numbers[k] > np.float32(0.5):
            return k
    return -1


@register_jitable
def find_places(plan, row, begins, looked):
    """Go on from the places looked at in the step before to those of this one.

    Args:
        plan: ``int64[8]``, a `PlacePlan`.
        row: ``float32[2 O]``: the observation, and the one before it.
        begins: whether a lifetime begins.
        looked: ``int64[LOOKS]``, changed in place: each place's ``y * width + x``, and -1 for none.
    """
    width, height = plan[0], plan[1]
    heading = 0
    if plan[2] >= 0:
        x, y = _which(row[plan[2] : plan[2] + width]), _which(row[plan[3] : plan[3] + height])
    else:
        heading = max(_which(row[plan[4] : plan[4] + HEADINGS]), 0)
        if begins or row[plan[7]] > np.float32(0.5) or looked[0] < 0:
            x, y = width // 2, height // 2
        else:
            x, y = looked[0] % width, looked[0] // width
            before = len(row) // 2
            if row[plan[6]] > np.float32(0.5) and row[before + plan[5]] < np.float32(0.5):
                faced = max(_which(row[before + plan[4] : before + plan[4] + HEADINGS]), 0)
                x += (faced == 1) - (faced == 3)
                y += (faced == 2) - (faced == 0)
                x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    nowhere = x < 0 or y < 0
    looked[0] = -1 if nowhere else y * width + x
    for k in range(HEADINGS):
        way = (heading + k) % HEADINGS
        next_x, next_y = x + (way == 1) - (way == 3), y + (way == 2) - (way == 0)
        outside = next_x < 0 or next_y < 0 or next_x >= width or next_y >= height
        looked[1 + k] = -1 if nowhere or outside else next_y * width + next_x


@register_jitable
def recall_places(places, row, begins, values, width, contents, looked):
    """Write to a memory of places and read from it (`daytwo.integrations.place_memory` says what it computes).

    Args:
        places: `Places`.
        row: ``float32[2 O]``: the observation, and the one before it.
        begins: whether a lifetime begins; contents are cleared already.
        values: ``float32[...]``: what the layer takes in, behind which what is read is written.
        width: D, of what it takes in.
        contents: ``float32[P, V + C + W]``, what is stored for places, changed in place.
        looked: ``int64[LOOKS]``, the places looked at in the step before, changed in place.

    Returns:
        The new width.
    """
    seen, change, kinds = places.seen, places.change, places.first.shape[1]
    size = len(seen) // LOOKS
    if begins:
        for q in range(LOOKS):
            looked[q] = -1
    for j in range(len(change)):
        change[j] = places.rows[0, j]
    for k in range(width):
        row_k, value = places.rows[1 + k], values[k]
        for j in range(len(change)):
            change[j] += value * row_k[j]
    for q in range(LOOKS):
        if looked[q] >= 0:
            for v in range(size):
                seen[q * size + v] = contents[looked[q], v]
                mixed = places.mixing[q * size + v]
                for j in range(len(mixed)):
                    change[j] += seen[q * size + v] * mixed[j]
    if looked[0] >= 0:
        here = contents[looked[0]]
        for v in range(size):
            here[v] += fast_sigmoid(change[size + v]) * (fast_tanh(change[v]) - here[v])
        for c in range(kinds):
            here[size + c] = change[2 * size + c]
    find_places(places.plan, row, begins, looked)
    for q in range(LOOKS):
        for v in range(size):
            values[width + q * size + v] = contents[looked[q], v] if looked[q] >= 0 else np.float32(0.0)
    width += LOOKS * size
    if kinds:
        columns, base, near = places.plan[0], places.base[0], places.near
        for k in range(WAYS):
            if looked[0] >= 0 and looked[1 + k] >= 0:
                way = way_between(columns, looked[0], looked[1 + k])
                contents[looked[0], size + kinds + way] = soften(change[2 * size + kinds + k])
        spread_values(near, base, places.first, contents, places.values, places.queue)
        weigh_ways(columns, base, contents, places.values, looked, places.ways)
        for k in range(1 + WAYS):
            for c in range(kinds):
                values[width + k * kinds + c] = places.ways[k, c]
        width += (1 + WAYS) * kinds
    return width
