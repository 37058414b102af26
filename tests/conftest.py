from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from otel_llm_feedback import boundary
from tests.collector.running import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

# On a shared, slow machine a deadline per example only measures the neighbours.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def _nothing_is_swallowed() -> Iterator[None]:
    """Internal errors, which the product keeps away from applications, fail the tests."""
    boundary.strict(True)
    yield
    boundary.strict(False)


@pytest.fixture(autouse=True)
def _own_spool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing that a test leaves undelivered reaches another test, or the user's own spool."""
    monkeypatch.setenv("OTEL_LLM_FEEDBACK_SPOOL_DIR", str(tmp_path / "spool"))


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    found = subprocess.run(
        [sys.executable, ROOT / "scripts" / "collector.py", "--cached"], capture_output=True, text=True, check=False
    )
    if found.returncode == 0:
        return Path(found.stdout.strip())
    reason = f"NO COLLECTOR to test with ({found.stderr.strip() or 'none built yet'}): run `make collector`"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def collector(collector_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A real collector with collector-config/local.yaml; one for each test module."""
    with Collector(collector_binary, tmp_path_factory.mktemp("collector")) as running:
        yield running
