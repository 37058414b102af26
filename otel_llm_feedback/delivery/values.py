"""Attributes and bodies as OTLP ``KeyValue`` and ``AnyValue`` bytes (source: opentelemetry/proto/common/v1/common.proto).

Nothing here raises because of a value. What OTLP cannot carry is repaired, and each repair is counted as
("repaired", reason):

    invalid_text         lone surrogates become U+FFFD (pairs of them the character they stand for)
    number_out_of_range  an int beyond 64 bits becomes its decimal text
    unsupported_type     another object becomes its ``str()``, or ``<unprintable>``
    nested_too_deep      what lies deeper than `MAX_DEPTH`, or inside itself, becomes ``<nested too deep>``
"""

from __future__ import annotations

import contextlib
import numbers
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.wire import DELIMITED, FIXED64, LONG, SHORT, VARINT, delimited, tag, varint

__all__ = [
    "INVALID_TEXT",
    "MAX_DEPTH",
    "NESTED_TOO_DEEP",
    "NUMBER_OUT_OF_RANGE",
    "REPAIRED",
    "UNSUPPORTED_TYPE",
    "as_text",
    "encode_attributes",
    "encode_value",
    "utf8",
]

REPAIRED: Final = "repaired"
INVALID_TEXT: Final = "invalid_text"
NUMBER_OUT_OF_RANGE: Final = "number_out_of_range"
UNSUPPORTED_TYPE: Final = "unsupported_type"
NESTED_TOO_DEEP: Final = "nested_too_deep"

MAX_DEPTH: Final = 30
"""Levels of nesting kept: protobuf parsers refuse 100 nested messages, and a map within a map costs three."""

_MAX_KNOWN_LENGTH = 128
_MAX_KNOWN_HEADS = 1024

_KEY = tag(1, DELIMITED)
_VALUE = tag(2, DELIMITED)
_ITEM = tag(1, DELIMITED)
_STRING = tag(1, DELIMITED)
_FALSE = tag(2, VARINT) + b"\x00"
_TRUE = tag(2, VARINT) + b"\x01"
_INT = tag(3, VARINT)
_DOUBLE = tag(4, FIXED64)
_ARRAY = tag(5, DELIMITED)
_KVLIST = tag(6, DELIMITED)
_BYTES = tag(7, DELIMITED)

_pack_double = struct.Struct("<d").pack

_known_heads: dict[str, bytes] = {}
"""What `_encode_head` made of attribute keys, which are few and come again with every record; bounded for when they are not."""

_Path = tuple[int, ...]
"""The ids of the containers around a value, which shows both its depth and whether it lies inside itself."""


def encode_attributes(field: bytes, attributes: Mapping[str, object] | None, counters: Counters) -> bytes:
    """All attributes as repeated ``KeyValue`` messages under the key ``field`` (from `tag`)."""
    if not attributes:
        return b""
    # The SDK's own mapping takes a lock and a call per item; its copy, a plain dict, is also safe from other threads.
    copy = getattr(attributes, "copy", None)
    items = attributes if copy is None else copy()
    return _pairs(field, items.items(), (), counters)


def encode_value(value: object, counters: Counters) -> bytes:
    """The content of one ``AnyValue`` message; None is the empty message."""
    return _any(value, (), counters)


def utf8(text: str, counters: Counters) -> bytes:
    """Any str as valid UTF-8."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        counters.add(REPAIRED, INVALID_TEXT)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def as_text(value: object, counters: Counters) -> str:
    """The characters of a str or of a subclass, whatever that overrides; of another object its guarded ``str()``."""
    try:
        if isinstance(value, str):
            return str.__str__(value)
        text = str.__str__(str(value))
    except Exception:  # noqa: BLE001 - an application's own __str__ may fail in any way
        text = "<unprintable>"
    counters.add(REPAIRED, UNSUPPORTED_TYPE)
    return text


def _any(value: object, path: _Path, counters: Counters) -> bytes:
    return _ENCODERS.get(type(value), _encode_other)(value, path, counters)


def _pairs(field: bytes, items: Iterable[tuple[str, object]], path: _Path, counters: Counters) -> bytes:
    parts: list[bytes] = []
    for key, value in items:
        head = _known_heads.get(key) or _encode_head(key, counters)
        content = _ENCODERS.get(type(value), _encode_other)(value, path, counters)
        length = len(content)
        size = SHORT[length] if length < LONG else varint(length)
        length += len(head) + len(size)
        parts += (field, SHORT[length] if length < LONG else varint(length), head, size, content)
    return b"".join(parts)


def _encode_head(key: object, counters: Counters) -> bytes:
    """A ``KeyValue`` message up to the length of its value."""
    head = delimited(_KEY, utf8(as_text(key, counters), counters)) + _VALUE
    if type(key) is str and key.isascii() and len(key) <= _MAX_KNOWN_LENGTH:
        if len(_known_heads) >= _MAX_KNOWN_HEADS:
            _known_heads.clear()
        _known_heads[key] = head
    return head


def _encode_none(_value: None, _path: _Path, _counters: Counters) -> bytes:
    return b""


def _encode_bool(value: bool, _path: _Path, _counters: Counters) -> bytes:
    return _TRUE if value else _FALSE


def _encode_str(value: str, _path: _Path, counters: Counters) -> bytes:
    try:
        text = value.encode()
    except UnicodeEncodeError:
        text = utf8(value, counters)
    length = len(text)
    return _STRING + (SHORT[length] if length < LONG else varint(length)) + text  # `delimited`, without its call


def _encode_int(value: int, _path: _Path, counters: Counters) -> bytes:
    if -(1 << 63) <= value < 1 << 63:
        return _INT + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    counters.add(REPAIRED, NUMBER_OUT_OF_RANGE)
    try:
        digits = str(value)
    except ValueError:  # beyond sys.get_int_max_str_digits()
        digits = hex(value)
    return delimited(_STRING, digits.encode())


def _encode_float(value: float, _path: _Path, _counters: Counters) -> bytes:
    return _DOUBLE + _pack_double(value)


def _encode_bytes(value: bytes, _path: _Path, _counters: Counters) -> bytes:
    return delimited(_BYTES, value)


def _encode_sequence(value: Sequence[object], path: _Path, counters: Counters) -> bytes:
    if _too_deep(value, path):
        return _cut(counters)
    path = (*path, id(value))
    return delimited(_ARRAY, b"".join([delimited(_ITEM, _any(item, path, counters)) for item in value]))


def _encode_mapping(value: Mapping[object, object], path: _Path, counters: Counters) -> bytes:
    if _too_deep(value, path):
        return _cut(counters)
    path = (*path, id(value))
    items = [(_nested_key(key, counters), item) for key, item in list(value.items())]
    return delimited(_KVLIST, _pairs(_ITEM, items, path, counters))


def _nested_key(key: object, counters: Counters) -> str:
    if type(key) is str:
        return key
    try:
        return str.__str__(str(key))
    except Exception:  # noqa: BLE001 - an application's own __str__ may fail in any way
        return as_text(key, counters)


def _too_deep(value: object, path: _Path) -> bool:
    return len(path) >= MAX_DEPTH or id(value) in path


def _cut(counters: Counters) -> bytes:
    counters.add(REPAIRED, NESTED_TOO_DEEP)
    return delimited(_STRING, b"<nested too deep>")


def _encode_other(value: object, path: _Path, counters: Counters) -> bytes:
    """A value whose type is not exactly one of the above: as the first kind it is a subclass of, else as text."""
    with contextlib.suppress(Exception):  # a container or number of the application may fail when it is read
        for kind, exact, encode in _KINDS:
            if isinstance(value, kind):
                return encode(exact(value), path, counters)
    return _encode_str(as_text(value, counters), path, counters)


def _same(value: Any) -> Any:
    return value


_Encoder = Callable[[Any, _Path, Counters], bytes]

_ENCODERS: Final[dict[type, _Encoder]] = {
    str: _encode_str,
    bool: _encode_bool,
    int: _encode_int,
    float: _encode_float,
    bytes: _encode_bytes,
    tuple: _encode_sequence,
    list: _encode_sequence,
    dict: _encode_mapping,
    type(None): _encode_none,
}

# Subclasses may override any method, so each is first reduced to the value it stores. The order of the first six is the
# stock encoder's; it refuses the numbers that are not Python's own (numpy's, fractions).
_KINDS: Final[tuple[tuple[type, Callable[[Any], Any], _Encoder], ...]] = (
    (str, str.__str__, _encode_str),
    (int, int.__index__, _encode_int),
    (float, float.__float__, _encode_float),
    (bytes, lambda value: memoryview(value).tobytes(), _encode_bytes),
    (Sequence, _same, _encode_sequence),
    (Mapping, _same, _encode_mapping),
    (numbers.Integral, int, _encode_int),
    (numbers.Real, float, _encode_float),
)
