"""Importing what a text names: agents, teachers, courses and families are registered without being imported."""

import importlib
from collections.abc import MutableMapping
from typing import Any


def register(table: MutableMapping[str, str], name: str, entry_point: str, what: str = "Class") -> None:
    """Enter a name for something that is not imported yet.

    Args:
        table: entry points by name, one for each name.
        name: what it will be called.
        entry_point: ``"module:attribute"``.
        what: the attribute, ``Class`` or ``function``.

    Raises:
        ValueError: the entry point is malformed, or something else has the name.
    """
    check_entry_point(entry_point, what)
    if table.setdefault(name, entry_point) != entry_point:
        raise ValueError(f"{name!r} is the name of {table[name]!r} already.")


def check_entry_point(entry_point: str, what: str = "Class") -> None:
    """Refuse an entry point without a colon."""
    if ":" not in entry_point:
        raise ValueError(f"entry_point must read 'module:{what}', received {entry_point!r}.")


def load(entry_point: str) -> Any:
    """Import ``"module:attribute"``.

    Raises:
        ValueError: there is no such module or attribute.
    """
    module_name, _, attribute = entry_point.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Cannot load {entry_point!r}: {error}.") from error
