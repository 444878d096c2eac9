"""Suites: cells and their identity, spreading over processes, resuming after every kind of stop."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from daytwo.course import Course, Stage
from daytwo.evaluation import suite
from daytwo.evaluation.store import Store
from daytwo.evaluation.suite import Cell, benchmark_cells, run_suite

BANDIT = "daytwo/Bandit-v0"
SMALL = {"course": "single", "level": 0, "episodes": 1}

AGENTS = '''
"""Agents that say in a file when they begin, for tests that count."""

import os
import time

import numpy as np


class Counting:
    def __init__(self, arm=0, wait=0.0):
        self.arm, self.wait = arm, wait

    def begin(self, spec, seeds):
        with open(os.environ["DAYTWO_TEST_LOG"], "a") as file:
            file.write(f"{self.arm}\\n")

    def act(self, observations, fresh):
        time.sleep(self.wait)
        return np.full(len(fresh), self.arm % 2)


class Failing(Counting):
    def act(self, observations, fresh):
        raise RuntimeError("no idea what to do")
'''

DRIVER = """
import sys
from daytwo.evaluation.suite import Cell, run_suite
from tests.evaluation.test_suite import counting_cells
if __name__ == "__main__":
    outcome = run_suite(counting_cells(12, wait=0.004), sys.argv[1], jobs=int(sys.argv[2]))
    print(outcome.computed, outcome.skipped)
"""


def counting_cells(count, wait=0.0):
    return [
        Cell("counting_agents:Counting", BANDIT, SMALL, lifetimes=3, agent_options={"arm": arm, "wait": wait})
        for arm in range(count)
    ]


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Makes ``counting_agents`` importable, here and in processes; calling it counts computations by arm."""
    (tmp_path / "counting_agents.py").write_text(AGENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("DAYTWO_TEST_LOG", str(tmp_path / "log"))
    yield (
        lambda: Counter(map(int, (tmp_path / "log").read_text().split())) if (tmp_path / "log").exists() else Counter()
    )
    sys.modules.pop("counting_agents", None)


def start_driver(path, jobs):
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path), str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stored_arms(path):
    if not path.exists():
        return []
    with Store(path) as store:
        return sorted(row.result.agent_options["arm"] for row in store.rows())


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_a_cells_key_is_its_identity():
    cell = Cell("random", BANDIT, SMALL)
    assert cell.key == Cell("random", BANDIT, dict(reversed(SMALL.items())), steps=5.0).key
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
    assert suite._code_of(plain) == suite._code_of(worded)
    assert suite._code_of(plain) != suite._code_of(plain.replace("1", "2"))
    assert suite.code_fingerprint("random", BANDIT) == suite.code_fingerprint("oracle", BANDIT)


def test_a_users_own_agent_is_part_of_the_fingerprint(log):
    assert suite.code_fingerprint("counting_agents:Counting", BANDIT).startswith(suite._package_code() + "-")


def test_a_checkpoint_trained_further_is_another_cell(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "weights").write_bytes(b"1")
    cell = Cell(str(folder), BANDIT)
    before = cell.key
    assert cell.key == before
    (folder / "weights").write_bytes(b"2")
    assert cell.key != before


def test_benchmark_cells_cover_every_fitting_agent_under_every_condition():
    cells = benchmark_cells([BANDIT], ["random", "oracle", "daytwo.baselines.basic:Random"], lifetimes=7, seed=3)
    assert len(cells) == 3 * 2 * 3
    assert len({cell.key for cell in cells}) == len(cells)
    conditions = {(cell.memory, cell.task) for cell in cells}
    assert conditions == {("kept", "fixed"), ("wiped", "fixed"), ("kept", "redrawn")}
    assert {cell.settings["course"] for cell in cells} == {"progressive", "single"}
    assert all(cell.lifetimes == 7 and cell.seed == 3 and cell.split == "test" for cell in cells)
    assert [cell.steps for cell in cells] == sorted((cell.steps for cell in cells), reverse=True)
    assert cells[0].steps == 7 * 3 * 10 * 20  # lifetimes, stages, episodes, pulls


def test_benchmark_cells_take_all_tasks_where_there_are_too_few_to_split(monkeypatch):
    from daytwo.envs.bandit import Bandit

    monkeypatch.setattr(Bandit, "splits", property(lambda self: ("all",)))
    cells = benchmark_cells([BANDIT], ["random"], ["single"], level=0)
    assert {cell.split for cell in cells} == {"all"}
    assert {cell.settings["level"] for cell in cells} == {0}


@pytest.mark.parametrize("wrong", [{"families": ["daytwo/No-v0"]}, {"agents": ["nobody"]}])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Unknown (environment|agent)"):
        benchmark_cells(**wrong)


def test_one_process_and_two_give_the_same_results(tmp_path):
    cells = benchmark_cells([BANDIT], ["random", "oracle"], lifetimes=9, episodes=2)
    for jobs in (1, 2):
        outcome = run_suite(cells, tmp_path / f"{jobs}.sqlite", jobs=jobs, progress=False)
        assert (outcome.computed, outcome.skipped) == (12, 0), outcome.failures
    with Store(tmp_path / "1.sqlite") as one, Store(tmp_path / "2.sqlite") as two:
        assert one.keys() == two.keys() == {cell.key for cell in cells}
        for key in one.keys():
            first, second = one.get(key).result, two.get(key).result
            for name in ("returns", "normalized", "levels", "stages", "reward"):
                assert np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True)
    again = run_suite(cells, tmp_path / "1.sqlite", jobs=1, progress=False)
    assert (again.computed, again.skipped) == (0, 12)


def test_equal_cells_are_computed_once(tmp_path, log):
    outcome = run_suite(counting_cells(3) + counting_cells(2), tmp_path / "r.sqlite", jobs=1, progress=False)
    assert outcome.computed == 3 and log() == {0: 1, 1: 1, 2: 1}


def test_a_cell_that_fails_stops_no_other(tmp_path, log, capsys):
    bad = Cell("counting_agents:Failing", BANDIT, SMALL, lifetimes=3)
    outcome = run_suite([*counting_cells(2), bad], tmp_path / "r.sqlite", jobs=1)
    assert outcome.computed == 2
    ((cell, text),) = outcome.failures
    assert cell == bad and "no idea what to do" in text
    assert "no idea what to do" in capsys.readouterr().err
    assert stored_arms(tmp_path / "r.sqlite") == [0, 1]


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5])
def test_impossible_numbers_of_jobs_are_refused(tmp_path, jobs):
    with pytest.raises(ValueError, match="jobs"):
        run_suite([], tmp_path / "r.sqlite", jobs=jobs)


def test_the_schedule_takes_long_cells_first_and_learns_who_is_slow():
    def cell(agent, steps):
        return Cell(agent, BANDIT, {"course": "single", "episodes": int(steps)}, steps=steps)

    schedule = suite._Schedule([cell("fast", 10), cell("fast", 30), cell("slow", 20), cell("slow", 5)])
    order = iter(schedule)
    first = next(order)
    assert (first.agent, first.steps) == ("fast", 30)
    second = next(order)
    assert (second.agent, second.steps) == ("slow", 20)  # the other pair is measured before more of the first
    schedule.finished(first, 0.3)
    schedule.finished(second, 20.0)
    assert [(one.agent, one.steps) for one in order] == [("slow", 5), ("fast", 10)]
    assert schedule.seconds_left(2) == pytest.approx(5.0)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_resumes_without_computing_a_stored_cell_again(tmp_path, log, jobs):
    path = tmp_path / "r.sqlite"
    computed_when_stored = {}
    kills = 3 - jobs
    for kill in range(kills):
        driver = start_driver(path, jobs)
        goal = 1 + 3 * kill
        wait_for(lambda driver=driver, goal=goal: driver.poll() is not None or len(safe_arms(path)) > goal)
        driver.kill()  # the parent alone: its workers must notice
        driver.communicate()
        for arm in stored_arms(path):  # readable, whatever the moment
            computed_when_stored.setdefault(arm, log()[arm])
    assert 1 < len(computed_when_stored) < 12
    last = start_driver(path, jobs)
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    computed, skipped = map(int, out.split())
    assert computed + skipped == 12 and skipped >= len(computed_when_stored)
    assert stored_arms(path) == list(range(12))
    counts = log()
    for arm, count in computed_when_stored.items():
        assert counts[arm] == count, "a stored cell was computed again"
    # Beyond one computation of each cell, only what was in flight at one of the kills was lost.
    assert sum(counts.values()) <= 12 + kills * jobs


def safe_arms(path):
    """What is stored, or nothing while the file has only just begun."""
    from daytwo.evaluation.store import StoreError

    try:
        return stored_arms(path)
    except StoreError as error:
        assert "is empty" in str(error)
        return []


@pytest.mark.skipif(os.name != "posix", reason="needs Ctrl-C as a signal")
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_keeps_what_is_stored_and_says_how_to_resume(tmp_path, log, jobs):
    path = tmp_path / "r.sqlite"
    driver = start_driver(path, jobs)
    wait_for(lambda: driver.poll() is not None or len(safe_arms(path)) > 2)
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: parent and workers alike
    _, err = driver.communicate(timeout=60)
    assert driver.returncode != 0
    assert "Run the same command again to resume" in " ".join(err.split())
    assert err.count("Traceback") == 1, err  # the parent's own KeyboardInterrupt; workers keep quiet
    before = stored_arms(path)
    assert 3 <= len(before) < 12
    out, _ = start_driver(path, 1).communicate(timeout=120)
    assert out.split() == [str(12 - len(before)), str(len(before))] and stored_arms(path) == list(range(12))
