"""What happened to everything we were given: counted by outcome and reason, readable in process and as OTel metrics.

The names of outcomes and reasons are API: dashboards and alerts are built on them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_llm_feedback import attributes as names

__all__ = ["DEFAULT_COUNTERS", "Counters"]


class Counters:
    """Thread-safe counts keyed by (outcome, reason).

    ``snapshot()`` gives them in process; ``publish(meter)`` makes them the observable counter ``llm_feedback.outcomes``
    with the attributes ``llm_feedback.outcome`` and ``llm_feedback.reason``.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may count, too, in the thread that it interrupts
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, outcome: str, reason: str = "", count: int = 1) -> None:
        """Count ``count`` more things that ended as ``outcome`` because of ``reason`` ("" when nothing went wrong)."""
        key = (outcome, reason)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + count

    def snapshot(self) -> dict[tuple[str, str], int]:
        """A copy of every count so far, keyed by (outcome, reason)."""
        with self._lock:
            return dict(self._counts)

    def total(self, outcome: str, reason: str | None = None) -> int:
        """The count of one outcome, over all reasons unless one is named."""
        return sum(n for (o, r), n in self.snapshot().items() if o == outcome and reason in (None, r))

    def publish(self, meter: Meter) -> None:
        """Register the observable counter on ``meter``; call it once per meter."""
        meter.create_observable_counter(
            "llm_feedback.outcomes",
            callbacks=[self._observe],
            unit="{event}",
            description="What became of each feedback event and captured call, by outcome and reason.",
        )

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        for (outcome, reason), count in self.snapshot().items():
            labels = {names.OUTCOME: outcome, **({names.REASON: reason} if reason else {})}
            yield Observation(count, labels)

    def reset_lock_after_fork(self) -> None:
        """Replace the lock, which another thread of the parent may have held at the fork."""
        self._lock = threading.RLock()


DEFAULT_COUNTERS = Counters()
"""The process-wide counts, used wherever no others are given."""
