"""Which call this execution context made: follows tasks and threads as contextvars do.

A span processor is called in the context that starts a span, so it can leave a note there. Notes hold the span weakly: one
that is never ended disappears with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from itertools import count
from typing import NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util.types import AttributeValue

from otel_llm_feedback.spans.call import LLMCall, capture

__all__ = ["Note", "begin", "last_call", "open_call"]


class Ended(NamedTuple):
    """A votable call that ended: its place in the order of all ends, whether it was part of nothing, and the call."""

    order: int
    root: bool
    call: LLMCall


_innermost: ContextVar[Note | None] = ContextVar("otel_llm_feedback_innermost_call", default=None)
_ends = count()


class Note:
    """One span that started here: open while it lives and records, then the votable call that ended last."""

    __slots__ = ("_span", "last", "outer", "root", "tags")

    def __init__(
        self,
        span: ReadableSpan,
        tags: Mapping[str, AttributeValue],
        outer: Note | None,
        last: Ended | None,
        forget: Callable[[object], object],
    ) -> None:
        self._span: weakref.ref[ReadableSpan] | None = weakref.ref(span, forget)
        self.tags = tags
        self.outer = outer
        self.last = last
        self.root = span.parent is None

    def end(self, call: LLMCall | None) -> None:
        """The span ended, captured as ``call`` if it was an LLM span."""
        self._span = None
        if call is not None and call.votable:
            self.last = Ended(next(_ends), self.root, call)

    @property
    def span(self) -> ReadableSpan | None:
        """The span, while it is open."""
        reference = self._span
        return reference() if reference is not None else None

    def let_go(self) -> None:
        """Drop the closed notes further out, which overlapping spans leave behind; keep the last call among them."""
        note = self
        while (outer := note.outer) is not None:
            if outer.span is None:
                note.last = _later(note.last, outer.last)
                note.outer = outer.outer
            else:
                note = outer


def _later(one: Ended | None, other: Ended | None) -> Ended | None:
    return one if other is None or (one is not None and one > other) else other


def begin(span: ReadableSpan, tags: Mapping[str, AttributeValue], forget: Callable[[object], object]) -> Note:
    """Note that ``span`` started in this execution context; ``forget`` is called if it disappears without an end."""
    outer = _innermost.get()
    last = None
    # Closed notes are let go, all but the last call among them: the chain is never longer than the spans that are open.
    while outer is not None and outer.span is None:
        last = _later(last, outer.last)
        outer = outer.outer
    if outer is not None:
        outer.let_go()
    note = Note(span, tags, outer, last, forget)
    _innermost.set(note)
    return note


def open_call(trace_id: str | None) -> tuple[LLMCall, ReadableSpan] | None:
    """The innermost open votable call of this execution context and its span.

    trace_id: only calls of this trace. None, that is, no span is current: only calls that were not part of anything, so
    that a thread that serves one request after the other never offers the one before.
    """
    for note in _notes():
        span = note.span
        if span is not None and span.end_time is None and (trace_id is not None or note.root):
            call = capture(span, note.tags)
            if call is not None and call.votable and trace_id in (None, call.trace_id):
                return call, span
    return None


def last_call(trace_id: str | None) -> LLMCall | None:
    """The votable call that ended last in this execution context, within the same bounds as `open_call`."""
    ended = [note.last for note in _notes() if note.last is not None]
    fitting = [last for last in ended if (last.root if trace_id is None else last.call.trace_id == trace_id)]
    return max(fitting).call if fitting else None


def _notes() -> Iterator[Note]:
    note = _innermost.get()
    while note is not None:
        yield note
        note = note.outer
