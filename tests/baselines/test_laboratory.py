"""Laboratory's agents: an exact posterior held to brute force, and what can be computed by hand."""

import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.baselines.laboratory import Experimenter, LastExperiment, enumerate_theories, likelier_on
from daytwo.envs.laboratory import Laboratory
from daytwo.kernels import interpreted
from daytwo.streams import lifetime_seeds

SMALL = {"switches": 5, "experiments": (1, 2, 2, 3), "questions": 4, "noise": (0.0, 0.0, 0.0, 0.2)}


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, **options}
    return daytwo.LifetimeVectorEnv(Laboratory, lanes, **options)


def live(env, seeds, agent=None, wiped=False):
    """Normalised returns ``float64[N, episodes]``."""
    agent = Experimenter() if agent is None else agent
    spec = env.lifetime_spec
    observations, _ = env.reset(seed=seeds)
    agent.begin(spec, np.asarray(seeds))
    fresh = np.ones(len(seeds), dtype=bool)
    over = np.zeros(len(seeds), dtype=bool)
    returns = np.full((len(seeds), spec.course.episodes), np.nan)
    while not over.all():
        if wiped:
            fresh = observations[:, spec.layout.start("episode_start")] > 0.5
            observations = spec.layout.wipe(observations, fresh)
        observations, _, terminated, _, info = env.step(agent.act(observations, fresh))
        fresh = np.zeros(len(seeds), dtype=bool)
        over |= terminated
        if "_episode_return" in info:
            ended = info["_episode_return"]
            returns[ended, info["episode_index"][ended]] = info["episode_normalized_return"][ended]
    assert not np.isnan(returns).any()
    return returns


@functools.cache
def curve(lifetimes=1024, wiped=False, agent=Experimenter, marks=None, **options):
    """Mean normalised return by episode."""
    made = agent() if marks is None else agent(marks=marks)
    return live(make(lifetimes, **options), lifetime_seeds(1, 0, lifetimes), made, wiped=wiped).mean(axis=0)


class BruteForce:
    """The posterior over all tasks, one by one, from everything that was ever seen, for one lifetime."""

    def __init__(self, switches, noise, questions):
        self.switches, self.noise, self.questions = switches, noise, questions
        literals = range(2 * switches)
        tasks = [task for task in itertools.product(literals, repeat=4) if len({literal // 2 for literal in task}) == 4]
        # lit[level, task, setting]
        settings = np.arange(1 << switches)
        table = np.array([((settings >> (literal // 2)) & 1) ^ (literal & 1) for literal in literals]).astype(bool)
        a, b, c, d = (table[[task[k] for task in tasks]] for k in range(4))
        self.lit = np.array([a, a & b, (a & b) ^ c, (a & b) ^ c ^ d])
        self.log_weights = np.zeros(len(tasks))

    def read(self, level, setting, lit):
        noise = self.noise[level]
        with np.errstate(divide="ignore"):
            self.log_weights += np.log(np.where(self.lit[level, :, setting] == lit, 1.0 - noise, noise))

    def asked(self, level, setting):
        lit = self.lit[level]
        same = np.where(lit[:, setting], lit.sum(axis=1), (~lit).sum(axis=1))
        self.log_weights += np.log(0.5 / same)

    def marked(self, level, settings, answers, marks):
        right = (self.lit[level][:, settings] == np.array(answers, dtype=bool)).sum(axis=1)
        self.log_weights[right != marks] = -np.inf

    def probability_of_on(self, level, setting):
        weights = np.exp(self.log_weights - self.log_weights.max())
        return (weights * self.lit[level, :, setting]).sum() / weights.sum()


@pytest.mark.parametrize(
    ("course", "lifetimes", "settings"),
    [("shuffled", 12, SMALL), ("progressive", 4, SMALL), ("review", 1, {}), ("reversed", 1, {})],
)
@pytest.mark.parametrize("marks", [True, False])
def test_the_experimenter_acts_on_the_exact_posterior(course, lifetimes, settings, marks):
    env = make(1, course=course, episodes=3, compiled=not settings, **settings)  # a lane alone is not worth compiling
    spec = env.lifetime_spec
    n, layout = spec.settings["switches"], spec.layout
    checked = 0
    for seed in lifetime_seeds(7, 0, lifetimes):
        agent, brute = Experimenter(marks=marks), BruteForce(n, spec.settings["noise"], spec.settings["questions"])
        observations, _ = env.reset(seed=[int(seed)])
        agent.begin(spec, np.array([seed]))
        fresh, over, questions, answers, level = np.ones(1, dtype=bool), False, [], [], -1
        while not over:
            row = observations[0]
            if row[layout.start("episode_start")] > 0.5:
                if questions and marks:
                    brute.marked(level, questions, answers, round(float(row[layout.start("previous_reward")])))
                questions, answers, level = [], [], int(row[layout["level"]].argmax())
            setting = int((row[layout["switches"]] > 0) @ (1 << np.arange(n)))
            if row[layout.start("lamp")] != 0:
                tested = int((row[layout["tested"]] > 0) @ (1 << np.arange(n)))
                brute.read(level, tested, bool(row[layout.start("lamp")] > 0))
            action = int(agent.act(observations, fresh)[0])
            if row[layout.start("exam")] > 0.5:
                brute.asked(level, setting)
                probability = brute.probability_of_on(level, setting)
                if abs(probability - 0.5) > 1e-6:
                    assert action == n + 1 + (probability > 0.5)
                    checked += 1
                questions.append(setting)
                answers.append(action - n - 1)
            else:
                flips = [setting ^ (1 << k) for k in range(n)] + [setting]
                away = [abs(brute.probability_of_on(level, flip) - 0.5) for flip in flips]
                assert away[action] == pytest.approx(min(away), abs=1e-7)
                checked += 1
            observations, _, terminated, _, _ = env.step(np.array([action]))
            fresh, over = np.zeros(1, dtype=bool), bool(terminated[0])
    assert checked > 40 * lifetimes


def test_theories_are_all_distinct_functions_and_every_task_has_its_own():
    theories = enumerate_theories(5)
    assert np.diff(enumerate_theories(8).start).tolist() == [16, 112, 1344, 3360]
    assert len(enumerate_theories(8).joint) == 16 * 14 * 12 * 10
    settings = np.arange(32)
    table = np.array([((settings >> (literal // 2)) & 1) ^ (literal & 1) for literal in range(10)])
    table = np.concatenate([table, np.ones((1, 32), dtype=int), np.zeros((1, 32), dtype=int)])
    a, b, c, d = (table[theories.literals[:, k]] for k in range(4))
    functions = (a & b) ^ c ^ d
    for level in range(4):
        own = functions[theories.start[level] : theories.start[level + 1]]
        assert len(np.unique(own, axis=0)) == len(own)
    tasks = [task for task in itertools.product(range(10), repeat=4) if len({one // 2 for one in task}) == 4]
    for row, (a, b, c, d) in zip(theories.joint, tasks, strict=True):
        lit = [table[a], table[a] & table[b]]
        lit += [lit[1] ^ table[c], lit[1] ^ table[c] ^ table[d]]
        for level in range(4):
            assert np.array_equal(functions[theories.start[level] + row[level]], lit[level])


def test_the_first_episode_at_the_first_level_is_worth_what_it_is_by_hand():
    # After one reading one literal per switch is left, 8 of them. In the next setting B of them say on, binomially;
    # turning one switch changes B by one towards 4. Then the reading leaves m, and a question is answered as most of
    # these m independent literals say.
    def guess(m):
        return sum(math.comb(m, k) * max(k, m - k) for k in range(m + 1)) / 2**m / m

    right = 0.0
    for say_on in range(9):
        near = say_on + (say_on < 4) - (say_on > 4)
        for left in (near, 8 - near):
            right += math.comb(8, say_on) / 256 * left / 8 * guess(left)
    expected = 2 * right - 1
    first = live(make(8192, course="single", level=0, episodes=1), lifetime_seeds(2, 0, 8192))[:, 0]
    assert abs(first.mean() - expected) < 4 * first.std() / np.sqrt(8192)


def test_the_reactive_agents_table_and_return_are_what_they_are_by_hand():
    # At level 0 the lamp does what it did if the switch stands as it stood: likelier if fewer than half differ.
    assert likelier_on(8, 0, 0.0)[1].tolist() == [True] * 4 + [False] * 5
    assert likelier_on(8, 0, 0.0)[0].tolist() == [False] * 5 + [True] * 4
    # The first of 8 questions is right with probability 1/2 + E|B - 4| / 8, B binomial.
    gain = sum(math.comb(8, k) * abs(k - 4) for k in range(9)) / 256 / 8
    returns = live(make(4096, course="single", level=0, episodes=2), lifetime_seeds(1, 0, 4096), LastExperiment()).mean(
        axis=1
    )
    assert abs(returns.mean() - gain / 4) < 4 * returns.std() / 64
    for level in range(1, 4):
        assert abs(curve(course="single", level=level, agent=LastExperiment).mean()) < 0.06


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        # Mean normalised return in episodes 1, 2, 3, 5, 10.
        (0, (0.38, 1.00, 1.00, 1.00, 1.00)),
        (1, (0.38, 0.91, 1.00, 1.00, 1.00)),
        (2, (0.13, 0.32, 0.85, 1.00, 1.00)),
        (3, (0.08, 0.36, 0.80, 0.99, 1.00)),
    ],
)
def test_the_experimenter_adapts_within_a_few_episodes_and_its_amnesiac_twin_does_not(level, expected):
    adapted = curve(course="single", level=level)
    assert adapted[[0, 1, 2, 4, 9]] == pytest.approx(expected, abs=0.05)  # standard error at most .013
    wiped = curve(course="single", level=level, episodes=3, lifetimes=256, wiped=True)
    assert wiped.max() < 0.5
    assert adapted[9] > wiped.max() + 0.5


def test_without_the_marks_it_takes_longer_and_gets_there_all_the_same():
    for level in range(1, 4):
        with_marks = curve(course="single", level=level)
        without = curve(course="single", level=level, marks=False, lifetimes=256)
        assert without[1:4].mean() < with_marks[1:4].mean() - 0.04
        assert without[9] > 0.97


def test_what_earlier_levels_showed_pays_from_the_first_episode():
    progressive, isolated = curve(course="progressive"), curve(course="isolated")
    for level, least in ((1, 0.7), (2, 0.45), (3, 0.65)):
        assert progressive[10 * level] > least
        assert progressive[10 * level] > curve(course="single", level=level)[0] + 0.3
        assert progressive[10 * level] > isolated[10 * level] + 0.3


def test_from_the_top_down_nothing_is_left_to_learn():
    # Whoever knows the top level's rule still has to find out at level 0 which of the pair comes first.
    reversed_course = curve(course="reversed", lifetimes=256)
    assert reversed_course[9] > 0.99
    assert reversed_course[[11, 19, 21, 29, 31, 39]].min() > 0.99


def test_a_redrawn_task_leaves_the_learner_no_better_than_its_amnesiac_twin():
    for level in (0, 3):
        redrawn = curve(course="single", level=level, task="redrawn", lifetimes=512)
        assert redrawn.mean() < curve(course="single", level=level)[0] + 0.02


def test_a_contradicted_belief_is_given_up_and_experiments_begin_anew():
    for level in (0, 3):
        switched = curve(course="switch", level=level, episodes=20, lifetimes=512)
        assert switched[9] > 0.99
        assert switched[10] < 0.4
        assert switched[19] > 0.98
    assert curve(course="isolated")[[19, 29, 39]].min() > 0.95


def test_it_learns_from_what_others_do_even_if_that_was_not_offered():
    env = make(64, course="single", level=2, episodes=12)
    seeds = lifetime_seeds(5, 0, 64)
    agent, generator = Experimenter(), np.random.default_rng(0)
    observations, _ = env.reset(seed=seeds)
    agent.begin(env.lifetime_spec, seeds)
    fresh = np.ones(64, dtype=bool)
    over = np.zeros(64, dtype=bool)
    episode = np.zeros(64, dtype=int)
    last = np.full(64, np.nan)
    while not over.all():
        own = agent.act(observations, fresh)
        exam = observations[:, 8] > 0.5
        # One action in twelve is not offered, so that exams are finished in time.
        other = np.where(exam ^ (generator.random(64) < 1 / 12), generator.integers(9, 11, 64), 8)
        observations, _, terminated, _, info = env.step(np.where(episode == 11, own, other))
        fresh[:] = False
        over |= terminated
        if "_episode_return" in info:
            episode += info["_episode_return"]
            last = np.where(info["_episode_return"], info["episode_normalized_return"], last)
    assert last.mean() > 0.97


def test_results_depend_neither_on_the_batch_nor_on_compilation():
    seeds = lifetime_seeds(3, 0, 6)
    options = {"course": "shuffled", "episodes": 2}
    for agent in (Experimenter, LastExperiment):
        whole = live(make(6, **options), seeds, agent())
        for i in range(6):
            alone = live(make(1, **options), seeds[i : i + 1], agent())
            assert np.array_equal(alone[0], whole[i])
    whole = live(make(2, **options), seeds[:2])
    with interpreted():
        plain = live(make(2, compiled=False, **options), seeds[:2])
    assert np.array_equal(plain, whole)


@pytest.mark.parametrize("switches", [4, 10])
def test_other_sizes_are_learnt_as_well(switches):
    options = {"episodes": 4, "switches": switches, "questions": 12, "compiled": False}
    assert curve(course="progressive", lifetimes=8, **options)[-1] > 0.95


def test_agents_say_which_environments_they_fit():
    spec = make(1).lifetime_spec
    for agent in (Experimenter, LastExperiment):
        assert agent.fits(spec)
        assert agent.fits(make(1, switches=10, experiments=(0, 0, 0, 0), compiled=False).lifetime_spec)
        assert not agent.fits(make(1, show=("previous_action",)).lifetime_spec)
        assert not agent.fits(dataclasses.replace(spec, family="Bandit"))
    with pytest.raises(ValueError, match="marks must be True or False"):
        Experimenter(marks=1)
