"""Environment ids, and how an id, a class or an instance becomes a family under settings."""

import inspect
import re
from typing import Any

import gymnasium

from daytwo.family import TaskFamily
from daytwo.loading import load

_families: dict[str, Any] = {}
# Environments that are no single family, and the classes of their vector environments.
_compounds: dict[str, str] = {}


def register(family: Any, *, env_id: str | None = None) -> str:
    """Register a family in Gymnasium under ``daytwo/<name>-v<version>``.

    Args:
        family: a `TaskFamily` subclass, or ``"module:Class"`` together with ``env_id`` (nothing is imported then).
        env_id: another id to register under, e.g. ``"mylab/Kitchen-v0"``.

    Returns:
        The id.

    Raises:
        ValueError: the id is malformed, or another family has it.
    """
    if isinstance(family, str):
        if env_id is None:
            raise ValueError(f"register({family!r}) needs env_id=, e.g. 'mylab/Kitchen-v0'.")
    elif not (isinstance(family, type) and issubclass(family, TaskFamily)):
        raise ValueError(f"register expects a TaskFamily subclass or 'module:Class', received {family!r}.")
    elif not family.name:
        raise ValueError(f"{family.__name__} must set the class attribute `name`.")
    if env_id is None:
        env_id = f"daytwo/{family.name}-v{family.version}"
    if not re.fullmatch(r"[\w-]+/[\w-]+-v\d+", env_id):
        raise ValueError(f"An id reads 'namespace/Name-v0', received {env_id!r}.")
    if env_id in _compounds:
        raise ValueError(f"{env_id} is registered already, for {_compounds[env_id]!r}.")
    known = _families.get(env_id)
    if known is not None:
        if known == family or (not isinstance(known, str) and not isinstance(family, str) and _same(known, family)):
            _families[env_id] = family
            return env_id
        raise ValueError(f"{env_id} is registered already, for {known!r}.")
    _families[env_id] = family
    gymnasium.register(
        id=env_id,
        entry_point="daytwo.lifetime:LifetimeEnv",
        vector_entry_point="daytwo.lifetime:LifetimeVectorEnv",
        kwargs={"family": family if isinstance(family, str) else env_id},
        # The environment checks its inputs and their order itself, on every step.
        order_enforce=False,
        disable_env_checker=True,
    )
    return env_id


def register_compound(env_id: str, *, entry_point: str, vector_entry_point: str) -> str:
    """Register an environment whose lifetimes are of several families.

    It is no family: `env_ids`, and with it suites and evaluations, which need one task family with one scale of
    returns, leave it out.

    Args:
        env_id: e.g. ``"daytwo/Mixture-v0"``.
        entry_point: ``"module:Class"`` of the `gymnasium.Env`.
        vector_entry_point: the same of the vector environment.

    Returns:
        The id.

    Raises:
        ValueError: a family has the id already.
    """
    if env_id in _families:
        raise ValueError(f"{env_id} is registered already, for {_families[env_id]!r}.")
    _compounds[env_id] = vector_entry_point
    gymnasium.register(
        id=env_id,
        entry_point=entry_point,
        vector_entry_point=vector_entry_point,
        order_enforce=False,
        disable_env_checker=True,
    )
    return env_id


def compound_ids() -> tuple[str, ...]:
    """The ids of environments whose lifetimes are of several families."""
    return tuple(_compounds)


def vector_entry_point(env: Any) -> str | None:
    """``"module:Class"`` of the vector environment of an id in `compound_ids`; None for everything else."""
    return _compounds.get(_bare(env)) if isinstance(env, str) else None


def _bare(env_id: str) -> str:
    """An id without a leading ``daytwo:``."""
    return env_id.removeprefix("daytwo:") if env_id.startswith("daytwo:daytwo/") else env_id


def _same(first: type, second: type) -> bool:
    return (first.__module__, first.__qualname__) == (second.__module__, second.__qualname__)


def env_ids() -> tuple[str, ...]:
    """The ids of all registered families, in the order of registration."""
    return tuple(_families)


def family_class(env_id: str) -> type[TaskFamily]:
    """The class behind an id (with or without a leading ``daytwo:``) or ``"module:Class"``.

    Raises:
        ValueError: no such id.
    """
    name = _bare(env_id)
    if name in _compounds:
        raise ValueError(
            f"{name} is no single family: its lifetimes are of several, which have no common scale of returns. Train "
            "on it, and evaluate on the families one by one."
        )
    found = _families.get(name)
    if found is None:
        if ":" in name and "/" not in name:
            found = name
        else:
            raise ValueError(
                f"Unknown environment {env_id!r}: expected one of {', '.join(_families)}, or module:Class."
            )
    loaded = load(found) if isinstance(found, str) else found
    if not (isinstance(loaded, type) and issubclass(loaded, TaskFamily)):
        raise ValueError(f"{found!r} is no TaskFamily subclass.")
    return loaded


def make_family(family: Any, **settings: Any) -> TaskFamily:
    """A family under settings.

    Args:
        family: an id, ``"module:Class"``, a `TaskFamily` subclass, or an instance (which takes no settings).
        settings: the family's own keyword arguments.

    Raises:
        ValueError: unknown id or setting, or a value out of range.
    """
    if isinstance(family, TaskFamily):
        if settings:
            raise ValueError(f"A family instance has its settings already, received {sorted(settings)} besides.")
        return family
    if isinstance(family, str):
        family = family_class(family)
    if not (isinstance(family, type) and issubclass(family, TaskFamily)):
        raise ValueError(f"Expected an environment id or a TaskFamily, received {family!r}.")
    parameters = inspect.signature(family.__init__).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        allowed = [name for name in parameters if name != "self"]
        for name in settings:
            if name not in allowed:
                raise ValueError(
                    f"Unknown setting {name!r} for {family.name}: it takes {', '.join(allowed) or 'no settings'}, "
                    "and every environment takes course, level, episodes, mastery, reward, rate, dense, split, "
                    "observation, show, privileged."
                )
    return family(**settings)
