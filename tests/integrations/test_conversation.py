import sys

import numpy as np
import pytest

from daytwo.integrations.conversation import Conversation, episodes_shown, group_seed, make_life
from daytwo.integrations.text import TextLifetime
from daytwo.streams import lifetime_seeds

BANDIT = {"arms": 3, "pulls": 2, "course": "single", "episodes": 3}


def make_conversation(seed=0, **options) -> Conversation:
    history = options.pop("history", "full")
    return Conversation(make_life("daytwo/Bandit-v0", seed, **BANDIT, **options), history=history)


def talk(conversation, replies=("ACTION: 0", "ACTION: 1", "ACTION: 2")) -> list[list[dict]]:
    """Live a lifetime with replies in a circle; the prompts."""
    prompts = []
    while not conversation.over:
        prompts.append(conversation.messages)
        reply = replies[(len(prompts) - 1) % len(replies)]
        conversation.answer(reply, {"role": "assistant", "content": reply})
    return prompts


def lived_by_hand(replies, seed=0, **options) -> list[float]:
    """The rewards of replies in a circle until the lifetime is over, without a conversation."""
    life = TextLifetime("daytwo/Bandit-v0", seed, **{**BANDIT, "split": "all", **options})
    life.reset()
    rewards, over = [], False
    while not over:
        _, reward, over, _ = life.step(replies[len(rewards) % len(replies)])
        rewards.append(reward)
    return rewards


def test_rewards_and_returns_are_those_of_the_lifetime():
    conversation = make_conversation(split="all")
    talk(conversation)
    rewards = lived_by_hand(["ACTION: 0", "ACTION: 1", "ACTION: 2"])
    assert conversation.reward == pytest.approx(sum(rewards), abs=1e-12)
    g = conversation.normalized
    assert len(g) == 3 and conversation.replies == len(rewards) == 6
    metrics = conversation.metrics()
    assert metrics["area"] == pytest.approx(np.mean(g))
    assert (metrics["first"], metrics["final"], metrics["gain"]) == (g[0], g[2], g[2] - g[0])
    assert metrics["unparsed"] == metrics["cut_off"] == metrics["forfeited"] == 0.0
    bar, paid = 0.0, 0.0
    for one in g:
        paid += one - bar
        bar = 0.75 * bar + 0.25 * one
    assert conversation.reward == pytest.approx(paid)


def test_every_prompt_of_a_full_history_begins_with_the_one_before_it():
    prompts = talk(make_conversation())
    assert len(prompts) == 6
    for before, after in zip(prompts, prompts[1:], strict=False):
        assert after[: len(before)] == before and len(after) == len(before) + 2
    assert [one["role"] for one in prompts[-1]] == ["user", "assistant"] * 5 + ["user"]


def test_a_history_of_one_episode_holds_nothing_of_those_before_it():
    conversation = make_conversation(history="episode")
    prompts = talk(conversation)
    assert [len(prompt) for prompt in prompts] == [1, 3, 1, 3, 1, 3]
    rules = conversation.life.narrator.rules(1)
    for prompt in prompts[::2]:
        assert prompt[0]["content"].startswith(rules)
        assert " paid " not in prompt[0]["content"].removeprefix(rules)
    for first, second in zip(prompts[::2], prompts[1::2], strict=True):
        assert second[0] == first[0] and " paid " in second[-1]["content"]
    shown = talk(make_conversation())
    assert shown[2][-1]["content"] != prompts[2][-1]["content"]  # the full history tells what the last pull paid


def test_a_history_of_some_episodes_forgets_the_oldest_when_one_begins():
    prompts = talk(make_conversation(history=2))
    assert [len(prompt) for prompt in prompts] == [1, 3, 5, 7, 5, 7]
    assert prompts[3] == talk(make_conversation())[3]
    assert prompts[4][0]["content"].startswith("Your lifetime has 3 episodes")
    assert " A new episode begins" in prompts[4][-1]["content"] and " paid " in prompts[4][-1]["content"]


def test_what_is_shown_does_not_change_what_is_lived():
    rewards = {history: make_conversation(seed=5, history=history) for history in ("full", "episode", 2)}
    for conversation in rewards.values():
        talk(conversation)
    assert len({conversation.reward for conversation in rewards.values()}) == 1


def test_giving_up_is_worth_what_random_actions_are():
    conversation = make_conversation(split="all")
    conversation.answer("ACTION: 1", {"role": "assistant", "content": "ACTION: 1"})
    first = conversation.reward
    rest = conversation.forfeit()
    life = TextLifetime("daytwo/Bandit-v0", 0, **BANDIT, split="all")
    life.reset()
    _, by_hand, over, _ = life.step("ACTION: 1")
    while not over:
        _, reward, over, _ = life.step("?")
        by_hand += reward
    assert first + rest == pytest.approx(by_hand, abs=1e-12) and conversation.reward == pytest.approx(by_hand)
    assert conversation.over and conversation.forfeited == 5 and len(conversation.normalized) == 3
    assert conversation.metrics()["unparsed"] == 0.0 and conversation.metrics()["forfeited"] == 5.0
    assert conversation.forfeit() == 0.0


def test_a_reply_that_was_cut_off_is_asked_for_again():
    conversation = make_conversation()
    reward = conversation.answer("ACTION: 0", {"role": "assistant", "content": "ACTION: 0"}, complete=False)
    assert reward == 0.0 and conversation.text.startswith("Expected a line 'ACTION: '")
    assert conversation.messages[1]["content"] == "ACTION: 0"
    conversation.answer("ACTION: 0", {"role": "assistant", "content": "ACTION: 0"})
    assert conversation.metrics()["cut_off"] == conversation.metrics()["unparsed"] == 0.5


def test_seeds_of_training_and_evaluation_share_nothing():
    training = [group_seed(7, index) for index in range(50)]
    evaluation = [group_seed(7, index, evaluation=True) for index in range(50)]
    assert evaluation == [int(one) for one in lifetime_seeds(7, 0, 50)]
    others = [group_seed(8, index) for index in range(50)]
    assert len({*training, *evaluation, *others}) == 150


def test_an_evaluation_lives_test_tasks_where_there_are_some():
    assert make_life("daytwo/DarkRoom-v0", 0, evaluation=True).env.split == "test"
    assert make_life("daytwo/DarkRoom-v0", 0).env.split == "train"
    assert make_life("daytwo/DarkRoom-v0", 0, evaluation=True, split="validation").env.split == "validation"


@pytest.mark.parametrize("history", ["some", 0, -1, 1.5, True, None, "0", ""])
def test_what_is_no_history_is_refused(history):
    with pytest.raises(ValueError, match="history must be 'full', 'episode' or a number of episodes"):
        episodes_shown(history)


def test_histories_have_numbers():
    assert [episodes_shown(one) for one in ("full", "episode", 3, "3")] == [None, 1, 3, 3]


def test_a_lifetime_that_can_raise_in_the_middle_is_refused():
    with pytest.raises(ValueError, match="leave on_unparsed out, received 'raise'"):
        make_life("daytwo/Bandit-v0", 0, on_unparsed="raise")


@pytest.mark.parametrize(("module", "package"), [("tinker", "tinker_cookbook"), ("verifiers", "verifiers.v1")])
def test_a_missing_package_names_the_extra(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"daytwo.integrations.{module}", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'daytwo\[llm-training\]'"):
        __import__(f"daytwo.integrations.{module}")
