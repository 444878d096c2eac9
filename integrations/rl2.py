"""RL2: recurrent PPO over whole lifetimes, as a Stable-Baselines3 algorithm.

The agent's memory is the state of a recurrent network that is cleared only where a lifetime begins; PPO over whole
lifetimes teaches it what to write there (Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763; PPO:
Schulman et al. 2017, arXiv 1707.06347). `RL2` has the callbacks, logger, ``learn``, ``save`` and ``load`` of
Stable-Baselines3, and takes any of its vector environments; on `LifetimeVecEnv` thousands of lifetimes run at once.
"""

import ctypes
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from daytwo.agent import LifetimeSpec, find_checkpoint, make_agent
from daytwo.course import Course, Stage
from daytwo.integrations.agent_memory import memory_of, restore_memory
from daytwo.integrations.gru import LifetimeGru, clear, step_gates
from daytwo.integrations.keyed_memory import KeyedMemory
from daytwo.integrations.ppo_loss import Terms, loss
from daytwo.integrations.presets import COURSE_SETTINGS
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv, training_seeds
from daytwo.integrations.task_prediction import TaskTargets
from daytwo.kernels import compile_cached
from daytwo.loading import load
from daytwo.networks import CHECKPOINT_KIND, describe_interface

NORMALIZATIONS = ("step", "all", "none")
# The hidden task is predicted at every fifth step: it changes slowly, and its head is wide.
BELIEF_STRIDE = 5
# Of the network's options those that a checkpoint's description names only where they differ from the default.
TOLD_IF_CHANGED = ("memory_heads", "memory_layers", "memory_units", "memory_products", "episodic", "read_size")
# What a Stable-Baselines3 schedule is: a function of the share of training that remains, from 1 to 0.
Schedule = Callable[[float], float]


def keep_freed_memory() -> None:
    """Let glibc keep freed memory: handing it back to the system between updates costs up to a third of the time."""
    if sys.platform.startswith("linux"):
        try:
            library = ctypes.CDLL("libc.so.6")
            library.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
            library.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
        except (OSError, AttributeError):
            pass


def clip_gradients(parameters: list[nn.Parameter], longest: float) -> torch.Tensor:
    """Shorten all gradients together to a norm of ``longest`` if they exceed it.

    The same as `torch.nn.utils.clip_grad_norm_`, in fewer calls: those are what a small network's update waits for.

    Returns:
        The norm before.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    factor = (longest / (norm + 1e-6)).clamp_(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)
    return norm


@compile_cached
def _draw(scores, mask, uniforms, actions, log_probabilities):
    """Draw offered actions from softmax(``scores[N, A]``), with their log-probabilities."""
    for i in range(scores.shape[0]):
        highest = np.float32(-np.inf)
        for k in range(scores.shape[1]):
            if mask[i, k]:
                highest = max(highest, scores[i, k])
        total = 0.0
        for k in range(scores.shape[1]):
            if mask[i, k]:
                total += math.exp(scores[i, k] - highest)
        left, chosen = uniforms[i] * total, -1
        for k in range(scores.shape[1]):
            if mask[i, k]:
                left -= math.exp(scores[i, k] - highest)
                chosen = k
                if left < 0.0:
                    break
        actions[i] = chosen
        log_probabilities[i] = scores[i, chosen] - highest - math.log(total)


@compile_cached
def generalized_advantages(rewards, values, ended, last_values, discount, gae_lambda, advantages):
    """GAE (Schulman et al. 2015, arXiv 1506.02438) over ``[T, N]``.

    Args:
        rewards: ``float32[T, N]``.
        values: ``float32[T, N]``, estimates before each step.
        ended: ``bool[T, N]``; the lifetime ended with this step.
        last_values: ``float32[N]``, estimates after the last step.
        discount: per step.
        gae_lambda: 0 trusts the estimates, 1 the returns.
        advantages: ``float32[T, N]``, written to.
    """
    steps, lanes = rewards.shape
    for i in range(lanes):
        running, following = 0.0, float(last_values[i])
        for t in range(steps - 1, -1, -1):
            if ended[t, i]:
                running, following = 0.0, 0.0
            difference = rewards[t, i] + discount * following - values[t, i]
            running = difference + discount * gae_lambda * running
            following = values[t, i]
            advantages[t, i] = running


@compile_cached
def _accumulate(targets, positions, counts, sums, squares):
    for t in range(targets.shape[0]):
        for i in range(targets.shape[1]):
            at, value = positions[t, i], float(targets[t, i])
            counts[at] += 1.0
            sums[at] += value
            squares[at] += value * value


class ValueScale:
    """Running mean and standard deviation of the value's targets at every step of a lifetime."""

    def __init__(self, steps: int, kind: str, rate: float = 0.2) -> None:
        """Begin with mean 0 and deviation 1.

        Args:
            steps: of the longest lifetime.
            kind: ``step`` (of every step), ``all`` (one for all) or ``none`` (leaves 0 and 1).
            rate: weight of an update's own statistics.
        """
        if kind not in NORMALIZATIONS:
            raise ValueError(f"normalize must be one of {', '.join(NORMALIZATIONS)}, received {kind!r}.")
        self.kind, self.rate = kind, rate
        self.mean, self.square = np.zeros(steps), np.ones(steps)
        self.seen = np.zeros(steps, dtype=np.bool_)

    @property
    def deviation(self) -> np.ndarray:
        """``float64[steps]``, at least a tenth of the overall one."""
        spread = np.sqrt(np.maximum(self.square - self.mean**2, 0.0))
        overall = float(spread[self.seen].mean()) if self.seen.any() else 1.0
        return np.maximum(spread, max(0.1 * overall, 1e-4))

    def update(self, targets: np.ndarray, positions: np.ndarray) -> None:
        """Take in ``targets[T, N]`` at ``positions[T, N]``."""
        if self.kind == "none":
            return
        steps = len(self.mean)
        counts, sums, squares = np.zeros(steps), np.zeros(steps), np.zeros(steps)
        _accumulate(targets, positions, counts, sums, squares)
        if self.kind == "all":
            counts[:], sums[:], squares[:] = counts.sum(), sums.sum(), squares.sum()
        here = counts > 0
        rate = np.where(self.seen, self.rate, 1.0)[here]
        self.mean[here] += rate * (sums[here] / counts[here] - self.mean[here])
        self.square[here] += rate * (squares[here] / counts[here] - self.square[here])
        self.seen |= here


class GruPolicy(BasePolicy):
    """A policy with a GRU for a memory: [encoder ->] GRU -> actions, and beside them GRU and time -> value.

    With a keyed memory: encoder [-> front] -> memory -> GRU -> actions, where each takes in what all before it gave.

    Attributes:
        gru: the memory.
        memory: beside it a keyed one, if there is one.
        deeper: further keyed ones, of which each looks at what those before it recall. In the state, the contents of
            all follow the GRU's units, and then what all but the last recalled.
        front: a GRU that tells the keyed memory what to store, and where; its units come last in the state.
        input_scale: ``float32[D]``, what observations are multiplied with; learnt from the first rollout.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        hidden_size: int = 64,
        update_bias: float = 1.0,
        encoder_size: int = 0,
        gated: bool = False,
        previous: bool = False,
        memory_heads: int = 0,
        memory_layers: int = 1,
        memory_keys: int = 32,
        memory_contents: int = 16,
        memory_units: int = 0,
        memory_products: bool = False,
        memory_columns: Sequence[int] | None = None,
        clear_column: int | None = None,
        read_size: int = 0,
        value_size: int = 64,
        std: float = 0.5,
        auxiliary: bool = False,
        belief: int = 0,
    ) -> None:
        """Make the networks.

        Args:
            observation_space: a flat Box.
            action_space: Discrete, or a Box in [-1, 1].
            lr_schedule: learning rate by the share of training that remains.
            hidden_size: units of the GRU.
            update_bias: of its update gate at the start (see `LifetimeGru`).
            encoder_size: units of a dense layer before the GRU; 0 for none.
            gated: read actions and values off the state and, beside it, the state times a gate that looks at the
                observation: what of the memory counts depends on what is seen.
            previous: show the observation before the present one as well (zeros when a lifetime begins).
            memory_heads: matrices of a keyed memory between encoder and GRU (see `KeyedMemory`); 0 for none.
            memory_layers: how many such memories, one behind the other: from the second on they look things up by what
                those before them recalled.
            memory_keys: numbers of its keys.
            memory_contents: numbers of its contents.
            memory_units: units of a GRU in front of the keyed memory; 0 for none. With it, the gate (``gated``) covers
                what is recalled as well.
            memory_products: the keyed memory's keys are products of two maps.
            memory_columns: numbers of the observation that its keys come from at first; None for all.
            clear_column: a number of the observation; one step after it was 1 the GRUs begin anew, so that only what
                the keyed memory holds lasts. None for never.
            read_size: units of a dense layer between all that and the heads; 0 for none.
            value_size: hidden units of the value's head.
            std: standard deviation of continuous actions at the start.
            auxiliary: add a head that predicts the oracle's action (training only).
            belief: outputs of a head that predicts the hidden task (training only); 0 for none.
        """
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise ValueError(
                f"GruPolicy takes flat observations (a Box of one dimension), received {observation_space}."
            )
        if not isinstance(action_space, spaces.Discrete | spaces.Box):
            raise ValueError(f"GruPolicy takes Discrete or Box actions, received {action_space}.")
        super().__init__(observation_space, action_space)
        self.continuous = isinstance(action_space, spaces.Box)
        self.outputs = action_space.shape[0] if isinstance(action_space, spaces.Box) else int(action_space.n)
        inputs = observation_space.shape[0] * (2 if previous else 1)
        self.previous = previous
        self.input_scale: torch.Tensor
        self.register_buffer("input_scale", torch.ones(inputs))
        self.encoder: nn.Linear | None = None
        if encoder_size:
            self.encoder = nn.Linear(inputs, encoder_size)
            nn.init.orthogonal_(self.encoder.weight)
            nn.init.zeros_(self.encoder.bias)
        if clear_column is not None and not previous:
            raise ValueError("A clear_column is looked for in the previous observation: it needs previous=True.")
        self.clear_column: torch.Tensor | None
        self.register_buffer("clear_column", None if clear_column is None else torch.tensor(int(clear_column)))
        self.memory: KeyedMemory | None = None
        self.deeper = nn.ModuleList()
        self.front: LifetimeGru | None = None
        seen, recalled = encoder_size or inputs, 0
        if memory_heads:
            if not encoder_size or not previous:
                raise ValueError("A keyed memory (memory_heads) needs an encoder_size of at least 1 and previous=True.")
            if memory_units:
                self.front = LifetimeGru(seen, memory_units, update_bias=update_bias)
                seen += memory_units
            for depth in range(memory_layers):
                memory = KeyedMemory(
                    observation_space.shape[0],
                    seen + recalled,
                    memory_heads,
                    key_size=memory_keys,
                    value_size=memory_contents,
                    front=memory_units + recalled,
                    products=memory_products,
                    columns=memory_columns,
                )
                if depth == 0:
                    self.memory = memory
                else:
                    self.deeper.append(memory)
                recalled += memory.outputs
        self.recalled = recalled
        self.gru = LifetimeGru(seen + recalled, hidden_size, update_bias=update_bias)
        looked_at = 0 if not gated else hidden_size if self.front is None else hidden_size + recalled
        self.gate = nn.Linear(seen + recalled, looked_at) if gated else None
        read = hidden_size + looked_at + recalled
        self.read_net: nn.Linear | None = None
        if read_size:
            self.read_net = nn.Linear(read, read_size)
            nn.init.orthogonal_(self.read_net.weight)
            nn.init.zeros_(self.read_net.bias)
            read = read_size
        self.action_net = nn.Linear(read, self.outputs)
        self.value_net = nn.Sequential(nn.Linear(read + 1, value_size), nn.ReLU(), nn.Linear(value_size, 1))
        self.auxiliary_net = nn.Linear(read, self.outputs) if auxiliary else None
        self.belief_net = nn.Linear(hidden_size, belief) if belief else None
        for layer, gain in ((self.action_net, 0.01), (self.value_net[0], 1.0), (self.value_net[2], 0.1)):
            nn.init.orthogonal_(layer.weight, gain)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.log_std = nn.Parameter(torch.full((self.outputs,), math.log(std))) if self.continuous else None
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(self.parameters(), lr=lr_schedule(1.0), eps=1e-5, fused=fused)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data |= {
            "lr_schedule": self._dummy_schedule,
            "hidden_size": self.gru.size,
            "encoder_size": 0 if self.encoder is None else self.encoder.out_features,
            "gated": self.gate is not None,
            "previous": self.previous,
            "memory_heads": 0 if self.memory is None else self.memory.heads,
            "memory_layers": 1 + len(self.deeper),
            "memory_keys": 32 if self.memory is None else self.memory.key_size,
            "memory_contents": 16 if self.memory is None else self.memory.value_size,
            "memory_units": 0 if self.front is None else self.front.size,
            "memory_products": self.memory is not None and self.memory.product_weight is not None,
            "clear_column": None if self.clear_column is None else int(self.clear_column),
            "read_size": 0 if self.read_net is None else self.read_net.out_features,
            "value_size": self.value_net[0].out_features,
            "auxiliary": self.auxiliary_net is not None,
            "belief": 0 if self.belief_net is None else self.belief_net.out_features,
        }
        return data

    @property
    def state_size(self) -> int:
        """Numbers of the state: see `memory`, `deeper` and `front`."""
        return sum(self._state_sizes())

    def _memories(self) -> list[Any]:
        """All keyed memories, in the order in which they recall."""
        return [] if self.memory is None else [self.memory, *self.deeper]

    def _state_sizes(self) -> list[int]:
        """Numbers of its parts: the GRU's units, every memory's contents, what all but the last recalled, the front."""
        memories = self._memories()
        contents = [memory.size for memory in memories]
        looked_at = sum(memory.outputs for memory in memories[:-1])
        return [self.gru.size, *contents, looked_at, 0 if self.front is None else self.front.size]

    def _take_in(
        self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the GRU takes in, ``[T, N, E]``, and the state after the last step but for the GRU's.

        It takes in what is seen, the state in front and what the keyed memories recall.
        """
        scaled = observations * self.input_scale
        seen = scaled if self.encoder is None else torch.tanh(self.encoder(scaled))
        _, *contents, looked_at, before = start.split(self._state_sizes(), dim=1)
        # What stands behind the observation in the memories' keys: ``[T + 1, N, S]``, before the first step and after
        # every step.
        path: torch.Tensor | None = None
        if self.front is not None:
            states = self._run(self.front, seen, before, self._kept(observations, keep))
            seen = torch.cat([seen, states], dim=-1)
            path, before = torch.cat([before.unsqueeze(0), states]), states[-1].detach()
        after, last, known = [], [], 0
        memories = self._memories()
        for k, memory in enumerate(memories):
            recalled, kept = memory(scaled, seen, contents[k], keep, path)
            seen = torch.cat([seen, recalled], dim=-1)
            after.append(kept)
            if k + 1 < len(memories):
                earlier = looked_at[:, known : known + memory.outputs].unsqueeze(0)
                part = torch.cat([earlier, recalled])
                path = part if path is None else torch.cat([path, part], dim=-1)
                last.append(recalled[-1].detach())
                known += memory.outputs
        return seen, torch.cat([*after, *last, before], dim=-1)

    def _kept(self, observations: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Where the GRUs' states are kept: ``keep``, and 0 too where the previous observation says to clear them."""
        if self.clear_column is None:
            return keep
        return keep * (observations[..., observations.shape[-1] // 2 + int(self.clear_column)] < 0.5)

    def _run(self, gru: LifetimeGru, taken: torch.Tensor, start: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """A recurrent layer's states, ``[T, N, H]``; one step without gradients takes a shorter way."""
        if len(taken) > 1 or torch.is_grad_enabled() or taken.device.type != "cpu":
            return gru(taken, start, keep)
        return self._step_gru(gru, taken[0], start.contiguous(), keep[0]).unsqueeze(0)

    def _read(self, states: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
        """What the heads read, ``[..., R]``.

        The GRU's states, these times the gate if there is one, and what is recalled, through a dense layer if there is
        one.

        Args:
            states: ``[..., H]``.
            taken: ``[..., E]``, what the GRU took in.
        """
        parts = [states]
        recalled = [taken[..., -self.recalled :]] if self.recalled else []
        if self.gate is not None:
            looked_at = states if self.front is None else torch.cat([states, *recalled], dim=-1)
            parts.append(looked_at * torch.sigmoid(self.gate(taken)))
        parts += recalled
        whole = states if len(parts) == 1 else torch.cat(parts, dim=-1)
        return whole if self.read_net is None else torch.tanh(self.read_net(whole))

    def unroll(
        self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The GRU's states, ``[T, N, H]``, and what the heads read, ``[T, N, R]``.

        Args:
            observations: ``[T, N, D]``.
            start: state before the first step, ``[N, state_size]``.
            keep: ``[T, N]``: 0 where a lifetime begins with this step's observation, else 1.
        """
        taken, _ = self._take_in(observations, start, keep)
        states = self.gru(taken, start[:, : self.gru.size], self._kept(observations, keep))
        return states, self._read(states, taken)

    def forward(self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """What the heads read, ``[T, N, R]``; see `unroll`."""
        return self.unroll(observations, start, keep)[1]

    def step(
        self, observations: torch.Tensor, state: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step, without gradients.

        Args:
            observations: ``[N, D]``.
            state: ``[N, state_size]``.
            keep: ``[N]``, 0 where a lifetime begins, else 1.

        Returns:
            The new state ``[N, state_size]``, and what the heads read ``[N, R]``.
        """
        with torch.no_grad():
            rows, kept = observations.unsqueeze(0), keep.unsqueeze(0)
            taken, rest = self._take_in(rows, state, kept)
            new = self._run(self.gru, taken, state[:, : self.gru.size], self._kept(rows, kept))[0]
            read = self._read(new, taken[0])
            return torch.cat([new, rest], dim=1), read

    @staticmethod
    def _step_gru(gru: LifetimeGru, taken: torch.Tensor, state: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        inputs = torch.nn.functional.linear(taken, gru.input_weight, gru.input_bias)
        before, after = torch.empty_like(state), torch.empty_like(state)
        clear(state.numpy(), keep.numpy(), before.numpy())
        recurrent = before @ gru.state_weight.t()
        work = np.empty(4 * gru.size, dtype=np.float32)
        bias = gru.state_bias.detach().numpy()
        step_gates(inputs.numpy(), recurrent.numpy(), bias, before.numpy(), work, after.numpy())
        return after

    def value(self, states: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Normalised values of ``states[..., R]``, as heads read them, at ``time[...]``, the share of the lifetime."""
        first, last = self.value_net[0], self.value_net[2]
        weight = first.weight
        hidden = torch.nn.functional.linear(states, weight[:, :-1], first.bias)  # type: ignore[index,arg-type]
        hidden = torch.relu_(hidden.addcmul(time.unsqueeze(-1), weight[:, -1]))  # type: ignore[index]
        return last(hidden).squeeze(-1)

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights it acts with, as `daytwo.networks.Network` takes them."""
        kept = (
            "input_scale",
            "clear_column",
            "encoder.",
            "front.",
            "memory.",
            "deeper.",
            "gru.",
            "gate.",
            "read_net.",
            "action_net.",
            "log_std",
        )
        return {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in self.state_dict().items()
            if name.startswith(kept)
        }

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        raise NotImplementedError("A recurrent policy needs its state: call predict.")

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Choose actions, as Stable-Baselines3's recurrent policies do.

        Args:
            observation: ``[N, D]`` or ``[D]``.
            state: what the last call returned, None at the beginning.
            episode_start: ``bool[N]``; lifetimes that begin now.
            deterministic: the most probable actions instead of drawn ones.

        Returns:
            Actions and the new state.
        """
        self.set_training_mode(False)
        rows = np.asarray(observation, dtype=np.float32)
        single = rows.ndim == 1
        rows = rows.reshape(-1, rows.shape[-1])
        blank = (np.zeros((len(rows), self.state_size), dtype=np.float32), np.zeros_like(rows))
        old, last = blank if state is None else (state[0], state[1])
        starts = np.zeros(len(rows)) if episode_start is None else np.asarray(episode_start)
        kept = 1.0 - starts.astype(np.float32)
        shown = np.concatenate([rows, kept[:, None] * last], axis=1) if self.previous else rows
        tensors = (torch.as_tensor(array, device=self.device) for array in (shown, old, kept))
        new, read = self.step(*tensors)
        with torch.no_grad():
            outputs = self.action_net(read)
            if self.continuous:
                assert self.log_std is not None
                actions = outputs if deterministic else torch.normal(outputs, self.log_std.exp().expand_as(outputs))
                chosen = actions.clamp(-1.0, 1.0).cpu().numpy()
            elif deterministic:
                chosen = outputs.argmax(dim=1).cpu().numpy()
            else:
                chosen = torch.distributions.Categorical(logits=outputs).sample().cpu().numpy()
        return (chosen[0] if single else chosen), (new.cpu().numpy(), rows)


class _Rollout:
    """Arrays ``[T, N, ...]`` of one rollout."""

    def __init__(self, steps: int, lanes: int, policy: GruPolicy) -> None:
        inputs = policy.input_scale.shape[0]
        read, outputs, continuous = policy.action_net.in_features, policy.outputs, policy.continuous
        self.observations = np.zeros((steps, lanes, inputs), dtype=np.float32)
        self.keep = np.zeros((steps, lanes), dtype=np.float32)
        self.read = np.zeros((steps, lanes, read), dtype=np.float32)
        self.start = np.zeros((lanes, policy.state_size), dtype=np.float32)
        shape = (steps, lanes, outputs) if continuous else (steps, lanes)
        self.actions = np.zeros(shape, dtype=np.float32 if continuous else np.int64)
        self.log_probabilities = np.zeros((steps, lanes), dtype=np.float32)
        self.masks = np.ones((0 if continuous else steps, lanes, outputs), dtype=np.bool_)
        self.labels = np.zeros(shape, dtype=self.actions.dtype)
        self.rewards = np.zeros((steps, lanes), dtype=np.float32)
        self.ended = np.zeros((steps, lanes), dtype=np.bool_)
        self.positions = np.zeros((steps, lanes), dtype=np.int64)
        self.advantages = np.zeros((steps, lanes), dtype=np.float32)
        self.values = np.zeros((steps, lanes), dtype=np.float32)
        self.targets = np.zeros((steps, lanes), dtype=np.float32)
        self.imitated = False
        self.tasks = np.zeros((0, lanes, 0), dtype=np.float32)


class RL2(OnPolicyAlgorithm):
    """Recurrent PPO over whole lifetimes.

    Rollouts are ``n_steps`` long in every lane and follow each other without a gap: the memory's state is carried from
    one to the next and cleared only where a lifetime begins, and gradients flow through the whole of a rollout. With
    ``n_steps=None`` a rollout is as long as the longest lifetime of the course, so that gradients flow through whole
    lifetimes; shorter rollouts suit lifetimes of thousands of steps.

    Lifetimes that begin together stay together if all are equally long, and every update would be about one part of the
    course. So where a rollout is shorter than a lifetime, every lane's first lifetime is broken off at another step.
    """

    rollout: _Rollout
    policy: Any  # a GruPolicy; Stable-Baselines3 declares another class
    rollout_buffer: Any = None  # Stable-Baselines3's own is not used

    def __init__(
        self,
        policy: str | type[GruPolicy] = "GruPolicy",
        env: Any = None,
        learning_rate: float | Schedule = 3e-3,
        n_steps: int | None = None,
        batch_lifetimes: int = 32,
        n_epochs: int = 2,
        gamma: float = 0.99,
        gae_lambda: float = 0.8,
        clip_range: float = 0.2,
        ent_coef: float | Schedule = 0.01,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        *,
        warmup_updates: int = 5,
        normalize: str = "step",
        masked: bool = True,
        standardize: bool = False,
        auxiliary: float = 0.0,
        belief: float = 0.0,
        imitate: float = 0.0,
        teacher: str = "reference",
        teacher_share: float = 0.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str | torch.device = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        """Prepare training; arguments that Stable-Baselines3's PPO has mean the same here.

        Args:
            policy: ``"GruPolicy"`` or a subclass of `GruPolicy`.
            env: a vector environment of Stable-Baselines3, `LifetimeVecEnv` best of all.
            learning_rate: of Adam; a number, or a function of the share of training that remains.
            n_steps: steps of a rollout in every lane; None for the longest lifetime (only with `LifetimeVecEnv`).
            batch_lifetimes: lanes in a minibatch.
            n_epochs: passes over a rollout.
            gamma: discount per step.
            gae_lambda: of the advantages.
            clip_range: how far an update may move an action's probability ratio from 1.
            ent_coef: weight of the entropy bonus, a number or a function as for ``learning_rate``.
            vf_coef: weight of the value's loss.
            max_grad_norm: longest gradient of a step.
            warmup_updates: the learning rate rises over so many updates at the start.
            normalize: of the value's targets: by running mean and deviation per ``step`` of the lifetime, of ``all``
                steps together, or ``none``.
            masked: choose among the actions that the observation says are offered (`LifetimeVecEnv` only).
            standardize: magnify real numbers in the observation that hardly vary, up to tenfold. Without it, numbers
                that vary much are scaled down, and nothing is magnified.
            auxiliary: weight of a loss that predicts the oracle's action: privileged, in training only.
            belief: weight of a loss that predicts the hidden task from the memory: privileged, in training only
                (Humplik et al. 2019, arXiv 1905.06424).
            imitate: share of the training's steps, from the beginning, in which the policy learns to predict what
                ``teacher`` would do. The teacher acts in all lanes at first and in none at the end, the policy in the
                others (DAgger: Ross et al. 2011, arXiv 1011.0686).
            teacher: an agent's name; ``reference``, the family's reference learner, sees what the policy sees and no
                more. The agent must take what it did from its observations, not from memory.
            teacher_share: of the lanes in which the teacher still acts when imitation ends. At 1 the policy imitates
                what it sees the teacher do and nothing else (behavioural cloning): for teachers that would lead it back
                to their own path step by step, in directions that average out.
            stats_window_size: lifetimes over which the logger averages.
            tensorboard_log: folder for tensorboard.
            policy_kwargs: further arguments of the policy.
            verbose: 1 prints the logger's tables.
            seed: of weights and actions; lifetimes are seeded through the environment.
            device: ``cpu`` or ``cuda``.
            _init_setup_model: make networks at once.

        Raises:
            ValueError: an argument is out of range, or needs a `LifetimeVecEnv`.
        """
        for name, value in (("batch_lifetimes", batch_lifetimes), ("n_epochs", n_epochs), ("n_steps", n_steps)):
            if value is None and name == "n_steps":
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, received {value!r}.")
        for name, share in (("imitate", imitate), ("teacher_share", teacher_share)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], received {share!r}.")
        self.batch_lifetimes, self.n_epochs, self.clip_range = batch_lifetimes, n_epochs, clip_range
        self.warmup_updates, self.normalize, self.masked = warmup_updates, normalize, masked
        self.standardize = standardize
        self.auxiliary, self.belief, self.imitate, self.teacher = auxiliary, belief, imitate, teacher
        self.teacher_share = teacher_share
        self.entropy = ent_coef
        self.whole_lifetimes = n_steps is None
        chosen: Any = policy  # Stable-Baselines3 declares another class of policies
        super().__init__(
            chosen,
            env,
            learning_rate=learning_rate,
            n_steps=0 if n_steps is None else n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=0.0,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs={**({"auxiliary": True} if auxiliary else {}), **(policy_kwargs or {})},
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
            supported_action_spaces=(spaces.Discrete, spaces.Box),
        )
        if _init_setup_model:
            self._setup_model()

    policy_aliases = {"GruPolicy": GruPolicy}

    def _lifetimes(self, env: VecEnv | None) -> LifetimeVecEnv | None:
        """The `LifetimeVecEnv` underneath, if there is one."""
        while env is not None and not isinstance(env, LifetimeVecEnv):
            env = getattr(env, "venv", None)
        return env

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        keep_freed_memory()
        self.task_targets: TaskTargets | None = None
        lifetimes = self._lifetimes(self.env)
        if self.belief and lifetimes is not None:
            self.task_targets = TaskTargets(lifetimes.env)
            self.policy_kwargs = {**self.policy_kwargs, "belief": self.task_targets.outputs}
        policy_class: Any = self.policy_class
        self.policy = policy_class(self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs)
        self.policy = self.policy.to(self.device)
        self.random = np.random.Generator(np.random.PCG64(self.seed))
        if self.env is not None:
            self._setup_lifetimes()

    def _setup_lifetimes(self) -> None:
        lifetimes = self._lifetimes(self.env)
        if self.whole_lifetimes:
            self.n_steps = 0
        if lifetimes is not None:
            spec = lifetimes.env.lifetime_spec
            self.lifetime_steps = spec.steps
            ends = [spec.levels[stage.level].horizon for stage in spec.course.stages for _ in range(stage.episodes)]
            self.episode_offsets = np.concatenate([[0], np.cumsum(ends)])
        elif self.n_steps == 0:
            raise ValueError("n_steps=None takes the lifetime's length from a LifetimeVecEnv; here give a number.")
        else:
            self.lifetime_steps, self.episode_offsets = self.n_steps, np.zeros(1, dtype=np.int64)
        if self.n_steps == 0:
            self.n_steps = self.lifetime_steps
        if self.batch_lifetimes > self.n_envs:
            raise ValueError(f"batch_lifetimes={self.batch_lifetimes} is more than the {self.n_envs} lanes.")
        if (self.auxiliary or self.belief or self.imitate) and lifetimes is None:
            raise ValueError("auxiliary, belief and imitate need a LifetimeVecEnv.")
        # A model that was loaded, or takes another environment, goes on with the scales that its weights are used to.
        scale = getattr(self, "value_scale", None)
        if scale is None or len(scale.mean) != self.lifetime_steps:
            self.value_scale = ValueScale(self.lifetime_steps, self.normalize)
        self.scaled = getattr(self, "scaled", False)
        self.state = np.zeros((self.n_envs, self.policy.state_size), dtype=np.float32)
        self.position = np.zeros(self.n_envs, dtype=np.int64)
        self.rollout = _Rollout(self.n_steps, self.n_envs, self.policy)
        # Steps in this environment, and after how many of them the lanes' first lifetimes are broken off (0 for never).
        self.lived = 0
        self.breaks = np.zeros(self.n_envs, dtype=np.int64)
        if lifetimes is not None and self.n_steps < self.lifetime_steps:
            self.breaks = self.random.permutation(self.lifetime_steps * np.arange(self.n_envs) // self.n_envs)
        if self.task_targets is not None:
            self.rollout.tasks = np.zeros((self.n_steps // BELIEF_STRIDE, *self.task_targets.rows.shape), np.float32)
        assert isinstance(self.observation_space, spaces.Box)
        self.last = np.zeros((self.n_envs, self.observation_space.shape[0]), dtype=np.float32)
        self._teacher: Any = None

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """Take another environment with the same spaces; lifetimes begin anew."""
        super().set_env(env, force_reset)
        self._setup_lifetimes()

    def _excluded_save_params(self) -> list[str]:
        mine = [
            "rollout",
            "breaks",
            "_teacher",
            "task_targets",
            "state",
            "last",
            "position",
            "random",
            "rollout_buffer",
        ]
        return [*super()._excluded_save_params(), *mine]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    # --- acting -------------------------------------------------------------------------------------------------------

    def _teacher_acts(self, spec: LifetimeSpec) -> bool:
        share = self.num_timesteps / max(1, self._total_timesteps)
        if share >= self.imitate:
            self._teacher = None
            return False
        if self._teacher is None:
            # A teacher that joins late would not know what its lifetimes have seen.
            if not np.all(self._last_episode_starts):
                raise ValueError("imitate begins with new lifetimes: call learn with a reset.")
            self._teacher = self._make_teacher(spec)
        return True

    def _make_teacher(self, spec: LifetimeSpec) -> Any:
        """A teacher that has seen nothing yet."""
        teacher = make_agent(self.teacher, spec)
        teacher.begin(spec, np.array(training_seeds(self.seed or 0, self.n_envs, 1 << 40), dtype=np.uint64))
        return teacher

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: Any = None, n_rollout_steps: int | None = None
    ) -> bool:
        """Act for one rollout.

        Returns:
            False if the callback asked to stop.
        """
        assert self._last_obs is not None
        policy, rollout, lifetimes = self.policy, self.rollout, self._lifetimes(env)
        policy.set_training_mode(False)
        callback.on_rollout_start()
        spec = None if lifetimes is None else lifetimes.env.lifetime_spec
        rollout.imitated = bool(self.imitate) and spec is not None and self._teacher_acts(spec)
        masked = self.masked and lifetimes is not None and not policy.continuous
        rollout.start[:] = self.state
        state = torch.as_tensor(self.state, device=self.device)
        starts = np.asarray(self._last_episode_starts, dtype=np.bool_)
        observations: Any = self._last_obs
        action_net = policy.action_net
        deviation = policy.log_std.detach().exp().cpu().numpy() if policy.continuous else None
        everything = np.ones((self.n_envs, policy.outputs), dtype=np.bool_)
        actions = rollout.actions[0]
        shown = self.num_timesteps / max(1.0, self.imitate * self._total_timesteps)
        shown *= 1.0 - self.teacher_share
        taught = self.random.random(self.n_envs) >= shown if rollout.imitated else None
        for t in range(self.n_steps):
            rollout.keep[t] = 1.0 - starts
            self._show(observations, rollout.keep[t], rollout.observations[t])
            self.position[starts] = 0
            rollout.positions[t] = np.minimum(self.position, self.lifetime_steps - 1)
            if rollout.imitated:
                rollout.labels[t] = self._teacher.act(observations, starts)
            elif self.auxiliary and lifetimes is not None:
                rollout.labels[t] = lifetimes.env.oracle_actions()
            if self.task_targets is not None and lifetimes is not None:
                self.task_targets.update(lifetimes.env, starts)
                if t % BELIEF_STRIDE == BELIEF_STRIDE - 1:
                    rollout.tasks[t // BELIEF_STRIDE] = self.task_targets.rows
            rows = torch.from_numpy(rollout.observations[t]).to(self.device)
            state, read = policy.step(rows, state, torch.from_numpy(rollout.keep[t]).to(self.device))
            with torch.no_grad():
                outputs = torch.nn.functional.linear(read, action_net.weight, action_net.bias).cpu().numpy()
            rollout.read[t] = read.cpu().numpy()
            self.last[:] = observations
            actions = rollout.actions[t]
            if deviation is not None:
                noise = self.random.standard_normal(outputs.shape, dtype=np.float32)
                actions[:] = outputs + deviation * noise
                rollout.log_probabilities[t] = -(0.5 * noise**2 + np.log(deviation)).sum(1)
            else:
                mask = everything
                if masked:
                    assert lifetimes is not None
                    mask = rollout.masks[t]
                    mask[:] = lifetimes.action_masks()
                _draw(outputs, mask, self.random.random(self.n_envs), actions, rollout.log_probabilities[t])
            if rollout.imitated:
                actions[taught] = rollout.labels[t][taught]
            taken = np.clip(actions, -1.0, 1.0) if policy.continuous else actions
            observations, rewards, ended, infos = env.step(taken)
            self.num_timesteps += self.n_envs
            self.lived += 1
            rollout.rewards[t], rollout.ended[t] = rewards, ended
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            broken = self.breaks == self.lived
            if lifetimes is not None and broken.any():
                observations = lifetimes.restart(broken)
                rollout.ended[t] = ended = ended | broken
            if ended.any():
                self._update_info_buffer([infos[lane] for lane in np.flatnonzero(ended)])
            self.position += 1
            if any(infos):
                for lane, info in enumerate(infos):
                    if "episode_index" in info:
                        self.position[lane] = self.episode_offsets[info["episode_index"] + 1]
            starts = ended
        self._last_obs, self._last_episode_starts = observations, starts
        self.state = state.cpu().numpy().copy()
        self._estimate(starts)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _show(self, observations: Any, keep: np.ndarray, rows: np.ndarray) -> None:
        """What the policy takes in, written to ``rows[N, D]``: the observations, and the last ones if it sees them."""
        width = self.last.shape[1]
        rows[:, :width] = observations
        if self.policy.previous:
            np.multiply(keep[:, None], self.last, out=rows[:, width:])

    def _values(self, states: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Value estimates of ``states[..., R]`` at ``positions[...]``, in units of reward."""
        time = torch.from_numpy((positions / self.lifetime_steps).astype(np.float32)).to(self.device)
        with torch.no_grad():
            normalized = self.policy.value(torch.from_numpy(states).to(self.device), time).cpu().numpy()
        return (self.value_scale.mean[positions] + self.value_scale.deviation[positions] * normalized).astype(
            np.float32
        )

    def _estimate(self, starts: np.ndarray) -> None:
        """Advantages and value targets of the rollout."""
        rollout, policy = self.rollout, self.policy
        rollout.values = self._values(rollout.read, rollout.positions)
        shown = np.zeros_like(rollout.observations[0])
        self._show(self._last_obs, 1.0 - starts.astype(np.float32), shown)
        rows = torch.as_tensor(shown, device=self.device)
        state = torch.as_tensor(self.state, device=self.device)
        keep = torch.from_numpy(1.0 - starts.astype(np.float32)).to(self.device)
        following = policy.step(rows, state, keep)[1].cpu().numpy()
        position = np.minimum(np.where(starts, 0, self.position), self.lifetime_steps - 1)
        last = self._values(following, position)
        generalized_advantages(
            rollout.rewards, rollout.values, rollout.ended, last, self.gamma, self.gae_lambda, rollout.advantages
        )
        rollout.targets = rollout.advantages + rollout.values
        if not self.scaled:
            seen = rollout.observations.reshape(-1, rollout.observations.shape[2])[:, : self.last.shape[1]]
            least = np.ones(seen.shape[1], dtype=np.float32)
            if self.standardize:
                least[(seen != np.round(seen)).any(axis=0)] = 0.1
            scale = 1.0 / np.maximum(seen.std(axis=0), least)
            # One scale for an observation, present or past.
            policy.input_scale.copy_(torch.from_numpy(np.tile(scale, 2 if policy.previous else 1)))
            self.scaled = True

    # --- learning -----------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """One update: some passes over the rollout in minibatches of whole lanes."""
        policy, rollout, device = self.policy, self.rollout, self.device
        policy.set_training_mode(True)
        remaining = self._current_progress_remaining
        rate = self.lr_schedule(remaining) * min(1.0, (self._n_updates + 1) / max(1, self.warmup_updates))
        for group in policy.optimizer.param_groups:
            group["lr"] = rate
        entropy_weight = self.entropy(remaining) if callable(self.entropy) else float(self.entropy)
        self.value_scale.update(rollout.targets, rollout.positions)
        mean, deviation = self.value_scale.mean, self.value_scale.deviation
        targets = ((rollout.targets - mean[rollout.positions]) / deviation[rollout.positions]).astype(np.float32)
        advantages = rollout.advantages
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        time = (rollout.positions / self.lifetime_steps).astype(np.float32)
        every = {
            "observations": rollout.observations,
            "keep": rollout.keep,
            "actions": rollout.actions,
            "old": rollout.log_probabilities,
            "advantages": advantages,
            "targets": targets,
            "time": time,
        }
        if not policy.continuous and not rollout.masks.all():
            every["masks"] = rollout.masks
        if self.auxiliary or rollout.imitated:
            every["labels"] = rollout.labels
        if self.task_targets is not None:
            every["tasks"] = rollout.tasks
        whole = {name: torch.from_numpy(array).to(device) for name, array in every.items()}
        start = torch.from_numpy(rollout.start).to(device)
        parameters = list(policy.parameters())
        figures: dict[str, list[float]] = {}
        for _ in range(self.n_epochs):
            order = torch.from_numpy(self.random.permutation(self.n_envs)).to(device)
            for lanes in order.split(self.batch_lifetimes):
                if len(lanes) < self.batch_lifetimes:
                    continue  # a rest of other size would weigh its lifetimes differently
                batch = {name: tensor.index_select(1, lanes) for name, tensor in whole.items()}
                total, told = self._loss(batch, start.index_select(0, lanes), entropy_weight)
                for parameter in parameters:
                    parameter.grad = None
                total.backward()
                norm = clip_gradients(parameters, self.max_grad_norm)
                policy.optimizer.step()
                told["gradient_norm"] = norm
                for name, value in told.items():
                    figures.setdefault(name, []).append(float(value))
        self._n_updates += 1
        for name, values in figures.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))
        residual = np.var(rollout.targets - rollout.values) / max(float(np.var(rollout.targets)), 1e-12)
        self.logger.record("train/explained_variance", 1.0 - float(residual))
        self.logger.record("train/learning_rate", rate)
        self.logger.record("train/entropy_weight", entropy_weight)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _loss(
        self, batch: Mapping[str, torch.Tensor], start: torch.Tensor, entropy_weight: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of a minibatch, and its parts."""
        terms = Terms(self.clip_range, entropy_weight, self.vf_coef, self.auxiliary, self.rollout.imitated)
        policy = self.policy
        states, read = policy.unroll(batch["observations"], start, batch["keep"])
        total, told = loss(policy, read, batch, terms)
        if self.task_targets is not None:
            memory = states[BELIEF_STRIDE - 1 :: BELIEF_STRIDE]
            belief = self.task_targets.loss(policy.belief_net(memory), batch["tasks"])
            total, told = total + self.belief * belief, {**told, "belief_loss": belief.detach()}
        return total, told


# --- `daytwo train rl2` -----------------------------------------------------------------------------------------------


class RL2Trainer:
    """A training run of `RL2` (see `daytwo.integrations.trainers.Trainer`)."""

    def __init__(
        self,
        env_id: str,
        *,
        config: Any,
        settings: Mapping[str, Any],
        steps: int,
        num_envs: int | None,
        seed: int,
        device: str = "cpu",
        teacher: Any = None,
    ) -> None:
        """Prepare a run.

        Args:
            env_id: an environment's id.
            config: a `daytwo.integrations.training_config.RL2Config`.
            settings: keyword arguments of the environment.
            steps: environment steps of the whole run; the schedules end there.
            num_envs: lanes; ``lifetimes_per_batch * batches_per_update`` by default.
            seed: of weights, lifetimes and actions.
            device: ``cpu`` or ``cuda``.
            teacher: who chooses what is lived, as `LifetimeVecEnv` takes it.
        """
        self.config, self.total, self.seed = config, int(steps), int(seed)
        if config.first_share and teacher is not None:
            raise ValueError("first_share and a teacher both choose what is lived: leave one of them out.")
        lanes = config.lifetimes_per_batch * config.batches_per_update if num_envs is None else int(num_envs)
        extra = {"privileged": True} if config.auxiliary or config.belief else {}
        self.lifetimes = LifetimeVecEnv(env_id, lanes, teacher=teacher, **settings, **extra)
        self.spec = self.lifetimes.env.lifetime_spec
        # What is lived after the first share of the run; None where it is lived already.
        self.later: LifetimeVecEnv | None = None
        stages = tuple(Stage(level, episodes) for level, episodes in config.first_stages)
        first = Course(stages or self.spec.course.stages[:1])
        if config.first_share and first.stages != self.spec.course.stages:
            rest = {name: value for name, value in settings.items() if name not in COURSE_SETTINGS}
            self.later, self.lifetimes = self.lifetimes, LifetimeVecEnv(env_id, lanes, course=first, **rest, **extra)
        # NumPy's global generator, which Stable-Baselines3 seeds as well, takes 32 bits.
        own = training_seeds(self.seed, 1)[0] & 0x7FFFFFFF
        self.model = RL2(
            GruPolicy,
            self.lifetimes,
            learning_rate=self._learning_rate,
            n_steps=config.rollout_steps,
            batch_lifetimes=min(config.lifetimes_per_batch, lanes),
            n_epochs=config.epochs,
            gamma=config.discount,
            gae_lambda=config.gae_lambda,
            clip_range=config.clip_range,
            ent_coef=self._entropy,
            vf_coef=config.value,
            max_grad_norm=config.gradient_clip,
            warmup_updates=config.warmup_updates,
            normalize=config.normalize,
            masked=config.masked,
            standardize=config.standardize,
            auxiliary=config.auxiliary,
            belief=config.belief,
            imitate=config.imitate,
            teacher=config.teacher,
            teacher_share=config.teacher_share,
            policy_kwargs={
                "hidden_size": config.hidden_size,
                "update_bias": config.update_bias,
                "encoder_size": config.encoder_size,
                "gated": config.gated,
                "previous": config.previous,
                "memory_heads": config.memory_heads,
                "memory_layers": config.memory_layers,
                "memory_keys": config.memory_keys,
                "memory_contents": config.memory_contents,
                "memory_units": config.memory_units,
                "memory_products": config.memory_products,
                "memory_columns": self._columns(config.memory_parts),
                "clear_column": self.spec.layout["episode_start"].start if config.episodic else None,
                "read_size": config.read_size,
                "value_size": config.value_size,
                "std": config.std,
            },
            seed=own,
            device=device,
        )
        if config.initial is not None:
            self._begin_from(config.initial)
        self.lifetimes.seed_lanes(training_seeds(self.seed, lanes))
        if self.later is not None:
            # The first part's lifetimes are never lived again.
            self.later.seed_lanes(training_seeds(self.seed, lanes, 1 << 41))
        self.watch = _AdaptationCurve(max(self.spec.course.episodes, first.episodes))
        _, self.callback = self.model._setup_learn(self.total, self.watch, True)

    def _columns(self, parts: Sequence[str]) -> list[int] | None:
        """The columns of some parts of the observation, None for no parts."""
        layout = self.spec.layout
        unknown = [part for part in parts if part not in layout]
        if unknown:
            raise ValueError(f"memory_parts must be among {', '.join(layout)}, received {unknown[0]!r}.")
        return [column for part in parts for column in range(layout[part].start, layout[part].stop)] or None

    def _learning_rate(self, remaining: float) -> float:
        final = self.config.final_learning_rate
        return self.config.learning_rate * (final + (1.0 - final) * min(1.0, max(0.0, remaining)))

    def _entropy(self, remaining: float) -> float:
        until = self.config.entropy_until
        return self.config.entropy * max(0.0, 1.0 - (1.0 - remaining) / until) if until > 0 else self.config.entropy

    def _begin_from(self, folder: str) -> None:
        """Take the weights of a checkpoint, as far as it holds them (the value's are not kept in one)."""
        from safetensors.torch import load_file

        path = find_checkpoint(folder)
        if path is None:
            raise ValueError(f"initial must be the folder of a checkpoint, received {folder!r}.")
        tensors = load_file(path / "policy.safetensors")
        own = self.model.policy.state_dict()
        wrong = [name for name, tensor in tensors.items() if name not in own or own[name].shape != tensor.shape]
        if wrong:
            raise ValueError(f"The checkpoint {folder!r} has another {wrong[0]!r} than this policy.")
        self.model.policy.load_state_dict({**own, **tensors})
        self.model.scaled = True

    @property
    def steps(self) -> int:
        """Environment steps done."""
        return self.model.num_timesteps

    def advance(self) -> dict[str, float]:
        """One rollout and one update; returns what to log."""
        model = self.model
        if self.later is not None and self.steps >= self.config.first_share * self.total:
            self._live_the_whole_course()
        assert model.env is not None
        model.collect_rollouts(model.env, self.callback)
        model._update_current_progress_remaining(model.num_timesteps, self.total)
        model.train()
        return {
            **self.watch.take(),
            **self.lifetimes.teacher_figures(),
            **{k: float(v) for k, v in model.logger.name_to_value.items() if k[:6] == "train/"},
        }

    def _live_the_whole_course(self) -> None:
        model = self.model
        assert self.later is not None
        self.lifetimes.close()
        self.lifetimes, self.later = self.later, None
        model.set_env(self.lifetimes)
        model._last_obs = self.lifetimes.reset()
        model._last_episode_starts = np.ones(model.n_envs, dtype=np.bool_)

    def agent(self) -> Any:
        """The present policy as an agent."""
        return load("daytwo.baselines.trained:TrainedAgent").from_parts(self.describe(), self.tensors())

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights that the agent acts with."""
        return self.model.policy.tensors()

    def describe(self) -> dict[str, Any]:
        """The parts of ``config.json`` that say what the agent is."""
        padding = getattr(self.lifetimes.env, "interface", None)
        return {
            "agent": CHECKPOINT_KIND,
            "algorithm": "rl2",
            "interface": describe_interface(self.spec),
            "policy": {
                **({} if padding is None else {"padding": dict(padding)}),
                "masked": self.config.masked and not self.spec.continuous,
                "hidden_size": self.config.hidden_size,
                "encoder_size": self.config.encoder_size,
                "gated": self.config.gated,
                "previous": self.config.previous,
                **{
                    name: getattr(self.config, name)
                    for name in TOLD_IF_CHANGED
                    if getattr(self.config, name) != getattr(type(self.config), name)
                },
                "inputs": self.spec.layout.size * (2 if self.config.previous else 1),
                "parameters": sum(tensor.size for tensor in self.tensors().values()),
            },
            "privileged": bool(self.config.auxiliary or self.config.belief),
            "imitated": self.config.teacher if self.config.imitate else None,
        }

    def state(self) -> dict[str, Any]:
        """Everything that is needed to go on exactly."""
        model = self.model
        scale = model.value_scale
        return {
            "policy": model.policy.state_dict(),
            "optimizer": model.policy.optimizer.state_dict(),
            "environment": self.lifetimes.env.snapshot(),
            "masks": None if self.spec.continuous else np.array(self.lifetimes.action_masks()),
            "observations": np.array(model._last_obs),
            "starts": np.array(model._last_episode_starts),
            "hidden": model.state.copy(),
            "last": model.last.copy(),
            "tasks": None if model.task_targets is None else model.task_targets.rows.copy(),
            "position": model.position.copy(),
            "lived": model.lived,
            "breaks": model.breaks.copy(),
            "value_scale": {"mean": scale.mean.copy(), "square": scale.square.copy(), "seen": scale.seen.copy()},
            "random": model.random.bit_generator.state,
            "first": self.later is not None,
            "steps": int(model.num_timesteps),
            "updates": int(model._n_updates),
            "scaled": bool(model.scaled),
            "teacher": None if model._teacher is None else memory_of(model._teacher),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        model = self.model
        if self.later is not None and not state["first"]:
            self._live_the_whole_course()
        model.policy.load_state_dict(state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        self.lifetimes.env.restore(state["environment"])
        self.lifetimes._masks = None if state["masks"] is None else np.array(state["masks"])
        model._last_obs = np.array(state["observations"])
        model._last_episode_starts = np.array(state["starts"])
        model.state, model.position = np.array(state["hidden"]), np.array(state["position"])
        model.last = np.array(state["last"])
        model.lived, model.breaks = int(state["lived"]), np.array(state["breaks"])
        if model.task_targets is not None:
            model.task_targets.rows = np.array(state["tasks"])
        for name in ("mean", "square", "seen"):
            setattr(model.value_scale, name, np.array(state["value_scale"][name]))
        model.random.bit_generator.state = state["random"]
        model.num_timesteps, model._n_updates = int(state["steps"]), int(state["updates"])
        model.scaled = bool(state["scaled"])
        model._teacher = None
        if state["teacher"] is not None:
            model._teacher = model._make_teacher(self.spec)
            restore_memory(model._teacher, state["teacher"])
        model._update_current_progress_remaining(model.num_timesteps, self.total)

    def close(self) -> None:
        """Close the environments."""
        self.lifetimes.close()
        if self.later is not None:
            self.later.close()


class _AdaptationCurve(BaseCallback):
    """Mean normalised return by inner episode, between two updates."""

    def __init__(self, episodes: int) -> None:
        super().__init__()
        self.sums, self.counts = np.zeros(episodes), np.zeros(episodes)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if info and "episode_index" in info:
                self.sums[info["episode_index"]] += info["episode_normalized_return"]
                self.counts[info["episode_index"]] += 1
        return True

    def take(self) -> dict[str, float]:
        """The curve since the last call, by episodes that were seen."""
        seen = np.flatnonzero(self.counts)
        curve = {f"adaptation/episode_{k + 1:03d}": float(self.sums[k] / self.counts[k]) for k in seen}
        self.sums[:], self.counts[:] = 0.0, 0.0
        return curve


def make(env_id: str, **options: Any) -> RL2Trainer:
    """A training run of RL2; see `RL2Trainer`."""
    return RL2Trainer(env_id, **options)
