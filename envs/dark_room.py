"""DarkRoom: find what cannot be seen, and go straight there from then on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.checks import check_integer
from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import integer

UP, RIGHT, DOWN, LEFT, STAY = range(5)
MOVES = ("up", "right", "down", "left")
ACTIONS = (*MOVES, "stay")
STEPS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # (columns, rows) of each move
LEVEL_NAMES = ("inner room", "whole room", "key and door", "two keys, moves swapped")
FIRST_KEY, SECOND_KEY = 1, 2  # bits of ``state.carried``

# Settings of published rooms, as in `gymnasium.make_vec("daytwo/DarkRoom-v0", num_envs=64, **DPT_ROOM)`.
DPT_ROOM: dict[str, Any] = {"kind": "room", "size": 10, "horizon": 100, "start": "corner"}
VARIBAD_GRID: dict[str, Any] = {
    "kind": "room",
    "size": 5,
    "horizon": 15,
    "start": "corner",
    "goals": "distant",
    "outside": -0.1,
}


@register_jitable
def draw_beside(settings, stream, i, place):
    """A column (or row) of the inner room on the same side of the start as ``place``, uniform."""
    start = settings.start
    if place > start:
        return start + 1 + integer(stream, i, settings.high[0] - start)
    if place < start:
        return settings.low[0] + integer(stream, i, start - settings.low[0])
    return start


@register_jitable
def draw(settings, task, stream, i):
    size = settings.side
    start = settings.start * size + settings.start
    goal = integer(stream, i, size * size)
    while settings.distant and abs(goal % size - settings.start) <= 1 and abs(goal // size - settings.start) <= 1:
        goal = integer(stream, i, size * size)
    task.goal[i] = goal
    for k in range(4):
        task.moves[i, k] = k
    if settings.single:
        task.inner_goal[i] = -1
        task.key[i] = -1
        task.second_key[i] = -1
        return
    x = draw_beside(settings, stream, i, goal % size)
    task.inner_goal[i] = draw_beside(settings, stream, i, goal // size) * size + x
    key = goal
    while key == goal or key == start:
        key = integer(stream, i, size * size)
    second = goal
    while second == goal or second == start or second == key:
        second = integer(stream, i, size * size)
    task.key[i] = key
    task.second_key[i] = second
    for k in range(3, 0, -1):
        j = integer(stream, i, k + 1)
        kept = task.moves[i, k]
        task.moves[i, k] = task.moves[i, j]
        task.moves[i, j] = kept


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.x[i] = settings.start
    state.y[i] = settings.start
    state.carried[i] = 0


@register_jitable
def step(settings, task, state, level, stream, i, action):
    direction = action
    if settings.swapped[level] and action != STAY:
        direction = task.moves[i, action]
    low, high = settings.low[level], settings.high[level]
    # Without branches: which way an agent goes is hard to predict, for a processor too.
    x = min(max(state.x[i] + (direction == RIGHT) - (direction == LEFT), low), high)
    y = min(max(state.y[i] + (direction == DOWN) - (direction == UP), low), high)
    state.x[i] = x
    state.y[i] = y
    cell = y * settings.side + x
    keys = settings.keys[level]
    if keys == 0:
        goal = task.inner_goal[i] if settings.inside[level] else task.goal[i]
        return (1.0 if cell == goal else settings.outside), False
    carried = state.carried[i]
    if cell == task.key[i] and carried & FIRST_KEY == 0:
        state.carried[i] = carried | FIRST_KEY
        return 1.0, False
    if keys == 2 and cell == task.second_key[i] and carried & SECOND_KEY == 0:
        state.carried[i] = carried | SECOND_KEY
        return 1.0, False
    if cell == task.goal[i] and carried == (1 << keys) - 1:
        return 1.0, True
    return 0.0, False


@register_jitable
def observe(settings, task, state, level, i, out):
    size = settings.side
    out[state.x[i]] = 1.0
    out[size + state.y[i]] = 1.0
    if not settings.single:
        if state.carried[i] & FIRST_KEY:
            out[2 * size] = 1.0
        if state.carried[i] & SECOND_KEY:
            out[2 * size + 1] = 1.0


@register_jitable
def distance(size, first, second):
    """Steps between two cells of a room without walls inside."""
    return abs(first % size - second % size) + abs(first // size - second // size)


@register_jitable
def heading(size, cell, target):
    """The direction of a shortest path, along the row first: one tie-break, so that imitators see one teacher."""
    if target % size > cell % size:
        return RIGHT
    if target % size < cell % size:
        return LEFT
    if target // size > cell // size:
        return DOWN
    if target // size < cell // size:
        return UP
    return STAY


@register_jitable
def oracle(settings, task, state, level, i):
    size = settings.side
    cell = state.y[i] * size + state.x[i]
    keys = settings.keys[level]
    if keys == 0:
        target = task.inner_goal[i] if settings.inside[level] else task.goal[i]
    else:
        first_missing = state.carried[i] & FIRST_KEY == 0
        second_missing = keys == 2 and state.carried[i] & SECOND_KEY == 0
        key, second, door = task.key[i], task.second_key[i], task.goal[i]
        if first_missing and second_missing:
            # Either order; the way between the keys is common to both.
            forwards = distance(size, cell, key) + distance(size, second, door)
            backwards = distance(size, cell, second) + distance(size, key, door)
            target = key if forwards <= backwards else second
        elif first_missing:
            target = key
        elif second_missing:
            target = second
        else:
            target = door
    direction = heading(size, cell, target)
    if direction != STAY and settings.swapped[level]:
        for action in range(4):
            if task.moves[i, action] == direction:
                return action
    return direction


class DarkRoom(TaskFamily):
    """A dark room in which the agent knows where it stands and nothing else.

    What it tests:
        Exploration without hints (nothing but reward tells where things are), memory of what was found and of what
        was ruled out, navigation; at the top level also finding out what one's own moves do.
    Task:
        ``goal``: a cell of the whole room, uniform over all of them; from level 2 on it is the ``door``.
        ``inner_goal``: a cell of the inner room, uniform over those in the same direction from the start, that is, as
        much up or down and left or right as the goal is (to one side, to the other, or neither). ``key`` and
        ``second_key``: uniform cells such that start, goal and both keys differ (the goal alone may be the start).
        ``moves``: a uniform permutation of the four moves, in force at the top level only. Cells are numbered row by
        row, ``y * size + x``.
    Episode:
        Starts at the centre without keys, and lasts for the level's horizon; opening the door ends it.
    Observation:
        ``x`` and ``y``, one-hot over the columns and rows of the whole room (also inside the inner room), and
        ``keys``: whether the first and the second key are carried (``kind="levels"`` only). Walls are felt by not
        moving.
    Action:
        ``Discrete(5)``: up, right, down, left, stay. Walking into a wall leaves the agent where it is.
    Reward:
        Levels 0 and 1: 1 on every step that ends on the goal, else ``outside`` (0). Levels 2 and 3: 1 once per key,
        then 1 for reaching the door with all of the level's keys; without them the door cannot be told from floor.
    Levels:
        (0) the inner room (5x5), 12 steps; (1) the whole room (9x9), 20 steps, Algorithm Distillation's Dark Room, with
        the goal in the same direction as that of the inner room;
        (2) one key, then the door at the goal of level 1, 30 steps; (3) two keys, in any order, then the same door,
        45 steps, with the four moves permuted. The first key is that of level 2. ``kind="room"`` is level 1 alone,
        for rooms as published elsewhere.
    Oracle:
        A shortest path, along the row first, the keys in the shorter order. Its mean return is exact by enumeration
        (`exact_oracle_return`): 16.543 at level 1, and all there is, 2 and 3, at levels 2 and 3.
    Reference learner:
        ``room-sweep``: sweeps what it has not ruled out by planned routes, goes straight to what it has found, and
        works out what the moves do from what they did.
    Reactive agent:
        ``room-tour``: the same tour every episode, by the time alone, until a goal pays.
    Source:
        Laskin et al. 2022 (Algorithm Distillation, arXiv 2210.14215), section 4: Dark Room and Dark Key-to-Door. Lee et
        al. 2023 (DPT, arXiv 2306.14892), section 5: `DPT_ROOM`, whose mean optimum is 91.99 with the goal uniform
        over all 100 cells, the start among them, and paid after each of the 100 moves spent on it. Zintgraf et al.
        2020 (VariBAD, arXiv 1910.08348), section 5.1: `VARIBAD_GRID`, whose mean optimum is 11.071 with the goal
        uniform over the 21 cells outside the 2x2 block in the start's corner (its protocol:
        ``episodes=4``, and ``split="all"``, the only one that 21 tasks offer).
    """

    name = "DarkRoom"
    tags = ("exploration", "memory", "navigation")
    reference = "room-sweep"
    reactive = "room-tour"
    harder = {"horizon": (9, 16, 26, 40)}
    split_fields = ("goal",)
    # An episode's last cell is otherwise never seen, and with it whether it held anything.
    show = ("previous_action", "previous_reward", "episode_start", "time", "level", "final_observation")
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)

    def __init__(
        self,
        *,
        kind: str = "levels",
        size: int = 9,
        inner: int = 5,
        horizon: int | Sequence[int] | None = None,
        start: str = "centre",
        goals: str = "all",
        outside: float = 0.0,
    ) -> None:
        """Set the rooms.

        Args:
            kind: ``levels`` (the four levels) or ``room`` (a single room with a goal).
            size: side of the whole room in cells, 3 to 50; at least ``inner`` for ``levels``.
            inner: side of the inner room, 3 to ``size`` (``levels`` only).
            horizon: steps per episode: four numbers for ``levels`` (by default a half of the inner room's cells,
                and a quarter, three eighths and five ninths of the whole room's: 12, 20, 30, 45; more where the
                room is so small that the longest errand would not fit), one for ``room`` (a quarter of its cells).
                Levels 2 and 3 need enough for the longest errand.
            start: ``centre`` or ``corner`` (the top left cell, with the inner room there too).
            goals: ``all`` cells, or ``distant``: those more than one row or column away from the start
                (``room`` only).
            outside: reward of a step that does not end on the goal, in [-1, 0] (``room`` only).

        Raises:
            ValueError: a value out of range, or settings that do not go together.
        """
        if kind not in ("levels", "room"):
            raise ValueError(f"kind must be 'levels' or 'room', received {kind!r}.")
        if start not in ("centre", "corner"):
            raise ValueError(f"start must be 'centre' or 'corner', received {start!r}.")
        if goals not in ("all", "distant"):
            raise ValueError(f"goals must be 'all' or 'distant', received {goals!r}.")
        single = kind == "room"
        size = check_integer("size", size, 3, 50)
        inner = check_integer("inner", inner, 3, 50)
        if not single and inner > size:
            raise ValueError(f"inner must be at most size ({size}), received {inner}.")
        if isinstance(outside, bool) or not isinstance(outside, int | float) or not -1.0 <= outside <= 0.0:
            raise ValueError(f"outside must be a number in [-1, 0], received {outside!r}.")
        if not single and (goals != "all" or outside != 0.0):
            raise ValueError(f"goals={goals!r} and outside={outside!r} go with kind='room', received kind='levels'.")
        at = size // 2 if start == "centre" else 0
        if goals == "distant" and max(at, size - 1 - at) < 2:
            raise ValueError(f"goals='distant' leaves no goal in a room of size={size} with start={start!r}.")
        # The longest errand: from the start to a far corner, and from corner to opposite corner for each thing more.
        far, across = 2 * max(at, size - 1 - at), 2 * (size - 1)
        least = [1] if single else [1, 1, far + across, far + 2 * across]
        if horizon is None:
            cells = size * size
            usual = [inner * inner // 2, cells // 4, 3 * cells // 8, 5 * cells // 9][1 if single else 0 :]
            horizons = [max(steps, 1, needed) for steps, needed in zip(usual, least, strict=False)]
        else:
            given = [horizon] if isinstance(horizon, int | np.integer) else list(horizon)
            if len(given) != len(least):
                raise ValueError(f"kind={kind!r} takes {len(least)} horizon(s), received {horizon!r}.")
            horizons = [
                check_integer(f"horizon of level {level}", steps, needed, 100_000)
                for level, (steps, needed) in enumerate(zip(given, least, strict=True))
            ]
        corner = at - inner // 2 if start == "centre" else 0
        rooms = [(0, size - 1)] * 4 if single else [(corner, corner + inner - 1)] + [(0, size - 1)] * 3
        self.size, self.single, self.start = size, single, at * size + at
        self.kept_clear = 1 if goals == "distant" else -1
        names = ("room",) if single else LEVEL_NAMES
        super().__init__(
            keywords={
                "kind": kind,
                "size": size,
                "inner": inner,
                "horizon": horizons[0] if single else tuple(horizons),
                "start": start,
                "goals": goals,
                "outside": float(outside),
            },
            # Always four levels long, so that all settings share one compiled loop.
            settings={
                "side": size,
                "inner": inner,
                "start": at,
                "single": int(single),
                "distant": int(goals == "distant"),
                "outside": float(outside),
                "low": [low for low, _ in rooms],
                "high": [high for _, high in rooms],
                "inside": [int(not single), 0, 0, 0],
                "keys": [0, 0, 0 if single else 1, 0 if single else 2],
                "swapped": [0, 0, 0, int(not single)],
            },
            task=[("goal", "i2"), ("inner_goal", "i2"), ("key", "i2"), ("second_key", "i2"), ("moves", "i2", (4,))],
            state=[("x", "i2"), ("y", "i2"), ("carried", "i2")],
            levels=[Level(name, steps) for name, steps in zip(names, horizons, strict=True)],
            actions=spaces.Discrete(5),
            fields=[Field("x", size), Field("y", size)] + ([] if single else [Field("keys", 2)]),
            reward_range=(float(outside), 1.0),
            # Tasks count as different by their goals: the goal is what splits keep apart.
            distinct_tasks=len(self._cells(0)) if single else size * size,
            action_names=ACTIONS,
        )

    def _cells(self, level: int) -> np.ndarray:
        """The cells that the goal of level 0 or 1 (or of the single room) may be, ``int64[cells]``."""
        cells = np.arange(self.size * self.size)
        x, y = cells % self.size, cells // self.size
        if not self.single:
            low, high = self.settings.low[0, level], self.settings.high[0, level]
            return cells[(x >= low) & (x <= high) & (y >= low) & (y <= high)]
        away = np.maximum(abs(x - self.start % self.size), abs(y - self.start // self.size))
        return cells[away > self.kept_clear]

    def _direction(self, cell: int) -> tuple[int, int]:
        """Whether a cell lies left or right (-1, 1) and up or down (-1, 1) of the start; 0 where neither."""
        across, down = cell % self.size - self.start % self.size, cell // self.size - self.start // self.size
        return int(np.sign(across)), int(np.sign(down))

    def exact_oracle_return(self, level: int) -> float:
        """The oracle's mean episode return, by enumeration over the goals.

        Args:
            level: index of the level.
        """
        steps = self.levels[level].horizon
        if int(self.settings.keys[0, level]):
            return float(self.settings.keys[0, level]) + 1.0  # the horizon always suffices: see the constructor
        goals = self._cells(level)
        x, y = goals % self.size - self.start % self.size, goals // self.size - self.start // self.size
        weights = np.ones(len(goals))
        if self.settings.inside[0, level]:
            weights = self._weights_of_sides(x) * self._weights_of_sides(y)
        # Paid after the move, hence from the step that arrives; on the start itself from the first step on.
        unpaid = np.minimum(np.maximum(abs(x) + abs(y) - 1, 0), steps)
        return float(np.average((steps - unpaid) + self.keywords["outside"] * unpaid, weights=weights))

    def _weights_of_sides(self, offsets: np.ndarray) -> np.ndarray:
        """How likely the inner goal is this far from the start: as the goal is to be on that side, shared evenly."""
        whole = np.sign(np.arange(self.size) - self.start % self.size)
        inner = np.sign(np.arange(self.settings.low[0, 0], self.settings.high[0, 0] + 1) - self.start % self.size)
        sides = np.sign(offsets)
        return np.array([(whole == side).sum() / (inner == side).sum() for side in sides])

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw."""
        task = super().task_from_dict(values)
        row = task[0]
        cells = [int(row[name]) for name in ("goal", "key", "second_key")]
        if int(row["goal"]) not in self._cells(0 if self.single else 1):
            raise ValueError(f"goal must be a cell that these settings allow, received {row['goal']}.")
        if sorted(row["moves"].tolist()) != [0, 1, 2, 3]:
            raise ValueError(f"moves must be a permutation of 0, 1, 2, 3; received {row['moves'].tolist()}.")
        if not self.single:
            inner = int(row["inner_goal"])
            if inner not in self._cells(0):
                raise ValueError(f"inner_goal must be a cell of the inner room, received {inner}.")
            if self._direction(inner) != self._direction(int(row["goal"])):
                raise ValueError(
                    f"inner_goal must lie in the same direction from the start as goal={row['goal']}, received {inner}."
                )
            if len(set(cells)) < 3 or self.start in cells[1:] or not all(0 <= c < self.size**2 for c in cells):
                raise ValueError(
                    f"goal, key, second_key must be different cells in 0..{self.size**2 - 1}, and neither key at the "
                    f"start ({self.start}); received {cells}."
                )
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def _room(self, level: int) -> tuple[int, int]:
        """First and last column (and row) of the level's room."""
        return int(self.settings.low[0, level]), int(self.settings.high[0, level])

    def _things(self, scene: Scene) -> dict[int, str]:
        """What lies in which cell: goal, door, key or second key (those not picked up yet)."""
        task, keys = scene.task, int(self.settings.keys[0, scene.level])
        if not keys:
            inside = self.settings.inside[0, scene.level]
            return {int(task["inner_goal"] if inside else task["goal"]): "goal"}
        things = {int(task["goal"]): "door"}
        if not scene.state["carried"] & FIRST_KEY:
            things[int(task["key"])] = "key"
        if keys == 2 and not scene.state["carried"] & SECOND_KEY:
            things[int(task["second_key"])] = "second key"
        return things

    def _caption(self, scene: Scene) -> list[str]:
        level = self.levels[scene.level]
        lines = [
            f"DarkRoom, level {scene.level}: {level.name}",
            f"step {scene.time} of {level.horizon}   return {scene.total:g}   bar {scene.bar:.2f}",
        ]
        if int(self.settings.keys[0, scene.level]):
            lines.append(f"carrying: {_carried(int(scene.state['carried']))}")
        if scene.reveal and int(self.settings.swapped[0, scene.level]):
            swapped = ", ".join(f"{MOVES[k]} goes {MOVES[int(scene.task['moves'][k])]}" for k in range(4))
            lines.append(swapped)
        return lines

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        low, high = self._room(level)
        side = high - low + 1
        where = f"a dark room of {side} by {side} cells, columns and rows {low} to {high}"
        steps = self.levels[level].horizon
        keys = int(self.settings.keys[0, level])
        rules = [
            f"You are in {where}. Each of the {steps} steps of an episode you move up, right, down or left, or stay."
        ]
        if keys == 0:
            paid = f", every other step {self.keywords['outside']:g}" if self.keywords["outside"] else ""
            rules.append(f"One cell, which you cannot see, is the goal: every step that ends on it pays 1{paid}.")
            if not self.single:
                rules.append(
                    "The goal of the inner room and that of the whole room lie in the same direction from you."
                )
            if self.kept_clear > 0:
                rules.append("It lies more than one row or one column away from your start.")
        else:
            if keys == 1:
                rules.append("A key lies in a cell you cannot see, and pays 1 when you step on it.")
            else:
                rules.append("Two keys lie in cells you cannot see, and each pays 1 when you step on it, in any order.")
            held = "it" if keys == 1 else "both"
            rules.append(f"With {held} in hand, the hidden door pays 1 and ends the episode.")
            rules.append("The door is where the goal of the whole room was.")
        if int(self.settings.swapped[0, level]):
            rules.append("The four moves may be swapped: each word moves you in one hidden direction, always the same.")
        rules.append("You always start in the same cell, and everything stays where it is from episode to episode.")
        return " ".join(rules)

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """Where the agent stands and what it carries, in plain words."""
        x, y = int(values[: self.size].argmax()), int(values[self.size : 2 * self.size].argmax())
        words = f"You are in column {x}, row {y} (counted from 0 at the top left)"
        if not int(self.settings.keys[0, level]):
            return words + "."
        carried = sum(bit for k, bit in enumerate((FIRST_KEY, SECOND_KEY)) if values[2 * self.size + k] > 0.5)
        return f"{words}, carrying {_carried(carried)}."

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: moves, whose directions are to be found out where they are renamed."""
        shown = (r" \(counted from 0 at the top left\)", "")
        if not rename:
            return Vocabulary(rewrites=(shown,), note="Columns and rows are counted from 0 at the top left.")
        return Vocabulary(
            (Symbols("move", ACTIONS),),
            rewrites=(
                shown,
                (
                    r"you move up, right, down or left, or stay\.",
                    "you choose one of five moves: four take you one cell on, each in a direction of its own, and one "
                    "leaves you where you are.",
                ),
                (
                    r"The four moves may be swapped: each word moves you in one hidden direction, always the same\.",
                    "The four moves may be swapped: their directions may be others than at the levels before.",
                ),
            ),
            note="Columns and rows are counted from 0.",
        )

    def render_ansi(self, scene: Scene) -> str:
        """The room as text: ``@`` is the agent, ``#`` is wall; hidden things only where revealed."""
        low, high = self._room(scene.level)
        letters = {"goal": "G", "door": "D", "key": "k", "second key": "K"}
        things = self._things(scene) if scene.reveal else {}
        rows = []
        for y in range(self.size):
            row = ""
            for x in range(self.size):
                inside = low <= x <= high and low <= y <= high
                mark = letters.get(things.get(y * self.size + x, ""), "." if inside else "#")
                here = x == scene.state["x"] and y == scene.state["y"]
                row += (f" @{mark}" if mark in letters.values() else " @ ") if here else f" {mark} "
            rows.append(f"|{row}|")
        edge = "+" + "-" * (3 * self.size) + "+"
        legend = "  ".join(["@ you"] + [f"{letters[thing]} {thing}" for thing in things.values()])
        return "\n".join([*self._caption(scene), edge, *rows, edge, legend])

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The room as an image, ``uint8[height, width, 3]``; hidden things only where revealed."""
        from daytwo.pictures import Canvas

        cell, edge = max(8, 400 // self.size), 12
        side, lines = cell * self.size, self._caption(scene)
        # The same size at every level, so that a lifetime's pictures make one film.
        canvas = Canvas(max(side, 400) + 2 * edge, side + 2 * edge + (46 if self.single else 86))
        canvas.rectangle(edge - 4, edge - 4, edge + side + 4, edge + side + 4, fill="wall", radius=4)
        low, high = self._room(scene.level)
        for y in range(low, high + 1):
            for x in range(low, high + 1):
                left, top = edge + x * cell, edge + y * cell
                canvas.rectangle(left + 1, top + 1, left + cell - 1, top + cell - 1, fill="floor", radius=2)
        for place, thing in (self._things(scene) if scene.reveal else {}).items():
            left, top = edge + place % self.size * cell, edge + place // self.size * cell
            _draw_thing(canvas, thing, left, top, cell)
        x, y = edge + (scene.state["x"] + 0.5) * cell, edge + (scene.state["y"] + 0.5) * cell
        canvas.circle(x, y, cell * 0.3, fill="agent", outline="paper", width=2)
        for k, line in enumerate(lines):
            canvas.text(edge, side + 2 * edge + 20 * k, line, size=14)
        return canvas.array()


def _carried(bits: int) -> str:
    return ("nothing", "the first key", "the second key", "both keys")[bits]


def _draw_thing(canvas: Any, thing: str, left: float, top: float, cell: int) -> None:
    """Draw a goal (a frame with a disc), a door (with its knob) or a key into a cell."""
    x, y = left + cell / 2, top + cell / 2
    if thing == "goal":
        canvas.rectangle(left + 1, top + 1, left + cell - 1, top + cell - 1, fill="goal", radius=2)
        canvas.circle(x, y, cell * 0.38, outline="paper", width=2)
    elif thing == "door":
        canvas.rectangle(left + cell * 0.18, top + 1, left + cell * 0.82, top + cell - 1, fill="door", outline="ink")
        canvas.circle(left + cell * 0.7, y, cell * 0.06, fill="ink")
    else:
        paint = "key" if thing == "key" else "red"
        canvas.line(x, top + cell * 0.4, x, top + cell * 0.9, colour=paint, width=max(2, cell * 0.1))
        canvas.line(x, top + cell * 0.82, x + cell * 0.2, top + cell * 0.82, colour=paint, width=max(2, cell * 0.1))
        canvas.circle(x, top + cell * 0.28, cell * 0.17, outline=paint, width=max(2, cell * 0.1))


__all__ = ["DPT_ROOM", "VARIBAD_GRID", "DarkRoom"]
