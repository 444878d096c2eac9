"""The report's numbers as rows of a table, as one JSON document, and as LaTeX tables."""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from daytwo.evaluation.collecting import Collection, Entry, Group
from daytwo.evaluation.scoring import StageScores
from daytwo.evaluation.sections import THRESHOLDS, Section, Suite
from daytwo.evaluation.statistics import CONFIDENCE, RESAMPLES, Estimate, fixed
from daytwo.evaluation.store import canonical, plain

FORMAT = 2  # of the JSON document
ALL_ENVIRONMENTS = "all"
COLUMNS = (
    *("protocol", "env_id", "course", "course_stages", "settings", "split"),
    *("agent", "role", "privileged", "lifetimes", "seed"),
    *("version", "code", "file"),
    *("stage", "level", "other", "metric", "value", "low", "high"),
)


# --- rows -----------------------------------------------------------------------------------------------------------


def rows(
    collection: Collection, suites: Sequence[Suite], sections: Mapping[str, Sequence[Section]]
) -> Iterator[dict[str, Any]]:
    """Every number of the report, one row each; `COLUMNS` that say nothing of a number are left out."""
    for suite in suites:
        yield from _suite_rows(suite)
    for group in collection.groups:
        for entry in group.reported:
            yield from _entry_rows(group, entry)
    for parts in sections.values():
        for section in parts:
            for row in section.rows:
                common = {**_about(row.entry), "protocol": section.protocol, "env_id": row.env_id}
                yield from _nested(common, row.scores)
                if row.matrix is not None:
                    for i, entries in enumerate(row.matrix.entries):
                        for j, one in enumerate(entries):
                            if one is not None:
                                metric = f"transfer_from_{i}"
                                yield {**common, "level": j, "metric": metric, **dataclasses.asdict(one)}


def _about(entry: Entry) -> dict[str, Any]:
    return {
        "split": entry.result.split,
        "agent": entry.label,
        "role": entry.result.role,
        "privileged": int(entry.result.privileged),
        "lifetimes": entry.result.lifetimes,
        "seed": entry.result.seed,
        "version": entry.cell["version"],
        "code": entry.cell["code"],
        "file": entry.file,
    }


def _row(common: dict[str, Any], metric: str, one: Estimate | None, **where: Any) -> Iterator[dict[str, Any]]:
    if one is not None and not math.isnan(one.value):
        yield {**common, **where, "metric": metric, "value": one.value, "low": one.low, "high": one.high}


def _suite_rows(suite: Suite) -> Iterator[dict[str, Any]]:
    for agent in suite.agents:
        common = {
            "protocol": suite.protocol,
            "env_id": ALL_ENVIRONMENTS,
            "agent": agent.label,
            "privileged": int(agent.privileged),
        }
        for metric in ("area", "learning", "twin_area", "mean", "median", "optimality_gap", "first_episode_deficit"):
            yield from _row(common, f"suite_{metric}", getattr(agent.score, metric))
        for tag, one in agent.tags.items():
            yield from _row(common, f"ability_{tag}", one)
        for other in suite.agents:
            both = agent.label, other.label
            if both in suite.differences:
                yield from _row(common, "suite_difference", suite.differences[both].area, other=other.label)
                yield from _row(common, "learning_difference", suite.differences[both].learning, other=other.label)
                probability = suite.improvements[both].probability
                yield from _row(common, "probability_of_improvement", probability, other=other.label)


def _entry_rows(group: Group, entry: Entry) -> Iterator[dict[str, Any]]:
    scores = entry.scores
    assert scores is not None
    common = {
        **_about(entry),
        "protocol": group.protocol,
        "env_id": group.env_id,
        "course": group.course.name,
        "course_stages": " ".join(f"{stage.level}x{stage.episodes}" for stage in group.course.stages),
        "settings": canonical(group.settings),
    }

    def row(metric: str, one: Estimate | None, stage: StageScores | None = None) -> Iterator[dict[str, Any]]:
        where = {} if stage is None else {"stage": stage.stage, "level": stage.level}
        yield from _row(common, metric, one, **where)

    for metric in ("area", "twin_area", "learning", "regret", "reward", "first_episode_deficit"):
        yield from row(metric, getattr(scores, metric))
    if scores.redrawn is not None:
        yield from row("redrawn_area", scores.redrawn.area)
        yield from row("redrawn_excess", scores.redrawn.excess)
    for stage in scores.stages:
        for metric in ("first", "final", "gain", "area", "regret", "simple_regret"):
            yield from row(metric, getattr(stage, metric), stage)
        for metric in ("forward_transfer", "retention", "switch_drop", "switch_recovery"):
            yield from row(metric, getattr(stage, metric), stage)
        for threshold, one in stage.episodes_to.items():
            yield from row(f"episodes_to_{threshold:g}", one, stage)
    for told in scores.diagnostics:
        at = next(stage for stage in scores.stages if stage.name == told.stage)
        for k in range(len(told.mean)):
            name = told.name if len(told.mean) == 1 else f"{told.name}_{k + 1}"
            yield from row(name, told.mean[k], at)
            yield from row(f"{name}_first", told.first[k], at)
            yield from row(f"{name}_final", told.final[k], at)


def _nested(common: dict[str, Any], scores: Any) -> Iterator[dict[str, Any]]:
    """Every `Estimate` in a dataclass of comparisons, with the level or factor it stands at."""
    for one in dataclasses.fields(scores):
        value = getattr(scores, one.name)
        if isinstance(value, Estimate):
            yield from _row(common, one.name, value)
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for part in value:
                level = getattr(part, "level", "")
                suffix = f"_{part.factor}x" if hasattr(part, "factor") else ""
                for inner in dataclasses.fields(part):
                    if isinstance(getattr(part, inner.name), Estimate):
                        yield from _row(common, f"{inner.name}{suffix}", getattr(part, inner.name), level=level)
        elif isinstance(value, dict):
            for name, part in value.items():
                for inner in dataclasses.fields(part):
                    if isinstance(getattr(part, inner.name), Estimate):
                        yield from _row(common, f"harder_{inner.name}", getattr(part, inner.name), settings=name)


# --- the document ---------------------------------------------------------------------------------------------------


def _listed(curve: np.ndarray) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in curve.tolist()]


def document(
    collection: Collection, suites: Sequence[Suite], sections: Mapping[str, Sequence[Section]], created: str
) -> dict[str, Any]:
    """The report as one JSON document."""
    return {
        "format": FORMAT,
        "created": created,
        "files": list(collection.files),
        "interval": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "over": "lifetimes"},
        "protocols": {protocol: dataclasses.asdict(tally) for protocol, tally in collection.tallies.items()},
        "mixed_versions": list(collection.mixed),
        "older_results_left_out": collection.older,
        "redrawn_controls": collection.controls,
        "failures": [
            {"file": file, "cell": failure.cell, "error": failure.error, "stored": failure.stored}
            for file, failure in collection.failures
        ],
        "suites": [_suite_document(suite) for suite in suites],
        "groups": [group_document(group) for group in collection.groups if group.reported or group.without_twin],
        "sections": {
            name: [
                {
                    "protocol": section.protocol,
                    "left_out": section.left_out,
                    "agents": [
                        {
                            "label": row.entry.label,
                            "env_id": row.env_id,
                            "scores": row.scores.to_dict(),
                            "matrix": None if row.matrix is None else row.matrix.to_dict(),
                        }
                        for row in section.rows
                    ],
                }
                for section in parts
            ]
            for name, parts in sections.items()
        },
    }


def _suite_document(suite: Suite) -> dict[str, Any]:
    return {
        "protocol": suite.protocol,
        "environments": list(suite.environments),
        "agents": [
            {
                "label": agent.label,
                "privileged": agent.privileged,
                "provenance": agent.provenance,
                "seconds": agent.seconds,
                "score": agent.score.to_dict(),
                "abilities": {tag: dataclasses.asdict(one) for tag, one in agent.tags.items()},
                "worse_than_random_first": agent.deficits,
                "faults": [{"env_id": env_id, "diagnostic": name} for env_id, name in agent.faults],
            }
            for agent in suite.agents
        ],
        "on_some_environments_only": suite.partial,
        "profile_thresholds": THRESHOLDS.tolist(),
        "profiles": {label: _listed(profile) for label, profile in suite.profiles.items()},
        "differences": [one.to_dict() for one in suite.differences.values()],
        "improvements": [
            {"agent": one, "other": other, **improvement.to_dict()}
            for (one, other), improvement in suite.improvements.items()
        ],
    }


def group_document(group: Group) -> dict[str, Any]:
    """One group, every number of it."""
    return {
        "protocol": group.protocol,
        "env_id": group.env_id,
        "course": plain(group.course)["course"],
        "settings": group.settings,
        "split": group.split,
        "levels": list(group.level_names),
        "random_return": list(group.random_return),
        "oracle_return": list(group.oracle_return),
        "memoryless": [None if math.isnan(one) else one for one in group.memoryless],
        "not_reported_without_twin": group.without_twin,
        "agents": [
            {
                "label": entry.label,
                "agent": entry.agent,
                "role": entry.result.role,
                "agent_options": entry.cell["agent_options"],
                "privileged": entry.result.privileged,
                "lifetimes": entry.result.lifetimes,
                "seed": entry.result.seed,
                "versions": dict(entry.result.versions),
                "provenance": dict(entry.result.provenance),
                "code": entry.cell["code"],
                "file": entry.file,
                "stored": entry.stored,
                "seconds": entry.seconds,
                "redrawn_flag": entry.flag,
                "starts_below_random": entry.deficit,
                "faults": [fault.name for fault in entry.faults],
                "scores": entry.scores.to_dict(),  # type: ignore[union-attr]
                "twin_curves": [_listed(curve) for curve in entry.twin_curves],
                "redrawn_curves": [_listed(curve) for curve in entry.redrawn_curves],
            }
            for entry in group.reported
        ],
    }


# --- LaTeX ----------------------------------------------------------------------------------------------------------

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters made harmless."""
    return re.sub(r"[\\~^&%$#_{}]", lambda found: _SPECIAL.get(found[0], "\\" + found[0]), text)


def _cell(one: Estimate, digits: int = 2) -> str:
    if math.isnan(one.value):
        return "--"
    value = fixed(one.value, digits)
    if math.isnan(one.low):
        return f"${value}$"
    return f"${value}$ {{\\scriptsize$[{fixed(one.low, digits)}, {fixed(one.high, digits)}]$}}"


def latex(suites: Iterable[Suite]) -> str:
    """The leaderboards as tables for a paper; they need the package ``booktabs``."""
    parts = ["% Made by DayTwo. \\usepackage{booktabs}"]
    for suite in suites:
        if not suite.agents:
            continue
        head = " & ".join(["Environment", *(escape_latex(agent.label) for agent in suite.agents)])
        lines = [
            "\\begin{table}",
            "  \\centering",
            f"  \\caption{{{escape_latex(suite.protocol)}: mean normalised return over the lifetime (0 random, 1 "
            "oracle) with 95\\% intervals; suite score and learning are interquartile means over environments.}",
            f"  \\label{{tab:{re.sub(r'[^a-z0-9]+', '-', suite.protocol.lower())}}}",
            f"  \\begin{{tabular}}{{l{'r' * len(suite.agents)}}}",
            "    \\toprule",
            f"    {head} \\\\",
            "    \\midrule",
        ]
        for env_id in suite.environments:
            areas = [
                next(one.area for one in agent.score.by_environment if one.environment == env_id)
                for agent in suite.agents
            ]
            name = escape_latex(env_id.removeprefix("daytwo/"))
            lines.append(f"    {' & '.join([name, *map(_cell, areas)])} \\\\")
        lines.append("    \\midrule")
        for name, metric in (("Suite score", "area"), ("Learning", "learning"), ("Amnesiac twin", "twin_area")):
            values = [_cell(getattr(agent.score, metric)) for agent in suite.agents]
            lines.append(f"    {' & '.join([name, *values])} \\\\")
        lines += ["    \\bottomrule", "  \\end{tabular}", "\\end{table}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
