"""The reference learner of DarkRoom: sweep, remember, go straight."""

from functools import lru_cache

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.kernels import kernel

UP, RIGHT, DOWN, LEFT, STAY = range(5)
# What is looked for: the goal of the inner room, that of the whole room (which is also the door), and the keys.
INNER_GOAL, GOAL, KEY, SECOND_KEY = range(4)
UNKNOWN = -1
# Columns of ``last``: where the agent stood, what it did, in which level, with which keys; steps taken; its route.
CELL, ACTION, LEVEL, CARRIED, TIME, ROUTE = range(6)
TOO_FAR = 10_000
BEAM = 1000
BEAM_WORK = 10_000_000


@lru_cache(maxsize=64)
def plan_routes(
    *,
    side: int,
    low: int,
    high: int,
    start: int,
    horizon: int,
    episodes: int,
    clear: int = -1,
    weights: tuple[float, ...] = (),
) -> np.ndarray:
    """Routes that search a room from its start, episode after episode, so that they pay as much as possible.

    A beam search over whole plans: a goal first stepped on in step t of episode k pays ``horizon + 1 - t`` in that
    episode and, gone straight to, the known-goal return in the episodes after it. States are ranked by that sum less
    a charge for the boundary between searched and unsearched cells, which keeps what is left in one piece.

    Args:
        side: side of the whole room, which numbers the cells.
        low: first column and row of the room to search.
        high: last column and row.
        start: the cell where every episode starts.
        horizon: steps of an episode.
        episodes: how many episodes there are to use what was found.
        clear: nothing lies within so many rows and columns of the start: 0 is the start itself, -1 leaves out nothing.
        weights: how likely each cell is, relative to others; all alike if empty.

    Returns:
        The cell after each step, ``int64[routes, horizon]``; at most ``episodes`` routes, fewer where fewer reach
        every cell.
    """
    cells = side * side
    at = np.arange(cells)
    x, y = at % side, at // side
    within = (x >= low) & (x <= high) & (y >= low) & (y <= high)
    likely = np.array(weights) if weights else np.ones(cells)
    known = np.minimum(horizon, np.maximum(0, horizon + 1 - abs(x - start % side) - abs(y - start // side)))
    # Column `cells` stands for everything beyond the walls: searched already, and nobody goes there.
    neighbours = np.full((cells, 5), cells)
    neighbours[:, STAY] = at
    for heading_to, open_side in ((UP, y > low), (RIGHT, x < high), (DOWN, y < high), (LEFT, x > low)):
        offset = {UP: -side, RIGHT: 1, DOWN: side, LEFT: -1}[heading_to]
        neighbours[open_side, heading_to] = at[open_side] + offset
    searched = np.ones((1, cells + 1), dtype=np.bool_)
    searched[0, :cells] = ~within
    searched[0, :cells] |= np.maximum(abs(x - start % side), abs(y - start // side)) <= clear
    beam = int(np.clip(BEAM_WORK // cells**2, 10, BEAM))
    generator = np.random.default_rng(0)  # names sets of cells, always in the same way
    words = generator.integers(0, 2**63, size=(2, cells), dtype=np.uint64)
    value, rank, name = np.zeros(1), np.zeros(1), np.zeros(1, dtype=np.uint64)
    parents, places = [], []
    for episode in range(episodes):
        place = np.full(len(value), start)
        for time in range(1, horizon + 1):
            parent, direction = np.nonzero(neighbours[place] < cells)
            cell = neighbours[place[parent], direction]
            new = ~searched[parent, cell]
            gain = np.where(new, (horizon + 1 - time + (episodes - 1 - episode) * known[cell]) * likely[cell], 0.0)
            left_open = (~searched[parent[:, None], neighbours[cell][:, :4]]).sum(axis=1)
            ranks = rank[parent] + gain - np.where(new, horizon * (2.0 * left_open - 4.0), 0.0)
            names = np.where(new, name[parent] ^ words[0, cell], name[parent])
            order = np.argsort(-ranks, kind="stable")
            # Of plans that searched the same cells and stand in the same one, the best is enough.
            _, first = np.unique((names + words[1, cell])[order], return_index=True)
            keep = order[np.sort(first)][:beam]
            value, rank, name = value[parent[keep]] + gain[keep], ranks[keep], names[keep]
            searched, place = searched[parent[keep]], cell[keep]
            searched[np.arange(len(keep)), place] = True
            parents.append(parent[keep])
            places.append(place)
        if searched.all(axis=1).any():
            break
    best = int(np.argmax(value))
    route = []
    for parent, place in zip(reversed(parents), reversed(places), strict=True):
        route.append(int(place[best]))
        best = int(parent[best])
    routes = np.array(route[::-1], dtype=np.int64).reshape(-1, horizon)
    routes.setflags(write=False)  # shared by all who ask
    return routes


def routes_at(spec: LifetimeSpec, level: int, episodes: int) -> np.ndarray:
    """The routes (see `plan_routes`) to search a level's room by in so many episodes."""
    settings = spec.constants
    side, start, low, high = (
        int(settings.side),
        int(settings.start),
        int(settings.low[level]),
        int(settings.high[level]),
    )
    weights = np.ones((side, side))
    if settings.inside[level]:
        # The inner goal lies in the direction of the goal of the whole room, which is uniform.
        for places in range(low, start), [start], range(start + 1, high + 1):
            whole = np.sign(np.arange(side) - start) == np.sign(places[0] - start) if len(places) else np.zeros(side)
            weights[list(places)] *= whole.sum() / max(len(places), 1)
            weights[:, list(places)] *= whole.sum() / max(len(places), 1)
    return plan_routes(
        side=side,
        low=low,
        high=high,
        start=start * (side + 1),
        horizon=spec.levels[level].horizon,
        episodes=episodes,
        clear=1 if settings.distant else 0 if settings.keys[level] else -1,  # keys are never at the start
        weights=tuple(weights.ravel().tolist()) if settings.inside[level] else (),
    )


@register_jitable
def distance(side, first, second):
    """Steps between two cells of a room without walls inside."""
    return abs(first % side - second % side) + abs(first // side - second // side)


@register_jitable
def heading(side, cell, target):
    """The direction of a shortest path, along the row first; ``STAY`` on the target itself."""
    if target % side != cell % side:
        return RIGHT if target % side > cell % side else LEFT
    if target // side != cell // side:
        return DOWN if target // side > cell // side else UP
    return STAY


@register_jitable
def neighbour(settings, level, cell, direction):
    """The cell that a direction leads to; the same cell at a wall."""
    side, low, high = settings.side, settings.low[level], settings.high[level]
    x = min(max(cell % side + (direction == RIGHT) - (direction == LEFT), low), high)
    y = min(max(cell // side + (direction == DOWN) - (direction == UP), low), high)
    return y * side + x


@register_jitable
def forget(settings, searched, place, may, i):
    """Begin a lifetime: nothing is known but the family's rules."""
    start = settings.start * settings.side + settings.start
    searched[i] = 0
    searched[i, KEY, start] = 1
    searched[i, SECOND_KEY, start] = 1
    place[i] = UNKNOWN
    may[i] = 1


@register_jitable
def same_direction(settings, first, second):
    """Whether two cells lie in the same direction from the start."""
    side, start = settings.side, settings.start
    return np.sign(first % side - start) == np.sign(second % side - start) and np.sign(
        first // side - start
    ) == np.sign(second // side - start)


@register_jitable
def rule_out(searched, place, i, thing, cell):
    """Nothing here: note it, and if it was remembered here, begin its search anew."""
    if place[i, thing] == cell:
        place[i, thing] = UNKNOWN
        searched[i, thing] = 0
    searched[i, thing, cell] = 1


@register_jitable
def remember(settings, searched, place, i, thing, cell):
    """Found; the two goals lie in the same direction, the goal of the whole room and the keys in different cells."""
    place[i, thing] = cell
    other = GOAL if thing == INNER_GOAL else INNER_GOAL
    if (thing == INNER_GOAL or thing == GOAL) and place[i, other] == UNKNOWN:
        for there in range(settings.side * settings.side):
            if not same_direction(settings, there, cell):
                searched[i, other, there] = 1
    if thing != INNER_GOAL:
        for other in range(GOAL, SECOND_KEY + 1):
            if other != thing:
                rule_out(searched, place, i, other, cell)


@register_jitable
def learn_moves(settings, may, i, level, action, cell, landing):
    """Rule out what a move cannot mean (``may[i, action, direction]``); begin anew where nothing is left."""
    for _attempt in range(2):
        for direction in range(4):
            if neighbour(settings, level, cell, direction) != landing:
                may[i, action, direction] = 0
        consistent = True
        for _round in range(3):
            for first in range(4):
                meanings = 0
                meaning = 0
                for direction in range(4):
                    if may[i, first, direction]:
                        meanings += 1
                        meaning = direction
                if meanings == 0:
                    consistent = False
                elif meanings == 1:
                    for other in range(4):
                        if other != first:
                            may[i, other, meaning] = 0
        if consistent:
            return
        may[i] = 1


@register_jitable
def learn(settings, searched, place, may, i, level, action, cell, carried, landing, carried_now, reward):
    """What one step showed."""
    if settings.swapped[level] and action != STAY:
        learn_moves(settings, may, i, level, action, cell, landing)
    keys = settings.keys[level]
    if keys == 0:
        thing = INNER_GOAL if settings.inside[level] else GOAL
        if reward > 0.5:
            remember(settings, searched, place, i, thing, landing)
        else:
            rule_out(searched, place, i, thing, landing)
        return
    if carried == (1 << keys) - 1:
        if reward > 0.5:
            remember(settings, searched, place, i, GOAL, landing)
        else:
            rule_out(searched, place, i, GOAL, landing)
        return
    for k in range(keys):
        if not (carried >> k) & 1:
            if (carried_now >> k) & 1:
                remember(settings, searched, place, i, KEY + k, landing)
            else:
                rule_out(searched, place, i, KEY + k, landing)


@register_jitable
def wanted(searched, i, things, cell):
    """Whether a cell has yet to be searched for one of the things (a set of bits)."""
    for thing in range(4):
        if (things >> thing) & 1 and not searched[i, thing, cell]:
            return True
    return False


@register_jitable
def towards(settings, searched, i, level, cell, target, things):
    """The direction of a shortest path, over cells yet to be searched where there is a choice."""
    side = settings.side
    direction = heading(side, cell, target)
    if (direction == RIGHT or direction == LEFT) and cell // side != target // side:
        other = DOWN if target // side > cell // side else UP
        if not wanted(searched, i, things, neighbour(settings, level, cell, direction)) and wanted(
            searched, i, things, neighbour(settings, level, cell, other)
        ):
            return other
    return direction


@register_jitable
def sweep(settings, horizons, routes, searched, last, i, level, cell, things, door):
    """The direction in which to search on for things.

    Along a planned route, else to the nearest unsearched cell. Where the door is known (``door`` >= 0) and it is a key
    that is looked for, the cells far from the door come first, and those from which it is too far come last: an
    episode's search then ends near the door, in time to open it.
    """
    side, horizon = settings.side, horizons[level]
    time = last[i, TIME]
    if time == 0 and door < 0:
        # Every episode takes the route with the most left to search.
        most = 0
        for r in range(routes.shape[1]):
            if routes[level, r, 0] < 0:
                break
            count = 0
            for t in range(horizon):
                if wanted(searched, i, things, routes[level, r, t]):
                    count += 1
            if count > most:
                most = count
                last[i, ROUTE] = r
        if 3 * most < horizon:
            last[i, ROUTE] = UNKNOWN  # too little is left for a tour: from cell to cell is shorter
    route = last[i, ROUTE]
    if route >= 0 and time < horizon:
        on_route = time == 0 or routes[level, route, time - 1] == cell
        if on_route:
            for t in range(time, horizon):
                if wanted(searched, i, things, routes[level, route, t]):
                    return heading(side, cell, routes[level, route, time])
        last[i, ROUTE] = -1
    target = -1
    least = 1 << 30
    for _attempt in range(2):
        for y in range(settings.low[level], settings.high[level] + 1):
            for x in range(settings.low[level], settings.high[level] + 1):
                there = y * side + x
                if not wanted(searched, i, things, there):
                    continue
                # The nearest; among equals the one with the fewest ways out, so that none is left alone.
                away = distance(side, cell, there)
                cost = 8 * away
                for direction in range(4):
                    beside = neighbour(settings, level, there, direction)
                    cost += beside != there and wanted(searched, i, things, beside)
                if door >= 0:
                    home = distance(side, there, door)
                    cost -= home
                    if time + away + home > horizon:
                        cost += TOO_FAR
                if cost < least:
                    least = cost
                    target = there
        if target >= 0:
            return towards(settings, searched, i, level, cell, target, things)
        # Everything is ruled out: something was believed wrongly. Begin the search anew.
        for thing in range(4):
            if (things >> thing) & 1:
                searched[i, thing] = 0
    return STAY


@register_jitable
def choose(settings, horizons, routes, searched, place, last, i, level, cell, carried):
    """The direction to go in."""
    keys = settings.keys[level]
    if keys == 0:
        thing = INNER_GOAL if settings.inside[level] else GOAL
        if place[i, thing] >= 0:
            return heading(settings.side, cell, place[i, thing])
        return sweep(settings, horizons, routes, searched, last, i, level, cell, 1 << thing, UNKNOWN)
    known = -1
    things = 0
    for k in range(keys):
        if not (carried >> k) & 1:
            if place[i, KEY + k] < 0:
                things |= 1 << (KEY + k)
            elif known < 0:
                known = place[i, KEY + k]
            else:
                # Both are known and missing: the shorter order, with the way to the door where that is known.
                side, second, door = settings.side, place[i, KEY + k], place[i, GOAL]
                forwards, backwards = distance(side, cell, known), distance(side, cell, second)
                if door >= 0:
                    forwards += distance(side, second, door)
                    backwards += distance(side, known, door)
                if backwards < forwards:
                    known = second
    if known >= 0:
        return towards(settings, searched, i, level, cell, known, things)
    door = place[i, GOAL]
    if things == 0:
        if door >= 0:
            return heading(settings.side, cell, door)
        things = 1 << GOAL
    return sweep(settings, horizons, routes, searched, last, i, level, cell, things, door)


@register_jitable
def move_for(may, i, direction):
    """The move that goes, or most probably goes, in a direction."""
    best = direction
    fewest = 5
    for action in range(4):
        if may[i, action, direction]:
            meanings = 0
            for other in range(4):
                meanings += may[i, action, other]
            if meanings < fewest:
                fewest = meanings
                best = action
    return best


@register_jitable
def read(settings, row, at, at_keys):
    """Cell and carried keys as an observation row shows them, its family part beginning at column ``at``."""
    side = settings.side
    x = 0
    y = 0
    for k in range(side):
        if row[at + k] > 0.5:
            x = k
        if row[at + side + k] > 0.5:
            y = k
    carried = 0
    if at_keys >= 0:
        carried = int(row[at + at_keys] > 0.5) + 2 * int(row[at + at_keys + 1] > 0.5)
    return y * side + x, carried


@kernel
def act_all(settings, horizons, columns, observations, fresh, routes, searched, place, may, last, actions):
    """Learn from the last step and choose the next, one lifetime after another."""
    at_keys, at_reward, at_start, at_level, at_final = columns[0], columns[1], columns[2], columns[3], columns[4]
    for i in range(len(fresh)):
        row = observations[i]
        level = 0
        if at_level >= 0:
            for k in range(len(horizons)):
                if row[at_level + k] > 0.5:
                    level = k
        cell, carried = read(settings, row, 0, at_keys)
        begins = row[at_start] > 0.5
        if fresh[i]:
            forget(settings, searched, place, may, i)
        else:
            landing, carried_now = cell, carried
            if begins:
                landing, carried_now = read(settings, row, at_final, at_keys)
            learn(
                settings,
                searched,
                place,
                may,
                i,
                last[i, LEVEL],
                last[i, ACTION],
                last[i, CELL],
                last[i, CARRIED],
                landing,
                carried_now,
                row[at_reward],
            )
        if fresh[i] or begins:
            last[i, TIME] = 0
            last[i, ROUTE] = -1
        direction = choose(settings, horizons, routes, searched, place, last, i, level, cell, carried)
        action = direction
        if settings.swapped[level] and direction != STAY:
            action = move_for(may, i, direction)
        last[i, CELL] = cell
        last[i, ACTION] = action
        last[i, LEVEL] = level
        last[i, CARRIED] = carried
        last[i, TIME] += 1
        actions[i] = action


class RoomSweep:
    """Sweeps the cells it has not ruled out, goes straight to what it has found, and keeps both for a lifetime.

    It searches along planned routes (`plan_routes`), and from anywhere else to the nearest cell left. What an
    earlier level showed counts in later ones: the goal of the whole room is the door, and the first key stays. At
    the top level it finds out what the moves do by what they did. Where the world contradicts it (nothing lies where
    something was remembered, or every cell is ruled out) it forgets that belief and searches anew. It has no
    randomness.
    """

    name = "room-sweep"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is DarkRoom, with the extras shown that the learner reads."""
        needed = ["previous_reward", "episode_start", "final_observation"] + ["level"] * (len(spec.levels) > 1)
        return spec.family == "DarkRoom" and all(name in spec.layout for name in needed)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        settings, layout, n = spec.constants, spec.layout, len(seeds)
        self._settings, self._layout = settings, layout
        self._horizons = np.array([level.horizon for level in spec.levels], dtype=np.int64)
        names = ("keys", "previous_reward", "episode_start", "level", "final_observation")
        self._columns = np.array([layout.start(name) for name in names], dtype=np.int64)
        side = int(settings.side)
        plans = [
            routes_at(spec, level, max([stage.episodes for stage in spec.course.stages if stage.level == level] or [1]))
            for level in range(len(spec.levels))
        ]
        self._routes = np.full(
            (len(plans), max(len(plan) for plan in plans), max(plan.shape[1] for plan in plans)), -1, dtype=np.int64
        )
        for level, plan in enumerate(plans):
            self._routes[level, : len(plan), : plan.shape[1]] = plan
        self._searched = np.zeros((n, 4, side * side), dtype=np.uint8)
        self._place = np.full((n, 4), UNKNOWN, dtype=np.int64)
        self._may = np.ones((n, 4, 4), dtype=np.uint8)
        self._last = np.zeros((n, 6), dtype=np.int64)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        self._last[:, ACTION] = self._layout.last_actions(observations, self._last[:, ACTION])
        act_all(
            self._settings,
            self._horizons,
            self._columns,
            observations,
            fresh,
            self._routes,
            self._searched,
            self._place,
            self._may,
            self._last,
            actions,
        )
        return actions


class RoomTour:
    """Takes the same tour in every episode, by the time alone, and stays where a goal pays: no memory at all.

    The tour is the sweep's first planned route: of all tours none passes more cells in time. With swapped moves it
    does what it can, which is little.
    """

    name = "room-tour"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is DarkRoom, with the extras shown that the tour needs."""
        needed = ["previous_reward", "time"] + ["level"] * (len(spec.levels) > 1)
        return spec.family == "DarkRoom" and all(name in spec.layout for name in needed)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._spec = spec
        self._side = int(spec.constants.side)
        self._routes = [routes_at(spec, level, 1)[0] for level in range(len(spec.levels))]

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        layout, side = self._spec.layout, self._side
        x = observations[:, layout["x"]].argmax(axis=1)
        y = observations[:, layout["y"]].argmax(axis=1)
        level = observations[:, layout["level"]].argmax(axis=1) if "level" in layout else np.zeros(len(x), np.int64)
        rewards, times = observations[:, layout.start("previous_reward")], observations[:, layout.start("time")]
        actions = np.full(len(x), STAY, dtype=np.int64)
        for k, description in enumerate(self._spec.levels):
            here = level == k
            time = np.rint(times[here] * description.horizon).astype(np.int64)
            target = self._routes[k][np.minimum(time, description.horizon - 1)]
            across, down = target % side - x[here], target // side - y[here]
            moves = np.where(
                across > 0, RIGHT, np.where(across < 0, LEFT, np.where(down > 0, DOWN, np.where(down < 0, UP, STAY)))
            )
            found = (rewards[here] > 0.5) & (time > 0) & (self._spec.constants.keys[k] == 0)
            actions[here] = np.where(found, STAY, moves)
        return actions


__all__ = ["RoomSweep", "RoomTour", "plan_routes"]
