"""What the command says: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

__all__ = ["PROG", "Progress", "complain", "printable", "say", "say_json"]

PROG = "otel-llm-feedback"

_EVERY_SECONDS = 0.5


def say(text: str, stream: TextIO | None = None) -> None:
    """One line of text, whatever it holds and whatever the stream can take."""
    stream = stream if stream is not None else sys.stdout
    encoding = stream.encoding or "ascii"
    stream.write(printable(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")


def say_json(fields: Mapping[str, object], stream: TextIO | None = None) -> None:
    """One line of JSON."""
    stream = stream if stream is not None else sys.stdout
    stream.write(json.dumps(fields) + "\n")


def complain(problem: object) -> None:
    """One line on standard error."""
    say(f"{PROG}: {problem}", sys.stderr)


def printable(text: str) -> str:
    """``text`` with what could move the cursor, or break the line, escaped: paths and servers' messages are not ours."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class Progress:
    """How far a long work is, on standard error: at once, then every half second.

    wanted: None for "if a person is watching".
    """

    def __init__(
        self, verb: str, total: int, *, wanted: bool | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._verb = verb
        self._total = total
        self._monotonic = monotonic
        self._stream = sys.stderr
        self._on_terminal = self._stream.isatty()
        self._is_wanted = self._on_terminal if wanted is None else wanted
        self._due = float("-inf")

    def tell(self, done: int) -> None:
        """Say it, if it is time to."""
        if self._is_wanted and self._monotonic() >= self._due:
            self._due = self._monotonic() + _EVERY_SECONDS
            line = f"{self._verb} {done:,} of {max(self._total, done):,}"
            self._write(f"\r\x1b[K{line}" if self._on_terminal else f"{line}\n")

    def end(self) -> None:
        """Clear the terminal's line for what comes next."""
        if self._is_wanted and self._on_terminal:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
