"""Alchemy: find out which potion does what to which stone, and brew stones worth cashing."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.checks import check_choice, check_integer, check_integers
from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import integer

STONES, POTIONS, COLOURS = 3, 12, 6
GONE = -1  # a stone that was cashed, a potion that was used up, a slot that stays empty at this level
NO_OP, TO_CAULDRON = 0, 0
ACTIONS_PER_STONE = POTIONS + 1
BEST = 7  # the vertex (+1, +1, +1)
BONUS = 12
COLOUR_NAMES = ("red", "green", "orange", "yellow", "pink", "turquoise")
SHADES = ("purple", "blurple", "blue")
SIZES = ("small", "medium", "large")
SHAPES = ("pointy", "somewhat pointy", "round")
ROTATIONS = ("none", "about axis 2", "about axis 1", "about axis 0")
LEVEL_NAMES = ("no bottlenecks", "bottlenecks", "bottlenecks, stones seen rotated")

# How the published scores were measured, as in `gymnasium.make_vec("daytwo/Alchemy-v0", num_envs=64, **PUBLISHED)`.
# With rotation="drawn" it is the whole published benchmark; the scores of oracle and heuristic stay the same.
PUBLISHED: dict[str, Any] = {"course": "single", "level": 2, "episodes": 10, "reward": "raw", "rotation": "never"}

# Uses of the six kinds of potion are counted in one integer, five bits each: four for the number, one spare bit that
# a subtraction borrows from. A kind is an axis and a direction, ``2 * axis + (direction > 0)``.
FIELD = 5
SPARE = sum(16 << (FIELD * kind) for kind in range(6))
MOST_ROUTES = 64


@register_jitable
def can_move(task, i, axis, stone):
    """Whether a stone at this vertex may move along an axis: every requirement on the axis holds there."""
    for other in range(3):
        required = task.need[i, axis, other]
        if required != 0 and (required > 0) != ((stone >> other) & 1 == 1):
            return False
    return True


@register_jitable
def worth(stone):
    """The value of a stone: the sum of its three coordinates, and 12 more at the best vertex."""
    return 2 * ((stone & 1) + ((stone >> 1) & 1) + ((stone >> 2) & 1)) - 3 + (BONUS if stone == BEST else 0)


@register_jitable
def draw(settings, task, stream, i):
    task.rotation[i] = integer(stream, i, 4) if settings.rotated[2] else 0
    task.flipped[i] = integer(stream, i, 8)
    for k in range(3):
        task.axis[i, k] = k
    for k in range(2, 0, -1):
        j = integer(stream, i, k + 1)
        kept = task.axis[i, k]
        task.axis[i, k] = task.axis[i, j]
        task.axis[i, j] = kept
    signs = integer(stream, i, 8)
    for k in range(3):
        task.sign[i, k] = 2 * ((signs >> k) & 1) - 1
    count = settings.constraints
    if count < 0:
        count = integer(stream, i, 4)
    # A uniform directed graph with so many arcs, drawn again until it has no cycle; then a fair sign for each arc.
    while True:
        for k in range(3):
            for j in range(3):
                task.need[i, k, j] = 0
        placed = 0
        while placed < count:
            arc = integer(stream, i, 6)
            k = arc // 2
            j = (k + 1 + arc % 2) % 3
            if task.need[i, k, j] == 0:
                task.need[i, k, j] = 2 * integer(stream, i, 2) - 1
                placed += 1
        cyclic = False
        for k in range(3):
            j = (k + 1) % 3
            if task.need[i, k, j] != 0 and task.need[i, j, k] != 0:
                cyclic = True
        if task.need[i, 0, 1] != 0 and task.need[i, 1, 2] != 0 and task.need[i, 2, 0] != 0:
            cyclic = True
        if task.need[i, 0, 2] != 0 and task.need[i, 2, 1] != 0 and task.need[i, 1, 0] != 0:
            cyclic = True
        if not cyclic:
            return


@register_jitable
def begin(settings, task, state, level, stream, i):
    # One random number serves several: three stones, or six potions.
    drawn = integer(stream, i, 8**STONES)
    for k in range(STONES):
        state.stone[i, k] = drawn & 7 if k < settings.stones[level] else GONE
        drawn >>= 3
    for half in range(2):
        drawn = integer(stream, i, COLOURS ** (POTIONS // 2))
        for k in range(half * POTIONS // 2, (half + 1) * POTIONS // 2):
            state.potion[i, k] = drawn % COLOURS if k < settings.potions[level] else GONE
            drawn //= COLOURS
    state.steps[i] = 0
    state.used[i] = 0
    state.wasted[i] = 0
    state.brewed[i] = 0


@register_jitable
def step(settings, task, state, level, stream, i, action):
    state.steps[i] += 1
    if action == NO_OP:
        return 0.0, False
    slot = (action - 1) // ACTIONS_PER_STONE
    target = (action - 1) % ACTIONS_PER_STONE
    stone = state.stone[i, slot]
    if stone < 0:
        return 0.0, False
    if target == TO_CAULDRON:
        state.stone[i, slot] = GONE
        state.brewed[i] += stone == BEST
        return float(worth(stone)), False
    colour = state.potion[i, target - 1]
    if colour < 0:
        return 0.0, False
    state.potion[i, target - 1] = GONE
    state.used[i] += 1
    axis = task.axis[i, colour >> 1]
    up = (colour & 1 == 1) == (task.sign[i, axis] > 0)
    if ((stone >> axis) & 1 == 1) != up and (not settings.bottlenecks[level] or can_move(task, i, axis, stone)):
        state.stone[i, slot] = stone ^ (1 << axis)
    else:
        state.wasted[i] += 1
    return 0.0, False


@register_jitable
def observe(settings, task, state, level, i, out):
    flipped = task.flipped[i]
    rotation = task.rotation[i] if settings.rotated[level] else 0
    for k in range(STONES):
        stone = state.stone[i, k]
        at = 5 * k
        if stone < 0:
            out[at] = 2.0
            out[at + 1] = 2.0
            out[at + 2] = 2.0
            out[at + 3] = 2.0
            out[at + 4] = 1.0
        else:
            seen = stone ^ flipped
            out[at] = settings.look[rotation, seen, 0]
            out[at + 1] = settings.look[rotation, seen, 1]
            out[at + 2] = settings.look[rotation, seen, 2]
            out[at + 3] = settings.glow[stone]
    for k in range(POTIONS):
        colour = state.potion[i, k]
        at = 5 * STONES + 2 * k
        out[at] = settings.tint[colour]  # the last entry, 1, is that of GONE = -1
        out[at + 1] = colour < 0


@register_jitable
def diagnose(settings, task, state, level, i, out):
    out[0] = state.brewed[i]
    out[1] = state.used[i]
    out[2] = state.wasted[i]


@register_jitable
def fits_into(uses, stock):
    """Whether packed counts are, kind by kind, at most others."""
    return ((stock | SPARE) - uses) & SPARE == SPARE


@register_jitable
def find_routes(settings, task, level, i, start, stock, steps, uses, values, firsts):
    """What a stone can be made into, and which potions that takes.

    Walks every simple path from the stone's vertex (a walk that comes back to a vertex uses more potions for
    nothing). Of the ways to a positive value those are kept that no other beats: worth as much and using no more
    of any kind.

    Args:
        settings: the family's settings.
        task: the tasks.
        level: index of the level.
        i: the lifetime.
        start: the stone's vertex, 0 to 7.
        stock: the potions left, packed by kind.
        steps: most potions to use.
        uses: ``int64[MOST_ROUTES]``; receives the potions used, packed by kind.
        values: ``int64[MOST_ROUTES]``; receives the values.
        firsts: ``int64[MOST_ROUTES]``; receives the kind of the first potion, -1 for none.

    Returns:
        How many routes.
    """
    found = 0
    place = start
    visited = 0
    # One level of the walk per vertex left behind: where it was, and which axis to try next; three bits each.
    trail = 0
    tried = 0
    depth = 0
    used = 0
    first = -1
    axis = 0
    arriving = True
    while True:
        if arriving:
            value = worth(place)
            keep = value > 0
            for k in range(found):
                if keep and values[k] >= value and fits_into(uses[k], used):
                    keep = False
            if keep and found < MOST_ROUTES:
                left = 0
                for k in range(found):
                    if not (values[k] <= value and fits_into(used, uses[k])):
                        uses[left] = uses[k]
                        values[left] = values[k]
                        firsts[left] = firsts[k]
                        left += 1
                uses[left] = used
                values[left] = value
                firsts[left] = first
                found = left + 1
            visited |= 1 << place
            axis = 0
            # Beyond the best stone there is nothing to gain.
            if place == BEST or depth == steps:
                axis = 3
        arriving = False
        while axis < 3:
            there = place ^ (1 << axis)
            kind = 2 * axis + ((place >> axis) & 1 == 0)
            if (
                (visited >> there) & 1 == 0
                and fits_into(used + (1 << (FIELD * kind)), stock)
                and (not settings.bottlenecks[level] or can_move(task, i, axis, place))
            ):
                trail = (trail << 3) | place
                tried = (tried << 3) | axis
                if depth == 0:
                    first = kind
                depth += 1
                used += 1 << (FIELD * kind)
                place = there
                arriving = True
                break
            axis += 1
        if not arriving:
            if depth == 0:
                return found
            visited &= ~(1 << place)
            place = trail & 7
            axis = tried & 7
            trail >>= 3
            tried >>= 3
            depth -= 1
            used -= 1 << (FIELD * (2 * axis + ((place >> axis) & 1 == 0)))
            if depth == 0:
                first = -1
            axis += 1


@register_jitable
def count_uses(uses):
    """How many potions packed counts add up to."""
    total = 0
    for kind in range(6):
        total += (uses >> (FIELD * kind)) & 15
    return total


@register_jitable
def oracle(settings, task, state, level, i):
    """The first action of a plan of greatest total for the rest of the trial: fewest steps, then first slots.

    Exhaustive over which stone is made into what by which unbeaten set of potions, within the potions and the steps
    that are left. It looks at the present state only, so it is as good off its own path as on it.
    """
    stock = 0
    for k in range(POTIONS):
        colour = state.potion[i, k]
        if colour >= 0:
            axis = int(task.axis[i, colour >> 1])
            up = (colour & 1 == 1) == (task.sign[i, axis] > 0)
            stock += 1 << (FIELD * (2 * axis + up))
    steps = settings.steps[level] - state.steps[i]
    uses = np.empty((STONES, MOST_ROUTES), dtype=np.int64)
    values = np.empty((STONES, MOST_ROUTES), dtype=np.int64)
    firsts = np.empty((STONES, MOST_ROUTES), dtype=np.int64)
    found = np.zeros(STONES, dtype=np.int64)
    for k in range(STONES):
        if state.stone[i, k] >= 0 and steps > 0:
            found[k] = find_routes(
                settings, task, level, i, int(state.stone[i, k]), stock, steps - 1, uses[k], values[k], firsts[k]
            )
    most = 0
    fewest = 0
    chosen_a = -1
    chosen_b = -1
    chosen_c = -1
    for a in range(-1, found[0]):
        uses_a = uses[0, a] if a >= 0 else 0
        value_a = values[0, a] if a >= 0 else 0
        for b in range(-1, found[1]):
            uses_b = uses_a + (uses[1, b] if b >= 0 else 0)
            if not fits_into(uses_b, stock):
                continue
            value_b = value_a + (values[1, b] if b >= 0 else 0)
            for c in range(-1, found[2]):
                total = value_b + (values[2, c] if c >= 0 else 0)
                if total < most:
                    continue
                taken = uses_b + (uses[2, c] if c >= 0 else 0)
                if not fits_into(taken, stock):
                    continue
                length = count_uses(taken) + (a >= 0) + (b >= 0) + (c >= 0)
                if length <= steps and (total > most or length < fewest):
                    most = total
                    fewest = length
                    chosen_a = a
                    chosen_b = b
                    chosen_c = c
    for k in range(STONES):
        route = chosen_a if k == 0 else chosen_b if k == 1 else chosen_c
        if route < 0:
            continue
        kind = firsts[k, route]
        if kind < 0:
            return 1 + k * ACTIONS_PER_STONE
        for j in range(POTIONS):
            colour = state.potion[i, j]
            if colour >= 0:
                axis = int(task.axis[i, colour >> 1])
                up = (colour & 1 == 1) == (task.sign[i, axis] > 0)
                if 2 * axis + up == kind:
                    return 2 + k * ACTIONS_PER_STONE + j
    return NO_OP


def _look() -> np.ndarray:
    """What aligned stones look like, ``float64[rotation, vertex, 3]``: colour, size and roundness in -1, 0, 1."""
    look = np.zeros((4, 8, 3))
    for vertex in range(8):
        a0, a1, a2 = (2.0 * ((vertex >> k) & 1) - 1.0 for k in range(3))
        look[0, vertex] = a0, a1, a2
        look[1, vertex] = (a0 - a1) / 2, (a0 + a1) / 2, a2
        look[2, vertex] = (a0 + a2) / 2, a1, (a2 - a0) / 2
        look[3, vertex] = a0, (a1 - a2) / 2, (a1 + a2) / 2
    return look


def chemistry_of(task: Any) -> np.ndarray:
    """A hidden task as the published benchmark's privileged vector, ``float32[28]``.

    The 12 edges of the cube (1 where there is one; pairs of vertices in lexicographic order), which of the six
    orders of axes the potions have (one-hot), the potions' three signs and the stones' three signs as 0 or 1, and
    the rotation (one-hot: none, about axis 2, 1, 0).

    Args:
        task: a task record, as in ``info["task"]`` of a privileged environment.
    """
    need = np.asarray(task["need"])
    edges = []
    for first, second in itertools.combinations(range(8), 2):
        if (first ^ second).bit_count() == 1:
            axis = (first ^ second).bit_length() - 1
            signs = [2 * ((first >> k) & 1) - 1 for k in range(3)]
            edges.append(all(need[axis, k] in (0, signs[k]) for k in range(3)))
    orders = list(itertools.permutations(range(3)))
    order = np.eye(6)[orders.index(tuple(int(k) for k in task["axis"]))]
    potions = np.asarray(task["sign"]) > 0
    stones = [(int(task["flipped"]) >> k) & 1 == 0 for k in range(3)]
    return np.concatenate([edges, order, potions, stones, np.eye(4)[int(task["rotation"])]]).astype(np.float32)


class Alchemy(TaskFamily):
    """Stones to be changed by potions, and cashed: what changes what is hidden, and holds for a lifetime.

    What it tests:
        Causal knowledge and its composition: what a potion does is learnt from the changes that it causes; reaching
        the best stone takes several of them in an order that works; and potions used for finding out are missing
        for brewing.
    Task:
        The chemistry. ``flipped``: which of a stone's three axes look the wrong way round (bit k set: axis k; 8).
        ``axis``: on which axis the potions of each pair of opposite colours act (a permutation; 6). ``sign``: in
        which direction, by axis (8). ``need``: the bottlenecks; where ``need[k, j]`` is +1 or -1, a stone moves along
        axis k only while its coordinate j is that. The number of requirements is uniform on 0 to 3; given it they are
        uniform over the 109 graphs whose requirements form no cycle, which are those that connect all eight
        vertices. ``rotation``: by which of four rotations stones are seen turned.
    Episode:
        A trial: stones uniform on the eight vertices of a cube (+1 or -1 on three axes), and twelve potions of six
        colours, uniform; neither depends on what happened before. It lasts for the level's horizon, whatever is
        left.
    Observation:
        The published 39 numbers. ``stones``: for each its colour, size and roundness (-1, 0 or 1), its glow
        (the sum of its coordinates over 3; the bonus does not show), and whether it is gone (then 2, 2, 2, 2, 1).
        ``potions``: for each its colour c as c/3 - 1 and whether it is gone (then 1, 1).
    Action:
        ``Discrete(40)``: 0 does nothing; 1 + 13 s cashes stone s in the cauldron; 2 + 13 s + p dips stone s into
        potion p, which uses up the potion, whether the stone changes or not. Using what is gone does nothing.
    Reward:
        A cashed stone's value, at once: the sum of its coordinates (-3, -1, 1 or 3), and 12 more at the best vertex
        (so 15).
    Levels:
        (0) One stone and 4 steps; every stone can move along every axis, and is seen as it is, up to flips.
        (1) Two stones and 4 steps, with bottlenecks. (2) Three stones and 20 steps, with bottlenecks and rotation: the
        published benchmark, for ``course="single"``, ``episodes=10``, ``reward="raw"`` (`PUBLISHED`). All levels
        share the chemistry. At levels 0 and 1 time is short, so that there is none to find out by trying what one
        ought to know by now; the published trial is long enough to find out nearly everything within the first.
    Oracle:
        Knows the chemistry; optimal for the rest of the trial by exhaustive search over what each stone is made into,
        by which potions.
    Reference learner:
        ``alchemy-observer``: the exact posterior over all chemistries, carried from trial to trial; an action is worth
        what the trial could pay if all were known after it, and what it teaches. ``alchemy-blind`` is the best
        plan without memory, ``alchemy-heuristic`` the published random one.
    Source:
        Wang et al. 2021 (Alchemy, arXiv 2102.02926), the symbolic version: sections 2 and 3 for the rules, section 4
        for the published scores.
    """

    name = "Alchemy"
    tags = ("causal", "composition")
    reference = "alchemy-observer"
    reactive = "alchemy-blind"
    harder = {"horizon": (3, 3, 12)}
    # The graph and the rotation do not show at level 0: the splits differ in what does.
    split_fields = ("flipped", "axis", "sign")
    visible_at_start = ("flipped", "rotation")
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)
    diagnose = staticmethod(diagnose)

    def __init__(
        self,
        *,
        stones: Sequence[int] = (1, 2, 3),
        potions: Sequence[int] = (12, 12, 12),
        horizon: Sequence[int] = (4, 4, 20),
        constraints: int | None = None,
        rotation: str = "drawn",
    ) -> None:
        """Choose the laboratory.

        Args:
            stones: how many stones each level puts out, 1 to 3.
            potions: how many potions, 1 to 12.
            horizon: steps of a trial, at least one for each stone and one more.
            constraints: how many requirements the graph has, 0 to 3; None draws it uniformly.
            rotation: ``drawn``: stones are seen turned by one of four rotations at the top level; ``never``: they
                are not, as in the published scores.

        Raises:
            ValueError: a value out of range.
        """
        stones = check_integers("stones", stones, 3, 1, STONES)
        potions = check_integers("potions", potions, 3, 1, POTIONS)
        horizon = check_integers("horizon", horizon, 3, 2, 1000)
        for level, (steps, count) in enumerate(zip(horizon, stones, strict=True)):
            if steps <= count:
                raise ValueError(
                    f"horizon of level {level} must exceed its number of stones ({count}), received {steps}."
                )
        if constraints is not None:
            constraints = check_integer("constraints", constraints, 0, 3)
        check_choice("rotation", rotation, ("drawn", "never"))
        rotated = rotation == "drawn"
        names = ("nothing",) + tuple(
            f"stone {stone} into the cauldron" if slot == 0 else f"stone {stone} into potion {slot}"
            for stone in range(1, STONES + 1)
            for slot in range(ACTIONS_PER_STONE)
        )
        super().__init__(
            keywords={
                "stones": stones,
                "potions": potions,
                "horizon": horizon,
                "constraints": constraints,
                "rotation": rotation,
            },
            settings={
                "stones": stones,
                "potions": potions,
                "steps": horizon,
                "bottlenecks": (0, 1, 1),
                "rotated": (0, 0, int(rotated)),
                "constraints": -1 if constraints is None else constraints,
                "look": _look(),
                "glow": [(2.0 * vertex.bit_count() - 3.0) / 3.0 for vertex in range(8)],
                "tint": [*(colour / 3.0 - 1.0 for colour in range(COLOURS)), 1.0],
            },
            task=[
                ("rotation", "i1"),
                ("flipped", "i1"),
                ("axis", "i1", (3,)),
                ("sign", "i1", (3,)),
                ("need", "i1", (3, 3)),
            ],
            state=[
                ("stone", "i1", (STONES,)),
                ("potion", "i1", (POTIONS,)),
                ("steps", "i2"),
                ("used", "i1"),
                ("wasted", "i1"),
                ("brewed", "i1"),
            ],
            levels=[Level(name, steps) for name, steps in zip(LEVEL_NAMES, horizon, strict=True)],
            actions=spaces.Discrete(1 + STONES * ACTIONS_PER_STONE),
            fields=[Field("stones", 5 * STONES, -1.0, 2.0), Field("potions", 2 * POTIONS, -1.0, 1.0)],
            reward_range=(-3.0, 15.0),
            distinct_tasks=8 * 48,  # as the splits tell them apart; with graph and rotation 167,424
            action_names=names,
            diagnostics=[
                Field("best_stones", 1, 0.0, STONES),
                Field("potions_used", 1, 0.0, POTIONS),
                Field("potions_wasted", 1, 0.0, POTIONS),
            ],
        )

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw."""
        task = super().task_from_dict(values)
        row = task[0]
        need = row["need"]
        if not 0 <= row["rotation"] < (4 if self.keywords["rotation"] == "drawn" else 1):
            raise ValueError(f"rotation must be one that these settings draw, received {row['rotation']}.")
        if not 0 <= row["flipped"] < 8:
            raise ValueError(f"flipped must lie in 0..7, received {row['flipped']}.")
        if sorted(row["axis"].tolist()) != [0, 1, 2]:
            raise ValueError(f"axis must be a permutation of 0, 1, 2; received {row['axis'].tolist()}.")
        if not (abs(row["sign"]) == 1).all():
            raise ValueError(f"sign must hold 1 or -1 only, received {row['sign'].tolist()}.")
        arcs = need != 0
        # Without a cycle of requirements there is none of length 2 or 3, that is, nothing on these diagonals.
        reach = arcs.astype(int)
        cyclic = any(np.trace(np.linalg.matrix_power(reach, power)) for power in (1, 2, 3))
        count = self.keywords["constraints"]
        if abs(need).max() > 1 or cyclic or (count is not None and arcs.sum() != count):
            expected = "" if count is None else f"{count} "
            raise ValueError(
                f"need must hold {expected}requirements (1, -1) without a cycle, received {need.tolist()}."
            )
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def _stones(self, scene: Scene) -> list[tuple[int, np.ndarray] | None]:
        """Of each slot that the level uses the stone's vertex and how it looks (-1, 0, 1 on three axes)."""
        rotation = int(scene.task["rotation"]) if self.settings.rotated[0, scene.level] else 0
        stones: list[tuple[int, np.ndarray] | None] = []
        for vertex in scene.state["stone"][: self.keywords["stones"][scene.level]]:
            look = None if vertex < 0 else self.settings.look[0, rotation, int(vertex) ^ int(scene.task["flipped"])]
            stones.append(None if look is None else (int(vertex), look))
        return stones

    def _potions(self, scene: Scene) -> list[int]:
        """The colours in the slots that the level uses, -1 for a used potion."""
        return [int(colour) for colour in scene.state["potion"][: self.keywords["potions"][scene.level]]]

    def _caption(self, scene: Scene) -> list[str]:
        level = self.levels[scene.level]
        return [
            f"Alchemy, level {scene.level}: {level.name}",
            f"step {scene.time} of {level.horizon}   return {scene.total:g}   bar {scene.bar:.2f}",
        ]

    def _secrets(self, scene: Scene) -> list[str]:
        """The chemistry in words, one line a rule."""
        task, lines = scene.task, []
        for pair in range(3):
            axis = int(task["axis"][pair])
            signs = ("-", "+") if task["sign"][axis] > 0 else ("+", "-")
            names = COLOUR_NAMES[2 * pair : 2 * pair + 2]
            lines.append(f"axis {axis}: {names[0]} {signs[0]}, {names[1]} {signs[1]}")
        if self.settings.bottlenecks[0, scene.level]:
            for axis, other in itertools.permutations(range(3), 2):
                if task["need"][axis, other]:
                    lines.append(f"axis {axis} needs axis {other} at {int(task['need'][axis, other]):+d}")
        flips = [str(k) for k in range(3) if (int(task["flipped"]) >> k) & 1]
        lines.append(f"looks reversed on axes {', '.join(flips)}" if flips else "looks reversed on no axis")
        if self.settings.rotated[0, scene.level]:
            lines.append(f"rotation: {ROTATIONS[int(task['rotation'])]}")
        return lines

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        stones, potions = self.keywords["stones"][level], self.keywords["potions"][level]
        many = f"{_counted(stones, 'stone')} and {_counted(potions, 'potion')}"
        rules = [
            f"You have {many}, and {self.levels[level].horizon} steps. Each step you dip one stone into one potion, "
            "cash one stone in the cauldron, or do nothing.",
            "A stone has three hidden sides, each good (+1) or bad (-1); its glow is their sum. Cashed, it pays its "
            "glow, and 15 if all three are good; stones that you do not cash pay nothing.",
            "A potion of one colour always works on the same side and in the same direction, and changes it if it is "
            "not that way already; red and green are opposites, so are orange and yellow, and pink and turquoise. A "
            "potion is used up even if nothing changes.",
            "Colour, size and roundness show the sides, but which is the good end of each is hidden.",
        ]
        if self.settings.bottlenecks[0, level]:
            rules.append("Some changes may be possible only while another side is good, or only while it is bad.")
        if self.settings.rotated[0, level]:
            rules.append("Two of the three looks may be mixed up with each other (then some are in between).")
        rules.append("What potions do and what looks mean never changes; stones and potions are new every episode.")
        return " ".join(rules)

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """The stones and the potions in plain words."""
        parts = []
        for k in range(self.keywords["stones"][level]):
            look, gone = values[5 * k : 5 * k + 4], values[5 * k + 4] > 0.5
            parts.append(f"stone {k + 1}: " + ("cashed" if gone else f"{_words(look)}, glow {round(3 * look[3]):+d}"))
        potions = values[5 * STONES :].reshape(POTIONS, 2)[: self.keywords["potions"][level]]
        left = [f"{k + 1} {COLOUR_NAMES[round(3 * v + 3)]}" for k, (v, gone) in enumerate(potions) if gone < 0.5]
        return "; ".join([*parts, "potions: " + (", ".join(left) if left else "none left")]) + "."

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: stones, potions and their colours, the looks of stones, and where they go."""
        colours = "|".join(COLOUR_NAMES)
        return Vocabulary(
            (
                Symbols("answer", ("nothing",), r"(?:^|(?<=do ))NAME(?=$|[.,])"),
                Symbols("place", ("cauldron",)),
                Symbols("stone", tuple(map(str, range(1, STONES + 1))), r"\bstone NAME\b"),
                Symbols(
                    "potion",
                    tuple(map(str, range(1, POTIONS + 1))),
                    rf"(?:\bpotion |(?<=potions: )|(?<=, ))NAME\b(?=$|[.,;]| (?:{colours})\b| paid)",
                ),
                Symbols("colour", COLOUR_NAMES, r"\bNAME\b"),
                Symbols("shade", SHADES, r"\bNAME\b"),
                Symbols("size", SIZES, r"\bNAME\b"),
                Symbols("shape", SHAPES, r"\bNAME\b"),
            ),
            note=(
                "From one end to the other, stones are purple, blurple or blue; small, medium or large; pointy, "
                "somewhat pointy or round."
            ),
            answers="nothing, or such as stone 1 into the cauldron, or stone 1 into potion 2",
        )

    def render_ansi(self, scene: Scene) -> str:
        """Stones and potions as text; the chemistry only where revealed."""
        lines = self._caption(scene)
        for k, stone in enumerate(self._stones(scene), start=1):
            if stone is None:
                lines.append(f"  stone {k}  cashed")
                continue
            vertex, look = stone
            where = f"  at {_coordinates(vertex)}" if scene.reveal else ""
            lines.append(f"  stone {k}  {_words(look):32} glow {_glow(vertex):+d}  worth {worth(vertex):3d}{where}")
        potions = [f"{k:2d} {_colour_name(colour):10}" for k, colour in enumerate(self._potions(scene), start=1)]
        lines += ["  " + " ".join(potions[k : k + 6]).rstrip() for k in range(0, len(potions), 6)]
        return "\n".join(lines + (["  " + line for line in self._secrets(scene)] if scene.reveal else []))

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """Stones, potions and, where revealed, the cube of the chemistry: ``uint8[height, width, 3]``."""
        from daytwo.pictures import Canvas, blend

        canvas = Canvas(760, 400)
        for k, line in enumerate(self._caption(scene)):
            canvas.text(16, 12 + 22 * k, line, size=15)
        for k, stone in enumerate(self._stones(scene)):
            left = 16 + 152 * k
            canvas.rectangle(left, 64, left + 144, 214, fill="light", radius=8)
            canvas.text(left + 8, 68, str(k + 1), size=13, colour="dark")
            if stone is None:
                canvas.text(left + 72, 130, "cashed", size=14, colour="grey", anchor="mm")
                continue
            vertex, look = stone
            radius = 20 + 10 * (float(look[1]) + 1)
            paint = blend((150, 40, 160), (20, 70, 220), (float(look[0]) + 1) / 2)
            _draw_stone(canvas, left + 72, 128, radius, int(look[2]), paint)
            canvas.text(left + 72, 199, f"glow {_glow(vertex):+d}   worth {worth(vertex)}", size=13, anchor="mm")
        for k, colour in enumerate(self._potions(scene)):
            _draw_potion(canvas, 54 + 76 * (k % 6), 262 + 84 * (k // 6), k + 1, colour)
        canvas.line(480, 16, 480, 384, colour="grey")
        if scene.reveal:
            self._draw_chemistry(canvas, scene)
        else:
            canvas.text(620, 200, "the chemistry is hidden", size=14, colour="grey", anchor="mm")
        return canvas.array()

    def _draw_chemistry(self, canvas: Any, scene: Scene) -> None:
        """Draw the cube of vertices with its edges, in the colours that lead along them, and the stones on it."""

        def place(vertex: int) -> tuple[float, float]:
            a, b, c = vertex & 1, (vertex >> 1) & 1, (vertex >> 2) & 1
            return 520 + 120 * a + 56 * b, 222 - 112 * c - 44 * b

        task = scene.task
        rows = np.array([task], dtype=self.task_dtype).view(np.recarray)
        for axis in range(3):
            pair = task["axis"].tolist().index(axis)
            down, up = (0, 1) if task["sign"][axis] > 0 else (1, 0)
            for vertex in range(8):
                if (vertex >> axis) & 1:
                    continue
                start, end = place(vertex), place(vertex | 1 << axis)
                if self.settings.bottlenecks[0, scene.level] and not can_move(rows, 0, axis, vertex):
                    continue
                middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
                # The half next to an end has the colour of the potion that leads there.
                canvas.line(*start, *middle, colour=_PAINTS[2 * pair + down], width=4)
                canvas.line(*middle, *end, colour=_PAINTS[2 * pair + up], width=4)
        for vertex in range(8):
            canvas.circle(*place(vertex), 7, fill="paper", outline="goal" if vertex == BEST else "dark", width=3)
        taken: dict[int, int] = {}
        for k, stone in enumerate(self._stones(scene)):
            if stone is not None:
                x, y = place(stone[0])
                shift = 18 * taken.get(stone[0], 0)
                taken[stone[0]] = taken.get(stone[0], 0) + 1
                canvas.circle(x + 14 + shift, y - 12, 8, fill="agent")
                canvas.text(x + 14 + shift, y - 12, str(k + 1), size=11, colour="paper", anchor="mm")
        for k, line in enumerate(self._secrets(scene)):
            canvas.text(494, 248 + 17 * k, line, size=12)


_PAINTS = ((205, 50, 50), (40, 150, 70), (240, 140, 20), (235, 205, 30), (240, 130, 180), (40, 190, 190))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _glow(vertex: int) -> int:
    return 2 * vertex.bit_count() - 3


def _coordinates(vertex: int) -> str:
    return "(" + " ".join(f"{2 * ((vertex >> k) & 1) - 1:+d}" for k in range(3)) + ")"


def _words(look: np.ndarray) -> str:
    """Colour, size and roundness in words."""
    names = (SHADES, SIZES, SHAPES)
    return ", ".join(names[k][round(float(look[k])) + 1] for k in range(3))


def _colour_name(colour: int) -> str:
    return COLOUR_NAMES[colour] if colour >= 0 else "-"


def _draw_stone(canvas: Any, x: float, y: float, radius: float, roundness: int, paint: tuple[int, int, int]) -> None:
    """Draw a stone: a disc, a star with blunt points, or one with sharp points."""
    if roundness > 0:
        canvas.circle(x, y, radius, fill=paint, outline="ink", width=1)
        return
    inner = radius * (0.78 if roundness == 0 else 0.5)
    angles = np.arange(12) * np.pi / 6
    points = [
        (
            x + (radius if k % 2 == 0 else inner) * float(np.sin(a)),
            y - (radius if k % 2 == 0 else inner) * float(np.cos(a)),
        )
        for k, a in enumerate(angles)
    ]
    canvas.polygon(points, fill=paint, outline="ink", width=1)


def _draw_potion(canvas: Any, x: float, y: float, number: int, colour: int) -> None:
    """Draw a flask, empty where the potion is used."""
    paint = _PAINTS[colour] if colour >= 0 else None
    edge = "ink" if colour >= 0 else "grey"
    canvas.rectangle(x - 6, y - 26, x + 6, y - 4, fill=paint, outline=edge, width=1.5)
    canvas.circle(x, y + 8, 18, fill=paint, outline=edge, width=1.5)
    canvas.text(x, y + 38, f"{number} {_colour_name(colour)}", size=12, colour="ink" if paint else "grey", anchor="mm")


__all__ = ["PUBLISHED", "Alchemy", "chemistry_of"]
