"""The shapes of the protocol-buffer wire format that OTLP needs, as bytes.

Serialised messages concatenate to the message with all their fields (source: https://protobuf.dev/programming-guides/encoding/,
"Last One Wins"), which is what lets one-record requests be joined into a batch without parsing them.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DELIMITED", "FIXED32", "FIXED64", "VARINT", "delimited", "tag", "varint"]

VARINT: Final = 0
FIXED64: Final = 1
DELIMITED: Final = 2
FIXED32: Final = 5

_MORE: Final = 0x80  # the bit that says another byte follows, and the first number that needs two bytes
_THREE_BYTES: Final = 0x4000
_ONE_BYTE: Final = tuple(bytes((number,)) for number in range(_MORE))


def tag(field: int, wire_type: int) -> bytes:
    """The key that precedes a field's payload: its number and one of the wire types above."""
    return varint(field << 3 | wire_type)


def varint(number: int) -> bytes:
    """A non-negative int, seven bits per byte, lowest first. A negative int64 must come as its two's complement."""
    if number < _MORE:
        return _ONE_BYTE[number]
    if number < _THREE_BYTES:
        return bytes((number & 0x7F | _MORE, number >> 7))
    encoded = []
    while number >= _MORE:
        encoded.append(number & 0x7F | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def delimited(key: bytes, payload: bytes) -> bytes:
    """A field whose payload carries its length: text, bytes or a message. ``key`` comes from `tag`."""
    length = len(payload)
    # The first line of `varint` again: a call would cost as much as all the rest.
    return key + (_ONE_BYTE[length] if length < _MORE else varint(length)) + payload
