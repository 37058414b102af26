"""A spool seen from another process: what it holds, and its dead letters. Owns nothing and never holds up its owner.

It reads in short steps, because a long read would keep the owner's log from being reset.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from otel_llm_feedback.delivery import tables
from otel_llm_feedback.delivery.dead_letters import by_file, page
from otel_llm_feedback.delivery.directory import spool_names, spool_path
from otel_llm_feedback.delivery.records import LANES, DeadLetter, Signal, SpoolStats
from otel_llm_feedback.delivery.store import connect, explain, is_damage

__all__ = ["SpoolReader"]

_STEP: Final = 256

T = TypeVar("T")


class SpoolReader:
    """Looks into the spool at ``directory``, live or left behind. Raises `SpoolError` where it cannot be read.

    Damaged files and those of a newer version are passed over, and so are damaged records, which ``spoiled`` counts.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.path.abspath(os.fspath(directory))
        self.spoiled = 0

    def stats(self, now: float) -> SpoolStats:
        """What all files together hold; ``now``, in Unix seconds, is what ages are measured to."""
        found = [each for each in (self._ask(name, _survey) for name in self._names()) if each is not None]
        times = [oldest for _, oldest in found if oldest is not None]
        tallies = [tally for tally, _ in found]
        return SpoolStats(
            records={
                signal: sum(
                    tally.counts[n] for tally in tallies for n, lane in enumerate(LANES) if lane.signal is signal
                )
                for signal in Signal
            },
            bytes=sum(sum(tally.sizes) for tally in tallies),
            oldest_age_seconds=max(0.0, now - min(times)) if times else None,
            dead_letters=sum(tally.dead_count for tally in tallies),
            dead_bytes=sum(tally.dead_size for tally in tallies),
            files=len(found),
        )

    def payloads(self, signal: Signal) -> Iterator[bytes]:
        """Every undelivered record of a signal, oldest first within each file; what arrives meanwhile may be left out."""
        for name in self._names():
            for index, lane in enumerate(LANES):
                if lane.signal is signal:
                    yield from self._lane(name, index)

    def _lane(self, name: str, lane: int) -> Iterator[bytes]:
        """What was in a lane when it began: to follow a busy owner could take for ever."""
        after, last = -1, self._ask(name, lambda db: tables.last_id(db, lane)) or 0
        while after < last:
            rows = self._ask(name, lambda db, a=after: tables.rows_between(db, lane, a, last, _STEP)) or []  # type: ignore[misc]
            for _, crc, payload in rows:
                if tables.is_sound(crc, payload):
                    yield payload
                else:
                    self.spoiled += 1
            after = rows[-1][0] if len(rows) == _STEP else last

    def dead_letters(self, limit: int = 100, after_id: str | None = None) -> list[DeadLetter]:
        """Up to ``limit`` dead letters in the order of their ids, from the one behind ``after_id``."""

        def fetcher(name: str) -> Callable[[int, int], list[tables.DeadRow]]:
            return lambda count, after: self._ask(name, lambda db: tables.dead_rows(db, count, after)) or []

        return page(((name, fetcher(name)) for name in self._names()), limit, after_id, self._note_spoiled)

    def retry_dead(self, ids: Sequence[str] | None, now: float) -> int:
        """Give dead letters (None: all) another try, by whoever owns their file next; how many."""
        return self._change(ids, lambda db, numbers: tables.requeue(db, numbers, now))

    def purge_dead(self, ids: Sequence[str] | None) -> int:
        """Delete dead letters (None: all); how many."""
        return self._change(ids, tables.delete_dead)

    def _note_spoiled(self) -> None:
        self.spoiled += 1

    def _names(self) -> list[str]:
        return spool_names(self.directory)

    def _change(
        self, ids: Sequence[str] | None, change: Callable[[sqlite3.Connection, Sequence[int] | None], int]
    ) -> int:
        chosen = None if ids is None else by_file(ids)

        def transact(db: sqlite3.Connection, numbers: Sequence[int] | None) -> int:
            db.execute("PRAGMA secure_delete=ON").close()
            db.execute("BEGIN IMMEDIATE")
            count = change(db, numbers)
            db.execute("COMMIT")
            return count

        total = 0
        for name in self._names():
            if chosen is None or name in chosen:
                numbers = None if chosen is None else chosen[name]
                total += self._ask(name, lambda db, n=numbers: transact(db, n), mode="rw") or 0  # type: ignore[misc]
        return total

    def _ask(self, name: str, question: Callable[[sqlite3.Connection], T], mode: str = "ro") -> T | None:
        path = spool_path(self.directory, name)
        try:
            with contextlib.closing(connect(path, mode)) as connection:
                return question(connection) if tables.is_ours(connection) else None
        except sqlite3.Error as error:
            if is_damage(error) or not os.path.lexists(path):  # drained and removed while we looked
                return None
            raise explain(error, path) from error


def _survey(connection: sqlite3.Connection) -> tuple[tables.Tally, float | None]:
    times = [tables.oldest_time(connection, lane) for lane in range(len(LANES))]
    return tables.measure_all(connection), min((time for time in times if time is not None), default=None)
