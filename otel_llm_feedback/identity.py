"""Who said it, without saying who: keyed pseudonyms and ids that nobody can guess.

HMAC-SHA256 with a secret key, because a plain hash of a user id is recovered by trying all user ids. Each use has its own
prefix, so that a pseudonym never equals an id. Pure functions.
"""

from __future__ import annotations

import hmac
import json
import os

__all__ = ["derived_id", "pseudonym", "random_id"]


def pseudonym(key: bytes, user_id: str) -> str:
    """64 hex digits that stand for ``user_id``: the same for the same key, meaningless without it."""
    return hmac.digest(key, b"user\0" + user_id.encode("utf-8", "replace"), "sha256").hex()


def derived_id(key: bytes, *parts: object) -> str:
    """A UUID-shaped id for one person's feedback of one name on one target, so that a double click is one vote.

    ``parts`` are plain values that JSON can tell apart.
    """
    message = json.dumps(parts, separators=(",", ":"), default=str).encode()
    return _as_uuid(hmac.digest(key, b"feedback\0" + message, "sha256")[:16], version=8)


def random_id() -> str:
    """A random (version 4) UUID."""
    return _as_uuid(os.urandom(16), version=4)


def _as_uuid(raw: bytes, version: int) -> str:
    # RFC 9562, section 4: the version is the high nibble of octet 6, the variant the two high bits of octet 8.
    h = raw.hex()
    variant = "89ab"[int(h[16], 16) & 3]
    return f"{h[:8]}-{h[8:12]}-{version}{h[13:16]}-{variant}{h[17:20]}-{h[20:]}"
