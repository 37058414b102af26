from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_llm_feedback.receiver.decode import MAX_VALUE_DEPTH, count_metrics, decode_logs, decode_spans
from otel_llm_feedback.receiver.records import AttributeValue, ReceivedSpan, SpanEvent, SpanLink
from otel_llm_feedback.receiver.refusals import Malformed, Refused
from tests.receiver.requests import SPAN_ID, TRACE_ID, length_delimited, logs, metrics, span, traces

if TYPE_CHECKING:
    from collections.abc import Callable

PLENTY = 1_000_000


def encode(value: AttributeValue) -> AnyValue:
    """The other direction, written the plain way."""
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case tuple():
            return AnyValue(array_value=ArrayValue(values=map(encode, value)))
        case _:
            pairs = [KeyValue(key=key, value=encode(item)) for key, item in value.items()]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))


texts = st.text(st.characters(exclude_categories=["Cs"]))
values: st.SearchStrategy[AttributeValue] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | texts
    | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def body_of(value: AnyValue) -> AttributeValue:
    (log,) = decode_logs(logs(LogRecord(body=value)), PLENTY)
    return log.body


@given(values)
def test_every_value_comes_back_with_its_type(value: AttributeValue) -> None:
    decoded = body_of(encode(value))
    assert decoded == value
    assert type(decoded) is type(value)


def test_not_a_number_is_kept() -> None:
    decoded = body_of(AnyValue(double_value=math.nan))
    assert isinstance(decoded, float)
    assert math.isnan(decoded)


def test_an_index_into_the_profiles_string_table_is_as_if_absent() -> None:
    assert body_of(AnyValue.FromString(b"\x40\x05")) is None  # field 8, which the older definitions do not have


def test_the_last_of_two_equal_keys_wins() -> None:
    pairs = [KeyValue(key="k", value=AnyValue(int_value=n)) for n in (1, 2)]
    (log,) = decode_logs(logs(LogRecord(attributes=pairs)), PLENTY)
    assert log.attributes == {"k": 2}


@pytest.mark.parametrize("wrap", ["array", "map"])
def test_nesting_is_bounded(wrap: str) -> None:
    def nest(depth: int) -> AnyValue:
        value = AnyValue(int_value=1)
        for _ in range(depth):
            value = (
                AnyValue(array_value=ArrayValue(values=[value]))
                if wrap == "array"
                else AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="k", value=value)]))
            )
        return value

    assert body_of(nest(MAX_VALUE_DEPTH)) is not None
    with pytest.raises(Malformed, match="nested deeper than 24"):
        body_of(nest(MAX_VALUE_DEPTH + 1))


def test_nesting_beyond_what_protobuf_itself_follows() -> None:
    value = b""
    for _ in range(5000):
        value = length_delimited(5, length_delimited(1, value))  # AnyValue.array_value, ArrayValue.values
    record = length_delimited(5, value)  # LogRecord.body
    with pytest.raises(Malformed, match="not an OTLP protobuf message"):
        decode_logs(length_delimited(1, length_delimited(2, length_delimited(2, record))), PLENTY)


def test_a_whole_span() -> None:
    attributes = [KeyValue(key="k", value=AnyValue(string_value="v"))]
    sent = Span(
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        parent_span_id=SPAN_ID[::-1],
        trace_state="a=b",
        flags=0x101,
        name="chat",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=10,
        end_time_unix_nano=20,
        attributes=attributes,
        dropped_attributes_count=1,
        events=[Span.Event(name="e", time_unix_nano=15, attributes=attributes, dropped_attributes_count=2)],
        dropped_events_count=3,
        links=[
            Span.Link(trace_id=TRACE_ID, span_id=SPAN_ID, trace_state="c=d", flags=1, attributes=attributes),
            Span.Link(trace_id=bytes(16), span_id=bytes(8), dropped_attributes_count=4),
        ],
        dropped_links_count=5,
        status=Status(code=Status.STATUS_CODE_ERROR, message="no"),
    )
    decoded = decode_spans(traces(sent), PLENTY)
    assert decoded.rejected == 0
    assert decoded.spans == [
        ReceivedSpan(
            trace_id="000102030405060708090a0b0c0d0e0f",
            span_id="0102030405060708",
            parent_span_id="0807060504030201",
            trace_state="a=b",
            flags=0x101,
            name="chat",
            kind=3,
            start_time_unix_nano=10,
            end_time_unix_nano=20,
            attributes={"k": "v"},
            dropped_attributes_count=1,
            events=(SpanEvent("e", 15, {"k": "v"}, 2),),
            dropped_events_count=3,
            links=(
                SpanLink("000102030405060708090a0b0c0d0e0f", "0102030405060708", "c=d", 1, {"k": "v"}, 0),
                SpanLink("", "", "", 0, {}, 4),
            ),
            dropped_links_count=5,
            status_code=2,
            status_message="no",
            scope_name="scope",
            scope_version="1",
            scope_attributes={},
            resource_attributes={},
        )
    ]


@pytest.mark.parametrize(
    "invalid",
    [
        span(trace_id=b""),
        span(trace_id=bytes(16)),
        span(trace_id=TRACE_ID[1:]),
        span(trace_id=TRACE_ID + b"1"),
        span(span_id=b""),
        span(span_id=bytes(8)),
        span(span_id=SPAN_ID + b"1"),
        span(parent_span_id=b"1"),
    ],
)
def test_a_span_with_invalid_ids_is_rejected_alone(invalid: Span) -> None:
    decoded = decode_spans(traces(span(name="before"), invalid, span(name="after")), PLENTY)
    assert decoded.rejected == 1
    assert [kept.name for kept in decoded.spans] == ["before", "after"]


def test_an_all_zero_parent_is_none() -> None:
    (kept,) = decode_spans(traces(span(parent_span_id=bytes(8))), PLENTY).spans
    assert kept.parent_span_id == ""


@pytest.mark.parametrize(
    ("trace_id", "span_id", "expected"),
    [
        (TRACE_ID, SPAN_ID, (TRACE_ID.hex(), SPAN_ID.hex())),
        (TRACE_ID, b"", (TRACE_ID.hex(), "")),
        (TRACE_ID, bytes(8), (TRACE_ID.hex(), "")),
        (TRACE_ID[1:], SPAN_ID, ("", SPAN_ID.hex())),
        (bytes(16), bytes(8), ("", "")),
    ],
)
def test_a_log_record_with_invalid_ids_is_kept_without_them(
    trace_id: bytes, span_id: bytes, expected: tuple[str, str]
) -> None:
    (log,) = decode_logs(logs(LogRecord(trace_id=trace_id, span_id=span_id)), PLENTY)
    assert (log.trace_id, log.span_id) == expected


def test_metrics_are_counted() -> None:
    assert count_metrics(metrics(3), PLENTY) == 3


def test_invalid_utf_8_is_malformed() -> None:
    sent = traces(span(name="name")).replace(b"name", b"\xff\xfe\xfd\xfc")
    with pytest.raises(Malformed) as caught:
        decode_spans(sent, PLENTY)
    assert str(caught.value) == "not an OTLP protobuf message"


def outcome(decode: Callable[[bytes, int], object], body: bytes, limit: int) -> int:
    """The HTTP status that these bytes lead to."""
    try:
        decode(body, limit)
    except Refused as refusal:
        return refusal.http_status
    return 200


@settings(max_examples=300)
@given(st.sampled_from([decode_spans, decode_logs, count_metrics]), st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(decode: Callable[[bytes, int], object], body: bytes) -> None:
    assert outcome(decode, body, 5) in {200, 400, 413}


@settings(max_examples=300)
@given(st.data(), st.sampled_from([1, PLENTY]))
def test_a_damaged_request_is_decoded_or_refused(data: st.DataObject, limit: int) -> None:
    events = [Span.Event(name="e", attributes=[KeyValue(key="k", value=encode((1, {"a": "b"}, None)))])]
    sent = bytearray(traces(Span(trace_id=TRACE_ID, span_id=SPAN_ID, name="chat", events=events)))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(sent[: data.draw(st.integers(0, len(sent)))])
    assert outcome(decode_spans, damaged, limit) in {200, 400, 413}
