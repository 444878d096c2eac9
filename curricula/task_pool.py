"""TaskPool: a finite set of an environment's tasks, numbered, for teachers that judge tasks one by one."""

from typing import Any

from gymnasium import spaces

from daytwo.checks import check_integer
from daytwo.lifetime import LifetimeVectorEnv
from daytwo.streams import lifetime_seeds


class TaskPool:
    """So many tasks of an environment at each of its levels, drawn once.

    Row ``level * tasks + k`` of the ``Discrete`` space is task k at that level; a task is the same at every level, as
    in a progressive course.

        pool = TaskPool("daytwo/Maze-v0", tasks=256)
        env = daytwo.TaughtVectorEnv(env, "plr", space=pool.space, decode=pool.decode)

    Attributes:
        space: ``Discrete(levels * tasks)``.
    """

    def __init__(
        self, env_id: Any, *, tasks: int = 256, seed: int = 0, split: str | None = None, **settings: Any
    ) -> None:
        """Draw the tasks.

        Args:
            env_id: whatever `LifetimeVectorEnv` takes as a family.
            tasks: how many, at least 1.
            seed: what they follow from.
            split: which tasks; ``train`` by default, ``all`` where there are too few to split.
            settings: the family's own keyword arguments, those of the environment that is taught.
        """
        count = check_integer("tasks", tasks, 1, 2**20)
        env = LifetimeVectorEnv(env_id, count, split=split, privileged=True, **settings)
        env.reset(seed=lifetime_seeds(check_integer("seed", seed, 0, 2**63 - 1), 0, count))
        self._tasks = env.tasks()
        self.space = spaces.Discrete(count * len(env.family.levels))
        env.close()

    def decode(self, row: Any) -> dict[str, Any]:
        """What a row stands for, as `LifetimeVectorEnv.set_tasks` takes it."""
        level, task = divmod(int(row), len(self._tasks))
        return {"level": level, "task": self._tasks[task]}
