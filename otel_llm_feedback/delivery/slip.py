"""How the one who emits a record learns what the spool did with it, although the SDK stands between them and returns nothing.

`Logger.emit` calls log record processors before it returns, in the same context. The caller leaves a blank slip there, the
processor fills it in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Slip", "blank_slip", "current_slip"]

_current: ContextVar[Slip | None] = ContextVar("otel_llm_feedback_slip", default=None)


class Slip:
    """spooled: it is on disk. failure: why it is not, if a spool was asked."""

    __slots__ = ("failure", "spooled")

    def __init__(self) -> None:
        self.spooled = False
        self.failure = ""


@contextmanager
def blank_slip() -> Iterator[Slip]:
    """A slip for what is emitted inside the block."""
    slip = Slip()
    token = _current.set(slip)
    try:
        yield slip
    finally:
        _current.reset(token)


def current_slip() -> Slip | None:
    """The slip of whoever is emitting, if they want to know."""
    return _current.get()
