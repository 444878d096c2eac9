"""`daytwo train`: it learns, it saves, it goes on where it was."""

import json
import os
import pickle
import signal

import numpy as np
import pytest

import daytwo
from daytwo.agent import find_checkpoint
from daytwo.course import Course, Stage
from daytwo.evaluation.running import evaluate

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from daytwo.integrations import training  # noqa: E402
from daytwo.integrations.training import (  # noqa: E402
    PRESETS,
    TrainingConfig,
    default_num_envs,
    lifetime_steps,
    loaded_settings,
    train,
)

BANDIT = "daytwo/Bandit-v0"
# One arm pays .9 and the other .1: five pulls tell them apart, and the second episode shows whether that is remembered.
EASY = {"kind": "dependent-easy", "pulls": 5, "course": "single", "episodes": 2, "reward": "return", "split": "all"}
TINY = {"num_envs": 16, "overrides": {"hidden_size": 8, "epochs": 1}, "progress": False}


def tiny(folder, steps=480, **options):
    arguments = {**TINY, "settings": EASY, "out": folder, **options}
    return train("recurrent-ppo", BANDIT, steps=steps, **arguments)


def config_of(folder):
    return json.loads((find_checkpoint(folder) / "config.json").read_text())


def weights_of(folder):
    from safetensors.numpy import load_file

    return load_file(find_checkpoint(folder) / "policy.safetensors")


def test_recurrent_ppo_learns_to_learn(tmp_path):
    summary = train(
        "recurrent-ppo",
        BANDIT,
        steps=80_000,
        seed=0,
        out=tmp_path,
        settings=EASY,
        overrides={"hidden_size": 16},
        progress=False,
    )
    assert summary.finished and summary.steps >= 80_000
    kept = evaluate(str(tmp_path), BANDIT, lifetimes=1000, **EASY)
    wiped = evaluate(str(tmp_path), BANDIT, lifetimes=1000, memory="wiped", **EASY)
    first, second = kept.returns.mean(axis=0)
    # Random 2.5 and oracle 4.5 in five pulls. A first pull, then the better arm, is worth .5 + 4 * .9 less what a
    # misleading first pull costs; in the second episode the arm is known.
    assert first > 3.4
    assert second > 4.2
    assert second - wiped.returns[:, 1].mean() > 0.4


def test_a_checkpoint_tells_how_it_came_about(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/daytwo", "train", "recurrent-ppo", BANDIT, "--arms", "2"])
    course = Course([Stage(0, 2), Stage(1, 1)], name="mine")
    settings = {"arms": 5, "pulls": 4, "course": course, "reward": "final"}
    summary = tiny(tmp_path, settings=settings, checkpoint_every=1)
    folder = find_checkpoint(tmp_path)
    assert sorted(os.listdir(folder)) == ["config.json", "optimizer.pt", "policy.safetensors"]
    config = config_of(tmp_path)
    assert config["steps_done"] == summary.steps == 576  # rounded up to whole rollouts of 16 lanes x 12 steps
    assert config["steps"] == 480 and config["config"]["rollout_steps"] == 12
    assert config["seed"] == 0 and config["split"] == "train" and config["reward"]["name"] == "final"
    assert config["command"] == f"daytwo train recurrent-ppo {BANDIT} --arms 2"
    assert config["versions"]["daytwo"] == daytwo.__version__ and config["seconds"] > 0
    assert config["policy"]["parameters"] == sum(array.size for array in weights_of(tmp_path).values())
    assert loaded_settings(config["settings"]) == settings
    import platform

    assert platform.node() not in json.dumps(config["machine"])
    result = evaluate(str(tmp_path), BANDIT, lifetimes=5, **loaded_settings(config["settings"]))
    assert result.returns.shape == (5, 3)
    told = {"seed": 0, "steps": 576, "seconds": config["seconds"], "env_id": BANDIT, "split": "train"}
    assert result.provenance == {**told, "privileged": False}


def test_only_the_last_checkpoints_are_kept(tmp_path):
    tiny(tmp_path, steps=1600, checkpoint_every=160)
    names = sorted(os.listdir(tmp_path / "checkpoints"))
    assert names == ["000000001280", "000000001440", "000000001600"]


def test_a_resumed_run_goes_on_from_the_last_checkpoint(tmp_path, monkeypatch):
    tiny(tmp_path, steps=480)
    before, moments = weights_of(tmp_path), torch.load(find_checkpoint(tmp_path) / "optimizer.pt", weights_only=True)
    seen = {}
    learn = training.RecurrentPPO.learn

    def watched(self, total, **options):
        seen["weights"] = {name: tensor.numpy().copy() for name, tensor in self.policy.state_dict().items()}
        seen["optimizer"] = self.policy.optimizer.state_dict()["state"][0]["exp_avg"].clone()
        seen["steps"], seen["left"] = self.num_timesteps, total
        learn(self, total, **options)
        seen["rate"] = self.policy.optimizer.param_groups[0]["lr"]
        seen["entropy"] = self.ent_coef
        return self

    monkeypatch.setattr(training.RecurrentPPO, "learn", watched)
    summary = tiny(tmp_path, steps=960, resume=True)
    assert (seen["steps"], seen["left"], summary.steps) == (480, 480, 960)
    for name, array in before.items():
        np.testing.assert_array_equal(seen["weights"][name], array)
    assert torch.equal(seen["optimizer"], moments["state"][0]["exp_avg"])
    assert config_of(tmp_path)["steps_done"] == 960
    assert any((weights_of(tmp_path)[name] != array).any() for name, array in before.items())
    # The schedules went on too, and are at their ends.
    assert seen["rate"] == pytest.approx(PRESETS["recurrent-ppo"].learning_rate * 0.02)
    assert seen["entropy"] == 0.0
    assert tiny(tmp_path, steps=960, resume=True).steps == 960


def test_an_interrupt_saves_and_the_run_can_go_on(tmp_path, monkeypatch, capsys):
    on_rollout_end = training._Watch._on_rollout_end
    fired = []

    def interrupt(self):
        on_rollout_end(self)
        if self.num_timesteps >= 320 and not fired:
            fired.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training._Watch, "_on_rollout_end", interrupt)
    summary = tiny(tmp_path, steps=960, progress=True)
    assert not summary.finished and summary.steps == 320
    assert "--resume" in capsys.readouterr().out
    assert config_of(tmp_path)["steps_done"] == 320
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    summary = tiny(tmp_path, steps=960, resume=True)
    assert summary.finished and summary.steps == 960


def test_equal_seeds_train_equal_weights_and_others_do_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tiny(tmp_path / name, seed=seed)
    a, b, c = (weights_of(tmp_path / name) for name in "abc")
    assert all((a[name] == b[name]).all() for name in a)
    assert any((a[name] != c[name]).any() for name in a)


def test_the_adaptation_curve_is_logged(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    summary = tiny(tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"adaptation/episode_001", "adaptation/episode_002", "lifetime/return"} <= set(tags)
    logged = [events.Scalars(f"adaptation/episode_00{k}")[-1].value for k in (1, 2)]
    np.testing.assert_allclose(logged, summary.curve, rtol=1e-6)
    # Under the rule "return" a lifetime's return is the sum of its normalised returns.
    assert events.Scalars("lifetime/return")[-1].value == pytest.approx(summary.curve.sum(), abs=1e-4)


def test_ppo_without_memory_and_continuous_actions_train_too(tmp_path):
    summary = train("ppo", BANDIT, steps=320, settings=EASY, out=tmp_path, num_envs=16, progress=False)
    assert summary.finished and config_of(tmp_path)["policy"]["lstm_hidden_size"] is None
    result = evaluate(str(tmp_path), BANDIT, lifetimes=5, **EASY)
    assert result.returns.shape == (5, 2)
    continuous = [env_id for env_id in daytwo.env_ids() if daytwo.make_family(env_id).continuous]
    for env_id in continuous[:1]:
        out = tmp_path / "continuous"
        settings = {"course": "single", "episodes": 1}
        train("recurrent-ppo", env_id, steps=32, settings=settings, out=out, **TINY | {"num_envs": 2})
        assert np.isfinite(evaluate(str(out), env_id, lifetimes=2, **settings).returns).all()


def test_torch_keeps_its_threads_and_signals_their_handler(tmp_path):
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    tiny(tmp_path)
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is handler
    assert config_of(tmp_path)["threads"] == 1


def test_the_rollout_covers_the_lifetime():
    spec = daytwo.LifetimeVectorEnv(BANDIT, 1, **{**EASY, "episodes": 24}).lifetime_spec
    assert lifetime_steps(spec) == 24 * 5
    short = daytwo.LifetimeVectorEnv(BANDIT, 1, **EASY).lifetime_spec
    assert default_num_envs(short, TrainingConfig()) == 256
    assert default_num_envs(spec, TrainingConfig()) == 48
    assert default_num_envs(spec, TrainingConfig(rollout_steps=5000)) == 16


def test_bad_arguments_and_other_peoples_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="algorithm must be one of recurrent-ppo, ppo, received 'sac'"):
        train("sac", BANDIT, out=tmp_path)
    with pytest.raises(ValueError, match="steps must be an integer of at least 1, received 0"):
        tiny(tmp_path, steps=0)
    with pytest.raises(ValueError, match="seed must be an integer of at least 0, received -1"):
        tiny(tmp_path, seed=-1)
    with pytest.raises(ValueError, match="Unknown training option 'gamma'"):
        tiny(tmp_path, overrides={"gamma": 0.9})
    with pytest.raises(ValueError, match="leave privileged=True out"):
        tiny(tmp_path, settings={"privileged": True})
    with pytest.raises(ValueError, match="plain values"):
        tiny(tmp_path, settings={"arms": object()})
    with pytest.raises(ValueError, match="nothing to resume"):
        tiny(tmp_path, resume=True)
    tiny(tmp_path)
    with pytest.raises(ValueError, match="holds a run already"):
        tiny(tmp_path)
    with pytest.raises(ValueError, match="seed was 0 and is 1 now"):
        tiny(tmp_path, seed=1, resume=True)
    with pytest.raises(ValueError, match="settings was"):
        tiny(tmp_path, settings={**EASY, "pulls": 6}, resume=True)


def test_resuming_runs_no_code_from_files(tmp_path):
    tiny(tmp_path)
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (marker.write_text, ("boom",))

    (find_checkpoint(tmp_path) / "optimizer.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(Exception, match=r"(?i)weights"):
        tiny(tmp_path, steps=960, resume=True)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rollout_steps", 0),
        ("epochs", 1.5),
        ("hidden_size", True),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("discount", 1.1),
        ("gae_lambda", -0.1),
        ("entropy", -1.0),
        ("value_layers", (0,)),
        ("activation", "gelu"),
    ],
)
def test_a_config_out_of_range_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        TrainingConfig(**{field: value})


def test_every_option_is_explained():
    documented = TrainingConfig.__doc__
    for name in TrainingConfig.__dataclass_fields__:
        assert f"\n        {name}: " in documented
