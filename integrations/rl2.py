"""RL2: recurrent PPO over whole lifetimes, as a Stable-Baselines3 algorithm.

The agent's memory is the state of a recurrent network that is cleared only where a lifetime begins; PPO over whole
lifetimes teaches it what to write there (Duan et al. 2016, arXiv 1611.02779; Wang et al. 2016, arXiv 1611.05763; PPO:
Schulman et al. 2017, arXiv 1707.06347). `RL2` has the callbacks, logger, ``learn``, ``save`` and ``load`` of
Stable-Baselines3, and takes any of its vector environments; on `LifetimeVecEnv` thousands of lifetimes run at once.
"""

import ctypes
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from daytwo.agent import LifetimeSpec, make_agent
from daytwo.integrations.gru_policy import GruPolicy
from daytwo.integrations.item_policy import ItemPolicy
from daytwo.integrations.lifetime_policy import LifetimePolicy, Schedule
from daytwo.integrations.ppo_loss import Terms, loss
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv, training_seeds
from daytwo.integrations.task_prediction import TaskTargets
from daytwo.kernels import compile_cached

NORMALIZATIONS = ("step", "all", "none")
# The hidden task is predicted at every fifth step: it changes slowly, and its head is wide.
BELIEF_STRIDE = 5


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


class _Rollout:
    """Arrays ``[T, N, ...]`` of one rollout."""

    def __init__(self, steps: int, lanes: int, policy: LifetimePolicy) -> None:
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
    policy: Any  # a LifetimePolicy; Stable-Baselines3 declares another class
    rollout_buffer: Any = None  # Stable-Baselines3's own is not used

    def __init__(
        self,
        policy: str | type[LifetimePolicy] = "GruPolicy",
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
            policy: ``"GruPolicy"``, ``"ItemPolicy"`` (with ``policy_kwargs``) or a subclass of `LifetimePolicy`.
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

    policy_aliases = {"GruPolicy": GruPolicy, "ItemPolicy": ItemPolicy}

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
            spread = rollout.observations.reshape(-1, rollout.observations.shape[2]).std(axis=0)
            if policy.previous:  # one scale for an observation, present or past
                spread = np.tile(spread[: len(spread) // 2], 2)
            policy.input_scale.copy_(torch.from_numpy(1.0 / np.maximum(spread, 1.0)))
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
