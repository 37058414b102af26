"""record_feedback: the one call of this package that applications make. And the same for many at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from otel_llm_feedback.errors import FeedbackError, InvalidField, InvalidValue
from otel_llm_feedback.feedback.emit import needs_span
from otel_llm_feedback.feedback.event import check_agreement, compose, locate
from otel_llm_feedback.feedback.receipt import Receipt
from otel_llm_feedback.feedback.recorder import Prepared, Recorder, attempt, default_recorder, send
from otel_llm_feedback.feedback.statement import Fields, state
from otel_llm_feedback.target import Target, TargetLike

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Mode", "record_feedback", "record_feedback_batch"]

Mode = Literal["log", "span_event", "both"]
MODES = ("log", "span_event", "both")


def record_feedback(
    target: TargetLike,
    value: bool | float | str | Mapping[str, object] | list[object] | None = None,
    *,
    mode: Mode = "log",
    recorder: Recorder | None = None,
    **fields: Unpack[Fields],
) -> Receipt:
    """Record what somebody said about an LLM answer, on the trace of that answer.

    It does not matter whether the answer's span has ended, was sampled, or belongs to another process, nor which span is
    current now: the record carries the target's own ids. It becomes the event ``gen_ai.evaluation.result`` of the
    OpenTelemetry GenAI semantic conventions.

    target: what it is about; see `Target` for all that is accepted.
    value: True or False (sent as 1.0 / 0.0 with the label pass / fail), a finite number, a short text, which is a label, or a
        dict or list, which is sent as JSON. May be left out beside a label, categories, a comment, a correction, a signal, a
        preference or an error.
    mode: ``log``: a log record. ``span_event``: an event on the target's span while it records, else on a new child span of
        it that the sampler may drop. ``both``.
    fields: everything else that can be said; `Fields` lists it all, with types and limits. The common ones: ``comment``,
        ``label``, ``scale``, ``metadata``, ``user_id``, ``name``, ``at``.

    Returns a Receipt; look at its status, or call ``raise_for_loss()``. Raises InvalidTarget, InvalidValue or InvalidField
    before anything is sent, and nothing else.
    """
    using = recorder if recorder is not None else default_recorder()
    return send(attempt(lambda: prepare(target, value, fields, mode, using), using), mode, using)


def record_feedback_batch(
    items: Iterable[Mapping[str, Any]], *, mode: Mode = "log", recorder: Recorder | None = None
) -> list[Receipt]:
    """`record_feedback` for many: each item has ``target``, and whatever else that takes as keywords.

    Returns one Receipt for each, in order. All items are checked before the first one is sent: a mistake in one raises what
    `record_feedback` would, with the item's number in ``error.item``, and nothing is recorded.
    """
    using = recorder if recorder is not None else default_recorder()
    if not isinstance(items, Iterable):
        raise InvalidField("items", items, "pass a list of mappings", private=True)
    ready = [attempt(partial(_prepare_item, *numbered, mode, using), using) for numbered in enumerate(items)]
    return [send(each, mode, using) for each in ready]


def _prepare_item(number: int, item: object, mode: str, using: Recorder) -> Prepared:
    try:
        if not isinstance(item, Mapping) or "target" not in item:
            raise InvalidField("items", item, "pass mappings that have at least a target", private=True)
        given = dict(item)
        return prepare(given.pop("target"), given.pop("value", None), given, mode, using)
    except FeedbackError as error:
        error.item = number
        raise


def prepare(target: TargetLike, value: object, fields: Mapping[str, Any], mode: str, using: Recorder) -> Prepared:
    """Check everything and put the event together, without sending it."""
    if mode not in MODES:
        raise InvalidField("mode", mode, "use 'log', 'span_event' or 'both'")
    about = Target.of(target)
    said = state(using.settings, value, fields)
    if not said.says:
        fix = "pass a value, or a label, categories, a comment, a correction, a signal, a preference or an error"
        raise InvalidValue("value", value, fix)
    check_agreement(about, said)
    place = locate(about, using.registry)
    if mode != "log":
        needs_span(place)
    event = compose(about, place, said, using.settings, now=using.time_ns(), random_id=using.new_id())
    return Prepared(event, said, about)
