"""The format of a spool file: its tables, and what can be done to them, as functions over a connection.

Every record carries a CRC-32 of its payload, because SQLite does not notice a flipped bit inside a value. Its id, unique in
the file, stays with it when it becomes a dead letter and when that is given another try. Records have no index but their
id: one on anything else costs more than the insert itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
import zlib
from collections.abc import Container, Iterator, Sequence
from typing import Any, Final

from otel_llm_feedback.delivery.records import LANES

__all__ = [
    "APPLICATION",
    "INSERT",
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
    "measure_all",
    "oldest",
    "oldest_dead",
    "oldest_time",
    "pragma",
    "read",
    "requeue",
    "rows_after",
    "sound_rows",
]

VERSION: Final = 1
"""Of the format, in ``user_version``; a file of a higher one is left alone."""

APPLICATION: Final = 0x4F4C4642  # "OLFB", for file(1), and to know our own databases from another program's

OVERHEAD: Final = 32
"""Bytes that a record counts for beside its payload."""

INSERT: Final = tuple(f"INSERT INTO {lane.table} VALUES (?, ?, ?, ?)" for lane in LANES)
"""One statement per lane; takes `insert_row`."""

_TABLES: Final = (*(lane.table for lane in LANES), "dead")


@dataclasses.dataclass
class Tally:
    """What a file holds, kept up to date in memory: records and bytes by lane, and of dead letters."""

    counts: list[int]
    sizes: list[int]
    dead_count: int
    dead_size: int
    next_id: int


@dataclasses.dataclass
class Rows:
    """Records read from one lane, and the ids of those that the disk spoiled."""

    ids: list[int] = dataclasses.field(default_factory=list)
    payloads: list[bytes] = dataclasses.field(default_factory=list)
    spoiled: list[int] = dataclasses.field(default_factory=list)
    size: int = 0


Burial = tuple[float, str, str]
"""Buried at, reason, detail."""

DeadRow = tuple[int, int, float, bytes, float, str, str]
"""Id, lane, put at, payload, buried at, reason, detail."""


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
    return Tally(counts[:-1], sizes[:-1], counts[-1], sizes[-1], next_id)


def insert_row(number: int, at: float, payload: bytes) -> tuple[int, float, int, bytes]:
    """What `INSERT` takes."""
    return number, at, zlib.crc32(payload), payload


def read(connection: sqlite3.Connection, lane: int, max_bytes: int, max_count: int, skip: Container[int]) -> Rows:
    """The oldest records of a lane within both bounds, but at least one if there is any."""
    rows = Rows()
    cursor = connection.execute(f"SELECT id, crc, payload FROM {LANES[lane].table} ORDER BY id")
    try:
        for number, crc, payload in cursor:
            if number in skip:
                continue
            if not _is_sound(crc, payload):
                rows.spoiled.append(number)
                continue
            if rows.ids and (len(rows.ids) == max_count or rows.size + len(payload) > max_bytes):
                break
            rows.ids.append(number)
            rows.payloads.append(payload)
            rows.size += len(payload)
    finally:
        cursor.close()  # an unfinished read would keep the log from being reset
    return rows


def rows_after(connection: sqlite3.Connection, lane: int, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Id and payload of the first records of a lane with an id above ``after``."""
    sql = f"SELECT id, payload FROM {LANES[lane].table} WHERE id > ? ORDER BY id LIMIT ?"
    return connection.execute(sql, (after, limit)).fetchall()


def sound_rows(connection: sqlite3.Connection, lane: int) -> Iterator[tuple[int, float, bytes]]:
    """Id, time and payload of what can be read of a damaged file: from the front up to the damage, then from the back."""
    seen = 0
    for order in ("ASC", "DESC"):
        sql = f"SELECT id, at, crc, payload FROM {LANES[lane].table} WHERE id > ? ORDER BY id {order}"
        try:
            for number, at, crc, payload in connection.execute(sql, (seen,)):
                if order == "ASC":
                    seen = number
                if isinstance(at, float) and _is_sound(crc, payload):
                    yield number, at, payload
            return
        except sqlite3.Error:
            continue


def oldest_time(connection: sqlite3.Connection, lane: int) -> float | None:
    """When the oldest record of a lane was put."""
    row = connection.execute(f"SELECT at FROM {LANES[lane].table} ORDER BY id LIMIT 1").fetchone()
    return None if row is None else float(row[0])


def oldest(connection: sqlite3.Connection, lane: int, limit: int) -> list[tuple[int, int, float]]:
    """Id, bytes and time of the oldest records of a lane."""
    sql = f"SELECT id, length(payload) + {OVERHEAD}, at FROM {LANES[lane].table} ORDER BY id LIMIT ?"
    return connection.execute(sql, (limit,)).fetchall()


def oldest_dead(connection: sqlite3.Connection, limit: int) -> list[tuple[int, int, float]]:
    """Id, bytes and time of burial of the dead letters that came first."""
    sql = f"SELECT id, length(payload) + {OVERHEAD}, buried_at FROM dead ORDER BY id LIMIT ?"
    return connection.execute(sql, (limit,)).fetchall()


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
    """Make records of dead letters (None: of all) again, as if put at ``at``, inside the caller's transaction; how many."""
    for index, lane in enumerate(LANES):
        for run in _dead_runs(ids):
            connection.execute(
                f"INSERT INTO {lane.table} SELECT id, ?, crc, payload FROM dead WHERE lane = ? AND id BETWEEN ? AND ?",
                (at, index, *run),
            )
    return delete_dead(connection, ids)


def delete_dead(connection: sqlite3.Connection, ids: Sequence[int] | None) -> int:
    """Delete dead letters (None: all); how many were there."""
    return sum(
        connection.execute("DELETE FROM dead WHERE id BETWEEN ? AND ?", run).rowcount for run in list(_dead_runs(ids))
    )


def _dead_runs(ids: Sequence[int] | None) -> Iterator[tuple[int, int]]:
    return iter([(0, 2**63 - 1)]) if ids is None else _runs(sorted(set(ids)))


def _runs(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending ids as (first, last) of stretches without gaps: a million in a row are one DELETE."""
    for _, stretch in itertools.groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in stretch]
        yield numbers[0], numbers[-1]


def _measure(connection: sqlite3.Connection, lane: int, run: tuple[int, int]) -> tuple[int, int]:
    sql = f"SELECT count(*), total(length(payload)) FROM {LANES[lane].table} WHERE id BETWEEN ? AND ?"
    count, size = _one(connection, sql, run)
    return count, int(size) + count * OVERHEAD


def _one(connection: sqlite3.Connection, sql: str, values: tuple[int, int] | tuple[()] = ()) -> Any:
    return connection.execute(sql, values).fetchone()


def _is_sound(crc: object, payload: object) -> bool:
    return isinstance(payload, bytes) and crc == zlib.crc32(payload)
