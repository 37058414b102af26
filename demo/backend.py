"""Where the demo's telemetry goes: a real collector if there is one, else the receiver that comes with the package."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from otel_llm_feedback.receiver import MemorySink, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = Path(__file__).parent.parent / "collector-config" / "local.yaml"
START_SECONDS = 30.0


@dataclass(frozen=True)
class Record:
    """A span or a log record, as much of it as the table shows."""

    name: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Backend:
    """An OTLP/HTTP endpoint and what has arrived there so far."""

    description: str
    endpoint: str
    spans: Callable[[], list[Record]]
    logs: Callable[[], list[Record]]


@contextmanager
def backend() -> Iterator[Backend]:
    """A collector when OTELCOL names its executable, else the embedded receiver."""
    binary = os.environ.get("OTELCOL")
    with collector(binary) if binary else embedded() as running:
        yield running


@contextmanager
def embedded() -> Iterator[Backend]:
    sink = MemorySink()
    with Receiver(sink) as receiver:
        yield Backend(
            f"the embedded receiver at {receiver.http_endpoint}",
            receiver.http_endpoint,
            lambda: [Record(s.name, s.trace_id, s.span_id, dict(s.attributes)) for s in sink.spans],
            lambda: [Record(r.event_name, r.trace_id, r.span_id, dict(r.attributes)) for r in sink.logs],
        )


@contextmanager
def collector(binary: str) -> Iterator[Backend]:
    with TemporaryDirectory() as folder:
        grpc, http = free_address(), free_address()
        environment = {"OTLP_GRPC_ENDPOINT": grpc, "OTLP_HTTP_ENDPOINT": http, "OTEL_LLM_FEEDBACK_OUT": folder}
        with Path(folder, "collector.log").open("wb") as log:
            process = subprocess.Popen(
                [binary, "--config", CONFIG], env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                wait_for(http, process)
                yield Backend(
                    f"an OpenTelemetry Collector at http://{http}",
                    f"http://{http}",
                    lambda: list(read(Path(folder, "traces.jsonl"), "resourceSpans", "scopeSpans", "spans")),
                    lambda: list(read(Path(folder, "feedback.jsonl"), "resourceLogs", "scopeLogs", "logRecords")),
                )
            finally:
                process.terminate()
                process.wait(10)


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not accepts(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the collector did not start (exit status {process.poll()})")
        time.sleep(0.05)


def accepts(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def read(file: Path, *levels: str) -> Iterator[Record]:
    """The records in a file of the collector: one OTLP/JSON request a line, records three lists deep in it."""
    lines = file.read_text().splitlines() if file.exists() else []
    for line in lines:
        groups = [json.loads(line)]
        for level in levels:
            groups = [item for group in groups for item in group.get(level, ())]
        for record in groups:
            attributes = {pair["key"]: plain(pair["value"]) for pair in record.get("attributes", ())}
            name = record.get("name") or record.get("eventName", "")
            yield Record(name, record.get("traceId", ""), record.get("spanId", ""), attributes)


def plain(value: dict[str, Any]) -> Any:
    """A single OTLP/JSON value; 64-bit ints are text there. Lists stay as they are: the table shows none."""
    return int(value["intValue"]) if "intValue" in value else next(iter(value.values()), None)
