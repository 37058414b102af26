"""Where an export goes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from otel_llm_feedback.errors import ConfigurationError

__all__ = ["destination"]

# Not over an existing file: it could be one that others can read, a link, or a device.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def destination(path: str | None) -> Iterator[BinaryIO]:
    """A new file of mode 0600, which is on the disk afterwards, or standard output (None).

    An export that fails, or finds nothing, leaves no file. Raises `ConfigurationError` when the file cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(path, _NEW, 0o600)
    except FileExistsError:
        raise ConfigurationError("--output", path, "name a file that does not exist yet") from None
    except OSError as error:
        raise ConfigurationError("--output", path, _fix(error)) from error
    is_complete = False
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
            is_complete = os.fstat(descriptor).st_size > 0
    except OSError as error:
        raise ConfigurationError("--output", path, _fix(error)) from error
    finally:
        if not is_complete:
            os.unlink(path)


def _fix(error: OSError) -> str:
    return f"{error.strerror}: name a file in a directory that this user can write to, on a disk with room"
