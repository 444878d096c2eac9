"""The metrics: pure functions of arrays of normalised returns.

Arrays are called ``g`` and have the axes ``[lifetimes, episodes]``: the normalised return (0 is the random policy, 1
the oracle) of each episode in lived order, padded with NaN where a lifetime had fewer episodes. Intervals are those
of `daytwo.evaluation.statistics`, over lifetimes.

Source: the vocabulary follows Beck et al. 2023, "A Survey of Meta-Reinforcement Learning" (arXiv 2301.08028).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from daytwo.checks import check_integer, check_number
from daytwo.evaluation.statistics import Estimate, interval, resampled_means, upper_tail

THRESHOLDS = (0.5, 0.9)
LEAST_DEFICIT = 0.01
TOLERANCE = 0.1  # how near the level before a change counts as back

# --- metrics of each lifetime: float64[lifetimes, episodes] -> float64[lifetimes] -----------------------------------


def area(g: np.ndarray) -> np.ndarray:
    """Mean of g over each lifetime's episodes."""
    present = ~np.isnan(g)
    with np.errstate(invalid="ignore"):
        return np.where(present, g, 0.0).sum(axis=1) / present.sum(axis=1)


def first(g: np.ndarray) -> np.ndarray:
    """The g of each lifetime's first episode: what the agent does before it has learnt anything in the lifetime."""
    return g[:, 0].copy()


def final(g: np.ndarray) -> np.ndarray:
    """The g of each lifetime's last episode: after adaptation."""
    lengths = (~np.isnan(g)).sum(axis=1)
    return np.where(lengths > 0, g[np.arange(len(g)), np.maximum(lengths, 1) - 1], np.nan)


def gain(g: np.ndarray) -> np.ndarray:
    """Last episode minus first episode of each lifetime."""
    return final(g) - first(g)


def regret(g: np.ndarray) -> np.ndarray:
    """Sum over each lifetime's episodes of what was missed, 1 - g."""
    present = ~np.isnan(g)
    return np.where(present, 1.0 - np.where(present, g, 0.0), 0.0).sum(axis=1)


def simple_regret(g: np.ndarray) -> np.ndarray:
    """1 - g of each lifetime's last episode."""
    return 1.0 - final(g)


def retention(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """First episode of a later visit to a level minus the last episode of the earlier one: below 0 it forgot.

    Args:
        earlier: ``float64[lifetimes, episodes]``, g of the earlier visit.
        later: likewise of the later visit; row l of both is the same lifetime.

    Raises:
        ValueError: they do not have the same lifetimes.
    """
    if len(earlier) != len(later):
        raise ValueError(f"Both visits must have the same lifetimes, received {len(earlier)} and {len(later)}.")
    return first(later) - final(earlier)


def switch_drop(g: np.ndarray, switch_after: int) -> np.ndarray:
    """Last episode before an unannounced change of the task minus the first episode after it.

    Args:
        g: ``float64[lifetimes, episodes]`` of one stage.
        switch_after: how many episodes are lived before the change, in 1..episodes - 1.

    Raises:
        ValueError: ``switch_after`` is out of range.
    """
    check_integer("switch_after", switch_after, 1, g.shape[1] - 1)
    return g[:, switch_after - 1] - g[:, switch_after]


# --- metrics of the mean over lifetimes -----------------------------------------------------------------------------


def mean_curve(g: np.ndarray) -> np.ndarray:
    """Mean g by episode index, ``float64[episodes]``; NaN entries do not count."""
    counts = (~np.isnan(g)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(g), 0.0, g).sum(axis=0) / counts


def adaptation_curve(g: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean g by episode index, with pointwise intervals.

    Args:
        g: ``float64[lifetimes, episodes]``.
        weights: ``float64[resamples, lifetimes]``.

    Returns:
        ``float64[3, episodes]``: mean, lower end, upper end.
    """
    means = resampled_means(g, weights)
    ends = np.array([interval(means[:, k]) for k in range(g.shape[1])]).T
    return np.vstack([mean_curve(g), ends])


def episodes_to(curve: np.ndarray, threshold: float) -> np.ndarray:
    """The first episode, counted from 1, whose mean g reaches a threshold.

    Args:
        curve: ``float64[..., episodes]``: mean g by episode index.
        threshold: normalised return.

    Returns:
        ``float64[...]``; inf where it is never reached, NaN where the whole curve is NaN.
    """
    return np.where(np.isnan(curve).all(axis=-1), np.nan, _first_true(curve >= threshold))


def _first_true(reached: np.ndarray) -> np.ndarray:
    """The place of the first true entry along the last axis, counted from 1; inf where there is none."""
    return np.where(reached.any(axis=-1), reached.argmax(axis=-1) + 1.0, np.inf)


def estimate_episodes_to(g: np.ndarray, threshold: float, weights: np.ndarray) -> Estimate:
    """`episodes_to` of the mean curve of ``g[lifetimes, episodes]``, with its interval over resampled curves."""
    mean = mean_curve(g)
    return Estimate(float(episodes_to(mean, threshold)), *interval(episodes_to(resampled_means(g, weights), threshold)))


def switch_recovery(curve: np.ndarray, switch_after: int, tolerance: float = TOLERANCE) -> np.ndarray:
    """How many episodes after an unannounced change of the task mean g is back near its level before the change.

    The level before is the mean g of the last episode before the change.

    Args:
        curve: ``float64[..., episodes]``: mean g by episode index, of one stage.
        switch_after: how many episodes are lived before the change, in 1..episodes - 1.
        tolerance: how far below the level before counts as back, at least 0.

    Returns:
        ``float64[...]``: 1 where the first episode after the change is back already, inf where none is, NaN where
        the level before is NaN.

    Raises:
        ValueError: ``switch_after`` or ``tolerance`` is out of range.
    """
    check_integer("switch_after", switch_after, 1, curve.shape[-1] - 1)
    check_number("tolerance", tolerance, 0.0, math.inf)
    before = curve[..., switch_after - 1]
    back = curve[..., switch_after:] >= before[..., None] - tolerance
    return np.where(np.isnan(before), np.nan, _first_true(back))


def estimate_switch_recovery(
    g: np.ndarray, switch_after: int, weights: np.ndarray, tolerance: float = TOLERANCE
) -> Estimate:
    """`switch_recovery` of the mean curve of ``g[lifetimes, episodes]``, with its interval over resampled curves."""
    value = float(switch_recovery(mean_curve(g), switch_after, tolerance))
    return Estimate(value, *interval(switch_recovery(resampled_means(g, weights), switch_after, tolerance)))


def learning(
    areas: np.ndarray,
    twin_areas: np.ndarray,
    memoryless: float,
    weights: np.ndarray,
    twin_weights: np.ndarray | None = None,
) -> Estimate:
    """What is due to learning within the lifetime.

    The mean area minus the larger of the amnesiac twin's mean area and the area of the best memoryless rung: neither
    a good prior nor a twin that breaks when it is wiped counts as learning. The interval is of the difference to
    whichever of the two is the larger, given the rung: choosing anew in every resample would shift it downwards.

    Args:
        areas: ``float64[lifetimes]``, `area` of the agent.
        twin_areas: ``float64[lifetimes]``, `area` of its amnesiac twin.
        memoryless: area of the best memoryless agent.
        weights: ``float64[resamples, lifetimes]``.
        twin_weights: weights for the twin; None where the twin lived the same lifetimes, which pairs them.
    """
    twin_area = float(np.nanmean(twin_areas))
    samples = resampled_means(areas, weights)
    if twin_area >= memoryless:
        samples = samples - resampled_means(twin_areas, weights if twin_weights is None else twin_weights)
    else:
        samples = samples - memoryless
    return Estimate(float(np.nanmean(areas) - max(twin_area, memoryless)), *interval(samples))


def first_episode_deficit(
    estimates: Sequence[Estimate], errors: Sequence[float] | None = None
) -> tuple[Estimate, float]:
    """How far below random an agent starts: the mark of playing badly on purpose.

    Args:
        estimates: the mean first g of every stage.
        errors: standard error that each would have if the agent played at random. Returns of random play are skewed
            where success is rare: a sample that misses it has both a low mean and a narrow interval of its own.

    Returns:
        ``min(0, g_1)`` of the worst stage with its interval, and the chance that an agent no worse than random has such
        a deficit at some stage: one-sided and normal, by the larger of the interval's standard error and the given
        one, times the number of stages (Bonferroni). 1 where nothing is more than `LEAST_DEFICIT` below zero; NaN
        without an interval.
    """
    usable = [one for one in estimates if not math.isnan(one.value)]
    if not usable:
        return Estimate(math.nan, math.nan, math.nan), math.nan
    worst = min(usable, key=lambda one: one.value)
    # NumPy's minimum, unlike Python's, stays NaN where there is no interval.
    clipped = Estimate(*(float(np.minimum(0.0, end)) for end in (worst.value, worst.low, worst.high)))
    known = [0.0] * len(estimates) if errors is None else errors
    chances = [
        upper_tail(-one.value, one, least_error=error)
        for one, error in zip(estimates, known, strict=True)
        if one.value < -LEAST_DEFICIT
    ]
    return clipped, float(np.minimum(1.0, len(usable) * np.min(chances, initial=1.0)))


# --- stages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StageReturns:
    """The episodes that belong together: one stage at one level.

    Attributes:
        name: ``"stage 2 (level 1)"``, or ``"level 1"`` where every lifetime lives the stages in an order of its own.
        stage: index of the stage, -1 where grouped by level.
        level: index of the level.
        g: ``float64[lifetimes, episodes of the stage]``, padded with NaN.
    """

    name: str
    stage: int
    level: int
    g: np.ndarray = field(repr=False)


def _packed(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Row by row, the entries ``where`` is true, moved to the left and padded with NaN."""
    order = np.argsort(~where, axis=1, kind="stable")
    width = int(where.sum(axis=1).max(initial=0))
    packed = np.where(np.take_along_axis(where, order, axis=1), np.take_along_axis(values, order, axis=1), np.nan)
    return packed[:, :width]


def split_stages(g: np.ndarray, stages: np.ndarray, levels: np.ndarray) -> list[StageReturns]:
    """Cut lifetimes into stages, so that no metric mixes levels.

    Args:
        g: ``float64[lifetimes, episodes]``.
        stages: ``int[lifetimes, episodes]``, index of the stage, -1 where padded.
        levels: ``int[lifetimes, episodes]``, index of the level, -1 where padded.

    Returns:
        One `StageReturns` per stage in order. Where the level of a stage differs from lifetime to lifetime (a
        shuffled course), one per level instead, each lifetime's episodes at that level in lived order.
    """
    parts = []
    for stage in range(int(stages.max(initial=-1)) + 1):
        where = stages == stage
        found = np.unique(levels[where])
        if len(found) > 1:
            return [
                StageReturns(f"level {level}", -1, int(level), _packed(g, levels == level))
                for level in np.unique(levels[levels >= 0])
            ]
        if len(found):
            parts.append(StageReturns(f"stage {stage + 1} (level {found[0]})", stage, int(found[0]), _packed(g, where)))
    return parts
