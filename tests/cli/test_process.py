"""What only a process of its own shows: pipes, terminals, limits, signals."""

from __future__ import annotations

import importlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otel_llm_feedback import __version__
from otel_llm_feedback.cli.main import main
from tests.cli.spools import MODULE, ROOT, left_spool, start


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("spool")
    left_spool(directory, votes=10_000, dead=100)
    return directory


def test_the_installed_command() -> None:
    importlib.import_module("otel_llm_feedback.__main__")  # which runs nothing
    script = Path(sys.executable).with_name("otel-llm-feedback")
    told = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"otel-llm-feedback {__version__}\n"


@pytest.mark.parametrize("arguments", [["export"], ["dead-letters", "list"]], ids=" ".join)
def test_a_reader_that_goes_away(spool: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    with start([*arguments, "--dir", spool], stdout=writing) as process:
        os.close(writing)
        os.close(reading)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "")


def test_head(spool: Path) -> None:
    with start(["export", "--dir", spool]) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("{")
        process.stdout.close()
        assert process.wait(30) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_full_standard_output(spool: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full, start(["export", "--dir", spool], stdout=full) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err == "otel-llm-feedback: standard output: No space left on device: see that it can be written to\n"


def test_a_closed_standard_output(spool: Path) -> None:
    command = [*MODULE, "spool", "status", "--dir", str(spool)]
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert closed.returncode == 2
    assert closed.stderr == "otel-llm-feedback: standard output is closed: open it, be it to /dev/null\n"


def test_an_interrupted_export_leaves_no_file(spool: Path, tmp_path: Path) -> None:
    with start(["export", "--dir", spool, "--progress", "--output", tmp_path / "out"]) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "exported 1 of 10,000\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "otel-llm-feedback: interrupted"
    assert os.listdir(tmp_path) == []


def on_terminal(arguments: list[object], *, stdout: bool = False) -> str:
    """What the command writes to a terminal that is its standard error, and its standard output if asked."""
    mine, theirs = pty.openpty()
    with start(arguments, stderr=theirs, stdout=theirs if stdout else subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        while chunk := read_terminal(mine):
            shown += chunk
    os.close(mine)
    assert process.returncode == 0
    return shown.decode()


def read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: nobody has the other end any more
        return b""


def test_progress_on_a_terminal(spool: Path) -> None:
    shown = on_terminal(["export", "--dir", spool])
    assert shown.startswith("\r\x1b[Kexported 1 of 10,000")
    assert shown.endswith("\r\x1b[Kexported 10,000 requests (10,000 logs, 0 traces)\r\n")


def test_no_progress_where_it_would_be_in_the_way(spool: Path) -> None:
    assert "exported 1 of" not in on_terminal(["export", "--dir", spool, "--no-progress"])
    assert "exported 1 of" not in on_terminal(["export", "--dir", spool], stdout=True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "the following arguments are required: COMMAND: see otel-llm-feedback --help"),
        (["spool"], "the following arguments are required: ACTION: see otel-llm-feedback spool --help"),
        (["spool", "status", "--di", "x"], "unrecognized arguments: --di x: see otel-llm-feedback --help"),
    ],
)
def test_wrong_arguments(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err == f"otel-llm-feedback: {problem}\n"


@pytest.mark.parametrize("arguments", [[], ["spool"], ["spool", "export"], ["spool", "dead-letters", "purge"]])
def test_help_tells_the_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--help"])
    assert end.value.code == 0
    assert "exit codes:" in capsys.readouterr().out
