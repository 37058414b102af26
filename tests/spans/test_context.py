from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import context as otel_context

from otel_llm_feedback import InvalidField, llm_context
from otel_llm_feedback.spans.context import MAX_LENGTH, tags_in


def tags() -> dict[str, object]:
    return dict(tags_in(None))


def test_names() -> None:
    custom: dict[str, Any] = {"my.flag": True, "my.int": 5, "my.float": 0.5, "my.list": ["x", "y"]}
    with llm_context(
        conversation_id="c",
        user_id="u",
        session_id="s",
        message_id="m",
        prompt_name="p",
        prompt_version="1",
        agent_name="a",
        agent_id="ai",
        agent_version="2",
        workflow_name="w",
        environment="prod",
        **custom,
    ):
        assert tags() == {
            "gen_ai.conversation.id": "c",
            "user_id": "u",
            "session.id": "s",
            "llm_feedback.target.message.id": "m",
            "gen_ai.prompt.name": "p",
            "gen_ai.prompt.version": "1",
            "gen_ai.agent.name": "a",
            "gen_ai.agent.id": "ai",
            "gen_ai.agent.version": "2",
            "gen_ai.workflow.name": "w",
            "deployment.environment.name": "prod",
            **custom,
        }
    assert tags() == {}


def test_blocks_nest() -> None:
    with llm_context(conversation_id="outer", user_id="u"):
        with llm_context(conversation_id="inner", user_id=None, message_id="m"):
            assert tags() == {
                "gen_ai.conversation.id": "inner",
                "user_id": "u",
                "llm_feedback.target.message.id": "m",
            }
        assert tags() == {"gen_ai.conversation.id": "outer", "user_id": "u"}


def test_an_error_ends_the_block_and_goes_on() -> None:
    with pytest.raises(KeyError), llm_context(user_id="u"):
        raise KeyError
    assert tags() == {}


def test_one_block_at_a_time() -> None:
    block = llm_context(user_id="u")
    with block:
        assert tags() == {"user_id": "u"}
        with pytest.raises(InvalidField, match="anew"), block:
            pass
        assert tags() == {"user_id": "u"}
    with block:
        assert tags() == {"user_id": "u"}
    block.__exit__(None, None, None)
    assert tags() == {}


def test_decorator() -> None:
    @llm_context(user_id="u")
    def look(more: int) -> tuple[int, dict[str, object]]:
        """Kept."""
        return more, tags()

    assert look(5) == look(more=5) == (5, {"user_id": "u"})
    assert (look.__name__, look.__doc__) == ("look", "Kept.")
    assert tags() == {}


def test_decorator_called_in_itself_and_in_threads() -> None:
    @llm_context(user_id="u")
    def look(depth: int) -> dict[str, object]:
        return look(depth - 1) if depth else tags()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, range(20))) == [{"user_id": "u"}] * 20


def test_decorator_of_a_coroutine() -> None:
    @llm_context(user_id="u")
    async def look() -> dict[str, object]:
        await asyncio.sleep(0)
        return tags()

    async def run() -> list[dict[str, object]]:
        return list(await asyncio.gather(look(), look()))

    assert asyncio.run(run()) == [{"user_id": "u"}] * 2
    assert tags() == {}


def test_generators_cannot_be_decorated() -> None:
    def sync() -> Iterator[int]:
        yield 1

    async def asynchronous() -> AsyncIterator[int]:
        yield 1

    for function in (sync, asynchronous):
        with pytest.raises(InvalidField, match="inside it"):
            llm_context(user_id="u")(function)


def test_tasks_keep_their_own() -> None:
    async def one(user: str) -> object:
        with llm_context(user_id=user):
            await asyncio.sleep(0)
            return tags()["user_id"]

    async def run() -> list[object]:
        with llm_context(session_id="s"):
            return await asyncio.gather(*(one(f"u{number}") for number in range(5)))

    assert asyncio.run(run()) == [f"u{number}" for number in range(5)]


def test_another_context() -> None:
    with llm_context(user_id="u"):
        here = otel_context.get_current()
    assert tags_in(here) == {"user_id": "u"}
    assert tags_in(otel_context.Context()) == {}


@pytest.mark.parametrize("name", ["conversation_id", "user_id", "agent_id", "my.own"])
@pytest.mark.parametrize("value", ["", "x" * (MAX_LENGTH + 1), b"bytes", {"a": 1}, object(), [], ["a", 5], [""], 2**63])
def test_bad_values(name: str, value: Any) -> None:
    with pytest.raises(InvalidField) as caught:
        llm_context(**{name: value})
    assert caught.value.field == name
    assert name in str(caught.value)
    assert "xxx" not in str(caught.value)
    assert tags() == {}


@pytest.mark.parametrize("value", [5, True, 0.5])
def test_ids_are_text(value: Any) -> None:
    with pytest.raises(InvalidField, match="conversation_id=<"):
        llm_context(conversation_id=value)
    with pytest.raises(InvalidField, match="agent_version=<"):
        llm_context(agent_version=value)


def test_lone_surrogates_are_replaced() -> None:
    with llm_context(conversation_id="a\ud800b"):
        assert tags() == {"gen_ai.conversation.id": "a?b"}


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidField, match="name"):
        llm_context(**{name: "value"})
