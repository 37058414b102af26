"""The stock OTLP exporters, with everything they can send, against the receiver."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from grpc import Compression as GrpcCompression
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.util.types import AttributeValue

    from otel_llm_feedback.receiver import MemorySink, Receiver

RESOURCE = Resource({"service.name": "chat", "numbers": [1, 2]})
FAR = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))


class Exporters(NamedTuple):
    spans: SpanExporter
    logs: LogRecordExporter
    metrics: MetricExporter


def _grpc(receiver: Receiver, compression: GrpcCompression) -> Exporters:
    endpoint = receiver.grpc_endpoint
    return Exporters(
        GrpcSpanExporter(endpoint, compression=compression),
        GrpcLogExporter(endpoint, compression=compression),
        GrpcMetricExporter(endpoint, compression=compression),
    )


def _http(receiver: Receiver, compression: HttpCompression) -> Exporters:
    endpoint = receiver.http_endpoint
    return Exporters(
        HttpSpanExporter(f"{endpoint}/v1/traces", compression=compression),
        HttpLogExporter(f"{endpoint}/v1/logs", compression=compression),
        HttpMetricExporter(f"{endpoint}/v1/metrics", compression=compression),
    )


WAYS: dict[str, Callable[[Receiver], Exporters]] = {
    "grpc": lambda receiver: _grpc(receiver, GrpcCompression.NoCompression),
    "grpc-gzip": lambda receiver: _grpc(receiver, GrpcCompression.Gzip),
    "http": lambda receiver: _http(receiver, HttpCompression.NoCompression),
    "http-gzip": lambda receiver: _http(receiver, HttpCompression.Gzip),
    "http-deflate": lambda receiver: _http(receiver, HttpCompression.Deflate),
}


@pytest.fixture(params=WAYS)
def exporters(request: pytest.FixtureRequest, receiver: Receiver) -> Exporters:
    return WAYS[request.param](receiver)


def test_a_span(exporters: Exporters, sink: MemorySink) -> None:
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(exporters.spans))
    tracer = provider.get_tracer("scope", "1.2", attributes={"a": "b"})
    with tracer.start_as_current_span("parent") as parent:
        attributes: dict[str, AttributeValue] = {"text": "ä", "yes": True, "n": 7, "x": 0.5, "many": ["a", "b"]}
        child = tracer.start_span("child", kind=SpanKind.CLIENT, attributes=attributes, links=[Link(FAR, {"l": 1})])
        child.add_event("token", {"first": True}, timestamp=5)
        child.set_status(Status(StatusCode.ERROR, "too slow"))
        child.end()
    provider.shutdown()

    first, second = sink.spans
    assert (second.name, second.parent_span_id) == ("parent", "")
    assert (first.name, first.kind) == ("child", 3)
    assert first.trace_id == second.trace_id == f"{parent.get_span_context().trace_id:032x}"
    assert first.parent_span_id == second.span_id == f"{parent.get_span_context().span_id:016x}"
    assert first.flags & 0x100  # "is remote" is known; the Python exporter leaves out the sampled bit
    assert first.attributes == {**attributes, "many": ("a", "b")}
    (event,) = first.events
    assert (event.name, event.time_unix_nano, event.attributes) == ("token", 5, {"first": True})
    (link,) = first.links
    assert (link.trace_id, link.span_id, link.attributes) == (f"{0xABC:032x}", f"{0xDEF:016x}", {"l": 1})
    assert (first.status_code, first.status_message) == (2, "too slow")
    assert (first.scope_name, first.scope_version, first.scope_attributes) == ("scope", "1.2", {"a": "b"})
    assert first.resource_attributes == {"service.name": "chat", "numbers": (1, 2)}
    assert 0 < first.start_time_unix_nano <= first.end_time_unix_nano <= time.time_ns()


def test_a_log_event_on_a_span_that_ended_elsewhere(exporters: Exporters, sink: MemorySink) -> None:
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporters.logs))
    provider.get_logger("scope", "1.2").emit(
        LogRecord(
            timestamp=10,
            observed_timestamp=20,
            context=set_span_in_context(NonRecordingSpan(FAR)),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body="user feedback",
            attributes={"score": 1.0, "tags": ("a", "b")},
            event_name="gen_ai.evaluation.result",
        )
    )
    provider.shutdown()

    (log,) = sink.logs
    assert (log.trace_id, log.span_id, log.flags) == (f"{0xABC:032x}", f"{0xDEF:016x}", 1)
    assert (log.event_name, log.body) == ("gen_ai.evaluation.result", "user feedback")
    assert (log.time_unix_nano, log.observed_time_unix_nano) == (10, 20)
    assert (log.severity_number, log.severity_text) == (9, "INFO")
    assert log.attributes == {"score": 1.0, "tags": ("a", "b")}
    assert (log.scope_name, log.scope_version) == ("scope", "1.2")
    assert log.resource_attributes["service.name"] == "chat"


def test_metrics_are_accepted_and_discarded(exporters: Exporters, receiver: Receiver) -> None:
    reader = PeriodicExportingMetricReader(exporters.metrics, export_interval_millis=1e9)
    provider = MeterProvider([reader], resource=RESOURCE)
    provider.get_meter("scope").create_counter("votes").add(1)
    provider.shutdown()
    assert receiver.counters.total("discarded", "metrics") >= 1
    assert receiver.counters.total("refused") == 0
