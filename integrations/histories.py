"""Learning histories: whole lifetimes of our own agents as arrays, streamed or in files.

`HistoryStream` makes batch after batch of them, every batch of lifetimes never lived before; `export_histories` writes
them to a folder, and `HistoryFiles` reads them back. What the oracle, or any other agent, would have done at every
step can be put beside them (``labels``): the training data of in-context learners (`daytwo.integrations.in_context`).
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

import daytwo
from daytwo.agent import Agent, LifetimeSpec, make_agent
from daytwo.integrations.trainers import plain_settings
from daytwo.lifetime import LifetimeVectorEnv
from daytwo.networks import describe_interface
from daytwo.streams import agent_streams, lifetime_seeds

# Histories take their lifetimes from other parts of the seed's sequence than evaluation and training by acting.
_OFFSET = (1 << 62) + (1 << 32)
_LIFETIMES, _CHOICES, _LABELS = range(3)
FORMAT = 1


@dataclass(frozen=True)
class Histories:
    """A batch of lifetimes; shorter ones are padded with zeros up to the longest.

    Attributes:
        observations: ``float32[N, T, D]``, the rows that the agent acted on.
        actions: what was done, ``int64[N, T]``, or ``float32[N, T, d]`` in [-1, 1].
        rewards: the raw reward of the step, ``float32[N, T]``.
        episode_start: whether an inner episode begins at the step, ``bool[N, T]``.
        lengths: steps of every lifetime, ``int64[N]``.
        labels: what should have been done, laid out as ``actions``; the actions themselves if no labels were asked for.
        sources: whose lifetime it is, an index into the stream's ``sources``, ``int64[N]``.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    episode_start: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    sources: np.ndarray

    @property
    def steps(self) -> int:
        """Steps in all lifetimes together."""
        return int(self.lengths.sum())

    @property
    def present(self) -> np.ndarray:
        """``bool[N, T]``: false where a lifetime was over already."""
        return np.arange(self.rewards.shape[1]) < self.lengths[:, None]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, lifetimes: slice) -> "Histories":
        """Some of the lifetimes, cut to the longest among them."""
        parts = {name: getattr(self, name)[lifetimes] for name in _PARTS}
        longest = int(parts["lengths"].max(initial=0))
        for name in ("observations", "actions", "rewards", "episode_start", "labels"):
            parts[name] = parts[name][:, :longest]
        return Histories(**parts)


_PARTS = tuple(field.name for field in dataclasses.fields(Histories))


def _integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, received {value!r}.")
    return int(value)


class HistoryStream:
    """Batches of learning histories, each batch of new lifetimes; a function of the seed and the batch's number.

    A lifetime is lived by one agent of ``sources``, drawn by their weights, with a share of random actions that is
    uniform on [0, noise] and drawn per lifetime, too. The agent sees what was really done (it learns from the
    observation), and ``labels`` says what ought to have been done. Batch k is the same whenever it is made, so
    ``position`` is all there is to save. Tasks are those of the training split, and no lifetime is shared with
    an evaluation, whatever the seeds.

    Attributes:
        env: the lifetimes, with ``lifetime_spec`` and so on.
        position: number of the next batch; may be set.
        sources: names of the agents, in order.
    """

    def __init__(
        self,
        env_id: Any,
        *,
        sources: str | Mapping[str, float] | Sequence[str] = "reference",
        labels: str = "actions",
        noise: float = 0.0,
        lifetimes: int = 64,
        seed: int = 0,
        split: str | None = None,
        **settings: Any,
    ) -> None:
        """Prepare the lifetimes; nothing is lived yet.

        Args:
            env_id: an environment's id, or ``"module:Class"``.
            sources: whose lifetimes: an agent's name (``reference``, ``random``, ``psrl``, ``q-learning``, ``oracle``,
                a checkpoint's folder, ...), several of them, or a mapping from names to weights.
            labels: ``actions`` (what was done), ``oracle``, or the name of an agent that watches every lifetime.
            noise: highest share of random actions in a lifetime, in [0, 1].
            lifetimes: in a batch, at least 1.
            seed: an integer of at least 0.
            split: whose tasks; by default those of the training split (all where there is none).
            **settings: keyword arguments of `daytwo.LifetimeVectorEnv`: ``course``, ``episodes``, ``show``, ...

        Raises:
            ValueError: an argument is unknown or out of range.
        """
        for name in ("autoreset_mode", "privileged", "observation", "num_envs"):
            if name in settings:
                raise ValueError(f"Histories decide {name} themselves: leave {name}={settings[name]!r} out.")
        if isinstance(sources, str):
            sources = (sources,)
        if not isinstance(sources, Mapping):
            sources = dict.fromkeys(sources, 1.0)
        weights = np.array([float(weight) for weight in sources.values()])
        if not len(weights) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError(f"sources must name agents with weights of at least 0, received {dict(sources)!r}.")
        if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0.0 <= noise <= 1.0:
            raise ValueError(f"noise must be a number in [0, 1], received {noise!r}.")
        if not isinstance(labels, str) or not labels:
            raise ValueError(f"labels must be 'actions', 'oracle' or an agent's name, received {labels!r}.")
        self.lifetimes = _integer("lifetimes", lifetimes, 1)
        self.seed = _integer("seed", seed, 0)
        self.env_id, self.settings = env_id, dict(settings)
        self.sources, self.labels, self.noise = tuple(sources), labels, float(noise)
        self.weights = weights / weights.sum()
        self.privileged = labels == "oracle" or "oracle" in self.sources
        self.env = LifetimeVectorEnv(
            env_id,
            self.lifetimes,
            split=split,
            privileged=self.privileged,
            autoreset_mode=AutoresetMode.DISABLED,
            **settings,
        )
        self.split = self.env.split
        self.position = 0
        spec = self.env.lifetime_spec
        self._agents = [None if name == "oracle" else make_agent(name, spec) for name in self.sources]
        self._labeller = None if labels in ("actions", "oracle") else make_agent(labels, spec)
        own = [int(one) for one in lifetime_seeds(self.seed, _OFFSET, _OFFSET + 3)]
        self._own = dict(zip((_LIFETIMES, _CHOICES, _LABELS), own, strict=True))

    @property
    def spec(self) -> LifetimeSpec:
        """Of the lifetimes."""
        return self.env.lifetime_spec

    def __iter__(self) -> Iterator[Histories]:
        while True:
            yield self.take()

    def take(self, agent: Agent | None = None) -> Histories:
        """Live the next batch.

        Args:
            agent: lives all the lifetimes in the place of ``sources``: the learner itself, for labels on what it does.
        """
        env, spec, n = self.env, self.spec, self.lifetimes
        start = self.position * n
        seeds, choices, labelling = (lifetime_seeds(self._own[part], start, start + n) for part in range(3))
        self.position += 1
        uniform = np.random.default_rng(choices).random
        sources = np.searchsorted(np.cumsum(self.weights)[:-1], uniform(n), side="right")
        shares = self.noise * uniform(n)
        streams = agent_streams(choices)
        observations, _ = env.reset(seed=seeds)
        actors: list[tuple[Any, Any]] = []
        if agent is not None:
            sources[:] = -1
            actors = [(slice(None), agent)]
            agent.begin(spec, seeds)
        else:
            for number, one in enumerate(self._agents):
                lanes = np.flatnonzero(sources == number)
                if len(lanes):
                    actors.append((lanes, one))
                    if one is not None:
                        one.begin(spec, seeds[lanes])
        if self._labeller is not None:
            self._labeller.begin(spec, labelling)
        fresh, terminated = np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
        episode_start, lengths = fresh, np.zeros(n, dtype=np.int64)
        kept: dict[str, list[np.ndarray]] = {
            name: [] for name in ("observations", "actions", "rewards", "episode_start", "labels")
        }
        actions: np.ndarray = np.zeros((n, spec.actions)) if spec.continuous else np.zeros(n, dtype=np.int64)
        while not terminated.all():
            present = ~terminated
            actions = actions.copy()
            oracle = env.oracle_actions() if self.privileged else actions
            for lanes, actor in actors:
                actions[lanes] = oracle[lanes] if actor is None else actor.act(observations[lanes], fresh[lanes])
            if self.noise and agent is None:
                random = env.random_actions(streams)
                replaced = uniform(n) < shares
                actions[replaced] = random[replaced]
            labels = actions
            if self.labels == "oracle":
                labels = oracle
            elif self._labeller is not None:
                labels = self._labeller.act(observations, fresh)
            kept["observations"].append(observations)
            kept["actions"].append(actions)
            kept["labels"].append(labels)
            kept["episode_start"].append(episode_start & present)
            lengths += present
            observations, _, terminated, _, info = env.step(actions)
            kept["rewards"].append(np.where(present, info["raw_reward"], 0.0))
            fresh = np.zeros(n, dtype=np.bool_)
            ended = info.get("_episode_return")
            episode_start = fresh if ended is None else ended & ~terminated
        arrays = {name: np.stack(rows, axis=1) for name, rows in kept.items()}
        over = np.arange(arrays["rewards"].shape[1]) >= lengths[:, None]
        for name in ("observations", "actions", "labels"):
            arrays[name][over] = 0
        kind: Any = np.float32 if spec.continuous else np.int64
        return Histories(
            observations=arrays["observations"],
            actions=arrays["actions"].astype(kind),
            rewards=arrays["rewards"].astype(np.float32),
            episode_start=arrays["episode_start"],
            lengths=lengths,
            labels=arrays["labels"].astype(kind),
            sources=sources.astype(np.int64),
        )

    def describe(self) -> dict[str, Any]:
        """What the histories are, fit for JSON."""
        env_id = self.env_id if isinstance(self.env_id, str) else self.spec.env_id
        described = {
            "format": FORMAT,
            "env_id": env_id,
            "settings": plain_settings(self.settings),
            "split": self.split,
            "course": self.spec.course.to_dict(),
            "interface": describe_interface(self.spec),
            "sources": dict(zip(self.sources, self.weights.tolist(), strict=True)),
            "labels": self.labels,
            "noise": self.noise,
            "lifetimes": self.lifetimes,
            "seed": self.seed,
            "privileged": self.privileged,
            "version": str(daytwo.__version__),
        }
        return json.loads(json.dumps(described))  # tuples are lists then, as a file gives them back

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


# --- files ------------------------------------------------------------------------------------------------------------


def _shard(folder: Path, number: int) -> Path:
    return folder / f"histories-{number:06d}.npz"


def export_histories(stream: HistoryStream, folder: str | os.PathLike[str], batches: int) -> int:
    """Write the first batches of a stream to a folder, one file each, beside a ``dataset.json`` that describes them.

    Files appear whole or not at all, and those that are there already are left as they are: call it again
    after a kill, or with more ``batches``, and it goes on where it was.

    Args:
        stream: what to write; its position is moved.
        folder: new, empty, or with part of the same data.
        batches: how many files there shall be, at least 1.

    Returns:
        How many files were written now.

    Raises:
        ValueError: the folder holds other data.
    """
    batches, path = _integer("batches", batches, 1), Path(folder)
    described = stream.describe()
    about = path / "dataset.json"
    if about.is_file():
        found = json.loads(about.read_text())
        differences = [
            f"{key} is {found.get(key)!r} there and {described[key]!r} here"
            for key in described
            if found.get(key) != described[key]
        ]
        if differences:
            raise ValueError(f"{os.fspath(folder)!r} holds other histories: {'; '.join(differences)}.")
    elif path.exists() and any(path.iterdir()):
        raise ValueError(f"{os.fspath(folder)!r} holds something else: choose a new folder.")
    path.mkdir(parents=True, exist_ok=True)
    _write(about, (json.dumps(described, indent=2) + "\n").encode())
    written = 0
    for number in range(batches):
        target = _shard(path, number)
        if target.is_file():
            continue
        stream.position = number
        histories = stream.take()
        unfinished = target.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            parts: dict[str, Any] = {
                field.name: getattr(histories, field.name) for field in dataclasses.fields(Histories)
            }
            np.savez_compressed(file, **parts)
        unfinished.replace(target)
        written += 1
    return written


def _write(target: Path, data: bytes) -> None:
    unfinished = target.with_suffix(".unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(target)


class HistoryFiles:
    """Histories that `export_histories` wrote, batch after batch, from the first file again after the last.

    Attributes:
        description: the folder's ``dataset.json``.
        files: how many there are.
        position: number of the next batch; it counts on beyond the last file. May be set.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open a folder.

        Raises:
            ValueError: it holds no histories, or some file is missing.
        """
        self._folder = Path(folder)
        about = self._folder / "dataset.json"
        if not about.is_file():
            raise ValueError(f"{os.fspath(folder)!r} holds no histories: expected a dataset.json in it.")
        self.description: dict[str, Any] = json.loads(about.read_text())
        if self.description.get("format") != FORMAT:
            found = self.description.get("format")
            raise ValueError(f"{os.fspath(folder)!r} holds histories of format {found!r}, expected {FORMAT}.")
        self.files = len(list(self._folder.glob("histories-*.npz")))
        for number in range(self.files):
            if not _shard(self._folder, number).is_file():
                raise ValueError(f"{os.fspath(folder)!r} lacks {_shard(self._folder, number).name!r}.")
        if not self.files:
            raise ValueError(f"{os.fspath(folder)!r} holds no histories yet.")
        self.position = 0

    def __len__(self) -> int:
        return self.files

    def __iter__(self) -> Iterator[Histories]:
        """Every file once."""
        for number in range(self.files):
            yield self._read(number)

    def take(self) -> Histories:
        """The next batch."""
        number = self.position % self.files
        self.position += 1
        return self._read(number)

    def _read(self, number: int) -> Histories:
        with np.load(_shard(self._folder, number), allow_pickle=False) as arrays:
            return Histories(**{name: arrays[name] for name in _PARTS})
