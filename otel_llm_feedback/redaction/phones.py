"""Phone numbers in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from otel_llm_feedback.redaction.spans import Span, merged

__all__ = ["find_phones"]

_DIGITS = re.compile(r"[0-9]+")
_PHONE = re.compile(
    r"""
    (?=[+(0-9])
    (?:
        # +1 415 555 2671; +49 (0)30 1234567; not a coordinate: +48.858370
        (?<![A-Za-z0-9_+]) (?! \+[0-9]{1,3}\.[0-9]{4,8}(?![0-9]) )
        (?: \+1[ .-]{0,2}\(?[0-9]{3}\)?(?:[ .-]{0,2}[0-9]){7}(?![0-9])
          | \+\(?[2-9][0-9]{0,2}\)?[ ./-]?(?:\([0-9]{1,5}\)[ -]?|[0-9]{1,5}/)?[0-9](?:[ .-]{0,2}[0-9]){5,12}(?![0-9]) )
    |
        # Not inside a longer number, a date, a time or a UUID
        (?<![A-Za-z0-9_])(?<![0-9][.:/-])(?<![0-9A-Fa-f]-)
        (?! [0-9]{1,2}([ ./-])[0-9]{1,2}\1(?:19|20)[0-9]{2}(?![0-9]) )
        (?:
            # 0049 30 1234567
            00[1-9][0-9]{0,2}[ -]?(?:\([0-9]{1,5}\)[ -]?)?[0-9](?:[ .-]{0,2}[0-9]){7,12}(?![0-9])
          |
            # North America: (415) 555-2671, 415-555-2671, 415.555.2671, 415 555 2671, 1-800-555-0199
            (?: (?:1[ .-])?
                (?: \([0-9]{3}\)[ .-]?[0-9]{3}[ .-]? | [0-9]{3}[.-][0-9]{3}[.-] | [2-9][0-9]{2}[ ][0-9]{3}[ -] )
                [0-9]{4}
              # Spain 612 34 56 78, China 138 1234 5678, Brazil (11) 91234-5678
              | [6-9][0-9]{2}(?:[ .-][0-9]{2}){3}
              | 1[3-9][0-9][ -][0-9]{4}[ -][0-9]{4}
              | \([1-9][0-9]\)[ -]?[0-9]{4,5}[ -][0-9]{4}
              # Mobile numbers in one piece: Britain, Germany, France and others, Japan
              | 07[0-9]{9} | 01[567][0-9]{8,9} | 0[4679][0-9]{8} | 0[789]0[0-9]{8}
            )
            (?![A-Za-z0-9_])(?![.-][0-9])
          |
            # With the zero of many countries: 020 7946 0958, (030) 123456, 0171/1234567, 01 23 45 67 89
            (?P<trunk>
                (?: \(0[1-9][0-9]{0,4}\)[ ./-]{0,2} | 0[1-9][0-9]{0,4}[ ./-]{1,2} )
                [0-9]{2,8}(?:[ .-]{1,2}[0-9]{2,8}){0,4}
            )
            (?![A-Za-z0-9_])
        )
    )
    """,
    re.VERBOSE,
)
_SAID = re.compile(
    r"""
    (?<![A-Za-z])
    (?: (?:tele|cell)?phone | tel | mobile | cell | fax | whatsapp | dial | (?:call|text|ring|phone|reach)[ ](?:me|us)
      | telefon(?:nummer)? | handy(?:nummer)? | rufnummer | tel[eé]fono | m[oó]vil | t[eé]l[eé]phone | 电话 | 手机 | 電話 | 携帯 )
    [ :.#=-]{0,3} (?: (?:number|no|nr|is|at|on|under|ist|es|est|是|は)[ :.#=-]{1,3} ){0,3}
    (?! (?:19|20)[0-9]{2}([./-])[0-9]{1,2}\1[0-9]{1,2}(?![0-9]) | [0-9]{1,2}([./-])[0-9]{1,2}\2(?:19|20)[0-9]{2}(?![0-9]) )
    (?P<number> \+?\(?[0-9](?:[ ()./-]{0,2}[0-9]){6,14} ) (?![0-9])
    """,
    re.VERBOSE | re.IGNORECASE,
)


def find_phones(text: str) -> Iterator[Span]:
    found = [match.span("number") for match in _SAID.finditer(text)]
    place = 0
    while match := _PHONE.search(text, place):
        end = match.end() if match["trunk"] is None else _trunk_end(match)
        if end is None:
            place = match.start() + 1
        else:
            found.append((match.start(), end))
            place = end
    return merged(found)


def _trunk_end(match: re.Match[str]) -> int | None:
    """The end of as many groups as make 9 to 12 digits; what follows is another number."""
    digits, end = 0, None
    for group in _DIGITS.finditer(match.string, *match.span()):
        digits += group.end() - group.start()
        if 9 <= digits <= 12:
            end = group.end()
    return end
