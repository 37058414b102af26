from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceFlags

from otel_llm_feedback import InvalidTarget, Target
from otel_llm_feedback.target import MAX_HEADER, MAX_ID
from tests.spans.samples import CHAT, Pipeline

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
OTHER = f"00-{'a' * 32}-{'b' * 16}-01"
PARENT = f"00-{TRACE}-{SPAN}-01"

SPAN_TARGET = Target("span", TRACE, SPAN)
WITH_FLAGS = Target("span", TRACE, SPAN, 1)
TRACE_TARGET = Target("trace", TRACE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TRACE, TRACE_TARGET),
        (TRACE.upper(), TRACE_TARGET),
        (f"  {TRACE}\n", TRACE_TARGET),
        (str(uuid.UUID(TRACE)), TRACE_TARGET),
        (str(uuid.UUID(TRACE)).upper(), TRACE_TARGET),
        (f"{TRACE}-{SPAN}", SPAN_TARGET),
        (f"{TRACE}:{SPAN}", SPAN_TARGET),
        (f"{TRACE}/{SPAN.upper()}", SPAN_TARGET),
        (PARENT, WITH_FLAGS),
        (PARENT.upper(), WITH_FLAGS),
        (f"00-{TRACE}-{SPAN}-00", Target("span", TRACE, SPAN, 0)),
        (f"00-{TRACE}-{SPAN}-ff", Target("span", TRACE, SPAN, 255)),
        (f"cc-{TRACE}-{SPAN}-01", WITH_FLAGS),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", WITH_FLAGS),
        (f"traceparent;desc={PARENT}", WITH_FLAGS),
        (f'traceparent;desc="{PARENT}"', WITH_FLAGS),
        (f"trace;desc={PARENT}", WITH_FLAGS),
        (f'TraceParent ; Desc = "{PARENT}"', WITH_FLAGS),
        (f'db;dur=53, cache;desc="Cache Read";dur=23.2, traceparent;desc="{PARENT}", total;dur=123', WITH_FLAGS),
        (f'traceparent;dur=1;desc="{PARENT}";more', WITH_FLAGS),
        (f'trace;desc="something else",traceparent;desc="{PARENT}"', WITH_FLAGS),
        (f'a;desc="x, traceparent;desc={OTHER}, y",traceparent;desc="{PARENT}"', WITH_FLAGS),
        (f'a;desc="\\", traceparent;desc={OTHER}, \\"",traceparent;desc="{PARENT}"', WITH_FLAGS),
        (f';,traceparent;desc="{PARENT}"', WITH_FLAGS),
    ],
)
def test_every_form(text: str, expected: Target) -> None:
    assert Target.of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        TRACE[:-1],
        TRACE + "0",
        "g" + TRACE[1:],
        "0x" + TRACE[2:],
        "+" + TRACE[1:],
        TRACE[:10] + "\n" + TRACE[11:],
        "\u0660" * 32,  # a digit, but not of ours
        "\uff10" * 31 + "\uff11",
        "0" * 32,
        str(uuid.UUID(int=0)),
        f"{TRACE}-{'0' * 16}",
        f"{TRACE}{SPAN}",
        f"{TRACE}-{SPAN[:-1]}",
        f"{TRACE}-{SPAN}0",
        f"{TRACE} {SPAN}",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"ff-{TRACE}-{SPAN}-01",
        f"FF-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.replace('-', '')}-{SPAN}-zz",
        f"{PARENT},{OTHER}",
        f"traceparent={PARENT}",
        f"traceparent: {PARENT}",
        f"traceparent;desc={TRACE}",
        f'traceparent;desc="{PARENT}',
        f"traceparent;desc='{PARENT}'",
        f"xtraceparent;desc={PARENT}",
        f"traceparentx;desc={PARENT}",
        f"traceparent;xdesc={PARENT}",
        f'a;desc="traceparent;desc={PARENT}"',
        f'a;desc=", traceparent;desc={PARENT}, "',
        f"traceparent;desc={PARENT}" + " " * MAX_HEADER + ",a",
        TRACE * 1000,
        ',;"\\' * 2000,
        '"\\' * 4000,
        "chatcmpl-123",
        "{" + str(uuid.UUID(TRACE)) + "}",
        f"urn:uuid:{uuid.UUID(TRACE)}",
        "\ud800" * 32,
    ],
)
def test_nothing_else(text: str) -> None:
    with pytest.raises(InvalidTarget):
        Target.of(text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        0.5,
        True,
        b"bytes",
        TRACE.encode(),
        [],
        [TRACE],
        {"trace_id": TRACE},
        object(),
        pytest.param(10**5000, id="huge"),
    ],
)
def test_other_types(value: Any) -> None:
    with pytest.raises(InvalidTarget) as caught:
        Target.of(value)
    assert str(caught.value).startswith("target=")
    assert "Target.response(id)" in str(caught.value)


IDS = st.integers(1, 2**128 - 1).map(lambda number: f"{number:032x}")
SPANS = st.integers(1, 2**64 - 1).map(lambda number: f"{number:016x}")
FLAGS = st.integers(0, 255)


@given(IDS, SPANS, FLAGS, st.sampled_from([str.lower, str.upper]))
def test_round_trip(trace: str, span: str, flags: int, spell: Any) -> None:
    parent = f"00-{trace}-{span}-{flags:02x}"
    assert Target.of(spell(parent)) == Target("span", trace, span, flags)
    assert Target.of(f'traceparent;desc="{spell(parent)}"') == Target("span", trace, span, flags)
    assert Target.of(spell(f"{trace}-{span}")) == Target("span", trace, span)
    assert Target.of(spell(trace)) == Target("trace", trace)
    assert Target.of(spell(str(uuid.UUID(trace)))) == Target("trace", trace)


PIECES = st.sampled_from(
    [
        TRACE,
        SPAN,
        "0" * 32,
        "0" * 16,
        "00",
        "01",
        "ff",
        "-",
        ":",
        "/",
        ";",
        ",",
        "=",
        '"',
        "\\",
        " ",
        "trace",
        "desc",
        "traceparent",
    ]
)


@given(st.text() | st.lists(PIECES, max_size=14).map("".join))
def test_garbage_is_refused_or_names_what_it_says(text: str) -> None:
    try:
        target = Target.of(text)
    except InvalidTarget:
        return
    assert target.trace_id is not None
    said = text.lower().replace("-", "")
    assert target.trace_id in said
    assert target.trace_id.strip("0")
    assert target.span_id is None or target.span_id in said


TEXTS = st.text(st.characters(blacklist_characters='"\\'))


@given(TEXTS, TEXTS, st.sampled_from([PARENT, f'"{PARENT}"']))
def test_quoted_text_never_speaks(before: str, after: str, described: str) -> None:
    injected = f"{before}, traceparent;desc={OTHER}, {after}"[:1000]
    header = f'a;desc="{injected}", traceparent;desc={described}, b;desc="{injected}"'
    assert Target.of(header) == WITH_FLAGS


def test_spans_and_contexts() -> None:
    pipeline = Pipeline()
    with pipeline.llm.start_as_current_span("chat", attributes={**CHAT, "gen_ai.response.id": "r"}) as span:
        context = span.get_span_context()
        trace_id, span_id, flags = f"{context.trace_id:032x}", f"{context.span_id:016x}", int(context.trace_flags)
        target = Target.of(span)
        assert target == Target("span", trace_id, span_id, flags)
        assert target.open_span is span
    [ended] = pipeline.exporter.get_finished_spans()
    call = pipeline.registry.by_response("r")
    assert call is not None
    for source in (context, ended, call, NonRecordingSpan(context)):
        assert Target.of(source) == target
        assert Target.of(Target.of(source)) == target
    assert Target.of(ended).open_span is None
    assert Target.of(call).call is call


@pytest.mark.parametrize(
    "value",
    [
        INVALID_SPAN,
        SpanContext(0, 0, is_remote=False),
        SpanContext(1, 0, is_remote=True),
        SpanContext(0, 1, is_remote=True, trace_flags=TraceFlags(1)),
        SpanContext(2**128, 1, is_remote=True),
        ReadableSpan("no context"),
    ],
    ids=repr,
)
def test_spans_without_ids(value: Any) -> None:
    with pytest.raises(InvalidTarget, match=r"target=.*no valid trace|target=<ReadableSpan>"):
        Target.of(value)


def test_a_call_with_broken_ids() -> None:
    pipeline = Pipeline()
    pipeline.llm.start_span("x", attributes={"gen_ai.response.id": "r"}).end()
    call = pipeline.registry.by_response("r")
    assert call is not None
    for broken in (
        call._replace(trace_id="0" * 32),
        call._replace(span_id="x"),
        call._replace(trace_flags=256),
        call._replace(trace_flags=True),
    ):
        with pytest.raises(InvalidTarget):
            Target.of(broken)


def test_constructors() -> None:
    assert Target.trace(TRACE.upper()) == TRACE_TARGET
    assert Target.span(TRACE, SPAN) == SPAN_TARGET
    assert Target.span(TRACE, SPAN, 1) == WITH_FLAGS
    assert Target.response("r") == Target("response", response_id="r")
    assert Target.message("m") == Target("message", message_id="m")
    assert Target.session("s") == Target("session", session_id="s")
    assert Target.entity("ticket", "4711").details == (
        ("llm_feedback.target.entity.key", "ticket"),
        ("llm_feedback.target.entity.value", "4711"),
    )
    document = Target.document(f"{TRACE}-{SPAN}", 0)
    assert (document.type, document.trace_id, document.span_id) == ("document", TRACE, SPAN)
    assert document.details == (("llm_feedback.target.document.position", 0),)
    assert Target.tool_call(Target.response("r"), "call_1").details == (("llm_feedback.target.tool_call.id", "call_1"),)
    assert Target.text_range(TRACE, 2, 5).details == (
        ("llm_feedback.target.text.start", 2),
        ("llm_feedback.target.text.end", 5),
    )


def test_a_part_keeps_the_span_it_is_part_of() -> None:
    span = Pipeline().llm.start_span("x")
    assert Target.document(span, 1).open_span is span
    span.end()


def test_every_target_differs_from_every_other() -> None:
    targets = [
        TRACE_TARGET,
        SPAN_TARGET,
        Target.response("x"),
        Target.message("x"),
        Target.session("x"),
        Target.entity("x", "y"),
        Target.entity("y", "x"),
        Target.document(TRACE, 0),
        Target.document(TRACE, 1),
        Target.tool_call(TRACE, "0"),
        Target.text_range(TRACE, 0, 1),
    ]
    assert len({target.identity for target in targets}) == len(set(targets)) == len(targets)
    assert SPAN_TARGET.identity == WITH_FLAGS.identity  # what is known of sampling changes nothing


@pytest.mark.parametrize("value", ["", " ", "x" * (MAX_ID + 1), None, 5, b"x", ["x"]])
def test_bad_ids(value: Any) -> None:
    for make, name in (
        (Target.response, "response_id"),
        (Target.message, "message_id"),
        (Target.session, "session_id"),
        (lambda each: Target.entity(each, "x"), "key"),
        (lambda each: Target.entity("x", each), "value"),
        (lambda each: Target.tool_call(TRACE, each), "tool_call_id"),
    ):
        with pytest.raises(InvalidTarget) as caught:
            make(value)
        assert caught.value.field == name
        assert str(MAX_ID) in caught.value.fix
        assert len(str(caught.value)) < 200


def test_lone_surrogates_in_ids_are_replaced() -> None:
    assert Target.message("a\ud800").message_id == "a?"


@pytest.mark.parametrize("value", [-1, 0.0, True, "1", None, 2**63])
def test_bad_positions(value: Any) -> None:
    with pytest.raises(InvalidTarget, match="position"):
        Target.document(TRACE, value)
    with pytest.raises(InvalidTarget, match="start"):
        Target.text_range(TRACE, value, 5)
    with pytest.raises(InvalidTarget, match="end"):
        Target.text_range(TRACE, 0, value)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 5), (5, 4)])
def test_empty_ranges(start: int, end: int) -> None:
    with pytest.raises(InvalidTarget, match=f"end={end}: pass an end after start={start}"):
        Target.text_range(TRACE, start, end)


@pytest.mark.parametrize("flags", [-1, 256, True, 1.0, "1"])
def test_bad_flags(flags: Any) -> None:
    with pytest.raises(InvalidTarget, match="trace_flags"):
        Target.span(TRACE, SPAN, flags)


@pytest.mark.parametrize(("trace", "span"), [("x", SPAN), (TRACE, "x"), (None, SPAN), (5, SPAN), ("0" * 32, SPAN)])
def test_bad_span_ids(trace: Any, span: Any) -> None:
    with pytest.raises(InvalidTarget, match=r"hex digits|all zeros"):
        Target.span(trace, span)


@pytest.mark.parametrize(
    "ids", [{"trace_id": "x"}, {"trace_id": TRACE.upper()}, {"trace_id": TRACE, "span_id": "0" * 16}]
)
def test_made_by_hand_it_is_checked_too(ids: dict[str, Any]) -> None:
    with pytest.raises(InvalidTarget):
        Target("span", **ids)


def test_frozen_and_quiet() -> None:
    span = Pipeline().llm.start_span("x", attributes={"gen_ai.input.messages": "secret"})
    target = Target.of(span)
    span.end()
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.trace_id = TRACE  # type: ignore[misc]
    assert "secret" not in repr(target)


class Secretive:
    def __repr__(self) -> str:
        return "secret"


def test_errors_say_field_value_and_fix_and_no_more() -> None:
    with pytest.raises(InvalidTarget) as caught:
        Target.of("not an id")
    assert "target='not an id': pass a traceparent" in str(caught.value)
    assert (caught.value.field, isinstance(caught.value, ValueError)) == ("target", True)
    with pytest.raises(InvalidTarget) as caught:
        Target.of(Secretive())  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    assert "<Secretive>" in str(caught.value)
    with pytest.raises(InvalidTarget) as caught:
        Target.of("x" * 100_000)
    assert len(str(caught.value)) < 500
    assert caught.value.__cause__ is None
