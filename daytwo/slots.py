"""Things in slots, for `daytwo.networks`: what was used, and how well two things go together.

Where an observation lists things and an action puts two of them together, networks may have a layer that shares one
code among all slots of a kind; `daytwo.integrations.slot_reader` says what it computes, and trains it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from daytwo.activations import fast_sigmoid, fast_tanh

CODE, MEANING = 40, 32  # numbers of a code, and of what it means
KEY, CONTENT = 32, 16  # numbers of a key, and of what is stored under it
MEMORIES = 2  # of what second things did alone, and of what they did with one of the first
SHOWN = 5 * CODE  # numbers that say what was used


class Slots(NamedTuple):
    """The layer's weights and its scratch.

    Attributes:
        places: ``int64[7]``: first column, number and size of the first things; the same of the second things; first
            column of the previous action. Empty for no such layer.
        codes: ``float32[2, CODE, 1 + s]``: bias and matrix, for the first things and for the second.
        meanings: ``float32[2, 2 MEANING, 1 + CODE]``, the same.
        asked: ``float32[4 MEANING, 1 + R]``.
        keys: ``float32[3, KEY, CODE]``: of second things alone; of the second and of the first of a pair.
        stored: ``float32[MEMORIES, 2 CONTENT, 1 + E + CONTENT]``: bias, of what the encoder gives, of what is there.
        stands: ``float32[MEMORIES, MEANING, CONTENT]``, from what is known to what it means.
        weights: ``float32[3, MEANING]``: those of pairs, those of things alone, and what stands for no second thing.
        code: ``float32[2, n, CODE]``, scratch: codes of what there is.
        used: ``float32[2, CODE]``, scratch: codes of what was used, before.
        meaning: ``float32[2 MEANING]``, scratch.
        question: ``float32[4 MEANING]``, scratch.
        known: ``float32[2, n, MEANING]``, scratch.
        parts: ``float32[2, n, KEY]``, scratch: what keys of pairs are products of.
        unit: ``float32[KEY]``, scratch.
        change: ``float32[3 CONTENT]``, scratch.
        alone: ``float32[n, CONTENT]``, scratch: what is known of second things.
        together: ``float32[m, n, CONTENT]``, scratch: what is known of pairs.
    """

    places: np.ndarray
    codes: np.ndarray
    meanings: np.ndarray
    asked: np.ndarray
    keys: np.ndarray
    stored: np.ndarray
    stands: np.ndarray
    weights: np.ndarray
    code: np.ndarray
    used: np.ndarray
    meaning: np.ndarray
    question: np.ndarray
    known: np.ndarray
    parts: np.ndarray
    unit: np.ndarray
    change: np.ndarray
    alone: np.ndarray
    together: np.ndarray


def no_slots() -> Slots:
    """What a network without such a layer has."""
    dimensions = (3, 3, 2, 3, 3, 3, 2, 3, 2, 1, 1, 3, 3, 1, 1, 2, 3)
    return Slots(np.zeros(0, dtype=np.int64), *(np.zeros((0,) * number, dtype=np.float32) for number in dimensions))


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
    if "encoder.weight" not in tensors:
        raise ValueError("The policy's weights hold 'slots.places' but lack 'encoder.weight'.")
    places = take("slots.places").astype(np.int64)
    if places.shape != (7,) or (places < 0).any():
        raise ValueError(f"Expected slots.places of 7 numbers of at least 0, received {places.tolist()}.")

    def layer(name: str, rows: int, columns: int | None, biased: bool = True) -> np.ndarray:
        matrix = take(f"slots.{name}.weight")
        bias = take(f"slots.{name}.bias") if biased else np.zeros(rows)
        if bias.shape != (rows,) or matrix.shape != (rows, matrix.shape[1] if columns is None else columns):
            raise ValueError(
                f"Expected slots.{name} of {rows} rows and {'some' if columns is None else columns} columns, received "
                f"weights of shape {matrix.shape} and a bias of shape {bias.shape}."
            )
        return np.concatenate([bias[:, None], matrix], axis=1) if biased else matrix

    sizes = (int(places[2]), int(places[5]))
    codes = np.zeros((2, CODE, 1 + max(sizes)))
    meanings = np.zeros((2, 2 * MEANING, 1 + CODE))
    for k, kind in enumerate(("first", "second")):
        codes[k, :, : 1 + sizes[k]] = layer(f"{kind}_code", CODE, sizes[k])
        meanings[k] = layer(f"{kind}_meaning", 2 * MEANING, CODE)
    weights = np.stack([*take("slots.weight"), take("slots.alone")])
    alone, pairs = (f"memories.{k}" for k in range(MEMORIES))
    keys = [layer(name, KEY, CODE, False) for name in (f"{alone}.key", f"{pairs}.key", f"{pairs}.partner_key")]
    seen = layer(f"{alone}.stored", 2 * CONTENT, None).shape[1] - 1
    stored = [
        np.concatenate([layer(f"{name}.stored", 2 * CONTENT, seen), take(f"slots.{name}.content_weight")[0]], axis=1)
        for name in (alone, pairs)
    ]
    stands = [layer(f"{name}.known", MEANING, CONTENT, False) for name in (alone, pairs)]
    arrays = [codes, meanings, layer("asked", 4 * MEANING, None), *map(np.stack, (keys, stored, stands)), weights]
    most = max(places[1], places[4])
    shapes: list[Any] = [(2, most, CODE), (2, CODE), 2 * MEANING, 4 * MEANING, (2, most, MEANING), (2, most, KEY)]
    shapes += [KEY, 3 * CONTENT, (places[4], CONTENT), (places[1], places[4], CONTENT)]
    scratch = [np.zeros(shape) for shape in shapes]
    return Slots(places, *(np.ascontiguousarray(array, dtype=np.float32) for array in arrays + scratch))


def check_slots(slots: Slots, observed: int, seen: int, read: int, actions: int) -> None:
    """Refuse a layer that does not fit its network.

    Args:
        slots: the layer; `no_slots` fits any.
        observed: numbers of an observation.
        seen: numbers that the encoder gives.
        read: numbers that the heads read.
        actions: how many there are.

    Raises:
        ValueError: something lies outside of the observation, or there are other numbers of something.
    """
    if not len(slots.places):
        return
    first, firsts, first_size, second, seconds, second_size, action = slots.places.tolist()
    ends = (first + firsts * first_size, second + seconds * second_size, action + 1 + firsts * (1 + seconds))
    if max(ends) > observed:
        raise ValueError(
            f"Expected slots.places in an observation of {observed} numbers, received {ends} for the ends."
        )
    expected = (seen, read, 1 + firsts * (1 + seconds))
    received = (slots.stored.shape[2] - 1 - CONTENT, slots.asked.shape[1] - 1, actions)
    if expected != received:
        raise ValueError(
            f"Expected slots for {expected} numbers seen, numbers read and actions, received them for {received}."
        )


@register_jitable
def _code(slots, kind, observation, at, code):
    """Write the code of the thing whose numbers begin at ``observation[at]``."""
    size = slots.places[3 * kind + 2]
    for k in range(CODE):
        row = slots.codes[kind, k]
        total = row[0]
        for j in range(size):
            total += row[1 + j] * observation[at + j]
        code[k] = fast_tanh(total)


@register_jitable
def show_used(slots, observation, values, width):
    """Write what was used in the last step behind ``values[:width]``; returns how many numbers there are then.

    Codes of what there is and of what was used are kept for `recall_things` and `score_pairs`.
    """
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
        chosen, used = one if kind == 0 else other, slots.used[kind]
        for thing in range(count):
            code = slots.code[kind, thing]
            _code(slots, kind, observation, at + thing * size, code)
            for k in range(CODE):
                values[width + (3 + kind) * CODE + k] += code[k] / np.float32(count)
            if thing == chosen and kind == 0:
                for k in range(CODE):
                    values[width + CODE + k] = code[k]
        for k in range(CODE):
            used[k] = np.float32(0.0)
        if chosen >= 0:
            _code(slots, kind, observation, before + at + chosen * size, used)
        for k in range(CODE):
            values[width + 2 * kind * CODE + k] = used[k]
    return width + SHOWN


@register_jitable
def _key(matrix, code, key):
    """``key[KEY]``: ``matrix[KEY, CODE] @ code[CODE]``."""
    for k in range(KEY):
        row, number = matrix[k], np.float32(0.0)
        for j in range(CODE):
            number += row[j] * code[j]
        key[k] = number


@register_jitable
def _unit(slots, key, partner, pairs):
    """Write a key at length 1 to ``unit``; that of a pair is a product."""
    total = np.float32(1e-6)
    for k in range(KEY):
        number = key[k] * partner[k] if pairs else key[k]
        slots.unit[k] = number
        total += number * number
    factor = np.float32(1.0) / np.sqrt(total)
    for k in range(KEY):
        slots.unit[k] *= factor


@register_jitable
def _read(slots, memory, out):
    """Write what stands under ``unit``."""
    for v in range(CONTENT):
        row, total = memory[v], np.float32(0.0)
        for j in range(KEY):
            total += row[j] * slots.unit[j]
        out[v] = total


@register_jitable
def recall_things(slots, memories, values, width):
    """Store what the things that were used did, and look up what is known of those that there are.

    Args:
        slots: the layer; what is known is written to ``alone`` and ``together``.
        memories: ``float32[MEMORIES, CONTENT, KEY]``, changed in place.
        values: what the encoder gives, ``float32[width]`` and more behind.
        width: see above.
    """
    there, mixed = slots.change[:CONTENT], slots.change[CONTENT:]
    firsts, seconds = slots.places[1], slots.places[4]
    for m in range(MEMORIES):
        memory, key, partner = memories[m], slots.parts[1], slots.parts[0]
        _key(slots.keys[m], slots.used[1], key[0])
        _key(slots.keys[2], slots.used[0], partner[0])
        _unit(slots, key[0], partner[0], m == 1)
        _read(slots, memory, there)
        for k in range(2 * CONTENT):
            row = slots.stored[m, k]
            total = row[0]
            for j in range(width):
                total += row[1 + j] * values[j]
            for j in range(CONTENT):
                total += row[1 + width + j] * there[j]
            mixed[k] = total
        for v in range(CONTENT):
            row, factor = memory[v], fast_sigmoid(mixed[CONTENT + v]) * (fast_tanh(mixed[v]) - there[v])
            for j in range(KEY):
                row[j] += factor * slots.unit[j]
        for thing in range(seconds):
            _key(slots.keys[m], slots.code[1, thing], key[thing])
        if m == 0:
            for thing in range(seconds):
                _unit(slots, key[thing], key[thing], False)
                _read(slots, memory, slots.alone[thing])
        else:
            for thing in range(firsts):
                _key(slots.keys[2], slots.code[0, thing], partner[thing])
            for one in range(firsts):
                for other in range(seconds):
                    _unit(slots, key[other], partner[one], True)
                    _read(slots, memory, slots.together[one, other])


@register_jitable
def score_pairs(slots, values, width):
    """Write all actions' scores behind ``values[:width]``, what the heads read; returns how many numbers there are."""
    places, question, known = slots.places, slots.question, slots.known
    for k in range(4 * MEANING):
        row = slots.asked[k]
        total = row[0]
        for j in range(width):
            total += row[1 + j] * values[j]
        question[k] = total
    for kind in range(2):
        for thing in range(places[3 * kind + 1]):
            code = slots.code[kind, thing]
            for k in range(2 * MEANING):
                row = slots.meanings[kind, k]
                total = row[0]
                for j in range(CODE):
                    total += row[1 + j] * code[j]
                slots.meaning[k] = total
            for k in range(MEANING):
                added, factor = question[2 * kind * MEANING + k], question[(2 * kind + 1) * MEANING + k]
                total = slots.meaning[k] + added + slots.meaning[MEANING + k] * factor
                if kind == 1:
                    row = slots.stands[0, k]
                    for j in range(CONTENT):
                        total += row[j] * slots.alone[thing, j]
                known[kind, thing, k] = total
    values[width] = np.float32(0.0)
    written = width + 1
    for one in range(places[1]):
        for other in range(-1, places[4]):
            total = np.float32(0.0)
            for k in range(MEANING):
                second = slots.weights[2, k] if other < 0 else known[1, other, k]
                if other >= 0:
                    row, found = slots.stands[1, k], slots.together[one, other]
                    for j in range(CONTENT):
                        second += row[j] * found[j]
                total += slots.weights[1 if other < 0 else 0, k] * max(known[0, one, k] + second, np.float32(0.0))
            values[written] = total
            written += 1
    return written
