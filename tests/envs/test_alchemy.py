"""Alchemy: the published facts, an oracle that exhaustive search cannot beat, and rules that hold step by step."""

import functools
import itertools

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.baselines.alchemy import AlchemyHeuristic
from daytwo.calibration import ReferenceReturns, episode_returns
from daytwo.envs.alchemy import PUBLISHED, Alchemy, chemistry_of
from daytwo.evaluation import evaluate

UNIT = ReferenceReturns.given([0.0] * 3, [1.0] * 3)
SIGNS = np.array([[2 * (vertex >> k & 1) - 1 for k in range(3)] for vertex in range(8)])
WORTH = [15 if vertex == 7 else 2 * vertex.bit_count() - 3 for vertex in range(8)]


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv(Alchemy, lanes, reference_returns=UNIT, **options)


@functools.cache
def drawn_tasks(lanes=20_000):
    env = make(lanes, course="single", level=2, episodes=1)
    _, info = env.reset(seed=0)
    return info["task"].copy()


def edges_of(task):
    """The cube's edges that a task leaves, as a set of pairs of vertices; the definition, not the code's shortcut."""
    return {
        frozenset((vertex, vertex ^ 1 << axis))
        for vertex in range(8)
        for axis in range(3)
        if all(task["need"][axis][j] in (0, SIGNS[vertex][j]) for j in range(3))
    }


def dip(task, bottlenecks, vertex, colour):
    """The vertex of a stone after a dip, from the rules as published."""
    pair, direction = colour // 2, 2 * (colour % 2) - 1
    axis = task["axis"][pair]
    towards = direction * task["sign"][axis]
    moved = vertex ^ 1 << axis
    if SIGNS[vertex][axis] != -towards or (bottlenecks and frozenset((vertex, moved)) not in edges_of(task)):
        return vertex
    return moved


def within(total, expected, deviation):
    assert abs(total - expected) < 4.5 * deviation


# --- the chemistry ------------------------------------------------------------------------------------------------


def test_acyclic_requirements_are_the_109_connected_graphs_of_the_original():
    arcs = list(itertools.permutations(range(3), 2))
    connected, acyclic, sizes = set(), set(), {}
    for values in itertools.product((-1, 0, 1), repeat=6):
        need = np.zeros((3, 3), dtype=int)
        for arc, value in zip(arcs, values, strict=True):
            need[arc] = value
        edges = edges_of({"need": need})
        reached = {0}
        for _ in range(7):
            reached |= {end for edge in edges if edge & reached for end in edge}
        if reached == set(range(8)):
            connected.add(need.tobytes())
        try:
            Alchemy().task_from_dict(a_task(need=need.tolist()))
        except ValueError as error:
            assert "without a cycle" in str(error)
        else:
            acyclic.add(need.tobytes())
            sizes.setdefault(np.count_nonzero(need), []).append(len(edges))
    assert acyclic == connected
    assert {k: sorted(set(found)) for k, found in sizes.items()} == {0: [12], 1: [10], 2: [8, 9], 3: [7]}
    assert [len(sizes[k]) for k in range(4)] == [1, 12, 48, 48]
    assert sizes[2].count(9) == 12


def test_tasks_are_drawn_as_published():
    tasks = drawn_tasks()
    n = len(tasks)
    for name, kinds in (("rotation", 4), ("flipped", 8)):
        counts = np.bincount(tasks[name], minlength=kinds)
        within(counts.max(), n / kinds, (n / kinds) ** 0.5)
        within(counts.min(), n / kinds, (n / kinds) ** 0.5)
    maps, counts = np.unique(np.concatenate([tasks["axis"], tasks["sign"]], axis=1), axis=0, return_counts=True)
    assert len(maps) == 48
    within(counts.max(), n / 48, (n / 48) ** 0.5)
    within(counts.min(), n / 48, (n / 48) ** 0.5)
    graphs, counts = np.unique(tasks["need"].reshape(n, 9), axis=0, return_counts=True)
    assert len(graphs) == 109
    for size, many in enumerate((1, 12, 48, 48)):
        found = counts[(graphs != 0).sum(axis=1) == size]
        assert len(found) == many
        within(found.max(), n / 4 / many, (n / 4 / many) ** 0.5)
        within(found.min(), n / 4 / many, (n / 4 / many) ** 0.5)
    edges = np.mean([len(edges_of(task)) for task in tasks[:4000]])
    within(edges, 9.3125, 1.9 / 4000**0.5)
    fixed = make(2000, constraints=2, rotation="never", episodes=1)
    _, info = fixed.reset(seed=1)
    assert ((info["task"]["need"] != 0).sum(axis=(1, 2)) == 2).all()
    assert (info["task"]["rotation"] == 0).all()


def test_the_privileged_vector_is_laid_out_as_published():
    pairs = [pair for pair in itertools.combinations(range(8), 2) if (pair[0] ^ pair[1]) in (1, 2, 4)]
    orders = list(itertools.permutations(range(3)))
    for task in drawn_tasks()[:200]:
        vector = chemistry_of(task)
        assert vector.shape == (28,)
        edges = edges_of(task)
        assert vector[:12].tolist() == [frozenset(pair) in edges for pair in pairs]
        assert orders[int(vector[12:18].argmax())] == tuple(task["axis"])
        assert vector[18:21].tolist() == [sign > 0 for sign in task["sign"]]
        assert vector[21:24].tolist() == [not task["flipped"] >> k & 1 for k in range(3)]
        assert vector[24:].argmax() == task["rotation"]
        assert vector[12:18].sum() == vector[24:].sum() == 1


def test_items_are_uniform_and_never_depend_on_the_chemistry():
    env = make(4096, course="single", level=2, episodes=2)
    env.reset(seed=0)
    for _ in range(2):
        stones = np.bincount(env._state.stone.ravel(), minlength=8)
        potions = np.bincount(env._state.potion.ravel(), minlength=6)
        within(stones.max(), 1536, 37)
        within(stones.min(), 1536, 37)
        within(potions.max(), 8192, 83)
        within(potions.min(), 8192, 83)
        pairs = np.unique(env._state.potion[:, 5:7], axis=0)  # beyond where one random number ends
        assert len(pairs) == 36
        for _ in range(20):
            env.step(np.zeros(4096, dtype=np.int64))


# --- a step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_step_follows_the_published_rules(level):
    env = make(64, course="single", level=level, episodes=3)
    observations, info = env.reset(seed=3)
    tasks = env.tasks()
    family, rng = env.family, np.random.default_rng(level)
    stones, potions = env._state.stone.tolist(), env._state.potion.tolist()
    assert sum(v >= 0 for v in stones[0]) == family.keywords["stones"][level]
    assert sum(v >= 0 for v in potions[0]) == family.keywords["potions"][level]
    changed = 0
    for time in range(3 * family.levels[level].horizon):
        for i in range(64):
            check_observation(observations[i], tasks[i], level, stones[i], potions[i])
        actions = rng.integers(0, 40, 64)
        if time % 2:  # mostly dips of the first stones, so that things happen
            actions = 2 + 13 * rng.integers(0, family.keywords["stones"][level], 64) + rng.integers(0, 12, 64)
        observations, _, _, _, info = env.step(actions)
        for i, action in enumerate(actions.tolist()):
            expected = 0
            if action:
                slot, target = divmod(action - 1, 13)
                vertex = stones[i][slot]
                if vertex >= 0 and target == 0:
                    expected, stones[i][slot] = WORTH[vertex], -1
                elif vertex >= 0 and potions[i][target - 1] >= 0:
                    stones[i][slot] = dip(tasks[i], level > 0, vertex, potions[i][target - 1])
                    potions[i][target - 1] = -1
                    changed += stones[i][slot] != vertex
            assert info["raw_reward"][i] == expected
        ended = info.get("_episode_return", np.zeros(64, dtype=bool))
        assert ended.all() == ended.any() == ((time + 1) % family.levels[level].horizon == 0)
        if ended.any() and time + 1 < 3 * family.levels[level].horizon:
            stones, potions = env._state.stone.tolist(), env._state.potion.tolist()
    assert changed > 100


def check_observation(row, task, level, stones, potions):
    for k, vertex in enumerate(stones):
        shown = row[5 * k : 5 * k + 5].tolist()
        if vertex < 0:
            assert shown == [2, 2, 2, 2, 1]
            continue
        a = [-s if task["flipped"] >> j & 1 else s for j, s in enumerate(SIGNS[vertex].tolist())]
        seen = [
            a,
            [(a[0] - a[1]) / 2, (a[0] + a[1]) / 2, a[2]],
            [(a[0] + a[2]) / 2, a[1], (a[2] - a[0]) / 2],
            [a[0], (a[1] - a[2]) / 2, (a[1] + a[2]) / 2],
        ][task["rotation"] if level == 2 else 0]
        assert shown == pytest.approx([*seen, SIGNS[vertex].sum() / 3, 0])
    for k, colour in enumerate(potions):
        shown = row[15 + 2 * k : 17 + 2 * k].tolist()
        assert shown == ([1, 1] if colour < 0 else pytest.approx([colour / 3 - 1, 0]))


def test_the_new_trial_is_shown_by_the_step_that_ends_the_last_and_the_lifetimes_end_shows_what_is_left():
    env = make(8, course="single", level=2, episodes=2)
    observations, _ = env.reset(seed=0)
    over = np.zeros(8, dtype=bool)
    for time in range(40):
        observations, _, over, _, _ = env.step(np.full(8, 1 + 13 * (time % 3) if time % 20 > 10 else 0))
        cashed = observations[:, [4, 9, 14]].sum(axis=1)
        if time == 19:
            assert (cashed == 0).all()
    assert (cashed == 3).all()
    assert over.all()


def test_diagnostics_count_potions_and_best_stones():
    env = make(256, course="single", level=2, episodes=1)
    env.reset(seed=0)
    used, wasted, best = np.zeros(256), np.zeros(256), np.zeros(256)
    for _ in range(20):
        before, left = env._state.stone.copy(), (env._state.potion >= 0).sum(axis=1)
        _, _, _, _, info = env.step(env.oracle_actions())
        dipped = (env._state.potion >= 0).sum(axis=1) < left
        used += dipped
        wasted += dipped & (env._state.stone == before).all(axis=1)
        best += info["raw_reward"] == 15
    assert np.array_equal(info["best_stones"], best)
    assert np.array_equal(info["potions_used"], used)
    assert np.array_equal(info["potions_wasted"], wasted)
    assert wasted.sum() == 0 < used.sum()


def a_task(**changes):
    need = [[0, 1, 0], [0, 0, 0], [0, -1, 0]]
    return {"rotation": 0, "flipped": 5, "axis": [2, 0, 1], "sign": [1, -1, 1], "need": need} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotation": 4}, "rotation must be"),
        ({"flipped": 8}, "flipped must lie"),
        ({"axis": [0, 0, 1]}, "axis must be a permutation"),
        ({"sign": [1, 0, 1]}, "sign must hold"),
        ({"need": [[0, 1, 0], [1, 0, 0], [0, 0, 0]]}, "without a cycle"),
        ({"need": [[0, 1, 0], [0, 0, -1], [1, 0, 0]]}, "without a cycle"),
        ({"need": [[1, 0, 0], [0, 0, 0], [0, 0, 0]]}, "without a cycle"),
        ({"need": [[0, 2, 0], [0, 0, 0], [0, 0, 0]]}, "without a cycle"),
    ],
)
def test_impossible_tasks_are_refused(changes, message):
    assert Alchemy().task_from_dict(a_task())["flipped"] == 5
    with pytest.raises(ValueError, match=message):
        Alchemy().task_from_dict(a_task(**changes))


def test_tasks_of_other_settings_and_bad_settings_are_refused():
    with pytest.raises(ValueError, match="rotation must be one that these settings draw"):
        Alchemy(rotation="never").task_from_dict(a_task(rotation=1))
    with pytest.raises(ValueError, match="need must hold 1 requirements"):
        Alchemy(constraints=1).task_from_dict(a_task())
    with pytest.raises(ValueError, match="horizon of level 1 must exceed its number of stones"):
        Alchemy(stones=(1, 2, 3), horizon=(4, 2, 20))
    for settings in ({"stones": (1, 2, 4)}, {"potions": (0, 12, 12)}, {"constraints": 4}, {"rotation": "often"}):
        with pytest.raises(ValueError, match="must be"):
            Alchemy(**settings)


# --- the oracle and the published scores --------------------------------------------------------------------------


def best_total(task, bottlenecks, stones, potions, steps):
    """The greatest total of the rest of a trial by recursion over all actions (potions of a colour are alike)."""

    @functools.cache
    def best(stones, counts, steps):
        if steps == 0 or not stones:
            return 0
        most = 0
        for k, vertex in enumerate(stones):
            others = stones[:k] + stones[k + 1 :]
            most = max(most, WORTH[vertex] + best(others, counts, steps - 1))
            for colour in range(6):
                after = dip(task, bottlenecks, vertex, colour)
                if counts[colour] and after != vertex:
                    fewer = counts[:colour] + (counts[colour] - 1,) + counts[colour + 1 :]
                    most = max(most, best(tuple(sorted((*others, after))), fewer, steps - 1))
        return most

    counts = tuple(np.bincount([colour for colour in potions if colour >= 0], minlength=6).tolist())
    return best(tuple(sorted(vertex for vertex in stones if vertex >= 0)), counts, steps)


@pytest.mark.parametrize(
    ("settings", "level", "lanes", "detours"),
    [
        ({}, 0, 60, 0),
        ({}, 1, 60, 1),
        ({"stones": (3, 3, 3), "potions": (6, 6, 5), "horizon": (6, 6, 8)}, 1, 40, 0),
        ({"stones": (3, 3, 3), "potions": (6, 6, 5), "horizon": (6, 6, 8)}, 2, 40, 2),
        ({"stones": (2, 2, 2), "potions": (5, 5, 7), "horizon": (6, 6, 9), "constraints": 3}, 2, 40, 0),
    ],
)
def test_no_plan_beats_the_oracle_from_the_start_or_from_where_others_left_off(settings, level, lanes, detours):
    env = make(lanes, course="single", level=level, episodes=1, **settings)
    env.reset(seed=11)
    rng = np.random.default_rng(0)
    for _ in range(detours):  # dips at random, and steps lost
        env.step(np.where(rng.random(lanes) < 0.8, 2 + rng.integers(0, 12, lanes), 0))
    steps = env.family.levels[level].horizon - detours
    expected = [
        best_total(task, level > 0, stones, potions, steps)
        for task, stones, potions in zip(
            env.tasks(), env._state.stone.tolist(), env._state.potion.tolist(), strict=True
        )
    ]
    total = np.zeros(lanes)
    for _ in range(steps):
        _, _, _, _, info = env.step(env.oracle_actions())
        total += info["raw_reward"]
    assert total.tolist() == expected


def test_published_scores_are_met_within_two_pooled_standard_errors():
    heuristic = evaluate(AlchemyHeuristic(), Alchemy, lifetimes=1000, split="all", reference_returns=UNIT, **PUBLISHED)
    totals = heuristic.returns.sum(axis=1)
    assert abs(totals.mean() - 145.7) < 2 * np.hypot(totals.std() / 1000**0.5, 1.5)
    # Trials are independent given the chemistry, so ten times a trial's mean is the mean of ten.
    family = Alchemy(rotation="never")
    returns = 10 * episode_returns(family, 2, "oracle", 8192, 7)
    error = returns.std() / 8192**0.5
    assert abs(returns.mean() - 288.5) < 2 * np.hypot(error, 1.5)
    returns = 10 * episode_returns(family, 2, "random", 8192, 7)
    assert abs(returns.mean() - 17.6) < 3 * returns.std() / 8192**0.5


# --- levels, splits, pictures -------------------------------------------------------------------------------------


def test_all_levels_share_the_chemistry_and_splits_share_neither_looks_nor_potions():
    env = make(4, course="progressive", episodes=1)
    env.reset(seed=0)
    before = env.tasks()
    for _ in range(4 + 4):
        env.step(np.zeros(4, dtype=np.int64))
    assert env.tasks() == before
    seen = {}
    for split in ("train", "validation", "test"):
        env = make(3000, split=split, episodes=1)
        _, info = env.reset(seed=0)
        task = info["task"]
        seen[split] = {(int(t["flipped"]), *t["axis"].tolist(), *t["sign"].tolist()) for t in task}
    assert sum(map(len, seen.values())) == len(set().union(*seen.values())) == 384


def test_words_and_pictures_show_stones_potions_and_the_chemistry_only_where_revealed():
    env = make(1, course="single", level=2, episodes=1)
    observations, _ = env.reset(seed=5)
    family = env.family
    words = family.describe_observation(observations[0, :39], 2)
    text = family.render_ansi(env.scene(0, reveal=False))
    for k in range(3):
        look = words.split("; ")[k].removeprefix(f"stone {k + 1}: ").split(", glow")[0]
        assert look in text
    assert words.count("glow") == 3
    assert "axis" not in text
    assert "axis" in family.render_ansi(env.scene(0, reveal=True))
    hidden, shown = (family.render_rgb(env.scene(0, reveal=reveal)) for reveal in (False, True))
    assert hidden.shape == shown.shape
    assert np.array_equal(hidden[:, :470], shown[:, :470])
    assert not np.array_equal(hidden, shown)
    assert family.parse_action("Stone 2 into potion 12", 2) == 1 + 13 + 12
    assert family.parse_action("stone 3 into the cauldron", 2) == 27
