"""No safe reward rule pays an agent for failing first; the two exploitable ones do."""

import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daytwo.course import course_names, named_course
from daytwo.improvement import EXPLOITABLE_RULES, SAFE_RULES, ImprovementRule, improvement, next_bar


def levels_lived(course, seed):
    """The level of every episode, in lived order."""
    stages = list(course.stages)
    if course.shuffle:
        stages = stages[seed % len(stages) :] + stages[: seed % len(stages)]
    return [stage.level for stage in stages for _ in range(stage.episodes)]


def total_paid(rule, levels, normalized_returns):
    """What a lifetime is paid, each level keeping its own bar through every visit."""
    bars, played, total = {}, {}, 0.0
    for level, g in zip(levels, normalized_returns, strict=True):
        bar, before = bars.get(level, 0.0), played.get(level, 0)
        total += improvement(rule.kind, bar, g, before)
        bars[level] = next_bar(rule.kind, rule.effective_rate, bar, g, before)
        played[level] = before + 1
    return total


@st.composite
def lifetimes(draw):
    course = named_course(
        draw(st.sampled_from(course_names())), levels=draw(st.integers(1, 3)), episodes=draw(st.integers(2, 5))
    )
    levels = levels_lived(course, draw(st.integers(0, 5)))
    g = st.floats(-2.0, 2.0, allow_nan=False)
    returns = draw(st.lists(g, min_size=len(levels), max_size=len(levels)))
    return levels, returns, draw(st.integers(0, len(levels) - 1)), draw(st.floats(0.0, 2.0))


@given(st.sampled_from(SAFE_RULES), st.floats(0.0, 1.0), lifetimes())
def test_raising_one_return_never_lowers_the_total_pay_under_a_safe_rule(name, rate, lifetime):
    levels, returns, episode, raised_by = lifetime
    rule = ImprovementRule(name, rate)
    raised = [*returns]
    raised[episode] += raised_by
    assert total_paid(rule, levels, raised) >= total_paid(rule, levels, returns) - 1e-9


@given(st.sampled_from(SAFE_RULES + EXPLOITABLE_RULES), st.floats(0.0, 1.0), lifetimes())
def test_the_rule_pays_each_level_as_if_its_visits_were_one(name, rate, lifetime):
    levels, returns, _, _ = lifetime
    rule = ImprovementRule(name, rate)
    by_level = [[g for g, at in zip(returns, levels, strict=True) if at == level] for level in set(levels)]
    assert total_paid(rule, levels, returns) == pytest.approx(sum(sum(rule.pay(part)) for part in by_level))


@given(st.floats(0.0, 1.0), st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=8))
def test_the_weight_of_an_episode_is_the_published_power(rate, returns):
    weights = [(1.0 - rate) ** (len(returns) - 1 - j) for j in range(len(returns))]
    expected = sum(weight * g for weight, g in zip(weights, returns, strict=True))
    assert sum(ImprovementRule("improvement", rate).pay(returns)) == pytest.approx(expected)


@pytest.mark.parametrize("name", EXPLOITABLE_RULES)
@pytest.mark.parametrize("course", [name for name in course_names() if name != "switch"])
def test_an_exploitable_rule_pays_for_a_bad_first_episode_in_every_course(name, course):
    levels = levels_lived(named_course(course, levels=2, episodes=3), 0)
    good, bad = [1.0] * len(levels), [0.0] + [1.0] * (len(levels) - 1)
    rule = ImprovementRule(name)
    assert total_paid(rule, levels, bad) > total_paid(rule, levels, good) + 0.4


# --- the optimal agent under each rule, by exact dynamic programming -----------------------------------------------

CHANCES = (0.1, 0.3, 0.5, 0.7, 0.9)
EPISODES, PULLS = 3, 3
RANDOM = PULLS * sum(CHANCES) / len(CHANCES)
ORACLE = PULLS * sum(max(pair) for pair in itertools.product(CHANCES, CHANCES)) / len(CHANCES) ** 2


@functools.cache
def chance_of_a_win(wins, losses):
    """Posterior mean of one arm under the uniform prior on `CHANCES`."""
    weights = [p**wins * (1.0 - p) ** losses for p in CHANCES]
    return sum(p * weight for p, weight in zip(CHANCES, weights, strict=True)) / sum(weights)


def optimal_normalized_returns(rule):
    """Mean normalised return of each episode under the policy of highest expected pay; ties go to the first arm."""

    @functools.cache
    def best(pulled, counts, total, bar):
        if pulled == EPISODES * PULLS:
            return 0.0, (0.0,) * EPISODES
        episode, last = pulled // PULLS, pulled % PULLS == PULLS - 1
        choices = []
        for arm in range(2):
            wins, losses = counts[arm]
            chance = chance_of_a_win(wins, losses)
            value, returns = 0.0, [0.0] * EPISODES
            for reward, probability in ((1, chance), (0, 1.0 - chance)):
                seen = list(counts)
                seen[arm] = (wins + reward, losses + 1 - reward)
                pay, after, next_total = 0.0, bar, total + reward
                if last:
                    g = (total + reward - RANDOM) / (ORACLE - RANDOM)
                    pay = improvement(rule.kind, bar, g, episode)
                    after = round(next_bar(rule.kind, rule.effective_rate, bar, g, episode), 12)
                    next_total = 0
                later, later_returns = best(pulled + 1, tuple(seen), next_total, after)
                value += probability * (pay + later)
                returns = [r + probability * x for r, x in zip(returns, later_returns, strict=True)]
                returns[episode] += probability * reward
            choices.append((value, tuple(returns)))
        return choices[0] if choices[0][0] >= choices[1][0] - 1e-9 else choices[1]

    return [(total - RANDOM) / (ORACLE - RANDOM) for total in best(0, ((0, 0), (0, 0)), 0, 0.0)[1]]


@pytest.mark.parametrize(
    ("name", "rate", "expected"),
    [
        ("return", 0.25, (0.333, 0.684, 0.774)),
        ("improvement", 0.5, (0.333, 0.684, 0.774)),
        ("mean", 0.25, (-0.333, 0.702, 0.788)),
        ("difference", 0.25, (-0.333, -0.393, 0.799)),
    ],
)
def test_the_optimal_agent_fails_first_under_the_exploitable_rules_alone(name, rate, expected):
    assert optimal_normalized_returns(ImprovementRule(name, rate)) == pytest.approx(expected, abs=5e-4)


def test_the_optimal_agent_does_not_fail_first_under_the_default_rule():
    assert optimal_normalized_returns(ImprovementRule())[0] > 0.3
