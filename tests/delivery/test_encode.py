"""What we write parses equal to what the stock encoder writes, for everything that the stock encoder can write."""

from __future__ import annotations

import collections
import enum
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as LogRecordMessage
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.encode import encode_log, encode_span
from otel_llm_feedback.delivery.values import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message

pytestmark = pytest.mark.filterwarnings("ignore:Log record attributes were dropped")

RESOURCE = Resource({"service.name": "chat", "replicas": [1, 2]}, "https://example.test/resource")
SCOPE = InstrumentationScope("scope", "1.0", "https://example.test/scope", {"a": True})
CONTEXT = SpanContext(2**127 + 5, 2**63 + 7, is_remote=False, trace_flags=TraceFlags(1))

# Up to SDK 1.41 the stock encoder leaves the message out where a value is None (and loses a span's attribute that contains
# one); since then it writes an empty message, and so do we. Receivers see the same.
# (Its SDK also makes None of bytes in a span's list that are not UTF-8.)
NONE_IS_ABSENT = (
    not encode_logs([ReadableLogRecord(LogRecord(body=None), RESOURCE)])
    .resource_logs[0]
    .scope_logs[0]
    .log_records[0]
    .HasField("body")
)

PLAIN = st.one_of(st.text(max_size=20), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats())
SCALARS = PLAIN | st.binary(max_size=20)
NESTED = st.recursive(
    SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ATTRIBUTES = st.dictionaries(st.text(max_size=12) | st.sampled_from(["k" * 127, "k" * 300]), NESTED, max_size=6)
SPAN_ATTRIBUTES = (
    st.dictionaries(st.text(max_size=12), SCALARS | st.lists(PLAIN, max_size=4), max_size=6)
    if NONE_IS_ABSENT
    else ATTRIBUTES
)
TIMES = st.none() | st.integers(0, 2**64 - 1)
TEXTS = st.none() | st.text(max_size=200)
TRACE_IDS = st.integers(0, 2**128 - 1)
SPAN_IDS = st.integers(0, 2**64 - 1)
STATES = st.sampled_from([TraceState(), TraceState([("vendor", "x")]), TraceState([("b", "2"), ("a", "1")])])
CONTEXTS = st.builds(SpanContext, TRACE_IDS, SPAN_IDS, st.booleans(), st.integers(0, 255).map(TraceFlags), STATES)
RESOURCES = st.builds(Resource, SPAN_ATTRIBUTES, TEXTS)
SCOPES = st.none() | st.builds(InstrumentationScope, st.text(max_size=9), TEXTS, TEXTS, SPAN_ATTRIBUTES)

many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def messages_in(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for child in value if isinstance(value, collections.abc.Sequence) else [value]:
                yield from messages_in(child)


def canonical(request: Message) -> bytes:
    """Bytes, because a message with a NaN does not equal itself."""
    if NONE_IS_ABSENT:
        for message in list(messages_in(request)):
            if isinstance(message, KeyValue):
                message.value.SetInParent()
            elif isinstance(message, LogRecordMessage):
                message.body.SetInParent()
    return request.SerializeToString(deterministic=True)


def assert_same_log(record: Any) -> None:
    counters = Counters()
    assert canonical(ExportLogsServiceRequest.FromString(encode_log(record, counters))) == canonical(
        encode_logs([record])
    )
    assert counters.snapshot() == {}


def assert_same_span(span: ReadableSpan) -> None:
    counters = Counters()
    ours = ExportTraceServiceRequest.FromString(encode_span(span, counters))
    assert canonical(ours) == canonical(encode_spans([span]))
    assert counters.snapshot() == {}


def log_with(body: Any = None, attributes: Mapping[str, Any] | None = None) -> ReadableLogRecord:
    return ReadableLogRecord(LogRecord(timestamp=1, body=body, attributes=attributes), RESOURCE, SCOPE)


def span_with(**fields: Any) -> ReadableSpan:
    return ReadableSpan(
        **{"name": "n", "context": CONTEXT, "resource": RESOURCE, "instrumentation_scope": SCOPE, **fields}
    )


@pytest.fixture(scope="module")
def emitted() -> tuple[LoggerProvider, InMemoryLogRecordExporter]:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return provider, exporter


@pytest.fixture(scope="module")
def traced() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@many
@given(
    timestamp=TIMES,
    context=CONTEXTS,
    severity_number=st.none() | st.sampled_from(SeverityNumber),
    severity_text=TEXTS,
    body=NESTED,
    attributes=ATTRIBUTES,
    event_name=TEXTS,
)
def test_emitted_log_records(
    emitted: tuple[LoggerProvider, InMemoryLogRecordExporter], context: SpanContext, **fields: Any
) -> None:
    provider, exporter = emitted
    exporter.clear()
    provider.get_logger("scope", "1", attributes={"a": 1}).emit(
        context=set_span_in_context(NonRecordingSpan(context), Context()), **fields
    )
    (record,) = exporter.get_finished_logs()
    assert_same_log(record)


@many
@given(attributes=st.none() | ATTRIBUTES, body=NESTED, resource=RESOURCES, scope=SCOPES, writable=st.booleans())
def test_log_records_of_any_resource_and_scope(
    attributes: dict[str, Any] | None,
    body: Any,
    resource: Resource,
    scope: InstrumentationScope | None,
    writable: bool,
) -> None:
    log = LogRecord(timestamp=1, body=body, attributes=attributes)
    assert_same_log((ReadWriteLogRecord if writable else ReadableLogRecord)(log, resource, scope))


def test_a_record_that_lost_attributes_says_how_many(
    emitted: tuple[LoggerProvider, InMemoryLogRecordExporter],
) -> None:
    provider, exporter = emitted
    exporter.clear()
    provider.get_logger("scope").emit(timestamp=1, attributes={f"k{n}": n for n in range(140)})
    (record,) = exporter.get_finished_logs()
    assert record.dropped_attributes == 12
    assert_same_log(record)


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Shout(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()

    def encode(self, *args: object, **kwargs: object) -> bytes:
        return b"not this"


class Sly(int):
    def __index__(self) -> int:
        return -1


class Half(float):
    def __float__(self) -> float:
        return -1.0


class Blob(bytes):
    def __bytes__(self) -> bytes:
        return b"not this"


UNUSUAL = {
    "str enum": Colour.RED,
    "int enum": Level.HIGH,
    "str subclass": Shout("quiet"),
    "int subclass": Sly(7),
    "float subclass": Half(0.5),
    "bytes subclass": Blob(b"blob"),
    "negative zero": -0.0,
    "infinity": float("-inf"),
    "nan": float("nan"),
    "smallest int": -(2**63),
    "bytearray": bytearray(b"ab"),
    "range": range(3),
    "deque in list": [range(2), (None, [])],
    "user list": collections.UserList([1, "b"]),
    "user dict": collections.UserDict({"a": {}}),
    "mapping proxy": types.MappingProxyType({"a": 1}),
    "counter": collections.Counter("aab"),
    "named tuple": sys.version_info,
    "odd keys": {1: "int", None: "none", Colour.RED: "enum", Shout("key"): "subclass", b"b": "bytes"},
}


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in UNUSUAL.items()])
def test_values_of_unusual_types(value: Any) -> None:
    assert_same_log(log_with(body=value, attributes={"attribute": value, "nested": [value, {"in": value}]}))


def test_attribute_keys_that_are_str_subclasses() -> None:
    assert_same_log(log_with(attributes={Colour.RED: 1, Shout("key"): 2}))
    assert_same_log(log_with(attributes={"red": 1, "key": 2}))


def test_the_deepest_nesting_that_is_kept_can_be_parsed() -> None:
    value: Any = "leaf"
    for _ in range(MAX_DEPTH):
        value = {"k": value}
    assert_same_log(log_with(body=value, attributes={"a": value}))
    if not NONE_IS_ABSENT:
        assert_same_span(span_with(events=[Event("e", {"a": value}, 1)]))


def test_many_requests_joined_are_one_request() -> None:
    records = [log_with(body=n) for n in range(300)]
    merged = ExportLogsServiceRequest.FromString(b"".join(map(encode_log, records)))
    bodies = [each.scope_logs[0].log_records[0].body.int_value for each in merged.resource_logs]
    assert bodies == list(range(300))


def test_resources_scopes_and_keys_without_end_keep_apart() -> None:
    for _ in range(2):
        for n in range(150):
            resource, scope = Resource({"n": n}), InstrumentationScope(f"scope{n}")
            log = LogRecord(timestamp=1, attributes={f"key{n}-{k}": k for k in range(10)})
            assert_same_log(ReadableLogRecord(log, resource, scope))


@many
@given(
    parent=st.none() | CONTEXTS,
    name=st.text(max_size=20),
    kind=st.sampled_from(SpanKind),
    start=st.integers(1, 2**63),
    attributes=SPAN_ATTRIBUTES,
    events=st.lists(st.tuples(st.text(max_size=9), SPAN_ATTRIBUTES, st.integers(0, 2**64 - 1)), max_size=3),
    links=st.lists(st.builds(Link, CONTEXTS, st.none() | SPAN_ATTRIBUTES), max_size=3),
    status=st.none() | st.builds(Status, st.just(StatusCode.ERROR), TEXTS) | st.just(Status(StatusCode.OK)),
)
def test_traced_spans(traced: tuple[TracerProvider, InMemorySpanExporter], **fields: Any) -> None:
    provider, exporter = traced
    parent = fields["parent"]
    if parent is not None:  # an unsampled parent would keep the span from being recorded
        parent = SpanContext(parent.trace_id, parent.span_id, parent.is_remote, TraceFlags(1), parent.trace_state)
    span = provider.get_tracer("scope", "1", None, {"a": 1}).start_span(
        fields["name"],
        None if parent is None else set_span_in_context(NonRecordingSpan(parent), Context()),
        fields["kind"],
        fields["attributes"],
        fields["links"],
        start_time=fields["start"],
    )
    for name, attributes, time in fields["events"]:
        span.add_event(name, attributes, time)
    if fields["status"] is not None:
        span.set_status(fields["status"])
    exporter.clear()
    span.end()
    (finished,) = exporter.get_finished_spans()
    assert_same_span(finished)


@many
@given(
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    resource=RESOURCES,
    instrumentation_scope=SCOPES,
    start_time=TIMES,
    end_time=TIMES,
    attributes=st.none() | SPAN_ATTRIBUTES,
    events=st.lists(st.builds(Event, st.text(max_size=5), st.none() | SPAN_ATTRIBUTES, st.integers(1, 9)), max_size=2),
    links=st.lists(st.builds(Link, CONTEXTS, st.none() | SPAN_ATTRIBUTES), max_size=2),
)
def test_spans_built_by_hand(**fields: Any) -> None:
    assert_same_span(span_with(**fields))


def test_a_span_that_lost_things_says_how_many(traced: tuple[TracerProvider, InMemorySpanExporter]) -> None:
    provider, exporter = traced
    exporter.clear()
    span = provider.get_tracer("scope").start_span(
        "full", links=[Link(CONTEXT, {f"k{n}": n for n in range(140)})] * 140
    )
    for n in range(140):
        span.set_attribute(f"k{n}", n)
        span.add_event("e", {f"k{k}": k for k in range(130)})
    span.end()
    (finished,) = exporter.get_finished_spans()
    assert (finished.dropped_attributes, finished.dropped_events, finished.dropped_links) == (12, 12, 12)
    assert_same_span(finished)


def test_a_span_without_status() -> None:
    assert_same_span(span_with(status=None))
