"""A sink that keeps the newest records in memory."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from otel_llm_feedback.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm_feedback.receiver.records import ReceivedLog, ReceivedSpan

__all__ = ["MemorySink"]


class MemorySink:
    """Thread-safe and bounded: beyond ``max_spans`` or ``max_logs`` the oldest are evicted and counted.

    Raises `ConfigurationError` when a bound is below 1.
    """

    def __init__(self, *, max_spans: int = 10_000, max_logs: int = 10_000) -> None:
        for name, value in (("max_spans", max_spans), ("max_logs", max_logs)):
            if value < 1:
                raise ConfigurationError(name, value, "give a whole number of at least 1")
        self._changed = threading.Condition()
        self._spans: deque[ReceivedSpan] = deque(maxlen=max_spans)
        self._logs: deque[ReceivedLog] = deque(maxlen=max_logs)
        self._added_spans = self._added_logs = 0

    @property
    def spans(self) -> tuple[ReceivedSpan, ...]:
        """A copy of what is kept, oldest first."""
        with self._changed:
            return tuple(self._spans)

    @property
    def logs(self) -> tuple[ReceivedLog, ...]:
        """A copy of what is kept, oldest first."""
        with self._changed:
            return tuple(self._logs)

    @property
    def evicted_spans(self) -> int:
        """How many were given up for newer ones."""
        with self._changed:
            return self._added_spans - len(self._spans)

    @property
    def evicted_logs(self) -> int:
        """How many were given up for newer ones."""
        with self._changed:
            return self._added_logs - len(self._logs)

    def add_spans(self, spans: list[ReceivedSpan], /) -> None:
        """Keep these spans (the receiver calls this)."""
        with self._changed:
            self._spans.extend(spans)
            self._added_spans += len(spans)
            self._changed.notify_all()

    def add_logs(self, logs: list[ReceivedLog], /) -> None:
        """Keep these log records (the receiver calls this)."""
        with self._changed:
            self._logs.extend(logs)
            self._added_logs += len(logs)
            self._changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], timeout_seconds: float) -> bool:
        """Whether ``predicate()``, asked again after every arrival, became true in time. It may read this sink."""
        with self._changed:
            return self._changed.wait_for(predicate, timeout_seconds)
