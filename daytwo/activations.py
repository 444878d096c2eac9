"""Activation functions and gates in single precision, in forms that compile to vector instructions."""

import numpy as np
from numba.extending import register_jitable


@register_jitable
def fast_tanh(x):
    """Tanh in single precision, to 4e-7, in a form that compiles to vector instructions.

    A minimax rational function on [-9, 9], beyond which tanh is 1 in single precision.
    """
    x = min(max(x, np.float32(-7.90531110763549805)), np.float32(7.90531110763549805))
    square = x * x
    top = np.float32(-2.76076847742355e-16) * square + np.float32(2.00018790482477e-13)
    top = top * square + np.float32(-8.60467152213735e-11)
    top = top * square + np.float32(5.12229709037114e-08)
    top = top * square + np.float32(1.48572235717979e-05)
    top = top * square + np.float32(6.37261928875436e-04)
    top = top * square + np.float32(4.89352455891786e-03)
    bottom = np.float32(1.19825839466702e-06) * square + np.float32(1.18534705686654e-04)
    bottom = bottom * square + np.float32(2.26843463243900e-03)
    bottom = bottom * square + np.float32(4.89352518554385e-03)
    return x * top / bottom


@register_jitable
def fast_sigmoid(x):
    return np.float32(0.5) + np.float32(0.5) * fast_tanh(np.float32(0.5) * x)


# These loops are cut into passes of few arrays each: the compiler turns a loop into vector instructions only if it
# can check cheaply that its arrays do not overlap. In one pass over all of them the gates take ten times as long.


@register_jitable
def gates(x, h, bias, old, saved, new):
    """One step of gated recurrent units, in cuDNN's form (`torch.nn.GRU`).

    Args:
        x: ``[3H]``, projections of what comes in, for the reset, update and candidate gates.
        h: ``[3H]``, of the state before.
        bias: ``[H]``, of the candidate's recurrent part.
        old: ``[H]``, the state before.
        saved: ``[4H]``, written: reset, update, candidate, and the candidate's recurrent part.
        new: ``[H]``, the new state, written; it may not be ``old``.
    """
    count = bias.shape[0]
    r, z, n, part = saved[:count], saved[count : 2 * count], saved[2 * count : 3 * count], saved[3 * count :]
    last_x, last_h = x[2 * count :], h[2 * count :]
    for j in range(2 * count):
        saved[j] = fast_sigmoid(x[j] + h[j])
    for j in range(count):
        part[j] = last_h[j] + bias[j]
    for j in range(count):
        n[j] = last_x[j] + r[j] * part[j]
    for j in range(count):
        n[j] = fast_tanh(n[j])
    for j in range(count):
        new[j] = n[j] + z[j] * (old[j] - n[j])
