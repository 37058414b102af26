from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.spool import Signal, Spool
from otel_llm_feedback.errors import SpoolFull
from tests.delivery.spooling import Clock, drain, open_spool, put

RECORD = 100
"""Bytes of every record here, 32 of overhead included."""


def put_filled(spool: Spool, *names: str, signal: Signal = Signal.LOGS, precious: bool = True) -> None:
    put(spool, *(name.ljust(RECORD - 32, ".") for name in names), signal=signal, precious=precious)


def names(spool: Spool, signal: Signal = Signal.LOGS) -> list[str]:
    return [name.strip(".") for name in drain(spool, signal)]


def test_spans_give_way_first_then_other_logs_then_votes(tmp_path: Path) -> None:
    counters = Counters()
    spool = open_spool(tmp_path, max_bytes=6 * RECORD, counters=counters)
    put_filled(spool, "vote1", "vote2")
    put_filled(spool, "log1", "log2", precious=False)
    put_filled(spool, "span1", "span2", precious=False, signal=Signal.TRACES)

    put_filled(spool, "vote3", "vote4", "vote5", "vote6", "vote7")

    assert counters.total("evicted", "spool_full") == 5
    assert names(spool, Signal.TRACES) == []
    assert names(spool) == ["vote2", "vote3", "vote4", "vote5", "vote6", "vote7"]
    spool.close()


def test_the_oldest_of_a_kind_give_way_first(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=3 * RECORD)
    put_filled(spool, *"abcdef", precious=False)
    assert names(spool) == ["d", "e", "f"]
    spool.close()


def test_what_is_not_precious_never_pushes_out_a_vote(tmp_path: Path) -> None:
    counters = Counters()
    spool = open_spool(tmp_path, max_bytes=3 * RECORD, counters=counters)
    put_filled(spool, "vote1", "vote2")
    put_filled(spool, "span1", precious=False, signal=Signal.TRACES)
    put_filled(spool, "span2", precious=False, signal=Signal.TRACES)
    put_filled(spool, "vote3")

    with pytest.raises(SpoolFull, match="raise max_bytes"):
        put_filled(spool, "span3", precious=False, signal=Signal.TRACES)

    assert counters.total("evicted") == 2
    assert names(spool) == ["vote1", "vote2", "vote3"]
    spool.close()


def test_a_record_larger_than_the_spool_costs_the_others_nothing(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=3 * RECORD)
    put_filled(spool, "a")
    with pytest.raises(SpoolFull, match="no room for"):
        put(spool, "x" * 300)
    assert names(spool) == ["a"]
    spool.close()


def test_adopted_records_count_and_give_way_before_newer_ones(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        put_filled(stack.enter_context(contextlib.closing(open_spool(tmp_path))), "old1", "old2")
        spool = open_spool(tmp_path, max_bytes=3 * RECORD)
    spool.claim_orphans()
    put_filled(spool, "new1", "new2")

    assert spool.stats().bytes == 3 * RECORD
    assert names(spool) == ["old2", "new1", "new2"]
    spool.close()


def test_room_for_one_large_record_may_cost_many_small_ones(tmp_path: Path) -> None:
    counters = Counters()
    spool = open_spool(tmp_path, max_bytes=1000 * 33, counters=counters)
    for _ in range(1000):
        put(spool, "s", precious=False)
    put(spool, "L" * (900 * 33 - 32))
    assert counters.total("evicted") == 900
    assert spool.stats().bytes == 1000 * 33
    spool.close()


def test_records_expire_by_age(tmp_path: Path) -> None:
    clock, counters = Clock(), Counters()
    spool = open_spool(tmp_path, clock=clock, counters=counters, max_age_seconds=100)
    put(spool, *(f"old{n}" for n in range(600)))
    clock.now += 60
    put(spool, "new")
    clock.now += 60

    spool.maintain()

    assert counters.total("expired", "max_age") == 600
    assert drain(spool) == ["new"]
    spool.close()


def test_dead_letters_expire_by_the_time_of_their_death(tmp_path: Path) -> None:
    clock, counters = Clock(), Counters()
    spool = open_spool(tmp_path, clock=clock, counters=counters, max_age_seconds=100)
    put(spool, "a", "b")
    clock.now += 90
    spool.bury(spool.batch(Signal.LOGS, 1000, 1).ids, "refused")
    clock.now += 90
    spool.maintain()
    assert spool.stats().dead_letters == 1

    clock.now += 90
    spool.maintain()

    assert spool.stats().dead_letters == 0
    assert counters.total("expired", "dead_letter_max_age") == 1
    spool.close()


def test_dead_letters_of_a_dead_process_expire_too(tmp_path: Path) -> None:
    clock, counters = Clock(), Counters()
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(contextlib.closing(open_spool(tmp_path, clock=clock)))
        put(other, "poison")
        other.bury(other.batch(Signal.LOGS, 1000, 1).ids, "refused")
        spool = open_spool(tmp_path, clock=clock, counters=counters, max_age_seconds=100)
    clock.now += 101

    spool.claim_orphans()

    assert counters.total("expired", "dead_letter_max_age") == 1
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_dead_letters_are_bounded_in_number(tmp_path: Path) -> None:
    counters = Counters()
    spool = open_spool(tmp_path, max_dead_letters=3, counters=counters)
    put(spool, *"abcde")
    spool.bury(spool.batch(Signal.LOGS, 1000, 10).ids, "refused")
    assert [letter.payload for letter in spool.dead_letters()] == [b"c", b"d", b"e"]
    assert counters.total("evicted", "dead_letters_full") == 2
    spool.close()


def test_dead_letters_are_bounded_in_bytes(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_bytes=20 * RECORD)
    put_filled(spool, *"abcde")
    spool.bury(spool.batch(Signal.LOGS, 10_000, 10).ids, "refused")
    assert spool.stats().dead_bytes == 2 * RECORD, "a tenth"
    spool.close()


def test_files_set_aside_expire(tmp_path: Path) -> None:
    spool = open_spool(tmp_path, max_age_seconds=100)
    old, new = (tmp_path / f"{name}.spool.corrupt-1" for name in "ab")
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (1, 1))

    spool.maintain()

    assert [path.exists() for path in (old, new)] == [False, True]
    spool.close()
