"""A recurrent network over items of one kind and a hub that all of them are connected to, over whole lifetimes.

Every item has a state of its own, and all items have the same weights: what one of them has learnt to do with its
state, all can do. Items send messages to the hub, a recurrent layer that sees their mean, and each sees the hub. So
the network's outputs do not depend on the order of the items, but for the items' own outputs, which go with them
(for sets: Zaheer et al. 2017, arXiv 1703.06114; for meta-learners, whose way of learning then serves any arm: Kirsch et
al. 2022, arXiv 2109.10781). At every step, for n items with codes e_i:

    m = sum_i tanh(M e_i + N h_i) / sqrt(n)     what the items say
    g <- GRU([y, m], g)                         the hub, y what it sees
    h_i <- GRU([e_i, g], h_i)                   the items

or, with a dense layer before the hub, g <- GRU(tanh(Q [y, m] + q), g): what follows from what several items say, such
as whether just one of two is true, is then there at once.

On a processor matrix products are torch's and everything else runs in compiled code, without building a graph.
"""

from typing import Any

import numpy as np
import torch

from daytwo.activations import fast_tanh, gates
from daytwo.integrations.gru import gates_back
from daytwo.kernels import compile_cached


@compile_cached
def _say(t, codes, from_items, scale, said, means):
    """What the items say at step ``t``.

    Args:
        t: the step.
        codes: ``[T, N, n, P]``.
        from_items: ``[N, n, 3H + P]``, projections of the items' states; the last P numbers count.
        scale: one over the square root of n.
        said: ``[T, N, n, P]``, written.
        means: ``[T, N, P]``, written.
    """
    lanes, items, size = codes.shape[1:]
    ahead = from_items.shape[2] - size
    for i in range(lanes):
        mean = means[t, i]
        for p in range(size):
            mean[p] = np.float32(0.0)
        for k in range(items):
            code, projection, row = codes[t, i, k], from_items[i, k, ahead:], said[t, i, k]
            for p in range(size):
                row[p] = fast_tanh(code[p] + projection[p])
            for p in range(size):
                mean[p] += scale * row[p]


@compile_cached
def _move_hub(t, inputs, recurrent, bias, keep, before, saved, states):
    """The hub's states after step ``t``, and before the next.

    Args:
        t: the step.
        inputs: ``[N, 3G]``, projections of what it takes in.
        recurrent: ``[N, 3G]``, of its state.
        bias: ``[G]``, of the candidate's recurrent part.
        keep: ``[T, N]``, 0 where a lifetime begins.
        before: ``[T, N, G]``, states before every step; the next step's is written.
        saved: ``[T, N, 4G]``, what the way back needs, written.
        states: ``[T, N, G]``, written.
    """
    for i in range(inputs.shape[0]):
        gates(inputs[i], recurrent[i], bias, before[t, i], saved[t, i], states[t, i])
        if t + 1 < states.shape[0]:
            for j in range(bias.shape[0]):
                before[t + 1, i, j] = keep[t + 1, i] * states[t, i, j]


@compile_cached
def _move_items(t, codes, from_hub, from_items, bias, keep, before, saved, states, work):
    """The items' states after step ``t``, and before the next.

    Args:
        t: the step.
        codes: ``[T, N, n, 3H]``, projections of the items' codes.
        from_hub: ``[N, 3H]``, of the hub's state.
        from_items: ``[N, n, 3H + P]``, of the items' states; the first 3H numbers count.
        bias: ``[H]``, of the candidate's recurrent part.
        keep: ``[T, N]``, 0 where a lifetime begins.
        before: ``[T, N, n, H]``, states before every step; the next step's is written.
        saved: ``[T, N, n, 4H]``, what the way back needs, written.
        states: ``[T, N, n, H]``, written.
        work: ``[3H]``, scratch.
    """
    lanes, items, width = codes.shape[1:]
    for i in range(lanes):
        hub = from_hub[i]
        for k in range(items):
            code = codes[t, i, k]
            for j in range(width):
                work[j] = code[j] + hub[j]
            gates(work, from_items[i, k, :width], bias, before[t, i, k], saved[t, i, k], states[t, i, k])
            if t + 1 < states.shape[0]:
                for j in range(bias.shape[0]):
                    before[t + 1, i, k, j] = keep[t + 1, i] * states[t, i, k, j]


@compile_cached
def _move_items_back(t, keep, saved, before, gradient, carried, rows, to_hub):
    """The gradients of `_move_items` at step ``t``.

    Args:
        t: the step.
        keep: as there.
        saved: as there.
        before: as there.
        gradient: ``[T, N, n, H]``, of the states.
        carried: ``[N, n, H]``, of the states before the next step; left in it is the direct part of those before this.
        rows: ``[T, N, n, 4H + P]``, its first 4H numbers written: see `gates_back`.
        to_hub: ``[T, N, 3H]``, written.
    """
    lanes, items, units = carried.shape
    for i in range(lanes):
        factor = keep[t + 1, i] if t + 1 < rows.shape[0] else np.float32(0.0)
        hub = to_hub[t, i]
        for j in range(3 * units):
            hub[j] = np.float32(0.0)
        for k in range(items):
            running, given, row = carried[i, k], gradient[t, i, k], rows[t, i, k, : 4 * units]
            for j in range(units):
                running[j] = factor * running[j] + given[j]
            gates_back(saved[t, i, k], before[t, i, k], running, row)
            for j in range(3 * units):
                hub[j] += row[units + j]


@compile_cached
def _move_hub_back(t, keep, saved, before, gradient, further, carried, rows):
    """The gradients of `_move_hub` at step ``t``.

    Args:
        t: the step.
        keep: as there.
        saved: as there.
        before: as there.
        gradient: ``[T, N, G]``, of the states.
        further: ``[N, G]``, of the states, by way of the items.
        carried: ``[N, G]``, of the states before the next step; left in it is the direct part of those before this.
        rows: ``[T, N, 4G]``, written: see `gates_back`.
    """
    for i in range(carried.shape[0]):
        factor = keep[t + 1, i] if t + 1 < rows.shape[0] else np.float32(0.0)
        running, given, more = carried[i], gradient[t, i], further[i]
        for j in range(running.shape[0]):
            running[j] = factor * running[j] + given[j] + more[j]
        gates_back(saved[t, i], before[t, i], running, rows[t, i])


@compile_cached
def _say_back(t, said, to_means, scale, rows):
    """The gradients of `_say` at step ``t``.

    Args:
        t: the step.
        said: as there.
        to_means: ``[N, P]``.
        scale: as there.
        rows: ``[T, N, n, 4H + P]``, its last P numbers written: gradients of what is said before its non-linearity.
    """
    lanes, items, size = said.shape[1:]
    ahead = rows.shape[3] - size
    for i in range(lanes):
        given = to_means[i]
        for k in range(items):
            row, target = said[t, i, k], rows[t, i, k, ahead:]
            for p in range(size):
                target[p] = scale * given[p] * (np.float32(1.0) - row[p] * row[p])


class _CompiledCell(torch.autograd.Function):
    """The network on a processor: see `_torch_cell` for what it computes; no gradient reaches the first states."""

    @staticmethod
    def forward(
        ctx: Any,
        said: torch.Tensor,
        codes: torch.Tensor,
        shown: torch.Tensor,
        hub: torch.Tensor,
        items: torch.Tensor,
        keep: torch.Tensor,
        *weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        said, codes, shown, keep = (tensor.contiguous() for tensor in (said, codes, shown, keep))
        say_items, hub_said, hub_state, hub_bias, items_hub, items_state, items_bias, *dense = weights
        steps, lanes, count, size = said.shape
        units, hubs = items_bias.shape[0], hub_bias.shape[0]
        scale = np.float32(count**-0.5)
        across = torch.cat([items_state, say_items]).t().contiguous()
        by_said, by_hub, to_units = (weight.t().contiguous() for weight in (hub_said, hub_state, items_hub))
        hub_before, hub_after = torch.empty(steps, lanes, hubs), torch.empty(steps, lanes, hubs)
        before, after = torch.empty(steps, lanes, count, units), torch.empty(steps, lanes, count, units)
        torch.mul(hub, keep[0].unsqueeze(1), out=hub_before[0])
        torch.mul(items, keep[0].view(lanes, 1, 1), out=before[0])
        hub_saved, saved = torch.empty(steps, lanes, 4 * hubs), torch.empty(steps, lanes, count, 4 * units)
        heard, means = torch.empty(steps, lanes, count, size), torch.empty(steps, lanes, size)
        from_items = torch.empty(lanes * count, 3 * units + size)
        inputs, recurrent = torch.empty(lanes, 3 * hubs), torch.empty(lanes, 3 * hubs)
        mixed = torch.empty_like(shown) if dense else None
        by_mixed = dense[0].t().contiguous() if dense else by_said
        from_hub, work = torch.empty(lanes, 3 * units), np.empty(3 * units, dtype=np.float32)
        by_item = from_items.view(lanes, count, -1)
        of_said = (said, by_item, heard, means)
        of_hub = (inputs, recurrent, hub_bias, keep, hub_before, hub_saved, hub_after)
        of_items = (codes, from_hub, by_item, items_bias, keep, before, saved, after)
        bare, bare_hub, bare_items = (
            [tensor.detach().numpy() for tensor in part] for part in (of_said, of_hub, of_items)
        )
        for t in range(steps):
            torch.mm(before[t].view(lanes * count, units), across, out=from_items)
            _say(t, bare[0], bare[1], scale, bare[2], bare[3])
            torch.addmm(shown[t], means[t], by_said, out=inputs if mixed is None else mixed[t])
            if mixed is not None:
                torch.tanh(mixed[t], out=mixed[t])
                torch.addmm(dense[1], mixed[t], by_mixed, out=inputs)
            torch.mm(hub_before[t], by_hub, out=recurrent)
            _move_hub(t, *bare_hub)
            torch.mm(hub_after[t], to_units, out=from_hub)
            _move_items(t, *bare_items, work)
        ctx.save_for_backward(keep, hub_before, hub_after, before, hub_saved, saved, heard, means, mixed, *weights)
        return hub_after, after

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        keep, hub_before, hub_after, before, hub_saved, saved, heard, means, mixed, *weights = ctx.saved_tensors
        say_items, hub_said, hub_state, hub_bias, items_hub, items_state, items_bias, *dense = weights
        steps, lanes, count, size = heard.shape
        units, hubs = items_bias.shape[0], hub_bias.shape[0]
        scale = np.float32(count**-0.5)
        # In the order of the rows: see `gates_back`. The candidate's own projection does not come from the state.
        nothing = torch.zeros(units, units)
        across = torch.cat([items_state[2 * units :], items_state[: 2 * units], nothing, say_items])
        by_state = torch.cat([hub_state[2 * hubs :], hub_state[: 2 * hubs]])
        rows, hub_rows = torch.empty(steps, lanes, count, 4 * units + size), torch.empty(steps, lanes, 4 * hubs)
        to_hub, further = torch.empty(steps, lanes, 3 * units), torch.empty(lanes, hubs)
        to_means = torch.empty(lanes, size)
        to_mixed = None if mixed is None else torch.empty_like(mixed)
        carried, hub_carried = torch.zeros(lanes * count, units), torch.zeros(lanes, hubs)
        given = [gradient.contiguous() for gradient in gradients]
        of_items = (keep, saved, before, given[1], carried.view(lanes, count, units), rows, to_hub)
        of_hub = (keep, hub_saved, hub_before, given[0], further, hub_carried, hub_rows)
        bare_items, bare_hub = ([tensor.detach().numpy() for tensor in part] for part in (of_items, of_hub))
        bare_said, bare_means, bare_rows = heard.numpy(), to_means.numpy(), rows.numpy()
        for t in range(steps - 1, -1, -1):
            _move_items_back(t, *bare_items)
            torch.mm(to_hub[t], items_hub, out=further)
            _move_hub_back(t, *bare_hub)
            to_hub_inputs = hub_rows[t, :, hubs:]
            if to_mixed is not None:
                torch.mm(to_hub_inputs, dense[0], out=to_mixed[t])
                to_hub_inputs = to_mixed[t].mul_(1.0 - mixed[t].square())
            torch.mm(to_hub_inputs, hub_said, out=to_means)
            _say_back(t, bare_said, bare_means, scale, bare_rows)
            torch.addmm(carried, rows[t].view(lanes * count, -1), across, out=carried)
            torch.addmm(hub_carried, hub_rows[t, :, : 3 * hubs], by_state, out=hub_carried)
        flat, hub_flat, seen = rows.view(-1, 4 * units + size), hub_rows.view(-1, 4 * hubs), to_hub.view(-1, 3 * units)
        to_across = flat.t() @ before.view(-1, units)
        to_inputs = hub_rows[..., hubs:]
        to_shown = to_inputs if to_mixed is None else to_mixed
        to_dense = () if mixed is None else (to_inputs.flatten(0, 1).t() @ mixed.flatten(0, 1), to_inputs.sum((0, 1)))
        to_hub_state = hub_flat[:, : 3 * hubs].t() @ hub_before.view(-1, hubs)
        return (
            rows[..., 4 * units :],
            rows[..., units : 4 * units],
            to_shown,
            None,
            None,
            None,
            to_across[4 * units :],
            to_shown.flatten(0, 1).t() @ means.view(-1, size),
            to_hub_state.roll(-hubs, 0),
            hub_flat[:, :hubs].sum(0),
            seen.t() @ hub_after.view(-1, hubs),
            to_across[: 3 * units].roll(-units, 0),
            flat[:, :units].sum(0),
            *to_dense,
        )


def _gru(x: torch.Tensor, h: torch.Tensor, bias: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """One step of gated recurrent units from the projections ``x`` and ``h``, as in `daytwo.integrations.gru`."""
    count = bias.shape[0]
    reset, update = torch.sigmoid(x[..., : 2 * count] + h[..., : 2 * count]).split(count, dim=-1)
    candidate = torch.tanh(x[..., 2 * count :] + reset * (h[..., 2 * count :] + bias))
    return candidate + update * (old - candidate)


def _torch_cell(
    said: torch.Tensor,
    codes: torch.Tensor,
    shown: torch.Tensor,
    hub: torch.Tensor,
    items: torch.Tensor,
    keep: torch.Tensor,
    *weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The network by torch's operations, for any device and precision."""
    say_items, hub_said, hub_state, hub_bias, items_hub, items_state, items_bias, *dense = weights
    hub, items, hubs, states = hub.detach(), items.detach(), [], []
    for spoken, code, seen, kept in zip(said.unbind(0), codes.unbind(0), shown.unbind(0), keep.unbind(0), strict=True):
        hub, items = kept.unsqueeze(1) * hub, kept.view(-1, 1, 1) * items
        means = torch.tanh(spoken + items @ say_items.t()).sum(1) * items.shape[1] ** -0.5
        taken = seen + means @ hub_said.t()
        if dense:
            taken = torch.tanh(taken) @ dense[0].t() + dense[1]
        hub = _gru(taken, hub @ hub_state.t(), hub_bias, hub)
        items = _gru(code + (hub @ items_hub.t()).unsqueeze(1), items @ items_state.t(), items_bias, items)
        hubs.append(hub)
        states.append(items)
    return torch.stack(hubs), torch.stack(states)


def run_cell(
    said: torch.Tensor,
    codes: torch.Tensor,
    shown: torch.Tensor,
    hub: torch.Tensor,
    items: torch.Tensor,
    keep: torch.Tensor,
    *weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """All steps of all lanes, compiled where that can be.

    Args:
        said: ``[T, N, n, P]``: of the items' codes, what they say.
        codes: ``[T, N, n, 3H]``: what the items take in of them.
        shown: ``[T, N, 3G]``: what the hub takes in of what it sees; ``[T, N, Q]`` with a dense layer before it.
        hub: ``[N, G]``, the hub's state before the first step; no gradient reaches it.
        items: ``[N, n, H]``, the items' states before the first step; no gradient reaches them.
        keep: ``[T, N]``, 0 where a lifetime begins: states are cleared first.
        *weights: ``[P, H]`` from items to what they say; ``[3G, P]`` from there to the hub, ``[3G, G]`` and ``[G]`` of
            the hub's state; ``[3H, G]`` from the hub to the items, ``[3H, H]`` and ``[H]`` of the items' states. Rows
            are those of the reset, update and candidate gates. With a dense layer before the hub the second is
            ``[Q, P]``, and there follow ``[3G, Q]`` and ``[3G]`` from that layer to the hub.

    Returns:
        The states after every step, ``[T, N, G]`` and ``[T, N, n, H]``.
    """
    plain = said.device.type == "cpu" and said.dtype == weights[0].dtype == torch.float32
    return (_CompiledCell.apply if plain else _torch_cell)(said, codes, shown, hub, items, keep, *weights)
