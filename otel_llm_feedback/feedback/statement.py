"""What the caller said, checked and cleaned: every keyword of `record_feedback` but those about where it goes. Pure.

`Said` is the list of keywords with their types; `PLAIN` says, for those that become one attribute as they are, which one and
what is allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypedDict

from opentelemetry.util.types import AttributeValue

from otel_llm_feedback import attributes as names
from otel_llm_feedback.errors import InvalidField, InvalidValue
from otel_llm_feedback.feedback.fields import (
    MAX_LABEL,
    MAX_NAME,
    clean_metadata,
    clean_score,
    clean_time,
    required_text,
    required_time,
)
from otel_llm_feedback.feedback.ratings import read_rating
from otel_llm_feedback.feedback.scales import Scale
from otel_llm_feedback.feedback.wording import Wording
from otel_llm_feedback.settings import Settings

__all__ = ["SIGNAL_WEIGHTS", "Fields", "Said", "Statement", "state"]

SIGNAL_WEIGHTS = {
    "accepted": 0.5,
    "abandoned": 0.2,
    "copied": 0.3,
    "edited": 0.4,
    "escalated": 0.5,
    "regenerated": 0.4,
    "rejected": 0.5,
    "retried": 0.3,
}
"""Implicit signals and the weight that each has beside an explicit vote (1.0), unless the caller gives another."""

SOURCE_TYPES = ("human", "llm", "code", "api")
MAX_ID = 512
MAX_CATEGORIES = 32


class Said(TypedDict, total=False):
    """The keywords of `record_feedback`, and of the functions like it.

    What was said
        name: what was judged, up to 180 characters. Default ``user_feedback``.
        label: the category given, up to 128 characters.
        scale: the `Scale` that value is on: it is checked and normalised to 0..1. ``"text"``: read the value as people write
            ratings ("7/10", "good", a thumb; see `ratings`). Without one, a number is just a number.
        categories: one or up to 32 short texts ("wrong", "too long").
        comment: free text.
        correction: the expected answer, as text or as an object.
        weight: 0..1; how much it counts.
        error_type: the evaluation itself failed, and how.
        snapshot_input, snapshot_output: what was asked and answered; sent only when given here.
        metadata: the application's own keys (letters, digits, ``_.-``, up to 64) and values; nested ones are sent as JSON.

    Implicit feedback
        signal: copied, edited, regenerated, accepted, rejected, abandoned, escalated or retried. Has a weight of its own
            (`SIGNAL_WEIGHTS`) unless given.
        edit_distance: 0..1, for edited.

    Who said it, and who judged
        user_id: sent only as a pseudonym, and only if there is a key (see `Settings`).
        submitter_type: what kind of user.
        organization_id: the user's organisation.
        source_type: human, llm, code or api; source_id: which one; source_run_id: in which of its runs; source_metadata: an
            object.
        consent: whether the person agreed that this is used.

    Around it
        at: when it was said: an aware datetime, or nanoseconds since the epoch. Default: now.
        session_id, environment, release, prompt_name, prompt_version, project_id, experiment_id.
        target_start_time: when what it is about began, as for ``at``; some stores find it sooner by it.
        group_id, group_choice, group_baseline: a preference among several answers.
        revision: orders what is said under one id. Default: microseconds since the epoch.
    """

    name: str
    label: str | None
    scale: Scale | Literal["text"] | None
    categories: str | Sequence[str] | None
    comment: str | None
    correction: str | Mapping[str, object] | Sequence[object] | None
    weight: float | None
    error_type: str | None
    snapshot_input: str | None
    snapshot_output: str | None
    metadata: Mapping[str, object] | None
    signal: str | None
    edit_distance: float | None
    user_id: str | None
    submitter_type: str | None
    organization_id: str | None
    source_type: str | None
    source_id: str | None
    source_run_id: str | None
    source_metadata: Mapping[str, object] | None
    consent: bool | None
    at: datetime | int | None
    session_id: str | None
    environment: str | None
    release: str | None
    prompt_name: str | None
    prompt_version: str | None
    project_id: str | None
    experiment_id: str | None
    target_start_time: datetime | int | None
    group_id: str | None
    group_choice: str | None
    group_baseline: str | None
    revision: int | None


class Fields(Said, total=False):
    """`Said`, and feedback_id: the id to record it under. Default: derived from target, name and user_id if a pseudonym key is
    set, so that a double click is one vote; else random.
    """

    feedback_id: str | None


class Statement(NamedTuple):
    """What was said. attributes: by attribute name; metadata: by the caller's keys; withheld: how many texts the settings keep
    from being sent; says: whether it says anything at all, be it withheld.
    """

    name: str
    attributes: dict[str, AttributeValue]
    metadata: Mapping[str, str | bool | int | float]
    at: int | None
    feedback_id: str | None
    user_id: str | None
    revision: int | None
    marks: list[str]
    redactions: Mapping[str, int]
    withheld: int
    says: bool


def state(settings: Settings, value: object, given: Mapping[str, Any]) -> Statement:
    """Check and clean a value and the keywords given with it. Raises InvalidValue or InvalidField."""
    if not FIELDS.issuperset(given):
        _refuse_unknown(given)
    wording = Wording(settings.content)
    metadata = clean_metadata(
        given.get("metadata"), settings.max_metadata_keys, settings.max_metadata_length, wording.marks, wording.either
    )
    said: dict[str, AttributeValue] = {}
    for field, content in given.items():
        if field in PLAIN and content is not None:
            attribute, check = PLAIN[field]
            said[attribute] = check(field, content)
    if not RICH.isdisjoint(given):
        _say_more(said, given, settings, wording)
    reading = _say_value(said, value, given, settings, wording)
    comment = given.get("comment") if reading is None else reading
    if comment is not None:
        words = wording.text("comment", comment, settings.max_comment_length)
        if words and words.strip():  # an empty box of a form is no comment
            said[names.EXPLANATION] = words
    return Statement(
        name=required_text("name", given.get("name", "user_feedback"), MAX_NAME),
        attributes=said,
        metadata=metadata,
        at=clean_time(given.get("at")),
        feedback_id=_optional("feedback_id", given.get("feedback_id")),
        user_id=_optional("user_id", given.get("user_id")),
        revision=_revision(given.get("revision")),
        marks=wording.marks,
        redactions=wording.redactions,
        withheld=wording.withheld,
        says=value is not None or not SAYING.isdisjoint(said) or _is_said(comment) or _is_said(given.get("correction")),
    )


def _is_said(content: object) -> bool:
    """An empty box of a form says nothing. What the settings keep from being sent was said all the same."""
    return bool(content.strip()) if isinstance(content, str) else content is not None


def _say_value(
    said: dict[str, AttributeValue], value: object, given: Mapping[str, Any], settings: Settings, wording: Wording
) -> str | None:
    """The value, on its scale if it has one; returns what is a comment rather than a value."""
    scale, label = given.get("scale"), given.get("label")
    named = None if label is None else required_text("label", label, MAX_LABEL, InvalidValue)
    if scale is None:
        if isinstance(value, (Mapping, list, tuple)) and value:
            _put(said, names.VALUE, wording.json("value", value, settings.max_comment_length))
            value = None
        score, text = clean_score(value, named)
        _put(said, names.SCORE_VALUE, score)
        _put(said, names.SCORE_LABEL, text)
        return None
    if isinstance(scale, str) and scale == "text":
        _say_rating(said, value, named)
        return None
    if not isinstance(scale, Scale):
        raise InvalidField("scale", scale, "pass a Scale, or 'text'", private=True)
    return _say_on_scale(said, scale, value, named, given.get("comment"))


def _say_on_scale(
    said: dict[str, AttributeValue], scale: Scale, value: object, label: str | None, comment: object
) -> str | None:
    """A label alone is the value on a categorical scale, and stands for itself on the others."""
    on_scale = label if value is None and scale.type == "categorical" else value
    said.update(scale.attributes(on_scale))
    _put(said, names.SCORE_LABEL, label)
    if on_scale is None:
        return None
    reading = scale.check(on_scale)
    if isinstance(value, str) and reading.label is not None and label not in {None, reading.label}:
        raise InvalidValue("label", label, "a text as value is a label already; pass one of them", private=True)
    _put(said, names.SCORE_VALUE, reading.score)
    if label is None:
        _put(said, names.SCORE_LABEL, reading.label)
    if reading.text is not None and _is_said(comment):
        raise InvalidField("comment", comment, "on a freeform scale the value is the comment", private=True)
    return reading.text


def _say_rating(said: dict[str, AttributeValue], value: object, label: str | None) -> None:
    rating = read_rating(value) if isinstance(value, str) else None
    if rating is None:
        fix = "pass a rating as people write it, such as '7/10', 'good' or a thumb, or give another scale"
        raise InvalidValue("value", value, fix, private=True)
    if rating.scale is not None:
        said.update(rating.scale.attributes(rating.score))
    said[names.SCORE_VALUE] = rating.score
    said[names.SCORE_LABEL] = rating.label if label is None else label


def _say_more(said: dict[str, AttributeValue], given: Mapping[str, Any], settings: Settings, wording: Wording) -> None:
    """The fields that need more than a check: content, and what follows from a signal."""
    limit = settings.max_comment_length
    for field, attribute in (("snapshot_input", names.SNAPSHOT_INPUT), ("snapshot_output", names.SNAPSHOT_OUTPUT)):
        if given.get(field) is not None:
            _put(said, attribute, wording.text(field, given[field], limit))
    if _is_said(given.get("correction")):
        _put(said, names.CORRECTION, wording.either("correction", given["correction"], limit))
    if given.get("source_metadata") is not None:
        if not isinstance(given["source_metadata"], Mapping):
            raise InvalidField("source_metadata", given["source_metadata"], "pass a mapping", private=True)
        _put(said, names.SOURCE_METADATA, wording.json("source_metadata", given["source_metadata"], limit))
    signal = given.get("signal")
    if signal is not None:
        said[names.SIGNAL] = _one_of(SIGNAL_WEIGHTS)("signal", signal)
        said.setdefault(names.WEIGHT, SIGNAL_WEIGHTS[signal])
        said[names.KIND] = "implicit"


def _put(said: dict[str, AttributeValue], attribute: str, value: AttributeValue | None) -> None:
    if value is not None:
        said[attribute] = value


# --- checks: a field's name and value in, the attribute's value out ---


def _short(field: str, value: object) -> str:
    return required_text(field, value, MAX_LABEL)


def _identifier(field: str, value: object) -> str:
    try:
        return required_text(field, value, MAX_ID)
    except InvalidField as error:
        raise InvalidField(field, value, error.fix, private=True) from None


def _optional(field: str, value: object) -> str | None:
    return None if value is None else _identifier(field, value)


def _fraction(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InvalidField(field, value, "pass a number from 0 to 1")
    return float(value)


def _boolean(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidField(field, value, "pass True or False")
    return value


def _one_of(allowed: Sequence[str] | Mapping[str, float]) -> Callable[[str, object], str]:
    def check(field: str, value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise InvalidField(field, value, f"use one of {', '.join(allowed)}")
        return value

    return check


def _categories(field: str, value: object) -> list[str]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple, set, frozenset)) or not 0 < len(given) <= MAX_CATEGORIES:
        raise InvalidField(field, value, f"pass a text, or a list of 1 to {MAX_CATEGORIES} texts", private=True)
    cleaned = [_short(field, each) for each in given]
    return sorted(cleaned) if isinstance(given, (set, frozenset)) else cleaned


def _revision(value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63):
        raise InvalidField("revision", value, "pass an int from 0 up, within 63 bits")
    return None if value is None else int(value)


def _refuse_unknown(given: Mapping[Any, object]) -> None:
    unknown = next(name for name in given if name not in FIELDS)
    shown = unknown[:MAX_NAME] if isinstance(unknown, str) else type(unknown).__name__
    close = difflib.get_close_matches(shown, sorted(FIELDS), 1)
    advice = f"did you mean {close[0]}=?" if close else f"the keywords are {', '.join(sorted(FIELDS))}"
    raise InvalidField(shown, given[unknown], f"there is no such keyword; {advice}", private=True)


PLAIN: dict[str, tuple[str, Callable[[str, object], AttributeValue]]] = {
    "categories": (names.CATEGORIES, _categories),
    "consent": (names.CONSENT, _boolean),
    "edit_distance": (names.EDIT_DISTANCE, _fraction),
    "environment": (names.ENVIRONMENT, _short),
    "error_type": (names.ERROR_TYPE, _short),
    "experiment_id": (names.EXPERIMENT_ID, _identifier),
    "group_baseline": (names.GROUP_BASELINE, _identifier),
    "group_choice": (names.GROUP_CHOICE, _identifier),
    "group_id": (names.GROUP_ID, _identifier),
    "organization_id": (names.ORGANIZATION_ID, _identifier),
    "project_id": (names.PROJECT_ID, _identifier),
    "prompt_name": (names.PROMPT_NAME, _identifier),
    "prompt_version": (names.PROMPT_VERSION, _identifier),
    "release": (names.SERVICE_VERSION, _short),
    "session_id": (names.SESSION_ID, _identifier),
    "source_id": (names.SOURCE_ID, _identifier),
    "source_run_id": (names.SOURCE_RUN_ID, _identifier),
    "source_type": (names.SOURCE_TYPE, _one_of(SOURCE_TYPES)),
    "submitter_type": (names.SUBMITTER_TYPE, _short),
    "target_start_time": (names.TARGET_START_TIME, required_time),
    "weight": (names.WEIGHT, _fraction),
}
"""Fields that become one attribute as they are: which, and what is allowed."""

RICH = frozenset({"snapshot_input", "snapshot_output", "correction", "source_metadata", "signal"})

SAYING = frozenset(
    {names.SCORE_VALUE, names.SCORE_LABEL, names.VALUE, names.CORRECTION, names.CATEGORIES, names.SIGNAL}
    | {names.ERROR_TYPE, names.GROUP_CHOICE, names.EXPLANATION}
)
"""One of these at least is what a vote is about; the rest only says more of it."""

FIELDS = frozenset(Fields.__annotations__)
