"""Small policy networks in compiled code, without torch: what trained agents act with.

`Network` runs dense, LSTM and GRU layers one lifetime after another in a fixed order of summation, and `Sampler` draws
actions from the lifetimes' own streams; so results are bit-identical for any batch size. `describe_interface` and
`check_interface` say for which environments a network was made.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numba.extending import register_jitable

from daytwo.activations import fast_sigmoid, fast_tanh
from daytwo.agent import LifetimeSpec
from daytwo.checks import check_weight
from daytwo.kernels import kernel
from daytwo.places import LOOKS, no_places, recall_places, take_places
from daytwo.slots import CONTENT, KEY, MEMORIES, SHOWN, check_slots, recall_things, score_pairs, show_used, take_slots
from daytwo.streams import agent_streams, normal, uniform

CHECKPOINT_KIND = "policy-network"
LSTM, GRU = 1, 2


@register_jitable
def _add_product(out, count, inputs, width, weights, at):
    """Add ``inputs[:width] @ matrix`` to ``out[:count]``; the matrix begins at ``weights[at]``, row by row.

    Every output sums its terms in the order of the inputs, whatever the batch: no reordered reductions, no BLAS.
    """
    for k in range(width):
        value = inputs[k]
        if value != np.float32(0.0):
            row = weights[at : at + count]
            for j in range(count):
                out[j] += value * row[j]
        at += count
    return at


# Passes of one or two arrays each: the compiler turns a loop into vector instructions only if it can check cheaply that
# its arrays do not overlap.


@register_jitable
def _apply_tanh(values, start, stop):
    part = values[start:stop]
    for j in range(len(part)):
        part[j] = fast_tanh(part[j])


@register_jitable
def _apply_sigmoid(values, start, stop):
    part = values[start:stop]
    for j in range(len(part)):
        part[j] = fast_sigmoid(part[j])


@register_jitable
def _unit(vector):
    """Bring a vector to length 1."""
    total = np.float32(1e-6)
    for j in range(len(vector)):
        total += vector[j] * vector[j]
    factor = np.float32(1.0) / np.sqrt(total)
    for j in range(len(vector)):
        vector[j] *= factor


@register_jitable
def _find(out, count, observation, observed, state, units, weights, at):
    """Write a map of ``observation[:observed]`` and ``state[:units]`` to ``out[:count]``."""
    for j in range(count):
        out[j] = np.float32(0.0)
    at = _add_product(out, count, observation, observed, weights, at)
    return _add_product(out, count, state, units, weights, at)


@register_jitable
def _recall(observation, values, width, units, products, weights, at, memory, asked, work):
    """Write to a keyed memory and read from it (`daytwo.integrations.keyed_memory` says what it computes).

    Args:
        observation: ``float32[O]``.
        values: ``float32[...]``: the layer's inputs, behind which what is read is written.
        width: of the inputs; the last ``units`` of them are the state of the layer in front, and what the memories
            before this one recall.
        units: of the recurrent layer in front and of the memories before this one, 0 for none.
        products: whether keys are products of two maps.
        weights: those of the network.
        at: where the memory's begin.
        memory: ``float32[M, V, K]``, contents, changed in place.
        asked: ``float32[M K]``, the queries of the step before, which are the keys of this one; changed in place.
        work: ``float32[...]``, scratch of at least ``2M (K + V) + V``.

    Returns:
        Where the next layer's weights begin.
    """
    heads, size, keys = memory.shape
    observed, every = len(observation), heads * keys
    queries, factors = work[:every], work[every : 2 * every]
    mixed = work[2 * every : 2 * every + 2 * heads * size]
    there = work[2 * every + 2 * heads * size :]
    state = values[width - units : width]
    at = _find(queries, every, observation, observed, state, units, weights, at)
    if products:
        at = _find(factors, every, observation, observed, state, units, weights, at)
        for j in range(every):
            queries[j] += queries[j] * factors[j]
    for j in range(2 * heads * size):
        mixed[j] = weights[at + j]
    at = _add_product(mixed, 2 * heads * size, values, width, weights, at + 2 * heads * size)
    for m in range(heads):
        contents, query, key = memory[m], queries[m * keys : (m + 1) * keys], asked[m * keys : (m + 1) * keys]
        candidate = mixed[2 * m * size : (2 * m + 1) * size]
        gate = mixed[(2 * m + 1) * size : (2 * m + 2) * size]
        _unit(query)
        for v in range(size):
            row, total = contents[v], np.float32(0.0)
            for j in range(keys):
                total += row[j] * key[j]
            there[v] = total
        for v in range(size):
            one, other = weights[at + v * size :], weights[at + (size + v) * size :]
            for j in range(size):
                candidate[v] += one[j] * there[j]
                gate[v] += other[j] * there[j]
        at += 2 * size * size
        _apply_tanh(candidate, 0, size)
        _apply_sigmoid(gate, 0, size)
        for v in range(size):
            row, change, total = contents[v], gate[v] * (candidate[v] - there[v]), np.float32(0.0)
            for j in range(keys):
                row[j] += change * key[j]
            for j in range(keys):
                total += row[j] * query[j]
            values[width + m * size + v] = total
    for j in range(every):
        asked[j] = queries[j]
    return at


@kernel
def _forward(
    observations, fresh, sizes, kind, first, recurrent, front, gated, products, clearing, places, slots, relu, weights,
    hidden, cell, memory, asked, visited, looked, known, work, out,
):  # fmt: skip
    """One step of a network in every lifetime.

    Args:
        observations: ``float32[N, D]``.
        fresh: ``bool[N]``; the hidden state of these lifetimes is cleared first.
        sizes: ``int64[layers + 1]``: inputs, then the width of every layer.
        kind: of the recurrent layers, `LSTM` or `GRU`.
        first: the first recurrent layer; the layers before it are dense.
        recurrent: how many layers, from the first one on, are recurrent.
        front: units of the first recurrent layer if a keyed memory stands between it and the second, which then takes
            in what the first took in, the first's state and what is recalled; else 0.
        gated: the first dense layer after the recurrent ones reads the state and, beside it, the state times a gate;
            the gate looks at what the last recurrent layer took in. With a layer in ``front`` it covers what is
            recalled as well.
        products: whether the keyed memory's keys are products of two maps.
        clearing: a column of the observations: where it is not 0, GRUs begin anew; -1 for none.
        places: a memory of places behind the keyed ones (`daytwo.places`), or none; what it recalls joins what they do.
        slots: things in slots (`daytwo.slots`), or none: the first layer takes in what was used as well, and the first
            dense layer after the recurrent ones scores of pairs.
        relu: hidden dense layers use ReLU instead of tanh.
        weights: ``float32[...]``, layer after layer: bias, then the matrix input by input (recurrent layers: both
            matrices, and between them a GRU's bias of the candidate's recurrent part); a keyed memory's before the
            last recurrent layer, the gate after it.
        hidden: ``float32[N, recurrent, H]``, changed in place.
        cell: the same for the cells.
        memory: ``float32[N, L, M, V, K]``, contents of keyed memories before the last recurrent layer, which reads what
            is recalled beside its inputs, as the first dense layer after the recurrent ones does; L is 0 for none. Each
            of them reads what those before it recall.
        asked: ``float32[N, L, M K]``, their queries of the step before, changed in place.
        visited: ``float32[N, P, ...]``, what the memory of places stores, changed in place; none without one.
        looked: ``int64[N, LOOKS]``, places looked at in the step before, changed in place.
        known: ``float32[N, MEMORIES, CONTENT, KEY]``, contents of the slots' memories, changed in place; none without
            slots.
        work: ``float32[6, W]``, scratch, W as `Network` computes it.
        out: ``float64[N, outputs]``.
    """
    layers = len(sizes) - 1
    once = memory.shape[2] * memory.shape[3]
    recalled = memory.shape[1] * once + len(places.seen) + places.ways.size
    looking = first + (1 if front else 0)  # the layer that the keyed memory stands before
    for i in range(len(out)):
        if fresh[i]:
            for layer in range(recurrent):
                for j in range(hidden.shape[2]):
                    hidden[i, layer, j] = np.float32(0.0)
                    if kind == LSTM:
                        cell[i, layer, j] = np.float32(0.0)
            memory[i] = np.float32(0.0)
            asked[i] = np.float32(0.0)
            if len(places.plan):
                visited[i] = np.float32(0.0)
            if len(slots.places):
                known[i] = np.float32(0.0)
        blank = clearing >= 0 and observations[i, clearing] >= np.float32(0.5)
        values, sums = work[0], work[1]
        for k in range(sizes[0]):
            values[k] = observations[i, k]
        at = 0
        for layer in range(layers):
            width, count = sizes[layer], sizes[layer + 1]
            if layer == 0 and len(slots.places):
                width = show_used(slots, observations[i], values, width)
            if layer == first and len(slots.places):
                recall_things(slots, known[i], values, width)
            if front and layer == looking:
                # Behind what the layer in front took in comes its state.
                for j in range(front):
                    work[4, sizes[first] + j] = values[j]
                width = sizes[first] + front
                for j in range(width):
                    values[j] = work[4, j]
            if gated and layer == first + recurrent:
                width = 2 * width + (recalled if front else 0)
            if recalled and layer == looking:
                seen = observations[i, : sizes[0] // 2]
                for depth in range(memory.shape[1]):
                    contents, queries = memory[i, depth], asked[i, depth]
                    units = front + depth * once
                    at = _recall(seen, values, width, units, products, weights, at, contents, queries, work[5])
                    width += once
                if len(places.plan):
                    width = recall_places(places, observations[i], fresh[i], values, width, visited[i], looked[i])
            if recalled and layer == first + recurrent:
                for j in range(recalled):
                    values[width + j] = work[4, sizes[first] + front + j]
                width += recalled
            if len(slots.places) and layer == first + recurrent:
                width = score_pairs(slots, values, width)
            if first <= layer < first + recurrent:
                k = layer - first
                for j in range(width):
                    work[4, j] = values[j]
                for j in range(count):
                    work[2, j] = np.float32(0.0) if blank else hidden[i, k, j]
                if kind == LSTM:
                    for j in range(4 * count):
                        sums[j] = weights[at + j]
                    at = _add_product(sums, 4 * count, values, width, weights, at + 4 * count)
                    at = _add_product(sums, 4 * count, work[2], count, weights, at)
                    _apply_sigmoid(sums, 0, 2 * count)
                    _apply_tanh(sums, 2 * count, 3 * count)
                    _apply_sigmoid(sums, 3 * count, 4 * count)
                    for j in range(count):
                        cell[i, k, j] = sums[count + j] * cell[i, k, j] + sums[j] * sums[2 * count + j]
                        values[j] = cell[i, k, j]
                    _apply_tanh(values, 0, count)
                    for j in range(count):
                        values[j] *= sums[3 * count + j]
                        hidden[i, k, j] = values[j]
                else:
                    for j in range(3 * count):
                        sums[j] = weights[at + j]
                    at = _add_product(sums, 3 * count, values, width, weights, at + 3 * count)
                    for j in range(count):
                        work[3, 2 * count + j] = weights[at + j]
                        work[3, j] = np.float32(0.0)
                        work[3, count + j] = np.float32(0.0)
                    at = _add_product(work[3], 3 * count, work[2], count, weights, at + count)
                    for j in range(2 * count):
                        sums[j] += work[3, j]
                    _apply_sigmoid(sums, 0, 2 * count)
                    for j in range(count):
                        sums[2 * count + j] += sums[j] * work[3, 2 * count + j]
                    _apply_tanh(sums, 2 * count, 3 * count)
                    for j in range(count):
                        new = sums[2 * count + j]
                        values[j] = new + sums[count + j] * (work[2, j] - new)
                        hidden[i, k, j] = values[j]
                if gated and k == recurrent - 1:
                    covered = count + recalled if front else count
                    for j in range(covered):
                        sums[j] = weights[at + j]
                    at = _add_product(sums, covered, work[4], width, weights, at + covered)
                    _apply_sigmoid(sums, 0, covered)
                    for j in range(count):
                        values[count + j] = values[j] * sums[j]
                    for j in range(count, covered):
                        values[count + j] = work[4, width - recalled + j - count] * sums[j]
            else:
                for j in range(count):
                    sums[j] = weights[at + j]
                at = _add_product(sums, count, values, width, weights, at + count)
                if layer < layers - 1 and not relu:
                    _apply_tanh(sums, 0, count)
                for j in range(count):
                    if layer == layers - 1:
                        out[i, j] = sums[j]
                    elif relu:
                        values[j] = max(sums[j], np.float32(0.0))
                    else:
                        values[j] = sums[j]


@kernel
def _choose(scores, streams, greedy, actions):
    """Draw from softmax(``scores[N, A]``), or take the first of the highest, into ``actions[N]``."""
    count = scores.shape[1]
    for i in range(len(actions)):
        best = 0
        for k in range(1, count):
            if scores[i, k] > scores[i, best]:
                best = k
        if not greedy:
            highest = scores[i, best]
            total = 0.0
            for k in range(count):
                total += math.exp(scores[i, k] - highest)
            left = uniform(streams, i) * total
            for k in range(count):
                left -= math.exp(scores[i, k] - highest)
                if left < 0.0:
                    best = k
                    break
        actions[i] = best


@kernel
def _draw(means, deviations, streams, greedy, actions):
    """Draw from independent normals clipped to [-1, 1], or take their means, into ``actions[N, d]``."""
    for i in range(actions.shape[0]):
        for k in range(actions.shape[1]):
            value = means[i, k]
            if not greedy:
                value += deviations[i, k] * normal(streams, i)
            actions[i, k] = min(max(value, -1.0), 1.0)


class Sampler:
    """Actions from a distribution per lifetime, drawn from the lifetimes' own streams or greedy."""

    def __init__(self, seeds: np.ndarray, greedy: bool) -> None:
        self._streams = agent_streams(seeds)
        self._greedy = greedy

    def discrete(self, scores: np.ndarray) -> np.ndarray:
        """From unnormalised log-probabilities ``float64[N, A]``."""
        actions = np.zeros(len(scores), dtype=np.int64)
        _choose(scores, self._streams, self._greedy, actions)
        return actions

    def continuous(self, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """From means and standard deviations ``float64[N, d]``."""
        actions = np.zeros(means.shape)
        _draw(means, deviations, self._streams, self._greedy, actions)
        return actions


class Network:
    """The acting part of an actor-critic policy as plain numbers: dense layers, recurrent ones, dense ones."""

    def __init__(self, tensors: Mapping[str, np.ndarray], activation: str = "tanh") -> None:
        """Take a network apart.

        Args:
            tensors: weights by name: those of a Stable-Baselines3 policy's ``state_dict`` (dense, or sb3-contrib's LSTM
                and dense), or those of DayTwo's recurrent policies: ``encoder.weight`` and ``encoder.bias`` (optional),
                ``memory.key_weight``, ``memory.weight``, ``memory.bias`` and ``memory.content_weight`` (optional, after
                an encoder; `daytwo.integrations.keyed_memory.KeyedMemory`; ``memory.product_weight``, further ones in
                ``deeper.0.`` and so on, and a GRU in ``front.`` are optional), ``places.`` (optional, after an encoder;
                `daytwo.integrations.place_memory.PlaceMemory`), ``gru.input_weight``,
                ``gru.input_bias``, ``gru.state_weight``, ``gru.state_bias`` (`daytwo.integrations.gru.LifetimeGru`),
                ``gate.weight`` and ``gate.bias`` (optional), ``action_net.weight`` and ``action_net.bias``; ``log_std``
                for continuous actions; ``clear_column`` (optional): a number of the observation, one step after which
                the GRUs begin anew; ``slots.`` (optional; `daytwo.integrations.slot_reader.SlotReader`);
                ``input_scale``: what observations are multiplied with.
            activation: of the hidden dense layers, ``tanh`` or ``relu``.

        Raises:
            ValueError: the tensors are not those of such a policy.
        """
        if activation not in ("tanh", "relu"):
            raise ValueError(f"activation must be 'tanh' or 'relu', received {activation!r}.")
        self.relu = activation == "relu"
        parts: list[np.ndarray] = []
        sizes: list[int] = []

        take = partial(check_weight, tensors)

        scale = take("input_scale") if "input_scale" in tensors else None
        self.slots = take_slots(tensors, take)

        def begin(matrix: np.ndarray) -> np.ndarray:
            """The first layer's matrix tells the number of inputs, and takes their scale."""
            if sizes:
                return matrix
            width = matrix.shape[1] - (SHOWN if len(self.slots.places) else 0)
            sizes.append(width)
            if scale is None:
                return matrix
            if scale.shape != (width,):
                raise ValueError(f"Expected input_scale of shape {(width,)}, received {scale.shape}.")
            return np.concatenate([matrix[:, :width] * scale, matrix[:, width:]], axis=1)

        def add(matrix: np.ndarray, width: int, rows: int) -> None:
            if matrix.shape != (rows, width):
                raise ValueError(f"Expected a weight matrix of shape {(rows, width)}, received {matrix.shape}.")
            parts.append(matrix.T.ravel())

        def add_dense(name: str) -> None:
            matrix = begin(take(f"{name}.weight"))
            parts.append(take(f"{name}.bias"))
            width = sizes[-1] + (SHOWN if len(sizes) == 1 and len(self.slots.places) else 0)
            if self.recurrent and len(sizes) == self.first + self.recurrent + 1:
                recalled = self.recalled
                width = width * (2 if self.gated else 1) + recalled * (2 if self.gated and self.front else 1)
                check_slots(self.slots, sizes[0] // 2, sizes[1], width, matrix.shape[0])
                width += matrix.shape[0] if len(self.slots.places) else 0
            add(matrix, width, matrix.shape[0])
            sizes.append(matrix.shape[0])

        def add_gru(name: str, taken: int) -> int:
            inputs, states = begin(take(f"{name}.input_weight")), take(f"{name}.state_weight")
            count = states.shape[1]
            parts.append(take(f"{name}.input_bias"))
            add(inputs, taken or sizes[-1], 3 * count)
            parts.append(take(f"{name}.state_bias"))
            add(states, count, 3 * count)
            sizes.append(count)
            return count

        self.kind, self.first, self.recurrent, self.front, self.gated, self.products = LSTM, 0, 0, 0, False, False
        self.clearing, self.places = -1, no_places()
        self.memory = (0, 0, 0, 0)  # keyed memories, heads, numbers of a content, numbers of a key
        self.recalled = 0  # numbers that they recall, and the memory of places
        if "gru.input_weight" in tensors:
            self.kind, self.recurrent = GRU, 1
            if "encoder.weight" in tensors:
                self.first = 1
                add_dense("encoder")
            taken = 0  # numbers that the GRU takes in
            remembers = [name for name in ("memory.weight", "places.weight") if name in tensors]
            if remembers:
                if not sizes:
                    raise ValueError(f"The policy's weights hold {remembers[0]!r} but lack 'encoder.weight'.")
                taken = sizes[-1]
                if "front.input_weight" in tensors:
                    self.front, self.recurrent = take("front.state_weight").shape[1], 2
                    add_gru("front", taken)
                    taken += self.front
            if "memory.weight" in tensors:
                self.products = "memory.product_weight" in tensors
                names = ["memory"]
                while f"deeper.{len(names) - 1}.weight" in tensors:
                    names.append(f"deeper.{len(names) - 1}")
                for name in names:
                    taken += self._take_memory(name, take, sizes[0] // 2, taken, scale, parts, add)
                self.memory = (len(names), *self.memory[1:])
            self.places = take_places(tensors, take, sizes[0] // 2 if sizes else 0, taken)
            taken += self.places.recalled
            self.recalled += self.places.recalled
            count = add_gru("gru", taken)
            if "clear_column" in tensors:
                # It is the previous observation, the second half, that is looked at.
                self.clearing = sizes[0] // 2 + int(take("clear_column").item())
            if "gate.weight" in tensors:
                self.gated = True
                gate = take("gate.weight")
                parts.append(take("gate.bias"))
                covered = count + (self.recalled if self.front else 0)
                add(gate if self.first or scale is None else gate * scale, taken or sizes[-2], covered)
        while f"lstm_actor.weight_ih_l{self.recurrent}" in tensors:
            layer = self.recurrent
            inputs, states = begin(take(f"lstm_actor.weight_ih_l{layer}")), take(f"lstm_actor.weight_hh_l{layer}")
            count = states.shape[1]
            parts.append(take(f"lstm_actor.bias_ih_l{layer}") + take(f"lstm_actor.bias_hh_l{layer}"))
            add(inputs, sizes[-1], 4 * count)
            add(states, count, 4 * count)
            sizes.append(count)
            self.recurrent += 1
        dense = sorted(
            int(name.split(".")[2])
            for name in tensors
            if name.startswith("mlp_extractor.policy_net.") and name.endswith(".weight")
        )
        for name in [*(f"mlp_extractor.policy_net.{k}" for k in dense), "action_net"]:
            add_dense(name)
        self.log_std = take("log_std") if "log_std" in tensors else None
        self.sizes = np.array(sizes, dtype=np.int64)
        self.weights = np.concatenate(parts).astype(np.float32)
        _, heads, contents, keys = self.memory
        widest = max(
            4 * max(sizes),
            2 * (max(sizes) + self.recalled) + self.front + (SHOWN if len(self.slots.places) else 0),
            2 * heads * (keys + contents) + contents,
        )
        self._work = np.zeros((6, widest), dtype=np.float32)

    def _take_memory(
        self, name: str, take: Any, observed: int, width: int, scale: Any, parts: list[np.ndarray], add: Any
    ) -> int:
        """Append a keyed memory's weights to ``parts``; returns how many numbers it recalls."""
        matrix, mixing = take(f"{name}.weight"), take(f"{name}.content_weight")
        if mixing.ndim != 3 or mixing.shape[1] != 2 * mixing.shape[2]:
            raise ValueError(f"Expected {name}.content_weight of shape (M, 2V, V), received {mixing.shape}.")
        heads, _, contents = mixing.shape
        keys = len(take(f"{name}.key_weight")) // heads
        if self.recalled and self.memory[1:] != (heads, contents, keys):
            raise ValueError(f"Expected {name} of the size of the first memory, {self.memory[1:]}, received another.")
        self.memory = (1, heads, contents, keys)
        for part in ("key_weight", "product_weight")[: 2 if self.products else 1]:
            to_keys = take(f"{name}.{part}").copy()
            if scale is not None:
                to_keys[:, :observed] *= scale[:observed]
            add(to_keys, observed + self.front + self.recalled, heads * keys)
        parts.append(take(f"{name}.bias"))
        add(matrix, width, heads * 2 * contents)
        parts.append(mixing.ravel())
        self.recalled += heads * contents
        return heads * contents

    def begin(self, lanes: int) -> None:
        """Clear the hidden state of ``lanes`` lifetimes."""
        width = int(self.sizes[self.first + 1 : self.first + 1 + self.recurrent].max(initial=0))
        shape = (lanes, self.recurrent, width)
        self._memory = np.zeros((lanes, *self.memory), dtype=np.float32)
        layers, heads, _, keys = self.memory
        self._asked = np.zeros((lanes, layers, heads * keys), dtype=np.float32)
        cells = int(self.places.plan[:2].prod()) if len(self.places.plan) else 0
        self._visited = np.zeros((lanes if cells else 0, cells, self.places.stored), dtype=np.float32)
        self._looked = np.full((lanes, LOOKS), -1, dtype=np.int64)
        self._known = np.zeros((lanes if len(self.slots.places) else 0, MEMORIES, CONTENT, KEY), dtype=np.float32)
        self._hidden = np.zeros(shape, dtype=np.float32)
        self._cell = np.zeros(shape if self.kind == LSTM else (0, 0, 0), dtype=np.float32)

    def forward(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Outputs ``float64[N, A]`` for ``float32[N, D]``, one step on."""
        out = np.zeros((len(observations), int(self.sizes[-1])))
        _forward(
            np.ascontiguousarray(observations, dtype=np.float32),
            np.ascontiguousarray(fresh, dtype=np.bool_),
            self.sizes,
            self.kind,
            self.first,
            self.recurrent,
            self.front,
            self.gated,
            self.products,
            self.clearing,
            self.places,
            self.slots,
            self.relu,
            self.weights,
            self._hidden,
            self._cell,
            self._memory,
            self._asked,
            self._visited,
            self._looked,
            self._known,
            self._work,
            out,
        )
        return out


def describe_interface(spec: LifetimeSpec) -> dict[str, Any]:
    """What must be the same wherever a policy acts: the observation's parts and bounds, and the actions.

    Returns:
        A dict fit for JSON.
    """
    parts = {
        name: {
            "columns": [part.start, part.stop],
            "low": spec.layout.low[part].tolist(),
            "high": spec.layout.high[part].tolist(),
        }
        for name, part in spec.layout.items()
    }
    return {
        "family": spec.family,
        "observation": parts,
        "size": spec.layout.size,
        "actions": {"kind": "continuous" if spec.continuous else "discrete", "number": spec.actions},
    }


def check_interface(trained: Mapping[str, Any], spec: LifetimeSpec) -> None:
    """Refuse an environment that a policy was not trained for.

    The lengths of stages may differ, and with them the bounds of the extras that count episodes.

    Args:
        trained: `describe_interface` of the training environment.
        spec: of the environment to act in.

    Raises:
        ValueError: they differ, and in what.
    """
    here = describe_interface(spec)
    differences = [
        f"the {key} was {trained.get(key)!r} in training and is {here[key]!r} here"
        for key in ("family", "actions")
        if trained.get(key) != here[key]
    ]
    before, now = trained.get("observation", {}), here["observation"]
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in now:
            differences.append(f"the observation had a part {name!r} in training and has none here")
        elif name not in before:
            differences.append(f"the observation has a part {name!r} that it did not have in training")
        else:
            for key in ("columns",) if name in ("episode", "stage_length") else ("columns", "low", "high"):
                if before[name].get(key) != now[name][key]:
                    differences.append(
                        f"{key} of {name!r} were {before[name].get(key)} in training and are {now[name][key]} here"
                    )
    if differences:
        raise ValueError(f"This agent was not trained for {spec.env_id} as it is here: {'; '.join(differences)}.")
