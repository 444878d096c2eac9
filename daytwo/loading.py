"""Importing what a text names: agents, teachers, courses and families are registered without being imported."""

import importlib
from typing import Any


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
