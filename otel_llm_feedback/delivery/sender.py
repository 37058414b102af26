"""From the spool to the collector, one request at a time. Decides nothing itself: `retry.decide` does.

A `Sender` has no thread and no clock of its own: whoever calls `step` is told how long to wait before the next call.
"""

from __future__ import annotations

import random
import time
from collections import deque
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from otel_llm_feedback.boundary import say_once
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.delivery.answer import Failure
from otel_llm_feedback.delivery.retry import Action, Backoff, Decision, decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm_feedback.delivery.answer import Answer
    from otel_llm_feedback.delivery.endpoint import Endpoint
    from otel_llm_feedback.delivery.records import RecordId, Signal
    from otel_llm_feedback.delivery.spool import Spool
    from otel_llm_feedback.delivery.transport import Transport

__all__ = ["IDLE", "Sender"]

IDLE = float("inf")
"""What `Sender.step` returns when there is nothing left to do until something new is put."""

BATCH_BYTES = 2 * 1024 * 1024
BATCH_COUNT = 4096
BUSY_COUNT = 256
"""Records in one batch from which on there is no point in waiting for more."""

MAX_HELD = 64
"""Single records that a server fails on, set aside while the others go ahead. With more, it is the server that is ill."""

LOUD = {
    Action.HOLD: "%s is not accepted by %r (%s): nothing is lost, it is kept and tried again, but somebody has to look",
    Action.PARTIALLY_REJECTED: "some %s were rejected by %r (%s); the batch is kept among the dead letters",
}


class Piece(NamedTuple):
    """Part of a batch, as it is sent: whole at first, halved when something in it is refused."""

    ids: tuple[RecordId, ...]
    payloads: tuple[bytes, ...]
    attempts: int = 0

    def halves(self) -> tuple[Piece, Piece]:
        """Two pieces; the first is never smaller."""
        middle = (len(self.ids) + 1) // 2
        return Piece(self.ids[:middle], self.payloads[:middle]), Piece(self.ids[middle:], self.payloads[middle:])


class Held(NamedTuple):
    """A record set aside: when to try it again, and the piece that it is."""

    due: float
    piece: Piece


class Sender:
    """Delivers the records of one signal from a spool to one endpoint. Not thread-safe: one thread steps it.

    random, monotonic: sources of jitter in [0, 1) and of seconds.
    """

    def __init__(
        self,
        spool: Spool,
        signal: Signal,
        endpoint: Endpoint,
        transport: Transport,
        *,
        backoff: Backoff | None = None,
        counters: Counters = DEFAULT_COUNTERS,
        random: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.signal = signal
        self.settled = 0
        self.last_failure = ""
        self.is_busy = False
        self._spool = spool
        self._endpoint = endpoint
        self._transport = transport
        self._backoff = backoff if backoff is not None else Backoff()
        self._counters = counters
        self._random = random
        self._monotonic = monotonic
        self._pieces: deque[Piece] = deque()
        self._held: dict[RecordId, Held] = {}
        self._due = 0.0
        self._failures = 0

    @property
    def is_holding(self) -> bool:
        """Whether records were set aside, to be tried again later while others overtake them."""
        return bool(self._held)

    def hurry(self) -> None:
        """Forget every wait: somebody wants to know now."""
        self._due = 0.0
        self._held = {record: Held(0.0, held.piece) for record, held in self._held.items()}

    def step(self) -> float:
        """Send at most one request; returns the seconds to wait before the next call. Raises SpoolError."""
        now = self._monotonic()
        if now < self._due:
            return self._due - now
        piece = self._next_piece(now)
        if piece is None:
            return max(0.0, min(held.due for held in self._held.values()) - now) if self._held else IDLE
        answer = self._transport.send(b"".join(piece.payloads), timeout_seconds=self._endpoint.timeout_seconds)
        if answer.code is not Failure.INTERRUPTED:
            self._act(piece, decide(answer, piece.attempts), answer)
        return max(0.0, self._due - self._monotonic())

    def _next_piece(self, now: float) -> Piece | None:
        if self._pieces:
            return self._pieces[0]
        for record, held in self._held.items():
            if held.due <= now:
                del self._held[record]
                self._pieces.append(held.piece)
                return held.piece
        return self._fetch()

    def _fetch(self) -> Piece | None:
        held = self._held
        size = sum(len(payload) for each in held.values() for payload in each.piece.payloads)
        limit = min(BATCH_BYTES, self._endpoint.size_limit)
        batch = self._spool.batch(self.signal, limit + size, BATCH_COUNT + len(held))
        ids, payloads = batch.ids, batch.payloads
        if held:
            free = [record not in held for record in ids]
            ids, payloads = tuple(compress(ids, free)), tuple(compress(payloads, free))
        self.is_busy = len(ids) >= BUSY_COUNT
        if not ids:
            return None
        self._pieces.append(Piece(ids, payloads))
        return self._pieces[0]

    def _act(self, piece: Piece, decision: Decision, answer: Answer) -> None:
        action = decision.action
        self.last_failure = "" if action is Action.DELIVERED else decision.reason
        if action in LOUD:
            say_once(
                f"{self._endpoint!r}/{decision.reason}",
                LOUD[action],
                self.signal.value,
                self._endpoint,
                decision.reason,
            )
        if action is Action.DELIVERED or action is Action.PARTIALLY_REJECTED:
            self._accepted(piece, decision, answer)
        elif action in (Action.RETRY, Action.HOLD):
            self._keep(piece, decision)
        elif len(piece.ids) == 1:
            self._give_up(piece, decision, answer)
        else:
            self._halve(piece, decision)

    def _accepted(self, piece: Piece, decision: Decision, answer: Answer) -> None:
        self._failures = 0
        self._pieces.popleft()
        self._counters.add("delivered", self.signal.value, len(piece.ids) - min(decision.rejected, len(piece.ids)))
        if answer.garbled:
            self._counters.add("garbled_answer", decision.reason)
        if decision.action is Action.PARTIALLY_REJECTED:
            # The answer does not say which ones: sending all again would duplicate the others.
            self._counters.add("rejected", self.signal.value, decision.rejected)
            self._spool.bury(piece.ids, "partially_rejected", answer.message)
            self.settled += len(piece.ids)
        else:
            self.settled += len(piece.ids)  # also if it cannot be deleted now: it will not come again
            self._spool.delivered(piece.ids)

    def _keep(self, piece: Piece, decision: Decision) -> None:
        self._counters.add("retried", decision.reason, len(piece.ids))
        self._pieces[0] = piece._replace(attempts=piece.attempts + 1)
        self._wait(decision)

    def _wait(self, decision: Decision) -> None:
        if decision.action is Action.HOLD:
            seconds = self._backoff.hold(self._random, decision.retry_after_seconds)
        else:
            seconds = self._backoff.delay(self._failures, self._random, decision.retry_after_seconds)
        self._failures += 1
        self._due = self._monotonic() + seconds

    def _halve(self, piece: Piece, decision: Decision) -> None:
        self._pieces.popleft()
        self._pieces.extendleft(reversed(piece.halves()))
        self.is_busy = True
        if decision.action is Action.ISOLATE:
            self._wait(decision)

    def _give_up(self, piece: Piece, decision: Decision, answer: Answer) -> None:
        """On one record: it is a dead letter if its data is to blame, and set aside if that is not sure."""
        if decision.action is not Action.ISOLATE:
            self._pieces.popleft()
            self._spool.bury(piece.ids, decision.reason, answer.message)
            self.settled += 1
        elif len(self._held) < MAX_HELD:
            self._pieces.popleft()
            self._counters.add("held", decision.reason)
            due = self._monotonic() + self._backoff.hold(self._random, decision.retry_after_seconds)
            self._held[piece.ids[0]] = Held(due, piece._replace(attempts=piece.attempts + 1))
        else:
            self._keep(piece, Decision(Action.HOLD, decision.reason, decision.retry_after_seconds))
