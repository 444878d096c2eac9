"""Stable-Baselines3: lifetimes as its vector environment, and its models as agents.

`LifetimeVecEnv` trains any Stable-Baselines3 algorithm on any family. Going the other way, `SB3Agent` loads a
checkpoint that ``daytwo train`` saved, `ModelAgent` wraps a model in memory, and `PolicyAgent` wraps a plain
function, so that ``daytwo.evaluate`` runs them like every other agent.
"""

import inspect
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numba.extending import register_jitable
from stable_baselines3.common.vec_env import VecEnv

from daytwo.agent import LifetimeSpec, find_checkpoint
from daytwo.kernels import kernel
from daytwo.lifetime import LifetimeVectorEnv
from daytwo.streams import agent_streams, lifetime_seeds, normal, uniform

CHECKPOINT_KIND = "stable-baselines3"

# Training takes its lifetimes from another part of the seed's sequence than evaluation, so that the two share none,
# not even where a family has too few tasks for a training split and a test split.
TRAINING_OFFSET = 1 << 62
_EPISODE_KEYS = (
    "episode_return",
    "episode_normalized_return",
    "improvement",
    "bar",
    "level",
    "stage",
    "episode_index",
)


def training_seeds(seed: int, num_envs: int, lived: int = 0) -> list[int]:
    """Seeds for the lanes of a training run.

    Args:
        seed: of the run, at least 0.
        num_envs: how many lanes.
        lived: how many seeds of this run were used before; a run that is taken up again passes the steps done so far,
            so that it meets new lifetimes.

    Returns:
        ``num_envs`` integers below 2**64. Different seeds, and training and evaluation of one seed, share nothing.
    """
    own = int(lifetime_seeds(seed, TRAINING_OFFSET, TRAINING_OFFSET + 1)[0])
    return [int(one) for one in lifetime_seeds(own, lived, lived + num_envs)]


class LifetimeVecEnv(VecEnv):
    """N lifetimes as a Stable-Baselines3 ``VecEnv``, all in this process.

    Stable-Baselines3 refuses Gymnasium's vector environments, and its own vectorisation would step one lifetime at a
    time; this adapter hands it the native batch. ``done`` is true only at the end of a lifetime, which is where
    Stable-Baselines3 clears the hidden state of recurrent policies: inner episodes never clear it. ``infos[i]`` is
    empty except where lane i has something to say: the keys of the inner episode that just finished
    (``episode_return``, ``episode_normalized_return``, ``improvement``, ``bar``, ``level``, ``stage``,
    ``episode_index``), and at the end of a lifetime also ``terminal_observation`` and ``TimeLimit.truncated`` (always
    false: a lifetime ends by its course, never by a time limit). Wrap it in ``VecMonitor`` for the returns and lengths
    of whole lifetimes.

    Attributes:
        env: the `daytwo.LifetimeVectorEnv` underneath.
    """

    def __init__(self, family: Any, num_envs: int = 64, *, seed: int | None = None, **settings: Any) -> None:
        """Make N lifetimes.

        Args:
            family: whatever `daytwo.LifetimeVectorEnv` takes: an id, a class, ``"module:Class"``.
            num_envs: how many lifetimes run at a time.
            seed: of the first `reset`; see `seed`.
            **settings: keyword arguments of `daytwo.LifetimeVectorEnv` except ``autoreset_mode``.

        Raises:
            ValueError: as `daytwo.LifetimeVectorEnv`.
        """
        if "autoreset_mode" in settings:
            raise ValueError("Stable-Baselines3 resets within the step: leave autoreset_mode out.")
        self.env = LifetimeVectorEnv(family, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **settings)
        self._actions: np.ndarray | None = None
        self._masks: np.ndarray | None = None
        super().__init__(num_envs, self.env.single_observation_space, self.env.single_action_space)
        if seed is not None:
            self.seed(seed)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the next `reset`: every lane gets a hashed seed of its own (`training_seeds`), never ``seed + i``.

        Args:
            seed: an integer of at least 0; None draws one from the operating system's entropy.

        Returns:
            The lanes' seeds.
        """
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"seed must be an integer of at least 0, received {seed!r}.")
        self.seed_lanes(training_seeds(int(seed), self.num_envs))
        return self._seeds

    def seed_lanes(self, seeds: Iterable[int]) -> None:
        """Seed the next `reset` with one integer per lane."""
        seeds = [int(one) for one in seeds]
        if len(seeds) != self.num_envs:
            raise ValueError(f"Expected {self.num_envs} seeds, one per lane, received {len(seeds)}.")
        self._seeds = list(seeds)

    def reset(self) -> Any:
        """Begin a lifetime in every lane, with the seeds and options that were set, and forget those.

        Options (``set_options``) are `daytwo.LifetimeVectorEnv.set_tasks` entries: ``task``, ``level``, ``course``.
        """
        for lane, options in enumerate(self._options):
            if options:
                self.env.set_tasks(np.arange(self.num_envs) == lane, [options])
        # All lanes are seeded or none is: `seed` and `seed_lanes` set them together.
        seeds = [seed for seed in self._seeds if seed is not None]
        observations, info = self.env.reset(seed=seeds or None)
        self._masks = info.get("action_mask")
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Take one step in every lifetime; finished lifetimes are followed by the lane's next one.

        Returns:
            Observations, rewards (``float32[N]``), dones (``bool[N]``) and one dict per lane.
        """
        observations, rewards, terminated, _, info = self.env.step(self._actions)
        self._masks = info.get("action_mask")
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = info.get("_episode_return")
        if ended is not None:
            lanes = np.flatnonzero(ended).tolist()
            columns = [info[key].tolist() for key in _EPISODE_KEYS]
            for lane in lanes:
                infos[lane] = {key: column[lane] for key, column in zip(_EPISODE_KEYS, columns, strict=True)}
            if "final_obs" in info:
                final = info["final_obs"]
                for lane in np.flatnonzero(terminated).tolist():
                    infos[lane]["terminal_observation"] = final[lane]
                    infos[lane]["TimeLimit.truncated"] = False
        return observations, rewards.astype(np.float32), terminated, infos

    def action_masks(self) -> np.ndarray:
        """Which actions are offered now, ``bool[N, actions]``; what sb3-contrib's maskable algorithms ask for."""
        if self._masks is None:
            raise gymnasium.error.ResetNeeded("Call reset() first; continuous actions have no masks.")
        return self._masks

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """One image per lifetime, with ``render_mode="rgb_array"``."""
        images = self.env.render()
        return [None] * self.num_envs if images is None else list(images)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the environment, once per chosen lane: the lanes share one environment.

        Raises:
            AttributeError: there is none of this name.
        """
        if attr_name == "action_masks":
            if self.env.lifetime_spec.continuous:
                raise AttributeError("Continuous actions have no masks.")
            return [self.action_masks for _ in self._get_indices(indices)]
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the environment, which all lanes share.

        Raises:
            ValueError: only some lanes are chosen.
        """
        if len(set(self._get_indices(indices))) != self.num_envs:
            raise ValueError("The lanes share one environment: set_attr needs indices=None.")
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method of the environment once, for all lanes.

        Returns:
            One entry per chosen lane: the lane's part of the result if it has one entry per lane, else the result.
        """
        if method_name == "action_masks":
            result: Any = self.action_masks()
        else:
            result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        lanes = self._get_indices(indices)
        if isinstance(result, list | tuple | np.ndarray) and len(result) == self.num_envs:
            return [result[lane] for lane in lanes]
        return [result for _ in lanes]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: Any = None) -> list[bool]:
        """False for every lane: the batch is native, nothing is wrapped."""
        return [False for _ in self._get_indices(indices)]


# --- agents ----------------------------------------------------------------------------------------------------------


@register_jitable
def _add_product(out, count, inputs, width, weights, at):
    """Add ``inputs[:width] @ matrix`` to ``out[:count]``; the matrix begins at ``weights[at]``, row by row.

    Every output sums its terms in the order of the inputs, whatever the batch: no reordered reductions, no BLAS.
    """
    for k in range(width):
        value = inputs[k]
        if value != 0.0:
            row = weights[at : at + count]
            for j in range(count):
                out[j] += value * row[j]
        at += count
    return at


@register_jitable
def _sigmoid(x):
    # By way of tanh, which cannot overflow.
    return 0.5 + 0.5 * math.tanh(0.5 * x)


@kernel
def _forward(observations, fresh, sizes, recurrent, relu, weights, hidden, cell, work, out):
    """One step of a network in every lifetime.

    Args:
        observations: ``float32[N, D]``.
        fresh: ``bool[N]``; the hidden state of these lifetimes is cleared first.
        sizes: ``int64[layers + 1]``: inputs, then the width of every layer.
        recurrent: how many of the layers, from the first on, are LSTM layers.
        relu: hidden dense layers use ReLU instead of tanh.
        weights: ``float64[...]``, layer after layer: bias, then the matrix input by input (LSTM: both matrices).
        hidden: ``float64[N, recurrent, H]``, changed in place.
        cell: the same for the cells.
        work: ``float64[3, 4 * widest]``, scratch.
        out: ``float64[N, outputs]``.
    """
    layers = len(sizes) - 1
    for i in range(len(out)):
        if fresh[i]:
            for layer in range(recurrent):
                for j in range(hidden.shape[2]):
                    hidden[i, layer, j] = 0.0
                    cell[i, layer, j] = 0.0
        values, sums = work[0], work[1]
        for k in range(sizes[0]):
            values[k] = observations[i, k]
        at = 0
        for layer in range(layers):
            width, count = sizes[layer], sizes[layer + 1]
            if layer < recurrent:
                for j in range(4 * count):
                    sums[j] = weights[at + j]
                at = _add_product(sums, 4 * count, values, width, weights, at + 4 * count)
                for j in range(count):
                    work[2, j] = hidden[i, layer, j]
                at = _add_product(sums, 4 * count, work[2], count, weights, at)
                for j in range(count):
                    kept = _sigmoid(sums[count + j]) * cell[i, layer, j]
                    new = kept + _sigmoid(sums[j]) * math.tanh(sums[2 * count + j])
                    cell[i, layer, j] = new
                    values[j] = _sigmoid(sums[3 * count + j]) * math.tanh(new)
                    hidden[i, layer, j] = values[j]
            else:
                for j in range(count):
                    sums[j] = weights[at + j]
                at = _add_product(sums, count, values, width, weights, at + count)
                for j in range(count):
                    if layer == layers - 1:
                        out[i, j] = sums[j]
                    elif relu:
                        values[j] = max(sums[j], 0.0)
                    else:
                        values[j] = math.tanh(sums[j])


@kernel
def _choose(scores, streams, greedy, actions):
    """Draw from softmax(``scores[N, A]``), or take the first of the highest, into ``actions[N]``."""
    count = scores.shape[1]
    for i in range(len(actions)):
        best = 0
        for k in range(1, count):
            if scores[i, k] > scores[i, best]:
                best = k
        if not greedy:
            highest = scores[i, best]
            total = 0.0
            for k in range(count):
                total += math.exp(scores[i, k] - highest)
            left = uniform(streams, i) * total
            for k in range(count):
                left -= math.exp(scores[i, k] - highest)
                if left < 0.0:
                    best = k
                    break
        actions[i] = best


@kernel
def _draw(means, deviations, streams, greedy, actions):
    """Draw from independent normals clipped to [-1, 1], or take their means, into ``actions[N, d]``."""
    for i in range(actions.shape[0]):
        for k in range(actions.shape[1]):
            value = means[i, k]
            if not greedy:
                value += deviations[i, k] * normal(streams, i)
            actions[i, k] = min(max(value, -1.0), 1.0)


class _Sampler:
    """Actions from a distribution per lifetime, drawn from the lifetimes' own streams or greedy."""

    def __init__(self, seeds: np.ndarray, greedy: bool) -> None:
        self._streams = agent_streams(seeds)
        self._greedy = greedy

    def discrete(self, scores: np.ndarray) -> np.ndarray:
        """From unnormalised log-probabilities ``float64[N, A]``."""
        actions = np.zeros(len(scores), dtype=np.int64)
        _choose(scores, self._streams, self._greedy, actions)
        return actions

    def continuous(self, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        """From means and standard deviations ``float64[N, d]``."""
        actions = np.zeros(means.shape)
        _draw(means, deviations, self._streams, self._greedy, actions)
        return actions


class _Network:
    """The acting part of a Stable-Baselines3 actor-critic policy (dense, or LSTM and dense layers) as plain numbers."""

    def __init__(self, tensors: Mapping[str, np.ndarray], activation: str) -> None:
        """Take the network apart.

        Args:
            tensors: the policy's ``state_dict`` as arrays.
            activation: of the hidden dense layers, ``tanh`` or ``relu``.

        Raises:
            ValueError: the tensors are not those of such a policy.
        """
        if activation not in ("tanh", "relu"):
            raise ValueError(f"activation must be 'tanh' or 'relu', received {activation!r}.")
        self.relu = activation == "relu"
        parts: list[np.ndarray] = []
        sizes: list[int] = []

        def take(name: str) -> np.ndarray:
            if name not in tensors:
                raise ValueError(f"The policy's weights lack {name!r}; they hold {', '.join(sorted(tensors))}.")
            array = np.asarray(tensors[name], dtype=np.float64)
            if not np.isfinite(array).all():
                raise ValueError(f"The policy's weights {name!r} are not all finite.")
            return array

        def add(matrix: np.ndarray, width: int, rows: int) -> None:
            if matrix.shape != (rows, width):
                raise ValueError(f"Expected a weight matrix of shape {(rows, width)}, received {matrix.shape}.")
            parts.append(matrix.T.ravel())

        self.recurrent = 0
        while f"lstm_actor.weight_ih_l{self.recurrent}" in tensors:
            layer = self.recurrent
            inputs, states = take(f"lstm_actor.weight_ih_l{layer}"), take(f"lstm_actor.weight_hh_l{layer}")
            count = states.shape[1]
            if not sizes:
                sizes.append(inputs.shape[1])
            parts.append(take(f"lstm_actor.bias_ih_l{layer}") + take(f"lstm_actor.bias_hh_l{layer}"))
            add(inputs, sizes[-1], 4 * count)
            add(states, count, 4 * count)
            sizes.append(count)
            self.recurrent += 1
        dense = sorted(
            int(name.split(".")[2])
            for name in tensors
            if name.startswith("mlp_extractor.policy_net.") and name.endswith(".weight")
        )
        for name in [*(f"mlp_extractor.policy_net.{k}" for k in dense), "action_net"]:
            matrix = take(f"{name}.weight")
            if not sizes:
                sizes.append(matrix.shape[1])
            parts.append(take(f"{name}.bias"))
            add(matrix, sizes[-1], matrix.shape[0])
            sizes.append(matrix.shape[0])
        self.log_std = take("log_std") if "log_std" in tensors else None
        self.sizes = np.array(sizes, dtype=np.int64)
        self.weights = np.concatenate(parts)
        self._work = np.zeros((3, 4 * max(sizes)))

    def begin(self, lanes: int) -> None:
        """Clear the hidden state of ``lanes`` lifetimes."""
        shape = (lanes, self.recurrent, int(self.sizes[1]) if self.recurrent else 0)
        self._hidden, self._cell = np.zeros(shape), np.zeros(shape)

    def forward(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Outputs ``float64[N, A]`` for ``float32[N, D]``, one step on."""
        out = np.zeros((len(observations), int(self.sizes[-1])))
        _forward(
            np.ascontiguousarray(observations, dtype=np.float32),
            np.ascontiguousarray(fresh, dtype=np.bool_),
            self.sizes,
            self.recurrent,
            self.relu,
            self.weights,
            self._hidden,
            self._cell,
            self._work,
            out,
        )
        return out


def describe_interface(spec: LifetimeSpec) -> dict[str, Any]:
    """What must be the same wherever a policy acts: the observation's parts and bounds, and the actions.

    Returns:
        A dict fit for JSON.
    """
    parts = {
        name: {
            "columns": [part.start, part.stop],
            "low": spec.layout.low[part].tolist(),
            "high": spec.layout.high[part].tolist(),
        }
        for name, part in spec.layout.items()
    }
    return {
        "family": spec.family,
        "observation": parts,
        "size": spec.layout.size,
        "actions": {"kind": "continuous" if spec.continuous else "discrete", "number": spec.actions},
    }


def check_interface(trained: Mapping[str, Any], spec: LifetimeSpec) -> None:
    """Refuse an environment that a policy was not trained for.

    The lengths of stages may differ, and with them the bounds of the extras that count episodes.

    Args:
        trained: `describe_interface` of the training environment.
        spec: of the environment to act in.

    Raises:
        ValueError: they differ, and in what.
    """
    here = describe_interface(spec)
    differences = [
        f"the {key} was {trained.get(key)!r} in training and is {here[key]!r} here"
        for key in ("family", "actions")
        if trained.get(key) != here[key]
    ]
    before, now = trained.get("observation", {}), here["observation"]
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in now:
            differences.append(f"the observation had a part {name!r} in training and has none here")
        elif name not in before:
            differences.append(f"the observation has a part {name!r} that it did not have in training")
        else:
            for key in ("columns",) if name in ("episode", "stage_length") else ("columns", "low", "high"):
                if before[name].get(key) != now[name][key]:
                    differences.append(
                        f"{key} of {name!r} were {before[name].get(key)} in training and are {now[name][key]} here"
                    )
    if differences:
        raise ValueError(f"This agent was not trained for {spec.env_id} as it is here: {'; '.join(differences)}.")


class SB3Agent:
    """An agent from a checkpoint that ``daytwo train`` saved, recurrent or not.

    Nothing in a checkpoint is ever executed: it is JSON and safetensors. Weights are applied one lifetime after another
    in a compiled loop of its own, in a fixed order of summation, and actions are drawn from the lifetimes' own streams;
    so results are bit-identical for any batch size. (Matrix products by torch differ in the last bits from one batch
    size to another.) A recurrent policy keeps its hidden state over inner episodes and clears it where ``fresh``.

    Attributes:
        name: the algorithm.
        config: the checkpoint's ``config.json``.
        provenance: how it was trained (`daytwo.Agent`).
    """

    def __init__(self, folder: str | os.PathLike[str], *, greedy: bool = False) -> None:
        """Load a checkpoint.

        Args:
            folder: a checkpoint, or the folder of a run (its last checkpoint is taken).
            greedy: always take the most probable action (the mean, if continuous) instead of drawing one.

        Raises:
            ValueError: the folder holds no checkpoint of this kind, or a broken one.
        """
        from safetensors.numpy import load_file

        path = find_checkpoint(folder)
        if path is None:
            raise ValueError(f"{os.fspath(folder)!r} holds no checkpoint: expected a config.json in it.")
        self.config: dict[str, Any] = json.loads((path / "config.json").read_text())
        if self.config.get("agent") != CHECKPOINT_KIND:
            raise ValueError(
                f"{str(path)!r} is a checkpoint of kind {self.config.get('agent')!r}, expected {CHECKPOINT_KIND!r}."
            )
        self.name = str(self.config["algorithm"])
        names = {"seed": "seed", "steps": "steps_done", "seconds": "seconds", "env_id": "env_id"}
        names |= {"split": "split", "privileged": "privileged"}
        self.provenance = {name: self.config[saved] for name, saved in names.items() if saved in self.config}
        self.greedy = bool(greedy)
        self._network = _Network(load_file(path / "policy.safetensors"), self.config["policy"]["activation"])
        inputs, outputs = int(self.config["interface"]["size"]), int(self.config["interface"]["actions"]["number"])
        if (self._network.sizes[0], self._network.sizes[-1]) != (inputs, outputs):
            raise ValueError(
                f"The policy in {str(path)!r} maps {self._network.sizes[0]} numbers to {self._network.sizes[-1]}; its "
                f"config.json says {inputs} to {outputs}."
            )

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        check_interface(self.config["interface"], spec)
        self._continuous = spec.continuous
        self._sampler = _Sampler(seeds, self.greedy)
        self._network.begin(len(seeds))

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        outputs = self._network.forward(observations, fresh)
        if not self._continuous:
            return self._sampler.discrete(outputs)
        assert self._network.log_std is not None
        return self._sampler.continuous(outputs, np.tile(np.exp(self._network.log_std), (len(outputs), 1)))


def load_agent(folder: str | os.PathLike[str], *, greedy: bool = False) -> SB3Agent:
    """Load a checkpoint, or the last one of a run, as an agent (see `SB3Agent`)."""
    return SB3Agent(folder, greedy=greedy)


class ModelAgent:
    """A Stable-Baselines3 or sb3-contrib model in memory as an agent: ``ModelAgent(model)``.

    Actor-critic policies (PPO, A2C, RecurrentPPO, MaskablePPO, TRPO) draw their actions from the lifetimes' own
    streams. Every other model (DQN, SAC, ...) is asked through its ``predict``, greedily. The network runs in chunks
    of a fixed number of lifetimes, the last one padded, so that the arithmetic hardly depends on the batch; it is
    torch's, and not held to the last bit as that of `SB3Agent` is.
    """

    CHUNK = 64

    def __init__(self, model: Any, *, greedy: bool = False, name: str | None = None) -> None:
        """Wrap a model.

        Args:
            model: with ``observation_space``, ``policy`` and ``predict``.
            greedy: always take the most probable action instead of drawing one.
            name: what results call it; the model's class by default.

        Raises:
            ValueError: it is no such model.
        """
        missing = [part for part in ("observation_space", "policy", "predict") if not hasattr(model, part)]
        if missing:
            raise ValueError(f"Expected a Stable-Baselines3 model; {type(model).__name__} has no {missing[0]!r}.")
        self.model = model
        self.name = type(model).__name__ if name is None else name
        self.greedy = bool(greedy)
        self._recurrent = hasattr(model.policy, "lstm_hidden_state_shape")
        self._as_dict = isinstance(model.observation_space, gymnasium.spaces.Dict)
        distribution = getattr(model.policy, "get_distribution", None)
        parameters = inspect.signature(distribution).parameters if distribution is not None else {}
        self._masked = "action_masks" in parameters
        self._own_draws = distribution is not None and not getattr(model.policy, "squash_output", False)

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        expected = spec.layout.dict_space() if self._as_dict else spec.observation_space
        if self.model.observation_space != expected:
            raise ValueError(
                f"The model's observations {self.model.observation_space} are not those of {spec.env_id}, {expected}."
            )
        if self.model.action_space != spec.action_space:
            raise ValueError(
                f"The model's actions {self.model.action_space} are not those of {spec.env_id}, {spec.action_space}."
            )
        self._spec = spec
        self._sampler = _Sampler(seeds, self.greedy)
        self._states: list[Any] = [None] * math.ceil(len(seeds) / self.CHUNK)
        self.model.policy.set_training_mode(False)

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        lanes = len(observations)
        first, second = [], []
        for chunk, start in enumerate(range(0, lanes, self.CHUNK)):
            rows = np.zeros((self.CHUNK, observations.shape[1]), dtype=np.float32)
            starts = np.ones(self.CHUNK, dtype=np.bool_)
            taken = observations[start : start + self.CHUNK]
            rows[: len(taken)] = taken
            starts[: len(taken)] = fresh[start : start + self.CHUNK]
            results = self._own(chunk, rows, starts) if self._own_draws else self._predicted(chunk, rows, starts)
            first.append(results[0][: len(taken)])
            second.append(results[1][: len(taken)])
        values = np.concatenate(first)
        if not self._own_draws:
            return values
        if not self._spec.continuous:
            return self._sampler.discrete(values.astype(np.float64))
        return self._sampler.continuous(values.astype(np.float64), np.concatenate(second).astype(np.float64))

    def _own(self, chunk: int, rows: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities, or means and deviations, of one chunk."""
        import torch

        policy = self.model.policy
        with torch.no_grad():
            tensors = policy.obs_to_tensor(self._spec.layout.split(rows) if self._as_dict else rows)[0]
            if self._recurrent:
                layers, _, width = policy.lstm_hidden_state_shape
                state = self._states[chunk]
                if state is None:
                    zeros = torch.zeros(layers, self.CHUNK, width, device=policy.device)
                    state = (zeros, zeros)
                episode_starts = torch.as_tensor(starts, dtype=torch.float32, device=policy.device)
                made, self._states[chunk] = policy.get_distribution(tensors, state, episode_starts)
            elif self._masked:
                made = policy.get_distribution(tensors, action_masks=self._spec.observed_mask(rows))
            else:
                made = policy.get_distribution(tensors)
            if self._spec.continuous:
                return made.distribution.mean.cpu().numpy(), made.distribution.stddev.cpu().numpy()
            scores = made.distribution.logits.cpu().numpy()
            return scores, scores

    def _predicted(self, chunk: int, rows: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Greedy actions of one chunk."""
        observations = self._spec.layout.split(rows) if self._as_dict else rows
        actions, self._states[chunk] = self.model.predict(
            observations, state=self._states[chunk], episode_start=starts, deterministic=True
        )
        return actions, actions


class PolicyAgent:
    """A plain function as an agent: ``actions, state = policy(observations, state, fresh)``.

    ``state`` is whatever the function returned last, None when new lifetimes begin; where ``fresh`` is true the
    function must forget what it knows of that lifetime.
    """

    def __init__(self, policy: Callable[[np.ndarray, Any, np.ndarray], tuple[Any, Any]], *, name: str | None = None):
        """Wrap a function.

        Args:
            policy: takes observations ``float32[N, size]``, the state and fresh ``bool[N]``; returns actions
                (``int64[N]`` or ``float[N, d]`` in [-1, 1]) and the new state.
            name: what results call it; the function's name by default.

        Raises:
            ValueError: it cannot be called.
        """
        if not callable(policy):
            raise ValueError(f"Expected a function policy(observations, state, fresh), received {policy!r}.")
        self._policy = policy
        self.name = getattr(policy, "__name__", type(policy).__name__) if name is None else name

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        self._state: Any = None

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        answer = self._policy(observations, self._state, fresh)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ValueError(f"Policy {self.name!r} must return (actions, state), received {type(answer).__name__}.")
        actions, self._state = answer
        return np.asarray(actions)
