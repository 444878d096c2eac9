"""A lifetime as a conversation: what the libraries that train language models need beyond `TextLifetime`.

`Conversation` keeps the messages of one lifetime, forgets those that are not to be shown any more, and lives on by the
random policy where the model cannot go on. `daytwo.integrations.tinker` and `daytwo.integrations.verifiers` are built
on it; ``docs/training_language_models.md`` shows both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from daytwo.checks import check_integer
from daytwo.integrations.text import TextLifetime
from daytwo.streams import MASK_64, lifetime_seeds

# As in `daytwo.integrations.stable_baselines3`: training lives other lifetimes than any evaluation does.
TRAINING_OFFSET = 1 << 62
_MOST_EPISODES = 1_000_000


def group_seed(seed: int, index: int, *, evaluation: bool = False) -> int:
    """The seed of one lifetime of a training run, or of an evaluation.

    Args:
        seed: of the run, an integer of at least 0. Different seeds share nothing.
        index: which lifetime, counted from 0.
        evaluation: the lifetimes of ``daytwo.evaluate(..., seed=seed)`` in their order; otherwise lifetimes that no
            evaluation lives.

    Returns:
        An integer below 2**64.
    """
    check_integer("seed", seed, 0, MASK_64)
    check_integer("index", index, 0, TRAINING_OFFSET - 1)
    if not evaluation:
        seed = int(lifetime_seeds(seed, TRAINING_OFFSET, TRAINING_OFFSET + 1)[0])
    return int(lifetime_seeds(seed, index, index + 1)[0])


def episodes_shown(history: Any) -> int | None:
    """How many episodes a prompt holds, the present one included; None stands for all of them.

    Args:
        history: ``"full"`` (all of them), ``"episode"`` (the present one alone) or a number of episodes, which may be
            text, as command lines hand it over.

    Raises:
        ValueError: it is none of these.
    """
    if history == "full":
        return None
    if history == "episode":
        return 1
    number = int(history) if isinstance(history, str) and history.isascii() and history.isdigit() else history
    try:
        return check_integer("history", number, 1, _MOST_EPISODES)
    except ValueError:
        raise ValueError(
            f"history must be 'full', 'episode' or a number of episodes of at least 1, received {history!r}."
        ) from None


def make_life(env_id: Any, seed: int, *, evaluation: bool = False, **settings: Any) -> TextLifetime:
    """A lifetime; one of an evaluation has a test task, unless ``split`` says otherwise or the family has too few.

    Args:
        env_id: an environment's id, or whatever else `TextLifetime` takes.
        seed: which lifetime.
        evaluation: whether its task is a test task.
        **settings: keyword arguments of `TextLifetime`.

    Raises:
        ValueError: an argument is unknown or out of range.
    """
    if settings.get("on_unparsed", "random") != "random":
        raise ValueError(
            "In training a reply that cannot be parsed is answered by a random action: leave on_unparsed out, received "
            f"{settings['on_unparsed']!r}."
        )
    life = TextLifetime(env_id, seed, **settings)
    if evaluation and settings.get("split") is None and "test" in life.env.family.splits:
        life = TextLifetime(env_id, seed, **{**settings, "split": "test"})
    return life


def _plain_message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@dataclass
class _Episode:
    """The messages of one inner episode, and what its first one says where all before it is forgotten."""

    alone: str
    messages: list[Any]


class Conversation:
    """The messages of one lifetime, and what came of it.

    A model is shown `messages` and answers; `answer` takes a step of the lifetime and adds the next text. With
    ``history="full"`` nothing is ever taken out, so every prompt begins with the one before it. With a number of
    episodes, only the latest so many are shown: at the start of an episode the oldest one goes, and the first message
    that is left says the rules again, without what the action before it paid. ``"episode"`` shows the present episode
    alone; a model trained so has no memory of earlier ones, which makes it the *amnesiac* control and no learner.

    Attributes:
        life: the lifetime.
        text: its latest text.
        over: whether it is over.
        reward: the sum of its rewards so far.
        normalized: the normalised return of every episode that has ended, in lived order.
        stages: the stage of each of them.
        unparsed: how many replies could not be parsed.
        replies: how many replies there were.
        cut_off: how many of them were cut off before their end.
        forfeited: how many steps the random policy took for a model that could not go on (see `forfeit`).
    """

    def __init__(
        self, life: TextLifetime, *, history: Any = "full", message: Callable[[str], Any] = _plain_message
    ) -> None:
        """Begin a lifetime.

        Args:
            life: it is reset.
            history: how much of it is shown, see `episodes_shown`.
            message: makes the message of a text that the model is to answer.

        Raises:
            ValueError: no such history.
        """
        self.life = life
        self.over = False
        self.reward = 0.0
        self.normalized: list[float] = []
        self.stages: list[int] = []
        self.unparsed = self.replies = self.cut_off = self.forfeited = 0
        self._shown = episodes_shown(history)
        self._message = message
        self.text = life.reset()
        self._episodes = [_Episode(self.text, [message(self.text)])]

    @property
    def messages(self) -> list[Any]:
        """What the model is shown now; the last message is the one to be answered."""
        if self._shown is None or len(self._episodes) <= self._shown:
            return [one for episode in self._episodes for one in episode.messages]
        kept = self._episodes[-self._shown :]
        first = [self._message(kept[0].alone), *kept[0].messages[1:]]
        return first + [one for episode in kept[1:] for one in episode.messages]

    def answer(self, reply: str, message: Any, *, complete: bool = True) -> float:
        """Take the model's answer.

        Args:
            reply: what it wrote; a step of the lifetime, unless it is to be asked again (see `TextLifetime`).
            message: the same as a message, to be kept.
            complete: False if the reply was cut off, and so says nothing that can be relied on: it counts as one that
                cannot be parsed.

        Returns:
            The reward.
        """
        self.replies += 1
        self.cut_off += not complete
        self.text, reward, info = self._step(reply if complete else "")
        self.unparsed += info["parsed"] is None
        self._episodes[-1].messages.append(message)
        if "episode_return" in info and not self.over:
            self._episodes.append(_Episode(self._alone(), []))
        self._episodes[-1].messages.append(self._message(self.text))
        if self._shown is not None:
            del self._episodes[: -self._shown - 1]  # one more than is shown, so that `messages` sees that some are gone
        return reward

    def forfeit(self) -> float:
        """Live what is left of the lifetime by the random policy, and end it.

        For a model that cannot go on: its context is full, or a budget is spent. The course keeps its length, so that
        stopping early is worth exactly what random actions are, and is never a way to keep a good score.

        Returns:
            The sum of the rewards.
        """
        reward = 0.0
        while not self.over:
            _, more, info = self._step("")
            reward += more
            self.forfeited += info["action"] is not None
        return reward

    def metrics(self) -> dict[str, float]:
        """How the lifetime was lived, by name.

        ``area`` is the mean normalised return of its episodes; ``first`` and ``final`` are those of the first and of
        the last episode of the last stage, and ``gain`` is the difference; ``unparsed`` and ``cut_off`` are shares of
        the replies, and ``forfeited`` is the number of steps that were left to the random policy.
        """
        last = [g for g, stage in zip(self.normalized, self.stages, strict=True) if stage == self.stages[-1]]
        metrics: dict[str, float] = {}
        if last:
            area = float(np.mean(self.normalized))
            metrics |= {"area": area, "first": last[0], "final": last[-1], "gain": last[-1] - last[0]}
        replies = max(self.replies, 1)
        metrics |= {"unparsed": self.unparsed / replies, "cut_off": self.cut_off / replies}
        return metrics | {"forfeited": float(self.forfeited)}

    def _step(self, reply: str) -> tuple[str, float, dict[str, Any]]:
        text, reward, self.over, info = self.life.step(reply)
        self.reward += reward
        if "episode_return" in info:
            self.normalized.append(float(info["episode_normalized_return"]))
            self.stages.append(int(info["stage"]))
        return text, reward, info

    def _alone(self) -> str:
        """The rules and the present observation, without the past."""
        life = self.life
        row = life.env.layout.wipe(life.row[None], np.array([True]))[0]
        return f"{life.narrator.rules(life.narrator.level(row))}\n{life.narrator.observation(row)}"
