"""Lifetimes in words, for agents that read and write: rules, observations, and what a reply means.

A `Narrator` belongs to one lifetime. It says the rules of a level, turns observation rows into short texts and replies
into actions. With ``rename=True`` the names of actions and of whatever else a family's words name (arms, states,
switches, colours, tools) become made-up words, drawn anew for every lifetime and kept throughout it, so that neither
common sense nor having read about the family helps: all has to be found out within the lifetime.

**The rule for replies.** The answer is what follows ``ACTION:`` on the last line that begins so (in any case), or the
whole reply where no line does. White space, quotation marks, asterisks, backticks and full stops around it do not
count, nor does case. It must be the name of an action that is offered; or the one word of that name that no other
action has (``dovuk`` for ``arm dovuk``); or the action's number, where the rules number the actions; for continuous
actions d numbers in [-1, 1], or what else the family reads. Anything else is `Unparsed`, and no other line is tried.

**Vocabularies.** Which parts of a family's words are names is data: a `Vocabulary`, which stands with those words
(`TaskFamily.vocabulary`). Of a family that gives none of its own the names of its actions are renamed, wherever they
stand as whole words.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from daytwo.checks import check_integer
from daytwo.course import Course
from daytwo.family import TaskFamily
from daytwo.observation import Layout
from daytwo.streams import MASK_64, integer, key_stream, shuffle

# Domain of the streams of texts, beside those in `daytwo.streams` and the mixture's.
TEXT = np.uint64(7)
WORDS, FALLBACK = np.uint64(0), np.uint64(1)  # numbers within the domain

LONGEST_ANSWER = 200  # characters; nothing that can be meant is longer
MOST_LISTED = 24  # actions that an error lists
_QUOTED = 40  # characters of a reply that an error quotes

_ANSWER = re.compile(r"[\s*_`\"'>-]*action\s*:(.*)", re.IGNORECASE | re.DOTALL)
_AROUND = " \t\r\n*`\"'“”‘’"
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_LETTERS = re.compile(r"[^\W\d_]+")

# Made-up words: consonant, vowel, consonant, vowel, and a consonant that few English words end in.
_FIRST, _VOWELS, _LAST = "bdfgklmnprstvz", "aeiou", "bfgkpvz"
_MOST_SHORT = 500  # symbols; beyond it words get another syllable
_ENGLISH = frozenset(
    "batik bebop debag debug demob galop getup gopak kalif kapok kebab kodak kulak letup motif muzak nabob pinup rebab "
    "redip redub remap rezip salep serif setup tarok topaz tulip".split()
)
_UNWANTED = ("dik", "fag", "fuk", "kok", "kuk", "nig", "pis", "rap", "sod", "suk", "tit")


class Unparsed(ValueError):
    """A reply that means no action that is offered; the message, one line, says what was expected."""


@dataclass(frozen=True)
class Symbols:
    r"""Things of one kind that a family's words name: the arms, say.

    Attributes:
        kind: what they are; two kinds may have equal names (stone 1 and potion 1), and get different words.
        names: as they stand in the family's words. A capital first letter is recognised where a name has two or more.
        pattern: a regular expression of where a name stands, in which ``NAME`` stands for any of the names, as in
            ``r"\barm NAME\b"``. Only the name itself is replaced. Further groups must not capture: ``(?:...)``.
    """

    kind: str
    names: tuple[str, ...]
    pattern: str = r"(?<!\w)NAME(?!\w)"


@dataclass(frozen=True)
class Vocabulary:
    """What is to be known about a family's words to tell them short and renamed.

    Attributes:
        symbols: what has names.
        rewrites: pairs of a regular expression and its replacement, applied to every text of the family before names
            are: to leave out what the rules say once and for all, or what would give names away.
        note: said after the family's rules.
        answers: how the rules tell what may be answered, in the family's own words, where the actions are too many to
            be listed; they have no numbers then.
    """

    symbols: tuple[Symbols, ...] = ()
    rewrites: tuple[tuple[str, str], ...] = ()
    note: str = ""
    answers: str = ""


class Narrator:
    """Tells one lifetime in words, and reads replies.

    What it says is a function of what it is given and of the words it drew from ``seed`` when it was made.

    Attributes:
        words: the word of every symbol, by (kind, name): ``{("arm", "0"): "dovuk", ...}``. A bijection: no two symbols
            share a word. With ``rename=False`` every name stands for itself, and the mapping is empty.
        numbers: the number of every discrete action: itself, or with ``rename`` its place in a random order. None where
            the actions have no numbers.
    """

    def __init__(
        self, family: TaskFamily, layout: Layout, course: Course, *, seed: int = 0, rename: bool = True
    ) -> None:
        """Draw the words of a lifetime.

        Args:
            family: whose lifetime it is.
            layout: of the observation rows; it must show the level, unless the course stays at one.
            course: lived through.
            seed: the lifetime's, an integer of at least 0; equal seeds give equal words.
            rename: whether names are replaced by made-up words.

        Raises:
            ValueError: an argument is out of range, or they do not fit together.
        """
        if not isinstance(family, TaskFamily):
            raise ValueError(f"family must be an instance of a TaskFamily, received {family!r}.")
        if not isinstance(layout, Layout):
            raise ValueError(f"layout must be a daytwo.observation.Layout, received {layout!r}.")
        if layout.family_size != sum(field.size for field in family.fields):
            raise ValueError(
                f"The layout has {layout.family_size} columns for the family's own part, "
                f"{family.name} writes {sum(field.size for field in family.fields)}."
            )
        if not isinstance(course, Course) or course.top_level >= len(family.levels):
            raise ValueError(f"course must be a daytwo.Course over {family.name}'s levels, received {course!r}.")
        if not isinstance(rename, bool):
            raise ValueError(f"rename must be True or False, received {rename!r}.")
        self.family, self.layout, self.course, self.rename = family, layout, course, rename
        self.seed = check_integer("seed", seed, 0, MASK_64)
        levels = {stage.level for stage in course.stages}
        self._only_level = levels.pop() if len(levels) == 1 else None
        if "level" not in layout and self._only_level is None:
            raise ValueError(
                "Texts say the level, and what the family shows may depend on it: add 'level' to show=, or live a "
                f"course of one level; this layout shows {', '.join(layout)}."
            )
        vocabulary = family.vocabulary(rename)
        if not isinstance(vocabulary, Vocabulary):
            raise ValueError(
                f"{family.name}.vocabulary must return a daytwo.narration.Vocabulary, received {vocabulary!r}."
            )
        self._rewrites = [(re.compile(pattern, re.DOTALL), text) for pattern, text in vocabulary.rewrites]
        self._note, self._answers = vocabulary.note, vocabulary.answers
        self.numbers: tuple[int, ...] | None = None if family.continuous else tuple(range(family.actions))
        self._symbols = vocabulary.symbols if rename else ()
        self._pattern = _pattern_of(self._symbols)
        words: dict[tuple[str, str], str] = {}
        if rename:
            stream = text_stream(self.seed, WORDS)
            with np.errstate(over="ignore"):
                if not family.continuous:
                    order = np.arange(family.actions)
                    shuffle(stream, 0, order)
                    self.numbers = tuple(order.tolist())
                keys = [(symbols.kind, name) for symbols in self._symbols for name in symbols.names]
                words = dict(zip(keys, _made_up(len(keys), stream, self._plain_words()), strict=True))
        self.words: Mapping[tuple[str, str], str] = MappingProxyType(words)
        if self._answers:
            self.numbers = None
        self._names: tuple[str, ...] = ()
        if family.continuous:
            self._prepare_vectors()
        else:
            self._prepare_actions()

    # --- names ----------------------------------------------------------------------------------------------------

    def _plain_words(self) -> set[str]:
        """The words of the family's texts as they are, which no made-up word may equal."""
        family = self.family
        texts = [family.describe_rules(level) for level in range(len(family.levels))]
        texts += [level.name for level in family.levels] + [field.name for field in family.fields]
        texts += [self._note, self._answers, _LIFE, _REPLY, _MADE_UP]
        texts += [name for symbols in self._symbols for name in symbols.names]
        if not family.continuous:
            texts += [family.describe_action(action) for action in range(family.actions)]
        return {word.lower() for text in texts for word in _LETTERS.findall(text)}

    def _told(self, text: str) -> str:
        """A text of the family, rewritten and with its names replaced."""
        for pattern, replacement in self._rewrites:
            text = pattern.sub(replacement, text)
        return text if self._pattern is None else self._pattern.sub(self._replacement, text)

    def _replacement(self, match: re.Match[str]) -> str:
        group = match.lastgroup or ""
        symbols, found = self._symbols[int(group[1:])], match[group]
        known = (symbols.kind, found) in self.words
        word = self.words[symbols.kind, found if known else found[0].lower() + found[1:]]
        first, last = (at - match.start() for at in match.span(group))
        return match[0][:first] + (word if known else word.capitalize()) + match[0][last:]

    def _prepare_actions(self) -> None:
        """Find out how every discrete action is called, and what may be said for it."""
        family = self.family
        self._names = tuple(self._told(family.describe_action(action)) for action in range(family.actions))
        spoken = [_normalised(name) for name in self._names]
        meanings: dict[str, int] = {}
        made_up = set(self.words.values())
        parts = [[word for word in _LETTERS.findall(name) if word in made_up] for name in spoken]
        several = [word for own in parts for word in set(own)]
        for action, own in enumerate(parts):
            meanings.update({word: action for word in own if several.count(word) == 1})
        if self.numbers is not None:
            meanings.update({str(number): action for action, number in enumerate(self.numbers)})
        for action, name in enumerate(spoken):
            if spoken.index(name) != action:
                raise ValueError(
                    f"{family.name}: two actions are called {self._names[action]!r}; describe_action and the "
                    "vocabulary must tell all actions apart."
                )
            meanings[name] = action
        self._meanings = meanings
        order = range(family.actions) if self.numbers is None else np.argsort(self.numbers).tolist()
        self._order = tuple(order)

    def _prepare_vectors(self) -> None:
        """Find out which words may stand in a continuous answer."""
        size = self.family.actions
        units = [np.zeros(size)] + [sign * np.eye(size)[k] + 0.0 for k in range(size) for sign in (1.0, -1.0)]
        self._examples = tuple(" ".join(f"{value:g}" for value in unit) for unit in units)
        told = " ".join(self._told(self.family.describe_action(unit.astype(np.float32))) for unit in units)
        self._allowed = {word.lower() for word in _LETTERS.findall(told)} | set(self.words.values())
        self._originals = {word: name for (_, name), word in self.words.items()}

    def name(self, action: Any) -> str:
        """What an action is called.

        Args:
            action: an integer counted from 0, or ``float[d]``.

        Raises:
            ValueError: there is no such action.
        """
        if not self.family.continuous:
            return self._names[check_integer("action", action, 0, self.family.actions - 1)]
        vector = np.asarray(action, dtype=np.float32)
        if vector.shape != (self.family.actions,):
            raise ValueError(f"action must be {self.family.actions} numbers, received {action!r}.")
        return self._told(self.family.describe_action(vector))

    def offered(self, level: int, row: np.ndarray | None = None) -> np.ndarray:
        """Which discrete actions are offered at a level, or in the phase that an observation row shows.

        Returns:
            ``bool[actions]``; all True if actions are continuous.
        """
        level = self._check_level(level)
        if row is not None and self.family.offered is not None:
            return self.family.observed_mask(self.layout, self.course, self._check_row(row)[None])[0]
        return self.family.action_masks[level]

    def actions(self, level: int, row: np.ndarray | None = None) -> list[str]:
        """The names of the actions offered, in the order of their numbers; of continuous ones some examples.

        Args:
            level: index of the level.
            row: the observation row, for families that offer different actions in different phases of an episode.
        """
        offered = self.offered(level, row)
        if self.family.continuous:
            return list(self._examples)
        return [self._names[action] for action in self._order if offered[action]]

    # --- what is said ---------------------------------------------------------------------------------------------

    def rules(self, level: int) -> str:
        """The rules of a level in plain words: what a lifetime is, the family's own, and what may be answered."""
        family, level = self.family, self._check_level(level)
        levels = sorted({stage.level for stage in self.course.stages})
        if levels == [level]:
            where = f", all at level {level}"
        else:
            where = f" at levels {', '.join(map(str, levels))}; this is level {level}"
        stays = "What is hidden stays the same from episode to episode"
        if any(stage.switch_after for stage in self.course.stages):
            stays += ", but may change once without notice"
        elif any(stage.new_task for stage in self.course.stages):
            stays += ", but is drawn anew whenever the level changes"
        count = self.course.episodes
        most = "at most " if self.course.mastery is not None else ""
        parts = [
            f"Your lifetime has {most}{count} {'episode' if count == 1 else 'episodes'}{where}.",
            f"{stays}: {_LIFE}",
            self._told(family.describe_rules(level)),
            self._told(self._note),
            self._answers_in_words(level),
        ]
        if self.words:
            parts.append(_MADE_UP)
        return " ".join(part for part in parts if part)

    def _answers_in_words(self, level: int) -> str:
        if self.family.continuous:
            answers = f"{self.family.actions} numbers between -1 and 1"
            example = self._examples[1]
        elif self._answers:
            answers = self._told(self._answers)
            example = self.actions(level)[0]
        else:
            offered = self.family.action_masks[level]
            numbers = self.numbers or ()
            listed = [f"{self._names[action]} ({numbers[action]})" for action in self._order if offered[action]]
            answers = ", ".join(listed)
            example = self.actions(level)[0]
            if self.family.offered is not None:
                answers += "; not all of them at any time"
        return f'Answers: {answers}. {_REPLY} "ACTION: {example}".'

    def observation(self, row: np.ndarray) -> str:
        """An observation row in words: what the last action paid, whether an episode begins, what is seen now.

        Args:
            row: ``float32[size]``, as the layout says.

        Raises:
            ValueError: another shape.
        """
        row, layout, family = self._check_row(row), self.layout, self.family
        level = self.level(row)
        begins = self._begins(row)
        parts = [self._past(row, begins)]
        if begins:
            if "final_observation" in layout and (seen := row[layout["final_observation"]]).any():
                parts.append(
                    f"The episode ended with: {_sentence(self._told(family.describe_observation(seen, level)))}"
                )
            parts.append(f"A new episode begins, level {level}{self._place(row)}.")
        if "time" in layout:
            horizon = family.levels[level].horizon
            step = round(float(row[layout.start("time")]) * horizon) + 1
            if step <= horizon:
                parts.append(f"Step {step} of {horizon}.")
        parts.append(_sentence(self._told(family.describe_observation(row[: layout.family_size], level))))
        return " ".join(part for part in parts if part)

    def _past(self, row: np.ndarray, begins: bool) -> str:
        """The last action and what it paid; nothing where a lifetime begins, or the past was taken out."""
        layout, family = self.layout, self.family
        name = ""
        if "previous_action" in layout:
            last = row[layout["previous_action"]]
            if last.any() or (family.continuous and not begins):
                name = self.name(last if family.continuous else int(last.argmax()))
        paid = float(row[layout.start("previous_reward")]) if "previous_reward" in layout else None
        if paid is None:
            return f"You chose {name}." if name else ""
        if not name and ("previous_action" in layout or (begins and paid == 0.0)):
            return ""
        return f"{name or 'The last step'} paid {paid + 0.0:.4g}."

    def _begins(self, row: np.ndarray) -> bool:
        """Whether an episode begins, as far as the row shows it."""
        for name, value in (("episode_start", 1.0), ("time", 0.0)):
            if name in self.layout:
                return bool(row[self.layout.start(name)] == value)
        return False

    def _place(self, row: np.ndarray) -> str:
        """Which episode of the stage, if that is shown."""
        layout = self.layout
        if "episode" not in layout:
            return ""
        text = f", episode {round(float(row[layout.start('episode')])) + 1}"
        return text + (f" of {round(float(row[layout.start('stage_length')]))}" if "stage_length" in layout else "")

    def level(self, row: np.ndarray) -> int:
        """The level that an observation row shows."""
        row = self._check_row(row)
        return int(row[self.layout["level"]].argmax()) if "level" in self.layout else int(self._only_level or 0)

    # --- what is answered -----------------------------------------------------------------------------------------

    def parse(self, reply: str, level: int, row: np.ndarray | None = None) -> Any:
        """The action that a reply means, by the rule at the head of this module.

        Args:
            reply: what the agent wrote.
            level: index of the level.
            row: the observation row it answers, for families that offer different actions in different phases of an
                episode; left out, whatever the level offers in any phase is taken.

        Returns:
            An int, or ``float32[d]`` in [-1, 1].

        Raises:
            Unparsed: the reply means no action that is offered; the message says what was expected.
            ValueError: no such level, or a row of another shape.
        """
        level = self._check_level(level)
        offered = self.offered(level, row)
        if not isinstance(reply, str):
            raise self._unparsed(reply, level, row)
        answer = answer_of(reply)
        if not answer or len(answer) > LONGEST_ANSWER:
            raise self._unparsed(answer, level, row)
        spoken = _normalised(answer)
        if self.family.continuous:
            return self._vector(answer, spoken, level, row)
        action = self._meanings.get(spoken, -1)
        if action < 0 and not self.rename and not spoken.isdecimal():  # the numbers were among the meanings
            try:
                action = int(self.family.parse_action(answer, level))
            except ValueError:
                action = -1
        if action < 0 or not offered[action]:
            raise self._unparsed(answer, level, row)
        return action

    def _vector(self, answer: str, spoken: str, level: int, row: np.ndarray | None) -> np.ndarray:
        """A continuous action: d numbers, or words of the family's own."""
        numbers = spoken.strip("()[]").replace(",", " ").split()
        if all(_NUMBER.fullmatch(number) for number in numbers):
            vector = np.array([float(number) for number in numbers], dtype=np.float64)
            if len(numbers) == self.family.actions and bool((np.abs(vector) <= 1.0).all()):
                return vector.astype(np.float32)
            raise self._unparsed(answer, level, row)
        if self.rename and not set(_LETTERS.findall(_NUMBER.sub(" ", spoken))) <= self._allowed:
            raise self._unparsed(answer, level, row)
        plain = _LETTERS.sub(lambda match: self._originals.get(match[0], match[0]), spoken)
        try:
            return self.family.parse_action(plain, level)
        except ValueError:
            raise self._unparsed(answer, level, row) from None

    def _unparsed(self, received: Any, level: int, row: np.ndarray | None) -> Unparsed:
        names = self.actions(level, row)
        if self.family.continuous:
            expected = f"{self.family.actions} numbers in [-1, 1], such as {names[1]}"
        elif self._answers and len(names) > MOST_LISTED:
            expected = self._told(self._answers)
        else:
            rest = f", or another of {len(names)}" if len(names) > MOST_LISTED else ""
            expected = f"one of {', '.join(names[:MOST_LISTED])}{rest}"
        quoted = ascii(received[: _QUOTED + 1] if isinstance(received, str) else received)
        if len(quoted) > _QUOTED:
            quoted = f"{quoted[:_QUOTED]}..."
        return Unparsed(f"Expected a line 'ACTION: ' with {expected}; received {quoted}.")

    # --- checks ---------------------------------------------------------------------------------------------------

    def _check_level(self, level: int) -> int:
        return check_integer("level", level, 0, len(self.family.levels) - 1)

    def _check_row(self, row: Any) -> np.ndarray:
        array = np.asarray(row, dtype=np.float32)
        if array.shape != (self.layout.size,):
            raise ValueError(f"An observation row has {self.layout.size} numbers, received shape {array.shape}.")
        return array


def answer_of(reply: str) -> str:
    """The part of a reply that counts: what follows ``ACTION:`` on the last line that begins so, or else all of it.

    Quotation marks, asterisks, backticks and full stops around it are taken off.
    """
    for line in reversed(reply.splitlines()):
        if found := _ANSWER.fullmatch(line):
            return _bare(found[1])
    return _bare(reply)


def _bare(text: str) -> str:
    return text.lstrip(_AROUND).rstrip(_AROUND + ".")


def text_stream(seed: int, number: np.uint64) -> np.ndarray:
    """A random stream of the texts of a lifetime: its words, or what is done in place of an unparsed reply.

    Returns:
        ``uint64[1, 4]``, as the functions of `daytwo.streams` take it.
    """
    stream = np.zeros((1, 4), dtype=np.uint64)
    with np.errstate(over="ignore"):
        key_stream(stream, 0, np.uint64(seed & MASK_64), np.uint64(0), TEXT, number)
    return stream


_LIFE = (
    "remember what you find out, for an episode counts by how much better it goes than those before it at its level, "
    "the first by how much better than chance."
)
_REPLY = "End your reply with a line that gives one of them, as in"
_MADE_UP = "The names are invented, and keep their meanings for all your lifetime."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) or "\n" in text else f"{text}."


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())


def _pattern_of(symbols: Iterable[Symbols]) -> re.Pattern[str] | None:
    """One expression for all names, so that no word that was put in is ever replaced again."""
    parts = []
    for k, one in enumerate(symbols):
        if one.pattern.count("NAME") != 1:
            raise ValueError(f"Symbols {one.kind!r}: the pattern must hold NAME once, received {one.pattern!r}.")
        if not one.names:
            continue
        forms = {*one.names, *(name[0].upper() + name[1:] for name in one.names if len(name) > 1)}
        choices = "|".join(re.escape(name) for name in sorted(forms, key=lambda name: (-len(name), name)))
        parts.append(one.pattern.replace("NAME", f"(?P<k{k}>{choices})"))
        if re.compile(parts[-1]).groups != 1:
            raise ValueError(
                f"Symbols {one.kind!r}: write (?:...) for groups in the pattern, received {one.pattern!r}."
            )
    return re.compile("|".join(f"(?:{part})" for part in parts)) if parts else None


def _made_up(count: int, stream: np.ndarray, taken: Collection[str]) -> list[str]:
    """So many made-up words, each of which differs from every other in two letters at least."""
    syllables = 2 if count <= _MOST_SHORT else 3
    words: list[str] = []
    near: set[str] = set()  # the words so far with one letter left open
    while len(words) < count:
        letters = []
        for _ in range(syllables):
            letters += [_FIRST[integer(stream, 0, len(_FIRST))], _VOWELS[integer(stream, 0, len(_VOWELS))]]
        word = "".join(letters) + _LAST[integer(stream, 0, len(_LAST))]
        open_forms = {f"{word[:k]}?{word[k + 1 :]}" for k in range(len(word))}
        if word in taken or word in _ENGLISH or near & open_forms or any(part in word for part in _UNWANTED):
            continue
        words.append(word)
        near |= open_forms
    return words
