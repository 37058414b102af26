"""The captured call: all that a vote needs of an LLM span after the span is gone. Never any message content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, StatusCode
from opentelemetry.util.types import AttributeValue

from otel_llm_feedback import attributes as names
from otel_llm_feedback.spans.dialects import NOT_VOTABLE_SPANS, VOTABLE_OPERATIONS
from otel_llm_feedback.spans.normalise import missing_attributes

__all__ = ["LLMCall", "capture", "copy_of"]


class LLMCall(NamedTuple):
    """One LLM span, immutable. Ids are lower-case hex; times are nanoseconds since the epoch; None means unknown.

    votable: whether a person can judge its result: a chat, completion, agent or workflow, and not the second span that
        some libraries emit for the same request.
    end_time: None while the span is open.
    dimensions: what a vote copies from it, under GenAI attribute names, because a collector cannot join the two.
    """

    trace_id: str
    span_id: str
    trace_flags: int
    operation: str | None
    votable: bool
    provider: str | None
    request_model: str | None
    response_model: str | None
    response_id: str | None
    conversation_id: str | None
    message_id: str | None
    prompt_name: str | None
    prompt_version: str | None
    agent_id: str | None
    agent_name: str | None
    agent_version: str | None
    workflow_name: str | None
    input_tokens: int | None
    output_tokens: int | None
    start_time: int
    end_time: int | None
    error_type: str | None

    @property
    def sampled(self) -> bool:
        """The W3C sampled flag."""
        return bool(self.trace_flags & 1)

    @property
    def dimensions(self) -> dict[str, str]:
        """The attributes that a vote on this call carries a copy of: set ones only, under their GenAI names."""
        values = cast("tuple[str | None, ...]", self[TEXTS])
        found = {name: value for name, value in zip(TEXT_NAMES, values, strict=True) if value is not None}
        found.pop(names.TARGET_MESSAGE_ID, None)
        if self.operation is not None:
            found[names.OPERATION_NAME] = self.operation
        return found


TEXT_NAMES = (
    names.PROVIDER_NAME,
    names.REQUEST_MODEL,
    names.RESPONSE_MODEL,
    names.RESPONSE_ID,
    names.CONVERSATION_ID,
    names.TARGET_MESSAGE_ID,
    names.PROMPT_NAME,
    names.PROMPT_VERSION,
    names.AGENT_ID,
    names.AGENT_NAME,
    names.AGENT_VERSION,
    names.WORKFLOW_NAME,
)
"""Where the text fields from ``provider`` to ``workflow_name`` come from, in their order."""

MAX_TEXT = 1024
"""Longest value that is kept, in characters; a longer one is neither a name nor an id, and cannot be cut to one."""

TEXTS = slice(LLMCall._fields.index("provider"), LLMCall._fields.index("workflow_name") + 1)


def copy_of(span: ReadableSpan) -> dict[str, AttributeValue]:
    """The span's attributes as a plain dict: one copy is far cheaper than look-ups through the SDK's view of them."""
    attributes = span.attributes
    copy = getattr(attributes, "copy", None)
    return copy() if copy is not None else dict(attributes or {})


def capture(
    span: ReadableSpan,
    tags: Mapping[str, AttributeValue] | None = None,
    attributes: dict[str, AttributeValue] | None = None,
) -> LLMCall | None:
    """Capture a span, open or ended; None when it has no ids.

    tags: what the application said in `llm_context` around the span's start; stands in for attributes it does not have.
    attributes: a copy of the span's, if there is one already.
    """
    context = span.get_span_context()
    if context is None:
        return None
    if attributes is None:
        attributes = copy_of(span)
    scope = span.instrumentation_scope
    added = missing_attributes(attributes, scope.name if scope is not None else "", span.name)
    if added:
        attributes.update(added)
    if tags:
        attributes = {**tags, **attributes}
    return _from_attributes(span, context, attributes)


def _from_attributes(span: ReadableSpan, context: SpanContext, attributes: dict[str, AttributeValue]) -> LLMCall:
    get = attributes.get
    operation = _text(get(names.OPERATION_NAME))
    return LLMCall._make(
        (
            f"{context.trace_id:032x}",
            f"{context.span_id:016x}",
            int(context.trace_flags),
            operation,
            operation in VOTABLE_OPERATIONS and span.name not in NOT_VOTABLE_SPANS,
            *[None if value is None else _text(value) for value in map(get, TEXT_NAMES)],
            _count(get(names.INPUT_TOKENS)),
            _count(get(names.OUTPUT_TOKENS)),
            span.start_time or 0,
            span.end_time,
            _text(get(names.ERROR_TYPE)) or _failure(span),
        )
    )


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if value.__class__ is str:
        # A lone surrogate would cost the vote this dimension: encoders drop the attribute.
        plain = value if value.isascii() else value.encode("utf-8", "replace").decode()
        return plain if 0 < len(plain) <= MAX_TEXT else None
    is_number = isinstance(value, (int, float)) and abs(value) < 2**63
    return str(value) if is_number else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _failure(span: ReadableSpan) -> str | None:
    """The exception that a failed span recorded, for instrumentations that do not set ``error.type``."""
    if span.status.status_code is not StatusCode.ERROR:
        return None
    for event in reversed(span.events):
        kind = (event.attributes or {}).get("exception.type")
        if isinstance(kind, str):
            return kind
    return "_OTHER"
