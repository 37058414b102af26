"""What feedback says now, from all that was ever said: records in any order, with duplicates, to states. Pure.

The result depends only on the set of records. Every rule takes a smallest or a largest by an order on columns, or filters by
it, one after the other, so that it can be written as a SQL view (argMin, argMax, window functions):

1.  **One record.** Records with one digest (`otel_llm_feedback.feedback.lifecycle`) are one record.
2.  **Order.** Within one id, records are ordered by (revision, retractions last, digest). "Older" and "newer" below mean
    this order, never the clock: a record that arrives late takes its place.
3.  **Owner.** The smallest (revision, pseudonym) of an id's records that state ``enduser.pseudo.id``.
4.  **Erasure.** For each submitter the latest erasure counts. It removes the submitter's records with an event time up to and
    including its own (or none): those that state the submitter, and those of feedback the submitter owns that state nobody.
    Where nothing is left to go by, a bare tombstone remains: the id, and that it was erased.
5.  **Another's feedback.** A record that states another submitter than the owner is set aside.
6.  **Another target.** What a target is told by is its type, the ``llm_feedback.target.*`` of `TARGET_NAMES`, and the id of
    `NAMED_BY` for its type. Of the records left, the oldest with a type decides; a record with a type whose target differs is
    set aside. Then the trace and span ids: the oldest record with a trace decides; one with another trace, or with
    another span where both have one, is set aside. Not so for the types of `LOOKED_UP`, whose trace was only found by their
    id: there the newest trace counts, with its span.
7.  **Retraction.** If the newest of the records left is a retraction, the feedback is retracted and has no fields. A create or
    an update with a higher revision revives it, but never with what was said before the retraction: fields come only
    from records newer than the newest retraction. At the same revision the retraction wins.
8.  **Fields.** Each field has the value of the newest record that has it, whichever operation that was: updates are sparse, and
    a second create (the same person clicks again) changes the vote. The attributes of one entry of `GROUPS` are one field: the
    newest record that has any of them decides about all, so that no label or scale outlives its score.
9.  **Clearing.** ``llm_feedback.cleared`` names attributes whose field is emptied: older values do not count. Naming one of a
    group clears the group. A record that both clears and has a field has it. Metadata keys are a field each.
10. **Name.** ``gen_ai.evaluation.name``, which every event must have, is that of the newest create among the records of rule 8,
    else of the newest that has one, and cannot be cleared.
11. Facts of one record stay in the history and are no fields: ``llm_feedback.cleared`` and ``llm_feedback.truncated``.

Rules 5 and 6 are there because ids can be guessed where callers make them up. The first to use an id keeps it; derived ids
cannot be guessed. They hold as long as the revision is not the stranger's to choose. A record that states neither submitter
nor target is believed: only the application itself writes such. When the pseudonym key changes, so does every submitter:
withdraw and record anew instead of updating.

Time is linear in the attributes, but for sorting the records of one id.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from otel_llm_feedback import attributes as names
from otel_llm_feedback.feedback.lifecycle import Entry, Erasure, Record, Value

__all__ = ["GROUPS", "LOOKED_UP", "NAMED_BY", "TARGET_NAMES", "FeedbackState", "Resolution", "SetAside", "resolve"]

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "value": (
            names.SCORE_VALUE,
            names.SCORE_LABEL,
            names.SCORE_NORMALIZED,
            names.SCALE_NAME,
            names.SCALE_TYPE,
            names.SCALE_MIN,
            names.SCALE_MAX,
            names.SCALE_HIGHER_IS_BETTER,
            names.SCALE_CATEGORIES,
            names.CATEGORIES,
            names.VALUE,
            names.ERROR_TYPE,
        ),
        "kind": (names.KIND, names.SIGNAL, names.EDIT_DISTANCE),
        "source": (names.SOURCE_TYPE, names.SOURCE_ID, names.SOURCE_RUN_ID, names.SOURCE_METADATA),
        "preference": (names.GROUP_ID, names.GROUP_CHOICE, names.GROUP_BASELINE),
    }
)
"""Attributes that are one field together."""

TARGET_NAMES: Final = (
    names.TARGET_MESSAGE_ID,
    names.TARGET_DOCUMENT_POSITION,
    names.TARGET_TOOL_CALL_ID,
    names.TARGET_TEXT_START,
    names.TARGET_TEXT_END,
    names.TARGET_ENTITY_KEY,
    names.TARGET_ENTITY_VALUE,
)
"""Attributes that tell a target from others of its type."""

NAMED_BY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "response": names.RESPONSE_ID,
        "session": names.SESSION_ID,
        "project": names.PROJECT_ID,
        "experiment": names.EXPERIMENT_ID,
    }
)
"""The attribute that says which target it is for one type only: beside other types it is context."""

LOOKED_UP: Final = frozenset({"response", "message"})
"""Types of target whose trace is not part of what they are."""

NO_FIELDS: Final = frozenset({*TARGET_NAMES, names.TARGET_TYPE, names.PSEUDONYM, names.CLEARED, names.TRUNCATED})

_GROUP_OF: Final = {name: group for group, members in GROUPS.items() for name in members}


class SetAside(NamedTuple):
    """A record that used the id of feedback that it does not belong to."""

    record: Record
    reason: Literal["other_submitter", "other_target"]


@dataclass(frozen=True, slots=True)
class FeedbackState:
    """One feedback as it is now.

    revision: of the newest record. created, updated: event times of the oldest and the newest record, in nanoseconds
    since the epoch. All three are 0 for a bare tombstone, which is retracted and erased and has nothing but its id.
    erased: an erasure removed records of it.
    submitter: the owner's pseudonym, "" when nobody stated one.
    trace_id, span_id: lower-case hex, "" when unknown. target: type and details, by attribute name.
    fields: what is said now, by attribute name; empty when retracted. history: the records, oldest first.
    set_aside: records that used its id but are not part of it, oldest first.
    """

    id: str
    revision: int
    retracted: bool
    erased: bool
    created: int
    updated: int
    submitter: str
    trace_id: str
    span_id: str
    target: Mapping[str, Value] = field(repr=False, hash=False)
    fields: Mapping[str, Value] = field(repr=False, hash=False)
    history: tuple[Record, ...] = field(repr=False)
    set_aside: tuple[SetAside, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resolution:
    """All feedback as it is now.

    states: by feedback id, in the order of the ids. erasures: submitter to the time up to which everything is erased.
    unusable: how many entries could not be used, by reason, duplicates included; not compared.
    """

    states: Mapping[str, FeedbackState] = field(hash=False)
    erasures: Mapping[str, int] = field(repr=False, hash=False)
    unusable: Mapping[str, int] = field(hash=False, compare=False)


def resolve(entries: Iterable[Entry]) -> Resolution:
    """The current state and the history of every feedback; see the module for the rules. Never raises.

    States of different ids are independent: a store may resolve one id's records (and all erasures) alone.
    """
    records: defaultdict[str, dict[str, Record]] = defaultdict(dict)
    erasures: dict[str, int] = {}
    unusable: Counter[str] = Counter()
    for entry in entries:
        if isinstance(entry, Record):
            same = records[entry.id]
            same[entry.digest] = _either(same.get(entry.digest, entry), entry)
        elif isinstance(entry, Erasure):
            erasures[entry.submitter] = max(entry.until, erasures.get(entry.submitter, 0))
        else:
            unusable[entry.reason] += 1
    states = {each: _state(each, sorted(records[each].values(), key=_order), erasures) for each in sorted(records)}
    return Resolution(MappingProxyType(states), MappingProxyType(erasures), MappingProxyType(unusable))


def _either(one: Record, other: Record) -> Record:
    """Of two with one digest always the same: they may differ in when they were observed, and in 1 for 1.0."""
    return one if one is other else min(one, other, key=lambda record: (record.observed, _types(record)))


def _types(record: Record) -> str:
    return repr(sorted(record.attributes.items()))


def _order(record: Record) -> tuple[int, bool, str]:
    return record.revision, record.operation == "retract", record.digest


def _state(feedback_id: str, records: Sequence[Record], erasures: Mapping[str, int]) -> FeedbackState:
    owner = min(((each.revision, each.submitter) for each in records if each.submitter), default=(0, ""))[1]
    left = [each for each in records if not _is_erased(each, owner, erasures)]
    aside = [SetAside(each, "other_submitter") for each in left if each.submitter not in {"", owner}]
    mine = [each for each in left if each.submitter in {"", owner}]
    about = next((identity for each in mine if (identity := _identity(each))), ())
    same = [each for each in mine if _identity(each) in {(), about}]
    looked_up = bool(about) and about[0] in LOOKED_UP
    place = next((_place(each) for each in (reversed(same) if looked_up else same) if each.trace_id), ("", ""))
    history = [each for each in same if looked_up or _agree(_place(each), place)]
    belongs = {each.digest for each in history}
    aside += [SetAside(each, "other_target") for each in mine if each.digest not in belongs]
    return FeedbackState(
        id=feedback_id,
        revision=history[-1].revision if history else 0,
        retracted=not history or history[-1].operation == "retract",
        erased=len(left) < len(records),
        created=history[0].time if history else 0,
        updated=history[-1].time if history else 0,
        submitter=owner if history else "",
        trace_id=place[0],
        span_id=place[1],
        target=MappingProxyType(_target(history)),
        fields=MappingProxyType(_fields(history)),
        history=tuple(history),
        set_aside=tuple(sorted(aside, key=lambda each: _order(each.record))),
    )


def _is_erased(record: Record, owner: str, erasures: Mapping[str, int]) -> bool:
    return record.time <= erasures.get(record.submitter or owner, -1)


def _identity(record: Record) -> tuple[str, ...]:
    """What the record is about, but for trace and span; empty when it does not say."""
    kind = record.text(names.TARGET_TYPE)
    if not kind:
        return ()
    named = record.text(NAMED_BY[kind]) if kind in NAMED_BY else ""
    return (kind, named, *map(record.text, TARGET_NAMES))


def _place(record: Record) -> tuple[str, str]:
    return record.trace_id, record.span_id


def _agree(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return all(a == b or not a or not b for a, b in zip(one, other, strict=True))


def _target(history: Sequence[Record]) -> dict[str, Value]:
    oldest = next((each for each in history if _identity(each)), None)
    if oldest is None:
        return {}
    own = NAMED_BY.get(oldest.text(names.TARGET_TYPE), "")
    return {
        name: oldest.attributes[name] for name in (names.TARGET_TYPE, own, *TARGET_NAMES) if name in oldest.attributes
    }


def _fields(history: Sequence[Record]) -> dict[str, Value]:
    """Rules 7 to 10."""
    said: dict[str, Value] = {}
    decided = {names.EVALUATION_NAME}
    newest_first = list(_since_retraction(history))
    for record in newest_first:
        has = {name: value for name, value in record.attributes.items() if name not in NO_FIELDS}
        said.update((name, value) for name, value in has.items() if _GROUP_OF.get(name, name) not in decided)
        decided.update(_GROUP_OF.get(name, name) for name in (*has, *_cleared(record)))
    named = [each for each in newest_first if names.EVALUATION_NAME in each.attributes]
    if named:
        decisive = next((each for each in named if each.operation == "create"), named[0])
        said[names.EVALUATION_NAME] = decisive.attributes[names.EVALUATION_NAME]
    return dict(sorted(said.items()))


def _since_retraction(history: Sequence[Record]) -> Iterator[Record]:
    for record in reversed(history):
        if record.operation == "retract":
            return
        yield record


def _cleared(record: Record) -> tuple[str, ...]:
    value = record.attributes.get(names.CLEARED, ())
    return tuple(map(str, value)) if isinstance(value, tuple) else ()
