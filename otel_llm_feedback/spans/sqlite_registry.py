"""The call registry that the processes of one host share: an SQLite file.

`SQLiteCallRegistry.put` appends a row to a table without an index, with no wait for the disk; a thread indexes such rows in
batches, drops what is beyond the bounds and moves SQLite's log into the file. It is started by the first put that leaves
enough to do, in whichever process that is.

Two locks, always taken in this order: ``_keeping``, held through one round of that work, and ``_lock``, held for moments by
whoever uses the connection. A fork takes both and closes the file first: SQLite remembers locks that a child does not have.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

from otel_llm_feedback.boundary import say_once, swallow
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.spans import call_tables
from otel_llm_feedback.spans.call import LLMCall
from otel_llm_feedback.spans.call_file import Identity, Opened, checkpointer, identity, is_damage, open_calls

__all__ = ["SQLiteCallRegistry"]

logger = logging.getLogger("otel_llm_feedback")

FRESH_CALLS: Final = 256
"""Calls that are put, by all processes together, before a round of upkeep; look-ups go through them one by one."""

LOOK_AGAIN_NS: Final = 1_000_000_000
"""How often to see whether another process set the file aside, and to try again to open one."""

LONG_LOG_PAGES: Final = 8192
"""A log as long as this is started anew even if writers must wait for it."""

BATCHES_PER_CHECKPOINT: Final = 64

BETWEEN_BATCHES_SECONDS: Final = 0.0005
"""For those who wait to put a call."""

REASONS: Final = (
    ("disk is full", "disk_full"),
    ("locked", "busy"),
    ("readonly", "read_only"),
    ("unable to open", "cannot_open"),
    ("binding parameter", "not_storable"),
)
"""What SQLite says, and the reason it is counted under."""

T = TypeVar("T")

_leaked: list[Opened] = []
"""Connections inherited through a fork that we did not see: closing them would harm the parent's file."""


class _Unavailable(Exception):
    """There is no file to work with for now."""


class SQLiteCallRegistry:
    """Captured calls of all processes of this host that name the same file. Thread-safe; survives forks and crashes.

    The directory is made if it is missing (mode 0700), the file too (0600); neither may be open to other users. Calls come
    without any content, but their conversation and message ids are the application's own. A crash of the process loses
    nothing; a power failure may lose the last seconds. A damaged file is set aside as ``<path>.corrupt``, over an earlier one.

    What fails once the registry is made is never raised, but counted as ("registry_failed", reason): ``disk_full``, ``busy``,
    ``read_only``, ``cannot_open``, ``damaged_file``, ``misconfigured``, ``forked`` (by a program that tells Python only
    afterwards), ``not_storable``, ``io_error``. A put that failed is forgotten, a look-up that failed finds nothing.

    path: the file; on a local disk, because network file systems do not lock as SQLite needs it.
    max_calls: calls kept, give or take a few hundred; the oldest go first, counted as ("forgotten", "max_calls"). A span put
        again takes a place again.
    max_age_seconds: how long after its end a call can be found.
    time_ns: the clock, nanoseconds since the epoch.

    Raises ConfigurationError for bad bounds, a path that is not private, another program's database and a file that a newer
    version of this package wrote.
    """

    _opened: Opened | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_calls: int = 1_000_000,
        max_age_seconds: float = 7 * 24 * 3600.0,
        *,
        time_ns: Callable[[], int] = time.time_ns,
        counters: Counters = DEFAULT_COUNTERS,
    ) -> None:
        if max_calls < 1:
            raise ConfigurationError("max_calls", max_calls, "keep at least 1 call")
        if not 0 < max_age_seconds < 1e9:
            raise ConfigurationError("max_age_seconds", max_age_seconds, "give a positive number of seconds, below 1e9")
        self._path = os.path.abspath(os.fspath(path))
        self._max_calls = max_calls
        self._max_age = int(max_age_seconds * 1e9)
        self._time_ns = time_ns
        self._counters = counters
        self._damaged: Identity | None = None
        self._looked_at = 0
        self._busy_at: int | None = None
        self._failed_at: int | None = None
        self._failed_for = ""
        self._disowned = False
        self._thread: threading.Thread | None = None
        self._renew()
        _follow_forks(self)
        self._open_first()

    def __len__(self) -> int:
        """Calls in the file, those of other processes too; counts them one by one."""
        return self._attempt(call_tables.count) or 0

    def __del__(self) -> None:
        if self._opened is not None and self._pid != os.getpid():
            _leaked.append(self._opened)
        else:
            self._let_go()

    def put(self, call: LLMCall) -> None:
        """Remember an ended call; the same span again replaces what was known of it."""
        if self._busy_at is not None and self._is_still_time(self._busy_at):
            self._counters.add("registry_failed", "busy")
            return
        fresh = self._attempt(lambda connection: call_tables.put(connection, call))
        if fresh is not None and fresh % FRESH_CALLS == 0:
            self._ask_for_upkeep()

    def by_span(self, trace_id: str, span_id: str) -> LLMCall | None:
        """The call of exactly this span."""
        return self._find(lambda connection: call_tables.by_span(connection, trace_id, span_id))

    def by_trace(self, trace_id: str) -> LLMCall | None:
        """The votable call of this trace that ended last."""
        return self._find(lambda connection: call_tables.by_trace(connection, trace_id))

    def by_response(self, response_id: str) -> LLMCall | None:
        """The call that the provider answered with this ``gen_ai.response.id``."""
        return self._find(lambda connection: call_tables.by_text(connection, "response_id", response_id))

    def by_conversation(self, conversation_id: str) -> LLMCall | None:
        """The votable call of this conversation that ended last."""
        return self._find(lambda connection: call_tables.by_text(connection, "conversation_id", conversation_id))

    def by_message(self, message_id: str) -> LLMCall | None:
        """The call made for this message id of the application: the last one, votable ones before others."""
        return self._find(lambda connection: call_tables.by_text(connection, "message_id", message_id))

    def clear(self) -> None:
        """Forget every call, of every process."""
        self._attempt(lambda connection: self._transact(connection, call_tables.clear))

    def upkeep(self) -> None:
        """Index what is fresh, keep the bounds, move SQLite's log into the file: now, instead of every few hundred calls."""
        with self._keeping:
            for step in (self._move, self._trim):
                for batch in itertools.count(1):
                    more = self._attempt(step)
                    if not more or batch % BATCHES_PER_CHECKPOINT == 0:
                        self._checkpoint()
                    if not more:
                        break
                    time.sleep(BETWEEN_BATCHES_SECONDS)

    def close(self) -> None:
        """Let go of the file and end the thread. The next use opens it again."""
        with self._keeping, self._lock:
            self._let_go()
            self._thread = None
            self._wake.set()

    # -- every access ----------------------------------------------------------------------------------------------------

    def _find(self, look_up: Callable[[sqlite3.Connection], LLMCall | None]) -> LLMCall | None:
        call = self._attempt(look_up)
        return call if call is not None and (call.end_time or call.start_time) >= self._oldest() else None

    def _oldest(self) -> int:
        return self._time_ns() - self._max_age

    def _attempt(self, action: Callable[[sqlite3.Connection], T]) -> T | None:
        """The action's result; None if there is no file, or it failed, which is counted."""
        with self._lock:
            try:
                return action(self._usable())
            except _Unavailable:
                self._counters.add("registry_failed", self._failed_for)
            except (sqlite3.Error, OSError, ConfigurationError) as error:
                self._note(error)
            except (UnicodeError, OverflowError):  # half of a surrogate pair, or a number beyond 64 bits
                self._counters.add("registry_failed", "not_storable")
        return None

    def _transact(self, connection: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = change(connection)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors
                connection.execute("ROLLBACK")
            raise
        return result

    def _note(self, error: sqlite3.Error | OSError | ConfigurationError) -> None:
        reason = _reason(error)
        self._counters.add("registry_failed", reason)
        if reason == "damaged_file" and self._opened is not None:
            self._damaged = self._opened.identity
            self._let_go()
        elif self._opened is None:
            self._failed_at, self._failed_for = self._time_ns(), reason
        elif reason == "busy":  # some process stands still while it writes: let not every caller wait for it
            self._busy_at = self._time_ns()
        if reason != "damaged_file":
            say_once(f"{self._path}/{reason}", "call registry %s: %s; feedback goes on without it", self._path, error)

    # -- the file --------------------------------------------------------------------------------------------------------

    def _open_first(self) -> None:
        with self._lock:
            try:
                self._open()
            except (sqlite3.Error, OSError) as error:
                self._note(error)
            self._let_go()  # a program that forks before it makes calls need not know about us

    def _usable(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            self._become_child()
        if self._opened is not None and not self._is_still_time(self._looked_at):
            self._looked_at = self._time_ns()
            if identity(self._path) != self._opened.identity:  # another process set it aside
                self._let_go()
        if self._opened is not None:
            return self._opened.connection
        if self._disowned or (self._failed_at is not None and self._is_still_time(self._failed_at)):
            raise _Unavailable
        return self._open().connection

    def _is_still_time(self, since: int) -> bool:
        return abs(self._time_ns() - since) < LOOK_AGAIN_NS

    def _open(self) -> Opened:
        opened = open_calls(self._path, self._damaged)
        self._opened, self._damaged, self._looked_at = opened, None, self._time_ns()
        self._failed_at = None
        if opened.set_aside is not None:
            self._counters.add("set_aside", "damaged_registry")
            logger.error(
                "call registry %s is damaged; it is set aside as %s, a new one is made", self._path, opened.set_aside
            )
        return opened

    def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            with contextlib.suppress(sqlite3.Error):
                opened.connection.close()

    # -- upkeep ----------------------------------------------------------------------------------------------------------

    def _ask_for_upkeep(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._wake = threading.Event()
                self._thread = threading.Thread(
                    target=_keep_up,
                    args=(weakref.ref(self, _waker(self._wake)), self._wake),
                    name="otel-llm-feedback-registry",
                    daemon=True,
                )
                with contextlib.suppress(RuntimeError):  # the interpreter is ending
                    self._thread.start()
            self._wake.set()

    def _move(self, connection: sqlite3.Connection) -> bool:
        moved, unusable = self._transact(connection, call_tables.move)
        if unusable:
            self._counters.add("registry_failed", "not_storable", unusable)
        return moved == call_tables.BATCH  # not until none is left: some always come in between

    def _trim(self, connection: sqlite3.Connection) -> bool:
        oldest = self._oldest()
        excess, expired = self._transact(connection, lambda within: call_tables.trim(within, self._max_calls, oldest))
        if excess:
            self._counters.add("forgotten", "max_calls", excess)
        return excess + expired == call_tables.BATCH

    def _checkpoint(self) -> None:
        if self._opened is None:
            return
        try:
            with contextlib.closing(checkpointer(self._path)) as connection:
                _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages > LONG_LOG_PAGES:  # behind busy writers, a passive one never comes to its end
                    with self._lock:
                        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error as error:
            with self._lock:
                self._note(error)

    # -- forks -----------------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        self._keeping, self._lock = threading.RLock(), threading.RLock()
        self._pid = os.getpid()
        self._thread = None
        self._wake = threading.Event()

    def _before_fork(self) -> None:
        self._keeping.acquire()
        self._lock.acquire()
        self._let_go()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()
        self._keeping.release()

    def _become_child(self) -> None:
        self._counters.reset_lock_after_fork()
        self._renew()
        if self._opened is not None:  # a fork in C, which ran no hooks
            _leaked.append(self._opened)
            self._opened, self._disowned, self._failed_for = None, True, "forked"
            say_once(
                f"{self._path}/forked",
                "call registry %s was in use at a fork that Python was not told of; this process goes on without it",
                self._path,
            )


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        return "misconfigured"
    if is_damage(error):
        return "damaged_file"
    if isinstance(error, BlockingIOError):
        return "busy"
    said = str(error)
    return next((reason for text, reason in REASONS if text in said), "io_error")


def _keep_up(owner: weakref.ref[SQLiteCallRegistry], wake: threading.Event) -> None:
    """The thread: a round of upkeep whenever it is woken, until its registry has another thread or is gone."""
    while True:
        wake.wait()
        wake.clear()
        registry = owner()
        if registry is None:
            return
        try:
            with registry._keeping:  # first: `close` may be under way
                if registry._thread is not threading.current_thread():
                    return
                registry.upkeep()
        except Exception as error:  # noqa: BLE001 - the application must not see it, nor this thread end by it
            swallow("SQLiteCallRegistry.upkeep", error)
        del registry


def _waker(wake: threading.Event) -> Callable[[object], None]:
    return lambda _: wake.set()


def _follow_forks(registry: SQLiteCallRegistry) -> None:
    follower = weakref.ref(registry)

    def tell(hook: Callable[[SQLiteCallRegistry], None]) -> None:
        alive = follower()
        if alive is not None:
            hook(alive)

    os.register_at_fork(
        before=lambda: tell(SQLiteCallRegistry._before_fork),
        after_in_parent=lambda: tell(SQLiteCallRegistry._after_fork_in_parent),
        after_in_child=lambda: tell(SQLiteCallRegistry._become_child),
    )
