"""The presets, each where its extra is installed: rewards recomputed from the simulators, tasks, splits, layouts."""

import importlib.util
import itertools
import math
import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import daytwo
from daytwo.conformance import check_family
from daytwo.integrations import gymnasium_presets as presets
from daytwo.integrations.gymnasium_family import split_code
from daytwo.streams import TASK, key_stream
from tests.toy import live


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Nothing measured before is used; what these tests measure is shared among them."""
    monkeypatch.setenv("DAYTWO_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "presets"))


def need(package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("HalfCheetahVel", "mujoco", "mujoco"),
        ("HalfCheetahDir", "mujoco", "mujoco"),
        ("AntDir", "mujoco", "mujoco"),
        ("MetaWorldML1", "metaworld", "metaworld"),
        ("MetaWorldML10", "metaworld", "metaworld"),
        ("MiniGridLayouts", "minigrid", "minigrid"),
    ],
)
def test_a_missing_extra_names_the_command(name, package, extra, monkeypatch):
    monkeypatch.setattr(presets.importlib.util, "find_spec", lambda asked: None)
    with pytest.raises(ImportError, match=rf"needs the package {package}: pip install 'daytwo\[{extra}\]'"):
        getattr(presets, name)()


def test_importing_the_presets_imports_no_simulator(tmp_path):
    code = (
        "import sys, daytwo.integrations.gymnasium_presets as presets\n"
        "print(sorted({'mujoco', 'metaworld', 'minigrid'} & set(sys.modules)), len(presets.__all__))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[] 6", run.stderr


# --- MuJoCo ----------------------------------------------------------------------------------------------------------


def robot(name, **options):
    """A robot whose returns are given, so that nothing is measured."""
    need("mujoco")
    family = getattr(presets, name)(horizon=12, **options)
    family._declared_random = (-10.0,)
    return family


def wave(dimensions):
    """Actions in [-1, 1], the same each time."""
    return [np.sin(np.arange(dimensions) + k) for k in range(24)]


@pytest.mark.parametrize("name", ["HalfCheetahVel", "HalfCheetahDir", "AntDir"])
def test_a_robot_is_paid_what_its_docstring_says(name):
    family = robot(name)
    env = daytwo.LifetimeEnv(family, split="all", reward="raw", episodes=1, privileged=True)
    cheetah = name.startswith("HalfCheetah")
    hand = gymnasium.make("HalfCheetah-v5" if cheetah else "Ant-v5").unwrapped
    _, info = env.reset(seed=2)
    (task,) = info["task"].values()
    (lives,) = family._batches.values()
    simulated = lives[0].env.unwrapped
    hand.reset(seed=0)
    hand.set_state(simulated.data.qpos.copy(), simulated.data.qvel.copy())
    for action in wave(family.actions)[:12]:
        action = action if cheetah else 0.2 * action  # the ant stays upright
        before = hand.data.qpos[:2].copy() if cheetah else hand.data.body(1).xpos[:2].copy()
        hand.do_simulation(action.astype(np.float32), hand.frame_skip)
        after = hand.data.qpos[:2].copy() if cheetah else hand.data.body(1).xpos[:2].copy()
        velocity = (after - before) / hand.dt
        effort = float((action.astype(np.float32) ** 2).sum())
        if name == "HalfCheetahVel":
            expected = -abs(velocity[0] - task) - 0.05 * effort
        elif name == "HalfCheetahDir":
            expected = task * velocity[0] - 0.05 * effort
        else:
            assert 0.2 <= hand.data.qpos[2] <= 1.0
            expected = math.cos(task) * velocity[0] + math.sin(task) * velocity[1] + 1.0 - 0.5 * effort
            expected -= 5e-4 * float((np.clip(hand.data.cfrc_ext[1:], -1.0, 1.0) ** 2).sum())
        _, reward, over, _, _ = env.step(action)
        assert reward == pytest.approx(expected, abs=1e-6)
    assert over


@pytest.mark.parametrize(
    ("name", "draws"),
    [("HalfCheetahVel", (0.0, 3.0)), ("HalfCheetahDir", (-1, 1)), ("AntDir", (0.0, 2 * math.pi))],
)
def test_robots_tasks_are_those_of_the_papers(name, draws):
    family = robot(name)
    env = daytwo.LifetimeVectorEnv(family, 8, split="all", privileged=True)
    env.reset(seed=0)
    values = [next(iter(task.values())) for task in env.tasks()]
    assert min(values) >= draws[0] and max(values) <= draws[1] and max(values) > sum(draws) / 2 > min(values)
    assert family.splits == (("all",) if name == "HalfCheetahDir" else daytwo.family.SPLITS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["HalfCheetahVel", "AntDir"])
def test_a_robot_passes_the_checks_of_any_family(name):
    family = robot(name)
    again = type(family)(**family.keywords)
    assert again.levels == family.levels
    check_family(family, lifetimes=32)


def test_robots_returns_are_measured_when_first_needed():
    need("mujoco")
    family = presets.HalfCheetahVel(horizon=5)
    result = daytwo.evaluate("random", family, lifetimes=8)
    assert result.random_return[0] < 0.0 == result.oracle_return[0]
    assert abs(result.normalized.mean()) < 1.0


# --- Meta-World ------------------------------------------------------------------------------------------------------


def sawyer(**options):
    need("metaworld")
    given = {"horizon": 8, "random_return": 0.0, "oracle_return": 10.0}
    return presets.MetaWorldML1(**{"task_name": "reach-v3", **given, **options})


@pytest.mark.slow
def test_ml1_has_the_official_tasks_and_split():
    family = sawyer()
    import metaworld

    official = metaworld.ML1("reach-v3", seed=0)
    for split, tasks in (("train", official.train_tasks), ("test", official.test_tasks)):
        env = daytwo.LifetimeVectorEnv(family, 5, split=split, privileged=True, episodes=1)
        env.reset(seed=1)
        (lives,) = family._batches.values()
        vectors = {tuple(pickle.loads(task.data)["rand_vec"]) for task in tasks}
        assert {tuple(one.env._now._last_rand_vec) for one in lives} <= vectors
        del env, lives
    assert family.splits == ("train", "test", "all") and family.distinct_tasks == 100


@pytest.mark.slow
def test_ml1_is_meta_world_stepped_by_hand():
    family = sawyer()
    env = daytwo.LifetimeEnv(family, split="train", reward="raw", episodes=2, privileged=True)
    actions = wave(4)
    steps = live(env, actions, seed=3)
    import metaworld

    official = metaworld.ML1("reach-v3", seed=0)
    hand = official.train_classes["reach-v3"]()
    hand.set_task(official.train_tasks[steps[0][3]["task"]["number"]])
    observation, _ = hand.reset()
    seen, paid = [observation], []
    for k in range(16):
        observation, reward, *_ = hand.step(actions[k].astype(np.float32))
        paid.append(reward)
        if k == 7:
            observation, _ = hand.reset()
        seen.append(observation)
    np.testing.assert_array_equal(
        np.array([step[0][:39] for step in steps]), np.clip(np.array(seen, dtype=np.float32), -10, 10)
    )
    assert [step[1] for step in steps[1:]] == paid
    assert all("success" in info for *_, info in steps if "episode_return" in info)


@pytest.mark.slow
def test_the_scripted_policy_is_better_than_the_random_one():
    family = sawyer(horizon=60, random_return=None, oracle_return=None)
    family._calibration_episodes = 3
    references = family.reference_returns
    assert references.oracle_return[0] > references.random_return[0] + 3 * references.random_error[0]


@pytest.mark.slow
def test_ml10_tests_on_other_environments_than_it_trains_on(monkeypatch):
    need("metaworld")
    from metaworld import env_dict

    # Goals of our own: drawing the official ones takes a minute, and the environments do not depend on them.
    vectors = {
        split: {name: [[0.0, 0.8, 0.1, 0.0, 0.8, 0.2]] for name in env_dict.ML10_V3[split]}
        for split in ("train", "test")
    }
    monkeypatch.setattr(presets, "_official_vectors", lambda benchmark, seed: vectors)
    presets._tasks_of.cache_clear()
    try:
        family = presets.MetaWorldML10(horizon=5, random_return=0.0, oracle_return=1.0)
        names = {}
        for split in ("train", "test"):
            drawn = {family_task(family, split, seed) for seed in range(60)}
            names[split] = {presets._tasks_of("ML10", 0)[number][1] for number in drawn}
        assert names["train"] == set(env_dict.ML10_V3["train"]) and len(names["train"]) == 10
        assert names["test"] == set(env_dict.ML10_V3["test"]) and len(names["test"]) == 5
    finally:
        presets._tasks_of.cache_clear()


def family_task(family, split, seed):
    """The task that a lifetime would have, drawn without making its environment."""
    task = np.zeros(1, dtype=family.task_dtype)
    stream = np.zeros((1, 4), dtype=np.uint64)
    number = 1 if split == "train" else 3
    with np.errstate(over="ignore"):
        key_stream(stream, 0, np.uint64(seed), np.uint64(0), TASK, np.uint64(number))
        while True:
            family.draw(None, task, stream, 0)
            if task["split_code"][0] == split_code(split):
                return int(task["number"][0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task_name": "juggle-v3"}, "task_name must be one of"),
        ({"horizon": 501}, "horizon must be an integer in 1..500"),
        ({"benchmark_seed": -1}, "benchmark_seed must be an integer"),
    ],
)
def test_bad_meta_world_settings_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        sawyer(**arguments)


# --- MiniGrid --------------------------------------------------------------------------------------------------------


def rooms(*env_ids, **options):
    need("minigrid")
    given = {"random_return": 0.05, "oracle_return": 0.9}
    return presets.MiniGridLayouts(env_ids=env_ids or ("MiniGrid-FourRooms-v0",), **{**given, **options})


def test_a_layout_lasts_a_lifetime_and_lifetimes_differ():
    env = daytwo.LifetimeEnv(rooms(horizon=5), episodes=3)
    layouts = []
    for seed in range(4):
        env.reset(seed=seed)
        (lives,) = env.family._batches.values()
        world, own, over = lives[0].env.unwrapped, set(), False
        while not over:
            if world.step_count == 0:
                own.add(world.hash())
            _, _, over, _, _ = env.step(2)
        assert len(own) == 1
        layouts += own
    assert len(set(layouts)) == 4


def test_a_layout_is_the_one_that_minigrid_makes_of_its_seed():
    family = rooms()
    env = daytwo.LifetimeEnv(family, privileged=True, reward="raw", episodes=1)
    observation, info = env.reset(seed=5)
    need("minigrid")
    hand = gymnasium.make("MiniGrid-FourRooms-v0")
    for action in itertools.chain([None], [2, 0, 2, 1, 2, 2, 5, 3, 4, 6]):
        if action is None:
            seen, _ = hand.reset(seed=info["task"]["layout"])
        else:
            observation, reward, over, _, _ = env.step(action)
            seen, paid, ended, truncated, _ = hand.step(action)
            assert (reward, over) == (paid, ended or truncated)
        assert observation[:4].argmax() == seen["direction"]
        np.testing.assert_array_equal(observation[4:151], seen["image"].ravel())


LEVELS = ("MiniGrid-Empty-8x8-v0", "MiniGrid-MultiRoom-N2-S4-v0", "MiniGrid-LavaCrossingS9N1-v0")


def test_the_oracle_reaches_every_goal_by_a_shortest_way():
    family = rooms(*LEVELS)
    result = daytwo.evaluate("oracle", family, lifetimes=6, episodes=1)
    assert (result.returns > 0.6).all()
    # In the empty room the way is known: five forward, a turn, five forward.
    np.testing.assert_allclose(result.returns[:, 0], 1 - 0.9 * 11 / 256)


def test_an_oracle_that_cannot_solve_an_environment_says_so():
    family = rooms("MiniGrid-DoorKey-5x5-v0")
    with pytest.raises(ValueError, match="cannot be solved by walking and opening doors alone"):
        daytwo.evaluate("oracle", family, lifetimes=1)
    assert daytwo.evaluate("random", family, lifetimes=1, episodes=1).lifetimes == 1


@pytest.mark.slow
def test_layouts_pass_the_checks_of_any_family():
    family = rooms(*LEVELS, horizon=30)
    assert type(family)(**family.keywords).levels == family.levels
    check_family(family, lifetimes=32)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"env_ids": "MiniGrid-FourRooms-v0"}, "env_ids must be a sequence"),
        ({"env_ids": ()}, "env_ids must be a sequence"),
        ({"env_ids": ("MiniGrid-Nowhere-v0",)}, "'MiniGrid-Nowhere-v0' is no MiniGrid environment"),
        ({"horizon": 0}, "horizon must be an integer"),
    ],
)
def test_bad_minigrid_settings_are_refused(arguments, words):
    need("minigrid")
    with pytest.raises(ValueError, match=words):
        presets.MiniGridLayouts(**arguments)
