"""Things in slots: what was used, what is known of each thing, and how well two things go together.

Where an observation lists things, such as three stones and twelve potions, and an action puts two of them together, a
dense layer has to learn anew for every slot what each thing is, and a linear read-out cannot tell which stone goes with
which potion: that is a question about pairs. This layer shares one code among all slots of a kind, stores what a second
thing did under a key computed from its code, looks up what is known of every second thing there is, and scores pairs:

    e_i = tanh(W x_i + b)                              the code of slot i
    S <- S + u k^T,  k = K e / |K e|                   of the second thing that was used in the last step, and
    y_j = S q_j,     q_j = K e_j / |K e_j|             what is known of slot j; u as in `keyed_memory`
    m_i = A e_i + B h + (C e_i) * (D h)                what slot i means, given what the heads read, h
                                                       (of second things also E y_j)
    score(i, j) = w . relu(m_i + m_j)                  additive attention over pairs

Scores of actions from the things that are there are those of pointer networks (Vinyals et al. 2015, arXiv 1506.03134),
in the form of Bahdanau et al. 2014 (arXiv 1409.0473, section A.1.2). At first, a code says between which marks a number
lies, so that colours coded as numbers can be told apart.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from daytwo.integrations.keyed_memory import run_memory
from daytwo.slots import CODE, CONTENT, KEY, MEANING

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


class SlotReader(nn.Module):
    """Shows what was used, and scores actions by pairs of things; see the module's description.

    Attributes:
        places: ``int64[7]``, the plan.
        first_code: from one of the first things to its code.
        second_code: the same for the second things.
        first_meaning: from its code to ``A e`` and ``C e``.
        second_meaning: the same for the second things.
        key: K.
        stored: from what the encoder saw to the candidate and the gate of what is stored.
        content_weight: ``[1, 2 CONTENT, CONTENT]``: how these depend on what stands there.
        known: E.
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
        self.key = nn.Linear(CODE, KEY, bias=False)
        self.stored = nn.Linear(seen, 2 * CONTENT)
        self.content_weight = nn.Parameter(torch.zeros(1, 2 * CONTENT, CONTENT))
        self.known = nn.Linear(CONTENT, MEANING, bias=False)
        for part in (self.key.weight.data, *self.stored.weight.data.split(CONTENT), self.known.weight.data):
            nn.init.orthogonal_(part)
        # Little is written before it is known what is worth it.
        self.stored.bias.data[:CONTENT], self.stored.bias.data[CONTENT:] = 0.0, -1.0
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
        return CONTENT * KEY

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
        """Store what the second thing that was used did, and look up what is known of those that there are.

        Args:
            observations: ``[T, N, 2 O]``.
            shown: ``[T, N, SHOWN]``, as `used` gives it.
            seen: ``[T, N, E]``, what the encoder gives.
            start: contents before the first step, ``[N, size]``.
            keep: ``[T, N]``: 0 where a lifetime begins.

        Returns:
            ``[T, N, n, CONTENT]`` for the second things, and the contents after the last step, ``[N, size]``.
        """
        steps, lanes = keep.shape
        count = self.plan.seconds
        queries = self.key(self._codes(observations)[1])
        key = self.key(shown[..., 2 * CODE : 3 * CODE]).unsqueeze(-2).expand_as(queries)
        stored = self.stored(seen).unsqueeze(-2).expand(steps, lanes, count, 2 * CONTENT)
        # One memory for each of the second things: all are written alike, and each is asked about its own thing.
        contents = start.view(lanes, 1, CONTENT, KEY).expand(lanes, count, CONTENT, KEY)
        weight = self.content_weight.expand(count, 2 * CONTENT, CONTENT)
        recalled, after = run_memory(torch.cat([key, queries, stored], dim=-1), contents, keep, weight)
        return recalled, after[:, 0].flatten(1)

    def forward(self, observations: torch.Tensor, read: torch.Tensor, recalled: torch.Tensor) -> torch.Tensor:
        """Scores of all actions, ``[..., A]``.

        Args:
            observations: ``[..., O]``, or more numbers behind these.
            read: ``[..., R]``, what the heads read.
            recalled: ``[..., n, CONTENT]``, as `recall` gives it.
        """
        first, second = self._codes(observations)
        asked = self.asked(read).unflatten(-1, (4, 1, MEANING))
        plain, turned = self.first_meaning(first).split(MEANING, dim=-1)
        one = plain + asked[..., 0, :, :] + turned * asked[..., 1, :, :]
        plain, turned = self.second_meaning(second).split(MEANING, dim=-1)
        other = plain + asked[..., 2, :, :] + turned * asked[..., 3, :, :] + self.known(recalled)
        pairs = torch.relu(one.unsqueeze(-2) + other.unsqueeze(-3)) @ self.weight[0]
        alone = torch.relu(one + self.alone) @ self.weight[1]
        scores = torch.cat([alone.unsqueeze(-1), pairs], dim=-1).flatten(-2)
        return torch.cat([torch.zeros_like(scores[..., :1]), scores], dim=-1)
