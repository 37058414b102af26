from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_llm_feedback.delivery.wire import DELIMITED, FIXED32, FIXED64, VARINT, delimited, tag, varint

BOUNDARIES = [0, 1, 127, 128, 129, 16383, 16384, 16385, 2**21, 2**32 - 1, 2**63 - 1]


@given(st.integers(0, 2**63 - 1) | st.sampled_from(BOUNDARIES))
def test_a_varint_is_what_protobuf_writes(number: int) -> None:
    assert tag(3, VARINT) + varint(number) == AnyValue(int_value=number).SerializeToString()


def test_the_whole_unsigned_range_ends_after_ten_bytes() -> None:
    assert tag(3, VARINT) + varint(2**64 - 1) == AnyValue(int_value=-1).SerializeToString()
    assert len(varint(2**64 - 1)) == 10


@given(st.binary(max_size=200) | st.sampled_from([127, 128, 16383, 16384, 70000]).map(bytes))
def test_a_delimited_field_is_what_protobuf_writes(payload: bytes) -> None:
    assert delimited(tag(7, DELIMITED), payload) == AnyValue(bytes_value=payload).SerializeToString()


def test_tags_name_the_field_and_the_wire_type() -> None:
    assert Span(flags=1).SerializeToString().startswith(tag(16, FIXED32))
    assert Span(end_time_unix_nano=1).SerializeToString().startswith(tag(8, FIXED64))
    assert Span(dropped_links_count=1).SerializeToString() == tag(14, VARINT) + b"\x01"
