"""Per-lifetime random streams, for compiled and interpreted code alike.

Every lifetime owns one xoshiro256++ generator (Blackman & Vigna 2021), a row of a ``uint64[N, 4]`` array.
The row is keyed anew, through SplitMix64, from (seed of the lane, lifetime index, domain, number), so that
what is drawn depends on those four alone: not on the thread, the batch, or what an agent did before.

All functions are scalar, take ``(stream, i, ...)`` and advance row ``i``. They give the same bits interpreted
and compiled; interpreted code runs under ``numpy.errstate(over="ignore")`` because wrap-around is intended.
"""

import math

import numpy as np
from numba.extending import register_jitable

TASK = np.uint64(1)  # the hidden task; number = which redraw of the lifetime
EPISODE = np.uint64(2)  # noise and start states; number = episode index in the lifetime
COURSE = np.uint64(3)  # the order of stages in a shuffled course
AGENT = np.uint64(4)  # an agent's own randomness
EVALUATION = np.uint64(5)  # one seed per lifetime of an evaluation

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_U0 = np.uint64(0)
_U11, _U17, _U19, _U23 = np.uint64(11), np.uint64(17), np.uint64(19), np.uint64(23)
_U27, _U30, _U31, _U32, _U41, _U45 = (np.uint64(k) for k in (27, 30, 31, 32, 41, 45))
_U255, _U8, _U1 = np.uint64(255), np.uint64(8), np.uint64(1)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53

MASK_64 = (1 << 64) - 1


@register_jitable
def scramble(word):
    """SplitMix64's output function: a bijection of ``uint64`` that mixes every bit."""
    word = (word ^ (word >> _U30)) * _MIX_1
    word = (word ^ (word >> _U27)) * _MIX_2
    return word ^ (word >> _U31)


@register_jitable
def hash_words(first, second):
    """Hash two ``uint64`` words into one (order matters)."""
    return scramble(scramble(first + _GOLDEN) ^ (second * _MIX_1 + _GOLDEN))


@register_jitable
def key_stream(stream, i, seed, lifetime, domain, number):
    """Key row ``i`` from four ``uint64`` words: lane seed, lifetime index, domain, number within the domain."""
    word = hash_words(hash_words(seed, lifetime), hash_words(domain, number))
    for k in range(4):
        word = word + _GOLDEN
        stream[i, k] = scramble(word)


@register_jitable
def next_word(stream, i):
    """Next 64 random bits as ``uint64`` (xoshiro256++)."""
    s0 = stream[i, 0]
    s1 = stream[i, 1]
    s2 = stream[i, 2]
    s3 = stream[i, 3]
    word = s0 + s3
    word = ((word << _U23) | (word >> _U41)) + s0
    shifted = s1 << _U17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    stream[i, 0] = s0
    stream[i, 1] = s1
    stream[i, 2] = s2
    stream[i, 3] = (s3 << _U45) | (s3 >> _U19)
    return word


@register_jitable
def uniform(stream, i):
    """A float64 uniform on [0, 1), 53 bits."""
    return float(next_word(stream, i) >> _U11) * _TO_UNIT


@register_jitable
def integer(stream, i, high):
    """An integer uniform on ``0..high-1``, for ``1 <= high < 2**31`` (bias below ``high * 2**-32``)."""
    return int(((next_word(stream, i) >> _U32) * np.uint64(high)) >> _U32)


@register_jitable
def exponential(stream, i):
    """A float64 from the exponential distribution of mean 1."""
    return -math.log1p(-uniform(stream, i))


def _ziggurat_tables():
    """Layer edges of Marsaglia & Tsang's ziggurat for the normal density, 256 layers (Doornik 2005's form)."""
    layers, edge, area = 256, 3.6541528853610088, 0.00492867323399
    x = np.empty(layers + 1)
    density = math.exp(-0.5 * edge * edge)
    x[0] = area / density
    x[1] = edge
    for k in range(2, layers):
        density = math.exp(-0.5 * x[k - 1] ** 2) + area / x[k - 1]
        x[k] = math.sqrt(-2.0 * math.log(density))
    x[layers] = 0.0
    return x, x[1:] / x[:-1]


_EDGE, _RATIO = _ziggurat_tables()
_TAIL = 3.6541528853610088


@register_jitable
def normal(stream, i):
    """A float64 from the standard normal distribution (ziggurat with 256 layers)."""
    while True:
        word = next_word(stream, i)
        layer = int(word & _U255)
        unit = 2.0 * (float(word >> _U11) * _TO_UNIT) - 1.0
        if abs(unit) < _RATIO[layer]:
            return unit * _EDGE[layer]
        if layer == 0:
            while True:
                x = exponential(stream, i) / _TAIL
                y = exponential(stream, i)
                if y + y > x * x:
                    break
            return _TAIL + x if unit > 0.0 else -(_TAIL + x)
        x = unit * _EDGE[layer]
        upper = math.exp(-0.5 * (_EDGE[layer] * _EDGE[layer] - x * x))
        lower = math.exp(-0.5 * (_EDGE[layer + 1] * _EDGE[layer + 1] - x * x))
        if lower + uniform(stream, i) * (upper - lower) < 1.0:
            return x


@register_jitable
def gamma(stream, i, shape):
    """A float64 from Gamma(``shape`` > 0, scale 1) (Marsaglia & Tsang 2000)."""
    if shape == 1.0:
        return exponential(stream, i)
    boost = 1.0
    if shape < 1.0:
        boost = math.pow(1.0 - uniform(stream, i), 1.0 / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = normal(stream, i)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        u = 1.0 - uniform(stream, i)
        if math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
            return boost * d * v


@register_jitable
def beta(stream, i, a, b):
    """A float64 from Beta(``a`` > 0, ``b`` > 0)."""
    x = gamma(stream, i, a)
    y = gamma(stream, i, b)
    if x + y == 0.0:  # both underflowed, which parameters below about 0.01 make common: the limit has two points
        return 1.0 if uniform(stream, i) * (a + b) < a else 0.0
    return x / (x + y)


@register_jitable
def shuffle(stream, i, values):
    """Shuffle the 1-D array ``values`` in place (Fisher & Yates)."""
    for k in range(len(values) - 1, 0, -1):
        j = integer(stream, i, k + 1)
        kept = values[k]
        values[k] = values[j]
        values[j] = kept


def lifetime_seeds(seed: int, start: int, stop: int) -> np.ndarray:
    """One seed per lifetime of an evaluation or training run: ``hash(seed, l)`` for ``l`` in ``start..stop-1``.

    Different seeds share nothing, and lifetime ``l`` has the same seed for any batch size.

    Returns:
        ``uint64[stop - start]``.
    """
    with np.errstate(over="ignore"):
        base = hash_words(np.uint64(seed & MASK_64), EVALUATION)
        return hash_words(base, np.arange(start, stop, dtype=np.uint64))


def agent_streams(seeds: np.ndarray) -> np.ndarray:
    """The random streams of an agent, one per lifetime, independent of the environment's own.

    Args:
        seeds: ``uint64[N]``, as handed to `Agent.begin`.

    Returns:
        ``uint64[N, 4]``.
    """
    streams = np.empty((len(seeds), 4), dtype=np.uint64)
    with np.errstate(over="ignore"):
        # `key_stream` for all rows at once: its words are whole arrays here.
        key_stream(streams.T[None], 0, np.asarray(seeds, dtype=np.uint64), _U0, AGENT, _U0)
    return streams
