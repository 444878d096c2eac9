"""`GymnasiumFamily`: lifetimes of ordinary environments equal stepping those environments by hand."""

import copy
import gc
import pickle
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv

import daytwo
from daytwo.calibration import ReferenceReturns
from daytwo.conformance import check_family
from daytwo.integrations import gymnasium_family
from daytwo.integrations.gymnasium_family import (
    GymnasiumFamily,
    GymnasiumLevel,
    make_async_lifetimes,
    split_code,
)
from daytwo.streams import EPISODE, TASK, key_stream, next_word
from tests.toy import assert_same, live

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing measured before is used, and nothing is left behind."""
    monkeypatch.setenv("DAYTWO_CACHE_DIR", str(tmp_path))


class Corridor(gymnasium.Env):
    """Six places in a row; the hidden ``goal`` pays 1 and ends the episode; a start place is drawn by ``reset``."""

    def __init__(self, goal: int = 0, slip: float = 0.0, length: int = 6) -> None:
        self.observation_space = spaces.Dict(
            {"at": spaces.Discrete(6), "wind": spaces.Box(-1.0, 1.0, shape=(1,), dtype=np.float64)}
        )
        self.action_space = spaces.Discrete(2, start=1)
        self.goal, self.slip, self.length = int(goal), float(slip), length
        self.closed = False

    def _see(self):
        return {"at": self.at, "wind": np.array([self.wind])}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = int(self.np_random.integers(6))
        self.wind = 0.0
        return self._see(), {}

    def step(self, action):
        assert action in (1, 2)
        self.wind = float(self.np_random.uniform(-1.0, 1.0))
        if self.wind >= self.slip - 1.0:
            self.at = (self.at + (1 if action == 2 else -1)) % 6
        found = self.at == self.goal
        return self._see(), float(found), found, False, {"found": found, "windy": abs(self.wind)}

    def close(self):
        self.closed = True


def sample_goal(generator):
    return {"goal": generator.integers(6), "slip": generator.uniform(0.0, 0.5)}


def set_goal(env, task):
    env.goal, env.slip = task["goal"], task["slip"]


def go_there(env, observation, task):
    return 2 if (task["goal"] - observation["at"]) % 6 <= 3 else 1


LEVELS = [GymnasiumLevel("short", 4), GymnasiumLevel("long", 9, arguments={"length": 9})]


def corridor(**options):
    """A family of corridors with everything given."""
    defaults = {"name": "Corridor", "levels": LEVELS, "reward_range": (0.0, 1.0), "oracle": go_there, "episodes": 3}
    return GymnasiumFamily(Corridor, sample_goal, **{**defaults, **options})


def given(**options):
    """The same, with reference returns given."""
    return corridor(oracle=None, random_return=0.2, oracle_return=(0.9, 1.0), set_task=set_goal, **options)


class Reach(gymnasium.Env):
    """A point that a continuous action moves; pays minus the distance to a hidden place (the task, as an array)."""

    def __init__(self, place=(0.0, 0.0)) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, shape=(2,), dtype=np.float32)
        self.action_space = spaces.Box(np.float32([-2.0, 0.0]), np.float32([2.0, 4.0]))
        self.place = np.asarray(place, dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.uniform(-1.0, 1.0, 2)
        return self.at.astype(np.float32), {}

    def step(self, action):
        assert action in self.action_space
        self.at = self.at + action
        return self.at.astype(np.float32), -float(np.abs(self.at - self.place).sum()), False, self.at[0] > 5.0, {}


def reach(**options):
    defaults = {"name": "Reach", "horizon": 5, "reward_range": (-100.0, 0.0), "oracle_return": 0.0}
    defaults |= {"random_return": -50.0, "observation_bounds": (-50.0, 50.0)}
    return GymnasiumFamily(Reach, lambda generator: generator.normal(size=2), **{**defaults, **options})


# --- the truth -------------------------------------------------------------------------------------------------------


def stream_words(seed, lifetime, domain, number, count):
    """The first words of a lifetime's stream, as documented: keyed by seed, lifetime, domain and number."""
    stream = np.zeros((1, 4), dtype=np.uint64)
    with np.errstate(over="ignore"):
        key_stream(stream, 0, np.uint64(seed), np.uint64(lifetime), domain, np.uint64(number))
        return [int(next_word(stream, 0)) for _ in range(count)]


def task_of(seed, sample_task):
    """The task of a first lifetime under ``split="all"`` (whose code is 0)."""
    return sample_task(np.random.default_rng(stream_words(seed, 0, TASK, 0, 2)))


def episode_seed(seed, episode):
    return stream_words(seed, 0, EPISODE, episode, 1)[0] >> 33


@pytest.mark.parametrize("reuse", [True, False])
def test_a_lifetime_is_the_environment_stepped_by_hand(reuse):
    family = corridor(random_return=0.0, oracle_return=1.0, set_task=set_goal if reuse else None)
    env = daytwo.LifetimeEnv(family, split="all", privileged=True, reward="raw", course="single", level=0)
    choices = np.random.default_rng(1)
    steps = live(env, lambda observation, info: int(choices.integers(2)), seed=11)
    task = task_of(11, sample_goal)
    assert steps[0][3]["task"] == {"goal": int(task["goal"]), "slip": task["slip"]}
    hand, choices = Corridor(**task), np.random.default_rng(1)
    t = 0
    for episode in range(3):
        observation, _ = hand.reset(seed=episode_seed(11, episode))
        total = 0.0
        for time in range(4):
            row = steps[t][0][: env.layout.family_size]
            np.testing.assert_array_equal(row, spaces.flatten(hand.observation_space, observation).astype(np.float32))
            observation, reward, ended, _, _ = hand.step(int(choices.integers(2)) + 1)
            t += 1
            total += reward
            assert steps[t][1] == reward
            ended = ended or time == 3
            assert ("episode_return" in steps[t][3]) == ended
            if ended:
                assert steps[t][3]["episode_return"] == total
                break
    assert t == len(steps) - 1 and steps[-1][2]


def test_gymnasiums_cart_pole_as_a_family_is_cart_pole():
    def make_env(length):
        env = gymnasium.make("CartPole-v1", max_episode_steps=30)
        env.unwrapped.length = length
        return env

    family = GymnasiumFamily(
        make_env,
        lambda generator: {"length": generator.uniform(0.3, 0.8)},
        name="Poles",
        reward_range=(0, 1),
        observation_bounds=(-20, 20),
        oracle_return=30,
        random_return=20,
        horizon=30,
    )
    env = daytwo.LifetimeEnv(family, split="all", reward="raw", episodes=2)
    steps = live(env, lambda observation, info: int(observation[2] > 0), seed=3)
    task = task_of(3, lambda generator: {"length": generator.uniform(0.3, 0.8)})
    seen, paid, ends = [], [], []
    hand = CartPoleEnv()
    hand.length = task["length"]
    for episode in range(2):
        observation, _ = hand.reset(seed=episode_seed(3, episode))
        for time in range(30):
            seen.append(observation)
            observation, reward, terminated, _, _ = hand.step(int(observation[2] > 0))
            paid.append(reward)
            if terminated or time == 29:
                break
        ends.append(time + 1)
    seen.append(observation)
    np.testing.assert_array_equal(np.array([step[0][:4] for step in steps]), np.array(seen))
    assert [step[1] for step in steps[1:]] == paid
    assert [info["episode_return"] for *_, info in steps if "episode_return" in info] == ends


def test_a_continuous_action_is_rescaled_and_a_task_may_be_an_array():
    family = reach()
    assert family.action_space == spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)
    env = daytwo.LifetimeEnv(family, split="all", reward="raw", episodes=1)
    actions = [np.array([0.5, -1.0]), np.array([-1.0, 1.0]), np.array([1.0, 0.25])]
    steps = live(env, actions, seed=4)
    hand = Reach(task_of(4, lambda generator: generator.normal(size=2)))
    hand.reset(seed=episode_seed(4, 0))
    for k, step in enumerate(steps[1:]):
        moved = np.array([2.0, 2.0]) * actions[k % 3] + np.array([0.0, 2.0])
        observation, reward, _, truncated, _ = hand.step(moved.astype(np.float32))
        assert step[1] == reward
        np.testing.assert_array_equal(step[0][:2], observation)
    assert truncated or len(steps) == 6


def test_truncation_by_the_environment_ends_an_episode():
    env = daytwo.LifetimeEnv(reach(horizon=50), episodes=2, reward="raw")
    steps = live(env, [np.array([1.0, -1.0])], seed=0)
    assert sum("episode_return" in info for *_, info in steps) == 2
    assert len(steps) < 12 and steps[-1][2]


def test_the_bar_and_the_improvement_by_hand():
    family = given()
    env = daytwo.LifetimeEnv(family, course="single", level=0, rate=0.5)
    steps = live(env, [0, 1, 1], seed=1)
    bar = 0.0
    for info in [info for *_, info in steps if "episode_return" in info]:
        g = (info["episode_return"] - 0.2) / (0.9 - 0.2)
        assert info["bar"] == pytest.approx(bar)
        assert info["episode_normalized_return"] == pytest.approx(g)
        assert info["improvement"] == pytest.approx(g - bar)
        bar = 0.5 * bar + 0.5 * g
    assert sum(step[1] for step in steps[1:]) == pytest.approx(
        sum(info["improvement"] for *_, info in steps if "episode_return" in info)
    )


# --- determinism -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reuse", [True, False])
def test_lane_i_is_a_single_environment_of_seed_s_plus_i(reuse):
    family = given() if reuse else corridor(random_return=0.2, oracle_return=1.0)
    vector = daytwo.LifetimeVectorEnv(family, 4, autoreset_mode="Disabled")
    singles = [daytwo.LifetimeEnv(family) for _ in range(4)]
    rows, _ = vector.reset(seed=7)
    alone = [single.reset(seed=7 + i)[0] for i, single in enumerate(singles)]
    np.testing.assert_array_equal(rows, alone)
    over, choices = np.zeros(4, dtype=bool), np.random.default_rng(0)
    while not over.all():
        actions = choices.integers(2, size=4)
        rows, rewards, terminated, _, _ = vector.step(actions)
        for i in np.flatnonzero(~over):
            row, reward, ended, _, _ = singles[i].step(int(actions[i]))
            np.testing.assert_array_equal(rows[i], row)
            assert (rewards[i], terminated[i]) == (reward, ended)
        over |= terminated


def test_equal_seeds_give_equal_lifetimes_whatever_was_lived_before():
    env = daytwo.LifetimeEnv(given())
    first = live(env, [0, 1, 1, 0], seed=5)
    live(env, [1], seed=6)
    assert_same(first, live(env, [0, 1, 1, 0], seed=5))
    assert_same(first, live(daytwo.LifetimeEnv(given()), [0, 1, 1, 0], seed=5))


def test_a_number_of_lanes_changes_nothing_in_an_evaluation():
    results = [daytwo.evaluate("random", given(), lifetimes=5, num_envs=n) for n in (5, 2)]
    np.testing.assert_array_equal(results[0].returns, results[1].returns)


# --- copies, snapshots, processes ------------------------------------------------------------------------------------


def middle(env, steps=7):
    env.reset(seed=2)
    for k in range(steps):
        env.step(k % 2)
    return env


def rest(env):
    """What the rest of a lifetime returns."""
    seen, over = [], False
    while not over:
        observation, reward, over, _, info = env.step(1)
        seen.append((observation, reward, over, info))
    return seen


@pytest.mark.parametrize("how", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("reuse", [True, False])
def test_a_copy_goes_on_as_the_original_does(how, reuse):
    family = given() if reuse else corridor(random_return=0.2, oracle_return=1.0)
    env = middle(daytwo.LifetimeEnv(family))
    copied = how(env)
    assert_same(rest(env), rest(copied))


def test_a_snapshot_is_restored_by_replaying_the_episode():
    env = middle(daytwo.LifetimeEnv(given()), steps=6)
    saved = pickle.loads(pickle.dumps(env.snapshot()))
    expected = rest(env)
    env.restore(saved)
    assert_same(expected, rest(env))
    other = daytwo.LifetimeEnv(given())
    other.restore(saved)
    assert_same(expected, rest(other))


def test_two_ways_to_the_same_time_are_told_apart():
    """A snapshot of one branch, restored while the other branch stands at the same step of the same episode."""
    env = daytwo.LifetimeEnv(given(), course="single", level=1)
    env.reset(seed=8)
    start = env.snapshot()
    ways = {}
    for action in (0, 1):
        env.restore(start)
        observation, *_ = env.step(action)
        ways[action] = (env.snapshot(), observation)
    for action, (snapshot, observation) in ways.items():
        env.restore(snapshot)
        went_on, *_ = env.step(1)
        env.restore(start)
        np.testing.assert_array_equal(env.step(action)[0], observation)
        np.testing.assert_array_equal(env.step(1)[0], went_on)


class Dice(Corridor):
    """A corridor with a die of its own, which no seed reaches."""

    rolls = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=int(self.rolls.integers(1000)))


def test_an_environment_that_ignores_its_seed_cannot_be_replayed():
    family = GymnasiumFamily(
        Dice, sample_goal, name="Dice", horizon=9, reward_range=(0, 1), random_return=0, oracle_return=1
    )
    env = daytwo.LifetimeEnv(family)
    with pytest.raises(RuntimeError, match=r"Dice: an episode that was copied or restored .* reset\(seed=\)"):
        for seed in range(20):
            env.reset(seed=seed)
            copy.deepcopy(env).step(0)


@pytest.mark.slow
def test_async_lanes_live_what_the_native_lanes_live():
    family = given()
    native = daytwo.LifetimeVectorEnv(family, 2, course="single", level=1)
    processes = make_async_lifetimes(family, 2, course="single", level=1)
    try:
        np.testing.assert_array_equal(native.reset(seed=3)[0], processes.reset(seed=3)[0])
        ended = 0
        for k in range(40):  # over the ends of lifetimes, too
            one, other = native.step(np.array([k % 2, 1])), processes.step(np.array([k % 2, 1]))
            for first, second in zip(one[:4], other[:4], strict=True):
                np.testing.assert_array_equal(first, second)
            for key in ("episode_return", "improvement", "level"):
                assert (key in one[4]) == (key in other[4])
                if key in one[4]:
                    np.testing.assert_array_equal(one[4]["_" + key], other[4]["_" + key])
                    np.testing.assert_array_equal(one[4][key], other[4][key])
                    ended += 1
        assert ended > 10
    finally:
        processes.close()


def test_async_lanes_refuse_bad_arguments_in_plain_words():
    with pytest.raises(ValueError, match="Unknown course 'none'"):
        make_async_lifetimes(given(), 2, course="none")
    with pytest.raises(ValueError, match="num_envs must be an integer"):
        make_async_lifetimes(given(), 0)


# --- controls, splits, levels, returns -------------------------------------------------------------------------------


class Repeats:
    """Goes on in the direction that once found the goal quickest: it remembers where the goal was."""

    name = "repeats"

    def begin(self, spec, seeds):
        self.layout, self.goal = spec.layout, np.full(len(seeds), -1)

    def act(self, observations, fresh):
        self.goal[fresh] = -1
        at = observations[:, self.layout["at"]].argmax(axis=1)
        actions = np.where((self.goal - at) % 6 <= 3, 1, 0)
        return np.where(self.goal < 0, 1, actions)


def test_the_controls_run_and_the_oracle_beats_the_random_policy():
    family = corridor(set_task=set_goal)
    results = {
        (agent, memory, task): daytwo.evaluate(agent, family, lifetimes=24, memory=memory, task=task, split="all")
        for agent, memory, task in [
            ("random", "kept", "fixed"),
            ("oracle", "kept", "fixed"),
            (Repeats(), "wiped", "fixed"),
            (Repeats(), "kept", "redrawn"),
        ]
    }
    means = [result.normalized.mean() for result in results.values()]
    assert means[0] == pytest.approx(0.0, abs=0.2) and means[1] == pytest.approx(1.0, abs=0.1)
    assert all(result.normalized.shape == (24, 6) for result in results.values())


def test_the_redrawn_control_draws_a_task_for_every_episode():
    env = daytwo.LifetimeEnv(given(), task="redrawn", privileged=True, episodes=8, course="single")
    tasks = {info["task"]["slip"] for *_, info in live(env, [0], seed=0)}
    assert len(tasks) == 8


def test_levels_share_the_task_and_have_their_own_arguments():
    env = daytwo.LifetimeEnv(given(), privileged=True)
    steps = live(env, [0], seed=0)
    assert len({str(info["task"]) for *_, info in steps}) == 1
    (lives,) = env.family._batches.values()
    assert lives[0].level == 1 and lives[0].env.length == 9
    assert [one.env.length for one in env.family._idle[0]] == [6]


def test_returns_are_measured_once_and_kept_on_disk(tmp_path, monkeypatch):
    family = corridor(set_task=set_goal, calibration_episodes=40)
    measured = family.reference_returns
    assert all(
        0.0 < low < 0.9 < high <= 1.0 for low, high in zip(measured.random_return, measured.oracle_return, strict=True)
    )
    assert all(error > 0 for error in measured.random_error)
    assert measured.random_spread[0] == pytest.approx(
        measured.random_error[0] * 40**0.5 / (measured.oracle_return[0] - measured.random_return[0])
    )
    assert len(list(tmp_path.glob("Corridor-*.json"))) == 4
    with monkeypatch.context() as context:
        context.setattr(gymnasium_family, "episode_returns", None)  # measuring would fail
        assert corridor(set_task=set_goal, calibration_episodes=40).reference_returns == measured
    next(tmp_path.glob("Corridor-oracle-*.json")).write_text("torn")
    assert corridor(set_task=set_goal, calibration_episodes=40).reference_returns == measured


def test_what_is_given_is_not_measured():
    family = given()
    assert family.reference_returns == ReferenceReturns.given([0.2, 0.2], [0.9, 1.0])
    assert corridor(oracle_return=1.0).reference_returns.oracle_return == (1.0, 1.0)


def test_an_official_split_is_kept():
    family = given(split_of_task=lambda task: "test" if task["goal"] in (2, 5) else "train")
    assert family.splits == ("train", "test", "all")
    for split, goals in (("train", {0, 1, 3, 4}), ("test", {2, 5}), ("all", set(range(6)))):
        env = daytwo.LifetimeVectorEnv(family, 60, split=split, privileged=True)
        env.reset(seed=0)
        assert {task["goal"] for task in env.tasks()} == goals
    task = {"goal": 2, "slip": 0.25}
    assert family.task_to_dict(family.task_from_dict(task)[0]) == task
    with pytest.raises(ValueError, match="split"):
        daytwo.LifetimeEnv(family, split="validation")


def test_split_codes_fall_into_their_splits():
    assert len({split_code(split) for split in ("train", "validation", "test")}) == 3
    with pytest.raises(ValueError, match="one of train, validation, test"):
        split_code("all")


def test_a_task_can_be_handed_over():
    env = daytwo.LifetimeEnv(given(), privileged=True)
    _, info = env.reset(seed=0, options={"task": {"goal": 4, "slip": 0.0}})
    assert info["task"] == {"goal": 4, "slip": 0.0}
    (lives,) = env.family._batches.values()
    assert lives[0].env.goal == 4


def test_diagnostics_come_from_the_environments_info():
    family = given(diagnostics={"found": "max", "windy": "sum"})
    result = daytwo.evaluate("random", family, lifetimes=6)
    np.testing.assert_array_equal(result.diagnostics["found"], result.returns)
    assert (result.diagnostics["windy"] > 0).all()


def test_a_task_may_have_names_that_numpy_owns():
    def make_env(size, mean):
        return Corridor(goal=size, slip=mean)

    family = GymnasiumFamily(
        make_env,
        lambda generator: {"size": generator.integers(6), "mean": 0.5 * generator.random()},
        name="Named",
        horizon=4,
        reward_range=(0, 1),
        random_return=0.1,
        oracle_return=1,
    )
    env = daytwo.LifetimeEnv(family, privileged=True)
    assert set(env.reset(seed=0)[1]["task"]) == {"size_", "mean_"}


# --- live environments are looked after ------------------------------------------------------------------------------


def test_environments_go_back_when_their_lanes_are_gone_and_are_used_again():
    family = given()
    env = daytwo.LifetimeVectorEnv(family, 3)
    env.reset(seed=0)
    made = {id(one.env) for lives in family._batches.values() for one in lives}
    made |= {id(one.env) for one in family._idle[0]}
    del env
    gc.collect()
    assert family._batches == {} and len(family._idle[0]) >= 3
    env = daytwo.LifetimeVectorEnv(family, 3)
    env.reset(seed=1)
    assert {id(one.env) for lives in family._batches.values() for one in lives} <= made
    idle = [one.env for idle in family._idle.values() for one in idle]
    family.close()
    assert all(one.closed for one in idle) and family._idle == {}
    env.step(np.zeros(3, dtype=np.int64))


def test_environments_made_for_one_task_are_closed_after_it():
    made = []

    def make_env(**task):
        made.append(Corridor(**task))
        return made[-1]

    family = GymnasiumFamily(
        make_env, sample_goal, name="Made", horizon=4, reward_range=(0, 1), random_return=0.1, oracle_return=1
    )
    env = daytwo.LifetimeEnv(family)
    for _ in range(5):
        env.reset()
    assert sum(not one.closed for one in made) <= 2


def test_families_are_collected():
    import weakref

    family = given()
    live(daytwo.LifetimeEnv(family), [1], seed=0)
    gone = weakref.ref(family)
    del family
    gc.collect()
    assert gone() is None


# --- the rest of the suite -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: corridor(set_task=set_goal), lambda: corridor(), lambda: reach()])
def test_it_passes_the_checks_of_any_family(make):
    report = check_family(make(), lifetimes=32)
    assert "lane equals single" in report.passed and "snapshot" in report.passed


def test_functions_are_named_where_they_can_be_found_again():
    family = given()
    assert family.keywords["make_env"] == f"{__name__}:Corridor"
    again = GymnasiumFamily(**family.keywords)
    assert again.levels == family.levels and again.fingerprint() == family.fingerprint()
    lives = [live(daytwo.LifetimeEnv(one), [0, 1], seed=0) for one in (family, again)]
    assert_same(*lives)


def test_fields_follow_the_parts_of_the_observation_and_their_bounds():
    assert [(one.name, one.size, one.low, one.high) for one in given().fields] == [
        ("at", 6, 0.0, 1.0),
        ("wind", 1, -1.0, 1.0),
    ]
    bounds = (np.array([-1.0, -2.0]), np.array([1.0, 1.0]))
    fields = reach(observation_bounds=bounds).fields
    assert [(one.name, one.low) for one in fields] == [("observation_0", -1.0), ("observation_1", -2.0)]
    env = daytwo.LifetimeEnv(reach(observation_bounds=(-0.1, 0.1)))
    assert np.abs(env.reset(seed=0)[0][:2]).max() == np.float32(0.1)  # clipped as asked


def test_a_subclass_has_its_place_in_suites_and_commands(tmp_path):
    (tmp_path / "poles.py").write_text(
        "import gymnasium\n"
        "from daytwo.integrations.gymnasium_family import GymnasiumFamily\n\n\n"
        "def make_env(length):\n"
        "    env = gymnasium.make('CartPole-v1', max_episode_steps=20)\n"
        "    env.unwrapped.length = length\n"
        "    return env\n\n\n"
        "def sample_task(generator):\n"
        "    return {'length': generator.uniform(0.2, 2.0)}\n\n\n"
        "class Poles(GymnasiumFamily):\n"
        "    '''Poles of a hidden length.'''\n\n"
        "    name = 'Poles'\n"
        "    episodes = 2\n\n"
        "    def __init__(self):\n"
        "        super().__init__(make_env, sample_task, horizon=20, reward_range=(0, 1), oracle_return=20,\n"
        "                         observation_bounds=(-20, 20), calibration_episodes=16)\n"
    )
    command = [sys.executable, "-m", "daytwo", "evaluate", "random", "poles:Poles", "--lifetimes", "8"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert "random on daytwo/Poles-v0, 8 lifetimes" in run.stdout and re.search(r"\barea\b", run.stdout)


# --- bad input -------------------------------------------------------------------------------------------------------


class Endless(Corridor):
    """What nothing can be made of: rewards out of range, or observations that are no numbers."""

    def __init__(self, fault="reward"):
        super().__init__()
        self.observation_space = spaces.Box(-1.0, 1.0, shape=(1,), dtype=np.float32)
        self.fault = fault

    def _see(self):
        return np.array([np.nan if self.fault == "observation" else 0.0], dtype=np.float32)

    def step(self, action):
        return self._see(), 5.0, False, False, {}


class OddSpaces(Corridor):
    def __init__(self, observation=None, action=None):
        super().__init__()
        self.observation_space = observation or self.observation_space
        self.action_space = action or self.action_space


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": ""}, "name must be a word"),
        ({"name": "two words"}, "name must be a word"),
        ({"oracle": None}, "nothing to normalise returns by"),
        ({"oracle_return": (1.0, 1.0, 1.0)}, "one for each of 2 levels"),
        ({"random_return": float("nan")}, "random_return must be one number"),
        ({"levels": [("short", 4)]}, "sequence of GymnasiumLevel"),
        ({"horizon": 5}, "not both"),
        ({"levels": None}, "pass horizon="),
        ({"levels": None, "horizon": 0}, "horizon must be an integer"),
        ({"set_task": "nowhere:at_all"}, "Cannot load"),
        ({"set_task": 3}, "set_task must be a function"),
        ({"observation_bounds": 3}, "observation_bounds must be"),
        ({"observation_bounds": (1, 0)}, "in order"),
        ({"split_fields": ("slip",)}, "whole numbers"),
        ({"split_fields": ("size",)}, "no field of the task"),
        ({"split_of_task": len, "split_fields": ("goal",)}, "not both"),
        ({"split_of_task": len, "splits": ("all",)}, "splits must be some of"),
        ({"diagnostics": {"found": "mean"}}, "must be one of 'last'"),
        ({"calibration_episodes": 1}, "calibration_episodes must be an integer"),
        ({"tags": ("fun",)}, "Unknown tag"),
        ({"reward_range": (0.0, float("inf"))}, "reward_range must be two finite numbers"),
    ],
)
def test_bad_declarations_are_refused_at_once(options, words):
    with pytest.raises(ValueError, match=words):
        corridor(**options)


@pytest.mark.parametrize(
    ("sample_task", "words"),
    [
        (lambda generator: {}, "at least one number"),
        (lambda generator: {"goal": "left"}, "must return numbers"),
        (lambda generator: None, "must return numbers"),
    ],
)
def test_tasks_must_be_numbers(sample_task, words):
    with pytest.raises(ValueError, match=words):
        GymnasiumFamily(Corridor, sample_task, name="Bad", horizon=3, reward_range=(0, 1), oracle_return=1)


@pytest.mark.parametrize(
    ("make_env", "words"),
    [
        (lambda **task: None, "must return a gymnasium.Env"),
        (lambda **task: OddSpaces(observation=spaces.Sequence(spaces.Discrete(2))), "observations must be a Box"),
        (lambda **task: OddSpaces(observation=spaces.Box(0, np.inf, (2,))), "column 0 of 2 has no finite bounds"),
        (lambda **task: OddSpaces(action=spaces.Box(-np.inf, 1, (2,))), "needs finite bounds"),
        (lambda **task: OddSpaces(action=spaces.MultiBinary(2)), "must be Discrete or a bounded Box"),
    ],
)
def test_environments_that_do_not_fit_are_refused_at_once(make_env, words):
    with pytest.raises(ValueError, match=words):
        GymnasiumFamily(make_env, sample_goal, name="Bad", horizon=3, reward_range=(0, 1), oracle_return=1)


def test_levels_of_different_spaces_are_refused():
    def make_env(goal, slip, wide=False):
        return OddSpaces(observation=spaces.Discrete(3) if wide else None)

    levels = [GymnasiumLevel("narrow", 3), GymnasiumLevel("wide", 3, arguments={"wide": True})]
    with pytest.raises(ValueError, match=r"same spaces; level 1 \(wide\)"):
        GymnasiumFamily(make_env, sample_goal, name="Bad", levels=levels, reward_range=(0, 1), oracle_return=1)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("reward", "a step paid 5.0, outside reward_range"), ("observation", "not finite")],
)
def test_what_comes_back_is_checked(fault, words):
    family = GymnasiumFamily(
        lambda **task: Endless(fault),
        sample_goal,
        name="Bad",
        horizon=3,
        reward_range=(0, 1),
        random_return=0,
        oracle_return=1,
    )
    env = daytwo.LifetimeEnv(family)
    with pytest.raises(ValueError, match=words):
        live(env, [0], seed=0)


def test_tasks_that_change_their_form_are_refused():
    shapes = iter([1, 1, 2, 2, 2, 2])
    with pytest.raises(ValueError, match="numbers of shape"):
        family = GymnasiumFamily(
            lambda task: Corridor(),
            lambda generator: np.zeros(next(shapes)),
            name="Bad",
            horizon=3,
            reward_range=(0, 1),
            random_return=0,
            oracle_return=1,
        )
        daytwo.LifetimeEnv(family).reset(seed=0)


# --- the page --------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "any_environment.md").read_text()


def test_the_pages_code_runs_as_it_stands(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 7
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=500
    )
    assert run.returncode == 0, run.stderr
    assert "area" in run.stdout and "(8, 5)" in run.stdout
    paid = re.findall(r"^([+-]\d\.\d{4}) = ([+-]\d\.\d{4}): a return", run.stdout, re.MULTILINE)
    assert len(paid) == 3
    for total, improvement in paid:
        assert float(total) == pytest.approx(float(improvement), abs=1.01e-4), "more than the last printed digit apart"


def test_the_page_names_every_preset():
    from daytwo.integrations import gymnasium_presets

    rows = re.findall(r"^\| `(\w+)` \|.*\|$", PAGE.split("## Presets")[1], re.MULTILINE)
    assert sorted(rows) == sorted(gymnasium_presets.__all__)
