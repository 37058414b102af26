"""The hot paths of the main job: spans that are not ours, spans that are, and the vote itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from benchmarks.ratios import Comparison
from otel_llm_feedback import (
    Content,
    LLMSpanProcessor,
    NormalizingSpanExporter,
    Recorder,
    Settings,
    Target,
    record_feedback,
)
from otel_llm_feedback.feedback.emit import LogEmitter
from otel_llm_feedback.spans.registry import CallRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord

Attributes = dict[str, str | bool | int | float]

TEN: Attributes = {
    "http.request.method": "POST",
    "http.response.status_code": 200,
    "http.route": "/chat",
    "network.protocol.version": "1.1",
    "server.address": "127.0.0.1",
    "server.port": 8080,
    "url.path": "/chat",
    "url.scheme": "http",
    "user_agent.original": "bench",
    "client.address": "127.0.0.1",
}
LLM_TEN: Attributes = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.request.max_tokens": 10,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 9,
    "gen_ai.usage.output_tokens": 3,
    "server.address": "127.0.0.1",
}
OPENINFERENCE_TEN: Attributes = {
    "openinference.span.kind": "LLM",
    "llm.system": "openai",
    "llm.model_name": "gpt-4o-mini-2024-07-18",
    "llm.invocation_parameters": '{"model": "gpt-4o-mini", "max_tokens": 10, "temperature": 0.2}',
    "llm.token_count.total": 12,
    "llm.token_count.prompt": 9,
    "llm.token_count.completion": 3,
    "llm.finish_reason": "stop",
    "input.mime_type": "application/json",
    "output.mime_type": "application/json",
}
SCOPES = (
    # scope, its attributes, what it stands for, aim
    ("opentelemetry.instrumentation.asgi", TEN, "scope ruled out by name", 1.05),
    ("shop.checkout", TEN, "unknown scope, not an LLM span", 1.2),
    ("opentelemetry.instrumentation.genai.openai", LLM_TEN, "LLM span", 1.3),
    ("openinference.instrumentation.openai", OPENINFERENCE_TEN, "LLM span of another dialect", None),
)
VOTE: Attributes = {
    "llm_feedback.metadata.page": "chat",
    "llm_feedback.trace.sampled": True,
    "gen_ai.evaluation.explanation": "short and right",
    "gen_ai.evaluation.score.label": "pass",
    "gen_ai.evaluation.score.value": 1.0,
    "llm_feedback.kind": "explicit",
    "llm_feedback.target.type": "span",
    "llm_feedback.operation": "create",
    "llm_feedback.revision": 1763683200000000,
    "llm_feedback.id": "33057606-36ed-44b0-87f3-dcadd612dc4c",
    "gen_ai.evaluation.name": "user_feedback",
}
PAST = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, is_remote=True, trace_flags=TraceFlags(1))


class NoSpanExporter(SpanExporter):
    """Accepts everything: only what comes before it is timed."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class NoLogExporter(LogRecordExporter):
    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def comparisons() -> Iterator[Comparison]:
    """Every comparison of this module."""
    for scope, attributes, what, aim in SCOPES:
        plain, ours = TracerProvider(), TracerProvider()
        ours.add_span_processor(LLMSpanProcessor(CallRegistry(), Settings()))
        yield Comparison(
            f"span with 10 attributes: {what}",
            one_span(plain, scope, attributes),
            one_span(ours, scope, attributes),
            aim,
        )
    yield feedback()
    yield redacted_feedback()
    for scope, attributes, what, _ in SCOPES:
        yield export(scope, attributes, what)


def one_span(provider: TracerProvider, scope: str, attributes: Attributes) -> Callable[[], None]:
    tracer = provider.get_tracer(scope)

    def run() -> None:
        span = tracer.start_span("POST /chat")
        for name, value in attributes.items():
            span.set_attribute(name, value)
        span.end()

    return run


def feedback() -> Comparison:
    """A vote against the bare emit of the very same record: attributes, context and all."""
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(NoLogExporter(), max_queue_size=1_000_000))
    recorder = Recorder(Settings(content=Content("on")), CallRegistry(), logs=LogEmitter(provider))
    return Comparison("record_feedback against a bare Logger.emit", bare_emit(provider), vote(recorder), 2.0)


def redacted_feedback() -> Comparison:
    """The same with what a bare emit does not do: its texts are searched for personal data (the default)."""
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(NoLogExporter(), max_queue_size=1_000_000))
    recorder = Recorder(Settings(), CallRegistry(), logs=LogEmitter(provider))
    return Comparison("record_feedback, redacting, against a bare Logger.emit", bare_emit(provider), vote(recorder))


def vote(recorder: Recorder) -> Callable[[], object]:
    target = Target.of(PAST)
    return lambda: record_feedback(
        target, True, comment="short and right", metadata={"page": "chat"}, recorder=recorder
    )


def bare_emit(provider: LoggerProvider) -> Callable[[], object]:
    logger = provider.get_logger("bench")

    def emit() -> None:
        logger.emit(
            timestamp=1763683200000000000,
            observed_timestamp=1763683200000000000,
            context=set_span_in_context(NonRecordingSpan(PAST), Context()),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body="user feedback",
            attributes=VOTE,
            event_name="gen_ai.evaluation.result",
        )

    return emit


def export(scope: str, attributes: Attributes, what: str) -> Comparison:
    """A batch of 64 spans through the exporter, wrapped and not."""
    finished: list[ReadableSpan] = []

    class Keep(NoSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            finished.extend(spans)
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Keep()))
    make = one_span(provider, scope, attributes)
    for _ in range(64):
        make()

    class Encoding(NoSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            encode_spans(spans).SerializeToString()
            return SpanExportResult.SUCCESS

    plain, wrapped = Encoding(), NormalizingSpanExporter(Encoding())
    return Comparison(
        f"export and encode 64 spans, normalised: {what}",
        lambda: plain.export(finished),
        lambda: wrapped.export(finished),
    )
