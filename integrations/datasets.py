"""Datasets of whole lifetimes for offline and in-context learning: `export_dataset` writes them, `load_dataset` reads.

A dataset is a folder of part files (Parquet or HDF5) or a Minari dataset, with a ``manifest.json`` that says how to
make it again. Lifetime l is the one that an evaluation of the same agent, environment, split and seed lives as its
lifetime l, so the returns in a dataset equal those of ``daytwo.evaluate``. Files appear whole or not at all:
a killed export loses the part in work, and the same call goes on where it was and ends with the same content.

`daytwo.integrations.histories` streams lifetimes into a training run without keeping them, of several agents mixed, and
with random actions put in; `LifetimeDataset.to_histories` gives a dataset's lifetimes in the same arrays.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib
import json
import os
import platform
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numba
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.agent import Agent, LifetimeSpec, agent_folders, find_checkpoint, make_agent
from daytwo.course import Course, is_course_file
from daytwo.integrations.histories import Histories
from daytwo.integrations.trainers import plain_settings
from daytwo.lifetime import LifetimeEnv, LifetimeVectorEnv
from daytwo.networks import describe_interface
from daytwo.registration import compound_ids, env_ids, family_class
from daytwo.streams import lifetime_seeds

FORMAT = 1
FILE_FORMATS = ("parquet", "hdf5", "minari")
# The files that a part is written to; a Minari dataset is put together from HDF5 parts in the end.
_SUFFIXES = {"parquet": "parquet", "hdf5": "hdf5", "minari": "hdf5"}
# A part holds about so many steps, which is what is in memory at a time, and at most so many lifetimes.
STEPS_IN_PART = 1 << 17
MOST_LIFETIMES_IN_PART = 1024
_HASH_BLOCK = 1 << 20


# --- what is written --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One value of every step.

    Attributes:
        name: of the column.
        dtype: NumPy's name of the type.
        shape: of one step's value; ``()`` for a number.
        unit: what it is counted in.
        meaning: in a sentence.
        privileged: it follows from the hidden task; an agent never sees it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    unit: str
    meaning: str
    privileged: bool = False


def dataset_columns(spec: LifetimeSpec, *, oracle_actions: bool = False) -> tuple[Column, ...]:
    """The columns of a dataset.

    Args:
        spec: of the lifetimes.
        oracle_actions: whether the oracle's actions are among them.

    Returns:
        In the order of the files. ``action_mask`` only where actions are discrete.
    """
    dtype, shape = ("float32", (spec.actions,)) if spec.continuous else ("int64", ())
    kind = "a vector in [-1, 1]" if spec.continuous else "counted from 0"
    columns = [
        Column("lifetime", "int64", (), "number", "which lifetime, counted from 0"),
        Column("episode", "int32", (), "number", "which episode of the lifetime, counted from 0"),
        Column("stage", "int32", (), "number", "which stage of the course, counted from 0, in lived order"),
        Column("level", "int32", (), "index", "the level of the episode"),
        Column("step", "int32", (), "steps", "which step of the episode, counted from 0"),
        Column("observation", "float32", (spec.layout.size,), "as interface says", "the row that the agent acted on"),
        Column("action", dtype, shape, "action", f"what was done, {kind}"),
        Column("raw_reward", "float64", (), "the family's own", "the family's reward of the step"),
        Column("reward", "float64", (), "normalised return", "the environment's reward of the step: improvement"),
        Column("episode_start", "bool", (), "flag", "an episode begins at the step"),
        Column("terminated", "bool", (), "flag", "the lifetime is over with the step"),
    ]
    if oracle_actions:
        meaning = f"what the oracle, which knows the hidden task, would have done, {kind}"
        columns.append(Column("oracle_action", dtype, shape, "action", meaning, privileged=True))
    if not spec.continuous:
        columns.append(Column("action_mask", "bool", (spec.actions,), "flag", "the actions that were offered"))
    return tuple(columns)


def live_part(
    env: LifetimeVectorEnv, agent: Agent, *, seeds: np.ndarray, first: int = 0, oracle_actions: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Let an agent live lifetimes to the end and record every step.

    Args:
        env: as many lifetimes as there are seeds, with autoreset disabled; privileged if the agent or the oracle's
            actions need it.
        agent: who lives them.
        seeds: one per lifetime, ``uint64[N]``.
        first: number of the first lifetime.
        oracle_actions: record what the oracle would have done, too.

    Returns:
        The columns of `dataset_columns`, the steps of one lifetime after those of another (``[S, ...]``); the steps of
        each lifetime, ``int64[N]``; and the last observation of each, ``float32[N, size]``.

    Raises:
        ValueError: the agent returns bad actions.
    """
    spec, lanes = env.lifetime_spec, len(seeds)
    observations, info = env.reset(seed=seeds)
    agent.begin(spec, seeds)
    if getattr(agent, "privileged", False):
        agent.attach(env)  # type: ignore[attr-defined]
    names = [column.name for column in dataset_columns(spec, oracle_actions=oracle_actions)]
    counted = ("lifetime", "episode", "stage", "level", "step")
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names if name not in counted}
    fresh, terminated = np.ones(lanes, dtype=np.bool_), np.zeros(lanes, dtype=np.bool_)
    starts, lived = fresh, []
    shape = (lanes, spec.course.episodes)
    levels, stages = np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int32)
    final = np.zeros_like(observations)
    while not terminated.all():
        lived.append(~terminated)
        kept["observation"].append(observations)
        kept["episode_start"].append(starts)
        if "action_mask" in kept:
            kept["action_mask"].append(info["action_mask"])
        if oracle_actions:
            kept["oracle_action"].append(env.oracle_actions())
        actions = np.array(agent.act(observations, fresh))  # a copy: agents may write into their array again
        observations, reward, over, _, info = env.step(actions)
        kept["action"].append(actions)
        kept["raw_reward"].append(info["raw_reward"])
        kept["reward"].append(reward)
        kept["terminated"].append(over)
        fresh = np.zeros(lanes, dtype=np.bool_)
        final[over & ~terminated] = observations[over & ~terminated]
        terminated = over
        ended = info.get("_episode_return")
        starts = fresh
        if ended is not None:
            rows = np.flatnonzero(ended)
            episodes = info["episode_index"][rows]
            levels[rows, episodes], stages[rows, episodes] = info["level"][rows], info["stage"][rows]
            starts = ended & ~terminated
    present = np.stack(lived, axis=1)
    begun = np.stack(kept["episode_start"], axis=1)
    episode, moment = np.cumsum(begun, axis=1) - 1, np.arange(present.shape[1])
    lane = np.arange(lanes)[:, None]
    made = {
        "lifetime": np.broadcast_to(first + lane, present.shape),
        "episode": episode,
        "stage": stages[lane, episode],
        "level": levels[lane, episode],
        "step": moment - np.maximum.accumulate(np.where(begun, moment, 0), axis=1),
    }
    flat = {}
    for column in dataset_columns(spec, oracle_actions=oracle_actions):
        if column.name in made:
            values = made[column.name]
        else:
            values = np.stack(kept.pop(column.name), axis=1)
        flat[column.name] = values[present].astype(column.dtype)
    return flat, present.sum(axis=1), final


# --- files ------------------------------------------------------------------------------------------------------------


def _module(name: str, purpose: str) -> Any:
    """Import what the extra brings.

    Raises:
        ImportError: it is not installed; the error names the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = getattr(error, "name", None) or name
        raise ImportError(f"{purpose} needs {missing}: pip install 'daytwo[datasets]'.", name=missing) from error


def _check_modules(file_format: str) -> dict[str, str]:
    """Import what a format needs, and say in which versions."""
    needed = {"parquet": ("pyarrow",), "hdf5": ("h5py",), "minari": ("h5py", "minari")}[file_format]
    return {name: str(_module(name, f"format {file_format!r}").__version__) for name in needed}


def _write_parquet(target: Path, columns: Mapping[str, np.ndarray]) -> None:
    arrow = _module("pyarrow", "Parquet")
    arrays = {}
    for name, values in columns.items():
        array = arrow.array(values.reshape(-1))
        arrays[name] = arrow.FixedSizeListArray.from_arrays(array, values.shape[1]) if values.ndim > 1 else array
    parquet = _module("pyarrow.parquet", "Parquet")
    table = arrow.table(arrays)
    with target.open("wb") as file:
        parquet.write_table(table, file, compression="zstd", row_group_size=max(1, table.num_rows))
        _settle(file)


def _read_parquet(source: Path, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    arrow, parquet = _module("pyarrow", "Parquet"), _module("pyarrow.parquet", "Parquet")
    with arrow.memory_map(os.fspath(source)) as file:
        table = parquet.ParquetFile(file).read(columns=[column.name for column in columns])
    read = {}
    for column in columns:
        values = table[column.name].combine_chunks()
        if column.shape:
            values = values.flatten()
        read[column.name] = values.to_numpy(zero_copy_only=False).reshape(-1, *column.shape)
    return read


def _write_hdf5(target: Path, columns: Mapping[str, np.ndarray], lengths: np.ndarray, final: np.ndarray | None) -> None:
    hdf5 = _module("h5py", "HDF5")
    with target.open("w+b") as file:
        with hdf5.File(file, "w") as group:
            for name, values in columns.items():
                chunk = (max(1, min(len(values), 8192)), *values.shape[1:])
                group.create_dataset(
                    name, data=values, chunks=chunk, compression="gzip", compression_opts=1, shuffle=True
                )
            group.create_dataset("lengths", data=lengths)
            if final is not None:
                group.create_dataset("final_observation", data=final)
        _settle(file)


def _read_hdf5(source: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    with _module("h5py", "HDF5").File(source, "r") as group:
        return {name: group[name][()] for name in names}


def _settle(file: Any) -> None:
    """Have the system write a file down before it gets its name."""
    file.flush()
    os.fsync(file.fileno())


def _write_text(target: Path, text: str) -> None:
    """Write a small file, whole or not at all."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        _settle(file)
    unfinished.replace(target)


def _digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            sha.update(block)
    return sha.hexdigest()


def _as_text(values: Any) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _entry(folder: Path, name: str, **about: int) -> dict[str, Any]:
    """A line of ``parts.jsonl``: a finished file and its checksum."""
    path = folder / name
    return {"file": name, **about, "bytes": path.stat().st_size, "sha256": _digest(path)}


def _read_journal(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``parts.jsonl``, without one that a kill cut off."""
    path = folder / "parts.jsonl"
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def _write_journal(folder: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    _write_text(folder / "parts.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries))


def _whole(folder: Path, entry: Mapping[str, Any], *, thorough: bool) -> bool:
    """Whether a file is as it was when it was finished; by its size alone unless ``thorough``."""
    path = folder / entry["file"]
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        return False
    return not thorough or _digest(path) == entry["sha256"]


# --- exporting --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exported:
    """What an export did.

    Attributes:
        folder: of the dataset.
        lifetimes: in the dataset.
        steps: in the dataset.
        bytes: of its data files.
        parts: of which it was made.
        lived: how many of them were made by this call; the others were there already.
        seconds: wall time of this call.
    """

    folder: Path
    lifetimes: int
    steps: int
    bytes: int
    parts: int
    lived: int
    seconds: float


def _integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, received {value!r}.")
    return int(value)


def lifetimes_in_part(spec: LifetimeSpec) -> int:
    """How many lifetimes a part holds unless it is said: those of about `STEPS_IN_PART` steps."""
    return min(MOST_LIFETIMES_IN_PART, max(1, STEPS_IN_PART // spec.steps))


def _agent_digest(agent: Any, spec: LifetimeSpec) -> str | None:
    """A checksum of the checkpoints that an agent acts from; None if it acts from none."""
    found = find_checkpoint(agent) if isinstance(agent, str | os.PathLike) else None
    folders = [found] if found is not None else agent_folders(agent, spec.env_id)
    if not folders:
        return None
    sha = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            sha.update(f"{path.relative_to(folder).as_posix()} {_digest(path)}\n".encode())
    return sha.hexdigest()


def _agent_name(agent: Any, made: Agent) -> str:
    """What an agent is called: as it was named, but for a checkpoint, whose path says nothing elsewhere."""
    if isinstance(agent, str) and find_checkpoint(agent) is None:
        return agent
    name = getattr(made, "name", None)
    return name if isinstance(name, str) and name else type(made).__name__


# What follows from the other entries of a manifest, and is told only where nothing else differs.
_FOLLOWING = ("course", "levels", "interface", "columns", "privileged_columns", "lifetimes_in_part", "agent_privileged")


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """In what two manifests differ, but for the number of lifetimes."""
    told = {}
    for key in dict.fromkeys([*here, *there]):
        first, second = there.get(key), here.get(key)
        if key == "lifetimes" or first == second:
            continue
        if isinstance(first, dict) and isinstance(second, dict):
            for name in dict.fromkeys([*second, *first]):
                if first.get(name) != second.get(name):
                    told[key, name] = f"{key}.{name} is {first.get(name)!r} there and {second.get(name)!r} here"
        else:
            told[key, ""] = f"{key} is {first!r} there and {second!r} here"
    chosen = [text for (key, _), text in told.items() if key not in _FOLLOWING]
    return chosen or list(told.values())


class _Export:
    """One export: its manifest, its parts, and who lives them."""

    def __init__(
        self,
        env_id: str,
        agent: Any,
        folder: Path,
        *,
        lifetimes: int,
        seed: int,
        split: str | None,
        file_format: str,
        oracle_actions: bool,
        per_part: int | None,
        agent_options: Mapping[str, Any] | None,
        settings: dict[str, Any],
    ) -> None:
        if not isinstance(env_id, str):
            raise ValueError(f"env_id must be an environment's id or 'module:Class', received {env_id!r}.")
        if env_id.removeprefix("daytwo:") in compound_ids():
            family_class(env_id)  # says why it cannot be
        self.folder, self.env_id, self.settings = folder, env_id, settings
        self.lifetimes = _integer("lifetimes", lifetimes, 1)
        self.seed = _integer("seed", seed, 0)
        if file_format not in FILE_FORMATS:
            raise ValueError(f"file_format must be one of {', '.join(FILE_FORMATS)}, received {file_format!r}.")
        if not isinstance(oracle_actions, bool):
            raise ValueError(f"oracle_actions must be True or False, received {oracle_actions!r}.")
        for name in ("autoreset_mode", "privileged", "observation", "num_envs", "render_mode"):
            if name in settings:
                raise ValueError(f"A dataset decides {name} itself: leave {name}={settings[name]!r} out.")
        if is_course_file(settings.get("course")):
            settings["course"] = Course.load(settings["course"])
        self.file_format, self.oracle_actions = file_format, oracle_actions
        packages = _check_modules(file_format)
        probe = self._make_env(1, split, False)
        self.spec, self.split, family = probe.lifetime_spec, probe.split, probe.family
        references, rule = probe.reference_returns, probe.rule
        probe.close()
        if oracle_actions and family.oracle is None:
            raise ValueError(f"{self.spec.env_id} has no oracle, received oracle_actions=True.")
        options = dict(agent_options or {})
        self.agent = make_agent(agent, self.spec, **options)
        self.privileged_agent = bool(getattr(self.agent, "privileged", False))
        if per_part is None:
            per_part = lifetimes_in_part(self.spec)
        self.per_part = _integer("per_part", per_part, 1)
        self.columns = dataset_columns(self.spec, oracle_actions=oracle_actions)
        described: dict[str, Any] = {
            "format": FORMAT,
            "files": file_format,
            "env_id": env_id,
            "settings": plain_settings(settings),
            "split": self.split,
            "course": self.spec.course.to_dict(),
            "levels": [
                {"name": level.name, "horizon": level.horizon, "random_return": low, "oracle_return": high}
                for level, low, high in zip(
                    self.spec.levels,
                    map(float, references.random_return),
                    map(float, references.oracle_return),
                    strict=True,
                )
            ],
            "reward": dataclasses.asdict(rule),
            "interface": describe_interface(self.spec),
            "agent": _agent_name(agent, self.agent),
            "agent_options": plain_settings(options),
            "agent_checkpoint": _agent_digest(agent, self.spec),
            "agent_provenance": dict(getattr(self.agent, "provenance", None) or {}),
            "agent_privileged": self.privileged_agent,
            "seed": self.seed,
            "lifetimes": self.lifetimes,
            "lifetimes_in_part": self.per_part,
            "oracle_actions": oracle_actions,
            "columns": [dataclasses.asdict(column) for column in self.columns],
            "privileged_columns": [column.name for column in self.columns if column.privileged],
            "seed_of_lifetime": "daytwo.streams.lifetime_seeds(seed, lifetime, lifetime + 1)[0]",
            "versions": {
                "daytwo": str(daytwo.__version__),
                "python": platform.python_version(),
                "numpy": np.__version__,
                "numba": numba.__version__,
                "gymnasium": gymnasium.__version__,
                **packages,
            },
        }
        if file_format == "minari":
            described["minari_id"] = _minari_id(folder, self.spec.family, _agent_name(agent, self.agent))
        self.manifest: dict[str, Any] = json.loads(_as_text(described))  # as the file gives it back

    def _make_env(self, lanes: int, split: str | None, privileged: bool) -> LifetimeVectorEnv:
        return LifetimeVectorEnv(
            self.env_id,
            lanes,
            split=split,
            privileged=privileged,
            autoreset_mode=AutoresetMode.DISABLED,
            **self.settings,
        )

    @property
    def parts(self) -> int:
        return -(-self.lifetimes // self.per_part)

    def name(self, part: int) -> str:
        return f"parts/part-{part:06d}.{_SUFFIXES[self.file_format]}"

    def size(self, part: int) -> int:
        """Lifetimes of a part."""
        return min(self.per_part, self.lifetimes - part * self.per_part)

    def claim(self) -> None:
        """Take the folder, or refuse what is in it."""
        path = self.folder / "manifest.json"
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"{os.fspath(path)!r} is no manifest: {error}.") from error
            differences = _differences(found, self.manifest)
            if found.get("lifetimes", 0) > self.lifetimes:
                differences.append(f"it has {found['lifetimes']} lifetimes, and here are fewer, {self.lifetimes}")
            if differences:
                raise ValueError(
                    f"{os.fspath(self.folder)!r} holds another dataset: {'; '.join(differences)}. Choose a new folder, "
                    "or the same arguments."
                )
        elif self.folder.exists() and any(one.name != ".manifest.json.unfinished" for one in self.folder.iterdir()):
            raise ValueError(f"{os.fspath(self.folder)!r} holds something else: choose a new folder.")
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, progress: Any) -> tuple[list[dict[str, Any]], int]:
        """Make what is missing; returns the journal and how many parts were made."""
        folder = self.folder
        _write_text(folder / "manifest.json", _as_text(self.manifest))
        journal = _read_journal(folder)
        if self.file_format == "minari" and self._is_minari(journal):
            shutil.rmtree(folder / "parts", ignore_errors=True)
            progress(self.lifetimes)
            return journal, 0
        wanted = {self.name(part): part for part in range(self.parts)}
        done: dict[int, dict[str, Any]] = {}
        for entry in journal:
            part = wanted.get(entry["file"])
            if part is not None and entry["lifetimes"] == self.size(part) and _whole(folder, entry, thorough=True):
                done[part] = entry
        (folder / "parts").mkdir(exist_ok=True)
        for path in (folder / "parts").iterdir():
            if path.relative_to(folder).as_posix() not in {entry["file"] for entry in done.values()}:
                path.unlink()  # cut off, never finished, or of a part that is larger now
        _write_journal(folder, [done[part] for part in sorted(done)])
        progress(sum(map(self.size, done)))
        missing = [part for part in range(self.parts) if part not in done]
        env: LifetimeVectorEnv | None = None
        with (folder / "parts.jsonl").open("a", encoding="utf-8") as file:
            for part in missing:
                if env is None or env.num_envs != self.size(part):
                    env = self._make_env(self.size(part), self.split, self.oracle_actions or self.privileged_agent)
                done[part] = self._write_part(part, env)
                file.write(json.dumps(done[part]) + "\n")
                _settle(file)
                progress(self.size(part))
        if env is not None:
            env.close()
        journal = [done[part] for part in sorted(done)]
        _write_journal(folder, journal)
        if self.file_format == "minari":
            journal = self._assemble(journal)
        return journal, len(missing)

    def _write_part(self, part: int, env: LifetimeVectorEnv) -> dict[str, Any]:
        first, lanes = part * self.per_part, self.size(part)
        seeds = lifetime_seeds(self.seed, first, first + lanes)
        columns, lengths, final = live_part(
            env, self.agent, seeds=seeds, first=first, oracle_actions=self.oracle_actions
        )
        target = self.folder / self.name(part)
        unfinished = target.with_name(f".{target.name}.unfinished")
        if self.file_format == "parquet":
            _write_parquet(unfinished, columns)
        else:
            _write_hdf5(unfinished, columns, lengths, final if self.file_format == "minari" else None)
        unfinished.replace(target)
        return _entry(self.folder, self.name(part), lifetimes=lanes, steps=int(lengths.sum()))

    # --- Minari

    def _is_minari(self, journal: list[dict[str, Any]]) -> bool:
        """Whether the Minari dataset is there already."""
        return (
            len(journal) == 2
            and all(entry["file"].startswith("data/") for entry in journal)
            and journal[0]["lifetimes"] == self.lifetimes
            and all(_whole(self.folder, entry, thorough=True) for entry in journal)
        )

    def _assemble(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Make the Minari dataset of the parts, and drop them; returns the journal of the dataset."""
        folder, root = self.folder, self.folder.resolve() / ".minari.unfinished"
        for leftover in (root, folder / "data"):
            shutil.rmtree(leftover, ignore_errors=True)
        minari = _module("minari", "format 'minari'")
        dataset: Any = None
        for part, entry in enumerate(parts):
            buffer = self._buffers(part, folder / entry["file"])
            if dataset is None:
                dataset = self._create(minari, root, buffer)
            else:
                dataset.update_dataset_from_buffer(buffer)
        (root / self.manifest["minari_id"] / "data").replace(folder / "data")
        shutil.rmtree(root)
        steps = sum(entry["steps"] for entry in parts)
        journal = [
            _entry(folder, f"data/{name}", lifetimes=self.lifetimes, steps=steps)
            for name in ("main_data.hdf5", "metadata.json")
        ]
        _write_journal(folder, journal)
        shutil.rmtree(folder / "parts")
        return journal

    def _create(self, minari: Any, root: Path, buffer: list[Any]) -> Any:
        """A Minari dataset below ``root`` with the first episodes in it."""
        about, privileged = self.manifest, ""
        if about["privileged_columns"] or about["agent_privileged"]:
            privileged = " Privileged: infos/oracle_action, or the agent itself, knows the hidden task."
        with warnings.catch_warnings(), _minari_root(root):
            # It asks for an author and a permanent link, which the person who publishes a dataset adds.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"minari\.")
            return minari.create_dataset_from_buffers(
                about["minari_id"],
                buffer,
                env=_env_spec(self.env_id, self.spec, self.split, about["settings"]),
                observation_space=self.spec.observation_space,
                action_space=self.spec.action_space,
                algorithm_name=about["agent"],
                description=(
                    f"Whole lifetimes of {about['agent']} in {about['env_id']}: one Minari episode is one lifetime; "
                    f"split {about['split']}, seed {about['seed']}.{privileged}"
                ),
                data_format="hdf5",
                requirements=[f"daytwo>={about['versions']['daytwo']}"],
            )

    def _buffers(self, part: int, source: Path) -> list[Any]:
        """The lifetimes of a part as Minari's episodes: observations and infos have one entry more than actions."""
        make = _module("minari.data_collector", "format 'minari'").EpisodeBuffer
        names = [column.name for column in self.columns]
        read = _read_hdf5(source, [*names, "lengths", "final_observation"])
        first = part * self.per_part
        seeds = lifetime_seeds(self.seed, first, first + len(read["lengths"]))
        stops = np.cumsum(read["lengths"])
        buffers = []
        for number, (start, stop) in enumerate(zip(stops - read["lengths"], stops, strict=True)):
            one = {name: read[name][start:stop] for name in names}
            infos = {name: np.append(one[name], one[name][-1:] * 0, axis=0) for name in names if name not in _MINARI}
            # What a step paid is told with the observation after it.
            infos["raw_reward"] = np.append(np.zeros(1), one["raw_reward"])
            buffers.append(
                make(
                    seed=int(seeds[number]),
                    observations=np.append(one["observation"], read["final_observation"][number : number + 1], axis=0),
                    actions=one["action"],
                    rewards=one["reward"],
                    terminations=one["terminated"],
                    truncations=np.zeros(stop - start, dtype=np.bool_),
                    infos=infos,
                )
            )
        return buffers


# Columns that Minari has a place for; the others go into its infos.
_MINARI = {
    "observation": "observations",
    "action": "actions",
    "reward": "rewards",
    "terminated": "terminations",
    "raw_reward": "infos",
}


@contextlib.contextmanager
def _minari_root(root: Path) -> Iterator[None]:
    """Have Minari keep datasets below a folder of ours for a moment."""
    former = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = os.fspath(root)
    try:
        yield
    finally:
        if former is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = former


def _minari_id(folder: Path, family: str, agent: str) -> str:
    """The dataset's name: where it lies among Minari's own, or else one made of the family and the agent."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    root = Path(given) if given else Path.home() / ".minari" / "datasets"
    folder, root = folder.resolve(), root.resolve()
    if folder.is_relative_to(root) and folder != root:
        name = folder.relative_to(root).as_posix()
        if not re.fullmatch(r"[\w/-]*[\w-]-v\d+", name):
            raise ValueError(f"A Minari dataset's name reads 'namespace/name-v0', received {name!r} below {root}.")
        return name
    return f"daytwo/{family}/{re.sub(r'[^A-Za-z0-9_-]+', '-', agent)}-v0"


def _env_spec(env_id: str, spec: LifetimeSpec, split: str, settings: Mapping[str, Any]) -> EnvSpec:
    """What Gymnasium makes the environment of a dataset again from, in a process that has imported nothing."""
    known = spec.env_id in env_ids() and ":" not in env_id.removeprefix("daytwo:")
    own = known and spec.env_id.startswith("daytwo/")
    owner = family_class(env_id)
    arguments = {"family": spec.env_id if own else f"{owner.__module__}:{owner.__qualname__}", "split": split}
    entry_points = {
        "entry_point": "daytwo.lifetime:LifetimeEnv",
        "vector_entry_point": "daytwo.lifetime:LifetimeVectorEnv",
    }
    if isinstance(settings.get("course"), Mapping):
        entry_points = {"entry_point": "daytwo.integrations.datasets:make_environment"}
    return EnvSpec(
        id=f"daytwo:{spec.env_id}" if own else spec.env_id,
        order_enforce=False,
        disable_env_checker=True,
        kwargs={**arguments, **settings},
        **entry_points,  # type: ignore[arg-type]
    )


def make_environment(*, course: Mapping[str, Any], **arguments: Any) -> LifetimeEnv:
    """The environment of a Minari dataset with a course of its own, which its ``recover_environment`` calls.

    Args:
        course: as manifests hold it.
        **arguments: the others of `daytwo.LifetimeEnv`.
    """
    return LifetimeEnv(course=Course.from_dict(course["course"]), **arguments)


def _progress_bar(on: bool, title: str, lifetimes: int) -> tuple[Any, Any]:
    """A progress bar as a context, and a function that is told how many lifetimes are done more."""
    if not on:
        return contextlib.nullcontext(), lambda count: None
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn())
    bar = Progress(*columns, TextColumn("{task.completed:.0f}/{task.total:.0f} lifetimes"), TimeRemainingColumn())
    task = bar.add_task(title, total=lifetimes)
    return bar, lambda count: bar.advance(task, count)


def export_dataset(
    env_id: str,
    agent: Any,
    folder: str | os.PathLike[str],
    *,
    lifetimes: int = 1024,
    seed: int = 0,
    split: str | None = None,
    file_format: str = "parquet",
    oracle_actions: bool = False,
    per_part: int | None = None,
    agent_options: Mapping[str, Any] | None = None,
    progress: bool = False,
    **settings: Any,
) -> Exported:
    """Let an agent live lifetimes and write all their steps to a folder.

    Call it again with the same arguments after a kill, and it goes on with the part that was in work; with more
    ``lifetimes``, and it adds them. Parts that are damaged are made anew. The result is that of a call that was
    never interrupted.

    Args:
        env_id: an environment's id, or ``"module:Class"``.
        agent: a registered name, ``reference``, the folder of a checkpoint, ``"module:Class"``, a class, or an `Agent`.
        folder: new, empty, or with part of the same dataset.
        lifetimes: how many, at least 1.
        seed: an integer of at least 0. Lifetime l is that of ``daytwo.evaluate`` with this seed and split.
        split: whose tasks; by default those of the training split (all where there is none).
        file_format: ``parquet``, ``hdf5`` or ``minari``.
        oracle_actions: record what the oracle would have done at every step, too.
        per_part: lifetimes of a part, which are lived side by side and held in memory; by default those of about
            131,000 steps, at most 1024.
        agent_options: keyword options for the agent's class.
        progress: show a progress bar.
        **settings: keyword arguments of `daytwo.LifetimeVectorEnv`: ``course``, ``episodes``, ``show``, the family's
            own settings, ...

    Returns:
        What was done.

    Raises:
        ValueError: an argument is unknown or out of range, or the folder holds another dataset (the error says what
            differs).
        ImportError: the extra ``datasets`` is not installed.
        BlockingIOError: another process is exporting to the folder.
    """
    started = time.perf_counter()
    export = _Export(
        env_id,
        agent,
        Path(folder),
        lifetimes=lifetimes,
        seed=seed,
        split=split,
        file_format=file_format,
        oracle_actions=oracle_actions,
        per_part=per_part,
        agent_options=agent_options,
        settings=settings,
    )
    export.claim()
    bar, advance = _progress_bar(progress, f"{export.manifest['agent']} on {env_id}", export.lifetimes)
    handle = os.open(export.folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of when the process ends, however it ends
        except BlockingIOError as error:
            raise BlockingIOError(f"Another export to {os.fspath(folder)!r} is at work.") from error
        with bar:
            journal, lived = export.run(advance)
    finally:
        os.close(handle)
    minari = file_format == "minari"
    return Exported(
        folder=export.folder,
        lifetimes=export.lifetimes,
        steps=journal[0]["steps"] if minari else sum(entry["steps"] for entry in journal),
        bytes=sum(entry["bytes"] for entry in journal),
        parts=export.parts,
        lived=lived,
        seconds=time.perf_counter() - started,
    )


# --- loading ----------------------------------------------------------------------------------------------------------


class LifetimeDataset:
    """The lifetimes of a dataset, read part by part: at most a few parts are in memory.

    ``len(dataset)`` is the number of lifetimes, ``dataset[l]`` one of them, and iterating gives all in order, each as a
    dict of arrays ``[steps of the lifetime, ...]`` by the names of `columns`.

    Attributes:
        manifest: the folder's ``manifest.json``.
        columns: of every step.
        steps: in all lifetimes together.
        complete: whether all lifetimes that the manifest promises are there.
    """

    def __init__(self, folder: str | os.PathLike[str], *, partial: bool = False, verify: bool = False) -> None:
        """Open a folder; see `load_dataset`."""
        self._folder = Path(folder)
        name = os.fspath(folder)
        about = self._folder / "manifest.json"
        if not about.is_file():
            raise ValueError(f"{name!r} holds no dataset: expected a manifest.json in it.")
        self.manifest: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
        if self.manifest.get("format") != FORMAT:
            found = self.manifest.get("format")
            raise ValueError(f"{name!r} holds a dataset of format {found!r}, expected {FORMAT}.")
        self._files = self.manifest["files"]
        _check_modules(self._files)
        self.columns = tuple(Column(**{**one, "shape": tuple(one["shape"])}) for one in self.manifest["columns"])
        journal = _read_journal(self._folder)
        again = "the same export again completes it"
        for entry in journal:
            if not _whole(self._folder, entry, thorough=verify):
                raise ValueError(f"{name!r}: {entry['file']!r} is missing or damaged; {again}.")
        per_part, lifetimes = self.manifest["lifetimes_in_part"], self.manifest["lifetimes"]
        self._parts: list[tuple[str, int]] = []  # the file of each, and its first lifetime
        self._length = self.steps = 0
        if self._files == "minari":
            made = [entry for entry in journal if entry["file"].startswith("data/") and entry["lifetimes"] == lifetimes]
            if made:
                self._parts = [(made[0]["file"], start) for start in range(0, lifetimes, per_part)]
                self._length, self.steps = lifetimes, made[0]["steps"]
        else:
            by_name = {entry["file"]: entry for entry in journal}
            for start in range(0, lifetimes, per_part):
                found = by_name.get(f"parts/part-{start // per_part:06d}.{_SUFFIXES[self._files]}")
                if found is None or found["lifetimes"] != min(per_part, lifetimes - start):
                    break  # those from the first on without a gap, as long as they are full
                self._parts.append((found["file"], start))
                self._length += found["lifetimes"]
                self.steps += found["steps"]
        self.complete = self._length == lifetimes
        if not self.complete and (not partial or not self._length):
            raise ValueError(f"{name!r} has {self._length} of {lifetimes} lifetimes; {again}.")
        self._part_size = per_part
        self._held: tuple[int, list[dict[str, np.ndarray]]] = (-1, [])
        self._minari: Any = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, lifetime: int) -> dict[str, np.ndarray]:
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | np.integer):
            raise TypeError(f"A lifetime is asked for by its number, received {lifetime!r}.")
        if not -self._length <= lifetime < self._length:
            raise IndexError(f"The dataset has lifetimes 0..{self._length - 1}, received {lifetime}.")
        part, place = divmod(int(lifetime) % self._length, self._part_size)
        if self._held[0] != part:
            self._held = (part, self._read(part))
        return {name: values.copy() for name, values in self._held[1][place].items()}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for part in range(len(self._parts)):
            yield from self._read(part)

    def batches(
        self, lifetimes: int, *, seed: int | None = None, parts_in_memory: int = 4
    ) -> Iterator[dict[str, np.ndarray]]:
        """All lifetimes once, so many at a time, padded with zeros up to the longest of a batch.

        Args:
            lifetimes: of a batch, at least 1; the last batch may have fewer.
            seed: shuffles the parts, and the lifetimes of every ``parts_in_memory`` parts; None keeps the order.
            parts_in_memory: among how many parts lifetimes are mixed, at least 1.

        Yields:
            Arrays ``[N, T, ...]`` by the names of `columns`, and ``lengths``, ``int64[N]``.

        Raises:
            ValueError: an argument is out of range.
        """
        size, window = _integer("lifetimes", lifetimes, 1), _integer("parts_in_memory", parts_in_memory, 1)
        rng = None if seed is None else np.random.default_rng(_integer("seed", seed, 0))
        return self._batches(size, rng, window)

    def _batches(self, size: int, rng: np.random.Generator | None, window: int) -> Iterator[dict[str, np.ndarray]]:
        order = np.arange(len(self._parts)) if rng is None else rng.permutation(len(self._parts))
        if rng is None:
            window = 1
        pool: list[dict[str, np.ndarray]] = []
        for start in range(0, len(order), window):
            fresh = [one for part in order[start : start + window] for one in self._read(int(part))]
            pool += fresh if rng is None else [fresh[k] for k in rng.permutation(len(fresh))]
            while len(pool) >= size:
                yield self._pad(pool[:size])
                pool = pool[size:]
        if pool:
            yield self._pad(pool)

    def to_histories(self, lifetimes: int | None = None) -> "DatasetHistories":
        """The lifetimes as in-context learners take them.

        Args:
            lifetimes: of a batch; those of a part by default.
        """
        return DatasetHistories(self, self._part_size if lifetimes is None else _integer("lifetimes", lifetimes, 1))

    def _pad(self, lives: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        lengths = np.array([len(one["action"]) for one in lives])
        batch: dict[str, np.ndarray] = {}
        for column in self.columns:
            padded = np.zeros((len(lives), lengths.max(), *column.shape), dtype=column.dtype)
            for row, one in enumerate(lives):
                padded[row, : lengths[row]] = one[column.name]
            batch[column.name] = padded
        batch["lengths"] = lengths
        return batch

    def _read(self, part: int) -> list[dict[str, np.ndarray]]:
        """The lifetimes of a part."""
        file, first = self._parts[part]
        if self._files == "minari":
            return self._read_minari(range(first, min(first + self._part_size, self._length)))
        if self._files == "parquet":
            arrays = _read_parquet(self._folder / file, self.columns)
        else:
            arrays = _read_hdf5(self._folder / file, [column.name for column in self.columns])
        stops = np.flatnonzero(arrays["terminated"]) + 1
        starts = np.append(0, stops[:-1])
        return [
            {name: values[start:stop].copy() for name, values in arrays.items()}
            for start, stop in zip(starts, stops, strict=True)
        ]

    def _read_minari(self, numbers: range) -> list[dict[str, np.ndarray]]:
        if self._minari is None:
            self._minari = _module("minari", "format 'minari'").MinariDataset(self._folder / "data")
        lives = []
        for episode in self._minari.iterate_episodes(numbers):
            one = {}
            for column in self.columns:
                name = column.name
                values = getattr(episode, _MINARI[name]) if name in _MINARI else episode.infos[name][:-1]
                if name == "observation":
                    values = values[:-1]
                elif name == "raw_reward":
                    values = episode.infos["raw_reward"][1:]
                one[name] = np.asarray(values, dtype=column.dtype)
            lives.append(one)
        return lives


class DatasetHistories:
    """A dataset as batches of `daytwo.integrations.histories.Histories`, from the first lifetime again after the last.

    The labels are the oracle's actions if the dataset has them, else the agent's own.

    Attributes:
        description: the dataset's manifest.
        lifetimes: of a batch.
        position: number of the next batch; it counts on beyond the last one. May be set.
    """

    def __init__(self, dataset: LifetimeDataset, lifetimes: int) -> None:
        """Read ``lifetimes`` of the dataset at a time."""
        self._dataset, self.lifetimes = dataset, lifetimes
        self.description: dict[str, Any] = dataset.manifest
        self.position = 0

    def __len__(self) -> int:
        """Batches in the dataset; the last may have fewer lifetimes."""
        return -(-len(self._dataset) // self.lifetimes)

    def __iter__(self) -> Iterator[Histories]:
        """Every batch once."""
        for number in range(len(self)):
            yield self._batch(number)

    def take(self) -> Histories:
        """The next batch."""
        number = self.position % len(self)
        self.position += 1
        return self._batch(number)

    def _batch(self, number: int) -> Histories:
        start, stop = number * self.lifetimes, min((number + 1) * self.lifetimes, len(self._dataset))
        batch = self._dataset._pad([self._dataset[lifetime] for lifetime in range(start, stop)])
        return Histories(
            observations=batch["observation"],
            actions=batch["action"],
            rewards=batch["raw_reward"].astype(np.float32),
            episode_start=batch["episode_start"],
            lengths=batch["lengths"],
            labels=batch["oracle_action"] if "oracle_action" in batch else batch["action"].copy(),
            sources=np.zeros(len(batch["lengths"]), dtype=np.int64),
        )


def load_dataset(folder: str | os.PathLike[str], *, partial: bool = False, verify: bool = False) -> LifetimeDataset:
    """Open a dataset that `export_dataset` wrote.

    Args:
        folder: of the dataset.
        partial: open one whose export is not finished, too: the lifetimes that are there.
        verify: read all files and compare their checksums, not only their sizes.

    Raises:
        ValueError: there is no dataset, it is not complete, or a file is missing or damaged.
        ImportError: the extra ``datasets`` is not installed.
    """
    return LifetimeDataset(folder, partial=partial, verify=verify)
