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

from daytwo.kernels import compile_cached


@register_jitable
def _tanh(x):
    """Tanh in single precision, to 4e-7, in a form that compiles to vector instructions.

    A minimax rational function on [-9, 9], beyond which tanh is 1 in single precision.
    """
    x = min(max(x, np.float32(-7.90531110763549805)), np.float32(7.90531110763549805))
    square = x * x
    top = np.float32(-2.76076847742355e-16) * square + np.float32(2.00018790482477e-13)
    top = top * square + np.float32(-8.60467152213735e-11)
    top = top * square + np.float32(5.12229709037114e-08)
    top = top * square + np.float32(1.48572235717979e-05)
    top = top * square + np.float32(6.37261928875436e-04)
    top = top * square + np.float32(4.89352455891786e-03)
    bottom = np.float32(1.19825839466702e-06) * square + np.float32(1.18534705686654e-04)
    bottom = bottom * square + np.float32(2.26843463243900e-03)
    bottom = bottom * square + np.float32(4.89352518554385e-03)
    return x * top / bottom


@register_jitable
def _sigmoid(x):
    return np.float32(0.5) + np.float32(0.5) * _tanh(np.float32(0.5) * x)


# The loops below are cut into passes of few arrays each: the compiler turns a loop into vector instructions only if it
# can check cheaply that its arrays do not overlap. In one pass over all of them the gates take ten times as long.


@register_jitable
def _gates(x, h, bias, old, saved, new):
    """The new state of one row; ``saved[4H]``: reset, update, candidate, and the candidate's recurrent part."""
    count = bias.shape[0]
    r, z, n, part = saved[:count], saved[count : 2 * count], saved[2 * count : 3 * count], saved[3 * count :]
    last_x, last_h = x[2 * count :], h[2 * count :]
    for j in range(2 * count):
        saved[j] = _sigmoid(x[j] + h[j])
    for j in range(count):
        part[j] = last_h[j] + bias[j]
    for j in range(count):
        n[j] = last_x[j] + r[j] * part[j]
    for j in range(count):
        n[j] = _tanh(n[j])
    for j in range(count):
        new[j] = n[j] + z[j] * (old[j] - n[j])


@compile_cached
def step_gates(inputs, recurrent, bias, before, work, after):
    """The new state ``after[N, H]`` from ``inputs[N, 3H]``, ``recurrent[N, 3H]``, ``before[N, H]``; ``work[4H]``."""
    for i in range(inputs.shape[0]):
        _gates(inputs[i], recurrent[i], bias, before[i], work, after[i])


@compile_cached
def _forward_gates(inputs, recurrent, bias, before, gates, after):
    """One step forward that keeps what the way back needs in ``gates[N, 4H]``."""
    for i in range(inputs.shape[0]):
        _gates(inputs[i], recurrent[i], bias, before[i], gates[i], after[i])


@compile_cached
def clear(states, keep, kept):
    """``kept[N, H]``: the states where ``keep[N]`` is 1, zeros where it is 0."""
    for i in range(states.shape[0]):
        factor = keep[i]
        state, row = states[i], kept[i]
        for j in range(states.shape[1]):
            row[j] = factor * state[j]


@compile_cached
def _backward_gates(gates, before, gradient, carried, to_inputs, to_recurrent):
    """One step back: from ``gradient[N, H]`` of the step's output and ``carried[N, H]`` of the step after it.

    Leaves the gradients of both projections, and in ``carried`` the direct part of that of the state before.
    """
    count = gradient.shape[1]
    one = np.float32(1.0)
    for i in range(gradient.shape[0]):
        saved, old, given, running, x, h = gates[i], before[i], gradient[i], carried[i], to_inputs[i], to_recurrent[i]
        r, z, n, part = saved[:count], saved[count : 2 * count], saved[2 * count : 3 * count], saved[3 * count :]
        dr, dz, dn = x[:count], x[count : 2 * count], x[2 * count :]
        first, last = h[: 2 * count], h[2 * count :]
        for j in range(count):
            running[j] += given[j]
        for j in range(count):
            dn[j] = running[j] * (one - z[j])
        for j in range(count):
            dn[j] *= one - n[j] * n[j]
        for j in range(count):
            dz[j] = running[j] * (old[j] - n[j])
        for j in range(count):
            dz[j] *= z[j] * (one - z[j])
        for j in range(count):
            dr[j] = dn[j] * part[j]
        for j in range(count):
            dr[j] *= r[j] * (one - r[j])
        for j in range(2 * count):
            first[j] = x[j]
        for j in range(count):
            last[j] = dn[j] * r[j]
        for j in range(count):
            running[j] *= z[j]


class _CompiledGru(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, start: torch.Tensor, keep: torch.Tensor, weight: torch.Tensor,
                bias: torch.Tensor) -> torch.Tensor:  # fmt: skip
        steps, lanes, _ = inputs.shape
        count = weight.shape[1]
        across = weight.t().contiguous()
        before, output = torch.empty(steps, lanes, count), torch.empty(steps, lanes, count)
        gates, recurrent = torch.empty(steps, lanes, 4 * count), torch.empty(lanes, 3 * count)
        x, kept, b = inputs.contiguous().numpy(), keep.contiguous().numpy(), bias.numpy()
        old, new, saved, projected = before.numpy(), output.numpy(), gates.numpy(), recurrent.numpy()
        state = start.contiguous().numpy()
        for t, row in enumerate(before.unbind(0)):
            clear(state, kept[t], old[t])
            torch.mm(row, across, out=recurrent)
            _forward_gates(x[t], projected, b, old[t], saved[t], new[t])
            state = new[t]
        ctx.save_for_backward(before, gates, keep, weight)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        before, gates, keep, weight = ctx.saved_tensors
        steps, lanes, count = before.shape
        to_inputs, to_recurrent = torch.empty(steps, lanes, 3 * count), torch.empty(steps, lanes, 3 * count)
        carried = torch.zeros(lanes, count)
        given, saved, old = gradients[0].contiguous().numpy(), gates.numpy(), before.numpy()
        x, h, running, kept = to_inputs.numpy(), to_recurrent.numpy(), carried.numpy(), keep.contiguous().numpy()
        rows = to_recurrent.unbind(0)
        for t in range(steps - 1, -1, -1):
            _backward_gates(saved[t], old[t], given[t], running, x[t], h[t])
            torch.addmm(carried, rows[t], weight, out=carried)
            clear(running, kept[t], running)
        flat = to_recurrent.view(steps * lanes, 3 * count)
        to_weight = flat.t() @ before.view(steps * lanes, count)
        to_bias = flat[:, 2 * count :].sum(0)
        # The candidate's recurrent bias is inside the product with the reset gate, as in torch's cell.
        return to_inputs, carried, None, to_weight, to_bias


def _torch_gru(inputs: torch.Tensor, start: torch.Tensor, keep: torch.Tensor, weight: torch.Tensor,
               bias: torch.Tensor) -> torch.Tensor:  # fmt: skip
    """The same by torch's operations, for any device and precision."""
    count, state, outputs = weight.shape[1], start, []
    across = weight.t()
    for x, kept in zip(inputs.unbind(0), keep.unbind(0), strict=True):
        old = kept.unsqueeze(1) * state
        h = old @ across
        gates = torch.sigmoid(x[:, : 2 * count] + h[:, : 2 * count])
        r, z = gates[:, :count], gates[:, count:]
        n = torch.tanh(x[:, 2 * count :] + r * (h[:, 2 * count :] + bias))
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
        projected = torch.nn.functional.linear(inputs, self.input_weight, self.input_bias)
        plain = projected.device.type == "cpu" and projected.dtype == torch.float32
        run = _CompiledGru.apply if plain else _torch_gru
        return run(projected, start, keep, self.state_weight, self.state_bias)
