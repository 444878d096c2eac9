"""The reference learner of PointRobot, which sweeps, triangulates and remembers, and an agent without a memory."""

import math

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_number
from daytwo.kernels import kernel

GOALS = 3
CONE, SPARSE, DISTANCE = range(3)  # numbers of the rewards; from DISTANCE on they are paid everywhere
BINS = 256  # angles that are told apart in a search
BIN = math.pi / BINS
SAMPLE = 4  # of so many angles one is looked at to compare plans
STARTS = 24  # angles at which a planned sweep may begin
NARROW = 0.13  # half the width, as an angle, of what may hold a goal: up to here it is gone to and not searched for
MOTOR_ERROR = 1e-4  # steps that differ more from what was expected contradict it
ANGLE_ERROR = 2e-3  # what is shown is rounded
EDGE = 1e-3  # within it of the edge of a disc, a remembered place may be in or out
DELAYS = 4  # later arrivals at a disc weighed against the earliest
ROUNDS = 3
BONUS = 8.0  # what finding a goal is worth besides the reward in the present episode, in steps
CIRCLE = np.array([(math.cos((k + 0.5) * BIN), math.sin((k + 0.5) * BIN)) for k in range(BINS)])
SLACK = 1e-6  # by which it keeps clear of the edge of a disc
EXACT = 1e-6  # steps: a way of so many whole ones must not count as one more for rounding
# Steps: a robot that somebody else drives is on the sweep if it is as near as PASSED, and aims AHEAD of itself on it.
PASSED, AHEAD = 0.6, 1.5
# The agent without a memory: its first command where motors are hidden, and rewards with which it is content.
PROBE, NEAR, NEARER = 0.01, 0.8, 0.999
ON_CIRCLE, OFF_SWEEP = 0.005, 0.02
# Columns of ``last``: where the robot stood, its command, what it was after, steps taken.
X, Y, COMMAND_X, COMMAND_Y, LEVEL, GOAL, TIME = range(7)
# Columns of ``plan``: which way the sweep goes (0: there is none), the angle it has come to, and whether somebody else
# drives the robot in this episode.
WAY, ANGLE, DRIVEN = range(3)
# Columns of ``motor``: a complex number that a command is multiplied by, and whether it is known.
MOTOR_X, MOTOR_Y, KNOWN = range(3)


@register_jitable
def length(x, y):
    """Length of a vector; ``math.hypot`` rounds differently compiled and interpreted."""
    return math.sqrt(x * x + y * y)


@register_jitable
def forget_goal(alive, spots, count, i, goal):
    """Nothing is known of a goal."""
    alive[i, goal] = 1
    count[i, goal] = 0
    spots[i, goal] = 0.0


@register_jitable
def forget(alive, spots, count, anchors, motor, i):
    """Nothing is known of the task."""
    for goal in range(GOALS):
        forget_goal(alive, spots, count, i, goal)
    anchors[i] = 0.0
    motor[i, KNOWN] = 0.0


@register_jitable
def learn_motor(motor, i, command_x, command_y, dx, dy):
    """What a move shows of the motors; returns whether it fits what was believed."""
    square = command_x * command_x + command_y * command_y
    if square < 1e-8:
        return length(dx, dy) < MOTOR_ERROR
    if motor[i, KNOWN] > 0.0:
        ex = motor[i, MOTOR_X] * command_x - motor[i, MOTOR_Y] * command_y
        ey = motor[i, MOTOR_Y] * command_x + motor[i, MOTOR_X] * command_y
        if length(dx - ex, dy - ey) < MOTOR_ERROR:
            return True
    fits = motor[i, KNOWN] == 0.0
    motor[i, MOTOR_X] = (dx * command_x + dy * command_y) / square
    motor[i, MOTOR_Y] = (dy * command_x - dx * command_y) / square
    motor[i, KNOWN] = 1.0
    return fits


@register_jitable
def rule_out(settings, alive, i, goal, x, y, inside):
    """Keep the angles of which a part may be in the disc around (x, y), or outside; returns whether any is left."""
    if inside:
        most = settings.radius + 0.5 * BIN
    else:
        most = settings.radius - 0.5 * BIN
        if length(x, y) < 1.0 - settings.radius:
            return True
    left = False
    for k in range(BINS):
        if alive[i, goal, k]:
            dx, dy = CIRCLE[k, 0] - x, CIRCLE[k, 1] - y
            if (dx * dx + dy * dy <= most * most) == inside:
                left = True
            else:
                alive[i, goal, k] = 0
    return left


@register_jitable
def near_alive(alive, i, goal, angle):
    """Whether an angle of the half circle, or one next to it, may hold the goal."""
    if angle < -ANGLE_ERROR or angle > math.pi + ANGLE_ERROR:
        return False
    k = math.floor(angle / BIN)
    for beside in range(max(k - 1, 0), min(k + 2, BINS)):
        if alive[i, goal, beside]:
            return True
    return False


@register_jitable
def triangulate(alive, spots, count, i, goal, x, y, apart):
    """The angles at which a goal lies ``apart`` from (x, y); returns whether one of them fits what was believed."""
    from_start = length(x, y)
    if from_start == 0.0:
        return True
    cosine = (from_start * from_start + 1.0 - apart * apart) / (2.0 * from_start)
    spread = math.acos(min(max(cosine, -1.0), 1.0))
    middle = math.atan2(y, x)
    if middle < -0.5 * math.pi:
        middle += 2.0 * math.pi
    if count[i, goal] > 0:
        for k in range(count[i, goal]):
            if abs(abs(spots[i, goal, k] - middle) - spread) < ANGLE_ERROR:
                spots[i, goal, 0] = spots[i, goal, k]
                count[i, goal] = 1
                return True
        return False
    found = 0
    for side in range(2):
        angle = middle + (spread if side == 0 else -spread)
        if near_alive(alive, i, goal, angle):
            spots[i, goal, found] = min(max(angle, 0.0), math.pi)
            found += 1
            if spread < 1e-6:
                break
    count[i, goal] = found
    return found > 0


@register_jitable
def learn_goal(settings, alive, spots, count, i, goal, last, x, y, reward):
    """What a step that ended on (x, y) shows of a goal on the circle; returns whether it fits what was believed."""
    paid = reward > 0.0
    if goal == last and paid:
        apart = (1.0 - reward) * (settings.radius if settings.pays == CONE else 1.0)
        if not triangulate(alive, spots, count, i, goal, x, y, apart):
            return False
    kept = 0
    for k in range(count[i, goal]):
        apart = length(math.cos(spots[i, goal, k]) - x, math.sin(spots[i, goal, k]) - y)
        # A place on the edge of the disc is kept: it is known to some digits only.
        if (apart <= settings.radius) == paid or abs(apart - settings.radius) < EDGE:
            spots[i, goal, kept] = spots[i, goal, k]
            kept += 1
    if kept > 0:
        count[i, goal] = kept
        return kept == 1 or rule_out(settings, alive, i, goal, x, y, paid)
    fits = count[i, goal] == 0
    count[i, goal] = 0
    return rule_out(settings, alive, i, goal, x, y, paid) and fits


@register_jitable
def learn_anywhere(anchors, i, x, y, apart):
    """What a distance shows of a goal anywhere; ``anchors`` holds a first place and distance, then two candidates.

    Columns: state (0 nothing, 1 a first place, 2 two candidates, 3 one), x, y and distance, then the candidates.
    """
    state = anchors[i, 0]
    if state >= 2.0:
        first = abs(length(anchors[i, 4] - x, anchors[i, 5] - y) - apart) < 1e-4
        second = abs(length(anchors[i, 6] - x, anchors[i, 7] - y) - apart) < 1e-4
        if state == 2.0 and first and second:
            return
        if first:
            anchors[i, 0] = 3.0
            return
        if state == 2.0 and second:
            anchors[i, 0] = 3.0
            anchors[i, 4] = anchors[i, 6]
            anchors[i, 5] = anchors[i, 7]
            return
        state = 0.0
    if state == 1.0:
        dx, dy = x - anchors[i, 1], y - anchors[i, 2]
        between = length(dx, dy)
        if between < 1e-3:
            return
        # Where the circles around both places cross.
        along = (between * between + anchors[i, 3] * anchors[i, 3] - apart * apart) / (2.0 * between)
        across = math.sqrt(max(0.0, anchors[i, 3] * anchors[i, 3] - along * along))
        dx /= between
        dy /= between
        anchors[i, 4] = anchors[i, 1] + along * dx - across * dy
        anchors[i, 5] = anchors[i, 2] + along * dy + across * dx
        anchors[i, 6] = anchors[i, 1] + along * dx + across * dy
        anchors[i, 7] = anchors[i, 2] + along * dy - across * dx
        anchors[i, 0] = 2.0
        return
    anchors[i, 0] = 1.0
    anchors[i, 1] = x
    anchors[i, 2] = y
    anchors[i, 3] = apart


# --- going to what is known -------------------------------------------------------------------------------------------


@register_jitable
def locate(alive, spots, count, i, goal, x, y):
    """Angle of a goal and how much it may be off; the width is infinite where it must be searched for."""
    if count[i, goal] > 0:
        angle = spots[i, goal, 0]
        if count[i, goal] == 2:
            other = spots[i, goal, 1]
            if length(math.cos(other) - x, math.sin(other) - y) < length(math.cos(angle) - x, math.sin(angle) - y):
                angle = other
        return angle, 0.0
    low, high = -1, -1
    for k in range(BINS):
        if alive[i, goal, k]:
            if low < 0:
                low = k
            high = k
    width = 0.5 * (high - low + 1) * BIN
    if low < 0 or width > NARROW:
        return 0.0, math.inf
    return low * BIN + width, width


@register_jitable
def towards(x, y, goal_x, goal_y, most):
    """The point at most ``most`` away from (x, y) that is nearest to the goal."""
    dx, dy = goal_x - x, goal_y - y
    apart = math.sqrt(dx * dx + dy * dy)
    if apart <= most:
        return goal_x, goal_y
    return x + dx * (most / apart), y + dy * (most / apart)


@register_jitable
def common_point(ax, ay, a, bx, by, b, x, y):
    """The point nearest to (x, y) of all in both of two discs that meet."""
    px, py = towards(ax, ay, x, y, a)
    if length(px - bx, py - by) <= b:
        return px, py
    px, py = towards(bx, by, x, y, b)
    if length(px - ax, py - ay) <= a:
        return px, py
    dx, dy = bx - ax, by - ay
    apart = length(dx, dy)
    if apart == 0.0:
        return px, py
    along = (apart * apart + a * a - b * b) / (2.0 * apart)
    across = math.sqrt(max(0.0, a * a - along * along))
    dx /= apart
    dy /= apart
    side = across if (y - ay) * dx - (x - ax) * dy > 0.0 else -across
    return ax + along * dx - side * dy, ay + along * dy + side * dx


@register_jitable
def enter(x, y, bx, by, radius, stride, cx, cy):
    """Where to enter a disc in whole steps on the way to (cx, cy); also how many steps there and onwards."""
    steps = max(1.0, math.ceil((length(bx - x, by - y) - radius) / stride - EXACT))
    best, best_x, best_y = math.inf, bx, by
    for _delay in range(DELAYS):
        px, py = common_point(x, y, steps * stride, bx, by, radius, cx, cy)
        cost = steps + length(cx - px, cy - py) / stride
        if cost < best:
            best, best_x, best_y = cost, px, py
        steps += 1.0
    return best, best_x, best_y


@register_jitable
def disc_of(settings, width):
    """Radius of the disc to enter for a goal whose angle may be off by ``width``.

    The middle of what is possible is taken for the goal, though it may be missed: a miss costs a step and rules out a
    good part of the rest. Only the last two angles are taken for sure, since a miss of those would rule out nothing.
    """
    return max(settings.radius - min(width, BIN) - SLACK, 0.1 * settings.radius)


@register_jitable
def tour(settings, alive, spots, count, i, goal, last, x, y, stride, angle, width):
    """The point to head for on a tour by way of a goal's disc, with what is known of the goals after it."""
    bx, by = math.cos(angle), math.sin(angle)
    radius = disc_of(settings, width)
    next_angle, next_width = locate(alive, spots, count, i, goal + 1, bx, by)
    if next_width == math.inf:
        return enter(x, y, bx, by, radius, stride, bx, by)[1:]
    cx, cy = math.cos(next_angle), math.sin(next_angle)
    if goal + 1 == last:
        return enter(x, y, bx, by, radius, stride, cx, cy)[1:]
    next_radius = disc_of(settings, next_width)
    final_angle, final_width = locate(alive, spots, count, i, goal + 2, cx, cy)
    qx, qy = cx, cy
    if final_width < math.inf:
        fx, fy = math.cos(final_angle), math.sin(final_angle)
        px, py = bx, by
        for _round in range(ROUNDS):
            _, qx, qy = enter(px, py, cx, cy, next_radius, stride, fx, fy)
            _, px, py = enter(x, y, bx, by, radius, stride, qx, qy)
    else:
        qx, qy = towards(cx, cy, bx, by, next_radius)
    return enter(x, y, bx, by, radius, stride, qx, qy)[1:]


# --- searching for what is not ----------------------------------------------------------------------------------------


@register_jitable
def reach_of(settings, sweep):
    """Half the width, as an angle, of what is seen from a point of the circle of radius ``sweep``."""
    cosine = (sweep * sweep + 1.0 - settings.radius * settings.radius) / (2.0 * sweep)
    return math.acos(min(max(cosine, -1.0), 1.0))


@register_jitable
def plan_sweep(alive, plan, i, goal, x, y, left, stride, sweep, reach):
    """Choose where to begin a sweep and which way to go: as much as possible as early as possible."""
    best = -1.0
    plan[i, WAY] = 0.0
    for begin in range(STARTS + 1):
        start = reach + (math.pi - 2.0 * reach) * begin / STARTS
        if begin == STARTS:
            # From where the robot is.
            if length(x, y) < 0.5 * sweep:
                continue
            start = min(max(math.atan2(y, x), 0.0), math.pi)
        there = length(sweep * math.cos(start) - x, sweep * math.sin(start) - y) / stride
        ahead, behind = 0.0, 0.0
        for k in range(SAMPLE // 2, BINS, SAMPLE):
            if alive[i, goal, k]:
                off = (k + 0.5) * BIN - start
                after = left - there - max(0.0, abs(off) - reach) * sweep / stride
                if after > 0.0:
                    if off > -reach:
                        ahead += after + BONUS
                    if off < reach:
                        behind += after + BONUS
        if ahead > best:
            best = ahead
            plan[i, WAY] = 1.0
            plan[i, ANGLE] = start
        if behind > best:
            best = behind
            plan[i, WAY] = -1.0
            plan[i, ANGLE] = start


@register_jitable
def next_alive(alive, i, goal, angle, way):
    """The next angle that may hold the goal, from ``angle`` on; -1 where there is none that way."""
    k = min(max(math.floor(angle / BIN), 0), BINS - 1)
    while 0 <= k < BINS:
        if alive[i, goal, k]:
            return (k + 0.5) * BIN
        k += 1 if way > 0.0 else -1
    return -1.0


@register_jitable
def come_to(plan, i, x, y, stride, sweep):
    """The angle that a sweep has come to: that of the robot, if somebody else has driven it on."""
    planned = plan[i, ANGLE]
    if plan[i, DRIVEN] == 0.0 or length(x, y) < sweep - PASSED * stride:
        return planned
    angle = math.atan2(y, x)
    if angle < -0.5 * math.pi:
        angle += 2.0 * math.pi
    angle = min(max(angle, 0.0), math.pi)
    return angle if plan[i, WAY] * (angle - planned) > 0.0 else planned


@register_jitable
def search(alive, plan, i, goal, x, y, left, stride, sweep, reach):
    """The point to go to next in the search for a goal: along the planned sweep, or along a new one."""
    for attempt in range(2):
        way = plan[i, WAY]
        if way == 0.0 or attempt == 1:
            plan_sweep(alive, plan, i, goal, x, y, left, stride, sweep, reach)
            way = plan[i, WAY]
        plan[i, ANGLE] = come_to(plan, i, x, y, stride, sweep)
        angle = plan[i, ANGLE]
        target_x, target_y = sweep * math.cos(angle), sweep * math.sin(angle)
        away = length(target_x - x, target_y - y)
        driven = plan[i, DRIVEN] > 0.0
        if away > (AHEAD * stride if driven else 1e-4):
            # On the way to where the sweep begins or goes on.
            if next_alive(alive, i, goal, min(max(angle - way * reach, 0.0), math.pi), way) >= 0.0:
                return target_x, target_y
            continue
        following = next_alive(alive, i, goal, angle, way)
        if following < 0.0:
            continue
        turn = 2.0 * math.asin(min(1.0, 0.5 * stride / sweep))
        if driven:
            # It is never quite where it should be: to be led back there step by step would be to stand still.
            angle += way * max(turn * (AHEAD - away / stride), way * (following - angle) - reach)
            angle = min(max(angle, 0.0), math.pi)
            return sweep * math.cos(angle), sweep * math.sin(angle)
        # Over what was ruled out, the sweep leaps.
        angle += way * max(turn, way * (following - angle) - reach)
        plan[i, ANGLE] = min(max(angle, 0.0), math.pi)
        return sweep * math.cos(plan[i, ANGLE]), sweep * math.sin(plan[i, ANGLE])
    return x, y


@register_jitable
def choose(settings, alive, spots, count, anchors, plan, i, level, goal, x, y, left, stride, sweep):
    """The point to head for."""
    if settings.pays >= DISTANCE:
        if anchors[i, 0] >= 2.0:
            return anchors[i, 4], anchors[i, 5]
        return x + stride, y + stride
    last = settings.goals[level] - 1
    angle, width = locate(alive, spots, count, i, goal, x, y)
    if width < math.inf:
        plan[i, WAY] = 0.0
        if goal < last:
            return tour(settings, alive, spots, count, i, goal, last, x, y, stride, angle, width)
        return math.cos(angle), math.sin(angle)
    return search(alive, plan, i, goal, x, y, left, stride, sweep, reach_of(settings, sweep))


@kernel
def act_all(
    settings,
    horizons,
    columns,
    sweep,
    observations,
    fresh,
    alive,
    spots,
    count,
    anchors,
    motor,
    plan,
    last,
    actions,
):
    """Learn from the last step and choose the next, one lifetime after another."""
    at_goal, at_reward, at_start, at_level = columns[0], columns[1], columns[2], columns[3]
    for i in range(len(fresh)):
        row = observations[i]
        level = 0
        if at_level >= 0:
            for k in range(len(horizons)):
                if row[at_level + k] > 0.5:
                    level = k
        goal = 0
        if at_goal >= 0:
            for k in range(GOALS):
                if row[at_goal + k] > 0.5:
                    goal = k
        # Not float(): compiled, that leaves a float32 one, and with it the functions of math.
        x, y = np.float64(row[0]), np.float64(row[1])
        begins = row[at_start] > 0.5
        if fresh[i]:
            forget(alive, spots, count, anchors, motor, i)
        elif not (begins and plan[i, DRIVEN] > 0.0):
            before, after = int(last[i, LEVEL]), int(last[i, GOAL])
            command_x, command_y = last[i, COMMAND_X], last[i, COMMAND_Y]
            size = length(command_x, command_y)
            if settings.by_length and size > 1.0 + SLACK:
                command_x /= size
                command_y /= size
            mx, my = settings.stride, 0.0
            known = not settings.hidden[before]
            if not known:
                if not begins and not learn_motor(motor, i, command_x, command_y, x - last[i, X], y - last[i, Y]):
                    # Other motors: this is another task.
                    for k in range(GOALS):
                        forget_goal(alive, spots, count, i, k)
                    anchors[i] = 0.0
                mx, my = motor[i, MOTOR_X], motor[i, MOTOR_Y]
                known = motor[i, KNOWN] > 0.0
            if known:
                landing_x, landing_y = x, y
                if begins:  # the last place of an episode is not shown, but follows from the command
                    landing_x = last[i, X] + mx * command_x - my * command_y
                    landing_y = last[i, Y] + my * command_x + mx * command_y
                reward = np.float64(row[at_reward])
                end = settings.goals[before] - 1
                if settings.pays >= DISTANCE:
                    apart = -reward if settings.pays == DISTANCE else math.sqrt(max(0.0, -reward))
                    learn_anywhere(anchors, i, landing_x, landing_y, apart)
                elif not learn_goal(settings, alive, spots, count, i, after, end, landing_x, landing_y, reward):
                    # What was believed cannot be true: this is another task.
                    forget(alive, spots, count, anchors, motor, i)
                    learn_goal(settings, alive, spots, count, i, after, end, landing_x, landing_y, reward)
        if fresh[i] or begins:
            last[i, TIME] = 0.0
            plan[i, WAY] = 0.0
            plan[i, DRIVEN] = 0.0
        elif goal != int(last[i, GOAL]):
            plan[i, WAY] = 0.0
        ax, ay = 1.0, 0.0
        mx, my = settings.stride, 0.0
        known = True
        if settings.hidden[level]:
            mx, my = motor[i, MOTOR_X], motor[i, MOTOR_Y]
            known = motor[i, KNOWN] > 0.0
        if known:
            square = mx * mx + my * my
            left = horizons[level] - last[i, TIME]
            stride = math.sqrt(square)
            target_x, target_y = choose(
                settings, alive, spots, count, anchors, plan, i, level, goal, x, y, left, stride, sweep
            )
            dx, dy = target_x - x, target_y - y
            ax = (dx * mx + dy * my) / square
            ay = (dy * mx - dx * my) / square
            if settings.by_length:
                size = math.sqrt(ax * ax + ay * ay)
                if size > 1.0:
                    ax /= size
                    ay /= size
            ax = min(max(ax, -1.0), 1.0)
            ay = min(max(ay, -1.0), 1.0)
        last[i, X] = x
        last[i, Y] = y
        last[i, COMMAND_X] = ax
        last[i, COMMAND_Y] = ay
        last[i, LEVEL] = level
        last[i, GOAL] = goal
        last[i, TIME] += 1.0
        actions[i, 0] = ax
        actions[i, 1] = ay


class CircleSweep:
    """Finds out how the motors work and where the goals are, keeps both for a lifetime, and takes the shortest tour.

    One move identifies the motors exactly. It knows that goals lie on the half circle, and keeps the angles of each
    that every step so far allows. A goal is searched for by sweeps along a circle inside the half circle, planned so
    that most of these angles are passed, early ones counting more; the first reward of a last goal gives its distance
    and so its place, and the first visit of another a narrow range. Tours to known goals pass the discs of those before
    the last in the fewest whole steps. Where something happens that cannot be, it takes the task for another one and
    begins anew. Where distances are paid everywhere (MAML's task), it finds the goal from three of them. It has no
    randomness.
    """

    name = "circle-sweep"

    def __init__(self, *, sweep: float = 0.9) -> None:
        """Set how it searches.

        Args:
            sweep: radius of the circle that it sweeps along, in [0.5, 1.2].

        Raises:
            ValueError: a value out of range.
        """
        self._sweep = check_number("sweep", sweep, 0.5, 1.2)

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is PointRobot with the extras that the learner reads and a goal that it can search for."""
        needed = ["previous_reward", "episode_start"] + ["level"] * (len(spec.levels) > 1)
        if spec.family != "PointRobot" or not all(name in spec.layout for name in needed):
            return False
        return spec.settings["goals"] == "half-circle" or spec.settings["pays"] in ("distance", "squared")

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        n = len(seeds)
        self._settings, self._layout = spec.constants, spec.layout
        self._horizons = np.array([level.horizon for level in spec.levels], dtype=np.int64)
        names = ("goal", "previous_reward", "episode_start", "level")
        self._columns = np.array([spec.layout.start(name) for name in names], dtype=np.int64)
        self._alive = np.ones((n, GOALS, BINS), dtype=np.uint8)
        self._spots = np.zeros((n, GOALS, 2))
        self._count = np.zeros((n, GOALS), dtype=np.int64)
        self._anchors = np.zeros((n, 8))
        self._motor = np.zeros((n, 3))
        self._plan = np.zeros((n, 3))
        self._last = np.zeros((n, 7))

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One command per lifetime, ``float64[N, 2]``."""
        actions = np.empty((len(fresh), 2))
        own = self._last[:, COMMAND_X : COMMAND_Y + 1]
        done = self._layout.last_actions(observations, own, "command")
        # The last command of an episode is not shown.
        driven = (done != own).any(axis=1) & (observations[:, self._columns[2]] < 0.5)
        self._plan[driven, DRIVEN] = 1.0
        self._last[driven, COMMAND_X : COMMAND_Y + 1] = done[driven]
        act_all(
            self._settings,
            self._horizons,
            self._columns,
            self._sweep,
            observations,
            fresh,
            self._alive,
            self._spots,
            self._count,
            self._anchors,
            self._motor,
            self._plan,
            self._last,
            actions,
        )
        return actions


# --- without a memory -------------------------------------------------------------------------------------------------


@register_jitable
def turned(x, y, angle):
    """The vector (x, y) turned by an angle."""
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


@register_jitable
def patrol_heading(x, y, way, stride, sweep, start):
    """Where to step from (x, y): out to the circle of the sweep at the angle ``start``, then along it.

    Returns the step, which is ``stride`` long save where the circle is nearer.
    """
    from_start = length(x, y)
    if from_start < sweep - 0.5 * stride:
        target_x, target_y = sweep * math.cos(start), sweep * math.sin(start)
        target_x, target_y = towards(x, y, target_x, target_y, stride)
        return target_x - x, target_y - y
    angle = math.atan2(y, x) + way * 2.0 * math.asin(min(1.0, 0.5 * stride / sweep))
    target_x, target_y = towards(x, y, sweep * math.cos(angle), sweep * math.sin(angle), stride)
    return target_x - x, target_y - y


@register_jitable
def patrol_goal(x, y, way, apart):
    """Where a goal lies that is ``apart`` away: ahead, or behind for a robot that has come to the goals' own circle."""
    from_start = length(x, y)
    cosine = (from_start * from_start + 1.0 - apart * apart) / (2.0 * max(from_start, 1e-6))
    spread = math.acos(min(max(cosine, -1.0), 1.0))
    if abs(from_start - 1.0) < ON_CIRCLE:
        way = -way
    angle = math.atan2(y, x)
    if not 0.0 <= angle + way * spread <= math.pi:
        way = -way
    return math.cos(angle + way * spread), math.sin(angle + way * spread)


@kernel
def patrol_all(settings, horizons, columns, sweep, start, observations, actions):
    """Choose actions, one lifetime after another, by what each sees now."""
    at_goal, at_reward, at_level, at_time = columns[0], columns[1], columns[2], columns[3]
    for i in range(len(actions)):
        row = observations[i]
        level = 0
        if at_level >= 0:
            for k in range(len(horizons)):
                if row[at_level + k] > 0.5:
                    level = k
        goal = 0
        if at_goal >= 0:
            for k in range(GOALS):
                if row[at_goal + k] > 0.5:
                    goal = k
        x, y, command_x, command_y = np.float64(row[0]), np.float64(row[1]), np.float64(row[2]), np.float64(row[3])
        time = round(np.float64(row[at_time]) * horizons[level])
        reward = np.float64(row[at_reward])
        last = settings.goals[level] - 1
        hidden = settings.hidden[level] != 0
        if time == 0:
            reward = np.float64(0.0)  # that of another episode
        stride = settings.stride
        angle = math.atan2(y, x)
        if angle < -0.5 * math.pi:
            angle += 2.0 * math.pi
        way = 1.0
        turn = 0.0
        if hidden:
            # What the motors do follows from where the robot must have come from to be where it is: by a short first
            # step from the start, then straight out, then along the circle, always the same way round.
            if time == 0:
                actions[i, 0] = PROBE
                actions[i, 1] = 0.0
                continue
            if command_x == 0.0 and command_y == 0.0:
                actions[i] = 0.0
                continue
            from_start = length(x, y)
            heading = angle
            if time == 1:
                stride = from_start / PROBE
            elif from_start < sweep - 0.01:
                stride = from_start / (time - 1)
            else:
                stride = sweep * (1.0 + max(0.0, angle - start)) / (time - 1)
                if angle > start + 0.02:
                    heading = angle + 0.5 * math.pi - math.asin(min(1.0, 0.5 * stride / sweep))
            stride = min(max(stride, settings.stride * settings.gains[0]), settings.stride * settings.gains[1])
            turn = heading - math.atan2(command_y, command_x)
        elif goal > 0 and reward > 0.5 and (goal < last or reward == 1.0) and time > 0 and command_x != 0.0:
            # Just visited a goal: on to the larger part of the half circle.
            way = 1.0 if angle < 0.5 * math.pi else -1.0
        elif length(x, y) > 0.5 * sweep:
            # Onwards, and back at either end.
            along = command_y * math.cos(angle) - command_x * math.sin(angle)
            way = -1.0 if along < -0.3 else 1.0
            if goal == last and reward == 0.0 and length(x, y) > sweep + OFF_SWEEP:
                way = -way  # there is no reason to be here but a guess that was wrong: the goal is behind
        if not hidden:
            if angle > math.pi - start:
                way = -1.0
            elif angle < start:
                way = 1.0
        dx, dy = patrol_heading(x, y, way, stride, sweep, start)
        if goal == last and reward > 0.0 and not (last > 0 and reward == 1.0 and length(x, y) < 0.99):
            if reward > (NEAR if hidden else NEARER):
                actions[i] = 0.0
                continue
            apart = (1.0 - reward) * (settings.radius if settings.pays == CONE else 1.0)
            goal_x, goal_y = patrol_goal(x, y, way, apart)
            dx, dy = goal_x - x, goal_y - y
        elif hidden and angle > math.pi - start:
            dx, dy = 0.0, 0.0
        ax, ay = turned(dx / stride, dy / stride, -turn)
        size = length(ax, ay)
        if size > 1.0:
            ax /= size
            ay /= size
        actions[i, 0] = min(max(ax, -1.0), 1.0)
        actions[i, 1] = min(max(ay, -1.0), 1.0)


class CirclePatrol:
    """The best hand-made policy without a memory: what it does depends on the present observation alone.

    It goes out to a circle inside the half circle and walks along it, onwards by its last command, back at either end,
    until a reward tells how far the last goal is; it goes there and stays. After visiting a goal it takes the larger
    part of the half circle. With hidden motors it reads off its position and its last command what they do, as
    far as it is where it should be. The same search begins anew in every episode.
    """

    name = "circle-patrol"

    def __init__(self, *, sweep: float = 0.92, start: float = 0.2) -> None:
        """Set where it walks.

        Args:
            sweep: radius of the circle, in [0.5, 1.2].
            start: angle at which it begins, and how far from either end it turns round, in [0, 1.5].

        Raises:
            ValueError: a value out of range.
        """
        self._sweep = check_number("sweep", sweep, 0.5, 1.2)
        self._start = check_number("start", start, 0.0, 1.5)

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is PointRobot with goals on the half circle and the extras that the policy reads."""
        needed = ["previous_reward", "time"] + ["level"] * (len(spec.levels) > 1)
        if spec.family != "PointRobot" or not all(name in spec.layout for name in needed):
            return False
        return spec.settings["goals"] == "half-circle" and spec.settings["pays"] in ("cone", "sparse")

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Take note of the environment; there is nothing else to keep."""
        self._settings = spec.constants
        self._horizons = np.array([level.horizon for level in spec.levels], dtype=np.int64)
        names = ("goal", "previous_reward", "level", "time")
        self._columns = np.array([spec.layout.start(name) for name in names], dtype=np.int64)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One command per lifetime, ``float64[N, 2]``."""
        actions = np.empty((len(observations), 2))
        patrol_all(self._settings, self._horizons, self._columns, self._sweep, self._start, observations, actions)
        return actions


__all__ = ["CirclePatrol", "CircleSweep"]
