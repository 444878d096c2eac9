"""A language model as an agent: it reads what a lifetime looks like in words, and answers with actions.

`LanguageModel` is an agent like any other (`daytwo.agent.Agent`), over any OpenAI-compatible chat endpoint, and
`evaluate_language_model` evaluates it within a budget. Words come from `daytwo.narration`, calls go through
`daytwo.integrations.chat`; ``docs/language_models.md`` shows both.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import daytwo
from daytwo.agent import LifetimeSpec
from daytwo.checks import check_choice, check_integer, check_number
from daytwo.integrations.chat import (
    CHARACTERS_PER_TOKEN,
    BudgetExhausted,
    ChatClient,
    Message,
    Reply,
    Usage,
    estimate_tokens,
    message,
)
from daytwo.narration import Narrator, Unparsed
from daytwo.random_policy import random_actions, random_vectors
from daytwo.registration import make_family
from daytwo.streams import agent_streams

MEMORIES = ("full", "summary", "none")
KEPT_SHARE = 0.75  # of a history that grew too long
LONGEST_REPLY = 2 * CHARACTERS_PER_TOKEN  # characters read of a reply, for each token that it might have

INSTRUCTIONS = (
    "You act in the environment that is described here. Each message tells you what your last action did and what you "
    "see now: answer it with your next action, and think briefly if at all."
)
NEW_RULES = "From now on other rules hold: read those at the top again."
NO_REPLY = "(no answer)"
RANDOM_REPLY = "(no answer that could be read; a random action was taken)"
REFLECT = (
    "Before you go on: write down, in at most {words} words, what you want to know in the episodes to come. Your notes "
    "are all that you will remember of those that are over. Answer with the notes alone, without an action."
)
NOTES = "Your notes from earlier episodes:"


@dataclass
class _Life:
    """One lifetime as the agent remembers it."""

    seed: int
    narrator: Any
    step: int = 0
    level: int = -1  # of the last observation
    time: float = -1.0  # in the last observation
    over: bool = False
    notes: str = ""
    calls: int = 0
    tokens: int = 0
    history: deque[tuple[Message, Message, int]] = field(default_factory=deque)  # what was said, answered; tokens
    remembered: int = 0  # tokens of the history

    def count(self, reply: Reply) -> None:
        self.calls += 1
        self.tokens += reply.prompt_tokens + reply.completion_tokens

    def forget(self) -> None:
        self.notes, self.level = "", -1
        self.clear()

    def clear(self) -> None:
        self.history.clear()
        self.remembered = 0

    def remember(self, told: Message, answer: Message) -> None:
        tokens = estimate_tokens([told, answer])
        self.history.append((told, answer, tokens))
        self.remembered += tokens

    def drop(self, tokens: int) -> int:
        """Forget the oldest exchanges until at most ``tokens`` are left of the history; how many those were."""
        dropped = 0
        while self.history and self.remembered > tokens:
            self.remembered -= self.history.popleft()[2]
            dropped += 1
        return dropped

    def conversation(self) -> list[Message]:
        return [one for told, answer, _ in self.history for one in (told, answer)]


def _spoken(text: str, longest: int) -> str:
    """What counts of a reply: what follows a reasoning model's thoughts, and of that the last ``longest`` characters.

    The end is kept since that is where models that ramble come to their answer.
    """
    return text.rpartition("</think>")[2].strip()[-longest:]


# What `for_environment` reads from the environment's variables where an option is not given, and how.
_VARIABLES: dict[str, Callable[[str], Any]] = {
    "memory": str,
    "log": str,
    "context_tokens": int,
    "reply_tokens": int,
    "summary_tokens": int,
    "temperature": lambda text: None if text.lower() == "none" else float(text),
    "retries": int,
    "max_calls": int,
    "max_tokens": int,
    "prices": lambda text: tuple(map(float, text.split(","))),
    "concurrency": int,
    "requests_per_minute": float,
    "tokens_per_minute": float,
    "attempts": int,
    "timeout": float,
}


class LanguageModel:
    """An agent that asks a language model at every step.

    Three kinds of memory: ``"full"``, all exchanges of the lifetime so far; ``"summary"``, the present episode and
    notes that the model writes at every episode's end; ``"none"``, the rules and the present observation alone, which
    is the amnesiac by construction. A history that passes ``context_tokens`` loses its oldest exchanges, for good,
    until three quarters of that are left: seldom and much, so that the beginning of the conversation stays the same for
    many steps, which endpoints charge less for.

    A reply that means no action is answered with what is wrong, ``retries`` times; then a random action that is
    offered is taken, drawn from the lifetime's own stream. `report` counts them.

    Equal replies give equal lifetimes, for any batch size: the log is asked before the endpoint, under a key of the
    lifetime's seed, the step and everything that is sent. Lifetimes that are over are asked nothing, if the time in
    the episode is shown (as it is by default); one that ends before its last episode's horizon is asked once more.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        memory: str = "full",
        context_tokens: int = 16_000,
        reply_tokens: int = 256,
        summary_tokens: int = 512,
        retries: int = 2,
        instructions: str = INSTRUCTIONS,
        rename: bool = True,
        prices: tuple[float, float] | None = None,
        family: Any = None,
        client: ChatClient | None = None,
        **endpoint: Any,
    ) -> None:
        """Set the agent.

        Args:
            model: the model's name at the endpoint; by default that in ``DAYTWO_MODEL``.
            memory: ``"full"``, ``"summary"`` or ``"none"``.
            context_tokens: most tokens of one request, by `daytwo.integrations.chat.estimate_tokens`.
            reply_tokens: most tokens of one reply; models that think aloud need thousands.
            summary_tokens: most tokens of the notes.
            retries: how often the model is asked again after a reply that means no action.
            instructions: what it is told before the rules.
            rename: give what is named in an environment new names in every lifetime, so that knowledge of words, and of
                other lifetimes, does not help.
            prices: of a million tokens of requests and of a million tokens of replies, for `cost`.
            family: the environment's `TaskFamily` class or instance, where its id is not registered.
            client: a `ChatClient`; by default one is made from ``model`` and ``endpoint``.
            **endpoint: further arguments of `daytwo.integrations.chat.ChatClient`: ``base_url``, ``api_key``, ``log``,
                ``max_calls``, ``max_tokens``, ``concurrency``, ``requests_per_minute``, ...

        Raises:
            ImportError: httpx is missing.
            ValueError: a value is out of range, or no endpoint is given.
        """
        self.memory = check_choice("memory", memory, MEMORIES)
        self._context_tokens = check_integer("context_tokens", context_tokens, 1, 1 << 40)
        self._reply_tokens = check_integer("reply_tokens", reply_tokens, 1, 1 << 40)
        self._summary_tokens = check_integer("summary_tokens", summary_tokens, 1, 1 << 40)
        self._retries = check_integer("retries", retries, 0, 1000)
        if not isinstance(instructions, str):
            raise ValueError(f"instructions must be a text, received {instructions!r}.")
        self._instructions, self._rename, self._family = instructions, bool(rename), family
        if prices is not None:
            if isinstance(prices, str) or not isinstance(prices, Sequence) or len(prices) != 2:
                raise ValueError(f"prices must be two numbers, of a million tokens in and out, received {prices!r}.")
            prices = (check_number("prices[0]", prices[0], 0, 1e12), check_number("prices[1]", prices[1], 0, 1e12))
        self._prices = prices
        if client is not None and (endpoint or model is not None):
            raise ValueError(f"Give a client, or a model and {', '.join(endpoint) or 'its options'}: not both.")
        self.client = ChatClient(model, **endpoint) if client is None else client
        self.name = f"{self.client.model} ({self.memory})"
        self._spec: LifetimeSpec | None = None
        self._lives: list[_Life] = []
        self._finished = 0  # lifetimes of batches that were lived to their end
        self._dearest = (0, 0)  # most calls and most tokens of one of those
        # Exchanges by what became of them. Sets of keys, so that a lifetime lived again from the log counts once.
        self._seeds: set[int] = set()
        self._steps: set[str] = set()
        self._unparsed: set[str] = set()
        self._random: set[str] = set()
        self._reflections: set[str] = set()
        self._lost_notes: set[str] = set()

    @classmethod
    def for_environment(cls, spec: LifetimeSpec, **options: Any) -> "LanguageModel":
        """The agent as commands make it: what is not given is read from the environment's variables.

        ``DAYTWO_MODEL`` names the model, and ``DAYTWO_<OPTION>`` sets memory, log, context_tokens, reply_tokens,
        summary_tokens, temperature, retries, max_calls, max_tokens, prices (two numbers with a comma), concurrency,
        requests_per_minute, tokens_per_minute, attempts and timeout.

        Raises:
            ValueError: a variable cannot be read, or a value is out of range.
        """
        for name, read in _VARIABLES.items():
            variable = f"DAYTWO_{name.upper()}"
            text = os.environ.get(variable, "")
            if text and name not in options and "client" not in options:
                try:
                    options[name] = read(text)
                except ValueError:
                    raise ValueError(f"The variable {variable} cannot be read as {name}, received {text!r}.") from None
        return cls(**options)

    # --- figures ------------------------------------------------------------------------------------------------------

    @property
    def provenance(self) -> dict[str, Any]:
        """How the agent's actions come about; results keep it."""
        return {
            "model": self.client.model,
            "memory": self.memory,
            "temperature": self.client.temperature,
            "context_tokens": self._context_tokens,
            "reply_tokens": self._reply_tokens,
            "summary_tokens": self._summary_tokens,
            "retries": self._retries,
            "rename": self._rename,
            "instructions": self._instructions,
        }

    @property
    def usage(self) -> Usage:
        """Calls and tokens of all exchanges so far, those found in the log included."""
        return self.client.ledger.usage

    @property
    def cost(self) -> float | None:
        """What those cost at ``prices``, None where none are set. Discounts, as for cached prompts, are not known."""
        return None if self._prices is None else self.usage.cost(self._prices)

    def report(self) -> dict[str, Any]:
        """What the agent used and how it fared, as plain values: to be printed next to a score.

        Returns:
            ``model``, ``memory``; ``lifetimes`` begun; ``steps`` for which a reply was asked; ``calls``,
            ``prompt_tokens``, ``completion_tokens``, ``tokens`` and ``cost`` of all exchanges, and the same as
            ``new_...`` of those that were not found in the log; ``estimated_calls``, whose tokens the server did not
            count; ``failed_attempts``; ``latency``, mean seconds of a call; ``unparsed_replies``; ``random_actions``,
            steps at which no reply could be read; ``reflections``; ``lost_notes``, episodes after which no notes came;
            and the budget, ``max_calls`` and ``max_tokens``.
        """
        ledger = self.client.ledger
        usage, paid = ledger.usage, ledger.paid
        return {
            "model": self.client.model,
            "memory": self.memory,
            "lifetimes": len(self._seeds),
            "steps": len(self._steps),
            "calls": usage.calls,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "tokens": usage.tokens,
            "cost": self.cost,
            "new_calls": paid.calls,
            "new_tokens": paid.tokens,
            "new_cost": None if self._prices is None else paid.cost(self._prices),
            "estimated_calls": usage.estimated_calls,
            "failed_attempts": usage.failed_attempts,
            "latency": usage.latency / max(1, usage.calls),
            "unparsed_replies": len(self._unparsed),
            "random_actions": len(self._random),
            "reflections": len(self._reflections),
            "lost_notes": len(self._lost_notes),
            "max_calls": ledger.max_calls,
            "max_tokens": ledger.max_tokens,
        }

    # --- living -------------------------------------------------------------------------------------------------------

    def begin(self, spec: LifetimeSpec, seeds: np.ndarray) -> None:
        """Begin ``len(seeds)`` lifetimes.

        Raises:
            ValueError: the family is not known by its id, or something is not shown that is needed.
        """
        levels = {stage.level for stage in spec.course.stages}
        if len(levels) > 1 and "level" not in spec.layout:
            raise ValueError(
                f"The course has {len(levels)} levels: put 'level' into show, so that the rules are known."
            )
        if self.memory == "summary" and "episode_start" not in spec.layout:
            raise ValueError("memory='summary' needs to see where episodes begin: put 'episode_start' into show.")
        if self._family is not None:
            family = make_family(self._family) if not isinstance(self._family, type) else self._family(**spec.settings)
        else:
            try:
                family = make_family(spec.env_id, **spec.settings)
            except ValueError as error:
                raise ValueError(f"{error} LanguageModel takes the class of the family as family=.") from error
        self._close_batch()
        self._spec = spec
        self._only_level = min(levels)
        self._streams = agent_streams(seeds)
        self._lives = [
            _Life(int(seed), Narrator(family, spec.layout, spec.course, seed=int(seed), rename=self._rename))
            for seed in seeds
        ]

    def evaluate_within_budget(self, env_id: Any, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """A result and a report, within the budget: `evaluate_language_model` of this agent."""
        return evaluate_language_model(self, env_id, **arguments)

    def _close_batch(self) -> None:
        """Book the lifetimes of the batch that was lived."""
        self._finished += len(self._lives)
        for life in self._lives:
            self._dearest = (max(self._dearest[0], life.calls), max(self._dearest[1], life.tokens))
        self._lives = []

    def act(self, observations: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """One action per lifetime, ``int64[N]`` or ``float64[N, d]``.

        Raises:
            ChatError: the endpoint cannot be reached, refuses, or gives no answers.
            BudgetExhausted: the budget does not cover the next call. After either, begin anew: the log holds it all.
        """
        spec = self._spec
        if spec is None or len(observations) != len(self._lives):
            raise ValueError(f"Call begin() first, with a seed for each of the {len(observations)} lifetimes.")
        steps = [self._step(i, observations[i], bool(fresh[i])) for i in range(len(observations))]
        try:
            actions = self.client.together(steps)
        except BaseException:
            self._lives = []  # some have taken their step, others have not: this batch is lost
            raise
        if spec.continuous:
            return np.array(actions, dtype=np.float64).reshape(len(actions), spec.actions)
        return np.array(actions, dtype=np.int64)

    def _shown(self, row: np.ndarray, name: str, missing: float) -> float:
        assert self._spec is not None
        return float(row[self._spec.layout.start(name)]) if name in self._spec.layout else missing

    async def _step(self, i: int, row: np.ndarray, fresh: bool) -> Any:
        """Let lifetime ``i`` take its next step."""
        life, spec = self._lives[i], self._spec
        assert spec is not None
        begins = fresh or self._shown(row, "episode_start", 0.0) > 0.5
        now = self._shown(row, "time", math.nan)
        # Within an episode time goes on, and at a horizon another episode begins, except where the lifetime is over.
        over = now >= 1.0 or now <= life.time if not begins else False
        life.over, life.time = life.over or over, now
        if life.over:
            return np.zeros(spec.actions) if spec.continuous else 0
        level = self._only_level
        if "level" in spec.layout:
            level = int(row[spec.layout["level"]].argmax())
        seen = life.narrator.observation(row)
        if fresh:
            life.forget()
        elif begins and self.memory == "summary":
            await self._reflect(life, seen)
        told = f"{NEW_RULES}\n{seen}" if self.memory == "full" and level != life.level >= 0 else seen
        life.level = level
        action = await self._ask(i, life, message("user", told), row)
        life.step += 1
        return action

    def _system(self, life: _Life) -> Message:
        parts = [self._instructions, life.narrator.rules(life.level)]
        if life.notes:
            parts.append(f"{NOTES}\n{life.notes}")
        return message("system", "\n\n".join(part for part in parts if part))

    def _context(self, life: _Life, told: Message) -> list[Message]:
        """What is sent: the rules, what is remembered, and what is seen now."""
        system = self._system(life)
        fixed = estimate_tokens([system, told])
        if fixed > self._context_tokens:
            raise ValueError(
                f"The rules and one observation take {fixed:,} tokens by estimate, and context_tokens is "
                f"{self._context_tokens:,}."
            )
        if fixed + life.remembered > self._context_tokens:
            life.drop(max(0, int(KEPT_SHARE * self._context_tokens) - fixed))
        return [system, *life.conversation(), told]

    async def _ask(self, i: int, life: _Life, told: Message, row: np.ndarray) -> Any:
        """The action of lifetime ``i``."""
        spec = self._spec
        assert spec is not None
        messages = self._context(life, told)
        action: Any = None
        text, key = "", ""
        for _ in range(self._retries + 1):
            reply = await self.client.complete(
                messages, reply_tokens=self._reply_tokens, lifetime=life.seed, step=life.step, purpose="act"
            )
            life.count(reply)
            key = key or reply.key
            text = _spoken(reply.text, LONGEST_REPLY * self._reply_tokens)
            try:
                action = life.narrator.parse(text, life.level, row)
                break
            except Unparsed as error:
                self._unparsed.add(reply.key)
                messages = [*messages, message("assistant", text or NO_REPLY), message("user", str(error))]
        self._steps.add(key)
        self._seeds.add(life.seed)
        if action is None:
            self._random.add(key)
            text = RANDOM_REPLY
            own = self._streams[i : i + 1]  # the lifetime's own stream, which is drawn from in place
            if spec.continuous:
                action = random_vectors(own, spec.actions)[0]
            else:
                action = random_actions(np.array(spec.observed_mask(row[None]), dtype=np.bool_), own)[0]
        if self.memory != "none":
            life.remember(told, message("assistant", text))
        return action

    async def _reflect(self, life: _Life, seen: str) -> None:
        """Let the model write notes on the episode that has just ended, of which ``seen`` tells the end."""
        words = max(1, self._summary_tokens // 2)
        asked = message("user", f"{seen}\n\n{REFLECT.format(words=words)}")
        messages = self._context(life, asked)
        notes, key = "", ""
        for again in range(self._retries + 1):
            reply = await self.client.complete(
                messages,
                reply_tokens=self._summary_tokens,
                lifetime=life.seed,
                step=life.step,
                purpose="reflect" if again == 0 else f"reflect again {again}",
            )
            life.count(reply)
            key = key or reply.key
            notes = _spoken(reply.text, LONGEST_REPLY * self._summary_tokens)
            if notes:
                break
        self._reflections.add(key)
        if notes:
            life.notes = notes
        else:
            self._lost_notes.add(key)  # the older notes stand
        life.clear()


def _most_affordable(agent: LanguageModel, spec: LifetimeSpec, num_envs: int) -> int:
    """How many further lifetimes the budget is likely to cover, or certainly where none was lived yet."""
    ledger = agent.client.ledger
    calls, tokens = agent._dearest
    held = num_envs * ledger.most_reserved  # while the last replies are under way
    if calls == 0:
        replies = spec.steps + spec.course.episodes * (agent.memory == "summary")
        calls = replies * (agent._retries + 1)
        # Asking again adds the reply and what is wrong with it.
        longest = max(agent._reply_tokens, agent._summary_tokens)
        tokens, held = calls * (agent._context_tokens + (agent._retries + 1) * 2 * longest), 0
    most = 1 << 62
    if ledger.max_calls is not None:
        most = min(most, (ledger.max_calls - ledger.usage.calls) // calls)
    if ledger.max_tokens is not None:
        left = ledger.max_tokens - ledger.usage.tokens
        few = left * num_envs // (tokens * num_envs + held)  # fewer lifetimes than lanes hold back less
        most = min(most, few if few <= num_envs else max(num_envs, (left - held) // tokens))
    return max(0, most)


def _spec_of(env_id: Any, *, task: str = "fixed", progress: bool = False, **arguments: Any) -> LifetimeSpec:
    """What is known of the lifetimes that ``daytwo.evaluate`` would let live."""
    env = daytwo.LifetimeVectorEnv(env_id, num_envs=1, task=task, **{"split": "test", **arguments})
    spec = env.lifetime_spec
    env.close()
    return spec


def evaluate_language_model(
    agent: LanguageModel,
    env_id: Any,
    *,
    lifetimes: int = 16,
    seed: int = 0,
    memory: str = "kept",
    num_envs: int | None = None,
    **arguments: Any,
) -> tuple[Any, dict[str, Any]]:
    """Evaluate a language model, within its budget.

    Without a budget this is ``daytwo.evaluate``. With one, as many lifetimes are lived as it covers, in order: first
    one alone, unless more are affordable at worst; then as many as are affordable if each takes as much as the dearest
    so far; and so on, until another one would not be. Should a batch turn out dearer, it is broken off and left out as
    a whole, since those of its lifetimes that did come to an end would be the short ones. Whatever was asked is in the
    log: with a larger budget the same call goes on from there.

    Args:
        agent: a `LanguageModel`; its budget is that of all that it does, in this call and in others.
        env_id: as for ``daytwo.evaluate``.
        lifetimes: how many are wanted, at least 1.
        seed: of the evaluation.
        memory: ``"kept"``, or ``"wiped"`` for the amnesiac twin.
        num_envs: lifetimes lived side by side, by default as many as requests may be under way. It changes no lifetime,
            but may change how many a budget covers.
        **arguments: further arguments of ``daytwo.evaluate``.

    Returns:
        An ordinary `daytwo.evaluation.Result` of the lifetimes that were completed, and a report: that of the agent,
        with ``completed`` and ``wanted`` lifetimes, lifetimes ``broken_off``, ``score`` (mean normalised return of the
        completed lifetimes) and ``stopped_by``, what the budget said, or None.

    Raises:
        BudgetExhausted: not even one lifetime was completed.
        ChatError: the endpoint cannot be reached, refuses, or gives no answers. Nothing is lost: run it again.
        ValueError: an argument is out of range.
    """
    wanted = check_integer("lifetimes", lifetimes, 1, 1 << 40)
    num_envs = agent.client.concurrency if num_envs is None else check_integer("num_envs", num_envs, 1, 1 << 20)
    ledger = agent.client.ledger
    limited = ledger.max_calls is not None or ledger.max_tokens is not None
    seconds = 0.0

    def live(count: int) -> Any:
        nonlocal seconds
        agent._lives, agent._finished = [], 0
        lived = daytwo.evaluate(
            agent, env_id, lifetimes=count, seed=seed, memory=memory, num_envs=num_envs, **arguments
        )
        agent._close_batch()
        seconds += lived.seconds
        return lived

    result: Any = None
    broken_off, stopped_by, count = 0, None, wanted
    agent._dearest = (0, 0)
    spec = _spec_of(env_id, **arguments)
    if limited:
        count = min(wanted, max(1, _most_affordable(agent, spec, num_envs)))
    while True:
        try:
            result = live(count)
        except BudgetExhausted as error:
            done = agent._finished
            completed = 0 if result is None else result.lifetimes
            if max(done, completed) == 0:
                raise BudgetExhausted(f"{error} Not one lifetime was completed.") from error
            stopped_by = str(error)
            broken_off = min(num_envs, count - done) - max(0, completed - done)
            if done > completed:
                result = live(done)
            break
        more = min(wanted - count, _most_affordable(agent, spec, num_envs)) if limited else 0
        if count < wanted and more == 0:
            calls, tokens = agent._dearest
            stopped_by = (
                f"The budget does not cover another lifetime: the dearest took {calls:,} calls and {tokens:,} tokens."
            )
        if more == 0:
            break
        count += more
    report = {
        **agent.report(),
        "wanted": wanted,
        "completed": result.lifetimes,
        "broken_off": broken_off,
        "score": float(np.nanmean(np.nanmean(result.normalized, axis=1))),
        "stopped_by": stopped_by,
    }
    return replace(result, seconds=seconds), report


__all__ = ["INSTRUCTIONS", "MEMORIES", "LanguageModel", "evaluate_language_model"]
