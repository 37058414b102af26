from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import pytest

from otel_llm_feedback.boundary import forget_what_was_said
from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.records import Signal
from otel_llm_feedback.delivery.retry import PATIENCE, Backoff
from otel_llm_feedback.delivery.sender import IDLE, MAX_HELD, Sender
from otel_llm_feedback.delivery.spool import Spool
from otel_llm_feedback.delivery.transport import open_transport
from tests.delivery.delivering import dead_ids, endpoints, names, open_spool, put_votes, vote
from tests.delivery.scripted_server import Accept, Partial, Raw, Refuse, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROTOCOLS = ["http/protobuf", "grpc"]


class Bench:
    """A sender under test, with a clock that only moves when told and jitter that is always its maximum."""

    def __init__(self, spool: Spool, server: ScriptedServer, counters: Counters) -> None:
        self.now = 0.0
        self.spool = spool
        self.counters = counters
        endpoint = endpoints(server.endpoint, server.protocol)[Signal.LOGS]
        self.transport = open_transport(endpoint)
        self.sender = Sender(
            spool,
            Signal.LOGS,
            endpoint,
            self.transport,
            backoff=Backoff(1.0, 8.0),
            counters=counters,
            random=lambda: 1.0,
            monotonic=lambda: self.now,
        )

    def run(self, steps: int = 1000) -> list[float]:
        """Step until idle, moving the clock by what each step asks for; the waits that it asked for."""
        waits: list[float] = []
        for _ in range(steps):
            wait = self.sender.step()
            if wait == IDLE:
                return waits
            waits += [wait] if wait else []
            self.now += wait
        raise AssertionError(f"not idle after {steps} steps: {waits[-5:]}")

    @property
    def left(self) -> int:
        return self.spool.stats().records[Signal.LOGS]


@contextlib.contextmanager
def bench(directory: Path, server: ScriptedServer) -> Iterator[Bench]:
    counters = Counters()
    with contextlib.closing(open_spool(directory, counters)) as spool:
        made = Bench(spool, server, counters)
        yield made
        made.transport.close()


@pytest.fixture(params=PROTOCOLS)
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    forget_what_was_said()
    with ScriptedServer(request.param) as running:
        yield running


def refusal(server: ScriptedServer, http: int, grpc: str, **more: object) -> Refuse:
    return Refuse(grpc if server.protocol == "grpc" else http, **more)  # type: ignore[arg-type]  # by keyword only


def test_a_batch_is_the_joined_records_in_one_request(tmp_path: Path, server: ScriptedServer) -> None:
    with bench(tmp_path, server) as b:
        put_votes(b.spool, names(100))
        assert b.run() == []
        assert [seen.ids for seen in server.seen] == [tuple(names(100))]
        assert b.left == 0
        assert b.counters.total("delivered") == b.sender.settled == 100


def test_retries_for_as_long_as_it_takes_with_growing_waits(tmp_path: Path, server: ScriptedServer) -> None:
    server.then(*[refusal(server, 503, "UNAVAILABLE")] * 12)
    with bench(tmp_path, server) as b:
        put_votes(b.spool, names(3))
        assert b.run() == [1.0, 2.0, 4.0] + [8.0] * 9
        assert sorted(server.received) == names(3)
        assert b.counters.total("retried") == 36


def test_the_server_says_when_to_come_back(tmp_path: Path, server: ScriptedServer) -> None:
    after = 7 if server.protocol == "grpc" else "7"
    server.then(refusal(server, 429, "RESOURCE_EXHAUSTED", retry_after=after))
    with bench(tmp_path, server) as b:
        put_votes(b.spool, names(1))
        assert b.run() == [8.0]  # 7, and one second of jitter


def test_one_poison_record_takes_nothing_else_with_it(tmp_path: Path) -> None:
    for protocol in PROTOCOLS:
        with ScriptedServer(protocol, poison=["vote-0613"]) as server, bench(tmp_path / protocol[:4], server) as b:
            put_votes(b.spool, names(1000))
            assert b.run() == []
            assert sorted(server.received) == [name for name in names(1000) if name != "vote-0613"]
            assert dead_ids(b.spool) == ["vote-0613"]
            assert b.left == 0
            assert b.counters.total("delivered") == 999
            assert b.counters.total("dead_lettered") == 1


def test_a_record_that_is_no_protobuf_is_buried_alone(tmp_path: Path, server: ScriptedServer) -> None:
    with bench(tmp_path, server) as b:
        put_votes(b.spool, names(5))
        b.spool.put(Signal.LOGS, b"\xff\xff\xff", precious=True)
        put_votes(b.spool, names(5, start=5))
        b.run()
        assert sorted(server.received) == names(10)
        assert [letter.payload for letter in b.spool.dead_letters()] == [b"\xff\xff\xff"]


def test_what_is_too_large_together_goes_in_parts(tmp_path: Path) -> None:
    limit = len(vote("vote-0000")) * 10
    for protocol in PROTOCOLS:
        with ScriptedServer(protocol, size_limit=limit) as server, bench(tmp_path / protocol[:4], server) as b:
            put_votes(b.spool, names(64))
            assert b.run() == []
            assert sorted(server.received) == names(64)
            assert [len(seen.ids) for seen in server.seen if len(seen.body) <= limit] == [8] * 8
            assert len(server.seen) == 15  # 64, then twice 32, four times 16


def test_what_is_too_large_alone_is_a_dead_letter(tmp_path: Path) -> None:
    with ScriptedServer(size_limit=100) as server, bench(tmp_path, server) as b:
        put_votes(b.spool, ["a" * 200, "small"])
        b.run()
        assert server.received == ["small"]
        assert dead_ids(b.spool) == ["a" * 200]


def test_a_partly_rejected_batch_is_archived_and_not_repeated(tmp_path: Path, server: ScriptedServer) -> None:
    server.then(Partial(4, "no room"))
    with bench(tmp_path, server) as b:
        put_votes(b.spool, names(10))
        assert b.run() == []
        assert len(server.seen) == 1
        assert sorted(dead_ids(b.spool)) == names(10)
        assert (b.counters.total("rejected"), b.counters.total("delivered")) == (4, 6)
        assert b.left == 0


@pytest.mark.parametrize(
    ("http", "grpc"), [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "UNIMPLEMENTED")]
)
def test_a_wrong_set_up_keeps_the_data_and_says_so(
    tmp_path: Path, server: ScriptedServer, http: int, grpc: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.then(*[refusal(server, http, grpc, message="the comment was: I am Jane")] * 3)
    with bench(tmp_path, server) as b, caplog.at_level(logging.WARNING):
        put_votes(b.spool, names(2))
        assert b.run() == [8.0] * 3
        assert sorted(server.received) == names(2)
        (said,) = [message for message in caplog.messages if "somebody has to look" in message]
        assert "Jane" not in said


def test_a_redirect_is_an_error_and_not_a_delivery(tmp_path: Path) -> None:
    with (
        ScriptedServer(script=[Refuse(302, headers=(("Location", "/elsewhere"),))]) as server,
        bench(tmp_path, server) as b,
    ):
        put_votes(b.spool, names(1))
        b.run()
        assert server.received == names(1)
        assert {seen.path for seen in server.seen} == {"/v1/logs"}


def test_a_record_that_breaks_the_server_does_not_stop_the_others(tmp_path: Path) -> None:
    class Fragile(ScriptedServer):
        def judge(self, seen, behaviour):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as in the base class
            return Refuse(500) if "vote-0003" in seen.ids else super().judge(seen, behaviour)

    with Fragile() as server, bench(tmp_path, server) as b:
        put_votes(b.spool, names(8))
        for _ in range(PATIENCE + 40):
            b.now += b.sender.step()
            if len(server.received) == 7:
                break
        assert sorted(server.received) == [name for name in names(8) if name != "vote-0003"]
        assert b.left == 1  # kept: the server may be mended
        put_votes(b.spool, names(1, start=8))
        b.sender.step()
        assert "vote-0008" in server.received


def test_with_too_many_such_records_it_is_the_server(tmp_path: Path) -> None:
    with ScriptedServer(default=Refuse(500)) as server, bench(tmp_path, server) as b:
        put_votes(b.spool, names(MAX_HELD * 2))
        for _ in range(PATIENCE + MAX_HELD * 4):
            b.now += min(b.sender.step(), 100.0)
        assert b.left == MAX_HELD * 2
        server.default = Accept()
        b.now += 100.0
        b.run()
        assert sorted(set(server.received)) == names(MAX_HELD * 2)


def test_an_acceptance_that_cannot_be_read_is_one_and_is_counted(tmp_path: Path, server: ScriptedServer) -> None:
    garbage = b"\xff\xff" if server.protocol == "grpc" else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xff"
    server.then(Raw(garbage))
    with bench(tmp_path, server) as b:
        put_votes(b.spool, names(2))
        assert b.run() == []
        assert b.counters.total("garbled_answer") == 1
        assert b.left == 0


def test_hurry_forgets_the_wait(tmp_path: Path, server: ScriptedServer) -> None:
    server.then(refusal(server, 503, "UNAVAILABLE"))
    with bench(tmp_path, server) as b:
        put_votes(b.spool, names(1))
        assert b.sender.step() == 1.0
        assert b.sender.step() == 1.0
        assert b.sender.last_failure.endswith(("503", "unavailable"))
        b.sender.hurry()
        assert b.sender.step() == 0.0
        assert server.received == names(1)
        assert b.sender.last_failure == ""
