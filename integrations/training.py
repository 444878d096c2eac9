"""Meta-training: what ``daytwo train`` runs, for every algorithm of `daytwo.integrations.trainers.ALGORITHMS`.

`train` advances a `Trainer` update by update, logs the adaptation curve and validations (tensorboard, and
``progress.jsonl``), and saves checkpoints that are agents for ``daytwo.evaluate`` as well as exact states: a run that
is killed at any moment and resumed ends with the same weights, bit for bit, as one that never was.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import daytwo
from daytwo.agent import LifetimeSpec, find_checkpoint
from daytwo.integrations.presets import find_preset, options_with, settings_with
from daytwo.integrations.saved_state import has_state, read_state, settle, write_state
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv
from daytwo.integrations.stable_baselines3_trainers import LifetimeLstmPolicy
from daytwo.integrations.trainers import ALGORITHMS, Trainer, plain_settings
from daytwo.integrations.training_config import field_names, field_sentences
from daytwo.networks import check_interface
from daytwo.teacher import teacher_class
from daytwo.teaching import CURRICULUM, TaughtVectorEnv

CHECKPOINTS_KEPT = 3
PROGRESS = "progress.jsonl"  # the log of validations in a run's folder
# Where a run's checkpoints and validations fall unless told: so many of them, evenly spread.
CHECKPOINTS, VALIDATIONS = 8, 10
# Lifetimes of a validation: as many as hold about so many steps, within the limits; and the seed they follow from.
VALIDATION_STEPS, FEWEST_LIFETIMES, MOST_LIFETIMES = 65_536, 128, 256
VALIDATION_SEED = 1 << 32
# Keyword arguments of the environment that say how a policy is paid and on which tasks: not for validation to take up.
TRAINING_ONLY = ("reward", "rate", "dense", "split")


@dataclass(frozen=True)
class TrainingSummary:
    """What a training run came to.

    Attributes:
        folder: of the run; ``daytwo.evaluate`` takes it as an agent.
        steps: environment steps done, over all parts of the run.
        seconds: wall time, over all parts of the run, validations included.
        finished: False if it was interrupted.
        curve: mean normalised return by index of the inner episode, of the last update that saw one (NaN where none was
            seen or where the algorithm does not act); under the training policy, on the training tasks.
        validation: the last line of ``progress.jsonl``, None if there is none.
    """

    folder: Path
    steps: int
    seconds: float
    finished: bool
    curve: np.ndarray
    validation: Mapping[str, Any] | None = None


def loaded_settings(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of the environment that a checkpoint's ``config.json`` holds under ``settings``."""
    settings = dict(saved)
    course = settings.get("course")
    if isinstance(course, Mapping):
        settings["course"] = daytwo.Course.from_dict(course["course"])
    return settings


def _machine(device: str = "cpu") -> dict[str, Any]:
    """What the run was made on, without names of hosts or users."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    machine = {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
    }
    return machine if device == "cpu" else {**machine, "device": torch.cuda.get_device_name(torch.device(device))}


def _versions() -> dict[str, str]:
    packages = ("numpy", "torch", "gymnasium", "stable-baselines3", "sb3-contrib")
    return {
        "daytwo": str(daytwo.__version__),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _command(algorithm: str, env_id: str) -> str:
    """The command line, without the path of the program."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else ""
    if program.startswith("daytwo") or program == "__main__.py":
        return shlex.join(["daytwo", *sys.argv[1:]])
    return f"daytwo.integrations.training.train({algorithm!r}, {env_id!r}, ...)"


# --- what to train ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """All that decides a training run, with every default filled in (`make_plan`).

    Attributes:
        algorithm: a key of `ALGORITHMS`.
        env_id: the environment.
        steps: environment steps of the whole run.
        settings: keyword arguments of the environment.
        config: of the algorithm.
        num_envs: lanes, None where the algorithm chooses.
        seed: of everything random.
        device: ``cpu`` or ``cuda``.
        teacher: name of the teacher that chooses what is lived, None for none.
        teacher_options: its arguments.
    """

    algorithm: str
    env_id: str
    steps: int
    settings: Mapping[str, Any]
    config: Any
    num_envs: int | None
    seed: int
    device: str
    teacher: str | None = None
    teacher_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def make_teaching(self, env: Any) -> TaughtVectorEnv:
        """The environment with the teacher in front of it."""
        return TaughtVectorEnv(env, self.teacher, seed=self.seed, budget=self.steps, **self.teacher_options)


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, received {value!r}.")
    return int(value)


def make_plan(
    algorithm: str,
    env_id: str,
    *,
    steps: int | None = None,
    num_envs: int | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    device: str = "cpu",
    teacher: str | None = None,
    teacher_options: Mapping[str, Any] | None = None,
) -> Plan:
    """Fill in the preset and the defaults; the arguments are those of `train`.

    Raises:
        ValueError: an argument is unknown or out of range.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, received {algorithm!r}.")
    given = dict(settings or {})
    for name in ("autoreset_mode", "privileged", "observation", "num_envs"):
        if name in given:
            raise ValueError(f"Training decides {name} itself: leave {name}={given[name]!r} out of the settings.")
    plain_settings(given)
    preset = find_preset(algorithm, env_id)
    config_class = ALGORITHMS[algorithm].config_class()
    known = field_names(config_class)
    for name in overrides or {}:
        if name not in known:
            raise ValueError(f"Unknown training option {name!r} of {algorithm}: expected some of {', '.join(known)}.")
    try:
        torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be 'cpu' or 'cuda', received {device!r}.") from None
    if not device.startswith("cpu") and not torch.cuda.is_available():
        raise ValueError(f"device={device!r} is not available here: expected 'cpu'.")
    if teacher is not None:
        if not isinstance(teacher, str):
            raise ValueError(f"teacher must be a teacher's name or 'module:Class', received {teacher!r}.")
        if not ALGORITHMS[algorithm].teachable:
            able = ", ".join(name for name, one in ALGORITHMS.items() if one.teachable)
            raise ValueError(f"{algorithm} trains on recorded lifetimes: a teacher goes with {able}.")
        teacher_class(teacher)
    elif teacher_options:
        raise ValueError(f"teacher_options {dict(teacher_options)!r} need a teacher.")
    plain_settings(teacher_options or {})
    return Plan(
        algorithm=algorithm,
        env_id=env_id,
        steps=preset.steps if steps is None else _whole("steps", steps, 1),
        settings=settings_with(preset, given),
        config=config_class(**{**options_with(preset, given, teacher is not None), **(overrides or {})}),
        num_envs=None if num_envs is None else _whole("num_envs", num_envs, 1),
        seed=_whole("seed", seed, 0),
        device=device,
        teacher=teacher,
        teacher_options=dict(teacher_options or {}),
    )


def describe_options(algorithm: str, env_id: str, overrides: Mapping[str, Any] | None = None) -> list[tuple[str, ...]]:
    """Every option of an algorithm for an environment.

    Returns:
        Rows of name, value, where the value is from (``given``, ``preset`` or ``default``) and what it means.

    Raises:
        ValueError: an argument is unknown or out of range.
    """
    plan, preset = make_plan(algorithm, env_id, overrides=overrides), find_preset(algorithm, env_id)
    rows: list[tuple[str, ...]] = []
    for name, sentence in field_sentences(type(plan.config)).items():
        origin = "given" if name in (overrides or {}) else "preset" if name in preset.options else "default"
        rows.append((name, str(getattr(plan.config, name)), origin, sentence))
    return rows


# --- validation -------------------------------------------------------------------------------------------------------


def _interval(values: np.ndarray) -> list[float]:
    """Mean and 95% interval over lifetimes."""
    mean = float(np.mean(values))
    half = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return [round(mean, 6), round(mean - half, 6), round(mean + half, 6)]


def validate(agent: Any, env_id: str, settings: Mapping[str, Any], *, lifetimes: int | None = None) -> dict[str, Any]:
    """Let an agent live lifetimes of the validation split, with its memory and without.

    Args:
        agent: to be measured.
        env_id: the environment it is trained on.
        settings: the environment's keyword arguments in training; how it pays is left aside.
        lifetimes: how many; by default 128 to 256, less of longer ones.

    Returns:
        Figures fit for JSON: ``area`` (mean normalised return), ``learning`` (area minus that of the amnesiac twin,
        lifetime by lifetime), ``first`` and ``final`` (of the lifetime's first and last episode), each as mean, lower
        and upper end of the 95% interval over lifetimes; the mean by episode as ``episodes`` and, without the
        memory, ``wiped``; ``lifetimes`` and ``split``.
    """
    lived = {name: value for name, value in settings.items() if name not in TRAINING_ONLY}
    probe = daytwo.LifetimeVectorEnv(env_id, 1, **lived)
    split = "validation" if "validation" in probe.family.splits and settings.get("split") != "all" else "all"
    if lifetimes is None:
        wanted = VALIDATION_STEPS // probe.lifetime_spec.steps
        lifetimes = min(MOST_LIFETIMES, max(FEWEST_LIFETIMES, wanted))
    probe.close()
    kept, wiped = (
        daytwo.evaluate(agent, env_id, lifetimes=lifetimes, seed=VALIDATION_SEED, split=split, memory=memory, **lived)
        for memory in ("kept", "wiped")
    )
    areas, twins = np.nanmean(kept.normalized, axis=1), np.nanmean(wiped.normalized, axis=1)
    last = kept.normalized.shape[1] - 1 - np.argmax(np.isfinite(kept.normalized[:, ::-1]), axis=1)
    return {
        "area": _interval(areas),
        "learning": _interval(areas - twins),
        "first": _interval(kept.normalized[:, 0]),
        "final": _interval(kept.normalized[np.arange(len(last)), last]),
        "episodes": np.nanmean(kept.normalized, axis=0).round(6).tolist(),
        "wiped": np.nanmean(wiped.normalized, axis=0).round(6).tolist(),
        "lifetimes": lifetimes,
        "split": split,
    }


# --- a run and its folder ---------------------------------------------------------------------------------------------


class _Run:
    """A run in memory and its folder: checkpoints, ``progress.jsonl``, tensorboard."""

    def __init__(self, plan: Plan, trainer: Trainer, probe: Any, folder: Path) -> None:
        self.plan, self.trainer, self.folder = plan, trainer, folder
        self.spec: LifetimeSpec = probe.lifetime_spec
        self.split, self.rule = getattr(probe, "split", None), getattr(probe, "rule", None)
        self.command = _command(plan.algorithm, plan.env_id)
        self.seconds_before, self.started = 0.0, time.perf_counter()
        self.curve = np.full(self.spec.course.episodes, np.nan)
        self.validation: dict[str, Any] | None = None
        self.saved_at: int | None = None
        self.writer: Any = None

    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    @property
    def can_save(self) -> bool:
        """Whether the trainer can give its exact state now."""
        return bool(getattr(self.trainer, "can_save", True))

    def describe(self) -> dict[str, Any]:
        """The checkpoint's ``config.json``."""
        plan, told = self.plan, self.trainer.describe()
        lifetimes = getattr(self.trainer, "lifetimes", None)
        lanes = told.get("num_envs", getattr(lifetimes, "num_envs", plan.num_envs))
        return {
            "agent": told["agent"],
            "format": 2,
            "algorithm": plan.algorithm,
            "env_id": self.spec.env_id,
            "settings": plain_settings(plan.settings),
            "course": self.spec.course.to_dict(),
            "split": self.split,
            "reward": None if self.rule is None else dataclasses.asdict(self.rule),
            "privileged": False,
            **told,
            **(
                {}
                if plan.teacher is None
                else {"teacher": {"name": plan.teacher, "options": plain_settings(plan.teacher_options)}}
            ),
            "config": dataclasses.asdict(plan.config),
            "num_envs": lanes,
            "seed": plan.seed,
            "steps": plan.steps,
            "steps_done": self.trainer.steps,
            "seconds": round(self.seconds(), 3),
            "device": plan.device,
            "threads": torch.get_num_threads(),
            "versions": _versions(),
            "machine": _machine(plan.device),
            "command": self.command,
        }

    def save(self) -> bool:
        """Write a checkpoint, whole or not at all, and drop the oldest ones.

        Returns:
            Whether the run can go on from it; otherwise it is an agent only.
        """
        from safetensors.numpy import save_file

        exact = self.can_save
        checkpoints = self.folder / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        target = checkpoints / f"{self.trainer.steps:012d}"
        self.saved_at = self.trainer.steps
        if target.exists():
            if has_state(target) or not exact:
                return has_state(target)
            shutil.rmtree(target)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=checkpoints))
        tensors = {name: np.ascontiguousarray(array) for name, array in self.trainer.tensors().items()}
        save_file(tensors, unfinished / "policy.safetensors")
        if exact:
            write_state(unfinished, self.trainer.state())
        (unfinished / "config.json").write_text(json.dumps(self.describe(), indent=2) + "\n")
        unfinished.chmod(0o755)
        settle(unfinished)
        unfinished.rename(target)
        kept = sorted(checkpoints.glob("[0-9]*"))
        resumable = [one for one in kept if has_state(one)]
        for old in kept[:-CHECKPOINTS_KEPT]:
            if old not in resumable[-1:]:
                shutil.rmtree(old, ignore_errors=True)
        return exact

    def take_up(self, checkpoint: Path) -> None:
        """Go on exactly from a checkpoint of this run."""
        saved = json.loads((checkpoint / "config.json").read_text())
        mine = json.loads(json.dumps(self.describe()))
        differences = [
            f"{key} was {saved.get(key)!r} and is {mine.get(key)!r} now"
            for key in ("algorithm", "env_id", "settings", "config", "teacher", "num_envs", "seed")
            if saved.get(key) != mine.get(key)
        ]
        if differences:
            raise ValueError(f"The run in {str(self.folder)!r} cannot go on as another one: {'; '.join(differences)}.")
        check_interface(saved["interface"], self.spec)
        try:
            self.trainer.load_state(read_state(checkpoint))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{str(checkpoint)!r} does not hold the state of this run: {error}.") from error
        self.seconds_before, self.started = float(saved["seconds"]), time.perf_counter()
        self.saved_at = self.trainer.steps
        # What was written after this checkpoint will be written again.
        for later in (self.folder / "checkpoints").iterdir():
            if later.name.startswith(".unfinished-") or later.name > checkpoint.name:
                shutil.rmtree(later, ignore_errors=True)
        for name in (PROGRESS, CURRICULUM):
            self._cut(name)
        lines = self._lines(PROGRESS)
        self.validation = lines[-1] if lines else None

    # --- figures ------------------------------------------------------------------------------------------------------

    def open_log(self) -> None:
        """Begin to write for tensorboard, where that is installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        begun = self.trainer.steps + 1 if self.trainer.steps else None
        self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=begun)

    def record(self, figures: Mapping[str, float]) -> None:
        """Log what an update told."""
        for name, value in figures.items():
            if name.startswith("adaptation/"):
                # Each episode keeps what was last seen: a rollout may cover a part of the lifetime only.
                self.curve[int(name.rpartition("_")[2]) - 1] = value
        told = {name.partition("/")[2]: round(value, 6) for name, value in figures.items() if name[:8] == "teacher/"}
        if told:
            with (self.folder / CURRICULUM).open("a") as file:
                file.write(json.dumps({"steps": self.trainer.steps, **told}) + "\n")
        if self.writer is not None:
            for name, value in figures.items():
                self.writer.add_scalar(name, value, self.trainer.steps)

    def evaluate(self) -> None:
        """Validate the present policy, and log it."""
        told = validate(self.trainer.agent(), self.plan.env_id, self.plan.settings)
        self.validation = {"steps": self.trainer.steps, "seconds": round(self.seconds(), 3), **told}
        with (self.folder / PROGRESS).open("a") as file:
            file.write(json.dumps(self.validation) + "\n")
        if self.writer is not None:
            steps = self.trainer.steps
            for name in ("area", "learning", "first", "final"):
                self.writer.add_scalar(f"validation/{name}", told[name][0], steps)
            for k, value in enumerate(told["episodes"]):
                self.writer.add_scalar(f"validation/episode_{k + 1:03d}", value, steps)

    def _lines(self, name: str) -> list[dict[str, Any]]:
        """The lines of a log; a last one that was cut off is none."""
        lines = []
        with contextlib.suppress(FileNotFoundError):
            for text in (self.folder / name).read_text().splitlines():
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(text))
        return lines

    def _cut(self, name: str) -> None:
        """Drop the lines of a log that come after the steps done."""
        path = self.folder / name
        if path.exists():
            lines = [one for one in self._lines(name) if one["steps"] <= self.trainer.steps]
            fresh = path.with_name(f".{name}")
            fresh.write_text("".join(json.dumps(line) + "\n" for line in lines))
            fresh.replace(path)

    def text(self) -> str:
        """What stands beside the bar: the adaptation curve and the last validation."""
        parts = []
        if not np.isnan(self.curve).all():
            seen = self.curve[: np.flatnonzero(~np.isnan(self.curve))[-1] + 1]  # a teacher's lifetimes may be shorter
            shown = seen if len(seen) <= 5 else seen[[0, -1]]
            parts.append(" ".join(f"{value:.2f}" for value in shown))
        if self.validation is not None:
            area, learning = self.validation["area"][0], self.validation["learning"][0]
            parts.append(f"validation {area:.2f}, learning {learning:+.2f}")
        return "; ".join(parts)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.trainer.close()


class _Stop:
    """The first Ctrl-C asks for an end after the present update; the second one ends at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextlib.contextmanager
    def listening(self, say: Callable[[str], None]) -> Iterator[None]:
        """Where Ctrl-C means this."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(signal_number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            say("Stopping after this update; once more stops at once.")

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Hold torch to one thread: these networks are too small for more, and spinning threads stall each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _progress(on: bool, title: str, run: _Run) -> Iterator[tuple[Callable[[], None], Callable[[str], None]]]:
    """A bar with the time left and the normalised return by inner episode, and a way to print above it."""
    if not on:
        yield (lambda: None), (lambda text: None)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[curve]}"),
    )
    with Progress(*columns) as bar:
        total = run.plan.steps
        task = bar.add_task(title, total=total, completed=run.trainer.steps, curve="")

        def show() -> None:
            bar.update(task, completed=min(run.trainer.steps, total), curve=run.text())

        yield show, lambda text: bar.console.print(text)


def _advance(run: _Run, stop: _Stop, show: Callable[[], None], checkpoint_every: int, evaluate_every: int) -> None:
    """Train to the end, or until a stop is asked for. ``evaluate_every`` 0 is never."""
    trainer, total = run.trainer, run.plan.steps
    overdue = False
    while trainer.steps < total and not stop.asked:
        before = trainer.steps
        run.record(trainer.advance())
        now = trainer.steps
        if evaluate_every and (now // evaluate_every > before // evaluate_every or now >= total):
            run.evaluate()
        overdue = overdue or now // checkpoint_every > before // checkpoint_every
        # Validation comes first: what a checkpoint's steps were validated with is never missing from the log.
        if overdue and run.can_save:
            run.save()
            overdue = False
        show()


def _how_to_go_on(exact: bool) -> str:
    """What to tell after a run was stopped."""
    if exact:
        return "The same command with --resume goes on from here."
    return (
        "The agent is saved, but the run cannot go on from here (while it imitates, the teacher's memory is its own): "
        "the same command with --resume goes on from the checkpoint before."
    )


def train(
    algorithm: str,
    env_id: str,
    *,
    steps: int | None = None,
    num_envs: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    checkpoint_every: int | None = None,
    evaluate_every: int | None = None,
    evaluate: bool = True,
    device: str = "cpu",
    teacher: str | None = None,
    teacher_options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> TrainingSummary:
    """Meta-train an agent on lifetimes.

    What is not given is as the preset of algorithm and environment says (`daytwo.integrations.presets`). Torch is held
    to one thread meanwhile.

    Args:
        algorithm: a key of `daytwo.integrations.trainers.ALGORITHMS`: ``rl2``, ``recurrent-ppo``, ``ppo``,
            ``ppo-statistics``, ``dpt`` or ``ad``.
        env_id: an environment's id, or ``"module:Class"``.
        steps: environment steps of the whole run, over all lanes; rounded up to whole updates. The schedules end there.
        num_envs: lanes; by default as suits the algorithm.
        seed: an integer of at least 0, of the weights, the lifetimes and the actions.
        out: folder of the run; ``runs/<algorithm>-<environment>-<seed>`` by default. It must be new, or hold a run that
            is resumed.
        resume: go on from the last checkpoint in ``out``, exactly: the run ends as it would have without a break.
            Everything else must be as it was; only ``steps`` may differ, and then the schedules differ, too.
        settings: keyword arguments of the environment: ``course``, ``episodes``, ``reward``, the family's own, ...
        overrides: fields of the algorithm's config that differ from the preset.
        checkpoint_every: steps between checkpoints; an eighth of the run by default. The last three are kept.
        evaluate_every: steps between validations; a tenth of the run by default.
        evaluate: validate at all: the present policy lives lifetimes of the validation split with its memory and
            without (`validate`). It changes nothing about the training. Environments that are no single family are not
            validated.
        device: ``cpu`` or ``cuda``. Runs on ``cuda`` resume from the exact state, but the hardware's own sums may
            differ in the last bits.
        teacher: who chooses what every lifetime is about: a name (`daytwo.teacher_names`) or ``"module:Class"``. The
            course of ``settings`` is then lived in validation only. What the teacher did is in tensorboard, and in
            ``curriculum.jsonl``, which ``daytwo curriculum`` draws.
        teacher_options: arguments of the teacher.
        progress: show a bar with the time left.

    Returns:
        A `TrainingSummary`. After Ctrl-C the run is saved, and ``finished`` is False.

    Raises:
        ValueError: an argument is unknown or out of range, ``out`` holds another run, or there is nothing to resume.
    """
    plan = make_plan(
        algorithm,
        env_id,
        steps=steps,
        num_envs=num_envs,
        seed=seed,
        settings=settings,
        overrides=overrides,
        device=device,
        teacher=teacher,
        teacher_options=teacher_options,
    )
    if checkpoint_every is None:
        checkpoint_every = max(1, plan.steps // CHECKPOINTS)
    if evaluate_every is None:
        evaluate_every = max(1, plan.steps // VALIDATIONS)
    checkpoint_every = _whole("checkpoint_every", checkpoint_every, 1)
    evaluate_every = _whole("evaluate_every", evaluate_every, 1)
    lifetimes = LifetimeVecEnv(env_id, 1, **plan.settings)
    probe: Any = lifetimes.env
    probe.close()
    name: str = probe.lifetime_spec.env_id
    slug = name.replace("daytwo/", "").replace("/", "-")
    folder = Path("runs") / f"{algorithm}-{slug}-{plan.seed}" if out is None else Path(out)
    found = [one for one in sorted((folder / "checkpoints").glob("[0-9]*")) if has_state(one)]
    if resume and not found:
        raise ValueError(f"There is nothing to resume: {str(folder)!r} holds no checkpoint to go on from.")
    if not resume and find_checkpoint(folder) is not None:
        raise ValueError(f"{str(folder)!r} holds a run already: choose another folder, or resume it.")

    with _one_thread():
        trainer = ALGORITHMS[algorithm].make(
            env_id,
            config=plan.config,
            settings=plan.settings,
            steps=plan.steps,
            num_envs=plan.num_envs,
            seed=plan.seed,
            device=device,
            **({} if plan.teacher is None else {"teacher": plan.make_teaching}),
        )
        run, stop = _Run(plan, trainer, probe, folder), _Stop()
        try:
            if resume:
                run.take_up(found[-1])
            folder.mkdir(parents=True, exist_ok=True)
            run.open_log()
            with _progress(progress, f"{algorithm} on {name}", run) as (show, say), stop.listening(say):
                if run.saved_at is None and run.can_save:
                    run.save()  # from here on the run can be killed at any moment
                measured = evaluate and type(probe) is daytwo.LifetimeVectorEnv
                _advance(run, stop, show, checkpoint_every, evaluate_every if measured else 0)
                finished = trainer.steps >= plan.steps
                exact = run.save() if run.saved_at != trainer.steps else True
                if not finished:
                    say(f"Stopped at {trainer.steps} of {plan.steps} steps, saved in {folder}. {_how_to_go_on(exact)}")
        finally:
            run.close()
    return TrainingSummary(folder, trainer.steps, run.seconds(), finished, run.curve, run.validation)


__all__ = [
    "ALGORITHMS",
    "LifetimeLstmPolicy",
    "Plan",
    "TrainingSummary",
    "describe_options",
    "loaded_settings",
    "make_plan",
    "train",
    "validate",
]
