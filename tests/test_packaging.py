"""The repository as a package: folders, guards, what an import costs, and what a user's subprocess finds."""

import configparser
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import daytwo

ROOT = Path(__file__).resolve().parents[1]
SPOKES = ("baselines", "curricula", "envs", "evaluation", "integrations")
BEYOND_THE_CORE = {"PIL", "jinja2", "joblib", "matplotlib", "pandas", "ray", "rich", "safetensors", "sb3_contrib"}
BEYOND_THE_CORE |= {"scipy", "stable_baselines3", "tensorboard", "torch", "typer"}
BEYOND_THE_CORE |= {"arch", "rliable", "seaborn", "selenium", "sklearn", "statsmodels"}
BEYOND_THE_CORE |= {"anyio", "h5py", "httpcore", "httpx", "metaworld", "minari"}
BEYOND_THE_CORE |= {"minigrid", "mujoco", "pyarrow"}
NOT_PACKAGES = {"benchmarks", "build", "dist", "docs", "examples", "runs", "tests"}

# Whatever belongs to one machine: a home or another place to work in, the address a package was fetched from.
MACHINE_PATH = re.compile(r"(?<![\w.:/~<-])/(?:root|home|Users|opt|work|farm|srv|mnt|media|scratch)/[\w.]")
REGISTRY_HOST = re.compile(r"(?:pypi|pythonhosted|npmjs|debian)\.(?:org|com)\b")
OUTSIDE_PATH = re.compile(r"\.\./shared\b")


def run_python(code: str, *, cwd: Path, **environment: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def read_setup() -> configparser.ConfigParser:
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    return configuration


def repository_files() -> list[Path]:
    """Every file that git keeps or would keep."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: which files belong to the repository cannot be told")
    return [ROOT / name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_list_of_packages_is_the_folders_on_disk():
    options = read_setup()["options"]
    packages = options["packages"].split()
    places = dict(line.replace(" ", "").split("=") for line in options["package_dir"].strip().splitlines())
    folders = {file.parent.name for file in ROOT.glob("*/__init__.py")} - NOT_PACKAGES
    assert folders == {"daytwo", *SPOKES}
    assert sorted(packages) == sorted({"daytwo"} | {f"daytwo.{folder}" for folder in folders - {"daytwo"}})
    assert places == {package: package.removeprefix("daytwo.") for package in packages}


@pytest.mark.parametrize("folder", ["daytwo", *SPOKES])
def test_no_package_hides_modules_in_a_subfolder(folder):
    """Such modules would be missing from the wheel, since every package is listed by hand."""
    assert [file for file in (ROOT / folder).glob("*/**/*.py") if "__pycache__" not in file.parts] == []


def test_data_files_are_declared():
    """Whatever lies beside the modules and is no module must be listed, or an installed DayTwo lacks it."""
    configuration = read_setup()
    declared = configuration["options.package_data"]
    for package in configuration["options"]["packages"].split():
        folder = ROOT / package.removeprefix("daytwo.")
        patterns = re.split(r"[,\s]+", declared.get(package, "").strip())
        listed = {file for pattern in filter(None, patterns) for file in folder.glob(pattern)}
        files = [file for file in repository_files() if folder in file.parents and file.suffix != ".py"]
        assert set(files) <= listed, f"setup.cfg's package_data for {package} leaves files out"
    assert (ROOT / "daytwo" / "py.typed").is_file()


@pytest.mark.parametrize("folder", SPOKES)
def test_a_folder_imported_by_its_own_name_says_what_to_write(folder):
    code = f"""
try:
    import {folder}
except ImportError as error:
    print(error)
else:
    raise SystemExit("{folder} was imported")
"""
    assert f"import daytwo.{folder}" in run_python(code, cwd=ROOT)


@pytest.mark.parametrize("place", ["checkout", "elsewhere"])
def test_import_is_light(place, tmp_path):
    """An import takes what Gymnasium, NumPy and numba take, and nothing heavy besides."""
    code = """
import json, sys
import gymnasium, numba, numpy
already = set(sys.modules)
import daytwo
print(json.dumps(sorted(set(sys.modules) - already)))
"""
    imported = json.loads(run_python(code, cwd=ROOT if place == "checkout" else tmp_path))
    assert {"daytwo.envs", "daytwo.lifetime"} <= set(imported)
    assert [name for name in imported if name.split(".")[0] in BEYOND_THE_CORE] == []


def test_environments_live_on_the_core_requirements_alone(tmp_path):
    """With everything else made impossible to import: what a user has after a plain install, and no command."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(BEYOND_THE_CORE)}))
import gymnasium, daytwo
env = gymnasium.make_vec("daytwo/Bandit-v0", num_envs=2)
env.reset(seed=0)
for _ in range(20):
    env.step(env.action_space.sample())
print("lived")
"""
    assert run_python(code, cwd=tmp_path) == "lived\n"


def test_the_package_imported_is_this_checkout():
    assert Path(daytwo.__file__).resolve() == ROOT / "daytwo" / "__init__.py"


def test_the_version_is_the_installed_one_and_is_written_down():
    """One place holds the version; what cannot read it from there must agree."""
    assert importlib.metadata.version("daytwo") == daytwo.__version__
    assert f"version: {daytwo.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{daytwo.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_command_is_installed():
    (script,) = (
        entry for entry in importlib.metadata.distribution("daytwo").entry_points if entry.group == "console_scripts"
    )
    assert (script.name, script.value) == ("daytwo", "daytwo.command_line:main")
    assert callable(script.load())


def test_core_requirements_are_what_an_import_needs():
    """Torch and its like stay in the extras: a plain install must not pull them in."""
    required = importlib.metadata.requires("daytwo")
    core = {re.match(r"[\w-]+", entry)[0] for entry in required if "extra ==" not in entry}
    assert core == {"gymnasium", "numpy", "numba", "joblib", "rich", "typer"}


def test_every_requirement_has_a_pin():
    """`make` installs what was tested, not what happened to be newest that day."""
    normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()  # noqa: E731
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = {normal(line.split("==")[0]) for line in lines if "==" in line}
    required = {normal(re.match(r"[\w.-]+", entry)[0]) for entry in importlib.metadata.requires("daytwo")}
    assert required - {"daytwo"} <= pins


@pytest.mark.parametrize("place", ["checkout", "elsewhere"])
def test_the_module_form_of_an_id_works_in_a_spawned_process(place, tmp_path):
    """A worker started with spawn has imported nothing: the id itself must bring DayTwo in."""
    script = tmp_path / "spawn.py"
    script.write_text(
        """
import multiprocessing


def live(seed):
    import gymnasium

    env = gymnasium.make("daytwo:daytwo/Bandit-v0")
    env.reset(seed=seed)
    rewards = []
    for step in range(20):
        rewards.append(float(env.step(step % int(env.action_space.n))[4]["raw_reward"]))
    return rewards


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        first, second, other = pool.map(live, [3, 3, 4])
    assert first == second != other
    print("lived", len(first))
"""
    )
    cwd = ROOT if place == "checkout" else tmp_path
    run = subprocess.run([sys.executable, script], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "lived 20\n"


def test_the_classes_are_the_same_however_they_are_reached():
    """A second copy of a class, made by another import path, would fail every isinstance check."""
    code = """
import importlib, pickle, sys
import daytwo, daytwo.envs.bandit
family = daytwo.make_family("daytwo/Bandit-v0")
assert type(family) is daytwo.envs.bandit.Bandit, type(family)
assert type(family).__module__ == "daytwo.envs.bandit"
assert pickle.loads(pickle.dumps(type(family))) is type(family)
assert not any(name.split(".")[0] in {"envs", "baselines", "evaluation"} for name in sys.modules)
"""
    run_python(code, cwd=ROOT)


def test_no_file_mentions_a_machine_or_the_host_of_a_registry():
    found = []
    for file in repository_files():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for pattern in (MACHINE_PATH, REGISTRY_HOST, OUTSIDE_PATH):
                if match := pattern.search(line):
                    found.append(f"{file.relative_to(ROOT)}:{number}: {match[0]}")
    assert found == []


def test_make_lists_its_targets():
    run = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  (\w+) ", run.stdout, flags=re.MULTILINE)
    assert listed == ["help", "setup", "benchmark", "leaderboard", "speed", "peers", "test", "check", "docs", "clean"]
