"""An application that sets itself up in code, makes one LLM span by hand, votes on it, and prints what came of it.

usage: hand_made.py KEYWORDS [BEFORE]
KEYWORDS: JSON, the arguments of `configure`.
BEFORE: what is there already: ``traces``, ``logs`` or ``traces,logs``, each with an OTLP exporter; ``metrics``; ``twice``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_llm_feedback import configure, current_target, llm_context, record_feedback

THEIRS = Resource.create({"service.name": "theirs"})


def main(keywords: str, before: str = "") -> None:
    reader = prepare(before.split(","))
    pipeline = configure(**json.loads(keywords))
    if "twice" in before:
        pipeline = configure(**json.loads(keywords))
    with trace.get_tracer("app").start_as_current_span("POST /chat"):
        with (
            llm_context(conversation_id="c-1"),
            trace.get_tracer("app").start_as_current_span("chat", attributes={"llm.request.type": "chat"}) as span,
        ):
            span.set_attribute("gen_ai.system", "openai")
        target = current_target()
        assert target is not None
        receipt = record_feedback(target, True)
    answer = {
        "trace_id": target.trace_id,
        "span_id": target.span_id,
        "status": receipt.status,
        "reason": receipt.reason,
        "flushed": bool(pipeline.flush(20)),
        "globals": pipeline.tracer_provider is trace.get_tracer_provider()
        and pipeline.logger_provider is get_logger_provider(),
        "owned": [type(each).__name__ for each in pipeline.owned],
        "counters": read(reader),
        "shut_down": bool(pipeline.shutdown(20)),
    }
    print(json.dumps(answer))


def prepare(before: list[str]) -> InMemoryMetricReader | None:
    if "traces" in before:
        tracer_provider = TracerProvider(resource=THEIRS)
        tracer_provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(tracer_provider)
    if "logs" in before:
        logger_provider = LoggerProvider(resource=THEIRS)
        logger_provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter()))
        set_logger_provider(logger_provider)
    if "metrics" not in before:
        return None
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader], resource=THEIRS))
    return reader


def read(reader: InMemoryMetricReader | None) -> Any:
    """Each count with its attributes, as an application's own metrics show it."""
    data = reader.get_metrics_data() if reader is not None else None
    if data is None:
        return None
    return [
        {"name": metric.name, "value": point.value, **dict(point.attributes or {})}
        for resource_metrics in data.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
        for point in metric.data.data_points
        if scope_metrics.scope.name == "otel_llm_feedback" and isinstance(point, NumberDataPoint)
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
