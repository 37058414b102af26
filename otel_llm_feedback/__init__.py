"""Tie what people say about an LLM answer to the OpenTelemetry trace that produced it."""

from otel_llm_feedback.current import current_span_id, current_target, current_trace_id
from otel_llm_feedback.errors import (
    ConfigurationError,
    FeedbackError,
    FeedbackLost,
    InvalidField,
    InvalidTarget,
    InvalidValue,
)
from otel_llm_feedback.feedback.receipt import Receipt
from otel_llm_feedback.feedback.record import record_feedback, record_feedback_batch
from otel_llm_feedback.feedback.recorder import Recorder
from otel_llm_feedback.feedback.resolve import resolve
from otel_llm_feedback.feedback.revise import erase_feedback, retract_feedback, update_feedback
from otel_llm_feedback.feedback.scales import Scale
from otel_llm_feedback.redaction import Content, Redactor
from otel_llm_feedback.settings import Settings
from otel_llm_feedback.setup.providers import Pipeline, configure
from otel_llm_feedback.spans.call import LLMCall
from otel_llm_feedback.spans.context import llm_context
from otel_llm_feedback.spans.exporter import NormalizingSpanExporter
from otel_llm_feedback.spans.processor import LLMSpanProcessor
from otel_llm_feedback.spans.registries import Registry
from otel_llm_feedback.spans.registry import CallRegistry
from otel_llm_feedback.spans.sqlite_registry import SQLiteCallRegistry
from otel_llm_feedback.target import Target
from otel_llm_feedback.version import __version__

__all__ = [
    "CallRegistry",
    "ConfigurationError",
    "Content",
    "FeedbackError",
    "FeedbackLost",
    "InvalidField",
    "InvalidTarget",
    "InvalidValue",
    "LLMCall",
    "LLMSpanProcessor",
    "NormalizingSpanExporter",
    "Pipeline",
    "Receipt",
    "Recorder",
    "Redactor",
    "Registry",
    "SQLiteCallRegistry",
    "Scale",
    "Settings",
    "Target",
    "__version__",
    "configure",
    "current_span_id",
    "current_target",
    "current_trace_id",
    "erase_feedback",
    "llm_context",
    "record_feedback",
    "record_feedback_batch",
    "resolve",
    "retract_feedback",
    "update_feedback",
]
