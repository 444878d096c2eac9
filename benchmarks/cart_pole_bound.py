"""How near CartPole's oracle is to optimal: its return beside an upper bound that linear programming gives.

The bound is the best return of the linearised cart and pole among all that stay in the place once they have come to it,
with any force between the motor's two (which bang-bang control can at most equal), knowing everything from the start.
At level 2 it also chooses how many steps before the turn to leave the first place. The tilt's limit is widened by one
hundredth to make up for what linearising leaves out (sin x < x).

python benchmarks/cart_pole_bound.py                        about ten minutes, most of them for level 2
python benchmarks/cart_pole_bound.py --tasks 8 --levels 0   sooner
"""

import argparse
import functools

import numpy as np
from scipy.optimize import linprog

import daytwo
from daytwo.calibration import ReferenceReturns
from daytwo.envs.cart_pole import CART_MASS, FALLEN, FORCE, GRAVITY, HALF_LENGTH, POLE_MASS, TAU, TRACK
from daytwo.streams import lifetime_seeds

SLACK = 1.01
TAIL = 60  # steps that one has to stay for; who can do that can stay for good


def plant(task: dict, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transition, effect of a full force, and drift of the linearised (position, speed, angle, spin)."""
    cart, pole, half, push = CART_MASS, POLE_MASS, HALF_LENGTH, 0.0
    motor = task["motor"] if level > 0 else 1.0
    if level > 1:
        cart, pole, half = task["cart_mass"], task["pole_mass"], task["half_length"]
        push = task["push"] * abs(motor)
    mass = cart + pole
    lever, arm = pole * half / mass, 4.0 / 3.0 * half
    turned = np.array([0.0, lever, 0.0, -1.0]) / (
        arm - lever
    )  # of speed and spin, per acceleration that the force gives
    matrix = np.eye(4)
    matrix[0, 1] = matrix[2, 3] = TAU
    matrix[:, 2] -= TAU * GRAVITY * turned
    effect = TAU * (turned + np.array([0.0, 1.0, 0.0, 0.0]))
    return matrix, effect * FORCE * motor / mass, effect * FORCE * push / mass


def possible(system: tuple, start: np.ndarray, stays: list[tuple[int, int, float]], width: float) -> bool:
    """Whether some forces keep the cart within ``width`` of each centre from one step to another, without falling."""
    matrix, effect, drift = system
    steps = max(last for _, last, _ in stays)
    free, kicks = np.zeros((steps + 1, 4)), np.zeros((steps, 4))
    free[0], kicks[0] = start, effect
    for t in range(steps):
        free[t + 1] = matrix @ free[t] + drift
    for t in range(1, steps):
        kicks[t] = matrix @ kicks[t - 1]
    late = np.arange(steps)[:, None] - np.arange(steps)[None, :]
    position, angle = (np.where(late >= 0, kicks[np.maximum(late, 0), k], 0.0) for k in (0, 2))
    centre, room = np.zeros(steps), np.full(steps, TRACK)
    for first, last, place in stays:
        centre[first - 1 : last], room[first - 1 : last] = place, width
    rows = np.vstack([angle, -angle, position, -position])
    ends = [SLACK * FALLEN - free[1:, 2], SLACK * FALLEN + free[1:, 2]]
    ends += [room + centre - free[1:, 0], room - centre + free[1:, 0]]
    solved = linprog(np.zeros(steps), A_ub=rows, b_ub=np.concatenate(ends), bounds=(-1, 1), method="highs")
    return bool(solved.status == 0)


def earliest(system: tuple, start: np.ndarray, before: list, place: float, low: int, high: int, width: float) -> int:
    """First step from ``low`` on after which the cart can be in a place and stay; ``high + 1`` if there is none."""
    end = high + 1
    while low < end:
        step = (low + end) // 2
        if possible(system, start, [*before, (step, min(step + TAIL, high), place)], width):
            end = step
        else:
            low = step + 1
    return end


def upper_bound(family: daytwo.TaskFamily, task: dict, level: int, start: np.ndarray) -> int:
    """The most steps of an episode that anyone can be paid for."""
    system, width, horizon = plant(task, level), float(family.settings.width[0]), family.levels[level].horizon
    turn = min(int(family.settings.turn[0, level]), horizon)
    first, second = task["places"]
    came = earliest(system, start, [], first, 1, turn, width)
    if turn == horizon:
        return horizon + 1 - came
    best = 0
    for left in range(0, 16, 3):
        paid = turn + 1 - came - left
        before = [(came, turn - left, first)] if paid > 0 else []
        there = earliest(system, start, before, second, turn + 1, horizon, width)
        # Three steps may be won by leaving at one of the steps in between.
        best = max(best, paid + horizon + 1 - there + (2 if left else 0))
    return best


def make(control: str, level: int, tasks: int) -> tuple[daytwo.LifetimeVectorEnv, np.ndarray]:
    """An environment at the start of one episode of each of some tasks, the same for both kinds of control."""
    env = daytwo.LifetimeVectorEnv(
        "daytwo/CartPole-v0",
        tasks,
        control=control,
        course="single",
        level=level,
        episodes=1,
        split="all",
        privileged=True,
        autoreset_mode="Disabled",
        reference_returns=ReferenceReturns.given([0, 0, 0], [1, 1, 1]),  # not looked at
    )
    observations, _ = env.reset(seed=lifetime_seeds(0, 0, tasks))
    return env, observations[:, :4].astype(np.float64)


@functools.cache
def upper_bounds(level: int, tasks: int) -> np.ndarray:
    """The most that anyone can be paid, by task, ``float64[tasks]``."""
    env, starts = make("discrete", level, tasks)
    bounds = [upper_bound(env.family, task, level, start) for task, start in zip(env.tasks(), starts, strict=True)]
    return np.array(bounds, dtype=np.float64)


def compare(control: str, level: int, tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """The oracle's returns and their upper bounds, ``float64[tasks]`` each."""
    env, _ = make(control, level, tasks)
    total, over = np.zeros(tasks), np.zeros(tasks, dtype=np.bool_)
    while not over.all():
        _, _, terminated, _, info = env.step(env.oracle_actions())
        total += info["raw_reward"]
        over |= terminated
    return total, upper_bounds(level, tasks)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=24, help="how many tasks a level")
    parser.add_argument("--levels", type=int, nargs="+", default=[0, 1, 2], choices=[0, 1, 2])
    arguments = parser.parse_args()
    for level in arguments.levels:
        for control in ("discrete", "continuous"):
            total, bounds = compare(control, level, arguments.tasks)
            print(
                f"level {level}, {control:10}: oracle {total.mean():.1f}, bound {bounds.mean():.1f}, "
                f"share {total.sum() / bounds.sum():.3f}; largest excess over the bound {(total - bounds).max():.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
