"""Agents for LearningSet: exact Bayes over the rules, and a policy without a memory that bets on one feature."""

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_integer
from daytwo.kernels import kernel

LEFT, RIGHT = 0, 1
# Columns of ``last``: the cue, whether the value flips in this episode, paid trials begun, the left object's pattern,
# the last choice, whether it was paid, and whether the rewarded object of this episode has been seen.
CUE, FLIPS, TRIAL, PATTERN, CHOICE, PAID, SEEN = range(7)


@register_jitable
def count_bits(word):
    """How many of the lowest eight bits are set."""
    word = word - ((word >> 1) & 0x55)
    word = (word & 0x33) + ((word >> 2) & 0x33)
    return (word + (word >> 4)) & 0x0F


@register_jitable
def completions(settings, may, i, k, cue, dimension):
    """In how many ways the other cues can have dimensions of their own, once ``cue`` has this one."""
    left_over = ((1 << settings.dimensions) - 1) & ~(1 << dimension)
    a, b, c = -1, -1, -1
    for other in range(settings.cues):
        if other != cue:
            mask = may[i, k, other] & left_over
            if a < 0:
                a = mask
            elif b < 0:
                b = mask
            else:
                c = mask
    # Choices of different elements from up to three sets, by inclusion and exclusion.
    if a < 0:
        return 1
    if b < 0:
        return count_bits(a)
    if c < 0:
        return count_bits(a) * count_bits(b) - count_bits(a & b)
    return (
        count_bits(a) * count_bits(b) * count_bits(c)
        - count_bits(a & b) * count_bits(c)
        - count_bits(a & c) * count_bits(b)
        - count_bits(b & c) * count_bits(a)
        + 2 * count_bits(a & b & c)
    )


@register_jitable
def weigh(settings, may, last, i, example, pattern):
    """How many rules say left, and how many right, to a pair of objects with this pattern on the left."""
    cue, trial = last[i, CUE], last[i, TRIAL]
    left = 0
    right = 0
    for k in range(may.shape[1]):
        flipped = last[i, FLIPS] and trial > k
        for dimension in range(settings.dimensions):
            if (may[i, k, cue] >> dimension) & 1:
                ways = completions(settings, may, i, k, cue, dimension)
                if (((example[i] ^ pattern) >> dimension) & 1) == flipped:
                    left += ways
                else:
                    right += ways
    return left, right


@register_jitable
def rule_out(settings, may, last, i, trial, differs):
    """Keep the rules by which a paid trial's rewarded object, which differs so from the example, was rewarded."""
    full = (1 << settings.dimensions) - 1
    cue = last[i, CUE]
    for k in range(may.shape[1]):
        flipped = last[i, FLIPS] and trial > k
        may[i, k, cue] &= differs if flipped else full & ~differs


@register_jitable
def learn(settings, may, last, example, shown, i, rewarded):
    """What a paid trial showed: the pattern of its rewarded object."""
    trial = last[i, TRIAL] - 1
    if not last[i, SEEN]:
        # Without a look trial, the first paid one is the example: the value never flips before it.
        example[i] = rewarded
        last[i, SEEN] = 1
    shown[i, trial] = example[i] ^ rewarded
    rule_out(settings, may, last, i, trial, shown[i, trial])
    left, right = weigh(settings, may, last, i, example, 0)
    if left + right == 0:
        # No rule explains it all, so the rules have changed: start again from this episode.
        full = (1 << settings.dimensions) - 1
        for k in range(may.shape[1]):
            for cue in range(may.shape[2]):
                may[i, k, cue] = full
        for past in range(trial + 1):
            rule_out(settings, may, last, i, past, shown[i, past])


@kernel
def act_all(settings, columns, observations, fresh, may, last, example, shown, actions):
    """Learn from the last step and choose the next, one lifetime after another."""
    at_left, at_cue, at_marked = columns[0], columns[1], columns[2]
    at_reward, at_start, at_level = columns[3], columns[4], columns[5]
    full = (1 << settings.dimensions) - 1
    for i in range(len(fresh)):
        row = observations[i]
        if fresh[i]:
            for k in range(may.shape[1]):
                for cue in range(may.shape[2]):
                    may[i, k, cue] = full
        elif last[i, PAID]:
            left_was_right = (last[i, CHOICE] == LEFT) == (row[at_reward] > 0.5)
            rewarded = last[i, PATTERN] if left_was_right else full & ~last[i, PATTERN]
            learn(settings, may, last, example, shown, i, rewarded)
        if fresh[i] or row[at_start] > 0.5:
            level = settings.cues - 1
            if at_level >= 0:
                for k in range(settings.cues):
                    if row[at_level + k] > 0.5:
                        level = k
            last[i, FLIPS] = level == settings.flip_level
            last[i, TRIAL] = 0
            last[i, SEEN] = 0
        pattern = 0
        for k in range(settings.dimensions):
            if row[at_left + k] > 0.5:
                pattern |= 1 << k
        for k in range(settings.cues):
            if row[at_cue + k] > 0.5:
                last[i, CUE] = k
        last[i, PATTERN] = pattern
        choice = LEFT
        if row[at_marked] > 0.5 or row[at_marked + 1] > 0.5:
            if row[at_marked + 1] > 0.5:
                choice = RIGHT
            example[i] = pattern if choice == LEFT else full & ~pattern
            last[i, SEEN] = 1
            last[i, PAID] = 0
        else:
            if last[i, SEEN]:
                left, right = weigh(settings, may, last, i, example, pattern)
                if right > left:
                    choice = RIGHT
            # The number of trials bounds what is kept, whatever an environment does.
            last[i, TRIAL] = min(last[i, TRIAL] + 1, shown.shape[1])
            last[i, PAID] = 1
        last[i, CHOICE] = choice
        actions[i] = choice


class RulePosterior:
    """Exact Bayes: chooses the side that most of the rules say which explain everything seen in the lifetime.

    A rule is a dimension for each cue, all different, and the trial after which the value flips; all are equally
    probable at first (1,680 times 3 by default), and each paid trial rules out those that it contradicts. They are
    counted, not listed: for each flip the dimensions that each cue may still have, as bits, and the ways to choose
    different ones. Since every trial shows the rewarded object, whichever is chosen, no choice teaches more than
    another, and the most probable side is optimal. Where nothing explains all that was seen, the task must have
    changed, and it begins anew from the present episode. It has no randomness; ties go to the left.
    """

    name = "rule-posterior"

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is LearningSet, with the extras shown that the learner reads."""
        needed = ["previous_reward", "episode_start"] + ["level"] * (len(spec.levels) > 1)
        return spec.family == "LearningSet" and all(name in spec.layout for name in needed)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        settings, layout, n = spec.constants, spec.layout, len(seeds)
        self._settings, self._layout = settings, layout
        names = ("left", "cue", "marked", "previous_reward", "episode_start", "level")
        self._columns = np.array([layout.start(name) for name in names], dtype=np.int64)
        flips = int(settings.trials) - 1 if int(settings.flip_level) >= 0 else 1
        self._may = np.zeros((n, flips, int(settings.cues)), dtype=np.int64)
        self._last = np.zeros((n, 7), dtype=np.int64)
        self._example = np.zeros(n, dtype=np.int64)
        self._shown = np.zeros((n, int(settings.trials)), dtype=np.int64)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``."""
        actions = np.empty(len(fresh), dtype=np.int64)
        self._last[:, CHOICE] = self._layout.last_actions(observations, self._last[:, CHOICE])
        act_all(
            self._settings,
            self._columns,
            observations,
            fresh,
            self._may,
            self._last,
            self._example,
            self._shown,
            actions,
        )
        return actions


class OneFeature:
    """The best hand-made policy without a memory: it bets on one feature and lets its last step say what it saw.

    It knows nothing but the present observation, and passes itself one bit at a time. In the look trial, where the
    choice is free, it goes left or right to say which value the marked object has in its feature; in the next trial
    the previous action tells. From then on it probes and uses in turn: it chooses value 1, and in the next trial the
    previous reward tells whether that was right. Where the feature happens to be the one that decides, that wins three
    trials of four; where it is not, it is chance.
    """

    name = "one-feature"

    def __init__(self, *, feature: int = 0) -> None:
        """Choose what to bet on.

        Args:
            feature: the dimension, 0 to 7 (modulo the number of dimensions).

        Raises:
            ValueError: it is anything else.
        """
        self.feature = check_integer("feature", feature, 0, 7)

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether this is LearningSet, with the extras shown that the policy reads."""
        needed = ("previous_action", "previous_reward", "time")
        return spec.family == "LearningSet" and all(name in spec.layout for name in needed)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes."""
        self._spec = spec

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]``; a function of each row alone."""
        settings, layout = self._spec.constants, self._spec.layout
        paid = observations[:, layout.start("previous_reward")] > 0.5
        went_right = observations[:, layout.start("previous_action") + RIGHT] > 0.5
        look = int(settings.look)
        # Every level has the same number of steps.
        steps = np.rint(observations[:, layout.start("time")] * self._spec.levels[0].horizon).astype(np.int64)
        left_value = observations[:, layout.start("left") + self.feature % int(settings.dimensions)] > 0.5
        marked_right = observations[:, layout.start("marked") + RIGHT] > 0.5
        value = np.where((steps + look) % 2 == look, True, paid)
        if look:
            value = np.where(steps == 1, went_right, value)
        choice = left_value != value
        return np.where((steps == 0) & bool(look), left_value != marked_right, choice).astype(np.int64)


__all__ = ["OneFeature", "RulePosterior"]
