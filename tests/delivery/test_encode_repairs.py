"""Values that make the stock encoder lose a whole batch: each is repaired, each repair is counted."""

from __future__ import annotations

import fractions
import numbers
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.delivery.encode import encode_log, encode_span
from otel_llm_feedback.delivery.values import MAX_DEPTH, encode_value

if TYPE_CHECKING:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as LogRecordMessage
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

UINT64 = 2**64 - 1
CONTEXT = SpanContext(5, 7, is_remote=False)


def encoded_value(value: object) -> tuple[AnyValue, dict[str, int]]:
    counters = Counters()
    return AnyValue.FromString(encode_value(value, counters)), reasons(counters)


def reasons(counters: Counters) -> dict[str, int]:
    counts = counters.snapshot()
    assert {outcome for outcome, _ in counts} <= {"repaired"}
    return {reason: count for (_, reason), count in counts.items()}


def encoded_log(resource: Any = Resource({}), **fields: Any) -> tuple[LogRecordMessage, dict[str, int]]:  # noqa: B008
    counters = Counters()
    record = LogRecord(context=set_span_in_context(NonRecordingSpan(CONTEXT), Context()), observed_timestamp=1)
    for name, value in fields.items():
        setattr(record, name, value)
    request = ExportLogsServiceRequest.FromString(encode_log(ReadableLogRecord(record, resource), counters))
    return request.resource_logs[0].scope_logs[0].log_records[0], reasons(counters)


def encoded_span(**fields: Any) -> tuple[SpanMessage, dict[str, int]]:
    counters = Counters()
    span = ReadableSpan(**{"name": "n", "context": CONTEXT, "resource": Resource({}), **fields})
    request = ExportTraceServiceRequest.FromString(encode_span(span, counters))
    return request.resource_spans[0].scope_spans[0].spans[0], reasons(counters)


class Broken:
    def __str__(self) -> str:
        raise RuntimeError


class BrokenSequence(Sequence[object]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: object) -> Any:
        raise RuntimeError

    def __str__(self) -> str:
        return "broken sequence"


class BrokenMapping(Mapping[str, object]):
    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["k"])

    def __getitem__(self, key: str) -> object:
        raise RuntimeError

    __str__ = Broken.__str__


class Liar:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
        ("a\udfffb", "a\N{REPLACEMENT CHARACTER}b"),
        ("\ud83d\ude00!", "\N{GRINNING FACE}!"),
        ("\ude00\ud83d", "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
def test_lone_surrogates_become_replacement_characters(text: str, repaired: str) -> None:
    value, counted = encoded_value(text)
    assert value.string_value == repaired
    assert counted == {"invalid_text": 1}


def joined(pair: str) -> str:
    high, low = map(ord, pair)
    return chr(0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00)


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_only_surrogates_are_replaced(text: str) -> None:
    value, counted = encoded_value(text)
    paired = re.sub("[\ud800-\udbff][\udc00-\udfff]", lambda pair: joined(pair[0]), text)
    assert value.string_value == re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", paired)
    assert counted == ({"invalid_text": 1} if re.search("[\ud800-\udfff]", text) else {})


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_ints_beyond_64_bits_become_text(number: int) -> None:
    value, counted = encoded_value(number)
    assert value.string_value == str(number)
    assert counted == {"number_out_of_range": 1}


def test_an_int_too_long_for_decimal_digits_becomes_hexadecimal() -> None:
    number = 1 << 40_000
    value, counted = encoded_value(number)
    limited = hasattr(sys, "get_int_max_str_digits")
    assert value.string_value == (hex(number) if limited else str(number))
    assert counted == {"number_out_of_range": 1}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (fractions.Fraction(10**400), str(10**400)),
        ({7}, "{7}"),
        (complex(1, 2), "(1+2j)"),
        (Broken(), "<unprintable>"),
        (BrokenSequence(), "broken sequence"),
        (BrokenMapping(), "<unprintable>"),
    ],
)
def test_other_objects_become_text(value: object, text: str) -> None:
    message, counted = encoded_value(value)
    assert message.string_value == text
    assert counted == {"unsupported_type": 1}


def test_an_object_that_refuses_even_to_be_asked_for_its_class() -> None:
    value, counted = encoded_value([Liar()])
    assert value.array_value.values[0].string_value == "<unprintable>"
    assert counted == {"unsupported_type": 1}


def test_text_of_an_object_may_need_a_repair_of_its_own() -> None:
    value, counted = encoded_value({"\udc80"})
    assert value.string_value == "{'\\udc80'}"
    assert counted == {"unsupported_type": 1}
    value, counted = encoded_value(ValueError("\udc80"))
    assert value.string_value == "\N{REPLACEMENT CHARACTER}"
    assert counted == {"unsupported_type": 1, "invalid_text": 1}


@numbers.Integral.register
class Int64:
    """Registered as numpy's integers are; they are not Python's."""

    def __int__(self) -> int:
        return -3


def test_numbers_of_other_kinds_are_numbers() -> None:
    assert encoded_value(fractions.Fraction(1, 4)) == (AnyValue(double_value=0.25), {})
    assert encoded_value(Int64()) == (AnyValue(int_value=-3), {})


ANYTHING = st.recursive(
    st.text(st.characters(categories=["Cs", "L"]))
    | st.integers()
    | st.integers(min_value=2**62)
    | st.floats()
    | st.sampled_from([None, Broken(), BrokenSequence(), BrokenMapping(), {1}, object, b"\xff"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(categories=["Cs", "L"])) | st.none(), inner),
)


@given(body=ANYTHING, attributes=st.dictionaries(st.text(st.characters(categories=["Cs", "L"])), ANYTHING))
def test_whatever_is_recorded_can_be_parsed(body: Any, attributes: dict[str, Any]) -> None:
    log, _ = encoded_log(body=body, attributes=attributes)
    assert len(log.attributes) == len(attributes)
    assert log.HasField("body")


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 5000])
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"k": inner}, lambda inner: (1, [inner])])
def test_what_is_nested_too_deep_is_cut(levels: int, wrap: Any) -> None:
    value: Any = "leaf"
    for _ in range(levels):
        value = wrap(value)
    log, counted = encoded_log(body=value)
    assert b"leaf" not in log.SerializeToString()
    assert b"<nested too deep>" in log.SerializeToString()
    assert counted == {"nested_too_deep": 1}


def test_what_contains_itself_is_cut_where_it_comes_again() -> None:
    tree: list[Any] = []
    tree += [tree, tree, {"again": tree}]
    value, counted = encoded_value(tree)
    assert [item.string_value for item in value.array_value.values[:2]] == ["<nested too deep>"] * 2
    assert counted == {"nested_too_deep": 3}


def test_the_same_value_twice_is_not_a_cycle() -> None:
    leaf = [1]
    value, counted = encoded_value([leaf, leaf])
    assert value.array_value.values[0] == value.array_value.values[1]
    assert counted == {}


def test_attribute_keys_are_repaired_every_time() -> None:
    for _ in range(2):
        log, counted = encoded_log(attributes={"\ud800": 1, 2: 3, "good": 4})
        assert [pair.key for pair in log.attributes] == ["\N{REPLACEMENT CHARACTER}", "2", "good"]
        assert counted == {"invalid_text": 1, "unsupported_type": 1}


def test_keys_of_maps_are_repaired() -> None:
    value, counted = encoded_value({Broken(): 1, "\ud800": 2, 3: 4})
    assert [pair.key for pair in value.kvlist_value.values] == ["<unprintable>", "\N{REPLACEMENT CHARACTER}", "3"]
    assert counted == {"unsupported_type": 1, "invalid_text": 1}


@pytest.mark.parametrize(
    ("given_time", "sent"),
    [(-5, 0), (1.5e9, 1_500_000_000), (float("nan"), 0), (float("inf"), 0), (2**64, UINT64), ("noon", 0)],
)
def test_times_become_the_nearest_that_fits(given_time: object, sent: int) -> None:
    log, counted = encoded_log(timestamp=given_time)
    assert (log.time_unix_nano, log.observed_time_unix_nano) == (sent, 1)
    assert counted == {"number_out_of_range": 1}


def test_fields_of_a_log_record_that_have_the_wrong_type() -> None:
    log, counted = encoded_log(event_name=7, severity_text="\ud800", severity_number=13, trace_flags=-1)
    assert (log.event_name, log.severity_text) == ("7", "\N{REPLACEMENT CHARACTER}")
    assert (log.severity_number, log.flags) == (SeverityNumber.WARN.value, 0)
    assert counted == {"unsupported_type": 1, "invalid_text": 1, "number_out_of_range": 1}


@pytest.mark.parametrize("severity", [-1, "WARN", 2**40])
def test_severities_that_are_none_of_the_enum(severity: object) -> None:
    log, counted = encoded_log(severity_number=severity, body="kept")
    assert log.body.string_value == "kept"
    assert counted == {"number_out_of_range": 1}


@pytest.mark.parametrize("trace_id", [-1, 2**128, "ab"])
def test_ids_that_do_not_fit_are_left_out(trace_id: object) -> None:
    log, counted = encoded_log(trace_id=trace_id)
    assert (log.trace_id, log.span_id) == (b"", bytes(7) + b"\x07")
    assert counted == {"invalid_id": 1}


def test_a_log_record_without_ids_or_resource() -> None:
    counters = Counters()
    record = LogRecord(timestamp=1, context=set_span_in_context(NonRecordingSpan(SpanContext(0, 0, is_remote=False))))
    payload = encode_log(ReadWriteLogRecord(record, None), counters)
    sent = ExportLogsServiceRequest.FromString(payload).resource_logs[0]
    assert sent.HasField("resource")
    assert not sent.resource.attributes
    assert not sent.scope_logs[0].log_records[0].trace_id
    assert counters.snapshot() == {}


def test_attributes_of_any_mapping() -> None:
    class Plain(BrokenMapping):
        def __getitem__(self, key: str) -> object:
            return "value"

    log, counted = encoded_log(attributes=Plain())
    assert [(pair.key, pair.value.string_value) for pair in log.attributes] == [("k", "value")]
    assert counted == {}


def test_a_span_without_context() -> None:
    span, counted = encoded_span(context=None)
    assert (span.trace_id, span.span_id, span.name) == (bytes(16), bytes(8), "n")
    assert counted == {"invalid_id": 1}


def test_parts_of_a_span_that_cannot_be_sent() -> None:
    too_long = SpanContext(2**128, 2**64, is_remote=False, trace_flags=TraceFlags(1))
    span, counted = encoded_span(
        name="\ud800", kind="client", parent=too_long, attributes={"a": 2**70}, events=[Event("\ud800", None, -1)]
    )
    assert (span.name, span.kind, span.parent_span_id) == ("\N{REPLACEMENT CHARACTER}", 0, b"")
    assert span.attributes[0].value.string_value == str(2**70)
    assert (span.events[0].name, span.events[0].time_unix_nano) == ("\N{REPLACEMENT CHARACTER}", 0)
    assert counted == {"invalid_text": 2, "number_out_of_range": 3, "invalid_id": 1}


def test_the_process_wide_counters_are_used_when_no_others_are_given() -> None:
    before = DEFAULT_COUNTERS.total("repaired", "invalid_text")
    encode_log(ReadableLogRecord(LogRecord(timestamp=1, body="\ud800"), Resource({})))
    encode_span(ReadableSpan("\ud800", CONTEXT, resource=Resource({})))
    assert DEFAULT_COUNTERS.total("repaired", "invalid_text") == before + 2
