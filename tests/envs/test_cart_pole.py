"""CartPole: Gymnasium's own trajectories, an oracle near its upper bound, and a learner that identifies the physics."""

import dataclasses
import functools
import importlib.util
import math
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

import daytwo
from daytwo.baselines.cart_pole import PoleLearner, PoleReactive
from daytwo.envs.cart_pole import BOUNDS, FALLEN, GYMNASIUM, LEFT, RIGHT, TRACK, CartPole
from daytwo.evaluation import evaluate
from daytwo.kernels import interpreted
from daytwo.streams import lifetime_seeds

NOMINAL = {"motor": 1.0, "push": 0.0, "cart_mass": 1.0, "pole_mass": 0.1, "half_length": 0.5}
STATE = ("x", "speed", "angle", "spin")
UNIT = daytwo.calibration.ReferenceReturns.given([0, 0, 0], [1, 1, 1])  # where normalised returns are not looked at


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": "Disabled", "privileged": True, "reference_returns": UNIT, **options}
    return daytwo.LifetimeVectorEnv("daytwo/CartPole-v0", lanes, **options)


def with_tasks(tasks, **options):
    env = make(len(tasks), **options)
    env.reset(seed=0)
    env.set_tasks(np.ones(len(tasks), dtype=bool), [{"task": task} for task in tasks])
    return env


def state(env, lane):
    row = env.scene(lane, reveal=True).state
    return np.array([row[name] for name in STATE], dtype=np.float64)


def gymnasiums(task=None):
    """Gymnasium's own environment, with a task's physics but for its push."""
    env = CartPoleEnv()
    env.reset(seed=0)
    if task is not None:
        env.masscart, env.masspole, env.length = task["cart_mass"], task["pole_mass"], task["half_length"]
        env.total_mass, env.polemass_length = env.masscart + env.masspole, env.masspole * env.length
    return env


@functools.cache
def curve(agent=PoleLearner, lifetimes=512, seed=1, **options):
    """Mean normalised return by episode."""
    return evaluate(agent, CartPole, lifetimes=lifetimes, seed=seed, **options).normalized.mean(axis=0)


# --- dynamics -------------------------------------------------------------------------------------------------------


def test_a_thousand_random_trajectories_are_gymnasiums_step_for_step():
    lanes = 1000
    env = make(lanes, course="single", level=0, episodes=1, show=("final_observation",), **GYMNASIUM)
    observations, _ = env.reset(seed=0)
    assert (np.abs(observations[:, :4]) <= 0.05).all()
    peers = [gymnasiums() for _ in range(lanes)]
    for lane, peer in enumerate(peers):
        peer.state = state(env, lane)
    rng = np.random.default_rng(0)
    over = np.zeros(lanes, dtype=bool)
    steps = 0
    while not over.all():
        actions = rng.integers(0, 2, lanes)
        observations, _, terminated, _, info = env.step(actions)
        for lane in np.flatnonzero(~over):
            expected, reward, fell, _, _ = peers[lane].step(int(actions[lane]))
            assert np.allclose(observations[lane, :4], expected, rtol=1e-6, atol=1e-7)
            assert info["raw_reward"][lane] == reward == 1.0
            assert terminated[lane] == fell
            steps += 1
        over |= terminated
    assert steps > 20 * lanes  # random play lasts about 22 steps


def test_long_episodes_are_gymnasiums_too_and_end_after_500_steps():
    env = make(2, course="single", level=0, episodes=1, **GYMNASIUM)
    env.reset(seed=3)
    peer = gymnasiums()
    for step in range(1, 501):
        actions = env.oracle_actions()
        # From our state: over 500 steps even the last bits of sines would grow.
        peer.state = state(env, 0)
        expected, *_ = peer.step(int(actions[0]))
        observations, _, terminated, _, _ = env.step(actions)
        assert observations[0, :4] == pytest.approx(expected, rel=1e-6, abs=1e-7)
        assert terminated.all() == (step == 500)
    assert gymnasium.spec("CartPole-v1").max_episode_steps == 500


@pytest.mark.parametrize("control", ["discrete", "continuous"])
def test_hidden_physics_are_gymnasiums_with_other_constants_and_a_constant_push(control):
    env = make(32, control=control, course="single", level=2, episodes=1, show=("final_observation",))
    env.reset(seed=1)
    tasks, rng = env.tasks(), np.random.default_rng(1)
    over = np.zeros(32, dtype=bool)
    for _ in range(12):
        before = [state(env, lane) for lane in range(32)]
        actions = rng.integers(0, 2, 32) if control == "discrete" else rng.uniform(-1, 1, (32, 1))
        observations, _, terminated, _, _ = env.step(actions)
        for lane in np.flatnonzero(~over):
            task, peer = tasks[lane], gymnasiums(tasks[lane])
            command = 2.0 * actions[lane] - 1.0 if control == "discrete" else actions[lane, 0]
            peer.force_mag = 10.0 * (task["motor"] * command + task["push"] * abs(task["motor"]))
            peer.state = before[lane]
            expected, _, fell, _, _ = peer.step(1)
            assert observations[lane, :4] == pytest.approx(expected, rel=1e-5, abs=1e-6)
            assert terminated[lane] == fell
        over |= terminated


def test_levels_hide_more_and_more_of_one_task():
    task = {"places": [1.0, -1.0], "motor": -1.5, "push": 0.2, "cart_mass": 1.4, "pole_mass": 0.2, "half_length": 0.6}
    changes = []
    for level in range(3):
        env = with_tasks([task], course="single", level=level, episodes=1)
        env.reset()
        before = state(env, 0)
        env.step(np.array([RIGHT]))
        changes.append((state(env, 0) - before)[1] / 0.02)
    nominal, wired, hidden = changes
    assert nominal == pytest.approx(9.76, abs=0.6)  # 10 N on 1.1 kg with a pole of 0.1 kg
    assert wired == pytest.approx(-1.5 * nominal, abs=0.6)
    assert wired < hidden < 0.0


def test_continuous_commands_of_full_size_are_the_discrete_actions():
    for level in range(3):
        runs = []
        for control in ("discrete", "continuous"):
            env = make(16, control=control, course="single", level=level, episodes=2)
            seen = [env.reset(seed=2)[0][:, :4]]
            rng = np.random.default_rng(2)
            for _ in range(30):
                actions = rng.integers(0, 2, 16)
                seen.append(env.step(actions if control == "discrete" else 2.0 * actions[:, None] - 1.0)[0][:, :4])
            runs.append(np.array(seen))
        assert np.array_equal(*runs)


def test_observations_stay_within_their_bounds_even_for_extreme_physics():
    for mass, half in ((0.5, 0.25), (0.5, 0.8), (2.0, 0.25)):
        env = make(
            64,
            course="single",
            level=2,
            episodes=20,
            show=("final_observation",),
            gains=(2.0, 2.0),
            push=0.3,
            cart_masses=(mass, mass),
            pole_masses=(0.01, 0.3),
            half_lengths=(half, half),
        )
        observations, _ = env.reset(seed=0)
        largest = np.zeros(4)
        signs = np.sign([task["motor"] for task in env.tasks()])
        for step in range(120):
            # Lets the pole lean, then drives it through the whole of its range.
            right = observations[:, 2] > 0.15 if step % 2 else observations[:, 3] < 0.0
            observations, *_ = env.step((right == (signs > 0)).astype(np.int64))
            seen = np.abs(np.concatenate([observations[:, :4], observations[:, env.layout["final_observation"]]]))
            largest = np.maximum(largest, seen.max(axis=0))
        assert (largest < np.array(BOUNDS)).all()
        assert largest[2] > FALLEN


# --- tasks and rewards ----------------------------------------------------------------------------------------------


def test_tasks_are_drawn_from_the_ranges_of_the_settings():
    env = make(8192)
    env.reset(seed=0)
    tasks = env.tasks()
    places = np.array([task["places"] for task in tasks])
    assert places.mean(axis=0) == pytest.approx([0.0, 0.0], abs=0.06)
    assert np.abs(places).max(axis=0) == pytest.approx([2.0, 2.0], abs=0.01)
    assert np.corrcoef(places.T)[0, 1] == pytest.approx(0.0, abs=0.05)
    motors = np.array([task["motor"] for task in tasks])
    assert (motors > 0).mean() == pytest.approx(0.5, abs=0.025)
    assert np.log(np.abs(motors)).mean() == pytest.approx(0.5 * math.log(0.6 * 1.7), abs=0.015)
    for name, low, high in (
        ("push", -0.25, 0.25),
        ("cart_mass", 0.6, 1.5),
        ("pole_mass", 0.05, 0.25),
        ("half_length", 0.3, 0.7),
    ):
        values = np.array([task[name] for task in tasks])
        edge = 0.01 * (high - low)
        assert low <= values.min() < low + edge
        assert high - edge < values.max() <= high
        assert values.mean() == pytest.approx(0.5 * (low + high), abs=2 * edge)


def test_a_step_pays_exactly_within_reach_of_the_place_and_places_take_turns_at_the_top_level():
    for level, width in ((0, 0.1), (1, 0.3), (2, 0.1)):
        env = make(64, course="single", level=level, episodes=1, width=width, show=("final_observation",))
        env.reset(seed=5)
        places = np.array([task["places"] for task in env.tasks()])
        paid = np.zeros(2)
        over = np.zeros(64, dtype=bool)
        for step in range(1, env.family.levels[level].horizon + 1):
            observations, _, terminated, _, info = env.step(env.oracle_actions())
            second = level == 2 and step > 150
            near = np.abs(observations[:, 0] - places[:, int(second)])
            clear = ~over & (np.abs(near - width) > 1e-5)
            assert np.array_equal(info["raw_reward"][clear], (near[clear] <= width).astype(float))
            paid[int(second)] += info["raw_reward"].sum()
            over |= terminated
        assert paid[0] > 64 * 70
        assert (paid[1] > 64 * 70) == (level == 2)


def test_diagnostics_say_who_fell_and_when_the_place_was_found():
    tasks = [{**NOMINAL, "places": [place, 0.0]} for place in (0.0, 2.0)]
    env = with_tasks(tasks, course="single", level=0, episodes=1)
    env.reset()
    over = np.zeros(2, dtype=bool)
    found = {}
    while not over.all():
        _, _, terminated, _, info = env.step(np.array([RIGHT, RIGHT]))
        for lane in np.flatnonzero(info.get("_fell", np.zeros(2, dtype=bool))):
            found[int(lane)] = (info["fell"][lane], info["first_paid_step"][lane])
        over |= terminated
    assert found[0] == (1.0, 1.0)  # the start is within 0.1 of the place
    assert found[1][0] == 1.0
    assert math.isnan(found[1][1])


# --- the oracle -----------------------------------------------------------------------------------------------------


@functools.cache
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "cart_pole_bound.py"
    spec = importlib.util.spec_from_file_location("cart_pole_bound", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("control", "share"), [("discrete", 0.93), ("continuous", 0.945)])
def test_the_oracle_comes_near_the_upper_bound_of_linear_programming(control, share):
    for level in (0, 1):
        returns, bounds = benchmark().compare(control, level, 3)
        assert (returns <= bounds).all()
        assert returns.sum() >= share * bounds.sum()


def test_the_oracle_hardly_ever_falls_and_balances_for_good():
    env = make(2048, course="single", level=2, episodes=1)
    env.reset(seed=7)
    over, fell = np.zeros(2048, dtype=bool), 0.0
    while not over.all():
        _, _, terminated, _, info = env.step(env.oracle_actions())
        fell += info["fell"].sum() if "_fell" in info else 0.0
        over |= terminated
    assert fell <= 8
    balance = make(64, course="progressive", episodes=1, **GYMNASIUM)
    balance.reset(seed=7)
    returns = []
    over = np.zeros(64, dtype=bool)
    while not over.all():
        _, _, terminated, _, info = balance.step(balance.oracle_actions())
        if "_episode_return" in info:
            returns += info["episode_return"][info["_episode_return"]].tolist()
        over |= terminated
    assert returns == [500.0] * 192


# --- the reference learner and the agent without memory ---------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_learner_finds_the_place_within_three_episodes_and_its_amnesiac_twin_does_not(level):
    adapted = curve(course="single", level=level)
    assert adapted[0] < 0.45
    assert 0.65 < adapted[1] < 0.9
    assert (adapted[2:] > 0.95).all()
    wiped = curve(course="single", level=level, memory="wiped", episodes=2)
    reactive = curve(agent=PoleReactive, course="single", level=level, episodes=2)
    for without in (wiped, reactive):
        assert without.mean() < adapted[-1] - 0.6
    assert reactive.mean() > 0.1


def test_what_was_learnt_at_earlier_levels_pays_from_the_first_episode():
    progressive, isolated = curve(course="progressive", episodes=4), curve(course="isolated", episodes=4)
    for level, gain in ((1, 0.6), (2, 0.25)):
        assert progressive[4 * level] > isolated[4 * level] + gain


def test_a_redrawn_task_leaves_the_learner_no_better_than_its_amnesiac_twin():
    for level in (0, 2):
        options = {"course": "single", "level": level, "episodes": 4, "task": "redrawn"}
        assert curve(**options).mean() < curve(**options, memory="wiped").mean() + 0.01


def test_contradicted_beliefs_are_given_up():
    for level in (1, 2):
        switched = curve(course="switch", level=level, episodes=10)
        assert switched[4] > 0.95
        assert switched[5] < 0.5
        assert switched[9] > 0.95


def test_continuous_control_is_learnt_as_well():
    adapted = curve(course="single", level=2, control="continuous", episodes=4)
    assert adapted[0] < 0.45
    assert adapted[-1] > 0.95
    assert curve(agent=PoleReactive, course="single", level=2, control="continuous", episodes=2).mean() < 0.4


def test_the_physics_are_identified_within_an_episode():
    env = make(128, course="single", level=2, episodes=1)
    seeds = lifetime_seeds(4, 0, 128)
    observations, _ = env.reset(seed=seeds)
    agent, fresh = PoleLearner(), np.ones(128, dtype=bool)
    agent.begin(env.lifetime_spec, seeds)
    for _ in range(40):
        observations, *_ = env.step(agent.act(observations, fresh))
        fresh = np.zeros(128, dtype=bool)
    agent.act(observations, fresh)
    for task, found in zip(env.tasks(), agent._model, strict=True):
        mass = task["cart_mass"] + task["pole_mass"]
        assert found[0] == pytest.approx(10.0 * task["motor"] / mass, rel=0.01)
        assert found[1] == pytest.approx(10.0 * task["push"] * abs(task["motor"]) / mass, abs=0.02)
        assert found[2] == pytest.approx(task["pole_mass"] * task["half_length"] / mass, abs=0.005)
        assert found[3] == pytest.approx(4.0 / 3.0 * task["half_length"], rel=0.01)


def test_balancing_alone_needs_no_memory():
    for level in range(3):
        options = {"course": "single", "level": level, "episodes": 1, "lifetimes": 128, **GYMNASIUM}
        assert evaluate(PoleLearner, CartPole, **options).returns.mean() == 500.0
        assert evaluate(PoleReactive, CartPole, **options).returns.mean() > 470.0


@pytest.mark.parametrize("control", ["discrete", "continuous"])
def test_results_depend_neither_on_the_batch_nor_on_compilation(control):
    options = {"course": "progressive", "episodes": 2, "control": control, "horizon": (40, 40, 60), "reach": 0.5}
    options["reference_returns"] = UNIT
    for agent in (PoleLearner, PoleReactive):
        whole = evaluate(agent, CartPole, lifetimes=4, **options).returns
        assert np.array_equal(whole, evaluate(agent, CartPole, lifetimes=4, num_envs=1, **options).returns)
        with interpreted():
            plain = evaluate(agent, CartPole, lifetimes=2, compiled=False, **options).returns
        assert np.array_equal(plain, whole[:2])


def test_the_agent_without_memory_acts_on_the_present_observation_alone():
    env = make(64, course="single", level=1, episodes=1)
    seeds = lifetime_seeds(0, 0, 64)
    observations, _ = env.reset(seed=seeds)
    agent, other, fresh = PoleReactive(), PoleReactive(), np.zeros(64, dtype=bool)
    agent.begin(env.lifetime_spec, seeds)
    for _ in range(30):
        other.begin(env.lifetime_spec, seeds)
        actions = agent.act(observations, fresh)
        assert np.array_equal(actions, other.act(observations[::-1].copy(), ~fresh)[::-1])
        observations, *_ = env.step(actions)


def test_agents_say_which_environments_they_fit():
    spec = make(1).lifetime_spec
    for agent in (PoleLearner, PoleReactive):
        assert agent.fits(spec)
        assert agent.fits(make(1, control="continuous").lifetime_spec)
        assert not agent.fits(make(1, show=("previous_action", "level")).lifetime_spec)
        assert not agent.fits(dataclasses.replace(spec, family="DarkRoom"))


# --- settings, words and pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"control": "analog"}, "control must be 'discrete' or 'continuous'"),
        ({"goal": "balancing"}, "goal must be 'place' or 'balance'"),
        ({"horizon": (200, 200)}, "horizon must be 3 integers"),
        ({"reach": 2.3}, r"reach must be a number in \[0, 2.2\]"),
        ({"width": 0.0}, "width must be a number"),
        ({"gains": (1.5, 0.7)}, "gains must be two numbers in order"),
        ({"push": 0.5}, "push must be a number"),
        ({"cart_masses": (0.1, 1.0)}, r"cart_masses\[0\] must be"),
        ({"half_lengths": 0.5}, "half_lengths must be 2 numbers"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CartPole(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"places": [2.1, 0.0]}, "places must lie within 2"),
        ({"motor": 0.1}, "size of motor must lie"),
        ({"motor": -2.0}, "size of motor must lie"),
        ({"push": 0.3}, "push must lie within"),
        ({"cart_mass": 2.0}, "cart_mass must lie"),
        ({"half_length": math.nan}, "must be finite"),
    ],
)
def test_tasks_that_could_not_be_drawn_are_refused(change, message):
    family, task = CartPole(), {**NOMINAL, "places": [1.0, -1.0]}
    assert family.task_to_dict(family.task_from_dict(task)[0]) == task
    with pytest.raises(ValueError, match=message):
        family.task_from_dict({**task, **change})


def test_pictures_and_texts_show_hidden_things_only_where_revealed():
    shapes = set()
    for level in range(3):
        tasks = [{**NOMINAL, "places": [0.5, 1.0]}, {**NOMINAL, "places": [-0.5, 1.0], "motor": -1.2}]
        envs = [with_tasks([task], course="single", level=level, episodes=1) for task in tasks]
        for env in envs:
            env.reset()
        for draw in (envs[0].family.render_ansi, envs[0].family.render_rgb):
            hidden = [draw(env.scene(0, reveal=False)) for env in envs]
            shown = [draw(env.scene(0, reveal=True)) for env in envs]
            assert np.array_equal(hidden[0], hidden[1])
            assert not np.array_equal(shown[0], shown[1])
            assert not np.array_equal(shown[0], hidden[0])
        shapes.add(envs[0].family.render_rgb(envs[0].scene(0, reveal=True)).shape)
    assert len(shapes) == 1


def test_words_tell_the_rules_the_state_and_the_actions():
    family = CartPole()
    assert "within 0.1 m" in family.describe_rules(0)
    assert "wrong way round" not in family.describe_rules(0)
    assert "wrong way round" in family.describe_rules(1)
    assert "steps 1 to 150" in family.describe_rules(2)
    assert "Every step pays 1." in CartPole(**GYMNASIUM).describe_rules(0)
    assert "from -1 to 1" in CartPole(control="continuous").describe_rules(0)
    words = family.describe_observation(np.array([0.5, -1.0, math.radians(3.0), 0.0], dtype=np.float32), 0)
    assert "Position +0.500 m" in words
    assert "leans +3.00 degrees" in words
    assert (family.parse_action("Right", 0), family.parse_action("left", 0)) == (RIGHT, LEFT)
    assert CartPole(control="continuous").describe_action(np.array([-0.25])) == "push -0.25"
    assert TRACK == 2.4
