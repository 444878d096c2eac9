"""Where the package's parts lie, as setup.cfg says it. The checks beside this file read it from here."""

import configparser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def package_folders() -> dict[str, Path]:
    """The folder of every package, by the package's name."""
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    lines = configuration["options"]["package_dir"].strip().splitlines()
    return {name.strip(): ROOT / folder.strip() for name, folder in (line.split("=") for line in lines)}


def package_modules() -> dict[str, Path]:
    """The file of every module by its place in a wheel, ``envs/bandit.py`` by ``daytwo/envs/bandit.py``."""
    return {
        f"{name.replace('.', '/')}/{file.name}": file
        for name, folder in package_folders().items()
        for file in sorted(folder.glob("*.py"))
    }


def lone_modules() -> dict[str, Path]:
    """The file of every module that stands outside all packages, by its place in a wheel."""
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg")
    return {f"{name}.py": ROOT / f"{name}.py" for name in configuration["options"].get("py_modules", "").split()}


def package_data() -> dict[str, Path]:
    """Every file on disk beside the modules, by its place in a wheel: whether setup.cfg lists it or forgot to."""
    return {
        f"{name.replace('.', '/')}/{file.relative_to(folder).as_posix()}": file
        for name, folder in package_folders().items()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix not in {".py", ".pyc"} and not file.name.startswith(".")
    }
