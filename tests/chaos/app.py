"""An application that does what it is told, step by step, and says after each step what came of it, as a line of JSON.

usage: python -m tests.chaos.app OPTIONS STEP...
OPTIONS: JSON, the arguments of `configure`, and ``prefix``, with which the ids of its votes begin.
CHAOS_AHEAD in the environment: seconds by which the clock is wrong.
STEP: a method of `Application` and its arguments. Before the first one it calls `configure`, unless that is ``bare``.
"""

from __future__ import annotations

import ctypes
import json
import logging.config
import os
import signal
import sys
import time
from typing import Any

from opentelemetry import trace

from otel_llm_feedback import Pipeline, Target, configure, record_feedback

TARGET = Target.session("session-1")


def say(**what: object) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


class Application:
    """Each public method is a step. Arguments come as text."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.prefix = options.pop("prefix", "v")
        self.options = options
        self.pipeline: Pipeline
        self.count = 0
        self.ahead = 0.0
        self.clock = time.time

    def configure(self) -> None:
        self.pipeline = configure(**{"service_name": "chaos", **self.options})
        say(ready=True)

    def bare(self) -> None:
        """(Somebody else has set everything up.)"""

    def next_vote(self, comment: str | None = None) -> tuple[str, str, str]:
        feedback_id = f"{self.prefix}-{self.count:05d}"
        self.count += 1
        receipt = record_feedback(TARGET, True, feedback_id=feedback_id, comment=comment)
        return feedback_id, receipt.status, receipt.reason

    def record(self, count: str, per_second: str = "0") -> None:
        """So many votes, at once or paced; says how many of them are on disk."""
        begin, rate, refused = time.monotonic(), float(per_second), []
        for number in range(int(count)):
            if rate:
                time.sleep(max(0.0, begin + number / rate - time.monotonic()))  # users do not come all at once
            feedback_id, status, reason = self.next_vote()
            if status != "spooled":
                refused.append([feedback_id, status, reason])
        say(spooled=int(count) - len(refused), refused=refused, seconds=time.monotonic() - begin)

    def tell(self, count: str, per_second: str = "0") -> None:
        """As `record`, but tells the id of each vote as soon as it is on disk."""
        rate = float(per_second)
        for _ in range(int(count)):
            feedback_id, status, _ = self.next_vote()
            say(id=feedback_id, status=status)
            if rate:
                time.sleep(1 / rate)
        say(told=True)

    def surrogates(self) -> None:
        """A vote with a comment that UTF-8 cannot express."""
        feedback_id, status, _ = self.next_vote("half an emoji: \ud83d")
        say(id=feedback_id, status=status)

    def spans(self, count: str) -> None:
        """So many spans, exported when it says so."""
        for number in range(int(count)):
            trace.get_tracer("chaos").start_span(f"{self.prefix}-{number:05d}").end()
        say(exported=trace.get_tracer_provider().force_flush())  # type: ignore[attr-defined]  # of the SDK's

    def flush(self, seconds: str) -> None:
        begin = time.monotonic()
        report = self.pipeline.flush(float(seconds))
        say(
            complete=report.complete,
            remaining=report.remaining,
            failure=report.last_failure,
            seconds=time.monotonic() - begin,
        )

    def shutdown(self, seconds: str) -> None:
        begin = time.monotonic()
        report = self.pipeline.shutdown(float(seconds))
        say(complete=report.complete, remaining=report.remaining, seconds=time.monotonic() - begin)

    def wait(self) -> None:
        """Until the test says go on, or goes away."""
        os.read(0, 1)

    def vote_on_sigterm(self) -> None:
        """A handler that votes, and ends the process as a server does."""

        def handle(*_: object) -> None:
            self.record("1")
            raise SystemExit(0)

        signal.signal(signal.SIGTERM, handle)
        say(handling=True)

    def disable_loggers(self) -> None:
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})

    def jump(self, seconds: str) -> None:
        """Somebody sets the clock of the machine."""
        self.ahead += float(seconds)
        time.time = lambda: self.clock() + self.ahead

    def fork(self, count: str, hooks: str = "hooks") -> list[int]:
        """So many children, each with a prefix of its own; ``no_hooks``: as a server written in C forks."""
        children = []
        for number in range(int(count)):
            child = os.fork() if hooks == "hooks" else ctypes.PyDLL(None).fork()
            if not child:
                self.prefix, self.count = f"{self.prefix}.{number}", 0
                return []
            children.append(child)
        return children

    def join(self) -> None:
        """Where the children end."""

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self) -> None:
        os._exit(0)


def main(options: str, *steps: str) -> None:
    application = Application(json.loads(options))
    application.jump(os.environ.get("CHAOS_AHEAD", "0"))
    if steps[:1] != ("bare",):
        application.configure()
    children: list[int] = []
    is_parent = True
    for step in steps:
        verb, *arguments = step.split()
        if verb == "fork":
            children = application.fork(*arguments)
            is_parent = bool(children)
        elif verb == "join":
            if not is_parent:
                os._exit(0)
            for child in children:
                os.waitpid(child, 0)
            children = []
            say(joined=True)
        elif not children:
            getattr(application, verb)(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
