"""How much one client may cost us, in one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, fields

from otel_llm_feedback.errors import ConfigurationError

__all__ = ["Limits"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a receiver; every one must be above zero, else `ConfigurationError`.

    ``max_nested_messages`` bounds memory rather than bytes: 20 MB of empty spans is a well-formed request that takes
    1.8 GB once parsed. A batch of 8192 spans with 30 attributes each stays within the default.
    """

    max_http_body_bytes: int = 20 * MIB
    """Of one HTTP body, both as sent and after decompression (20 MiB is the collector's default)."""

    max_grpc_message_bytes: int = 4 * MIB
    """Of one gRPC message after decompression (4 MiB is gRPC's default)."""

    max_nested_messages: int = 500_000
    """Spans, log records, attributes, values and all other messages inside one request."""

    max_connections: int = 64
    """HTTP connections, and gRPC calls, at one time; more are turned away."""

    request_timeout_seconds: float = 30.0
    """For one HTTP request from its first byte to its last, and for an idle connection."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ConfigurationError(field.name, value, "give a number above zero")
