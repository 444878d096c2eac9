"""What results files hold, put together for a report: groups of agents that lived the same course.

Results of several files, of several people or machines, stand side by side. Results of different versions of the
environments are not comparable and never mixed without a word: see `collect`.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.course import Course, course_names
from daytwo.evaluation.cells import environment_code, family_code
from daytwo.evaluation.metrics import adaptation_curve, area, split_stages
from daytwo.evaluation.protocols import PROTOCOLS
from daytwo.evaluation.running import Result
from daytwo.evaluation.scoring import DiagnosticScores, Scores, score
from daytwo.evaluation.statistics import TAIL, bootstrap_weights
from daytwo.evaluation.store import Failure, Store, Stored, StoreError, canonical, plain

# Diagnostics that show a fault where they are high at the end of a lifetime, and from what value on they are flagged.
FAULTS = {"can_kicking_rate": 2 / 3}  # random play has one half


@dataclass(eq=False)
class Entry:
    """One agent under one environment and course, with its controls.

    Attributes:
        agent: its name.
        result: what it did.
        twin: its amnesiac twin.
        redrawn: its redrawn control.
        cell: what decided the result.
        stored: when, UTC.
        file: name of the results file.
        label: its name in tables, told apart from others of the same name.
        tag: of its curves in the group's pictures.
        style: number of its colour and marker.
        scores: its metrics.
        twin_curves: adaptation curve of each stage, ``float64[3, episodes]``, of the twin.
        redrawn_curves: likewise of the redrawn control.
        flag: of the redrawn control: "", "above" (its own interval) or "exceeds" (corrected for all controls).
        deficit: it starts below random play beyond chance, corrected for all agents of the report.
        faults: diagnostics of the last stage that show a fault beyond chance, such as can-kicking.
    """

    agent: str
    result: Result
    twin: Result | None
    redrawn: Result | None
    cell: dict[str, Any]
    stored: str
    file: str
    label: str = ""
    tag: str = ""
    style: int = 0
    scores: Scores | None = None
    twin_curves: list[np.ndarray] = field(default_factory=list, repr=False)
    redrawn_curves: list[np.ndarray] = field(default_factory=list, repr=False)
    flag: str = ""
    deficit: bool = False
    faults: list[DiagnosticScores] = field(default_factory=list, repr=False)

    @property
    def seconds(self) -> float:
        """Wall time of the evaluation and its controls."""
        return sum(one.seconds for one in (self.result, self.twin, self.redrawn) if one is not None)

    @property
    def general_name(self) -> str:
        """What the agent is called across environments and training seeds: its role, or else its label."""
        name = self.label.replace(f" · {_seed_words(self)}", "", 1)
        return name.replace(self.agent, self.result.role, 1) if self.result.role else name


@dataclass(eq=False)
class Group:
    """All agents of a protocol under one environment, course, settings and split.

    Attributes:
        protocol: id of the protocol, "" for evaluations that belong to none.
        env_id: the environment's id.
        course: the course that was lived.
        settings: further keyword arguments of the environment.
        split: which tasks.
        level_names: of all of the family's levels.
        random_return: raw episode return of the random policy at each level.
        oracle_return: raw episode return of the oracle at each level.
        memoryless: normalised return of the best memoryless rung at each level, NaN where unknown.
        entries: the agents, by falling area once they are scored.
        without_twin: labels of agents without a stored amnesiac twin.
    """

    protocol: str
    env_id: str
    course: Course
    settings: dict[str, Any]
    split: str
    level_names: tuple[str, ...]
    random_return: tuple[float, ...]
    oracle_return: tuple[float, ...]
    memoryless: tuple[float, ...]
    entries: list[Entry]
    without_twin: list[str]

    @property
    def reported(self) -> list[Entry]:
        """The agents whose scores may be shown: those that stand beside their amnesiac twin."""
        return [entry for entry in self.entries if entry.twin is not None]

    @property
    def tags(self) -> tuple[str, ...]:
        """The abilities that the family tests."""
        return self.entries[0].result.tags if self.entries else ()

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
        return ", ".join(f"{name}={value}" for name, value in self.settings.items()) or "the family's own"


@dataclass
class Tally:
    """How far a protocol got: its evaluations by what became of them."""

    stored: int = 0
    failed: int = 0
    missing: int = 0


@dataclass
class Collection:
    """What a report is made from.

    Attributes:
        files: names of the results files.
        groups: in the order of the page.
        tallies: by protocol id.
        failures: evaluations that raised, with the name of the file and the traceback.
        older: how many further results, made with older code, were left out.
        mixed: descriptions of the versions that are mixed, empty where there is one.
        controls: counts over the redrawn controls, set by `judge`.
    """

    files: tuple[str, ...]
    groups: list[Group]
    tallies: dict[str, Tally]
    failures: list[tuple[str, Failure]]
    older: int
    mixed: tuple[str, ...]
    controls: dict[str, Any] = field(default_factory=dict)

    def of(self, protocol: str) -> list[Group]:
        """The groups of a protocol by its name or its id; ``""``: those that belong to none."""
        return [group for group in self.groups if protocol in (group.protocol, protocol_name(group.protocol))]

    @property
    def entries(self) -> list[Entry]:
        """All entries of all groups; one that several protocols share is in several."""
        return [entry for group in self.groups for entry in group.entries]


def _seed_words(entry: Entry) -> str:
    """What tells an agent apart from the same agent under another training seed."""
    return f"training seed {entry.result.provenance.get('seed')}"


def protocol_name(protocol: str) -> str:
    """The name in a protocol's id: ``core`` of ``core-v1``."""
    return protocol.partition(" ")[0].rpartition("-v")[0]


# --- reading files --------------------------------------------------------------------------------------------------


@dataclass
class _Read:
    """The part of one results file that counts: what was made with the newest code in it."""

    file: str
    rows: dict[str, Stored]
    protocols: dict[str, set[str]]
    failures: list[Failure]
    stored: set[str]  # keys of all results, whatever made them
    older: int
    version: str
    families: dict[str, str]  # code of families from outside by environment


def _version(row: Stored | Failure) -> str:
    """What results must share to be comparable: the version and the code of the environments."""
    return f"daytwo {row.cell['version']}, environment code {environment_code(row.cell['code'])}"


def _family(row: Stored | Failure) -> tuple[str, str]:
    """On a family from outside, results must share its code, too."""
    return row.cell["env_id"], family_code(row.cell["code"])


def _read(path: Path) -> _Read:
    with Store(path) as store:
        rows, protocols, failures = list(store.rows()), store.protocols(), store.failures()
    rows.sort(key=lambda row: row.stored)
    version = _version(rows[-1]) if rows else ""
    current = [row for row in rows if _version(row) == version]
    families = dict(map(_family, current))  # the newest of each
    # An agent's own code may have changed, too: of the same evaluation the latest counts.
    latest: dict[str, Stored] = {}
    for row in current:
        if families[row.cell["env_id"]] != _family(row)[1]:
            continue
        identity = canonical({name: value for name, value in row.cell.items() if name != "code"})
        latest[identity] = row
    return _Read(
        file=path.name,
        rows={row.key: row for row in latest.values()},
        protocols=protocols,
        failures=[failure for failure in failures if not version or _version(failure) == version],
        stored={row.key for row in rows},
        older=len(rows) - len(latest),
        version=version,
        families=families,
    )


_CONDITION = ("memory", "task")
_COURSE = ("course", "level", "episodes")  # settings that the lived course says better


def _rank(name: str, names: Iterable[str]) -> int:
    """The place of a name among others; unknown ones come last."""
    order = list(names)
    return order.index(name) if name in order else len(order)


def _without(cell: Mapping[str, Any], *names: str) -> str:
    return canonical({name: value for name, value in cell.items() if name not in names})


def _own_settings(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain(cell["settings"]).items() if name not in _COURSE}


def collect(paths: Sequence[str | os.PathLike[str]], *, mixed: bool = False) -> Collection:
    """Read results files and put together what belongs together.

    Of one file, only what was made with its newest code counts. Several files must agree in the version of DayTwo and
    in the code of its environments; agents' own code may differ.

    Args:
        paths: of the files.
        mixed: put results of different versions side by side all the same; they are labelled, and the report says so.

    Returns:
        A `Collection`, with entries labelled but not scored.

    Raises:
        daytwo.evaluation.store.StoreError: a file cannot be read, there is nothing to report, or versions differ.
    """
    read = [_read(path) for path in dict.fromkeys(Path(path) for path in paths)]
    if not any(one.rows or one.failures for one in read):
        raise StoreError(f"There is nothing to report in {', '.join(str(path) for path in paths)}.")
    described = _described([one for one in read if one.rows])
    if described and not mixed:
        raise StoreError(
            "These results were made with different versions and are not comparable: "
            + "; ".join(described)
            + ". Make them again with one version, or ask for them side by side all the same (--mixed)."
        )

    tallies: dict[str, Tally] = {}
    groups: dict[str, Group] = {}
    seen: set[tuple[str, str]] = set()
    for one in read:
        failed = {failure.key for failure in one.failures}
        asked = {**one.protocols, "": set(one.rows).difference(*one.protocols.values())}
        for protocol, keys in asked.items():
            rows = [row for key, row in one.rows.items() if key in keys]
            if protocol:
                tally = tallies.setdefault(protocol, Tally())
                tally.stored += len(rows)
                tally.failed += len(keys & failed)
                tally.missing += len(keys - failed - one.stored)
            for entry in _entries(rows, one.file):
                # The very same evaluation in two files counts once.
                identity = (protocol, canonical(entry.cell))
                if identity not in seen:
                    seen.add(identity)
                    _group(groups, protocol, entry).entries.append(entry)
    for group in groups.values():
        _label(group.entries)
        group.without_twin = sorted(entry.label for entry in group.entries if entry.twin is None)
    ordered = sorted(
        groups.values(),
        key=lambda group: (
            _rank(protocol_name(group.protocol), PROTOCOLS),
            group.protocol,
            group.env_id,
            _rank(group.course.name, course_names()),
            group.course.name,
        ),
    )
    return Collection(
        files=tuple(one.file for one in read),
        groups=ordered,
        tallies={
            protocol: tally
            for protocol, tally in sorted(tallies.items(), key=lambda pair: _rank(protocol_name(pair[0]), PROTOCOLS))
            if tally != Tally()
        },
        failures=[(one.file, failure) for one in read for failure in one.failures],
        older=sum(one.older for one in read),
        mixed=described,
    )


def _described(read: Sequence[_Read]) -> tuple[str, ...]:
    """Which file has which version, where they are not the same."""
    versions: dict[str, list[str]] = {}
    codes: dict[tuple[str, str], list[str]] = {}
    for one in read:
        versions.setdefault(one.version, []).append(one.file)
        for family in one.families.items():
            codes.setdefault(family, []).append(one.file)
    env_ids = [env_id for env_id, _ in codes]
    found = [f"{', '.join(files)}: {version}" for version, files in versions.items() if len(versions) > 1]
    found += [
        f"{', '.join(files)}: code {code} of {env_id}"
        for (env_id, code), files in codes.items()
        if env_ids.count(env_id) > 1
    ]
    return tuple(found)


def _entries(rows: Iterable[Stored], file: str) -> list[Entry]:
    """Results with their controls; a control alone is no result."""
    conditions: dict[str, dict[tuple[str, str], Stored]] = {}
    for row in rows:
        found = conditions.setdefault(_without(row.cell, *_CONDITION), {})
        found[row.result.memory, row.result.task] = row
    entries = []
    for found in conditions.values():
        kept = found.get(("kept", "fixed"))
        if kept is None:
            continue
        twin, redrawn = found.get(("wiped", "fixed")), found.get(("kept", "redrawn"))
        entries.append(
            Entry(
                agent=kept.result.agent,
                result=kept.result,
                twin=twin.result if twin else None,
                redrawn=redrawn.result if redrawn else None,
                cell=kept.cell,
                stored=kept.stored,
                file=file,
            )
        )
    return entries


def _group(groups: dict[str, Group], protocol: str, entry: Entry) -> Group:
    """The group an entry belongs to, begun if there is none yet."""
    result, settings = entry.result, _own_settings(entry.cell)
    key = canonical(
        {
            "protocol": protocol,
            "env_id": result.env_id,
            "course": result.course,
            "settings": settings,
            "split": result.split,
        }
    )
    return groups.setdefault(
        key,
        Group(
            protocol=protocol,
            env_id=result.env_id,
            course=result.course,
            settings=settings,
            split=result.split,
            level_names=result.level_names,
            random_return=result.random_return,
            oracle_return=result.oracle_return,
            memoryless=result.memoryless or (math.nan,) * len(result.level_names),
            entries=[],
            without_twin=[],
        ),
    )


def _training(entry: Entry) -> str:
    """How a trained agent came about, apart from what its training seeds may differ in."""
    return canonical(
        {name: value for name, value in entry.result.provenance.items() if name not in ("seed", "seconds")}
    )


# What tells agents of one name apart: what differs, and the words for it.
_TELLERS: tuple[tuple[Callable[[Entry], Any], Callable[[Entry], str]], ...] = (
    (_training, lambda entry: entry.cell["agent"]),
    (lambda entry: entry.result.provenance.get("seed"), lambda entry: _seed_words(entry)),
    (lambda entry: entry.cell["agent"], lambda entry: entry.cell["agent"]),
    (lambda entry: entry.result.lifetimes, lambda entry: f"{entry.result.lifetimes} lifetimes"),
    (lambda entry: entry.result.seed, lambda entry: f"seed {entry.result.seed}"),
    (lambda entry: entry.cell["version"], lambda entry: f"version {entry.cell['version']}"),
    (lambda entry: entry.file, lambda entry: entry.file),
    (
        lambda entry: environment_code(entry.cell["code"]),
        lambda entry: f"code {environment_code(entry.cell['code'])[:6]}",
    ),
)


def _label(entries: list[Entry]) -> None:
    """Name entries by their agent, and by whatever else tells those of equal agents apart."""
    for entry in entries:
        options = ", ".join(f"{name}={value}" for name, value in entry.cell["agent_options"].items())
        entry.label = f"{entry.agent} ({options})" if options else entry.agent
    for differing, words in _TELLERS:
        shared: dict[str, list[Entry]] = {}
        for entry in entries:
            shared.setdefault(entry.label, []).append(entry)
        for alike in shared.values():
            if len({differing(entry) for entry in alike}) > 1:
                for entry in alike:
                    entry.label += f" · {words(entry)}"


# --- scoring what was collected -------------------------------------------------------------------------------------


def _curves(result: Result | None) -> list[np.ndarray]:
    """The adaptation curve of each stage, ``float64[3, episodes]``, of a control."""
    if result is None:
        return []
    weights = bootstrap_weights(result.lifetimes)
    return [adaptation_curve(part.g, weights) for part in split_stages(result.normalized, result.stages, result.levels)]


def _sample(entry: Entry) -> tuple[int, int, str]:
    """What two results must share to be of the same lifetimes."""
    return entry.result.seed, entry.result.lifetimes, entry.result.split


def judge(collection: Collection) -> None:
    """Score every entry, judge the controls over all groups together, and hand out labels, styles and flags."""
    styles: dict[str, int] = {}
    for group in collection.groups:
        lucks = {
            _sample(entry): area(entry.redrawn.normalized) - area(entry.twin.normalized)
            for entry in group.entries
            if entry.result.agent == "random" and entry.twin is not None and entry.redrawn is not None
        }
        for entry in group.entries:
            luck = None if entry.result.agent == "random" else lucks.get(_sample(entry))
            entry.scores = score(entry.result, entry.twin, entry.redrawn, luck=luck)
            entry.twin_curves, entry.redrawn_curves = _curves(entry.twin), _curves(entry.redrawn)
            entry.faults = _faults(entry.scores)
            if entry.label not in ("random", "oracle"):
                entry.style = styles.setdefault(entry.label, len(styles))
        group.entries.sort(key=lambda entry: -entry.scores.area.value)  # type: ignore[union-attr]
        for number, entry in enumerate(group.entries):
            entry.tag = f"agent{number}"
    # The random policy cannot remember: its row shows the luck of the redrawn tasks, which the others' are cleared of.
    judged = [
        (entry, entry.scores.redrawn)
        for entry in collection.entries
        if entry.scores is not None and entry.scores.redrawn is not None and entry.result.agent != "random"
    ]
    for entry, control in judged:
        if control.exceeds:
            entry.flag = "exceeds" if control.chance < TAIL / len(judged) else "above"
    scored = [(entry, entry.scores) for entry in collection.entries if entry.scores is not None]
    for entry, scores in scored:
        entry.deficit = scores.deficit_chance < TAIL / len(scored)
    collection.controls = {
        "controls": len(judged),
        "above": sum(entry.flag != "" for entry, _ in judged),
        "exceeding": sum(entry.flag == "exceeds" for entry, _ in judged),
        "expected": TAIL * len(judged),
    }


def _faults(scores: Scores) -> list[DiagnosticScores]:
    """Diagnostics that lie beyond their `FAULTS` value in the last episodes of the last stage, interval and all."""
    last = scores.stages[-1].name
    return [
        one
        for one in scores.diagnostics
        if one.stage == last and one.name in FAULTS and one.final[0].low > FAULTS[one.name]
    ]
