"""OTLP requests to frozen records. Pure: bytes in, values out.

Invalid ids, as opentelemetry-proto has it:

* A span needs a trace id and a span id ("this field is required"; other lengths and all zeros are invalid). One
  without, or with a parent id of the wrong length, is rejected; the others of the request are kept, and the answer is
  a partial success, which tells the sender not to repeat it.
* A log record with an invalid trace or span id is kept, and that id is taken as absent.
* A link with invalid ids is kept with "" in their place: the SDK may send one for the sake of its attributes.

Of two attributes with one key, which OTLP forbids, the last wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm_feedback.receiver.records import (
    Attributes,
    AttributeValue,
    ReceivedLog,
    ReceivedSpan,
    SpanEvent,
    SpanLink,
)
from otel_llm_feedback.receiver.refusals import Malformed
from otel_llm_feedback.receiver.wire import check_nested_messages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["MAX_VALUE_DEPTH", "DecodedSpans", "count_metrics", "decode_logs", "decode_spans"]

MAX_VALUE_DEPTH = 24
"""Arrays and key-value lists within one another; protobuf itself stops at 100 messages, three to each key-value list."""

_TRACE_ID_BYTES = 16
_SPAN_ID_BYTES = 8

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class DecodedSpans:
    """The spans of one request, and how many more it had that were rejected."""

    spans: list[ReceivedSpan]
    rejected: int


def decode_spans(body: bytes, max_nested_messages: int) -> DecodedSpans:
    """The spans of a serialised ExportTraceServiceRequest; raises `Malformed` or `TooLarge`."""
    spans: list[ReceivedSpan] = []
    rejected = 0
    for group in _parse(ExportTraceServiceRequest(), body, max_nested_messages).resource_spans:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_spans:
            scope_attributes = _attributes(scoped.scope.attributes)
            for span in scoped.spans:
                if _has_valid_ids(span):
                    spans.append(_span(span, scoped.scope, scope_attributes, resource))
                else:
                    rejected += 1
    return DecodedSpans(spans, rejected)


def decode_logs(body: bytes, max_nested_messages: int) -> list[ReceivedLog]:
    """The log records of a serialised ExportLogsServiceRequest; raises `Malformed` or `TooLarge`."""
    logs: list[ReceivedLog] = []
    for group in _parse(ExportLogsServiceRequest(), body, max_nested_messages).resource_logs:
        resource = _attributes(group.resource.attributes)
        for scoped in group.scope_logs:
            scope_attributes = _attributes(scoped.scope.attributes)
            logs += [_log(record, scoped.scope, scope_attributes, resource) for record in scoped.log_records]
    return logs


def count_metrics(body: bytes, max_nested_messages: int) -> int:
    """How many metrics a serialised ExportMetricsServiceRequest has; raises `Malformed` or `TooLarge`."""
    request = _parse(ExportMetricsServiceRequest(), body, max_nested_messages)
    return sum(len(scoped.metrics) for group in request.resource_metrics for scoped in group.scope_metrics)


def _parse(request: M, body: bytes, max_nested_messages: int) -> M:
    check_nested_messages(body, request.DESCRIPTOR, max_nested_messages)
    try:
        request.ParseFromString(body)
    except (DecodeError, ValueError):  # ValueError: invalid UTF-8 in protobuf's pure Python implementation
        # "from None": protobuf's message may quote the bytes
        raise Malformed("not an OTLP protobuf message") from None
    return request


def _has_valid_ids(span: Span) -> bool:
    return (
        _id(span.trace_id, _TRACE_ID_BYTES) != ""
        and _id(span.span_id, _SPAN_ID_BYTES) != ""
        and len(span.parent_span_id) in (0, _SPAN_ID_BYTES)
    )


def _id(value: bytes, length: int) -> str:
    return value.hex() if len(value) == length and any(value) else ""


def _span(span: Span, scope: InstrumentationScope, scope_attributes: Attributes, resource: Attributes) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=_id(span.trace_id, _TRACE_ID_BYTES),
        span_id=_id(span.span_id, _SPAN_ID_BYTES),
        parent_span_id=_id(span.parent_span_id, _SPAN_ID_BYTES),
        trace_state=span.trace_state,
        flags=span.flags,
        name=span.name,
        kind=span.kind,
        start_time_unix_nano=span.start_time_unix_nano,
        end_time_unix_nano=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        dropped_attributes_count=span.dropped_attributes_count,
        events=tuple(map(_event, span.events)),
        dropped_events_count=span.dropped_events_count,
        links=tuple(map(_link, span.links)),
        dropped_links_count=span.dropped_links_count,
        status_code=span.status.code,
        status_message=span.status.message,
        scope_name=scope.name,
        scope_version=scope.version,
        scope_attributes=scope_attributes,
        resource_attributes=resource,
    )


def _event(event: Span.Event) -> SpanEvent:
    return SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes), event.dropped_attributes_count)


def _link(link: Span.Link) -> SpanLink:
    return SpanLink(
        trace_id=_id(link.trace_id, _TRACE_ID_BYTES),
        span_id=_id(link.span_id, _SPAN_ID_BYTES),
        trace_state=link.trace_state,
        flags=link.flags,
        attributes=_attributes(link.attributes),
        dropped_attributes_count=link.dropped_attributes_count,
    )


def _log(
    record: LogRecord, scope: InstrumentationScope, scope_attributes: Attributes, resource: Attributes
) -> ReceivedLog:
    return ReceivedLog(
        trace_id=_id(record.trace_id, _TRACE_ID_BYTES),
        span_id=_id(record.span_id, _SPAN_ID_BYTES),
        flags=record.flags,
        event_name=record.event_name,
        time_unix_nano=record.time_unix_nano,
        observed_time_unix_nano=record.observed_time_unix_nano,
        severity_number=record.severity_number,
        severity_text=record.severity_text,
        body=_value(record.body),
        attributes=_attributes(record.attributes),
        dropped_attributes_count=record.dropped_attributes_count,
        scope_name=scope.name,
        scope_version=scope.version,
        scope_attributes=scope_attributes,
        resource_attributes=resource,
    )


def _attributes(pairs: Iterable[KeyValue], depth: int = 0) -> dict[str, AttributeValue]:
    return {pair.key: _value(pair.value, depth) for pair in pairs}


def _value(value: AnyValue, depth: int = 0) -> AttributeValue:
    kind = value.WhichOneof("value")
    if kind is None or kind == "string_value_strindex":  # an index into a table that only profiles have: as if absent
        return None
    if kind not in ("array_value", "kvlist_value"):
        scalar: AttributeValue = getattr(value, kind)
        return scalar
    if depth >= MAX_VALUE_DEPTH:
        raise Malformed(f"values nested deeper than {MAX_VALUE_DEPTH}")
    if kind == "array_value":
        return tuple(_value(item, depth + 1) for item in value.array_value.values)
    return _attributes(value.kvlist_value.values, depth + 1)
