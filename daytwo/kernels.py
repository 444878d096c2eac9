"""Compilation settings in one place, and the switch between compiled and interpreted execution.

The environment's loop and the agents' inner loops are scalar Python functions. They run compiled by numba, or,
inside ``with interpreted():`` (or with ``DAYTWO_INTERPRETED=1``), as ordinary Python for a debugger. Both give
identical results; a test holds them to it.
"""

import contextlib
import functools
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
from numba.core.bytecode import FunctionIdentity

# numba numbers functions and record types from 1 in every process, and names machine code by these numbers. Two
# processes that compile the same function for records of different layouts then give both the same name, and a third
# that loads both from the disk cache runs one in place of the other, which crashes it (numba issue 10486). Random
# numbers keep the names apart.
FunctionIdentity._unique_ids = iter(lambda: secrets.randbits(60), None)  # type: ignore[assignment]

_interpreted = os.environ.get("DAYTWO_INTERPRETED", "") not in ("", "0")


def is_interpreted() -> bool:
    """Whether kernels called now run as ordinary Python."""
    return _interpreted


@contextlib.contextmanager
def interpreted(on: bool = True) -> Iterator[None]:
    """Run every kernel called inside the block as ordinary Python (slow; for debugging and tests)."""
    global _interpreted
    before, _interpreted = _interpreted, on
    try:
        yield
    finally:
        _interpreted = before


def compile_cached(function: Callable[..., Any]) -> Any:
    """Compile a function with numba, cached on disk, without the interpreter lock and with IEEE division."""
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs as `compile_cached` compiles it, or, where kernels are interpreted, as it is.

    Helpers that a kernel calls should be plain functions marked ``numba.extending.register_jitable``: closing
    over another compiled function defeats the disk cache.
    """
    compiled = compile_cached(function)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if _interpreted:
            with np.errstate(all="ignore"):
                return function(*arguments)
        return compiled(*arguments)

    call.compiled = compiled  # type: ignore[attr-defined]
    return call
