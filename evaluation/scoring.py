"""The metrics: pure functions of arrays of normalised returns, and `score`, which puts them together.

Arrays are called ``g`` and have the axes ``[lifetimes, episodes]``: the normalised return (0 is the random policy, 1
the oracle) of each episode in lived order, padded with NaN where a lifetime had fewer episodes. The unit of
replication is the lifetime, each on a task of its own: every mean comes with a 95% percentile-bootstrap interval over
lifetimes. A bootstrap resample is a row of a matrix of multinomial weights, so all resamples of a mean are one matrix
product, and two arrays of the same lifetimes (an agent and its amnesiac twin) share the matrix and are thereby paired.

Sources: the vocabulary follows Beck et al. 2023, "A Survey of Meta-Reinforcement Learning"; stratified bootstrap
intervals follow Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from daytwo.evaluation.running import Result

RESAMPLES = 2000
CONFIDENCE = 0.95
THRESHOLDS = (0.5, 0.9)


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: the estimate on the lifetimes themselves; NaN where undefined, inf where "never reached".
        low: lower end of the 95% interval.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_number(self.value)} [{_number(self.low)}, {_number(self.high)}]"


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "never" if math.isinf(value) else f"{value:.3f}"


# --- the bootstrap --------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def _uniform_weights(lifetimes: int, resamples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, lifetimes, resamples])
    weights = rng.multinomial(lifetimes, np.full(lifetimes, 1.0 / lifetimes), size=resamples).astype(np.float64)
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
        ``float64[resamples]`` or ``float64[resamples, episodes]``; NaN where a resample has no entry at all.
    """
    present = ~np.isnan(values)
    if present.all():
        return (weights @ values) / len(values)
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(present, values, 0.0)) / (weights @ present.astype(np.float64))


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


def estimate(values: np.ndarray, weights: np.ndarray) -> Estimate:
    """The mean of ``values[lifetimes]`` (NaN left out) and its interval."""
    values = np.asarray(values, dtype=np.float64)
    present = values[~np.isnan(values)]
    if not len(present):
        return Estimate(math.nan, math.nan, math.nan)
    return Estimate(float(present.mean()), *interval(resampled_means(values, weights)))


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
        ``float64[...]``; inf where it is never reached.
    """
    with np.errstate(invalid="ignore"):
        reached = curve >= threshold
    return np.where(reached.any(axis=-1), reached.argmax(axis=-1) + 1.0, np.inf)


def estimate_episodes_to(g: np.ndarray, threshold: float, weights: np.ndarray) -> Estimate:
    """`episodes_to` of the mean curve of ``g[lifetimes, episodes]``, with its interval over resampled curves."""
    mean = mean_curve(g)
    return Estimate(float(episodes_to(mean, threshold)), *interval(episodes_to(resampled_means(g, weights), threshold)))


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
    return Estimate(float(np.nanmean(values) - np.nanmean(others)), *interval(samples))


def learning(
    areas: np.ndarray,
    twin_areas: np.ndarray,
    memoryless: float,
    weights: np.ndarray,
    twin_weights: np.ndarray | None = None,
) -> Estimate:
    """What is due to learning within the lifetime.

    The mean area minus the larger of the amnesiac twin's mean area and the area of the best memoryless rung: neither
    a good prior nor a twin that breaks when it is wiped counts as learning.

    Args:
        areas: ``float64[lifetimes]``, `area` of the agent.
        twin_areas: ``float64[lifetimes]``, `area` of its amnesiac twin.
        memoryless: area of the best memoryless agent.
        weights: ``float64[resamples, lifetimes]``.
        twin_weights: weights for the twin; None where the twin lived the same lifetimes, which pairs them.
    """
    twin_samples = resampled_means(twin_areas, weights if twin_weights is None else twin_weights)
    samples = resampled_means(areas, weights) - np.maximum(twin_samples, memoryless)
    return Estimate(float(np.nanmean(areas) - max(np.nanmean(twin_areas), memoryless)), *interval(samples))


def first_episode_deficit(estimates: Sequence[Estimate]) -> tuple[Estimate, bool]:
    """How far below random an agent starts: the mark of playing badly on purpose.

    Args:
        estimates: the mean first g of every stage.

    Returns:
        ``min(0, g_1)`` of the worst stage with its interval, and whether it is below zero beyond chance: a normal
        test from the bootstrap interval's width at one-sided 2.5%, corrected for the number of stages (Bonferroni),
        because the random policy itself is at zero and falls below it half of the time.
    """
    usable = [one for one in estimates if not math.isnan(one.value)]
    if not usable:
        return Estimate(math.nan, math.nan, math.nan), False
    worst = min(usable, key=lambda one: one.value)
    clipped = Estimate(min(0.0, worst.value), min(0.0, worst.low), min(0.0, worst.high))
    chance = (1.0 - CONFIDENCE) / 2.0 / len(usable)
    return clipped, any(one.value < 0.0 and upper_tail(-one.value, one) < chance for one in usable)


def upper_tail(value: float, uncertain: Estimate) -> float:
    """P(a normal deviate exceeds ``value`` standard errors), the standard error read off a 95% interval's width."""
    error = (uncertain.high - uncertain.low) / (2.0 * 1.959964)
    if not error > 0.0:
        return 0.0 if value > 0.0 else 1.0
    return 0.5 * math.erfc(value / error / math.sqrt(2.0))


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


@dataclass(frozen=True)
class StageScores:
    """The metrics of one stage.

    Attributes:
        name: of the stage.
        stage: index of the stage, -1 where grouped by level.
        level: index of the level.
        episodes: how many episodes (at most).
        curve: ``float64[3, episodes]``: mean g, lower end, upper end.
        first: g of the first episode (zero-shot).
        final: g of the last episode (after adaptation).
        gain: final minus first.
        area: mean g.
        regret: sum of 1 - g.
        simple_regret: 1 - g of the last episode.
        episodes_to: threshold -> first episode (from 1) whose mean g reaches it; inf where never.
        forward_transfer: first episode here minus the first episode of the same agent beginning its life at this
            level; None for the first stage or where it cannot be known.
        retention: first episode here minus last episode of the earlier visit to the level; None on a first visit.
    """

    name: str
    stage: int
    level: int
    episodes: int
    curve: np.ndarray = field(repr=False)
    first: Estimate
    final: Estimate
    gain: Estimate
    area: Estimate
    regret: Estimate
    simple_regret: Estimate
    episodes_to: dict[float, Estimate]
    forward_transfer: Estimate | None = None
    retention: Estimate | None = None


@dataclass(frozen=True)
class DiagnosticScores:
    """One of the family's diagnostics within one stage: how an agent went about its episodes.

    Attributes:
        name: what the family calls it, such as ``can_kicking_rate``.
        stage: name of the stage.
        level: index of the level.
        first: mean over the lifetimes' first episodes of the stage, one `Estimate` per number of the diagnostic.
        final: likewise over the last episodes.
        mean: likewise over all episodes of the stage.
    """

    name: str
    stage: str
    level: int
    first: tuple[Estimate, ...]
    final: tuple[Estimate, ...]
    mean: tuple[Estimate, ...]


def score_diagnostics(
    diagnostics: Mapping[str, np.ndarray], stages: np.ndarray, levels: np.ndarray, weights: np.ndarray
) -> tuple[DiagnosticScores, ...]:
    """The family's diagnostics by stage, where they do not apply (NaN) left out.

    Args:
        diagnostics: name -> ``float64[lifetimes, episodes]`` or ``float64[lifetimes, episodes, size]``.
        stages: ``int[lifetimes, episodes]``, index of the stage, -1 where padded.
        levels: ``int[lifetimes, episodes]``, index of the level, -1 where padded.
        weights: ``float64[resamples, lifetimes]``.
    """
    found = []
    for name, values in diagnostics.items():
        columns = values[..., None] if values.ndim == 2 else values
        cut = [split_stages(columns[:, :, k], stages, levels) for k in range(columns.shape[2])]
        for parts in zip(*cut, strict=True):
            # A stage is padded on the right, so an episode that was lived there has a column of its own.
            lived = [(levels == part.level) & ((stages == part.stage) | (part.stage < 0)) for part in parts]
            last = [np.maximum(one.sum(axis=1) - 1, 0) for one in lived]
            found.append(
                DiagnosticScores(
                    name=name,
                    stage=parts[0].name,
                    level=parts[0].level,
                    first=tuple(estimate(part.g[:, 0], weights) for part in parts),
                    final=tuple(
                        estimate(part.g[np.arange(len(part.g)), at], weights)
                        for part, at in zip(parts, last, strict=True)
                    ),
                    mean=tuple(estimate(area(part.g), weights) for part in parts),
                )
            )
    return tuple(found)


@dataclass(frozen=True)
class Control:
    """The redrawn control: does an agent gain from its past although the hidden task is another one every episode?

    Attributes:
        area: mean g of the agent under the control.
        excess: that minus the amnesiac twin's area (and minus the luck of the redrawn tasks, where it is known).
        exceeds: the interval of the excess lies above zero: the environment leaks, or the agent has learnt
            structure that all of the family's tasks share, and should say so.
        chance: one-sided probability of an excess as large if there were none (normal approximation), for
            correcting over many controls.
    """

    area: Estimate
    excess: Estimate
    exceeds: bool
    chance: float


@dataclass(frozen=True)
class Scores:
    """The metrics of one agent on one environment, each with its 95% interval over lifetimes.

    Attributes:
        agent: the agent's name.
        env_id: the environment's id.
        lifetimes: how many lifetimes.
        area: mean g over the lifetime's episodes: the score.
        regret: sum of 1 - g over the lifetime's episodes.
        reward: total improvement reward of a lifetime.
        stages: the metrics within each stage (those that must not mix levels live here).
        first_episode_deficit: min(0, g_1) of the worst stage; below zero an agent plays worse than random first.
        deficit_flagged: the deficit is there beyond chance.
        twin_area: area of the amnesiac twin; None without one.
        learning: area minus the larger of the twin's area and the best memoryless rung; None without a twin.
        memoryless: area of the best memoryless rung.
        redrawn: the redrawn control; None without one or without a twin.
        notes: what is not available and why.
        diagnostics: what the family tells about how the episodes were lived, by stage.
    """

    agent: str
    env_id: str
    lifetimes: int
    area: Estimate
    regret: Estimate
    reward: Estimate
    stages: tuple[StageScores, ...]
    first_episode_deficit: Estimate
    deficit_flagged: bool
    twin_area: Estimate | None
    learning: Estimate | None
    memoryless: float
    redrawn: Control | None
    notes: tuple[str, ...]
    diagnostics: tuple[DiagnosticScores, ...] = ()

    @property
    def first(self) -> Estimate:
        """Mean g of the first episode of the last stage (the top level of a progressive course)."""
        return self.stages[-1].first

    @property
    def final(self) -> Estimate:
        """Mean g of the last episode of the last stage."""
        return self.stages[-1].final

    @property
    def gain(self) -> Estimate:
        """Final minus first within the last stage."""
        return self.stages[-1].gain

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, fit for strict JSON: None where undefined, "never" for inf."""
        return _plain(asdict(self))

    def __str__(self) -> str:
        lines = [f"{self.agent} on {self.env_id}, {self.lifetimes} lifetimes (value [95% interval])"]
        lines.append(f"  area      {self.area}")
        if self.twin_area is not None:
            lines += [f"  twin      {self.twin_area}", f"  learning  {self.learning}"]
        if self.redrawn is not None:
            flag = "  EXCEEDS the amnesiac twin" if self.redrawn.exceeds else ""
            lines.append(f"  redrawn - twin {self.redrawn.excess}{flag}")
        flag = "  WORSE THAN RANDOM" if self.deficit_flagged else ""
        lines.append(f"  first-episode deficit {self.first_episode_deficit}{flag}")
        for part in self.stages:
            reached = ", ".join(
                f"to {threshold:g}: {'never' if math.isinf(one.value) else int(one.value)}"
                for threshold, one in part.episodes_to.items()
            )
            lines.append(f"  {part.name}: first {part.first}  final {part.final}  area {part.area}  episodes {reached}")
        for one in self.diagnostics:
            name = one.name.replace("_", " ")
            if len(one.mean) == 1:
                lines.append(f"  {name}, {one.stage}: first {one.first[0]}  final {one.final[0]}  mean {one.mean[0]}")
            else:
                lines.append(f"  {name}, {one.stage}: {' '.join(_number(part.value) for part in one.mean)}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        return "never" if math.isinf(value) else float(value)
    return value


# --- all of it together ---------------------------------------------------------------------------------------------


def _check_condition(result: "Result", other: "Result", role: str, **expected: str) -> None:
    for name, value in expected.items():
        if getattr(other, name) != value:
            raise ValueError(f"{role} must have {name}={value!r}, received {name}={getattr(other, name)!r}.")
    for name in ("agent", "agent_options", "env_id", "settings", "split"):
        # As plain values: settings that come back from a file hold lists where tuples went in.
        if _plain(getattr(other, name)) != _plain(getattr(result, name)):
            raise ValueError(
                f"{role} must share the {name} of the result: expected {getattr(result, name)!r}, "
                f"received {getattr(other, name)!r}."
            )


def _paired(result: "Result", other: "Result") -> bool:
    return result.seed == other.seed and len(result.normalized) == len(other.normalized)


def _memoryless_levels(best_memoryless: float | Mapping[int, float] | Sequence[float]) -> Callable[[int], float]:
    if isinstance(best_memoryless, Mapping):
        return lambda level: float(best_memoryless.get(level, 0.0))
    if isinstance(best_memoryless, int | float):
        return lambda level: float(best_memoryless)
    values = [float(value) for value in best_memoryless]
    return lambda level: values[level]


def score(
    result: "Result",
    twin: "Result | None" = None,
    redrawn: "Result | None" = None,
    best_memoryless: float | Mapping[int, float] | Sequence[float] = 0.0,
    *,
    fresh: "Mapping[int, Result] | None" = None,
    luck: np.ndarray | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """The metrics of an evaluation, with intervals.

    Args:
        result: of ``daytwo.evaluate(agent, env_id, ...)``.
        twin: the same call with ``memory="wiped"``, the amnesiac twin. A score without its twin should not be
            reported: one cannot tell learning from a good prior.
        redrawn: the same call with ``task="redrawn"``, the control for leaks.
        best_memoryless: normalised return of the best known memoryless agent: one number, or one per level.
        fresh: for `forward_transfer`: level -> result of the same agent with ``course="single", level=level``.
            Levels that are missing are read off the twin, whose first episode of a stage is one of an agent that
            begins its life there.
        luck: ``float64[lifetimes]``, what the random policy gains in each lifetime under the redrawn control: the
            redrawn tasks are others, and where they happen to pay more they do so for every agent. It is taken off
            the control's excess. Of the same seed and number of lifetimes.
        thresholds: for `episodes_to`.
        resamples: bootstrap resamples.
        seed: of the bootstrap; equal arguments give equal numbers.

    Returns:
        `Scores`. What cannot be computed is None and named in ``notes``.

    Raises:
        ValueError: a result is not the condition it is handed in as, or not of the same agent and environment.
    """
    if result.memory != "kept" or result.task != "fixed":
        raise ValueError(
            f"The result to score must have memory='kept' and task='fixed', received memory={result.memory!r} and "
            f"task={result.task!r}; hand controls in as twin= and redrawn=."
        )
    if twin is not None:
        _check_condition(result, twin, "twin", memory="wiped", task="fixed")
    if redrawn is not None:
        _check_condition(result, redrawn, "redrawn", memory="kept", task="redrawn")

    def weights_of(one: "Result") -> np.ndarray:
        # Results that share their lifetimes share the matrix, which pairs them; others get one of their own.
        own = seed if _paired(result, one) else seed + 1 + (one.seed % 2**32)
        return bootstrap_weights(len(one.normalized), resamples=resamples, seed=own)

    weights = weights_of(result)
    notes = []
    parts = split_stages(result.normalized, result.stages, result.levels)
    if not parts:
        raise ValueError("The result holds no finished episode.")
    twin_parts = {}
    if twin is not None:
        twin_parts = {
            (part.stage, part.level): part for part in split_stages(twin.normalized, twin.stages, twin.levels)
        }

    def transfer(position: int, part: StageReturns) -> Estimate | None:
        if part.stage < 0 or position == 0:
            return None
        alone = (fresh or {}).get(part.level)
        if alone is not None:
            for name in ("agent", "agent_options", "env_id"):
                if _plain(getattr(alone, name)) != _plain(getattr(result, name)):
                    raise ValueError(f"fresh[{part.level}] must share the {name} of the result.")
            if not (alone.levels[:, 0] == part.level).all():
                raise ValueError(f"fresh[{part.level}] must begin at level {part.level}.")
            begins, begins_weights = alone.normalized, weights_of(alone)
        elif twin is not None and (part.stage, part.level) in twin_parts:
            begins, begins_weights = twin_parts[part.stage, part.level].g, weights_of(twin)
        else:
            return None
        return difference(first(part.g), first(begins), weights, begins_weights)

    scored: list[StageScores] = []
    last_at_level: dict[int, np.ndarray] = {}
    for position, part in enumerate(parts):
        g = part.g
        kept = None
        if part.stage >= 0 and part.level in last_at_level:
            kept = estimate(first(g) - last_at_level[part.level], weights)
        last_at_level[part.level] = final(g)
        scored.append(
            StageScores(
                name=part.name,
                stage=part.stage,
                level=part.level,
                episodes=g.shape[1],
                curve=adaptation_curve(g, weights),
                first=estimate(first(g), weights),
                final=estimate(final(g), weights),
                gain=estimate(gain(g), weights),
                area=estimate(area(g), weights),
                regret=estimate(regret(g), weights),
                simple_regret=estimate(simple_regret(g), weights),
                episodes_to={float(x): estimate_episodes_to(g, float(x), weights) for x in thresholds},
                forward_transfer=transfer(position, part),
                retention=kept,
            )
        )

    rung = _memoryless_levels(best_memoryless)
    lived, episodes = np.unique(result.levels[result.levels >= 0], return_counts=True)
    memoryless = float(np.average([rung(int(level)) for level in lived], weights=episodes))
    areas = area(result.normalized)
    twin_area = learnt = control = None
    if twin is None:
        notes.append("learning is not available: it needs the amnesiac twin, evaluate(..., memory='wiped')")
        if redrawn is not None:
            notes.append("the redrawn control is not judged: it is held against the amnesiac twin")
    else:
        twin_areas = area(twin.normalized)
        twin_weights = weights_of(twin)
        twin_area = estimate(twin_areas, twin_weights)
        learnt = learning(areas, twin_areas, memoryless, weights, twin_weights)
        if redrawn is None:
            notes.append("no redrawn control: evaluate(..., task='redrawn')")
        else:
            redrawn_areas = area(redrawn.normalized)
            if luck is not None and np.shape(luck) != redrawn_areas.shape:
                raise ValueError(f"luck must have shape {redrawn_areas.shape}, received {np.shape(luck)}.")
            deserved = redrawn_areas if luck is None else redrawn_areas - luck
            excess = difference(deserved, twin_areas, weights_of(redrawn), twin_weights)
            control = Control(
                area=estimate(redrawn_areas, weights_of(redrawn)),
                excess=excess,
                exceeds=excess.low > 0.0,
                chance=upper_tail(excess.value, excess),
            )
    deficit, flagged = first_episode_deficit([part.first for part in scored])
    return Scores(
        agent=result.agent,
        env_id=result.env_id,
        lifetimes=len(result.normalized),
        area=estimate(areas, weights),
        regret=estimate(regret(result.normalized), weights),
        reward=estimate(result.reward, weights),
        stages=tuple(scored),
        first_episode_deficit=deficit,
        deficit_flagged=flagged,
        twin_area=twin_area,
        learning=learnt,
        memoryless=memoryless,
        redrawn=control,
        notes=tuple(notes),
        diagnostics=score_diagnostics(result.diagnostics, result.stages, result.levels, weights),
    )
