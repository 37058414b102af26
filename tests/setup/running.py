"""Runs an application of `tests/setup/apps` in a process of its own, which it may set up as it likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")


class Ended(NamedTuple):
    answer: Any  # the JSON of the last line that it printed
    printed: str  # the lines before
    said: str  # on standard error


def run(app: str, *arguments: str, environ: Mapping[str, str], instrumented: bool = False) -> Ended:
    """``environ`` comes on top of this process's, of which nothing about OpenTelemetry but the spool is passed on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_") or "SPOOL" in name}
    python = [str(INSTRUMENT), sys.executable] if instrumented else [sys.executable]
    done = subprocess.run(
        [*python, "-m", f"tests.setup.apps.{app}", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=ROOT,
        env={**kept, "PYTHONWARNINGS": "", "OTEL_METRICS_EXPORTER": "none", **environ},
    )
    assert done.returncode == 0, done.stderr
    *before, answer = done.stdout.splitlines()
    return Ended(json.loads(answer), "\n".join(before), done.stderr)
