"""What the spool's tests share."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_llm_feedback.counters import Counters
from otel_llm_feedback.delivery.spool import Signal, Spool

ROOT = Path(__file__).parents[2]
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def open_spool(directory: Path, **options: object) -> Spool:
    settings: dict[str, object] = {"max_bytes": 1 << 24, "max_age_seconds": 86_400.0, "counters": Counters(), **options}
    return Spool(directory, **settings)  # type: ignore[arg-type]  # a test names the options it is about


def put(spool: Spool, *names: str, signal: Signal = Signal.LOGS, precious: bool = True) -> None:
    for name in names:
        spool.put(signal, name.encode(), precious=precious)


def drain(spool: Spool, signal: Signal = Signal.LOGS) -> list[str]:
    """Deliver everything, the files of dead processes included."""
    found: list[str] = []
    while True:
        spool.claim_orphans()
        batch = spool.batch(signal, 1 << 20, 100)
        if not batch:
            return found
        found += [payload.decode() for payload in batch.payloads]
        spool.delivered(batch.ids)
        spool.maintain()


def drain_directory(directory: Path) -> list[str]:
    with contextlib.closing(open_spool(directory)) as spool:
        return drain(spool)


@contextlib.contextmanager
def running(module: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", f"tests.delivery.spool_crash.{module}"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[str], last: str) -> list[str]:
    """What the process said before the line that starts with ``last``; it must say that."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        if line.startswith(last):
            return lines
        lines.append(line.strip())
    raise AssertionError(f"it ended after {lines[-3:]}")


def kill(process: subprocess.Popen[str]) -> list[str]:
    """Kill -9; what it had still said."""
    process.kill()
    assert process.stdout is not None
    rest = [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    return rest


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, to be filled. Needs root, or sudo without a password; never skipped in CI."""
    disk = folder / "disk"
    disk.mkdir()
    options = f"size={size},mode=0700,uid={os.geteuid()}"
    mount = [*AS_ROOT, "mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(f"CANNOT MOUNT a small disk to fill: {mounted.stderr.strip()}")
    yield disk
    subprocess.run([*AS_ROOT, "umount", "-l", str(disk)], check=True)
