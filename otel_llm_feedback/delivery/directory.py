"""The directory of a spool: private, checked, and with an owner for every file in it.

This module decides which process a file belongs to; it never reads one. Beside each ``<name>.spool`` lies a
``<name>.lock``, and whoever holds the POSIX lock on that owns the file. The kernel frees the lock when its process dies,
however it dies, and a forked child does not inherit it.

POSIX locks have two traps, and both shape this module:

* Closing ANY descriptor of a file drops every lock that the process has on it. SQLite opens and closes the database as it
  likes, hence the separate lock file, which is opened once and by nobody else.
* They do not exclude within one process, hence `_held`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat

from otel_llm_feedback.errors import SpoolUnavailable

__all__ = [
    "SET_ASIDE",
    "Claim",
    "disown",
    "forget_set_aside",
    "new_claim",
    "private_directory",
    "spool_names",
    "spool_path",
    "try_claim",
]

SUFFIX = ".spool"
SET_ASIDE = ".spool.corrupt-"
_LOCK = ".lock"
_COMPANIONS = ("", "-wal", "-shm")

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_Key = tuple[int, int, int, str]
"""Process id, device and inode of the directory, name. The process id is there for the child of a fork, which owns nothing."""

_held: dict[_Key, object] = {}
"""Files that this process owns."""

_disowned: set[tuple[int, int, str]] = set()
"""Files that this process must never open; see `disown`."""


def private_directory(path: str | os.PathLike[str]) -> str:
    """The absolute path of a directory that is ours alone, made if it is missing (mode 0700).

    Raises `SpoolUnavailable` for a symlink, something else than a directory, another owner, or when it cannot be made.
    """
    directory = os.path.abspath(os.fspath(path))
    try:
        with contextlib.suppress(FileExistsError):
            os.makedirs(directory, mode=0o700)
        found = os.lstat(directory)
    except OSError as error:
        raise _unusable(directory, error) from error
    if stat.S_ISLNK(found.st_mode):
        raise SpoolUnavailable(directory, "is a symbolic link", "name the directory that it points to")
    if not stat.S_ISDIR(found.st_mode):
        raise SpoolUnavailable(directory, "is not a directory", "name a directory, or a path where one can be made")
    if found.st_uid != os.geteuid():
        problem = f"belongs to user {found.st_uid}, this process runs as user {os.geteuid()}"
        raise SpoolUnavailable(directory, problem, "name a directory, or a subdirectory to be made, of this user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        _tighten(directory)
    return directory


def spool_names(directory: str) -> list[str]:
    """The names of all spool files in ``directory``, and of locks that are left of one.

    Raises `SpoolUnavailable` when the directory cannot be read.
    """
    try:
        with os.scandir(directory) as entries:
            return sorted({entry.name.rpartition(".")[0] for entry in entries if _is_ours(entry)})
    except OSError as error:
        raise _unusable(directory, error) from error


def spool_path(directory: str, name: str) -> str:
    """Where the file of that name lies."""
    return os.path.join(directory, name + SUFFIX)


class Claim:
    """The right to one spool file, from `try_claim` or `new_claim` until `release`."""

    def __init__(self, directory: str, name: str, lock: int, key: _Key) -> None:
        self.name = name
        self.path = spool_path(directory, name)
        self._lock_path = os.path.join(directory, name + _LOCK)
        self._lock = lock
        self._key = key

    def gone(self) -> bool:
        """Whether someone removed the files from the directory."""
        return os.fstat(self._lock).st_nlink == 0

    def size(self) -> int:
        """Bytes of the file, 0 if there is none."""
        try:
            return os.lstat(self.path).st_size
        except OSError:
            return 0

    def release(self) -> None:
        """Let others claim the file; it must have been closed."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)  # before another thread may take it, whose lock this would drop
            del _held[self._key]

    def discard(self) -> None:
        """Remove the file, which must have been closed, and release it."""
        # The lock file goes last: dying in between leaves a lock without a file, which `try_claim` clears away.
        for path in (*(self.path + companion for companion in _COMPANIONS), self._lock_path):
            with contextlib.suppress(OSError):
                if not self.gone():
                    os.unlink(path)
        self.release()

    def set_aside(self, at: float) -> str:
        """Rename the damaged file, which must have been closed, so that no one claims it again; its new path."""
        aside = f"{self.path.removesuffix(SUFFIX)}{SET_ASIDE}{int(at)}"
        for companion in ("", "-wal"):  # SQLite looks for the log of a database beside it
            with contextlib.suppress(OSError):
                os.rename(self.path + companion, aside + companion)
        self.discard()
        return aside


def try_claim(directory: str, name: str) -> Claim | None:
    """The claim to a file, or None when another process (or this one already) has it, or when there is no such file."""
    try:
        key = _key(directory, name)
    except OSError:
        return None
    if key[1:] in _disowned or _held.setdefault(key, mine := object()) is not mine:
        return None
    lock_path = os.path.join(directory, name + _LOCK)
    lock = _lock(lock_path)
    if lock is None:
        del _held[key]
        return None
    claim = Claim(directory, name, lock, key)
    if not _same_file(lock, lock_path):  # its last owner removed it between our opening and our locking
        claim.release()
        return None
    if not os.path.lexists(claim.path):
        claim.discard()
        return None
    return claim


def new_claim(directory: str) -> Claim:
    """The claim to a new and empty file of mode 0600. Raises `SpoolUnavailable` when it cannot be made."""
    try:
        while True:
            claim = _try_new_claim(directory, secrets.token_hex(8))
            if claim is not None:
                return claim
    except OSError as error:
        raise _unusable(directory, error) from error


def disown(claim: Claim, *, opened: bool) -> None:
    """In the child of a fork: drop the parent's claim, which the child does not have; the parent keeps it.

    ``opened`` says that SQLite had the file open at the fork. It then believes to hold locks on it that the child does not
    hold, so that a child that opened the file again, even after its parent's death, would corrupt it for others.
    """
    if opened:
        _disowned.add(claim._key[1:])
    claim.release()


def forget_set_aside(directory: str, before: float) -> None:
    """Delete damaged files that were set aside before a time (Unix seconds)."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if SET_ASIDE in entry.name and _modified(entry) < before:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _try_new_claim(directory: str, name: str) -> Claim | None:
    lock_path = os.path.join(directory, name + _LOCK)
    key = _key(directory, name)
    _held[key] = name  # first: a thread that looks for orphans would not be kept off by the lock
    lock = -1
    try:
        lock = os.open(lock_path, _NEW, 0o600)
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _same_file(lock, lock_path):
            raise BlockingIOError
        # SQLite would make the file with the mode that the umask leaves, and would follow a symlink.
        os.close(os.open(spool_path(directory, name), _NEW, 0o600))
    except OSError as error:
        if lock >= 0:
            with contextlib.suppress(OSError):
                os.unlink(lock_path)
            os.close(lock)
        del _held[key]
        if isinstance(error, BlockingIOError):  # another process that looks for orphans took it for a stale lock
            return None
        raise
    return Claim(directory, name, lock, key)


def _lock(path: str) -> int | None:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _key(directory: str, name: str) -> _Key:
    found = os.stat(directory)
    return os.getpid(), found.st_dev, found.st_ino, name


def _same_file(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _is_ours(entry: os.DirEntry[str]) -> bool:
    if not entry.name.endswith((SUFFIX, _LOCK)) or not entry.is_file(follow_symlinks=False):
        return False
    with contextlib.suppress(OSError):
        return entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    return False


def _modified(entry: os.DirEntry[str]) -> float:
    with contextlib.suppress(OSError):
        return entry.stat(follow_symlinks=False).st_mtime
    return 0.0


def _tighten(directory: str) -> None:
    """Take the rights of others off a directory that holds nothing but a spool; someone's home may not be changed."""
    strangers = [name for name in os.listdir(directory) if SUFFIX not in name and not name.endswith(_LOCK)]
    if strangers:
        raise SpoolUnavailable(directory, "is open to other users and holds other files", "use a directory of its own")
    try:
        os.chmod(directory, 0o700)
    except OSError as error:
        raise _unusable(directory, error) from error


def _unusable(directory: str, error: OSError) -> SpoolUnavailable:
    return SpoolUnavailable(directory, error.strerror or str(error), "name a directory that this user can write to")
