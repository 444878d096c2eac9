"""The report's numbers as rows of a table and as one JSON document."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from daytwo.evaluation.collecting import Group
from daytwo.evaluation.scoring import StageScores
from daytwo.evaluation.statistics import CONFIDENCE, RESAMPLES, Estimate
from daytwo.evaluation.store import canonical, plain


def rows(groups: Sequence[Group]) -> Iterable[dict[str, Any]]:
    """Every number of the report, one row each."""
    for group in groups:
        for entry in group.entries:
            scores = entry.scores
            assert scores is not None
            common = {
                "env_id": group.env_id,
                "course": group.course.name,
                "settings": canonical(group.settings),
                "split": group.split,
                "agent": entry.label,
                "privileged": int(entry.result.privileged),
                "lifetimes": entry.result.lifetimes,
                "seed": entry.result.seed,
                "version": entry.cell["version"],
                "code": entry.cell["code"],
                "file": entry.file,
            }

            def row(
                metric: str, one: Estimate | None, stage: StageScores | None = None, common: dict[str, Any] = common
            ) -> Iterable[dict[str, Any]]:
                if one is None or math.isnan(one.value):
                    return
                where = {"stage": "", "level": ""} if stage is None else {"stage": stage.stage, "level": stage.level}
                yield {**common, **where, "metric": metric, "value": one.value, "low": one.low, "high": one.high}

            yield from row("area", scores.area)
            yield from row("twin_area", scores.twin_area)
            yield from row("learning", scores.learning)
            yield from row("regret", scores.regret)
            yield from row("reward", scores.reward)
            yield from row("first_episode_deficit", scores.first_episode_deficit)
            if scores.redrawn is not None:
                yield from row("redrawn_area", scores.redrawn.area)
                yield from row("redrawn_excess", scores.redrawn.excess)
            for stage in scores.stages:
                for metric in ("first", "final", "gain", "area", "regret", "simple_regret"):
                    yield from row(metric, getattr(stage, metric), stage)
                yield from row("forward_transfer", stage.forward_transfer, stage)
                yield from row("retention", stage.retention, stage)
                for threshold, one in stage.episodes_to.items():
                    yield from row(f"episodes_to_{threshold:g}", one, stage)
            for told in scores.diagnostics:
                at = next(stage for stage in scores.stages if stage.name == told.stage)
                for k in range(len(told.mean)):
                    name = told.name if len(told.mean) == 1 else f"{told.name}_{k + 1}"
                    yield from row(name, told.mean[k], at)
                    yield from row(f"{name}_first", told.first[k], at)
                    yield from row(f"{name}_final", told.final[k], at)


def _listed(curve: np.ndarray) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in curve.tolist()]


def document(groups: Sequence[Group], controls: dict[str, Any], created: str) -> dict[str, Any]:
    """The report as one JSON document."""
    return {
        "format": 1,
        "created": created,
        "interval": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "over": "lifetimes"},
        "redrawn_controls": controls,
        "groups": [
            {
                "env_id": group.env_id,
                "course": plain(group.course)["course"],
                "settings": group.settings,
                "split": group.split,
                "levels": list(group.level_names),
                "random_return": list(group.random_return),
                "oracle_return": list(group.oracle_return),
                "not_reported_without_twin": group.without_twin,
                "agents": [
                    {
                        "label": entry.label,
                        "agent": entry.agent,
                        "agent_options": entry.cell["agent_options"],
                        "privileged": entry.result.privileged,
                        "lifetimes": entry.result.lifetimes,
                        "seed": entry.result.seed,
                        "versions": dict(entry.result.versions),
                        "code": entry.cell["code"],
                        "file": entry.file,
                        "stored": entry.stored,
                        "seconds": sum(
                            one.seconds for one in (entry.result, entry.twin, entry.redrawn) if one is not None
                        ),
                        "redrawn_flag": entry.flag,
                        "scores": entry.scores.to_dict(),  # type: ignore[union-attr]
                        "twin_curves": [_listed(curve) for curve in entry.twin_curves],
                        "redrawn_curves": [_listed(curve) for curve in entry.redrawn_curves],
                    }
                    for entry in group.entries
                ],
            }
            for group in groups
        ],
    }
