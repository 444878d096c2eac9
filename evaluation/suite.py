"""Suites: many evaluations, spread over processes or a Ray cluster, each stored the moment it is finished.

The parent process alone writes the `daytwo.evaluation.store.Store`; workers only compute. A run that is stopped,
however it is stopped, is resumed by running it again: cells that are stored are skipped. A cell that raises, or that
takes its process down with it, is noted in the store as failed, stops no other, and is tried again by the next run.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from daytwo.evaluation.cells import Cell
from daytwo.evaluation.store import Store, cell_key
from daytwo.evaluation.workers import Schedule, import_ray, make_workers, spread


@dataclass(frozen=True)
class Outcome:
    """What a run of a suite did.

    Attributes:
        computed: how many cells were computed and stored.
        skipped: how many were stored already.
        failures: (cell, traceback) of those that raised; the others were stored all the same.
        seconds: wall time.
    """

    computed: int
    skipped: int
    failures: tuple[tuple[Cell, str], ...] = field(repr=False)
    seconds: float


class _TimeLeft:
    """The time left in words, which go on counting down until there is a better estimate."""

    def __init__(self, seconds: float | None) -> None:
        self.until = None if seconds is None else time.monotonic() + seconds

    def __str__(self) -> str:
        if self.until is None:
            return "time left not known yet"
        minutes, seconds = divmod(max(round(self.until - time.monotonic()), 1), 60)
        hours, minutes = divmod(minutes, 60)
        return f"about {hours}:{minutes:02d}:{seconds:02d} left" if hours else f"about {minutes}:{seconds:02d} left"


class _Bar:
    """Progress on a terminal, or a line now and then where there is none."""

    def __init__(self, on: bool, cells: int, skipped: int) -> None:
        self.on, self.cells, self.done, self.failed = on, cells, 0, 0
        if not on:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.console = Console(stderr=True)
        if skipped:
            self.console.print(f"{skipped} of {skipped + cells} evaluations are stored already and are skipped.")
        self.progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[failed]}", style="red"),
            TextColumn("{task.description}"),
            console=self.console,
        )
        self.task = self.progress.add_task("", total=cells, left=_TimeLeft(None), failed="")
        self.said = time.monotonic()

    def __enter__(self) -> "_Bar":
        if self.on and self.cells and self.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.on and self.cells and self.console.is_terminal:
            self.progress.stop()

    def show(self, label: str, left: float | None, *, failed: bool) -> None:
        """One more cell is done.

        Args:
            label: of the cell.
            left: rough seconds until all are.
            failed: it gave no result.
        """
        self.done += 1
        self.failed += failed
        if not self.on:
            return
        words: Any = _TimeLeft(left) if self.done < self.cells else ""
        failures = f"{self.failed} failed" if self.failed else ""
        self.progress.update(self.task, completed=self.done, description=label, left=words, failed=failures)
        if not self.console.is_terminal and (time.monotonic() - self.said > 15.0 or self.done == self.cells):
            self.said = time.monotonic()
            text = ", ".join(filter(None, (f"{self.done}/{self.cells} evaluations", failures, str(words))))
            self.console.print(text, highlight=False)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.on:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def run_suite(
    cells: Iterable[Cell],
    store: Store | str | os.PathLike[str],
    jobs: int | None = None,
    progress: bool = True,
    backend: str = "loky",
    address: str | None = None,
) -> Outcome:
    """Compute the cells that are not stored yet and store each the moment it is finished.

    A cell that raises is noted in the store with its traceback (`Store.failures`), and so is one that twice takes the
    process that computes it down with it (by a segmentation fault, by ``os._exit``, or for want of memory); the others
    go on, and the next run tries it again. Which protocol asked for a cell is noted, too (`Store.protocols`).

    Args:
        cells: what to compute; equal cells are computed once.
        store: an open `Store`, or the path of one.
        jobs: how many cells at a time; by default as many as there are cores here, or in the cluster. With 1 and
            ``"loky"`` everything runs in this process, which is best for a debugger, but a cell that crashes takes
            the run down with it (nothing that is stored is lost; the next run tries that cell again).
        progress: show a progress bar on standard error.
        backend: ``"loky"`` for processes of this machine, ``"ray"`` for a Ray cluster, whose machines need the same
            version of daytwo, and of the agents and environments that are not part of it.
        address: of the Ray cluster; ``"auto"`` for the one that runs on this machine, ``"local"`` for a new one on it.
            By default the environment variable ``RAY_ADDRESS``, or else ``"local"``; a connection that this process
            has to Ray already is used as it is.

    Returns:
        An `Outcome`. Cells that failed are in its ``failures``.

    Raises:
        ValueError: ``jobs`` or ``backend`` is not one of the above, or a cell names an unknown environment or class.
        ImportError: Ray is asked for and not installed.
        KeyboardInterrupt: on Ctrl-C, after saying how to resume; what was finished is stored.
        daytwo.evaluation.store.StoreError: the store cannot be written.
    """
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise ValueError(f"jobs must be an integer of at least 1, received {jobs!r}.")
    if backend not in ("loky", "ray"):
        raise ValueError(f"backend must be 'loky' or 'ray', received {backend!r}.")
    if address is not None and backend != "ray":
        raise ValueError(f"address goes with backend='ray', received address={address!r} with backend={backend!r}.")
    if backend == "ray":
        import_ray()
    if not isinstance(store, Store):
        with Store(store, write=True) as opened:
            return run_suite(cells, opened, jobs, progress, backend, address)
    began = time.perf_counter()
    wanted: dict[str, Cell] = {}
    descriptions: dict[str, dict[str, Any]] = {}
    asked: dict[str, set[str]] = {}
    for cell in cells:
        # Once, when the run begins: an agent that is trained on meanwhile is another one, and refused by the worker.
        description = cell.describe()
        key = cell_key(description)
        wanted.setdefault(key, cell)
        descriptions[key] = description
        if cell.protocol:
            asked.setdefault(cell.protocol, set()).add(key)
    for protocol, keys in asked.items():
        store.link(protocol, keys)
    stored = store.keys()
    waiting = {key: cell for key, cell in wanted.items() if key not in stored}
    skipped = len(wanted) - len(waiting)
    failures: list[tuple[Cell, str]] = []
    computed = 0
    with _Bar(progress, len(waiting), skipped) as bar:
        if not waiting:
            return Outcome(0, skipped, (), time.perf_counter() - began)
        schedule = Schedule(waiting)
        workers = make_workers(backend, jobs, len(waiting), address)
        try:
            for answer in spread(schedule, workers):
                cell = waiting[answer.key]
                if answer.result is None:
                    reason = answer.error.strip().splitlines()[-1]
                    if all(one.agent != cell.agent or reason not in text for one, text in failures):
                        bar.say(f"FAILED {cell.label}: {reason}")
                    store.fail(descriptions[answer.key], answer.error)
                    failures.append((cell, answer.error))
                else:
                    store.add(descriptions[answer.key], answer.result)
                    computed += 1
                schedule.finished(answer.key, answer.seconds)
                bar.show(cell.label, schedule.seconds_left(workers.capacity()), failed=answer.result is None)
        except KeyboardInterrupt:
            bar.say(
                f"Stopped: {skipped + computed} of {len(wanted)} evaluations are stored in "
                f"{store.path}. Run the same command again to resume."
            )
            raise
        finally:
            workers.close()
    return Outcome(computed, skipped, tuple(failures), time.perf_counter() - began)
