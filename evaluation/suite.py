"""Suites: many evaluations, spread over processes, each stored the moment it is finished.

The parent process alone writes the `daytwo.evaluation.store.Store`; workers only compute. A run that is stopped,
however it is stopped, is resumed by running it again: cells that are stored are skipped.
"""

import ast
import dataclasses
import functools
import hashlib
import inspect
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import daytwo
from daytwo.agent import agent_names, fitting_agents, load
from daytwo.course import Course
from daytwo.evaluation.running import Result, evaluate
from daytwo.evaluation.store import Store, cell_key, plain
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


@functools.cache
def _package_code() -> str:
    """A hash of the source that decides results: the hub, the families, the baselines and the runner."""
    import daytwo.baselines
    import daytwo.envs
    from daytwo.evaluation import running

    digest = hashlib.sha256()
    folders = [Path(module.__file__ or "").parent for module in (daytwo, daytwo.envs, daytwo.baselines)]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))] + [Path(running.__file__)]
    for file in files:
        digest.update(f"{file.parent.name}/{file.name}\n{_code_of(file.read_text())}\n".encode())
    return digest.hexdigest()[:16]


@functools.cache
def _outside_code(entry_point: str) -> str:
    """A hash of the module of a user's own ``"module:Class"``."""
    loaded = load(entry_point)
    try:
        source = inspect.getsource(sys.modules[loaded.__module__])
    except (OSError, TypeError, KeyError):
        return ""
    return hashlib.sha256(_code_of(source).encode()).hexdigest()[:16]


def _contents(path: Path) -> str:
    """A hash of a file, or of all files of a folder: a checkpoint that is trained further is another agent."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\n".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def code_fingerprint(agent: str, env_id: str) -> str:
    """A hash of the source code, and of the checkpoint, that a result depends on.

    Changes in comments, docstrings and layout leave it alone.
    Stored results are resumed only where it is the same, so that no figure of an older code passes for a new one.
    """
    parts = [_package_code()]
    for name in (agent, env_id):
        if name in agent_names() or name in env_ids():
            continue
        if Path(name).exists():
            parts.append(_contents(Path(name)))
        elif ":" in name and "/" not in name:
            parts.append(_outside_code(name))
    return "-".join(parts)


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

    def __post_init__(self) -> None:
        for name in ("agent", "env_id"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(
                    f"A cell's {name} must be a name or 'module:Class', so that it can be stored and sent to other "
                    f"processes; received {getattr(self, name)!r}."
                )

    def describe(self) -> dict[str, Any]:
        """What decides the result, as plain values: the cell's identity in a store."""
        identity = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "steps"}
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


# --- running them ---------------------------------------------------------------------------------------------------


class _Schedule:
    """Hands out the cells, longest first, and learns how long they take from those that are finished.

    An agent may be a thousand times slower than another, which nobody can know beforehand: until one cell of an
    (agent, environment) is finished, its cells count as slow as the slowest pair known. Long cells begun early keep
    all processes busy to the end.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.waiting = list(cells)
        self.running: list[Cell] = []
        self.rates: dict[tuple[str, str], float] = {}
        self.lock = threading.Lock()  # joblib asks for the next cell from a thread of its own

    def _seconds(self, cell: Cell, unknown: float) -> float:
        return cell.steps * self.rates.get((cell.agent, cell.env_id), unknown)

    def __iter__(self) -> Iterator[Cell]:
        while True:
            with self.lock:
                if not self.waiting:
                    return
                slowest = max(self.rates.values(), default=1.0)
                begun = {(cell.agent, cell.env_id) for cell in self.running}
                # Of a pair that is being measured for the first time, further cells wait for what it shows.
                best = max(
                    self.waiting,
                    key=lambda cell: (
                        (cell.agent, cell.env_id) in self.rates or (cell.agent, cell.env_id) not in begun,
                        self._seconds(cell, slowest),
                    ),
                )
                self.waiting.remove(best)
                self.running.append(best)
            yield best

    def finished(self, cell: Cell, seconds: float) -> None:
        with self.lock:
            self.running.remove(cell)
            self.rates[cell.agent, cell.env_id] = seconds / cell.steps

    def seconds_left(self, jobs: int) -> float | None:
        """Rough seconds until all is done; None before anything is known."""
        with self.lock:
            if not self.rates:
                return None
            mean = sum(self.rates.values()) / len(self.rates)
            left = [self._seconds(cell, mean) for cell in (*self.waiting, *self.running)]
            return max(sum(left) / jobs, max(left, default=0.0))


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


def _compute(cell: Cell) -> tuple[Cell, Result | None, str, float]:
    """Compute a cell in a worker; an error is handed back as text, so that it stops no other cell."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    began = time.perf_counter()
    try:
        result, error = cell.evaluate(), ""
    except Exception:
        result, error = None, traceback.format_exc()
    return cell, result, error, time.perf_counter() - began


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


def _spread(
    schedule: _Schedule, jobs: int, backend: str, compute: Callable[[Cell], tuple]
) -> Generator[tuple[Cell, Result | None, str, float], None, None]:
    """Results as they are finished, in any order."""
    if jobs == 1 and backend == "loky":
        yield from map(compute, schedule)
        return
    import joblib

    options: dict[str, Any] = {"initializer": _begin_worker, "inner_max_num_threads": 1} if backend == "loky" else {}
    with joblib.parallel_config(backend=backend, n_jobs=jobs, **options):
        # One cell at a time and none ahead of time: the schedule decides late, when it knows most.
        parallel = joblib.Parallel(return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
        finished = parallel(joblib.delayed(compute)(cell) for cell in schedule)
        try:
            yield from finished
        finally:
            finished.close()


class _Bar:
    """Progress on a terminal, or a line now and then where there is none."""

    def __init__(self, on: bool, cells: int, skipped: int) -> None:
        self.on, self.cells, self.done = on, cells, 0
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
            TextColumn("{task.description}"),
            console=self.console,
        )
        self.task = self.progress.add_task("", total=cells, left="")
        self.said = time.monotonic()

    def __enter__(self) -> "_Bar":
        if self.on and self.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.on and self.console.is_terminal:
            self.progress.stop()

    def show(self, label: str, left: float | None) -> None:
        self.done += 1
        if not self.on:
            return
        words = "" if left is None else f"about {int(left // 60)}:{int(left % 60):02d} left"
        self.progress.update(self.task, completed=self.done, description=label, left=words)
        if not self.console.is_terminal and (time.monotonic() - self.said > 15.0 or self.done == self.cells):
            self.said = time.monotonic()
            self.console.print(f"{self.done}/{self.cells} evaluations, {words}", highlight=False)

    def say(self, text: str) -> None:
        if self.on:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def run_suite(
    cells: Iterable[Cell],
    store: Store | str | os.PathLike[str],
    jobs: int | None = None,
    progress: bool = True,
    backend: str = "loky",
) -> Outcome:
    """Compute the cells that are not stored yet and store each the moment it is finished.

    Args:
        cells: what to compute; equal cells are computed once.
        store: an open `Store`, or the path of one.
        jobs: processes; as many as there are cores by default. With 1 everything runs in this process.
        progress: show a progress bar on standard error.
        backend: joblib's backend: ``"loky"`` for local processes, ``"ray"`` after
            ``ray.util.joblib.register_ray()`` for a cluster.

    Returns:
        An `Outcome`. Cells that raised are in its ``failures``.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after saying how to resume; what was finished is stored.
        daytwo.evaluation.store.StoreError: the store cannot be written.
    """
    if jobs is None:
        import joblib

        jobs = joblib.cpu_count()
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs must be an integer of at least 1, received {jobs!r}.")
    if not isinstance(store, Store):
        with Store(store, write=True) as opened:
            return run_suite(cells, opened, jobs, progress, backend)
    began = time.perf_counter()
    by_key = {cell.key: cell for cell in cells}
    stored = store.keys()
    waiting = [cell for key, cell in by_key.items() if key not in stored]
    schedule = _Schedule(waiting)
    failures: list[tuple[Cell, str]] = []
    computed = 0
    with _Bar(progress, len(waiting), len(by_key) - len(waiting)) as bar:
        finished = _spread(schedule, min(jobs, max(len(waiting), 1)), backend, _compute)
        try:
            for cell, result, error, seconds in finished:
                if result is None:
                    reason = error.strip().splitlines()[-1]
                    if all(one.agent != cell.agent or reason not in text for one, text in failures):
                        bar.say(f"FAILED {cell.label}: {reason}")
                    failures.append((cell, error))
                else:
                    store.add(cell.describe(), result)
                    computed += 1
                schedule.finished(cell, seconds)
                bar.show(cell.label, schedule.seconds_left(jobs))
        except KeyboardInterrupt:
            bar.say(
                f"Stopped: {len(by_key) - len(waiting) + computed} of {len(by_key)} evaluations are stored in "
                f"{store.path}. Run the same command again to resume."
            )
            raise
        finally:
            finished.close()
    return Outcome(computed, len(by_key) - len(waiting), tuple(failures), time.perf_counter() - began)
