"""Handing an event to OpenTelemetry: as a log record, or as a span event. Each returns why it could not, or ""."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    ProxyTracerProvider,
    Span,
    TracerProvider,
    get_current_span,
    get_tracer_provider,
    set_span_in_context,
)

from otel_llm_feedback import attributes as names
from otel_llm_feedback.errors import InvalidTarget
from otel_llm_feedback.feedback.event import FeedbackEvent, Place
from otel_llm_feedback.otel_logs import (
    APILoggerProvider,
    Logger,
    SeverityNumber,
    accepts,
    get_logger_provider,
    is_missing,
)
from otel_llm_feedback.target import Target
from otel_llm_feedback.version import __version__

__all__ = ["LogEmitter", "SpanEventEmitter", "needs_span"]


class LogEmitter:
    """Emits log records through one LoggerProvider, or through whichever is the global one at the time."""

    def __init__(self, provider: APILoggerProvider | None = None) -> None:
        self._fixed = provider
        self._provider: APILoggerProvider | None = None
        self._logger: Logger | None = None

    def emit(self, event: FeedbackEvent) -> str:
        """Emit; returns ``no_logger_provider``, ``no_log_processor`` or ""."""
        provider = self._fixed if self._fixed is not None else get_logger_provider()
        if is_missing(provider):
            return "no_logger_provider"
        logger = self._logger
        if logger is None or provider is not self._provider:
            logger = provider.get_logger(names.SCOPE_NAME, __version__)
            if not accepts(logger, names.EVALUATION_EVENT):
                return "no_log_processor"  # not remembered: a processor may be added yet, but none is ever taken away
            self._provider, self._logger = provider, logger
        logger.emit(
            timestamp=event.timestamp,
            observed_timestamp=event.observed,
            context=_context_of(event.place),
            severity_number=SeverityNumber.WARN if event.failed else SeverityNumber.INFO,
            severity_text="WARN" if event.failed else "INFO",
            body=names.BODY,
            attributes=event.attributes,
            event_name=event.name,
        )
        return ""


class SpanEventEmitter:
    """Emits span events: on the target while it records, else on a carrier span that is its child and links to it."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._fixed = provider

    def emit(self, event: FeedbackEvent, target: Target | None) -> str:
        """Emit; returns ``no_tracer_provider``, ``carrier_not_sampled`` or ""."""
        span = _recording(target)
        if span is not None:
            span.add_event(names.EVALUATION_EVENT, event.attributes, event.timestamp)
            return ""
        provider = self._fixed if self._fixed is not None else get_tracer_provider()
        if isinstance(provider, ProxyTracerProvider):
            return "no_tracer_provider"
        return self._emit_on_carrier(event, provider)

    def _emit_on_carrier(self, event: FeedbackEvent, provider: TracerProvider) -> str:
        # Without flags the sampler would follow a parent that it takes for unsampled, and never record the carrier.
        parent = event.place.span_context(unknown_flags=1)
        carrier = provider.get_tracer(names.SCOPE_NAME, __version__).start_span(
            names.EVALUATION_EVENT,
            context=set_span_in_context(NonRecordingSpan(parent), Context()),
            links=[Link(parent)],
            start_time=event.timestamp,
        )
        recorded = carrier.is_recording()
        carrier.add_event(names.EVALUATION_EVENT, event.attributes, event.timestamp)
        carrier.end(event.timestamp)
        return "" if recorded else "carrier_not_sampled"


def needs_span(place: Place) -> None:
    """Raise InvalidTarget when there is no span that an event could be put on or under."""
    if place.trace_id is None or place.span_id is None:
        raise InvalidTarget(
            "target", place[:2], "span events need a trace id and a span id; use mode='log' for this target"
        )


def _context_of(place: Place) -> Context:
    # An empty Context counts as none given and would put the record on the current span's trace. An invalid span does not.
    return set_span_in_context(NonRecordingSpan(place.span_context()), Context())


def _recording(target: Target | None) -> Span | None:
    """The target's own span object while it records: the one it was made from, or the current one if it has the same ids."""
    if target is None:
        return None
    for span in (target.open_span, get_current_span()):
        if span is not None and span.is_recording():
            context = span.get_span_context()
            if (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (target.trace_id, target.span_id):
                return span
    return None
