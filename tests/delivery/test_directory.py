from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_llm_feedback.delivery.directory import (
    Claim,
    disown,
    new_claim,
    private_directory,
    spool_names,
    try_claim,
)
from otel_llm_feedback.errors import SpoolError, SpoolUnavailable
from tests.delivery.spooling import drain_directory, open_spool, put

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="NEEDS ROOT to give files to another user")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Claim]:
    tmp_path.chmod(0o700)
    made = new_claim(str(tmp_path))
    yield made
    made.release()


@pytest.mark.usefixtures("umask")
def test_everything_is_for_its_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "here"
    spool = open_spool(directory)
    put(spool, "a")

    assert mode(directory) == 0o700
    files = {path.name.partition(".")[2]: mode(path) for path in directory.iterdir()}
    spool.close()
    assert files == dict.fromkeys(["spool", "spool-wal", "spool-shm", "lock"], 0o600)


def test_a_directory_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert private_directory(tmp_path) == str(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_directory_with_other_files_is_not_changed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SpoolUnavailable, match="use a directory of its own"):
        private_directory(tmp_path)
    assert mode(tmp_path) == 0o755


def test_a_relative_path_holds_after_the_process_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spool = open_spool(Path("here"))
    monkeypatch.chdir("/")
    put(spool, "a")
    spool.close()
    assert drain_directory(tmp_path / "here") == ["a"]


@pytest.mark.parametrize("name", ["a b", "100%", "what?mode=ro", "a#b", "ünï", "file:x", "-"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    spool = open_spool(tmp_path / name)
    put(spool, "a")
    spool.close()
    assert drain_directory(tmp_path / name) == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SpoolUnavailable, match="is not a directory: name a directory"):
        open_spool(path)
    with pytest.raises(SpoolUnavailable, match="Not a directory"):
        open_spool(path / "below")


def test_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SpoolUnavailable, match="is a symbolic link"):
        open_spool(tmp_path / "link")


def test_a_dangling_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SpoolUnavailable, match="is a symbolic link"):
        open_spool(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


@AS_ROOT
def test_a_directory_of_someone_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(SpoolUnavailable, match="belongs to user 12345, this process runs as user 0"):
        open_spool(tmp_path)


@AS_ROOT
def test_a_file_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    put(spool, "a")
    spool.close()
    (file,) = tmp_path.glob("*.spool")
    (lock,) = tmp_path.glob("*.lock")
    for path in (file, lock):
        os.chown(path, 12345, -1)

    assert drain_directory(tmp_path) == []
    assert file.exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="NEEDS /proc, where no one can make a directory")
def test_a_place_where_nothing_can_be_made_is_refused() -> None:
    with pytest.raises(SpoolUnavailable, match="name a directory that this user can write to"):
        open_spool(Path("/proc/self/spool"))


def test_a_symlink_in_the_directory_is_no_spool_file(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    elsewhere = open_spool(tmp_path / "target")
    put(elsewhere, "a")
    elsewhere.close()
    (real,) = (tmp_path / "target").glob("*.spool")
    spool_dir = tmp_path / "spool"
    spool_dir.mkdir(mode=0o700)
    (spool_dir / "link.spool").symlink_to(real)
    (spool_dir / "link.lock").symlink_to(tmp_path / "made")

    assert drain_directory(spool_dir) == []
    assert try_claim(str(spool_dir), "link") is None
    assert not (tmp_path / "made").exists()


def test_a_claim_is_had_once(claim: Claim, tmp_path: Path) -> None:
    assert try_claim(str(tmp_path), claim.name) is None
    claim.release()
    again = try_claim(str(tmp_path), claim.name)
    assert again is not None
    again.release()
    again.release()


def test_a_claim_needs_a_file(claim: Claim, tmp_path: Path) -> None:
    claim.discard()
    claim.discard()
    assert list(tmp_path.iterdir()) == []
    assert try_claim(str(tmp_path), claim.name) is None
    assert try_claim(str(tmp_path / "nowhere"), "x") is None
    assert list(tmp_path.iterdir()) == []


def test_a_lock_left_without_a_file_is_cleared_away(claim: Claim, tmp_path: Path) -> None:
    os.unlink(claim.path)
    assert claim.size() == 0
    claim.release()
    assert spool_names(str(tmp_path)) == [claim.name]
    assert try_claim(str(tmp_path), claim.name) is None
    assert list(tmp_path.iterdir()) == []


def test_a_child_lets_go_of_its_parents_claims(claim: Claim, tmp_path: Path) -> None:
    disown(claim, opened=False)
    again = try_claim(str(tmp_path), claim.name)
    assert again is not None
    disown(again, opened=True)
    assert try_claim(str(tmp_path), claim.name) is None


def test_threads_that_look_for_orphans_never_share_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    directory = str(tmp_path)
    owners: dict[str, int] = {}
    shared: list[str] = []

    def claim_and_release() -> None:
        for _ in range(50):
            claims = [new_claim(directory), *(try_claim(directory, name) for name in spool_names(directory))]
            mine = [claim for claim in claims if claim is not None]
            me = threading.get_ident()
            shared.extend(claim.name for claim in mine if owners.setdefault(claim.name, me) != me)
            for claim in mine:
                owners.pop(claim.name, None)
                claim.discard()

    threads = [threading.Thread(target=claim_and_release) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert shared == []
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_gone_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="No such file"):
        spool_names(str(tmp_path / "nowhere"))
    with pytest.raises(SpoolError, match="No such file"):
        new_claim(str(tmp_path / "nowhere"))
