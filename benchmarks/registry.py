"""What a call costs in the registry file that processes share, beside the one in memory: time to put, room, time to look up.

usage: python -m benchmarks.registry [CALLS]
"""

from __future__ import annotations

import gc
import os
import random
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING

from otel_llm_feedback import CallRegistry, LLMCall
from otel_llm_feedback.spans.sqlite_registry import SQLiteCallRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_llm_feedback.spans.registries import Registry

CALLS = 1_000_000
IN_MEMORY = 200_000  # a million would take gigabytes, and cost no more each
SAMPLE = 5_000
PUTS_BEFORE_UPKEEP = 2_048
PUT_AIM = 30.0


@dataclass(frozen=True)
class Times:
    """Microseconds, of both registries in turn."""

    name: str
    memory: list[float]
    file: list[float]
    aim: float | None = None

    def __str__(self) -> str:
        (memory, memory_99), (file, file_99) = ((at(times, 0.5), at(times, 0.99)) for times in (self.memory, self.file))
        aim = "" if self.aim is None else f"  aim <= {self.aim:g}{'' if file <= self.aim else '  MISSED'}"
        times = f"p50 {memory:7.2f} -> {file:7.2f} us   p99 {memory_99:7.2f} -> {file_99:7.2f} us"
        return f"{self.name:34} {file / memory:6.1f}x  {times}{aim}"


def at(times: list[float], share: float) -> float:
    """The time that this share of the times stays below."""
    return sorted(times)[int(len(times) * share)]


def report(calls: int) -> Iterator[str]:
    """One line for each thing that is measured."""
    with shared_file(calls) as (registry, path):
        sample, seconds = fill(registry, calls, registry.upkeep)
        yield f"{calls} calls put and indexed in {seconds:.0f} s, {seconds / calls * 1e6:.0f} us each"
        before = resident()
        memory = CallRegistry(calls)
        in_memory, _ = fill(memory, min(calls, IN_MEMORY))
        taken = (resident() - before) / min(calls, IN_MEMORY)
        yield f"bytes per call: {taken:.0f} in memory, {path.stat().st_size / calls:.0f} in the file"
        fresh = [a_call() for _ in range(SAMPLE)]
        yield str(Times("put", timed(memory.put, fresh), timed(registry.put, fresh), PUT_AIM))
        registry.upkeep()
        registry.upkeep()
        for (name, of_file), (_, of_memory) in zip(look_ups(registry), look_ups(memory), strict=True):
            yield str(Times(f"look up by {name}", timed(of_memory, in_memory), timed(of_file, sample)))
        for call in fresh[:200]:
            registry.put(call)
        of_memory, of_file = (next(look_ups(each))[1] for each in (memory, registry))
        yield str(Times("look up by span, 200 calls fresh", timed(of_memory, in_memory), timed(of_file, sample)))


def look_ups(registry: Registry) -> Iterator[tuple[str, Callable[[LLMCall], LLMCall | None]]]:
    """Each way to find a call that is there."""
    yield "span", lambda call: registry.by_span(call.trace_id, call.span_id)
    yield "trace", lambda call: registry.by_trace(call.trace_id)
    yield "response", lambda call: registry.by_response(call.response_id or "")
    yield "conversation", lambda call: registry.by_conversation(call.conversation_id or "")
    yield "message", lambda call: registry.by_message(call.message_id or "")


@contextmanager
def shared_file(calls: int) -> Iterator[tuple[SQLiteCallRegistry, Path]]:
    """A registry for so many calls, in a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "calls.db"
        registry = SQLiteCallRegistry(path, calls)
        try:
            yield registry, path
        finally:
            registry.close()


def fill(registry: Registry, calls: int, upkeep: Callable[[], None] | None = None) -> tuple[list[LLMCall], float]:
    """Put so many calls; a sample of them, in no order, and the seconds it took."""
    sample, start = [], perf_counter_ns()
    for number in range(calls):
        call = a_call()
        registry.put(call)
        if number % max(1, calls // SAMPLE) == 0:
            sample.append(call)
        if upkeep is not None and number % PUTS_BEFORE_UPKEEP == 0:
            upkeep()
    if upkeep is not None:
        upkeep()
        upkeep()
    random.shuffle(sample)
    return sample, (perf_counter_ns() - start) / 1e9


def a_call() -> LLMCall:
    """A chat with ids as providers and applications make them."""
    now = time_ns()
    return LLMCall(
        trace_id=digits(32),
        span_id=digits(16),
        trace_flags=1,
        operation="chat",
        votable=True,
        provider="openai",
        request_model="gpt-4o-mini",
        response_model="gpt-4o-mini-2024-07-18",
        response_id="chatcmpl-" + digits(29),
        conversation_id=digits(32),
        message_id=digits(32),
        prompt_name=None,
        prompt_version=None,
        agent_id=None,
        agent_name="support",
        agent_version=None,
        workflow_name=None,
        input_tokens=1200,
        output_tokens=300,
        start_time=now - 1_200_000_000,
        end_time=now,
        error_type=None,
    )


def digits(count: int) -> str:
    """So many random hex digits."""
    return f"{random.getrandbits(4 * count):0{count}x}"


def timed(action: Callable[[LLMCall], object], calls: list[LLMCall]) -> list[float]:
    """Microseconds of each."""
    gc.collect()
    gc.disable()
    try:
        times = []
        for call in calls:
            start = perf_counter_ns()
            action(call)
            times.append((perf_counter_ns() - start) / 1000)
        return times
    finally:
        gc.enable()


def resident() -> int:
    """Bytes of memory that this process takes (Linux)."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(argv: list[str]) -> None:
    for line in report(int(argv[0]) if argv else CALLS):
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
