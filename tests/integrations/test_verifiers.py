"""verifiers' own machinery from a task to an episode, with a model that is a local server playing by a script."""

import asyncio
import itertools
from contextlib import asynccontextmanager

import numpy as np
import pytest

pytest.importorskip("verifiers.v1", reason="needs verifiers: pip install 'daytwo[llm-training]'")
import verifiers.v1 as vf
from aiohttp import web
from verifiers.v1.env import RunSlot
from verifiers.v1.runtimes import subprocess as subprocess_runtime

from daytwo.integrations.text import TextLifetime
from daytwo.integrations.verifiers import LifetimeEnv, LifetimeHarness, LifetimeTaskset
from daytwo.streams import lifetime_seeds

TASKSET = {
    "id": "daytwo-verifiers",
    "env_id": "daytwo/Bandit-v0",
    "course": "single",
    "episodes": 3,
    "settings": {"arms": 3, "pulls": 2},
}
BANDIT = {"arms": 3, "pulls": 2, "course": "single", "episodes": 3}
STEPS = 6


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess_runtime, "CACHE_DIR", tmp_path)


class ScriptedModel:
    """An OpenAI-compatible endpoint that answers by ``policy(messages) -> text``, or ``(text, finish_reason)``."""

    def __init__(self, policy):
        self.policy, self.requests = policy, []

    @asynccontextmanager
    async def serving(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.complete)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            port = runner.addresses[0][1]
            client = vf.EvalClientConfig(base_url=f"http://127.0.0.1:{port}/v1", api_key_var="DAYTWO_TEST_NO_KEY")
            yield vf.ModelContext(model="scripted", client=client)
        finally:
            await runner.cleanup()

    async def complete(self, request):
        body = await request.json()
        self.requests.append(body)
        answer = self.policy(body["messages"])
        text, reason = answer if isinstance(answer, tuple) else (answer, "stop")
        if isinstance(text, int):
            return web.json_response({"error": {"message": "scripted failure"}}, status=text)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage = {"prompt_tokens": 10 * len(body["messages"]), "completion_tokens": 5, "total_tokens": 15}
        answer = {"id": "one", "object": "chat.completion", "created": 0, "model": "scripted", "usage": usage}
        return web.json_response({**answer, "choices": [choice]})


def in_turn(messages):
    """The arms in turn, counted by the answers so far."""
    return f"I try the next.\nACTION: {sum(one['role'] == 'assistant' for one in messages) % 3}"


def live(policy, *, tasks=1, rollouts=1, taskset=None, **env_config):
    """Rollouts of the first tasks; the episodes, task by task, and what the model was asked."""
    config = vf.resolve_env_config({"taskset": {**TASKSET, **(taskset or {})}, **env_config})
    env = vf.load_environment(config)
    assert isinstance(env, LifetimeEnv) and isinstance(env.taskset, LifetimeTaskset)
    model = ScriptedModel(policy)

    async def run():
        async with model.serving() as context, env.serving():
            episodes = []
            for task in env.taskset.take(tasks):
                for _ in range(rollouts):
                    episodes.append(await env.run_slot(RunSlot(task), context))
            return episodes

    return asyncio.run(run()), model.requests


def replies_of(trace) -> list[str]:
    return [node.message.content for node in trace.nodes if node.sampled]


def lived_by_hand(replies, trace, **settings) -> list[float]:
    """The rewards of a `TextLifetime`; where the replies end, nothing is said until it is over."""
    seed = trace.task.data.lifetime_seed
    life = TextLifetime("daytwo/Bandit-v0", seed, **{**BANDIT, **settings})
    assert life.reset() == trace.task.data.prompt
    rewards, over = [], False
    while not over:
        _, reward, over, _ = life.step(replies[len(rewards)] if len(rewards) < len(replies) else "")
        rewards.append(reward)
    return rewards


def test_an_episode_is_paid_what_the_same_lifetime_pays_by_hand():
    rng = np.random.default_rng(0)
    episodes, _ = live(lambda messages: f"ACTION: {rng.integers(3)}", rollouts=3)
    totals = []
    for episode in episodes:
        (trace,) = episode.traces
        assert episode.ok and trace.ok and trace.num_turns == STEPS and trace.stop_condition == "user_closed"
        totals.append(sum(lived_by_hand(replies_of(trace), trace)))
        assert trace.reward == pytest.approx(totals[-1]) and list(trace.rewards) == ["improvement"]
        assert trace.agent.name == "player" and trace.agent.trainable
        assert len(trace.info["normalized_returns"]) == 3
        assert trace.metrics["area"] == pytest.approx(np.mean(trace.info["normalized_returns"]))
    assert len(set(totals)) > 1


def test_rollouts_of_a_task_live_one_hidden_task_and_other_tasks_others():
    episodes, requests = live(in_turn, tasks=4, rollouts=2)
    rewards = [episode.traces[0].reward for episode in episodes]
    assert rewards[::2] == rewards[1::2] and len(set(rewards)) > 1
    asked = [request["messages"] for request in requests]
    assert asked[:STEPS] == asked[STEPS : 2 * STEPS]
    assert len({messages[0]["content"] for messages in asked}) == 4


def test_a_full_history_is_one_branch():
    (episode,), requests = live(in_turn)
    (trace,) = episode.traces
    assert trace.num_branches == 1
    for before, after in itertools.pairwise(one["messages"] for one in requests):
        assert after[: len(before)] == before and len(after) == len(before) + 2


def test_a_history_of_one_episode_is_a_branch_for_every_episode():
    (episode,), requests = live(in_turn, history="episode")
    (trace,) = episode.traces
    assert trace.num_branches == 3 and trace.num_turns == STEPS
    asked = [one["messages"] for one in requests]
    assert [len(messages) for messages in asked] == [1, 3, 1, 3, 1, 3]
    assert all(messages[0]["content"].startswith("Your lifetime has 3 episodes") for messages in asked)
    assert trace.reward == pytest.approx(sum(lived_by_hand(replies_of(trace), trace)))


def test_a_reply_that_means_nothing_is_asked_for_again():
    replies = itertools.chain(["what?", ("ACTION: 2", "length")], itertools.repeat("ACTION: 1"))
    (episode,), requests = live(lambda messages: next(replies))
    (trace,) = episode.traces
    assert trace.num_turns == STEPS + 2
    assert "Expected a line 'ACTION: '" in requests[1]["messages"][-1]["content"]
    assert trace.reward == pytest.approx(sum(lived_by_hand(["?", "?", *["ACTION: 1"] * STEPS], trace)))
    assert trace.metrics["cut_off"] == 1 / 8 and trace.metrics["unparsed"] == 2 / 8


def test_a_lifetime_that_a_limit_stops_is_lived_on_by_chance():
    (episode,), requests = live(in_turn, player={"max_turns": 2})
    (trace,) = episode.traces
    assert episode.ok and len(requests) == 2 and trace.stop_condition == "max_turns"
    assert trace.reward == pytest.approx(sum(lived_by_hand(["ACTION: 0", "ACTION: 1"], trace)))
    assert trace.metrics["forfeited"] == STEPS - 2


def test_a_model_that_fails_fails_the_episode():
    replies = itertools.chain(["ACTION: 0"], itertools.repeat((404, None)))
    (episode,), _ = live(lambda messages: next(replies))
    assert not episode.ok and "scripted failure" in str(episode.traces[0].errors)


def test_an_evaluation_lives_the_lifetimes_of_daytwo_evaluate():
    config = vf.resolve_env_config({"taskset": {**TASKSET, "evaluation": True, "seed": 6}})
    tasks = list(vf.load_taskset(config.taskset).take(5))
    assert [task.data.lifetime_seed for task in tasks] == [int(one) for one in lifetime_seeds(6, 0, 5)]
    assert {task.data.settings["split"] for task in tasks} == {"test"}
    assert len({task.key for task in tasks}) == 5
    training = list(vf.load_taskset(vf.resolve_env_config({"taskset": TASKSET}).taskset).take(5))
    assert {task.data.settings["split"] for task in training} == {"train"}
    assert not {task.data.lifetime_seed for task in training} & {task.data.lifetime_seed for task in tasks}


def test_tasks_survive_the_wire():
    (task,) = vf.load_taskset(vf.resolve_env_config({"taskset": TASKSET}).taskset).take(1)
    assert type(task.data).model_validate_json(task.data.model_dump_json()) == task.data


def test_the_harness_is_our_own_unless_another_is_named():
    config = vf.resolve_env_config({"taskset": TASKSET})
    assert vf.default_harness_id("daytwo-verifiers") == "daytwo-verifiers"
    assert isinstance(vf.load_harness(config.agent_harnesses()["player"]), LifetimeHarness)
    (episode,), requests = live(in_turn, player={"harness": {"id": "null"}}, history="episode")
    assert not episode.ok and not requests
    assert "needs the harness of daytwo-verifiers, received 'null'" in episode.errors[0].message


def test_the_harness_answers_a_prompt_by_itself():
    config = vf.AgentConfig(
        harness={"id": "daytwo-verifiers"}, runtime=vf.SubprocessConfig(), model="scripted", max_turns=3
    )
    model = ScriptedModel(lambda messages: f"I heard {messages[-1]['content']}")

    async def run():
        async with model.serving() as context:
            agent = vf.make_agent(config.model_copy(update={"client": context.client}))
            return await agent.run(vf.Task(vf.TaskData(prompt="hello", system_prompt="Listen.")))

    trace = asyncio.run(run())
    assert trace.ok and trace.last_reply == "I heard hello"
    assert [one["role"] for one in model.requests[0]["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"history": "some"}, "history must be 'full', 'episode'"),
        ({"taskset": {**TASKSET, "seed": -1}}, "seed"),
        ({"taskset": {**TASKSET, "arms": 3}}, "arms"),
    ],
)
def test_bad_configuration_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        vf.resolve_env_config({"taskset": TASKSET, **data})


def test_an_unknown_setting_is_refused_when_the_tasks_are_made():
    config = vf.resolve_env_config({"taskset": {**TASKSET, "settings": {"arm": 3}}})
    with pytest.raises((ValueError, TypeError), match="arm"):
        next(iter(vf.load_taskset(config.taskset)))
