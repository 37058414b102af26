"""Which call belongs to which task, thread and request."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from opentelemetry import trace
from opentelemetry.trace import Span

from otel_llm_feedback import current_target
from tests.spans.samples import CHAT, Pipeline
from tests.test_current import found, ids, in_a_new_thread


def call(pipeline: Pipeline, name: str = "chat") -> Span:
    with pipeline.llm.start_as_current_span(name, attributes=CHAT) as span:
        return span


def test_concurrent_tasks_of_one_trace_each_see_their_own() -> None:
    pipeline = Pipeline()

    async def one(number: int) -> bool:
        with pipeline.llm.start_as_current_span(f"{number}", attributes=CHAT) as span:
            await asyncio.sleep(0)
            while_open = found(pipeline) == ids(span)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return while_open and found(pipeline) == ids(span)

    async def run() -> list[bool]:
        with pipeline.http.start_as_current_span("POST /chat"):
            return await asyncio.gather(*(one(number) for number in range(10)))

    assert asyncio.run(run()) == [True] * 10


def test_what_tasks_did_is_found_by_the_trace() -> None:
    pipeline = Pipeline()

    async def one() -> Span:
        return call(pipeline)

    async def run() -> bool:
        with pipeline.http.start_as_current_span("POST /chat"):
            span = await asyncio.create_task(one())
            return found(pipeline) == ids(span)

    assert asyncio.run(run())


def test_concurrent_requests_never_see_each_other() -> None:
    pipeline = Pipeline()

    async def request(number: int) -> bool:
        with pipeline.http.start_as_current_span("POST /chat") as http:
            before = found(pipeline) == ids(http)
            await asyncio.sleep(0)
            span = call(pipeline)
            await asyncio.sleep(0)
            return before and found(pipeline) == ids(span)

    async def run() -> list[bool]:
        return await asyncio.gather(*(request(number) for number in range(20)))

    assert asyncio.run(run()) == [True] * 20


def test_a_reused_thread_never_offers_the_request_before() -> None:
    pipeline = Pipeline()

    def first() -> None:
        with pipeline.http.start_as_current_span("POST /chat"):
            span = call(pipeline)
            assert found(pipeline) == ids(span)

    def second_with_a_span() -> None:
        with pipeline.http.start_as_current_span("POST /chat") as http:
            assert found(pipeline) == ids(http)

    def second_without() -> None:
        assert current_target(pipeline.registry) is None

    def third_makes_its_own() -> None:
        span = call(pipeline)
        assert found(pipeline) == ids(span)

    with ThreadPoolExecutor(1) as pool:
        for request in (first, second_without, second_with_a_span, second_without, third_makes_its_own):
            pool.submit(request).result(10)


def test_a_request_span_never_gets_the_rootless_call_before() -> None:
    def work() -> None:
        pipeline = Pipeline()
        call(pipeline)
        with pipeline.http.start_as_current_span("POST /chat") as http:
            assert found(pipeline) == ids(http)
        with pipeline.http.start_as_current_span("POST /chat"):
            call(pipeline)
        assert found(pipeline) is None

    in_a_new_thread(work)


def test_an_open_call_of_another_trace_is_not_offered() -> None:
    def work() -> None:
        pipeline = Pipeline()
        other = pipeline.llm.start_span("chat", attributes=CHAT)
        with pipeline.http.start_as_current_span("POST /chat") as http:
            assert found(pipeline) == ids(http)
            mine = call(pipeline)
            assert found(pipeline) == ids(mine)
        assert found(pipeline) == ids(other)
        other.end()

    in_a_new_thread(work)


def test_a_stream_that_ends_in_another_thread() -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat"):
        stream = pipeline.llm.start_span("chat", attributes=CHAT)
        assert found(pipeline) == ids(stream)
        thread = threading.Thread(target=stream.end)
        thread.start()
        thread.join(10)
        assert found(pipeline) == ids(stream)
        target = current_target(pipeline.registry)
        assert target is not None
        assert target.call is not None
        assert target.call.end_time is not None


def test_a_stream_that_is_consumed_in_another_task() -> None:
    pipeline = Pipeline()

    async def stream(span: Span) -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number
        span.end()

    async def consume(chunks: AsyncIterator[int]) -> None:
        assert [chunk async for chunk in chunks] == [0, 1, 2]

    async def run() -> None:
        with pipeline.http.start_as_current_span("POST /chat"):
            span = pipeline.llm.start_span("chat", attributes=CHAT)
            task = asyncio.create_task(consume(stream(span)))
            assert found(pipeline) == ids(span)
            await task
            assert found(pipeline) == ids(span)

    asyncio.run(run())


def test_overlapping_streams() -> None:
    """The last that ended counts when none is open; before that, the one that started last."""
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat"):
        first = pipeline.llm.start_span("1", attributes=CHAT)
        second = pipeline.llm.start_span("2", attributes=CHAT)
        third = pipeline.llm.start_span("3", attributes=CHAT)
        second.end()
        assert found(pipeline) == ids(third)
        third.end()
        assert found(pipeline) == ids(first)
        tool = pipeline.llm.start_span("tool", attributes={"gen_ai.operation.name": "execute_tool"})
        assert found(pipeline) == ids(first)
        first.end()
        assert found(pipeline) == ids(first)
        tool.end()
        assert found(pipeline) == ids(first)


def test_a_closed_call_between_open_ones_is_remembered() -> None:
    """What is let go from the middle of a chain still counts, when it is what ended last here."""
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat"):
        early = call(pipeline)
        tools = [
            pipeline.llm.start_span("tool", attributes={"gen_ai.operation.name": "execute_tool"}) for _ in range(2)
        ]
        middle = pipeline.llm.start_span("middle", attributes=CHAT)
        last = pipeline.llm.start_span("tool", attributes={"gen_ai.operation.name": "execute_tool"})
        middle.end()
        after = pipeline.llm.start_span("tool", attributes={"gen_ai.operation.name": "execute_tool"})
        pipeline.registry.clear()  # so that only this execution context knows
        assert found(pipeline) == ids(middle) != ids(early)
        for span in (*tools, last, after):
            span.end()
        assert found(pipeline) == ids(middle)


def test_a_call_that_disappears_without_an_end() -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat"):
        first = call(pipeline)
        span = pipeline.llm.start_span("forgotten", attributes=CHAT)
        assert found(pipeline) == ids(span)
        del span
        assert found(pipeline) == ids(first)


def test_a_copied_context_has_what_was_before_the_copy() -> None:
    pipeline = Pipeline()
    with pipeline.http.start_as_current_span("POST /chat"):
        before = call(pipeline)
        copied = contextvars.copy_context()
        after = call(pipeline)
        pipeline.registry.clear()
        assert copied.run(found, pipeline) == ids(before)
        assert found(pipeline) == ids(after)


def test_two_traces_in_one_context() -> None:
    pipeline = Pipeline()
    one = pipeline.http.start_span("one")
    two = pipeline.http.start_span("two")
    with trace.use_span(one):
        first = call(pipeline)
    with trace.use_span(two):
        second = call(pipeline)
        assert found(pipeline) == ids(second)
    with trace.use_span(one, end_on_exit=True):
        assert found(pipeline) == ids(first)
    two.end()
