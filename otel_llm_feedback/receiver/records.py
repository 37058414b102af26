"""What a request holds, as frozen values. Field names are those of OTLP (trace.proto, logs.proto), with scope and
resource written out flat. Times are nanoseconds since the Unix epoch, 0 when unknown; ids are lower-case hex, "" when
absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, Union

__all__ = ["AttributeValue", "Attributes", "ReceivedLog", "ReceivedSpan", "SpanEvent", "SpanLink"]

AttributeValue: TypeAlias = Union[
    str, bool, int, float, bytes, "tuple[AttributeValue, ...]", "Mapping[str, AttributeValue]", None
]
"""An OTLP AnyValue: an array is a tuple, a key-value list is a mapping, an empty value is None."""

Attributes: TypeAlias = Mapping[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened at one moment of a span."""

    name: str
    time_unix_nano: int
    attributes: Attributes
    dropped_attributes_count: int


@dataclass(frozen=True, slots=True)
class SpanLink:
    """A pointer to another span; its ids are "" when the sender's were invalid."""

    trace_id: str
    span_id: str
    trace_state: str
    flags: int
    attributes: Attributes
    dropped_attributes_count: int


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One ended span. ``kind`` and ``status_code`` are the numbers of OTLP's enums (status 0 unset, 1 ok, 2 error)."""

    trace_id: str
    span_id: str
    parent_span_id: str
    trace_state: str
    flags: int
    name: str
    kind: int
    start_time_unix_nano: int
    end_time_unix_nano: int
    attributes: Attributes
    dropped_attributes_count: int
    events: tuple[SpanEvent, ...]
    dropped_events_count: int
    links: tuple[SpanLink, ...]
    dropped_links_count: int
    status_code: int
    status_message: str
    scope_name: str
    scope_version: str
    scope_attributes: Attributes
    resource_attributes: Attributes


@dataclass(frozen=True, slots=True)
class ReceivedLog:
    """One log record, or an event when ``event_name`` is set."""

    trace_id: str
    span_id: str
    flags: int
    event_name: str
    time_unix_nano: int
    observed_time_unix_nano: int
    severity_number: int
    severity_text: str
    body: AttributeValue
    attributes: Attributes
    dropped_attributes_count: int
    scope_name: str
    scope_version: str
    scope_attributes: Attributes
    resource_attributes: Attributes
