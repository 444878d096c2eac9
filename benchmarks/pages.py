"""What scripts put into the docs: means with their errors, and tables between two marks of a page."""

import json
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).resolve().parent.parent / "docs"


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and half the width of its 95% interval, to four digits."""
    return round(float(values.mean()), 4), round(float(1.96 * values.std(ddof=1) / np.sqrt(len(values))), 4)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file with one JSON object a line, as studies keep them; a last line that was cut off is none."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def write_between(page: str, name: str, text: str) -> None:
    """Replace what stands between ``<!-- name: begin -->`` and ``<!-- name: end -->`` in ``docs/<page>``.

    Raises:
        ValueError: the page lacks a mark.
    """
    path, begin, end = DOCS / page, f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    whole = path.read_text()
    if begin not in whole or end not in whole:
        raise ValueError(f"{path.name} lacks the marks {begin} and {end}.")
    head, rest = whole.split(begin, 1)
    path.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{rest.split(end, 1)[1]}")
