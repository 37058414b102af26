"""Exporters, found the way OpenTelemetry finds them: by their names among the installed entry points."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.spans.exporter import NormalizingSpanExporter

__all__ = ["OTLPGenAISpanExporter", "make_exporters"]

Signal: TypeAlias = Literal["traces", "logs"]

PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
"""Values of ``OTEL_EXPORTER_OTLP_PROTOCOL`` and the exporters that speak them."""

DEFAULT_PROTOCOL = "http/protobuf"
"""As the OTLP exporter specification recommends."""


class OTLPGenAISpanExporter(NormalizingSpanExporter):
    """The OTLP span exporter with `NormalizingSpanExporter` around it, for set-ups that name exporters instead of making them.

    Registered as the traces exporter ``otlp_genai``: ``OTEL_TRACES_EXPORTER=otlp_genai``, or by that name in declarative
    configuration. Arguments left out come from the standard ``OTEL_EXPORTER_OTLP_*`` variables.

    endpoint: base URL, for example ``http://127.0.0.1:4318``.
    protocol: ``grpc`` or ``http/protobuf``.
    headers: sent with every request.
    """

    def __init__(
        self, endpoint: str | None = None, protocol: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(_otlp("traces", endpoint, protocol, headers))


def make_exporters(
    signal: Signal,
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> list[Any]:
    """The exporters that ``OTEL_TRACES_EXPORTER`` or ``OTEL_LOGS_EXPORTER`` names: ``otlp`` if unset, none for ``none``.

    An endpoint given in code always means OTLP. Raises ConfigurationError.
    """
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    wanted = "otlp" if endpoint is not None else os.environ.get(variable) or "otlp"
    chosen = [name.strip() for name in wanted.split(",") if name.strip() not in ("", "none")]
    return [
        _otlp(signal, endpoint, protocol, headers) if name == "otlp" else _load(signal, name, variable)()
        for name in chosen
    ]


def _otlp(signal: Signal, endpoint: str | None, protocol: str | None, headers: Mapping[str, str] | None) -> Any:
    variable = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    spoken = protocol or os.environ.get(variable) or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or DEFAULT_PROTOCOL
    if spoken not in PROTOCOLS:
        raise ConfigurationError("protocol", spoken, "use 'grpc' or 'http/protobuf'")
    arguments: dict[str, object] = {}
    if endpoint is not None:
        base = _base_url(endpoint)
        arguments["endpoint"] = base if spoken == "grpc" else f"{base}/v1/{signal}"
    if headers is not None:
        arguments["headers"] = {name.lower(): value for name, value in headers.items()}
    return _load(signal, PROTOCOLS[spoken], "protocol")(**arguments)


def _base_url(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            "endpoint", endpoint, "give the base URL, for example http://127.0.0.1:4318", private=True
        )
    return endpoint.rstrip("/")


def _load(signal: Signal, name: str, field: str) -> Any:
    for entry in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return entry.load()
    raise ConfigurationError(field, name, f"no installed package provides a {signal} exporter of this name")
