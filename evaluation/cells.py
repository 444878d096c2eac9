"""Cells: single evaluations as plain values, and the code that their results depend on.

A cell is everything that decides a result: the arguments of `daytwo.evaluate`, the version of DayTwo, and hashes of
the code. So a stored result is used again only where computing it anew would give the same.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import daytwo
from daytwo.agent import agent_folders, agent_modules, agent_names, checkpoint_module, find_checkpoint
from daytwo.course import Course
from daytwo.evaluation.running import ROLES, Result, evaluate
from daytwo.evaluation.store import cell_key, plain
from daytwo.family import TaskFamily
from daytwo.registration import family_class


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


# Parts of the hub that show or tell lifetimes, check families or teach in training, and decide no result.
_SHOWING = (
    "__main__.py",
    "command_line.py",
    "conformance.py",
    "narration.py",
    "pictures.py",
    "teacher.py",
    "teacher_rules.py",
    "teaching.py",
    "viewing.py",
)


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


def _agent_part(agent: str, family: type[TaskFamily], env_id: str) -> str:
    """A hash of the code of an agent, or of a checkpoint and of the code that loads it."""
    checkpoint = None if agent in agent_names() else find_checkpoint(agent)
    if checkpoint is not None:
        return _hash_of([_contents(checkpoint), _module_part(checkpoint_module(checkpoint))])
    folders = agent_folders(agent, env_id)
    if folders:
        loaders = [_module_part(module) for module in sorted({checkpoint_module(folder) for folder in folders})]
        return _hash_of([*map(_contents, folders), *loaders, _baselines_part()])
    modules = agent_modules(getattr(family, agent) if agent in ROLES and agent not in agent_names() else agent)
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
    parts = [_environment_part(), _agent_part(agent, family, env_id)]
    if not family.__module__.startswith("daytwo.envs."):
        parts.append(_module_part(family.__module__))
    return "-".join(parts)


def environment_code(code: str) -> str:
    """The part of a `code_fingerprint` that results must share to be comparable."""
    return code.partition("-")[0]


def family_code(code: str) -> str:
    """The part of a `code_fingerprint` that results on a family from outside must share, too; "" on our own."""
    return code.partition("-")[2].partition("-")[2]


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
