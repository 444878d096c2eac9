"""The Bayes-optimal agent: its plan against brute force, its play against its plan, and who it is for."""

import functools
import itertools

import numpy as np
import pytest

import daytwo
from daytwo.baselines.bandits import Gittins, Greedy
from daytwo.baselines.bayes_optimal import (
    BayesOptimal,
    OptimalPlan,
    informative_plan,
    is_affordable,
    optimal_plan,
    state_counts,
)
from daytwo.baselines.tuning import live
from daytwo.calibration import ReferenceReturns
from daytwo.kernels import interpreted
from daytwo.streams import lifetime_seeds

ENV_ID = "daytwo/Bandit-v0"


def make_env(lanes, **settings):
    # Reference returns are given only to spare measuring them: nothing here is normalised.
    own = {name: settings[name] for name in ("arms", "pulls", "kind") if name in settings}
    levels = len(daytwo.make_family(ENV_ID, **own).levels)
    settings["reference_returns"] = ReferenceReturns.given([0.0] * levels, [1.0] * levels)
    return daytwo.LifetimeVectorEnv(ENV_ID, num_envs=lanes, autoreset_mode="Disabled", **settings)


def spec_of(**settings):
    return make_env(1, **settings).lifetime_spec


def single(**settings):
    return {"course": "single", "episodes": 1, "reward": "raw", **settings}


def brute_force(arms, pulls):
    """The optimum by recursion over ordered counts."""

    @functools.cache
    def value(counts, left):
        if left == 0:
            return 0.0
        best = 0.0
        for arm, (wins, losses) in enumerate(counts):
            chance = (wins + 1) / (wins + losses + 2)
            won = (*counts[:arm], (wins + 1, losses), *counts[arm + 1 :])
            lost = (*counts[:arm], (wins, losses + 1), *counts[arm + 1 :])
            best = max(best, chance * (1 + value(won, left - 1)) + (1 - chance) * value(lost, left - 1))
        return best

    return value(((0, 0),) * arms, pulls)


def expected_total(agent, spec, pulls, predictive):
    """The exact mean total reward of a deterministic agent: every sequence of outcomes, weighted by its chance.

    ``predictive(pulled, rewards, arm)`` is the chance that ``arm`` wins after these pulls.
    """
    outcomes = np.array(list(itertools.product((0, 1), repeat=pulls)))
    lanes = len(outcomes)
    agent.begin(spec, np.arange(lanes, dtype=np.uint64))
    weight, history = np.ones(lanes), [[] for _ in range(lanes)]
    rows, fresh = np.zeros((lanes, spec.layout.size), dtype=np.float32), np.ones(lanes, dtype=bool)
    rows[:, spec.layout.start("level") + spec.course.stages[0].level] = 1.0
    for step in range(pulls):
        actions = agent.act(rows, fresh)
        for lane, (arm, reward) in enumerate(zip(actions.tolist(), outcomes[:, step].tolist(), strict=True)):
            chance = predictive([a for a, _ in history[lane]], [r for _, r in history[lane]], arm)
            weight[lane] *= chance if reward else 1 - chance
            history[lane].append((arm, reward))
        rows[:, spec.layout["previous_action"]] = np.eye(spec.actions)[actions]
        rows[:, spec.layout.start("previous_reward")] = outcomes[:, step]
        fresh = np.zeros(lanes, dtype=bool)
    assert weight.sum() == pytest.approx(1.0)
    return float(weight @ outcomes.sum(axis=1))


def independent_arms(pulled, rewards, arm):
    seen = [reward for at, reward in zip(pulled, rewards, strict=True) if at == arm]
    return (sum(seen) + 1) / (len(seen) + 2)


@pytest.mark.parametrize(("arms", "pulls"), [(1, 3), (2, 1), (2, 2), (2, 7), (3, 5), (4, 4), (5, 2)])
def test_the_plan_has_the_value_of_brute_force(arms, pulls):
    assert OptimalPlan(arms, pulls).value == pytest.approx(brute_force(arms, pulls), abs=1e-12)


def test_the_plan_has_the_known_values():
    assert optimal_plan(2, 2).value == pytest.approx(13 / 12)
    assert optimal_plan(5, 10).value == pytest.approx(6.660, abs=5e-4)


@pytest.mark.parametrize(("arms", "pulls"), [(1, 4), (2, 5), (3, 4), (6, 3)])
def test_states_are_counted_without_the_order_of_the_arms(arms, pulls):
    one = [(wins, total - wins) for total in range(pulls + 1) for wins in range(total + 1)]
    counts = [0] * (pulls + 1)
    for state in itertools.combinations_with_replacement(one, arms):
        total = sum(map(sum, state))
        if total <= pulls:
            counts[total] += 1
    assert state_counts(arms, pulls) == counts
    assert OptimalPlan(arms, pulls).states == sum(counts)


@pytest.mark.parametrize(("arms", "pulls"), [(2, 8), (3, 7), (5, 6)])
def test_the_agent_earns_exactly_the_value_of_its_plan(arms, pulls):
    spec = spec_of(**single(arms=arms, pulls=pulls))
    optimum = expected_total(BayesOptimal(), spec, pulls, independent_arms)
    assert optimum == pytest.approx(brute_force(arms, pulls), abs=1e-9)
    assert expected_total(Greedy(), spec, pulls, independent_arms) < optimum - 0.01
    assert expected_total(Gittins(discount=0.9), spec, pulls, independent_arms) < optimum + 1e-12


def test_the_agent_plans_for_all_episodes_of_the_lifetime():
    spec = spec_of(arms=5, pulls=4, course="single", level=0, episodes=2)
    assert expected_total(BayesOptimal(), spec, 8, independent_arms) == pytest.approx(brute_force(2, 8), abs=1e-9)


def test_the_agent_earns_the_optimum_in_the_environment():
    env = make_env(16_384, **single(arms=5, pulls=10, split="test"))
    returns = live(BayesOptimal(), env, lifetime_seeds(0, 0, 16_384))[0]
    assert returns.mean() == pytest.approx(6.660, abs=4 * returns.std() / 128)


def dependent(prior):
    """Predictive chance with p2 = 1 - p1, for a prior of p1 on a grid."""
    p, chances = np.array(prior).T

    def predictive(pulled, rewards, arm):
        like = np.array(chances, dtype=float)
        for at, reward in zip(pulled, rewards, strict=True):
            q = p if at == 0 else 1 - p
            like *= q if reward else 1 - q
        like /= like.sum()
        return float(like @ (p if arm == 0 else 1 - p))

    return predictive


def dependent_optimum(predictive, pulls, pulled=(), rewards=()):
    if len(pulled) == pulls:
        return 0.0
    values = []
    for arm in range(2):
        chance = predictive(pulled, rewards, arm)
        won = dependent_optimum(predictive, pulls, (*pulled, arm), (*rewards, 1))
        lost = dependent_optimum(predictive, pulls, (*pulled, arm), (*rewards, 0))
        values.append(chance * (1 + won) + (1 - chance) * lost)
    return max(values)


@pytest.mark.parametrize(
    ("kind", "prior"),
    [
        ("dependent-uniform", [((k + 0.5) / 40, 1.0) for k in range(40)]),
        ("dependent-easy", [(0.1, 1.0), (0.9, 1.0)]),
        ("dependent-hard", [(0.4, 1.0), (0.6, 1.0)]),
    ],
)
def test_the_likelier_of_two_dependent_arms_is_optimal(kind, prior):
    spec, predictive = spec_of(**single(kind=kind, pulls=5)), dependent(prior)
    optimum = dependent_optimum(predictive, 5)
    assert expected_total(BayesOptimal(), spec, 5, predictive) == pytest.approx(optimum, abs=1e-9)


def informative_optimum(candidates, left):
    """The optimum of the informative bandit over any order of guessing."""
    return _informative_optimum(frozenset(candidates), left)


@functools.cache
def _informative_optimum(candidates, left):
    if left == 0:
        return 0.0
    if len(candidates) == 1:
        return 5.0 * left
    asking = sum(candidates) / len(candidates) / 10 + 5.0 * (left - 1)
    hit = 1 / len(candidates)
    guessing = [
        hit * 5.0 * left + (1 - hit) * (1.0 + _informative_optimum(candidates - {arm}, left - 1))
        for arm in sorted(candidates)
    ]
    return max(asking, *guessing)


@pytest.mark.parametrize("pulls", [1, 2, 5, 9])
def test_the_informative_plan_has_the_value_of_brute_force(pulls):
    assert informative_plan(pulls)[0][10, pulls] == pytest.approx(informative_optimum(range(1, 11), pulls), abs=1e-12)


def test_the_informative_arm_is_asked_once_and_remembered():
    settings = {"kind": "informative", "course": "single", "episodes": 3, "split": "all"}
    env = make_env(512, **settings)
    returns = live(BayesOptimal(), env, lifetime_seeds(0, 0, 512))[0]
    paid = np.round((returns[:, 0] - 20.0) * 10).astype(int)
    assert returns[:, 0] == pytest.approx(20.0 + paid / 10)
    assert sorted(set(paid.tolist())) == list(range(1, 11))
    assert informative_plan(5)[0][10, 5] == pytest.approx(20.55)
    assert returns[:, 1:] == pytest.approx(25.0)


def test_one_pull_of_the_informative_bandit_is_better_spent_on_a_guess():
    settings = single(kind="informative", pulls=1, split="all")
    env = make_env(256, **settings)
    returns = live(BayesOptimal(), env, lifetime_seeds(0, 0, 256))[0]
    assert set(returns.ravel().tolist()) == {1.0, 5.0}


@pytest.mark.parametrize(
    "settings", [single(arms=5, pulls=6), single(kind="dependent-easy"), single(kind="informative")]
)
def test_interpreted_and_compiled_agents_act_alike_in_any_batch(settings):
    seeds = lifetime_seeds(2, 0, 6)
    env = make_env(6, **settings)
    compiled = live(BayesOptimal(), env, seeds)[0]
    with interpreted():
        assert np.array_equal(live(BayesOptimal(), env, seeds)[0], compiled)
    env = make_env(1, **settings)
    alone = [live(BayesOptimal(), env, seeds[i : i + 1])[0] for i in range(6)]
    assert np.array_equal(np.concatenate(alone), compiled)


def test_the_agent_fits_where_the_optimum_can_be_worked_out():
    assert BayesOptimal.fits(spec_of(**single(arms=5, pulls=10)))
    assert BayesOptimal.fits(spec_of(course="single", level=0, episodes=5))
    assert BayesOptimal.fits(spec_of(kind="informative"))
    assert BayesOptimal.fits(spec_of(kind="dependent-hard"))
    assert not BayesOptimal.fits(spec_of())  # three levels
    assert not BayesOptimal.fits(spec_of(**single(arms=5, pulls=100)))
    assert not BayesOptimal.fits(spec_of(**single(kind="gaussian")))
    assert not BayesOptimal.fits(spec_of(course="switch", arms=2, pulls=5, episodes=2))
    assert is_affordable(2, 100)
    assert not is_affordable(10, 20)
    assert not is_affordable(2, 100_000)


def test_a_plan_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="5 arms and 100 pulls takes more than 5,000,000"):
        OptimalPlan(5, 100)
    with pytest.raises(ValueError, match="at least 1, received arms=0"):
        OptimalPlan(0, 3)
