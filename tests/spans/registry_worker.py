"""Programs that share a registry file with the tests. usage: python -m tests.spans.registry_worker PROGRAM PATH"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider

from otel_llm_feedback import LLMCall, LLMSpanProcessor, Settings
from otel_llm_feedback.counters import Counters
from otel_llm_feedback.spans.sqlite_registry import SQLiteCallRegistry
from tests.feedback.world import CHAT

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_780_000_000_000_000_000
HANGS_AFTER_SECONDS = 20


def a_call(
    span: int,
    *,
    trace: int = 1,
    votable: bool = True,
    response: str | None = None,
    conversation: str | None = None,
    message: str | None = None,
    end: int | None = NOW,
) -> LLMCall:
    return LLMCall(
        trace_id=f"{trace:032x}",
        span_id=f"{span:016x}",
        trace_flags=1,
        operation="chat",
        votable=votable,
        provider="openai",
        request_model="gpt-4o-mini",
        response_model="gpt-4o-mini-2024-07-18",
        response_id=response,
        conversation_id=conversation,
        message_id=message,
        prompt_name=None,
        prompt_version=None,
        agent_id=None,
        agent_name="support",
        agent_version=None,
        workflow_name=None,
        input_tokens=1200,
        output_tokens=300,
        start_time=NOW - 10**9 if end is None else end,
        end_time=end,
        error_type=None,
    )


def new(path: str) -> SQLiteCallRegistry:
    return SQLiteCallRegistry(path, time_ns=lambda: NOW, counters=Counters())


def traced(path: str) -> None:
    """Ends an LLM span, says its ids, and waits."""
    provider = TracerProvider(shutdown_on_exit=False)
    registry = SQLiteCallRegistry(path)
    provider.add_span_processor(LLMSpanProcessor(registry, Settings()))
    with provider.get_tracer("shop").start_as_current_span("chat", attributes=CHAT) as span:
        context = span.get_span_context()
    print(json.dumps({"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}), flush=True)
    sys.stdin.read()


def putting(path: str) -> None:
    """Puts calls until it is killed, and says each one that it has put."""
    registry = new(path)
    for number in range(1, 1_000_000):
        registry.put(a_call(number, trace=number, response=f"{os.getpid()}-{number}"))
        print(number, flush=True)


def several(path: str) -> None:
    """Puts a thousand calls as fast as it can; says what was counted."""
    registry = new(path)
    for number in range(1, 1001):
        registry.put(a_call((os.getpid() << 32) + number, trace=number, response=f"{os.getpid()}-{number}"))
    print(json.dumps([os.getpid(), {f"{key}": count for key, count in registry._counters.snapshot().items()}]))


def forking(path: str) -> None:
    """Forks while it uses the file, and once more in the child; prints who found what."""
    registry = new(path)
    registry.put(a_call(1, trace=1, response="before"))
    holds, leave = threading.Event(), threading.Event()

    def hold() -> None:
        for number in range(2, 600):
            registry.put(a_call(number, trace=number, response=f"thread-{number}"))
            holds.set()
        leave.wait(HANGS_AFTER_SECONDS)

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait(HANGS_AFTER_SECONDS)
    in_child(lambda: in_child(lambda: put_and_find(registry, 3000, "before", "child"), then=(registry, 2000, "child")))
    registry.put(a_call(4000, trace=4000, response="parent"))
    leave.set()
    thread.join()
    found = ["before", "child", "grandchild", "parent", "thread-599"]
    print(
        json.dumps([[registry.by_response(each) is not None for each in found], registry._counters.total("set_aside")])
    )


def in_child(action: Callable[[], None], then: tuple[SQLiteCallRegistry, int, str] | None = None) -> None:
    child = os.fork()
    if child == 0:
        signal.alarm(HANGS_AFTER_SECONDS)  # kills a child that hangs
        if then is not None:
            put_and_find(then[0], then[1], "before", then[2])
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"the child ended with {status}")


def put_and_find(registry: SQLiteCallRegistry, number: int, known: str, own: str) -> None:
    registry.put(a_call(number, trace=number, response="grandchild" if number == 3000 else own))
    registry.upkeep()
    if registry.by_response(known) is None or registry.by_response(own) is None:
        os._exit(3)


def forking_in_c(path: str) -> None:
    """Forks as a C program does that runs no hooks of Python; prints what was counted in the child, and the parent's finds."""
    registry = new(path)
    idle = SQLiteCallRegistry(path + "2", time_ns=lambda: NOW, counters=Counters())
    registry.put(a_call(1, response="parent"))
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        signal.alarm(HANGS_AFTER_SECONDS)
        registry.put(a_call(2, response="child"))
        idle.put(a_call(2, response="child"))
        gone_on = registry.by_response("parent") is None and idle.by_response("child") is not None
        os._exit(registry._counters.total("registry_failed", "forked") if gone_on else 99)
    _, status = os.waitpid(child, 0)
    registry.put(a_call(3, response="after"))
    found = [each.by_response(text) is not None for each, text in ((registry, "after"), (idle, "child"))]
    print(json.dumps([os.waitstatus_to_exitcode(status), found, registry.by_response("child") is None]))


if __name__ == "__main__":
    {each.__name__: each for each in (traced, putting, several, forking, forking_in_c)}[sys.argv[1]](sys.argv[2])
