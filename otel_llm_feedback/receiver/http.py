"""OTLP over HTTP: binary protobuf only, as OTLP requires of a server; OTLP/JSON is answered with 415.

`admit` decides from the head of a request, and touches no socket. What it lets through is read, within a bound and a
deadline, and given to `Ingest`. Errors carry a google.rpc.Status, as the specification asks
(opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Response"). Nothing is ever printed.
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import socketserver
import sys
import threading
import time
import zlib
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed

from otel_llm_feedback.receiver.ingest import Ingest, Signal
from otel_llm_feedback.receiver.refusals import (
    LengthRequired,
    Malformed,
    MethodNotAllowed,
    NotFound,
    Refused,
    TimedOut,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message

    from otel_llm_feedback.receiver.limits import Limits

__all__ = ["OtlpHttpServer", "admit", "decompress"]

PROTOBUF = "application/x-protobuf"
PATHS = {"/v1/traces": Signal.TRACES, "/v1/logs": Signal.LOGS, "/v1/metrics": Signal.METRICS}
WINDOW_BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""zlib's ``wbits`` for each content coding of RFC 9110, section 8.4.1, that the stock exporters can send."""

_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_RETRY_AFTER_SECONDS = 1
_LINGER_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Admitted:
    """The head of a request whose body is worth reading. ``encoding`` is "" or a key of `WINDOW_BITS`."""

    signal: Signal
    length: int
    encoding: str


def admit(method: str, path: str, headers: Message, max_body_bytes: int) -> Admitted:
    """Decide from a request's head; raises the `Refused` that answers it."""
    signal = PATHS.get(path)
    if signal is None:
        raise NotFound("the paths are " + ", ".join(PATHS))
    if method != "POST":
        raise MethodNotAllowed("only POST is allowed")
    if headers.get_content_type() != PROTOBUF or "Content-Type" not in headers:
        raise UnsupportedMedia(f"send Content-Type: {PROTOBUF}")
    encoding = headers.get("Content-Encoding", "").strip().lower().replace("identity", "")
    if encoding and encoding not in WINDOW_BITS:
        raise UnsupportedMedia("send Content-Encoding: gzip, deflate or none")
    return Admitted(signal, _content_length(headers, max_body_bytes), encoding)


def _content_length(headers: Message, max_body_bytes: int) -> int:
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or not lengths:
        raise LengthRequired("send Content-Length; chunked bodies are not read")
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("send one Content-Length, a whole number")
    length = int(lengths[0])
    if length > max_body_bytes:
        raise TooLarge(f"body above {max_body_bytes} bytes")
    return length


def decompress(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo one content coding; raises `TooLarge` once ``max_bytes`` are exceeded, `Malformed` when broken."""
    if not encoding:
        return data
    decoder = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        plain = decoder.decompress(data, max_bytes + 1)
    except zlib.error:
        raise Malformed(f"broken {encoding} body") from None
    if len(plain) > max_bytes:
        raise TooLarge(f"decompressed body above {max_bytes} bytes")
    if not decoder.eof or decoder.unused_data:
        raise Malformed(f"broken {encoding} body")
    return plain


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a moment in time.

    A time-out for each read alone would let a client send one byte at a time for hours.
    """

    def __init__(self, connection: socket.socket, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._expires = 0.0

    def expire_in(self, seconds: float) -> None:
        self._expires = self._clock() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # a writable buffer; collections.abc.Buffer needs Python 3.12
        remaining = self._expires - self._clock()
        if remaining <= 0:
            raise TimeoutError("the client took too long")
        self._connection.settimeout(remaining)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """One connection. The base class parses the head of each request and calls ``do_<METHOD>``."""

    server: OtlpHttpServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of an answer are two writes

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._deadline = _DeadlineReader(self.connection, self.server.clock)
        self.rfile = io.BufferedReader(self._deadline)

    def handle_one_request(self) -> None:
        self._deadline.expire_in(self.server.limits.request_timeout_seconds)
        super().handle_one_request()

    def do_POST(self) -> None:
        try:
            reply = self._export()
        except Refused as refusal:
            self.server.ingest.count_refusal(refusal)
            self._refuse(refusal.http_status, refusal.rpc_code, str(refusal))
        else:
            self._reply(200, reply)

    do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST  # noqa: N815 - as the base class wants

    def _export(self) -> bytes:
        bound = self.server.limits.max_http_body_bytes
        request = admit(self.command, self.path.partition("?")[0], self.headers, bound)
        body = decompress(self._read(request.length), request.encoding, bound)
        return self.server.ingest.accept(request.signal, body)

    def _read(self, length: int) -> bytes:
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            raise TimedOut("the body took too long to arrive") from None
        if len(body) < length:
            raise Malformed("body shorter than its Content-Length")
        return body

    def send_error(self, code: int, *_: str | None) -> None:
        """Called by the base class for a broken head. Its texts quote the request, so they are not sent."""
        self.server.ingest.count_refusal(Malformed())
        self._refuse(code, Malformed.rpc_code, "not an HTTP request that can be read")

    def _refuse(self, status: int, rpc_code: int, message: str) -> None:
        self.close_connection = True  # the body may be unread, so the next request cannot be found
        body = Status(code=rpc_code, message=message).SerializeToString()
        self._reply(status, body)
        self._linger()

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", PROTOBUF)
        self.send_header("Content-Length", str(len(body)))
        if status == MethodNotAllowed.http_status:
            self.send_header("Allow", "POST")
        if status == Unavailable.http_status:
            self.send_header("Retry-After", str(_RETRY_AFTER_SECONDS))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _linger(self) -> None:
        """Read on for a moment: closing a socket with unread bytes resets it, and the client may miss the answer."""
        budget = self.server.limits.max_http_body_bytes
        self._deadline.expire_in(_LINGER_SECONDS)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while budget > 0 and (discarded := self.rfile.read1(io.DEFAULT_BUFFER_SIZE)):
                budget -= len(discarded)

    def version_string(self) -> str:
        return "otel-llm-feedback"

    def log_message(self, *_: Any) -> None:
        """Say nothing: the base class would print each request."""


class OtlpHttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread per connection, up to ``limits.max_connections``; more are closed at once."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(
        self, host: str, port: int, ingest: Ingest, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.ingest = ingest
        self.limits = limits
        self.clock = clock
        self._open: set[socket.socket] = set()
        self._closed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self._acceptor = threading.Thread(target=self.serve_forever, args=(0.05,), name="otlp-http", daemon=True)

    @property
    def port(self) -> int:
        """The port that was bound."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Accept connections in a thread."""
        self._acceptor.start()

    def stop(self) -> None:
        """Stop accepting, let requests under way be answered, and close idle connections."""
        self.shutdown()
        self._acceptor.join()
        self.server_close()
        with self._closed:
            for connection in self._open:
                with contextlib.suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RD)
            self._closed.wait_for(lambda: not self._open, _CLOSE_SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._closed:
            full = len(self._open) >= self.limits.max_connections
            if not full:
                self._open.add(request)
        if full:
            self.ingest.count_connection("too_many")
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._closed:
            self._open.discard(request)
            self._closed.notify_all()

    def handle_error(self, *_: Any) -> None:
        """Count it, most likely a client that went away in the middle; the base class would print a traceback."""
        self.ingest.count_connection("broken" if isinstance(sys.exc_info()[1], OSError) else "internal_error")
