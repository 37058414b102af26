"""Processes that are killed, for real, at each step of a put and of a delivery."""

from __future__ import annotations

import collections
import contextlib
from pathlib import Path

import pytest

from otel_llm_feedback.delivery.spool import Signal
from tests.delivery.spooling import drain, drain_directory, kill, lines_until, open_spool, put, running

THREE = ["a-0", "a-1", "a-2"]


@pytest.mark.parametrize("stage", ["stop_inside_put", "stop_after_put"])
def test_what_put_has_taken_survives_a_kill(tmp_path: Path, stage: str) -> None:
    with running("writer", stage, tmp_path) as process:
        said = lines_until(process, "inside")
        kill(process)

    assert said == THREE
    assert drain_directory(tmp_path) == THREE
    assert drain_directory(tmp_path) == []


def test_kills_at_any_moment_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    for round_number in range(12):
        with running("writer", "put_for_ever", tmp_path, round_number) as process:
            said += lines_until(process, f"{round_number}-{20 + 37 * round_number}")
            said.append(f"{round_number}-{20 + 37 * round_number}")
            said += kill(process)

    found = collections.Counter(drain_directory(tmp_path))

    assert set(said) <= set(found)
    assert set(found.values()) == {1}
    # The last put of a round may be on disk although the process died before it could say so.
    assert len(found) - len(said) <= 12


@pytest.mark.parametrize(
    ("stage", "last"), [("stop_between_batch_and_delivered", "holding 3"), ("stop_after_claim", "claimed 3")]
)
def test_what_was_not_acknowledged_comes_again(tmp_path: Path, stage: str, last: str) -> None:
    with contextlib.closing(open_spool(tmp_path)) as spool:
        put(spool, *THREE)
    with running("writer", stage, tmp_path) as process:
        lines_until(process, last)
        kill(process)

    assert drain_directory(tmp_path) == THREE


def test_what_was_delivered_does_not_come_again(tmp_path: Path) -> None:
    with contextlib.closing(open_spool(tmp_path)) as spool:
        put(spool, *THREE)
    with running("writer", "stop_after_delivered", tmp_path) as process:
        delivered = lines_until(process, "inside")
        kill(process)

    assert delivered == THREE[:2]
    assert drain_directory(tmp_path) == THREE[2:]


def test_a_kill_while_a_large_orphan_is_drained(tmp_path: Path) -> None:
    """An orphan too large to write on is adopted beside the own file, and stays where it is when its adopter dies."""
    names = [f"{n}".rjust(100_000, ".") for n in range(180)]
    with contextlib.closing(open_spool(tmp_path, max_bytes=1 << 30)) as spool:
        put(spool, *names)
    with running("writer", "stop_after_delivered", tmp_path) as process:
        delivered = lines_until(process, "inside")
        kill(process)

    assert delivered == names[:2]
    assert drain_directory(tmp_path) == names[2:]


def test_a_kill_between_eviction_and_put(tmp_path: Path) -> None:
    with running("writer", "stop_inside_eviction", tmp_path) as process:
        said = lines_until(process, "counting evicted")
        kill(process)

    assert said == ["0", "1", "2", "3"]
    assert [name.strip("x") for name in drain_directory(tmp_path)] == ["1", "2", "3"]


def test_a_kill_right_after_a_burial(tmp_path: Path) -> None:
    with contextlib.closing(open_spool(tmp_path)) as spool:
        put(spool, *THREE)
    with running("writer", "stop_inside_bury", tmp_path) as process:
        lines_until(process, "counting dead_lettered")
        kill(process)

    with contextlib.closing(open_spool(tmp_path)) as spool:
        assert [letter.payload for letter in spool.dead_letters()] == [b"a-0"]
        assert drain(spool) == THREE[1:]


def test_two_processes_never_get_the_same_orphan(tmp_path: Path) -> None:
    names = [f"{who}-{n}" for who in range(6) for n in range(50)]
    writers = [contextlib.ExitStack() for _ in range(6)]
    for who, stack in enumerate(writers):
        with stack:
            process = stack.enter_context(running("writer", "put_and_exit", tmp_path, who, 50))
            lines_until(process, "done")
    with running("writer", "race_for_orphans", tmp_path) as one, running("writer", "race_for_orphans", tmp_path) as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = lines_until(one, "done") + lines_until(two, "done")

    assert sorted(found + drain_directory(tmp_path)) == sorted(names)


def test_four_processes_put_while_a_fifth_drains(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        drainer = stack.enter_context(contextlib.closing(open_spool(tmp_path)))
        processes = [stack.enter_context(running("writer", "put_and_exit", tmp_path, who, 500)) for who in range(4)]
        found: list[str] = []
        while any(process.poll() is None for process in processes):
            found += drain(drainer)
        found += drain(drainer)

    assert sorted(found) == sorted(f"{who}-{n}" for who in range(4) for n in range(500))
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_keeps_crashing_leaves_one_file(tmp_path: Path) -> None:
    for who in range(4):
        with running("writer", "put_and_exit", tmp_path, who, 5) as process:
            lines_until(process, "done")

    assert len(list(tmp_path.glob("*.spool"))) == 1
    with contextlib.closing(open_spool(tmp_path)) as spool:
        assert spool.stats().records[Signal.LOGS] == 20
