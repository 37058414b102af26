"""Exporters whose exports succeed when the records are on disk; the courier delivers them from there.

Usable in any SDK pipeline, by hand or by the name ``llm_feedback_spool`` in ``OTEL_TRACES_EXPORTER``, ``OTEL_LOGS_EXPORTER``
and declarative configuration. What waits in the SDK's own batch processor before them is still only in memory.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_llm_feedback.attributes import SERVICE_NAME
from otel_llm_feedback.boundary import say_once, swallow
from otel_llm_feedback.counters import DEFAULT_COUNTERS
from otel_llm_feedback.delivery.encode import encode_log, encode_span
from otel_llm_feedback.delivery.processor import SpoolLogRecordProcessor, feedback_key, refusal
from otel_llm_feedback.delivery.records import Signal
from otel_llm_feedback.delivery.shared import acquire, release, share
from otel_llm_feedback.errors import SpoolError
from otel_llm_feedback.otel_logs import LogRecordExporter, LogRecordExportResult, ReadableLogRecord

T = TypeVar("T")

__all__ = ["SpoolLogExporter", "SpoolSpanExporter"]


class _Spooling:
    """What both exporters share: a courier, and how they say that it could not take something.

    spool_dir: where the spool is; by default ``OTEL_LLM_FEEDBACK_SPOOL_DIR``, else one for ``service_name`` (by default the
        resource's) in the user's state directory.
    endpoint, protocol, headers: where it is delivered to; by default as the ``OTEL_EXPORTER_OTLP_*`` variables say.
    fsync: survive power loss too, at the price of a disk flush for each record.
    Raises ConfigurationError and SpoolError.
    """

    def __init__(
        self,
        *,
        spool_dir: str | os.PathLike[str] | None = None,
        endpoint: str | None = None,
        protocol: str | None = None,
        headers: Mapping[str, str] | None = None,
        service_name: str | None = None,
        fsync: bool = False,
    ) -> None:
        self._released = False
        self.courier = acquire(
            os.environ,
            service_name=service_name or str(Resource.create().attributes.get(SERVICE_NAME, "")),
            spool_dir=spool_dir,
            endpoint=endpoint,
            protocol=protocol,
            headers=headers,
            fsync=fsync,
        )

    def shutdown(self) -> None:
        """Let go of the courier; the last user ends it, after a last try to deliver. A second time does nothing."""
        if not self._released:
            self._released = True
            release(self.courier)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Everything that was exported is on disk already."""
        return True

    def _try(self, put: Callable[[T], None], record: T) -> bool:
        try:
            put(record)
        except SpoolError as error:
            DEFAULT_COUNTERS.add("dropped", refusal(error))
            say_once(refusal(error), "%s", error)
            return False
        except Exception as error:  # noqa: BLE001 - an exporter must not raise, and one bad record must not stop the others
            swallow(type(self).__name__, error)
            DEFAULT_COUNTERS.add("dropped", "internal_error")
            return False
        return True


class SpoolSpanExporter(_Spooling, SpanExporter):
    """Spans into the spool; they give way to feedback when it is full."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Store every span; FAILURE if the spool could not take them all."""
        stored = [self._try(self._store, span) for span in spans]
        return SpanExportResult.SUCCESS if all(stored) else SpanExportResult.FAILURE

    def _store(self, span: ReadableSpan) -> None:
        self.courier.put(Signal.TRACES, encode_span(span), precious=False)


class SpoolLogExporter(_Spooling, LogRecordExporter):
    """Log records into the spool, but for the feedback that `SpoolLogRecordProcessor` has put there already."""

    made: ClassVar[weakref.WeakSet[SpoolLogExporter]] = weakref.WeakSet()
    """Those of this process: where one was made by name, the processor can be added beside it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.made.add(self)

    def processor(self) -> SpoolLogRecordProcessor:
        """The processor that belongs beside this exporter."""
        return SpoolLogRecordProcessor(share(self.courier))

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Store every record; FAILURE if the spool could not take them all."""
        stored = [self._try(self._store, record) for record in batch]
        return LogRecordExportResult.SUCCESS if all(stored) else LogRecordExportResult.FAILURE

    def _store(self, record: ReadableLogRecord) -> None:
        key = feedback_key(record)
        if key is None:
            self.courier.put(Signal.LOGS, encode_log(record), precious=False)
        else:
            self.courier.put_once(key, Signal.LOGS, lambda: encode_log(record), precious=True)
