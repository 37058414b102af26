from __future__ import annotations

import socket
import threading
import warnings
from typing import TYPE_CHECKING

import grpc
import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from otel_llm_feedback import boundary, receiver
from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.receiver import Limits, MemorySink, ReceivedLog, ReceivedSpan, Receiver
from tests.receiver.requests import PROTOBUF, TIMEOUT, connect, logs, message_of, send, span, traces

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class BrokenSink:
    """Fails as often as told, then keeps."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.kept: list[ReceivedSpan | ReceivedLog] = []

    def add_spans(self, spans: list[ReceivedSpan], /) -> None:
        self._add(*spans)

    def add_logs(self, logs: list[ReceivedLog], /) -> None:
        self._add(*logs)

    def _add(self, *records: ReceivedSpan | ReceivedLog) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("disk full: /secret/path")
        self.kept += records


class WaitingSink:
    """Holds the sender until released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def add_spans(self, spans: list[ReceivedSpan], /) -> None:
        self.entered.set()
        assert self.released.wait(TIMEOUT)

    def add_logs(self, logs: list[ReceivedLog], /) -> None:
        raise AssertionError


@pytest.fixture
def _fresh_warnings() -> Iterator[None]:
    boundary.forget_what_was_said()
    yield
    boundary.forget_what_was_said()


def exported(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """A method that takes and gives bytes, as they are."""
    callable_: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return callable_


@pytest.mark.usefixtures("_fresh_warnings")
def test_a_failing_sink_makes_http_senders_try_again(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(sink := BrokenSink(failures=1)) as running:
        response, body = send(running, logs(LogRecord()), "/v1/logs")
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert message_of(body) == (14, "the records could not be stored")
        assert send(running, logs(LogRecord()), "/v1/logs")[0].status == 200
        assert running.counters.snapshot() == {("refused", "sink_failed"): 1, ("received", "logs"): 1}
    assert len(sink.kept) == 1
    assert caplog.messages == ["the receiver's sink failed with OSError; senders are told to try again"]


@pytest.mark.usefixtures("_fresh_warnings")
def test_a_failing_sink_makes_grpc_senders_try_again() -> None:
    with Receiver(sink := BrokenSink(failures=1)) as running, _channel(running) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            exported(channel, TRACES)(traces(span()), timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        exported(channel, TRACES)(traces(span()), timeout=TIMEOUT)
    assert len(sink.kept) == 1


def test_stopping_answers_what_is_under_way_and_closes_what_is_idle() -> None:
    sink = WaitingSink()
    running = Receiver(sink).start()
    idle = connect(running)
    idle.request("POST", "/v1/traces", b"", PROTOBUF)
    assert idle.getresponse().read() == b""
    statuses: list[int] = []
    sender = threading.Thread(target=lambda: statuses.append(send(running, traces(span()))[0].status))
    sender.start()
    assert sink.entered.wait(TIMEOUT)
    stopper = threading.Thread(target=running.stop)
    stopper.start()
    assert idle.sock.recv(1) == b""
    idle.close()
    assert stopper.is_alive()
    sink.released.set()
    sender.join(TIMEOUT)
    stopper.join(TIMEOUT)
    assert statuses == [200]


def test_a_client_that_is_gone_does_not_hinder_stopping() -> None:
    sink = WaitingSink()
    running = Receiver(sink).start()
    body = traces(span())
    connection = connect(running)
    connection.request("POST", "/v1/traces", body, PROTOBUF)
    assert sink.entered.wait(TIMEOUT)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    connection.close()
    threading.Timer(0.1, sink.released.set).start()
    running.stop()


def test_it_starts_and_stops_again_and_again() -> None:
    running = Receiver(MemorySink())
    for _ in range(2):
        assert running.start() is running
        endpoints = running.grpc_endpoint, running.http_endpoint
        assert running.start() is running
        assert (running.grpc_endpoint, running.http_endpoint) == endpoints
        assert all(endpoint.startswith("http://127.0.0.1:") for endpoint in endpoints)
        running.stop()
        running.stop()


def test_endpoints_exist_only_while_running() -> None:
    running = Receiver(MemorySink())
    for endpoint in ("grpc_endpoint", "http_endpoint"):
        with pytest.raises(ConfigurationError, match="start it first"):
            getattr(running, endpoint)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "", "localhost.example.com"])
def test_a_host_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="allow_remote=True"):
        Receiver(MemorySink(), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_hosts(host: str) -> None:
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with Receiver(sink := MemorySink(), host) as running, _channel(running) as channel:
        assert send(running, traces(span()))[0].status == 200
        exported(channel, TRACES)(traces(span()), timeout=TIMEOUT)
    assert len(sink.spans) == 2


def test_remote_hosts_when_asked_for() -> None:
    with Receiver(MemorySink(), "0.0.0.0", allow_remote=True) as running:
        assert running.http_endpoint.startswith("http://0.0.0.0:")


@pytest.mark.parametrize("name", ["grpc_port", "http_port"])
def test_a_port_in_use(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"{name}={port}: give a port that is free on 127.0.0.1"):
            Receiver(MemorySink(), **{name: port}).start()
    assert capfd.readouterr() == ("", "")


def test_a_port_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="http_port=70000"):
        Receiver(MemorySink(), http_port=70_000).start()


def test_chosen_ports() -> None:
    with Receiver(MemorySink()) as first:
        ports = [int(endpoint.rpartition(":")[2]) for endpoint in (first.grpc_endpoint, first.http_endpoint)]
    with Receiver(MemorySink(), "127.0.0.1", *ports) as second:
        assert [second.grpc_endpoint, second.http_endpoint] == [f"http://127.0.0.1:{port}" for port in ports]


def test_no_thread_and_no_socket_is_left() -> None:
    before = threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with Receiver(MemorySink(), limits=Limits()) as running:
            send(running, b"")
    assert threading.active_count() <= before


def test_everything_exported_exists() -> None:
    assert all(hasattr(receiver, name) for name in receiver.__all__)


def _channel(running: Receiver) -> grpc.Channel:
    return grpc.insecure_channel(running.grpc_endpoint.removeprefix("http://"))
