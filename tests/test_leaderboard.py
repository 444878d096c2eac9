"""The committed results: README and docs are made from them, and they are what the code computes today."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import daytwo
from daytwo.baselines.trained import SHIPPED
from daytwo.evaluation import PROTOCOLS, score
from daytwo.evaluation.rungs import memoryless_rungs

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("leaderboard", ROOT / "benchmarks" / "leaderboard.py")
leaderboard = importlib.util.module_from_spec(spec)
spec.loader.exec_module(leaderboard)
KEPT = leaderboard.read_results()
COURSES = {"core": "progressive", "adapt": "single"}
# Cheap enough to be computed again in every run of the tests, and of every kind.
AGAIN = [
    ("core", "daytwo/Bandit-v0", "gittins"),
    ("adapt", "daytwo/Bandit-v0", "win-stay"),
    ("core", "daytwo/DarkRoom-v0", "room-sweep"),
    ("adapt", "daytwo/Workplace-v0", "can-kicker"),
    ("adapt", "daytwo/LearningSet-v0", "rule-posterior"),
    ("adapt", "daytwo/Maze-v0", "oracle"),
    ("adapt", "daytwo/PointRobot-v0", "circle-patrol"),
]


def test_the_tables_of_readme_and_docs_agree_with_the_committed_results():
    assert leaderboard.check() == [], "run: python benchmarks/leaderboard.py"


def test_the_table_of_shipped_agents_says_what_their_folders_say(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    path = ROOT / "benchmarks" / "ship_checkpoint.py"
    made = importlib.util.spec_from_file_location("ship_checkpoint", path)
    shipping = importlib.util.module_from_spec(made)
    made.loader.exec_module(shipping)
    table = shipping.table()
    assert table.count("| rl2 |") == 11
    assert table in (ROOT / "docs" / "learners.md").read_text(), "run: python benchmarks/ship_checkpoint.py --table"


def test_a_table_that_was_edited_by_hand_is_noticed(monkeypatch, tmp_path):
    for name in ("README.md", "docs/results.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text().replace("reference: gittins", "reference: GITTINS"))
    monkeypatch.setattr(leaderboard, "ROOT", tmp_path)
    assert [path.name for path in leaderboard.check()] == ["README.md", "results.md"]


@pytest.mark.parametrize("name", leaderboard.PROTOCOLS)
def test_every_baseline_is_on_the_board(name):
    found, protocol = KEPT[name], PROTOCOLS[name]
    assert found["protocol"] == protocol.id, "the protocol changed: run make leaderboard"
    assert found["lifetimes"] == [protocol.lifetimes] and found["seed"] == [0]
    cells = {(cell.env_id, cell.agent) for cell in protocol.cells()}
    rows = {(env, row["agent"]) for env, block in found["environments"].items() for row in block["agents"]}
    assert rows == cells
    everywhere = {"random", "reactive", "reference", "oracle"}
    if {folder.name for folder in (SHIPPED / "rl2").iterdir()} == {env.partition("/")[2] for env in daytwo.env_ids()}:
        everywhere.add("rl2")
    assert {row["agent"] for row in found["suite"]} == everywhere
    assert found["evaluations"] == len(protocol.cells())


@pytest.mark.parametrize(("name", "env_id", "agent"), AGAIN)
def test_committed_results_are_what_the_code_computes(name, env_id, agent):
    (row,) = (row for row in KEPT[name]["environments"][env_id]["agents"] if row["agent"] == agent)
    kept, wiped = (
        daytwo.evaluate(agent, env_id, course=COURSES[name], lifetimes=1024, memory=memory)
        for memory in ("kept", "wiped")
    )
    scores = score(kept, wiped)
    for metric in ("area", "learning", "twin_area", "first", "final", "regret"):
        one = getattr(scores, metric)
        assert row[metric] == pytest.approx([one.value, one.low, one.high], abs=2e-6), f"{metric}: make leaderboard"
    for stage, curve in zip(scores.stages, row["curves"], strict=True):
        np.testing.assert_allclose(stage.curve, curve, atol=6e-5)


@pytest.mark.parametrize("name", leaderboard.PROTOCOLS)
def test_learning_on_the_board_is_held_against_twin_and_rung(name):
    for env_id, block in KEPT[name]["environments"].items():
        family = daytwo.make_family(env_id)
        rungs = memoryless_rungs(family)
        rung = float(np.mean(rungs)) if name == "core" else rungs[-1]
        for row in block["agents"]:
            bound = max(row["twin_area"][0], rung)
            assert row["learning"][0] == pytest.approx(row["area"][0] - bound, abs=3e-6), (env_id, row["agent"])


def test_the_board_is_whole_and_ranks_by_area():
    for found in KEPT.values():
        areas = [row["area"][0] for row in found["suite"]]
        assert areas == sorted(areas, reverse=True)
        text = json.dumps(found)
        assert "NaN" not in text and "null" not in text


def test_an_incomplete_or_changed_run_is_not_committed(tmp_path):
    from daytwo.evaluation import run_suite

    cells = PROTOCOLS["core"].cells(["daytwo/Bandit-v0"], ["random"], lifetimes=4)
    run_suite(cells, tmp_path / "r.sqlite", jobs=1, progress=False)
    with pytest.raises(SystemExit, match="must hold core and adapt"):
        leaderboard.summarise(tmp_path / "r.sqlite")
