"""Agents for small worlds of states and actions (`TabularMDP`): from posterior sampling to Q-learning.

The model-based ones are those of Duan et al. 2016 (RL2, arXiv 1611.02779, section 3.2), in the variants of Osband's
TabulaRL, and one more: greedy on the posterior mean under the right prior. They keep their beliefs over the whole
lifetime and across levels (`daytwo.baselines.tabular_planning` says how), plan once at every episode's start, and
follow that plan for the episode. Ties between actions are broken at random.

Options that default to None take the value that was tuned for the very environment and course, where there is one
(`daytwo.baselines.tuning`), else the class's ``default_options``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from daytwo.agent import LifetimeSpec
from daytwo.baselines.tabular_planning import (
    choose_greedily,
    extended_value_iteration,
    forget,
    learn,
    mean_world,
    sampled_world,
    two_step_world,
    value_iteration,
)
from daytwo.baselines.tuning import resolve_options
from daytwo.kernels import kernel
from daytwo.streams import agent_streams, integer, uniform

# How a plan is made, in the kernel.
MEAN, SAMPLE, OPTIMISM, BONUS = 0, 1, 2, 3
# What a column of the observation is, in the kernel; -1 where it is not shown.
STATE, ACTION, REWARD, START, LEVEL, FINAL = range(6)
COLUMNS = ("state", "previous_action", "previous_reward", "episode_start", "level", "final_observation")
PRIORS = ("right", "paper")
ALMOST_NONE = 1e-4  # prior weight of the agents that go by frequencies alone
SCALINGS = tuple(float(f"{10 ** (k / 5):.3g}") for k in range(-20, 1))  # 21 values, 1e-4 to 1, evenly in logarithm


@kernel
def _act(
    observations,
    fresh,
    columns,
    level_states,
    fixed_level,
    actions,
    horizon,
    method,
    prior,
    two_step,
    constants,
    samples,
    scaling,
    delta,
    epsilon,
    every_step,
    rewards,
    visits,
    counts,
    passes,
    before,
    times,
    policy,
    streams,
    mean,
    chance,
    bonus,
    slack,
    value,
    order,
    q,
    out,
):
    at_state, at_action, at_reward = columns[STATE], columns[ACTION], columns[REWARD]
    at_start, at_level, at_final = columns[START], columns[LEVEL], columns[FINAL]
    for i in range(len(out)):
        # What the observation says.
        states = level_states[-1]
        state, last, reached = 0, -1, -1
        for k in range(states):
            if observations[i, at_state + k] > 0.5:
                state = k
        for k in range(actions):
            if observations[i, at_action + k] > 0.5:
                last = k
        level = fixed_level
        if at_level >= 0:
            for k in range(len(level_states)):
                if observations[i, at_level + k] > 0.5:
                    level = k
        start = fresh[i] or observations[i, at_start] > 0.5

        # Learn from the step before.
        if fresh[i]:
            forget(i, rewards, visits, counts, passes)
        elif last >= 0:
            if not start:
                reached = state
            elif at_final >= 0:
                for k in range(states):
                    if observations[i, at_final + k] > 0.5:
                        reached = k
            reward = float(observations[i, at_reward])
            learn(i, rewards, visits, counts, passes, level_states, before[i, 1], before[i, 0], last, reward, reached)

        # Plan when an episode begins, or at every step.
        if start:
            times[i, 0] = 0
            times[i, 1] = 1 if fresh[i] else times[i, 1] + 1
        if start or every_step:
            states = level_states[level]
            for s in range(states):
                for a in range(actions):
                    bonus[s, a] = 0.0
            for sample in range(samples):
                if two_step:
                    two_step_world(i, rewards, visits, counts, constants, streams, method == SAMPLE, mean, chance)
                elif method == SAMPLE:
                    sampled_world(
                        i, rewards, visits, counts, passes, level_states, level, actions, prior, streams, mean, chance
                    )
                else:
                    mean_world(i, rewards, visits, counts, passes, level_states, level, actions, prior, mean, chance)
                if method == OPTIMISM:
                    log_term = 4.0 * math.log(2.0 * states * actions * (times[i, 1] + 1) / delta)
                    for s in range(states):
                        for a in range(actions):
                            seen = 0.0
                            for k in range(counts.shape[3]):
                                seen += counts[i, s, a, k]
                            bonus[s, a] = scaling * math.sqrt(log_term / max(visits[i, s, a], 1.0))
                            slack[s, a] = scaling * math.sqrt(states * log_term / max(seen, 1.0))
                    extended_value_iteration(states, actions, horizon, mean, chance, bonus, slack, value, order, q)
                else:
                    if method == BONUS:
                        beta = 2.0 * horizon * horizon * scaling
                        for s in range(states):
                            for a in range(actions):
                                seen = prior[2] * states
                                for k in range(counts.shape[3]):
                                    seen += counts[i, s, a, k]
                                mean[s, a] += 1.0 / (prior[1] + visits[i, s, a] + 1.0)
                                bonus[s, a] = beta * horizon / (1.0 + seen)
                    value_iteration(states, actions, horizon, mean, chance, bonus, sample > 0, value, q)
            choose_greedily(i, states, actions, horizon, q, streams, policy)

        # Act.
        time = min(times[i, 0], horizon - 1)
        out[i] = int(policy[i, time, state])
        if epsilon > 0.0 and uniform(streams, i) < epsilon:
            out[i] = integer(streams, i, actions)
        times[i, 0] += 1
        before[i, 0] = state
        before[i, 1] = level


@kernel
def _act_q_learning(
    observations,
    fresh,
    columns,
    states,
    actions,
    initial,
    learning_rate,
    discount,
    epsilon,
    before,
    values,
    streams,
    out,
):
    at_state, at_action, at_reward, at_start = columns[STATE], columns[ACTION], columns[REWARD], columns[START]
    for i in range(len(out)):
        state, last = 0, -1
        for k in range(states):
            if observations[i, at_state + k] > 0.5:
                state = k
        for k in range(actions):
            if observations[i, at_action + k] > 0.5:
                last = k
        if fresh[i]:
            for s in range(states):
                for a in range(actions):
                    values[i, s, a] = initial
        elif last >= 0:
            # The horizon ends an episode whatever is done, so nothing is to come after its last step.
            target = float(observations[i, at_reward])
            if not observations[i, at_start] > 0.5:
                ahead = values[i, state, 0]
                for a in range(1, actions):
                    ahead = max(ahead, values[i, state, a])
                target += discount * ahead
            values[i, before[i, 0], last] += learning_rate * (target - values[i, before[i, 0], last])
        if epsilon > 0.0 and uniform(streams, i) < epsilon:
            chosen = integer(streams, i, actions)
        else:
            chosen, tied = 0, 1
            for a in range(1, actions):
                if values[i, state, a] > values[i, state, chosen]:
                    chosen, tied = a, 1
                elif values[i, state, a] == values[i, state, chosen]:
                    tied += 1
                    if integer(streams, i, tied) == 0:
                        chosen = a
        out[i] = chosen
        before[i, 0] = state


def _number(name: str, value: Any, low: float, high: float) -> float:
    """A finite number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not low <= value <= high:
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], received {value!r}.")
    return float(value)


def _integer(name: str, value: Any, low: int, high: int) -> int:
    """An integer within bounds."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ValueError(f"{name} must be an integer in {low}..{high}, received {value!r}.")
    return int(value)


class _Tabular:
    """What the agents of this file share: which environments they are for, and what they read in an observation."""

    name: ClassVar[str] = ""
    tuned_options: ClassVar[Mapping[str, Sequence[Any]]] = {}
    default_options: ClassVar[Mapping[str, Any]] = {}

    @staticmethod
    def fits(spec: LifetimeSpec) -> bool:
        """Whether the agent is meant for an environment: `TabularMDP` under any settings."""
        return spec.family == "TabularMDP"

    def _open(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Read the specification and begin the random streams.

        Raises:
            ValueError: the observation lacks what the agent learns from.
        """
        layout = spec.layout
        needed = ["previous_action", "previous_reward", "episode_start"]
        levels = {stage.level for stage in spec.course.stages}
        if len(levels) > 1:
            needed.append("level")
        for name in needed:
            if name not in layout:
                raise ValueError(f"Agent {self.name!r} learns from the extra {name!r}: include it in show=.")
        self._columns = np.array([layout.start(name) for name in COLUMNS], dtype=np.int64)
        self._level_states = np.array(spec.constants.level_states[: len(spec.levels)], dtype=np.int64)
        self._fixed_level = spec.course.top_level
        self._streams = agent_streams(seeds)
        self._before = np.zeros((len(seeds), 2), dtype=np.int64)


class _Planner(_Tabular):
    """A model-based agent: beliefs, and a plan made at every episode's start."""

    _method = MEAN
    _prior_name: str | None = None  # "right": the prior that tasks are drawn from
    _every_step = False  # plan anew at every step, not only when an episode begins
    _prior = (0.0, 1.0, 1.0)  # mean and precision of mean rewards, weight per next state of the Dirichlet

    def _options(self, spec: LifetimeSpec) -> dict[str, Any]:
        """Values of ``samples``, ``scaling``, ``delta``, ``epsilon`` where the agent has them."""
        return {}

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin a batch of lifetimes (see `Agent`).

        Raises:
            ValueError: the observation does not show the previous action, the previous reward, the episode's start
                and, where the course has several levels, the level.
        """
        self._open(spec, seeds)
        n, actions = len(seeds), spec.actions
        states, levels = int(self._level_states[-1]), len(self._level_states)
        self._actions, self._horizon = actions, spec.levels[0].horizon
        constants = spec.constants
        prior, self._two_step = self._prior, False
        if self._prior_name == "right":
            prior = (float(constants.reward_mean), 1.0, 1.0)
            self._two_step = bool(constants.two_step)
        self._prior_array = np.array(prior)
        self._constants = (float(constants.common), float(constants.low_payoff), float(constants.high_payoff))
        options = {"samples": 1, "scaling": 0.0, "delta": 0.05, "epsilon": 0.0, **self._options(spec)}
        self._values = (options["samples"], options["scaling"], options["delta"], options["epsilon"])
        self._beliefs = (
            np.zeros((n, states, actions)),
            np.zeros((n, states, actions)),
            np.zeros((n, states, actions, states)),
            np.zeros((n, states, actions, max(levels - 1, 1))),
        )
        self._times = np.zeros((n, 2), dtype=np.int64)  # steps taken in the episode, episodes begun
        self._policy = np.zeros((n, self._horizon, states), dtype=np.uint8)
        self._room = (
            np.zeros((states, actions)),
            np.zeros((states, actions, states)),
            np.zeros((states, actions)),
            np.zeros((states, actions)),
            np.zeros((2, states)),
            np.zeros(states, dtype=np.int64),
            np.zeros((self._horizon, states, actions)),
        )

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Choose actions (see `Agent`)."""
        out = np.zeros(len(observations), dtype=np.int64)
        samples, scaling, delta, epsilon = self._values
        _act(
            observations,
            fresh,
            self._columns,
            self._level_states,
            self._fixed_level,
            self._actions,
            self._horizon,
            self._method,
            self._prior_array,
            self._two_step,
            self._constants,
            samples,
            scaling,
            delta,
            epsilon,
            self._every_step,
            *self._beliefs,
            self._before,
            self._times,
            self._policy,
            self._streams,
            *self._room,
            out,
        )
        return out


class PSRL(_Planner):
    """Posterior sampling: draw a world from the posterior at every episode's start, and act optimally for it.

    Source: Strens 2000; Osband, Russo & Van Roy 2013 (arXiv 1306.0940). The reference learner of `TabularMDP`.
    """

    name = "psrl"
    _method = SAMPLE

    def __init__(self, *, prior: str = "right") -> None:
        """Set the prior.

        Args:
            prior: ``right``: the one that tasks are drawn from (mean rewards N(1, 1), flat Dirichlet transitions; the
                four worlds of the two-step task). ``paper``: mean rewards N(0, 1), as in RL2's Table 2.
        """
        if prior not in PRIORS:
            raise ValueError(f"prior must be one of {', '.join(PRIORS)}; received {prior!r}.")
        self._prior_name = prior


class OPSRL(PSRL):
    """Optimistic posterior sampling: of several sampled worlds, each action is valued by its best.

    The upper envelope of the optimal action values of ``samples`` worlds, each solved on its own.
    """

    name = "opsrl"
    tuned_options: ClassVar[Mapping[str, Sequence[Any]]] = {"samples": tuple(range(1, 21))}
    default_options: ClassVar[Mapping[str, Any]] = {"samples": 10}

    def __init__(self, *, prior: str = "paper", samples: int | None = None) -> None:
        """Set the prior and the optimism.

        Args:
            prior: as for `PSRL`, but that of the paper by default, for which the samples are tuned.
            samples: worlds sampled per episode, 1 to 1000; tuned by default.
        """
        super().__init__(prior=prior)
        self.samples = None if samples is None else _integer("samples", samples, 1, 1000)

    def _options(self, spec: LifetimeSpec) -> dict[str, Any]:
        return resolve_options(type(self), spec, {"samples": self.samples})


class UCRL2(_Planner):
    """Optimism in the face of uncertainty: plan in the best world within confidence bounds around the frequencies.

    With t the number of the episode, n the visits of (s, a) (at least 1), S states and A actions, mean rewards have the
    slack ``scaling * sqrt(4 log(2 S A (t + 1) / delta) / n)`` and transitions that times sqrt(S), in the 1-norm.

    Source: Jaksch, Ortner & Auer 2010, in the finite-horizon form and with the scaled bounds of TabulaRL.
    """

    name = "ucrl2"
    tuned_options: ClassVar[Mapping[str, Sequence[Any]]] = {"scaling": SCALINGS}
    default_options: ClassVar[Mapping[str, Any]] = {"scaling": 0.1}
    _method = OPTIMISM
    _prior = (0.0, ALMOST_NONE, ALMOST_NONE)

    def __init__(self, *, scaling: float | None = None, delta: float = 0.05) -> None:
        """Set the bounds.

        Args:
            scaling: factor of both slacks, 0 to 100; tuned by default.
            delta: chance, in (0, 1), that unscaled bounds fail.
        """
        self.scaling = None if scaling is None else _number("scaling", scaling, 0.0, 100.0)
        self.delta = _number("delta", delta, 1e-12, 1.0)

    def _options(self, spec: LifetimeSpec) -> dict[str, Any]:
        return {**resolve_options(type(self), spec, {"scaling": self.scaling}), "delta": self.delta}


class BEB(_Planner):
    """Bayesian exploration bonus: plan in the posterior mean world with a bonus for what was seldom tried.

    With the precision tau = 1 + n of a mean reward after n visits, N = S + n the weight of the transition posterior,
    and H the horizon, a step is paid an extra ``1 / (tau + 1)``, and ``beta H / (1 + N)`` for each step that remains
    after it, where ``beta = 2 H^2 scaling``. The prior is PSRL's of the paper, mean rewards N(0, 1).

    Source: Kolter & Ng 2009, in the form of TabulaRL.
    """

    name = "beb"
    tuned_options: ClassVar[Mapping[str, Sequence[Any]]] = {"scaling": SCALINGS}
    default_options: ClassVar[Mapping[str, Any]] = {"scaling": 0.00158}
    _method = BONUS

    def __init__(self, *, scaling: float | None = None) -> None:
        """Set the bonus.

        Args:
            scaling: of the bonus for transitions, 0 to 100; tuned by default.
        """
        self.scaling = None if scaling is None else _number("scaling", scaling, 0.0, 100.0)

    def _options(self, spec: LifetimeSpec) -> dict[str, Any]:
        return resolve_options(type(self), spec, {"scaling": self.scaling})


class Greedy(_Planner):
    """Plan in the world of the observed frequencies; what was never tried is taken to pay 0 and lead anywhere."""

    name = "greedy"
    _prior = (0.0, ALMOST_NONE, ALMOST_NONE)


class EpsilonGreedy(Greedy):
    """As `Greedy`, but with probability ``epsilon`` a step's action is uniformly random.

    It is tuned over .1, .2, .., 1; with 0 it would be `Greedy`, which stands for itself.
    """

    name = "epsilon-greedy"
    tuned_options: ClassVar[Mapping[str, Sequence[Any]]] = {"epsilon": tuple(k / 10 for k in range(1, 11))}
    default_options: ClassVar[Mapping[str, Any]] = {"epsilon": 0.1}

    def __init__(self, *, epsilon: float | None = None) -> None:
        """Set the exploration.

        Args:
            epsilon: probability of a random action, 0 to 1; tuned by default.
        """
        self.epsilon = None if epsilon is None else _number("epsilon", epsilon, 0.0, 1.0)

    def _options(self, spec: LifetimeSpec) -> dict[str, Any]:
        return resolve_options(type(self), spec, {"epsilon": self.epsilon})


class PosteriorGreedy(_Planner):
    """Plan in the posterior mean world under the right prior: no exploration but what the prior invites.

    The prior mean of 1 makes what was tried and pays less look worse than what was not tried, which is exploration
    enough to beat every hand-made agent of RL2's Table 2.
    """

    name = "posterior-greedy"
    _prior_name = "right"

    def __init__(self, *, every_step: bool = False) -> None:
        """Set when to plan.

        Args:
            every_step: plan anew at every step, so that what an episode teaches serves its remaining steps already.
        """
        if not isinstance(every_step, bool):
            raise ValueError(f"every_step must be True or False, received {every_step!r}.")
        self._every_step = every_step


class QLearning(_Tabular):
    """Tabular Q-learning (Watkins 1989): no model, one table of action values, epsilon-greedy actions."""

    name = "q-learning"
    tuned_options: ClassVar[Mapping[str, Sequence[Any]]] = {
        "learning_rate": (0.1, 0.2, 0.4, 0.7),
        "discount": (0.0, 0.5, 0.8),
        "initial": (0.0, 1.0, 2.0, 5.0),
        "epsilon": (0.0, 0.1),
    }
    default_options: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 0.2,
        "discount": 0.5,
        "initial": 2.0,
        "epsilon": 0.0,
    }

    def __init__(
        self,
        *,
        learning_rate: float | None = None,
        discount: float | None = None,
        initial: float | None = None,
        epsilon: float | None = None,
    ) -> None:
        """Set the learning.

        Args:
            learning_rate: how far an entry moves to its target, 0 to 1; tuned by default.
            discount: of what the next state promises, 0 to 1; tuned by default.
            initial: every entry's first value, -1000 to 1000 (high values invite exploration); tuned by default.
            epsilon: probability of a random action, 0 to 1; tuned by default.
        """
        self.learning_rate = None if learning_rate is None else _number("learning_rate", learning_rate, 0.0, 1.0)
        self.discount = None if discount is None else _number("discount", discount, 0.0, 1.0)
        self.initial = None if initial is None else _number("initial", initial, -1000.0, 1000.0)
        self.epsilon = None if epsilon is None else _number("epsilon", epsilon, 0.0, 1.0)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin a batch of lifetimes (see `Agent`).

        Raises:
            ValueError: the observation does not show the previous action, the previous reward and the episode's start.
        """
        self._open(spec, seeds)
        given = {name: getattr(self, name) for name in self.default_options}
        options = {name: float(value) for name, value in resolve_options(type(self), spec, given).items()}
        self._values = tuple(options[name] for name in ("initial", "learning_rate", "discount", "epsilon"))
        self._table = np.zeros((len(seeds), int(self._level_states[-1]), spec.actions))

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Choose actions (see `Agent`)."""
        out = np.zeros(len(observations), dtype=np.int64)
        states, actions = self._table.shape[1:]
        _act_q_learning(
            observations,
            fresh,
            self._columns,
            states,
            actions,
            *self._values,
            self._before,
            self._table,
            self._streams,
            out,
        )
        return out
