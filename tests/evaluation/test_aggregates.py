"""Suite scores, profiles and differences of agents: by hand, against rliable, and against brute force."""

import dataclasses
import json
import math
import sys

import numpy as np
import pytest
import scipy.stats

from daytwo.evaluation import aggregates
from daytwo.evaluation.statistics import Estimate, bootstrap_weights
from tests.evaluation.simulated import noisy
from tests.evaluation.synthetic import make_result

metrics = pytest.importorskip("rliable.metrics")

NAN = math.nan
MEANS = (0.2, 0.4, 0.5, 0.9, 0.3)
ENVIRONMENTS = tuple(f"family-{k}" for k in range(len(MEANS)))


def run(g, env, **changes):
    """A result and its amnesiac twin, whose g is 0."""
    result = make_result(g, env_id=env, **changes)
    return result, make_result(np.zeros_like(result.normalized), env_id=env, **{**changes, "memory": "wiped"})


def certain(means=MEANS, **changes):
    """A suite without any scatter, one training seed."""
    suite = zip(ENVIRONMENTS, means, strict=False)
    return {env: [run(np.full((4, 2), mean), env, **changes)] for env, mean in suite}


def scattered(means=MEANS, lifetimes=50, spread=0.3, seeds=1, start=0, **changes):
    """A suite with scatter: environment -> one pair of result and twin per training seed."""
    return {
        env: [run(noisy([mean] * 2, lifetimes, spread, seed=start + 100 * k + s), env, **changes) for s in range(seeds)]
        for k, (env, mean) in enumerate(zip(ENVIRONMENTS, means, strict=False))
    }


def width(one):
    return one.high - one.low


@pytest.fixture
def seeded_rliable(monkeypatch):
    """Rliable draws from NumPy's global generator."""
    monkeypatch.setattr(np.random, "choice", np.random.default_rng(0).choice)
    import rliable.library

    return rliable.library


# --- suite scores ---------------------------------------------------------------------------------------------------


def test_the_suite_score_is_the_interquartile_mean_over_environments():
    scores = aggregates.suite_score(certain())
    assert scores.environments == ENVIRONMENTS and scores.training_seeds == 1 and scores.agent == "someone"
    middle = (0.3 + 0.4 + 0.5) / 3  # of five, the lowest and the highest are cut off
    assert (scores.area.value, scores.area.low, scores.area.high) == pytest.approx((middle,) * 3)
    assert scores.mean.value == pytest.approx(0.46) and scores.median.value == pytest.approx(0.4)
    assert scores.optimality_gap.value == pytest.approx(0.54)
    assert scores.twin_area.value == 0.0 and scores.learning.value == pytest.approx(middle)
    assert [one.area.value for one in scores.by_environment] == pytest.approx(MEANS)


def test_the_suite_score_of_training_seeds_cuts_off_seeds_and_environments_alike():
    suite = {
        env: [run(np.full((4, 2), mean + d), env) for d in (0.0, 0.04)]
        for env, mean in zip("ab", (0.1, 0.5), strict=True)
    }
    scores = aggregates.suite_score(suite)
    assert scores.training_seeds == 2
    assert scores.area.value == pytest.approx((0.14 + 0.5) / 2)
    assert scores.median.value == pytest.approx((0.12 + 0.52) / 2)
    assert [one.area.value for one in scores.by_environment] == pytest.approx([0.12, 0.52])
    assert scores.area.low == pytest.approx((0.1 + 0.5) / 2) and scores.area.high == pytest.approx((0.14 + 0.54) / 2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (1, 4), (1, 11), (3, 11), (5, 2)])
def test_statistics_of_many_matrices_at_once_are_rliables(shape):
    samples = np.random.default_rng(0).normal(0.7, 0.5, (20, *shape))
    for name, of_samples in aggregates._STATISTICS.values():
        expected = [getattr(metrics, name)(matrix) for matrix in samples]
        np.testing.assert_allclose(of_samples(samples), expected, err_msg=name)


def test_the_interquartile_mean_of_an_unknown_entry_is_unknown():
    samples = np.ones((2, 1, 8))
    samples[1, 0, 3] = NAN
    np.testing.assert_array_equal(aggregates.interquartile_means(samples), [1.0, NAN])


def test_the_interval_of_the_suite_score_agrees_with_rliables(seeded_rliable):
    suite = scattered(lifetimes=60)
    matrix = np.array([suite[env][0][0].normalized.mean(axis=1) for env in ENVIRONMENTS]).T

    def aggregate(runs):
        means = runs.mean(axis=0, keepdims=True)
        return np.array([metrics.aggregate_iqm(means), metrics.aggregate_mean(means)])

    values, ends = seeded_rliable.get_interval_estimates({"x": matrix}, aggregate, reps=2000)
    scores = aggregates.suite_score(suite)
    for k, found in enumerate((scores.area, scores.mean)):
        low, high = ends["x"][:, k]
        assert found.value == pytest.approx(values["x"][k])
        assert found.low == pytest.approx(low, abs=0.08 * (high - low))
        assert found.high == pytest.approx(high, abs=0.08 * (high - low))


def test_learning_is_held_against_twin_and_rung_on_every_environment():
    suite = certain()
    scores = aggregates.suite_score(suite, best_memoryless={ENVIRONMENTS[1]: 0.3, ENVIRONMENTS[2]: 0.35})
    middle = (0.2 + 0.15 + 0.3) / 3  # 0.2, 0.1, 0.15, 0.9, 0.3 above what is known without learning
    assert scores.learning.value == pytest.approx(middle)
    bounds = [one.learning_bound for one in scores.by_environment]
    assert bounds == ["twin", "memoryless", "memoryless", "twin", "twin"]
    assert [one.memoryless for one in scores.by_environment] == pytest.approx([0.0, 0.3, 0.35, 0.0, 0.0])
    own = aggregates.suite_score(certain(memoryless=(0.1,)))
    assert own.learning.value == pytest.approx(0.3) and own.notes == ()
    (note,) = scores.notes
    assert "no memoryless rung was measured: family-0 (level 0), family-3 (level 0), family-4 (level 0)" in note


def test_agent_and_twin_of_the_same_lifetimes_are_paired():
    suite = {}
    for env, pairs in scattered(spread=1.0).items():
        result = pairs[0][0]
        suite[env] = [(result, dataclasses.replace(result, memory="wiped", normalized=result.normalized - 0.25))]
    scores = aggregates.suite_score(suite, best_memoryless=dict.fromkeys(ENVIRONMENTS, -9.0))
    assert scores.learning.value == pytest.approx(0.25) and width(scores.learning) < 1e-12
    for env, ((result, twin),) in suite.items():
        suite[env] = [(result, dataclasses.replace(twin, seed=1))]
    apart = aggregates.suite_score(suite, best_memoryless=dict.fromkeys(ENVIRONMENTS, -9.0))
    assert apart.learning.value == pytest.approx(0.25) and width(apart.learning) > 0.05


def test_lifetimes_are_resampled_jointly_over_environments():
    """Those of one seed share their luck: where it is the same everywhere, nothing averages out."""
    g = noisy([0.5] * 2, 50, 1.0)
    same = {env: [run(g, env)] for env in ENVIRONMENTS}
    one = aggregates.suite_score({"family-0": same["family-0"]}).mean
    assert width(aggregates.suite_score(same).mean) == pytest.approx(width(one))
    apart = {env: [run(noisy([0.5] * 2, 50, 1.0, seed=k), env)] for k, env in enumerate(ENVIRONMENTS)}
    assert width(aggregates.suite_score(apart).mean) == pytest.approx(width(one) / math.sqrt(len(MEANS)), rel=0.25)


def test_training_seeds_are_part_of_the_scatter():
    lucky = {
        env: [run(noisy([mean], 200, 0.1, seed), env) for seed, mean in enumerate((0.2, 0.5, 0.8))] for env in "ab"
    }
    together = {env: [run(noisy([0.5], 200, 0.1, seed), env) for seed in range(3)] for env in "ab"}
    assert width(aggregates.suite_score(lucky).mean) > 5 * width(aggregates.suite_score(together).mean)


def test_the_deficit_of_the_worst_stage_of_all_environments_is_told():
    suite = scattered(lifetimes=200)
    assert not aggregates.suite_score(suite).deficit_flagged
    suite["family-3"] = [run(noisy([-0.3, 0.9], 200), "family-3")]
    scores = aggregates.suite_score(suite)
    assert scores.deficit_flagged and scores.first_episode_deficit.value == pytest.approx(-0.3, abs=0.1)


def test_one_lifetime_has_a_suite_score_without_an_interval():
    scores = aggregates.suite_score(scattered(lifetimes=1))
    found = (scores.area, scores.learning, scores.mean, scores.median, scores.optimality_gap)
    assert all(math.isfinite(one.value) and math.isnan(one.low) and math.isnan(one.high) for one in found)
    assert not scores.deficit_flagged
    json.dumps(scores.to_dict(), allow_nan=False)


def test_equal_arguments_give_equal_scores_and_the_seed_is_heard():
    suite = scattered(seeds=2)
    assert aggregates.suite_score(suite) == aggregates.suite_score(suite)
    assert aggregates.suite_score(suite) != aggregates.suite_score(suite, seed=1)


def test_a_suite_score_over_a_part_of_the_environments_is_refused():
    part = {env: pairs for env, pairs in certain().items() if env not in ("family-1", "family-4")}
    with pytest.raises(ValueError, match="someone lacks family-1, family-4"):
        aggregates.suite_score(part, environments=ENVIRONMENTS)
    with pytest.raises(ValueError, match="someone has family-3 beyond them"):
        aggregates.suite_score(part, environments=("family-0", "family-2"))
    assert aggregates.suite_score(part).environments == ("family-0", "family-2", "family-3")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda suite: suite.clear(), "at least one environment"),
        (
            lambda suite: suite["family-1"].clear(),
            r"same number of them everywhere, received \{'family-0': 1, 'family-1': 0",
        ),
        (lambda suite: suite["family-1"].append(suite["family-1"][0]), "same number of them everywhere"),
        (
            lambda suite: suite.update({"family-1": certain(agent="else")["family-1"]}),
            "0 of family-1 must share the agent",
        ),
        (lambda suite: suite.update({"family-1": [suite["family-1"][0][::-1]]}), "must have memory='kept'"),
        (
            lambda suite: suite.update({"family-1": [(suite["family-1"][0][0],) * 2]}),
            "twin of .* must have memory='wiped'",
        ),
    ],
)
def test_a_suite_of_what_does_not_belong_together_is_refused(change, message):
    suite = certain()
    change(suite)
    with pytest.raises(ValueError, match=message):
        aggregates.suite_score(suite)


def test_training_seeds_under_other_settings_are_refused():
    pairs = [run(np.zeros((4, 2)), "a", settings={"course": name}) for name in ("single", "progressive")]
    with pytest.raises(ValueError, match="Result 1 of a must share the settings"):
        aggregates.suite_score({"a": pairs})


@pytest.mark.parametrize("module", ["rliable", "arch"])
def test_without_rliable_it_is_said_what_to_install(module, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("rliable", module)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"Suite scores need {module}: pip install 'daytwo\[report\]'"):
        aggregates.performance_profile({"a": {"x": np.zeros(3)}}, [0.5])


# --- tags -----------------------------------------------------------------------------------------------------------


def test_tags_average_over_the_environments_that_have_them():
    tags = [("memory",), ("memory", "planning"), (), ("planning",), ("exploration",)]
    suite = {
        env: [run(np.full((4, 2), mean), env, tags=some)]
        for env, mean, some in zip(ENVIRONMENTS, MEANS, tags, strict=True)
    }
    found = aggregates.by_tag(suite)
    assert list(found) == ["exploration", "memory", "planning"]
    assert [one.value for one in found.values()] == pytest.approx([0.3, 0.3, 0.65])
    assert found["memory"].low == pytest.approx(0.3) == found["memory"].high
    assert aggregates.by_tag(suite, of="learning")["planning"].value == pytest.approx(0.65)
    assert aggregates.by_tag(certain()) == {}
    with pytest.raises(ValueError, match="of must be 'area' or 'learning', received 'regret'"):
        aggregates.by_tag(suite, of="regret")


# --- differences ----------------------------------------------------------------------------------------------------


def test_agents_of_the_same_lifetimes_are_paired_and_others_say_that_they_are_not():
    g = noisy([0.5, 0.5], 100, 1.0)
    result = make_result(g)
    other = make_result(g - 0.1 + noisy([0.0, 0.0], 100, 0.01, seed=1), agent="else")
    found = aggregates.paired_difference(result, other)
    assert (found.agent, found.other, found.paired, found.notes) == ("someone", "else", True, ())
    assert found.area.value == pytest.approx(0.1, abs=0.01) and width(found.area) < 0.01
    apart = aggregates.paired_difference(result, dataclasses.replace(other, seed=7))
    assert apart.area.value == found.area.value and width(apart.area) > 0.2
    assert not apart.paired and apart.notes == ("not paired: 100 lifetimes of seed 0 against 100 of seed 7",)
    fewer = aggregates.paired_difference(result, make_result(g[:60], agent="else"))
    assert not fewer.paired and fewer.notes == ("not paired: 100 lifetimes of seed 0 against 60 of seed 0",)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "change", [{"env_id": "x"}, {"settings": {"course": "x"}}, {"split": "train"}, {"task": "redrawn"}]
)
def test_differences_across_environments_and_conditions_are_refused(change):
    result = make_result(noisy([0.5], 10))
    with pytest.raises(ValueError, match=r"other must (share|have)"):
        aggregates.paired_difference(result, dataclasses.replace(result, **change))


def test_a_difference_of_suites_is_that_of_their_scores():
    ones, others = scattered(), scattered([mean - 0.1 for mean in MEANS[::-1]], start=50, agent="else")
    found = aggregates.suite_difference(ones, dict(reversed(others.items())))
    scores = [aggregates.suite_score(suite) for suite in (ones, others)]
    for name in ("area", "learning", "mean"):
        assert getattr(found, name).value == pytest.approx(
            getattr(scores[0], name).value - getattr(scores[1], name).value
        )
    for env, one in found.by_environment.items():
        expected = aggregates.paired_difference(ones[env][0][0], others[env][0][0]).area
        assert one.value == pytest.approx(expected.value) and width(one) == pytest.approx(width(expected), rel=0.15)
    assert (found.agent, found.other, found.paired) == ("someone", "else", True)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_difference_of_suites_is_paired_where_lifetimes_are_shared():
    ones = scattered(spread=1.0)
    same = {
        env: [
            (dataclasses.replace(r, agent="else", normalized=r.normalized - 0.1), dataclasses.replace(t, agent="else"))
        ]
        for env, ((r, t),) in ones.items()
    }
    found = aggregates.suite_difference(ones, same)
    assert found.mean.value == pytest.approx(0.1) and width(found.mean) < 1e-12 and found.paired
    apart = {
        env: [tuple(dataclasses.replace(one, seed=3) for one in pair) for pair in pairs] for env, pairs in same.items()
    }
    found = aggregates.suite_difference(ones, apart)
    assert found.mean.value == pytest.approx(0.1) and width(found.mean) > 0.1 and not found.paired
    assert found.notes[0] == "family-0: not paired: 50 lifetimes of seed 0 against 50 of seed 3"


def test_training_seeds_of_two_agents_are_not_paired():
    lucky = {"a": [run(noisy([mean], 200, 0.1, seed), "a") for seed, mean in enumerate((0.2, 0.5, 0.8))]}
    assert width(aggregates.suite_difference(lucky, lucky).mean) > 1.2 * width(aggregates.suite_score(lucky).mean)


def test_suites_of_other_environments_are_not_compared():
    with pytest.raises(ValueError, match=r"same environments only \(family-0, .*\): else lacks family-4"):
        aggregates.suite_difference(certain(), certain(MEANS[:4], agent="else"))
    with pytest.raises(ValueError, match="else on family-0 must share the settings"):
        aggregates.suite_difference(certain(), certain(agent="else", settings={"course": "x"}))


# --- distributions over lifetimes -----------------------------------------------------------------------------------


def test_lifetime_areas_have_training_seeds_and_lifetimes():
    suite = scattered(lifetimes=7, seeds=2)
    found = aggregates.lifetime_areas(suite)
    assert found["family-1"].shape == (2, 7)
    np.testing.assert_allclose(found["family-1"][1], suite["family-1"][1][0].normalized.mean(axis=1))
    ragged = {"a": [run(noisy([0.5], n), "a") for n in (5, 6)]}
    with pytest.raises(ValueError, match=r"equally many lifetimes, received \[5, 6\]"):
        aggregates.lifetime_areas(ragged)


def test_a_profile_is_the_share_of_lifetimes_above_each_threshold():
    areas = {"x": {"a": np.array([0.1, 0.4, 0.5, 0.9]), "b": np.array([0.5, 0.6])}}
    profile = aggregates.performance_profile(areas, [0.0, 0.4, 0.5, 1.0])["x"]
    np.testing.assert_allclose(profile[0], [1.0, (0.5 + 1.0) / 2, (0.25 + 0.5) / 2, 0.0])
    assert (profile[1] <= profile[0]).all() and (profile[0] <= profile[2]).all()


def test_a_profile_and_its_interval_agree_with_rliables(seeded_rliable):
    rng = np.random.default_rng(1)
    matrices = {agent: rng.normal(mean, 0.3, (60, 3)) for agent, mean in (("x", 0.4), ("y", 0.6))}
    taus = np.array([0.2, 0.5, 0.8])
    values, ends = seeded_rliable.create_performance_profile(matrices, taus, reps=2000)
    areas = {agent: dict(zip("abc", matrix.T, strict=True)) for agent, matrix in matrices.items()}
    for agent, profile in aggregates.performance_profile(areas, taus).items():
        np.testing.assert_allclose(profile[0], values[agent])
        np.testing.assert_allclose(profile[1:], ends[agent], atol=0.012)


def test_a_profile_counts_training_seeds_as_scatter():
    luck = np.repeat([[0.2], [0.8]], 100, axis=1)
    profile = aggregates.performance_profile({"x": {"a": luck + 0.0}}, [0.5])["x"]
    np.testing.assert_allclose(profile[:, 0], [0.5, 0.0, 1.0])
    pooled = aggregates.performance_profile({"x": {"a": luck.ravel()}}, [0.5])["x"]
    assert 0.4 < pooled[1, 0] < 0.5 < pooled[2, 0] < 0.6


def test_profiles_over_other_environments_are_not_compared():
    with pytest.raises(ValueError, match="y lacks b"):
        aggregates.performance_profile({"x": {"a": np.ones(3), "b": np.ones(3)}, "y": {"a": np.ones(3)}}, [0.5])


@pytest.mark.parametrize("areas", [np.array([0.1, NAN]), np.zeros((2, 2, 2)), np.array([])])
def test_areas_that_are_none_are_refused(areas):
    with pytest.raises(ValueError, match=r"areas on a must be finite numbers with the axes \[lifetimes\]"):
        aggregates.performance_profile({"x": {"a": areas}}, [0.5])


def test_the_probability_of_improvement_counts_pairs_of_lifetimes_and_half_of_the_ties():
    ones, others = {"a": np.array([0.1, 0.5, 0.9])}, {"a": np.array([0.1, 0.2, 0.9])}
    found = aggregates.probability_of_improvement(ones, others)
    assert found.probability.value == pytest.approx((0.5 + 2.0 + 2.5) / 9)
    assert found.same_lifetime.value == pytest.approx((0.5 + 1.0 + 0.5) / 3)
    unpaired = aggregates.probability_of_improvement(ones, {"a": np.array([0.1, 0.2])}, paired=False)
    assert unpaired.probability.value == pytest.approx((0.5 + 2.0 + 2.0) / 6)
    assert unpaired.same_lifetime is None and not unpaired.paired


def test_the_probability_of_improvement_averages_environments_and_is_rliables():
    rng = np.random.default_rng(2)
    ones, others = rng.normal(0.5, 0.3, (40, 3)), rng.normal(0.4, 0.3, (40, 3))
    found = aggregates.probability_of_improvement(
        dict(zip("abc", ones.T, strict=True)), dict(zip("abc", others.T, strict=True))
    )
    assert found.probability.value == pytest.approx(metrics.probability_of_improvement(ones, others))
    assert found.probability.value == pytest.approx(np.mean([one.value for one in found.by_environment.values()]))


def test_the_interval_of_the_probability_of_improvement_is_that_of_brute_force():
    rng = np.random.default_rng(3)
    luck = rng.normal(0.0, 0.3, 25)
    one, other = luck + rng.normal(0.05, 0.1, 25), luck + rng.normal(0.0, 0.1, 25)
    found = aggregates.probability_of_improvement({"a": one}, {"a": other}, resamples=200)
    weights = bootstrap_weights(25, resamples=200, seed=aggregates._hashed(0)).astype(int)
    drawn = [np.repeat(np.arange(25), row) for row in weights]
    statistic = lambda x, y: scipy.stats.mannwhitneyu(x, y).statistic / len(x) / len(y)  # noqa: E731
    expected = [statistic(one[rows], other[rows]) for rows in drawn]
    ends = np.quantile(expected, [0.025, 0.975])
    assert (found.probability.low, found.probability.high) == pytest.approx(tuple(ends))
    same = np.quantile([np.mean(one[rows] > other[rows]) for rows in drawn], [0.025, 0.975])
    assert (found.same_lifetime.low, found.same_lifetime.high) == pytest.approx(tuple(same))


def test_pairing_narrows_the_probability_of_improvement():
    rng = np.random.default_rng(4)
    luck = rng.normal(0.0, 1.0, 80)
    ones, others = {"a": luck + rng.normal(0.2, 0.1, 80)}, {"a": luck + rng.normal(0.0, 0.1, 80)}
    paired = aggregates.probability_of_improvement(ones, others)
    unpaired = aggregates.probability_of_improvement(ones, others, paired=False)
    assert paired.probability.value == unpaired.probability.value
    assert width(paired.probability) < 0.5 * width(unpaired.probability)
    assert paired.same_lifetime.low > 0.8  # in nearly every lifetime, though only little over half of all pairs


def test_training_seeds_widen_the_probability_of_improvement():
    rng = np.random.default_rng(5)
    others = {"a": rng.normal(0.5, 0.1, 60)}
    lucky = {"a": np.stack([rng.normal(mean, 0.1, 60) for mean in (0.3, 0.5, 0.7)])}
    found = aggregates.probability_of_improvement(lucky, others)
    expected = np.mean(
        [aggregates.probability_of_improvement({"a": row}, others).probability.value for row in lucky["a"]]
    )
    assert found.probability.value == pytest.approx(expected)
    assert width(found.probability) > 0.3


def test_improvement_of_agents_that_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="the other lacks b"):
        aggregates.probability_of_improvement({"a": np.ones(3), "b": np.ones(3)}, {"a": np.ones(3)})
    with pytest.raises(ValueError, match="same lifetimes, received 3 and 4 on a; hand in paired=False"):
        aggregates.probability_of_improvement({"a": np.ones(3)}, {"a": np.ones(4)})


def test_equals_improve_on_each_other_half_of_the_time():
    found = aggregates.probability_of_improvement({"a": np.ones(5)}, {"a": np.ones(5)})
    assert found.probability == Estimate(0.5, 0.5, 0.5) == found.same_lifetime
    one = aggregates.probability_of_improvement({"a": np.ones(1)}, {"a": np.zeros(1)})
    assert one.probability.value == 1.0 and math.isnan(one.probability.low) and math.isnan(one.same_lifetime.low)


def test_a_difference_and_an_improvement_seen_from_the_other_side_are_the_same():
    ones, others = scattered(), scattered(start=7, agent="other")
    one, other = aggregates.suite_difference(ones, others), aggregates.suite_difference(others, ones)
    assert one.mirrored().area.value == pytest.approx(other.area.value)
    assert (one.mirrored().area.low, one.mirrored().area.high) == pytest.approx((other.area.low, other.area.high))
    assert (one.mirrored().agent, one.mirrored().other) == (other.agent, other.other)
    first, second = (aggregates.lifetime_areas(one) for one in (ones, others))
    there = aggregates.probability_of_improvement(first, second)
    back = aggregates.probability_of_improvement(second, first)
    assert there.mirrored().probability.value == pytest.approx(back.probability.value)
    assert there.mirrored().probability.low == pytest.approx(back.probability.low)
