"""Things in slots, for `daytwo.networks`: what was used, and how well two things go together.

Where an observation lists things and an action puts two of them together, networks may have a layer that shares one
code among all slots of a kind; `daytwo.integrations.slot_reader` says what it computes, and trains it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daytwo.activations import fast_tanh

CODE, MEANING = 40, 32  # numbers of a code, and of what it means
SHOWN = 5 * CODE  # numbers that say what was used


class Slots(NamedTuple):
    """The layer's weights and its scratch.

    Attributes:
        places: ``int64[7]``: first column, number and size of the first things; the same of the second things; first
            column of the previous action. Empty for no such layer.
        codes: ``float32[2, CODE, 1 + s]``: bias and matrix, for the first things and for the second.
        meanings: ``float32[2, 2 MEANING, 1 + CODE]``, the same.
        asked: ``float32[4 MEANING, 1 + R]``.
        weights: ``float32[3, MEANING]``: those of pairs, those of things alone, and what stands for no second thing.
        code: ``float32[CODE]``, scratch.
        meaning: ``float32[2 MEANING]``, scratch.
        question: ``float32[4 MEANING]``, scratch.
        known: ``float32[2, n, MEANING]``, scratch.
    """

    places: np.ndarray
    codes: np.ndarray
    meanings: np.ndarray
    asked: np.ndarray
    weights: np.ndarray
    code: np.ndarray
    meaning: np.ndarray
    question: np.ndarray
    known: np.ndarray


def no_slots() -> Slots:
    """What a network without such a layer has."""
    empty = [np.zeros((0,) * dimensions, dtype=np.float32) for dimensions in (3, 3, 2, 2, 1, 1, 1, 3)]
    return Slots(np.zeros(0, dtype=np.int64), *empty)


def take_slots(tensors: Mapping[str, np.ndarray], take: Callable[[str], np.ndarray]) -> Slots:
    """The layer of a policy, or `no_slots`.

    Args:
        tensors: weights by name: see `daytwo.networks.Network`.
        take: gives one of them by its name, or says that it is missing.

    Raises:
        ValueError: the weights are not those of such a layer.
    """
    if "slots.places" not in tensors:
        return no_slots()
    places = take("slots.places").astype(np.int64)
    if places.shape != (7,) or (places < 0).any():
        raise ValueError(f"Expected slots.places of 7 numbers of at least 0, received {places.tolist()}.")

    def layer(name: str, rows: int, columns: int | None) -> np.ndarray:
        matrix, bias = take(f"slots.{name}.weight"), take(f"slots.{name}.bias")
        if bias.shape != (rows,) or matrix.shape != (rows, matrix.shape[1] if columns is None else columns):
            raise ValueError(
                f"Expected slots.{name} of {rows} rows and {'some' if columns is None else columns} columns, received "
                f"weights of shape {matrix.shape} and a bias of shape {bias.shape}."
            )
        return np.concatenate([bias[:, None], matrix], axis=1)

    sizes = (int(places[2]), int(places[5]))
    codes = np.zeros((2, CODE, 1 + max(sizes)))
    meanings = np.zeros((2, 2 * MEANING, 1 + CODE))
    for k, kind in enumerate(("first", "second")):
        codes[k, :, : 1 + sizes[k]] = layer(f"{kind}_code", CODE, sizes[k])
        meanings[k] = layer(f"{kind}_meaning", 2 * MEANING, CODE)
    weights = np.stack([*take("slots.weight"), take("slots.alone")])
    arrays = [codes, meanings, layer("asked", 4 * MEANING, None), weights]
    scratch = [np.zeros(shape) for shape in (CODE, 2 * MEANING, 4 * MEANING, (2, max(places[1], places[4]), MEANING))]
    return Slots(places, *(np.ascontiguousarray(array, dtype=np.float32) for array in arrays + scratch))


@register_jitable
def _code(slots, kind, observation, at):
    """Write the code of the thing whose numbers begin at ``observation[at]``."""
    size = slots.places[3 * kind + 2]
    for k in range(CODE):
        row = slots.codes[kind, k]
        total = row[0]
        for j in range(size):
            total += row[1 + j] * observation[at + j]
        slots.code[k] = fast_tanh(total)


@register_jitable
def show_used(slots, observation, values, width):
    """Write what was used in the last step behind ``values[:width]``; returns how many numbers there are then."""
    places = slots.places
    before = len(observation) // 2
    for k in range(SHOWN):
        values[width + k] = np.float32(0.0)
    one, other = -1, -1
    for action in range(1, 1 + places[1] * (1 + places[4])):
        if observation[places[6] + action] > np.float32(0.5):
            one = (action - 1) // (1 + places[4])
            other = (action - 1) % (1 + places[4]) - 1
    for kind in range(2):
        at, count, size = places[3 * kind], places[3 * kind + 1], places[3 * kind + 2]
        chosen = one if kind == 0 else other
        for thing in range(count):
            _code(slots, kind, observation, at + thing * size)
            for k in range(CODE):
                values[width + (3 + kind) * CODE + k] += slots.code[k] / np.float32(count)
            if thing == chosen and kind == 0:
                for k in range(CODE):
                    values[width + CODE + k] = slots.code[k]
        if chosen >= 0:
            _code(slots, kind, observation, before + at + chosen * size)
            for k in range(CODE):
                values[width + 2 * kind * CODE + k] = slots.code[k]
    return width + SHOWN


@register_jitable
def score_pairs(slots, observation, values, width):
    """Write all actions' scores behind ``values[:width]``, what the heads read; returns how many numbers there are."""
    places, question, known = slots.places, slots.question, slots.known
    for k in range(4 * MEANING):
        row = slots.asked[k]
        total = row[0]
        for j in range(width):
            total += row[1 + j] * values[j]
        question[k] = total
    for kind in range(2):
        at, count, size = places[3 * kind], places[3 * kind + 1], places[3 * kind + 2]
        for thing in range(count):
            _code(slots, kind, observation, at + thing * size)
            for k in range(2 * MEANING):
                row = slots.meanings[kind, k]
                total = row[0]
                for j in range(CODE):
                    total += row[1 + j] * slots.code[j]
                slots.meaning[k] = total
            for k in range(MEANING):
                added, factor = question[2 * kind * MEANING + k], question[(2 * kind + 1) * MEANING + k]
                known[kind, thing, k] = slots.meaning[k] + added + slots.meaning[MEANING + k] * factor
    values[width] = np.float32(0.0)
    written = width + 1
    for one in range(places[1]):
        for other in range(-1, places[4]):
            total = np.float32(0.0)
            for k in range(MEANING):
                second = slots.weights[2, k] if other < 0 else known[1, other, k]
                total += slots.weights[1 if other < 0 else 0, k] * max(known[0, one, k] + second, np.float32(0.0))
            values[written] = total
            written += 1
    return written
