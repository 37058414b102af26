"""Forks while another thread holds the locks that `record_feedback` takes; parent and child vote; prints both votes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from otel_llm_feedback import Recorder, Settings, record_feedback
from otel_llm_feedback.counters import DEFAULT_COUNTERS
from otel_llm_feedback.feedback.emit import LogEmitter
from otel_llm_feedback.spans.registry import CallRegistry, default_registry
from tests.feedback.world import SAMPLED, as_sent

HELD_FOR_SECONDS = 30.0


def main() -> None:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    recorder = Recorder(Settings(), logs=LogEmitter(provider))
    held, release = threading.Event(), threading.Event()

    registry = default_registry()
    assert isinstance(registry, CallRegistry)

    def hold() -> None:
        with DEFAULT_COUNTERS._lock, registry._lock:
            held.set()
            release.wait(HELD_FOR_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(HELD_FOR_SECONDS)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, vote(recorder, exporter).encode())
        os._exit(0)
    os.close(writing)
    answer = read(reading, child)
    release.set()
    thread.join()
    print(f"[{answer},{vote(recorder, exporter)}]")


def vote(recorder: Recorder, exporter: InMemoryLogRecordExporter) -> str:
    receipt = record_feedback(SAMPLED, True, comment="x" * 9000, user_id="u", recorder=recorder)
    [log] = as_sent(exporter.get_finished_logs())
    assert recorder.counters.total("emitted") == 1
    return json.dumps({"id": receipt.id, "status": receipt.status, "span_id": log["span_id"]})


def read(pipe: int, child: int) -> str:
    """What the child wrote, if it ended in time."""
    deadline = time.monotonic() + HELD_FOR_SECONDS / 2
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            sys.exit("the child hangs")
        time.sleep(0.01)
    return os.read(pipe, 65536).decode()


if __name__ == "__main__":
    main()
