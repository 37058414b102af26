from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_llm_feedback.delivery.reader import SpoolReader
from otel_llm_feedback.delivery.spool import Signal, Spool
from otel_llm_feedback.errors import InvalidField, SpoolUnavailable
from tests.delivery.spooling import Clock, drain, drain_directory, open_spool, put, running


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with contextlib.closing(open_spool(tmp_path, clock=Clock(1000.0))) as opened:
        yield opened


@pytest.fixture
def reader(tmp_path: Path) -> SpoolReader:
    return SpoolReader(tmp_path)


def bury(spool: Spool, *names: str) -> None:
    put(spool, *names)
    spool.bury(spool.batch(Signal.LOGS, 1 << 20, 100).ids, "refused", "400")


def test_a_live_spool_and_what_was_left_are_one(tmp_path: Path, reader: SpoolReader) -> None:
    with contextlib.ExitStack() as stack:
        left = stack.enter_context(contextlib.closing(open_spool(tmp_path, clock=Clock(900.0))))
        put(left, "a")
        live = open_spool(tmp_path, clock=Clock(1000.0))
    bury(live, "bad")
    put(live, "bb")
    put(live, "span", signal=Signal.TRACES, precious=False)

    stats = reader.stats(1010.0)

    assert stats.records == {Signal.LOGS: 2, Signal.TRACES: 1}
    assert stats.bytes == 1 + 2 + 4 + 3 * 32
    assert (stats.oldest_age_seconds, stats.dead_letters, stats.dead_bytes, stats.files) == (110, 1, 35, 2)
    assert sorted(reader.payloads(Signal.LOGS)) == [b"a", b"bb"]
    assert list(reader.payloads(Signal.TRACES)) == [b"span"]
    live.close()


def test_reading_changes_nothing(reader: SpoolReader, tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    put(spool, *(f"{n}" for n in range(600)))
    assert len(list(reader.payloads(Signal.LOGS))) == 600
    spool.maintain()
    put(spool, "more")
    spool.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.spool")}

    assert len(list(reader.payloads(Signal.LOGS))) == 601

    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.spool")} == before
    assert len(drain_directory(tmp_path)) == 601


def test_a_put_does_not_wait_for_a_slow_reader(spool: Spool, reader: SpoolReader) -> None:
    put(spool, *(f"{n}" for n in range(300)))
    slow = reader.payloads(Signal.LOGS)
    next(slow)
    put(spool, "new")
    assert len(drain(spool)) == 301
    assert next(slow), "it goes on with what it has read"


def test_dead_letters_of_a_live_spool_get_another_try(spool: Spool, reader: SpoolReader) -> None:
    bury(spool, "a", "b", "c")
    ids = [letter.id for letter in reader.dead_letters()]
    assert ids == [letter.id for letter in spool.dead_letters()]
    assert [letter.payload for letter in reader.dead_letters(1, ids[0])] == [b"b"]
    spool.ready.clear()

    assert reader.retry_dead(ids[1:2], 2000.0) == 1
    spool.maintain()

    assert spool.ready.is_set(), "the owner notices"
    assert spool.stats().dead_letters == 2
    assert drain(spool) == ["b"]


def test_a_retry_while_its_neighbours_are_being_sent_loses_nothing(spool: Spool, reader: SpoolReader) -> None:
    put(spool, "a", "b", "c")
    spool.bury(spool.batch(Signal.LOGS, 100, 3).ids[1:2], "refused")
    sending = spool.batch(Signal.LOGS, 100, 3)
    reader.retry_dead(None, 2000.0)

    spool.delivered(sending.ids)
    spool.maintain()

    assert drain(spool) == ["b"]


def test_dead_letters_can_be_purged(spool: Spool, reader: SpoolReader) -> None:
    bury(spool, "a", "b", "c")
    assert reader.purge_dead([reader.dead_letters()[0].id, "elsewhere:1"]) == 1
    assert reader.purge_dead(None) == 2
    spool.maintain()
    assert spool.stats().dead_letters == 0


def test_a_wrong_id_is_refused(reader: SpoolReader) -> None:
    with pytest.raises(InvalidField, match="use an id that the list"):
        reader.purge_dead(["nonsense"])


def test_what_another_process_writes_can_be_read(tmp_path: Path, reader: SpoolReader) -> None:
    with running("writer", "put_for_ever", tmp_path, "w") as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        assert len(list(reader.payloads(Signal.LOGS))) >= 20
        assert reader.stats(0).records[Signal.LOGS] >= 20
    assert len(list(reader.payloads(Signal.LOGS))) >= 20, "left by a kill"
    assert len(drain_directory(tmp_path)) >= 20


def test_a_fast_writer_does_not_keep_a_reader_for_ever(spool: Spool, reader: SpoolReader) -> None:
    put(spool, *(f"{n}" for n in range(300)))
    reading = reader.payloads(Signal.LOGS)
    found = [next(reading)]
    for payload in reading:
        found.append(payload)
        put(spool, "more", "and more")
    assert [payload.decode() for payload in found] == [f"{n}" for n in range(300)]


def test_a_spoiled_record_is_not_handed_out(spool: Spool, reader: SpoolReader, tmp_path: Path) -> None:
    put(spool, "a", "b", "c")
    (file,) = tmp_path.glob("*.spool")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("UPDATE precious_logs SET payload = X'00' WHERE payload = X'62'")
    assert list(reader.payloads(Signal.LOGS)) == [b"a", b"c"]
    assert reader.spoiled == 1


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE traces",
        "DROP TABLE dead",
        "ALTER TABLE precious_logs RENAME COLUMN payload TO other",
        "ALTER TABLE precious_logs ADD COLUMN more",
    ],
)
def test_one_file_with_other_tables_does_not_hide_the_others(tmp_path: Path, change: str) -> None:
    with contextlib.ExitStack() as stack:
        bury(stack.enter_context(contextlib.closing(open_spool(tmp_path))), "poison")
        (file,) = tmp_path.glob("*.spool")
        spool = open_spool(tmp_path)
    put(spool, "a")
    bury(spool, "b")
    put(spool, "a")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute(change)
    reader = SpoolReader(tmp_path)

    assert reader.stats(0).records[Signal.LOGS] == 1
    assert list(reader.payloads(Signal.LOGS)) == [b"a"]
    assert b"b" in [letter.payload for letter in reader.dead_letters()]
    assert reader.retry_dead(None, 0.0) >= 1
    spool.close()


def test_a_directory_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9?#%"))
    with contextlib.closing(open_spool(directory)) as spool:
        put(spool, "a")
        assert list(SpoolReader(directory).payloads(Signal.LOGS)) == [b"a"]
        assert drain(spool) == ["a"]


def anywhere(directory: Path, words: bytes) -> bool:
    return any(words in path.read_bytes() for path in directory.iterdir())


def test_what_was_purged_is_soon_nowhere_on_the_disk(spool: Spool, reader: SpoolReader, tmp_path: Path) -> None:
    bury(spool, "something personal", "another thing")
    assert anywhere(tmp_path, b"something personal")

    reader.purge_dead([reader.dead_letters()[0].id])
    spool.maintain()
    assert not anywhere(tmp_path, b"something personal")

    spool.purge_dead()
    spool.maintain()
    assert not anywhere(tmp_path, b"another thing")


def test_a_purge_while_someone_reads_is_finished_later(spool: Spool, tmp_path: Path) -> None:
    bury(spool, "something personal")
    (file,) = tmp_path.glob("*.spool")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM dead").fetchone()
        spool.purge_dead()
        spool.maintain()
        assert anywhere(tmp_path, b"something personal")
        other.execute("ROLLBACK")
        spool.maintain()
    assert not anywhere(tmp_path, b"something personal")


def test_the_cut_of_a_long_log_does_not_pass_for_a_change_by_others(spool: Spool, tmp_path: Path) -> None:
    put(spool, *("x" * 10_000 for _ in range(600)))
    spool.ready.clear()
    spool.maintain()
    (log,) = tmp_path.glob("*-wal")
    assert log.stat().st_size == 0
    spool.maintain()
    assert not spool.ready.is_set()


def test_files_that_are_not_ours_to_read_are_passed_over(tmp_path: Path, reader: SpoolReader, spool: Spool) -> None:
    put(spool, "a")
    (tmp_path / "junk.spool").write_bytes(b"junk" * 1000)
    (tmp_path / "gone.lock").touch()
    with contextlib.closing(sqlite3.connect(tmp_path / "new.spool")) as newer:
        newer.execute("PRAGMA user_version=7")

    assert reader.stats(0).files == 1
    assert list(reader.payloads(Signal.LOGS)) == [b"a"]
    assert reader.dead_letters() == []


def test_a_locked_file_is_told(spool: Spool, reader: SpoolReader, tmp_path: Path) -> None:
    bury(spool, "a")
    (file,) = tmp_path.glob("*.spool")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolUnavailable, match="database is locked"):
            reader.purge_dead(None)
    assert reader.purge_dead(None) == 1


def test_a_spool_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnavailable, match="No such file"):
        SpoolReader(tmp_path / "nowhere").stats(0)
    assert not os.path.exists(tmp_path / "nowhere")
