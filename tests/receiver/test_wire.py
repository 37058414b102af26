from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_llm_feedback.receiver.refusals import Malformed, TooLarge
from otel_llm_feedback.receiver.wire import check_nested_messages
from tests.receiver.requests import length_delimited, many_empty_spans, span, traces

DESCRIPTOR = ExportTraceServiceRequest.DESCRIPTOR


def test_messages_are_counted_at_every_depth() -> None:
    pairs = [KeyValue(key="k", value=AnyValue(double_value=1.0))]
    rich = Span(name="x" * 50, start_time_unix_nano=1, dropped_links_count=1, flags=1, attributes=pairs)
    sent = traces(rich, span())
    # ResourceSpans, ScopeSpans, InstrumentationScope, 2 Span, KeyValue, AnyValue
    check_nested_messages(sent, DESCRIPTOR, 7)
    with pytest.raises(TooLarge, match="more than 6 nested messages"):
        check_nested_messages(sent, DESCRIPTOR, 6)


def test_the_bound_is_exact_for_the_cheapest_request() -> None:
    sent = many_empty_spans(1000)
    check_nested_messages(sent, DESCRIPTOR, 1002)
    with pytest.raises(TooLarge):
        check_nested_messages(sent, DESCRIPTOR, 1001)


@pytest.mark.parametrize(
    "broken",
    [
        b"\x0b\x0c",  # a group
        b"\x0f",  # wire type 7
        b"\x0a\x05abc",  # longer than what is left
        b"\x11abc",  # half a fixed64
        b"\x15a",  # half a fixed32
        b"\x08\x80",  # a varint that does not end
        b"\x08" + b"\xff" * 10 + b"\x01",  # a varint of 11 bytes
        length_delimited(1, b"\x12\x05abc"),  # broken one level down
    ],
)
def test_broken_bytes_are_malformed(broken: bytes) -> None:
    with pytest.raises(Malformed):
        check_nested_messages(b"\x10\x01" * 3 + broken, DESCRIPTOR, 2)


@settings(max_examples=100)
@given(st.lists(st.builds(span, name=st.text(st.characters(exclude_categories=["Cs"]))), max_size=8))
def test_what_the_real_encoder_writes_is_never_malformed(spans: list[Span]) -> None:
    sent = traces(*spans)
    check_nested_messages(sent, DESCRIPTOR, len(spans) + 3)
    with pytest.raises(TooLarge):
        check_nested_messages(sent, DESCRIPTOR, len(spans) + 2)
