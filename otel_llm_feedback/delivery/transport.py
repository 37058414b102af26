"""Carrying one encoded export request to an endpoint and bringing back the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from otel_llm_feedback.delivery.transport_grpc import GrpcTransport
from otel_llm_feedback.delivery.transport_http import HttpTransport

if TYPE_CHECKING:
    from otel_llm_feedback.delivery.answer import Answer
    from otel_llm_feedback.delivery.endpoint import Endpoint

__all__ = ["Transport", "open_transport"]


class Transport(Protocol):
    """One connection to one endpoint, made when it is first needed and made anew in a forked child."""

    def send(self, body: bytes, *, timeout_seconds: float) -> Answer:
        """Send one serialised export request, and wait for its answer at most ``timeout_seconds`` in all.

        Never raises: what goes wrong is in the answer. One call at a time. Redirects are not followed.
        """

    def close(self) -> None:
        """Close for good, from any thread; a `send` that is waiting returns at once."""


def open_transport(endpoint: Endpoint) -> Transport:
    """The transport for the endpoint's protocol. Connects to nothing yet.

    Raises `ConfigurationError` when a certificate file of the endpoint cannot be used.
    """
    return GrpcTransport(endpoint) if endpoint.protocol == "grpc" else HttpTransport(endpoint)
