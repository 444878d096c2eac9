"""The metrics, against values worked out by hand and against the theory of the mean."""

import dataclasses
import json
import math

import numpy as np
import pytest

from daytwo.evaluation import metrics, statistics
from daytwo.evaluation.scoring import score
from daytwo.evaluation.statistics import Estimate, bootstrap_weights
from tests.evaluation.synthetic import make_result

NAN = math.nan
G = np.array([[0.0, 0.5, 1.0], [0.2, 0.4, 0.6], [0.1, NAN, NAN]])


def noisy(mean, lifetimes=400, spread=0.3, seed=0):
    """``g[lifetimes, episodes]`` whose columns scatter around ``mean``."""
    rng = np.random.default_rng(seed)
    return np.asarray(mean) + spread * rng.standard_normal((lifetimes, len(mean)))


def test_metrics_of_each_lifetime():
    np.testing.assert_allclose(metrics.area(G), [0.5, 0.4, 0.1])
    np.testing.assert_allclose(metrics.first(G), [0.0, 0.2, 0.1])
    np.testing.assert_allclose(metrics.final(G), [1.0, 0.6, 0.1])
    np.testing.assert_allclose(metrics.gain(G), [1.0, 0.4, 0.0])
    np.testing.assert_allclose(metrics.regret(G), [1.5, 1.8, 0.9])
    np.testing.assert_allclose(metrics.simple_regret(G), [0.0, 0.4, 0.9])
    np.testing.assert_allclose(metrics.mean_curve(G), [0.1, 0.45, 0.8])


def test_a_lifetime_without_episodes_counts_for_nothing():
    g = np.array([[NAN, NAN], [0.2, 0.4]])
    assert np.isnan(metrics.area(g)[0]) and np.isnan(metrics.final(g)[0]) and np.isnan(metrics.gain(g)[0])
    assert statistics.estimate(metrics.area(g), bootstrap_weights(2)).value == pytest.approx(0.3)


def test_episodes_to_counts_from_one_and_may_be_never():
    curve = np.array([0.1, 0.5, 0.49, 0.95])
    assert metrics.episodes_to(curve, 0.5) == 2
    assert metrics.episodes_to(curve, 0.1) == 1
    assert metrics.episodes_to(curve, 0.9) == 4
    assert metrics.episodes_to(curve, 0.99) == math.inf
    assert metrics.episodes_to(np.array([curve, curve + 0.4]), 0.5).tolist() == [2, 1]


def test_the_interval_of_episodes_to_holds_whole_episodes_or_never():
    g = noisy([0.3, 0.5, 0.7])  # the second episode's mean is at the threshold, so either side of it is likely
    reached = metrics.estimate_episodes_to(g, 0.5, bootstrap_weights(len(g)))
    assert (reached.low, reached.high) == (2, 3)
    never = metrics.estimate_episodes_to(noisy([0.3, 0.5]), 0.5, bootstrap_weights(400))
    assert (never.low, never.high) == (2, math.inf)


def test_weights_are_resamples_of_the_lifetimes():
    weights = bootstrap_weights(50, resamples=300)
    assert weights.shape == (300, 50)
    assert (weights.sum(axis=1) == 50).all() and (weights == weights.astype(int)).all()
    assert abs(weights.mean() - 1) < 1e-12 and abs(weights.var() - 49 / 50) < 0.05
    assert np.array_equal(weights, bootstrap_weights(50, resamples=300))
    assert not np.array_equal(weights, bootstrap_weights(50, resamples=300, seed=1))


def test_strata_are_resampled_within_themselves():
    strata = np.array([0] * 10 + [1] * 30)
    weights = bootstrap_weights(40, resamples=100, strata=strata)
    assert (weights[:, :10].sum(axis=1) == 10).all() and (weights[:, 10:].sum(axis=1) == 30).all()
    g = np.where(strata == 0, 0.0, 1.0)  # all scatter lies between the strata
    assert statistics.estimate(g, weights) == Estimate(0.75, 0.75, 0.75)


def test_intervals_agree_with_the_theory_of_the_mean():
    x = np.random.default_rng(1).standard_normal(500)
    found = statistics.estimate(x, bootstrap_weights(500, resamples=4000))
    half = 1.96 * x.std(ddof=1) / math.sqrt(500)
    assert found.value == pytest.approx(x.mean())
    assert found.low == pytest.approx(x.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(x.mean() + half, abs=0.1 * half)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    weights = bootstrap_weights(100, resamples=1000)
    found = [statistics.estimate(rng.exponential(size=100), weights) for _ in range(400)]
    covered = np.mean([one.low <= 1.0 <= one.high for one in found])
    assert 0.90 < covered < 0.98  # skewed data and percentile intervals: a little below .95


def test_missing_entries_are_left_out_of_resampled_means():
    weights = np.array([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]])
    values = np.array([[1.0, NAN], [4.0, 2.0], [7.0, NAN]])
    np.testing.assert_allclose(statistics.resampled_means(values, weights), [[2.0, 2.0], [7.0, NAN], [4.0, 2.0]])


def test_stages_are_cut_at_their_boundaries():
    stages = np.array([[0, 0, 1, 1, 1], [0, 1, 1, -1, -1]])
    levels = np.where(stages < 0, -1, stages * 2)
    g = np.where(stages < 0, NAN, np.arange(10.0).reshape(2, 5))
    parts = metrics.split_stages(g, stages, levels)
    assert [(part.stage, part.level) for part in parts] == [(0, 0), (1, 2)]
    np.testing.assert_array_equal(parts[0].g, [[0, 1], [5, NAN]])
    np.testing.assert_array_equal(parts[1].g, [[2, 3, 4], [6, 7, NAN]])


def test_shuffled_stages_are_grouped_by_level_so_that_no_metric_mixes_levels():
    stages = np.array([[0, 0, 1, 1]] * 2)
    levels = np.array([[0, 0, 1, 1], [1, 1, 0, 0]])
    parts = metrics.split_stages(np.arange(8.0).reshape(2, 4), stages, levels)
    assert [(part.stage, part.level) for part in parts] == [(-1, 0), (-1, 1)]
    np.testing.assert_array_equal(parts[0].g, [[0, 1], [6, 7]])
    np.testing.assert_array_equal(parts[1].g, [[2, 3], [4, 5]])


def test_score_alone_works_and_says_what_is_missing():
    scores = score(make_result(noisy([0.1, 0.5, 0.95], spread=0.1)))
    assert scores.learning is None and scores.twin_area is None and scores.redrawn is None
    assert any("learning is not available" in note for note in scores.notes)
    assert scores.first.value == pytest.approx(0.1, abs=0.02) and scores.final.value == pytest.approx(0.95, abs=0.02)
    assert scores.gain.value == pytest.approx(scores.final.value - scores.first.value)
    assert scores.area.low < scores.area.value < scores.area.high
    assert scores.stages[0].episodes_to[0.9].value == 3
    assert "learning is not available" in str(scores)


def test_learning_is_area_minus_the_twins():
    g, twin = noisy([0.2, 0.8]), noisy([0.2, 0.2], seed=1)
    scores = score(make_result(g), make_result(twin, memory="wiped"))
    assert scores.learning.value == pytest.approx(g.mean() - twin.mean())
    assert scores.learning.low < 0.3 < scores.learning.high


def test_a_twin_on_the_same_lifetimes_is_paired():
    g = noisy([0.5, 0.5], spread=1.0)
    same = score(make_result(g), make_result(g, memory="wiped"))
    assert same.learning == Estimate(0.0, 0.0, 0.0)  # no scatter at all is left of a difference of equals
    other_seed = score(make_result(g), make_result(g, memory="wiped", seed=1))
    assert other_seed.learning.high - other_seed.learning.low > 0.1
    fewer = score(make_result(g), make_result(g[:300], memory="wiped"))
    assert fewer.learning.high - fewer.learning.low > 0.1


def test_a_twin_that_breaks_when_wiped_is_not_credited_as_learning():
    g, broken = noisy([0.3, 0.3], spread=0.01), noisy([-0.9, -0.9], spread=0.01)
    scores = score(make_result(g), make_result(broken, memory="wiped"))
    assert scores.learning.value == pytest.approx(0.3, abs=0.01)  # against random play, not against -0.9
    scores = score(make_result(g), make_result(broken, memory="wiped"), best_memoryless=0.25)
    assert scores.learning.value == pytest.approx(0.05, abs=0.01)


def test_the_memoryless_rung_is_weighted_by_the_episodes_at_each_level():
    levels = np.array([[0, 1, 1, 1]] * 50)
    result = make_result(noisy([0.5] * 4, lifetimes=50), levels=levels, stages=levels)
    assert score(result, best_memoryless=[0.4, 0.2]).memoryless == pytest.approx(0.25)
    assert score(result, best_memoryless={1: 0.2}).memoryless == pytest.approx(0.15)
    assert score(result, best_memoryless=0.2).memoryless == pytest.approx(0.2)


@pytest.mark.parametrize("mean, exceeds", [(0.2, False), (0.1, False), (0.4, True)])
def test_the_redrawn_control_is_one_sided(mean, exceeds):
    result = make_result(noisy([0.2, 0.9]))
    twin = make_result(noisy([0.2, 0.2], seed=1), memory="wiped")
    redrawn = make_result(noisy([mean, mean], seed=2), task="redrawn")
    control = score(result, twin, redrawn).redrawn
    assert control.exceeds is exceeds
    assert control.excess.value == pytest.approx(mean - 0.2, abs=0.05)
    assert control.chance < 1e-6 if exceeds else control.chance > 0.01


def test_the_redrawn_control_is_flagged_by_chance_as_seldom_as_it_says():
    flags = []
    for seed in range(200):
        twin = make_result(noisy([0.2, 0.2], lifetimes=100, seed=seed), memory="wiped")
        redrawn = make_result(noisy([0.2, 0.2], lifetimes=100, seed=1000 + seed), task="redrawn")
        excess = statistics.difference(
            metrics.area(redrawn.normalized), metrics.area(twin.normalized), bootstrap_weights(100, resamples=500)
        )
        flags.append(excess.low > 0)
    assert 0 <= np.mean(flags) < 0.06


def test_forward_transfer_is_held_against_the_twins_first_episode_at_that_level():
    stages = np.array([[0, 0, 1, 1]] * 400)
    g, twin = noisy([0.1, 0.5, 0.6, 0.8]), noisy([0.1, 0.1, 0.2, 0.2], seed=1)
    result = make_result(g, levels=stages, stages=stages)
    wiped = make_result(twin, levels=stages, stages=stages, memory="wiped")
    first, second = score(result, wiped).stages
    assert first.forward_transfer is None
    assert second.forward_transfer.value == pytest.approx(g[:, 2].mean() - twin[:, 2].mean())
    alone = make_result(noisy([0.4, 0.6], seed=2), levels=np.ones((400, 2)))
    held = score(result, wiped, fresh={1: alone}).stages[1].forward_transfer
    assert held.value == pytest.approx(g[:, 2].mean() - alone.normalized[:, 0].mean())
    assert score(result).stages[1].forward_transfer is None
    with pytest.raises(ValueError, match="must begin at level 1"):
        score(result, fresh={1: make_result(noisy([0.4, 0.6]))})


def test_retention_is_measured_where_a_level_is_visited_again():
    stages = np.array([[0, 0, 1, 1, 2, 2]] * 400)
    levels = np.array([[0, 0, 1, 1, 0, 0]] * 400)
    g = noisy([0.1, 0.9, 0.2, 0.7, 0.6, 0.9])
    parts = score(make_result(g, levels=levels, stages=stages)).stages
    assert parts[0].retention is None and parts[1].retention is None
    assert parts[2].retention.value == pytest.approx((g[:, 4] - g[:, 1]).mean())
    assert parts[2].retention.high < 0  # it forgot


@pytest.mark.parametrize("start, value, flagged", [(0.2, 0.0, False), (0.0, 0.0, False), (-0.3, -0.3, True)])
def test_the_first_episode_deficit_is_flagged_beyond_chance_only(start, value, flagged):
    scores = score(make_result(noisy([start, 0.9])))
    assert scores.first_episode_deficit.value == pytest.approx(value, abs=0.03)
    assert scores.deficit_flagged is flagged


def test_a_deficit_at_a_later_stage_is_found():
    stages = np.array([[0, 0, 1, 1]] * 400)
    scores = score(make_result(noisy([0.3, 0.5, -0.4, 0.9]), levels=stages, stages=stages))
    assert scores.deficit_flagged and scores.first_episode_deficit.value == pytest.approx(-0.4, abs=0.05)


def test_random_play_is_seldom_flagged_for_its_deficit():
    stages = np.array([[0, 1, 2, 3]] * 100)
    flags = [
        score(
            make_result(noisy([0.0] * 4, 100, 1.0, seed), levels=stages, stages=stages), resamples=300
        ).deficit_flagged
        for seed in range(60)
    ]
    assert np.mean(flags) <= 0.1


def test_conditions_that_do_not_belong_together_are_refused():
    result = make_result(noisy([0.5, 0.5]))
    with pytest.raises(ValueError, match="twin must have memory='wiped', received memory='kept'"):
        score(result, result)
    with pytest.raises(ValueError, match="redrawn must have task='redrawn'"):
        score(result, redrawn=result)
    with pytest.raises(ValueError, match="memory='kept' and task='fixed'"):
        score(make_result(noisy([0.5]), memory="wiped"))
    with pytest.raises(ValueError, match="twin must share the agent"):
        score(result, make_result(noisy([0.5, 0.5]), memory="wiped", agent="else"))
    with pytest.raises(ValueError, match="twin must share the settings"):
        score(result, make_result(noisy([0.5, 0.5]), memory="wiped", settings={"course": "single", "arms": 3}))
    nothing = {"normalized": np.full((400, 2), NAN), "levels": np.full((400, 2), -1), "stages": np.full((400, 2), -1)}
    with pytest.raises(ValueError, match="no finished episode"):
        score(dataclasses.replace(result, **nothing))


def test_scores_are_deterministic_and_fit_strict_json():
    result, twin = make_result(noisy([0.1, 0.4])), make_result(noisy([0.1, 0.1], seed=1), memory="wiped")
    first, second = (json.dumps(score(result, twin).to_dict(), allow_nan=False) for _ in range(2))
    assert first == second
    plain = json.loads(first)
    assert plain["stages"][0]["episodes_to"]["0.9"]["value"] == "never"
    assert len(plain["stages"][0]["curve"]) == 3


def test_luck_of_the_redrawn_tasks_is_taken_off_the_control():
    rng = np.random.default_rng(0)
    base = rng.normal(0.3, 0.1, (400, 5))
    shift = rng.normal(0.2, 0.05, 400)
    kept, wiped = make_result(base + 0.3), make_result(base, memory="wiped")
    redrawn = make_result(base + shift[:, None] + rng.normal(0, 0.02, base.shape), task="redrawn")
    assert score(kept, wiped, redrawn).redrawn.exceeds
    cleared = score(kept, wiped, redrawn, luck=shift).redrawn
    assert cleared.excess.low <= 0.0 <= cleared.excess.high
    assert not score(kept, wiped, redrawn, luck=shift + 0.1).redrawn.exceeds
    assert score(kept, wiped, redrawn, luck=shift - 0.1).redrawn.exceeds
    with pytest.raises(ValueError, match="luck must have shape"):
        score(kept, wiped, redrawn, luck=shift[:3])
