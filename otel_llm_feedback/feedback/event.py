"""One feedback event: where it belongs and what it carries. Pure: decides, sends nothing."""

from __future__ import annotations

from typing import NamedTuple

from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags
from opentelemetry.util.types import AttributeValue

from otel_llm_feedback import attributes as names
from otel_llm_feedback.errors import InvalidField
from otel_llm_feedback.feedback.statement import Statement
from otel_llm_feedback.identity import derived_id, pseudonym
from otel_llm_feedback.settings import Settings
from otel_llm_feedback.spans.call import LLMCall, capture
from otel_llm_feedback.spans.registries import Registry
from otel_llm_feedback.target import Target

__all__ = ["NOWHERE", "FeedbackEvent", "Place", "check_agreement", "compose", "locate"]


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


NOWHERE = Place(None, None, None, None)
"""Where an event without any trace belongs."""


class FeedbackEvent(NamedTuple):
    """Ready to be sent, as a log record or as a span event."""

    id: str
    timestamp: int
    observed: int
    place: Place
    attributes: dict[str, AttributeValue]
    name: str = names.EVALUATION_EVENT

    @property
    def failed(self) -> bool:
        """Whether it says that the evaluation itself failed."""
        return names.ERROR_TYPE in self.attributes


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
    return NOWHERE if call is None else Place(call.trace_id, call.span_id, call.trace_flags, call)


def _open_call(target: Target) -> LLMCall | None:
    span = target.open_span
    return capture(span) if isinstance(span, SDKSpan) and span.end_time is None else None


def compose(
    target: Target | None,
    place: Place,
    said: Statement,
    settings: Settings,
    *,
    now: int,
    random_id: str,
    operation: str = "create",
) -> FeedbackEvent:
    """Put the record together. The attributes that matter most come last: at its limit the SDK drops the oldest.

    target: None for an update or retraction that does not repeat it.
    """
    feedback_id = said.feedback_id or _derived_id(target, said, settings) or random_id
    attributes: dict[str, AttributeValue] = {names.METADATA_PREFIX + key: value for key, value in said.metadata.items()}
    if said.marks:
        attributes[names.TRUNCATED] = said.marks
    if place.call is not None:
        attributes.update(place.call.dimensions)
    if said.user_id is not None:
        _add_people(attributes, said.user_id, settings)
    attributes.update(said.attributes)
    if target is not None:
        _add_target(attributes, target, place)
    if operation == "create":
        attributes.setdefault(names.KIND, "explicit")
    attributes[names.OPERATION] = operation
    attributes[names.REVISION] = now // 1000 if said.revision is None else said.revision
    attributes[names.ID] = feedback_id
    attributes[names.EVALUATION_NAME] = said.name
    return FeedbackEvent(feedback_id, said.at or now, now, place, attributes)


CONTEXTS = {
    names.SESSION_ID: "session_id",
    names.PROJECT_ID: "project_id",
    names.EXPERIMENT_ID: "experiment_id",
}
"""Attributes that may be a target's or stand beside another one, and the keywords for the latter."""


def check_agreement(target: Target, said: Statement) -> None:
    """Raise InvalidField when a session, project or experiment is the target and another one is given beside it."""
    if CONTEXTS.keys().isdisjoint(said.attributes):
        return
    named = {names.SESSION_ID: target.session_id, **dict(target.details)}
    for attribute, field in CONTEXTS.items():
        given = said.attributes.get(attribute)
        if given is not None and named.get(attribute) not in {None, given}:
            raise InvalidField(field, given, "the target is another one: leave this out", private=True)


def _add_target(attributes: dict[str, AttributeValue], target: Target, place: Place) -> None:
    if target.details:
        attributes.update(target.details)
    if target.session_id is not None:
        attributes[names.SESSION_ID] = target.session_id
    if target.response_id is not None:
        attributes[names.RESPONSE_ID] = target.response_id
    if target.message_id is not None:
        attributes[names.TARGET_MESSAGE_ID] = target.message_id
    if place.trace_flags is not None:
        attributes[names.TRACE_SAMPLED] = place.trace_flags & TraceFlags.SAMPLED == TraceFlags.SAMPLED
    attributes[names.TARGET_TYPE] = target.type


def _derived_id(target: Target | None, said: Statement, settings: Settings) -> str | None:
    """The same person saying the same kind of thing about the same target twice is one vote, changed."""
    if target is None or said.user_id is None or settings.pseudonym_key is None:
        return None
    return derived_id(settings.pseudonym_key, target.identity, said.name, said.user_id)


def _add_people(attributes: dict[str, AttributeValue], user_id: str, settings: Settings) -> None:
    if settings.pseudonym_key is not None:
        attributes[names.PSEUDONYM] = pseudonym(settings.pseudonym_key, user_id)
    if settings.raw_user_ids:
        attributes[names.USER_ID] = user_id
