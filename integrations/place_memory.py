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

Over what is stored, ways to other places may be planned (``plans``). With S[p], a source is stored for each of some
kinds of target; and for the present place p', prices of its four ways out, which come from the present input:

    Z[p] <- c + C l              K[p'] <- softplus(d)

with c and d linear in the layer's input. `daytwo.place_values` says what follows from them: for every neighbour of the
present place and every kind, how good a way it is.

On a processor both directions of time run lane after lane in compiled code.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from daytwo.integrations.keyed_memory import mix_gates
from daytwo.integrations.ppo_loss import compile_unordered
from daytwo.place_values import (
    KINDS,
    SOFT,
    WAYS,
    credit_ways,
    find_ways,
    neighbours,
    soften,
    spread_values,
    way_between,
    weigh_ways,
)
from daytwo.places import LOOKS, PlacePlan, check_plan, find_places


@compile_unordered
def _locate(plan, observations, keep, looked):
    """The places looked at, ``looked[T + 1, N, LOOKS]``, of which the first row is given: see `find_places`."""
    for t in range(len(observations)):
        for i in range(observations.shape[1]):
            looked[t + 1, i] = looked[t, i]
            find_places(plan, observations[t, i], keep[t, i] == np.float32(0.0), looked[t + 1, i])


@compile_unordered
def _forward(projections, start, keep, weights, near, width, first, base, looked, parts, out, planned, ways, contents):
    """All steps of all lanes.

    Args:
        projections: ``[T, N, 2V + C + D]``: candidate and gate before their non-linearities, sources, and what prices
            come from (C and D are `KINDS` and `WAYS` where ways are planned, else 0).
        start: ``[N, P, V + C + D]``, contents, sources and prices before the first step.
        keep: ``[T, N]``, 0 where a lifetime begins.
        weights: ``[2V + C, LOOKS V]``: A over B over C.
        near: ``int64[P, WAYS]``: see `neighbours`.
        width: columns of the grid.
        first: ``[P, C]``, sources of places of which nothing is stored.
        base: what every step costs, above 0.
        looked: ``int64[T + 1, N, LOOKS]``: places looked at, before the first step and at every step; -1 for none.
        parts: ``[T, N, LOOKS V + 2V + D]``, written: what was looked at, candidate, gate, and slopes of prices.
        out: ``[T, N, LOOKS, V]``, written.
        planned: ``[T, N, 1 + WAYS, C]``, written: see `weigh_ways`.
        ways: ``int8[T, N, P, C]``, written: see `find_ways`.
        contents: ``[N, P, V + C + D]``, written: what is stored after the last step.
    """
    steps, lanes, size, kinds = out.shape[0], out.shape[1], out.shape[3], planned.shape[3]
    every = LOOKS * size
    zero, one = np.float32(0.0), np.float32(1.0)
    values, queue = np.empty(first.shape, dtype=np.float32), np.empty((2, len(near)), dtype=np.int64)
    for i in range(lanes):
        kept = contents[i]
        kept[:] = start[i]
        for t in range(steps):
            saved, projected, begins = parts[t, i], projections[t, i], keep[t, i] == zero
            if begins:
                kept[:] = zero
            seen, candidate, gate = saved[:every], saved[every : every + size], saved[every + size : every + 2 * size]
            for q in range(LOOKS):
                place = -1 if begins else looked[t, i, q]
                for v in range(size):
                    seen[q * size + v] = kept[place, v] if place >= 0 else zero
            mix_gates(projected, weights, seen, candidate, gate)
            if not begins and looked[t, i, 0] >= 0:
                here = kept[looked[t, i, 0]]
                for v in range(size):
                    here[v] += gate[v] * (candidate[v] - here[v])
                for c in range(kinds):
                    total, line = projected[2 * size + c], weights[2 * size + c]
                    for j in range(every):
                        total += line[j] * seen[j]
                    here[size + c] = total
            for q in range(LOOKS):
                place, row = looked[t + 1, i, q], out[t, i, q]
                for v in range(size):
                    row[v] = kept[place, v] if place >= 0 else zero
            if kinds:
                now = looked[t + 1, i]
                for k in range(WAYS):
                    price = projected[2 * size + kinds + k]
                    saved[every + 2 * size + k] = one / (one + np.exp(-price))
                    if now[0] >= 0 and now[1 + k] >= 0:
                        way = way_between(width, now[0], now[1 + k])
                        kept[now[0], size + kinds + way] = soften(price)
                spread_values(near, base, first, kept, values, queue)
                find_ways(near, base, first, kept, values, ways[t, i])
                weigh_ways(width, base, kept, values, now, planned[t, i])


@compile_unordered
def _backward(
    keep,
    weights,
    near,
    width,
    looked,
    parts,
    planned,
    ways,
    gradients,
    to_planned,
    to_projections,
    to_weights,
    to_first,
):
    """All gradients; the arguments are those of `_forward`.

    Args:
        keep: see `_forward`, and so on.
        weights: as there.
        near: as there.
        width: as there.
        looked: as there.
        parts: as there.
        planned: as there.
        ways: as there.
        gradients: ``[T, N, LOOKS, V]``, of ``out``.
        to_planned: ``[T, N, 1 + WAYS, C]``, of ``planned``.
        to_projections: ``[T, N, 2V + C + D]``, written.
        to_weights: ``[2V + C, LOOKS V]``, added to.
        to_first: ``[P, C]``, added to.

    Returns:
        The gradient of what every step costs.
    """
    steps, lanes, _, size = gradients.shape
    places, kinds = to_first.shape
    every = LOOKS * size
    zero, one = np.float32(0.0), np.float32(1.0)
    to_base = zero
    carried = np.empty((places, size + kinds + (WAYS if kinds else 0)), dtype=np.float32)
    to_seen = np.empty(every, dtype=np.float32)
    for i in range(lanes):
        carried[:] = zero
        for t in range(steps - 1, -1, -1):
            saved, row, begins = parts[t, i], to_projections[t, i], keep[t, i] == zero
            row[:] = zero
            if kinds:
                now = looked[t + 1, i]
                given, row_ways = to_planned[t, i], ways[t, i]
                to_base += credit_ways(near, width, now, planned[t, i], given, row_ways, carried, to_first)
                for k in range(WAYS):
                    if now[0] >= 0 and now[1 + k] >= 0:
                        at = size + kinds + way_between(width, now[0], now[1 + k])
                        row[2 * size + kinds + k] = carried[now[0], at] * saved[every + 2 * size + k]
                        carried[now[0], at] = zero
            for q in range(LOOKS):
                place, given = looked[t + 1, i, q], gradients[t, i, q]
                if place >= 0:
                    for v in range(size):
                        carried[place, v] += given[v]
            if begins:
                carried[:] = zero
            if begins or looked[t, i, 0] < 0:
                continue
            to_here = carried[looked[t, i, 0]]
            for v in range(size):
                there, candidate, gate = saved[v], saved[every + v], saved[every + size + v]
                change = to_here[v]
                row[v] = change * gate * (one - candidate * candidate)
                row[size + v] = change * (candidate - there) * gate * (one - gate)
                to_here[v] = change * (one - gate)
            for c in range(kinds):
                row[2 * size + c] = to_here[size + c]
                to_here[size + c] = zero
            for j in range(every):
                to_seen[j] = zero
            for v in range(2 * size + kinds):
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
    return to_base


class _CompiledPlaces(torch.autograd.Function):
    """The layer on a processor: see `_torch_places` for what it computes; no gradient reaches ``start``."""

    @staticmethod
    def forward(
        ctx: Any,
        projections: torch.Tensor,
        start: torch.Tensor,
        keep: torch.Tensor,
        weights: torch.Tensor,
        first: torch.Tensor,
        base: torch.Tensor,
        looked: torch.Tensor,
        width: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        projections, start, keep = projections.contiguous(), start.contiguous(), keep.contiguous()
        weights, first = weights.detach().contiguous(), first.detach().contiguous()
        steps, lanes, _ = projections.shape
        (places, kinds), size = first.shape, weights.shape[1] // LOOKS
        parts = torch.zeros(steps, lanes, (LOOKS + 2) * size + (WAYS if kinds else 0))
        out, planned = torch.empty(steps, lanes, LOOKS, size), torch.empty(steps, lanes, 1 + WAYS, kinds)
        ways = torch.empty(steps, lanes, places, kinds, dtype=torch.int8)
        contents = torch.empty_like(start)
        given = (array.numpy() for array in (projections, start, keep, weights))
        settings = (neighbours(width, places // width), width, first.numpy(), np.float32(base.item()))
        others = (array.numpy() for array in (looked, parts, out, planned, ways, contents))
        _forward(*(*given, *settings, *others))
        ctx.save_for_backward(keep, weights, looked, parts, planned, ways)
        ctx.width = width
        ctx.mark_non_differentiable(contents)
        return out, planned, contents

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        keep, weights, looked, parts, planned, ways = (tensor.detach().numpy() for tensor in ctx.saved_tensors)
        steps, lanes, _ = parts.shape
        to_weights, to_first = torch.zeros(weights.shape), torch.zeros(ways.shape[2:])
        to_projections = torch.empty(steps, lanes, len(weights) + (WAYS if ways.shape[3] else 0))
        near = neighbours(ctx.width, ways.shape[2] // ctx.width)
        given = (gradient.contiguous().numpy() for gradient in gradients[:2])
        wanted = (array.numpy() for array in (to_projections, to_weights, to_first))
        saved = (keep, weights, near, ctx.width, looked, parts, planned, ways)
        to_base = _backward(*saved, *given, *wanted)
        return to_projections, None, None, to_weights, to_first, torch.full((1,), float(to_base)), None, None


def _worth(stored: torch.Tensor, first: torch.Tensor, base: torch.Tensor, width: int) -> torch.Tensor:
    """What places are worth, ``[N, P, C]``: see `spread_values`."""
    places = len(first)
    sources, prices = first + stored[..., -KINDS - WAYS : -WAYS], base + stored[..., -WAYS:]
    reached = torch.from_numpy(neighbours(width, places // width)).to(first.device)
    blocked = torch.where(reached < 0, torch.inf, 0.0).to(stored)
    values = sources
    while True:
        ahead = values[:, reached.clamp(min=0)] - (prices + blocked).unsqueeze(-1)
        new = torch.maximum(sources, ahead.amax(dim=2))
        if bool((new == values).all()):
            return values
        values = new


def _ways_between(now: torch.Tensor, width: int) -> torch.Tensor:
    """The ways out of places that lead to their neighbours, ``int64[N, WAYS]``: see `way_between`."""
    steps = now[:, 1:] - now[:, :1]
    return torch.where(steps == width, 2, torch.where(steps == -width, 0, torch.where(steps == 1, 1, 3)))


def _weigh(
    values: torch.Tensor, stored: torch.Tensor, base: torch.Tensor, now: torch.Tensor, width: int
) -> torch.Tensor:
    """How good the ways out of a place are, ``[N, 1 + WAYS, C]``: see `weigh_ways`."""
    lanes, here, there = torch.arange(len(now), device=now.device), now[:, 0].clamp(min=0), now[:, 1:]
    column = stored.shape[2] - WAYS + _ways_between(now, width)
    prices = base + stored[lanes[:, None], here[:, None], column]
    worth = values[lanes[:, None], there.clamp(min=0)] - prices.unsqueeze(-1)
    worth = worth.masked_fill((there < 0).unsqueeze(-1), -torch.inf)
    known = ((now[:, 0] >= 0) & (there >= 0).any(dim=1))[:, None, None]
    worth = torch.where(known, worth, torch.zeros_like(worth))
    row = torch.cat([torch.softmax(worth, dim=1), torch.tanh(float(SOFT) * worth.amax(dim=1, keepdim=True))], dim=1)
    return torch.where(known, row, torch.zeros_like(row))


def _torch_places(
    projections: torch.Tensor,
    start: torch.Tensor,
    keep: torch.Tensor,
    weights: torch.Tensor,
    first: torch.Tensor,
    base: torch.Tensor,
    looked: torch.Tensor,
    width: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All steps of all lanes by torch's operations, for any device and precision.

    Args:
        projections: ``[T, N, 2V + C + D]``: candidate and gate before their non-linearities, sources, and what prices
            come from (C and D are `KINDS` and `WAYS` where ways are planned, else 0).
        start: ``[N, P, V + C + D]``, contents, sources and prices before the first step; no gradient reaches them.
        keep: ``[T, N]``, 0 where a lifetime begins.
        weights: ``[2V + C, LOOKS V]``: A over B over C.
        first: ``[P, C]``, sources of places of which nothing is stored.
        base: what every step costs, above 0.
        looked: ``int64[T + 1, N, LOOKS]``: places looked at, before the first step and at every step; -1 for none.
        width: columns of the grid.

    Returns:
        What is read, ``[T, N, LOOKS, V]``, what is planned, ``[T, N, 1 + WAYS, C]``, and what is stored after the last
        step.
    """
    size, kinds = weights.shape[1] // LOOKS, first.shape[1]
    # A last place that stays empty stands for none.
    contents = torch.nn.functional.pad(start.detach(), (0, 0, 0, 1))
    none, outputs, plans = start.shape[1], [], []
    lanes = torch.arange(len(start), device=start.device)
    for row, kept, last, now in zip(projections, keep, looked[:-1], looked[1:], strict=True):
        contents = kept[:, None, None] * contents
        before = torch.where((last < 0) | (kept[:, None] == 0), none, last)
        seen = contents[lanes[:, None], before]
        mixed = row[:, : len(weights)] + torch.nn.functional.linear(seen[..., :size].flatten(1), weights)
        candidate, gate, sources = mixed.split([size, size, kinds], dim=1)
        change = torch.sigmoid(gate) * (torch.tanh(candidate) - seen[:, 0, :size])
        change = torch.cat([change, sources - seen[:, 0, size : size + kinds]], dim=1) * (before[:, :1] < none)
        change = torch.nn.functional.pad(change, (0, contents.shape[2] - change.shape[1]))
        contents = contents.index_put((lanes, before[:, 0]), change, accumulate=True)
        if kinds:
            lane, k = torch.nonzero((now[:, :1] >= 0) & (now[:, 1:] >= 0), as_tuple=True)
            column = size + kinds + _ways_between(now, width)[lane, k]
            prices = torch.nn.functional.softplus(row[lane, len(weights) + k])
            contents = contents.index_put((lane, now[lane, 0], column), prices)
            values = _worth(contents[:, :none], first, base, width)
            plans.append(_weigh(values, contents, base, now, width))
        outputs.append(contents[lanes[:, None], torch.where(now < 0, none, now)][..., :size])
    planned = torch.stack(plans) if kinds else projections.new_zeros(*projections.shape[:2], 1 + WAYS, 0)
    return torch.stack(outputs), planned, contents[:, :none].detach()


class PlaceMemory(nn.Module):
    """Contents of places, cleared where lifetimes begin; see the module's description.

    Attributes:
        plan: ``int64[8]``, how places are told: a `daytwo.places.PlacePlan`.
        kinds: C, of targets that ways are planned to.
        weight: ``[2V + C + D, I]``: from the layer's input to the candidate, the gate, sources and prices.
        bias: ``[2V + C + D]``.
        content_weight: ``[2V + C, LOOKS V]``: A over B over C.
        source: ``[P, C]``, sources of places of which nothing is stored; None without plans.
        price: of every step, before it is made positive; None without plans.
    """

    def __init__(self, plan: PlacePlan, observed: int, inputs: int, value_size: int = 16, plans: bool = False) -> None:
        """Make the layer.

        Args:
            plan: how places are told.
            observed: numbers of an observation.
            inputs: I, numbers in.
            value_size: V, numbers of a place's content.
            plans: whether ways are planned.

        Raises:
            ValueError: the plan does not fit the observation.
        """
        super().__init__()
        check_plan(plan, observed)
        self.value_size, self.places, self.width = value_size, plan.width * plan.height, plan.width
        self.kinds = KINDS if plans else 0
        self.plan: torch.Tensor
        self.register_buffer("plan", torch.tensor(plan))
        written = 2 * value_size + self.kinds
        rows = written + (WAYS if plans else 0)
        self.weight = nn.Parameter(torch.empty(rows, inputs))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.content_weight = nn.Parameter(torch.zeros(written, LOOKS * value_size))
        for part in self.weight.data[: 2 * value_size].split(value_size):
            nn.init.orthogonal_(part)
        # Little is written before it is known what is worth it.
        self.bias.data[value_size : 2 * value_size] = -1.0
        self.source = self.price = None
        if plans:
            self.source = nn.Parameter(torch.zeros(self.places, KINDS))
            self.price = nn.Parameter(torch.zeros(1))
            for part in self.weight.data[2 * value_size :].split([KINDS, WAYS]):
                nn.init.orthogonal_(part, 0.3)
            self.bias.data[written:] = -2.0

    @property
    def size(self) -> int:
        """Numbers of the state: what is stored, and the places looked at, counted from 1, so that 0 is none."""
        return self.places * self.stored + LOOKS

    @property
    def stored(self) -> int:
        """Numbers that are stored for a place."""
        return len(self.weight) - self.value_size

    @property
    def outputs(self) -> int:
        """Numbers that are read and planned."""
        return LOOKS * self.value_size + (1 + WAYS) * self.kinds

    def forward(
        self, observations: torch.Tensor, inputs: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is read and planned at every step.

        Args:
            observations: ``[T, N, 2 O]``: the present ones and those before, as they are observed.
            inputs: ``[T, N, I]``.
            start: the state before the first step, ``[N, size]``; no gradient reaches it.
            keep: ``[T, N]``: 0 where a lifetime begins with this step's input (the state is cleared first), else 1.

        Returns:
            ``[T, N, LOOKS V + (1 + WAYS) C]``, and the state after the last step, ``[N, size]``.
        """
        stored = self.places * self.stored
        contents = start[:, :stored].view(len(start), self.places, self.stored)
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
        source = self.weight.new_zeros(self.places, 0) if self.source is None else self.source
        base = self.weight.new_zeros(1) if self.price is None else torch.nn.functional.softplus(self.price)
        plain = projections.device.type == "cpu" and projections.dtype == torch.float32
        run = _CompiledPlaces.apply if plain else _torch_places
        out, planned, after = run(projections, contents, keep, self.content_weight, source, base, places, self.width)
        last = (places[-1] + 1).to(start.dtype)
        return torch.cat([out.flatten(2), planned.flatten(2)], dim=2), torch.cat([after.flatten(1), last], dim=1)


__all__ = ["PlaceMemory"]
