"""Things in slots: what was used, what is known of each thing, and how well two things go together.

Where an observation lists things, such as three stones and twelve potions, and an action puts two of them together, a
dense layer has to learn anew for every slot what each thing is, and a linear read-out cannot tell which stone goes with
which potion: that is a question about pairs. This layer shares one code among all slots of a kind, stores what a second
thing did under keys computed from the codes, looks up what is known of all that there are, and scores pairs:

    e_i = tanh(W x_i + b)                              the code of slot i
    S <- S + u k^T,  y = S q                           two memories, of what was used in the last step and of what is
                                                       there; u as in `keyed_memory`, keys k and q at length 1:
    K e_j;  (K' e_j) * (L e_i)                         of the second things alone, and of pairs
    m_i = A e_i + B h + (C e_i) * (D h)                what slot i means, given what the heads read, h
    score(i, j) = w . relu(m_i + m_j + E y_j + F y_ij) additive attention over pairs

Scores of actions from the things that are there are those of pointer networks (Vinyals et al. 2015, arXiv 1506.03134),
in the form of Bahdanau et al. 2014 (arXiv 1409.0473, section A.1.2). At first, a code says between which marks a number
lies, so that colours coded as numbers can be told apart.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from daytwo.integrations.keyed_memory import run_memory
from daytwo.slots import CODE, CONTENT, KEY, MEANING, MEMORIES

STEEPNESS = 2.0  # of the marks, in widths between them


class SlotPlan(NamedTuple):
    """Where things lie in an observation, and which action takes which.

    Action 0 takes none. Then follow, for each of the first things, the action that takes it alone and those that take
    it together with each of the second things.

    Attributes:
        first: first column of the first things.
        firsts: how many there are.
        first_size: numbers of each.
        second: first column of the second things.
        seconds: how many there are.
        second_size: numbers of each.
        action: first column of the previous action, one-hot.
    """

    first: int
    firsts: int
    first_size: int
    second: int
    seconds: int
    second_size: int
    action: int

    @property
    def actions(self) -> int:
        """Actions there are."""
        return 1 + self.firsts * (1 + self.seconds)


def _marks(inputs: int, low: Any, high: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases with which every unit says on which side of a mark one of the numbers lies."""
    weight, bias = torch.zeros(CODE, inputs), torch.zeros(CODE)
    for number in range(inputs):
        units = range(number, CODE, inputs)
        least, most = float(low[number]), float(high[number])
        width = (most - least) / len(units)
        for k, unit in enumerate(units):
            weight[unit, number] = STEEPNESS / width
            bias[unit] = -(least + (k + 0.5) * width) * STEEPNESS / width
    return weight, bias


class ThingMemory(nn.Module):
    """What second things did, alone or with one of the first, and what that means for scores.

    Attributes:
        key: K or K'.
        partner_key: L; None where keys are those of second things alone.
        stored: from what the encoder gives to the candidate and the gate of what is stored.
        content_weight: ``[1, 2 CONTENT, CONTENT]``: how these depend on what stands there.
        known: E or F.
    """

    def __init__(self, seen: int, pairs: bool) -> None:
        """Make the layer.

        Args:
            seen: numbers that the encoder gives.
            pairs: keys are those of pairs.
        """
        super().__init__()
        self.key = nn.Linear(CODE, KEY, bias=False)
        self.partner_key = nn.Linear(CODE, KEY, bias=False) if pairs else None
        self.stored = nn.Linear(seen, 2 * CONTENT)
        self.content_weight = nn.Parameter(torch.zeros(1, 2 * CONTENT, CONTENT))
        self.known = nn.Linear(CONTENT, MEANING, bias=False)
        keys = [self.key.weight.data, *([] if self.partner_key is None else [self.partner_key.weight.data])]
        for part in (*keys, *self.stored.weight.data.split(CONTENT), self.known.weight.data):
            nn.init.orthogonal_(part)
        # Little is written before it is known what is worth it.
        self.stored.bias.data[:CONTENT], self.stored.bias.data[CONTENT:] = 0.0, -1.0

    def _keys(self, second: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
        """Keys of codes that lie side by side, ``[..., KEY]``."""
        key = self.key(second)
        return key if self.partner_key is None else key * self.partner_key(first)

    def forward(
        self,
        used: tuple[torch.Tensor, torch.Tensor],
        there: tuple[torch.Tensor, torch.Tensor],
        seen: torch.Tensor,
        start: torch.Tensor,
        keep: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store what was done, and look up what is known.

        Args:
            used: codes of the first thing and of the second that were used in the last step, ``[T, N, CODE]``; zeros
                for none, of which nothing is stored.
            there: codes of the first things that there are, ``[T, N, m, CODE]``, and of the second, of n.
            seen: ``[T, N, E]``, what the encoder gives.
            start: contents before the first step, ``[N, CONTENT KEY]``.
            keep: ``[T, N]``: 0 where a lifetime begins.

        Returns:
            ``[T, N, p, CONTENT]``, p = n, or m n for pairs, and the contents after the last step.
        """
        first, second = there
        if self.partner_key is None:
            queries = self.key(second)
        else:
            queries = (self.partner_key(first).unsqueeze(-2) * self.key(second).unsqueeze(-3)).flatten(-3, -2)
        projections = torch.cat([self._keys(used[1], used[0]), queries.flatten(-2), self.stored(seen)], dim=-1)
        contents = start.view(len(start), 1, CONTENT, KEY)
        recalled, after = run_memory(projections.unsqueeze(2), contents, keep, self.content_weight)
        return recalled.squeeze(2), after.flatten(1)


class SlotReader(nn.Module):
    """Shows what was used, and scores actions by pairs of things; see the module's description.

    Attributes:
        places: ``int64[7]``, the plan.
        first_code: from one of the first things to its code.
        second_code: the same for the second things.
        first_meaning: from its code to ``A e`` and ``C e``.
        second_meaning: the same for the second things.
        memories: of second things alone, and of pairs.
        asked: from what the heads read to ``B h`` and ``D h`` of the first things, and of the second.
        alone: ``[MEANING]``, what stands for the second thing where there is none.
        weight: ``[2, MEANING]``: w of pairs, and of things alone.
    """

    def __init__(self, plan: SlotPlan, seen: int, read: int, low: Any, high: Any) -> None:
        """Make the layer.

        Args:
            plan: where things lie.
            seen: numbers that the encoder gives.
            read: R, numbers that the heads read.
            low: of every number of an observation, the least.
            high: the most.
        """
        super().__init__()
        self.plan = plan
        self.places: torch.Tensor
        self.register_buffer("places", torch.tensor(plan))
        self.first_code, self.second_code = nn.Linear(plan.first_size, CODE), nn.Linear(plan.second_size, CODE)
        for code, at in ((self.first_code, plan.first), (self.second_code, plan.second)):
            weight, bias = _marks(code.in_features, low[at:], high[at:])
            code.weight.data[:], code.bias.data[:] = weight, bias
        self.first_meaning, self.second_meaning = nn.Linear(CODE, 2 * MEANING), nn.Linear(CODE, 2 * MEANING)
        self.asked = nn.Linear(read, 4 * MEANING)
        for layer in (self.first_meaning, self.second_meaning, self.asked):
            for part in layer.weight.data.split(MEANING):
                nn.init.orthogonal_(part)
            nn.init.zeros_(layer.bias)
        self.memories: Any = nn.ModuleList(ThingMemory(seen, pairs) for pairs in (False, True))
        self.alone = nn.Parameter(torch.zeros(MEANING))
        self.weight = nn.Parameter(0.02 * torch.randn(2, MEANING))

    def _codes(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes of the first things, ``[..., n, CODE]``, and of the second."""
        plan = self.plan
        first = observations[..., plan.first : plan.first + plan.firsts * plan.first_size]
        second = observations[..., plan.second : plan.second + plan.seconds * plan.second_size]
        first = first.unflatten(-1, (plan.firsts, plan.first_size))
        second = second.unflatten(-1, (plan.seconds, plan.second_size))
        return torch.tanh(self.first_code(first)), torch.tanh(self.second_code(second))

    @property
    def size(self) -> int:
        """Numbers of the state."""
        return MEMORIES * CONTENT * KEY

    def _last(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which of the first things was used in the last step, ``[..., n]``, and which of the second, one-hot."""
        plan = self.plan
        action = observations[..., plan.action + 1 : plan.action + plan.actions]
        action = action.unflatten(-1, (plan.firsts, 1 + plan.seconds))
        return action.sum(-1), action[..., 1:].sum(-2)

    def used(self, observations: torch.Tensor) -> torch.Tensor:
        """What was used in the last step, and what there is.

        Args:
            observations: ``[..., 2 O]``: the present ones and those before.

        Returns:
            ``[..., SHOWN]``: codes of the first thing that was used, before and after, and of the second before, zeros
            for none; mean codes of the first things, and of the second.
        """
        width = observations.shape[-1] // 2
        first, second = self._codes(observations[..., :width])
        first_before, second_before = self._codes(observations[..., width:])
        one, other = (which.unsqueeze(-1) for which in self._last(observations))
        parts = [(one * first_before).sum(-2), (one * first).sum(-2), (other * second_before).sum(-2)]
        return torch.cat([*parts, first.mean(-2), second.mean(-2)], dim=-1)

    def recall(
        self,
        observations: torch.Tensor,
        shown: torch.Tensor,
        seen: torch.Tensor,
        start: torch.Tensor,
        keep: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store what the things that were used did, and look up what is known of those that there are.

        Args:
            observations: ``[T, N, 2 O]``.
            shown: ``[T, N, SHOWN]``, as `used` gives it.
            seen: ``[T, N, E]``, what the encoder gives.
            start: contents before the first step, ``[N, size]``.
            keep: ``[T, N]``: 0 where a lifetime begins.

        Returns:
            ``[T, N, n + m n, CONTENT]`` for the second things and for the pairs, and the contents after the last step,
            ``[N, size]``.
        """
        used, there = (shown[..., :CODE], shown[..., 2 * CODE : 3 * CODE]), self._codes(observations)
        parts = zip(self.memories, start.chunk(MEMORIES, dim=1), strict=True)
        recalled, after = zip(*(memory(used, there, seen, part, keep) for memory, part in parts), strict=True)
        return torch.cat(recalled, dim=-2), torch.cat(after, dim=1)

    def forward(self, observations: torch.Tensor, read: torch.Tensor, recalled: torch.Tensor) -> torch.Tensor:
        """Scores of all actions, ``[..., A]``.

        Args:
            observations: ``[..., O]``, or more numbers behind these.
            read: ``[..., R]``, what the heads read.
            recalled: ``[..., n + m n, CONTENT]``, as `recall` gives it.
        """
        plan = self.plan
        alone, together = recalled.split([plan.seconds, plan.firsts * plan.seconds], dim=-2)
        alone, together = (memory.known(part) for memory, part in zip(self.memories, (alone, together), strict=True))
        first, second = self._codes(observations)
        asked = self.asked(read).unflatten(-1, (4, 1, MEANING))
        plain, turned = self.first_meaning(first).split(MEANING, dim=-1)
        one = plain + asked[..., 0, :, :] + turned * asked[..., 1, :, :]
        plain, turned = self.second_meaning(second).split(MEANING, dim=-1)
        other = plain + asked[..., 2, :, :] + turned * asked[..., 3, :, :] + alone
        together = together.unflatten(-2, (plan.firsts, plan.seconds))
        pairs = torch.relu(one.unsqueeze(-2) + other.unsqueeze(-3) + together) @ self.weight[0]
        single = torch.relu(one + self.alone) @ self.weight[1]
        scores = torch.cat([single.unsqueeze(-1), pairs], dim=-1).flatten(-2)
        return torch.cat([torch.zeros_like(scores[..., :1]), scores], dim=-1)
