"""What each command does: from its arguments to an exit code.

None of them owns a spool or waits for its owner. Those that change dead letters do so in short transactions, which SQLite
keeps apart from the owner's; the owner notices within a second or so.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from opentelemetry.sdk.resources import Resource

from otel_llm_feedback.attributes import SERVICE_NAME
from otel_llm_feedback.cli.console import Progress, complain, say, say_json
from otel_llm_feedback.cli.destination import destination
from otel_llm_feedback.cli.otlp_json import Unreadable, otlp_json_line
from otel_llm_feedback.cli.survey import Survey, open_reader, survey, telling_damage
from otel_llm_feedback.delivery.dead_letters import by_file
from otel_llm_feedback.delivery.reader import SpoolReader
from otel_llm_feedback.delivery.records import DeadLetter, Signal
from otel_llm_feedback.delivery.shared import spool_directory
from otel_llm_feedback.errors import ConfigurationError

__all__ = ["OK", "PARTLY", "UNUSABLE", "export", "list_dead", "purge_dead", "retry_dead", "status"]

OK: Final = 0
PARTLY: Final = 1
"""Nothing was found, or not everything could be done."""
UNUSABLE: Final = 2

_PAGE: Final = 100
"""Dead letters read or changed at a time: `put` waits while they are changed."""

_BREATH_SECONDS: Final = 0.005
"""Between two changes. SQLite does not queue writers: one that comes back at once could keep the owner out."""


def status(arguments: argparse.Namespace) -> int:
    """Say what the spool holds."""
    reader = _reader(arguments)
    found = _survey(reader)
    stats = found.stats
    fields: dict[str, object] = {
        "directory": reader.directory,
        **{signal.value: count for signal, count in stats.records.items()},
        "bytes": stats.bytes,
        "oldest_age_seconds": stats.oldest_age_seconds,
        "dead_letters": stats.dead_letters,
        "dead_letter_bytes": stats.dead_bytes,
        "files": stats.files,
        "files_newer": found.newer,
        "files_damaged": found.damaged,
        "files_set_aside": found.set_aside,
    }
    if arguments.json:
        say_json(fields)
        return _verdict(found)
    with telling_damage(reader):
        lines = [
            f"{name.removesuffix('_age_seconds').replace('_', ' '):<18} {_readable(name, value)}"
            for name, value in fields.items()
        ]
    for line in lines:
        say(line)
    return _verdict(found)


def export(arguments: argparse.Namespace) -> int:
    """Write undelivered records as OTLP/JSON lines."""
    reader = _reader(arguments)
    found = _survey(reader)
    signals = list(Signal) if arguments.signal == "all" else [Signal(arguments.signal)]
    total = sum(found.stats.records[signal] for signal in signals)
    if arguments.include_dead:
        total += found.stats.dead_letters
    is_in_the_way = arguments.output is None and sys.stdout.isatty()
    progress = Progress("exported", total, wanted=False if is_in_the_way else arguments.progress)
    counts = Counter({signal.value: 0 for signal in signals})
    with destination(arguments.output) as file:
        for signal, payload in _payloads(reader, signals, include_dead=arguments.include_dead):
            try:
                file.write(otlp_json_line(signal, payload))
                counts[signal.value] += 1
            except Unreadable:
                counts["unreadable"] += 1
            progress.tell(sum(counts.values()))
        file.flush()
    if reader.spoiled:
        counts["unreadable"] += reader.spoiled
    progress.end()
    return _exported(arguments, found, counts)


def list_dead(arguments: argparse.Namespace) -> int:
    """Show dead letters, but never what is in them."""
    reader = _reader(arguments)
    found = _survey(reader)
    count = 0
    for letter in _dead_letters(reader):
        with telling_damage(reader):
            fields = _outline(letter, with_detail=arguments.detail)
        if arguments.json:
            say_json(fields)
        else:
            say("  ".join(str(value) for value in fields.values()))
        count += 1
    if reader.spoiled:
        complain(f"{reader.directory}: dead letters with damaged values, not shown: {reader.spoiled}")
    return _verdict(found, is_complete=count > 0 and not reader.spoiled)


def retry_dead(arguments: argparse.Namespace) -> int:
    """Give dead letters another try."""
    return _change_dead(arguments, "retried", lambda reader, ids: reader.retry_dead(ids, time.time()))


def purge_dead(arguments: argparse.Namespace) -> int:
    """Delete dead letters."""
    return _change_dead(arguments, "purged", lambda reader, ids: reader.purge_dead(ids))


def _change_dead(arguments: argparse.Namespace, verb: str, change: Callable[[SpoolReader, Sequence[str]], int]) -> int:
    by_file(arguments.ids)  # a wrong id among good ones must show before anything is changed
    reader = _reader(arguments)
    found = _survey(reader)
    ids = sorted(set(arguments.ids))
    progress = Progress(verb, len(ids) or found.stats.dead_letters, wanted=arguments.progress)
    done = 0
    try:
        for chunk in _chunks(ids) if ids else ([letter.id for letter in page] for page in _pages(reader)):
            done += change(reader, chunk)
            progress.tell(done)
            time.sleep(_BREATH_SECONDS)
    finally:  # even if there is no going on: what was done is done
        progress.end()
        _tell_change(arguments, reader.directory, verb, done, len(ids))
    return _verdict(found, is_complete=done > 0 and done >= len(ids))


def _tell_change(arguments: argparse.Namespace, directory: str, verb: str, done: int, asked: int) -> None:
    missing = max(0, asked - done)
    if arguments.json:
        say_json({"directory": directory, verb: done, "missing": missing})
    else:
        say(f"{verb} {done:,} dead letters of {directory}" + (f"; {missing:,} are not there" if missing else ""))


def _reader(arguments: argparse.Namespace) -> SpoolReader:
    return open_reader(_directory(arguments.dir, arguments.service))


def _directory(directory: str | None, service: str | None) -> Path:
    if directory == "":
        raise ConfigurationError("--dir", directory, "name a directory")
    # The service's own exporter asks the SDK's resource too.
    name = service or str(Resource.create().attributes.get(SERVICE_NAME, ""))
    return spool_directory(os.environ, name, directory)


def _survey(reader: SpoolReader) -> Survey:
    with telling_damage(reader):
        found = survey(reader, time.time())
    if found.newer:
        complain(f"{reader.directory}: files of a newer version, not read: {found.newer}: upgrade this package")
    if found.damaged:
        complain(
            f"{reader.directory}: damaged files, not read in full: {found.damaged}: the next process that uses the spool"
            " sets them aside and keeps what can be read"
        )
    return found


def _verdict(found: Survey, *, is_complete: bool = True) -> int:
    return OK if is_complete and not found.is_partial else PARTLY


def _exported(arguments: argparse.Namespace, found: Survey, counts: Counter[str]) -> int:
    unreadable = counts["unreadable"]
    done = sum(counts.values()) - unreadable
    stream = sys.stderr if arguments.output is None else sys.stdout
    if arguments.json:
        say_json({**counts, "unreadable": unreadable}, stream)
    else:
        parts = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        say(f"exported {done:,} requests ({parts})", stream)
    return _verdict(found, is_complete=done > 0 and not unreadable)


def _payloads(reader: SpoolReader, signals: Sequence[Signal], *, include_dead: bool) -> Iterator[tuple[Signal, bytes]]:
    for signal in signals:
        with telling_damage(reader):
            for payload in reader.payloads(signal):
                yield signal, payload
    if include_dead:
        yield from ((each.signal, each.payload) for each in _dead_letters(reader) if each.signal in signals)


def _dead_letters(reader: SpoolReader) -> Iterator[DeadLetter]:
    for page in _pages(reader):
        yield from page


def _pages(reader: SpoolReader) -> Iterator[list[DeadLetter]]:
    after: str | None = None
    is_last = False
    while not is_last:
        with telling_damage(reader):
            page = reader.dead_letters(_PAGE, after)
        if page:
            after = page[-1].id
            yield page
        # To go on until a page is empty could be to follow a busy owner for ever.
        is_last = len(page) < _PAGE


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _PAGE):
        yield ids[start : start + _PAGE]


def _outline(letter: DeadLetter, *, with_detail: bool) -> dict[str, object]:
    fields: dict[str, object] = {
        "id": letter.id,
        "signal": letter.signal.value,
        "precious": letter.precious,
        "put_at": _moment(letter.put_at),
        "buried_at": _moment(letter.buried_at),
        "bytes": len(letter.payload),
        "reason": letter.reason,
    }
    return {**fields, "detail": letter.detail} if with_detail else fields


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _readable(name: str, value: object) -> str:
    if name == "oldest_age_seconds":
        return "none" if value is None else str(timedelta(seconds=int(value)))  # type: ignore[call-overload]
    return f"{value:,}" if isinstance(value, int) else str(value)
