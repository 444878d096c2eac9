"""Settings of the training algorithms, their presets, and what the documentation says of them."""

import dataclasses
import json
from pathlib import Path

import pytest

import daytwo
from daytwo.baselines.trained import SHIPPED

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

from daytwo.integrations.presets import PRESET_SETTINGS, PRESETS, find_preset, settings_with
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv
from daytwo.integrations.trainers import ALGORITHMS
from daytwo.integrations.training import make_plan, train
from daytwo.integrations.training_config import (
    PPOConfig,
    RecurrentPPOConfig,
    RL2Config,
    field_names,
    field_sentences,
    options_table,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (PPOConfig, "rollout_steps", 0),
        (PPOConfig, "epochs", 1.5),
        (PPOConfig, "learning_rate", 0.0),
        (PPOConfig, "learning_rate", float("nan")),
        (PPOConfig, "discount", 1.1),
        (PPOConfig, "gae_lambda", -0.1),
        (PPOConfig, "entropy", -1.0),
        (PPOConfig, "value_layers", (0,)),
        (PPOConfig, "activation", "gelu"),
        (RecurrentPPOConfig, "hidden_size", True),
        (RecurrentPPOConfig, "forget_bias", float("inf")),
        (RL2Config, "imitate", 1.5),
        (RL2Config, "normalize", "some"),
        (RL2Config, "masked", 1),
        (RL2Config, "memory_parts", "cue"),
        (RL2Config, "memory_layers", 0),
        (RL2Config, "slots", (("stones", 3),)),
        (RL2Config, "slots", (("stones", 3), ("potions", 0))),
        (RL2Config, "slots", "stones"),
        (RL2Config, "items", -1),
        (RL2Config, "item_units", 0),
        (RL2Config, "hub_layers", 2),
        (RL2Config, "item_actions", 1.5),
        (RL2Config, "item_parts", "switches"),
        (RL2Config, "places", ("x",)),
        (RL2Config, "places", "xy"),
        (RL2Config, "place_contents", 0),
        (RL2Config, "place_width", -1),
        (RL2Config, "first_stages", ((1, 0),)),
        (RL2Config, "first_stages", (1, 2)),
        (RL2Config, "first_stages", ((1.5, 2),)),
        (RL2Config, "initial", 3),
        (RL2Config, "memory_keys", 0),
    ],
)
def test_a_config_out_of_range_is_refused(config, field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        config(**{field: value})


def test_a_keyed_memory_needs_what_it_reads():
    for options in ({}, {"encoder_size": 8}, {"previous": True}):
        with pytest.raises(ValueError, match="memory_heads=2 needs an encoder_size of at least 1 and previous=True"):
            RL2Config(memory_heads=2, **options)
        with pytest.raises(ValueError, match="slots need an encoder_size of at least 1 and previous=True"):
            RL2Config(slots=(("stones", 3), ("potions", 12)), **options)
    further = (("memory_layers", 2), ("memory_units", 8), ("memory_products", True), ("memory_parts", ("cue",)))
    for name, value in further:
        with pytest.raises(ValueError, match=f"{name}=.* belong to a keyed memory, received memory_heads=0"):
            RL2Config(**{name: value})


def test_a_memory_of_places_needs_what_it_reads():
    places = {"places": ("x", "y"), "encoder_size": 8, "previous": True}
    config = RL2Config(**places, memory_units=4, episodic=True)
    assert (config.places, config.memory_units) == (("x", "y"), 4)
    for extra in ({"encoder_size": 0}, {"previous": False}):
        with pytest.raises(ValueError, match="places need an encoder_size of at least 1 and previous=True"):
            RL2Config(**{**places, **extra})
    for option in ("place_width", "place_ahead"):
        with pytest.raises(ValueError, match="place_width, place_ahead, place_plans belong to places"):
            RL2Config(**{option: 2})
    with pytest.raises(ValueError, match=r"memory_products=True.* belong to a keyed memory"):
        RL2Config(**places, memory_products=True)


def test_the_first_stage_alone_comes_before_other_stages():
    RL2Config(alone_share=0.1, first_share=0.5, first_stages=((1, 2),))
    for options in ({"first_share": 0.5}, {"first_share": 0.1, "first_stages": ((1, 2),)}):
        with pytest.raises(ValueError, match=r"alone_share=0\.1 comes before first_stages"):
            RL2Config(alone_share=0.1, **options)


def test_items_are_a_network_of_their_own():
    items = {"items": 8, "item_parts": ("switches",), "encoder_size": 8}
    RL2Config(**items)
    for name, value in (("item_parts", ("switches",)), ("item_actions", 0)):
        with pytest.raises(ValueError, match=f"{name}=.* belongs to items, received items=0"):
            RL2Config(**{name: value})
    with pytest.raises(ValueError, match="items=8 need item_parts or item_actions"):
        RL2Config(items=8, encoder_size=8)
    for extra in ({"encoder_size": 0}, {"gated": True}, {"previous": True, "memory_heads": 2}):
        with pytest.raises(ValueError, match="items are a network of their own"):
            RL2Config(**{**items, **extra})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_option_has_a_sentence(algorithm):
    sentences = field_sentences(ALGORITHMS[algorithm].config_class())
    assert len(sentences) > 10
    for name, sentence in sentences.items():
        assert sentence.endswith("."), f"{name}: {sentence!r}"


@pytest.mark.parametrize("algorithms", [("rl2",), ("ppo", "recurrent-ppo")])
def test_the_page_has_the_options_as_they_are(algorithms):
    table = options_table(*((name, ALGORITHMS[name].config_class()) for name in algorithms))
    assert table in PAGE.read_text(), f"The table of options in docs/training.md should read now:\n\n{table}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_family_has_a_valid_preset(algorithm):
    for env_id in daytwo.env_ids():
        plan = make_plan(algorithm, env_id)
        assert plan.steps >= 100_000
        LifetimeVecEnv(env_id, 1, compiled=False, **plan.settings).close()


def test_presets_are_what_the_shipped_agents_were_trained_with():
    files = sorted((SHIPPED / "rl2").glob("*/config.json"))
    assert files
    for file in files:
        config = json.loads(file.read_text())
        plan = make_plan("rl2", config["env_id"])
        now = json.loads(json.dumps(dataclasses.asdict(plan.config)))
        assert plan.steps == config["steps"], file.parent.name
        assert {name: now.get(name) for name in config["config"]} == config["config"], file.parent.name


def test_presets_name_known_families_fields_and_settings_only():
    families = {env_id.rpartition("/")[2].partition("-v")[0] for env_id in daytwo.env_ids()}
    assert PRESETS.keys() == ALGORITHMS.keys()
    for algorithm, lines in PRESETS.items():
        fields = field_names(ALGORITHMS[algorithm].config_class())
        assert "steps" in lines["default"]
        for family, line in lines.items():
            assert family in families | {"default", "Mixture"}
            assert set(line) <= {"steps", "settings", *fields}
            assert set(line.get("settings", {})) <= set(PRESET_SETTINGS)


@pytest.mark.parametrize(("family", "kind"), [("DarkRoom", "room"), ("PointRobot", "single")])
def test_a_preset_fits_a_family_with_other_levels_and_parts(tmp_path, family, kind):
    """These kinds have one level, and lack a part of the observation that the preset's keys come from."""
    env_id, small = f"daytwo/{family}-v0", {"lifetimes_per_batch": 2, "batches_per_update": 1, "hidden_size": 8}
    assert find_preset("rl2", env_id).options["memory_parts"]
    options = {"steps": 200, "settings": {"kind": kind}, "overrides": small, "evaluate": False, "progress": False}
    assert train("rl2", env_id, out=tmp_path, **options).steps >= 200


@pytest.mark.parametrize(
    ("family", "settings"), [("Bandit", {"arms": 3, "pulls": 5}), ("LearningSet", {"dimensions": 4, "cues": 1})]
)
def test_a_preset_over_items_fits_a_family_with_fewer_of_them(tmp_path, family, settings):
    env_id, small = f"daytwo/{family}-v0", {"lifetimes_per_batch": 2, "batches_per_update": 1, "hidden_size": 8}
    assert make_plan("rl2", env_id).config.items
    plan = make_plan("rl2", env_id, settings=settings)
    assert (plan.config.items, plan.config.memory_heads) == (0, 2)
    options = {"steps": 200, "settings": settings, "overrides": small, "evaluate": False, "progress": False}
    assert train("rl2", env_id, out=tmp_path, **options).steps >= 200


def test_a_preset_with_places_gives_way_to_another_maze():
    """A larger one has other places."""
    assert make_plan("rl2", "daytwo/Maze-v0").config.places
    config = make_plan("rl2", "daytwo/Maze-v0", settings={"size": 15}).config
    assert (config.places, config.place_width, config.memory_heads) == ((), 0, 2)


def test_a_presets_first_stages_give_way_to_a_course_or_a_teacher():
    assert make_plan("rl2", "daytwo/Textbook-v0").config.first_stages
    for told in ({"settings": {"course": "single", "level": 0}}, {"teacher": "uniform"}):
        config = make_plan("rl2", "daytwo/Textbook-v0", **told).config
        assert (config.first_share, config.first_stages) == (0.0, ())
    kept = make_plan("rl2", "daytwo/Textbook-v0", overrides={"first_share": 0.2}, settings={"episodes": 4}).config
    assert kept.first_share == 0.2


def test_what_is_given_goes_before_the_preset(monkeypatch):
    line = {"steps": 7, "settings": {"course": "single", "level": 0, "reward": "final"}, "entropy": 0.5, "epochs": 3}
    monkeypatch.setitem(PRESETS["rl2"], "Bandit", line)
    plan = make_plan("rl2", "daytwo/Bandit-v0", overrides={"epochs": 1})
    assert (plan.steps, plan.config.epochs, plan.config.entropy) == (7, 1, 0.5)
    assert plan.settings == line["settings"]
    plan = make_plan("rl2", "daytwo/Bandit-v0", steps=9, settings={"reward": "return", "arms": 5})
    assert plan.steps == 9 and plan.settings == {"course": "single", "level": 0, "reward": "return", "arms": 5}
    # A course that is given leaves nothing of the preset's.
    preset = find_preset("rl2", "daytwo/Bandit-v0")
    assert settings_with(preset, {"course": "progressive"}) == {"course": "progressive", "reward": "final"}
    assert find_preset("rl2", "mylab/Kitchen-v0").steps == PRESETS["rl2"]["default"]["steps"]
