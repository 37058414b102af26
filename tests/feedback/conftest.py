from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otel_llm_feedback import boundary
from tests.feedback.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _nothing_was_said() -> Iterator[None]:
    """Each test hears the warnings that a process gives once."""
    boundary.forget_what_was_said()
    yield
    boundary.forget_what_was_said()


@pytest.fixture
def world() -> World:
    return World()
