"""Run as ``python -m``: dies by SIGKILL at the n-th step inside the delivery of this package, for every n there is.

usage: stepwise.py put|deliver OPTIONS FIRST STRIDE
A step is a call, or a return, of a Python or C function from a frame of `MODULES`: so every statement that SQLite is given
is one. Each n (FIRST, and STRIDE more each time) gets a child and a directory of its own; the last child comes to its end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from otel_llm_feedback import Pipeline, Target, configure, record_feedback
from tests.chaos.app import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

MODULES = tuple(
    os.path.join("otel_llm_feedback", "delivery", f"{name}.py")
    for name in ("courier", "processor", "sender", "spool", "store", "stores", "tables", "transport_http")
)


class Bomb:
    """A profile function that ends the process at its n-th event."""

    def __init__(self, fuse: int) -> None:
        self.left = fuse

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if frame.f_code.co_filename.endswith(MODULES):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def vote(name: str) -> None:
    receipt = record_feedback(Target.session("s"), True, feedback_id=name)
    assert receipt.status == "spooled", receipt


def put(options: dict[str, Any], fuse: int) -> None:
    """Dies in the middle of its second vote."""
    configure(**options)
    vote(f"first-{fuse:05d}")
    sys.setprofile(Bomb(fuse))
    vote(f"second-{fuse:05d}")
    sys.setprofile(None)


def deliver(options: dict[str, Any], fuse: int) -> None:
    """Dies in the middle of delivering its votes, in the thread that does."""
    threading.setprofile(Bomb(fuse))
    pipeline: Pipeline = configure(**options)
    for name in ("first", "second"):
        vote(f"{name}-{fuse:05d}")
        with open(f"{options['spool_dir']}/../said-{fuse}", "a") as said:  # what the application was told
            said.write(f"{name}-{fuse:05d}\n")
    assert pipeline.flush(30)


def main(what: str, options: str, first: str, stride: str) -> None:
    act: Callable[[dict[str, Any], int], None] = {"put": put, "deliver": deliver}[what]
    settings = json.loads(options)
    fuse = int(first)
    while True:
        child = os.fork()
        if not child:
            try:
                act(
                    {**settings, "spool_dir": os.path.join(settings["spool_dir"], str(fuse)), "service_name": "steps"},
                    fuse,
                )
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        say(fuse=fuse, code=code)
        if code != -signal.SIGKILL:
            return
        fuse += int(stride)


if __name__ == "__main__":
    main(*sys.argv[1:])
