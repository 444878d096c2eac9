"""CartPole: balance a pole whose physics are hidden, on a place on the track that is hidden, too."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.checks import check_choice, check_integers, check_number, check_numbers
from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import integer, uniform

LEFT, RIGHT = 0, 1
LEVEL_NAMES = ("hidden place", "hidden motor", "hidden physics, two places")
# Gymnasium's CartPole (metres, seconds, kilograms, newtons, radians).
GRAVITY = 9.8
TAU = 0.02
FORCE = 10.0
CART_MASS = 1.0
POLE_MASS = 0.1
HALF_LENGTH = 0.5
TRACK = 2.4
FALLEN = 12 * 2 * math.pi / 360
START = 0.05
# What the observation can reach in the step that ends an episode, generously.
BOUNDS = (4.8, 20.0, 1.0, 20.0)

# Settings with which level 0 is Gymnasium's CartPole-v1, as in `gymnasium.make_vec("daytwo/CartPole-v0", **GYMNASIUM)`;
# levels 1 and 2 are the same with hidden motor and hidden physics.
GYMNASIUM: dict[str, Any] = {"goal": "balance", "horizon": (500, 500, 500)}

# Gains of the oracle's regulator by kind of control, found by random search on 1000 tasks a level. In order: radians
# kept clear of falling; more of them per radian that a step of full force turns the pole; share of the tilt used for
# braking; gains from way to speed, from speed to acceleration and from tilt to turning, in units of the pole's own
# rate; share of the braking that is fed forward; largest tilt as a share of what the motor can catch; highest rate.
REGULATORS = {
    "discrete": (0.022, 0.95, 0.75, 0.56, 1.17, 2.0, 0.39, 1.9, 5.8),
    "continuous": (0.012, 0.3, 0.8, 0.745, 1.03, 2.05, 0.72, 1.9, 12.0),
}
SHORT_OF_CENTRE = 0.02  # where the oracle aims at, from either side
SET_OFF = 0.8  # share of the full acceleration that it counts on when it leaves the first place for the second
FAST = 1e9  # no limit on speed


@register_jitable
def draw(settings, task, stream, i):
    for k in range(2):
        task.places[i, k] = settings.reach * (2.0 * uniform(stream, i) - 1.0)
    sign = 2.0 * integer(stream, i, 2) - 1.0
    low, high = math.log(settings.gains[0]), math.log(settings.gains[1])
    task.motor[i] = sign * math.exp(low + (high - low) * uniform(stream, i))
    task.push[i] = settings.push * (2.0 * uniform(stream, i) - 1.0)
    task.cart_mass[i] = settings.carts[0] + (settings.carts[1] - settings.carts[0]) * uniform(stream, i)
    task.pole_mass[i] = settings.poles[0] + (settings.poles[1] - settings.poles[0]) * uniform(stream, i)
    task.half_length[i] = settings.lengths[0] + (settings.lengths[1] - settings.lengths[0]) * uniform(stream, i)


@register_jitable
def begin(settings, task, state, level, stream, i):
    # The physics in force are copied, so that steps need not ask for the level.
    motor = task.motor[i] if settings.hidden_motor[level] else 1.0
    cart = CART_MASS
    pole = POLE_MASS
    half_length = HALF_LENGTH
    push = 0.0
    if settings.hidden_body[level]:
        cart = task.cart_mass[i]
        pole = task.pole_mass[i]
        half_length = task.half_length[i]
        push = task.push[i] * abs(motor)
    state.force[i] = FORCE * motor
    state.push[i] = FORCE * push
    state.mass[i] = pole + cart
    state.pole_mass[i] = pole
    state.half_length[i] = half_length
    state.x[i] = START * (2.0 * uniform(stream, i) - 1.0)
    state.speed[i] = START * (2.0 * uniform(stream, i) - 1.0)
    state.angle[i] = START * (2.0 * uniform(stream, i) - 1.0)
    state.spin[i] = START * (2.0 * uniform(stream, i) - 1.0)
    state.time[i] = 0
    state.first_paid[i] = -1


@register_jitable
def advance(settings, task, state, level, i, motor):
    """Gymnasium's CartPole for one step: its equations, in its order, with Euler's method."""
    x, speed, angle, spin = state.x[i], state.speed[i], state.angle[i], state.spin[i]
    mass, pole_mass, half_length = state.mass[i], state.pole_mass[i], state.half_length[i]
    moment = pole_mass * half_length
    cosine = math.cos(angle)
    sine = math.sin(angle)
    force = state.force[i] * motor + state.push[i]
    temp = (force + moment * (spin * spin) * sine) / mass
    turning = (GRAVITY * sine - cosine * temp) / (half_length * (4.0 / 3.0 - pole_mass * (cosine * cosine) / mass))
    acceleration = temp - moment * turning * cosine / mass
    x = x + TAU * speed
    speed = speed + TAU * acceleration
    angle = angle + TAU * spin
    spin = spin + TAU * turning
    state.x[i] = x
    state.speed[i] = speed
    state.angle[i] = angle
    state.spin[i] = spin
    time = state.time[i] + 1
    state.time[i] = time
    ended = x < -TRACK or x > TRACK or angle < -FALLEN or angle > FALLEN
    if settings.balance:
        return 1.0, ended
    if abs(x - task.places[i, 1 if time > settings.turn[level] else 0]) <= settings.width:
        if state.first_paid[i] < 0:
            state.first_paid[i] = time
        return 1.0, ended
    return 0.0, ended


@register_jitable
def step(settings, task, state, level, stream, i, action):
    return advance(settings, task, state, level, i, 1.0 if action == RIGHT else -1.0)


@register_jitable
def step_continuous(settings, task, state, level, stream, i, action):
    return advance(settings, task, state, level, i, action[0])


@register_jitable
def observe(settings, task, state, level, i, out):
    out[0] = state.x[i]
    out[1] = state.speed[i]
    out[2] = state.angle[i]
    out[3] = state.spin[i]


@register_jitable
def regulate(gains, strength, wind, lever, arm, x, speed, angle, spin, target, cruise):
    """The motor command, in full forces, that brings the cart to rest at ``target`` with the pole upright.

    A cascade: the way left gives a speed (a parabola that brakes in time), the speed an acceleration, that a tilt, that
    a rate of turning, and the exact inverse of the dynamics the command. What moves like a free mass under the tilt is
    not the cart but the point ``x + arm * angle``.

    Args:
        gains: a row of `REGULATORS`.
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
    authority = abs(strength) / (arm - lever)
    rate = min(math.sqrt(authority), gains[8])
    tilt = FALLEN - gains[0] - gains[1] * authority * TAU * TAU
    right = min(tilt, gains[7] * (abs(strength) + wind) / GRAVITY)
    left = min(tilt, gains[7] * (abs(strength) - wind) / GRAVITY)
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
def steer(settings, task, state, level, i):
    """The oracle's motor command: to the place that pays, and off to the second one in time."""
    x, speed, angle, spin = state.x[i], state.speed[i], state.angle[i], state.spin[i]
    mass = state.mass[i]
    strength, wind = state.force[i] / mass, state.push[i] / mass
    lever, arm = state.pole_mass[i] * state.half_length[i] / mass, 4.0 / 3.0 * state.half_length[i]
    gains = settings.regulator
    if settings.balance:
        return regulate(gains, strength, wind, lever, arm, x, speed, angle, spin, 0.0, FAST)
    left = settings.turn[level] - state.time[i]
    place = task.places[i, 0 if left > 0 else 1]
    short = min(SHORT_OF_CENTRE, 0.5 * settings.width)
    target = place - short if x < place else place + short
    if left > 0 and left < settings.horizon[level] and abs(x - place) < settings.width and settings.turns[level]:
        second = task.places[i, 1]
        heading = 1.0 if second > place else -1.0
        target = place
        if abs(second - place) > 2.0 * settings.width:
            # Sets off early enough to pass the edge of the first place as it stops paying.
            authority = abs(strength) / (arm - lever)
            swing = left * TAU - 1.0 / math.sqrt(authority)
            tilt = FALLEN - gains[0] - gains[1] * authority * TAU * TAU
            room = heading * (place - x) + settings.width
            pace = heading * (speed + arm * spin)
            if swing < 0.0 or pace * swing + 0.5 * SET_OFF * GRAVITY * tilt * swing * swing < room:
                target = second
    return regulate(gains, strength, wind, lever, arm, x, speed, angle, spin, target, FAST)


@register_jitable
def oracle(settings, task, state, level, i):
    return RIGHT if steer(settings, task, state, level, i) > 0.0 else LEFT


@register_jitable
def oracle_continuous(settings, task, state, level, i, out):
    out[0] = min(max(steer(settings, task, state, level, i), -1.0), 1.0)


@register_jitable
def diagnose(settings, task, state, level, i, out):
    out[0] = 1.0 if abs(state.x[i]) > TRACK or abs(state.angle[i]) > FALLEN else 0.0
    out[1] = float(state.first_paid[i]) if state.first_paid[i] > 0 else math.nan


class CartPole(TaskFamily):
    """Gymnasium's CartPole with a hidden place on the track that pays, and hidden physics.

    What it tests:
        Identifying a system while already controlling it, exploring without falling, and going straight to what was
        found in earlier episodes. Balancing alone is not enough: it pays nothing.
    Task:
        ``places``: two positions on the track, uniform on [-2, 2] metres (``reach``). ``motor``: a factor on the force
        of 10 N, its size log-uniform on [0.6, 1.7] (``gains``), its sign positive or negative with equal chance.
        ``push``: a constant force on the cart, uniform between -1/4 and 1/4 of the motor's force (``push``).
        ``cart_mass`` uniform on [0.6, 1.5] kg, ``pole_mass`` on [0.05, 0.25] kg, ``half_length`` of the pole on
        [0.3, 0.7] m.
    Episode:
        Starts as Gymnasium's: position, speed, angle and spin (the pole's angular velocity) each uniform on
        [-0.05, 0.05]. It ends when the pole leans more than 12 degrees, when the cart leaves the track of 2.4 m to
        either side, or at the level's horizon. A step is 0.02 s by Euler's method, in Gymnasium's equations.
    Observation:
        Gymnasium's: ``position`` (m), ``speed`` (m/s), ``angle`` (rad) and ``spin`` (rad/s).
    Action:
        ``Discrete(2)``: full force left or right (as the motor was wired, which is what level 1 hides); or, with
        ``control="continuous"``, ``Box(-1, 1, (1,))``: that share of the full force.
    Reward:
        1 on every step after which the cart is within 0.1 m (``width``) of the place that pays, else 0. With
        ``goal="balance"``, 1 on every step, as in Gymnasium.
    Levels:
        (0) Nominal physics and the first place, 200 steps; (1) the same place with the motor's hidden sign and
        strength, 200 steps; (2) also hidden masses, length and push, and two places: the first (that of the levels
        before) pays in the first half of the episode, the second in the second half, 300 steps.
    Oracle:
        A regulator on the true physics, computed in closed form: a braking parabola, a cascade of speed, tilt and turn,
        and the exact inverse of the dynamics; at level 2 it sets off for the second place before the first stops
        paying. Not exactly optimal: with ``control="discrete"`` it reaches 0.96 to 0.97 of an upper bound that linear
        programming gives for levels 0 and 1 (free to choose any force between the two), 0.97 to 0.98 with
        ``control="continuous"`` (the tests repeat this). Its return varies by task, since near places pay for longer.
    Reference learner:
        ``pole-learner``: least squares for the physics, the same regulator on what it has identified, a sweep of the
        track for the places, all kept from level to level.
    Source:
        Barto, Sutton & Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning control
        problems"; the dynamics are those of Gymnasium's CartPole-v1 (Florian 2007, "Correct equations for the dynamics
        of the cart-pole system"), to which `GYMNASIUM` reduces level 0.
    """

    name = "CartPole"
    tags = ("exploration", "memory", "continuous", "system-identification")
    reference = "pole-learner"
    reactive = "pole-reactive"
    harder = {"width": 0.05}
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)
    diagnose = staticmethod(diagnose)

    def __init__(
        self,
        *,
        control: str = "discrete",
        goal: str = "place",
        horizon: Sequence[int] | None = None,
        reach: float = 2.0,
        width: float = 0.1,
        gains: Sequence[float] = (0.6, 1.7),
        push: float = 0.25,
        cart_masses: Sequence[float] = (0.6, 1.5),
        pole_masses: Sequence[float] = (0.05, 0.25),
        half_lengths: Sequence[float] = (0.3, 0.7),
    ) -> None:
        """Set the ranges of the hidden things.

        Args:
            control: ``discrete`` (full force left or right) or ``continuous`` (any share of it).
            goal: ``place`` (steps near the hidden place pay) or ``balance`` (every step pays; nothing but the
                physics is hidden, and at level 0 nothing at all).
            horizon: steps per episode, three numbers, each 2 to 100000; by default 200, 200, 300.
            reach: places lie within so many metres of the centre, 0 to 2.2.
            width: how near to the place pays, in metres, 0.01 to 1.
            gains: least and greatest size of the factor on the motor's force, each 0.5 to 2.
            push: largest constant push as a share of the motor's force, 0 to 0.3.
            cart_masses: least and greatest mass of the cart in kg, each 0.5 to 2.
            pole_masses: least and greatest mass of the pole in kg, each 0.01 to 0.3.
            half_lengths: least and greatest distance of the pole's centre of mass in m, each 0.25 to 0.8.

        Raises:
            ValueError: a value out of range.
        """
        control = check_choice("control", control, tuple(REGULATORS))
        goal = check_choice("goal", goal, ("place", "balance"))
        horizons = check_integers("horizon", (200, 200, 300) if horizon is None else horizon, 3, 2, 100_000)
        reach = check_number("reach", reach, 0.0, 2.2)
        width = check_number("width", width, 0.01, 1.0)
        push = check_number("push", push, 0.0, 0.3)
        ranges = {
            "gains": check_numbers("gains", gains, 2, 0.5, 2.0),
            "cart_masses": check_numbers("cart_masses", cart_masses, 2, 0.5, 2.0),
            "pole_masses": check_numbers("pole_masses", pole_masses, 2, 0.01, 0.3),
            "half_lengths": check_numbers("half_lengths", half_lengths, 2, 0.25, 0.8),
        }
        for name, (low, high) in ranges.items():
            if low > high:
                raise ValueError(f"{name} must be two numbers in order, received {(low, high)!r}.")
        places = goal == "place"
        if control == "continuous":
            # Actions differ in type, so each kind of control has a compiled loop of its own.
            self.step = step_continuous
            self.oracle = oracle_continuous  # type: ignore[assignment]
        never = 1_000_000
        super().__init__(
            keywords={"control": control, "goal": goal, "horizon": horizons, "reach": reach, "width": width}
            | {"push": push, **ranges},
            settings={
                "continuous": int(control == "continuous"),
                "balance": int(not places),
                "horizon": list(horizons),
                "reach": reach,
                "width": width,
                "gains": list(ranges["gains"]),
                "push": push,
                "carts": list(ranges["cart_masses"]),
                "poles": list(ranges["pole_masses"]),
                "lengths": list(ranges["half_lengths"]),
                "hidden_motor": [0, 1, 1],
                "hidden_body": [0, 0, 1],
                "turns": [0, 0, int(places)],
                # Steps after which the second place pays.
                "turn": [never, never, horizons[2] // 2 if places else never],
                "regulator": list(REGULATORS[control]),
            },
            task=[
                ("places", "f8", (2,)),
                ("motor", "f8"),
                ("push", "f8"),
                ("cart_mass", "f8"),
                ("pole_mass", "f8"),
                ("half_length", "f8"),
            ],
            state=[
                ("x", "f8"),
                ("speed", "f8"),
                ("angle", "f8"),
                ("spin", "f8"),
                ("force", "f8"),
                ("push", "f8"),
                ("mass", "f8"),
                ("pole_mass", "f8"),
                ("half_length", "f8"),
                ("time", "i4"),
                ("first_paid", "i4"),
            ],
            levels=[Level(name, steps) for name, steps in zip(LEVEL_NAMES, horizons, strict=True)],
            actions=spaces.Discrete(2) if control == "discrete" else spaces.Box(-1.0, 1.0, (1,), np.float32),
            fields=[
                Field(name, 1, -bound, bound)
                for name, bound in zip(("position", "speed", "angle", "spin"), BOUNDS, strict=True)
            ],
            action_names=("left", "right") if control == "discrete" else None,
            diagnostics=[Field("fell", 1), Field("first_paid_step", 1, 0.0, float(max(horizons)))],
        )

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw."""
        task = super().task_from_dict(values)
        row, keywords = task[0], self.keywords
        if not (np.abs(row["places"]) <= keywords["reach"]).all():
            raise ValueError(f"places must lie within {keywords['reach']:g} of 0, received {row['places'].tolist()}.")
        if not abs(row["push"]) <= keywords["push"]:
            raise ValueError(f"push must lie within {keywords['push']:g} of 0, received {row['push']:g}.")
        slack = 1e-12  # exp(log(x)) is not quite x
        for name, value, (low, high) in (
            ("motor", abs(row["motor"]), keywords["gains"]),
            ("cart_mass", row["cart_mass"], keywords["cart_masses"]),
            ("pole_mass", row["pole_mass"], keywords["pole_masses"]),
            ("half_length", row["half_length"], keywords["half_lengths"]),
        ):
            if not low - slack <= value <= high + slack:
                size = "the size of motor" if name == "motor" else name
                raise ValueError(f"{size} must lie in [{low:g}, {high:g}], received {value:g}.")
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def _place(self, scene: Scene) -> float | None:
        """The place that pays next; None where every step pays."""
        if self.settings.balance[0]:
            return None
        second = int(scene.state["time"]) >= int(self.settings.turn[0, scene.level])
        return float(scene.task["places"][1 if second else 0])

    def _caption(self, scene: Scene) -> list[str]:
        level, state = self.levels[scene.level], scene.state
        lines = [
            f"CartPole, level {scene.level}: {level.name}",
            f"step {scene.time} of {level.horizon}   return {scene.total:g}   bar {scene.bar:.2f}",
            f"position {float(state['x']):+.2f} m   angle {math.degrees(float(state['angle'])):+.1f} degrees",
        ]
        place = self._place(scene)
        hidden = [] if place is None else [f"place {place:+.2f} m"]
        if self.settings.hidden_motor[0, scene.level]:
            hidden.append(f"motor {float(scene.task['motor']):+.2f}")
        if self.settings.hidden_body[0, scene.level]:
            task = scene.task
            hidden.append(
                f"push {float(task['push']):+.2f}   cart {float(task['cart_mass']):.2f} kg   "
                f"pole {float(task['pole_mass']):.2f} kg, {2 * float(task['half_length']):.2f} m"
            )
        return [*lines, "   ".join(hidden)] if scene.reveal and hidden else lines

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        steps, turn = self.levels[level].horizon, int(self.settings.turn[0, level])
        rules = [
            "You push a cart along a track so that the pole hinged on it stays up. Each of the at most "
            f"{steps} steps of an episode lasts 0.02 seconds, in which you push "
            + ("with full force, left or right." if not self.continuous else "with a force from -1 to 1.")
        ]
        rules.append("The episode ends when the pole leans more than 12 degrees or the cart goes beyond 2.4 m.")
        if self.settings.balance[0]:
            rules.append("Every step pays 1.")
        else:
            near = f"within {self.keywords['width']:g} m of a hidden place on the track"
            within = f"between {-self.keywords['reach']:g} and {self.keywords['reach']:g} m"
            if self.settings.turns[0, level]:
                rules.append(
                    f"Every step that ends {near} pays 1. There are two such places, both {within}: the first pays in "
                    f"steps 1 to {turn}, the second from then on. The first is the place of the levels before."
                )
            else:
                rules.append(f"Every step that ends {near}, which lies {within}, pays 1.")
        if self.settings.hidden_body[0, level]:
            rules.append(
                "The motor may be wired the wrong way round and weaker or stronger than usual, the masses and the "
                "length of the pole are unknown, and something pushes the cart with a constant force."
            )
        elif self.settings.hidden_motor[0, level]:
            rules.append("The motor may be wired the wrong way round, and be weaker or stronger than usual.")
        rules.append(
            "You always start near the middle with the pole almost upright, and everything hidden stays as it is from "
            "episode to episode."
        )
        return " ".join(rules)

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """Where the cart and the pole are and how they move, in plain words."""
        x, speed, angle, spin = (float(value) for value in values)
        return (
            f"Position {x:+.3f} m, moving at {speed:+.3f} m/s; the pole leans {math.degrees(angle):+.2f} degrees "
            f"(positive: to the right), turning at {math.degrees(spin):+.1f} degrees per second."
        )

    def describe_action(self, action: Any) -> str:
        """An action in plain words."""
        if not self.continuous:
            return ("left", "right")[int(action)]
        return f"push {float(np.asarray(action).reshape(-1)[0]):+.2f}"

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: the two pushes, whose ways are to be found out where they are renamed."""
        shown = (r" \(positive: to the right\)", "")
        if not rename:
            return Vocabulary(rewrites=(shown,), note="Positive means to the right.")
        return Vocabulary(
            () if self.continuous else (Symbols("push", ("left", "right")),),
            rewrites=(shown, (r"with full force, left or right\.", "with full force, one way or the other.")),
            note="The pole leans the way of growing positions where its angle is positive.",
        )

    def render_ansi(self, scene: Scene) -> str:
        """The track as text: ``[^]`` is the cart, above it leans the pole; ``=`` pays, where revealed."""
        columns = 61

        def column(x: float) -> int:
            return round((min(max(x, -TRACK), TRACK) + TRACK) / (2 * TRACK) * (columns - 1))

        state, place = scene.state, self._place(scene)
        track = ["-"] * columns
        if scene.reveal and place is not None:
            width = self.keywords["width"]
            for k in range(column(place - width), column(place + width) + 1):
                track[k] = "="
        at = min(max(column(float(state["x"])), 1), columns - 2)
        angle = float(state["angle"])
        lean = "|" if abs(angle) < math.radians(1) else "/" if angle > 0 else "\\"
        cart = [" "] * columns
        cart[at - 1 : at + 2] = list("[^]")
        pole = [" "] * columns
        pole[at] = lean
        return "\n".join([*self._caption(scene), "".join(pole), "".join(cart), "".join(track)])

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The track as an image, ``uint8[height, width, 3]``; hidden things only where revealed."""
        from daytwo.pictures import Canvas

        width, ground, edge = 640, 210, 20
        scale = (width - 2 * edge) / (2 * TRACK)
        state, place = scene.state, self._place(scene)
        canvas = Canvas(width, 330)

        def across(x: float) -> float:
            return width / 2 + scale * x

        canvas.rectangle(edge, ground, width - edge, ground + 8, fill="wall", radius=3)
        for x in (-2.0, -1.0, 0.0, 1.0, 2.0):
            canvas.line(across(x), ground + 8, across(x), ground + 14, colour="grey", width=2)
            canvas.text(across(x), ground + 16, f"{x:g}", colour="dark", size=12, anchor="ma")
        if scene.reveal and place is not None:
            reach = self.keywords["width"]
            canvas.rectangle(across(place - reach), ground - 6, across(place + reach), ground + 8, fill="goal")
        x, angle = across(float(state["x"])), float(state["angle"])
        half = float(state["half_length"]) if scene.reveal else HALF_LENGTH
        tip = (x + 2 * half * scale * math.sin(angle), ground - 34 - 2 * half * scale * math.cos(angle))
        canvas.line(x, ground - 34, *tip, colour="orange", width=8)
        canvas.rectangle(x - 28, ground - 38, x + 28, ground - 8, fill="agent", radius=4)
        for wheel in (x - 16, x + 16):
            canvas.circle(wheel, ground - 6, 6, fill="ink")
        canvas.line(x, ground - 34, x, ground, colour="ink")  # where the cart is, exactly
        canvas.circle(x, ground - 34, 5, fill="paper", outline="ink", width=2)
        if scene.reward > 0:
            canvas.circle(x, ground - 22, 5, fill="yellow")
        for k, line in enumerate(self._caption(scene)):
            canvas.text(edge, ground + 38 + 19 * k, line, size=14)
        return canvas.array()


__all__ = ["GYMNASIUM", "CartPole"]
