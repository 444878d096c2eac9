"""LearningSet: rewards by the rules, learners against exact answers, and Harlow's problems."""

import collections
import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.baselines.learning_set import OneFeature, RulePosterior, completions
from daytwo.calibration import measure
from daytwo.envs.learning_set import DIMENSIONS, HARLOW, LEFT, RIGHT, VALUES, LearningSet
from daytwo.kernels import interpreted
from daytwo.streams import lifetime_seeds


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv(LearningSet, lanes, **options)


def live(env, seeds, agent=None, wiped=False, watch=None):
    """Normalised returns ``float64[N, episodes]`` and right choices ``float64[N, episodes, trials]``."""
    agent = RulePosterior() if agent is None else agent
    spec, lanes = env.lifetime_spec, len(seeds)
    observations, _ = env.reset(seed=seeds)
    agent.begin(spec, np.asarray(seeds))
    fresh, over = np.ones(lanes, dtype=bool), np.zeros(lanes, dtype=bool)
    returns = np.full((lanes, spec.course.episodes), np.nan)
    right = np.full((lanes, spec.course.episodes, env.family.trials), np.nan)
    while not over.all():
        if wiped:
            fresh = observations[:, spec.layout.start("episode_start")] > 0.5
            observations = spec.layout.wipe(observations, fresh)
        actions = agent.act(observations, fresh)
        seen = observations
        observations, _, terminated, _, info = env.step(actions)
        if watch is not None:
            watch(seen, actions, info)
        fresh = np.zeros(lanes, dtype=bool)
        over |= terminated
        if "_episode_return" in info:
            ended = info["_episode_return"]
            at = ended, info["episode_index"][ended]
            returns[at] = info["episode_normalized_return"][ended]
            right[at] = info["right_by_trial"][ended]
            assert np.array_equal(right[at].sum(axis=1), info["episode_return"][ended])
    assert not np.isnan(returns).any()
    return returns, right


@functools.cache
def curve(lifetimes=1024, wiped=False, agent=RulePosterior, **options):
    """Mean normalised return by episode."""
    return live(make(lifetimes, **options), lifetime_seeds(1, 0, lifetimes), agent(), wiped)[0].mean(axis=0)


def with_tasks(tasks, **options):
    env = make(len(tasks), **options)
    env.reset(seed=0)
    env.set_tasks(np.ones(len(tasks), dtype=bool), [{"task": task} for task in tasks])
    return env


def a_task(relevant=(0, 1, 2, 3), flip=2):
    return {"relevant": list(relevant), "flip": flip}


class Coin:
    """Chooses at random."""

    def begin(self, spec, seeds):
        self.generator = np.random.default_rng(0)

    def act(self, observations, fresh):
        return self.generator.integers(0, 2, len(fresh))


# --- the rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, HARLOW, {"trials": 6, "flip": False}])
def test_random_play_gets_half_of_the_trials_and_the_oracle_all(settings):
    family = LearningSet(**settings)
    measured = measure(family)
    for level in range(len(family.levels)):
        assert measured.oracle_return[level] == family.exact_oracle_return(level) == family.trials
        assert measured.random_return[level] == pytest.approx(family.trials / 2, abs=5 * measured.random_error[level])


@pytest.mark.parametrize("level", range(4))
def test_the_object_with_the_marked_ones_value_pays_and_the_other_one_after_the_flip(level):
    tasks = [
        a_task(relevant, flip)
        for relevant in [(3, 5, 0, 7), (7, 6, 5, 4), (0, 1, 2, 3), (2, 4, 6, 1)]
        for flip in (1, 2, 3)
    ] * 8
    env = with_tasks(tasks, course="single", level=level, episodes=6)
    steps = []
    observations, _ = env.reset()
    coin = Coin()
    coin.begin(None, None)
    for _ in range(6 * 5):
        actions = coin.act(observations, np.zeros(len(tasks)))
        seen = observations
        observations, _, _, _, info = env.step(actions)
        steps.append((seen, actions, info["raw_reward"].copy()))
    assert [task["relevant"] for task in env.tasks()] == [task["relevant"] for task in tasks]
    cues = set()
    for episode in range(6):
        for i, task in enumerate(tasks):
            looked = steps[5 * episode][0][i]
            cue = int(looked[16:20].argmax())
            cues.add(cue)
            dimension = task["relevant"][cue]
            marked = int(looked[20:22].argmax())
            assert looked[20:22].sum() == 1
            assert steps[5 * episode][2][i] == 0
            value = looked[8 * marked + dimension]
            for trial in range(4):
                seen, actions, rewards = (part[i] for part in steps[5 * episode + 1 + trial])
                assert seen[16 + cue] == 1
                assert not seen[20:22].any()
                wanted = 1 - value if level == 3 and trial >= task["flip"] else value
                assert rewards == (seen[8 * actions + dimension] == wanted)
    assert cues == set(range(level + 1))


def test_objects_are_each_others_opposite_and_every_pair_is_as_frequent():
    env = make(2048, course="single", level=2, episodes=2)
    observations, _ = env.reset(seed=0)
    rows = [observations]
    for _ in range(9):
        rows.append(env.step(np.zeros(2048, dtype=np.int64))[0])
    rows = np.concatenate(rows)
    left, right = rows[:, :8], rows[:, 8:16]
    assert ((left == 0) | (left == 1)).all()
    assert np.array_equal(left + right, np.ones_like(left))
    counts = np.bincount((left @ (1 << np.arange(8))).astype(int), minlength=256)
    expected = len(rows) / 256
    # Chi-square with 255 degrees of freedom, at 5 standard deviations.
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * math.sqrt(2 * 255)
    cue_counts = observations[:, 16:20].sum(axis=0)
    assert cue_counts[3] == 0
    assert cue_counts[:3] == pytest.approx(2048 / 3, abs=5 * math.sqrt(2048 * 2 / 9))


def test_kept_objects_change_nothing_but_their_sides():
    env = make(512, episodes=3, **HARLOW)
    observations, _ = env.reset(seed=0)
    swaps, problems = [], set()
    for step in range(17):
        before = observations
        observations, *_ = env.step(np.zeros(512, dtype=np.int64))
        same = (before[:, :8] == observations[:, :8]).all(axis=1)
        opposite = (before[:, :8] == observations[:, 8:16]).all(axis=1)
        if step % 6 != 5:
            assert (same ^ opposite).all()
            swaps.append(opposite.mean())
        else:
            problems.add(float((same | opposite).mean()))
    assert np.mean(swaps) == pytest.approx(0.5, abs=0.03)
    assert max(problems) < 0.05  # fresh objects in each problem: equal by chance in 1 of 128


def test_all_tasks_are_drawn_equally_often():
    env = make(12_000, dimensions=4, trials=2)
    env.reset(seed=0)
    counts = collections.Counter((*task["relevant"], task["flip"]) for task in env.tasks())
    assert set(counts) == {(*relevant, 1) for relevant in itertools.permutations(range(4))}
    # Chi-square with 23 degrees of freedom, at 5 standard deviations.
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 23 + 5 * math.sqrt(46)
    assert LearningSet().distinct_tasks == 8 * 7 * 6 * 5 * 3
    assert LearningSet(**HARLOW).splits == ("all",)


def test_splits_share_no_task():
    seen = {}
    for split in ("train", "validation", "test"):
        env = make(4096, split=split)
        env.reset(seed=0)
        seen[split] = {(*task["relevant"], task["flip"]) for task in env.tasks()}
    assert sum(len(tasks) for tasks in seen.values()) == len(set.union(*seen.values()))


# --- the reference learner ----------------------------------------------------------------------------------------


def exact_curve(dimensions=8, trials=4, episodes=10):
    """The mean normalised return of the Bayes-optimal learner with one cue, by the number of dimensions left.

    Of ``n`` left, each but the true one says the same as the true one with probability 1/2.
    """
    left = np.zeros(dimensions + 1)
    left[dimensions] = 1.0
    values = []
    for _ in range(episodes):
        right = 0.0
        for _ in range(trials):
            after = np.zeros_like(left)
            for n in range(1, dimensions + 1):
                for agree in range(1, n + 1):
                    probability = left[n] * math.comb(n - 1, agree - 1) / 2 ** (n - 1)
                    right += probability * (1.0 if 2 * agree > n else 0.5 if 2 * agree == n else 0.0)
                    after[agree] += probability
            left = after
        values.append((right - trials / 2) / (trials / 2))
    return np.array(values)


def test_with_one_cue_the_learners_curve_is_the_exact_one():
    exact = exact_curve()
    assert exact[:3] == pytest.approx([0.4731, 0.9097, 0.9936], abs=1e-4)
    measured = curve(4096, course="single", level=0)
    assert measured == pytest.approx(exact, abs=5 * 0.5 / math.sqrt(4096))


class Enumeration:
    """Checks choices against Bayes over all rules, listed one by one: slow, simple, and nothing like the learner."""

    def __init__(self, family, lanes):
        flips = range(1, family.trials) if family.keywords["flip"] else [0]
        rules = itertools.product(itertools.permutations(range(family.dimensions), family.cues), flips)
        rows = [(*relevant, flip) for relevant, flip in rules]
        self.rules, self.family = np.array(rows), family
        self.possible = np.ones((lanes, len(rows)), dtype=bool)
        self.example = [None] * lanes
        self.trial = np.zeros(lanes, dtype=int)
        self.checked = self.ties = 0

    def __call__(self, observations, actions, info):
        family, size = self.family, self.family.dimensions
        for i, row in enumerate(observations):
            if row[self.layout.start("episode_start")] > 0.5:
                self.trial[i], self.example[i] = 0, None
            objects = row[:size], row[size : 2 * size]
            cue = int(row[2 * size : 2 * size + family.cues].argmax())
            marked = row[2 * size + family.cues :][:2]
            if marked.any():
                self.example[i] = objects[int(marked.argmax())]
                continue
            level = int(row[self.layout["level"]].argmax())
            flipped = (level == family.cues - 1) & (self.trial[i] >= self.rules[:, -1]) & family.keywords["flip"]
            dimension = self.rules[:, cue]
            paying = RIGHT if (actions[i] == RIGHT) == (info["raw_reward"][i] > 0.5) else LEFT
            if self.example[i] is None:
                self.example[i] = objects[paying]
            else:
                says = objects[LEFT][dimension] != (self.example[i][dimension] != flipped)
                votes = [int((self.possible[i] & (says == side)).sum()) for side in (LEFT, RIGHT)]
                assert sum(votes) > 0
                self.checked += 1
                self.ties += votes[LEFT] == votes[RIGHT]
                assert votes[actions[i]] == max(votes)
                self.possible[i] &= says == paying
            self.trial[i] += 1


@pytest.mark.parametrize(
    ("settings", "lanes"),
    [
        ({}, 10),
        ({"look": False, "trials": 5}, 5),
        ({"look": False, "cues": 1, "objects": "kept"}, 10),
        ({"dimensions": 5, "flip": False}, 10),
    ],
)
def test_every_choice_is_the_most_probable_one_by_enumeration_of_all_rules(settings, lanes):
    env = make(lanes, course="shuffled", episodes=5, **settings)
    enumeration = Enumeration(env.family, lanes)
    enumeration.layout = env.lifetime_spec.layout
    live(env, lifetime_seeds(2, 0, lanes), watch=enumeration)
    assert enumeration.checked == lanes * env.course.episodes * (env.family.trials - (not env.family.look))
    assert enumeration.ties < enumeration.checked / 3


def test_completions_count_the_ways_to_give_the_other_cues_dimensions_of_their_own():
    generator = np.random.default_rng(0)
    for cues in (1, 2, 3, 4):
        settings = LearningSet(cues=cues).settings[0]
        for _ in range(50):
            may = generator.integers(0, 256, (1, 1, cues))
            cue, dimension = int(generator.integers(cues)), int(generator.integers(8))
            sets = [[d for d in range(8) if may[0, 0, k] >> d & 1] for k in range(cues) if k != cue]
            ways = sum(len({*choice, dimension}) == cues for choice in itertools.product(*sets))
            assert completions(settings, may, 0, 0, cue, dimension) == ways


@pytest.mark.parametrize("level", range(4))
def test_the_learner_adapts_within_ten_episodes_and_neither_its_twin_nor_the_memoryless_agent_does(level):
    adapted = curve(course="single", level=level)
    assert adapted[0] < 0.55
    assert adapted[9] > 0.9
    wiped = curve(512, course="single", level=level, episodes=4, wiped=True)
    assert wiped == pytest.approx(adapted[0], abs=0.12)
    redrawn = curve(512, course="single", level=level, episodes=4, task="redrawn")
    assert redrawn.mean() < wiped.mean() + 0.02
    assert abs(curve(course="single", level=level, agent=OneFeature).mean() - 0.055) < 0.03


def test_what_earlier_levels_showed_pays_from_the_first_episode():
    progressive, isolated = curve(course="progressive"), curve(course="isolated")
    for level in (1, 2, 3):
        assert progressive[10 * level] > isolated[10 * level] + 0.2
        assert progressive[10 * level] > curve(course="single", level=level)[0] + 0.2


def test_a_changed_task_is_noticed_and_learnt_from_fresh_beliefs():
    switched = curve(course="switch", level=0, episodes=20)
    assert switched[9] > 0.999
    assert switched[10] < 0.5
    assert switched[13] > 0.97
    assert curve(course="switch", level=3, episodes=40)[39] > 0.97


def test_results_depend_neither_on_the_batch_nor_on_compilation():
    seeds = lifetime_seeds(3, 0, 5)
    options = {"course": "progressive", "episodes": 3}
    whole = live(make(5, **options), seeds)[1]
    for i in range(5):
        assert np.array_equal(live(make(1, **options), seeds[i : i + 1])[1][0], whole[i])
    with interpreted():
        plain = live(make(2, compiled=False, **options), seeds[:2])[1]
    assert np.array_equal(plain, whole[:2])


def test_agents_say_which_environments_they_fit():
    for agent in (RulePosterior, OneFeature):
        assert agent.fits(make(1).lifetime_spec)
        assert agent.fits(make(1, **HARLOW).lifetime_spec)
        assert not agent.fits(make(1, show=("level",)).lifetime_spec)
        assert not agent.fits(dataclasses.replace(make(1).lifetime_spec, family="Bandit"))


# --- without a memory ---------------------------------------------------------------------------------------------


def test_the_memoryless_agent_wins_three_trials_of_four_where_its_feature_decides_and_half_elsewhere():
    seeds = lifetime_seeds(4, 0, 512)
    for relevant, expected in ((5, [1.0, 0.5, 1.0, 0.5]), (4, [0.5, 0.5, 0.5, 0.5])):
        env = with_tasks([a_task((relevant, 0, 1, 2))] * 512, course="single", level=0, episodes=4)
        agent = OneFeature(feature=5)
        agent.begin(env.lifetime_spec, seeds)
        observations, _ = env.reset()
        paid = []
        for _ in range(20):
            observations, _, _, _, info = env.step(agent.act(observations, np.zeros(512, dtype=bool)))
            paid.append(info["raw_reward"].mean())
        by_trial = np.reshape(paid, (4, 5)).mean(axis=0)
        assert by_trial[0] == 0
        assert by_trial[1:] == pytest.approx(expected, abs=0.05)
        assert all(value in (0.5, 1.0) or abs(value - 0.5) < 0.05 for value in by_trial[1:])


def test_the_memoryless_agent_looks_at_nothing_but_the_present_row():
    env = make(64, course="shuffled", episodes=2)
    agent, rows, choices = OneFeature(), [], []

    def watch(observations, actions, info):
        rows.append(observations.copy())
        choices.append(actions.copy())

    live(env, lifetime_seeds(5, 0, 64), agent, watch=watch)
    rows, choices = np.concatenate(rows), np.concatenate(choices)
    order = np.random.default_rng(0).permutation(len(rows))
    agent.begin(env.lifetime_spec, np.arange(len(rows), dtype=np.uint64))
    assert np.array_equal(agent.act(rows[order], np.ones(len(rows), dtype=bool)), choices[order])


def best_without_memory(trials):
    """The most trials right in Harlow's problems by a policy of trial, sides, last action and last reward alone.

    Exact, over all deterministic policies: forwards through the joint distributions of (which of the two objects is
    rewarded, last action, last reward) that they can bring about, with what each has won.
    """
    reached = {None: 0.0}
    for _ in range(trials):
        after = {}
        for joint, won in reached.items():
            # Probability of (which is rewarded, context): at first there is one context, later last action x reward.
            chances = np.full((2, 1), 0.5) if joint is None else np.reshape(joint, (2, 4))
            for rule in itertools.product((LEFT, RIGHT), repeat=2 * chances.shape[1]):
                new, more = np.zeros((2, 2, 2)), 0.0
                for (rewarded, context), chance in np.ndenumerate(chances):
                    for side in (LEFT, RIGHT):  # of the first object
                        action = rule[2 * context + side]
                        right = int(action == (side if rewarded == 0 else 1 - side))
                        new[rewarded, action, right] += chance / 2
                        more += chance / 2 * right
                key = min(tuple(new.ravel()), tuple(new[::-1].ravel()))  # the objects' names do not matter
                after[key] = max(after.get(key, 0.0), won + more)
        reached = after
    return max(reached.values())


def test_in_harlows_problems_no_policy_without_a_memory_beats_the_one_that_probes_and_uses_in_turn():
    assert best_without_memory(2) == 1.5
    assert best_without_memory(3) == 2.0
    settings = {**HARLOW, "trials": 3}
    _, right = live(make(2048, episodes=1, **settings), lifetime_seeds(6, 0, 2048), OneFeature())
    assert right.sum(axis=2).mean() == pytest.approx(2.0, abs=0.1)


# --- Harlow's problems --------------------------------------------------------------------------------------------


def test_in_harlows_problems_the_learner_is_at_chance_on_trial_1_and_right_from_trial_2_on():
    seeds = lifetime_seeds(7, 0, 2048)
    returns, right = live(make(2048, **HARLOW), seeds)
    assert right.shape == (2048, 10, 6)
    assert right[..., 0].mean(axis=0) == pytest.approx(np.full(10, 0.5), abs=0.06)
    assert (right[..., 1:] == 1.0).all()
    assert returns.mean() == pytest.approx(5 / 6, abs=0.01)  # 5.5 of 6, where chance is 3
    # All of it is learnt inside the problem: a twin that forgets the last problem loses nothing.
    assert np.array_equal(live(make(2048, **HARLOW), seeds, wiped=True)[1], right)
    alternating = live(make(2048, **HARLOW), seeds, OneFeature())[1].mean(axis=(0, 1))
    assert alternating == pytest.approx([0.5, 1, 0.5, 1, 0.5, 1], abs=0.02)


def test_kept_objects_with_a_flip_are_harlows_reversals():
    # One error at the flip until it is known when it comes, none once it is: only the first choice is left to chance.
    seeds = lifetime_seeds(8, 0, 1024)
    options = {**HARLOW, "flip": True}
    right = live(make(1024, episodes=8, **options), seeds)[1]
    assert (right[:, -1, 1:] == 1.0).all()
    assert right[:, 0, 1:].sum(axis=1).min() >= 5 - 4  # at most one error for each time that the flip might come
    assert right[:, 0, 1:].mean() < 0.95


# --- settings, words, pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimensions": 9}, r"dimensions must be an integer in 4..8"),
        ({"dimensions": 3}, r"dimensions must be an integer in 4..8"),
        ({"dimensions": 1, "cues": 1}, r"dimensions must be an integer in 2..8"),
        ({"cues": 5}, "cues must be an integer in 1..4"),
        ({"trials": 1}, "trials must be an integer in 2..30"),
        ({"trials": 31}, "trials must be an integer in 2..30"),
        ({"trials": 0, "flip": False}, "trials must be an integer in 1..30"),
        ({"look": 1}, "look must be True or False"),
        ({"flip": "yes"}, "flip must be True or False"),
        ({"objects": "new"}, "objects must be 'reshuffled' or 'kept'"),
    ],
)
def test_impossible_settings_are_refused_with_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        LearningSet(**settings)


@pytest.mark.parametrize(
    ("settings", "task", "message"),
    [
        ({}, a_task((0, 1, 2, 2)), "4 different dimensions"),
        ({}, a_task((0, 1, 2, 8)), r"dimensions in 0\.\.7"),
        ({}, a_task(flip=0), r"flip must be in 1\.\.3"),
        ({}, a_task(flip=4), r"flip must be in 1\.\.3"),
        ({"cues": 2}, a_task((0, 1, 2, -1)), "2 times -1"),
        ({"flip": False}, a_task(flip=1), r"flip must be in 0\.\.0"),
    ],
)
def test_tasks_that_could_not_be_drawn_are_refused(settings, task, message):
    family = LearningSet()
    assert family.task_to_dict(family.task_from_dict(a_task())[0]) == a_task()
    with pytest.raises(ValueError, match=message):
        LearningSet(**settings).task_from_dict(task)


def test_thirty_trials_are_all_told():
    right = live(make(256, episodes=1, trials=30, course="single"), lifetime_seeds(9, 0, 256))[1]
    assert right.shape == (256, 1, 30)
    assert right[..., 29].mean() > 0.9


def test_pictures_and_texts_show_the_rule_only_where_revealed():
    for level in range(4):
        scenes = []
        for task in (a_task((0, 1, 2, 3), 1), a_task((4, 5, 6, 7), 3)):
            env = with_tasks([task], course="single", level=level, episodes=1)
            env.reset()
            env.step(np.array([LEFT]))  # past the look trial, which shows the rewarded object to all
            scenes.append(env)
        for draw in (scenes[0].family.render_ansi, scenes[0].family.render_rgb):
            hidden = [draw(env.scene(0, reveal=False)) for env in scenes]
            shown = [draw(env.scene(0, reveal=True)) for env in scenes]
            assert np.array_equal(*hidden)
            assert not np.array_equal(*shown)
            assert not np.array_equal(shown[0], hidden[0])
    text = scenes[1].family.render_ansi(scenes[1].scene(0, reveal=True))
    assert "A stripe, B frame, C dot, D ground" in text
    assert "flips after trial 3" in text
    decides = [line.split()[0] for line in text.splitlines() if "decides" in line]
    assert decides == [DIMENSIONS[4 + int(scenes[1].scene(0).state["cue"])]]


def test_all_levels_give_pictures_of_one_size_and_every_feature_shows():
    env = make(1, episodes=1)
    env.reset(seed=0)
    shapes, over = set(), False
    while not over:
        shapes.add(env.family.render_rgb(env.scene(0, reveal=True)).shape)
        over = bool(env.step(np.array([LEFT]))[2][0])
    assert len(shapes) == 1
    scene = env.scene(0, reveal=False)
    pictures = set()
    for k in range(8):
        state = scene.state.copy()
        state["pattern"] = 1 << k
        pictures.add(env.family.render_rgb(dataclasses.replace(scene, state=state)).tobytes())
    assert len(pictures) == 8


def test_words_tell_the_rules_the_objects_and_the_actions():
    family = LearningSet()
    assert "cue" not in family.describe_rules(0)
    assert "4 trials" in family.describe_rules(0)
    assert "3 cues (A, B, C)" in family.describe_rules(2)
    assert "the other value" not in family.describe_rules(2)
    assert "the other value" in family.describe_rules(3)
    assert "same two objects" in LearningSet(**HARLOW).describe_rules(0)
    assert "look" not in LearningSet(**HARLOW).describe_rules(0)
    values = np.zeros(22, dtype=np.float32)
    values[[0, 9, 10, 11, 12, 13, 14, 15, 18, 21]] = 1
    assert family.describe_observation(values, 3) == (
        "Cue C. Left: orange, round, small, filled, plain, unframed, undotted, on white. Right: blue, square, large, "
        "hollow, striped, framed, dotted, on grey. This is the look: the right one is marked as the one that pays."
    )
    assert len({word for pair in VALUES for word in pair}) == 16
    assert [family.parse_action(text, 0) for text in ("Left", "RIGHT", "1")] == [0, 1, 1]
