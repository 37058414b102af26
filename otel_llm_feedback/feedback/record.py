"""record_feedback: the one call of this package that applications make."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, ParamSpec

from otel_llm_feedback.boundary import say_once, swallow
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.errors import ConfigurationError, FeedbackError, InvalidField
from otel_llm_feedback.feedback.emit import LogEmitter, SpanEventEmitter, needs_span
from otel_llm_feedback.feedback.event import FeedbackEvent, Statement, compose, locate, state
from otel_llm_feedback.feedback.receipt import Receipt, Status
from otel_llm_feedback.identity import random_id
from otel_llm_feedback.settings import Settings
from otel_llm_feedback.slip import Slip
from otel_llm_feedback.spans.processor import refuse_user_id
from otel_llm_feedback.spans.registries import Registry
from otel_llm_feedback.spans.registry import default_registry
from otel_llm_feedback.target import Target, TargetLike

__all__ = ["Recorder", "default_recorder", "record_feedback", "set_default_recorder"]

MODES = ("log", "span_event", "both")

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
        try:
            _default = Recorder(Settings.from_os_environ())
        except ConfigurationError as error:  # the vote is not to blame for it, and goes on without the setting
            say_once(f"default_recorder/{error.field}", "%s", error)
            _default = Recorder(Settings())
    return _default


def set_default_recorder(recorder: Recorder | None) -> None:
    """Replace the process-wide recorder; None: make it anew at next use."""
    global _default
    _default = recorder


def record_feedback(
    target: TargetLike,
    value: bool | float | str | None = None,
    *,
    name: str = "user_feedback",
    label: str | None = None,
    comment: str | None = None,
    metadata: Mapping[str, object] | None = None,
    at: datetime | int | None = None,
    mode: Literal["log", "span_event", "both"] = "log",
    feedback_id: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    recorder: Recorder | None = None,
) -> Receipt:
    """Record what somebody said about an LLM answer, on the trace of that answer.

    It does not matter whether the answer's span has ended, was sampled, or belongs to another process, nor which span is
    current now: the record carries the target's own ids. It becomes the event ``gen_ai.evaluation.result`` of the
    OpenTelemetry GenAI semantic conventions.

    target: what it is about; see `Target` for all that is accepted.
    value: True or False (sent as 1.0 / 0.0 with the label pass / fail), a finite number, or a short text, which is a label.
    name: what was judged, up to 180 characters.
    label: the category given, up to 128 characters.
    comment: free text; cut after ``Settings.max_comment_length`` characters.
    metadata: the application's own keys (letters, digits, ``_.-``, up to 64) and values; nested ones are sent as JSON.
    at: when the feedback was given: an aware datetime, or nanoseconds since the epoch. Default: now.
    mode: ``log``: a log record. ``span_event``: an event on the target's span while it records, else on a new child span of
        it that the sampler may drop. ``both``.
    feedback_id: the id to record it under. Default: derived from target, name and user_id if a pseudonym key is set, so that
        a double click is one vote; else random.
    user_id: who said it; sent only as a pseudonym, and only if there is a key (see `Settings`).
    session_id: the session in which it was said.

    Returns a Receipt; look at its status, or call ``raise_for_loss()``. Raises InvalidTarget, InvalidValue or InvalidField
    before anything is sent, and nothing else.
    """
    using = recorder if recorder is not None else default_recorder()
    try:
        if mode not in MODES:
            raise InvalidField("mode", mode, "use 'log', 'span_event' or 'both'")
        about = Target.of(target)
        if session_id is not None and about.session_id not in (None, session_id):
            raise InvalidField("session_id", session_id, "the target is another session: leave this out", private=True)
        said = state(
            using.settings,
            value=value,
            name=name,
            label=label,
            comment=comment,
            metadata=metadata,
            at=at,
            feedback_id=feedback_id,
            user_id=user_id,
            session_id=session_id,
        )
        place = locate(about, using.registry)
        if mode != "log":
            needs_span(place)
        event = compose(about, place, said, using.settings, now=using.time_ns(), random_id=using.new_id())
    except FeedbackError:
        raise
    except Exception as error:  # noqa: BLE001 - code of an argument's own class failed, or ours
        swallow("record_feedback", error)
        using.counters.add("dropped", "internal_error")
        return Receipt(using.new_id(), "dropped", "internal_error")
    if said.marks or said.user_id is not None:
        _count_changes(said, using)
    return _send(event, about, mode, using)


def _count_changes(said: Statement, using: Recorder) -> None:
    for mark in said.marks:
        using.counters.add("truncated", mark.partition(":")[0].partition(".")[0])
    if said.user_id is not None and using.settings.pseudonym_key is None and not using.settings.raw_user_ids:
        refuse_user_id(using.counters)


def _send(event: FeedbackEvent, about: Target, mode: str, using: Recorder) -> Receipt:
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
