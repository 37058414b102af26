"""What people wrote: redacted or withheld as the settings say, then cut, with a mark for what was cut."""

from __future__ import annotations

from collections import Counter

from otel_llm_feedback.feedback.fields import as_json, clean_text
from otel_llm_feedback.redaction import Content

__all__ = ["Wording"]

MARGIN = 256
"""Characters beyond the limit that are redacted too, so that nothing is recognised only by halves at the cut."""


class Wording:
    """Cleans the texts of one event. marks: what was cut; redactions: what was replaced, by kind."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.marks: list[str] = []
        self.redactions: Counter[str] = Counter()

    def text(self, field: str, value: object, limit: int) -> str | None:
        """The text that may be sent, or None. Raises InvalidField when it is none."""
        if self._content.mode == "on" or not isinstance(value, str):
            return clean_text(field, value, limit, self.marks)
        cut: list[str] = []
        plain = clean_text(field, value, limit + MARGIN, cut)
        cleaned = self._content.clean(plain, self.redactions)
        if cleaned is None:
            return None
        if len(value) > limit + MARGIN:
            cleaned = cleaned[: max(0, len(cleaned) - MARGIN)]
        if cut or len(cleaned) > limit:
            self.marks.append(f"{field}:{len(value)}")
        return cleaned[:limit]

    def json(self, field: str, value: object, limit: int) -> str | None:
        """The same for any JSON value, as JSON text."""
        return self.text(field, as_json(field, value), limit)
