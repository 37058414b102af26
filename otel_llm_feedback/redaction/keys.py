"""Keys, tokens and passwords in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from otel_llm_feedback.redaction.spans import Span, merged

__all__ = ["find_secrets"]

# Prefixes that the services document for their keys, or that the secret scanners of code hosts look for.
_PREFIXED = (
    r"sk-[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic and those that copy them
    r"gh[oprsu]_[A-Za-z0-9]{20,}",
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"glpat-[A-Za-z0-9_-]{16,}",
    r"xox[a-z](?:\.[a-z]{1,10})?-[A-Za-z0-9-]{8,}",  # Slack
    r"xapp-[A-Za-z0-9-]{16,}",
    r"A(?:KI|SI)A[A-Z0-9]{16,}",  # AWS
    r"AIza[A-Za-z0-9_-]{30,}",  # Google
    r"ya29\.[A-Za-z0-9_-]{16,}",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}",  # Stripe
    r"whsec_[A-Za-z0-9]{16,}",
    r"lsv2_[a-z]{2}_[A-Za-z0-9_]{16,}",  # LangSmith
    r"NRAK-[A-Z0-9]{16,}",  # New Relic
    r"hf_[A-Za-z0-9]{20,}",
    r"npm_[A-Za-z0-9]{20,}",
    r"pypi-[A-Za-z0-9_-]{16,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?",  # JWT (RFC 7519): base64 of '{"'
)
_WORDLIKE = ("sk-", "glpat-", "xox", "xapp-", "pypi-")  # these may begin a name: only what looks random counts
_HINTS = "sk- _ glpat- xox xapp- AKIA ASIA AIza ya29. NRAK- pypi- SG. eyJ".split()
_PREFIXED_SECRET = re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_PREFIXED)})")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
)
_CREDENTIALS = re.compile(r"://([^\s/:@\[\]]{0,64}:[^\s/@\[\]]{1,128})@")
_BEARER = re.compile(
    r"(?:\bBearer|\bauthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:Basic|Token))\s{1,3}([A-Za-z0-9._~+/=-]{12,})",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?:key|token|secret|auth|authorization|credentials?)[\"']?\s{0,3}(?::|=>?)\s{0,3}[\"']?([A-Za-z0-9._~+/=-]{16,})",
    re.IGNORECASE,
)
_PASSWORD = re.compile(
    r"(?:password|passwd|pwd|passphrase)[\"']?\s{0,3}[:=]\s{0,3}[\"']?([^\s\"'\[\],;]{6,128})", re.IGNORECASE
)


def find_secrets(text: str) -> Iterator[Span]:
    found: list[Span] = []
    if "-----BEGIN" in text:
        found += (match.span() for match in _PRIVATE_KEY.finditer(text))
    if any(hint in text for hint in _HINTS):
        found += (
            match.span()
            for match in _PREFIXED_SECRET.finditer(text)
            if not match[0].startswith(_WORDLIKE) or _is_random(match[0])
        )
    if "://" in text:
        found += (match.span(1) for match in _CREDENTIALS.finditer(text))
    if ":" in text or "=" in text:
        for pattern in (_NAMED, _PASSWORD):
            found += (match.span(1) for match in pattern.finditer(text) if _is_random(match[1]))
    found += (match.span(1) for match in _BEARER.finditer(text) if _is_random(match[1]))
    return merged(found)


def _is_random(token: str) -> bool:
    """Has a digit, or capitals inside: words and names of things mostly have neither."""
    return any(map(str.isdigit, token)) or (any(map(str.isupper, token[1:])) and any(map(str.islower, token)))
