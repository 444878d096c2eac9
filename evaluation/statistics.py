"""Values with intervals: bootstrap resamples over lifetimes, and means, differences and tails read off them.

The unit of replication is the lifetime, each on a task of its own. A bootstrap resample is a row of a matrix of
multinomial weights, so all resamples of a mean are one matrix product, and two arrays of the same lifetimes (an agent
and its amnesiac twin, two agents under one seed) share the matrix and are thereby paired.

Source: stratified bootstrap intervals follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", section 4.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
TAIL = (1.0 - CONFIDENCE) / 2.0  # of one side


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: the estimate on the lifetimes themselves; NaN where undefined, inf where "never reached".
        low: lower end of the 95% interval; NaN where there is none, as over a single lifetime.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __neg__(self) -> "Estimate":
        return Estimate(-self.value, -self.high, -self.low)

    def __str__(self) -> str:
        return f"{number_text(self.value)} [{number_text(self.low)}, {number_text(self.high)}]"


def fixed(value: float, digits: int) -> str:
    """A finite number with so many decimals, and no negative zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def number_text(value: float) -> str:
    """A value with three decimals; ``-`` where undefined, ``never`` where infinite."""
    if math.isnan(value):
        return "-"
    return "never" if math.isinf(value) else fixed(value, 3)


def plain_numbers(value: Any) -> Any:
    """Plain numbers, strings, lists and dicts, fit for strict JSON: None where undefined, "never" for inf."""
    if isinstance(value, Mapping):
        return {str(key): plain_numbers(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain_numbers(value.tolist())
    if isinstance(value, list | tuple):
        return [plain_numbers(one) for one in value]
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        return "never" if math.isinf(value) else float(value)
    return value


class Exported:
    """What every dataclass of estimates can do."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, fit for strict JSON: None where undefined, "never" for inf."""
        return plain_numbers(asdict(self))  # type: ignore[call-overload]


# --- the bootstrap --------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=32)
def _counts(lifetimes: int, resamples: int, seed: int) -> np.ndarray:
    """Drawing takes longer than converting, and a byte per count is little to keep for a whole suite."""
    rng = np.random.default_rng([seed, lifetimes, resamples])
    counts = rng.multinomial(lifetimes, np.full(lifetimes, 1.0 / lifetimes), size=resamples)
    return counts.astype(np.min_scalar_type(int(counts.max())))


@functools.lru_cache(maxsize=4)
def _uniform_weights(lifetimes: int, resamples: int, seed: int) -> np.ndarray:
    weights = _counts(lifetimes, resamples, seed).astype(np.float64)
    weights.setflags(write=False)
    return weights


def bootstrap_weights(
    lifetimes: int, *, resamples: int = RESAMPLES, seed: int = 0, strata: np.ndarray | None = None
) -> np.ndarray:
    """How often each lifetime occurs in each bootstrap resample.

    Args:
        lifetimes: how many lifetimes, at least 1.
        resamples: how many resamples, at least 1.
        seed: of the resampling; equal arguments give equal weights.
        strata: ``int[lifetimes]``, a label per lifetime (the training seed of the agent that lived it, say); each
            stratum is then resampled within itself. None is one stratum.

    Returns:
        ``float64[resamples, lifetimes]``, read-only; each row sums to ``lifetimes``.
    """
    if lifetimes < 1 or resamples < 1:
        raise ValueError(f"Expected at least 1 lifetime and 1 resample, received {lifetimes} and {resamples}.")
    if strata is None:
        return _uniform_weights(lifetimes, resamples, seed)
    strata = np.asarray(strata)
    if strata.shape != (lifetimes,):
        raise ValueError(f"strata must have the shape ({lifetimes},), received {strata.shape}.")
    weights = np.zeros((resamples, lifetimes))
    for k, label in enumerate(np.unique(strata)):
        members = np.flatnonzero(strata == label)
        weights[:, members] = _uniform_weights(len(members), resamples, seed + 1000003 * (k + 1))
    weights.setflags(write=False)
    return weights


def resampled_means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean over lifetimes under every resample; NaN entries do not count.

    Args:
        values: ``float64[lifetimes]`` or ``float64[lifetimes, episodes]``.
        weights: ``float64[resamples, lifetimes]``.

    Returns:
        ``float64[resamples]`` or ``float64[resamples, episodes]``; NaN where a resample has no entry at all, and
        where fewer than two lifetimes have one: the scatter of a single lifetime is not known.
    """
    present = ~np.isnan(values)
    if present.all() and len(values) > 1:
        return (weights @ values) / len(values)
    with np.errstate(invalid="ignore"):
        means = (weights @ np.where(present, values, 0.0)) / (weights @ present.astype(np.float64))
    return np.where(present.sum(axis=0) > 1, means, np.nan)


def interval(samples: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of resampled values ``float64[resamples]`` (NaN left out; inf allowed)."""
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return math.nan, math.nan
    tail = (1.0 - confidence) / 2.0
    # Where some resamples never reach a threshold the values are integers and inf: take one of them, never between.
    method: Literal["inverted_cdf", "linear"] = "inverted_cdf" if np.isinf(samples).any() else "linear"
    low, high = np.quantile(samples, [tail, 1.0 - tail], method=method)
    return float(low), float(high)


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else math.nan


def estimate(values: np.ndarray, weights: np.ndarray) -> Estimate:
    """The mean of ``values[lifetimes]`` (NaN left out) and its interval."""
    values = np.asarray(values, dtype=np.float64)
    return Estimate(_mean(values), *interval(resampled_means(values, weights)))


def difference(
    values: np.ndarray, others: np.ndarray, weights: np.ndarray, other_weights: np.ndarray | None = None
) -> Estimate:
    """Mean of ``values[lifetimes]`` minus mean of ``others[lifetimes]``.

    Args:
        values: one number per lifetime.
        others: likewise for the other condition.
        weights: ``float64[resamples, lifetimes]`` for ``values``.
        other_weights: for ``others``; None where row l of both is the same lifetime, which pairs them.
    """
    samples = resampled_means(values, weights) - resampled_means(
        others, weights if other_weights is None else other_weights
    )
    return Estimate(_mean(values) - _mean(others), *interval(samples))


def upper_tail(value: float, uncertain: Estimate, *, least_error: float = 0.0) -> float:
    """P(a normal deviate exceeds ``value``), its standard error read off a 95% interval's width.

    Args:
        value: how far above zero.
        uncertain: the value with its interval; without one the answer is NaN.
        least_error: a standard error known from elsewhere, which counts where it is the larger.
    """
    error = (uncertain.high - uncertain.low) / (2.0 * 1.959964)
    error = max(error, least_error) if error == error else error
    if error <= 0.0:
        return 0.0 if value > 0.0 else 1.0
    return 0.5 * math.erfc(value / error / math.sqrt(2.0))
