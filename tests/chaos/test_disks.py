"""Disks that are full, read-only or damaged, and set-ups that are wrong: told at once, and nothing stored is harmed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm_feedback import ConfigurationError, configure
from otel_llm_feedback.delivery.reader import SpoolReader
from otel_llm_feedback.errors import SpoolError
from tests.chaos.running import NOBODY, App, all_accounted, all_delivered, drain, names, received
from tests.delivery.scripted_server import ScriptedServer
from tests.delivery.spooling import AS_ROOT, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "1m") as disk:
        yield disk


def test_a_disk_that_gets_full(small_disk: Path) -> None:
    """The receipt of every vote that did not fit says so; those that did are delivered, also from the full disk."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 400_000)
    with App("record 3000", "kill", endpoint=NOBODY, spool_dir=str(small_disk / "spool")) as app:
        said = app.hear("spooled")
        app.exit(-9)
    refused = [feedback_id for feedback_id, _, _ in said["refused"]]
    assert said["spooled"] + len(refused) == 3000
    assert len(refused) > 500
    assert {(status, reason) for _, status, reason in said["refused"]} == {("dropped", "spool_full")}

    stored = sorted(set(names(3000)) - set(refused))
    assert all_accounted(small_disk / "spool", None, stored).places() == (0, len(stored), 0)
    with ScriptedServer() as server:
        drain(small_disk / "spool", server.endpoint)
        assert received(server) == dict.fromkeys(stored, 1)
        ballast.unlink()
        drain(small_disk / "spool", server.endpoint)
        # That they were delivered could not be written down on the full disk.
        all_delivered(small_disk / "spool", server, stored, twice=stored)


def test_room_again(small_disk: Path) -> None:
    """What fits after the disk was cleared is taken by the same process, which delivers everything it took."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    with ScriptedServer() as server:
        options: dict[str, Any] = {"endpoint": NOBODY, "spool_dir": str(small_disk / "spool")}
        with App("record 2000", "wait", "record 20", "kill", **options) as app:
            before = app.hear("spooled")
            assert before["refused"]
            ballast.unlink()
            app.go()
            after = app.hear("spooled")
            assert after["spooled"] == 20, after
            app.exit(-9)
        drain(small_disk / "spool", server.endpoint)
        lost = {feedback_id for feedback_id, _, _ in before["refused"]}
        all_delivered(small_disk / "spool", server, set(names(2020)) - lost)


def test_a_read_only_disk(small_disk: Path) -> None:
    subprocess.run([*AS_ROOT, "mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SpoolError, match="Read-only file system"):
        configure(endpoint=NOBODY, spool_dir=small_disk / "spool")


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(SpoolError, match="is not a directory"):
        configure(endpoint=NOBODY, spool_dir=tmp_path / "spool")


@pytest.mark.parametrize(
    "endpoint", ["", "127.0.0.1:4318", "ftp://127.0.0.1", "http://", "http://[::1", "http://h:99999"]
)
def test_an_endpoint_that_is_none(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="endpoint"):
        configure(endpoint=endpoint, spool_dir=tmp_path / "spool")


def leave(directory: Path, count: int = 1000) -> Path:
    """A spool file with so many votes of a process that died, all in the file itself."""
    with App(f"record {count}", "kill", endpoint=NOBODY, spool_dir=str(directory)) as app:
        assert app.hear("spooled")["spooled"] == count
        app.exit(-9)
    (file,) = directory.glob("*.spool")
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    connection.close()
    return file


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    """It is left alone, for the newer program that can read it; new votes go to a new file."""
    file = leave(tmp_path, 10)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version=99").close()
    connection.close()
    before = file.read_bytes()
    with ScriptedServer() as server:
        with App("record 1000", "flush 30", endpoint=server.endpoint, spool_dir=str(tmp_path), prefix="new") as app:
            assert app.hear("complete")["complete"]
            app.exit()
        assert sorted(received(server)) == names(1000, "new")
    assert file.read_bytes() == before


def cut_in_half(content: bytearray) -> None:
    del content[len(content) // 2 :]


def flip_one_bit(content: bytearray) -> None:
    content[len(content) * 2 // 3] ^= 0x10


def flip_many(content: bytearray) -> None:
    for place in range(5000, len(content), 4096):
        content[place] ^= 0xFF


def overwrite_the_start(content: bytearray) -> None:
    content[:4096] = bytes(4096)


@pytest.mark.parametrize(
    ("damage", "at_least"),
    [(cut_in_half, 0), (flip_one_bit, 900), (flip_many, 0), (overwrite_the_start, 0)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_damaged_file(tmp_path: Path, damage: Any, at_least: int) -> None:
    """Start-up goes on, it is reported, what can be read is delivered, nothing is made up, and new votes are safe."""
    file = leave(tmp_path)
    content = bytearray(file.read_bytes())
    damage(content)
    file.write_bytes(content)

    with ScriptedServer() as server:
        with App("record 100", "flush 30", endpoint=server.endpoint, spool_dir=str(tmp_path), prefix="new") as app:
            assert app.hear("complete")["complete"]
            app.exit()
        found = received(server)
    assert set(names(100, "new")) <= set(found) <= {*names(1000), *names(100, "new")}
    assert set(found.values()) == {1}
    kept = [*tmp_path.glob("*.corrupt-*")]
    dead = SpoolReader(tmp_path).stats(0.0).dead_letters
    assert len(found) - 100 >= at_least
    assert kept or dead or len(found) == 1100, "what was damaged can still be looked at"


def test_a_directory_that_somebody_removes(tmp_path: Path) -> None:
    """Votes that come after that are on disk again, in a new directory."""
    spool = tmp_path / "spool"
    with ScriptedServer() as server:
        with App("record 1", "wait", "record 1000", "kill", endpoint=NOBODY, spool_dir=str(spool)) as app:
            app.hear("spooled")
            shutil.rmtree(spool)
            app.go()
            assert app.hear("spooled")["spooled"] == 1000
            app.exit(-9)
        drain(spool, server.endpoint)
        assert set(names(1000, start=1)) <= set(received(server))


def test_loggers_that_somebody_disables(tmp_path: Path) -> None:
    """``logging.config.dictConfig`` does by default; it takes all feedback from those who send it through ``logging``."""
    with ScriptedServer() as server:
        options: dict[str, Any] = {"endpoint": server.endpoint, "spool_dir": str(tmp_path)}
        with App("disable_loggers", "record 1000", "flush 30", **options) as app:
            assert app.hear("complete")["complete"]
            app.exit()
        all_delivered(tmp_path, server, names(1000))
