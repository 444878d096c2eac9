"""Every example is short, runs, and says how far its agent adapts before and after training."""

import importlib.util
import io
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest

import daytwo

FOLDER = Path(__file__).resolve().parent.parent / "examples"
MOST_LINES = 60

# Example, the modules it needs beyond DayTwo's own, and steps that take a few updates.
EXAMPLES = {
    "stable_baselines3_ppo": (("stable_baselines3",), 2560),
    "stable_baselines3_recurrent_ppo": (("sb3_contrib",), 1280),
    "stable_baselines3_dqn": (("stable_baselines3",), 2560),
    "torchrl_ppo_lstm": (("torchrl",), 2560),
    "tianshou_ppo": (("tianshou",), 1280),
    "cleanrl_ppo_lstm": (("torch",), 2560),
    "pytorch_loop": (("torch",), 2560),
    "rllib_ppo_lstm": (("ray", "torch", "tree", "lz4", "ormsgpack"), 1280),
}
IN_PROCESS = [name for name in EXAMPLES if name != "rllib_ppo_lstm"]


def load(name):
    """The module of an example, in this process and with one thread."""
    for needed in EXAMPLES[name][0]:
        pytest.importorskip(needed)
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def curves(printed):
    """The normalised returns by inner episode that an example printed, before and after training."""
    found = dict(re.findall(r"^(before|after) training: \[(.*)\]$", printed, re.MULTILINE))
    assert list(found) == ["before", "after"], printed
    return [np.array(found[when].split(), dtype=float) for when in ("before", "after")]


def lines_of_code(path):
    """Lines that are neither blank nor a comment; docstrings count."""
    ignored = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type not in ignored:
            lines.update(range(token.start[0], token.end[0] + 1))
    text = path.read_text().splitlines()
    return sum(bool(text[line - 1].strip()) for line in lines)


def test_every_example_is_listed_and_has_at_most_sixty_lines():
    paths = sorted(FOLDER.glob("*.py"))
    assert {path.stem for path in paths} == set(EXAMPLES)
    told = {path.name: lines_of_code(path) for path in paths}
    assert max(told.values()) <= MOST_LINES, told
    index = (FOLDER / "README.md").read_text()
    assert all(f"[{path.name}]" in index for path in paths)


@pytest.mark.parametrize("name", IN_PROCESS)
@pytest.mark.filterwarnings("ignore")  # the libraries' own
def test_the_example_trains_and_prints_its_adaptation(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module = load(name)
    module.main(EXAMPLES[name][1])
    before, after = curves(capsys.readouterr().out)
    assert len(before) == len(after) == module.SETTINGS["episodes"]
    assert np.isfinite(before).all() and np.isfinite(after).all()
    assert not np.array_equal(before, after), "training changed nothing"


@pytest.mark.slow
def test_the_rllib_example_trains_and_prints_its_adaptation(tmp_path):
    needed, steps = EXAMPLES["rllib_ppo_lstm"]
    for module in needed:
        pytest.importorskip(module)
    environ = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(FOLDER / "rllib_ppo_lstm.py"), str(steps)]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    before, after = curves(done.stdout)
    assert len(before) == len(after) == 4
    assert np.isfinite(before).all() and np.isfinite(after).all()


def test_a_learner_trained_elsewhere_is_evaluated_by_the_name_of_its_class(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module = load("pytorch_loop")
    module.main(1280)
    _, after = curves(capsys.readouterr().out)
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "pytorch_loop", raising=False)
    result = daytwo.evaluate("pytorch_loop:Saved", module.ENV, lifetimes=512, **module.SETTINGS)
    np.testing.assert_array_equal(result.normalized.mean(axis=0).round(2), after)


@pytest.mark.slow
def test_the_plain_loop_learns_to_learn(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    load("pytorch_loop").main(400_000)
    before, after = curves(capsys.readouterr().out)
    assert np.abs(before).max() < 0.2  # before training it plays at random
    assert after[-1] > 0.5
    assert after[-1] > after[0] + 0.2
