"""`daytwo train`: it learns, it saves, and killed at any moment it goes on as if nothing had happened."""

import json
import os
import pickle
import platform
import signal
import subprocess
import sys

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
from daytwo.integrations.presets import PRESETS  # noqa: E402
from daytwo.integrations.rl2_trainer import RL2Trainer  # noqa: E402
from daytwo.integrations.saved_state import has_state, read_state, write_state  # noqa: E402
from daytwo.integrations.stable_baselines3_trainers import StableBaselines3Trainer, default_num_envs  # noqa: E402
from daytwo.integrations.trainers import ALGORITHMS  # noqa: E402
from daytwo.integrations.training import loaded_settings, train  # noqa: E402
from daytwo.integrations.training_config import PPOConfig  # noqa: E402

BANDIT = "daytwo/Bandit-v0"
# One arm pays .9 and the other .1: five pulls tell them apart, and the second episode shows whether that is remembered.
EASY = {"kind": "dependent-easy", "pulls": 5, "course": "single", "episodes": 2, "reward": "return", "split": "all"}
# Three stages which offer different numbers of arms.
STAGES = {"pulls": 4, "episodes": 1, "reward": "return"}
SMALL = {
    "ppo": {"epochs": 1},
    "ppo-statistics": {"epochs": 1},
    "recurrent-ppo": {"epochs": 1, "hidden_size": 8},
    "rl2": {"epochs": 1, "hidden_size": 8, "lifetimes_per_batch": 4, "rollout_steps": 7},
    "dpt": {"layers": 1, "width": 16, "heads": 2, "lifetimes_per_batch": 8},
    "ad": {"layers": 1, "width": 16, "heads": 2, "lifetimes_per_batch": 8},
}
# Name of a run, its algorithm, environment and settings, the moment at which it is killed (`KILLED`), and a teacher.
RUNS = {
    "ppo": ("ppo", BANDIT, STAGES, "saved", None),
    "ppo-statistics": ("ppo-statistics", BANDIT, STAGES, "saving", None),
    "recurrent-ppo": ("recurrent-ppo", BANDIT, STAGES, "validated", None),
    "rl2": ("rl2", BANDIT, STAGES, "saving", None),
    "dpt": ("dpt", BANDIT, STAGES, "saved", None),
    "ad": ("ad", BANDIT, STAGES, "validated", None),
    "rl2-continuous": (
        "rl2",
        "daytwo/PointRobot-v0",
        {"course": "single", "level": 0, "episodes": 1},
        "validated",
        None,
    ),
    "rl2-first": ("rl2", BANDIT, STAGES, "saved", None),
    "rl2-later": ("rl2", BANDIT, STAGES, "saved", None),
    "rl2-taught": ("rl2", BANDIT, STAGES, "saving", "plr"),
    "ppo-taught": ("ppo", BANDIT, STAGES, "saved", "learning-progress"),
    "recurrent-ppo-taught": ("recurrent-ppo", BANDIT, STAGES, "validated", "schedule"),
}
# Options of single runs: of those that begin with the first stage alone, one is killed before and one after its end.
KEYED = {"encoder_size": 6, "previous": True, "memory_heads": 2, "memory_units": 4}
MORE = {
    "rl2-first": {"first_share": 0.6},
    "rl2-later": {"first_share": 0.3, "first_stages": ((1, 1), (0, 2)), **KEYED},
}
OPTIONS = {"steps": 1200, "num_envs": 16, "checkpoint_every": 300, "evaluate_every": 400, "progress": False}
# Trains each run to its end, and again in a process that is killed without warning: after the third checkpoint (the
# first is that of step 0), in the midst of writing it, or after the second validation.
KILLED = """
import json, os, signal, sys
from daytwo.integrations import training

MOMENTS = {
    "saved": (training._Run, "save", 3),
    "saving": (training, "settle", 3),
    "validated": (training._Run, "evaluate", 2),
}

def kill_at(owner, name, count):
    function, calls = getattr(owner, name), []
    def counted(*arguments):
        result = function(*arguments)
        calls.append(None)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, counted)

runs, options = json.load(sys.stdin)
for folder, (algorithm, env_id, settings, overrides, moment, teacher) in runs.items():
    arguments = {"settings": settings, "overrides": overrides, "teacher": teacher, **options}
    training.train(algorithm, env_id, out=folder + "-whole", **arguments)
    child = os.fork()
    if child == 0:
        kill_at(*MOMENTS[moment])
        training.train(algorithm, env_id, out=folder, **arguments)
        os._exit(0)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def overrides_of(run):
    return {**SMALL[RUNS[run][0]], **MORE.get(run, {})}


def tiny(folder, steps=480, algorithm="recurrent-ppo", **options):
    arguments = {"num_envs": 16, "overrides": SMALL[algorithm], "settings": EASY, "evaluate": False, "progress": False}
    return train(algorithm, BANDIT, steps=steps, out=folder, **{**arguments, **options})


def config_of(folder):
    return json.loads((find_checkpoint(folder) / "config.json").read_text())


def weights_of(folder):
    from safetensors.numpy import load_file

    return load_file(find_checkpoint(folder) / "policy.safetensors")


def assert_same_weights(one, other):
    first, second = weights_of(one), weights_of(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def progress_of(folder):
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return lines


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Runs that were killed, by name, and beside each the whole one."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    folder = tmp_path_factory.mktemp("killed")
    runs = {
        str(folder / name): (algorithm, env_id, settings, overrides_of(name), moment, teacher)
        for name, (algorithm, env_id, settings, moment, teacher) in RUNS.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED], input=json.dumps([runs, OPTIONS]), capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * len(runs), done.stderr
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_resumes_to_what_an_uninterrupted_one_is(killed, name):
    algorithm, env_id, settings, _, teacher = RUNS[name]
    own, whole = killed / name, killed / f"{name}-whole"
    finished = config_of(whole)["steps_done"]
    assert config_of(own)["steps_done"] < finished
    options = {**OPTIONS, "settings": settings, "overrides": overrides_of(name), "teacher": teacher}
    resumed = train(algorithm, env_id, out=own, resume=True, **options)
    assert resumed.finished and resumed.steps == finished >= 1200
    assert_same_weights(whole, own)
    assert progress_of(whole) == progress_of(own)
    if teacher is not None:
        assert (own / "curriculum.jsonl").read_text() == (whole / "curriculum.jsonl").read_text() != ""
    assert sorted(os.listdir(own / "checkpoints")) == sorted(os.listdir(whole / "checkpoints"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_validation_changes_nothing_and_the_folder_is_an_agent(tmp_path, algorithm):
    options = {**OPTIONS, "steps": 600, "evaluate_every": 100, "settings": EASY, "overrides": SMALL[algorithm]}
    measured = train(algorithm, BANDIT, out=tmp_path / "measured", **options)
    bare = train(algorithm, BANDIT, out=tmp_path / "bare", evaluate=False, **options)
    assert_same_weights(tmp_path / "measured", tmp_path / "bare")
    assert bare.validation is None and not (tmp_path / "bare" / "progress.jsonl").exists()
    assert measured.validation["steps"] == measured.steps
    config = config_of(tmp_path / "bare")
    assert config["algorithm"] == algorithm and config["privileged"] == (algorithm == "dpt")
    assert config["policy"]["parameters"] >= 1
    result = evaluate(str(tmp_path / "bare"), BANDIT, lifetimes=5, **EASY)
    assert result.returns.shape == (5, 2) and result.provenance["steps"] == bare.steps
    with pytest.raises(ValueError, match="was not trained for"):
        evaluate(str(tmp_path / "bare"), BANDIT, lifetimes=2, arms=3)


@pytest.mark.parametrize("algorithm", ["recurrent-ppo", "ppo-statistics"])
def test_what_sees_the_lifetime_learns_to_learn(tmp_path, algorithm):
    options = {"hidden_size": 16} if algorithm == "recurrent-ppo" else {"learning_rate": 3e-3}
    summary = train(
        algorithm, BANDIT, steps=80_000, out=tmp_path, settings=EASY, overrides=options, evaluate_every=80_000
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
    # The validation saw the same: a gain of a quarter of the way from random to oracle would be .5 in returns.
    assert summary.validation["learning"][1] > 0.05 and summary.validation["split"] == "all"
    assert summary.validation["final"][0] > summary.validation["first"][0] + 0.1
    assert summary.validation["lifetimes"] == 256


def test_validation_lives_the_validation_split_of_the_training_course():
    told = training.validate("random", BANDIT, {"pulls": 4, "course": "single", "episodes": 3, "rate": 0.5})
    assert told["split"] == "validation" and told["lifetimes"] == 256
    assert len(told["episodes"]) == len(told["wiped"]) == 3
    assert told["learning"][0] == pytest.approx(0.0, abs=1e-9)  # random play has no memory to be wiped
    for name in ("area", "first", "final"):
        assert told[name][1] < told[name][0] < told[name][2]
    assert training.validate("random", BANDIT, {"split": "all", "pulls": 2}, lifetimes=2)["split"] == "all"
    # Stages of different lengths: the last episode is the last that was lived.
    told = training.validate("oracle", BANDIT, {"pulls": 2, "course": Course([Stage(0, 1), Stage(1, 2)])}, lifetimes=8)
    assert np.isfinite(told["final"]).all()


def test_a_checkpoint_tells_how_it_came_about(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/daytwo", "train", "recurrent-ppo", BANDIT, "arms=2"])
    course = Course([Stage(0, 2), Stage(1, 1)], name="mine")
    settings = {"arms": 5, "pulls": 4, "course": course, "reward": "final"}
    summary = tiny(tmp_path, settings=settings, checkpoint_every=1)
    folder = find_checkpoint(tmp_path)
    assert sorted(os.listdir(folder)) == ["arrays.npz", "config.json", "policy.safetensors", "state.pt"]
    config = config_of(tmp_path)
    assert config["steps_done"] == summary.steps == 576  # rounded up to whole rollouts of 16 lanes x 12 steps
    assert config["steps"] == 480 and config["rollout_steps"] == 12 and config["num_envs"] == 16
    assert config["seed"] == 0 and config["split"] == "train" and config["reward"]["name"] == "final"
    assert config["command"] == f"daytwo train recurrent-ppo {BANDIT} arms=2"
    assert config["versions"]["daytwo"] == daytwo.__version__ and config["seconds"] > 0 and config["threads"] == 1
    assert config["policy"]["parameters"] == sum(array.size for array in weights_of(tmp_path).values())
    assert loaded_settings(config["settings"]) == settings
    assert platform.node() not in json.dumps(config["machine"])
    result = evaluate(str(tmp_path), BANDIT, lifetimes=5, **loaded_settings(config["settings"]))
    assert result.returns.shape == (5, 3)
    told = {"seed": 0, "steps": 576, "seconds": config["seconds"], "env_id": BANDIT, "split": "train"}
    assert result.provenance == {**told, "privileged": False}


def test_only_the_last_checkpoints_are_kept(tmp_path):
    tiny(tmp_path, steps=1600, checkpoint_every=160)
    names = sorted(os.listdir(tmp_path / "checkpoints"))
    assert names == ["000000001280", "000000001440", "000000001600"]


def test_a_finished_run_goes_on_with_more_steps(tmp_path):
    tiny(tmp_path, steps=480)
    before = weights_of(tmp_path)
    summary = tiny(tmp_path, steps=960, resume=True)
    assert summary.finished and summary.steps == config_of(tmp_path)["steps_done"] == 960
    assert any((weights_of(tmp_path)[name] != array).any() for name, array in before.items())
    assert tiny(tmp_path, steps=960, resume=True).steps == 960


def test_schedules_end_with_the_run():
    trainer = ALGORITHMS["ppo"].make(
        BANDIT, config=PPOConfig(epochs=1), settings=EASY, steps=480, num_envs=16, seed=0, device="cpu"
    )
    told = [trainer.advance() for _ in range(3)]
    assert told[-1]["train/learning_rate"] == pytest.approx(PPOConfig().learning_rate * 0.02)
    assert [one["train/entropy_weight"] for one in told] == pytest.approx([0.03 * (2 / 3 - 0.2) / 0.8, 0.03 / 6, 0.0])


def test_an_interrupt_saves_and_the_run_goes_on_exactly(tmp_path, monkeypatch, capsys):
    tiny(tmp_path / "whole", steps=960)
    advance = StableBaselines3Trainer.advance

    def interrupt(self):
        figures = advance(self)
        if self.steps == 320:
            os.kill(os.getpid(), signal.SIGINT)
        return figures

    with monkeypatch.context() as patch:
        patch.setattr(StableBaselines3Trainer, "advance", interrupt)
        summary = tiny(tmp_path / "stopped", steps=960, progress=True)
    assert not summary.finished and summary.steps == 320
    told = capsys.readouterr().out
    assert "Stopping after this update" in told and "--resume" in told
    assert config_of(tmp_path / "stopped")["steps_done"] == 320
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert tiny(tmp_path / "stopped", steps=960, resume=True).finished
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_a_second_interrupt_stops_at_once(tmp_path, monkeypatch):
    def interrupt(self):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on")

    monkeypatch.setattr(StableBaselines3Trainer, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["000000000000"]


def test_what_cannot_be_saved_yet_is_saved_later(tmp_path, monkeypatch):
    can_save = property(lambda self: self.steps == 0 or self.steps >= 500)
    monkeypatch.setattr(RL2Trainer, "can_save", can_save, raising=False)
    saved, save = [], training._Run.save
    monkeypatch.setattr(training._Run, "save", lambda run: saved.append(run.trainer.steps) or save(run))
    tiny(tmp_path, algorithm="rl2", steps=1200, checkpoint_every=224)
    assert saved[:3] == [0, 560, 672] and all(has_state(one) for one in (tmp_path / "checkpoints").iterdir())


def test_stopped_where_it_cannot_be_saved_the_agent_is_kept_and_the_run_goes_on_from_before(tmp_path, monkeypatch):
    tiny(tmp_path / "whole", algorithm="rl2")
    advance = RL2Trainer.advance

    def interrupt(self):
        figures = advance(self)
        os.kill(os.getpid(), signal.SIGINT)
        return figures

    with monkeypatch.context() as patch:
        patch.setattr(RL2Trainer, "can_save", property(lambda self: self.steps == 0), raising=False)
        patch.setattr(RL2Trainer, "advance", interrupt)
        assert tiny(tmp_path / "stopped", algorithm="rl2").steps == 112
    assert not has_state(find_checkpoint(tmp_path / "stopped"))
    assert evaluate(str(tmp_path / "stopped"), BANDIT, lifetimes=2, **EASY).returns.shape == (2, 2)
    assert tiny(tmp_path / "stopped", algorithm="rl2", resume=True).finished
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


def test_equal_seeds_train_equal_weights_and_others_do_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        np.random.seed(len(name))  # noqa: NPY002 - whatever state others leave
        tiny(tmp_path / name, seed=seed)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    a, c = (weights_of(tmp_path / name) for name in "ac")
    assert any((a[name] != c[name]).any() for name in a)


def test_training_leaves_global_generators_threads_and_handlers_alone(tmp_path):
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    tiny(tmp_path)
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is handler


def test_curves_and_validations_are_logged(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    summary = tiny(tmp_path, evaluate=True, evaluate_every=240)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"adaptation/episode_001", "adaptation/episode_002", "lifetime/return", "train/value_loss"} <= tags
    logged = [events.Scalars(f"adaptation/episode_00{k}")[-1].value for k in (1, 2)]
    np.testing.assert_allclose(logged, summary.curve, rtol=1e-6)
    # Under the rule "return" a lifetime's return is the sum of its normalised returns.
    assert events.Scalars("lifetime/return")[-1].value == pytest.approx(summary.curve.sum(), abs=1e-4)
    lines = progress_of(tmp_path)
    assert [one.step for one in events.Scalars("validation/area")] == [one["steps"] for one in lines] == [320, 480]
    for name in ("area", "learning", "first", "final"):
        assert events.Scalars(f"validation/{name}")[-1].value == pytest.approx(summary.validation[name][0], abs=1e-6)


def test_continuous_actions_train_too(tmp_path):
    settings = {"course": "single", "episodes": 1}
    for algorithm in ("ppo-statistics", "recurrent-ppo"):
        out = tmp_path / algorithm
        train(algorithm, "daytwo/PointRobot-v0", steps=32, settings=settings, out=out, num_envs=2, progress=False)
        assert np.isfinite(evaluate(str(out), "daytwo/PointRobot-v0", lifetimes=2, **settings).returns).all()


NETWORKS = {"hidden_size": 8, "encoder_size": 8, "previous": True, "lifetimes_per_batch": 2, "batches_per_update": 1}


@pytest.mark.parametrize(
    "options",
    [
        {"memory_heads": 2, "memory_units": 4, "memory_layers": 2, "memory_products": True, "episodic": True},
        {"memory_heads": 0, "memory_units": 0, "slots": (("stones", 3), ("potions", 12))},
        {"slots": (), "gated": False, "items": 3, "item_parts": ("stones",)},
        {"slots": (), "places": ("previous_action", "level")},
    ],
    ids=["episodic", "slots", "items", "places"],
)
def test_an_agent_is_read_from_its_folder_whatever_its_network(tmp_path, options):
    """Some networks have whole numbers among their weights."""
    env_id = "daytwo/Alchemy-v0"
    train("rl2", env_id, steps=200, out=tmp_path / "run", evaluate=False, overrides=NETWORKS | options, progress=False)
    assert len(evaluate(str(tmp_path / "run"), env_id, lifetimes=2).returns) == 2


def test_the_rollout_covers_the_lifetime():
    spec = daytwo.LifetimeVectorEnv(BANDIT, 1, **{**EASY, "episodes": 24}).lifetime_spec
    short = daytwo.LifetimeVectorEnv(BANDIT, 1, **EASY).lifetime_spec
    assert default_num_envs(short, PPOConfig()) == 256
    assert default_num_envs(spec, PPOConfig()) == 48
    assert default_num_envs(spec, PPOConfig(rollout_steps=5000)) == 16


def test_bad_arguments_and_other_peoples_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"algorithm must be one of rl2, .*received 'sac'"):
        train("sac", BANDIT, out=tmp_path)
    for name, value in (
        ("steps", 0),
        ("seed", -1),
        ("num_envs", True),
        ("checkpoint_every", 0),
        ("evaluate_every", 1.5),
    ):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least [01], received {value}"):
            tiny(tmp_path, **{name: value})
    with pytest.raises(ValueError, match="Unknown training option 'gamma' of recurrent-ppo: expected some of roll"):
        tiny(tmp_path, overrides={"gamma": 0.9})
    with pytest.raises(ValueError, match="Unknown training option 'imitate' of ad: expected some of layers"):
        tiny(tmp_path, algorithm="ad", overrides={"imitate": 0.9})
    with pytest.raises(ValueError, match="leave privileged=True out"):
        tiny(tmp_path, settings={"privileged": True})
    with pytest.raises(ValueError, match="plain values"):
        tiny(tmp_path, settings={"arms": object()})
    with pytest.raises(ValueError, match="Unknown setting 'arm'"):
        tiny(tmp_path, settings={"arm": 3})
    with pytest.raises(ValueError, match="device"):
        tiny(tmp_path, device="abacus")
    with pytest.raises(ValueError, match="nothing to resume"):
        tiny(tmp_path, resume=True)
    assert not list(tmp_path.iterdir())
    tiny(tmp_path)
    with pytest.raises(ValueError, match="holds a run already"):
        tiny(tmp_path)
    with pytest.raises(ValueError, match="seed was 0 and is 1 now"):
        tiny(tmp_path, seed=1, resume=True)
    with pytest.raises(ValueError, match="settings was"):
        tiny(tmp_path, settings={**EASY, "pulls": 6}, resume=True)
    with pytest.raises(ValueError, match="config was"):
        tiny(tmp_path, overrides={**SMALL["recurrent-ppo"], "epochs": 2}, resume=True)


def test_what_a_teacher_chose_is_kept_logged_and_drawn(tmp_path):
    pytest.importorskip("tensorboard")
    pytest.importorskip("matplotlib")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from daytwo.evaluation.curriculum import curriculum_rows, draw_curriculum, read_curriculum

    tiny(tmp_path, settings=STAGES, teacher="mastery-gate", teacher_options={"least": 10**6})
    config = config_of(tmp_path)
    assert config["teacher"] == {"name": "mastery-gate", "options": {"least": 10**6}}
    log = read_curriculum(tmp_path)
    assert log["trials_0"][-1] > 0 and log["trials_1"][-1] == log["trials_2"][-1] == 0  # the gate never opens
    assert log["steps"][-1] >= 480
    assert [row[2] for row in curriculum_rows(log)] == ["100%", "0%", "0%"]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"teacher/effective_tasks", "teacher/share_0", "teacher/open"} <= set(events.Tags()["scalars"])
    draw_curriculum(log, tmp_path / "curriculum.png")
    assert (tmp_path / "curriculum.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="was the run trained with --teacher"):
        read_curriculum(tmp_path / "checkpoints")


def test_bad_teachers_are_refused_before_anything_is_written(tmp_path):
    for arguments, message in (
        ({"teacher": "headmaster"}, "Unknown teacher 'headmaster': expected one of uniform"),
        ({"teacher": 3}, "teacher must be a teacher's name"),
        ({"teacher": "uniform", "teacher_options": {"speed": 3}}, "Unknown option 'speed' of teacher 'uniform'"),
        ({"teacher_options": {"floor": 0.3}}, "need a teacher"),
        ({"algorithm": "dpt", "teacher": "uniform"}, "a teacher goes with rl2, recurrent-ppo, ppo, ppo-statistics"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())
    tiny(tmp_path, settings=STAGES, teacher="uniform")
    with pytest.raises(ValueError, match=r"teacher was .*uniform.* and is None now"):
        tiny(tmp_path, settings=STAGES, resume=True)


def test_resuming_runs_no_code_from_files(tmp_path):
    tiny(tmp_path)
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (marker.write_text, ("boom",))

    folder = find_checkpoint(tmp_path)
    intact = (folder / "state.pt").read_bytes()
    torch.save({"policy": Bomb()}, folder / "state.pt")
    with pytest.raises(ValueError, match="holds more than weights and numbers"):
        tiny(tmp_path, steps=960, resume=True)
    (folder / "state.pt").write_bytes(intact)
    np.savez(folder / "arrays.npz", a0=np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match="holds more than weights and numbers"):
        tiny(tmp_path, steps=960, resume=True)
    (folder / "arrays.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="holds more than weights and numbers"):
        tiny(tmp_path, steps=960, resume=True)
    assert not marker.exists()


def test_states_come_back_as_they_were(tmp_path):
    record = np.zeros(3, dtype=np.dtype([("a", "u1"), ("b", "f8", (2,))], align=True)).view(np.recarray)
    record.b[1] = 0.1
    state = {
        "random": np.random.PCG64(3).state,
        "lanes": record,
        "nested": [(1, None, 2.5, True, "text", b"\x00\xff"), {"tensor": torch.arange(3), 7: np.uint64(2**64 - 1)}],
        "course": Course([Stage(0, 2)], name="mine"),
    }
    write_state(tmp_path, state)
    back = read_state(tmp_path)
    assert back["random"] == state["random"] and back["course"] == state["course"]
    assert back["lanes"].dtype == record.dtype and (back["lanes"] == record).all()
    assert back["nested"][0] == state["nested"][0] and back["nested"][1][7] == 2**64 - 1
    assert torch.equal(back["nested"][1]["tensor"], torch.arange(3))
    with pytest.raises(ValueError, match=r"The state's state\['x'\] is a object"):
        write_state(tmp_path, {"x": object()})
    with pytest.raises(ValueError, match="array of objects"):
        write_state(tmp_path, {"x": np.array([None])})


def test_describe_tells_every_option_where_its_value_is_from_and_what_it_means():
    rows = training.describe_options("rl2", "daytwo/PointRobot-v0", {"entropy": 0.5})
    by_name = {name: (value, origin) for name, value, origin, _ in rows}
    assert by_name["entropy"] == ("0.5", "given")
    assert by_name["std"] == (str(PRESETS["rl2"]["PointRobot"]["std"]), "preset")
    assert by_name["warmup_updates"] == ("5", "default")
    assert all(sentence.endswith(".") for *_, sentence in rows)
