"""The format of a spool file: its tables, and what can be done to them, as functions over a connection.

Every record carries a CRC-32 of its payload, because SQLite does not notice a flipped bit inside a value. Its id, unique in
the file, stays with it when it becomes a dead letter and when that is given another try. Records have no index but their
id: one on anything else costs more than the insert itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import sqlite3
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final
from zlib import crc32

from otel_llm_feedback.delivery.records import LANES

__all__ = [
    "APPLICATION",
    "INSERT",
    "MAX_ID",
    "OVERHEAD",
    "VERSION",
    "Burial",
    "DeadRow",
    "Rows",
    "Tally",
    "bury",
    "create",
    "dead_rows",
    "delete",
    "delete_dead",
    "insert_row",
    "is_ours",
    "is_sound",
    "last_id",
    "measure_all",
    "oldest",
    "oldest_dead",
    "oldest_time",
    "pragma",
    "read",
    "requeue",
    "rows_between",
    "sound_rows",
]

VERSION: Final = 1
"""Of the format, in ``user_version``; a file of a higher one is left alone."""

APPLICATION: Final = 0x4F4C4642  # "OLFB", for file(1), and to know our own databases from another program's

MAX_ID: Final = 10**12 - 1
"""No file will ever have so many records, and `DeadLetter.id` has room for no more."""

OVERHEAD: Final = 32
"""Bytes that a record counts for beside its payload."""

INSERT: Final = tuple(f"INSERT INTO {lane.table} VALUES (?, ?, ?, ?)" for lane in LANES)
"""One statement per lane; takes `insert_row`."""

_TABLES: Final = (*(lane.table for lane in LANES), "dead")

_FETCH: Final = 32
"""Rows fetched at a time: enough to be quick, and not too many if they are large."""


@dataclasses.dataclass
class Tally:
    """What a file holds, kept up to date in memory: records and bytes by lane, and of dead letters."""

    counts: list[int]
    sizes: list[int]
    dead_count: int
    dead_size: int
    next_id: int
    size: int = 0
    """Bytes of all records that wait for delivery: the sum of ``sizes``."""


@dataclasses.dataclass
class Rows:
    """Records read from one lane, and the ids of those that the disk spoiled."""

    ids: list[int] = dataclasses.field(default_factory=list)
    payloads: list[bytes] = dataclasses.field(default_factory=list)
    spoiled: list[int] = dataclasses.field(default_factory=list)
    size: int = 0


Burial = tuple[float, str, str]
"""Buried at, reason, detail."""

DeadRow = tuple[int, object, object, object, object, object, object]
"""Id, lane, put at, payload, buried at, reason, detail; all but the id may be what the disk made of them."""


_Row = tuple[int, object, Any]
"""Id, checksum and payload."""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    for lane in LANES:
        connection.execute(f"CREATE TABLE {lane.table} (id INTEGER PRIMARY KEY, at REAL, crc INTEGER, payload BLOB)")
    connection.execute(
        "CREATE TABLE dead (id INTEGER PRIMARY KEY, lane INTEGER, at REAL, crc INTEGER, payload BLOB,"
        " buried_at REAL, reason TEXT, detail TEXT)"
    )
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether this is a spool file, already set up, of a format that we know."""
    application, version = pragma(connection, "application_id"), pragma(connection, "user_version")
    return application == APPLICATION and version <= VERSION


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """The value of a numeric pragma."""
    return int(_one(connection, f"PRAGMA {name}")[0])


def measure_all(connection: sqlite3.Connection) -> Tally:
    """Count everything; reads every page of the file."""
    found = [_one(connection, f"SELECT count(*), total(length(payload)), max(id) FROM {table}") for table in _TABLES]
    counts = [count for count, _, _ in found]
    sizes = [int(size) + count * OVERHEAD for count, size, _ in found]
    next_id = 1 + max((highest for _, _, highest in found if highest is not None), default=0)
    return Tally(counts[:-1], sizes[:-1], counts[-1], sizes[-1], next_id, sum(sizes[:-1]))


def insert_row(number: int, at: float, payload: bytes) -> tuple[int, float, int, bytes]:
    """What `INSERT` takes."""
    return number, at, crc32(payload), payload


def read(connection: sqlite3.Connection, lane: int, max_bytes: int, max_count: int, skip: AbstractSet[int]) -> Rows:
    """The oldest records of a lane within both bounds, but at least one if there is any."""
    rows = Rows()
    cursor = connection.execute(f"SELECT id, crc, payload FROM {LANES[lane].table} ORDER BY id")
    try:
        while found := cursor.fetchmany(_FETCH):
            sound = _sound(found, skip, rows.spoiled)
            if sound and not _fits(rows, sound, max_bytes, max_count):
                break
    finally:
        cursor.close()  # an unfinished read would keep the log from being reset
    return rows


def _sound(found: list[_Row], skip: AbstractSet[int], spoiled: list[int]) -> list[_Row]:
    """The rows that are as they were put, but those to skip; the ids of others are added to ``spoiled``."""
    numbers, checksums, payloads = zip(*found)  # noqa: B905 - rows of one query
    try:
        if skip.isdisjoint(numbers) and tuple(map(crc32, payloads)) == checksums:
            return found
    except TypeError:  # a payload that is not even bytes
        pass
    left = [row for row in found if row[0] not in skip]
    spoiled += [number for number, crc, payload in left if not is_sound(crc, payload)]
    return [(number, crc, payload) for number, crc, payload in left if is_sound(crc, payload)]


def _fits(rows: Rows, found: list[_Row], max_bytes: int, max_count: int) -> bool:
    """Add what is within the bounds; whether that was everything."""
    numbers, _, payloads = zip(*found)  # noqa: B905 - rows of one query
    sizes = list(itertools.accumulate(map(len, payloads), initial=rows.size))
    room = min(bisect_right(sizes, max_bytes, lo=1) - 1, max_count - len(rows.ids))
    if not rows.ids:
        room = max(room, 1)
    rows.ids += numbers[:room]
    rows.payloads += payloads[:room]
    rows.size = sizes[room]
    return room == len(numbers)


def last_id(connection: sqlite3.Connection, lane: int) -> int:
    """The highest id in a lane, 0 if it is empty."""
    return int(_one(connection, f"SELECT coalesce(max(id), 0) FROM {LANES[lane].table}")[0])


def rows_between(connection: sqlite3.Connection, lane: int, after: int, last: int, limit: int) -> list[_Row]:
    """Id, checksum and payload of the first records of a lane with an id above ``after`` and up to ``last``."""
    sql = f"SELECT id, crc, payload FROM {LANES[lane].table} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
    return connection.execute(sql, (after, last, limit)).fetchall()


def sound_rows(connection: sqlite3.Connection, lane: int) -> Iterator[tuple[int, float, bytes]]:
    """Id, time and payload of what can be read of a damaged file: from the front up to the damage, then from the back."""
    seen = 0
    for order in ("ASC", "DESC"):
        sql = f"SELECT id, at, crc, payload FROM {LANES[lane].table} WHERE id > ? ORDER BY id {order}"
        try:
            for number, at, crc, payload in connection.execute(sql, (seen,)):
                if order == "ASC":
                    seen = number
                if is_sound(crc, payload):
                    yield number, _time(at), payload
            return
        except sqlite3.Error:
            continue


def oldest_time(connection: sqlite3.Connection, lane: int) -> float | None:
    """When the oldest record of a lane was put; None if there is none, or the disk spoiled its time."""
    row = connection.execute(f"SELECT at FROM {LANES[lane].table} ORDER BY id LIMIT 1").fetchone()
    return row[0] if row is not None and isinstance(row[0], float) else None


def oldest(connection: sqlite3.Connection, lane: int, limit: int) -> list[tuple[int, int, float]]:
    """Id, bytes and time of the oldest records of a lane."""
    return _oldest(connection, LANES[lane].table, "at", limit)


def oldest_dead(connection: sqlite3.Connection, limit: int) -> list[tuple[int, int, float]]:
    """Id, bytes and time of burial of the dead letters that came first."""
    return _oldest(connection, "dead", "buried_at", limit)


def _oldest(connection: sqlite3.Connection, table: str, time: str, limit: int) -> list[tuple[int, int, float]]:
    sql = f"SELECT id, coalesce(length(payload), 0) + {OVERHEAD}, {time} FROM {table} ORDER BY id LIMIT ?"
    return [(number, size, _time(at)) for number, size, at in connection.execute(sql, (limit,))]


def _time(at: object) -> float:
    """What has lost its time is not too old: the record itself may be sound."""
    return at if isinstance(at, float) else math.inf


def delete(connection: sqlite3.Connection, lane: int, ids: Sequence[int]) -> tuple[int, int]:
    """Delete records; how many were there, and their bytes."""
    removed = size = 0
    for run in _runs(ids):
        count, total = _measure(connection, lane, run)
        connection.execute(f"DELETE FROM {LANES[lane].table} WHERE id BETWEEN ? AND ?", run)
        removed += count
        size += total
    return removed, size


def bury(connection: sqlite3.Connection, lane: int, ids: Sequence[int], burial: Burial) -> tuple[int, int]:
    """Make dead letters of records, inside the caller's transaction; how many were there, and their bytes."""
    table = LANES[lane].table
    for run in _runs(ids):
        connection.execute(
            f"INSERT INTO dead SELECT id, ?, at, crc, payload, ?, ?, ? FROM {table} WHERE id BETWEEN ? AND ?",
            (lane, *burial, *run),
        )
    return delete(connection, lane, ids)


def dead_rows(connection: sqlite3.Connection, limit: int, after: int) -> list[DeadRow]:
    """The first dead letters with an id above ``after``."""
    sql = "SELECT id, lane, at, payload, buried_at, reason, detail FROM dead WHERE id > ? ORDER BY id LIMIT ?"
    return connection.execute(sql, (after, limit)).fetchall()


def requeue(connection: sqlite3.Connection, ids: Sequence[int] | None, at: float) -> int:
    """Make records of dead letters (None: of all) again, as if put at ``at``, inside the caller's transaction; how many.

    One that the disk made belong to no lane stays what it is.
    """
    count = 0
    for index, lane in enumerate(LANES):
        for run in _dead_runs(ids):
            which = "FROM dead WHERE lane = ? AND id BETWEEN ? AND ?"
            connection.execute(f"INSERT INTO {lane.table} SELECT id, ?, crc, payload {which}", (at, index, *run))
            count += connection.execute(f"DELETE {which}", (index, *run)).rowcount
    return count


def delete_dead(connection: sqlite3.Connection, ids: Sequence[int] | None) -> int:
    """Delete dead letters (None: all); how many were there."""
    return sum(
        connection.execute("DELETE FROM dead WHERE id BETWEEN ? AND ?", run).rowcount for run in list(_dead_runs(ids))
    )


def _dead_runs(ids: Sequence[int] | None) -> Iterator[tuple[int, int]]:
    return iter([(0, 2**63 - 1)]) if ids is None else _runs(sorted(set(ids)))


def _runs(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending distinct ids as (first, last) of stretches without gaps: a million in a row are one DELETE."""
    if ids and ids[-1] - ids[0] == len(ids) - 1:
        yield ids[0], ids[-1]
        return
    for _, stretch in itertools.groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in stretch]
        yield numbers[0], numbers[-1]


def _measure(connection: sqlite3.Connection, lane: int, run: tuple[int, int]) -> tuple[int, int]:
    sql = f"SELECT count(*), total(length(payload)) FROM {LANES[lane].table} WHERE id BETWEEN ? AND ?"
    count, size = _one(connection, sql, run)
    return count, int(size) + count * OVERHEAD


def _one(connection: sqlite3.Connection, sql: str, values: tuple[int, int] | tuple[()] = ()) -> Any:
    return connection.execute(sql, values).fetchone()


def is_sound(crc: object, payload: object) -> bool:
    """Whether a payload is what was put."""
    return isinstance(payload, bytes) and crc == crc32(payload)
