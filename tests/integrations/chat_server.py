"""A chat endpoint on this machine, whose answers are scripted: good ones, and all kinds of bad ones."""

import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-test-0123456789-secret"


@dataclass
class Answer:
    """What the server does with one request.

    Attributes:
        text: content of the completion (any JSON value); used where ``body`` is None.
        status: HTTP status.
        headers: further ones.
        body: sent as it is instead of a completion.
        usage: token counts of the completion, None to leave them out.
        delay: seconds before anything is sent.
        drip: seconds between the bytes of the body.
        reset: cut the connection after half of the body, with a reset.
    """

    text: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 10})
    delay: float = 0.0
    drip: float = 0.0
    reset: bool = False

    def bytes(self) -> bytes:
        if self.body is not None:
            return self.body
        choice = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "choices": [choice]}
        if self.usage is not None:
            answer["usage"] = self.usage
        return json.dumps(answer).encode()


def failure(status: int, text: str = "no", *, code: str = "some_code", **headers: str) -> Answer:
    """An error in the form that OpenAI gives it."""
    body = json.dumps({"error": {"message": text, "type": "some_type", "code": code}}).encode()
    return Answer(status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


class ChatServer:
    """Serves ``/v1/chat/completions`` on a free port; ``script(request, number)`` gives an `Answer` or a text.

    Attributes:
        requests: bodies of all requests that came, in order.
        keys: their Authorization headers.
        most_at_once: the most that were under way at a time.
    """

    def __init__(self, script: Callable[[dict, int], Answer | str]) -> None:
        self.script = script
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with owner._lock:
                    number = len(owner.requests)
                    owner.requests.append(body)
                    owner.keys.append(self.headers.get("authorization"))
                    owner._now += 1
                    owner.most_at_once = max(owner.most_at_once, owner._now)
                try:
                    assert self.path == "/v1/chat/completions", self.path
                    answer = owner.script(body, number)
                    owner._send(self, Answer(answer) if isinstance(answer, str) else answer)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up
                finally:
                    with owner._lock:
                        owner._now -= 1

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.delay:
            self._closing.wait(answer.delay)
        body = answer.bytes()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        if answer.reset:
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            # Closing with unsent lingering switched off makes a reset of it, not an orderly end.
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
        elif answer.drip:
            for k in range(len(body)):
                handler.wfile.write(body[k : k + 1])
                if self._closing.wait(answer.drip):
                    return
        else:
            handler.wfile.write(body)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "ChatServer":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


# --- policies on words alone ------------------------------------------------------------------------------------------


def offered(request: dict) -> list[str]:
    """The answers that the rules list."""
    listed = re.search(r"Answers: (.*?)\. End your reply", request["messages"][0]["content"])
    assert listed is not None, request["messages"][0]["content"]
    return [re.sub(r" \(\d+\)$", "", name) for name in listed[1].split(", ")]


def win_stay(request: dict, number: int = 0) -> str:
    """Win-stay, lose-next on a bandit, from the last message alone: an arm that paid 1 is kept, else the next taken."""
    arms = offered(request)
    last = re.match(r"(?:From now on.*\n)?(arm \w+) paid (\d)", request["messages"][-1]["content"])
    if last is None or last[1] not in arms:
        return f"ACTION: {arms[0]}"
    at = arms.index(last[1])
    return f"I think... \nACTION: {arms[at if last[2] == '1' else (at + 1) % len(arms)]}"


class DirectWinStay:
    """The same policy on numbers: the next arm is the next in the order in which the rules list them."""

    name = "direct"

    def __init__(self, order: Callable[[int], Any]) -> None:
        self._order = order

    def begin(self, spec: Any, seeds: Any) -> None:
        self._spec = spec
        self._orders = [self._order(int(seed)) for seed in seeds]

    def act(self, observations: Any, fresh: Any) -> Any:
        import numpy as np

        layout, actions = self._spec.layout, np.zeros(len(observations), dtype=np.int64)
        masks = self._spec.observed_mask(observations)
        for i, row in enumerate(observations):
            arms = [arm for arm in self._orders[i] if masks[i, arm]]
            last = row[layout["previous_action"]]
            if not last.any() or last.argmax() not in arms:
                actions[i] = arms[0]
                continue
            at = arms.index(last.argmax())
            won = row[layout.start("previous_reward")] > 0.5
            actions[i] = arms[at if won else (at + 1) % len(arms)]
        return actions
