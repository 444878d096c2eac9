"""Datasets: they hold what evaluations live, survive kills and damage, and say what they are."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import daytwo
from daytwo import command_line

pytest.importorskip("pyarrow", reason="the extra datasets is not installed")
pytest.importorskip("h5py", reason="the extra datasets is not installed")
pytest.importorskip("minari", reason="the extra datasets is not installed")

from daytwo.integrations import datasets
from daytwo.integrations.datasets import FILE_FORMATS, export_dataset, load_dataset
from daytwo.streams import lifetime_seeds

BANDIT = "daytwo/Bandit-v0"
SMALL = {"arms": 3, "pulls": 4, "course": "single", "episodes": 3}
ROOM = "daytwo/DarkRoom-v0"
ROOMS = {"episodes": 2}  # four levels, episodes that end early, lifetimes of different lengths
POINT = "daytwo/PointRobot-v0"
POINTS = {"course": "single", "level": 0, "episodes": 2}
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text()


def export(folder, **options):
    """Ten lifetimes of a bandit in parts of three, unless said otherwise."""
    env_id, agent = options.pop("env_id", BANDIT), options.pop("agent", "thompson")
    settings = SMALL if env_id == BANDIT else {}
    return export_dataset(env_id, agent, folder, **{"lifetimes": 10, "per_part": 3, **settings, **options})


def contents(folder):
    """Every file of a folder, as bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def returns_of(lifetime, episodes):
    """Raw returns by episode, added up in lived order as the environment does."""
    total = np.full(episodes, np.nan)
    total[: lifetime["episode"].max() + 1] = 0.0
    np.add.at(total, lifetime["episode"], lifetime["raw_reward"])
    return total


def assert_same_lifetimes(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        for name, values in one.items():
            assert values.dtype == other[name].dtype
            np.testing.assert_array_equal(values, other[name], err_msg=name)


# --- what is in them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "agent", "settings"),
    [(BANDIT, "thompson", SMALL), (ROOM, "reference", ROOMS), (ROOM, "oracle", ROOMS), (POINT, "reference", POINTS)],
)
def test_lifetimes_are_those_of_an_evaluation(tmp_path, env_id, agent, settings):
    """Returns, levels, stages and rewards, bit for bit, though the parts are of other sizes than the evaluation."""
    done = export_dataset(env_id, agent, tmp_path, lifetimes=7, per_part=3, seed=5, **settings)
    dataset = load_dataset(tmp_path)
    result = daytwo.evaluate(agent, env_id, lifetimes=7, seed=5, split="train", **settings)
    assert len(dataset) == done.lifetimes == 7 and dataset.steps == done.steps
    for number, lifetime in enumerate(dataset):
        episode, episodes = lifetime["episode"], result.returns.shape[1]
        np.testing.assert_array_equal(returns_of(lifetime, episodes), result.returns[number])
        np.testing.assert_array_equal(lifetime["level"], result.levels[number][episode])
        np.testing.assert_array_equal(lifetime["stage"], result.stages[number][episode])
        assert lifetime["reward"].sum() == pytest.approx(result.reward[number], abs=1e-9)
        assert (lifetime["lifetime"] == number).all()
        assert lifetime["terminated"][-1] and lifetime["terminated"].sum() == 1
        np.testing.assert_array_equal(lifetime["episode_start"], lifetime["step"] == 0)
        np.testing.assert_array_equal(np.cumsum(lifetime["episode_start"]) - 1, episode)
    assert len({len(lifetime["step"]) for lifetime in dataset}) > 1 or env_id != ROOM


@pytest.mark.parametrize("split", ["validation", "test"])
def test_another_split_holds_that_splits_lifetimes(tmp_path, split):
    export(tmp_path, env_id=ROOM, agent="reference", split=split, lifetimes=4, **ROOMS)
    result = daytwo.evaluate("reference", ROOM, lifetimes=4, split=split, **ROOMS)
    for number, lifetime in enumerate(load_dataset(tmp_path)):
        np.testing.assert_array_equal(returns_of(lifetime, result.returns.shape[1]), result.returns[number])


def test_actions_lead_through_the_same_lifetime_again(tmp_path):
    """An environment reset with a lifetime's seed and given its actions shows its observations and pays its rewards."""
    export(tmp_path, env_id=ROOM, agent="random", lifetimes=2, seed=3, **ROOMS)
    env = daytwo.LifetimeEnv(ROOM, **ROOMS)
    for number, lifetime in enumerate(load_dataset(tmp_path)):
        observation, info = env.reset(seed=int(lifetime_seeds(3, number, number + 1)[0]))
        for step in range(len(lifetime["action"])):
            np.testing.assert_array_equal(lifetime["observation"][step], observation)
            np.testing.assert_array_equal(lifetime["action_mask"][step], info["action_mask"])
            observation, reward, terminated, _, info = env.step(int(lifetime["action"][step]))
            assert (reward, info["raw_reward"]) == (lifetime["reward"][step], lifetime["raw_reward"][step])
            assert terminated == lifetime["terminated"][step]


@pytest.mark.parametrize(("env_id", "settings"), [(ROOM, ROOMS), (POINT, POINTS)])
def test_oracle_actions_are_the_oracles(tmp_path, env_id, settings):
    export(tmp_path / "oracle", env_id=env_id, agent="oracle", oracle_actions=True, lifetimes=5, **settings)
    for lifetime in load_dataset(tmp_path / "oracle"):
        np.testing.assert_array_equal(lifetime["action"], lifetime["oracle_action"])
    export(tmp_path / "random", env_id=env_id, agent="random", oracle_actions=True, lifetimes=5, **settings)
    dataset = load_dataset(tmp_path / "random")
    lifetime = dataset[0]
    assert (lifetime["action"] != lifetime["oracle_action"]).any()
    assert lifetime["oracle_action"][0] == pytest.approx(load_dataset(tmp_path / "oracle")[0]["action"][0])
    assert dataset.manifest["privileged_columns"] == ["oracle_action"] and not dataset.manifest["agent_privileged"]


@pytest.mark.parametrize(("env_id", "settings"), [(BANDIT, SMALL), (POINT, POINTS)])
@pytest.mark.parametrize("file_format", FILE_FORMATS)
def test_every_format_gives_back_the_same(tmp_path, file_format, env_id, settings):
    options = {"env_id": env_id, "agent": "random", "lifetimes": 5, "per_part": 2, "oracle_actions": True, **settings}
    export(tmp_path / "data", file_format=file_format, **options)
    dataset, env = load_dataset(tmp_path / "data", verify=True), daytwo.LifetimeVectorEnv(env_id, 1, **settings)
    whole = daytwo.LifetimeVectorEnv(env_id, 5, privileged=True, autoreset_mode="Disabled", **settings)
    agent = daytwo.make_agent("random", whole.lifetime_spec)
    expected, lengths, _ = datasets.live_part(whole, agent, seeds=lifetime_seeds(0, 0, 5), oracle_actions=True)
    lives = list(dataset)
    assert [len(one["action"]) for one in lives] == lengths.tolist() and dataset.steps == lengths.sum()
    for column in dataset.columns:
        found = np.concatenate([one[column.name] for one in lives])
        assert found.dtype == column.dtype and found.shape[1:] == column.shape
        np.testing.assert_array_equal(found, expected[column.name], err_msg=column.name)
    assert ("action_mask" in lives[0]) == (env_id == BANDIT)
    assert_same_lifetimes([dataset[k] for k in (4, 0, -2)], [lives[4], lives[0], lives[3]])
    assert env.single_action_space.dtype == lives[0]["action"].dtype


def test_the_manifest_says_how_to_make_it_again(tmp_path):
    course = daytwo.Course([daytwo.Stage(level=0, episodes=1), daytwo.Stage(level=0, episodes=2)])
    options = {"agent": "epsilon-greedy", "agent_options": {"epsilon": 0.3}, "seed": 9, "course": course}
    export_dataset(BANDIT, folder=tmp_path / "one", arms=3, lifetimes=4, **options)
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["agent_options"] == {"epsilon": 0.3} and manifest["versions"]["daytwo"] == daytwo.__version__
    again = dict(manifest["settings"], course=daytwo.Course.from_dict(manifest["settings"]["course"]["course"]))
    named = {name: manifest[name] for name in ("agent", "lifetimes", "seed", "split", "agent_options")}
    export_dataset(manifest["env_id"], folder=tmp_path / "two", **named, **again)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    columns = {column["name"]: column for column in manifest["columns"]}
    assert columns["observation"]["dtype"] == "float32" and columns["reward"]["unit"] == "normalised return"
    assert columns["observation"]["shape"] == [manifest["interface"]["size"]]


def test_plain_files_are_read_by_their_own_libraries(tmp_path):
    import h5py
    import pyarrow.parquet

    export(tmp_path / "parquet")
    export(tmp_path / "hdf5", file_format="hdf5")
    table = pyarrow.parquet.read_table(tmp_path / "parquet" / "parts")
    assert table.num_rows == 120 and table["lifetime"].to_pylist() == sorted(12 * list(range(10)))
    with h5py.File(tmp_path / "hdf5" / "parts" / "part-000003.hdf5") as file:
        assert file["lengths"][()].tolist() == [12] and file["observation"].shape[0] == 12


# --- batches ----------------------------------------------------------------------------------------------------------


def test_batches_hold_every_lifetime_once(tmp_path):
    export(tmp_path, env_id=ROOM, agent="oracle", per_part=2, **ROOMS)
    dataset = load_dataset(tmp_path)
    plain, shuffled, again, other = (list(dataset.batches(4, seed=seed, parts_in_memory=2)) for seed in (None, 1, 1, 2))
    for batches in (plain, shuffled, other):
        assert [len(batch["lengths"]) for batch in batches] == [4, 4, 2]
        numbers = [int(batch["lifetime"][k, 0]) for batch in batches for k in range(len(batch["lengths"]))]
        assert sorted(numbers) == list(range(10)) and (numbers == list(range(10))) == (batches is plain)
    assert_same_lifetimes(shuffled, again)
    for batch in shuffled:
        for row, length in enumerate(batch["lengths"]):
            lifetime = dataset[int(batch["lifetime"][row, 0])]
            assert len(lifetime["action"]) == length
            np.testing.assert_array_equal(batch["observation"][row, :length], lifetime["observation"])
            assert not batch["observation"][row, length:].any() and not batch["terminated"][row, length:].any()
    with pytest.raises(ValueError, match="lifetimes must be an integer of at least 1, received 0"):
        dataset.batches(0)


def test_histories_are_the_lifetimes_with_the_oracles_labels(tmp_path):
    export(tmp_path / "labelled", oracle_actions=True)
    export(tmp_path / "plain")
    dataset = load_dataset(tmp_path / "labelled")
    histories = dataset.to_histories(lifetimes=4)
    batches = list(histories)
    assert [len(batch) for batch in batches] == [4, 4, 2] and len(histories) == 3
    assert sum(batch.steps for batch in batches) == dataset.steps
    first = batches[0]
    np.testing.assert_array_equal(first.labels[1], dataset[1]["oracle_action"])
    np.testing.assert_array_equal(first.actions[1], dataset[1]["action"])
    np.testing.assert_array_equal(first.rewards[1], dataset[1]["raw_reward"].astype(np.float32))
    assert first.observations.dtype == first.rewards.dtype == np.float32 and first.present.all()
    taken = [histories.take() for _ in range(4)][3]
    assert histories.position == 4
    for field in dataclasses.fields(taken):
        np.testing.assert_array_equal(getattr(taken, field.name), getattr(first, field.name))
    plain = load_dataset(tmp_path / "plain").to_histories().take()
    assert len(plain) == 3
    np.testing.assert_array_equal(plain.labels, plain.actions)


# --- interruptions and damage -----------------------------------------------------------------------------------------

SLOW = """
import os, time
import numpy as np


class Slow:
    def begin(self, spec, seeds):
        self.arms = spec.actions

    def act(self, observations, fresh):
        time.sleep(float(os.environ.get("SLOW", "0")))
        return np.arange(len(fresh)) % self.arms
"""


def test_a_killed_export_goes_on_and_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    (tmp_path / "slow_agent.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"lifetimes": 12, "per_part": 2, "agent": "slow_agent:Slow"}
    export(tmp_path / "whole", **options)
    code = f"""
from daytwo.integrations.datasets import export_dataset
export_dataset("{BANDIT}", "slow_agent:Slow", "killed", lifetimes=12, per_part=2, **{SMALL!r})
"""
    environment = {**os.environ, "SLOW": "0.05", "PYTHONPATH": str(tmp_path)}
    running = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    killed, until = tmp_path / "killed", time.monotonic() + 100
    while len(list(killed.glob("parts/part-*"))) < 2 and time.monotonic() < until and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    found = len(list(killed.glob("parts/part-*")))
    assert 2 <= found < 6
    with pytest.raises(ValueError, match=r"of 12 lifetimes; the same export again completes it"):
        load_dataset(killed)
    kept = (killed / "parts" / "part-000000.parquet").stat().st_mtime_ns
    done = export(killed, **options)
    assert done.parts - done.lived in (found - 1, found)  # a part whose line was not written yet is made again
    assert (killed / "parts" / "part-000000.parquet").stat().st_mtime_ns == kept
    assert contents(killed) == contents(tmp_path / "whole")


@pytest.mark.parametrize("file_format", ["parquet", "hdf5"])
def test_parts_that_are_damaged_or_lost_are_made_again(tmp_path, file_format):
    export(tmp_path, file_format=file_format)
    before = contents(tmp_path)
    parts = sorted((tmp_path / "parts").iterdir())
    parts[0].write_bytes(parts[0].read_bytes()[:-100])  # cut off
    parts[1].unlink()
    altered = bytearray(parts[2].read_bytes())
    altered[len(altered) // 2] ^= 255
    parts[2].write_bytes(altered)
    (tmp_path / "parts" / ".part-000009.unfinished").write_bytes(b"half a fi")
    with pytest.raises(ValueError, match=r"'parts/part-000000.*' is missing or damaged; the same export again"):
        load_dataset(tmp_path)
    assert export(tmp_path, file_format=file_format).lived == 3
    assert contents(tmp_path) == before
    altered[0] ^= 255
    parts[2].write_bytes(altered)
    load_dataset(tmp_path)  # of the right size
    with pytest.raises(ValueError, match=r"'parts/part-000002.*' is missing or damaged"):
        load_dataset(tmp_path, verify=True)


def test_a_journal_that_was_cut_off_costs_its_last_part(tmp_path):
    export(tmp_path)
    before, journal = contents(tmp_path), tmp_path / "parts.jsonl"
    journal.write_text(journal.read_text()[:-30])
    partial = load_dataset(tmp_path, partial=True)
    assert len(partial) == len(list(partial)) == 9 and not partial.complete
    assert export(tmp_path).lived == 1
    assert contents(tmp_path) == before


def test_more_lifetimes_are_added(tmp_path):
    export(tmp_path / "grown", lifetimes=4)
    grown, whole = export(tmp_path / "grown"), export(tmp_path / "whole")
    assert (grown.parts, grown.lived, whole.lived) == (4, 3, 4)  # the second part had one lifetime only
    assert contents(tmp_path / "grown") == contents(tmp_path / "whole")
    with pytest.raises(ValueError, match="it has 10 lifetimes, and here are fewer, 4"):
        export(tmp_path / "grown", lifetimes=4)


def test_another_export_in_the_same_folder_is_refused_with_what_differs(tmp_path):
    export(tmp_path / "data")
    before = contents(tmp_path / "data")
    for changed, told in (
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"agent": "ucb1"}, "agent is 'thompson' there and 'ucb1' here"),
        ({"arms": 4}, r"dataset: settings\.arms is 3 there and 4 here\. Choose"),
        ({"per_part": 4}, "lifetimes_in_part is 3 there and 4 here"),
        ({"file_format": "hdf5"}, "files is 'parquet' there and 'hdf5' here"),
        ({"oracle_actions": True}, "oracle_actions is False there and True here"),
    ):
        with pytest.raises(ValueError, match=told):
            export(tmp_path / "data", **changed)
    assert contents(tmp_path / "data") == before
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "note").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        export(tmp_path / "else")


def test_two_exports_at_a_time_do_not_meet(tmp_path):
    import fcntl

    export(tmp_path)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError, match=r"Another export to .* is at work"):
        export(tmp_path)
    os.close(handle)
    assert export(tmp_path).lived == 0


# --- Minari -----------------------------------------------------------------------------------------------------------


def test_minari_finds_whole_lifetimes_and_their_environment(tmp_path, monkeypatch):
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    name, settings = "daytwo/rooms/oracle-v3", {**ROOMS, "show": ("time", "level"), "split": "test"}
    export("daytwo/rooms/oracle-v3", env_id=ROOM, agent="oracle", file_format="minari", lifetimes=4, **settings)
    dataset = minari.load_dataset(name)
    mine = load_dataset(tmp_path / name)
    assert dataset.id == name and os.environ["MINARI_DATASETS_PATH"] == str(tmp_path)
    assert (dataset.total_episodes, dataset.total_steps) == (4, mine.steps)
    env = dataset.recover_environment()
    assert env.spec.id == "daytwo:daytwo/DarkRoom-v0"
    assert dataset.observation_space == env.observation_space and dataset.action_space == env.action_space
    seeds = [one["seed"] for one in dataset.storage.get_episode_metadata(range(4))]
    assert seeds == lifetime_seeds(0, 0, 4).tolist()
    for seed, episode, lifetime in zip(seeds, dataset.iterate_episodes(), mine, strict=True):
        observation, _ = env.reset(seed=seed)
        paid = []
        for action, shown in zip(episode.actions, episode.observations[:-1], strict=True):
            np.testing.assert_array_equal(observation, shown)
            observation, reward, terminated, _, info = env.step(action)
            paid.append((reward, info["raw_reward"]))
        np.testing.assert_array_equal(observation, episode.observations[-1])
        assert terminated and episode.terminations[-1] and not episode.truncations.any()
        np.testing.assert_array_equal(paid, np.stack([episode.rewards, episode.infos["raw_reward"][1:]], axis=1))
        assert {len(values) for values in episode.infos.values()} == {len(episode.actions) + 1}
        np.testing.assert_array_equal(episode.infos["level"][:-1], lifetime["level"])


def test_minari_recovers_a_course_of_ones_own_in_a_fresh_process(tmp_path):
    course = daytwo.Course([daytwo.Stage(level=1, episodes=1), daytwo.Stage(level=0, episodes=2)])
    export(tmp_path / "data", env_id=ROOM, agent="random", file_format="minari", lifetimes=1, course=course)
    code = """
import sys, minari
env = minari.MinariDataset("data/data").recover_environment()
print([(stage.level, stage.episodes) for stage in env.unwrapped.course.stages])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.stdout == "[(1, 1), (0, 2)]\n", done.stderr


def test_minari_is_put_together_again_without_living_a_lifetime_twice(tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(datasets._Export, "_buffers", stop)
        with pytest.raises(KeyboardInterrupt):
            export(tmp_path, file_format="minari")
    with pytest.raises(ValueError, match="has 0 of 10 lifetimes"):
        load_dataset(tmp_path)
    assert export(tmp_path, file_format="minari").lived == 0
    lives = list(load_dataset(tmp_path, verify=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "manifest.json", "parts.jsonl"]
    assert export(tmp_path, file_format="minari").lived == 0
    file = tmp_path / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"'data/main_data\.hdf5' is missing or damaged"):
        load_dataset(tmp_path)
    assert export(tmp_path, file_format="minari").lived == 4
    assert_same_lifetimes(list(load_dataset(tmp_path)), lives)


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file_format", "module"), [("parquet", "pyarrow"), ("hdf5", "h5py"), ("minari", "minari"), ("minari", "h5py")]
)
def test_a_missing_extra_names_the_install_command(tmp_path, monkeypatch, file_format, module):
    export(tmp_path / "there", file_format=file_format, lifetimes=1)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}: pip install 'daytwo\[datasets\]'"):
        export(tmp_path / "new", file_format=file_format)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ImportError, match=rf"needs {module}: pip install 'daytwo\[datasets\]'"):
        load_dataset(tmp_path / "there")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lifetimes": 0}, "lifetimes must be an integer of at least 1, received 0"),
        ({"seed": -1}, "seed must be an integer of at least 0, received -1"),
        ({"per_part": 0}, "per_part must be an integer of at least 1, received 0"),
        ({"file_format": "zip"}, "file_format must be one of parquet, hdf5, minari, received 'zip'"),
        ({"oracle_actions": 1}, "oracle_actions must be True or False, received 1"),
        ({"agent": "nobody"}, "Unknown agent 'nobody'"),
        ({"agent": "psrl"}, "not meant for"),
        ({"legs": 4}, "Unknown setting 'legs'"),
        ({"privileged": True}, "decides privileged itself"),
        ({"env_id": 3}, "env_id must be an environment's id"),
        ({"env_id": "daytwo/Mixture-v0"}, "no single family"),
        ({"split": "sideways"}, "Unknown split 'sideways'"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        export(tmp_path / "data", **wrong)
    assert not (tmp_path / "data").exists()


def test_folders_without_a_dataset_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no dataset: expected a manifest\.json"):
        load_dataset(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="format 99, expected 1"):
        load_dataset(tmp_path)
    export(tmp_path / "data", lifetimes=2)
    dataset = load_dataset(tmp_path / "data")
    for number in (2, -3):
        with pytest.raises(IndexError, match=rf"has lifetimes 0\.\.1, received {number}"):
            dataset[number]
    with pytest.raises(TypeError, match="by its number"):
        dataset["first"]


# --- the command and the page -----------------------------------------------------------------------------------------


def run(monkeypatch, capsys, words):
    monkeypatch.setattr("sys.argv", ["daytwo", *words])
    monkeypatch.setenv("COLUMNS", "200")
    status = 0
    try:
        command_line.main()
    except SystemExit as stopped:
        status = stopped.code or 0
    return status, capsys.readouterr()


def test_the_command_exports_and_goes_on(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ["export", BANDIT, "arms=3", "course=single", "--agent", "epsilon-greedy", "--options", "epsilon=0.2"]
    words += ["--lifetimes", "6", "--per-part", "2", "--oracle-actions", "--seed", "2"]
    for lived in (3, 0):
        status, (out, _) = run(monkeypatch, capsys, words)
        assert status == 0 and f"{lived} of 3 parts were made now" in out
    dataset = load_dataset("datasets/Bandit-v0-epsilon-greedy-2")
    assert len(dataset) == 6 and dataset.manifest["agent_options"] == {"epsilon": 0.2} and "oracle_action" in dataset[0]
    status, (_, err) = run(monkeypatch, capsys, [*words[:-1], "3", "--out", "datasets/Bandit-v0-epsilon-greedy-2"])
    assert status == 2 and "seed is 2 there and 3 here" in err


def test_the_pages_code_and_commands_run_as_they_stand(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3 and all(len(block.strip().splitlines()) <= 10 for block in blocks)
    for block in blocks:
        exec(compile(block, "docs/datasets.md", "exec"), {})
    assert "64 " in capsys.readouterr().out
    commands = re.findall(r"^    (?:MINARI_DATASETS_PATH=data )?daytwo (export .*)$", PAGE, re.MULTILINE)
    assert len(commands) == 4
    for words in commands:
        if words == commands[-1]:
            monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))
        status, _ = run(monkeypatch, capsys, [*words.split(), "--lifetimes", "4"])
        assert status == 0
    import minari

    assert minari.load_dataset("daytwo/bandit/reference-v0").total_episodes == 4


def test_the_pages_table_names_every_column():
    env = daytwo.LifetimeVectorEnv(BANDIT, 1)
    columns = datasets.dataset_columns(env.lifetime_spec, oracle_actions=True)
    table = PAGE.split("## Columns")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [column.name for column in columns]
