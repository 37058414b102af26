"""What feedback is about. Pure: a string is parsed here, never looked up.

A string is one of: a ``traceparent`` (W3C Trace Context), a ``traceresponse`` value, a ``Server-Timing`` header
(``trace;desc=…`` or ``traceparent;desc="…"``), 32 hex digits of a trace id with optionally 16 of a span id after ``-``, ``:``
or ``/``, or a UUID whose hex is the trace id. Everything else is said explicitly: ``Target.response(…)``, ``Target.message(…)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, SpanContext

from otel_llm_feedback import attributes as names
from otel_llm_feedback.errors import InvalidTarget
from otel_llm_feedback.spans.call import LLMCall

__all__ = ["Target", "TargetLike"]

MAX_HEADER = 8192
MAX_ID = 512

_ID = {length: re.compile(rf"(?!0{{{length}}})[0-9a-f]{{{length}}}") for length in (16, 32)}
_IDS = re.compile(r"(?P<trace>[0-9a-f]{32})(?:[-:/](?P<span>[0-9a-f]{16}))?", re.IGNORECASE)
# W3C Trace Context, section 3.2.2: version ff is invalid; versions after 00 may append fields.
_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# Server Timing, section 4: metrics between commas, parameters between semicolons, either of which quotes may hold as text.
_METRICS = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_PARAMETERS = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)+')
_DESCRIPTION = re.compile(r'\s*desc\s*=\s*("?)([0-9a-z-]+)\1\s*', re.IGNORECASE)

GRAMMAR = (
    "pass a traceparent, a Server-Timing header, 32 hex digits of a trace id (optionally -, then 16 of a span id), a UUID, "
    "a span, an LLMCall, or say what it is: Target.response(id), Target.message(id), Target.session(id), Target.entity(key, value)"
)


@dataclass(frozen=True)
class Target:
    """One thing that feedback is about; make it with the class methods or `Target.of`.

    type: trace, span, response, message, session, entity, project, experiment, document, tool_call or
        text_range.
    trace_id, span_id: lower-case hex, or None.
    trace_flags: W3C trace flags, or None when unknown.
    response_id, message_id, session_id: the ids that the type names.
    details: further attributes of the target, by name.
    call: the captured call, when the target was made from one.
    open_span: the span object, when the target was made from one; it is only used while it records.
    """

    type: str
    trace_id: str | None = None
    span_id: str | None = None
    trace_flags: int | None = None
    response_id: str | None = None
    message_id: str | None = None
    session_id: str | None = None
    details: tuple[tuple[str, str | int], ...] = ()
    call: LLMCall | None = field(default=None, repr=False, compare=False)
    open_span: Span | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value, length in (("trace_id", self.trace_id, 32), ("span_id", self.span_id, 16)):
            if value is not None:
                _check_id(name, value, length)

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells this target from every other, as the caller named it."""
        return (
            self.type,
            self.trace_id,
            self.span_id,
            self.response_id,
            self.message_id,
            self.session_id,
            self.details,
        )

    @classmethod
    def of(cls, target: TargetLike) -> Target:
        """Make sense of whatever the caller has. Raises InvalidTarget."""
        if isinstance(target, Target):
            return target
        if isinstance(target, str):
            return _parse(target)
        if isinstance(target, LLMCall):
            return _checked(target.trace_id, target.span_id, target.trace_flags, target, call=target)
        if isinstance(target, SpanContext):
            return _from_context(target, target)
        if isinstance(target, (Span, ReadableSpan)):
            context = target.get_span_context()
            if context is not None:
                return _from_context(context, target, open_span=target if isinstance(target, Span) else None)
        raise InvalidTarget("target", target, GRAMMAR)

    @classmethod
    def trace(cls, trace_id: str) -> Target:
        """A whole trace, by 32 hex digits."""
        return _checked(trace_id, None, None, trace_id)

    @classmethod
    def span(cls, trace_id: str, span_id: str, trace_flags: int | None = None) -> Target:
        """One span, by 32 and 16 hex digits, and its W3C trace flags if known."""
        return _checked(trace_id, span_id, trace_flags, (trace_id, span_id))

    @classmethod
    def response(cls, response_id: str) -> Target:
        """The answer that the provider gave this id (``gen_ai.response.id``)."""
        return cls("response", response_id=_id("response_id", response_id))

    @classmethod
    def message(cls, message_id: str) -> Target:
        """The answer to which the application itself gave this id, in `llm_context`."""
        return cls("message", message_id=_id("message_id", message_id))

    @classmethod
    def session(cls, session_id: str) -> Target:
        """A whole session or conversation. It belongs to no trace, least of all to the one that is current."""
        return cls("session", session_id=_id("session_id", session_id))

    @classmethod
    def entity(cls, key: str, value: str) -> Target:
        """Something of the business, without a trace: ``Target.entity("ticket", "4711")``."""
        return cls(
            "entity",
            details=((names.TARGET_ENTITY_KEY, _id("key", key)), (names.TARGET_ENTITY_VALUE, _id("value", value))),
        )

    @classmethod
    def project(cls, project_id: str) -> Target:
        """A whole project. As context of another target, pass ``project_id=`` to `record_feedback` instead."""
        return cls("project", details=((names.PROJECT_ID, _id("project_id", project_id)),))

    @classmethod
    def experiment(cls, experiment_id: str) -> Target:
        """A whole experiment. As context of another target, pass ``experiment_id=`` to `record_feedback` instead."""
        return cls("experiment", details=((names.EXPERIMENT_ID, _id("experiment_id", experiment_id)),))

    @classmethod
    def document(cls, target: TargetLike, position: int) -> Target:
        """The document at this position (from 0) among those that a retrieval span or trace returned."""
        return cls.of(target)._part("document", (names.TARGET_DOCUMENT_POSITION, _position("position", position)))

    @classmethod
    def tool_call(cls, target: TargetLike, tool_call_id: str) -> Target:
        """One tool call of an answer."""
        return cls.of(target)._part("tool_call", (names.TARGET_TOOL_CALL_ID, _id("tool_call_id", tool_call_id)))

    @classmethod
    def text_range(cls, target: TargetLike, start: int, end: int) -> Target:
        """Characters ``start`` to ``end`` (not included, from 0) of an answer."""
        if _position("end", end) <= _position("start", start):
            raise InvalidTarget("end", end, f"pass an end after start={start}")
        return cls.of(target)._part("text_range", (names.TARGET_TEXT_START, start), (names.TARGET_TEXT_END, end))

    def _part(self, kind: str, *details: tuple[str, str | int]) -> Target:
        if self.type not in WHOLES:
            fix = f"a {kind} is part of an answer: pass its trace, span, response or message"
            raise InvalidTarget("target", self.type, fix)
        return replace(self, type=kind, details=self.details + details)


WHOLES = frozenset({"trace", "span", "response", "message"})
"""Types of target that can have parts."""

TargetLike: TypeAlias = "Target | str | LLMCall | Span | ReadableSpan | SpanContext"


def _parse(text: str) -> Target:
    value = text.strip()
    if len(value) <= MAX_HEADER:
        if match := _IDS.fullmatch(value):
            return _checked(match["trace"], match["span"], None, text)
        if _UUID.fullmatch(value):
            return _checked(value.replace("-", ""), None, None, text)
        if parsed := _parse_traceparent(value, text):
            return parsed
        for described in _descriptions(value):
            if parsed := _parse_traceparent(described, text):
                return parsed
    raise InvalidTarget("target", text, GRAMMAR)


def _descriptions(server_timing: str) -> Iterator[str]:
    for metric in _METRICS.findall(server_timing):
        name, *parameters = _PARAMETERS.findall(metric) or [""]
        if name.strip().lower() in {"trace", "traceparent"}:
            yield from (match[2] for each in parameters if (match := _DESCRIPTION.fullmatch(each)))


def _parse_traceparent(value: str, text: str) -> Target | None:
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (match["version"] == "00" and match["more"]):
        return None
    return _checked(match["trace"], match["span"], int(match["flags"], 16), text)


def _from_context(context: SpanContext, given: object, open_span: Span | None = None) -> Target:
    if not context.is_valid:
        raise InvalidTarget(
            "target",
            given,
            "it has no valid trace and span id: no span was recorded there; is a TracerProvider set up?",
        )
    return Target(
        "span", f"{context.trace_id:032x}", f"{context.span_id:016x}", int(context.trace_flags), open_span=open_span
    )


def _checked(
    trace_id: object, span_id: object | None, flags: object | None, given: object, call: LLMCall | None = None
) -> Target:
    trace_hex = _hex("trace_id", trace_id, 32, given)
    span_hex = None if span_id is None else _hex("span_id", span_id, 16, given)
    if flags is not None and (isinstance(flags, bool) or not isinstance(flags, int) or not 0 <= flags <= 255):
        raise InvalidTarget("trace_flags", flags, "pass the W3C flags as an int from 0 to 255")
    return Target("span" if span_hex else "trace", trace_hex, span_hex, flags, call=call)


def _check_id(name: str, value: object, length: int) -> None:
    if not isinstance(value, str) or not _ID[length].fullmatch(value):
        _hex(name, value, length, value)
        raise InvalidTarget(name, value, "pass it in lower case")


def _hex(name: str, value: object, length: int, given: object) -> str:
    if not isinstance(value, str) or len(value) != length or not re.fullmatch(r"[0-9a-fA-F]+", value):
        raise InvalidTarget(name, given, f"pass {length} hex digits")
    if not value.strip("0"):
        raise InvalidTarget(name, given, "an id of all zeros names nothing; pass the id of the answer's own trace")
    return value.lower()


def _id(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_ID:
        raise InvalidTarget(name, value, f"pass text of 1 to {MAX_ID} characters")
    return value.encode("utf-8", "replace").decode()


def _position(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InvalidTarget(name, value, "pass an int from 0 up")
    return value
