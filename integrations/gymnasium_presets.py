"""Well-known benchmarks of meta-learning that others' simulators make, as task families.

Each class is a family like any other: ``daytwo.evaluate("random", HalfCheetahVel)``,
``daytwo.LifetimeVectorEnv(MetaWorldML1, 4, task_name="push-v3")``, and, in commands and suites,
``daytwo.integrations.gymnasium_presets:HalfCheetahVel``.

    pip install 'daytwo[mujoco]'       HalfCheetahVel, HalfCheetahDir, AntDir
    pip install 'daytwo[metaworld]'    MetaWorldML1, MetaWorldML10
    pip install 'daytwo[minigrid]'     MiniGridLayouts

They are not registered as ids, so that a suite runs without them. The random policy's return is measured when it is
first needed. What counts as 1 is a return *named here*, in each class's docstring, and not that of a trained agent:
give ``oracle_return=`` to measure against another.
"""

import functools
import importlib.metadata
import importlib.util
import json
import math
import os
import pickle
import tempfile
import warnings
from collections import deque
from typing import Any

import gymnasium
import numpy as np

from daytwo.calibration import cache_folder
from daytwo.checks import check_integer
from daytwo.integrations.gymnasium_family import GymnasiumFamily, GymnasiumLevel


def _need(package: str, extra: str) -> None:
    """Say what to install where a package is missing.

    Raises:
        ImportError: it is.
    """
    if importlib.util.find_spec(package) is None:
        raise ImportError(f"This family needs the package {package}: pip install 'daytwo[{extra}]'.")


# --- MuJoCo ----------------------------------------------------------------------------------------------------------


class _Paid(gymnasium.Wrapper):
    """A robot whose reward depends on a hidden ``task``."""

    task: float = 0.0


class _CheetahAtVelocity(_Paid):
    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = info["reward_ctrl"] - abs(info["x_velocity"] - self.task)
        return observation, reward, terminated, truncated, info


class _CheetahInDirection(_Paid):
    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = info["reward_ctrl"] + self.task * info["x_velocity"]
        return observation, reward, terminated, truncated, info


class _AntInDirection(_Paid):
    def step(self, action):
        observation, _, terminated, truncated, info = self.env.step(action)
        along = math.cos(self.task) * info["x_velocity"] + math.sin(self.task) * info["y_velocity"]
        reward = along + info["reward_survive"] + info["reward_ctrl"] + info["reward_contact"]
        return observation, reward, terminated, truncated, info


def _make_cheetah(wrapper: type[_Paid], horizon: int) -> gymnasium.Env:
    # The weight of the effort is that of the papers that brought these tasks; Gymnasium's own is .1.
    env = gymnasium.make("HalfCheetah-v5", ctrl_cost_weight=0.05, max_episode_steps=horizon, disable_env_checker=True)
    return wrapper(env)


def _make_ant(horizon: int) -> gymnasium.Env:
    # No contact forces in the observation: 27 numbers, as in the papers.
    env = gymnasium.make(
        "Ant-v5",
        include_cfrc_ext_in_observation=False,
        max_episode_steps=horizon,
        disable_env_checker=True,
    )
    return _AntInDirection(env)


def _set_robot_task(env: gymnasium.Env, task: Any) -> None:
    assert isinstance(env, _Paid)
    env.task = float(next(iter(task.values())))


def _draw_velocity(generator: np.random.Generator) -> dict[str, float]:
    return {"velocity": float(generator.uniform(0.0, 3.0))}


def _draw_direction(generator: np.random.Generator) -> dict[str, int]:
    return {"direction": int(2 * generator.integers(2) - 1)}


def _draw_angle(generator: np.random.Generator) -> dict[str, float]:
    return {"angle": float(generator.uniform(0.0, 2.0 * math.pi))}


class _Robot(GymnasiumFamily):
    tags = ("continuous", "system-identification")
    episodes = 3

    def __init__(
        self,
        make: Any,
        sample_task: Any,
        *,
        horizon: int,
        oracle_return: float | None,
        by_step: float,
        distinct_tasks: int | None = None,
    ) -> None:
        _need("mujoco", "mujoco")
        horizon = check_integer("horizon", horizon, 1, 100_000)
        super().__init__(
            functools.partial(make, horizon=horizon),
            sample_task,
            set_task=_set_robot_task,
            horizon=horizon,
            observation_bounds=(-1000.0, 1000.0),
            reward_range=(-1000.0, 1000.0),
            oracle_return=by_step * horizon if oracle_return is None else oracle_return,
            distinct_tasks=distinct_tasks,
            keywords={"horizon": horizon, "oracle_return": oracle_return},
        )


class HalfCheetahVel(_Robot):
    """A cheetah that is to run at a hidden velocity, as in MAML (Finn et al. 2017, arXiv 1703.03400, section 5.3).

    Velocities are uniform on [0, 3] m/s, as in PEARL (Rakelly et al. 2019, arXiv 1903.08254).
    Observation: HalfCheetah-v5's 17 positions and velocities, clipped to ±1000. Action: 6 torques.
    Reward: minus the distance to the velocity, minus .05 times the squared action. End: after `horizon` steps.
    Scale: 0 is the random policy, 1 a return of 0, which no policy exceeds and none quite reaches.
    """

    name = "HalfCheetahVel"

    def __init__(self, *, horizon: int = 200, oracle_return: float | None = None) -> None:
        """Make the family.

        Args:
            horizon: steps of an episode.
            oracle_return: the return that counts as 1.

        Raises:
            ImportError: MuJoCo is not installed.
            ValueError: a value is out of range.
        """
        make = functools.partial(_make_cheetah, _CheetahAtVelocity)
        super().__init__(make, _draw_velocity, horizon=horizon, oracle_return=oracle_return, by_step=0.0)


class HalfCheetahDir(_Robot):
    """A cheetah that is to run forwards or backwards, which is hidden (Finn et al. 2017, section 5.3).

    Observation and action: as `HalfCheetahVel`. Reward: the velocity in that direction, minus .05 times the squared
    action. End: after `horizon` steps. There are two tasks, so there is no split but ``"all"``.
    Scale: 0 is the random policy, 1 a mean speed of 5 m/s at no effort (a return of 5 times `horizon`).
    """

    name = "HalfCheetahDir"

    def __init__(self, *, horizon: int = 200, oracle_return: float | None = None) -> None:
        """Make the family; the arguments are those of `HalfCheetahVel`."""
        make = functools.partial(_make_cheetah, _CheetahInDirection)
        super().__init__(
            make, _draw_direction, horizon=horizon, oracle_return=oracle_return, by_step=5.0, distinct_tasks=2
        )


class AntDir(_Robot):
    """An ant that is to walk in a hidden direction, as in ProMP (Rothfuss et al. 2018, arXiv 1810.06784).

    Directions are uniform on the circle. (Others call a choice between forwards and backwards by the same name.)
    Observation: Ant-v5's 27 positions and velocities, without contact forces, clipped to ±1000. Action: 8 torques.
    Reward: the velocity in that direction, plus 1 for being upright, minus Ant-v5's costs of effort and contact.
    End: when the ant falls, or after `horizon` steps.
    Scale: 0 is the random policy, 1 a mean speed of 2 m/s, upright, at no effort (a return of 3 times `horizon`).
    """

    name = "AntDir"

    def __init__(self, *, horizon: int = 200, oracle_return: float | None = None) -> None:
        """Make the family; the arguments are those of `HalfCheetahVel`."""
        super().__init__(_make_ant, _draw_angle, horizon=horizon, oracle_return=oracle_return, by_step=3.0)


# --- Meta-World ------------------------------------------------------------------------------------------------------


def _official_vectors(benchmark: str, seed: int) -> dict[str, dict[str, list[list[float]]]]:
    """The goals of a Meta-World benchmark: split, environment's name, 50 vectors.

    Meta-World draws them anew whenever a benchmark is made, which takes seconds to a minute; they are kept on disk.
    """
    import metaworld

    version = getattr(metaworld, "__version__", None) or importlib.metadata.version("metaworld")
    path = cache_folder() / f"metaworld-{version}-{benchmark}-{seed}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        pass
    made = metaworld.ML10(seed=seed) if benchmark == "ML10" else metaworld.ML1(benchmark, seed=seed)
    found: dict[str, dict[str, list[list[float]]]] = {"train": {}, "test": {}}
    for split, tasks in (("train", made.train_tasks), ("test", made.test_tasks)):
        for task in tasks:
            data = pickle.loads(task.data)
            if set(data) != {"rand_vec", "env_cls", "partially_observable"} or not data["partially_observable"]:
                raise RuntimeError(f"This version of Meta-World describes tasks in another way: {sorted(data)}.")
            found[split].setdefault(task.env_name, []).append([float(x) for x in data["rand_vec"]])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            json.dump(found, file)
        os.replace(temporary, path)
    except OSError:
        pass  # an unwritable cache costs time, not correctness
    return found


class _Sawyer(gymnasium.Env):
    """All environments of a benchmark as one: the task says which of them it is."""

    def __init__(self, benchmark: str, seed: int) -> None:
        self._tasks = _tasks_of(benchmark, seed)
        self._made: dict[str, Any] = {}
        self._now = self._choose(self._tasks[0][1], self._tasks[0][2])
        low = np.array(self._now.observation_space.low, dtype=np.float64)
        high = np.array(self._now.observation_space.high, dtype=np.float64)
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, shape=(4,), dtype=np.float32)

    def _choose(self, name: str, vector: Any) -> Any:
        from metaworld import Task, env_dict

        if name not in self._made:
            self._made[name] = env_dict.ALL_V3_ENVIRONMENTS[name]()
        env = self._made[name]
        data = {"rand_vec": np.array(vector), "env_cls": type(env), "partially_observable": True}
        env.set_task(Task(env_name=name, data=pickle.dumps(data)))
        self.name = name
        return env

    def set_task(self, number: int) -> None:
        """Take up a task, by its number in the benchmark."""
        _, name, vector = self._tasks[number]
        self._now = self._choose(name, vector)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._now.reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return self._now.step(action)

    def goal(self) -> np.ndarray:
        """Where the hidden goal is, ``float64[3]``."""
        return self._now._get_pos_goal()

    def close(self) -> None:
        for env in self._made.values():
            env.close()


@functools.cache
def _tasks_of(benchmark: str, seed: int) -> list[tuple[str, str, tuple[float, ...]]]:
    """Split, environment and goal of every task of a benchmark, in a fixed order."""
    vectors = _official_vectors(benchmark, seed)
    return [
        (split, name, tuple(vector))
        for split in ("train", "test")
        for name, all_of_it in vectors[split].items()
        for vector in all_of_it
    ]


def _set_sawyer_task(env: gymnasium.Env, task: Any) -> None:
    assert isinstance(env, _Sawyer)
    env.set_task(task["number"])


def _scripted(env: gymnasium.Env, observation: Any, task: Any) -> np.ndarray:
    """The action of the scripted policy that Meta-World has for each environment; it sees the goal."""
    from metaworld.policies import ENV_POLICY_MAP

    assert isinstance(env, _Sawyer)
    seen = np.array(observation, dtype=np.float64)
    seen[-3:] = env.goal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that it will be clipped
        policy: Any = ENV_POLICY_MAP[env.name]
        return np.clip(policy().get_action(seen), -1.0, 1.0)


class _MetaWorld(GymnasiumFamily):
    tags = ("continuous",)
    episodes = 10

    def __init__(
        self,
        benchmark: str,
        *,
        horizon: int,
        seed: int,
        random_return: float | None,
        oracle_return: float | None,
        keywords: dict[str, Any],
    ) -> None:
        tasks = _tasks_of(benchmark, seed)
        super().__init__(
            functools.partial(_Sawyer, benchmark, seed),
            functools.partial(_draw_number, len(tasks)),
            set_task=_set_sawyer_task,
            horizon=horizon,
            observation_bounds=(-10.0, 10.0),
            reward_range=(-100.0, 100.0),
            random_return=random_return,
            oracle_return=oracle_return,
            oracle=_scripted,
            calibration_episodes=30,
            distinct_tasks=len(tasks),
            split_of_task=functools.partial(_official_split, benchmark, seed),
            splits=("train", "test"),
            visible_at_start=("number",),  # where an object lies tells which of few tasks it is
            diagnostics={"success": "max"},
            keywords={
                **keywords,
                "horizon": horizon,
                "benchmark_seed": seed,
                "random_return": random_return,
                "oracle_return": oracle_return,
            },
        )


def _draw_number(count: int, generator: np.random.Generator) -> dict[str, int]:
    return {"number": int(generator.integers(count))}


def _official_split(benchmark: str, seed: int, task: Any) -> str:
    return _tasks_of(benchmark, seed)[task["number"]][0]


def _check_benchmark(horizon: Any, seed: Any) -> None:
    _need("metaworld", "metaworld")
    check_integer("horizon", horizon, 1, 500)
    check_integer("benchmark_seed", seed, 0, 2**31 - 2)


class MetaWorldML1(_MetaWorld):
    """One manipulation task of Meta-World, whose goal is hidden (Yu et al. 2019, arXiv 1910.10897, section 4.2).

    Tasks: the 50 goals that the package's benchmark ML1 draws for training (split ``"train"``) and the 50 for testing
    (``"test"``), under `benchmark_seed`.
    Observation: Meta-World's 39 numbers with the goal at 0, clipped to ±10. Action: the hand's motion and the gripper.
    Reward: Meta-World's own (version 2), at most 10. End: after `horizon` steps; success ends nothing and is the
    diagnostic ``success``.
    Scale: 0 is the random policy, 1 Meta-World's scripted policy, which knows the goal; both are measured when first
    needed (30 episodes each), or given.
    """

    name = "MetaWorldML1"

    def __init__(
        self,
        *,
        task_name: str = "reach-v3",
        horizon: int = 500,
        benchmark_seed: int = 0,
        random_return: float | None = None,
        oracle_return: float | None = None,
    ) -> None:
        """Make the family.

        Args:
            task_name: one of Meta-World's 50 environments, e.g. ``"push-v3"``.
            horizon: steps of an episode, at most 500.
            benchmark_seed: of the goals that Meta-World draws.
            random_return: mean return of the random policy; measured by default.
            oracle_return: the return that counts as 1; measured by default.

        Raises:
            ImportError: Meta-World is not installed.
            ValueError: there is no such environment, or a value is out of range.
        """
        _check_benchmark(horizon, benchmark_seed)
        from metaworld import env_dict

        if task_name not in env_dict.ALL_V3_ENVIRONMENTS:
            raise ValueError(
                f"task_name must be one of {', '.join(env_dict.ALL_V3_ENVIRONMENTS)}; received {task_name!r}."
            )
        super().__init__(
            task_name,
            horizon=horizon,
            seed=benchmark_seed,
            random_return=random_return,
            oracle_return=oracle_return,
            keywords={"task_name": task_name},
        )


class MetaWorldML10(_MetaWorld):
    """Ten manipulation tasks of Meta-World to train on and five others to test on (Yu et al. 2019, section 4.2).

    Tasks: which of the environments it is, and one of its 50 goals; both are hidden. The split ``"train"`` holds the
    ten official training environments, ``"test"`` the five official test environments.
    Observation, action, reward, end and scale: as `MetaWorldML1`; a return is normalised by the mean over all 15
    environments.
    """

    name = "MetaWorldML10"

    def __init__(
        self,
        *,
        horizon: int = 500,
        benchmark_seed: int = 0,
        random_return: float | None = None,
        oracle_return: float | None = None,
    ) -> None:
        """Make the family; the arguments are those of `MetaWorldML1`."""
        _check_benchmark(horizon, benchmark_seed)
        super().__init__(
            "ML10",
            horizon=horizon,
            seed=benchmark_seed,
            random_return=random_return,
            oracle_return=oracle_return,
            keywords={},
        )


# --- MiniGrid --------------------------------------------------------------------------------------------------------

_LEFT, _RIGHT, _FORWARD, _TOGGLE, _DONE = 0, 1, 2, 5, 6
_GRID_ACTIONS = ("turn left", "turn right", "forward", "pick up", "drop", "toggle", "done")


class _FixedLayout(gymnasium.Wrapper):
    """A MiniGrid environment that begins each episode in one layout, and shows what is seen and the direction."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.layout = 0
        self.plan: dict[tuple[int, int, int, int], int] = {}
        view = env.observation_space["image"].shape  # type: ignore[index]
        self.observation_space = gymnasium.spaces.Dict(
            {
                "direction": gymnasium.spaces.Discrete(4),
                "image": gymnasium.spaces.Box(0, 10, shape=view, dtype=np.uint8),
            }
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=self.layout, options=options)
        self.plan = {}
        return self._see(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._see(observation), reward, terminated, truncated, info

    @staticmethod
    def _see(observation: Any) -> dict[str, Any]:
        return {"direction": observation["direction"], "image": observation["image"]}


def _make_grid(env_id: str, max_steps: int | None) -> gymnasium.Env:
    import minigrid  # noqa: F401 - registers the ids

    limit = {} if max_steps is None else {"max_steps": max_steps}
    return _FixedLayout(gymnasium.make(env_id, disable_env_checker=True, **limit))


def _draw_layout(generator: np.random.Generator) -> dict[str, int]:
    return {"layout": int(generator.integers(2**31))}


def _set_layout(env: gymnasium.Env, task: Any) -> None:
    assert isinstance(env, _FixedLayout)
    env.layout = task["layout"]


def _walk_to_goal(env: gymnasium.Env, observation: Any, task: Any) -> int:
    """The first action of a shortest way to the goal, through doors that are not locked and around lava."""
    assert isinstance(env, _FixedLayout)
    world: Any = env.unwrapped
    x, y = (int(k) for k in world.agent_pos)
    front = world.grid.get(*world.front_pos)
    # The last number says that the door ahead stands open.
    here = (x, y, int(world.agent_dir), int(front is not None and front.type == "door" and front.is_open))
    if here not in env.plan:
        env.plan = _shortest_way(world, here)
    return env.plan.get(here, _DONE)


def _shortest_way(world: Any, start: tuple[int, int, int, int]) -> dict[tuple[int, int, int, int], int]:
    steps = ((1, 0), (0, 1), (-1, 0), (0, -1))
    came_from: dict[Any, Any] = {start: None}
    queue = deque([start])
    while queue:
        x, y, direction, opened = state = queue.popleft()
        cell = world.grid.get(x, y)
        if cell is not None and cell.type == "goal":
            plan = {}
            while came_from[state] is not None:
                state, action = came_from[state]
                plan[state] = action
            return plan
        ahead = (x + steps[direction][0], y + steps[direction][1])
        moves = [(_turned(world, x, y, (direction + turn) % 4), action) for turn, action in ((3, _LEFT), (1, _RIGHT))]
        front = world.grid.get(*ahead)
        door = front is not None and front.type == "door"
        if door and not opened and not front.is_locked:
            moves.append(((x, y, direction, 1), _TOGGLE))
        if opened or front is None or (front.can_overlap() and front.type != "lava"):
            moves.append((_turned(world, *ahead, direction), _FORWARD))
        for after, action in moves:
            if after not in came_from:
                came_from[after] = (state, action)
                queue.append(after)
    raise ValueError(
        f"{type(world).__name__} cannot be solved by walking and opening doors alone, which is all that this oracle "
        "does: pass oracle_return= and leave the oracle alone."
    )


def _turned(world: Any, x: int, y: int, direction: int) -> tuple[int, int, int, int]:
    """A place and direction, with whether an open door is ahead."""
    dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[direction]
    front = world.grid.get(x + dx, y + dy)
    return (x, y, direction, int(front is not None and front.type == "door" and front.is_open))


class MiniGridLayouts(GymnasiumFamily):
    """MiniGrid environments (Chevalier-Boisvert et al. 2023, arXiv 2306.13831) whose layout lasts a lifetime.

    Task: the seed of the layout, which all episodes of the lifetime begin with: walls, doors, objects, the goal and the
    place where the agent starts (and, in environments that move by themselves, how they do).
    Levels: one for each of `env_ids`, all of the same spaces.
    Observation: the direction, one-hot, and MiniGrid's encoding of the 7 x 7 cells ahead. Action: MiniGrid's seven.
    Reward: MiniGrid's, 1 at the goal less .9 times the share of the steps used. End: at the goal, in lava, or after the
    environment's own number of steps.
    Scale: 0 is the random policy, 1 a shortest way to the goal; both are measured when first needed. The oracle knows
    how to walk and to open doors that are not locked; where that does not suffice, give ``oracle_return``.
    """

    name = "MiniGridLayouts"
    tags = ("exploration", "memory", "navigation")

    def __init__(
        self,
        *,
        env_ids: tuple[str, ...] = ("MiniGrid-FourRooms-v0",),
        horizon: int | None = None,
        random_return: float | tuple[float, ...] | None = None,
        oracle_return: float | tuple[float, ...] | None = None,
    ) -> None:
        """Make the family.

        Args:
            env_ids: MiniGrid's ids, from easy to hard.
            horizon: steps of an episode, for all levels; each environment's own by default.
            random_return: mean return of the random policy, one or one per level; measured by default.
            oracle_return: the return that counts as 1, likewise.

        Raises:
            ImportError: MiniGrid is not installed.
            ValueError: an id is unknown, or a value is out of range.
        """
        _need("minigrid", "minigrid")
        if horizon is not None:
            horizon = check_integer("horizon", horizon, 1, 100_000)
        if isinstance(env_ids, str) or not env_ids:
            raise ValueError(f"env_ids must be a sequence of ids such as 'MiniGrid-FourRooms-v0', got {env_ids!r}.")
        levels = []
        for env_id in env_ids:
            try:
                limit = horizon or _make_grid(env_id, None).unwrapped.max_steps  # type: ignore[attr-defined]
            except gymnasium.error.Error as error:
                raise ValueError(f"env_ids: {env_id!r} is no MiniGrid environment: {error}") from error
            levels.append(GymnasiumLevel(env_id, limit, arguments={"env_id": env_id, "max_steps": horizon}))
        super().__init__(
            _make_grid,
            _draw_layout,
            set_task=_set_layout,
            levels=levels,
            split_fields=("layout",),
            reward_range=(0.0, 1.0),
            random_return=random_return,
            oracle_return=oracle_return,
            oracle=_walk_to_goal,
            action_names=_GRID_ACTIONS,
            keywords={
                "env_ids": tuple(env_ids),
                "horizon": horizon,
                "random_return": random_return,
                "oracle_return": oracle_return,
            },
        )


__all__ = ["AntDir", "HalfCheetahDir", "HalfCheetahVel", "MetaWorldML1", "MetaWorldML10", "MiniGridLayouts"]
