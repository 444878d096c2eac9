"""PointRobot: closed forms, a second implementation, exhaustive tours, and agents with and without a memory."""

import dataclasses
import functools
import math

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.baselines.point_robot import CirclePatrol, CircleSweep
from daytwo.calibration import ReferenceReturns, measure
from daytwo.envs.point_robot import COMPASS, MAML_2D, PEARL_SPARSE, PointRobot
from daytwo.kernels import interpreted
from daytwo.streams import lifetime_seeds

SPOTS = (0.4, 2.6, 1.3)


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv(PointRobot, lanes, **options)


def unscaled(lanes, **options):
    """Without calibration, for what does not look at normalised returns."""
    levels = 1 if options.get("kind") == "single" else 3
    return make(lanes, reference_returns=ReferenceReturns.given([0.0] * levels, [1.0] * levels), **options)


def a_task(angles=SPOTS, turn=0.0, gain=1.0):
    return {"goals": [[math.cos(angle), math.sin(angle)] for angle in angles], "turn": turn, "gain": gain}


def with_tasks(tasks, **options):
    env = unscaled(len(tasks), **options)
    env.reset(seed=0)
    env.set_tasks(np.ones(len(tasks), dtype=bool), [{"task": task} for task in tasks])
    env.reset()
    return env


def live(env, seeds, agent=None, wiped=False):
    """Raw and normalised returns ``float64[2, N, episodes]``; the reference learner's by default."""
    agent = CircleSweep() if agent is None else agent
    spec = env.lifetime_spec
    observations, _ = env.reset(seed=seeds)
    agent.begin(spec, np.asarray(seeds))
    fresh, over = np.ones(len(seeds), dtype=bool), np.zeros(len(seeds), dtype=bool)
    returns = np.full((2, len(seeds), spec.course.episodes), np.nan)
    while not over.all():
        if wiped:
            fresh = observations[:, spec.layout.start("episode_start")] > 0.5
            observations = spec.layout.wipe(observations, fresh)
        observations, _, terminated, _, info = env.step(agent.act(observations, fresh))
        fresh = np.zeros(len(seeds), dtype=bool)
        over |= terminated
        if "_episode_return" in info:
            ended = info["_episode_return"]
            returns[0, ended, info["episode_index"][ended]] = info["episode_return"][ended]
            returns[1, ended, info["episode_index"][ended]] = info["episode_normalized_return"][ended]
    assert not np.isnan(returns).any()
    return returns


@functools.cache
def curve(lifetimes=1024, wiped=False, agent=CircleSweep, **options):
    """Mean normalised return by episode."""
    return live(make(lifetimes, **options), lifetime_seeds(1, 0, lifetimes), agent(), wiped)[1].mean(axis=0)


def follow_oracle(env):
    """Raw return of the first episode, ``float64[N]``."""
    total, over = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=bool)
    while not over.all():
        _, _, terminated, _, info = env.step(env.oracle_actions())
        total += info["raw_reward"]
        over |= terminated
    return total


# --- reference returns --------------------------------------------------------------------------------------------


def test_the_oracle_earns_eleven_and_a_half_on_every_task_with_one_goal():
    # 0.1 a step over a distance of 1: half a reward after step 9, a whole one after each of the steps 10 to 20.
    env = unscaled(512, course="single", level=0, episodes=1)
    env.reset(seed=3)
    assert follow_oracle(env) == pytest.approx(11.5, abs=1e-9)
    assert env.family.exact_oracle_return(0) == pytest.approx(11.5)
    assert [env.family.exact_oracle_return(level) for level in (1, 2)] == [None, None]


def test_pearls_oracle_agrees_with_an_integral_over_the_half_circle():
    angles = (np.arange(20_000) + 0.5) * np.pi / 20_000
    goals = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    total = 0.0
    for t in range(1, 21):
        # Each coordinate goes 0.1 a step, by itself.
        apart = np.linalg.norm(goals - np.clip(goals, -0.1 * t, 0.1 * t), axis=1)
        total += np.where(apart <= 0.2, 1.0 - apart, 0.0).mean()
    measured = measure(PointRobot(**PEARL_SPARSE), tasks=4_096)
    assert measured.oracle_return[0] == pytest.approx(total, abs=5 * measured.oracle_error[0])
    assert total == pytest.approx(13.38, abs=0.005)
    assert PointRobot(**PEARL_SPARSE).exact_oracle_return(0) == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("power", [1, 2])
def test_mamls_oracle_agrees_with_an_integral_over_the_square(power):
    goals = (np.arange(500) + 0.5) / 1_000  # by symmetry one quarter is enough
    x, y = np.meshgrid(goals, goals)
    total, going_on = np.zeros_like(x), np.ones_like(x, dtype=bool)
    for t in range(1, 101):
        dx, dy = x - np.minimum(x, 0.1 * t), y - np.minimum(y, 0.1 * t)
        total -= going_on * np.hypot(dx, dy) ** power
        going_on &= ~((dx < 0.01) & (dy < 0.01))
    settings = {**MAML_2D, "pays": "distance" if power == 1 else "squared"}
    measured = measure(PointRobot(**settings), tasks=4_096)
    assert measured.oracle_return[0] == pytest.approx(total.mean(), abs=5 * measured.oracle_error[0])
    assert PointRobot(**settings).exact_oracle_return(0) == pytest.approx(total.mean(), abs=1e-3)


def test_a_random_walk_costs_what_its_variance_says():
    # Squared distance after t steps: that of the goal, 1/6, and in each coordinate t times the variance of a step.
    measured = measure(PointRobot(**{**MAML_2D, "pays": "squared", "finish": 0.0}), tasks=4_096)
    expected = -sum(1 / 6 + 2 * t * 0.1**2 / 3 for t in range(1, 101))
    assert measured.random_return[0] == pytest.approx(expected, abs=5 * measured.random_error[0])


def best_entries(goal, stride, radius, x, y, steps, count):
    """Points of the disc around a goal that are within so many steps of (x, y): a fine net of disc and edge."""
    angles = np.linspace(0, 2 * np.pi, 2 * count, endpoint=False)
    sizes = np.append(np.linspace(0, 1, count // 6, endpoint=False), 1.0) * (radius - 1e-7)
    around = goal[:, None] + (sizes[:, None] * np.stack([np.cos(angles), np.sin(angles)])[:, None]).reshape(2, -1)
    # The edge of what is reachable is as likely to hold the best point as the edge of the disc.
    ring = np.array([[x], [y]]) + steps * stride * np.stack([np.cos(angles), np.sin(angles)])
    ring = ring[:, np.hypot(*(ring - goal[:, None])) <= radius - 1e-7]
    around = np.concatenate([around, ring], axis=1)
    return around[:, np.hypot(around[0] - x, around[1] - y) <= steps * stride + 1e-9]


def final_pay(apart, left, stride, radius):
    """What going straight to the last goal pays, by how far away it is."""
    steps = np.arange(1, left + 1)
    return np.maximum(0.0, 1.0 - np.maximum(0.0, apart[..., None] - steps * stride) / radius).sum(axis=-1)


def best_tour(goals, x, y, left, stride, radius=0.2):
    """Highest return from (x, y) by exhaustive search over whole steps and nets of entries."""
    if len(goals) == 1:
        return float(final_pay(np.array(math.hypot(goals[0][0] - x, goals[0][1] - y)), left, stride, radius))
    first = max(1, math.ceil((math.hypot(goals[0][0] - x, goals[0][1] - y) - radius) / stride - 1e-6))
    best = 0.0
    for steps in range(first, first + 3):
        if steps > left:
            break
        entries = best_entries(goals[0], stride, radius, x, y, steps, 60 if len(goals) == 2 else 18)
        if len(goals) == 2:
            apart = np.hypot(entries[0] - goals[1][0], entries[1] - goals[1][1])
            if apart.size:
                best = max(best, 1.0 + final_pay(apart, left - steps, stride, radius).max())
        else:
            for px, py in entries.T:
                best = max(best, 1.0 + best_tour(goals[1:], px, py, left - steps, stride, radius))
    return best


@pytest.mark.parametrize(("level", "tasks"), [(1, 60), (2, 4)])
def test_no_tour_in_an_exhaustive_search_is_better_than_the_oracles(level, tasks):
    env = unscaled(tasks, course="single", level=level, episodes=1)
    env.reset(seed=11)
    drawn = env.tasks()
    earned = follow_oracle(env)
    found = []
    for task in drawn:
        goals = np.array(task["goals"])[: level + 1]
        stride = 0.1 * (task["gain"] if level == 2 else 1.0)
        found.append(best_tour(goals, 0.0, 0.0, env.family.levels[level].horizon, stride))
    assert (earned > np.array(found) - 1e-3).all()
    if level == 1:  # where the net is fine, it comes near
        assert np.mean(earned - found) < 0.05


def test_the_oracle_turns_back_within_overlapping_discs():
    # Out, a little back and out again: here a way of continuous length would visit two goals in one point.
    env = with_tasks([a_task((1.68, 1.36, 1.96), gain=0.882)], course="single", level=2, episodes=1)
    assert follow_oracle(env)[0] > 28.0


# --- rules --------------------------------------------------------------------------------------------------------


def played_again(family, level, task, actions):
    """The rules once more, in plain Python: positions, rewards, and after which step the episode ended."""
    settings = family.keywords
    hidden = settings["motors"] == "hidden" or (settings["motors"] == "top" and level == len(family.levels) - 1)
    motor = settings["stride"] * (task["gain"] * np.exp(1j * task["turn"]) if hidden else 1.0)
    goals = [complex(*goal) for goal in task["goals"]][: 1 if family.single else level + 1]
    place, now, rewards, places = 0j, 0, [], []
    for ax, ay in actions:
        wanted = complex(ax, ay)
        if settings["limit"] == "length":
            wanted /= max(1.0, abs(wanted))
        place += motor * wanted
        apart, ended = abs(place - goals[now]), False
        if now < len(goals) - 1:
            rewards.append(float(apart <= settings["radius"]))
            now += int(apart <= settings["radius"])
        else:
            near = apart <= settings["radius"]
            pays = {"cone": near * (1 - apart / settings["radius"]), "sparse": near * (1 - apart)}
            pays |= {"distance": -apart, "squared": -(apart**2)}
            rewards.append(pays[settings["pays"]])
            off = place - goals[now]
            ended = abs(off.real) < settings["finish"] and abs(off.imag) < settings["finish"]
        places.append(place)
        if ended:
            break
    return np.array(places), np.array(rewards), ended


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, 0),
        ({}, 1),
        ({}, 2),
        ({"motors": "hidden", "radius": 0.5, "stride": 0.3, "gains": (0.5, 2.0)}, 1),
        (MAML_2D, None),
        ({**MAML_2D, "pays": "squared", "finish": 0.2}, None),
        ({**PEARL_SPARSE, "motors": "hidden"}, None),
    ],
)
def test_episodes_agree_with_a_second_implementation_of_the_rules(settings, level):
    options = {} if level is None else {"level": level}
    env = unscaled(24, course="single", episodes=1, **options, **settings)
    observations, _ = env.reset(seed=7)
    tasks, rng = env.tasks(), np.random.default_rng(0)
    places, rewards, actions, ends = [], [], [], np.full(24, -1)
    for t in range(env.family.levels[level or 0].horizon):
        # Half of the lanes follow the oracle with some noise, so that goals are met.
        action = np.where(np.arange(24)[:, None] % 2, env.oracle_actions(), 0.0) + rng.uniform(-0.4, 0.4, (24, 2))
        action = np.clip(action, -1.0, 1.0)
        observations, _, terminated, _, info = env.step(action)
        ends = np.where((ends < 0) & terminated, t, ends)
        places.append(observations[:, :2])
        rewards.append(info["raw_reward"])
        actions.append(action)
    met = 0
    for i, task in enumerate(tasks):
        expected, paid, ended = played_again(env.family, level or 0, task, [action[i] for action in actions])
        count = len(expected)
        assert ends[i] == count - 1
        assert np.array(places)[:count, i] == pytest.approx(np.stack([expected.real, expected.imag], 1), abs=1e-5)
        assert np.array(rewards)[:count, i] == pytest.approx(paid, abs=1e-9)
        met += (paid > 0).any() or ended
    assert met >= 6


def test_tasks_are_uniform_in_angles_turns_and_gains():
    env = unscaled(8192)
    env.reset(seed=0)
    tasks = env.tasks()
    goals = np.array([task["goals"] for task in tasks])
    assert np.hypot(goals[..., 0], goals[..., 1]) == pytest.approx(1.0)
    samples = [np.arctan2(goals[:, k, 1], goals[:, k, 0]) / np.pi for k in range(3)]
    samples.append((np.array([task["turn"] for task in tasks]) + np.pi) / (2 * np.pi))
    samples.append((np.array([task["gain"] for task in tasks]) - 0.8) / 0.45)
    for sample in samples:
        distances = np.sort(sample) - (np.arange(8192) + 0.5) / 8192
        assert np.abs(distances).max() < 1.95 / math.sqrt(8192)  # Kolmogorov and Smirnov's bound, at one in a thousand
    assert np.abs(np.corrcoef(samples) - np.eye(5)).max() < 0.05
    env = unscaled(4096, **MAML_2D)
    env.reset(seed=0)
    goals = np.array([task["goals"][0] for task in env.tasks()])
    assert np.abs(goals).max() <= 0.5
    assert goals.std(axis=0) == pytest.approx(1 / math.sqrt(12), rel=0.03)


def test_a_goal_before_the_last_pays_once_and_only_in_its_turn():
    env = with_tasks([a_task((math.pi / 2, 0.0, 1.0))], course="single", level=1, episodes=1)
    paid, counting = [], []
    for k in range(30):
        # Eastwards first, over the second goal: it does not count yet. Then back and north to the first, and wait.
        action = (1.0, 0.0) if k < 10 else (-1.0, 0.0) if k < 20 else (0.0, 1.0)
        observations, _, _, _, info = env.step(np.array([action]))
        paid.append(info["raw_reward"][0])
        counting.append(int(observations[0, 4:7].argmax()))
    assert paid == [0.0] * 28 + [1.0, 0.0]
    assert counting[26:] == [0, 0, 1, 1]
    env = with_tasks([a_task((0.0, 0.0, 1.0))], course="single", level=1, episodes=1)
    rewards = [env.step(np.array([[1.0 if k < 10 else 0.0, 0.0]]))[4]["raw_reward"][0] for k in range(12)]
    assert rewards == pytest.approx([0.0] * 8 + [1.0] * 4)


def test_motors_turn_and_lengthen_at_the_top_level_and_nowhere_else():
    for level, expected in ((0, [0.1, 0.0]), (1, [0.1, 0.0]), (2, [0.0, 0.12])):
        env = with_tasks([a_task(turn=math.pi / 2, gain=1.2)], course="single", level=level, episodes=1)
        observations, *_ = env.step(np.array([[1.0, 0.0]]))
        assert observations[0, :2] == pytest.approx(expected, abs=1e-7)


def test_nothing_but_the_last_reward_goes_on_from_one_episode_to_the_next():
    # A last action in sight would be a note from one episode to the next, which an agent without a memory could write.
    seen = []
    for action in ((1.0, 0.0), (-0.3, 0.7)):
        env = unscaled(1, course="single", level=0, episodes=2)
        assert "previous_action" not in env.layout
        env.reset(seed=1)
        for _ in range(20):
            observations, _, _, _, _ = env.step(np.array([action]))
        seen.append(observations[0])
        observations, *_ = env.step(np.array([action]))
        assert observations[0, env.layout["command"]] == pytest.approx(action)
    assert np.array_equal(*seen)
    assert not seen[0][:4].any()


def test_diagnostics_tell_how_far_an_episode_came():
    env = with_tasks([a_task((0.0, 0.0, math.pi))] * 2, course="single", level=2, episodes=1)
    for _ in range(40):
        # One robot stops at the second goal, the other does not move.
        x = env._state.x[0]
        _, _, _, _, info = env.step(np.array([[min(1.0, (1.0 - x) * 10), 0.0], [0.0, 0.0]]))
    assert info["goals_reached"].tolist() == [2.0, 0.0]
    assert info["distance"] == pytest.approx([2.0, 1.0])
    env = unscaled(64, course="progressive", episodes=1)
    env.reset(seed=0)
    reached, over = [], False
    while not over:
        _, _, terminated, _, info = env.step(env.oracle_actions())
        over = terminated.all()
        if "_goals_reached" in info:
            reached.append(info["goals_reached"].mean())
    assert reached[:2] == [1.0, 2.0]
    assert reached[2] > 2.9  # with weak motors some tours take longer than an episode


# --- the reference learner ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # The mean normalised return in episodes 1, 2, 3, 5, 10.
        (0, (0.28, 0.77, 0.98, 1.00, 1.00)),
        (1, (0.26, 0.79, 0.92, 0.95, 0.95)),
        (2, (0.23, 0.75, 0.93, 0.95, 0.96)),
    ],
)
def test_the_reference_learner_adapts_within_a_few_episodes_and_its_amnesiac_twin_does_not(level, expected):
    adapted = curve(course="single", level=level)
    assert adapted[[0, 1, 2, 4, 9]] == pytest.approx(expected, abs=0.06)
    wiped = curve(course="single", level=level, episodes=3, wiped=True)
    assert wiped == pytest.approx(adapted[0], abs=1e-9)


def test_what_earlier_levels_showed_pays_from_the_first_episode():
    progressive, isolated = curve(course="progressive"), curve(course="isolated")
    assert np.array_equal(progressive[:10], isolated[:10])
    for level in (1, 2):
        assert progressive[10 * level] > isolated[10 * level] + 0.25
        assert progressive[10 * level + 9] > 0.9


def test_a_redrawn_task_leaves_the_learner_no_better_than_its_amnesiac_twin():
    for level in range(3):
        redrawn = curve(course="single", level=level, task="redrawn")
        assert redrawn.mean() < curve(course="single", level=level)[0] + 0.01


def test_a_contradicted_belief_is_given_up_and_the_search_begins_anew():
    for level, least in ((0, 0.99), (1, 0.93), (2, 0.93)):
        switched = curve(course="switch", level=level, episodes=20)
        assert switched[10] < 0.4
        assert switched[19] > least


def test_distances_everywhere_leave_little_to_explore_and_pearls_task_is_found_in_three_episodes():
    seeds = lifetime_seeds(1, 0, 256)
    for pays in ("distance", "squared"):
        settings = {**MAML_2D, "pays": pays}
        maml = live(unscaled(256, episodes=2, **settings), seeds)[0]
        env = unscaled(256, episodes=1, **settings)
        env.reset(seed=seeds)
        optimum = follow_oracle(env)
        assert maml[:, 1] == pytest.approx(optimum, abs=1e-4)
        # Three distances locate a goal: a few steps of detour, where chance loses some sixty.
        assert (optimum - maml[:, 0]).mean() < 3.0
    for motors in ("known", "hidden"):
        pearl = {**PEARL_SPARSE, "motors": motors}
        env = unscaled(256, episodes=1, **pearl)
        env.reset(seed=seeds)
        optimum = follow_oracle(env)
        lived = live(unscaled(256, episodes=5, **pearl), seeds)[0]
        assert lived[:, 0].mean() < 0.4 * optimum.mean()
        assert lived[:, 4].mean() > 0.97 * optimum.mean()


def test_results_depend_neither_on_the_batch_nor_on_compilation():
    seeds = lifetime_seeds(3, 0, 5)
    for agent in (CircleSweep, CirclePatrol):
        whole = live(unscaled(5, episodes=2), seeds, agent())
        for i in range(5):
            alone = live(unscaled(1, episodes=2), seeds[i : i + 1], agent())
            assert np.array_equal(alone[:, 0], whole[:, i])
        with interpreted():
            plain = live(unscaled(2, episodes=2, compiled=False), seeds[:2], agent())
        assert np.array_equal(plain, whole[:, :2])


def test_agents_say_which_environments_they_fit():
    spec = unscaled(1).lifetime_spec
    assert CircleSweep.fits(spec) and CirclePatrol.fits(spec)
    assert CircleSweep.fits(unscaled(1, **PEARL_SPARSE).lifetime_spec)
    assert CirclePatrol.fits(unscaled(1, **PEARL_SPARSE).lifetime_spec)
    assert CircleSweep.fits(unscaled(1, **MAML_2D).lifetime_spec)
    assert not CirclePatrol.fits(unscaled(1, **MAML_2D).lifetime_spec)
    for agent in (CircleSweep, CirclePatrol):
        assert not agent.fits(unscaled(1, kind="single", goals="square").lifetime_spec)
        assert not agent.fits(unscaled(1, show=("level",)).lifetime_spec)
        assert not agent.fits(dataclasses.replace(spec, family="DarkRoom"))
        with pytest.raises(ValueError, match=r"sweep must be a number in \[0.5, 1.2\]"):
            agent(sweep=2.0)


# --- without a memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "expected"), [(0, 0.26), (1, 0.26), (2, 0.10)])
def test_the_reactive_agent_searches_well_and_never_learns(level, expected):
    reactive = curve(course="single", level=level, episodes=3, agent=CirclePatrol)
    assert reactive == pytest.approx(reactive[0], abs=1e-9)
    assert reactive[0] == pytest.approx(expected, abs=0.04)
    assert curve(course="single", level=level)[9] > reactive[0] + 0.5


def test_the_reactive_agent_looks_at_the_present_observation_only():
    env = unscaled(32, course="progressive", episodes=1)
    observations, _ = env.reset(seed=2)
    agent = CirclePatrol()
    agent.begin(env.lifetime_spec, np.arange(32, dtype=np.uint64))
    rows, answers = [], []
    for _ in range(90):
        rows.append(observations.copy())
        answers.append(agent.act(observations, np.zeros(32, dtype=bool)).copy())
        observations, *_ = env.step(answers[-1])
    order = np.random.default_rng(0).permutation(90 * 32)
    again = CirclePatrol()
    again.begin(env.lifetime_spec, np.arange(len(order), dtype=np.uint64))
    mixed = again.act(np.concatenate(rows)[order], np.ones(len(order), dtype=bool))
    assert np.array_equal(mixed, np.concatenate(answers)[order])


# --- settings, words, pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "maze"}, "kind must be"),
        ({"goals": "circle"}, "goals must be"),
        ({"goals": "square"}, "goes with kind='single'"),
        ({"pays": "sparse"}, "goes with kind='single'"),
        ({"limit": "coordinates"}, "goes with kind='single'"),
        ({"finish": 0.01}, "goes with kind='single'"),
        ({"motors": "none"}, "motors must be"),
        ({"radius": 0.0}, "radius must be"),
        ({"stride": math.nan}, "stride must be"),
        ({"gains": (1.2, 0.8)}, "gains must be in order"),
        ({"gains": (0.0, 1.0)}, r"gains\[0\] must be"),
        ({"horizon": 20}, "horizon must be 3 integers"),
        ({"kind": "single", "horizon": (20, 30, 40)}, "horizon must be an integer"),
    ],
)
def test_impossible_settings_are_refused_with_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        PointRobot(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"goals": [[0.0, -1.0], [1.0, 0.0], [0.0, 1.0]]}, "upper half of the unit circle"),
        ({"goals": [[0.5, 0.0], [1.0, 0.0], [0.0, 1.0]]}, "upper half of the unit circle"),
        ({"turn": 4.0}, "turn must lie"),
        ({"gain": 0.7}, "gain must lie"),
    ],
)
def test_tasks_that_could_not_be_drawn_are_refused(change, message):
    family = PointRobot()
    assert family.task_to_dict(family.task_from_dict(a_task())[0]) == a_task()
    with pytest.raises(ValueError, match=message):
        family.task_from_dict({**a_task(), **change})
    single = PointRobot(**MAML_2D)
    for goals in ([[0.6, 0.0], [0.0, 0.0], [0.0, 0.0]], [[0.1, 0.0], [1.0, 0.0], [0.0, 0.0]]):
        with pytest.raises(ValueError, match="in the square"):
            single.task_from_dict({"goals": goals, "turn": 0.0, "gain": 1.0})


def test_pictures_and_texts_show_hidden_things_only_where_revealed():
    for level in range(3):
        first = with_tasks([a_task()], course="single", level=level, episodes=1)
        second = with_tasks([a_task((1.0, 0.2, 3.0), turn=0.5, gain=0.9)], course="single", level=level, episodes=1)
        for draw in (first.family.render_ansi, first.family.render_rgb):
            hidden = [draw(env.scene(0, reveal=False)) for env in (first, second)]
            shown = [draw(env.scene(0, reveal=True)) for env in (first, second)]
            assert np.array_equal(hidden[0], hidden[1])
            assert not np.array_equal(shown[0], shown[1])
            assert not np.array_equal(shown[0], hidden[0])
    assert "motors turn by 29 degrees, gain 0.90" in second.family.render_ansi(second.scene(0, reveal=True))


@pytest.mark.parametrize("settings", [{}, MAML_2D])
def test_all_moments_give_pictures_of_one_size_even_off_the_map(settings):
    env = unscaled(1, episodes=1, **settings)
    env.reset(seed=0)
    shapes, over = set(), False
    while not over:
        shapes.add(env.family.render_rgb(env.scene(0, reveal=True)).shape)
        assert "@" in env.family.render_ansi(env.scene(0))
        over = bool(env.step(np.array([[0.0, -1.0]]))[2][0])
    assert len(shapes) == 1


def test_words_tell_the_rules_the_place_and_the_actions():
    family = PointRobot()
    rules = [family.describe_rules(level) for level in range(3)]
    assert "20 steps" in rules[0] and "1 - distance / 0.2" in rules[0]
    assert "2 goals" in rules[1] and "3 goals" in rules[2]
    assert [("hidden angle" in text) for text in rules] == [False, False, True]
    assert "costs the distance" in PointRobot(**MAML_2D).describe_rules(0)
    values = np.array([0.25, -0.5, 1.0, 0.0, 0.0, 1.0, 0.0], dtype=np.float32)
    assert family.describe_observation(values, 2) == (
        "You are at (0.25, -0.50); your last command was +1.00 +0.00; goal 2 of 3 counts."
    )
    assert family.describe_observation(np.zeros(7, dtype=np.float32), 0) == "You are at (0.00, 0.00)."


def test_actions_are_read_as_numbers_directions_or_stay():
    family = PointRobot()
    for text, expected in {
        "0.5 -1": (0.5, -1.0),
        " .5,-1 ": (0.5, -1.0),
        "(1e-1, 0)": (0.1, 0.0),
        "stay": (0.0, 0.0),
        "North": (0.0, 1.0),
        "ne": (math.sqrt(0.5), math.sqrt(0.5)),
        "south west": (-math.sqrt(0.5), -math.sqrt(0.5)),
        "0.5 east": (0.5, 0.0),
    }.items():
        assert family.parse_action(text, 0) == pytest.approx(expected, abs=1e-6)
    for eighth, name in enumerate(COMPASS):
        angle = eighth * math.pi / 4
        assert family.parse_action(name, 0) == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-6)
        assert f"({name})" in family.describe_action(0.6 * family.parse_action(name, 0))
    for vector in ((0.0, 0.0), (0.25, -0.75), (-1.0, 1.0)):
        assert family.parse_action(family.describe_action(vector), 0) == pytest.approx(vector)
    for text in ("", "1", "1 2", "0.5 -1 0", "nan 0", "up", "2 north", "north south", "0.5-1"):
        with pytest.raises(ValueError, match="Expected two numbers"):
            family.parse_action(text, 0)
