"""The README's code runs, and what it says of settings and guarantees is what the code has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import otel_llm_feedback
from otel_llm_feedback.receiver import MemorySink, Receiver

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_there_is_code_to_run() -> None:
    assert BLOCKS


@pytest.mark.parametrize("block", BLOCKS)
def test_the_code_runs_and_its_vote_is_joined_to_its_call(block: str, tmp_path: Path) -> None:
    sink = MemorySink()
    with Receiver(sink) as receiver:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block],
            env=os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        (vote,) = [log for log in sink.logs if log.event_name == "gen_ai.evaluation.result"]
        calls = {
            (span.trace_id, span.span_id): span for span in sink.spans if "gen_ai.operation.name" in span.attributes
        }
        call = calls[vote.trace_id, vote.span_id]
        assert vote.attributes["gen_ai.request.model"] == call.attributes["gen_ai.request.model"]
        assert call.attributes["gen_ai.conversation.id"] == "c-17"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Za-z_]+)\(", README))))
def test_every_function_that_it_names_exists(name: str) -> None:
    assert hasattr(otel_llm_feedback, name) or any(hasattr(thing, name) for thing in vars(otel_llm_feedback).values())
