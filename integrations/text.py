"""Lifetimes as text: rules and observations in words, replies as text, for language models and people.

`TextLifetime` wraps a `daytwo.lifetime.LifetimeEnv`; `daytwo.narration` holds the words and the rule for replies.
``python -m daytwo.integrations.text`` prints how long the texts of every family are, and with ``--transcript ID`` the
beginning of a lifetime.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from daytwo.checks import check_choice, check_integer
from daytwo.lifetime import LifetimeEnv
from daytwo.narration import FALLBACK, Narrator, Unparsed, text_stream
from daytwo.registration import env_ids
from daytwo.streams import MASK_64, integer, uniform

ON_UNPARSED = ("random", "raise")


class TextLifetime:
    """One lifetime in words.

    ``reset()`` begins it and ``step(reply)`` takes one step of it. Both return the text that the agent is to answer:
    the rules where a level begins, then the observation. The rewards are the environment's own (the improvement
    reward, unless another rule was chosen), and the hidden task is never told.

    A reply that cannot be parsed (see `daytwo.narration`) costs nothing the first ``retries`` times: no step is taken,
    the reward is 0 and the same text comes again, below a line that says what was expected. After that the environment
    takes a step all the same: ``on_unparsed="random"`` with an action drawn uniformly from those that are offered, from
    the lifetime's own stream. So an agent that never says anything that can be understood scores what random scores,
    the 0 of the normalised return, and garbage is neither worth more nor less than guessing. (A fixed action in its
    place would be the best answer at one level and the worst at another.)

    Attributes:
        env: the environment; never privileged.
        narrator: says the words of this lifetime (another one after each `reset`).
        row: the present observation row, ``float32[size]``.
        transcript: ``(text, reply, reward)`` of every call of `step`, replies that were not parsed included.
    """

    def __init__(
        self,
        env_id: Any,
        seed: int,
        *,
        rename: bool = True,
        retries: int = 2,
        on_unparsed: str = "random",
        **settings: Any,
    ) -> None:
        """Make a lifetime.

        Args:
            env_id: an environment's id, or whatever else `LifetimeEnv` takes as a family.
            seed: which lifetime, an integer of at least 0: it decides the hidden task, the luck and the words.
            rename: whether names become made-up words, new in every lifetime.
            retries: how often, before each step, a reply that cannot be parsed is asked for again.
            on_unparsed: what follows then, ``"random"`` or ``"raise"`` (`step` raises `Unparsed` and takes no step).
            **settings: keyword arguments of the environment.

        Raises:
            ValueError: an argument or a setting is unknown or out of range.
        """
        for name, refused in (("observation", "dict"), ("privileged", True)):
            if settings.get(name) == refused:
                raise ValueError(
                    f"TextLifetime needs {name}={'flat' if name == 'observation' else False!r}: texts are told from "
                    f"the flat observation row, and never tell the hidden task; received {settings[name]!r}."
                )
        self._seed = check_integer("seed", seed, 0, MASK_64)
        self._rename = rename
        self._retries = check_integer("retries", retries, 0, 1_000_000)
        self._on_unparsed = check_choice("on_unparsed", on_unparsed, ON_UNPARSED)
        self.env = LifetimeEnv(env_id, **settings)
        self.narrator = self._make_narrator()
        self.transcript: list[tuple[str, str, float]] = []
        self.row = np.zeros(self.env.layout.size, dtype=np.float32)
        self._over = True

    def _make_narrator(self) -> Narrator:
        env = self.env
        return Narrator(env.family, env.layout, env.course, seed=self._seed, rename=self._rename)

    def reset(self, *, seed: int | None = None) -> str:
        """Begin the lifetime from its start.

        Args:
            seed: of another lifetime from now on; left out, the same lifetime is lived again, in the same words.

        Returns:
            The rules of the first level and the first observation.
        """
        if seed is not None:
            self._seed = check_integer("seed", seed, 0, MASK_64)
            self.narrator = self._make_narrator()
        self.row, info = self.env.reset(seed=self._seed)
        self._info = {key: info[key] for key in ("action_mask",) if key in info}
        self._stream = text_stream(self._seed, FALLBACK)
        self._failed, self._unparsed = 0, 0
        self._over = False
        self.transcript = []
        self._level = self.narrator.level(self.row)
        self._text = self._situation = f"{self.narrator.rules(self._level)}\n{self.narrator.observation(self.row)}"
        return self._text

    def actions(self) -> list[str]:
        """What may be answered now: the names of the actions offered, or examples if actions are continuous.

        None once the lifetime is over.
        """
        return [] if self._over else self.narrator.actions(self._level, self.row)

    def step(self, reply: str) -> tuple[str, float, bool, dict[str, Any]]:
        """Answer the last text.

        Args:
            reply: whatever the agent wrote.

        Returns:
            The next text; the reward; whether the lifetime is over; and ``info``: the environment's, with ``parsed``
            (the action that the reply meant, None where it meant none), ``action`` (the action that was taken, None
            where no step was) and ``unparsed`` (how many replies of this lifetime could not be parsed).

        Raises:
            Unparsed: the reply cannot be parsed, retries are used up and ``on_unparsed="raise"``.
            gymnasium.error.ResetNeeded: before `reset`, or after the lifetime is over.
        """
        if self._over:
            raise gymnasium.error.ResetNeeded("The lifetime has not begun or is over: call reset().")
        shown = self._text
        parsed, explanation = None, ""
        try:
            action = parsed = self.narrator.parse(reply, self._level, self.row)
        except Unparsed as error:
            self._unparsed += 1
            self._failed += 1
            if self._failed <= self._retries:
                self._text = f"{error}\n{self._situation}"
                self.transcript.append((shown, reply, 0.0))
                standing = {"raw_reward": 0.0, **{key: value.copy() for key, value in self._info.items()}}
                return self._text, 0.0, False, standing | self._told(None, None)
            if self._on_unparsed == "raise":
                self.transcript.append((shown, reply, 0.0))
                raise
            action = self._draw_action()
            explanation = f"{error} In its place, {self.narrator.name(action)} was chosen at random.\n"
        self._failed = 0
        self.row, reward, self._over, _, info = self.env.step(action)
        self._info = {key: info[key] for key in ("action_mask",) if key in info}
        observation = self.narrator.observation(self.row)
        level = self.narrator.level(self.row)
        if self._over:
            self._situation = f"{observation} Your lifetime is over."
        elif level != self._level:
            self._situation = f"{self.narrator.rules(level)}\n{observation}"
        else:
            self._situation = observation
        self._level = level
        self._text = explanation + self._situation
        self.transcript.append((shown, reply, reward))
        return self._text, reward, self._over, info | self._told(parsed, action)

    def _told(self, parsed: Any, action: Any) -> dict[str, Any]:
        return {"parsed": parsed, "action": action, "unparsed": self._unparsed}

    def _draw_action(self) -> Any:
        """A random action that is offered, from the lifetime's own stream."""
        family = self.env.family
        with np.errstate(over="ignore"):
            if family.continuous:
                return np.array([2.0 * uniform(self._stream, 0) - 1.0 for _ in range(family.actions)], np.float32)
            offered = np.flatnonzero(self._info["action_mask"])
            return int(offered[integer(self._stream, 0, len(offered))])


@dataclass(frozen=True)
class Lengths:
    """How long the texts of a family are, in characters, measured over lifetimes of the random policy.

    Attributes:
        env_id: of the family.
        steps: the longest that a lifetime can last.
        symbols: how many names are replaced in a lifetime.
        rules: the longest rules of a level.
        mean: of an observation's text.
        usual: 95 in 100 observations' texts are no longer.
        longest: the longest of them.
    """

    env_id: str
    steps: int
    symbols: int
    rules: int
    mean: float
    usual: int
    longest: int


def measure(env_id: Any, *, lifetimes: int = 4, rename: bool = True, **settings: Any) -> Lengths:
    """Measure the texts of a family over lifetimes of the random policy, with the seeds 0, 1, ...

    Raises:
        ValueError: a setting or ``lifetimes`` is out of range.
    """
    check_integer("lifetimes", lifetimes, 1, 1_000_000)
    sizes: list[int] = []
    rules = symbols = 0
    life = TextLifetime(env_id, 0, rename=rename, retries=0, **settings)
    for seed in range(lifetimes):
        life.reset(seed=seed)
        over = False
        while not over:
            sizes.append(len(life.narrator.observation(life.row)))
            _, _, over, _ = life.step("")  # without retries: a random action
        levels = {stage.level for stage in life.env.course.stages}
        rules = max(rules, *(len(life.narrator.rules(level)) for level in levels))
        symbols = max(symbols, len(life.narrator.words))
    return Lengths(
        env_id=life.env.family.id,
        steps=life.env.lifetime_spec.steps,
        symbols=symbols,
        rules=rules,
        mean=float(np.mean(sizes)),
        usual=int(np.percentile(sizes, 95)),
        longest=max(sizes),
    )


def as_table(rows: Sequence[Lengths]) -> str:
    """Lengths as a Markdown table."""
    lines = [
        "| environment | steps of a lifetime, at most | names replaced | rules of a level, at most | observation, mean "
        "| 95 in 100 | longest |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = (row.steps, row.symbols, row.rules, round(row.mean), row.usual, row.longest)
        lines.append(f"| {' | '.join([row.env_id, *map(str, figures)])} |")
    return "\n".join(lines)


def written(transcript: Sequence[tuple[str, str, float]]) -> str:
    """A transcript as text: what was said, what was replied (behind ``>``), and the reward."""
    return "\n".join(f"{text}\n> {reply}    [reward {reward:+.3f}]" for text, reply, reward in transcript)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the lengths of the texts of every family, or the beginning of a lifetime."""
    parser = argparse.ArgumentParser(prog="python -m daytwo.integrations.text", description=main.__doc__)
    parser.add_argument("ids", nargs="*", help="which environments; all of them if none is given")
    parser.add_argument("--lifetimes", type=int, default=4, help="lifetimes measured (4)")
    parser.add_argument("--plain", action="store_true", help="without renaming")
    parser.add_argument("--transcript", action="store_true", help="print the beginning of a lifetime in its place")
    parser.add_argument("--seed", type=int, default=0, help="which lifetime the transcript is of (0)")
    parser.add_argument("--steps", type=int, default=5, help="steps of the transcript (5)")
    given = parser.parse_args(arguments)
    ids = given.ids or env_ids()
    if not given.transcript:
        print(as_table([measure(env_id, lifetimes=given.lifetimes, rename=not given.plain) for env_id in ids]))
        return
    for env_id in ids:
        life = TextLifetime(env_id, given.seed, rename=not given.plain)
        life.reset()
        rng = np.random.default_rng(given.seed)
        for _ in range(given.steps):
            offered = life.actions()
            if not offered:
                break
            life.step(f"ACTION: {offered[rng.integers(len(offered))]}")
        print(written(life.transcript))


if __name__ == "__main__":
    main()
