"""SIGKILL at every single step of a put and of a delivery: before and after each statement, each commit, each request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.chaos.running import NOBODY, ROOT, account, all_accounted, received
from tests.delivery.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

KILLED = -9
STRIDES = [pytest.param(5, id="every fifth"), pytest.param(1, id="every", marks=pytest.mark.slow)]


def killed_at_every(stride: int, what: str, directory: Path, endpoint: str) -> list[int]:
    """The steps at which a child was killed, and as the last one that at which it had already come to its end."""
    options = json.dumps({"endpoint": endpoint, "spool_dir": str(directory)})
    first = 1 + os.getpid() % stride  # so that many runs together meet every step
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.stepwise", what, options, str(first), str(stride)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = [each for each in map(json.loads, done.stdout.splitlines()) if "fuse" in each]
    assert [each["code"] for each in said] == [KILLED] * (len(said) - 1) + [0], done.stderr
    return [each["fuse"] for each in said]


def test_a_kill_at_every_step_of_a_put(tmp_path: Path) -> None:
    fuses = killed_at_every(1, "put", tmp_path, NOBODY)
    assert len(fuses) > 20

    stored = []
    for fuse in fuses:
        found = all_accounted(tmp_path / str(fuse), None, [f"first-{fuse:05d}"]).spooled
        stored.append(f"second-{fuse:05d}" in found)
    assert stored == sorted(stored), "there is one moment before which it is not on disk, and after which it is"
    assert (stored[0], stored[-1]) == (False, True)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_kill_at_every_step_of_a_delivery(tmp_path: Path, stride: int) -> None:
    """Whatever the step, both votes are at the server or in the spool; in both places only what it has just accepted."""
    with ScriptedServer() as server:
        fuses = killed_at_every(stride, "deliver", tmp_path, server.endpoint)
        delivered = received(server)
    assert len(fuses) * stride > 50
    assert set(delivered.values()) == {1}
    again = 0
    for fuse in fuses:
        said = tmp_path / f"said-{fuse}"
        votes = said.read_text().split() if said.exists() else []
        spooled = account(tmp_path / str(fuse)).spooled if (tmp_path / str(fuse)).exists() else {}
        assert all(vote in spooled or vote in delivered for vote in votes), fuse
        again += any(vote in spooled and vote in delivered for vote in votes)
    assert again < len(fuses) / 2
    assert f"second-{fuses[-1]:05d}" in delivered
