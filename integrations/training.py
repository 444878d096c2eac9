"""Meta-training with Stable-Baselines3: what ``daytwo train`` runs.

`train` meta-trains ``recurrent-ppo`` (sb3-contrib's PPO with an LSTM: RL2, Duan et al. 2016, arXiv 1611.02779; Wang et
al. 2016, arXiv 1611.05763) or ``ppo`` (no memory: the control) on lifetimes of any family, and saves checkpoints that
``daytwo.evaluate`` takes as agents.
"""

import contextlib
import dataclasses
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

import gymnasium
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecMonitor

import daytwo
from daytwo.agent import LifetimeSpec, find_checkpoint
from daytwo.course import Course, Stage
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv, training_seeds
from daytwo.networks import CHECKPOINT_KIND, check_interface, describe_interface

ALGORITHMS = ("recurrent-ppo", "ppo")
CHECKPOINTS_KEPT = 3
# Steps per update that the default number of lanes aims at, and the longest rollout per lane that is chosen unasked.
TARGET_ROLLOUT = 6400
LONGEST_ROLLOUT = 1024


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train. The defaults suit short lifetimes such as a bandit's; Stable-Baselines3's name is in brackets.

    Attributes:
        rollout_steps: steps each lane takes between two updates [n_steps]. Gradients do not reach further back, so a
            recurrent policy needs the whole lifetime in it; None takes the longest lifetime of the course (at most
            1024 steps).
        lifetimes_per_batch: rollouts in one minibatch [batch_size / n_steps].
        epochs: passes over every rollout [n_epochs].
        learning_rate: of Adam at the start.
        final_learning_rate: fraction of ``learning_rate`` left at the end; it falls linearly.
        discount: of the reward per step [gamma]. Below 1 it weighs the present against what exploring brings later.
        gae_lambda: mixes the value's estimate (0) with the returns seen (1) in the advantages.
        clip_range: how far an update may move an action's probability ratio from 1.
        entropy: weight of the entropy bonus at the start [ent_coef]; it falls linearly and is 0 for the last fifth.
        value: weight of the value's squared error in the loss [vf_coef].
        gradient_clip: longest gradient of one step [max_grad_norm].
        hidden_size: units of the LSTM [lstm_hidden_size]; recurrent-ppo only.
        forget_bias: added to the forget gate's bias at the start, so that the LSTM remembers before it has learnt
            to; recurrent-ppo only.
        policy_layers: widths of the dense layers between the LSTM (or the observation) and the actions.
        value_layers: the same for the value.
        activation: of the dense layers, ``tanh`` or ``relu``.
    """

    rollout_steps: int | None = None
    lifetimes_per_batch: int = 16
    epochs: int = 2
    learning_rate: float = 3e-3
    final_learning_rate: float = 0.02
    discount: float = 0.95
    gae_lambda: float = 0.8
    clip_range: float = 0.2
    entropy: float = 0.03
    value: float = 0.5
    gradient_clip: float = 0.5
    hidden_size: int = 48
    forget_bias: float = 1.0
    policy_layers: tuple[int, ...] = ()
    value_layers: tuple[int, ...] = (32,)
    activation: str = "tanh"

    def __post_init__(self) -> None:
        for name in ("policy_layers", "value_layers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        positive: dict[str, bool] = {
            "rollout_steps": True,
            "lifetimes_per_batch": True,
            "epochs": True,
            "hidden_size": True,
            "learning_rate": False,
            "clip_range": False,
            "gradient_clip": False,
        }
        for name, whole in positive.items():
            value = getattr(self, name)
            if name == "rollout_steps" and value is None:
                continue
            kinds: Any = int if whole else int | float
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < float("inf"):
                expected = "an integer of at least 1" if whole else "a number above 0"
                raise ValueError(f"{name} must be {expected}, received {value!r}.")
        for name, highest in (
            ("final_learning_rate", 1.0),
            ("discount", 1.0),
            ("gae_lambda", 1.0),
            ("entropy", float("inf")),
            ("value", float("inf")),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= highest:
                limits = "0 or more" if highest == float("inf") else f"in [0, {highest:g}]"
                raise ValueError(f"{name} must be {limits}, received {value!r}.")
        for name in ("policy_layers", "value_layers"):
            if not all(isinstance(width, int) and width > 0 for width in getattr(self, name)):
                raise ValueError(f"{name} must be integers of at least 1, received {getattr(self, name)!r}.")
        if self.activation not in ("tanh", "relu"):
            raise ValueError(f"activation must be 'tanh' or 'relu', received {self.activation!r}.")


PRESETS: dict[str, TrainingConfig] = {
    "recurrent-ppo": TrainingConfig(),
    "ppo": TrainingConfig(policy_layers=(64,), value_layers=(64,), learning_rate=1e-3),
}


@dataclass(frozen=True)
class TrainingSummary:
    """What a training run came to.

    Attributes:
        folder: of the run; ``daytwo.evaluate`` takes it as an agent.
        steps: environment steps done, over all parts of the run.
        seconds: wall time, over all parts of the run.
        finished: False if it was interrupted.
        curve: mean normalised return by index of the inner episode, over the last update's lifetimes (NaN where none
            was seen); under the training policy, on the training tasks.
    """

    folder: Path
    steps: int
    seconds: float
    finished: bool
    curve: np.ndarray


class LifetimeLstmPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's LSTM policy, several times faster on whole lifetimes, with the same results.

    sb3-contrib runs the LSTM step by step in Python as soon as a lifetime begins anywhere in a batch. Its sequences are
    cut where lifetimes begin, so that this can only be at a sequence's first step: clear the state there, and run
    the whole sequence in one call.
    """

    @staticmethod
    def _process_sequence(  # type: ignore[override]  # the parent's annotation lacks the pair that it returns
        features: torch.Tensor,
        lstm_states: tuple[torch.Tensor, torch.Tensor],
        episode_starts: torch.Tensor,
        lstm: torch.nn.LSTM,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        sequences = lstm_states[0].shape[1]
        starts = episode_starts.reshape(sequences, -1)
        if bool((starts[:, 1:] != 0.0).any()):
            slow: Any = RecurrentActorCriticPolicy._process_sequence
            return slow(features, lstm_states, episode_starts, lstm)
        kept = (1.0 - starts[:, 0]).view(1, sequences, 1)
        steps = features.reshape(sequences, -1, lstm.input_size).swapaxes(0, 1)
        output, states = lstm(steps, (kept * lstm_states[0], kept * lstm_states[1]))
        return torch.flatten(output.transpose(0, 1), start_dim=0, end_dim=1), states


def lifetime_steps(spec: LifetimeSpec) -> int:
    """The most steps a lifetime of the course can last."""
    return sum(stage.episodes * spec.levels[stage.level].horizon for stage in spec.course.stages)


def _saved_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the environment as JSON can hold them."""
    saved = {
        key: {"course": dataclasses.asdict(value)} if isinstance(value, Course) else value
        for key, value in settings.items()
    }
    try:
        return json.loads(json.dumps(saved))
    except TypeError as error:
        raise ValueError(f"Settings of a training run must be plain values, received {settings!r}: {error}.") from None


def loaded_settings(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of the environment that a checkpoint's ``config.json`` holds under ``settings``."""
    settings = dict(saved)
    course = settings.get("course")
    if isinstance(course, Mapping):
        parts = dict(course["course"])
        settings["course"] = Course([Stage(**stage) for stage in parts.pop("stages")], **parts)
    return settings


def _machine() -> dict[str, Any]:
    """What the run was made on, without names of hosts or users."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
    }


def _versions() -> dict[str, str]:
    return {
        "daytwo": str(daytwo.__version__),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
        "stable-baselines3": stable_baselines3.__version__,
        "sb3-contrib": sb3_contrib.__version__,
    }


class _Run:
    """A training run: the model, its folder, and what to write when."""

    def __init__(
        self,
        algorithm: str,
        env_id: str,
        *,
        steps: int,
        num_envs: int,
        seed: int,
        folder: Path,
        settings: dict[str, Any],
        config: TrainingConfig,
        command: str,
    ) -> None:
        self.algorithm, self.env_id, self.steps, self.seed = algorithm, env_id, steps, seed
        self.folder, self.settings, self.config, self.command = folder, settings, config, command
        self.done, self.seconds_before, self.started = 0, 0.0, time.perf_counter()
        self.lifetimes = LifetimeVecEnv(env_id, num_envs, **settings)
        self.spec = self.lifetimes.env.lifetime_spec
        self.rollout_steps = config.rollout_steps or min(lifetime_steps(self.spec), LONGEST_ROLLOUT)
        self.total_rollout = self.rollout_steps * num_envs
        self.model: Any = self._make_model()

    def _make_model(self) -> Any:
        config = self.config
        batch = self.rollout_steps * min(config.lifetimes_per_batch, self.lifetimes.num_envs)
        policy: dict[str, Any] = {
            "net_arch": {"pi": list(config.policy_layers), "vf": list(config.value_layers)},
            "activation_fn": {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[config.activation],
            "optimizer_kwargs": {"eps": 1e-5},
        }
        if self.algorithm == "recurrent-ppo":
            policy |= {"lstm_hidden_size": config.hidden_size, "shared_lstm": True, "enable_critic_lstm": False}
        common: dict[str, Any] = {
            "n_steps": self.rollout_steps,
            "batch_size": batch,
            "n_epochs": config.epochs,
            "learning_rate": self._learning_rate,
            "gamma": config.discount,
            "gae_lambda": config.gae_lambda,
            "clip_range": config.clip_range,
            "ent_coef": config.entropy,
            "vf_coef": config.value,
            "max_grad_norm": config.gradient_clip,
            # NumPy's global generator, which Stable-Baselines3 shuffles with, takes 32 bits.
            "seed": training_seeds(self.seed, 1, self.done)[0] & 0x7FFFFFFF,
            "device": "cpu",
            "policy_kwargs": policy,
        }
        env = VecMonitor(self.lifetimes)
        if self.algorithm == "ppo":
            return PPO(ActorCriticPolicy, env, **common)
        model = RecurrentPPO(LifetimeLstmPolicy, env, **common)
        with torch.no_grad():
            policy_network: Any = model.policy
            for name, bias in policy_network.lstm_actor.named_parameters():
                if name.startswith("bias_ih"):
                    bias[config.hidden_size : 2 * config.hidden_size] += config.forget_bias
        return model

    def _learning_rate(self, progress_remaining: float) -> float:
        final = self.config.final_learning_rate
        return self.config.learning_rate * (final + (1.0 - final) * max(0.0, progress_remaining))

    def anneal_entropy(self) -> None:
        """The entropy bonus at this point of the run."""
        remaining = 1.0 - self.model.num_timesteps / self.steps
        self.model.ent_coef = self.config.entropy * min(1.0, max(0.0, (remaining - 0.2) / 0.8))

    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    def describe(self) -> dict[str, Any]:
        """The checkpoint's ``config.json``."""
        return {
            "agent": CHECKPOINT_KIND,
            "format": 1,
            "algorithm": self.algorithm,
            "env_id": self.env_id,
            "settings": _saved_settings(self.settings),
            "course": dataclasses.asdict(self.spec.course),
            "split": self.lifetimes.env.split,
            "reward": dataclasses.asdict(self.lifetimes.env.rule),
            "interface": describe_interface(self.spec),
            "policy": {
                "activation": self.config.activation,
                "policy_layers": list(self.config.policy_layers),
                "value_layers": list(self.config.value_layers),
                "lstm_hidden_size": self.config.hidden_size if self.algorithm == "recurrent-ppo" else None,
                "parameters": sum(parameter.numel() for parameter in self.model.policy.parameters()),
            },
            "config": {**dataclasses.asdict(self.config), "rollout_steps": self.rollout_steps},
            "num_envs": self.lifetimes.num_envs,
            "seed": self.seed,
            "steps": self.steps,
            "steps_done": self.done,
            "privileged": False,
            "seconds": round(self.seconds(), 3),
            "threads": torch.get_num_threads(),
            "versions": _versions(),
            "machine": _machine(),
            "command": self.command,
        }

    def save(self) -> Path:
        """Write a checkpoint, whole or not at all, and drop the oldest ones.

        Returns:
            Its folder.
        """
        from safetensors.torch import save_file

        checkpoints = self.folder / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        target = checkpoints / f"{self.done:012d}"
        if target.exists():
            return target
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=checkpoints))
        tensors = {name: tensor.contiguous() for name, tensor in self.model.policy.state_dict().items()}
        save_file(tensors, unfinished / "policy.safetensors")
        torch.save(self.model.policy.optimizer.state_dict(), unfinished / "optimizer.pt")
        (unfinished / "config.json").write_text(json.dumps(self.describe(), indent=2) + "\n")
        unfinished.chmod(0o755)
        unfinished.rename(target)
        for old in sorted(checkpoints.glob("[0-9]*"))[:-CHECKPOINTS_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def take_up(self, checkpoint: Path) -> None:
        """Go on from a checkpoint of this run: weights, optimiser, step count, and with it the schedules."""
        from safetensors.torch import load_file

        saved = json.loads((checkpoint / "config.json").read_text())
        mine = json.loads(json.dumps(self.describe()))
        differences = [
            f"{key} was {saved.get(key)!r} and is {mine[key]!r} now"
            for key in ("algorithm", "env_id", "settings", "config", "num_envs", "seed")
            if saved.get(key) != mine[key]
        ]
        if differences:
            raise ValueError(f"The run in {str(self.folder)!r} cannot go on as another one: {'; '.join(differences)}.")
        check_interface(saved["interface"], self.spec)
        self.model.policy.load_state_dict(load_file(checkpoint / "policy.safetensors"))
        optimizer = torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True)
        self.model.policy.optimizer.load_state_dict(optimizer)
        self.done = int(saved["steps_done"])
        self.seconds_before = float(saved["seconds"])
        self.model.num_timesteps = self.done
        self.model.set_random_seed(training_seeds(self.seed, 1, self.done)[0] & 0x7FFFFFFF)


class _Watch(BaseCallback):
    """Follows a run: the adaptation curve, checkpoints, the progress bar, and a stop that was asked for."""

    def __init__(self, run: _Run, checkpoint_every: int, show: Callable[[int, str], None]) -> None:
        super().__init__()
        self.run, self.checkpoint_every, self.show = run, checkpoint_every, show
        self.stop_asked = self.stopped = False
        self.saved_at = run.done
        episodes = run.spec.course.episodes
        self._sums, self._counts = np.zeros(episodes), np.zeros(episodes)
        self._lifetime_returns: list[float] = []
        self.curve = np.full(episodes, np.nan)

    def _on_step(self) -> bool:
        if self.stopped:
            return False
        for info in self.locals["infos"]:
            if info:
                if "episode_index" in info:
                    self._sums[info["episode_index"]] += info["episode_normalized_return"]
                    self._counts[info["episode_index"]] += 1
                if "episode" in info:
                    self._lifetime_returns.append(info["episode"]["r"])
        return True

    def _on_rollout_end(self) -> None:
        """Before an update."""
        self.run.anneal_entropy()
        seen = self._counts > 0
        if seen.any():
            self.curve = np.where(seen, self._sums / np.maximum(self._counts, 1), np.nan)
            for index in np.flatnonzero(seen):
                self.logger.record(f"adaptation/episode_{index + 1:03d}", float(self.curve[index]))
        if self._lifetime_returns:
            self.logger.record("lifetime/return", float(np.mean(self._lifetime_returns)))
        self.logger.record("train/entropy_weight", self.run.model.ent_coef)
        self._sums[:], self._counts[:] = 0.0, 0.0
        self._lifetime_returns.clear()

    def _on_rollout_start(self) -> None:
        """After an update, and before the first: the only moments at which the state is whole."""
        self.run.done = self.num_timesteps
        text = " ".join(f"{value:.2f}" for value in (self.curve if len(self.curve) <= 5 else self.curve[[0, -1]]))
        self.show(self.run.done, "" if np.isnan(self.curve).all() else text)
        if self.stop_asked:
            self.stopped = True
        elif self.run.done - self.saved_at >= self.checkpoint_every:
            self.run.save()
            self.saved_at = self.run.done


@contextlib.contextmanager
def _stop_on_interrupt(watch: _Watch, say: Callable[[str], None]) -> Iterator[None]:
    """The first Ctrl-C stops after the present update; the second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signal_number: int, frame: Any) -> None:
        if watch.stop_asked:
            raise KeyboardInterrupt
        watch.stop_asked = True
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
def _progress(on: bool, title: str, run: _Run) -> Iterator[tuple[Callable[[int, str], None], Callable[[str], None]]]:
    """A bar with the time left and the normalised return by inner episode, and a way to print above it."""
    if not on:
        yield (lambda steps, text: None), (lambda text: None)
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
        task = bar.add_task(title, total=run.steps, completed=run.done, curve="")

        def show(steps: int, text: str) -> None:
            bar.update(task, completed=min(steps, run.steps), curve=text)

        yield show, lambda text: bar.console.print(text)


def default_num_envs(spec: LifetimeSpec, config: TrainingConfig) -> int:
    """Lanes such that one update sees about 6400 steps: a multiple of the minibatch, 16 to 256 of them."""
    steps = config.rollout_steps or min(lifetime_steps(spec), LONGEST_ROLLOUT)
    lanes = min(256, max(16, TARGET_ROLLOUT // steps))
    return max(1, round(lanes / config.lifetimes_per_batch)) * config.lifetimes_per_batch


def _command(algorithm: str, env_id: str) -> str:
    """The command line, without the path of the program."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else ""
    if program.startswith("daytwo") or program == "__main__.py":
        return shlex.join(["daytwo", *sys.argv[1:]])
    return f"daytwo.integrations.training.train({algorithm!r}, {env_id!r}, ...)"


def train(
    algorithm: str,
    env_id: str,
    *,
    steps: int = 4_000_000,
    num_envs: int | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    checkpoint_every: int = 500_000,
    progress: bool = True,
) -> TrainingSummary:
    """Meta-train an agent on lifetimes.

    Torch is held to one thread meanwhile, and the global generators of torch and NumPy are seeded, since
    Stable-Baselines3 draws from them.

    Args:
        algorithm: ``recurrent-ppo``, or ``ppo`` (without memory).
        env_id: an environment's id, or ``"module:Class"``.
        steps: environment steps of the whole run, over all lanes; rounded up to whole updates. The schedules end there.
        num_envs: lanes; by default such that one update sees about 6400 steps.
        seed: an integer of at least 0, of the weights, the lifetimes and the actions.
        out: folder of the run; ``runs/<algorithm>-<environment>-<seed>`` by default. It must be new, or hold a run that
            is resumed.
        resume: go on from the last checkpoint in ``out``; everything else must be as it was, only ``steps`` may differ.
            Weights, optimiser, step count and schedules are restored; the lifetimes are new ones, so the result differs
            in its noise from that of an uninterrupted run.
        settings: keyword arguments of the environment: ``course``, ``episodes``, ``reward``, the family's own, ...
        overrides: fields of `TrainingConfig` that differ from the algorithm's preset (`PRESETS`).
        checkpoint_every: steps between checkpoints, at least 1; the last three are kept.
        progress: show a bar with the time left.

    Returns:
        A `TrainingSummary`. After Ctrl-C the run is saved, and ``finished`` is False.

    Raises:
        ValueError: an argument is unknown or out of range, ``out`` holds another run, or there is nothing to resume.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, received {algorithm!r}.")
    for name, value, least in (
        ("steps", steps, 1),
        ("num_envs", num_envs, 1),
        ("seed", seed, 0),
        ("checkpoint_every", checkpoint_every, 1),
    ):
        if name == "num_envs" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, received {value!r}.")
    chosen = dict(settings or {})
    for name in ("autoreset_mode", "privileged", "observation", "num_envs"):
        if name in chosen:
            raise ValueError(f"Training decides {name} itself: leave {name}={chosen[name]!r} out of the settings.")
    _saved_settings(chosen)
    given = dict(overrides or {})
    known = [field.name for field in dataclasses.fields(TrainingConfig)]
    for name in given:
        if name not in known:
            raise ValueError(f"Unknown training option {name!r}: expected some of {', '.join(known)}.")
    config = dataclasses.replace(PRESETS[algorithm], **given)
    probe = daytwo.LifetimeVectorEnv(env_id, 1, **chosen)
    lanes = default_num_envs(probe.lifetime_spec, config) if num_envs is None else int(num_envs)
    slug = probe.lifetime_spec.env_id.replace("daytwo/", "").replace("/", "-")
    probe.close()
    folder = Path("runs") / f"{algorithm}-{slug}-{seed}" if out is None else Path(out)
    checkpoint = find_checkpoint(folder)
    if resume and checkpoint is None:
        raise ValueError(f"There is nothing to resume: {str(folder)!r} holds no checkpoint.")
    if checkpoint is not None and not resume:
        raise ValueError(f"{str(folder)!r} holds a run already: choose another folder, or resume it.")

    with _one_thread():
        run = _Run(
            algorithm,
            env_id,
            steps=int(steps),
            num_envs=lanes,
            seed=int(seed),
            folder=folder,
            settings=chosen,
            config=config,
            command=_command(algorithm, env_id),
        )
        if checkpoint is not None:
            run.take_up(checkpoint)
        run.lifetimes.seed_lanes(training_seeds(run.seed, lanes, run.done))
        folder.mkdir(parents=True, exist_ok=True)
        run.model.set_logger(configure(str(folder / "tensorboard"), ["tensorboard"]))
        finished, curve = True, np.full(run.spec.course.episodes, np.nan)
        with _progress(progress, f"{algorithm} on {run.spec.env_id}", run) as (show, say):
            watch = _Watch(run, int(checkpoint_every), show)
            try:
                if run.done < run.steps:
                    with _stop_on_interrupt(watch, say):
                        run.model.learn(
                            run.steps - run.done,
                            callback=watch,
                            log_interval=1,
                            reset_num_timesteps=False,
                        )
                    finished = not watch.stopped
                    if finished:
                        run.done = int(run.model.num_timesteps)
                run.save()
                curve = watch.curve
                if not finished:
                    say(
                        f"Stopped at {run.done} of {run.steps} steps, saved in {folder}. "
                        "The same command with --resume goes on from here."
                    )
            finally:
                run.model.logger.close()
                run.lifetimes.close()
    return TrainingSummary(folder, run.done, run.seconds(), finished, curve)
