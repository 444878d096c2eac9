"""Reference returns: the two constants that make returns of different levels and families comparable.

``random_return`` is the mean episode return of the policy that acts uniformly over the offered actions,
``oracle_return`` that of the oracle. Both are measured over the same fixed number of tasks of all splits, under one
fixed seed, so they are the same everywhere. Those of the standard settings ship with the package; others are measured
when an environment is made and kept on disk (``DAYTWO_CACHE_DIR``, else ``~/.cache/daytwo``).
"""

import functools
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.family import TaskFamily

TASKS = 65_536
SEED = 20_220_914
BATCH = 8_192


@dataclass(frozen=True)
class ReferenceReturns:
    """Reference returns of a family under some settings, one entry per level.

    Attributes:
        random_return: mean raw episode return of the random policy.
        oracle_return: mean raw episode return of the oracle, above ``random_return``.
        random_error: standard error of ``random_return``.
        oracle_error: standard error of ``oracle_return``.
        oracle_spread: standard deviation, over episodes, of the oracle's normalised return.
    """

    random_return: tuple[float, ...]
    oracle_return: tuple[float, ...]
    random_error: tuple[float, ...]
    oracle_error: tuple[float, ...]
    oracle_spread: tuple[float, ...]

    def __post_init__(self) -> None:
        for level, (low, high) in enumerate(zip(self.random_return, self.oracle_return, strict=True)):
            if not (np.isfinite(low) and np.isfinite(high) and high > low):
                raise ValueError(
                    f"Level {level}: the oracle's return ({high}) must exceed the random policy's ({low}). "
                    "Is the oracle wrong, or is there nothing to gain at this level?"
                )

    @property
    def random_spread(self) -> tuple[float, ...]:
        """Standard deviation of the random policy's normalised episode return; 0 where not measured."""
        gaps = (high - low for low, high in zip(self.random_return, self.oracle_return, strict=True))
        return tuple(error * TASKS**0.5 / gap for error, gap in zip(self.random_error, gaps, strict=True))

    @classmethod
    def given(cls, random_return: Any, oracle_return: Any) -> "ReferenceReturns":
        """From known values, one per level, taken as exact."""
        low = tuple(float(value) for value in np.atleast_1d(random_return))
        high = tuple(float(value) for value in np.atleast_1d(oracle_return))
        zeros = (0.0,) * len(low)
        return cls(low, high, zeros, zeros, zeros)


def settings_key(family: TaskFamily) -> str:
    """The family's settings in one canonical line of text."""
    return json.dumps(family.keywords, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return repr(value)


def cache_folder() -> Path:
    """Where measured reference returns are kept."""
    return Path(os.environ.get("DAYTWO_CACHE_DIR") or Path.home() / ".cache" / "daytwo")


def stored_path() -> Path:
    """The table that ships with the package."""
    import daytwo.envs

    return Path(daytwo.envs.__file__).parent / "calibration.json"


@functools.cache
def _stored() -> dict[str, Any]:
    path = stored_path()
    return json.loads(path.read_text()) if path.exists() else {}


_measured: dict[tuple[str, str, str], ReferenceReturns] = {}


def reference_returns(family: TaskFamily) -> ReferenceReturns:
    """The reference returns of a family: given by it, stored with the package, kept on disk, or measured now.

    Raises:
        ValueError: the family has no oracle and gives no ``reference_returns``.
    """
    if family.reference_returns is not None:
        return family.reference_returns
    key = (family.id, settings_key(family), family.fingerprint())
    if key not in _measured:
        stored = _stored().get(family.id, {}).get(key[1])
        _measured[key] = from_plain(stored) if stored is not None else _from_disk(family, key)
    return _measured[key]


def from_plain(values: dict[str, Any]) -> ReferenceReturns:
    """From a JSON object."""
    return ReferenceReturns(**{name: tuple(values[name]) for name in ReferenceReturns.__dataclass_fields__})


def _from_disk(family: TaskFamily, key: tuple[str, str, str]) -> ReferenceReturns:
    digest = hashlib.sha256("\n".join([*key, str(TASKS), str(SEED)]).encode()).hexdigest()[:24]
    path = cache_folder() / f"{family.name}-{digest}.json"
    try:
        return from_plain(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        measured = measure(family)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(measured), file)
        os.replace(name, path)
    except OSError:
        pass  # an unwritable cache costs time, not correctness
    return measured


def measure(family: TaskFamily, tasks: int = TASKS, seed: int = SEED) -> ReferenceReturns:
    """Measure the reference returns.

    Args:
        family: the family under its settings.
        tasks: how many tasks, one episode of each per level and policy.
        seed: of the tasks.

    Raises:
        ValueError: the family has no oracle.
    """
    if family.oracle is None:
        raise ValueError(
            f"{family.name} has no oracle: give the family reference_returns=ReferenceReturns.given(random, oracle)."
        )
    columns: dict[str, list[float]] = {name: [] for name in ReferenceReturns.__dataclass_fields__}
    for level in range(len(family.levels)):
        lowest = episode_returns(family, level, "random", tasks, seed)
        highest = episode_returns(family, level, "oracle", tasks, seed)
        gap = highest.mean() - lowest.mean()
        columns["random_return"].append(float(lowest.mean()))
        columns["oracle_return"].append(float(highest.mean()))
        columns["random_error"].append(float(lowest.std(ddof=1) / np.sqrt(tasks)))
        columns["oracle_error"].append(float(highest.std(ddof=1) / np.sqrt(tasks)))
        columns["oracle_spread"].append(float(highest.std(ddof=1) / gap) if gap > 0 else 0.0)
    return ReferenceReturns(**{name: tuple(values) for name, values in columns.items()})


def episode_returns(
    family: TaskFamily, level: int, policy: str, tasks: int, seed: int, *, batch: int = BATCH
) -> np.ndarray:
    """Raw returns of one episode on each of many tasks.

    Args:
        family: the family under its settings.
        level: at which the episodes are.
        policy: ``"random"`` or ``"oracle"``.
        tasks: how many.
        seed: of the tasks.
        batch: how many of them are lived at a time, which changes no return.

    Returns:
        ``float64[tasks]``.
    """
    from daytwo.lifetime import LifetimeVectorEnv
    from daytwo.streams import agent_streams, lifetime_seeds

    levels = len(family.levels)
    unit = ReferenceReturns.given([0.0] * levels, [1.0] * levels)
    returns = []
    for start in range(0, tasks, batch):
        seeds = lifetime_seeds(seed, start, min(start + batch, tasks))
        env = LifetimeVectorEnv(
            family,
            num_envs=len(seeds),
            course="single",
            level=level,
            episodes=1,
            split="all",
            reward="raw",
            show=(),
            privileged=True,
            autoreset_mode="Disabled",
            reference_returns=unit,
        )
        env.reset(seed=seeds)
        streams = agent_streams(seeds)
        total = np.zeros(len(seeds))
        alive = np.ones(len(seeds), dtype=np.bool_)
        while alive.any():
            actions = env.oracle_actions() if policy == "oracle" else env.random_actions(streams)
            _, reward, terminated, _, _ = env.step(actions)
            total += reward
            alive &= ~terminated
        returns.append(total)
    return np.concatenate(returns)


def store(families: list[TaskFamily]) -> None:
    """Measure families and write them into the table that ships with the package (for maintainers)."""
    table = json.loads(stored_path().read_text()) if stored_path().exists() else {}
    for family in families:
        if family.reference_returns is None:
            table.setdefault(family.id, {})[settings_key(family)] = asdict(measure(family))
    stored_path().write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    _stored.cache_clear()
    _measured.clear()
