"""Spools to look into, and the command to look with."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_llm_feedback.cli.main import main
from otel_llm_feedback.delivery.spool import Signal, Spool
from tests.delivery.delivering import names, open_spool, put_votes

ROOT = Path(__file__).parents[2]
MODULE = (sys.executable, "-W", "error", "-m", "otel_llm_feedback")
SECRET = "the-comment"  # in every payload that `vote` makes, as the beginning of the id


def secret_names(count: int, start: int = 0) -> list[str]:
    return [f"{SECRET}-{name}" for name in names(count, start)]


@contextlib.contextmanager
def spool_with(directory: Path, *, votes: int = 0, dead: int = 0, detail: str = "") -> Iterator[Spool]:
    """An open spool, so one that has an owner."""
    with contextlib.closing(open_spool(directory)) as spool:
        put_votes(spool, secret_names(dead, 5000))
        while batch := spool.batch(Signal.LOGS, 1 << 22, 1000):
            spool.bury(batch.ids, "http_400", detail)
        put_votes(spool, secret_names(votes))
        yield spool


def left_spool(directory: Path, *, votes: int = 0, dead: int = 0, detail: str = "") -> Path:
    """A spool that a process left behind; the path of its one file."""
    with spool_with(directory, votes=votes, dead=dead, detail=detail):
        pass
    (file,) = directory.glob("*.spool")
    return file


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"{self.code}\n{self.out}\n{self.err}"

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """``command("status", …)`` is ``otel-llm-feedback spool status …`` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Ran:
        self._capsys.readouterr()
        try:
            code = main(["spool", *map(str, arguments)])
        except SystemExit as end:
            code = end.code  # type: ignore[assignment]  # argparse gives a number
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)


def run(arguments: Sequence[object], **options: Any) -> Ran:
    """The same in a process of its own."""
    ended = subprocess.run(
        [*MODULE, "spool", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False, **options
    )
    return Ran(ended.returncode, ended.stdout, ended.stderr)


def start(arguments: Sequence[object], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MODULE, "spool", *map(str, arguments)],
        cwd=ROOT,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )
