"""The random policy: the zero of every normalised return, so it stands in the hub and not among the agents."""

import numpy as np
from numba.extending import register_jitable

from daytwo.kernels import kernel
from daytwo.streams import integer, uniform


@register_jitable
def offered_action(mask, streams, i):
    """One of the actions that row ``i`` of ``mask`` offers, all equally likely (0 where it offers none)."""
    offered = 0
    for k in range(mask.shape[1]):
        if mask[i, k]:
            offered += 1
    chosen = integer(streams, i, offered) if offered > 0 else 0
    for k in range(mask.shape[1]):
        if mask[i, k]:
            if chosen == 0:
                return k
            chosen -= 1
    return 0


@kernel
def _choose(mask, streams, out):
    for i in range(len(out)):
        out[i] = offered_action(mask, streams, i)


@kernel
def _fill(streams, out):
    for i in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[i, k] = 2.0 * uniform(streams, i) - 1.0


def random_actions(mask: np.ndarray, streams: np.ndarray) -> np.ndarray:
    """Actions uniform over those that ``mask`` (``bool[N, A]``) offers, drawn from ``streams`` (``uint64[N, 4]``).

    Returns:
        ``int64[N]``.
    """
    out = np.zeros(len(mask), dtype=np.int64)
    _choose(np.ascontiguousarray(mask, dtype=np.bool_), streams, out)
    return out


def random_vectors(streams: np.ndarray, dimensions: int) -> np.ndarray:
    """Action vectors uniform on [-1, 1], ``float64[N, dimensions]``, drawn from ``streams`` (``uint64[N, 4]``)."""
    out = np.zeros((len(streams), dimensions))
    _fill(streams, out)
    return out
