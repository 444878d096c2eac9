"""A memory of contents under keys, beside a recurrent network's state.

A GRU of some dozens of units has no place for "which of five fixes helps against each of twenty failures": it would
have to learn an address for every item. Here contents are stored under keys that are computed from what is seen, in one
matrix per head, as in fast weight programmers (Schmidhuber 1992; with the delta rule: Schlag et al. 2021, arXiv
2102.11174). What came of a situation is written under the key of that situation, and what is known about the present
one is read by the same key: the previous observation and the present one share the map to keys, so that what belongs
together is found before anything has been learnt. What is written is a gated function of what stood there before, so
that evidence about one item is added up in its own place:

    k = K o_previous / |K o_previous|,  q = K o / |K o|
    r = S k                                     what stands under the key
    u = sigmoid(b + B r) * (tanh(a + A r) - r)  what changes
    S <- S + u k^T
    y = S q                                     what is known about the present observation

with a and b linear in the layer's input, and K, A, B matrices of the head.

Three options. A recurrent layer in front may look on: its state then joins the layer's input, and the observation in
the keys, so that what took several steps to find out can be stored, and under places that cannot be seen. And keys may
be products, ``K o * (1 + P o)`` in place of ``K o``: sums of one-hot parts cannot tell all pairs of two parts apart,
products can. And keys may come from some of the observation's numbers alone at first: where most of them change from
step to step, nothing would be found again before the map to keys has been learnt.

On a processor both directions of time run lane after lane in compiled code, the matrix in the first-level cache.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba.extending import register_jitable
from torch import nn

from daytwo.activations import fast_sigmoid, fast_tanh
from daytwo.integrations.ppo_loss import compile_unordered

_TINY = np.float32(1e-6)


@register_jitable
def _unit(vector, unit):
    """Write ``vector[K]`` at length 1; returns one over its length."""
    total = np.float32(0.0)
    for j in range(vector.shape[0]):
        total += vector[j] * vector[j]
    factor = np.float32(1.0) / np.sqrt(total + _TINY)
    for j in range(vector.shape[0]):
        unit[j] = factor * vector[j]
    return factor


@register_jitable
def _read(contents, key, out):
    """``out[V]``: ``contents[V, K] @ key[K]``."""
    for v in range(contents.shape[0]):
        row, total = contents[v], np.float32(0.0)
        for j in range(row.shape[0]):
            total += row[j] * key[j]
        out[v] = total


@register_jitable
def _write(contents, change, key):
    """Add ``change[V] key[K]^T`` to ``contents[V, K]``."""
    for v in range(contents.shape[0]):
        row, factor = contents[v], change[v]
        for j in range(row.shape[0]):
            row[j] += factor * key[j]


@register_jitable
def _add_transposed(contents, vector, out):
    """Add ``contents[V, K]^T @ vector[V]`` to ``out[K]``."""
    for v in range(contents.shape[0]):
        row, factor = contents[v], vector[v]
        for j in range(row.shape[0]):
            out[j] += factor * row[j]


@register_jitable
def mix_gates(projected, mixing, there, candidate, gate):
    """Write ``candidate[V]`` and ``gate[V]``: ``projected[2V]`` and ``mixing[2V, R] @ there[R]``, squashed."""
    size = len(candidate)
    for v in range(2 * size):
        total, line = projected[v], mixing[v]
        for j in range(len(there)):
            total += line[j] * there[j]
        if v < size:
            candidate[v] = total
        else:
            gate[v - size] = total
    for v in range(size):
        candidate[v] = fast_tanh(candidate[v])
    for v in range(size):
        gate[v] = fast_sigmoid(gate[v])


@compile_unordered
def _forward(projections, start, keep, weights, keys, factors, parts, out, contents):
    """All steps of all lanes.

    Args:
        projections: ``[T, N, M, K + Q K + 2V]``: key, queries, candidate and gate before their non-linearities.
        start: ``[N, M, V, K]``, contents before the first step.
        keep: ``[T, N]``, 0 where a lifetime begins.
        weights: ``[M, 2V, V]``: A over B.
        keys: ``[T, N, M, 1 + Q, K]``, written: key and queries at length 1.
        factors: ``[T, N, M, 1 + Q]``, written: one over their lengths before.
        parts: ``[T, N, M, 3V]``, written: what stood there, candidate and gate.
        out: ``[T, N, M, Q, V]``, written.
        contents: ``[N, M, V, K]``, written: contents after the last step.
    """
    steps, lanes, heads = out.shape[0], out.shape[1], out.shape[2]
    size, width, count = contents.shape[2], contents.shape[3], out.shape[3]
    change = np.empty(size, dtype=np.float32)
    for i in range(lanes):
        for m in range(heads):
            matrix, mixing = contents[i, m], weights[m]
            for v in range(size):
                for j in range(width):
                    matrix[v, j] = start[i, m, v, j]
            for t in range(steps):
                if keep[t, i] == np.float32(0.0):
                    for v in range(size):
                        for j in range(width):
                            matrix[v, j] = np.float32(0.0)
                row, units, saved = projections[t, i, m], keys[t, i, m], parts[t, i, m]
                key = units[0]
                for part in range(1 + count):
                    factors[t, i, m, part] = _unit(row[part * width : (part + 1) * width], units[part])
                there, candidate, gate = saved[:size], saved[size : 2 * size], saved[2 * size :]
                _read(matrix, key, there)
                mix_gates(row[(1 + count) * width :], mixing, there, candidate, gate)
                for v in range(size):
                    change[v] = gate[v] * (candidate[v] - there[v])
                _write(matrix, change, key)
                for part in range(count):
                    _read(matrix, units[1 + part], out[t, i, m, part])


@compile_unordered
def _backward(start, keep, weights, keys, factors, parts, gradients, to_projections, to_weights):
    """All gradients; the arguments are those of `_forward`.

    Args:
        start: see `_forward`, and so on.
        keep: as there.
        weights: as there.
        keys: as there.
        factors: as there.
        parts: as there.
        gradients: ``[T, N, M, Q, V]``, of ``out``.
        to_projections: ``[T, N, M, K + Q K + 2V]``, written.
        to_weights: ``[M, 2V, V]``, added to.
    """
    steps, lanes, heads, count, size = gradients.shape
    width = start.shape[3]
    values = (1 + count) * width
    zero, one = np.float32(0.0), np.float32(1.0)
    # Contents before the first step and after every step, and what stands there where a lifetime begins.
    path, blank = np.empty((steps + 1, size, width), dtype=np.float32), np.zeros((size, width), dtype=np.float32)
    carried = np.empty((size, width), dtype=np.float32)
    change, to_there = np.empty(size, dtype=np.float32), np.empty(size, dtype=np.float32)
    for m in range(heads):
        mixing, to_mixing = weights[m], to_weights[m]
        for i in range(lanes):
            for v in range(size):
                for j in range(width):
                    path[0, v, j] = start[i, m, v, j]
                    carried[v, j] = zero
            for t in range(steps):
                before = blank if keep[t, i] == zero else path[t]
                after, saved, key = path[t + 1], parts[t, i, m], keys[t, i, m, 0]
                for v in range(size):
                    factor = saved[2 * size + v] * (saved[size + v] - saved[v])
                    old, new = before[v], after[v]
                    for j in range(width):
                        new[j] = old[j] + factor * key[j]
            for t in range(steps - 1, -1, -1):
                before = blank if keep[t, i] == zero else path[t]
                after, saved, given = path[t + 1], parts[t, i, m], gradients[t, i, m]
                units, row = keys[t, i, m], to_projections[t, i, m]
                key, to_key = units[0], row[:width]
                for j in range(values):
                    row[j] = zero
                # What is read: y = S q.
                for part in range(count):
                    _add_transposed(after, given[part], row[(1 + part) * width : (2 + part) * width])
                    _write(carried, given[part], units[1 + part])
                # What is written: S = S' + u k^T, whose u[v] = g (n - r).
                for v in range(size):
                    change[v] = saved[2 * size + v] * (saved[size + v] - saved[v])
                _add_transposed(carried, change, to_key)
                _read(carried, key, change)  # now the gradient of u
                for v in range(size):
                    there, candidate, gate = saved[v], saved[size + v], saved[2 * size + v]
                    row[values + v] = change[v] * gate * (one - candidate * candidate)
                    row[values + size + v] = change[v] * (candidate - there) * gate * (one - gate)
                    to_there[v] = -change[v] * gate
                for v in range(2 * size):
                    slope, line, to_line = row[values + v], mixing[v], to_mixing[v]
                    for j in range(size):
                        to_there[j] += slope * line[j]
                    for j in range(size):
                        to_line[j] += slope * saved[j]
                # What stood there: r = S' k.
                _add_transposed(before, to_there, to_key)
                _write(carried, to_there, key)
                if keep[t, i] == zero:
                    for v in range(size):
                        for j in range(width):
                            carried[v, j] = zero
                for part in range(1 + count):
                    unit, to_unit = units[part], row[part * width : (part + 1) * width]
                    along, factor = zero, factors[t, i, m, part]
                    for j in range(width):
                        along += unit[j] * to_unit[j]
                    for j in range(width):
                        to_unit[j] = factor * (to_unit[j] - along * unit[j])


def _queries(projections: torch.Tensor, start: torch.Tensor) -> int:
    """Q, how many queries stand behind a key: see `run_memory`."""
    size, width = start.shape[2:]
    return (projections.shape[-1] - 2 * size) // width - 1


class _CompiledMemory(torch.autograd.Function):
    """The layer on a processor: see `_torch_memory` for what it computes; no gradient reaches ``start``."""

    @staticmethod
    def forward(
        ctx: Any, projections: torch.Tensor, start: torch.Tensor, keep: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        projections, start, keep = projections.contiguous(), start.contiguous(), keep.contiguous()
        weights = weights.contiguous()
        steps, lanes, heads, _ = projections.shape
        size, width = start.shape[2:]
        count = _queries(projections, start)
        keys, factors = (torch.empty(steps, lanes, heads, 1 + count, *last) for last in ((width,), ()))
        parts, out = torch.empty(steps, lanes, heads, 3 * size), torch.empty(steps, lanes, heads, count, size)
        contents = torch.empty_like(start)
        arrays = (projections, start, keep, weights.detach(), keys, factors, parts, out, contents)
        _forward(*(array.numpy() for array in arrays))
        ctx.save_for_backward(start, keep, weights, keys, factors, parts)
        ctx.mark_non_differentiable(contents)
        return out, contents

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        start, keep, weights, keys, factors, parts = ctx.saved_tensors
        steps, lanes, heads, count, size = gradients[0].shape
        to_projections = torch.empty(steps, lanes, heads, (1 + count) * start.shape[3] + 2 * size)
        to_weights = torch.zeros_like(weights)
        arrays = (
            start, keep, weights, keys, factors, parts, gradients[0].contiguous(), to_projections, to_weights
        )  # fmt: skip
        _backward(*(array.detach().numpy() for array in arrays))
        return to_projections, None, None, to_weights


def _torch_memory(
    projections: torch.Tensor, start: torch.Tensor, keep: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer by torch's operations, for any device and precision."""
    size, width = start.shape[2:]
    count = _queries(projections, start)
    contents, outputs = start.detach(), []
    for row, kept in zip(projections.unbind(0), keep.unbind(0), strict=True):
        contents = kept[:, None, None, None] * contents
        keys, candidate, gate = row.split([(1 + count) * width, size, size], dim=-1)
        keys = keys.unflatten(-1, (1 + count, width))
        keys = keys / (keys.square().sum(-1, keepdim=True) + float(_TINY)).sqrt()
        key, queries = keys[..., 0, :], keys[..., 1:, :]
        there = torch.einsum("nmvk,nmk->nmv", contents, key)
        mixed = torch.einsum("muv,nmv->nmu", weights, there)
        change = torch.sigmoid(gate + mixed[..., size:]) * (torch.tanh(candidate + mixed[..., :size]) - there)
        contents = contents + change.unsqueeze(-1) * key.unsqueeze(-2)
        outputs.append(torch.einsum("nmvk,nmqk->nmqv", contents, queries))
    return torch.stack(outputs), contents.detach()


def run_memory(
    projections: torch.Tensor, start: torch.Tensor, keep: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """All steps of all lanes, compiled where that can be.

    Args:
        projections: ``[T, N, M, K + Q K + 2V]``: key, Q queries, candidate and gate before their non-linearities.
        start: ``[N, M, V, K]``, contents before the first step; no gradient reaches them.
        keep: ``[T, N]``, 0 where a lifetime begins.
        weights: ``[M, 2V, V]``: A over B.

    Returns:
        What is read, ``[T, N, M, Q, V]``, and the contents after the last step.
    """
    plain = projections.device.type == "cpu" and projections.dtype == weights.dtype == torch.float32
    return (_CompiledMemory.apply if plain else _torch_memory)(projections, start, keep, weights)


class KeyedMemory(nn.Module):
    """Contents under keys, cleared where lifetimes begin; see the module's description.

    Attributes:
        key_weight: ``[M K, O + S]``: from an observation, and the state in front, to the heads' keys.
        product_weight: the same shape, what these are multiplied with; None without products.
        weight: ``[M 2V, D]``: head by head from the layer's input to the candidate and the gate.
        bias: ``[M 2V]``.
        content_weight: ``[M, 2V, V]``: A over B.
    """

    def __init__(
        self,
        observed: int,
        inputs: int,
        heads: int,
        *,
        key_size: int = 32,
        value_size: int = 16,
        front: int = 0,
        products: bool = False,
        columns: Sequence[int] | None = None,
    ) -> None:
        """Make the layer.

        Args:
            observed: O, numbers of an observation.
            inputs: D, numbers in.
            heads: M matrices.
            key_size: K, numbers of a key.
            value_size: V, numbers of a content.
            front: S, units of a recurrent layer whose state joins the observation in the keys.
            products: keys are products of two maps.
            columns: the numbers of an observation that keys come from at first; None for all.
        """
        super().__init__()
        self.heads, self.key_size, self.value_size = heads, key_size, value_size
        self.key_weight = nn.Parameter(torch.zeros(heads * key_size, observed + front))
        self.product_weight: nn.Parameter | None = None
        if products:
            self.product_weight = nn.Parameter(torch.zeros(heads * key_size, observed + front))
        self.weight = nn.Parameter(torch.empty(heads * 2 * value_size, inputs))
        self.bias = nn.Parameter(torch.zeros(heads * 2 * value_size))
        self.content_weight = nn.Parameter(torch.zeros(heads, 2 * value_size, value_size))
        # At first, keys come from what is seen alone.
        looked_at = range(observed) if columns is None else list(columns)
        maps = [(self.key_weight, 1.0)]
        if self.product_weight is not None:
            maps.append((self.product_weight, key_size**0.5))
        for weight, gain in maps:
            for part in weight.data.split(key_size):
                part[:, looked_at] = nn.init.orthogonal_(torch.empty(key_size, len(looked_at)), gain)
        for part in self.weight.data.split(value_size):
            nn.init.orthogonal_(part)
        # Little is written before it is known what is worth it.
        self.bias.data.view(heads, 2, value_size)[:, 1] = -1.0

    @property
    def size(self) -> int:
        """Numbers of the state."""
        return self.heads * self.value_size * self.key_size

    @property
    def outputs(self) -> int:
        """Numbers that are read."""
        return self.heads * self.value_size

    def _keys(self, seen: torch.Tensor) -> torch.Tensor:
        keys = torch.nn.functional.linear(seen, self.key_weight)
        if self.product_weight is None:
            return keys
        return keys + keys * torch.nn.functional.linear(seen, self.product_weight)

    def forward(
        self,
        observations: torch.Tensor,
        inputs: torch.Tensor,
        start: torch.Tensor,
        keep: torch.Tensor,
        front: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is read at every step.

        Args:
            observations: ``[T, N, 2 O]``: the present ones and those before, zeros where there is none.
            inputs: ``[T, N, D]``.
            start: contents before the first step, ``[N, M V K]``; no gradient reaches them.
            keep: ``[T, N]``: 0 where a lifetime begins with this step's input (the contents are cleared first), else 1.
            front: ``[T + 1, N, S]``: states of the layer in front, before the first step and after every step.

        Returns:
            ``[T, N, M V]``, and the contents after the last step, ``[N, M V K]``.
        """
        steps, lanes = keep.shape
        # The key of a step is the query of the step before; where a lifetime begins there is no step before.
        width = observations.shape[2] // 2
        seen = torch.cat([observations[:1, :, width:], observations[..., :width]])
        queries = self._keys(seen if front is None else torch.cat([seen, front], dim=-1))
        key = (keep.unsqueeze(-1) * queries[:-1]).view(steps, lanes, self.heads, -1)
        query = queries[1:].view(steps, lanes, self.heads, -1)
        values = torch.nn.functional.linear(inputs, self.weight, self.bias).view(steps, lanes, self.heads, -1)
        projections = torch.cat([key, query, values], dim=-1)
        contents = start.view(len(start), self.heads, self.value_size, self.key_size)
        out, after = run_memory(projections, contents, keep, self.content_weight)
        return out.flatten(2), after.flatten(1)
