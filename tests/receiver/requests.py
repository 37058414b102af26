"""OTLP requests, and raw HTTP, for the receiver's tests."""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING

from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # googleapis-common-protos has no py.typed
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm_feedback.receiver import Receiver

TRACE_ID = bytes(range(16))
SPAN_ID = bytes(range(1, 9))
SCOPE = InstrumentationScope(name="scope", version="1")
PROTOBUF = {"Content-Type": "application/x-protobuf"}
TIMEOUT = 20.0  # seconds; only ever reached by a test that fails


def span(trace_id: bytes = TRACE_ID, span_id: bytes = SPAN_ID, parent_span_id: bytes = b"", name: str = "") -> Span:
    return Span(trace_id=trace_id, span_id=span_id, parent_span_id=parent_span_id, name=name)


def traces(*spans: Span) -> bytes:
    scoped = ScopeSpans(scope=SCOPE, spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[scoped])]).SerializeToString()


def logs(*records: LogRecord) -> bytes:
    scoped = ScopeLogs(scope=SCOPE, log_records=records)
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[scoped])]).SerializeToString()


def metrics(count: int) -> bytes:
    scoped = ScopeMetrics(scope=SCOPE, metrics=[Metric(name=str(n)) for n in range(count)])
    return ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(scope_metrics=[scoped])]).SerializeToString()


def length_delimited(field: int, payload: bytes) -> bytes:
    """One protobuf field of wire type 2."""
    size, rest = b"", len(payload)
    while rest > 0x7F:
        size += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return bytes([field << 3 | 2]) + size + bytes([rest]) + payload


def many_empty_spans(count: int) -> bytes:
    """A trace request that takes two bytes for each of its spans."""
    return length_delimited(1, length_delimited(2, length_delimited(2, b"") * count))


def connect(receiver: Receiver) -> HTTPConnection:
    return HTTPConnection(receiver.http_endpoint.removeprefix("http://"), timeout=TIMEOUT)


def send(
    receiver: Receiver,
    body: bytes,
    path: str = "/v1/traces",
    headers: Mapping[str, str] = PROTOBUF,
    method: str = "POST",
) -> tuple[HTTPResponse, bytes]:
    connection = connect(receiver)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def dial(receiver: Receiver, endpoint: str = "") -> socket.socket:
    host, _, port = (endpoint or receiver.http_endpoint).removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT)


def read_to_end(connection: socket.socket) -> bytes:
    """What the server sends until it closes, or resets, the connection."""
    answer = b""
    try:
        while chunk := connection.recv(65536):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def message_of(body: bytes) -> tuple[int, str]:
    """The code and message of a google.rpc.Status."""
    status = Status.FromString(body)
    return status.code, status.message
