from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_llm_feedback import CallRegistry, LLMCall
from otel_llm_feedback.spans.call import MAX_TEXT, capture
from tests.spans.samples import CHAT, UNKNOWN_SCOPE, Pipeline, samples

CONTEXT = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1))


def captured(attributes: dict[str, object], name: str = "x") -> LLMCall:
    call = capture(ReadableSpan(name, context=CONTEXT, attributes=attributes))  # type: ignore[arg-type]  # hostile
    assert call is not None
    return call


def test_everything_a_vote_needs() -> None:
    pipeline = Pipeline(registry=CallRegistry(time_ns=lambda: 0))
    span = pipeline.llm.start_span("chat", kind=SpanKind.CLIENT, attributes=CHAT, start_time=5)
    span.set_attributes(
        {
            "gen_ai.provider.name": "openai",
            "gen_ai.response.model": "gpt-4o-2024",
            "gen_ai.response.id": "r1",
            "gen_ai.conversation.id": "c1",
            "llm_feedback.target.message.id": "m1",
            "gen_ai.prompt.name": "greet",
            "gen_ai.prompt.version": 3,
            "gen_ai.agent.id": "a1",
            "gen_ai.agent.name": "helper",
            "gen_ai.agent.version": "1",
            "gen_ai.workflow.name": "flow",
            "gen_ai.usage.input_tokens": 9,
            "gen_ai.usage.output_tokens": 3,
            "gen_ai.input.messages": "never kept",
        }
    )
    span.end(end_time=7)
    context = span.get_span_context()
    call = pipeline.registry.by_response("r1")
    assert call == LLMCall(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        trace_flags=int(context.trace_flags),
        operation="chat",
        votable=True,
        provider="openai",
        request_model="gpt-4o",
        response_model="gpt-4o-2024",
        response_id="r1",
        conversation_id="c1",
        message_id="m1",
        prompt_name="greet",
        prompt_version="3",
        agent_id="a1",
        agent_name="helper",
        agent_version="1",
        workflow_name="flow",
        input_tokens=9,
        output_tokens=3,
        start_time=5,
        end_time=7,
        error_type=None,
    )
    assert call is not None
    assert call.sampled
    assert call.dimensions == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024",
        "gen_ai.response.id": "r1",
        "gen_ai.conversation.id": "c1",
        "gen_ai.prompt.name": "greet",
        "gen_ai.prompt.version": "3",
        "gen_ai.agent.id": "a1",
        "gen_ai.agent.name": "helper",
        "gen_ai.agent.version": "1",
        "gen_ai.workflow.name": "flow",
    }
    with pytest.raises(AttributeError):
        call.operation = "other"  # type: ignore[misc]


def test_an_empty_span_has_no_dimensions() -> None:
    call = captured({})
    assert (call.dimensions, call.votable, call.start_time, call.end_time) == ({}, False, 0, None)


def test_no_ids_no_call() -> None:
    assert capture(ReadableSpan("x")) is None


def test_a_span_without_attributes_or_scope() -> None:
    call = capture(ReadableSpan("x", context=CONTEXT, attributes=None))
    assert call is not None
    assert call.trace_id == f"{0xA:032x}"


@pytest.mark.parametrize(
    ("operation", "votable"),
    [
        ("chat", True),
        ("generate_content", True),
        ("text_completion", True),
        ("invoke_agent", True),
        ("invoke_workflow", True),
        ("acompletion", True),  # LiteLLM's
        ("embeddings", False),
        ("aembedding", False),
        ("retrieval", False),
        ("execute_tool", False),
        ("create_agent", False),
        ("rerank", False),
        ("somebody's own", False),
    ],
)
def test_votable_operations(operation: str, votable: bool) -> None:
    assert captured({"gen_ai.operation.name": operation}).votable is votable
    assert not captured({"gen_ai.operation.name": operation}, name="raw_gen_ai_request").votable


def test_every_sample_is_captured_with_its_normalised_operation() -> None:
    for sample in samples():
        pipeline = Pipeline()
        span = pipeline.tracer(sample.scope).start_span(sample.name, kind=sample.kind, attributes=sample.attributes)
        span.end()
        context = span.get_span_context()
        call = pipeline.registry.by_span(f"{context.trace_id:032x}", f"{context.span_id:016x}")
        assert call is not None, sample.id
        merged = {**(sample.expected or {}), **sample.attributes}
        assert call.operation == merged.get("gen_ai.operation.name") or sample.expected is None, sample.id


@pytest.mark.parametrize(
    "value", ["", "x" * (MAX_TEXT + 1), pytest.param(10**5000, id="huge"), ("a", "b"), b"bytes", 2**63]
)
def test_what_is_no_name_or_id_is_left_out(value: object) -> None:
    call = captured({"gen_ai.response.id": value, "gen_ai.operation.name": value, "gen_ai.usage.input_tokens": "9"})
    assert (call.response_id, call.operation, call.input_tokens) == (None, None, None)


def test_tokens_are_ints() -> None:
    call = captured({"gen_ai.usage.input_tokens": True, "gen_ai.usage.output_tokens": 3})
    assert (call.input_tokens, call.output_tokens) == (None, 3)


def test_error_type_as_said() -> None:
    assert captured({"error.type": "timeout"}).error_type == "timeout"


def test_error_type_from_the_exception() -> None:
    pipeline = Pipeline()
    span = pipeline.llm.start_span("x", attributes={**CHAT, "gen_ai.response.id": "r"})
    span.record_exception(ZeroDivisionError())
    span.add_event("later")
    span.set_status(StatusCode.ERROR)
    span.end()
    call = pipeline.registry.by_response("r")
    assert call is not None
    assert call.error_type == "ZeroDivisionError"


def test_error_type_unknown() -> None:
    pipeline = Pipeline()
    span = pipeline.tracer(UNKNOWN_SCOPE).start_span("x", attributes={**CHAT, "gen_ai.response.id": "r"})
    span.add_event("exception", {"exception.message": "no type"})
    span.set_status(Status(StatusCode.ERROR))
    span.end()
    call = pipeline.registry.by_response("r")
    assert call is not None
    assert call.error_type == "_OTHER"


def test_tags_stand_in_only_for_what_is_missing() -> None:
    span = ReadableSpan("x", context=CONTEXT, attributes={"gen_ai.conversation.id": "own"})
    call = capture(span, {"gen_ai.conversation.id": "said", "gen_ai.prompt.name": "said"})
    assert call is not None
    assert (call.conversation_id, call.prompt_name) == ("own", "said")
