"""The demo's server with the real ``openai`` client."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import openai
import pytest

from demo.openai_server import DIMENSIONS, OpenAIServer, answer, embed

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 20.0  # seconds; only ever reached by a test that fails


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def client(server: OpenAIServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", timeout=TIMEOUT) as opened:
        yield opened


def ask(client: openai.OpenAI, question: str, model: str = "demo") -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])


def test_a_chat_completion(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="demo-1",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]},
        ],
    )
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{24}", completion.id)
    assert completion.model == "demo-1"
    assert completion.choices[0].message.content == "The capital of France is Paris."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens) == (
        8,
        6,
        14,
    )


def test_the_answer_repeats_and_the_id_does_not(client: openai.OpenAI) -> None:
    first, second = ask(client, "What is a span?"), ask(client, "What is a span?")
    assert first.choices == second.choices
    assert first.id != second.id


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream(client: openai.OpenAI, include_usage: bool) -> None:
    stream = client.chat.completions.create(
        model="demo",
        messages=[{"role": "user", "content": "Hello!"}],
        stream=True,
        stream_options={"include_usage": include_usage},
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len(deltas) > 5
    assert "".join(deltas) == answer("hello")
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert [usage.total_tokens for usage in usages] == ([10] if include_usage else [])


def test_a_stream_that_is_abandoned(client: openai.OpenAI, capfd: pytest.CaptureFixture[str]) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hello!"}]
    stream = client.chat.completions.create(model="demo", messages=messages, stream=True)
    next(iter(stream))
    stream.close()
    assert ask(client, "hi").choices
    assert capfd.readouterr() == ("", "")


def test_embeddings_in_the_client_s_default_encoding(client: openai.OpenAI) -> None:
    response = client.embeddings.create(model="demo-embed", input=["a trace", "another trace"])
    assert [item.index for item in response.data] == [0, 1]
    assert response.data[0].embedding == pytest.approx(embed("a trace"), abs=1e-6)
    assert response.usage.prompt_tokens == 4


def test_embeddings_as_numbers(client: openai.OpenAI) -> None:
    response = client.embeddings.create(model="demo-embed", input="a trace", encoding_format="float")
    assert response.data[0].embedding == embed("a trace")
    assert len(response.data[0].embedding) == DIMENSIONS


def test_texts_with_common_words_are_closer() -> None:
    def likeness(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(embed(one), embed(other), strict=True))

    assert likeness("what is a trace", "what is a trace") == pytest.approx(1)
    assert likeness("what is a trace", "what is a span") > likeness("what is a trace", "bananas are yellow")
    assert likeness("", "") == pytest.approx(1)


def test_an_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, "hi", "does-not-exist")
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id is not None


def test_an_overloaded_model_is_asked_once(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client, "hi", "overloaded")
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"


def test_the_client_s_mistakes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="at least one message"):
        client.chat.completions.create(model="demo", messages=[])
    with pytest.raises(openai.BadRequestError, match="list of strings"):
        client.embeddings.create(model="demo", input=[[1, 2]])
    with pytest.raises(openai.NotFoundError, match="Unknown request URL"):
        client.completions.create(model="demo", prompt="hi")
    with pytest.raises(openai.APIStatusError, match="Only POST"):
        client.models.list()


@pytest.mark.parametrize(
    ("length", "body"),
    [("-1", b""), ("999999999", b""), ("3", b"{}}"), ("2", b"[]"), ("2", b"{}"), ("100000", b"[" * 100_000)],
)
def test_a_body_that_is_no_request(server: OpenAIServer, length: str, body: bytes) -> None:
    host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        connection.sendall(f"POST /v1/embeddings HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode() + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_what_nobody_wrote_an_answer_for_is_echoed() -> None:
    assert answer("Why is\n the sky blue?").startswith("You said: “Why is the sky blue?”.")
    assert len(answer("a" * 10_000)) < 400
