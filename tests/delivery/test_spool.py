from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.spool import Batch, Signal, Spool, steady_clock
from otel_llm_feedback.errors import ConfigurationError, InvalidField, SpoolUnavailable
from tests.delivery.spooling import Clock, drain, drain_directory, open_spool, put


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock, counters: Counters) -> Iterator[Spool]:
    with contextlib.closing(open_spool(tmp_path, clock=clock, counters=counters)) as opened:
        yield opened


def test_records_come_oldest_first_within_both_bounds(spool: Spool) -> None:
    put(spool, "aa", "bb", "cc", "dd")

    assert spool.batch(Signal.LOGS, 1000, 3).payloads == (b"aa", b"bb", b"cc")
    assert spool.batch(Signal.LOGS, 4, 100).payloads == (b"aa", b"bb")
    assert spool.batch(Signal.LOGS, 1, 100).payloads == (b"aa",), "one at least, however large"


def test_a_batch_tells_its_size_and_signal_but_not_what_people_said(spool: Spool) -> None:
    put(spool, "secret", signal=Signal.TRACES)

    batch = spool.batch(Signal.TRACES, 1000, 10)

    assert (batch.signal, batch.size, len(batch)) == (Signal.TRACES, 6, 1)
    assert "secret" not in repr(batch)
    assert spool.batch(Signal.LOGS, 1000, 10) == Batch(Signal.LOGS)
    assert not Batch(Signal.LOGS)


def test_a_batch_comes_again_until_it_is_settled(spool: Spool) -> None:
    put(spool, "a", "b", "c")
    first = spool.batch(Signal.LOGS, 1000, 2)
    assert spool.batch(Signal.LOGS, 1000, 2) == first

    spool.delivered(first.ids)
    spool.delivered(first.ids)

    assert drain(spool) == ["c"]


def test_precious_records_are_delivered_first(spool: Spool) -> None:
    put(spool, "log", precious=False)
    put(spool, "vote")

    assert drain(spool) == ["vote", "log"]


def test_some_of_a_batch_may_be_settled_in_any_order(spool: Spool) -> None:
    put(spool, *"abcdefg")
    ids = spool.batch(Signal.LOGS, 1000, 10).ids

    spool.delivered([ids[5], ids[0], ids[1], ids[3]])

    assert drain(spool) == ["c", "e", "g"]


def test_an_id_is_never_used_again(spool: Spool) -> None:
    put(spool, "a")
    ids = spool.batch(Signal.LOGS, 1000, 10).ids
    spool.delivered(ids)
    put(spool, "b")

    spool.delivered(ids)

    assert drain(spool) == ["b"]


def test_records_wait_for_the_next_process(tmp_path: Path) -> None:
    with contextlib.closing(open_spool(tmp_path)) as spool:
        put(spool, "a", "b")
        put(spool, "span", signal=Signal.TRACES, precious=False)

    with contextlib.closing(open_spool(tmp_path, fsync=True)) as spool:
        put(spool, "c")
        assert spool.stats().files == 1
        assert drain(spool) == ["a", "b", "c"]
        assert drain(spool, Signal.TRACES) == ["span"]
    assert list(tmp_path.iterdir()) == [], "nothing left, not even an empty file"


def test_two_spools_of_one_process_keep_apart(tmp_path: Path) -> None:
    with contextlib.closing(open_spool(tmp_path)) as one, contextlib.closing(open_spool(tmp_path)) as two:
        put(one, "one")
        put(two, "two")
        assert (one.claim_orphans(), two.claim_orphans()) == (0, 0)
        assert drain(one) == ["one"]
        assert drain(two) == ["two"]


def test_files_left_by_others_are_adopted_and_removed_when_drained(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for name in "abc":
            put(stack.enter_context(contextlib.closing(open_spool(tmp_path))), name)
        own = open_spool(tmp_path)
    put(own, "own")

    assert own.claim_orphans() == 3
    assert own.ready.is_set()
    assert own.stats().files == 4
    assert sorted(drain(own)) == ["a", "b", "c", "own"]
    assert own.stats().files == 1
    own.close()


def test_more_orphans_than_can_be_open_at_once_are_drained_in_turn(tmp_path: Path) -> None:
    names = [f"{n}" for n in range(12)]
    with contextlib.ExitStack() as stack:
        for name in names:
            put(stack.enter_context(contextlib.closing(open_spool(tmp_path))), name)
        own = open_spool(tmp_path)

    assert own.claim_orphans() == 8
    assert sorted(drain(own)) == sorted(names)
    own.close()


def test_ready_tells_of_every_put(spool: Spool) -> None:
    assert not spool.ready.is_set()
    put(spool, "a")
    assert spool.ready.is_set()


def test_threads_lose_nothing(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    found: list[str] = []
    writers = [threading.Thread(target=put, args=(spool, *(f"{who}-{n}" for n in range(300)))) for who in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found += drain(spool)
    found += drain(spool)
    spool.close()

    assert sorted(found) == sorted(f"{who}-{n}" for who in range(4) for n in range(300))


def test_stats(spool: Spool, clock: Clock) -> None:
    assert spool.stats().oldest_age_seconds is None
    put(spool, "12345")
    clock.now += 10
    put(spool, "1", signal=Signal.TRACES)
    put(spool, "bad")
    spool.bury(spool.batch(Signal.LOGS, 1000, 5).ids[1:], "refused")

    stats = spool.stats()

    assert stats.records == {Signal.LOGS: 1, Signal.TRACES: 1}
    assert stats.bytes == 5 + 1 + 2 * 32
    assert stats.oldest_age_seconds == 10
    assert (stats.dead_letters, stats.dead_bytes, stats.files) == (1, 3 + 32, 1)


def test_a_clock_that_went_back_makes_no_negative_age(spool: Spool, clock: Clock) -> None:
    put(spool, "a")
    clock.now -= 1000
    assert spool.stats().oldest_age_seconds == 0


def test_the_default_clock_starts_with_the_system_and_then_only_goes_forward() -> None:
    clock = steady_clock()
    assert abs(clock() - time.time()) < 60
    assert clock() <= clock()


def test_a_closed_spool_says_so(spool: Spool) -> None:
    put(spool, "a")
    spool.close()
    spool.close()

    with pytest.raises(SpoolUnavailable, match="is closed"):
        put(spool, "b")
    assert not spool.batch(Signal.LOGS, 1000, 10)
    assert spool.claim_orphans() == 0
    assert spool.stats().files == 0
    spool.maintain()


@pytest.mark.parametrize(
    "bound", [{"max_bytes": 0}, {"max_bytes": -1}, {"max_age_seconds": 0}, {"max_age_seconds": float("nan")}]
)
def test_bounds_must_be_positive(tmp_path: Path, bound: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(bound))):
        open_spool(tmp_path, **bound)


def test_dead_letters_keep_what_a_person_needs(spool: Spool, clock: Clock) -> None:
    put(spool, "poison")
    put(spool, "span", signal=Signal.TRACES, precious=False)
    clock.now += 5
    spool.bury(spool.batch(Signal.LOGS, 1000, 5).ids, "refused", "400 Bad Request")
    spool.bury(spool.batch(Signal.TRACES, 1000, 5).ids, "too_large")

    log, span = spool.dead_letters()

    assert dataclasses.asdict(log) == {
        "id": log.id,
        "signal": Signal.LOGS,
        "precious": True,
        "reason": "refused",
        "detail": "400 Bad Request",
        "payload": b"poison",
        "put_at": clock.now - 5,
        "buried_at": clock.now,
    }
    assert (span.signal, span.precious) == (Signal.TRACES, False)
    assert "poison" not in repr(log)
    assert drain(spool) == []


def test_dead_letters_are_counted_by_reason(spool: Spool, counters: Counters) -> None:
    put(spool, *"abc")
    ids = spool.batch(Signal.LOGS, 1000, 5).ids
    spool.bury(ids[:2], "refused")
    spool.bury(ids, "too_large")

    assert counters.snapshot() == {("dead_lettered", "refused"): 2, ("dead_lettered", "too_large"): 1}


def test_dead_letters_come_in_pages(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        for name in "ab":
            each = stack.enter_context(contextlib.closing(open_spool(tmp_path)))
            put(each, *(f"{name}{n}" for n in range(3)))
            each.bury(each.batch(Signal.LOGS, 1000, 2).ids, "refused")
        own = open_spool(tmp_path)
    own.claim_orphans()

    first = own.dead_letters(limit=3)
    rest = own.dead_letters(limit=3, after_id=first[-1].id)

    assert sorted(letter.payload for letter in first + rest) == [b"a0", b"a1", b"b0", b"b1"]
    assert [letter.id for letter in first + rest] == sorted(letter.id for letter in first + rest)
    own.close()


def test_dead_letters_get_another_try(spool: Spool) -> None:
    put(spool, *"abc")
    spool.bury(spool.batch(Signal.LOGS, 1000, 5).ids, "refused")
    spool.ready.clear()

    assert spool.retry_dead([spool.dead_letters()[1].id]) == 1
    assert spool.ready.is_set()
    assert drain(spool) == ["b"]
    assert spool.retry_dead() == 2
    assert spool.retry_dead() == 0
    assert drain(spool) == ["a", "c"]


def test_dead_letters_can_be_purged(spool: Spool) -> None:
    put(spool, *"abc")
    spool.bury(spool.batch(Signal.LOGS, 1000, 5).ids, "refused")

    assert spool.purge_dead([spool.dead_letters()[0].id, "elsewhere:1"]) == 1
    assert [letter.payload for letter in spool.dead_letters()] == [b"b", b"c"]
    assert spool.purge_dead() == 2
    assert spool.stats().dead_bytes == 0


@pytest.mark.parametrize("wrong", ["", "a", "a:", "a:b", ":1", "a:-1", "a:1" + "0" * 30, "a:²"])
def test_what_is_no_id_of_a_dead_letter_is_refused(spool: Spool, wrong: str) -> None:
    with pytest.raises(InvalidField, match="id="):
        spool.purge_dead([wrong])
    with pytest.raises(InvalidField, match="id="):
        spool.dead_letters(after_id=wrong)


def test_a_file_with_dead_letters_alone_needs_no_process(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(contextlib.closing(open_spool(tmp_path)))
        put(other, "poison")
        other.bury(other.batch(Signal.LOGS, 1000, 5).ids, "refused")
        own = open_spool(tmp_path)

    assert own.claim_orphans() == 0
    assert own.stats().files == 1
    own.close()
    with contextlib.closing(open_spool(tmp_path)) as spool:
        assert [letter.payload for letter in spool.dead_letters()] == [b"poison"]


def test_a_long_log_is_cut_although_nobody_maintains_the_spool(tmp_path: Path) -> None:
    with contextlib.closing(open_spool(tmp_path)) as spool:
        for _ in range(8192):
            spool.put(Signal.TRACES, b"x", precious=False)
        (log,) = tmp_path.glob("*-wal")
        assert log.stat().st_size < 1 << 20


def test_an_emptied_file_gives_the_disk_back(spool: Spool, tmp_path: Path) -> None:
    put(spool, *("x" * 100_000 for _ in range(60)))
    drain(spool)
    spool.maintain()
    spool.maintain()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 200_000


def test_deleted_records_leave_no_trace_on_the_disk(spool: Spool, tmp_path: Path) -> None:
    put(spool, "something personal", "another thing")
    spool.delivered(spool.batch(Signal.LOGS, 1000, 1).ids)
    spool.close()

    (file,) = tmp_path.glob("*.spool")
    assert b"something personal" not in file.read_bytes()
    assert drain_directory(tmp_path) == ["another thing"]


@hypothesis.given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from(list(Signal)), st.booleans()),
            st.tuples(st.just("deliver"), st.sampled_from(list(Signal)), st.integers(1, 3)),
            st.tuples(st.just("bury"), st.sampled_from(list(Signal)), st.integers(1, 3)),
            st.tuples(st.just("retry"), st.just(None), st.just(None)),
            st.tuples(st.just("maintain"), st.just(None), st.just(None)),
            st.tuples(st.just("reopen"), st.just(None), st.just(None)),
        ),
        max_size=40,
    )
)
@hypothesis.settings(max_examples=25)
def test_every_record_is_always_in_exactly_one_place(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Signal, int]]
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    spool = open_spool(directory)
    everything: set[bytes] = set()
    gone: list[bytes] = []
    for number, (step, signal, count) in enumerate(steps):
        if step == "put":
            everything.add(b"%d" % number)
            spool.put(signal, b"%d" % number, precious=bool(count))
        elif step == "deliver":
            batch = spool.batch(signal, 1000, count)
            spool.delivered(batch.ids)
            gone += batch.payloads
        elif step == "bury":
            spool.bury(spool.batch(signal, 1000, count).ids, "refused")
        elif step == "retry":
            spool.retry_dead()
        elif step == "maintain":
            spool.maintain()
        else:
            spool.close()
            spool = open_spool(directory)
        stats = spool.stats()
        assert sum(stats.records.values()) + stats.dead_letters + len(gone) == len(everything)
    dead = [letter.payload for letter in spool.dead_letters()]
    left = [name.encode() for signal in Signal for name in drain(spool, signal)]
    spool.close()

    assert sorted(gone + dead + left) == sorted(everything)
