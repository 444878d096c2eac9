"""Training runs of RL2: `daytwo train rl2`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from daytwo.agent import find_checkpoint
from daytwo.course import Course, Stage
from daytwo.integrations.agent_memory import memory_of, restore_memory
from daytwo.integrations.gru_policy import GruPolicy
from daytwo.integrations.item_policy import ItemPolicy
from daytwo.integrations.presets import COURSE_SETTINGS
from daytwo.integrations.rl2 import RL2
from daytwo.integrations.slot_reader import SlotPlan
from daytwo.integrations.stable_baselines3 import LifetimeVecEnv, training_seeds
from daytwo.loading import load
from daytwo.networks import CHECKPOINT_KIND, describe_interface
from daytwo.places import HEADINGS, PlacePlan

# Of the network's options those that a checkpoint's description names only where they differ from the default.
TOLD_IF_CHANGED = (
    "memory_heads",
    "memory_layers",
    "memory_units",
    "memory_products",
    "episodic",
    "places",
    "slots",
    "items",
)


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
        if (config.first_share or config.alone_share) and teacher is not None:
            raise ValueError("first_share and a teacher both choose what is lived: leave one of them out.")
        lanes = config.lifetimes_per_batch * config.batches_per_update if num_envs is None else int(num_envs)
        extra = {"privileged": True} if config.auxiliary or config.belief else {}
        self.lifetimes = LifetimeVecEnv(env_id, lanes, teacher=teacher, **settings, **extra)
        self.spec = self.lifetimes.env.lifetime_spec
        # What is lived later, and from which share of the run on.
        self.later: list[tuple[float, LifetimeVecEnv]] = []
        stages = tuple(Stage(level, episodes) for level, episodes in config.first_stages)
        alone = self.spec.course.stages[:1]
        rest = {name: value for name, value in settings.items() if name not in COURSE_SETTINGS}
        episodes = self.spec.course.episodes
        for share, lived in ((config.first_share, stages or alone), (config.alone_share, alone)):
            if share and lived != self.spec.course.stages:
                course = Course(lived)
                self.later.insert(0, (share, self.lifetimes))
                self.lifetimes = LifetimeVecEnv(env_id, lanes, course=course, **rest, **extra)
                episodes = max(episodes, course.episodes)
        # NumPy's global generator, which Stable-Baselines3 seeds as well, takes 32 bits.
        own = training_seeds(self.seed, 1)[0] & 0x7FFFFFFF
        network = self._item_network() if config.items else self._gru_network()
        self.model = RL2(
            ItemPolicy if config.items else GruPolicy,
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
            auxiliary=config.auxiliary,
            belief=config.belief,
            imitate=config.imitate,
            teacher=config.teacher,
            teacher_share=config.teacher_share,
            policy_kwargs={
                "hidden_size": config.hidden_size,
                "update_bias": config.update_bias,
                "encoder_size": config.encoder_size,
                "previous": config.previous,
                "value_size": config.value_size,
                "std": config.std,
                **network,
            },
            seed=own,
            device=device,
        )
        if config.initial is not None:
            self._begin_from(config.initial)
        self.lifetimes.seed_lanes(training_seeds(self.seed, lanes))
        for part, (_, lifetimes) in enumerate(self.later):
            # No part's lifetimes are lived in another.
            lifetimes.seed_lanes(training_seeds(self.seed, lanes, 1 << (41 + part)))
        self.watch = _AdaptationCurve(episodes)
        _, self.callback = self.model._setup_learn(self.total, self.watch, True)

    def _gru_network(self) -> dict[str, Any]:
        """The options of a `GruPolicy` that are its own."""
        config = self.config
        return {
            "gated": config.gated,
            "memory_heads": config.memory_heads,
            "memory_layers": config.memory_layers,
            "memory_keys": config.memory_keys,
            "memory_contents": config.memory_contents,
            "memory_units": config.memory_units,
            "memory_products": config.memory_products,
            "memory_columns": self._columns(config.memory_parts),
            "places": self._places(),
            "place_contents": config.place_contents,
            "place_plans": config.place_plans,
            "slots": self._slots(config.slots),
            "clear_column": self.spec.layout["episode_start"].start if config.episodic else None,
        }

    def _item_network(self) -> dict[str, Any]:
        """The options of an `ItemPolicy` that are its own."""
        config, layout = self.config, self.spec.layout
        self._check_parts("item_parts", config.item_parts)
        columns: list[list[int]] = [[] for _ in range(config.items)]
        for part in config.item_parts:
            size = layout[part].stop - layout[part].start
            if size % config.items:
                raise ValueError(f"{part!r} has {size} numbers, which cannot be shared out among {config.items} items.")
            each = size // config.items
            for k, own in enumerate(columns):
                own += range(layout[part].start + k * each, layout[part].start + (k + 1) * each)
        first = None if config.item_actions < 0 else config.item_actions
        if first is not None:
            if self.spec.continuous or first + config.items > self.spec.actions:
                actions = "continuous ones" if self.spec.continuous else str(self.spec.actions)
                raise ValueError(f"{config.items} actions from {first} on name the items, received actions: {actions}.")
            if "previous_action" in layout:
                for k, own in enumerate(columns):
                    own.append(layout["previous_action"].start + first + k)
        if not columns[0]:
            raise ValueError(f"Nothing of the observation, which has {', '.join(layout)}, belongs to the items.")
        return {
            "columns": columns,
            "first_action": first,
            "item_units": config.item_units,
            "item_layers": config.item_layers,
            "hub_layers": config.hub_layers,
        }

    def _check_parts(self, option: str, parts: Sequence[str]) -> None:
        """Refuse names that are not those of parts of the observation."""
        unknown = [part for part in parts if part not in self.spec.layout]
        if unknown:
            raise ValueError(f"{option} must be among {', '.join(self.spec.layout)}, received {unknown[0]!r}.")

    def _columns(self, parts: Sequence[str]) -> list[int] | None:
        """The columns of some parts of the observation, None for no parts."""
        layout = self.spec.layout
        self._check_parts("memory_parts", parts)
        return [column for part in parts for column in range(layout[part].start, layout[part].stop)] or None

    def _places(self) -> PlacePlan | None:
        """How places are told, None without a memory of them."""
        config, layout = self.config, self.spec.layout
        if not config.places:
            return None
        self._check_parts("places", config.places)
        first, second = (layout[part] for part in config.places)
        sizes = [part.stop - part.start for part in (first, second)]
        if not config.place_width:
            return PlacePlan(sizes[0], sizes[1], first.start, second.start, -1, -1, -1, -1)
        if sizes[0] != HEADINGS or config.place_ahead >= sizes[1]:
            raise ValueError(
                f"Places are reckoned from a part of {HEADINGS} numbers and one of more than {config.place_ahead}, "
                f"received {config.places} of {sizes[0]} and {sizes[1]}."
            )
        needed = [name for name in ("previous_action", "episode_start") if name not in layout]
        if needed:
            raise ValueError(
                f"Places are reckoned from {needed[0]!r}, which this observation lacks: {', '.join(layout)}."
            )
        width, ahead = config.place_width, second.start + config.place_ahead
        forward, start = layout["previous_action"].start, layout["episode_start"].start
        return PlacePlan(width, width, -1, -1, first.start, ahead, forward, start)

    def _slots(self, parts: Sequence[tuple[str, int]]) -> SlotPlan | None:
        """Where the things of some parts of the observation lie, None for no parts."""
        if not parts:
            return None
        layout, numbers = self.spec.layout, list[int]()
        for part, count in parts:
            if part not in layout or (layout[part].stop - layout[part].start) % count:
                sizes = ", ".join(f"{name} ({columns.stop - columns.start})" for name, columns in layout.items())
                raise ValueError(
                    f"slots must be parts of the observation whose numbers can be shared out, among {sizes}; received "
                    f"{part!r} for {count} things."
                )
            numbers += [layout[part].start, count, (layout[part].stop - layout[part].start) // count]
        if "previous_action" not in layout:
            raise ValueError(f"slots need the previous action in the observation, which has {', '.join(layout)}.")
        return SlotPlan._make([*numbers, layout["previous_action"].start])

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
        while self.later and self.steps >= self.later[0][0] * self.total:
            self._live_on()
        assert model.env is not None
        model.collect_rollouts(model.env, self.callback)
        model._update_current_progress_remaining(model.num_timesteps, self.total)
        model.train()
        return {
            **self.watch.take(),
            **self.lifetimes.teacher_figures(),
            **{k: float(v) for k, v in model.logger.name_to_value.items() if k[:6] == "train/"},
        }

    def _live_on(self) -> None:
        """Go over to what is lived next."""
        model = self.model
        self.lifetimes.close()
        _, self.lifetimes = self.later.pop(0)
        # Stages of other lengths bound other counts of episodes; nothing else may differ, and nothing else does.
        model.observation_space = self.lifetimes.observation_space
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
            "later": len(self.later),
            "steps": int(model.num_timesteps),
            "updates": int(model._n_updates),
            "scaled": bool(model.scaled),
            "teacher": None if model._teacher is None else memory_of(model._teacher),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        model = self.model
        while len(self.later) > state["later"]:
            self._live_on()
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
        for _, lifetimes in self.later:
            lifetimes.close()


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
