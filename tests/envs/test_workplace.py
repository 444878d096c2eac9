"""Workplace: what tickets pay, who waits for whom, and that the oracle does as well as can be."""

import functools
import itertools

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.calibration import ReferenceReturns, measure
from daytwo.envs.workplace import FIX_NAMES, MOST_KINDS, PAIRED, SUPPRESS, Workplace

FAMILY = Workplace()
KINDS = FAMILY.kinds[PAIRED]
UNIT = ReferenceReturns.given([0.0] * 4, [1.0] * 4)


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv(Workplace, lanes, **options)


def a_task(fix=None, pairs=None):
    """A task in which kind 2j + 1 waits for kind 2j, unless the pairs (first, second) say otherwise."""
    pairs = [(k, k + 1) for k in range(0, KINDS, 2)] if pairs is None else pairs
    task = {
        "fix": [k % FAMILY.fixes for k in range(KINDS)] + [0] * (MOST_KINDS - KINDS) if fix is None else fix,
        "partner": [-1] * MOST_KINDS,
        "waits": [0] * MOST_KINDS,
    }
    for first, second in pairs:
        task["partner"][first], task["partner"][second], task["waits"][second] = second, first, 1
    return task


def at_work(level, lanes=1, seed=0, episodes=1, task=None, **options):
    """Lifetimes at one level that all have the same task, at the start of their first day."""
    env = make(lanes, course="single", level=level, episodes=episodes, **options)
    env.reset(seed=seed)
    env.set_tasks(np.ones(lanes, dtype=bool), [{"task": a_task() if task is None else task}] * lanes)
    observations, _ = env.reset(seed=seed)
    return env, observations


def kind_of(observation):
    """The kind of the ticket on the desk, or None."""
    ticket = observation[:KINDS]
    assert ticket.sum() in (0, 1)
    return int(ticket.argmax()) if ticket.any() else None


def act(env, action):
    """Reward and next ticket of a single lifetime."""
    observations, _, _, _, info = env.step(np.array([action]))
    return float(info["raw_reward"][0]), kind_of(observations[0])


# --- reference returns --------------------------------------------------------------------------------------------


def test_measured_reference_returns_agree_with_dynamic_programming():
    measured = measure(FAMILY)
    for level in range(4):
        error = 5 * measured.oracle_error[level] + 1e-9
        assert measured.oracle_return[level] == pytest.approx(FAMILY.exact_oracle_return(level), abs=error)
        error = 5 * measured.random_error[level]
        assert measured.random_return[level] == pytest.approx(FAMILY.exact_random_return(level), abs=error)


@pytest.mark.parametrize("level", range(4))
def test_no_omniscient_policy_does_better_than_the_oracle(level):
    # Planning over all policies that know the task. Of a day it matters which modules are broken and which of them lies
    # on the desk: pairs of which both are, and modules that can be healed.
    steps, pay = FAMILY.levels[level].horizon, FAMILY.pay

    @functools.cache
    def best(both, free, left):
        if left == 0 or both + free == 0:
            return float(left)
        put_off = pay + best(both, free, left - 1)
        heals_first = 1 + best(both - 1, free + 1, left - 1) if both else 0
        heals_free = 1 + best(both, free - 1, left - 1) if free else 0
        # A wrong fix wastes the step and leaves the ticket: it can only be worse than the same choice a step earlier.
        return (
            both * put_off + both * max(put_off, heals_first) + free * max(put_off, heals_free)
        ) / (2 * both + free)  # fmt: skip

    modules = FAMILY.modules[level]
    value = best(modules // 2, 0, steps) if level == PAIRED else best(0, modules, steps)
    assert FAMILY.exact_oracle_return(level) == pytest.approx(value, abs=1e-9)
    if level != PAIRED:
        assert value == steps


def test_a_single_module_that_is_suppressed_or_mended_at_random_pays_what_a_closed_form_says():
    family = Workplace(modules=(1, 1, 1, 2), kinds=(1, 1, 1, 2), fixes=2, horizon=(4, 1, 2, 2), pay=0.5)
    # One step: a third suppresses, a third heals. Two steps: then two thirds of the time the same again.
    once = (0.5 + 1) / 3
    assert family.exact_random_return(1) == pytest.approx(once)
    assert family.exact_random_return(2) == pytest.approx(once + 1 / 3 + 2 / 3 * once)
    assert [family.exact_oracle_return(level) for level in range(3)] == [4, 1, 2]
    # A pair, two steps: whoever has to wait is suppressed half of the time in the first step, and again in the second.
    assert family.exact_oracle_return(PAIRED) == pytest.approx(0.5 * 2 + 0.5 * (0.5 + 0.75))


def test_the_default_days_are_too_short_to_look_for_every_fix():
    for level in range(4):
        modules, horizon = FAMILY.modules[level], FAMILY.levels[level].horizon
        looking = horizon - modules * (FAMILY.fixes - 1) / 2
        assert looking < FAMILY.suppressing_return(level)
        assert horizon < FAMILY.longest_short_sighted_day(level)
    assert FAMILY.longest_short_sighted_day(0) == pytest.approx(3 * 4 / 0.8)


# --- tasks and days -----------------------------------------------------------------------------------------------


def test_fixes_and_pairings_are_uniform():
    env = make(8192)
    env.reset(seed=0)
    tasks = env.tasks()
    fix = np.array([task["fix"] for task in tasks])
    partner = np.array([task["partner"] for task in tasks])
    waits = np.array([task["waits"] for task in tasks])
    for k in range(KINDS):
        assert np.bincount(fix[:, k], minlength=5) == pytest.approx(8192 / 5, abs=5 * 36)
        others = np.bincount(partner[:, k], minlength=KINDS)
        assert others[k] == 0
        assert np.delete(others, k) == pytest.approx(8192 / 19, abs=5 * 20)
        assert waits[:, k].sum() == pytest.approx(4096, abs=5 * 45)
    # Neighbours' fixes are independent.
    assert np.bincount(fix[:, 3] * 5 + fix[:, 4], minlength=25) == pytest.approx(8192 / 25, abs=5 * 18)
    rows = np.arange(8192)[:, None]
    own = partner[:, :KINDS]
    assert (own[rows, own] == np.arange(KINDS)).all()
    assert (waits[:, :KINDS] + waits[rows, own] == 1).all()
    assert not fix[:, KINDS:].any()
    assert (partner[:, KINDS:] == -1).all()


@pytest.mark.parametrize("level", range(4))
def test_a_day_has_different_kinds_of_the_level_all_equally_often_and_pairs_at_the_top(level):
    env, observations = at_work(level, lanes=1500)
    modules, kinds = FAMILY.modules[level], FAMILY.kinds[level]
    days = np.array([env.scene(i, reveal=True).state["kinds"] for i in range(1500)])
    assert (days[:, modules:] == -1).all()
    days = days[:, :modules]
    assert all(len(set(day)) == modules for day in days.tolist())
    expected = 1500 * modules / kinds
    assert np.bincount(days.ravel(), minlength=kinds) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    together = np.mean([len({kind // 2 for kind in day}) == modules // 2 for day in days.tolist()])
    assert together == 1 if level == PAIRED else together < 0.6
    # The first ticket is that of any of them.
    tickets = observations[:, :KINDS].argmax(axis=1)
    places = (days == tickets[:, None]).argmax(axis=1)
    assert np.bincount(places, minlength=modules) == pytest.approx(1500 / modules, abs=5 * np.sqrt(1500 / modules))


# --- rules --------------------------------------------------------------------------------------------------------


def test_suppressing_pays_at_once_and_mends_nothing():
    env, observations = at_work(0, lanes=2000)
    before = observations[:, :KINDS].argmax(axis=1)
    same = 0
    for _ in range(13):
        observations, _, _, _, info = env.step(np.zeros(2000, dtype=int))
        assert (info["raw_reward"] == 0.6).all()
        after = observations[:, :KINDS].argmax(axis=1)
        same += (after == before).sum()
        before = after
    assert all(env.scene(i, reveal=True).state["count"] == 3 for i in range(2000))
    assert same / 26000 == pytest.approx(1 / 3, abs=5 * np.sqrt(2 / 9 / 26000))  # any broken module's ticket follows
    _, _, _, _, info = env.step(np.zeros(2000, dtype=int))
    assert info["episode_return"] == pytest.approx(np.full(2000, 14 * 0.6))
    assert (info["can_kicking_rate"] == 1).all()


def test_the_true_fix_heals_for_the_day_and_any_other_leaves_the_ticket():
    env, observations = at_work(1, episodes=2)
    ticket, healed = kind_of(observations[0]), set()
    while ticket is not None:
        assert ticket not in healed
        for wrong in range(FAMILY.fixes):
            if wrong != ticket % FAMILY.fixes and len(healed) < 2:
                assert act(env, 1 + wrong) == (0.0, ticket)
        healed.add(ticket)
        reward, ticket = act(env, 1 + ticket % FAMILY.fixes)
        assert reward == 1.0
    assert len(healed) == 4
    for action in range(6):  # nothing is broken: whatever one does pays
        assert act(env, action)[0] == 1.0
    assert kind_of(env.step(np.array([SUPPRESS]))[0][0]) is not None  # step 18: the next day is full of work again


def test_at_the_top_level_a_module_heals_after_the_one_it_waits_for_and_not_before():
    checked = 0
    for seed in range(10):
        env, observations = at_work(PAIRED, seed=seed)
        ticket, healed = kind_of(observations[0]), set()
        while ticket is not None:
            waits = ticket % 2 == 1 and ticket - 1 not in healed
            if waits and checked < 5:
                for fix in range(FAMILY.fixes):  # the true one among them
                    assert act(env, 1 + fix) == (0.0, ticket)
                checked += 1
            if waits:
                reward, ticket = act(env, SUPPRESS)
                assert reward == 0.6
                continue
            healed.add(ticket)
            reward, ticket = act(env, 1 + ticket % FAMILY.fixes)
            assert reward == 1.0
        assert len(healed) == 6
    assert checked == 5


def test_below_the_top_level_nobody_waits():
    env, observations = at_work(2)
    ticket, steps = kind_of(observations[0]), 0
    while ticket is not None:
        reward, ticket = act(env, 1 + ticket % FAMILY.fixes)
        assert reward == 1.0
        steps += 1
    assert steps == 6


def test_a_kind_keeps_its_fix_from_day_to_day_and_level_to_level():
    env = make(64, course="progressive", episodes=3)
    observations, _ = env.reset(seed=4)
    fixes = np.array([task["fix"] for task in env.tasks()])
    terminated = np.zeros(64, dtype=bool)
    while not terminated.all():
        ticket = observations[:, :KINDS]
        there = ticket.any(axis=1)
        right = 1 + fixes[np.arange(64), ticket.argmax(axis=1)]
        below = observations[:, env.layout["level"]].argmax(axis=1) < PAIRED
        observations, _, terminated, _, info = env.step(np.where(there, right, SUPPRESS))
        assert (info["raw_reward"][below] == 1.0).all()


def test_the_can_kicking_rate_counts_tickets_that_could_have_been_healed():
    # The oracle suppresses what has to wait, and kicks no can.
    env, _ = at_work(PAIRED, lanes=256)
    suppressed = 0
    for _ in range(28):
        actions = env.oracle_actions()
        broken = np.array([env.scene(i, reveal=True).state["count"] > 0 for i in range(256)])
        suppressed += ((actions == SUPPRESS) & broken).sum()
        _, _, _, _, info = env.step(actions)
    assert suppressed > 256
    assert (info["can_kicking_rate"] == 0).all()
    # Two tickets suppressed, one healed.
    env, _ = at_work(0)
    for action in (SUPPRESS, SUPPRESS, None, *[None] * 11):
        ticket = env.scene(0, reveal=True).state
        wrong = 1 + (int(ticket["kinds"][ticket["ticket"]]) + 1) % FAMILY.fixes
        right = int(env.oracle_actions()[0])
        chosen = action if action is not None else right if ticket["count"] == 3 else wrong
        _, _, _, _, info = env.step(np.array([chosen]))
    assert info["can_kicking_rate"][0] == pytest.approx(2 / 3)
    # Nothing but wrong fixes: no ticket was closed.
    env, observations = at_work(0)
    wrong = 1 + (kind_of(observations[0]) + 1) % FAMILY.fixes
    for _ in range(14):
        _, _, _, _, info = env.step(np.array([wrong]))
    assert np.isnan(info["can_kicking_rate"][0])


# --- settings, words, pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modules": (3, 4, 6)}, "modules must be 4 integers in 1..8"),
        ({"modules": (3, 4, 6, 9)}, r"modules\[3\] must be an integer in 1..8"),
        ({"modules": (7, 4, 6, 6)}, r"modules\[0\] must be at most kinds\[0\] \(6\), received 7"),
        ({"modules": (3, 4, 6, 5)}, r"modules\[3\] and kinds\[3\] must be even, received 5 and 20"),
        ({"kinds": (6, 10, 16, 21)}, "must be even, received 6 and 21"),
        ({"kinds": (6, 10, 8, 20)}, "kinds must not decrease"),
        ({"kinds": (6, 10, 16, 34)}, r"kinds\[3\] must be an integer in 1..32"),
        ({"fixes": 1}, "fixes must be an integer in 2..8"),
        ({"horizon": (14, 18, 28, 0)}, r"horizon\[3\] must be an integer in 1"),
        ({"pay": -0.1}, r"pay must be a number in \[0, 1\]"),
        ({"pay": 1.0}, "pay must be below 1"),
        ({"pay": float("nan")}, "pay must be a number"),
    ],
)
def test_impossible_settings_are_refused_with_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        Workplace(**settings)


def test_other_companies_work_too():
    largest = {"modules": (8, 8, 8, 8), "kinds": (32, 32, 32, 32), "fixes": 8, "horizon": (40, 40, 40, 60)}
    smallest = {"modules": (1, 1, 1, 2), "kinds": (1, 1, 1, 2), "fixes": 2, "horizon": (1, 1, 1, 1), "pay": 0.0}
    for settings in (largest, smallest):
        family = Workplace(**settings)
        # As ordinary Python: another number of fixes takes another compilation.
        env = make(24, episodes=1, compiled=False, reference_returns=UNIT, **settings)
        env.reset(seed=1)
        returns = np.zeros(4)
        terminated = np.zeros(24, dtype=bool)
        while not terminated.all():
            _, _, terminated, _, info = env.step(env.oracle_actions())
            if "episode_return" in info:
                returns[info["level"][0]] = info["episode_return"].mean()
        assert returns[:3].tolist() == [family.levels[level].horizon for level in range(3)]
        assert returns[3] == pytest.approx(family.exact_oracle_return(3), abs=0.8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fix": [5] + [0] * 31}, r"fix must be 20 numbers in 0\.\.4"),
        ({"fix": [0] * 31 + [1]}, "zeros after them"),
        ({"partner": [0] * 20 + [-1] * 12}, "partner must pair"),
        ({"partner": [1, 2, *range(2, 20), *[-1] * 12]}, "partner must pair"),
        ({"partner": [30, *a_task()["partner"][1:]]}, "partner must pair"),
        ({"waits": [0] * 32}, "Of each pair one kind waits"),
        ({"waits": [2, -1, *a_task()["waits"][2:]]}, "Of each pair one kind waits"),
        ({"waits": [*a_task()["waits"][:31], 1]}, "Beyond kind 19"),
    ],
)
def test_tasks_that_could_not_be_drawn_are_refused(change, message):
    assert FAMILY.task_to_dict(FAMILY.task_from_dict(a_task())[0]) == a_task()
    with pytest.raises(ValueError, match=message):
        FAMILY.task_from_dict({**a_task(), **change})


def test_words_tell_the_rules_the_ticket_and_the_actions():
    for level in range(4):
        rules = FAMILY.describe_rules(level)
        for words in (f"{FAMILY.levels[level].horizon} steps", f"{FAMILY.modules[level]} modules", "pays 0.6"):
            assert words in rules
        assert ("come in pairs" in rules) == (level == PAIRED)
    values = np.zeros(KINDS, dtype=np.float32)
    assert FAMILY.describe_observation(values, 0) == "No ticket: nothing is broken."
    values[7] = 1
    assert FAMILY.describe_observation(values, 1) == "On your desk lies a ticket: a failure of kind 7."
    assert FAMILY.parse_action("Suppress", 0) == SUPPRESS
    for fix, name in enumerate(FIX_NAMES[:5]):
        assert FAMILY.parse_action(name, 0) == FAMILY.parse_action(f"fix: {name}", 2) == 1 + fix
    with pytest.raises(ValueError, match="received 'rewrite'"):
        FAMILY.parse_action("rewrite", 0)


def test_pictures_and_texts_show_what_is_hidden_only_where_revealed():
    swapped = a_task(fix=[(k + 1) % 5 for k in range(KINDS)] + [0] * 12, pairs=[(k + 1, k) for k in range(0, KINDS, 2)])
    for level in range(4):
        scenes = []
        for task in (a_task(), swapped):
            env, _ = at_work(level, task=task)
            scenes.append([env.scene(0, reveal=reveal) for reveal in (False, True)])
        for draw in (FAMILY.render_ansi, FAMILY.render_rgb):
            (hidden, shown), (other_hidden, other_shown) = [[draw(scene) for scene in pair] for pair in scenes]
            assert np.array_equal(hidden, other_hidden)
            assert not np.array_equal(shown, other_shown)
            assert not np.array_equal(shown, hidden)
    assert "after" in shown if isinstance(shown, str) else "after" in FAMILY.render_ansi(scenes[0][1])


def test_all_levels_give_pictures_of_one_size_at_every_moment():
    env = make(1, episodes=1)
    env.reset(seed=0)
    shapes = set()
    for step in itertools.count():
        shapes.add(FAMILY.render_rgb(env.scene(0, reveal=step % 2 == 0)).shape)
        if env.step(env.oracle_actions())[2][0]:
            break
    assert len(shapes) == 1
