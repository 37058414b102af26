"""The chat application: what an application of its own would write to have its answers judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from otel_llm_feedback import current_target, llm_context, record_feedback

if TYPE_CHECKING:
    from collections.abc import Callable

    import openai
    from openai.types.chat import ChatCompletionMessageParam

    from otel_llm_feedback import Receipt

tracer = trace.get_tracer("demo.chat")


@dataclass(frozen=True)
class Answer:
    """One answer, and all that the page which shows it has to keep for a vote: two ids."""

    question: str
    text: str
    trace_id: str | None
    span_id: str | None

    @property
    def handle(self) -> str:
        return f"{self.trace_id}-{self.span_id}"


class Chat:
    """One conversation. `ask` is the handler of ``POST /chat``, `judge` that of ``POST /feedback``."""

    def __init__(self, client: openai.OpenAI, model: str, conversation_id: str) -> None:
        self._client = client
        self._model = model
        self._conversation_id = conversation_id
        self._messages: list[ChatCompletionMessageParam] = []

    def ask(self, question: str, show: Callable[[str], None] | None = None) -> Answer:
        """Answer a question; with ``show``, stream the answer to it piece by piece."""
        with (
            tracer.start_as_current_span("POST /chat", kind=SpanKind.SERVER),
            llm_context(conversation_id=self._conversation_id, prompt_name="demo-chat", prompt_version="1"),
        ):
            self._messages.append({"role": "user", "content": question})
            text = self._complete() if show is None else self._stream(show)
            self._messages.append({"role": "assistant", "content": text})
            target = current_target()
        # Without a call that could be judged, it is the span of the request itself.
        return Answer(question, text, target.trace_id if target else None, target.span_id if target else None)

    def judge(self, handle: str, *, good: bool, comment: str | None = None) -> Receipt:
        """Record a thumb on an earlier answer; the request that brings it has a trace of its own, and is not voted on."""
        with tracer.start_as_current_span("POST /feedback", kind=SpanKind.SERVER):
            return record_feedback(handle, good, comment=comment)

    def _complete(self) -> str:
        completion = self._client.chat.completions.create(model=self._model, messages=self._messages)
        return completion.choices[0].message.content or ""

    def _stream(self, show: Callable[[str], None]) -> str:
        pieces: list[str] = []
        chunks = self._client.chat.completions.create(
            model=self._model, messages=self._messages, stream=True, stream_options={"include_usage": True}
        )
        for chunk in chunks:
            if chunk.choices and (piece := chunk.choices[0].delta.content):
                pieces.append(piece)
                show(piece)
        return "".join(pieces)
