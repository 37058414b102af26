from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
from pathlib import Path

import pytest

from otel_llm_feedback.delivery.reader import SpoolReader
from otel_llm_feedback.delivery.spool import Signal
from tests.cli.spools import SECRET, Command, left_spool, run, spool_with, start
from tests.delivery.delivering import open_spool


def ids(directory: Path) -> list[str]:
    return [letter.id for letter in SpoolReader(directory).dead_letters(100_000)]


def test_list_shows_everything_but_what_is_in_them(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, dead=2, detail=f"cannot take {SECRET}")
    [first, second] = command("dead-letters", "list", "--dir", tmp_path, "--json").lines
    [letter, _] = SpoolReader(tmp_path).dead_letters()
    assert first.pop("put_at") <= first.pop("buried_at")
    assert first == {
        "id": letter.id,
        "signal": "logs",
        "precious": True,
        "bytes": len(letter.payload),
        "reason": "http_400",
    }
    ran = command("dead-letters", "list", "--dir", tmp_path)
    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == [letter.id, second["id"]]
    assert SECRET not in ran.out


def test_what_the_server_said_is_shown_on_demand(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, dead=1, detail="no \x1b[2J\nthanks")
    assert command("dead-letters", "list", "--dir", tmp_path, "--detail").out.endswith("  no \\x1b[2J\\nthanks\n")
    [letter] = command("dead-letters", "list", "--dir", tmp_path, "--detail", "--json").lines
    assert letter["detail"] == "no \x1b[2J\nthanks"


def test_many_are_listed(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, dead=10_000)
    shown = [line["id"] for line in command("dead-letters", "list", "--dir", tmp_path, "--json").lines]
    assert shown == ids(tmp_path)
    assert len(set(shown)) == 10_000


@pytest.mark.parametrize("action", [["list"], ["retry", "--all"], ["purge", "--all"], ["retry", "a:1"]], ids=" ".join)
def test_nothing_to_do_is_1(command: Command, tmp_path: Path, action: list[str]) -> None:
    left_spool(tmp_path, votes=1)
    assert command("dead-letters", *action, "--dir", tmp_path).code == 1


@pytest.mark.parametrize(("action", "left"), [("retry", 3), ("purge", 0)])
def test_some_or_all_of_a_spool_in_use(command: Command, tmp_path: Path, action: str, left: int) -> None:
    with spool_with(tmp_path, dead=3) as spool:
        first, *_ = ids(tmp_path)
        ran = command("dead-letters", action, "--dir", tmp_path, "--json", first, first)
        assert ran.code == 0
        assert ran.json == {
            "directory": str(tmp_path),
            {"retry": "retried", "purge": "purged"}[action]: 1,
            "missing": 0,
        }
        ran = command("dead-letters", action, "--dir", tmp_path, "--all")
        assert ran.code == 0
        assert "ed 2 dead letters of " in ran.out
        spool.maintain()
        assert spool.stats().dead_letters == 0
        assert len(spool.batch(Signal.LOGS, 1 << 20, 10)) == left


def test_what_was_purged_is_gone_from_the_disk(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, dead=500)
    assert command("dead-letters", "purge", "--all", "--dir", tmp_path).code == 0
    assert [path.name for path in tmp_path.iterdir() if SECRET.encode() in path.read_bytes()] == []


def test_some_are_not_there(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, dead=2)
    ran = command("dead-letters", "retry", "--dir", tmp_path, *ids(tmp_path), "elsewhere:1")
    assert (ran.code, ran.out) == (1, f"retried 2 dead letters of {tmp_path}; 1 are not there\n")


def test_a_wrong_id_changes_nothing(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, dead=250)
    ran = command("dead-letters", "purge", "--dir", tmp_path, *ids(tmp_path), "zzz")
    assert ran.code == 2
    assert ran.err == "otel-llm-feedback: id='zzz': use an id that the list of dead letters shows\n"
    assert len(ids(tmp_path)) == 250


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "one of the arguments ID --all is required"),
        (["--all", "a:1"], "argument ID: not allowed with argument --all"),
        (["a:1", "--all"], "argument --all: not allowed with argument ID"),
    ],
)
@pytest.mark.parametrize("action", ["retry", "purge"])
def test_which_ones_must_be_clear(command: Command, action: str, arguments: list[str], problem: str) -> None:
    ran = command("dead-letters", action, *arguments)
    assert ran.code == 2
    assert ran.err == f"otel-llm-feedback: {problem}: see otel-llm-feedback spool dead-letters {action} --help\n"


def test_a_retry_ends_even_if_all_are_refused_again(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, dead=1000)
    with (
        contextlib.closing(open_spool(tmp_path)) as spool,
        start(["dead-letters", "retry", "--all", "--dir", tmp_path]) as it,
    ):
        while it.poll() is None:
            spool.maintain()
            spool.bury(spool.batch(Signal.LOGS, 1 << 20, 500).ids, "http_400")
        assert it.returncode == 0
        spool.maintain()
        spool.bury(spool.batch(Signal.LOGS, 1 << 20, 2000).ids, "http_400")
    assert len(ids(tmp_path)) == 1000


def test_a_retry_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    left_spool(tmp_path, dead=3000)
    with start(["dead-letters", "retry", "--all", "--progress", "--dir", tmp_path]) as retrying:
        assert retrying.stderr is not None
        assert retrying.stderr.readline() == "retried 100 of 3,000\n"
        retrying.kill()
    stats = SpoolReader(tmp_path).stats(0)
    assert stats.records[Signal.LOGS] >= 100
    assert stats.dead_letters > 0, "it was killed too late to show anything"
    assert stats.records[Signal.LOGS] + stats.dead_letters == 3000


def test_an_interrupted_retry_says_how_far_it_came(tmp_path: Path) -> None:
    left_spool(tmp_path, dead=5000)
    with start(["dead-letters", "retry", "--all", "--progress", "--json", "--dir", tmp_path]) as retrying:
        assert retrying.stderr is not None
        assert retrying.stdout is not None
        retrying.stderr.readline()
        retrying.send_signal(signal.SIGINT)
        out, err = retrying.communicate(timeout=20)
    assert retrying.returncode == 130
    assert err.splitlines()[-1] == "otel-llm-feedback: interrupted"
    assert "Traceback" not in err
    retried = json.loads(out)["retried"]
    assert 5000 > retried == SpoolReader(tmp_path).stats(0).records[Signal.LOGS]


def test_a_file_that_is_locked_is_told(command: Command, tmp_path: Path) -> None:
    file = left_spool(tmp_path, dead=1)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ran = command("dead-letters", "purge", "--all", "--dir", tmp_path)
    assert ran.code == 2
    assert ran.out == f"purged 0 dead letters of {tmp_path}\n"
    assert "database is locked" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert run(["dead-letters", "purge", "--all", "--dir", tmp_path]).code == 0
