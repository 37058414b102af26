"""Where and how to deliver: one frozen value per signal, from arguments and ``OTEL_EXPORTER_OTLP_*`` variables.

The rules are those of the OpenTelemetry specification ("OpenTelemetry Protocol Exporter"): an argument beats the variable
of the signal, which beats the general variable, which beats the default; an empty variable counts as not set. One rule is
the Python SDK's instead: a time-out is in seconds, where the specification has milliseconds, so that one environment
means the same to the SDK's exporters and to this one.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeVar
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.version import __version__

__all__ = ["SIZE_LIMITS", "USER_AGENT", "Endpoint", "Protocol", "Signal", "endpoint_from"]

Signal = Literal["logs", "traces"]
Protocol = Literal["grpc", "http/protobuf"]
Compression = Literal["none", "gzip"]
T = TypeVar("T", bound=str)

SIZE_LIMITS: Final[Mapping[str, int]] = MappingProxyType({"grpc": 4 * 1024 * 1024, "http/protobuf": 20 * 1024 * 1024})
"""Bytes of one uncompressed request that a server accepts by default (OTLP specification; a collector's defaults)."""

USER_AGENT: Final = f"otel-llm-feedback-python/{__version__}"
"""How we introduce ourselves to servers."""

_PROTOCOLS: Final[tuple[Protocol, ...]] = ("grpc", "http/protobuf")
_COMPRESSIONS: Final[tuple[Compression, ...]] = ("none", "gzip")
_DEFAULT_URLS: Final[Mapping[str, str]] = MappingProxyType(
    {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
)
_PATHS: Final[Mapping[str, str]] = MappingProxyType({"logs": "/v1/logs", "traces": "/v1/traces"})
_DEFAULT_TIMEOUT_SECONDS: Final = 10.0

_HEADER_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,200}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?", re.ASCII)
_OWN_HEADERS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "transfer-encoding"}
)
_SHORTEST_SECRET: Final = 6  # shorter values, such as a tenant's number, would only blot out words of the message
_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True, repr=False)
class Endpoint:
    """One server for one signal.

    ``url`` is the whole URL for HTTP and the gRPC target (``collector:4317``, ``dns:///collector:4317``) for gRPC.
    ``insecure`` means plain text. The three certificate fields are paths of PEM files. ``repr`` shows no header's value
    and no query, which is where keys are kept.
    """

    signal: Signal
    protocol: Protocol
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    timeout_seconds: float = _DEFAULT_TIMEOUT_SECONDS
    compression: Compression = "none"
    certificate: str | None = None
    client_key: str | None = None
    client_certificate: str | None = None
    insecure: bool = False

    @property
    def size_limit(self) -> int:
        """Bytes of one uncompressed request that the server can be expected to accept."""
        return SIZE_LIMITS[self.protocol]

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in a message: values of headers, and the words in them (``Bearer …``)."""
        words = {word for _, value in self.headers for word in (value, *value.split()) if len(word) >= _SHORTEST_SECRET}
        return tuple(sorted(words, key=len, reverse=True))

    def __repr__(self) -> str:
        names = ", ".join(name for name, _ in self.headers)
        return f"<Endpoint {self.signal} {self.protocol} {_masked(self.url)} headers=[{names}]>"


def endpoint_from(
    environ: Mapping[str, str],
    signal: Signal,
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
    compression: str | None = None,
    certificate: str | None = None,
    client_key: str | None = None,
    client_certificate: str | None = None,
    insecure: bool | None = None,
) -> Endpoint:
    """The endpoint of ``signal``. Reads nothing but its arguments.

    ``endpoint`` is a base URL, as the general variable is: over HTTP ``/v1/logs`` or ``/v1/traces`` is appended to it, or
    takes the place of the other. The variable of the signal is used as it is. ``insecure`` is for a gRPC target without a
    scheme; ``http://`` and ``https://`` decide by themselves.

    Raises `ConfigurationError` naming the argument or variable that cannot be used.
    """
    settings = _Environment(environ, signal)
    wire = _one_of(settings.pick("PROTOCOL", protocol, "protocol"), _PROTOCOLS, "http/protobuf")
    url, plain, credentials = _locate(settings, signal, wire, endpoint, insecure)
    key = settings.pick("CLIENT_KEY", client_key, "client_key")
    client = settings.pick("CLIENT_CERTIFICATE", client_certificate, "client_certificate")
    if key and not client:
        raise ConfigurationError(key[0], key[1], "set the client certificate that belongs to this key, too")
    authority = settings.pick("CERTIFICATE", certificate, "certificate")
    return Endpoint(
        signal=signal,
        protocol=wire,
        url=url,
        headers=_headers(settings, headers, credentials),
        timeout_seconds=_timeout(settings, timeout_seconds),
        compression=_one_of(settings.pick("COMPRESSION", compression, "compression"), _COMPRESSIONS, "none"),
        certificate=authority[1] if authority else None,
        client_key=key[1] if key else None,
        client_certificate=client[1] if client else None,
        insecure=plain,
    )


@dataclass(frozen=True, slots=True)
class _Environment:
    """Looks settings up; each comes with the name under which the user gave it."""

    environ: Mapping[str, str]
    signal: Signal

    def pick(self, setting: str, argument: str | None, name: str) -> tuple[str, str] | None:
        if argument is not None:
            return name, argument.strip()
        return self.own(setting) or self.general(setting)

    def own(self, setting: str) -> tuple[str, str] | None:
        return self._read(f"OTEL_EXPORTER_OTLP_{self.signal.upper()}_{setting}")

    def general(self, setting: str) -> tuple[str, str] | None:
        return self._read(f"OTEL_EXPORTER_OTLP_{setting}")

    def _read(self, variable: str) -> tuple[str, str] | None:
        value = self.environ.get(variable, "").strip()
        return (variable, value) if value else None


def _one_of(given: tuple[str, str] | None, allowed: tuple[T, ...], default: T) -> T:
    if given is None:
        return default
    for value in allowed:
        if given[1].lower() == value:
            return value
    raise ConfigurationError(given[0], given[1], f"use one of {', '.join(allowed)}")


def _timeout(settings: _Environment, argument: float | None) -> float:
    text = None if argument is None else str(argument)
    given = settings.pick("TIMEOUT", text, "timeout_seconds")
    if given is None:
        return _DEFAULT_TIMEOUT_SECONDS
    try:
        seconds = float(given[1])
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise ConfigurationError(given[0], given[1], "give a number of seconds greater than 0, for instance 10")
    return seconds


def _locate(
    settings: _Environment, signal: Signal, protocol: Protocol, argument: str | None, insecure: bool | None
) -> tuple[str, bool, str | None]:
    """The URL or target, whether it is plain text, and the credentials that were in it."""
    if argument is not None and not isinstance(argument, str):
        raise ConfigurationError("endpoint", argument, "give the base URL as text, such as http://localhost:4318")
    own = None if argument is not None else settings.own("ENDPOINT")
    field, url = own or settings.pick("ENDPOINT", argument, "endpoint") or ("endpoint", _DEFAULT_URLS[protocol])
    if protocol == "grpc" and not re.match(r"https?://", url, re.IGNORECASE):
        if not url or _NOT_IN_A_URL.search(url) or "@" in url:
            raise ConfigurationError(field, _masked(url), "give host:port, http://host:port or https://host:port")
        return url, _insecure(settings, insecure), None
    parts = _split(field, url)
    credentials, _, netloc = parts.netloc.rpartition("@")
    if protocol == "grpc":
        return netloc, parts.scheme == "http", credentials or None
    path = parts.path if own else _signal_path(parts.path, signal, strip=argument is not None)
    path = quote(path or "/", safe="/%:@!$&'()*+,;=~")
    return urlunsplit((parts.scheme, netloc, path, parts.query, "")), parts.scheme == "http", credentials or None


def _split(field: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is not one, brackets that do not match
        usable = False
    if not usable or _NOT_IN_A_URL.search(url):
        raise ConfigurationError(field, _masked(url), "give an ASCII URL such as http://localhost:4318")
    return parts


def _signal_path(path: str, signal: Signal, *, strip: bool) -> str:
    base = path.rstrip("/")
    if strip:
        base = next((base.removesuffix(known) for known in _PATHS.values() if base.endswith(known)), base)
    return base + _PATHS[signal]


def _insecure(settings: _Environment, argument: bool | None) -> bool:
    text = None if argument is None else str(argument)
    return _one_of(settings.pick("INSECURE", text, "insecure"), ("true", "false"), "false") == "true"


def _headers(
    settings: _Environment, argument: Mapping[str, str] | None, credentials: str | None
) -> tuple[tuple[str, str], ...]:
    given = settings.pick("HEADERS", None, "headers")
    field = "headers" if argument is not None or given is None else given[0]
    if argument is not None and not isinstance(argument, Mapping):
        raise ConfigurationError(field, argument, "pass a mapping from names to values", private=True)
    pairs = argument if argument is not None else dict(_parse_headers(field, given[1] if given else ""))
    found = {_header_name(field, name): _header_value(field, name, value) for name, value in pairs.items()}
    if credentials and "authorization" not in found:
        found["authorization"] = "Basic " + base64.b64encode(unquote(credentials).encode()).decode()
    return tuple(found.items())


def _parse_headers(field: str, text: str) -> list[tuple[str, str]]:
    """Pairs of ``key1=value1,key2=value2``, percent-decoded (W3C Baggage without properties)."""
    pairs = []
    for member in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = member.partition("=")
        if not equals:
            raise ConfigurationError(field, text, "write key1=value1,key2=value2, percent-encoded", private=True)
        pairs.append((unquote(name).strip(), unquote(value).strip()))
    return pairs


def _header_name(field: str, name: str) -> str:
    lower = str(name).lower()
    if (
        not _HEADER_NAME.fullmatch(lower)
        or lower in _OWN_HEADERS
        or lower.startswith("grpc-")
        or lower.endswith("-bin")
    ):
        raise ConfigurationError(field, name, "use another header name; this one is malformed or set by the protocol")
    return lower


def _header_value(field: str, name: str, value: str) -> str:
    if not _HEADER_VALUE.fullmatch(str(value)):
        fix = f"the value of {name} must be printable ASCII on one line; encode anything else"
        raise ConfigurationError(field, value, fix, private=True)
    return str(value)


def _masked(url: str) -> str:
    """``url`` without what may be secret in it: credentials, and everything after the path."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    return f"{scheme}{separator}{place.rpartition('@')[2]}"
