"""In-context transformers: they learn to learn, training goes on bit for bit, and what is shipped acts as it says."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import daytwo

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.numpy")

from daytwo.baselines.trained import SHIPPED as ROOT  # noqa: E402
from daytwo.integrations.histories import HistoryStream  # noqa: E402
from daytwo.integrations.in_context import ADConfig, DPTConfig, make_ad, make_dpt  # noqa: E402

BANDIT = "daytwo/Bandit-v0"
# One arm pays .9 and the other .1: one pull tells a lot, and the second episode shows whether that is remembered.
EASY = {"kind": "dependent-easy", "pulls": 5, "course": "single", "episodes": 2, "split": "all"}
SMALL = {"layers": 1, "width": 32, "heads": 2, "lifetimes_per_batch": 64, "learning_rate": 5e-3}
STEPS = 120_000


def trained(trainer):
    first = trainer.advance()
    while trainer.steps < trainer.total:
        last = trainer.advance()
    return first, last


def curves(agent, env_id=BANDIT, lifetimes=1000, **settings):
    """Mean returns by episode, kept and wiped."""
    kept, wiped = (
        daytwo.evaluate(agent, env_id, lifetimes=lifetimes, memory=memory, **settings).returns.mean(axis=0)
        for memory in ("kept", "wiped")
    )
    return kept, wiped


@pytest.mark.parametrize(("make", "config"), [(make_ad, ADConfig(**SMALL)), (make_dpt, DPTConfig(**SMALL))])
def test_training_teaches_to_learn_within_the_lifetime(make, config):
    """Either arm is 2.5 at random; the better one pays 4.5. The amnesiac twin never gets over its first episode."""
    trainer = make(BANDIT, config=config, settings=EASY, steps=STEPS)
    first, last = trained(trainer)
    assert last["train/loss"] < first["train/loss"] and last["train/learning_rate"] < 1e-3
    kept, wiped = curves(trainer.agent(), **EASY)
    assert kept[1] > 4.1 and kept[1] > kept[0] + 0.4 and wiped[1] < kept[1] - 0.3


def test_dpt_samples_as_thompson_sampling_does():
    """Its exact limit on bandits, episode by episode, within 4 standard errors and a little for what is not learnt."""
    trainer = make_dpt(BANDIT, config=DPTConfig(**SMALL), settings=EASY, steps=STEPS)
    trained(trainer)
    limit = daytwo.evaluate("thompson", BANDIT, lifetimes=4000, **EASY).returns
    found = daytwo.evaluate(trainer.agent(), BANDIT, lifetimes=4000, **EASY).returns
    errors = np.hypot(limit.std(axis=0), found.std(axis=0)) / np.sqrt(4000)
    # Its own prior: one of two tasks, where `thompson` believes in any pair of probabilities; so it may only do better.
    assert (found.mean(axis=0) > limit.mean(axis=0) - 4 * errors - 0.05).all()


def test_continuous_actions_are_learnt_too():
    settings = {"course": "single", "level": 0, "episodes": 2}
    config = ADConfig(**{**SMALL, "lifetimes_per_batch": 16, "source": "oracle"})
    trainer = make_ad("daytwo/PointRobot-v0", config=config, settings=settings, steps=40_000)
    first, last = trained(trainer)
    assert last["train/mean_absolute_error"] < 0.7 * first["train/mean_absolute_error"]
    agent = trainer.agent()
    assert agent.greedy and "log_std" in trainer.tensors()
    assert daytwo.evaluate(agent, "daytwo/PointRobot-v0", lifetimes=10, **settings).returns.shape == (10, 2)


@pytest.mark.parametrize(
    ("make", "config", "env_id", "settings"),
    [
        (make_ad, ADConfig(**SMALL, noise=0.5), BANDIT, EASY),
        (make_dpt, DPTConfig(**SMALL, on_policy=0.5, window=4), BANDIT, EASY),
        (make_ad, ADConfig(**SMALL), "daytwo/PointRobot-v0", {"course": "single", "level": 0, "episodes": 1}),
    ],
)
def test_going_on_from_a_saved_state_changes_nothing(make, config, env_id, settings, tmp_path):
    def new():
        return make(env_id, config=config, settings=settings, steps=20_000, num_envs=128, seed=3)

    whole = new()
    figures = [whole.advance() for _ in range(5)]
    first = new()
    for _ in range(2):
        first.advance()
    torch.save(first.state(), tmp_path / "state.pt")
    first.advance()  # what is saved does not change with the trainer
    second = new()
    second.load_state(torch.load(tmp_path / "state.pt", weights_only=False))
    assert [second.advance() for _ in range(3)] == figures[2:]
    assert second.steps == whole.steps
    expected, found = whole.tensors(), second.tensors()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


def test_training_follows_from_its_seed_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()

    def losses(seed):
        trainer = make_dpt(BANDIT, config=DPTConfig(**SMALL), settings=EASY, steps=5_000, seed=seed)
        return [trainer.advance()["train/loss"] for _ in range(2)]

    assert losses(0) == losses(0) != losses(1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_a_trainer_writes_is_an_agent(tmp_path):
    trainer = make_ad(BANDIT, config=ADConfig(**SMALL, source="thompson"), settings=EASY, steps=5_000)
    trainer.advance()
    safetensors.save_file(trainer.tensors(), tmp_path / "policy.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(trainer.describe()))
    told = trainer.describe()
    assert told["source"] == "thompson" and not told["privileged"]
    assert make_dpt(BANDIT, settings=EASY, steps=1).describe()["privileged"]
    saved, present = (
        daytwo.evaluate(agent, BANDIT, lifetimes=50, **EASY).returns for agent in (tmp_path, trainer.agent())
    )
    np.testing.assert_array_equal(saved, present)


def test_training_may_begin_with_the_weights_of_another_checkpoint(tmp_path):
    first = make_ad(BANDIT, config=ADConfig(**SMALL), settings=EASY, steps=5_000)
    first.advance()
    safetensors.save_file(first.tensors(), tmp_path / "policy.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(first.describe()))
    second = make_dpt(BANDIT, config=DPTConfig(**SMALL, initial=str(tmp_path)), settings=EASY, steps=5_000, seed=1)
    for name, tensor in first.tensors().items():
        np.testing.assert_array_equal(second.tensors()[name], tensor)
    with pytest.raises(ValueError, match=r"initial=.* is of shape .*, expected"):
        make_dpt(BANDIT, config=DPTConfig(initial=str(tmp_path)), settings=EASY, steps=1)
    with pytest.raises(ValueError, match="initial must be an in-context transformer, received 'thompson', Thompson"):
        make_dpt(BANDIT, config=DPTConfig(initial="thompson"), settings=EASY, steps=1)


def test_columns_within_bounds_stay_and_wide_ones_are_standardised():
    trainer = make_ad("daytwo/TabularMDP-v0", config=ADConfig(**SMALL), settings={"episodes": 2}, steps=1_000)
    layout, shift = trainer.spec.layout, trainer.network.input_shift.numpy()
    scale = trainer.network.input_scale.numpy()
    reward = np.arange(layout.size) == layout.start("previous_reward")
    assert (shift[~reward] == 0.0).all() and (scale[~reward] == 1.0).all()
    assert 0.5 < shift[reward][0] < 2.5 and 0.3 < scale[reward][0] < 1.0


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        (ADConfig, {"source": ""}, "source must be an agent's name"),
        (DPTConfig, {"contexts": ()}, "contexts must name at least one agent"),
        (DPTConfig, {"contexts": ("oracle",)}, "would give the task away"),
        (ADConfig, {"layers": 0}, "layers must be an integer of at least 1, received 0"),
        (ADConfig, {"width": 60}, "width must be a multiple of 2 . heads, 8, received 60"),
        (ADConfig, {"learning_rate": 0.0}, "learning_rate must be a number above 0, received 0.0"),
        (ADConfig, {"noise": 2.0}, "noise must be a number in .0, 1., received 2.0"),
        (ADConfig, {"warmup": 0.9}, "warmup must end before decay_from"),
        (ADConfig, {"greedy": 1}, "greedy must be True, False or None"),
        (ADConfig, {"initial": ""}, "initial must be a checkpoint's folder or an agent's name"),
    ],
)
def test_impossible_options_are_refused(config, wrong, message):
    with pytest.raises(ValueError, match=message):
        config(**wrong)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"num_envs": 0}, {"seed": -1}])
def test_impossible_arguments_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least"):
        make_ad(BANDIT, settings=EASY, **{"steps": 10, **wrong})


@pytest.mark.parametrize("config", [ADConfig, DPTConfig])
def test_every_option_is_explained(config):
    for field in dataclasses.fields(config):
        assert f"        {field.name}: " in config.__doc__


# --- the exact limit --------------------------------------------------------------------------------------------------


def paper_in_context():
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "paper_in_context.py"
    spec = importlib.util.spec_from_file_location("paper_in_context", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def test_the_posterior_over_dark_rooms_goals_is_calibrated():
    """The oracle takes an action as often as the posterior says: E[p(label)] = E[sum of p squared], in any episode."""
    settings = {"course": "single", "level": 1, "episodes": 3, "split": "all"}
    stream = HistoryStream("daytwo/DarkRoom-v0", labels="oracle", noise=0.3, lifetimes=2000, **settings)
    histories, agent = stream.take(), paper_in_context().GoalPosterior()
    assert agent.fits(stream.spec)
    agent.begin(stream.spec, np.arange(2000, dtype=np.uint64))
    differences = []
    for t in range(histories.rewards.shape[1]):
        chances = agent.chances(histories.observations[:, t], np.full(2000, t == 0))
        label = chances[np.arange(2000), histories.labels[:, t]]
        assert (label > 0.0).all()
        differences.append(label - (chances**2).sum(axis=1))
    for episode in np.split(np.array(differences), 3):
        per_lifetime = episode.mean(axis=0)
        assert abs(per_lifetime.mean()) < 4 * per_lifetime.std() / np.sqrt(2000) + 1e-12


def test_the_benchmark_prints_its_tables(tmp_path):
    module = paper_in_context()
    bandit = module.TABLES["bandit"]
    module.TABLES["bandit"] = dataclasses.replace(bandit, rows=bandit.rows[:3])
    lines = []
    options = {"lifetimes": 10, "runs": str(tmp_path), "scale": 1e-6, "write": lines.append}
    measured = module.print_tables(["bandit"], **options)
    assert list(measured) == [("bandit", "random", -1), ("bandit", "DPT", 0), ("bandit", "DPT's limit: thompson", -1)]
    assert module.print_tables(["bandit"], **options) == measured  # finished trainings are not repeated
    with pytest.raises(ValueError, match="holds another training"):
        row = dataclasses.replace(bandit.rows[1], options={"lifetimes_per_batch": 8})
        module.train_row(bandit, row, 0, tmp_path, 1e-6)


# --- what is shipped --------------------------------------------------------------------------------------------------

SHIPPED = sorted(path.parent for name in ("ad", "dpt") for path in (ROOT / name).glob("*/config.json"))


def test_checkpoints_of_both_kinds_ship():
    assert {folder.parent.name for folder in SHIPPED} == {"ad", "dpt"}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_shipped_checkpoints_say_where_they_come_from(folder):
    config = json.loads((folder / "config.json").read_text())
    assert (folder / "policy.safetensors").stat().st_size < 5_000_000
    assert config["algorithm"] == folder.parent.name and config["env_id"] == f"daytwo/{folder.name}"
    assert config["command"].startswith(f"daytwo train {folder.parent.name} daytwo/{folder.name}")
    assert config["privileged"] == (folder.parent.name == "dpt")
    assert config["split"] == "train" and config["evaluation"]["split"] == "test"
    for name in ("seed", "seconds", "steps_done", "versions", "machine", "source"):
        assert name in config


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_shipped_checkpoints_reach_their_recorded_figure(folder):
    """Other lifetimes than those of the record: the difference is within 4 standard errors."""
    told = json.loads((folder / "config.json").read_text())["evaluation"]
    result = daytwo.evaluate(folder.parent.name, f"daytwo/{folder.name}", lifetimes=32, seed=told["seed"] + 1)
    means = np.nanmean(result.normalized, axis=1)
    error = np.hypot(means.std(ddof=1) / np.sqrt(len(means)), told["half_width"] / 1.96)
    assert abs(means.mean() - told["normalized"]) < 4 * error
    assert result.provenance["source"] and told["normalized"] - told["half_width"] > told["wiped"]
