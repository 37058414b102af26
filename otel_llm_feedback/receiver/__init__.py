"""An embedded OTLP receiver (gRPC and HTTP/protobuf) for demonstrations, tests and a local viewer.

Decoding (`decode`), accepting (`ingest`), serving (`http`, `grpc`) and keeping (`memory`) are separate: another store
is another `Sink`.
"""

from __future__ import annotations

from otel_llm_feedback.receiver.ingest import Sink
from otel_llm_feedback.receiver.limits import Limits
from otel_llm_feedback.receiver.memory import MemorySink
from otel_llm_feedback.receiver.records import AttributeValue, ReceivedLog, ReceivedSpan, SpanEvent, SpanLink
from otel_llm_feedback.receiver.server import Receiver

__all__ = [
    "AttributeValue",
    "Limits",
    "MemorySink",
    "ReceivedLog",
    "ReceivedSpan",
    "Receiver",
    "Sink",
    "SpanEvent",
    "SpanLink",
]
