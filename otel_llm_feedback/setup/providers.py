"""configure(): the whole set-up in one call, for applications that have none, and beside the one of those that do."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_llm_feedback import otel_logs
from otel_llm_feedback.attributes import SCOPE_NAME, SERVICE_NAME
from otel_llm_feedback.boundary import swallow
from otel_llm_feedback.counters import DEFAULT_COUNTERS
from otel_llm_feedback.delivery.courier import Courier, FlushReport
from otel_llm_feedback.delivery.exporters import SpoolLogExporter
from otel_llm_feedback.delivery.records import SpoolStats
from otel_llm_feedback.errors import ConfigurationError, FeedbackError
from otel_llm_feedback.feedback.emit import LogEmitter, SpanEventEmitter
from otel_llm_feedback.feedback.recorder import Recorder, set_default_recorder
from otel_llm_feedback.redaction import Content, ContentMode
from otel_llm_feedback.settings import Settings
from otel_llm_feedback.setup.exporters import make_exporters
from otel_llm_feedback.spans.exporter import NormalizingSpanExporter
from otel_llm_feedback.spans.processor import LLMSpanProcessor
from otel_llm_feedback.spans.registries import Registry
from otel_llm_feedback.spans.registry import set_default_registry
from otel_llm_feedback.version import __version__

__all__ = ["Pipeline", "attach", "configure"]

_attached: weakref.WeakSet[Any] = weakref.WeakSet()
_exporting: weakref.WeakSet[Any] = weakref.WeakSet()
_published = threading.Event()


@dataclass(frozen=True)
class Pipeline:
    """What `configure` set up or found.

    tracer_provider, logger_provider: the providers in use.
    owned: what `configure` made itself, each with ``force_flush`` and ``shutdown``: only these are shut down.
    courier: delivers from the spool; None when nothing goes through one.
    """

    tracer_provider: Any
    logger_provider: Any
    owned: tuple[Any, ...]
    courier: Courier | None = None

    def flush(self, timeout_seconds: float = 10.0) -> FlushReport:
        """Deliver what is waiting; what came of it, within the time. Without a spool the SDK does not say what arrived."""
        return self._flush(timeout_seconds, patient=True)

    def stats(self) -> SpoolStats | None:
        """What is in the spool now; None without one."""
        return self.courier.spool.stats() if self.courier is not None else None

    def shutdown(self, timeout_seconds: float = 10.0) -> FlushReport:
        """Try once more to deliver, and stop what `configure` made, within the time. What is spooled stays in the spool."""
        deadline = time.monotonic() + timeout_seconds
        report = self._flush(timeout_seconds, patient=False)
        ended = _within(deadline - time.monotonic(), [made.shutdown for made in self.owned])
        return replace(report, complete=report.complete and ended)

    def _flush(self, timeout_seconds: float, *, patient: bool) -> FlushReport:
        deadline = time.monotonic() + timeout_seconds
        providers = (self.tracer_provider, self.logger_provider)
        ended = _within(timeout_seconds, [each.force_flush for each in providers if hasattr(each, "force_flush")])
        if self.courier is None:
            return FlushReport(ended)
        report = self.courier.flush(max(0.0, deadline - time.monotonic()), patient=patient)
        return replace(report, complete=report.complete and ended)


def configure(
    *,
    service_name: str | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    tracer_provider: Any = None,
    logger_provider: Any = None,
    export_spans: bool = False,
    export_logs: bool = False,
    durable: bool = True,
    spool_dir: str | os.PathLike[str] | None = None,
    fsync: bool = False,
    registry: Registry | None = None,
    pseudonym_key: str | bytes | None = None,
    raw_user_ids: bool | None = None,
    content: Content | ContentMode | None = None,
) -> Pipeline:
    """Make spans and feedback reach an OpenTelemetry collector.

    A provider that is missing is created, with an OTLP exporter, and set as the global one. A provider that is there gets the
    `LLMSpanProcessor` and nothing else, so that nothing is exported twice. Calling it again adds nothing twice.

    service_name: ``service.name`` of created providers; default: ``OTEL_SERVICE_NAME``.
    endpoint: base URL of the collector; default: ``OTEL_EXPORTER_OTLP_*``, as for all the other arguments of export.
    protocol: ``grpc`` or ``http/protobuf`` (the default).
    headers: sent with every export.
    tracer_provider, logger_provider: use these instead of the global ones.
    export_spans, export_logs: add an exporter also to a provider that is there already.
    durable: OTLP goes through a spool on disk, from which it is delivered for as long as it takes: what was recorded survives
        crashes of this process and outages of the collector. False: the SDK's own exporters, which keep it in memory.
    spool_dir: the spool's directory; default: ``OTEL_LLM_FEEDBACK_SPOOL_DIR``, else one for this service in the user's state.
    fsync: survive power loss too, at the price of a disk flush for each vote.
    registry: where captured calls are kept; default: in the memory of this process. Give every worker of a host a
        `SQLiteCallRegistry` of the same path, and a vote finds its call whichever of them it reaches.
    pseudonym_key, raw_user_ids, content: see `Settings`.

    Raises ConfigurationError, and SpoolError when the spool's directory cannot be used.
    """
    settings = Settings.from_os_environ(pseudonym_key=pseudonym_key, raw_user_ids=raw_user_ids, content=content)
    spool = {"spool_dir": spool_dir, "service_name": service_name, "fsync": fsync} if durable else None
    exporters = partial(make_exporters, endpoint=endpoint, protocol=protocol, headers=headers, spool=spool)
    found_traces, no_traces = _find_traces(tracer_provider)
    found_logs, no_logs = _find_logs(logger_provider, export_logs)
    # Everything that can be refused is made before anything is changed.
    resource = _resource(service_name, found_logs if no_traces else found_traces)
    with _refusing(), ExitStack() as undo:
        span_exporters = exporters("traces") if no_traces or (export_spans and found_traces not in _exporting) else []
        undo.callback(_shut_down, span_exporters)
        log_exporters = exporters("logs") if no_logs or (export_logs and found_logs not in _exporting) else []
        undo.callback(_shut_down, log_exporters)
        traces: Any = TracerProvider(resource=resource) if no_traces else found_traces
        logs: Any = otel_logs.LoggerProvider(resource=resource) if no_logs else found_logs
        span_processors = [BatchSpanProcessor(NormalizingSpanExporter(each)) for each in span_exporters]
        log_processors = [processor for each in log_exporters for processor in _log_processors(each)]
        undo.pop_all()

    if registry is not None:
        set_default_registry(registry)
    attach(traces, settings)
    for span_processor in span_processors:
        traces.add_span_processor(span_processor)
    for log_processor in log_processors:
        logs.add_log_record_processor(log_processor)
    _exporting.update(provider for provider, used in ((traces, span_exporters), (logs, log_exporters)) if used)
    if no_traces:
        trace.set_tracer_provider(traces)
    if no_logs:
        otel_logs.set_logger_provider(logs)
    set_default_recorder(Recorder(settings, logs=LogEmitter(logs), span_events=SpanEventEmitter(traces)))
    # A provider shuts its processors down itself.
    owned = (*([traces] if no_traces else span_processors), *([logs] if no_logs else log_processors))
    couriers = [each.courier for each in (*span_exporters, *log_exporters) if hasattr(each, "courier")]
    return Pipeline(traces, logs, owned, couriers[0] if couriers else None)


def _find_traces(given: Any) -> tuple[Any, bool]:
    """The TracerProvider to use, and whether there is none yet."""
    found = given if given is not None else trace.get_tracer_provider()
    missing = isinstance(found, trace.ProxyTracerProvider)
    if not missing and not hasattr(found, "add_span_processor"):
        raise ConfigurationError(
            "tracer_provider", found, "use an SDK TracerProvider, to which processors can be added"
        )
    return found, missing


def _find_logs(given: Any, export: bool) -> tuple[Any, bool]:
    """The LoggerProvider to use, and whether there is none yet."""
    found = given if given is not None else otel_logs.get_logger_provider()
    missing = otel_logs.is_missing(found)
    if not (given is None and missing) and not _takes_logs(found, export):
        raise ConfigurationError(
            "logger_provider", found, "use an SDK LoggerProvider, to which processors can be added"
        )
    return found, missing


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except FeedbackError:
        raise
    except ValueError as error:
        raise ConfigurationError("environment", "OTEL_*", f"the SDK cannot use it: {error}") from error


def _shut_down(exporters: list[Any]) -> None:
    for exporter in exporters:
        exporter.shutdown()


def _log_processors(exporter: Any) -> list[Any]:
    """Batches for the exporter; a spool gets feedback before that, in the thread that records it."""
    batches = otel_logs.BatchLogRecordProcessor(exporter)
    return [exporter.processor(), batches] if isinstance(exporter, SpoolLogExporter) else [batches]


def _takes_logs(provider: Any, export: bool) -> bool:
    if not isinstance(provider, otel_logs.APILoggerProvider) or otel_logs.is_missing(provider):
        return False
    return hasattr(provider, "add_log_record_processor") or not export


def attach(provider: Any, settings: Settings) -> bool:
    """Add our span processor to a provider, once; whether it was added now."""
    if provider in _attached:
        return False
    provider.add_span_processor(LLMSpanProcessor(settings=settings))
    _attached.add(provider)
    _publish_counters()
    return True


def _publish_counters() -> None:
    """Once per process; the API's proxy meter becomes real whenever the application sets a MeterProvider."""
    if not _published.is_set():
        _published.set()
        DEFAULT_COUNTERS.publish(metrics.get_meter(SCOPE_NAME, __version__))


def _resource(service_name: str | None, existing: Any) -> Resource:
    """The resource of the provider that is there, so that feedback and spans name the same service; else a new one."""
    if not isinstance(service_name, str | None):
        raise ConfigurationError("service_name", service_name, "pass text")
    resource = getattr(existing, "resource", None)
    if service_name is None and isinstance(resource, Resource):
        return resource
    named = Resource.create({SERVICE_NAME: service_name} if service_name is not None else {})
    return resource.merge(named) if isinstance(resource, Resource) else named


def _within(timeout_seconds: float, actions: list[Callable[[], object]]) -> bool:
    """Run every action on a thread of its own; whether all of them came to an end in time and none of them said no.

    The SDK's own time-outs are not kept: force_flush blocks for as long as the exporter retries.
    """
    results: list[bool] = []

    def run(act: Callable[[], object]) -> None:
        try:
            results.append(act() is not False)
        except Exception as error:  # noqa: BLE001 - an exporter of the application failed
            swallow("Pipeline", error)

    threads = [threading.Thread(target=run, args=(action,), daemon=True) for action in actions]
    deadline = time.monotonic() + timeout_seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return len(results) == len(actions) and all(results)
