"""What there is in a spool directory, what cannot be read of it included. Changes nothing and takes nothing over."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from otel_llm_feedback.delivery import tables
from otel_llm_feedback.delivery.directory import SET_ASIDE, spool_names, spool_path
from otel_llm_feedback.delivery.reader import SpoolReader
from otel_llm_feedback.delivery.records import SpoolStats
from otel_llm_feedback.delivery.store import connect, is_damage
from otel_llm_feedback.errors import SpoolUnavailable

__all__ = ["Survey", "open_reader", "survey", "telling_damage"]


@dataclass(frozen=True)
class Survey:
    """What can be read (``stats``), and the numbers of files that cannot or need not be.

    newer: written by a newer version of this package. damaged: not, or no longer, readable, and not yet noticed by a process
    that uses the spool. set_aside: damaged files that one has noticed; it kept what could be read of them.
    """

    stats: SpoolStats
    newer: int
    damaged: int
    set_aside: int

    @property
    def is_partial(self) -> bool:
        """Whether there is more than ``stats`` tells."""
        return bool(self.newer or self.damaged)


def open_reader(directory: Path) -> SpoolReader:
    """A reader of a directory that exists and is ours. Raises `SpoolUnavailable`.

    Files of other users are never touched, so that in their directory everything would look empty, to root too.
    """
    path = os.path.abspath(directory)
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise SpoolUnavailable(
            path, "does not exist", "name a spool with --dir, or its service with --service"
        ) from None
    except OSError as error:
        raise SpoolUnavailable(
            path, error.strerror or str(error), "name a directory that this user can read"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise SpoolUnavailable(path, "is not a directory", "name the directory of a spool with --dir")
    if found.st_uid != os.geteuid():
        problem = f"belongs to user {found.st_uid}, this command runs as user {os.geteuid()}"
        raise SpoolUnavailable(path, problem, "run it as the user that owns the spool")
    return SpoolReader(path)


@contextlib.contextmanager
def telling_damage(reader: SpoolReader) -> Iterator[None]:
    """`SpoolUnavailable` for what reading raises because of a flipped bit that SQLite did not notice.

    Such a bit can make a value one of another type, or text that is not UTF-8, which SQLite would quote.
    """
    fix = "export what can be read with --signal and without --include-dead, or move the file away"
    problem = "a file in it has damaged values"
    try:
        yield
    except SpoolUnavailable as error:
        if "Could not decode" not in str(error):
            raise
        raise SpoolUnavailable(error.path, problem, fix) from None
    except (LookupError, OverflowError, TypeError, ValueError):
        raise SpoolUnavailable(reader.directory, problem, fix) from None


def survey(reader: SpoolReader, now: float) -> Survey:
    """Look at every file; ``now`` is Unix seconds. Raises `SpoolError`."""
    paths = [spool_path(reader.directory, name) for name in spool_names(reader.directory)]
    kinds = [_kind(path) for path in paths]
    stats = reader.stats(now)
    damaged = kinds.count("damaged")
    if stats.files < kinds.count("sound"):  # one is damaged further inside, or was drained meanwhile
        damaged += sum(_is_damaged_inside(path) for path, kind in zip(paths, kinds, strict=True) if kind == "sound")
    return Survey(stats, kinds.count("newer"), damaged, _count_set_aside(reader.directory))


def _kind(path: str) -> str:
    try:
        with contextlib.closing(connect(path, "ro")) as connection:
            return _kind_of(connection)
    except sqlite3.OperationalError:
        return "gone"  # or the reader will say what is wrong
    except sqlite3.DatabaseError:
        return "damaged"


def _kind_of(connection: sqlite3.Connection) -> str:
    if tables.is_ours(connection):
        return "sound"
    if tables.pragma(connection, "application_id") == tables.APPLICATION:
        return "newer"
    return "damaged" if tables.pragma(connection, "schema_version") else "empty"


def _is_damaged_inside(path: str) -> bool:
    try:
        with contextlib.closing(connect(path, "ro")) as connection:
            tables.measure_all(connection)
    except sqlite3.Error as error:
        return is_damage(error)  # otherwise it is gone
    return False


def _count_set_aside(directory: str) -> int:
    names = [entry.name for entry in os.scandir(directory)]
    return sum(1 for name in names if SET_ASIDE in name and not name.endswith("-wal"))
