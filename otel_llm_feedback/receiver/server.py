"""Both transports over one sink, as one thing to start and stop."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, TypeVar

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.receiver.grpc import OtlpGrpcServer
from otel_llm_feedback.receiver.http import OtlpHttpServer
from otel_llm_feedback.receiver.ingest import Ingest, Sink
from otel_llm_feedback.receiver.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Receiver"]

S = TypeVar("S")


class Receiver:
    """An OTLP receiver on this machine, for ``with`` or for `start` and `stop`.

    Port 0 takes any free one. There is no authentication and no TLS, so a ``host`` that others can reach is refused
    unless ``allow_remote`` is True. What became of requests is in ``counters`` (names in `ingest`).

    Raises `ConfigurationError` for a host, and from `start` for a port, that cannot be used.
    """

    def __init__(
        self,
        sink: Sink,
        host: str = "127.0.0.1",
        grpc_port: int = 0,
        http_port: int = 0,
        *,
        allow_remote: bool = False,
        limits: Limits | None = None,
        counters: Counters | None = None,
    ) -> None:
        if not (allow_remote or _is_loopback(host)):
            raise ConfigurationError("host", host, "give a loopback address such as 127.0.0.1, or allow_remote=True")
        self.counters = Counters() if counters is None else counters
        self._host = host
        self._ports = {"grpc_port": grpc_port, "http_port": http_port}
        self._limits = Limits() if limits is None else limits
        self._ingest = Ingest(sink, self.counters, self._limits)
        self._running: tuple[OtlpGrpcServer, OtlpHttpServer] | None = None

    @property
    def grpc_endpoint(self) -> str:
        """``http://host:port`` for OTLP over gRPC, without TLS; raises `ConfigurationError` unless started."""
        return self._url(self._servers()[0].port)

    @property
    def http_endpoint(self) -> str:
        """``http://host:port`` for OTLP over HTTP, to which exporters add ``/v1/traces`` or ``/v1/logs``.

        Raises `ConfigurationError` unless started.
        """
        return self._url(self._servers()[1].port)

    def start(self) -> Self:
        """Bind both ports and serve in threads; nothing happens if already started."""
        if self._running is None:
            http_server = self._open("http_port", OtlpHttpServer)
            try:
                grpc_server = self._open("grpc_port", OtlpGrpcServer)
            except ConfigurationError:
                http_server.server_close()
                raise
            http_server.start()
            grpc_server.start()
            self._running = grpc_server, http_server
        return self

    def stop(self) -> None:
        """Answer what is under way, then close both ports; nothing happens unless started."""
        running, self._running = self._running, None
        for server in running or ():
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _open(self, name: str, server: Callable[[str, int, Ingest, Limits], S]) -> S:
        port = self._ports[name]
        try:
            return server(self._host, port, self._ingest, self._limits)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(name, port, f"give a port that is free on {self._host}, or 0 for any") from error

    def _servers(self) -> tuple[OtlpGrpcServer, OtlpHttpServer]:
        if self._running is None:
            raise ConfigurationError("receiver", "stopped", "start it first: its ports are chosen then")
        return self._running

    def _url(self, port: int) -> str:
        return f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
