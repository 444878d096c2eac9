"""How to train which algorithm on which environment, where nothing else is asked for.

A preset's ``steps`` are those of the whole run and its ``settings`` say which course is lived and how it is paid; a
preset never changes the tasks. Everything else is a field of the algorithm's config, and what a line does not name is
as the config class says. ``default`` is for environments without a line of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What a preset's settings may be. The first four are one choice: whoever names a course names all of it.
COURSE_SETTINGS = ("course", "level", "episodes", "mastery")
PRESET_SETTINGS = (*COURSE_SETTINGS, "reward", "rate", "dense", "show")

# What carries most families: a keyed memory, which needs an encoder and the observation before the present one.
KEYED = {"encoder_size": 64, "gated": True, "previous": True, "memory_heads": 2}
# The same behind a recurrent layer that tells it what to store, and many small gradient steps.
FRONT = {**KEYED, "memory_units": 64, "lifetimes_per_batch": 16, "batches_per_update": 16}

# With a content for every place instead, whose places a preset tells.
WALKER = {**FRONT, "memory_heads": 0}

RECURRENT_PPO = {"steps": 4_000_000, "discount": 0.99}
PPO = {"steps": 4_000_000, "learning_rate": 3e-3, "discount": 0.99, "gae_lambda": 0.95}
STATISTICS = {**PPO, "policy_layers": (64, 64), "value_layers": (64, 64)}

# One line per family.
# fmt: off
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "rl2": {
        "default": {"steps": 10_000_000, **FRONT},
        "Mixture": {"steps": 10_000_000},
        "Bandit": {"steps": 20_000_000, "items": 10, "item_actions": 0, "item_units": 24, "encoder_size": 24, "hidden_size": 32, "previous": True, "lifetimes_per_batch": 16, "batches_per_update": 16, "learning_rate": 3e-3, "entropy": 0.0, "entropy_until": 0.9, "discount": 0.995, "imitate": 1.0},  # noqa: E501
        "TabularMDP": {"steps": 20_000_000, **KEYED, "learning_rate": 3e-3, "entropy": 0.03, "gae_lambda": 0.5},
        "DarkRoom": {"steps": 14_000_000, **FRONT, "hidden_size": 96, "memory_products": True, "memory_parts": ("x", "y", "keys"), "places": ("x", "y"), "place_plans": True, "entropy": 0.01, "imitate": 0.7, "first_share": 0.65, "first_stages": ((0, 4), (1, 3), (2, 7), (3, 20))},  # noqa: E501
        "Maze": {"steps": 26_000_000, **WALKER, "hidden_size": 96, "encoder_size": 96, "places": ("heading", "walls_behind"), "place_width": 13, "place_ahead": 7, "entropy": 0.004, "imitate": 0.09, "alone_share": 0.15, "first_share": 0.7, "first_stages": ((0, 6), (1, 8), (2, 12), (3, 14))},  # noqa: E501
        "LearningSet": {"steps": 20_000_000, "items": 8, "item_layers": 2, "item_parts": ("left", "right"), "encoder_size": 48, "hidden_size": 64, "previous": True, "lifetimes_per_batch": 16, "batches_per_update": 16, "rollout_steps": 50, "entropy": 0.0, "discount": 0.95, "imitate": 1.0, "alone_share": 0.06, "first_share": 0.7, "first_stages": ((0, 3), (1, 4), (2, 5), (3, 25))},  # noqa: E501
        "Alchemy": {"steps": 12_000_000, "hidden_size": 128, "encoder_size": 128, "gated": True, "previous": True, "slots": (("stones", 3), ("potions", 12)), "rollout_steps": 56, "lifetimes_per_batch": 16, "batches_per_update": 16, "learning_rate": 1.5e-3, "entropy": 0.01, "discount": 0.95},  # noqa: E501
        "Textbook": {"steps": 12_000_000, **FRONT, "encoder_size": 96, "memory_layers": 3, "memory_products": True, "memory_keys": 48, "memory_parts": ("form", "operators", "operands"), "rollout_steps": 50, "entropy": 0.0, "imitate": 1.0, "first_share": 0.65, "first_stages": ((1, 4), (3, 8), (2, 4), (4, 8), (5, 4))},  # noqa: E501
        "Laboratory": {"steps": 14_000_000, **FRONT, "hidden_size": 96, "encoder_size": 96, "rollout_steps": 50, "imitate": 0.75, "first_share": 0.6, "first_stages": ((0, 3), (1, 5), (2, 10), (3, 12))},  # noqa: E501
        "Workplace": {"steps": 16_000_000, **FRONT, "memory_heads": 3, "memory_parts": ("ticket",), "entropy": 0.003, "discount": 0.998, "gae_lambda": 0.9, "imitate": 0.8},  # noqa: E501
        "PointRobot": {"steps": 30_000_000, **FRONT, "hidden_size": 96, "memory_parts": ("goal",), "learning_rate": 1.5e-3, "entropy": 0.0, "std": 0.2, "clip_range": 0.1, "imitate": 0.62},  # noqa: E501
        "CartPole": {"steps": 40_000_000, "hidden_size": 128, "encoder_size": 64, "gated": True, "previous": True, "rollout_steps": 256, "lifetimes_per_batch": 16, "batches_per_update": 16, "entropy": 0.0, "discount": 0.995, "imitate": 1.0},  # noqa: E501
    },
    "recurrent-ppo": {
        "default": RECURRENT_PPO,
        "DarkRoom": {**RECURRENT_PPO, "discount": 0.95},
    },
    "ppo": {
        "default": PPO,
        "Bandit": {**PPO, "discount": 0.95, "gae_lambda": 0.8},
    },
    "ppo-statistics": {
        "default": STATISTICS,
        "Bandit": {**STATISTICS, "discount": 0.95, "gae_lambda": 0.8, "lifetimes_per_batch": 32},
    },
    "dpt": {
        "default": {"steps": 4_000_000},
        "TabularMDP": {"steps": 5_000_000},
    },
    "ad": {
        "default": {"steps": 6_000_000},
        "PointRobot": {"steps": 5_000_000},
    },
}
# fmt: on


@dataclass(frozen=True)
class Preset:
    """One line of `PRESETS`, taken apart.

    Attributes:
        steps: of the whole run.
        settings: keyword arguments of the environment.
        options: fields of the algorithm's config.
    """

    steps: int
    settings: Mapping[str, Any]
    options: Mapping[str, Any]


def family_key(env_id: Any) -> str:
    """The name that an environment's preset has: ``"Maze"`` for ``"daytwo/Maze-v0"``."""
    if isinstance(env_id, str):
        return env_id.rpartition("/")[2].partition("-v")[0]
    return str(getattr(env_id, "name", ""))


def find_preset(algorithm: str, env_id: Any) -> Preset:
    """The preset of an algorithm for an environment.

    Args:
        algorithm: a key of `PRESETS`.
        env_id: an environment's id; one without a line of its own has the default.
    """
    lines = PRESETS[algorithm]
    line = dict(lines.get(family_key(env_id), lines["default"]))
    return Preset(line.pop("steps"), line.pop("settings", {}), line)


def options_with(preset: Preset, given: Mapping[str, Any], taught: bool) -> dict[str, Any]:
    """The preset's fields of the config.

    Its own first stages are left out where somebody else says what is lived. Where the family itself has other
    settings, they and the parts of the observation are: there may be no such levels and parts then. Nor may there be as
    many items, or places, and the network of `FRONT` takes the place of one over items or with a memory of places.

    Args:
        preset: what to begin from.
        given: the settings that were given.
        taught: whether a teacher chooses what is lived.
    """
    changed = any(name not in PRESET_SETTINGS for name in given)
    chosen = taught or changed or any(name in given for name in COURSE_SETTINGS)
    left_out = {"first_share", "alone_share", "first_stages"} if chosen else set[str]()
    front: Mapping[str, Any] = {}
    if changed:
        left_out |= {"memory_parts", "items", "item_parts", "item_actions", "item_units", "item_layers", "hub_layers"}
        left_out |= {"places", "place_width", "place_ahead", "place_contents", "place_plans"}
        front = FRONT if {"items", "places"} & set(preset.options) else {}
    return {**{name: value for name, value in preset.options.items() if name not in left_out}, **front}


def settings_with(preset: Preset, given: Mapping[str, Any]) -> dict[str, Any]:
    """The environment's settings: those given, and the preset's where they leave room.

    A course that is given stands for itself: the preset's level and number of episodes belong to another one.
    """
    taken = COURSE_SETTINGS if "course" in given else ()
    return {**{name: value for name, value in preset.settings.items() if name not in taken}, **given}
