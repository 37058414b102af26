"""The file that the processes of a host share their calls in: private, checked, and replaced when it is damaged.

`open_calls` never opens the file but through SQLite: closing any other descriptor of it would drop every POSIX lock that the
process has on it, and with them the protection that the other processes count on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
import urllib.parse
from collections.abc import Iterator
from typing import Final, NamedTuple

from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.spans import call_tables

__all__ = ["Opened", "checkpointer", "identity", "is_damage", "open_calls"]

BUSY_SECONDS: Final = 0.5
"""How long a caller waits for another process that writes; each write takes about a millisecond at most."""

OPENING_SECONDS: Final = 1.0
"""How long to wait for another process that opens, makes or sets aside the file."""

_SET_ASIDE: Final = ".corrupt"
_COMPANIONS: Final = ("-wal", "-shm")
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

Identity = tuple[int, int]
"""Device and inode."""


class Opened(NamedTuple):
    """An open file, which one it is, and where a damaged one went that was in its place."""

    connection: sqlite3.Connection
    identity: Identity | None
    set_aside: str | None


def open_calls(path: str, damaged: Identity | None = None) -> Opened:
    """Open the file, made if it is missing, after setting it aside if it is the ``damaged`` one.

    Raises ConfigurationError for what only a person can mend: a path that is not private, another program's database, the
    file of a newer version. Raises sqlite3.Error or OSError for what may pass.
    """
    _check_directory(os.path.dirname(path))
    with _opening(path):
        aside = _set_aside(path) if damaged is not None and identity(path) == damaged else None
        try:
            return Opened(_open(path), identity(path), aside)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        aside = _set_aside(path)
        return Opened(_open(path), identity(path), aside)


def identity(path: str) -> Identity | None:
    """Which file has this name now, None if there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_damage(error: Exception) -> bool:
    """Whether SQLite says that the file is no sound database of ours."""
    kind = type(error)
    return kind in (sqlite3.DatabaseError, sqlite3.IntegrityError) or "no such table" in str(error)


def checkpointer(path: str) -> sqlite3.Connection:
    """A connection for moving SQLite's log into the file. It waits for the disk: a power failure cannot damage the file."""
    return _with_settings(_connect(path), "NORMAL")


def _open(path: str) -> sqlite3.Connection:
    _check_file(path)
    connection = _connect(path)
    try:
        is_new = _is_new(connection, path)
    except BaseException:
        connection.close()
        raise
    # It does not wait for the disk: a power failure loses the last calls, a crash of the process none.
    connection = _with_settings(connection, "OFF")
    if is_new:
        call_tables.create(connection)
    return connection


def _connect(path: str) -> sqlite3.Connection:
    uri = f"file:{urllib.parse.quote(path)}?mode=rw"  # never "rwc": SQLite would let others read the file it makes
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _with_settings(connection: sqlite3.Connection, synchronous: str) -> sqlite3.Connection:
    try:
        for setting in (
            "page_size=2048",
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "wal_autocheckpoint=0",
            "cell_size_check=ON",
            "trusted_schema=OFF",
        ):
            connection.execute(f"PRAGMA {setting}").close()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_new(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file is empty. It is not touched before this."""
    application, version, schema = (
        call_tables.pragma(connection, name) for name in ("application_id", "user_version", "schema_version")
    )
    if application == version == schema == 0:
        return True
    if application != call_tables.APPLICATION:
        raise ConfigurationError("path", path, "it is another program's database: name a file of its own")
    if version > call_tables.VERSION:
        fix = f"its format is {version}, this version knows up to {call_tables.VERSION}: upgrade, or name another file"
        raise ConfigurationError("path", path, fix)
    return False


def _check_directory(directory: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.makedirs(directory, mode=0o700)
    found = os.lstat(directory)
    if stat.S_ISLNK(found.st_mode):
        raise ConfigurationError("path", directory, "its directory is a symbolic link: name what that points to")
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError("path", directory, "name a file in a directory, or in one that can be made")
    _check_rights(directory, found, others=0o022, fix="chmod 700 it, or use a directory of its own")


def _check_file(path: str) -> None:
    if not os.path.lexists(path):
        # SQLite would make the file with the mode that the umask leaves. Beside an empty one it drops a log left of another.
        os.close(os.open(path, _NEW, 0o600))
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError("path", path, "it is a symbolic link or a directory: name a file, or none yet")
    _check_rights(path, found, others=0o077, fix="chmod 600 it")


def _check_rights(path: str, found: os.stat_result, *, others: int, fix: str) -> None:
    if found.st_uid != os.geteuid():
        problem = f"it belongs to user {found.st_uid}, this process runs as user {os.geteuid()}: use one of this user"
        raise ConfigurationError("path", path, problem)
    if stat.S_IMODE(found.st_mode) & others:
        raise ConfigurationError("path", path, f"it is open to other users: {fix}")


@contextlib.contextmanager
def _opening(path: str) -> Iterator[None]:
    """Alone among the processes that open the file: nobody sees it half made or half set aside."""
    lock = os.open(path + ".lock", _LOCK, 0o600)
    try:
        deadline = time.monotonic() + OPENING_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)
        yield
    finally:
        os.close(lock)


def _set_aside(path: str) -> str:
    """Take a damaged file away, over one set aside before; other processes that have it open notice (`identity`)."""
    # SQLite leaves a log alone whose database has moved, so that their closing it does not hurt the new one.
    os.replace(path, path + _SET_ASIDE)
    for companion in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + companion)
    return path + _SET_ASIDE
