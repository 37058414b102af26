"""Every exception this package raises on purpose.

    FeedbackError
    ├── InvalidTarget        what the feedback is about is not a usable id   (also a ValueError)
    ├── InvalidValue         the score or label cannot be sent               (also a ValueError)
    ├── InvalidField         another argument cannot be sent                 (also a ValueError)
    ├── ConfigurationError   a setting or the set-up itself is wrong         (also a ValueError)
    ├── SpoolError           the spool cannot take or keep a record          (also a RuntimeError)
    │   ├── SpoolFull        no room: the disk is full, or the bound is reached
    │   └── SpoolUnavailable its directory or file cannot be used, or it is closed
    └── FeedbackLost         only from Receipt.raise_for_loss()              (also a RuntimeError)

The first four are the caller's to fix and are raised before anything is sent. Each message names the field, the value and
the fix. Text that may be personal or secret never enters a message: use ``private=True`` and only its type and length do.
"""

from __future__ import annotations

import reprlib

__all__ = [
    "ConfigurationError",
    "FeedbackError",
    "FeedbackLost",
    "InvalidField",
    "InvalidTarget",
    "InvalidValue",
    "SpoolError",
    "SpoolFull",
    "SpoolUnavailable",
]

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = 60
_shorten.maxlevel = 2


class FeedbackError(Exception):
    """Base of all our errors: catch this to catch every one of them.

    item: which one of several it was about (from 0), in functions that take several.
    """

    item: int | None = None


class _Refusal(FeedbackError, ValueError):
    """A value that was refused: keeps the field's name for programs, says the fix to people."""

    def __init__(self, field: str, value: object, fix: str, *, private: bool = False) -> None:
        self.field = field
        self.fix = fix
        super().__init__(f"{field}={_outline(value) if private else _show(value)}: {fix}")


class InvalidTarget(_Refusal):
    """The target is not something feedback can be tied to."""


class InvalidValue(_Refusal):
    """The score or the label is not one that can be sent."""


class InvalidField(_Refusal):
    """An argument other than target and value cannot be sent."""


class ConfigurationError(_Refusal):
    """A setting, an environment variable or the surrounding set-up is wrong."""


class SpoolError(FeedbackError, RuntimeError):
    """The spool could not do what it was asked; what it had already stored is not harmed."""

    def __init__(self, path: str, problem: str, fix: str) -> None:
        self.path = path
        self.fix = fix
        super().__init__(f"spool {path}: {problem}: {fix}")


class SpoolFull(SpoolError):
    """There is no room: the disk is full, or the spool is full of records that may not be evicted."""


class SpoolUnavailable(SpoolError):
    """The spool's directory or file cannot be used, or the spool is closed."""


class FeedbackLost(FeedbackError, RuntimeError):
    """The feedback was not accepted; raised only where the caller asked for it."""


def _show(value: object) -> str:
    if isinstance(value, (str, bytes, int, float, type(None), list, tuple, dict)):
        try:
            return _shorten.repr(value)
        except Exception:  # noqa: BLE001 - a value inside it has a broken __repr__, or is an int too long to print
            return _outline(value)
    return _outline(value)


def _outline(value: object) -> str:
    length = f" of length {len(value)}" if isinstance(value, (str, bytes, list, tuple, dict)) else ""
    return f"<{type(value).__name__}{length}>"
