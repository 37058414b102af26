"""Where recording takes everything from that is not an argument, and how an event gets out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, ParamSpec

from otel_llm_feedback.boundary import say_once, swallow
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.errors import ConfigurationError, FeedbackError
from otel_llm_feedback.feedback.emit import LogEmitter, SpanEventEmitter
from otel_llm_feedback.feedback.event import FeedbackEvent
from otel_llm_feedback.feedback.receipt import Receipt, Status
from otel_llm_feedback.feedback.statement import Statement
from otel_llm_feedback.identity import random_id
from otel_llm_feedback.redaction import Content
from otel_llm_feedback.settings import Settings
from otel_llm_feedback.slip import Slip
from otel_llm_feedback.spans.processor import refuse_user_id
from otel_llm_feedback.spans.registries import Registry
from otel_llm_feedback.spans.registry import default_registry
from otel_llm_feedback.target import Target

__all__ = ["Prepared", "Recorder", "attempt", "default_recorder", "send", "set_default_recorder", "usable_settings"]

ADVICE = {
    "no_logger_provider": "no LoggerProvider is set, so feedback goes nowhere: call otel_llm_feedback.configure() or set one up",
    "no_log_processor": "the LoggerProvider takes no feedback: add a processor that exports, and do not set OTEL_SDK_DISABLED",
    "no_tracer_provider": "no TracerProvider is set, so feedback as span events goes nowhere",
    "carrier_not_sampled": "the sampler dropped a feedback span; mode='log' is not subject to sampling",
}


@dataclass
class Recorder:
    """Where `record_feedback` takes everything from that is not an argument.

    settings: limits and keys. registry: the captured calls. counters: what became of what.
    logs, span_events: where events go. time_ns, new_id: clock and id source.
    """

    settings: Settings
    registry: Registry = field(default_factory=default_registry)
    counters: Counters = DEFAULT_COUNTERS
    logs: LogEmitter = field(default_factory=LogEmitter)
    span_events: SpanEventEmitter = field(default_factory=SpanEventEmitter)
    time_ns: Callable[[], int] = time.time_ns
    new_id: Callable[[], str] = random_id


P = ParamSpec("P")

_default: Recorder | None = None


def default_recorder() -> Recorder:
    """The process-wide recorder, made from the environment at first use unless `configure` made it."""
    global _default
    if _default is None:
        _default = Recorder(usable_settings())
    return _default


def usable_settings(**given: Any) -> Settings:
    """Those of the environment. When they are wrong, votes are not to blame and go on, but send as little as can be meant.

    given: as for `Settings.from_environ`.
    """
    try:
        return Settings.from_os_environ(**given)
    except ConfigurationError as error:
        say_once(f"settings/{error.field}", "%s; until then no content and no user id is sent", error)
        return Settings(content=Content("off"))


def set_default_recorder(recorder: Recorder | None) -> None:
    """Replace the process-wide recorder; None: make it anew at next use."""
    global _default
    _default = recorder


def _count_changes(said: Statement, using: Recorder) -> None:
    for mark in said.marks:
        using.counters.add("truncated", mark.partition(":")[0].partition(".")[0])
    for kind, count in said.redactions.items():
        using.counters.add("redacted", kind, count)
    if said.withheld:
        using.counters.add("withheld", "content_off", said.withheld)
    if said.user_id is not None and using.settings.pseudonym_key is None and not using.settings.raw_user_ids:
        refuse_user_id(using.counters)


class Prepared(NamedTuple):
    """An event that is checked and put together, with what it was made from."""

    event: FeedbackEvent
    said: Statement
    about: Target | None


def attempt(prepare: Callable[[], Prepared], using: Recorder) -> Prepared | Receipt:
    """What `prepare` makes, or the receipt of a loss where not the caller failed. Raises only the caller's mistakes."""
    try:
        return prepare()
    except FeedbackError:
        raise
    except Exception as error:  # noqa: BLE001 - code of an argument's own class failed, or ours
        swallow("record_feedback", error)
        using.counters.add("dropped", "internal_error")
        return Receipt(using.new_id(), "dropped", "internal_error")


def send(ready: Prepared | Receipt, mode: str, using: Recorder) -> Receipt:
    """Emit an event as a log record, a span event or both, and say what became of it. Never raises."""
    if isinstance(ready, Receipt):
        return ready
    event, said, about = ready
    if said.marks or said.redactions or said.withheld or said.user_id is not None:
        _count_changes(said, using)
    as_span_event = "" if mode == "log" else _guarded(using.span_events.emit, event, about)
    with Slip() as slip:
        as_log = "" if mode == "span_event" else _guarded(using.logs.emit, event)
    # On disk is on disk, whatever else failed; and a spool that was asked and could not is a loss, whoever else took it.
    as_log = "" if slip.spooled else as_log or slip.failure
    status: Status = "spooled" if slip.spooled else "emitted"
    if not as_log and not as_span_event:
        using.counters.add("emitted")
        return Receipt(event.id, status)
    both = mode == "both"
    return _incomplete(
        event, [reason for reason in (as_span_event, as_log) if reason], using, status if both else "dropped"
    )


def _incomplete(event: FeedbackEvent, reasons: list[str], using: Recorder, status: Status) -> Receipt:
    """Count and say why the event did not get out, or, of two ways out, by which one it did not."""
    if len(reasons) > 1:
        status = "dropped"
    if status != "dropped":
        using.counters.add("emitted")
    for reason in reasons:
        using.counters.add("dropped" if status == "dropped" else "incomplete", reason)
        if reason in ADVICE:
            say_once(reason, ADVICE[reason])
    return Receipt(event.id, status, ", ".join(reasons))


def _guarded(emit: Callable[P, str], *args: P.args, **kwargs: P.kwargs) -> str:
    try:
        return emit(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - a processor or sampler of the application failed: not the caller's doing
        swallow("record_feedback", error)
        return "internal_error"
