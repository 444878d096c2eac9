"""The report: self-contained, complete, honest about its controls, and equal to its CSV, JSON and LaTeX."""

import csv
import json
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from daytwo.evaluation.metrics import area
from daytwo.evaluation.report import write_report
from daytwo.evaluation.scoring import score
from daytwo.evaluation.store import Store, StoreError
from tests.evaluation.examples import CORE, FLAT, UP, conditions, everybody, fill
from tests.evaluation.synthetic import make_cell, make_result


class Page(HTMLParser):
    """What the tests ask about a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.labelled, self.rows, self.tables = [], [], [], [], []
        self.cell = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[name] for name in ("src", "href", "xlink:href", "data") if name in attributes]
        if tag == "svg" and attributes.get("role") == "img":
            self.labelled.append(attributes["aria-labelledby"].split())
        if tag == "table":
            self.tables.append((attributes.get("id"), []))
        if tag == "tr":
            self.rows.append([])
            self.tables[-1][1].append(self.rows[-1])
        if tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append(" ".join("".join(self.cell).split()))
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)

    def table(self, name):
        """Rows of a table by their first cell."""
        (rows,) = (rows for found, rows in self.tables if found == name)
        return {row[0]: row for row in rows}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    results = everybody()
    fill(folder / "r.sqlite", results)
    page, table, document, typeset = write_report(folder / "r.sqlite", folder / "report.html").paths
    names = ("report.html", "report.csv", "report.json", "report.tex")
    assert (page.name, table.name, document.name, typeset.name) == names
    text = page.read_text()
    rows = list(csv.DictReader(table.open()))
    return SimpleNamespace(
        results=results,
        text=text,
        page=Page(text),
        rows=rows,
        document=json.loads(document.read_text()),
        typeset=typeset.read_text(),
        folder=str(folder),
    )


def test_the_page_asks_for_nothing_from_outside(written):
    text, page, folder = written.text, written.page, written.folder
    assert page.links and all(link.startswith("#") or link == "data:," for link in page.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    assert folder not in text


def test_ids_are_unique_and_references_lead_somewhere(written):
    text, page = written.text, written.page
    assert len(page.ids) == len(set(page.ids))
    targets = [link[1:] for link in page.links if link.startswith("#")] + re.findall(r"url\(#([^)]+)\)", text)
    targets += re.findall(r'aria-labelledby="([^" ]+)"', text) + re.findall(r'data-table="([^"]+)"', text)
    assert set(targets) <= set(page.ids)


def test_pictures_have_words_and_colours_of_the_page(written):
    text, page = written.text, written.page
    assert len(page.labelled) == 3 + 2 * 2  # three of the suite; curves and small multiples of two environments
    assert all(one in page.ids for label in page.labelled for one in label)
    assert "<text" in text and "prefers-color-scheme: dark" in text
    picture = text[text.index("<svg") : text.rindex("</svg>")]
    assert not re.search(r"(fill|stroke): ?#(0101|0200)", picture)  # no stand-in colour is left
    used = set(re.findall(r"var\(--(agent\d+)\)", picture))
    assert used and all(f"--{name}:" in text for name in used)


def test_the_ladders_lines_are_drawn_and_named(written):
    text = written.text
    for name in ("random", "no memory", "oracle"):
        assert re.search(rf">{name}</text>", text), name


def test_every_agent_stands_beside_its_twin_or_is_not_reported(written):
    text, page, document = written.text, written.page, written.document
    table = page.table("g0-table")
    names = {name.replace(" †", "").replace(" reference", "") for name in table}
    assert names == {"agent", "learner", "leaky", "sandbagger", "random", "oracle", "<b>bold</b> & co"}
    assert "Not reported" in text and document["groups"][0]["not_reported_without_twin"] == ["lonely"]
    assert "oracle †" in table and table["sandbagger"][7] == "not run"


def test_flags_are_red(written):
    text, document = written.text, written.document
    assert re.search(r'class="flag bad">−0\.5', text)
    assert re.search(r'class="flag bad">exceeds</span>', text[text.index("<table") :])
    assert re.search(r'kicker.*class="flag bad">can-kicking 0\.90</span>', text)
    faults = {one["agent"]: one["faults"] for one in document["groups"][1]["agents"]}
    assert faults["kicker"] == ["can_kicking_rate"] and faults["fixer"] == []
    deficits = {one["agent"]: one["starts_below_random"] for one in document["groups"][0]["agents"]}
    assert [agent for agent, flagged in deficits.items() if flagged] == ["sandbagger"]


def test_the_leaderboard_ranks_those_who_lived_everywhere(written):
    page, rows, document = written.page, written.rows, written.document
    (suite,) = document["suites"]
    assert [one["label"] for one in suite["agents"]] == ["oracle", "reference", "random"]
    assert list(page.table("leaderboard-0")) == ["agent", "oracle †", "reference", "random"]
    assert set(suite["on_some_environments_only"]) == {"leaky", "sandbagger", "<b>bold</b> & co", "kicker"}
    reference = suite["agents"][1]
    two = [one["scores"] for group in document["groups"] for one in group["agents"] if one["role"] == "reference"]
    middle = np.mean([one["area"]["value"] for one in two])
    assert reference["score"]["area"]["value"] == pytest.approx(middle)
    assert reference["abilities"]["deferred-gratification"]["value"] == pytest.approx(two[1]["area"]["value"])
    shown = page.table("leaderboard-0")["reference"]
    assert shown[1].startswith(f"{middle:.3f}")
    told = [row for row in rows if row["env_id"] == "all" and row["agent"] == "reference"]
    by_metric = {(row["metric"], row["other"]): float(row["value"]) for row in told}
    assert by_metric["suite_area", ""] == pytest.approx(middle)
    assert by_metric["suite_difference", "random"] == pytest.approx(
        middle - suite["agents"][2]["score"]["area"]["value"]
    )
    assert 0.9 < by_metric["probability_of_improvement", "random"] <= 1.0


def test_labels_cannot_inject_markup(written):
    text, typeset = written.text, written.typeset
    assert "<b>bold" not in text and "&lt;b&gt;bold&lt;/b&gt; &amp; co" in text
    assert "% Made by DayTwo" in typeset


def test_rows_are_sorted_by_area_and_say_so(written):
    text, document = written.text, written.document
    areas = [one["scores"]["area"]["value"] for one in document["groups"][0]["agents"]]
    assert areas == sorted(areas, reverse=True)
    head = text[text.index('id="g0-table"') :]
    head = head[: head.index("</thead>")]
    assert head.count('<button type="button">') == 10  # every column, reachable by keyboard
    assert head.count('aria-sort="descending"') == 1


def test_page_csv_and_json_hold_the_same_numbers(written):
    results, page, rows, document = written.results, written.page, written.rows, written.document
    by_name = {(one.env_id, one.agent, one.memory, one.task): one for one in results}
    env = "daytwo/Bandit-v0"
    expected = score(
        by_name[env, "learner", "kept", "fixed"],
        by_name[env, "learner", "wiped", "fixed"],
        by_name[env, "learner", "kept", "redrawn"],
        luck=area(by_name[env, "random", "kept", "redrawn"].normalized)
        - area(by_name[env, "random", "wiped", "fixed"].normalized),
    )
    (agent,) = (one for one in document["groups"][0]["agents"] if one["agent"] == "learner")
    assert agent["scores"] == json.loads(json.dumps(expected.to_dict()))
    table = {row["metric"]: row for row in rows if row["agent"] == "learner" and row["stage"] == ""}
    for metric in ("area", "twin_area", "learning", "reward", "regret", "first_episode_deficit"):
        one = getattr(expected, metric)
        assert [float(table[metric][end]) for end in ("value", "low", "high")] == [one.value, one.low, one.high]
    assert float(table["redrawn_excess"]["value"]) == expected.redrawn.excess.value
    assert table["area"]["protocol"] == CORE and table["area"]["role"] == "reference"
    stages = [row for row in rows if row["agent"] == "learner" and row["metric"] == "first"]
    assert [float(row["value"]) for row in stages] == [part.first.value for part in expected.stages]
    shown = page.table("g0-table")["learner reference"]
    assert shown[1].startswith(f"{expected.area.value:.3f}") and shown[2].startswith(f"{expected.learning.value:.3f}")


def test_differences_are_paired_and_against_the_reference_learner_at_first(written):
    results, text, page = written.results, written.text, written.page
    by_name = {(one.env_id, one.agent, one.memory, one.task): one for one in results}
    env = "daytwo/Bandit-v0"
    leaky, learner = (area(by_name[env, name, "kept", "fixed"].normalized) for name in ("leaky", "learner"))
    shown = page.table("g0-table")["leaky"][9]
    assert shown.startswith(f"{(leaky - learner).mean():.3f}".replace("-", "−")) and "not paired" not in shown
    assert page.table("g0-table")["learner reference"][9] == "–"
    numbers = json.loads(re.search(r'id="g0-differences">(.*?)</script>', text)[1])
    assert all(set(numbers) - {one} == set(others) for one, others in numbers.items())


def test_the_latex_table_has_the_leaderboard(written):
    document, typeset = written.document, written.typeset
    value = document["suites"][0]["agents"][1]["score"]["area"]["value"]
    assert "Suite score & $" in typeset and f"${value:.2f}$" in typeset
    assert typeset.count("\\begin{tabular}") == typeset.count("\\end{tabular}") == 1
    body = typeset[typeset.index("\\midrule") : typeset.index("\\bottomrule")]
    assert all(line.count("&") == 3 for line in body.splitlines() if "&" in line)


def test_single_lifetimes_can_be_reported(tmp_path):
    tagged = {"tags": ("exploration",), "agent": "someone"}
    results = [make_result([[0.1, 0.9]], memory=memory, **tagged) for memory in ("kept", "wiped")]
    results += [make_result([[0.2, 0.3]], memory=memory, **{**tagged, "agent": "b"}) for memory in ("kept", "wiped")]
    fill(tmp_path / "r.sqlite", results)
    page, _, document, _ = write_report(tmp_path / "r.sqlite", tmp_path / "report.html").paths
    agent = json.loads(document.read_text())["groups"][0]["agents"][0]
    assert agent["scores"]["area"] == {"value": 0.5, "low": None, "high": None}
    assert "One lifetime: no interval" in page.read_text()


def test_short_odd_and_crowded_results_can_be_drawn(tmp_path):
    """One episode, never-finished stages, far-off values, more agents than colours."""
    path = tmp_path / "r.sqlite"
    results = []
    for number in range(14):
        g = np.random.default_rng(number).standard_normal((40, 1)) - 3 * number
        results += [make_result(g, agent=f"agent-{number}", memory=memory) for memory in ("kept", "wiped")]
    g = np.random.default_rng(1).standard_normal((40, 30))
    stages = np.repeat([np.arange(30)], 40, axis=0)
    g[:35, 20:] = np.nan
    other = {"levels": stages % 3, "stages": stages, "settings": {"course": "review"}, "env_id": "daytwo/Maze-v0"}
    results += [make_result(g, memory=memory, **other) for memory in ("kept", "wiped")]
    fill(path, results)
    page, _, document, _ = write_report(path, tmp_path / "report.html").paths
    assert len(json.loads(document.read_text())["groups"]) == 2
    assert "nan" not in re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL).lower().split()


def test_what_failed_is_shown_with_its_traceback(tmp_path):
    path = tmp_path / "r.sqlite"
    fill(path, conditions("learner", UP, FLAT, FLAT))
    with Store(path, write=True) as store:
        store.fail(make_cell(next(iter(conditions("broken", UP, None, None)))), "Traceback <x>\nValueError: no idea")
    page, _, document, _ = write_report(path, tmp_path / "report.html").paths
    text = page.read_text()
    assert "1 evaluation failed" in text and "Traceback &lt;x&gt;" in text and "broken on daytwo/Bandit-v0" in text
    assert json.loads(document.read_text())["failures"][0]["error"].endswith("no idea")


def test_mixed_versions_are_shown_only_on_request_and_with_a_warning(tmp_path):
    for name, code in (("a", "one-x"), ("b", "two-x")):
        fill(tmp_path / f"{name}.sqlite", conditions("learner", UP, FLAT, FLAT), code=code)
    files = [tmp_path / "a.sqlite", tmp_path / "b.sqlite"]
    with pytest.raises(StoreError, match="not comparable"):
        write_report(files, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
    page = write_report(files, tmp_path / "report.html", mixed=True).paths[0]
    assert "Mixed versions." in page.read_text()


def test_agents_of_other_lifetimes_are_compared_without_pairing_and_it_says_so(tmp_path):
    from dataclasses import replace

    path = tmp_path / "r.sqlite"
    fill(path, conditions("learner", UP, FLAT, FLAT, 1, role="reference"))
    fill(path, [replace(one, seed=1) for one in conditions("other", UP, FLAT, FLAT, 2)])
    page = Page(write_report(path, tmp_path / "report.html").paths[0].read_text())
    assert "(not paired)" in page.table("g0-table")["other"][9]


def test_suite_scores_are_handed_back_for_a_terminal(tmp_path):
    fill(tmp_path / "r.sqlite", everybody())
    ((title, columns, rows),) = write_report(tmp_path / "r.sqlite", tmp_path / "report.html").tables
    assert CORE in title and columns[3] == "minus reference"
    assert [row[0] for row in rows] == ["oracle †", "reference", "random"]
    assert rows[1][3] == "" and rows[0][3].startswith("0.")


def test_nothing_to_report_is_said(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        write_report([], tmp_path / "report.html")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib", "rliable"])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}: pip install 'daytwo\[report\]'"):
        write_report(tmp_path / "r.sqlite", tmp_path / "report.html")
