"""The rest of a vote's life: changed, withdrawn, forgotten. Each is one more record of an append-only stream.

A store that reads the stream resolves it (`resolve`): nothing that was sent is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from opentelemetry.util.types import AttributeValue

from otel_llm_feedback import attributes as names
from otel_llm_feedback.errors import ConfigurationError, InvalidField
from otel_llm_feedback.feedback.event import NOWHERE, FeedbackEvent, Place, compose, locate
from otel_llm_feedback.feedback.fields import clean_time, required_text
from otel_llm_feedback.feedback.receipt import Receipt
from otel_llm_feedback.feedback.recorder import Recorder, default_recorder, send
from otel_llm_feedback.feedback.statement import Said, state
from otel_llm_feedback.identity import pseudonym
from otel_llm_feedback.target import Target, TargetLike

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["erase_feedback", "retract_feedback", "update_feedback"]


def update_feedback(
    feedback_id: str | Receipt,
    value: bool | float | str | Mapping[str, object] | list[object] | None = None,
    *,
    target: TargetLike | None = None,
    clear: tuple[str, ...] | list[str] = (),
    recorder: Recorder | None = None,
    **fields: Unpack[Said],
) -> Receipt:
    """Change feedback that was recorded before. What is not given stays as it is.

    feedback_id: that of the record, or its Receipt.
    value and what belongs to it (label, scale, categories) are replaced together.
    target: only where the store cannot be expected to have the first record; must be the same one.
    clear: names of attributes that are to have no value any more, for example ``gen_ai.evaluation.explanation``.
    fields: as for `record_feedback`.

    Raises and returns as `record_feedback` does.
    """
    using = recorder if recorder is not None else default_recorder()
    said = state(using.settings, value, **{**fields, "feedback_id": str(feedback_id)})
    cleared = [required_text("clear", name, 128) for name in clear]
    if cleared:
        said.attributes[names.CLEARED] = cleared
    if not said.says and not said.attributes and not said.metadata:
        raise InvalidField("value", value, "pass what is to change")
    about, place = _about(target, using)
    event = compose(
        about, place, said, using.settings, now=using.time_ns(), random_id=using.new_id(), operation="update"
    )
    return send(event, said, about, "log", using)


def retract_feedback(
    feedback_id: str | Receipt,
    *,
    target: TargetLike | None = None,
    at: datetime | int | None = None,
    user_id: str | None = None,
    revision: int | None = None,
    recorder: Recorder | None = None,
) -> Receipt:
    """Withdraw feedback that was recorded before: a tombstone, without any score.

    feedback_id, target, at, user_id, revision: as for `update_feedback`. Raises and returns as `record_feedback` does.
    """
    using = recorder if recorder is not None else default_recorder()
    said = state(using.settings, None, feedback_id=str(feedback_id), at=at, user_id=user_id, revision=revision)
    about, place = _about(target, using)
    event = compose(
        about, place, said, using.settings, now=using.time_ns(), random_id=using.new_id(), operation="retract"
    )
    return send(event, said, about, "log", using)


def erase_feedback(user_id: str, *, at: datetime | int | None = None, recorder: Recorder | None = None) -> Receipt:
    """Ask every store to forget what this person said up to ``at`` (default: now): the event ``llm_feedback.erasure``.

    Needs the pseudonym key, because it is by the pseudonym that stores know a person. Raises ConfigurationError without one,
    and InvalidField.
    """
    using = recorder if recorder is not None else default_recorder()
    key = using.settings.pseudonym_key
    if key is None:
        raise ConfigurationError("pseudonym_key", None, "set it: people are known to stores by their pseudonym only")
    said = state(using.settings, None, user_id=user_id, at=at)
    now = using.time_ns()
    feedback_id = using.new_id()
    attributes: dict[str, AttributeValue] = {
        names.PSEUDONYM: pseudonym(key, said.user_id or ""),
        names.REVISION: now // 1000,
        names.ID: feedback_id,
    }
    event = FeedbackEvent(feedback_id, clean_time(at) or now, now, NOWHERE, attributes, names.ERASURE_EVENT)
    return send(event, said, None, "log", using)


def _about(target: TargetLike | None, using: Recorder) -> tuple[Target | None, Place]:
    if target is None:
        return None, NOWHERE
    about = Target.of(target)
    return about, locate(about, using.registry)
