"""What all policies of `daytwo.integrations.rl2` have in common: heads over a memory that lasts for a lifetime."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from torch import nn

# What a Stable-Baselines3 schedule is: a function of the share of training that remains, from 1 to 0.
Schedule = Callable[[float], float]


class LifetimePolicy(BasePolicy):
    """Heads for actions and values, and acting; a subclass says what they read.

    Attributes:
        acts_with: beginnings of the names of the weights that `tensors` gives.
        previous: whether the observation before the present one is shown as well.
        continuous: whether actions are.
        outputs: numbers that an action is chosen by.
        input_scale: ``float32[D]``, what observations are multiplied with; learnt from the first rollout.
    """

    acts_with: tuple[str, ...] = ()

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Space, previous: bool) -> None:
        """Look at what is seen and done.

        Args:
            observation_space: a flat Box.
            action_space: Discrete, or a Box in [-1, 1].
            previous: show the observation before the present one as well (zeros when a lifetime begins).
        """
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 1:
            raise ValueError(
                f"{type(self).__name__} takes flat observations (a Box of one dimension), received {observation_space}."
            )
        if not isinstance(action_space, spaces.Discrete | spaces.Box):
            raise ValueError(f"{type(self).__name__} takes Discrete or Box actions, received {action_space}.")
        super().__init__(observation_space, action_space)
        self.continuous = isinstance(action_space, spaces.Box)
        self.outputs = action_space.shape[0] if isinstance(action_space, spaces.Box) else int(action_space.n)
        self.previous = previous
        self.input_scale: torch.Tensor
        self.register_buffer("input_scale", torch.ones(observation_space.shape[0] * (2 if previous else 1)))

    def _make_heads(
        self, read: int, hidden: int, lr_schedule: Schedule, value_size: int, std: float, auxiliary: bool, belief: int
    ) -> None:
        """Make the heads and the optimiser, when everything else is made.

        Args:
            read: R, numbers that the heads read.
            hidden: numbers of the memory that the hidden task is predicted from.
            lr_schedule: learning rate by the share of training that remains.
            value_size: hidden units of the value's head.
            std: standard deviation of continuous actions at the start.
            auxiliary: add a head that predicts the oracle's action (training only).
            belief: outputs of a head that predicts the hidden task (training only); 0 for none.
        """
        self.action_net = nn.Linear(read, self.outputs)
        self.value_net = nn.Sequential(nn.Linear(read + 1, value_size), nn.ReLU(), nn.Linear(value_size, 1))
        self.auxiliary_net = nn.Linear(read, self.outputs) if auxiliary else None
        self.belief_net = nn.Linear(hidden, belief) if belief else None
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
            "previous": self.previous,
            "value_size": self.value_net[0].out_features,
            "auxiliary": self.auxiliary_net is not None,
            "belief": 0 if self.belief_net is None else self.belief_net.out_features,
        }
        return data

    @property
    def state_size(self) -> int:
        """Numbers of the state."""
        raise NotImplementedError

    def unroll(
        self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The memory's states, ``[T, N, H]``, and what the heads read, ``[T, N, R]``.

        Args:
            observations: ``[T, N, D]``.
            start: state before the first step, ``[N, state_size]``.
            keep: ``[T, N]``: 0 where a lifetime begins with this step's observation, else 1.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def forward(self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """What the heads read, ``[T, N, R]``; see `unroll`."""
        return self.unroll(observations, start, keep)[1]

    def value(self, states: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Normalised values of ``states[..., R]``, as heads read them, at ``time[...]``, the share of the lifetime."""
        first, last = self.value_net[0], self.value_net[2]
        weight = first.weight
        hidden = torch.nn.functional.linear(states, weight[:, :-1], first.bias)  # type: ignore[index,arg-type]
        hidden = torch.relu_(hidden.addcmul(time.unsqueeze(-1), weight[:, -1]))  # type: ignore[index]
        return last(hidden).squeeze(-1)

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights it acts with, as `daytwo.networks.Network` or `daytwo.item_network.ItemNetwork` takes them."""
        return {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in self.state_dict().items()
            if name.startswith(self.acts_with)
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
