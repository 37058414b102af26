"""Set-up without code: an instrumentor, which is what ``opentelemetry-instrument`` and declarative configuration look for.

Needs ``opentelemetry-instrumentation`` (the extra ``auto``); nothing else imports this module.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # untyped upstream

from otel_llm_feedback.boundary import say_once, swallow
from otel_llm_feedback.delivery.exporters import SpoolLogExporter
from otel_llm_feedback.feedback.recorder import Recorder, set_default_recorder, usable_settings
from otel_llm_feedback.otel_logs import get_logger_provider
from otel_llm_feedback.setup.providers import attach

__all__ = ["FeedbackInstrumentor"]

_spooling: weakref.WeakSet[Any] = weakref.WeakSet()

OPTIONS = ("pseudonym_key", "raw_user_ids", "content")


class FeedbackInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # untyped upstream
    """Adds the `LLMSpanProcessor` to the global TracerProvider, or to ``tracer_provider=``; creates and exports nothing.

    Options, also from YAML (``instrumentation/development: {python: {llm_feedback: {…}}}``): pseudonym_key, raw_user_ids, content.
    It never raises: an instrumentor that does keeps all the others from being loaded.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: it instruments OpenTelemetry itself."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        try:
            self._attach(kwargs)
        except Exception as error:  # noqa: BLE001 - an exception would keep other instrumentors from being loaded
            swallow("FeedbackInstrumentor", error)

    def _attach(self, options: dict[str, Any]) -> None:
        self._spool_feedback()
        settings = usable_settings(**{name: options[name] for name in OPTIONS if name in options})
        provider = options.get("tracer_provider") or trace.get_tracer_provider()
        if not hasattr(provider, "add_span_processor"):
            say_once("no_sdk", "LLM spans are not captured: the TracerProvider does not take span processors")
        elif not attach(provider, settings):
            return  # `configure` was here before: its settings stay
        set_default_recorder(Recorder(settings))

    def _spool_feedback(self) -> None:
        """Where logs go to a spool, feedback gets there at once and not with the next batch."""
        provider: Any = get_logger_provider()
        if hasattr(provider, "add_log_record_processor") and provider not in _spooling:
            for exporter in SpoolLogExporter.made:
                provider.add_log_record_processor(exporter.processor())
                _spooling.add(provider)

    def _uninstrument(self, **kwargs: Any) -> None:
        """A provider does not give processors back; ours stays, and is not added again."""
