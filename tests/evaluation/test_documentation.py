"""What docs/evaluation.md says is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from daytwo.evaluation import PROTOCOLS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_its_code_runs_as_it_stands(number, tmp_path):
    command = [sys.executable, "-c", BLOCKS[number]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert number == 1 or (tmp_path / "report.html").exists()
    assert number == 0 or re.search(r"\] .*\[.* (twin|memoryless)$", done.stdout.strip())


def test_its_table_of_protocols_is_the_list_of_protocols():
    rows = {
        row[0]: row for row in re.findall(r"^\| `(\w+)` \|(.*)\| (\d+) \| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE)
    }
    assert list(rows) == list(PROTOCOLS)
    for name, protocol in PROTOCOLS.items():
        assert int(rows[name][2]) == protocol.lifetimes
        named = rows[name][3]
        if protocol.agents is None:
            assert named == "all that fit"
        elif named != "the same":
            assert tuple(word.strip() for word in named.split(",")) == protocol.agents
