"""The command line, and the ways in which a command can end."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from otel_llm_feedback.cli import commands
from otel_llm_feedback.cli.commands import PARTLY, UNUSABLE
from otel_llm_feedback.cli.console import PROG, complain, printable
from otel_llm_feedback.errors import FeedbackError
from otel_llm_feedback.version import __version__

__all__ = ["main"]

INTERRUPTED = 130

_EPILOG = """\
exit codes:
  0  done
  1  nothing was found, or not everything could be read or done
  2  wrong arguments, or the directory or the output cannot be used
  130  interrupted

The spool is that of --dir, else of OTEL_LLM_FEEDBACK_SPOOL_DIR, else the default one of --service, else of the
service that OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES names. Everything is safe on a spool in use.
"""

_EXPORT = """\
Write undelivered records, which stay in the spool, as OTLP/JSON: one export request a line, for the collector's
otlpjsonfile receiver. They hold what users said. What is delivered or arrives meanwhile may be in it or not.
"""

_LIST = """\
Show dead letters: id, signal, precious (it gives way last), when put, when buried, bytes of payload, reason.
With --json, one object a line. Never shows what is in them.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code. Wrong arguments and ``--help`` raise SystemExit, as argparse does."""
    arguments = _parser().parse_args(argv)
    if sys.stdout is None:  # closed by whoever started us
        complain("standard output is closed: open it, be it to /dev/null")
        return UNUSABLE
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
    except FeedbackError as error:
        complain(error)
        return UNUSABLE
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        _give_up_output()
        return PARTLY
    except OSError as error:
        _give_up_output()
        complain(f"standard output: {error.strerror}: see that it can be written to")
        return UNUSABLE
    return code


def _give_up_output() -> None:
    """What is still buffered could not be written at the end of the process either, and would be complained about."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(UNUSABLE, f"{PROG}: {printable(message)}: see {self.prog} --help\n")


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROG, description="Look after what the durable feedback pipeline keeps on disk.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    rooms = parser.add_subparsers(metavar="COMMAND", required=True)
    spool = rooms.add_parser("spool", help="undelivered records and dead letters", epilog=_EPILOG)
    actions = spool.add_subparsers(metavar="ACTION", required=True)
    _add(actions, "status", commands.status, "how much is in the spool, and how old it is")
    _add_export(actions)
    dead = actions.add_parser("dead-letters", help="records that were refused for good", epilog=_EPILOG)
    dead_actions = dead.add_subparsers(metavar="ACTION", required=True)
    listing = _add(dead_actions, "list", commands.list_dead, "which ones there are, and why", _LIST)
    listing.add_argument("--detail", action="store_true", help="also what the server said; it may quote the record")
    _add_change(dead_actions, "retry", commands.retry_dead, "give them another try")
    _add_change(dead_actions, "purge", commands.purge_dead, "delete them for good")
    return parser


def _add(
    actions: Any, name: str, command: Callable[[argparse.Namespace], int], summary: str, description: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=description or f"{summary.capitalize()}.", epilog=_EPILOG
    )
    parser.set_defaults(command=command)
    parser.add_argument("--dir", metavar="DIR", help="the spool's directory")
    parser.add_argument("--service", metavar="NAME", help="the service whose default directory it is")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="say on standard error how far it is (on a terminal: yes)",
    )


def _add_export(actions: Any) -> None:
    parser = _add(actions, "export", commands.export, "write undelivered records as OTLP/JSON lines", _EXPORT)
    parser.add_argument("--output", metavar="FILE", help="a new file, readable by its owner alone (standard output)")
    parser.add_argument("--signal", choices=["logs", "traces", "all"], default="all", help="which records (all)")
    parser.add_argument("--include-dead", action="store_true", help="dead letters too")
    _add_progress(parser)


def _add_change(actions: Any, name: str, command: Callable[[argparse.Namespace], int], summary: str) -> None:
    parser = _add(actions, name, command, summary)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("ids", nargs="*", default=[], metavar="ID", help="those that `list` shows by this id")
    which.add_argument("--all", action="store_true", help="all of them")
    _add_progress(parser)
