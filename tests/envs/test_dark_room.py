"""DarkRoom: published optima, the rules of keys and doors, and a learner that searches as well as one can."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.baselines.dark_room import RoomSweep, plan_routes
from daytwo.calibration import measure
from daytwo.envs.dark_room import ACTIONS, DOWN, DPT_ROOM, LEFT, MOVES, RIGHT, STAY, UP, VARIBAD_GRID, DarkRoom
from daytwo.kernels import interpreted
from daytwo.streams import lifetime_seeds

OFFSETS = {UP: (0, -1), RIGHT: (1, 0), DOWN: (0, 1), LEFT: (-1, 0), STAY: (0, 0)}


def apart(first, second, size=9):
    return abs(first % size - second % size) + abs(first // size - second // size)


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv("daytwo/DarkRoom-v0", lanes, **options)


def live(env, seeds, agent=None, wiped=False):
    """Raw and normalised returns ``float64[N, episodes]`` of the reference learner."""
    agent = RoomSweep() if agent is None else agent
    spec = env.lifetime_spec
    observations, _ = env.reset(seed=seeds)
    agent.begin(spec, np.asarray(seeds))
    fresh = np.ones(len(seeds), dtype=bool)
    over = np.zeros(len(seeds), dtype=bool)
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
def curve(lifetimes=1024, wiped=False, **options):
    """Mean normalised return by episode."""
    seeds = lifetime_seeds(1, 0, lifetimes)
    return live(make(lifetimes, **options), seeds, wiped=wiped)[1].mean(axis=0)


def with_tasks(tasks, **options):
    env = make(len(tasks), **options)
    env.reset(seed=0)
    env.set_tasks(np.ones(len(tasks), dtype=bool), [{"task": task} for task in tasks])
    return env


def a_task(goal=0, inner_goal=None, key=1, second_key=2, moves=(0, 1, 2, 3)):
    if inner_goal is None:  # one step away from the start in the direction of the goal
        inner_goal = 40 + int(np.sign(goal % 9 - 4)) + 9 * int(np.sign(goal // 9 - 4))
    return {"goal": goal, "inner_goal": inner_goal, "key": key, "second_key": second_key, "moves": list(moves)}


def walk(env, actions):
    """Rewards ``float64[steps, N]``, and after which steps an inner episode ended, ``bool[steps, N]``."""
    rewards, ended = [], []
    for action in actions:
        _, _, _, _, info = env.step(np.full(env.num_envs, action))
        rewards.append(info["raw_reward"].copy())
        ended.append(info.get("_episode_return", np.zeros(env.num_envs, dtype=bool)).copy())
    return np.array(rewards), np.array(ended)


# --- reference returns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "level", "published", "places"),
    [({}, 1, 16.54, 2), (DPT_ROOM, 0, 91.99, 2), (VARIBAD_GRID, 0, 11.071, 3)],
)
def test_the_mean_optimum_is_the_published_one(settings, level, published, places):
    assert round(DarkRoom(**settings).exact_oracle_return(level), places) == published


def test_measured_reference_returns_agree_with_enumeration_and_with_the_random_walks_exact_distribution():
    family = DarkRoom()
    measured = measure(family)
    for level in range(4):
        error = 5 * measured.oracle_error[level] + 1e-9
        assert measured.oracle_return[level] == pytest.approx(family.exact_oracle_return(level), abs=error)
    for level, (side, horizon) in enumerate([(5, 12), (9, 20)]):
        # The probability of each cell after each step, and of each cell to be the goal: the goal of the whole room is
        # uniform, and that of the inner room lies in the same direction.
        probability = np.zeros((side, side))
        probability[side // 2, side // 2] = 1.0
        visits = np.zeros((side, side))
        for _ in range(horizon):
            after = probability / 5
            after[0] += probability[0] / 5
            after[-1] += probability[-1] / 5
            after[:, 0] += probability[:, 0] / 5
            after[:, -1] += probability[:, -1] / 5
            after[1:] += probability[:-1] / 5
            after[:-1] += probability[1:] / 5
            after[:, 1:] += probability[:, :-1] / 5
            after[:, :-1] += probability[:, 1:] / 5
            probability = after
            visits += probability
        half = side // 2
        along = np.array([4 / half] * half + [1] + [4 / half] * half) / 9
        assert along.sum() == pytest.approx(1)
        error = 5 * measured.random_error[level]
        assert measured.random_return[level] == pytest.approx((visits * np.outer(along, along)).sum(), abs=error)


def test_the_oracle_takes_the_keys_in_the_shorter_order_and_no_step_too_many():
    env = make(256, course="single", level=3, episodes=1)
    env.reset(seed=5)
    tasks = env.tasks()
    steps = np.zeros(256, dtype=int)
    over = np.zeros(256, dtype=bool)
    while not over.all():
        steps += ~over
        _, _, terminated, _, info = env.step(env.oracle_actions())
        if "_episode_return" in info:
            assert (info["episode_return"][info["_episode_return"]] == 3.0).all()
        over |= terminated
    for task, taken in zip(tasks, steps, strict=True):
        orders = itertools.permutations([task["key"], task["second_key"]])
        shortest = min(apart(40, a) + apart(a, b) + apart(b, task["goal"]) for a, b in orders)
        assert taken == shortest


# --- rules --------------------------------------------------------------------------------------------------------


def test_tasks_are_uniform_and_keys_are_never_at_the_start_the_goal_or_each_other():
    env = make(8192)
    env.reset(seed=0)
    tasks = env.tasks()
    goals = np.bincount([task["goal"] for task in tasks], minlength=81)
    assert goals.min() > 50  # 101 expected, standard deviation 10
    assert goals.max() < 155
    for task in tasks:
        for places in ((task["goal"] % 9, task["inner_goal"] % 9), (task["goal"] // 9, task["inner_goal"] // 9)):
            assert np.sign(places[0] - 4) == np.sign(places[1] - 4)
    inner = {task["inner_goal"] for task in tasks}
    assert inner == {y * 9 + x for y in range(2, 7) for x in range(2, 7)}
    for task in tasks:
        assert len({40, task["key"], task["second_key"]}) == 3
        assert task["goal"] not in (task["key"], task["second_key"])
    orders, counts = np.unique([task["moves"] for task in tasks], axis=0, return_counts=True)
    assert len(orders) == 24
    assert counts.min() > 240  # 341 expected, standard deviation 18


def test_walls_hold_in_the_inner_and_in_the_whole_room():
    for level, (low, high) in enumerate([(2, 6), (0, 8)]):
        for direction in range(4):
            env = with_tasks([a_task()], course="single", level=level, episodes=5)
            env.reset()
            for _ in range(9):
                observations, *_ = env.step(np.array([direction]))
            x, y = observations[0, :9].argmax(), observations[0, 9:18].argmax()
            dx, dy = OFFSETS[direction]
            assert x == (4 if dx == 0 else high if dx > 0 else low)
            assert y == (4 if dy == 0 else high if dy > 0 else low)


def test_the_goal_pays_every_step_spent_on_it_the_start_included():
    env = with_tasks([a_task(goal=40), a_task(goal=31)], course="single", level=1, episodes=2)
    env.reset()
    rewards, ended = walk(env, [STAY, UP, STAY, STAY, DOWN])
    assert rewards.T.tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 1, 0]]
    assert not ended.any()


def test_the_door_opens_with_the_levels_keys_only_and_ends_the_episode():
    task = a_task(goal=41, key=39, second_key=38)  # second key, first key, start, door: four cells in a row
    env = with_tasks([task], course="single", level=2, episodes=3)
    env.reset()
    rewards, ended = walk(env, [RIGHT, LEFT, LEFT, LEFT, RIGHT, RIGHT, RIGHT])
    assert rewards[:, 0].tolist() == [0, 0, 1, 0, 0, 0, 1]
    assert ended[:, 0].tolist() == [False] * 6 + [True]
    env = with_tasks([task], course="single", level=3, episodes=3)
    env.reset()
    rewards, ended = walk(env, [LEFT, RIGHT, RIGHT, LEFT, LEFT, LEFT, RIGHT, LEFT, RIGHT, RIGHT, RIGHT])
    assert rewards[:, 0].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert ended[:, 0].tolist() == [False] * 10 + [True]


def test_moves_are_swapped_at_the_top_level_and_nowhere_else():
    orders = list(itertools.permutations(range(4)))
    tasks = [a_task(moves=order) for order in orders]
    for level in range(4):
        for action in range(5):
            env = with_tasks(tasks, course="single", level=level, episodes=1)
            env.reset()
            observations, *_ = env.step(np.full(24, action))
            for row, order in zip(observations, orders, strict=True):
                direction = order[action] if level == 3 and action != STAY else action
                dx, dy = OFFSETS[direction]
                assert (row[:9].argmax() - 4, row[9:18].argmax() - 4) == (dx, dy)


@pytest.mark.parametrize("settings", [{}, DPT_ROOM, VARIBAD_GRID])
def test_first_observations_are_the_same_whatever_the_task(settings):
    env = make(512, episodes=1, **settings)
    observations, _ = env.reset(seed=0)
    assert (observations == observations[0]).all()


def test_varibads_grid_has_21_goals_one_split_and_a_price_on_every_step_elsewhere():
    family = DarkRoom(**VARIBAD_GRID)
    assert family.splits == ("all",)
    env = make(2048, episodes=4, **VARIBAD_GRID)
    env.reset(seed=0)
    goals = {task["goal"] for task in env.tasks()}
    assert goals == set(range(25)) - {0, 1, 5, 6}
    _, _, _, _, info = env.step(np.full(2048, STAY))
    assert (info["raw_reward"] == -0.1).all()
    assert DarkRoom().splits == DarkRoom(**DPT_ROOM).splits == ("train", "validation", "test", "all")


def test_splits_share_no_goal():
    seen = {}
    for split in ("train", "validation", "test"):
        env = make(4096, split=split)
        env.reset(seed=0)
        seen[split] = {task["goal"] for task in env.tasks()}
    assert sum(len(goals) for goals in seen.values()) == len(set.union(*seen.values())) == 81


# --- the reference learner ----------------------------------------------------------------------------------------


def test_every_goal_of_the_whole_room_is_found_within_five_episodes_and_kept():
    env = with_tasks([a_task(goal=goal, key=79 if goal != 79 else 77, second_key=78 if goal != 78 else 76)
                      for goal in range(81)], course="single", level=1)  # fmt: skip
    returns = live(env, np.arange(81, dtype=np.uint64))[0]
    # The first episode can test 20 of 81 cells, one a step: a goal stepped on in step t pays 21 - t.
    assert returns[:, 0].mean() == pytest.approx(210 / 81)
    known = np.array([min(20, 21 - apart(40, goal)) for goal in range(81)])
    assert np.array_equal(returns[:, 5:], np.repeat(known[:, None], 5, axis=1))
    assert returns.sum(axis=1).mean() > 134.0  # with the goal known 165.4, at random 2.5


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # The mean normalised return in episodes 1, 2, 3, 5, 10 of a learner that wastes no step.
        (0, (0.26, 0.78, 1.00, 1.00, 1.00)),
        (1, (0.14, 0.41, 0.65, 1.00, 1.00)),
        (2, (0.15, 0.45, 0.74, 0.97, 1.00)),
        (3, (0.29, 0.72, 0.90, 1.00, 1.00)),
    ],
)
def test_the_reference_learner_adapts_within_a_few_episodes_and_its_amnesiac_twin_does_not(level, expected):
    adapted = curve(course="single", level=level)
    assert adapted[[0, 1, 2, 4, 9]] == pytest.approx(expected, abs=0.05)  # standard error at most .016
    wiped = curve(course="single", level=level, episodes=3, lifetimes=512, wiped=True)
    assert wiped.max() < 0.5
    assert adapted.mean() > wiped.mean() + 0.3


def test_what_earlier_levels_showed_pays_from_the_first_episode():
    progressive, isolated = curve(course="progressive"), curve(course="isolated")
    for level, gain in ((2, 0.1), (3, 0.25)):
        fresh = curve(course="single", level=level)
        assert progressive[10 * level] > fresh[0] + gain
        assert progressive[10 * level] > isolated[10 * level] + gain
        assert isolated[10 * level] < fresh[0] + 0.05
    assert progressive[[20, 21, 22]] == pytest.approx([0.30, 0.71, 0.99], abs=0.05)


def test_a_redrawn_task_leaves_the_learner_no_better_than_its_amnesiac_twin():
    for level in (1, 3):
        redrawn = curve(course="single", level=level, task="redrawn")
        assert redrawn.mean() < curve(course="single", level=level)[0] + 0.02


def test_a_contradicted_belief_is_given_up_and_the_search_begins_anew():
    switched = curve(course="switch", level=3, episodes=20)
    assert switched[9] > 0.99
    assert switched[10] < 0.5
    assert switched[19] > 0.99
    assert curve(course="switch", level=1, episodes=20)[19] > 0.98


def test_varibads_grid_is_solved_in_the_second_episode_and_dpts_room_too():
    for settings, lifetimes in ((VARIBAD_GRID, 512), (DPT_ROOM, 256)):
        env = make(lifetimes, episodes=3, **settings)
        env.reset(seed=lifetime_seeds(1, 0, lifetimes))
        corner = np.array([max(1, apart(0, task["goal"], env.family.size)) for task in env.tasks()])
        returns = live(env, lifetime_seeds(1, 0, lifetimes))[0]
        unpaid, horizon = corner - 1, env.family.levels[0].horizon
        known = horizon - unpaid + env.family.keywords["outside"] * unpaid
        assert returns[:, 1:] == pytest.approx(np.repeat(known[:, None], 2, axis=1))


def test_results_depend_neither_on_the_batch_nor_on_compilation():
    seeds = lifetime_seeds(3, 0, 6)
    whole = live(make(6, course="progressive", episodes=3), seeds)
    for i in range(6):
        alone = live(make(1, course="progressive", episodes=3), seeds[i : i + 1])
        assert np.array_equal(alone[:, 0], whole[:, i])
    with interpreted():
        plain = live(make(2, course="progressive", episodes=3, compiled=False), seeds[:2])
    assert np.array_equal(plain, whole[:, :2])


def test_the_learner_says_which_environments_it_fits():
    assert RoomSweep.fits(make(1).lifetime_spec)
    assert RoomSweep.fits(make(1, **VARIBAD_GRID).lifetime_spec)
    assert not RoomSweep.fits(make(1, show=("previous_reward", "level")).lifetime_spec)
    assert not RoomSweep.fits(dataclasses.replace(make(1).lifetime_spec, family="Bandit"))


def test_planned_routes_are_walks_that_cover_the_room():
    for low, high, horizon, most in ((2, 6, 12, 3), (0, 8, 20, 5), (0, 8, 100, 1)):
        routes = plan_routes(side=9, low=low, high=high, start=40, horizon=horizon, episodes=10)
        assert len(routes) <= most
        for route in routes:
            steps = [apart(a, b) for a, b in itertools.pairwise([40, *route])]
            assert max(steps) <= 1
        cells = {y * 9 + x for y in range(low, high + 1) for x in range(low, high + 1)}
        assert set(routes.ravel().tolist()) == cells
    # Cells that hold nothing are not visited for their own sake: 80 cells in 80 steps.
    assert len(plan_routes(side=9, low=0, high=8, start=40, horizon=40, episodes=10, clear=0)) == 2


# --- settings, words, pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "maze"}, "kind must be"),
        ({"size": 2}, "size must be an integer in 3..50"),
        ({"inner": 11}, "inner must be at most size"),
        ({"start": "middle"}, "start must be"),
        ({"goals": "near"}, "goals must be"),
        ({"goals": "distant"}, "go with kind='room'"),
        ({"outside": -0.1}, "go with kind='room'"),
        ({"kind": "room", "outside": 0.5}, r"outside must be a number in \[-1, 0\]"),
        ({"kind": "room", "size": 3, "goals": "distant"}, "leaves no goal"),
        ({"horizon": 20}, r"takes 4 horizon\(s\)"),
        ({"horizon": (12, 20, 23, 45)}, "horizon of level 2 must be an integer in 24"),
        ({"horizon": (12, 20, 30, 39)}, "horizon of level 3 must be an integer in 40"),
        ({"kind": "room", "horizon": 0}, "horizon of level 0"),
    ],
)
def test_impossible_settings_are_refused_with_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        DarkRoom(**settings)


def test_default_horizons_grow_with_the_room_and_always_suffice():
    assert [level.horizon for level in DarkRoom().levels] == [12, 20, 30, 45]
    for size in range(3, 30):
        for start in ("centre", "corner"):
            family = DarkRoom(size=size, inner=min(5, size), start=start)
            far = max(apart(family.start, cell, size) for cell in range(size * size))
            assert family.levels[2].horizon >= far + 2 * (size - 1)
            assert family.levels[3].horizon >= far + 4 * (size - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"goal": 81}, "goal must be"),
        ({"inner_goal": 0}, "inner_goal must be a cell"),
        ({"inner_goal": 40}, "inner_goal must lie in the same direction"),
        ({"key": 40}, "neither key at the start"),
        ({"key": 2}, "different cells"),
        ({"moves": [0, 1, 2, 2]}, "permutation"),
    ],
)
def test_tasks_that_could_not_be_drawn_are_refused(change, message):
    family = DarkRoom()
    assert family.task_to_dict(family.task_from_dict(a_task())[0]) == a_task()
    with pytest.raises(ValueError, match=message):
        family.task_from_dict({**a_task(), **change})


def test_pictures_and_texts_show_hidden_things_only_where_revealed():
    for level in range(4):
        first = with_tasks([a_task(goal=0, inner_goal=20)], course="single", level=level, episodes=1)
        second = with_tasks(
            [a_task(goal=8, inner_goal=24, key=9, second_key=10, moves=(1, 0, 2, 3))],
            course="single",
            level=level,
            episodes=1,
        )
        first.reset()
        second.reset()
        for draw in (first.family.render_ansi, first.family.render_rgb):
            hidden = [draw(env.scene(0, reveal=False)) for env in (first, second)]
            shown = [draw(env.scene(0, reveal=True)) for env in (first, second)]
            assert np.array_equal(hidden[0], hidden[1])
            assert not np.array_equal(shown[0], shown[1])
            assert not np.array_equal(shown[0], hidden[0])
    revealed = second.family.render_ansi(second.scene(0, reveal=True)).splitlines()
    assert [line for line in revealed if "D" in line and "|" in line] == ["| .  .  .  .  .  .  .  .  D |"]
    assert "up goes right, right goes up" in "\n".join(revealed)


def test_all_levels_give_pictures_of_one_size():
    env = make(1, episodes=1)
    env.reset(seed=0)
    shapes = set()
    over = False
    while not over:
        shapes.add(env.family.render_rgb(env.scene(0, reveal=True)).shape)
        _, _, terminated, _, _ = env.step(np.array([STAY]))
        over = bool(terminated[0])
    assert len(shapes) == 1


def test_words_tell_the_rules_the_place_and_the_actions():
    family = DarkRoom()
    assert "5 by 5" in family.describe_rules(0)
    assert "12 steps" in family.describe_rules(0)
    assert "swapped" in family.describe_rules(3)
    assert "swapped" not in family.describe_rules(2)
    assert "-0.1" in DarkRoom(**VARIBAD_GRID).describe_rules(0)
    values = np.zeros(20, dtype=np.float32)
    values[[3, 9 + 7, 18, 19]] = 1
    assert family.describe_observation(values, 3) == (
        "You are in column 3, row 7 (counted from 0 at the top left), carrying both keys."
    )
    assert [family.parse_action(name.upper(), 0) for name in ACTIONS] == list(range(5))
    assert ACTIONS == (*MOVES, "stay")
