"""Run mypy over the whole package.

The folders at the top level of the repository are packages under ``daytwo`` only by ``package_dir``, which mypy does
not read: ``mypy -p daytwo`` run at the top finds the folder ``daytwo/`` alone, and says "no issues" of a part of the
code. So a tree of links in the package's own shape is made (``.typecheck/``, ignored by git), mypy runs inside it, and
the number of files it says it checked must be the number of modules there are.
"""

import re
import shutil
import subprocess
import sys

from layout import ROOT, package_modules

TREE = ROOT / ".typecheck"


def make_tree() -> int:
    """Link every module to where it lies in the installed package, and say how many there are."""
    shutil.rmtree(TREE, ignore_errors=True)
    modules = package_modules()
    for place, file in modules.items():
        link = TREE / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return len(modules)


def main() -> int:
    """Check the types; the exit status is 0 when there is nothing to say."""
    expected = make_tree()
    command = [sys.executable, "-m", "mypy", "--config-file", "../pyproject.toml", "--cache-dir", "../.mypy_cache"]
    command += ["-p", "daytwo", *sys.argv[1:]]
    run = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    # mypy lists every overload of NumPy's functions, a screen each; the error above them says enough.
    lines = [line for line in run.stdout.splitlines() if ": note:     def " not in line]
    print("\n".join(lines) + run.stderr, flush=True)
    found = re.search(r"(?:in|checked) (\d+) source files?", run.stdout)
    checked = int(found[1]) if found else 0
    if checked != expected:
        print(f"mypy checked {checked} files, but the package has {expected} modules.", file=sys.stderr)
        return 1
    return run.returncode


if __name__ == "__main__":
    sys.exit(main())
