"""Talking to a chat endpoint: every request is paced, retried, counted and kept, and none is made twice.

`ChatClient` speaks the chat-completions protocol that OpenAI introduced and that most servers of language models
understand. Replies lie in a `ChatLog`, one SQLite file, under a key of what was asked, in which lifetime and at which
step: a run that was killed finds in it what it had asked already, and goes on from there. A `Ledger` counts calls and
tokens, and refuses what a budget does not cover.
"""

import asyncio
import contextlib
import email.utils
import hashlib
import json
import os
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daytwo.checks import check_integer, check_number

DEFAULT_URL = "https://api.openai.com/v1"
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4  # a role and the marks around it
LARGEST_BODY = 4 << 20  # bytes of one answer; a longer one is broken off
SHORTEST_SECRET = 8  # servers that need no key are often given a word such as EMPTY, which is none
MINUTE = 60.0
_MOST = 1 << 62
_LOG_VERSION = 1

Message = dict[str, str]


class ChatError(OSError):
    """The endpoint could not be reached, refuses, or gives no answers that can be read. What was done is in the log.

    Attributes:
        status: the HTTP status of its last answer, or None if there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class BudgetExhausted(ValueError):
    """The next call could exceed the budget that was given, and was not made. What was done is in the log."""


class _Halted(Exception):
    """Another exchange of the same batch failed, so this one was not begun."""


class _Trouble(Exception):
    """One attempt failed.

    Attributes:
        again: whether another attempt may help.
        status: HTTP status, or None.
        wait: seconds that the server asks to wait, or None.
    """

    def __init__(self, reason: str, *, again: bool, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(reason)
        self.again, self.status, self.wait = again, status, wait


def message(role: str, text: str) -> Message:
    """One message of a conversation: ``role`` is ``system``, ``user`` or ``assistant``."""
    return {"role": role, "content": text}


def estimate_tokens(messages: Sequence[Message]) -> int:
    """How many tokens messages are taken for, before an endpoint counts them or where it does not.

    A fixed rule, so that what is cut off a history does not depend on the server: a token for every four characters,
    rounded up, and four for every message.
    """
    return sum(-(-len(one["content"]) // CHARACTERS_PER_TOKEN) + TOKENS_PER_MESSAGE for one in messages)


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        key: of the exchange in the log.
        text: what the model said; "" if it said nothing.
        finish: why it stopped, in the server's words; "" if it does not say.
        prompt_tokens: of the request.
        completion_tokens: of the answer.
        estimated: the server counted no tokens: they are `estimate_tokens`.
        latency: seconds of the attempt that succeeded.
        attempt: which one that was, from 1.
        replayed: it was in the log already, and no call was made.
    """

    key: str
    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    latency: float
    attempt: int
    replayed: bool


@dataclass(frozen=True)
class Exchange:
    """One attempt as the log holds it.

    Attributes:
        key: what it was asked under.
        lifetime: seed of the lifetime.
        step: of the lifetime, counted from 0.
        purpose: ``"act"`` or ``"reflect"``.
        model: that was asked.
        request: what was sent.
        attempt: which attempt, from 1.
        at: when it ended, seconds since 1970.
        latency: how long it took, in seconds.
        status: HTTP status, None where no answer came.
        reply: what the model said; None where the attempt failed.
        finish: why the model stopped.
        prompt_tokens: of the request, 0 where the attempt failed.
        completion_tokens: of the answer, 0 where the attempt failed.
        estimated: the server counted no tokens.
        error: why the attempt failed; "" where it did not.
    """

    key: str
    lifetime: int
    step: int
    purpose: str
    model: str
    request: dict[str, Any]
    attempt: int
    at: float
    latency: float
    status: int | None
    reply: str | None
    finish: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    error: str


class ChatLog:
    """All exchanges of one or many runs, in one SQLite file; several processes may share it.

    Every attempt is written and committed when it ends, so a run that is killed loses what was under way at most. The
    key of the endpoint is never in it.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Open or begin a log.

        Args:
            path: the file; None keeps the log in memory, for this process alone.

        Raises:
            ValueError: the file is something else, or its folder does not exist.
        """
        self.path = None if path is None else Path(path)
        self._lock = threading.Lock()
        try:
            # One connection serves the caller's thread and the client's, one at a time.
            self._database = sqlite3.connect(
                ":memory:" if path is None else os.fspath(path), timeout=60.0, check_same_thread=False
            )
            self._prepare()
        except sqlite3.Error as error:
            raise ValueError(f"Cannot keep the exchanges in {os.fspath(path or ':memory:')!r}: {error}.") from error

    def _prepare(self) -> None:
        with self._lock, self._database:
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if version not in (0, _LOG_VERSION) or (tables and not {"requests", "attempts"} <= tables):
                raise ValueError(
                    f"{os.fspath(self.path or ':memory:')!r} is no log of version {_LOG_VERSION} of chat exchanges: it "
                    f"has version {version} and the tables {', '.join(sorted(tables)) or '(none)'}."
                )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        with self._lock, self._database:
            for statement in (
                "CREATE TABLE IF NOT EXISTS requests (key TEXT PRIMARY KEY, lifetime TEXT NOT NULL, step INTEGER "
                "NOT NULL, purpose TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL)",
                "CREATE TABLE IF NOT EXISTS attempts (key TEXT NOT NULL, attempt INTEGER NOT NULL, at REAL NOT NULL, "
                "latency REAL NOT NULL, status INTEGER, reply TEXT, finish TEXT NOT NULL, prompt_tokens INTEGER NOT "
                "NULL, completion_tokens INTEGER NOT NULL, estimated INTEGER NOT NULL, error TEXT NOT NULL)",
                "CREATE UNIQUE INDEX IF NOT EXISTS answered ON attempts (key) WHERE reply IS NOT NULL",
                f"PRAGMA user_version = {_LOG_VERSION}",
            ):
                self._database.execute(statement)

    def find(self, key: str) -> Reply | None:
        """The answer under a key, or None."""
        with self._lock:
            row = self._database.execute(
                "SELECT reply, finish, prompt_tokens, completion_tokens, estimated, latency, attempt FROM attempts "
                "WHERE key = ? AND reply IS NOT NULL",
                (key,),
            ).fetchone()
        if row is None:
            return None
        return Reply(key, row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6], True)

    def add(self, exchange: Exchange) -> None:
        """Keep an attempt. Where the key has an answer already, from another process, that one stands."""
        told = asdict(exchange)
        told["lifetime"] = str(exchange.lifetime)  # SQLite's integers have a sign, seeds have 64 bits without
        told["request"] = json.dumps(exchange.request, ensure_ascii=False)
        with self._lock, self._database:
            self._database.execute(
                "INSERT OR IGNORE INTO requests VALUES (:key, :lifetime, :step, :purpose, :model, :request)", told
            )
            self._database.execute(
                "INSERT OR IGNORE INTO attempts VALUES (:key, :attempt, :at, :latency, :status, :reply, :finish, "
                ":prompt_tokens, :completion_tokens, :estimated, :error)",
                told,
            )

    def exchanges(self) -> Iterator[Exchange]:
        """Every attempt, in the order in which they ended."""
        with self._lock:
            rows = self._database.execute(
                "SELECT key, lifetime, step, purpose, model, request, attempt, at, latency, status, reply, finish, "
                "prompt_tokens, completion_tokens, estimated, error FROM attempts JOIN requests USING (key) "
                "ORDER BY attempts.rowid"
            ).fetchall()
        for row in rows:
            values = dict(zip(Exchange.__dataclass_fields__, row, strict=True))
            values["lifetime"], values["request"] = int(values["lifetime"]), json.loads(values["request"])
            values["estimated"] = bool(values["estimated"])
            yield Exchange(**values)

    def __len__(self) -> int:
        """How many exchanges were answered."""
        with self._lock:
            return self._database.execute("SELECT COUNT(*) FROM attempts WHERE reply IS NOT NULL").fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


@dataclass
class Usage:
    """What exchanges took.

    Attributes:
        calls: exchanges that were answered.
        prompt_tokens: of their requests.
        completion_tokens: of their answers.
        estimated_calls: those whose tokens the server did not count.
        failed_attempts: attempts without a usable answer; servers may charge for some of them, and tell nobody.
        latency: seconds waited for the answers, one after the other.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated_calls: int = 0
    failed_attempts: int = 0
    latency: float = 0.0

    @property
    def tokens(self) -> int:
        """Of requests and answers."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, reply: Reply) -> None:
        """Count an answer."""
        self.calls += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.estimated_calls += reply.estimated
        self.latency += reply.latency

    def cost(self, prices: tuple[float, float]) -> float:
        """What it costs at ``prices``, those of a million tokens of requests and of answers."""
        return (self.prompt_tokens * prices[0] + self.completion_tokens * prices[1]) / 1e6


@dataclass
class Ledger:
    """What a run has used so far, and what it may use.

    An exchange counts once, whether it was made now or found in the log: so a run that is taken up again has the
    budget that it had, and ends where it ended.

    Attributes:
        max_calls: most calls, None for no limit.
        max_tokens: most tokens of requests and answers together, None for no limit.
        usage: of all exchanges of the run.
        paid: of those that were made now, and not found in the log.
        most_reserved: most tokens that were held back for one exchange.
    """

    max_calls: int | None = None
    max_tokens: int | None = None
    usage: Usage = field(default_factory=Usage)
    paid: Usage = field(default_factory=Usage)
    most_reserved: int = 0
    _seen: set[str] = field(default_factory=set, repr=False)
    _calls_under_way: int = field(default=0, repr=False)
    _tokens_under_way: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        for name in ("max_calls", "max_tokens"):
            if getattr(self, name) is not None:
                setattr(self, name, check_integer(name, getattr(self, name), 1, _MOST))

    @contextlib.contextmanager
    def reserved(self, tokens: int) -> Iterator[None]:
        """Hold back one call and ``tokens`` of the budget while an exchange is under way.

        Raises:
            BudgetExhausted: they are not left.
        """
        for name, limit, used, wanted in (
            ("max_calls", self.max_calls, self.usage.calls + self._calls_under_way, 1),
            ("max_tokens", self.max_tokens, self.usage.tokens + self._tokens_under_way, tokens),
        ):
            if limit is not None and used + wanted > limit:
                raise BudgetExhausted(
                    f"The budget {name}={limit:,} is exhausted: {used:,} are used, and the next call may take "
                    f"{wanted:,} more."
                )
        self.most_reserved = max(self.most_reserved, tokens)
        self._calls_under_way += 1
        self._tokens_under_way += tokens
        try:
            yield
        finally:
            self._calls_under_way -= 1
            self._tokens_under_way -= tokens

    def knows(self, key: str) -> bool:
        """Whether the exchange is counted already."""
        return key in self._seen

    def count(self, reply: Reply) -> None:
        """Count an exchange, unless it is counted already."""
        if reply.key in self._seen:
            return
        self._seen.add(reply.key)
        self.usage.add(reply)
        if not reply.replayed:
            self.paid.add(reply)

    def fail(self) -> None:
        """Count an attempt that failed."""
        self.usage.failed_attempts += 1
        self.paid.failed_attempts += 1


class RateLimit:
    """Keeps any minute within a limit, first come, first served."""

    def __init__(self, limit: float, *, clock: Callable[[], float], sleep: Callable[[float], Awaitable[Any]]) -> None:
        """Set the limit.

        Args:
            limit: the most that may pass within 60 seconds.
            clock: tells the time in seconds.
            sleep: waits for so many seconds.
        """
        self._limit, self._clock, self._sleep = limit, clock, sleep
        self._passed: deque[list[float]] = deque()
        self._queue = asyncio.Lock()

    async def admit(self, amount: float) -> list[float]:
        """Wait until ``amount`` may pass; more than the limit passes alone.

        Returns:
            The entry ``[time, amount]``, whose amount may be set right once it is known.
        """
        async with self._queue:
            while True:
                now = self._clock()
                while self._passed and self._passed[0][0] <= now - MINUTE:
                    self._passed.popleft()
                if not self._passed or sum(entry[1] for entry in self._passed) + amount <= self._limit:
                    break
                await self._sleep(max(1e-3, self._passed[0][0] + MINUTE - now))
            self._passed.append([now, amount])
            return self._passed[-1]


def _http() -> Any:
    try:
        import httpx
    except ImportError as error:
        raise ImportError("Chat endpoints need the package httpx: pip install 'daytwo[llm]'") from error
    return httpx


def _retry_after(text: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date; None where there is none to be understood."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if seconds < float("inf") else None


def _counted(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


class ChatClient:
    """Asks one model of an OpenAI-compatible chat endpoint.

    Attributes:
        model: its name.
        url: where requests go.
        temperature: of sampling, None for the server's own.
        concurrency: most requests under way at a time.
        ledger: what was used, and the budget.
        log: the exchanges.

    Example:
        >>> client = ChatClient("my-model", base_url="http://127.0.0.1:8000/v1")  # doctest: +SKIP
        >>> [reply] = client.together([client.complete([message("user", "Hello")])])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        log: str | os.PathLike[str] | ChatLog | None = None,
        temperature: float | None = 0.0,
        request: Mapping[str, Any] | None = None,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        concurrency: int = 8,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        attempts: int = 6,
        timeout: float = 120.0,
        first_wait: float = 1.0,
        longest_wait: float = 60.0,
        patience: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        jitter: random.Random | None = None,
    ) -> None:
        """Set the endpoint and the limits; no call is made yet.

        Args:
            model: the model's name at the endpoint; by default that in ``DAYTWO_MODEL``.
            base_url: the endpoint, to which ``/chat/completions`` is added; by default ``OPENAI_BASE_URL``, or else
                OpenAI's own.
            api_key: by default ``OPENAI_API_KEY``; may be missing where a base URL is given, for servers without keys.
            log: file of the exchanges, or a `ChatLog`; in memory by default.
            temperature: of sampling; None leaves it to the server.
            request: further fields of every request, such as ``{"reasoning_effort": "low"}``; a field that is None is
                left out (``{"max_tokens": None, "max_completion_tokens": 500}``).
            max_calls: budget of calls.
            max_tokens: budget of tokens, of requests and answers together. A call is made only if what it may take (by
                `estimate_tokens`, and the longest answer it may get) is left, so it is passed by estimation error only.
            concurrency: most requests under way at a time.
            requests_per_minute: most requests within any minute; None for no limit.
            tokens_per_minute: most tokens within any minute; None for no limit.
            attempts: how often an exchange is tried on status 408, 409, 429 and 5xx, on timeouts, on broken connections
                and on answers that cannot be read.
            timeout: most seconds of one attempt, from the connection to the last byte.
            first_wait: seconds before the second attempt, at most; doubled before each further one, up to
                ``longest_wait``. A random part of up to a half is taken off. A Retry-After is waited for in any case,
            longest_wait: see above.
            patience: but an endpoint that asks to wait for more seconds than this ends the run with an error.
            clock: tells the time in seconds, for the rate limits.
            sleep: waits, between attempts and for the rate limits.
            jitter: generator of the random part of waiting, on which no result depends.

        Raises:
            ImportError: httpx is missing.
            ValueError: neither endpoint nor key is given, there is no model, or a value is out of range.
        """
        httpx = _http()
        model = os.environ.get("DAYTWO_MODEL", "") if model is None else model
        if not isinstance(model, str) or not model:
            raise ValueError(f"Expected a model's name, as an argument or in DAYTWO_MODEL, received {model!r}.")
        given_url = os.environ.get("OPENAI_BASE_URL") if base_url is None else base_url
        key = os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key
        if not given_url and not key:
            raise ValueError("Which endpoint? Set OPENAI_BASE_URL, or OPENAI_API_KEY for OpenAI's own, or both.")
        try:
            url = httpx.URL((given_url or DEFAULT_URL).rstrip("/") + "/chat/completions")
        except httpx.InvalidURL as error:
            raise ValueError(f"The base URL cannot be read: {error}.") from error
        if url.userinfo or url.query or url.fragment:  # places for secrets, and this URL is shown
            raise ValueError("The base URL must hold no user, password or query: give the key in OPENAI_API_KEY.")
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"The base URL must read http(s)://host/..., received {given_url!r}.")
        if not key.isascii() or not key.isprintable():
            raise ValueError("The API key must be plain printable characters; is there a line break in OPENAI_API_KEY?")
        self.model, self.url = model, str(url)
        self._key = key
        self._secure = url.scheme == "https"
        self._extra = dict(request or {})
        try:
            json.dumps(self._extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"request must hold plain values, received {self._extra!r}: {error}.") from error
        fixed = sorted({"model", "messages", "stream"} & self._extra.keys())
        if fixed:
            raise ValueError(f"request may not set {fixed[0]!r}.")
        self.temperature = None if temperature is None else check_number("temperature", temperature, 0.0, 100.0)
        self.ledger = Ledger(max_calls, max_tokens)
        self._attempts = check_integer("attempts", attempts, 1, 1000)
        self._timeout = check_number("timeout", timeout, 1e-3, 1e6)
        self._first_wait = check_number("first_wait", first_wait, 0.0, 1e6)
        self._longest_wait = check_number("longest_wait", longest_wait, 0.0, 1e6)
        self._patience = check_number("patience", patience, 0.0, 1e6)
        self.concurrency = check_integer("concurrency", concurrency, 1, 10_000)
        self._slots = asyncio.Semaphore(self.concurrency)
        self._sleep = sleep
        self._jitter = random.Random() if jitter is None else jitter
        self._requests, self._tokens = (
            None if limit is None else RateLimit(check_number(name, limit, 1e-3, 1e12), clock=clock, sleep=sleep)
            for name, limit in (
                ("requests_per_minute", requests_per_minute),
                ("tokens_per_minute", tokens_per_minute),
            )
        )
        self.log = log if isinstance(log, ChatLog) else ChatLog(log)
        self._halted = False
        self._session: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"ChatClient({self.model!r}, base_url={self.url.removesuffix('/chat/completions')!r})"

    # --- running ------------------------------------------------------------------------------------------------------

    def together(self, exchanges: Sequence[Awaitable[Any]]) -> list[Any]:
        """Run awaitables side by side to their ends, from ordinary code.

        They run in a thread of the client's own, so it does not matter whether an event loop runs already (as it does
        in a notebook). Where one fails, no further call is begun, but those under way are waited for and kept.

        Returns:
            Their results, in order.

        Raises:
            ChatError: an exchange failed for good.
            BudgetExhausted: an exchange was not affordable.
        """

        async def gathered() -> list[Any]:
            self._halted = False
            return await asyncio.gather(*exchanges, return_exceptions=True)

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="daytwo-chat", daemon=True)
            self._thread.start()
        future = asyncio.run_coroutine_threadsafe(gathered(), self._loop)
        try:
            results = future.result()
        except BaseException:  # an interrupt from the keyboard
            future.cancel()
            raise
        failures = [one for one in results if isinstance(one, BaseException)]
        # A broken endpoint says more than an exhausted budget, and either more than what stopped because of them.
        failures.sort(key=lambda one: (isinstance(one, _Halted), isinstance(one, BudgetExhausted)))
        if failures:
            raise failures[0]
        return results

    def close(self) -> None:
        """End the connections, the thread and the log."""
        if self._loop is not None and self._thread is not None:
            if self._session is not None:
                asyncio.run_coroutine_threadsafe(self._session.aclose(), self._loop).result()
                self._session = None
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None
        self.log.close()

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    # --- one exchange -------------------------------------------------------------------------------------------------

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        reply_tokens: int = 512,
        lifetime: int = 0,
        step: int = 0,
        purpose: str = "act",
    ) -> Reply:
        """The model's answer to messages: from the log if it holds it, or else from the endpoint.

        Args:
            messages: the conversation.
            reply_tokens: most tokens of the answer.
            lifetime: seed of the lifetime that asks.
            step: of the lifetime.
            purpose: what for, a word.

        Raises:
            ChatError: the endpoint cannot be reached, refuses, or gives no answer that can be read.
            BudgetExhausted: the budget does not cover the call.
        """
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": reply_tokens,
            "temperature": self.temperature,
            **self._extra,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        asked = json.dumps([lifetime, step, purpose, body], sort_keys=True)
        key = hashlib.sha256(asked.encode()).hexdigest()
        found = self.log.find(key)
        if found is not None and self.ledger.knows(key):
            return found
        prompt = estimate_tokens(messages)
        try:
            with self.ledger.reserved(prompt + reply_tokens):
                if found is None:
                    async with self._slots:
                        found = await self._ask(key, lifetime, step, purpose, body, prompt, reply_tokens)
        except (ChatError, BudgetExhausted):
            self._halted = True
            raise
        self.ledger.count(found)
        return found

    async def _ask(
        self, key: str, lifetime: int, step: int, purpose: str, body: dict[str, Any], prompt: int, reply_tokens: int
    ) -> Reply:
        """Try until there is an answer."""
        for attempt in range(1, self._attempts + 1):
            if self._halted:
                raise _Halted
            if self._requests is not None:
                await self._requests.admit(1)
            entry = None if self._tokens is None else await self._tokens.admit(prompt + reply_tokens)
            if self._halted:
                raise _Halted
            began = time.perf_counter()
            trouble: _Trouble | None = None
            status: int | None
            told: dict[str, Any] = {"reply": None, "finish": "", "prompt_tokens": 0, "completion_tokens": 0}
            try:
                told, status = await self._attempt(body, prompt)
            except _Trouble as error:
                trouble, status = error, error.status
            latency = time.perf_counter() - began
            exchange = Exchange(
                key=key,
                lifetime=lifetime,
                step=step,
                purpose=purpose,
                model=self.model,
                request=body,
                attempt=attempt,
                at=time.time(),
                latency=latency,
                status=status,
                error="" if trouble is None else self._hidden(str(trouble)),
                **{"estimated": False, **told},
            )
            self.log.add(exchange)
            if trouble is None:
                if entry is not None:
                    entry[1] = told["prompt_tokens"] + told["completion_tokens"]
                kept = self.log.find(key)
                assert kept is not None
                # Another process may have been first: then its answer stands, but this one was paid for all the same.
                return Reply(**{**asdict(kept), "replayed": False})
            self.ledger.fail()
            if not trouble.again:
                raise ChatError(self._final(trouble, attempt), status=trouble.status)
            if attempt == self._attempts:
                raise ChatError(self._final(trouble, attempt), status=trouble.status)
            wait = min(self._longest_wait, self._first_wait * 2.0 ** (attempt - 1))
            wait *= 1.0 - 0.5 * self._jitter.random()
            if trouble.wait is not None:
                if trouble.wait > self._patience:
                    raise ChatError(
                        f"{self._final(trouble, attempt)} It asks to wait {trouble.wait:.0f} s, and patience is "
                        f"{self._patience:.0f} s.",
                        status=trouble.status,
                    )
                wait = max(wait, trouble.wait)
            await self._sleep(wait)
        raise AssertionError

    async def _attempt(self, body: dict[str, Any], prompt: int) -> tuple[dict[str, Any], int]:
        """One request; what the log keeps of its answer, and the status."""
        httpx = _http()
        if self._session is None:
            headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
            self._session = httpx.AsyncClient(
                headers=headers,
                timeout=None,
                limits=httpx.Limits(max_connections=self.concurrency),
                # Plain HTTP has nothing to verify, and to load the certificates takes a while.
                verify=self._secure,
            )
        content = bytearray()
        status = 0
        try:
            # httpx would limit every single read, which a server that sends a byte now and then never exceeds.
            async with asyncio.timeout(self._timeout):
                async with self._session.stream("POST", self.url, json=body) as response:
                    status = int(response.status_code)
                    wait = _retry_after(response.headers.get("retry-after"))
                    async for chunk in response.aiter_bytes():
                        content += chunk
                        if len(content) > LARGEST_BODY:
                            raise _Trouble(f"an answer of more than {LARGEST_BODY:,} bytes", again=True, status=status)
        except TimeoutError:
            raise _Trouble(f"no whole answer within {self._timeout:g} s", again=True, status=status or None) from None
        except httpx.HTTPError as error:
            raise _Trouble(f"{type(error).__name__}: {error}", again=True, status=status or None) from None
        try:
            answer = json.loads(content.decode())
        except (ValueError, RecursionError):
            answer = None
        if status == 200:
            return self._read(answer, bytes(content[:200]), prompt), status
        refusal = answer.get("error") if isinstance(answer, dict) else None
        code = refusal.get("code") or refusal.get("type") if isinstance(refusal, dict) else None
        said = refusal.get("message") if isinstance(refusal, dict) else refusal
        said = said if isinstance(said, str) else content[:200].decode(errors="replace")
        # An account without money answers 429, too, and no waiting helps.
        again = (status in (408, 409, 429) or status >= 500) and code != "insufficient_quota"
        raise _Trouble(
            f"status {status}: {said[:500].strip() or '(no message)'}", again=again, status=status, wait=wait
        )

    def _read(self, answer: Any, begins: bytes, prompt: int) -> dict[str, Any]:
        """What the log keeps of an answer with status 200."""
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"]
            if isinstance(text, list):  # in parts, as some servers do
                text = "".join(part["text"] for part in text if part.get("type") == "text")
            if text is None:  # nothing but a refusal or a thought
                text = ""
            if not isinstance(text, str):
                raise TypeError
        except (KeyError, IndexError, TypeError, AttributeError):
            shown = begins.decode(errors="replace")
            raise _Trouble(f"an answer that is no chat completion: {shown!r}", again=True, status=200) from None
        text = self._hidden(text.encode(errors="replace").decode())  # lone surrogates would not go into any file
        usage = answer.get("usage")
        counts = [
            usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")
        ]
        finish = choice.get("finish_reason")
        told = {"reply": text, "finish": finish if isinstance(finish, str) else "", "estimated": False}
        if not all(map(_counted, counts)):
            counts = [prompt, estimate_tokens([message("assistant", text)])]
            told["estimated"] = True
        return {**told, "prompt_tokens": counts[0], "completion_tokens": counts[1]}

    def _hidden(self, text: str) -> str:
        """A text without the key, should a server send it back."""
        return text.replace(self._key, "(key)") if len(self._key) >= SHORTEST_SECRET else text

    def _final(self, trouble: _Trouble, attempt: int) -> str:
        hints = {
            400: "Is the conversation too long for the model (context_tokens), or a field unknown to it (request)?",
            401: "Check OPENAI_API_KEY.",
            403: "Check OPENAI_API_KEY.",
            404: f"Check OPENAI_BASE_URL and the model's name {self.model!r}.",
        }
        tries = "" if attempt == 1 else f" after {attempt} attempts"
        verb = "cannot be reached" if trouble.status is None else "gives no usable answer"
        kept = f"in {self.log.path}: run again to go on" if self.log.path is not None else "in memory"
        hint = hints.get(trouble.status or 0, "")
        return (
            f"{self.url} {verb}{tries}: {self._hidden(str(trouble))}. {hint}{' ' if hint else ''}"
            f"{len(self.log)} exchanges are kept {kept}."
        )


__all__ = [
    "BudgetExhausted",
    "ChatClient",
    "ChatError",
    "ChatLog",
    "Exchange",
    "Ledger",
    "RateLimit",
    "Reply",
    "Usage",
    "estimate_tokens",
    "message",
]
