"""What the environment pays is the rule's pay: dense or sparse, per level, and resumed when a level is revisited."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from daytwo.course import Course, Stage
from daytwo.improvement import RULES, ImprovementRule
from tests.toy import ORACLE, QUIT, RANDOM, SCORE, WAIT, Phases, Steering, episodes_of, live, make_single

REVIEW = Course([Stage(0, 2), Stage(1, 3), Stage(2, 1), Stage(0, 3), Stage(1, 1)])
PLAYS = ((SCORE, WAIT, SCORE), (WAIT, SCORE, QUIT, SCORE, SCORE), (SCORE,), (WAIT, QUIT), (WAIT,))


def expected_pay(rule, levels, normalized):
    """Of each episode, in lived order, the levels' bars being independent."""
    paid = [0.0] * len(levels)
    for level in set(levels):
        where = [k for k, at in enumerate(levels) if at == level]
        for k, pay in zip(where, rule.pay([normalized[k] for k in where]), strict=True):
            paid[k] = pay
    return paid


def pays_by_episode(steps):
    """The rewards of the steps of each episode."""
    pays, current = [], []
    for _, reward, _, info in steps[1:]:
        current.append(reward)
        if "episode_return" in info:
            pays.append(current)
            current = []
    assert not current
    return pays


@pytest.mark.parametrize("plays", PLAYS)
@pytest.mark.parametrize("name", RULES)
def test_dense_and_sparse_pay_both_sum_to_the_rules_pay(name, plays):
    lives = {}
    for dense in (True, False):
        steps = live(make_single(course=REVIEW, reward=name, rate=0.3, dense=dense), plays, seed=2)
        ends = episodes_of(steps)
        levels = [end["level"] for end in ends]
        assert levels == [0, 0, 1, 1, 1, 2, 0, 0, 0, 1]
        g = [
            (end["episode_return"] - RANDOM[level]) / (ORACLE[level] - RANDOM[level])
            for end, level in zip(ends, levels, strict=True)
        ]
        assert [end["episode_normalized_return"] for end in ends] == pytest.approx(g)
        pays = pays_by_episode(steps)
        if name == "raw":
            assert [reward for episode in pays for reward in episode] == [info["raw_reward"] for *_, info in steps[1:]]
            continue
        expected = expected_pay(ImprovementRule(name, 0.3), levels, g)
        assert [end["improvement"] for end in ends] == pytest.approx(expected)
        assert [sum(episode) for episode in pays] == pytest.approx(expected)
        if not dense:
            assert all(pay == 0.0 for episode in pays for pay in episode[:-1])
        lives[dense] = [(info["raw_reward"], info.get("bar")) for *_, info in steps]
    assert name == "raw" or lives[True] == lives[False]


@hypothesis_settings(max_examples=25)
@given(st.sampled_from(RULES), st.floats(0.0, 1.0), st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_any_play_is_paid_the_same_in_total_dense_or_sparse(name, rate, plays):
    totals = []
    for dense in (True, False):
        steps = live(make_single(course=REVIEW, reward=name, rate=rate, dense=dense), plays, seed=5)
        totals.append(sum(reward for _, reward, _, _ in steps[1:]))
    assert totals[0] == pytest.approx(totals[1], abs=1e-9)


def test_rewards_are_the_raw_rewards_under_raw_whatever_dense_says():
    for dense in (True, False):
        steps = live(make_single(course=REVIEW, reward="raw", dense=dense), PLAYS[1], seed=0)
        assert [reward for _, reward, _, _ in steps[1:]] == [info["raw_reward"] for *_, info in steps[1:]]
        assert sum(info["raw_reward"] for *_, info in steps[1:]) == sum(e["episode_return"] for e in episodes_of(steps))


def test_the_first_step_pays_off_the_bar_and_every_step_its_share():
    rate = 0.5
    steps = live(make_single(course="single", level=2, episodes=2, rate=rate), (SCORE, WAIT, SCORE, SCORE), seed=0)
    scale = 1.0 / (ORACLE[2] - RANDOM[2])
    first = (3.0 - RANDOM[2]) * scale
    bars = [0.0, rate * first]
    expected = []
    for bar in bars:
        raw = [1.0, 0.0, 1.0, 1.0]
        expected += [reward * scale - (k == 0) * (bar + RANDOM[2] * scale) for k, reward in enumerate(raw)]
    assert [reward for _, reward, _, _ in steps[1:]] == pytest.approx(expected)
    assert [end["bar"] for end in episodes_of(steps)] == pytest.approx(bars)


def test_what_the_first_step_owes_does_not_depend_on_the_episodes_actions():
    owed = []
    for plays in ((WAIT,), (SCORE,), (QUIT,)):
        steps = live(make_single(course="single", level=1, episodes=1), plays, seed=0)
        owed.append(steps[1][1] - steps[1][3]["raw_reward"] / (ORACLE[1] - RANDOM[1]))
    assert owed == pytest.approx([-RANDOM[1] / (ORACLE[1] - RANDOM[1])] * 3)


def test_a_return_to_a_level_resumes_its_bar():
    course = Course([Stage(0, 1), Stage(1, 1), Stage(0, 1)])
    ends = episodes_of(live(make_single(course=course, rate=1.0), (SCORE, SCORE, WAIT, WAIT, WAIT, WAIT, WAIT), seed=0))
    assert [end["bar"] for end in ends] == pytest.approx([0.0, 0.0, 1.0])
    assert ends[2]["improvement"] == pytest.approx(-1.0 / 3.0 - 1.0), "forgetting costs"


def test_bars_begin_at_zero_in_every_lifetime():
    env = make_single(course="review", rate=1.0)
    for seed in (0, None, 0, None):
        ends = episodes_of(live(env, (SCORE,), seed=seed))
        assert [end["bar"] for end in ends][:1] == [0.0] and ends[-1]["bar"] == pytest.approx(1.0)


def test_the_exploitable_difference_rule_pays_nothing_for_the_first_episode_of_each_level():
    ends = episodes_of(live(make_single(course="review", reward="difference", episodes=1), (SCORE,), seed=0))
    assert [end["improvement"] for end in ends] == pytest.approx([0.0, 0.0, 0.0, 0.0])
    steps = live(make_single(course="single", reward="difference", episodes=2), [WAIT] * 4 + [SCORE] * 4, seed=0)
    assert [sum(pays) for pays in pays_by_episode(steps)] == pytest.approx([0.0, 4.0 / 3.0])


def test_a_refused_action_is_paid_nothing_but_takes_its_time():
    steps = live(make_single(course="single", level=0, episodes=1, reward="raw"), (QUIT, SCORE), seed=0)
    assert [reward for _, reward, _, _ in steps[1:]] == [0.0, 1.0]
    steps = live(make_single(Phases, course="single", level=2, episodes=1, reward="raw"), (SCORE, SCORE, SCORE, SCORE))
    # Scoring is offered on odd counts alone, and a step that is refused does not reach the family, so counts no more.
    assert [reward for _, reward, _, _ in steps[1:]] == [0.0] * 4
    assert [int(observation[0]) for observation, *_ in steps] == [0] * 5


def test_every_rule_follows_its_definition():
    g = [0.3, -0.2, 0.9, 0.5]
    bars = {
        "return": [0.0, 0.0, 0.0, 0.0],
        "final": [0.0, 0.3, -0.2, 0.9],
        "improvement": [0.0, 0.06, 0.8 * 0.06 - 0.2 * 0.2, 0.8 * (0.8 * 0.06 - 0.2 * 0.2) + 0.2 * 0.9],
        "mean": [0.0, 0.3, 0.05, 1.0 / 3.0],
        "raw": [0.0, 0.0, 0.0, 0.0],
    }
    for name, expected in bars.items():
        assert ImprovementRule(name, 0.2).pay(g) == pytest.approx([a - b for a, b in zip(g, expected, strict=True)])
    assert ImprovementRule("best").pay(g) == pytest.approx([0.3, 0.0, 0.6, 0.0])
    assert ImprovementRule("difference").pay(g) == pytest.approx([0.0, -0.5, 1.1, -0.4])


@pytest.mark.parametrize("name", [name for name in RULES if name != "raw"])
def test_the_next_lifetime_is_paid_as_if_there_had_been_none_before(name):
    env = make_single(course="review", reward=name)
    first = [step[1] for step in live(env, PLAYS[0], seed=0)]
    assert [step[1] for step in live(env, PLAYS[0])] == first


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("name", [name for name in RULES if name != "raw"])
def test_returns_that_rise_and_fall_within_an_episode_are_paid_in_full(name, dense):
    env = make_single(Steering, reward=name, dense=dense, episodes=12)
    random = np.random.default_rng(3)
    steps = live(env, lambda observation, info: random.uniform(-1, 1, 2), seed=1)
    assert min(info["raw_reward"] for *_, info in steps) < -0.3 and max(info["raw_reward"] for *_, info in steps) > 0.3
    g = [end["episode_return"] / 3.0 for end in episodes_of(steps)]
    assert [sum(pays) for pays in pays_by_episode(steps)] == pytest.approx(ImprovementRule(name).pay(g), abs=1e-12)


def test_continuous_rewards_sum_to_the_rules_pay():
    env = make_single(Steering, rate=0.5)
    random = np.random.default_rng(0)
    steps = live(env, lambda observation, info: random.uniform(-1, 1, 2), seed=1)
    ends = episodes_of(steps)
    g = [end["episode_return"] / 3.0 for end in ends]
    assert [sum(pays) for pays in pays_by_episode(steps)] == pytest.approx(ImprovementRule("improvement", 0.5).pay(g))


@pytest.mark.parametrize(
    "arguments", [("improved",), ("improvement", 1.5), ("improvement", float("nan")), ("best", True)]
)
def test_an_impossible_rule_is_refused(arguments):
    with pytest.raises(ValueError, match=r"received|Unknown reward rule"):
        ImprovementRule(*arguments)


def test_a_rule_refuses_dense_that_is_no_bool():
    with pytest.raises(ValueError, match="dense must be True or False, received 1"):
        ImprovementRule("improvement", 0.25, 1)


def test_a_numpy_rate_is_a_number():
    assert ImprovementRule("improvement", np.float32(0.5)).effective_rate == 0.5
