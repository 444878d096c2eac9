"""Bootstrap resamples and intervals, against values worked out by hand and against the theory of the mean."""

import json
import math

import numpy as np
import pytest

from daytwo.evaluation import statistics
from daytwo.evaluation.statistics import Estimate, bootstrap_weights

NAN = math.nan


def test_weights_are_resamples_of_the_lifetimes():
    weights = bootstrap_weights(50, resamples=300)
    assert weights.shape == (300, 50) and weights.dtype == np.float64
    assert (weights.sum(axis=1) == 50).all() and (weights == weights.astype(int)).all()
    assert abs(weights.mean() - 1) < 1e-12 and abs(weights.var() - 49 / 50) < 0.05
    assert np.array_equal(weights, bootstrap_weights(50, resamples=300))
    assert not np.array_equal(weights, bootstrap_weights(50, resamples=300, seed=1))


def test_weights_are_the_same_again_after_many_others():
    before = bootstrap_weights(20, resamples=50, seed=1).copy()
    for seed in range(2, 60):
        bootstrap_weights(20, resamples=50, seed=seed)
    assert np.array_equal(before, bootstrap_weights(20, resamples=50, seed=1))


def test_weights_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        bootstrap_weights(5, resamples=3)[0, 0] = 1.0


def test_strata_are_resampled_within_themselves():
    strata = np.array([0] * 10 + [1] * 30)
    weights = bootstrap_weights(40, resamples=100, strata=strata)
    assert (weights[:, :10].sum(axis=1) == 10).all() and (weights[:, 10:].sum(axis=1) == 30).all()
    g = np.where(strata == 0, 0.0, 1.0)  # all scatter lies between the strata
    assert statistics.estimate(g, weights) == Estimate(0.75, 0.75, 0.75)


@pytest.mark.parametrize("arguments", [{"lifetimes": 0}, {"lifetimes": 5, "resamples": 0}])
def test_no_lifetimes_and_no_resamples_are_refused(arguments):
    with pytest.raises(ValueError, match="at least 1 lifetime and 1 resample"):
        bootstrap_weights(**arguments)


def test_strata_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(4,\), received \(3,\)"):
        bootstrap_weights(4, strata=np.zeros(3))


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
    values = np.array([[1.0, NAN], [4.0, 2.0], [7.0, 5.0]])
    np.testing.assert_allclose(statistics.resampled_means(values, weights), [[2.0, 2.0], [7.0, 5.0], [4.0, 3.5]])
    nothing_drawn = np.array([[3.0, 0.0, 0.0]])
    np.testing.assert_allclose(statistics.resampled_means(values, nothing_drawn), [[1.0, NAN]])


def test_one_lifetime_has_a_value_and_no_interval():
    one = statistics.estimate(np.array([0.4]), bootstrap_weights(1))
    assert one.value == 0.4 and math.isnan(one.low) and math.isnan(one.high)
    lonely = statistics.estimate(np.array([NAN, 0.4, NAN]), bootstrap_weights(3))
    assert lonely.value == 0.4 and math.isnan(lonely.low) and math.isnan(lonely.high)
    assert str(one) == "0.400 [-, -]"
    against = statistics.difference(np.array([0.4]), np.arange(5.0), bootstrap_weights(1), bootstrap_weights(5))
    assert against.value == pytest.approx(-1.6) and math.isnan(against.low) and math.isnan(against.high)


def test_the_mean_of_nothing_is_undefined():
    nothing = statistics.estimate(np.array([NAN, NAN]), bootstrap_weights(2))
    assert math.isnan(nothing.value) and math.isnan(nothing.low) and math.isnan(nothing.high)


def test_a_paired_difference_of_equals_has_no_scatter_and_an_unpaired_one_has():
    x = np.random.default_rng(3).standard_normal(50)
    weights = bootstrap_weights(50)
    assert statistics.difference(x, x, weights) == Estimate(0.0, 0.0, 0.0)
    unpaired = statistics.difference(x, x, weights, bootstrap_weights(50, seed=1))
    assert unpaired.value == 0.0 and unpaired.low < -0.1 and unpaired.high > 0.1


def test_intervals_of_whole_numbers_and_never_take_one_of_them():
    assert statistics.interval(np.array([1.0] * 10 + [2.0] * 980 + [math.inf] * 10)) == (2.0, 2.0)
    assert statistics.interval(np.array([1.0] * 40 + [math.inf] * 60)) == (1.0, math.inf)
    assert statistics.interval(np.array([0.0, 1.0, NAN]), confidence=0.5) == (0.25, 0.75)


def test_the_upper_tail_is_that_of_the_normal_distribution():
    standard = Estimate(0.0, -1.959964, 1.959964)
    assert statistics.upper_tail(1.959964, standard) == pytest.approx(0.025, rel=1e-4)
    assert statistics.upper_tail(0.0, standard) == pytest.approx(0.5)
    certain = Estimate(0.1, 0.1, 0.1)
    assert statistics.upper_tail(0.1, certain) == 0.0 and statistics.upper_tail(0.0, certain) == 1.0
    assert math.isnan(statistics.upper_tail(0.1, Estimate(0.1, NAN, NAN)))


def test_plain_numbers_fit_strict_json():
    value = {0.5: (1, NAN), "a": [math.inf, np.float64(2.0)], "b": np.array([[1.0, NAN]]), "c": None, "d": "text"}
    plain = statistics.plain_numbers(value)
    assert plain == {"0.5": [1, None], "a": ["never", 2.0], "b": [[1.0, None]], "c": None, "d": "text"}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_numbers_in_words_have_no_negative_zero():
    assert statistics.fixed(-0.0004, 3) == "0.000" and statistics.fixed(-0.0006, 3) == "-0.001"
    assert str(Estimate(-1e-9, -0.25, math.inf)) == "0.000 [-0.250, never]"
    assert str(Estimate(0.5, math.nan, math.nan)) == "0.500 [-, -]"
