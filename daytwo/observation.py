"""The observation row: which named part lies where.

A row is the family's own part followed by the extras that were asked for with ``show``. `Layout` gives every part a
slice, so agents read ``observations[:, layout["previous_reward"]]`` and never count columns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces

EXTRAS = (
    "previous_action",
    "previous_reward",
    "episode_start",
    "time",
    "level",
    "episode",
    "stage_length",
    "final_observation",
)
DEFAULT_EXTRAS = ("previous_action", "previous_reward", "episode_start", "time", "level")
SINGLE_PRECISION = 1e-6  # more than rounding a number of [-1, 1] to it changes
WIPED_EXTRAS = ("previous_action", "previous_reward", "final_observation")


@dataclass(frozen=True)
class Field:
    """One named part of the family's own observation.

    Attributes:
        name: what agents and the dict observation call it.
        size: how many numbers.
        low: lower bound of each of them, finite.
        high: upper bound of each of them, finite.
    """

    name: str
    size: int
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int | np.integer) or self.size < 1:
            raise ValueError(f"Field {self.name!r}: size must be an integer of at least 1, received {self.size!r}.")
        if not self.low <= self.high:
            raise ValueError(f"Field {self.name!r}: expected low <= high, received {self.low!r} and {self.high!r}.")


class Layout(Mapping[str, slice]):
    """Where each named part of an observation row lies.

    Extras: ``previous_action`` (one-hot, or the raw vector if continuous; zeros when a lifetime begins),
    ``previous_reward`` (the family's raw reward of the last step), ``episode_start`` (1 on an episode's first
    observation), ``time`` (steps taken in this episode divided by the level's horizon), ``level`` (one-hot),
    ``episode`` (episodes finished in this stage), ``stage_length`` (episodes of this stage), ``final_observation``
    (on an episode's first observation the family's part of the last observation of the episode before, else zeros).
    """

    def __init__(
        self,
        fields: Iterable[Field],
        *,
        show: Iterable[str],
        actions: int,
        continuous: bool,
        levels: int,
        reward_range: tuple[float, float],
        longest_stage: int,
    ) -> None:
        fields = tuple(fields)
        if isinstance(show, str):
            raise ValueError(f"show must be a sequence of names, as in ({show!r},); received {show!r}.")
        show = tuple(show)
        unknown = [name for name in show if name not in EXTRAS]
        if unknown:
            raise ValueError(f"show: unknown extra {unknown[0]!r}; expected some of {', '.join(EXTRAS)}.")
        clash = [field.name for field in fields if field.name in EXTRAS]
        if clash:
            raise ValueError(f"A family's observation field may not be called {clash[0]!r}: the extras own that name.")
        names = [field.name for field in fields]
        if len(set(names)) < len(names):
            raise ValueError(f"The names of a family's observation fields must differ, received {', '.join(names)}.")
        self.family_size = sum(field.size for field in fields)
        self.fields = fields
        self.show = tuple(name for name in EXTRAS if name in show)
        extras = {
            "previous_action": Field("previous_action", actions, -1.0 if continuous else 0.0, 1.0),
            "previous_reward": Field("previous_reward", 1, min(0.0, reward_range[0]), max(0.0, reward_range[1])),
            "episode_start": Field("episode_start", 1),
            "time": Field("time", 1),
            "level": Field("level", levels),
            "episode": Field("episode", 1, 0.0, float(longest_stage)),
            "stage_length": Field("stage_length", 1, 0.0, float(longest_stage)),
        }
        self._arrange([*fields, *(extras[name] for name in self.show if name != "final_observation")])

    def _arrange(self, fields: Iterable[Field]) -> None:
        """Place parts one after the other, and ``final_observation`` at the end if it is shown."""
        low: list[float] = []
        high: list[float] = []
        self._slices: dict[str, slice] = {}
        at = 0
        for field in fields:
            self._slices[field.name] = slice(at, at + field.size)
            low += [field.low] * field.size
            high += [field.high] * field.size
            at += field.size
        if "final_observation" in self.show:
            self._slices["final_observation"] = slice(at, at + self.family_size)
            low += [min(0.0, bound) for bound in low[: self.family_size]]
            high += [max(0.0, bound) for bound in high[: self.family_size]]
            at += self.family_size
        self.size = at
        self.low = np.array(low, dtype=np.float32)
        self.high = np.array(high, dtype=np.float32)
        if not (np.isfinite(self.low).all() and np.isfinite(self.high).all()):
            raise ValueError("Observation bounds must be finite: give every Field a finite low and high.")

    def __getitem__(self, name: str) -> slice:
        if name not in self._slices:
            raise KeyError(f"No part {name!r} in this observation; it holds {', '.join(self._slices)}.")
        return self._slices[name]

    def __iter__(self):
        return iter(self._slices)

    def __len__(self) -> int:
        return len(self._slices)

    def start(self, name: str) -> int:
        """First column of a part, or -1 where the part is not shown."""
        return self._slices[name].start if name in self._slices else -1

    def flat_space(self) -> spaces.Box:
        """The space of one row."""
        return spaces.Box(self.low, self.high, dtype=np.float32)

    def dict_space(self) -> spaces.Dict:
        """The space of one row split into its named parts."""
        return spaces.Dict(
            {name: spaces.Box(self.low[part], self.high[part], dtype=np.float32) for name, part in self.items()}
        )

    def split(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Split rows of shape ``[..., size]`` into named copies of shape ``[..., size of the part]``."""
        return {name: rows[..., part].copy() for name, part in self.items()}

    def last_actions(self, rows: np.ndarray, own: np.ndarray, part: str = "previous_action") -> np.ndarray:
        """What was done in the step before, as the rows show it.

        An agent may be asked what it would do in lifetimes in which another one acts, as a teacher is that labels what
        its pupil does (DAgger: Ross et al. 2011, arXiv 1011.0686). It must not take what it chose for what was done.

        Args:
            rows: ``float32[N, size]``.
            own: ``int64[N]`` or ``float64[N, d]``, what the agent chose. It stands where ``part`` is not shown, where
                all of it is 0 and one action in a row should be 1, and where it is the same in single precision.
            part: of the row.

        Returns:
            An array like ``own``.
        """
        if part not in self:
            return own
        shown = rows[:, self[part]]
        if own.ndim == 1:
            return np.where(shown.any(axis=1), shown.argmax(axis=1), own)
        other = (np.abs(shown - own) > SINGLE_PRECISION).any(axis=1, keepdims=True)
        return np.where(other, shown, own)

    def wipe(self, rows: np.ndarray, where: np.ndarray) -> np.ndarray:
        """A copy of ``rows[N, size]`` without the past in the rows ``where`` (bool[N]): what the amnesiac twin sees."""
        rows = rows.copy()
        for name in WIPED_EXTRAS:
            if name in self._slices:
                rows[where, self._slices[name]] = 0.0
        return rows
