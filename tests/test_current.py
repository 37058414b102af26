"""current_target, in every situation that a request handler can be in. What follows execution is in spans/test_execution."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

from otel_llm_feedback import Target, current_span_id, current_target, current_trace_id
from otel_llm_feedback.spans.registry import CallRegistry, default_registry
from tests.spans.samples import CHAT, UNKNOWN_SCOPE, Pipeline


def ids(span: Span) -> tuple[str, str]:
    context = span.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def found(pipeline: Pipeline) -> tuple[str | None, str | None] | None:
    target = current_target(pipeline.registry)
    return (target.trace_id, target.span_id) if target is not None else None


def in_a_new_thread(work: Any) -> None:
    """In a fresh execution context, so that nothing of other tests is left in it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_nothing() -> None:
    def work() -> None:
        assert current_target(Pipeline().registry) is None
        assert current_trace_id() is None
        assert current_span_id() is None

    in_a_new_thread(work)


def test_the_usual_moment() -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat"):
        span = pipeline.llm.start_span("chat", attributes=CHAT)
        span.end()
        target = current_target(pipeline.registry)
    assert target is not None
    assert (target.trace_id, target.span_id) == ids(span)
    assert target.type == "span"
    assert target.call is not None
    assert target.call.request_model == "gpt-4o"
    assert target.open_span is None


def test_the_innermost_open_one() -> None:
    pipeline = Pipeline()
    with (
        pipeline.http.start_as_current_span("POST /chat"),
        pipeline.llm.start_as_current_span("a", attributes={"gen_ai.operation.name": "invoke_agent"}) as agent,
    ):
        assert found(pipeline) == ids(agent)
        with pipeline.llm.start_as_current_span("b", attributes=CHAT) as chat:
            target = current_target(pipeline.registry)
            assert target is not None
            assert target.span_id == ids(chat)[1]
            assert target.open_span is chat
            assert target.call is not None
            assert target.call.end_time is None
        assert found(pipeline) == ids(agent)


def test_the_last_ended_one() -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat"):
        for number in range(3):
            with pipeline.llm.start_as_current_span(f"{number}", attributes=CHAT) as last:
                pass
        assert found(pipeline) == ids(last)


@pytest.mark.parametrize("operation", ["embeddings", "execute_tool", "retrieval", "rerank"])
def test_never_what_nobody_judges(operation: str) -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat") as http:
        with pipeline.llm.start_as_current_span("x", attributes={"gen_ai.operation.name": operation}):
            open_target = current_target(pipeline.registry)
        assert open_target is not None
        assert open_target.call is None  # the current span, not a call
        assert found(pipeline) == ids(http)
        with pipeline.llm.start_as_current_span("chat", attributes=CHAT) as chat:
            pass
        with pipeline.llm.start_as_current_span("x", attributes={"gen_ai.operation.name": operation}):
            pass
        assert found(pipeline) == ids(chat)


def test_never_our_own_carriers() -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /feedback") as http:
        pipeline.tracer("otel_llm_feedback").start_span("gen_ai.evaluation.result", attributes=CHAT).end()
        assert found(pipeline) == ids(http)


def test_never_the_second_span_of_litellm() -> None:
    pipeline = Pipeline()
    attributes = {"llm.request.type": "completion", "gen_ai.request.model": "gpt-4o"}
    with pipeline.http.start_as_current_span("POST /chat"):
        litellm = pipeline.tracer("litellm")
        with litellm.start_as_current_span("litellm_request", attributes=attributes) as request:
            litellm.start_span("raw_gen_ai_request", attributes=attributes).end()
        assert found(pipeline) == ids(request)


def test_a_call_without_a_request_around_it() -> None:
    def work() -> None:
        pipeline = Pipeline()
        span = pipeline.llm.start_span("chat", attributes=CHAT)
        assert found(pipeline) == ids(span)
        span.end()
        assert found(pipeline) == ids(span)

    in_a_new_thread(work)


def test_a_call_in_an_unknown_scope() -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat"):
        span = pipeline.tracer(UNKNOWN_SCOPE).start_span("x")
        span.set_attributes(CHAT)
        span.end()
        assert found(pipeline) == ids(span)


def test_unsampled_calls_fall_back_to_the_current_span() -> None:
    pipeline = Pipeline(sampler=ALWAYS_OFF)
    with pipeline.http.start_as_current_span("POST /chat") as http:
        with pipeline.llm.start_as_current_span("chat", attributes=CHAT) as chat:
            assert found(pipeline) == ids(chat)
        assert found(pipeline) == ids(http)
        target = current_target(pipeline.registry)
    assert target is not None
    assert target.trace_flags is not None
    assert not target.trace_flags & 1


def test_a_span_of_another_process_is_current() -> None:
    remote = NonRecordingSpan(SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(1)))
    pipeline = Pipeline()
    with trace.use_span(remote):
        assert found(pipeline) == (f"{5:032x}", f"{6:016x}")
        with pipeline.llm.start_as_current_span("chat", attributes=CHAT) as chat:
            pass
        assert found(pipeline) == ids(chat)


def test_ids_of_the_shared_registry() -> None:
    shared = default_registry()
    assert isinstance(shared, CallRegistry)
    pipeline = Pipeline(registry=shared)
    with pipeline.http.start_as_current_span("POST /chat"):
        span = pipeline.llm.start_span("chat", attributes=CHAT)
        span.end()
        assert (current_trace_id(), current_span_id()) == ids(span)
    shared.clear()


def test_a_span_is_what_it_says() -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat") as http:
        assert current_target(pipeline.registry) == Target.of(http)
