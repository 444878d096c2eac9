"""`score` puts the metrics of one evaluation together, each with its interval and held against its controls."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from daytwo.evaluation.metrics import (
    THRESHOLDS,
    StageReturns,
    adaptation_curve,
    area,
    estimate_episodes_to,
    final,
    first,
    first_episode_deficit,
    gain,
    learning,
    regret,
    simple_regret,
    split_stages,
)
from daytwo.evaluation.statistics import (
    RESAMPLES,
    Estimate,
    bootstrap_weights,
    difference,
    estimate,
    number_text,
    upper_tail,
)

if TYPE_CHECKING:
    from daytwo.evaluation.running import Result


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
                lines.append(f"  {name}, {one.stage}: {' '.join(number_text(part.value) for part in one.mean)}")
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
