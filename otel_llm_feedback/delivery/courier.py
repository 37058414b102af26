"""The courier: one spool, one sender for each signal, and the one thread that runs them.

Callers only ever write to the disk; the network is the thread's. Every user of the same directory in a process shares one
courier, and a forked child makes its own thread, on its own spool file, with its first record. Nothing that a caller's
thread holds while it puts something in keeps a signal handler of that thread from doing the same.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial

from otel_llm_feedback.boundary import say_once, swallow
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.delivery.endpoint import Endpoint
from otel_llm_feedback.delivery.records import Signal
from otel_llm_feedback.delivery.retry import Backoff
from otel_llm_feedback.delivery.sender import IDLE, Sender
from otel_llm_feedback.delivery.spool import Spool
from otel_llm_feedback.delivery.transport import Transport, open_transport
from otel_llm_feedback.errors import SpoolError

__all__ = ["Courier", "FlushReport"]

PAUSE_SECONDS = 0.05
"""Between two requests while little is waiting: a lone vote leaves at once, a burst leaves in few requests."""

MAX_TAKEN = 16_384
"""Keys of `Courier.put_once` that are remembered; the SDK's queue between processor and exporter is far shorter."""

GRACE_SECONDS = 0.2
"""How much of the time for a shutdown is kept for interrupting a request that does not end."""

UPKEEP_SECONDS = 1.0
CLAIM_SECONDS = 30.0
"""Between two looks for what dead processes left, while there is nothing of the kind."""


@dataclass(frozen=True)
class FlushReport:
    """What a flush really did; true when all that was there when it was called has been settled.

    settled: records that left the spool meanwhile, delivered or as dead letters.
    remaining: records still in it, but for files that other processes hold; None without a spool, because the SDK does not say.
    last_failure: why the last request failed, "" if it did not.
    """

    complete: bool
    settled: int = 0
    remaining: int | None = None
    last_failure: str = ""

    def __bool__(self) -> bool:
        return self.complete


class Courier:
    """Owns a spool and delivers what is in it, for as long as it takes.

    endpoints: where each signal goes. Raises ConfigurationError for certificates that cannot be used.
    """

    def __init__(
        self,
        spool: Spool,
        endpoints: Mapping[Signal, Endpoint],
        *,
        backoff: Backoff | None = None,
        counters: Counters = DEFAULT_COUNTERS,
        open_transport: Callable[[Endpoint], Transport] = open_transport,
    ) -> None:
        self.spool = spool
        self.endpoints = dict(endpoints)
        self._backoff = backoff
        self._counters = counters
        self._transports = {signal: open_transport(endpoint) for signal, endpoint in self.endpoints.items()}
        self._reset()
        _follow_forks(self)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._senders = [
            Sender(
                self.spool, signal, self.endpoints[signal], transport, backoff=self._backoff, counters=self._counters
            )
            for signal, transport in self._transports.items()
        ]
        self._changed = threading.Condition()
        self._nudge = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = self._abandoned = self._stuck = self._idle = False
        # What has grown too old while nothing ran is tried once before it expires: a clock may have been wrong.
        self._upkeep_at, self._claim_at = time.monotonic() + UPKEEP_SECONDS, 0.0
        self._claims = self._orphans = 0
        self._once = threading.RLock()
        self._taken: OrderedDict[Hashable, None] = OrderedDict()

    # -- for those who put records in --

    def put(self, signal: Signal, payload: bytes, *, precious: bool) -> None:
        """Store one serialised export request durably, and see that somebody delivers it. Raises SpoolError."""
        self._notice_fork()
        self.spool.put(signal, payload, precious=precious)
        self._counters.add("spooled", signal.value)
        if self._thread is None:
            self.start()

    def put_once(self, key: Hashable, signal: Signal, encode: Callable[[], bytes], *, precious: bool) -> None:
        """`put`, unless the record of this key was put before: a processor and an exporter may both get to see it."""
        self._notice_fork()
        with self._once:
            if key in self._taken:
                return
            self.put(signal, encode(), precious=precious)
            self._taken[key] = None
            if len(self._taken) > MAX_TAKEN:
                self._taken.popitem(last=False)

    def start(self) -> None:
        """Start to deliver, also what earlier processes left behind. Does nothing when that goes on already."""
        self._notice_fork()
        with self._changed:
            if self._thread is None and not self._stopping:
                thread = threading.Thread(target=self._run, name="otel_llm_feedback courier", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # too many threads, or the interpreter is ending: what was put is safe
                    say_once("courier/no_thread", "nothing is delivered for now: %s", error)
                else:
                    self._thread = thread

    # -- for those who want to know --

    def flush(self, timeout_seconds: float, *, patient: bool = True) -> FlushReport:
        """Deliver what is in the spool now, without waiting out a back-off first; what came of it, within the time.

        patient: go on after a request that failed. Otherwise one try is enough.
        """
        deadline = time.monotonic() + timeout_seconds
        self.start()
        claims, self._stuck = self._claims, False
        self._hurry()
        with self._changed:  # what dead processes left is in the spool too
            self._changed.wait_for(lambda: self._claims > claims or self._stopping, timeout_seconds)
            goals, before = self._goals(), self._settled()
            self._changed.wait_for(
                lambda: self._is_done(goals) or (self._stuck and not patient), max(0.0, deadline - time.monotonic())
            )
        return self._report(goals, before)

    def shutdown(self, timeout_seconds: float) -> FlushReport:
        """Try once more to deliver everything, then stop, within the time. What is left stays in the spool."""
        deadline = time.monotonic() + timeout_seconds - min(GRACE_SECONDS, timeout_seconds / 4)
        self._notice_fork()
        goals, before = self._goals(), self._settled()
        if any(self._records().values()):
            self.start()
        self._stopping = True
        self._hurry()
        self._join(deadline)
        self._abandoned = True
        for transport in self._transports.values():
            transport.close()
        self._join(deadline + GRACE_SECONDS)
        self._orphans = 0
        report = self._report(goals, before)
        self.spool.close()
        return report

    def _join(self, deadline: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def _hurry(self) -> None:
        self._nudge.set()
        self.spool.ready.set()

    def _settled(self) -> int:
        return sum(sender.settled for sender in self._senders)

    def _records(self) -> Mapping[Signal, int]:
        return self.spool.stats().records

    def _goals(self) -> list[tuple[Sender, int]]:
        """Each sender, and what it will have settled when all that waits for it now has been."""
        records = self._records()
        return [(sender, sender.settled + records[sender.signal]) for sender in self._senders]

    def _is_done(self, goals: list[tuple[Sender, int]]) -> bool:
        if self._orphans:
            return False
        records = self._records()
        return all(
            not records[sender.signal] or (sender.settled >= goal and not sender.is_holding) for sender, goal in goals
        )

    def _report(self, goals: list[tuple[Sender, int]], before: int) -> FlushReport:
        failure = next((sender.last_failure for sender in self._senders if sender.last_failure), "")
        remaining = sum(self._records().values())
        return FlushReport(self._is_done(goals), self._settled() - before, remaining, failure)

    # -- the thread --

    def _run(self) -> None:
        while not self._abandoned:
            self.spool.ready.clear()
            nudged = self._nudge.is_set()
            if nudged:
                self._nudge.clear()
            self._guard(partial(self._keep_house, nudged))
            wait = self._round(nudged)
            if self._stopping and wait > 0 and not self._nudge.is_set():
                return
            self._rest(wait)

    def _guard(self, act: Callable[[], float]) -> float:
        """The result of ``act``; a second when it failed: a thread that dies delivers nothing ever again."""
        try:
            return act()
        except SpoolError as error:
            self._counters.add("delivery_failed", type(error).__name__)
            say_once(f"courier/{type(error).__name__}", "%s", error)
        except Exception as error:  # noqa: BLE001 - see above
            swallow("Courier", error)
        return UPKEEP_SECONDS

    def _keep_house(self, nudged: bool) -> float:
        """Maintain the spool, and look for what dead processes left: as often as needed, and more often while there is some."""
        now = time.monotonic()
        drained = self._idle and self._orphans > 0
        if drained or now >= self._upkeep_at:
            self._upkeep_at = now + UPKEEP_SECONDS
            self.spool.maintain()
        if drained or now >= self._claim_at or (nudged and not self._stopping):
            self._claim_at = now + CLAIM_SECONDS
            try:
                self._orphans = self.spool.claim_orphans()
            finally:
                with self._changed:
                    self._claims += 1
                    self._changed.notify_all()
        return 0.0

    def _round(self, nudged: bool) -> float:
        """One step of every sender; how long nothing can be done unless something new comes."""
        if nudged:
            for sender in self._senders:
                sender.hurry()
        wait = min((self._guard(sender.step) for sender in self._senders), default=IDLE)
        with self._changed:
            self._idle = wait == IDLE
            self._stuck = self._stuck or (nudged and wait > 0)
            self._changed.notify_all()
        return 0.0 if self._idle and self._orphans else wait

    def _rest(self, wait: float) -> None:
        if wait > 0:
            if wait != IDLE:
                # Somebody waits out a back-off. Every new record wakes this thread, for the other signal's sake, but during
                # an outage a burst must not have it run beside the application for nothing.
                self._nudge.wait(min(wait, PAUSE_SECONDS))
            self.spool.ready.wait(min(wait, UPKEEP_SECONDS))
        elif not any(sender.is_busy for sender in self._senders):
            self._nudge.wait(PAUSE_SECONDS)

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():  # a fork in C, which ran no hooks
            self._become_child()

    def _become_child(self) -> None:
        """After a fork: the parent's thread, and the pieces that it was sending, are the parent's."""
        self._reset()


def _follow_forks(courier: Courier) -> None:
    alive = weakref.ref(courier)

    def tell() -> None:
        known = alive()
        if known is not None:
            known._become_child()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=tell)
