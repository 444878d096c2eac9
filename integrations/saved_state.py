"""The exact state of a training run on disk, in files that run no code when they are read.

Tensors and plain values lie in ``state.pt``, which is read with ``torch.load(weights_only=True)``; NumPy's arrays,
structured and unsigned ones too, in ``arrays.npz``, which is read without pickle.
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daytwo.course import Course

STATE, ARRAYS = "state.pt", "arrays.npz"
_ARRAY, _COURSE, _BYTES = "__array__", "__course__", "__bytes__"
_PLAIN = (str, bool, int, float, type(None))


def _flatten(value: Any, arrays: dict[str, np.ndarray], where: str) -> Any:
    """A copy of nested values in which arrays are replaced by their names in ``arrays``."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise ValueError(f"The state's {where} is an array of objects, which cannot be saved as plain numbers.")
        name = f"a{len(arrays)}"
        arrays[name] = value.view(np.ndarray)
        return {_ARRAY: name}
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Course):
        return {_COURSE: value.to_dict()}
    if isinstance(value, bytes):
        return _flatten(np.frombuffer(value, dtype=np.uint8), arrays, where) | {_BYTES: True}
    if isinstance(value, Mapping):
        return {key: _flatten(one, arrays, f"{where}[{key!r}]") for key, one in value.items()}
    if isinstance(value, list | tuple):
        items = [_flatten(one, arrays, f"{where}[{k}]") for k, one in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, _PLAIN):
        return value
    raise ValueError(f"The state's {where} is a {type(value).__name__}; expected tensors, arrays and plain values.")


def _restore(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if _ARRAY in value:
            array = arrays[value[_ARRAY]]
            return array.tobytes() if value.get(_BYTES) else array
        if _COURSE in value:
            return Course.from_dict(value[_COURSE])
        return {key: _restore(one, arrays) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_restore(one, arrays) for one in value)
    return value


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a state into a folder.

    Args:
        folder: exists already.
        state: nested dicts, lists and tuples of tensors, arrays, courses and plain values.

    Raises:
        ValueError: it holds something else.
    """
    arrays: dict[str, np.ndarray] = {}
    flat = _flatten(state, arrays, "state")
    torch.save(flat, folder / STATE)
    np.savez(folder / ARRAYS, allow_pickle=False, **arrays)


def has_state(folder: Path) -> bool:
    """Whether a checkpoint holds the state to go on from, and is not an agent only."""
    return (folder / STATE).is_file() and (folder / ARRAYS).is_file()


def read_state(folder: Path) -> dict[str, Any]:
    """Read what `write_state` wrote.

    Raises:
        ValueError: the files are broken, or hold anything but data.
    """
    try:
        flat = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        with np.load(folder / ARRAYS, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return _restore(flat, arrays)
    except OSError:
        raise
    except Exception as error:  # unpickling and unzipping fail in many ways
        kind = "is broken" if isinstance(error, zipfile.BadZipFile | EOFError) else "cannot be read"
        raise ValueError(
            f"The state of the run in {str(folder)!r} {kind}, or holds more than weights and numbers: {error}"
        ) from error


def settle(folder: Path) -> None:
    """Have the system write a folder's files to the disk now, so that a later rename never precedes them."""
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:
            pass
        finally:
            os.close(handle)
