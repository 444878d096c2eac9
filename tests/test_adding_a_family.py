"""``docs/adding_a_family.md`` does what it says: its code runs in a folder of its own and prints what is shown."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding_a_family.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_files() -> dict[str, str]:
    """The page's Python blocks by the file that their first line names; blocks of one file follow each other."""
    files: dict[str, str] = {}
    for language, text in BLOCK.findall(PAGE.read_text()):
        if language == "python":
            name = text.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"\w+\.py", name), f"the first line must name the file, received {name!r}"
            files[name] = files.get(name, "") + text
    return files


def commands() -> list[tuple[str, str]]:
    """The page's console blocks: what is typed, and what is shown of the output."""
    found = []
    for language, text in BLOCK.findall(PAGE.read_text()):
        if language == "console":
            typed, _, shown = text.partition("\n")
            assert typed.startswith("$ ")
            found.append((typed[2:], shown))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside of the repository with the page's files in it."""
    path = tmp_path_factory.mktemp("newcomer")
    assert ROOT not in path.parents
    for name, text in code_files().items():
        (path / name).write_text(text)
    return path


def run(command: str, folder: Path) -> str:
    """Run a command as the page does, in the folder, and return what it prints."""
    program, *words = shlex.split(command)
    start = {"python": [sys.executable], "daytwo": [sys.executable, "-m", "daytwo"]}[program]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {
        **os.environ,
        "PYTHONPATH": paths,
        "DAYTWO_CACHE_DIR": str(folder / "cache"),
        "COLUMNS": "200",
        "PYTHONIOENCODING": "utf-8",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [*start, *words], cwd=folder, env=variables, capture_output=True, encoding="utf-8", check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def plain(text: str) -> str:
    """Text with every run of blanks as one, since terminals differ in width."""
    return " ".join(text.split())


@pytest.mark.parametrize(("command", "shown"), commands(), ids=[command for command, _ in commands()])
def test_commands_print_what_the_page_shows(command: str, shown: str, folder: Path) -> None:
    printed = plain(run(command, folder))
    at = 0
    parts = [plain(part) for part in shown.split("...")]
    assert any(parts), "the page must show some output"
    for part in parts:
        found = printed.find(part, at)
        assert found >= 0, f"the page shows\n{part}\nbut {command!r} printed\n{printed}"
        at = found + len(part)


def test_the_benchmark_reports_the_newcomers_family(folder: Path) -> None:
    if not (folder / "report.csv").is_file():
        run(next(command for command, _ in commands() if command.startswith("daytwo benchmark")), folder)
    text = (folder / "report.csv").read_text()
    assert {"random", "oracle", "reference"} <= set(re.findall(r"\w+", text))
    rows = list(csv.DictReader(text.splitlines()))
    assert rows
    assert any("Safe" in str(value) for row in rows for value in row.values())
    assert "Safe" in (folder / "report.html").read_text()


def test_the_reference_learner_learns_and_the_random_agent_does_not(folder: Path) -> None:
    program = (
        "import daytwo, safe\n"
        "for agent in ('random', 'oracle', safe.Burglar()):\n"
        "    settings = dict(course='single', level=0, episodes=4)\n"
        "    result = daytwo.evaluate(agent, 'daytwo/Safe-v0', lifetimes=512, seed=1, **settings)\n"
        "    print(*result.normalized.mean(axis=0))\n"
    )
    (folder / "learns.py").write_text(program)
    random, oracle, burglar = (
        [float(word) for word in line.split()] for line in run("python learns.py", folder).splitlines()
    )
    assert max(map(abs, random)) < 0.2
    assert oracle == pytest.approx([1.0] * 4)
    # Three different tries of six digits open the first dial half of the time; three random ones 1 - (5/6)^3 of it.
    by_chance = 1 - (5 / 6) ** 3
    assert burglar[0] == pytest.approx((0.5 - by_chance) / (1 - by_chance), abs=0.2)
    assert burglar[1:] == pytest.approx([1.0] * 3)


def test_the_family_is_about_forty_lines() -> None:
    family = BLOCK.findall(PAGE.read_text())[0][1]
    code = [line for line in family.splitlines() if line.strip() and not line.startswith(("#", "@", "import", "from"))]
    assert len(code) <= 45
