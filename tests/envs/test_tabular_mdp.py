"""TabularMDP: the distribution of tasks, the levels, the plan of the oracle, and the two-step task."""

import itertools

import numpy as np
import pytest
from scipy import stats

import daytwo
from daytwo import streams
from daytwo.calibration import ReferenceReturns, episode_returns
from daytwo.envs.tabular_mdp import REWARD_RANGE, TabularMDP
from daytwo.streams import lifetime_seeds

ID = "daytwo/TabularMDP-v0"
STANDARD = TabularMDP()


def make(lanes, **options):
    levels = len(daytwo.make_family(ID, **{k: v for k, v in options.items() if k in ("states", "kind")}).levels)
    options = {
        "split": "all",
        "autoreset_mode": "Disabled",
        "privileged": True,
        "reference_returns": ReferenceReturns.given([0.0] * levels, [1.0] * levels),
        **options,
    }
    return daytwo.LifetimeVectorEnv(ID, lanes, **options)


def drawn_tasks(count, seed=0, **options):
    env = make(count, **options)
    return env.reset(seed=lifetime_seeds(seed, 0, count))[1]["task"]


def optimal_values(mean, chance, horizon):
    """Independent truth: values ``[horizon + 1, states]`` and action values ``[horizon, states, actions]``."""
    values, q = np.zeros((horizon + 1, len(mean))), np.zeros((horizon, *mean.shape))
    for t in reversed(range(horizon)):
        q[t] = mean + chance @ values[t + 1]
        values[t] = q[t].max(axis=1)
    return values, q


def world(task, level, family=STANDARD):
    states = int(family.settings.level_states[0][level])
    mean = task["mean_reward"][:states, : family.actions].astype(np.float64)
    return mean, family.transition_probabilities(task, level)


def deterministic(family, shift=1):
    """Action a leads from s to s + a + shift, and pays 10 s + a on average."""
    states, actions = family.keywords["states"], family.actions
    chance = np.zeros((states, actions, states))
    for s, a in itertools.product(range(states), range(actions)):
        chance[s, a, (s + a + shift) % states] = 1.0
    return family.make_task(10.0 * np.arange(states)[:, None] + np.arange(actions), chance)


def test_mean_rewards_are_normal_with_mean_and_deviation_one():
    rewards = drawn_tasks(2000)["mean_reward"].ravel()
    assert len(rewards) == 2000 * 50
    assert stats.kstest(rewards, stats.norm(1, 1).cdf).pvalue > 1e-3


def test_transitions_are_flat_dirichlet_draws():
    tasks = drawn_tasks(2000)
    chance = np.stack([STANDARD.transition_probabilities(task, 2) for task in tasks])
    assert np.allclose(chance.sum(axis=-1), 1)
    assert (chance >= 0).all()
    for k in range(10):
        assert stats.kstest(chance[:, 3, 2, k], stats.beta(1, 9).cdf).pvalue > 1e-3
    flat = chance.reshape(-1, 10)
    covariance = np.cov(flat, rowvar=False)
    expected = (np.eye(10) / 10 - 1 / 100) / 11  # of a flat Dirichlet with 10 parts
    assert np.abs(covariance - expected).max() < 5e-4


def test_restricted_transitions_are_flat_dirichlet_draws_too():
    chance = np.stack([STANDARD.transition_probabilities(task, 0) for task in drawn_tasks(2000)])
    for k in range(3):
        assert stats.kstest(chance[:, 1, 4, k], stats.beta(1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_level_is_lived_by_the_tasks_restricted_and_renormalised_transitions(level):
    lanes = 6000
    task = drawn_tasks(1, seed=5)[0]
    env = make(lanes, course="single", level=level, episodes=1)
    env.reset(seed=lifetime_seeds(1, 0, lanes), options={"task": task})
    mean, chance = world(task, level)
    rng = np.random.default_rng(0)
    seen, paid = np.zeros(chance.shape), [[[] for _ in range(5)] for _ in range(len(mean))]
    state = np.zeros(lanes, dtype=int)
    for _ in range(10):
        actions = rng.integers(0, 5, lanes)
        observations, _, _, _, info = env.step(actions)
        reached = observations[:, :10].argmax(axis=1)
        assert (observations[:, :10].sum(axis=1) == 1).all()
        np.add.at(seen, (state, actions, reached), 1)
        for s, a in itertools.product(range(len(mean)), range(5)):
            paid[s][a].extend(info["raw_reward"][(state == s) & (actions == a)])
        state = reached
    worst = 1.0
    for s, a in itertools.product(range(len(mean)), range(5)):
        count = seen[s, a].sum()
        likely = chance[s, a] * count > 1
        if likely.sum() > 1:
            expected = chance[s, a][likely] / chance[s, a][likely].sum() * seen[s, a][likely].sum()
            worst = min(worst, stats.chisquare(seen[s, a][likely], expected).pvalue)
        values = np.array(paid[s][a])
        assert abs(values.mean() - mean[s, a]) < 4.5 / np.sqrt(len(values))
        assert abs(values.std() - 1) < 4.5 / np.sqrt(2 * len(values))
    assert worst > 1e-4


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_oracle_follows_an_independent_value_iteration(level):
    lanes = 64
    env = make(lanes, course="single", level=level, episodes=2)
    _, info = env.reset(seed=lifetime_seeds(2, 0, lanes))
    plans = [optimal_values(*world(task, level), 10)[1] for task in info["task"]]
    state = np.zeros(lanes, dtype=int)
    for step in range(20):
        actions = env.oracle_actions()
        for i in range(lanes):
            q = plans[i][step % 10, state[i]]
            assert q[actions[i]] >= q.max() - 1e-9
        observations = env.step(actions)[0]
        state = observations[:, :10].argmax(axis=1)


def test_reference_returns_are_those_of_exact_planning():
    tasks = drawn_tasks(3000, seed=7)
    exact = [optimal_values(*world(task, 2), 10)[0][0, 0] for task in tasks]
    error = np.std(exact) / np.sqrt(len(exact))
    assert error < 0.06
    assert abs(np.mean(exact) - 21.85) < 3.5 * error
    oracle = episode_returns(STANDARD, 2, "oracle", 4000, seed=3)
    random = episode_returns(STANDARD, 2, "random", 4000, seed=3)
    assert abs(oracle.mean() - 21.85) < 4 * oracle.std() / np.sqrt(4000)
    assert abs(random.mean() - 10.0) < 4 * random.std() / np.sqrt(4000)


def test_the_last_state_of_an_episode_is_shown_beside_the_new_one():
    env = make(1, course="single", episodes=2)
    env.reset(seed=0, options={"task": deterministic(STANDARD)[0]})
    layout, state = env.layout, 0
    for step in range(20):
        action = step % 5
        observation = env.step(np.array([action]))[0][0]
        state = (state + action + 1) % 10
        final = observation[layout["final_observation"]]
        if step == 9:
            assert final.argmax() == state
            assert final.sum() == 1
            assert observation[layout["state"]].argmax() == 0
            assert observation[layout["episode_start"]] == 1
            state = 0
        else:
            assert final.sum() == 0
            assert observation[layout["state"]].argmax() == state


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, [3, 6, 10]),
        ({"states": 2}, [2]),
        ({"states": 3}, [3]),
        ({"states": 5}, [3, 5]),
        ({"states": 12}, [3, 6, 12]),
    ],
)
def test_levels_are_the_first_3_and_6_states_then_all(settings, sizes):
    family = TabularMDP(**settings)
    assert [level.name for level in family.levels] == [f"{size} states" for size in sizes]
    assert family.settings.level_states[0][: len(sizes)].tolist() == sizes
    assert family.fields[0].size == sizes[-1]


def test_larger_worlds_than_the_standard_one_work():
    # Interpreted, to spare another compilation.
    env = make(2, states=12, actions=7, horizon=14, course="single", episodes=1, compiled=False)
    _, info = env.reset(seed=0)
    family = env.family
    values = [optimal_values(*world(task, 2, family), 14) for task in info["task"]]
    actions = env.oracle_actions()
    assert all(values[i][1][0, 0].argmax() == actions[i] for i in range(2))
    for step in range(14):
        observations, _, terminated, _, _ = env.step(env.oracle_actions())
        assert (observations[:, :12].sum(axis=1) == 1).all()
        assert terminated.all() == (step == 13)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"states": 1}, r"states must be an integer in 2\.\.100, received 1"),
        ({"states": 101}, "states must be"),
        ({"states": 3.0}, "states must be"),
        ({"states": True}, "states must be"),
        ({"actions": 1}, "actions must be"),
        ({"horizon": 0}, "horizon must be"),
        ({"kind": "chain"}, "kind must be one of random, two-step"),
        ({"kind": "two-step", "states": 10}, "two-step' has states=3, received states=10"),
        ({"kind": "two-step", "horizon": 3}, "has horizon=2"),
    ],
)
def test_bad_settings_are_refused_with_what_was_expected(settings, words):
    with pytest.raises(ValueError, match=words):
        TabularMDP(**settings)


def test_tasks_survive_a_round_trip_and_impossible_ones_are_refused():
    task = drawn_tasks(1, seed=9)[0]
    values = STANDARD.task_to_dict(task)
    assert STANDARD.task_from_dict(values)[0] == task
    falling = {**values, "cumulative": np.array(values["cumulative"])}
    falling["cumulative"][0, 0, 4] = 0.0
    with pytest.raises(ValueError, match="never fall"):
        STANDARD.task_from_dict(falling)
    short = {**values, "cumulative": np.array(values["cumulative"]) * 0.5}
    with pytest.raises(ValueError, match="1 from entry 9 on"):
        STANDARD.task_from_dict(short)
    chance = np.full((10, 5, 10), 0.1)
    with pytest.raises(ValueError, match="sum 1"):
        STANDARD.make_task(np.zeros((10, 5)), chance * 2)
    with pytest.raises(ValueError, match="shape"):
        STANDARD.make_task(np.zeros((10, 4)), chance)
    made = STANDARD.make_task(np.zeros((10, 5)), chance)
    assert np.allclose(STANDARD.transition_probabilities(made[0], 1), 1 / 6, atol=1e-6)


def test_a_row_without_chances_in_the_level_leads_to_its_last_state():
    chance = np.zeros((10, 5, 10))
    chance[:, :, 7] = 1.0
    task = STANDARD.make_task(np.zeros((10, 5)), chance)[0]
    assert np.array_equal(STANDARD.transition_probabilities(task, 0)[:, :, 2], np.ones((3, 5)))
    env = make(4, course="single", level=0, episodes=1)
    env.reset(seed=0, options={"task": task})
    assert (env.step(np.zeros(4, dtype=int))[0][:, :10].argmax(axis=1) == 2).all()


def test_no_reward_can_leave_the_declared_range():
    # The widest normal: the ziggurat's tail with the smallest uniform that 53 bits give.
    widest = streams._TAIL + 53 * np.log(2) / streams._TAIL
    assert REWARD_RANGE[0] <= 1 - 2 * widest
    assert REWARD_RANGE[1] >= 1 + 2 * widest


def test_interpreted_and_compiled_lifetimes_are_equal():
    logs = []
    for compiled in (True, False):
        env = make(2, episodes=1, compiled=compiled)
        env.reset(seed=[11, 12])
        log = []
        for step in range(30):
            actions = env.oracle_actions() if step in (0, 5, 10) else np.array([step % 5, (step // 2) % 5])
            observations, reward, terminated, _, _ = env.step(actions)
            log.append((actions.tolist(), observations.tolist(), reward.tolist(), terminated.tolist()))
        logs.append(log)
    assert logs[0] == logs[1]


def test_the_two_step_task_has_four_worlds_with_the_published_chances():
    family = TabularMDP(kind="two-step")
    assert family.splits == ("all",)
    assert family.distinct_tasks == 4
    tasks = drawn_tasks(2000, kind="two-step")
    seen = {}
    for task in tasks:
        mean, chance = world(task, 0, family)
        assert np.allclose(np.sort(chance[0], axis=1), [[0, 0.25, 0.75]] * 2)
        assert np.allclose(chance[0, 0, 1:], chance[0, 1, :0:-1])
        assert np.allclose(np.sort(mean[1:, 0]), [0.1, 0.9])
        assert np.array_equal(mean[:, 0], mean[:, 1])
        values, q = optimal_values(mean, chance, 2)
        assert np.allclose(np.sort(q[0, 0]), [0.30, 0.70])
        assert np.isclose(values[0, 0], 0.70)
        key = (chance[0, 0, 1] > 0.5, mean[1, 0] > 0.5)
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 4
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


def test_the_two_step_task_is_lived_as_published():
    lanes = 20_000
    env = make(lanes, kind="two-step", course="single", episodes=1)
    _, info = env.reset(seed=lifetime_seeds(4, 0, lanes))
    tasks = info["task"]
    actions = np.arange(lanes) % 2
    observations, reward, terminated, _, _ = env.step(actions)
    reached = observations[:, :3].argmax(axis=1)
    assert not reward.any()
    assert not terminated.any()
    assert (reached > 0).all()
    common = tasks["cumulative"][np.arange(lanes), 0, actions, 1] > 0.5
    assert abs(np.mean((reached == 1) == common) - 0.75) < 4 * np.sqrt(0.75 * 0.25 / lanes)
    good = tasks["mean_reward"][np.arange(lanes), reached, 0] > 0.5
    _, reward, terminated, _, _ = env.step(1 - actions)
    assert terminated.all()
    assert set(np.unique(reward)) == {0.0, 1.0}
    assert abs(reward[good].mean() - 0.9) < 4 * np.sqrt(0.09 / good.sum())
    assert abs(reward[~good].mean() - 0.1) < 4 * np.sqrt(0.09 / (~good).sum())


def test_the_two_step_oracle_and_random_policy_have_their_closed_forms():
    family = TabularMDP(kind="two-step")
    assert family.episodes == 100
    for policy, expected in (("oracle", 0.7), ("random", 0.5)):
        returns = episode_returns(family, 0, policy, 20_000, seed=1)
        assert abs(returns.mean() - expected) < 4 * np.sqrt(0.25 / 20_000)


def test_pictures_and_words_hide_the_task_unless_told_to_reveal():
    env = make(1, course="single", level=1, episodes=2, privileged=False)
    observations, _ = env.reset(seed=3)
    family = env.family
    assert family.describe_observation(observations[0, :10], 1) == "You are in state 0"
    before = family.render_ansi(env.scene(0, reveal=False))
    assert "[0]" in before
    assert "best" not in before
    env.step(np.array([2]))
    hidden, shown = env.scene(0, reveal=False), env.scene(0, reveal=True)
    text = family.render_ansi(shown)
    at = int(hidden.state["at"])
    assert f"[{at}]" in text
    assert "action 2 paid" in text
    _, q = optimal_values(*world(shown.task, 1), 10)
    assert family.best_action(shown) == q[1, at].argmax()
    assert f"best    action {q[1, at].argmax()}" in text
    assert "best" not in family.render_ansi(hidden)
    pictures = [family.render_rgb(scene) for scene in (hidden, shown)]
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert picture.shape == (480, 480, 3)
    assert (pictures[0] != pictures[1]).any()
    for level in range(3):
        rules = family.describe_rules(level)
        assert f"{[3, 6, 10][level]} states" in rules
        assert "5 actions" in rules
    assert family.parse_action("action 4", 0) == 4
