"""Mixture: every lifetime is of another family, in one padded interface.

For training one network on all families at once. Lifetimes are those of the families' own environments; this module
draws which family comes next, and pads what it shows and takes (`daytwo.padding.Padding`). The families have no common
task and no common scale of returns, so the mixture is no family itself: agents are evaluated on its members, and on
families that were held out, one by one.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from daytwo.agent import LifetimeSpec
from daytwo.checks import check_integer
from daytwo.course import Level
from daytwo.family import TaskFamily
from daytwo.lifetime import LifetimeVectorEnv, check_reset_mask, lane_seeds
from daytwo.padding import PaddedLayout, Padding, padded_sizes
from daytwo.registration import env_ids, make_family
from daytwo.streams import hash_words

ID = "daytwo/Mixture-v0"
# The families of version 0. They are written down, not looked up: another list would be another environment, and it
# also decides how wide the padded interface is.
FAMILIES = (
    "daytwo/Bandit-v0",
    "daytwo/TabularMDP-v0",
    "daytwo/DarkRoom-v0",
    "daytwo/Maze-v0",
    "daytwo/LearningSet-v0",
    "daytwo/Alchemy-v0",
    "daytwo/Textbook-v0",
    "daytwo/Laboratory-v0",
    "daytwo/Workplace-v0",
    "daytwo/CartPole-v0",
)
# Keyword arguments of `LifetimeVectorEnv` that all members share.
SHARED = ("course", "level", "episodes", "mastery", "reward", "rate", "dense", "split", "task", "compiled")
EQUAL = ("lifetimes", "steps")
REAL_KEYS = ("episode_return", "episode_normalized_return", "improvement", "bar")
INT_KEYS = ("level", "stage", "episode_index", "family")
# Domain of the hash that decides a lifetime, beside those in `daytwo.streams`; numbers 0: its family, 1: its seed.
_MIXTURE = np.uint64(6)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


def _names(families: Any) -> list[Any]:
    """A choice of families as a list; text may hold several, separated by commas."""
    if isinstance(families, str):
        return [name.strip() for name in families.split(",") if name.strip()]
    return list(families) if isinstance(families, Sequence) else [families]


def _find(name: Any) -> Any:
    """The id of a family's short name ("Maze"); everything else as it is."""
    if not isinstance(name, str) or "/" in name or ":" in name:
        return name
    found = [env_id for env_id in env_ids() if env_id.rpartition("/")[2].rpartition("-v")[0] == name]
    return found[-1] if found else name


@functools.cache
def _default_sizes() -> Mapping[str, int]:
    return padded_sizes(make_family(env_id) for env_id in FAMILIES)


class MixtureVectorEnv(VectorEnv):
    """N lifetimes at a time, each of a family drawn for it.

    It is used like `LifetimeVectorEnv` and returns the same, but for this: observations are padded rows (see
    `daytwo.padding.Padding`); ``info`` holds no diagnostics, and, beside ``level``, also ``family``, the index of the
    family whose episode just finished. Actions are ``Discrete(actions)`` for all families: one at or above a family's
    number n of actions stands for its remainder by n, and ``action_mask`` offers only the n.

    Lifetime l of the lane with seed s depends on (s, l) only: its family and the seed of its task are hashed from the
    two. It is, step by step, the lifetime of the member's own environment that begins with that seed
    (`lifetime_seeds`).

    Attributes:
        members: the families' environments, each with N lanes, of which those in use are run.
        paddings: the `daytwo.padding.Padding` of each member.
        families: the members' ids.
        layout: of the padded rows.
        lifetime_spec: what there is to know about the lifetimes. ``levels`` and ``course`` bound those of the
            members: the course is the longest of theirs and the horizons the longest at each level, so that lengths
            computed from them suffice for every family. ``observed_mask`` offers everything.
        member_specs: the members' own `LifetimeSpec`.
        interface: the keyword arguments of `Padding` into this interface, for families that were held out.
        family_index: ``int64[N]``, which family each lane lives now.
        lifetime_seeds: ``uint64[N]``, with which each member's own environment lives the same lifetime.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        families: Any = None,
        num_envs: int = 1,
        *,
        without: Any = (),
        equal: str = "lifetimes",
        show_family: bool = False,
        member_settings: Mapping[str, Mapping[str, Any]] | None = None,
        width: int | None = None,
        actions: int | None = None,
        levels: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **shared: Any,
    ) -> None:
        """Make N lifetimes.

        Args:
            families: which families, with discrete actions: ids, short names ("Maze"), classes; a sequence, or names
                separated by commas. All of `FAMILIES` by default.
            num_envs: how many lifetimes run at a time.
            without: which of them to hold out; given in the same way.
            equal: of what every family gets the same share in the long run: ``lifetimes``, or ``steps`` (families are
                drawn with probabilities inverse to their longest lifetimes: CartPole's last 35 times as long as
                LearningSet's).
            show_family: append which family it is to the observation (one-hot).
            member_settings: further keyword arguments of single members, by id or short name, such as
                ``{"Bandit": {"pulls": 10}}``.
            width: columns for a family's own part; by default enough for all of `FAMILIES`, held out or not, and for
                all members, so that families which were held out fit into the same interface.
            actions: how many actions, likewise.
            levels: columns for the level, likewise.
            autoreset_mode: Gymnasium's ``NEXT_STEP``, ``SAME_STEP`` or ``DISABLED``, or their values as text.
            **shared: keyword arguments of `LifetimeVectorEnv` for all members: those in `SHARED`.

        Raises:
            ValueError: an unknown name, a family that does not fit, or a value out of range.
        """
        self.num_envs = check_integer("num_envs", num_envs, 1, 1 << 31)
        if equal not in EQUAL:
            raise ValueError(f"equal must be one of {', '.join(EQUAL)}, received {equal!r}.")
        if not isinstance(show_family, bool | np.bool_):
            raise ValueError(f"show_family must be True or False, received {show_family!r}.")
        unknown = [name for name in shared if name not in SHARED]
        if unknown:
            raise ValueError(
                f"Unknown argument {unknown[0]!r} for a mixture: besides families, without, equal, show_family, "
                f"member_settings, width, actions, levels and autoreset_mode it takes {', '.join(SHARED)}; the "
                "families' own settings go into member_settings."
            )
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            names = [mode.value for mode in AutoresetMode]
            raise ValueError(f"autoreset_mode must be one of {names}, received {autoreset_mode!r}.") from None
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        made = self._make_families(FAMILIES if families is None else families, without, dict(member_settings or {}))
        own = padded_sizes(made)
        sizes = {
            name: max(_default_sizes()[name], own[name]) if given is None else given
            for name, given in (("width", width), ("actions", actions), ("levels", levels))
        }
        self.members = [
            LifetimeVectorEnv(family, self.num_envs, autoreset_mode=AutoresetMode.DISABLED, **shared) for family in made
        ]
        self.member_specs = tuple(member.lifetime_spec for member in self.members)
        self.paddings = tuple(Padding(spec, **sizes) for spec in self.member_specs)
        self.families = tuple(spec.env_id for spec in self.member_specs)
        self.interface = self.paddings[0].describe()
        self.equal, self.show_family = equal, bool(show_family)
        self.layout = PaddedLayout(families=len(made) if show_family else 0, **self.interface)
        self.single_observation_space = self.layout.flat_space()
        self.single_action_space = spaces.Discrete(self.interface["actions"])
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        weights = np.array([1.0 if equal == "lifetimes" else 1.0 / s.steps for s in self.member_specs])
        self._bounds = np.cumsum(weights / weights.sum())[:-1]
        n = self.num_envs
        self.family_index = np.full(n, -1, dtype=np.int64)
        self.lifetime_seeds = np.zeros(n, dtype=np.uint64)
        self._seed = np.zeros(n, dtype=np.uint64)
        self._lifetime = np.zeros(n, dtype=np.uint64)
        self._over = np.ones(n, dtype=np.bool_)
        self._rows = np.zeros((n, self.layout.size), dtype=np.float32)
        self._mask = np.zeros((n, self.interface["actions"]), dtype=np.bool_)
        self._started = [False] * len(made)  # a member whose family was not drawn yet has begun nothing
        self._began = False

    @staticmethod
    def _make_families(chosen: Any, without: Any, settings: dict[str, Any]) -> list[TaskFamily]:
        own = {_find(name): given for name, given in settings.items()}
        made = []
        for name in map(_find, _names(chosen)):
            family = make_family(name)
            if family.id in own:
                given = own.pop(family.id)
                if not isinstance(given, Mapping):
                    raise ValueError(f"member_settings of {family.id} must be a mapping, received {given!r}.")
                family = make_family(name, **given)
            if family.continuous:
                raise ValueError(f"{family.id} has continuous actions; a mixture takes discrete ones.")
            made.append(family)
        ids = [family.id for family in made]
        if own:
            raise ValueError(f"member_settings names {next(iter(own))!r}; the families are {', '.join(ids)}.")
        if len(set(ids)) < len(ids):
            raise ValueError(f"The families of a mixture must differ, received {', '.join(ids)}.")
        for name in map(_find, _names(without)):
            held_out = make_family(name).id
            if held_out not in ids:
                raise ValueError(f"without: {held_out} is none of the families {', '.join(ids)}.")
            made = [family for family in made if family.id != held_out]
        if not made:
            raise ValueError("A mixture needs at least one family.")
        return made

    # --- what callers may ask -------------------------------------------------------------------------------------

    @property
    def lifetime_spec(self) -> LifetimeSpec:
        """All that an agent may know (see the class)."""
        specs, actions = self.member_specs, self.interface["actions"]
        levels = []
        for k in range(self.interface["levels"]):
            horizons = [spec.levels[k].horizon for spec in specs if k < len(spec.levels)]
            levels.append(Level(f"level {k}", max(horizons, default=1)))
        return LifetimeSpec(
            env_id=ID,
            family="Mixture",
            tags=tuple(dict.fromkeys(tag for spec in specs for tag in spec.tags)),
            settings={"families": list(self.families), "show_family": self.show_family, **self.interface},
            constants=None,
            levels=tuple(levels),
            course=max((spec.course for spec in specs), key=lambda course: course.episodes),
            layout=self.layout,
            observation_space=self.layout.flat_space(),
            action_space=spaces.Discrete(actions),
            action_masks=np.ones((len(levels), actions), dtype=np.bool_),
            reward_range=(
                min(spec.reward_range[0] for spec in specs),
                max(spec.reward_range[1] for spec in specs),
            ),
            observed_mask=functools.partial(_offer_all, actions),
        )

    @property
    def course(self) -> Any:
        """The longest course of the members."""
        return self.lifetime_spec.course

    @property
    def rule(self) -> Any:
        """The improvement rule, the same for all members."""
        return self.members[0].rule

    @property
    def split(self) -> str:
        """Which tasks: the members' split, or ``mixed`` where a family that has no splits stands beside others."""
        splits = {member.split for member in self.members}
        return splits.pop() if len(splits) == 1 else "mixed"

    # --- running --------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int] | np.ndarray | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin new lifetimes.

        Args:
            seed: None (the next lifetimes of the same lanes), an integer s (lane i gets s + i), or one per lane.
            options: at most ``reset_mask`` (``bool[N]``: only these lanes).

        Returns:
            Observations and ``info``.
        """
        seeds = lane_seeds(seed, self.num_envs)
        for key in options or {}:
            if key != "reset_mask":
                raise ValueError(f"Unknown reset option {key!r} for a mixture: expected reset_mask.")
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            check_reset_mask(mask, self.num_envs, self._began)
        chosen = np.ones(self.num_envs, dtype=np.bool_) if mask is None else mask.copy()
        if seeds is None and not self._began:
            seeds = np.random.SeedSequence().generate_state(self.num_envs, np.uint64)
        if seeds is not None:
            self._seed[chosen] = seeds[chosen]
            self._lifetime[chosen] = 0
        else:
            self._lifetime[chosen] += np.uint64(1)
        self._begin(chosen)
        self._began = True
        everywhere = np.ones(self.num_envs, dtype=np.bool_)
        return self._rows.copy(), self._standing_info(np.zeros(self.num_envs), everywhere)

    def _begin(self, chosen: np.ndarray) -> None:
        """Begin the lifetimes of (`_seed`, `_lifetime`) in the chosen lanes."""
        left = chosen & ~self._over
        if left.any():  # lifetimes that are broken off must not run on
            for index in np.unique(self.family_index[left]):
                self.members[index].end(left & (self.family_index == index))
        self._draw(chosen)
        self._over[chosen] = False
        self._mask[chosen] = False
        for index in np.unique(self.family_index[chosen]):
            member, mine = self.members[index], chosen & (self.family_index == index)
            if not self._started[index]:
                member.reset(seed=self.lifetime_seeds)
                member.end(~mine)
                self._started[index] = True
            rows, info = member.reset(seed=self.lifetime_seeds, options={"reset_mask": mine})
            self._take(index, mine, rows, info)

    def _draw(self, chosen: np.ndarray) -> None:
        """Draw families and seeds for the lifetimes (`_seed`, `_lifetime`) in the chosen lanes."""
        with np.errstate(over="ignore"):
            lifetimes = hash_words(self._seed[chosen], self._lifetime[chosen])
            word = hash_words(lifetimes, hash_words(_MIXTURE, np.uint64(0)))
            self.lifetime_seeds[chosen] = hash_words(lifetimes, hash_words(_MIXTURE, np.uint64(1)))
        drawn = (word >> np.uint64(11)).astype(np.float64) * _TO_UNIT
        self.family_index[chosen] = np.searchsorted(self._bounds, drawn, side="right")

    def _take(self, index: int, mine: np.ndarray, rows: np.ndarray, info: Mapping[str, Any]) -> None:
        """Pad the rows and masks of a member's lanes."""
        self.paddings[index].observations(rows, out=self._rows, where=mine)
        if self.show_family:
            self._rows[mine, self.layout.start("family") + index] = 1.0
        offered, lanes = info["action_mask"], np.flatnonzero(mine)
        self._mask[lanes, : offered.shape[1]] = offered[lanes]

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one step in every lifetime.

        Args:
            actions: ``int[N]``, counted from 0.

        Raises:
            ValueError: wrong shape or dtype, or out of range; nothing is done then.
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        if not self._began:
            raise gymnasium.error.ResetNeeded("Call reset() before anything else.")
        actions = self._check_actions(actions)
        n = self.num_envs
        beginning = self._over.copy() if self.autoreset_mode is AutoresetMode.NEXT_STEP else None
        terminated = self._over.copy() if self.autoreset_mode is AutoresetMode.DISABLED else np.zeros(n, np.bool_)
        rewards, raw = np.zeros(n), np.zeros(n)
        finished: dict[str, np.ndarray] = {}
        ended = np.zeros(n, dtype=np.bool_)
        playing = np.where(self._over, -1, self.family_index)
        for index, member in enumerate(self.members):
            mine = playing == index
            if not mine.any():
                continue
            own = np.where(mine, self.paddings[index].actions(actions), 0)
            rows, reward, over, _, info = member.step(own)
            self._take(index, mine, rows, info)
            np.copyto(rewards, reward, where=mine)
            np.copyto(raw, info["raw_reward"], where=mine)
            np.copyto(terminated, over, where=mine)
            if "_episode_return" not in info:
                continue
            if not finished:
                finished = {key: np.zeros(n) for key in REAL_KEYS}
                finished |= {key: np.zeros(n, dtype=np.int64) for key in INT_KEYS}
            here = info["_episode_return"] & mine
            ended |= here
            for key in (*REAL_KEYS, *INT_KEYS[:-1]):
                np.copyto(finished[key], info[key], where=here)
            finished["family"][here] = index
        over_now = terminated & ~self._over
        self._over |= over_now
        final: dict[str, Any] = {}
        present = np.ones(n, dtype=np.bool_)
        if beginning is not None and beginning.any():
            present = ~beginning
            self._lifetime[beginning] += np.uint64(1)
            self._begin(beginning)
        elif self.autoreset_mode is AutoresetMode.SAME_STEP and over_now.any():
            final = self._final(over_now, raw, finished)
            self._lifetime[over_now] += np.uint64(1)
            self._begin(over_now)
        info = self._standing_info(raw, present)
        for key, values in finished.items():
            info[key], info["_" + key] = values, ended.copy()
        return self._rows.copy(), rewards, terminated, np.zeros(n, dtype=np.bool_), {**info, **final}

    def _check_actions(self, actions: Any) -> np.ndarray:
        array = np.asarray(actions)
        if array.shape != (self.num_envs,):
            raise ValueError(f"Expected actions of shape {(self.num_envs,)}, received shape {array.shape}.")
        if array.dtype.kind not in "iu":
            raise ValueError(f"Expected actions of an integer dtype, received {array.dtype}.")
        most = self.interface["actions"] - 1
        bad = (array < 0) | (array > most)
        if bad.any():
            lane = int(np.flatnonzero(bad)[0])
            raise ValueError(f"Actions must lie in 0..{most}, received {array[lane]} in lane {lane}; nothing was done.")
        return array.astype(np.int64)

    def _standing_info(self, raw: np.ndarray, present: np.ndarray) -> dict[str, Any]:
        return {
            "raw_reward": raw,
            "_raw_reward": present,
            "action_mask": self._mask.copy(),
            "_action_mask": np.ones(self.num_envs, dtype=np.bool_),
        }

    def _final(self, over: np.ndarray, raw: np.ndarray, finished: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """``final_obs`` and ``final_info`` of the lifetimes that another follows at once."""
        rows = np.full(self.num_envs, None, dtype=object)
        for lane in np.flatnonzero(over):
            rows[lane] = self._rows[lane].copy()
        kept: dict[str, Any] = {"raw_reward": raw.copy(), "_raw_reward": over.copy()}
        for key, values in finished.items():
            kept[key], kept["_" + key] = np.where(over, values, 0), over.copy()
        return {"final_obs": rows, "_final_obs": over.copy(), "final_info": kept, "_final_info": over.copy()}

    # --- keeping --------------------------------------------------------------------------------------------------

    _SAVED = ("family_index", "lifetime_seeds", "_seed", "_lifetime", "_over", "_rows", "_mask")

    def snapshot(self) -> dict[str, Any]:
        """The whole state, streams included, as plain values and arrays that `restore` takes (and pickle, too)."""
        return {
            "id": ID,
            "families": list(self.families),
            "equal": self.equal,
            "autoreset_mode": self.autoreset_mode.value,
            "began": self._began,
            "started": list(self._started),
            "members": [member.snapshot() for member in self.members],
            **{name: getattr(self, name).copy() for name in self._SAVED},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Bring back what `snapshot` saved, in an environment made with the same arguments.

        Raises:
            ValueError: the snapshot is of another environment, other arguments or another size. Nothing is changed
                then.
        """
        if not isinstance(snapshot, Mapping) or snapshot.get("id") != ID:
            raise ValueError(f"Expected a dict from the snapshot() of a mixture, received {type(snapshot).__name__}.")
        expected = {
            "families": list(self.families),
            "equal": self.equal,
            "autoreset_mode": self.autoreset_mode.value,
        }
        for name, mine in expected.items():
            if snapshot[name] != mine:
                raise ValueError(f"The snapshot is of a mixture with {name} {snapshot[name]}; this has {mine}.")
        for name in self._SAVED:
            if snapshot[name].shape != getattr(self, name).shape:
                raise ValueError(
                    f"The snapshot does not match this mixture in {name.lstrip('_')}: was it made with other arguments?"
                )
        before = [member.snapshot() for member in self.members]
        try:
            for member, saved in zip(self.members, snapshot["members"], strict=True):
                member.restore(saved)
        except ValueError:
            for member, saved in zip(self.members, before, strict=True):
                member.restore(saved)
            raise
        for name in self._SAVED:
            getattr(self, name)[...] = snapshot[name]
        self._began, self._started = bool(snapshot["began"]), list(snapshot["started"])


def _offer_all(actions: int, observations: np.ndarray) -> np.ndarray:
    return np.ones((len(observations), actions), dtype=np.bool_)


class MixtureEnv(gymnasium.Env):
    """One lifetime at a time, each of a family drawn for it: `MixtureVectorEnv` with one lane, without autoreset.

    ``info`` holds ``raw_reward`` and ``action_mask``, and where an inner episode ended ``episode_return``,
    ``episode_normalized_return``, ``improvement``, ``bar``, ``level``, ``stage``, ``episode_index`` and ``family``.

    Attributes:
        lanes: the `MixtureVectorEnv` underneath.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(self, families: Any = None, **arguments: Any) -> None:
        """Make one lifetime; the arguments are those of `MixtureVectorEnv` without ``autoreset_mode``."""
        for name in ("autoreset_mode", "num_envs"):
            if name in arguments:
                raise ValueError(f"A single environment takes no {name}, received {arguments[name]!r}.")
        if arguments.pop("render_mode", None) is not None:
            raise ValueError("A mixture has no render modes: render its families' own environments.")
        self.lanes = MixtureVectorEnv(families, 1, autoreset_mode=AutoresetMode.DISABLED, **arguments)
        self.observation_space = self.lanes.single_observation_space
        self.action_space = self.lanes.single_action_space
        self.layout = self.lanes.layout
        self._finished = True

    @property
    def lifetime_spec(self) -> LifetimeSpec:
        """See `MixtureVectorEnv`."""
        return self.lanes.lifetime_spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a new lifetime: of ``seed``, or the next one of the same seed; there are no options."""
        if options:
            raise ValueError(f"Unknown reset option {next(iter(options))!r}: a mixture takes none.")
        seeds = lane_seeds(seed, 1)
        super().reset(seed=None if seeds is None else int(seeds[0]))
        observations, info = self.lanes.reset(seed=seeds)
        self._finished = False
        return observations[0], self._own(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Args:
            action: an integer, counted from 0.

        Raises:
            ValueError: it is none, or out of range; nothing is done then.
            gymnasium.error.ResetNeeded: before `reset`, or after the lifetime is over.
        """
        if self._finished:
            raise gymnasium.error.ResetNeeded("The lifetime has not begun or is over: call reset().")
        observations, rewards, terminated, _, info = self.lanes.step(np.asarray(action)[None])
        self._finished = bool(terminated[0])
        return observations[0], float(rewards[0]), self._finished, False, self._own(info)

    @staticmethod
    def _own(info: Mapping[str, Any]) -> dict[str, Any]:
        told = {key: info[key][0] for key in info if not key.startswith("_") and info["_" + key][0]}
        return {key: value.copy() if isinstance(value, np.ndarray) else value.item() for key, value in told.items()}

    def snapshot(self) -> dict[str, Any]:
        """See `MixtureVectorEnv.snapshot`."""
        return self.lanes.snapshot()

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """See `MixtureVectorEnv.restore`."""
        self.lanes.restore(snapshot)
        self._finished = bool(self.lanes.snapshot()["_over"][0])
