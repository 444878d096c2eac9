"""In-context learners by imitation: the decision-pretrained transformer and algorithm distillation.

Both train one small causal transformer (`daytwo.integrations.transformer`) to predict actions in the context of a whole
lifetime; they differ in whose. DPT (Lee et al. 2023, arXiv 2306.14892) predicts what the oracle, who knows the task,
would do: trained to the end it samples from the posterior over the oracle's action, as Thompson sampling does over the
best arm. AD (Laskin et al. 2022, arXiv 2210.14215) predicts what a learning agent does next, and so how it explores,
too. Contexts are lived as training goes on (`daytwo.integrations.histories`), so no lifetime is seen twice.
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from daytwo.agent import LifetimeSpec, make_agent
from daytwo.integrations.histories import Histories, HistoryStream
from daytwo.integrations.transformer import (
    CHECKPOINT_KIND,
    CausalTransformer,
    InContextAgent,
    TransformerShape,
)
from daytwo.networks import check_interface, describe_interface

# Steps of one gradient step, and gradient steps of one update, where nothing else is asked for. Small steps learn more
# from the same lifetimes; eight times eight of them fill whole chunks of the acting agent.
TARGET_STEPS = 4096
BATCHES = 8
LEAST_LIFETIMES = 8
LEAST_LOG_STD = -3.0


@dataclass(frozen=True, kw_only=True)
class _InContextConfig:
    layers: int = 2
    width: int = 64
    heads: int = 4
    window: int | None = None
    lifetimes_per_batch: int | None = None
    learning_rate: float = 2e-3
    final_learning_rate: float = 0.01
    warmup: float = 0.02
    decay_from: float = 0.3
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    noise: float = 0.0
    on_policy: float = 0.0
    greedy: bool | None = None
    initial: str | None = None

    def __post_init__(self) -> None:
        for name, optional in (
            ("layers", False),
            ("width", False),
            ("heads", False),
            ("window", True),
            ("lifetimes_per_batch", True),
        ):
            value = getattr(self, name)
            if optional and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, received {value!r}.")
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of 2 * heads, {2 * self.heads}, received {self.width!r}.")
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, received {value!r}.")
        for name in ("final_learning_rate", "warmup", "decay_from", "weight_decay", "noise", "on_policy"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be a number in [0, 1], received {value!r}.")
        if self.warmup > self.decay_from:
            raise ValueError(f"warmup must end before decay_from={self.decay_from!r}, received {self.warmup!r}.")
        if self.greedy is not None and not isinstance(self.greedy, bool):
            raise ValueError(f"greedy must be True, False or None, received {self.greedy!r}.")
        if self.initial is not None and (not isinstance(self.initial, str) or not self.initial):
            raise ValueError(f"initial must be a checkpoint's folder or an agent's name, received {self.initial!r}.")


@dataclass(frozen=True, kw_only=True)
class ADConfig(_InContextConfig):
    """How to distil a learning agent.

    Attributes:
        source: the agent whose next action is predicted: any agent's name, ``reference`` is the family's own learner.
        layers: blocks of attention and dense layers.
        width: numbers per step between the blocks; a multiple of twice the heads.
        heads: attention heads per block.
        window: steps of context; older ones slide out of sight. None takes the longest lifetime of the course.
        lifetimes_per_batch: lifetimes in one gradient step; None takes about 4096 steps, in multiples of 8 lifetimes.
        learning_rate: of AdamW at its highest.
        final_learning_rate: fraction of ``learning_rate`` left at the end.
        warmup: share of the training over which the learning rate rises from 0.
        decay_from: share of the training from which on the learning rate falls, linearly.
        weight_decay: of AdamW, on matrices.
        gradient_clip: longest gradient of one step.
        noise: highest share of random actions in a context; above 0 the source watches, and is asked what it would do.
        on_policy: share of the updates whose contexts the learner itself lives, the source watching (DAgger, Ross et
            al. 2011, arXiv 1011.0686); from ``warmup`` on.
        greedy: whether the agent takes its most probable action instead of drawing one; None draws discrete ones, and
            takes the mean of continuous ones.
        initial: a checkpoint to take the first weights from, a folder or the name of an agent that ships (``ad``): what
            it has learnt to see in a context need not be learnt again. None draws them.
    """

    source: str = "reference"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.source, str) or not self.source:
            raise ValueError(f"source must be an agent's name, received {self.source!r}.")


@dataclass(frozen=True, kw_only=True)
class DPTConfig(_InContextConfig):
    """How to pretrain for decisions: predict the oracle's action.

    Attributes:
        contexts: the agents whose lifetimes the oracle comments on, a lifetime each, all equally often. Not the oracle
            itself: its actions would give the task away.
        layers: blocks of attention and dense layers.
        width: numbers per step between the blocks; a multiple of twice the heads.
        heads: attention heads per block.
        window: steps of context; older ones slide out of sight. None takes the longest lifetime of the course.
        lifetimes_per_batch: lifetimes in one gradient step; None takes about 4096 steps, in multiples of 8 lifetimes.
        learning_rate: of AdamW at its highest.
        final_learning_rate: fraction of ``learning_rate`` left at the end.
        warmup: share of the training over which the learning rate rises from 0.
        decay_from: share of the training from which on the learning rate falls, linearly.
        weight_decay: of AdamW, on matrices.
        gradient_clip: longest gradient of one step.
        noise: highest share of random actions in a context.
        on_policy: share of the updates whose contexts the learner itself lives (DAgger, Ross et al. 2011, arXiv
            1011.0686); from ``warmup`` on.
        greedy: whether the agent takes its most probable action instead of drawing one; None draws discrete ones, and
            takes the mean of continuous ones. DPT explores by drawing.
        initial: a checkpoint to take the first weights from, a folder or the name of an agent that ships (``ad``): what
            it has learnt to see in a context need not be learnt again. None draws them.
    """

    contexts: tuple[str, ...] = ("reference", "random")
    noise: float = 0.5
    on_policy: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        contexts = (self.contexts,) if isinstance(self.contexts, str) else tuple(self.contexts)
        object.__setattr__(self, "contexts", contexts)
        if not contexts or not all(isinstance(name, str) and name for name in contexts):
            raise ValueError(f"contexts must name at least one agent, received {self.contexts!r}.")
        if "oracle" in contexts:
            raise ValueError("contexts may not hold the oracle: its actions would give the task away.")


def _lifetimes_per_batch(longest: int) -> int:
    """Lifetimes in a gradient step of about `TARGET_STEPS`: a multiple of `LEAST_LIFETIMES`."""
    return LEAST_LIFETIMES * max(1, TARGET_STEPS // (LEAST_LIFETIMES * longest))


class InContextTrainer:
    """Trains a causal transformer to predict actions in the context of lifetimes; a `Trainer`.

    One update lives ``num_envs`` new lifetimes, cuts them into batches and takes one gradient step on each. Update k's
    lifetimes follow from the seed and k, so that weights, optimiser and counters are the whole state.

    Attributes:
        steps: environment steps trained on so far.
        network: the transformer.
    """

    def __init__(
        self,
        algorithm: str,
        env_id: Any,
        *,
        config: _InContextConfig,
        stream: dict[str, Any],
        settings: Mapping[str, Any],
        steps: int,
        num_envs: int | None,
        seed: int,
        device: str,
    ) -> None:
        for name, value, least in (("steps", steps, 1), ("num_envs", num_envs, 1), ("seed", seed, 0)):
            if name == "num_envs" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, received {value!r}.")
        self.algorithm, self.config, self.total = algorithm, config, int(steps)
        self.device = "cpu" if device == "auto" else device
        probe = HistoryStream(env_id, lifetimes=1, seed=seed, **stream, **settings)
        spec = probe.spec
        probe.close()
        longest = spec.steps
        self.batch = config.lifetimes_per_batch or _lifetimes_per_batch(longest)
        lanes = self.batch * BATCHES if num_envs is None else int(num_envs)
        self.stream = HistoryStream(env_id, lifetimes=lanes, seed=seed, **stream, **settings)
        self.spec: LifetimeSpec = self.stream.spec
        self.shape = TransformerShape(
            inputs=spec.layout.size,
            outputs=spec.actions,
            continuous=spec.continuous,
            layers=config.layers,
            width=config.width,
            heads=config.heads,
            window=config.window or longest,
        )
        self.network = CausalTransformer(self.shape, seed=int(seed)).to(self.device)
        if config.initial is None:
            self.network.normalise(*self._normalisation())
        else:
            self.network.load_state_dict(self._initial_weights(config.initial))
        self.log_std: torch.nn.Parameter | None = None
        if spec.continuous:
            self.log_std = torch.nn.Parameter(torch.zeros(spec.actions, device=self.device))
        named = dict(self.network.named_parameters())
        plain = [one for one in named.values() if one.ndim < 2] + ([] if self.log_std is None else [self.log_std])
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [one for one in named.values() if one.ndim >= 2], "weight_decay": config.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.99),
        )
        self.steps, self._updates = 0, 0

    def _normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale of the observation's columns.

        Columns within [-1, 1] stay as they are. The others are brought to mean 0 and standard deviation 1, as the first
        lifetimes show them: by their declared bounds alone, rewards that seldom leave a hundredth of them
        would all look alike.
        """
        low, high = self.spec.layout.low.astype(np.float64), self.spec.layout.high.astype(np.float64)
        shift, scale = np.zeros(len(low)), np.ones(len(low))
        wide = (low < -1.0) | (high > 1.0)
        if wide.any():
            first = self.stream.take()
            self.stream.position = 0
            rows = first.observations[first.present][:, wide].astype(np.float64)
            shift[wide] = rows.mean(axis=0)
            scale[wide] = 1.0 / np.maximum(rows.std(axis=0), 1e-3 * (high - low)[wide])
        return shift, scale

    def _initial_weights(self, initial: str) -> dict[str, torch.Tensor]:
        """The weights of another checkpoint, its columns' scales among them."""
        agent = make_agent(initial, self.spec)
        if not isinstance(agent, InContextAgent):
            raise ValueError(
                f"initial must be an in-context transformer, received {initial!r}, {type(agent).__name__}."
            )
        check_interface(agent.config["interface"], self.spec)
        if replace(agent.network.shape, window=self.shape.window) != self.shape:
            raise ValueError(f"initial={initial!r} is of shape {agent.network.shape}, expected {self.shape}.")
        return agent.network.state_dict()

    def _learning_rate(self) -> float:
        config = self.config
        share = min(1.0, self.steps / self.total)
        if share < config.warmup:
            return config.learning_rate * share / config.warmup
        left = 1.0 if share <= config.decay_from else (1.0 - share) / (1.0 - config.decay_from)
        return config.learning_rate * (config.final_learning_rate + (1.0 - config.final_learning_rate) * left)

    def _own_turn(self) -> bool:
        """Whether the learner lives this update's lifetimes itself: its share of the updates, evenly spread."""
        if self.steps < self.config.warmup * self.total:
            return False
        share = self.config.on_policy
        return math.floor((self._updates + 1) * share) > math.floor(self._updates * share)

    def advance(self) -> dict[str, float]:
        """One update.

        Returns:
            Means over the update: the loss, how often the most probable action was right (the mean absolute error if
            continuous), the learning rate.
        """
        histories = self.stream.take(self.agent() if self._own_turn() else None)
        losses, figures, rate = [], [], 0.0
        self.network.train()
        for start in range(0, len(histories), self.batch):
            batch = histories[start : start + self.batch]
            rate = self._learning_rate()
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            loss, figure = self._loss(batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
            self.optimizer.step()
            self.steps += batch.steps
            losses.append(loss.item())
            figures.append(figure)
        self._updates += 1
        figure_name = "train/mean_absolute_error" if self.spec.continuous else "train/accuracy"
        return {
            "train/loss": float(np.mean(losses)),
            figure_name: float(np.mean(figures)),
            "train/learning_rate": rate,
        }

    def _loss(self, batch: Histories) -> tuple[torch.Tensor, float]:
        """The loss of a batch, and the figure that people read."""
        rows = torch.from_numpy(batch.observations).to(self.device)
        present = torch.from_numpy(batch.present).to(self.device)
        labels = torch.from_numpy(batch.labels).to(self.device)[present]
        outputs = self.network(rows)[present]
        if self.log_std is None:
            with torch.no_grad():
                accuracy = (outputs.argmax(dim=-1) == labels).float().mean().item()
            return functional.cross_entropy(outputs, labels), accuracy
        log_std = self.log_std.clamp(min=LEAST_LOG_STD)
        errors = outputs - labels
        loss = (0.5 * (errors * torch.exp(-log_std)) ** 2 + log_std).sum(dim=-1).mean()
        return loss, errors.detach().abs().mean().item()

    def agent(self) -> InContextAgent:
        """The present policy as an agent; it acts with the very weights that are trained."""
        return InContextAgent.from_network(self.describe(), self.network, self._deviations())

    def _deviations(self) -> np.ndarray | None:
        if self.log_std is None:
            return None
        return self.log_std.detach().clamp(min=LEAST_LOG_STD).cpu().numpy().astype(np.float64)

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights that the agent acts with, as ``policy.safetensors`` holds them."""
        made = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.network.state_dict().items()}
        deviations = self._deviations()
        return made if deviations is None else made | {"log_std": deviations.astype(np.float32)}

    def describe(self) -> dict[str, Any]:
        """The parts of ``config.json`` that the trainer knows."""
        config = self.config
        greedy = self.spec.continuous if config.greedy is None else config.greedy
        return {
            "agent": CHECKPOINT_KIND,
            "algorithm": self.algorithm,
            "source": config.source if isinstance(config, ADConfig) else "oracle",
            "privileged": self.stream.privileged,
            "interface": describe_interface(self.spec),
            "policy": {
                "shape": asdict(self.shape),
                "greedy": bool(greedy),
                "parameters": sum(one.numel() for one in self.network.parameters()),
            },
            "num_envs": self.stream.lifetimes,
            "lifetimes_per_batch": self.batch,
        }

    def state(self) -> dict[str, Any]:
        """All that is needed to go on bit for bit."""
        return {
            "network": {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()},
            "log_std": None if self.log_std is None else self.log_std.detach().clone(),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "steps": self.steps,
            "updates": self._updates,
            "position": self.stream.position,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take up where `state` was taken, in a trainer made with the same arguments."""
        self.network.load_state_dict(state["network"])
        if self.log_std is not None:
            with torch.no_grad():
                self.log_std.copy_(state["log_std"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.steps, self._updates = int(state["steps"]), int(state["updates"])
        self.stream.position = int(state["position"])

    def close(self) -> None:
        """Close the environment."""
        self.stream.close()


def make_ad(
    env_id: Any,
    *,
    config: ADConfig | None = None,
    settings: Mapping[str, Any] | None = None,
    steps: int,
    num_envs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> InContextTrainer:
    """A trainer for algorithm distillation: predict the next action of a learning agent.

    Args:
        env_id: an environment's id, or ``"module:Class"``.
        config: how to train.
        settings: keyword arguments of the environment.
        steps: environment steps of the whole training, which the learning rate's schedule ends with.
        num_envs: lifetimes per update; by default eight batches of them.
        seed: an integer of at least 0, of weights and lifetimes.
        device: of the network, as torch names it.

    Raises:
        ValueError: an argument is unknown or out of range.
    """
    config = ADConfig() if config is None else config
    watched = config.noise > 0.0 or config.on_policy > 0.0
    stream = {
        "sources": config.source,
        "labels": config.source if watched else "actions",
        "noise": config.noise,
    }
    return InContextTrainer(
        "ad",
        env_id,
        config=config,
        stream=stream,
        settings=dict(settings or {}),
        steps=steps,
        num_envs=num_envs,
        seed=seed,
        device=device,
    )


def make_dpt(
    env_id: Any,
    *,
    config: DPTConfig | None = None,
    settings: Mapping[str, Any] | None = None,
    steps: int,
    num_envs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> InContextTrainer:
    """A trainer for the decision-pretrained transformer: predict the oracle's action.

    Args:
        env_id: an environment's id, or ``"module:Class"``.
        config: how to train.
        settings: keyword arguments of the environment.
        steps: environment steps of the whole training, which the learning rate's schedule ends with.
        num_envs: lifetimes per update; by default eight batches of them.
        seed: an integer of at least 0, of weights and lifetimes.
        device: of the network, as torch names it.

    Raises:
        ValueError: an argument is unknown or out of range.
    """
    config = DPTConfig() if config is None else config
    return InContextTrainer(
        "dpt",
        env_id,
        config=config,
        stream={"sources": config.contexts, "labels": "oracle", "noise": config.noise},
        settings=dict(settings or {}),
        steps=steps,
        num_envs=num_envs,
        seed=seed,
        device=device,
    )
