"""Metrics of several evaluations, on small arrays whose every entry is another number, and what they refuse."""

import dataclasses
import json
import math

import numpy as np
import pytest

from daytwo.course import Course, Stage
from daytwo.evaluation import comparisons
from daytwo.evaluation.statistics import Estimate
from tests.evaluation.simulated import lived as lived_in
from tests.evaluation.simulated import noisy

NAN = math.nan
PROGRESSIVE = [Stage(0, 2), Stage(1, 2), Stage(2, 2)]
ISOLATED = [Stage(0, 2), Stage(1, 2, new_task=True), Stage(2, 2, new_task=True)]
ROWS = np.array([[0.0], [0.02], [-0.02]])  # three lifetimes around a curve


def lived(curve, stages, **changes):
    """Three lifetimes around a curve."""
    return lived_in(np.asarray(curve) + ROWS, stages, **changes)


def begin(level, *curve, **changes):
    """A life that begins at a level."""
    settings = {"course": "single", "level": level, "episodes": len(curve)}
    return lived(curve, [Stage(level, len(curve))], name="single", settings=settings, **changes)


def values(scores, *names):
    return [getattr(scores, name).value for name in names]


# --- transfer -------------------------------------------------------------------------------------------------------

RISING = lived([0.1, 0.5, 0.32, 0.6, 0.47, 0.9], PROGRESSIVE, name="progressive")
OTHERS = lived([0.1, 0.5, 0.15, 0.6, 0.13, 0.8], ISOLATED, name="isolated")
FRESH = {1: begin(1, 0.2, 0.7), 2: begin(2, 0.17, 0.8)}


def test_forward_transfer_is_the_first_episode_there_minus_the_first_of_a_fresh_life():
    scores = comparisons.score_transfer(RISING, FRESH)
    assert [(one.stage, one.level, one.level_name) for one in scores.levels] == [(1, 1, "middle"), (2, 2, "long")]
    middle, top = scores.levels
    assert values(middle, "progressive_first", "fresh_first", "forward_transfer") == pytest.approx([0.32, 0.2, 0.12])
    assert values(top, "progressive_first", "fresh_first", "forward_transfer") == pytest.approx([0.47, 0.17, 0.3])
    assert middle.interference is None and middle.isolated_first is None
    assert scores.notes == ()


def test_forward_transfer_of_the_same_lifetimes_is_paired():
    paired = comparisons.score_transfer(RISING, FRESH).levels[0].forward_transfer
    assert paired.high - paired.low < 1e-12  # all three lifetimes gain the same
    unpaired = comparisons.score_transfer(RISING, {1: dataclasses.replace(FRESH[1], seed=5), 2: FRESH[2]})
    one = unpaired.levels[0].forward_transfer
    assert one.value == pytest.approx(paired.value) and one.high - one.low > 0.01
    assert unpaired.notes == ("not paired at level 1: fresh[1] lived other lifetimes",)


def test_interference_is_the_isolated_first_episode_minus_the_first_of_a_fresh_life_and_never_paired():
    middle, top = comparisons.score_transfer(RISING, FRESH, isolated=OTHERS).levels
    assert values(middle, "isolated_first", "interference") == pytest.approx([0.15, -0.05])
    assert values(top, "isolated_first", "interference") == pytest.approx([0.13, -0.04])
    assert middle.interference.high - middle.interference.low > 0.01


def test_interference_needs_a_fresh_life_and_says_so():
    scores = comparisons.score_transfer(RISING, {2: FRESH[2]}, isolated=OTHERS)
    assert scores.levels[0].forward_transfer is None and scores.levels[0].interference is None
    assert scores.levels[0].isolated_first.value == pytest.approx(0.15)
    assert scores.levels[1].interference.value == pytest.approx(-0.04)
    assert scores.notes == ("no forward transfer at level 1: it needs fresh[1]",)


def test_courses_are_compared_by_their_areas():
    shuffled = lived([0.1, 0.5, 0.1, 0.5, 0.1, 0.5], PROGRESSIVE, name="shuffled", shuffle=True)
    scores = comparisons.score_transfer(RISING, FRESH, isolated=OTHERS, shuffled=shuffled)
    areas = np.array([2.89, 2.28, 1.8]) / 6
    assert values(scores, "area", "isolated_area", "shuffled_area") == pytest.approx(areas)
    assert values(scores, "over_isolated", "over_shuffled") == pytest.approx(areas[0] - areas[1:])
    assert scores.over_shuffled.high - scores.over_shuffled.low < 1e-12  # the same tasks in another order: paired
    assert scores.over_isolated.high - scores.over_isolated.low > 0.01  # other tasks from the second stage on
    without = comparisons.score_transfer(RISING, FRESH)
    assert without.over_shuffled is None and without.over_isolated is None


def test_transfer_exports_strict_json():
    plain = comparisons.score_transfer(RISING, FRESH, isolated=OTHERS).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False))["levels"][0]["forward_transfer"]["value"] == pytest.approx(
        0.12
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"progressive": OTHERS}, r"progressive must be a course of rising levels on one task, received the course "),
        (
            {"progressive": OTHERS},
            r"'isolated' \(level 0 for 2; level 1 for 2 on a new task; level 2 for 2 on a new ta",
        ),
        ({"progressive": begin(1, 0.1, 0.2)}, "progressive must be a course of rising levels"),
        ({"progressive": lived([0.1] * 6, PROGRESSIVE[::-1])}, "progressive must be a course of rising levels"),
        ({"progressive": lived([0.1] * 6, PROGRESSIVE, shuffle=True)}, r"progressive must .* \(shuffled: level 0"),
        ({"progressive": dataclasses.replace(RISING, memory="wiped")}, "progressive must have memory='kept', received"),
        (
            {"fresh": {1: FRESH[2]}},
            r"fresh\[1\] must be a life that begins at level 1, received the course 'single' \(l",
        ),
        (
            {"fresh": {1: begin(1, 0.2, agent="else")}},
            r"fresh\[1\] must share the agent of the result: expected 'someo",
        ),
        ({"fresh": {1: begin(1, 0.2, env_id="x")}}, r"fresh\[1\] must share the env id"),
        ({"fresh": {1: begin(1, 0.2, split="train")}}, r"fresh\[1\] must share the split"),
        ({"fresh": {1: begin(1, 0.2, task="redrawn")}}, r"fresh\[1\] must have task='fixed'"),
        ({"isolated": RISING}, r"isolated must be the course 'progressive' .* with new tasks, received"),
        ({"isolated": lived([0.1] * 4, ISOLATED[:2])}, r"isolated must be the course 'progressive' .* with new tasks"),
        ({"shuffled": RISING}, r"shuffled must be the course 'progressive' .*, shuffled, received"),
        ({"shuffled": lived([0.1] * 4, PROGRESSIVE[:2], shuffle=True)}, "shuffled must be the course 'progressive'"),
    ],
)
def test_transfer_of_what_does_not_belong_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        comparisons.score_transfer(**{"progressive": RISING, "fresh": FRESH, **changes})


def test_an_episode_that_was_lived_needs_a_return():
    broken = FRESH[1].normalized.copy()
    broken[2, 1] = NAN
    with pytest.raises(ValueError, match=r"fresh\[1\] has the normalised return nan in lifetime 2, episode 1"):
        comparisons.score_transfer(RISING, {1: dataclasses.replace(FRESH[1], normalized=broken)})


# --- the matrix of transfer -----------------------------------------------------------------------------------------


def pair(i, j, *curve, **changes):
    """Three episodes at level i, and the others at level j."""
    return lived(curve, [Stage(i, 3), Stage(j, len(curve) - 3)], **changes)


ALONE = {0: begin(0, 0.05, 0.5), 1: begin(1, 0.2, 0.7)}


def test_the_transfer_matrix_reads_the_first_episode_at_the_second_level():
    pairs = {(0, 1): pair(0, 1, 0.1, 0.2, 0.3, 0.41), (1, 0): pair(1, 0, 0.1, 0.2, 0.3, 0.67, 0.9)}
    matrix = comparisons.transfer_matrix(pairs, ALONE)
    assert len(matrix.entries) == 3 and all(len(row) == 3 for row in matrix.entries)
    assert matrix.level_names == ("short", "middle", "long") and matrix.episodes == 3
    assert matrix.entries[0][1].value == pytest.approx(0.41 - 0.2)
    assert matrix.entries[1][0].value == pytest.approx(0.67 - 0.05)
    assert sum(one is not None for row in matrix.entries for one in row) == 2


def test_the_diagonal_is_one_stage_or_two():
    two = comparisons.transfer_matrix({(1, 1): pair(1, 1, 0.3, 0.4, 0.5, 0.63)}, ALONE)
    one = comparisons.transfer_matrix({(1, 1): begin(1, 0.3, 0.4, 0.5, 0.63)}, ALONE)
    assert two.entries[1][1].value == pytest.approx(0.63 - 0.2)
    assert two == one
    longer = comparisons.transfer_matrix({(1, 1): pair(1, 1, 0.3, 0.4, 0.5, 0.63, 0.9)}, ALONE)
    assert longer.entries[1][1].value == pytest.approx(0.63 - 0.2)


def test_the_transfer_matrix_is_paired_and_exports_strict_json():
    matrix = comparisons.transfer_matrix({(0, 1): pair(0, 1, 0.1, 0.2, 0.3, 0.41)}, ALONE)
    assert matrix.entries[0][1].high - matrix.entries[0][1].low < 1e-12
    plain = json.loads(json.dumps(matrix.to_dict(), allow_nan=False))
    assert plain["entries"][0][0] is None and plain["entries"][0][1]["value"] == pytest.approx(0.21)


@pytest.mark.parametrize(
    "pairs, message",
    [
        ({}, "at least one pair of levels"),
        ({(0, 1): pair(1, 0, 0.1, 0.1, 0.1, 0.1)}, r"pairs\[0, 1\] must be episodes at level 0 and then at level 1"),
        ({(0, 1): begin(0, 0.1, 0.1, 0.1, 0.1)}, r"pairs\[0, 1\] must be .*, received the course 'single' \(level 0"),
        ({(0, 0): begin(0, 0.1)}, r"pairs\[0, 0\] must be episodes at level 0 and then at level 0"),
        ({(0, 0): begin(1, 0.1, 0.1)}, r"pairs\[0, 0\] must be episodes at level 0 and then at level 0"),
        ({(0, 1): lived([0.1] * 4, [Stage(0, 3), Stage(1, 1, new_task=True)])}, "on one task, received"),
        ({(0, 0): lived([0.1] * 4, [Stage(0, 4, switch_after=3)])}, "on one task, received .* switched after 3"),
        ({(0, 1): lived([0.1] * 4, [Stage(0, 3), Stage(1, 1)], shuffle=True)}, "on one task, received"),
        ({(0, 2): pair(0, 2, 0.1, 0.1, 0.1, 0.1)}, r"pairs\[0, 2\] needs fresh\[2\], received .* levels \[0, 1\]"),
        (
            {(0, 1): pair(0, 1, 0.1, 0.1, 0.1, 0.1), (1, 1): begin(1, 0.1, 0.1, 0.1)},
            r"same number of episodes at the first level, received \{\(0, 1\): 3, \(1, 1\): 2\}",
        ),
        (
            {(0, 1): pair(0, 1, 0.1, 0.1, 0.1, 0.1), (1, 0): pair(1, 0, 0.1, 0.1, 0.1, 0.1, agent="else")},
            r"pairs\[1, 0\] must share the agent",
        ),
    ],
)
def test_a_matrix_of_what_does_not_belong_together_is_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        comparisons.transfer_matrix(pairs, ALONE)


# --- retention ------------------------------------------------------------------------------------------------------

REVIEW = [Stage(0, 3), Stage(1, 2), Stage(0, 2)]


def test_retention_is_read_where_a_level_is_visited_again():
    scores = comparisons.score_retention(lived([0.1, 0.4, 0.83, 0.2, 0.6, 0.57, 0.9], REVIEW, name="review"))
    (back,) = scores.returns
    assert (back.level, back.level_name, back.earlier_stage, back.stage) == (0, "short", 0, 2)
    assert values(back, "earlier_first", "earlier_final", "first") == pytest.approx([0.1, 0.83, 0.57])
    assert values(back, "retention", "left") == pytest.approx([0.57 - 0.83, 0.57 - 0.1])
    assert back.retention.high - back.retention.low < 1e-12  # within each lifetime
    json.dumps(scores.to_dict(), allow_nan=False)


def test_each_return_is_held_against_the_visit_before_it():
    stages = [Stage(0, 1), Stage(1, 1), Stage(0, 1), Stage(1, 1), Stage(0, 1)]
    returns = comparisons.score_retention(lived([0.1, 0.2, 0.4, 0.8, 0.77], stages)).returns
    assert [(one.level, one.earlier_stage, one.stage) for one in returns] == [(0, 0, 2), (1, 1, 3), (0, 2, 4)]
    assert [one.retention.value for one in returns] == pytest.approx([0.3, 0.6, 0.37])


@pytest.mark.parametrize(
    "stages, shuffle",
    [(PROGRESSIVE, False), (REVIEW, True), ([Stage(0, 1), Stage(1, 1), Stage(0, 1, new_task=True)], False)],
)
def test_a_course_without_a_return_on_one_task_is_refused(stages, shuffle):
    result = lived([0.5] * sum(stage.episodes for stage in stages), stages, shuffle=shuffle)
    with pytest.raises(ValueError, match="review must be a course that returns to a level, on one task, received"):
        comparisons.score_retention(result)


# --- switches -------------------------------------------------------------------------------------------------------

SWITCH = [Stage(2, 6, switch_after=2)]
CHANGED = lived([0.3, 0.91, 0.2, 0.5, 0.83, 0.95], SWITCH, name="switch")


def test_a_switch_is_read_at_the_episodes_around_it():
    scores = comparisons.score_switch(CHANGED)
    assert (scores.level, scores.level_name, scores.switch_after) == (2, "long", 2)
    assert values(scores, "before", "after", "drop") == pytest.approx([0.91, 0.2, 0.71])
    assert values(scores, "area_before", "area_after") == pytest.approx([1.21 / 2, 2.48 / 4])
    assert scores.recovery == Estimate(3.0, 3.0, 3.0)
    assert comparisons.score_switch(CHANGED, tolerance=0.0).recovery.value == 4
    assert scores.twin_area_after is None and scores.learning_after is None


def test_a_switch_in_a_later_stage_is_found():
    curve = [0.5, 0.6, 0.3, 0.91, 0.2, 0.5, 0.83, 0.95]
    scores = comparisons.score_switch(lived(curve, [Stage(0, 2), *SWITCH]))
    assert values(scores, "before", "after", "recovery") == pytest.approx([0.91, 0.2, 3.0])


def test_learning_is_told_before_and_after_a_switch():
    twin = lived([0.3, 0.31, 0.2, 0.21, 0.2, 0.21], SWITCH, name="switch", memory="wiped")
    scores = comparisons.score_switch(CHANGED, twin)
    assert values(scores, "twin_area_before", "twin_area_after") == pytest.approx([0.305, 0.205])
    assert values(scores, "learning_before", "learning_after") == pytest.approx([0.605 - 0.305, 0.62 - 0.205])
    assert scores.learning_after.high - scores.learning_after.low < 1e-12
    plain = comparisons.score_switch(lived([0.9, 0.1, 0.1], [Stage(0, 3, switch_after=1)])).to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False))["recovery"]["value"] == "never"


@pytest.mark.parametrize(
    "result",
    [
        lived([0.5] * 6, PROGRESSIVE),
        lived([0.5] * 6, [Stage(0, 3, switch_after=1), Stage(1, 3, switch_after=1)]),
        lived([0.5] * 6, SWITCH, shuffle=True),
    ],
)
def test_a_course_without_a_single_switch_is_refused(result):
    with pytest.raises(ValueError, match="result must be a course with one unannounced change of the task, received"):
        comparisons.score_switch(result)


def test_a_switch_is_held_against_its_twin_only():
    with pytest.raises(ValueError, match="twin must have memory='wiped'"):
        comparisons.score_switch(CHANGED, CHANGED)


# --- length ---------------------------------------------------------------------------------------------------------


def at_length(factor, curve, **changes):
    settings = {"course": "single", "episodes": 2 * factor}
    return lived(curve, [Stage(2, 2 * factor)], name="single", settings=settings, **changes)


LENGTHS = {2: at_length(2, [0.1, 0.5, 0.7, 0.63]), 1: at_length(1, [0.1, 0.5]), 3: at_length(3, [0.1] * 5 + [0.27])}
TWINS = {factor: at_length(factor, [0.1] * 2 * factor, memory="wiped") for factor in LENGTHS}


def test_length_tells_area_and_last_episode_and_what_changes_with_the_factor():
    scores = comparisons.score_length(LENGTHS)
    assert [(row.factor, row.episodes) for row in scores.rows] == [(1, 2), (2, 4), (3, 6)]
    assert [row.area.value for row in scores.rows] == pytest.approx([0.3, 1.93 / 4, 0.77 / 6])
    assert [row.final.value for row in scores.rows] == pytest.approx([0.5, 0.63, 0.27])
    assert scores.rows[0].area_change is None and scores.rows[0].final_change is None
    assert [row.area_change.value for row in scores.rows[1:]] == pytest.approx([1.93 / 4 - 0.3, 0.77 / 6 - 0.3])
    assert [row.final_change.value for row in scores.rows[1:]] == pytest.approx([0.13, -0.23])
    assert scores.rows[1].area_change.high - scores.rows[1].area_change.low < 1e-12
    assert scores.notes == ("learning is not available: it needs the amnesiac twins",)
    json.dumps(scores.to_dict(), allow_nan=False)


def test_learning_at_every_length_is_held_against_twin_and_rung():
    rows = comparisons.score_length(LENGTHS, TWINS, best_memoryless=0.0).rows
    assert [row.learning.value for row in rows] == pytest.approx([0.2, 1.93 / 4 - 0.1, 0.77 / 6 - 0.1])
    rows = comparisons.score_length(LENGTHS, TWINS, best_memoryless=0.2).rows
    assert [row.learning.value for row in rows] == pytest.approx([0.1, 1.93 / 4 - 0.2, 0.77 / 6 - 0.2])
    notes = comparisons.score_length(LENGTHS, TWINS).notes
    assert len(notes) == 1 and "no memoryless rung was measured" in notes[0]


def test_lengths_of_other_lifetimes_are_not_paired_and_say_so():
    scores = comparisons.score_length({1: LENGTHS[1], 2: dataclasses.replace(LENGTHS[2], seed=4)})
    assert scores.rows[1].area_change.high - scores.rows[1].area_change.low > 0.01
    assert "not paired at factor 2: it was lived in other lifetimes" in scores.notes


@pytest.mark.parametrize(
    "by_factor, twins, message",
    [
        ({2: LENGTHS[2]}, {}, r"factor 1 among the lengths, received \[2\]"),
        (
            {1: LENGTHS[1], 2: LENGTHS[3]},
            {},
            r"by_factor\[2\] must be the course 'single' .* with stages 2 times as lo",
        ),
        ({1: LENGTHS[1]}, TWINS, r"twins of the factors \[1, 2, 3\], but results of \[1\]"),
        ({1: LENGTHS[1]}, {1: LENGTHS[1]}, r"twins\[1\] must have memory='wiped'"),
        ({1: LENGTHS[1], 2: dataclasses.replace(LENGTHS[2], agent="x")}, {}, r"by_factor\[2\] must share the agent"),
    ],
)
def test_lengths_that_do_not_belong_together_are_refused(by_factor, twins, message):
    with pytest.raises(ValueError, match=message):
        comparisons.score_length(by_factor, twins)


# --- generalisation -------------------------------------------------------------------------------------------------

TEST = lived([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], PROGRESSIVE)
TRAIN = lived([0.2, 0.3, 0.4, 0.5, 0.6, 0.85], PROGRESSIVE, split="train")


def test_the_gap_is_training_minus_test_area_and_never_paired():
    scores = comparisons.score_generalisation(TEST, TRAIN)
    assert values(scores, "test_area", "train_area", "gap") == pytest.approx([0.35, 2.85 / 6, 0.75 / 6])
    assert scores.gap.high - scores.gap.low > 0.01
    assert scores.twin_gap is None and scores.harder == {}


def test_the_twins_gap_tells_how_much_is_due_to_the_tasks():
    twins = [dataclasses.replace(one, memory="wiped", normalized=one.normalized - 0.1) for one in (TEST, TRAIN)]
    scores = comparisons.score_generalisation(TEST, TRAIN, test_twin=twins[0], train_twin=twins[1])
    assert scores.twin_gap.value == pytest.approx(scores.gap.value)
    with pytest.raises(ValueError, match="hand in test_twin and train_twin, or neither"):
        comparisons.score_generalisation(TEST, TRAIN, test_twin=twins[0])


def test_harder_settings_are_told_beside_the_test_split():
    harder = lived([0.1] * 6, PROGRESSIVE, settings={"course": "custom", "pulls": 10})
    scores = comparisons.score_generalisation(TEST, TRAIN, {"short lives": harder})
    told = scores.harder["short lives"]
    assert values(told, "area", "change") == pytest.approx([0.1, -0.25])
    assert told.settings["pulls"] == 10
    plain = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert plain["harder"]["short lives"]["change"]["value"] == pytest.approx(-0.25)


def test_harder_settings_are_paired_with_the_lifetimes_of_the_same_seeds():
    areas = np.random.default_rng(0).standard_normal((40, 6))
    test = lived_in(areas, PROGRESSIVE)
    train = lived_in(areas, PROGRESSIVE, split="train")
    harder = lived_in(areas - 0.1, PROGRESSIVE, settings={"course": "custom", "pulls": 10})
    change = comparisons.score_generalisation(test, train, {"x": harder}).harder["x"].change
    assert change.value == pytest.approx(-0.1) and change.high - change.low < 1e-12
    other = dataclasses.replace(harder, seed=1)
    change = comparisons.score_generalisation(test, train, {"x": other}).harder["x"].change
    assert change.high - change.low > 0.1


def test_a_course_among_the_harder_settings_exports_as_plain_values():
    course = Course(PROGRESSIVE)
    harder = lived([0.1] * 6, PROGRESSIVE, settings={"course": course})
    plain = comparisons.score_generalisation(TEST, TRAIN, {"x": harder}).to_dict()
    assert json.loads(json.dumps(plain))["harder"]["x"]["settings"]["course"]["stages"][0]["level"] == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((TRAIN, TEST), "test must have split='test', received split='train'"),
        ((TEST, TEST), "train must have split='train'"),
        ((TEST, dataclasses.replace(TRAIN, settings={"course": "x"})), "train must share the settings"),
        ((TEST, TRAIN, {"x": dataclasses.replace(TRAIN)}), r"harder\['x'\] must not be of the training split"),
        ((TEST, TRAIN, {"x": dataclasses.replace(TEST, env_id="y")}), r"harder\['x'\] must share the env id"),
        ((TEST, TRAIN, {"x": begin(0, 0.1)}), r"harder\['x'\] must be a course of the levels of 'custom'"),
    ],
)
def test_splits_that_do_not_belong_together_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        comparisons.score_generalisation(*arguments)


# --- all of them ----------------------------------------------------------------------------------------------------


def test_one_lifetime_has_values_and_no_intervals():
    progressive = lived_in(noisy([0.1] * 6, 1), PROGRESSIVE)
    fresh = {1: lived_in(noisy([0.1] * 2, 1), [Stage(1, 2)])}
    one = comparisons.score_transfer(progressive, fresh).levels[0].forward_transfer
    assert math.isfinite(one.value) and math.isnan(one.low) and math.isnan(one.high)


def test_equal_arguments_give_equal_numbers_and_the_seed_is_heard():
    results = [lived_in(noisy([0.5] * 6, 50, seed=k), PROGRESSIVE) for k in range(2)]
    fresh = {1: lived_in(noisy([0.5, 0.5], 50, seed=3), [Stage(1, 2)])}
    assert comparisons.score_transfer(results[0], fresh) == comparisons.score_transfer(results[0], fresh)
    assert comparisons.score_transfer(results[0], fresh) != comparisons.score_transfer(results[0], fresh, seed=1)
