from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.records import Signal
from otel_llm_feedback.delivery.retry import Backoff
from otel_llm_feedback.errors import SpoolUnavailable
from tests.delivery.delivering import courier_to, names, open_spool, put_votes, vote
from tests.delivery.scripted_server import Accept, Hang, Refuse, ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_what_is_put_is_delivered_without_being_asked(tmp_path: Path, protocol: str) -> None:
    with ScriptedServer(protocol) as server, courier_to(server.endpoint, tmp_path, protocol=protocol) as courier:
        put_votes(courier, names(50))
        assert server.wait_for(lambda s: len(s.received) == 50)
        assert sorted(server.received) == names(50)


def test_a_burst_leaves_in_few_requests(tmp_path: Path) -> None:
    with ScriptedServer() as server, courier_to(server.endpoint, tmp_path) as courier:
        put_votes(courier, names(2000))
        assert courier.flush(10)
        assert sorted(server.received) == names(2000)
        assert len(server.seen) < 100


def test_flush_says_what_happened(tmp_path: Path) -> None:
    with ScriptedServer() as server, courier_to(server.endpoint, tmp_path) as courier:
        put_votes(courier, names(10))
        report = courier.flush(10)
        assert (report.complete, report.remaining, report.last_failure) == (True, 0, "")
    with courier_to(NOBODY, tmp_path / "down") as courier:
        put_votes(courier, names(10))
        begin = time.monotonic()
        report = courier.flush(0.3)
        assert time.monotonic() - begin < 2
        assert (bool(report), report.settled, report.remaining) == (False, 0, 10)
        assert report.last_failure == "connection_refused"


def test_an_impatient_flush_tries_once(tmp_path: Path) -> None:
    with courier_to(NOBODY, tmp_path, backoff=Backoff(60, 60)) as courier:
        put_votes(courier, names(10))
        begin = time.monotonic()
        assert not courier.flush(30, patient=False)
        assert time.monotonic() - begin < 10


def test_flush_does_not_wait_out_a_back_off(tmp_path: Path) -> None:
    with (
        ScriptedServer(script=[Refuse(503)]) as server,
        courier_to(server.endpoint, tmp_path, backoff=Backoff(600, 600)) as courier,
    ):
        put_votes(courier, names(1))
        assert server.wait_for(lambda s: len(s.seen) == 1)
        assert courier.flush(10)
        assert server.received == names(1)


def test_new_data_for_one_signal_is_not_held_up_by_the_other(tmp_path: Path) -> None:
    class NoTraces(ScriptedServer):
        def judge(self, seen, behaviour):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as in the base class
            return Refuse(503) if seen.path == "/v1/traces" else super().judge(seen, behaviour)

    with NoTraces() as server, courier_to(server.endpoint, tmp_path, backoff=Backoff(600, 600)) as courier:
        courier.put(Signal.TRACES, b"", precious=False)
        assert server.wait_for(lambda s: len(s.seen) == 1)
        put_votes(courier, names(1))
        assert server.wait_for(lambda s: s.received == names(1))


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_shutdown_ends_in_time_beside_a_hanging_server_and_loses_nothing(tmp_path: Path, protocol: str) -> None:
    with ScriptedServer(protocol, default=Hang()) as server:
        with courier_to(server.endpoint, tmp_path, protocol=protocol) as courier:
            put_votes(courier, names(5))
            assert server.wait_for(lambda s: len(s.seen) == 1)
            begin = time.monotonic()
            report = courier.shutdown(1.0)
            assert time.monotonic() - begin <= 1.3
        assert (report.complete, report.remaining) == (False, 5)
        server.release()
        server.default = Accept()
        with courier_to(server.endpoint, tmp_path, protocol=protocol) as courier:
            courier.start()
            assert server.wait_for(lambda s: set(s.received) == set(names(5)))


def test_shutdown_delivers_what_is_left(tmp_path: Path) -> None:
    with ScriptedServer() as server, courier_to(server.endpoint, tmp_path) as courier:
        put_votes(courier, names(500))
        assert courier.shutdown(10)
        assert sorted(server.received) == names(500)
        with pytest.raises(SpoolUnavailable):
            put_votes(courier, names(1))


def test_shutdown_gives_up_at_once_when_nobody_is_there(tmp_path: Path) -> None:
    with courier_to(NOBODY, tmp_path, backoff=Backoff(600, 600)) as courier:
        put_votes(courier, names(5))
        begin = time.monotonic()
        report = courier.shutdown(30)
        assert time.monotonic() - begin < 10
        assert report.remaining == 5


def test_starting_delivers_what_an_earlier_process_left(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            put_votes(open_spool(tmp_path), names(20))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    with ScriptedServer() as server, courier_to(server.endpoint, tmp_path) as courier:
        courier.start()
        assert server.wait_for(lambda s: sorted(s.received) == names(20))


def test_a_forked_child_delivers_its_own_and_nothing_twice(tmp_path: Path) -> None:
    with ScriptedServer(script=[Refuse(503)] * 3) as server, courier_to(server.endpoint, tmp_path) as courier:
        put_votes(courier, names(20))
        pid = os.fork()
        if pid == 0:
            try:
                put_votes(courier, names(20, start=20))
                os._exit(0 if courier.flush(10) else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert courier.flush(10)
        assert sorted(server.received) == names(40)


def test_put_once(tmp_path: Path) -> None:
    counters = Counters()
    with ScriptedServer() as server, courier_to(server.endpoint, tmp_path, counters=counters) as courier:
        threads = [
            threading.Thread(
                target=courier.put_once, args=("key", Signal.LOGS, lambda: vote("a")), kwargs={"precious": True}
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert courier.flush(10)
        assert server.received == ["a"]
        assert counters.total("spooled") == 1


def test_the_counts_add_up(tmp_path: Path) -> None:
    counters = Counters()
    with (
        ScriptedServer(poison=["vote-0007"]) as server,
        courier_to(server.endpoint, tmp_path, counters=counters) as courier,
    ):
        put_votes(courier, names(100))
        assert courier.flush(10)
    assert counters.total("spooled") == 100 == counters.total("delivered") + counters.total("dead_lettered")
