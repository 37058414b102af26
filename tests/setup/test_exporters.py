from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_llm_feedback import ConfigurationError, NormalizingSpanExporter
from otel_llm_feedback.setup.exporters import OTLPGenAISpanExporter, make_exporters

if TYPE_CHECKING:
    from otel_llm_feedback.receiver import MemorySink, Receiver


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for signal in ("TRACES", "LOGS"):
        monkeypatch.delenv(f"OTEL_{signal}_EXPORTER", raising=False)


def made(signal: Any, **arguments: Any) -> list[str]:
    exporters = make_exporters(signal, **arguments)
    for each in exporters:
        each.shutdown()
    return [f"{type(each).__module__}.{type(each).__name__}" for each in exporters]


OTLP = "opentelemetry.exporter.otlp.proto"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, [f"{OTLP}.http.trace_exporter.OTLPSpanExporter"]),
        ({"OTEL_TRACES_EXPORTER": ""}, [f"{OTLP}.http.trace_exporter.OTLPSpanExporter"]),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, [f"{OTLP}.grpc.trace_exporter.OTLPSpanExporter"]),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            [f"{OTLP}.http.trace_exporter.OTLPSpanExporter"],
        ),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": " NONE "}, []),
        ({"OTEL_TRACES_EXPORTER": "console"}, ["opentelemetry.sdk.trace.export.ConsoleSpanExporter"]),
        (
            {"OTEL_TRACES_EXPORTER": "console, otlp_proto_grpc,"},
            ["opentelemetry.sdk.trace.export.ConsoleSpanExporter", f"{OTLP}.grpc.trace_exporter.OTLPSpanExporter"],
        ),
        ({"OTEL_TRACES_EXPORTER": "otlp_genai"}, ["otel_llm_feedback.setup.exporters.OTLPGenAISpanExporter"]),
    ],
)
def test_names_mean_what_they_mean_to_the_sdk(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], expected: list[str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert made("traces") == expected


def test_logs_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert made("logs") == [f"{OTLP}.http._log_exporter.OTLPLogExporter"]
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    assert made("logs") == []


def test_an_endpoint_in_code_always_means_otlp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert made("traces", endpoint="http://127.0.0.1:4318") == [f"{OTLP}.http.trace_exporter.OTLPSpanExporter"]


@pytest.mark.parametrize(
    "endpoint",
    ["", " ", "127.0.0.1", "127.0.0.1:4318", "localhost:4317", "//host", "http://", "http://[::1", "http://h:99999",
     "http://h:port", "grpc://h:4317", b"http://h", 4318, ["http://h"]],
)  # fmt: skip
def test_endpoints_that_are_none(endpoint: Any) -> None:
    with pytest.raises(ConfigurationError, match="base URL") as caught:
        make_exporters("traces", endpoint=endpoint)
    assert caught.value.field == "endpoint"


@pytest.mark.parametrize("headers", ["a=b", [("a", "b")], {"a": 1}, {1: "a"}, {b"a": b"b"}, 5])
def test_headers_that_are_none(headers: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_exporters("traces", headers=headers)
    assert caught.value.field == "headers"


@pytest.mark.parametrize("protocol", ["", "http", "http/json", "GRPC", "udp"])
def test_protocols_that_are_none(protocol: str) -> None:
    with pytest.raises(ConfigurationError, match="'grpc' or 'http/protobuf'") as caught:
        make_exporters("logs", protocol=protocol)
    assert caught.value.field == "protocol"


def test_an_exporter_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its own code raises is the cause; which setting asked for it is the field."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    with pytest.raises(ConfigurationError, match="ValueError") as caught:
        make_exporters("traces", protocol="grpc")
    assert caught.value.field == "protocol"
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_exporter_of_ours_says_itself_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp_genai")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "udp")
    with pytest.raises(ConfigurationError) as caught:
        make_exporters("traces")
    assert caught.value.field == "OTEL_EXPORTER_OTLP_PROTOCOL"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_otlp_genai_normalises_what_it_sends(receiver: Receiver, sink: MemorySink, protocol: str) -> None:
    endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
    exporter = OTLPGenAISpanExporter(endpoint=endpoint, protocol=protocol, headers={"X-Tenant": "t"})
    assert isinstance(exporter, NormalizingSpanExporter)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("t").start_span(
        "ChatCompletion", attributes={"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"}
    ).end()
    provider.shutdown()

    [span] = sink.spans
    assert span.attributes["gen_ai.operation.name"] == "chat"
    assert span.attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert span.attributes["llm.model_name"] == "gpt-4o-mini"
