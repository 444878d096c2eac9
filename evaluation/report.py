"""The report: one self-contained HTML page with vector pictures, and the same numbers as CSV, JSON and LaTeX.

Every score stands beside its amnesiac twin; an agent whose twin is not stored is named and left out. The page asks
for nothing from outside, follows the reader's light or dark setting, and prints.
"""

import csv
import importlib.resources
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daytwo.evaluation.collecting import FAULTS, Collection, Entry, Group, collect, judge, protocol_name
from daytwo.evaluation.protocols import PROTOCOLS
from daytwo.evaluation.statistics import RESAMPLES, Estimate, fixed, plain_numbers

LEFT_TO_SECTIONS = ("transfer", "retention", "switch", "length", "generalisation")


@dataclass(frozen=True)
class Written:
    """What `write_report` made.

    Attributes:
        paths: of the page, the CSV, the JSON and the LaTeX table.
        tables: for a terminal: title, headings and rows of text.
    """

    paths: tuple[Path, ...]
    tables: tuple[tuple[str, tuple[str, ...], list[tuple[str, ...]]], ...] = field(repr=False)


def write_report(
    store_paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    mixed: bool = False,
) -> Written:
    """Write the report of one or several results files, side by side.

    Args:
        store_paths: path of a results file, or several.
        out: path of the page, such as ``report.html``; the same numbers go to ``report.csv``, ``report.json`` and
            ``report.tex`` beside it. Existing files are replaced.
        mixed: put results of different versions side by side, which are not comparable.

    Returns:
        The files that were written, and tables of suite scores for a terminal.

    Raises:
        ImportError: something of the extra ``daytwo[report]`` is missing.
        daytwo.evaluation.store.StoreError: a file cannot be read, there is nothing to report, or versions differ.
    """
    try:
        import jinja2  # noqa: F401 - so that what is missing is missed now and not in the middle
        import matplotlib  # noqa: F401
        import rliable  # noqa: F401
    except ImportError as error:
        raise ImportError(f"The report needs {error.name}: pip install 'daytwo[report]'.") from error
    from daytwo.evaluation import exports
    from daytwo.evaluation.sections import build_sections, build_suites

    if isinstance(store_paths, str | os.PathLike):
        store_paths = [store_paths]
    if not store_paths:
        raise ValueError("Expected at least one results file.")
    collection = collect(store_paths, mixed=mixed)
    judge(collection)
    suites, sections = build_suites(collection), build_sections(collection)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    page = Path(out)
    table, numbers, typeset = (page.with_suffix(suffix) for suffix in (".csv", ".json", ".tex"))
    page.write_text(_page(collection, suites, sections, created), encoding="utf-8")
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, exports.COLUMNS)
        writer.writeheader()
        writer.writerows(exports.rows(collection, suites, sections))
    plain = plain_numbers(exports.document(collection, suites, sections, created))  # JSON has no NaN
    text = json.dumps(plain, indent=1, allow_nan=False)
    numbers.write_text(text + "\n", encoding="utf-8")
    typeset.write_text(exports.latex(suites), encoding="utf-8")
    return Written((page, table, numbers, typeset), tuple(map(_terminal_table, suites)))


def _terminal_table(suite: Any) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """A suite's leaderboard, with differences to the best agent that sees no more than agents may."""
    best = next((agent.label for agent in suite.agents if not agent.privileged), "")
    columns = ("agent", "suite score", "learning", f"minus {best}", "environments")
    rows: list[tuple[str, ...]] = []
    for agent in suite.agents:
        against = suite.differences.get((agent.label, best))
        rows.append(
            (
                f"{agent.label} †" if agent.privileged else agent.label,
                str(agent.score.area),
                str(agent.score.learning),
                "" if against is None else f"{against.area}{'' if against.paired else ' (not paired)'}",
                str(len(suite.environments)),
            )
        )
    return f"{suite.protocol}: value [95% interval]", columns, rows


# --- the page -------------------------------------------------------------------------------------------------------


def _page(collection: Collection, suites: Sequence[Any], sections: Mapping[str, Sequence[Any]], created: str) -> str:
    import jinja2
    import markupsafe

    from daytwo.evaluation import charts
    from daytwo.evaluation.sections import MOST_COMPARED, compare_agents, environments

    groups = [group for group in collection.groups if protocol_name(group.protocol) not in LEFT_TO_SECTIONS]
    groups.sort(key=lambda group: group.env_id)  # an environment's courses stand together, whatever the protocol
    markup = markupsafe.Markup
    pictures, differences, bases = {}, {}, {}
    for number, group in enumerate(groups):
        if not group.reported:
            continue
        pictures[number] = {
            "overview": markup(charts.overview_picture(group, f"p{number}a")),
            "multiples": markup(charts.small_multiples(group, f"p{number}b")),
        }
        differences[f"g{number}"] = compare_agents(group)
        bases[f"g{number}"] = _base(group)
    entries = collection.entries
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["duration"] = _duration
    environment.filters["fixed"] = _fixed
    template = environment.from_string(_shipped("report.html.jinja"))
    return template.render(
        files=collection.files,
        created=created,
        protocols=list(collection.tallies),
        mixed=collection.mixed,
        failures=collection.failures,
        missing=[f"{protocol}: {tally.missing}" for protocol, tally in collection.tallies.items() if tally.missing],
        older=collection.older,
        controls=collection.controls,
        suites=suites,
        suite_pictures=[_suite_pictures(suite, number, markup) for number, suite in enumerate(suites)],
        trained=lambda suite: any(agent.provenance for agent in suite.agents),
        training=_training,
        unpaired=lambda suite: any(not one.paired for one in suite.differences.values()),
        most_compared=MOST_COMPARED,
        questions=_Questions(),
        groups=groups,
        pictures=pictures,
        differences=differences,
        differences_json={name: markup(_differences_json(found)) for name, found in differences.items()},
        bases=bases,
        group_notes=_notes,
        faults=FAULTS,
        sections=sections,
        environments=environments,
        section_pictures={
            section.protocol: [
                markup(charts.overview_picture(group, f"s{number}"))
                for number, group in enumerate(collection.groups)
                if group.protocol == section.protocol and group.reported
            ]
            for section in sections.get("switch", ())
        },
        every_group=collection.groups,
        asked={protocol: _asked(tally) for protocol, tally in collection.tallies.items()},
        versions=sorted({tuple(sorted(entry.result.versions.items())) for entry in entries}),
        seeds=sorted({entry.result.seed for entry in entries}),
        codes=sorted({entry.cell["code"] for entry in entries}),
        seconds=sum({id(entry.result): entry.seconds for entry in entries}.values()),
        palette=charts.PALETTE,
        swatch=lambda label, style: markup(charts.swatch(label, style)),
        resamples=RESAMPLES,
        isinf=math.isinf,
        isnan=math.isnan,
        style=markup(_shipped("report.css")),
        script=markup(_shipped("report.js")),
    )


class _Questions(dict):
    """What a protocol asks, by its id; nothing where it is none of ours."""

    def __missing__(self, protocol: str) -> str:
        found = PROTOCOLS.get(protocol_name(protocol))
        return "" if found is None else found.question


def _shipped(name: str) -> str:
    return importlib.resources.files("daytwo.evaluation").joinpath(name).read_text(encoding="utf-8")


def _base(group: Group) -> Entry:
    """The agent that others are held against at first: the reference learner, or else the best one."""
    role = [entry for entry in group.reported if entry.result.role == "reference"]
    return (role or group.reported)[0]


def _training(provenance: Mapping[str, Any], seeds: int) -> str:
    """How a trained agent came about, in words; "" where it does not say."""
    parts = []
    if "steps" in provenance:
        parts.append(f"{provenance['steps']:,} steps")
    if "seconds" in provenance:
        parts.append(_duration(float(provenance["seconds"])))
    if "env_id" in provenance:
        parts.append(f"on {provenance['env_id']}")
    if "split" in provenance:
        parts.append(f"{provenance['split']} split")
    if provenance.get("privileged"):
        parts.append("with privileged information")
    if seeds > 1:
        parts.append(f"{seeds} training seeds")
    return ", ".join(parts)


def _asked(tally: Any) -> str:
    parts = [f"{tally.stored} evaluations stored"]
    parts += [f"{tally.failed} failed"] if tally.failed else []
    parts += [f"{tally.missing} missing"] if tally.missing else []
    return ", ".join(parts)


def _notes(group: Group) -> list[str]:
    """What the scores of a group could not be held against, each said once."""
    notes = [note for entry in group.reported if entry.scores is not None for note in entry.scores.notes]
    return [f"{note[0].upper()}{note[1:]}." for note in dict.fromkeys(notes) if "no redrawn control" not in note]


def _suite_pictures(suite: Any, number: int, markup: Any) -> dict[str, Any]:
    from daytwo.evaluation import charts
    from daytwo.evaluation.sections import THRESHOLDS

    if not suite.agents:
        return {}

    def dots(found: Sequence[tuple[Any, Estimate]]) -> list[charts.Dot]:
        return [charts.Dot(agent.label, agent.style, one) for agent, one in found]

    panels = {
        "suite score": [dots([(agent, agent.score.area)]) for agent in suite.agents],
        "learning": [dots([(agent, agent.score.learning)]) for agent in suite.agents],
    }
    said = "; ".join(
        f"{one.label} {one.score.area.value:.2f}, learning {one.score.learning.value:.2f}" for one in suite.agents
    )
    scores = charts.dots_picture(
        [agent.label for agent in suite.agents], panels, f"u{number}a", f"Suite scores, {suite.protocol}", f"{said}."
    )
    tags = list(dict.fromkeys(tag for agent in suite.agents for tag in agent.tags))
    asking = {tag: sum(tag in group.tags for group in suite.environments.values()) for tag in tags}
    rows = [dots([(agent, agent.tags[tag]) for agent in suite.agents]) for tag in tags]
    said = "; ".join(
        f"{tag}: " + ", ".join(f"{agent.label} {agent.tags[tag].value:.2f}" for agent in suite.agents) for tag in tags
    )
    abilities = ""
    if tags:
        abilities = charts.dots_picture(
            [f"{tag.replace('-', ' ')} ({asking[tag]})" for tag in tags],
            {"mean area": rows},
            f"u{number}b",
            f"Abilities, {suite.protocol}",
            f"Mean area by ability. {said}.",
        )
    styles = {agent.label: agent.style for agent in suite.agents}
    profiles = charts.profile_picture(
        THRESHOLDS,
        {label: (styles[label], profile) for label, profile in suite.profiles.items()},
        f"u{number}c",
        f"Performance profiles, {suite.protocol}",
    )
    return {"scores": markup(scores), "tags": markup(abilities), "profiles": markup(profiles)}


def _differences_json(found: Mapping[tuple[str, str], Any]) -> str:
    """For each agent and each other one: value, low, high, paired; fit to stand in a script element."""
    told: dict[str, dict[str, list[Any]]] = {}
    for (one, other), difference in found.items():
        ends = [None if math.isnan(end) else end for end in (difference.area.low, difference.area.high)]
        told.setdefault(one, {})[other] = [difference.area.value, *ends, difference.paired]
    return json.dumps(told, allow_nan=False)


def _fixed(value: float, digits: int) -> str:
    """A number with so many decimals and a true minus sign."""
    return fixed(value, digits).replace("-", "−")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
