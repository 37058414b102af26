"""One courier for each spool directory of the process, shared by every exporter and processor that uses it."""

from __future__ import annotations

import atexit
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from otel_llm_feedback import attributes as names
from otel_llm_feedback.delivery.courier import Courier, FlushReport
from otel_llm_feedback.delivery.endpoint import Endpoint, endpoint_from
from otel_llm_feedback.delivery.records import Signal, SpoolStats
from otel_llm_feedback.delivery.spool import Spool
from otel_llm_feedback.errors import ConfigurationError, SpoolError
from otel_llm_feedback.version import __version__

__all__ = ["acquire", "publish", "release", "running", "share", "spool_directory"]

SPOOL_DIR = "OTEL_LLM_FEEDBACK_SPOOL_DIR"

MAX_BYTES = 512 * 1024 * 1024
MAX_AGE_SECONDS = 30 * 24 * 3600.0
EXIT_SECONDS = 5.0
"""How long the end of the process may take for a last try to deliver. Whatever is left then stays in the spool."""


class _Shared:
    def __init__(self, courier: Courier) -> None:
        self.courier = courier
        self.users = 0


_lock = threading.Lock()
_begun = threading.Event()
_shared: dict[str, _Shared] = {}


def spool_directory(
    environ: Mapping[str, str], service_name: str, directory: str | os.PathLike[str] | None = None
) -> Path:
    """Where the spool is: the argument, else ``OTEL_LLM_FEEDBACK_SPOOL_DIR``, else one per service in the user's state.

    Services do not share one by default: they may send to different collectors. Raises ConfigurationError without a home.
    """
    given: object = directory  # annotations promise nothing at run time
    if given is not None and (not isinstance(given, (str, os.PathLike)) or not os.fspath(given)):
        raise ConfigurationError("spool_dir", given, "pass the path of a directory")
    if directory is not None or environ.get(SPOOL_DIR):
        return Path(directory if directory is not None else environ[SPOOL_DIR])
    state = environ.get("XDG_STATE_HOME") or (
        os.path.join(environ["HOME"], ".local", "state") if environ.get("HOME") else ""
    )
    if not os.path.isabs(state):
        raise ConfigurationError(SPOOL_DIR, None, "set it: this user has no home directory for the spool to be in")
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", service_name)[:100].lstrip(".") or "unknown_service"
    return Path(state, "otel-llm-feedback", name)


def acquire(
    environ: Mapping[str, str],
    *,
    service_name: str = "",
    spool_dir: str | os.PathLike[str] | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    fsync: bool = False,
) -> Courier:
    """The courier of a spool directory, delivering; `release` it when done.

    Raises ConfigurationError, also when the directory is already in use with other endpoints, and SpoolError.
    """
    directory = spool_directory(environ, service_name, spool_dir)
    endpoints = {
        signal: endpoint_from(environ, signal.value, endpoint=endpoint, protocol=protocol, headers=headers)
        for signal in Signal
    }
    with _lock:
        shared = _find(directory, endpoints, fsync)
        shared.users += 1
    shared.courier.start()
    return shared.courier


def _find(directory: Path, endpoints: Mapping[Signal, Endpoint], fsync: bool) -> _Shared:
    key = os.path.realpath(directory)
    found = _shared.get(key)
    if found is None:
        spool = Spool(directory, max_bytes=MAX_BYTES, max_age_seconds=MAX_AGE_SECONDS, fsync=fsync)
        found = _shared[key] = _Shared(Courier(spool, endpoints))
        if not _begun.is_set():
            _begun.set()
            atexit.register(_deliver_at_exit)
            publish(get_meter(names.SCOPE_NAME, __version__))  # real as soon as the application sets a MeterProvider
    elif found.courier.endpoints != dict(endpoints):
        fix = "give every exporter that shares a spool the same endpoint, or each a spool directory of its own"
        raise ConfigurationError("spool_dir", str(directory), fix)
    return found


def share(courier: Courier) -> Courier:
    """One user more of a courier that somebody has acquired."""
    with _lock:
        for shared in _shared.values():
            if shared.courier is courier:
                shared.users += 1
    return courier


def release(courier: Courier, timeout_seconds: float = EXIT_SECONDS) -> FlushReport | None:
    """One user less; the last one ends the courier and gets its report."""
    with _lock:
        for key, shared in _shared.items():
            if shared.courier is courier:
                shared.users -= 1
                if shared.users > 0:
                    return None
                del _shared[key]
                break
    return courier.shutdown(timeout_seconds)


def running() -> list[Courier]:
    """Every courier of this process."""
    with _lock:
        return [shared.courier for shared in _shared.values()]


def publish(meter: Meter) -> None:
    """Make what is in the spools of this process observable gauges of ``meter``: records, bytes, age and dead letters."""
    for name, unit, description, read in GAUGES:
        meter.create_observable_gauge(name, [partial(_observe, read)], unit, description)


def _observe(read: Callable[[SpoolStats], Mapping[str, float]], _options: CallbackOptions) -> list[Observation]:
    observed: list[Observation] = []
    for courier in running():
        with suppress(SpoolError):  # a reading that cannot be had is left out
            for signal, value in read(courier.spool.stats()).items():
                labels = {names.SPOOL_DIRECTORY: courier.spool.directory}
                observed.append(Observation(value, {**labels, names.SPOOL_SIGNAL: signal} if signal else labels))
    return observed


GAUGES: tuple[tuple[str, str, str, Callable[[SpoolStats], Mapping[str, float]]], ...] = (
    (
        "llm_feedback.spool.records",
        "{record}",
        "Records that wait to be delivered, by signal.",
        lambda stats: {signal.value: count for signal, count in stats.records.items()},
    ),
    ("llm_feedback.spool.bytes", "By", "Payload of what waits.", lambda stats: {"": stats.bytes}),
    (
        "llm_feedback.spool.oldest_age",
        "s",
        "Age of the oldest record that waits; 0 when none does.",
        lambda stats: {"": stats.oldest_age_seconds or 0.0},
    ),
    (
        "llm_feedback.spool.dead_letters",
        "{record}",
        "Records that no collector would take.",
        lambda stats: {"": stats.dead_letters},
    ),
)


def _deliver_at_exit() -> None:
    """For those whose providers were not shut down. The spools stay open: providers may yet put in what they buffer."""
    for courier in running():
        courier.flush(EXIT_SECONDS, patient=False)
