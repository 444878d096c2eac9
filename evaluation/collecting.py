"""What results files hold, put together for a report: groups of agents that lived the same lifetimes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.course import Course
from daytwo.evaluation.metrics import adaptation_curve, area, split_stages
from daytwo.evaluation.running import Result
from daytwo.evaluation.scoring import Scores, score
from daytwo.evaluation.statistics import CONFIDENCE, bootstrap_weights
from daytwo.evaluation.store import Store, Stored, StoreError, canonical, plain


@dataclass
class Entry:
    """One agent under one environment and course, with its controls."""

    agent: str
    result: Result
    twin: Result | None
    redrawn: Result | None
    cell: dict[str, Any]
    stored: str
    file: str
    label: str = ""
    tag: str = ""  # of its curves in the group's pictures
    style: int = 0
    scores: Scores | None = None
    twin_curves: list[np.ndarray] = field(default_factory=list, repr=False)
    redrawn_curves: list[np.ndarray] = field(default_factory=list, repr=False)
    flag: str = ""  # of the redrawn control: "", "above" (its own interval) or "exceeds" (corrected for all controls)


@dataclass
class Group:
    """All agents under one environment, settings, course and split."""

    env_id: str
    course: Course
    settings: dict[str, Any]
    split: str
    level_names: tuple[str, ...]
    random_return: tuple[float, ...]
    oracle_return: tuple[float, ...]
    entries: list[Entry]
    without_twin: list[str]

    @property
    def title(self) -> str:
        """The course in a few words."""
        stages = self.course.stages
        lengths = {stage.episodes for stage in stages}
        each = f"{lengths.pop()} episodes each" if len(lengths) == 1 else "of different lengths"
        if len(stages) == 1:
            level = stages[0].level
            return (
                f"{self.course.name} course: level {level} ({self.level_names[level]}), {stages[0].episodes} episodes"
            )
        return f"{self.course.name} course: {len(stages)} stages, {each}"

    @property
    def short_title(self) -> str:
        """For the list of contents."""
        if len(self.course.stages) == 1:
            return f"{self.course.name}, level {self.course.stages[0].level}"
        return self.course.name

    @property
    def diagnostics(self) -> dict[str, int]:
        """The family's diagnostics by name, and how many numbers each has."""
        told = [one for entry in self.entries if entry.scores is not None for one in entry.scores.diagnostics]
        return {one.name: len(one.mean) for one in told}

    @property
    def settings_text(self) -> str:
        """Settings beyond the course, by name."""
        shown = {name: value for name, value in self.settings.items() if name != "course"}
        return ", ".join(f"{name}={value}" for name, value in shown.items()) or "the family's own"


def _identity(row: Stored, *names: str) -> str:
    return canonical({name: row.cell.get(name) for name in names})


def collect(paths: Sequence[str | os.PathLike[str]]) -> tuple[list[Group], int]:
    """Read results files and put together what belongs together.

    Args:
        paths: of the files.

    Returns:
        The groups, with entries labelled but not scored, and how many further results (of the same evaluation under
        another version or code, in the same file) were left out.

    Raises:
        daytwo.evaluation.store.StoreError: a file cannot be read, or there is nothing to report.
    """
    conditions: dict[tuple[str, str], dict[str, Stored]] = {}
    for path in dict.fromkeys(Path(path) for path in paths):
        with Store(path) as store:
            for row in store.rows():
                identity = _identity(
                    row, "agent", "agent_options", "env_id", "settings", "split", "lifetimes", "seed", "version", "code"
                )
                found = conditions.setdefault((identity, path.name), {})
                found[f"{row.result.memory} {row.result.task}"] = row
    if not conditions:
        raise StoreError(f"There is nothing to report in {', '.join(str(path) for path in paths)}.")

    # Of one file's results under several versions of the code the newest that has its twin counts.
    newest: dict[tuple[str, str], tuple[tuple[bool, str], str, dict[str, Stored]]] = {}
    older, seen = 0, set()
    for (identity, file), found in conditions.items():
        if identity in seen:
            continue  # the very same cell in two files
        seen.add(identity)
        kept = found.get("kept fixed")
        if kept is None:
            continue  # a control alone is no result
        same = _identity(kept, "agent", "agent_options", "env_id", "settings", "split", "lifetimes", "seed")
        rank = ("wiped fixed" in found, kept.stored)
        if (same, file) in newest:
            older += 1
            if newest[same, file][0] > rank:
                continue
        newest[same, file] = (rank, file, found)

    groups: dict[str, Group] = {}
    for _, file, found in newest.values():
        kept = found["kept fixed"]
        result = kept.result
        key = _identity(kept, "env_id", "settings", "split")
        group = groups.setdefault(
            key,
            Group(
                env_id=result.env_id,
                course=result.course,
                settings=plain(kept.cell["settings"]),
                split=result.split,
                level_names=result.level_names,
                random_return=result.random_return,
                oracle_return=result.oracle_return,
                entries=[],
                without_twin=[],
            ),
        )
        twin, redrawn = found.get("wiped fixed"), found.get("kept redrawn")
        entry = Entry(
            agent=result.agent,
            result=result,
            twin=twin.result if twin else None,
            redrawn=redrawn.result if redrawn else None,
            cell=kept.cell,
            stored=kept.stored,
            file=file,
        )
        group.entries.append(entry)
    for group in groups.values():
        _label(group.entries)
        group.without_twin = sorted(entry.label for entry in group.entries if entry.twin is None)
        group.entries = [entry for entry in group.entries if entry.twin is not None]
    courses = {"progressive": 0, "single": 1}
    ordered = sorted(
        groups.values(), key=lambda group: (group.env_id, courses.get(group.course.name, 2), group.course.name)
    )
    return ordered, older


def _label(entries: list[Entry]) -> None:
    """Name entries by their agent, and by whatever else tells those of equal agents apart."""
    for entry in entries:
        options = ", ".join(f"{name}={value}" for name, value in entry.cell["agent_options"].items())
        entry.label = f"{entry.agent} ({options})" if options else entry.agent
    tellers = (
        lambda entry: f"{entry.result.lifetimes} lifetimes",
        lambda entry: f"seed {entry.result.seed}",
        lambda entry: f"version {entry.cell['version']}",
        lambda entry: entry.file,
    )
    for teller in tellers:
        shared: dict[str, list[Entry]] = {}
        for entry in entries:
            shared.setdefault(entry.label, []).append(entry)
        for alike in shared.values():
            if len({teller(entry) for entry in alike}) > 1:
                for entry in alike:
                    entry.label += f" · {teller(entry)}"


def _curves(result: Result | None) -> list[np.ndarray]:
    """The adaptation curve of each stage, ``float64[3, episodes]``, of a control."""
    if result is None:
        return []
    weights = bootstrap_weights(result.lifetimes)
    return [adaptation_curve(part.g, weights) for part in split_stages(result.normalized, result.stages, result.levels)]


def compute(groups: Sequence[Group]) -> dict[str, Any]:
    """Score every entry, judge the controls over all groups together, and hand out styles.

    Returns:
        Counts for the page: ``controls``, ``above`` (their own 95% interval lies above zero), ``exceeding``
        (corrected for all controls), ``expected`` (of ``above``, by chance alone).
    """
    styles: dict[str, int] = {}
    entries = [entry for group in groups for entry in group.entries]
    for group in groups:
        lucks = {
            (entry.result.seed, len(entry.result.normalized), entry.result.split): (
                area(entry.redrawn.normalized) - area(entry.twin.normalized)
            )
            for entry in group.entries
            if entry.result.agent == "random" and entry.twin is not None and entry.redrawn is not None
        }
        for entry in group.entries:
            same = (entry.result.seed, len(entry.result.normalized), entry.result.split)
            luck = None if entry.result.agent == "random" else lucks.get(same)
            entry.scores = score(entry.result, entry.twin, entry.redrawn, luck=luck)
    for entry in entries:
        entry.twin_curves = _curves(entry.twin)
        entry.redrawn_curves = _curves(entry.redrawn)
        if entry.label not in ("random", "oracle"):
            entry.style = styles.setdefault(entry.label, len(styles))
    # The random policy cannot remember: its row shows the luck of the redrawn tasks, which the others' are cleared of.
    judged = [
        entry
        for entry in entries
        if entry.scores is not None and entry.scores.redrawn is not None and entry.result.agent != "random"
    ]
    tail = (1.0 - CONFIDENCE) / 2.0
    for entry in judged:
        control = entry.scores.redrawn  # type: ignore[union-attr]
        assert control is not None
        if control.exceeds:
            entry.flag = "exceeds" if control.chance < tail / len(judged) else "above"
    for group in groups:
        group.entries.sort(key=lambda entry: -entry.scores.area.value)  # type: ignore[union-attr]
        for number, entry in enumerate(group.entries):
            entry.tag = f"agent{number}"
    return {
        "controls": len(judged),
        "above": sum(entry.flag != "" for entry in judged),
        "exceeding": sum(entry.flag == "exceeds" for entry in judged),
        "expected": tail * len(judged),
    }
