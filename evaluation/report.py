"""The report: one self-contained HTML page with vector pictures, and the same numbers as CSV and JSON.

Every score stands beside its amnesiac twin; an agent whose twin is not stored is named and left out. The page asks
for nothing from outside, follows the reader's light or dark setting, and prints.
"""

import csv
import importlib.resources
import json
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from daytwo.evaluation.charts import PALETTE, overview_picture, small_multiples, swatch
from daytwo.evaluation.collecting import collect, compute
from daytwo.evaluation.exports import document, rows
from daytwo.evaluation.statistics import RESAMPLES


def _fixed(value: float, digits: int) -> str:
    """A number with so many decimals, a true minus sign, and no negative zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0.0 else text.replace("-", "−")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def write_report(
    store_paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> tuple[Path, ...]:
    """Write the report of one or several results files, side by side.

    Args:
        store_paths: path of a results file, or several.
        out: path of the page, such as ``report.html``; the same numbers go to ``report.csv`` and ``report.json``
            beside it. Existing files are replaced.

    Returns:
        The paths of the page, the CSV and the JSON.

    Raises:
        ImportError: matplotlib or Jinja2 is missing.
        daytwo.evaluation.store.StoreError: a file cannot be read or holds nothing to report.
    """
    try:
        import jinja2
        import markupsafe
        import matplotlib  # noqa: F401 - so that it is missed now and not in the middle
    except ImportError as error:
        raise ImportError(f"The report needs {error.name}: pip install 'daytwo[report]'.") from error

    if isinstance(store_paths, str | os.PathLike):
        store_paths = [store_paths]
    if not store_paths:
        raise ValueError("Expected at least one results file.")
    groups, older = collect(store_paths)
    controls = compute(groups)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    page = Path(out)
    pictures = {}
    for number, group in enumerate(groups):
        if group.entries:
            pictures[number] = (
                markupsafe.Markup(overview_picture(group, f"p{number}a")),
                markupsafe.Markup(small_multiples(group, f"p{number}b")),
            )
    entries = [entry for group in groups for entry in group.entries]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["duration"] = _duration
    environment.filters["fixed"] = _fixed
    template = environment.from_string(
        importlib.resources.files("daytwo.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    versions = sorted({tuple(sorted(entry.result.versions.items())) for entry in entries})
    html = template.render(
        groups=groups,
        pictures=pictures,
        controls=controls,
        older=older,
        created=created,
        files=[Path(path).name for path in store_paths],
        versions=versions,
        seeds=sorted({entry.result.seed for entry in entries}),
        codes=sorted({entry.cell["code"] for entry in entries}),
        seconds=sum(
            one.seconds for entry in entries for one in (entry.result, entry.twin, entry.redrawn) if one is not None
        ),
        palette=PALETTE,
        swatch=lambda entry: markupsafe.Markup(swatch(entry)),
        resamples=RESAMPLES,
        isinf=math.isinf,
        isnan=math.isnan,
    )
    table = page.with_suffix(".csv")
    numbers = page.with_suffix(".json")
    columns = [
        *("env_id", "course", "settings", "split", "agent", "privileged", "lifetimes", "seed"),
        *("version", "code", "file"),
        *("stage", "level", "metric", "value", "low", "high"),
    ]
    page.write_text(html, encoding="utf-8")
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows(groups))
    numbers.write_text(json.dumps(document(groups, controls, created), indent=1, allow_nan=False), encoding="utf-8")
    return page, table, numbers
