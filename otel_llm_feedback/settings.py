"""Settings: an explicit argument beats the environment, which beats the default. The environment is a parameter."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.redaction import MODES, Content, ContentMode

__all__ = ["Settings", "flag"]

PSEUDONYM_KEY = "OTEL_LLM_FEEDBACK_PSEUDONYM_KEY"
CONTENT = "OTEL_LLM_FEEDBACK_CONTENT"
RAW_USER_IDS = "OTEL_LLM_FEEDBACK_RAW_USER_IDS"

_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True)
class Settings:
    """What holds for every feedback event and every tagged span of this process.

    pseudonym_key: secret for pseudonyms and derived ids; at least 32 random bytes are advised. Without it, user ids are
        not sent.
    raw_user_ids: also send user ids as they are, as ``user.id``.
    content: what becomes of what people wrote (comments, corrections, snapshots, metadata texts): ``on``, ``redacted`` (the
        default) or ``off``, and with what it is redacted; a mode alone may be given too.
    max_comment_length, max_metadata_length: longest comment and longest metadata value, in characters; what is longer is
        cut, marked on the record and counted.
    max_metadata_keys: most metadata keys of one event; the ones beyond it are dropped, marked and counted.
    """

    pseudonym_key: bytes | None = field(default=None, repr=False)
    raw_user_ids: bool = False
    content: Content = field(default_factory=Content)
    max_comment_length: int = 8192
    max_metadata_length: int = 1024
    max_metadata_keys: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "pseudonym_key", _key(self.pseudonym_key))  # a str, too, is taken
        if not isinstance(self.raw_user_ids, bool):  # "false" would be true
            raise ConfigurationError("raw_user_ids", self.raw_user_ids, "pass True or False")
        object.__setattr__(self, "content", _as_content("content", self.content))
        for name in ("max_comment_length", "max_metadata_length", "max_metadata_keys"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ConfigurationError(name, value, "pass an int from 0 up")

    @classmethod
    def from_environ(
        cls,
        environ: Mapping[str, str],
        *,
        pseudonym_key: str | bytes | None = None,
        raw_user_ids: bool | None = None,
        content: Content | ContentMode | None = None,
    ) -> Settings:
        """Read ``OTEL_LLM_FEEDBACK_*`` for every argument that is None. Raises ConfigurationError."""
        key = environ.get(PSEUDONYM_KEY) or None if pseudonym_key is None else pseudonym_key
        return cls(
            pseudonym_key=_key(key),
            raw_user_ids=flag(environ, RAW_USER_IDS) if raw_user_ids is None else raw_user_ids,
            content=_content(environ) if content is None else _as_content("content", content),
        )

    @classmethod
    def from_os_environ(
        cls,
        *,
        pseudonym_key: str | bytes | None = None,
        raw_user_ids: bool | None = None,
        content: Content | ContentMode | None = None,
    ) -> Settings:
        """`from_environ` with the environment of this process, now."""
        return cls.from_environ(os.environ, pseudonym_key=pseudonym_key, raw_user_ids=raw_user_ids, content=content)


def _content(environ: Mapping[str, str]) -> Content:
    return _as_content(CONTENT, environ.get(CONTENT, "").strip().lower() or "redacted")


def _as_content(field: str, value: object) -> Content:
    if isinstance(value, Content):
        return value
    for mode in MODES:
        if value == mode:
            return Content(mode)
    raise ConfigurationError(field, value, f"use one of {', '.join(MODES)}")


def _key(key: object) -> bytes | None:
    if isinstance(key, str):
        try:
            key = key.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # it holds the key: not to be chained
            key = b""
    if key is None or (isinstance(key, bytes) and key):
        return key
    raise ConfigurationError("pseudonym_key", key, "give a non-empty secret as str or bytes", private=True)


def flag(environ: Mapping[str, str], name: str, default: bool = False) -> bool:
    """A boolean environment variable: true/1/yes/on or false/0/no/off, any case; unset or empty is ``default``."""
    text = environ.get(name, "").strip().lower()
    if not text:
        return default
    if text not in _FLAGS:
        raise ConfigurationError(name, environ[name], "use true or false")
    return _FLAGS[text]
