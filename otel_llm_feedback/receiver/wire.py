"""A bound on what a protobuf message will cost, checked before it is parsed.

An empty nested message takes two bytes on the wire and around a hundred in memory. This walks the wire format
(protobuf.dev/programming-guides/encoding) along a message's descriptor, counts nested messages and creates nothing.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

from otel_llm_feedback.receiver.refusals import Malformed, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_nested_messages"]

Descriptor: TypeAlias = Any
"""A google.protobuf Descriptor: each of protobuf's implementations has its own class for it."""

_Part: TypeAlias = tuple[int, int, Descriptor]
"""Where a message begins and ends, and what it is."""

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_MIN_MESSAGE_BYTES = 2
_MAX_VARINT_BITS = 63
_CONTINUED = 0x80


def check_nested_messages(data: bytes, descriptor: Descriptor, limit: int) -> None:
    """Raise `TooLarge` when ``data``, a ``descriptor`` message, nests more than ``limit`` others; `Malformed` when broken.

    A body too short to hold that many is not read at all.
    """
    if len(data) <= limit * _MIN_MESSAGE_BYTES:
        return
    pending = [(0, len(data), descriptor)]
    room = limit
    while pending:
        nested = _nested_in(data, *pending.pop(), room)
        if nested is None:
            raise TooLarge(f"more than {limit} nested messages")
        room -= len(nested)
        pending += nested


def _nested_in(data: bytes, position: int, end: int, descriptor: Descriptor, room: int) -> list[_Part] | None:
    """The messages directly inside one, or None when they are more than ``room``."""
    found: list[_Part] = []
    kinds = _message_fields(descriptor)
    while position < end:
        key, position = _varint(data, position, end)
        wire_type = key & 7
        if wire_type == _LENGTH_DELIMITED:
            size, position = _varint(data, position, end)
            if (kind := kinds.get(key >> 3)) is not None:
                if len(found) == room:
                    return None
                found.append((position, position + size, kind))
            position += size
        elif wire_type == _VARINT:
            position = _varint(data, position, end)[1]
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        else:  # a group, which OTLP never uses, or one of the two undefined types
            raise Malformed("not an OTLP protobuf message")
    if position != end:
        raise Malformed("truncated protobuf message")
    return found


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift <= _MAX_VARINT_BITS:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < _CONTINUED:
            return value, position
        shift += 7
    raise Malformed("broken varint in protobuf message")


@functools.lru_cache(maxsize=64)  # OTLP has fewer message types than that
def _message_fields(descriptor: Descriptor) -> Mapping[int, Descriptor]:
    return {field.number: field.message_type for field in descriptor.fields if field.message_type is not None}
