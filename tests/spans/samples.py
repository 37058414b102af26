"""Spans as instrumentations emit them, from ``data/*.json``, and real providers to emit them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanKind, Tracer

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.settings import Settings
from otel_llm_feedback.spans.processor import LLMSpanProcessor
from otel_llm_feedback.spans.registry import CallRegistry

DATA = Path(__file__).parent / "data"
LLM_SCOPE = "opentelemetry.instrumentation.genai.openai"
UNKNOWN_SCOPE = "my.own.code"
HTTP_SCOPE = "opentelemetry.instrumentation.asgi"
CHAT: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}


class Sample(NamedTuple):
    file: str
    scope: str
    name: str
    kind: SpanKind
    attributes: dict[str, Any]
    expected: dict[str, Any] | None

    @property
    def id(self) -> str:
        return f"{self.file}: {self.name}"


def samples(*files: str) -> list[Sample]:
    paths = [DATA / f"{file}.json" for file in files] or sorted(DATA.glob("*.json"))
    return [
        Sample(
            path.stem,
            span["scope"],
            span["name"],
            SpanKind[span["kind"].removeprefix("SpanKind.")],
            span["attributes"],
            span.get("expected"),
        )
        for path in paths
        for span in json.loads(path.read_text(encoding="utf-8"))
    ]


class Pipeline:
    """A real provider with our processor, then an exporter that keeps everything in memory."""

    def __init__(
        self,
        settings: Settings | None = None,
        sampler: Sampler = ALWAYS_ON,
        registry: CallRegistry | None = None,
    ) -> None:
        self.counters = Counters()
        self.registry = registry if registry is not None else CallRegistry(counters=self.counters)
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.processor = LLMSpanProcessor(self.registry, settings or Settings(), counters=self.counters)
        self.provider.add_span_processor(self.processor)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def tracer(self, scope: str = LLM_SCOPE) -> Tracer:
        return self.provider.get_tracer(scope)

    @property
    def llm(self) -> Tracer:
        return self.tracer(LLM_SCOPE)

    @property
    def http(self) -> Tracer:
        return self.tracer(HTTP_SCOPE)

    def exported(self, name: str) -> dict[str, Any]:
        [span] = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return dict(span.attributes or {})
