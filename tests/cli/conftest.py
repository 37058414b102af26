from __future__ import annotations

import pytest

from tests.cli.spools import Command


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    for name in ("OTEL_LLM_FEEDBACK_SPOOL_DIR", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return Command(capsys)
