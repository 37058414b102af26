"""Servers that refuse, redirect, dawdle, hang and reject: for ever nothing is lost, and when they relent all is delivered."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm_feedback.delivery.records import Signal
from tests.chaos.running import (
    EXIT_ALLOWANCE,
    PROTOCOLS,
    App,
    all_accounted,
    all_delivered,
    arrived,
    drain,
    endpoint_of,
    names,
    received,
)
from tests.delivery.scripted_server import Accept, Behaviour, Hang, Partial, Raw, Refuse, ScriptedServer, Seen
from tests.delivery.spooling import open_spool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.collector.running import Collector

VOTES = names(1000)
COUNTS = [pytest.param(100, id="100 votes"), pytest.param(1000, id="1000 votes", marks=pytest.mark.slow)]

HTTP = (301, 302, 303, 304, 307, 308, 401, 403, 404, 405, 408, 415, 429, 500, 501, 502, 503, 504)
GRPC = (
    "CANCELLED UNKNOWN DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
    "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED"
).split()
NOT_THE_DATAS_FAULT: dict[str, list[Behaviour]] = {
    "http/protobuf": [
        *(Refuse(code, headers=(("Location", "http://127.0.0.1:9/"),)) for code in HTTP),
        Refuse(429, retry_after=60),
        Refuse(503, retry_after="Fri, 31 Dec 2100 23:59:59 GMT"),
        Raw(b""),
        Raw(b"SSH-2.0-OpenSSH_9.7\r\n"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"),
    ],
    "grpc": [*map(Refuse, GRPC), Refuse("RESOURCE_EXHAUSTED", retry_after=60.0)],
}
THE_DATAS_FAULT: dict[str, list[Behaviour]] = {
    "http/protobuf": [Refuse(400), Refuse(413), Refuse(422)],
    "grpc": [Refuse("INVALID_ARGUMENT"), Refuse("RESOURCE_EXHAUSTED", "received message larger than max")],
}


def servers_that(
    behaviours: list[Behaviour], protocol: str, directory: Path, stack: ExitStack
) -> tuple[list[ScriptedServer], list[Path], str]:
    servers = [stack.enter_context(ScriptedServer(protocol, default=each)) for each in behaviours]
    spools = [directory / str(number) for number in range(len(servers))]
    targets = [
        {"endpoint": server.endpoint, "protocol": protocol, "spool_dir": str(spool), "service_name": "chaos"}
        for server, spool in zip(servers, spools, strict=True)
    ]
    return servers, spools, json.dumps(targets)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refusals_that_are_not_the_datas_fault(tmp_path: Path, protocol: str, count: int) -> None:
    """As long as they go on everything is kept, and no flush calls it delivered; then it is delivered, once."""
    behaviours = NOT_THE_DATAS_FAULT[protocol]
    with ExitStack() as stack:
        servers, spools, targets = servers_that(behaviours, protocol, tmp_path, stack)
        with App(targets, str(count), program="many") as app:
            said = app.hear("spooled")
            assert said["spooled"] == [count] * len(servers)
            for behaviour, spool, server, report in zip(behaviours, spools, servers, said["reports"], strict=True):
                places = all_accounted(spool, server, names(count)).places()
                assert (places, report[:2]) == ((0, count, 0), [False, count]), behaviour
                assert server.seen, behaviour
                server.default = Accept()
            app.go()
            assert app.hear("complete")["complete"] == [True] * len(servers)
            app.exit()
        for spool, server in zip(spools, servers, strict=True):
            all_delivered(spool, server, names(count))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_refusals_of_the_data(tmp_path: Path, protocol: str, count: int) -> None:
    """Every record is kept as a dead letter, and can be sent again."""
    with ExitStack() as stack:
        servers, spools, targets = servers_that(THE_DATAS_FAULT[protocol], protocol, tmp_path, stack)
        with App(targets, str(count), program="many") as app:
            app.hear("spooled")
            app.go()
            assert app.hear("complete")["complete"] == [True] * len(servers)
            app.exit()
        for spool, server in zip(spools, servers, strict=True):
            assert all_accounted(spool, server, names(count)).places() == (0, 0, count)
            server.default = Accept()
            again = open_spool(spool)
            again.claim_orphans()
            assert again.retry_dead() == count
            again.close()
            drain(spool, server.endpoint, protocol)
            all_delivered(spool, server, names(count))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_partial_success_is_no_success(tmp_path: Path, protocol: str) -> None:
    """Which half was rejected the answer does not say: all of the batch is archived, and nothing is sent again."""
    with ScriptedServer(protocol, default=Partial(500, "half of it")) as server:
        with App(
            "record 1000", "flush 30", endpoint=server.endpoint, protocol=protocol, spool_dir=str(tmp_path)
        ) as app:
            assert app.hear("complete")["complete"]
            app.exit()
        found = all_accounted(tmp_path, server, VOTES)
        assert found.places() == (1000, 0, 1000)
        assert set(found.delivered.values()) == {1}


@pytest.mark.collector
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_poison_record_among_a_thousand(collector: Collector, tmp_path: Path, protocol: str) -> None:
    """A real collector refuses the request that it is in; it takes nothing else with it."""
    poison, prefix = b"\xff\xff\xff\xff", f"p{PROTOCOLS.index(protocol)}"
    spool = open_spool(tmp_path)
    spool.put(Signal.LOGS, poison, precious=True)
    spool.close()
    endpoint = endpoint_of(collector, protocol)
    steps = ("record 500", "surrogates", "record 499", "flush 30")
    with App(*steps, endpoint=endpoint, protocol=protocol, spool_dir=str(tmp_path), prefix=prefix) as app:
        assert app.hear("id")["status"] == "spooled"
        assert app.hear("complete")["complete"]
        app.exit()
    found = all_accounted(tmp_path, collector, names(1000, prefix))
    assert found.dead == {poison.hex(): 1}
    assert not found.spooled
    assert {each: times for each, times in found.delivered.items() if each.startswith(prefix) and times != 1} == {}


class Slow(ScriptedServer):
    """Takes its time for each request."""

    seconds = 0.3

    def judge(self, seen: Seen, behaviour: Behaviour) -> Behaviour:
        self.released.wait(self.seconds)
        return super().judge(seen, behaviour)


class VerySlow(Slow):
    seconds = 3.0


@pytest.mark.parametrize("kind", [Slow, pytest.param(VerySlow, marks=pytest.mark.slow)])
def test_a_slow_server_and_a_burst(tmp_path: Path, kind: type[Slow]) -> None:
    """The application does not wait for it, and nothing overflows."""
    with kind() as server:
        with App("record 5000", "flush 60", endpoint=server.endpoint, spool_dir=str(tmp_path)) as app:
            assert app.hear("spooled")["spooled"] == 5000
            assert app.hear("complete")["complete"]
            app.exit()
        all_delivered(tmp_path, server, names(5000))


@pytest.mark.parametrize("protocol", ["http/protobuf", pytest.param("grpc", marks=pytest.mark.slow)])
def test_a_server_that_hangs(tmp_path: Path, protocol: str) -> None:
    """Flush and exit end when they should; afterwards everything is still there."""
    with ScriptedServer(protocol, default=Hang()) as server:
        options: dict[str, Any] = {"endpoint": server.endpoint, "protocol": protocol, "spool_dir": str(tmp_path)}
        with App("record 1000", "flush 1", "wait", **options) as app:
            report = app.hear("complete")
            assert (report["complete"], report["remaining"]) == (False, 1000)
            assert report["seconds"] < 1 + 1
            assert app.exit() < EXIT_ALLOWANCE
        assert all_accounted(tmp_path, server, VOTES).places() == (0, 1000, 0)
        server.release()
        server.default = Accept()
        drain(tmp_path, server.endpoint, protocol)
        all_delivered(tmp_path, server, VOTES)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_accepts_and_answers_too_late(tmp_path: Path, protocol: str) -> None:
    """What was accepted without an answer comes again; the id tells that it is the same vote."""
    with ScriptedServer(protocol, script=[Hang(accepted=True)]) as server:
        options: dict[str, Any] = {"endpoint": server.endpoint, "protocol": protocol, "spool_dir": str(tmp_path)}
        environ = {"OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"}
        with App("record 1000", "flush 60", environ=environ, **options) as app:
            assert app.hear("complete")["complete"]
            app.exit()
        arrived(server, 1000)
        first = set(server.seen[0].ids)
        all_delivered(tmp_path, server, VOTES, twice=first)
        assert {each for each, times in received(server).items() if times == 2} == first
