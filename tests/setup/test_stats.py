from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_llm_feedback import Target, configure, record_feedback
from otel_llm_feedback.feedback.recorder import set_default_recorder

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "http://127.0.0.1:9"


def test_a_pipeline_tells_what_waits_in_its_spool(tmp_path: Path) -> None:
    traces, logs = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    pipeline = configure(
        tracer_provider=traces, logger_provider=logs, export_logs=True, endpoint=NOBODY, spool_dir=tmp_path / "spool"
    )
    try:
        assert record_feedback(Target.session("s"), True).status == "spooled"
        stats = pipeline.stats()
        assert stats is not None
        assert stats.records == {"logs": 1, "traces": 0}
        report = pipeline.shutdown(2)
        assert (report.complete, report.remaining) == (False, 1)
    finally:
        set_default_recorder(None)


def test_without_a_spool_there_is_nothing_to_tell() -> None:
    pipeline = configure(tracer_provider=TracerProvider(), logger_provider=LoggerProvider())
    assert pipeline.stats() is None
    set_default_recorder(None)
