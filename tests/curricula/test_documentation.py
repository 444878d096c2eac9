"""What docs/curricula.md says is so."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

from daytwo.course import course_names
from daytwo.teacher import teacher_class, teacher_names

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "curricula.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_its_code_runs_as_it_stands(tmp_path):
    code = "\n".join(BLOCKS)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "teacher/effective_tasks" in done.stdout
    # The file that the page shows begins as the one that its code saves.
    saved = (tmp_path / "there_and_back.toml").read_text()
    shown = re.search(r'    name = "there-and-back"\n.*?switch_after = 5\n', PAGE, re.DOTALL)
    assert shown is not None and saved.startswith(textwrap.dedent(shown[0]))


def test_its_tables_name_every_course_and_every_teacher():
    courses, teachers = PAGE.split("## Teachers")[:2]
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", courses, re.MULTILINE)) == course_names()
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", teachers, re.MULTILINE)
    assert tuple(name for name, _ in rows) == teacher_names()
    for name, row in rows:
        assert ("(staged)" in row) == teacher_class(name).staged
        kinds = [kind.__name__ for kind in teacher_class(name).kinds]
        assert row.split("|")[1].strip() == ("any" if len(kinds) == 2 else kinds[0])
