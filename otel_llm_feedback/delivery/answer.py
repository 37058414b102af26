"""What a collector said to one export request, in one shape for HTTP and gRPC, read from bytes that may be hostile.

Everything here is pure. A message that came from a server is cut to one short printable line before it is kept, so that
it can be logged; `hide` takes the values of our own headers out of it first, for servers that echo a request.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "Answer",
    "Failure",
    "accepted",
    "error_text",
    "hide",
    "is_acceptance",
    "read_retry_after",
    "read_retry_info",
]

MESSAGE_LIMIT: Final = 200
"""Characters of a server's message that are kept."""

_HEADER_LIMIT: Final = 64
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


class Failure(enum.Enum):
    """Why there is no answer at all."""

    REFUSED = "connection_refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    CLOSED = "connection_closed"
    GARBAGE = "garbage_answer"
    INTERRUPTED = "interrupted"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one export request.

    ``code`` is an ``int`` for an HTTP status, a ``str`` for the name of a gRPC code (``"UNAVAILABLE"``), and a `Failure`
    when nothing that can be read came back. ``rejected`` is the number of records that a partial success says were
    refused. ``garbled`` marks an acceptance whose body was not the OTLP response that the protocol demands.
    """

    code: int | str | Failure
    retry_after_seconds: float | None = None
    rejected: int = 0
    message: str = ""
    garbled: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _one_line(self.message))

    @property
    def reason(self) -> str:
        """A label for counters: ``http_503``, ``grpc_unavailable``, ``timeout``."""
        if isinstance(self.code, Failure):
            return self.code.value
        return f"http_{self.code}" if isinstance(self.code, int) else f"grpc_{self.code.lower()}"


def is_acceptance(status: int) -> bool:
    """Whether an HTTP status says that the request was accepted: 2xx and nothing else."""
    return 200 <= status <= 299


def accepted(code: int | str, signal: str, body: bytes, secrets: Iterable[str] = ()) -> Answer:
    """Read the body of an acceptance: how many records it rejects after all, and any warning.

    ``secrets`` are taken out of the warning. A body that cannot be read does not undo the acceptance, which is the status's to give; it is marked ``garbled``.
    """
    try:
        rejected, message = _partial_success(signal, body)
    except DecodeError:
        return Answer(code, message="accepted, but the answer's body is not an OTLP response", garbled=True)
    return Answer(code, rejected=max(0, rejected), message=hide(message, secrets))


def _partial_success(signal: str, body: bytes) -> tuple[int, str]:
    if signal == "traces":
        spans = ExportTraceServiceResponse.FromString(body).partial_success
        return spans.rejected_spans, spans.error_message
    records = ExportLogsServiceResponse.FromString(body).partial_success
    return records.rejected_log_records, records.error_message


def error_text(body: bytes, content_type: str) -> str:
    """The message of an HTTP error: that of the ``google.rpc.Status`` OTLP demands, otherwise the start of the text."""
    if content_type.partition(";")[0].strip().lower() == "application/x-protobuf":
        try:
            return str(Status.FromString(body).message)
        except DecodeError:
            return ""
    return body[: MESSAGE_LIMIT * 4].decode("utf-8", "replace")


def read_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a ``Retry-After`` header: delta-seconds or an HTTP-date (RFC 9110, 10.2.3).

    ``now`` is the Unix time in seconds. A date in the past is 0; anything unreadable is None.
    """
    if value is None or len(value) > _HEADER_LIMIT:
        return None
    if _SECONDS.fullmatch(value.strip()):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        moment = (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return max(0.0, moment - now)


def read_retry_info(details: bytes) -> float | None:
    """Seconds to wait by the ``RetryInfo`` in the trailer ``grpc-status-details-bin``, a ``google.rpc.Status``."""
    info = RetryInfo()
    try:
        for detail in Status.FromString(details).details:
            if detail.Unpack(info):
                delay = info.retry_delay
                return max(0.0, delay.seconds + delay.nanos / 1e9) if info.HasField("retry_delay") else None
    except DecodeError:
        return None
    return None


def hide(text: str, secrets: Iterable[str]) -> str:
    """``text`` without any of the ``secrets``."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _one_line(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text[: MESSAGE_LIMIT * 4])
    line = " ".join(printable.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"
