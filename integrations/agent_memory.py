"""What an agent remembers, as plain data: taken from one that lives, given to one that has just begun.

An agent need only ``begin`` and ``act``, so nothing says where it keeps what it has seen. Our own agents keep it in
arrays and plain values among their attributes, and that is what is read here; of an agent that keeps anything else
nothing is guessed, it is refused.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from daytwo.agent import LifetimeSpec
from daytwo.observation import Layout

_PLAIN = (type(None), bool, int, float, str, np.generic)


def memory_of(agent: Any) -> dict[str, Any]:
    """An agent's memory: copies of its attributes that are arrays, plain values, or tuples, lists and dicts of these.

    Args:
        agent: an agent between two calls of ``act``.

    Returns:
        Nested dicts, lists and tuples of arrays and plain values, which `restore_memory` takes.

    Raises:
        TypeError: it keeps something else, which may hold a part of its memory; the error names it.
    """
    if getattr(agent, "privileged", False):
        raise TypeError(f"The memory of {_name(agent)} is the environment's own state: it is privileged.")
    memory = {}
    for name, value in vars(agent).items():
        if not _constant(value):
            memory[name] = _copied(value, f"{_name(agent)}.{name}")
    return memory


def restore_memory(agent: Any, memory: Mapping[str, Any]) -> None:
    """Give an agent the memory of another one.

    Args:
        agent: of the same kind, begun with the same lifetimes; its arrays are written to in place.
        memory: what `memory_of` returned.
    """
    for name, saved in memory.items():
        setattr(agent, name, _restored(getattr(agent, name, None), saved))


def _name(agent: Any) -> str:
    return type(agent).__name__


def _constant(value: Any) -> bool:
    """Whether a value cannot change: the spec, a layout, a record of settings, a function, a class."""
    return isinstance(value, LifetimeSpec | Layout | np.void | type) or inspect.isroutine(value)


def _copied(value: Any, where: str) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.copy()
    if isinstance(value, list | tuple):
        # Named tuples come back as they are in the agent, see `_restored`.
        return [_copied(one, f"{where}[{k}]") for k, one in enumerate(value)]
    if isinstance(value, dict):
        return {key: _copied(one, f"{where}[{key!r}]") for key, one in value.items()}
    raise TypeError(
        f"The memory of an agent is read from arrays and plain values; {where} is a {type(value).__name__}."
    )


def _restored(mine: Any, saved: Any) -> Any:
    """A saved value in the form that the agent's own has, in its own arrays where they fit."""
    if isinstance(saved, np.ndarray):
        if isinstance(mine, np.ndarray) and (mine.shape, mine.dtype) == (saved.shape, saved.dtype):
            if mine.flags.writeable:
                mine[...] = saved
            return mine
        return saved.copy()
    if isinstance(saved, list):
        own = mine if isinstance(mine, list | tuple) and len(mine) == len(saved) else [None] * len(saved)
        parts = [_restored(one, entry) for one, entry in zip(own, saved, strict=True)]
        if isinstance(own, tuple):
            return type(own)(*parts) if hasattr(own, "_fields") else tuple(parts)
        return parts
    if isinstance(saved, Mapping):
        own_entries = mine if isinstance(mine, Mapping) else {}
        return {key: _restored(own_entries.get(key), entry) for key, entry in saved.items()}
    return saved
