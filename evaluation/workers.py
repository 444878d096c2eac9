"""Workers: where the cells of a suite are computed, and in which order.

This process, processes of this machine, or a Ray cluster: all answer alike, and a process that dies takes no cell but
its own with it.
"""

import dataclasses
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from daytwo.evaluation.cells import Cell
from daytwo.evaluation.running import Result

# --- in which order -------------------------------------------------------------------------------------------------


class Schedule:
    """Hands out the cells, longest first, and learns how long they take from those that are finished.

    An agent may be a thousand times slower than another, which nobody can know beforehand: until one cell of an
    (agent, environment) is finished, its cells count as slow as the slowest pair known. Long cells begun early keep
    all processes busy to the end.
    """

    def __init__(self, cells: Mapping[str, Cell]) -> None:
        """Plan to compute cells, given by their keys."""
        self.cells = dict(cells)
        self.waiting = list(cells)
        self.running: dict[str, float] = {}  # when it was begun
        self.rates: dict[tuple[str, str], float] = {}

    def _pair(self, key: str) -> tuple[str, str]:
        return self.cells[key].agent, self.cells[key].env_id

    def _seconds(self, key: str, unknown: float) -> float:
        return self.cells[key].steps * self.rates.get(self._pair(key), unknown)

    def take(self) -> str | None:
        """The key of the cell to begin now; None when all have been begun."""
        if not self.waiting:
            return None
        slowest = max(self.rates.values(), default=1.0)
        begun = {self._pair(key) for key in self.running}
        # Of a pair that is being measured for the first time, further cells wait for what it shows.
        best = max(
            self.waiting,
            key=lambda key: (
                self._pair(key) in self.rates or self._pair(key) not in begun,
                self._seconds(key, slowest),
            ),
        )
        self.waiting.remove(best)
        self.running[best] = time.monotonic()
        return best

    def finished(self, key: str, seconds: float) -> None:
        """Note how long a cell took."""
        del self.running[key]
        self.rates[self._pair(key)] = seconds / self.cells[key].steps

    def seconds_left(self, jobs: int) -> float | None:
        """Rough seconds until all is done; None before anything is known."""
        if not self.rates:
            return None
        now, mean = time.monotonic(), sum(self.rates.values()) / len(self.rates)
        left = [self._seconds(key, mean) for key in self.waiting]
        left += [max(self._seconds(key, mean) - (now - began), 0.0) for key, began in self.running.items()]
        return max(sum(left) / jobs, max(left, default=0.0))


# --- where ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What became of a cell: its result or an error.

    Attributes:
        key: of the cell.
        result: None if there is none.
        error: the traceback, or what is known of the end of the process.
        seconds: wall time.
        died: the process that ran it ended without an answer.
    """

    key: str
    result: Result | None
    error: str
    seconds: float
    died: bool = False


class Workers(Protocol):
    """Where cells are computed."""

    @property
    def busy(self) -> int:
        """How many cells are being computed."""

    def capacity(self) -> int:
        """How many can be computed at a time."""

    def begin(self, key: str, cell: Cell) -> None:
        """Begin to compute a cell; called only while fewer than `capacity` are in work."""

    def finished(self) -> Iterator[Answer]:
        """Wait a while for cells, and say what became of those that are done, if any."""

    def release(self) -> None:
        """Give back memory that is not needed, while no cell is in work."""

    def close(self) -> None:
        """Stop at once whatever still runs."""


def compute(cell: Cell, key: str) -> tuple[Result | None, str, float]:
    """Compute a cell; an error is handed back as text, so that it stops no other cell.

    Args:
        cell: what to compute.
        key: its key where the result will be stored.

    Returns:
        The result or None, the traceback or "", and the seconds it took.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    began = time.perf_counter()
    try:
        if cell.key != key:
            raise RuntimeError(
                "This process has another code of daytwo, of the agent or of the environment than the one that stores "
                "the results: were files changed since the run began, or do the machines of the cluster differ?"
            )
        result, error = cell.evaluate(), ""
    except (Exception, SystemExit):
        result, error = None, traceback.format_exc()
    return result, error, time.perf_counter() - began


class _Here:
    """This process, one cell at a time."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, Cell]] = []

    @property
    def busy(self) -> int:
        return len(self.begun)

    def capacity(self) -> int:
        return 1

    def begin(self, key: str, cell: Cell) -> None:
        self.begun.append((key, cell))

    def finished(self) -> Iterator[Answer]:
        key, cell = self.begun.pop()
        yield Answer(key, *compute(cell, key))

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass


# Libraries that would each begin as many threads as there are cores, in each of as many processes.
_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA")


def _begin_worker() -> None:
    """Workers leave Ctrl-C to their parent, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()


class _Processes:
    """Processes of this machine, each of which is a pool of its own: one that dies takes no other cell with it."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.idle: list[Any] = []
        self.running: dict[Future, tuple[str, Any, float]] = {}

    @property
    def busy(self) -> int:
        return len(self.running)

    def capacity(self) -> int:
        return self.jobs

    def begin(self, key: str, cell: Cell) -> None:
        pool = self.idle.pop() if self.idle else self._pool()
        self.running[pool.submit(compute, cell, key)] = (key, pool, time.perf_counter())

    @staticmethod
    def _pool() -> Any:
        # Loky's processes do not import the user's script again, so it needs no guard against that.
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        environment = {f"{name}_NUM_THREADS": "1" for name in _THREADS}
        return ProcessPoolExecutor(max_workers=1, initializer=_begin_worker, env=environment)

    def finished(self) -> Iterator[Answer]:
        for future in wait(self.running, return_when=FIRST_COMPLETED).done:
            key, pool, began = self.running.pop(future)
            try:
                answer = Answer(key, *future.result())
            except BrokenExecutor as error:
                pool.shutdown(kill_workers=True)
                codes = re.findall(r"\w+\(-?\d+\)", str(error))  # such as SIGSEGV(-11)
                how = f"it ended with {codes[0]}" if codes else str(error)
                answer = Answer(key, None, how, time.perf_counter() - began, died=True)
            else:
                self.idle.append(pool)
            yield answer

    def release(self) -> None:
        while self.idle:
            self.idle.pop().shutdown(kill_workers=True)

    def close(self) -> None:
        for _, pool, _ in self.running.values():
            pool.shutdown(kill_workers=True)
        self.running.clear()
        self.release()


def import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError("backend='ray' needs Ray: pip install 'daytwo[ray]'.") from error
    return ray


_MOST_MACHINES_LOST = 3  # that a cell can run on before it is held to be the cause


class _Ray:
    """A Ray cluster, every cell a task on one of its processors.

    Joblib's own backend for Ray cannot hand back results as they are finished, and its actors are not replaced when
    they die. Tasks are placed anew every time, so machines may come and go.
    """

    def __init__(self, jobs: int | None, address: str | None) -> None:
        self.ray = import_ray()
        self.connected_here = address is not None or not self.ray.is_initialized()
        if self.connected_here:
            # Left to itself, Ray would wait minutes for whichever cluster ran on this machine last.
            address = address or os.environ.get("RAY_ADDRESS") or "local"
            self.ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        self.jobs = jobs
        # Ray itself would try cells that die again and again, and those that lack memory without end.
        self.task = self.ray.remote(num_cpus=1, max_retries=0)(compute)
        self.running: dict[Any, tuple[str, Cell, float]] = {}
        self.lost: Counter[str] = Counter()

    @property
    def busy(self) -> int:
        return len(self.running)

    def capacity(self) -> int:
        if self.jobs is not None:
            return self.jobs
        return max(1, int(self.ray.cluster_resources().get("CPU", 0)))

    def begin(self, key: str, cell: Cell) -> None:
        self.running[self.task.remote(cell, key)] = (key, cell, time.perf_counter())

    def finished(self) -> Iterator[Answer]:
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError

        # Not without end: machines that join are given cells, too.
        done, _ = self.ray.wait(list(self.running), timeout=5.0)
        for reference in done:
            key, cell, began = self.running.pop(reference)
            try:
                answer = Answer(key, *self.ray.get(reference))
            except RayError as error:
                if isinstance(error, NodeDiedError) and self.lost[key] < _MOST_MACHINES_LOST:
                    # The machine went away, which says nothing about the cell.
                    self.lost[key] += 1
                    self.begin(key, cell)
                    continue
                died = isinstance(error, NodeDiedError | OutOfMemoryError | WorkerCrashedError)
                answer = Answer(key, None, str(error), time.perf_counter() - began, died)
            yield answer

    def release(self) -> None:
        pass

    def close(self) -> None:
        for reference in self.running:
            self.ray.cancel(reference, force=True)
        self.running.clear()
        if self.connected_here:
            self.ray.shutdown()


def spread(schedule: Schedule, workers: Workers) -> Iterator[Answer]:
    """Answers as they come, in any order.

    A cell whose process died is computed once more, alone, when all the others are done. If it was only short of
    memory it has all of it then; if it dies again, that is its own doing.
    """
    again: list[str] = []
    while True:
        while workers.busy < workers.capacity() and (key := schedule.take()) is not None:
            workers.begin(key, schedule.cells[key])
        if not workers.busy:
            break
        for answer in workers.finished():
            if answer.died:
                again.append(answer.key)
            else:
                yield answer
    workers.release()
    for key in again:
        workers.begin(key, schedule.cells[key])
        while workers.busy:
            for answer in workers.finished():
                if answer.died:
                    error = f"The process that ran it died, also when it ran alone: {answer.error}"
                    answer = dataclasses.replace(answer, error=error)
                yield answer


def make_workers(backend: str, jobs: int | None, cells: int, address: str | None) -> Workers:
    if backend == "ray":
        return _Ray(jobs, address)
    if jobs is None:
        import joblib

        jobs = joblib.cpu_count()
    # Not counted by the cells: where the caller has asked for processes, a cell that dies takes only its own down.
    return _Here() if jobs == 1 else _Processes(min(jobs, cells))
