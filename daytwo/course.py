"""Levels, stages and courses: the progressive task sequence that one lifetime goes through."""

import dataclasses
import inspect
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from daytwo.loading import load, register

SUFFIX = ".toml"  # of a course's file


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

    def to_dict(self) -> dict[str, Any]:
        """The course as plain values, fit for JSON; `from_dict` reads them."""
        parts = dataclasses.asdict(self)
        return {**parts, "stages": list(parts["stages"])}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Course":
        """The course that `to_dict` made a dict of; what is left out has its default.

        Raises:
            ValueError: an unknown key, or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(Course)}
        wrong = sorted(set(values) - known) if isinstance(values, Mapping) else [values]
        if wrong or "stages" not in values:
            raise ValueError(f"A course has stages and some of name, shuffle, mastery; received {values!r}.")
        allowed = {field.name for field in dataclasses.fields(Stage)}
        for stage in values["stages"]:
            if not isinstance(stage, Mapping) or not {"level", "episodes"} <= set(stage) <= allowed:
                raise ValueError(f"A stage has level, episodes and some of new_task, switch_after; received {stage!r}.")
        return Course(**{**values, "stages": [Stage(**stage) for stage in values["stages"]]})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the course as a small text file (TOML), which ``course="my_course.toml"`` takes.

        Args:
            path: of the file; it ends in ``.toml``.
        """
        if not is_course_file(path):
            raise ValueError(f"The name of a course's file ends in {SUFFIX}, received {os.fspath(path)!r}.")
        name = "".join(f"\\u{ord(one):04x}" if ord(one) < 32 or one in '\\"' else one for one in self.name)
        lines = [f'name = "{name}"']
        if self.shuffle:
            lines.append("shuffle = true")
        if self.mastery is not None:
            lines.append(f"mastery = {float(self.mastery)!r}")
        for stage in self.stages:
            lines += ["", "[[stages]]", f"level = {int(stage.level)}", f"episodes = {int(stage.episodes)}"]
            if stage.new_task:
                lines.append("new_task = true")
            if stage.switch_after:
                lines.append(f"switch_after = {int(stage.switch_after)}")
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Course":
        """Read a course from a file as `save` writes it, or as you write it yourself.

        Raises:
            ValueError: the file is missing, is no TOML, or holds no course.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"There is no course's file {os.fspath(path)!r}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{os.fspath(path)!r} cannot be read as a course: {error}") from error
        try:
            return Course.from_dict(values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)!r} holds no course: {error}") from error

    @property
    def episodes(self) -> int:
        """Episodes in one lifetime, over all stages (at most, where mastery can end a stage early)."""
        return sum(stage.episodes for stage in self.stages)

    @property
    def top_level(self) -> int:
        """The highest level the course visits."""
        return max(stage.level for stage in self.stages)


# --- names ------------------------------------------------------------------------------------------------------------

_courses: dict[str, str] = {}


def register_course(name: str, entry_point: str) -> None:
    """Make a course known by name.

    Args:
        name: what the argument ``course`` of environments and commands calls it.
        entry_point: ``"module:function"``; nothing is imported yet. The function takes ``levels`` (how many the family
            has) and ``episodes`` (per stage), and ``level`` where it is about one level, and returns a `Course`.

    Raises:
        ValueError: the entry point is malformed, or another course has the name.
    """
    register(_courses, name, entry_point, "function")


def course_names() -> tuple[str, ...]:
    """The names of all registered courses."""
    return tuple(_courses)


def is_course_file(course: Any) -> bool:
    """Whether a text names a file and not a course."""
    return isinstance(course, str | os.PathLike) and os.fspath(course).endswith(SUFFIX)


def _takes_level(function: Any) -> bool:
    return "level" in inspect.signature(function).parameters


def named_course(
    name: str, *, levels: int, episodes: int, level: int | None = None, mastery: float | None = None
) -> Course:
    """Build one of the registered courses (`daytwo.curricula.courses` holds those that ship).

    Args:
        name: of `course_names`.
        levels: how many levels the family has.
        episodes: episodes per stage, at least 1 (2 for ``switch``).
        level: the level of courses that are about one; the top level by default.
        mastery: see `Course`.

    Raises:
        ValueError: unknown name, or a value out of range.
    """
    if name not in _courses:
        raise ValueError(
            f"Unknown course {name!r}: expected one of {', '.join(_courses)}, a file that ends in {SUFFIX}, or a "
            "daytwo.Course."
        )
    if not _is_integer(episodes) or episodes < 1:
        raise ValueError(f"episodes (per stage) must be an integer of at least 1, received {episodes!r}.")
    function = load(_courses[name])
    of_one_level = _takes_level(function)
    if level is not None:
        if not of_one_level:
            able = " or ".join(repr(one) for one, entry in _courses.items() if _takes_level(load(entry)))
            raise ValueError(f"level={level!r} goes with course={able}, received course={name!r}.")
        if not _is_integer(level) or not 0 <= level < levels:
            raise ValueError(f"level must be an integer in 0..{levels - 1}, received {level!r}.")
    chosen = {"level": levels - 1 if level is None else level} if of_one_level else {}
    course = function(levels, episodes, **chosen)
    return Course(course.stages, name=name, shuffle=course.shuffle, mastery=mastery)
