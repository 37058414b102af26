from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from random import Random

import pytest

from otel_llm_feedback.delivery import tables
from otel_llm_feedback.delivery.spool import Signal
from tests.cli.spools import SECRET, Command, left_spool, run, spool_with
from tests.delivery.delivering import open_spool


def user_version(path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={version}")


def spoil_inside(path: Path) -> None:
    """Pages of records, not those with the file's header and its schema."""
    content = bytearray(path.read_bytes())
    content[10 * 4096 : 20 * 4096] = b"\xa5" * (10 * 4096)
    path.write_bytes(content)


def test_a_spool_in_use(command: Command, tmp_path: Path) -> None:
    with spool_with(tmp_path, votes=3, dead=2) as spool:
        spool.put(Signal.TRACES, b"1234", precious=False)
        ran = command("status", "--dir", tmp_path, "--json")
        stats = spool.stats()

    assert ran.code == 0
    assert ran.err == ""
    age = ran.json.pop("oldest_age_seconds")
    assert ran.json | {"oldest_age_seconds": age} == {
        "directory": str(tmp_path),
        "logs": 3,
        "traces": 1,
        "bytes": stats.bytes,
        "oldest_age_seconds": age,
        "dead_letters": 2,
        "dead_letter_bytes": stats.dead_bytes,
        "files": 1,
        "files_newer": 0,
        "files_damaged": 0,
        "files_set_aside": 0,
    }
    assert 0 <= age < 60


def test_it_can_be_read_by_people(command: Command, tmp_path: Path) -> None:
    left_spool(tmp_path, votes=1234, dead=1)
    ran = command("status", "--dir", tmp_path)
    assert ran.code == 0
    words = [line.split() for line in ran.out.splitlines()]
    assert ["logs", "1,234"] in words
    assert ["dead", "letters", "1"] in words
    assert any(word[:2] == ["oldest", "0:00:00"] or word[0] == "oldest" for word in words)
    assert SECRET not in ran.out


def test_an_empty_spool_is_fine(command: Command, tmp_path: Path) -> None:
    ran = command("status", "--dir", tmp_path)
    assert ran.code == 0
    assert ["oldest", "none"] in [line.split() for line in ran.out.splitlines()]
    assert os.listdir(tmp_path) == []


def test_files_that_cannot_be_read_are_told(command: Command, tmp_path: Path) -> None:
    file = left_spool(tmp_path, votes=2)
    (tmp_path / "junk.spool").write_bytes(b"junk" * 4096)
    (tmp_path / "empty.spool").touch()
    (tmp_path / "stale.lock").touch()
    for name in ("old.spool.corrupt-17", "old.spool.corrupt-17-wal"):
        (tmp_path / name).touch()
    newer, foreign = tmp_path / "newer.spool", tmp_path / "foreign.spool"
    newer.write_bytes(file.read_bytes())
    user_version(newer, 99)
    with contextlib.closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE theirs (x)")

    ran = command("status", "--dir", tmp_path, "--json")

    assert ran.code == 1
    assert (ran.json["logs"], ran.json["files"]) == (2, 1)
    assert (ran.json["files_newer"], ran.json["files_damaged"], ran.json["files_set_aside"]) == (1, 2, 1)
    assert "newer version, not read: 1: upgrade" in ran.err
    assert "damaged files, not read in full: 2:" in ran.err
    assert len(ran.err.splitlines()) == 2


def test_damage_inside_a_file_is_told(command: Command, tmp_path: Path) -> None:
    file = left_spool(tmp_path, votes=2000)
    spoil_inside(file)
    ran = command("status", "--dir", tmp_path, "--json")
    assert (ran.code, ran.json["files"], ran.json["files_damaged"]) == (1, 0, 1)
    left_spool(tmp_path / "other", dead=1).rename(tmp_path / "sound.spool")
    ran = command("status", "--dir", tmp_path, "--json")
    assert (ran.code, ran.json["files"], ran.json["files_damaged"]) == (1, 1, 1)
    os.unlink(tmp_path / "sound.spool")
    for action in (["export"], ["dead-letters", "list"], ["dead-letters", "retry", "--all"]):
        ran = command(*action, "--dir", tmp_path)
        assert ran.code == 1, action
        assert "damaged files, not read in full: 1" in ran.err


EVERYTHING = (
    ["status"],
    ["dead-letters", "list", "--detail"],
    ["export", "--include-dead"],
    ["dead-letters", "retry", "--all"],
)


def test_a_file_without_tables_is_told(command: Command, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.spool")) as connection:
        connection.execute(f"PRAGMA application_id={tables.APPLICATION}")
        connection.execute(f"PRAGMA user_version={tables.VERSION}")
    ran = command("status", "--dir", tmp_path)
    assert ran.code in {1, 2}
    assert len(ran.err.splitlines()) == 1


def test_no_flipped_bit_makes_a_traceback(command: Command, tmp_path: Path) -> None:
    random = Random(5)
    file = left_spool(tmp_path, votes=60, dead=60)
    sound = file.read_bytes()
    codes = set()
    for _ in range(60):
        content = bytearray(sound)
        for _ in range(random.randint(1, 4)):
            content[random.randrange(len(content))] ^= random.randint(1, 255)
        for path in tmp_path.iterdir():
            path.unlink()
        file.write_bytes(content[: random.choice([len(content), random.randrange(len(content))])])
        for action in EVERYTHING:
            ran = command(*action, "--dir", tmp_path)
            codes.add(ran.code)
            assert len(ran.err.splitlines()) <= 2, "that of the survey, and that of the end"
    assert codes <= {0, 1, 2}
    assert codes >= {0, 1}


@pytest.mark.parametrize(
    ("damage", "worst"),
    [
        ("UPDATE dead SET lane = 9", 1),
        ("UPDATE dead SET lane = NULL", 1),
        ("UPDATE dead SET payload = 5", 1),
        ("UPDATE dead SET at = 1e300", 2),
        ("UPDATE dead SET reason = CAST(x'ff' || 'the-comment' AS TEXT)", 0),
        ("UPDATE precious_logs SET at = -1e300", 2),
        ("UPDATE precious_logs SET at = 'the-comment'", 0),
        ("UPDATE precious_logs SET payload = CAST(x'ff' || 'the-comment' AS TEXT)", 1),
    ],
)
def test_values_of_another_kind_are_damage(command: Command, tmp_path: Path, damage: str, worst: int) -> None:
    file = left_spool(tmp_path, votes=1, dead=1)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(damage)
    problems = []
    codes = []
    for action in (["status"], ["dead-letters", "list"], ["export", "--include-dead", "--output", tmp_path / "out"]):
        ran = command(*action, "--dir", tmp_path)
        codes.append(ran.code)
        problems += [ran.err] if ran.code == 2 else []
        assert SECRET not in ran.out + ran.err
    assert max(codes) == worst, "somebody must have noticed, and nobody more than that one record"
    for problem in problems:
        assert problem.endswith("without --include-dead, or move the file away\n")
        assert "a file in it has damaged values" in problem


def test_the_directory_of_the_environment(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_spool(tmp_path / "named", votes=1)
    monkeypatch.setenv("OTEL_LLM_FEEDBACK_SPOOL_DIR", str(tmp_path / "named"))
    assert command("status", "--json").json["logs"] == 1
    assert command("status", "--json", "--service", "chat").json["logs"] == 1, (
        "that service's directory is this one too"
    )
    (tmp_path / "given").mkdir()
    assert command("status", "--json", "--dir", tmp_path / "given").json["logs"] == 0


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--service", "chat"], {"OTEL_SERVICE_NAME": "other"}),
        ([], {"OTEL_SERVICE_NAME": "chat"}),
        ([], {"OTEL_RESOURCE_ATTRIBUTES": "service.name=chat"}),
    ],
)
def test_the_directory_of_a_service(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
) -> None:
    left_spool(tmp_path / "otel-llm-feedback" / "chat", votes=4)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert command("status", "--json", *arguments).json["logs"] == 4


def test_without_a_home(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    ran = command("status")
    assert ran.code == 2
    assert "OTEL_LLM_FEEDBACK_SPOOL_DIR=None: set it" in ran.err


ACTIONS = (
    ["status"],
    ["export"],
    ["dead-letters", "list"],
    ["dead-letters", "retry", "--all"],
    ["dead-letters", "purge", "--all"],
)


def foreign_directory(tmp_path: Path) -> Path:
    if os.geteuid() != 0:
        return Path("/")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    return theirs


@pytest.mark.parametrize("action", ACTIONS, ids=" ".join)
def test_directories_that_cannot_be_used(command: Command, tmp_path: Path, action: list[str]) -> None:
    (tmp_path / "file").touch()
    cases = {
        tmp_path / "nowhere": "does not exist: name a spool with --dir",
        tmp_path / "file": "is not a directory: name",
        tmp_path / "file" / "below": "Not a directory: name a directory",
        foreign_directory(tmp_path): "run it as the user that owns the spool",
        Path("x" * 5000): "File name too long: name a directory",
    }
    for directory, problem in cases.items():
        ran = command(*action, "--dir", directory)
        assert (ran.code, ran.out) == (2, ""), directory
        assert problem in ran.err
        assert len(ran.err.splitlines()) == 1
    assert command(*action, "--dir", "").err == "otel-llm-feedback: --dir='': name a directory\n"
    assert not (tmp_path / "nowhere").exists()


def test_a_path_that_would_move_the_cursor(tmp_path: Path) -> None:
    odd = tmp_path / "a\n\x1b[31m-é"
    open_spool(odd).close()
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    first = run(["status", "--dir", odd], env=environ).out.splitlines()[0]
    assert first.endswith(r"a\n\x1b[31m-\xe9")
    assert run(["status", "--dir", odd, "--json"], env=environ).json["directory"] == str(odd)
    (not_utf8 := tmp_path / "\udcff").mkdir()
    assert run(["status", "--dir", not_utf8]).out.splitlines()[0].endswith(r"/\udcff")
