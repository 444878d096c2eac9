"""Padding: one interface for all families with discrete actions, so that one network can live in any of them.

`Padding` turns a family's observation rows into rows of one width, in which what every family shows (the last action
and its reward, the start of an episode, the time, the level) always lies in the same columns, and turns actions out of
one range into the family's own. ``daytwo/Mixture-v0`` trains on padded lifetimes; an agent that was trained there acts
in an ordinary environment of any family, one that it never saw included, through ``Padding(spec, ...)``.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium import spaces

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_integer
from daytwo.family import TaskFamily
from daytwo.kernels import kernel
from daytwo.observation import Field, Layout

COMMON = ("previous_action", "previous_reward", "episode_start", "time", "level", "episode", "stage_length")


class PaddedLayout(Layout):
    """Where each part of a padded row lies: first `COMMON`, then the family's own part, then which family it is.

    ``observation`` is the family's own part, what it shows of the episode before (``final_observation``) behind it, and
    zeros up to the width. ``family`` (one-hot) is there only if ``families`` is not 0.
    """

    def __init__(self, *, width: int, actions: int, levels: int, families: int = 0) -> None:
        """Lay out padded rows.

        Args:
            width: columns of ``observation``, at least 1.
            actions: columns of ``previous_action``.
            levels: columns of ``level``.
            families: columns of ``family``.
        """
        self.fields = (Field("observation", width, -1.0, 1.0),)
        self.family_size = width
        self.show = COMMON
        sizes = {"previous_action": actions, "level": levels}
        common = [Field(name, sizes.get(name, 1), -1.0 if name == "previous_reward" else 0.0) for name in COMMON]
        self._arrange([*common, *self.fields, *([Field("family", families)] if families else [])])

    def wipe(self, rows: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Not for padded rows, where the last observation of the episode before cannot be told from the rest."""
        raise NotImplementedError("Wipe a family's own rows with its own layout, and pad them then.")


@kernel
def _pad(rows, where, columns, places, scales, reward_column, reward_place, reward_scale, out):
    """Write padded rows into ``out[i]`` for every i with ``where[i]``; the arguments are those of `Padding`."""
    for i in range(len(rows)):
        if not where[i]:
            continue
        out[i, :] = np.float32(0.0)
        for k in range(len(columns)):
            out[i, places[k]] = rows[i, columns[k]] * scales[k]
        if reward_column >= 0:
            reward = float(rows[i, reward_column])
            size = np.log1p(abs(reward)) * reward_scale
            out[i, reward_place] = size if reward >= 0.0 else -size


def padded_sizes(families: Iterable[TaskFamily]) -> dict[str, int]:
    """The least ``width``, ``actions`` and ``levels`` of a `Padding` that all of these families fit into."""
    sizes = {"width": 1, "actions": 1, "levels": 1}
    for family in families:
        own = sum(field.size for field in family.fields) * (2 if "final_observation" in family.show else 1)
        for name, size in (("width", own), ("actions", family.actions), ("levels", len(family.levels))):
            sizes[name] = max(sizes[name], size)
    return sizes


class Padding:
    """From a family's rows to padded rows, and from padded actions to the family's.

    The family's own part, what it shows of the episode before, and the counts of episodes are divided by the largest
    magnitude that their bounds allow, so they lie in [-1, 1] and zero stays zero: nothing shown, wiped and padded are
    all zero. The previous reward is ``sign(r) ln(1 + |r|) / ln(1 + R)``, where R is the largest magnitude that the
    family can pay in a step: in [-1, 1] for every family, with ordinary rewards visible where rare ones are large
    (the symmetric logarithm, Hafner et al. 2023, arXiv 2301.04104, in units of its largest value). Extras that the
    family does not show are zero. A padded action at or above the family's number n of actions stands for its
    remainder by n; masks offer only the n.

    Attributes:
        layout: of the padded rows.
        size: columns of a padded row.
        action_space: the padded actions.
    """

    def __init__(self, spec: LifetimeSpec, *, width: int, actions: int, levels: int) -> None:
        """Pad the lifetimes of one environment.

        Args:
            spec: the environment's `LifetimeSpec`, with flat observations.
            width: columns for the family's own part.
            actions: how many actions there are for all families.
            levels: columns for the level.

        Raises:
            ValueError: the family has continuous actions, or does not fit.
        """
        for name, value in (("width", width), ("actions", actions), ("levels", levels)):
            check_integer(name, value, 1, 100_000)
        if spec.continuous:
            raise ValueError(f"{spec.env_id} has continuous actions; only discrete ones can be padded.")
        layout = spec.layout
        final = layout["final_observation"] if "final_observation" in layout else slice(0, 0)
        own = [*range(layout.family_size), *range(final.start, final.stop)]
        for name, needed, given in (
            ("width", len(own), width),
            ("actions", spec.actions, actions),
            ("levels", len(spec.levels), levels),
        ):
            if needed > given:
                raise ValueError(f"{spec.env_id} needs {name} of at least {needed}, received {given}.")
        self.width, self.levels = int(width), int(levels)
        self.layout = PaddedLayout(width=width, actions=actions, levels=levels)
        self.size = self.layout.size
        self.action_space = spaces.Discrete(int(actions))
        self._spec_size, self._own_actions = layout.size, spec.actions
        columns, places = list(own), list(range(self.layout.start("observation"), self.size))[: len(own)]
        for name in COMMON:
            if name in layout and name != "previous_reward":
                part, start = layout[name], self.layout.start(name)
                columns += range(part.start, part.stop)
                places += range(start, start + part.stop - part.start)
        bounds = np.maximum(np.abs(layout.low), np.abs(layout.high)).astype(np.float64)
        scales = np.divide(1.0, bounds, out=np.zeros_like(bounds), where=bounds > 0.0)
        reward = layout.start("previous_reward")
        largest = bounds[reward] if reward >= 0 else 0.0
        self._plan = (
            np.array(columns, dtype=np.int64),
            np.array(places, dtype=np.int64),
            scales[columns],
            reward,
            self.layout.start("previous_reward"),
            float(1.0 / np.log1p(largest)) if largest > 0.0 else 0.0,
        )

    def describe(self) -> dict[str, int]:
        """The keyword arguments that a `Padding` into the same interface is made with, fit for JSON."""
        return {"width": self.width, "actions": int(self.action_space.n), "levels": self.levels}

    def observations(self, rows: np.ndarray, *, out: np.ndarray | None = None, where: Any = None) -> np.ndarray:
        """Pad observations.

        Args:
            rows: ``float32[N, size]`` as the family's environment returns them.
            out: where to write, ``float32[N, padded size or more]`` (further columns are zeroed); a new array by
                default.
            where: ``bool[N]``: only these rows are written; all by default.

        Returns:
            ``float32[N, padded size]``: ``out``, if it was given.

        Raises:
            ValueError: the rows are not those of the family.
        """
        if rows.ndim != 2 or rows.shape[1] != self._spec_size:
            raise ValueError(f"Expected rows of shape (N, {self._spec_size}), received {rows.shape}.")
        if out is None:
            out = np.zeros((len(rows), self.size), dtype=np.float32)
        if where is None:
            where = np.ones(len(rows), dtype=np.bool_)
        _pad(np.ascontiguousarray(rows, dtype=np.float32), where, *self._plan, out)
        return out

    def actions(self, padded: np.ndarray) -> np.ndarray:
        """The family's actions ``int64[N]`` for padded ones: the remainder by the family's number of actions."""
        return np.asarray(padded, dtype=np.int64) % self._own_actions

    def action_masks(self, masks: np.ndarray) -> np.ndarray:
        """The family's masks ``bool[N, n]`` for padded actions: ``bool[N, actions]``, those above n not offered."""
        out = np.zeros((len(masks), int(self.action_space.n)), dtype=np.bool_)
        out[:, : self._own_actions] = masks
        return out
