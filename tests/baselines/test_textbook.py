"""Textbook's agents: the solver against exact posteriors, learning by heart against its limit, and no memory at all."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.baselines.textbook import Algebraist, MarginNote, Memoriser, product_tables
from daytwo.envs.textbook import CHAPTERS, QUESTIONS, Textbook
from daytwo.evaluation import evaluate
from daytwo.evaluation.statistics import bootstrap_weights, difference
from daytwo.kernels import interpreted
from daytwo.streams import lifetime_seeds

LIFETIMES = 512
RARE = 1e-3  # what so few lifetimes may show nothing of


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv(Textbook, lanes, **options)


@functools.cache
def lived(agent=Algebraist, **options):
    """Normalised returns ``float64[lifetimes, episodes]``."""
    options = {"lifetimes": LIFETIMES, "seed": 1, **options}
    return evaluate(agent, Textbook, **options).normalized


def curve(agent=Algebraist, **options):
    return lived(agent, **options).mean(axis=0)


def sheets_of(returns, chapter):
    """The episodes of one chapter of the progressive course."""
    return returns[:, 10 * chapter : 10 * chapter + 10]


def normalised(right):
    """From the share of right answers."""
    return (np.asarray(right) - 1 / 8) / (7 / 8)


# --- the solver against independent truth ---------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "operators"), [(0, 1), (1, 3)])
def test_single_operators_are_learnt_as_fast_as_elimination_allows(level, operators):
    """With k of 8 values of an operator known, an unknown one is guessed among 8 - k: right with chance k/8 + 1/8."""
    entries, count = 8 * operators, QUESTIONS[level]
    asked = np.arange(10 * count)
    share = 1 - (1 - 1 / entries) ** asked  # of the entries that were asked so far
    # All 8 of an operator, by inclusion and exclusion.
    complete = sum((-1) ** k * math.comb(8, k) * (1 - k / entries) ** asked for k in range(9))
    right = share + (1 - complete) / 8
    expected = normalised(right.reshape(10, count).mean(axis=1))
    error = lived(course="single", level=level).std(axis=0) / math.sqrt(LIFETIMES)
    assert (abs(curve(course="single", level=level) - expected) <= 4.5 * error + RARE).all()


@functools.cache
def hypotheses():
    """All algebras of 4 symbols: operators ``[hypothesis, 3, 4]`` and products ``[hypothesis, 4, 4]``."""
    orders = np.array(list(itertools.permutations(range(4))))
    products = np.zeros((24, 4, 4), dtype=int)
    for product, order in zip(products, orders, strict=True):
        for c, d in itertools.product(range(4), repeat=2):
            product[order[c], order[d]] = order[(c + d) % 4]
    products = np.unique(products, axis=0)
    f, g, h, p = (axis.ravel() for axis in np.meshgrid(*[range(24)] * 3, range(len(products)), indexing="ij"))
    return np.stack([orders[f], orders[g], orders[h]], axis=1), products[p]


def answers_under_all(state):
    """The answer to a question under each of the hypotheses."""
    unary, product = hypotheses()
    rows = np.arange(len(unary))
    form, operators = int(state["form"]), state["operators"].tolist()
    x, y = state["operands"].tolist()
    if form == 0:
        value = np.full(len(rows), x)
        for operator in reversed([operator for operator in operators if operator >= 0]):
            value = unary[rows, operator, value]
        return value
    if form == 1:
        left = np.full(len(rows), x) if operators[0] < 0 else unary[:, operators[0], x]
        right = np.full(len(rows), y) if operators[1] < 0 else unary[:, operators[1], y]
        return product[rows, left, right]
    if form == 2:
        return (unary[:, operators[0]] == x).argmax(axis=1)
    return (product[:, :, x] == y).argmax(axis=1)


@pytest.mark.parametrize("level", range(6))
def test_with_four_symbols_answers_are_as_good_as_the_exact_posteriors_or_nearly(level):
    lanes, sheets = 16, 3
    env = make(lanes, symbols=4, course="single", level=level, episodes=sheets, questions=(4, 8, 8, 8, 8, 8))
    seeds = lifetime_seeds(3, 0, lanes)
    observations, _ = env.reset(seed=seeds)
    agent = Algebraist()
    agent.begin(env.lifetime_spec, seeds)
    fresh = np.ones(lanes, dtype=bool)
    alive = np.ones((lanes, len(hypotheses()[0])), dtype=bool)
    chances = []
    over = False
    while not over:
        actions, true = agent.act(observations, fresh), env.oracle_actions()
        for i in range(lanes):
            answers = answers_under_all(env._state[i])
            chance = np.bincount(answers[alive[i]], minlength=4) / alive[i].sum()
            chances.append((chance[actions[i]], chance.max()))
            alive[i] &= answers == true[i]
        fresh[:] = False
        observations, _, terminated, _, _ = env.step(actions)
        over = terminated.all()
    assert alive.any(axis=1).all()
    chosen, best = np.array(chances).reshape(sheets, -1, 2).mean(axis=1).T
    if level in (0, 1, 2, 5):
        assert chosen == pytest.approx(best)
    else:
        assert (chosen > best - 0.08).all()
        assert chosen[-1] > 0.98 * best[-1]
        assert chosen[1] > chosen[0] + 0.3


def test_there_are_as_many_products_as_numberings_up_to_units_and_any_entry_leaves_an_eighth():
    for symbols in range(4, 9):
        tables = product_tables(symbols).reshape(-1, 8, 8)
        units = sum(math.gcd(k, symbols) == 1 for k in range(symbols))
        assert len(np.unique(tables, axis=0)) == len(tables) == math.factorial(symbols) // units
        for value in range(symbols):
            assert ((tables[:, :symbols, :symbols] == value).sum(axis=0) == len(tables) // symbols).all()
    assert len(product_tables(8)) == 10_080
    env = make(64)
    env.reset(seed=0)
    known = {table.tobytes() for table in product_tables(8)}
    assert all(np.array(task["product"], dtype=np.uint8).tobytes() in known for task in env.tasks())


# --- what the family promises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(6))
def test_every_chapter_is_learnt_from_its_own_corrections_and_not_without_a_memory(level):
    adapted = curve(course="single", level=level)
    assert adapted[0] < 0.55
    assert adapted[9] > 0.95
    wiped = curve(course="single", level=level, memory="wiped", lifetimes=256, episodes=5)
    assert adapted[9] > wiped.max() + 0.4
    reactive = curve(MarginNote, course="single", level=level)
    assert adapted[9] > reactive.max() + 0.8


@pytest.mark.parametrize("chapter", range(1, 6))
def test_earlier_chapters_help_from_the_first_sheet(chapter):
    first = {course: sheets_of(lived(course=course), chapter)[:, 0] for course in ("progressive", "isolated")}
    gain = difference(first["progressive"], first["isolated"], bootstrap_weights(LIFETIMES))
    assert gain.low > 0.15
    if chapter >= 3:
        assert first["progressive"].mean() > 0.995  # all of it follows from what was learnt before


@pytest.mark.parametrize("chapter", range(2, 6))
def test_learning_by_heart_stays_far_below_over_the_first_five_sheets(chapter):
    means = [
        sheets_of(lived(agent, course="progressive"), chapter)[:, :5].mean(axis=1) for agent in (Algebraist, Memoriser)
    ]
    assert difference(*means, bootstrap_weights(LIFETIMES)).low > 0.3


def test_a_redrawn_algebra_leaves_the_solver_no_better_than_its_amnesiac_twin():
    for level in range(6):
        redrawn = lived(course="single", level=level, task="redrawn", lifetimes=256, episodes=5)
        wiped = lived(course="single", level=level, memory="wiped", lifetimes=256, episodes=5)
        error = np.hypot(redrawn.std(), wiped.std()) / math.sqrt(redrawn.size)
        assert redrawn.mean() < wiped.mean() + 3 * error


@pytest.mark.parametrize("level", range(6))
def test_another_algebra_is_noticed_and_learnt_from_scratch(level):
    switched = curve(course="switch", level=level, episodes=20, lifetimes=256)
    assert switched[9] > 0.95
    assert switched[10] < 0.55
    assert switched[19] > 0.95


def test_later_chapters_teach_the_earlier_ones():
    returns = lived(course="reversed", lifetimes=256)
    for chapter in range(5):
        assert returns[:, 10 * (5 - chapter)].mean() > 0.99
    review = lived(course="review", lifetimes=256)
    assert (review[:, 60:] == 1).all()


@pytest.mark.parametrize("settings", [{"depth": 4}, {"questions": (4, 9, 12, 20, 20, 60)}])
def test_other_settings_are_solved_too(settings):
    returns = lived(course="progressive", lifetimes=128, **settings)
    for chapter in range(len(CHAPTERS)):
        assert sheets_of(returns, chapter)[:, 9].mean() > 0.97


# --- learning by heart, and no memory -------------------------------------------------------------------------------


def test_the_memoriser_knows_what_it_was_asked_before_and_nothing_else():
    asked = np.arange(80)
    known = 1 - (7 / 8) ** asked
    expected = normalised((known + (1 - known) / 8).reshape(10, 8).mean(axis=1))
    returns = lived(Memoriser, course="single", level=0)
    error = returns.std(axis=0) / math.sqrt(LIFETIMES)
    assert (abs(returns.mean(axis=0) - expected) <= 4.5 * error + RARE).all()


def test_the_margin_note_answers_from_the_present_observation_alone():
    env = make(64, episodes=2)
    observations, _ = env.reset(seed=0)
    seen = [observations.copy()]
    over = False
    while not over:
        observations, _, terminated, _, _ = env.step(env.random_actions(env._lanes.stream.copy()))
        seen.append(observations.copy())
        over = terminated.all()
    rows = np.concatenate(seen)
    spec = env.lifetime_spec
    fresh = np.zeros(len(rows), dtype=bool)
    agent = MarginNote()
    agent.begin(spec, np.zeros(len(rows), dtype=np.uint64))
    answers = agent.act(rows, fresh)
    order = np.random.default_rng(0).permutation(len(rows))
    assert np.array_equal(agent.act(rows[order], ~fresh), answers[order])
    alone = MarginNote()
    alone.begin(spec, np.zeros(1, dtype=np.uint64))
    for k in order[:50]:
        assert alone.act(rows[k : k + 1], fresh[:1])[0] == answers[k]


def test_the_margin_note_pays_where_questions_come_again_and_by_operators_applied_twice():
    first = lived(MarginNote, course="single", level=0)
    assert first.mean() == pytest.approx(0.11, abs=0.01)
    # f(f(x)) = x and f(f(f(x))) = x for two symbols in eight: the one third and one ninth of words that repeat.
    repeats = normalised(1 / 8 + (1 / 4 * 1 / 3 + 1 / 2 * 1 / 9) * (1 / 4 - 1 / 8))
    assert lived(MarginNote, course="single", level=3).mean() > repeats
    for level in range(1, 6):
        assert 0.0 < lived(MarginNote, course="single", level=level).mean() < 0.05


# --- agents in general ----------------------------------------------------------------------------------------------


def live(env, seeds, agent):
    """Actions ``int64[steps, N]``."""
    observations, _ = env.reset(seed=seeds)
    agent.begin(env.lifetime_spec, np.asarray(seeds))
    fresh = np.ones(len(seeds), dtype=bool)
    actions = []
    over = False
    while not over:
        actions.append(agent.act(observations, fresh).copy())
        observations, _, terminated, _, _ = env.step(actions[-1])
        fresh = np.zeros(len(seeds), dtype=bool)
        over = terminated.all()
    return np.array(actions)


@pytest.mark.parametrize("agent", [Algebraist, Memoriser, MarginNote])
def test_answers_depend_neither_on_the_batch_nor_on_compilation(agent):
    seeds = lifetime_seeds(3, 0, 4)
    whole = live(make(4, course="reversed", episodes=2), seeds, agent())
    for i in range(4):
        alone = live(make(1, course="reversed", episodes=2), seeds[i : i + 1], agent())
        assert np.array_equal(alone[:, 0], whole[:, i])
    options = {"course": "reversed", "episodes": 1, "symbols": 4}
    small = live(make(2, **options), seeds[:2], agent())
    with interpreted():
        assert np.array_equal(live(make(2, compiled=False, **options), seeds[:2], agent()), small)


def test_agents_say_which_environments_they_fit():
    spec = make(1).lifetime_spec
    bare = make(1, show=("previous_action", "level")).lifetime_spec
    blind = make(1, show=()).lifetime_spec
    other = dataclasses.replace(spec, family="Bandit")
    for agent, fitting in ((Algebraist, 1), (Memoriser, 1), (MarginNote, 2)):
        assert [agent.fits(one) for one in (spec, bare, blind, other)] == [k < fitting for k in range(4)]
