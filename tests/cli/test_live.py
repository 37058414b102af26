"""The commands, again and again, on a spool that another process fills, delivers and buries in."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from otel_llm_feedback.delivery.reader import SpoolReader
from tests.cli.spools import ROOT, Command, Ran
from tests.delivery.delivering import vote


def list_dead_letters(command: Command, directory: Path) -> Ran:
    """As soon as there are any, and some remain for the other commands."""
    deadline = time.monotonic() + 20
    while len((listed := command("dead-letters", "list", "--dir", directory, "--json")).lines) < 30:
        assert time.monotonic() < deadline, listed
    return listed


def test_nothing_gets_lost_doubled_or_held_up(command: Command, tmp_path: Path) -> None:
    app = [sys.executable, "-m", "tests.cli.apps.busy", str(tmp_path)]
    purged = 0
    with subprocess.Popen(app, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        for turn in range(6):
            assert command("status", "--dir", tmp_path, "--json").code == 0
            listed = list_dead_letters(command, tmp_path)
            exported = command("export", "--dir", tmp_path, "--include-dead")
            assert listed.code == exported.code == 0, exported
            assert len(exported.lines) >= len(listed.lines) > 0
            some = [each["id"] for each in listed.lines[:20]]
            assert command("dead-letters", "retry", "--dir", tmp_path, *some).code == 0
            if turn % 2:
                purged += command("dead-letters", "purge", "--dir", tmp_path, "--all", "--json").json["purged"]
            else:
                assert command("dead-letters", "retry", "--dir", tmp_path, "--all").code == 0
        out, _ = process.communicate(timeout=30)

    assert process.returncode == 0, "every put succeeded"
    told = json.loads(out)
    delivered = told["delivered"]
    dead = [letter.payload.hex() for letter in SpoolReader(tmp_path).dead_letters(1_000_000)]
    settled = set(delivered) | set(dead)
    assert len(settled) == len(delivered) + len(dead), "something came twice"
    assert settled <= {vote(f"busy-{n}").hex() for n in range(told["put"])}
    assert purged > 0
    assert len(settled) + purged == told["put"]
    assert told["slowest"] < 1.0, "a put waited for a command"
