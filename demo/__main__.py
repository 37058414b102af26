"""Talk to a model, judge its answers, and see each call beside its feedback.

usage: python -m demo [--once]

Without OPENAI_API_KEY the answers come from a small OpenAI-compatible server on this machine. With --once a scripted
conversation runs instead of a dialogue, and the exit status says whether all of its feedback was found on its calls.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import openai
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

from demo.backend import Backend, backend
from demo.chat import Answer, Chat
from demo.openai_server import OpenAIServer
from demo.table import joined, rows
from otel_llm_feedback import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_llm_feedback import Receipt

ARRIVAL_SECONDS = 10.0

SCRIPT: list[tuple[str, bool, bool, str | None]] = [
    # question, whether to stream, thumb, comment
    ("What is OpenTelemetry?", False, True, None),
    ("What is a trace?", True, True, "short and right"),
    ("Write me a poem about spans.", True, False, "that is no poem"),
    ("Thank you!", False, True, None),
]

HELP = """Ask something. After an answer: + or - judges it, with a comment if you like ("- too long").
An empty line or Ctrl-D ends the talk and shows every call beside its feedback."""


class Talk:
    """What was asked and judged so far."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.answers: list[Answer] = []
        self.receipts: list[Receipt] = []

    def ask(self, question: str, show: Callable[[str], None] | None = None) -> Answer:
        self.answers.append(self.chat.ask(question, show))
        return self.answers[-1]

    def judge(self, answer: Answer, good: bool, comment: str | None) -> None:
        self.receipts.append(self.chat.judge(answer.handle, good=good, comment=comment))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="demo", description="A small chat application whose answers get feedback.")
    parser.add_argument("--once", action="store_true", help="run a scripted conversation and check that all is joined")
    once: bool = parser.parse_args(argv).once
    with ExitStack() as stack:
        running = stack.enter_context(backend())
        client = stack.enter_context(model_client())
        spool = stack.enter_context(
            TemporaryDirectory()
        )  # an application keeps its own; the demo leaves nothing behind
        pipeline = configure(
            service_name="demo-chat", endpoint=running.endpoint, protocol="http/protobuf", spool_dir=spool
        )
        OpenAIInstrumentor().instrument()
        print(f"Telemetry goes to {running.description}.")
        talk = Talk(Chat(client, os.environ.get("OPENAI_MODEL", "gpt-4o-mini"), conversation_id=str(uuid.uuid4())))
        scripted(talk) if once else dialogue(talk)
        pipeline.flush(ARRIVAL_SECONDS)
        found = report(running, talk)
        pipeline.shutdown()
    return 0 if found == len(talk.receipts) else 1


@contextmanager
def model_client() -> Iterator[openai.OpenAI]:
    """The real service when there is a key for it, else the local one."""
    if os.environ.get("OPENAI_API_KEY"):
        with openai.OpenAI() as client:
            yield client
    else:
        with OpenAIServer() as server, openai.OpenAI(base_url=server.base_url, api_key="none") as client:
            yield client


def scripted(talk: Talk) -> None:
    for question, stream, _, _ in SCRIPT:
        print(f"> {question}")
        answer = talk.ask(question, say if stream else None)
        print("" if stream else answer.text)
    # Feedback comes when it comes: here, after the whole conversation.
    for answer, (_, _, good, comment) in zip(talk.answers, SCRIPT, strict=True):
        talk.judge(answer, good, comment)


def dialogue(talk: Talk) -> None:
    print(HELP)
    while line := read_line():
        if line[0] in "+-" and talk.answers:
            talk.judge(talk.answers[-1], line[0] == "+", line[1:].strip() or None)
            print("Thank you.")
        else:
            talk.ask(line, say)
            print()


def read_line() -> str:
    try:
        return input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return ""


def say(piece: str) -> None:
    print(piece, end="", flush=True)


def report(running: Backend, talk: Talk) -> int:
    """Print the table and how much is joined, once all has arrived or the time is over."""
    receipts = [receipt.id for receipt in talk.receipts]
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while (found := joined(running.spans(), running.logs(), receipts)) < len(receipts) and time.monotonic() < deadline:
        time.sleep(0.1)
    questions = {answer.span_id: answer.question for answer in talk.answers if answer.span_id is not None}
    print()
    for row in rows(running.spans(), running.logs(), questions):
        print(row)
    print(f"joined {found} of {len(receipts)}")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
