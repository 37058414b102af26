"""The answer to every `record_feedback`: what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from otel_llm_feedback.errors import FeedbackLost

__all__ = ["Receipt", "Status"]

Status: TypeAlias = Literal["spooled", "emitted", "dropped"]


@dataclass(frozen=True)
class Receipt:
    """What became of one feedback event; ``str(receipt)`` is its id.

    id: ``llm_feedback.id`` of the record.
    status: ``spooled``: on disk, it survives this process. ``emitted``: handed to the OpenTelemetry SDK. ``dropped``: lost.
    reason: why it was dropped, or what part of it was; "" when nothing was.
    """

    id: str
    status: Status
    reason: str = ""

    def __str__(self) -> str:
        return self.id

    def raise_for_loss(self) -> None:
        """Raise FeedbackLost if the feedback was dropped."""
        if self.status == "dropped":
            raise FeedbackLost(f"feedback {self.id} was dropped: {self.reason}")
