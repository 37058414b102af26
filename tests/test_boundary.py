from __future__ import annotations

import pytest

from otel_llm_feedback import boundary
from otel_llm_feedback.counters import DEFAULT_COUNTERS


@pytest.fixture(autouse=True)
def _fresh() -> None:
    boundary.strict(False)
    boundary.forget_what_was_said()


def test_errors_are_counted_and_said_once_without_what_they_were_about(caplog: pytest.LogCaptureFixture) -> None:
    before = DEFAULT_COUNTERS.total("internal_error", "KeyError")
    for secret in ("secret1", "secret2"):
        boundary.swallow("there", KeyError(secret))
    assert DEFAULT_COUNTERS.total("internal_error", "KeyError") == before + 2
    [record] = caplog.records
    assert (record.name, record.levelname) == ("otel_llm_feedback", "WARNING")
    assert "there failed with KeyError" in record.getMessage()
    assert "secret" not in record.getMessage()
    assert record.exc_info is None


def test_each_place_and_kind_is_said(caplog: pytest.LogCaptureFixture) -> None:
    boundary.swallow("here", KeyError())
    boundary.swallow("there", KeyError())
    boundary.swallow("there", ValueError())
    assert len(caplog.messages) == 3


def test_strict_mode_lets_errors_through() -> None:
    boundary.strict(True)
    error = KeyError()
    before = DEFAULT_COUNTERS.total("internal_error")
    with pytest.raises(KeyError) as caught:
        boundary.swallow("there", error)
    assert caught.value is error
    assert DEFAULT_COUNTERS.total("internal_error") == before


def test_say_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        boundary.say_once("key", "said %s", "so")
    boundary.say_once("other", "more")
    assert caplog.messages == ["said so", "more"]
    boundary.forget_what_was_said()
    boundary.say_once("key", "said again")
    assert caplog.messages[-1] == "said again"
