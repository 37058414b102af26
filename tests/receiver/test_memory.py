from __future__ import annotations

import threading

import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.receiver import Limits, MemorySink
from otel_llm_feedback.receiver.decode import decode_logs, decode_spans
from tests.receiver.requests import TIMEOUT, logs, span, traces

SPANS = decode_spans(traces(*(span(name=str(n)) for n in range(5))), 1000).spans
LOGS = decode_logs(logs(*(LogRecord(event_name=str(n)) for n in range(5))), 1000)


def test_the_newest_are_kept_and_the_rest_counted() -> None:
    sink = MemorySink(max_spans=3, max_logs=2)
    sink.add_spans(SPANS[:2])
    sink.add_spans(SPANS[2:])
    sink.add_logs(LOGS)
    assert [span.name for span in sink.spans] == ["2", "3", "4"]
    assert [log.event_name for log in sink.logs] == ["3", "4"]
    assert (sink.evicted_spans, sink.evicted_logs) == (2, 3)


def test_a_snapshot_does_not_change() -> None:
    sink = MemorySink()
    before = sink.spans
    sink.add_spans(SPANS)
    assert before == ()
    assert len(sink.spans) == 5


def test_waiting_ends_with_the_arrival() -> None:
    sink = MemorySink()
    arrivals = [
        threading.Thread(target=sink.add_spans, args=(SPANS,)),
        threading.Thread(target=sink.add_logs, args=(LOGS,)),
    ]
    for arrival in arrivals:
        arrival.start()
    assert sink.wait_for(lambda: len(sink.spans) == 5 and len(sink.logs) == 5, TIMEOUT)
    for arrival in arrivals:
        arrival.join()


def test_waiting_ends_with_the_time_out() -> None:
    assert not MemorySink().wait_for(lambda: False, 0.01)


@pytest.mark.parametrize("name", ["max_spans", "max_logs"])
def test_a_bound_below_one_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=0"):
        MemorySink(**{name: 0})


@pytest.mark.parametrize("name", ["max_http_body_bytes", "max_connections", "request_timeout_seconds"])
def test_limits_are_above_zero(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=-1"):
        Limits(**{name: -1})
