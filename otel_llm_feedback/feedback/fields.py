"""Each argument of `record_feedback`, checked and cleaned. Pure functions.

What cannot be sent raises; what is merely too much is cut, and a mark says so on the record: the field's name, a colon and
its original length. Cleaning matters because one lone surrogate, or one int beyond 64 bits, makes the SDK's encoders drop the
attribute or the whole batch.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import lru_cache, partial
from numbers import Real
from typing import TypeAlias

from otel_llm_feedback.errors import InvalidField, InvalidValue

__all__ = [
    "Cleaner",
    "as_json",
    "clean_metadata",
    "clean_score",
    "clean_text",
    "clean_time",
    "required_text",
    "required_time",
]

Cleaner: TypeAlias = Callable[[str, object, int], "str | None"]
"""From a field's name, its text or nested value, and a limit, to the text that may be sent."""

MAX_LABEL = 128
MAX_NAME = 180
MAX_KEY = 64

_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EARLIEST = 10**17
"""March 1973 in nanoseconds. Today in seconds, milliseconds or microseconds is less: a unit mistaken is an error."""


def clean_score(value: object, label: object) -> tuple[float | None, str | None]:
    """The score and the label that ``value`` and ``label`` mean together."""
    given = None if label is None else required_text("label", label, MAX_LABEL, InvalidValue)
    if value is None:
        return None, given
    if isinstance(value, bool):
        return (1.0, given or "pass") if value else (0.0, given or "fail")
    if isinstance(value, str):
        text = required_text("value", value, MAX_LABEL, InvalidValue)
        if given not in (None, text):
            raise InvalidValue("label", label, "a text as value is a label already; pass one of them", private=True)
        return None, text
    return _number(value), given


def _number(value: object) -> float:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidValue("value", value, "pass a number within 64 bits")
    if not isinstance(value, (int, float, Real)):
        fix = "pass a bool, a number, a short text, or a dict or list that is not empty"
        raise InvalidValue("value", value, fix, private=True)
    try:
        number = float(value)
    except OverflowError:
        raise InvalidValue("value", value, "pass a number that a float can hold") from None
    if not math.isfinite(number):
        raise InvalidValue("value", value, "pass a finite number")
    return number


def required_text(
    field: str, value: object, limit: int, error: type[InvalidField | InvalidValue] = InvalidField
) -> str:
    """A text that must be there and short; it is refused rather than cut."""
    if not isinstance(value, str):
        raise error(field, value, "pass text", private=not isinstance(value, (int, float)))
    if not value.strip():
        raise error(field, value, "pass a non-empty text, or leave it out")
    if len(value) > limit:
        # Most likely a comment that was passed as something else, so it stays out of the message.
        raise error(
            field, value, f"pass at most {limit} characters; what people write belongs in comment=", private=True
        )
    return _plain(value)


def _plain(text: str) -> str:
    """Without lone surrogates, and of the type str itself: an enum's member would print as its name."""
    return str.__str__(text) if text.isascii() else text.encode("utf-8", "replace").decode()


def clean_text(field: str, value: object, limit: int, marks: list[str]) -> str:
    """A text of any length, cut to ``limit`` characters; lone surrogates become question marks."""
    if not isinstance(value, str):
        raise InvalidField(field, value, "pass text", private=True)
    cleaned = _plain(value[:limit])
    if cleaned != value:
        marks.append(f"{field}:{len(value)}")
    return cleaned


def clean_time(at: object) -> int | None:
    """`required_time`, but None for None."""
    return None if at is None else required_time("at", at)


def required_time(field: str, at: object) -> int:
    """Nanoseconds since the epoch, from the same or from an aware datetime."""
    if isinstance(at, datetime):
        if at.utcoffset() is None:
            raise InvalidField(field, at, "pass a datetime with a time zone, for example datetime.now(timezone.utc)")
        at = (at - _EPOCH) // timedelta(microseconds=1) * 1000
    if isinstance(at, bool) or not isinstance(at, int):
        raise InvalidField(field, at, "pass an aware datetime, or nanoseconds since the epoch as an int")
    if not _EARLIEST <= at < 2**63:
        raise InvalidField(field, at, "pass nanoseconds since the epoch: this is not a time after 1973 in that unit")
    return int(at)


def clean_metadata(
    metadata: object,
    max_keys: int,
    max_length: int,
    marks: list[str],
    clean: Cleaner | None = None,
) -> dict[str, str | bool | int | float]:
    """The caller's own keys and values; nested values become JSON text, None values are left out.

    clean: what becomes of texts and of nested values, None for nothing; by default they are only cut.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidField("metadata", metadata, "pass a mapping from names to values", private=True)
    if clean is None:
        clean = partial(_cut, marks=marks)
    cleaned: dict[str, str | bool | int | float] = {}
    for taken, (key, value) in enumerate(metadata.items()):
        if taken == max_keys:
            marks.append(f"metadata:{len(metadata)}")
            break
        _check_key(key)
        kept = _metadata_value(f"metadata.{key}", value, max_length, clean)
        if kept is not None:
            cleaned[key] = kept
    return cleaned


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise InvalidField("metadata", key, "use text as keys")
    if len(key) > MAX_KEY or not _is_key(key):
        raise InvalidField("metadata", key, "use keys of 1 to 64 letters, digits, '.', '_' and '-'")


@lru_cache(maxsize=1024)
def _is_key(key: str) -> bool:
    return _KEY.fullmatch(key) is not None


def _metadata_value(field: str, value: object, limit: int, clean: Cleaner) -> str | bool | int | float | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean(field, value, limit)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise InvalidField(field, value, "pass an int within 64 bits, or the number as text", private=True)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidField(field, value, "pass a finite number")
        return float(value)
    return clean(field, value, limit)


def _cut(field: str, value: object, limit: int, marks: list[str]) -> str:
    return clean_text(field, value if isinstance(value, str) else as_json(field, value), limit, marks)


def as_json(field: str, value: object) -> str:
    """Any JSON value as text; mappings and sequences of any class will do."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_builtin)
    except (TypeError, ValueError, RecursionError) as error:
        fix = "pass text, a bool, a number, or lists and dicts of those, neither cyclic nor deeply nested"
        raise InvalidField(field, value, fix, private=True) from error


def _builtin(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return list(value)
    raise TypeError
