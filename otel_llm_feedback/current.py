"""The answer that is being given right now, for handing its ids to whoever will judge it."""

from __future__ import annotations

from dataclasses import replace

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, get_current_span

from otel_llm_feedback.spans.call import LLMCall
from otel_llm_feedback.spans.execution import last_call, open_call
from otel_llm_feedback.spans.registries import Registry
from otel_llm_feedback.spans.registry import default_registry
from otel_llm_feedback.target import Target

__all__ = ["current_span_id", "current_target", "current_trace_id"]


def current_target(registry: Registry | None = None) -> Target | None:
    """The votable LLM call of the current trace, else the current span, else None.

    The innermost open call, else the one that ended last in this execution context, else the one that ended last in this
    trace. The usual moment to ask is in a request handler, after the LLM has answered. Without a current span, only a call
    that had no parent span counts.
    """
    here = get_current_span()
    context = here.get_span_context()
    trace_id = f"{context.trace_id:032x}" if context.is_valid else None
    opened = open_call(trace_id)
    if opened is not None:
        return _target(*opened)
    known: Registry = registry if registry is not None else default_registry()
    call = last_call(trace_id) or (known.by_trace(trace_id) if trace_id is not None else None)
    if call is not None:
        return Target.of(call)
    return Target.of(here) if context.is_valid else None


def current_trace_id() -> str | None:
    """The trace id of `current_target`, 32 hex digits, or None."""
    target = current_target()
    return target.trace_id if target is not None else None


def current_span_id() -> str | None:
    """The span id of `current_target`, 16 hex digits, or None."""
    target = current_target()
    return target.span_id if target is not None else None


def _target(call: LLMCall, span: ReadableSpan) -> Target:
    return replace(Target.of(call), open_span=span if isinstance(span, Span) else None)
