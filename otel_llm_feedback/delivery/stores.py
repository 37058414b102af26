"""The files that one process has open: its own, which it writes, and orphans of dead processes, which it only drains.

An orphan is drained where it lies rather than copied: a crash in the middle of a copy would lose records or double them.
Call a method marked (changes stopped) with the owner's lock for changes, ``changing``; others with the owner's lock for
reads, or with both: what takes long lets changes go on and stops them only for moments.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final

from otel_llm_feedback.boundary import say_once
from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.directory import (
    Claim,
    disown,
    new_claim,
    private_directory,
    spool_names,
    try_claim,
)
from otel_llm_feedback.delivery.records import LANES
from otel_llm_feedback.delivery.store import Store, StoreDamaged, StoreTooNew, salvage
from otel_llm_feedback.errors import SpoolError

__all__ = ["Stores"]

logger = logging.getLogger("otel_llm_feedback")

MAX_ADOPTED: Final = 8
"""Orphans open at a time (five descriptors each); the next ones follow when these are drained."""

REUSE_BELOW_BYTES: Final = 16 * 1024 * 1024
"""An orphan up to this size becomes the file to write to: a process that keeps crashing must not leave a file each time.

Counting a larger one would take the caller too long; it is adopted later, by the thread that delivers.
"""

_SALVAGE_ROWS: Final = 256


class Stores:
    """``own`` is the file to write to, None until `writable` opened one; ``adopted`` the orphans."""

    def __init__(
        self, directory: str, *, fsync: bool, clock: Callable[[], float], counters: Counters, changing: threading.RLock
    ) -> None:
        self.directory = directory
        self.own: Store | None = None
        self.adopted: tuple[Store, ...] = ()
        self._changing = changing
        self._fsync = fsync
        self._clock = clock
        self._counters = counters
        self._damaged: list[str] = []

    @property
    def size(self) -> int:
        """Bytes of all records that wait for delivery."""
        own = 0 if self.own is None else self.own.tally.size
        return own + sum([store.tally.size for store in self.adopted]) if self.adopted else own

    @property
    def all(self) -> tuple[Store, ...]:
        """Every open file, older ones first."""
        return self.adopted if self.own is None else (*self.adopted, self.own)

    def numbered(self, number: int) -> Store | None:
        """The open file of that number."""
        return next((store for store in self.all if store.number == number), None)

    def writable(self) -> Store:
        """(changes stopped) The file to write to, opened if there is none. Raises `SpoolError`, or `StoreDamaged`."""
        own = self.own
        if own is not None and own.claim.gone():  # a call to the kernel for each put: the next one must not be lost
            self._counters.add("set_aside", "file_removed")
            # What is in it can still be read through the open descriptors, and through nothing else.
            self.adopted, self.own = (*self.adopted, own), None
        return self.own or self._open_own()

    def adopt(self, tidy: Callable[[Store], None]) -> int:
        """Open files that dead processes left, and ``tidy`` them; how many hold something to deliver."""
        found = 0
        for store in self._orphans():
            with self._changing:
                tidy(store)
            if store.records:
                with self._changing:
                    self.adopted = (*self.adopted, store)
                found += 1
            else:  # dead letters alone need no process
                store.retire()
            if len(self.adopted) >= MAX_ADOPTED:
                break
        self._salvage_damaged()
        return found

    def replace(self, damaged: Store) -> None:
        """Set a damaged file aside and bring what can be read of it to a sound one."""
        with self._changing:
            if damaged not in self.all:
                return  # another thread came first
            known = damaged.records
            settled = [damaged.settled(lane) for lane in range(len(LANES))]
            self._forget(damaged)
            self._set_aside(damaged)
        saved = self._salvage_damaged(settled)
        lost = known - saved - sum(map(len, settled))
        if lost > 0:
            self._counters.add("lost", "damaged_file", lost)

    def give_up(self, store: Store) -> None:
        """Forget a removed file that cannot be read any more."""
        with self._changing:
            self._counters.add("lost", "file_removed", store.records)
            self._forget(store)
            store.close()
            store.claim.release()

    def drop_drained(self) -> None:
        """Give up the orphans that have nothing left to deliver."""
        for store in self.adopted:
            with self._changing:
                if not store.records:
                    self._forget(store)
                    store.retire()

    def pause(self) -> None:
        """(changes stopped) Close every file, but keep the claims; each opens again when it is next used."""
        for store in self.all:
            if not store.claim.gone():  # a file that was removed could not be opened again
                store.close()

    def abandon(self) -> None:
        """In the child of a fork: leave all files to the parent."""
        for store in self.all:
            disown(store.claim, opened=store.abandon())

    def retire(self) -> None:
        """(changes stopped) Close every file for good."""
        for store in self.all:
            store.retire()
        self.own, self.adopted = None, ()

    def _forget(self, store: Store) -> None:
        self.adopted = tuple(other for other in self.adopted if other is not store)
        if self.own is store:
            self.own = None

    def _open_own(self) -> Store:
        private_directory(self.directory)
        own = next(self._orphans(REUSE_BELOW_BYTES), None) or self._new()
        self.own = own
        self._salvage_damaged()
        return own

    def _new(self) -> Store:
        claim = new_claim(self.directory)
        store = Store(claim, fsync=self._fsync)
        try:
            store.open()
        except (SpoolError, StoreDamaged):
            store.close()
            claim.discard()
            raise
        return store

    def _orphans(self, max_bytes: int | None = None) -> Iterator[Store]:
        for name in spool_names(self.directory):
            claim = try_claim(self.directory, name)
            if claim is None:
                continue
            store = None if max_bytes is not None and claim.size() > max_bytes else self._admit(claim)
            if store is None:
                claim.release()
            else:
                yield store

    def _admit(self, claim: Claim) -> Store | None:
        store = Store(claim, fsync=self._fsync)
        try:
            store.open()
            return store
        except StoreTooNew as error:
            store.close()
            self._counters.add("ignored", "newer_version")
            say_once(claim.path, "spool file %s is left alone: %s", claim.path, error)
        except StoreDamaged:
            self._set_aside(store)
        except SpoolError as error:
            store.close()
            self._counters.add("ignored", "unreadable_file")
            say_once(claim.path, "%s", error)
        return None

    def _set_aside(self, store: Store) -> None:
        store.close()
        aside = store.claim.set_aside(self._clock())
        self._damaged.append(aside)
        self._counters.add("set_aside", "damaged_file")
        logger.error(
            "spool file %s is damaged; it is set aside as %s, what can be read of it is kept", store.claim.path, aside
        )

    def _salvage_damaged(self, settled: list[frozenset[int]] | None = None) -> int:
        """Copy the sound records of damaged files; how many. A crash meanwhile leaves them in the file set aside."""
        saved = 0
        while self._damaged:
            aside = self._damaged.pop()
            for lane in range(len(LANES)):
                done = settled[lane] if settled else frozenset()
                rows = ((at, payload) for number, at, payload in salvage(aside, lane) if number not in done)
                while chunk := list(itertools.islice(rows, _SALVAGE_ROWS)):
                    with self._changing:
                        saved += self.writable().take_over(lane, chunk)
        if saved:
            self._counters.add("salvaged", "damaged_file", saved)
        return saved
