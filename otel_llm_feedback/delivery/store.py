"""One file of the spool: an SQLite database in WAL mode, written by the one process that holds its claim.

The module moves bytes and decides nothing. There are two connections to the file, so that the caller who puts a record never
waits for a read or a checkpoint: the writer for every change, the keeper for everything else. `Store` takes no locks: its
owner calls the methods marked (writer) under one lock, those marked (keeper) under another, and the rest under both.

Methods that touch the disk raise `SpoolError`, or `StoreDamaged`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar
from zlib import crc32

from otel_llm_feedback.delivery import tables
from otel_llm_feedback.delivery.directory import Claim
from otel_llm_feedback.delivery.records import LANES
from otel_llm_feedback.delivery.tables import INSERT, OVERHEAD
from otel_llm_feedback.errors import SpoolError, SpoolFull, SpoolUnavailable

__all__ = ["Store", "StoreDamaged", "StoreTooNew", "connect", "explain", "is_damage", "salvage"]

BUSY_SECONDS: Final = 1.0
"""How long to wait for another process that changes the file; only the dead-letter commands do, and briefly."""

_CUT_BUSY_MS: Final = 50  # `put` waits while the log is cut
_LONG_LOG_PAGES: Final = 1024
_UNCHECKED_PUTS: Final = 8192
_WORTH_SHRINKING_PAGES: Final = 1024
_SCAN: Final = 256

_WRONG_TABLE: Final = re.compile(r"no such (table|column)|has \d+ columns but")

_numbers = itertools.count(1)
_leaked: list[sqlite3.Connection] = []

T = TypeVar("T")


class StoreDamaged(Exception):
    """The file is not, or no longer, a sound database of ours. Never leaves the spool."""

    def __init__(self, store: Store, problem: str) -> None:
        self.store = store
        super().__init__(problem)


class StoreTooNew(Exception):
    """The file was written by a newer version of this package. Never leaves the spool."""


class Store:
    """An open spool file; ``tally`` says from memory what it holds."""

    def __init__(self, claim: Claim, *, fsync: bool) -> None:
        self.number = next(_numbers)
        self.claim = claim
        self.tally = tables.Tally([0] * len(LANES), [0] * len(LANES), 0, 0, 1)
        self._synchronous = "FULL" if fsync else "NORMAL"
        self._writer: sqlite3.Connection | None = None
        self._keeper: sqlite3.Connection | None = None
        self._settled: list[set[int]] = [set() for _ in LANES]
        self._unchecked = 0
        self._version = 0
        self._must_cut = False

    def open(self) -> None:
        """Set up an empty file, or check and count one that was left; also raises `StoreTooNew`. Close it even then."""
        self._do(self._check)
        self._do(self._count)
        self._do(self._keeping)  # now: it could not be opened any more when someone has removed the file

    @property
    def size(self) -> int:
        """Bytes of all records that wait for delivery."""
        return self.tally.size

    @property
    def records(self) -> int:
        """How many wait for delivery."""
        return sum(self.tally.counts)

    @property
    def is_empty(self) -> bool:
        """Whether nothing, not even a dead letter, would be lost with the file."""
        return not (self.records or self.tally.dead_count)

    # -- (writer) --------------------------------------------------------------------------------------------------------

    def insert(self, lane: int, at: float, payload: bytes) -> None:
        """(writer) Add a record; it is on disk when this returns."""
        tally = self.tally
        number = tally.next_id
        tally.next_id = number + 1  # first: an interrupt in between must not leave the id to be used twice
        try:
            (self._writer or self._open_writer()).execute(INSERT[lane], (number, at, crc32(payload), payload))
        except sqlite3.Error as error:
            raise self._explain(error) from error
        size = len(payload) + OVERHEAD
        tally.counts[lane] += 1
        tally.sizes[lane] += size
        tally.size += size
        self._unchecked += 1

    def take_over(self, lane: int, rows: Iterable[tuple[float, bytes]]) -> int:
        """(writer) Add records put elsewhere, all or none, with the times of then; how many."""
        rows = list(rows)
        first = self.tally.next_id
        self.tally.next_id += len(rows)
        numbered = [tables.insert_row(first + n, at, payload) for n, (at, payload) in enumerate(rows)]
        self._transact(lambda writer: writer.executemany(INSERT[lane], numbered))
        self._add(lane, len(rows), sum(len(payload) + OVERHEAD for _, payload in rows))
        return len(rows)

    def delete(self, lane: int, ids: Sequence[int]) -> int:
        """(writer) Remove records; how many were there. If that fails now, they are still never read again."""
        self.settle(lane, ids)
        count, size = self._transact(lambda writer: tables.delete(writer, lane, ids))
        self._settled[lane].difference_update(ids)
        self._add(lane, -count, -size)
        return count

    def settle(self, lane: int, ids: Sequence[int]) -> None:
        """(writer) Never read these records again, even if they cannot be deleted. In memory only, and never raises."""
        self._settled[lane].update(ids)

    def finish_deleting(self) -> None:
        """(writer) Remove what `delete` could not."""
        for lane, ids in enumerate(self._settled):
            if ids:
                self.delete(lane, sorted(ids))

    def bury(self, lane: int, ids: Sequence[int], burial: tables.Burial) -> int:
        """(writer) Make dead letters of records; how many were there."""
        count, size = self._transact(lambda writer: tables.bury(writer, lane, ids, burial))
        self._add(lane, -count, -size)
        self.tally.dead_count += count
        self.tally.dead_size += size
        return count

    def evict(self, lane: int, needed: int) -> tuple[int, int]:
        """(writer) Remove the oldest records of a lane until ``needed`` bytes are free, or many of them; count and bytes."""
        found = self._do(lambda: tables.oldest(self._writing(), lane, _SCAN))
        freed = list(itertools.accumulate(size for _, size, _ in found))
        doomed = sum(1 for total in freed if total < needed) + 1
        return self._drop(lane, [number for number, _, _ in found[:doomed]])

    def expire(self, lane: int, before: float) -> int:
        """(writer) Remove those put before a time among the oldest records of a lane; how many. Again until it says 0."""
        found = self._do(lambda: tables.oldest(self._writing(), lane, _SCAN))
        return self._drop(lane, [number for number, _, at in found if at < before])[0]

    def trim_dead(self, max_count: int, max_bytes: int, before: float) -> tuple[int, int]:
        """(writer) Remove dead letters that are too old, then the first until within bounds; how many (expired, evicted)."""
        expired = evicted = 0
        while self.tally.dead_count:
            found = self._do(lambda: tables.oldest_dead(self._writing(), _SCAN))
            old = [(number, size) for number, size, at in found if at < before]
            excess = [] if old else self._excess(found, max_count, max_bytes)
            if not (old or excess):
                break
            self._drop_dead(old or excess)
            expired += len(old)
            evicted += len(excess)
        return expired, evicted

    def requeue(self, ids: Sequence[int] | None, at: float) -> int:
        """(writer) Make records of dead letters (None: of all) again; how many."""
        count = self._transact(lambda writer: tables.requeue(writer, ids, at))
        self._do(self._count)
        return count

    def purge(self, ids: Sequence[int] | None) -> int:
        """(writer) Delete dead letters (None: all); how many."""
        count = self._transact(lambda writer: tables.delete_dead(writer, ids))
        self._do(self._count)
        self._must_cut = True
        return count

    def notice_others(self) -> bool:
        """(writer) Count anew if another process changed the file; whether one did."""
        changed: bool = self._do(lambda: self._data_version() != self._version)
        if changed:
            self._do(self._count)
            self._must_cut = True
        return changed

    @property
    def is_unchecked_for_long(self) -> bool:
        """Whether so much was put since the last checkpoint that the log grows without a bound."""
        return self._unchecked >= _UNCHECKED_PUTS

    # -- (keeper) --------------------------------------------------------------------------------------------------------

    def read(self, lane: int, max_bytes: int, max_count: int) -> tables.Rows:
        """(keeper) The oldest records of a lane within both bounds, but at least one if there is any."""
        skip = self._settled[lane]
        return self._do(lambda: tables.read(self._keeping(), lane, max_bytes, max_count, skip))

    def oldest_time(self) -> float | None:
        """(keeper) When the oldest of all records was put."""
        lanes = [lane for lane, count in enumerate(self.tally.counts) if count]
        times = self._do(lambda: [tables.oldest_time(self._keeping(), lane) for lane in lanes])
        return min((time for time in times if time is not None), default=None)

    def dead_rows(self, limit: int, after: int) -> list[tables.DeadRow]:
        """(keeper) The first dead letters with an id above ``after``."""
        return self._do(lambda: tables.dead_rows(self._keeping(), limit, after))

    def checkpoint(self) -> bool:
        """(keeper) Move the log into the file while the writer goes on; whether the log is long."""
        self._unchecked = 0
        _, pages, _ = self._do(lambda: self._keeping().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone())
        return self._must_cut or bool(pages > _LONG_LOG_PAGES)

    # -- (both) ----------------------------------------------------------------------------------------------------------

    def cut_log(self) -> None:
        """(both) Move the rest of the log, and cut it; behind a busy writer, `checkpoint` alone never comes to its end.

        If someone is reading, that will be done another time.
        """
        busy, _, _ = self._do(self._truncate)
        self._must_cut = self._must_cut and bool(busy)

    def _truncate(self) -> tuple[int, int, int]:
        # By the writer, to which the keeper's cut would look like a change by another process.
        writer = self._writing()
        writer.execute(f"PRAGMA busy_timeout={_CUT_BUSY_MS}").close()
        try:
            found: tuple[int, int, int] = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            writer.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}").close()
        return found

    def shrink(self) -> None:
        """(both) Give the disk back what an emptied file still occupies."""
        if self.is_empty and self._do(lambda: self._pragma("page_count")) > _WORTH_SHRINKING_PAGES:
            self._do(lambda: self._writing().execute("VACUUM"))
            self.cut_log()

    def close(self) -> None:
        """(both) Let go of the file, not of the claim; `Store` opens it again when it must. Never raises."""
        connections = [connection for connection in (self._keeper, self._writer) if connection is not None]
        self._keeper = self._writer = None
        for connection in connections:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def retire(self) -> None:
        """(both) Close for good: remove the file if it is empty, else leave it to the next process. Never raises."""
        with contextlib.suppress(SpoolError, StoreDamaged):
            self.finish_deleting()
        with contextlib.suppress(SpoolError, StoreDamaged):
            self.notice_others()
            self.cut_log()
        empty = self.is_empty
        self.close()
        if empty:
            self.claim.discard()
        else:
            self.claim.release()

    def abandon(self) -> bool:
        """Let go of everything in the child of a fork without touching the parent's file; whether it was open."""
        # Closing would checkpoint, and perhaps delete, a log that the parent is writing to.
        inherited = [connection for connection in (self._keeper, self._writer) if connection is not None]
        self._keeper = self._writer = None
        _leaked.extend(inherited)
        return bool(inherited)

    def settled(self, lane: int) -> frozenset[int]:
        """Records that are done with, which `delete` could not remove."""
        return frozenset(self._settled[lane])

    # -- within ----------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        application, version = self._pragma("application_id"), self._pragma("user_version")
        if application == tables.APPLICATION and version > tables.VERSION:
            raise StoreTooNew(f"format {version}, this package knows up to {tables.VERSION}")
        if application == version == 0 and not self._pragma("schema_version"):
            tables.create(self._writing())
        elif application != tables.APPLICATION:
            raise StoreDamaged(self, "another program's database")

    def _count(self) -> None:
        next_id = self.tally.next_id
        self._version = self._data_version()
        tally = tables.measure_all(self._writing())
        if tally.next_id > tables.MAX_ID:
            raise StoreDamaged(self, "an impossible id")
        self.tally = tally
        self.tally.next_id = max(tally.next_id, next_id)  # ids of what was delivered since are still in batches

    def _data_version(self) -> int:
        return self._pragma("data_version")

    def _pragma(self, name: str) -> int:
        return tables.pragma(self._writing(), name)

    def _add(self, lane: int, count: int, size: int) -> None:
        self.tally.counts[lane] += count
        self.tally.sizes[lane] += size
        self.tally.size += size

    def _drop(self, lane: int, ids: Sequence[int]) -> tuple[int, int]:
        count, size = self._transact(lambda writer: tables.delete(writer, lane, ids)) if ids else (0, 0)
        self._add(lane, -count, -size)
        return count, size

    def _excess(self, found: list[tuple[int, int, float]], max_count: int, max_bytes: int) -> list[tuple[int, int]]:
        count, size = self.tally.dead_count, self.tally.dead_size
        excess = []
        for number, length, _ in found:
            if count <= max_count and size <= max_bytes:
                break
            excess.append((number, length))
            count, size = count - 1, size - length
        return excess

    def _drop_dead(self, doomed: list[tuple[int, int]]) -> None:
        self._transact(lambda writer: tables.delete_dead(writer, [number for number, _ in doomed]))
        self.tally.dead_count -= len(doomed)
        self.tally.dead_size -= sum(size for _, size in doomed)

    def _transact(self, change: Callable[[sqlite3.Connection], T]) -> T:
        return self._do(lambda: self._transacted(self._writing(), change))

    def _transacted(self, writer: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
        writer.execute("BEGIN IMMEDIATE")
        try:
            result = change(writer)
            writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors
                writer.execute("ROLLBACK")
            raise
        return result

    def _do(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _writing(self) -> sqlite3.Connection:
        return self._writer or self._open_writer()

    def _keeping(self) -> sqlite3.Connection:
        return self._keeper or self._open_keeper()

    def _open_writer(self) -> sqlite3.Connection:
        self._writer = self._connect()
        return self._writer

    def _open_keeper(self) -> sqlite3.Connection:
        self._keeper = self._connect()
        self._keeper.execute("PRAGMA query_only=ON").close()
        return self._keeper

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.claim.path, "rw")  # never "rwc": SQLite would make a missing file readable by others
        try:
            for setting in (
                "journal_mode=WAL",
                f"synchronous={self._synchronous}",
                "secure_delete=ON",
                "wal_autocheckpoint=0",
                "cell_size_check=ON",
                "trusted_schema=OFF",
            ):
                connection.execute(f"PRAGMA {setting}").close()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _explain(self, error: sqlite3.Error) -> SpoolError | StoreDamaged:
        if is_damage(error):
            return StoreDamaged(self, str(error))
        return explain(error, self.claim.path)


def connect(path: str, mode: str) -> sqlite3.Connection:
    """A connection in autocommit mode to a file that exists, for any thread; ``mode`` is SQLite's "ro" or "rw"."""
    uri = f"file:{urllib.parse.quote(os.fsencode(path))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.text_factory = bytes  # a flipped bit can make text of a value, and of no encoding
    return connection


def salvage(path: str, lane: int) -> Iterator[tuple[int, float, bytes]]:
    """Id, time and payload of every record of a lane that can still be read from a damaged file. Never raises."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(path, "ro")) as connection:
        connection.execute("PRAGMA writable_schema=ON").close()  # without it SQLite reads nothing of a file cut short
        yield from tables.sound_rows(connection, lane)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file, rather than its surroundings, is to blame."""
    kinds = (sqlite3.DatabaseError, sqlite3.IntegrityError)
    return type(error) in kinds or _WRONG_TABLE.search(str(error)) is not None


def explain(error: sqlite3.Error, path: str) -> SpoolError:
    """What SQLite's error means to whoever put the record, but nothing of what is stored."""
    problem = str(error).partition(" with text ")[0]  # "Could not decode to UTF-8 column 'x' with text '…'"
    if "disk is full" in problem:
        return SpoolFull(path, "the disk is full", "make room; what is stored is safe and is still being delivered")
    return SpoolUnavailable(path, problem, "see that the disk works and that this user can write to it")
