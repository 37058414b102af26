"""OTLP over gRPC. Handlers take the raw bytes, so that both transports refuse the same things in the same words, and so
that nothing is parsed before its cost is known.
"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc

from otel_llm_feedback.receiver.ingest import Ingest, Signal
from otel_llm_feedback.receiver.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm_feedback.receiver.limits import Limits

__all__ = ["OtlpGrpcServer"]

SERVICES = {
    "opentelemetry.proto.collector.trace.v1.TraceService": Signal.TRACES,
    "opentelemetry.proto.collector.logs.v1.LogsService": Signal.LOGS,
    "opentelemetry.proto.collector.metrics.v1.MetricsService": Signal.METRICS,
}

_THREADS = 4
_GRACE_SECONDS = 5.0
_STATUS_BY_CODE = {status.value[0]: status for status in grpc.StatusCode}


class OtlpGrpcServer:
    """Trace, logs and metrics services on one port; raises OSError or OverflowError when it cannot be bound."""

    def __init__(self, host: str, port: int, ingest: Ingest, limits: Limits) -> None:
        _try_to_bind(host, port)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="otlp-grpc")
        self._server = grpc.server(
            self._pool,
            handlers=[_service(name, signal, ingest) for name, signal in SERVICES.items()],
            options=[
                ("grpc.max_receive_message_length", limits.max_grpc_message_bytes),
                ("grpc.so_reuseport", 0),  # a second receiver on the same port is an error, not half of the traffic
            ],
            maximum_concurrent_rpcs=limits.max_connections,
        )
        authority = f"[{host}]" if ":" in host else host
        self.port: int = self._server.add_insecure_port(f"{authority}:{port}")

    def start(self) -> None:
        """Accept calls."""
        self._server.start()

    def stop(self) -> None:
        """Stop accepting, and let calls under way be answered."""
        self._server.stop(_GRACE_SECONDS).wait()
        self._pool.shutdown()


def _try_to_bind(host: str, port: int) -> None:
    """Find out before gRPC does, whose C core writes a failed bind to stderr and gives no reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socket.create_server((host, port), family=family).close()


def _service(name: str, signal: Signal, ingest: Ingest) -> grpc.GenericRpcHandler:
    export: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_exporter(signal, ingest))
    return grpc.method_handlers_generic_handler(name, {"Export": export})


def _exporter(signal: Signal, ingest: Ingest) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def export(body: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return ingest.accept(signal, body)
        except Refused as refusal:
            ingest.count_refusal(refusal)
            context.set_code(_STATUS_BY_CODE[refusal.rpc_code])
            context.set_details(str(refusal))
            return b""

    return export
