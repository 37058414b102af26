from __future__ import annotations

import pytest
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry._logs._internal import ProxyLoggerProvider

from otel_llm_feedback.otel_logs import APILoggerProvider, LoggerProvider, is_missing


@pytest.mark.parametrize("provider", [NoOpLoggerProvider(), ProxyLoggerProvider()])
def test_the_providers_of_the_api_do_nothing(provider: APILoggerProvider) -> None:
    assert is_missing(provider)


@pytest.mark.parametrize("module", [LoggerProvider.__module__, "acme._logs", "acme"])
def test_anybody_elses_provider_is_there(module: str) -> None:
    theirs = type("Provider", (LoggerProvider,), {"__module__": module})
    assert not is_missing(theirs(shutdown_on_exit=False))
