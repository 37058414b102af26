"""What people wrote: redacted or withheld as the settings say, then cut, with a mark for what was cut."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from otel_llm_feedback.feedback.fields import as_json, clean_text
from otel_llm_feedback.redaction import Content

__all__ = ["Wording"]

MARGIN = 256
"""Characters beyond the limit that are redacted too, so that nothing is recognised only by halves at the cut."""

SHORT_NUMBER = 5
"""Numbers of so few characters are no card, phone or account."""

_LITERAL = r'"[^"\\]*(?:\\.[^"\\]*)*'
_ENTRY = re.compile(rf'(?:({_LITERAL}"):)?({_LITERAL}"?|-?[0-9][0-9.eE+-]*)')
"""A text or number in JSON without spaces, with its key if it has one; the last text may lack its end."""


_CUT_ESCAPE = re.compile(r"((?<!\\)(?:\\\\)*)\\u[0-9a-f]{0,3}\Z")


class Wording:
    """Cleans the texts of one event. marks: what was cut; redactions: what was replaced, by kind; withheld: how many texts
    the settings keep from being sent.
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        self.marks: list[str] = []
        self.redactions: dict[str, int] = {}
        self.withheld = 0

    def text(self, field: str, value: object, limit: int) -> str | None:
        """The text that may be sent, or None. Raises InvalidField when it is none."""
        return self._cleaned(field, value, limit, self._redacted)

    def json(self, field: str, value: object, limit: int) -> str | None:
        """The same for any JSON value, as JSON text; unless it is cut, redaction leaves it valid."""
        return self._cleaned(field, as_json(field, value), limit, self._redacted_json)

    def either(self, field: str, value: object, limit: int) -> str | None:
        """A text as text, everything else as JSON."""
        return self.text(field, value, limit) if isinstance(value, str) else self.json(field, value, limit)

    def _cleaned(self, field: str, value: object, limit: int, redacted: Callable[[str], str]) -> str | None:
        mode = self._content.mode
        if mode != "redacted" or not isinstance(value, str):
            text = clean_text(field, value, limit, self.marks if mode == "on" else [])
            self.withheld += mode == "off"
            return text if mode == "on" else None
        if len(value) <= limit and self._content.redactor.is_harmless(value):
            return str(value)
        cut: list[str] = []
        cleaned = redacted(clean_text(field, value, limit + MARGIN, cut))
        if len(value) > limit + MARGIN:
            cleaned = cleaned[: max(0, len(cleaned) - MARGIN)]
        if cut or len(cleaned) > limit:
            self.marks.append(f"{field}:{len(value)}")
        return cleaned[:limit]

    def _redacted(self, text: str) -> str:
        cleaned, found = self._content.redactor.redact(text)
        self._count(found)
        return cleaned

    def _count(self, found: Mapping[str, int]) -> None:
        for kind, count in found.items():
            self.redactions[kind] = self.redactions.get(kind, 0) + count

    def _redacted_json(self, text: str) -> str:
        """Redacted text by text: what stands beside one in JSON, such as the n of a new line, is not part of it."""
        return _ENTRY.sub(self._redacted_entry, text)

    def _redacted_entry(self, entry: re.Match[str]) -> str:
        key, literal = entry.groups()
        if literal[0] != '"' and len(literal) <= SHORT_NUMBER:
            return f"{self._redacted_literal(key)}:{literal}" if key else literal
        if key is None:
            return self._redacted_literal(literal)
        text, context = _decoded(literal), f"{_decoded(key)}: "
        cleaned, found = self._content.redactor.redact(context + text)  # "phone" tells what the number is
        if not cleaned.startswith(context):
            return f"{self._redacted_literal(key)}:{self._redacted_literal(literal)}"
        self._count(found)
        return f"{key}:{_encoded(cleaned.removeprefix(context), text, literal)}"

    def _redacted_literal(self, literal: str) -> str:
        text = _decoded(literal)
        return _encoded(self._redacted(text), text, literal)


def _decoded(literal: str) -> str:
    """The text of a JSON text or number. One that was cut may end within an escape."""
    if literal[0] != '"':
        return literal
    if not _is_whole(literal):
        literal = _CUT_ESCAPE.sub(r"\1", literal) + '"'
    return str(json.loads(literal))


def _encoded(cleaned: str, text: str, literal: str) -> str:
    if cleaned == text:
        return literal
    encoded = json.dumps(cleaned, ensure_ascii=False)
    return encoded if literal[0] != '"' or _is_whole(literal) else encoded[:-1]


def _is_whole(literal: str) -> bool:
    return re.fullmatch(_LITERAL + '"', literal) is not None
