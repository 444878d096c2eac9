"""Tiny families whose numbers can be counted on fingers, for the tests of the hub.

They run interpreted unless a test asks otherwise, so they cost no compilation.
"""

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.calibration import ReferenceReturns
from daytwo.course import Level
from daytwo.family import TaskFamily
from daytwo.lifetime import LifetimeEnv, LifetimeVectorEnv
from daytwo.observation import Field
from daytwo.streams import integer, uniform

WAIT, SCORE, QUIT = range(3)
HORIZONS = (2, 3, 4)
RANDOM = tuple(horizon / 4 for horizon in HORIZONS)
ORACLE = tuple(float(horizon) for horizon in HORIZONS)


@register_jitable
def draw(settings, task, stream, i):
    task.secret[i] = integer(stream, i, settings.secrets)


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.count[i] = 0
    state.noise[i] = integer(stream, i, 1000)


@register_jitable
def step(settings, task, state, level, stream, i, action):
    state.count[i] += 1
    if action == QUIT:
        return 0.5, True
    # Scoring draws from the stream and waiting does not: what is drawn in an episode depends on the actions.
    if action == SCORE:
        state.noise[i] = integer(stream, i, 1000)
        return 1.0, False
    return 0.0, False


@register_jitable
def observe(settings, task, state, level, i, out):
    out[0] = state.count[i]
    out[1] = state.noise[i]
    out[2] = task.secret[i]


@register_jitable
def oracle(settings, task, state, level, i):
    return SCORE


class Counting(TaskFamily):
    """Waiting pays 0, scoring 1, quitting 0.5 and ends the episode; quitting is not offered at level 0."""

    name = "Counting"
    episodes = 2
    told: tuple = ()  # diagnostics
    split_fields = ("secret",)
    visible_at_start = ("secret",)
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)

    def __init__(self, *, secrets: int = 1000) -> None:
        if not 1 <= secrets <= 1_000_000:
            raise ValueError(f"secrets must be an integer in 1..1000000, received {secrets!r}.")
        super().__init__(
            keywords={"secrets": secrets},
            settings={"secrets": secrets},
            task=[("secret", "i8")],
            state=[("count", "i8"), ("noise", "i8")],
            levels=[
                Level(f"{horizon} steps", horizon, actions=(True, True, False) if horizon == 2 else None)
                for horizon in HORIZONS
            ],
            actions=spaces.Discrete(3),
            fields=[Field("count", 1, 0.0, 4.0), Field("noise", 1, 0.0, 999.0), Field("secret", 1, 0.0, 1e6)],
            reward_range=(0.0, 1.0),
            distinct_tasks=secrets,
            reference_returns=ReferenceReturns.given(RANDOM, ORACLE),
            action_names=("wait", "score", "quit"),
            diagnostics=self.told,
        )


@register_jitable
def offered_in_turn(settings, task, state, level, i, action):
    return state.count[i] % 2 == action % 2


class Phases(Counting):
    """Counting in which even actions are offered on even counts and odd ones on odd counts."""

    name = "Phases"
    offered = staticmethod(offered_in_turn)

    def observed_mask(self, layout, course, observations):
        parity = observations[:, layout["count"]].astype(int) % 2
        return super().observed_mask(layout, course, observations) & (np.arange(3)[None] % 2 == parity)


@register_jitable
def count_steps(settings, task, state, level, i, out):
    out[0] = state.count[i]
    out[1] = level
    if state.count[i] != 1:
        out[2] = np.nan


class Diagnosed(Counting):
    """Counting that tells how many steps an episode took (``steps``), and ``pair``: the level, and 0 if it took one."""

    name = "Diagnosed"
    diagnose = staticmethod(count_steps)
    told = (Field("steps", 1), Field("pair", 2))


@register_jitable
def draw_aim(settings, task, stream, i):
    for k in range(2):
        task.aim[i, k] = 2.0 * uniform(stream, i) - 1.0


@register_jitable
def begin_steering(settings, task, state, level, stream, i):
    state.at[i, 0] = 0.0
    state.at[i, 1] = 0.0


@register_jitable
def steer(settings, task, state, level, stream, i, action):
    pay = 0.0
    for k in range(2):
        state.at[i, k] += action[k]
        pay += task.aim[i, k] * action[k]
    return pay, False


@register_jitable
def observe_steering(settings, task, state, level, i, out):
    out[0] = state.at[i, 0]
    out[1] = state.at[i, 1]


@register_jitable
def steering_oracle(settings, task, state, level, i, out):
    for k in range(2):
        out[k] = 1.0 if task.aim[i, k] > 0.0 else -1.0


class Steering(TaskFamily):
    """Three steps, each paid by how well the action points along the aim: 0 at random, 3 on average for the oracle."""

    name = "Steering"
    episodes = 3
    draw = staticmethod(draw_aim)
    begin = staticmethod(begin_steering)
    step = staticmethod(steer)
    observe = staticmethod(observe_steering)
    oracle = staticmethod(steering_oracle)

    def __init__(self) -> None:
        super().__init__(
            keywords={},
            settings={"unused": 0},
            task=[("aim", "f8", (2,))],
            state=[("at", "f8", (2,))],
            levels=[Level("three steps", 3)],
            actions=spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32),
            fields=[Field("at", 2, -3.0, 3.0)],
            reward_range=(-2.0, 2.0),
        )


KNOWN = {Counting: None, Phases: None, Diagnosed: None, Steering: ReferenceReturns.given(0.0, 3.0)}


def make_vector(family=Counting, num_envs=1, **arguments) -> LifetimeVectorEnv:
    """An interpreted vector environment of a toy family."""
    arguments.setdefault("compiled", False)
    arguments.setdefault("reference_returns", KNOWN.get(family))
    return LifetimeVectorEnv(family, num_envs, **arguments)


def make_single(family=Counting, **arguments) -> LifetimeEnv:
    """An interpreted single environment of a toy family."""
    arguments.setdefault("compiled", False)
    arguments.setdefault("reference_returns", KNOWN.get(family))
    return LifetimeEnv(family, **arguments)


def live(env: LifetimeEnv, actions, seed=None, options=None) -> list[tuple]:
    """Live one lifetime with actions in a circle, or from ``actions(observation, info)``; the steps, the reset first.

    Returns:
        ``[(observation, reward, terminated, info), ...]``, the reset having reward None.
    """
    observation, info = env.reset(seed=seed, options=options)
    steps = [(observation, None, False, info)]
    while not steps[-1][2]:
        if callable(actions):
            action = actions(observation, info)
        else:
            action = actions[(len(steps) - 1) % len(actions)]
        observation, reward, terminated, truncated, info = env.step(action)
        assert truncated is False
        steps.append((observation, reward, terminated, info))
        assert len(steps) < 100_000, "the lifetime does not end"
    return steps


def episodes_of(steps: list[tuple]) -> list[dict]:
    """The infos of the inner episodes' ends."""
    return [info for _, _, _, info in steps if "episode_return" in info]


def assert_same(first, second) -> None:
    """Bit for bit, through dicts, tuples and object arrays; also dtype and shape."""
    if isinstance(first, dict):
        assert isinstance(second, dict) and list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, np.ndarray) and first.dtype == object:
        assert_same(list(first), list(second))
    elif isinstance(first, np.ndarray) and first.dtype.names:
        assert first.dtype == second.dtype
        for name in first.dtype.names:  # one by one, since copies leave out the bytes between the fields
            assert_same(np.array(first[name]), np.array(second[name]))
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype and first.shape == second.shape
        assert first.tobytes() == second.tobytes(), f"{first}\n!=\n{second}"
    else:
        assert type(first) is type(second) and first == second
