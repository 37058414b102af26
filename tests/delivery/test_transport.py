from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm_feedback.delivery.answer import Answer, Failure
from otel_llm_feedback.delivery.endpoint import Signal, endpoint_from
from otel_llm_feedback.delivery.retry import Action, decide
from otel_llm_feedback.delivery.transport import Transport, open_transport
from otel_llm_feedback.delivery.transport_http import HttpTransport
from otel_llm_feedback.errors import ConfigurationError
from tests.delivery.scripted_server import (
    Accept,
    Behaviour,
    Certificates,
    Drip,
    Early,
    Hang,
    Partial,
    Raw,
    Refuse,
    ScriptedServer,
    make_certificates,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 20.0  # for what must happen; the machine may be busy
SHORT = 0.3  # for what must not

HTTP = "http/protobuf"
BOTH = pytest.mark.parametrize("protocol", ["grpc", HTTP])


def logs(*ids: str, padding: int = 0) -> bytes:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for each in ids:
        record = records.add()
        record.body.string_value = "x" * padding
        record.attributes.add(key="llm_feedback.id").value.string_value = each
    return request.SerializeToString()


def spans(name: str) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name=name)
    return request.SerializeToString()


@contextmanager
def connected(server: ScriptedServer, signal: Signal = "logs", **settings: Any) -> Iterator[Transport]:
    endpoint = endpoint_from({}, signal, endpoint=server.endpoint, protocol=server.protocol, **settings)
    with closing(open_transport(endpoint)) as transport:
        yield transport


def answer_to(protocol: str, *script: Behaviour, timeout: float = PATIENCE, body: bytes = b"") -> Answer:
    with ScriptedServer(protocol, script) as server, connected(server) as transport:
        return transport.send(body or logs("a"), timeout_seconds=timeout)


# --- what is sent ------------------------------------------------------------------------------------------------


@BOTH
def test_requests_arrive_on_one_connection(protocol: str) -> None:
    with ScriptedServer(protocol) as server, connected(server) as transport:
        answers = [transport.send(logs(str(i)), timeout_seconds=PATIENCE) for i in range(20)]
        assert {decide(answer).action for answer in answers} == {Action.DELIVERED}
        assert server.received == [str(i) for i in range(20)]
        if protocol == HTTP:
            assert server.connections == 1


@BOTH
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_both_signals_with_headers_and_compression(protocol: str, compression: str) -> None:
    settings = {"headers": {"Api-Key": "sesame"}, "compression": compression}
    with ScriptedServer(protocol) as server:
        with connected(server, "traces", **settings) as transport:
            assert not transport.send(spans("chat"), timeout_seconds=PATIENCE).garbled
        with connected(server, "logs", **settings) as transport:
            assert not transport.send(logs("vote", padding=10_000), timeout_seconds=PATIENCE).garbled
        assert server.received == ["chat", "vote"]
        assert [seen.headers["api-key"] for seen in server.seen] == ["sesame", "sesame"]
        assert all("llm-feedback" in seen.headers["user-agent"] for seen in server.seen)
        if protocol == HTTP:
            assert [seen.path for seen in server.seen] == ["/v1/traces", "/v1/logs"]
            assert [seen.headers["content-type"] for seen in server.seen] == ["application/x-protobuf"] * 2
            assert [seen.headers.get("content-encoding") for seen in server.seen] == [
                {"gzip": "gzip"}.get(compression)
            ] * 2


def test_the_query_of_a_url_is_sent() -> None:
    with ScriptedServer() as server:
        endpoint = endpoint_from({}, "logs", endpoint=server.endpoint + "/base?tenant=7")
        with closing(open_transport(endpoint)) as transport:
            transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert server.seen[0].path == "/base/v1/logs?tenant=7"


@BOTH
def test_a_body_close_to_the_limit_arrives(protocol: str) -> None:
    body = logs("big", padding=4_000_000 if protocol == "grpc" else 19_000_000)
    with ScriptedServer(protocol) as server, connected(server) as transport:
        assert decide(transport.send(body, timeout_seconds=PATIENCE)).action is Action.DELIVERED
        assert server.seen[0].body == body


# --- what is answered --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_only_2xx_is_delivered(status: int) -> None:
    assert decide(answer_to(HTTP, Accept(status))).action is Action.DELIVERED


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
def test_a_redirect_is_not_followed(status: int) -> None:
    with ScriptedServer() as elsewhere:
        answer = answer_to(HTTP, Refuse(status, headers=(("Location", elsewhere.endpoint + "/v1/logs"),)))
        assert (answer.code, decide(answer).action) == (status, Action.HOLD)
        assert elsewhere.connections == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 429, 500, 502, 503, 504])
def test_an_http_error_keeps_its_status_and_message(status: int) -> None:
    answer = answer_to(HTTP, Refuse(status, "because\nof this"))
    assert (answer.code, answer.message) == (status, "because of this")


@pytest.mark.parametrize(
    "code",
    ["CANCELLED", "INVALID_ARGUMENT", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL", "DATA_LOSS"],
)
def test_a_grpc_error_keeps_its_code_and_message(code: str) -> None:
    answer = answer_to("grpc", Refuse(code, "because\nof this"))
    assert (answer.code, answer.message) == (code, "because of this")


@BOTH
def test_a_partial_success_is_counted(protocol: str) -> None:
    answer = answer_to(protocol, Partial(2, "too old"))
    assert (answer.rejected, answer.message) == (2, "too old")
    assert decide(answer).action is Action.PARTIALLY_REJECTED


def test_a_partial_success_of_spans_is_counted() -> None:
    with ScriptedServer("grpc", [Partial(1)]) as server, connected(server, "traces") as transport:
        assert transport.send(spans("a"), timeout_seconds=PATIENCE).rejected == 1


def test_the_server_says_when_to_come_back() -> None:
    assert answer_to(HTTP, Refuse(503, retry_after="7")).retry_after_seconds == 7
    assert answer_to(HTTP, Refuse(429, retry_after="later")).retry_after_seconds is None
    assert answer_to("grpc", Refuse("UNAVAILABLE", retry_after=1.5)).retry_after_seconds == 1.5


def test_a_date_to_come_back_is_read_by_the_given_clock() -> None:
    with ScriptedServer(HTTP, [Refuse(503, retry_after="Fri, 15 Jan 2027 08:00:30 GMT")]) as server:
        endpoint = endpoint_from({}, "logs", endpoint=server.endpoint)
        with closing(HttpTransport(endpoint, now=lambda: 1_800_000_000.0)) as transport:
            assert transport.send(logs("a"), timeout_seconds=PATIENCE).retry_after_seconds == 30


@BOTH
def test_a_server_that_echoes_our_credentials_does_not_get_them_into_a_message(protocol: str) -> None:
    code = "UNAUTHENTICATED" if protocol == "grpc" else 401
    words = "no user with Bearer sesame-42, not even sesame-42"
    script: list[Behaviour] = [Refuse(code, words), Partial(0, words)]
    with (
        ScriptedServer(protocol, script) as server,
        connected(server, headers={"authorization": "Bearer sesame-42"}) as transport,
    ):
        messages = {transport.send(logs("a"), timeout_seconds=PATIENCE).message for _ in script}
    assert messages == {"no user with ***, not even ***"}


@BOTH
def test_an_unknown_route_keeps_the_data(protocol: str) -> None:
    answer = answer_to(protocol, Refuse("UNIMPLEMENTED" if protocol == "grpc" else 404))
    assert decide(answer).action is Action.HOLD


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Failure.CLOSED),
        (b"HTTP/1.1 200 OK", Failure.CLOSED),
        (b"HTTP/1.1 200 OK\r\n", Failure.CLOSED),
        (b"HTTP/1.1 200 OK\r\nDate: today\r\n", Failure.CLOSED),
        (b"HTTP/1.1 200 OK\r\nConte", Failure.CLOSED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", Failure.CLOSED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", Failure.CLOSED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", Failure.CLOSED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", Failure.CLOSED),
        (b"220 mail.example ESMTP\r\n", Failure.GARBAGE),
        (b"\x00\x00\x18\x04\x00\x00\x00\x00\x00", Failure.GARBAGE),
        (b"HTTP/1.1 9x OK\r\n\r\n", Failure.GARBAGE),
        (b"HTTP/1.1 200 " + b"a" * 100_000 + b"\r\n\r\n", Failure.GARBAGE),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n", Failure.GARBAGE),
    ],
)
def test_half_an_answer_or_garbage_is_no_delivery(data: bytes, expected: Failure) -> None:
    with ScriptedServer(HTTP, [Raw(data)]) as server, connected(server) as transport:
        answer = transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert decide(answer).action is Action.RETRY
        # A server that closes while we still read may also reset the connection.
        assert answer.code in {expected, Failure.CLOSED}
        assert transport.send(logs("b"), timeout_seconds=PATIENCE).code == 200


@BOTH
def test_an_acceptance_with_a_garbled_body_is_marked(protocol: str) -> None:
    data = b"<html>hello</html>"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
    answer = answer_to(protocol, Raw(data if protocol == "grpc" else head + data))
    assert answer.garbled
    assert decide(answer).action is Action.DELIVERED


def test_an_answer_that_ends_with_the_connection_is_whole() -> None:
    answer = answer_to(HTTP, Raw(b"HTTP/1.0 200 OK\r\n\r\n"))
    assert (answer.code, answer.garbled) == (200, False)


@BOTH
def test_an_endless_answer_is_not_read_to_its_end(protocol: str) -> None:
    data = b"x" * 200_000
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % len(data)
    script = [Raw(data if protocol == "grpc" else head + data)]
    with ScriptedServer(protocol, script) as server, connected(server) as transport:
        answer = transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert answer.code == (Failure.GARBAGE if protocol == "grpc" else 503)
        assert decide(answer).action is Action.RETRY
        assert decide(transport.send(logs("b"), timeout_seconds=PATIENCE)).action is Action.DELIVERED


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + b"y" * 10_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    ],
)
def test_a_server_that_drips_is_waited_for_no_longer_than_a_silent_one(data: bytes) -> None:
    started = time.monotonic()
    assert answer_to(HTTP, Drip(data), timeout=SHORT).code is Failure.TIMEOUT
    assert SHORT <= time.monotonic() - started < SHORT + 5


@BOTH
def test_a_server_that_hangs_times_out_and_the_next_request_is_answered(protocol: str) -> None:
    with ScriptedServer(protocol, [Hang(accepted=True)]) as server, connected(server) as transport:
        answer = transport.send(logs("a"), timeout_seconds=SHORT)
        # A gRPC server watches the deadline as well, and its answer may win.
        assert answer.code in {Failure.TIMEOUT, "DEADLINE_EXCEEDED"}
        assert decide(answer).action is Action.RETRY
        assert decide(transport.send(logs("a"), timeout_seconds=PATIENCE)).action is Action.DELIVERED
        assert server.received == ["a", "a"]  # accepted before the time-out: an id is what tells them apart


@BOTH
@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_without_time_nothing_is_sent(protocol: str, seconds: float) -> None:
    with ScriptedServer(protocol) as server, connected(server) as transport:
        assert transport.send(logs("a"), timeout_seconds=seconds).code is Failure.TIMEOUT
        assert server.seen == []


@BOTH
def test_nobody_listening(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = endpoint_from({}, "logs", endpoint=f"http://127.0.0.1:{port}", protocol=protocol)
    with closing(open_transport(endpoint)) as transport:
        assert transport.send(logs("a"), timeout_seconds=PATIENCE).code is Failure.REFUSED


@BOTH
def test_a_name_that_does_not_exist(protocol: str) -> None:
    endpoint = endpoint_from({}, "logs", endpoint="http://no-such-host.invalid:4318", protocol=protocol)
    with closing(open_transport(endpoint)) as transport:
        answer = transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert decide(answer).action is Action.RETRY
        assert answer.code in {Failure.UNREACHABLE, Failure.TIMEOUT}


@BOTH
def test_a_server_that_comes_back_is_found_at_once(protocol: str) -> None:
    with ScriptedServer(protocol) as server, connected(server) as transport:
        assert decide(transport.send(logs("a"), timeout_seconds=PATIENCE)).action is Action.DELIVERED
        server.stop()
        for _ in range(3):
            assert decide(transport.send(logs("b"), timeout_seconds=PATIENCE)).action is Action.RETRY
        with ScriptedServer(protocol, port=server.port) as again:
            assert decide(transport.send(logs("b"), timeout_seconds=PATIENCE)).action is Action.DELIVERED
            assert again.received == ["b"]


def test_a_connection_that_the_server_closed_while_idle_is_replaced() -> None:
    with (
        ScriptedServer(
            HTTP, [Refuse(503, headers=(("Connection", "close"),)), Raw(b"HTTP/1.1 204 \r\n\r\n")]
        ) as server,
        connected(server) as transport,
    ):
        codes = [transport.send(logs("a"), timeout_seconds=PATIENCE).code for _ in range(2)]
        # The second closed without saying so; wait until its end has come in.
        stream = transport._stream  # type: ignore[attr-defined]
        assert eventually(stream.is_stale)
        codes.append(transport.send(logs("a"), timeout_seconds=PATIENCE).code)
        assert codes == [503, 204, 200]
        assert server.connections == 3


def test_an_answer_that_comes_before_the_body_was_sent_is_read() -> None:
    answer = answer_to(HTTP, Early(413), body=logs("a", padding=15_000_000))
    assert decide(answer).action in {Action.SPLIT, Action.RETRY}
    assert answer.code in {413, Failure.CLOSED}


def test_an_acceptance_of_half_a_request_is_none() -> None:
    answer = answer_to(HTTP, Early(200), body=logs("a", padding=15_000_000))
    assert decide(answer).action is Action.RETRY
    assert answer.code in {Failure.GARBAGE, Failure.CLOSED}


def test_grpc_refuses_a_message_that_is_too_large() -> None:
    answer = answer_to("grpc", body=logs("a", padding=5_000_000))
    assert (answer.code, decide(answer).action) == ("RESOURCE_EXHAUSTED", Action.SPLIT)


def test_an_http_server_is_not_taken_for_a_grpc_one() -> None:
    with ScriptedServer(HTTP) as server:
        endpoint = endpoint_from({}, "logs", endpoint=server.endpoint, protocol="grpc")
        with closing(open_transport(endpoint)) as transport:
            answer = transport.send(logs("a"), timeout_seconds=PATIENCE)
            assert answer.code in {Failure.GARBAGE, Failure.UNREACHABLE}


# --- closing -----------------------------------------------------------------------------------------------------


def eventually(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.005)
    return True


@BOTH
def test_close_ends_a_wait_at_once(protocol: str) -> None:
    answers: list[Answer] = []
    with ScriptedServer(protocol, [Hang()]) as server, connected(server) as transport:
        sender = threading.Thread(target=lambda: answers.append(transport.send(logs("a"), timeout_seconds=600)))
        sender.start()
        assert server.wait_for(lambda it: it.seen)
        transport.close()
        sender.join(PATIENCE)
        assert not sender.is_alive()
    assert [answer.code for answer in answers] == [Failure.INTERRUPTED]


@contextmanager
def silent_address() -> Iterator[str]:
    """A listener whose queue is full answers no connection attempt at all."""
    with ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


@BOTH
def test_an_address_that_is_silent_times_out(protocol: str) -> None:
    with silent_address() as url:
        endpoint = endpoint_from({}, "logs", endpoint=url, protocol=protocol)
        with closing(open_transport(endpoint)) as transport:
            assert transport.send(logs("a"), timeout_seconds=SHORT).code is Failure.TIMEOUT


def test_close_ends_a_connecting_at_once() -> None:
    answers: list[Answer] = []
    with silent_address() as url:
        transport = open_transport(endpoint_from({}, "logs", endpoint=url))
        sender = threading.Thread(target=lambda: answers.append(transport.send(logs("a"), timeout_seconds=600)))
        sender.start()
        assert eventually(lambda: transport._alarm)  # type: ignore[attr-defined]
        transport.close()
        sender.join(PATIENCE)
        assert not sender.is_alive()
    assert [answer.code for answer in answers] == [Failure.INTERRUPTED]


@BOTH
def test_closed_is_closed(protocol: str) -> None:
    with ScriptedServer(protocol) as server, connected(server) as transport:
        transport.send(logs("a"), timeout_seconds=PATIENCE)
        transport.close()
        transport.close()
        assert transport.send(logs("b"), timeout_seconds=PATIENCE).code is Failure.INTERRUPTED
        assert server.received == ["a"]


def test_http_leaves_no_descriptor_behind() -> None:
    def open_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with ScriptedServer(HTTP) as server:
        for _ in range(3):
            with connected(server) as transport:
                transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert eventually(lambda: server.connections == 3)
        before = open_descriptors()
        for _ in range(20):
            with connected(server) as transport:
                transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert eventually(lambda: open_descriptors() <= before + 3)


# --- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@BOTH
@pytest.mark.parametrize("padding", [0, 3_000_000])
def test_tls(protocol: str, certificates: Certificates, padding: int) -> None:
    with ScriptedServer(protocol, certificates=certificates) as server:
        with connected(server, certificate=certificates.authority) as transport:
            answers = [transport.send(logs(str(i), padding=padding), timeout_seconds=PATIENCE) for i in range(3)]
        assert {decide(answer).action for answer in answers} == {Action.DELIVERED}
        assert server.received == ["0", "1", "2"]
        if protocol == HTTP:
            assert server.connections == 1


@BOTH
def test_mutual_tls(protocol: str, certificates: Certificates) -> None:
    known: dict[str, Any] = {"certificate": certificates.authority, "client_certificate": certificates.client}
    with ScriptedServer(protocol, certificates=certificates, require_client=True) as server:
        with connected(server, client_key=certificates.client_key, **known) as transport:
            assert decide(transport.send(logs("a"), timeout_seconds=PATIENCE)).action is Action.DELIVERED
        with connected(server, certificate=certificates.authority) as stranger:
            answer = stranger.send(logs("b"), timeout_seconds=PATIENCE)
            assert isinstance(answer.code, Failure) or answer.code == "UNAVAILABLE"
        assert server.received == ["a"]


@BOTH
def test_a_server_that_nobody_vouches_for_gets_nothing(protocol: str, certificates: Certificates) -> None:
    with ScriptedServer(protocol, certificates=certificates) as server, connected(server) as transport:
        answer = transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert (answer.code, decide(answer).action) == (Failure.TLS, Action.HOLD)
        assert server.seen == []


@BOTH
def test_a_certificate_for_another_name_is_refused(protocol: str, certificates: Certificates) -> None:
    with ScriptedServer(protocol, certificates=certificates) as server:
        endpoint = endpoint_from(
            {},
            "logs",
            protocol=protocol,
            endpoint=f"https://127.0.0.2:{server.port}",
            certificate=certificates.authority,
        )
        with closing(open_transport(endpoint)) as transport:
            assert decide(transport.send(logs("a"), timeout_seconds=PATIENCE)).action is not Action.DELIVERED
        assert server.seen == []


@BOTH
def test_plain_text_where_tls_is_expected(protocol: str) -> None:
    with ScriptedServer(protocol) as server:
        endpoint = endpoint_from({}, "logs", protocol=protocol, endpoint=server.endpoint.replace("http", "https"))
        with closing(open_transport(endpoint)) as transport:
            answer = transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert decide(answer).action is Action.HOLD or answer.code is Failure.CLOSED
        assert server.seen == []


@BOTH
def test_a_tls_handshake_that_never_ends_times_out(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = endpoint_from({}, "logs", protocol=protocol, endpoint=f"https://127.0.0.1:{silent.getsockname()[1]}")
        with closing(open_transport(endpoint)) as transport:
            assert transport.send(logs("a"), timeout_seconds=SHORT).code is Failure.TIMEOUT


@BOTH
def test_files_that_do_not_belong_together_are_refused_at_set_up(protocol: str, certificates: Certificates) -> None:
    endpoint = endpoint_from(
        {},
        "logs",
        protocol=protocol,
        endpoint="https://localhost:1",
        client_certificate=certificates.client,
        client_key=certificates.server_key,
    )
    with pytest.raises(ConfigurationError, match="belong together"):
        open_transport(endpoint)


@BOTH
def test_files_that_are_gone_later_do_not_raise(protocol: str, certificates: Certificates, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(Path(certificates.authority).read_text())
    with (
        ScriptedServer(protocol, certificates=certificates) as server,
        connected(server, certificate=str(authority)) as transport,
    ):
        authority.unlink()
        answer = transport.send(logs("a"), timeout_seconds=PATIENCE)
        assert decide(answer).action in {Action.HOLD, Action.RETRY}
        authority.write_text(Path(certificates.authority).read_text())
        assert decide(transport.send(logs("a"), timeout_seconds=PATIENCE)).action is Action.DELIVERED


# --- forking -----------------------------------------------------------------------------------------------------

FORKING = """
import os, sys, threading
from otel_llm_feedback.delivery.endpoint import endpoint_from
from otel_llm_feedback.delivery.transport import open_transport
from tests.delivery.test_transport import logs
url, protocol, use = sys.argv[1:]
transport = open_transport(endpoint_from({}, "logs", endpoint=url, protocol=protocol))
def send(name):
    answer = transport.send(logs(name), timeout_seconds=20)
    assert answer.code in (200, "OK"), answer
if use != "after":
    send("parent-0")
child = os.fork()
if child == 0:
    try:
        if use == "close":  # closing what the parent opened must not end the parent's connection
            transport.close()
            os._exit(0)
        send("child-1")
        send("child-2")
        transport.close()
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
send("parent-1")
transport.close()
"""


@BOTH
@pytest.mark.parametrize("use", ["before", "after", "close"])
def test_parent_and_forked_child_have_connections_of_their_own(protocol: str, use: str) -> None:
    with ScriptedServer(protocol) as server:
        ran = subprocess.run(
            [sys.executable, "-c", FORKING, server.endpoint, protocol, use],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        expected = {
            "before": ["parent-0", "child-1", "child-2", "parent-1"],
            "after": ["child-1", "child-2", "parent-1"],
            "close": ["parent-0", "parent-1"],
        }
        assert server.received == expected[use]
        if protocol == HTTP:  # the parent's connection outlives the child
            assert server.connections == (1 if use == "close" else 2)


def test_a_gzipped_body_is_the_same_every_time() -> None:
    """So that a retry can be compared with what it repeats."""
    with ScriptedServer(HTTP) as server, connected(server, compression="gzip") as transport:
        for _ in range(2):
            transport.send(logs("a"), timeout_seconds=PATIENCE)
        lengths = {seen.headers["content-length"] for seen in server.seen}
        assert lengths == {str(len(gzip.compress(logs("a"), compresslevel=6, mtime=0)))}


@BOTH
def test_an_unforeseen_error_is_an_answer(protocol: str) -> None:
    """An endpoint that was not made by `endpoint_from` may hold anything."""
    with ScriptedServer(protocol) as server:
        good = endpoint_from({}, "logs", endpoint=server.endpoint, protocol=protocol)
        with closing(open_transport(replace(good, headers=(("a", "\udcff\n"),)))) as transport:
            answer = transport.send(logs("a"), timeout_seconds=PATIENCE)
            assert (answer.code, decide(answer).action) == (Failure.UNEXPECTED, Action.RETRY)
