"""SIGKILL at every single step of a put and of a delivery: before and after each statement, each commit, each request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.chaos.running import NOBODY, ROOT, all_accounted, all_delivered, drain, ids_in, received
from tests.delivery.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

KILLED = -9
FAST = [pytest.param(4, id="every fourth"), pytest.param(1, id="every", marks=pytest.mark.slow)]
"""Every step is killed by the slow test; by the fast one those of one of four residues, which the process id chooses."""


def killed_at_every(stride: int, what: str, directory: Path, endpoint: str) -> list[int]:
    """The steps at which a child was killed. The one after the last of them came to its end."""
    options = json.dumps({"endpoint": endpoint, "spool_dir": str(directory)})
    first = 1 + os.getpid() % stride
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


@pytest.mark.parametrize("stride", FAST)
def test_a_kill_at_every_step_of_a_put(tmp_path: Path, stride: int) -> None:
    fuses = killed_at_every(stride, "put", tmp_path, NOBODY)
    assert len(fuses) * stride > 20

    found = all_accounted(tmp_path, None, [f"first-{fuse:05d}" for fuse in fuses]).spooled
    stored = [f"second-{fuse:05d}" in found for fuse in fuses]
    assert stored == sorted(stored), "there is one moment before which it is not on disk, and after which it is"
    assert (stored[0], stored[-1]) == (False, True)
    with ScriptedServer() as server:
        drain(tmp_path, server.endpoint)
        all_delivered(tmp_path, server, found)


@pytest.mark.parametrize("stride", [pytest.param(9, id="every ninth"), pytest.param(2, id="every second", marks=pytest.mark.slow)])
def test_a_kill_at_every_step_of_a_delivery(tmp_path: Path, stride: int) -> None:
    with ScriptedServer() as server:
        fuses = killed_at_every(stride, "deliver", tmp_path, server.endpoint)
        assert len(fuses) * stride > 50
        drain(tmp_path, server.endpoint)
        found = received(server)
        again = {each for each, times in found.items() if times > 1}
        # It had been accepted, and the process died before that was on disk: at a few of all the steps, and never twice.
        assert set(found.values()) <= {1, 2}
        all_delivered(tmp_path, server, found, twice=again)
        assert {f"{name}-{fuses[-1]:05d}" for name in ("first", "second")} <= set(found) - again
    assert ids_in(b"") == []
