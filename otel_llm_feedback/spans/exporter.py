"""NormalizingSpanExporter: any dialect in, current GenAI attributes out, around any span exporter."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util import BoundedList
from opentelemetry.util.types import AttributeValue

from otel_llm_feedback.boundary import swallow
from otel_llm_feedback.spans.call import copy_of
from otel_llm_feedback.spans.normalise import missing_attributes
from otel_llm_feedback.spans.recognise import Recogniser, Verdict

__all__ = ["NormalizingSpanExporter"]


class NormalizingSpanExporter(SpanExporter):
    """Wraps ``exporter`` and hands it every span, LLM spans with the current GenAI attributes they lack.

    Keys that are there stay as they are. Events, links, status, dropped counts, resource and scope stay too, and spans that
    need nothing pass through untouched. The work is done on the thread that exports. A span that cannot be rewritten is
    exported as it is.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._recogniser = Recogniser()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Rewrite and pass on; the result is the wrapped exporter's."""
        return self._exporter.export([self._normalised(span) for span in spans])

    def shutdown(self) -> None:
        """Shut the wrapped exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the wrapped exporter."""
        return self._exporter.force_flush(timeout_millis)

    def _normalised(self, span: ReadableSpan) -> ReadableSpan:
        try:
            scope = span.instrumentation_scope
            scope_name = scope.name if scope is not None else ""
            verdict = self._recogniser.verdicts[scope_name]
            if verdict is Verdict.NEVER:
                return span
            attributes = copy_of(span)
            if verdict is Verdict.ASK and not self._recogniser.is_llm(attributes):
                return span
            added = missing_attributes(attributes, scope_name, span.name)
            return _with_attributes(span, {**attributes, **added}) if added else span
        except Exception as error:  # noqa: BLE001 - the span itself must still be exported
            swallow("NormalizingSpanExporter.export", error)
            return span


def _with_attributes(span: ReadableSpan, attributes: dict[str, AttributeValue]) -> ReadableSpan:
    """The same span with more attributes. The bounded containers are what makes the SDK report dropped counts."""
    bounded = BoundedAttributes(attributes=attributes)
    bounded.dropped = span.dropped_attributes
    events = BoundedList.from_seq(None, span.events)
    events.dropped = span.dropped_events
    links = BoundedList.from_seq(None, span.links)
    links.dropped = span.dropped_links
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=bounded,
        events=events,
        links=links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
