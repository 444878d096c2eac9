"""Maze: learn one's way about, so that tomorrow's errand begins where today's knowledge ends."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.checks import check_integer, check_integers, check_number
from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.kernels import is_interpreted, kernel
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import integer, next_word, uniform

FORWARD, LEFT, RIGHT = range(3)
ACTIONS = ("forward", "left", "right")
NORTH, EAST, SOUTH, WEST = range(4)
HEADINGS = ("north", "east", "south", "west")
LEVELS = 4
DISTANCES = (24, 32, 40, 50)  # of the goals at most, in a maze of 13x13 cells
BAND = 0.75  # and at least this share of it
SMALLEST, LARGEST = 7, 25  # sides; records have room for the largest, so that all settings share one compiled loop
LEAST_DISTANCE = 6
MAZES = 100  # drawn in search of one in which every level finds a goal at its distance
RADIUS = 2
WINDOW = 2 * RADIUS + 1
# First columns of the observation's parts.
BESIDE, BEHIND, CELLS, HEADING = 0, 20, 40, 65
BACK = 32  # in a row's word, passages to the right lie in the low bits, passages to the back from this bit on
SPOT = 32  # a spot is a row of a turned maze times this, and a column
IN_MAZE, ARRIVED, OUTSIDE = 16, 32, 512  # bits of ``ways`` in a drawing; of ARRIVED there are four, one per heading
UNREACHED = 1 << 20
PAIRS = 32  # of bits in a random word
NO_PLAN = -1
_TWO, _THREE = np.uint64(2), np.uint64(3)


# --- drawing ------------------------------------------------------------------------------------------------------


@register_jitable
def stride(side, heading):
    """How far a step in a heading leads in the padded arrays of a drawing, which have a rim one cell wide."""
    away = 1 if heading & 1 else -(side + 2)
    return -away if heading & 2 else away


@register_jitable
def inside(side, cell):
    """The place of a cell in the padded arrays of a drawing."""
    return (cell // side + 1) * (side + 2) + cell % side + 1


@register_jitable
def carve(side, knocked, stream, i, ways, exits):
    """Draw a maze: ``ways[place]`` gets the open headings of each cell, as its lowest four bits.

    Wilson's algorithm, a loop-erased random walk from each cell to the maze so far, makes every perfect maze (every
    spanning tree of the grid) equally likely. It leaves ``(side - 1)**2`` walls inside; ``knocked`` of them are then
    taken out, any so many with equal chance. ``exits`` is scratch.
    """
    for place in range((side + 2) * (side + 2)):
        ways[place] = OUTSIDE
    for row in range(1, side + 1):
        for place in range(row * (side + 2) + 1, row * (side + 2) + 1 + side):
            ways[place] = 0
    ways[inside(side, side * side // 2)] = IN_MAZE
    word = next_word(stream, i)
    left = PAIRS
    for row in range(1, side + 1):
        for first in range(row * (side + 2) + 1, row * (side + 2) + 1 + side):
            place = first
            while ways[place] & IN_MAZE == 0:
                if left == 0:
                    word = next_word(stream, i)
                    left = PAIRS
                heading = int(word & _THREE)
                word = word >> _TWO
                left -= 1
                there = place + stride(side, heading)
                if ways[there] != OUTSIDE:
                    exits[place] = heading
                    place = there
            # The last exit of a cell is the one that counts, which leaves out the walk's loops.
            place = first
            while ways[place] & IN_MAZE == 0:
                heading = exits[place]
                ways[place] |= (1 << heading) | IN_MAZE
                place += stride(side, heading)
                ways[place] |= 1 << (heading ^ 2)
    walls = (side - 1) * (side - 1)
    for row in range(1, side + 1):
        for place in range(row * (side + 2) + 1, row * (side + 2) + 1 + side):
            for heading in range(EAST, SOUTH + 1):
                there = place + stride(side, heading)
                if knocked > 0 and ways[there] != OUTSIDE and (ways[place] >> heading) & 1 == 0:
                    # Selection sampling: Knuth, The Art of Computer Programming, volume 2, algorithm 3.4.2 S.
                    if uniform(stream, i) * walls < knocked:
                        ways[place] |= 1 << heading
                        ways[there] |= 1 << (heading ^ 2)
                        knocked -= 1
                    walls -= 1


@register_jitable
def measure(side, start, ways, least, queue):
    """Fill ``least[place]`` with the fewest steps from the start, facing north; turns count.

    A search over arrivals, that is, over (cell, heading of the move into it). One that comes two steps later than the
    first into the same cell is of no use: by then the first could have turned round. ``queue`` is scratch for
    ``12 * side**2`` arrivals: those after a move straight on, a step later than the arrival before them, and those
    after a turn, two steps later, each in the order of their times.
    """
    for place in range((side + 2) * (side + 2)):
        least[place] = UNREACHED
    first = inside(side, start)
    least[first] = 0
    # An arrival is one number: 4096 times its time, then its place and heading.
    turns = 4 * side * side
    straight_read = 0
    straight_written = 0
    turned_read = turns
    turned_written = turns
    for heading in (NORTH, EAST, WEST, SOUTH):
        if (ways[first] >> heading) & 1:
            arrival = 4 * (first + stride(side, heading)) + heading
            if heading == NORTH:
                queue[straight_written] = 4096 + arrival
                straight_written += 1
            else:
                queue[turned_written] = 4096 * (3 if heading == SOUTH else 2) + arrival
                turned_written += 1
    while straight_read < straight_written or turned_read < turned_written:
        if turned_read == turned_written or (
            straight_read < straight_written and queue[straight_read] < queue[turned_read]
        ):
            arrival = queue[straight_read]
            straight_read += 1
        else:
            arrival = queue[turned_read]
            turned_read += 1
        heading = arrival & 3
        place = (arrival & 4095) >> 2
        steps = arrival >> 12
        if steps >= least[place] + 2 or (ways[place] >> heading) & ARRIVED:
            continue
        ways[place] |= ARRIVED << heading
        least[place] = min(least[place], steps)
        if (ways[place] >> heading) & 1:
            queue[straight_written] = 4096 * (steps + 1) + 4 * (place + stride(side, heading)) + heading
            straight_written += 1
        for turn in (1, 3):
            after = (heading + turn) & 3
            if (ways[place] >> after) & 1:
                queue[turned_written] = 4096 * (steps + 2) + 4 * (place + stride(side, after)) + after
                turned_written += 1


@register_jitable
def frame_x(side, x, y, heading):
    """The column of a cell after the maze has been turned so that a heading points up."""
    last = side - 1
    if heading == NORTH:
        return x
    if heading == EAST:
        return y
    if heading == SOUTH:
        return last - x
    return last - y


@register_jitable
def frame_y(side, x, y, heading):
    """The row of a cell after the maze has been turned so that a heading points up."""
    return frame_x(side, y, side - 1 - x, heading)


@register_jitable
def write_down(side, ways, task, i):
    """Write the maze into the task, once for each heading, turned so that the heading points up.

    So a window is the same few bits of five rows whatever the heading, and `observe` is fast. The oracle has not yet
    planned.
    """
    for heading in range(4):
        for row in range(LARGEST + 2 * RADIUS):
            task.rows[i, heading, row] = 0
        # The first cell of the first row, the way along a row, and the way to the next one.
        right, down = (heading + 1) & 3, (heading + 2) & 3
        corner = inside(side, 0)
        if heading == EAST or heading == SOUTH:
            corner += (side - 1) * stride(side, EAST)
        if heading == SOUTH or heading == WEST:
            corner += (side - 1) * stride(side, SOUTH)
        for row in range(side):
            place = corner + row * stride(side, down)
            word = 0
            for column in range(RADIUS, RADIUS + side):
                word |= ((ways[place] >> right) & 1) << column
                word |= ((ways[place] >> down) & 1) << (BACK + column)
                place += stride(side, right)
            task.rows[i, heading, RADIUS + row] = word
    for cell in range(LARGEST * LARGEST):
        task.plan[i, cell] = 0
    task.planned[i] = NO_PLAN


@register_jitable
def place_goal(side, task, i, level, cell, steps):
    """Note a level's goal, and where it lies in each of the turned mazes."""
    task.goals[i, level] = cell
    task.distances[i, level] = steps
    for heading in range(4):
        x = frame_x(side, cell % side, cell // side, heading)
        y = frame_y(side, cell % side, cell // side, heading)
        task.spots[i, level, heading] = SPOT * y + x


@register_jitable
def choose_goals(settings, task, stream, i, least):
    """Draw the goals: 2 if all levels found one at the right distance, 1 if some are nearer, 0 if some found none."""
    side = settings.side
    start = inside(side, settings.start)
    # None lies in the start's window, where it might be seen at once.
    for down in range(-RADIUS, RADIUS + 1):
        for across in range(-RADIUS, RADIUS + 1):
            least[start + down * (side + 2) + across] = UNREACHED
    fit = 2
    for level in range(LEVELS):
        nearest, farthest = settings.nearest[level], settings.farthest[level]
        fitting = 0
        goal = -1
        most = 0
        for row in range(side):
            for place in range(inside(side, row * side), inside(side, row * side) + side):
                steps = least[place]
                fitting += nearest <= steps <= farthest
                if most < steps <= farthest:
                    most = steps
                    goal = place
        if fitting > 0:
            chosen = integer(stream, i, fitting)
            for row in range(side):
                for place in range(inside(side, row * side), inside(side, row * side) + side):
                    if nearest <= least[place] <= farthest:
                        if chosen == 0:
                            goal = place
                        chosen -= 1
        elif goal >= 0:
            fit = min(fit, 1)
        else:
            return 0
        place_goal(side, task, i, level, (goal // (side + 2) - 1) * side + goal % (side + 2) - 1, least[goal])
    return fit


@register_jitable
def draw(settings, task, stream, i):
    side = settings.side
    padded = (side + 2) * (side + 2)
    ways = np.empty(padded, dtype=np.int64)
    least = np.empty(padded, dtype=np.int64)
    scratch = np.empty(12 * side * side, dtype=np.int64)
    mazes = 0
    fit = 0
    while not (fit == 2 or (fit == 1 and mazes >= MAZES)):
        carve(side, settings.knocked, stream, i, ways, scratch)
        measure(side, settings.start, ways, least, scratch)
        fit = choose_goals(settings, task, stream, i, least)
        mazes += 1
    write_down(side, ways, task, i)


@kernel
def fill_task(side, start, ways, goals, least, task):
    """Complete row 0 of ``task`` from a maze (``ways`` as of `carve`) and goals, and measure ``least`` in it."""
    scratch = np.empty(12 * side * side, dtype=np.int64)
    measure(side, start, ways, least, scratch)
    for level in range(LEVELS):
        place_goal(side, task, 0, level, goals[level], least[inside(side, goals[level])])
    write_down(side, ways, task, 0)


# --- living -------------------------------------------------------------------------------------------------------


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.heading[i] = NORTH
    state.x[i] = settings.start % settings.side
    state.y[i] = settings.start // settings.side
    state.steps[i] = 0


@register_jitable
def step(settings, task, state, level, stream, i, action):
    last = settings.side - 1
    heading, x, y = state.heading[i], state.x[i], state.y[i]
    ahead = (task.rows[i, heading, y + RADIUS - 1] >> (x + RADIUS + BACK)) & 1
    # Without branches: what an agent does is hard to predict, for a processor too.
    left = int(action == LEFT)
    right = int(action == RIGHT)
    forward = 1 - left - right
    heading = (heading + right + 3 * left) & 3
    new_x = forward * x + left * (last - y) + right * y
    new_y = forward * (y - ahead) + left * x + right * (last - x)
    state.steps[i] += 1
    state.heading[i] = heading
    state.x[i] = new_x
    state.y[i] = new_y
    if SPOT * new_y + new_x == task.spots[i, level, heading]:
        return 1.0 - settings.price, True
    return -settings.price, False


def _four_walls():
    """Row ``16 * seen + free``: of four walls -1 where seen and free, 1 where seen and not free, else 0."""
    seen, free = (part[:, None] >> np.arange(4) & 1 for part in np.divmod(np.arange(256), 16))
    return (seen * (1 - 2 * free)).astype(np.float32)


_FOUR_WALLS = _four_walls()


@register_jitable
def write_four(out, at, seen, free):
    """Write four walls at once: to look them up is faster than to reckon."""
    row = (seen & 15) << 4 | free & 15
    for k in range(4):
        out[at + k] = _FOUR_WALLS[row, k]


@register_jitable
def observe(settings, task, state, level, i, out):
    heading, x, y = state.heading[i], state.x[i], state.y[i]
    # Rows a (two ahead) to e (two back) of the window: bit k is the passage between its columns k and k + 1,
    # and bit k of the words in capitals that between column k of the row and of the row behind it.
    a = task.rows[i, heading, y] >> x
    b = task.rows[i, heading, y + 1] >> x
    c = task.rows[i, heading, y + 2] >> x
    d = task.rows[i, heading, y + 3] >> x
    e = task.rows[i, heading, y + 4] >> x
    A, B, C, D = a >> BACK, b >> BACK, c >> BACK, d >> BACK
    # What is seen from column 2 of row c: along the straight lines between the middles of cells.
    ahead = B >> 2
    back = C >> 2
    left = c >> 1
    right = c >> 2
    ahead_left = ahead & (b >> 1)
    left_ahead = left & (B >> 1)
    ahead_right = ahead & (b >> 2)
    right_ahead = right & (B >> 3)
    back_left = back & (d >> 1)
    left_back = left & (C >> 1)
    back_right = back & (d >> 2)
    right_back = right & (C >> 3)
    # Lines through a corner pass on either side of it.
    corner_b1 = ahead_left | left_ahead
    corner_b3 = ahead_right | right_ahead
    corner_d1 = back_left | left_back
    corner_d3 = back_right | right_back
    row_a = (
        (corner_b1 & ((A >> 1 & a) | (b & A))) & 1
        | (ahead_left & (A >> 1) & 1) << 1
        | (ahead & (A >> 2) & 1) << 2
        | (ahead_right & (A >> 3) & 1) << 3
        | (corner_b3 & ((A >> 3 & a >> 3) | (b >> 3 & A >> 4)) & 1) << 4
    )
    row_b = (
        (left_ahead & b) & 1
        | (corner_b1 & 1) << 1
        | (ahead & 1) << 2
        | (corner_b3 & 1) << 3
        | (right_ahead & (b >> 3) & 1) << 4
    )
    row_c = (left & c & 1) | (left & 1) << 1 | 4 | (right & 1) << 3 | (right & (c >> 3) & 1) << 4
    row_d = (
        (left_back & d) & 1
        | (corner_d1 & 1) << 1
        | (back & 1) << 2
        | (corner_d3 & 1) << 3
        | (right_back & (d >> 3) & 1) << 4
    )
    row_e = (
        (corner_d1 & ((D >> 1 & e) | (d & D))) & 1
        | (back_left & (D >> 1) & 1) << 1
        | (back & (D >> 2) & 1) << 2
        | (back_right & (D >> 3) & 1) << 3
        | (corner_d3 & ((D >> 3 & e >> 3) | (d >> 3 & D >> 4)) & 1) << 4
    )
    seen = row_a | row_b << 5 | row_c << 10 | row_d << 15 | row_e << 20
    # Of each row the four walls between neighbours, which both of them show, and the five to the row behind.
    write_four(out, BESIDE, row_a | row_a >> 1, a)
    write_four(out, BESIDE + 4, row_b | row_b >> 1, b)
    write_four(out, BESIDE + 8, row_c | row_c >> 1, c)
    write_four(out, BESIDE + 12, row_d | row_d >> 1, d)
    write_four(out, BESIDE + 16, row_e | row_e >> 1, e)
    shown = seen | seen >> 5
    free = A & 31 | (B & 31) << 5 | (C & 31) << 10 | (D & 31) << 15
    for k in range(5):
        write_four(out, BEHIND + 4 * k, shown >> 4 * k, free >> 4 * k)
    for k in range(6):
        write_four(out, CELLS + 4 * k, seen >> 4 * k, seen >> 4 * k)
    out[CELLS + 24] = -np.float32(seen >> 24)
    spot = task.spots[i, level, heading]
    across = spot % SPOT - x + RADIUS
    down = spot // SPOT - y + RADIUS
    if 0 <= across < WINDOW and 0 <= down < WINDOW and (seen >> (WINDOW * down + across)) & 1:
        out[CELLS + WINDOW * down + across] = 1.0
    out[HEADING + heading] = 1.0


@register_jitable
def is_open(task, i, x, y, heading):
    """Whether one can go on from a cell in a heading: 1 or 0."""
    if heading == NORTH:
        return (task.rows[i, 0, y + RADIUS - 1] >> (x + RADIUS + BACK)) & 1
    if heading == EAST:
        return (task.rows[i, 0, y + RADIUS] >> (x + RADIUS)) & 1
    if heading == SOUTH:
        return (task.rows[i, 0, y + RADIUS] >> (x + RADIUS + BACK)) & 1
    return (task.rows[i, 0, y + RADIUS] >> (x + RADIUS - 1)) & 1


@register_jitable
def plan_ways(settings, task, i, level):
    """Note the best action for every cell and heading: a breadth-first search from the level's goal, backwards.

    ``task.plan[i, cell]`` holds two bits for each heading. All of it follows from the rest of the task, so that it is
    made when it is asked for first, and takes no time where there is no oracle.
    """
    side = settings.side
    queue = np.empty(4 * side * side, dtype=np.int64)
    goal = int(task.goals[i, level])
    for cell in range(side * side):
        task.plan[i, cell] = 255  # 3 is no action
    task.plan[i, goal] = 0
    for heading in range(4):
        queue[heading] = 4 * goal + heading
    read = 0
    written = 4
    while read < written:
        cell = queue[read] >> 2
        heading = queue[read] & 3
        read += 1
        for action in range(3):
            # The state from which the action leads here.
            before = cell
            facing = heading
            if action == FORWARD:
                if not is_open(task, i, cell % side, cell // side, heading ^ 2):
                    continue
                away = 1 if heading & 1 else -side
                before = cell + away if heading & 2 else cell - away
            elif action == LEFT:
                facing = (heading + 1) & 3
            else:
                facing = (heading + 3) & 3
            known = int(task.plan[i, before])
            if (known >> (2 * facing)) & 3 == 3:
                task.plan[i, before] = known ^ ((3 ^ action) << (2 * facing))
                queue[written] = 4 * before + facing
                written += 1
    task.planned[i] = level


@register_jitable
def oracle(settings, task, state, level, i):
    if task.planned[i] != level:
        plan_ways(settings, task, i, level)
    side = settings.side
    heading, x, y = state.heading[i], state.x[i], state.y[i]
    back = (4 - heading) & 3  # turned by the rest of the full turn, the cell is where it was
    cell = side * frame_y(side, x, y, back) + frame_x(side, x, y, back)
    return (int(task.plan[i, cell]) >> (2 * heading)) & 3


@register_jitable
def diagnose(settings, task, state, level, i, out):
    heading = state.heading[i]
    reached = SPOT * state.y[i] + state.x[i] == task.spots[i, level, heading]
    out[0] = 1.0 if reached else 0.0
    out[1] = state.steps[i] / task.distances[i, level] if reached else math.nan


class Maze(TaskFamily):
    """A maze that stays while the goals move away: who knows the way already need not search for all of it.

    What it tests:
        Memory, of a map too large to see, and navigation by it; exploration that does not look twice.
    Task:
        A maze of ``size`` x ``size`` cells with walls between them: a perfect maze, all such mazes being equally
        likely (Wilson's algorithm), of whose inner walls the share ``knocked`` is taken out at random. Four goals, one
        per level: cells uniform among those outside the start's window whose shortest path from the start, in steps
        and counting turns, is between 3/4 of the level's distance (and more than the distance of the level before)
        and all of it. A maze that lacks such a cell for some level is drawn again.
        In the record, ``rows`` holds the maze four times, turned so that each heading points up; ``spots`` the goals
        in each of these; ``goals`` the cells (``y * size + x``) and ``distances`` their shortest paths; ``planned``
        and ``plan`` are the oracle's notes.
    Episode:
        Starts in the middle of the maze, facing north. It ends at the level's goal, or after ``patience`` times the
        level's distance in steps. Where goals of other levels lie is floor.
    Observation:
        The 5x5 cells around the agent, turned so that it looks up, from left to right and from far ahead to back.
        ``walls_beside`` (20 numbers): the walls between neighbours in a row, four a row; ``walls_behind`` (20): those
        between a row and the next, five each; 1 is a wall, -1 a passage, 0 not seen. ``cells`` (25): 1 is the goal,
        -1 a cell without it, 0 not seen. ``heading``: one-hot north, east, south, west.
        A cell is seen if the straight line between its middle and the agent's crosses no wall (a line through a
        corner may pass on either side of it), with all of its walls inside the window. So the goal is perceived when
        it is in the window and in sight.
    Action:
        ``Discrete(3)``: forward, left, right. Left and right are quarter turns on the spot; forward moves one cell, or
        not if there is a wall.
    Reward:
        1 at the goal, and ``-price`` for every step.
    Levels:
        The goal is 18 to 24, 25 to 32, 33 to 40, 41 to 50 steps away, in at most 48, 64, 80, 100 steps. All in the same
        maze: the map drawn at one level shortens the search at the next.
    Oracle:
        A shortest path, turns counted: optimal. Its return is ``1 - price * distance``.
    Reference learner:
        ``map-maker``: draws a map, searches from its edge, and takes the shortest way on it to a goal once seen.
    Reactive agent:
        ``wall-follower``: keeps a hand on the wall, and goes to a goal in sight.
    Source:
        Duan et al. 2016 (RL2, arXiv 1611.02779), section 3.3, and Mishra et al. 2018 (SNAIL, arXiv 1707.03141), section
        5.3.2: navigation in random mazes that stay the same for some episodes; here as a grid, larger, with symbols in
        place of images, and in levels. Wilson 1996, "Generating random spanning trees more quickly than the cover
        time".
    """

    name = "Maze"
    tags = ("memory", "navigation", "exploration")
    reference = "map-maker"
    reactive = "wall-follower"
    harder = {"size": 17}
    split_fields = ("goals",)
    # The walls around the start are seen; and which way they let one out tells a little about where the goals are.
    visible_at_start = ("rows", "goals", "spots")
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)
    diagnose = staticmethod(diagnose)

    def __init__(
        self,
        *,
        size: int = 13,
        knocked: float = 0.05,
        distances: Sequence[int] | None = None,
        patience: float = 2.0,
        price: float = 0.01,
    ) -> None:
        """Set the maze.

        Args:
            size: cells along a side, 7 to 25.
            knocked: the share of a perfect maze's inner walls that is taken out, in [0, 0.5].
            distances: for each of the four levels, how far away the goal is at most: steps of the shortest path,
                turns counted, growing, from 6 to ``2 * size**2``. By default 24, 32, 40, 50, scaled with
                ``(size / 13)**1.25``, as the lengths of paths in such mazes are. Where no maze out of 100 has a goal
                for each level, as large distances may ask for, the farthest cells that there are will do.
            patience: steps of an episode, as a multiple of the level's distance, in [1, 10].
            price: of a step, in [0, 0.1].

        Raises:
            ValueError: a value out of range, or distances that do not grow.
        """
        size = check_integer("size", size, SMALLEST, LARGEST)
        knocked = check_number("knocked", knocked, 0.0, 0.5)
        patience = check_number("patience", patience, 1.0, 10.0)
        price = check_number("price", price, 0.0, 0.1)
        if distances is None:
            distances = [max(LEAST_DISTANCE + k, round(far * (size / 13) ** 1.25)) for k, far in enumerate(DISTANCES)]
        farthest = check_integers("distances", distances, LEVELS, LEAST_DISTANCE, 2 * size * size)
        if sorted(set(farthest)) != list(farthest):
            raise ValueError(f"distances must grow from level to level, received {farthest}.")
        nearest = [
            max(math.ceil(BAND * far), before + 1) for far, before in zip(farthest, (0, *farthest), strict=False)
        ]
        self.size, self.start = size, size // 2 * size + size // 2
        self.nearest, self.farthest = tuple(nearest), farthest
        super().__init__(
            keywords={
                "size": size,
                "knocked": knocked,
                "distances": farthest,
                "patience": patience,
                "price": price,
            },
            settings={
                "side": size,
                "start": self.start,
                "knocked": round(knocked * (size - 1) ** 2),
                "nearest": nearest,
                "farthest": farthest,
                "price": price,
            },
            task=[
                ("rows", "i8", (4, LARGEST + 2 * RADIUS)),
                ("spots", "i2", (LEVELS, 4)),
                ("goals", "i2", (LEVELS,)),
                ("distances", "i2", (LEVELS,)),
                ("planned", "i2"),
                ("plan", "u1", (LARGEST * LARGEST,)),
            ],
            state=[("heading", "i2"), ("x", "i2"), ("y", "i2"), ("steps", "i2")],
            levels=[
                Level(f"{near} to {far} steps away", math.ceil(patience * far))
                for near, far in zip(nearest, farthest, strict=True)
            ],
            actions=spaces.Discrete(3),
            fields=[
                Field("walls_beside", 20, -1.0, 1.0),
                Field("walls_behind", 20, -1.0, 1.0),
                Field("cells", 25, -1.0, 1.0),
                Field("heading", 4),
            ],
            reward_range=(-price, 1.0),
            action_names=ACTIONS,
            diagnostics=[Field("goal_reached", 1), Field("detour", 1, 1.0, math.ceil(patience * farthest[-1]))],
        )

    # --- tasks as numbers -----------------------------------------------------------------------------------------

    def ways(self, task: Any) -> np.ndarray:
        """The maze of a task record: the open headings of each cell as bits, ``int64[size, size]``.

        Bits 0 to 3 are north, east, south, west: ``ways[y, x] & 2`` says whether one can go east from column x of
        row y.
        """
        words = np.asarray(task["rows"])[0, RADIUS : RADIUS + self.size, None]
        columns = np.arange(RADIUS, RADIUS + self.size)
        east, south = words >> columns & 1, words >> (BACK + columns) & 1
        west, north = np.zeros_like(east), np.zeros_like(south)
        west[:, 1:], north[1:] = east[:, :-1], south[:-1]
        return north | east << 1 | south << 2 | west << 3

    def task_to_dict(self, task: Any) -> dict[str, Any]:
        """A task record as ``ways`` (see the method `ways`), ``goals`` and ``distances``; the rest follows."""
        return {
            "ways": self.ways(task).tolist(),
            "goals": np.asarray(task["goals"]).tolist(),
            "distances": np.asarray(task["distances"]).tolist(),
        }

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw.

        Raises:
            ValueError: no maze, cells that cannot be reached, too many or too few walls, goals that are not where these
                settings put them, or distances that are not theirs.
        """
        names = ("ways", "goals", "distances")
        if not isinstance(values, Mapping) or set(values) != set(names):
            received = sorted(values) if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(f"A Maze task has the fields {sorted(names)}, received {received}.")
        side = self.size
        ways = np.asarray(values["ways"])
        if ways.shape != (side, side) or ways.dtype.kind not in "iu" or ((ways < 0) | (ways > 15)).any():
            raise ValueError(f"ways must be {side} rows of {side} integers in 0..15, received {values['ways']!r}.")
        goals = np.array(check_integers("goals", values["goals"], LEVELS, 0, side * side - 1))
        distances = check_integers("distances", values["distances"], LEVELS, 1, UNREACHED)
        rim = (ways[0] & 1).any() or (ways[:, -1] & 2).any() or (ways[-1] & 4).any() or (ways[:, 0] & 8).any()
        east, south, west, north = ways >> 1 & 1, ways >> 2 & 1, ways >> 3 & 1, ways & 1
        if rim or (east[:, :-1] != west[:, 1:]).any() or (south[:-1] != north[1:]).any():
            raise ValueError("ways must lead both ways or neither, and none out of the maze.")
        passages, expected = int(east.sum() + south.sum()), side * side - 1 + int(self.settings.knocked[0])
        if passages != expected:
            raise ValueError(f"ways must have {expected} passages under these settings, received {passages}.")
        padded = np.full((side + 2, side + 2), OUTSIDE, dtype=np.int64)
        padded[1:-1, 1:-1] = ways
        least = np.empty((side + 2) * (side + 2), dtype=np.int64)
        task = np.zeros(1, dtype=self.task_dtype)
        fill_task(side, self.start, padded.ravel(), goals, least, task.view(np.recarray) if is_interpreted() else task)
        steps = least.reshape(side + 2, side + 2)[1:-1, 1:-1].copy()
        if (steps == UNREACHED).any():
            raise ValueError("ways must lead from the start to every cell.")
        middle = side // 2
        steps[middle - RADIUS : middle + RADIUS + 1, middle - RADIUS : middle + RADIUS + 1] = UNREACHED
        for level, goal in enumerate(goals):
            fitting = (steps >= self.nearest[level]) & (steps <= self.farthest[level])
            if not fitting.any():  # as in mazes too small for these settings
                fitting = steps == steps[steps <= self.farthest[level]].max(initial=-1)
            if not fitting.flat[goal]:
                raise ValueError(
                    f"goals[{level}] must be outside the start's window and {self.nearest[level]} to "
                    f"{self.farthest[level]} steps away, received {goal}, which is {task['distances'][0, level]} away."
                )
        if list(distances) != task["distances"][0].tolist():
            raise ValueError(f"distances must be {task['distances'][0].tolist()}, received {list(distances)}.")
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def _place(self, state: Any) -> tuple[int, int]:
        """Column and row of the agent in the maze."""
        back = (4 - int(state["heading"])) & 3
        x, y = int(state["x"]), int(state["y"])
        return frame_x(self.size, x, y, back), frame_y(self.size, x, y, back)

    def _seen(self, scene: Scene) -> np.ndarray:
        """The family's part of the scene's observation."""
        task = np.zeros(1, dtype=self.task_dtype).view(np.recarray)
        state = np.zeros(1, dtype=self.state_dtype).view(np.recarray)
        task[0], state[0] = scene.task, scene.state
        values = np.zeros(HEADING + 4, dtype=np.float32)
        observe(self.settings[0], task, state, scene.level, 0, values)
        return values

    def _caption(self, scene: Scene) -> list[str]:
        level = self.levels[scene.level]
        return [
            f"Maze, level {scene.level}: goal {level.name}",
            f"step {scene.time} of {level.horizon}   return {scene.total:.2f}   bar {scene.bar:.2f}",
            f"facing {HEADINGS[int(scene.state['heading'])]}",
        ]

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        near, far = self.nearest[level], self.farthest[level]
        price = f" Every step costs {self.keywords['price']:g}." if self.keywords["price"] else ""
        return (
            f"You are in a maze of {self.size} by {self.size} cells, and start in its middle, facing north. A step "
            "takes you one cell forward, or turns you a quarter to the left or to the right. You see two cells far, "
            "though not through walls, in a picture in which you look up. Reaching the goal pays 1 and ends the episode"
            f".{price} The shortest way to the goal takes {near} to {far} steps, turns counted, and an episode at most "
            f"{self.levels[level].horizon}. The maze is the same in all episodes and at all levels; every level has a "
            "goal of its own, which stays where it is."
        )

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """What the agent sees, as a picture of letters and lines."""
        heading = HEADINGS[int(values[HEADING : HEADING + 4].argmax())]
        legend = "^ you, . floor, G goal, ? not seen, lines are walls; ahead is up"
        return "\n".join([f"You face {heading}. You see ({legend}):", *_window_lines(values)])

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: moves and headings."""
        legend = (r" \(\^ you, .*?; ahead is up\)", "")
        note = "In the picture ^ is you, . floor, G the goal, ? not seen; lines are walls, and ahead is up."
        if not rename:
            return Vocabulary(rewrites=(legend,), note=note)
        return Vocabulary(
            (Symbols("move", ACTIONS), Symbols("heading", HEADINGS)),
            rewrites=(
                legend,
                (
                    r"A step takes you one cell forward, or turns you a quarter to the left or to the right\.",
                    "One answer takes you one cell ahead, one turns you a quarter to one side, one to the other.",
                ),
            ),
            note=note,
        )

    def render_ansi(self, scene: Scene) -> str:
        """What the agent sees; or, where revealed, the whole maze with the goal in it."""
        if not scene.reveal:
            return "\n".join([*self._caption(scene), *_window_lines(self._seen(scene)), "^ you  G goal  ? not seen"])
        ways, goal = self.ways(scene.task), int(scene.task["goals"][scene.level])
        x, y = self._place(scene.state)
        marks = np.full((self.size, self.size), " ")
        marks.flat[self.start] = "o"
        marks.flat[goal] = "G"
        marks[y, x] = "^>v<"[int(scene.state["heading"])]
        lines = ["+" + "---+" * self.size]
        for row in range(self.size):
            beside = (" " if way & 2 else "|" for way in ways[row])
            lines.append("|" + "".join(f" {mark} {wall}" for mark, wall in zip(marks[row], beside, strict=True)))
            lines.append("+" + "".join("   +" if way & 4 else "---+" for way in ways[row]))
        return "\n".join([*self._caption(scene), *lines, "^ > v < you  o start  G goal"])

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """What the agent sees, beside the whole maze where that is revealed, ``uint8[height, width, 3]``."""
        from daytwo.pictures import Canvas

        edge, cell = 14, max(12, 390 // self.size)
        side, window = cell * self.size, 200
        # The same size at every level, so that a lifetime's pictures make one film.
        canvas = Canvas(side + window + 3 * edge, side + 2 * edge)
        values = self._seen(scene)
        if scene.reveal:
            self._draw_maze(canvas, edge, edge, cell, scene, values)
        else:
            _draw_window(canvas, edge, edge, side, values)
        left = side + 2 * edge
        if scene.reveal:
            _draw_window(canvas, left, edge, window, values)
        lines = [line for text in self._caption(scene) for line in text.replace(": ", ":\n").split("\n")]
        lines = [part for line in lines for part in line.split("   ")]
        for k, line in enumerate(lines):
            canvas.text(left, edge + (window + 16 if scene.reveal else 0) + 21 * k, line, size=14)
        return canvas.array()

    def _draw_maze(self, canvas: Any, left: float, top: float, cell: float, scene: Scene, values: np.ndarray) -> None:
        """Draw the whole maze, what is in sight being lighter."""
        from daytwo.pictures import blend

        ways, goal = self.ways(scene.task), int(scene.task["goals"][scene.level])
        x, y = self._place(scene.state)
        heading, side = int(scene.state["heading"]), cell * self.size
        canvas.rectangle(left, top, left + side, top + side, fill=blend("floor", "grey", 0.35))
        for k in np.flatnonzero(values[CELLS : CELLS + WINDOW * WINDOW]).tolist():
            across, down = k % WINDOW - RADIUS, k // WINDOW - RADIUS
            for _ in range(heading):  # a quarter turn to the right each
                across, down = -down, across
            at_x, at_y = left + (x + across) * cell, top + (y + down) * cell
            canvas.rectangle(at_x, at_y, at_x + cell, at_y + cell, fill=blend("paper", "yellow", 0.25))
        gap = cell * 0.16
        at_x, at_y = left + goal % self.size * cell, top + goal // self.size * cell
        canvas.rectangle(at_x + gap, at_y + gap, at_x + cell - gap, at_y + cell - gap, fill="goal", radius=3)
        at_x, at_y = left + (self.start % self.size + 0.5) * cell, top + (self.start // self.size + 0.5) * cell
        canvas.circle(at_x, at_y, cell * 0.2, outline="grey", width=2)
        for row in range(self.size):
            for column in range(self.size):
                at_x, at_y = left + column * cell, top + row * cell
                if not ways[row, column] & 2:
                    canvas.line(at_x + cell, at_y, at_x + cell, at_y + cell, colour="wall", width=2.5)
                if not ways[row, column] & 4:
                    canvas.line(at_x, at_y + cell, at_x + cell, at_y + cell, colour="wall", width=2.5)
        canvas.rectangle(left - 1, top - 1, left + side + 1, top + side + 1, outline="wall", width=2.5)
        _draw_agent(canvas, left + (x + 0.5) * cell, top + (y + 0.5) * cell, cell * 0.38, heading)


def _window_lines(values: np.ndarray) -> list[str]:
    """The window in letters and lines."""
    beside = values[BESIDE : BESIDE + 20].reshape(WINDOW, WINDOW - 1)
    behind = values[BEHIND : BEHIND + 20].reshape(WINDOW - 1, WINDOW)
    cells = values[CELLS : CELLS + WINDOW * WINDOW].reshape(WINDOW, WINDOW)
    lines = []
    for row in range(WINDOW):
        line = " "
        for column in range(WINDOW):
            here = row == column == RADIUS
            line += "^" if here else {0: "?", 1: "G"}.get(int(cells[row, column]), ".")
            if column < WINDOW - 1:
                line += " | " if beside[row, column] > 0 else "   "
        lines.append(line.rstrip())
        if row < WINDOW - 1:
            marks = ["---" if wall > 0 else "   " for wall in behind[row]]
            lines.append(" ".join(marks).rstrip())
    return lines


def _draw_agent(canvas: Any, x: float, y: float, size: float, heading: int) -> None:
    """Draw the agent as an arrowhead."""
    points = [(0.0, -1.0), (0.75, 0.8), (0.0, 0.4), (-0.75, 0.8)]
    for _ in range(heading):
        points = [(-down, across) for across, down in points]
    canvas.polygon([(x + size * across, y + size * down) for across, down in points], fill="agent")


def _draw_window(canvas: Any, left: float, top: float, side: float, values: np.ndarray) -> None:
    """Draw what the agent sees, looking up; what it does not see is dark."""
    from daytwo.pictures import blend

    cell = side / WINDOW
    canvas.rectangle(left, top, left + side, top + side, fill="grey")
    for k, value in enumerate(values[CELLS : CELLS + WINDOW * WINDOW]):
        x, y = left + k % WINDOW * cell, top + k // WINDOW * cell
        if value != 0:
            canvas.rectangle(x, y, x + cell, y + cell, fill=blend("paper", "yellow", 0.25))
        if value > 0:
            gap = cell * 0.16
            canvas.rectangle(x + gap, y + gap, x + cell - gap, y + cell - gap, fill="goal", radius=4)
    for k in np.flatnonzero(values[BESIDE : BESIDE + 20] > 0).tolist():
        x, y = left + (k % (WINDOW - 1) + 1) * cell, top + k // (WINDOW - 1) * cell
        canvas.line(x, y, x, y + cell, colour="wall", width=4)
    for k in np.flatnonzero(values[BEHIND : BEHIND + 20] > 0).tolist():
        x, y = left + k % WINDOW * cell, top + (k // WINDOW + 1) * cell
        canvas.line(x, y, x + cell, y, colour="wall", width=4)
    _draw_agent(canvas, left + side / 2, top + side / 2, cell * 0.38, NORTH)


__all__ = ["Maze"]
