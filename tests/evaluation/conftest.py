"""Fixtures that several test files of this folder share."""

import os
import sys
from collections import Counter

import pytest

from tests.evaluation.counting import AGENTS


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Makes ``counting_agents`` importable, here and in processes; calling it counts computations by arm."""
    (tmp_path / "counting_agents.py").write_text(AGENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("DAYTWO_TEST_LOG", str(tmp_path / "log"))
    yield (
        lambda: Counter(map(int, (tmp_path / "log").read_text().split())) if (tmp_path / "log").exists() else Counter()
    )
    sys.modules.pop("counting_agents", None)
