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


class Weights(NamedTuple):
    """All layers; the first row of each that is marked * is its bias, and further rows belong to the numbers it reads.

    Attributes:
        items: ``int64[n, K]``, the items' columns of the observation.
        shared: ``int64[S]``, all others.
        code: ``float32[1 + S + K, E]`` *, of the shared numbers and the item's own.
        say: ``float32[1 + E + H, E]`` *, of code and state.
        hub_code: ``float32[1 + S + E, G]`` *, of the shared numbers and what the items say; no numbers without one.
        hub: ``float32[1 + S + E, 3G]`` *, of the same, or ``float32[1 + G, 3G]`` *, of ``hub_code``.
        hub_state: ``float32[1 + G, 3G]``; the last G numbers of the first row are the candidate's recurrent bias.
        unit: ``float32[1 + E + G, 3H]`` *, of code and hub.
        unit_state: ``float32[1 + H, 3H]``, as ``hub_state``.
        answer: ``float32[1 + E + H, E]`` *, of code and state.
        mixture: ``float32[1 + G + E + S, G]`` *, of hub, answers and shared numbers.
        score: ``float32[1 + E + H + G, Q]`` *, of code, state and mixture; no numbers where actions name no items.
        score_weight: ``float32[Q]``.
        action: ``float32[1 + 2G + E + n, A]`` *, of hub, mixture, answers and scores.
    """

    items: np.ndarray
    shared: np.ndarray
    code: np.ndarray
    say: np.ndarray
    hub_code: np.ndarray
    hub: np.ndarray
    hub_state: np.ndarray
    unit: np.ndarray
    unit_state: np.ndarray
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


@kernel
def _forward(observations, fresh, weights, hub, states, codes, read, work, out):
    """One step of every lifetime.

    Args:
        observations: ``float32[N, D]``, scaled.
        fresh: ``bool[N]``; the states of these lifetimes are cleared first.
        weights: `Weights`.
        hub: ``float32[N, G]``, the hub's states, changed in place.
        states: ``float32[N, n, H]``, the items', changed in place.
        codes: ``float32[n, E]``, scratch.
        read: ``float32[2G + E + n]``, scratch: what actions are read off.
        work: ``float32[6, W]``, scratch of at least four times the largest of E, G and H, and at least S.
        out: ``float64[N, A]``.
    """
    items, own = weights.items.shape
    size, width, units = weights.say.shape[1], hub.shape[1], states.shape[2]
    seen = len(weights.shared)
    scale = np.float32(items) ** np.float32(-0.5)
    shown, said, total = work[0, :seen], work[1, :size], work[2, :size]
    scored = len(weights.score_weight)
    for i in range(len(out)):
        if fresh[i]:
            for j in range(width):
                hub[i, j] = np.float32(0.0)
            for k in range(items):
                for j in range(units):
                    states[i, k, j] = np.float32(0.0)
        for j in range(seen):
            shown[j] = observations[i, weights.shared[j]]
        for j in range(size):
            total[j] = np.float32(0.0)
        for k in range(items):
            code = codes[k]
            _set(code, weights.code[0])
            _add(code, weights.code, 1, shown)
            for j in range(own):
                value, row = observations[i, weights.items[k, j]], weights.code[1 + seen + j]
                for p in range(size):
                    code[p] += value * row[p]
            _squash(code)
            _set(said, weights.say[0])
            _add(said, weights.say, 1, code)
            _add(said, weights.say, 1 + size, states[i, k])
            _squash(said)
            for j in range(size):
                total[j] += scale * said[j]
        # The hub.
        x, h, saved, old = work[3, : 3 * width], work[4, : 3 * width], work[5, : 4 * width], work[1, :width]
        _set(x, weights.hub[0])
        if len(weights.hub_code):
            mixed = work[4, :width]
            _set(mixed, weights.hub_code[0])
            _add(mixed, weights.hub_code, 1, shown)
            _add(mixed, weights.hub_code, 1 + seen, total)
            _squash(mixed)
            _add(x, weights.hub, 1, mixed)
        else:
            _add(x, weights.hub, 1, shown)
            _add(x, weights.hub, 1 + seen, total)
        _set(old, hub[i])
        for j in range(3 * width):
            h[j] = np.float32(0.0)
        _add(h, weights.hub_state, 1, old)
        gates(x, h, weights.hub_state[0, 2 * width :], old, saved, hub[i])
        # The items, and what they answer.
        answers = read[2 * width : 2 * width + size]
        for j in range(size):
            answers[j] = np.float32(0.0)
        for k in range(items):
            state = states[i, k]
            x, h, saved, old = work[3, : 3 * units], work[4, : 3 * units], work[5, : 4 * units], work[1, :units]
            _set(x, weights.unit[0])
            _add(x, weights.unit, 1, codes[k])
            _add(x, weights.unit, 1 + size, hub[i])
            _set(old, state)
            for j in range(3 * units):
                h[j] = np.float32(0.0)
            _add(h, weights.unit_state, 1, old)
            gates(x, h, weights.unit_state[0, 2 * units :], old, saved, state)
            answer = work[2, :size]
            _set(answer, weights.answer[0])
            _add(answer, weights.answer, 1, codes[k])
            _add(answer, weights.answer, 1 + size, state)
            _squash(answer)
            for j in range(size):
                answers[j] += scale * answer[j]
        _set(read[:width], hub[i])
        mixture = read[width : 2 * width]
        _set(mixture, weights.mixture[0])
        _add(mixture, weights.mixture, 1, hub[i])
        _add(mixture, weights.mixture, 1 + width, answers)
        _add(mixture, weights.mixture, 1 + width + size, shown)
        _squash(mixture)
        if scored:
            for k in range(items):
                hidden, score = work[1, :scored], np.float32(0.0)
                _set(hidden, weights.score[0])
                _add(hidden, weights.score, 1, codes[k])
                _add(hidden, weights.score, 1 + size, states[i, k])
                _add(hidden, weights.score, 1 + size + units, mixture)
                for j in range(scored):
                    score += weights.score_weight[j] * max(hidden[j], np.float32(0.0))
                read[2 * width + size + k] = score
        actions = work[3, : weights.action.shape[1]]
        _set(actions, weights.action[0])
        _add(actions, weights.action, 1, read)
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
        first = int(take("first_action").item())
        names = {
            "code": ("shared_code.bias", "shared_code.weight", "item_code.weight"),
            "say": ("say.bias", "say.weight"),
            "hub": ("hub.input_bias", "hub.input_weight"),
            "unit": ("unit.input_bias", "unit.input_weight"),
            "answer": ("answer.bias", "answer.weight"),
            "mixture": ("mixture.bias", "mixture.weight"),
            "action": ("action_net.bias", "action_net.weight"),
            **({"score": ("score.bias", "score.weight")} if first >= 0 else {}),
            **({"hub_code": ("hub_code.bias", "hub_code.weight")} if "hub_code.bias" in tensors else {}),
        }
        layers = {name: layer(*parts) for name, parts in names.items()}
        layers |= {"hub_state": state("hub"), "unit_state": state("unit")}
        for name in ("score", "hub_code"):
            layers.setdefault(name, np.zeros((0, 0)))
        layers["score_weight"] = take("score_weight") if first >= 0 else np.zeros(0)
        size, width, units = (layers[name].shape[1] for name in ("say", "mixture", "unit_state"))
        units //= 3
        items, own = columns.shape if columns.ndim == 2 else (0, 0)
        seen, hidden = len(shared), layers["score"].shape[1]
        if (
            len(columns) != items
            or not 0 < items * own == len({*columns.ravel()})
            or {*columns.ravel(), *shared} != set(range(len(self.scale)))
        ):
            raise ValueError(
                f"Expected item_columns and shared_columns to hold each of {len(self.scale)} columns once, received "
                f"{columns.tolist()} and {shared.tolist()}."
            )
        scored = items if first >= 0 else 0
        expected = {
            "code": (1 + seen + own, size),
            "say": (1 + size + units, size),
            "hub": (1 + (width if len(layers["hub_code"]) else seen + size), 3 * width),
            **({"hub_code": (1 + seen + size, width)} if len(layers["hub_code"]) else {}),
            "hub_state": (1 + width, 3 * width),
            "unit": (1 + size + width, 3 * units),
            "answer": (1 + size + units, size),
            "mixture": (1 + width + size + seen, width),
            "action": (1 + 2 * width + size + scored, layers["action"].shape[1]),
            **({"score": (1 + size + units + width, hidden), "score_weight": (hidden,)} if scored else {}),
        }
        wrong = [name for name, shape in expected.items() if layers[name].shape != shape]
        if wrong:
            raise ValueError(
                f"Expected {wrong[0]} (a bias and transposed weights) of shape {expected[wrong[0]]}, received "
                f"{layers[wrong[0]].shape}."
            )
        plain: dict[str, Any] = {name: np.ascontiguousarray(array, np.float32) for name, array in layers.items()}
        self.weights = Weights(items=columns.astype(np.int64), shared=shared.astype(np.int64), **plain)
        self.log_std = take("log_std") if "log_std" in tensors else None
        self.sizes = np.array([len(self.scale), layers["action"].shape[1]], dtype=np.int64)
        self._shape = (items, units, width)
        self._codes = np.zeros((items, size), dtype=np.float32)
        self._read = np.zeros(2 * width + size + scored, dtype=np.float32)
        widest = max(4 * max(size, width, units), seen, hidden, int(self.sizes[1]))
        self._work = np.zeros((6, widest), dtype=np.float32)

    def begin(self, lanes: int) -> None:
        """Clear the states of ``lanes`` lifetimes."""
        items, units, width = self._shape
        self._hub = np.zeros((lanes, width), dtype=np.float32)
        self._states = np.zeros((lanes, items, units), dtype=np.float32)

    def forward(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Outputs ``float64[N, A]`` for ``float32[N, D]``, one step on."""
        out = np.zeros((len(observations), int(self.sizes[-1])))
        _forward(
            np.ascontiguousarray(observations * self.scale, dtype=np.float32),
            np.ascontiguousarray(fresh, dtype=np.bool_),
            self.weights,
            self._hub,
            self._states,
            self._codes,
            self._read,
            self._work,
            out,
        )
        return out
