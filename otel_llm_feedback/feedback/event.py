"""One feedback event: where it belongs and what it carries. Pure: decides, sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags
from opentelemetry.util.types import AttributeValue

from otel_llm_feedback import attributes as names
from otel_llm_feedback.errors import InvalidField, InvalidValue
from otel_llm_feedback.feedback import fields
from otel_llm_feedback.identity import derived_id, pseudonym
from otel_llm_feedback.settings import Settings
from otel_llm_feedback.spans.call import LLMCall, capture
from otel_llm_feedback.spans.registries import Registry
from otel_llm_feedback.target import Target

__all__ = ["FeedbackEvent", "Place", "Statement", "compose", "locate", "state"]


class Place(NamedTuple):
    """Where an event belongs: hex ids and flags as far as they are known, and the captured call if there is one."""

    trace_id: str | None
    span_id: str | None
    trace_flags: int | None
    call: LLMCall | None

    def span_context(self, unknown_flags: int = 0) -> SpanContext:
        """The context to emit in: never the current span's. All zero when there is no trace."""
        if self.trace_id is None:
            return INVALID_SPAN_CONTEXT
        flags = TraceFlags(unknown_flags if self.trace_flags is None else self.trace_flags)
        return SpanContext(int(self.trace_id, 16), int(self.span_id or "0", 16), is_remote=True, trace_flags=flags)


class Statement(NamedTuple):
    """What the caller said, checked and cleaned."""

    name: str
    score: float | None
    label: str | None
    comment: str | None
    metadata: Mapping[str, str | bool | int | float]
    at: int | None
    feedback_id: str | None
    user_id: str | None
    session_id: str | None
    marks: list[str]


class FeedbackEvent(NamedTuple):
    """Ready to be sent, as a log record or as a span event."""

    id: str
    timestamp: int
    observed: int
    place: Place
    attributes: dict[str, AttributeValue]


def state(
    settings: Settings,
    *,
    value: object,
    name: object,
    label: object,
    comment: object,
    metadata: object,
    at: object,
    feedback_id: object,
    user_id: object,
    session_id: object,
) -> Statement:
    """Check and clean every argument but the target. Raises InvalidValue or InvalidField."""
    marks: list[str] = []
    score, text = fields.clean_score(value, label)
    words = None if comment is None else fields.clean_text("comment", comment, settings.max_comment_length, marks)
    words = words if words is None or words.strip() else None  # an empty box of a form is no comment
    if score is None and text is None and words is None:
        raise InvalidValue("value", value, "pass a value, a label or a comment: there is nothing to record")
    return Statement(
        name=fields.required_text("name", name, fields.MAX_NAME),
        score=score,
        label=text,
        comment=words,
        metadata=fields.clean_metadata(metadata, settings.max_metadata_keys, settings.max_metadata_length, marks),
        at=fields.clean_time(at),
        feedback_id=_optional("feedback_id", feedback_id),
        user_id=_optional("user_id", user_id),
        session_id=_optional("session_id", session_id),
        marks=marks,
    )


def _optional(field_name: str, value: object) -> str | None:
    if value is None:
        return None
    try:
        return fields.required_text(field_name, value, 512)
    except InvalidField as error:
        raise InvalidField(field_name, value, error.fix, private=True) from None


def locate(target: Target, registry: Registry) -> Place:
    """The place that a target names: by its own ids, else by those of the call that the registry knows for it."""
    call = target.call
    if target.trace_id is not None:
        if call is None and target.open_span is not None:
            call = _open_call(target)
        if call is None:
            in_trace = registry.by_trace(target.trace_id) if target.span_id is None else None
            call = in_trace or registry.by_span(target.trace_id, target.span_id or "")
        known = call.trace_flags if call is not None else None
        return Place(target.trace_id, target.span_id, known if target.trace_flags is None else target.trace_flags, call)
    if target.response_id is not None:
        call = registry.by_response(target.response_id)
    elif target.message_id is not None:
        call = registry.by_message(target.message_id)
    return (
        Place(call.trace_id, call.span_id, call.trace_flags, call)
        if call is not None
        else Place(None, None, None, None)
    )


def _open_call(target: Target) -> LLMCall | None:
    span = target.open_span
    return capture(span) if isinstance(span, SDKSpan) and span.end_time is None else None


def compose(
    target: Target, place: Place, said: Statement, settings: Settings, *, now: int, random_id: str
) -> FeedbackEvent:
    """Put the record together. The attributes that matter most come last: at its limit the SDK drops the oldest."""
    feedback_id = said.feedback_id or _derived_id(target, said, settings) or random_id
    attributes: dict[str, AttributeValue] = {names.METADATA_PREFIX + key: value for key, value in said.metadata.items()}
    if said.marks:
        attributes[names.TRUNCATED] = said.marks
    if place.call is not None:
        attributes.update(place.call.dimensions)
    if target.details:
        attributes.update(target.details)
    if said.user_id is not None:
        _add_people(attributes, said.user_id, settings)
    for name, value in (
        (names.SESSION_ID, target.session_id or said.session_id),
        (names.RESPONSE_ID, target.response_id),
        (names.TARGET_MESSAGE_ID, target.message_id),
        (names.TRACE_SAMPLED, None if place.trace_flags is None else place.trace_flags & 1 == 1),
        (names.EXPLANATION, said.comment),
        (names.SCORE_LABEL, said.label),
        (names.SCORE_VALUE, said.score),
        (names.KIND, "explicit"),
        (names.TARGET_TYPE, target.type),
        (names.OPERATION, "create"),
        (names.REVISION, now // 1000),
        (names.ID, feedback_id),
        (names.EVALUATION_NAME, said.name),
    ):
        if value is not None:
            attributes[name] = value  # noqa: PERF403 - updating from a comprehension makes a second dict, which is slower
    return FeedbackEvent(feedback_id, said.at or now, now, place, attributes)


def _derived_id(target: Target, said: Statement, settings: Settings) -> str | None:
    """The same person saying the same kind of thing about the same target twice is one vote, changed."""
    if said.user_id is None or settings.pseudonym_key is None:
        return None
    return derived_id(settings.pseudonym_key, target.identity, said.name, said.user_id)


def _add_people(attributes: dict[str, AttributeValue], user_id: str, settings: Settings) -> None:
    if settings.pseudonym_key is not None:
        attributes[names.PSEUDONYM] = pseudonym(settings.pseudonym_key, user_id)
    if settings.raw_user_ids:
        attributes[names.USER_ID] = user_id
