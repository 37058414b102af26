"""Applications that die, in every way there is, at every moment; what they had recorded reaches the collector."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.chaos.running import NOBODY, PROTOCOLS, App, all_accounted, all_delivered, drain, names, received, span_names
from tests.delivery.scripted_server import Accept, Hang, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VOTES = names(1000)
KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


def last_request(server: ScriptedServer) -> tuple[str, ...]:
    """What the server had accepted, perhaps without having been heard: only this may come again."""
    with server.changed:
        return server.seen[-1].ids if server.seen else ()


@pytest.mark.parametrize(
    ("number", "count", "seconds"),
    [
        (KILL, 1000, 0.1),
        (TERM, 1000, 0.1),
        (INT, 1000, 0.1),
        (KILL, 1, 0.0),
        (KILL, 1, 0.1),
        pytest.param(KILL, 1, 0.9, marks=pytest.mark.slow),
        (TERM, 1, 0.0),
        (INT, 1, 0.0),
    ],
)
def test_a_signal_after_a_burst(
    server: ScriptedServer, tmp_path: Path, number: int, count: int, seconds: float
) -> None:
    with App(f"record {count}", "wait", endpoint=server.endpoint, spool_dir=str(tmp_path)) as app:
        assert app.hear("spooled")["spooled"] == count
        time.sleep(seconds)
        app.signal(number)
        before = last_request(server)
    drain(tmp_path, server.endpoint)
    all_delivered(tmp_path, server, names(count), twice=before)


@pytest.mark.parametrize("end", ["leave", "kill"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_end_without_any_clean_up(tmp_path: Path, end: str, protocol: str) -> None:
    with ScriptedServer(protocol, default=Hang()) as server:
        with App("record 1000", end, endpoint=server.endpoint, protocol=protocol, spool_dir=str(tmp_path)) as app:
            assert app.hear("spooled")["spooled"] == 1000
            app.exit(0 if end == "leave" else -KILL)
        assert all_accounted(tmp_path, server, VOTES).places() == (0, 1000, 0)
        server.release()
        server.default = Accept()
        drain(tmp_path, server.endpoint, protocol)
        all_delivered(tmp_path, server, VOTES)


def test_a_vote_in_a_signal_handler(server: ScriptedServer, tmp_path: Path) -> None:
    """Which may have interrupted a vote: neither waits for the other for ever."""
    with App("vote_on_sigterm", "tell 100000", endpoint=server.endpoint, spool_dir=str(tmp_path)) as app:
        said = [app.hear("id")["id"] for _ in range(200)]
        app.signal(TERM)
        said += [each["id"] for each in app.rest() if "id" in each]
        app.exit()
    drain(tmp_path, server.endpoint)
    assert set(said) <= set(received(server))


@pytest.mark.parametrize(("count", "seconds"), [(1, 0.1), (100, 0.5)])
def test_spans_that_were_exported(tmp_path: Path, count: int, seconds: float) -> None:
    with App(f"spans {count}", "wait", endpoint=NOBODY, spool_dir=str(tmp_path)) as app:
        assert app.hear("exported")["exported"]
        time.sleep(seconds)
        app.signal(KILL)
    assert sorted(span_names(tmp_path)) == names(count)

    with ScriptedServer() as server:
        drain(tmp_path, server.endpoint)
        assert sorted(server.received) == names(count)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("accepted", [False, True])
def test_a_kill_between_send_and_answer(tmp_path: Path, protocol: str, accepted: bool) -> None:
    """What the server had accepted comes again, and is recognised by its id; what it had not does not."""
    with ScriptedServer(protocol, default=Hang(accepted=accepted)) as server:
        with App("record 1000", "wait", endpoint=server.endpoint, protocol=protocol, spool_dir=str(tmp_path)) as app:
            app.hear("spooled")
            assert server.wait_for(lambda s: s.seen)
            app.signal(KILL)
        under_way = last_request(server)
        assert set(received(server)) == (set(under_way) if accepted else set())
        server.release()
        server.default = Accept()
        drain(tmp_path, server.endpoint, protocol)
        all_delivered(tmp_path, server, VOTES, twice=under_way if accepted else ())
        assert {each for each, times in received(server).items() if times == 2} == (
            set(under_way) if accepted else set()
        )


def test_kills_at_any_moment_of_recording_and_delivering(tmp_path: Path) -> None:
    """One process after the other on the same spool, each killed in mid-stream, each draining what the others left."""
    told: list[str] = []
    doubtful: set[str] = set()
    with ScriptedServer() as server:
        for life in range(8):
            with App("tell 100000", endpoint=server.endpoint, spool_dir=str(tmp_path), prefix=f"life{life}") as app:
                told += [app.hear("id")["id"] for _ in range(40 + 97 * life)]
                app.process.kill()
                told += [each["id"] for each in app.rest() if "id" in each]
                app.exit(-KILL)
            doubtful.update(last_request(server))
        drain(tmp_path, server.endpoint)
        found = received(server)
        assert len(told) >= 1000
        assert set(told) <= set(found)
        # Of each life the last vote may be on disk although the process died before it could say so.
        assert len(found) <= len(told) + 8
        all_delivered(tmp_path, server, found, twice=doubtful)
