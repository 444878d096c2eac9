"""The cookbook's own rollouts, with a model that plays by a script and a tokeniser of bytes: nothing is downloaded."""

import asyncio
import pickle
import re

import numpy as np
import pytest

pytest.importorskip("tinker_cookbook", reason="needs tinker-cookbook: pip install 'daytwo[llm-training]'")
import chz
import tinker
from tinker_cookbook.completers import TokensWithLogprobs
from tinker_cookbook.renderers import get_renderer
from tinker_cookbook.rl.data_processing import assemble_training_data, compute_advantages, trajectory_to_data
from tinker_cookbook.rl.metric_util import RLTestSetEvaluator, compute_trajectory_metrics
from tinker_cookbook.rl.rollout_limits import RolloutLimits
from tinker_cookbook.rl.rollouts import (
    do_group_rollout,
    do_group_rollout_and_filter_constant_reward,
    do_single_rollout,
)
from tinker_cookbook.rl.train import Config
from tinker_cookbook.rl.types import TrajectoryGroup
from tinker_cookbook.tokenizer_utils import register_tokenizer, unregister_tokenizer

from daytwo.integrations.text import TextLifetime
from daytwo.integrations.tinker import LifetimeDataset, LifetimeDatasetBuilder, LifetimeGroupBuilder
from daytwo.streams import lifetime_seeds

BANDIT = {"arms": 3, "pulls": 2, "course": "single", "episodes": 3}
STEPS = 6
MODEL = "daytwo/bytes"
END = "<|im_end|>"


class ByteTokenizer:
    """A token for every byte, and one for each of the marks that a chat is made of."""

    name_or_path = MODEL
    bos_token = eos_token = None
    eos_token_id = None
    marks = ("<|im_start|>", END, "<think>", "</think>")

    def encode(self, text, add_special_tokens=False, split_special_tokens=False):
        if split_special_tokens:
            return list(text.encode())
        tokens = []
        for part in re.split("(" + "|".join(map(re.escape, self.marks)) + ")", text):
            tokens += [256 + self.marks.index(part)] if part in self.marks else list(part.encode())
        return tokens

    def decode(self, tokens):
        return b"".join(self.marks[one - 256].encode() if one > 255 else bytes([one]) for one in tokens).decode()


@pytest.fixture(autouse=True)
def tokenizer():
    register_tokenizer(MODEL, ByteTokenizer)
    yield ByteTokenizer()
    unregister_tokenizer(MODEL)


class ScriptedModel:
    """A sampling client that answers by ``policy(prompt) -> text``, or ``(text, stop_reason)``."""

    def __init__(self, policy):
        self.policy, self.prompts = policy, []

    async def sample_async(self, prompt, num_samples, sampling_params):
        tokenizer = ByteTokenizer()
        self.prompts.append(tokenizer.decode(prompt.to_ints()))
        answer = self.policy(self.prompts[-1])
        text, reason = answer if isinstance(answer, tuple) else (answer + END, "stop")
        tokens = np.array(tokenizer.encode(text), np.int32)
        sequence = tinker.SampledSequence(
            stop_reason=reason,
            sequence_id=str(len(self.prompts)),
            tokens_np=tokens,
            logprobs_np=np.full(len(tokens), -0.5, np.float32),
        )
        return tinker.SampleResponse(sequences=[sequence])

    sample = sample_async  # as later versions of the cookbook call it


class Completer:
    """Always says the same."""

    def __init__(self, text):
        self.tokens = ByteTokenizer().encode(text)

    async def __call__(self, prompt, stop):
        return TokensWithLogprobs(tokens=self.tokens, maybe_logprobs=[0.0] * len(self.tokens))


def in_turn(prompt):
    """The arms in turn, counted by the answers so far."""
    return f"ACTION: {(prompt.count('<|im_start|>assistant') - 1) % 3}"


def by_chance(seed):
    rng = np.random.default_rng(seed)
    return lambda prompt: f"I try one.\nACTION: {rng.integers(3)}"


def make_group(seed=12, **options) -> LifetimeGroupBuilder:
    options = {"group_size": 3, "settings": BANDIT, **options}
    options.setdefault("renderer", get_renderer("qwen3_instruct", ByteTokenizer()))
    return LifetimeGroupBuilder(env_id="daytwo/Bandit-v0", seed=seed, **options)


def roll_out(builder, policy) -> tuple[TrajectoryGroup, list[str]]:
    model = ScriptedModel(policy)
    group = asyncio.run(
        do_group_rollout_and_filter_constant_reward(
            model, builder, max_tokens=64, temperature=1.0, do_remove_constant_reward_groups=False
        )
    )
    return group, model.prompts


def replies_of(trajectory) -> list[str]:
    return [ByteTokenizer().decode(one.ac.tokens).removesuffix(END) for one in trajectory.transitions]


def prompts_of(trajectory) -> list[str]:
    return [ByteTokenizer().decode(one.ob.to_ints()) for one in trajectory.transitions]


def lived_by_hand(replies, seed=12, **settings) -> list[float]:
    """The rewards of a `TextLifetime`; where the replies end, nothing is said until it is over."""
    life = TextLifetime("daytwo/Bandit-v0", seed, **{**BANDIT, **settings})
    life.reset()
    rewards, over = [], False
    while not over:
        _, reward, over, _ = life.step(replies[len(rewards)] if len(rewards) < len(replies) else "")
        rewards.append(reward)
    return rewards


def test_a_group_is_paid_what_the_same_lifetime_pays_by_hand():
    group, _ = roll_out(make_group(), by_chance(0))
    assert len(group.trajectories_G) == 3
    for trajectory in group.trajectories_G:
        assert len(trajectory.transitions) == STEPS and trajectory.stop_reason == "completed"
        replies = replies_of(trajectory)
        assert [one.reward for one in trajectory.transitions] == lived_by_hand(replies)
    totals = [sum(lived_by_hand(replies_of(one))) for one in group.trajectories_G]
    assert group.get_total_rewards() == pytest.approx(totals) and len(set(totals)) > 1
    assert group.final_rewards_G == [0.0, 0.0, 0.0]
    for metrics in group.metrics_G:
        assert {"area", "first", "final", "gain", "unparsed", "cut_off", "forfeited"} == set(metrics)


def test_a_group_lives_one_hidden_task_with_the_same_luck_and_the_same_words():
    group, _ = roll_out(make_group(), in_turn)
    first = group.trajectories_G[0]
    for other in group.trajectories_G[1:]:
        assert prompts_of(other) == prompts_of(first)
        assert [one.reward for one in other.transitions] == [one.reward for one in first.transitions]


def test_other_groups_live_other_lifetimes():
    dataset = LifetimeDataset(
        "daytwo/Bandit-v0", make_group().renderer, groups=4, group_size=1, batches=2, settings=BANDIT
    )
    builders = [*dataset.get_batch(0), *dataset.get_batch(1)]
    groups = [roll_out(builder, in_turn)[0] for builder in builders]
    assert len({builder.seed for builder in builders}) == 8
    assert len({prompts_of(group.trajectories_G[0])[0] for group in groups}) == 8
    assert len({group.get_total_rewards()[0] for group in groups}) > 2


def test_a_batch_does_not_depend_on_what_was_asked_for_before():
    def make(seed):
        return LifetimeDataset("daytwo/Bandit-v0", make_group().renderer, groups=2, group_size=2, batches=3, seed=seed)

    dataset = make(4)
    late = [one.seed for one in dataset.get_batch(2)]
    assert len(dataset) == 3 and late == [one.seed for one in make(4).get_batch(2)]
    assert not {one.seed for one in dataset.get_batch(0)} & {*late, *(one.seed for one in make(5).get_batch(0))}
    with pytest.raises(IndexError, match=r"batches 0\.\.2, received 3"):
        dataset.get_batch(3)


def test_a_whole_lifetime_is_one_sequence_to_train_on():
    group, prompts = roll_out(make_group(group_size=1), in_turn)
    for before, after in zip(prompts, prompts[1:], strict=False):
        assert after.startswith(before)
    data = trajectory_to_data(group.trajectories_G[0], 1.0)
    assert len(data) == 1
    trained = data[0].loss_fn_inputs["mask"].to_torch().sum()
    assert trained == sum(len(one.ac.tokens) for one in group.trajectories_G[0].transitions)


def test_a_history_of_one_episode_makes_a_sequence_of_every_episode():
    group, _ = roll_out(make_group(group_size=1, history="episode"), in_turn)
    trajectory = group.trajectories_G[0]
    data = trajectory_to_data(trajectory, 1.0)
    assert len(data) == 3
    turns = [prompt.count("<|im_start|>assistant") for prompt in prompts_of(trajectory)]
    assert turns == [1, 2] * 3
    assert [one.reward for one in trajectory.transitions] == lived_by_hand(replies_of(trajectory))


def test_groups_become_training_data():
    groups = [roll_out(make_group(seed=seed), by_chance(seed))[0] for seed in (1, 2)]
    advantages = compute_advantages(groups)
    data, origins = assemble_training_data(groups, advantages)
    assert len(data) == 6 and origins[-1] == {"group_idx": 1, "traj_idx": 2}
    for group, advantage in zip(groups, advantages, strict=True):
        rewards = np.array(group.get_total_rewards())
        assert advantage.numpy() == pytest.approx(rewards - rewards.mean(), abs=1e-6)
    metrics = compute_trajectory_metrics(groups, [make_group().logging_tags()] * 2)
    assert metrics["env/all/turns_per_episode"] == STEPS
    assert metrics["env/all/area"] == pytest.approx(np.mean([one["area"] for g in groups for one in g.metrics_G]))


def test_a_reply_that_means_nothing_is_asked_for_again():
    replies = iter(["ACTION: 0", "what?", "ACTION: 1", "", "", "", *["ACTION: 2"] * STEPS])
    group, _ = roll_out(make_group(group_size=1), lambda prompt: next(replies))
    trajectory = group.trajectories_G[0]
    assert len(trajectory.transitions) == STEPS + 1 + 2  # two of three silent replies took no step
    assert [one.reward for one in trajectory.transitions] == lived_by_hand(replies_of(trajectory))
    assert "Expected a line 'ACTION: '" in prompts_of(trajectory)[2]
    assert group.metrics_G[0]["unparsed"] == pytest.approx(4 / 9)


@pytest.mark.parametrize("cut", [("ACTION: 2", "length"), ("ACTION: 2" + END, "length"), ("ACTION: 2", "stop")])
def test_a_reply_without_an_end_counts_as_none(cut):
    answers = iter([cut, *["ACTION: 1"] * STEPS])
    group, _ = roll_out(make_group(group_size=1), lambda prompt: next(answers))
    trajectory = group.trajectories_G[0]
    rewards = [one.reward for one in trajectory.transitions]
    assert rewards == lived_by_hand(["", *["ACTION: 1"] * STEPS]) and rewards[0] == 0.0
    assert group.metrics_G[0]["cut_off"] == pytest.approx(1 / 7)
    assert "ACTION: 2" in prompts_of(trajectory)[1]


def test_thoughts_are_not_answers():
    group, _ = roll_out(
        make_group(group_size=1, settings={**BANDIT, "retries": 0}),
        lambda prompt: "<think>\nACTION: 0\n</think>\n\nACTION: 1",
    )
    assert [one.reward for one in group.trajectories_G[0].transitions] == lived_by_hand(["ACTION: 1"] * STEPS)


def test_a_lifetime_too_long_for_the_context_is_lived_on_by_chance():
    whole, _ = roll_out(make_group(group_size=1), in_turn)
    lengths = [one.ob.length for one in whole.trajectories_G[0].transitions]
    limit = (lengths[2] + lengths[3]) // 2 + 40
    builder = make_group(group_size=1, max_trajectory_tokens=limit, max_generation_tokens=40)
    group, prompts = roll_out(builder, in_turn)
    trajectory = group.trajectories_G[0]
    assert trajectory.stop_reason == "context_overflow" and len(prompts) == 3
    assert group.get_total_rewards()[0] == pytest.approx(sum(lived_by_hand(replies_of(trajectory))))
    assert group.metrics_G[0]["forfeited"] == STEPS - 3


def test_rules_too_long_for_the_context_are_worth_a_lifetime_of_chance():
    group, prompts = roll_out(make_group(group_size=2, max_trajectory_tokens=10), in_turn)
    assert not prompts and group.trajectories_G[0].stop_reason == "max_tokens"
    assert group.get_total_rewards() == pytest.approx([sum(lived_by_hand([]))] * 2)


def test_a_rollout_that_is_stopped_from_outside_is_lived_on_by_chance():
    class Limited(LifetimeGroupBuilder):
        async def make_envs(self):
            envs = await super().make_envs()
            for env in envs:
                env.rollout_limits = RolloutLimits(max_turns=2)
            return envs

    whole = make_group(group_size=1)
    builder = Limited(whole.env_id, whole.seed, whole.renderer, 1, settings=BANDIT)
    group, prompts = roll_out(builder, in_turn)
    assert len(prompts) == 2 and group.trajectories_G[0].stop_reason == "max_turns"
    by_hand = lived_by_hand(["ACTION: 0", "ACTION: 1"])
    assert group.final_rewards_G[0] == pytest.approx(sum(by_hand[2:])) != 0.0
    assert group.get_total_rewards()[0] == pytest.approx(sum(by_hand))


def test_single_rollouts_and_other_renderers_work():
    async def live():
        renderer = get_renderer("role_colon", ByteTokenizer())
        (env,) = await make_group(group_size=1, renderer=renderer).make_envs()
        return await do_single_rollout(Completer(" ACTION: 2\n\nUser:"), env)

    trajectory = asyncio.run(live())
    assert [one.reward for one in trajectory.transitions] == lived_by_hand(["ACTION: 2"] * STEPS)


def test_a_system_prompt_comes_first():
    _, prompts = roll_out(make_group(group_size=1, system_prompt="Be brief."), in_turn)
    assert prompts[0].startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nYour lifetime has")


def test_builders_can_be_sent_to_other_processes():
    builder = make_group()
    copy = pickle.loads(pickle.dumps(builder))
    first, second = roll_out(builder, in_turn)[0], roll_out(copy, in_turn)[0]
    assert first.get_total_rewards() == second.get_total_rewards()


def test_the_dataset_is_described_on_a_command_line(tmp_path):
    arguments = ["env_id=daytwo/DarkRoom-v0", f"model_name={MODEL}", "renderer_name=qwen3_instruct", "groups=3"]
    arguments += ["group_size=2", "batches=5", "test_groups=4", "seed=3", "course=single", "episodes=2", "history=1"]
    builder = chz.Blueprint(LifetimeDatasetBuilder).make_from_argv(arguments)
    training, test = asyncio.run(builder())
    assert len(training) == 5 and len(training.get_batch(0)) == 3 and training.get_batch(0)[0].group_size == 2
    (tests,) = [test.get_batch(index) for index in range(len(test))]
    assert [one.seed for one in tests] == [int(one) for one in lifetime_seeds(3, 0, 4)]
    (env,) = asyncio.run(tests[0].make_envs())
    assert env.conversation.life.env.split == "test" and env.conversation.life.env.course.episodes == 2
    seeds = {one.seed for index in range(5) for one in training.get_batch(index)}
    assert len(seeds) == 15 and not seeds & {one.seed for one in tests}
    assert asyncio.run(training.get_batch(0)[0].make_envs())[0].conversation.life.env.split == "train"
    config = Config(
        model_name=MODEL,
        recipe_name="daytwo",
        log_path=str(tmp_path),
        dataset_builder=builder,
        learning_rate=1e-5,
        max_tokens=64,
    )
    assert config.dataset_builder is builder


def test_the_cookbooks_evaluator_scores_test_lifetimes():
    builder = LifetimeDatasetBuilder(
        env_id="daytwo/Bandit-v0", model_name=MODEL, renderer_name="qwen3_instruct", test_groups=5, settings=BANDIT
    )
    _, test = asyncio.run(builder())
    metrics = asyncio.run(RLTestSetEvaluator(test, max_tokens=64)(ScriptedModel(in_turn)))
    seeds = [int(one) for one in lifetime_seeds(0, 0, 5)]
    by_hand = [sum(lived_by_hand([f"ACTION: {k % 3}" for k in range(STEPS)], seed, split="test")) for seed in seeds]
    assert metrics["test/env/all/reward/total"] == pytest.approx(np.mean(by_hand))
    assert metrics["test/env/all/total_episodes"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "groups must be an integer"),
        ({"group_size": 0}, "group_size must be an integer"),
        ({"batches": 0}, "batches must be an integer"),
        ({"seed": -1}, "seed must be an integer"),
        ({"history": "some"}, "history must be"),
        ({"settings": {"arm": 3}}, "arm"),
        ({"settings": {"on_unparsed": "raise"}}, "on_unparsed"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(options, message):
    options = {"groups": 1, "group_size": 1, "batches": 1, **options}
    with pytest.raises((ValueError, TypeError), match=message):
        LifetimeDataset("daytwo/Bandit-v0", make_group().renderer, **options)


def test_a_group_can_be_rolled_out_by_any_completer():
    group = asyncio.run(do_group_rollout(make_group(group_size=2), Completer("ACTION: 0" + END)))
    assert group.get_total_rewards() == pytest.approx([sum(lived_by_hand(["ACTION: 0"] * STEPS))] * 2)
