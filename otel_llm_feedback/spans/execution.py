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
    """One span that started here: open while it lives and records, then the captured call."""

    __slots__ = ("_ended", "_span", "before", "call", "outer", "root", "tags")

    def __init__(
        self,
        span: ReadableSpan,
        tags: Mapping[str, AttributeValue],
        outer: Note | None,
        before: Ended | None,
        forget: Callable[[weakref.ref[ReadableSpan]], None],
    ) -> None:
        self._span = weakref.ref(span, forget)
        self._ended = -1
        self.tags = tags
        self.outer = outer
        self.before = before
        self.root = span.parent is None
        self.call: LLMCall | None = None

    def end(self, call: LLMCall | None) -> None:
        """The span ended, captured as ``call`` if it was an LLM span."""
        self.call = call
        self._ended = next(_ends)

    def let_go(self) -> None:
        """Drop the closed notes further out, which overlapping spans leave behind; keep the last call among them."""
        note = self
        while (outer := note.outer) is not None:
            if outer.span is None:
                note.before = max(filter(None, (note.before, outer.last)), default=None)
                note.outer = outer.outer
            else:
                note = outer

    @property
    def span(self) -> ReadableSpan | None:
        """The span, while it is open."""
        return self._span() if self._ended < 0 else None

    @property
    def last(self) -> Ended | None:
        """The votable call that ended last: this one, or one that came before it."""
        if self.call is None or not self.call.votable:
            return self.before
        own = Ended(self._ended, self.root, self.call)
        return max(own, self.before) if self.before is not None else own


def begin(
    span: ReadableSpan, tags: Mapping[str, AttributeValue], forget: Callable[[weakref.ref[ReadableSpan]], None]
) -> Note:
    """Note that ``span`` started in this execution context; ``forget`` is called if it disappears without an end."""
    outer = _innermost.get()
    before = None
    # Closed notes are let go, all but the last call among them: the chain is never longer than the spans that are open.
    while outer is not None and outer.span is None:
        before = max(filter(None, (before, outer.last)), default=None)
        outer = outer.outer
    if outer is not None:
        outer.let_go()
    note = Note(span, tags, outer, before, forget)
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
