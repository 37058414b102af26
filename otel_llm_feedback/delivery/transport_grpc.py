"""OTLP over gRPC: bytes in, bytes out, on a channel that is replaced when its connection fails."""

from __future__ import annotations

import os
import re
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import grpc

from otel_llm_feedback.delivery.answer import Answer, Failure, accepted, hide, read_retry_info
from otel_llm_feedback.delivery.endpoint import USER_AGENT
from otel_llm_feedback.delivery.tls import check_files, read_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm_feedback.delivery.endpoint import Endpoint

__all__ = ["GrpcTransport"]

METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    }
)
"""The unary method of each signal (opentelemetry-proto, ``collector/*/v1/*_service.proto``)."""

_OPTIONS: Final[tuple[tuple[str, str | int], ...]] = (
    ("grpc.primary_user_agent", USER_AGENT),
    ("grpc.max_receive_message_length", 64 * 1024),
    ("grpc.max_send_message_length", -1),  # the sender knows the limits
    ("grpc.enable_retries", 0),  # and decides on retries
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),  # otherwise a new channel inherits the back-off of the one it replaces
    ("grpc.max_reconnect_backoff_ms", 1000),
)

# After these the connection may be dead or its peer gone. gRPC would go on with it, or answer from its own back-off
# without trying; a new channel makes every attempt of ours a real one.
_CONNECTION_LOST: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})

# gRPC reports what it did not manage itself with the same codes as a server does; only the words differ.
_LOCAL: Final[tuple[tuple[str, re.Pattern[str], Failure], ...]] = (
    ("UNAVAILABLE", re.compile(r"^failed to connect.*handshake", re.IGNORECASE | re.DOTALL), Failure.TLS),
    ("UNAVAILABLE", re.compile(r"^failed to connect.*refused", re.IGNORECASE | re.DOTALL), Failure.REFUSED),
    ("UNAVAILABLE", re.compile(r"^failed to connect.*parsing HTTP/2", re.IGNORECASE | re.DOTALL), Failure.GARBAGE),
    ("UNAVAILABLE", re.compile(r"^(failed to connect|errors resolving|DNS resolution)"), Failure.UNREACHABLE),
    ("DEADLINE_EXCEEDED", re.compile(r"^Deadline Exceeded$"), Failure.TIMEOUT),
    ("RESOURCE_EXHAUSTED", re.compile(r"CLIENT: Received message larger"), Failure.GARBAGE),
)


class GrpcTransport:
    """A `Transport` for ``grpc``."""

    def __init__(self, endpoint: Endpoint) -> None:
        check_files(endpoint)
        self._endpoint = endpoint
        self._compression = grpc.Compression.Gzip if endpoint.compression == "gzip" else grpc.Compression.NoCompression
        self._closed = False
        self._inherited: list[object] = []
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._channel: Any = None
        self._call: Any = None

    def send(self, body: bytes, *, timeout_seconds: float) -> Answer:
        """See `Transport.send`."""
        if os.getpid() != self._pid:
            self._leave_to_parent()
        try:
            answer = self._exchange(body, timeout_seconds)
        except Exception as error:  # noqa: BLE001 - send() never raises
            failure = Failure.TLS if isinstance(error, OSError) else Failure.UNEXPECTED
            answer = Answer(failure, message=type(error).__name__)
            self._drop_channel()
        return answer

    def close(self) -> None:
        """See `Transport.close`."""
        self._closed = True
        if os.getpid() != self._pid:
            return
        with self._lock:
            call = self._call
        if call is not None:
            call.cancel()
        self._drop_channel()

    def _exchange(self, body: bytes, timeout_seconds: float) -> Answer:
        if timeout_seconds <= 0:
            return Answer(Failure.TIMEOUT, message="no time left")
        with self._lock:  # so that close() either sees the call or keeps it from being made
            if self._closed:
                return Answer(Failure.INTERRUPTED)
            self._channel = self._channel or self._open()
            export = self._channel.unary_unary(METHODS[self._endpoint.signal])
            self._call = export.future(
                body, timeout=timeout_seconds, metadata=self._endpoint.headers, compression=self._compression
            )
        try:
            return self._answer(self._call)
        finally:
            self._call = None

    def _answer(self, call: Any) -> Answer:
        try:
            return accepted("OK", self._endpoint.signal, call.result(), self._endpoint.secrets)
        except grpc.FutureCancelledError:
            return Answer(Failure.INTERRUPTED)
        except grpc.RpcError:
            return self._refusal(call.code().name, call.details() or "", call.trailing_metadata() or ())

    def _refusal(self, code: str, details: str, trailers: tuple[tuple[str, str | bytes], ...]) -> Answer:
        if code in _CONNECTION_LOST:
            self._drop_channel()
        message = hide(details, self._endpoint.secrets)
        status = next((value for name, value in trailers if name == "grpc-status-details-bin"), b"")
        if not trailers:
            for local_code, words, failure in _LOCAL:
                if code == local_code and words.search(details):
                    return Answer(failure, message=message)
        retry_after = read_retry_info(status) if isinstance(status, bytes) and status else None
        return Answer(code, retry_after_seconds=retry_after, message=message)

    def _open(self) -> Any:
        if self._endpoint.insecure:
            return grpc.insecure_channel(self._endpoint.url, options=_OPTIONS)
        files = read_files(self._endpoint)
        credentials = grpc.ssl_channel_credentials(files.authorities, files.key, files.chain)
        return grpc.secure_channel(self._endpoint.url, credentials, options=_OPTIONS)

    def _drop_channel(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _leave_to_parent(self) -> None:
        """In a forked child: closing the parent's channel could wait for threads that are not here: keep it."""
        self._inherited.append((self._channel, self._call))
        self._renew()
