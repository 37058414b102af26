"""An application that sends the same votes to many collectors, each through a spool of its own.

usage: python -m tests.chaos.many TARGETS COUNT
TARGETS: JSON, a list of arguments of `configure`.
It records, gives each a second, waits until it is told to go on, and then delivers everything.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_llm_feedback import Pipeline, Target, configure, record_feedback
from tests.chaos.app import say


def begin(target: dict[str, Any], count: int) -> tuple[Pipeline, int]:
    """The pipeline to a target, and how many votes it has on disk."""
    pipeline = configure(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        logger_provider=LoggerProvider(shutdown_on_exit=False),
        export_logs=True,
        **target,
    )
    receipts = [record_feedback(Target.session("s"), True, feedback_id=f"v-{each:05d}") for each in range(count)]
    return pipeline, sum(receipt.status == "spooled" for receipt in receipts)


def main(targets: str, count: str) -> None:
    begun = [begin(target, int(count)) for target in json.loads(targets)]
    pipelines = [pipeline for pipeline, _ in begun]
    with ThreadPoolExecutor(len(begun)) as pool:
        flushed = list(pool.map(lambda each: each.flush(1.0), pipelines))
        reports = [[report.complete, report.remaining, report.last_failure] for report in flushed]
        say(spooled=[spooled for _, spooled in begun], reports=reports)
        os.read(0, 1)
        say(complete=[report.complete for report in pool.map(lambda each: each.flush(60.0), pipelines)])


if __name__ == "__main__":
    main(*sys.argv[1:])
