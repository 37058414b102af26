"""How the one who emits a record learns what the spool did with it, although the SDK stands between them and returns nothing.

`Logger.emit` calls log record processors before it returns, in the same context. The caller leaves a blank slip there, the
processor fills it in.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Slip", "current_slip"]


class Slip:
    """For what is emitted inside ``with Slip() as slip``. spooled: it is on disk. failure: why it is not, if a spool was asked."""

    __slots__ = ("_token", "failure", "spooled")

    def __init__(self) -> None:
        self.spooled = False
        self.failure = ""

    def __enter__(self) -> Self:
        self._token: Token[Slip | None] = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


_current: ContextVar[Slip | None] = ContextVar("otel_llm_feedback_slip", default=None)


def current_slip() -> Slip | None:
    """The slip of whoever is emitting, if they want to know."""
    return _current.get()
