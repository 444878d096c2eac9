"""Metrics that need several evaluations of one agent: transfer, retention, switches, length and generalisation.

Each function takes results of `daytwo.evaluate` that differ in one respect, refuses any that differ in others, and
returns a frozen dataclass of `daytwo.evaluation.statistics.Estimate`. Differences are paired wherever both results
lived the same lifetimes: under one seed lifetime l has the same hidden task in every course, until the course itself
draws another one.

Source: the definitions of forward transfer and of its matrix follow Lopez-Paz & Ranzato 2017, "Gradient Episodic
Memory for Continual Learning", with episodes of one lifetime in the place of tasks trained on in turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from daytwo.course import Course
from daytwo.evaluation.metrics import (
    TOLERANCE,
    StageReturns,
    area,
    estimate_switch_recovery,
    final,
    first,
    learning,
    retention,
    split_stages,
    switch_drop,
)
from daytwo.evaluation.scoring import (
    BestMemoryless,
    check_shared,
    memoryless_area,
    paired,
    paired_weights,
    unmeasured_note,
)
from daytwo.evaluation.statistics import RESAMPLES, Estimate, Exported, difference, estimate

if TYPE_CHECKING:
    from daytwo.evaluation.running import Result

# Another course of the same agent in the same environment.
OTHER_COURSE = ("agent", "agent_options", "env_id", "family_settings", "split")


# --- what is handed in ----------------------------------------------------------------------------------------------


def _told(course: Course) -> str:
    """A course in a few words, for the errors."""
    stages = []
    for stage in course.stages:
        text = f"level {stage.level} for {stage.episodes}"
        text += " on a new task" if stage.new_task else ""
        text += f", switched after {stage.switch_after}" if stage.switch_after else ""
        stages.append(text)
    return f"{course.name!r} ({'shuffled: ' if course.shuffle else ''}{'; '.join(stages)})"


def _check_course(result: "Result", role: str, expected: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{role} must be {expected}, received the course {_told(result.course)}.")


def _check_scored(result: "Result", role: str) -> None:
    """The result that others are held against: the agent itself, on a fixed task."""
    check_shared(result, result, role, (), memory="kept", task="fixed")


def _levels(course: Course) -> list[int]:
    return [stage.level for stage in course.stages]


def _lengths(course: Course) -> list[tuple[int, int]]:
    """Level and episodes of every stage."""
    return [(stage.level, stage.episodes) for stage in course.stages]


def _keeps_its_task(course: Course) -> bool:
    """Whether the hidden task is the same in all stages."""
    return not any(stage.new_task for stage in course.stages[1:]) and not any(one.switch_after for one in course.stages)


def _stages(result: "Result") -> list[StageReturns]:
    return split_stages(result.normalized, result.stages, result.levels)


def _check_fresh(result: "Result", fresh: "Result", level: int) -> None:
    """An agent that begins its life at a level."""
    role = f"fresh[{level}]"
    check_shared(result, fresh, role, OTHER_COURSE, memory="kept", task="fixed")
    course = fresh.course
    begins = not course.shuffle and course.stages[0].level == level
    _check_course(fresh, role, f"a life that begins at level {level}", begins)


@dataclass(frozen=True)
class _Resampling:
    """The bootstrap of one comparison: the weights of each result, shared where lifetimes are."""

    result: "Result" = field(repr=False)
    resamples: int
    seed: int

    def of(self, other: "Result", same_tasks: bool = True) -> np.ndarray:
        return paired_weights(self.result, other, resamples=self.resamples, seed=self.seed, same_tasks=same_tasks)

    def mean(self, values: np.ndarray) -> Estimate:
        """Of one number per lifetime of the result that is scored."""
        return estimate(values, self.of(self.result))

    def minus(self, values: np.ndarray, other: "Result", others: np.ndarray, same_tasks: bool = True) -> Estimate:
        """Mean of ``values`` of the result minus mean of ``others`` of another one."""
        return difference(values, others, self.of(self.result), self.of(other, same_tasks))


# --- transfer -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LevelTransfer:
    """What the episodes at lower levels do for the first episode at a level.

    Attributes:
        stage: index of the stage in the progressive course.
        level: index of the level.
        level_name: its name.
        progressive_first: first episode here after the stages before, on one task.
        fresh_first: first episode of the same agent beginning its life here; None if not handed in.
        forward_transfer: the difference.
        isolated_first: first episode here after the stages before, each on another task; None if not handed in.
        interference: that minus the fresh first episode: below zero, a past with other tasks is in the way.
    """

    stage: int
    level: int
    level_name: str
    progressive_first: Estimate
    fresh_first: Estimate | None
    forward_transfer: Estimate | None
    isolated_first: Estimate | None
    interference: Estimate | None


@dataclass(frozen=True)
class TransferScores(Exported):
    """Whether an agent builds on what it learnt at lower levels.

    Attributes:
        agent: the agent's name.
        env_id: the environment's id.
        lifetimes: of the progressive course.
        levels: one `LevelTransfer` for every stage but the first.
        area: of the progressive course.
        shuffled_area: area of the same stages in random order; None if not handed in.
        isolated_area: area of the same stages, each on a task of its own; None if not handed in.
        over_shuffled: progressive minus shuffled area: what the order is worth.
        over_isolated: progressive minus isolated area: what keeping the task is worth.
        notes: what is not available or not paired, and why.
    """

    agent: str
    env_id: str
    lifetimes: int
    levels: tuple[LevelTransfer, ...]
    area: Estimate
    shuffled_area: Estimate | None
    isolated_area: Estimate | None
    over_shuffled: Estimate | None
    over_isolated: Estimate | None
    notes: tuple[str, ...]


def score_transfer(
    progressive: "Result",
    fresh: "Mapping[int, Result]",
    *,
    isolated: "Result | None" = None,
    shuffled: "Result | None" = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> TransferScores:
    """Forward transfer and interference at every level above the first, and what the order of a course is worth.

    Args:
        progressive: an agent on a course of rising levels and one task (``course="progressive"``).
        fresh: level -> the same agent beginning its life there (``course="single", level=level``). Levels that are
            missing are named in ``notes``.
        isolated: the same stages with a new task at each (``course="isolated"``).
        shuffled: the same stages in random order (``course="shuffled"``).
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: a result is of another agent or environment, or not of the course it is handed in as.
    """
    _check_scored(progressive, "progressive")
    course = progressive.course
    levels_lived = _levels(course)
    rising = len(levels_lived) > 1 and levels_lived == sorted(set(levels_lived)) and not course.shuffle
    _check_course(
        progressive, "progressive", "a course of rising levels on one task", rising and _keeps_its_task(course)
    )
    notes, isolated_parts = [], {}
    if isolated is not None:
        check_shared(progressive, isolated, "isolated", OTHER_COURSE, memory="kept", task="fixed")
        other = isolated.course
        alike = _lengths(other) == _lengths(course) and not other.shuffle
        renewed = all(stage.new_task for stage in other.stages[1:])
        _check_course(isolated, "isolated", f"the course {_told(course)} with new tasks", alike and renewed)
        isolated_parts = {part.level: part.g for part in _stages(isolated)}
    if shuffled is not None:
        check_shared(progressive, shuffled, "shuffled", OTHER_COURSE, memory="kept", task="fixed")
        other = shuffled.course
        alike = sorted(_lengths(other)) == sorted(_lengths(course)) and other.shuffle
        _check_course(shuffled, "shuffled", f"the course {_told(course)}, shuffled", alike and _keeps_its_task(other))

    own = _Resampling(progressive, resamples, seed)
    levels = []
    for part in _stages(progressive)[1:]:
        alone = fresh.get(part.level)
        isolated_g = isolated_parts.get(part.level)
        fresh_first = transfer = isolated_first = interference = None
        if alone is None:
            notes.append(f"no forward transfer at level {part.level}: it needs fresh[{part.level}]")
        else:
            _check_fresh(progressive, alone, part.level)
            fresh_first = estimate(first(alone.normalized), own.of(alone))
            transfer = own.minus(first(part.g), alone, first(alone.normalized))
            if not paired(progressive, alone):
                notes.append(f"not paired at level {part.level}: fresh[{part.level}] lived other lifetimes")
        if isolated is not None and isolated_g is not None:
            # On another task than the fresh life of the same seed: paired with nothing.
            isolated_weights = own.of(isolated, same_tasks=False)
            isolated_first = estimate(first(isolated_g), isolated_weights)
            if alone is not None:
                begins = first(alone.normalized)
                interference = difference(first(isolated_g), begins, isolated_weights, own.of(alone))
        levels.append(
            LevelTransfer(
                stage=part.stage,
                level=part.level,
                level_name=progressive.level_names[part.level],
                progressive_first=own.mean(first(part.g)),
                fresh_first=fresh_first,
                forward_transfer=transfer,
                isolated_first=isolated_first,
                interference=interference,
            )
        )

    areas = area(progressive.normalized)
    shuffled_area = isolated_area = over_shuffled = over_isolated = None
    if shuffled is not None:
        shuffled_areas = area(shuffled.normalized)
        shuffled_area = estimate(shuffled_areas, own.of(shuffled))
        over_shuffled = own.minus(areas, shuffled, shuffled_areas)
        if not paired(progressive, shuffled):
            notes.append("not paired: the shuffled course was lived in other lifetimes")
    if isolated is not None:
        isolated_areas = area(isolated.normalized)
        isolated_area = estimate(isolated_areas, own.of(isolated, same_tasks=False))
        over_isolated = own.minus(areas, isolated, isolated_areas, same_tasks=False)
    return TransferScores(
        agent=progressive.agent,
        env_id=progressive.env_id,
        lifetimes=progressive.lifetimes,
        levels=tuple(levels),
        area=own.mean(areas),
        shuffled_area=shuffled_area,
        isolated_area=isolated_area,
        over_shuffled=over_shuffled,
        over_isolated=over_isolated,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class TransferMatrix(Exported):
    """What a stage at one level does for the first episode at another one.

    Attributes:
        agent: the agent's name.
        env_id: the environment's id.
        level_names: of the levels, in order.
        episodes: how many episodes are lived at the first level.
        entries: ``entries[i][j]``: first episode at level j after that many at level i, minus the first episode at
            level j of a life that begins there; None where it was not handed in.
    """

    agent: str
    env_id: str
    level_names: tuple[str, ...]
    episodes: int
    entries: tuple[tuple[Estimate | None, ...], ...]


def transfer_matrix(
    pairs: "Mapping[tuple[int, int], Result]",
    fresh: "Mapping[int, Result]",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> TransferMatrix:
    """Transfer from every level to every other one.

    An agent that plans knows how long its course is. To compare equal prospects, let the fresh lives be as long as
    the second stage of the pairs.

    Args:
        pairs: (i, j) -> an agent on a course of two stages, K episodes at level i and then at least one at level j, on
            one task: ``Course([Stage(i, K), Stage(j, 1)])``. For (i, i) one stage of K + 1 episodes will do. K is the
            same for all.
        fresh: j -> the same agent beginning its life at level j.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: there is no pair, a fresh life is missing, K differs, or a result is of another agent or
            environment or not of the course it is handed in as.
    """
    if not pairs:
        raise ValueError("Expected at least one pair of levels, received none.")
    reference = next(iter(pairs.values()))
    names = reference.level_names
    entries: list[list[Estimate | None]] = [[None] * len(names) for _ in names]
    lengths: dict[tuple[int, int], int] = {}
    for (i, j), result in pairs.items():
        role = f"pairs[{i}, {j}]"
        check_shared(reference, result, role, OTHER_COURSE, memory="kept", task="fixed")
        course = result.course
        single = i == j and len(course.stages) == 1 and course.episodes > 1
        fits = (_levels(course) == [i, j] or single) and _levels(course)[0] == i and not course.shuffle
        expected = f"episodes at level {i} and then at level {j}, on one task"
        _check_course(result, role, expected, fits and _keeps_its_task(course))
        if j not in fresh:
            raise ValueError(f"{role} needs fresh[{j}], received fresh lives at the levels {sorted(fresh)}.")
        _check_fresh(reference, fresh[j], j)
        lengths[i, j] = course.stages[0].episodes - single
        g = final(result.normalized) if single else first(_stages(result)[1].g)
        entries[i][j] = _Resampling(result, resamples, seed).minus(g, fresh[j], first(fresh[j].normalized))
    if len(set(lengths.values())) > 1:
        raise ValueError(f"All pairs must live the same number of episodes at the first level, received {lengths}.")
    return TransferMatrix(
        agent=reference.agent,
        env_id=reference.env_id,
        level_names=names,
        episodes=next(iter(lengths.values())),
        entries=tuple(map(tuple, entries)),
    )


# --- retention ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReturnScores:
    """What is left of a level on returning to it.

    Attributes:
        level: index of the level.
        level_name: its name.
        earlier_stage: index of the stage of the earlier visit.
        stage: index of the stage of the return.
        earlier_first: first episode of the earlier visit, of an agent that had never been there.
        earlier_final: last episode of the earlier visit.
        first: first episode of the return.
        retention: that minus the last episode of the earlier visit: below zero it forgot.
        left: the return's first episode minus the earlier visit's: zero if nothing is left.
    """

    level: int
    level_name: str
    earlier_stage: int
    stage: int
    earlier_first: Estimate
    earlier_final: Estimate
    first: Estimate
    retention: Estimate
    left: Estimate


@dataclass(frozen=True)
class RetentionScores(Exported):
    """What an agent keeps of a level while it lives at others.

    Attributes:
        agent: the agent's name.
        env_id: the environment's id.
        lifetimes: how many.
        returns: one `ReturnScores` for every return to a level, in lived order.
    """

    agent: str
    env_id: str
    lifetimes: int
    returns: tuple[ReturnScores, ...]


def score_retention(review: "Result", *, resamples: int = RESAMPLES, seed: int = 0) -> RetentionScores:
    """What is left of a level on returning to it.

    Args:
        review: an agent on a course that returns to a level, on one task (``course="review"``).
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: the course returns to no level, or changes its task.
    """
    _check_scored(review, "review")
    course = review.course
    returns = len(set(_levels(course))) < len(course.stages) and not course.shuffle
    expected = "a course that returns to a level, on one task"
    _check_course(review, "review", expected, returns and _keeps_its_task(course))
    own = _Resampling(review, resamples, seed)
    found: list[ReturnScores] = []
    earlier: dict[int, StageReturns] = {}
    for part in _stages(review):
        before = earlier.get(part.level)
        if before is not None:
            found.append(
                ReturnScores(
                    level=part.level,
                    level_name=review.level_names[part.level],
                    earlier_stage=before.stage,
                    stage=part.stage,
                    earlier_first=own.mean(first(before.g)),
                    earlier_final=own.mean(final(before.g)),
                    first=own.mean(first(part.g)),
                    retention=own.mean(retention(before.g, part.g)),
                    left=own.mean(first(part.g) - first(before.g)),
                )
            )
        earlier[part.level] = part
    return RetentionScores(review.agent, review.env_id, review.lifetimes, tuple(found))


# --- switches -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SwitchScores(Exported):
    """How an agent takes an unannounced change of its task.

    Attributes:
        agent: the agent's name.
        env_id: the environment's id.
        lifetimes: how many.
        level: index of the level.
        level_name: its name.
        switch_after: episodes lived before the change.
        before: last episode before the change.
        after: first episode after it.
        drop: the former minus the latter.
        recovery: episodes after the change until mean g is back near its level before; inf where never.
        area_before: mean g of the episodes before the change.
        area_after: mean g of those after it.
        twin_area_before: of the amnesiac twin; None without one.
        twin_area_after: likewise.
        learning_before: area before the change minus the twin's; None without a twin.
        learning_after: likewise after the change: whether the agent learns again.
    """

    agent: str
    env_id: str
    lifetimes: int
    level: int
    level_name: str
    switch_after: int
    before: Estimate
    after: Estimate
    drop: Estimate
    recovery: Estimate
    area_before: Estimate
    area_after: Estimate
    twin_area_before: Estimate | None
    twin_area_after: Estimate | None
    learning_before: Estimate | None
    learning_after: Estimate | None


def score_switch(
    result: "Result",
    twin: "Result | None" = None,
    *,
    tolerance: float = TOLERANCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SwitchScores:
    """What an unannounced change of the task costs, and how soon it is made up for.

    Args:
        result: an agent on a course with one such change (``course="switch"``).
        twin: its amnesiac twin, which loses nothing by the change because it had nothing.
        tolerance: how far below the level before the change counts as back.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: the course has no change or several, the twin is none, or ``tolerance`` is negative.
    """
    _check_scored(result, "result")
    course = result.course
    changes = [(k, stage.switch_after) for k, stage in enumerate(course.stages) if stage.switch_after > 0]
    expected = "a course with one unannounced change of the task"
    _check_course(result, "result", expected, len(changes) == 1 and not course.shuffle)
    if twin is not None:
        check_shared(result, twin, "twin", memory="wiped", task="fixed")
    stage, switch_after = changes[0]

    def stage_of(one: "Result") -> StageReturns:
        return next(part for part in _stages(one) if part.stage == stage)

    part = stage_of(result)
    g, own = part.g, _Resampling(result, resamples, seed)
    before, after = slice(None, switch_after), slice(switch_after, None)
    twin_areas: list[Estimate | None] = [None, None]
    learnt: list[Estimate | None] = [None, None]
    if twin is not None:
        twin_g = stage_of(twin).g
        for k, where in enumerate((before, after)):
            twin_areas[k] = estimate(area(twin_g[:, where]), own.of(twin))
            learnt[k] = own.minus(area(g[:, where]), twin, area(twin_g[:, where]))
    return SwitchScores(
        agent=result.agent,
        env_id=result.env_id,
        lifetimes=result.lifetimes,
        level=part.level,
        level_name=result.level_names[part.level],
        switch_after=switch_after,
        before=own.mean(g[:, switch_after - 1]),
        after=own.mean(g[:, switch_after]),
        drop=own.mean(switch_drop(g, switch_after)),
        recovery=estimate_switch_recovery(g, switch_after, own.of(result), tolerance),
        area_before=own.mean(area(g[:, before])),
        area_after=own.mean(area(g[:, after])),
        twin_area_before=twin_areas[0],
        twin_area_after=twin_areas[1],
        learning_before=learnt[0],
        learning_after=learnt[1],
    )


# --- length ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LengthRow:
    """One length of the stages.

    Attributes:
        factor: how many times as long as the family's own.
        episodes: in one lifetime.
        area: mean g over the lifetime's episodes.
        final: g of the lifetime's last episode.
        area_change: area minus the area at factor 1, and None there.
        final_change: final minus the final at factor 1, and None there.
        twin_area: of the amnesiac twin; None without one.
        learning: area minus the larger of the twin's and the best memoryless rung; None without a twin.
    """

    factor: int
    episodes: int
    area: Estimate
    final: Estimate
    area_change: Estimate | None
    final_change: Estimate | None
    twin_area: Estimate | None
    learning: Estimate | None


@dataclass(frozen=True)
class LengthScores(Exported):
    """Whether an agent goes on learning, or at least goes on, in longer lives than it was made for.

    Attributes:
        agent: the agent's name.
        env_id: the environment's id.
        lifetimes: at factor 1.
        rows: one `LengthRow` per factor, in rising order.
        notes: what is not available or not paired, and why.
    """

    agent: str
    env_id: str
    lifetimes: int
    rows: tuple[LengthRow, ...]
    notes: tuple[str, ...]


def score_length(
    by_factor: "Mapping[int, Result]",
    twins: "Mapping[int, Result] | None" = None,
    *,
    best_memoryless: BestMemoryless | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LengthScores:
    """Area and last episode where stages last K episodes, 2K, 5K, ...

    Args:
        by_factor: factor -> the same agent on the same course with stages that many times as long; 1 is among them.
        twins: factor -> the amnesiac twin.
        best_memoryless: as in `daytwo.evaluation.scoring.score`.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: factor 1 is missing, a course is not so many times as long, or a result is of another agent or
            environment.
    """
    if 1 not in by_factor:
        raise ValueError(f"Expected factor 1 among the lengths, received {sorted(by_factor)}.")
    twins = twins or {}
    if not set(twins) <= set(by_factor):
        raise ValueError(f"There are twins of the factors {sorted(twins)}, but results of {sorted(by_factor)}.")
    base = by_factor[1]
    _check_scored(base, "by_factor[1]")
    own = _Resampling(base, resamples, seed)
    rows, notes = [], []
    for factor, result in sorted(by_factor.items()):
        role = f"by_factor[{factor}]"
        check_shared(base, result, role, OTHER_COURSE, memory="kept", task="fixed")
        longer = [replace(stage, episodes=stage.episodes * factor) for stage in base.course.stages]
        fits = list(result.course.stages) == longer and result.course.shuffle == base.course.shuffle
        expected = f"the course {_told(base.course)} with stages {factor} times as long"
        _check_course(result, role, expected, fits)
        areas, finals = area(result.normalized), final(result.normalized)
        twin, twin_area, learnt = twins.get(factor), None, None
        if twin is not None:
            check_shared(result, twin, f"twins[{factor}]", memory="wiped", task="fixed")
            memoryless, unknown = memoryless_area(result, best_memoryless)
            twin_area = estimate(area(twin.normalized), own.of(twin))
            learnt = learning(areas, area(twin.normalized), memoryless, own.of(result), own.of(twin))
            if unknown and unmeasured_note(unknown) not in notes:
                notes.append(unmeasured_note(unknown))
        if not paired(base, result):
            notes.append(f"not paired at factor {factor}: it was lived in other lifetimes")
        # Minus what was at factor 1, hence the order of the two.
        changes = [
            difference(values, others, own.of(result), own.of(base))
            for values, others in ((areas, area(base.normalized)), (finals, final(base.normalized)))
        ]
        rows.append(
            LengthRow(
                factor=factor,
                episodes=result.course.episodes,
                area=estimate(areas, own.of(result)),
                final=estimate(finals, own.of(result)),
                area_change=None if factor == 1 else changes[0],
                final_change=None if factor == 1 else changes[1],
                twin_area=twin_area,
                learning=learnt,
            )
        )
    if not twins:
        notes.append("learning is not available: it needs the amnesiac twins")
    return LengthScores(base.agent, base.env_id, base.lifetimes, tuple(rows), tuple(notes))


# --- generalisation -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HarderScores:
    """An agent under settings that it was not made for.

    Attributes:
        settings: the family's keyword arguments.
        area: mean g, in units of those settings: 0 is random and 1 the oracle there, too.
        change: area minus the area on the test split; paired, where both were lived in lifetimes of the same seeds.
    """

    settings: dict[str, object]
    area: Estimate
    change: Estimate


@dataclass(frozen=True)
class GeneralisationScores(Exported):
    """What an agent is worth on tasks it was not trained on.

    Attributes:
        agent: the agent's name.
        env_id: the environment's id.
        lifetimes: on the test split.
        test_area: area on the test split.
        train_area: area on the training split.
        gap: the latter minus the former; other tasks, hence not paired.
        twin_gap: the same of the amnesiac twin: how much of the gap is due to the tasks; None without twins.
        harder: name -> `HarderScores`.
    """

    agent: str
    env_id: str
    lifetimes: int
    test_area: Estimate
    train_area: Estimate
    gap: Estimate
    twin_gap: Estimate | None
    harder: dict[str, HarderScores]


def score_generalisation(
    test: "Result",
    train: "Result",
    harder: "Mapping[str, Result] | None" = None,
    *,
    test_twin: "Result | None" = None,
    train_twin: "Result | None" = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> GeneralisationScores:
    """The gap between training and test tasks, and the area under harder settings.

    Args:
        test: an agent with ``split="test"``.
        train: the same with ``split="train"``.
        harder: name -> the same agent on a course of the same levels under other settings of the family, on any split
            but the training split.
        test_twin: the amnesiac twin of ``test``.
        train_twin: that of ``train``.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        ValueError: a result is of another agent, environment or course, or of the wrong split; or one twin is
            handed in without the other.
    """
    same = ("agent", "agent_options", "env_id", "settings")
    check_shared(test, test, "test", (), memory="kept", task="fixed", split="test")
    check_shared(test, train, "train", same, memory="kept", task="fixed", split="train")
    if (test_twin is None) != (train_twin is None):
        raise ValueError("The gap of the twin needs both twins: hand in test_twin and train_twin, or neither.")
    own = _Resampling(test, resamples, seed)
    test_areas, train_areas = area(test.normalized), area(train.normalized)
    train_weights = own.of(train, same_tasks=False)
    twin_gap = None
    if test_twin is not None and train_twin is not None:
        check_shared(test, test_twin, "test_twin", same, memory="wiped", task="fixed", split="test")
        check_shared(test, train_twin, "train_twin", same, memory="wiped", task="fixed", split="train")
        twin_gap = difference(
            area(train_twin.normalized),
            area(test_twin.normalized),
            own.of(train_twin, same_tasks=False),
            own.of(test_twin),
        )
    found = {}
    for name, result in (harder or {}).items():
        role = f"harder[{name!r}]"
        check_shared(test, result, role, ("agent", "agent_options", "env_id"), memory="kept", task="fixed")
        if result.split == "train":
            raise ValueError(f"{role} must not be of the training split, received split='train'.")
        alike = _levels(result.course) == _levels(test.course) and result.course.shuffle == test.course.shuffle
        _check_course(result, role, f"a course of the levels of {_told(test.course)}", alike)
        areas, weights = area(result.normalized), own.of(result)
        found[name] = HarderScores(
            settings=dict(result.settings),
            area=estimate(areas, weights),
            change=difference(areas, test_areas, weights, own.of(test)),
        )
    return GeneralisationScores(
        agent=test.agent,
        env_id=test.env_id,
        lifetimes=test.lifetimes,
        test_area=own.mean(test_areas),
        train_area=estimate(train_areas, train_weights),
        gap=difference(train_areas, test_areas, train_weights, own.of(test)),
        twin_gap=twin_gap,
        harder=found,
    )


__all__ = [
    "GeneralisationScores",
    "HarderScores",
    "LengthRow",
    "LengthScores",
    "LevelTransfer",
    "RetentionScores",
    "ReturnScores",
    "SwitchScores",
    "TransferMatrix",
    "TransferScores",
    "score_generalisation",
    "score_length",
    "score_retention",
    "score_switch",
    "score_transfer",
    "transfer_matrix",
]
