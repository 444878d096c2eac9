"""The report: self-contained, complete, honest about its controls, and equal to its CSV and JSON."""

import csv
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from daytwo.evaluation.metrics import area
from daytwo.evaluation.report import write_report
from daytwo.evaluation.scoring import score
from daytwo.evaluation.store import Store, StoreError
from tests.evaluation.synthetic import make_cell, make_result

STAGES = np.repeat([[0, 0, 0, 1, 1, 1]], 120, axis=0)


def noisy(mean, seed):
    return np.asarray(mean) + 0.2 * np.random.default_rng(seed).standard_normal((120, len(mean)))


def conditions(agent, mean, twin, redrawn, seed=0, **changes):
    """An agent's result, its twin and its redrawn control on a progressive course of two stages."""
    settings = {"course": "progressive"}
    for k, (curve, memory, task) in enumerate(
        ((mean, "kept", "fixed"), (twin, "wiped", "fixed"), (redrawn, "kept", "redrawn"))
    ):
        if curve is not None:
            fields = {"agent": agent, "settings": settings, "memory": memory, "task": task, **changes}
            yield make_result(noisy(curve, 10 * seed + k), levels=STAGES, stages=STAGES, **fields)


def example(path, extra=()):
    up, flat = [0.1, 0.5, 0.9, 0.3, 0.7, 0.9], [0.1] * 6
    results = [
        *conditions("learner", up, flat, flat, 1),
        *conditions("leaky", up, flat, up, 2),
        *conditions("sandbagger", [-0.5, 0.5, 0.9, 0.3, 0.7, 0.9], flat, None, 3),
        *conditions("lonely", up, None, None, 4),
        *conditions("random", [0.0] * 6, [0.0] * 6, [0.0] * 6, 5),
        *conditions("oracle", [1.0] * 6, [1.0] * 6, [1.0] * 6, 6, privileged=True),
        *conditions("<b>bold</b> & co", up, flat, flat, 7),
        *extra,
    ]
    with Store(path, write=True) as store:
        for result in results:
            store.add(make_cell(result), result)
    return results


class Page(HTMLParser):
    """What the tests ask about a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self.labelled, self.rows, self.open = [], [], [], [], [], []
        self.cell = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes[name] for name in ("src", "href", "xlink:href", "data") if name in attributes]
        if tag == "svg" and attributes.get("role") == "img":
            self.labelled.append(attributes["aria-labelledby"].split())
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append(" ".join("".join(self.cell).split()))
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    results = example(folder / "r.sqlite")
    page, table, document = write_report(folder / "r.sqlite", folder / "report.html")
    assert (page.name, table.name, document.name) == ("report.html", "report.csv", "report.json")
    text = page.read_text()
    rows = list(csv.DictReader(table.open()))
    return results, text, Page(text), rows, json.loads(document.read_text()), str(folder)


def test_the_page_asks_for_nothing_from_outside(written):
    _, text, page, _, _, folder = written
    assert page.links and all(link.startswith("#") or link == "data:," for link in page.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text
    assert folder not in text


def test_ids_are_unique_and_references_lead_somewhere(written):
    _, text, page, _, _, _ = written
    assert len(page.ids) == len(set(page.ids))
    targets = [link[1:] for link in page.links if link.startswith("#")] + re.findall(r"url\(#([^)]+)\)", text)
    assert set(targets) <= set(page.ids)


def test_pictures_have_words_and_colours_of_the_page(written):
    _, text, page, _, _, _ = written
    assert len(page.labelled) == 2  # the overview and the small multiples
    assert all(one in page.ids for label in page.labelled for one in label)
    assert "<text" in text and "prefers-color-scheme: dark" in text
    picture = text[text.index("<svg") : text.rindex("</svg>")]
    assert not re.search(r"(fill|stroke): ?#(0101|0200)", picture)  # no stand-in colour is left
    used = set(re.findall(r"var\(--(agent\d+)\)", picture))
    assert len(used) == 4  # one for each agent that is neither random nor the oracle
    assert all(f"--{name}:" in text for name in used)


def test_every_agent_stands_beside_its_twin_or_is_not_reported(written):
    _, text, page, _, document, _ = written
    table = {row[0].split(" †")[0]: row for row in page.rows if len(row) == 8}
    assert set(table) == {"agent", "learner", "leaky", "sandbagger", "random", "oracle", "<b>bold</b> & co"}
    assert "Not reported" in text and document["groups"][0]["not_reported_without_twin"] == ["lonely"]
    assert "oracle †" in {row[0] for row in page.rows if row}
    assert table["sandbagger"][6] == "not run"


def test_flags(written):
    _, text, _, _, document, _ = written
    flags = {one["agent"]: one["redrawn_flag"] for one in document["groups"][0]["agents"]}
    assert flags["leaky"] == "exceeds" and flags["learner"] in ("", "above") and flags["sandbagger"] == ""
    assert document["redrawn_controls"]["controls"] == 4 and document["redrawn_controls"]["exceeding"] == 1
    deficits = {one["agent"]: one["scores"]["deficit_flagged"] for one in document["groups"][0]["agents"]}
    assert [agent for agent, flagged in deficits.items() if flagged] == ["sandbagger"]
    assert re.search(r'class="flag bad">−0\.5', text)
    assert re.search(r'class="flag bad">exceeds</span>', text[text.index("<table") :])


def test_labels_cannot_inject_markup(written):
    _, text, _, _, _, _ = written
    assert "<b>bold" not in text and "&lt;b&gt;bold&lt;/b&gt; &amp; co" in text


def test_rows_are_sorted_by_area_and_say_so(written):
    _, text, _, _, document, _ = written
    areas = [one["scores"]["area"]["value"] for one in document["groups"][0]["agents"]]
    assert areas == sorted(areas, reverse=True)
    assert text.count('aria-sort="descending"') >= 1
    head = text[text.index('<table class="sortable">') : text.index("</thead>")]
    assert head.count('<button type="button">') == 8  # every column, reachable by keyboard


def test_page_csv_and_json_hold_the_same_numbers(written):
    results, _, page, rows, document, _ = written
    by_name = {(one.agent, one.memory, one.task): one for one in results}
    expected = score(
        by_name["learner", "kept", "fixed"],
        by_name["learner", "wiped", "fixed"],
        by_name["learner", "kept", "redrawn"],
        luck=area(by_name["random", "kept", "redrawn"].normalized)
        - area(by_name["random", "wiped", "fixed"].normalized),
    )
    (agent,) = (one for one in document["groups"][0]["agents"] if one["agent"] == "learner")
    assert agent["scores"] == json.loads(json.dumps(expected.to_dict()))
    table = {row["metric"]: row for row in rows if row["agent"] == "learner" and row["stage"] == ""}
    for metric in ("area", "twin_area", "learning", "reward", "first_episode_deficit"):
        one = getattr(expected, metric)
        assert [float(table[metric][end]) for end in ("value", "low", "high")] == [one.value, one.low, one.high]
    assert float(table["redrawn_excess"]["value"]) == expected.redrawn.excess.value
    stages = [row for row in rows if row["agent"] == "learner" and row["metric"] == "first"]
    assert [float(row["value"]) for row in stages] == [part.first.value for part in expected.stages]
    (shown,) = (row for row in page.rows if len(row) == 8 and row[0] == "learner")
    assert shown[1].startswith(f"{expected.area.value:.3f}") and shown[5].startswith(f"{expected.learning.value:.3f}")


def test_several_files_stand_side_by_side(tmp_path):
    first, second = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    example(first)
    with Store(second, write=True) as store:
        for result in conditions("learner", [0.2] * 6, [0.1] * 6, [0.1] * 6, 8):
            store.add(make_cell(result, code="other"), result)
    _, _, document = write_report([first, second], tmp_path / "report.html")
    labels = {one["label"] for one in json.loads(document.read_text())["groups"][0]["agents"]}
    assert {"learner · a.sqlite", "learner · b.sqlite", "leaky"} <= labels


def test_of_one_files_results_under_older_code_the_newest_count(tmp_path):
    path = tmp_path / "r.sqlite"
    with Store(path, write=True) as store:
        for code, level in (("old", 0.2), ("new", 0.6)):
            for result in conditions("learner", [level] * 6, [0.1] * 6, [0.1] * 6, 8):
                store.add(make_cell(result, code=code), result)
        # begun under yet newer code and stopped before its twin was there
        lonely = next(conditions("learner", [0.9] * 6, None, None, 8))
        store.add(make_cell(lonely, code="newest"), lonely)
    page, _, document = write_report(path, tmp_path / "report.html")
    (agent,) = json.loads(document.read_text())["groups"][0]["agents"]
    assert agent["scores"]["area"]["value"] == pytest.approx(0.6, abs=0.05) and agent["code"] == "new"
    assert "2 further results of the same evaluations, under other versions of the code" in " ".join(
        page.read_text().split()
    )


def test_short_odd_and_crowded_results_can_be_drawn(tmp_path):
    """One episode, never-finished stages, far-off values, more agents than colours."""
    path = tmp_path / "r.sqlite"
    with Store(path, write=True) as store:
        for number in range(14):
            g = np.random.default_rng(number).standard_normal((40, 1)) - 3 * number
            for memory in ("kept", "wiped"):
                result = make_result(g, agent=f"agent-{number}", memory=memory)
                store.add(make_cell(result), result)
        g = np.random.default_rng(1).standard_normal((40, 30))
        stages = np.repeat([np.arange(30)], 40, axis=0)
        g[:35, 20:] = np.nan
        for memory in ("kept", "wiped"):
            result = make_result(g, levels=stages % 3, stages=stages, memory=memory, settings={"course": "review"})
            store.add(make_cell(result), result)
    page, _, document = write_report(path, tmp_path / "report.html")
    assert len(json.loads(document.read_text())["groups"]) == 2
    assert "nan" not in re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL).lower().split()


def test_nothing_to_report_is_said(tmp_path):
    Store(tmp_path / "r.sqlite", write=True).close()
    with pytest.raises(StoreError, match="nothing to report"):
        write_report(tmp_path / "r.sqlite", tmp_path / "report.html")
    with pytest.raises(StoreError, match="There is no results file"):
        write_report(tmp_path / "no.sqlite", tmp_path / "report.html")
    with pytest.raises(ValueError, match="at least one"):
        write_report([], tmp_path / "report.html")


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}: pip install 'daytwo\[report\]'"):
        write_report(tmp_path / "r.sqlite", tmp_path / "report.html")
