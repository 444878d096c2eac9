"""Policy networks over items in compiled code, without torch: see `daytwo.integrations.item_policy`.

What `daytwo.networks.Network` is to policies with one recurrent state, `ItemNetwork` is to those with a state for each
of several items: lifetimes run one after another in a fixed order of summation.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from daytwo.activations import fast_tanh, gates
from daytwo.checks import check_weight
from daytwo.kernels import kernel


class Layer(NamedTuple):
    """A layer of items and a hub.

    The first row of each array that is marked * is its bias, and further rows belong to the numbers it reads.

    Attributes:
        code: ``float32[1 + S + K, E]`` *, of the shared numbers and the item's own.
        say: ``float32[1 + E + H, E]`` *, of code and state.
        hub_code: ``float32[1 + S + E, G]`` *, of the shared numbers and what the items say; no numbers without one.
        hub: ``float32[1 + S + E, 3G]`` *, of the same, or ``float32[1 + G, 3G]`` *, of ``hub_code``.
        hub_state: ``float32[1 + G, 3G]``; the last G numbers of the first row are the candidate's recurrent bias.
        unit: ``float32[1 + E + G, 3H]`` *, of code and hub.
        unit_state: ``float32[1 + H, 3H]``, as ``hub_state``.
    """

    code: np.ndarray
    say: np.ndarray
    hub_code: np.ndarray
    hub: np.ndarray
    hub_state: np.ndarray
    unit: np.ndarray
    unit_state: np.ndarray


class Readout(NamedTuple):
    """What stands behind the last layer, marked as in `Layer`.

    Attributes:
        items: ``int64[n, K]``, the items' columns of the observation.
        shared: ``int64[S]``, all others.
        answer: ``float32[1 + E + H, E]`` *, of code and state.
        mixture: ``float32[1 + G + E + S, G]`` *, of hub, answers and shared numbers.
        score: ``float32[1 + E + H + G, Q]`` *, of code, state and mixture; no numbers where actions name no items.
        score_weight: ``float32[Q]``.
        action: ``float32[1 + 2G + E + n, A]`` *, of hub, mixture, answers and scores.
    """

    items: np.ndarray
    shared: np.ndarray
    answer: np.ndarray
    mixture: np.ndarray
    score: np.ndarray
    score_weight: np.ndarray
    action: np.ndarray


@register_jitable
def _set(out, row):
    for j in range(len(out)):
        out[j] = row[j]


@register_jitable
def _add(out, layer, first, values):
    """Add to ``out`` the rows of a layer from ``first`` on, times ``values``."""
    for k in range(len(values)):
        row, value = layer[first + k], values[k]
        for j in range(len(out)):
            out[j] += value * row[j]


@register_jitable
def _squash(values):
    for j in range(len(values)):
        values[j] = fast_tanh(values[j])


@register_jitable
def _move(layer, shown, own, hub, states, codes, work):
    """One step of a layer.

    Args:
        layer: a `Layer`.
        shown: ``float32[S]``.
        own: ``float32[n, K]``.
        hub: ``float32[G]``, changed in place.
        states: ``float32[n, H]``, changed in place.
        codes: ``float32[n, E]``, written.
        work: ``float32[5, W]``, scratch, see `_forward`.
    """
    items, units = states.shape
    size, width, seen = codes.shape[1], len(hub), len(shown)
    scale = np.float32(items) ** np.float32(-0.5)
    said, total = work[0, :size], work[1, :size]
    for j in range(size):
        total[j] = np.float32(0.0)
    for k in range(items):
        code = codes[k]
        _set(code, layer.code[0])
        _add(code, layer.code, 1, shown)
        _add(code, layer.code, 1 + seen, own[k])
        _squash(code)
        _set(said, layer.say[0])
        _add(said, layer.say, 1, code)
        _add(said, layer.say, 1 + size, states[k])
        _squash(said)
        for j in range(size):
            total[j] += scale * said[j]
    x, h, saved, old = work[2, : 3 * width], work[3, : 3 * width], work[4, : 4 * width], work[0, :width]
    _set(x, layer.hub[0])
    if len(layer.hub_code):
        mixed = work[3, :width]
        _set(mixed, layer.hub_code[0])
        _add(mixed, layer.hub_code, 1, shown)
        _add(mixed, layer.hub_code, 1 + seen, total)
        _squash(mixed)
        _add(x, layer.hub, 1, mixed)
    else:
        _add(x, layer.hub, 1, shown)
        _add(x, layer.hub, 1 + seen, total)
    _set(old, hub)
    for j in range(3 * width):
        h[j] = np.float32(0.0)
    _add(h, layer.hub_state, 1, old)
    gates(x, h, layer.hub_state[0, 2 * width :], old, saved, hub)
    x, h, saved, old = work[2, : 3 * units], work[3, : 3 * units], work[4, : 4 * units], work[0, :units]
    for k in range(items):
        _set(x, layer.unit[0])
        _add(x, layer.unit, 1, codes[k])
        _add(x, layer.unit, 1 + size, hub)
        _set(old, states[k])
        for j in range(3 * units):
            h[j] = np.float32(0.0)
        _add(h, layer.unit_state, 1, old)
        gates(x, h, layer.unit_state[0, 2 * units :], old, saved, states[k])


@kernel
def _forward(observations, fresh, layers, readout, hubs, states, codes, shown, own, read, work, out):
    """One step of every lifetime.

    Args:
        observations: ``float32[N, D]``, scaled.
        fresh: ``bool[N]``; the states of these lifetimes are cleared first.
        layers: a tuple of `Layer`.
        readout: `Readout`.
        hubs: ``float32[N, L, G]``, the hubs' states, changed in place.
        states: ``float32[N, L, n, H]``, the items', changed in place.
        codes: ``float32[n, E]``, scratch.
        shown: ``float32[S + G]``, scratch: what all items are shown.
        own: ``float32[n, max(K, E + H)]``, scratch: what is an item's own.
        read: ``float32[2G + E + n]``, scratch: what actions are read off.
        work: ``float32[5, W]``, scratch of at least four times the largest of E, G and H, at least Q and at least A.
        out: ``float64[N, A]``.
    """
    items, each = readout.items.shape
    size, width, units = codes.shape[1], hubs.shape[2], states.shape[3]
    seen, scored = len(readout.shared), len(readout.score_weight)
    scale = np.float32(items) ** np.float32(-0.5)
    for i in range(len(out)):
        if fresh[i]:
            hubs[i] = np.float32(0.0)
            states[i] = np.float32(0.0)
        for j in range(seen):
            shown[j] = observations[i, readout.shared[j]]
        for k in range(items):
            for j in range(each):
                own[k, j] = observations[i, readout.items[k, j]]
        for depth in range(len(layers)):
            if depth == 0:
                _move(layers[depth], shown[:seen], own[:, :each], hubs[i, depth], states[i, depth], codes, work)
            else:
                _set(shown[seen : seen + width], hubs[i, depth - 1])
                for k in range(items):
                    _set(own[k, :size], codes[k])
                    _set(own[k, size : size + units], states[i, depth - 1, k])
                inner = own[:, : size + units]
                _move(layers[depth], shown[: seen + width], inner, hubs[i, depth], states[i, depth], codes, work)
        hub, last = hubs[i, len(layers) - 1], states[i, len(layers) - 1]
        # What the items answer.
        answers, answer = read[2 * width : 2 * width + size], work[0, :size]
        for j in range(size):
            answers[j] = np.float32(0.0)
        for k in range(items):
            _set(answer, readout.answer[0])
            _add(answer, readout.answer, 1, codes[k])
            _add(answer, readout.answer, 1 + size, last[k])
            _squash(answer)
            for j in range(size):
                answers[j] += scale * answer[j]
        _set(read[:width], hub)
        mixture = read[width : 2 * width]
        _set(mixture, readout.mixture[0])
        _add(mixture, readout.mixture, 1, hub)
        _add(mixture, readout.mixture, 1 + width, answers)
        _add(mixture, readout.mixture, 1 + width + size, shown[:seen])
        _squash(mixture)
        for k in range(items if scored else 0):
            hidden, score = work[0, :scored], np.float32(0.0)
            _set(hidden, readout.score[0])
            _add(hidden, readout.score, 1, codes[k])
            _add(hidden, readout.score, 1 + size, last[k])
            _add(hidden, readout.score, 1 + size + units, mixture)
            for j in range(scored):
                score += readout.score_weight[j] * max(hidden[j], np.float32(0.0))
            read[2 * width + size + k] = score
        actions = work[0, : readout.action.shape[1]]
        _set(actions, readout.action[0])
        _add(actions, readout.action, 1, read)
        for j in range(len(actions)):
            out[i, j] = actions[j]


class ItemNetwork:
    """The acting part of a policy over items as plain numbers.

    Attributes:
        sizes: numbers in and numbers out.
        log_std: of continuous actions; None for others.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Take a network apart.

        Args:
            tensors: weights by name, as `daytwo.integrations.item_policy.ItemPolicy` gives them.

        Raises:
            ValueError: the tensors are not those of such a policy.
        """
        take = partial(check_weight, tensors)

        def layer(bias: str, *matrices: str) -> np.ndarray:
            """A bias, and below it the transposed matrices."""
            rows = [take(bias)[None], *(take(name).T for name in matrices)]
            if any(row.ndim != 2 or row.shape[1] != rows[0].shape[1] for row in rows):
                told = ", ".join(f"{name!r} of shape {take(name).shape}" for name in (bias, *matrices))
                raise ValueError(f"Expected a bias and matrices of as many rows, received {told}.")
            return np.concatenate(rows)

        def state(name: str) -> np.ndarray:
            matrix, bias = take(f"{name}.state_weight").T, take(f"{name}.state_bias")
            if bias.ndim != 1 or matrix.shape != (len(bias), 3 * len(bias)):
                raise ValueError(
                    f"Expected {name}.state_weight of shape (3H, H) and {name}.state_bias of shape (H,), received "
                    f"{matrix.T.shape} and {bias.shape}."
                )
            return np.concatenate([np.concatenate([np.zeros(2 * len(bias)), bias])[None], matrix])

        columns, shared = take("item_columns"), take("shared_columns")
        self.scale = take("input_scale")
        scored = int(take("first_action").item()) >= 0
        depth = 1
        while f"layers.{depth}.say.bias" in tensors:
            depth += 1
        arrays, expected = dict[str, np.ndarray](), dict[str, tuple[int, ...]]()
        items, own = columns.shape if columns.ndim == 2 else (0, 0)
        seen = len(shared)
        if (
            len(columns) != items
            or not 0 < items * own == len({*columns.ravel()})
            or {*columns.ravel(), *shared} != set(range(len(self.scale)))
        ):
            raise ValueError(
                f"Expected item_columns and shared_columns to hold each of {len(self.scale)} columns once, received "
                f"{columns.tolist()} and {shared.tolist()}."
            )
        size, width, units = (len(take(name)) for name in ("answer.bias", "mixture.bias", "layers.0.unit.state_bias"))
        told = seen
        for k in range(depth):
            at = f"layers.{k}."
            arrays[at + "code"] = layer(f"{at}shared_code.bias", f"{at}shared_code.weight", f"{at}item_code.weight")
            for name in ("say", "hub_code"):
                dense = f"{at}{name}.bias" in tensors or name == "say"
                arrays[at + name] = layer(f"{at}{name}.bias", f"{at}{name}.weight") if dense else np.zeros((0, 0))
            for name in ("hub", "unit"):
                arrays[at + name] = layer(f"{at}{name}.input_bias", f"{at}{name}.input_weight")
                arrays[f"{at}{name}_state"] = state(at + name)
            mixed = len(arrays[at + "hub_code"])
            expected |= {
                at + "code": (1 + told + own, size),
                at + "say": (1 + size + units, size),
                at + "hub": (1 + (width if mixed else told + size), 3 * width),
                at + "hub_code": (1 + told + size, width) if mixed else (0, 0),
                at + "hub_state": (1 + width, 3 * width),
                at + "unit": (1 + size + width, 3 * units),
                at + "unit_state": (1 + units, 3 * units),
            }
            told, own = seen + width, size + units
        for name in ("answer", "mixture", "score"):
            arrays[name] = layer(f"{name}.bias", f"{name}.weight") if scored or name != "score" else np.zeros((0, 0))
        arrays["action"] = layer("action_net.bias", "action_net.weight")
        arrays["score_weight"] = take("score_weight") if scored else np.zeros(0)
        hidden, actions = arrays["score"].shape[1], arrays["action"].shape[1]
        expected |= {
            "answer": (1 + size + units, size),
            "mixture": (1 + width + size + seen, width),
            "score": (1 + size + units + width, hidden) if scored else (0, 0),
            "score_weight": (hidden,),
            "action": (1 + 2 * width + size + (items if scored else 0), actions),
        }
        wrong = [name for name, shape in expected.items() if arrays[name].shape != shape]
        if wrong:
            raise ValueError(
                f"Expected {wrong[0]} (a bias and transposed weights) of shape {expected[wrong[0]]}, received "
                f"{arrays[wrong[0]].shape}."
            )
        plain: dict[str, Any] = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        self._layers = tuple(Layer(*(plain[f"layers.{k}.{name}"] for name in Layer._fields)) for k in range(depth))
        rest = {name: plain[name] for name in Readout._fields if name in plain}
        self._readout = Readout(items=columns.astype(np.int64), shared=shared.astype(np.int64), **rest)
        self.log_std = take("log_std") if "log_std" in tensors else None
        self.sizes = np.array([len(self.scale), actions], dtype=np.int64)
        self._shape = (depth, items, units, width)
        most = max(self._readout.items.shape[1], size + units)
        scratch = ((items, size), (seen + width,), (items, most), (2 * width + size + (items if scored else 0),))
        widest = max(4 * max(size, width, units), hidden, actions)
        self._scratch = tuple(np.zeros(shape, dtype=np.float32) for shape in (*scratch, (5, widest)))

    def begin(self, lanes: int) -> None:
        """Clear the states of ``lanes`` lifetimes."""
        depth, items, units, width = self._shape
        self._hubs = np.zeros((lanes, depth, width), dtype=np.float32)
        self._states = np.zeros((lanes, depth, items, units), dtype=np.float32)

    def forward(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Outputs ``float64[N, A]`` for ``float32[N, D]``, one step on."""
        out = np.zeros((len(observations), int(self.sizes[-1])))
        _forward(
            np.ascontiguousarray(observations * self.scale, dtype=np.float32),
            np.ascontiguousarray(fresh, dtype=np.bool_),
            self._layers,
            self._readout,
            self._hubs,
            self._states,
            *self._scratch,
            out,
        )
        return out
