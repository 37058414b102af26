"""LLMSpanProcessor: tags LLM spans as they start, captures them as they end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.util.types import AttributeValue

from otel_llm_feedback import attributes as names
from otel_llm_feedback.boundary import say_once, swallow
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.identity import pseudonym
from otel_llm_feedback.settings import Settings
from otel_llm_feedback.spans import execution
from otel_llm_feedback.spans.call import capture, copy_of
from otel_llm_feedback.spans.context import USER_ID, tags_in
from otel_llm_feedback.spans.execution import Note
from otel_llm_feedback.spans.recognise import Recogniser, Verdict
from otel_llm_feedback.spans.registries import Registry
from otel_llm_feedback.spans.registry import default_registry

__all__ = ["LLMSpanProcessor"]

MAX_ATTRIBUTES_BEFORE = 64
"""A span with more attributes is left alone: at its limit (128) the SDK makes room by dropping the oldest ones."""


class LLMSpanProcessor(SpanProcessor):
    """Register it in any TracerProvider: ``provider.add_span_processor(LLMSpanProcessor())``.

    As an LLM span starts, it gets what `llm_context` says, through public API and without replacing anything. As it ends,
    its ids and dimensions go to the call registry, where `record_feedback` and `current_target` find them. It exports
    nothing, and no exception leaves it: the SDK would pass it into the application.

    registry: where calls go; by default the one that the whole process shares.
    settings: pseudonym key and the like; by default those of the environment, read when the processor is made.
    counters: where losses are counted.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        settings: Settings | None = None,
        *,
        counters: Counters = DEFAULT_COUNTERS,
    ) -> None:
        self._registry: Registry = registry if registry is not None else default_registry()
        self._settings = settings if settings is not None else Settings.from_os_environ()
        self._counters = counters
        self._recogniser = Recogniser()
        self._verdicts = self._recogniser.verdicts
        self._open: dict[int, Note] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Called by the SDK, in the application's thread."""
        try:
            scope = span.instrumentation_scope
            verdict = self._verdicts[scope.name if scope is not None else ""]
            if verdict is Verdict.NEVER:
                return
            tags = tags_in(parent_context)
            if verdict is Verdict.ALWAYS or self._recogniser.is_llm(copy_of(span)):
                self._begin(span, tags)
                if tags:
                    self._tag(span, tags)
            elif tags:
                self._begin(span, tags)  # it may yet turn out to be one, by attributes set later
        except Exception as error:  # noqa: BLE001 - the SDK would pass it into the application
            swallow("LLMSpanProcessor.on_start", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Called by the SDK, in the application's thread."""
        try:
            scope = span.instrumentation_scope
            verdict = self._verdicts[scope.name if scope is not None else ""]
            if verdict is Verdict.NEVER:
                return
            context = span.get_span_context()
            note = self._open.pop(context.span_id, None) if self._open and context is not None else None
            attributes = copy_of(span)
            call = None
            if verdict is Verdict.ALWAYS or self._recogniser.is_llm(attributes):
                call = capture(span, note.tags if note is not None else None, attributes)
            if call is not None:
                self._registry.put(call)
            if note is not None:
                note.end(call)
        except Exception as error:  # noqa: BLE001 - the SDK would pass it into the application
            swallow("LLMSpanProcessor.on_end", error)

    def shutdown(self) -> None:
        """Nothing to close. Captured calls stay: votes come after the spans."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is buffered."""
        return True

    def _begin(self, span: Span, tags: Mapping[str, AttributeValue]) -> None:
        span_id = span.get_span_context().span_id
        # The partial holds the dict and not the processor; the reference that it is called with is pop's default.
        self._open[span_id] = execution.begin(span, tags, partial(self._open.pop, span_id))

    def _tag(self, span: Span, tags: Mapping[str, AttributeValue]) -> None:
        present = span.attributes or {}
        if len(present) > MAX_ATTRIBUTES_BEFORE:
            self._counters.add("untagged", "too_many_attributes")
            return
        for name, value in tags.items():
            if name == USER_ID:
                self._tag_user(span, str(value), present)
            elif name not in present:
                span.set_attribute(name, value)

    def _tag_user(self, span: Span, user_id: str, present: Mapping[str, object]) -> None:
        key = self._settings.pseudonym_key
        if key is not None and names.PSEUDONYM not in present:
            span.set_attribute(names.PSEUDONYM, pseudonym(key, user_id))
        if self._settings.raw_user_ids and names.USER_ID not in present:
            span.set_attribute(names.USER_ID, user_id)
        if key is None and not self._settings.raw_user_ids:
            refuse_user_id(self._counters)


def refuse_user_id(counters: Counters) -> None:
    """Count, and say once, that a user id was not sent."""
    counters.add("withheld", "no_pseudonym_key")
    say_once(
        "no_pseudonym_key",
        "user ids are not sent, because there is no key to make pseudonyms with: set OTEL_LLM_FEEDBACK_PSEUDONYM_KEY",
    )
