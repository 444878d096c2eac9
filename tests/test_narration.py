"""Lifetimes in words: made-up names, short texts, and the rule for replies."""

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import daytwo
import daytwo.envs
from daytwo.course import Course, Stage
from daytwo.lifetime import LifetimeEnv
from daytwo.narration import LONGEST_ANSWER, Narrator, Symbols, Unparsed, Vocabulary, answer_of
from daytwo.registration import make_family
from tests.toy import Counting, Phases, Steering, make_single

IDS = daytwo.env_ids()
# Names that stay in the texts as ordinary words: the right object, the right way to switch.
KEPT = {"LearningSet": {"right"}}
_envs: dict[str, LifetimeEnv] = {}


def env_of(env_id, **settings) -> LifetimeEnv:
    """An interpreted environment, made once for each id under its defaults."""
    if settings:
        return LifetimeEnv(env_id, compiled=False, **settings)
    if env_id not in _envs:
        _envs[env_id] = LifetimeEnv(env_id, compiled=False, episodes=1)
    return _envs[env_id]


def narrate(env: LifetimeEnv, seed: int = 0, rename: bool = True, **changes) -> Narrator:
    given = {"family": env.family, "layout": env.layout, "course": env.course, **changes}
    return Narrator(given["family"], given["layout"], given["course"], seed=seed, rename=rename)


def lived_rows(env: LifetimeEnv, seed: int = 0, most: int = 150) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Rows of a lifetime of random actions, with the masks of what was offered there."""
    rng = np.random.default_rng(seed)
    row, info = env.reset(seed=seed)
    rows, over = [(row, info.get("action_mask"))], False
    while not over and len(rows) < most:
        if env.family.continuous:
            action = rng.uniform(-1.0, 1.0, env.family.actions)
        else:
            action = int(rng.choice(np.flatnonzero(info["action_mask"])))
        row, _, over, _, info = env.step(action)
        rows.append((row, info.get("action_mask")))
    return rows if not over else rows[:-1]


# --- renaming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_every_symbol_has_a_word_of_its_own_and_every_lifetime_other_words(env_id):
    env = env_of(env_id)
    first, again, other = narrate(env, 3), narrate(env, 3), narrate(env, 4)
    assert first.words == again.words and first.numbers == again.numbers
    assert list(first.words) == list(other.words)
    assert len(set(first.words.values())) == len(first.words) > 0
    assert all(first.words[key] != other.words[key] for key in first.words)
    for level in range(len(env.family.levels)):
        assert first.rules(level) == again.rules(level) != other.rules(level)
    if first.numbers is not None:
        assert sorted(first.numbers) == list(range(env.family.actions))


@pytest.mark.parametrize("env_id", IDS)
def test_words_can_be_told_apart_and_are_no_words_of_the_texts(env_id):
    env = env_of(env_id)
    plain = narrate(env, rename=False)
    texts = [plain.rules(level) for level in range(len(env.family.levels))]
    texts += [plain.observation(row) for row, _ in lived_rows(env)]
    texts += [env.family.describe_rules(level) for level in range(len(env.family.levels))]
    english = {word.lower() for text in texts for word in re.findall(r"[A-Za-z]+", text)}
    for seed in range(40):
        words = list(narrate(env, seed).words.values())
        assert not english & set(words)
        for k, word in enumerate(words):
            assert re.fullmatch(r"([bdfgklmnprstvz][aeiou]){2}[bfgkpvz]", word)
            for other in words[:k]:
                assert sum(one != two for one, two in zip(word, other, strict=True)) >= 2


@pytest.mark.parametrize("rename", [True, False])
@pytest.mark.parametrize("env_id", IDS)
def test_the_name_of_an_action_means_it_wherever_it_is_offered(env_id, rename):
    env = env_of(env_id)
    family, narrator = env.family, narrate(env, 5, rename)
    for level in range(len(family.levels)):
        if family.continuous:
            for text in narrator.actions(level):
                vector = narrator.parse(text, level)
                assert vector.dtype == np.float32
                np.testing.assert_allclose(narrator.parse(narrator.name(vector), level), vector, atol=0.005)
            continue
        offered = narrator.offered(level)
        names = narrator.actions(level)
        assert sorted(names) == sorted(narrator.name(int(a)) for a in np.flatnonzero(offered))
        for action in range(family.actions):
            said = [narrator.name(action), narrator.name(action).upper(), f"Hm.\nACTION: {narrator.name(action)}"]
            if narrator.numbers is not None:
                said.append(str(narrator.numbers[action]))
            for text in said:
                if offered[action]:
                    assert narrator.parse(text, level) == action
                else:
                    with pytest.raises(Unparsed):
                        narrator.parse(text, level)


@pytest.mark.parametrize("env_id", IDS)
def test_what_an_observation_row_offers_is_what_the_environment_offers(env_id):
    env = env_of(env_id)
    narrator = narrate(env)
    for row, mask in lived_rows(env, most=60):
        if mask is not None:
            level = narrator.level(row)
            assert (narrator.offered(level, row) == mask).all()
            assert [narrator.parse(name, level, row) for name in narrator.actions(level, row)]


@pytest.mark.parametrize("env_id", [env_id for env_id in IDS if not make_family(env_id).continuous])
def test_under_made_up_words_the_old_names_mean_nothing(env_id):
    env = env_of(env_id)
    renamed, plain = narrate(env), narrate(env, rename=False)
    for level in range(len(env.family.levels)):
        for name in plain.actions(level):
            with pytest.raises(Unparsed):
                renamed.parse(name, level)


def test_under_made_up_words_old_directions_mean_nothing():
    env = env_of("daytwo/PointRobot-v0")
    renamed = narrate(env)
    for text in ("north", "ne", "0.5 south", "stay", "push 0 1 (north)"):
        with pytest.raises(Unparsed):
            renamed.parse(text, 0)
    north, east = renamed.words["direction", "north"], renamed.words["direction", "east"]
    np.testing.assert_allclose(renamed.parse(f"0.5 {north}", 0), [0.0, 0.5])
    np.testing.assert_allclose(renamed.parse(f"{north.upper()}-{east}", 0), [0.5**0.5] * 2, rtol=1e-6)
    np.testing.assert_allclose(narrate(env, rename=False).parse("0.5 south", 0), [0.0, -0.5], atol=1e-7)


@pytest.mark.parametrize(("env_id", "settings"), daytwo.envs.standard_settings() + daytwo.envs.harder_settings())
def test_no_replaced_name_is_left_in_a_text(env_id, settings):
    env = env_of(env_id, **{"episodes": 1, **settings})
    narrator = narrate(env, 1)
    kinds = {kind for kind, name in narrator.words if name.isdecimal()}
    kept = KEPT.get(env.family.name, set())
    names = {name for _, name in narrator.words if not name.isdecimal()} - kept
    if env.family.name == "Alchemy":
        names.remove("nothing")  # potions that change nothing; the answer is tested below
    names |= {name.capitalize() for name in names if len(name) > 1}
    texts = [narrator.rules(level) for level in range(len(env.family.levels))]
    texts += [narrator.observation(row) for row, _ in lived_rows(env, most=60)]
    if not env.family.continuous:
        texts += narrator.actions(0)
    for text in texts:
        said = text.replace("A new episode begins", "")
        left = [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said)]
        assert not left, text
        assert not kinds or not re.search(rf"\b({'|'.join(kinds)}) \d", text), text


def test_words_that_would_give_a_move_away_are_not_said():
    dark, maze, cart = (env_of(f"daytwo/{name}-v0") for name in ("DarkRoom", "Maze", "CartPole"))
    for env in (dark, maze, cart):
        narrator = narrate(env)
        for level in range(len(env.family.levels)):
            rules = narrator.rules(level).split("Answers:")[0]
            assert not [name for name in narrator.actions(level) if name in rules], rules
    assert "top left" in narrate(dark, rename=False).rules(0) and "top left" not in narrate(dark).rules(0)


def test_texts_are_made_of_the_row_and_the_words_alone():
    """Other tasks, other lifetimes and what was said before change nothing: equal rows give equal texts."""
    for env_id in IDS:
        env = env_of(env_id)
        rows = [row for row, _ in lived_rows(env, seed=1, most=40)]
        used, new = narrate(env, 7), narrate(env, 7)
        lived = [used.observation(row) for row, _ in lived_rows(env, seed=2, most=40)]
        assert lived
        assert [used.observation(row) for row in rows] == [new.observation(row) for row in reversed(rows)][::-1]


def test_alchemy_names_its_parts():
    env = env_of("daytwo/Alchemy-v0")
    narrator = narrate(env)
    words = narrator.words
    assert narrator.name(0) == words["answer", "nothing"]
    assert narrator.name(1) == f"stone {words['stone', '1']} into the {words['place', 'cauldron']}"
    assert narrator.name(13) == f"stone {words['stone', '1']} into potion {words['potion', '12']}"
    assert words["stone", "1"] != words["potion", "1"]
    assert f"or do {words['answer', 'nothing']}." in narrator.rules(0)
    assert "even if nothing changes" in narrator.rules(0)
    seen = narrator.observation(lived_rows(env, most=1)[0][0])
    assert f"stone {words['stone', '1']}: " in seen and f", {words['potion', '12']} " in seen
    with pytest.raises(Unparsed, match="or such as"):
        narrator.parse("2", 0)  # forty actions are not numbered


def test_a_family_may_bring_its_own_vocabulary():
    class Worded(Counting):
        def vocabulary(self, rename):
            symbols = (Symbols("deed", ("wait", "score", "quit")), Symbols("part", ("count", "noise")))
            return Vocabulary(symbols, rewrites=((r"secret: \S+", "secret"),), note="Scores are counted.")

    env = make_single(Worded, episodes=1)
    row, _ = env.reset(seed=0)
    narrator = narrate(env, 2)
    assert "Scores are counted." in narrator.rules(0)
    count, noise = narrator.words["part", "count"], narrator.words["part", "noise"]
    assert re.search(rf" {count}: 0; {noise}: \d+; secret\.$", narrator.observation(row))
    assert narrator.parse(narrator.words["deed", "score"], 0) == 1


def test_without_a_vocabulary_the_actions_are_renamed():
    narrator = narrate(make_single(Counting))
    assert set(narrator.words) == {("action", name) for name in ("wait", "score", "quit")}
    assert "wait" not in narrator.rules(2)
    assert narrate(make_single(Steering)).words == {}


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ("words", "must return a daytwo.narration.Vocabulary"),
        (Vocabulary((Symbols("deed", ("wait",), "no place"),)), "must hold NAME once"),
        (Vocabulary((Symbols("deed", ("wait",), "(to )?NAME"),)), r"write \(\?:\.\.\.\)"),
        (Vocabulary(rewrites=((r"wait|score", "do"),)), "two actions are called 'do'"),
    ],
)
def test_an_unfit_vocabulary_is_refused(vocabulary, message):
    class Worded(Counting):
        def vocabulary(self, rename):
            return vocabulary

    with pytest.raises(ValueError, match=message):
        narrate(make_single(Worded))


def test_many_symbols_get_words_too():
    class Wide(Counting):
        def vocabulary(self, rename):
            numbers = tuple(map(str, range(2_000)))
            return Vocabulary((Symbols("number", numbers), Symbols("deed", ("wait", "score", "quit"))))

    words = narrate(make_single(Wide)).words
    assert len(set(words.values())) == 2_003


# --- what is said -----------------------------------------------------------------------------------------------------


def test_an_observation_tells_what_was_done_what_it_paid_and_what_begins():
    env = make_single(Counting, course=Course([Stage(1, 2)]))
    narrator = narrate(env, rename=False)
    texts = [narrator.observation(env.reset(seed=0)[0])]
    for action in (1, 0, 2, 2):
        texts.append(narrator.observation(env.step(action)[0]))
    starts = [text.partition(" count:")[0] for text in texts]
    assert starts == [
        "A new episode begins, level 1. Step 1 of 3.",
        "score paid 1. Step 2 of 3.",
        "wait paid 0. Step 3 of 3.",
        "quit paid 0.5. A new episode begins, level 1. Step 1 of 3.",
        "quit paid 0.5. Step 2 of 3.",
    ]


def test_what_is_not_shown_is_not_said():
    def texts(show, actions=(1, 1, 1)):
        env = make_single(Counting, course=Course([Stage(1, 2)]), show=show)
        narrator = narrate(env, rename=False)
        rows = [env.reset(seed=0)[0], *(env.step(action)[0] for action in actions)]
        return [narrator.observation(row).partition("count:")[0].strip() for row in rows]

    assert texts(()) == ["", "", "", ""]
    assert texts(("previous_action",)) == ["", *["You chose score."] * 3]
    assert texts(("previous_reward", "time"))[0] == "A new episode begins, level 1. Step 1 of 3."
    assert texts(("previous_reward",), (0,))[1] == "The last step paid 0."
    begun = texts(("episode_start", "episode", "stage_length"))
    assert begun[0] == "A new episode begins, level 1, episode 1 of 2." and begun[1] == ""
    assert begun[3] == "A new episode begins, level 1, episode 2 of 2."


def test_a_wiped_row_says_nothing_of_the_past():
    env = make_single(
        Counting, show=("previous_action", "previous_reward", "episode_start", "level", "final_observation")
    )
    env.reset(seed=0)
    env.step(1)
    row, *_ = env.step(1)
    narrator = narrate(env)
    assert narrator.observation(row).count("paid") == narrator.observation(row).count("ended with") == 1
    wiped = narrator.observation(env.layout.wipe(row[None], np.array([True]))[0])
    assert wiped.startswith("A new episode begins")


@pytest.mark.parametrize(
    ("course", "said"),
    [
        (
            "progressive",
            "12 episodes at levels 0, 1, 2, 3; this is level 1. What is hidden stays the same from episode",
        ),
        ("isolated", "but is drawn anew whenever the level changes"),
        ("switch", "3 episodes, all at level 1. What is hidden stays the same from episode to episode, but may change"),
    ],
)
def test_the_rules_say_what_a_lifetime_is(course, said):
    level = {"level": 1} if course == "switch" else {}
    env = env_of("daytwo/DarkRoom-v0", course=course, episodes=3, **level)
    assert said in narrate(env).rules(1)


@pytest.mark.parametrize("env_id", IDS)
def test_rules_are_short_and_name_every_answer(env_id):
    env = env_of(env_id)
    narrator = narrate(env)
    for level in range(len(env.family.levels)):
        rules = narrator.rules(level)
        assert len(rules) < 1_700 and "\n" not in rules and not re.search(r"[{}]|None|nan\b", rules)
        if narrator.numbers is not None:
            answers = rules.split("Answers: ")[1]
            offered = np.flatnonzero(narrator.offered(level)).tolist()
            assert all(f"{narrator.name(a)} ({narrator.numbers[a]})" in answers for a in offered)


# --- the rule for replies ---------------------------------------------------------------------------------------------

ROOM = narrate(env_of("daytwo/DarkRoom-v0"), rename=False)
UP, RIGHT, DOWN, LEFT, STAY = range(5)


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ("ACTION: up", UP),
        ("action:DOWN", DOWN),
        ("  Action :  left.  ", LEFT),
        ("I go up.\n\nACTION: right\n", RIGHT),
        ("ACTION: up\nACTION: down", DOWN),
        ("ACTION: up\nWhat a plan.", UP),
        ("**ACTION: stay**", STAY),
        ("> ACTION: `left`", LEFT),
        ('ACTION: "down".', DOWN),
        ("ACTION: up\r\nACTION: left\r\n", LEFT),
        ("ACTION: up\u2028ACTION: right", RIGHT),
        ("\n stay \n", STAY),
        ("3", LEFT),
        ("ACTION: 2", DOWN),
        ("my ACTION: up\nstay", None),  # the line does not begin so, and the whole reply is no action
        ("ACTION: up\nACTION: fly", None),  # the last line counts, right or wrong
        ("ACTION: up\nACTION:", None),
        ("ACTION: up or down", None),
        ("up down", None),
        ("I go up", None),
        ("", None),
        ("   \n\t", None),
        ("-1", None),
        ("5", None),
        ("٣", None),
        ("³", None),
        ("ｕｐ", None),
        ("ACTION： up", None),
        ("up\x00", None),
        ("{up}", None),
    ],
)
def test_the_last_line_that_names_an_action_counts(reply, action):
    if action is None:
        with pytest.raises(Unparsed, match=r"^Expected a line 'ACTION: ' with one of up, right, down, left, stay; "):
            ROOM.parse(reply, 0)
    else:
        assert ROOM.parse(reply, 0) == action


def test_huge_replies_are_read_quickly_and_quoted_shortly():
    noise = "up " * 350_000
    assert ROOM.parse(f"{noise}\nACTION: left", 0) == LEFT
    assert ROOM.parse(f"{'x' * 1_000_000}\nACTION: up\n{'y' * 1_000_000}", 0) == UP
    for reply in (noise, "ACTION:" * 150_000, " " * 1_000_000 + "\x01", "\n" * 1_000_000, "ACTION: " + "9" * 1_000_000):
        with pytest.raises(Unparsed) as caught:
            ROOM.parse(reply, 0)
        assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


@given(st.text(max_size=300))
@example("ACTION: " + "0" * LONGEST_ANSWER)
@example("action:" * 40)
def test_whatever_is_written_is_an_offered_action_or_unparsed(reply):
    for narrator in (ROOM, ROBOT, PLAIN_ROBOT, SWITCHES):
        try:
            action = narrator.parse(reply, 0)
        except Unparsed as error:
            assert "\n" not in str(error)
            continue
        if narrator.family.continuous:
            assert action.shape == (2,) and (np.abs(action) <= 1).all()
        else:
            assert narrator.offered(0)[action]


ROBOT = narrate(env_of("daytwo/PointRobot-v0"))
PLAIN_ROBOT = narrate(env_of("daytwo/PointRobot-v0"), rename=False)
SWITCHES = narrate(env_of("daytwo/Laboratory-v0"))


@pytest.mark.parametrize(
    ("reply", "vector"),
    [
        ("ACTION: 0.5 -1", (0.5, -1.0)),
        ("ACTION: (.5, -.25)", (0.5, -0.25)),
        ("[1, 1]", (1.0, 1.0)),
        (".5 1.", (0.5, 1.0)),
        ("1e-1, +0", (0.1, 0.0)),
        ("0.5", None),
        ("0 0 0", None),
        ("1.01 0", None),
        ("nan 0", None),
        ("inf 0", None),
        ("0.5; 1", None),
        ("0x1 0", None),
        ("one two", None),
        ("()", None),
    ],
)
def test_continuous_answers_are_numbers_between_minus_one_and_one(reply, vector):
    for narrator in (ROBOT, PLAIN_ROBOT, narrate(make_single(Steering))):
        if vector is None:
            with pytest.raises(Unparsed, match=r"2 numbers in \[-1, 1\]"):
                narrator.parse(reply, 0)
        else:
            np.testing.assert_allclose(narrator.parse(reply, 0), vector)


def test_one_word_suffices_where_no_other_action_has_it():
    bandit = narrate(env_of("daytwo/Bandit-v0"))
    word = bandit.words["arm", "1"]
    assert bandit.name(1) == f"arm {word}" and bandit.parse(word, 0) == 1
    work = narrate(env_of("daytwo/Workplace-v0"), rename=False)
    assert work.parse("patch", 0) == work.parse("fix: patch", 0) == 1


def test_what_the_phase_does_not_offer_is_unparsed():
    env = make_single(Phases)
    narrator = narrate(env, rename=False)
    row, _ = env.reset(seed=0)
    assert narrator.parse("score", 1) == 1
    with pytest.raises(Unparsed, match="with one of wait; received 'score'"):
        narrator.parse("score", 0, row)


def test_answers_are_taken_bare():
    assert answer_of("thinking\nACTION: **'go'**.") == "go"
    assert answer_of(" .5 ") == ".5"


# --- errors -----------------------------------------------------------------------------------------------------------


def test_unfit_arguments_are_refused():
    env, other = env_of("daytwo/DarkRoom-v0"), env_of("daytwo/Maze-v0")
    with pytest.raises(ValueError, match="instance of a TaskFamily"):
        narrate(env, family="daytwo/DarkRoom-v0")
    with pytest.raises(ValueError, match=r"daytwo\.observation\.Layout"):
        narrate(env, layout=None)
    with pytest.raises(ValueError, match="DarkRoom writes 20"):
        narrate(env, layout=other.layout)
    with pytest.raises(ValueError, match=r"daytwo\.Course"):
        narrate(env, course=Course([Stage(9, 1)]))
    with pytest.raises(ValueError, match="rename"):
        narrate(env, rename=1)
    with pytest.raises(ValueError, match="seed"):
        narrate(env, seed=-1)
    with pytest.raises(ValueError, match="add 'level' to show="):
        narrate(make_single(Counting, show=("time",)))
    narrator = narrate(env)
    with pytest.raises(ValueError, match="level"):
        narrator.rules(4)
    with pytest.raises(ValueError, match="action"):
        narrator.name(5)
    with pytest.raises(ValueError, match=r"received shape \(3,\)"):
        narrator.observation(np.zeros(3))
    with pytest.raises(ValueError, match="2 numbers"):
        ROBOT.name([0.0])
    with pytest.raises(Unparsed, match="received 7"):
        narrator.parse(7, 0)
