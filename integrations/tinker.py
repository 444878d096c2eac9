"""tinker-cookbook: one of its episodes is one lifetime, and a group lives the same one.

`LifetimeDatasetBuilder` goes into ``tinker_cookbook.rl.train.Config(dataset_builder=...)``; it makes a
`LifetimeDataset` of `LifetimeGroupBuilder`, and these make `LifetimeEnv`. The inner episodes are text: a lifetime is
over, for tinker, when its course is. The reward is the environment's own, the improvement reward by default.
``docs/training_language_models.md`` has the whole of it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daytwo.checks import check_integer
from daytwo.integrations.conversation import Conversation, episodes_shown, group_seed, make_life
from daytwo.streams import MASK_64

try:
    import chz
    import tinker
    from tinker_cookbook import model_info
    from tinker_cookbook.renderers import Renderer, get_renderer, get_text_content
    from tinker_cookbook.rl.types import (
        STOP_METRIC_PREFIX,
        Action,
        ActionExtra,
        Env,
        EnvGroupBuilder,
        InitialObservationOverflow,
        Metrics,
        RLDataset,
        RLDatasetBuilder,
        StepResult,
        StopReason,
        Trajectory,
    )
    from tinker_cookbook.tokenizer_utils import get_tokenizer
except ImportError as error:
    raise ImportError(
        f"daytwo.integrations.tinker needs tinker-cookbook: pip install 'daytwo[llm-training]'; {error}"
    ) from error

_MOST = 1 << 31


class LifetimeEnv(Env):
    """One lifetime as an episode of tinker: single-use, one reply a step.

    A reply is read as `daytwo.narration` says. One that cannot be parsed, or that was cut off before its end, is asked
    for again, at most ``retries`` times a step, and then answered by a random action. A lifetime never ends early:
    where the next prompt would be longer than ``max_trajectory_tokens``, or where a limit of the cookbook stops the
    rollout, the rest of it is lived by the random policy, and counted.

    Attributes:
        conversation: the messages so far, and what came of them.
    """

    def __init__(
        self,
        renderer: Renderer,
        conversation: Conversation,
        *,
        system_prompt: str | None = None,
        max_trajectory_tokens: int | None = None,
        max_generation_tokens: int = 0,
    ) -> None:
        """Wrap a lifetime.

        Args:
            renderer: turns messages into tokens, and back.
            conversation: of a lifetime that has just begun.
            system_prompt: said before all else.
            max_trajectory_tokens: the longest that a prompt and its reply may be together; None for no limit.
            max_generation_tokens: how many of them are the reply's.

        Raises:
            ValueError: an argument is out of range.
        """
        self.conversation = conversation
        self._renderer = renderer
        self._system: list[Any] = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
        if max_trajectory_tokens is not None:
            check_integer("max_trajectory_tokens", max_trajectory_tokens, 1, _MOST)
        self._limit = max_trajectory_tokens
        self._reserve = check_integer("max_generation_tokens", max_generation_tokens, 0, _MOST)

    async def initial_observation(self) -> Any:
        """The rules and the first observation as tokens, and the stop condition.

        Returns:
            ``(ModelInput, stop)``, or an ``InitialObservationOverflow`` with the reward of a random lifetime if they
            are too long already.
        """
        prompt = await self._prompt()
        if prompt is None:
            reward = self.conversation.forfeit()
            return InitialObservationOverflow(reward=reward, metrics={_stop(StopReason.MAX_TOKENS): 1.0})
        return prompt, self._renderer.get_stop_sequences()

    async def step(self, action: Action, *, extra: ActionExtra | None = None) -> StepResult:
        """Answer with tokens.

        Args:
            action: the reply's tokens.
            extra: says whether the reply was cut off.

        Returns:
            The reward, the next prompt, and whether the lifetime is over.
        """
        conversation = self.conversation
        message, termination = self._renderer.parse_response(action)
        complete = termination.is_clean and (extra or {}).get("stop_reason", "stop") != "length"
        reward = conversation.answer(get_text_content(message), message, complete=complete)
        prompt, metrics = None, {}
        if conversation.over:
            metrics[_stop(StopReason.COMPLETED)] = 1.0
        elif (prompt := await self._prompt()) is None:
            reward += conversation.forfeit()
            metrics[_stop(StopReason.CONTEXT_OVERFLOW)] = 1.0
        return StepResult(
            reward=reward,
            episode_done=conversation.over,
            next_observation=tinker.ModelInput.empty() if prompt is None else prompt,
            next_stop_condition=self._renderer.get_stop_sequences(),
            metrics=metrics,
        )

    async def _prompt(self) -> Any:
        """The next prompt, or None if it is too long."""
        messages = [*self._system, *self.conversation.messages]
        # Tokenisers are slow on long texts and let other threads run.
        prompt = await asyncio.to_thread(self._renderer.build_generation_prompt, messages)
        if self._limit is not None and prompt.length + self._reserve > self._limit:
            return None
        return prompt


def _stop(reason: str) -> str:
    return f"{STOP_METRIC_PREFIX}{reason}"


@dataclass(frozen=True)
class LifetimeGroupBuilder(EnvGroupBuilder):
    """Makes a group: so many copies of one lifetime, with the same hidden task, the same luck and the same words.

    What differs within a group is what the model does, so that a group's mean reward is a baseline for its members.

    Attributes:
        env_id: the environment's id, or whatever else `TextLifetime` takes.
        seed: which lifetime, an integer of at least 0.
        renderer: turns messages into tokens; one made by ``get_renderer`` can be sent to other processes.
        group_size: how many copies.
        settings: keyword arguments of `TextLifetime`: of the environment, and ``rename`` and ``retries``.
        history: how much of the lifetime a prompt holds, see `daytwo.integrations.conversation.Conversation`.
        system_prompt: said before all else.
        max_trajectory_tokens: the longest that a prompt and its reply may be together; None for no limit.
        max_generation_tokens: how many of them are the reply's.
    """

    env_id: Any
    seed: int
    renderer: Renderer
    group_size: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    history: str | int = "full"
    system_prompt: str | None = None
    max_trajectory_tokens: int | None = None
    max_generation_tokens: int = 0

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, 0, MASK_64)
        check_integer("group_size", self.group_size, 1, _MOST)
        episodes_shown(self.history)

    async def make_envs(self) -> Sequence[LifetimeEnv]:
        """Make the copies, each at its beginning."""
        return [self._make_env() for _ in range(self.group_size)]

    def _make_env(self) -> LifetimeEnv:
        life = make_life(self.env_id, self.seed, **self.settings)
        return LifetimeEnv(
            self.renderer,
            Conversation(life, history=self.history),
            system_prompt=self.system_prompt,
            max_trajectory_tokens=self.max_trajectory_tokens,
            max_generation_tokens=self.max_generation_tokens,
        )

    async def compute_group_rewards(
        self, trajectory_group: list[Trajectory], env_group: Sequence[Env]
    ) -> list[tuple[float, Metrics]]:
        """What a lifetime that was stopped from outside has still to come, by the random policy, and the metrics.

        Returns:
            For every copy a reward, 0 where the lifetime was lived to its end, and `Conversation.metrics`.
        """
        results: list[tuple[float, Metrics]] = []
        for env in env_group:
            if not isinstance(env, LifetimeEnv):
                raise TypeError(f"env_group must hold what make_envs made, received {env!r}.")
            rest = env.conversation.forfeit()
            results.append((rest, dict(env.conversation.metrics())))
        return results

    def logging_tags(self) -> list[str]:
        """The environment's name, by which the cookbook groups its figures."""
        return [str(self.env_id).rpartition("/")[2]]


class LifetimeDataset(RLDataset):
    """Batches of groups, each group a lifetime that no other one lives.

    Batch b holds the lifetimes b * n to b * n + n - 1 of its seed's sequence (`group_seed`), whatever was asked for
    before, so that a run that is taken up again goes on where it was.
    """

    def __init__(
        self,
        env_id: Any,
        renderer: Renderer,
        *,
        groups: int,
        group_size: int,
        batches: int,
        seed: int = 0,
        evaluation: bool = False,
        **options: Any,
    ) -> None:
        """Describe the batches.

        Args:
            env_id: the environment's id, or whatever else `TextLifetime` takes.
            renderer: turns messages into tokens.
            groups: how many groups are in a batch.
            group_size: how many copies of a lifetime are in a group.
            batches: how many batches there are.
            seed: of the sequence of lifetimes.
            evaluation: the lifetimes that ``daytwo.evaluate`` lives under this seed, on test tasks; otherwise others.
            **options: of `LifetimeGroupBuilder`.

        Raises:
            ValueError: an argument is out of range, or the environment cannot be made so.
        """
        self._groups = check_integer("groups", groups, 1, _MOST)
        self._batches = check_integer("batches", batches, 1, _MOST)
        self._seed = check_integer("seed", seed, 0, MASK_64)
        self._evaluation = evaluation
        # Unknown settings raise here, not in the middle of a run.
        settings = dict(options.pop("settings", {}))
        settings["split"] = make_life(env_id, 0, evaluation=evaluation, **settings).env.split
        self._options = {
            **options,
            "env_id": env_id,
            "renderer": renderer,
            "group_size": group_size,
            "settings": settings,
        }
        self._builder(0)

    def _builder(self, index: int) -> LifetimeGroupBuilder:
        seed = group_seed(self._seed, index, evaluation=self._evaluation)
        return LifetimeGroupBuilder(seed=seed, **self._options)

    def get_batch(self, index: int) -> Sequence[LifetimeGroupBuilder]:
        """The groups of one batch.

        Args:
            index: of the batch, counted from 0.

        Raises:
            IndexError: there is no such batch.
        """
        if not 0 <= index < self._batches:
            raise IndexError(f"There are batches 0..{self._batches - 1}, received {index!r}.")
        return [self._builder(index * self._groups + k) for k in range(self._groups)]

    def __len__(self) -> int:
        return self._batches


@chz.chz
class LifetimeDatasetBuilder(RLDatasetBuilder):
    """What a training run lives: goes into ``tinker_cookbook.rl.train.Config``, and is set on its command lines.

    Attributes:
        env_id: the environment's id.
        model_name: of the model, by which its tokeniser is found.
        renderer_name: how messages become tokens; by default what the cookbook recommends for the model. Choose one
            that keeps earlier messages as they were (``has_extension_property``), or every step of a lifetime is
            trained on by itself.
        groups: how many groups are in a batch.
        group_size: how many copies of a lifetime are in a group.
        batches: how many batches a run has.
        test_groups: how many lifetimes of test tasks are evaluated, those of ``daytwo.evaluate`` under the same seed;
            none if 0. Each is lived once.
        seed: of the run.
        course: see `daytwo.LifetimeEnv`.
        episodes: per stage; short lifetimes make short prompts.
        level: of a single-level course.
        reward: the improvement rule.
        settings: further keyword arguments of `TextLifetime`: the family's settings, ``rename``, ``retries``, ...
        history: ``full``, ``episode``, or how many episodes a prompt holds.
        system_prompt: said before all else.
        max_trajectory_tokens: the longest that a prompt and its reply may be together; None for no limit.
        max_generation_tokens: how many of them are the reply's: the ``max_tokens`` of the run.
    """

    env_id: str
    model_name: str
    renderer_name: str | None = None
    groups: int = 8
    group_size: int = 8
    batches: int = 100
    test_groups: int = 0
    seed: int = 0
    course: str | None = None
    episodes: int | None = None
    level: int | None = None
    reward: str | None = None
    settings: Mapping[str, Any] = chz.field(default_factory=dict)
    history: str = "full"
    system_prompt: str | None = None
    max_trajectory_tokens: int | None = None
    max_generation_tokens: int = 0

    async def __call__(self) -> tuple[LifetimeDataset, LifetimeDataset | None]:
        """Make the training batches, and the test batch if there are ``test_groups``.

        Raises:
            ValueError: a setting is unknown or out of range.
        """
        check_integer("test_groups", self.test_groups, 0, _MOST)
        name = self.renderer_name or model_info.get_recommended_renderer_name(self.model_name)
        renderer = get_renderer(name, get_tokenizer(self.model_name), model_name=self.model_name)
        named = {"course": self.course, "episodes": self.episodes, "level": self.level, "reward": self.reward}
        common: dict[str, Any] = {
            "seed": self.seed,
            "settings": {**self.settings, **{key: value for key, value in named.items() if value is not None}},
            "history": self.history,
            "system_prompt": self.system_prompt,
            "max_trajectory_tokens": self.max_trajectory_tokens,
            "max_generation_tokens": self.max_generation_tokens,
        }
        training = LifetimeDataset(
            self.env_id, renderer, groups=self.groups, group_size=self.group_size, batches=self.batches, **common
        )
        if not self.test_groups:
            return training, None
        return training, LifetimeDataset(
            self.env_id, renderer, groups=self.test_groups, group_size=1, batches=1, evaluation=True, **common
        )


__all__ = ["LifetimeDataset", "LifetimeDatasetBuilder", "LifetimeEnv", "LifetimeGroupBuilder"]
