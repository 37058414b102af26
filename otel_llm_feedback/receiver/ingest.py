"""From a request's bytes to the sink, and to the answer's bytes. Both transports call this; it knows neither of them.

Counted, as (outcome, reason): ("received", "traces" | "logs"), ("discarded", "metrics"), ("rejected", "invalid_id"),
("refused", a reason of `refusals`), ("disconnected", "broken" | "too_many" | "internal_error").
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_llm_feedback.boundary import say_once
from otel_llm_feedback.receiver.decode import count_metrics, decode_logs, decode_spans
from otel_llm_feedback.receiver.refusals import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm_feedback.counters import Counters
    from otel_llm_feedback.receiver.limits import Limits
    from otel_llm_feedback.receiver.records import ReceivedLog, ReceivedSpan

__all__ = ["Ingest", "Signal", "Sink"]

R = TypeVar("R")


class Sink(Protocol):
    """Where records go. Called from several threads at once; what it raises makes the sender try again later."""

    def add_spans(self, spans: list[ReceivedSpan], /) -> None: ...

    def add_logs(self, logs: list[ReceivedLog], /) -> None: ...


class Signal(enum.Enum):
    """What a request carries."""

    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"


class Ingest:
    """Decodes a request, hands its records to the sink and encodes the answer."""

    def __init__(self, sink: Sink, counters: Counters, limits: Limits) -> None:
        self._sink = sink
        self._counters = counters
        self._max_nested_messages = limits.max_nested_messages
        self._by_signal: dict[Signal, Callable[[bytes], bytes]] = {
            Signal.TRACES: self._traces,
            Signal.LOGS: self._logs,
            Signal.METRICS: self._metrics,
        }

    def accept(self, signal: Signal, body: bytes) -> bytes:
        """The serialised Export…ServiceResponse to a serialised Export…ServiceRequest; raises `Refused`, uncounted."""
        return self._by_signal[signal](body)

    def count_refusal(self, refusal: Refused) -> None:
        """Count a request that got no records in."""
        self._counters.add("refused", refusal.reason)

    def count_connection(self, reason: str) -> None:
        """Count a connection that ended without an answer: "broken" by the client, one of "too_many", or ours."""
        self._counters.add("disconnected", reason)

    def _traces(self, body: bytes) -> bytes:
        decoded = decode_spans(body, self._max_nested_messages)
        self._hand_over(Signal.TRACES, self._sink.add_spans, decoded.spans)
        if not decoded.rejected:
            return ExportTraceServiceResponse().SerializeToString()
        self._counters.add("rejected", "invalid_id", decoded.rejected)
        partial = ExportTracePartialSuccess(
            rejected_spans=decoded.rejected, error_message="spans with an invalid trace, span or parent id"
        )
        return ExportTraceServiceResponse(partial_success=partial).SerializeToString()

    def _logs(self, body: bytes) -> bytes:
        self._hand_over(Signal.LOGS, self._sink.add_logs, decode_logs(body, self._max_nested_messages))
        return ExportLogsServiceResponse().SerializeToString()

    def _metrics(self, body: bytes) -> bytes:
        self._counters.add("discarded", Signal.METRICS.value, count_metrics(body, self._max_nested_messages))
        return ExportMetricsServiceResponse().SerializeToString()

    def _hand_over(self, signal: Signal, keep: Callable[[list[R]], None], records: list[R]) -> None:
        if not records:
            return
        try:
            keep(records)
        except Exception as error:
            kind = type(error).__name__
            say_once(f"receiver sink/{kind}", "the receiver's sink failed with %s; senders are told to try again", kind)
            raise Unavailable("the records could not be stored") from error
        self._counters.add("received", signal.value, len(records))
