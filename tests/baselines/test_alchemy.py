"""Alchemy's agents: an exact posterior, a dynamic programme that holds up, and learners that learn in all courses."""

import dataclasses
import functools

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.baselines.alchemy import AlchemyBlind, AlchemyHeuristic, blind_plan
from daytwo.baselines.alchemy_observer import AlchemyObserver, all_graphs, all_maps, make_tables
from daytwo.calibration import ReferenceReturns
from daytwo.envs.alchemy import PUBLISHED, Alchemy
from daytwo.evaluation import evaluate

# Measured over 65,536 tasks (`daytwo.calibration.measure`), so that the tests need not measure them again.
RETURNS = ReferenceReturns.given([0.137, 0.288, 1.75], [12.80, 16.49, 28.85])
SIGNS = np.array([[2 * (vertex >> k & 1) - 1 for k in range(3)] for vertex in range(8)])


@functools.cache
def curve(agent=AlchemyObserver, lifetimes=300, **options):
    """Mean normalised return by episode."""
    return evaluate(agent, Alchemy, lifetimes=lifetimes, seed=2, reference_returns=RETURNS, **options).normalized.mean(
        axis=0
    )


@functools.cache
def as_seen(look, rotation):
    """The aligned vertex that looks like this under a rotation, or None."""
    for vertex, a in enumerate(SIGNS.tolist()):
        seen = [
            a,
            [(a[0] - a[1]) / 2, (a[0] + a[1]) / 2, a[2]],
            [(a[0] + a[2]) / 2, a[1], (a[2] - a[0]) / 2],
            [a[0], (a[1] - a[2]) / 2, (a[1] + a[2]) / 2],
        ][rotation]
        if tuple(seen) == look:
            return vertex
    return None


class EveryChemistry:
    """The posterior of one lifetime, by asking of every chemistry whether it would have shown what was seen."""

    def __init__(self):
        graphs, maps = np.array(all_graphs()), all_maps()
        sizes = np.abs(graphs).sum(axis=(1, 2))
        self.prior = 1.0 / np.array([1, 12, 48, 48])[sizes]
        self.axes, self.ways = np.array([m[0] for m in maps]), np.array([m[1] for m in maps])
        # Which graphs let a stone move from a vertex along an axis, by the definition: bool[graph, vertex, axis].
        self.open_ways = ((graphs[:, None] == 0) | (graphs[:, None] == SIGNS[:, None, :][None])).all(axis=3)
        self.possible = np.ones((4, 48, 109, 8), dtype=bool)
        self.turned = False

    def see(self, level, stones, dip):
        """Stones as (look, glow), and the last dip as (look before, look after, colour), or None."""
        if level == 2 and not self.turned:
            self.turned = True
            self.possible[1:] = self.possible[:1]
        for r in range(4 if self.turned else 1):
            frame = r if level == 2 else 0
            for look, glow in stones:
                vertex = as_seen(look, frame)
                for flips in range(8):
                    # Bit k set: axis k is turned round.
                    if vertex is None or (SIGNS[vertex] * -SIGNS[flips]).sum() != glow:
                        self.possible[r, :, :, flips] = False
            if dip is None:
                continue
            before, after = as_seen(dip[0], frame), as_seen(dip[1], frame)
            for h in range(48 if before is not None else 0):
                axis = self.axes[h, dip[2] // 2]
                towards = (2 * (dip[2] % 2) - 1) * self.ways[h, axis]
                moves = (SIGNS[before, axis] == -towards) & (self.open_ways[:, before, axis] | (level == 0))
                self.possible[r, h] &= (np.where(moves, before ^ 1 << axis, before) == after)[:, None]

    def posterior(self):
        belief = self.possible * self.prior[:, None]
        if not self.turned:
            belief[1:] = 0
        return belief / belief.sum()


def test_the_posterior_is_exact():
    lanes, seeds = 6, np.arange(6, dtype=np.uint64)
    env = daytwo.LifetimeVectorEnv(
        Alchemy, lanes, split="all", course="progressive", episodes=2, autoreset_mode=AutoresetMode.DISABLED,
        reference_returns=RETURNS,
    )  # fmt: skip
    agent = AlchemyObserver(worlds=64)
    observations, _ = env.reset(seed=seeds)
    agent.begin(env.lifetime_spec, seeds)
    assert np.array_equal(make_tables().passable.astype(bool), EveryChemistry().open_ways)
    slow = [EveryChemistry() for _ in range(lanes)]
    boundaries, steps = {0, 4, 8, 12, 16, 36}, 8 + 8 + 40
    before = actions = None
    for time in range(steps):
        level = 0 if time < 8 else 1 if time < 16 else 2
        for i, row in enumerate(observations):
            live = [s for s in range(3) if row[5 * s + 4] < 0.5]
            stones = [(tuple(row[5 * s : 5 * s + 3].tolist()), round(3 * row[5 * s + 3])) for s in live]
            dip = None
            if time not in boundaries and actions[i] > 0 and (actions[i] - 1) % 13 > 0:
                s, p = (actions[i] - 1) // 13, (actions[i] - 1) % 13 - 1
                looks = [tuple(seen[5 * s : 5 * s + 3].tolist()) for seen in (before[i], row)]
                dip = (*looks, round(3 * before[i, 15 + 2 * p] + 3))
            slow[i].see(level, stones, dip)
        actions = agent.act(observations, np.full(lanes, time == 0))
        for i in range(lanes):
            np.testing.assert_allclose(agent.posterior(i), slow[i].posterior(), atol=1e-12)
        before = observations.copy()
        observations, *_ = env.step(actions)
    # Much was learnt, so this was no comparison of priors (the most probable of 167,424 had 1/192/48/8/4).
    assert np.mean([agent.posterior(i).max() for i in range(lanes)]) > 0.3


def test_the_known_chemistry_is_searched_as_the_oracle_searches_it():
    """With nothing left to learn the observer's returns are the oracle's, lifetime by lifetime."""
    options = {"course": "single", "level": 2, "lifetimes": 60, "reference_returns": RETURNS}
    ours = evaluate(AlchemyObserver(), Alchemy, **options).returns[:, 6:]
    best = evaluate("oracle", Alchemy, **options).returns[:, 6:]
    assert (ours <= best).all()
    assert (ours == best).mean() > 0.99


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # The mean normalised return in trials 1, 2, 3, 5, 10; standard errors up to .03.
        (0, (0.46, 0.86, 0.98, 1.00, 1.00)),
        (1, (0.50, 0.74, 0.85, 0.97, 1.00)),
        (2, (0.86, 0.97, 0.99, 1.00, 1.00)),
    ],
)
def test_the_observer_adapts_and_its_amnesiac_twin_does_not(level, expected):
    adapted = curve(course="single", level=level)
    assert adapted[[0, 1, 2, 4, 9]] == pytest.approx(expected, abs=0.11)
    assert adapted[5:].mean() == pytest.approx(1.0, abs=0.04)
    wiped = curve(course="single", level=level, memory="wiped", episodes=2)
    blind = curve(agent=AlchemyBlind, course="single", level=level)
    assert wiped.mean() < expected[0] + 0.07
    assert blind.mean() < expected[0] + 0.07
    if level < 2:
        assert adapted[9] > max(wiped.mean(), blind.mean()) + 0.3


def test_lower_levels_pay_at_higher_ones_and_other_chemistries_do_not():
    known, other = curve(course="progressive", episodes=4), curve(course="isolated", episodes=4)
    assert known[4] > other[4] + 0.2
    assert known[8] > other[8] + 0.1
    assert other[4] == pytest.approx(0.5, abs=0.1)


def test_a_changed_chemistry_is_noticed_and_learnt_anew():
    switched = curve(course="switch", level=0, episodes=12)
    assert switched[4:6].mean() > 0.94
    assert switched[6] < 0.6
    assert switched[9:].mean() > 0.94
    redrawn = curve(course="single", level=0, task="redrawn")
    assert redrawn.mean() < curve(course="single", level=0)[0] + 0.05


def test_the_published_ideal_observer_is_approached():
    result = evaluate(
        AlchemyObserver(worlds=128), Alchemy, lifetimes=300, split="all", reference_returns=RETURNS, **PUBLISHED
    )
    totals = result.returns.sum(axis=1)
    assert totals.mean() > 284.4 - 2.5 * np.hypot(1.6, totals.std() / 300**0.5)
    assert totals.mean() > 155.4 + 100  # V-MPO


def test_the_blind_plan_is_worth_what_simulated_potions_pay_and_the_rest_is_worth_less():
    """Twelve draws with replacement, as the plan supposes, simulated apart from the environment."""
    horizon, edges = 20, 0.8
    plan = blind_plan(horizon=horizon, open_edges=edges)
    worth = np.array([-3, -1, 1, 15])
    totals = {}
    for name in ("plan", "cash at once", "dip all"):
        rng = np.random.default_rng(0)
        totals[name] = []
        for _ in range(2000):
            stones, potions, total = [int(g) for g in rng.binomial(3, 0.5, 3)], 12, 0
            for left in range(horizon, 0, -1):
                choice = int(plan[left, potions, stones[0], stones[1], stones[2]])
                live = [s for s in range(3) if stones[s] < 4]
                if name == "cash at once":
                    choice = next((s for s in live if stones[s] > 1), 6)
                elif name == "dip all":
                    poor = [s for s in live if stones[s] < 3]
                    good = [s for s in live if stones[s] > 1]
                    choice = 3 + int(rng.choice(poor)) if poor and potions else good[0] if good else 6
                if choice < 3:
                    total += worth[stones[choice]]
                    stones[choice] = 4
                elif choice < 6:
                    draw, good = int(rng.integers(6)), stones[choice - 3]
                    potions -= 1
                    if rng.random() < edges:
                        stones[choice - 3] += (draw >= good and draw < 3) - (draw >= 3 and draw - 3 < good)
            totals[name].append(total)
    error = np.std(totals["plan"]) / 2000**0.5
    assert np.mean(totals["plan"]) > np.mean(totals["dip all"]) + 2 * error
    assert np.mean(totals["plan"]) > np.mean(totals["cash at once"]) + 2 * error
    assert (plan[1, :, 3, 4, 4] == 0).all()  # in the last step a best stone is cashed
    assert (plan[5, 0, 0, 1, 4] == 6).all()  # without potions nothing is made of bad stones


def test_the_heuristic_dips_before_it_cashes_and_cashes_no_bad_stone():
    env = daytwo.LifetimeVectorEnv(
        Alchemy, 512, course="single", level=2, episodes=1, autoreset_mode=AutoresetMode.DISABLED,
        reference_returns=RETURNS, split="all",
    )  # fmt: skip
    seeds = np.arange(512, dtype=np.uint64)
    observations, _ = env.reset(seed=seeds)
    agent = AlchemyHeuristic()
    agent.begin(env.lifetime_spec, seeds)
    cashed = np.zeros(512, dtype=bool)
    slots = np.zeros(40, dtype=int)
    for time in range(20):
        actions = agent.act(observations, np.full(512, time == 0))
        dips = (actions > 0) & ((actions - 1) % 13 > 0)
        slots += np.bincount(actions[dips], minlength=40) if time == 0 else 0
        assert not (dips & cashed).any()
        cashed |= (actions > 0) & ~dips
        potions = (observations[:, 16:39:2] < 0.5).any(axis=1)
        stones = observations[:, :15].reshape(-1, 3, 5)
        poor = ((stones[:, :, 4] < 0.5) & (stones[:, :, 3] < 0.9)).any(axis=1)
        assert np.array_equal(dips, potions & poor)
        observations, _, _, _, info = env.step(actions)
        assert info["raw_reward"].min() >= 0
    assert (slots > 0).sum() == 36
    left = observations[:, :15].reshape(-1, 3, 5)
    assert not ((left[:, :, 4] < 0.5) & (left[:, :, 3] > 0)).any()


def test_results_do_not_depend_on_the_batch():
    for agent in (AlchemyObserver, AlchemyBlind, AlchemyHeuristic):
        options = {"lifetimes": 12, "episodes": 2, "reference_returns": RETURNS}
        whole = evaluate(agent(), Alchemy, **options)
        parts = evaluate(agent(), Alchemy, num_envs=5, **options)
        assert np.array_equal(whole.returns, parts.returns)


def test_the_observer_acts_alike_compiled_and_interpreted():
    options = {"lifetimes": 1, "episodes": 1, "horizon": (3, 4, 4), "reference_returns": RETURNS}
    runs = [evaluate(AlchemyObserver(worlds=24), Alchemy, compiled=compiled, **options) for compiled in (True, False)]
    assert np.array_equal(runs[0].returns, runs[1].returns)


def test_agents_say_what_they_fit():
    spec = daytwo.LifetimeVectorEnv(Alchemy, 1, reference_returns=RETURNS).lifetime_spec
    for agent in (AlchemyObserver, AlchemyBlind, AlchemyHeuristic):
        assert agent.fits(spec)
        assert not agent.fits(dataclasses.replace(spec, family="Bandit"))
    hidden = daytwo.LifetimeVectorEnv(Alchemy, 1, reference_returns=RETURNS, show=("episode_start",)).lifetime_spec
    assert not AlchemyObserver.fits(hidden)
    assert not AlchemyBlind.fits(hidden)
    with pytest.raises(ValueError, match="worlds must be an integer"):
        AlchemyObserver(worlds=0)
    with pytest.raises(ValueError, match="colour must be"):
        AlchemyBlind(colour="red")
