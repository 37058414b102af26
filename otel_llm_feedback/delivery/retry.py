"""What to do after an answer, and when to try again: tables and arithmetic, no I/O, no clock, no randomness of its own.

OTLP tells a client to drop whatever is answered with a code that it does not list as retryable (OTLP specification,
"Failures"). Most of those codes speak of the endpoint, the credentials or the server, not of the data, and dropping
would lose feedback to a typing mistake in a URL. Here only an answer that condemns the data itself can lead to a record
being given up, one record at a time; everything else keeps the data.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from otel_llm_feedback.delivery.answer import Answer, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PATIENCE", "RETRY_AFTER_LIMIT_SECONDS", "Action", "Backoff", "Decision", "decide"]

PATIENCE: Final = 5
"""Attempts after which an answer that may be the server's fault or the data's is taken to be the data's (`ISOLATE`)."""

RETRY_AFTER_LIMIT_SECONDS: Final = 3600.0
"""The longest wait that a server can impose."""

_LAST_DOUBLING: Final = 64


class Action(enum.Enum):
    """What to do with the batch."""

    DELIVERED = "delivered"
    """All of it was accepted."""

    PARTIALLY_REJECTED = "partially_rejected"
    """Accepted except for ``Decision.rejected`` records, which are not named. Never send it again."""

    RETRY = "retry"
    """Keep it and send it again after `Backoff.delay`."""

    HOLD = "hold"
    """Keep it, tell the user, and try again after `Backoff.hold`: somebody has to mend the set-up first."""

    SPLIT = "split"
    """Too large: send each half at once. A single record can only be given up."""

    BISECT = "bisect"
    """Something in it is bad: send each half at once. A single record is the bad one and is given up."""

    ISOLATE = "isolate"
    """Something in it may be bad: send each half, with back-off. A single record is kept, as with `HOLD`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an answer; ``reason`` is a label for counters (``http_503``)."""

    action: Action
    reason: str
    retry_after_seconds: float | None = None
    rejected: int = 0


# OTLP/HTTP names 429, 502, 503 and 504 as retryable and 400 as bad data; 413 is "too large"; the rest is RFC 9110's.
_HTTP: Final[Mapping[int, Action]] = MappingProxyType(
    {
        400: Action.BISECT,
        408: Action.RETRY,
        413: Action.SPLIT,
        422: Action.BISECT,
        423: Action.RETRY,
        425: Action.RETRY,
        429: Action.RETRY,
        500: Action.ISOLATE,
        501: Action.HOLD,
        505: Action.HOLD,
        508: Action.HOLD,
        510: Action.HOLD,
        511: Action.HOLD,
    }
)
# A status that is not in the table, by its class. 3xx is an error, for no redirect is followed with somebody's
# credentials. The other 4xx (401, 403, 404, 405, 407, 415, ...) condemn the request's address or its sender, not its data.
_HTTP_CLASS: Final[Mapping[int, Action]] = MappingProxyType(
    {1: Action.HOLD, 2: Action.DELIVERED, 3: Action.HOLD, 4: Action.HOLD, 5: Action.RETRY}
)

# OTLP/gRPC's table of retryable codes, "OTLP/gRPC Response"; the comment above on what is kept applies here too.
_GRPC: Final[Mapping[str, Action]] = MappingProxyType(
    {
        "OK": Action.DELIVERED,
        "CANCELLED": Action.RETRY,
        "UNKNOWN": Action.ISOLATE,
        "INVALID_ARGUMENT": Action.BISECT,
        "DEADLINE_EXCEEDED": Action.RETRY,
        "NOT_FOUND": Action.HOLD,
        "ALREADY_EXISTS": Action.HOLD,
        "PERMISSION_DENIED": Action.HOLD,
        "RESOURCE_EXHAUSTED": Action.RETRY,
        "FAILED_PRECONDITION": Action.HOLD,
        "ABORTED": Action.RETRY,
        "OUT_OF_RANGE": Action.RETRY,
        "UNIMPLEMENTED": Action.HOLD,
        "INTERNAL": Action.ISOLATE,
        "UNAVAILABLE": Action.RETRY,
        "DATA_LOSS": Action.RETRY,
        "UNAUTHENTICATED": Action.HOLD,
    }
)

_FAILURE: Final[Mapping[Failure, Action]] = MappingProxyType(
    {
        Failure.REFUSED: Action.RETRY,
        Failure.UNREACHABLE: Action.RETRY,
        Failure.TIMEOUT: Action.RETRY,
        Failure.TLS: Action.HOLD,
        Failure.CLOSED: Action.RETRY,
        Failure.GARBAGE: Action.RETRY,
        Failure.INTERRUPTED: Action.RETRY,
        Failure.UNEXPECTED: Action.RETRY,
    }
)

# Servers that refuse a request for its size, or because it cannot be decoded, say so only in words. The words are those
# of gRPC for Go, C++, Java and .NET, of tonic (which answers OUT_OF_RANGE), and of Go's net/http behind a collector's 400.
_TOO_LARGE = re.compile(r"larger than max|exceeds (the )?maximum|length too large|body too large", re.IGNORECASE)
_UNDECODABLE = re.compile(r"error unmarshalling request|deserializing request", re.IGNORECASE)
_WORDS: Final[Mapping[int | str, tuple[re.Pattern[str], Action]]] = MappingProxyType(
    {
        "RESOURCE_EXHAUSTED": (_TOO_LARGE, Action.SPLIT),
        "OUT_OF_RANGE": (_TOO_LARGE, Action.SPLIT),
        "INTERNAL": (_UNDECODABLE, Action.BISECT),
        400: (_TOO_LARGE, Action.SPLIT),
    }
)


def decide(answer: Answer, attempts: int = 0) -> Decision:
    """What to do with a batch that was answered so.

    ``attempts`` is how often this batch has been sent before: an answer that does not tell whether the data or the server
    is at fault (500, UNKNOWN, INTERNAL) is retried `PATIENCE` times before the batch is taken apart.
    """
    action = _look_up(answer)
    if action is Action.DELIVERED and answer.rejected:
        action = Action.PARTIALLY_REJECTED
    elif action is Action.ISOLATE and attempts < PATIENCE:
        action = Action.RETRY
    return Decision(action, answer.reason, answer.retry_after_seconds, answer.rejected)


def _look_up(answer: Answer) -> Action:
    code = answer.code
    if isinstance(code, Failure):
        return _FAILURE[code]
    if code in _WORDS and answer.retry_after_seconds is None:  # told when to come back, it is load and not size
        words, action = _WORDS[code]
        if words.search(answer.message):
            return action
    if isinstance(code, int):
        return _HTTP.get(code) or _HTTP_CLASS.get(code // 100, Action.HOLD)
    return _GRPC.get(code, Action.ISOLATE)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between attempts, in seconds: exponential, with full jitter, for as long as it takes."""

    initial_seconds: float = 1.0
    maximum_seconds: float = 60.0

    def delay(self, attempt: int, random: Callable[[], float], retry_after: float | None = None) -> float:
        """The wait before the retry that follows attempt number ``attempt`` (from 0).

        ``random`` gives numbers in [0, 1). A server's ``retry_after`` is a minimum, up to an hour; the jitter comes on top
        of it, so that many clients that were told the same do not come back together.
        """
        ceiling = min(self.maximum_seconds, self.initial_seconds * 2.0 ** min(max(0, attempt), _LAST_DOUBLING))
        return _minimum(retry_after) + random() * ceiling

    def hold(self, random: Callable[[], float], retry_after: float | None = None) -> float:
        """The wait while the set-up is wrong: between half and all of the maximum."""
        return _minimum(retry_after) + self.maximum_seconds * (0.5 + 0.5 * random())


def _minimum(retry_after: float | None) -> float:
    return min(max(0.0, retry_after), RETRY_AFTER_LIMIT_SECONDS) if retry_after is not None else 0.0
