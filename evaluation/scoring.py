"""`score` puts the metrics of one evaluation together, each with its interval and held against its controls."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from daytwo.evaluation.metrics import (
    THRESHOLDS,
    StageReturns,
    adaptation_curve,
    area,
    estimate_episodes_to,
    estimate_switch_recovery,
    final,
    first,
    first_episode_deficit,
    gain,
    learning,
    regret,
    retention,
    simple_regret,
    split_stages,
    switch_drop,
)
from daytwo.evaluation.statistics import (
    RESAMPLES,
    TAIL,
    Estimate,
    Exported,
    bootstrap_weights,
    difference,
    estimate,
    number_text,
    plain_numbers,
    upper_tail,
)

if TYPE_CHECKING:
    from daytwo.evaluation.running import Result

BestMemoryless = float | Mapping[int, float] | Sequence[float]
# The settings of an environment that say which course is lived; all others belong to the family.
COURSE_SETTINGS = ("course", "level", "episodes", "mastery")


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
        switch_drop: last episode before the unannounced change of the task minus the first after it; None without a
            change.
        switch_recovery: episodes after the change until mean g is back near its level before, inf where never; None
            without a change.
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
    switch_drop: Estimate | None = None
    switch_recovery: Estimate | None = None


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
class Scores(Exported):
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
        deficit_chance: that an agent no worse than random has such a deficit at some stage; NaN if unknown.
        twin_area: area of the amnesiac twin; None without one.
        learning: area minus the larger of the twin's area and the best memoryless rung; None without a twin.
        memoryless: area of the best memoryless rung; the random policy's 0 counts where none is known.
        redrawn: the redrawn control; None without one or without a twin.
        notes: what is not available and why.
        diagnostics: what the family tells about how the episodes were lived, by stage.
        learning_bound: which is the larger, ``"twin"`` or ``"memoryless"``: what learning is held against. None without
            a twin.
    """

    agent: str
    env_id: str
    lifetimes: int
    area: Estimate
    regret: Estimate
    reward: Estimate
    stages: tuple[StageScores, ...]
    first_episode_deficit: Estimate
    deficit_chance: float
    twin_area: Estimate | None
    learning: Estimate | None
    memoryless: float
    redrawn: Control | None
    notes: tuple[str, ...]
    diagnostics: tuple[DiagnosticScores, ...] = ()
    learning_bound: str | None = None

    @property
    def deficit_flagged(self) -> bool:
        """The first-episode deficit is there beyond chance."""
        return self.deficit_chance < TAIL

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

    def __str__(self) -> str:
        lines = [f"{self.agent} on {self.env_id}, {self.lifetimes} lifetimes (value [95% interval])"]
        lines.append(f"  area      {self.area}")
        if self.twin_area is not None:
            bound = "its twin" if self.learning_bound == "twin" else f"the best memoryless agent, {self.memoryless:.3f}"
            lines += [f"  twin      {self.twin_area}", f"  learning  {self.learning}  against {bound}"]
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
            if part.switch_recovery is not None:
                recovery = number_text(part.switch_recovery.value).removesuffix(".000")
                lines.append(f"  {part.name}, task changed: drop {part.switch_drop}  episodes to recover {recovery}")
        for one in self.diagnostics:
            name = one.name.replace("_", " ")
            if len(one.mean) == 1:
                lines.append(f"  {name}, {one.stage}: first {one.first[0]}  final {one.final[0]}  mean {one.mean[0]}")
            else:
                lines.append(f"  {name}, {one.stage}: {' '.join(number_text(part.value) for part in one.mean)}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


# --- what belongs together ------------------------------------------------------------------------------------------


def family_settings(result: "Result") -> dict[str, Any]:
    """The keyword arguments the environment was made with, without those that say which course is lived."""
    return {name: value for name, value in result.settings.items() if name not in COURSE_SETTINGS}


def check_lived(result: "Result", role: str) -> None:
    """Refuse a result without episodes, or with an episode that was lived and has no return.

    Args:
        result: to be looked at.
        role: what the error calls it.

    Raises:
        ValueError: naming the first lifetime and episode that will not do.
    """
    lived = result.levels >= 0
    if not lived.any():
        raise ValueError(f"{role} holds no finished episode.")
    bad = np.argwhere(lived & ~np.isfinite(result.normalized))
    if len(bad):
        lifetime, episode = map(int, bad[0])
        raise ValueError(
            f"{role} has the normalised return {result.normalized[lifetime, episode]} in lifetime {lifetime}, episode "
            f"{episode} (counted from 0), which was lived at level {result.levels[lifetime, episode]}: expected a "
            "finite number."
        )


def check_shared(
    result: "Result",
    other: "Result",
    role: str,
    names: Sequence[str] = ("agent", "agent_options", "env_id", "settings", "split"),
    **expected: str,
) -> None:
    """Refuse a result that cannot be held against another one.

    Args:
        result: the one that is scored.
        other: the one that is held against it.
        role: what the errors call ``other``.
        names: fields of `Result` in which both must agree; ``"family_settings"`` is the settings but for the course.
        **expected: values that fields of ``other`` must have.

    Raises:
        ValueError: naming the field, what was expected and what was received.
    """
    for name, value in expected.items():
        if getattr(other, name) != value:
            raise ValueError(f"{role} must have {name}={value!r}, received {name}={getattr(other, name)!r}.")

    def told(one: "Result", name: str) -> Any:
        return family_settings(one) if name == "family_settings" else getattr(one, name)

    for name in names:
        # As plain values: settings that come back from a file hold lists where tuples went in.
        if plain_numbers(told(other, name)) != plain_numbers(told(result, name)):
            raise ValueError(
                f"{role} must share the {name.replace('_', ' ')} of the result: "
                f"expected {told(result, name)!r}, received {told(other, name)!r}."
            )
    check_lived(other, role)


def paired(result: "Result", other: "Result") -> bool:
    """Whether row l of both is the same lifetime: the same seed, split and number of lifetimes."""
    return result.seed == other.seed and result.split == other.split and result.lifetimes == other.lifetimes


def paired_weights(
    result: "Result", other: "Result", *, resamples: int = RESAMPLES, seed: int = 0, same_tasks: bool = True
) -> np.ndarray:
    """The bootstrap weights of a result that is held against another one.

    Args:
        result: the one that is scored, whose weights are ``bootstrap_weights(lifetimes, seed=seed)``.
        other: the one whose weights are asked for.
        resamples: how many resamples.
        seed: of the resampling.
        same_tasks: whether equal lifetimes have equal hidden tasks, in the episodes that are compared.

    Returns:
        ``float64[resamples, lifetimes]``: the same matrix for lifetimes that both share, which pairs them, and an
        independent one otherwise.
    """
    # Of results that have other tasks, two of one seed share a matrix of their own: a twin stays paired with its agent.
    own = seed if same_tasks and paired(result, other) else seed + 1 + other.seed % 2**32 + (not same_tasks) * 2**32
    return bootstrap_weights(other.lifetimes, resamples=resamples, seed=own)


def memoryless_area(result: "Result", best_memoryless: BestMemoryless | None = None) -> tuple[float, tuple[int, ...]]:
    """The area that the best memoryless rung has over the levels that were lived.

    Args:
        result: the one that is scored.
        best_memoryless: normalised return of the best memoryless agent: one number, or one per level; by default what
            the result says itself. NaN, or none at all, is a level where no rung was measured.

    Returns:
        The area, with the random policy's 0 where no rung was measured, and the levels where that is so.
    """
    if best_memoryless is None:
        best_memoryless = tuple(getattr(result, "memoryless", ()))
    lived = [int(level) for level in np.unique(result.levels[result.levels >= 0])]
    if isinstance(best_memoryless, int | float | np.number):
        rungs = dict.fromkeys(lived, float(best_memoryless))
    else:
        pairs = best_memoryless.items() if isinstance(best_memoryless, Mapping) else enumerate(best_memoryless)
        rungs = {int(level): float(value) for level, value in pairs}
    unknown = tuple(level for level in lived if math.isnan(rungs.get(level, math.nan)))
    by_level = np.array([0.0 if level in unknown else rungs.get(level, 0.0) for level in range(lived[-1] + 1)])
    g = np.where(result.levels >= 0, by_level[np.maximum(result.levels, 0)], np.nan)
    return float(np.nanmean(area(g))), unknown


def random_error(result: "Result", level: int) -> float:
    """The standard error that the mean of one episode of each lifetime would have, if the agent played at random."""
    spread = result.random_spread[level] if result.random_spread else 0.0
    return spread / math.sqrt(result.lifetimes)


def unmeasured_note(levels: Sequence[int]) -> str:
    """What to say of levels where no memoryless rung was measured."""
    where = f"level {levels[0]}" if len(levels) == 1 else f"levels {', '.join(map(str, levels))}"
    return f"learning is held against the random policy's 0 at {where}, where no memoryless rung was measured"


# --- all of it together ---------------------------------------------------------------------------------------------


def score(
    result: "Result",
    twin: "Result | None" = None,
    redrawn: "Result | None" = None,
    best_memoryless: BestMemoryless | None = None,
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
        best_memoryless: normalised return of the best known memoryless agent: one number, or one per level (NaN where
            unknown); by default what the result says itself.
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
        `Scores`. What cannot be computed is None and named in ``notes``; over a single lifetime every interval is NaN
        and nothing is flagged.

    Raises:
        ValueError: a result is not the condition it is handed in as, or not of the same agent and environment, or
            lacks the return of an episode that was lived.
    """
    if result.memory != "kept" or result.task != "fixed":
        raise ValueError(
            f"The result to score must have memory='kept' and task='fixed', received memory={result.memory!r} and "
            f"task={result.task!r}; hand controls in as twin= and redrawn=."
        )
    check_lived(result, "The result")
    if twin is not None:
        check_shared(result, twin, "twin", memory="wiped", task="fixed")
    if redrawn is not None:
        check_shared(result, redrawn, "redrawn", memory="kept", task="redrawn")

    def weights_of(one: "Result") -> np.ndarray:
        return paired_weights(result, one, resamples=resamples, seed=seed)

    weights = weights_of(result)
    notes = []
    if (result.levels >= 0).any(axis=1).sum() == 1:
        notes.append("one lifetime: no interval")
    parts = split_stages(result.normalized, result.stages, result.levels)
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
            names = ("agent", "agent_options", "env_id", "family_settings", "split")
            check_shared(result, alone, f"fresh[{part.level}]", names, memory="kept", task="fixed")
            if not (alone.levels[:, 0] == part.level).all():
                raise ValueError(f"fresh[{part.level}] must begin at level {part.level}.")
            begins, begins_weights = alone.normalized, weights_of(alone)
        elif twin is not None and (part.stage, part.level) in twin_parts:
            begins, begins_weights = twin_parts[part.stage, part.level].g, weights_of(twin)
        else:
            return None
        return difference(first(part.g), first(begins), weights, begins_weights)

    scored: list[StageScores] = []
    last_visit: dict[int, np.ndarray] = {}
    for position, part in enumerate(parts):
        g = part.g
        kept = None
        if part.stage >= 0 and part.level in last_visit:
            kept = estimate(retention(last_visit[part.level], g), weights)
        last_visit[part.level] = g
        change = result.course.stages[part.stage].switch_after if part.stage >= 0 else 0
        changed = 0 < change < g.shape[1]
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
                switch_drop=estimate(switch_drop(g, change), weights) if changed else None,
                switch_recovery=estimate_switch_recovery(g, change, weights) if changed else None,
            )
        )

    memoryless, unknown = memoryless_area(result, best_memoryless)
    areas = area(result.normalized)
    twin_area = learnt = control = bound = None
    if twin is None:
        notes.append("learning is not available: it needs the amnesiac twin, evaluate(..., memory='wiped')")
        if redrawn is not None:
            notes.append("the redrawn control is not judged: it is held against the amnesiac twin")
    else:
        twin_areas = area(twin.normalized)
        twin_weights = weights_of(twin)
        twin_area = estimate(twin_areas, twin_weights)
        learnt = learning(areas, twin_areas, memoryless, weights, twin_weights)
        bound = "twin" if twin_area.value >= memoryless else "memoryless"
        if unknown:
            notes.append(unmeasured_note(unknown))
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
    deficit, deficit_chance = first_episode_deficit(
        [part.first for part in scored], [random_error(result, part.level) for part in scored]
    )
    return Scores(
        agent=result.agent,
        env_id=result.env_id,
        lifetimes=len(result.normalized),
        area=estimate(areas, weights),
        regret=estimate(regret(result.normalized), weights),
        reward=estimate(result.reward, weights),
        stages=tuple(scored),
        first_episode_deficit=deficit,
        deficit_chance=deficit_chance,
        twin_area=twin_area,
        learning=learnt,
        memoryless=memoryless,
        redrawn=control,
        notes=tuple(notes),
        diagnostics=score_diagnostics(result.diagnostics, result.stages, result.levels, weights),
        learning_bound=bound,
    )
