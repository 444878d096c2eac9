"""PointRobot: goals that cannot be seen, in an order to be found out, driven with motors that must be identified."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.checks import check_choice, check_integer, check_integers, check_number, check_numbers
from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import uniform

GOALS = 3
LEVEL_NAMES = ("one goal", "two goals in order", "three goals, hidden motors")
KINDS = ("levels", "single")
PLACES = ("half-circle", "square")
REWARDS = ("cone", "sparse", "distance", "squared")
CONE, SPARSE, DISTANCE, SQUARED = range(4)
LIMITS = ("length", "coordinates")
MOTORS = ("top", "known", "hidden")
COMPASS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")
_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
_NUMBERS = re.compile(rf"(?:push )?\(? ?{_NUMBER}(?: ?, ?| ){_NUMBER} ?\)?(?: \([a-z-]+\))?")
_DIRECTION = re.compile(r"(?:(\d+\.?\d*|\.\d+) )?([a-z]+(?:[- ][a-z]+)?)")
SQUARE = 0.5  # goals in the square have coordinates in [-0.5, 0.5]
# Later arrivals that the oracle weighs against the earliest one, and rounds of its estimate of the way onwards.
DELAYS = 5
ROUNDS = 4
SLACK = 1e-6  # by which the oracle keeps clear of the edge of a goal's disc: rounding must not make it miss
EXACT = 1e-6  # steps: a way of so many whole ones must not count as one more for rounding

# Settings of published tasks, as in `gymnasium.make_vec("daytwo/PointRobot-v0", num_envs=64, **PEARL_SPARSE)`.
MAML_2D: dict[str, Any] = {
    "kind": "single",
    "goals": "square",
    "pays": "distance",
    "horizon": 100,
    "limit": "coordinates",
    "finish": 0.01,
    "motors": "known",
}
PEARL_SPARSE: dict[str, Any] = {
    "kind": "single",
    "goals": "half-circle",
    "pays": "sparse",
    "horizon": 20,
    "limit": "coordinates",
    "motors": "known",
}


@register_jitable
def length(x, y):
    """Length of a vector; ``math.hypot`` rounds differently compiled and interpreted."""
    return math.sqrt(x * x + y * y)


@register_jitable
def draw(settings, task, stream, i):
    for k in range(GOALS):
        task.goals[i, k, 0] = 0.0
        task.goals[i, k, 1] = 0.0
    for k in range(settings.drawn):
        if settings.on_circle:
            angle = math.pi * uniform(stream, i)
            task.goals[i, k, 0] = math.cos(angle)
            task.goals[i, k, 1] = math.sin(angle)
        else:
            task.goals[i, k, 0] = SQUARE * (2.0 * uniform(stream, i) - 1.0)
            task.goals[i, k, 1] = SQUARE * (2.0 * uniform(stream, i) - 1.0)
    task.turn[i] = math.pi * (2.0 * uniform(stream, i) - 1.0)
    task.gain[i] = settings.gains[0] + (settings.gains[1] - settings.gains[0]) * uniform(stream, i)


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.x[i] = 0.0
    state.y[i] = 0.0
    state.goal[i] = 0
    state.command[i, 0] = 0.0
    state.command[i, 1] = 0.0
    # The motors, as a complex number that a command is multiplied by.
    if settings.hidden[level]:
        state.motor_x[i] = settings.stride * task.gain[i] * math.cos(task.turn[i])
        state.motor_y[i] = settings.stride * task.gain[i] * math.sin(task.turn[i])
    else:
        state.motor_x[i] = settings.stride
        state.motor_y[i] = 0.0


@register_jitable
def step(settings, task, state, level, stream, i, action):
    ax, ay = action[0], action[1]
    state.command[i, 0] = ax
    state.command[i, 1] = ay
    if settings.by_length:
        square = ax * ax + ay * ay
        if square > 1.0:
            shrink = 1.0 / math.sqrt(square)
            ax *= shrink
            ay *= shrink
    x = state.x[i] + state.motor_x[i] * ax - state.motor_y[i] * ay
    y = state.y[i] + state.motor_y[i] * ax + state.motor_x[i] * ay
    state.x[i] = x
    state.y[i] = y
    goal = state.goal[i]
    dx = x - task.goals[i, goal, 0]
    dy = y - task.goals[i, goal, 1]
    square = dx * dx + dy * dy
    if goal < settings.goals[level] - 1:
        if square > settings.radius * settings.radius:
            return 0.0, False
        state.goal[i] = goal + 1
        return 1.0, False
    ended = abs(dx) < settings.finish and abs(dy) < settings.finish
    if settings.pays >= DISTANCE:
        return (-math.sqrt(square) if settings.pays == DISTANCE else -square), ended
    if square > settings.radius * settings.radius:
        return 0.0, ended
    apart = math.sqrt(square)
    return (max(0.0, 1.0 - apart / settings.radius) if settings.pays == CONE else 1.0 - apart), ended


@register_jitable
def observe(settings, task, state, level, i, out):
    out[0] = state.x[i]
    out[1] = state.y[i]
    out[2] = state.command[i, 0]
    out[3] = state.command[i, 1]
    if settings.drawn > 1:
        out[4 + state.goal[i]] = 1.0


@register_jitable
def diagnose(settings, task, state, level, i, out):
    goal = state.goal[i]
    apart = length(state.x[i] - task.goals[i, goal, 0], state.y[i] - task.goals[i, goal, 1])
    out[0] = goal + (goal == settings.goals[level] - 1 and apart <= settings.radius)
    out[1] = apart


# --- the oracle: the quickest tour of discs in steps of limited length ------------------------------------------------


@register_jitable
def towards(x, y, goal_x, goal_y, most):
    """The point at most ``most`` away from (x, y) that is nearest to the goal."""
    dx, dy = goal_x - x, goal_y - y
    apart = math.sqrt(dx * dx + dy * dy)
    if apart <= most:
        return goal_x, goal_y
    return x + dx * (most / apart), y + dy * (most / apart)


@register_jitable
def nearest_common_point(ax, ay, a, bx, by, b, x, y):
    """The point nearest to (x, y) of all in both discs, around (ax, ay) with radius a and (bx, by) with radius b.

    The discs must meet.
    """
    px, py = towards(ax, ay, x, y, a)
    if length(px - bx, py - by) <= b:
        return px, py
    px, py = towards(bx, by, x, y, b)
    if length(px - ax, py - ay) <= a:
        return px, py
    # Neither disc's own nearest point is in the other: it is one of the two where the circles cross.
    dx, dy = bx - ax, by - ay
    apart = math.sqrt(dx * dx + dy * dy)
    if apart == 0.0:
        return px, py
    along = (apart * apart + a * a - b * b) / (2.0 * apart)
    across = math.sqrt(max(0.0, a * a - along * along))
    ux, uy = dx / apart, dy / apart
    fx, fy = ax + along * ux, ay + along * uy
    # Of the two, the one on the side of (x, y).
    side = across if (x - ax) * -uy + (y - ay) * ux > 0.0 else -across
    return fx - side * uy, fy + side * ux


@register_jitable
def shortfall(apart, stride, radius):
    """What the last goal fails to pay (of 1 a step) to a robot that goes straight to it from ``apart`` away."""
    missed = max(0.0, math.floor((apart - radius) / stride))
    total = missed
    left = apart - (missed + 1.0) * stride
    while left > 0.0:
        total += min(1.0, left / radius)
        left -= stride
    return total


@register_jitable
def turning_point(x, y, bx, by, radius, cx, cy):
    """Where the shortest way from (x, y) to (cx, cy) by way of the disc around (bx, by) touches that disc.

    On its edge the way is mirrored: the edge's normal halves the angle between the two parts.
    """
    dx, dy = cx - x, cy - y
    square = dx * dx + dy * dy
    along = 0.0
    if square > 0.0:
        along = min(max(((bx - x) * dx + (by - y) * dy) / square, 0.0), 1.0)
    px, py = x + along * dx, y + along * dy
    if length(px - bx, py - by) <= radius:
        return px, py
    for _round in range(ROUNDS):
        first = length(x - px, y - py)
        second = length(cx - px, cy - py)
        if first == 0.0 or second == 0.0:
            return px, py
        nx = (x - px) / first + (cx - px) / second
        ny = (y - py) / first + (cy - py) / second
        size = length(nx, ny)
        if size == 0.0:
            return px, py
        px, py = bx + radius * nx / size, by + radius * ny / size
    return px, py


@register_jitable
def last_leg(settings, task, i, stride, x, y, goal, radius):
    """From (x, y) through one disc to the last goal: the cost in steps and unpaid reward, and where to enter.

    Exact: every number of steps to the disc is tried in turn, and for each the entry that is nearest to the last goal.
    """
    bx, by = task.goals[i, goal, 0], task.goals[i, goal, 1]
    cx, cy = task.goals[i, goal + 1, 0], task.goals[i, goal + 1, 1]
    apart = length(bx - x, by - y)
    steps = max(1.0, math.ceil((apart - radius) / stride - EXACT))
    best, best_x, best_y = math.inf, bx, by
    for _delay in range(DELAYS):
        px, py = nearest_common_point(x, y, steps * stride, bx, by, radius, cx, cy)
        cost = steps + shortfall(length(cx - px, cy - py), stride, settings.radius)
        if cost < best:
            best, best_x, best_y = cost, px, py
        steps += 1.0
    return best, best_x, best_y


@register_jitable
def entry_point(settings, task, i, stride, x, y, goal, last):
    """Where to go from (x, y) on a tour through the discs of ``goal`` and those after it to the ``last`` goal."""
    radius = settings.radius - SLACK
    if goal + 1 == last:
        _, px, py = last_leg(settings, task, i, stride, x, y, goal, radius)
        return px, py
    # Three goals. A way of continuous length first, for where to head from the first disc; then whole steps. Where
    # discs overlap, that way may turn in both at once, which steps cannot: so other points are tried as well.
    bx, by = task.goals[i, goal, 0], task.goals[i, goal, 1]
    cx, cy = task.goals[i, goal + 1, 0], task.goals[i, goal + 1, 1]
    ex, ey = task.goals[i, last, 0], task.goals[i, last, 1]
    px, py = bx, by
    qx, qy = cx, cy
    for _round in range(ROUNDS):
        qx, qy = turning_point(px, py, cx, cy, radius, ex, ey)
        px, py = turning_point(x, y, bx, by, radius, qx, qy)
    best, best_x, best_y = math.inf, bx, by
    for ahead in range(5):
        if ahead == 1:
            qx, qy = cx, cy
        elif ahead == 2:
            qx, qy = towards(cx, cy, ex, ey, radius)
        elif ahead == 3:
            qx, qy = ex, ey
        elif ahead == 4:
            qx, qy = towards(cx, cy, x, y, radius)
        steps = max(1.0, math.ceil((length(bx - x, by - y) - radius) / stride - EXACT))
        for _delay in range(DELAYS):
            px, py = nearest_common_point(x, y, steps * stride, bx, by, radius, qx, qy)
            cost, _, _ = last_leg(settings, task, i, stride, px, py, goal + 1, radius)
            if steps + cost < best:
                best, best_x, best_y = steps + cost, px, py
            steps += 1.0
    return best_x, best_y


@register_jitable
def oracle(settings, task, state, level, i, out):
    x, y = state.x[i], state.y[i]
    mx, my = state.motor_x[i], state.motor_y[i]
    square = mx * mx + my * my
    goal, last = state.goal[i], settings.goals[level] - 1
    target_x, target_y = task.goals[i, goal, 0], task.goals[i, goal, 1]
    if goal < last:
        target_x, target_y = entry_point(settings, task, i, math.sqrt(square), x, y, goal, last)
    dx, dy = target_x - x, target_y - y
    # The command whose outcome is (dx, dy), as far as the motors can.
    ax = (dx * mx + dy * my) / square
    ay = (dy * mx - dx * my) / square
    if settings.by_length:
        size = math.sqrt(ax * ax + ay * ay)
        if size > 1.0:
            ax /= size
            ay /= size
    out[0] = min(max(ax, -1.0), 1.0)
    out[1] = min(max(ay, -1.0), 1.0)


class PointRobot(TaskFamily):
    """A robot in the plane that knows where it is, but neither where its goals are nor how its motors are mounted.

    What it tests:
        Exploration in a continuous space with reward only nearby, memory of places, and system identification: at the
        top level a command moves the robot in another direction and farther or less far than elsewhere.
    Task:
        ``goals``: three points (x, y), each uniform on the upper half of the unit circle, in the order in which they
        count. ``turn``: an angle uniform in [-pi, pi), by which the motors turn every command. ``gain``: uniform in
        ``gains``, by which they lengthen it. The motors are in force at the top level only.
    Episode:
        Starts at the origin and lasts for the level's horizon. Goals count one after another: the first until it is
        visited, then the second, and so on; the last one counts to the end. A goal that is not the last is visited by
        a step that ends within ``radius`` of it.
    Observation:
        ``position``: x and y. ``command``: the action of the last step, zeros at an episode's start. ``goal``:
        which goal counts, one-hot (``kind="levels"`` only). The extra ``previous_action`` is left out by default,
        since it goes on over the end of an episode: two real numbers that an agent chooses itself are room enough
        for a note on where the goal was, and learning across episodes would need no memory.
    Action:
        ``Box(-1, 1, (2,))``: the wanted step in units of ``stride``. A vector longer than 1 is shortened to 1
        (``limit="coordinates"``: used as it is, as published elsewhere).
    Reward:
        1 for visiting a goal that is not the last. At the last goal every step pays ``1 - distance / radius``, where
        that is positive (``pays="cone"``). Others: ``sparse`` pays ``1 - distance`` within ``radius`` and 0 outside,
        ``distance`` pays ``-distance``, ``squared`` its square, both everywhere.
    Levels:
        (0) the first goal, 20 steps; (1) the first, then the second, 30 steps; (2) all three, 40 steps, with the
        motors turned and geared. ``kind="single"`` is a level of one goal, for tasks as published elsewhere.
    Oracle:
        Straight ahead, through the discs of the goals before the last so that the whole tour is shortest. With one goal
        that is optimal: it is as near as can be after every step (at level 0 its return is 11.5 on every task;
        `exact_oracle_return`). With two, the number of steps to the first disc and the point to enter it are optimised
        exactly; with three, all but the entry to the first disc is exact, for which the best of several good ones is
        taken, and exhaustive searches find no better tour. How long the tour is depends on the task, and with it the
        oracle's return: its normalised standard deviation is about 0.33 at level 1 and 0.37 at level 2.
    Reference learner:
        ``circle-sweep``: identifies the motors from one move, sweeps the half circle for the goal that counts,
        works out from rewards where exactly it lies, and takes the shortest tour from then on.
    Source:
        Finn et al. 2017 (MAML, arXiv 1703.03400), section 5.3.1 and the code published with it: `MAML_2D` (the paper
        pays the squared distance, ``pays="squared"``, the code the plain one). Rakelly et al. 2019 (PEARL, arXiv
        1903.08254), section 6.3 and the code published with it: `PEARL_SPARSE` (there, 100 goals at equal distances;
        here, any). The levels, the motors and the rule of visiting are this suite's own.
    """

    name = "PointRobot"
    tags = ("continuous", "exploration", "memory", "navigation", "system-identification")
    reference = "circle-sweep"
    reactive = "circle-patrol"
    harder = {"radius": 0.12}
    show = ("previous_reward", "episode_start", "time", "level")
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)
    diagnose = staticmethod(diagnose)

    def __init__(
        self,
        *,
        kind: str = "levels",
        goals: str = "half-circle",
        pays: str = "cone",
        radius: float = 0.2,
        stride: float = 0.1,
        limit: str = "length",
        finish: float = 0.0,
        motors: str = "top",
        gains: Sequence[float] = (0.8, 1.25),
        horizon: int | Sequence[int] | None = None,
    ) -> None:
        """Set the goals, the rewards and the motors.

        Args:
            kind: ``levels`` (the three levels) or ``single`` (one level with one goal).
            goals: where goals are: on the upper ``half-circle`` of radius 1, or in the ``square`` from -0.5 to 0.5
                (``single`` only).
            pays: ``cone``; or ``sparse``, ``distance``, ``squared`` (``single`` only).
            radius: how near a goal must be to pay or to be visited, in [0.02, 0.5].
            stride: length of the longest step with a gain of 1, in [0.01, 0.5].
            limit: what an action may be at most: vectors of ``length`` 1, or any with ``coordinates`` in [-1, 1]
                (``single`` only).
            finish: an episode ends when both coordinates are nearer to the goal's than this; 0 (never) to 0.5
                (``single`` only).
            motors: where they are turned and geared: at the ``top`` level, nowhere (``known``), or at every level
                (``hidden``).
            gains: least and greatest gain of hidden motors, in order, in [0.1, 10].
            horizon: steps per episode: three numbers for ``levels`` (20, 30, 40), one for ``single`` (20).

        Raises:
            ValueError: a value out of range, or settings that do not go together.
        """
        check_choice("kind", kind, KINDS)
        check_choice("goals", goals, PLACES)
        check_choice("pays", pays, REWARDS)
        check_choice("limit", limit, LIMITS)
        check_choice("motors", motors, MOTORS)
        single = kind == "single"
        radius = check_number("radius", radius, 0.02, 0.5)
        stride = check_number("stride", stride, 0.01, 0.5)
        finish = check_number("finish", finish, 0.0, 0.5)
        low, high = check_numbers("gains", gains, 2, 0.1, 10.0)
        if low > high:
            raise ValueError(f"gains must be in order, received {gains!r}.")
        others = {"goals": "half-circle", "pays": "cone", "limit": "length", "finish": 0.0}
        for name, value in (("goals", goals), ("pays", pays), ("limit", limit), ("finish", finish)):
            if not single and value != others[name]:
                raise ValueError(f"{name}={value!r} goes with kind='single', received kind='levels'.")
        if single:
            horizons: tuple[int, ...] = (check_integer("horizon", 20 if horizon is None else horizon, 1, 10_000),)
        else:
            horizons = check_integers("horizon", (20, 30, 40) if horizon is None else horizon, GOALS, 1, 10_000)
        names = ("one goal",) if single else LEVEL_NAMES
        levels = len(names)
        hidden = [motors == "hidden" or (motors == "top" and level == levels - 1) for level in range(levels)]
        # No coordinate can come to be farther from the origin: steps along a diagonal are longer, and motors turn them.
        diagonal = math.sqrt(2.0) if limit == "coordinates" else 1.0
        strides = [stride * max(diagonal * high if turned else 1.0, 1.0) for turned in hidden]
        reach = float(math.ceil(max(steps * most for steps, most in zip(horizons, strides, strict=True)) - 1e-6))
        farthest = math.hypot(reach, reach) + 1.0
        ranges = {"cone": (0.0, 1.0), "sparse": (0.0, 1.0), "distance": (-farthest, 0.0)}
        self.single, self.by_place, self.radius = single, goals, radius
        super().__init__(
            keywords={
                "kind": kind,
                "goals": goals,
                "pays": pays,
                "radius": radius,
                "stride": stride,
                "limit": limit,
                "finish": finish,
                "motors": motors,
                "gains": (low, high),
                "horizon": horizons[0] if single else horizons,
            },
            # Always three levels long, so that all settings share one compiled loop.
            settings={
                "drawn": 1 if single else GOALS,
                "on_circle": int(goals == "half-circle"),
                "pays": REWARDS.index(pays),
                "radius": radius,
                "stride": stride,
                "by_length": int(limit == "length"),
                "finish": finish,
                "gains": [low, high],
                "goals": [1, 1, 1] if single else [1, 2, 3],
                "hidden": [int(turned) for turned in hidden] + [0] * (GOALS - levels),
            },
            task=[("goals", "f8", (GOALS, 2)), ("turn", "f8"), ("gain", "f8")],
            state=[
                ("x", "f8"),
                ("y", "f8"),
                ("motor_x", "f8"),
                ("motor_y", "f8"),
                ("command", "f8", (2,)),
                ("goal", "i8"),
            ],
            levels=[Level(name, steps) for name, steps in zip(names, horizons, strict=True)],
            actions=spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
            fields=[Field("position", 2, -reach, reach), Field("command", 2, -1.0, 1.0)]
            + ([] if single else [Field("goal", GOALS)]),
            reward_range=ranges.get(pays, (-(farthest**2), 0.0)),
            diagnostics=[Field("goals_reached", 1, 0.0, 1.0 if single else GOALS), Field("distance", 1, 0.0, farthest)],
        )

    def exact_oracle_return(self, level: int) -> float | None:
        """The oracle's mean episode return by numerical integration over the goal; None where there is no integral.

        Args:
            level: index of the level; there is one for a single goal and known motors.
        """
        if int(self.settings.goals[0, level]) > 1 or int(self.settings.hidden[0, level]):
            return None
        if self.by_place == "half-circle":
            angles = (np.arange(20_000) + 0.5) * (0.5 * math.pi / 20_000)  # by symmetry a half is enough
            goals = np.stack([np.cos(angles), np.sin(angles)])
        else:
            side = (np.arange(1_000) + 0.5) * (SQUARE / 1_000)  # and a quarter here
            goals = np.stack(np.meshgrid(side, side)).reshape(2, -1)
        total, going_on = 0.0, np.ones(goals.shape[1])
        for time in range(1, self.levels[level].horizon + 1):
            gone = time * self.keywords["stride"]
            if self.keywords["limit"] == "length":
                left = goals * np.maximum(0.0, 1.0 - gone / np.hypot(*goals))
            else:
                left = np.maximum(0.0, goals - gone)
            apart = np.hypot(*left)
            near = apart <= self.radius
            pays = {
                "cone": np.maximum(0.0, 1.0 - apart / self.radius),
                "sparse": near * (1.0 - apart),
                "distance": -apart,
                "squared": -(apart**2),
            }
            total += float((going_on * pays[self.keywords["pays"]]).mean())
            going_on = going_on * (left >= self.keywords["finish"]).any(axis=0)
            if not going_on.any():
                break
        return total

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw."""
        task = super().task_from_dict(values)
        goals, drawn = task["goals"][0], int(self.settings.drawn[0])
        if self.by_place == "half-circle":
            inside = (np.abs(np.hypot(goals[:, 0], goals[:, 1]) - 1.0) < 1e-9) & (goals[:, 1] > -1e-9)
            where = "on the upper half of the unit circle"
        else:
            inside = (np.abs(goals) <= SQUARE).all(axis=1)
            where = f"in the square from {-SQUARE} to {SQUARE}"
        if not inside[:drawn].all() or goals[drawn:].any():
            rest = "" if drawn == GOALS else ", and the others (0, 0)"
            raise ValueError(f"The first {drawn} of the goals must lie {where}{rest}; received {goals.tolist()}.")
        if not -math.pi <= task["turn"][0] <= math.pi:
            raise ValueError(f"turn must lie in [-pi, pi], received {task['turn'][0]}.")
        low, high = self.keywords["gains"]
        if not low <= task["gain"][0] <= high:
            raise ValueError(f"gain must lie in [{low:g}, {high:g}], received {task['gain'][0]}.")
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def _caption(self, scene: Scene) -> list[str]:
        """What stands above or below a picture; of the hidden task only what is revealed."""
        level, goals = self.levels[scene.level], int(self.settings.goals[0, scene.level])
        lines = [
            f"PointRobot, level {scene.level}: {level.name}",
            f"step {scene.time} of {level.horizon}   return {scene.total:.2f}   bar {scene.bar:.2f}",
            f"at ({scene.state['x']:z.2f}, {scene.state['y']:z.2f})"
            + (f", goal {int(scene.state['goal']) + 1} of {goals} counts" if goals > 1 else ""),
        ]
        if scene.reveal and int(self.settings.hidden[0, scene.level]):
            degrees = math.degrees(scene.task["turn"])
            lines.append(f"motors turn by {degrees:.0f} degrees, gain {scene.task['gain']:.2f}")
        return lines

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        steps, goals = self.levels[level].horizon, int(self.settings.goals[0, level])
        near, stride = f"{self.radius:g}", f"{self.keywords['stride']:g}"
        rules = [
            f"You steer a robot in the plane, which starts at (0, 0), for {steps} steps an episode. Each step you give "
            f"two numbers between -1 and 1, how far to go east and north in units of {stride}, or a direction "
            "such as north-east."
        ]
        if self.keywords["limit"] == "length":
            rules.append(f"No step is longer than {stride}: longer vectors are shortened.")
        if int(self.settings.hidden[0, level]):
            low, high = self.keywords["gains"]
            rules.append(
                "The motors are not what they seem: they turn every step by the same hidden angle, and make it "
                f"{low:g} to {high:g} times as long."
            )
        place = (
            "on the northern half of the circle of radius 1 around the start"
            if self.by_place == "half-circle"
            else f"in the square from {-SQUARE:g} to {SQUARE:g} around the start"
        )
        if goals == 1:
            rules.append(f"A goal, which you cannot see, lies {place}.")
        else:
            rules.append(f"{goals} goals, which you cannot see, lie {place}, and count one after another.")
            rules.append(
                f"A step that ends within {near} of the goal that counts pays 1, and from then on the next one counts; "
                "the last one counts to the end."
            )
        which = "the goal" if goals == 1 else "the last goal"
        pays = {
            "cone": f"Every step that ends within {near} of {which} pays 1 - distance / {near}.",
            "sparse": f"Every step that ends within {near} of {which} pays 1 - distance.",
            "distance": f"Every step costs the distance to {which}.",
            "squared": f"Every step costs the square of the distance to {which}.",
        }
        rules.append(pays[self.keywords["pays"]])
        if self.keywords["finish"]:
            rules.append(
                f"The episode ends when both coordinates are within {self.keywords['finish']:g} of the goal's."
            )
        rules.append("All this stays the same from episode to episode.")
        return " ".join(rules)

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """Where the robot is, its last command and which goal counts, in plain words."""
        words = f"You are at ({values[0]:z.2f}, {values[1]:z.2f})"
        if values[2:4].any():
            words += f"; your last command was {values[2]:+z.2f} {values[3]:+z.2f}"
        goals = int(self.settings.goals[0, level])
        return words + (f"; goal {int(values[4:].argmax()) + 1} of {goals} counts." if goals > 1 else ".")

    def describe_action(self, action: Any) -> str:
        """A command in plain words."""
        x, y = (float(value) for value in np.asarray(action))
        if max(abs(x), abs(y)) < 0.005:
            return "stay"
        eighth = round(math.atan2(x, y) / (math.pi / 4)) % 8
        return f"push {x:+z.2f} {y:+z.2f} ({COMPASS[eighth]})"

    def parse_action(self, text: str, level: int) -> np.ndarray:
        """The command that a text means: two numbers, a direction (``north-east``, ``0.5 south``), or ``stay``.

        Raises:
            ValueError: the text means none.
        """
        words = " ".join(text.strip().lower().split())
        vector = None
        if words == "stay":
            vector = np.zeros(2, dtype=np.float32)
        elif numbers := _NUMBERS.fullmatch(words):
            vector = np.array([float(number) for number in numbers.groups()], dtype=np.float32)
        elif direction := _DIRECTION.fullmatch(words):
            length = float(direction[1] or 1.0)
            name = direction[2].replace(" ", "-")
            letters = ["".join(part[0] for part in one.split("-")) for one in COMPASS]
            if length <= 1.0 and (name in COMPASS or name in letters):
                eighth = COMPASS.index(name) if name in COMPASS else letters.index(name)
                angle = eighth * math.pi / 4
                vector = np.array([length * math.sin(angle), length * math.cos(angle)], dtype=np.float32)
        if vector is None or not (np.abs(vector) <= 1.0).all():
            raise ValueError(
                "Expected two numbers in [-1, 1], a direction such as north-east or 0.5 south (north, south, east, "
                f"west and what lies between, at most 1), or stay; received {text!r}."
            )
        return vector

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: the four directions that the others are made of, and standing still."""
        return Vocabulary(
            (
                Symbols("direction", COMPASS[::2], r"\bNAME\b"),
                Symbols("standing", ("stay",), r"\bNAME\b"),
            ),
            rewrites=((r"northern half", "north half"),),
            note=(
                "Directions are north, east, south, west and what lies between, such as south-west; stay stands still."
            ),
        )

    def render_ansi(self, scene: Scene) -> str:
        """The plane as text: ``@`` is the robot, ``+`` the start, ``:`` where goals may be; goals only where revealed.

        A robot that has left the map stands at its edge.
        """
        west, east, south, north = self._map()
        columns, rows = 57, 20
        grid = [[" "] * columns for _ in range(rows)]

        def mark(x: float, y: float, letter: str) -> None:
            column = round((x - west) / (east - west) * (columns - 1))
            row = round((north - y) / (north - south) * (rows - 1))
            grid[min(max(row, 0), rows - 1)][min(max(column, 0), columns - 1)] = letter

        for x, y in self._outline():
            mark(x, y, ":")
        mark(0.0, 0.0, "+")
        if scene.reveal:
            for goal in range(int(self.settings.goals[0, scene.level]))[::-1]:
                x, y = scene.task["goals"][goal].tolist()
                mark(x, y, str(goal + 1))
        mark(float(scene.state["x"]), float(scene.state["y"]), "@")
        edge = "+" + "-" * columns + "+"
        return "\n".join([*self._caption(scene), edge, *(f"|{''.join(row)}|" for row in grid), edge])

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The plane as an image, ``uint8[height, width, 3]``; goals only where revealed.

        A disc shows where a goal pays or counts as visited: full for the goal that counts, pale for the others.
        """
        from daytwo.pictures import Canvas, blend

        west, east, south, north = self._map()
        edge, width = 12, 406
        scale = width / (east - west)
        height = round(scale * (north - south))
        # The same size at every level, so that a lifetime's pictures make one film.
        canvas = Canvas(width + 2 * edge, height + 2 * edge + 86)

        def place(x: float, y: float) -> tuple[float, float]:
            return edge + (x - west) * scale, edge + (north - y) * scale

        canvas.rectangle(edge, edge, edge + width, edge + height, fill="floor", radius=4)
        canvas.path([place(x, y) for x, y in self._outline()], colour="grey", width=2)
        across, up = place(0.0, 0.0)
        canvas.line(across - 5, up, across + 5, up, colour="dark", width=2)
        canvas.line(across, up - 5, across, up + 5, colour="dark", width=2)
        if scene.reveal:
            shown = range(int(self.settings.goals[0, scene.level]))
            now = int(scene.state["goal"])
            # Where distances are paid everywhere there is no disc, only a spot.
            radius = self.radius if self.keywords["pays"] in ("cone", "sparse") else 0.03
            for goal in sorted(shown, key=lambda goal: goal == now):
                across, up = place(*scene.task["goals"][goal].tolist())
                pale = blend("floor", "goal", 0.35 if goal == now else 0.12)
                canvas.circle(across, up, radius * scale, fill=pale, outline="goal" if goal == now else "grey")
            for goal in shown if len(shown) > 1 else ():
                across, up = place(*scene.task["goals"][goal].tolist())
                canvas.text(across, up, str(goal + 1), size=16, anchor="mm", colour="ink" if goal == now else "dark")
        x = min(max(float(scene.state["x"]), west), east)
        y = min(max(float(scene.state["y"]), south), north)
        across, up = place(x, y)
        if scene.action is not None and np.any(scene.action):
            # The last step as it went.
            ax, ay = (float(value) for value in scene.action)
            shrink = max(math.hypot(ax, ay), 1.0) if self.keywords["limit"] == "length" else 1.0
            ax, ay = ax / shrink, ay / shrink
            mx, my = float(scene.state["motor_x"]), float(scene.state["motor_y"])
            from_x, from_y = place(x - mx * ax + my * ay, y - my * ax - mx * ay)
            canvas.line(from_x, from_y, across, up, colour="sky", width=3)
        canvas.circle(across, up, 7, fill="agent", outline="paper", width=2)
        for k, line in enumerate(self._caption(scene)):
            canvas.text(edge, height + 2 * edge + 20 * k, line, size=14)
        return canvas.array()

    def _map(self) -> tuple[float, float, float, float]:
        """West, east, south and north end of what pictures show."""
        return (-1.45, 1.45, -0.6, 1.4) if self.by_place == "half-circle" else (-0.8, 0.8, -0.7, 0.7)

    def _outline(self) -> list[tuple[float, float]]:
        """Points along the line on which, or within which, goals may be."""
        if self.by_place == "half-circle":
            return [(math.cos(angle), math.sin(angle)) for angle in np.linspace(0.0, math.pi, 121).tolist()]
        around = np.linspace(-SQUARE, SQUARE, 61).tolist()
        return (
            [(x, -SQUARE) for x in around]
            + [(SQUARE, y) for y in around]
            + [(x, SQUARE) for x in around[::-1]]
            + [(-SQUARE, y) for y in around[::-1]]
        )


__all__ = ["MAML_2D", "PEARL_SPARSE", "PointRobot"]
