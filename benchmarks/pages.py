"""Putting what a script printed into a page of the docs, between two marks."""

from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


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
