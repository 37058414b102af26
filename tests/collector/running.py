"""A real OpenTelemetry Collector for tests: the shipped configuration, ports of its own, its output as plain values."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

LOCAL_CONFIG = Path(__file__).parents[2] / "collector-config" / "local.yaml"
READY_WITHIN = 30.0  # seconds; a loaded two-core machine needs about two
POLL_EVERY = 0.02

Json = dict[str, Any]
Attributes = dict[str, Any]
T = TypeVar("T")
Until = int | Callable[[list[T]], bool]
"""How many to wait for, or what the list of all so far must satisfy."""


class Event(TypedDict):
    name: str
    time_unix_nano: int
    attributes: Attributes


class Link(TypedDict):
    trace_id: str
    span_id: str
    attributes: Attributes


class Span(TypedDict):
    name: str
    trace_id: str
    span_id: str
    parent_span_id: str  # "" for a root span
    kind: str  # "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"
    start_time_unix_nano: int
    end_time_unix_nano: int
    attributes: Attributes
    events: list[Event]
    links: list[Link]
    status: str  # "UNSET", "OK", "ERROR"
    status_message: str
    scope: str
    scope_version: str
    resource: Attributes


class Log(TypedDict):
    event_name: str
    trace_id: str  # "" without one
    span_id: str  # "" without one
    flags: int
    time_unix_nano: int  # 0 when not set
    observed_time_unix_nano: int
    severity_number: int
    severity_text: str
    body: Any
    attributes: Attributes
    scope: str
    scope_version: str
    resource: Attributes


class CollectorError(AssertionError):
    """The collector did not start, or did not receive in time what the test waits for."""


class Collector:
    """A collector process. Use as a context manager, or call `start` and `terminate`.

    The same ports and files serve all its lives: `kill` and `restart` make a collector that crashed and came back.
    """

    def __init__(self, binary: Path, directory: Path, config: Path = LOCAL_CONFIG) -> None:
        self.binary = binary
        self.directory = directory
        self.config = config
        grpc_port, http_port = free_ports(2)
        self._addresses = [("127.0.0.1", grpc_port), ("127.0.0.1", http_port)]
        self.grpc_endpoint = f"http://127.0.0.1:{grpc_port}"
        self.http_endpoint = f"http://127.0.0.1:{http_port}"
        self.log_file = directory / "collector.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.terminate()

    @property
    def environment(self) -> dict[str, str]:
        """What the configuration reads from the environment."""
        return {
            "OTLP_GRPC_ENDPOINT": self.grpc_endpoint.removeprefix("http://"),
            "OTLP_HTTP_ENDPOINT": self.http_endpoint.removeprefix("http://"),
            "OTEL_LLM_FEEDBACK_OUT": str(self.directory),
        }

    def validate(self) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [self.binary, "validate", "--config", self.config]
        environment = os.environ | self.environment
        return subprocess.run(
            command, env=environment, cwd=self.directory, capture_output=True, text=True, timeout=60, check=False
        )

    def start(self) -> None:
        """Start the process; return when both receivers accept connections."""
        assert self._process is None, "already running"
        self._log = self.log_file.open("ab")
        self._process = subprocess.Popen(
            [self.binary, "--config", self.config],
            env=os.environ | self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait(self._is_ready, READY_WITHIN, lambda: "the collector did not become ready")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL: no clean-up, as in a crash. Without a running process, nothing."""
        if self._process is not None:
            self._process.kill()
        self._reap()

    def terminate(self) -> None:
        """SIGTERM: the collector finishes what it has received. Without a running process, nothing."""
        if self._process is not None:
            self._process.terminate()
        self._reap()

    def restart(self) -> None:
        """Start again, on the same ports and files, what `kill` or `terminate` ended."""
        self.terminate()
        self.start()

    def spans(self, until: Until[Span] = 1, timeout: float = 20.0) -> list[Span]:
        """All spans so far, when `until` is satisfied; an error after `timeout` seconds."""
        return self._collect("traces", _spans, until, timeout)

    def logs(self, until: Until[Log] = 1, timeout: float = 20.0) -> list[Log]:
        """All log records so far, when `until` is satisfied; an error after `timeout` seconds."""
        return self._collect("feedback", _logs, until, timeout)

    def _collect(self, stem: str, flatten: Callable[[Json], Iterator[T]], until: Until[T], timeout: float) -> list[T]:
        enough = until if callable(until) else lambda seen: len(seen) >= until
        seen: list[T] = []

        def satisfied() -> bool:
            seen[:] = [item for request in _requests(self.directory, stem) for item in flatten(request)]
            return enough(seen)

        self._wait(satisfied, timeout, lambda: f"not satisfied by the {len(seen)} received: {seen[-20:]}")
        return seen

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise CollectorError(self._report(f"the collector ended with {self._process.returncode}"))
        return all(_accepts(address) for address in self._addresses)

    def _wait(self, condition: Callable[[], bool], timeout: float, problem: Callable[[], str]) -> None:
        # Another process cannot notify us; it can only be asked again.
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise CollectorError(self._report(f"{problem()} (after {timeout} s)"))
            time.sleep(POLL_EVERY)

    def _report(self, problem: str) -> str:
        log = self.log_file.read_text("utf-8", "replace")[-3000:] if self.log_file.exists() else ""
        return f"{problem}\nThe end of its log:\n{log}"

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(timeout=30)
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _accepts(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def _requests(directory: Path, stem: str) -> Iterator[Json]:
    # A rotated file has the time of its rotation in its name and sorts before the current one: "-" < ".".
    for path in sorted(directory.glob(f"{stem}*.jsonl")):
        # The last line may not be complete yet.
        complete, _, _ = path.read_bytes().rpartition(b"\n")
        for line in complete.splitlines():
            yield json.loads(line)


def _spans(request: Json) -> Iterator[Span]:
    for resource_spans in request.get("resourceSpans", ()):
        resource = _attributes(resource_spans.get("resource", {}))
        for scope_spans in resource_spans.get("scopeSpans", ()):
            scope = scope_spans.get("scope", {})
            for span in scope_spans.get("spans", ()):
                yield _span(span, scope, resource)


def _span(span: Json, scope: Json, resource: Attributes) -> Span:
    status = span.get("status", {})
    return {
        "name": span.get("name", ""),
        "trace_id": span.get("traceId", ""),
        "span_id": span.get("spanId", ""),
        "parent_span_id": span.get("parentSpanId", ""),
        "kind": _SPAN_KINDS[span.get("kind", 0)],
        "start_time_unix_nano": int(span.get("startTimeUnixNano", 0)),
        "end_time_unix_nano": int(span.get("endTimeUnixNano", 0)),
        "attributes": _attributes(span),
        "events": [_event(event) for event in span.get("events", ())],
        "links": [_link(link) for link in span.get("links", ())],
        "status": _STATUS_CODES[status.get("code", 0)],
        "status_message": status.get("message", ""),
        "scope": scope.get("name", ""),
        "scope_version": scope.get("version", ""),
        "resource": resource,
    }


def _event(event: Json) -> Event:
    return {
        "name": event.get("name", ""),
        "time_unix_nano": int(event.get("timeUnixNano", 0)),
        "attributes": _attributes(event),
    }


def _link(link: Json) -> Link:
    return {
        "trace_id": link.get("traceId", ""),
        "span_id": link.get("spanId", ""),
        "attributes": _attributes(link),
    }


def _logs(request: Json) -> Iterator[Log]:
    for resource_logs in request.get("resourceLogs", ()):
        resource = _attributes(resource_logs.get("resource", {}))
        for scope_logs in resource_logs.get("scopeLogs", ()):
            scope = scope_logs.get("scope", {})
            for record in scope_logs.get("logRecords", ()):
                yield _log(record, scope, resource)


def _log(record: Json, scope: Json, resource: Attributes) -> Log:
    return {
        "event_name": record.get("eventName", ""),
        "trace_id": record.get("traceId", ""),
        "span_id": record.get("spanId", ""),
        "flags": record.get("flags", 0),
        "time_unix_nano": int(record.get("timeUnixNano", 0)),
        "observed_time_unix_nano": int(record.get("observedTimeUnixNano", 0)),
        "severity_number": record.get("severityNumber", 0),
        "severity_text": record.get("severityText", ""),
        "body": _value(record.get("body", {})),
        "attributes": _attributes(record),
        "scope": scope.get("name", ""),
        "scope_version": scope.get("version", ""),
        "resource": resource,
    }


def _attributes(holder: Json) -> Attributes:
    return _pairs(holder.get("attributes", ()))


def _pairs(pairs: Sequence[Json]) -> Attributes:
    return {pair["key"]: _value(pair.get("value", {})) for pair in pairs}


def _value(value: Json) -> Any:
    """The Python value of an OTLP/JSON AnyValue; None for an empty one."""
    for kind, content in value.items():
        return _VALUES[kind](content)
    return None


# https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: 64-bit integers are strings, bytes are base64.
_VALUES: dict[str, Callable[[Any], Any]] = {
    "stringValue": str,
    "boolValue": bool,
    "intValue": int,
    "doubleValue": float,
    "bytesValue": base64.b64decode,
    "arrayValue": lambda content: [_value(each) for each in content.get("values", ())],
    "kvlistValue": lambda content: _pairs(content.get("values", ())),
}
# By their numbers in opentelemetry/proto/trace/v1/trace.proto.
_SPAN_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS_CODES = ("UNSET", "OK", "ERROR")
