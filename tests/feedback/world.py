"""An application's telemetry with frozen ids and a frozen clock, and what it exported, as it would go over the wire."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanContext, TraceFlags

from otel_llm_feedback import CallRegistry, LLMSpanProcessor, Receipt, Recorder, Settings, record_feedback
from otel_llm_feedback.counters import Counters
from otel_llm_feedback.feedback.emit import LogEmitter, SpanEventEmitter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import Span

NOW = 1_780_000_000_123_456_789
TRACE = "5b8aa5a2d2c872e8321cf37308d69df2"
SPAN = "051581bf3cb55c13"
SAMPLED = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=True, trace_flags=TraceFlags(1))
UNSAMPLED = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=True, trace_flags=TraceFlags(0))

CHAT: dict[str, str | int] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2026-01-01",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.conversation.id": "conv-1",
    "gen_ai.agent.name": "helper",
    "gen_ai.prompt.name": "greeting",
    "gen_ai.prompt.version": "3",
    "gen_ai.usage.input_tokens": 10,
}
"""What a chat span carries; all but the tokens are copied to the votes on it."""

DIMENSIONS = {name: value for name, value in CHAT.items() if "usage" not in name}

LEAST = {
    "gen_ai.evaluation.name": "user_feedback",
    "llm_feedback.id": "id-1",
    "llm_feedback.revision": NOW // 1000,
    "llm_feedback.operation": "create",
    "llm_feedback.kind": "explicit",
}
"""What every first vote carries."""

PASS = {"gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.score.label": "pass"}


class CountingIds(IdGenerator):
    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def generate_span_id(self) -> int:
        return 0xA000000000000000 + next(self._ids)

    def generate_trace_id(self) -> int:
        return 0xB0000000000000000000000000000000 + next(self._ids)


class World:
    def __init__(self, settings: Settings | None = None, sampler: Sampler | None = None) -> None:
        self.counters = Counters()
        self.registry = CallRegistry(counters=self.counters)
        resource = Resource({"service.name": "test"})
        self._spans, self._logs = InMemorySpanExporter(), InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.tracer_provider = TracerProvider(
            resource=resource, sampler=sampler, id_generator=CountingIds(), shutdown_on_exit=False
        )
        self.tracer_provider.add_span_processor(LLMSpanProcessor(self.registry, Settings(), counters=self.counters))
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.logger_provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        ids = itertools.count(1)
        self.recorder = Recorder(
            Settings() if settings is None else settings,
            self.registry,
            self.counters,
            LogEmitter(self.logger_provider),
            SpanEventEmitter(self.tracer_provider),
            time_ns=lambda: NOW,
            new_id=lambda: f"id-{next(ids)}",
        )
        self.tracer = self.tracer_provider.get_tracer("some.instrumentation")

    def record(self, target: Any, value: Any = None, **arguments: Any) -> Receipt:
        return record_feedback(target, value, recorder=self.recorder, **arguments)

    def chat(self, attributes: Mapping[str, Any] = CHAT) -> Span:
        """An LLM span, not yet ended."""
        return self.tracer.start_span("chat gpt-4o-mini", attributes=dict(attributes))

    def logs(self) -> list[dict[str, Any]]:
        return as_sent(self._logs.get_finished_logs())

    def attributes_before_encoding(self) -> list[set[str]]:
        """Names of each log record's attributes; the encoder leaves out what it cannot encode, and only logs that."""
        return [set(each.log_record.attributes or {}) for each in self._logs.get_finished_logs()]

    def log(self) -> dict[str, Any]:
        [only] = self.logs()
        return only

    def spans(self) -> list[dict[str, Any]]:
        return spans_as_sent(self._spans.get_finished_spans())


def as_sent(logs: Sequence[ReadableLogRecord]) -> list[dict[str, Any]]:
    """Log records after the official encoder and protobuf's own decoder."""
    sent = ExportLogsServiceRequest.FromString(encode_logs(logs).SerializeToString())
    return [
        {
            "trace_id": record.trace_id.hex(),
            "span_id": record.span_id.hex(),
            "flags": record.flags,
            "event_name": record.event_name,
            "time": record.time_unix_nano,
            "observed": record.observed_time_unix_nano,
            "severity": (record.severity_number, record.severity_text),
            "body": _value(record.body),
            "scope": (scope_logs.scope.name, scope_logs.scope.version),
            "resource": _attributes(resource_logs.resource.attributes),
            "attributes": _attributes(record.attributes),
            "dropped": record.dropped_attributes_count,
        }
        for resource_logs in sent.resource_logs
        for scope_logs in resource_logs.scope_logs
        for record in scope_logs.log_records
    ]


def spans_as_sent(spans: Sequence[ReadableSpan]) -> list[dict[str, Any]]:
    sent = ExportTraceServiceRequest.FromString(encode_spans(spans).SerializeToString())
    return [
        {
            "name": span.name,
            "trace_id": span.trace_id.hex(),
            "span_id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "time": (span.start_time_unix_nano, span.end_time_unix_nano),
            "scope": scope_spans.scope.name,
            "attributes": _attributes(span.attributes),
            "links": [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            "events": [(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events],
        }
        for resource_spans in sent.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def _attributes(attributes: Iterable[Any]) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)
