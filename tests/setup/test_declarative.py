"""Set-up by a declarative configuration file (OTEL_CONFIG_FILE)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.setup.running import run
from tests.setup.test_zero_code import arrived_normalised_and_joined

if TYPE_CHECKING:
    from pathlib import Path

    from demo.openai_server import OpenAIServer
    from otel_llm_feedback.receiver import MemorySink, Receiver

pytestmark = pytest.mark.newest

BOTH_SIGNALS = """
file_format: "1.0"
resource:
  attributes:
    - {{name: service.name, value: zero-code}}
tracer_provider:
  processors:
    - batch: {{exporter: {{otlp_genai: {{endpoint: "{endpoint}", protocol: {protocol}}}}}}}
logger_provider:
  processors:
    - batch: {{exporter: {{{otlp}: {{endpoint: "{logs_endpoint}"{insecure}}}}}}}
instrumentation/development:
  python:
    llm_feedback: {{pseudonym_key: "${{SECRET}}"}}
"""

LOGS_ONLY = """
file_format: "1.0"
resource:
  attributes:
    - {{name: service.name, value: zero-code}}
logger_provider:
  processors:
    - batch: {{exporter: {{otlp_http: {{endpoint: "{endpoint}/v1/logs"}}}}}}
instrumentation/development:
  python:
    llm_feedback: {{pseudonym_key: "not a secret"}}
"""


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_exporter_and_options_from_one_file(
    openai_server: OpenAIServer, receiver: Receiver, sink: MemorySink, tmp_path: Path, protocol: str
) -> None:
    grpc = protocol == "grpc"
    endpoint = receiver.grpc_endpoint if grpc else receiver.http_endpoint
    config = tmp_path / "otel.yaml"
    config.write_text(
        BOTH_SIGNALS.format(
            endpoint=endpoint,
            protocol=protocol,
            otlp="otlp_grpc" if grpc else "otlp_http",
            logs_endpoint=endpoint if grpc else f"{endpoint}/v1/logs",
            insecure=", tls: {insecure: true}" if grpc else "",
        )
    )
    environ = {"OTEL_CONFIG_FILE": str(config), "SECRET": "not a secret"}
    ended = run("chat", openai_server.base_url, environ=environ, instrumented=True)

    arrived_normalised_and_joined(sink, ended.answer)
    # opentelemetry-instrument loads every instrumentor again after the file did, and nothing comes of it.
    assert set(ended.said.splitlines()) <= {
        "OTEL_CONFIG_FILE is set; ignoring configurator kwargs: ['auto_instrumentation_version']",
        "Attempting to instrument while already instrumented",
    }


def test_a_file_without_traces(
    openai_server: OpenAIServer, receiver: Receiver, sink: MemorySink, tmp_path: Path
) -> None:
    config = tmp_path / "otel.yaml"
    config.write_text(LOGS_ONLY.format(endpoint=receiver.http_endpoint))
    ended = run("feedback_only", openai_server.base_url, environ={"OTEL_CONFIG_FILE": str(config)}, instrumented=True)

    assert ended.answer["status"] == "emitted"
    assert sink.wait_for(lambda: bool(sink.logs), 20)
    [vote] = sink.logs
    assert (vote.trace_id, vote.span_id) == ("", "")
    assert len(str(vote.attributes["enduser.pseudo.id"])) == 64, "the file's key was not used"
    assert sink.spans == ()
    assert "LLM spans are not captured" in ended.said
