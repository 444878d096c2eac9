"""A student whose learning can be computed by hand, so that a teacher can be judged within milliseconds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from daytwo.teacher import Outcomes

STEPS = 10  # environment steps of a lifetime


class SimulatedStudent:
    """Learns a chain of skills, each only as far as the one before it is mastered.

    A lifetime on skill k moves it by ``rate`` of the way towards skill k - 1 (skill 0: towards 1), never back. All
    lifetimes of a batch begin with the skills from before the batch.

    Args:
        space: of the tasks. Of a ``Discrete``, every task is a skill, in order. Of a ``Box``, the first coordinate is
            the difficulty: its range is cut into ``skills`` equal parts. Other coordinates change nothing.
        skills: how many, for a ``Box``.
        rate: share of the way that one lifetime goes.
        noise: 0: performance is the skill. 1: performance is 0 or 1, with the skill as the chance of 1. Between: that
            share of lifetimes ends in 0 or 1.
        seed: of the noise.
    """

    def __init__(
        self, space: spaces.Space, *, skills: int = 20, rate: float = 0.005, noise: float = 0.0, seed: int = 0
    ) -> None:
        self.space: Any = space
        self.rate, self.noise = rate, noise
        self.generator = np.random.default_rng([seed, 1])
        self.skill = np.zeros(int(space.n) if isinstance(space, spaces.Discrete) else skills)

    def skill_of(self, tasks: np.ndarray) -> np.ndarray:
        """Which skill each task needs, ``int64[n]``."""
        if isinstance(self.space, spaces.Discrete):
            return tasks - int(self.space.start)
        low, high = float(self.space.low.flat[0]), float(self.space.high.flat[0])
        difficulty = (tasks.reshape(len(tasks), -1)[:, 0].astype(np.float64) - low) / (high - low)
        return np.minimum((difficulty * len(self.skill)).astype(np.int64), len(self.skill) - 1)

    def practise(self, tasks: np.ndarray) -> Outcomes:
        """Live a batch of lifetimes, and learn from them."""
        chosen = self.skill_of(tasks)
        performance = self.skill[chosen]
        lucky = self.generator.random(len(tasks)) < performance
        performance = np.where(self.generator.random(len(tasks)) < self.noise, lucky, performance)
        lifetimes = np.bincount(chosen, minlength=len(self.skill))
        ahead = np.maximum(np.concatenate([[1.0], self.skill[:-1]]) - self.skill, 0.0)
        self.skill = self.skill + (1.0 - (1.0 - self.rate) ** lifetimes) * ahead
        return Outcomes(tasks, performance, np.full(len(tasks), STEPS))


@dataclass(frozen=True)
class Taught:
    """How teaching went.

    Attributes:
        skill: mean over all skills at the end.
        shares: of each round's lifetimes, the share spent on each skill, ``float64[rounds, skills]``.
    """

    skill: float
    shares: np.ndarray


def teach(teacher: Any, student: SimulatedStudent, *, lifetimes: int, batch: int = 16) -> Taught:
    """Let a teacher choose what a student practises: ``lifetimes`` in all, ``batch`` at a time."""
    shares = []
    for _ in range(lifetimes // batch):
        tasks = teacher.sample(batch)
        teacher.observe(student.practise(tasks))
        shares.append(np.bincount(student.skill_of(tasks), minlength=len(student.skill)) / batch)
    return Taught(float(student.skill.mean()), np.array(shares))
