"""The agents of Laboratory: an exact experimenter, and one that remembers its last experiment only."""

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.kernels import kernel

LEVELS = 4
# Columns of ``book``: the level; what the last observation was; how much is logged; and, from TOUCHED on, whether there
# is evidence from each level.
LEVEL, PHASE, LOGGED, TOUCHED = range(4)
EXPERIMENT, EXAM = range(2)
# Columns of ``log``, the present episode: what happened, with which setting, and the reading or answer (0 or 1).
KIND, AT, VALUE = range(3)
READING, QUESTION = range(2)
UNANSWERED = -1
OFF_SHARE = 1.0 / 3.0  # of settings, those that light the lamp are to the others as 1 to 3 at level 1, else 1 to 1
EQUAL = 1e-9  # experiments that are as good but for rounding
LOWEST = 2.0**-200


class World(NamedTuple):
    """What is known about an environment beforehand, for compiled code.

    Attributes:
        literals: see `Theories`.
        start: see `Theories`.
        joint: see `Theories`.
        noise: ``float64[4]``: with what probability the lamp is misread, by level.
        switches: how many.
        questions: of an exam.
        marks: whether the sum of marks counts as evidence.
        at_action: first column of the previous action in an observation row.
        at_reward: column of the previous reward.
        at_start: column that says that an episode begins.
        at_level: first column of the level.
    """

    literals: np.ndarray
    start: np.ndarray
    joint: np.ndarray
    noise: np.ndarray
    switches: int
    questions: int
    marks: bool
    at_action: int
    at_reward: int
    at_start: int
    at_level: int


class Mind(NamedTuple):
    """What was learnt in N lifetimes.

    Attributes:
        evidence: ``float64[N, theories]``: what a level's own episodes say for each of its theories, as a likelihood
            up to a common factor; kept for the theories that are alive when they are lived, else 0 or as it was.
        prior: ``float64[N, most]``: what the other levels say for each theory of the present level.
        alive: ``int16[N, most]``: the theories of the present level that are not ruled out.
        left: ``int64[N]``: how many these are.
        book: ``int64[N, 7]``: LEVEL, PHASE, LOGGED and, from TOUCHED on, whether each level gave any evidence.
        log: ``int64[N, entries, 3]``: the present episode.
        mask: ``int64[2 * switches + 2]``, scratch, as `spread` fills it.
        settings: ``int64[...]``, scratch.
        sums: ``float64[switches + 1]``, scratch.
    """

    evidence: np.ndarray
    prior: np.ndarray
    alive: np.ndarray
    left: np.ndarray
    book: np.ndarray
    log: np.ndarray
    mask: np.ndarray
    settings: np.ndarray
    sums: np.ndarray


class Theories(NamedTuple):
    """All rules that the levels may have, told apart by what the lamp does.

    Attributes:
        literals: ``int16[theories, 4]``: (first AND second) XOR third XOR fourth, level after level; literals are
            coded ``2 * switch + negated``, with ``2 * switches`` for true and the next number for false.
        start: ``int64[5]``: where each level's theories begin.
        joint: ``int32[tasks, 4]``: the theory (counted within its level) of each possible task at each level.
    """

    literals: np.ndarray
    start: np.ndarray
    joint: np.ndarray


@lru_cache(maxsize=8)
def enumerate_theories(switches: int) -> Theories:
    """All theories about a number of switches.

    At levels 0 to 3 there are 16, 112, 1344 and 3360 of them with 8 switches, and 26,880 tasks. (At level 1 the two
    literals are interchangeable, at level 3 the third and fourth are, and negating one of these negates the other.)

    Args:
        switches: how many, at least 4.
    """
    true, false = 2 * switches, 2 * switches + 1
    numbers: list[dict[tuple, int]] = [{} for _ in range(LEVELS)]
    rows: list[list[tuple[int, int, int, int]]] = [[] for _ in range(LEVELS)]
    joint = []
    every = range(2 * switches)
    for a, b, c, d in itertools.product(every, every, every, every):
        if len({a >> 1, b >> 1, c >> 1, d >> 1}) < LEVELS:
            continue
        low, high = min(a, b), max(a, b)
        left, right = min(c, d) & ~1, (max(c, d) & ~1) | ((c ^ d) & 1)
        of_task = []
        for level, row in enumerate(
            [(a, true, false, false), (low, high, false, false), (low, high, c, false), (low, high, left, right)]
        ):
            number = numbers[level].setdefault(row, len(rows[level]))
            if number == len(rows[level]):
                rows[level].append(row)
            of_task.append(number)
        joint.append(of_task)
    start = np.cumsum([0] + [len(level) for level in rows]).astype(np.int64)
    made = Theories(
        np.array([row for level in rows for row in level], dtype=np.int16), start, np.array(joint, dtype=np.int32)
    )
    for array in made:
        array.setflags(write=False)  # shared by all who ask
    return made


@register_jitable
def spread(world, mind, count):
    """Set bit j of ``mask[literal]`` to whether the literal holds in ``settings[j]``, for ``count`` settings."""
    every = (1 << count) - 1
    for switch in range(world.switches):
        up = 0
        for j in range(count):
            up |= ((mind.settings[j] >> switch) & 1) << j
        mind.mask[2 * switch] = up
        mind.mask[2 * switch + 1] = up ^ every
    mind.mask[2 * world.switches] = every
    mind.mask[2 * world.switches + 1] = 0


@register_jitable
def predict(world, mind, theory):
    """What a theory says of the settings that were spread: one bit each, 1 for on."""
    literals, mask = world.literals, mind.mask
    pair = mask[literals[theory, 0]] & mask[literals[theory, 1]]
    return pair ^ mask[literals[theory, 2]] ^ mask[literals[theory, 3]]


@register_jitable
def bits_set(word):
    """How many of the lowest 32 bits of a number are 1."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24) & 0xFF


@register_jitable
def forget(world, mind, i):
    """Begin a lifetime: every theory is as good as any other."""
    for theory in range(world.start[LEVELS]):
        mind.evidence[i, theory] = 1.0
    for column in range(mind.book.shape[1]):
        mind.book[i, column] = 0
    mind.book[i, LEVEL] = -1


@register_jitable
def enter(world, mind, i, level):
    """Come to a level: what is the probability of its theories, given the evidence from all other levels?"""
    mind.book[i, LEVEL] = level
    start, prior = world.start, mind.prior
    theories = start[level + 1] - start[level]
    elsewhere = False
    for other in range(LEVELS):
        elsewhere = elsewhere or (other != level and mind.book[i, TOUCHED + other] != 0)
    for theory in range(theories):
        prior[i, theory] = 0.0 if elsewhere else 1.0
    if elsewhere:
        for j in range(world.joint.shape[0]):
            weight = 1.0
            for other in range(LEVELS):
                if other != level:
                    weight *= mind.evidence[i, start[other] + world.joint[j, other]]
            prior[i, world.joint[j, level]] += weight
        highest = 0.0
        for theory in range(theories):
            highest = max(highest, prior[i, theory])
        if highest > 0.0:
            for theory in range(theories):
                prior[i, theory] /= highest
    kept = 0
    for theory in range(theories):
        if prior[i, theory] * mind.evidence[i, start[level] + theory] > 0.0:
            mind.alive[i, kept] = theory
            kept += 1
    mind.left[i] = kept


@register_jitable
def weigh(world, mind, i, on, off):
    """Multiply the evidence for each theory by ``on`` if it says on for the one setting spread, else by ``off``."""
    level, evidence, alive = mind.book[i, LEVEL], mind.evidence, mind.alive
    mind.book[i, TOUCHED + level] = 1
    kept = 0
    highest = 0.0
    for k in range(mind.left[i]):
        theory = world.start[level] + alive[i, k]
        evidence[i, theory] *= on if predict(world, mind, theory) else off
        if evidence[i, theory] * mind.prior[i, alive[i, k]] > 0.0:
            highest = max(highest, evidence[i, theory])
            alive[i, kept] = alive[i, k]
            kept += 1
    mind.left[i] = kept
    if highest < LOWEST:
        for k in range(kept):
            evidence[i, world.start[level] + alive[i, k]] /= LOWEST  # a power of two: nothing is rounded


@register_jitable
def mark(world, mind, i, marks):
    """Rule out what would have given the exam another sum of marks."""
    level, log, alive = mind.book[i, LEVEL], mind.log, mind.alive
    mind.book[i, TOUCHED + level] = 1
    asked = 0
    answers = 0
    for k in range(mind.book[i, LOGGED]):
        if log[i, k, KIND] == QUESTION:
            mind.settings[asked] = log[i, k, AT]
            answers |= log[i, k, VALUE] << asked
            asked += 1
    spread(world, mind, asked)
    kept = 0
    for k in range(mind.left[i]):
        theory = world.start[level] + alive[i, k]
        if asked - bits_set(predict(world, mind, theory) ^ answers) == marks:
            alive[i, kept] = alive[i, k]
            kept += 1
        else:
            mind.evidence[i, theory] = 0.0
    mind.left[i] = kept


@register_jitable
def answered(mind, i):
    """How many questions of this episode were answered."""
    total = 0
    for k in range(mind.book[i, LOGGED]):
        total += mind.log[i, k, KIND] == QUESTION and mind.log[i, k, VALUE] != UNANSWERED
    return total


@register_jitable
def learn(world, mind, i, k):
    """Take in entry k of the log: a reading, or a question, which tells something if on and off are not as common."""
    level = mind.book[i, LEVEL]
    if mind.log[i, k, KIND] == QUESTION and level != 1:
        return
    mind.settings[0] = mind.log[i, k, AT]
    spread(world, mind, 1)
    on, off = 1.0, OFF_SHARE
    if mind.log[i, k, KIND] == READING:
        wrong = world.noise[level] / (1.0 - world.noise[level])
        on, off = (1.0, wrong) if mind.log[i, k, VALUE] == 1 else (wrong, 1.0)
    weigh(world, mind, i, on, off)


@register_jitable
def note(world, mind, i, kind, setting, value):
    """Log something that happened, and learn from it; after the end of a lifetime, when the log is full, do neither."""
    k = mind.book[i, LOGGED]
    if k == mind.log.shape[1]:
        return
    mind.log[i, k, KIND] = kind
    mind.log[i, k, AT] = setting
    mind.log[i, k, VALUE] = value
    mind.book[i, LOGGED] = k + 1
    learn(world, mind, i, k)


@register_jitable
def start_anew(world, mind, i, marks):
    """No theory fits: the world has changed. Believe this episode only, or, if no theory fits that, nothing."""
    level, logged = mind.book[i, LEVEL], mind.book[i, LOGGED]
    for attempt in range(2):
        forget(world, mind, i)
        enter(world, mind, i, level)
        mind.book[i, LOGGED] = logged
        if attempt == 0:
            for k in range(logged):
                learn(world, mind, i, k)
            if marks >= 0:
                mark(world, mind, i, marks)
        if mind.left[i] > 0:
            return


@register_jitable
def choose_experiment(world, mind, i, setting):
    """The action whose reading is the hardest to foretell: as it is misread equally often, it tells the most.

    Among equals: turn nothing, else the first switch.
    """
    level, switches, sums = mind.book[i, LEVEL], world.switches, mind.sums
    for j in range(switches + 1):
        mind.settings[j] = setting ^ (1 << j) if j < switches else setting
        sums[j] = 0.0
    spread(world, mind, switches + 1)
    total = 0.0
    for k in range(mind.left[i]):
        theory = world.start[level] + mind.alive[i, k]
        weight = mind.prior[i, mind.alive[i, k]] * mind.evidence[i, theory]
        total += weight
        says = predict(world, mind, theory)
        for j in range(switches + 1):
            sums[j] += weight * ((says >> j) & 1)
    best = switches
    if total > 0.0:
        least = abs(sums[switches] / total - 0.5)
        for j in range(switches):
            if abs(sums[j] / total - 0.5) < least - EQUAL:
                least = abs(sums[j] / total - 0.5)
                best = j
    return best


@register_jitable
def choose_answer(world, mind, i, setting):
    """Whether the lamp is more probably on, 0 or 1."""
    level = mind.book[i, LEVEL]
    mind.settings[0] = setting
    spread(world, mind, 1)
    balance = 0.0
    total = 0.0
    for k in range(mind.left[i]):
        theory = world.start[level] + mind.alive[i, k]
        weight = mind.prior[i, mind.alive[i, k]] * mind.evidence[i, theory]
        total += weight
        balance += weight if predict(world, mind, theory) else -weight
    return int(balance > EQUAL * total)


@register_jitable
def read_setting(row, at, switches):
    """A setting as an observation row shows it from column ``at`` on."""
    setting = 0
    for k in range(switches):
        if row[at + k] > 0.5:
            setting |= 1 << k
    return setting


@register_jitable
def shown(row, at, size):
    """Which of some columns from ``at`` on holds a 1; the first of them where none does."""
    for k in range(size):
        if row[at + k] > 0.5:
            return k
    return 0


@kernel
def act_all(world, mind, observations, fresh, actions):
    """Learn from the last step and choose the next action, one lifetime after another."""
    n = world.switches
    book = mind.book
    for i in range(len(fresh)):
        row = observations[i]
        level = shown(row, world.at_level, LEVELS)
        begins = row[world.at_start] > 0.5
        exam = row[n] > 0.5
        setting = read_setting(row, 0, n)
        went_on = fresh[i] or begins  # something new is shown: not after an action that was not offered
        if fresh[i]:
            forget(world, mind, i)
        else:
            action = shown(row, world.at_action, n + 3)
            reading = row[2 * n + 1]
            marks = -1
            if book[i, PHASE] == EXPERIMENT and action <= n and reading != 0.0:
                note(world, mind, i, READING, read_setting(row, n + 1, n), int(reading > 0.0))
                went_on = True
            elif book[i, PHASE] == EXAM and action > n:
                mind.log[i, book[i, LOGGED] - 1, VALUE] = action - n - 1
                went_on = True
            if begins and world.marks and answered(mind, i) == world.questions:
                marks = int(row[world.at_reward] + 0.5)
                mark(world, mind, i, marks)
            if mind.left[i] == 0:
                start_anew(world, mind, i, marks)
        if fresh[i] or begins:
            book[i, LOGGED] = 0
            if level != book[i, LEVEL]:
                enter(world, mind, i, level)
                if mind.left[i] == 0:
                    start_anew(world, mind, i, -1)
        book[i, PHASE] = EXAM if exam else EXPERIMENT
        if exam:
            if went_on:
                note(world, mind, i, QUESTION, setting, UNANSWERED)
            actions[i] = n + 1 + choose_answer(world, mind, i, setting)
        else:
            actions[i] = choose_experiment(world, mind, i, setting)


class Experimenter:
    """Holds every theory for as probable as it is, asks nature what it cannot foretell, and answers what is likelier.

    The posterior is exact: a theory's probability follows from every reading (with the probability that it was wrong),
    every sum of marks, the settings that exams asked about (at level 1 those that light the lamp are asked about three
    times as often as they occur), and all of these at all levels of the lifetime. It looks one experiment ahead: it
    makes the one of the greatest information gain (Lindley 1956) about the present level's rule, and answers for the
    most marks, not for what the marks would tell. Where no theory is left, the world has changed, and it begins anew
    with the present episode. It has no randomness.
    """

    name = "experimenter"

    def __init__(self, *, marks: bool = True) -> None:
        """Choose what counts as evidence.

        Args:
            marks: use the sum of marks that an exam pays; False learns from experiments and questions only.

        Raises:
            ValueError: neither True nor False.
        """
        if not isinstance(marks, bool):
            raise ValueError(f"marks must be True or False, received {marks!r}.")
        self._marks = marks

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Laboratory, with the extras shown that the learner reads."""
        needed = ("previous_action", "previous_reward", "episode_start", "level")
        return spec.family == "Laboratory" and all(name in spec.layout for name in needed)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        constants, layout, n = spec.constants, spec.layout, len(seeds)
        switches, questions = int(constants.switches), int(constants.questions)
        theories = enumerate_theories(switches)
        names = ("previous_action", "previous_reward", "episode_start", "level")
        self._world = World(
            *theories,
            np.array(constants.noise, dtype=np.float64),
            switches,
            questions,
            self._marks,
            *(layout.start(name) for name in names),
        )
        most = int(np.diff(theories.start).max())
        self._mind = Mind(
            evidence=np.ones((n, len(theories.literals))),
            prior=np.ones((n, most)),
            alive=np.zeros((n, most), dtype=np.int16),
            left=np.zeros(n, dtype=np.int64),
            book=np.zeros((n, TOUCHED + LEVELS), dtype=np.int64),
            log=np.zeros((n, int(max(constants.experiments)) + questions, 3), dtype=np.int64),
            mask=np.zeros(2 * switches + 2, dtype=np.int64),
            settings=np.zeros(max(questions, switches + 1), dtype=np.int64),
            sums=np.zeros(switches + 1),
        )

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.zeros(len(fresh), dtype=np.int64)
        act_all(self._world, self._mind, observations, fresh, actions)
        return actions


@lru_cache(maxsize=64)
def likelier_on(switches: int, level: int, noise: float) -> np.ndarray:
    """Whether on is the likelier answer to a question, by how much it resembles the last experiment.

    By enumeration of all pairs of settings. All rules of a level are alike up to the names of the switches and what is
    up and down, which leave the number of switches that differ as it is, so one rule stands for all.

    Args:
        switches: how many.
        level: 0 to 3.
        noise: with what probability the reading was wrong.

    Returns:
        ``bool[2, switches + 1]``, by the reading (off, on) and the number of switches that stand differently.
    """
    every = np.arange(1 << switches)
    bits = (every[:, None] >> np.arange(LEVELS)) & 1
    lit = bits[:, 0] if level == 0 else bits[:, 0] & bits[:, 1]
    for added in range(2, level + 1):
        lit = lit ^ bits[:, added]
    apart = ((every[:, None, None] ^ every[None, :, None]) >> np.arange(switches) & 1).sum(axis=2)
    asked = 0.5 / np.where(lit == 1, (lit == 1).sum(), (lit == 0).sum())
    balance = np.zeros((2, switches + 1))
    for reading in range(2):
        weights = np.where(lit == reading, 1.0 - noise, noise)[:, None] * np.where(lit == 1, asked, -asked)[None, :]
        balance[reading] = np.bincount(apart.ravel(), weights=weights.ravel(), minlength=switches + 1)
    on = balance > 1e-12
    on.setflags(write=False)
    return on


class LastExperiment:
    """Knows its present observation only: it answers the first question by the last experiment, the others blindly.

    The best that a policy without memory makes of what it is shown: the first question of an exam comes with the last
    reading, and the answer is the likelier one, given how many switches stand differently (`likelier_on`, exact).
    Nothing in sight bears upon the other questions, to which it says off. It leaves the switches as they are.
    """

    name = "last-experiment"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is Laboratory, with the level shown."""
        return spec.family == "Laboratory" and "level" in spec.layout

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._layout = spec.layout
        self._switches = int(spec.constants.switches)
        noise = spec.constants.noise
        self._on = np.array([likelier_on(self._switches, level, float(noise[level])) for level in range(LEVELS)])

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        layout, n = self._layout, self._switches
        level = observations[:, layout["level"]].argmax(axis=1)
        lamp = observations[:, layout.start("lamp")]
        apart = (observations[:, layout["switches"]] != observations[:, layout["tested"]]).sum(axis=1)
        on = self._on[level, (lamp > 0).astype(np.int64), apart] & (lamp != 0)
        return np.where(observations[:, layout.start("exam")] > 0.5, n + 1 + on, n)


__all__ = ["Experimenter", "LastExperiment", "Theories", "enumerate_theories", "likelier_on"]
