"""The format of a shared registry file, as functions over a connection.

A call is first put into ``fresh``, which has no index: that is what makes it cheap. From there it is moved, many at a time, to
``calls``, which has the indexes. Ids are kept as 64-bit integers there, and indexed texts by a hash of 64 bits, so that a
call takes a few hundred bytes. A look-up reads ``fresh`` first: a call that moves meanwhile is found in ``calls`` then.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from otel_llm_feedback.spans.call import LLMCall

__all__ = [
    "APPLICATION",
    "BATCH",
    "VERSION",
    "by_span",
    "by_text",
    "by_trace",
    "clear",
    "count",
    "create",
    "move",
    "pragma",
    "put",
    "trim",
]

VERSION: Final = 1
"""Of the format, in ``user_version``: a change of `LLMCall` is one."""

APPLICATION: Final = 0x4F4C4643  # "OLFC", for file(1), and to know our own databases from another program's

BATCH: Final = 16
"""Calls moved or removed at once: others wait meanwhile, half a millisecond or so."""

_PLAIN: Final = tuple(name for name in LLMCall._fields if name not in {"trace_id", "span_id", "end_time"})
"""Fields that ``calls`` keeps as they are."""

_COLUMNS: Final = ("span", "trace_high", "trace_low", "conversation_key", "response_key", "message_key", "duration")
_PUT: Final = f"INSERT INTO fresh VALUES (NULL{', ?' * len(LLMCall._fields)})"
_MOVE: Final = f"INSERT OR REPLACE INTO calls VALUES (NULL{', ?' * (len(_COLUMNS) + len(_PLAIN))})"

_TABLES: Final = (
    f"CREATE TABLE fresh (seq INTEGER PRIMARY KEY, {', '.join(LLMCall._fields)})",
    f"CREATE TABLE calls (seq INTEGER PRIMARY KEY, {', '.join((*_COLUMNS, *_PLAIN))})",
    "CREATE UNIQUE INDEX calls_by_span ON calls (span)",
    "CREATE INDEX calls_by_trace ON calls (trace_low) WHERE votable",
    "CREATE INDEX calls_by_conversation ON calls (conversation_key) WHERE votable AND conversation_key IS NOT NULL",
    "CREATE INDEX calls_by_response ON calls (response_key, votable) WHERE response_key IS NOT NULL",
    "CREATE INDEX calls_by_message ON calls (message_key, votable) WHERE message_key IS NOT NULL",
)
_FROM_FRESH: Final = (
    f"SELECT {', '.join(LLMCall._fields)} FROM fresh"
    " WHERE {} AND NOT EXISTS (SELECT 1 FROM fresh AS later WHERE later.seq > fresh.seq AND later.span_id = fresh.span_id)"
    " ORDER BY votable DESC, seq DESC LIMIT 1"
)
_FROM_CALLS: Final = (
    f"SELECT {', '.join((*_COLUMNS, *_PLAIN))} FROM calls"
    " WHERE {} AND NOT EXISTS (SELECT 1 FROM fresh WHERE span_id = printf('%016x', span))"
    " ORDER BY {} LIMIT 1"
)
_LAST: Final = "seq DESC"
_VOTABLE_FIRST: Final = "votable DESC, seq DESC"

# Each order is that of the index, so that one row is read, however many calls a conversation has.
_BY_SPAN: Final = (_FROM_FRESH.format("trace_id = ? AND span_id = ?"), _FROM_CALLS.format("span = ?", _LAST))
_BY_TRACE: Final = (
    _FROM_FRESH.format("trace_id = ? AND votable"),
    _FROM_CALLS.format("trace_low = ? AND trace_high = ? AND votable", _LAST),
)
_BY_TEXT: Final = {
    f"{name}_id": (
        _FROM_FRESH.format(f"{name}_id = ?{votable}"),
        _FROM_CALLS.format(f"{name}_key = ? AND {name}_id = ?{votable}", order),
    )
    for name, votable, order in (
        ("response", "", _VOTABLE_FIRST),
        ("message", "", _VOTABLE_FIRST),
        ("conversation", " AND votable", _LAST),
    )
}


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    for table in _TABLES:
        connection.execute(table)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """The value of a numeric pragma."""
    return int(_rows(connection, f"PRAGMA {name}")[0][0])


def put(connection: sqlite3.Connection, call: LLMCall) -> int:
    """Remember a call; about how many are fresh now."""
    return connection.execute(_PUT, call).lastrowid or 0


def by_span(connection: sqlite3.Connection, trace_id: str, span_id: str) -> LLMCall | None:
    """The call of this span."""
    fresh = _fresh(connection, _BY_SPAN[0], (trace_id, span_id))
    span = _number(span_id)
    if fresh is not None or span is None:
        return fresh
    kept = _kept(connection, _BY_SPAN[1], (span,))
    return kept if kept is not None and kept.trace_id == trace_id else None


def by_trace(connection: sqlite3.Connection, trace_id: str) -> LLMCall | None:
    """The last votable call of this trace."""
    fresh = _fresh(connection, _BY_TRACE[0], (trace_id,))
    high, low = _number(trace_id[:16]), _number(trace_id[16:])
    if fresh is not None or high is None or low is None:
        return fresh
    return _kept(connection, _BY_TRACE[1], (low, high))


def by_text(connection: sqlite3.Connection, field: str, text: str) -> LLMCall | None:
    """The last call with this ``response_id``, ``message_id`` or ``conversation_id``, votable ones before others."""
    in_fresh, in_calls = _BY_TEXT[field]
    fresh = _fresh(connection, in_fresh, (text,))
    if fresh is not None and fresh.votable:
        return fresh
    kept = _kept(connection, in_calls, (_key(text), text))
    return kept if kept is not None and (kept.votable or fresh is None) else fresh


def move(connection: sqlite3.Connection) -> tuple[int, int]:
    """Move the oldest fresh calls to where they are indexed; how many left ``fresh``, and how many have no usable ids."""
    found = _rows(connection, "SELECT * FROM fresh ORDER BY seq LIMIT ?", (BATCH,))
    packed = [row for row in (_pack(LLMCall._make(row[1:])) for row in found) if row is not None]
    connection.executemany(_MOVE, packed)
    connection.executemany("DELETE FROM fresh WHERE seq = ?", [row[:1] for row in found])
    return len(found), len(found) - len(packed)


def trim(connection: sqlite3.Connection, max_calls: int, ended_before: int) -> tuple[int, int]:
    """Remove the oldest calls, a batch at most: how many beyond ``max_calls``, and how many too old."""
    newest = _rows(connection, "SELECT max(seq) FROM calls")[0][0] or 0
    head = _rows(connection, "SELECT seq, start_time + ifnull(duration, 0) FROM calls ORDER BY seq LIMIT ?", (BATCH,))
    excess = [seq for seq, _ in head if seq <= newest - max_calls]
    expired = []
    for seq, ended in head[len(excess) :]:
        if ended >= ended_before:
            break
        expired.append(seq)
    connection.executemany("DELETE FROM calls WHERE seq = ?", [(seq,) for seq in (*excess, *expired)])
    return len(excess), len(expired)


def clear(connection: sqlite3.Connection) -> None:
    """Remove every call."""
    connection.execute("DELETE FROM fresh")
    connection.execute("DELETE FROM calls")


def count(connection: sqlite3.Connection) -> int:
    """How many calls there are; reads a whole index."""
    fresh = (
        "SELECT count(DISTINCT span_id) FROM fresh"
        " WHERE NOT EXISTS (SELECT 1 FROM calls WHERE printf('%016x', span) = span_id)"
    )
    return sum(_rows(connection, query)[0][0] for query in ("SELECT count(*) FROM calls", fresh))


def _fresh(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> LLMCall | None:
    for row in _rows(connection, query, values):
        call = LLMCall._make(row)
        return call._replace(votable=bool(call.votable))
    return None


def _kept(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> LLMCall | None:
    for row in _rows(connection, query, values):
        return _unpack(row)
    return None


def _rows(connection: sqlite3.Connection, query: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
    """All at once: a statement that is not at its end holds on to its snapshot, and the log could not be cut."""
    return connection.execute(query, tuple(values)).fetchall()


def _pack(call: LLMCall) -> tuple[object, ...] | None:
    """The row for ``calls``; None for a call that somebody made up, with ids or times that cannot be."""
    try:
        span, high, low = _number(call.span_id), _number(call.trace_id[:16]), _number(call.trace_id[16:])
        duration = None if call.end_time is None else call.end_time - call.start_time
        keys = [
            None if text is None else _key(text) for text in (call.conversation_id, call.response_id, call.message_id)
        ]
    except (TypeError, AttributeError):
        return None
    if span is None or high is None or low is None or abs(duration or 0) >= 2**63:
        return None
    return (span, high, low, *keys, duration, *(getattr(call, name) for name in _PLAIN))


def _unpack(row: tuple[Any, ...]) -> LLMCall:
    span, high, low, _, _, _, duration = row[: len(_COLUMNS)]
    fields: dict[str, Any] = dict(zip(_PLAIN, row[len(_COLUMNS) :], strict=True))
    fields["votable"] = bool(fields["votable"])
    end_time = None if duration is None else fields["start_time"] + duration
    return LLMCall(trace_id=_hex(high) + _hex(low), span_id=_hex(span), end_time=end_time, **fields)


def _number(text: str) -> int | None:
    """16 lower-case hex digits as a signed integer of 64 bits, which is what SQLite has."""
    try:
        number = int.from_bytes(bytes.fromhex(text), "big", signed=True)
    except ValueError:
        return None
    return number if _hex(number) == text else None


def _hex(number: int) -> str:
    return f"{number & 0xFFFF_FFFF_FFFF_FFFF:016x}"


def _key(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
