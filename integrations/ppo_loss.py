"""The loss of `daytwo.integrations.rl2`: PPO, imitation and a value head, over states of a recurrent network.

`loss` computes it from the network's states. On a processor in single precision one function computes the loss and at
once all its gradients, in matrix products and few compiled passes, block by block; elsewhere torch's own operations
compute the same (`plain_loss`).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from daytwo.kernels import compile_cached

MASKED = -1e9  # the score of an action that is not offered
# Continuous actions are imitated by their distance from the teacher's, not by its square: what can be known to two
# digits then counts beside what cannot be known at all, and between two ways to go one is chosen, not their mean. Below
# this distance the loss is quadratic.
NEARNESS = 0.05


class Terms(NamedTuple):
    """What the loss is made of.

    Attributes:
        clip_range: how far an action's probability ratio counts from 1.
        entropy: weight of the entropy bonus.
        value: weight of the value's loss.
        auxiliary: weight of the loss that predicts the labels with a head of its own; 0 for none.
        imitated: the policy learns to predict the labels, in place of PPO.
    """

    clip_range: float
    entropy: float
    value: float
    auxiliary: float = 0.0
    imitated: bool = False


def loss(
    policy: Any, states: torch.Tensor, batch: Mapping[str, torch.Tensor], terms: Terms
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of a minibatch.

    Args:
        policy: a `daytwo.integrations.lifetime_policy.LifetimePolicy`.
        states: ``[T, N, H]``, of its memory.
        batch: ``actions`` (``int64[T, N]`` or ``[T, N, d]``), ``old`` (their log-probabilities when they were drawn),
            ``advantages``, ``targets`` of the value, ``time`` (the share of the lifetime that is over), each
            ``[T, N]``; where there are any, ``masks`` (``bool[T, N, A]``, the actions offered) and ``labels`` (like
            ``actions``).
        terms: weights.

    Returns:
        The loss, and its parts: ``policy_loss``, ``value_loss``, ``entropy`` and ``auxiliary_loss``.
    """
    if states.device.type == "cpu" and states.dtype == policy.action_net.weight.dtype == torch.float32:
        return _compiled_loss(policy, states, batch, terms)
    return plain_loss(policy, states, batch, terms)


def _distance(guesses: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean distance of ``guesses[..., d]`` from ``labels[..., d]``, rounded off at 0 (see `NEARNESS`)."""
    return ((guesses - labels).square().sum(-1) + NEARNESS**2).sqrt().mean() - NEARNESS


def plain_loss(
    policy: Any, states: torch.Tensor, batch: Mapping[str, torch.Tensor], terms: Terms
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The same by torch's operations, for any device and precision."""
    outputs = policy.action_net(states)
    if policy.continuous:
        noise = (batch["actions"] - outputs) / policy.log_std.exp()
        chosen = -(0.5 * noise**2 + policy.log_std).sum(-1)
        entropy = policy.log_std.sum() + 0.5 * policy.outputs * math.log(2.0 * math.pi * math.e)
    else:
        if "masks" in batch:
            outputs = outputs.masked_fill(~batch["masks"], MASKED)
        logarithms = torch.log_softmax(outputs, dim=-1)
        asked = batch["labels" if terms.imitated else "actions"]
        chosen = logarithms.gather(-1, asked.unsqueeze(-1)).squeeze(-1)
        entropy = -(logarithms.exp() * logarithms).sum(-1).mean()
    value_loss = 0.5 * (policy.value(states, batch["time"]) - batch["targets"]).square().mean()
    if terms.imitated:
        policy_loss = _distance(outputs, batch["labels"]) if policy.continuous else -chosen.mean()
        total = policy_loss + terms.value * value_loss
    else:
        ratio = torch.exp(chosen - batch["old"])
        clipped = ratio.clamp(1.0 - terms.clip_range, 1.0 + terms.clip_range)
        gains = batch["advantages"]
        policy_loss = -torch.minimum(gains * ratio, gains * clipped).mean()
        total = policy_loss - terms.entropy * entropy + terms.value * value_loss
    told = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
    if terms.auxiliary and not terms.imitated:
        guess = policy.auxiliary_net(states)
        if policy.continuous:
            auxiliary_loss = _distance(guess, batch["labels"])
        else:
            auxiliary_loss = torch.nn.functional.cross_entropy(guess.flatten(0, -2), batch["labels"].flatten())
        total = total + terms.auxiliary * auxiliary_loss
        told["auxiliary_loss"] = auxiliary_loss
    return total, {name: value.detach() for name, value in told.items()}


# --- compiled ---------------------------------------------------------------------------------------------------------


@intrinsic
def _power_of_two(_context, shifted):
    """2**k in single precision from k + 1.5 * 2**23, whose lowest bits are k, by writing the exponent's bits."""

    def build(_, builder, __, arguments):
        whole = ir.IntType(32)
        bits = builder.shl(builder.bitcast(arguments[0], whole), ir.Constant(whole, 23))
        return builder.bitcast(builder.add(bits, ir.Constant(whole, 0x3F800000)), ir.FloatType())

    return types.float32(types.float32), build


_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to whole numbers


@register_jitable
def _exp(x):
    """The exponential in single precision, to 2e-7, in a form that compiles to vector instructions (Cephes' expf)."""
    x = min(max(x, np.float32(-87.0)), np.float32(87.0))
    shifted = x * np.float32(1.44269504088896341) + _ROUND
    k = shifted - _ROUND
    r = x - k * np.float32(0.693359375)
    r = r - k * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4) * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return (p * r * r + r + np.float32(1.0)) * _power_of_two(shifted)  # type: ignore[call-arg]


# Scores are laid out action by action, so that every pass runs over many steps at once: no action count is too small
# for vector instructions. As in `daytwo.integrations.gru`, each pass has few arrays.


@register_jitable
def _log_softmax(scores, bias, probabilities, work):
    """Turn ``scores[A, M]`` plus ``bias[A]`` into log-probabilities, and ``probabilities[A, M]``; ``work[2, M]``."""
    highest, total = work[0], work[1]
    for k in range(scores.shape[0]):
        row, shift = scores[k], bias[k]
        for j in range(row.shape[0]):
            row[j] += shift
        if k == 0:
            for j in range(row.shape[0]):
                highest[j] = row[j]
        else:
            for j in range(row.shape[0]):
                highest[j] = max(highest[j], row[j])
    total[:] = np.float32(0.0)
    for k in range(scores.shape[0]):
        row, likely = scores[k], probabilities[k]
        for j in range(row.shape[0]):
            row[j] -= highest[j]
        for j in range(row.shape[0]):
            likely[j] = _exp(row[j])
        for j in range(row.shape[0]):
            total[j] += likely[j]
    for j in range(total.shape[0]):
        highest[j] = math.log(total[j])
        total[j] = np.float32(1.0) / total[j]
    for k in range(scores.shape[0]):
        row, likely = scores[k], probabilities[k]
        for j in range(row.shape[0]):
            row[j] -= highest[j]
        for j in range(row.shape[0]):
            likely[j] *= total[j]


@register_jitable
def _hide(scores, masks):
    for i in range(masks.shape[0]):
        for k in range(masks.shape[1]):
            if not masks[i, k]:
                scores[k, i] = np.float32(MASKED)


@register_jitable
def _hide_gradients(gradients, masks):
    for i in range(masks.shape[0]):
        for k in range(masks.shape[1]):
            if not masks[i, k]:
                gradients[k, i] = np.float32(0.0)


@register_jitable
def _entropies(logarithms, probabilities, entropies):
    """``entropies[M]`` of the distributions; returns their sum."""
    entropies[:] = np.float32(0.0)
    for k in range(logarithms.shape[0]):
        row, likely = logarithms[k], probabilities[k]
        for j in range(row.shape[0]):
            entropies[j] -= likely[j] * row[j]
    total = 0.0
    for j in range(entropies.shape[0]):
        total += entropies[j]
    return total


@register_jitable
def _surrogate(chosen, old, advantage, clip_range):
    """PPO's loss of one step, and its derivative by the log-probability ``chosen``."""
    ratio = _exp(chosen - old)
    clipped = min(max(ratio, np.float32(1.0) - clip_range), np.float32(1.0) + clip_range)
    # Where the clipped gain is the smaller one nothing is to be gained by going on; at equality within the range both
    # are the same.
    inside = advantage * ratio <= advantage * clipped
    return -min(advantage * ratio, advantage * clipped), -advantage * ratio if inside else np.float32(0.0)


@compile_cached
def _discrete_ppo(scores, bias, masks, actions, old, advantages, clip_range, entropy_weight, scale, work):
    """PPO's loss over a block of M steps; ``scores[A, M]``, without ``bias[A]``, become the gradients.

    Args:
        scores: see above.
        bias: see above.
        masks: ``bool[M, A]``, or ``[0, A]`` where all actions are offered.
        actions: ``int64[M]``.
        old: ``[M]``.
        advantages: ``[M]``.
        clip_range: of the ratio.
        entropy_weight: of the bonus.
        scale: what a step weighs: 1 over the minibatch's steps.
        work: ``[A + 4, M]``, scratch.

    Returns:
        Sums of the loss and the entropy over the steps.
    """
    count, steps = scores.shape
    probabilities, rest = work[:count], work[count : count + 2]
    entropies, slopes = work[count + 2], work[count + 3]
    if len(masks):
        _add_bias(scores, bias)
        _hide(scores, masks)
        _log_softmax(scores, np.zeros(count, dtype=np.float32), probabilities, rest)
    else:
        _log_softmax(scores, bias, probabilities, rest)
    entropy = _entropies(scores, probabilities, entropies)
    total = 0.0
    for j in range(steps):
        loss, slope = _surrogate(scores[actions[j], j], old[j], advantages[j], clip_range)
        total += loss
        slopes[j] = scale * slope
    weight = np.float32(scale * entropy_weight)
    for k in range(count):
        row, likely = scores[k], probabilities[k]
        for j in range(steps):
            row[j] = weight * (row[j] + entropies[j])
        for j in range(steps):
            row[j] = likely[j] * (row[j] - slopes[j])
    for j in range(steps):
        scores[actions[j], j] += slopes[j]
    if len(masks):
        _hide_gradients(scores, masks)
    return total, entropy


@register_jitable
def _add_bias(scores, bias):
    for k in range(scores.shape[0]):
        row, shift = scores[k], bias[k]
        for j in range(row.shape[0]):
            row[j] += shift


@compile_cached
def _cross_entropy(scores, bias, masks, labels, scale, work):
    """Like `_discrete_ppo`, for the mean of -log p(label)."""
    count, steps = scores.shape
    probabilities, rest, entropies = work[:count], work[count : count + 2], work[count + 2]
    _add_bias(scores, bias)
    if len(masks):
        _hide(scores, masks)
    _log_softmax(scores, np.zeros(count, dtype=np.float32), probabilities, rest)
    entropy, total = _entropies(scores, probabilities, entropies), 0.0
    for j in range(steps):
        total -= scores[labels[j], j]
    for k in range(count):
        row, likely = scores[k], probabilities[k]
        for j in range(steps):
            row[j] = scale * likely[j]
    for j in range(steps):
        scores[labels[j], j] -= scale
    if len(masks):
        _hide_gradients(scores, masks)
    return total, entropy


@compile_cached
def _continuous_ppo(means, bias, log_std, actions, old, advantages, clip_range, scale, to_log_std):
    """Like `_discrete_ppo`, for normal distributions with ``means[d, M]``; ``to_log_std[d]`` is added to."""
    count, steps = means.shape
    total = 0.0
    for j in range(steps):
        chosen = np.float32(0.0)
        for k in range(count):
            noise = (actions[j, k] - means[k, j] - bias[k]) * np.float32(math.exp(-log_std[k]))
            means[k, j] = noise
            chosen -= np.float32(0.5) * noise * noise + log_std[k]
        loss, slope = _surrogate(chosen, old[j], advantages[j], clip_range)
        total += loss
        slope *= scale
        for k in range(count):
            noise = means[k, j]
            means[k, j] = slope * noise * np.float32(math.exp(-log_std[k]))
            to_log_std[k] += slope * (noise * noise - np.float32(1.0))
    return total


@compile_cached
def _regression(means, bias, labels, scale):
    """Summed distances of ``means[d, M]`` from ``labels[M, d]``, which become the gradients of ``scale`` times that."""
    nearness, total = np.float32(NEARNESS), 0.0
    for j in range(means.shape[1]):
        square = nearness * nearness
        for k in range(means.shape[0]):
            error = means[k, j] + bias[k] - labels[j, k]
            means[k, j] = error
            square += error * error
        apart = np.sqrt(square)
        total += apart - nearness
        for k in range(means.shape[0]):
            means[k, j] *= scale / apart
    return total


# The sum below may be taken in any order, which the others' exponential would not survive.
compile_unordered = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@compile_unordered
def _value(hidden, bias, time_weight, last_weight, last_bias, time, targets, scale, gradients):
    """The value head's squared error over a block; ``hidden[M, V]``, without bias and time, become the gradients.

    Args:
        hidden: see above; the states' part of the hidden layer.
        bias: ``[V]``, of the hidden layer.
        time_weight: ``[V]``.
        last_weight: ``[V]``.
        last_bias: of the value.
        time: ``[M]``.
        targets: ``[M]``.
        scale: what a step's squared error weighs.
        gradients: ``[3, V]``, added to: of ``bias``, ``time_weight`` and ``last_weight``.

    Returns:
        Half the summed squared errors, and the gradient of ``last_bias``.
    """
    zero = np.float32(0.0)
    to_bias, to_time, to_last = gradients[0], gradients[1], gradients[2]
    total, slopes = 0.0, 0.0
    for i in range(hidden.shape[0]):
        row, now = hidden[i], time[i]
        for j in range(row.shape[0]):
            row[j] = max(row[j] + bias[j] + now * time_weight[j], zero)
        value = last_bias
        for j in range(row.shape[0]):
            value += row[j] * last_weight[j]
        error = value - targets[i]
        total += 0.5 * error * error
        slope = scale * error
        slopes += slope
        for j in range(row.shape[0]):
            to_last[j] += slope * row[j]
        for j in range(row.shape[0]):
            row[j] = slope * last_weight[j] if row[j] > zero else zero
        for j in range(row.shape[0]):
            to_bias[j] += row[j]
        for j in range(row.shape[0]):
            to_time[j] += now * row[j]
    return total, slopes


# Steps in work at a time: few enough that their states and gradients stay in a core's second-level cache.
BLOCK = 1024


class _CompiledLoss(torch.autograd.Function):
    """Loss and gradients of all heads; see `plain_loss`."""

    @staticmethod
    def forward(
        ctx: Any,
        batch: Mapping[str, torch.Tensor],
        terms: Terms,
        continuous: bool,
        states: torch.Tensor,
        action_weight: torch.Tensor,
        action_bias: torch.Tensor,
        first_weight: torch.Tensor,
        first_bias: torch.Tensor,
        last_weight: torch.Tensor,
        last_bias: torch.Tensor,
        log_std: Any,  # these three: a tensor, or None where there is no such head
        auxiliary_weight: Any,
        auxiliary_bias: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        width, count = states.shape[-1], action_weight.shape[0]
        rows = states.reshape(-1, width)
        steps = len(rows)
        flat: dict[str, Any] = {
            name: batch[name].reshape(steps, *batch[name].shape[2:]).numpy()
            for name in ("actions", "old", "advantages", "targets", "time", "masks", "labels")
            if name in batch
        }
        masks = flat.get("masks", np.zeros((0, count), dtype=np.bool_))
        labels: Any = flat.get("labels")
        scale = np.float32(1.0 / steps)
        weight = first_weight[:, :-1].contiguous()
        across, time_weight = weight.t().contiguous(), first_weight[:, -1].contiguous().numpy()
        to_rows = torch.empty_like(rows)
        to_action_weight, to_action_bias = torch.zeros_like(action_weight), torch.zeros_like(action_bias)
        to_weight, sums = torch.zeros_like(weight), np.zeros((3, len(weight)), dtype=np.float32)
        to_log_std: Any = None if log_std is None or terms.imitated else torch.zeros_like(log_std)
        guessed = bool(terms.auxiliary) and not terms.imitated
        to_auxiliary_weight: Any = torch.zeros_like(auxiliary_weight) if guessed else None
        to_auxiliary_bias: Any = torch.zeros_like(auxiliary_bias) if guessed else None
        scores, hidden = torch.empty(count * BLOCK), torch.empty(BLOCK, len(weight))
        work = np.empty((count + 4) * BLOCK, dtype=np.float32)
        policy_loss = value_loss = entropy = auxiliary_loss = slopes = 0.0
        for begin in range(0, steps, BLOCK):
            block = slice(begin, min(begin + BLOCK, steps))
            here, to_here, size = rows[block], to_rows[block], min(BLOCK, steps - begin)
            out, scratch = scores[: count * size].view(count, size), work[: (count + 4) * size].reshape(-1, size)
            bare = out.numpy()
            # The value.
            inner = torch.mm(here, across, out=hidden[:size])
            error, slope = _value(
                inner.numpy(),
                first_bias.numpy(),
                time_weight,
                last_weight[0].numpy(),
                np.float32(last_bias.item()),
                flat["time"][block],
                flat["targets"][block],
                np.float32(terms.value * scale),
                sums,
            )
            value_loss, slopes = value_loss + error, slopes + slope
            torch.mm(inner, weight, out=to_here)
            to_weight.addmm_(inner.t(), here)
            # The policy.
            torch.mm(action_weight, here.t(), out=out)
            bias = action_bias.numpy()
            if continuous and terms.imitated:
                policy_loss += _regression(bare, bias, labels[block], scale)
            elif continuous:
                policy_loss += _continuous_ppo(
                    bare,
                    bias,
                    log_std.numpy(),
                    flat["actions"][block],
                    flat["old"][block],
                    flat["advantages"][block],
                    np.float32(terms.clip_range),
                    scale,
                    to_log_std.numpy(),
                )
            elif terms.imitated:
                total, spread = _cross_entropy(bare, bias, masks[block], labels[block], scale, scratch)
                policy_loss, entropy = policy_loss + total, entropy + spread
            else:
                total, spread = _discrete_ppo(
                    bare,
                    bias,
                    masks[block],
                    flat["actions"][block],
                    flat["old"][block],
                    flat["advantages"][block],
                    np.float32(terms.clip_range),
                    np.float32(terms.entropy),
                    scale,
                    scratch,
                )
                policy_loss, entropy = policy_loss + total, entropy + spread
            to_here.addmm_(out.t(), action_weight)
            to_action_weight.addmm_(out, here)
            to_action_bias += out.sum(1)
            if not guessed:
                continue
            # The auxiliary head.
            torch.mm(auxiliary_weight, here.t(), out=out)
            bias = auxiliary_bias.numpy()
            share = np.float32(terms.auxiliary * scale)
            if continuous:
                auxiliary_loss += _regression(bare, bias, labels[block], share)
            else:
                auxiliary_loss += _cross_entropy(bare, bias, masks[:0], labels[block], share, scratch)[0]
            to_here.addmm_(out.t(), auxiliary_weight)
            to_auxiliary_weight.addmm_(out, here)
            to_auxiliary_bias += out.sum(1)
        policy_loss, value_loss, auxiliary_loss = policy_loss / steps, value_loss / steps, auxiliary_loss / steps
        entropy = entropy / steps
        if log_std is not None:
            entropy = float(log_std.sum()) + 0.5 * count * math.log(2.0 * math.pi * math.e)
        if to_log_std is not None:
            to_log_std -= terms.entropy
        total = policy_loss + terms.value * value_loss + terms.auxiliary * auxiliary_loss
        if not terms.imitated:
            total -= terms.entropy * entropy
        made = torch.from_numpy(sums)
        ctx.gradients = (
            to_rows.view_as(states),
            to_action_weight,
            to_action_bias,
            torch.cat([to_weight, made[1].unsqueeze(1)], dim=1),
            made[0].clone(),
            made[2].unsqueeze(0).clone(),
            torch.full_like(last_bias, slopes),
            to_log_std,
            to_auxiliary_weight,
            to_auxiliary_bias,
        )
        parts = torch.tensor([policy_loss, value_loss, entropy, auxiliary_loss])
        ctx.mark_non_differentiable(parts)
        return torch.tensor(total, dtype=torch.float32), parts

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[Any, ...]:
        factor = float(upstream[0])
        gradients = ctx.gradients
        if factor != 1.0:
            gradients = tuple(None if gradient is None else factor * gradient for gradient in gradients)
        return (None, None, None, *gradients)


def _compiled_loss(
    policy: Any, states: torch.Tensor, batch: Mapping[str, torch.Tensor], terms: Terms
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    first, last, guess = policy.value_net[0], policy.value_net[2], policy.auxiliary_net
    total, parts = _CompiledLoss.apply(
        batch,
        terms,
        policy.continuous,
        states,
        policy.action_net.weight,
        policy.action_net.bias,
        first.weight,
        first.bias,
        last.weight,
        last.bias,
        policy.log_std,
        None if guess is None else guess.weight,
        None if guess is None else guess.bias,
    )
    names = ["policy_loss", "value_loss", "entropy"]
    if terms.auxiliary and not terms.imitated:
        names.append("auxiliary_loss")
    return total, dict(zip(names, parts, strict=False))
