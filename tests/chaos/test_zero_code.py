"""Set up by environment variables alone, under the real `opentelemetry-instrument`: the vote is on disk all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.running import App, all_accounted, drain, names, span_names
from tests.delivery.scripted_server import Hang, ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.newest


@pytest.mark.parametrize(("count", "protocol"), [(1, "grpc"), (1000, "http/protobuf")])
def test_a_vote_survives_a_kill_right_after_it_was_recorded(tmp_path: Path, count: int, protocol: str) -> None:
    with ScriptedServer(protocol, default=Hang()) as silent:
        environ = {
            "OTEL_LOGS_EXPORTER": "llm_feedback_spool",
            "OTEL_TRACES_EXPORTER": "llm_feedback_spool",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LLM_FEEDBACK_SPOOL_DIR": str(tmp_path),
            "OTEL_EXPORTER_OTLP_ENDPOINT": silent.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }
        steps = ("bare", "spans 10", f"record {count}", "kill")
        with App(*steps, environ=environ, instrumented=True, prefix="v") as app:
            assert app.hear("spooled")["spooled"] == count
            app.exit(-9)
    assert all_accounted(tmp_path, None, names(count)).places() == (0, count, 0)
    assert sorted(span_names(tmp_path)) == names(10)

    with ScriptedServer() as server:
        drain(tmp_path, server.endpoint)
        assert set(names(10)) <= set(server.received)
        assert len(server.received) == count + 10
