"""Cells: what decides a result is its identity, the code included."""

import sys
from pathlib import Path

import pytest

from daytwo import agent
from daytwo.course import Course, Stage
from daytwo.evaluation import cells
from daytwo.evaluation.cells import Cell
from tests.evaluation.counting import BANDIT, SMALL


def test_a_cells_key_is_its_identity():
    cell = Cell("random", BANDIT, SMALL)
    assert cell.key == Cell("random", BANDIT, dict(reversed(SMALL.items())), steps=5.0, protocol="core-v1").key
    assert Cell("random", BANDIT).key == Cell("random", BANDIT, {"course": "progressive"}).key
    course = Course([Stage(0, 2)], name="mine")
    others = [
        Cell("oracle", BANDIT, SMALL),
        Cell("random", "daytwo/DarkRoom-v0", SMALL),
        Cell("random", BANDIT, {**SMALL, "arms": 4}),
        Cell("random", BANDIT, {**SMALL, "course": course}),
        Cell("random", BANDIT, SMALL, memory="wiped"),
        Cell("random", BANDIT, SMALL, task="redrawn"),
        Cell("random", BANDIT, SMALL, split="all"),
        Cell("random", BANDIT, SMALL, lifetimes=513),
        Cell("random", BANDIT, SMALL, seed=1),
        Cell("random", BANDIT, SMALL, agent_options={"x": 1}),
    ]
    assert len({one.key for one in [cell, *others]}) == 11
    with pytest.raises(TypeError, match="module:Class"):
        Cell(object(), BANDIT)


def test_the_code_fingerprint_ignores_words_and_sees_code():
    plain = "def f(x):\n    return x + 1\n"
    worded = '"""About."""\n\n# why\ndef f(x):\n    """Add one."""\n    return (x +\n            1)\n'
    assert cells._code_of(plain) == cells._code_of(worded)
    assert cells._code_of(plain) != cells._code_of(plain.replace("1", "2"))
    assert cells.code_fingerprint("random", BANDIT) == cells.code_fingerprint("oracle", BANDIT)


def test_all_cells_share_the_fingerprints_part_of_the_environments(log):
    """Whose agents differ may put their results side by side; an agent's own code still tells its cells apart."""
    pairs = [
        ("random", BANDIT),
        ("counting_agents:Counting", BANDIT),
        ("random", "daytwo/DarkRoom-v0"),
        ("random", "tests.toy:Counting"),
    ]
    codes = [cells.code_fingerprint(*pair) for pair in pairs]
    assert len({cells.environment_code(code) for code in codes}) == 1
    assert codes[0] == codes[2] and len(set(codes)) == 3
    assert [code.count("-") for code in codes] == [1, 1, 1, 2]  # a family from outside brings its own code
    assert cells.environment_code(codes[0]) == codes[0].split("-")[0] != ""


@pytest.mark.parametrize(
    "folder, name, environment, agent",
    [
        ("daytwo", "loop.py", True, False),
        ("daytwo", "viewing.py", False, False),
        ("daytwo.envs", "bandit.py", True, False),
        ("daytwo.envs", "calibration.json", True, False),
        ("daytwo.evaluation", "running.py", True, False),
        ("daytwo.evaluation", "ladder.json", True, False),
        ("daytwo.evaluation", "report.py", False, False),
        ("daytwo.baselines", "bandits.py", False, True),
        ("daytwo.baselines", "tuned.json", False, True),
    ],
)
def test_the_fingerprint_knows_which_files_decide_results(monkeypatch, folder, name, environment, agent):
    path = Path(sys.modules[folder].__file__).with_name(name)
    assert path.exists()
    before = cells.code_fingerprint("random", BANDIT).split("-")
    read = Path.read_text

    def changed(self, *arguments):
        return read(self, *arguments) + "\nchanged = 1\n" if self == path else read(self, *arguments)

    monkeypatch.setattr(Path, "read_text", changed)
    parts = (cells._environment_part, cells._baselines_part)
    for part in parts:
        part.cache_clear()
    after = cells.code_fingerprint("random", BANDIT).split("-")
    for part in parts:
        part.cache_clear()
    assert [one != other for one, other in zip(before, after, strict=True)] == [environment, agent]


def test_a_registered_agent_from_outside_is_known_by_its_own_code(log, monkeypatch):
    monkeypatch.setitem(agent._agents, "mine", ["counting_agents:Counting"])
    assert cells.code_fingerprint("mine", BANDIT) == cells.code_fingerprint("counting_agents:Counting", BANDIT)
    assert cells.code_fingerprint("daytwo.baselines.basic:Random", BANDIT) == cells.code_fingerprint("random", BANDIT)


def test_a_checkpoint_trained_further_is_another_cell(tmp_path):
    run = tmp_path / "run"
    folder = run / "checkpoints" / "0001"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"agent": "policy-network"}')
    (folder / "weights").write_bytes(b"1")
    cell = Cell(str(run), BANDIT)
    before = cell.key
    (run / "training.log").write_text("what is not in the checkpoint decides nothing")
    assert cell.key == before
    (folder / "weights").write_bytes(b"2")
    assert cell.key != before
    assert cell.describe()["code"].split("-")[0] == cells._environment_part()


def test_a_checkpoint_that_ships_is_part_of_its_agents_fingerprint(monkeypatch, tmp_path):
    import shutil

    from daytwo.baselines import trained
    from daytwo.evaluation.cells import code_fingerprint

    (folder,) = list((trained.SHIPPED / "rl2").glob("Laboratory-v0"))
    shutil.copytree(folder, tmp_path / "rl2" / folder.name)
    env_id, other = "daytwo/Laboratory-v0", "daytwo/Bandit-v0"
    before = code_fingerprint("rl2", env_id), code_fingerprint("random", other)
    monkeypatch.setattr(trained, "SHIPPED", tmp_path)
    assert (code_fingerprint("rl2", env_id), code_fingerprint("random", other)) == before
    file = tmp_path / "rl2" / folder.name / "policy.safetensors"
    file.write_bytes(file.read_bytes() + b"\0")
    after = code_fingerprint("rl2", env_id), code_fingerprint("random", other)
    assert after[0] != before[0] and after[1] == before[1]
