from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from otel_llm_feedback import CallRegistry, ConfigurationError, LLMCall
from otel_llm_feedback.counters import Counters
from otel_llm_feedback.spans.registry import default_registry

SECOND = 1_000_000_000


def a_call(
    span: int,
    *,
    trace: int = 1,
    votable: bool = True,
    response: str | None = None,
    conversation: str | None = None,
    message: str | None = None,
    end: int = 0,
) -> LLMCall:
    empty = dict.fromkeys(LLMCall._fields)
    return LLMCall(
        **{  # type: ignore[arg-type]  # the rest is None
            **empty,
            "trace_id": f"{trace:032x}",
            "span_id": f"{span:016x}",
            "trace_flags": 1,
            "votable": votable,
            "response_id": response,
            "conversation_id": conversation,
            "message_id": message,
            "start_time": end,
            "end_time": end,
        }
    )


def new(max_calls: int = 100, max_age_seconds: float = 60.0, now: int = 0) -> CallRegistry:
    return CallRegistry(max_calls, max_age_seconds, time_ns=lambda: now, counters=Counters())


def test_each_look_up() -> None:
    registry = new()
    call = a_call(1, response="r", conversation="c", message="m")
    registry.put(call)
    assert registry.by_span(call.trace_id, call.span_id) is call
    assert registry.by_trace(call.trace_id) is call
    assert registry.by_response("r") is call
    assert registry.by_conversation("c") is call
    assert registry.by_message("m") is call
    assert len(registry) == 1
    assert registry.by_span(f"{2:032x}", call.span_id) is None
    assert registry.by_span(call.trace_id, f"{2:016x}") is None
    for look_up in (registry.by_trace, registry.by_response, registry.by_conversation, registry.by_message):
        assert look_up("x") is None


def test_the_votable_call_counts() -> None:
    registry = new()
    tool = a_call(1, votable=False, conversation="c", message="m")
    registry.put(tool)
    assert registry.by_trace(tool.trace_id) is None
    assert registry.by_conversation("c") is None
    assert registry.by_message("m") is tool
    chat = a_call(2, conversation="c", message="m")
    registry.put(chat)
    registry.put(a_call(3, votable=False, conversation="c", message="m"))
    assert registry.by_trace(tool.trace_id) is registry.by_conversation("c") is registry.by_message("m") is chat


def test_the_same_span_again_leaves_nothing_of_before() -> None:
    registry = new()
    registry.put(a_call(1, trace=1, response="old", conversation="old", message="old"))
    call = a_call(1, trace=2, response="new")
    registry.put(call)
    assert len(registry) == 1
    assert registry.by_response("new") is call
    assert registry.by_trace(f"{1:032x}") is None
    assert registry.by_response("old") is registry.by_conversation("old") is registry.by_message("old") is None


def test_the_oldest_goes_first_and_is_counted() -> None:
    counters = Counters()
    registry = CallRegistry(2, time_ns=lambda: 0, counters=counters)
    for span in range(1, 6):
        registry.put(a_call(span, trace=span, response=f"r{span}"))
    assert [registry.by_response(f"r{span}") is not None for span in range(1, 6)] == [False, False, False, True, True]
    assert len(registry) == 2
    assert counters.snapshot() == {("forgotten", "max_calls"): 3}


def test_age() -> None:
    now = [0]
    registry = CallRegistry(max_age_seconds=10, time_ns=lambda: now[0], counters=Counters())
    registry.put(a_call(1, response="r", conversation="c", message="m", end=0))
    now[0] = 10 * SECOND
    assert registry.by_response("r") is not None
    now[0] += 1
    trace_id, span_id = f"{1:032x}", f"{1:016x}"
    assert registry.by_span(trace_id, span_id) is registry.by_trace(trace_id) is registry.by_response("r") is None
    assert registry.by_conversation("c") is registry.by_message("m") is None
    registry.put(a_call(2, end=now[0]))
    assert len(registry) == 1


def test_clear() -> None:
    registry = new()
    registry.put(a_call(1, response="r"))
    registry.clear()
    assert len(registry) == 0
    assert registry.by_response("r") is registry.by_trace(f"{1:032x}") is None


@pytest.mark.parametrize("value", [0, -1])
def test_bad_bounds(value: int) -> None:
    with pytest.raises(ConfigurationError, match="max_calls"):
        CallRegistry(value)
    with pytest.raises(ConfigurationError, match="max_age_seconds"):
        CallRegistry(max_age_seconds=value)


def test_age_that_is_not_a_number() -> None:
    with pytest.raises(ConfigurationError, match="max_age_seconds"):
        CallRegistry(max_age_seconds=float("nan"))


def test_the_process_has_one() -> None:
    assert default_registry() is default_registry()


KEYS = st.sampled_from(["a", "b", "c"]) | st.none()


class AgainstAModel(RuleBasedStateMachine):
    """The model: a list of calls, the newest last, searched from the end."""

    @initialize(max_calls=st.integers(1, 6))
    def start(self, max_calls: int) -> None:
        self.now = 0
        self.max_calls = max_calls
        self.registry = CallRegistry(max_calls, 100 / SECOND, time_ns=lambda: self.now, counters=Counters())
        self.kept: list[LLMCall] = []
        self.shapes: dict[int, tuple[int, bool, str | None, str | None, str | None]] = {}

    @rule(
        span=st.integers(1, 12),
        trace=st.integers(1, 3),
        votable=st.booleans(),
        response=KEYS,
        conversation=KEYS,
        message=KEYS,
    )
    def put(
        self,
        *,
        span: int,
        trace: int,
        votable: bool,
        response: str | None,
        conversation: str | None,
        message: str | None,
    ) -> None:
        # The same span may come twice, from two processors, but it says the same.
        shape = (trace, votable, response, conversation, message)
        trace, votable, response, conversation, message = self.shapes.setdefault(span, shape)
        call = a_call(
            span,
            trace=trace,
            votable=votable,
            response=response,
            conversation=conversation,
            message=message,
            end=self.now,
        )
        self.registry.put(call)
        others = [each for each in self.kept if each.span_id != call.span_id]
        self.kept = [each for each in [*others, call][-self.max_calls :] if self.now - (each.end_time or 0) <= 100]

    @rule(passed=st.integers(1, 60))
    def wait(self, passed: int) -> None:
        self.now += passed

    def fresh(self, field: str, key: str) -> list[LLMCall]:
        return [call for call in self.kept if getattr(call, field) == key and self.now - (call.end_time or 0) <= 100]

    @invariant()
    def spans_are_found(self) -> None:
        for span in range(1, 13):
            found = [self.registry.by_span(f"{trace:032x}", f"{span:016x}") for trace in range(1, 4)]
            assert [call for call in found if call] == self.fresh("span_id", f"{span:016x}")
        assert len(self.registry) == len(self.kept)

    @invariant()
    def every_key_finds_the_last_votable_call(self) -> None:
        for field, look_up, keys in (
            ("trace_id", self.registry.by_trace, [f"{trace:032x}" for trace in range(1, 4)]),
            ("response_id", self.registry.by_response, ["a", "b", "c"]),
            ("conversation_id", self.registry.by_conversation, ["a", "b", "c"]),
            ("message_id", self.registry.by_message, ["a", "b", "c"]),
        ):
            for key in keys:
                fitting = self.fresh(field, key)
                votable = [call for call in fitting if call.votable]
                found = look_up(key)
                if votable:
                    assert found is votable[-1]
                elif found is not None:  # a call nobody votes on is found by its own ids only, and the last one
                    assert field in {"response_id", "message_id"}
                    assert found is fitting[-1]


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_many_threads() -> None:
    counters = Counters()
    registry = CallRegistry(50, time_ns=lambda: 0, counters=counters)

    def work(thread: int) -> None:
        for number in range(500):
            span = thread * 1000 + number + 1
            registry.put(a_call(span, trace=span % 7 + 1, response=f"r{span % 11}", message=f"m{span % 5}"))
            registry.by_response(f"r{span % 11}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(registry) == 50
    assert counters.total("forgotten") == 8 * 500 - 50
    for number in range(60):  # whatever is found by a key is still there: nothing stale stayed in an index
        call = registry.by_response(f"r{number}")
        assert call is None or registry.by_span(call.trace_id, call.span_id) is call


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12 on: this is what is tested
def test_a_forked_child_does_not_wait_for_the_parents_threads() -> None:
    inside, leave = threading.Event(), threading.Event()
    slow = threading.Event()

    def clock() -> int:
        if slow.is_set() and threading.current_thread() is not threading.main_thread():
            inside.set()
            leave.wait(10)
        return 0

    registry = CallRegistry(1, time_ns=clock, counters=Counters())
    registry.put(a_call(1))
    slow.set()
    holder = threading.Thread(target=registry.put, args=(a_call(2),))
    holder.start()
    assert inside.wait(10)  # the thread is inside put, and holds the lock
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # kills a child that hangs
        registry.put(a_call(3, response="child"))
        os._exit(0 if registry.by_response("child") else 1)
    _, status = os.waitpid(child, 0)
    leave.set()
    holder.join(10)
    assert os.waitstatus_to_exitcode(status) == 0
    assert registry.by_response("child") is None
