"""Personal data and secrets in free text, replaced by placeholders before the text leaves the process. Pure.

    [EMAIL]    e-mail addresses
    [CARD]     payment cards: 13 to 19 digits, also in groups, with a card's first digit and the Luhn check digit
    [PHONE]    phone numbers: international (+49, 0049), written in a national form (listed in phones.py), or after a word
               such as "phone" or "call me at"
    [IP]       IPv4 and IPv6 addresses
    [IBAN]     bank accounts of the countries in the IBAN registry, with their length and check digits
    [SECRET]   keys of known services, JWTs, Bearer tokens, private keys, passwords in addresses, long values of "token=" etc.

Digits of every script count, full-width signs and invisible characters do not hide anything. What only looks like these stays:
dates, times, prices, versions, UUIDs, trace ids, numbers without a sign that they are a phone's. Names, postal addresses and
numbers in words are not recognised; a hook can be.

Every expression is linear: an unbounded repetition begins only where the same repetition could not have begun before.
"""

from __future__ import annotations

from otel_llm_feedback.redaction.redactor import MODES, WITHHELD, Content, ContentMode, Redacted, Redactor

__all__ = ["MODES", "WITHHELD", "Content", "ContentMode", "Redacted", "Redactor"]
