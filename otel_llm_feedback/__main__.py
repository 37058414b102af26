"""``python -m otel_llm_feedback`` is the command ``otel-llm-feedback``."""

from __future__ import annotations

import sys

from otel_llm_feedback.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
