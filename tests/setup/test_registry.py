from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_llm_feedback import SQLiteCallRegistry, Target, configure, record_feedback
from otel_llm_feedback.feedback.recorder import set_default_recorder
from otel_llm_feedback.spans.registry import default_registry, set_default_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = default_registry()
    yield
    set_default_registry(before)
    set_default_recorder(None)


def test_calls_go_to_the_registry_given_and_votes_find_them_there(tmp_path: Path) -> None:
    registry = SQLiteCallRegistry(tmp_path / "calls" / "registry.db")
    traces, logs = TracerProvider(), LoggerProvider()
    configure(tracer_provider=traces, logger_provider=logs, registry=registry)
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.response.id": "chatcmpl-1"}
    with traces.get_tracer("app").start_as_current_span("chat", attributes=attributes) as span:
        pass
    found = registry.by_response("chatcmpl-1")
    assert found is not None
    assert found.span_id == f"{span.get_span_context().span_id:016x}"
    assert default_registry() is registry
    registry.close()
    assert record_feedback(Target.response("chatcmpl-1"), True).status in ("emitted", "dropped")
