"""The shapes of the protocol-buffer wire format that OTLP needs, as bytes.

Serialised messages concatenate to the message with all their fields (source: https://protobuf.dev/programming-guides/encoding/,
"Last One Wins"), which is what lets one-record requests be joined into a batch without parsing them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DELIMITED", "FIXED32", "FIXED64", "LONG", "SHORT", "VARINT", "delimited", "tag", "varint"]

VARINT: Final = 0
FIXED64: Final = 1
DELIMITED: Final = 2
FIXED32: Final = 5

LONG: Final = 0x80
"""The first number that does not fit one byte; also the bit that says another byte follows."""

SHORT: Final = tuple(bytes((number,)) for number in range(LONG))
"""What `varint` makes of the numbers below `LONG`, for those to whom its call would cost as much as all the rest."""

_THREE_BYTES: Final = 0x4000


def tag(field: int, wire_type: int) -> bytes:
    """The key that precedes a field's payload: its number and one of the wire types above."""
    return varint(field << 3 | wire_type)


def varint(number: int) -> bytes:
    """A non-negative int, seven bits per byte, lowest first. A negative int64 must come as its two's complement."""
    if number < LONG:
        return SHORT[number]
    if number < _THREE_BYTES:
        return bytes((number & 0x7F | LONG, number >> 7))
    encoded = []
    while number >= LONG:
        encoded.append(number & 0x7F | LONG)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def delimited(key: bytes, payload: bytes) -> bytes:
    """A field whose payload carries its length: text, bytes or a message. ``key`` comes from `tag`."""
    length = len(payload)
    return key + (SHORT[length] if length < LONG else varint(length)) + payload
