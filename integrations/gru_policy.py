"""The policy of `daytwo.integrations.rl2`: a GRU, in most checkpoints with a memory of another kind before it.

What it computes is also what `daytwo.networks.Network` computes without torch, from the weights that `tensors` gives.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from daytwo.integrations.gru import LifetimeGru, clear, step_gates
from daytwo.integrations.keyed_memory import KeyedMemory
from daytwo.integrations.lifetime_policy import LifetimePolicy, Schedule
from daytwo.integrations.place_memory import PlaceMemory
from daytwo.integrations.slot_reader import SlotPlan, SlotReader
from daytwo.places import PlacePlan
from daytwo.slots import SHOWN


class GruPolicy(LifetimePolicy):
    """A policy with a GRU for a memory: [encoder ->] GRU -> actions, and beside them GRU and time -> value.

    With a keyed memory: encoder [-> front] -> memory -> GRU -> actions, where each takes in what all before it gave.

    Attributes:
        gru: the memory.
        memory: beside it a keyed one, if there is one.
        deeper: further keyed ones, of which each looks at what those before it recall. In the state, the contents of
            all follow the GRU's units, and then what all but the last recalled.
        front: a GRU that tells the keyed memory what to store, and where; its units come next in the state.
        places: a content for every place; its state comes next.
        slots: shows the encoder what was used and gives heads scores of pairs, if things lie in slots; what it knows of
            the second things comes last in the state.
    """

    acts_with = (
        "input_scale",
        "clear_column",
        "encoder.",
        "front.",
        "memory.",
        "deeper.",
        "places.",
        "gru.",
        "gate.",
        "slots.",
        "action_net.",
        "log_std",
    )

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
        places: Sequence[int] | None = None,
        place_contents: int = 16,
        place_plans: bool = False,
        slots: Sequence[int] | None = None,
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
            memory_units: units of a GRU in front of the keyed memory or that of places; 0 for none. With it, the gate
                (``gated``) covers what is recalled as well.
            memory_products: the keyed memory's keys are products of two maps.
            memory_columns: numbers of the observation that its keys come from at first; None for all.
            clear_column: a number of the observation; one step after it was 1 the GRUs begin anew, so that only what
                the keyed memory and that of places hold lasts. None for never.
            places: a `daytwo.places.PlacePlan`, by which the policy keeps a content for every place (see
                `PlaceMemory`), behind the keyed memories if there are any; it needs an encoder and ``previous``. None
                for none.
            place_contents: numbers of a place's content.
            place_plans: plan ways to other places over what is stored of them.
            slots: a `daytwo.integrations.slot_reader.SlotPlan`, where actions put two things together; it needs an
                encoder and ``previous``. None for actions that do not.
            value_size: hidden units of the value's head.
            std: standard deviation of continuous actions at the start.
            auxiliary: add a head that predicts the oracle's action (training only).
            belief: outputs of a head that predicts the hidden task (training only); 0 for none.
        """
        super().__init__(observation_space, action_space, previous)
        inputs = observation_space.shape[0] * (2 if previous else 1)
        listed = None if slots is None else SlotPlan(*map(int, slots))
        if listed is not None:
            if not encoder_size or not previous:
                raise ValueError("Things in slots need an encoder_size of at least 1 and previous=True.")
            if self.continuous or self.outputs != listed.actions:
                raise ValueError(f"These slots have {listed.actions} actions, received {action_space}.")
            inputs += SHOWN
        self.encoder: nn.Linear | None = None
        if encoder_size:
            self.encoder = nn.Linear(inputs, encoder_size)
            nn.init.orthogonal_(self.encoder.weight)
            nn.init.zeros_(self.encoder.bias)
        if clear_column is not None and not previous:
            raise ValueError("A clear_column is looked for in the previous observation: it needs previous=True.")
        self.clear_column: torch.Tensor | None
        self.register_buffer("clear_column", None if clear_column is None else torch.tensor([int(clear_column)]))
        self.memory: KeyedMemory | None = None
        self.deeper = nn.ModuleList()
        self.front: LifetimeGru | None = None
        self.places: PlaceMemory | None = None
        seen, recalled = encoder_size or inputs, 0
        if (memory_heads or places is not None) and not (encoder_size and previous):
            raise ValueError(
                "A keyed memory (memory_heads) and one of places need an encoder_size of at least 1 and previous=True."
            )
        if memory_units and (memory_heads or places is not None):
            self.front = LifetimeGru(seen, memory_units, update_bias=update_bias)
            seen += memory_units
        if memory_heads:
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
        if places is not None:
            plan = PlacePlan(*map(int, places))
            self.places = PlaceMemory(plan, observation_space.shape[0], seen + recalled, place_contents, place_plans)
            recalled += self.places.outputs
        self.recalled = recalled
        self.gru = LifetimeGru(seen + recalled, hidden_size, update_bias=update_bias)
        looked_at = 0 if not gated else hidden_size if self.front is None else hidden_size + recalled
        self.gate = nn.Linear(seen + recalled, looked_at) if gated else None
        read = hidden_size + looked_at + recalled
        self.slots: SlotReader | None = None
        if listed is not None:
            self.slots = SlotReader(listed, encoder_size, read, observation_space.low, observation_space.high)
            read += self.outputs
        self._make_heads(read, hidden_size, lr_schedule, value_size, std, auxiliary, belief)
        if self.slots is not None:  # at first actions have the scores of their pairs
            self.action_net.weight.data[:, -self.outputs :] = torch.eye(self.outputs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data |= {
            "hidden_size": self.gru.size,
            "encoder_size": 0 if self.encoder is None else self.encoder.out_features,
            "gated": self.gate is not None,
            "memory_heads": 0 if self.memory is None else self.memory.heads,
            "memory_layers": 1 + len(self.deeper),
            "memory_keys": 32 if self.memory is None else self.memory.key_size,
            "memory_contents": 16 if self.memory is None else self.memory.value_size,
            "memory_units": 0 if self.front is None else self.front.size,
            "memory_products": self.memory is not None and self.memory.product_weight is not None,
            "clear_column": None if self.clear_column is None else int(self.clear_column),
            "places": None if self.places is None else tuple(self.places.plan.tolist()),
            "place_contents": 16 if self.places is None else self.places.value_size,
            "place_plans": self.places is not None and self.places.kinds > 0,
            "slots": None if self.slots is None else tuple(self.slots.plan),
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
        """Numbers of its parts.

        They are the GRU's units, every memory's contents, what all but the last recalled, the front's units, the
        state of the memory of places and the contents of the slots' memories.
        """
        memories = self._memories()
        contents = [memory.size for memory in memories]
        looked_at = sum(memory.outputs for memory in memories[:-1])
        others = [0 if part is None else part.size for part in (self.front, self.places, self.slots)]
        return [self.gru.size, *contents, looked_at, *others]

    def _take_in(
        self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """What the GRU takes in, ``[T, N, E]``, the state after the last step but for the GRU's, and what is known.

        It takes in what is seen, the state in front and what the keyed memories recall. What is known is what the
        slots' memories recall of second things and of pairs, if there are slots.
        """
        scaled = observations * self.input_scale
        shown = scaled if self.slots is None else torch.cat([scaled, self.slots.used(observations)], dim=-1)
        seen = shown if self.encoder is None else torch.tanh(self.encoder(shown))
        _, *contents, looked_at, before, visited, stored = start.split(self._state_sizes(), dim=1)
        recalled: torch.Tensor | None = None
        if self.slots is not None:
            recalled, stored = self.slots.recall(observations, shown[..., scaled.shape[-1] :], seen, stored, keep)
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
            found, kept = memory(scaled, seen, contents[k], keep, path)
            seen = torch.cat([seen, found], dim=-1)
            after.append(kept)
            if k + 1 < len(memories):
                earlier = looked_at[:, known : known + memory.outputs].unsqueeze(0)
                part = torch.cat([earlier, found])
                path = part if path is None else torch.cat([path, part], dim=-1)
                last.append(found[-1].detach())
                known += memory.outputs
        if self.places is not None:
            found, visited = self.places(observations, seen, visited, keep)
            seen = torch.cat([seen, found], dim=-1)
        return seen, torch.cat([*after, *last, before, visited, stored], dim=-1), recalled

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

    def _read(
        self, states: torch.Tensor, taken: torch.Tensor, observations: torch.Tensor, known: torch.Tensor | None
    ) -> torch.Tensor:
        """What the heads read, ``[..., R]``: states, these times the gate if there is one, what is recalled, pairs.

        Args:
            states: ``[..., H]``, the GRU's.
            taken: ``[..., E]``, what the GRU took in.
            observations: ``[..., D]``.
            known: ``[..., n + m n, CONTENT]``, of second things and of pairs, if there are slots.
        """
        parts = [states]
        recalled = [taken[..., -self.recalled :]] if self.recalled else []
        if self.gate is not None:
            looked_at = states if self.front is None else torch.cat([states, *recalled], dim=-1)
            parts.append(looked_at * torch.sigmoid(self.gate(taken)))
        parts += recalled
        read = states if len(parts) == 1 else torch.cat(parts, dim=-1)
        return read if self.slots is None else torch.cat([read, self.slots(observations, read, known)], dim=-1)

    def unroll(
        self, observations: torch.Tensor, start: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The GRU's states and what the heads read; see `LifetimePolicy.unroll`."""
        taken, _, known = self._take_in(observations, start, keep)
        states = self.gru(taken, start[:, : self.gru.size], self._kept(observations, keep))
        return states, self._read(states, taken, observations, known)

    def step(
        self, observations: torch.Tensor, state: torch.Tensor, keep: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step, without gradients; see `LifetimePolicy.step`."""
        with torch.no_grad():
            rows, kept = observations.unsqueeze(0), keep.unsqueeze(0)
            taken, rest, known = self._take_in(rows, state, kept)
            new = self._run(self.gru, taken, state[:, : self.gru.size], self._kept(rows, kept))[0]
            read = self._read(new, taken[0], observations, None if known is None else known[0])
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
