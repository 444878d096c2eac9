"""The reference learner of Maze, which draws a map, and a wall follower, which remembers nothing."""

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_choice
from daytwo.kernels import kernel

FORWARD, LEFT, RIGHT = range(3)
NORTH, EAST, SOUTH, WEST = range(4)
WINDOW, RADIUS, CENTRE = 5, 2, 12
SIDES = 40  # walls in a window: 20 between neighbours in a row, then 20 between a row and the one behind it
# What is known of a side of a cell, and how a map is changed by what is seen.
UNKNOWN, WALL, OPEN = range(3)
NOTHING, NEWS, CONTRADICTION = range(3)
NOWHERE = -1
UNREACHED = 1 << 20
# Costs of looking where a goal can hardly be, and where there is no time to go: more than any search is worth.
TOO_DEEP, TOO_LATE = 50, 1000
# Columns of ``last``: where the agent is, which way it faces, what it did last, at which level, how many steps it has
# taken in this episode, and how many are left of its route.
X, Y, FACING, ACTION, LEVEL, STEPS, ROUTE = range(7)


# --- a map --------------------------------------------------------------------------------------------------------


@register_jitable
def neighbour(side, cell, heading):
    """The next cell in a heading; it must lie in the maze."""
    away = 1 if heading & 1 else -side
    return cell - away if heading & 2 else cell + away


@register_jitable
def forget(side, walls, looked, goals, i):
    """Begin a map: nothing is known but the walls around the maze."""
    walls[i] = UNKNOWN
    for k in range(side):
        walls[i, k, NORTH] = WALL
        walls[i, side * k + side - 1, EAST] = WALL
        walls[i, side * (side - 1) + k, SOUTH] = WALL
        walls[i, side * k, WEST] = WALL
    looked[i] = 0
    goals[i] = NOWHERE


@register_jitable
def place_in_maze(side, k, x, y, heading):
    """The cell that window cell ``k`` is, seen from (x, y); -1 outside of the maze."""
    across = k % WINDOW - RADIUS
    down = k // WINDOW - RADIUS
    if heading == EAST:
        across, down = -down, across
    elif heading == SOUTH:
        across, down = -across, -down
    elif heading == WEST:
        across, down = down, -across
    if 0 <= x + across < side and 0 <= y + down < side:
        return (y + down) * side + x + across
    return -1


@register_jitable
def take_in(side, row, at_walls, at_cells, last, walls, looked, goals, i, level):
    """Add a window to the map: whether it showed nothing new, news, or what contradicts the map."""
    x, y, heading = last[i, X], last[i, Y], last[i, FACING]
    change = NOTHING
    for k in range(SIDES):
        value = row[at_walls + k]
        if value == 0.0:
            continue
        if k < SIDES // 2:
            window_cell = WINDOW * (k // 4) + k % 4
            towards = (heading + 1) & 3
        else:
            window_cell = k - SIDES // 2
            towards = (heading + 2) & 3
        cell = place_in_maze(side, window_cell, x, y, heading)
        beyond = place_in_maze(side, window_cell + (1 if k < SIDES // 2 else WINDOW), x, y, heading)
        if cell < 0 or beyond < 0:
            continue  # the wall around the maze
        seen = WALL if value > 0.0 else OPEN
        known = walls[i, cell, towards]
        if known != seen:
            walls[i, cell, towards] = seen
            walls[i, beyond, towards ^ 2] = seen
            change = max(change, NEWS if known == UNKNOWN else CONTRADICTION)
    for k in range(WINDOW * WINDOW):
        value = row[at_cells + k]
        cell = place_in_maze(side, k, x, y, heading)
        if value == 0.0 or cell < 0:
            continue
        if (value > 0.0) != (goals[i, level] == cell):
            change = max(change, NEWS if goals[i, level] == NOWHERE else CONTRADICTION)
            goals[i, level] = cell if value > 0.0 else NOWHERE
        if not looked[i, level, cell]:
            looked[i, level, cell] = 1
            change = max(change, NEWS)
    return change


@register_jitable
def spread(side, walls, i, first, steps, came, queue):
    """Fewest steps over passages known to be open, from state ``first`` to every state, ``4 * cell + heading``.

    ``came[state]`` is ``4 * (the state before) + action``; ``queue`` is scratch.
    """
    for state in range(4 * side * side):
        steps[state] = UNREACHED
    steps[first] = 0
    queue[0] = first
    read = 0
    written = 1
    while read < written:
        state = queue[read]
        read += 1
        cell = state >> 2
        heading = state & 3
        for action in range(3):
            after = 4 * cell + ((heading + (3 if action == LEFT else 1)) & 3)
            if action == FORWARD:
                if walls[i, cell, heading] != OPEN:
                    continue
                after = 4 * neighbour(side, cell, heading) + heading
            if steps[after] == UNREACHED:
                steps[after] = steps[state] + 1
                came[after] = 4 * state + action
                queue[written] = after
                written += 1


@register_jitable
def soonest(steps, cell):
    """The state in which a cell is reached first."""
    best = 4 * cell
    for heading in range(1, 4):
        if steps[4 * cell + heading] < steps[best]:
            best = 4 * cell + heading
    return best


@register_jitable
def choose_target(settings, walls, looked, i, level, from_start, from_here, time_left):
    """The state to go to in search of the goal; -1 if the map leaves no place for it.

    Worth going to is a cell on the edge of the known map, and a cell known from other levels that has not been looked
    at in this one and is not too near the start. The cost of one is the way there, and the way from there to the first
    cell that is deep enough in the maze to be the goal.
    """
    nearest, farthest = settings.nearest[level], settings.farthest[level]
    best = -1
    least = 1 << 40
    for cell in range(settings.side * settings.side):
        state = soonest(from_here, cell)
        if from_here[state] == UNREACHED:
            continue
        depth = from_start[soonest(from_start, cell)]
        worth = not looked[i, level, cell] and depth >= nearest
        for heading in range(4):
            worth = worth or walls[i, cell, heading] == UNKNOWN
        if not worth:
            continue
        cost = from_here[state] + max(0, nearest - depth)
        if depth > farthest:
            cost += TOO_DEEP + depth - farthest
        if from_here[state] > time_left:
            cost += TOO_LATE
        if cost < least:
            least = cost
            best = state
    return best


@register_jitable
def move(settings, walls, last, i):
    """Follow one's own last step on the map."""
    side = settings.side
    heading = last[i, FACING]
    if last[i, ACTION] == FORWARD:
        cell = last[i, Y] * side + last[i, X]
        if walls[i, cell, heading] == OPEN:
            cell = neighbour(side, cell, heading)
            last[i, X] = cell % side
            last[i, Y] = cell // side
    else:
        last[i, FACING] = (heading + (3 if last[i, ACTION] == LEFT else 1)) & 3
    last[i, STEPS] += 1


@kernel
def draw_maps(settings, horizons, columns, observations, fresh, walls, looked, goals, last, routes, actions):
    """Let each lifetime add what it sees to its map and choose its next step."""
    side, start = settings.side, settings.start
    states = 4 * side * side
    from_start = np.empty(states, dtype=np.int64)
    from_here = np.empty(states, dtype=np.int64)
    came = np.empty(states, dtype=np.int64)
    ignored = np.empty(states, dtype=np.int64)
    queue = np.empty(states, dtype=np.int64)
    at_walls, at_cells, at_start, at_level, only_level = columns[0], columns[1], columns[2], columns[3], columns[4]
    for i in range(len(fresh)):
        row = observations[i]
        level = only_level
        if at_level >= 0:
            for k in range(len(horizons)):
                if row[at_level + k] > 0.5:
                    level = k
        if fresh[i]:
            forget(side, walls, looked, goals, i)
        begins = fresh[i] or row[at_start] > 0.5
        if begins:
            last[i, X] = start % side
            last[i, Y] = start // side
            last[i, FACING] = NORTH
            last[i, STEPS] = 0
        else:
            move(settings, walls, last, i)
        change = take_in(side, row, at_walls, at_cells, last, walls, looked, goals, i, level)
        if change == CONTRADICTION:
            # This is not the maze on the map.
            forget(side, walls, looked, goals, i)
            take_in(side, row, at_walls, at_cells, last, walls, looked, goals, i, level)
        if begins or change != NOTHING or last[i, ROUTE] == 0 or level != last[i, LEVEL]:
            here = 4 * (last[i, Y] * side + last[i, X]) + last[i, FACING]
            target = -1
            for _attempt in range(2):
                spread(side, walls, i, here, from_here, came, queue)
                if goals[i, level] != NOWHERE and from_here[soonest(from_here, goals[i, level])] < UNREACHED:
                    target = soonest(from_here, goals[i, level])
                else:
                    spread(side, walls, i, 4 * start + NORTH, from_start, ignored, queue)
                    time_left = horizons[level] - last[i, STEPS]
                    target = choose_target(settings, walls, looked, i, level, from_start, from_here, time_left)
                if target >= 0:
                    break
                # The goal is nowhere: something on the map is wrong.
                forget(side, walls, looked, goals, i)
                take_in(side, row, at_walls, at_cells, last, walls, looked, goals, i, level)
            count = 0
            while target >= 0 and target != here:
                routes[i, count] = came[target] & 3
                target = came[target] >> 2
                count += 1
            last[i, ROUTE] = count
        action = RIGHT
        if last[i, ROUTE] > 0:
            last[i, ROUTE] -= 1
            action = routes[i, last[i, ROUTE]]
        last[i, ACTION] = action
        last[i, LEVEL] = level
        actions[i] = action


class MapMaker:
    """Draws a map of what it sees, searches from the map's edge, and takes the shortest way known to the goal.

    Searching, it goes where the goal is soonest to be expected: to the edge of the map, or to a cell known from other
    levels, whichever costs the fewest steps to get there and from there on to the distance from the start at which the
    level's goals lie (which the rules tell). It plans anew only when it sees something new. The map is kept for a
    lifetime, through all levels; where the world contradicts it, it is thrown away and begun again. It has no
    randomness.
    """

    name = "map-maker"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Maze, with the extras shown that the learner reads."""
        visited = {stage.level for stage in spec.course.stages}
        return (
            spec.family == "Maze" and "episode_start" in spec.layout and ("level" in spec.layout or len(visited) == 1)
        )

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._settings, self._layout, n = spec.constants, spec.layout, len(seeds)
        cells = int(self._settings.side) ** 2
        names = ("walls_beside", "cells", "episode_start", "level")
        only_level = spec.course.stages[0].level
        self._columns = np.array([*map(self._layout.start, names), only_level], dtype=np.int64)
        self._horizons = np.array([level.horizon for level in spec.levels], dtype=np.int64)
        self._walls = np.zeros((n, cells, 4), dtype=np.uint8)
        self._looked = np.zeros((n, len(spec.levels), cells), dtype=np.uint8)
        self._goals = np.full((n, len(spec.levels)), NOWHERE, dtype=np.int64)
        self._last = np.zeros((n, 7), dtype=np.int64)
        self._routes = np.zeros((n, 4 * cells), dtype=np.uint8)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        done = self._layout.last_actions(observations, self._last[:, ACTION])
        self._last[done != self._last[:, ACTION], ROUTE] = 0  # somebody else acts: the route is left
        self._last[:, ACTION] = done
        draw_maps(
            self._settings,
            self._horizons,
            self._columns,
            observations,
            fresh,
            self._walls,
            self._looked,
            self._goals,
            self._last,
            self._routes,
            actions,
        )
        return actions


# --- without a memory ---------------------------------------------------------------------------------------------


@register_jitable
def wall_at(row, at_walls, cell, towards):
    """The number of a window cell's side, ahead 0, right 1, back 2, left 3; 0, not seen, at the window's edge."""
    column = cell % WINDOW
    line = cell // WINDOW
    if towards == 0:
        return row[at_walls + 20 + cell - WINDOW] if line > 0 else np.float32(0.0)
    if towards == 1:
        return row[at_walls + 4 * line + column] if column < WINDOW - 1 else np.float32(0.0)
    if towards == 2:
        return row[at_walls + 20 + cell] if line < WINDOW - 1 else np.float32(0.0)
    return row[at_walls + 4 * line + column - 1] if column > 0 else np.float32(0.0)


@register_jitable
def flood(row, at_walls, first, away, queue):
    """Steps ``away[cell]`` from a window cell, through passages seen and never past the agent; -1 where none lead.

    Returns whether somewhere there is a side that is not seen: a way that may lead on.
    """
    for cell in range(WINDOW * WINDOW):
        away[cell] = -1
    away[first] = 0
    queue[0] = first
    read = 0
    written = 1
    leads_on = False
    while read < written:
        cell = queue[read]
        read += 1
        if cell == CENTRE:
            continue
        for towards in range(4):
            wall = wall_at(row, at_walls, cell, towards)
            leads_on = leads_on or wall == 0.0
            there = neighbour(WINDOW, cell, towards)
            if wall < 0.0 and away[there] < 0:
                away[there] = away[cell] + 1
                queue[written] = there
                written += 1
    return leads_on


@kernel
def follow_walls(columns, hand, observations, actions):
    """Choose each lifetime's next step from its present observation."""
    at_walls, at_cells, at_action, at_start = columns[0], columns[1], columns[2], columns[3]
    away = np.empty(WINDOW * WINDOW, dtype=np.int64)
    queue = np.empty(WINDOW * WINDOW, dtype=np.int64)
    for i in range(len(actions)):
        row = observations[i]
        towards = -1
        for cell in range(WINDOW * WINDOW):
            if row[at_cells + cell] > 0.0:
                flood(row, at_walls, cell, away, queue)
                for side in range(4):
                    if wall_at(row, at_walls, CENTRE, side) < 0.0:
                        there = away[neighbour(WINDOW, CENTRE, side)]
                        if there >= 0 and (towards < 0 or there < away[neighbour(WINDOW, CENTRE, towards)]):
                            towards = side
        turned = row[at_action + LEFT] > 0.5 or row[at_action + RIGHT] > 0.5
        if row[at_start] > 0.5:
            turned = False  # that was in another episode
        if towards < 0 and turned and wall_at(row, at_walls, CENTRE, 0) < 0.0:
            towards = 0  # it has turned this way to go there
        elif towards < 0 and turned:
            towards = 3 if row[at_action + LEFT] > 0.5 else 1  # it is turning round
        elif towards < 0:
            # The first side, from the hand's on, that does not end in sight.
            for k in range(3):
                side = hand if k == 0 else 0 if k == 1 else 4 - hand
                if wall_at(row, at_walls, CENTRE, side) < 0.0 and flood(
                    row, at_walls, neighbour(WINDOW, CENTRE, side), away, queue
                ):
                    towards = side
                    break
            if towards < 0:
                towards = 2
        if towards == 0:
            actions[i] = FORWARD
        elif towards == 2:
            actions[i] = LEFT if hand == 1 else RIGHT
        else:
            actions[i] = RIGHT if towards == 1 else LEFT


class WallFollower:
    """Keeps a hand on the wall, passes by dead ends that it can see, and goes to a goal in sight. No memory at all.

    What it does depends on the present observation alone, the previous action in it included: having turned towards a
    passage, it goes through.
    """

    name = "wall-follower"

    def __init__(self, *, hand: str = "right") -> None:
        """Choose the hand on the wall.

        Args:
            hand: ``left`` or ``right``; mazes being as often one way round as the other, they are equally good.
        """
        self._hand = 1 if check_choice("hand", hand, ("left", "right")) == "right" else 3

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Maze, with the extras shown that the rule needs."""
        return spec.family == "Maze" and all(name in spec.layout for name in ("previous_action", "episode_start"))

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        names = ("walls_beside", "cells", "previous_action", "episode_start")
        self._columns = np.array([*map(spec.layout.start, names)], dtype=np.int64)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        follow_walls(self._columns, self._hand, observations, actions)
        return actions


__all__ = ["MapMaker", "WallFollower"]
