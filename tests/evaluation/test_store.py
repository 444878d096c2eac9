"""The results file: exact, refusing what it cannot read, and whole whatever happens to its writer."""

import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from daytwo.course import Course, Stage
from daytwo.evaluation.cells import Cell
from daytwo.evaluation.store import APPLICATION_ID, FORMAT, Store, StoreError, canonical, cell_key, plain, restored
from tests.evaluation.synthetic import make_cell, make_result

ARRAYS = ("returns", "normalized", "levels", "stages", "reward")


def example(seed=0, **changes):
    g = np.random.default_rng(seed).standard_normal((6, 4))
    g[2, 1:] = np.nan
    return make_result(g, seed=seed, **changes)


def test_what_is_stored_comes_back_bit_for_bit(tmp_path):
    g = example().normalized.copy()
    g[0, 0], g[0, 1], g[1, 0] = -0.0, 5e-324, 1 / 3
    course = Course([Stage(0, 4), Stage(1, 3, new_task=True, switch_after=1)], name="odd", mastery=0.9)
    result = make_result(
        g,
        course=course,
        settings={"course": course, "rate": 0.1, "arms": 3},
        agent_options={"c": 0.1},
        tags=("exploration", "planning"),
        role="reference",
        memoryless=(0.25,),
    )
    with Store(tmp_path / "r.sqlite", write=True) as store:
        key = store.add(make_cell(result, settings={"arms": 3}), result)
    with Store(tmp_path / "r.sqlite") as store:
        assert store.keys() == {key} and key in store and len(store) == 1
        back = store.get(key).result
    for name in ARRAYS:
        first, second = getattr(result, name), getattr(back, name)
        assert first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    for name in set(type(result).__dataclass_fields__) - set(ARRAYS):
        assert getattr(back, name) == getattr(result, name), name


@pytest.mark.parametrize("memoryless", [(), (0.1, float("nan"), 1 / 3), (float("nan"),) * 3])
def test_rungs_that_nobody_measured_are_stored(tmp_path, memoryless):
    """JSON cannot hold NaN, and no reader should have to know Python's own way round that."""
    result = make_result([[0.0, 0.5, 1.0]], levels=[[0, 1, 2]], memoryless=memoryless)
    with Store(tmp_path / "r.sqlite", write=True) as store:
        key = store.add(make_cell(result), result)
        text = store._connection.execute("SELECT result FROM cells").fetchone()[0]
        assert "NaN" not in text
        np.testing.assert_equal(store.get(key).result.memoryless, memoryless)


def test_results_refuse_impossible_roles_and_rungs():
    with pytest.raises(ValueError, match=r"role must be one of '', 'reference', 'reactive', received 'hero'"):
        example(role="hero")
    with pytest.raises(ValueError, match=r"memoryless must have .* each of the 1 levels, received \(0.1, 0.2\)"):
        example(memoryless=(0.1, 0.2))


def test_keys_are_the_same_for_equal_cells_and_differ_otherwise():
    result = example()
    cell = make_cell(result)
    assert cell_key(cell) == cell_key(dict(reversed(cell.items())))
    assert cell_key({**cell, "settings": {"course": "single"}}) == cell_key(cell)
    changes = {
        "agent": "x",
        "agent_options": {"c": 1},
        "settings": {"course": "single", "arms": 2},
        "memory": "wiped",
        "task": "redrawn",
        "split": "all",
        "lifetimes": 7,
        "seed": 1,
        "version": "0.2.0",
        "code": "def",
    }
    assert len({cell_key({**cell, name: value}) for name, value in changes.items()} | {cell_key(cell)}) == 11


def test_only_what_json_holds_exactly_can_be_stored():
    course = Course([Stage(0, 2)], name="c")
    assert restored(plain({"a": (1, np.float64(0.5)), "course": course})) == {"a": [1, 0.5], "course": course}
    with pytest.raises(TypeError, match=r"module:Class"):
        plain({"family": object})
    with pytest.raises(ValueError):
        canonical({"rate": float("nan")})


def test_a_cell_is_stored_once(tmp_path):
    result = example()
    with Store(tmp_path / "r.sqlite", write=True) as store:
        store.add(make_cell(result), result)
        with pytest.raises(StoreError, match="already"):
            store.add(make_cell(result), result)
        assert len(store) == 1


def test_a_store_opened_for_reading_is_not_written(tmp_path):
    path = tmp_path / "r.sqlite"
    Store(path, write=True).close()
    with Store(path) as store:
        for write in (
            lambda: store.add(make_cell(example()), example()),
            lambda: store.link("core-v1", ["abc"]),
            lambda: store.fail(make_cell(example()), "Traceback"),
        ):
            with pytest.raises(StoreError, match="opened for reading"):
                write()
    with pytest.raises(StoreError, match="is closed"):
        len(store)


def test_protocols_are_kept_with_the_cells_they_asked_for(tmp_path):
    path = tmp_path / "r.sqlite"
    with Store(path, write=True) as store:
        assert store.protocols() == {}
        stored = store.add(make_cell(example(0)), example(0))
        failed = store.fail(make_cell(example(1)), "Traceback")
        store.link("core-v1", [stored, failed, "never computed"])
        store.link("adapt-v1", {stored, "b"})
        store.link("core-v1", iter([stored, "c"]))  # what was never computed is asked for anew, or not at all
    with Store(path) as store:
        assert store.protocols() == {"core-v1": {stored, failed, "c"}, "adapt-v1": {stored, "b"}}
    for wrong in ("", None):
        with Store(path, write=True) as store, pytest.raises(ValueError, match="protocol must be a name"):
            store.link(wrong, ["a"])


def test_failures_are_kept_until_their_cell_succeeds(tmp_path):
    path, (first, second, third) = tmp_path / "r.sqlite", map(example, range(3))
    with Store(path, write=True) as store:
        store.fail(make_cell(second), "Traceback: at first")
        key = store.fail(make_cell(first), "Traceback: é")
        again = store.fail(make_cell(second), "Traceback: later")
    with Store(path, write=True) as store:
        assert [(one.key, one.cell["seed"], one.error) for one in store.failures()] == [
            (key, 0, "Traceback: é"),
            (again, 1, "Traceback: later"),
        ]
        assert all(one.stored.endswith("+00:00") for one in store.failures())
        assert len(store) == 0 and key not in store
        store.add(make_cell(third), third)
        assert len(store.failures()) == 2
        store.add(make_cell(first), first)
        assert [one.key for one in store.failures()] == [again]
        with pytest.raises(StoreError, match="holds this cell already"):
            store.fail(make_cell(first), "Traceback")


@pytest.mark.parametrize("mend", ["add", "fail"])
def test_a_failure_of_older_code_is_superseded(tmp_path, mend):
    """Who mends an agent has changed its code, and with it the key of the cell."""
    settings = {"course": "single", "rate": 0.1, "word": "é", "course_of_stages": Course([Stage(0, 2)])}
    cell = make_cell(example(), settings=settings)
    with Store(tmp_path / "r.sqlite", write=True) as store:
        store.fail({**cell, "code": "a-b", "version": "0.0.1"}, "old")
        store.fail({**cell, "code": "a-b", "seed": 7}, "another cell")
        if mend == "add":
            store.add({**cell, "code": "a-c"}, example())
        else:
            store.fail({**cell, "code": "a-c"}, "new")
        assert [one.error for one in store.failures()] == ["another cell"] + ["new"] * (mend == "fail")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    with Store(tmp_path / "r.sqlite", write=True) as store:
        store.fail(make_cell(example()), "Traceback")
        store._connection.execute("CREATE TRIGGER full BEFORE DELETE ON failures BEGIN SELECT RAISE(FAIL, 'full'); END")
        with pytest.raises(StoreError, match="full"):
            store.add(make_cell(example()), example())
        assert len(store) == 0 and len(store.failures()) == 1
        store._connection.execute("DROP TRIGGER full")
        store.add(make_cell(example()), example())
        assert len(store) == 1 and store.failures() == []


def test_nothing_is_left_beside_a_closed_file(tmp_path):
    with Store(tmp_path / "r.sqlite", write=True) as store:
        store.add(make_cell(example()), example())
    with Store(tmp_path / "r.sqlite") as store:
        assert len(list(store.rows())) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["r.sqlite"]


def foreign(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()


def newer(path):
    Store(path, write=True).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={FORMAT + 2}")
    connection.close()


def older(path):
    """A file of format 2, which had one table."""
    Store(path, write=True).close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE protocols")
    connection.execute("DROP TABLE failures")
    connection.execute("PRAGMA user_version=2")
    connection.close()


def gutted(path, table="cells"):
    Store(path, write=True).close()
    connection = sqlite3.connect(path)
    connection.execute(f"DROP TABLE {table}")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda path: path.write_text("agent,area\nrandom,0\n"), "not in SQLite's format, it begins with b'agent,area"),
        (foreign, "another program: application id 0x00000000.*bookmarks"),
        (newer, f"newer version of daytwo: file format {FORMAT + 2}, and this version reads up to {FORMAT}"),
        (older, f"older version of daytwo: file format 2, and this version reads {FORMAT}.*another file"),
        (gutted, "damaged"),
        (lambda path: gutted(path, "failures"), "damaged"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
)
def test_files_that_are_not_ours_are_refused_and_left_alone(tmp_path, write, spoil, message):
    path = tmp_path / "r.sqlite"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=message):
        Store(path, write=write)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not (tmp_path / "r.sqlite.lock").exists()


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(StoreError, match="There is no results file"):
        Store(tmp_path / "r.sqlite")
    with pytest.raises(StoreError, match=r"folder of .* does not exist"):
        Store(tmp_path / "no" / "r.sqlite", write=True)
    (tmp_path / "r.sqlite").touch()
    with pytest.raises(StoreError, match="is empty"):
        Store(tmp_path / "r.sqlite")
    Store(tmp_path / "r.sqlite", write=True).close()  # as after a kill before the first transaction
    assert len(Store(tmp_path / "r.sqlite")) == 0


def test_damage_is_reported_as_such(tmp_path):
    path = tmp_path / "r.sqlite"
    with Store(path, write=True) as store:
        for seed in range(30):
            store.add(make_cell(example(seed)), example(seed))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"r\.sqlite (is damaged|cannot be opened)"), Store(path) as store:
        list(store.rows())
    path.write_bytes(whole)
    connection = sqlite3.connect(path)
    blob = connection.execute("SELECT normalized FROM cells").fetchone()[0]
    connection.close()
    at = whole.index(blob[:80]) + 16
    path.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])
    with pytest.raises(StoreError, match="is damaged"), Store(path) as store:
        list(store.rows())


def test_a_file_in_a_folder_that_cannot_be_written_is_read(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    with Store(folder / "r.sqlite", write=True) as store:
        store.add(make_cell(example()), example())
    (folder / "r.sqlite").chmod(0o444)
    folder.chmod(0o555)
    try:
        with Store(folder / "r.sqlite") as store:
            assert len(list(store.rows())) == 1
    finally:
        folder.chmod(0o755)


WRITER = """
import sys
from daytwo.evaluation.store import Store
from tests.evaluation.test_store import example, make_cell
with Store(sys.argv[1], write=True) as store:
    print("open", flush=True)
    for seed in range(len(store), int(sys.argv[2])):
        store.add(make_cell(example(seed)), example(seed))
        print(seed, flush=True)
    sys.stdin.read()
"""


def start_writer(path, count):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.getcwd(),
    )


def test_a_second_writer_is_told_who_is_writing_and_readers_are_let_in(tmp_path):
    path = tmp_path / "r.sqlite"
    writer = start_writer(path, 2)
    try:
        assert [writer.stdout.readline().strip() for _ in range(3)] == ["open", "0", "1"]
        with pytest.raises(StoreError, match=rf"being written by another process \(process id {writer.pid}\)"):
            Store(path, write=True)
        with Store(path) as store:
            assert len(list(store.rows())) == 2
        writer.communicate("", timeout=60)
        assert writer.returncode == 0
    finally:
        writer.kill()
        writer.wait()
    with Store(path, write=True) as store, pytest.raises(StoreError, match="another process"):
        assert len(store) == 2
        Store(path, write=True)  # nor twice in one process


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_writer_loses_nothing_it_had_stored(tmp_path):
    """Killed again and again at odd moments, the file stays readable and holds every row that was acknowledged."""
    path = tmp_path / "r.sqlite"
    rng = np.random.default_rng(0)
    acknowledged = 0
    for _ in range(3):
        writer = start_writer(path, 100_000)
        assert writer.stdout.readline().strip() == "open"
        time.sleep(float(rng.uniform(0.0, 0.25)))
        writer.kill()
        said = writer.stdout.read().split()
        writer.wait()
        acknowledged = max([acknowledged, *(int(word) + 1 for word in said)])
        with Store(path) as store:
            rows = list(store.rows())
        assert acknowledged <= len(rows) <= acknowledged + 1
        acknowledged = len(rows)
        for row in rows:
            expected = example(row.result.seed)
            assert all(getattr(expected, name).tobytes() == getattr(row.result, name).tobytes() for name in ARRAYS)
        assert sorted(row.result.seed for row in rows) == list(range(len(rows)))
    assert acknowledged > 5
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


# --- docs/results_format.md -----------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "results_format.md").read_text()


def code_of_page(language):
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return code


def table_of_page(heading):
    """What the rows of the first table below a heading are about."""
    section = PAGE.split(f"\n{heading}")[1].split("\n#")[0]
    return {
        name for row in re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }


def test_the_page_reads_a_file_in_ten_lines(tmp_path):
    code = code_of_page("python")
    assert len(code.strip().splitlines()) <= 10 and "daytwo" not in code
    results = [make_result([[0.0, 0.5], [1.0, np.nan]]), make_result([[0.25, 1.0]], memory="wiped")]
    with Store(tmp_path / "results.sqlite", write=True) as store:
        keys = [store.add(make_cell(result), result) for result in results]
        # Read by another program while it is still being written.
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = ["daytwo/Bandit-v0 someone kept fixed [0.5 0.5]", "daytwo/Bandit-v0 someone wiped fixed [0.25 1.  ]"]
    assert done.stdout.splitlines() == [line for _, line in sorted(zip(keys, lines, strict=True))]


def test_a_file_made_as_the_page_says_is_a_results_file(tmp_path):
    connection = sqlite3.connect(tmp_path / "r.sqlite")
    connection.executescript(code_of_page("sql"))
    connection.close()
    Store(tmp_path / "ours.sqlite", write=True).close()
    columns = []
    for name in ("r", "ours"):
        connection = sqlite3.connect(tmp_path / f"{name}.sqlite")
        tables = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table' ORDER BY name")
        ]
        columns.append({table: connection.execute(f"PRAGMA table_info({table})").fetchall() for table in tables})
        connection.close()
    assert columns[0] == columns[1]
    with Store(tmp_path / "r.sqlite", write=True) as store:
        key = store.add(make_cell(example()), example())
        store.link("core-v1", [key])
        assert store.get(key).result.returns.tobytes() == example().returns.tobytes()


def test_the_page_names_every_field_and_no_other(tmp_path):
    result = example()
    with Store(tmp_path / "r.sqlite", write=True) as store:
        key = store.add(make_cell(result), result)
        cell, fields = store._connection.execute("SELECT cell, result FROM cells").fetchone()
        columns = {row[1] for row in store._connection.execute("PRAGMA table_info(cells)")}
        failed = {row[1] for row in store._connection.execute("PRAGMA table_info(failures)")}
    assert table_of_page("### `cells`") == columns
    assert table_of_page("### `failures`") == failed
    assert table_of_page("### `cell`\n") == set(json.loads(cell)) == set(Cell("random", "daytwo/Bandit-v0").describe())
    assert table_of_page("### `result`") == set(json.loads(fields))
    assert table_of_page("## The arrays") == {*ARRAYS, "diagnostics"}
    assert hashlib.sha256(cell.encode()).hexdigest()[:32] == key
    assert f"{APPLICATION_ID:#x}" in PAGE and f"This is format {FORMAT}." in PAGE
