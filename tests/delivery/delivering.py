"""What the tests of sender, courier and exporters share: spooled votes with known ids."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.courier import Courier
from otel_llm_feedback.delivery.endpoint import endpoint_from
from otel_llm_feedback.delivery.records import Signal
from otel_llm_feedback.delivery.retry import Backoff
from otel_llm_feedback.delivery.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from otel_llm_feedback.delivery.endpoint import Endpoint

QUICK = Backoff(initial_seconds=0.01, maximum_seconds=0.05)


def vote(feedback_id: str) -> bytes:
    """A request with one log record, which has this ``llm_feedback.id``."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(event_name="gen_ai.evaluation.result")
    record.attributes.add(key="llm_feedback.id").value.string_value = feedback_id
    return request.SerializeToString()


def names(count: int, start: int = 0) -> list[str]:
    return [f"vote-{number:04d}" for number in range(start, start + count)]


def endpoints(base: str, protocol: str = "http/protobuf", **options: Any) -> dict[Signal, Endpoint]:
    return {s: endpoint_from({}, s.value, endpoint=base, protocol=protocol, **options) for s in Signal}


def open_spool(directory: Path, counters: Counters | None = None) -> Spool:
    return Spool(directory, max_bytes=1 << 26, max_age_seconds=86_400.0, counters=counters or Counters())


def put_votes(target: Spool | Courier, ids: Iterable[str]) -> None:
    for feedback_id in ids:
        target.put(Signal.LOGS, vote(feedback_id), precious=True)


@contextlib.contextmanager
def courier_to(
    base: str,
    directory: Path,
    *,
    protocol: str = "http/protobuf",
    backoff: Backoff = QUICK,
    counters: Counters | None = None,
    **options: Any,
) -> Iterator[Courier]:
    counted = counters or Counters()
    courier = Courier(
        open_spool(directory, counted), endpoints(base, protocol, **options), backoff=backoff, counters=counted
    )
    try:
        yield courier
    finally:
        courier.shutdown(0.5)


def dead_ids(spool: Spool) -> list[str]:
    """The feedback ids among the dead letters."""
    found = []
    for letter in spool.dead_letters(limit=10_000):
        for logs in ExportLogsServiceRequest.FromString(letter.payload).resource_logs:
            for scope in logs.scope_logs:
                found += [record.attributes[0].value.string_value for record in scope.log_records]
    return found
