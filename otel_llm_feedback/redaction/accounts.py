"""Bank accounts (IBAN) and payment cards in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from otel_llm_feedback.redaction.spans import Span, alnum, merged

__all__ = ["find_cards", "find_ibans"]

_IBAN_LENGTHS = {
    country: int(length)
    for length, countries in (
        row.split(":")
        for row in (
            "15:NO 16:BE 18:DK,FI,FK,FO,GL,NL,SD 19:MK,SI 20:AT,BA,EE,KZ,LT,LU,MN,XK 21:CH,HR,LI,LV "
            "22:BG,BH,CR,DE,GB,GE,IE,ME,RS,VA 23:AE,GI,IL,IQ,OM,SO,TL 24:AD,CZ,ES,MD,PK,RO,SA,SE,SK,TN,VG "
            "25:LY,PT,ST 26:IS,TR 27:BI,DJ,FR,GR,IT,MC,MR,SM 28:AL,AZ,BY,CY,DO,GT,HN,HU,LB,NI,PL,SV "
            "29:BR,EG,PS,QA,UA 30:JO,KW,MU,YE 31:MT,SC 32:LC 33:RU"
        ).split()
    )
    for country in countries.split(",")
}
_IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Za-z]{2}[ -]?[0-9]{2}(?:[ -]{0,2}[A-Za-z0-9]){11,30}))")


def find_ibans(text: str) -> Iterator[Span]:
    done = 0
    for match in _IBAN.finditer(text):
        end = _iban_end(match)
        if end is not None and match.start() >= done:
            yield match.start(), end
            done = end


def _iban_end(match: re.Match[str]) -> int | None:
    start, given = match.start(1), match[1]
    length = _IBAN_LENGTHS.get(given[:2].upper())
    if length is None:
        return None
    places = [place for place, each in enumerate(given) if each.isalnum()]
    if length > len(places):
        return None
    end = start + places[length - 1] + 1
    account = "".join(given[place] for place in places[:length])
    # ISO 7064 MOD 97-10: letters count as 10 to 35, and the first four characters belong at the end.
    right = int("".join(str(int(each, 36)) for each in account[4:] + account[:4])) % 97 == 1
    return end if right and not alnum(match.string[end : end + 1]) else None


_NUMBERS = re.compile(r"(?<![A-Za-z0-9+])[0-9]+(?:[ .-]{1,3}[0-9]+)*(?![A-Za-z0-9])")
_GROUP = re.compile(r"[0-9]+")
_DOUBLED = str.maketrans("0123456789", "0246813579")  # twice the digit, the digits of that added up
_ISSUER = re.compile(r"2[2-7]|[3-6]|8[12]")
"""First digits of Mastercard, Mir, Amex, Diners, JCB, Visa, Maestro, Discover, UnionPay, RuPay; no time starts like that."""


def find_cards(text: str) -> Iterator[Span]:
    found: list[Span] = []
    for run in _NUMBERS.finditer(text):
        if run.end() - run.start() >= 13:
            groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
            for first, (start, _) in enumerate(groups):
                if _ISSUER.match(text, start):
                    found += _cards_from(text, groups[first : first + 7])
    return merged(found)


def _cards_from(text: str, groups: list[Span]) -> Iterator[Span]:
    """Cards that begin with the first group: alike separators, and no group but the last below three digits."""
    start, digits, separators = groups[0][0], "", set()
    for number, (begin, end) in enumerate(groups):
        if number:
            separators.add(text[groups[number - 1][1] : begin])
        if end - begin > 19 or len(separators) > 1:
            return
        digits += text[begin:end]
        if 13 <= len(digits) <= 19 and _luhn(digits):
            yield start, end
        if end - begin < 3 or len(digits) > 19:
            return


def _luhn(digits: str) -> bool:
    doubled = digits[-2::-2].translate(_DOUBLED)
    return (sum(map(int, digits[-1::-2])) + sum(map(int, doubled))) % 10 == 0
