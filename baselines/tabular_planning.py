"""What tabular agents believe, and how they plan: posteriors over worlds, value iteration, extended value iteration.

All functions are scalar helpers of kernels: they serve one lifetime ``i`` at a time and write into the arrays they get.

Beliefs about one lifetime are counts and sums (float64 unless said otherwise):

    rewards[i, state, action]                sum of the rewards paid
    visits[i, state, action]                 how many there were
    counts[i, state, action, next state]     transitions seen
    passes[i, state, action, level]          transitions seen at a higher level that ended among this level's states

The last serve the levels of `TabularMDP`: a level is the world restricted to its first states, transitions
renormalised, so a transition seen there tells about the odds between those states and nothing about the states beyond.
Under a flat Dirichlet prior the posterior is then a Dirichlet tree, exactly: at the top level's node the branches are
its own new states and, as one branch, all the states of the level below; at that level's node its new states and the
level below; and so on. Every node is a Dirichlet distribution, whose prior weight is ``weight`` per state behind a
branch. Where all transitions were seen at one level it is the usual Dirichlet posterior.
"""

import math

import numpy as np
from numba.extending import register_jitable

from daytwo.streams import gamma, integer, normal, uniform


@register_jitable
def forget(i, rewards, visits, counts, passes):
    """Clear lifetime i's beliefs."""
    for s in range(visits.shape[1]):
        for a in range(visits.shape[2]):
            rewards[i, s, a] = 0.0
            visits[i, s, a] = 0.0
            for k in range(counts.shape[3]):
                counts[i, s, a, k] = 0.0
            for k in range(passes.shape[3]):
                passes[i, s, a, k] = 0.0


@register_jitable
def learn(i, rewards, visits, counts, passes, level_states, level, state, action, reward, reached):
    """Enter one step of lifetime i; ``reached`` is -1 where the next state is not known."""
    rewards[i, state, action] += reward
    visits[i, state, action] += 1.0
    if reached >= 0:
        counts[i, state, action, reached] += 1.0
        for k in range(level):
            if reached < level_states[k]:
                passes[i, state, action, k] += 1.0


@register_jitable
def mean_world(i, rewards, visits, counts, passes, level_states, level, actions, prior, mean, chance):
    """The posterior mean world of a level.

    Args:
        i: the lifetime.
        rewards: see the module.
        visits: see the module.
        counts: see the module.
        passes: see the module.
        level_states: ``int64[levels]``, how many states each level has.
        level: the level.
        actions: how many actions.
        prior: mean and precision of the normal prior of a mean reward, weight per state of the Dirichlet prior.
        mean: out, ``float64[states, actions]``, mean rewards (unit noise).
        chance: out, ``float64[states, actions, states]``, transition probabilities.
    """
    weight = prior[2]
    for s in range(level_states[level]):
        for a in range(actions):
            mean[s, a] = (prior[0] * prior[1] + rewards[i, s, a]) / (prior[1] + visits[i, s, a])
            share = 1.0
            for k in range(level, -1, -1):
                first = level_states[k - 1] if k > 0 else 0
                below = weight * first + (passes[i, s, a, k - 1] if k > 0 else 0.0)
                total = below
                for j in range(first, level_states[k]):
                    total += weight + counts[i, s, a, j]
                for j in range(first, level_states[k]):
                    chance[s, a, j] = share * (weight + counts[i, s, a, j]) / total
                share *= below / total


@register_jitable
def sampled_world(i, rewards, visits, counts, passes, level_states, level, actions, prior, streams, mean, chance):
    """A world drawn from a level's posterior; arguments as of `mean_world`, and the lifetime's random stream."""
    weight = prior[2]
    for s in range(level_states[level]):
        for a in range(actions):
            precision = prior[1] + visits[i, s, a]
            centre = (prior[0] * prior[1] + rewards[i, s, a]) / precision
            mean[s, a] = centre + normal(streams, i) / math.sqrt(precision)
            share = 1.0
            for k in range(level, -1, -1):
                first = level_states[k - 1] if k > 0 else 0
                below = gamma(streams, i, weight * first + passes[i, s, a, k - 1]) if k > 0 else 0.0
                total = below
                for j in range(first, level_states[k]):
                    chance[s, a, j] = gamma(streams, i, weight + counts[i, s, a, j])
                    total += chance[s, a, j]
                for j in range(first, level_states[k]):
                    chance[s, a, j] *= share / total
                share *= below / total


@register_jitable
def two_step_world(i, rewards, visits, counts, constants, streams, sampled, mean, chance):
    """The two-step task by its own prior: four worlds, equally likely beforehand.

    The evidence on the transitions and that on the payoffs are independent, so the posterior has two factors.

    Args:
        i: the lifetime.
        rewards: see the module.
        visits: see the module.
        counts: see the module.
        constants: chance of a common transition, and of a payment in the bad and in the good state.
        streams: the lifetime's random stream.
        sampled: draw a world from the posterior, or else take the posterior mean.
        mean: out, ``float64[3, 2]``.
        chance: out, ``float64[3, 2, 3]``.
    """
    common, low, high = constants
    straight = counts[i, 0, 0, 1] + counts[i, 0, 1, 2] - counts[i, 0, 0, 2] - counts[i, 0, 1, 1]
    p_straight = 1.0 / (1.0 + math.exp(-straight * math.log(common / (1.0 - common))))
    evidence = 0.0
    for a in range(2):
        for s in range(1, 3):
            wins = rewards[i, s, a]
            losses = visits[i, s, a] - wins
            sign = 1.0 if s == 1 else -1.0
            evidence += sign * (wins * math.log(high / low) + losses * math.log((1.0 - high) / (1.0 - low)))
    p_first = 1.0 / (1.0 + math.exp(-evidence))
    if sampled:
        p_straight = 1.0 if uniform(streams, i) < p_straight else 0.0
        p_first = 1.0 if uniform(streams, i) < p_first else 0.0
    for a in range(2):
        to_own = p_straight * common + (1.0 - p_straight) * (1.0 - common)
        for s in range(3):
            for k in range(3):
                chance[s, a, k] = 1.0 if s == k and s > 0 else 0.0
        chance[0, a, 1 + a] = to_own
        chance[0, a, 2 - a] = 1.0 - to_own
        mean[0, a] = 0.0
        mean[1, a] = p_first * high + (1.0 - p_first) * low
        mean[2, a] = p_first * low + (1.0 - p_first) * high


@register_jitable
def value_iteration(states, actions, horizon, mean, chance, bonus, envelope, value, q):
    """Undiscounted finite-horizon value iteration.

    Args:
        states: how many states.
        actions: how many actions.
        horizon: steps of an episode.
        mean: ``float64[states, actions]``, mean rewards.
        chance: ``float64[states, actions, states]``, transition probabilities.
        bonus: ``float64[states, actions]``, paid as often as steps remain after this one.
        envelope: keep the larger of the old and the new entries of ``q``.
        value: ``float64[2, states]``, room to work in.
        q: out, ``float64[horizon, states, actions]``.
    """
    for s in range(states):
        value[0, s] = 0.0
    for t in range(horizon - 1, -1, -1):
        for s in range(states):
            best = -math.inf
            for a in range(actions):
                expected = mean[s, a] + bonus[s, a] * (horizon - 1 - t)
                for k in range(states):
                    expected += chance[s, a, k] * value[0, k]
                best = max(best, expected)
                q[t, s, a] = max(q[t, s, a], expected) if envelope else expected
            value[1, s] = best
        for s in range(states):
            value[0, s] = value[1, s]


@register_jitable
def extended_value_iteration(states, actions, horizon, mean, chance, reward_slack, chance_slack, value, order, q):
    """Value iteration in the most favourable world within slack of an estimate (Jaksch et al. 2010, section 3.1).

    Every mean reward is raised by its slack; half of the transition slack is moved to the best next state, taken from
    the worst ones.

    Args:
        states: how many states.
        actions: how many actions.
        horizon: steps of an episode.
        mean: ``float64[states, actions]``, estimated mean rewards.
        chance: ``float64[states, actions, states]``, estimated transition probabilities.
        reward_slack: ``float64[states, actions]``.
        chance_slack: ``float64[states, actions]``, in the 1-norm.
        value: ``float64[2, states]``, room to work in.
        order: ``int64[states]``, room to work in.
        q: out, ``float64[horizon, states, actions]``.
    """
    for s in range(states):
        value[0, s] = 0.0
    for t in range(horizon - 1, -1, -1):
        for k in range(states):  # next states by rising value
            j = k
            while j > 0 and value[0, order[j - 1]] > value[0, k]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = k
        best_next = order[states - 1]
        for s in range(states):
            best = -math.inf
            for a in range(actions):
                moved = min(0.5 * chance_slack[s, a], 1.0 - chance[s, a, best_next])
                expected = mean[s, a] + reward_slack[s, a] + moved * value[0, best_next]
                for k in range(states):
                    kept = chance[s, a, order[k]]
                    taken = min(kept, moved) if k < states - 1 else 0.0
                    moved -= taken
                    expected += (kept - taken) * value[0, order[k]]
                best = max(best, expected)
                q[t, s, a] = expected
            value[1, s] = best
        for s in range(states):
            value[0, s] = value[1, s]


@register_jitable
def choose_greedily(i, states, actions, horizon, q, streams, policy):
    """Write the greedy policy of ``q`` into ``policy[i]``; ties are broken at random."""
    for t in range(horizon):
        for s in range(states):
            best, tied = 0, 1
            for a in range(1, actions):
                if q[t, s, a] > q[t, s, best]:
                    best, tied = a, 1
                elif q[t, s, a] == q[t, s, best]:
                    tied += 1
                    if integer(streams, i, tied) == 0:
                        best = a
            policy[i, t, s] = np.uint8(best)
