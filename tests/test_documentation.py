"""What README.md and docs/ show is so: the code runs, the commands exist, and the site has every page."""

import configparser
import importlib.metadata
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import daytwo
from daytwo.command_line import app

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]}
# Pages whose code a test of their own runs, so that it is not run twice.
COVERED = {
    "README.md": "tests/test_readme.py",
    "docs/adding_a_family.md": "tests/test_adding_a_family.py",
    "docs/any_environment.md": "tests/integrations/test_gymnasium_family.py",
    "docs/curricula.md": "tests/curricula/test_documentation.py",
    "docs/datasets.md": "tests/integrations/test_datasets.py",
    "docs/evaluation.md": "tests/evaluation/test_documentation.py",
    "docs/language_models.md": "tests/integrations/test_language_model.py",
    "docs/results_format.md": "tests/evaluation/test_store.py",
    "docs/text.md": "tests/integrations/test_text.py",
}
# Pages that show Python which needs more than tests have; what it shows is done by a test that is skipped without it.
NOT_RUN = {"docs/any_environment.md": "tests/integrations/test_gymnasium_presets.py"}
# The hub's modules that nobody but DayTwo itself calls.
INNER = set("__init__ __main__ activations checks command_line kernels loading loop pictures".split())
INNER |= {"item_network", "networks", "place_values", "places", "slots"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def python_blocks(page: str) -> list[str]:
    """The Python code of a page, block by block."""
    return [text for language, text in FENCE.findall(PAGES[page].read_text()) if language == "python"]


def notes(page: str, word: str) -> list[str]:
    """What a page notes for this test, in comments such as ``<!-- needs: train -->``."""
    return re.findall(rf"^<!-- {word}: (.*) -->$", PAGES[page].read_text(), re.MULTILINE)


def installed(extra: str) -> bool:
    """Whether everything that an extra of setup.cfg names is installed."""
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    for line in configuration["options.extras_require"][extra].strip().splitlines():
        name = re.match(r"[\w.-]+", line.strip())
        if name is None:
            continue
        try:
            importlib.metadata.distribution(name[0])
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def shortened(page: str) -> str:
    """A page's code in order, with long runs cut where the page notes it: ``<!-- shorter: 4_000_000 -> 6_400 -->``."""
    code = "\n".join(python_blocks(page))
    for note in notes(page, "shorter"):
        long, arrow, short = note.partition(" -> ")
        assert arrow and long in code, f"{page} has no {long!r} to shorten"
        code = code.replace(long, short)
    return code


RUN_HERE = [page for page in PAGES if python_blocks(page) and page not in COVERED]


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.slow) for page in RUN_HERE])
def test_its_python_runs_in_order_in_an_empty_folder(page, tmp_path):
    for extra in " ".join(notes(page, "needs")).replace(",", " ").split():
        if not installed(extra):
            pytest.skip(f"{page} needs pip install 'daytwo[{extra}]'")
    (tmp_path / "page.py").write_text(shortened(page))
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


@pytest.mark.parametrize(("page", "test"), COVERED.items())
def test_a_page_that_is_not_run_here_is_run_by_the_test_named(page, test):
    assert python_blocks(page)
    assert page.removeprefix("docs/") in (ROOT / test).read_text(), f"{test} does not read {page}"


@pytest.mark.parametrize("page", PAGES)
def test_python_stands_in_fences_from_where_it_is_run(page):
    text = FENCE.sub("", PAGES[page].read_text())
    found = re.findall(r"^ {4,}(?:import \w|from \w\S* import |daytwo\.\w+\(|\w+ = daytwo\.).*$", text, re.MULTILINE)
    if page in NOT_RUN:
        elsewhere = (ROOT / NOT_RUN[page]).read_text()
        found = [line for line in found if not all(name in elsewhere for name in re.findall(r"\b[A-Z]\w+\d?", line))]
    assert not found


# --- commands ---------------------------------------------------------------------------------------------------------


def command_lines(page: str) -> list[str]:
    """Every command of daytwo, make or Python that a page shows, in blocks and in backticks."""
    text = PAGES[page].read_text()
    lines = []
    for language, block in FENCE.findall(text):
        if language in ("", "bash", "console", "sh"):
            lines += block.replace("\\\n", " ").splitlines()
    text = FENCE.sub("", COMMENT.sub("", text))
    lines += re.findall(r"^ {4,}(.*)$", text.replace("\\\n", " "), re.MULTILINE)
    lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    lines = [line.strip().removeprefix("$ ") for line in lines]
    return [line for line in lines if re.match(r"(daytwo|make|python) ", line)]


def fault(line: str) -> str | None:
    """What is wrong with a command line: an unknown command, option or value; None where nothing is."""
    program, *words = shlex.split(line, comments=True)
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return next((f"no target {word}" for word in words if "=" not in word and word not in targets), None)
    if program == "python":
        missing = [word for word in words if word.startswith("benchmarks/") and not (ROOT / word).is_file()]
        return f"no file {missing[0]}" if missing else None
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if not words or words[0] == "--help":
        return None
    if words[0] not in commands:
        return f"no command {words[0]}"
    # "...", "[SUITE]" and "N" stand for what a reader puts there.
    rest = ["1" if word == "N" else word.strip("[]") for word in words[1:] if word not in ("...", "--help")]
    try:
        commands[words[0]].make_context(words[0], rest)
    except Exception as error:  # typer's own copies of click's errors, or click's: it depends on the version
        # A text that says `daytwo evaluate` leaves the rest to the reader.
        return None if type(error).__name__ == "MissingParameter" else f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_and_their_options_exist(page):
    faults = {line: fault(line) for line in command_lines(page)}
    assert not {line: found for line, found in faults.items() if found}


def test_commands_are_found_and_mistakes_in_them_noticed():
    assert sum(len(command_lines(page)) for page in PAGES) > 100
    assert fault("daytwo evaluate random daytwo/Bandit-v0 course=single --lifetimes 3  # a comment") is None
    assert "no command" in fault("daytwo evaluat random daytwo/Bandit-v0")
    assert "NoSuchOption" in fault("daytwo evaluate random daytwo/Bandit-v0 --lifetime 3")
    assert "BadParameter" in fault("daytwo evaluate random daytwo/Bandit-v0 --lifetimes 3.5")
    assert "no target" in fault("make coffee")
    assert "no file" in fault("python benchmarks/nothing.py")


# --- the site ---------------------------------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    navigation = text[text.index("\nnav:") : text.index("\nvalidation:")]
    shown = re.findall(r"([\w/]+\.md)$", navigation, re.MULTILINE)
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert len(shown) == len(set(shown))
    assert pages - set(shown) == set()
    # Pages that are made when the site is.
    assert set(shown) - pages <= {"notebook.md"}


def test_the_table_of_environments_is_readmes():
    rows = [
        re.findall(r"^\| \[`daytwo/.*$", (ROOT / page).read_text().replace("(docs/families/", "("), re.MULTILINE)
        for page in ("README.md", "docs/families/index.md")
    ]
    assert rows[0] == rows[1]
    assert [row.split("`")[1] for row in rows[0]] == list(daytwo.env_ids())


def test_every_environment_has_a_film_on_the_overview():
    page = (DOCS / "families" / "index.md").read_text()
    for env_id in daytwo.env_ids():
        name = env_id.removeprefix("daytwo/").rpartition("-")[0]
        found = re.search(rf"\[!\[{name}\]\((\w+)\.gif\)\]\(\1\.md\)", page)
        assert found and (DOCS / "families" / f"{found[1]}.gif").is_file()


def test_the_tables_of_agents_name_every_agent_and_its_role():
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", (DOCS / "agents.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(["reference", "reactive", *daytwo.agent_names()])
    roles = {name: row.split("|")[-1].strip() for name, row in rows if row.count("|") == 2}
    for role in ("reference", "reactive"):
        own = {getattr(daytwo.make_family(env_id), role) for env_id in daytwo.env_ids()}
        assert {name for name, found in roles.items() if found == role} == own


def test_every_module_is_in_the_api_reference():
    shown = re.findall(r"^::: ([\w.]+)$", "\n".join(path.read_text() for path in DOCS.glob("api/*.md")), re.MULTILINE)
    assert len(shown) == len(set(shown))
    # The packages are shown with all of their modules, the hub module by module.
    spokes = ("baselines", "curricula", "envs", "evaluation", "integrations")
    packages = {"daytwo", *(f"daytwo.{name}" for name in spokes)}
    hub = {f"daytwo.{path.stem}" for path in (ROOT / "daytwo").glob("*.py") if path.stem not in INNER}
    assert set(shown) == packages | hub


def test_no_page_asks_for_anything_outside():
    text = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in text and "extra_javascript" not in text
    for path in DOCS.rglob("*.md"):
        assert not re.search(r"!\[[^\]]*\]\(https?:|<script|<iframe|src=.https?:", path.read_text()), path
