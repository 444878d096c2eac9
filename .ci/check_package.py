"""Build the package and check what is in it.

A source archive is built from the checkout and a wheel from that archive, so a file that the archive lacks is noticed.
The wheel must hold every module and data file, each under ``daytwo/``, and nothing else; it is then unpacked away from
the checkout, imported there and made to live through a few steps, and its command is asked for help.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from layout import ROOT, lone_modules, package_data, package_modules

SMOKE_TEST = """
import sys
import gymnasium, daytwo, daytwo.baselines, daytwo.curricula, daytwo.envs, daytwo.evaluation, daytwo.integrations
for module in (daytwo, daytwo.baselines, daytwo.curricula, daytwo.envs, daytwo.evaluation, daytwo.integrations):
    assert module.__file__.startswith(sys.argv[1]), f"{module.__name__} was imported from {module.__file__}"
env = gymnasium.make("daytwo/Bandit-v0")
env.reset(seed=1)
for _ in range(5):
    env.step(env.action_space.sample())
print("imported and lived in:", daytwo.__version__)
"""


def main() -> int:
    """Build and check; the exit status is 0 when the package is whole."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "built"
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(ROOT)]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            print(run.stdout + run.stderr, file=sys.stderr)
            return run.returncode
        (wheel,) = built.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            held = {name for name in archive.namelist() if ".dist-info/" not in name}
            metadata = {name.split("/", 1)[1]: name for name in archive.namelist() if ".dist-info/" in name}
            entry_points = archive.read(metadata["entry_points.txt"]).decode()
            licensed = any(name.endswith("LICENSE") for name in metadata)
            unpacked = Path(folder) / "unpacked"
            archive.extractall(unpacked)
        expected = {*package_modules(), *lone_modules(), *package_data()}
        faults = [f"{name} is missing from the wheel" for name in sorted(expected - held)]
        faults += [f"{name} should not be in the wheel" for name in sorted(held - expected)]
        if "daytwo = daytwo.command_line:main" not in entry_points:
            faults.append("the wheel does not install the command daytwo")
        if not licensed:
            faults.append("the wheel holds no LICENSE")
        if faults:
            print("\n".join(faults), file=sys.stderr)
            return 1
        environment = {**os.environ, "PYTHONPATH": str(unpacked), "NUMBA_CACHE_DIR": str(Path(folder) / "numba")}
        for arguments in (["-c", SMOKE_TEST, str(unpacked)], ["-m", "daytwo.command_line", "--help"]):
            run = subprocess.run(
                [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            if run.returncode != 0:
                print(run.stdout + run.stderr, file=sys.stderr)
                return run.returncode
        print(f"{wheel.name}: {len(held)} files, all that it should hold.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
