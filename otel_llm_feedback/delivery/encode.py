"""One finished log record or span as the bytes of an OTLP request of its own.

Each result carries its resource and scope, so any number of them joined with ``b"".join`` is one valid
``ExportLogsServiceRequest`` or ``ExportTraceServiceRequest`` (sources: opentelemetry/proto/{logs,trace}/v1/*.proto). It parses
equal to what ``opentelemetry-exporter-otlp-proto-common`` makes of the same input, except that a severity given as a plain
int is kept, and that what makes that encoder fail, and with it the whole batch, is repaired and counted as ("repaired",
reason): see `otel_llm_feedback.delivery.values` for values and text, and here

    number_out_of_range  a time or a count that does not fit its field becomes the nearest that does, or is left out
    invalid_id           a trace or span id that does not fit its field is left out
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, SpanContext, Status, TraceState

from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.delivery.values import (
    NUMBER_OUT_OF_RANGE,
    REPAIRED,
    as_text,
    encode_attributes,
    encode_value,
    utf8,
)
from otel_llm_feedback.delivery.wire import DELIMITED, FIXED32, FIXED64, VARINT, delimited, tag, varint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

__all__ = ["INVALID_ID", "LogFields", "ReadableLog", "encode_log", "encode_span"]

INVALID_ID: Final = "invalid_id"

# Request, Resource{Logs,Spans} and Scope{Logs,Spans} have the same numbers for both signals.
_REQUEST_RESOURCE = tag(1, DELIMITED)
_RESOURCE = tag(1, DELIMITED)
_RESOURCE_SCOPES = tag(2, DELIMITED)
_RESOURCE_ATTRIBUTES = tag(1, DELIMITED)
_SCOPE = tag(1, DELIMITED)
_SCOPE_RECORDS = tag(2, DELIMITED)
_SCOPE_NAME = tag(1, DELIMITED)
_SCOPE_VERSION = tag(2, DELIMITED)
_SCOPE_ATTRIBUTES = tag(3, DELIMITED)
_SCHEMA_URL = tag(3, DELIMITED)

_LOG_TIME = tag(1, FIXED64)
_LOG_SEVERITY = tag(2, VARINT)
_LOG_SEVERITY_TEXT = tag(3, DELIMITED)
_LOG_BODY = tag(5, DELIMITED)
_LOG_ATTRIBUTES = tag(6, DELIMITED)
_LOG_DROPPED = tag(7, VARINT)
_LOG_FLAGS = tag(8, FIXED32)
_LOG_TRACE_ID = tag(9, DELIMITED)
_LOG_SPAN_ID = tag(10, DELIMITED)
_LOG_OBSERVED_TIME = tag(11, FIXED64)
_LOG_EVENT_NAME = tag(12, DELIMITED)

_SPAN_TRACE_ID = tag(1, DELIMITED)
_SPAN_SPAN_ID = tag(2, DELIMITED)
_SPAN_TRACE_STATE = tag(3, DELIMITED)
_SPAN_PARENT_ID = tag(4, DELIMITED)
_SPAN_NAME = tag(5, DELIMITED)
_SPAN_KIND = tag(6, VARINT)
_SPAN_START = tag(7, FIXED64)
_SPAN_END = tag(8, FIXED64)
_SPAN_ATTRIBUTES = tag(9, DELIMITED)
_SPAN_DROPPED_ATTRIBUTES = tag(10, VARINT)
_SPAN_EVENTS = tag(11, DELIMITED)
_SPAN_DROPPED_EVENTS = tag(12, VARINT)
_SPAN_LINKS = tag(13, DELIMITED)
_SPAN_DROPPED_LINKS = tag(14, VARINT)
_SPAN_STATUS = tag(15, DELIMITED)
_SPAN_FLAGS = tag(16, FIXED32)

_EVENT_TIME = tag(1, FIXED64)
_EVENT_NAME = tag(2, DELIMITED)
_EVENT_ATTRIBUTES = tag(3, DELIMITED)
_EVENT_DROPPED = tag(4, VARINT)

_LINK_TRACE_ID = tag(1, DELIMITED)
_LINK_SPAN_ID = tag(2, DELIMITED)
_LINK_ATTRIBUTES = tag(4, DELIMITED)
_LINK_DROPPED = tag(5, VARINT)
_LINK_FLAGS = tag(6, FIXED32)

_STATUS_MESSAGE = tag(2, DELIMITED)
_STATUS_CODE = tag(3, VARINT)

# The SDK's kinds are one less than the wire's, which begin with UNSPECIFIED. Another object ends up below zero: repaired.
_NOT_A_KIND = -2

# SpanFlags: whether is_remote is known (the SDK always knows), and whether it is true.
_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200

_UINT32 = (1 << 32) - 1
_UINT64 = (1 << 64) - 1
_pack_fixed32 = struct.Struct("<I").pack
_pack_fixed64 = struct.Struct("<Q").pack

_T = TypeVar("_T")


class LogFields(Protocol):
    """What is read of an API ``LogRecord``: times in nanoseconds since the epoch, ids as ints (0 when there is none)."""

    @property
    def timestamp(self) -> int | None: ...
    @property
    def observed_timestamp(self) -> int | None: ...
    @property
    def trace_id(self) -> int | None: ...
    @property
    def span_id(self) -> int | None: ...
    @property
    def trace_flags(self) -> int | None: ...
    @property
    def severity_number(self) -> object: ...
    @property
    def severity_text(self) -> str | None: ...
    @property
    def body(self) -> object: ...
    @property
    def attributes(self) -> Mapping[str, object] | None: ...
    @property
    def event_name(self) -> str | None: ...


class ReadableLog(Protocol):
    """What is read of the SDK's ``ReadWriteLogRecord`` (processors) and ``ReadableLogRecord`` (exporters)."""

    @property
    def log_record(self) -> LogFields: ...
    @property
    def resource(self) -> Resource | None: ...
    @property
    def instrumentation_scope(self) -> InstrumentationScope | None: ...
    @property
    def dropped_attributes(self) -> int: ...


def encode_log(record: ReadableLog, counters: Counters = DEFAULT_COUNTERS) -> bytes:
    """The bytes of an ``ExportLogsServiceRequest`` with this one record; repairs are counted in ``counters``."""
    log = record.log_record
    message = (
        _fixed64(_LOG_TIME, log.timestamp, counters),
        _number(_LOG_SEVERITY, getattr(log.severity_number, "value", log.severity_number), counters),
        _text(_LOG_SEVERITY_TEXT, log.severity_text, counters),
        delimited(_LOG_BODY, encode_value(log.body, counters)),
        encode_attributes(_LOG_ATTRIBUTES, log.attributes, counters),
        _number(_LOG_DROPPED, record.dropped_attributes, counters),
        _fixed32(_LOG_FLAGS, log.trace_flags, counters),
        _id(_LOG_TRACE_ID, log.trace_id, 16, counters) if log.trace_id else b"",
        _id(_LOG_SPAN_ID, log.span_id, 8, counters) if log.span_id else b"",
        _fixed64(_LOG_OBSERVED_TIME, log.observed_timestamp, counters),
        _text(_LOG_EVENT_NAME, log.event_name, counters),
    )
    return _request(record.resource, record.instrumentation_scope, b"".join(message), counters)


def encode_span(span: ReadableSpan, counters: Counters = DEFAULT_COUNTERS) -> bytes:
    """The bytes of an ``ExportTraceServiceRequest`` with this one span; repairs are counted in ``counters``."""
    context = span.get_span_context() or _no_context(counters)
    parent = span.parent
    message = (
        _id(_SPAN_TRACE_ID, context.trace_id, 16, counters),
        _id(_SPAN_SPAN_ID, context.span_id, 8, counters),
        _trace_state(context.trace_state, counters),
        b"" if parent is None else _id(_SPAN_PARENT_ID, parent.span_id, 8, counters),
        _text(_SPAN_NAME, span.name, counters),
        _number(_SPAN_KIND, getattr(span.kind, "value", _NOT_A_KIND) + 1, counters),
        _fixed64(_SPAN_START, span.start_time, counters),
        _fixed64(_SPAN_END, span.end_time, counters),
        encode_attributes(_SPAN_ATTRIBUTES, span.attributes, counters),
        _number(_SPAN_DROPPED_ATTRIBUTES, span.dropped_attributes, counters),
        *[delimited(_SPAN_EVENTS, _event(event, counters)) for event in span.events],
        _number(_SPAN_DROPPED_EVENTS, span.dropped_events, counters),
        *[delimited(_SPAN_LINKS, _link(link, counters)) for link in span.links],
        _number(_SPAN_DROPPED_LINKS, span.dropped_links, counters),
        _status(span.status, counters),
        _SPAN_FLAGS + _pack_fixed32(_remote_flags(parent)),
    )
    return _request(span.resource, span.instrumentation_scope, b"".join(message), counters)


def _no_context(counters: Counters) -> SpanContext:
    counters.add(REPAIRED, INVALID_ID)
    return INVALID_SPAN_CONTEXT


def _remote_flags(context: SpanContext | None) -> int:
    return _HAS_IS_REMOTE | _IS_REMOTE if context is not None and context.is_remote else _HAS_IS_REMOTE


def _trace_state(state: TraceState | None, counters: Counters) -> bytes:
    if not state:
        return b""
    return _text(_SPAN_TRACE_STATE, ",".join([f"{key}={value}" for key, value in state.items()]), counters)


def _event(event: Event, counters: Counters) -> bytes:
    return (
        _fixed64(_EVENT_TIME, event.timestamp, counters)
        + _text(_EVENT_NAME, event.name, counters)
        + encode_attributes(_EVENT_ATTRIBUTES, event.attributes, counters)
        + _number(_EVENT_DROPPED, event.dropped_attributes, counters)
    )


def _link(link: Link, counters: Counters) -> bytes:
    return (
        _id(_LINK_TRACE_ID, link.context.trace_id, 16, counters)
        + _id(_LINK_SPAN_ID, link.context.span_id, 8, counters)
        + encode_attributes(_LINK_ATTRIBUTES, link.attributes, counters)
        + _number(_LINK_DROPPED, link.dropped_attributes, counters)
        + _LINK_FLAGS
        + _pack_fixed32(_remote_flags(link.context))
    )


def _status(status: Status | None, counters: Counters) -> bytes:
    if status is None:
        return b""
    message = _text(_STATUS_MESSAGE, status.description, counters)
    return delimited(_SPAN_STATUS, message + _number(_STATUS_CODE, status.status_code.value, counters))


def _request(resource: Resource | None, scope: InstrumentationScope | None, record: bytes, counters: Counters) -> bytes:
    scoped = _scope_fields(scope, counters) + delimited(_SCOPE_RECORDS, record)
    return delimited(_REQUEST_RESOURCE, _resource_fields(resource, counters) + delimited(_RESOURCE_SCOPES, scoped))


class _Remembered(Generic[_T]):
    """The bytes of long-lived objects, by identity: the hash of a ``Resource`` dumps it as JSON each time it is taken.

    An entry holds its object, so that an id is never another object's. When full it starts anew, which bounds what a
    caller who makes such objects without end can use.
    """

    def __init__(self, encode: Callable[[_T, Counters], bytes], size: int = 64) -> None:
        self._encode = encode
        self._size = size
        self._entries: dict[int, tuple[_T, bytes]] = {}

    def __call__(self, thing: _T, counters: Counters) -> bytes:
        entry = self._entries.get(id(thing))
        if entry is None:
            entry = (thing, self._encode(thing, counters))
            if len(self._entries) >= self._size:
                self._entries.clear()
            self._entries[id(thing)] = entry
        return entry[1]


def _encode_resource_fields(resource: Resource | None, counters: Counters) -> bytes:
    if resource is None:
        return delimited(_RESOURCE, b"")
    attributes = encode_attributes(_RESOURCE_ATTRIBUTES, resource.attributes, counters)
    return delimited(_RESOURCE, attributes) + _text(_SCHEMA_URL, resource.schema_url, counters)


def _encode_scope_fields(scope: InstrumentationScope | None, counters: Counters) -> bytes:
    if scope is None:
        return delimited(_SCOPE, b"")
    message = (
        _text(_SCOPE_NAME, scope.name, counters)
        + _text(_SCOPE_VERSION, scope.version, counters)
        + encode_attributes(_SCOPE_ATTRIBUTES, scope.attributes, counters)
    )
    return delimited(_SCOPE, message) + _text(_SCHEMA_URL, scope.schema_url, counters)


_resource_fields = _Remembered(_encode_resource_fields)
_scope_fields = _Remembered(_encode_scope_fields)


def _text(key: bytes, value: object, counters: Counters) -> bytes:
    if value is None or value == "":
        return b""
    return delimited(key, utf8(value if type(value) is str else as_text(value, counters), counters))


def _id(key: bytes, value: int | None, size: int, counters: Counters) -> bytes:
    try:
        return delimited(key, value.to_bytes(size, "big"))  # type: ignore[union-attr]
    except (AttributeError, OverflowError):
        counters.add(REPAIRED, INVALID_ID)
        return b""


def _number(key: bytes, value: object, counters: Counters) -> bytes:
    if not value:
        return b""
    return key + varint(value if type(value) is int and 0 < value <= _UINT32 else _nearest(value, _UINT32, counters))


def _fixed32(key: bytes, value: int | None, counters: Counters) -> bytes:
    if not value:
        return b""
    try:
        return key + _pack_fixed32(value)
    except struct.error:
        return key + _pack_fixed32(_nearest(value, _UINT32, counters))


def _fixed64(key: bytes, value: int | None, counters: Counters) -> bytes:
    if not value:
        return b""
    try:
        return key + _pack_fixed64(value)
    except struct.error:
        return key + _pack_fixed64(_nearest(value, _UINT64, counters))


def _nearest(value: object, highest: int, counters: Counters) -> int:
    counters.add(REPAIRED, NUMBER_OUT_OF_RANGE)
    try:
        return min(max(int(value), 0), highest) if isinstance(value, (int, float)) else 0
    except (OverflowError, ValueError):  # infinite, not a number
        return 0
