"""Dead letters of several files seen as one list; their ids name the file, so that they hold in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from otel_llm_feedback.delivery.records import LANES, DeadLetter
from otel_llm_feedback.delivery.tables import DeadRow
from otel_llm_feedback.errors import InvalidField

__all__ = ["Fetch", "by_file", "page"]

Fetch = Callable[[int, int], "list[DeadRow]"]
"""Gives up to so many dead letters of a file, above a number."""


def page(files: Iterable[tuple[str, Fetch]], limit: int, after_id: str | None) -> list[DeadLetter]:
    """Up to ``limit`` dead letters in the order of their ids, from the one behind ``after_id``."""
    after_file, after = _split(after_id) if after_id is not None else ("", -1)
    letters: list[DeadLetter] = []
    for name, fetch in sorted(files, key=lambda file: file[0]):
        if name >= after_file and len(letters) < limit:
            rows = fetch(limit - len(letters), after if name == after_file else -1)
            letters.extend(_letter(name, row) for row in rows)
    return letters


def by_file(ids: Iterable[str]) -> dict[str, Sequence[int]]:
    """The numbers that each file knows the dead letters by. Raises `InvalidField` for what is not an id."""
    files: dict[str, list[int]] = {}
    for each in ids:
        name, number = _split(each)
        files.setdefault(name, []).append(number)
    return {name: sorted(numbers) for name, numbers in files.items()}


def _letter(name: str, row: DeadRow) -> DeadLetter:
    number, lane, put_at, payload, buried_at, reason, detail = row
    return DeadLetter(
        id=f"{name}:{number:012d}",
        signal=LANES[lane].signal,
        precious=LANES[lane].precious,
        reason=reason,
        detail=detail,
        payload=payload,
        put_at=put_at,
        buried_at=buried_at,
    )


def _split(letter_id: str) -> tuple[str, int]:
    name, _, number = letter_id.partition(":")
    if not (name and number.isascii() and number.isdigit() and len(number) <= 18):
        raise InvalidField("id", letter_id, "use an id that the list of dead letters shows")
    return name, int(number)
