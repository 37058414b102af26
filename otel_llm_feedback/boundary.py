"""The one place that swallows: telemetry must never break the application that it watches.

Hooks that the SDK calls inside application code (a span processor's ``on_start``, an exporter's ``export``) hand whatever
was raised to `swallow`: it is logged once per kind and counted as ("internal_error", type name). Tests call ``strict(True)``
and the same errors pass through.
"""

from __future__ import annotations

import logging

from otel_llm_feedback.counters import DEFAULT_COUNTERS

__all__ = ["say_once", "strict", "swallow"]

logger = logging.getLogger("otel_llm_feedback")

_said: set[str] = set()
_strict = False


def strict(on: bool) -> None:
    """Let internal errors through instead of swallowing them (for tests)."""
    global _strict
    _strict = on


def swallow(where: str, error: Exception) -> None:
    """Count an internal error and log the first of its kind at this place; the message leaves out what it was about."""
    if _strict:
        raise error
    kind = type(error).__name__
    DEFAULT_COUNTERS.add("internal_error", kind)
    say_once(
        f"{where}/{kind}", "%s failed with %s; the application goes on, further ones are only counted", where, kind
    )


def say_once(key: str, message: str, *args: object) -> None:
    """Log a warning the first time ``key`` is given in this process, and never again."""
    if key in _said:
        return
    _said.add(key)
    logger.warning(message, *args)


def forget_what_was_said() -> None:
    """Make `say_once` start anew (for tests)."""
    _said.clear()
