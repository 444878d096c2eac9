"""Each course lives the stages it promises, in order, and redraws the hidden task where it says and nowhere else."""

import itertools
import json

import numpy as np
import pytest

import daytwo
from daytwo.course import Course, Level, Stage, course_names, named_course, register_course
from daytwo.streams import lifetime_seeds
from tests.toy import ORACLE, RANDOM, SCORE, Counting, episodes_of, live, make_single, make_vector

TOP_SECRET = 10**6


def lived(env, seed, actions=(SCORE,)):
    """(level, stage, episode index, secret, noise at the start) of every episode of one lifetime."""
    steps = live(env, actions, seed=seed)
    starts = [steps[0]] + [step for step in steps if "episode_return" in step[3]][:-1]
    part = env.layout
    return [
        (
            end["level"],
            end["stage"],
            end["episode_index"],
            int(start[0][part["secret"]][0]),
            int(start[0][part["noise"]][0]),
        )
        for start, end in zip(starts, episodes_of(steps), strict=True)
    ]


LEVELS_LIVED = {  # of three levels, two episodes a stage
    "progressive": [0, 0, 1, 1, 2, 2],
    "isolated": [0, 0, 1, 1, 2, 2],
    "reversed": [2, 2, 1, 1, 0, 0],
    "single": [2, 2],
    "switch": [2, 2],
    "review": [0, 0, 1, 1, 2, 2, 0, 0],
    "interleaved": [0, 1, 2, 0, 1, 2],
    "spaced": [0, 0, 1, 1, 0, 2, 2, 1, 0],
}


@pytest.mark.parametrize("course", LEVELS_LIVED)
def test_a_course_lives_its_levels_in_order(course):
    env = make_single(course=course, episodes=2, secrets=TOP_SECRET)
    for seed in range(3):
        episodes = lived(env, seed)
        assert [level for level, *_ in episodes] == LEVELS_LIVED[course]
        stages = env.course.stages
        assert [stage for _, stage, *_ in episodes] == [
            s for s in range(len(stages)) for _ in range(stages[s].episodes)
        ]
        assert [index for _, _, index, *_ in episodes] == list(range(len(episodes)))
        assert env.course.episodes == len(episodes) and env.course.name == course


@pytest.mark.parametrize("name", [name for name in course_names() if name not in ("interleaved", "spaced")])
def test_the_stages_of_a_named_course(name):
    course = named_course(name, levels=3, episodes=5)
    new = name == "isolated"
    switch = 2 if name == "switch" else 0
    order = {"reversed": [2, 1, 0], "single": [2], "switch": [2], "review": [0, 1, 2, 0]}.get(name, [0, 1, 2])
    assert course.stages == tuple(Stage(k, 5, new_task=new and k > 0, switch_after=switch) for k in order)
    assert course.shuffle == (name == "shuffled") and course.mastery is None
    assert course.top_level == 2 and course.episodes == 5 * len(order)


def test_interleaved_mixes_the_episodes_of_progressive():
    course = named_course("interleaved", levels=3, episodes=4)
    assert course.stages == tuple(Stage(k, 1) for _ in range(4) for k in range(3))


def test_spaced_reviews_each_level_at_growing_intervals():
    course = named_course("spaced", levels=6, episodes=10)
    new, reviewed = 0, []
    for stage in course.stages:
        if stage.episodes == 10:
            assert stage.level == new
            new += 1
        else:
            assert stage.episodes == 2
            reviewed.append((stage.level, new - 1 - stage.level))
    assert new == 6
    assert [gap for level, gap in reviewed if level == 0] == [1, 2, 4]
    assert [gap for level, gap in reviewed if level == 3] == [1, 2]


@pytest.mark.parametrize("name", ["single", "switch"])
def test_a_level_may_be_chosen(name):
    assert named_course(name, levels=3, episodes=4, level=1).stages[0].level == 1
    env = make_single(course=name, episodes=4, level=1)
    assert [level for level, *_ in lived(env, 0)] == [1] * 4


def test_numpy_integers_are_integers():
    course = named_course("single", levels=np.int64(3), episodes=np.int32(4), level=np.int64(1))
    assert course.stages == (Stage(1, 4),)


def test_the_level_decides_how_long_an_episode_is():
    steps = live(make_single(course="progressive", episodes=1), (SCORE,), seed=0)
    assert len(steps) - 1 == 2 + 3 + 4
    assert [end["episode_return"] for end in episodes_of(steps)] == [2.0, 3.0, 4.0]


def test_shuffled_is_a_permutation_that_differs_among_lifetimes():
    env = make_single(course="shuffled", episodes=2)
    orders = {}
    for seed in range(90):
        levels = [level for level, *_ in lived(env, seed)]
        assert levels[::2] == levels[1::2]
        orders.setdefault(tuple(levels[::2]), []).append(seed)
    assert set(orders) == set(itertools.permutations(range(3)))
    assert all(len(seeds) >= 5 for seeds in orders.values())
    next_lifetimes = {tuple(level for level, *_ in lived(env, None)) for _ in range(20)}
    assert len(next_lifetimes) > 2


def test_the_order_of_a_shuffled_course_does_not_depend_on_play():
    env = make_single(course="shuffled", episodes=2)
    for seed in range(10):
        assert [e[:3] for e in lived(env, seed, (0,))] == [e[:3] for e in lived(env, seed, (1,))]


def test_a_shuffled_course_handed_over_with_many_stages_is_lived_whole():
    stages = [Stage(k % 3, 1) for k in range(16)]
    env = make_single(course="single")
    steps = live(env, (SCORE,), seed=1, options={"course": Course(stages, shuffle=True)})
    levels = [end["level"] for end in episodes_of(steps)]
    assert sorted(levels) == sorted(stage.level for stage in stages) and levels != [stage.level for stage in stages]


def test_the_task_stays_for_the_lifetime_and_is_another_in_the_next():
    for course in ("progressive", "single", "shuffled", "reversed", "review"):
        env = make_single(course=course, secrets=TOP_SECRET)
        secrets = [{secret for *_, secret, _ in lived(env, seed)} for seed in (0, None, None)]
        assert all(len(one) == 1 for one in secrets) and len(set.union(*secrets)) == 3


def test_isolated_draws_a_new_task_at_each_stage():
    secrets = [secret for *_, secret, _ in lived(make_single(course="isolated", secrets=TOP_SECRET), 4)]
    assert secrets[::2] == secrets[1::2] and len(set(secrets)) == 3
    kept = [secret for *_, secret, _ in lived(make_single(course="progressive", secrets=TOP_SECRET), 4)]
    assert kept[0] == secrets[0]


@pytest.mark.parametrize(("episodes", "half"), [(2, 1), (5, 2), (8, 4)])
def test_switch_redraws_once_after_half_of_the_episodes(episodes, half):
    env = make_single(course="switch", episodes=episodes, secrets=TOP_SECRET)
    for seed in range(3):
        secrets = [secret for *_, secret, _ in lived(env, seed)]
        first, second = secrets[0], secrets[-1]
        assert first != second
        assert secrets == [first] * half + [second] * (episodes - half)
        assert first == lived(make_single(course="single", secrets=TOP_SECRET), seed)[0][3]


def test_a_switch_says_nothing_in_what_the_agent_sees():
    env = make_single(course="switch", episodes=4)
    plain = make_single(course="single", episodes=4)
    seen, unseen = live(env, (SCORE,), seed=0), live(plain, (SCORE,), seed=0)
    hidden = env.layout["secret"]
    for (one, *_), (other, *_) in zip(seen, unseen, strict=True):
        one[hidden] = other[hidden] = 0.0
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize("course", ["progressive", "single", "isolated", "switch"])
def test_the_redrawn_control_redraws_each_episode_and_keeps_all_else(course):
    fixed = lived(make_single(course=course, episodes=4, secrets=TOP_SECRET), 3)
    redrawn = lived(make_single(course=course, episodes=4, secrets=TOP_SECRET, task="redrawn"), 3)
    assert len({secret for *_, secret, _ in redrawn}) == len(redrawn)
    assert [e[:3] for e in fixed] == [e[:3] for e in redrawn]
    assert [e[4] for e in fixed] == [e[4] for e in redrawn], "episode streams"
    assert fixed[0] == redrawn[0]


@pytest.mark.parametrize("changes", [{"task": "redrawn"}, {"course": "isolated"}])
def test_bars_stay_when_the_task_changes(changes):
    usual = live(make_single(course="progressive", episodes=3), (SCORE, 0, SCORE, SCORE), seed=0)
    changed = live(
        make_single(**({"course": "progressive", "episodes": 3} | changes)), (SCORE, 0, SCORE, SCORE), seed=0
    )
    assert [end["bar"] for end in episodes_of(usual)] == [end["bar"] for end in episodes_of(changed)]
    assert any(end["bar"] != 0.0 for end in episodes_of(changed))


def test_bars_stay_through_an_unannounced_switch():
    env = make_single(course="switch", episodes=4, rate=1.0)
    g = (ORACLE[2] - RANDOM[2]) / (ORACLE[2] - RANDOM[2])
    assert [end["bar"] for end in episodes_of(live(env, (SCORE,), seed=0))] == [0.0, g, g, g]


# --- mastery -------------------------------------------------------------------------------------------------------


def test_mastery_ends_a_stage_once_three_episodes_reach_it():
    env = make_single(course="progressive", episodes=8, mastery=0.9)
    ends = episodes_of(live(env, (SCORE,), seed=0))
    assert [end["level"] for end in ends] == [0] * 3 + [1] * 3 + [2] * 3


def test_mastery_judges_the_last_three_episodes_of_the_stage_alone():
    env = make_single(course="progressive", episodes=8, mastery=0.99)
    env.reset(seed=0)
    # Level 0 (two steps): bad, good, good, good: mastered after the fourth. At level 1 the good ones before are nought.
    levels = []
    for play in [0, 1, 1, 1] + [0, 0, 0, 1, 1, 1] + [0] * 8:
        for _ in range(2 + min(2, int(env.scene().level))):
            info = env.step(SCORE if play else 0)[4]
        levels.append(info["level"])
    assert levels == [0] * 4 + [1] * 6 + [2] * 8
    assert env._over


def test_without_mastery_a_stage_never_ends_early():
    ends = episodes_of(live(make_single(course="progressive", episodes=8), (SCORE,), seed=0))
    assert [end["level"] for end in ends] == [0] * 8 + [1] * 8 + [2] * 8


def test_mastery_is_refused_where_the_oracle_is_noisy():
    from daytwo.calibration import ReferenceReturns

    zeros = (0.0,) * 3
    noisy = ReferenceReturns(RANDOM, ORACLE, zeros, zeros, (0.1, 0.1, 0.3))
    with pytest.raises(ValueError, match=r"standard deviation of 0\.30, too noisy"):
        make_vector(course="progressive", mastery=0.9, reference_returns=noisy)
    make_vector(course="single", level=0, mastery=0.9, reference_returns=noisy)
    env = make_vector(course="single", level=0, reference_returns=noisy)
    with pytest.raises(ValueError, match="too noisy"):
        env.reset(seed=0, options={"course": Course([Stage(2, 5)], mastery=0.9)})


# --- courses of one's own -----------------------------------------------------------------------------------------

OWN = Course(
    [Stage(1, 3), Stage(0, 2, new_task=True), Stage(2, 6, switch_after=3)],
    name='a "course"\n\tof \\ mine',
    shuffle=True,
)


def two_by_two(levels, episodes):
    return Course([Stage(0, 2), Stage(levels - 1, 2)])


def test_a_course_is_saved_as_text_and_read_back(tmp_path):
    for course in (OWN, Course([Stage(0, 1)], mastery=0.1 + 0.2), named_course("spaced", levels=6, episodes=10)):
        course.save(tmp_path / "own.toml")
        assert Course.load(tmp_path / "own.toml") == course
        assert Course.from_dict(json.loads(json.dumps(course.to_dict()))) == course


def test_an_environment_takes_a_courses_file(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('name = "mine"\n[[stages]]\nlevel = 1\nepisodes = 2\n[[stages]]\nlevel = 0\nepisodes = 1\n')
    env = make_single(course=str(path))
    assert [level for level, *_ in lived(env, 0)] == [1, 1, 0] and env.course.name == "mine"
    env = make_vector(course="single", level=0)
    env.reset(seed=0, options={"course": str(path)})
    with pytest.raises(ValueError, match="pass it alone"):
        make_single(course=str(path), episodes=3)


def test_a_function_becomes_a_named_course():
    register_course("two-by-two", "tests.test_course:two_by_two")
    try:
        assert named_course("two-by-two", levels=3, episodes=9).stages == (Stage(0, 2), Stage(2, 2))
        assert [level for level, *_ in lived(make_single(course="two-by-two"), 0)] == [0, 0, 2, 2]
        with pytest.raises(ValueError, match="is the name of"):
            register_course("two-by-two", "tests.test_course:other")
    finally:
        daytwo.course._courses.pop("two-by-two")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "There is no course's file"),
        ("level = ", "cannot be read as a course"),
        ('name = "x"', "holds no course: A course has stages"),
        ("stages = 3", "holds no course"),
        ("[[stages]]\nlevel = 0", "A stage has level, episodes"),
        ("[[stages]]\nlevel = 0\nepisodes = 1\nlength = 2", "A stage has level, episodes"),
        ("[[stages]]\nlevel = -1\nepisodes = 1", "0 or more, received -1"),
        ("order = 1\n[[stages]]\nlevel = 0\nepisodes = 1", "some of name, shuffle, mastery"),
    ],
)
def test_a_bad_courses_file_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        make_single(course=str(path))


# --- bad courses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: named_course("forwards", levels=3, episodes=2),
            "Unknown course 'forwards': expected one of progressive",
        ),
        (lambda: named_course("progressive", levels=3, episodes=0), "at least 1, received 0"),
        (lambda: named_course("progressive", levels=3, episodes=2.0), "integer of at least 1, received 2.0"),
        (lambda: named_course("progressive", levels=3, episodes=True), "received True"),
        (lambda: named_course("switch", levels=3, episodes=1), "at least 2 episodes, received 1"),
        (lambda: named_course("single", levels=3, episodes=2, level=3), r"in 0\.\.2, received 3"),
        (lambda: named_course("single", levels=3, episodes=2, level=-1), r"in 0\.\.2, received -1"),
        (lambda: named_course("progressive", levels=3, episodes=2, level=1), "goes with course='single' or 'switch'"),
        (lambda: named_course("progressive", levels=3, episodes=2, mastery=0.0), r"in \(0, 2\], received 0.0"),
        (lambda: named_course("progressive", levels=3, episodes=2, mastery=float("nan")), "received nan"),
        (lambda: Course([]), "non-empty sequence of Stage"),
        (lambda: Course([0, 1]), "non-empty sequence of Stage"),
        (lambda: Stage(-1, 2), "0 or more, received -1"),
        (lambda: Stage(0, 0), "at least 1, received 0"),
        (lambda: Stage(0.5, 2), "received 0.5"),
        (lambda: Stage(0, 2.5), "received 2.5"),
        (lambda: Stage(0, 2, switch_after=2), r"0\.\.1 \(episodes - 1\), received 2"),
        (lambda: Stage(0, 2, switch_after=0.5), "received 0.5"),
        (lambda: Level("short", 0), "at least 1, received 0"),
        (lambda: Level("half", 1.5), "received 1.5"),
        (lambda: Level("nothing offered", 2, actions=(False, False)), "at least one action"),
    ],
)
def test_an_impossible_course_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_course_beyond_the_familys_levels_is_refused():
    with pytest.raises(ValueError, match=r"has levels 0\.\.2; the course asks for 3"):
        make_vector(course=Course([Stage(3, 1)]))


def test_a_course_is_passed_alone():
    with pytest.raises(ValueError, match="pass it alone"):
        make_vector(course=Course([Stage(0, 1)]), episodes=3)


def test_every_lifetime_of_a_wide_environment_follows_the_course():
    env = make_vector(Counting, 20, course="shuffled", episodes=1, autoreset_mode="Disabled")
    env.reset(seed=lifetime_seeds(0, 0, 20))
    levels = [[] for _ in range(20)]
    for _ in range(9):
        *_, terminated, _, info = env.step(np.full(20, SCORE))
        for lane in np.flatnonzero(info.get("_level", [])):
            levels[lane].append(int(info["level"][lane]))
    assert terminated.all()
    assert all(sorted(one) == [0, 1, 2] for one in levels) and len({tuple(one) for one in levels}) > 3
