"""Write the ladder and the film into the families' pages: `python benchmarks/family_pages.py [ENV ...]`.

The ladder is what `daytwo ladder` prints (its results file is ladder.sqlite, so that nothing is measured twice) and
replaces what stands between the two marks of docs/families/<family>.md. The film, docs/families/<family>.gif, shows
one lifetime of the random policy, the reference learner and the oracle at the top level.
"""

import math
import sys
from pathlib import Path

import daytwo
from daytwo.evaluation.ladder import climb, markdown
from daytwo.registration import family_class, make_family
from daytwo.viewing import film

PAGES = Path(__file__).resolve().parent.parent / "docs" / "families"
BEGIN, END = "<!-- ladder -->", "<!-- end of ladder -->"
FILMED_EPISODES, FRAMES, WIDTH = 4, 120, 250


def write_ladder(page: Path, env_id: str) -> None:
    """Replace the ladder between the marks of a page."""
    rungs = climb([env_id], progress=False)
    text = page.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    command = f"daytwo ladder {env_id}"
    head = f"Mean normalised return ± half a 95% interval, 1024 lifetimes, seed 0, test split (`{command}`):"
    shortfalls = [f"- Level {one.level}: {words}." for one in rungs for words in one.shortfalls]
    tail = ["", "Where a level falls short of what a level should be:", "", *shortfalls] if shortfalls else []
    page.write_text("\n".join([before, head, "", markdown(rungs), *tail, after]))


def write_film(path: Path, env_id: str) -> int:
    """Film one lifetime of three agents; the number of frames."""
    family = make_family(env_id)
    steps = family.levels[-1].horizon * FILMED_EPISODES
    split = "test" if "test" in family.splits else "all"
    return film(
        env_id,
        path,
        agent=["random", "reference", "oracle"],
        seed=1,
        frames=2 * FRAMES,
        every=max(1, math.ceil(steps / FRAMES)),
        width=WIDTH,
        settings={"course": "single", "episodes": FILMED_EPISODES, "split": split},
    )


def main() -> None:
    """Rewrite the pages of the named environments, or of all."""
    for env_id in sys.argv[1:] or daytwo.env_ids():
        name = family_class(env_id).__module__.rpartition(".")[2]
        write_ladder(PAGES / f"{name}.md", env_id)
        count = write_film(PAGES / f"{name}.gif", env_id)
        print(f"{name}: ladder, and {count} frames of {(PAGES / f'{name}.gif').stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
