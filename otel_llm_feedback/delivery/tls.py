"""Reading the certificate files of an endpoint."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otel_llm_feedback.errors import ConfigurationError

if TYPE_CHECKING:
    from otel_llm_feedback.delivery.endpoint import Endpoint

__all__ = ["PemFiles", "check_files", "client_context", "read_files"]


@dataclass(frozen=True, slots=True, repr=False)
class PemFiles:
    """The contents of an endpoint's PEM files; None is "not given"."""

    authorities: bytes | None
    key: bytes | None
    chain: bytes | None


def client_context(endpoint: Endpoint) -> ssl.SSLContext:
    """A verifying client context: the given authorities instead of the system's, and the client's certificate.

    Raises ``OSError`` (of which ``ssl.SSLError`` is one) when a file cannot be read or is not what it should be.
    """
    context = ssl.create_default_context(cafile=endpoint.certificate)
    context.set_alpn_protocols(["http/1.1"])
    if endpoint.client_certificate:
        # A locked key fails at once, where OpenSSL would ask for the password on the terminal.
        context.load_cert_chain(endpoint.client_certificate, endpoint.client_key, password=lambda: "")
    return context


def read_files(endpoint: Endpoint) -> PemFiles:
    """The files as gRPC wants them; a key that is not given apart is in the certificate's file. Raises ``OSError``."""
    key = endpoint.client_key or endpoint.client_certificate
    return PemFiles(_read(endpoint.certificate), _read(key), _read(endpoint.client_certificate))


def check_files(endpoint: Endpoint) -> None:
    """Raise `ConfigurationError` at set-up when the files of an endpoint that needs them cannot be used."""
    if endpoint.insecure:
        return
    try:
        client_context(endpoint)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        fix = f"these must be readable PEM files that belong together ({why})"
        paths = [endpoint.certificate, endpoint.client_key, endpoint.client_certificate]
        raise ConfigurationError("certificate", [path for path in paths if path], fix) from error


def _read(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None
