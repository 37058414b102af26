"""E-mail and IP addresses in a text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from otel_llm_feedback.redaction.spans import Span, alnum, merged

__all__ = ["find_emails", "find_ips"]

# E-mail: RFC 5322's atoms without "/" (addresses of pages hold "/@user"), and letters of Europe's scripts.
_ATOM = r"A-Za-z0-9.!#$%&'*+=?^_`{|}~\u00c0-\u058f-"
_HOST = r"A-Za-z0-9_\u00c0-\u058f-"
_EMAIL = re.compile(
    rf"(?<![{_ATOM}])[{_ATOM}]+@(?!\dx\.)(?:[{_HOST}]+\.)+(?=[A-Za-z\u00c0-\u058f][A-Za-z0-9\u00c0-\u058f-])[{_HOST}]+"
)


def find_emails(text: str) -> Iterator[Span]:
    return (match.span() for match in _EMAIL.finditer(text)) if "@" in text else iter(())


_IPV4 = re.compile(r"(?<![A-Za-z0-9_])(?<![0-9]\.)(?<!ersion )[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![A-Za-z0-9_]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Fa-f:.])(?=[0-9A-Fa-f]{0,64}:)[0-9A-Fa-f:.]{3,}")


def find_ips(text: str) -> Iterator[Span]:
    found = [match.span() for match in _IPV4.finditer(text) if all(int(part) < 256 for part in match[0].split("."))]
    if ":" in text:
        found += (span for match in _IPV6.finditer(text) if (span := _ipv6(match)) is not None)
    return merged(found)


def _ipv6(match: re.Match[str]) -> Span | None:
    """The address in a run of its characters, which may have a colon before it and a colon or a full stop after it.

    An address that tells something has a part of three hexadecimal digits or more, and a digit: "::1" and "1::2" do not.
    """
    start, end, text = match.start(), match.end(), match.string
    if alnum(text[end : end + 1]) or text[end : end + 1] == "_":
        return None
    if start and (alnum(text[start - 1]) or text[start - 1] == "_"):  # the end of a word, with a colon after it
        start = text.index(":", start)
        if text.startswith("::", start):  # a path in source code
            return None
    given = text[start:end].rstrip(".")
    if given.startswith(":") and not given.startswith("::"):
        start, given = start + 1, given[1:]
    if given.endswith(":") and not given.endswith("::"):
        given = given[:-1]
    if len(given) > 45 or not any(map(str.isdigit, given)) or not any(len(part) > 2 for part in given.split(":")):
        return None
    try:
        ipaddress.IPv6Address(given)
    except ValueError:
        return None
    return start, start + len(given)
