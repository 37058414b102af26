"""A small OpenAI-compatible server on this machine, so that the demo needs no key and no network.

It speaks enough of the protocol for the real ``openai`` client: chat completions, whole and streamed, and embeddings.
Answers come from a table of topics and are the same every time; only ids and times differ. Token counts are words.
Two models fail on purpose: ``does-not-exist`` (404) and ``overloaded`` (429, not to be retried).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import socketserver
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["OpenAIServer", "answer", "embed"]

TOPICS = {
    ("trace", "traces", "tracing"): (
        "A trace is the story of one request: a tree of spans that share a trace id. Each span says what was done, "
        "when it began and how long it took."
    ),
    ("span", "spans"): (
        "A span is one step of a trace: a name, a start, an end, and attributes that say what happened. "
        "A call to a language model is one span."
    ),
    ("feedback", "rating", "vote", "thumbs"): (
        "Feedback is worth most beside the answer it is about. Keep the trace id and the span id of the answer, and send "
        "the vote with them, even weeks later."
    ),
    ("collector",): (
        "An OpenTelemetry Collector receives telemetry, changes it on the way if you wish, and passes it on to one or "
        "several backends."
    ),
    ("opentelemetry", "otel", "otlp"): (
        "OpenTelemetry is an open standard for traces, metrics and logs. OTLP is the protocol that carries them."
    ),
    ("france", "paris"): "The capital of France is Paris.",
    ("japan", "tokyo"): "The capital of Japan is Tokyo.",
    ("hello", "hi", "hey"): "Hello! Ask me about traces, spans, feedback or collectors.",
}
"""Words to look for, most specific topic first, and what to say when one of them was asked about."""

FAILURES = {
    "does-not-exist": (404, "model_not_found", "The model `does-not-exist` does not exist."),
    "overloaded": (429, "rate_limit_exceeded", "The model is overloaded; try again later."),
}
DIMENSIONS = 16
MAX_BODY_BYTES = 4 * 1024 * 1024
TIMEOUT_SECONDS = 30

Json = dict[str, Any]


class BadRequestError(Exception):
    """The client's request cannot be answered; the message says why."""


def answer(question: str) -> str:
    """What to say to ``question``: a topic's text, else a polite echo."""
    words = _words(question.lower())
    for triggers, text in TOPICS.items():
        if not words.isdisjoint(triggers):
            return text
    asked = " ".join(question.split())[:200]
    return f"You said: “{asked}”. I only know about tracing, feedback and two capitals, so I cannot tell you more."


def embed(text: str) -> list[float]:
    """A unit vector for ``text``: texts that share words point in similar directions."""
    vector = [0.0] * DIMENSIONS
    for word in _words(text.lower()) or {""}:
        digest = hashlib.sha256(word.encode()).digest()
        for place in range(DIMENSIONS):
            vector[place] += digest[place] / 255 - 0.5
    length = sum(x * x for x in vector) ** 0.5
    return [x / length for x in vector]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _count(text: str) -> int:
    return len(text.split())


def _text_of(message: object) -> str:
    """The text of a chat message, whose content is a string or a list of parts."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))


def _conversation(request: Json) -> list[str]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("'messages' must be a list with at least one message.")
    return [_text_of(message) for message in messages]


def chat_completion(request: Json, response_id: str, created: int) -> Json:
    """The whole answer to a chat request. ``created`` is in seconds since the epoch."""
    texts = _conversation(request)
    reply = answer(texts[-1])
    return {
        "id": response_id,
        "object": "chat.completion",
        "created": created,
        "model": request["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": _usage(texts, reply),
    }


def chat_chunks(completion: Json, *, include_usage: bool) -> Iterator[Json]:
    """The same answer word by word; usage, when asked for, comes in a last chunk of its own."""
    shared = {**completion, "object": "chat.completion.chunk"}
    usage = shared.pop("usage")
    if include_usage:
        shared["usage"] = None

    def chunk(delta: Json, finish_reason: str | None = None) -> Json:
        return {**shared, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}]}

    yield chunk({"role": "assistant", "content": ""})
    for word in re.findall(r"\S+\s*", completion["choices"][0]["message"]["content"]):
        yield chunk({"content": word})
    yield chunk({}, "stop")
    if include_usage:
        yield {**shared, "choices": [], "usage": usage}


def embeddings(request: Json) -> Json:
    """The answer to an embeddings request, base64 (little-endian float32) when asked for, as the client does by default."""
    given = request.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequestError("'input' must be a string or a list of strings.")
    packed = request.get("encoding_format") == "base64"
    vectors = [embed(text) for text in texts]
    tokens = sum(map(_count, texts))
    return {
        "object": "list",
        "model": request["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": _pack(vector) if packed else vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _pack(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _usage(texts: list[str], reply: str) -> Json:
    asked, said = sum(map(_count, texts)), _count(reply)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = TIMEOUT_SECONDS

    def do_POST(self) -> None:
        route = {"/v1/chat/completions": self._chat, "/v1/embeddings": self._embeddings}.get(self.path)
        try:
            request = self._request()
            if route is None:
                self._fail(404, "unknown_url", f"Unknown request URL: POST {self.path}.")
            elif request["model"] in FAILURES:
                self._fail(*FAILURES[request["model"]])
            else:
                route(request)
        except BadRequestError as error:
            self._fail(400, "invalid_request", str(error))

    def do_GET(self) -> None:
        self._fail(405, "method_not_allowed", "Only POST is allowed.")

    def _request(self) -> Json:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > MAX_BODY_BYTES:
            raise BadRequestError(f"Content-Length must be a number up to {MAX_BODY_BYTES}.")
        try:
            request = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise BadRequestError("The body is not JSON.") from None
        if not isinstance(request, dict) or not isinstance(request.get("model"), str):
            raise BadRequestError("The body must be an object with a 'model'.")
        return request

    def _chat(self, request: Json) -> None:
        completion = chat_completion(request, f"chatcmpl-{secrets.token_hex(12)}", int(time.time()))
        if not request.get("stream"):
            self._reply(200, completion)
            return
        options = request.get("stream_options")
        include_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._stream(chat_chunks(completion, include_usage=include_usage))

    def _embeddings(self, request: Json) -> None:
        self._reply(200, embeddings(request))

    def _stream(self, chunks: Iterator[Json]) -> None:
        self.close_connection = True  # without a length, the end of the connection is the end of the body
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def _fail(self, status: int, code: str, message: str) -> None:
        self.close_connection = True  # the body may be unread
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._reply(status, {"error": error}, {"x-should-retry": "false", "Connection": "close"})

    def _reply(self, status: int, document: Json, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-request-id", f"req_{secrets.token_hex(12)}")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the base class would print each request."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """A client went away in the middle; the base class would print a traceback."""


class OpenAIServer:
    """The server, for ``with``: on 127.0.0.1, on any free port."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="openai", daemon=True)

    @property
    def base_url(self) -> str:
        """What ``openai.OpenAI(base_url=…)`` takes; known once the server runs."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._server.server_bind()
        self._server.server_activate()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
