"""From the calls of an application over the wire to what a store makes of it; and anything at all on the same way."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm_feedback import (
    FeedbackError,
    InvalidField,
    Receipt,
    Settings,
    Target,
    erase_feedback,
    llm_context,
    retract_feedback,
    update_feedback,
)
from otel_llm_feedback.feedback.lifecycle import Erasure, Record, Unusable, read_log
from otel_llm_feedback.feedback.record import record_feedback_batch
from otel_llm_feedback.feedback.resolve import FeedbackState, Resolution, resolve
from otel_llm_feedback.feedback.scales import NPS, STARS, THUMBS, Scale
from otel_llm_feedback.feedback.statement import FIELDS, SIGNAL_WEIGHTS
from otel_llm_feedback.identity import pseudonym
from tests.feedback.test_bad_input import JUNK, KEYS, TEXTS, TIMES, Unlikable
from tests.feedback.world import NOW, SAMPLED, SPAN, TRACE, World

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otel_llm_feedback.feedback.lifecycle import Entry

KEY = b"not a secret"


class Log(NamedTuple):
    """A log record as a receiver gives it."""

    trace_id: str
    span_id: str
    event_name: str
    time_unix_nano: int
    observed_time_unix_nano: int
    attributes: Mapping[str, object]


def entries(world: World) -> list[Entry]:
    names = ("trace_id", "span_id", "event_name", "time", "observed", "attributes")
    return [read_log(Log(*(log[name] for name in names))) for log in world.logs()]


def resolved(world: World) -> Resolution:
    """The state, which is the same for every order and any duplicates."""
    read = entries(world)
    assert not any(isinstance(entry, Unusable) for entry in read)
    found = resolve(read)
    shuffler = random.Random(7)
    orders: Iterable[Any] = (
        itertools.permutations(read) if len(read) < 5 else (shuffler.sample(read * 2, 2 * len(read)) for _ in range(20))
    )
    for order in orders:
        assert resolve([*order, order[0]]) == found
    return found


def the_state(world: World) -> FeedbackState:
    [state] = resolved(world).states.values()
    return state


@pytest.fixture
def world() -> World:
    """With a clock that goes on."""
    made = World(Settings(KEY, content="on"))  # type: ignore[arg-type] # a mode alone is taken too
    ticks = itertools.count(NOW, 1_000_000)
    made.recorder.time_ns = lambda: next(ticks)
    return made


def test_recorded_updated_retracted(world: World) -> None:
    receipt = world.record(SAMPLED, 4, scale=STARS, comment="good", user_id="jane", metadata={"ui": "web"})
    first = the_state(world)
    assert (first.id, first.trace_id, first.span_id) == (str(receipt), TRACE, SPAN)
    assert first.submitter == pseudonym(KEY, "jane")
    assert first.fields["gen_ai.evaluation.score.value"] == 4
    assert first.fields["llm_feedback.score.normalized"] == 0.75

    update_feedback(receipt, 2, scale=STARS, recorder=world.recorder)
    second = the_state(world)
    assert second.fields == {
        **first.fields,
        "gen_ai.evaluation.score.value": 2,
        "llm_feedback.score.normalized": 0.25,
    }
    assert (second.target, second.trace_id, second.span_id) == (first.target, TRACE, SPAN)

    retract_feedback(receipt, recorder=world.recorder)
    last = the_state(world)
    assert last.retracted
    assert last.fields == {}
    assert [each.operation for each in last.history] == ["create", "update", "retract"]
    assert not last.erased


def test_the_value_is_replaced_as_a_whole(world: World) -> None:
    receipt = world.record(SAMPLED, 4, scale=STARS, label="fine", categories=["long"], comment="c")
    update_feedback(receipt, True, recorder=world.recorder)
    assert the_state(world).fields == {
        "gen_ai.evaluation.name": "user_feedback",
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.score.label": "pass",
        "gen_ai.evaluation.explanation": "c",
        "llm_feedback.kind": "explicit",
        "llm_feedback.trace.sampled": True,
    }


def test_the_name_stays_that_of_the_vote(world: World) -> None:
    receipt = world.record(SAMPLED, True, name="helpful")
    update_feedback(receipt, comment="more", recorder=world.recorder)
    assert the_state(world).fields["gen_ai.evaluation.name"] == "helpful"


def test_clearing_and_saying_again(world: World) -> None:
    receipt = world.record(SAMPLED, True, comment="c", metadata={"a": 1, "b": 2}, consent=True)
    clear = ["gen_ai.evaluation.explanation", "llm_feedback.metadata.a", "llm_feedback.consent"]
    update_feedback(receipt, clear=clear, recorder=world.recorder)
    assert not set(clear) & the_state(world).fields.keys()
    assert the_state(world).fields["llm_feedback.metadata.b"] == 2
    update_feedback(receipt, comment="d", recorder=world.recorder)
    assert the_state(world).fields["gen_ai.evaluation.explanation"] == "d"


def test_a_signal_takes_the_place_of_the_kind(world: World) -> None:
    receipt = world.record(SAMPLED, True, weight=0.9)
    update_feedback(receipt, signal="copied", weight=0.1, recorder=world.recorder)
    found = the_state(world).fields
    assert (found["llm_feedback.kind"], found["llm_feedback.signal"]) == ("implicit", "copied")
    assert found["llm_feedback.weight"] == 0.1
    assert found["gen_ai.evaluation.score.value"] == 1.0


def test_a_second_click_is_the_same_vote_changed(world: World) -> None:
    first = world.record(SAMPLED, True, user_id="jane")
    again = world.record(f"00-{TRACE}-{SPAN}-01", False, user_id="jane")
    other = world.record(SAMPLED, True, user_id="joe")
    assert str(first) == str(again) != str(other)
    states = resolved(world).states
    assert states[str(first)].fields["gen_ai.evaluation.score.value"] == 0.0
    assert states[str(other)].fields["gen_ai.evaluation.score.value"] == 1.0

    retract_feedback(str(again), user_id="jane", recorder=world.recorder)
    assert resolved(world).states[str(first)].retracted
    world.record(SAMPLED, True, user_id="jane")
    assert not resolved(world).states[str(first)].retracted


def test_nobody_changes_anothers_vote(world: World) -> None:
    receipt = world.record(SAMPLED, True, user_id="jane", feedback_id="guessed")
    update_feedback(receipt, False, user_id="mallory", recorder=world.recorder)
    retract_feedback("guessed", user_id="mallory", recorder=world.recorder)
    found = the_state(world)
    assert not found.retracted
    assert found.fields["gen_ai.evaluation.score.value"] == 1.0
    assert [each.reason for each in found.set_aside] == ["other_submitter", "other_submitter"]


def test_revisions_of_the_callers_own_order_what_clocks_cannot(world: World) -> None:
    world.record(SAMPLED, 1, feedback_id="f", revision=1)
    update_feedback("f", 3, revision=3, recorder=world.recorder)
    update_feedback("f", 2, revision=2, recorder=world.recorder)
    assert the_state(world).fields["gen_ai.evaluation.score.value"] == 3


def test_an_update_may_come_alone_if_it_says_what_it_is_about(world: World) -> None:
    update_feedback("f", True, target=Target.response("r-1"), recorder=world.recorder)
    assert the_state(world).target == {"llm_feedback.target.type": "response", "gen_ai.response.id": "r-1"}


def test_forgetting_a_person(world: World) -> None:
    jane = [world.record(SAMPLED, True, user_id="jane", comment="mine"), world.record("a" * 32, False, user_id="jane")]
    joe = world.record(SAMPLED, True, user_id="joe", comment="his")
    update_feedback(jane[0], comment="mine again", recorder=world.recorder)
    erase_feedback("jane", recorder=world.recorder)
    found = resolved(world)
    for receipt in jane:
        state = found.states[str(receipt)]
        assert state.erased
        assert state.retracted
        assert (state.fields, state.history, state.submitter) == ({}, (), "")
    assert found.states[str(joe)].fields["gen_ai.evaluation.explanation"] == "his"

    world.record(SAMPLED, True, user_id="jane")
    assert resolved(world).states[str(jane[0])].fields["gen_ai.evaluation.score.value"] == 1.0


TARGETS = {
    "trace": Target.trace(TRACE),
    "span": Target.span(TRACE, SPAN),
    "session": Target.session("s"),
    "response": Target.response("r"),
    "message": Target.message("m"),
    "document": Target.document(TRACE, 0),
    "tool_call": Target.tool_call(SAMPLED, "t"),
    "text_range": Target.text_range(Target.message("m"), 1, 2),
    "entity": Target.entity("ticket", "1"),
    "project": Target.project("p"),
    "experiment": Target.experiment("e"),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_every_target_comes_back(world: World, kind: str) -> None:
    receipt = world.record(TARGETS[kind], True, user_id="jane", project_id="p", experiment_id="e")
    update_feedback(receipt, False, target=TARGETS[kind], recorder=world.recorder)
    found = the_state(world)
    assert found.target["llm_feedback.target.type"] == kind
    assert found.set_aside == ()
    assert found.fields["gen_ai.evaluation.score.value"] == 0.0
    for context, attribute in (("project", "llm_feedback.project.id"), ("experiment", "llm_feedback.experiment.id")):
        assert (attribute in found.target) == (kind == context)
        assert found.fields[attribute] == context[0]


# --- anything at all ---


class Mutable:
    """No JSON, no text, no number."""


WORDS = TEXTS.filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "scale": st.sampled_from([THUMBS, STARS, NPS, Scale.freeform("f"), Scale.continuous("c", None, None), "text"]),
    "at": TIMES,
    "target_start_time": TIMES,
    "weight": st.floats(0, 1),
    "edit_distance": st.floats(0, 1),
    "consent": st.booleans(),
    "source_type": st.sampled_from(["human", "llm", "code", "api"]),
    "signal": st.sampled_from(list(SIGNAL_WEIGHTS)),
    "metadata": st.dictionaries(KEYS, JSON, max_size=3),
    "source_metadata": st.dictionaries(TEXTS, JSON, max_size=3),
    "correction": TEXTS | st.dictionaries(TEXTS, JSON, max_size=3) | st.lists(JSON, max_size=3),
    "categories": st.lists(WORDS, min_size=1, max_size=3) | st.sets(WORDS, min_size=1, max_size=3) | WORDS,
    "revision": st.integers(0, 2**63 - 1),
}
ODD = JUNK | st.builds(Mutable) | st.sampled_from([THUMBS, Scale, SAMPLED, KEY, Receipt("r", "emitted")])


def mostly(likely: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = ODD) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda number: odd if number == 0 else likely)


VALUES = mostly(st.booleans() | st.integers(-10, 10) | WORDS | st.none() | st.dictionaries(TEXTS, JSON))
GIVEN = st.lists(st.sampled_from(sorted(FIELDS - {"feedback_id"})), max_size=5, unique=True).flatmap(
    lambda some: st.fixed_dictionaries({each: mostly(LIKELY.get(each, WORDS)) for each in some})
)
MODES: Any = st.sampled_from(["on", "redacted", "off"])
ABOUT = mostly(st.sampled_from([*TARGETS.values(), SAMPLED, TRACE]))
IDS = mostly(WORDS)


def well_formed(world: World, receipts: list[Receipt]) -> None:
    """What was sent is whole, and a store can use it."""
    assert {each.status for each in receipts} <= {"emitted"}
    logs = world.logs()
    assert [log["attributes"]["llm_feedback.id"] for log in logs] == list(map(str, receipts))
    assert [set(log["attributes"]) for log in logs] == world.attributes_before_encoding()
    for log, entry in zip(logs, entries(world), strict=True):
        assert isinstance(entry, (Record, Erasure))
        assert log["dropped"] == 0
        assert None not in log["attributes"].values()
        assert log["severity"] == ((13, "WARN") if "error.type" in log["attributes"] else (9, "INFO"))
        assert 0 <= log["attributes"].get("llm_feedback.score.normalized", 0) <= 1
        if isinstance(entry, Record):
            unread = log["attributes"].keys() - entry.attributes.keys()
            assert {name for name in unread if log["attributes"][name] != ""} <= {
                "llm_feedback.id",
                "llm_feedback.revision",
                "llm_feedback.operation",
            }
    resolve(entries(world))


@settings(max_examples=150)
@given(target=ABOUT, value=VALUES, given=GIVEN, content=MODES)
def test_record_anything(target: Any, value: Any, given: dict[str, Any], content: Any) -> None:
    world = World(Settings(KEY, content=content))
    try:
        receipts = [world.record(target, value, **given)]
    except FeedbackError:
        receipts = []
    well_formed(world, receipts)


@settings(max_examples=150)
@given(
    feedback_id=IDS,
    value=VALUES,
    given=GIVEN,
    target=st.none() | ABOUT,
    clear=mostly(st.lists(mostly(st.sampled_from(["llm_feedback.value", "error.type"])), max_size=2)),
    content=MODES,
)
def test_update_with_anything(
    *, feedback_id: Any, value: Any, given: dict[str, Any], target: Any, clear: Any, content: Any
) -> None:
    world = World(Settings(KEY, content=content))
    try:
        receipts = [update_feedback(feedback_id, value, target=target, clear=clear, recorder=world.recorder, **given)]
    except FeedbackError:
        receipts = []
    well_formed(world, receipts)


@settings(max_examples=100)
@given(
    feedback_id=IDS,
    target=st.none() | ABOUT,
    at=mostly(TIMES),
    user_id=IDS,
    revision=mostly(st.none() | st.integers(0, 2**63 - 1)),
)
def test_retract_and_erase_anything(feedback_id: Any, target: Any, at: Any, user_id: Any, revision: Any) -> None:
    world = World(Settings(KEY))
    receipts = []
    given: dict[str, Any] = {"at": at, "recorder": world.recorder}
    with suppress(FeedbackError):
        receipts.append(retract_feedback(feedback_id, target=target, user_id=user_id, revision=revision, **given))
    with suppress(FeedbackError):
        receipts.append(erase_feedback(user_id, **given))
    well_formed(world, receipts)


ITEMS = st.builds(lambda target, value, given: {"target": target, "value": value, **given}, ABOUT, VALUES, GIVEN)


@settings(max_examples=100)
@given(items=mostly(st.lists(mostly(ITEMS), max_size=3)))
def test_a_batch_of_anything(items: Any) -> None:
    world = World(Settings(KEY))
    receipts: list[Receipt] = []
    try:
        receipts = record_feedback_batch(items, recorder=world.recorder)
    except FeedbackError as error:
        whole = isinstance(error, InvalidField) and error.field == "items"
        assert whole or error.item is not None  # noqa: PT017 - may or may not raise
    well_formed(world, receipts)


@settings(max_examples=200)
@given(
    kind=st.sampled_from(sorted(TARGETS)),
    first=mostly(st.sampled_from([TRACE, SAMPLED, Target.message("m")]), WORDS | ODD),
    second=mostly(st.sampled_from([SPAN, "x"]) | st.integers(0, 5)),
    third=mostly(st.none() | st.integers(0, 255)),
)
def test_targets_of_anything(kind: str, first: Any, second: Any, third: Any) -> None:
    make = getattr(Target, kind)
    arguments = (first, second, third)[
        : {"span": 3, "entity": 2, "document": 2, "tool_call": 2, "text_range": 3}.get(kind, 1)
    ]
    try:
        target = make(*arguments)
    except FeedbackError:
        return
    world = World()
    well_formed(world, [world.record(target, True)])


NAMES = st.sampled_from(
    "conversation_id user_id session_id message_id prompt_name agent_name environment workflow_name".split()
) | TEXTS.filter(lambda name: name != "self")


@settings(max_examples=200)
@given(tags=st.dictionaries(NAMES, mostly(WORDS), max_size=3))
def test_a_context_of_anything(tags: dict[str, Any]) -> None:
    world = World()
    try:
        tagging = llm_context(**tags)
    except FeedbackError:
        return
    with tagging:
        span = world.chat()
        span.end()
    [sent] = world.spans()
    assert None not in sent["attributes"].values()
    well_formed(world, [world.record(span, True)])


def test_the_junk_is_hostile_enough() -> None:
    """Its parts are refused one by one, so that the tests above mean something."""
    for junk in (Mutable(), Unlikable, float("nan"), 10**400, datetime(1960, 1, 1, tzinfo=timezone(timedelta(0)))):
        with pytest.raises(FeedbackError):
            World().record(SAMPLED, junk)
