"""What a call registry is: the one thing that captured calls go to and that votes ask."""

from __future__ import annotations

from typing import Protocol

from otel_llm_feedback.spans.call import LLMCall

__all__ = ["Registry"]


class Registry(Protocol):
    """Finds a captured call by any id that a vote may come back with. `CallRegistry` and `SQLiteCallRegistry` are two.

    Every method may be called from any thread. Where several calls fit, the one that was put last counts, but votable ones
    before others. A registry may forget calls, never change them. It is asked while the application answers a request: keep
    it quick, and say None rather than raise when it cannot tell.
    """

    def put(self, call: LLMCall) -> None:
        """Remember an ended call; the same span again replaces what was known of it."""

    def by_span(self, trace_id: str, span_id: str) -> LLMCall | None:
        """The call of exactly this span."""

    def by_trace(self, trace_id: str) -> LLMCall | None:
        """The votable call of this trace that ended last."""

    def by_response(self, response_id: str) -> LLMCall | None:
        """The call that the provider answered with this ``gen_ai.response.id``."""

    def by_conversation(self, conversation_id: str) -> LLMCall | None:
        """The votable call of this conversation that ended last."""

    def by_message(self, message_id: str) -> LLMCall | None:
        """The call made for this message id of the application."""
