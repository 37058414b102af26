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
from otel_llm_feedback.feedback.event import NOWHERE, FeedbackEvent, check_agreement, compose, locate
from otel_llm_feedback.feedback.fields import MAX_NAME, required_text
from otel_llm_feedback.feedback.lifecycle import OTHER_NAMES, OWN_PREFIXES
from otel_llm_feedback.feedback.receipt import Receipt
from otel_llm_feedback.feedback.recorder import Prepared, Recorder, attempt, default_recorder, send
from otel_llm_feedback.feedback.statement import Said, Statement, state
from otel_llm_feedback.identity import pseudonym
from otel_llm_feedback.target import Target, TargetLike

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["erase_feedback", "retract_feedback", "update_feedback"]

MAX_CLEARED = 128
NO_CHANGE = frozenset({"comment", "name", "at", "user_id", "revision"})
"""Keywords that change nothing alone (a comment only if it says something)."""


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
    value and what belongs to it (label, scale, categories, error_type) are replaced together; so are signal and
    edit_distance, the source's four, and a preference's three.
    target: only where the store cannot be expected to have the first record; must be the same one.
    clear: names of attributes that are to have no value any more, for example ``gen_ai.evaluation.explanation``. One that
        belongs to others (see `GROUPS` in `resolve`) takes them with it.
    fields: as for `record_feedback`.

    Raises and returns as `record_feedback` does.
    """
    using = recorder if recorder is not None else default_recorder()

    def prepare() -> Prepared:
        said = state(using.settings, value, {**fields, "feedback_id": _id(feedback_id)})
        cleared = _attributes(clear)
        if cleared:
            said.attributes[names.CLEARED] = cleared
        given = {field for field, content in fields.items() if content is not None}
        if not said.says and not said.attributes and given <= NO_CHANGE:
            raise InvalidField("value", value, "pass what is to change")
        return _revision(target, said, "update", using)

    return send(attempt(prepare, using), "log", using)


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

    def prepare() -> Prepared:
        given = {"feedback_id": _id(feedback_id), "at": at, "user_id": user_id, "revision": revision}
        return _revision(target, state(using.settings, None, given), "retract", using)

    return send(attempt(prepare, using), "log", using)


def erase_feedback(user_id: str, *, at: datetime | int | None = None, recorder: Recorder | None = None) -> Receipt:
    """Ask every store to forget what this person said up to ``at`` (default: now): the event ``llm_feedback.erasure``.

    Needs the pseudonym key, because it is by the pseudonym that stores know a person. Raises ConfigurationError without one,
    and InvalidField.
    """
    using = recorder if recorder is not None else default_recorder()
    key = using.settings.pseudonym_key
    if key is None:
        raise ConfigurationError("pseudonym_key", None, "set it: people are known to stores by their pseudonym only")

    def prepare() -> Prepared:
        said = state(using.settings, None, {"user_id": user_id, "at": at})
        if said.user_id is None:
            raise InvalidField("user_id", None, "pass the id of the person to forget")
        now, event_id = using.time_ns(), using.new_id()
        attributes: dict[str, AttributeValue] = {
            names.PSEUDONYM: pseudonym(key, said.user_id),
            names.REVISION: now // 1000,
            names.ID: event_id,
        }
        event = FeedbackEvent(event_id, said.at or now, now, NOWHERE, attributes, names.ERASURE_EVENT)
        return Prepared(event, said, None)

    return send(attempt(prepare, using), "log", using)


def _revision(target: TargetLike | None, said: Statement, operation: str, using: Recorder) -> Prepared:
    about, place = None, NOWHERE
    if target is not None:
        about = Target.of(target)
        check_agreement(about, said)
        place = locate(about, using.registry)
    now, unused = using.time_ns(), ""  # the id is given
    event = compose(about, place, said, using.settings, now=now, random_id=unused, operation=operation)
    return Prepared(event, said, about)


def _id(feedback_id: object) -> str:
    if not isinstance(feedback_id, (str, Receipt)):
        raise InvalidField("feedback_id", feedback_id, "pass the id, or the Receipt, of the first record", private=True)
    return str(feedback_id)


def _attributes(clear: object) -> list[str]:
    if not isinstance(clear, (tuple, list)) or len(clear) > MAX_CLEARED:
        raise InvalidField("clear", clear, f"pass a list of up to {MAX_CLEARED} names of attributes", private=True)
    for name in clear:
        if not isinstance(name, str) or not (name in OTHER_NAMES or name.startswith(OWN_PREFIXES)):
            fix = "name attributes of a record, such as gen_ai.evaluation.explanation or llm_feedback.correction"
            raise InvalidField("clear", name, fix)
    return [required_text("clear", name, MAX_NAME) for name in clear]
