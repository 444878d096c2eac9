"""The report's sections: what each protocol shows of the agents that lived it.

A section holds numbers with intervals and no words of the page; `daytwo.evaluation.report` puts it into HTML and
`daytwo.evaluation.exports` into rows and JSON, so that all of them say the same.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from daytwo.evaluation.aggregates import (
    AgentDifference,
    Improvement,
    SuiteDifference,
    SuiteScore,
    by_tag,
    lifetime_areas,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    suite_difference,
    suite_score,
)
from daytwo.evaluation.collecting import Collection, Entry, Group
from daytwo.evaluation.comparisons import (
    score_generalisation,
    score_length,
    score_retention,
    score_switch,
    score_transfer,
    transfer_matrix,
)
from daytwo.evaluation.protocols import LENGTHS
from daytwo.evaluation.statistics import Estimate
from daytwo.evaluation.store import canonical

SUITES = ("core", "adapt", "quick")
THRESHOLDS = np.round(np.arange(-0.2, 1.2001, 0.02), 2)
MOST_COMPARED = 8  # agents compared pair by pair; their number of pairs grows with the square


# --- suites ---------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class SuiteAgent:
    """An agent that lived in all environments of a suite.

    Attributes:
        label: its name across environments: a role such as ``reference``, or its own.
        style: number of its colour and marker.
        privileged: it sees the hidden task.
        entries: environment -> its entries there, one for every training seed.
        score: over the suite.
        tags: ability -> mean area over the environments that ask for it.
        deficits: environments where it starts below random play beyond chance.
        faults: environments where a diagnostic shows a fault, such as can-kicking, with the diagnostic's name.
    """

    label: str
    style: int
    privileged: bool
    entries: dict[str, list[Entry]]
    score: SuiteScore
    tags: dict[str, Estimate]
    deficits: list[str]
    faults: list[tuple[str, str]]

    @property
    def pairs(self) -> dict[str, list[tuple[Any, Any]]]:
        """Environment -> result and twin, under the agent's name across environments."""
        return _pairs(self.label, self.entries)

    @property
    def seconds(self) -> float:
        """Wall time of its evaluations with their controls."""
        return sum(entry.seconds for entries in self.entries.values() for entry in entries)

    def area_on(self, env_id: str) -> Estimate:
        """The area on an environment, over the training seeds."""
        found = self.entries[env_id]
        if len(found) == 1 and found[0].scores is not None:
            return found[0].scores.area  # the very interval of the environment's own table
        return next(one.area for one in self.score.by_environment if one.environment == env_id)

    @property
    def provenance(self) -> dict[str, Any]:
        """How it was trained, as far as that is the same for all environments and training seeds."""
        told = [entry.result.provenance for entries in self.entries.values() for entry in entries]
        return {name: one for name, one in told[0].items() if all(other.get(name) == one for other in told)}


@dataclass(eq=False)
class Suite:
    """A protocol that ranks agents over environments.

    Attributes:
        protocol: its id.
        environments: its groups by environment.
        agents: those that lived in all environments, by falling suite score.
        partial: label -> the environments of an agent that lived in some only.
        profiles: label -> share of lifetimes whose area exceeds each of `THRESHOLDS`, ``float64[3, thresholds]``.
        improvements: (one, other) -> how probably a lifetime of the one is the better one.
        differences: (one, other) -> difference of their suite scores.
    """

    protocol: str
    environments: dict[str, Group]
    agents: list[SuiteAgent]
    partial: dict[str, list[str]]
    profiles: dict[str, np.ndarray] = field(default_factory=dict)
    improvements: dict[tuple[str, str], Improvement] = field(default_factory=dict)
    differences: dict[tuple[str, str], SuiteDifference] = field(default_factory=dict)


def _pairs(label: str, entries: Mapping[str, Sequence[Entry]]) -> dict[str, list[tuple[Any, Any]]]:
    return {
        env: [
            (replace(entry.result, agent=label), replace(entry.twin, agent=label))
            for entry in found
            if entry.twin is not None
        ]
        for env, found in entries.items()
    }


def build_suites(collection: Collection) -> list[Suite]:
    """The suites of all protocols that rank agents, each with its agents compared."""
    suites = []
    for name in SUITES:
        groups = [group for group in collection.of(name) if group.reported]
        for protocol in dict.fromkeys(group.protocol for group in groups):
            suites.append(_suite(protocol, [group for group in groups if group.protocol == protocol]))
    return suites


def _suite(protocol: str, groups: Sequence[Group]) -> Suite:
    environments = {group.env_id: group for group in groups}
    found: dict[str, dict[str, list[Entry]]] = {}
    for env_id, group in environments.items():
        for entry in group.reported:
            found.setdefault(entry.general_name, {}).setdefault(env_id, []).append(entry)
    agents: list[SuiteAgent] = []
    for label, entries in found.items():
        if not _everywhere(entries, environments):
            continue
        pairs = _pairs(label, entries)
        lived = [(env, entry) for env, some in entries.items() for entry in some]
        agents.append(
            SuiteAgent(
                label=label,
                style=len(agents),
                privileged=any(entry.result.privileged for _, entry in lived),
                entries=entries,
                score=suite_score(pairs),
                tags=by_tag(pairs),
                deficits=list(dict.fromkeys(env for env, entry in lived if entry.deficit)),
                faults=list(dict.fromkeys((env, fault.name) for env, entry in lived for fault in entry.faults)),
            )
        )
    agents.sort(key=lambda agent: -agent.score.area.value)
    for number, agent in enumerate(agents):
        agent.style = number
    partial = {label: list(entries) for label, entries in found.items() if not _everywhere(entries, environments)}
    suite = Suite(protocol, environments, agents, partial)
    areas = {agent.label: lifetime_areas(agent.pairs) for agent in agents}
    if agents:
        suite.profiles = performance_profile(areas, THRESHOLDS)
    for one, other in itertools.combinations(agents[:MOST_COMPARED], 2):
        both, turned = (one.label, other.label), (other.label, one.label)
        difference = suite_difference(one.pairs, other.pairs)
        improvement = probability_of_improvement(areas[one.label], areas[other.label], paired=difference.paired)
        suite.differences |= {both: difference, turned: difference.mirrored()}
        suite.improvements |= {both: improvement, turned: improvement.mirrored()}
    return suite


def _everywhere(entries: Mapping[str, Sequence[Entry]], environments: Mapping[str, Group]) -> bool:
    """Whether an agent lived in all environments, with as many training seeds in each."""
    return set(entries) == set(environments) and len({len(found) for found in entries.values()}) == 1


def compare_agents(group: Group) -> dict[tuple[str, str], AgentDifference]:
    """All pairs of a group's agents, by their tags, compared on the lifetimes that both lived."""
    found: dict[tuple[str, str], AgentDifference] = {}
    for one, other in itertools.combinations(group.reported, 2):
        difference = paired_difference(one.result, other.result)
        found |= {(one.tag, other.tag): difference, (other.tag, one.tag): difference.mirrored()}
    return found


# --- protocols that compare courses -----------------------------------------------------------------------------------


@dataclass(eq=False)
class Row:
    """One agent on one environment in a section.

    Attributes:
        env_id: the environment's id.
        entry: the agent, under the section's main course.
        scores: its dataclass of `daytwo.evaluation.comparisons`.
        matrix: the transfer matrix, in the section of that protocol.
    """

    env_id: str
    entry: Entry
    scores: Any
    matrix: Any = None


@dataclass(eq=False)
class Section:
    """What a protocol that compares several courses shows.

    Attributes:
        protocol: its id.
        rows: by environment, then by agent.
        left_out: agents of which evaluations are missing, and why.
    """

    protocol: str
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def _agents(groups: Sequence[Group]) -> Iterator[tuple[str, str, list[tuple[Group, Entry]]]]:
    """Every agent with all that it lived in some groups: environment, label, and entries by group.

    Entries of one agent share its options, the seed, the number of lifetimes and the file.
    """
    found: dict[str, list[tuple[Group, Entry]]] = {}
    for group in groups:
        for entry in group.entries:
            one = entry.result
            key = [one.env_id, one.agent, dict(one.agent_options), one.seed, one.lifetimes, entry.file]
            found.setdefault(canonical({"agent": key}), []).append((group, entry))
    for entries in found.values():
        yield entries[0][1].result.env_id, entries[0][1].label, entries


def _named(entries: Sequence[tuple[Group, Entry]], course: str) -> list[tuple[Group, Entry]]:
    return [(group, entry) for group, entry in entries if group.course.name == course]


def _only(entries: Sequence[tuple[Group, Entry]], course: str) -> Entry | None:
    found = _named(entries, course)
    return found[0][1] if len(found) == 1 else None


def _transfer(entries: Sequence[tuple[Group, Entry]]) -> tuple[Entry, Any, Any] | None:
    progressive = _only(entries, "progressive")
    if progressive is None:
        return None
    fresh = {group.course.stages[0].level: entry.result for group, entry in _named(entries, "single")}
    isolated, shuffled = _only(entries, "isolated"), _only(entries, "shuffled")
    scores = score_transfer(
        progressive.result,
        fresh,
        isolated=isolated.result if isolated else None,
        shuffled=shuffled.result if shuffled else None,
    )
    pairs = {
        (group.course.stages[0].level, group.course.stages[1].level): entry.result
        for group, entry in entries
        if group.course.name.startswith("level ") and len(group.course.stages) == 2
    }
    pairs = {(i, j): result for (i, j), result in pairs.items() if j in fresh}
    return progressive, scores, transfer_matrix(pairs, fresh) if pairs else None


def _retention(entries: Sequence[tuple[Group, Entry]]) -> tuple[Entry, Any, Any] | None:
    review = _only(entries, "review")
    return None if review is None else (review, score_retention(review.result), None)


def _switch(entries: Sequence[tuple[Group, Entry]]) -> tuple[Entry, Any, Any] | None:
    switch = _only(entries, "switch")
    return None if switch is None else (switch, score_switch(switch.result, switch.twin), None)


def _length(entries: Sequence[tuple[Group, Entry]]) -> tuple[Entry, Any, Any] | None:
    lived = {group.course.episodes: entry for group, entry in _named(entries, "single")}
    if not lived:
        return None
    shortest = min(lived)
    by_factor = {k: lived[k * shortest] for k in LENGTHS if k * shortest in lived}
    if len(by_factor) < 2:
        return None
    twins = {k: entry.twin for k, entry in by_factor.items() if entry.twin is not None}
    return by_factor[1], score_length({k: entry.result for k, entry in by_factor.items()}, twins), None


def _generalisation(entries: Sequence[tuple[Group, Entry]]) -> tuple[Entry, Any, Any] | None:
    plain = {group.split: entry for group, entry in entries if not group.settings}
    if set(plain) == {"all"}:
        raise ValueError("the family has too few tasks to be split")
    if "test" not in plain or "train" not in plain:
        return None
    test, train = plain["test"], plain["train"]
    harder = {group.settings_text: entry.result for group, entry in entries if group.settings and group.split == "test"}
    twins: dict[str, Any] = {}
    if test.twin is not None and train.twin is not None:
        twins = {"test_twin": test.twin, "train_twin": train.twin}
    return test, score_generalisation(test.result, train.result, harder, **twins), None


_BUILDERS = {
    "transfer": _transfer,
    "retention": _retention,
    "switch": _switch,
    "length": _length,
    "generalisation": _generalisation,
}


def build_sections(collection: Collection) -> dict[str, list[Section]]:
    """The sections of all protocols that compare several courses, by the protocol's name.

    Where files hold a protocol in several forms (another number of lifetimes, say), each has a section of its own.
    """
    sections: dict[str, list[Section]] = {}
    for name, build in _BUILDERS.items():
        groups = collection.of(name)
        for protocol in dict.fromkeys(group.protocol for group in groups):
            section = Section(protocol)
            for env_id, label, entries in _agents([group for group in groups if group.protocol == protocol]):
                try:
                    built = build(entries)
                except ValueError as error:
                    section.left_out.append(f"{label} on {env_id}: {error}")
                    continue
                if built is None:
                    section.left_out.append(f"{label} on {env_id}: some of its evaluations are missing")
                else:
                    section.rows.append(Row(env_id, *built))
            sections.setdefault(name, []).append(section)
    return sections


def environments(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """Rows by environment, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.env_id, []).append(row)
    return found
