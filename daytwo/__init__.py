"""DayTwo: Gymnasium environments that measure and train learning to learn.

``gymnasium.make("daytwo/DarkRoom-v0")`` is one lifetime: a course of episodes that share a hidden task, paid by
improvement over the lifetime's own earlier episodes. See the README for the rest.
"""

from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a source checkout the spokes stand beside this folder; an installed package holds them inside it.
_root = _Path(__file__).resolve().parent.parent
if (_root / "setup.cfg").is_file() and (_root / "envs" / "__init__.py").is_file():
    __path__.append(str(_root))

from daytwo.agent import Agent, LifetimeSpec, PolicyAgent, agent_names, make_agent, register_agent  # noqa: E402
from daytwo.course import Course, Level, Stage  # noqa: E402
from daytwo.family import Scene, TaskFamily  # noqa: E402
from daytwo.lifetime import LifetimeEnv, LifetimeVectorEnv  # noqa: E402
from daytwo.observation import Field  # noqa: E402
from daytwo.registration import env_ids, make_family, register  # noqa: E402
from daytwo.teacher import Outcomes, Teacher, make_teacher, register_teacher, teacher_names  # noqa: E402
from daytwo.teacher_rules import check_teacher  # noqa: E402
from daytwo.teaching import TaughtVectorEnv  # noqa: E402

import daytwo.baselines  # noqa: E402  isort: skip - registers the agents' names
import daytwo.curricula  # noqa: E402  isort: skip - registers the courses' and the teachers' names
import daytwo.envs  # noqa: E402  isort: skip - registers the ids

if TYPE_CHECKING:
    from daytwo.evaluation import Result, Scores, evaluate, score

# Imported on first use, since they need more than the core dependencies.
_LAZY = {
    "evaluate": "daytwo.evaluation",
    "score": "daytwo.evaluation",
    "Result": "daytwo.evaluation",
    "Scores": "daytwo.evaluation",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'daytwo' has no attribute {name!r}")


__all__ = [
    "Agent",
    "Course",
    "Field",
    "Level",
    "LifetimeEnv",
    "LifetimeSpec",
    "LifetimeVectorEnv",
    "Outcomes",
    "PolicyAgent",
    "Result",
    "Scene",
    "Scores",
    "Stage",
    "TaskFamily",
    "TaughtVectorEnv",
    "Teacher",
    "agent_names",
    "check_teacher",
    "env_ids",
    "evaluate",
    "make_agent",
    "make_family",
    "make_teacher",
    "register",
    "register_agent",
    "register_teacher",
    "score",
    "teacher_names",
]
