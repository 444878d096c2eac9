"""Maze: mazes as they should be, distances and sight by other means, and a learner that draws a map."""

import collections
import dataclasses
import functools

import numba
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.baselines.maze import MapMaker, WallFollower
from daytwo.calibration import ReferenceReturns
from daytwo.envs.maze import ACTIONS, FORWARD, HEADINGS, LEFT, OUTSIDE, RIGHT, Maze, carve
from daytwo.kernels import interpreted
from daytwo.streams import agent_streams, lifetime_seeds

OFFSETS = ((0, -1), (1, 0), (0, 1), (-1, 0))
UNIT = ReferenceReturns.given([0.0] * 4, [1.0] * 4)  # raw returns where nothing is compared between levels


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv(Maze, lanes, **options)


def raw(lanes, **options):
    return make(lanes, reference_returns=UNIT, **options)


def with_tasks(tasks, **options):
    env = raw(len(tasks), **options)
    env.reset(seed=0)
    env.set_tasks(np.ones(len(tasks), dtype=bool), [{"task": task} for task in tasks])
    return env


def drawn(lanes, seed=0, **settings):
    env = raw(lanes, **settings)
    env.reset(seed=lifetime_seeds(seed, 0, lanes))
    return env.family, env.tasks()


def breadth_first(ways, x, y, heading):
    """Steps from a state to every (x, y, heading), by a search that shares nothing with the family."""
    steps = {(x, y, heading): 0}
    queue = collections.deque(steps)
    while queue:
        x, y, heading = state = queue.popleft()
        after = [(x, y, (heading + turn) % 4) for turn in (1, 3)]
        if ways[y][x] >> heading & 1:
            after.append((x + OFFSETS[heading][0], y + OFFSETS[heading][1], heading))
        for reached in after:
            if reached not in steps:
                steps[reached] = steps[state] + 1
                queue.append(reached)
    return steps


def fewest(steps, cell, side=13):
    return min(steps.get((cell % side, cell // side, heading), 10**9) for heading in range(4))


def where(env, i):
    """Column, row and heading of an agent."""
    state = env.scene(i, reveal=True).state
    return *env.family._place(state), int(state["heading"])


def live(env, seeds, agent=None, wiped=False):
    """Normalised returns ``float64[N, episodes]`` and the detours of those that reached the goal."""
    agent = MapMaker() if agent is None else agent
    spec = env.lifetime_spec
    observations, _ = env.reset(seed=seeds)
    agent.begin(spec, np.asarray(seeds))
    fresh, over = np.ones(len(seeds), dtype=bool), np.zeros(len(seeds), dtype=bool)
    returns, detours = np.full((2, len(seeds), spec.course.episodes), np.nan)
    while not over.all():
        if wiped:
            fresh = observations[:, spec.layout.start("episode_start")] > 0.5
            observations = spec.layout.wipe(observations, fresh)
        observations, _, terminated, _, info = env.step(agent.act(observations, fresh))
        fresh = np.zeros(len(seeds), dtype=bool)
        over |= terminated
        if "_episode_return" in info:
            ended = info["_episode_return"]
            returns[ended, info["episode_index"][ended]] = info["episode_normalized_return"][ended]
            detours[ended, info["episode_index"][ended]] = info["detour"][ended]
            assert np.array_equal(info["goal_reached"][ended] == 1, info["detour"][ended] >= 1)
    assert not np.isnan(returns).any()
    return returns, detours


@functools.cache
def curve(lifetimes=512, wiped=False, agent=MapMaker, **options):
    """Mean normalised return by episode."""
    return live(make(lifetimes, **options), lifetime_seeds(1, 0, lifetimes), agent(), wiped)[0].mean(axis=0)


# --- mazes --------------------------------------------------------------------------------------------------------


@numba.njit
def count_mazes(side, knocked, stream, draws):
    """How often each set of passages is drawn (as 4 bits a cell)."""
    ways = np.empty((side + 2) ** 2, dtype=np.int64)
    exits = np.empty((side + 2) ** 2, dtype=np.int64)
    names = np.empty(draws, dtype=np.int64)
    for k in range(draws):
        carve(side, knocked, stream, 0, ways, exits)
        name = 0
        for way in ways:
            if way != OUTSIDE:
                name = 16 * name + (way & 15)
        names[k] = name
    return names


def test_every_perfect_maze_is_equally_likely():
    # The number of spanning trees of the 3x3 grid, by the matrix-tree theorem: any cofactor of the Laplacian.
    cells = [(x, y) for y in range(3) for x in range(3)]
    apart = np.array([[abs(a[0] - b[0]) + abs(a[1] - b[1]) for b in cells] for a in cells])
    laplacian = np.where(apart == 1, -1, 0) + np.diag((apart == 1).sum(axis=0))
    trees = round(np.linalg.det(laplacian[1:, 1:]))
    assert trees == 192
    stream = agent_streams(np.array([1], dtype=np.uint64))
    _, counts = np.unique(count_mazes(3, 0, stream, 100 * trees), return_counts=True)
    assert len(counts) == trees
    statistic = ((counts - 100) ** 2 / 100).sum()  # chi-squared with 191 degrees of freedom, standard deviation 19.5
    assert 191 - 4 * 19.5 < statistic < 191 + 4 * 19.5
    # And of the walls left, any two are knocked out.
    loops = np.unique(count_mazes(3, 2, stream, 20_000))
    assert all(bin(int(name)).count("1") == 2 * (8 + 2) for name in loops)


@pytest.mark.parametrize(
    ("settings", "lifetimes"),
    [
        ({}, 200),
        ({"knocked": 0.0}, 50),
        ({"knocked": 0.5, "distances": (10, 14, 18, 22)}, 50),
        ({"size": 7}, 100),
        ({"size": 10, "knocked": 0.2}, 50),
        ({"size": 25}, 10),
    ],
)
def test_mazes_are_connected_and_goals_lie_as_far_away_as_they_claim(settings, lifetimes):
    family, tasks = drawn(lifetimes, **settings)
    side = family.size
    for task in tasks:
        ways = np.array(task["ways"])
        assert (ways >> 1 & 1).sum() + (ways >> 2 & 1).sum() == side**2 - 1 + int(family.settings.knocked[0])
        for heading, (across, down) in enumerate(OFFSETS):
            for y, x in zip(*np.nonzero(ways >> heading & 1), strict=True):
                assert ways[y + down, x + across] >> (heading ^ 2) & 1
        steps = breadth_first(task["ways"], side // 2, side // 2, 0)
        assert len(steps) == 4 * side**2
        assert len(set(task["goals"])) == 4
        for level, (goal, distance) in enumerate(zip(task["goals"], task["distances"], strict=True)):
            assert distance == fewest(steps, goal, side)
            assert family.nearest[level] <= distance <= family.farthest[level]
            assert 2 * distance <= family.levels[level].horizon
            assert max(abs(goal % side - side // 2), abs(goal // side - side // 2)) > 2


def test_distances_that_no_maze_has_are_made_up_for_by_the_farthest_cells():
    family, tasks = drawn(8, size=7, distances=(10, 14, 18, 98))
    for task in tasks:
        steps = breadth_first(task["ways"], 3, 3, 0)
        outside = [cell for cell in range(49) if max(abs(cell % 7 - 3), abs(cell // 7 - 3)) > 2]
        assert task["distances"][3] == max(fewest(steps, cell, 7) for cell in outside) < family.nearest[3]
        assert np.array_equal(family.task_from_dict(task)["goals"][0], task["goals"])


def test_goals_are_uniform_over_the_cells_that_fit():
    # With all directions alike, goals fall evenly into the quarters of the maze, whatever the level.
    _, tasks = drawn(2000)
    goals = np.array([task["goals"] for task in tasks])
    for columns, rows in ((goals % 13, goals // 13), (goals // 13, goals % 13)):
        assert abs((columns > 6).mean() - (columns < 6).mean()) < 0.05  # standard error .011
        assert ((columns > 6) & (rows > 6)).mean() == pytest.approx(((columns < 6) & (rows > 6)).mean(), abs=0.05)


# --- living -------------------------------------------------------------------------------------------------------


def test_the_oracle_takes_a_shortest_path_at_every_level():
    for level in range(4):
        env = raw(256, course="single", level=level, episodes=1)
        env.reset(seed=3)
        tasks = env.tasks()
        over, returns = np.zeros(256, dtype=bool), np.zeros(256)
        while not over.all():
            _, _, terminated, _, info = env.step(env.oracle_actions())
            over |= terminated
            if "_episode_return" in info:
                ended = info["_episode_return"]
                returns[ended] = info["episode_return"][ended]
                assert (info["detour"][ended] == 1).all()
        assert returns == pytest.approx([1 - 0.01 * task["distances"][level] for task in tasks])


def test_the_oracle_goes_the_shortest_way_from_wherever_it_is():
    env = raw(48, course="single", level=3, episodes=1, patience=10.0)
    env.reset(seed=4)
    tasks, random = env.tasks(), np.random.default_rng(0)
    for _ in range(60):
        env.step(random.integers(0, 3, 48))
    expected = [fewest(breadth_first(task["ways"], *where(env, i)), task["goals"][3]) for i, task in enumerate(tasks)]
    taken, over = np.zeros(48, dtype=int), np.zeros(48, dtype=bool)
    while not over.all():
        taken += ~over
        _, _, terminated, _, _ = env.step(env.oracle_actions())
        over |= terminated
    assert taken.tolist() == expected


def test_steps_turn_or_go_forward_unless_there_is_a_wall_and_the_goal_ends_the_episode():
    env = raw(32, course="single", level=0, episodes=1)
    observations, _ = env.reset(seed=1)
    tasks, random = env.tasks(), np.random.default_rng(1)
    over = np.zeros(32, dtype=bool)
    paid = np.zeros(32)
    for time in range(48):
        before = [where(env, i) for i in range(32)]
        # Half of them at random, half of them to the goal.
        actions = np.where(np.arange(32) < 16, random.integers(0, 3, 32), env.oracle_actions())
        observations, _, terminated, _, info = env.step(actions)
        for i in np.flatnonzero(~over):
            x, y, heading = before[i]
            if actions[i] == FORWARD and tasks[i]["ways"][y][x] >> heading & 1:
                x, y = x + OFFSETS[heading][0], y + OFFSETS[heading][1]
            elif actions[i] != FORWARD:
                heading = (heading + {LEFT: 3, RIGHT: 1}[actions[i]]) % 4
            assert where(env, i) == (x, y, heading)
            assert observations[i, 65:69].tolist() == [float(k == heading) for k in range(4)]
            at_goal = 13 * y + x == tasks[i]["goals"][0]
            assert info["raw_reward"][i] == pytest.approx(0.99 if at_goal else -0.01)
            assert terminated[i] == (at_goal or time == 47)
            paid[i] += info["raw_reward"][i]
        over |= terminated
    assert over.all()
    assert (paid[16:] > 0.7).all()


def crosses(ways, first, second):
    """Whether the straight line between two points, in cells, crosses a wall."""
    (x0, y0), (x1, y1) = first, second
    for y, row in enumerate(ways):
        for x, way in enumerate(row):
            if not way & 2 and (x0 - x - 1) * (x1 - x - 1) < 0:
                at = y0 + (x + 1 - x0) / (x1 - x0) * (y1 - y0)
                if y <= at <= y + 1:
                    return True
            if not way & 4 and (y0 - y - 1) * (y1 - y - 1) < 0:
                at = x0 + (y + 1 - y0) / (y1 - y0) * (x1 - x0)
                if x <= at <= x + 1:
                    return True
    return False


def in_sight(ways, x, y, across, down):
    """Whether a line of sight is free, corners on it being passed on either side."""
    start, end = (x + 0.5, y + 0.5), (x + across + 0.5, y + down + 0.5)
    if abs(across) != abs(down):
        return not crosses(ways, start, end)
    ends = [start]
    for k in range(1, abs(across) + 1):
        step = (np.sign(across) * (k - 0.5), np.sign(down) * (k - 0.5))
        corner = (start[0] + step[0], start[1] + step[1])
        beyond = (start[0] + np.sign(across) * k, start[1] + np.sign(down) * k)
        besides = [(corner[0] + side * 0.01, corner[1] - side * 0.01 * np.sign(across * down)) for side in (-1, 1)]
        if not any(not crosses(ways, ends[-1], by) and not crosses(ways, by, beyond) for by in besides):
            return False
        ends.append(beyond)
    return True


def test_the_window_shows_what_is_in_sight_and_nothing_else():
    env = raw(40, course="single", level=0, episodes=1, knocked=0.2, distances=(20, 24, 28, 32))
    observations, _ = env.reset(seed=2)
    tasks, random = env.tasks(), np.random.default_rng(2)
    goals_seen = 0
    for time in range(40):
        if time % 8 == 7:
            for i, task in enumerate(tasks):
                x, y, heading = where(env, i)
                ahead, right = OFFSETS[heading], OFFSETS[(heading + 1) % 4]
                beside, behind, cells = np.zeros((5, 4)), np.zeros((4, 5)), np.zeros((5, 5))
                for row in range(5):
                    for column in range(5):
                        across = (column - 2) * right[0] + (2 - row) * ahead[0]
                        down = (column - 2) * right[1] + (2 - row) * ahead[1]
                        there = (x + across, y + down)
                        if not all(0 <= k < 13 for k in there) or not in_sight(task["ways"], x, y, across, down):
                            continue
                        way = task["ways"][there[1]][there[0]]
                        is_goal = 13 * there[1] + there[0] == task["goals"][0]
                        goals_seen += is_goal
                        cells[row, column] = 1 if is_goal else -1
                        sides = [1 - 2 * (way >> (heading + turn) % 4 & 1) for turn in range(4)]
                        if column < 4:
                            beside[row, column] = sides[1]
                        if column > 0:
                            beside[row, column - 1] = sides[3]
                        if row < 4:
                            behind[row, column] = sides[2]
                        if row > 0:
                            behind[row - 1, column] = sides[0]
                expected = np.concatenate([beside.ravel(), behind.ravel(), cells.ravel()])
                assert np.array_equal(observations[i, :65], expected)
        actions = np.where(random.random(40) < 0.3, random.integers(0, 3, 40), env.oracle_actions())
        actions = np.where(np.arange(40) % 2 == 0, random.integers(0, 3, 40), actions)
        if time > 8:  # wait near the goal rather than at it
            actions = np.where(actions == FORWARD, np.where(random.random(40) < 0.5, LEFT, actions), actions)
        observations, _, terminated, _, _ = env.step(actions)
        if terminated.any():
            break
    assert goals_seen > 0


def test_first_observations_tell_the_walls_in_sight_and_nothing_about_the_goals():
    family, tasks = drawn(64)
    moved = []
    for task in tasks:
        steps = breadth_first(task["ways"], 6, 6, 0)
        other = dict(task)
        for level in range(4):
            fitting = [
                cell
                for cell in range(169)
                if family.nearest[level] <= fewest(steps, cell) <= family.farthest[level]
                and max(abs(cell % 13 - 6), abs(cell // 13 - 6)) > 2
            ]
            other["goals"] = [*other["goals"][:level], fitting[-1], *other["goals"][level + 1 :]]
        other["distances"] = [fewest(steps, goal) for goal in other["goals"]]
        moved.append(other)
    assert sum(a["goals"] != b["goals"] for a, b in zip(tasks, moved, strict=True)) > 50
    for level in range(4):
        first, _ = with_tasks(tasks, course="single", level=level).reset()
        second, _ = with_tasks(moved, course="single", level=level).reset()
        assert np.array_equal(first, second)


# --- the reference learner and the wall follower --------------------------------------------------------------------


@pytest.mark.parametrize("level", range(4))
def test_the_reference_learner_adapts_within_a_few_episodes_and_nothing_without_memory_does(level):
    adapted = curve(course="single", level=level, episodes=10)
    assert adapted[0] < 0.45  # standard error .02
    assert adapted[4] > 0.95
    assert adapted[9] > 0.98
    wiped = curve(course="single", level=level, episodes=2, lifetimes=256, wiped=True)
    assert wiped.max() < 0.45
    reactive = curve(course="single", level=level, episodes=2, agent=WallFollower)
    assert 0.15 < reactive.min() and reactive.max() < 0.4
    assert reactive[0] == pytest.approx(reactive[1])  # every episode goes the same way


def test_the_map_drawn_at_one_level_shortens_the_search_at_the_next():
    options = {"episodes": 4, "lifetimes": 768}
    progressive, isolated = curve(course="progressive", **options), curve(course="isolated", **options)
    for level, gain in ((1, 0.05), (2, 0.15), (3, 0.3)):
        assert progressive[4 * level] > isolated[4 * level] + gain


def test_a_redrawn_maze_leaves_the_learner_no_better_than_its_amnesiac_twin():
    redrawn = curve(course="single", level=1, episodes=4, task="redrawn")
    assert redrawn.mean() < curve(course="single", level=1, episodes=2, lifetimes=256, wiped=True).mean() + 0.05


def test_a_contradicted_map_is_thrown_away():
    switched = curve(course="switch", level=2, episodes=16, lifetimes=256)
    assert switched[7] > 0.95
    assert switched[8] < 0.5
    assert switched[15] > 0.95


def test_the_ways_learnt_are_shortest_paths_or_nearly():
    env = make(256, course="single", level=3, episodes=10)
    _, detours = live(env, lifetime_seeds(2, 0, 256))
    assert np.isnan(detours[:, 0]).mean() > 0.4
    assert np.nanmean(detours[:, 9]) < 1.03
    assert (detours[:, 9] == 1).mean() > 0.8


def test_a_hand_on_the_wall_leads_through_all_of_a_perfect_maze():
    settings = {"knocked": 0.0, "distances": (40, 45, 50, 90), "patience": 10.0}
    for hand in ("left", "right"):
        env = raw(64, course="single", level=3, episodes=1, **settings)
        _, detours = live(env, np.arange(64, dtype=np.uint64), WallFollower(hand=hand))
        assert not np.isnan(detours).any()
    assert WallFollower.fits(raw(1).lifetime_spec)
    assert not WallFollower.fits(raw(1, show=("level",)).lifetime_spec)


def test_results_depend_neither_on_the_batch_nor_on_compilation():
    seeds = lifetime_seeds(3, 0, 6)
    for agent in (MapMaker, WallFollower):
        whole = live(raw(6, episodes=2), seeds, agent())[0]
        for i in range(6):
            assert np.array_equal(live(raw(1, episodes=2), seeds[i : i + 1], agent())[0][0], whole[i])
    options = {"course": "single", "level": 0, "episodes": 2}
    compiled = live(raw(2, **options), seeds[:2])[0]
    with interpreted():
        assert np.array_equal(live(raw(2, compiled=False, **options), seeds[:2])[0], compiled)


def test_the_learner_says_which_environments_it_fits():
    assert MapMaker.fits(raw(1).lifetime_spec)
    assert MapMaker.fits(raw(1, size=7).lifetime_spec)
    assert not MapMaker.fits(raw(1, show=("level",)).lifetime_spec)
    assert not MapMaker.fits(raw(1, show=("episode_start",)).lifetime_spec)
    assert MapMaker.fits(raw(1, course="single", level=2, show=("episode_start",)).lifetime_spec)
    assert not MapMaker.fits(dataclasses.replace(raw(1).lifetime_spec, family="DarkRoom"))


def test_the_learner_copes_with_other_sizes_and_hidden_levels():
    _, detours = live(raw(32, size=8, episodes=6), lifetime_seeds(5, 0, 32))
    assert np.nanmean(detours[:, 5::6]) < 1.05 and np.isnan(detours[:, 5::6]).mean() < 0.05
    hidden = raw(32, course="single", level=2, episodes=8, show=("episode_start",))
    assert np.isnan(live(hidden, lifetime_seeds(5, 0, 32))[1][:, 7]).mean() < 0.1


# --- settings, tasks, words, pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 6}, "size must be an integer in 7..25, received 6"),
        ({"knocked": 0.6}, "knocked must be a number"),
        ({"distances": (10, 20, 30)}, "distances must be 4 integers"),
        ({"distances": (10, 20, 30, 30)}, "distances must grow"),
        ({"distances": (5, 20, 30, 40)}, r"distances\[0\] must be"),
        ({"patience": 0.5}, "patience must be"),
        ({"price": -0.01}, "price must be"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Maze(**settings)


def test_tasks_survive_as_dicts_and_impossible_ones_are_refused():
    family, (task,) = drawn(1)
    back = family.task_to_dict(family.task_from_dict(task)[0])
    assert back == task

    def refused(message, **change):
        with pytest.raises(ValueError, match=message):
            family.task_from_dict({**task, **change})

    ways = np.array(task["ways"])
    closed = ways.copy()  # one passage less
    y, x = np.argwhere(ways & 2)[0]
    closed[y, x] ^= 2
    refused("both ways", ways=closed.tolist())
    closed[y, x + 1] ^= 8
    refused("passages", ways=closed.tolist())
    # A passage moved so that cells are cut off or not: try all until one cuts cells off.
    y, x = np.argwhere(~ways[:, :-1] & 2)[0]
    for there in np.argwhere(ways & 2):
        cut = ways.copy()
        cut[y, x] |= 2
        cut[y, x + 1] |= 8
        cut[tuple(there)] ^= 2
        cut[there[0], there[1] + 1] ^= 8
        if len(breadth_first(cut.tolist(), 6, 6, 0)) < 4 * 169:
            refused("every cell", ways=cut.tolist())
            break
    else:
        pytest.fail("no passage of this maze is needed")
    out = ways.copy()
    out[0, 0] |= 1
    refused("none out of the maze", ways=out.tolist())
    refused("13 rows", ways=ways[:12].tolist())
    refused(r"goals\[0\] must be outside", goals=[84, *task["goals"][1:]])
    refused(r"goals\[0\] must be .*18 to 24", goals=[task["goals"][3], *task["goals"][1:]])
    refused("distances must be", distances=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="has the fields"):
        family.task_from_dict({"ways": task["ways"]})


def test_a_task_handed_over_makes_the_same_maze_interpreted():
    family, (task,) = drawn(1)
    compiled = family.task_from_dict(task)
    with interpreted():
        assert family.task_from_dict(task).tobytes() == compiled.tobytes()


def test_words_and_pictures_show_the_window_and_the_maze_only_where_revealed():
    env = raw(1, course="single", level=0, episodes=1)
    observations, _ = env.reset(seed=0)
    family, (task,) = env.family, env.tasks()
    rules = family.describe_rules(1)
    assert "13 by 13" in rules and "25 to 32 steps" in rules and "at most 64" in rules and "costs 0.01" in rules
    assert "costs" not in Maze(price=0.0).describe_rules(0)
    words = family.describe_observation(observations[0, :69], 0).splitlines()
    assert words[0].startswith("You face north")
    assert len(words) == 10 and words[5][9] == "^"
    way = task["ways"][6][6]
    assert (words[4][8:11] == "---") == (not way & 1)
    assert words[6][8:11].strip() == ("" if way & 4 else "---")
    assert (words[5][11:12] == "|") == (not way & 2)
    assert (words[5][7] == "|") == (not way & 8)
    hidden, shown = (env.family.render_ansi(env.scene(0, reveal=reveal)) for reveal in (False, True))
    assert "?" in hidden.splitlines()[3]
    # The revealed map has every wall, and the goal where it is.
    rows = shown.splitlines()[3:30]
    goal = task["goals"][0]
    assert rows[2 * (goal // 13) + 1][4 * (goal % 13) + 2] == "G"
    for y in range(13):
        for x in range(13):
            assert (rows[2 * y + 1][4 * x + 4] == "|") == (not task["ways"][y][x] & 2)
            assert (rows[2 * y + 2][4 * x + 1 : 4 * x + 4] == "---") == (not task["ways"][y][x] & 4)
    pictures = [family.render_rgb(env.scene(0, reveal=reveal)) for reveal in (False, True)]
    assert pictures[0].shape == pictures[1].shape
    for name, action in zip(ACTIONS, range(3), strict=True):
        assert family.parse_action(name.upper(), 0) == action
    assert family.describe_observation(_facing(2), 0).startswith(f"You face {HEADINGS[2]}")


def _facing(heading):
    values = np.zeros(69, dtype=np.float32)
    values[65 + heading] = 1
    return values
