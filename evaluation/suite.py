"""Suites: many evaluations, spread over processes or a Ray cluster, each stored the moment it is finished.

The parent process alone writes the `daytwo.evaluation.store.Store`; workers only compute. A run that is stopped,
however it is stopped, is resumed by running it again: cells that are stored are skipped. A cell that raises, or that
takes its process down with it, is noted in the store as failed, stops no other, and is tried again by the next run.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import json
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import daytwo
from daytwo.agent import _agents, _checkpoint_kinds, agent_names, find_checkpoint, fitting_agents, load
from daytwo.course import Course
from daytwo.evaluation.running import ROLES, Result, evaluate
from daytwo.evaluation.store import Store, cell_key, plain
from daytwo.family import TaskFamily
from daytwo.lifetime import LifetimeVectorEnv
from daytwo.registration import env_ids, family_class

CONDITIONS = (("kept", "fixed"), ("wiped", "fixed"), ("kept", "redrawn"))


# --- cells ----------------------------------------------------------------------------------------------------------


def _code_of(source: str) -> str:
    """Source code as its syntax tree without docstrings, so that words and layout may change freely."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False)


def _hash_of(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _texts_of(files: Iterable[Path]) -> Iterator[str]:
    """Each file's name and what counts in it: the code of Python files, every byte of others."""
    for file in files:
        text = file.read_text()
        yield f"{file.parent.name}/{file.name}\n{_code_of(text) if file.suffix == '.py' else text}"


# Parts of the hub that show lifetimes, or check families, and decide no result.
_SHOWING = ("__main__.py", "command_line.py", "conformance.py", "pictures.py", "viewing.py")


@functools.cache
def _environment_part() -> str:
    """A hash of what decides how lifetimes go and are recorded: the hub, the families, the runner, and their tables."""
    import daytwo.envs
    from daytwo.evaluation import rungs, running

    hub, families = (Path(module.__file__ or "").parent for module in (daytwo, daytwo.envs))
    return _hash_of(
        _texts_of(
            [
                *(file for file in sorted(hub.glob("*.py")) if file.name not in _SHOWING),
                *sorted([*families.glob("*.py"), *families.glob("*.json")]),
                Path(running.__file__),
                Path(rungs.__file__),
                rungs.TABLE,
            ]
        )
    )


@functools.cache
def _baselines_part() -> str:
    """A hash of the baselines and of the options that were tuned for them."""
    import daytwo.baselines

    folder = Path(daytwo.baselines.__file__ or "").parent
    return _hash_of(_texts_of(sorted([*folder.glob("*.py"), *folder.glob("*.json")])))


@functools.cache
def _module_part(module: str) -> str:
    """A hash of the code of a module outside this package, or ``"unknown"`` where it has no source."""
    try:
        if module in sys.modules:
            return _hash_of([_code_of(inspect.getsource(sys.modules[module]))])
        found = importlib.util.find_spec(module)
        return _hash_of(_texts_of([Path(found.origin or "")])) if found is not None else "unknown"
    except (OSError, TypeError, ValueError, ImportError):
        return "unknown"


def _contents(path: Path) -> str:
    """A hash of a file, or of all files of a folder: a checkpoint that is trained further is another agent."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _loader_of(checkpoint: Path) -> str:
    """The module that loads a checkpoint; "" where it does not say."""
    try:
        kind = json.loads((checkpoint / "config.json").read_text())["agent"]
    except (ValueError, KeyError, TypeError):
        return ""
    return _checkpoint_kinds.get(kind, "").partition(":")[0]


def _modules_of(agent: Any) -> set[str]:
    """The modules that define an agent, given by name, ``"module:Class"`` or class."""
    if isinstance(agent, type):
        return {agent.__module__}
    if agent in _agents:
        return {entry.partition(":")[0] for entry in _agents[agent]}
    return {load(agent).__module__} if isinstance(agent, str) and ":" in agent else set()


def _agent_part(agent: str, family: type[TaskFamily]) -> str:
    """A hash of the code of an agent, or of a checkpoint and of the code that loads it."""
    checkpoint = None if agent in _agents else find_checkpoint(agent)
    if checkpoint is not None:
        return _hash_of([_contents(checkpoint), _module_part(_loader_of(checkpoint))])
    modules = _modules_of(getattr(family, agent) if agent in ROLES and agent not in _agents else agent)
    outside = sorted(module for module in modules if not module.startswith("daytwo.baselines."))
    if not outside:
        return _baselines_part()
    parts = [_module_part(module) for module in outside]
    return _hash_of([*parts, _baselines_part()] if len(outside) < len(modules) else parts)


def code_fingerprint(agent: str, env_id: str) -> str:
    """Hashes of the source code, and of the checkpoint, that a result depends on: ``"<environment>-<agent>"``.

    The first part is of the code that decides how lifetimes go and are recorded, and is the same for all cells that
    are computed with it; the second of the agent's. A family that is not of this package adds a third, of its module.
    Changes in comments, docstrings and layout leave all of them alone. Stored results are resumed only where the
    whole is the same, so that no figure of an older code passes for a new one.

    Raises:
        ValueError: there is no such family, or no such ``"module:Class"``.
    """
    family = family_class(env_id)
    parts = [_environment_part(), _agent_part(agent, family)]
    if not family.__module__.startswith("daytwo.envs."):
        parts.append(_module_part(family.__module__))
    return "-".join(parts)


def environment_code(code: str) -> str:
    """The part of a `code_fingerprint` that results must share to be comparable."""
    return code.partition("-")[0]


@dataclass(frozen=True)
class Cell:
    """One evaluation of a suite: the arguments of `daytwo.evaluate`, as plain values.

    Attributes:
        agent: a registered name or ``"module:Class"``.
        env_id: an environment's id, or ``"module:Class"`` of a family.
        settings: keyword arguments of the environment: ``course``, ``level``, ``episodes``, family settings, ...
        memory: ``"kept"`` or ``"wiped"``.
        task: ``"fixed"`` or ``"redrawn"``.
        split: which tasks.
        lifetimes: how many.
        seed: of the evaluation.
        agent_options: keyword options of the agent.
        steps: environment steps it takes at most, for scheduling; decides nothing about the result.
        protocol: id of the protocol that asks for it, such as ``core-v1``; decides nothing about the result either, and
            a cell that several protocols ask for is computed once.
    """

    agent: str
    env_id: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    memory: str = "kept"
    task: str = "fixed"
    split: str = "test"
    lifetimes: int = 512
    seed: int = 0
    agent_options: Mapping[str, Any] = field(default_factory=dict)
    steps: float = field(default=1.0, compare=False)
    protocol: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("agent", "env_id"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(
                    f"A cell's {name} must be a name or 'module:Class', so that it can be stored and sent to other "
                    f"processes; received {getattr(self, name)!r}."
                )

    def describe(self) -> dict[str, Any]:
        """What decides the result, as plain values: the cell's identity in a store."""
        identity = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.compare}
        identity["settings"] = {"course": "progressive", **self.settings}  # said or left to the default: the same
        identity["version"] = daytwo.__version__
        identity["code"] = code_fingerprint(self.agent, self.env_id)
        return plain(identity)

    @property
    def key(self) -> str:
        """The cell's key in a store."""
        return cell_key(self.describe())

    @property
    def label(self) -> str:
        """The cell in a few words."""
        course = self.settings.get("course", "progressive")
        course = course.name if isinstance(course, Course) else course
        condition = {("kept", "fixed"): "", ("wiped", "fixed"): ", wiped", ("kept", "redrawn"): ", redrawn"}
        suffix = condition.get((self.memory, self.task), f", {self.memory}, {self.task}")
        return f"{self.agent} on {self.env_id} ({course}{suffix})"

    def evaluate(self) -> Result:
        """Compute it."""
        return evaluate(
            self.agent,
            self.env_id,
            lifetimes=self.lifetimes,
            seed=self.seed,
            memory=self.memory,
            task=self.task,
            split=self.split,
            agent_options=self.agent_options,
            **self.settings,
        )


def benchmark_cells(
    families: Sequence[str] | None = None,
    agents: Sequence[str] | None = None,
    courses: Sequence[str | Course] = ("progressive", "single"),
    *,
    lifetimes: int = 512,
    seed: int = 0,
    split: str = "test",
    conditions: Sequence[tuple[str, str]] = CONDITIONS,
    **settings: Any,
) -> list[Cell]:
    """The cells of a benchmark: every agent that fits on every family, each with its controls.

    Args:
        families: environment ids; all registered ones by default.
        agents: agent names or ``"module:Class"``; all registered ones by default. Those that are not meant for a
            family are left out there.
        courses: which courses; each has the family's own number of episodes per stage.
        lifetimes: per cell.
        seed: of the evaluation.
        split: which tasks; families with too few tasks to split are run on ``"all"``.
        conditions: pairs (memory, task): kept, the amnesiac twin, and the redrawn control by default.
        settings: further keyword arguments for every environment.

    Returns:
        The cells, longest first.

    Raises:
        ValueError: an unknown family or agent.
    """
    known = ("reference", "reactive", *agent_names())
    for agent in agents or ():
        if agent not in known and ":" not in agent:
            raise ValueError(f"Unknown agent {agent!r}: expected some of {', '.join(known)}, or module:Class.")
    cells = []
    for env_id in families or env_ids():
        family_class(env_id)  # an unknown id raises, naming those there are
        for course in courses:
            wanted = {"course": course, **settings}
            env = LifetimeVectorEnv(env_id, num_envs=1, **wanted)
            spec, splits = env.lifetime_spec, env.family.splits
            env.close()
            steps = sum(stage.episodes * spec.levels[stage.level].horizon for stage in spec.course.stages)
            named = [agent for agent in agents or () if agent not in known]
            for agent in (*fitting_agents(spec, None if agents is None else [a for a in agents if a in known]), *named):
                for memory, task in conditions:
                    cells.append(
                        Cell(
                            agent=agent,
                            env_id=env_id,
                            settings=wanted,
                            memory=memory,
                            task=task,
                            split=split if split in splits else "all",
                            lifetimes=lifetimes,
                            seed=seed,
                            steps=float(steps * lifetimes),
                        )
                    )
    return sorted(cells, key=lambda cell: -cell.steps)


# --- in which order -------------------------------------------------------------------------------------------------


class _Schedule:
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
class _Answer:
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


class _Workers(Protocol):
    """Where cells are computed."""

    @property
    def busy(self) -> int:
        """How many cells are being computed."""

    def capacity(self) -> int:
        """How many can be computed at a time."""

    def begin(self, key: str, cell: Cell) -> None:
        """Begin to compute a cell; called only while fewer than `capacity` are in work."""

    def finished(self) -> Iterator[_Answer]:
        """Wait a while for cells, and say what became of those that are done, if any."""

    def release(self) -> None:
        """Give back memory that is not needed, while no cell is in work."""

    def close(self) -> None:
        """Stop at once whatever still runs."""


def _compute(cell: Cell, key: str) -> tuple[Result | None, str, float]:
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

    def finished(self) -> Iterator[_Answer]:
        key, cell = self.begun.pop()
        yield _Answer(key, *_compute(cell, key))

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
        self.running[pool.submit(_compute, cell, key)] = (key, pool, time.perf_counter())

    @staticmethod
    def _pool() -> Any:
        # Loky's processes do not import the user's script again, so it needs no guard against that.
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        environment = {f"{name}_NUM_THREADS": "1" for name in _THREADS}
        return ProcessPoolExecutor(max_workers=1, initializer=_begin_worker, env=environment)

    def finished(self) -> Iterator[_Answer]:
        for future in wait(self.running, return_when=FIRST_COMPLETED).done:
            key, pool, began = self.running.pop(future)
            try:
                answer = _Answer(key, *future.result())
            except BrokenExecutor as error:
                pool.shutdown(kill_workers=True)
                codes = re.findall(r"\w+\(-?\d+\)", str(error))  # such as SIGSEGV(-11)
                how = f"it ended with {codes[0]}" if codes else str(error)
                answer = _Answer(key, None, how, time.perf_counter() - began, died=True)
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


def _import_ray() -> Any:
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
        self.ray = _import_ray()
        self.connected_here = address is not None or not self.ray.is_initialized()
        if self.connected_here:
            # Left to itself, Ray would wait minutes for whichever cluster ran on this machine last.
            address = address or os.environ.get("RAY_ADDRESS") or "local"
            self.ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        self.jobs = jobs
        # Ray itself would try cells that die again and again, and those that lack memory without end.
        self.task = self.ray.remote(num_cpus=1, max_retries=0)(_compute)
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

    def finished(self) -> Iterator[_Answer]:
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError

        # Not without end: machines that join are given cells, too.
        done, _ = self.ray.wait(list(self.running), timeout=5.0)
        for reference in done:
            key, cell, began = self.running.pop(reference)
            try:
                answer = _Answer(key, *self.ray.get(reference))
            except RayError as error:
                if isinstance(error, NodeDiedError) and self.lost[key] < _MOST_MACHINES_LOST:
                    # The machine went away, which says nothing about the cell.
                    self.lost[key] += 1
                    self.begin(key, cell)
                    continue
                died = isinstance(error, NodeDiedError | OutOfMemoryError | WorkerCrashedError)
                answer = _Answer(key, None, str(error), time.perf_counter() - began, died)
            yield answer

    def release(self) -> None:
        pass

    def close(self) -> None:
        for reference in self.running:
            self.ray.cancel(reference, force=True)
        self.running.clear()
        if self.connected_here:
            self.ray.shutdown()


def _spread(schedule: _Schedule, workers: _Workers) -> Iterator[_Answer]:
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


# --- running them ---------------------------------------------------------------------------------------------------


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


def _workers(backend: str, jobs: int | None, cells: int, address: str | None) -> _Workers:
    if backend == "ray":
        return _Ray(jobs, address)
    if jobs is None:
        import joblib

        jobs = joblib.cpu_count()
    # Not counted by the cells: where the caller has asked for processes, a cell that dies takes only its own down.
    return _Here() if jobs == 1 else _Processes(min(jobs, cells))


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
        _import_ray()
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
        schedule = _Schedule(waiting)
        workers = _workers(backend, jobs, len(waiting), address)
        try:
            for answer in _spread(schedule, workers):
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
