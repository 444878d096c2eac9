"""Sections: what a protocol's evaluations are put together to, from a real run to the page."""

import csv
import json

import numpy as np
import pytest

import daytwo
from daytwo.course import Course, Stage
from daytwo.evaluation import PROTOCOLS, run_suite, write_report
from daytwo.evaluation.collecting import collect, judge
from daytwo.evaluation.sections import build_sections, build_suites, compare_agents
from daytwo.evaluation.store import Store
from tests.evaluation.examples import FLAT, UP, conditions, everybody, fill
from tests.evaluation.synthetic import make_cell

BANDIT = "daytwo/Bandit-v0"
COMPARING = ("transfer", "retention", "switch", "length", "generalisation")
LIVED = {"lifetimes": 24, "episodes": 3}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Every protocol that compares courses, lived by the Bandit's reference learner and the random policy."""
    folder = tmp_path_factory.mktemp("sections")
    cells = []
    for name in COMPARING:
        # Fewer episodes than usual; `length` and `switch` say theirs themselves.
        own = {"lifetimes": 24} if name in ("length", "switch", "transfer") else LIVED
        cells += PROTOCOLS[name].cells([BANDIT], ["reference", "random"], **own)
    outcome = run_suite(cells, folder / "r.sqlite", jobs=1, progress=False)
    assert not outcome.failures
    return folder


@pytest.fixture(scope="module")
def sections(ran):
    collection = collect([ran / "r.sqlite"])
    judge(collection)
    return build_sections(collection)


def row(sections, name, agent="gittins"):
    (section,) = sections[name]
    (found,) = (one for one in section.rows if one.entry.agent == agent)
    return found


def test_every_protocol_has_a_section_with_every_agent(sections):
    assert list(sections) == list(COMPARING)
    for name, (section,) in sections.items():
        assert section.left_out == [], section.left_out
        assert sorted(one.entry.agent for one in section.rows) == ["gittins", "random"], name


def test_transfer_is_the_difference_to_a_life_that_begins_at_the_level(sections):
    kept = daytwo.evaluate("gittins", BANDIT, lifetimes=24)
    fresh = daytwo.evaluate("gittins", BANDIT, lifetimes=24, course="single", level=2)
    found = row(sections, "transfer").scores.levels[1]
    assert found.level == 2
    expected = kept.normalized[:, 20] - fresh.normalized[:, 0]
    assert found.forward_transfer.value == pytest.approx(expected.mean()) and found.forward_transfer.value > 0.05
    assert row(sections, "transfer", "random").scores.levels[1].forward_transfer.value == pytest.approx(0.0, abs=0.15)


def test_the_transfer_matrix_has_every_pair(sections):
    matrix = row(sections, "transfer").matrix
    assert matrix.episodes == 10 and all(one is not None for entries in matrix.entries for one in entries)
    course = Course([Stage(0, 10), Stage(2, 10)], name="level 0 then 2")
    pair = daytwo.evaluate("gittins", BANDIT, lifetimes=24, course=course)
    fresh = daytwo.evaluate("gittins", BANDIT, lifetimes=24, course="single", level=2)
    expected = (pair.normalized[:, 10] - fresh.normalized[:, 0]).mean()
    assert matrix.entries[0][2].value == pytest.approx(expected)


def test_retention_is_the_return_to_the_first_level(sections):
    review = daytwo.evaluate("gittins", BANDIT, course="review", **LIVED)
    (visit,) = row(sections, "retention").scores.returns
    assert visit.retention.value == pytest.approx((review.normalized[:, 9] - review.normalized[:, 2]).mean())


def test_a_switch_is_found_where_the_course_has_it(sections):
    switch = daytwo.evaluate("gittins", BANDIT, lifetimes=24, course="switch", episodes=20)
    scores = row(sections, "switch").scores
    assert scores.switch_after == 10
    assert scores.drop.value == pytest.approx((switch.normalized[:, 9] - switch.normalized[:, 10]).mean())
    assert scores.drop.value > 0.2 and scores.learning_before.value > 0.1


def test_lengths_are_those_of_the_protocol(sections):
    assert [one.episodes for one in row(sections, "length").scores.rows] == [10, 20, 50]
    assert row(sections, "length").scores.rows[2].area_change.value > 0.0  # more of the life is lived knowing


def test_generalisation_compares_splits_and_settings(sections):
    scores = row(sections, "generalisation").scores
    assert abs(scores.gap.value) < 0.3 and scores.twin_gap is not None
    assert list(scores.harder) == ["pulls=10"]


def test_the_page_the_rows_and_the_document_show_the_sections(ran):
    page, table, document, _ = write_report(ran / "r.sqlite", ran / "report.html").paths
    text, told = page.read_text(), json.loads(document.read_text())
    for name in COMPARING:
        assert f'id="{name}-0"' in text and PROTOCOLS[name].id in text
    value = told["sections"]["transfer"][0]["agents"][0]["scores"]["levels"][0]["forward_transfer"]["value"]
    rows = list(csv.DictReader(table.open()))
    assert any(
        one["metric"] == "forward_transfer" and one["protocol"].startswith("transfer") and float(one["value"]) == value
        for one in rows
    )
    metrics = {one["metric"] for one in rows}
    assert {"transfer_from_0", "retention", "recovery", "area_5x", "gap", "harder_area"} <= metrics


def test_an_agent_whose_evaluations_are_missing_is_left_out_and_named(tmp_path):
    cells = PROTOCOLS["length"].cells([BANDIT], ["random"], lifetimes=4)
    run_suite([cell for cell in cells if cell.settings["episodes"] == 10], tmp_path / "r.sqlite", 1, False)
    collection = collect([tmp_path / "r.sqlite"])
    judge(collection)
    (section,) = build_sections(collection)["length"]
    assert section.rows == [] and section.left_out == [
        "random on daytwo/Bandit-v0: some of its evaluations are missing"
    ]


def test_suites_rank_those_who_lived_in_all_environments(tmp_path):
    fill(tmp_path / "r.sqlite", everybody())
    collection = collect([tmp_path / "r.sqlite"])
    judge(collection)
    (suite,) = build_suites(collection)
    assert [agent.label for agent in suite.agents] == ["oracle", "reference", "random"]
    assert [agent.style for agent in suite.agents] == [0, 1, 2]
    reference = suite.agents[1]
    areas = [entry.scores.area.value for (entry,) in reference.entries.values()]
    assert reference.score.area.value == pytest.approx(np.mean(areas))
    assert suite.differences["reference", "random"].area.value == pytest.approx(
        reference.score.area.value - suite.agents[2].score.area.value
    )
    assert suite.improvements["reference", "random"].probability.value > 0.9
    assert suite.partial["kicker"] == ["daytwo/Workplace-v0"]


def test_all_pairs_of_a_groups_agents_are_compared_on_the_same_lifetimes(tmp_path):
    fill(tmp_path / "r.sqlite", [*conditions("one", UP, FLAT, None, 1), *conditions("two", FLAT, FLAT, None, 2)])
    collection = collect([tmp_path / "r.sqlite"])
    judge(collection)
    (group,) = collection.groups
    found = compare_agents(group)
    assert len(found) == 2 and all(one.paired for one in found.values())
    (one, other) = group.reported
    assert found[one.tag, other.tag].area.value == pytest.approx(one.scores.area.value - other.scores.area.value)


def trained(seed, mean, env_id=BANDIT, number=0, **provenance):
    """An agent that says how it was trained, and its twin."""
    told = {"seed": seed, "steps": 1000, "seconds": 10.0 + seed, "env_id": env_id, "split": "train", **provenance}
    return conditions("rl", [mean] * 6, FLAT, None, number, env_id=env_id, provenance=told)


def test_training_seeds_of_one_agent_are_one_row_of_the_suite(tmp_path):
    with Store(tmp_path / "r.sqlite", write=True) as store:
        keys = []
        for seed, mean in enumerate((0.3, 0.5, 0.7)):
            for env_id in (BANDIT, "daytwo/Maze-v0"):
                for result in trained(seed, mean, env_id, number=seed):
                    keys.append(store.add(make_cell(result, agent=f"runs/{seed}-{env_id}"), result))
        store.link("core-v1", keys)
    collection = collect([tmp_path / "r.sqlite"])
    judge(collection)
    labels = {entry.label for entry in collection.entries}
    assert labels == {f"rl · training seed {seed}" for seed in range(3)}
    (suite,) = build_suites(collection)
    (agent,) = suite.agents
    assert (agent.label, agent.score.training_seeds, len(agent.entries[BANDIT])) == ("rl", 3, 3)
    areas = [entry.scores.area.value for entry in collection.entries]
    assert agent.score.mean.value == pytest.approx(np.mean(areas))
    assert agent.score.mean.high - agent.score.mean.low > 0.2  # the scatter of the seeds is in the interval
    page = write_report(tmp_path / "r.sqlite", tmp_path / "report.html").paths[0].read_text()
    assert "<td>1,000 steps, train split, 3 training seeds</td>" in page  # what is the same for all
    assert "<td>1,000 steps, 12.0 s, on daytwo/Maze-v0, train split</td>" in page


def test_agents_that_were_trained_differently_are_no_training_seeds_of_one(tmp_path):
    with Store(tmp_path / "r.sqlite", write=True) as store:
        keys = []
        for seed, steps in ((0, 1000), (1, 2000)):
            for result in trained(seed, 0.5, number=seed, steps=steps):
                keys.append(store.add(make_cell(result, agent=f"runs/{steps}"), result))
        store.link("core-v1", keys)
    collection = collect([tmp_path / "r.sqlite"])
    judge(collection)
    assert {entry.label for entry in collection.entries} == {"rl · runs/1000", "rl · runs/2000"}
    (suite,) = build_suites(collection)
    assert sorted(agent.label for agent in suite.agents) == ["rl · runs/1000", "rl · runs/2000"]
