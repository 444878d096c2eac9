"""`score` on results made by hand: what it puts together, holds against controls, refuses and says of itself."""

import dataclasses
import json
import math

import numpy as np
import pytest

from daytwo.course import Course, Stage
from daytwo.evaluation import metrics, statistics
from daytwo.evaluation.scoring import score
from daytwo.evaluation.statistics import Estimate, bootstrap_weights
from tests.evaluation.simulated import lived, noisy
from tests.evaluation.synthetic import make_result

NAN = math.nan


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


def test_the_memoryless_rung_is_the_results_own_unless_another_is_given():
    g, twin = noisy([0.5, 0.5], spread=0.01), noisy([0.1, 0.1], spread=0.01)
    result, wiped = make_result(g, memoryless=(0.3,)), make_result(twin, memory="wiped", memoryless=(0.3,))
    scores = score(result, wiped)
    assert scores.memoryless == pytest.approx(0.3) and scores.learning.value == pytest.approx(0.2, abs=0.01)
    assert not any("memoryless" in note for note in scores.notes)
    assert score(result, wiped, best_memoryless=0.4).learning.value == pytest.approx(0.1, abs=0.01)
    assert score(result, wiped, best_memoryless=0.0).learning.value == pytest.approx(0.4, abs=0.01)


def test_both_bounds_of_learning_are_told_and_which_of_them_holds():
    g, twin = noisy([0.5, 0.5], spread=0.01), noisy([0.2, 0.2], spread=0.01)
    result, wiped = make_result(g), make_result(twin, memory="wiped")
    by_twin, by_rung = (score(result, wiped, best_memoryless=rung) for rung in (0.1, 0.3))
    assert (by_twin.learning_bound, by_rung.learning_bound) == ("twin", "memoryless")
    assert by_twin.twin_area == by_rung.twin_area
    assert (by_twin.memoryless, by_rung.memoryless) == pytest.approx((0.1, 0.3))
    assert "against its twin" in str(by_twin)
    assert "against the best memoryless agent, 0.300" in str(by_rung)
    assert by_rung.to_dict()["learning_bound"] == "memoryless"
    assert score(result).learning_bound is None


def test_a_level_without_a_memoryless_rung_is_held_against_random_play_and_named():
    stages = [Stage(0, 1), Stage(1, 1), Stage(2, 2)]
    g = noisy([0.5] * 4, spread=0.01)
    wiped = lived(g - 0.5, stages, memory="wiped")
    scores = score(lived(g, stages, memoryless=(0.4, NAN, 0.2)), wiped)
    assert scores.memoryless == pytest.approx((0.4 + 0.0 + 0.2 + 0.2) / 4)
    where = "where no memoryless rung was measured"
    assert f"learning is held against the random policy's 0 at level 1, {where}" in scores.notes
    scores = score(lived(g, stages), wiped)
    assert scores.memoryless == 0.0
    assert f"learning is held against the random policy's 0 at levels 0, 1, 2, {where}" in scores.notes
    assert not any(where in note for note in score(lived(g, stages)).notes)  # there is no learning to speak of


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


def test_the_memoryless_rung_weighs_lifetimes_alike_however_long_they_were():
    levels = np.array([[0, 1, 1, 1], [0, -1, -1, -1]])
    g = np.where(levels < 0, NAN, 0.5)
    assert score(make_result(g, levels=levels, stages=levels), best_memoryless=[0.0, 0.4]).memoryless == pytest.approx(
        (0.3 + 0.0) / 2
    )


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
    with pytest.raises(ValueError, match=r"fresh\[1\] must share the split of the result: expected 'test', rec"):
        score(result, fresh={1: dataclasses.replace(alone, split="train")})
    with pytest.raises(ValueError, match=r"fresh\[1\] must share the family settings"):
        score(result, fresh={1: dataclasses.replace(alone, settings={"course": "single", "level": 1, "arms": 3})})


def test_retention_is_measured_where_a_level_is_visited_again():
    stages = np.array([[0, 0, 1, 1, 2, 2]] * 400)
    levels = np.array([[0, 0, 1, 1, 0, 0]] * 400)
    g = noisy([0.1, 0.9, 0.2, 0.7, 0.6, 0.9])
    parts = score(make_result(g, levels=levels, stages=stages)).stages
    assert parts[0].retention is None and parts[1].retention is None
    assert parts[2].retention.value == pytest.approx((g[:, 4] - g[:, 1]).mean())
    assert parts[2].retention.high < 0  # it forgot


def test_retention_is_held_against_the_visit_just_before():
    stages = [Stage(0, 1), Stage(1, 1), Stage(0, 1), Stage(1, 1), Stage(0, 1)]
    parts = score(lived(noisy([0.1, 0.2, 0.5, 0.2, 0.4], spread=0.01), stages)).stages
    assert [round(part.retention.value, 1) for part in parts[2:]] == [0.4, 0.0, -0.1]


def test_a_change_of_the_task_is_scored_where_the_course_has_one():
    g = noisy([0.1, 0.5, 0.9, 0.2, 0.5, 0.7, 0.85, 0.95], spread=0.1)
    plain, switched = score(lived(g, [Stage(0, 2), Stage(1, 6, switch_after=1)])).stages
    assert plain.switch_drop is None and plain.switch_recovery is None
    assert switched.switch_drop.value == pytest.approx((g[:, 2] - g[:, 3]).mean())
    assert switched.switch_recovery == Estimate(4.0, 4.0, 4.0)
    text = str(score(lived(g, [Stage(0, 2), Stage(1, 6, switch_after=1)])))
    assert f"stage 2 (level 1), task changed: drop {switched.switch_drop}" in text and "episodes to recover 4" in text
    never = score(lived(g, [Stage(0, 6, switch_after=3), Stage(1, 2)]))
    assert never.stages[0].switch_recovery.value == math.inf
    assert never.to_dict()["stages"][0]["switch_recovery"]["value"] == "never"


def test_a_change_that_no_lifetime_lived_to_see_is_not_scored():
    stages = np.array([[0, 0, 1, 1]] * 10)
    course = Course([Stage(0, 5, switch_after=3), Stage(1, 2)], mastery=0.9)  # stage 1 was mastered before the change
    parts = score(make_result(noisy([0.9] * 4, 10), levels=stages, stages=stages, course=course)).stages
    assert parts[0].switch_drop is None and parts[0].switch_recovery is None


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


@pytest.mark.parametrize("role", ["The result", "twin", "redrawn"])
@pytest.mark.parametrize("value", [NAN, math.inf])
def test_an_episode_that_was_lived_needs_a_return(role, value):
    g = noisy([0.5, 0.5, 0.5])
    results = {
        "The result": make_result(g),
        "twin": make_result(g, memory="wiped"),
        "redrawn": make_result(g, task="redrawn"),
    }
    broken = g.copy()
    broken[3, 1] = value
    results[role] = dataclasses.replace(results[role], normalized=broken)
    with pytest.raises(
        ValueError, match=rf"{role} has the normalised return {value} in lifetime 3, episode 1 \(counted"
    ):
        score(*results.values())


def test_one_lifetime_is_scored_without_intervals_and_flags():
    stages = np.array([[0, 0, 1, 1]])
    g = np.array([[-0.5, 0.5, 0.6, 0.8]])
    result = make_result(g, levels=stages, stages=stages)
    twin = make_result(g - 0.5, levels=stages, stages=stages, memory="wiped")
    redrawn = make_result(g + 0.5, levels=stages, stages=stages, task="redrawn")
    scores = score(result, twin, redrawn)
    assert "one lifetime: no interval" in scores.notes
    assert scores.area.value == pytest.approx(0.35) and scores.learning.value == pytest.approx(0.35)
    assert scores.first_episode_deficit.value == -0.5 and scores.redrawn.excess.value == pytest.approx(1.0)
    assert scores.deficit_flagged is False and scores.redrawn.exceeds is False and math.isnan(scores.redrawn.chance)
    top = scores.stages[1]
    found = [scores.area, scores.regret, scores.reward, scores.twin_area, scores.learning, scores.redrawn.excess]
    found += [scores.first_episode_deficit, top.first, top.final, top.gain, top.area, top.regret, top.forward_transfer]
    found += top.episodes_to.values()
    assert all(math.isnan(one.low) and math.isnan(one.high) for one in found)
    assert top.episodes_to[0.5].value == 1 and np.isnan(top.curve[1:]).all()
    json.dumps(scores.to_dict(), allow_nan=False)
    assert "area      0.350 [-, -]" in str(scores)
    assert not any("one lifetime" in note for note in score(make_result(noisy([0.5], lifetimes=2))).notes)


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
