from __future__ import annotations

import base64
import json
import os
import re
import resource
import stat
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_llm_feedback.cli.otlp_json import Unreadable, otlp_json_line
from otel_llm_feedback.delivery.spool import Signal
from tests.cli.spools import SECRET, Command, left_spool, secret_names, spool_with
from tests.delivery.delivering import open_spool, vote

TRACE, SPAN = bytes(range(16)), bytes(range(8))


def log_request(*values: AnyValue) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add(schema_url="https://example.org/schema")
    group.resource.attributes.add(key="service.name").value.string_value = "chat"
    record = group.scope_logs.add().log_records.add(
        time_unix_nano=2**63,
        severity_number=9,
        trace_id=TRACE,
        span_id=SPAN,
        flags=1,
        event_name="gen_ai.evaluation.result",
    )
    record.attributes.extend(KeyValue(key=f"a{n}", value=value) for n, value in enumerate(values))
    return request


def trace_request() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=TRACE, span_id=SPAN, parent_span_id=SPAN[::-1], name="chat", kind=3, end_time_unix_nano=7)
    )
    span.links.add(trace_id=TRACE[::-1], span_id=SPAN)
    span.events.add(name="event", time_unix_nano=5).attributes.add(key="traceId").value.string_value = "not an id"
    span.status.code = Status.STATUS_CODE_ERROR
    return request


def read_back(signal: Signal, line: bytes | str) -> Any:
    """As a reader of OTLP/JSON does it: hexadecimal to bytes, and then protobuf's own mapping."""
    tree = json.loads(line, object_hook=_unhex)
    return ParseDict(tree, ExportLogsServiceRequest() if signal is Signal.LOGS else ExportTraceServiceRequest())


def _unhex(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: base64.b64encode(bytes.fromhex(value)).decode()
        if re.search("(trace|span)Id$", name, re.IGNORECASE)
        else value
        for name, value in members.items()
    }


VALUES = st.recursive(
    st.one_of(
        st.builds(AnyValue, string_value=st.text()),
        st.builds(AnyValue, bool_value=st.booleans()),
        st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
        st.builds(AnyValue, double_value=st.floats(allow_nan=False)),
        st.builds(AnyValue, bytes_value=st.binary()),
    ),
    lambda inner: st.one_of(
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=3))),
        st.builds(
            AnyValue,
            kvlist_value=st.builds(
                KeyValueList, values=st.lists(st.builds(KeyValue, key=st.text(), value=inner), max_size=3)
            ),
        ),
    ),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=5))
def test_a_line_reads_back_as_what_it_was(values: list[AnyValue]) -> None:
    request = log_request(*values)
    line = otlp_json_line(Signal.LOGS, request.SerializeToString())
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert read_back(Signal.LOGS, line) == request


def test_spans_read_back_as_what_they_were() -> None:
    request = trace_request()
    assert read_back(Signal.TRACES, otlp_json_line(Signal.TRACES, request.SerializeToString())) == request


def test_the_line_is_otlp_json_not_only_protobufs() -> None:
    payload = log_request(AnyValue(int_value=5), AnyValue(bytes_value=b"\xff")).SerializeToString()
    [record] = json.loads(otlp_json_line(Signal.LOGS, payload))["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert record == {
        "timeUnixNano": "9223372036854775808",
        "severityNumber": 9,
        "traceId": TRACE.hex(),
        "spanId": SPAN.hex(),
        "flags": 1,
        "eventName": "gen_ai.evaluation.result",
        "attributes": [{"key": "a0", "value": {"intValue": "5"}}, {"key": "a1", "value": {"bytesValue": "/w=="}}],
    }
    payload = trace_request().SerializeToString()
    [span] = json.loads(otlp_json_line(Signal.TRACES, payload))["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (span["kind"], span["status"], span["parentSpanId"]) == (3, {"code": 2}, SPAN[::-1].hex())
    assert span["links"] == [{"traceId": TRACE[::-1].hex(), "spanId": SPAN.hex()}]


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\x05abc", "text", b"\x0a\x02\x1a\xff"])
def test_bytes_that_are_no_request(payload: bytes) -> None:
    with pytest.raises(Unreadable, match="not an OTLP request"):
        otlp_json_line(Signal.LOGS, payload)


@given(st.binary(max_size=60))
def test_hostile_bytes_make_a_line_or_an_error(payload: bytes) -> None:
    for signal in Signal:
        try:
            line = otlp_json_line(signal, payload)
        except Unreadable:
            continue
        assert isinstance(json.loads(line), dict)


def fill(directory: Path) -> None:
    with spool_with(directory, votes=3, dead=2) as spool:
        spool.put(Signal.TRACES, trace_request().SerializeToString(), precious=False)


@pytest.mark.parametrize(
    ("arguments", "logs", "traces"),
    [
        ([], 3, 1),
        (["--signal", "all"], 3, 1),
        (["--signal", "logs"], 3, 0),
        (["--signal", "traces"], 0, 1),
        (["--include-dead"], 5, 1),
        (["--include-dead", "--signal", "traces"], 0, 1),
    ],
)
def test_what_is_exported(command: Command, tmp_path: Path, arguments: list[str], logs: int, traces: int) -> None:
    fill(tmp_path)
    ran = command("export", "--dir", tmp_path, *arguments)
    assert ran.code == 0
    keys = [key for line in ran.lines for key in line]
    assert (keys.count("resourceLogs"), keys.count("resourceSpans"), len(keys)) == (logs, traces, logs + traces)
    assert ran.err.startswith(f"exported {logs + traces} requests (")
    again = command("export", "--dir", tmp_path, *arguments, "--json")
    assert again.out == ran.out, "they are still there"
    counts = json.loads(again.err)
    assert (counts.get("logs", 0), counts.get("traces", 0), counts["unreadable"]) == (logs, traces, 0)


def test_ten_thousand_into_a_file(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path / "spool", votes=10_000)
    output = tmp_path / "out.jsonl"
    ran = command("export", "--dir", tmp_path / "spool", "--output", output, "--json", "--progress")
    assert ran.code == 0
    assert ran.json == {"logs": 10_000, "traces": 0, "unreadable": 0}
    assert ran.err.startswith("exported 1 of 10,000\n")
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    lines = output.read_bytes().splitlines()
    assert len(lines) == 10_000
    exported = [read_back(Signal.LOGS, line).SerializeToString() for line in lines]
    assert exported == [vote(name) for name in secret_names(10_000)]


def test_a_record_that_cannot_be_read_is_left_out_and_told(command: Command, tmp_path: Path) -> None:
    with spool_with(tmp_path, votes=1) as spool:
        spool.put(Signal.LOGS, b"\xff\xff", precious=True)
        ran = command("export", "--dir", tmp_path)
    assert ran.code == 1
    assert len(ran.lines) == 1
    assert ran.err == "exported 1 requests (1 logs, 0 traces, 1 unreadable)\n"


def test_nothing_to_export(command: Command, tmp_path: Path) -> None:
    open_spool(tmp_path / "spool").close()
    ran = command("export", "--dir", tmp_path / "spool", "--output", tmp_path / "out")
    assert (ran.code, ran.out) == (1, "exported 0 requests (0 logs, 0 traces)\n")
    assert not (tmp_path / "out").exists()


def test_an_existing_file_is_left_alone(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path / "spool", votes=1)
    existing, dangling = tmp_path / "existing", tmp_path / "dangling"
    existing.write_text("mine")
    dangling.symlink_to(tmp_path / "target")
    for output in (existing, dangling):
        ran = command("export", "--dir", tmp_path / "spool", "--output", output)
        assert ran.code == 2
        assert ran.err.startswith("otel-llm-feedback: --output='")
        assert ran.err.endswith("': name a file that does not exist yet\n")
    assert existing.read_text() == "mine"
    assert not (tmp_path / "target").exists()


def test_a_file_that_cannot_be_made(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, votes=1)
    ran = command("export", "--dir", tmp_path, "--output", tmp_path / "no" / "where")
    assert ran.code == 2
    assert "No such file or directory: name a file in a directory that this user can write to" in ran.err
    assert SECRET not in ran.err


def test_a_full_disk_leaves_no_file(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path / "spool", votes=500)
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))  # above the 32 KiB that SQLite shares between processes
    try:
        ran = command("export", "--dir", tmp_path / "spool", "--output", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
    assert ran.code == 2
    assert "File too large: name a file in a directory" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_signal(command: Command) -> None:
    ran = command("export", "--signal", "metrics")
    assert ran.code == 2
    assert "argument --signal: invalid choice: 'metrics'" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_reading_changes_no_file(command: Command, tmp_path: Path) -> None:
    file = left_spool(tmp_path, votes=50, dead=5)
    before = file.read_bytes(), os.stat(file).st_mtime_ns
    for action in (["status"], ["export", "--include-dead"], ["dead-letters", "list"]):
        assert command(*action, "--dir", tmp_path).code == 0
    assert (file.read_bytes(), os.stat(file).st_mtime_ns) == before
