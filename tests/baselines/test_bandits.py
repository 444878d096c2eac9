"""The bandit agents follow their formulas on every kind of arm, whatever the batch, and earn what is published."""

import dataclasses
import math

import numpy as np
import pytest

import daytwo
from daytwo.baselines import bandits
from daytwo.baselines.bandits import UCB1, EpsilonGreedy, Gittins, Greedy, OptimisticThompson, Thompson
from daytwo.baselines.gittins import approximate_index, index_table
from daytwo.baselines.tuning import lifetime_returns, live
from daytwo.calibration import ReferenceReturns
from daytwo.kernels import interpreted
from daytwo.streams import lifetime_seeds

ENV_ID = "daytwo/Bandit-v0"
ALL = [Gittins, UCB1, Thompson, OptimisticThompson, EpsilonGreedy, Greedy]
EVERY = [(agent, kind) for agent in ALL for kind in ("bernoulli", "gaussian") if kind in agent.kinds]


def paper(pulls, arms, **more):
    """RL2's protocol, with the reference returns in closed form."""
    sizes = [size for size in (2, 5, 10) if size < arms] + [arms]
    known = ReferenceReturns.given([pulls / 2] * len(sizes), [pulls * size / (size + 1) for size in sizes])
    base = {"arms": arms, "pulls": pulls, "course": "single", "episodes": 1, "reward": "raw"}
    return {**base, "reference_returns": known, **more}


def make_env(lanes, **settings):
    return daytwo.LifetimeVectorEnv(ENV_ID, num_envs=lanes, autoreset_mode="Disabled", **settings)


def spec_of(**settings):
    # Reference returns are given only to spare measuring them: nothing here is normalised.
    if "reference_returns" not in settings:
        own = {name: settings[name] for name in ("arms", "pulls", "kind") if name in settings}
        levels = len(daytwo.make_family(ENV_ID, **own).levels)
        settings["reference_returns"] = ReferenceReturns.given([0.0] * levels, [1.0] * levels)
    return make_env(1, **settings).lifetime_spec


def observe(spec, arms=None, rewards=None, level=None, lanes=1):
    """Observations after pulling ``arms`` and being paid ``rewards``, or first ones."""
    rows = np.zeros((lanes if arms is None else len(arms), spec.layout.size), dtype=np.float32)
    rows[:, spec.layout.start("level") + (len(spec.levels) - 1 if level is None else level)] = 1.0
    if arms is not None:
        rows[np.arange(len(arms)), spec.layout.start("previous_action") + np.asarray(arms)] = 1.0
        rows[:, spec.layout.start("previous_reward")] = rewards
    return rows


def taught(agent, spec, history, lanes, seed=0):
    """The agent's next actions after one and the same history of (arm, reward) in every lane."""
    agent.begin(spec, lifetime_seeds(seed, 0, lanes))
    rows, fresh = observe(spec, lanes=lanes), np.ones(lanes, dtype=bool)
    for arm, reward in history:
        agent.act(rows, fresh)
        rows, fresh = observe(spec, [arm] * lanes, [reward] * lanes), np.zeros(lanes, dtype=bool)
    return agent.act(rows, fresh)


# --- against the formulas, written down a second time --------------------------------------------------------------


def first_of_highest(values):
    return max(range(len(values)), key=lambda arm: (values[arm], -arm))


def ucb1_formula(wins, pulls, c):
    t = sum(pulls)
    bonus = [c * math.sqrt(2 * math.log(t) / (m + 2)) if t else 0.0 for m in pulls]
    return first_of_highest([(w + 1) / (m + 2) + b for w, m, b in zip(wins, pulls, bonus, strict=True)])


def greedy_formula(wins, pulls):
    return ucb1_formula(wins, pulls, 0.0)


def gittins_formula(wins, pulls):
    table = index_table(0.9, 30)
    return first_of_highest([table[w, m - w] for w, m in zip(wins, pulls, strict=True)])


@pytest.mark.parametrize(
    ("agent", "formula"),
    [
        (UCB1(c=0.4), lambda w, m: ucb1_formula(w, m, 0.4)),
        (Greedy(), greedy_formula),
        (EpsilonGreedy(epsilon=0.0), greedy_formula),
        (Gittins(discount=0.9), gittins_formula),
    ],
)
def test_deterministic_agents_follow_their_formula_pull_by_pull(agent, formula):
    spec = spec_of(**paper(30, 4))
    rng, lanes = np.random.default_rng(1), 40
    chances = rng.random((lanes, 4))
    wins, pulls = np.zeros((lanes, 4), int), np.zeros((lanes, 4), int)
    agent.begin(spec, lifetime_seeds(0, 0, lanes))
    rows, fresh = observe(spec, lanes=lanes), np.ones(lanes, dtype=bool)
    for _ in range(30):
        actions = agent.act(rows, fresh)
        assert actions.tolist() == [formula(w.tolist(), m.tolist()) for w, m in zip(wins, pulls, strict=True)]
        rewards = (rng.random(lanes) < chances[np.arange(lanes), actions]).astype(int)
        pulls[np.arange(lanes), actions] += 1
        wins[np.arange(lanes), actions] += rewards
        rows, fresh = observe(spec, actions, rewards), np.zeros(lanes, dtype=bool)


def test_beyond_its_table_the_gittins_agent_uses_the_approximation(monkeypatch):
    monkeypatch.setattr(bandits, "TABLE_SIZES", (3,))
    spec = spec_of(**paper(30, 2))
    history = [(0, 1.0), (0, 0.0), (0, 1.0), (0, 0.0), (1, 1.0), (1, 0.0), (1, 0.0)]
    indices = approximate_index(0.9, 2, 2), index_table(0.9, 3)[1, 2]
    assert taught(Gittins(discount=0.9), spec, history, 1)[0] == int(np.argmax(indices))
    # After 4 pulls, 3 of them won, and only a short table, the other arm is untouched: its index is in the table.
    indices = approximate_index(0.9, 0, 4), index_table(0.9, 3)[0, 0]
    assert taught(Gittins(discount=0.9), spec, [(0, 0.0)] * 4, 1)[0] == int(np.argmax(indices)) == 1


def test_thompson_sampling_chooses_an_arm_as_often_as_it_is_likely_best():
    spec, lanes = spec_of(**paper(10, 2)), 40_000
    # P(Beta(4, 2) > Uniform) is the mean of Beta(4, 2).
    actions = taught(Thompson(), spec, [(0, 1.0), (0, 1.0), (0, 0.0), (0, 1.0)], lanes)
    assert np.mean(actions == 0) == pytest.approx(4 / 6, abs=4 * 0.5 / math.sqrt(lanes))


def test_thompson_sampling_of_gaussian_arms_uses_the_conjugate_posterior():
    spec, lanes = spec_of(**paper(10, 2, kind="gaussian")), 40_000
    rewards = [0.9, 1.3, 0.4]
    precision = 12 + 3 / 0.09
    mean = (12 * 0.5 + sum(rewards) / 0.09) / precision
    chance = 0.5 * (1 + math.erf((mean - 0.5) / math.sqrt(2 * (1 / precision + 1 / 12))))
    actions = taught(Thompson(), spec, [(0, reward) for reward in rewards], lanes)
    assert np.mean(actions == 0) == pytest.approx(chance, abs=4 * 0.5 / math.sqrt(lanes))


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_one_optimistic_sample_is_thompson_sampling(kind):
    settings = paper(20, 5, kind=kind)
    spec = spec_of(**settings)
    env = make_env(50, **settings)
    seeds = lifetime_seeds(3, 0, 50)
    assert spec.settings["kind"] == kind
    one, other = live(OptimisticThompson(samples=1), env, seeds), live(Thompson(), env, seeds)
    assert np.array_equal(one[0], other[0])


def optimistic_chance(samples, lanes, rng):
    """How often RL2's optimistic sampling, written with NumPy, pulls the first arm at Beta(4, 2) against Beta(2, 3)."""
    a, b = np.array([4.0, 2.0]), np.array([2.0, 3.0])
    drawn = rng.beta(a, b, size=(lanes, samples, 2))
    density = ((a - 1) * np.log(drawn) + (b - 1) * np.log1p(-drawn)).sum(axis=-1)
    chosen = drawn[np.arange(lanes), density.argmax(axis=1)]
    return float(np.mean(chosen[:, 0] > chosen[:, 1]))


@pytest.mark.parametrize("samples", [2, 8])
def test_optimistic_thompson_acts_on_the_sample_of_highest_density(samples):
    spec, lanes = spec_of(**paper(10, 2)), 40_000
    history = [(0, 1.0), (0, 1.0), (0, 0.0), (0, 1.0), (1, 1.0), (1, 0.0), (1, 0.0)]
    share = np.mean(taught(OptimisticThompson(samples=samples), spec, history, lanes) == 0)
    expected = optimistic_chance(samples, 60_000, np.random.default_rng(0))
    assert share == pytest.approx(expected, abs=2 / math.sqrt(lanes) + 2 / math.sqrt(60_000))


def test_epsilon_greedy_explores_uniformly_as_often_as_it_says():
    spec, lanes = spec_of(**paper(10, 4)), 40_000
    actions = taught(EpsilonGreedy(epsilon=0.4), spec, [(2, 1.0)], lanes)
    shares = np.bincount(actions, minlength=4) / lanes
    assert shares == pytest.approx([0.1, 0.1, 0.7, 0.1], abs=4 * 0.5 / math.sqrt(lanes))


# --- lifetimes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent_class", ALL)
def test_counts_last_through_episodes_and_levels_and_only_offered_arms_are_pulled(agent_class):
    env = daytwo.LifetimeVectorEnv(ENV_ID, num_envs=8, pulls=3, episodes=4, autoreset_mode="Disabled")
    agent, seeds = agent_class(), lifetime_seeds(0, 0, 8)
    agent.begin(env.lifetime_spec, seeds)
    rows, info = env.reset(seed=seeds)
    fresh = np.ones(8, dtype=bool)
    pulls, sums = np.zeros((8, 10)), np.zeros((8, 10))
    for step in range(3 * 4 * 3):
        actions = agent.act(rows, fresh)
        assert info["action_mask"][np.arange(8), actions].all()
        assert np.array_equal(agent._pulls, pulls)
        assert np.array_equal(agent._sums, sums)
        rows, _, terminated, _, info = env.step(actions)
        fresh[:] = False
        pulls[np.arange(8), actions] += 1
        sums[np.arange(8), actions] += info["raw_reward"]
        assert terminated.all() == (step == 35)


@pytest.mark.parametrize("agent_class", ALL)
def test_a_wiped_lifetime_starts_from_nothing_and_leaves_the_others_alone(agent_class):
    spec, lanes = spec_of(**paper(10, 3)), 6
    agent = agent_class()
    taught(agent, spec, [(1, 1.0), (1, 1.0), (2, 0.0)], lanes)
    wiped = np.array([True, False] * 3)
    agent.act(observe(spec, lanes=lanes), wiped)
    assert (agent._pulls[wiped] == 0).all()
    assert (agent._sums[wiped] == 0).all()
    assert (agent._pulls[~wiped] == [0, 2, 1]).all()
    assert (agent._sums[~wiped] == [0, 2, 0]).all()


@pytest.mark.parametrize(("agent_class", "kind"), EVERY)
def test_results_do_not_depend_on_the_batch(agent_class, kind):
    settings, seeds = paper(10, 5, kind=kind), lifetime_seeds(7, 0, 12)

    def returns(batch):
        env = make_env(batch, **settings)
        parts = [live(agent_class(), env, seeds[start : start + batch])[0] for start in range(0, 12, batch)]
        return np.concatenate(parts)

    whole = returns(12)
    assert np.isfinite(whole).all()
    assert np.array_equal(whole, returns(4))
    assert np.array_equal(whole, returns(1))


@pytest.mark.parametrize(("agent_class", "kind"), EVERY)
def test_interpreted_and_compiled_agents_act_alike(agent_class, kind):
    settings, seeds = paper(12, 5, kind=kind), lifetime_seeds(1, 0, 5)
    env = make_env(5, **settings)
    if agent_class is Gittins:
        index_table(0.99, 60)  # interpreted, the table would take a minute
    compiled = live(agent_class(), env, seeds)[0]
    with interpreted():
        assert np.array_equal(live(agent_class(), env, seeds)[0], compiled)


def test_agents_fit_their_kinds_of_arm():
    for kind in ("bernoulli", "dependent-uniform", "dependent-hard"):
        assert all(agent_class.fits(spec_of(kind=kind)) for agent_class in ALL)
    gaussian, informative = spec_of(kind="gaussian"), spec_of(kind="informative")
    assert [agent_class.fits(gaussian) for agent_class in ALL] == [False, True, True, True, True, True]
    assert not any(agent_class.fits(informative) for agent_class in ALL)
    assert not any(agent_class.fits(dataclasses.replace(gaussian, family="TabularMDP")) for agent_class in ALL)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gittins(discount=1.0), r"discount must be a number in \(0, 1\) or None, received 1.0"),
        (lambda: UCB1(c=-0.1), "c must be a number of at least 0 or None, received -0.1"),
        (lambda: UCB1(c=math.nan), "c must be"),
        (lambda: OptimisticThompson(samples=0), "samples must be an integer of at least 1 or None, received 0"),
        (lambda: OptimisticThompson(samples=True), "samples must be"),
        (lambda: EpsilonGreedy(epsilon=1.5), r"epsilon must be a number in \[0, 1\] or None, received 1.5"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_environment_that_hides_the_rewards_is_refused():
    spec = spec_of(**paper(5, 5, show=("previous_action", "level")))
    with pytest.raises(ValueError, match="previous_reward"):
        Greedy().begin(spec, lifetime_seeds(0, 0, 1))


# --- what they earn -------------------------------------------------------------------------------------------------


def test_thompson_sampling_earns_its_closed_form_on_the_smallest_bandit():
    # Two arms, two pulls. After a win the arm is kept with chance P(Beta(2,1) > U) = 2/3 and pays 2/3, else 1/2 is
    # paid; after a loss it is kept with chance 1/3 and pays 1/3, else 1/2.
    expected = 1 / 2 + 1 / 2 * (2 / 3 * 2 / 3 + 1 / 3 * 1 / 2) + 1 / 2 * (1 / 3 * 1 / 3 + 2 / 3 * 1 / 2)
    returns = lifetime_returns(Thompson(), ENV_ID, paper(2, 2), "test", 40_000, 0)[0]
    assert returns.mean() == pytest.approx(expected, abs=4 * returns.std() / 200)


# Duan et al. 2016, table 1; the options are those that the validation split chooses.
PUBLISHED = [
    (10, 5, Gittins(discount=0.9), 6.6),
    (10, 5, Thompson(), 5.7),
    (10, 5, OptimisticThompson(samples=17), 6.5),
    (10, 5, UCB1(c=0.1), 6.7),
    (10, 5, EpsilonGreedy(epsilon=0.0), 6.6),
    (10, 5, Greedy(), 6.6),
    (100, 10, Gittins(discount=0.99), 82.8),
    (100, 10, Thompson(), 76.7),
    (100, 10, UCB1(c=0.2), 82.4),
    (100, 10, Greedy(), 77.1),
]


@pytest.mark.parametrize(("pulls", "arms", "agent", "published"), PUBLISHED)
def test_the_published_returns_are_reproduced(pulls, arms, agent, published):
    returns = lifetime_returns(agent, ENV_ID, paper(pulls, arms), "test", 4000, 0)[0].sum(axis=1)
    error = math.sqrt(returns.var() / len(returns) + returns.var() / 1000 + 0.1**2 / 12)
    assert returns.mean() == pytest.approx(published, abs=3 * error)


def test_regret_on_dependent_arms_falls_from_ucb_to_gittins_as_published():
    # Wang et al. 2016, section 3.1: Gittins below Thompson sampling below UCB, 100 pulls.
    settings = paper(100, 2, kind="dependent-uniform")
    agents = (Gittins(discount=0.99), Thompson(), UCB1(c=1.0))
    means = [lifetime_returns(agent, ENV_ID, settings, "test", 4000, 0)[0].mean() for agent in agents]
    assert means[0] > means[1] + 0.5
    assert means[1] > means[2] + 0.5
