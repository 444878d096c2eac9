"""Checks at the door: a value as it should be, or an error that names what was received and what was expected."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def check_integer(name: str, value: Any, low: int, high: int) -> int:
    """A whole number within bounds.

    Args:
        name: what the error calls it.
        value: Python's or NumPy's integer (a bool is none).
        low: least value.
        high: greatest value.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise ValueError(f"{name} must be an integer in {low}..{high}, received {value!r}.")
    return int(value)


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """A finite number within bounds.

    Args:
        name: what the error calls it.
        value: Python's or NumPy's integer or float (a bool is none).
        low: least value.
        high: greatest value.

    Raises:
        ValueError: it is anything else.
    """
    kinds = (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise ValueError(f"{name} must be a number in [{low:g}, {high:g}], received {value!r}.")
    return float(value)


def check_integers(name: str, values: Any, length: int, low: int, high: int) -> tuple[int, ...]:
    """So many whole numbers within bounds.

    Args:
        name: what the error calls them.
        values: a sequence of integers.
        length: how many there must be.
        low: least value of each.
        high: greatest value of each.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or len(values) != length:
        raise ValueError(f"{name} must be {length} integers in {low}..{high}, received {values!r}.")
    return tuple(check_integer(f"{name}[{k}]", value, low, high) for k, value in enumerate(values))


def check_numbers(name: str, values: Any, length: int, low: float, high: float) -> tuple[float, ...]:
    """So many finite numbers within bounds.

    Args:
        name: what the error calls them.
        values: a sequence of numbers.
        length: how many there must be.
        low: least value of each.
        high: greatest value of each.

    Raises:
        ValueError: it is anything else.
    """
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray) or len(values) != length:
        raise ValueError(f"{name} must be {length} numbers in [{low:g}, {high:g}], received {values!r}.")
    return tuple(check_number(f"{name}[{k}]", value, low, high) for k, value in enumerate(values))


def check_choice(name: str, value: Any, offered: Sequence[str]) -> str:
    """One of several words.

    Args:
        name: what the error calls it.
        value: what was chosen.
        offered: what can be.

    Raises:
        ValueError: it is none of them.
    """
    if not isinstance(value, str) or value not in offered:
        words = [repr(word) for word in offered]
        raise ValueError(f"{name} must be {', '.join(words[:-1])} or {words[-1]}, received {value!r}.")
    return value


def check_weight(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """One of a policy's weights.

    Args:
        tensors: all of them, by name.
        name: the one that is asked for.

    Returns:
        It, as ``float64`` of its own shape.

    Raises:
        ValueError: it is missing, or not all of it is finite.
    """
    if name not in tensors:
        raise ValueError(f"The policy's weights lack {name!r}; they hold {', '.join(sorted(tensors))}.")
    array = np.asarray(tensors[name], dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"The policy's weights {name!r} are not all finite.")
    return array


__all__ = ["check_choice", "check_integer", "check_integers", "check_number", "check_numbers", "check_weight"]
