from __future__ import annotations

import gzip
import itertools
import socket
import zlib
from email.message import Message
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.receiver import Limits, MemorySink, Receiver
from otel_llm_feedback.receiver.http import OtlpHttpServer, admit, decompress
from otel_llm_feedback.receiver.ingest import Ingest
from otel_llm_feedback.receiver.refusals import Malformed, Refused, TooLarge
from tests.receiver.requests import (
    PROTOBUF,
    TIMEOUT,
    connect,
    dial,
    logs,
    many_empty_spans,
    message_of,
    metrics,
    read_to_end,
    send,
    span,
    traces,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


def test_each_signal_is_answered_with_its_own_response(receiver: Receiver, sink: MemorySink) -> None:
    response, body = send(receiver, traces(span(name="chat")))
    assert (response.status, response.headers["Content-Type"]) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(body) == ExportTraceServiceResponse()
    response, body = send(receiver, logs(LogRecord(event_name="voted")), "/v1/logs")
    assert (response.status, ExportLogsServiceResponse.FromString(body)) == (200, ExportLogsServiceResponse())
    response, body = send(receiver, metrics(3), "/v1/metrics")
    assert (response.status, ExportMetricsServiceResponse.FromString(body)) == (200, ExportMetricsServiceResponse())
    assert [kept.name for kept in sink.spans] == ["chat"]
    assert [kept.event_name for kept in sink.logs] == ["voted"]
    assert receiver.counters.snapshot() == {
        ("received", "traces"): 1,
        ("received", "logs"): 1,
        ("discarded", "metrics"): 3,
    }


def test_an_empty_request_is_accepted(receiver: Receiver) -> None:
    assert send(receiver, b"")[0].status == 200
    assert receiver.counters.total("received") == 0


def test_rejected_spans_are_a_partial_success(receiver: Receiver, sink: MemorySink) -> None:
    response, body = send(receiver, traces(span(name="good"), span(span_id=b"1")))
    partial = ExportTraceServiceResponse.FromString(body).partial_success
    assert (response.status, partial.rejected_spans) == (200, 1)
    assert partial.error_message == "spans with an invalid trace, span or parent id"
    assert [kept.name for kept in sink.spans] == ["good"]
    assert receiver.counters.total("rejected", "invalid_id") == 1


def test_a_connection_serves_many_requests(receiver: Receiver, sink: MemorySink) -> None:
    connection = connect(receiver)
    for _ in range(3):
        connection.request("POST", "/v1/traces?source=test", traces(span()), PROTOBUF)
        assert connection.getresponse().read() == b""
    connection.close()
    assert len(sink.spans) == 3


@pytest.mark.parametrize(("name", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)])
def test_content_encodings(receiver: Receiver, sink: MemorySink, name: str, encode: type[bytes]) -> None:
    response, _ = send(receiver, encode(traces(span(name="packed"))), headers={**PROTOBUF, "Content-Encoding": name})
    assert response.status == 200
    assert [kept.name for kept in sink.spans] == ["packed"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("POST", "/", {}, b"", 404, 5),
        ("POST", "/v1/traces/", {}, b"", 404, 5),
        ("GET", "/v1/profiles", {}, b"", 404, 5),
        ("GET", "/v1/traces", {}, b"", 405, 12),
        ("PUT", "/v1/logs", {}, b"x", 405, 12),
        ("DELETE", "/v1/metrics", {}, b"", 405, 12),
        ("OPTIONS", "/v1/traces", {}, b"", 405, 12),
        ("BREW", "/v1/traces", {}, b"", 501, 3),
        ("POST", "/v1/traces", {"Content-Type": "application/json"}, b"{}", 415, 3),
        ("POST", "/v1/traces", {"Content-Type": "text/plain"}, b"", 415, 3),
        ("POST", "/v1/traces", {"Content-Encoding": "br"}, b"", 415, 3),
        ("POST", "/v1/traces", {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n", 411, 3),
        ("POST", "/v1/traces", {"Content-Length": "-1"}, b"", 400, 3),
        ("POST", "/v1/traces", {"Content-Length": "1e3"}, b"", 400, 3),
        ("POST", "/v1/traces", {"Content-Length": "9" * 18}, b"", 413, 3),
        ("POST", "/v1/traces", {}, b"\xff\xff\xff", 400, 3),
        ("POST", "/v1/logs", {}, b"\xff\xff\xff", 400, 3),
        ("POST", "/v1/metrics", {}, b"\xff\xff\xff", 400, 3),
        ("POST", "/v1/traces", {"Content-Encoding": "gzip"}, b"not gzip", 400, 3),
        ("POST", "/v1/traces", {"Content-Encoding": "gzip"}, gzip.compress(b"x")[:-1], 400, 3),
        ("POST", "/v1/traces", {"Content-Encoding": "gzip"}, gzip.compress(b"") + b"x", 400, 3),
    ],
)
def test_refusals(  # noqa: PLR0917 - the columns of the table above
    receiver: Receiver, method: str, path: str, headers: dict[str, str], body: bytes, status: int, code: int
) -> None:
    response, answer = send(receiver, body, path, {**PROTOBUF, **headers}, method)
    assert response.status == status
    assert response.headers["Content-Type"] == "application/x-protobuf"
    assert response.headers["Connection"] == "close"
    assert response.headers["Allow"] == ("POST" if status == 405 else None)
    rpc_code, message = message_of(answer)
    assert rpc_code == code
    assert message
    assert receiver.counters.total("refused") == 1
    assert send(receiver, traces(span()))[0].status == 200


def test_head_is_answered_without_a_body(receiver: Receiver) -> None:
    with dial(receiver) as connection:
        connection.sendall(b"HEAD /v1/traces HTTP/1.1\r\n\r\n")
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ")
    assert body == b""


@pytest.mark.parametrize("content_type", [None, "", "application", "APPLICATION/X-PROTOBUF; v=1"])
def test_content_type_is_compared_as_a_media_type(content_type: str | None) -> None:
    headers = Message()
    headers["Content-Length"] = "0"
    if content_type is not None:
        headers["Content-Type"] = content_type
    if content_type and "PROTOBUF" in content_type:
        assert admit("POST", "/v1/logs", headers, 1).length == 0
    else:
        with pytest.raises(Refused, match="Content-Type"):
            admit("POST", "/v1/logs", headers, 1)


def test_a_missing_or_doubled_length() -> None:
    headers = Message()
    headers["Content-Type"] = "application/x-protobuf"
    with pytest.raises(Refused, match="send Content-Length"):
        admit("POST", "/v1/logs", headers, 1)
    headers["Content-Length"] = "1"
    headers["Content-Length"] = "1"
    with pytest.raises(Malformed, match="one Content-Length"):
        admit("POST", "/v1/logs", headers, 1)


def test_a_body_above_the_limit_is_answered_although_it_was_sent() -> None:
    with Receiver(MemorySink(), limits=Limits(max_http_body_bytes=1_000_000)) as receiver:
        response, body = send(receiver, bytes(1_000_001))
        assert (response.status, message_of(body)) == (413, (3, "body above 1000000 bytes"))


def test_a_decompression_bomb_is_not_unpacked(receiver: Receiver) -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 1)
    response, body = send(receiver, bomb, headers={**PROTOBUF, "Content-Encoding": "gzip"})
    assert (response.status, message_of(body)) == (413, (3, "decompressed body above 20971520 bytes"))


def test_a_bomb_of_empty_spans_is_not_parsed(receiver: Receiver) -> None:
    bomb = gzip.compress(many_empty_spans(5_000_000), 1)
    response, body = send(receiver, bomb, headers={**PROTOBUF, "Content-Encoding": "gzip"})
    assert (response.status, message_of(body)) == (413, (3, "more than 500000 nested messages"))


@given(st.binary(max_size=200), st.integers(0, 200))
def test_decompression_is_exact_up_to_the_limit(data: bytes, limit: int) -> None:
    for encoding, packed in (("gzip", gzip.compress(data)), ("deflate", zlib.compress(data))):
        if len(data) <= limit:
            assert decompress(packed, encoding, limit) == data
        else:
            with pytest.raises(TooLarge):
                decompress(packed, encoding, limit)


def test_a_slow_body_is_given_up() -> None:
    with Receiver(MemorySink(), limits=Limits(request_timeout_seconds=0.2)) as receiver, dial(receiver) as connection:
        connection.sendall(_head("POST /v1/traces HTTP/1.1", "Content-Length: 5") + b"ab")
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert message_of(body) == (4, "the body took too long to arrive")


@pytest.mark.parametrize("sent", [b"", b"POST /v1/tr", b"POST /v1/traces HTTP/1.1\r\nContent-"])
def test_a_slow_head_is_given_up(sent: bytes) -> None:
    with Receiver(MemorySink(), limits=Limits(request_timeout_seconds=0.1)) as receiver, dial(receiver) as connection:
        connection.sendall(sent)
        assert read_to_end(connection) == b""


def test_dripping_bytes_do_not_postpone_the_deadline() -> None:
    with Receiver(MemorySink(), limits=Limits(request_timeout_seconds=0.3)) as receiver, dial(receiver) as connection:
        connection.settimeout(0.02)
        dripped = 0
        while dripped < 1000 and not _is_closed(connection):
            connection.sendall(b"P")
            dripped += 1
        assert 1 < dripped < 1000


def test_the_deadline_is_asked_before_each_read() -> None:
    ingest, limits = Ingest(MemorySink(), Counters(), Limits()), Limits(request_timeout_seconds=30)
    clock = itertools.count(step=20).__next__  # 0 when the request begins, 20 at the first read, 40 at the second
    server = OtlpHttpServer("127.0.0.1", 0, ingest, limits, clock)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as connection:
        connection.sendall(b"POST /v1/traces")
        assert read_to_end(connection) == b""
    server.stop()


def test_a_body_that_ends_early_is_malformed(receiver: Receiver) -> None:
    with dial(receiver) as connection:
        connection.sendall(_head("POST /v1/traces HTTP/1.1", "Content-Length: 5") + b"ab")
        connection.shutdown(socket.SHUT_WR)
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert message_of(body) == (3, "body shorter than its Content-Length")


def test_connections_beyond_the_limit_are_closed() -> None:
    with Receiver(MemorySink(), limits=Limits(max_connections=1)) as receiver:
        first = connect(receiver)
        first.request("POST", "/v1/traces", b"", PROTOBUF)
        assert first.getresponse().read() == b""
        with dial(receiver) as second:
            assert read_to_end(second) == b""
        assert receiver.counters.total("disconnected", "too_many") == 1
        first.request("POST", "/v1/traces", b"", PROTOBUF)
        assert first.getresponse().status == 200
        first.close()


def test_a_reset_connection_is_counted_and_nothing_is_printed(
    sink: MemorySink, capfd: pytest.CaptureFixture[str]
) -> None:
    with Receiver(sink) as receiver:
        connection = dial(receiver)
        connection.sendall(b"POST /v1/traces")
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0])
        )  # close with a reset
        connection.close()
    assert receiver.counters.total("disconnected", "broken") == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: " + b"b" * 70000 + b"\r\n\r\n",
        b"GET /v1/traces\r\n\r\n",  # HTTP/0.9
        b"one\r\n\r\n",
    ],
)
def test_garbage_is_refused_without_quoting_it(
    receiver: Receiver, garbage: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with dial(receiver) as connection:
        connection.sendall(garbage)
        answer = read_to_end(connection)
    assert b"\x12" in answer  # the message of a google.rpc.Status
    assert b"aaaa" not in answer
    assert b"Python" not in answer
    assert receiver.counters.total("refused") == 1
    assert capfd.readouterr() == ("", "")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from([b"POST", b" ", b"/v1/logs", b"HTTP/1.1", b"\r\n", b"Content-Length: 3", b"\x00", b"\xff"])
    )
)
def test_any_bytes_leave_the_server_running(receiver: Receiver, parts: Iterable[bytes]) -> None:
    with dial(receiver) as connection:
        connection.sendall(b"".join(parts))
        connection.shutdown(socket.SHUT_WR)
        read_to_end(connection)
    assert send(receiver, b"")[0].status == 200


def _head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "Content-Type: application/x-protobuf", "", ""]).encode()


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes before this one's time-out."""
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except ConnectionError:
        return True
