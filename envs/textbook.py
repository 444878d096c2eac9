"""Textbook: a hidden algebra, learnt from an exercise book whose later chapters build on the earlier ones."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numba.extending import register_jitable

from daytwo.calibration import ReferenceReturns
from daytwo.checks import check_integer, check_integers
from daytwo.course import Level
from daytwo.family import Scene, TaskFamily
from daytwo.narration import Symbols, Vocabulary
from daytwo.observation import Field
from daytwo.streams import integer

MOST_SYMBOLS, MOST_DEPTH = 8, 4
LEAST_QUESTIONS, MOST_QUESTIONS = 4, 60  # one for each quarter of a sheet; one for each bit of its marks
SYMBOLS = "jkmnprst"  # no operator, and not q, which quits `daytwo play`
OPERATORS = "fgh"
CHAPTERS = ("f", "f, g and h", "products", "compositions", "products of operators", "equations")
QUESTIONS = (8, 16, 16, 16, 16, 16)
# Forms of questions: a(b(x)) = ?, l * r = ?, a(?) = b, ? * a = b; and a sheet that is finished asks nothing.
APPLY, MULTIPLY, UNDO, DIVIDE, NOTHING = 0, 1, 2, 3, -1
NO_OPERATOR = -1


@register_jitable
def permute(stream, i, values, n):
    """Fill the first ``n`` entries with a uniformly random order of 0..n-1."""
    for k in range(n):
        j = integer(stream, i, k + 1)
        values[k] = values[j]
        values[j] = k


@register_jitable
def draw(settings, task, stream, i):
    n = settings.symbols
    for a in range(3):
        permute(stream, i, task.unary[i, a], n)
        for x in range(n, MOST_SYMBOLS):
            task.unary[i, a, x] = 0
    if n < MOST_SYMBOLS:
        for x in range(MOST_SYMBOLS):
            for y in range(MOST_SYMBOLS):
                task.product[i, x, y] = 0
    # x * y is addition modulo n of hidden numbers: order[c] is the symbol whose number is c.
    order = np.zeros(MOST_SYMBOLS, dtype=np.int64)
    permute(stream, i, order, n)
    for c in range(n):
        for d in range(n):
            task.product[i, order[c], order[d]] = order[(c + d) % n]


@register_jitable
def apply(task, i, operator, x):
    """``x`` under an operator, or ``x`` itself where there is none."""
    return x if operator < 0 else int(task.unary[i, operator, x])


@register_jitable
def ask(settings, task, state, level, stream, i):
    """Write the next question of the sheet, and its answer, into the state."""
    n = settings.symbols
    asked = state.asked[i]
    quarter = 4 * asked // settings.questions[level]
    symbols = np.int64(integer(stream, i, n * n))
    x, y = symbols % n, symbols // n
    # Four digits of base 3, as many as there are slots for operators, and one bit.
    operators: Any = np.int64(integer(stream, i, 162)) if level > 0 else np.int64(0)
    on_left = operators >= 81
    operators %= 81
    form = APPLY
    depth = 1
    left = operators % 3
    right = operators // 3 % 3
    if level == 2:
        if quarter > 0:
            form = MULTIPLY
            left = NO_OPERATOR
            right = NO_OPERATOR
    elif level == 3:
        depth = min(quarter + 1, settings.depth)
    elif level == 4:
        form = MULTIPLY
        if quarter < 2:
            # None in the first quarter, one on either side in the second.
            if quarter == 0 or not on_left:
                left = NO_OPERATOR
            if quarter == 0 or on_left:
                right = NO_OPERATOR
    elif level == 5:
        form = UNDO if quarter < 2 else DIVIDE
    state.form[i] = form
    for k in range(MOST_DEPTH):
        state.operators[i, k] = NO_OPERATOR
    if form == APPLY:
        value = x
        # The outermost operator comes first.
        for k in range(depth - 1, -1, -1):
            operator = operators % 3
            operators //= 3
            state.operators[i, k] = operator
            value = int(task.unary[i, operator, value])
        state.operands[i, 0] = x
        state.operands[i, 1] = -1
        state.answer[i] = value
    elif form == MULTIPLY:
        state.operators[i, 0] = left
        state.operators[i, 1] = right
        state.operands[i, 0] = x
        state.operands[i, 1] = y
        state.answer[i] = task.product[i, apply(task, i, left, x), apply(task, i, right, y)]
    elif form == UNDO:
        state.operators[i, 0] = left
        state.operands[i, 0] = task.unary[i, left, x]
        state.operands[i, 1] = -1
        state.answer[i] = x
    else:
        state.operands[i, 0] = y
        state.operands[i, 1] = task.product[i, x, y]
        state.answer[i] = x


@register_jitable
def begin(settings, task, state, level, stream, i):
    state.asked[i] = 0
    state.marks[i] = 0
    state.correction[i] = -1
    ask(settings, task, state, level, stream, i)


@register_jitable
def step(settings, task, state, level, stream, i, action):
    answer = state.answer[i]
    asked = state.asked[i]
    reward = 0.0
    if action == answer:
        reward = 1.0
        state.marks[i] |= np.int64(1) << asked
    state.correction[i] = answer
    state.asked[i] = asked + 1
    if asked + 1 == settings.questions[level]:
        state.form[i] = NOTHING
        return reward, True
    ask(settings, task, state, level, stream, i)
    return reward, False


@register_jitable
def observe(settings, task, state, level, i, out):
    n, slots = settings.symbols, settings.depth
    correction = 4 + 3 * slots + 2 * n
    if state.correction[i] >= 0:
        out[correction + state.correction[i]] = 1.0
    form = state.form[i]
    if form == NOTHING:
        return
    out[form] = 1.0
    for k in range(slots):
        if state.operators[i, k] >= 0:
            out[4 + 3 * k + state.operators[i, k]] = 1.0
    operand = 4 + 3 * slots
    out[operand + state.operands[i, 0]] = 1.0
    if state.operands[i, 1] >= 0:
        out[operand + n + state.operands[i, 1]] = 1.0


@register_jitable
def oracle(settings, task, state, level, i):
    return state.answer[i]


@register_jitable
def diagnose(settings, task, state, level, i, out):
    questions = settings.questions[level]
    for quarter in range(4):
        count = 0
        for k in range(questions):
            if 4 * k // questions == quarter:
                count += 1
                out[quarter] += (state.marks[i] >> k) & 1
        out[quarter] /= count


class Textbook(TaskFamily):
    """A hidden algebra and the exercise book that teaches it, chapter by chapter.

    What it tests:
        Composition: the questions of later chapters are too many to learn by heart, but all follow from a few tables
        learnt in the earlier ones. Memory: those tables, from nothing but the corrections of one's answers.
    Task:
        ``unary``: three operators f, g and h on 8 symbols, each a uniformly random permutation (``unary[a, x]``).
        ``product``: a binary operator, ``x * y = s^-1(s(x) + s(y) mod 8)`` for a uniformly random bijection s
        (``product[x, y]``). It is commutative and associative and has a neutral element, which one is hidden.
        With fewer symbols the last rows and columns are zeros.
    Episode:
        An exercise sheet of the chapter, question by question. Sheets begin easy; what a quarter of the sheet asks
        is under *Levels*. Operators and operands are drawn independently and uniformly for every question.
    Observation:
        The question: ``form`` (one-hot: a(b(x)) = ?, l * r = ?, a(?) = b, ? * a = b), ``operators`` (``depth`` slots,
        one-hot over f, g, h, zeros where there is none: the outermost first, or those of the left and right
        operand), ``operands`` (two slots, one-hot over the symbols: x; l and r; b; a and b). ``correction``, one-hot:
        the right answer to the question before, which is not shown again. The one to the sheet's last question
        comes with the extra ``final_observation`` on the next sheet's first observation.
    Action:
        ``Discrete(8)``: the answer, a symbol.
    Reward:
        1 if the answer is right, else 0.
    Levels:
        (0) f(x), 8 questions, and 16 in all chapters after it: (1) f, g or h of x; (2) x * y, after a quarter of
        revision of chapter 1; (3) compositions: 1 operator in the first quarter, 2 in the second, then 3, as in
        f(g(h(x))); (4) x * y in the first quarter, one operand under an operator in the second, then both, as in
        f(x) * g(y); (5) equations: in the first half the x for which f(x) = b, then the x for which x * a = b.
    Oracle:
        Always right: its return is the number of questions, random play's an eighth of that, exactly.
    Reference learner:
        ``algebraist``: keeps what is consistent with every correction seen, by constraint propagation and
        counting, and gives the answer most probable then. ``memoriser`` learns the answers by heart and shows how
        far that leads.
    Source:
        Own. After the student who works through a textbook; cf. Lake & Baroni 2018 (SCAN, arXiv 1711.00350)
        for composition as the test of having understood, and Lake & Baroni 2023 (meta-learning for compositionality).
    """

    name = "Textbook"
    tags = ("composition", "memory")
    reference = "algebraist"
    reactive = "margin-note"
    harder = {"questions": (4, 8, 4, 8, 8, 8)}
    split_fields = ("unary", "product")
    # The correction of a sheet's last question is otherwise never seen.
    show = ("previous_action", "previous_reward", "episode_start", "time", "level", "final_observation")
    draw = staticmethod(draw)
    begin = staticmethod(begin)
    step = staticmethod(step)
    observe = staticmethod(observe)
    oracle = staticmethod(oracle)
    diagnose = staticmethod(diagnose)

    def __init__(self, *, symbols: int = 8, depth: int = 3, questions: Sequence[int] = QUESTIONS) -> None:
        """Set the book.

        Args:
            symbols: how many symbols, 4 to 8.
            depth: most operators in a composition of chapter 3, 2 to 4: one in the first quarter of its sheets, one
                more in each quarter after it until there are so many.
            questions: on a sheet of each of the six chapters, 4 to 60.

        Raises:
            ValueError: a value out of range.
        """
        n = check_integer("symbols", symbols, 4, MOST_SYMBOLS)
        depth = check_integer("depth", depth, 2, MOST_DEPTH)
        questions = check_integers("questions", questions, len(CHAPTERS), LEAST_QUESTIONS, MOST_QUESTIONS)
        units = sum(math.gcd(k, n) == 1 for k in range(n))
        super().__init__(
            keywords={"symbols": n, "depth": depth, "questions": questions},
            settings={"symbols": n, "depth": depth, "questions": questions},
            task=[("unary", "i1", (3, MOST_SYMBOLS)), ("product", "i1", (MOST_SYMBOLS, MOST_SYMBOLS))],
            state=[
                ("marks", "i8"),  # bit k: whether question k was answered right
                ("asked", "i2"),
                ("form", "i1"),
                ("answer", "i1"),
                ("correction", "i1"),
                ("operators", "i1", (MOST_DEPTH,)),
                ("operands", "i1", (2,)),
            ],
            levels=[Level(name, count) for name, count in zip(CHAPTERS, questions, strict=True)],
            actions=spaces.Discrete(n),
            fields=[
                Field("form", 4),
                Field("operators", 3 * depth),
                Field("operands", 2 * n),
                Field("correction", n),
            ],
            # Multiplying the hidden numbers by a unit of the integers modulo n leaves the product as it is.
            distinct_tasks=math.factorial(n) ** 4 // units,
            # Exact: every question has one right answer, and chance gives each symbol alike.
            reference_returns=ReferenceReturns.given([count / n for count in questions], questions),
            action_names=tuple(SYMBOLS[:n]),
            diagnostics=[Field("right_by_quarter", 4)],
        )
        self.symbols, self.depth, self.questions = n, depth, questions

    def task_from_dict(self, values: Mapping[str, Any]) -> np.ndarray:
        """The inverse of `task_to_dict`, which also refuses a task that `draw` could not draw."""
        task = super().task_from_dict(values)
        n = self.symbols
        unary, product = task[0]["unary"], task[0]["product"]
        for name, row in zip(OPERATORS, unary, strict=True):
            if sorted(row[:n].tolist()) != list(range(n)):
                raise ValueError(f"unary: {name} must be a permutation of 0..{n - 1}, received {row[:n].tolist()}.")
        if unary[:, n:].any() or product[n:].any() or product[:, n:].any():
            raise ValueError(f"unary and product must be 0 beyond the {n} symbols.")
        if not _is_cyclic(product[:n, :n]):
            raise ValueError(
                f"product must be addition modulo {n} under some numbering of the symbols, received "
                f"{product[:n, :n].tolist()}."
            )
        return task

    # --- words and pictures ---------------------------------------------------------------------------------------

    def _question(self, form: int, operators: Sequence[int], operands: Sequence[int]) -> str:
        """A question as it would be printed (operators and operands as in the state)."""
        if form == NOTHING:
            return ""
        names = [OPERATORS[k] if k >= 0 else "" for k in operators]
        x, y = (SYMBOLS[k] if k >= 0 else "" for k in operands)
        if form == APPLY:
            depth = sum(bool(name) for name in names)
            return f"{'('.join(names[:depth])}({x}{')' * depth} = ?"
        if form == MULTIPLY:
            left, right = (f"{a}({v})" if a else v for a, v in zip(names[:2], (x, y), strict=True))
            return f"{left} * {right} = ?"
        return f"{names[0]}(?) = {x}" if form == UNDO else f"? * {x} = {y}"

    def _scene_question(self, scene: Scene) -> str:
        state = scene.state
        return self._question(int(state["form"]), state["operators"].tolist(), state["operands"].tolist())

    def _correction(self, scene: Scene) -> str:
        k = int(scene.state["correction"])
        if k < 0:
            return ""
        given = "" if scene.action is None else f"you said {SYMBOLS[int(scene.action)]}, "
        return f"last question: {given}right was {SYMBOLS[k]}"

    def _marks(self, scene: Scene) -> list[str]:
        """What became of each question of the sheet: ``right``, ``wrong``, or ``open``."""
        marks, asked = int(scene.state["marks"]), int(scene.state["asked"])
        count = self.questions[scene.level]
        return ["open" if k >= asked else "right" if (marks >> k) & 1 else "wrong" for k in range(count)]

    def describe_rules(self, level: int) -> str:
        """The rules of a level in plain words, as much as an agent may know."""
        n, count = self.symbols, self.questions[level]
        symbols, x, y = ", ".join(SYMBOLS[:n]), SYMBOLS[0], SYMBOLS[1]
        hidden = (
            "f, g and h are hidden operators: each turns every symbol into another one or itself, no two into the same."
        )
        product = (
            f"* is a hidden product of two symbols: behind the symbols are the numbers 0 to {n - 1}, and * adds them "
            f"modulo {n}."
        )
        first, second = "the first quarter of the sheet", "the second quarter"
        depths = [f"{depth} {'operators' if depth > 1 else 'operator'}" for depth in range(1, self.depth + 1)]
        chapter = (
            "f is a hidden operator: it turns every symbol into another one or itself, no two into the same. "
            f"The questions are of the kind f({x}) = ?",
            f"{hidden} The questions are of the kind g({x}) = ?",
            f"{hidden} {product} The questions are of the kind {x} * {y} = ?; {first} asks g({x}) = ? again.",
            f"{hidden} The questions are compositions, such as f(g({x})) = ?, the inner operator first: "
            f"{', then '.join(depths)}, a quarter of the sheet each, and the last of these to the end.",
            f"{hidden} {product} The questions are products, such as f({x}) * g({y}) = ?; in {first} without "
            f"operators, in {second} with one.",
            f"{hidden} {product} The questions are equations: the first half asks for which symbol f(?) = {x}, the "
            f"second for which symbol ? * {x} = {y}.",
        )[level]
        return (
            f"An exercise sheet with {count} questions about the symbols {symbols}. {chapter} Answer with one symbol; "
            "a right answer pays 1. After each question you are told its right answer. The operators never change: "
            "what you learn on one sheet holds on all others."
        )

    def describe_observation(self, values: np.ndarray, level: int) -> str:
        """The question and the last correction, in plain words."""
        n, depth = self.symbols, self.depth
        tokens, at = [], 4
        for size, slots in ((3, depth), (n, 2), (n, 1)):
            for _ in range(slots):
                slot = values[at : at + size]
                tokens.append(int(slot.argmax()) if (slot > 0.5).any() else -1)
                at += size
        form = int(values[:4].argmax()) if (values[:4] > 0.5).any() else NOTHING
        operators, operands, correction = tokens[:depth], tokens[depth : depth + 2], tokens[-1]
        question = self._question(form, operators, operands)
        words = [f"The right answer to the last question was {SYMBOLS[correction]}."] if correction >= 0 else []
        words.append(f"Question: {question}" if question else "The sheet is finished.")
        return " ".join(words)

    def vocabulary(self, rename: bool) -> Vocabulary:
        """What these words name: symbols and operators."""
        return Vocabulary(
            (
                Symbols("symbol", tuple(SYMBOLS[: self.symbols]), r"(?<![\w'])NAME(?!\w)"),
                Symbols("operator", tuple(OPERATORS), r"(?<![\w'])NAME(?!\w)"),
            )
        )

    def _caption(self, scene: Scene) -> list[str]:
        level = self.levels[scene.level]
        return [
            f"Textbook, chapter {scene.level}: {level.name}",
            f"question {min(scene.time + 1, level.horizon)} of {level.horizon}   right {scene.total:g}   "
            f"bar {scene.bar:.2f}",
        ]

    def _tables(self, scene: Scene) -> list[list[str]]:
        """The hidden tables as rows of words: the operators, then the product."""
        n, task = self.symbols, scene.task
        rows = [["", *SYMBOLS[:n]]]
        rows += [[OPERATORS[a], *(SYMBOLS[int(v)] for v in task["unary"][a][:n])] for a in range(3)]
        rows += [["*", *SYMBOLS[:n]]]
        rows += [[SYMBOLS[x], *(SYMBOLS[int(v)] for v in task["product"][x][:n])] for x in range(n)]
        return rows

    def render_ansi(self, scene: Scene) -> str:
        """The sheet as text: ``+`` is a right answer, ``-`` a wrong one; hidden tables only where revealed."""
        marks = "".join({"right": "+", "wrong": "-", "open": "."}[mark] for mark in self._marks(scene))
        lines = [*self._caption(scene), f"[{marks}]"]
        lines += [words for words in (self._correction(scene), self._scene_question(scene)) if words]
        if scene.reveal:
            lines += ["", *(f"{row[0]:>1} | {' '.join(row[1:])}" for row in self._tables(scene))]
        return "\n".join(lines)

    def render_rgb(self, scene: Scene) -> np.ndarray:
        """The sheet as an image, ``uint8[height, width, 3]``; hidden tables only where revealed."""
        from daytwo.pictures import Canvas

        canvas = Canvas(640, 330)
        for k, line in enumerate(self._caption(scene)):
            canvas.text(16, 12 + 20 * k, line, size=14)
        canvas.rectangle(16, 60, 364, 314, fill="light", outline="grey", radius=6)
        marks = self._marks(scene)
        side = min(20.0, 316 / min(len(marks), 16) - 3)
        for k, mark in enumerate(marks):
            left, top = 32 + k % 16 * (side + 3), 76 + k // 16 * (side + 3)
            paint = {"right": "green", "wrong": "red", "open": "paper"}[mark]
            canvas.rectangle(left, top, left + side, top + side, fill=paint, outline="grey", radius=3)
        question = self._scene_question(scene)
        size = 34
        while size > 14 and canvas.text_width(question, size=size) > 320:
            size -= 2
        canvas.text(
            190, 205, question or "sheet finished", colour="agent" if question else "dark", size=size, anchor="mm"
        )
        words = self._correction(scene)
        if words:
            said_right = bool(scene.reward > 0)
            canvas.text(190, 290, words, colour="green" if said_right else "red", size=14, anchor="mm")
        n = self.symbols
        step, top = 26, 60
        for row, words_of_row in enumerate([["", *SYMBOLS[:n]], *[[a] for a in OPERATORS], ["*", *SYMBOLS[:n]]]):
            y = top + row * 20 + (row > 3) * 6
            for column, word in enumerate(words_of_row):
                canvas.text(388 + column * step, y, word, colour="dark", size=14, anchor="ma")
        for row, symbol in enumerate(SYMBOLS[:n]):
            canvas.text(388, top + 106 + row * 19, symbol, colour="dark", size=14, anchor="ma")
        # What is hidden stays a grid of empty places.
        for row in range(3 + n):
            y = top + 20 + row * 20 if row < 3 else top + 106 + (row - 3) * 19
            for column in range(n):
                x = 388 + (column + 1) * step
                if not scene.reveal:
                    canvas.rectangle(x - 9, y, x + 9, y + 15, fill="light", radius=3)
                    continue
                table = scene.task["unary"][row] if row < 3 else scene.task["product"][row - 3]
                canvas.text(x, y, SYMBOLS[int(table[column])], size=14, anchor="ma")
        return canvas.array()


def _is_cyclic(product: np.ndarray) -> bool:
    """Whether a table is addition modulo its size under some numbering of the symbols."""
    n = len(product)
    if product.min() < 0 or product.max() >= n:
        return False
    for one in range(n):
        # If this symbol's number is 1, its powers are numbered 1, 2, ..., and the last is the neutral element.
        power = [one]
        while len(power) < n:
            power.append(int(product[power[-1], one]))
        if len(set(power)) < n:
            continue
        number = {symbol: (k + 1) % n for k, symbol in enumerate(power)}
        symbol_of = {number[symbol]: symbol for symbol in power}
        if all(product[x, y] == symbol_of[(number[x] + number[y]) % n] for x in range(n) for y in range(n)):
            return True
    return False


__all__ = ["Textbook"]
