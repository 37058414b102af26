"""SpoolLogRecordProcessor: feedback is on disk before `Logger.emit` returns."""

from __future__ import annotations

from collections.abc import Hashable

from otel_llm_feedback import attributes as names
from otel_llm_feedback.boundary import say_once, swallow
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.delivery.courier import Courier
from otel_llm_feedback.delivery.encode import ReadableLog, encode_log
from otel_llm_feedback.delivery.records import Signal
from otel_llm_feedback.delivery.shared import release
from otel_llm_feedback.errors import SpoolError, SpoolFull
from otel_llm_feedback.otel_logs import LogRecordProcessor, ReadWriteLogRecord
from otel_llm_feedback.slip import current_slip

__all__ = ["SpoolLogRecordProcessor", "feedback_key"]


class SpoolLogRecordProcessor(LogRecordProcessor):
    """Puts feedback into the spool, in the thread that records it: the SDK calls processors before ``emit`` returns.

    Other log records are not its business; `SpoolLogExporter` takes those, in batches. What the spool cannot take shows in the
    Receipt and is counted as ("dropped", "spool_full" or "spool_unavailable").
    """

    def __init__(self, courier: Courier, *, counters: Counters = DEFAULT_COUNTERS) -> None:
        self._courier = courier
        self._counters = counters
        self._released = False

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Called by the SDK, in the application's thread."""
        try:
            key = feedback_key(log_record)
            if key is not None:
                self._spool(log_record, key)
        except Exception as error:  # noqa: BLE001 - the SDK would pass it into the application
            swallow("SpoolLogRecordProcessor", error)

    def _spool(self, record: ReadWriteLogRecord, key: Hashable) -> None:
        slip = current_slip()
        try:
            self._courier.put_once(key, Signal.LOGS, lambda: encode_log(record, self._counters), precious=True)
        except SpoolError as error:
            failure = refusal(error)
            say_once(failure, "feedback is not on disk: %s", error)
            if slip is None:
                self._counters.add("dropped", failure)
            else:
                slip.failure = failure
        else:
            if slip is not None:
                slip.spooled = True

    def shutdown(self) -> None:
        """Let go of the courier; the last user ends it, after a last try to deliver. A second time does nothing."""
        if not self._released:
            self._released = True
            release(self._courier)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Everything is on disk already; `Pipeline.flush` waits until it is delivered."""
        return True


def feedback_key(record: ReadableLog) -> Hashable | None:
    """What tells this feedback event from every other; None for other log records."""
    attributes = record.log_record.attributes
    if not attributes or names.ID not in attributes:
        return None
    return (record.log_record.event_name, attributes[names.ID], attributes.get(names.REVISION))


def refusal(error: SpoolError) -> str:
    """The reason under which a refused record is counted."""
    return "spool_full" if isinstance(error, SpoolFull) else "spool_unavailable"
