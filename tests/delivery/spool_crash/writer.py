"""Run as ``python -m``: uses a spool and says on standard output how far it got, so that a test can kill it there."""

from __future__ import annotations

import os
import sys
import time

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.spool import Signal, Spool


def say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


def block() -> None:
    """Until the parent, which holds the other end, goes away: that is, for as long as it takes to be killed."""
    os.read(0, 1)


class BlockingCounters(Counters):
    """Stops inside the spool, at the moment something is counted."""

    def add(self, outcome: str, reason: str = "", count: int = 1) -> None:
        say(f"counting {outcome}")
        block()


class BlockingClock:
    """Tells the time so many times, then stops: inside the put, before anything is written."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self) -> float:
        self.calls -= 1
        if self.calls < 0:
            say("inside")
            block()
        return time.time()


def put(spool: Spool, name: str, *, precious: bool = True) -> None:
    spool.put(Signal.LOGS, name.encode(), precious=precious)


def put_for_ever(directory: str, prefix: str) -> None:
    spool = Spool(directory, max_bytes=1 << 30, max_age_seconds=1e6)
    number = 0
    while True:
        put(spool, f"{prefix}-{number}")
        say(f"{prefix}-{number}")
        number += 1
        if number % 50 == 0:
            spool.maintain()


def stop_inside_put(directory: str) -> None:
    spool = Spool(directory, max_bytes=1 << 20, max_age_seconds=1e6, clock=BlockingClock(3))
    for number in range(4):
        put(spool, f"a-{number}")
        say(f"a-{number}")


def stop_after_put(directory: str) -> None:
    spool = Spool(directory, max_bytes=1 << 20, max_age_seconds=1e6)
    for number in range(3):
        put(spool, f"a-{number}")
        say(f"a-{number}")
    say("inside")
    block()


def stop_between_batch_and_delivered(directory: str) -> None:
    spool = Spool(directory, max_bytes=1 << 20, max_age_seconds=1e6)
    spool.claim_orphans()
    batch = spool.batch(Signal.LOGS, 1 << 20, 100)
    say(f"holding {len(batch)}")
    block()


def stop_after_delivered(directory: str) -> None:
    spool = Spool(directory, max_bytes=1 << 20, max_age_seconds=1e6)
    spool.claim_orphans()
    batch = spool.batch(Signal.LOGS, 1 << 20, 2)
    spool.delivered(batch.ids)
    for payload in batch.payloads:
        say(payload.decode())
    say("inside")
    block()


def stop_after_claim(directory: str) -> None:
    spool = Spool(directory, max_bytes=1 << 20, max_age_seconds=1e6)
    spool.claim_orphans()
    say(f"claimed {spool.stats().records[Signal.LOGS]}")
    block()


def stop_inside_eviction(directory: str) -> None:
    """Counting happens after the eviction, before the put that needed the room."""
    spool = Spool(directory, max_bytes=400, max_age_seconds=1e6, counters=BlockingCounters())
    number = 0
    while True:
        put(spool, f"{number}".rjust(68, "x"))
        say(str(number))
        number += 1


def stop_inside_bury(directory: str) -> None:
    spool = Spool(directory, max_bytes=1 << 20, max_age_seconds=1e6, counters=BlockingCounters())
    spool.claim_orphans()
    spool.bury(spool.batch(Signal.LOGS, 1 << 20, 1).ids, "refused")


def put_and_exit(directory: str, prefix: str, count: str) -> None:
    spool = Spool(directory, max_bytes=1 << 30, max_age_seconds=1e6)
    for number in range(int(count)):
        put(spool, f"{prefix}-{number}")
    say("done")
    os._exit(0)


def race_for_orphans(directory: str) -> None:
    """Two of these start together, and drain whatever they get until told to stop."""
    spool = Spool(directory, max_bytes=1 << 30, max_age_seconds=1e6)
    os.read(0, 1)
    spool.claim_orphans()
    while batch := spool.batch(Signal.LOGS, 1 << 20, 64):
        spool.delivered(batch.ids)
        for payload in batch.payloads:
            say(payload.decode())
    spool.close()
    say("done")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
