"""Calls beside their feedback, joined by trace id and span id, as any backend would join them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from demo.backend import Record

WIDTH = 100


def votes_by_span(logs: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    """Feedback by the span that it is about; a vote revised is shown as it is now."""
    found: dict[tuple[str, str], dict[str, Record]] = defaultdict(dict)
    for log in logs:
        if log.name == "gen_ai.evaluation.result":
            found[log.trace_id, log.span_id][log.attributes["llm_feedback.id"]] = log
    return {ids: list(votes.values()) for ids, votes in found.items()}


def rows(spans: Iterable[Record], logs: Iterable[Record], questions: dict[str, str]) -> Iterator[str]:
    """One line for each LLM call, and one below it for each piece of feedback."""
    votes = votes_by_span(logs)
    for span in spans:
        if "gen_ai.operation.name" in span.attributes:
            get = span.attributes.get
            usage = f"{get('gen_ai.usage.input_tokens', 0)}+{get('gen_ai.usage.output_tokens', 0)} tokens"
            model = get("gen_ai.response.model") or get("gen_ai.request.model", "")
            yield f"{span.trace_id[:8]}/{span.span_id[:8]}  {get('gen_ai.operation.name')} {model}  {usage}"
            yield f"    asked     {shorten(questions.get(span.span_id, ''))}"
            for vote in votes.get((span.trace_id, span.span_id), ()):
                yield f"    feedback  {describe(vote)}"


def describe(vote: Record) -> str:
    thumb = {"pass": "\N{THUMBS UP SIGN}", "fail": "\N{THUMBS DOWN SIGN}"}.get(
        vote.attributes.get("gen_ai.evaluation.score.label", ""), ""
    )
    return f"{thumb} {shorten(vote.attributes.get('gen_ai.evaluation.explanation', ''))}".rstrip()


def shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def joined(spans: Iterable[Record], logs: Iterable[Record], receipts: Iterable[str]) -> int:
    """How many of these receipts have arrived on an LLM call that has arrived too."""
    calls = {(span.trace_id, span.span_id) for span in spans if "gen_ai.operation.name" in span.attributes}
    arrived = {
        vote.attributes["llm_feedback.id"]
        for ids, votes in votes_by_span(logs).items()
        if ids in calls
        for vote in votes
    }
    return sum(receipt in arrived for receipt in receipts)
