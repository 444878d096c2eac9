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

Layers may stand one behind the other. A further layer has codes, a hub and states of its own; what the items show it is
[e_i, h_i], and what all of them are shown is [y, g], of the layer before. So an item can conclude at once from what
follows from what all items say: this reading was to be expected from those that are known, or it was not. The equations
from a on are then about the last layer's e_i, h_i and g.
"""

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from daytwo.integrations.gru import LifetimeGru
from daytwo.integrations.item_cell import run_cell
from daytwo.integrations.lifetime_policy import LifetimePolicy, Schedule


class ItemLayer(nn.Module):
    """Codes, a hub and states of items; see the module's description.

    Attributes:
        item_code: X.
        shared_code: Y and b.
        say: from code and state to what an item says; see `item_cell`.
        hub_code: Q and q, the dense layer before the hub; None without one.
        hub: the hub's weights.
        unit: those of the items.
    """

    def __init__(
        self,
        own: int,
        shared: int,
        *,
        hidden_size: int,
        item_units: int,
        encoder_size: int,
        hub_layers: int,
        update_bias: float,
    ) -> None:
        """Make the layer.

        Args:
            own: K, numbers that belong to an item.
            shared: S, numbers that all items are shown.
            hidden_size: G, units of the hub.
            item_units: H, units of an item's state.
            encoder_size: E, numbers of an item's code and of what it says.
            hub_layers: dense layers before the hub, 0 or 1.
            update_bias: see `ItemPolicy`.
        """
        super().__init__()
        size = encoder_size
        self.item_code = nn.Linear(own, size, bias=False)
        self.shared_code = nn.Linear(shared, size)
        self.say = nn.Linear(size + item_units, size)
        self.hub_code = nn.Linear(shared + size, hidden_size) if hub_layers else None
        self.hub = LifetimeGru(hidden_size if hub_layers else shared + size, hidden_size, update_bias=update_bias)
        self.unit = LifetimeGru(size + hidden_size, item_units, update_bias=update_bias)

    def dense(self) -> list[nn.Linear]:
        """Its dense layers."""
        plain = [self.item_code, self.shared_code, self.say]
        return plain if self.hub_code is None else [*plain, self.hub_code]

    def forward(
        self, own: torch.Tensor, shown: torch.Tensor, hub: torch.Tensor, states: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All steps.

        Args:
            own: ``[T, N, n, K]``.
            shown: ``[T, N, S]``.
            hub: ``[N, G]``, before the first step; no gradient reaches it.
            states: ``[N, n, H]``, before the first step; no gradient reaches them.
            keep: ``[T, N]``, 0 where a lifetime begins.

        Returns:
            States of the hub, ``[T, N, G]``, and of the items, ``[T, N, n, H]``, and codes, ``[T, N, n, E]``.
        """
        linear, size, units = torch.nn.functional.linear, self.say.out_features, self.unit.size
        codes = torch.tanh(self.item_code(own) + self.shared_code(shown).unsqueeze(-2))
        from_codes, from_units = self.say.weight.split([size, units], dim=1)
        before = (self.hub.input_weight, self.hub.input_bias)
        dense = () if self.hub_code is None else before
        into_hub, hub_bias = before if self.hub_code is None else (self.hub_code.weight, self.hub_code.bias)
        by_shown, by_said = into_hub.split([shown.shape[-1], size], dim=1)
        to_units, by_hub = self.unit.input_weight.split([size, self.hub.size], dim=1)
        # One product for all that is taken from the codes.
        taken = linear(codes, torch.cat([from_codes, to_units]), torch.cat([self.say.bias, self.unit.input_bias]))
        said, into = taken.split([size, 3 * units], dim=-1)
        hubs, after = run_cell(
            said,
            into,
            linear(shown, by_shown, hub_bias),
            hub,
            states,
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
        return hubs, after, codes


class ItemPolicy(LifetimePolicy):
    """A policy over items; see the module's description.

    Attributes:
        item_columns: ``int64[n, K]``, each item's own columns of what is seen.
        shared_columns: ``int64[S]``, all others.
        first_action: ``int64[1]``, the first of the n actions that each name an item; -1 if none does.
        layers: one behind the other.
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
        "layers.",
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
        item_layers: int = 1,
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
            item_layers: layers, one behind the other.
            encoder_size: numbers of an item's code, of what it says and of what it answers.
            hub_layers: dense layers before every hub, 0 or 1.
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
        options: Any = {
            "hidden_size": hidden_size,
            "item_units": item_units,
            "encoder_size": size,
            "hub_layers": hub_layers,
            "update_bias": update_bias,
        }
        first = ItemLayer(own.shape[1], seen, **options)
        further = [ItemLayer(size + item_units, seen + hidden_size, **options) for _ in range(item_layers - 1)]
        self.layers = nn.ModuleList([first, *further])
        self.answer = nn.Linear(size + item_units, size)
        self.mixture = nn.Linear(hidden_size + size + seen, hidden_size)
        for layer in [dense for one in [first, *further] for dense in one.dense()] + [self.answer, self.mixture]:
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
            "hidden_size": self._last.hub.size,
            "item_units": self._last.unit.size,
            "item_layers": len(self.layers),
            "encoder_size": self._last.say.out_features,
            "hub_layers": 0 if self._last.hub_code is None else 1,
        }
        return data

    @property
    def _last(self) -> ItemLayer:
        return self.layers[-1]  # type: ignore[return-value]

    @property
    def state_size(self) -> int:
        """Numbers of the state: layer by layer the hub's units, then each item's."""
        return len(self.layers) * (self._last.hub.size + len(self.item_columns) * self._last.unit.size)

    def _run(
        self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The last hub's states, ``[T, N, G]``, every layer's state after the last step, and what the heads read."""
        items, size, units = len(self.item_columns), self._last.say.out_features, self._last.unit.size
        scaled = observations * self.input_scale
        own = scaled.index_select(-1, self.item_columns.flatten()).unflatten(-1, (items, -1))
        shown = scaled.index_select(-1, self.shared_columns)
        width = self._last.hub.size
        known, told, after = own, shown, list[torch.Tensor]()
        for layer, before in zip(self.layers, start.chunk(len(self.layers), dim=1), strict=True):
            hub, units_before = before.split([width, items * units], dim=1)
            hub, states, codes = layer(known, told, hub, units_before.unflatten(1, (items, units)), keep)
            known, told = torch.cat([codes, states], dim=-1), torch.cat([shown, hub], dim=-1)
            after += [hub[-1], states[-1].flatten(1)]
        answers = torch.tanh(self.answer(known)).sum(-2) * items**-0.5
        mixture = torch.tanh(self.mixture(torch.cat([hub, answers, shown], dim=-1)))
        parts = [hub, mixture, answers]
        if self.score is not None and self.score_weight is not None:
            of_items, of_mixture = self.score.weight.split([size + units, width], dim=1)
            linear = torch.nn.functional.linear
            across = linear(known, of_items, self.score.bias) + linear(mixture, of_mixture).unsqueeze(-2)
            parts.append(torch.relu(across) @ self.score_weight)
        return hub, torch.cat(after, dim=1), torch.cat(parts, dim=-1)

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
            _, after, read = self._run(observations.unsqueeze(0), state, keep.unsqueeze(0))
            return after, read[0]
