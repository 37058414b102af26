from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_llm_feedback.receiver import Limits, MemorySink, Receiver
from tests.receiver.requests import TIMEOUT, dial, logs, many_empty_spans, metrics, read_to_end, span, traces

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


@pytest.fixture
def channel(receiver: Receiver) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(receiver.grpc_endpoint.removeprefix("http://")) as opened:
        yield opened


def call(channel: grpc.Channel, method: str, body: bytes, compression: grpc.Compression | None = None) -> bytes:
    export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return export(body, timeout=TIMEOUT, compression=compression)


def refusal(channel: grpc.Channel, method: str, body: bytes) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, body, grpc.Compression.Gzip)
    return caught.value.code(), caught.value.details()


def test_each_signal(receiver: Receiver, sink: MemorySink, channel: grpc.Channel) -> None:
    assert call(channel, TRACES, traces(span(name="chat"))) == b""
    assert call(channel, LOGS, logs(LogRecord(event_name="voted")), grpc.Compression.Gzip) == b""
    assert call(channel, METRICS, metrics(2)) == b""
    assert [kept.name for kept in sink.spans] == ["chat"]
    assert [kept.event_name for kept in sink.logs] == ["voted"]
    assert receiver.counters.total("discarded", "metrics") == 2


def test_rejected_spans_are_a_partial_success(channel: grpc.Channel) -> None:
    answer = ExportTraceServiceResponse.FromString(call(channel, TRACES, traces(span(span_id=b""), span())))
    assert answer.partial_success.rejected_spans == 1


@pytest.mark.parametrize("method", [TRACES, LOGS, METRICS])
def test_malformed_bytes(receiver: Receiver, channel: grpc.Channel, method: str) -> None:
    expected = (grpc.StatusCode.INVALID_ARGUMENT, "not an OTLP protobuf message")
    assert refusal(channel, method, b"\xff\xff\xff") == expected
    assert receiver.counters.snapshot() == {("refused", "malformed"): 1}


def test_a_message_above_the_limit_even_when_compressed(channel: grpc.Channel) -> None:
    status, _ = refusal(channel, TRACES, bytes(100 * 1024 * 1024))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call(channel, TRACES, b"") == b""


def test_the_message_limit_can_be_changed() -> None:
    body = traces(span(name="x" * 5 * 1024 * 1024))
    limits = Limits(max_grpc_message_bytes=6 * 1024 * 1024)
    with (
        Receiver(sink := MemorySink(), limits=limits) as receiver,
        grpc.insecure_channel(receiver.grpc_endpoint.removeprefix("http://")) as channel,
    ):
        call(channel, TRACES, body)
    assert len(sink.spans) == 1


def test_a_bomb_of_empty_spans_is_not_parsed(channel: grpc.Channel) -> None:
    expected = (grpc.StatusCode.INVALID_ARGUMENT, "more than 500000 nested messages")
    assert refusal(channel, TRACES, many_empty_spans(1_000_000)) == expected


def test_an_unknown_service(channel: grpc.Channel) -> None:
    status, _ = refusal(channel, "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", b"")
    assert status is grpc.StatusCode.UNIMPLEMENTED


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([TRACES, LOGS, METRICS]), st.binary(max_size=100))
def test_any_bytes_leave_the_server_running(channel: grpc.Channel, method: str, body: bytes) -> None:
    export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    outcome = export.future(body, timeout=TIMEOUT)
    assert outcome.code() in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}


def test_something_else_than_http_2(
    receiver: Receiver, channel: grpc.Channel, capfd: pytest.CaptureFixture[str]
) -> None:
    with dial(receiver, receiver.grpc_endpoint) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        read_to_end(connection)
    assert call(channel, TRACES, b"") == b""
    assert capfd.readouterr() == ("", "")
