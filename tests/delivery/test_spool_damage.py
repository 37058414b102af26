"""Disks that are full, files that are damaged, directories that go away."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_llm_feedback import boundary
from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.reader import SpoolReader
from otel_llm_feedback.delivery.spool import Signal, Spool
from otel_llm_feedback.delivery.store import explain
from otel_llm_feedback.errors import SpoolError, SpoolFull, SpoolUnavailable
from tests.delivery.spooling import AS_ROOT, drain, drain_directory, open_spool, put, small_disk

NAMES = [f"{n:03d}".ljust(200, ".") for n in range(200)]


@pytest.fixture(autouse=True)
def _say_everything() -> None:
    boundary.forget_what_was_said()


def leave(directory: Path, *names: str, precious: bool = True) -> Path:
    """The file of a process that is gone."""
    with contextlib.closing(open_spool(directory)) as spool:
        put(spool, *names, precious=precious)
    (file,) = directory.glob("*.spool")
    return file


def flip(path: Path, offset: int, length: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        flipped = bytes(byte ^ 0xFF for byte in file.read(length))
        file.seek(offset)
        file.write(flipped)


def set_aside(directory: Path) -> list[Path]:
    return list(directory.glob("*.corrupt-*[0-9]"))


# -- damaged while no one looked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000], ids=["text", "header"]
)
def test_what_is_no_database_is_set_aside(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    leave(tmp_path, "a").write_bytes(content)
    counters = Counters()

    spool = open_spool(tmp_path, counters=counters)
    put(spool, "b")

    assert drain(spool) == ["b"]
    assert counters.total("set_aside", "damaged_file") == 1
    assert "is damaged; it is set aside" in caplog.text
    (aside,) = set_aside(tmp_path)
    assert aside.read_bytes() == content
    assert aside.stat().st_mode & 0o777 == 0o600
    spool.close()


def test_another_programs_database_is_set_aside(tmp_path: Path) -> None:
    file = leave(tmp_path, "a")
    file.unlink()
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE t (x)")
    file.chmod(0o600)
    assert drain_directory(tmp_path) == []
    assert len(set_aside(tmp_path)) == 1


def test_a_file_without_its_tables_is_set_aside(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(leave(tmp_path, "a"))) as other:
        other.execute("DROP TABLE dead")
    assert drain_directory(tmp_path) == ["a"]
    assert len(set_aside(tmp_path)) == 1


def test_what_can_be_read_of_a_truncated_file_is_kept(tmp_path: Path) -> None:
    file = leave(tmp_path, *NAMES)
    os.truncate(file, file.stat().st_size - 3 * 4096)

    found = drain_directory(tmp_path)

    assert 100 < len(found) < 200
    assert set(found) <= set(NAMES)
    assert len(set(found)) == len(found)


def test_what_can_be_read_around_a_damaged_page_is_kept(tmp_path: Path) -> None:
    file = leave(tmp_path, *NAMES)
    flip(file, file.stat().st_size // 2 // 4096 * 4096, 4096)

    found = drain_directory(tmp_path)

    assert set(found) < set(NAMES)
    assert {NAMES[0], NAMES[-1]} <= set(found)
    assert len(found) > 150


def test_a_flipped_bit_in_a_record_is_noticed_and_costs_only_that(tmp_path: Path) -> None:
    file = leave(tmp_path, *NAMES)
    flip(file, file.read_bytes().index(b"100...") + 50)
    counters = Counters()

    spool = open_spool(tmp_path, counters=counters)

    assert drain(spool) == NAMES[:100] + NAMES[101:]
    assert counters.total("dead_lettered", "checksum") == 1
    assert spool.dead_letters()[0].payload.startswith(b"100...")
    spool.close()


@pytest.mark.parametrize("offset", range(0, 100, 7))
def test_no_flipped_byte_in_the_header_stops_the_start(tmp_path: Path, offset: int) -> None:
    flip(leave(tmp_path, *NAMES[:5]), offset)
    with contextlib.closing(open_spool(tmp_path)) as spool:
        put(spool, "new")
        found = drain(spool)
    assert "new" in found
    assert set(found) <= {*NAMES[:5], "new"}


def test_an_empty_file_is_set_up_anew(tmp_path: Path) -> None:
    os.truncate(leave(tmp_path, "a"), 0)
    with contextlib.closing(open_spool(tmp_path)) as spool:
        put(spool, "b")
        assert spool.stats().files == 1
    assert drain_directory(tmp_path) == ["b"]


def test_a_large_damaged_orphan_is_left_to_the_delivering_thread(tmp_path: Path) -> None:
    large = [f"{n}".rjust(1_000_000, ".") for n in range(20)]
    file = leave(tmp_path, *large, precious=False)
    flip(file, 10 * 1_000_000, 8192)

    spool = open_spool(tmp_path)
    assert set_aside(tmp_path) == []
    found = drain(spool)

    assert 10 < len(found) < 20
    assert set(found) < set(large)
    spool.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = leave(tmp_path, "a")
    with contextlib.closing(sqlite3.connect(file)) as newer:
        newer.execute("PRAGMA user_version=2")
    before = file.read_bytes()
    counters = Counters()

    with contextlib.closing(open_spool(tmp_path, counters=counters)) as spool:
        put(spool, "b")
        assert drain(spool) == ["b"]

    assert counters.total("ignored", "newer_version") >= 1
    assert caplog.text.count("is left alone: format 2, this package knows up to 1") == 1
    assert file.read_bytes() == before


# -- damaged under our hands ----------------------------------------------------------------------------------------------


def damage_live(spool: Spool, directory: Path) -> None:
    """Overwrite the file, all but its first page, as a failing disk might."""
    spool.maintain()
    (file,) = directory.glob("*.spool")
    flip(file, 4096, file.stat().st_size - 4096)


def reopened(spool: Spool) -> None:
    """A fork makes the spool open its file anew, so that nothing is cached."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert spool.directory


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("who", ["put", "batch", "delivered", "bury", "maintain", "stats", "dead_letters"])
def test_damage_is_noticed_by_whoever_comes_first(tmp_path: Path, who: str) -> None:
    counters = Counters()
    spool = open_spool(tmp_path, counters=counters)
    put(spool, *NAMES)
    ids = spool.batch(Signal.LOGS, 1 << 20, 10).ids
    damage_live(spool, tmp_path)
    reopened(spool)
    actions: dict[str, Callable[[], object]] = {
        "put": lambda: put(spool, "new"),
        "batch": lambda: spool.batch(Signal.LOGS, 1000, 1000),
        "delivered": lambda: spool.delivered(ids),
        "bury": lambda: spool.bury(ids, "refused"),
        "maintain": spool.maintain,
        "stats": spool.stats,
        "dead_letters": spool.dead_letters,
    }
    actions[who]()

    put(spool, "newest")
    found = drain(spool)

    assert found[-1] == "newest"
    if who == "put":
        assert found[-2] == "new"
    settled = 10 if who == "delivered" else 0
    assert counters.total("set_aside", "damaged_file") == 1
    assert counters.total("lost", "damaged_file") == len(NAMES) - settled - len(set(found) & set(NAMES))
    spool.close()


# -- bits that SQLite misses -----------------------------------------------------------------------------------------------


def spoil(directory: Path, change: str) -> None:
    """What a flipped bit can do to a value, as SQL; the file stays a sound database."""
    (file,) = directory.glob("*.spool")
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute(change)
        other.commit()


BAD_VALUES = ["NULL", "7", "-1", "'text'", "CAST(X'FF41' AS TEXT)", "X'FF'", "9e999"]
DEAD_COLUMNS = ["lane", "at", "crc", "payload", "buried_at", "reason", "detail"]


@pytest.mark.parametrize("column", DEAD_COLUMNS)
@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_dead_letter_with_a_spoiled_column_stops_nothing(tmp_path: Path, column: str, value: str) -> None:
    counters = Counters()
    spool = open_spool(tmp_path, counters=counters, max_age_seconds=1e12)
    put(spool, "a", "b", "c")
    spool.bury(spool.batch(Signal.LOGS, 100, 3).ids, "refused", "400")
    spoil(tmp_path, f"UPDATE dead SET {column} = {value} WHERE payload = X'62'")  # noqa: S608 - values of this file
    reader = SpoolReader(tmp_path)

    spool.maintain()
    letters = spool.dead_letters(2)
    rest = spool.dead_letters(2, letters[-1].id)

    found = [letter.payload for letter in letters + rest]
    assert found[0] == b"a"
    assert found[-1] == b"c", "a page is as full as it can be, so that whoever pages gets past the damage"
    assert len(letters) == 2
    assert counters.total("ignored", "damaged_dead_letter") >= 3 - len(found)
    assert reader.dead_letters() == letters + rest
    assert reader.spoiled == 3 - len(found)
    assert spool.stats().dead_letters == 3
    assert reader.stats(0).dead_letters == 3
    assert spool.retry_dead([letters[0].id]) == 1
    assert spool.retry_dead() >= 1
    assert {"a", "c"} <= set(drain(spool))
    reader.purge_dead(None)
    spool.maintain()
    assert spool.stats().dead_letters == 0
    spool.close()


def test_a_dead_letter_of_no_lane_is_not_lost_when_it_is_retried(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    put(spool, "a", "b")
    spool.bury(spool.batch(Signal.LOGS, 100, 2).ids, "refused")
    spoil(tmp_path, "UPDATE dead SET lane = 99 WHERE payload = X'61'")
    assert spool.retry_dead() == 1
    assert spool.stats().dead_letters == 1
    assert spool.purge_dead() == 1
    assert drain(spool) == ["b"]
    spool.close()


@pytest.mark.parametrize("column", ["at", "crc", "payload"])
@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_record_with_a_spoiled_column_stops_nothing(tmp_path: Path, column: str, value: str) -> None:
    spool = open_spool(tmp_path)
    put(spool, "b", "a", "c")
    spoil(tmp_path, f"UPDATE precious_logs SET {column} = {value} WHERE payload = X'62'")  # noqa: S608 - values of this file

    spool.maintain()

    assert spool.stats().oldest_age_seconds is None or column != "at" or value in ("7", "-1", "9e999")
    reader = SpoolReader(tmp_path)
    assert reader.stats(0).records[Signal.LOGS] == spool.stats().records[Signal.LOGS]
    exported = list(reader.payloads(Signal.LOGS))
    assert exported[-2:] == [b"a", b"c"]
    assert drain(spool) == [payload.decode() for payload in exported], "what is exported is what would be delivered"
    spool.close()


def test_a_payload_that_became_text_is_still_the_same_bytes(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.put(Signal.LOGS, b"\xff\x00A", precious=True)
    spoil(tmp_path, "UPDATE precious_logs SET payload = CAST(payload AS TEXT)")
    assert spool.batch(Signal.LOGS, 100, 1).payloads == (b"\xff\x00A",)
    spool.close()


def test_salvage_keeps_what_has_lost_only_its_time(tmp_path: Path) -> None:
    leave(tmp_path, "a")
    spoil(tmp_path, "UPDATE precious_logs SET at = NULL")
    spoil(tmp_path, "DROP TABLE dead")
    assert drain_directory(tmp_path) == ["a"]


def test_ids_that_cannot_be_are_damage(tmp_path: Path) -> None:
    leave(tmp_path, "a", "b")
    spoil(tmp_path, "UPDATE precious_logs SET id = 9223372036854775807 WHERE payload = X'62'")
    with contextlib.closing(open_spool(tmp_path)) as spool:
        put(spool, "c")
        assert drain(spool) == ["a", "b", "c"]
    assert len(set_aside(tmp_path)) == 1


def test_what_is_stored_never_gets_into_a_message() -> None:
    error = sqlite3.OperationalError("Could not decode to UTF-8 column 'detail' with text 'something personal'")
    assert "personal" not in str(explain(error, "a.spool"))
    assert "Could not decode" in str(explain(error, "a.spool"))


# -- the directory goes away ----------------------------------------------------------------------------------------------


def test_a_directory_that_is_removed_is_made_anew(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    counters = Counters()
    spool = open_spool(directory, counters=counters)
    put(spool, "before")
    shutil.rmtree(directory)

    put(spool, "after")

    assert counters.total("set_aside", "file_removed") == 1
    assert len(list(directory.glob("*.spool"))) == 1
    assert drain(spool) == ["before", "after"], "what was removed can still be delivered by this process"
    spool.close()


def test_a_directory_that_cannot_be_made_anew_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    spool = open_spool(directory)
    shutil.rmtree(directory)
    directory.touch()
    with pytest.raises(SpoolUnavailable, match="is not a directory"):
        put(spool, "a")
    spool.maintain()
    directory.unlink()
    put(spool, "b")
    assert drain(spool) == ["b"]
    spool.close()


# -- disks that are full, or may not be written ---------------------------------------------------------------------------


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "512k") as disk:
        yield disk


def fill(spool: Spool) -> tuple[list[str], SpoolError]:
    stored: list[str] = []
    while True:
        name = f"{len(stored):04d}".ljust(500, ".")
        try:
            put(spool, name)
        except SpoolError as error:
            return stored, error
        stored.append(name)


def test_a_full_disk_is_told_and_harms_nothing(small_disk: Path) -> None:
    spool = open_spool(small_disk)
    (small_disk / "ballast").write_bytes(b"x" * 100_000)
    stored, error = fill(spool)
    assert isinstance(error, SpoolFull)
    assert "the disk is full" in str(error)
    with pytest.raises(SpoolFull):
        put(spool, "x" * 500)

    (small_disk / "ballast").unlink()
    spool.maintain()
    put(spool, "more")

    assert drain(spool) == [*stored, "more"]
    spool.close()


def test_what_was_delivered_while_the_disk_is_full_does_not_come_again(small_disk: Path) -> None:
    counters = Counters()
    spool = open_spool(small_disk, counters=counters)
    (small_disk / "ballast").write_bytes(b"x" * 100_000)
    stored, _ = fill(spool)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "rest").write_bytes(b"x" * free)
    batch = spool.batch(Signal.LOGS, 1 << 20, 10)
    with contextlib.suppress(SpoolFull):
        spool.delivered(batch.ids)

    assert spool.batch(Signal.LOGS, 1 << 20, 1).payloads[0].decode() == stored[10]
    spool.maintain()

    (small_disk / "ballast").unlink()
    (small_disk / "rest").unlink()
    spool.maintain()
    assert spool.stats().records[Signal.LOGS] == len(stored) - 10
    assert drain(spool) == stored[10:]
    spool.close()


def test_a_disk_without_any_room_is_told_at_set_up(small_disk: Path) -> None:
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(b"x" * free)
    with pytest.raises(SpoolError):
        open_spool(small_disk)
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_a_read_only_disk_is_told_at_set_up(small_disk: Path) -> None:
    leave(small_disk / "spool", "a")
    subprocess.run([*AS_ROOT, "mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SpoolUnavailable, match="Read-only file system"):
        open_spool(small_disk / "spool")
    with pytest.raises(SpoolUnavailable, match="Read-only file system"):
        open_spool(small_disk / "other")


# -- someone else at the file ---------------------------------------------------------------------------------------------


def test_a_file_that_another_process_keeps_locked_is_told(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    put(spool, "a")
    (file,) = tmp_path.glob("*.spool")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolUnavailable, match="database is locked"):
            put(spool, "b")
        with pytest.raises(SpoolUnavailable, match="database is locked"):
            spool.bury(spool.batch(Signal.LOGS, 100, 1).ids, "refused")
        other.execute("ROLLBACK")
    put(spool, "c")
    assert drain(spool) == ["a", "c"]
    spool.close()


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Nobody else can even read the file."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE logs SET at = at")
        yield


def test_an_orphan_that_cannot_be_opened_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = leave(tmp_path, "a")
    counters = Counters()
    with locked(file):
        spool = open_spool(tmp_path, counters=counters)
        put(spool, "b")
        assert drain(spool) == ["b"]
    assert counters.total("ignored", "unreadable_file") >= 1
    assert "database is locked" in caplog.text
    assert drain(spool) == ["a"]
    spool.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_one_file_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        put(stack.enter_context(contextlib.closing(open_spool(tmp_path))), "orphan")
        (file,) = tmp_path.glob("*.spool")
        spool = open_spool(tmp_path)
    spool.claim_orphans()
    put(spool, "own")
    reopened(spool)
    with locked(file):
        batch = spool.batch(Signal.LOGS, 100, 10)
        assert batch.payloads == (b"own",)
        spool.delivered(batch.ids)
        with pytest.raises(SpoolUnavailable, match="database is locked"):
            spool.batch(Signal.LOGS, 100, 10)
    assert drain(spool) == ["orphan"]
    spool.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_file_removed_while_it_was_closed_is_counted_as_lost(tmp_path: Path) -> None:
    counters = Counters()
    spool = open_spool(tmp_path / "spool", counters=counters)
    put(spool, "a", "b")
    reopened(spool)
    shutil.rmtree(tmp_path / "spool")

    with pytest.raises(SpoolUnavailable):
        spool.batch(Signal.LOGS, 100, 10)

    assert counters.total("lost", "file_removed") == 2
    put(spool, "c")
    assert drain(spool) == ["c"]
    spool.close()
