"""The OpenTelemetry logs signal: the only module that imports it.

In Python the signal is still underscore-named (``opentelemetry._logs``, ``opentelemetry.sdk._logs``) and still moves, so
everybody else gets it from here, under plain names.
"""

from __future__ import annotations

from opentelemetry._logs import (
    Logger,
    LogRecord,
    SeverityNumber,
    get_logger_provider,
    set_logger_provider,
)
from opentelemetry._logs import LoggerProvider as APILoggerProvider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

__all__ = [
    "APILoggerProvider",
    "BatchLogRecordProcessor",
    "LogRecord",
    "LogRecordExportResult",
    "LogRecordExporter",
    "LogRecordProcessor",
    "Logger",
    "LoggerProvider",
    "ReadWriteLogRecord",
    "ReadableLogRecord",
    "SeverityNumber",
    "accepts",
    "get_logger_provider",
    "is_missing",
    "set_logger_provider",
]


def is_missing(provider: APILoggerProvider) -> bool:
    """Whether this is the API's own do-nothing provider, that is, nobody has set a real one."""
    return type(provider).__module__.startswith("opentelemetry._logs")


def accepts(logger: Logger, event_name: str) -> bool:
    """Whether somebody will receive what is emitted; SDKs before 1.45 cannot say, and are taken at their word."""
    enabled = getattr(logger, "enabled", None)
    return enabled is None or bool(enabled(severity_number=SeverityNumber.INFO, event_name=event_name))
