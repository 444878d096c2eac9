"""Laboratory: the rules by enumeration, exams that cannot be guessed, and phases that offer what they say."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.calibration import measure
from daytwo.envs.laboratory import LETTERS, Laboratory
from daytwo.streams import agent_streams, lifetime_seeds

EXPERIMENTS = (2, 2, 2, 4)
LEAVE, OFF, ON = 8, 9, 10


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv(Laboratory, lanes, **options)


def a_task(a=0, b=3, c=4, d=7):
    """The task with these literals in order: 2 * switch + negated."""
    return {"pair": sorted((a, b)), "first": int(a > b), "third": c, "fourth": d}


def with_tasks(tasks, **options):
    env = make(len(tasks), **options)
    env.reset(seed=0)
    env.set_tasks(np.ones(len(tasks), dtype=bool), [{"task": task} for task in tasks])
    return env


def lights(task, level, up):
    """The rule in plain Python; ``up`` is a list of bools."""

    def holds(literal):
        switch, negated = divmod(literal, 2)
        return up[switch] != bool(negated)

    first, second = task["pair"] if task["first"] == 0 else reversed(task["pair"])
    if level == 0:
        return holds(first)
    lit = holds(first) and holds(second)
    if level >= 2:
        lit = lit != holds(task["third"])
    if level >= 3:
        lit = lit != holds(task["fourth"])
    return lit


def ups(row, first=0, switches=8):
    return [value > 0 for value in row[first : first + switches]]


# --- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(4))
def test_experiments_and_exams_follow_the_rule(level):
    env = make(300, course="single", level=level, episodes=2, noise=(0, 0, 0, 0))
    observations, _ = env.reset(seed=5)
    tasks = env.tasks()
    generator = np.random.default_rng(level)
    right = np.zeros(300)
    for step in range(2 * (EXPERIMENTS[level] + 8)):
        before, exam = observations, step % (EXPERIMENTS[level] + 8) >= EXPERIMENTS[level]
        actions = generator.integers(9, 11, 300) if exam else generator.integers(0, 9, 300)
        observations, _, _, _, info = env.step(actions)
        ends = (step + 1) % (EXPERIMENTS[level] + 8) == 0
        for i, task in enumerate(tasks):
            up = ups(before[i])
            assert (before[i, 8] > 0.5) == exam
            if exam:
                right[i] += lights(task, level, up) == (actions[i] == ON)
                assert not observations[i, 9:18].any()
            else:
                if actions[i] != LEAVE:
                    up[actions[i]] = not up[actions[i]]
                assert ups(observations[i], 9) == up
                assert observations[i, 17] == (1 if lights(task, level, up) else -1)
        assert np.array_equal(info["raw_reward"], right if ends else np.zeros(300))
        if ends:
            assert info["_episode_return"].all()
            right[:] = 0


@pytest.mark.parametrize("level", range(4))
def test_off_and_on_are_right_equally_often_and_every_setting_is_as_likely_as_any_of_its_answer(level):
    task = a_task(a=13, b=2, c=9, d=0)
    lanes = 512
    env = with_tasks([task] * lanes, course="single", level=level, episodes=12)
    observations, _ = env.reset()
    counts = np.zeros(256)
    for _ in range(12 * (EXPERIMENTS[level] + 8)):
        exam = observations[:, 8] > 0.5
        settings = (observations[:, :8] > 0) @ (1 << np.arange(8))
        counts += np.bincount(settings[exam], minlength=256)
        observations, *_ = env.step(np.where(exam, OFF, LEAVE))
    lit = np.array([lights(task, level, [bool(s >> k & 1) for k in range(8)]) for s in range(256)])
    asked = counts.sum()
    assert asked == lanes * 12 * 8
    assert abs(counts[lit].sum() - asked / 2) < 4 * np.sqrt(asked) / 2
    expected = asked * np.where(lit, 0.5 / lit.sum(), 0.5 / (~lit).sum())
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 256 + 5 * np.sqrt(2 * 256)
    assert lit.sum() == (64 if level == 1 else 128)


def test_answers_to_one_exam_are_independent():
    task = a_task()
    env = with_tasks([task] * 4096, course="single", level=0, episodes=1)
    observations, _ = env.reset()
    for _ in range(2):
        observations, *_ = env.step(np.full(4096, LEAVE))
    on = np.zeros(4096, dtype=int)
    for _ in range(8):
        on += observations[:, 0] > 0
        observations, *_ = env.step(np.full(4096, OFF))
    found = np.bincount(on, minlength=9)
    expected = 4096 * np.array([1, 8, 28, 56, 70, 56, 28, 8, 1]) / 256
    assert ((found - expected) ** 2 / expected).sum() < 8 + 5 * 4


def test_only_the_top_levels_lamp_is_misread_and_as_often_as_it_should_be():
    tasks = [a_task()] * 2048
    for level, share in ((0, 0.0), (2, 0.0), (3, 0.1)):
        env = with_tasks(tasks, course="single", level=level, episodes=1)
        env.reset()
        wrong, made = 0, EXPERIMENTS[level]
        for _ in range(made):
            observations, *_ = env.step(np.full(2048, LEAVE))
            truth = [lights(tasks[0], level, ups(row, 9)) for row in observations]
            wrong += (truth != (observations[:, 17] > 0)).sum()
        total = 2048 * made
        assert abs(wrong - share * total) <= 4 * np.sqrt(share * (1 - share) * total)


def test_measured_reference_returns_are_the_ones_given():
    family = Laboratory()
    given = family.reference_returns
    assert given.random_return == (4.0,) * 4
    assert given.oracle_return == (8.0,) * 4
    measured = measure(family, tasks=4096, seed=3)
    for level in range(4):
        assert measured.oracle_return[level] == 8.0
        assert measured.oracle_error[level] == 0.0
        assert abs(measured.random_return[level] - 4.0) < 4 * measured.random_error[level]


def test_any_way_of_guessing_gets_half_of_the_marks():
    for level in range(4):
        for answer in (OFF, ON):
            env = make(2048, course="single", level=level, episodes=1)
            observations, _ = env.reset(seed=7)
            over = np.zeros(2048, dtype=bool)
            while not over.all():
                exam = observations[:, 8] > 0.5
                observations, _, over, _, info = env.step(np.where(exam, answer, LEAVE))
            # A sum of 8 fair coins has the standard deviation sqrt(2).
            assert abs(info["episode_return"].mean() - 4) < 4 * np.sqrt(2 / 2048)


def test_what_is_not_offered_takes_time_only_and_an_unfinished_exam_pays_nothing():
    env = make(1, course="single", level=0, episodes=2)
    observations, info = env.reset(seed=0)
    assert env.family.levels[0].horizon == 20
    assert info["action_mask"].tolist() == [[True] * 9 + [False] * 2]
    waited, _, _, _, info = env.step(np.array([ON]))
    assert np.array_equal(waited[0, :18], observations[0, :18])
    for action in (LEAVE, 3):
        observations, _, _, _, info = env.step(np.array([action]))
    assert info["action_mask"].tolist() == [[False] * 9 + [True] * 2]
    for _ in range(7):
        observations, _, _, _, info = env.step(np.array([OFF]))
    shown = observations[0, :18].copy()
    for _ in range(10):
        observations, _, _, _, info = env.step(np.array([0]))
    assert info["_episode_return"].all()
    assert info["episode_return"][0] == 0.0
    assert not np.array_equal(observations[0, :18], shown)
    # In time it pays.
    for action in [LEAVE] * 2 + [OFF] * 8:
        _, _, over, _, info = env.step(np.array([action]))
    assert over[0]
    assert info["episode_return"][0] > 0


def test_pressing_any_button_finishes_an_exam_now_and_then():
    # Learners that know no masks begin so, and would learn nothing if it never paid.
    env = make(8192, course="single", level=0, episodes=1)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    over = np.zeros(8192, dtype=bool)
    paid = np.zeros(8192, dtype=bool)
    while not over.all():
        _, _, over, _, info = env.step(generator.integers(0, 11, 8192))
        paid |= info["raw_reward"] > 0
    done = np.zeros(11)  # probability of having made so many experiments and answers
    done[0] = 1.0
    for _ in range(20):
        going_on = done[:10] * np.array([9 / 11] * 2 + [2 / 11] * 8)
        done[:10] -= going_on
        done[1:] += going_on
    expected = done[10] * (1 - 2**-8)
    assert expected > 0.005
    assert abs(paid.mean() - expected) < 4 * np.sqrt(expected / 8192)


def test_the_offered_actions_can_be_read_off_the_observation_at_every_step():
    env = make(16, course="shuffled", episodes=2, switches=5, experiments=(0, 1, 2, 3), questions=3, compiled=False)
    observations, info = env.reset(seed=2)
    spec = env.lifetime_spec
    streams = agent_streams(lifetime_seeds(0, 0, 16))
    phases = set()
    over = np.zeros(16, dtype=bool)
    while not over.all():
        assert np.array_equal(spec.observed_mask(observations)[~over], info["action_mask"][~over])
        phases |= {tuple(mask) for mask in info["action_mask"][~over].tolist()}
        observations, _, over, _, info = env.step(env.random_actions(streams))
    assert phases == {(True,) * 6 + (False,) * 2, (False,) * 6 + (True,) * 2}


# --- tasks --------------------------------------------------------------------------------------------------------


def test_literals_are_uniform_over_all_ways_to_choose_them():
    env = make(16_384, episodes=1)
    env.reset(seed=1)
    chosen = []
    for task in env.tasks():
        assert task["pair"][0] < task["pair"][1]
        pair = task["pair"] if task["first"] == 0 else task["pair"][::-1]
        chosen.append([*pair, task["third"], task["fourth"]])
        assert len({literal // 2 for literal in chosen[-1]}) == 4
    chosen = np.array(chosen)
    for one in range(4):
        for other in range(one):
            counts = np.bincount(16 * chosen[:, one] + chosen[:, other], minlength=256).reshape(16, 16)
            possible = np.arange(16)[:, None] // 2 != np.arange(16) // 2
            assert counts[~possible].sum() == 0
            expected = 16_384 / (16 * 14)
            assert ((counts[possible] - expected) ** 2 / expected).sum() < 224 + 5 * np.sqrt(2 * 224)


def test_splits_share_no_rule_above_the_first_level():
    seen = {}
    for split in ("train", "validation", "test"):
        env = make(4096, split=split)
        env.reset(seed=0)
        seen[split] = {tuple(task["pair"]) for task in env.tasks()}
    assert sum(map(len, seen.values())) == len(set.union(*seen.values())) == 112
    assert Laboratory(switches=4).splits == ("all",)  # 24 pairs are too few


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pair": [3, 0]}, "ascending"),
        ({"pair": [0, 1]}, "all be different"),
        ({"third": 0}, "all be different"),
        ({"fourth": 5}, "all be different"),
        ({"fourth": 16}, r"Literals must be in 0\.\.15"),
        ({"first": 2}, "first must be 0 or 1"),
    ],
)
def test_tasks_that_could_not_be_drawn_are_refused(change, message):
    family = Laboratory()
    assert family.task_to_dict(family.task_from_dict(a_task())[0]) == a_task()
    with pytest.raises(ValueError, match=message):
        family.task_from_dict({**a_task(), **change})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"switches": 3}, r"switches must be an integer in 4\.\.10"),
        ({"switches": 8.0}, "switches must be an integer"),
        ({"experiments": (2, 2, 2)}, "experiments must be 4 integers"),
        ({"experiments": (2, 2, 2, -1)}, r"experiments\[3\] must be an integer"),
        ({"questions": 33}, r"questions must be an integer in 1\.\.32"),
        ({"noise": 0.1}, "noise must be 4 numbers"),
        ({"noise": (0, 0, 0, 0.5)}, r"noise\[3\] must be a number in \[0, 0.49\]"),
    ],
)
def test_impossible_settings_are_refused_with_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        Laboratory(**settings)


# --- words and pictures -------------------------------------------------------------------------------------------


def test_rules_in_words_are_the_rules():
    family = Laboratory()
    task = family.task_from_dict(a_task(a=11, b=2, c=0, d=15))[0]
    assert [family.rule(task, level) for level in range(4)] == [
        "not F",
        "not F AND B",
        "(not F AND B) XOR A",
        "((not F AND B) XOR A) XOR not H",
    ]


def test_words_tell_the_rules_the_setting_and_the_actions():
    family = Laboratory()
    assert "2 experiments" in family.describe_rules(0)
    assert "misread" not in family.describe_rules(2)
    assert "misread with probability 0.1" in family.describe_rules(3)
    assert "1 experiment:" in Laboratory(experiments=(1, 1, 1, 1)).describe_rules(0)
    values = np.zeros(10, dtype=np.float32)
    values[:4] = (1, -1, -1, 1)
    small = Laboratory(switches=4)
    assert small.describe_observation(values, 0) == (
        "Experiment: the switches stand A up, B down, C down, D up. Turn one, or leave them?"
    )
    values[4:] = (1, -1, -1, 1, 1, -1)
    assert small.describe_observation(values, 0) == (
        "The lamp was off with A down, B down, C up, D up. "
        "Exam: would the lamp be off or on with A up, B down, C down, D up?"
    )
    names = [f"turn {LETTERS[k]}" for k in range(8)] + ["leave", "off", "on"]
    assert [family.parse_action(name.upper(), 0) for name in names] == list(range(11))
    assert [family.parse_action(letter, 0) for letter in "aBh"] == [0, 1, 7]
    with pytest.raises(ValueError, match="Expected one of"):
        family.parse_action("i", 0)


def test_pictures_and_texts_show_the_rule_and_the_marks_only_where_revealed():
    for level in range(4):
        env = with_tasks([a_task(), a_task(a=9, b=6, c=2, d=1)], course="single", level=level, episodes=1)
        env.reset()
        for actions in (LEAVE, LEAVE, *[LEAVE] * (2 if level == 3 else 0), OFF, ON):
            env.step(np.full(2, actions))
        first, second = (env.scene(lane, reveal=False) for lane in range(2))
        assert first.state["marks"] in (0, 1, 2)
        for draw in (env.family.render_ansi, env.family.render_rgb):
            states = [scene.state.copy() for scene in (first, second)]
            shown = draw(env.scene(0, reveal=True))
            assert not np.array_equal(shown, draw(first))
            # The other lifetime's rule and marks, with what else the first one shows: nobody sees a difference.
            other = type(first)(**{**first.__dict__, "task": second.task, "state": states[0]})
            other.state["marks"] += 3
            assert np.array_equal(draw(first), draw(other))
        text = env.family.render_ansi(env.scene(0, reveal=True))
        assert env.family.rule(env._task[0], level) in text
        assert "of 2" in text


def test_all_levels_and_phases_give_pictures_of_one_size():
    env = make(1, episodes=1, switches=10, compiled=False)
    observations, _ = env.reset(seed=0)
    shapes, over = set(), False
    while not over:
        shapes.add(env.family.render_rgb(env.scene(0, reveal=True)).shape)
        exam = observations[0, 10] > 0.5
        observations, _, terminated, _, _ = env.step(np.array([11 if exam else 4]))
        over = bool(terminated[0])
    assert len(shapes) == 1
