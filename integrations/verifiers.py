"""verifiers (``verifiers.v1``): lifetimes as a taskset, an environment that lives them, and a harness to talk through.

verifiers finds a taskset by the name of a top-level module; this one is called ``daytwo-verifiers``::

    vf-eval daytwo-verifiers --env.taskset.env-id daytwo/DarkRoom-v0 --env.taskset.episodes 5 -m MODEL -n 8 -r 4

One of its episodes is one lifetime, and the rollouts of a task share its hidden task, its luck and its words. The
reward is the environment's own, the improvement reward by default. ``docs/training_language_models.md`` has the whole
of it.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from daytwo.integrations.conversation import Conversation, episodes_shown, group_seed, make_life
from daytwo.streams import MASK_64

try:
    import verifiers.v1 as vf
    from openai import AsyncOpenAI
    from pydantic import Field, field_validator
    from verifiers.v1.dialects.chat import message_to_wire
except ImportError as error:
    raise ImportError(
        f"daytwo.integrations.verifiers needs verifiers 0.4 or newer: pip install 'daytwo[llm-training]'; {error}"
    ) from error


class LifetimeTasksetConfig(vf.TasksetConfig):
    """Which lifetimes there are, under ``--env.taskset``."""

    env_id: str = "daytwo/DarkRoom-v0"
    """The environment's id; ``daytwo list`` shows them all."""
    seed: int = Field(0, ge=0, le=MASK_64)
    """Of the sequence of lifetimes; different seeds share none."""
    evaluation: bool = False
    """The lifetimes that ``daytwo.evaluate`` lives under this seed, on test tasks; otherwise others, to train on."""
    course: str | None = None
    """See ``daytwo.LifetimeEnv``."""
    episodes: int | None = None
    """Per stage; short lifetimes make short prompts."""
    level: int | None = None
    """Of a single-level course."""
    reward: str | None = None
    """The improvement rule."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of ``TextLifetime``: the family's settings, ``rename``, ``retries``, ..."""

    def keywords(self) -> dict[str, Any]:
        """All keyword arguments of a lifetime."""
        named = {"course": self.course, "episodes": self.episodes, "level": self.level, "reward": self.reward}
        return {**self.settings, **{key: value for key, value in named.items() if value is not None}}


class LifetimeData(vf.TaskData):
    """What makes a lifetime; its ``prompt`` is the rules and the first observation."""

    env_id: str
    lifetime_seed: int
    settings: dict[str, Any]


class LifetimeTask(vf.Task[LifetimeData, vf.State, vf.TaskConfig]):
    """One lifetime. `LifetimeEnv` records its reward, since it is what lives it."""


class LifetimeTaskset(vf.Taskset[LifetimeTask, LifetimeTasksetConfig]):
    """Lifetimes without end: number i is the i-th of its seed's sequence (`group_seed`)."""

    INFINITE = True

    def load(self) -> Iterator[LifetimeTask]:
        """Make the tasks one after the other.

        Raises:
            ValueError: a setting is unknown or out of range.
        """
        config = self.config
        life = make_life(config.env_id, 0, evaluation=config.evaluation, **config.keywords())
        settings = {**config.keywords(), "split": life.env.split}
        for index in itertools.count():
            seed = group_seed(config.seed, index, evaluation=config.evaluation)
            data = LifetimeData(
                name=f"{config.env_id}#{index}",
                prompt=life.reset(seed=seed),
                env_id=config.env_id,
                lifetime_seed=seed,
                settings=settings,
            )
            yield LifetimeTask(data, config.task)


class LifetimeHarnessConfig(vf.HarnessConfig):
    """Nothing beyond what every harness has."""


class LifetimeHarness(vf.Harness[LifetimeHarnessConfig]):
    """Asks the model in this process: no sandbox, no program, no tools. The caller decides what is said before.

    In an exchange, the messages of a turn are the whole prompt, not an addition to it: `LifetimeEnv` keeps the
    conversation, so that it can leave episodes out.
    """

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def session(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
        tool_interception_url: str | None = None,
    ) -> vf.HarnessSession:
        """Open one connection for the whole lifetime."""
        return _Session(self, ctx, trace, runtime, endpoint, secret, mcp_urls, data, tool_interception_url)

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        """Ask for one reply to the task's prompt."""
        session = _Session(self, ctx, trace, runtime, endpoint, secret, mcp_urls, data)
        try:
            return await session.ask(None)
        finally:
            await session.close()


class _Session(vf.HarnessSession):
    """A lifetime's connection to the model, by way of verifiers' own server, which records every exchange."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # Rollouts have time limits of their own; the client waits as long as they do.
        self._client = AsyncOpenAI(base_url=self.endpoint, api_key=self.secret, timeout=None)

    async def ask(self, messages: Any) -> vf.ProgramResult:
        """One request: the system prompt and the given messages, or the task's own prompt if there are none."""
        system, prompt = self.harness.resolve_prompt(self.data)
        shown = prompt if messages is None else messages
        if isinstance(shown, str):
            shown = [vf.UserMessage(content=shown)]
        first = [] if system is None else [vf.SystemMessage(content=system)]
        wire: Any = [message_to_wire(message) for message in [*first, *(shown or [])]]
        await self._client.chat.completions.create(model=self.ctx.model, messages=wire)
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")

    async def _run(self, messages: Any) -> vf.ProgramResult:
        return await self.ask(messages)

    async def close(self) -> None:
        """Close the connection."""
        await super().close()
        await self._client.close()


class LifetimeEnvConfig(vf.EnvConfig):
    """Who lives, and how much of it is remembered, under ``--env``."""

    player: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())
    """The model. Its turns are limited by the lifetime's length alone, unless ``max_turns`` or a number of tokens is
    set; what is left of a lifetime then is lived by the random policy, and counted."""
    history: str | int = "full"
    """How much of its lifetime the model is shown: ``full``, ``episode`` (the present one alone) or a number of
    episodes. See ``daytwo.integrations.conversation.Conversation``."""

    @field_validator("history")
    @classmethod
    def _check_history(cls, value: str | int) -> str | int:
        episodes_shown(value)
        return value


class LifetimeEnv(vf.Env[LifetimeEnvConfig]):
    """Lives a lifetime: every reply of the player is a step of it, and what it then sees is the next message.

    A reply is read as `daytwo.narration` says. One that cannot be parsed, or that was cut off before its end, is asked
    for again, at most ``retries`` times a step, and then answered by a random action. The trace gets the reward
    ``improvement``, the metrics of `Conversation.metrics` and, in its ``info``, the normalised return of every episode
    (``normalized_returns``). With a ``history`` other than ``full`` it has one branch for every prompt that does not
    begin with the one before it.
    """

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        """Live one lifetime.

        Raises:
            ValueError: the harness was replaced by one that cannot forget, but ``history`` asks for it; or the task
                belongs to other versions of the texts.
        """
        data, player = task.data, agents.player
        forgets = isinstance(player.harness, LifetimeHarness)
        if not forgets and episodes_shown(self.config.history) is not None:
            raise ValueError(
                f"history={self.config.history!r} needs the harness of daytwo-verifiers, received "
                f"{player.harness.config.id!r}: leave --env.player.harness.id or --env.history out."
            )
        conversation = Conversation(
            make_life(data.env_id, data.lifetime_seed, **data.settings),
            history=self.config.history,
            message=lambda text: vf.UserMessage(content=text),
        )
        if conversation.text != data.prompt:
            raise ValueError(f"{data.name} was made by a version of daytwo with other texts: load the taskset again.")
        async with player.interaction(task) as interaction:
            segment = await interaction.turn()
            while not segment.terminated:
                complete = interaction.trace.calls[-1].finish_reason != "length"
                conversation.answer(segment.last_reply, segment.messages[-1], complete=complete)
                if conversation.over:
                    break
                segment = await interaction.turn(conversation.messages if forgets else conversation.text)
        trace = interaction.trace
        conversation.forfeit()
        trace.record_reward("improvement", conversation.reward)
        trace.record_metrics(conversation.metrics())
        trace.info["normalized_returns"] = conversation.normalized


__all__ = ["LifetimeEnv", "LifetimeHarness", "LifetimeTaskset"]
