r"""Feedback records as they come back from the wire or from a store: what `resolve` reads.

A record is one revision of one feedback. Only names of the wire contract are kept, and of those only values that it has:
text (empty counts as absent), booleans, 64-bit integers, finite doubles, and arrays of these. What a collector added on
the way, and anything nested, is left out, so that it changes neither the state nor the digest.

**Text of a value** (`as_text`). As the collector's Go data model writes a value into a column of text
(``pcommon.Value.AsString``; the ClickHouse exporter stores every attribute so): text as it is; ``true`` and ``false``;
integers in decimal; doubles with the fewest digits that read back the same, without exponent from 1e-6 up to below 1e21
(``1``, ``0.5``, ``1e-7``, ``1e+21``); arrays as JSON without spaces, doubles in them as above, only ``"``, ``\``, control
characters, U+2028 and U+2029 escaped.

**Digest**. Lower-case hex of SHA-256 over these texts in UTF-8, each preceded by its length in bytes, in decimal, and a
colon: id, revision, operation, event time in nanoseconds, trace id, span id (lower-case hex, empty when absent), then name
and text of every kept attribute (but for those first three), sorted by the bytes of the name. Records with one digest are
one record: when it was observed does not count.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal, Protocol, TypeAlias, cast

from otel_llm_feedback import attributes as names

__all__ = [
    "Entry",
    "Erasure",
    "LogLike",
    "Operation",
    "Record",
    "Unusable",
    "Value",
    "as_text",
    "read_log",
    "read_mapping",
]

Primitive: TypeAlias = str | bool | int | float
Value: TypeAlias = Primitive | tuple[Primitive, ...]
Operation: TypeAlias = Literal["create", "update", "retract"]
Reason: TypeAlias = Literal["not_feedback", "no_id", "no_revision", "unknown_operation", "no_submitter", "no_time"]

OPERATIONS: Final = frozenset({"create", "update", "retract"})
OWN_PREFIXES: Final = ("llm_feedback.", "gen_ai.")
OTHER_NAMES: Final = frozenset(
    {
        names.ERROR_TYPE,
        names.SESSION_ID,
        names.PSEUDONYM,
        names.USER_ID,
        names.ENVIRONMENT,
        names.SERVICE_VERSION,
    }
)
KEPT_AS_FIELDS: Final = frozenset({names.ID, names.REVISION, names.OPERATION})

_INT64: Final = 2**63
_DECIMAL = re.compile(r"[0-9]{1,19}", re.ASCII)
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Record:
    """One revision of one feedback.

    id, revision, operation: ``llm_feedback.id``, ``.revision`` and ``.operation``.
    time, observed: when it was given and when it was recorded, in nanoseconds since the epoch, 0 when unknown.
    trace_id, span_id: lower-case hex, "" when absent.
    attributes: all others that the contract has, by name. Left out of the repr: people wrote them.
    digest: see the module.
    """

    id: str
    revision: int
    operation: Operation
    time: int
    observed: int
    trace_id: str
    span_id: str
    attributes: Mapping[str, Value] = field(repr=False, hash=False)
    digest: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        object.__setattr__(self, "digest", _digest(self))

    @property
    def submitter(self) -> str:
        """The submitter's pseudonym, "" when the record does not say."""
        return self.text(names.PSEUDONYM)

    def text(self, name: str) -> str:
        """The text of an attribute, "" when absent."""
        value = self.attributes.get(name)
        return "" if value is None else as_text(value)


@dataclass(frozen=True, slots=True)
class Erasure:
    """Forget what this submitter (a pseudonym) said up to and including ``until``, nanoseconds since the epoch."""

    submitter: str
    until: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """What could not be read as feedback, and why.

    not_feedback: another event. no_id, no_revision, unknown_operation: feedback without what the contract requires.
    no_submitter, no_time: an erasure that does not say whose, or up to when.
    """

    reason: Reason


Entry: TypeAlias = Record | Erasure | Unusable


class LogLike(Protocol):
    """What is read of a log record; `otel_llm_feedback.receiver` gives such. Ids are hex, "" when absent."""

    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def event_name(self) -> str: ...
    @property
    def time_unix_nano(self) -> int: ...
    @property
    def observed_time_unix_nano(self) -> int: ...
    @property
    def attributes(self) -> Mapping[str, object]: ...


def read_log(log: LogLike) -> Entry:
    """A log record as an entry for `resolve`. Never raises: what is no feedback is `Unusable`."""
    times = (log.time_unix_nano, log.observed_time_unix_nano)
    return _read(log.event_name, times, (log.trace_id, log.span_id), log.attributes)


def read_mapping(log: Mapping[str, object]) -> Entry:
    """A log record in the names of OTLP's JSON, its attributes flattened to ``{name: value}``, as an entry.

    Read are ``eventName``, ``traceId``, ``spanId``, ``timeUnixNano``, ``observedTimeUnixNano`` and ``attributes``. Integers
    may be decimal text, as JSON has 64-bit ones. Never raises.
    """
    attributes = log.get("attributes")
    times = (log.get("timeUnixNano"), log.get("observedTimeUnixNano"))
    place = (log.get("traceId"), log.get("spanId"))
    return _read(log.get("eventName"), times, place, attributes if isinstance(attributes, Mapping) else {})


def _read(
    event_name: object, times: tuple[object, object], place: tuple[object, object], attributes: Mapping[str, object]
) -> Entry:
    observed = _integer(times[1]) or 0
    # Logs data model, ObservedTimestamp: "Use Timestamp if it is present, otherwise use ObservedTimestamp."
    time = _integer(times[0]) or observed
    if event_name == names.ERASURE_EVENT:
        return _erasure(attributes, time)
    if event_name != names.EVALUATION_EVENT:
        return Unusable("not_feedback")
    feedback_id = _kept(attributes.get(names.ID))
    if not isinstance(feedback_id, str):
        return Unusable("no_id")
    revision = _integer(attributes.get(names.REVISION))
    if revision is None:
        return Unusable("no_revision")
    operation = attributes.get(names.OPERATION)
    if not isinstance(operation, str) or operation not in OPERATIONS:
        return Unusable("unknown_operation")
    trace_id = _hex(_TRACE_ID, place[0])
    span_id = _hex(_SPAN_ID, place[1]) if trace_id else ""
    said = {name: kept for name, value in attributes.items() if _ours(name) and (kept := _kept(value)) is not None}
    return Record(feedback_id, revision, cast("Operation", operation), time, observed, trace_id, span_id, said)


def _erasure(attributes: Mapping[str, object], time: int) -> Erasure | Unusable:
    submitter = _kept(attributes.get(names.PSEUDONYM))
    if not isinstance(submitter, str):
        return Unusable("no_submitter")
    return Erasure(submitter, time) if time else Unusable("no_time")


def _ours(name: object) -> bool:
    return isinstance(name, str) and (
        name in OTHER_NAMES or (name.startswith(OWN_PREFIXES) and name not in KEPT_AS_FIELDS)
    )


def _integer(value: object) -> int | None:
    """A 64-bit integer from 0 up, also as decimal text, or None."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < _INT64 else None


def _hex(pattern: re.Pattern[str], value: object) -> str:
    lower = value.lower() if isinstance(value, str) else ""
    return lower if pattern.fullmatch(lower) else ""


def _kept(value: object) -> Value | None:
    """The value if the contract has such, else None."""
    if isinstance(value, (list, tuple)):
        items = [_primitive(item) for item in value]
        kept = tuple(item for item in items if item is not None)
        return kept if len(kept) == len(items) else None
    return _primitive(value) or None if isinstance(value, str) else _primitive(value)


def _primitive(value: object) -> Primitive | None:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def as_text(value: Value) -> str:
    """The value as a store that only has text keeps it; see the module."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return f"[{','.join(_quoted(item) if isinstance(item, str) else as_text(item) for item in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _double(value)


def _quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    return escaped.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _double(value: float) -> str:
    shortest = repr(value)
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return f"{Decimal(shortest):f}".removesuffix(".0")
    return shortest.replace("e-0", "e-")


def _digest(record: Record) -> str:
    head = (record.id, str(record.revision), record.operation, str(record.time), record.trace_id, record.span_id)
    digest = hashlib.sha256()
    for text in (*head, *(part for name in sorted(record.attributes) for part in (name, record.text(name)))):
        raw = text.encode()
        digest.update(b"%d:%b" % (len(raw), raw))
    return digest.hexdigest()
