"""What becomes of a text: looked through until nothing is left to replace, or withheld."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.redaction.accounts import find_cards, find_ibans
from otel_llm_feedback.redaction.addresses import find_emails, find_ips
from otel_llm_feedback.redaction.keys import find_secrets
from otel_llm_feedback.redaction.phones import find_phones
from otel_llm_feedback.redaction.spans import Span

__all__ = ["MODES", "WITHHELD", "Content", "ContentMode", "Redacted", "Redactor"]

WITHHELD = "[REDACTED]"
"""Stands for a whole text that could not be redacted."""

ContentMode = Literal["on", "redacted", "off"]
MODES: tuple[ContentMode, ...] = ("on", "redacted", "off")


class Redacted(NamedTuple):
    """counts: how many were replaced, by kind: email, card, phone, ip, iban, secret; ``hook``: texts that a hook changed;
    ``withheld``: 1 if the whole text was.
    """

    text: str
    counts: Counter[str]


@dataclass(frozen=True)
class Redactor:
    """Replaces personal data and secrets in texts.

    extra: functions from text to text that see the text first, for example to replace names or customer numbers. If one
        raises, or returns no text, the whole text is withheld. What they return is redacted like any other text.
    """

    extra: Sequence[Callable[[str], str]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", _functions(self.extra))

    def is_harmless(self, text: str) -> bool:
        """Whether a glance is enough to see that nothing would be replaced: words, and no hooks. False: it takes a closer look."""
        return not self.extra and not _SUSPECT.search(text)

    def redact(self, text: str) -> Redacted:
        """``text`` with placeholders, and what was replaced. Redacting again changes nothing, but for what hooks do."""
        if self.is_harmless(text):
            return Redacted(text, Counter())
        counts: Counter[str] = Counter()
        for hook in self.extra:
            try:
                changed: object = hook(text)
            except Exception:  # noqa: BLE001 - a hook of the application failed: what it should have removed may be there
                return _withheld()
            if not isinstance(changed, str):
                return _withheld()
            counts["hook"] += changed != text
            text = changed
        visible = text if text.isascii() else text.translate(_INVISIBLE)
        cleaned = _until_clean(visible, counts)
        return Redacted(text if cleaned == visible else cleaned, +counts)


@dataclass(frozen=True)
class Content:
    """The content switch: what becomes of free text. mode: ``on``: sent as it is; ``redacted``; ``off``: not sent."""

    mode: ContentMode = "redacted"
    redactor: Redactor = field(default_factory=Redactor)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigurationError("content", self.mode, f"use one of {', '.join(MODES)}")

    def clean(self, text: str, counts: Counter[str] | None = None) -> str | None:
        """The text that may be sent, None for none. What was replaced is added to ``counts``.

        Clean before cutting to a length: half a card number is not recognised.
        """
        if self.mode != "redacted":
            return text if self.mode == "on" else None
        cleaned, found = self.redactor.redact(text)
        if found and counts is not None:
            counts.update(found)
        return cleaned


def _functions(given: object) -> tuple[Callable[[str], str], ...]:
    if not isinstance(given, Sequence) or not all(map(callable, given)):
        raise ConfigurationError("extra", given, "pass a list of functions from text to text", private=True)
    return tuple(given)


def _withheld() -> Redacted:
    return Redacted(WITHHELD, Counter(withheld=1))


# Whatever is looked for has a digit or one of the signs that are not listed here, or capitals inside a word.
_SUSPECT = re.compile(r"[^A-Za-z ,.!?'\"();\n]|[A-Za-z.][A-Z]")

_ROUNDS = 5


def _until_clean(text: str, counts: Counter[str]) -> str:
    """Redact until nothing is found: a placeholder may set free what its original stood too close to."""
    for _ in range(_ROUNDS):
        cleaned = _once(text, counts)
        if cleaned == text:
            return text
        text = cleaned
    counts["withheld"] += 1
    return WITHHELD


def _once(text: str, counts: Counter[str]) -> str:
    folded = text if text.isascii() else _fold(text)
    for kind, find in _KINDS if _DIGIT.search(folded) else _WITHOUT_DIGITS:
        spans = list(find(folded))
        if spans:
            counts[kind] += len(spans)
            placeholder = f"[{kind.upper()}]"
            text, folded = _replace(text, spans, placeholder), _replace(folded, spans, placeholder)
    return text


def _replace(text: str, spans: Iterable[Span], placeholder: str) -> str:
    pieces: list[str] = []
    done = 0
    for start, end in spans:
        pieces += text[done:start], placeholder
        done = end
    return "".join([*pieces, text[done:]])


# --- One shape for every script: same length, so that places in it are places in the text ---

# Soft hyphen, zero-width and direction marks, word joiner, byte order mark.
_INVISIBLE = dict.fromkeys(
    [0xAD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A)]
)
_SHAPES: dict[int, int | str] = {
    **{0xFF01 + offset: 0x21 + offset for offset in range(94)},  # full-width ASCII
    **dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " "),
    **dict.fromkeys([*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63, 0x30FC], "-"),
    0x2024: ".",
    0x3002: ".",
    0xFE52: ".",
    0xFE55: ":",
    0xFE6B: "@",
    0x2044: "/",
}
_DIGIT = re.compile(r"[0-9]")
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")


def _fold(text: str) -> str:
    return _FOREIGN_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text.translate(_SHAPES))


_WITHOUT_DIGITS: tuple[tuple[str, Callable[[str], Iterator[Span]]], ...] = (
    ("secret", find_secrets),
    ("email", find_emails),
)
# What is more certain comes first, so that a phone number is not found inside an account number.
_KINDS = (
    *_WITHOUT_DIGITS,
    ("iban", find_ibans),
    ("card", find_cards),
    ("ip", find_ips),
    ("phone", find_phones),
)
