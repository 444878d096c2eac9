"""Every metric on small arrays with known answers; each entry is another number, so that no index can be off by one."""

import math

import numpy as np
import pytest

from daytwo.evaluation import metrics, statistics
from daytwo.evaluation.statistics import Estimate, bootstrap_weights
from tests.evaluation.simulated import noisy

NAN = math.nan
G = np.array([[0.0, 0.5, 1.0], [0.2, 0.4, 0.6], [0.1, NAN, NAN]])


def test_metrics_of_each_lifetime():
    np.testing.assert_allclose(metrics.area(G), [0.5, 0.4, 0.1])
    np.testing.assert_allclose(metrics.first(G), [0.0, 0.2, 0.1])
    np.testing.assert_allclose(metrics.final(G), [1.0, 0.6, 0.1])
    np.testing.assert_allclose(metrics.gain(G), [1.0, 0.4, 0.0])
    np.testing.assert_allclose(metrics.regret(G), [1.5, 1.8, 0.9])
    np.testing.assert_allclose(metrics.simple_regret(G), [0.0, 0.4, 0.9])
    np.testing.assert_allclose(metrics.mean_curve(G), [0.1, 0.45, 0.8])


def test_a_lifetime_without_episodes_counts_for_nothing():
    g = np.array([[NAN, NAN], [0.2, 0.4], [0.2, 0.4]])
    assert np.isnan(metrics.area(g)[0]) and np.isnan(metrics.final(g)[0]) and np.isnan(metrics.gain(g)[0])
    assert statistics.estimate(metrics.area(g), bootstrap_weights(3)).value == pytest.approx(0.3)


# --- adaptation -----------------------------------------------------------------------------------------------------


def test_the_adaptation_curve_is_the_mean_by_episode_with_its_interval():
    g = noisy([0.1, 0.8])
    curve = metrics.adaptation_curve(g, bootstrap_weights(len(g)))
    assert curve.shape == (3, 2)
    for k in range(2):
        one = statistics.estimate(g[:, k], bootstrap_weights(len(g)))
        np.testing.assert_allclose(curve[:, k], [one.value, one.low, one.high])


def test_episodes_to_counts_from_one_and_may_be_never():
    curve = np.array([0.1, 0.5, 0.49, 0.95])
    assert metrics.episodes_to(curve, 0.5) == 2
    assert metrics.episodes_to(curve, 0.1) == 1
    assert metrics.episodes_to(curve, 0.9) == 4
    assert metrics.episodes_to(curve, 0.99) == math.inf
    assert metrics.episodes_to(np.array([curve, curve + 0.4]), 0.5).tolist() == [2, 1]


def test_episodes_to_of_no_curve_is_undefined():
    assert np.isnan(metrics.episodes_to(np.array([NAN, NAN]), 0.5))
    assert metrics.episodes_to(np.array([NAN, 0.6]), 0.5) == 2


def test_the_interval_of_episodes_to_holds_whole_episodes_or_never():
    g = noisy([0.3, 0.5, 0.7])  # the second episode's mean is at the threshold, so either side of it is likely
    reached = metrics.estimate_episodes_to(g, 0.5, bootstrap_weights(len(g)))
    assert (reached.low, reached.high) == (2, 3)
    never = metrics.estimate_episodes_to(noisy([0.3, 0.5]), 0.5, bootstrap_weights(400))
    assert (never.low, never.high) == (2, math.inf)


# --- returning to a level -------------------------------------------------------------------------------------------


def test_retention_is_the_later_visits_first_episode_minus_the_earlier_visits_last():
    earlier = np.array([[0.1, 0.2, 0.4], [0.3, 0.8, NAN]])  # the second lifetime's visit was shorter
    later = np.array([[0.37, 0.9], [0.91, 0.5]])
    np.testing.assert_allclose(metrics.retention(earlier, later), [0.37 - 0.4, 0.91 - 0.8])


def test_retention_of_visits_of_other_lifetimes_is_refused():
    with pytest.raises(ValueError, match="same lifetimes, received 2 and 3"):
        metrics.retention(np.zeros((2, 4)), np.zeros((3, 4)))


# --- changes of the task --------------------------------------------------------------------------------------------

SWITCHED = np.array([0.1, 0.5, 0.9, 0.2, 0.4, 0.79, 0.8, 0.95])  # the change comes after the third episode


@pytest.mark.parametrize("tolerance, recovery", [(0.0, 5), (0.1, 4), (0.12, 3), (0.5, 2), (0.71, 1), (5.0, 1)])
def test_switch_recovery_counts_episodes_after_the_change_from_one(tolerance, recovery):
    assert metrics.switch_recovery(SWITCHED, 3, tolerance) == recovery


def test_switch_recovery_is_held_against_the_last_episode_before_the_change():
    assert metrics.switch_recovery(SWITCHED, 2) == 1  # 0.9 is above 0.5
    assert metrics.switch_recovery(SWITCHED, 4) == 1  # 0.4 is above 0.2
    assert metrics.switch_recovery(SWITCHED, 1) == 1
    assert metrics.switch_recovery(SWITCHED, 7) == 1  # the last episode alone
    assert metrics.switch_recovery(np.array([0.9, 0.2]), 1) == math.inf


def test_switch_recovery_takes_stacks_of_curves():
    never = np.array([0.1, 0.5, 0.9, 0.2, 0.4, 0.5, 0.5, 0.5])
    unknown = np.array([0.1, 0.5, NAN, 0.2, 0.4, 0.5, 0.5, 0.5])
    stack = np.array([[SWITCHED, never], [SWITCHED + 1.0, unknown]])
    np.testing.assert_array_equal(metrics.switch_recovery(stack, 3), [[4, math.inf], [4, NAN]])


@pytest.mark.parametrize("switch_after", [0, 8, -1, 2.0, True])
def test_a_change_outside_of_the_stage_is_refused(switch_after):
    with pytest.raises(ValueError, match=r"switch_after must be an integer in 1\.\.7, received"):
        metrics.switch_recovery(SWITCHED, switch_after)
    with pytest.raises(ValueError, match=r"switch_after must be an integer in 1\.\.7, received"):
        metrics.switch_drop(SWITCHED[None], switch_after)


@pytest.mark.parametrize("tolerance", [-0.1, NAN, "0.1"])
def test_a_tolerance_below_zero_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must be a number in"):
        metrics.switch_recovery(SWITCHED, 3, tolerance)


def test_switch_drop_is_the_last_before_minus_the_first_after():
    g = np.array([[0.1, 0.8, 0.3, 0.6], [0.2, 0.5, 0.7, 0.9]])
    np.testing.assert_allclose(metrics.switch_drop(g, 2), [0.5, -0.2])
    np.testing.assert_allclose(metrics.switch_drop(g, 1), [-0.7, -0.3])


def test_the_interval_of_switch_recovery_holds_whole_episodes_or_never():
    g = noisy([0.9, 0.2, 0.5, 0.8, 0.9])  # the fourth episode's mean is at the level to get back to
    found = metrics.estimate_switch_recovery(g, 1, bootstrap_weights(len(g)))
    assert (found.low, found.high) == (3, 4) and found.value in (3, 4)
    never = metrics.estimate_switch_recovery(noisy([0.9, 0.2, 0.3]), 1, bootstrap_weights(400))
    assert never == Estimate(math.inf, math.inf, math.inf)


# --- learning and its controls --------------------------------------------------------------------------------------


@pytest.mark.parametrize("memoryless, value", [(-1.0, 0.3), (0.0, 0.3), (0.2, 0.3), (0.35, 0.15)])
def test_learning_is_what_exceeds_both_the_twin_and_the_memoryless_rung(memoryless, value):
    areas, twin = np.full(10, 0.5), np.full(10, 0.2)
    found = metrics.learning(areas, twin, memoryless, bootstrap_weights(10))
    assert (found.value, found.low, found.high) == pytest.approx((value, value, value))


def test_the_first_episode_deficit_is_that_of_the_worst_stage():
    fine, low, worse = Estimate(0.3, 0.2, 0.4), Estimate(-0.01, -0.1, 0.1), Estimate(-0.4, -0.5, -0.3)
    assert metrics.first_episode_deficit([fine]) == (Estimate(0.0, 0.0, 0.0), 1.0)
    assert metrics.first_episode_deficit([fine, low]) == (Estimate(-0.01, -0.1, 0.0), 1.0)
    deficit, chance = metrics.first_episode_deficit([fine, low, worse])
    assert deficit == worse and chance < 1e-10


def test_the_first_episode_deficit_is_corrected_for_the_number_of_stages():
    doubtful = Estimate(-0.105, -0.205, -0.005)  # 2.06 standard errors
    assert metrics.first_episode_deficit([doubtful])[1] == pytest.approx(0.0198, abs=2e-4)
    assert metrics.first_episode_deficit([doubtful] * 4)[1] == pytest.approx(0.0791, abs=4e-4)
    assert metrics.first_episode_deficit([Estimate(-0.02, -0.5, 0.46)] * 4)[1] == 1.0


def test_a_deficit_without_scatter_that_amounts_to_nothing_is_none():
    nothing = Estimate(-0.001, -0.001, -0.001)  # as when no lifetime of a small sample had the rare success
    assert metrics.first_episode_deficit([nothing]) == (nothing, 1.0)
    assert metrics.first_episode_deficit([Estimate(-0.02, -0.02, -0.02)])[1] == 0.0


def test_a_deficit_is_held_against_the_scatter_of_random_play():
    narrow = Estimate(-0.1, -0.11, -0.09)
    assert metrics.first_episode_deficit([narrow])[1] < 1e-10
    assert metrics.first_episode_deficit([narrow], [0.1])[1] == pytest.approx(0.1587, abs=1e-3)
    assert metrics.first_episode_deficit([narrow], [0.001])[1] < 1e-10  # the larger error counts


def test_without_an_interval_no_deficit_is_known():
    deficit, chance = metrics.first_episode_deficit([Estimate(-0.4, NAN, NAN)])
    assert deficit.value == -0.4 and math.isnan(deficit.low) and math.isnan(deficit.high) and math.isnan(chance)
    deficit, chance = metrics.first_episode_deficit([Estimate(NAN, NAN, NAN)])
    assert math.isnan(deficit.value) and math.isnan(chance)


# --- stages ---------------------------------------------------------------------------------------------------------


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
