"""OTLP requests as JSON lines, which is what the collector's ``otlpjsonfile`` receiver reads.

OTLP/JSON is protobuf's own JSON mapping with two exceptions: ids are hexadecimal, and enums are numbers (source:
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm_feedback.delivery.records import Signal

__all__ = ["Unreadable", "otlp_json_line"]

_REQUESTS: Final = {Signal.LOGS: ExportLogsServiceRequest, Signal.TRACES: ExportTraceServiceRequest}
_RECORDS: Final = {
    Signal.LOGS: ("resourceLogs", "scopeLogs", "logRecords"),
    Signal.TRACES: ("resourceSpans", "scopeSpans", "spans"),
}
_IDS: Final = ("traceId", "spanId", "parentSpanId")


class Unreadable(ValueError):
    """The bytes are not the request that they should be. What they are stays untold."""


def otlp_json_line(signal: Signal, payload: bytes) -> bytes:
    """A serialised export request as one line of UTF-8 with its line feed. Raises `Unreadable`."""
    request = _REQUESTS[signal]()
    try:
        request.ParseFromString(payload)
    except (DecodeError, TypeError, ValueError):  # TypeError: a damaged file may give text; ValueError: invalid UTF-8
        raise Unreadable("not an OTLP request") from None
    tree = MessageToDict(request, use_integers_for_enums=True)
    for holder in _holders(tree, *_RECORDS[signal]):
        for name in _IDS:
            if name in holder:
                holder[name] = base64.b64decode(holder[name]).hex()
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _holders(tree: dict[str, Any], groups: str, scopes: str, records: str) -> Iterator[dict[str, Any]]:
    """Everything that has ids: log records, or spans and their links."""
    for group in tree.get(groups, ()):
        for scope in group.get(scopes, ()):
            for record in scope.get(records, ()):
                yield record
                yield from record.get("links", ())
