"""The spool: what `put` accepted stays on disk until it is delivered, whatever becomes of this process.

Policy, over the files of `Stores`:

* One file per process. A file whose process died is claimed by the next one that looks, and drained where it lies.
* When ``max_bytes`` is reached, the oldest spans give way, then the oldest other logs; what is precious gives way last, and
  only to something precious. Age is bounded too. Everything that goes this way is counted, as (outcome, reason):

      evicted    spool_full, dead_letters_full
      expired    max_age, dead_letter_max_age

* Dead letters are bounded by number, age, and a tenth of ``max_bytes``.
* A damaged file is set aside, its sound records are kept: (set_aside | salvaged | lost, damaged_file).

``max_bytes`` bounds each process, and counts payloads with a small overhead; see ``docs/`` for the size on disk.

Two locks: ``_writing`` for changes, so held by `put`, and ``_reading`` for everything slow; who needs both takes ``_reading``
first. Both may be taken again by a signal handler of the thread that holds them. A fork takes both, so that no lock of
SQLite's is held in the child, and closes the files, so that the child inherits none.
"""

from __future__ import annotations

import itertools
import operator
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from otel_llm_feedback.boundary import say_once
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.delivery.dead_letters import by_file, page
from otel_llm_feedback.delivery.directory import forget_set_aside, private_directory
from otel_llm_feedback.delivery.records import (
    EVICTION_ORDER,
    LANES,
    Batch,
    DeadLetter,
    RecordId,
    Signal,
    SpoolStats,
)
from otel_llm_feedback.delivery.store import Store, StoreDamaged
from otel_llm_feedback.delivery.stores import Stores
from otel_llm_feedback.delivery.tables import OVERHEAD, Rows
from otel_llm_feedback.errors import ConfigurationError, SpoolError, SpoolFull, SpoolUnavailable

__all__ = ["Batch", "DeadLetter", "RecordId", "Signal", "Spool", "SpoolStats", "steady_clock"]

_LANE_OF: Final = {(lane.signal, lane.precious): index for index, lane in enumerate(LANES)}
_LANES_OF: Final = {signal: [n for n, lane in enumerate(LANES) if lane.signal is signal] for signal in Signal}
_DEAD_SHARE: Final = 10
_CHUNK: Final = 256
"""Records changed at a time while `put` waits."""
_TRIES: Final = 5

_WHERE: Final = operator.itemgetter(0, 1)
_NUMBER: Final = operator.itemgetter(2)

_Settle = Callable[[Store, int, list[int]], object]

T = TypeVar("T")


def steady_clock() -> Callable[[], float]:
    """Unix seconds that later jumps of the system's clock do not move: expiry must not depend on them."""
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()


class Spool:
    """A durable, bounded queue of serialised OTLP requests. Thread-safe, and safe to fork.

    ``ready`` is set after every put; clear it before asking for a batch. A child of a fork has its own.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        max_bytes: int,
        max_age_seconds: float,
        max_dead_letters: int = 10_000,
        fsync: bool = False,
        clock: Callable[[], float] | None = None,
        counters: Counters = DEFAULT_COUNTERS,
    ) -> None:
        """Open the spool, making the directory if need be.

        With ``fsync``, what was put survives power loss, not only the death of the process. ``clock`` gives Unix seconds.
        Raises `SpoolUnavailable` or `SpoolFull` when the directory cannot be used, `ConfigurationError` for a bound that is
        not positive.
        """
        for field, bound in (("max_bytes", max_bytes), ("max_age_seconds", max_age_seconds)):
            if not bound > 0:
                raise ConfigurationError(field, bound, "give a number above 0")
        self.directory = private_directory(directory)
        self._max_bytes = max_bytes
        self._max_age = max_age_seconds
        self._max_dead = max_dead_letters
        self._clock = clock or steady_clock()
        self._counters = counters
        self._fsync = fsync
        self._closed = False
        self._start()
        self._mend(self._stores.writable)
        _follow_forks(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self.ready = threading.Event()
        self._reading = threading.RLock()
        self._writing = threading.RLock()
        self._stores = Stores(
            self.directory, fsync=self._fsync, clock=self._clock, counters=self._counters, changing=self._writing
        )

    # -- putting ---------------------------------------------------------------------------------------------------------

    def put(self, signal: Signal, payload: bytes, *, precious: bool) -> None:
        """Store one serialised export request; when this returns it survives the process.

        Raises `SpoolFull` when the disk is full or the bound is reached by what may not give way, `SpoolUnavailable` when the
        directory is out of reach or the spool is closed. Never waits for the network.
        """
        lane = _LANE_OF[signal, precious]
        self._notice_fork()
        at = self._clock()
        try:
            store = self._put(lane, at, payload)
        except StoreDamaged as damage:
            store = self._repair(damage, lambda: self._put(lane, at, payload))
        if not self.ready.is_set():
            self.ready.set()
        if store.is_unchecked_for_long and self._reading.acquire(blocking=False):
            try:  # nobody calls `maintain`, or what it does is stuck
                self._quietly(lambda: self._checkpoint(store))
            finally:
                self._reading.release()

    def _put(self, lane: int, at: float, payload: bytes) -> Store:
        with self._writing:
            if self._closed:
                raise SpoolUnavailable(self.directory, "is closed", "put records before closing it")
            stores = self._stores
            store = stores.writable()
            size = len(payload) + OVERHEAD
            if stores.size + size > self._max_bytes:
                self._make_room(size, precious=LANES[lane].precious)
            store.insert(lane, at, payload)
            return store

    def _make_room(self, size: int, *, precious: bool) -> None:
        stores = self._stores.all
        lanes = [lane for lane in EVICTION_ORDER if precious or not LANES[lane].precious]
        needed = self._stores.size + size - self._max_bytes
        if needed > sum(store.tally.sizes[lane] for store in stores for lane in lanes):
            raise SpoolFull(
                self.directory, f"no room for {size} bytes", "raise max_bytes, or see why nothing is delivered"
            )
        for lane in lanes:
            for store in stores:
                while needed > 0 and store.tally.counts[lane]:
                    count, freed = store.evict(lane, needed)
                    needed -= freed
                    self._count("evicted", "spool_full", count)

    # -- delivering ------------------------------------------------------------------------------------------------------

    def batch(self, signal: Signal, max_bytes: int, max_count: int) -> Batch:
        """The oldest undelivered records, what is precious first, within both bounds but at least one; empty if none.

        The same records come again until they are given to `delivered` or `bury`. Raises `SpoolError`.
        """
        return self._mend(lambda: self._batch(signal, max_bytes, max_count))

    def _batch(self, signal: Signal, max_bytes: int, max_count: int) -> Batch:
        failure: SpoolError | None = None
        with self._reading:
            for lane in _LANES_OF[signal]:
                for store in self._stores.all:
                    try:
                        rows = self._read(store, lane, max_bytes, max_count)
                    except SpoolError as error:  # what one file refuses another may have
                        failure = error
                        continue
                    if rows.ids:
                        ids = tuple(zip(itertools.repeat(store.number), itertools.repeat(lane), rows.ids))
                        return Batch(signal, ids, tuple(rows.payloads), rows.size)
        if failure is not None:
            raise failure
        return Batch(signal)

    def _read(self, store: Store, lane: int, max_bytes: int, max_count: int) -> Rows:
        if not store.tally.counts[lane]:
            return Rows()
        try:
            rows = store.read(lane, max_bytes, max_count)
        except SpoolError:
            if store.claim.gone():
                self._stores.give_up(store)
            raise
        if rows.spoiled:
            self._bury(store, lane, rows.spoiled, "checksum", "the disk returned other bytes than were put")
        return rows

    def delivered(self, ids: Iterable[RecordId]) -> None:
        """Delete records that the collector has. Raises `SpoolError`; even then they will not come in a batch again."""
        self._notice_fork()
        groups = _by_lane(ids)
        with self._writing:
            for (number, lane), numbers in groups.items():
                store = self._stores.numbered(number)
                if store is not None:
                    store.settle(lane, numbers)
        self._settle(groups, lambda store, lane, numbers: store.delete(lane, numbers))

    def bury(self, ids: Iterable[RecordId], reason: str, detail: str = "") -> None:
        """Make dead letters of records that the collector will never take; counted as ("dead_lettered", reason).

        Raises `SpoolError`; they will then come again.
        """
        self._notice_fork()
        self._settle(_by_lane(ids), lambda store, lane, numbers: self._bury(store, lane, numbers, reason, detail))

    def _bury(self, store: Store, lane: int, numbers: Sequence[int], reason: str, detail: str) -> None:
        with self._writing:
            count = store.bury(lane, numbers, (self._clock(), reason, detail))
            self._count("dead_lettered", reason, count)
            self._trim_dead(store)

    def _settle(self, groups: dict[tuple[int, int], list[int]], action: _Settle) -> None:
        parts = [
            (number, lane, numbers[start : start + _CHUNK])
            for (number, lane), numbers in groups.items()
            for start in range(0, len(numbers), _CHUNK)
        ]
        failures = [failure for failure in (self._settle_part(action, *part) for part in parts) if failure is not None]
        if failures:
            raise failures[0]

    def _settle_part(self, action: _Settle, number: int, lane: int, numbers: list[int]) -> SpoolError | None:
        try:
            with self._writing:
                store = self._stores.numbered(number)
                if store is not None:
                    action(store, lane, numbers)
        except StoreDamaged as damage:
            self._replace(damage.store)
        except SpoolError as error:
            return error
        return None

    # -- keeping house ---------------------------------------------------------------------------------------------------

    def claim_orphans(self) -> int:
        """Adopt files that dead processes left, so that `batch` brings what is in them; how many. Raises `SpoolError`.

        At most a few are open at a time: call it again, say every half minute.
        """
        found = self._mend(self._claim_orphans)
        if found:
            self.ready.set()
        return found

    def _claim_orphans(self) -> int:
        with self._reading:
            return 0 if self._closed else self._stores.adopt(self._trim_dead)

    def maintain(self) -> None:
        """Checkpoint, expire and tidy up; for the thread that delivers, every second or so. Never raises."""
        self._notice_fork()
        for store in self._stores.all:
            self._quietly(lambda s=store: self._maintain(s))  # type: ignore[misc]
        with self._reading:
            self._stores.drop_drained()
        forget_set_aside(self.directory, time.time() - self._max_age)  # against the clock that the file system uses

    def _maintain(self, store: Store) -> None:
        with self._reading:
            if store not in self._stores.all:
                return
            with self._writing:
                if store.notice_others():
                    self.ready.set()
            self._checkpoint(store)
            with self._writing:
                store.finish_deleting()
                self._trim_dead(store)
            for lane in EVICTION_ORDER:
                self._expire(store, lane)
            with self._writing:
                store.shrink()

    def _checkpoint(self, store: Store) -> None:
        if store.checkpoint():
            with self._writing:
                store.cut_log()

    def _expire(self, store: Store, lane: int) -> None:
        count = 1 if store.tally.counts[lane] else 0
        while count:
            with self._writing:
                count = store.expire(lane, self._clock() - self._max_age)
            self._count("expired", "max_age", count)

    def _trim_dead(self, store: Store) -> None:
        expired, evicted = store.trim_dead(
            self._max_dead, self._max_bytes // _DEAD_SHARE, self._clock() - self._max_age
        )
        self._count("expired", "dead_letter_max_age", expired)
        self._count("evicted", "dead_letters_full", evicted)

    def _count(self, outcome: str, reason: str, count: int) -> None:
        if count:
            self._counters.add(outcome, reason, count)

    def close(self) -> None:
        """Let go of all files; what is undelivered stays for the next process. Never raises, and may be called again."""
        self._notice_fork()
        with self._reading, self._writing:
            self._closed = True
            self._stores.retire()

    # -- looking ---------------------------------------------------------------------------------------------------------

    def stats(self) -> SpoolStats:
        """What this process has in its hands: its own file and those it adopted. Raises `SpoolError`."""
        return self._mend(self._stats)

    def _stats(self) -> SpoolStats:
        with self._reading:
            stores = self._stores.all
            times = [time for time in (store.oldest_time() for store in stores) if time is not None]
        tallies = [store.tally for store in stores]
        return SpoolStats(
            records={
                # without what was delivered and, for want of room, could not be deleted yet
                signal: sum(
                    max(0, store.tally.counts[n] - len(store.settled(n))) for store in stores for n in _LANES_OF[signal]
                )
                for signal in Signal
            },
            bytes=sum(store.size for store in stores),
            oldest_age_seconds=max(0.0, self._clock() - min(times)) if times else None,
            dead_letters=sum(tally.dead_count for tally in tallies),
            dead_bytes=sum(tally.dead_size for tally in tallies),
            files=len(stores),
        )

    def dead_letters(self, limit: int = 100, after_id: str | None = None) -> list[DeadLetter]:
        """Up to ``limit`` dead letters in the order of their ids, from the one behind ``after_id``. Raises `SpoolError`."""

        def look() -> list[DeadLetter]:
            with self._reading:
                files = [(store.claim.name, store.dead_rows) for store in self._stores.all]
                return page(files, limit, after_id, lambda: self._count("ignored", "damaged_dead_letter", 1))

        return self._mend(look)

    def retry_dead(self, ids: Iterable[str] | None = None) -> int:
        """Give dead letters (None: all) another try; how many. Raises `SpoolError`, `InvalidField` for what is not an id."""
        count = self._change_dead(ids, lambda store, numbers: store.requeue(numbers, self._clock()))
        if count:
            self.ready.set()
        return count

    def purge_dead(self, ids: Iterable[str] | None = None) -> int:
        """Delete dead letters (None: all); how many. Raises `SpoolError`, `InvalidField` for what is not an id."""
        return self._change_dead(ids, lambda store, numbers: store.purge(numbers))

    def _change_dead(self, ids: Iterable[str] | None, change: Callable[[Store, Sequence[int] | None], int]) -> int:
        chosen = None if ids is None else by_file(ids)

        def change_all() -> int:
            with self._writing:
                return sum(
                    change(store, None if chosen is None else chosen[store.claim.name])
                    for store in self._stores.all
                    if chosen is None or store.claim.name in chosen
                )

        return self._mend(change_all)

    # -- when things go wrong --------------------------------------------------------------------------------------------

    def _mend(self, action: Callable[[], T]) -> T:
        """The action's result; each file that turns out to be damaged is replaced, and the action tried again."""
        self._notice_fork()
        try:
            return action()
        except StoreDamaged as damage:
            return self._repair(damage, action)

    def _repair(self, damage: StoreDamaged, action: Callable[[], T], tries: int = _TRIES) -> T:
        if not tries:
            raise SpoolUnavailable(
                self.directory, "every file in it gets damaged", "see that the disk works"
            ) from damage
        try:
            self._replace(damage.store)
            return action()
        except StoreDamaged as another:
            next_damage = another
        return self._repair(next_damage, action, tries - 1)

    def _replace(self, damaged: Store) -> None:
        with self._reading:
            self._stores.replace(damaged)

    def _quietly(self, action: Callable[[], object]) -> None:
        try:
            self._mend(action)
        except SpoolError as error:
            self._counters.add("maintenance_failed", type(error).__name__)
            say_once(f"{self.directory}/{type(error).__name__}", "%s", error)

    # -- forks -----------------------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        self._reading.acquire()
        self._writing.acquire()
        self._stores.pause()

    def _after_fork_in_parent(self) -> None:
        self._writing.release()
        self._reading.release()

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():  # a fork in C, which ran no hooks
            self._become_child()

    def _become_child(self) -> None:
        self._counters.reset_lock_after_fork()
        self._stores.abandon()
        self._start()


def _follow_forks(spool: Spool) -> None:
    follower = weakref.ref(spool)

    def tell(hook: Callable[[Spool], None]) -> None:
        alive = follower()
        if alive is not None:
            hook(alive)

    os.register_at_fork(
        before=lambda: tell(Spool._before_fork),
        after_in_parent=lambda: tell(Spool._after_fork_in_parent),
        after_in_child=lambda: tell(Spool._become_child),
    )


def _by_lane(ids: Iterable[RecordId]) -> dict[tuple[int, int], list[int]]:
    """The numbers, ascending and distinct, by store and lane."""
    groups: dict[tuple[int, int], set[int]] = {}
    for where, group in itertools.groupby(ids, key=_WHERE):
        groups.setdefault(where, set()).update(map(_NUMBER, group))
    return {where: sorted(numbers) for where, numbers in groups.items()}
