"""An application without a line of set-up: a handler calls an LLM and hands out its ids, another one records the vote.

usage: chat.py OPENAI_BASE_URL
"""

from __future__ import annotations

import json
import sys

import openai
from opentelemetry import trace

from otel_llm_feedback import current_target, llm_context, record_feedback


def main(base_url: str) -> None:
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    tracer = trace.get_tracer("app")
    with tracer.start_as_current_span("POST /chat"), llm_context(conversation_id="c-1", user_id="jane"):
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        target = current_target()
    assert target is not None
    handed_out = f"{target.trace_id}-{target.span_id}"
    with tracer.start_as_current_span("POST /feedback") as request:
        receipt = record_feedback(handed_out, True, user_id="jane")
    answer = {
        "trace_id": target.trace_id,
        "span_id": target.span_id,
        "request_trace_id": f"{request.get_span_context().trace_id:032x}",
        "status": receipt.status,
        "id": receipt.id,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
