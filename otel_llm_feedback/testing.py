"""For the tests of applications: what they recorded, without a collector.

    from otel_llm_feedback.testing import capture_feedback

    def test_a_thumb_lands_on_the_answer() -> None:
        with capture_feedback() as captured:
            reply = client.post("/chat", json={"text": "hi"}).json()
            client.post("/feedback", json={"id": reply["feedback_id"], "good": True})
        vote = captured.one(name="user_feedback")
        assert vote.score == 1.0
        assert vote.trace_id == reply["feedback_id"][:32]

As a pytest fixture, in conftest.py:

    @pytest.fixture
    def feedback() -> Iterator[FeedbackCapture]:
        with capture_feedback() as captured:
            yield captured
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from otel_llm_feedback import attributes as names
from otel_llm_feedback.feedback.emit import LogEmitter
from otel_llm_feedback.feedback.recorder import Recorder, default_recorder, set_default_recorder
from otel_llm_feedback.otel_logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from otel_llm_feedback.settings import Settings

__all__ = ["CapturedFeedback", "FeedbackCapture", "capture_feedback"]


@dataclass(frozen=True)
class CapturedFeedback:
    """One record as it would have been sent. Ids are lower-case hex, "" where there is none; time is ns since the epoch."""

    event_name: str
    trace_id: str
    span_id: str
    timestamp: int
    attributes: Mapping[str, Any]

    @property
    def id(self) -> str:
        """``llm_feedback.id``."""
        return str(self.attributes[names.ID])

    @property
    def name(self) -> str | None:
        """What was judged."""
        return self.attributes.get(names.EVALUATION_NAME)

    @property
    def operation(self) -> str | None:
        """create, update or retract."""
        return self.attributes.get(names.OPERATION)

    @property
    def score(self) -> float | None:
        """The score."""
        return self.attributes.get(names.SCORE_VALUE)

    @property
    def label(self) -> str | None:
        """The category."""
        return self.attributes.get(names.SCORE_LABEL)

    @property
    def comment(self) -> str | None:
        """The comment, redacted as it would have been sent."""
        return self.attributes.get(names.EXPLANATION)


class FeedbackCapture(LogRecordProcessor):
    """Everything that was recorded, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[CapturedFeedback] = []

    @property
    def all(self) -> list[CapturedFeedback]:
        """A copy of what there is so far."""
        with self._lock:
            return list(self._all)

    def where(self, **expected: Any) -> list[CapturedFeedback]:
        """Those whose properties (score, label, trace_id, …) have these values."""
        return [each for each in self.all if all(getattr(each, name) == value for name, value in expected.items())]

    def one(self, **expected: Any) -> CapturedFeedback:
        """The only one with these values. Raises AssertionError, showing all, if there is none or more than one."""
        found = self.where(**expected)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} of these match {expected}: {self.all}")
        return found[0]

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Called by the SDK."""
        record = log_record.log_record
        captured = CapturedFeedback(
            record.event_name or "",
            f"{record.trace_id:032x}" if record.trace_id else "",
            f"{record.span_id:016x}" if record.span_id else "",
            record.timestamp or 0,
            dict(record.attributes or {}),
        )
        with self._lock:
            self._all.append(captured)

    def shutdown(self) -> None:
        """Nothing to close."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is buffered."""
        return True


@contextmanager
def capture_feedback(settings: Settings | None = None) -> Iterator[FeedbackCapture]:
    """Capture what is recorded in this block, by any thread, instead of sending it.

    settings: instead of those in force. The call registry stays the one in use, so dimensions are copied as ever.
    """
    captured = FeedbackCapture()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(captured)
    before = default_recorder()
    using = settings if settings is not None else before.settings
    set_default_recorder(Recorder(using, before.registry, logs=LogEmitter(provider), span_events=before.span_events))
    try:
        yield captured
    finally:
        set_default_recorder(before)
