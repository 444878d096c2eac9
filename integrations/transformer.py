"""A small causal transformer over whole lifetimes, and the agent that acts with one.

`CausalTransformer` reads a lifetime's observations (a row holds the action and reward before it) and gives, at every
step, scores of the next action. `Cache` runs it one step at a time. `InContextAgent` acts from a checkpoint: what it
knows of a task is its context alone, the weights never change.
"""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from daytwo.agent import LifetimeSpec, read_checkpoint
from daytwo.networks import Sampler, check_interface

CHECKPOINT_KIND = "in-context-transformer"
# The longest wavelength of the rotary positions, over 2 pi: well beyond the longest lifetime of the suite.
ROTARY_BASE = 10_000.0
_PROVENANCE = {
    "seed": "seed",
    "steps": "steps_done",
    "seconds": "seconds",
    "env_id": "env_id",
    "split": "split",
    "privileged": "privileged",
    "source": "source",
}


@dataclass(frozen=True, kw_only=True)
class TransformerShape:
    """The size of a `CausalTransformer`.

    Attributes:
        inputs: numbers in an observation row.
        outputs: discrete actions, or dimensions of a continuous one.
        continuous: whether the outputs are means of continuous actions, instead of scores of discrete ones.
        layers: how many blocks of attention and dense layers.
        width: numbers per step between the blocks; a multiple of ``2 * heads``.
        heads: attention heads per block.
        window: how many steps, its own included, a step looks back on; what is older is out of its sight.
    """

    inputs: int
    outputs: int
    continuous: bool = False
    layers: int = 2
    width: int = 64
    heads: int = 4
    window: int = 1024

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "layers", "width", "heads", "window"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, received {value!r}.")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of twice the heads, {2 * self.heads}, since rotary positions turn pairs of "
                f"numbers; received {self.width}."
            )


class _Block(nn.Module):
    """Attention and two dense layers, each behind a normalisation and added to what came in."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.before_attention = nn.LayerNorm(width)
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.before_dense = nn.LayerNorm(width)
        self.dense_in = nn.Linear(width, 4 * width)
        self.dense_out = nn.Linear(4 * width, width)

    def queries_keys_values(
        self, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """From ``[B, T, width]``: three of ``[B, heads, T, width / heads]``, the first two turned by their position."""
        batch, steps, width = x.shape
        parts = self.attention_in(self.before_attention(x)).view(batch, steps, 3 * self.heads, width // self.heads)
        turned, values = parts.transpose(1, 2).split([2 * self.heads, self.heads], dim=1)
        first, second = turned.chunk(2, dim=-1)
        turned = torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
        queries, keys = turned.chunk(2, dim=1)
        return queries, keys, values

    def finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """From what came in and the heads' ``[B, heads, T, width / heads]`` to what goes out."""
        x = x + self.attention_out(attended.transpose(1, 2).reshape(x.shape))
        # ReLU: on a processor GELU costs a seventh of the whole training.
        return x + self.dense_out(functional.relu(self.dense_in(self.before_dense(x))))


class CausalTransformer(nn.Module):
    """A pre-norm causal transformer with rotary positions (Su et al. 2021, arXiv 2104.09864).

    A step's input is its observation row together with the row before (zeros when a lifetime begins): one token holds
    a whole transition, so that the first layer need not spend its attention on joining an action to what it led to.
    Columns are shifted and scaled first (`normalise`). Past ``window`` steps the context slides, here and in `Cache`
    alike, so that a lifetime may be of any length.
    """

    input_shift: torch.Tensor
    input_scale: torch.Tensor
    frequencies: torch.Tensor
    blocks: Any  # a list of `_Block`, which torch's types do not tell

    def __init__(self, shape: TransformerShape, *, seed: int = 0) -> None:
        """Draw the weights.

        Args:
            shape: of the network.
            seed: of its weights. The global generator stays as it is.
        """
        super().__init__()
        self.shape = shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Linear(2 * shape.inputs, shape.width)
            self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
            self.before_head = nn.LayerNorm(shape.width)
            self.head = nn.Linear(shape.width, shape.outputs)
            with torch.no_grad():
                self.head.weight *= 0.1
                self.head.bias.zero_()
        self.register_buffer("input_shift", torch.zeros(shape.inputs))
        self.register_buffer("input_scale", torch.ones(shape.inputs))
        pairs = shape.width // shape.heads // 2
        turns = ROTARY_BASE ** -(torch.arange(pairs, dtype=torch.float32) / pairs)
        self.register_buffer("frequencies", turns, persistent=False)

    def normalise(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """Set what observation columns are shifted by and then multiplied with, ``float[inputs]`` each."""
        self.input_shift.copy_(torch.as_tensor(shift, dtype=torch.float32))
        self.input_scale.copy_(torch.as_tensor(scale, dtype=torch.float32))

    def encode(self, rows: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Tokens ``[..., width]`` from normalised rows and the ones before them, ``[..., inputs]`` each."""
        return self.encoder(torch.cat([rows, before], dim=-1))

    def scaled(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows ``[..., inputs]`` with their columns shifted and scaled."""
        return (rows - self.input_shift) * self.input_scale

    def turns(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of the rotary positions, ``[..., width / heads / 2]`` for ``[...]``."""
        angles = positions.to(torch.float32).unsqueeze(-1) * self.frequencies
        return angles.cos(), angles.sin()

    def out(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs from what the last block gave."""
        outputs = self.head(self.before_head(x))
        return torch.tanh(outputs) if self.shape.continuous else outputs

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Whole lifetimes at once.

        Args:
            rows: observations ``float32[B, T, inputs]``, each lifetime from its first step on.

        Returns:
            ``float32[B, T, outputs]``: unnormalised log-probabilities, or means in [-1, 1] if continuous. Those of a
            step depend on it and the ``window - 1`` steps before (and, through the layers, on what those looked at).
        """
        steps = rows.shape[1]
        rows = self.scaled(rows)
        before = functional.pad(rows[:, :-1], (0, 0, 1, 0))
        x = self.encode(rows, before)
        at = torch.arange(steps, device=rows.device)
        cosines, sines = self.turns(at)
        mask = None
        if steps > self.shape.window:
            distance = at[:, None] - at[None, :]
            mask = (distance >= 0) & (distance < self.shape.window)
        for block in self.blocks:
            queries, keys, values = block.queries_keys_values(x, cosines, sines)
            attended = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, is_causal=mask is None
            )
            x = block.finish(x, attended)
        return self.out(x)


class Cache:
    """A transformer that lives a fixed number of lifetimes one step at a time, in keys and values kept from before.

    Memory for ``capacity`` steps is taken at once; with the network's window full, the oldest step makes way.
    """

    def __init__(self, network: CausalTransformer, lanes: int, capacity: int) -> None:
        """Take the memory.

        Args:
            network: whose weights are used, not copied.
            lanes: lifetimes side by side.
            capacity: the longest lifetime expected; more than the window is never needed. A longer lifetime doubles it.
        """
        shape = network.shape
        device = network.input_shift.device
        self.network = network
        self._size = (shape.layers, 2, lanes, shape.heads)
        self._memory = torch.zeros(*self._size, min(capacity, shape.window), shape.width // shape.heads, device=device)
        self._before = torch.zeros(lanes, shape.inputs, device=device)
        self._starts = torch.zeros(lanes, dtype=torch.long, device=device)
        self._step = 0

    def step(self, rows: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        """One step on in every lifetime.

        Args:
            rows: observations ``float32[lanes, inputs]``.
            fresh: ``bool[lanes]``; these lifetimes begin now: nothing before is seen any more.

        Returns:
            ``float32[lanes, outputs]``, what `CausalTransformer.forward` gives for the lifetime so far, but for the
            rounding.
        """
        network, window = self.network, self.network.shape.window
        lanes = len(rows)
        if bool(fresh.all()):
            self._step = 0
        some_fresh = bool(fresh.any())
        if some_fresh:
            self._starts[fresh] = self._step
        size = self._memory.shape[4]
        if self._step >= size and size < window:
            more = torch.zeros(*self._size, min(size, window - size), self._memory.shape[5], device=rows.device)
            self._memory = torch.cat([self._memory, more], dim=4)
            size = self._memory.shape[4]
        rows = network.scaled(rows)
        before = torch.where(fresh[:, None], 0.0, self._before) if some_fresh else self._before
        self._before = rows
        x = network.encode(rows, before)[:, None]
        cosines, sines = network.turns((self._step - self._starts)[:, None, None])
        slot, first, held = self._step % size, 0, min(self._step + 1, size)
        mask = None
        latest, earliest = int(self._starts.max()), int(self._starts.min())
        if self._step < size:
            first = earliest  # nobody sees what was before
        if latest > max(earliest if self._step < size else 0, self._step + 1 - size):
            # Slot k holds the last step that equals k modulo the size.
            slots = torch.arange(first, held, device=rows.device)
            steps = self._step - (slot - slots) % size
            seen = steps[None, :] >= self._starts[:, None]
            mask = torch.zeros(seen.shape, device=rows.device).masked_fill_(~seen, -math.inf)[:, None, None, :]
        for layer, block in enumerate(network.blocks):
            queries, keys, values = block.queries_keys_values(x, cosines, sines)
            memory = self._memory[layer]
            memory[0, :, :, slot] = keys[:, :, 0]
            memory[1, :, :, slot] = values[:, :, 0]
            attended = functional.scaled_dot_product_attention(
                queries, memory[0, :, :, first:held], memory[1, :, :, first:held], attn_mask=mask
            )
            x = block.finish(x, attended)
        self._step += 1
        return network.out(x)[:, 0].view(lanes, -1)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread: these networks are too small for more, and spinning threads stall each other."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class InContextAgent:
    """An agent that acts with a causal transformer over its lifetime so far.

    The network runs in chunks of a fixed number of lifetimes, the last one padded, so that its arithmetic hardly
    depends on the batch; actions are drawn from the lifetimes' own streams, among those that are offered. Where
    ``fresh``, a lifetime's context is empty again. Nothing in a checkpoint is ever executed: it is JSON and
    safetensors.

    Attributes:
        name: the algorithm.
        config: the checkpoint's ``config.json``.
        provenance: how it was trained (`daytwo.Agent`), with ``source``: whose actions it learnt to predict.
        network: the `CausalTransformer`.
    """

    CHUNK = 32

    def __init__(self, folder: str | os.PathLike[str], *, greedy: bool | None = None, device: str = "cpu") -> None:
        """Load a checkpoint.

        Args:
            folder: a checkpoint, or the folder of a run (its last checkpoint is taken).
            greedy: always take the most probable action (the mean, if continuous) instead of drawing one; by default
                as the checkpoint says, and where it says nothing, actions are drawn.
            device: of the network, as torch names it.

        Raises:
            ValueError: the folder holds no checkpoint of this kind, or a broken one.
        """
        from safetensors.torch import load_file

        path, config = read_checkpoint(folder, CHECKPOINT_KIND)
        tensors = load_file(Path(path) / "policy.safetensors")
        network = CausalTransformer(TransformerShape(**config["policy"]["shape"]))
        expected = {name: tensor.shape for name, tensor in network.state_dict().items()} | {"log_std": None}
        for name, tensor in tensors.items():
            if name not in expected or expected[name] not in (None, tensor.shape):
                raise ValueError(f"{str(path)!r}: no weights {name!r} of shape {tuple(tensor.shape)} were expected.")
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{str(path)!r}: the weights {name!r} are not all finite.")
        log_std = tensors.pop("log_std", None)
        missing = [name for name in network.state_dict() if name not in tensors]
        if missing:
            raise ValueError(f"{str(path)!r}: the weights lack {missing[0]!r}.")
        network.load_state_dict(tensors)
        self._take(config, network.to(device), None if log_std is None else log_std.numpy(), greedy)

    @classmethod
    def from_network(
        cls,
        config: Mapping[str, Any],
        network: CausalTransformer,
        log_std: np.ndarray | None = None,
        *,
        greedy: bool | None = None,
    ) -> "InContextAgent":
        """An agent that acts with a network in memory, which it does not copy.

        Args:
            config: as in ``config.json``: ``algorithm``, ``interface`` and ``policy`` at least.
            network: the transformer.
            log_std: logarithms of the standard deviations of continuous actions, ``float[d]``.
            greedy: as for the class.
        """
        agent = cls.__new__(cls)
        agent._take(dict(config), network, log_std, greedy)
        return agent

    def _take(
        self, config: dict[str, Any], network: CausalTransformer, log_std: np.ndarray | None, greedy: bool | None
    ) -> None:
        interface = config["interface"]
        shape = network.shape
        if (shape.inputs, shape.outputs) != (interface["size"], interface["actions"]["number"]):
            raise ValueError(
                f"The network maps {shape.inputs} numbers to {shape.outputs}; its environment has "
                f"{interface['size']} and {interface['actions']['number']}."
            )
        self.config = config
        self.name = str(config["algorithm"])
        self.provenance = {name: config[saved] for name, saved in _PROVENANCE.items() if saved in config}
        self.greedy = bool(config["policy"].get("greedy", False) if greedy is None else greedy)
        self.network = network
        self._log_std = log_std

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes.

        Raises:
            ValueError: the environment shows or takes something else than the one the agent was trained in.
        """
        check_interface(self.config["interface"], spec)
        self._spec = spec
        self._sampler = Sampler(seeds, self.greedy)
        capacity = spec.steps
        self._caches = [Cache(self.network, self.CHUNK, capacity) for _ in range(0, len(seeds), self.CHUNK)]

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]`` or ``float64[N, d]``."""
        outputs = np.empty((len(observations), self.network.shape.outputs))
        with one_thread(), torch.inference_mode():
            for chunk, cache in enumerate(self._caches):
                part = slice(chunk * self.CHUNK, (chunk + 1) * self.CHUNK)
                outputs[part] = self._outputs(cache, observations[part], fresh[part])
        if self._spec.continuous:
            deviations = np.ones(outputs.shape[1]) if self._log_std is None else np.exp(self._log_std)
            return self._sampler.continuous(outputs, np.tile(deviations, (len(outputs), 1)))
        return self._sampler.discrete(np.where(self._spec.observed_mask(observations), outputs, -1e9))

    def _outputs(self, cache: Cache, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """The network's outputs for one chunk of lifetimes, padded to its size with lifetimes that see nothing."""
        count = len(observations)
        device = self.network.input_shift.device
        rows = np.zeros((self.CHUNK, observations.shape[1]), dtype=np.float32)
        rows[:count] = observations
        starts = np.full(self.CHUNK, bool(fresh.all()))
        starts[:count] = fresh
        made = cache.step(torch.from_numpy(rows).to(device), torch.from_numpy(starts).to(device))
        return made[:count].double().cpu().numpy()
