"""Levels, stages and courses: the progressive task sequence that one lifetime goes through."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

COURSES = ("progressive", "single", "shuffled", "reversed", "isolated", "review", "switch")


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)  # NumPy's integers count, too


@dataclass(frozen=True)
class Level:
    """One difficulty of a family.

    Attributes:
        name: a few words for people.
        horizon: the most steps an episode can last, at least 1.
        actions: which actions are offered, one bool per discrete action; None offers all of them.
    """

    name: str
    horizon: int
    actions: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        if not _is_integer(self.horizon) or self.horizon < 1:
            raise ValueError(
                f"Level {self.name!r}: horizon must be an integer of at least 1, received {self.horizon!r}."
            )
        if self.actions is not None and not any(self.actions):
            raise ValueError(f"Level {self.name!r} must offer at least one action, received {self.actions!r}.")


@dataclass(frozen=True)
class Stage:
    """A run of episodes at one level.

    Attributes:
        level: index of the level, counted from 0.
        episodes: how many episodes, at least 1.
        new_task: whether the hidden task is drawn anew when the stage begins.
        switch_after: redraw the task, unannounced, after this many episodes of the stage; 0 never does.
    """

    level: int
    episodes: int
    new_task: bool = False
    switch_after: int = 0

    def __post_init__(self) -> None:
        if not _is_integer(self.level) or self.level < 0:
            raise ValueError(f"Stage: level must be an integer of 0 or more, received {self.level!r}.")
        if not _is_integer(self.episodes) or self.episodes < 1:
            raise ValueError(f"Stage: episodes must be an integer of at least 1, received {self.episodes!r}.")
        if not _is_integer(self.switch_after) or not 0 <= self.switch_after < self.episodes:
            raise ValueError(
                f"Stage: switch_after must be an integer in 0..{self.episodes - 1} (episodes - 1), received "
                f"{self.switch_after!r}."
            )


@dataclass(frozen=True)
class Course:
    """The stages of one lifetime, in order.

    Attributes:
        stages: at least one `Stage`.
        name: shown in results.
        shuffle: live the stages in an order drawn anew for every lifetime.
        mastery: end a stage early once the mean normalised return of its last three episodes reaches this value;
            None (the default) never does. Not for scored protocols: where play decides what comes next, staying
            below the threshold can pay.
    """

    stages: tuple[Stage, ...]
    name: str = "custom"
    shuffle: bool = False
    mastery: float | None = None

    def __init__(
        self,
        stages: Sequence[Stage],
        name: str = "custom",
        shuffle: bool = False,
        mastery: float | None = None,
    ) -> None:
        if not stages or not all(isinstance(stage, Stage) for stage in stages):
            raise ValueError(f"Course: expected a non-empty sequence of Stage, received {stages!r}.")
        if mastery is not None and not 0.0 < mastery <= 2.0:
            raise ValueError(f"Course: mastery is a normalised return in (0, 2], received {mastery!r}.")
        object.__setattr__(self, "stages", tuple(stages))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "shuffle", shuffle)
        object.__setattr__(self, "mastery", mastery)

    @property
    def episodes(self) -> int:
        """Episodes in one lifetime, over all stages (at most, where mastery can end a stage early)."""
        return sum(stage.episodes for stage in self.stages)

    @property
    def top_level(self) -> int:
        """The highest level the course visits."""
        return max(stage.level for stage in self.stages)


def named_course(
    name: str, *, levels: int, episodes: int, level: int | None = None, mastery: float | None = None
) -> Course:
    """Build one of the named courses.

    Args:
        name: ``progressive`` (every level in order), ``reversed`` (from the top level down), ``single`` (one
            level), ``shuffled`` (the stages of progressive in random order), ``isolated`` (as progressive with a
            new task at each stage: the control for building on what was learnt), ``review`` (progressive, then
            level 0 again), ``switch`` (one level, the task redrawn unannounced after half of the episodes).
        levels: how many levels the family has.
        episodes: episodes per stage, at least 1 (2 for ``switch``).
        level: the level of ``single`` and ``switch``; the top level by default.
        mastery: see `Course`.

    Raises:
        ValueError: unknown name, or a value out of range.
    """
    if name not in COURSES:
        raise ValueError(f"Unknown course {name!r}: expected one of {', '.join(COURSES)}, or a daytwo.Course.")
    if not _is_integer(episodes) or episodes < 1:
        raise ValueError(f"episodes (per stage) must be an integer of at least 1, received {episodes!r}.")
    if level is not None:
        if name not in ("single", "switch"):
            raise ValueError(f"level={level!r} goes with course='single' or 'switch', received course={name!r}.")
        if not _is_integer(level) or not 0 <= level < levels:
            raise ValueError(f"level must be an integer in 0..{levels - 1}, received {level!r}.")
    top = levels - 1 if level is None else level
    upwards = [Stage(k, episodes) for k in range(levels)]
    if name == "single":
        stages = [Stage(top, episodes)]
    elif name == "switch":
        if episodes < 2:
            raise ValueError(f"course='switch' needs at least 2 episodes, received {episodes}.")
        stages = [Stage(top, episodes, switch_after=episodes // 2)]
    elif name == "reversed":
        stages = upwards[::-1]
    elif name == "isolated":
        stages = [Stage(k, episodes, new_task=k > 0) for k in range(levels)]
    elif name == "review":
        stages = [*upwards, Stage(0, episodes)]
    else:
        stages = upwards
    return Course(stages, name=name, shuffle=name == "shuffled", mastery=mastery)
