"""Why a request was not accepted, with the answer that each transport gives. Servers need no table of their own.

    Refused
    ├── Malformed          the bytes are not what they claim to be     400  INVALID_ARGUMENT
    ├── NotFound           no such path                                404  NOT_FOUND
    ├── MethodNotAllowed   only POST exists                            405  UNIMPLEMENTED
    ├── TimedOut           the body took too long to arrive            408  DEADLINE_EXCEEDED
    ├── LengthRequired     no Content-Length                           411  INVALID_ARGUMENT
    ├── TooLarge           beyond a bound                              413  INVALID_ARGUMENT
    ├── UnsupportedMedia   not protobuf, or an unknown encoding        415  INVALID_ARGUMENT
    └── Unavailable        the sink failed: the same again may succeed 503  UNAVAILABLE

`Unavailable` is retryable (opentelemetry.io/docs/specs/otlp, "Failures"), and so is 408 to most senders. `TooLarge` is not RESOURCE_EXHAUSTED because
some senders repeat that one. Messages are fixed text: nothing that a client sent is sent back or logged.
"""

from __future__ import annotations

__all__ = [
    "LengthRequired",
    "Malformed",
    "MethodNotAllowed",
    "NotFound",
    "Refused",
    "TimedOut",
    "TooLarge",
    "Unavailable",
    "UnsupportedMedia",
]


class Refused(Exception):
    """Base: ``reason`` is the name it is counted under, ``rpc_code`` a google.rpc.Code."""

    reason = "malformed"
    http_status = 400
    rpc_code = 3


class Malformed(Refused):
    """Not a well-formed request."""


class NotFound(Refused):
    reason = "not_found"
    http_status = 404
    rpc_code = 5


class MethodNotAllowed(Refused):
    reason = "method_not_allowed"
    http_status = 405
    rpc_code = 12


class TimedOut(Refused):
    reason = "timed_out"
    http_status = 408
    rpc_code = 4


class LengthRequired(Refused):
    reason = "length_required"
    http_status = 411


class TooLarge(Refused):
    reason = "too_large"
    http_status = 413


class UnsupportedMedia(Refused):
    reason = "unsupported_media"
    http_status = 415


class Unavailable(Refused):
    reason = "sink_failed"
    http_status = 503
    rpc_code = 14
