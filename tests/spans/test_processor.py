from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

from otel_llm_feedback import CallRegistry, LLMCall, LLMSpanProcessor, Settings, boundary, llm_context
from otel_llm_feedback.counters import DEFAULT_COUNTERS
from otel_llm_feedback.identity import pseudonym
from otel_llm_feedback.spans.processor import MAX_ATTRIBUTES_BEFORE
from otel_llm_feedback.spans.registry import default_registry
from tests.spans.samples import CHAT, HTTP_SCOPE, LLM_SCOPE, UNKNOWN_SCOPE, Pipeline

KEY = b"a secret of the tests, 32 bytes!"


@pytest.mark.parametrize("kind", list(SpanKind))
@pytest.mark.parametrize("scope", [LLM_SCOPE, UNKNOWN_SCOPE])
def test_tags_and_captures_whatever_the_kind(kind: SpanKind, scope: str) -> None:
    pipeline = Pipeline()
    with llm_context(conversation_id="c", message_id="m"):
        pipeline.tracer(scope).start_span("x", kind=kind, attributes=CHAT).end()
    assert pipeline.exported("x") == {
        **CHAT,
        "gen_ai.conversation.id": "c",
        "llm_feedback.target.message.id": "m",
    }
    call = pipeline.registry.by_message("m")
    assert call is not None
    assert (call.operation, call.conversation_id) == ("chat", "c")


def test_an_llm_scope_needs_no_attributes() -> None:
    pipeline = Pipeline()
    with llm_context(conversation_id="c"):
        pipeline.llm.start_span("x").end()
    assert pipeline.exported("x") == {"gen_ai.conversation.id": "c"}
    assert len(pipeline.registry) == 1


@pytest.mark.parametrize(("scope", "attributes"), [(HTTP_SCOPE, CHAT), (UNKNOWN_SCOPE, {"a": 1}), (UNKNOWN_SCOPE, {})])
def test_other_spans_are_left_alone(scope: str, attributes: dict[str, Any]) -> None:
    pipeline = Pipeline()
    with llm_context(conversation_id="c", user_id="u"):
        pipeline.tracer(scope).start_span("x", attributes=attributes).end()
    assert pipeline.exported("x") == attributes
    assert len(pipeline.registry) == 0
    assert pipeline.counters.snapshot() == {}


def test_nothing_is_overwritten() -> None:
    pipeline = Pipeline(Settings(pseudonym_key=KEY, raw_user_ids=True))
    own = {
        "gen_ai.conversation.id": "own",
        "session.id": "own",
        "enduser.pseudo.id": "own",
        "user.id": "own",
        "my.tag": "own",
    }
    with llm_context(conversation_id="said", session_id="said", user_id="said", **{"my.tag": "said"}):
        pipeline.llm.start_span("x", attributes=own).end()
    assert pipeline.exported("x") == own


def test_blocks_nest() -> None:
    pipeline = Pipeline()
    with llm_context(conversation_id="outer", session_id="s"):
        with llm_context(conversation_id="inner"):
            pipeline.llm.start_span("a").end()
        pipeline.llm.start_span("b").end()
    pipeline.llm.start_span("c").end()
    assert pipeline.exported("a") == {"gen_ai.conversation.id": "inner", "session.id": "s"}
    assert pipeline.exported("b") == {"gen_ai.conversation.id": "outer", "session.id": "s"}
    assert pipeline.exported("c") == {}


def test_decorated_function() -> None:
    pipeline = Pipeline()

    @llm_context(conversation_id="c")
    def answer() -> None:
        pipeline.llm.start_span("x").end()

    answer()
    assert pipeline.exported("x") == {"gen_ai.conversation.id": "c"}


def test_threads_as_the_context_does() -> None:
    pipeline = Pipeline()

    def work(name: str) -> None:
        pipeline.llm.start_span(name).end()

    def work_in(context: otel_context.Context) -> None:
        token = otel_context.attach(context)
        work("attached")
        otel_context.detach(token)

    with ThreadPoolExecutor(1) as pool, llm_context(conversation_id="c"):
        pool.submit(work, "bare").result(10)
        pool.submit(contextvars.copy_context().run, work, "copied").result(10)
        pool.submit(work_in, otel_context.get_current()).result(10)
    assert pipeline.exported("bare") == {}
    assert pipeline.exported("copied") == pipeline.exported("attached") == {"gen_ai.conversation.id": "c"}


def test_tasks_as_the_context_does() -> None:
    pipeline = Pipeline()

    async def work(number: int) -> None:
        with llm_context(message_id=f"m{number}"):
            await asyncio.sleep(0)
            pipeline.llm.start_span(f"x{number}").end()

    async def run() -> None:
        with llm_context(conversation_id="c"):
            await asyncio.gather(*(work(number) for number in range(4)))

    asyncio.run(run())
    for number in range(4):
        assert pipeline.exported(f"x{number}") == {
            "gen_ai.conversation.id": "c",
            "llm_feedback.target.message.id": f"m{number}",
        }


def test_a_context_passed_to_start_span() -> None:
    pipeline = Pipeline()
    with llm_context(conversation_id="elsewhere"):
        elsewhere = otel_context.get_current()
    with llm_context(conversation_id="here"):
        pipeline.llm.start_span("elsewhere", context=elsewhere).end()
        pipeline.llm.start_span("nowhere", context=otel_context.Context()).end()
    assert pipeline.exported("elsewhere") == {"gen_ai.conversation.id": "elsewhere"}
    assert pipeline.exported("nowhere") == {}


@pytest.mark.parametrize(("count", "tagged"), [(MAX_ATTRIBUTES_BEFORE, True), (MAX_ATTRIBUTES_BEFORE + 1, False)])
def test_a_span_with_many_attributes_is_left_alone_and_counted(count: int, tagged: bool) -> None:
    pipeline = Pipeline(Settings(pseudonym_key=KEY))
    attributes = {f"a{number}": number for number in range(count)}
    with llm_context(conversation_id="c", user_id="u"):
        pipeline.llm.start_span("x", attributes=attributes).end()
    assert (len(pipeline.exported("x")) > count) is tagged
    assert pipeline.counters.total("untagged", "too_many_attributes") == (not tagged)
    assert pipeline.registry.by_conversation("c") is None  # no operation: not votable
    assert len(pipeline.registry) == 1


def test_a_user_is_a_pseudonym() -> None:
    pipeline = Pipeline(Settings(pseudonym_key=KEY))
    with llm_context(user_id="ann@example.org"):
        pipeline.llm.start_span("x").end()
    assert pipeline.exported("x") == {"enduser.pseudo.id": pseudonym(KEY, "ann@example.org")}
    assert pipeline.counters.snapshot() == {}


def test_a_user_is_raw_only_when_asked_for() -> None:
    pipeline = Pipeline(Settings(raw_user_ids=True))
    with llm_context(user_id="ann"):
        pipeline.llm.start_span("x").end()
    assert pipeline.exported("x") == {"user.id": "ann"}


def test_a_user_without_a_key_is_withheld_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    boundary.forget_what_was_said()
    pipeline = Pipeline()
    with llm_context(user_id="ann@example.org"):
        pipeline.llm.start_span("x").end()
        pipeline.llm.start_span("y").end()
    assert pipeline.exported("x") == pipeline.exported("y") == {}
    assert pipeline.counters.snapshot() == {("withheld", "no_pseudonym_key"): 2}
    [said] = caplog.messages
    assert "OTEL_LLM_FEEDBACK_PSEUDONYM_KEY" in said
    assert "ann" not in said


def test_attributes_set_late_in_an_unknown_scope() -> None:
    pipeline = Pipeline()
    with llm_context(message_id="m", conversation_id="c"):
        span = pipeline.tracer(UNKNOWN_SCOPE).start_span("x")
    span.set_attributes({**CHAT, "gen_ai.conversation.id": "own"})
    span.end()
    call = pipeline.registry.by_message("m")
    assert call is not None
    assert (call.operation, call.conversation_id) == ("chat", "own")


def test_attributes_set_late_without_tags() -> None:
    pipeline = Pipeline()
    span = pipeline.tracer(UNKNOWN_SCOPE).start_span("x")
    span.set_attribute("gen_ai.response.id", "r")
    span.end()
    assert pipeline.registry.by_response("r") is not None


class Broken(CallRegistry):
    def put(self, call: LLMCall) -> None:
        raise RuntimeError("secret detail")


def test_errors_stay_inside_and_the_exporter_still_gets_the_span(caplog: pytest.LogCaptureFixture) -> None:
    boundary.strict(False)
    boundary.forget_what_was_said()
    before = DEFAULT_COUNTERS.total("internal_error", "RuntimeError")
    pipeline = Pipeline(registry=Broken())
    for name in ("x", "y"):
        pipeline.llm.start_span(name, attributes=CHAT).end()
        assert pipeline.exported(name) == CHAT
    assert DEFAULT_COUNTERS.total("internal_error", "RuntimeError") == before + 2
    [said] = caplog.messages
    assert "LLMSpanProcessor.on_end" in said
    assert "secret" not in said


class StrangeSpan(ReadableSpan):
    @property
    def instrumentation_scope(self) -> Any:
        raise LookupError


def test_errors_at_the_start_stay_inside_too() -> None:
    boundary.strict(False)
    before = DEFAULT_COUNTERS.total("internal_error", "LookupError")
    processor = LLMSpanProcessor(CallRegistry(), Settings())
    processor.on_start(StrangeSpan("x"))  # type: ignore[arg-type]  # not a Span on purpose
    processor.on_end(StrangeSpan("x"))
    assert DEFAULT_COUNTERS.total("internal_error", "LookupError") == before + 2


def test_errors_come_through_in_strict_mode() -> None:
    pipeline = Pipeline(registry=Broken())
    with pytest.raises(RuntimeError):
        pipeline.llm.start_span("x", attributes=CHAT).end()


def test_spans_without_scope_or_ids() -> None:
    registry = CallRegistry()
    processor = LLMSpanProcessor(registry, Settings())
    processor.on_end(ReadableSpan("x", attributes=CHAT))
    assert len(registry) == 0


def living() -> int:
    """All that a span could leave behind: itself, its ids, its context, and whatever is ours."""
    gc.collect()
    kinds = {"_Span", "SpanContext", "BoundedAttributes", "Context", "partial", "ReferenceType"}
    types = [type(each) for each in gc.get_objects()]
    return sum(kind.__name__ in kinds or str(kind.__module__).startswith("otel_llm_feedback") for kind in types)


@pytest.mark.parametrize("scope", [LLM_SCOPE, UNKNOWN_SCOPE])
def test_spans_that_never_end_leave_nothing(scope: str) -> None:
    pipeline = Pipeline()

    def start_and_forget() -> weakref.ref[Any]:
        span = pipeline.tracer(scope).start_span("x", attributes=CHAT)
        with llm_context(message_id="m"):
            for _ in range(50):
                pipeline.tracer(scope).start_span("y", attributes=CHAT)
        return weakref.ref(span)

    start_and_forget()
    before = living()
    references = [start_and_forget() for _ in range(20)]
    assert {reference() for reference in references} == {None}
    del references
    assert living() < before + 100  # of 1,020 spans
    assert len(pipeline.registry) == 0


def test_spans_that_overlap_for_ever_leave_nothing() -> None:
    """A pipeline that starts the next call before the one before has ended, in one long-lived context."""
    pipeline = Pipeline(registry=CallRegistry(10, counters=DEFAULT_COUNTERS))

    def run(count: int) -> None:
        running = [pipeline.llm.start_span("x", attributes=CHAT) for _ in range(3)]
        for _ in range(count):
            running.append(pipeline.llm.start_span("x", attributes=CHAT))
            running.pop(0).end()
            pipeline.exporter.clear()
        for span in running:
            span.end()

    def living_calls() -> int:
        gc.collect()
        return sum(type(each) is LLMCall for each in gc.get_objects())

    run(50)
    before = living_calls()
    run(300)
    assert living_calls() <= before + 20


def test_concurrent_spans() -> None:
    pipeline = Pipeline()
    barrier = threading.Barrier(8)

    def work(thread: int) -> None:
        barrier.wait(10)
        for number in range(100):
            with llm_context(message_id=f"{thread}-{number}"):
                pipeline.llm.start_span("x", attributes=CHAT).end()

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(pipeline.registry) == 800
    assert all(pipeline.registry.by_message(f"{thread}-{number}") for thread in range(8) for number in range(100))


def test_defaults_and_no_buffers() -> None:
    processor = LLMSpanProcessor()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer(LLM_SCOPE).start_span("x", attributes={**CHAT, "gen_ai.response.id": "test-defaults"}).end()
    assert provider.force_flush()
    provider.shutdown()
    shared = default_registry()
    assert isinstance(shared, CallRegistry)
    assert shared.by_response("test-defaults") is not None
    shared.clear()


def test_unsampled_spans_never_get_here() -> None:
    registry = CallRegistry()
    provider = TracerProvider(shutdown_on_exit=False, sampler=ALWAYS_OFF)
    provider.add_span_processor(LLMSpanProcessor(registry, Settings()))
    provider.get_tracer(LLM_SCOPE).start_span("x", attributes=CHAT).end()
    assert len(registry) == 0


def test_registered_twice_is_harmless() -> None:
    pipeline = Pipeline()
    pipeline.provider.add_span_processor(LLMSpanProcessor(pipeline.registry, Settings(), counters=pipeline.counters))
    with llm_context(message_id="m"):
        pipeline.llm.start_span("x", attributes=CHAT).end()
    assert len(pipeline.registry) == 1
    assert pipeline.registry.by_message("m") is not None
    assert pipeline.counters.snapshot() == {}


def test_an_exporter_before_us_sees_the_tags_too() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(LLMSpanProcessor(CallRegistry(), Settings()))
    with llm_context(conversation_id="c"), trace.use_span(provider.get_tracer(LLM_SCOPE).start_span("x"), True):
        pass
    [span] = exporter.get_finished_spans()
    assert dict(span.attributes or {}) == {"gen_ai.conversation.id": "c"}
