"""A memory with a content for every place, beside a recurrent network's state.

Who walks about in a room or a maze has to know what is where, and a state of some dozens of units has no room for that.
Here every place of a grid has a content of its own. What came of being at a place is written there one step later, and
what is known of the present place and of its four neighbours is read: such is a map that is seen from where one stands,
in the direction in which one looks (Neural Map: Parisotto & Salakhutdinov 2017, arXiv 1702.08360, section 3, with
look-ups of the neighbourhood in place of its convolutions over the whole map). What is written is a gated function of
what was looked at before, the neighbours included, so that distances can spread from place to place as one walks:

    l = S[p], S[ahead], S[right], S[behind], S[left]    what was looked at in the step before
    S[p] <- S[p] + sigmoid(b + B l) * (tanh(a + A l) - S[p])
    y = S[p'], S[ahead'], ...                           what is looked at now

with a and b linear in the layer's input. `daytwo.places` says how a place is told from what is seen.

On a processor both directions of time run lane after lane in compiled code.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from daytwo.integrations.keyed_memory import mix_gates
from daytwo.integrations.ppo_loss import compile_unordered
from daytwo.places import LOOKS, PlacePlan, check_plan, find_places


@compile_unordered
def _locate(plan, observations, keep, looked):
    """The places looked at, ``looked[T + 1, N, LOOKS]``, of which the first row is given: see `find_places`."""
    for t in range(len(observations)):
        for i in range(observations.shape[1]):
            looked[t + 1, i] = looked[t, i]
            find_places(plan, observations[t, i], keep[t, i] == np.float32(0.0), looked[t + 1, i])


@compile_unordered
def _forward(projections, start, keep, weights, looked, parts, out, contents):
    """All steps of all lanes.

    Args:
        projections: ``[T, N, 2V]``: candidate and gate before their non-linearities.
        start: ``[N, P, V]``, contents before the first step.
        keep: ``[T, N]``, 0 where a lifetime begins.
        weights: ``[2V, LOOKS V]``: A over B.
        looked: ``int64[T + 1, N, LOOKS]``: places looked at, before the first step and at every step; -1 for none.
        parts: ``[T, N, LOOKS V + 2V]``, written: what was looked at, candidate and gate.
        out: ``[T, N, LOOKS, V]``, written.
        contents: ``[N, P, V]``, written: contents after the last step.
    """
    steps, lanes, size = out.shape[0], out.shape[1], out.shape[3]
    every = LOOKS * size
    zero = np.float32(0.0)
    for i in range(lanes):
        kept = contents[i]
        kept[:] = start[i]
        for t in range(steps):
            saved, begins = parts[t, i], keep[t, i] == zero
            if begins:
                kept[:] = zero
            seen, candidate, gate = saved[:every], saved[every : every + size], saved[every + size :]
            for q in range(LOOKS):
                place = -1 if begins else looked[t, i, q]
                for v in range(size):
                    seen[q * size + v] = kept[place, v] if place >= 0 else zero
            mix_gates(projections[t, i], weights, seen, candidate, gate)
            if not begins and looked[t, i, 0] >= 0:
                here = kept[looked[t, i, 0]]
                for v in range(size):
                    here[v] += gate[v] * (candidate[v] - here[v])
            for q in range(LOOKS):
                place, row = looked[t + 1, i, q], out[t, i, q]
                for v in range(size):
                    row[v] = kept[place, v] if place >= 0 else zero


@compile_unordered
def _backward(keep, weights, looked, parts, gradients, places, to_projections, to_weights):
    """All gradients; the arguments are those of `_forward`.

    Args:
        keep: see `_forward`, and so on.
        weights: as there.
        looked: as there.
        parts: as there.
        gradients: ``[T, N, LOOKS, V]``, of ``out``.
        places: P.
        to_projections: ``[T, N, 2V]``, written.
        to_weights: ``[2V, LOOKS V]``, added to.
    """
    steps, lanes, _, size = gradients.shape
    every = LOOKS * size
    zero, one = np.float32(0.0), np.float32(1.0)
    carried, to_seen = np.empty((places, size), dtype=np.float32), np.empty(every, dtype=np.float32)
    for i in range(lanes):
        carried[:] = zero
        for t in range(steps - 1, -1, -1):
            saved, row, begins = parts[t, i], to_projections[t, i], keep[t, i] == zero
            for q in range(LOOKS):
                place, given = looked[t + 1, i, q], gradients[t, i, q]
                if place >= 0:
                    for v in range(size):
                        carried[place, v] += given[v]
            if begins or looked[t, i, 0] < 0:
                for v in range(2 * size):
                    row[v] = zero
                if begins:
                    carried[:] = zero
                continue
            to_here = carried[looked[t, i, 0]]
            for v in range(size):
                there, candidate, gate = saved[v], saved[every + v], saved[every + size + v]
                change = to_here[v]
                row[v] = change * gate * (one - candidate * candidate)
                row[size + v] = change * (candidate - there) * gate * (one - gate)
                to_here[v] = change * (one - gate)
            for j in range(every):
                to_seen[j] = zero
            for v in range(2 * size):
                slope, line, to_line = row[v], weights[v], to_weights[v]
                for j in range(every):
                    to_seen[j] += slope * line[j]
                for j in range(every):
                    to_line[j] += slope * saved[j]
            for q in range(LOOKS):
                place = looked[t, i, q]
                if place >= 0:
                    for v in range(size):
                        carried[place, v] += to_seen[q * size + v]


class _CompiledPlaces(torch.autograd.Function):
    """The layer on a processor: see `_torch_places` for what it computes; no gradient reaches ``start``."""

    @staticmethod
    def forward(
        ctx: Any,
        projections: torch.Tensor,
        start: torch.Tensor,
        keep: torch.Tensor,
        weights: torch.Tensor,
        looked: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        projections, start, keep = projections.contiguous(), start.contiguous(), keep.contiguous()
        weights = weights.contiguous()
        steps, lanes, _ = projections.shape
        size = start.shape[2]
        parts, out = torch.empty(steps, lanes, (LOOKS + 2) * size), torch.empty(steps, lanes, LOOKS, size)
        contents = torch.empty_like(start)
        arrays = (projections, start, keep, weights.detach(), looked, parts, out, contents)
        _forward(*(array.numpy() for array in arrays))
        ctx.save_for_backward(keep, weights, looked, parts)
        ctx.places = start.shape[1]
        ctx.mark_non_differentiable(contents)
        return out, contents

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        keep, weights, looked, parts = (tensor.detach().numpy() for tensor in ctx.saved_tensors)
        to_projections = torch.empty(*gradients[0].shape[:2], len(weights))
        to_weights = torch.zeros(weights.shape)
        given = gradients[0].contiguous().numpy()
        _backward(keep, weights, looked, parts, given, ctx.places, to_projections.numpy(), to_weights.numpy())
        return to_projections, None, None, to_weights, None


def _torch_places(
    projections: torch.Tensor, start: torch.Tensor, keep: torch.Tensor, weights: torch.Tensor, looked: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer by torch's operations, for any device and precision."""
    size = start.shape[2]
    # A last place that stays empty stands for none.
    contents = torch.nn.functional.pad(start.detach(), (0, 0, 0, 1))
    none, outputs = start.shape[1], []
    lanes = torch.arange(len(start), device=start.device)
    for row, kept, last, now in zip(projections, keep, looked[:-1], looked[1:], strict=True):
        contents = kept[:, None, None] * contents
        before = torch.where((last < 0) | (kept[:, None] == 0), none, last)
        seen = contents[lanes[:, None], before]
        mixed = row + torch.nn.functional.linear(seen.flatten(1), weights)
        change = torch.sigmoid(mixed[:, size:]) * (torch.tanh(mixed[:, :size]) - seen[:, 0])
        change = change * (before[:, :1] < none)
        contents = contents.index_put((lanes, before[:, 0]), change, accumulate=True)
        outputs.append(contents[lanes[:, None], torch.where(now < 0, none, now)])
    return torch.stack(outputs), contents[:, :none].detach()


def run_places(
    projections: torch.Tensor, start: torch.Tensor, keep: torch.Tensor, weights: torch.Tensor, looked: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """All steps of all lanes, compiled where that can be.

    Args:
        projections: ``[T, N, 2V]``: candidate and gate before their non-linearities.
        start: ``[N, P, V]``, contents before the first step; no gradient reaches them.
        keep: ``[T, N]``, 0 where a lifetime begins.
        weights: ``[2V, LOOKS V]``: A over B.
        looked: ``int64[T + 1, N, LOOKS]``: places looked at, before the first step and at every step; -1 for none.

    Returns:
        What is read, ``[T, N, LOOKS, V]``, and the contents after the last step.
    """
    plain = projections.device.type == "cpu" and projections.dtype == weights.dtype == torch.float32
    return (_CompiledPlaces.apply if plain else _torch_places)(projections, start, keep, weights, looked)


class PlaceMemory(nn.Module):
    """Contents of places, cleared where lifetimes begin; see the module's description.

    Attributes:
        plan: ``int64[8]``, how places are told: a `daytwo.places.PlacePlan`.
        weight: ``[2V, D]``: from the layer's input to the candidate and the gate.
        bias: ``[2V]``.
        content_weight: ``[2V, LOOKS V]``: A over B.
    """

    def __init__(self, plan: PlacePlan, observed: int, inputs: int, value_size: int = 16) -> None:
        """Make the layer.

        Args:
            plan: how places are told.
            observed: numbers of an observation.
            inputs: D, numbers in.
            value_size: V, numbers of a place's content.

        Raises:
            ValueError: the plan does not fit the observation.
        """
        super().__init__()
        check_plan(plan, observed)
        self.value_size, self.places = value_size, plan.width * plan.height
        self.plan: torch.Tensor
        self.register_buffer("plan", torch.tensor(plan))
        self.weight = nn.Parameter(torch.empty(2 * value_size, inputs))
        self.bias = nn.Parameter(torch.zeros(2 * value_size))
        self.content_weight = nn.Parameter(torch.zeros(2 * value_size, LOOKS * value_size))
        for part in self.weight.data.split(value_size):
            nn.init.orthogonal_(part)
        # Little is written before it is known what is worth it.
        self.bias.data[value_size:] = -1.0

    @property
    def size(self) -> int:
        """Numbers of the state: contents, and the places looked at, counted from 1, so that 0 is none."""
        return self.places * self.value_size + LOOKS

    @property
    def outputs(self) -> int:
        """Numbers that are read."""
        return LOOKS * self.value_size

    def forward(
        self, observations: torch.Tensor, inputs: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is read at every step.

        Args:
            observations: ``[T, N, 2 O]``: the present ones and those before, as they are observed.
            inputs: ``[T, N, D]``.
            start: the state before the first step, ``[N, size]``; no gradient reaches it.
            keep: ``[T, N]``: 0 where a lifetime begins with this step's input (the state is cleared first), else 1.

        Returns:
            ``[T, N, LOOKS V]``, and the state after the last step, ``[N, size]``.
        """
        stored = self.places * self.value_size
        contents = start[:, :stored].view(len(start), self.places, self.value_size)
        looked = np.empty((len(observations) + 1, len(start), LOOKS), dtype=np.int64)
        looked[0] = start[:, stored:].cpu().numpy().astype(np.int64) - 1
        _locate(
            self.plan.cpu().numpy(),
            observations.detach().cpu().contiguous().numpy(),
            keep.detach().cpu().contiguous().numpy(),
            looked,
        )
        projections = torch.nn.functional.linear(inputs, self.weight, self.bias)
        places = torch.from_numpy(looked).to(start.device)
        out, after = run_places(projections, contents, keep, self.content_weight, places)
        last = (places[-1] + 1).to(start.dtype)
        return out.flatten(2), torch.cat([after.flatten(1), last], dim=1)


__all__ = ["PlaceMemory", "run_places"]
