"""A real collector that is there, is not there, comes back, and crashes. 1,000 votes each time, and none is lost."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.chaos.running import (
    EXIT_ALLOWANCE,
    NOBODY,
    PROTOCOLS,
    App,
    all_accounted,
    all_delivered,
    arrived,
    drain,
    endpoint_of,
    names,
    received,
    run,
)
from tests.collector.running import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.collector

VOTES = names(1000)


@pytest.fixture
def absent(collector_binary: Path, tmp_path: Path) -> Iterator[Collector]:
    """A collector with ports of its own that is not running."""
    directory = tmp_path / "collector"
    directory.mkdir()
    collector = Collector(collector_binary, directory)
    yield collector
    collector.kill()


@pytest.fixture
def present(absent: Collector) -> Collector:
    absent.start()
    return absent


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_is_there(present: Collector, tmp_path: Path, protocol: str) -> None:
    """Recorded, and out: the end of the process delivers all."""
    run("record 1000", endpoint=endpoint_of(present, protocol), protocol=protocol, spool_dir=str(tmp_path / "spool"))
    all_delivered(tmp_path / "spool", present, VOTES)


def test_ten_thousand_at_once_for_a_healthy_collector(present: Collector, tmp_path: Path) -> None:
    with App("record 10000", "flush 60", endpoint=present.http_endpoint, spool_dir=str(tmp_path / "spool")) as app:
        assert app.hear("spooled")["spooled"] == 10_000
        assert app.hear("complete")["complete"]
        app.exit()
    all_delivered(tmp_path / "spool", present, names(10_000))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_down_for_the_whole_life_of_a_process(absent: Collector, tmp_path: Path, protocol: str) -> None:
    endpoint, spool = endpoint_of(absent, protocol), tmp_path / "spool"
    with App("record 1000", "wait", endpoint=endpoint, protocol=protocol, spool_dir=str(spool)) as app:
        assert app.hear("spooled")["spooled"] == 1000
        assert app.exit() < EXIT_ALLOWANCE
    assert all_accounted(spool, None, VOTES).places() == (0, 1000, 0)

    absent.start()
    drain(spool, endpoint, protocol)
    all_delivered(spool, absent, VOTES)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("verb", ["flush", "shutdown"])
def test_a_flush_without_a_collector_says_no_in_time(tmp_path: Path, protocol: str, verb: str) -> None:
    said = run("record 1000", f"{verb} 1", endpoint=NOBODY, protocol=protocol, spool_dir=str(tmp_path))
    report = said[-1]
    assert (report["complete"], report["remaining"]) == (False, 1000)
    assert report["seconds"] < 1 + 1
    assert all_accounted(tmp_path, None, VOTES).places() == (0, 1000, 0)


def test_more_than_a_batch_processor_holds_without_a_collector(tmp_path: Path) -> None:
    """The queue of the SDK holds 2,048 and keeps the process from ending for half a minute."""
    with App("record 2500", "wait", endpoint=NOBODY, spool_dir=str(tmp_path)) as app:
        app.hear("spooled")
        assert app.exit() < EXIT_ALLOWANCE
    assert all_accounted(tmp_path, None, names(2500)).places() == (0, 2500, 0)


def test_a_collector_that_crashes_in_mid_stream_and_comes_back(present: Collector, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with App("record 1000 400", "flush 60", endpoint=present.http_endpoint, spool_dir=str(spool)) as app:
        for enough in (150, 450):
            arrived(present, enough)
            present.kill()
            present.start()
        assert app.hear("spooled")["spooled"] == 1000
        assert app.hear("complete")["complete"]
        app.exit()
    # What it had written down when it was killed, but not acknowledged, has to come again.
    again = [each for each, times in received(present).items() if times > 1]
    all_delivered(spool, present, VOTES, twice=again)
    assert len(again) <= 2 * 200, "more than what was under way at two crashes"


def outage(collector: Collector, spool: Path, protocol: str, steps: str, down_seconds: float) -> None:
    """The application only lives; that the collector is back it has to find out by itself."""
    endpoint = endpoint_of(collector, protocol)
    with App(steps, "wait", endpoint=endpoint, protocol=protocol, spool_dir=str(spool)) as app:
        app.hear("ready")
        time.sleep(down_seconds)
        collector.start()
        app.hear("spooled")
        arrived(collector, 1000, 120.0)
        app.exit()
    all_delivered(spool, collector, VOTES)


@pytest.mark.slow
def test_back_after_a_moment(absent: Collector, tmp_path: Path) -> None:
    outage(absent, tmp_path / "spool", PROTOCOLS[0], "record 1000", 1.0)


def test_back_in_the_middle_of_a_busy_moment(absent: Collector, tmp_path: Path) -> None:
    outage(absent, tmp_path / "spool", PROTOCOLS[0], "record 1000 500", 1.0)


LONG = {
    "5 s, a burst": ("http/protobuf", "record 1000", 5.0),
    "5 s, a burst, gRPC": ("grpc", "record 1000", 5.0),
    "20 s, a burst": ("http/protobuf", "record 1000", 20.0),
    "20 s, a burst, gRPC": ("grpc", "record 1000", 20.0),
    "20 s of 50 s, paced": ("http/protobuf", "record 1000 20", 20.0),
    "90 s, a burst": ("http/protobuf", "record 1000", 90.0),
    "90 s, a burst, gRPC": ("grpc", "record 1000", 90.0),
    "90 s of 100 s, paced": ("http/protobuf", "record 1000 10", 90.0),
}


@pytest.fixture(scope="module")
def outages(
    collector_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Future[None]]]:
    """All of `LONG` at once, as they hardly do anything but wait."""

    def begin(number: int, protocol: str, steps: str, seconds: float) -> None:
        directory = tmp_path_factory.getbasetemp() / f"outage{number}"
        directory.mkdir()
        collector = Collector(collector_binary, directory)
        with closing(_Killing(collector)):
            outage(collector, directory / "spool", protocol, steps, seconds)

    with ThreadPoolExecutor(len(LONG)) as pool:
        begun = {name: pool.submit(begin, number, *each) for number, (name, each) in enumerate(LONG.items())}
        yield begun.__getitem__


class _Killing:
    def __init__(self, collector: Collector) -> None:
        self.close = collector.kill


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_long_outages(outages: Callable[[str], Future[None]], name: str) -> None:
    outages(name).result(300)


@pytest.mark.slow
def test_a_long_paced_life_without_a_collector(tmp_path: Path) -> None:
    with App("record 1000 50", "wait", endpoint=NOBODY, spool_dir=str(tmp_path)) as app:
        assert app.hear("spooled")["spooled"] == 1000
        assert app.exit() < EXIT_ALLOWANCE
    assert all_accounted(tmp_path, None, VOTES).places() == (0, 1000, 0)
