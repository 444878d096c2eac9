"""The code that README shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"


def blocks() -> list[str]:
    """README's Python code, block by block."""
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def execute(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_gymnasium_example_lives_a_whole_lifetime(tmp_path):
    printed = execute(blocks()[0], tmp_path).splitlines()
    assert [line.split()[0] for line in printed] == ["0"] * 10 + ["1"] * 10 + ["2"] * 10 + ["3"] * 10


@pytest.mark.slow
def test_the_stable_baselines3_example_trains_and_is_scored(tmp_path):
    code = blocks()[1]
    assert "learn(10_000)" in code
    printed = execute("import torch; torch.set_num_threads(1)\n" + code.replace("10_000", "3_200"), tmp_path)
    assert "area" in printed


def test_the_teachers_example_shows_what_was_chosen(tmp_path):
    printed = execute(blocks()[2], tmp_path)
    assert "teacher/share_3" in printed


def test_the_examples_are_short():
    assert len(blocks()) == 3
    for code in blocks():
        assert len(code.strip().splitlines()) <= 10
