"""A gated recurrent unit over whole lifetimes, several times faster than torch's on a processor.

The cell is that of `torch.nn.GRU` (Cho et al. 2014, arXiv 1406.1078, in cuDNN's form). What torch lacks: the state is
cleared in the middle of a sequence wherever a new lifetime begins, and both directions of time run as one matrix
product and one compiled pass over the gates per step, without building a graph. On other devices, and for other
precisions, the same function is computed by torch's own operations.
"""

from typing import Any

import numpy as np
import torch
from numba.extending import register_jitable
from torch import nn

from daytwo.activations import gates
from daytwo.kernels import compile_cached


@register_jitable
def gates_back(saved, old, running, row):
    """The gradients of `gates`.

    Args:
        saved: ``[4H]``, as `gates` wrote it.
        old: ``[H]``, the state before.
        running: ``[H]``, gradient of the new state; left in it is the direct part of that of the old one.
        row: ``[4H]``, written: gradients of the candidate's recurrent part, the reset gate, the update gate and the
            candidate, each before its non-linearity. The first three are those of the state's projection, the last
            three those of the inputs'.
    """
    count, one = running.shape[0], np.float32(1.0)
    r, z, n, part = saved[:count], saved[count : 2 * count], saved[2 * count : 3 * count], saved[3 * count :]
    dh, dr, dz, dn = row[:count], row[count : 2 * count], row[2 * count : 3 * count], row[3 * count :]
    for j in range(count):
        dz[j] = running[j] * (old[j] - n[j])
    for j in range(count):
        dz[j] *= z[j] * (one - z[j])
    for j in range(count):
        dn[j] = running[j] * (one - z[j])
    for j in range(count):
        dn[j] *= one - n[j] * n[j]
    for j in range(count):
        running[j] *= z[j]
    for j in range(count):
        dh[j] = dn[j] * r[j]
    for j in range(count):
        dr[j] = dh[j] * part[j]
    for j in range(count):
        dr[j] *= one - r[j]


@compile_cached
def step_gates(inputs, recurrent, bias, before, work, after):
    """The new state ``after[N, H]`` from ``inputs[N, 3H]``, ``recurrent[N, 3H]``, ``before[N, H]``; ``work[4H]``."""
    for i in range(inputs.shape[0]):
        gates(inputs[i], recurrent[i], bias, before[i], work, after[i])


@compile_cached
def _forward_gates(t, k, inputs, recurrent, bias, keep, before, saved, output):
    """Step ``t`` of a sequence, number ``k`` of its block; also clears the state for the next step.

    Args:
        t: the step.
        k: its place in ``inputs[K, N, 3H]``, a block of the projected inputs.
        inputs: see ``k``.
        recurrent: ``[N, 3H]``, the state's projection.
        bias: ``[H]``, of the candidate's recurrent part.
        keep: ``[T, N]``, 0 where a lifetime begins.
        before: ``[T, N, H]``, states before every step; the next step's is written.
        saved: ``[T, N, 4H]``, what the way back needs, written.
        output: ``[T, N, H]``, written.
    """
    more = t + 1 < output.shape[0]
    for i in range(recurrent.shape[0]):
        gates(inputs[k, i], recurrent[i], bias, before[t, i], saved[t, i], output[t, i])
        if more:
            factor, state, kept = keep[t + 1, i], output[t, i], before[t + 1, i]
            for j in range(bias.shape[0]):
                kept[j] = factor * state[j]


@compile_cached
def clear(states, keep, kept):
    """``kept[N, H]``: the states where ``keep[N]`` is 1, zeros where it is 0."""
    for i in range(states.shape[0]):
        factor = keep[i]
        state, row = states[i], kept[i]
        for j in range(states.shape[1]):
            row[j] = factor * state[j]


@compile_cached
def _backward_gates(t, k, keep, saved, before, gradient, carried, projections):
    """Step ``t`` back, number ``k`` of its block.

    Args:
        t: the step.
        k: its place in the block ``projections``.
        keep: ``[T, N]``.
        saved: ``[T, N, 4H]``, as `_forward_gates` wrote it.
        before: ``[T, N, H]``.
        gradient: ``[T, N, H]``, of the outputs.
        carried: ``[N, H]``, gradient of the state before the next step; left in it is the direct part of that of the
            state before this step.
        projections: ``[K, N, 4H]``, written: rows as in `gates_back`.
    """
    count, more = gradient.shape[2], t + 1 < gradient.shape[0]
    for i in range(gradient.shape[1]):
        given, running = gradient[t, i], carried[i]
        factor = keep[t + 1, i] if more else np.float32(0.0)
        for j in range(count):
            running[j] = factor * running[j] + given[j]
        gates_back(saved[t, i], before[t, i], running, projections[k, i])


# Rows whose projections are in work at a time: few enough to stay in a core's second-level cache.
_BLOCK_ROWS = 1024


class _CompiledGru(torch.autograd.Function):
    """The layer on a processor: see `_torch_gru` for what it computes."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        start: torch.Tensor,
        keep: torch.Tensor,
        input_weight: torch.Tensor,
        input_bias: torch.Tensor,
        state_weight: torch.Tensor,
        state_bias: torch.Tensor,
    ) -> torch.Tensor:
        inputs, keep = inputs.contiguous(), keep.contiguous()
        steps, lanes, width = inputs.shape
        count = state_weight.shape[1]
        block = min(steps, max(1, _BLOCK_ROWS // lanes))
        from_inputs, from_state = input_weight.t().contiguous(), state_weight.t().contiguous()
        before, output = torch.empty(steps, lanes, count), torch.empty(steps, lanes, count)
        torch.mul(start, keep[0].unsqueeze(1), out=before[0])
        saved, recurrent = torch.empty(steps, lanes, 4 * count), torch.empty(lanes, 3 * count)
        projected = torch.empty(block, lanes, 3 * count)
        flat, target = inputs.view(steps * lanes, width), projected.view(block * lanes, 3 * count)
        arrays = (projected, recurrent, state_bias, keep, before, saved, output)
        bare = [array.numpy() for array in arrays]
        for t, row in enumerate(before.unbind(0)):
            k = t % block
            if k == 0:
                rows = flat[t * lanes : (t + block) * lanes]
                torch.addmm(input_bias, rows, from_inputs, out=target[: len(rows)])
            torch.mm(row, from_state, out=recurrent)
            _forward_gates(t, k, *bare)
        ctx.save_for_backward(inputs, keep, before, saved, input_weight, state_weight)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, keep, before, saved, input_weight, state_weight = ctx.saved_tensors
        steps, lanes, width = inputs.shape
        count = state_weight.shape[1]
        block = min(steps, max(1, _BLOCK_ROWS // lanes))
        projections, carried = torch.empty(block, lanes, 4 * count), torch.zeros(lanes, count)
        arrays = (keep, saved, before, gradients[0].contiguous(), carried, projections)
        bare = [array.numpy() for array in arrays]
        by_state = torch.cat([state_weight[2 * count :], state_weight[: 2 * count]])  # in the projections' order
        rows, by_row = projections[..., : 3 * count].unbind(0), projections.view(-1, 4 * count)
        states, flat = before.view(steps * lanes, count), inputs.view(steps * lanes, width)
        to_inputs = torch.empty(steps * lanes, width) if ctx.needs_input_grad[0] else None
        # The inputs' side is summed transposed: a product of few columns is slow, one of few rows is not.
        to_input_weight, to_state_weight = torch.zeros(width, 3 * count), torch.zeros(3 * count, count)
        to_bias = torch.zeros(4 * count)
        for t in range(steps - 1, -1, -1):
            k = t % block
            _backward_gates(t, k, *bare)
            torch.addmm(carried, rows[k], by_state, out=carried)
            if k == 0:
                here = slice(t * lanes, min(t + block, steps) * lanes)
                done = by_row[: here.stop - here.start]
                to_state_weight.addmm_(done[:, : 3 * count].t(), states[here])
                to_input_weight.addmm_(flat[here].t(), done[:, count:])
                to_bias += done.sum(0)
                if to_inputs is not None:
                    torch.mm(done[:, count:], input_weight, out=to_inputs[here])
        return (
            None if to_inputs is None else to_inputs.view(steps, lanes, width),
            carried * keep[0].unsqueeze(1) if ctx.needs_input_grad[1] else None,
            None,
            to_input_weight.t().contiguous(),
            to_bias[count:].clone(),
            to_state_weight.roll(-count, 0),
            to_bias[:count].clone(),
        )


def _torch_gru(
    inputs: torch.Tensor,
    start: torch.Tensor,
    keep: torch.Tensor,
    input_weight: torch.Tensor,
    input_bias: torch.Tensor,
    state_weight: torch.Tensor,
    state_bias: torch.Tensor,
) -> torch.Tensor:
    """The layer by torch's operations, for any device and precision."""
    count, state, outputs = state_weight.shape[1], start, []
    projected = torch.nn.functional.linear(inputs, input_weight, input_bias)
    across = state_weight.t()
    for x, kept in zip(projected.unbind(0), keep.unbind(0), strict=True):
        old = kept.unsqueeze(1) * state
        h = old @ across
        gates = torch.sigmoid(x[:, : 2 * count] + h[:, : 2 * count])
        r, z = gates[:, :count], gates[:, count:]
        n = torch.tanh(x[:, 2 * count :] + r * (h[:, 2 * count :] + state_bias))
        state = n + z * (old - n)
        outputs.append(state)
    return torch.stack(outputs)


class LifetimeGru(nn.Module):
    """One layer of gated recurrent units whose state is cleared where lifetimes begin.

    Attributes:
        input_weight: ``[3H, D]``, rows of the reset, update and candidate gates, as in `torch.nn.GRU`.
        input_bias: ``[3H]``.
        state_weight: ``[3H, H]``.
        state_bias: ``[H]``, of the candidate's recurrent part (the other gates have one bias).
    """

    def __init__(self, inputs: int, size: int, *, update_bias: float = 1.0) -> None:
        """Make the layer, with orthogonal weights.

        Args:
            inputs: numbers in.
            size: units.
            update_bias: of the update gate at the start: above 0 the state is kept longer before training.
        """
        super().__init__()
        self.inputs, self.size = inputs, size
        self.input_weight = nn.Parameter(torch.empty(3 * size, inputs))
        self.input_bias = nn.Parameter(torch.zeros(3 * size))
        self.state_weight = nn.Parameter(torch.empty(3 * size, size))
        self.state_bias = nn.Parameter(torch.zeros(size))
        for gate in range(3):
            rows = slice(gate * size, (gate + 1) * size)
            nn.init.orthogonal_(self.input_weight.data[rows])
            nn.init.orthogonal_(self.state_weight.data[rows])
        self.input_bias.data[size : 2 * size] = update_bias

    def forward(self, inputs: torch.Tensor, start: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """States after every step.

        Args:
            inputs: ``[T, N, D]``.
            start: state before the first step, ``[N, H]``.
            keep: ``[T, N]``: 0 where a lifetime begins with this step's input (the state is cleared first), else 1.

        Returns:
            ``[T, N, H]``.
        """
        plain = inputs.device.type == "cpu" and inputs.dtype == self.state_weight.dtype == torch.float32
        run = _CompiledGru.apply if plain else _torch_gru
        weights = (self.input_weight, self.input_bias, self.state_weight, self.state_bias)
        return run(inputs, start, keep, *weights)
