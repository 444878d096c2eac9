"""A policy of `daytwo.integrations.rl2` for observations that say the same of several items, such as arms or switches.

What it has learnt to do with one item it does with all of them, for they share their weights, and there is a state for
each (`daytwo.integrations.item_cell`). What it computes is also what `daytwo.item_network.ItemNetwork` computes without
torch. With x_i the item's own numbers of the observation and y all others, at every step:

    e_i = tanh(X x_i + Y y + b)                        codes
    g, h_i                                             the hub's state and the items' (`item_cell`)
    a = sum_i tanh(A [e_i, h_i] + c) / sqrt(n)         what the items answer
    x = tanh(C [g, a, y] + d)                          the mixture
    s_i = w . relu(S [e_i, h_i, x] + f)                the items' scores, where actions name items

Heads read g, x, a and the scores, which are at first those of the actions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from daytwo.integrations.gru import LifetimeGru
from daytwo.integrations.item_cell import run_cell
from daytwo.integrations.lifetime_policy import LifetimePolicy, Schedule


class ItemPolicy(LifetimePolicy):
    """A policy over items; see the module's description.

    Attributes:
        item_columns: ``int64[n, K]``, each item's own columns of what is seen.
        shared_columns: ``int64[S]``, all others.
        first_action: ``int64[1]``, the first of the n actions that each name an item; -1 if none does.
        item_code: X.
        shared_code: Y and b.
        say: from code and state to what an item says; see `item_cell`.
        hub_code: Q and q, the dense layer before the hub; None without one.
        hub: the hub's weights.
        unit: those of the items.
        answer: A and c.
        mixture: C and d.
        score: S and f.
        score_weight: w.
    """

    acts_with = (
        "input_scale",
        "item_columns",
        "shared_columns",
        "first_action",
        "item_code.",
        "shared_code.",
        "say.",
        "hub_code.",
        "hub.",
        "unit.",
        "answer.",
        "mixture.",
        "score.",
        "score_weight",
        "action_net.",
        "log_std",
    )

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        columns: Sequence[Sequence[int]],
        first_action: int | None = None,
        hidden_size: int = 64,
        item_units: int = 32,
        encoder_size: int = 32,
        hub_layers: int = 0,
        update_bias: float = 1.0,
        previous: bool = True,
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
            columns: for every item its columns of the observation, as many for each.
            first_action: the first of the actions that each name an item; None if none does.
            hidden_size: G, units of the hub, and of the mixture.
            item_units: H, units of an item's state.
            encoder_size: numbers of an item's code, of what it says and of what it answers.
            hub_layers: dense layers before the hub, 0 or 1.
            update_bias: of the update gates at the start: above 0 states are kept longer before training.
            previous: show the observation before the present one as well (zeros when a lifetime begins).
            value_size: hidden units of the value's head.
            std: standard deviation of continuous actions at the start.
            auxiliary: add a head that predicts the oracle's action (training only).
            belief: outputs of a head that predicts the hidden task (training only); 0 for none.
        """
        super().__init__(observation_space, action_space, previous)
        width = observation_space.shape[0]
        own = torch.tensor([list(map(int, row)) for row in columns])
        if own.ndim != 2 or not own.numel() or int(own.min()) < 0 or int(own.max()) >= width:
            raise ValueError(f"columns must be as many of the {width} columns for every item, received {columns}.")
        items = len(own)
        if first_action is not None and (self.continuous or not 0 <= first_action <= self.outputs - items):
            raise ValueError(f"{items} actions from {first_action} on must be among {action_space}.")
        shared = torch.tensor([column for column in range(width) if column not in set(own.flatten().tolist())])
        if previous:
            own, shared = torch.cat([own, own + width], dim=1), torch.cat([shared, shared + width])
        self.item_columns: torch.Tensor
        self.shared_columns: torch.Tensor
        self.first_action: torch.Tensor
        self.register_buffer("item_columns", own)
        self.register_buffer("shared_columns", shared.long())
        self.register_buffer("first_action", torch.tensor([-1 if first_action is None else int(first_action)]))
        seen, size = len(shared), encoder_size
        self.item_code = nn.Linear(own.shape[1], size, bias=False)
        self.shared_code = nn.Linear(seen, size)
        self.say = nn.Linear(size + item_units, size)
        self.hub_code = nn.Linear(seen + size, hidden_size) if hub_layers else None
        self.hub = LifetimeGru(hidden_size if hub_layers else seen + size, hidden_size, update_bias=update_bias)
        self.unit = LifetimeGru(size + hidden_size, item_units, update_bias=update_bias)
        self.answer = nn.Linear(size + item_units, size)
        self.mixture = nn.Linear(hidden_size + size + seen, hidden_size)
        plain = [self.item_code, self.shared_code, self.say, self.answer, self.mixture]
        for layer in plain if self.hub_code is None else [*plain, self.hub_code]:
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.score: nn.Linear | None = None
        self.score_weight: nn.Parameter | None = None
        read = 2 * hidden_size + size
        if first_action is not None:
            self.score = nn.Linear(size + item_units + hidden_size, item_units)
            nn.init.orthogonal_(self.score.weight)
            nn.init.zeros_(self.score.bias)
            self.score_weight = nn.Parameter(0.02 * torch.randn(item_units))
            read += items
        self._make_heads(read, hidden_size, lr_schedule, value_size, std, auxiliary, belief)
        if first_action is not None:  # at first these actions have their items' scores
            rows = slice(first_action, first_action + items)
            self.action_net.weight.data[:, -items:] = 0.0
            self.action_net.weight.data[rows, -items:] = torch.eye(items)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        own, first = self.item_columns, int(self.first_action)
        data |= {
            "columns": own[:, : own.shape[1] // 2 if self.previous else None].tolist(),
            "first_action": None if first < 0 else first,
            "hidden_size": self.hub.size,
            "item_units": self.unit.size,
            "encoder_size": self.say.out_features,
            "hub_layers": 0 if self.hub_code is None else 1,
        }
        return data

    @property
    def state_size(self) -> int:
        """Numbers of the state: the hub's units, then each item's."""
        return self.hub.size + len(self.item_columns) * self.unit.size

    def _run(
        self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States of the hub, ``[T, N, G]``, and of the items, ``[T, N, n, H]``, and what the heads read."""
        items, size, units = len(self.item_columns), self.say.out_features, self.unit.size
        scaled = observations * self.input_scale
        own = scaled.index_select(-1, self.item_columns.flatten()).unflatten(-1, (items, -1))
        shown = scaled.index_select(-1, self.shared_columns)
        codes = torch.tanh(self.item_code(own) + self.shared_code(shown).unsqueeze(-2))
        linear = torch.nn.functional.linear
        from_codes, from_units = self.say.weight.split([size, units], dim=1)
        before = (self.hub.input_weight, self.hub.input_bias)
        dense = () if self.hub_code is None else before
        into_hub, hub_bias = before if self.hub_code is None else (self.hub_code.weight, self.hub_code.bias)
        by_shown, by_said = into_hub.split([len(self.shared_columns), size], dim=1)
        to_units, by_hub = self.unit.input_weight.split([size, self.hub.size], dim=1)
        # One product for all that is taken from the codes.
        taken = linear(codes, torch.cat([from_codes, to_units]), torch.cat([self.say.bias, self.unit.input_bias]))
        said, into = taken.split([size, 3 * units], dim=-1)
        hub, states = run_cell(
            said,
            into,
            linear(shown, by_shown, hub_bias),
            start[:, : self.hub.size],
            start[:, self.hub.size :].unflatten(1, (items, units)),
            keep,
            from_units,
            by_said,
            self.hub.state_weight,
            self.hub.state_bias,
            by_hub,
            self.unit.state_weight,
            self.unit.state_bias,
            *dense,
        )
        known = torch.cat([codes, states], dim=-1)
        answers = torch.tanh(self.answer(known)).sum(-2) * items**-0.5
        mixture = torch.tanh(self.mixture(torch.cat([hub, answers, shown], dim=-1)))
        parts = [hub, mixture, answers]
        if self.score is not None and self.score_weight is not None:
            of_items, of_mixture = self.score.weight.split([size + units, self.hub.size], dim=1)
            across = linear(known, of_items, self.score.bias) + linear(mixture, of_mixture).unsqueeze(-2)
            parts.append(torch.relu(across) @ self.score_weight)
        return hub, states, torch.cat(parts, dim=-1)

    def unroll(
        self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The hub's states and what the heads read; see `LifetimePolicy.unroll`."""
        hub, _, read = self._run(observations, start, keep)
        return hub, read

    def step(
        self, observations: torch.Tensor, state: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step, without gradients; see `LifetimePolicy.step`."""
        with torch.no_grad():
            hub, states, read = self._run(observations.unsqueeze(0), state, keep.unsqueeze(0))
            return torch.cat([hub[0], states[0].flatten(1)], dim=1), read[0]
