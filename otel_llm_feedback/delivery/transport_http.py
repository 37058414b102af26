"""OTLP over HTTP/1.1: one kept-alive connection, no redirects, bounded in time and size.

``http.client`` reads and writes the protocol; the sockets are ours (`stream`), because no client library that the SDK
brings along bounds the whole exchange against a server that drips, or lets another thread end the wait.
"""

from __future__ import annotations

import gzip
import http.client
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from otel_llm_feedback.delivery.answer import (
    Answer,
    Failure,
    accepted,
    error_text,
    hide,
    is_acceptance,
    read_retry_after,
)
from otel_llm_feedback.delivery.endpoint import USER_AGENT
from otel_llm_feedback.delivery.stream import Alarm, Interrupted, Stream
from otel_llm_feedback.delivery.tls import check_files, client_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm_feedback.delivery.endpoint import Endpoint

__all__ = ["HttpTransport"]

ANSWER_LIMIT: Final = 64 * 1024
"""Bytes of an answer's body that are read."""

_DEFAULT_PORTS: Final = MappingProxyType({"http": 80, "https": 443})

# The first match counts: several of these are kinds of those further down.
_FAILURES: Final[tuple[tuple[type[BaseException], Failure], ...]] = (
    (Interrupted, Failure.INTERRUPTED),
    (TimeoutError, Failure.TIMEOUT),
    (ConnectionRefusedError, Failure.REFUSED),
    (ConnectionError, Failure.CLOSED),  # http.client.RemoteDisconnected is one
    (http.client.IncompleteRead, Failure.CLOSED),
    (http.client.HTTPException, Failure.GARBAGE),
    (ssl.SSLError, Failure.TLS),
    (socket.gaierror, Failure.UNREACHABLE),
    (OSError, Failure.UNREACHABLE),
)


class HttpTransport:
    """A `Transport` for ``http/protobuf``; ``now`` gives the Unix time in seconds, for dates in ``Retry-After``."""

    def __init__(self, endpoint: Endpoint, *, now: Callable[[], float] = time.time) -> None:
        check_files(endpoint)
        parts = urlsplit(endpoint.url)
        self._endpoint = endpoint
        self._now = now
        self._host = parts.hostname or ""
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        self._headers = _request_headers(endpoint, parts.netloc)
        self._closed = False
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._sending = threading.Lock()
        self._alarm: Alarm | None = None
        self._stream: Stream | None = None

    def send(self, body: bytes, *, timeout_seconds: float) -> Answer:
        """See `Transport.send`."""
        deadline = time.monotonic() + timeout_seconds
        if os.getpid() != self._pid:
            self._leave_to_parent()
        with self._sending:
            answer = self._attempt(body, deadline)
        if self._closed:
            self._dispose()
        return answer

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed = True
        alarm = self._alarm
        if os.getpid() == self._pid and alarm is not None:
            with suppress(OSError):  # a send that just ended has put the alarm away
                alarm.ring()
        if self._sending.acquire(blocking=False):
            self._sending.release()
            self._dispose()

    def _attempt(self, body: bytes, deadline: float) -> Answer:
        try:
            answer = self._exchange(body, deadline)
        except Exception as error:  # noqa: BLE001 - send() never raises
            answer = _no_answer(error)
            self._drop_stream()
        return answer

    def _exchange(self, body: bytes, deadline: float) -> Answer:
        stream = self._connected(deadline)
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = _as_socket(stream)
        payload = gzip.compress(body, compresslevel=6, mtime=0) if self._endpoint.compression == "gzip" else body
        connection.request("POST", self._path, payload, self._headers)
        with connection.getresponse() as response:
            if stream.ended:  # before the empty line after the headers, which http.client does not miss
                raise http.client.RemoteDisconnected("closed in the middle of the headers")
            content = response.read(ANSWER_LIMIT)
            if response.length and len(content) < ANSWER_LIMIT:
                raise http.client.IncompleteRead(content, response.length)
            reusable = response.isclosed() and not response.will_close and response.status >= http.HTTPStatus.OK
        if stream.cut_short or not reusable:
            self._drop_stream()
        if stream.cut_short and is_acceptance(response.status):
            return Answer(Failure.GARBAGE, message=f"HTTP {response.status} before the whole request was sent")
        return self._read(response, content)

    def _read(self, response: http.client.HTTPResponse, content: bytes) -> Answer:
        if is_acceptance(response.status):
            return accepted(response.status, self._endpoint.signal, content, self._endpoint.secrets)
        return Answer(
            response.status,
            retry_after_seconds=read_retry_after(response.getheader("Retry-After"), self._now()),
            message=hide(error_text(content, response.getheader("Content-Type", "")), self._endpoint.secrets),
        )

    def _connected(self, deadline: float) -> Stream:
        self._alarm = alarm = self._alarm or Alarm()
        if self._closed:
            raise Interrupted
        if self._stream is not None and self._stream.is_stale():
            self._drop_stream()
        if self._stream is None:
            self._stream = Stream.connect(self._host, self._port, alarm, deadline)
            if not self._endpoint.insecure:  # the files are read anew, so that renewed certificates are used
                self._stream.start_tls(client_context(self._endpoint), self._host)
        self._stream.deadline = deadline
        return self._stream

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.dispose()

    def _dispose(self) -> None:
        self._drop_stream()
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.close()

    def _leave_to_parent(self) -> None:
        """In a forked child: close our copies of the descriptors, and forget a lock that nobody here will release."""
        self._dispose()
        self._renew()


def _request_headers(endpoint: Endpoint, netloc: str) -> dict[str, str]:
    own = {"Host": netloc, "Content-Type": "application/x-protobuf", "User-Agent": USER_AGENT}
    if endpoint.compression == "gzip":
        own["Content-Encoding"] = "gzip"
    given = {name.title(): value for name, value in endpoint.headers}
    return {**own, **given}


def _no_answer(error: Exception) -> Answer:
    failure = next((known for kind, known in _FAILURES if isinstance(error, kind)), Failure.UNEXPECTED)
    # Of an unforeseen error only the type is kept: its text might quote the request.
    detail = str(error) if isinstance(error, OSError) else type(error).__name__
    return Answer(failure, message=detail)


def _as_socket(stream: Stream) -> Any:
    """`Stream` has what ``http.client`` uses of a socket, which the type of ``HTTPConnection.sock`` cannot say."""
    return stream
