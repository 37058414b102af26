"""Run as ``python -m``: puts, delivers and buries until its standard input ends, then says what became of what."""

from __future__ import annotations

import json
import sys
import threading
import time

from otel_llm_feedback.delivery.spool import Signal, Spool
from tests.delivery.delivering import vote


def deliver(spool: Spool, delivered: list[str], *, bury_every: int = 0) -> None:
    batch = spool.batch(Signal.LOGS, 1 << 20, 50)
    doomed = [n for n in range(len(batch)) if bury_every and n % bury_every == 0]
    kept = [n for n in range(len(batch)) if n not in doomed]
    spool.bury([batch.ids[n] for n in doomed], "http_400", "no")
    delivered += [batch.payloads[n].hex() for n in kept]
    spool.delivered([batch.ids[n] for n in kept])
    spool.maintain()


def main(directory: str) -> None:
    spool = Spool(directory, max_bytes=1 << 30, max_age_seconds=1e6)
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    delivered: list[str] = []
    number, slowest = 0, 0.0
    while not ended.is_set():
        for _ in range(40):
            before = time.perf_counter()
            spool.put(Signal.LOGS, vote(f"busy-{number}"), precious=True)
            slowest = max(slowest, time.perf_counter() - before)
            number += 1
        deliver(spool, delivered, bury_every=7)
        if number == 4000:
            print("started", flush=True)
    while spool.batch(Signal.LOGS, 1 << 20, 1):
        deliver(spool, delivered)
    spool.close()
    print(json.dumps({"put": number, "delivered": delivered, "slowest": slowest}), flush=True)


main(sys.argv[1])
