from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from otel_llm_feedback import NormalizingSpanExporter, boundary
from otel_llm_feedback.counters import DEFAULT_COUNTERS
from otel_llm_feedback.spans.normalise import missing_attributes
from tests.spans.samples import CHAT, HTTP_SCOPE, Sample, samples

ALL = samples()
each_sample = pytest.mark.parametrize("sample", ALL, ids=[sample.id for sample in ALL])
DEPRECATED: dict[str, Any] = {"gen_ai.system": "openai", "gen_ai.usage.prompt_tokens": 9}
ADDED = {"gen_ai.provider.name": "openai", "gen_ai.usage.input_tokens": 9}


def exported(
    scope: str,
    attributes: dict[str, Any],
    name: str = "x",
    *,
    limits: SpanLimits | None = None,
    links: Sequence[Link] = (),
) -> tuple[ReadableSpan, ReadableSpan]:
    """A rich span as any exporter gets it, and as it gets it from ours."""
    plain, normalised = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(
        shutdown_on_exit=False,
        span_limits=limits,
        resource=Resource({"service.name": "test"}, "https://resource.schema"),
    )
    provider.add_span_processor(SimpleSpanProcessor(plain))
    provider.add_span_processor(SimpleSpanProcessor(NormalizingSpanExporter(normalised)))
    tracer = provider.get_tracer(scope, "1.2", "https://scope.schema", {"scope.attribute": 1})
    with tracer.start_as_current_span("parent"):
        plain.clear()
        normalised.clear()
        span = tracer.start_span(name, attributes=attributes, links=links)
        span.add_event("first", {"a": 1, "b": "two"}, timestamp=5)
        span.add_event("second", timestamp=6)
        span.set_status(Status(StatusCode.ERROR, "broke"))
        span.end()
        [before], [after] = plain.get_finished_spans(), normalised.get_finished_spans()
    return before, after


def encoded(span: ReadableSpan) -> TracesData:
    return TracesData.FromString(encode_spans([span]).SerializeToString())


def without(data: TracesData, names: set[str]) -> bytes:
    [span] = data.resource_spans[0].scope_spans[0].spans
    kept = [attribute for attribute in span.attributes if attribute.key not in names]
    del span.attributes[:]
    span.attributes.extend(kept)
    return data.SerializeToString()


@each_sample
def test_every_dialect_answers_the_same_query(sample: Sample) -> None:
    before, after = exported(sample.scope, sample.attributes, sample.name)
    added = missing_attributes(sample.attributes, sample.scope, sample.name)
    found = dict(after.attributes or {})
    as_sent = {name: tuple(value) if isinstance(value, list) else value for name, value in added.items()}
    assert found == {**dict(before.attributes or {}), **as_sent}


@each_sample
def test_on_the_wire_only_attributes_are_added(sample: Sample) -> None:
    link = Link(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1)), {"link.attribute": 1})
    before, after = exported(sample.scope, sample.attributes, sample.name, links=[link])
    added = missing_attributes(sample.attributes, sample.scope, sample.name)
    assert without(encoded(after), set(added)) == encoded(before).SerializeToString()


def test_dropped_counts_stay() -> None:
    limits = SpanLimits(max_span_attributes=3, max_events=1, max_links=1)
    context = SpanContext(1, 2, is_remote=True)
    before, after = exported(
        "x", {"a": 1, "b": 2, "c": 3, **DEPRECATED}, limits=limits, links=[Link(context), Link(context)]
    )
    assert (before.dropped_attributes, before.dropped_events, before.dropped_links) == (2, 1, 1)
    assert (after.dropped_attributes, after.dropped_events, after.dropped_links) == (2, 1, 1)
    assert without(encoded(after), set(ADDED)) == encoded(before).SerializeToString()
    assert dict(after.attributes or {}) == {"c": 3, **DEPRECATED, **ADDED}


@pytest.mark.newest
def test_nested_attributes_stay() -> None:
    nested = {"gen_ai.input.messages": ({"role": "user", "parts": ({"content": "hi"},)},), "deep": {"a": {"b": None}}}
    before, after = exported("x", {**DEPRECATED, **nested})
    assert "deep" in (before.attributes or {})
    assert without(encoded(after), set(ADDED)) == encoded(before).SerializeToString()


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        (HTTP_SCOPE, DEPRECATED),
        ("my.own.code", {"http.method": "GET"}),
        ("my.own.code", {}),
        ("my.own.code", CHAT),
        ("openlit", {}),
    ],
)
def test_what_needs_nothing_passes_through_as_it_is(scope: str, attributes: dict[str, Any]) -> None:
    before, _ = exported(scope, attributes)
    after = InMemorySpanExporter()
    NormalizingSpanExporter(after).export([before])
    [same] = after.get_finished_spans()
    assert same is before


def test_order_is_kept() -> None:
    spans = [exported("x", attributes)[0] for attributes in (DEPRECATED, {"a": 1}, DEPRECATED)]
    after = InMemorySpanExporter()
    NormalizingSpanExporter(after).export(spans)
    assert [span.get_span_context() for span in after.get_finished_spans()] == [
        span.get_span_context() for span in spans
    ]


def test_spans_without_scope_attributes_or_context() -> None:
    after = InMemorySpanExporter()
    NormalizingSpanExporter(after).export([ReadableSpan("x"), ReadableSpan("y", attributes=DEPRECATED)])
    bare, span = after.get_finished_spans()
    assert not bare.attributes
    assert dict(span.attributes or {}) == {**DEPRECATED, **ADDED}


class Recording(SpanExporter):
    def __init__(self) -> None:
        self.calls: list[object] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.calls.append(("export", len(spans)))
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.calls.append(("force_flush", timeout_millis))
        return False


def test_the_wrapped_exporter_decides() -> None:
    wrapped = Recording()
    exporter = NormalizingSpanExporter(wrapped)
    assert exporter.export([]) is SpanExportResult.FAILURE
    assert exporter.force_flush(7) is False
    exporter.shutdown()
    assert wrapped.calls == [("export", 0), ("force_flush", 7), "shutdown"]


class Strange(ReadableSpan):
    """Fails when it is looked at for the first time, as a foreign subclass might."""

    def __init__(self) -> None:
        super().__init__("strange", attributes=DEPRECATED)
        self.looks = itertools.count()

    @property
    def instrumentation_scope(self) -> Any:
        if next(self.looks) == 0:
            raise LookupError
        return None


def test_a_span_that_cannot_be_rewritten_is_exported_as_it_is() -> None:
    boundary.strict(False)
    before = DEFAULT_COUNTERS.total("internal_error", "LookupError")
    after = InMemorySpanExporter()
    strange = Strange()
    result = NormalizingSpanExporter(after).export([strange, ReadableSpan("y", attributes=DEPRECATED)])
    assert result is SpanExportResult.SUCCESS
    same, other = after.get_finished_spans()
    assert same is strange
    assert "gen_ai.provider.name" in (other.attributes or {})
    assert DEFAULT_COUNTERS.total("internal_error", "LookupError") == before + 1
