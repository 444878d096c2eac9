"""Agents for CartPole: one that identifies the physics and sweeps the track, and one without memory."""

import math

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.kernels import kernel

GRAVITY = 9.8
TAU = 0.02
FORCE = 10.0
CART_MASS, POLE_MASS, HALF_LENGTH = 1.0, 0.1, 0.5
FALLEN = 12 * 2 * math.pi / 360
SHORT_OF_CENTRE = 0.02
SET_OFF = 0.8
FAST = 1e9
# Of the sweep: speed through what is unsearched (m/s), the braking it counts on before that, and how far it goes.
SWEEP = 1.0
BRAKE = 1.2
FARTHEST = 2.1
# Of the least squares: standard deviation of an acceleration measured through float32 observations (m/s^2), and the
# misfit and number of steps from which on other physics must be in force than those identified.
NOISE = 1e-3
MISFIT = 0.05
SURE = 6
# Of the agent without memory, by kind of control and level, found by evolution on tasks of its own. In order: feedback
# of the way to the target, of speed, angle and spin; the farthest way that counts; where the target goes in the first
# half of an episode, from and to, and in the second; the sum of position, speed, angle and spin above which the motor
# is taken to be the right way round, and the weights of the last three in it; more feedback of speed where it is paid.
REACTIVE = {
    "discrete": (
        (1.18, 2.3, 7.89, 2.12, 0.88, -1.21, -1.92, -2.25, -2.28, 0.0, 0.0, 0.0, 0.0, 0.03),
        (1.59, 2.11, 7.5, 2.07, 0.58, 1.89, 1.35, 2.17, 3.7, -0.07, 0.51, 1.75, 0.43, 0.09),
        (0.93, 1.83, 6.23, 2.1, 0.69, 2.39, 1.1, 2.08, 3.49, 0.01, 0.19, 1.77, 0.21, -0.01),
    ),
    "continuous": (
        (1.57, 2.77, 12.79, 3.05, 0.81, -1.21, -1.59, -3.31, -1.52, 0.0, 0.0, 0.0, 0.0, 0.09),
        (1.4, 2.77, 13.15, 3.55, 0.93, 1.45, 4.06, 3.21, 1.53, 0.01, 0.42, 0.83, 0.38, 0.98),
        (1.74, 3.47, 14.08, 4.57, 0.74, 1.76, 1.24, 3.23, 2.12, 0.01, 0.14, 1.58, 0.17, 0.43),
    ),
}
# Columns of ``last``: the state before the action, the command, steps taken, steps identified from, and to which side
# the search goes on (0: not decided).
SPEED, ANGLE, SPIN, COMMAND, TIME, COUNT, HEADING = range(7)
# Columns of ``model``: strength and wind (accelerations by motor and push), lever, arm; see `regulate`.
STRENGTH, WIND, LEVER, ARM = range(4)
# Columns of ``seen``: positions between which a place must lie; empty (low > high) where it is unknown.
LOW, HIGH = range(2)


@register_jitable
def regulate(gains, strength, wind, lever, arm, x, speed, angle, spin, target, cruise):
    """The motor command, in full forces, that brings the cart to rest at ``target`` with the pole upright.

    A cascade: the way left gives a speed (a parabola that brakes in time), the speed an acceleration, that a tilt, that
    a rate of turning, and the exact inverse of the dynamics the command. What moves like a free mass under the tilt is
    not the cart but the point ``x + arm * angle``.

    Args:
        gains: the family's constants ``regulator``.
        strength: acceleration by the motor's full force, signed (force / total mass).
        wind: acceleration by the constant push.
        lever: pole mass * half length / total mass.
        arm: 4/3 of the half length.
        x: position of the cart.
        speed: of the cart.
        angle: of the pole.
        spin: of the pole.
        target: where to.
        cruise: highest speed on the way.
    """
    sine = math.sin(angle)
    cosine = math.cos(angle)
    authority = abs(strength) / max(arm - lever, 0.05)
    rate = min(math.sqrt(authority), gains[8])
    tilt = max(FALLEN - gains[0] - gains[1] * authority * TAU * TAU, 0.02)
    right = min(tilt, max(gains[7] * (abs(strength) + wind) / GRAVITY, 0.02))
    left = min(tilt, max(gains[7] * (abs(strength) - wind) / GRAVITY, 0.02))
    pace = speed + arm * spin
    way = target - x - arm * angle
    brake = gains[2] * GRAVITY * (left if way > 0.0 else right)
    slope = gains[3] * rate
    knee = brake / (slope * slope)
    far = abs(way)
    if far < knee:
        wanted = slope * far
    else:
        wanted = math.sqrt(2.0 * brake * (far - 0.5 * knee))
        slope = brake / wanted
    if wanted > cruise:
        wanted = cruise
        slope = 0.0
    if way < 0.0:
        wanted = -wanted
    acceleration = gains[4] * rate * (wanted - pace) - gains[6] * slope * pace
    lean = min(max(acceleration / GRAVITY, -left), right)
    turning = (gains[5] * rate * (lean - angle) - spin) / TAU
    temp = (GRAVITY * sine - turning * (arm - lever * cosine * cosine)) / cosine
    return (temp - wind - lever * spin * spin * sine) / strength


@register_jitable
def nominal(model, i, motor):
    """Gymnasium's physics, with a factor on the motor's force."""
    mass = CART_MASS + POLE_MASS
    model[i, STRENGTH] = FORCE * motor / mass
    model[i, WIND] = 0.0
    model[i, LEVER] = POLE_MASS * HALF_LENGTH / mass
    model[i, ARM] = 4.0 / 3.0 * HALF_LENGTH


@register_jitable
def forget_body(settings, motors, squares, products, arms, last, i):
    """Begin the least squares of level 2 from what the settings say (and from the motor, where it is known)."""
    cart = 0.5 * (settings.carts[0] + settings.carts[1])
    pole = 0.5 * (settings.poles[0] + settings.poles[1])
    mass = cart + pole
    heaviest, lightest = settings.carts[1] + settings.poles[1], settings.carts[0] + settings.poles[0]
    half_length = 0.5 * (settings.lengths[0] + settings.lengths[1])
    strongest = FORCE * settings.gains[1] / lightest
    least = settings.poles[0] * settings.lengths[0] / heaviest
    most = settings.poles[1] * settings.lengths[1] / lightest
    means = (FORCE * motors[i] / mass, 0.0, 0.5 * (least + most))
    widths = (
        strongest if motors[i] == 0.0 else 0.5 * abs(FORCE * motors[i]) / lightest,
        0.5 * settings.push * strongest + 0.01,
        0.5 * (most - least) + 0.001,
    )
    for j in range(3):
        for k in range(3):
            squares[i, j, k] = 0.0
        squares[i, j, j] = 1.0 / (widths[j] * widths[j])
        products[i, j] = means[j] * squares[i, j, j]
    spread = 0.5 * (settings.lengths[1] - settings.lengths[0]) + 0.001
    arms[i, 0] = 4.0 / 3.0 * half_length / (spread * spread)
    arms[i, 1] = 1.0 / (spread * spread)
    last[i, COUNT] = 0.0


@register_jitable
def forget_place(searched, seen, i, k):
    """Nothing is known of place ``k``."""
    seen[i, k, LOW] = 1.0
    seen[i, k, HIGH] = -1.0
    searched[i, k] = 0


@register_jitable
def solve(squares, products, model, i):
    """Posterior mean of strength, wind and lever: a symmetric system of three equations."""
    a, b, c = squares[i, 0, 0], squares[i, 0, 1], squares[i, 0, 2]
    d, e, f = squares[i, 1, 1], squares[i, 1, 2], squares[i, 2, 2]
    # Cholesky, row by row.
    l00 = math.sqrt(a)
    l10, l20 = b / l00, c / l00
    l11 = math.sqrt(max(d - l10 * l10, 1e-12))
    l21 = (e - l20 * l10) / l11
    l22 = math.sqrt(max(f - l20 * l20 - l21 * l21, 1e-12))
    y0 = products[i, 0] / l00
    y1 = (products[i, 1] - l10 * y0) / l11
    y2 = (products[i, 2] - l20 * y0 - l21 * y1) / l22
    z2 = y2 / l22
    z1 = (y1 - l21 * z2) / l11
    model[i, STRENGTH] = (y0 - l10 * z1 - l20 * z2) / l00
    model[i, WIND] = z1
    model[i, LEVER] = z2


@register_jitable
def identify(settings, motors, squares, products, arms, model, last, i, level, speed, spin):
    """Learn the physics from the step that led to ``speed`` and ``spin``.

    Two equations of motion are linear in what is unknown: ``arm * turning = g sin - cos * acceleration``, and, divided
    by the total mass, ``acceleration = strength * command + wind - lever * (turning * cos - spin^2 * sin)``.
    """
    sine, cosine = math.sin(last[i, ANGLE]), math.cos(last[i, ANGLE])
    acceleration = (speed - last[i, SPEED]) / TAU
    turning = (spin - last[i, SPIN]) / TAU
    command = last[i, COMMAND]
    swing = turning * cosine - last[i, SPIN] * last[i, SPIN] * sine
    if settings.hidden_body[level] == 0:
        if abs(command) > 0.2:
            mass = CART_MASS + POLE_MASS
            motors[i] = (mass * acceleration + POLE_MASS * HALF_LENGTH * swing) / (FORCE * command)
            nominal(model, i, motors[i])
        return
    row = (command, 1.0, -swing)
    guess = model[i, STRENGTH] * command + model[i, WIND] - model[i, LEVER] * swing
    if last[i, COUNT] >= SURE and abs(acceleration - guess) > MISFIT:
        # Other physics than those identified: begin anew, with the motor unknown.
        motors[i] = 0.0
        forget_body(settings, motors, squares, products, arms, last, i)
    weight = 1.0 / (NOISE * NOISE)
    for j in range(3):
        for k in range(3):
            squares[i, j, k] += weight * row[j] * row[k]
        products[i, j] += weight * row[j] * acceleration
    arms[i, 0] += weight * turning * (GRAVITY * sine - cosine * acceleration)
    arms[i, 1] += weight * turning * turning
    last[i, COUNT] += 1.0
    solve(squares, products, model, i)
    model[i, ARM] = arms[i, 0] / arms[i, 1]


@register_jitable
def look(settings, searched, seen, i, k, x, paid):
    """Learn about place ``k`` from whether position ``x`` paid."""
    bins = searched.shape[2]
    size = 2.0 * settings.reach / bins
    width = settings.width
    low, high = seen[i, k, LOW], seen[i, k, HIGH]
    known = low <= high
    if paid:
        first, final = x - width, x + width
        if known and first <= high and final >= low:
            seen[i, k, LOW] = max(low, first)
            seen[i, k, HIGH] = min(high, final)
            return
        # Found, or found elsewhere than it was: near here, but not where it was searched for in vain.
        low, high = final, first
        for j in range(bins):
            at = (j + 0.5) * size - settings.reach
            if abs(at - x) < width + 0.5 * size and not searched[i, k, j]:
                low = min(low, max(at - 0.5 * size, first))
                high = max(high, min(at + 0.5 * size, final))
        if low > high:
            low, high = first, final
        seen[i, k, LOW] = low
        seen[i, k, HIGH] = high
        return
    if known:
        # An edge of what pays lies between here and the place.
        if 0.5 * (low + high) > x:
            seen[i, k, LOW] = max(low, x + width - 1e-6)
        else:
            seen[i, k, HIGH] = min(high, x - width + 1e-6)
        if seen[i, k, LOW] <= seen[i, k, HIGH]:
            return
        forget_place(searched, seen, i, k)
    for j in range(bins):
        if abs((j + 0.5) * size - settings.reach - x) + 0.5 * size <= width:
            searched[i, k, j] = 1


@register_jitable
def sweep(settings, searched, last, i, k, x, speed):
    """Where to search on for place ``k``, and how fast to go there: first all of one side, then the other."""
    bins = searched.shape[2]
    size = 2.0 * settings.reach / bins
    for _attempt in range(2):
        near_left, far_left, near_right, far_right = -FAST, 0.0, FAST, 0.0
        for j in range(bins):
            if searched[i, k, j]:
                continue
            at = (j + 0.5) * size - settings.reach
            if at <= x:
                near_left = at
                if far_left == 0.0 or at < far_left:
                    far_left = at
            else:
                if near_right == FAST:
                    near_right = at
                far_right = at
        if near_left > -FAST or near_right < FAST:
            break
        searched[i, k] = 0  # everywhere in vain: something was believed wrongly
    heading = last[i, HEADING]
    if heading == 0.0:
        # To the nearer side, where the way to turn round counts.
        left = x - near_left + (speed * speed / BRAKE if speed > 0.0 else 0.0)
        right = near_right - x + (speed * speed / BRAKE if speed < 0.0 else 0.0)
        heading = 1.0 if right <= left else -1.0
    if near_right == FAST:
        heading = -1.0
    elif near_left == -FAST:
        heading = 1.0
    last[i, HEADING] = heading
    target = far_right if heading > 0.0 else far_left
    free = (near_right - x if heading > 0.0 else x - near_left) - settings.width
    cruise = math.sqrt(SWEEP * SWEEP + 2.0 * BRAKE * max(free, 0.0))
    return min(max(target, -FARTHEST), FARTHEST), cruise


@register_jitable
def aim(settings, searched, seen, model, last, i, level, x, speed, angle, spin):
    """Where to go now, and how fast."""
    if settings.balance:
        return 0.0, FAST
    left = settings.turn[level] - last[i, TIME]
    k = 0 if left > 0.0 else 1
    if seen[i, k, LOW] > seen[i, k, HIGH]:
        return sweep(settings, searched, last, i, k, x, speed)
    place = 0.5 * (seen[i, k, LOW] + seen[i, k, HIGH])
    short = min(SHORT_OF_CENTRE, 0.5 * settings.width)
    target = place - short if x < place else place + short
    if left > 0.0 and settings.turns[level] and abs(x - place) < settings.width:
        target = place
        second = 0.5 * (seen[i, 1, LOW] + seen[i, 1, HIGH])
        if seen[i, 1, LOW] <= seen[i, 1, HIGH] and abs(second - place) > 2.0 * settings.width:
            # Sets off early enough to pass the edge of the first place as it stops paying.
            heading = 1.0 if second > place else -1.0
            authority = abs(model[i, STRENGTH]) / max(model[i, ARM] - model[i, LEVER], 0.05)
            swing = left * TAU - 1.0 / math.sqrt(authority)
            tilt = FALLEN - settings.regulator[0] - settings.regulator[1] * authority * TAU * TAU
            room = heading * (place - x) + settings.width
            pace = heading * (speed + model[i, ARM] * spin)
            if swing < 0.0 or pace * swing + 0.5 * SET_OFF * GRAVITY * tilt * swing * swing < room:
                target = second
    return target, FAST


@register_jitable
def level_of(row, at_level, levels):
    """The level that an observation row shows."""
    for k in range(levels):
        if row[at_level + k] > 0.5:
            return k
    return 0


@kernel
def act_all(
    settings, columns, observations, fresh, motors, squares, products, arms, model, searched, seen, last, commands
):
    """Learn from the last step and choose the next command, one lifetime after another."""
    at_reward, at_start, at_level = columns[0], columns[1], columns[2]
    levels = len(settings.turn)
    for i in range(len(fresh)):
        row = observations[i]
        level = level_of(row, at_level, levels)
        x, speed, angle, spin = float(row[0]), float(row[1]), float(row[2]), float(row[3])
        begins = row[at_start] > 0.5
        if fresh[i]:
            motors[i] = 0.0
            forget_body(settings, motors, squares, products, arms, last, i)
            for k in range(2):
                forget_place(searched, seen, i, k)
        elif not begins:
            # What an episode's last step led to is not shown.
            last[i, TIME] += 1.0
            if settings.hidden_motor[level]:
                identify(settings, motors, squares, products, arms, model, last, i, level, speed, spin)
            if not settings.balance:
                k = 1 if last[i, TIME] > settings.turn[level] else 0
                look(settings, searched, seen, i, k, x, row[at_reward] > 0.5)
                if last[i, TIME] == settings.turn[level]:
                    last[i, HEADING] = 0.0
        if fresh[i] or begins:
            last[i, TIME] = 0.0
            last[i, HEADING] = 0.0
            if settings.hidden_body[level]:
                if last[i, COUNT] == 0.0:
                    forget_body(settings, motors, squares, products, arms, last, i)
                    model[i, ARM] = arms[i, 0] / arms[i, 1]
                solve(squares, products, model, i)
                model[i, ARM] = arms[i, 0] / arms[i, 1]
            else:
                nominal(model, i, motors[i] if settings.hidden_motor[level] else 1.0)
        if abs(model[i, STRENGTH]) < 1e-3:
            command = 1.0  # which way the motor pushes shows in one step
        else:
            target, cruise = aim(settings, searched, seen, model, last, i, level, x, speed, angle, spin)
            command = regulate(
                settings.regulator,
                model[i, STRENGTH],
                model[i, WIND],
                model[i, LEVER],
                model[i, ARM],
                x,
                speed,
                angle,
                spin,
                target,
                cruise,
            )
        if settings.continuous:
            command = min(max(command, -1.0), 1.0)
        else:
            command = 1.0 if command > 0.0 else -1.0
        last[i, SPEED] = speed
        last[i, ANGLE] = angle
        last[i, SPIN] = spin
        last[i, COMMAND] = command
        commands[i] = command


class PoleLearner:
    """Identifies the physics while it balances, sweeps the track for the places, and keeps both for a lifetime.

    Each step shows two accelerations, in which what is unknown is linear: a motor's sign and strength take one step to
    identify, masses, length and push a few (least squares from a prior that the settings give). It then controls as the
    oracle does, on what it identified. Until it has found the place that pays it sweeps the track for it, over what it
    has not yet searched. What contradicts it (steps unlike the physics identified, a place that does not pay) it
    forgets. It has no randomness.
    """

    name = "pole-learner"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is CartPole, with the extras shown that the learner reads."""
        return spec.family == "CartPole" and all(
            name in spec.layout for name in ("previous_reward", "episode_start", "level")
        )

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        settings, layout, n = spec.constants, spec.layout, len(seeds)
        self._settings, self._layout = settings, layout
        names = ("previous_reward", "episode_start", "level")
        self._columns = np.array([layout.start(name) for name in names], dtype=np.int64)
        bins = int(np.clip(math.ceil(8.0 * float(settings.reach) / float(settings.width)), 1, 2000))
        self._motors = np.zeros(n)
        self._squares, self._products, self._arms = np.zeros((n, 3, 3)), np.zeros((n, 3)), np.zeros((n, 2))
        self._model = np.zeros((n, 4))
        self._searched = np.zeros((n, 2, bins), dtype=np.uint8)
        self._seen = np.zeros((n, 2, 2))
        self._last = np.zeros((n, 7))

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``, or ``float64[N, 1]`` if control is continuous."""
        commands = np.empty(len(fresh))
        own = self._last[:, COMMAND]
        if self._settings.continuous:
            self._last[:, COMMAND] = self._layout.last_actions(observations, own[:, None])[:, 0]
        else:
            self._last[:, COMMAND] = 2.0 * self._layout.last_actions(observations, (own > 0.0).astype(np.int64)) - 1.0
        act_all(
            self._settings,
            self._columns,
            observations,
            fresh,
            self._motors,
            self._squares,
            self._products,
            self._arms,
            self._model,
            self._searched,
            self._seen,
            self._last,
            commands,
        )
        return commands[:, None] if self._settings.continuous else (commands > 0.0).astype(np.int64)


@kernel
def react_all(settings, columns, table, observations, commands):
    """The command of the agent without memory, one lifetime after another."""
    at_reward, at_level, at_time = columns[0], columns[1], columns[2]
    for i in range(len(commands)):
        row = observations[i]
        level = level_of(row, at_level, len(settings.turn))
        gains = table[level]
        x, speed, angle, spin = float(row[0]), float(row[1]), float(row[2]), float(row[3])
        share = 2.0 * float(row[at_time])
        if settings.balance:
            target = 0.5 if settings.hidden_motor[level] else 0.0
        elif share < 1.0:
            target = gains[5] + (gains[6] - gains[5]) * share
        else:
            target = gains[7] + (gains[8] - gains[7]) * (share - 1.0)
        sign = 1.0
        if settings.hidden_motor[level] and x + gains[10] * speed + gains[11] * angle + gains[12] * spin < gains[9]:
            sign = -1.0
        way = min(max(x - sign * target, -gains[4]), gains[4])
        damping = gains[1]
        if row[at_reward] > 0.5 and not settings.balance:
            way = 0.0
            damping += gains[13]
        command = sign * (gains[0] * way + damping * speed + gains[2] * angle + gains[3] * spin)
        if settings.continuous:
            commands[i] = min(max(command, -1.0), 1.0)
        else:
            commands[i] = 1.0 if command > 0.0 else -1.0


class PoleReactive:
    """Balances, sweeps by the clock and stays where it is paid: what can be done without a memory.

    It acts on the present observation alone: position, speed, angle and spin, the time, the level, and whether the last
    step was paid. Where the motor's sign is hidden it has no way to remember it but the state of the world: it reads
    the cart's place as the sign (right of the centre the motor is taken to be the right way round, left of it the wrong
    way round). On the wrong side it drives the wrong way, that is, to the other one. So it balances, and half of the
    track is closed to it. Linear feedback, with gains found by evolution (`REACTIVE`).
    """

    name = "pole-reactive"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is CartPole, with the extras shown that the agent reads."""
        return spec.family == "CartPole" and all(name in spec.layout for name in ("previous_reward", "level", "time"))

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._settings = spec.constants
        names = ("previous_reward", "level", "time")
        self._columns = np.array([spec.layout.start(name) for name in names], dtype=np.int64)
        self._table = np.array(REACTIVE["continuous" if spec.continuous else "discrete"])

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``, or ``float64[N, 1]`` if control is continuous."""
        commands = np.empty(len(fresh))
        react_all(self._settings, self._columns, self._table, observations, commands)
        return commands[:, None] if self._settings.continuous else (commands > 0.0).astype(np.int64)


__all__ = ["PoleLearner", "PoleReactive"]
