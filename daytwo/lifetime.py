"""The environments: lifetimes as Gymnasium episodes, many at a time (`LifetimeVectorEnv`) or one (`LifetimeEnv`).

One Gymnasium episode is one lifetime; it is terminated only when its course is over. Inner episodes begin inside the
step that ends the one before: ``episode_start`` in the observation and the keys of ``info`` tell. Both classes share
one implementation, `_Lifetimes`, so that lane i of a vector environment with seed s equals a single environment with
seed s + i.
"""

import copy
import functools
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from daytwo import kernels
from daytwo.agent import LifetimeSpec
from daytwo.calibration import reference_returns as look_up_reference_returns
from daytwo.course import Course, is_course_file, named_course
from daytwo.family import SPLITS, Scene, TaskFamily
from daytwo.improvement import ImprovementRule
from daytwo.loading import load
from daytwo.loop import (
    BAR,
    DIAGNOSTICS,
    DISABLED,
    EPISODE_ENDED,
    EPISODE_INDEX,
    EPISODE_RETURN,
    IMPROVEMENT,
    LEVEL,
    NEXT_STEP,
    NORMALIZED_RETURN,
    ORDER_CAPACITY,
    RAW_REWARD,
    REWARD,
    SAME_STEP,
    SOME_ENDED,
    SPLIT_CODES,
    STAGE,
    TABLE_DTYPE,
    TERMINATED,
    compiled_loop,
    lane_dtype,
    plan_dtype,
)
from daytwo.observation import Layout
from daytwo.random_policy import random_actions, random_vectors
from daytwo.registration import make_family, vector_entry_point
from daytwo.streams import MASK_64

_MODES = {
    AutoresetMode.NEXT_STEP: NEXT_STEP,
    AutoresetMode.SAME_STEP: SAME_STEP,
    AutoresetMode.DISABLED: DISABLED,
}
_REAL_KEYS = (
    ("episode_return", EPISODE_RETURN),
    ("episode_normalized_return", NORMALIZED_RETURN),
    ("improvement", IMPROVEMENT),
    ("bar", BAR),
)
_INT_KEYS = (("level", LEVEL), ("stage", STAGE), ("episode_index", EPISODE_INDEX))
_RESET_OPTIONS = ("task", "level", "course", "reset_mask")
MOST_MASTERY_SPREAD = 0.2
_POOL_SIZE = 4


def _count_unshared() -> int:
    """References to a buffer that only the pool holds, counted as `_fresh_rows` does: versions of Python differ."""
    pool = [np.empty(0)]
    for rows in pool:
        return sys.getrefcount(rows)
    raise AssertionError


_UNSHARED = _count_unshared()


def lane_seeds(seed: Any, num_envs: int) -> np.ndarray | None:
    """What `reset` was given as seeds, as one per lane.

    Args:
        seed: None, an integer s of at least 0 (lane i gets s + i), or one per lane.
        num_envs: how many lanes.

    Returns:
        ``uint64[num_envs]``, or None.

    Raises:
        ValueError: it is none of these.
    """
    if seed is None:
        return None
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, received {seed}.")
        base = int(seed) & MASK_64
        if base + num_envs <= MASK_64:
            return np.arange(base, base + num_envs, dtype=np.uint64)
        return np.array([(base + i) & MASK_64 for i in range(num_envs)], dtype=np.uint64)
    if isinstance(seed, np.ndarray) and seed.dtype.kind in "iu":
        array = seed
    elif isinstance(seed, list | tuple) and all(
        isinstance(one, int | np.integer) and not isinstance(one, bool) for one in seed
    ):
        if any(one < 0 for one in seed):
            raise ValueError(f"seeds must be 0 or more, received {seed!r}.")
        array = np.array([int(one) & MASK_64 for one in seed], dtype=np.uint64)
    else:
        raise ValueError(f"seed must be None, an integer, or {num_envs} integers; received {seed!r}.")
    if array.shape != (num_envs,):
        raise ValueError(f"Expected {num_envs} seeds, one per lifetime, received shape {array.shape}.")
    if array.dtype.kind == "i" and (array < 0).any():
        raise ValueError("seeds must be 0 or more.")
    return array.astype(np.uint64)


def check_reset_mask(mask: Any, num_envs: int, began: bool) -> None:
    """Refuse what cannot be the option ``reset_mask`` of a vector environment's `reset`.

    Raises:
        ValueError: it is no ``bool[num_envs]``, or chooses nothing.
        gymnasium.error.ResetNeeded: it leaves lanes out of the first reset.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (num_envs,):
        raise ValueError(f"reset_mask must be a bool array of shape ({num_envs},), received {mask!r}.")
    if not mask.any():
        raise ValueError("reset_mask must choose at least one lifetime.")
    if not began and not mask.all():
        raise gymnasium.error.ResetNeeded("The first reset must cover every lane: leave reset_mask out.")


class _Lifetimes:
    """N lifetimes of one family: settings, arrays, the loop. The two environments add Gymnasium's faces to it."""

    metadata: dict[str, Any]
    render_mode: str | None

    def _prepare(
        self,
        family: Any,
        num_envs: int,
        *,
        course: str | Course,
        level: int | None,
        episodes: int | None,
        mastery: float | None,
        reward: str,
        rate: float,
        dense: bool,
        split: str | None,
        observation: str,
        show: Sequence[str] | None,
        privileged: bool,
        task: str,
        mode: int,
        compiled: bool | None,
        render_mode: str | None,
        reference_returns: Any,
        settings: dict[str, Any],
    ) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"num_envs must be an integer of at least 1, received {num_envs!r}.")
        self.family: TaskFamily = make_family(family, **settings)
        family = self.family
        self.rule = ImprovementRule(reward, rate, dense)
        if observation not in ("flat", "dict"):
            raise ValueError(f"observation must be 'flat' or 'dict', received {observation!r}.")
        if task not in ("fixed", "redrawn"):
            raise ValueError(f"task must be 'fixed' or 'redrawn', received {task!r}.")
        if not isinstance(privileged, bool):
            raise ValueError(f"privileged must be True or False, received {privileged!r}.")
        if split is None:
            split = "train" if "train" in family.splits else "all"
        if split not in SPLITS:
            raise ValueError(f"Unknown split {split!r}: expected one of {', '.join(SPLITS)}.")
        if split not in family.splits:
            raise ValueError(
                f"{family.name} has only {family.distinct_tasks} different tasks under these settings, too few to "
                f"split: use split='all'; received {split!r}."
            )
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be one of {self.metadata['render_modes']}, received {render_mode!r}.")
        self.split = split
        self.privileged = privileged
        self.render_mode = render_mode
        self.reference_returns = look_up_reference_returns(family) if reference_returns is None else reference_returns
        if len(self.reference_returns.random_return) != len(family.levels):
            raise ValueError(
                f"reference_returns must have one entry for each of the {len(family.levels)} levels, received "
                f"{len(self.reference_returns.random_return)}."
            )
        if is_course_file(course):
            course = Course.load(course)  # type: ignore[arg-type]
        if isinstance(course, Course):
            if level is not None or episodes is not None or mastery is not None:
                raise ValueError("A Course sets levels, episodes and mastery itself: pass it alone.")
            self.course = course
        else:
            self.course = named_course(
                course,
                levels=len(family.levels),
                episodes=family.episodes if episodes is None else episodes,
                level=level,
                mastery=mastery,
            )
        self._check_course(self.course)
        self._longest_stage = max(stage.episodes for stage in self.course.stages)
        self.layout = Layout(
            family.fields,
            show=family.show if show is None else show,
            actions=family.actions,
            continuous=family.continuous,
            levels=len(family.levels),
            reward_range=family.reward_range,
            longest_stage=self._longest_stage,
        )
        self._as_dict = observation == "dict"
        self._continuous = family.continuous
        self._order_capacity = max(ORDER_CAPACITY, len(self.course.stages))

        n, masks = int(num_envs), family.action_masks
        self._n = n
        self._plan = self._make_plan(mode, task == "redrawn", masks)
        self._courses = [self.course]
        self._table = self._make_table()
        self._task = np.zeros(2 * n, dtype=family.task_dtype).view(np.recarray)
        self._task_bytes = self._task.view(np.ndarray).view(np.uint8).reshape(2 * n, -1)
        self._state = np.zeros(n, dtype=family.state_dtype).view(np.recarray)
        self._lanes = np.zeros(n, dtype=lane_dtype(len(family.levels), self._order_capacity)).view(np.recarray)
        self._rows = np.zeros((n, self.layout.size), dtype=np.float32)
        self._last_rows = np.zeros((n if mode == SAME_STEP else 0, self.layout.size), dtype=np.float32)
        self._pool: list[np.ndarray] = []
        self._pooled = False  # whether the present rows are of the pool
        # Where each diagnostic of the family lies in the rows of `_reals`.
        self._diagnostics: list[tuple[str, Any]] = []
        at = DIAGNOSTICS
        for field in family.diagnostics:
            self._diagnostics.append((field.name, at if field.size == 1 else slice(at, at + field.size)))
            at += field.size
        self._reals = np.zeros((at, n), dtype=np.float64)
        self._ints = np.zeros((3, n), dtype=np.int64)
        self._flags = np.zeros((2, n), dtype=np.bool_)
        self._mask = np.zeros((n, family.actions), dtype=np.bool_)
        self._no_actions = np.zeros((n, family.actions), np.float64) if self._continuous else np.zeros(n, np.int64)
        self._step_loop, self._oracle_loop = compiled_loop(family)
        if compiled is None:
            compiled = not kernels.is_interpreted()
        self._compiled = bool(compiled) and not family.interpreted
        self._bind()
        self._began = False

    def _bind(self) -> None:
        """Fix the loop and its arguments before and after the actions."""
        before = (self.family.settings, self._plan, self._table, self._task, self._task_bytes, self._lanes, self._state)
        after = (self._last_rows, self._reals, self._ints, self._flags, self._mask)
        # Plain arrays: numba's dispatch is slow on record arrays.
        self._arguments = tuple(array.view(np.ndarray) for array in before), after
        if self._compiled:
            self._run = self._step_loop.entry(*self._arguments[0], self._no_actions, self._rows, *after, False)
        else:
            self._run = self._step_loop.interpreted
        self._run_oracle = self._oracle_loop.compiled if self._compiled else self._oracle_loop.interpreted

    def _check_course(self, course: Course) -> None:
        levels = len(self.family.levels)
        if course.top_level >= levels:
            raise ValueError(f"{self.family.name} has levels 0..{levels - 1}; the course asks for {course.top_level}.")
        if course.mastery is not None:
            visited = {stage.level for stage in course.stages}
            spread = max(self.reference_returns.oracle_spread[level] for level in visited)
            if spread > MOST_MASTERY_SPREAD:
                raise ValueError(
                    f"{self.family.name}: the oracle's normalised return has a standard deviation of {spread:.2f}, too "
                    f"noisy to judge mastery by three episodes (at most {MOST_MASTERY_SPREAD}); leave mastery out."
                )

    def _make_plan(self, mode: int, redrawn: bool, masks: np.ndarray) -> np.recarray:
        family, layout, reference = self.family, self.layout, self.reference_returns
        offsets: list[int] = []
        for name in family.split_fields:
            dtype, start = family.task_dtype.fields[name][:2]  # type: ignore[index]
            offsets += range(start, start + dtype.itemsize)
        plan = np.zeros(1, dtype=plan_dtype(len(family.levels), family.actions, len(offsets))).view(np.recarray)
        plan.mode = mode
        plan.kind, plan.rate, plan.dense = self.rule.kind, self.rule.effective_rate, self.rule.dense
        plan.redrawn = redrawn
        plan.split = SPLIT_CODES[self.split]
        plan.split_bytes = len(offsets)
        plan.split_at[0, : len(offsets)] = offsets
        plan.family_size = layout.family_size
        plan.at_action = layout.start("previous_action")
        plan.at_reward = layout.start("previous_reward")
        plan.at_start = layout.start("episode_start")
        plan.at_time = layout.start("time")
        plan.at_level = layout.start("level")
        plan.at_episode = layout.start("episode")
        plan.at_stage_length = layout.start("stage_length")
        plan.at_final = layout.start("final_observation")
        plan.horizon[0] = [level.horizon for level in family.levels]
        low, high = np.array(reference.random_return), np.array(reference.oracle_return)
        plan.random_return[0] = low
        plan.scale[0] = 1.0 / (high - low)
        plan.masks[0] = masks
        return plan

    def _make_table(self) -> np.recarray:
        width = max(len(course.stages) for course in self._courses)
        table = np.zeros((len(self._courses), width), dtype=TABLE_DTYPE).view(np.recarray)
        for row, course in enumerate(self._courses):
            table.stages[row] = len(course.stages)
            table.shuffled[row] = course.shuffle
            table.mastery[row] = np.inf if course.mastery is None else course.mastery
            for column, stage in enumerate(course.stages):
                table.level[row, column] = stage.level
                table.episodes[row, column] = stage.episodes
                table.new_task[row, column] = stage.new_task
                table.switch_after[row, column] = stage.switch_after
        return table

    # --- what callers may ask -------------------------------------------------------------------------------------

    @property
    def lifetime_spec(self) -> LifetimeSpec:
        """All that an agent may know (see `LifetimeSpec`)."""
        family, layout = self.family, self.layout
        return LifetimeSpec(
            env_id=family.id,
            family=family.name,
            tags=family.tags,
            settings=dict(family.keywords),
            constants=family.settings[0],
            levels=family.levels,
            course=self.course,
            layout=layout,
            observation_space=layout.flat_space(),
            action_space=family.action_space,
            action_masks=family.action_masks,
            reward_range=family.reward_range,
            reference=family.reference,
            reactive=family.reactive,
            observed_mask=functools.partial(family.observed_mask, layout, self.course),
        )

    def oracle_actions(self) -> np.ndarray:
        """The oracle's actions in the present states, ``int64[N]`` or ``float64[N, d]``.

        Raises:
            PermissionError: the environment was made without ``privileged=True``.
            ValueError: the family has no oracle.
        """
        if not self.privileged:
            raise PermissionError("The oracle needs the hidden task: make the environment with privileged=True.")
        if self.family.oracle is None:
            raise ValueError(f"{self.family.name} has no oracle.")
        self._need_reset()
        out = np.zeros_like(self._no_actions)
        settings, _, _, task, _, lanes, state = self._arguments[0]
        self._run_oracle(settings, task, lanes, state, out)
        return out

    def random_actions(self, streams: np.ndarray) -> np.ndarray:
        """Actions uniform over those offered now, drawn from ``streams`` (``uint64[N, 4]``)."""
        self._need_reset()
        if self._continuous:
            return random_vectors(streams, self.family.actions)
        return random_actions(self._mask, streams)

    def tasks(self, lanes: Sequence[int] | np.ndarray | None = None) -> list[dict[str, Any]]:
        """The hidden tasks as plain dicts, one per lifetime (of those in ``lanes``); needs ``privileged=True``."""
        if not self.privileged:
            raise PermissionError("Tasks are hidden: make the environment with privileged=True.")
        self._need_reset()
        return [self.family.task_to_dict(self._task[i]) for i in (range(self._n) if lanes is None else lanes)]

    def set_tasks(self, mask: np.ndarray, tasks: Sequence[Any] | np.ndarray) -> None:
        """Hand chosen lifetimes what to live next; taken up at their next reset, for that one lifetime.

        Args:
            mask: ``bool[N]``, the chosen lanes.
            tasks: one entry per chosen lane, in order. An entry is a dict with some of ``task`` (a dict as from
                `TaskFamily.task_to_dict`, or a record), ``level`` (a single-level course) and ``course`` (a `Course`
                or a name), or a row of the family's ``teacher_space``.

        Raises:
            ValueError: wrong shape or number, or an impossible entry. Nothing is changed then.
        """
        mask = np.asarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (self._n,):
            raise ValueError(f"mask must be bool[{self._n}], received {mask.dtype}{list(mask.shape)}.")
        lanes = np.flatnonzero(mask)
        if isinstance(tasks, Mapping) or len(tasks) != len(lanes):
            received = "one dict" if isinstance(tasks, Mapping) else f"{len(tasks)}"
            raise ValueError(f"Expected one task for each of the {len(lanes)} chosen lifetimes, received {received}.")
        decoded = [self._decode(entry) for entry in tasks]
        for lane, (record, course) in zip(lanes, decoded, strict=True):
            if record is not None:
                self._task[self._n + lane] = record
            self._lanes.given[lane] = record is not None
            self._lanes.next_course[lane] = 0 if course is None else self._course_row(course)

    def _decode(self, entry: Any) -> tuple[Any, Course | None]:
        if isinstance(entry, np.void) and entry.dtype == self.family.task_dtype:
            entry = {"task": entry}
        if not isinstance(entry, Mapping):
            space = self.family.teacher_space
            row = np.asarray(entry, dtype=space.dtype) if isinstance(space, spaces.Box) else entry
            if isinstance(row, np.ndarray) and row.ndim == 0:
                row = row[()]
            if not space.contains(row):
                raise ValueError(f"{entry!r} is no row of the teacher space {space} of {self.family.name}.")
            entry = self.family.decode(row)
        entry = {key: value for key, value in entry.items() if value is not None}
        unknown = [key for key in entry if key not in ("task", "level", "course")]
        if unknown or not entry:
            raise ValueError(f"A task entry has some of the keys task, level, course; received {sorted(entry)}.")
        if "level" in entry and "course" in entry:
            raise ValueError("Give level or course, not both.")
        record, course = None, None
        if "task" in entry:
            given = entry["task"]
            if isinstance(given, np.void | np.ndarray) and given.dtype == self.family.task_dtype:
                given = self.family.task_to_dict(np.asarray(given).reshape(())[()])
            record = self.family.task_from_dict(given)[0]
        stage_length = self.course.stages[0].episodes
        if "level" in entry:
            course = named_course("single", levels=len(self.family.levels), episodes=stage_length, level=entry["level"])
        elif "course" in entry:
            course = entry["course"]
            if is_course_file(course):
                course = Course.load(course)
            if not isinstance(course, Course):
                course = named_course(course, levels=len(self.family.levels), episodes=stage_length)
        if course is not None:
            self._check_course(course)
            if len(course.stages) > self._order_capacity:
                raise ValueError(
                    f"A course handed over may have at most {self._order_capacity} stages here, received "
                    f"{len(course.stages)}."
                )
            longest = max(stage.episodes for stage in course.stages)
            shown = {"episode", "stage_length"} & set(self.layout.show)
            if shown and longest > self._longest_stage:
                raise ValueError(
                    f"The observation declares stages of at most {self._longest_stage} episodes, received {longest}."
                )
        return record, course

    def _course_row(self, course: Course) -> int:
        if course not in self._courses:
            self._courses.append(course)
            self._table = self._make_table()
            self._bind()
        return self._courses.index(course)

    def snapshot(self) -> dict[str, Any]:
        """The whole state, streams included, as a dict of arrays that `restore` takes (and pickle, too)."""
        return {
            "id": self.family.id,
            "settings": dict(self.family.keywords),
            "began": self._began,
            "plan": self._plan.tobytes(),
            "courses": list(self._courses),
            **{name: np.array(getattr(self, name), copy=True, subok=True) for name in self._saved()},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Bring back what `snapshot` saved, in an environment made with the same arguments.

        Raises:
            ValueError: the snapshot is of another family, other settings or another size. Nothing is changed then.
        """
        if not isinstance(snapshot, Mapping) or "id" not in snapshot:
            raise ValueError(f"Expected a dict from snapshot(), received {type(snapshot).__name__}.")
        if (snapshot["id"], snapshot["settings"]) != (self.family.id, dict(self.family.keywords)):
            raise ValueError(
                f"The snapshot is of {snapshot['id']} with {snapshot['settings']}; this is {self.family.id} with "
                f"{self.family.keywords}."
            )
        for name in self._saved():
            mine, saved = getattr(self, name), snapshot.get(name)
            if not isinstance(saved, np.ndarray) or saved.shape != mine.shape or saved.dtype != mine.dtype:
                raise ValueError(
                    f"The snapshot does not match this environment in {name[1:]}: was it made with other arguments?"
                )
        if snapshot.get("plan") != self._plan.tobytes() or snapshot.get("courses", [None])[0] != self.course:
            raise ValueError(
                "The snapshot is of an environment with another course, reward, split, task or autoreset_mode."
            )
        self._rows, self._pooled = self._rows.copy(), False  # callers may hold the present one
        for name in self._saved():
            getattr(self, name)[...] = snapshot[name]
        self._courses = list(snapshot["courses"])
        self._table = self._make_table()
        self._bind()
        self._began = bool(snapshot["began"])

    def __getstate__(self) -> dict[str, Any]:
        """Everything but compiled code and views, which a copy or another process makes anew."""
        state = self.__dict__.copy()
        for name in ("_step_loop", "_oracle_loop", "_run", "_run_oracle", "_arguments", "_task_bytes"):
            del state[name]
        state["_pool"] = []
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.family.settings.setflags(write=False)  # copies are writable, which would be another type to the compiler
        self._task_bytes = self._task.view(np.ndarray).view(np.uint8).reshape(2 * self._n, -1)
        self._step_loop, self._oracle_loop = compiled_loop(self.family)
        self._bind()

    @staticmethod
    def _saved() -> tuple[str, ...]:
        return ("_task", "_state", "_lanes", "_rows", "_last_rows", "_reals", "_ints", "_flags", "_mask")

    def bytes_per_lifetime(self) -> float:
        """Memory held per lifetime, in bytes: task, state, books, streams and everything a step returns."""
        arrays = [getattr(self, name) for name in self._saved()]
        return sum(array.nbytes for array in arrays) / self._n

    def bare_loop(self, actions: Sequence[np.ndarray]) -> Callable[[int], None]:
        """The loop alone, without checks and copies: ``run(count)`` takes ``count`` steps, for measuring speed."""
        self._need_reset()
        before, after = self._arguments
        run, rows, prepared = self._run, self._rows, [self._check_actions(action) for action in actions]  # type: ignore[attr-defined]

        def repeat(count: int) -> None:
            for k in range(count):
                run(*before, prepared[k % len(prepared)], rows, *after, False)

        return repeat

    def scene(self, lane: int = 0, reveal: bool | None = None) -> Scene:
        """What a rendering of one lifetime is made from."""
        self._need_reset()
        lanes = self._lanes
        level = int(lanes.level[lane])
        return Scene(
            task=self._task[lane],
            state=self._state[lane],
            level=level,
            time=int(lanes.time[lane]),
            episode=int(lanes.index[lane]),
            total=float(lanes.total[lane]),
            bar=float(lanes.bars[lane, level]),
            action=self._last_actions[lane] if self._last_actions is not None and lanes.time[lane] > 0 else None,
            reward=float(self._reals[RAW_REWARD, lane]),
            reveal=self.privileged if reveal is None else reveal,
        )

    _last_actions: np.ndarray | None = None

    # --- running --------------------------------------------------------------------------------------------------

    def _need_reset(self) -> None:
        if not self._began:
            raise gymnasium.error.ResetNeeded("Call reset() before anything else.")

    def _fresh_rows(self) -> np.ndarray:
        """A buffer for the coming observations that no caller can see: a former one that nobody holds, or a new one.

        Large new arrays cost more than writing them, since the system hands out their pages one by one.
        """
        if self._pooled and sys.getrefcount(self._rows) == _UNSHARED:
            return self._rows  # the caller has dropped the last one: still in the processor's cache
        for rows in self._pool:
            if sys.getrefcount(rows) == _UNSHARED:
                self._pooled = True
                return rows
        rows = np.empty_like(self._rows)
        self._pooled = len(self._pool) < _POOL_SIZE
        if self._pooled:
            self._pool.append(rows)
        return rows

    def _loop(self, actions: np.ndarray, resetting: bool) -> bool:
        """Run the loop once; returns whether some inner episode ended."""
        before, after = self._arguments
        bad = self._run(*before, actions, self._rows, *after, resetting)
        if bad >= 0:
            where = f" in lane {bad}" if self._n > 1 else ""
            raise ValueError(f"Action {actions[bad]!r}{where} is not in {self.family.action_space}; nothing was done.")
        return bad == SOME_ENDED

    def _begin(self, mask: np.ndarray | None, seeds: np.ndarray | None) -> None:
        """Reset the lanes in ``mask`` (all if None), keyed anew by ``seeds`` or going on to their next lifetime."""
        lanes = self._lanes
        chosen: Any = slice(None) if mask is None else mask
        if seeds is None and not self._began:
            entropy = np.random.SeedSequence().generate_state(self._n, np.uint64)
            lanes.seed[:] = entropy
            lanes.lifetime[:] = 0
        elif seeds is None:
            lanes.lifetime[chosen] += np.uint64(1)
        else:
            lanes.seed[chosen] = seeds[chosen]
            lanes.lifetime[chosen] = 0
        lanes.chosen[chosen] = 1
        self._loop(self._no_actions, True)
        self._began = True
        self._last_actions = None
        if lanes.impossible.any():
            lanes.impossible[:] = 0
            self._began = False
            raise ValueError(f"{self.family.name}: no task of split {self.split!r} was found under these settings.")

    def _check_options(self, options: Mapping[str, Any] | None) -> np.ndarray | None:
        """Apply ``task``, ``level`` and ``course`` of reset's options; returns the reset mask, if any."""
        if not options:
            return None
        for key in options:
            if key not in _RESET_OPTIONS:
                raise ValueError(f"Unknown reset option {key!r}: expected some of {', '.join(_RESET_OPTIONS)}.")
        mask = options.get("reset_mask")
        if mask is not None:
            check_reset_mask(mask, self._n, self._began)
        entry = {key: options[key] for key in ("task", "level", "course") if options.get(key) is not None}
        if entry:
            chosen = np.ones(self._n, dtype=np.bool_) if mask is None else mask
            count = int(chosen.sum())
            one = entry.get("task")
            if isinstance(one, list | tuple | np.ndarray) and not isinstance(one, np.void) and np.ndim(one) == 1:
                if len(one) != count:
                    raise ValueError(f"Expected {count} tasks, one per lifetime that is reset, received {len(one)}.")
                self.set_tasks(chosen, [{**entry, "task": task} for task in one])
            else:
                self.set_tasks(chosen, [entry] * count)
        return mask


class LifetimeVectorEnv(_Lifetimes, VectorEnv):
    """N lifetimes at a time, natively vectorised.

    Observations are ``float32[N, size]`` (see `daytwo.observation.Layout`), rewards ``float64[N]``, flags ``bool[N]``
    (``truncated`` is always false). ``info`` always holds ``raw_reward`` (``float64[N]``) and, for discrete actions,
    ``action_mask`` (``bool[N, actions]``); on steps on which inner episodes ended also ``episode_return``,
    ``episode_normalized_return``, ``improvement``, ``bar``, ``level``, ``stage``, ``episode_index``, each with its mask
    ``_key``, describing the episodes that just finished, and the family's diagnostics of them (``float64[N]``, or
    ``float64[N, size]``).
    """

    metadata: dict[str, Any] = {
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 8,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        family: Any,
        num_envs: int = 1,
        *,
        course: str | Course = "progressive",
        level: int | None = None,
        episodes: int | None = None,
        mastery: float | None = None,
        reward: str = "improvement",
        rate: float = 0.25,
        dense: bool = True,
        split: str | None = None,
        observation: str = "flat",
        show: Sequence[str] | None = None,
        privileged: bool = False,
        task: str = "fixed",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        compiled: bool | None = None,
        render_mode: str | None = None,
        reference_returns: Any = None,
        **settings: Any,
    ) -> None:
        """Make N lifetimes.

        Args:
            family: an id such as ``"daytwo/Bandit-v0"``, a `TaskFamily` subclass or instance, or ``"module:Class"``.
            num_envs: how many lifetimes run at a time.
            course: a `Course`, a name (progressive, single, shuffled, reversed, isolated, review, switch, interleaved,
                spaced, or one that was registered), or the file of a course (``my_course.toml``).
            level: the level of ``single`` and ``switch``; the top level by default.
            episodes: episodes per stage; the family's own number by default.
            mastery: end a stage early at this mean normalised return over three episodes; off by default.
            reward: the improvement rule (`daytwo.improvement.RULES`).
            rate: how far the bar moves towards each episode's return, in [0, 1].
            dense: pay on every step, or on an episode's last step only.
            split: which tasks: train, validation, test or all; train by default (all where there is no split).
            observation: ``flat`` (a Box) or ``dict``.
            show: the extras in the observation (`daytwo.observation.EXTRAS`); the family's own choice by default.
            privileged: allow `oracle_actions` and put the hidden ``task`` into ``info``.
            task: ``fixed``, or ``redrawn`` at every inner episode, silently (a control).
            autoreset_mode: Gymnasium's ``NEXT_STEP``, ``SAME_STEP`` or ``DISABLED``, or their values as text.
            compiled: False runs the loop as ordinary Python, with equal results.
            render_mode: None, ``ansi`` or ``rgb_array``.
            reference_returns: `daytwo.calibration.ReferenceReturns` to normalise by; looked up by default.
            settings: the family's own keyword arguments.

        Raises:
            ValueError: an unknown name or a value out of range, with what was expected.
        """
        try:
            autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            names = [mode.value for mode in AutoresetMode]
            raise ValueError(f"autoreset_mode must be one of {names}, received {autoreset_mode!r}.") from None
        self._prepare(
            family,
            num_envs,
            course=course,
            level=level,
            episodes=episodes,
            mastery=mastery,
            reward=reward,
            rate=rate,
            dense=dense,
            split=split,
            observation=observation,
            show=show,
            privileged=privileged,
            task=task,
            mode=_MODES[autoreset_mode],
            compiled=compiled,
            render_mode=render_mode,
            reference_returns=reference_returns,
            settings=settings,
        )
        self.num_envs = self._n
        self.autoreset_mode = autoreset_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": autoreset_mode}
        self.single_observation_space = self.layout.dict_space() if self._as_dict else self.layout.flat_space()
        self.single_action_space = copy.deepcopy(self.family.action_space)  # spaces hold a generator
        self.observation_space = batch_space(self.single_observation_space, self._n)
        self.action_space = batch_space(self.single_action_space, self._n)
        # The loop writes straight into what is returned, save where parts are copied out or lanes stay as they are.
        self._fresh_each_step = not self._as_dict and autoreset_mode is not AutoresetMode.DISABLED
        self._everywhere = np.ones(self._n, dtype=np.bool_)
        self._nowhere = np.zeros(self._n, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int] | np.ndarray | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin new lifetimes.

        Args:
            seed: None (the next lifetimes of the same lanes), an integer s (lane i gets s + i), or one per lane.
            options: some of ``reset_mask`` (``bool[N]``: only these lanes), and, for the lifetimes that begin,
                ``task``, ``level``, ``course`` (see `set_tasks`).

        Returns:
            Observations and ``info``.
        """
        seeds = lane_seeds(seed, self._n)
        mask = self._check_options(options)
        if mask is not None:
            self._rows, self._pooled = self._rows.copy(), False  # the other lanes' observations stay
        elif not self._as_dict:
            self._rows = self._fresh_rows()
        self._begin(mask, seeds)
        return self._observations(), self._standing_info(np.ones(self._n, dtype=np.bool_))

    def end(self, mask: np.ndarray) -> None:
        """End chosen lifetimes early: their lanes cost next to nothing until they are reset.

        Args:
            mask: ``bool[N]``, the lanes.

        Raises:
            ValueError: wrong shape or dtype, or the environment resets lanes by itself.
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        if self.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(f"Only autoreset_mode='Disabled' leaves lanes alone, received {self.autoreset_mode}.")
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self._n,):
            raise ValueError(f"mask must be a bool array of shape ({self._n},), received {mask!r}.")
        self._need_reset()
        self._lanes.finished[mask] = 1
        self._flags[TERMINATED, mask] = True

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one step in every lifetime.

        Args:
            actions: ``int[N]`` counted from 0, or ``float[N, d]`` in [-1, 1].

        Raises:
            ValueError: wrong shape or dtype, out of range or NaN; nothing is done then.
            gymnasium.error.ResetNeeded: before the first `reset`.
        """
        if not self._began:
            self._need_reset()
        actions = self._check_actions(actions)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            present = ~self._flags[TERMINATED]  # the others take the dummy step
        else:
            present = self._everywhere.copy()
        if self._fresh_each_step:
            fresh = self._fresh_rows()
            shown, self._rows = self._rows, fresh
            try:
                busy = self._loop(actions, False)
            except ValueError:
                self._rows = shown
                raise
            del shown, fresh  # references would keep the pool from using them again
        else:
            busy = self._loop(actions, False)
        self._last_actions = actions
        reals = self._reals.copy() if busy else self._reals[: RAW_REWARD + 1].copy()
        terminated = self._flags[TERMINATED].copy()
        info = self._standing_info(present, reals[RAW_REWARD])
        if busy:
            ended, ints = self._flags[EPISODE_ENDED].copy(), self._ints.copy()
            for key, row in _REAL_KEYS:
                info[key] = reals[row]
                info["_" + key] = ended
            for key, row in _INT_KEYS:
                info[key] = ints[row]
                info["_" + key] = ended
            for key, row in self._diagnostics:
                info[key] = reals[row].T
                info["_" + key] = ended
            if self.autoreset_mode is AutoresetMode.SAME_STEP and terminated.any():
                self._add_final(info, terminated, reals, ints)
        return self._observations(), reals[REWARD], terminated, self._nowhere.copy(), info

    def _check_actions(self, actions: Any) -> np.ndarray:
        array = np.asarray(actions)
        if not self._continuous and array.dtype == np.int64 and array.shape == self._no_actions.shape:
            return np.ascontiguousarray(array)  # the common case; the loop checks the range
        if array.shape != self._no_actions.shape:
            raise ValueError(f"Expected actions of shape {self._no_actions.shape}, received shape {array.shape}.")
        if self._continuous:
            if array.dtype.kind not in "fiu":
                raise ValueError(f"Expected actions of a float dtype, received {array.dtype}.")
            return np.ascontiguousarray(array, dtype=np.float64)
        if array.dtype.kind not in "iu":
            raise ValueError(f"Expected actions of an integer dtype, received {array.dtype}.")
        if array.dtype == np.uint64 and (array > np.uint64(self.family.actions)).any():
            raise ValueError(f"Actions must lie in 0..{self.family.actions - 1}, received {array.max()}.")
        return np.ascontiguousarray(array, dtype=np.int64)

    def _observations(self) -> Any:
        if self._as_dict:
            return self.layout.split(self._rows)
        return self._rows if self._fresh_each_step else self._rows.copy()

    def _standing_info(self, present: np.ndarray, raw_reward: np.ndarray | None = None) -> dict[str, Any]:
        info: dict[str, Any] = {
            "raw_reward": self._reals[RAW_REWARD].copy() if raw_reward is None else raw_reward,
            "_raw_reward": present,
        }
        if not self._continuous:
            info["action_mask"] = self._mask.copy()
            info["_action_mask"] = self._everywhere.copy()
        if self.privileged:
            info["task"] = np.array(self._task[: self._n], copy=True).view(np.ndarray)
            info["_task"] = np.ones(self._n, dtype=np.bool_)
        return info

    def _add_final(self, info: dict[str, Any], terminated: np.ndarray, reals: np.ndarray, ints: np.ndarray) -> None:
        final = np.full(self._n, None, dtype=object)
        for i in np.flatnonzero(terminated):
            row = self._last_rows[i]
            final[i] = self.layout.split(row) if self._as_dict else row.copy()
        info["final_obs"], info["_final_obs"] = final, terminated.copy()
        kept: dict[str, Any] = {"raw_reward": reals[RAW_REWARD].copy(), "_raw_reward": terminated.copy()}
        for keys, rows in ((_REAL_KEYS, reals), (_INT_KEYS, ints)):
            for key, row in keys:
                kept[key] = np.where(terminated, rows[row], 0)
                kept["_" + key] = terminated.copy()
        for key, row in self._diagnostics:
            values = reals[row].T
            kept[key] = np.where(terminated if values.ndim == 1 else terminated[:, None], values, 0.0)
            kept["_" + key] = terminated.copy()
        info["final_info"], info["_final_info"] = kept, terminated.copy()

    def render(self) -> tuple[Any, ...] | None:
        """One text or image (``uint8[height, width, 3]``) per lifetime, by ``render_mode``."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs render_mode='ansi' or 'rgb_array' when the environment is made.")
            return None
        draw = self.family.render_ansi if self.render_mode == "ansi" else self.family.render_rgb
        return tuple(draw(self.scene(i)) for i in range(self._n))


class LifetimeEnv(_Lifetimes, gymnasium.Env):
    """One lifetime at a time: the same as `LifetimeVectorEnv` with one lane, without autoreset.

    ``info`` holds ``raw_reward`` and, for discrete actions, ``action_mask``; on steps on which an inner episode ended
    also ``episode_return``, ``episode_normalized_return``, ``improvement``, ``bar``, ``level``, ``stage`` and
    ``episode_index`` of that episode, and the family's diagnostics of it.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 8}  # type: ignore[misc]

    def __init__(
        self,
        family: Any,
        *,
        course: str | Course = "progressive",
        level: int | None = None,
        episodes: int | None = None,
        mastery: float | None = None,
        reward: str = "improvement",
        rate: float = 0.25,
        dense: bool = True,
        split: str | None = None,
        observation: str = "flat",
        show: Sequence[str] | None = None,
        privileged: bool = False,
        task: str = "fixed",
        compiled: bool | None = None,
        render_mode: str | None = None,
        reference_returns: Any = None,
        **settings: Any,
    ) -> None:
        """Make one lifetime; the arguments are those of `LifetimeVectorEnv`."""
        self._prepare(
            family,
            1,
            course=course,
            level=level,
            episodes=episodes,
            mastery=mastery,
            reward=reward,
            rate=rate,
            dense=dense,
            split=split,
            observation=observation,
            show=show,
            privileged=privileged,
            task=task,
            mode=DISABLED,
            compiled=compiled,
            render_mode=render_mode,
            reference_returns=reference_returns,
            settings=settings,
        )
        self.observation_space = self.layout.dict_space() if self._as_dict else self.layout.flat_space()
        self.action_space = copy.deepcopy(self.family.action_space)  # spaces hold a generator
        self._action = np.zeros_like(self._no_actions)
        self._spare_action = np.zeros_like(self._no_actions)
        self._action_shape = (self.family.actions,)
        self._over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a new lifetime: of ``seed``, or the next one of the same seed.

        Args:
            seed: None or an integer of at least 0.
            options: some of ``task``, ``level``, ``course`` for this lifetime (see `set_tasks`).
        """
        seeds = lane_seeds(seed, self._n)
        mask = self._check_options(options)
        super().reset(seed=None if seeds is None else int(seeds[0]))
        self._begin(mask, seeds)
        self._over = False
        return self._observation(), self._standing_info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Args:
            action: an integer counted from 0, or ``float[d]`` in [-1, 1].

        Raises:
            ValueError: wrong shape or type, out of range or NaN; nothing is done then.
            gymnasium.error.ResetNeeded: before `reset`, or after the lifetime is over.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded("The lifetime has not begun or is over: call reset().")
        if self._continuous:
            array = np.asarray(action)
            if array.shape != self._action_shape or array.dtype.kind not in "fiu":
                raise ValueError(
                    f"Expected an action of {self._action_shape[0]} numbers in [-1, 1], received {action!r}."
                )
            self._action[0] = array
        else:
            try:
                self._action[0] = operator.index(action)
            except (TypeError, OverflowError):
                raise ValueError(f"Expected an integer action in {self.action_space}, received {action!r}.") from None
        busy = self._loop(self._action, False)
        info = self._standing_info()
        if busy:
            self._over = self._flags.item(TERMINATED, 0)
            reals, ints = self._reals[:, 0].tolist(), self._ints[:, 0].tolist()
            for key, row in _REAL_KEYS:
                info[key] = reals[row]
            for key, row in _INT_KEYS:
                info[key] = ints[row]
            for key, row in self._diagnostics:
                info[key] = reals[row] if isinstance(row, int) else np.array(reals[row])
        # The array of the last action stays as it is while the other takes the next one, which may be refused.
        self._last_actions, self._action, self._spare_action = self._action, self._spare_action, self._action
        return self._observation(), self._reals.item(REWARD, 0), self._over, False, info

    def _bind(self) -> None:
        super()._bind()
        self._row, self._offered = self._rows[0], self._mask[0]  # indexing once saves a tenth of a step

    def _observation(self) -> Any:
        return self.layout.split(self._row) if self._as_dict else self._row.copy()

    def _standing_info(self) -> dict[str, Any]:
        info: dict[str, Any] = {"raw_reward": self._reals.item(RAW_REWARD, 0)}
        if not self._continuous:
            info["action_mask"] = self._offered.copy()
        if self.privileged:
            info["task"] = self.family.task_to_dict(self._task[0])
        return info

    def render(self) -> Any:
        """The lifetime as text or image (``uint8[height, width, 3]``), by ``render_mode``."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs render_mode='ansi' or 'rgb_array' when the environment is made.")
            return None
        scene = self.scene()
        return self.family.render_ansi(scene) if self.render_mode == "ansi" else self.family.render_rgb(scene)

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """See `LifetimeVectorEnv.restore`."""
        super().restore(snapshot)
        self._over = not self._began or bool(self._lanes.finished[0])


def make_vector_env(env: Any, num_envs: int = 1, **settings: Any) -> Any:
    """The native vector environment of a family, or of an id that is no single family (``daytwo/Mixture-v0``).

    Args:
        env: an id, or whatever else `LifetimeVectorEnv` takes as a family.
        num_envs: how many lifetimes run at a time.
        **settings: keyword arguments of the environment.

    Raises:
        ValueError: an unknown id or setting, or a value out of range.
    """
    entry_point = vector_entry_point(env)
    if entry_point is not None:
        return load(entry_point)(num_envs=num_envs, **settings)
    return LifetimeVectorEnv(env, num_envs, **settings)
