"""Steps per second, as ratios to peers that are measured in the same run.

Absolute speeds say more about the machine than about the code, and other work on it disturbs them: so everything is
measured in turns of a few milliseconds, ours and the peers' interleaved, and each gets its best turn.
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from daytwo.lifetime import LifetimeVectorEnv
from daytwo.registration import env_ids
from daytwo.streams import agent_streams, lifetime_seeds

TURN_SECONDS = 0.02
PREPARED_ACTIONS = 16
PEER_STEPS = 16  # a peer takes that many steps at a call, which is how it is meant to be used


@dataclass(frozen=True)
class Speed:
    """One measurement.

    Attributes:
        name: what was measured.
        part: ``vector``, ``kernel``, ``copy`` or ``single``; ``peer`` for other projects' environments.
        nanoseconds: per environment step, the best of the interleaved turns.
        bytes_per_lifetime: memory held per lifetime, for ``vector`` of ours; else 0.
    """

    name: str
    part: str
    nanoseconds: float
    bytes_per_lifetime: int = 0


def _repeat(call: Callable[[], Any]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


def _interleaved(runs: Sequence[tuple[Callable[[int], None], int]], seconds: float) -> list[float]:
    """Best nanoseconds per step of each ``(run(count), steps per call)``, measured in turns."""
    counts = []
    for run, _ in runs:
        run(3)
        count, elapsed = 4, 0.0
        while elapsed < TURN_SECONDS / 4:
            count *= 2
            begun = time.perf_counter()
            run(count)
            elapsed = time.perf_counter() - begun
        counts.append(max(1, round(count * TURN_SECONDS / elapsed)))
    best = [np.inf] * len(runs)
    for _ in range(max(3, round(seconds / TURN_SECONDS))):
        for k, (run, steps) in enumerate(runs):
            begun = time.perf_counter()
            run(counts[k])
            best[k] = min(best[k], (time.perf_counter() - begun) / counts[k] / steps)
    return [1e9 * value for value in best]


def _vector_run(env: Any, actions: list[Any]) -> Callable[[int], None]:
    def run(count: int) -> None:
        step = env.step
        for k in range(count):
            step(actions[k % PREPARED_ACTIONS])

    return run


def _single_run(env: Any, actions: list[Any]) -> Callable[[int], None]:
    def run(count: int) -> None:
        step, reset = env.step, env.reset
        for k in range(count):
            _, _, terminated, truncated, _ = step(actions[k % PREPARED_ACTIONS])
            if terminated or truncated:
                reset()

    return run


class Peer:
    """Another project's environment, run by another Python and measured in turns with ours."""

    def __init__(self, python: str | os.PathLike[str], name: str, num_envs: int) -> None:
        """Start it.

        Args:
            python: the interpreter of the environment in which it is installed.
            name: of the peer (see `daytwo.evaluation.peers`).
            num_envs: environments side by side.

        Raises:
            FileNotFoundError: there is no such interpreter.
            RuntimeError: it does not start; the message ends with what it printed.
        """
        if not Path(python).exists():
            raise FileNotFoundError(f"There is no {python}: `make peers` installs the peers into .peers.")
        script = str(Path(__file__).with_name("peers.py"))
        self._process = subprocess.Popen(
            [str(python), script, name, str(num_envs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer.startswith("ready "):
            _, errors = self._process.communicate()
            raise RuntimeError(f"The peer {name} did not start: {answer}{errors[-2000:]}")
        self.title = answer.removeprefix("ready ").strip()

    def run(self, steps: int) -> None:
        """Let every environment take so many steps."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{steps * PEER_STEPS}\n")
        process.stdin.flush()
        if not process.stdout.readline():
            raise RuntimeError(f"The peer {self.title} has stopped.")

    def close(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.communicate()


def measure(
    families: Sequence[str] | None = None,
    *,
    num_envs: int = 1024,
    seconds: float = 1.0,
    peers: str | os.PathLike[str] | None = None,
) -> list[Speed]:
    """Measure families and Gymnasium's CartPole.

    Args:
        families: environment ids; all registered ones by default.
        num_envs: lifetimes side by side in the vector environments.
        seconds: how long each item is measured, at least, in turns of a fiftieth of a second.
        peers: the Python of an environment in which XLand-MiniGrid is installed, to measure it, too.

    Returns:
        Measurements of ``CartPole`` (Gymnasium's native vector environment and its single one) and of each family:
        through the whole interface (``vector``, ``single``), the compiled loop alone (``kernel``), and a copy of the
        observation bytes (``copy``), which is the floor.
    """
    rng = np.random.default_rng(0)
    named: list[tuple[str, str, int]] = []
    runs: list[tuple[Callable[[int], None], int]] = []

    def add(name: str, part: str, run: Callable[[int], None], steps: int, size: int = 0) -> None:
        named.append((name, part, size))
        runs.append((run, steps))

    cartpole = gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="vector_entry_point")
    cartpole.reset(seed=0)
    add("CartPole", "vector", _vector_run(cartpole, list(rng.integers(0, 2, (PREPARED_ACTIONS, num_envs)))), num_envs)
    single_cartpole = gymnasium.make("CartPole-v1")
    single_cartpole.reset(seed=0)
    add("CartPole", "single", _single_run(single_cartpole, rng.integers(0, 2, PREPARED_ACTIONS).tolist()), 1)
    for env_id in env_ids() if families is None else families:
        # The top level alone, so that what is measured does not depend on how long the measurement lasts.
        env = LifetimeVectorEnv(env_id, num_envs, course="single")
        env.reset(seed=lifetime_seeds(0, 0, num_envs))
        streams = agent_streams(lifetime_seeds(1, 0, num_envs))
        actions = [env.random_actions(streams) for _ in range(PREPARED_ACTIONS)]
        add(env_id, "vector", _vector_run(env, actions), num_envs, round(env.bytes_per_lifetime()))
        kernel = LifetimeVectorEnv(env_id, num_envs, course="single")
        kernel.reset(seed=lifetime_seeds(0, 0, num_envs))
        add(env_id, "kernel", kernel.bare_loop(actions), num_envs)
        rows = np.zeros((num_envs, env.layout.size), dtype=np.float32)
        add(env_id, "copy", _repeat(rows.copy), num_envs)
        single = gymnasium.make(env_id, course="single")
        single.reset(seed=0)
        one = [action[0] if env.family.continuous else int(action[0]) for action in actions]
        add(env_id, "single", _single_run(single, one), 1)
    started = [Peer(peers, "xland-minigrid", num_envs)] if peers is not None else []
    try:
        for peer in started:
            add(peer.title, "peer", peer.run, num_envs * PEER_STEPS)
        found = _interleaved(runs, seconds)
    finally:
        for peer in started:
            peer.close()
    return [Speed(name, part, value, size) for (name, part, size), value in zip(named, found, strict=True)]


def tables(measured: Sequence[Speed]) -> list[Any]:
    """The measurements as tables for the terminal."""
    from rich.table import Column, Table

    found = {(one.name, one.part): one for one in measured}
    peer, peer_single = found["CartPole", "vector"], found["CartPole", "single"]
    vector = Table(
        Column("environment", no_wrap=True),
        "million steps/s",
        "ns/step",
        "of CartPoleVectorEnv",
        "loop alone, ns",
        "copy of obs, ns",
        "loop / copy",
        "bytes a lifetime",
        title="Many lifetimes, one core, the whole Gymnasium interface",
    )
    single = Table("environment", "microseconds/step", "of CartPole-v1", title="One lifetime, gymnasium.make")
    vector.add_row("Gymnasium CartPole", f"{1e3 / peer.nanoseconds:.2f}", f"{peer.nanoseconds:.1f}", "1.00", *[""] * 4)
    single.add_row("Gymnasium CartPole", f"{peer_single.nanoseconds / 1e3:.2f}", "1.00")
    others = [one for one in measured if one.part == "peer"]
    for other in others:
        vector.add_row(
            other.name,
            f"{1e3 / other.nanoseconds:.2f}",
            f"{other.nanoseconds:.1f}",
            f"{peer.nanoseconds / other.nanoseconds:.2f}",
            *[""] * 4,
        )
    for name in dict.fromkeys(one.name for one in measured if one.name != "CartPole" and one.part != "peer"):
        ours, kernel, copy = found[name, "vector"], found[name, "kernel"], found[name, "copy"]
        vector.add_row(
            name,
            f"{1e3 / ours.nanoseconds:.2f}",
            f"{ours.nanoseconds:.1f}",
            f"{peer.nanoseconds / ours.nanoseconds:.2f}",
            f"{kernel.nanoseconds:.1f}",
            f"{copy.nanoseconds:.2f}",
            f"{kernel.nanoseconds / copy.nanoseconds:.1f}",
            str(ours.bytes_per_lifetime),
        )
        alone = found[name, "single"]
        single.add_row(name, f"{alone.nanoseconds / 1e3:.2f}", f"{peer_single.nanoseconds / alone.nanoseconds:.2f}")
    if not others:
        return [vector, single]
    against = Table(
        "environment",
        *(f"times {one.name}" for one in others),
        title="Peers (XLand-MiniGrid: MiniGrid-FourRooms), one core",
    )
    for one in measured:
        if one.part == "vector":
            ratios = [f"{other.nanoseconds / one.nanoseconds:.1f}" for other in others]
            against.add_row("Gymnasium CartPole" if one.name == "CartPole" else one.name, *ratios)
    return [vector, single, against]
