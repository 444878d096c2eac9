"""Hand-made bandit agents: Gittins index, UCB1, Thompson sampling (plain and optimistic), epsilon-greedy, greedy.

They are the variants of Duan et al. 2016 (RL2, arXiv 1611.02779, section 3.1), lived over whole lifetimes:
each agent keeps, for every arm, its pulls and the sum of its rewards from the lifetime's first pull to its last, across
episodes and levels, and chooses among the arms that the level offers. All it learns it reads off the observation, which
shows the previous action and its raw reward. Ties go to the lowest arm, and no arm is pulled first by force.

Arms with Gaussian rewards (`kind="gaussian"`: means uniform on [0, 1], standard deviation 0.3) are met by the same
formulas on sample means, and in Thompson sampling by the conjugate posterior of the mean under the prior of the same
mean and variance, Normal(1/2, 1/12).

Options that are left at None take the value that `daytwo.baselines.tuning` has stored for the very settings and course,
or else the class's documented default.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numba.extending import register_jitable

from daytwo.agent import LifetimeSpec
from daytwo.baselines.gittins import TABLE_SIZES, approximate_index, index_table
from daytwo.baselines.tuning import resolve_options
from daytwo.kernels import kernel
from daytwo.random_policy import offered_action
from daytwo.streams import agent_streams, beta, normal, uniform

BERNOULLI_KINDS = ("bernoulli", "dependent-uniform", "dependent-easy", "dependent-medium", "dependent-hard")
NOISE = 0.3  # standard deviation of a Gaussian arm's reward
PRIOR_MEAN, PRIOR_PRECISION = 0.5, 12.0  # of a Gaussian arm's mean: those of the uniform distribution on [0, 1]
# Every arm starts with two pulls that won once, except in the posteriors, whose Beta(1, 1) prior says the same.
PSEUDO_WINS, PSEUDO_PULLS = 1.0, 2.0
TENTHS = tuple(k / 10 for k in range(11))


@register_jitable
def remember(observations, fresh, at_action, at_reward, sums, pulls, i):
    """Enter lifetime i's previous pull into its books, or clear them where the lifetime is fresh.

    Args:
        observations: ``float32[N, size]``.
        fresh: ``bool[N]``.
        at_action: first column of the previous action's one-hot.
        at_reward: column of the previous raw reward.
        sums: ``float64[N, arms]``, sum of each arm's rewards.
        pulls: ``int64[N, arms]``.
        i: the lifetime.

    Returns:
        Pulls of lifetime i so far, all arms together.
    """
    total = 0
    for k in range(pulls.shape[1]):
        if fresh[i]:
            pulls[i, k] = 0
            sums[i, k] = 0.0
        elif observations[i, at_action + k] > 0.5:
            pulls[i, k] += 1
            sums[i, k] += observations[i, at_reward]
        total += pulls[i, k]
    return total


@register_jitable
def highest_mean(offered, sums, pulls, i):
    """The offered arm of lifetime i with the highest mean, pseudo-pulls included."""
    best, best_value = -1, -math.inf
    for k in range(pulls.shape[1]):
        if offered[i, k]:
            value = (PSEUDO_WINS + sums[i, k]) / (PSEUDO_PULLS + pulls[i, k])
            if value > best_value:
                best, best_value = k, value
    return best


@register_jitable
def times_log(weight, x):
    """``weight * log(x)``, with 0 log 0 = 0 and log 0 = -inf."""
    if weight == 0.0:
        return 0.0
    return weight * math.log(x) if x > 0.0 else -math.inf


@kernel
def _gittins(observations, fresh, offered, at_action, at_reward, sums, pulls, actions, table, discount):
    reach = len(table) - 1
    for i in range(len(actions)):
        remember(observations, fresh, at_action, at_reward, sums, pulls, i)
        best, best_value = -1, -math.inf
        for k in range(pulls.shape[1]):
            if offered[i, k]:
                wins = int(sums[i, k] + 0.5)
                losses = pulls[i, k] - wins
                if wins + losses <= reach:
                    value = table[wins, losses]
                else:
                    value = approximate_index(discount, wins, losses)
                if value > best_value:
                    best, best_value = k, value
        actions[i] = best


@kernel
def _ucb1(observations, fresh, offered, at_action, at_reward, sums, pulls, actions, c):
    for i in range(len(actions)):
        total = remember(observations, fresh, at_action, at_reward, sums, pulls, i)
        log_time = math.log(total) if total > 0 else 0.0
        best, best_value = -1, -math.inf
        for k in range(pulls.shape[1]):
            if offered[i, k]:
                count = PSEUDO_PULLS + pulls[i, k]
                value = (PSEUDO_WINS + sums[i, k]) / count + c * math.sqrt(2.0 * log_time / count)
                if value > best_value:
                    best, best_value = k, value
        actions[i] = best


@kernel
def _epsilon_greedy(observations, fresh, offered, at_action, at_reward, sums, pulls, actions, epsilon, streams):
    for i in range(len(actions)):
        remember(observations, fresh, at_action, at_reward, sums, pulls, i)
        actions[i] = highest_mean(offered, sums, pulls, i)
        if epsilon > 0.0 and uniform(streams, i) < epsilon:
            actions[i] = offered_action(offered, streams, i)


@kernel
def _thompson(observations, fresh, offered, at_action, at_reward, sums, pulls, actions, samples, gaussian, streams):
    for i in range(len(actions)):
        remember(observations, fresh, at_action, at_reward, sums, pulls, i)
        highest = -math.inf
        actions[i] = -1
        for _ in range(samples):
            # Log-density of the joint sample up to a constant that all samples share: the normalisers depend on the
            # posterior alone.
            density = 0.0
            best, best_value = -1, -math.inf
            for k in range(pulls.shape[1]):
                if not offered[i, k]:
                    continue
                if gaussian:
                    precision = PRIOR_PRECISION + pulls[i, k] / (NOISE * NOISE)
                    mean = (PRIOR_PRECISION * PRIOR_MEAN + sums[i, k] / (NOISE * NOISE)) / precision
                    z = normal(streams, i)
                    value = mean + z / math.sqrt(precision)
                    density -= 0.5 * z * z
                else:
                    losses = pulls[i, k] - sums[i, k]
                    value = beta(streams, i, 1.0 + sums[i, k], 1.0 + losses)
                    if samples > 1:
                        density += times_log(sums[i, k], value) + times_log(losses, 1.0 - value)
                if value > best_value:
                    best, best_value = k, value
            if density > highest or actions[i] < 0:
                highest = density
                actions[i] = best


class BanditAgent:
    """What the bandit agents share: the books, and where the options come from.

    Attributes:
        kinds: the kinds of arm that the agent is meant for.
        tuned_options: for each option that `daytwo.baselines.tuning.tune` may choose, the values it tries.
        default_options: what such an option is where nothing is given and nothing stored.
        options: the options as last resolved by `begin`.
    """

    name: str
    kinds: ClassVar[tuple[str, ...]] = (*BERNOULLI_KINDS, "gaussian")
    tuned_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    default_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        self._given: dict[str, Any] = {}
        self.options: dict[str, Any] = {}

    @classmethod
    def fits(cls, spec: LifetimeSpec) -> bool:
        """Whether the agent is meant for these lifetimes: bandits of its kinds."""
        return spec.family == "Bandit" and spec.settings.get("kind") in cls.kinds

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """See `daytwo.agent.Agent.begin`.

        Raises:
            ValueError: the observation does not show the previous action and reward.
        """
        missing = [part for part in ("previous_action", "previous_reward") if part not in spec.layout]
        if missing:
            raise ValueError(
                f"{type(self).__name__} learns from the observation: make the environment with show=(..., "
                f"{missing[0]!r}); it shows {', '.join(spec.layout) or 'nothing'}."
            )
        self.options = resolve_options(type(self), spec, self._given)
        self._spec = spec
        self._at_action = spec.layout.start("previous_action")
        self._at_reward = spec.layout.start("previous_reward")
        self._sums = np.zeros((len(seeds), spec.actions), dtype=np.float64)
        self._pulls = np.zeros((len(seeds), spec.actions), dtype=np.int64)
        self._streams = agent_streams(seeds)
        self._prepare()

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """See `daytwo.agent.Agent.act`; returns ``int64[N]``."""
        actions = np.empty(len(self._pulls), dtype=np.int64)
        self._choose(
            np.ascontiguousarray(observations, dtype=np.float32),
            np.ascontiguousarray(fresh, dtype=np.bool_),
            np.ascontiguousarray(self._spec.observed_mask(observations), dtype=np.bool_),
            self._at_action,
            self._at_reward,
            self._sums,
            self._pulls,
            actions,
        )
        return actions

    def _prepare(self) -> None:
        """Ready what the options call for."""

    def _choose(self, *books: Any) -> None:
        """Enter what was seen into the books and write the actions into the last of them."""
        raise NotImplementedError


class Gittins(BanditAgent):
    """Pulls the arm of highest Gittins index: optimal for independent Bernoulli arms under endless discounting.

    It is not the finite-horizon optimum (`daytwo.baselines.bayes_optimal` is); RL2 reports it under the best discount
    of {.9, .99, .999, .9999}. Indices of arms pulled more than 600 times are `gittins.approximate_index`.
    """

    name = "gittins"
    kinds = BERNOULLI_KINDS
    tuned_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"discount": (0.9, 0.99, 0.999, 0.9999)}
    default_options: ClassVar[Mapping[str, Any]] = {"discount": 0.99}

    def __init__(self, *, discount: float | None = None) -> None:
        """Set the discount.

        Args:
            discount: in (0, 1); None for the tuned value, else 0.99.
        """
        super().__init__()
        if discount is not None and not (_is_number(discount) and 0.0 < discount < 1.0):
            raise ValueError(f"discount must be a number in (0, 1) or None, received {discount!r}.")
        self._given = {"discount": discount}

    def _prepare(self) -> None:
        spec = self._spec
        longest = sum(stage.episodes * spec.levels[stage.level].horizon for stage in spec.course.stages)
        size = next((size for size in TABLE_SIZES if size >= longest), TABLE_SIZES[-1])
        self._table = index_table(self.options["discount"], size)

    def _choose(self, *books: Any) -> None:
        _gittins(*books, self._table, self.options["discount"])


class UCB1(BanditAgent):
    """Pulls the arm of highest upper confidence bound ``w/m + c sqrt(2 ln t / m)`` (Auer et al. 2002).

    ``w`` and ``m`` are an arm's wins and pulls with one pseudo-win in two pseudo-pulls, ``t`` the pulls made so far
    in the lifetime (the bonus of the first pull is 0).
    """

    name = "ucb1"
    tuned_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"c": TENTHS}
    default_options: ClassVar[Mapping[str, Any]] = {"c": 0.2}

    def __init__(self, *, c: float | None = None) -> None:
        """Set the width of the bound.

        Args:
            c: 0 or more; None for the tuned value, else 0.2.
        """
        super().__init__()
        if c is not None and not (_is_number(c) and 0.0 <= c < math.inf):
            raise ValueError(f"c must be a number of at least 0 or None, received {c!r}.")
        self._given = {"c": c}

    def _choose(self, *books: Any) -> None:
        _ucb1(*books, float(self.options["c"]))


class Thompson(BanditAgent):
    """Thompson sampling: pulls the best arm of one sample of the posterior, from Beta(1, 1) priors (Thompson 1933)."""

    name = "thompson"

    def _choose(self, *books: Any) -> None:
        _thompson(*books, 1, self._spec.settings["kind"] == "gaussian", self._streams)


class OptimisticThompson(BanditAgent):
    """Optimistic Thompson sampling as in RL2: of several joint posterior samples, act on the one of highest density."""

    name = "optimistic-thompson"
    tuned_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"samples": tuple(range(1, 21))}
    default_options: ClassVar[Mapping[str, Any]] = {"samples": 10}

    def __init__(self, *, samples: int | None = None) -> None:
        """Set the number of samples.

        Args:
            samples: joint samples per pull, at least 1; None for the tuned value, else 10.
        """
        super().__init__()
        if samples is not None and not (isinstance(samples, int) and not isinstance(samples, bool) and samples >= 1):
            raise ValueError(f"samples must be an integer of at least 1 or None, received {samples!r}.")
        self._given = {"samples": samples}

    def _choose(self, *books: Any) -> None:
        _thompson(*books, self.options["samples"], self._spec.settings["kind"] == "gaussian", self._streams)


class EpsilonGreedy(BanditAgent):
    """With probability epsilon a random arm, else the one of highest mean (one pseudo-win in two pseudo-pulls)."""

    name = "epsilon-greedy"
    tuned_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {"epsilon": TENTHS}
    default_options: ClassVar[Mapping[str, Any]] = {"epsilon": 0.1}

    def __init__(self, *, epsilon: float | None = None) -> None:
        """Set the share of random pulls.

        Args:
            epsilon: in [0, 1]; None for the tuned value, else 0.1.
        """
        super().__init__()
        if epsilon is not None and not (_is_number(epsilon) and 0.0 <= epsilon <= 1.0):
            raise ValueError(f"epsilon must be a number in [0, 1] or None, received {epsilon!r}.")
        self._given = {"epsilon": epsilon}

    def _choose(self, *books: Any) -> None:
        _epsilon_greedy(*books, float(self.options["epsilon"]), self._streams)


class Greedy(BanditAgent):
    """Pulls the arm of highest mean, with one pseudo-win in two pseudo-pulls."""

    name = "greedy"

    def _choose(self, *books: Any) -> None:
        _epsilon_greedy(*books, 0.0, self._streams)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
