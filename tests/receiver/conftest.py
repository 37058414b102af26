from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otel_llm_feedback.receiver import MemorySink, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def receiver(sink: MemorySink) -> Iterator[Receiver]:
    with Receiver(sink) as running:
        yield running
