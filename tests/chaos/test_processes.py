"""Many processes, and processes that fork, on one spool: nothing is lost, nothing comes twice, nobody waits for the other."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.chaos.running import NOBODY, PROTOCOLS, App, all_delivered, arrived, drain, names, received
from tests.delivery.scripted_server import Accept, Refuse, ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

KILL = signal.SIGKILL


def of_children(count: int, each: int) -> list[str]:
    return [name for child in range(count) for name in names(each, f"v.{child}")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_workers_of_a_preforking_server(tmp_path: Path, protocol: str) -> None:
    """The parent sets up, its children record and deliver, the parent records too."""
    steps = ("record 100", "flush 30", "fork 4", "record 200", "flush 30", "join", "record 100", "flush 30")
    with ScriptedServer(protocol) as server:
        with App(*steps, endpoint=server.endpoint, protocol=protocol, spool_dir=str(tmp_path)) as app:
            said = app.rest()
            app.exit()
        assert [each["complete"] for each in said if "complete" in each] == [True] * 6
        all_delivered(tmp_path, server, names(200) + of_children(4, 200))


@pytest.mark.parametrize(
    ("protocol", "before"),
    [("http/protobuf", ""), ("http/protobuf", "record 100"), ("http/protobuf", "flush 0.2"), ("grpc", "flush 0.2")],
)
def test_a_fork_at_each_stage_of_delivery(tmp_path: Path, protocol: str, before: str) -> None:
    """Before anything was recorded, with votes waiting, in the middle of a back-off; the children end without clean-up."""
    steps = [*filter(None, ("record 100", before)), "fork 4", "record 100", "join", "record 100", "wait"]
    with ScriptedServer(protocol, default=Refuse("UNAVAILABLE" if protocol == "grpc" else 503)) as server:
        with App(*steps, endpoint=server.endpoint, protocol=protocol, spool_dir=str(tmp_path)) as app:
            app.hear("joined")
            app.hear("spooled")
            server.default = Accept()
            app.exit()
        drain(tmp_path, server.endpoint, protocol)
        all_delivered(tmp_path, server, names(300 if before == "record 100" else 200) + of_children(4, 100))


def test_children_of_a_server_written_in_c(tmp_path: Path) -> None:
    """They were forked without Python's hooks, and deliver all the same while they live."""
    steps = ("record 100", "flush 30", "fork 2 no_hooks", "record 200", "flush 30", "join", "record 100", "flush 30")
    with ScriptedServer() as server:
        with App(*steps, endpoint=server.endpoint, spool_dir=str(tmp_path)) as app:
            said = app.rest()
            app.exit()
        assert [each["complete"] for each in said if "complete" in each] == [True] * 4
        all_delivered(tmp_path, server, names(200) + of_children(2, 200))


def test_several_processes_at_once_on_one_directory(tmp_path: Path) -> None:
    with ScriptedServer() as server, ExitStack() as stack:
        apps = [
            stack.enter_context(
                App("record 250", "flush 30", endpoint=server.endpoint, spool_dir=str(tmp_path), prefix=f"app{number}")
            )
            for number in range(4)
        ]
        for app in apps:
            assert app.hear("spooled")["spooled"] == 250
            assert app.hear("complete")["complete"]
            app.exit()
        all_delivered(tmp_path, server, [name for number in range(4) for name in names(250, f"app{number}")])


def test_one_of_several_dies_and_a_process_that_comes_later_takes_over(tmp_path: Path) -> None:
    """More files than are opened at a time: the flush of the one process that is left covers them all."""
    with ScriptedServer(default=Refuse(503)) as server:
        steps = ("fork 20", "record 50", "join", "record 1", "wait")
        with App(*steps, endpoint=server.endpoint, spool_dir=str(tmp_path)) as app:
            app.hear("joined")
            assert app.hear("spooled")["spooled"] == 1
            app.signal(KILL)
        assert len(list(tmp_path.glob("*.spool"))) > 10
        server.default = Accept()
        begin = time.monotonic()
        drain(tmp_path, server.endpoint)
        assert time.monotonic() - begin < 20
        all_delivered(tmp_path, server, names(1) + of_children(20, 50))


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """Years ahead and back again, in the middle of a life and between two: nothing expires, nothing waits for years."""
    years = 10 * 365 * 86400
    steps = ("record 250", f"jump {years}", "record 250", f"jump {-2 * years}", "record 250", "wait")
    with ScriptedServer(default=Refuse(503)) as server:
        with App(*steps, endpoint=server.endpoint, spool_dir=str(tmp_path)) as app:
            for _ in range(3):
                app.hear("spooled")
            assert server.wait_for(lambda s: len(s.seen) >= 2, 30)
            app.signal(KILL)
        server.default = Accept()
        with App("record 250", "flush 30", endpoint=server.endpoint, spool_dir=str(tmp_path), prefix="later") as app:
            assert app.hear("complete")["complete"]
            app.exit()
        assert set(received(server).values()) == {1}
        all_delivered(tmp_path, server, names(750) + names(250, "later"))


def test_a_clock_that_was_wrong(tmp_path: Path) -> None:
    """A machine that booted in the past: by the right clock its votes are ten years old, and still they are tried first."""
    long_ago = {"CHAOS_AHEAD": str(-10 * 365 * 86400)}
    with App("record 1000", "kill", endpoint=NOBODY, spool_dir=str(tmp_path), environ=long_ago) as app:
        assert app.hear("spooled")["spooled"] == 1000
        app.exit(-KILL)
    with ScriptedServer() as server:
        drain(tmp_path, server.endpoint)
        all_delivered(tmp_path, server, names(1000))


def test_a_fleet_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """Three at a time share a directory and die in turn; who lives takes over what the dead left."""
    told: set[str] = set()
    doubtful: set[str] = set()
    with ScriptedServer() as server:
        for life in range(2):
            with ExitStack() as stack:
                apps = [
                    stack.enter_context(
                        App("tell 100000", endpoint=server.endpoint, spool_dir=str(tmp_path), prefix=f"{life}{who}")
                    )
                    for who in "abc"
                ]
                for app in apps:
                    told.update(app.hear("id")["id"] for _ in range(170))
                for app in apps:
                    app.process.kill()
                    told.update(each["id"] for each in app.rest() if "id" in each)
                    app.exit(-KILL)
                with server.changed:  # what each of them may have had under way
                    doubtful.update(name for seen in server.seen[-6:] for name in seen.ids)
        assert len(told) >= 1000
        drain(tmp_path, server.endpoint)
        arrived(server, len(told))
        all_delivered(tmp_path, server, told | set(received(server)), twice=doubtful)
