"""Places in a text, and what is a letter or digit beside one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["Span", "alnum", "merged"]

Span = tuple[int, int]


def alnum(character: str) -> bool:
    """ASCII only: scripts without spaces write numbers beside letters."""
    return character.isascii() and character.isalnum()


def merged(spans: Iterable[Span]) -> Iterator[Span]:
    """In order, those that overlap as one."""
    start = end = -1
    for each in sorted(spans):
        if each[0] < end:
            end = max(end, each[1])
            continue
        if end >= 0:
            yield start, end
        start, end = each
    if end >= 0:
        yield start, end
