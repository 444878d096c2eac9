"""Meta-trained agents from checkpoints, acting without torch."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daytwo.agent import LifetimeSpec, make_agent, read_checkpoint
from daytwo.item_network import ItemNetwork
from daytwo.networks import CHECKPOINT_KIND, Network, Sampler, check_interface
from daytwo.padding import Padding

_PROVENANCE = {
    "seed": "seed",
    "steps": "steps_done",
    "seconds": "seconds",
    "env_id": "env_id",
    "split": "split",
    "privileged": "privileged",
}


def read_safetensors(file: Path) -> dict[str, np.ndarray]:
    """The arrays in a safetensors file, by name, without the library: a header in JSON and plain numbers.

    Raises:
        ValueError: the file is broken, or holds another type than single or double precision or 64-bit integers.
    """
    data = file.read_bytes()
    kinds: dict[str, Any] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        tensors = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            array = np.frombuffer(data[8 + length + start : 8 + length + stop], dtype=kinds[entry["dtype"]])
            tensors[name] = array.reshape(entry["shape"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{str(file)!r} is no safetensors file of F32, F64 or I64 arrays: {error!r}.") from error
    return tensors


class TrainedAgent:
    """An agent from a checkpoint that ``daytwo train`` saved, recurrent or not.

    Nothing in a checkpoint is ever executed: it is JSON and safetensors. Weights are applied one lifetime after another
    in a compiled loop, in a fixed order of summation, and actions are drawn from the lifetimes' own streams; so
    results are bit-identical for any batch size. (Matrix products by torch differ in the last bits from one batch
    size to another.) A recurrent policy keeps its hidden state over inner episodes and clears it where ``fresh``.

    Attributes:
        name: the algorithm.
        config: the checkpoint's ``config.json``.
        provenance: how it was trained (`daytwo.Agent`).
    """

    def __init__(self, folder: str | os.PathLike[str], *, greedy: bool | None = None) -> None:
        """Load a checkpoint.

        Args:
            folder: a checkpoint, or the folder of a run (its last checkpoint is taken).
            greedy: always take the most probable action (the mean, if continuous) instead of drawing one; by default
                as the checkpoint says, and where it says nothing, actions are drawn.

        Raises:
            ValueError: the folder holds no checkpoint of this kind, or a broken one.
        """
        path, config = read_checkpoint(folder, CHECKPOINT_KIND)
        self._take(config, read_safetensors(path / "policy.safetensors"), greedy, repr(str(path)))

    @classmethod
    def from_parts(
        cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, greedy: bool | None = None
    ) -> "TrainedAgent":
        """An agent from what a checkpoint would hold, without a file.

        Args:
            config: as in ``config.json``: ``algorithm``, ``interface`` and ``policy`` at least.
            tensors: as in ``policy.safetensors``.
            greedy: as for the class.
        """
        agent = cls.__new__(cls)
        agent._take(dict(config), tensors, greedy, "memory")
        return agent

    def _take(
        self, config: dict[str, Any], tensors: Mapping[str, np.ndarray], greedy: bool | None, source: str
    ) -> None:
        self.config = config
        self.name = str(config["algorithm"])
        self.provenance = {name: config[saved] for name, saved in _PROVENANCE.items() if saved in config}
        policy = config["policy"]
        self.greedy = bool(policy.get("greedy", False) if greedy is None else greedy)
        self._masked = bool(policy.get("masked", False))
        self._previous = bool(policy.get("previous", False))
        self._network: Any
        if "item_columns" in tensors:
            self._network = ItemNetwork(tensors)
        else:
            self._network = Network(tensors, policy.get("activation", "tanh"))
        inputs = int(policy.get("inputs", config["interface"]["size"]))
        outputs = int(policy.get("outputs", config["interface"]["actions"]["number"]))
        if (self._network.sizes[0], self._network.sizes[-1]) != (inputs, outputs):
            raise ValueError(
                f"The policy in {source} maps {self._network.sizes[0]} numbers to {self._network.sizes[-1]}; its "
                f"config.json says {inputs} to {outputs}."
            )

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes.

        Raises:
            ValueError: the environment shows or takes something else than the one the agent was trained in.
        """
        padding = self.config["policy"].get("padding")
        self._padding = None if padding is None else Padding(spec, **padding)
        if padding is None:
            check_interface(self.config["interface"], spec)
        self._spec = spec
        self._sampler = Sampler(seeds, self.greedy)
        self._network.begin(len(seeds))
        self._summary: Any = None
        if self.config["policy"].get("summary"):
            from daytwo.summary import Summary

            self._summary = Summary(spec, len(seeds))
        self._last: np.ndarray | None = None

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]`` or ``float64[N, d]``."""
        rows = np.asarray(observations, dtype=np.float32)
        if self._padding is not None:
            rows = self._padding.observations(rows)
        if self._summary is not None:
            rows = np.concatenate([rows, self._summary.update(observations, fresh)], axis=1)
        if self._previous:
            last = np.zeros_like(rows) if self._last is None else self._last
            last[fresh] = 0.0
            self._last = np.array(rows)
            rows = np.concatenate([rows, last], axis=1)
        outputs = self._network.forward(rows, fresh)
        if self._padding is not None:
            outputs = outputs[:, : self._spec.actions]
        if self._spec.continuous:
            deviations = self._network.log_std
            if deviations is None:
                raise ValueError("The policy's weights lack 'log_std', which continuous actions need.")
            return self._sampler.continuous(outputs, np.tile(np.exp(deviations), (len(outputs), 1)))
        if self._masked:
            outputs = np.where(self._spec.observed_mask(observations), outputs, -1e9)
        return self._sampler.discrete(outputs)


# Checkpoints that ship: <agent's name>/<environment's id without its namespace>/{config.json, policy.safetensors}.
SHIPPED = Path(__file__).resolve().parent / "checkpoints"


def _folder(name: str, env_id: str) -> Path | None:
    folder = SHIPPED / name / env_id.rpartition("/")[2]
    return folder if (folder / "config.json").is_file() else None


def shipped_checkpoint(name: str, spec: LifetimeSpec) -> Path | None:
    """The folder of the checkpoint of agent ``name`` that ships for an environment, None if there is none.

    It must have been trained on the same family, with the same observation and actions (see `check_interface`).
    """
    folder = _folder(name, spec.env_id)
    if folder is None:
        return None
    try:
        check_interface(json.loads((folder / "config.json").read_text())["interface"], spec)
    except ValueError:
        return None
    return folder


class _Shipped:
    """An agent given by name whose checkpoint ships with the package, one for each environment."""

    checkpoints: str

    @classmethod
    def checkpoint_folder(cls, env_id: str) -> Path | None:
        """The folder of the checkpoint for an environment, None if there is none."""
        return _folder(cls.checkpoints, env_id)

    @classmethod
    def fits(cls, spec: LifetimeSpec) -> bool:
        """Whether a checkpoint ships for this environment."""
        return shipped_checkpoint(cls.checkpoints, spec) is not None

    @classmethod
    def for_environment(cls, spec: LifetimeSpec, **options: Any) -> Any:
        """The agent from its checkpoint.

        Raises:
            ValueError: none ships for this environment.
        """
        folder = shipped_checkpoint(cls.checkpoints, spec)
        if folder is None:
            raise ValueError(f"No checkpoint of {cls.checkpoints!r} ships for {spec.env_id}.")
        agent = make_agent(folder, spec, **options)
        agent.name = cls.checkpoints  # type: ignore[attr-defined]
        return agent


class RL2(_Shipped):
    """RL2: a recurrent network trained by PPO over whole lifetimes (``daytwo train rl2``)."""

    checkpoints = "rl2"


class DecisionPretrained(_Shipped):
    """A transformer that predicts the oracle's action from its context (``daytwo train dpt``); needs torch."""

    checkpoints, on_request = "dpt", True


class AlgorithmDistillation(_Shipped):
    """A transformer that predicts a learner's next action over its history (``daytwo train ad``); needs torch."""

    checkpoints, on_request = "ad", True


def load_agent(folder: str | os.PathLike[str], *, greedy: bool | None = None) -> TrainedAgent:
    """Load a checkpoint, or the last one of a run, as an agent (see `TrainedAgent`)."""
    return TrainedAgent(folder, greedy=greedy)


__all__ = [
    "RL2",
    "AlgorithmDistillation",
    "DecisionPretrained",
    "TrainedAgent",
    "load_agent",
    "read_safetensors",
    "shipped_checkpoint",
]
