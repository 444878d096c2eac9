"""Agents that ship as checkpoints: found by name, small, honest about how they came about, and as good as they say."""

import json
import subprocess
import sys

import numpy as np
import pytest

import daytwo
from daytwo.agent import fitting_agents, make_agent
from daytwo.baselines.trained import SHIPPED, TrainedAgent, read_safetensors, shipped_checkpoint

FOLDERS = sorted(path.parent for path in SHIPPED.glob("*/*/config.json"))
NAMES = [f"{folder.parent.name}-{folder.name}" for folder in FOLDERS]
RECURRENT = [folder for folder in FOLDERS if folder.parent.name == "rl2"]


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def spec_of(env_id, **settings):
    env = daytwo.LifetimeVectorEnv(env_id, 1, **settings)
    env.close()
    return env.lifetime_spec


def test_checkpoints_are_of_families_of_the_suite():
    assert RECURRENT
    assert {f"daytwo/{folder.name}" for folder in FOLDERS} <= set(daytwo.env_ids())


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_checkpoint_is_small_and_says_how_it_came_about(folder):
    assert {path.name for path in folder.iterdir()} == {"config.json", "policy.safetensors"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    config = config_of(folder)
    for key in ("command", "seed", "steps_done", "seconds", "machine", "versions", "split", "privileged", "config"):
        assert key in config, key
    assert config["command"].startswith(f"daytwo train {folder.parent.name} daytwo/{folder.name}")
    assert "/" not in config["command"].replace(f"daytwo/{folder.name}", "")  # no path of a machine
    assert config["split"] in ("train", "all")


@pytest.mark.parametrize("folder", RECURRENT, ids=[folder.name for folder in RECURRENT])
def test_a_recurrent_agent_reaches_its_published_figure_and_forgets_when_wiped(folder):
    config = config_of(folder)
    told, env_id = config["figures"], config["env_id"]
    few = told["few"]["lifetimes"]
    split = "test" if "test" in daytwo.make_family(env_id).splits else "all"
    kept, wiped = (
        np.nanmean(
            daytwo.evaluate("rl2", env_id, lifetimes=few, seed=told["seed"], memory=memory, split=split).normalized,
            axis=1,
        )
        for memory in ("kept", "wiped")
    )
    # The first lifetimes of the same seed: equal but for the last bits of another processor's arithmetic.
    assert kept.mean() == pytest.approx(told["few"]["area"], abs=0.01)
    error = 4.0 * kept.std(ddof=1) / np.sqrt(few)
    assert abs(kept.mean() - told["area"][0]) < error + told["area"][1]
    difference, (mean, half) = kept - wiped, told["kept minus wiped"]
    assert mean > half, "what is kept makes no difference that 1024 lifetimes could tell"
    assert abs(difference.mean() - mean) < 4.0 * difference.std(ddof=1) / np.sqrt(few) + half


def test_names_find_their_checkpoints_and_other_environments_are_refused():
    spec = spec_of("daytwo/Bandit-v0")
    assert shipped_checkpoint("rl2", spec) == SHIPPED / "rl2" / "Bandit-v0"
    made = make_agent("rl2", spec)
    assert isinstance(made, TrainedAgent) and made.name == "rl2" and made.provenance["env_id"] == "daytwo/Bandit-v0"
    assert "rl2" in fitting_agents(spec)
    # Other lengths and courses of the same environment are welcome, another observation is not.
    assert "rl2" in fitting_agents(spec_of("daytwo/Bandit-v0", course="single", episodes=3))
    other = spec_of("daytwo/Bandit-v0", show=("previous_reward",))
    assert shipped_checkpoint("rl2", other) is None and "rl2" not in fitting_agents(other)
    with pytest.raises(ValueError, match="not meant for daytwo/Bandit-v0"):
        make_agent("rl2", other)


def test_suites_leave_out_what_is_on_request():
    spec = spec_of("daytwo/Bandit-v0")
    assert not {"ad", "dpt"} & set(fitting_agents(spec))
    assert set(fitting_agents(spec, ["ad", "dpt"])) == {"ad", "dpt"}


def test_recurrent_agents_act_without_torch():
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['stable_baselines3'] = sys.modules['safetensors'] = None\n"
        "import daytwo\n"
        "result = daytwo.evaluate('rl2', 'daytwo/Bandit-v0', lifetimes=4, course='single', episodes=2)\n"
        "print(result.normalized.shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(4, 2)"


def test_results_do_not_depend_on_the_batch():
    wide, narrow = (
        daytwo.evaluate("rl2", "daytwo/DarkRoom-v0", lifetimes=6, num_envs=lanes, course="single", episodes=2)
        for lanes in (6, 4)
    )
    np.testing.assert_array_equal(wide.returns, narrow.returns)


def test_a_broken_file_of_weights_is_refused(tmp_path):
    file = tmp_path / "policy.safetensors"
    for content in (b"", b"\x80\x04pickle", b"\x02\x00\x00\x00\x00\x00\x00\x00[]"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="no safetensors file"):
            read_safetensors(file)
