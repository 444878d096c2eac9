"""The exact Bayes optimum of small bandits: the most that an agent without privileges can earn in a lifetime.

`BayesOptimal` maximises the expected total raw reward over all the pulls of a lifetime at one level. By kind of arm:

* ``bernoulli``: finite-horizon dynamic programming over the arms' counts from Beta(1, 1) priors. Arms are alike before
  they are pulled, so states that differ only in the order of the arms are one state (`OptimalPlan`).
* ``dependent-*`` (two arms, p2 = 1 - p1): a win on one arm is a loss on the other, so every pull tells the same
  whichever arm it is, and the arm with more evidence for it is optimal now and for what follows.
* ``informative``: the last arm names the target, at the price of a pull; dynamic programming over the candidates left.

Source: Duan et al. 2016 (RL2, arXiv 1611.02779), section 3.1, and Wang et al. 2016 (arXiv 1611.05763), section 3.1;
it bounds their learners.
"""

import functools
import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.baselines.bandits import BanditAgent, highest_mean, remember
from daytwo.kernels import kernel
from daytwo.streams import hash_words

LARGEST_PLAN = 5_000_000  # states times arms; about five seconds and 200 MB to work out
TIE = 1e-12  # values this close are equal: their difference is rounding
INFORMATIVE_CANDIDATES = 10
TARGET_PAY, OTHER_PAY = 5.0, 1.0


@register_jitable
def code_of(wins, losses):
    """Number the states of one arm: those with fewer pulls first."""
    total = wins + losses
    return total * (total + 1) // 2 + wins


def state_counts(arms: int, pulls: int) -> list[int]:
    """How many states (unordered arms) there are after 0, 1, .., ``pulls`` pulls."""
    # ways[j][t]: multisets of j arms that were pulled at all, t pulls in total; s pulls leave an arm in s + 1 ways.
    most = min(arms, pulls)
    ways = [[0] * (pulls + 1) for _ in range(most + 1)]
    ways[0][0] = 1
    for size in range(1, pulls + 1):
        fresh = [[0] * (pulls + 1) for _ in range(most + 1)]
        for used in range(most + 1):
            for total in range(pulls + 1):
                if ways[used][total]:
                    for more in range(min(most - used, (pulls - total) // size) + 1):
                        fresh[used + more][total + more * size] += ways[used][total] * math.comb(more + size, more)
        ways = fresh
    return [sum(ways[used][total] for used in range(most + 1)) for total in range(pulls + 1)]


@functools.lru_cache(maxsize=256)
def is_affordable(arms: int, pulls: int) -> bool:
    """Whether the plan stays within `LARGEST_PLAN`."""
    # At least C(pulls + 3, 4) / 2 states with two arms or more: spares counting those of long lifetimes.
    if math.comb(pulls + 3, 4) > 2 * LARGEST_PLAN:
        return False
    return sum(state_counts(arms, pulls)) * arms <= LARGEST_PLAN


class OptimalPlan:
    """Exact values of all states of a Bernoulli bandit with Beta(1, 1) priors and a known number of pulls.

    A state is a multiset of arm states. It is known by the sum, modulo 2**64, of one fixed random word per arm state,
    which does not depend on the arms' order and follows a pull by one subtraction and one addition. That no two
    states share a key is checked against the number of states.

    Attributes:
        arms: number of arms.
        pulls: pulls in the lifetime.
        states: number of states, all pulls together.
        value: expected total reward under optimal play.
        words: ``uint64[codes]``, one per arm state.
        starts: ``int64[pulls + 2]``; the states after t pulls are ``starts[t]`` to ``starts[t + 1] - 1``.
        keys: ``uint64[states]``, sorted within each t.
        values: ``float64[states]``, expected reward still to come.
    """

    def __init__(self, arms: int, pulls: int) -> None:
        """Work the plan out.

        Raises:
            ValueError: an argument below 1, or more than `LARGEST_PLAN` states times arms.
        """
        if arms < 1 or pulls < 1:
            raise ValueError(f"arms and pulls must be at least 1, received arms={arms!r}, pulls={pulls!r}.")
        if not is_affordable(arms, pulls):
            raise ValueError(
                f"The optimum of {arms} arms and {pulls} pulls takes more than {LARGEST_PLAN:,} states times arms."
            )
        self.arms, self.pulls = arms, pulls
        codes = (pulls + 1) * (pulls + 2) // 2
        with np.errstate(over="ignore"):
            self.words = hash_words(np.arange(codes, dtype=np.uint64), np.uint64(2))
        total = np.repeat(np.arange(pulls + 1), np.arange(1, pulls + 2))
        wins = np.concatenate([np.arange(t + 1) for t in range(pulls + 1)])
        mean = (1.0 + wins) / (2.0 + total)
        won = (total + 1) * (total + 2) // 2 + wins + 1  # code after a win; a loss is the one before

        rows = np.zeros((1, arms), dtype=np.int64)
        with np.errstate(over="ignore"):
            keys = np.array([self.words[0] * np.uint64(arms)], dtype=np.uint64)
        layers: list[np.ndarray] = [keys]
        nexts: list[np.ndarray] = []
        chances: list[np.ndarray] = []
        counts = state_counts(arms, pulls)
        for pulled in range(pulls):
            after = np.stack([won[rows] - 1, won[rows]], axis=-1)  # [states, arms, lost or won]
            with np.errstate(over="ignore"):
                following = (keys[:, None] - self.words[rows])[..., None] + self.words[after]
            keys, first, inverse = np.unique(following, return_index=True, return_inverse=True)
            if len(keys) != counts[pulled + 1]:
                raise RuntimeError(f"Two states share a key after {pulled + 1} pulls: the words need other bits.")
            chances.append(mean[rows])
            nexts.append(inverse.reshape(following.shape).astype(np.int32))
            parent, arm, outcome = np.unravel_index(first, following.shape)
            rows = rows[parent]
            rows[np.arange(len(rows)), arm] = after[parent, arm, outcome]
            layers.append(keys)
        values = [np.zeros(len(keys))]
        for chance, following in zip(reversed(chances), reversed(nexts), strict=True):
            later = values[-1]
            worth = chance * (1.0 + later[following[..., 1]]) + (1.0 - chance) * later[following[..., 0]]
            values.append(worth.max(axis=1))
        values.reverse()
        self.starts = np.concatenate([[0], np.cumsum([len(keys) for keys in layers])]).astype(np.int64)
        self.keys = np.concatenate(layers)
        self.values = np.concatenate(values)
        self.states = len(self.keys)
        self.value = float(values[0][0])


@functools.lru_cache(maxsize=4)
def optimal_plan(arms: int, pulls: int) -> OptimalPlan:
    """The plan, worked out once per process."""
    return OptimalPlan(arms, pulls)


@functools.lru_cache(maxsize=16)
def informative_plan(pulls: int) -> tuple[np.ndarray, np.ndarray]:
    """When to ask the informative arm.

    Guessing goes from the lowest number up, so that what the informative arm would pay stays as high as it can, and
    the candidates left are the highest ones.

    Args:
        pulls: pulls in the lifetime, at least 1.

    Returns:
        ``float64[11, pulls + 1]``, the value with so many candidates and so many pulls left, and
        ``bool[11, pulls + 1]``, whether to ask.
    """
    value = np.zeros((INFORMATIVE_CANDIDATES + 1, pulls + 1))
    ask = np.zeros((INFORMATIVE_CANDIDATES + 1, pulls + 1), dtype=np.bool_)
    for left in range(1, pulls + 1):
        value[1, left] = TARGET_PAY * left
        for candidates in range(2, INFORMATIVE_CANDIDATES + 1):
            lowest = INFORMATIVE_CANDIDATES - candidates + 1
            pay = (lowest + INFORMATIVE_CANDIDATES) / 2.0 / 10.0
            asking = pay + TARGET_PAY * (left - 1)
            hit = 1.0 / candidates
            guessing = hit * TARGET_PAY * left + (1.0 - hit) * (OTHER_PAY + value[candidates - 1, left - 1])
            ask[candidates, left] = asking > guessing
            value[candidates, left] = max(asking, guessing)
    return value, ask


@kernel
def _bernoulli(
    observations, fresh, offered, at_action, at_reward, sums, pulls, actions, horizon, words, starts, keys, values
):
    for i in range(len(actions)):
        total = remember(observations, fresh, at_action, at_reward, sums, pulls, i)
        if total >= horizon:
            actions[i] = highest_mean(offered, sums, pulls, i)
            continue
        key = np.uint64(0)
        for k in range(pulls.shape[1]):
            if offered[i, k]:
                wins = int(sums[i, k] + 0.5)
                key += words[code_of(wins, pulls[i, k] - wins)]
        best, best_value = -1, -math.inf
        for k in range(pulls.shape[1]):
            if not offered[i, k]:
                continue
            wins = int(sums[i, k] + 0.5)
            losses = pulls[i, k] - wins
            others = key - words[code_of(wins, losses)]
            chance = (1.0 + wins) / (2.0 + pulls[i, k])
            value = 0.0
            for outcome in range(2):
                wanted = others + words[code_of(wins + outcome, losses + 1 - outcome)]
                low, high = starts[total + 1], starts[total + 2] - 1
                while low < high:
                    middle = (low + high) // 2
                    if keys[middle] < wanted:
                        low = middle + 1
                    else:
                        high = middle
                value += (chance if outcome == 1 else 1.0 - chance) * (outcome + values[low])
            if value > best_value + TIE:
                best, best_value = k, value
        actions[i] = best


@kernel
def _dependent(observations, fresh, offered, at_action, at_reward, sums, pulls, actions):
    for i in range(len(actions)):
        remember(observations, fresh, at_action, at_reward, sums, pulls, i)
        first = sums[i, 0] + (pulls[i, 1] - sums[i, 1])
        second = sums[i, 1] + (pulls[i, 0] - sums[i, 0])
        actions[i] = 1 if second > first else 0


@kernel
def _informative(observations, fresh, offered, at_action, at_reward, sums, pulls, actions, horizon, ask):
    informer = pulls.shape[1] - 1
    for i in range(len(actions)):
        left = max(horizon - remember(observations, fresh, at_action, at_reward, sums, pulls, i), 1)
        target, lowest, candidates = -1, -1, 0
        for k in range(informer - 1, -1, -1):
            if pulls[i, k] == 0:
                lowest = k
                candidates += 1
            elif sums[i, k] > OTHER_PAY * pulls[i, k] + 0.5:
                target = k
        if pulls[i, informer] > 0:
            target = int(10.0 * sums[i, informer] / pulls[i, informer] + 0.5) - 1
        if target >= 0:
            actions[i] = target
        elif ask[candidates, left]:
            actions[i] = informer
        else:
            actions[i] = lowest


class BayesOptimal(BanditAgent):
    """Plays the exact Bayes optimum of the lifetime's total raw reward, on bandits small enough to work it out.

    It fits courses that stay at one level with one task: Bernoulli arms while the table of the plan is affordable
    (`is_affordable`), dependent and informative arms always. A lifetime that is wiped starts its plan anew.
    """

    name = "bayes-optimal"

    @classmethod
    def fits(cls, spec: LifetimeSpec) -> bool:
        """Whether the optimum can be worked out for these lifetimes."""
        if spec.family != "Bandit":
            return False
        stages, kind = spec.course.stages, spec.settings.get("kind")
        one_level = len({stage.level for stage in stages}) == 1 and spec.course.mastery is None
        if not one_level or any(stage.new_task or stage.switch_after for stage in stages):
            return False
        if kind == "bernoulli":
            return is_affordable(*_size(spec))
        return kind == "informative" or str(kind).startswith("dependent")

    def _prepare(self) -> None:
        kind = self._spec.settings["kind"]
        arms, self._horizon = _size(self._spec)
        if kind == "bernoulli":
            self._plan = optimal_plan(arms, self._horizon)
        elif kind == "informative":
            self._ask = informative_plan(self._horizon)[1]

    def _choose(self, *books: Any) -> None:
        kind = self._spec.settings["kind"]
        if kind == "bernoulli":
            plan = self._plan
            _bernoulli(*books, self._horizon, plan.words, plan.starts, plan.keys, plan.values)
        elif kind == "informative":
            _informative(*books, self._horizon, self._ask)
        else:
            _dependent(*books)


def _size(spec: LifetimeSpec) -> tuple[int, int]:
    """Arms offered and pulls in a lifetime at one level."""
    level = spec.course.stages[0].level
    return int(spec.action_masks[level].sum()), spec.course.episodes * spec.levels[level].horizon
