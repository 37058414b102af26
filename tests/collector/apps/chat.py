"""An application that calls an LLM under one instrumentation, and prints what it would hand to its users.

usage: chat.py INSTRUMENTATION ENDPOINT PROTOCOL OPENAI_BASE_URL
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING

import openai
from opentelemetry import trace

from otel_llm_feedback import configure, current_target, llm_context

if TYPE_CHECKING:
    from collections.abc import Callable

INSTRUMENTORS = {
    "official": "opentelemetry.instrumentation.genai.openai",
    "openinference": "openinference.instrumentation.openai",
    "openllmetry": "opentelemetry.instrumentation.openai",
}


def main(instrumentation: str, endpoint: str, protocol: str, base_url: str) -> None:
    pipeline = configure(service_name=instrumentation, endpoint=endpoint, protocol=protocol)
    importlib.import_module(INSTRUMENTORS[instrumentation]).OpenAIInstrumentor().instrument()
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    steps = {"chat": chat, "stream": stream, "embeddings": embeddings, "error": error}
    print(json.dumps({name: request(name, step, client) for name, step in steps.items()}))
    assert pipeline.shutdown(timeout_seconds=20)


def request(name: str, step: Callable[[openai.OpenAI], None], client: openai.OpenAI) -> dict[str, str | None]:
    """One HTTP request to the application: a server span, inside it the LLM call, and then the ids for the answer."""
    tracer = trace.get_tracer("opentelemetry.instrumentation.asgi")
    with (
        tracer.start_as_current_span(f"POST /{name}", kind=trace.SpanKind.SERVER) as server,
        llm_context(conversation_id=f"talk-{name}", prompt_name="greeting", prompt_version="3"),
    ):
        step(client)
        target = current_target()
    assert target is not None
    return {
        "trace_id": target.trace_id,
        "span_id": target.span_id,
        "server_span_id": f"{server.get_span_context().span_id:016x}",
    }


def chat(client: openai.OpenAI) -> None:
    client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_tokens=10, temperature=0.2
    )


def stream(client: openai.OpenAI) -> None:
    chunks = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    assert list(chunks)


def embeddings(client: openai.OpenAI) -> None:
    client.embeddings.create(model="text-embedding-3-small", input="hi")


def error(client: openai.OpenAI) -> None:
    try:
        client.chat.completions.create(model="does-not-exist", messages=[{"role": "user", "content": "hi"}])
    except openai.NotFoundError:
        return
    raise AssertionError("the server knew the model")


if __name__ == "__main__":
    main(*sys.argv[1:])
