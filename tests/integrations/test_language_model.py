"""Language models as agents: against a chat endpoint on this machine, which answers well or badly."""

import asyncio
import hashlib
import json
import logging
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import daytwo
from daytwo import Course, Stage
from daytwo.integrations.chat import (
    BudgetExhausted,
    ChatClient,
    ChatError,
    ChatLog,
    RateLimit,
    estimate_tokens,
    message,
)
from daytwo.integrations.language_model import _VARIABLES, LanguageModel, evaluate_language_model
from daytwo.narration import Narrator
from tests.integrations.chat_server import (
    KEY,
    Answer,
    ChatServer,
    Clock,
    DirectWinStay,
    failure,
    offered,
    win_stay,
)
from tests.toy import KNOWN, Counting, Steering

ROOT = Path(__file__).resolve().parents[2]
# The family's own arms, for which other tests have it compiled: two levels of 2 and 5, and 12 steps a lifetime.
BANDIT = {"pulls": 3, "course": Course([Stage(0, 2), Stage(1, 2)])}
STEPS = 12
COUNTING = {"split": "all", "course": "single", "level": 2, "episodes": 2, "compiled": False}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No endpoint, option or proxy but those that a test sets."""
    own = {"DAYTWO_MODEL", *(f"DAYTWO_{name.upper()}" for name in _VARIABLES)}
    for name in list(os.environ):
        if name in own or name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def made():
    """Makes clients and closes them."""
    clients = []

    def make(server, **options):
        clock = Clock()
        url = server if isinstance(server, str) else server.url
        options = {"base_url": url, "api_key": KEY, "clock": clock, "sleep": clock.sleep, **options}
        options.setdefault("jitter", random.Random(0))
        client = ChatClient("test-model", **options)
        client.waited = clock.slept
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def split_options(options: dict) -> tuple[dict, dict]:
    own = ("memory", "context_tokens", "reply_tokens", "summary_tokens", "retries", "rename", "prices", "family")
    return {k: v for k, v in options.items() if k in own}, {k: v for k, v in options.items() if k not in own}


@pytest.fixture
def agent_on(made):
    """Makes agents on a server."""

    def make(server, **options):
        own, endpoint = split_options(options)
        return LanguageModel(client=made(server, **endpoint), **own)

    return make


def live(agent, lifetimes=3, env_id="daytwo/Bandit-v0", **arguments):
    return daytwo.evaluate(agent, env_id, lifetimes=lifetimes, **{**BANDIT, **arguments})


def ask(client, text="Hello", **options):
    return client.together([client.complete([message("user", text)], **options)])[0]


def assert_same_lives(first, second):
    for name in ("returns", "normalized", "levels", "stages", "reward"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def fingerprint(request: dict) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def direct(rename: bool = True) -> DirectWinStay:
    def order(seed):
        env = daytwo.LifetimeVectorEnv("daytwo/Bandit-v0", 1, split="test", **BANDIT)
        spec = env.lifetime_spec
        family = daytwo.make_family(spec.env_id, **spec.settings)
        return np.argsort(Narrator(family, spec.layout, spec.course, seed=seed, rename=rename).numbers)

    return DirectWinStay(order)


# --- playing through text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rename", [True, False])
def test_a_policy_played_through_text_scores_as_the_same_policy_played_directly(agent_on, rename):
    expected = live(direct(rename), 6)
    with ChatServer(win_stay) as server:
        agent = agent_on(server, rename=rename)
        result = live(agent, 6)
    assert_same_lives(result, expected)
    assert len(server.requests) == 6 * STEPS
    assert set(server.keys) == {f"Bearer {KEY}"}
    report = agent.report()
    assert (report["lifetimes"], report["steps"], report["calls"]) == (6, 6 * STEPS, 6 * STEPS)
    assert report["random_actions"] == report["unparsed_replies"] == report["failed_attempts"] == 0
    assert result.agent == "test-model (full)" and result.provenance["model"] == "test-model"


def erratic(request: dict, number: int) -> Answer | str:
    """Nonsense, trouble or an action, decided by the request alone."""
    fate = int(fingerprint(request)[:8], 16) % 10
    if fate < 3:
        return ["", "I would rather not.", "ACTION: fly"][fate]
    return f"ACTION: {offered(request)[fate % 2]}"


@pytest.mark.parametrize("memory", ["full", "summary", "none"])
def test_equal_replies_give_equal_lives_for_any_batch_size(agent_on, memory):
    with ChatServer(erratic) as server:
        alone, few, all_at_once = (agent_on(server, memory=memory, retries=1) for _ in range(3))
        results = [live(alone, 3, num_envs=1), live(few, 3, num_envs=2), live(all_at_once, 3)]
    assert_same_lives(results[0], results[1])
    assert_same_lives(results[0], results[2])
    counts = [{name: one.report()[name] for name in ("calls", "random_actions")} for one in (alone, few, all_at_once)]
    assert counts[0] == counts[1] == counts[2]
    assert 0 < counts[0]["random_actions"] < 3 * STEPS


def test_continuous_actions_are_read_from_text(agent_on):
    with ChatServer(lambda request, number: "ACTION: 0.5, -0.25" if number % 2 == 0 else "north") as server:
        agent = agent_on(server, family=Steering, retries=0)
        result = daytwo.evaluate(
            agent, Steering, lifetimes=2, compiled=False, split="all", reference_returns=KNOWN[Steering]
        )
    assert np.isfinite(result.returns).all()
    assert agent.report()["random_actions"] == 9


def test_it_runs_where_an_event_loop_runs_already(agent_on):
    async def main():
        return live(agent, 1)

    with ChatServer(win_stay) as server:
        agent = agent_on(server)
        assert_same_lives(asyncio.run(main()), live(direct(), 1))


# --- memory -----------------------------------------------------------------------------------------------------------


def conversations(server: ChatServer) -> list[list[dict]]:
    return [request["messages"] for request in server.requests]


def test_full_memory_sends_all_that_was_said_in_the_lifetime(agent_on):
    with ChatServer(win_stay) as server:
        live(agent_on(server, memory="full"), 1)
    sent = conversations(server)
    assert [len(one) for one in sent] == [2 + 2 * step for step in range(STEPS)]
    for before, after in zip(sent, sent[1:], strict=False):
        assert after[1 : len(before)] == before[1:]
        assert after[len(before)]["role"] == "assistant" and "ACTION: arm" in after[len(before)]["content"]
    changed = [step for step, one in enumerate(sent) if one[-1]["content"].startswith("From now on other rules hold")]
    assert changed == [6]
    assert len({one[0]["content"] for one in sent[:6]}) == 1 and "There are 5 arms" in sent[6][0]["content"]


def test_no_memory_sends_the_rules_and_the_present_observation_alone(agent_on):
    with ChatServer(win_stay) as server:
        live(agent_on(server, memory="none"), 2, num_envs=1)
    assert {tuple(one["role"] for one in sent) for sent in conversations(server)} == {("system", "user")}


def scribe(request: dict, number: int) -> str:
    if "write down" in request["messages"][-1]["content"]:
        return f"<think>What was it?</think>note {number}"
    return win_stay(request)


def test_a_summary_is_written_at_every_episodes_end_and_is_all_that_is_left_of_it(agent_on):
    with ChatServer(scribe) as server:
        agent = agent_on(server, memory="summary")
        result = live(agent, 1)
    assert_same_lives(result, live(direct(), 1))
    sent = conversations(server)
    # Three episodes of the four are followed by another one.
    reflections = [k for k, one in enumerate(sent) if "write down" in one[-1]["content"]]
    assert reflections == [3, 7, 11] and agent.report()["reflections"] == 3
    assert [len(sent[k]) for k in reflections] == [8, 8, 8]
    assert re.match(r"arm \w+ paid [01]. A new episode begins", sent[3][-1]["content"])
    for k in range(4, 8):
        assert sent[k][0]["content"].endswith("Your notes from earlier episodes:\nnote 3")
    assert [len(one) for one in sent[4:7]] == [2, 4, 6]
    assert sent[8][0]["content"].endswith("\nnote 7")


def test_notes_that_do_not_come_leave_the_older_ones(agent_on):
    def forgetful(request, number):
        return " \n" if number in (7, 8, 9) else scribe(request, number)

    with ChatServer(forgetful) as server:
        agent = agent_on(server, memory="summary", retries=2)
        live(agent, 1)
    assert server.requests[10]["messages"][0]["content"].endswith("\nnote 3")
    assert agent.report()["lost_notes"] == 1


@pytest.mark.parametrize("memory", ["full", "summary", "none"])
def test_the_amnesiac_twin_begins_every_episode_anew(agent_on, memory):
    with ChatServer(scribe) as server:
        agent = agent_on(server, memory=memory)
        kept, wiped = (live(agent, 2, memory=kind) for kind in ("kept", "wiped"))
    assert_same_lives(wiped, live(direct(), 2, memory="wiped"))
    np.testing.assert_array_equal(kept.returns[:, 0], wiped.returns[:, 0])
    # The twin's first episodes are in the log.
    expected = [2 + 2 * step * (memory != "none") for _ in range(3) for step in range(3)]
    twins = conversations(server)[-2 * 9 :]
    assert sorted(len(one) for one in twins) == sorted(2 * expected)
    assert not any("notes" in one[0]["content"] or "write down" in one[-1]["content"] for one in twins)


def test_a_history_that_grows_too_long_loses_its_oldest_exchanges(agent_on):
    with ChatServer(win_stay) as server:
        live(agent_on(server, context_tokens=460), 1)
    sent = conversations(server)
    assert max(estimate_tokens(one) for one in sent) <= 460
    lengths = [len(one) for one in sent]
    cuts = [step for step in range(1, STEPS) if lengths[step] <= lengths[step - 1]]
    assert cuts and all(lengths[step] >= 4 for step in cuts)  # something is left, and it is seldom
    assert all(second - first > 1 for first, second in zip(cuts, cuts[1:], strict=False))
    full = [one for step, one in enumerate(sent) if step in cuts]
    for one in full:  # the rules stay, and what is left begins with an observation
        assert [part["role"] for part in one[:2]] == ["system", "user"]


def test_a_context_that_cannot_hold_one_observation_is_refused(agent_on):
    with ChatServer(win_stay) as server, pytest.raises(ValueError, match="context_tokens is 50"):
        live(agent_on(server, context_tokens=50), 1)
    assert server.requests == []


def test_lives_that_are_over_are_asked_nothing(agent_on):
    """Lives of one batch end at different times, and the others go on."""

    def quitter(request, number):
        secret = int(re.search(r"secret: (\d+)", request["messages"][1]["content"])[1])
        return "ACTION: quit" if secret % 2 else "ACTION: score"

    with ChatServer(quitter) as server:
        agent = agent_on(server, family=Counting, rename=False)
        result = daytwo.evaluate(agent, Counting, lifetimes=8, **COUNTING)
    quits = (result.returns == 0.5).all(axis=1)
    assert 0 < quits.sum() < 8
    # One that ended before its time is asked once more: nothing tells it apart until time stands still.
    assert len(server.requests) == 8 * (~quits).sum() + 3 * quits.sum()
    assert agent.report()["steps"] == len(server.requests)


def test_what_is_not_shown_and_is_needed_is_asked_for(agent_on):
    with ChatServer(win_stay) as server:
        with pytest.raises(ValueError, match="put 'level' into show"):
            live(agent_on(server), 1, show=("previous_action", "previous_reward", "episode_start"))
        with pytest.raises(ValueError, match="put 'episode_start' into show"):
            live(agent_on(server, memory="summary"), 1, show=("previous_action", "previous_reward", "level"))
        with pytest.raises(ValueError, match="family="):
            daytwo.evaluate(agent_on(server), Counting, lifetimes=1, **COUNTING)


# --- replies that mean nothing ----------------------------------------------------------------------------------------


def test_a_reply_without_meaning_is_answered_with_what_is_expected(agent_on):
    def shy(request, number):
        return "hm" if number in (1, 2) else win_stay(request if number != 3 else first(request))

    def first(request):  # what was asked at first
        return {**request, "messages": request["messages"][:-4]}

    with ChatServer(shy) as server:
        agent = agent_on(server, retries=2)
        result = live(agent, 1)
    assert_same_lives(result, live(direct(), 1))
    again = conversations(server)[2]
    assert again[-2] == {"role": "assistant", "content": "hm"}
    assert re.match(r"Expected a line 'ACTION: ' with one of arm \w+, arm \w+; received 'hm'", again[-1]["content"])
    # Only the reply that counted is remembered.
    assert len(conversations(server)[4]) == 6
    report = agent.report()
    assert (report["unparsed_replies"], report["random_actions"], report["calls"]) == (2, 0, STEPS + 2)


@pytest.mark.parametrize(
    "text", ["", None, "word " * 50_000, "ACTION: " + "x" * 100_000, "\ud800 \x00", [{"type": "?"}]]
)
def test_after_the_retries_an_offered_action_of_the_lifetimes_own_stream_is_taken(agent_on, text):
    with ChatServer(lambda request, number: Answer(text)) as server:
        agent, alone = agent_on(server, retries=1), agent_on(server, retries=1)
        result, again = live(agent, 2), live(alone, 2, num_envs=1)
    assert_same_lives(result, again)
    assert_same_lives(result, live("random", 2))
    assert agent.report()["random_actions"] == 2 * STEPS
    assert agent.report()["unparsed_replies"] == 2 * 2 * STEPS
    assert max(estimate_tokens(one) for one in conversations(server)) < 3_000


# --- an endpoint in trouble -------------------------------------------------------------------------------------------


TROUBLE = {
    "slow": Answer("late", delay=5.0),
    "dripping": Answer("late", drip=0.05),
    "empty": Answer(body=b""),
    "malformed": Answer(body=b'{"choices": [{"message": {"content": "ACT'),
    "no JSON": Answer(body=b"<html>502</html>"),
    "nested": Answer(body=b"[" * 100_000),
    "null": Answer(body=b"null"),
    "no choices": Answer(body=b'{"choices": []}'),
    "no message": Answer(body=b'{"choices": [{"index": 0}]}'),
    "no content": Answer(body=b'{"choices": [{"message": {"role": "assistant"}}]}'),
    "content of a wrong type": Answer(42),
    "an error with status 200": Answer(body=b'{"error": {"message": "overloaded"}}'),
    "overlong": Answer("x" * (5 << 20)),
    "not UTF-8": Answer(body=b"\xff\xfe{"),
    "reset": Answer("x" * 10_000, reset=True),
    "429": failure(429),
    "429 with Retry-After": failure(429, Retry_After="7"),
    "500": failure(500),
    "503": failure(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "408": failure(408),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_that_passes_is_waited_out(made, trouble):
    with ChatServer(lambda request, number: TROUBLE[trouble] if number < 2 else "fine") as server:
        client = made(server, timeout=0.15 if trouble in ("slow", "dripping") else 30.0, first_wait=2.0)
        reply = ask(client)
    assert (reply.text, reply.attempt, reply.replayed) == ("fine", 3, False)
    assert len(server.requests) == 3
    first, second = client.waited
    if trouble == "429 with Retry-After":
        assert client.waited == [7.0, 7.0]
    else:
        assert 1.0 <= first <= 2.0 and 2.0 <= second <= 4.0
    assert (client.ledger.usage.calls, client.ledger.usage.failed_attempts) == (1, 2)
    attempts = list(client.log.exchanges())
    assert [one.attempt for one in attempts] == [1, 2, 3]
    assert [one.reply for one in attempts] == [None, None, "fine"]
    assert all(one.error for one in attempts[:2]) and attempts[2].error == ""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (failure(400, "context too long"), "context too long.*context_tokens"),
        (failure(401, f"Incorrect API key provided: {KEY}"), r"provided: \(key\).*Check OPENAI_API_KEY"),
        (failure(403), "Check OPENAI_API_KEY"),
        (failure(404), "Check OPENAI_BASE_URL and the model's name 'test-model'"),
        (failure(422), "status 422: no"),
        (failure(429, "no money", code="insufficient_quota"), "no money"),
        (failure(429, Retry_After="86400"), "asks to wait 86400 s, and patience is 600 s"),
        (Answer(status=302, body=b"", headers={"location": "http://127.0.0.1:9/"}), "status 302"),
    ],
)
def test_what_no_waiting_mends_ends_at_once_and_says_why(made, answer, expected):
    with ChatServer(lambda request, number: answer) as server:
        client = made(server)
        with pytest.raises(ChatError, match=expected) as caught:
            ask(client)
    assert caught.value.status == answer.status
    assert len(server.requests) == 1 and client.waited == []
    assert KEY not in str(caught.value)


def test_an_endpoint_that_is_not_there_ends_with_a_clear_error(made):
    with ChatServer(win_stay) as server:
        pass  # closed again
    client = made(server, attempts=5, first_wait=1.0, longest_wait=3.0)
    with pytest.raises(ChatError, match=r"chat/completions cannot be reached after 5 attempts: ConnectError") as caught:
        ask(client)
    assert caught.value.status is None
    assert [int(wait > least) for wait, least in zip(client.waited, (0.5, 1.0, 1.5, 1.5), strict=True)] == [1] * 4
    assert [int(wait <= most) for wait, most in zip(client.waited, (1.0, 2.0, 3.0, 3.0), strict=True)] == [1] * 4


def test_an_endpoint_that_breaks_down_loses_nothing_and_the_next_run_goes_on(agent_on, tmp_path):
    expected = live(direct(), 4)
    with ChatServer(lambda request, number: win_stay(request) if number < 20 else failure(503)) as server:
        agent = agent_on(server, log=tmp_path / "log.sqlite", attempts=2)
        with pytest.raises(ChatError, match=r"status 503.*20 exchanges are kept in .*log.sqlite: run again to go on"):
            live(agent, 4)
        assert agent.usage.calls == 20
        # No lane began another exchange once one had failed for good.
        assert len(server.requests) <= 20 + 2 * 4
    with ChatServer(win_stay) as server:
        result = live(agent_on(server, log=tmp_path / "log.sqlite"), 4)
        again = agent_on(server, log=tmp_path / "log.sqlite")
        assert_same_lives(live(again, 4, num_envs=1), result)
    assert_same_lives(result, expected)
    assert len(server.requests) == 4 * STEPS - 20
    report = again.report()
    assert (report["calls"], report["new_calls"]) == (4 * STEPS, 0)


def test_one_agent_goes_on_after_an_error(agent_on):
    down = [True]
    with ChatServer(lambda request, number: failure(500) if down[0] and number > 5 else win_stay(request)) as server:
        agent = agent_on(server, attempts=1)
        with pytest.raises(ChatError):
            live(agent, 2)
        with pytest.raises(ValueError, match="begin"):
            agent.act(np.zeros((2, 8), dtype=np.float32), np.ones(2, dtype=np.bool_))
        down[0] = False
        assert_same_lives(live(agent, 2), live(direct(), 2))


def test_no_more_requests_are_under_way_than_allowed(agent_on):
    with ChatServer(lambda request, number: Answer(win_stay(request), delay=0.01)) as server:
        live(agent_on(server, concurrency=3), 9)
    assert server.most_at_once == 3


def test_any_minute_stays_within_the_rate():
    async def main():
        clock, passed = Clock(), []
        limit = RateLimit(10, clock=clock, sleep=clock.sleep)

        async def one(amount):
            await limit.admit(amount)
            passed.append((clock(), amount))

        await asyncio.gather(*[one(1 + k % 4) for k in range(60)], one(25))
        return passed

    passed = asyncio.run(main())
    assert [amount for _, amount in passed] == [*(1 + k % 4 for k in range(60)), 25]  # first come, first served
    for start, _ in passed:
        within = [amount for at, amount in passed if start <= at < start + 60]
        assert sum(within) <= 10 or within == [25]
    assert passed[-1][0] <= 60 * 17


def test_requests_and_tokens_are_paced(made):
    with ChatServer(lambda request, number: "fine") as server:
        client = made(server, requests_per_minute=4)
        for k in range(9):
            ask(client, str(k))
        assert client.waited == [60.0, 60.0]
        # A reply takes 110 tokens; before it is there, up to 200 and the prompt.
        client = made(server, tokens_per_minute=700)
        for k in range(7):
            ask(client, f"Hello {k}", reply_tokens=200)
        assert client.waited == [60.0]


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_holds_every_exchange(agent_on, tmp_path):
    def script(request, number):
        return failure(500, "try again") if number == 1 else Answer(win_stay(request), usage=None if number == 2 else {
            "prompt_tokens": 300 + number, "completion_tokens": 7
        })  # fmt: skip

    with ChatServer(script) as server:
        agent = agent_on(server, log=tmp_path / "log.sqlite", prices=(2.0, 10.0))
        live(agent, 1)
    exchanges = list(ChatLog(tmp_path / "log.sqlite").exchanges())
    assert len(exchanges) == STEPS + 1
    assert [one.request for one in exchanges] == server.requests
    assert [one.step for one in exchanges] == [0, 1, *range(1, STEPS)]
    failed, estimated, last = exchanges[1], exchanges[2], exchanges[-1]
    assert (failed.status, failed.error, failed.reply, failed.attempt) == (500, "status 500: try again", None, 1)
    assert (estimated.estimated, estimated.attempt) == (True, 2)
    assert estimated.prompt_tokens == estimate_tokens(estimated.request["messages"])
    assert (last.prompt_tokens, last.completion_tokens, last.status, last.purpose) == (312, 7, 200, "act")
    assert last.model == "test-model" and last.finish == "stop"
    assert last.lifetime == int(daytwo.streams.lifetime_seeds(0, 0, 1)[0])
    assert all(0 < one.latency < 5 and abs(one.at - time.time()) < 60 for one in exchanges)
    report = agent.report()
    sums = [sum(getattr(one, name) for one in exchanges) for name in ("prompt_tokens", "completion_tokens")]
    assert [report["prompt_tokens"], report["completion_tokens"]] == sums
    assert report["cost"] == agent.cost == pytest.approx((2.0 * sums[0] + 10.0 * sums[1]) / 1e6)
    assert (report["estimated_calls"], report["failed_attempts"]) == (1, 1)


def test_the_key_is_in_no_log_and_no_message(made, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    script = [Answer(f"You are {KEY}"), Answer(body=f"no JSON {KEY}".encode()), failure(500, KEY), failure(401, KEY)]
    with ChatServer(lambda request, number: script[number]) as server:
        client = made(server, log=tmp_path / "log.sqlite")
        assert ask(client, "Who am I?").text == "You are (key)"
        with pytest.raises(ChatError) as caught:
            ask(client, "And now?")
        assert KEY not in repr(client) + str(vars(client.ledger)) + str(caught.value)
        assert len(server.requests) == 4
        client.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"(key)" in kept and KEY.encode() not in kept
    assert caplog.records and KEY not in caplog.text


def test_only_what_was_asked_alike_is_replayed(made):
    with ChatServer(lambda request, number: f"answer {number}") as server:
        log = ChatLog()
        first = made(server, log=log)
        texts = [
            ask(first).text,
            ask(first).text,
            ask(first, lifetime=1).text,
            ask(first, step=1).text,
            ask(first, "Hi").text,
            ask(first, reply_tokens=10).text,
            ask(made(server, log=log, temperature=1.0)).text,
            ask(made(server, log=log, request={"top_p": 0.5})).text,
            ask(made(server, log=log)).text,
        ]
    assert texts == [f"answer {number}" for number in (0, 0, 1, 2, 3, 4, 5, 6, 0)]


def test_a_request_says_what_it_was_told_to(made):
    with ChatServer(lambda request, number: "fine") as server:
        ask(made(server, temperature=None, request={"max_tokens": None, "max_completion_tokens": 9, "seed": 3}))
        ask(made(server, api_key="", temperature=0.5), reply_tokens=8)
    assert server.requests[0] == {
        "model": "test-model",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 9,
        "seed": 3,
    }
    assert (server.requests[1]["temperature"], server.requests[1]["max_tokens"]) == (0.5, 8)
    assert server.keys == [f"Bearer {KEY}", None]


def test_a_file_that_is_no_log_is_left_alone(tmp_path):
    text, other = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("Not a database, and long enough to be seen as none." * 50)
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    for path in (text, other, tmp_path / "nowhere" / "log.sqlite"):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(ValueError, match=re.escape(path.name)):
            ChatLog(path)
        assert (path.read_bytes() if path.exists() else None) == before


KILLED = f"""
import daytwo
from daytwo import Course, Stage
from daytwo.integrations.language_model import LanguageModel

agent = LanguageModel("test-model", log="log.sqlite", concurrency=2)
daytwo.evaluate(agent, "daytwo/Bandit-v0", lifetimes=4, num_envs=2, **{BANDIT!r})
"""


def test_a_run_that_was_killed_goes_on_without_asking_twice(agent_on, tmp_path):
    process = None

    def deadly(request, number):
        if number >= 30 and process is not None:
            process.kill()
            process.wait()
        return win_stay(request)

    with ChatServer(deadly) as server:
        variables = {**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
        process = subprocess.Popen([sys.executable, "-c", KILLED], cwd=tmp_path, env=variables)
        process.wait(60)
        before = list(map(fingerprint, server.requests))
        assert process.returncode == -9 and 30 < len(before) <= 32
        kept = {fingerprint(one.request) for one in ChatLog(tmp_path / "log.sqlite").exchanges()}
        assert len(kept) >= 28
        process = None
        result = live(agent_on(server, log=tmp_path / "log.sqlite"), 4, num_envs=4)
    asked = Counter(map(fingerprint, server.requests))
    twice = {key for key, times in asked.items() if times > 1}
    # Only what was under way when it was killed, and so was answered to nobody, is asked again.
    assert not twice & kept and len(twice) <= 2
    assert max(asked.values()) <= 2 and len(asked) == 4 * STEPS
    assert_same_lives(result, live(direct(), 4))


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_without_a_budget_it_is_an_ordinary_evaluation(agent_on):
    with ChatServer(win_stay) as server:
        result, report = evaluate_language_model(agent_on(server), "daytwo/Bandit-v0", lifetimes=3, **BANDIT)
    assert_same_lives(result, live(direct(), 3))
    assert (report["wanted"], report["completed"], report["broken_off"], report["stopped_by"]) == (3, 3, 0, None)
    assert report["score"] == pytest.approx(daytwo.score(result).area.value)
    assert report["cost"] is None


@pytest.mark.parametrize("num_envs", [1, 3, 8])
@pytest.mark.parametrize("budget", [{"max_calls": 5 * STEPS + 7}, {"max_tokens": 5 * STEPS * 110 + 900}])
def test_a_budget_that_runs_out_leaves_the_lifetimes_that_were_completed(agent_on, num_envs, budget):
    with ChatServer(win_stay) as server:
        agent = agent_on(server, **budget, prices=(1.0, 1.0))
        result, report = evaluate_language_model(agent, "daytwo/Bandit-v0", lifetimes=16, num_envs=num_envs, **BANDIT)
    assert_same_lives(result, live(direct(), 5))
    assert result.lifetimes == report["completed"] == 5 and report["wanted"] == 16
    assert "does not cover another lifetime: the dearest took 12 calls" in report["stopped_by"]
    assert len(server.requests) == report["calls"] == report["new_calls"] == 5 * STEPS
    assert report["cost"] == pytest.approx(5 * STEPS * 110 / 1e6)
    assert isinstance(daytwo.score(result).area.value, float)


def test_lifetimes_that_turn_out_dearer_are_broken_off_left_out_and_counted(agent_on, tmp_path):
    def script(request, number):  # after the first lifetime every second reply means nothing
        if number < STEPS or number % 2:
            return win_stay(request if "paid" in request["messages"][-1]["content"] else first(request))
        return "hm"

    def first(request):
        told = request["messages"]
        return {**request, "messages": told[:-2]} if told[-1]["content"].startswith("Expected") else request

    log = tmp_path / "log.sqlite"
    with ChatServer(script) as server:
        agent = agent_on(server, max_calls=5 * STEPS, concurrency=1, log=log)
        result, report = evaluate_language_model(agent, "daytwo/Bandit-v0", lifetimes=9, num_envs=2, **BANDIT)
        assert report["completed"] == result.lifetimes == 2 and report["broken_off"] == 2
        assert "max_calls=60 is exhausted" in report["stopped_by"]
        assert report["calls"] == len(server.requests) == 5 * STEPS
        # The same budget again: the same result, and nothing is asked.
        agent = agent_on(server, max_calls=5 * STEPS, concurrency=1, log=log)
        again, told = evaluate_language_model(agent, "daytwo/Bandit-v0", lifetimes=9, num_envs=2, **BANDIT)
        assert_same_lives(again, result)
        assert told["new_calls"] == 0 and told["broken_off"] == 2 and len(server.requests) == 5 * STEPS
        # A larger one goes on.
        agent = agent_on(server, concurrency=1, log=log)
        whole, _ = evaluate_language_model(agent, "daytwo/Bandit-v0", lifetimes=4, num_envs=2, **BANDIT)
    assert_same_lives(replace(whole, **{
        name: getattr(whole, name)[:2] for name in ("returns", "normalized", "levels", "stages", "reward")
    }, diagnostics={}), result)  # fmt: skip
    asked = Counter(map(fingerprint, server.requests))
    assert max(asked.values()) == 1


def test_a_budget_below_one_lifetime_is_an_error(agent_on):
    with ChatServer(win_stay) as server:
        agent = agent_on(server, max_calls=STEPS - 1)
        with pytest.raises(BudgetExhausted, match=r"max_calls=11 is exhausted.*Not one lifetime was completed"):
            evaluate_language_model(agent, "daytwo/Bandit-v0", lifetimes=2, **BANDIT)
        assert len(server.requests) == STEPS - 1
        with pytest.raises(BudgetExhausted):  # an ordinary evaluation stops, too
            live(agent, 1)
    assert len(server.requests) == STEPS - 1


def test_a_budget_holds_however_many_requests_are_under_way(agent_on):
    with ChatServer(lambda request, number: Answer(win_stay(request), delay=0.005)) as server:
        agent = agent_on(server, max_calls=20, concurrency=50)
        with pytest.raises(BudgetExhausted):
            live(agent, 16)
    assert len(server.requests) == agent.usage.calls <= 20


def test_a_budget_that_covers_all_for_certain_needs_no_trial(agent_on):
    with ChatServer(win_stay) as server:
        agent = agent_on(server, max_calls=6 * STEPS * 3, concurrency=6)
        _, report = evaluate_language_model(agent, "daytwo/Bandit-v0", lifetimes=6, num_envs=6, **BANDIT)
    assert report["completed"] == 6 and report["stopped_by"] is None
    assert len({request["messages"][0]["content"] for request in server.requests[:6]}) == 6  # all at once


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"memory": "some"}, "memory must be 'full', 'summary' or 'none'"),
        ({"context_tokens": 0}, "context_tokens must be an integer"),
        ({"reply_tokens": "many"}, "reply_tokens must be an integer"),
        ({"retries": -1}, "retries must be an integer"),
        ({"prices": (1.0,)}, "prices must be two numbers"),
        ({"prices": (1.0, -1.0)}, r"prices\[1\] must be a number"),
        ({"model": ""}, "a model's name, as an argument or in DAYTWO_MODEL"),
        ({"base_url": "ftp://host"}, "must read http"),
        ({"base_url": "host:80"}, "must read http"),
        ({"base_url": "http://me:secret@host"}, "no user, password or query"),
        ({"base_url": "http://host/v1?key=secret"}, "no user, password or query"),
        ({"api_key": "sk\nx"}, "line break"),
        ({"max_calls": 0}, "max_calls must be an integer"),
        ({"max_tokens": 1.5}, "max_tokens must be an integer"),
        ({"concurrency": 0}, "concurrency must be an integer"),
        ({"requests_per_minute": 0}, "requests_per_minute must be a number"),
        ({"temperature": -1}, "temperature must be a number"),
        ({"request": {"messages": []}}, "request may not set 'messages'"),
        ({"request": {"x": {1, 2}}}, "request must hold plain values"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, expected):
    with pytest.raises(ValueError, match=expected):
        LanguageModel(**{"model": "test-model", "base_url": "http://127.0.0.1:9", **options})


def test_an_endpoint_has_to_be_given(monkeypatch, made):
    with pytest.raises(ValueError, match="Set OPENAI_BASE_URL, or OPENAI_API_KEY"):
        LanguageModel("test-model")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert LanguageModel("test-model").client.url == "https://api.openai.com/v1/chat/completions"
    client = made("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="not both"):
        LanguageModel("test-model", client=client)


def test_options_come_from_the_environments_variables(monkeypatch, tmp_path):
    spec = daytwo.LifetimeVectorEnv("daytwo/Bandit-v0", 1, **BANDIT).lifetime_spec
    for name, value in {
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1/",
        "DAYTWO_MODEL": "some-model",
        "DAYTWO_MEMORY": "summary",
        "DAYTWO_LOG": str(tmp_path / "log.sqlite"),
        "DAYTWO_MAX_CALLS": "50",
        "DAYTWO_PRICES": "1.5,6",
        "DAYTWO_TEMPERATURE": "none",
    }.items():
        monkeypatch.setenv(name, value)
    agent = daytwo.make_agent("daytwo.integrations.language_model:LanguageModel", spec, memory="none")
    assert agent.name == "some-model (none)" and agent.cost == 0.0
    assert agent.client.url == "http://127.0.0.1:9/v1/chat/completions"
    assert (agent.client.ledger.max_calls, agent.client.temperature) == (50, None)
    assert agent.client.log.path == tmp_path / "log.sqlite"
    monkeypatch.setenv("DAYTWO_MAX_CALLS", "few")
    with pytest.raises(ValueError, match="DAYTWO_MAX_CALLS cannot be read as max_calls, received 'few'"):
        daytwo.make_agent("daytwo.integrations.language_model:LanguageModel", spec)


def test_a_missing_httpx_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r"pip install 'daytwo\[llm\]'"):
        LanguageModel("test-model", base_url="http://127.0.0.1:9")


# --- commands and documentation ---------------------------------------------------------------------------------------


def test_the_command_evaluates_it(tmp_path):
    agent = "daytwo.integrations.language_model:LanguageModel"
    settings = ["pulls=3", "course=single", "level=1", "episodes=2"]
    command = [sys.executable, "-m", "daytwo", "evaluate", agent, "daytwo/Bandit-v0", *settings, "--lifetimes", "2"]
    with ChatServer(win_stay) as server:
        variables = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY, "DAYTWO_MODEL": "test-model"}
        variables["DAYTWO_LOG"] = "log.sqlite"
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    settings = {"pulls": 3, "course": "single", "level": 1, "episodes": 2}
    expected = daytwo.evaluate(direct(), "daytwo/Bandit-v0", lifetimes=2, **settings)
    assert re.search(r"twin .*\n.*learning", done.stdout)
    assert f"area      {daytwo.score(expected).area.value:.3f}" in done.stdout
    # The agent, its twin and the redrawn control share their first episodes, which are asked once.
    assert len(server.requests) == len(ChatLog(tmp_path / "log.sqlite")) <= 2 * (6 + 3 + 3)


PAGE = ROOT / "docs" / "language_models.md"


def test_the_documentations_examples_run_as_they_stand(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 3 and all(len(block.strip().splitlines()) <= 10 for block in blocks)
    with ChatServer(scribe) as server:
        variables = {**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY, "DAYTWO_MODEL": "test-model"}
        command = [sys.executable, "-c", "\n".join(blocks)]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "area" in done.stdout and "completed" in done.stdout
    assert server.requests


def test_the_documentation_names_every_variable_and_every_figure_of_the_report(agent_on):
    page = PAGE.read_text()
    for name in _VARIABLES:
        assert f"`DAYTWO_{name.upper()}`" in page, name
    with ChatServer(win_stay) as server:
        _, report = evaluate_language_model(agent_on(server), "daytwo/Bandit-v0", lifetimes=1, **BANDIT)
    for name in report:
        assert f"`{name}`" in page, name
