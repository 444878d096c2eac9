"""A teacher in front of an environment: it chooses the task of every lifetime and learns how the lifetime ended.

    env = daytwo.TaughtVectorEnv(gymnasium.make_vec("daytwo/DarkRoom-v0", num_envs=256), "learning-progress")

and everything else stays as it was. `TaughtVectorEnv` speaks `set_tasks` to the environment and the four methods of
`daytwo.teacher` to the teacher; neither knows of the other.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorWrapper

from daytwo.lifetime import check_reset_mask
from daytwo.teacher import Outcomes, check_tasks, make_teacher, teacher_class

# Where a training run logs, update by update, what its teacher did: a file in its folder.
CURRICULUM = "curriculum.jsonl"

# Performance after adaptation: the mean of so many episodes at the end of the lifetime's last stage.
LAST_EPISODES = 3
# What the log counts as mastered, and over how many lifetimes it looks back.
MASTERED = 0.8
RECENT = 2048
# A Box is logged by cells: so many along each axis.
CELLS = 10


def level_box(levels: int) -> tuple[spaces.Box, Callable[[Any], dict[str, Any]]]:
    """A family's levels as one continuous coordinate, for teachers that need a ``Box``.

    Args:
        levels: how many there are.

    Returns:
        The space, ``[0, levels]``, and what a row of it stands for: the level is the coordinate rounded down.
    """
    space = spaces.Box(0.0, float(levels), (1,), dtype=np.float64)
    return space, lambda row: {"level": min(int(row[0]), levels - 1)}


class TeacherLog:
    """What a teacher's choices came to: counted by level, and over the last lifetimes by task."""

    def __init__(self, space: spaces.Space, levels: int) -> None:
        self.space = space
        self.lifetimes, self.steps = np.zeros(levels, dtype=np.int64), np.zeros(levels, dtype=np.int64)
        self.since = np.zeros(levels, dtype=np.int64)  # lifetimes since the last look
        self.cells = np.zeros(RECENT, dtype=np.int64)  # a ring of the last lifetimes: their tasks,
        self.performance = np.zeros(RECENT, dtype=np.float64)  # how they ended,
        self.recent_steps = np.zeros(RECENT, dtype=np.int64)  # and how long they were
        self.count = 0

    remembered = ("lifetimes", "steps", "since", "cells", "performance", "recent_steps", "count")

    def _cell(self, tasks: np.ndarray) -> np.ndarray:
        """Tasks as numbers by which equal, or in a ``Box`` near, ones are told from others."""
        if isinstance(self.space, spaces.Discrete):
            return tasks.astype(np.int64)
        assert isinstance(self.space, spaces.Box)
        width = np.maximum(self.space.high.astype(np.float64) - self.space.low, 1e-300)
        unit = ((tasks - self.space.low) / width).reshape(len(tasks), -1)
        cell = np.zeros(len(tasks), dtype=np.int64)
        for axis in range(unit.shape[1]):
            cell = cell * CELLS + np.minimum((unit[:, axis] * CELLS).astype(np.int64), CELLS - 1)
        return cell

    def add(self, outcomes: Outcomes, levels: np.ndarray) -> None:
        """Count finished lifetimes, each at one level."""
        np.add.at(self.lifetimes, levels, 1)
        np.add.at(self.since, levels, 1)
        np.add.at(self.steps, levels, outcomes.steps)
        at = (self.count + np.arange(len(outcomes))) % RECENT
        self.cells[at], self.performance[at] = self._cell(outcomes.tasks), outcomes.performance
        self.recent_steps[at] = outcomes.steps
        self.count += len(outcomes)

    def take(self) -> dict[str, float]:
        """Numbers for the log, empty before the first lifetime has ended; shares are of the lifetimes since last time.

        ``teacher/effective_tasks`` is the exponential of the entropy of the last 2048 lifetimes' tasks: as many tasks
        as would be, were they drawn alike. ``teacher/mastered`` is the share of those tasks on which they reached .8 in
        the mean, ``teacher/performance`` the mean over these lifetimes, ``teacher/trials_per_task`` and
        ``teacher/steps_per_task`` what was spent on each. By level k: ``teacher/share_k``, and ``teacher/trials_k`` and
        ``teacher/steps_k`` since the beginning.
        """
        if self.count == 0:
            return {}
        kept = slice(0, min(self.count, RECENT))
        _, place, counts = np.unique(self.cells[kept], return_inverse=True, return_counts=True)
        means = np.bincount(place, weights=self.performance[kept]) / counts
        share = counts / counts.sum()
        told = {
            "teacher/effective_tasks": float(np.exp(-(share * np.log(share)).sum())),
            "teacher/mastered": float((means >= MASTERED).mean()),
            "teacher/performance": float(self.performance[kept].mean()),
            "teacher/trials_per_task": float(counts.mean()),
            "teacher/steps_per_task": float(self.recent_steps[kept].sum() / len(counts)),
        }
        total = int(self.since.sum())
        for level in range(len(self.lifetimes)):
            if total:
                told[f"teacher/share_{level}"] = float(self.since[level] / total)
            told[f"teacher/trials_{level}"] = float(self.lifetimes[level])
            told[f"teacher/steps_{level}"] = float(self.steps[level])
        self.since[:] = 0
        return told


class TaughtVectorEnv(VectorWrapper):
    """Lifetimes whose tasks a teacher chooses.

    Every lifetime lives what the teacher sampled for it (by default one level of the family, from
    `TaskFamily.teacher_space`), and when it ends the teacher observes the outcome: the mean normalised return of the
    last three episodes of its last stage, clipped to [0, 1], and the steps it took. Lifetimes that are broken off by a
    `reset` leave no outcome.

    When the teacher chooses: with Gymnasium's ``NEXT_STEP`` and ``DISABLED`` autoreset a lane's next task is sampled
    after its last outcome was observed. With ``SAME_STEP`` the next lifetime begins within the step that ends the last
    one, so its task was sampled one lifetime earlier: what a teacher learns shows one lifetime later.

    Attributes:
        teacher: the teacher.
        log: a `TeacherLog`.
    """

    env: Any

    def __init__(
        self,
        env: Any,
        teacher: Any,
        *,
        space: spaces.Space | None = None,
        decode: Callable[[Any], Mapping[str, Any]] | None = None,
        seed: int = 0,
        budget: int | None = None,
        **options: Any,
    ) -> None:
        """Put a teacher in front of an environment.

        Args:
            env: a `LifetimeVectorEnv`.
            teacher: a name (`daytwo.teacher_names`), ``"module:Class"``, a class, or a teacher that is made already.
            space: of the tasks, with ``decode``; by default the family's ``teacher_space``, or its levels as one
                continuous coordinate (`level_box`) where the teacher needs a ``Box``.
            decode: what a row of ``space`` stands for: an entry as `LifetimeVectorEnv.set_tasks` takes it.
            seed: of a teacher given by name or class.
            budget: environment steps of the whole training, for teachers that plan by it.
            options: further arguments of a teacher given by name or class.

        Raises:
            ValueError: the environment takes no tasks, or an argument is unknown or out of range.
        """
        super().__init__(env)
        if not hasattr(env, "set_tasks") or not hasattr(env, "family"):
            raise ValueError(f"A teacher needs a daytwo.LifetimeVectorEnv, received {env!r}.")
        if (space is None) != (decode is None):
            raise ValueError("space and decode go together: what is sampled, and what it stands for.")
        family = env.family
        if space is None:
            space, decode = family.teacher_space, family.decode
            needed = teacher_class(teacher) if isinstance(teacher, str) else teacher
            kinds = getattr(needed, "kinds", None)
            if isinstance(space, spaces.Discrete) and kinds is not None and spaces.Discrete not in kinds:
                space, decode = level_box(len(family.levels))
        assert space is not None and decode is not None
        self.space, self.decode = space, decode
        self.teacher = make_teacher(teacher, space, seed=seed, budget=budget, **options)
        if getattr(self.teacher, "space", space) != space:
            raise ValueError(f"The teacher teaches on {self.teacher.space}, the environment's tasks are of {space}.")
        count, self._mode = env.num_envs, env.metadata["autoreset_mode"]
        self.log = TeacherLog(space, len(family.levels))
        row = np.zeros((count, *(space.shape or ())), dtype=space.dtype)
        self._next, self._now = row.copy(), row.copy()  # tasks handed over, and those lived at present
        self._handed = np.zeros(count, dtype=np.bool_)
        self._alive = np.zeros(count, dtype=np.bool_)
        self._steps = np.zeros(count, dtype=np.int64)
        self._returns = np.zeros((count, LAST_EPISODES), dtype=np.float64)  # of the present stage's last episodes
        self._episodes = np.zeros(count, dtype=np.int64)  # of the present stage, so far
        self._stage = np.zeros(count, dtype=np.int64)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    # --- Gymnasium's methods ------------------------------------------------------------------------------------------

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin new lifetimes, on tasks of the teacher's choice.

        Args:
            seed: as `LifetimeVectorEnv.reset`.
            options: ``reset_mask`` only: tasks, levels and courses are the teacher's.
        """
        given = sorted(set(options or {}) - {"reset_mask"})
        if given:
            raise ValueError(f"The teacher chooses what is lived: leave {given[0]!r} out of the options.")
        mask = None if options is None else options.get("reset_mask")
        if mask is not None:
            check_reset_mask(mask, self.num_envs, True)  # whether it is the first reset, the environment knows
        chosen = np.ones(self.num_envs, dtype=np.bool_) if mask is None else mask.copy()
        self._hand(chosen & ~self._handed)
        result = self.env.reset(seed=seed, options=options)
        self._begin(chosen)
        if self._mode is AutoresetMode.SAME_STEP:
            self._hand(chosen)
        return result

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take one step in every lifetime."""
        result = self.env.step(actions)
        info, terminated = result[4], result[2]
        if self._mode is AutoresetMode.NEXT_STEP:
            begun = ~self._alive & ~terminated
            if begun.any():
                self._begin(begun)
            self._steps += self._alive & ~begun
        else:
            self._steps += self._alive
        if "episode_normalized_return" in info:
            ended = np.flatnonzero(info["_episode_normalized_return"])
            stage = info["stage"][ended]
            self._episodes[ended] = np.where(stage == self._stage[ended], self._episodes[ended], 0)
            self._stage[ended] = stage
            slot = self._episodes[ended] % LAST_EPISODES
            self._returns[ended, slot] = info["episode_normalized_return"][ended]
            self._episodes[ended] += 1
            finished = terminated & self._alive
            if finished.any():
                self._finish(finished)
        return result

    # --- the teacher's turn -------------------------------------------------------------------------------------------

    def _hand(self, lanes: np.ndarray) -> None:
        """Sample tasks for the next lifetimes of some lanes (``bool[N]``), and hand them over."""
        count = int(lanes.sum())
        if not count:
            return
        tasks = check_tasks(self.teacher.sample(count), self.space)
        if len(tasks) != count:
            raise ValueError(f"The teacher was asked for {count} tasks and gave {len(tasks)}.")
        self.env.set_tasks(lanes, [self.decode(row) for row in tasks])
        self._next[lanes] = tasks
        self._handed[lanes] = True

    def _begin(self, lanes: np.ndarray) -> None:
        """Some lanes live now what was handed to them."""
        self._now[lanes] = self._next[lanes]
        self._handed[lanes] = False
        self._alive[lanes] = True
        self._steps[lanes], self._episodes[lanes], self._stage[lanes] = 0, 0, 0

    def _finish(self, lanes: np.ndarray) -> None:
        """Some lifetimes have ended: tell the teacher, and ask for the next tasks."""
        taken = np.minimum(self._episodes[lanes], LAST_EPISODES)
        kept = np.arange(LAST_EPISODES) < taken[:, None]
        performance = np.where(kept, self._returns[lanes], 0.0).sum(axis=1) / taken
        outcomes = Outcomes(self._now[lanes].copy(), np.clip(performance, 0.0, 1.0), self._steps[lanes].copy())
        self.log.add(outcomes, self._levels(outcomes.tasks))
        self.teacher.observe(outcomes)
        self._alive[lanes] = False
        if self._mode is AutoresetMode.SAME_STEP:
            self._begin(lanes)
        if self._mode is not AutoresetMode.DISABLED:
            self._hand(lanes)

    def _levels(self, tasks: np.ndarray) -> np.ndarray:
        """The level of each task; where a task names none, that of the course's first stage."""
        first = self.env.course.stages[0].level
        return np.array([self.decode(row).get("level", first) for row in tasks], dtype=np.int64)

    def take_figures(self) -> dict[str, float]:
        """What to log, since the last time: `TeacherLog.take`, and the teacher's own metrics as ``teacher/...``."""
        own: dict[str, float] = getattr(self.teacher, "metrics", dict)()
        return {**self.log.take(), **{f"teacher/{name}": float(value) for name, value in own.items()}}

    # --- state --------------------------------------------------------------------------------------------------------

    _arrays = ("_next", "_now", "_handed", "_alive", "_steps", "_returns", "_episodes", "_stage")

    def snapshot(self) -> dict[str, Any]:
        """The whole state of environment, teacher and log, as `restore` takes it."""
        return {
            **self.env.snapshot(),
            "teaching": {
                "teacher": self.teacher.state_dict(),
                "log": {name: np.array(getattr(self.log, name)) for name in self.log.remembered},
                **{name: getattr(self, name).copy() for name in self._arrays},
            },
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Bring back what `snapshot` gave, in an environment and with a teacher made with the same arguments.

        Raises:
            ValueError: it is of another environment or another teacher.
        """
        saved = snapshot.get("teaching") if isinstance(snapshot, Mapping) else None
        if saved is None:
            raise ValueError("The snapshot was taken without a teacher.")
        self.teacher.load_state_dict(saved["teacher"])
        self.env.restore({key: value for key, value in snapshot.items() if key != "teaching"})
        for name in self.log.remembered:
            value = np.array(saved["log"][name])
            setattr(self.log, name, int(value) if value.ndim == 0 else value)
        for name in self._arrays:
            getattr(self, name)[...] = saved[name]
