"""collector-config/local.yaml, in a real collector, fed by the exporters that come with the SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, format_span_id, format_trace_id

from tests.collector.running import Collector, CollectorError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.collector

ATTRIBUTES: dict[str, Any] = {"text": "ä", "flag": False, "whole": 3, "fraction": 3.0, "list": ["a", "b"]}
WAYS = ["grpc", "http"]


def send_span(exporter: SpanExporter, name: str) -> tuple[str, str]:
    """Send one span; return its trace id and span id."""
    provider = TracerProvider(resource=Resource({"service.name": "sender"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test.scope", "1.2.3")
    with tracer.start_as_current_span("parent") as parent:
        link = Link(parent.get_span_context(), {"why": "test"})
        span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=ATTRIBUTES, links=[link])
        span.add_event("it happened", {"n": 1})
        span.set_status(Status(StatusCode.ERROR, "broken"))
        span.end()
    provider.shutdown()
    context = span.get_span_context()
    return format_trace_id(context.trace_id), format_span_id(context.span_id)


def send_log(exporter: LogRecordExporter, event_name: str) -> None:
    provider = LoggerProvider(resource=Resource({"service.name": "sender"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    record = LogRecord(
        timestamp=1_700_000_000_000_000_007,
        observed_timestamp=1_700_000_000_000_000_009,
        severity_number=SeverityNumber.INFO,
        body={"nested": [1, {"deep": True}]},
        attributes=ATTRIBUTES,
        event_name=event_name,
    )
    record.trace_id = int("0af7651916cd43dd8448eb211c80319c", 16)
    record.span_id = int("b7ad6b7169203331", 16)
    provider.get_logger("test.scope", "1.2.3").emit(record)
    provider.shutdown()


def span_exporter(way: str, collector: Collector) -> SpanExporter:
    if way == "grpc":
        return GrpcSpanExporter(endpoint=collector.grpc_endpoint, insecure=True)
    return HttpSpanExporter(endpoint=f"{collector.http_endpoint}/v1/traces")


def log_exporter(way: str, collector: Collector) -> LogRecordExporter:
    if way == "grpc":
        return GrpcLogExporter(endpoint=collector.grpc_endpoint, insecure=True)
    return HttpLogExporter(endpoint=f"{collector.http_endpoint}/v1/logs")


def test_the_configuration_is_valid(collector_binary: Path, tmp_path: Path) -> None:
    answer = Collector(collector_binary, tmp_path).validate()
    assert answer.returncode == 0, answer.stderr


def test_an_invalid_configuration_is_refused(collector_binary: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("receivers: {otlp: {protocols: {grpc: {endpiont: nowhere}}}}", encoding="utf-8")
    broken = Collector(collector_binary, tmp_path, config)
    assert broken.validate().returncode != 0
    with pytest.raises(CollectorError, match="endpiont"):
        broken.start()


@pytest.mark.parametrize("way", WAYS)
def test_a_span_arrives(collector: Collector, way: str) -> None:
    name = f"span by {way}"
    trace_id, span_id = send_span(span_exporter(way, collector), name)
    spans = collector.spans(
        until=lambda seen: {"parent", name} <= {s["name"] for s in seen if s["trace_id"] == trace_id}
    )
    [span] = [span for span in spans if span["span_id"] == span_id]
    [parent] = [span for span in spans if span["trace_id"] == trace_id and span["name"] == "parent"]
    assert parent["parent_span_id"] == ""
    assert parent["end_time_unix_nano"] >= span["end_time_unix_nano"] >= span["start_time_unix_nano"] > 0
    assert (span["name"], span["kind"], span["parent_span_id"]) == (name, "CLIENT", parent["span_id"])
    assert (span["status"], span["status_message"]) == ("ERROR", "broken")
    assert span["attributes"] == ATTRIBUTES
    assert type(span["attributes"]["fraction"]) is float
    assert [(event["name"], event["attributes"]) for event in span["events"]] == [("it happened", {"n": 1})]
    assert span["links"] == [{"trace_id": trace_id, "span_id": parent["span_id"], "attributes": {"why": "test"}}]
    assert (span["scope"], span["scope_version"]) == ("test.scope", "1.2.3")
    assert span["resource"] == {"service.name": "sender"}


@pytest.mark.parametrize("way", WAYS)
def test_a_log_record_arrives(collector: Collector, way: str) -> None:
    event_name = f"log.by.{way}"
    send_log(log_exporter(way, collector), event_name)
    logs = collector.logs(until=lambda seen: event_name in [log["event_name"] for log in seen])
    assert [log for log in logs if log["event_name"] == event_name] == [
        {
            "event_name": event_name,
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "span_id": "b7ad6b7169203331",
            "flags": 0,
            "time_unix_nano": 1_700_000_000_000_000_007,
            "observed_time_unix_nano": 1_700_000_000_000_000_009,
            "severity_number": 9,
            "severity_text": "",
            "body": {"nested": [1, {"deep": True}]},
            "attributes": ATTRIBUTES,
            "scope": "test.scope",
            "scope_version": "1.2.3",
            "resource": {"service.name": "sender"},
        }
    ]


def test_what_was_received_survives_a_crash(collector_binary: Path, tmp_path: Path) -> None:
    with Collector(collector_binary, tmp_path) as crashing:
        send_log(log_exporter("grpc", crashing), "before")
        crashing.kill()
        crashing.restart()
        send_log(log_exporter("grpc", crashing), "after")
        assert [log["event_name"] for log in crashing.logs(until=2)] == ["before", "after"]


def test_what_does_not_arrive_is_an_error(collector: Collector) -> None:
    with pytest.raises(CollectorError, match="not satisfied"):
        collector.logs(until=1000, timeout=0.1)
