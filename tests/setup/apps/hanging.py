"""An application whose collector accepts connections and never answers; prints how long flush and shutdown took.

usage: hanging.py ENDPOINT PROTOCOL DURABLE
"""

from __future__ import annotations

import json
import os
import sys
import time

from opentelemetry import trace

from otel_llm_feedback import configure, record_feedback


def main(endpoint: str, protocol: str, durable: str) -> None:
    pipeline = configure(service_name="hanging", endpoint=endpoint, protocol=protocol, durable=durable == "True")
    with trace.get_tracer("app").start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}) as span:
        receipt = record_feedback(span, True)
    began = time.monotonic()
    flushed = bool(pipeline.flush(0.5))
    then = time.monotonic()
    shut_down = bool(pipeline.shutdown(0.5))
    seconds = [then - began, time.monotonic() - then]
    print(json.dumps({"status": receipt.status, "ended": [flushed, shut_down], "seconds": seconds}), flush=True)
    os._exit(0)  # the providers' own exit handlers would wait for the exporters' time-outs


if __name__ == "__main__":
    main(*sys.argv[1:])
