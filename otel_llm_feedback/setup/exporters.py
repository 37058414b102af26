"""Exporters, found the way OpenTelemetry finds them: by their names among the installed entry points."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from otel_llm_feedback.delivery.exporters import SpoolLogExporter, SpoolSpanExporter
from otel_llm_feedback.errors import ConfigurationError, FeedbackError
from otel_llm_feedback.spans.exporter import NormalizingSpanExporter

__all__ = ["OTLPGenAISpanExporter", "SpoolGenAISpanExporter", "make_exporters"]

Signal: TypeAlias = Literal["traces", "logs"]

PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
"""Values of ``OTEL_EXPORTER_OTLP_PROTOCOL`` and the exporters that speak them."""

DEFAULT_PROTOCOL = "http/protobuf"
"""As the OTLP exporter specification recommends."""

SPOOLED: dict[Signal, type[SpoolSpanExporter | SpoolLogExporter]] = {
    "traces": SpoolSpanExporter,
    "logs": SpoolLogExporter,
}


class OTLPGenAISpanExporter(NormalizingSpanExporter):
    """The OTLP span exporter with `NormalizingSpanExporter` around it, for set-ups that name exporters instead of making them.

    Registered as the traces exporter ``otlp_genai``: ``OTEL_TRACES_EXPORTER=otlp_genai``, or by that name in declarative
    configuration. Arguments left out come from the standard ``OTEL_EXPORTER_OTLP_*`` variables.

    endpoint: base URL, for example ``http://127.0.0.1:4318``.
    protocol: ``grpc`` or ``http/protobuf``. Say it wherever you give an endpoint: the distribution behind
        ``opentelemetry-instrument`` sets the variable for it to ``grpc``.
    headers: sent with every request.
    """

    def __init__(
        self, endpoint: str | None = None, protocol: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(_otlp("traces", endpoint, protocol, headers))


class SpoolGenAISpanExporter(NormalizingSpanExporter):
    """`SpoolSpanExporter` with `NormalizingSpanExporter` around it: the traces exporter ``llm_feedback_spool``.

    Takes the arguments of `SpoolSpanExporter`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(SpoolSpanExporter(**options))


def make_exporters(
    signal: Signal,
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    spool: Mapping[str, Any] | None = None,
) -> list[Any]:
    """The exporters that ``OTEL_TRACES_EXPORTER`` or ``OTEL_LOGS_EXPORTER`` names: ``otlp`` if unset, none for ``none``.

    An endpoint given in code always means OTLP. spool: arguments of the spool through which OTLP goes; None: straight.
    Raises ConfigurationError and SpoolError.
    """
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    wanted = "otlp" if endpoint is not None else os.environ.get(variable) or "otlp"
    chosen = [name.strip() for name in wanted.split(",") if name.strip().lower() not in ("", "none")]
    headers = None if headers is None else _lower_names(headers)
    made: list[Any] = []
    try:
        for name in chosen:
            if name != "otlp":
                made.append(_make(signal, name, variable, {}))
            elif spool is None:
                made.append(_otlp(signal, endpoint, protocol, headers))
            else:
                made.append(SPOOLED[signal](endpoint=endpoint, protocol=protocol, headers=headers, **spool))
    except FeedbackError:
        for exporter in made:
            exporter.shutdown()
        raise
    return made


def _otlp(signal: Signal, endpoint: str | None, protocol: str | None, headers: Mapping[str, str] | None) -> Any:
    source, spoken = _protocol(signal, protocol)
    if spoken not in PROTOCOLS:
        raise ConfigurationError(source, spoken, "use 'grpc' or 'http/protobuf'")
    arguments: dict[str, object] = {}
    if endpoint is not None:
        base = _base_url(endpoint)
        arguments["endpoint"] = base if spoken == "grpc" else f"{base}/v1/{signal}"
    if headers is not None:
        arguments["headers"] = _lower_names(headers)
    return _make(signal, PROTOCOLS[spoken], source, arguments)


def _protocol(signal: Signal, given: str | None) -> tuple[str, str]:
    """The protocol to speak, after the name of the setting that says so."""
    if given is not None:
        return "protocol", given
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if found := os.environ.get(variable, "").strip():
            return variable, found
    return "protocol", DEFAULT_PROTOCOL


def _base_url(endpoint: object) -> str:
    try:
        parts = urlsplit(endpoint) if isinstance(endpoint, str) else None
        usable = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, or a port that is no port
        usable = False
    if not usable:
        raise ConfigurationError(
            "endpoint", endpoint, "give the base URL, for example http://127.0.0.1:4318", private=True
        )
    return str(endpoint).rstrip("/")


def _lower_names(headers: object) -> dict[str, str]:
    """Headers as gRPC wants them; HTTP does not mind."""
    if not isinstance(headers, Mapping) or not all(isinstance(text, str) for pair in headers.items() for text in pair):
        raise ConfigurationError("headers", headers, "pass a mapping from names to values, both text", private=True)
    return {name.lower(): value for name, value in headers.items()}


def _make(signal: Signal, name: str, source: str, arguments: Mapping[str, object]) -> Any:
    """An exporter by its entry point; ``source`` is the setting that asked for it."""
    entry = next(iter(entry_points(group=f"opentelemetry_{signal}_exporter", name=name)), None)
    if entry is None:
        raise ConfigurationError(source, name, f"no installed package provides a {signal} exporter of this name")
    try:
        return entry.load()(**arguments)
    except ConfigurationError:
        raise
    except Exception as error:  # of whatever kind: it is somebody else's code
        problem = f"this {signal} exporter cannot be made ({type(error).__name__}); see the error that caused this one"
        raise ConfigurationError(source, name, problem) from error
