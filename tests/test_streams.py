"""Random streams are the published generators, have the right distributions, and are the same compiled or not."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from daytwo import kernels, streams
from daytwo.streams import agent_streams, beta, exponential, gamma, integer, lifetime_seeds, normal, shuffle, uniform

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
UNIFORM, INTEGER, EXPONENTIAL, NORMAL, GAMMA, BETA, SHUFFLE, WORD = range(8)
TAIL = 3.6541528853610088


@kernels.kernel
def fill(stream, kind, a, b, out, values):
    for k in range(len(out)):
        if kind == UNIFORM:
            out[k] = uniform(stream, 0)
        elif kind == INTEGER:
            out[k] = integer(stream, 0, int(a))
        elif kind == EXPONENTIAL:
            out[k] = exponential(stream, 0)
        elif kind == NORMAL:
            out[k] = normal(stream, 0)
        elif kind == GAMMA:
            out[k] = gamma(stream, 0, a)
        elif kind == BETA:
            out[k] = beta(stream, 0, a, b)
        elif kind == SHUFFLE:
            for j in range(len(values)):
                values[j] = j
            shuffle(stream, 0, values)
            code = 0
            for j in range(len(values)):
                code = code * len(values) + values[j]
            out[k] = code
        else:
            out[k] = float(streams.next_word(stream, 0) >> np.uint64(32))


def sample(kind, count, a=0.0, b=0.0, seed=11, interpreted=False):
    stream = agent_streams(np.array([seed], dtype=np.uint64))
    out = np.empty(count)
    with kernels.interpreted(interpreted):
        fill(stream, kind, float(a), float(b), out, np.zeros(4, dtype=np.int64))
    return out


# --- the published generators, in Python integers -----------------------------------------------------------------


def splitmix64(state):
    """Vigna's splitmix64.c: the outputs for successive states."""
    while True:
        state = (state + GOLDEN) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def xoshiro256pp(s):
    """Blackman & Vigna's xoshiro256plusplus.c."""

    def rotl(x, k):
        return ((x << k) | (x >> (64 - k))) & MASK

    while True:
        result = (rotl((s[0] + s[3]) & MASK, 23) + s[0]) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
        yield result


def reference_hash(first, second):
    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    return mix(mix((first + GOLDEN) & MASK) ^ ((second * 0xBF58476D1CE4E5B9 + GOLDEN) & MASK))


def test_scramble_composes_to_the_published_splitmix64_outputs():
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert list(itertools.islice(splitmix64(1234567), 5)) == published
    with np.errstate(over="ignore"):
        state, outputs = np.uint64(1234567), []
        for _ in published:
            state = state + np.uint64(GOLDEN)
            outputs.append(int(streams.scramble(state)))
    assert outputs == published


def test_words_are_the_published_xoshiro256plusplus_outputs():
    published = [  # of the state 1, 2, 3, 4
        41943041,
        58720359,
        3588806011781223,
        3591011842654386,
        9228616714210784205,
        9973669472204895162,
        14011001112246962877,
        12406186145184390807,
        15849039046786891736,
        10450023813501588000,
    ]
    assert list(itertools.islice(xoshiro256pp([1, 2, 3, 4]), 10)) == published
    stream = np.array([[9, 9, 9, 9], [1, 2, 3, 4]], dtype=np.uint64)
    with np.errstate(over="ignore"):
        assert [int(streams.next_word(stream, 1)) for _ in published] == published
    assert stream[0].tolist() == [9, 9, 9, 9]


def test_a_stream_is_keyed_by_splitmix64_from_a_hash_of_four_words():
    words = (12345, 7, 2, MASK)
    start = reference_hash(reference_hash(*words[:2]), reference_hash(*words[2:]))
    stream = np.zeros((3, 4), dtype=np.uint64)
    with np.errstate(over="ignore"):
        streams.key_stream(stream, 1, *(np.uint64(word) for word in words))
    assert stream[1].tolist() == list(itertools.islice(splitmix64(start), 4))
    assert not stream[[0, 2]].any()


def test_every_word_of_the_key_matters():
    keys = set()
    with np.errstate(over="ignore"):
        for words in itertools.product(range(6), range(6), range(6), range(6)):
            stream = np.zeros((1, 4), dtype=np.uint64)
            streams.key_stream(stream, 0, *(np.uint64(word) for word in words))
            keys.add(tuple(stream[0].tolist()))
    assert len(keys) == 6**4


def test_compiled_words_are_those_of_the_reference():
    key = agent_streams(np.array([11], dtype=np.uint64))[0].tolist()
    expected = [word >> 32 for word in itertools.islice(xoshiro256pp(key), 2000)]
    assert sample(WORD, 2000).tolist() == expected


# --- distributions -------------------------------------------------------------------------------------------------

CONTINUOUS = [
    (UNIFORM, 0, 0, stats.uniform()),
    (EXPONENTIAL, 0, 0, stats.expon()),
    (NORMAL, 0, 0, stats.norm()),
    (GAMMA, 0.3, 0, stats.gamma(0.3)),
    (GAMMA, 1.0, 0, stats.gamma(1.0)),
    (GAMMA, 2.5, 0, stats.gamma(2.5)),
    (GAMMA, 40.0, 0, stats.gamma(40.0)),
    (BETA, 0.5, 0.5, stats.beta(0.5, 0.5)),
    (BETA, 2.0, 5.0, stats.beta(2.0, 5.0)),
]


@pytest.mark.parametrize(("kind", "a", "b", "truth"), CONTINUOUS)
def test_a_distribution_has_its_moments_and_its_shape(kind, a, b, truth):
    draws = sample(kind, 200_000, a, b)
    mean, variance, kurtosis = truth.stats("mvk")
    assert abs(draws.mean() - mean) < 4.5 * math.sqrt(variance / len(draws))
    spread = math.sqrt((kurtosis + 2.0) * variance**2 / len(draws))
    assert abs(draws.var() - variance) < 4.5 * spread
    assert stats.kstest(draws, truth.cdf).pvalue > 1e-4
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 4.5 / math.sqrt(len(draws))


def test_the_kolmogorov_smirnov_test_would_notice_one_per_cent():
    assert stats.kstest(sample(NORMAL, 200_000) * 1.02, stats.norm.cdf).pvalue < 1e-4


def test_the_normal_distribution_is_exact_in_its_far_tails():
    draws = sample(NORMAL, 4_000_000, seed=5)
    for point in (0.2, 1.0, 2.5, 3.0, TAIL, 4.2):
        for one_side in (draws > point, draws < -point):
            chance = stats.norm.sf(point)
            deviation = math.sqrt(len(draws) * chance * (1 - chance))
            assert abs(one_side.sum() - len(draws) * chance) < 4.5 * deviation
    beyond = np.abs(draws[np.abs(draws) > TAIL])
    assert len(beyond) > 800
    assert stats.kstest(stats.norm.sf(beyond) / stats.norm.sf(TAIL), "uniform").pvalue > 1e-3
    # The wedges between neighbouring layers: many fine cells, equally likely.
    cells = np.bincount((stats.norm.cdf(draws) * 2000).astype(int), minlength=2000)
    assert stats.chisquare(cells).pvalue > 1e-4


@pytest.mark.parametrize("high", [1, 2, 7, 1000])
def test_integers_are_uniform(high):
    counts = np.bincount(sample(INTEGER, 200_000, high).astype(int), minlength=high)
    assert len(counts) == high
    assert high == 1 or stats.chisquare(counts).pvalue > 1e-4


def test_large_integers_cover_their_range():
    high = 2**31 - 1
    draws = sample(INTEGER, 100_000, high)
    assert draws.min() >= 0 and draws.max() < high
    assert stats.kstest(draws / high, "uniform").pvalue > 1e-4


def test_all_orders_of_a_shuffle_are_equally_likely():
    codes, counts = np.unique(sample(SHUFFLE, 120_000), return_counts=True)
    orders = {sum(value * 4 ** (3 - k) for k, value in enumerate(order)) for order in itertools.permutations(range(4))}
    assert set(codes.astype(int).tolist()) == orders
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("a", [1e-4, 0.02])
def test_a_beta_draw_with_tiny_parameters_is_still_a_probability(a):
    for interpreted in (False, True):
        draws = sample(BETA, 3000, a, 3 * a, interpreted=interpreted)
        assert np.isfinite(draws).all() and draws.min() >= 0.0 and draws.max() <= 1.0
        assert abs(draws.mean() - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / len(draws))


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [(kind, a, b) for kind, a, b, _ in CONTINUOUS] + [(INTEGER, 10, 0), (SHUFFLE, 0, 0), (BETA, 1e-3, 1e-3)],
)
def test_compiled_and_interpreted_draws_are_equal_bit_for_bit(kind, a, b):
    assert sample(kind, 3000, a, b).tobytes() == sample(kind, 3000, a, b, interpreted=True).tobytes()


# --- seeds ---------------------------------------------------------------------------------------------------------


def test_lifetime_seeds_are_the_hash_of_seed_and_index():
    base = reference_hash(42, 5)
    assert lifetime_seeds(42, 3, 6).tolist() == [reference_hash(base, n) for n in (3, 4, 5)]
    assert lifetime_seeds(42, 0, 0).shape == (0,) and lifetime_seeds(0, 0, 3).dtype == np.uint64


def test_lifetime_seeds_do_not_depend_on_the_batch():
    whole = lifetime_seeds(3, 0, 100)
    assert np.concatenate([lifetime_seeds(3, a, b) for a, b in ((0, 7), (7, 64), (64, 100))]).tolist() == whole.tolist()


def test_lifetime_seeds_of_different_seeds_share_nothing():
    each = [lifetime_seeds(seed, 0, 1500).tolist() for seed in (0, 1, 2, 3, 2**63)]
    assert len(set().union(*each)) == 5 * 1500
    as_lanes = {seed + lane for seed in range(4) for lane in range(1500)}
    assert not as_lanes & set().union(*each)


def test_an_agents_streams_are_its_own():
    seeds = lifetime_seeds(0, 0, 50)
    own = agent_streams(seeds)
    assert own.shape == (50, 4) and len({tuple(row) for row in own.tolist()}) == 50
    assert agent_streams(seeds[7:9]).tolist() == own[7:9].tolist()
    environment = np.zeros((1, 4), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for domain in (streams.TASK, streams.EPISODE, streams.COURSE, streams.EVALUATION):
            streams.key_stream(environment, 0, seeds[0], np.uint64(0), domain, np.uint64(0))
            assert environment[0].tolist() != own[0].tolist()
