"""One SQLite file that holds the results of many evaluations, one row per cell.

A *cell* is everything that decides a result: agent and options, environment, settings, memory, task, split, number of
lifetimes, seed, and the version and source code it ran with. The file is in WAL mode and written by one process, one
transaction per cell, so it is readable at any moment and a killed run loses at most the cells in flight. A lock file
beside it (``<name>.lock``, held by the operating system for as long as the writer lives) keeps a second writer out.
Arrays are kept bit for bit as zlib-compressed ``.npy`` blobs; nothing that is read is ever executed. The file also
says which cells a protocol asked for, and which cells raised. ``docs/results_format.md`` explains it to other programs.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from daytwo.course import Course, Stage
from daytwo.evaluation.running import Result

APPLICATION_ID = 0x44617932  # "Day2" in the header of the file
FORMAT = 3
ARRAYS = ("returns", "normalized", "levels", "stages", "reward")

# Table -> how it is made.
_TABLES = {
    "cells": """
CREATE TABLE cells (
    key        TEXT PRIMARY KEY,  -- hash of `cell`
    cell       TEXT NOT NULL,     -- what decides the result, as canonical JSON
    agent      TEXT NOT NULL,
    env_id     TEXT NOT NULL,
    memory     TEXT NOT NULL,
    task       TEXT NOT NULL,
    lifetimes  INTEGER NOT NULL,
    seed       TEXT NOT NULL,
    seconds    REAL NOT NULL,     -- wall time of the evaluation
    stored     TEXT NOT NULL,     -- when, UTC
    result     TEXT NOT NULL,     -- everything else about the result, as JSON
    returns    BLOB NOT NULL,
    normalized BLOB NOT NULL,
    levels     BLOB NOT NULL,
    stages     BLOB NOT NULL,
    reward     BLOB NOT NULL,
    diagnostics BLOB NOT NULL     -- side by side on the last axis, [lifetimes, episodes, numbers]
) WITHOUT ROWID
""",
    "protocols": """
CREATE TABLE protocols (
    protocol   TEXT NOT NULL,     -- such as core-v1
    key        TEXT NOT NULL,     -- of a cell that it asked for, stored or not
    PRIMARY KEY (protocol, key)
) WITHOUT ROWID
""",
    "failures": """
CREATE TABLE failures (
    key        TEXT PRIMARY KEY,  -- hash of `cell`
    cell       TEXT NOT NULL,     -- as in cells
    error      TEXT NOT NULL,     -- the traceback
    stored     TEXT NOT NULL      -- when, UTC
) WITHOUT ROWID
""",
}


class StoreError(OSError):
    """A results file cannot be used; the message says what was found and what to do."""


# --- canonical JSON -------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A setting as JSON holds it: courses become dicts, tuples lists, NumPy numbers Python's.

    Raises:
        TypeError: a value that JSON cannot hold exactly.
    """
    if isinstance(value, Course):
        return {"course": value.to_dict()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"Settings need names that are strings, received {list(value)!r}.")
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"Stored results hold numbers, strings, lists, dicts and courses, received {value!r}: "
        "give agents and families as names or 'module:Class'."
    )


def restored(value: Any) -> Any:
    """The inverse of `plain`, except that tuples stay lists."""
    if isinstance(value, dict):
        if set(value) == {"course"} and isinstance(value["course"], dict) and "stages" in value["course"]:
            parts = dict(value["course"])
            return Course(stages=[Stage(**stage) for stage in parts.pop("stages")], **parts)
        return {key: restored(one) for key, one in value.items()}
    if isinstance(value, list):
        return [restored(one) for one in value]
    return value


def canonical(value: Any) -> str:
    """One line of JSON, the same for equal values.

    Raises:
        TypeError: a value that JSON cannot hold.
        ValueError: NaN or infinity.
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def cell_key(cell: Mapping[str, Any]) -> str:
    """The key of a cell: a hash of its canonical JSON."""
    return hashlib.sha256(canonical(cell).encode()).hexdigest()[:32]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


# --- arrays ---------------------------------------------------------------------------------------------------------


def _packed(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return zlib.compress(buffer.getvalue(), 1)


def _unpacked(blob: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(zlib.decompress(blob)), allow_pickle=False)


def _side_by_side(result: Result) -> tuple[list[tuple[str, int]], np.ndarray]:
    """All diagnostics in one array, and how many numbers each has on a third axis (0: it has none)."""
    sizes = [(name, 0 if values.ndim == 2 else values.shape[2]) for name, values in result.diagnostics.items()]
    columns = [values.reshape(*result.returns.shape, -1) for values in result.diagnostics.values()]
    return sizes, np.concatenate([np.empty((*result.returns.shape, 0)), *columns], axis=2)


def _apart(sizes: list[tuple[str, int]], array: np.ndarray) -> dict[str, np.ndarray]:
    """The inverse of `_side_by_side`."""
    found, at = {}, 0
    for name, size in sizes:
        found[name] = np.ascontiguousarray(array[:, :, at : at + size] if size else array[:, :, at])
        at += max(size, 1)
    return found


# --- the lock -------------------------------------------------------------------------------------------------------


def _lock(file: IO[str]) -> bool:
    """Take the exclusive lock that the operating system drops when this process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            file.seek(4096)  # a byte beyond the text, which stays readable to others
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class _WriterLock:
    """At most one process (and one `Store`) writes a results file."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        while True:
            file = open(self.path, "a+")  # held open for as long as the store is
            if not _lock(file):
                file.seek(0)
                writer = file.read().strip()
                file.close()
                raise StoreError(
                    f"{path} is being written by another process{f' (process id {writer})' if writer else ''}: wait "
                    "until it has finished or stop it, or choose another file. Reports can be made meanwhile."
                )
            try:
                same = os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
            except FileNotFoundError:
                same = False
            if same:
                break
            file.close()  # the writer before us removed the file between our opening and locking it
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        self.file = file

    def release(self) -> None:
        with contextlib.suppress(OSError):  # Windows does not remove open files
            self.path.unlink()
        self.file.close()


# --- the store ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Stored:
    """One row of a results file.

    Attributes:
        key: of the cell.
        cell: what decides the result (see `daytwo.evaluation.suite.Cell`).
        stored: when it was stored, UTC, ISO 8601.
        result: the `Result`.
    """

    key: str
    cell: dict[str, Any]
    stored: str
    result: Result


@dataclasses.dataclass(frozen=True)
class Failure:
    """A cell that raised instead of giving a result.

    Attributes:
        key: of the cell.
        cell: what would have decided the result.
        error: the traceback.
        stored: when, UTC, ISO 8601.
    """

    key: str
    cell: dict[str, Any]
    error: str
    stored: str


class Store:
    """A results file, opened for reading or for writing. Use it as a context manager.

    Example:
        >>> with Store("results.sqlite", write=True) as store:  # doctest: +SKIP
        ...     store.add(cell, result)
    """

    def __init__(self, path: str | os.PathLike[str], *, write: bool = False) -> None:
        """Open a results file.

        Args:
            path: of the file; made if it is missing and ``write`` is true.
            write: open for writing, which one process at a time can do.

        Raises:
            StoreError: the file is missing (reading), is no results file, comes from a newer version, is damaged,
                or is being written by another process (writing).
        """
        self.path = Path(path)
        self.write = bool(write)
        self._writer: _WriterLock | None = None
        self._connection: sqlite3.Connection | None = None
        if self.path.is_dir():
            raise StoreError(f"{self.path} is a folder; a results file was expected.")
        if not write and not self.path.exists():
            raise StoreError(f"There is no results file {self.path}.")
        if write and not self.path.absolute().parent.is_dir():
            raise StoreError(f"The folder of {self.path} does not exist.")
        self._check_header()
        try:
            if write:
                self._writer = _WriterLock(self.path)
            self._connection = self._connect()
            self._check_format()
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error | OSError):
                raise StoreError(f"{self.path} cannot be opened: {error}.") from error
            raise

    def _check_header(self) -> None:
        try:
            with open(self.path, "rb") as file:
                head = file.read(16)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error}.") from error
        # An empty file is what a writer leaves that is killed before its first transaction.
        if head and head != b"SQLite format 3\0":
            raise StoreError(f"{self.path} is no results file: it is not in SQLite's format, it begins with {head!r}.")

    def _connect(self) -> sqlite3.Connection:
        if self.write:
            return sqlite3.connect(self.path, isolation_level=None, timeout=30.0)
        # A reader of a WAL file needs its index beside it; where that cannot be made the file is read as it lies.
        uri = self.path.absolute().as_uri()
        for options in ("mode=rw", "mode=ro", "immutable=1"):
            connection = sqlite3.connect(f"{uri}?{options}", uri=True, isolation_level=None, timeout=30.0)
            try:
                connection.execute("PRAGMA query_only=1")
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except sqlite3.OperationalError:
                connection.close()
                if options == "immutable=1":
                    raise
                continue
            return connection
        raise AssertionError("unreachable")

    def _check_format(self) -> None:
        connection = self._connection
        assert connection is not None
        application = connection.execute("PRAGMA application_id").fetchone()[0] & 0xFFFFFFFF
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        if application == 0 and version == 0 and not tables:
            if not self.write:
                raise StoreError(f"{self.path} is empty: the run that made it was stopped at once.")
            connection.execute("PRAGMA journal_mode=WAL")  # not before it is known that the file is ours to change
            connection.execute("BEGIN IMMEDIATE")
            for create in _TABLES.values():
                connection.execute(create)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={FORMAT}")
            connection.execute("COMMIT")
        elif application != APPLICATION_ID:
            raise StoreError(
                f"{self.path} is a SQLite file of another program: application id {application:#010x} instead of "
                f"{APPLICATION_ID:#010x}, tables {', '.join(tables[:5]) or 'none'}."
            )
        elif version > FORMAT:
            raise StoreError(
                f"{self.path} was written by a newer version of daytwo: file format {version}, and this version reads "
                f"up to {FORMAT}. Upgrade daytwo."
            )
        elif 0 < version < FORMAT:
            raise StoreError(
                f"{self.path} was written by an older version of daytwo: file format {version}, and this version "
                f"reads {FORMAT}. Run the evaluations again into another file."
            )
        elif version < FORMAT or not set(_TABLES) <= set(tables):
            raise StoreError(f"{self.path} is damaged: file format {version}, tables {', '.join(tables) or 'none'}.")
        if self.write:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a commit survives loss of power; there are few of them

    # --- what is in it ---

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise StoreError(f"{self.path} is closed.")
        try:
            yield self._connection
        except (sqlite3.Error, zlib.error, ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise StoreError(f"{self.path} is damaged or was changed by another program ({reason}).") from error

    def __len__(self) -> int:
        with self._open() as connection:
            return int(connection.execute("SELECT count(*) FROM cells").fetchone()[0])

    def __contains__(self, key: object) -> bool:
        with self._open() as connection:
            return connection.execute("SELECT 1 FROM cells WHERE key=?", (key,)).fetchone() is not None

    def keys(self) -> set[str]:
        """The keys of all cells."""
        with self._open() as connection:
            return {row[0] for row in connection.execute("SELECT key FROM cells")}

    def get(self, key: str) -> Stored:
        """One row.

        Raises:
            KeyError: it is not stored.
        """
        for row in self.rows("WHERE key=?", (key,)):
            return row
        raise KeyError(key)

    def rows(self, where: str = "", values: tuple[Any, ...] = ()) -> Iterator[Stored]:
        """All rows, in the order in which they were stored."""
        columns = ", ".join(("key", "cell", "stored", "result", "diagnostics", *ARRAYS))
        with self._open() as connection:
            for row in connection.execute(f"SELECT {columns} FROM cells {where} ORDER BY stored, key", values):
                key, cell, stored, result, told, *blobs = row
                fields = json.loads(result)
                fields["course"] = restored(fields["course"])
                fields["settings"] = restored(fields["settings"])
                for name in ("level_names", "random_return", "oracle_return", "tags", "random_spread"):
                    fields[name] = tuple(fields.get(name, ()))
                fields["memoryless"] = tuple(math.nan if one is None else one for one in fields["memoryless"])
                fields["diagnostics"] = _apart(fields["diagnostics"], _unpacked(told))
                fields.update({name: _unpacked(blob) for name, blob in zip(ARRAYS, blobs, strict=True)})
                yield Stored(key, json.loads(cell), stored, Result(**fields))

    def protocols(self) -> dict[str, set[str]]:
        """Which cells each protocol asked for, by key; they may be stored, failed, or not computed yet."""
        found: dict[str, set[str]] = {}
        with self._open() as connection:
            for protocol, key in connection.execute("SELECT protocol, key FROM protocols"):
                found.setdefault(protocol, set()).add(key)
        return found

    def failures(self) -> list[Failure]:
        """The cells that raised and have not been computed since, in the order in which they failed."""
        with self._open() as connection:
            rows = connection.execute("SELECT key, cell, error, stored FROM failures ORDER BY stored, key")
            return [Failure(key, json.loads(cell), error, stored) for key, cell, error, stored in rows]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: everything in it is stored, or nothing."""
        if not self.write:
            raise StoreError(f"{self.path} was opened for reading; open it with write=True.")
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:  # SQLite itself gives up on a full disk
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def add(self, cell: Mapping[str, Any], result: Result) -> str:
        """Store the result of a cell, in one transaction; a failure of the same cell is forgotten.

        Args:
            cell: what decides the result.
            result: the `Result`.

        Returns:
            The cell's key.

        Raises:
            StoreError: the file is open for reading only, or the cell is stored already.
        """
        key = cell_key(cell)
        arrays = {*ARRAYS, "diagnostics"}
        fields = {
            one.name: plain(getattr(result, one.name)) for one in dataclasses.fields(result) if one.name not in arrays
        }
        fields["memoryless"] = [None if math.isnan(one) else one for one in fields["memoryless"]]  # JSON has no NaN
        fields["diagnostics"], told = _side_by_side(result)
        row = (
            key,
            canonical(cell),
            result.agent,
            result.env_id,
            result.memory,
            result.task,
            result.lifetimes,
            str(result.seed),
            result.seconds,
            _now(),
            canonical(fields),
            *(_packed(getattr(result, name)) for name in ARRAYS),
            _packed(told),
        )
        with self._writing() as connection:
            self._refuse_stored(connection, key, cell)
            connection.execute(f"INSERT INTO cells VALUES ({', '.join('?' * len(row))})", row)
            self._forget_failures(connection, cell)
        return key

    def link(self, protocol: str, keys: Iterable[str]) -> None:
        """Note that a protocol asked for cells; those that it is known to have asked for change nothing.

        What it asked for earlier and what neither a result nor a failure has become of is forgotten: since then the
        code may have changed, and with it the keys.

        Args:
            protocol: its id, such as ``core-v1``.
            keys: of the cells, stored or not.

        Raises:
            ValueError: the protocol has no name.
            StoreError: the file is open for reading only.
        """
        if not isinstance(protocol, str) or not protocol:
            raise ValueError(f"protocol must be a name such as 'core-v1', received {protocol!r}.")
        rows = [(protocol, key) for key in keys]
        with self._writing() as connection:
            connection.execute(
                "DELETE FROM protocols WHERE protocol=? "
                "AND key NOT IN (SELECT key FROM cells UNION SELECT key FROM failures)",
                (protocol,),
            )
            connection.executemany("INSERT OR IGNORE INTO protocols VALUES (?, ?)", rows)

    def fail(self, cell: Mapping[str, Any], error: str) -> str:
        """Note that a cell raised, in place of what was noted about it before.

        Args:
            cell: what would have decided the result.
            error: the traceback.

        Returns:
            The cell's key.

        Raises:
            StoreError: the file is open for reading only, or the cell's result is stored.
        """
        key = cell_key(cell)
        with self._writing() as connection:
            self._refuse_stored(connection, key, cell)
            self._forget_failures(connection, cell)
            connection.execute("INSERT INTO failures VALUES (?, ?, ?, ?)", (key, canonical(cell), error, _now()))
        return key

    def _refuse_stored(self, connection: sqlite3.Connection, key: str, cell: Mapping[str, Any]) -> None:
        if connection.execute("SELECT 1 FROM cells WHERE key=?", (key,)).fetchone() is not None:
            raise StoreError(f"{self.path} holds this cell already: {canonical(cell)}.")

    @staticmethod
    def _forget_failures(connection: sqlite3.Connection, cell: Mapping[str, Any]) -> None:
        """Remove the failures of a cell, also those of older code: who mends an agent need not hear of it again."""
        same = canonical({name: value for name, value in cell.items() if name not in ("version", "code")})
        connection.execute("DELETE FROM failures WHERE json_remove(cell, '$.version', '$.code')=?", (same,))

    def close(self) -> None:
        """Close the file; closing twice does no harm."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
