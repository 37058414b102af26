from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo.openai_server import OpenAIServer
from otel_llm_feedback import boundary
from otel_llm_feedback.feedback.recorder import set_default_recorder
from otel_llm_feedback.receiver import MemorySink, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_traces_of_set_ups() -> Iterator[None]:
    """What `configure` leaves in this process. No test here sets the global providers: subprocesses do."""
    boundary.forget_what_was_said()
    yield
    set_default_recorder(None)
    boundary.forget_what_was_said()


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def receiver(sink: MemorySink) -> Iterator[Receiver]:
    with Receiver(sink) as running:
        yield running


@pytest.fixture(scope="package")
def openai_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server
