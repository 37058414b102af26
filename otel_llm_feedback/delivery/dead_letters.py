"""Dead letters of several files seen as one list; their ids name the file, so that they hold in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from otel_llm_feedback.delivery.records import LANES, DeadLetter
from otel_llm_feedback.delivery.tables import DeadRow
from otel_llm_feedback.errors import InvalidField

__all__ = ["Fetch", "by_file", "page"]

Fetch = Callable[[int, int], "list[DeadRow]"]
"""Gives up to so many dead letters of a file, above a number."""

_SPOILED: Final = "<spoiled>"


def page(
    files: Iterable[tuple[str, Fetch]], limit: int, after_id: str | None, damaged: Callable[[], object] = lambda: None
) -> list[DeadLetter]:
    """Up to ``limit`` dead letters in the order of their ids, from the one behind ``after_id``.

    Calls ``damaged`` for each one that the disk spoiled so that nothing true can be said of it, and passes it over.
    """
    after_file, after = _split(after_id) if after_id is not None else ("", -1)
    files = [file for file in sorted(files, key=lambda file: file[0]) if file[0] >= after_file]
    every = ((name, row) for name, fetch in files for row in _rows(fetch, after if name == after_file else -1, limit))
    letters: list[DeadLetter] = []
    while len(letters) < limit and (found := next(every, None)) is not None:
        letter = _letter(*found)
        if letter is None:
            damaged()
        else:
            letters.append(letter)
    return letters


def by_file(ids: Iterable[str]) -> dict[str, Sequence[int]]:
    """The numbers that each file knows the dead letters by. Raises `InvalidField` for what is not an id."""
    files: dict[str, list[int]] = {}
    for each in ids:
        name, number = _split(each)
        files.setdefault(name, []).append(number)
    return {name: sorted(numbers) for name, numbers in files.items()}


def _rows(fetch: Fetch, after: int, step: int) -> Iterator[DeadRow]:
    rows = fetch(step, after)
    while rows:
        yield from rows
        rows = fetch(step, rows[-1][0]) if len(rows) == step else []


def _letter(name: str, row: DeadRow) -> DeadLetter | None:
    number, lane, put_at, payload, buried_at, reason, detail = row
    if not (isinstance(lane, int) and 0 <= lane < len(LANES) and isinstance(payload, bytes)):
        return None
    return DeadLetter(
        id=f"{name}:{number:012d}",
        signal=LANES[lane].signal,
        precious=LANES[lane].precious,
        reason=_text(reason),
        detail=_text(detail),
        payload=payload,
        put_at=_time(put_at),
        buried_at=_time(buried_at),
    )


def _text(value: object) -> str:
    try:
        return str(value, "utf-8") if isinstance(value, bytes) else _SPOILED
    except UnicodeDecodeError:
        return _SPOILED


def _time(value: object) -> float:
    return value if isinstance(value, float) else 0.0


def _split(letter_id: str) -> tuple[str, int]:
    name, _, number = letter_id.partition(":")
    if not (name and number.isascii() and number.isdigit() and len(number) <= 18):
        raise InvalidField("id", letter_id, "use an id that the list of dead letters shows")
    return name, int(number)
