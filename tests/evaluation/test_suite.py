"""Suites: spreading over processes, cells that fail or kill, resuming after every kind of stop."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import pytest

from daytwo.evaluation import suite, workers
from daytwo.evaluation.cells import Cell
from daytwo.evaluation.protocols import PROTOCOLS
from daytwo.evaluation.store import Store, StoreError, cell_key
from daytwo.evaluation.suite import run_suite
from tests.evaluation.counting import BANDIT, SMALL, bad_cell, contents, counting_cells

DRIVER = """
import sys
from daytwo.evaluation.suite import run_suite
from tests.evaluation.counting import counting_cells
if __name__ == "__main__":
    outcome = run_suite(counting_cells(12, wait=0.004), sys.argv[1], jobs=int(sys.argv[2]))
    print(outcome.computed, outcome.skipped)
"""


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


def test_one_process_and_two_store_the_same_bytes(tmp_path, log):
    cells = PROTOCOLS["core"].cells([BANDIT], ["random", "oracle", "reference"], lifetimes=9, episodes=2)
    cells = [dataclasses.replace(cell, protocol="core-v1") for cell in [*cells, bad_cell("Failing")]]
    for jobs in (1, 2):
        outcome = run_suite(cells, tmp_path / f"{jobs}.sqlite", jobs=jobs, progress=False)
        assert (outcome.computed, outcome.skipped, len(outcome.failures)) == (9, 0, 1), outcome.failures
    rows, linked, failed = contents(tmp_path / "1.sqlite")
    assert {row["key"] for row in rows} == {cell.key for cell in cells[:-1]} and len(rows) == 9
    assert (len(linked), len(failed)) == (10, 1)
    assert contents(tmp_path / "2.sqlite") == (rows, linked, failed)
    again = run_suite(cells[:-1], tmp_path / "1.sqlite", jobs=1, progress=False)
    assert (again.computed, again.skipped) == (0, 9)


def test_equal_cells_are_computed_once(tmp_path, log):
    outcome = run_suite(counting_cells(3) + counting_cells(2), tmp_path / "r.sqlite", jobs=1, progress=False)
    assert outcome.computed == 3 and log() == {0: 1, 1: 1, 2: 1}


def test_the_store_knows_which_cells_each_protocol_asked_for(tmp_path, log):
    """Also those that were stored before, and those that another protocol asks for, too."""
    path = tmp_path / "r.sqlite"
    cells = counting_cells(3)
    run_suite(cells[:1], path, jobs=1, progress=False)
    with Store(path) as store:
        assert store.protocols() == {}
    asked = [dataclasses.replace(cell, protocol="core-v1") for cell in cells]
    asked += [dataclasses.replace(cells[2], protocol="adapt-v1")]
    outcome = run_suite(asked, path, jobs=1, progress=False)
    assert (outcome.computed, outcome.skipped) == (2, 1)
    keys = [cell.key for cell in cells]
    with Store(path) as store:
        assert store.protocols() == {"core-v1": set(keys), "adapt-v1": {keys[2]}}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    "name, reason", [("Failing", "RuntimeError: no idea what to do"), ("Stopping", "SystemExit: 3")]
)
def test_a_cell_that_raises_is_noted_and_stops_no_other(tmp_path, log, capsys, jobs, name, reason):
    bad = bad_cell(name)
    outcome = run_suite([bad, *counting_cells(2)], tmp_path / "r.sqlite", jobs=jobs)
    assert outcome.computed == 2
    ((cell, text),) = outcome.failures
    assert cell == bad and reason in text and "Traceback" in text
    said = capsys.readouterr().err
    assert f"FAILED {bad.label}: {reason}" in said
    assert "3/3 evaluations, 1 failed\n" in said  # and no time left
    assert stored_arms(tmp_path / "r.sqlite") == [0, 1]
    with Store(tmp_path / "r.sqlite") as store:
        (failure,) = store.failures()
        assert (failure.key, failure.cell, failure.error) == (bad.key, bad.describe(), text)


def test_a_cell_that_failed_is_tried_again_by_the_next_run(tmp_path, log):
    path, cell = tmp_path / "r.sqlite", bad_cell("Mended")
    assert len(run_suite([cell], path, jobs=1, progress=False).failures) == 1
    assert len(run_suite([cell], path, jobs=1, progress=False).failures) == 1
    with Store(path) as store:
        assert [one.key for one in store.failures()] == [cell.key] and len(store) == 0
    (tmp_path / "log-mended").touch()
    assert run_suite([cell], path, jobs=1, progress=False).computed == 1
    with Store(path) as store:
        assert store.failures() == [] and store.keys() == {cell.key}


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 1])
def test_a_cell_that_ends_its_process_is_noted_and_takes_no_other_down(tmp_path, log, code):
    bad = bad_cell("Exiting", arm=code)
    outcome = run_suite([bad, *counting_cells(6)], tmp_path / "r.sqlite", jobs=2, progress=False)
    assert outcome.computed == 6 and stored_arms(tmp_path / "r.sqlite") == list(range(6))
    ((cell, text),) = outcome.failures
    assert cell == bad and "The process that ran it died" in text and f"EXIT({code})" in text
    counts = log()
    counts[code] -= 2  # the bad cell itself was tried twice
    assert counts == dict.fromkeys(range(6), 1)  # and none of the others more than once
    with Store(tmp_path / "r.sqlite") as store:
        assert [(one.key, one.error) for one in store.failures()] == [(bad.key, text)]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_a_cell_whose_process_was_killed_once_is_computed_after_all(tmp_path, log):
    outcome = run_suite([bad_cell("Killed"), *counting_cells(2)], tmp_path / "r.sqlite", jobs=2, progress=False)
    assert outcome.computed == 3 and not outcome.failures


def test_one_cell_that_ends_its_process_does_not_end_ours(tmp_path, log):
    """A run that is resumed for the sake of a single bad cell is safe, too."""
    outcome = run_suite([bad_cell("Exiting", arm=1)], tmp_path / "r.sqlite", jobs=2, progress=False)
    assert len(outcome.failures) == 1


CRASHER = """
import sys
from daytwo.evaluation.suite import run_suite
from tests.evaluation.counting import bad_cell, counting_cells
cells = [*counting_cells(2), bad_cell("Exiting", arm=1)]
for cell in cells:
    run_suite([cell], sys.argv[1], jobs=1)
"""


def test_a_crash_in_the_only_process_loses_nothing_that_is_stored(tmp_path, log):
    path = tmp_path / "r.sqlite"
    assert subprocess.run([sys.executable, "-c", CRASHER, str(path)], capture_output=True).returncode == 1
    assert stored_arms(path) == [0, 1]
    Store(path, write=True).close()  # nor is the file locked


def test_a_worker_with_other_code_is_refused():
    """Files changed during the run, or the machines of a cluster differ: no such result may be stored."""
    cell = Cell("random", BANDIT, SMALL, lifetimes=2)
    result, error, _ = workers.compute(cell, cell.key)
    assert result is not None and error == ""
    result, error, _ = workers.compute(cell, cell_key({"code": "another"}))
    assert result is None and "another code of daytwo, of the agent or of the environment" in error


@pytest.mark.parametrize("agent", ["random", "counting_agents:Counting"])
def test_a_single_lifetime_can_be_run(tmp_path, log, agent):
    assert run_suite([Cell(agent, BANDIT, SMALL, lifetimes=1)], tmp_path / "r.sqlite", jobs=1).computed == 1
    with Store(tmp_path / "r.sqlite") as store:
        (row,) = store.rows()
        assert row.result.returns.shape == (1, 1)


@pytest.mark.parametrize("jobs", [0, -1, True, 1.5])
def test_impossible_numbers_of_jobs_are_refused(tmp_path, jobs):
    with pytest.raises(ValueError, match="jobs"):
        run_suite([], tmp_path / "r.sqlite", jobs=jobs)


def test_the_schedule_takes_long_cells_first_and_learns_who_is_slow():
    def cell(agent, steps):
        return Cell(agent, BANDIT, {"course": "single", "episodes": int(steps)}, steps=steps)

    cells = [cell("fast", 10), cell("fast", 30), cell("slow", 20), cell("slow", 5)]
    schedule = workers.Schedule(dict(zip("abcd", cells, strict=True)))
    assert schedule.seconds_left(2) is None
    assert schedule.take() == "b"
    assert schedule.take() == "c"  # the other pair is measured before more of the first
    schedule.finished("b", 0.3)
    schedule.finished("c", 20.0)
    assert (schedule.take(), schedule.take(), schedule.take()) == ("d", "a", None)
    assert schedule.seconds_left(2) == pytest.approx(5.0, abs=0.1)  # the longest, though there are two processes
    schedule.running["d"] -= 4.0
    assert schedule.seconds_left(2) == pytest.approx(1.0, abs=0.1)  # of which 4 have passed
    schedule.running["d"] -= 40.0
    assert schedule.seconds_left(2) == pytest.approx(0.1, abs=0.1)  # never less than nothing
    schedule.finished("d", 45.0)
    schedule.finished("a", 0.1)
    assert schedule.seconds_left(2) == 0.0


def test_the_time_left_counts_down_and_says_so_when_it_is_not_known():
    assert str(suite._TimeLeft(None)) == "time left not known yet"
    assert str(suite._TimeLeft(75.0)) == "about 1:15 left"
    assert str(suite._TimeLeft(3_725.0)) == "about 1:02:05 left"
    assert str(suite._TimeLeft(-9.0)) == "about 0:01 left"
    left = suite._TimeLeft(75.0)
    left.until -= 10.0
    assert str(left) == "about 1:05 left"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"backend": "threading"}, "backend must be 'loky' or 'ray', received 'threading'"),
        ({"address": "auto"}, "address goes with backend='ray', received address='auto'"),
    ],
)
def test_where_to_run_is_checked(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        run_suite([], tmp_path / "r.sqlite", **wrong)


def test_ray_is_asked_for_by_name_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'daytwo\[ray\]'"):
        run_suite(counting_cells(1), tmp_path / "r.sqlite", backend="ray")
    assert not (tmp_path / "r.sqlite").exists()


def test_unknown_environments_and_classes_end_a_run_before_it_begins(tmp_path):
    for cell, message in (
        (Cell("random", "daytwo/No-v0"), "Unknown environment"),
        (Cell("no_such_module:Agent", BANDIT), "Cannot load"),
    ):
        with pytest.raises(ValueError, match=message):
            run_suite([cell], tmp_path / "r.sqlite", jobs=1, progress=False)


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
    # The parent's own KeyboardInterrupt, which may come while an exception is being handled; workers keep quiet.
    chained = err.count("During handling of the above exception")
    assert err.count("Traceback") - chained == 1, err
    before = stored_arms(path)
    assert 3 <= len(before) < 12
    out, _ = start_driver(path, 1).communicate(timeout=120)
    assert out.split() == [str(12 - len(before)), str(len(before))] and stored_arms(path) == list(range(12))
