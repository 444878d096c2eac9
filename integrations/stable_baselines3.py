"""Stable-Baselines3: lifetimes as its vector environment, and its models as agents.

`LifetimeVecEnv` trains any Stable-Baselines3 algorithm on any family. Going the other way, `ModelAgent` wraps a model
in memory, and `daytwo.PolicyAgent` a plain function, so that ``daytwo.evaluate`` runs them like every other agent.
(Checkpoints that ``daytwo train`` saved are agents themselves: `daytwo.baselines.trained`.)
"""

import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from daytwo.agent import LifetimeSpec, PolicyAgent
from daytwo.lifetime import make_vector_env
from daytwo.networks import Sampler
from daytwo.streams import lifetime_seeds
from daytwo.teaching import TaughtVectorEnv

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
    ``episode_index``, and of a mixture ``family``), and at the end of a lifetime also ``terminal_observation`` and
    ``TimeLimit.truncated`` (always false: a lifetime ends by its course, never by a time limit). Wrap it in
    ``VecMonitor`` for the returns and lengths of whole lifetimes.

    Attributes:
        env: the `daytwo.LifetimeVectorEnv` (of a mixture, the vector environment of its id) underneath, or the
            `daytwo.TaughtVectorEnv` around it where a teacher chooses the tasks.
    """

    def __init__(
        self, family: Any, num_envs: int = 64, *, seed: int | None = None, teacher: Any = None, **settings: Any
    ) -> None:
        """Make N lifetimes.

        Args:
            family: whatever `daytwo.LifetimeVectorEnv` takes: an id, a class, ``"module:Class"``; or
                ``"daytwo/Mixture-v0"``.
            num_envs: how many lifetimes run at a time.
            seed: of the first `reset`; see `seed`.
            teacher: who chooses what is lived: a name (`daytwo.teacher_names`), a class or a teacher; or a function
                that is given the environment and returns a `daytwo.TaughtVectorEnv` around it. None leaves the
                environment as it is.
            **settings: keyword arguments of that environment except ``autoreset_mode``.

        Raises:
            ValueError: as `daytwo.LifetimeVectorEnv`.
        """
        if "autoreset_mode" in settings:
            raise ValueError("Stable-Baselines3 resets within the step: leave autoreset_mode out.")
        self.env = make_vector_env(family, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **settings)
        if teacher is not None:
            made = callable(teacher) and not isinstance(teacher, type)
            self.env = teacher(self.env) if made else TaughtVectorEnv(self.env, teacher, seed=seed or 0)
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

        Raises:
            ValueError: there are options where a teacher chooses.
        """
        for lane, options in enumerate(self._options):
            if options and isinstance(self.env, TaughtVectorEnv):
                raise ValueError(f"The teacher chooses what is lived: leave the options {options!r} out.")
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

    def restart(self, mask: np.ndarray) -> Any:
        """Break off the lifetimes of some lanes and begin their next ones.

        Args:
            mask: ``bool[N]``, at least one lane.

        Returns:
            The observations of all lanes.
        """
        observations, info = self.env.reset(options={"reset_mask": mask})
        self._masks = info.get("action_mask")
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
            keys = (*_EPISODE_KEYS, "family") if "family" in info else _EPISODE_KEYS
            columns = [info[key].tolist() for key in keys]
            for lane in lanes:
                infos[lane] = {key: column[lane] for key, column in zip(keys, columns, strict=True)}
            if "final_obs" in info:
                final = info["final_obs"]
                for lane in np.flatnonzero(terminated).tolist():
                    infos[lane]["terminal_observation"] = final[lane]
                    infos[lane]["TimeLimit.truncated"] = False
        return observations, rewards.astype(np.float32), terminated, infos

    def teacher_figures(self) -> dict[str, float]:
        """What to log of the teacher since the last time (`daytwo.TaughtVectorEnv.take_figures`); empty without one."""
        return self.env.take_figures() if isinstance(self.env, TaughtVectorEnv) else {}

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


# --- agents -----------------------------------------------------------------------------------------------------------


class ModelAgent:
    """A Stable-Baselines3 or sb3-contrib model in memory as an agent: ``ModelAgent(model)``.

    Actor-critic policies (PPO, A2C, RecurrentPPO, MaskablePPO, TRPO) draw their actions from the lifetimes' own
    streams. Every other model (DQN, SAC, ...) is asked through its ``predict``, greedily. The network runs in chunks
    of a fixed number of lifetimes, the last one padded, so that the arithmetic hardly depends on the batch; it is
    torch's, and not held to the last bit as that of a saved checkpoint (`daytwo.baselines.trained`) is.
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
        self._sampler = Sampler(seeds, self.greedy)
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


__all__ = ["TRAINING_OFFSET", "LifetimeVecEnv", "ModelAgent", "PolicyAgent", "training_seeds"]
