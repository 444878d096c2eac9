"""Textbook: an algebra as declared, questions whose answers follow from it, and nothing to know beforehand."""

import collections
import itertools
import math
import re

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.calibration import measure
from daytwo.envs.textbook import CHAPTERS, QUESTIONS, SYMBOLS, Textbook

# Every question as people read it.
APPLY = re.compile(r"((?:[fgh]\()+)(\w)\)+ = \?")
MULTIPLY = re.compile(r"(?:([fgh])\()?(\w)\)? \* (?:([fgh])\()?(\w)\)? = \?")
UNDO = re.compile(r"([fgh])\(\?\) = (\w)")
DIVIDE = re.compile(r"\? \* (\w) = (\w)")


def make(lanes, **options):
    options = {"split": "all", "autoreset_mode": AutoresetMode.DISABLED, "privileged": True, **options}
    return daytwo.LifetimeVectorEnv(Textbook, lanes, **options)


def parse(text):
    """A question as (form, operators outermost first or left and right, symbols)."""
    if match := DIVIDE.fullmatch(text):
        return "divide", "", match.groups()
    if match := UNDO.fullmatch(text):
        return "undo", match[1], match[2]
    if match := APPLY.fullmatch(text):
        return "apply", match[1].replace("(", ""), match[2]
    match = MULTIPLY.fullmatch(text)
    assert match is not None, text
    return "multiply", (match[1] or "", match[3] or ""), (match[2], match[4])


def work_out(task, text):
    """The answer to a question in words, by the tables of the task."""
    unary = {}
    for name, row in zip("fgh", task["unary"], strict=True):
        unary[name] = {x: SYMBOLS[v] for x, v in zip(SYMBOLS, row, strict=True)}
    product = {}
    for x, row in zip(SYMBOLS, task["product"], strict=True):
        product.update({(x, y): SYMBOLS[v] for y, v in zip(SYMBOLS, row, strict=True)})
    form, operators, operands = parse(text)
    if form == "apply":
        for name in reversed(operators):
            operands = unary[name][operands]
        return operands
    if form == "undo":
        return next(x for x in SYMBOLS if unary[operators][x] == operands)
    if form == "divide":
        return next(x for x in SYMBOLS if product[x, operands[0]] == operands[1])
    left, right = (unary[name][x] if name else x for name, x in zip(operators, operands, strict=True))
    return product[left, right]


def questions(env, observations):
    """The present question of each lane, as people read it."""
    size = env.layout.family_size
    pairs = zip(observations, env._lanes.level, strict=True)
    return [env.family.describe_observation(row[:size], level).split("Question: ")[1] for row, level in pairs]


def sheet(lanes, level, **options):
    """The questions of one sheet of each of many lifetimes, ``[question][lane]``."""
    env = make(lanes, course="single", level=level, episodes=1, **options)
    observations, _ = env.reset(seed=0)
    asked = []
    for _ in range(env.family.questions[level]):
        asked.append([parse(text) for text in questions(env, observations)])
        observations, *_ = env.step(np.zeros(lanes, dtype=np.int64))
    return asked


# --- the algebra ----------------------------------------------------------------------------------------------------


def test_operators_are_permutations_and_products_are_cyclic_groups():
    env = make(2048)
    env.reset(seed=0)
    images = np.zeros((3, 8, 8))
    neutral = np.zeros(8)
    for task in env.tasks():
        for a, row in enumerate(task["unary"]):
            assert sorted(row) == list(range(8))
            images[a, np.arange(8), row] += 1
        product = np.array(task["product"])
        assert np.array_equal(product, product.T)
        left = product[product]  # [x, y, z] -> (x * y) * z
        assert np.array_equal(left, product[np.arange(8)[:, None, None], product[None]])
        (one,) = (x for x in range(8) if np.array_equal(product[x], np.arange(8)))
        neutral[one] += 1
        orders = []
        for x in range(8):
            power, order = x, 1
            while power != one:
                power, order = product[power, x], order + 1
            orders.append(order)
        assert sorted(orders) == [1, 2, 4, 4, 8, 8, 8, 8]
    assert abs(images - 256).max() < 6 * 15  # expected 256 each, standard deviation 15
    assert abs(neutral - 256).max() < 6 * 15


def test_with_few_symbols_all_algebras_are_equally_likely():
    env = make(24_000, symbols=4)
    env.reset(seed=1)
    tasks = env.tasks()
    products = collections.Counter(str(task["product"]) for task in tasks)
    assert len(products) == 12  # 4! numberings, two of which (1 and 3 swapped) give the same product
    assert max(abs(count - 2000) for count in products.values()) < 6 * 43
    operators = collections.Counter(str(task["unary"][2]) for task in tasks)
    assert len(operators) == 24
    assert max(abs(count - 1000) for count in operators.values()) < 6 * 31


def test_nothing_can_be_known_about_a_product_before_its_first_entry():
    # Over all numberings, every entry takes every value equally often: not even x * x is more often x.
    count = np.zeros((5, 5, 5))
    for order in itertools.permutations(range(5)):
        for c, d in itertools.product(range(5), repeat=2):
            count[order[c], order[d], order[(c + d) % 5]] += 1
    assert (count == math.factorial(5) / 5).all()


def test_splits_share_no_algebra():
    seen = {}
    for split in ("train", "validation", "test"):
        env = make(4096, split=split, symbols=4)
        env.reset(seed=0)
        seen[split] = {str(task) for task in env.tasks()}
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


# --- the sheets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"symbols": 4, "depth": 4, "questions": (4, 5, 6, 9, 10, 60)}])
def test_the_oracle_and_the_corrections_give_the_answer_that_follows_from_the_words(settings):
    env = make(4, episodes=2, **settings)
    observations, _ = env.reset(seed=0)
    tasks, layout = env.tasks(), env.layout
    asked = collections.Counter()
    over = False
    while not over:
        texts = questions(env, observations)
        right = [work_out(task, text) for task, text in zip(tasks, texts, strict=True)]
        actions = np.array([SYMBOLS.index(answer) for answer in right])
        assert np.array_equal(env.oracle_actions(), actions)
        asked.update(parse(text)[0] for text in texts)
        given = np.where(np.arange(4) % 2 == 0, actions, (actions + 1) % env.family.symbols)
        observations, _, terminated, _, info = env.step(given)
        assert info["raw_reward"].tolist() == [1.0, 0.0, 1.0, 0.0]
        over = terminated.all()
        ended = "_episode_return" in info
        corrections = observations[:, layout["correction"]]
        if ended and not over:
            # The sheet's last correction comes beside the new sheet's first observation, which itself has none.
            assert not corrections.any()
            final = observations[:, layout["final_observation"]]
            assert not final[:, layout["form"]].any()
            corrections = final[:, layout["correction"]]
        assert np.array_equal(corrections.argmax(axis=1), actions)
        assert (corrections.sum(axis=1) == 1).all()
    counts = env.family.questions
    assert asked["undo"] + asked["divide"] == 8 * counts[5]
    assert sum(asked.values()) == 8 * sum(counts)


def test_sheets_begin_easy_and_operators_and_operands_are_uniform():
    for level, count in enumerate(QUESTIONS):
        for number, row in enumerate(sheet(1024, level)):
            quarter = 4 * number // count
            forms = {form for form, _, _ in row}
            sizes = collections.Counter(sum(map(len, operators)) for _, operators, _ in row)
            if level <= 1:
                assert (forms, set(sizes)) == ({"apply"}, {1})
            elif level == 2:
                assert (forms, set(sizes)) == (({"apply"}, {1}) if quarter == 0 else ({"multiply"}, {0}))
            elif level == 3:
                assert (forms, set(sizes)) == ({"apply"}, {min(quarter + 1, 3)})
            elif level == 4:
                assert (forms, set(sizes)) == ({"multiply"}, {min(quarter, 2)})
            else:
                assert forms == ({"undo"} if quarter < 2 else {"divide"})
            kinds = collections.Counter(operators for _, operators, _ in row)
            number_of_kinds = {0: 1, 1: 3, 2: 9, 3: 27}[max(sizes)]
            if level == 0:
                number_of_kinds = 1
            elif level == 4 and quarter == 1:
                number_of_kinds = 6  # f, g or h on the left or on the right
            assert len(kinds) == number_of_kinds
            expected = 1024 / number_of_kinds
            assert max(abs(seen - expected) for seen in kinds.values()) < 5.5 * math.sqrt(expected)
            operands = collections.Counter(symbols for _, _, symbols in row)
            expected = 1024 / (8 if isinstance(next(iter(operands)), str) else 64)
            assert max(abs(seen - expected) for seen in operands.values()) < 5.5 * math.sqrt(expected)


def test_compositions_grow_to_the_depth_that_was_set():
    for depth, expected in ((2, [1, 2, 2, 2]), (3, [1, 2, 3, 3]), (4, [1, 2, 3, 4])):
        rows = sheet(8, 3, depth=depth, questions=(4, 4, 4, 4, 4, 4))
        assert [len(row[0][1]) for row in rows] == expected


def test_chance_is_one_in_so_many_symbols_and_the_oracle_is_always_right():
    for settings in ({}, {"symbols": 4}):
        family = Textbook(**settings)
        measured = measure(family, tasks=8192)
        assert measured.oracle_return == family.reference_returns.oracle_return == QUESTIONS
        assert measured.oracle_spread == (0.0,) * 6
        for level, count in enumerate(QUESTIONS):
            assert family.reference_returns.random_return[level] == count / family.symbols
            error = 5 * measured.random_error[level]
            assert measured.random_return[level] == pytest.approx(count / family.symbols, abs=error)


def test_diagnostics_tell_how_much_of_each_quarter_was_right():
    env = make(4, course="single", level=3, episodes=1)
    env.reset(seed=0)
    right = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]], dtype=bool)  # [lane, quarter]
    for k in range(16):
        actions = env.oracle_actions()
        _, _, _, _, info = env.step(np.where(right[:, k // 4], actions, (actions + 1) % 8))
    assert np.array_equal(info["right_by_quarter"], right.astype(float))


# --- settings, words, pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"symbols": 3}, "symbols must be an integer in 4..8"),
        ({"symbols": 9}, "symbols must be an integer in 4..8"),
        ({"depth": 1}, "depth must be an integer in 2..4"),
        ({"questions": (8, 16)}, "questions must be 6 integers in 4..60"),
        ({"questions": (8, 16, 16, 16, 3, 16)}, r"questions\[4\] must be"),
    ],
)
def test_impossible_settings_are_refused_with_what_was_expected(settings, message):
    with pytest.raises(ValueError, match=message):
        Textbook(**settings)


def test_tasks_that_could_not_be_drawn_are_refused():
    family = Textbook(symbols=5)
    unary = [[1, 0, 2, 3, 4, 0, 0, 0]] * 3
    product = np.zeros((8, 8), dtype=int)
    product[:5, :5] = (np.arange(5)[:, None] + np.arange(5)) % 5
    good = {"unary": unary, "product": product.tolist()}
    assert family.task_to_dict(family.task_from_dict(good)[0]) == good
    repeated = {**good, "unary": [[1, 1, 2, 3, 4, 0, 0, 0], *unary[1:]]}
    with pytest.raises(ValueError, match="f must be a permutation"):
        family.task_from_dict(repeated)
    outside = product.copy()
    outside[6, 1] = 1
    with pytest.raises(ValueError, match="must be 0 beyond the 5 symbols"):
        family.task_from_dict({**good, "product": outside.tolist()})
    changed = product.copy()
    changed[1, 2] = 4
    for table in (changed, np.where(product > 0, 7, 0), np.where(product >= 0, 0, 0)):
        with pytest.raises(ValueError, match=r"product must be addition|must be 0 beyond"):
            family.task_from_dict({**good, "product": table.tolist()})
    # A group of 4 that is not cyclic: every symbol its own inverse.
    klein = np.zeros((8, 8), dtype=int)
    klein[:4, :4] = np.arange(4)[:, None] ^ np.arange(4)
    four = Textbook(symbols=4)
    with pytest.raises(ValueError, match="product must be addition modulo 4"):
        four.task_from_dict({"unary": [[0, 1, 2, 3, 0, 0, 0, 0]] * 3, "product": klein.tolist()})


def test_every_drawn_task_can_be_handed_back():
    for symbols in (4, 8):  # another number of symbols is another compilation
        env = make(16, symbols=symbols)
        env.reset(seed=0)
        for task in env.tasks():
            assert env.family.task_to_dict(env.family.task_from_dict(task)[0]) == task


def test_pictures_and_texts_show_hidden_tables_only_where_revealed():
    shapes = set()
    for level in range(len(CHAPTERS)):
        env = make(2, course="single", level=level, episodes=1)
        env.reset(seed=0)
        env.step(np.zeros(2, dtype=np.int64))
        env._state[1] = env._state[0]  # the same question, about another algebra
        env._lanes.total[1] = env._lanes.total[0]
        env._reals[:, 1] = env._reals[:, 0]
        for draw in (env.family.render_ansi, env.family.render_rgb):
            hidden = [draw(env.scene(k, reveal=False)) for k in (0, 1)]
            shown = [draw(env.scene(k, reveal=True)) for k in (0, 1)]
            assert np.array_equal(hidden[0], hidden[1])
            assert not np.array_equal(shown[0], shown[1])
        shapes.add(shown[0].shape)
    assert len(shapes) == 1


def test_words_tell_the_chapter_the_question_and_the_last_correction():
    family = Textbook()
    assert "f is a hidden operator" in family.describe_rules(0)
    assert "1 operator, then 2 operators, then 3 operators" in family.describe_rules(3)
    assert "adds them modulo 8" in family.describe_rules(5)
    for level, count in enumerate(QUESTIONS):
        assert f"{count} questions about the symbols j, k, m, n, p, r, s, t" in family.describe_rules(level)
    values = np.zeros(37, dtype=np.float32)
    assert family.describe_observation(values, 0) == "The sheet is finished."
    values[[0, 4 + 0, 7 + 2, 13 + 3]] = 1  # f, h, n
    assert family.describe_observation(values, 3) == "Question: f(h(n)) = ?"
    values[29 + 7] = 1
    words = "The right answer to the last question was t. Question: f(h(n)) = ?"
    assert family.describe_observation(values, 3) == words
    assert [family.parse_action(name.upper(), 0) for name in SYMBOLS] == list(range(8))
    assert "q" not in SYMBOLS  # which quits `daytwo play`
