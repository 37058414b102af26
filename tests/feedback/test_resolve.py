from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otel_llm_feedback import attributes as names
from otel_llm_feedback.feedback.lifecycle import Entry, Erasure, Record, Unusable, as_text, read_log, read_mapping
from otel_llm_feedback.feedback.resolve import GROUPS, FeedbackState, Resolution, SetAside, resolve
from otel_llm_feedback.receiver.records import ReceivedLog
from tests.feedback.world import CHAT, NOW, SPAN, TRACE, World

OTHER_TRACE, OTHER_SPAN = "c" * 32, "d" * 16
ANA, BEN = "a" * 64, "b" * 64
SCORE, LABEL, COMMENT, WEIGHT = names.SCORE_VALUE, names.SCORE_LABEL, names.EXPLANATION, "llm_feedback.weight"
ON_SPAN: Mapping[str, Any] = {names.TARGET_TYPE: "span"}


def record(revision: int, operation: str = "update", place: tuple[str, str] = ("", ""), /, **said: Any) -> Record:
    """A record of feedback ``f`` whose event time is its revision. Arguments are attributes, by the keys of ALIASES."""
    attributes = {ALIASES.get(key, key): value for key, value in said.items()}
    made = read_mapping(
        {
            "eventName": "gen_ai.evaluation.result",
            "traceId": place[0],
            "spanId": place[1],
            "timeUnixNano": str(attributes.pop("time", revision)),
            "attributes": {names.ID: "f", names.REVISION: revision, names.OPERATION: operation, **attributes},
        }
    )
    assert isinstance(made, Record)
    return made


ALIASES = {
    "id": names.ID,
    "score": SCORE,
    "label": LABEL,
    "comment": COMMENT,
    "weight": WEIGHT,
    "by": names.PSEUDONYM,
    "cleared": names.CLEARED,
    "name": names.EVALUATION_NAME,
    "type": names.TARGET_TYPE,
}


def create(revision: int = 1, /, **said: Any) -> Record:
    return record(revision, "create", (TRACE, SPAN), type="span", **said)


def retract(revision: int, /, **said: Any) -> Record:
    return record(revision, "retract", **said)


def the_state(*entries: Entry) -> FeedbackState:
    [only] = resolve(entries).states.values()
    return only


class TestReading:
    def test_a_received_log(self) -> None:
        log = ReceivedLog(
            trace_id=TRACE,
            span_id=SPAN,
            flags=1,
            event_name="gen_ai.evaluation.result",
            time_unix_nano=7,
            observed_time_unix_nano=8,
            severity_number=9,
            severity_text="INFO",
            body="user feedback",
            attributes={names.ID: "f", names.REVISION: 3, names.OPERATION: "create", SCORE: 1.0, "host.name": "h"},
            dropped_attributes_count=0,
            scope_name="otel_llm_feedback",
            scope_version="1",
            scope_attributes={},
            resource_attributes={},
        )
        assert read_log(log) == Record("f", 3, "create", 7, 8, TRACE, SPAN, {SCORE: 1.0})

    def test_what_we_send_ourselves(self, world: World) -> None:
        with world.chat() as span:
            world.record(span, True, comment="c")
        sent = world.log()
        read = read_mapping(
            {
                "eventName": sent["event_name"],
                "traceId": sent["trace_id"],
                "spanId": sent["span_id"],
                "timeUnixNano": sent["time"],
                "observedTimeUnixNano": sent["observed"],
                "attributes": sent["attributes"],
            }
        )
        state = the_state(read)

        assert (state.id, state.revision, state.created) == ("id-1", NOW // 1000, NOW)
        assert (state.trace_id, state.span_id) == (sent["trace_id"], sent["span_id"])
        assert state.target == {names.TARGET_TYPE: "span"}
        assert state.fields.items() >= {SCORE: 1.0, LABEL: "pass", COMMENT: "c", names.KIND: "explicit"}.items()
        assert state.fields["gen_ai.request.model"] == CHAT["gen_ai.request.model"]

    def test_the_observed_time_stands_in_for_an_unknown_one(self) -> None:
        made = read_mapping(log(timeUnixNano="0", observedTimeUnixNano="9"))
        assert isinstance(made, Record)
        assert (made.time, made.observed) == (9, 9)

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"eventName": "llm_feedback.impression"}, "not_feedback"),
            ({"eventName": None}, "not_feedback"),
            ({"attributes": None}, "no_id"),
            ({names.ID: ""}, "no_id"),
            ({names.ID: 5}, "no_id"),
            ({names.REVISION: None}, "no_revision"),
            ({names.REVISION: True}, "no_revision"),
            ({names.REVISION: -1}, "no_revision"),
            ({names.REVISION: 1.0}, "no_revision"),
            ({names.REVISION: 2**63}, "no_revision"),
            ({names.REVISION: "9" * 5000}, "no_revision"),
            ({names.OPERATION: "delete"}, "unknown_operation"),
            ({names.OPERATION: ["create"]}, "unknown_operation"),
            ({"eventName": "llm_feedback.erasure"}, "no_submitter"),
            ({"eventName": "llm_feedback.erasure", names.PSEUDONYM: ANA, "timeUnixNano": 0}, "no_time"),
        ],
    )
    def test_what_is_no_feedback_is_reported(self, changed: dict[str, Any], reason: Any) -> None:
        assert read_mapping(log(**changed)) == Unusable(reason)

    def test_an_erasure(self) -> None:
        read = read_mapping(log(eventName="llm_feedback.erasure", **{names.PSEUDONYM: ANA}))
        assert read == Erasure(ANA, 5)

    @pytest.mark.parametrize(
        ("trace_id", "span_id", "place"),
        [
            (TRACE.upper(), SPAN.upper(), (TRACE, SPAN)),
            (TRACE, "", (TRACE, "")),
            (TRACE, "0" * 16, (TRACE, "")),
            ("0" * 32, SPAN, ("", "")),
            ("abc", SPAN, ("", "")),
            (None, 5, ("", "")),
        ],
    )
    def test_invalid_ids_are_absent(self, trace_id: object, span_id: object, place: tuple[str, str]) -> None:
        made = read_mapping(log(traceId=trace_id, spanId=span_id))
        assert isinstance(made, Record)
        assert (made.trace_id, made.span_id) == place

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            ("s", "s"),
            ("", None),
            ("\ud800", "?"),
            (False, False),
            (-(2**63), -(2**63)),
            (2**63, None),
            (0.5, 0.5),
            (math.nan, None),
            (-math.inf, None),
            (b"bytes", None),
            (None, None),
            ({"nested": 1}, None),
            ([], ()),
            (["a", 1, True], ("a", 1, True)),
            (["a", ["nested"]], None),
        ],
    )
    def test_only_values_of_the_contract_are_kept(self, value: object, kept: object) -> None:
        assert record(1, **{WEIGHT: value}).attributes.get(WEIGHT) == kept

    @pytest.mark.parametrize("name", ["host.name", "service.name", names.ID, names.REVISION, names.OPERATION])
    def test_only_names_of_the_contract_are_kept(self, name: str) -> None:
        read = read_mapping(log(**{name: "1" if name == names.REVISION else "create"}))
        assert isinstance(read, Record)
        assert name not in read.attributes

    def test_values_cannot_be_changed_afterwards(self) -> None:
        said: dict[str, Any] = {SCORE: 1.0}
        made = Record("f", 1, "create", 1, 1, "", "", said)
        said[SCORE] = 0.0
        assert made.attributes == {SCORE: 1.0}
        assert hash(made) == hash(Record("f", 1, "create", 1, 1, "", "", {SCORE: 1.0}))
        with pytest.raises(TypeError):
            made.attributes[SCORE] = 0.0  # type: ignore[index]  # that is the point

    def test_what_people_wrote_is_not_in_the_repr(self) -> None:
        state = the_state(create(comment="call me on 555"))
        assert "555" not in repr(state)
        assert "555" not in repr(resolve(state.history))

    @given(
        st.dictionaries(
            st.sampled_from(["eventName", "traceId", "spanId", "timeUnixNano", "observedTimeUnixNano", "attributes"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
            ),
        )
    )
    @example({"eventName": "gen_ai.evaluation.result", "attributes": {1: 2}})
    def test_nothing_that_json_can_say_raises(self, mapping: dict[str, object]) -> None:
        resolve([read_mapping(mapping), read_mapping({"eventName": "gen_ai.evaluation.result", **mapping})])


def log(**changed: Any) -> dict[str, Any]:
    """A valid record in OTLP's names with some of them, or some of its attributes, changed."""
    top = {"eventName", "traceId", "spanId", "timeUnixNano", "observedTimeUnixNano", "attributes"}
    attributes = {names.ID: "f", names.REVISION: 1, names.OPERATION: "create"}
    attributes.update({key: value for key, value in changed.items() if key not in top})
    outer = {key: value for key, value in changed.items() if key in top}
    return {"eventName": "gen_ai.evaluation.result", "timeUnixNano": 5, "attributes": attributes, **outer}


class TestDigest:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("s <&>", "s <&>"),
            (True, "true"),
            (False, "false"),
            (-5, "-5"),
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (1e-10, "1e-10"),
            (123456789012345680.0, "123456789012345680"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            ((), "[]"),
            (
                ("ä<", 'q"\\', "\n\u2028\u2029\x00", 1.0, True, 2),
                '["ä<","q\\"\\\\","\\n\\u2028\\u2029\\u0000",1,true,2]',
            ),
        ],
    )
    def test_text_is_what_the_collector_writes(self, value: Any, text: str) -> None:
        assert as_text(value) == text

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_the_text_of_a_double_reads_back(self, value: float) -> None:
        text = as_text(value)
        assert float(text) == value
        assert not text.endswith(".0")
        assert ("e" in text) == (value != 0 and not 1e-6 <= abs(value) < 1e21)

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers()))
    def test_the_text_of_an_array_is_json(self, value: list[Any]) -> None:
        assert json.loads(as_text(tuple(value))) == value

    def test_it_is_taken_over_length_prefixed_texts(self) -> None:
        made = create(7, score=0.5, comment="über", categories="x")
        written = (
            f"1:f1:76:create1:732:{TRACE}16:{SPAN}"
            "29:gen_ai.evaluation.explanation5:über"
            "29:gen_ai.evaluation.score.value3:0.5"
            "24:llm_feedback.target.type4:span"
        )
        assert made.digest == sha256(written.encode()).hexdigest()

    def test_where_one_text_ends_matters(self) -> None:
        assert record(1, label="a", comment="bc").digest != record(1, label="ab", comment="c").digest


def fields(*records: Record) -> dict[str, Any]:
    return dict(the_state(*records).fields)


class TestFields:
    def test_each_has_the_value_of_the_newest_record_that_has_it(self) -> None:
        state = the_state(
            create(1, score=1.0, comment="old", weight=0.5), record(2, comment="new"), record(3, weight=1)
        )

        assert state.fields == {SCORE: 1.0, COMMENT: "new", WEIGHT: 1}
        assert (state.revision, state.created, state.updated) == (3, 1, 3)
        assert [each.revision for each in state.history] == [1, 2, 3]

    def test_a_second_create_changes_the_vote(self) -> None:
        assert fields(create(1, score=1.0, comment="c"), create(2, score=0.0)) == {SCORE: 0.0, COMMENT: "c"}

    def test_a_label_does_not_outlive_its_score(self) -> None:
        five_stars = {names.SCALE_NAME: "stars", names.SCALE_MAX: 5.0, names.SCORE_NORMALIZED: 1.0}
        assert fields(create(1, score=5.0, label="great", **five_stars), record(2, score=0.0)) == {SCORE: 0.0}

    @pytest.mark.parametrize("group", GROUPS)
    def test_members_of_a_group_are_replaced_together(self, group: str) -> None:
        first, *others = GROUPS[group]
        assert fields(create(1, **dict.fromkeys(others, "old")), record(2, **{first: "new"})) == {first: "new"}

    def test_a_cleared_field_is_empty_until_it_is_said_again(self) -> None:
        cleared = (create(1, comment="c", weight=1.0), record(2, cleared=[COMMENT]))
        assert fields(*cleared) == {WEIGHT: 1.0}
        assert fields(*cleared, record(3, comment="again")) == {WEIGHT: 1.0, COMMENT: "again"}

    def test_to_clear_one_of_a_group_clears_all(self) -> None:
        assert fields(create(1, score=1.0, label="pass", comment="c"), record(2, cleared=[LABEL])) == {COMMENT: "c"}

    def test_what_is_cleared_and_said_at_once_is_said(self) -> None:
        assert fields(create(1, comment="a"), record(2, cleared=[COMMENT], comment="b")) == {COMMENT: "b"}

    @pytest.mark.parametrize("cleared", ["text", [5], [], ["unknown"], 5])
    def test_odd_lists_of_cleared_fields_clear_nothing(self, cleared: object) -> None:
        assert fields(create(1, comment="a"), record(2, cleared=cleared)) == {COMMENT: "a"}

    def test_metadata_keys_are_fields_of_their_own(self) -> None:
        a, b = names.METADATA_PREFIX + "a", names.METADATA_PREFIX + "b"
        assert fields(create(1, **{a: 1, b: 1}), record(2, **{b: 2})) == {a: 1, b: 2}

    def test_the_name_is_that_of_the_newest_create(self) -> None:
        late_default = record(9, name="user_feedback", cleared=[names.EVALUATION_NAME])
        assert fields(create(1, name="first"), create(2, name="helpful"), late_default)[ALIASES["name"]] == "helpful"
        assert fields(record(1, name="a"), record(2, name="b"), create(3))[ALIASES["name"]] == "b"

    def test_facts_of_one_record_are_no_fields(self) -> None:
        state = the_state(create(1, cleared=[WEIGHT], by=ANA, **{names.TRUNCATED: ["comment:9"]}))
        assert state.fields == {}
        assert state.history[0].attributes[names.TRUNCATED] == ("comment:9",)
        assert state.submitter == ANA

    def test_a_tie_is_decided_by_the_digest(self) -> None:
        one, other = create(1, comment="one"), create(1, comment="other")
        assert fields(one, other) == {COMMENT: max(one, other, key=lambda each: each.digest).attributes[COMMENT]}


class TestRetraction:
    def test_it_leaves_a_tombstone_with_its_target(self) -> None:
        state = the_state(create(1, score=1.0, comment="c", by=ANA), retract(2))

        assert (state.retracted, state.erased, state.revision, dict(state.fields)) == (True, False, 2, {})
        assert (state.trace_id, state.span_id, state.target) == (TRACE, SPAN, ON_SPAN)
        assert (state.submitter, len(state.history)) == (ANA, 2)

    def test_a_late_update_does_not_undo_it(self) -> None:
        assert the_state(retract(3), record(2, comment="late"), create(1, score=1.0)).retracted

    @pytest.mark.parametrize("operation", ["create", "update"])
    def test_a_newer_revision_revives_without_what_was_withdrawn(self, operation: str) -> None:
        state = the_state(create(1, score=1.0, comment="c"), retract(2), record(3, operation, weight=0.5))

        assert (state.retracted, dict(state.fields)) == (False, {WEIGHT: 0.5})
        assert (state.trace_id, state.created) == (TRACE, 1)

    def test_it_wins_a_tie(self) -> None:
        assert all(the_state(retract(2), record(2, comment=str(each))).retracted for each in range(20))

    def test_of_something_unknown_is_a_tombstone(self) -> None:
        state = the_state(retract(2))
        assert (state.retracted, state.trace_id, dict(state.target)) == (True, "", {})

    def test_an_update_without_its_create_says_what_it_knows(self) -> None:
        state = the_state(record(2, comment="c"))
        assert (state.retracted, dict(state.fields), dict(state.target)) == (False, {COMMENT: "c"}, {})

    def test_a_retraction_carries_no_fields(self) -> None:
        assert fields(retract(1, comment="c"), record(2, weight=1.0)) == {WEIGHT: 1.0}


def reasons(state: FeedbackState) -> list[tuple[int, str]]:
    return [(each.record.revision, each.reason) for each in state.set_aside]


class TestBelonging:
    def test_another_submitter_cannot_change_or_withdraw(self) -> None:
        mine = create(1, score=1.0, by=ANA)
        stranger = create(2, score=0.0, by=BEN)
        state = the_state(mine, stranger, retract(3, by=BEN))

        assert (state.retracted, dict(state.fields), state.submitter) == (False, {SCORE: 1.0}, ANA)
        assert state.history == (mine,)
        assert state.set_aside[0] == SetAside(stranger, "other_submitter")
        assert reasons(state) == [(2, "other_submitter"), (3, "other_submitter")]

    def test_records_that_name_nobody_are_believed(self) -> None:
        assert fields(create(1, by=ANA), record(2, comment="c")) == {COMMENT: "c"}

    def test_the_first_submitter_owns_it_even_if_seen_last(self) -> None:
        assert the_state(create(2, by=BEN), create(1, by=ANA)).submitter == ANA
        assert the_state(create(1, by=BEN), create(1, by=ANA)).submitter == ANA

    def test_another_submitters_target_does_not_count(self) -> None:
        state = the_state(
            record(1, by=ANA), record(2, "create", (OTHER_TRACE, OTHER_SPAN), type="span", by=BEN), create(3, by=ANA)
        )
        assert (state.trace_id, reasons(state)) == (TRACE, [(2, "other_submitter")])

    @pytest.mark.parametrize(
        ("place", "type_name"),
        [
            ((OTHER_TRACE, SPAN), "span"),
            ((TRACE, OTHER_SPAN), "span"),
            ((OTHER_TRACE, ""), ""),
            ((TRACE, SPAN), "trace"),
            (("", ""), "session"),
        ],
    )
    def test_a_record_about_something_else_is_set_aside(self, place: tuple[str, str], type_name: str) -> None:
        state = the_state(create(1, score=1.0), record(2, "create", place, score=0.0, type=type_name))

        assert (state.trace_id, state.span_id, state.target) == (TRACE, SPAN, ON_SPAN)
        assert (dict(state.fields), reasons(state)) == ({SCORE: 1.0}, [(2, "other_target")])

    @pytest.mark.parametrize(
        "name", [names.TARGET_MESSAGE_ID, names.TARGET_DOCUMENT_POSITION, names.TARGET_ENTITY_VALUE]
    )
    def test_details_tell_targets_apart(self, name: str) -> None:
        one, other = (create(each, **{name: each}) for each in (1, 2))
        state = the_state(one, other)
        assert (state.target, reasons(state)) == ({**ON_SPAN, name: 1}, [(2, "other_target")])

    @pytest.mark.parametrize(
        ("type_name", "name"),
        [
            ("response", names.RESPONSE_ID),
            ("session", names.SESSION_ID),
            ("project", names.PROJECT_ID),
            ("experiment", names.EXPERIMENT_ID),
        ],
    )
    def test_the_id_that_names_a_target_is_context_beside_others(self, type_name: str, name: str) -> None:
        named = the_state(*(record(each, type=type_name, **{name: str(each)}) for each in (1, 2)))
        assert (named.target, reasons(named)) == ({names.TARGET_TYPE: type_name, name: "1"}, [(2, "other_target")])
        context = the_state(*(create(each, **{name: str(each)}) for each in (1, 2)))
        assert (context.target, context.set_aside, dict(context.fields)) == (ON_SPAN, (), {name: "2"})

    def test_the_trace_of_a_response_may_be_found_later(self) -> None:
        said = {"type": "response", names.RESPONSE_ID: "r"}
        unknown, known = record(1, "create", **said), record(2, "create", (TRACE, SPAN), **said)
        assert (the_state(unknown).trace_id, the_state(unknown, known).trace_id) == ("", TRACE)
        again = the_state(unknown, known, record(3, "create", (OTHER_TRACE, ""), **said), record(4, **said))
        assert (again.trace_id, again.span_id, again.set_aside) == (OTHER_TRACE, "", ())

    def test_an_unknown_span_is_no_other_span(self) -> None:
        state = the_state(create(1), record(2, "update", (TRACE, ""), comment="c"))
        assert (state.span_id, dict(state.fields)) == (SPAN, {COMMENT: "c"})


class TestErasure:
    def test_it_leaves_nothing_but_the_id(self) -> None:
        state = the_state(create(1, score=1.0, by=ANA), record(2, comment="c"), Erasure(ANA, 2))
        assert state == FeedbackState("f", 0, True, True, 0, 0, "", "", "", {}, {}, (), ())

    def test_what_comes_late_is_erased_too(self) -> None:
        assert the_state(Erasure(ANA, 2), record(2, comment="c"), create(1, by=ANA)).history == ()

    def test_what_is_said_afterwards_stays(self) -> None:
        state = the_state(create(1, score=1.0, by=ANA), Erasure(ANA, 2), create(3, comment="c", by=ANA))
        assert (state.erased, state.retracted, dict(state.fields)) == (True, False, {COMMENT: "c"})

    def test_the_latest_of_several_counts(self) -> None:
        result = resolve([Erasure(ANA, 2), Erasure(ANA, 5), Erasure(ANA, 1)])
        assert result.erasures == {ANA: 5}

    def test_a_record_of_unknown_time_is_erased(self) -> None:
        assert the_state(create(9, by=ANA, time=0), Erasure(ANA, 1)).history == ()

    def test_it_is_the_event_time_that_counts(self) -> None:
        assert the_state(create(1, by=ANA, time=10), Erasure(ANA, 9)).history != ()

    def test_others_keep_theirs(self) -> None:
        state = the_state(create(1, score=1.0, by=ANA), record(2, comment="c"), Erasure(BEN, 99))
        assert (state.erased, len(state.history)) == (False, 2)

    def test_what_a_stranger_filed_under_the_id_is_the_strangers(self) -> None:
        mine, stranger = create(1, score=1.0, by=ANA), create(2, by=BEN)
        assert the_state(mine, stranger, Erasure(BEN, 9)).set_aside == ()
        gone = the_state(mine, stranger, Erasure(ANA, 9))
        assert (gone.retracted, gone.history, reasons(gone)) == (True, (), [(2, "other_submitter")])


def some_records() -> st.SearchStrategy[list[Entry]]:
    """Few values of each kind, so that ties, conflicts, duplicates and revivals are frequent."""
    attributes = st.fixed_dictionaries(
        {},
        optional={
            "score": st.sampled_from([0.0, 1.0, 1]),
            "label": st.sampled_from(["pass", "fail"]),
            "comment": st.sampled_from(["a", "b"]),
            "by": st.sampled_from([ANA, BEN]),
            "cleared": st.lists(st.sampled_from([LABEL, COMMENT]), max_size=2),
            "name": st.sampled_from(["n", "m"]),
            "type": st.sampled_from(["trace", "span", "response", "session"]),
            names.RESPONSE_ID: st.sampled_from(["r1", "r2"]),
            "id": st.sampled_from(["f", "g"]),
            "time": st.integers(0, 4),
        },
    )
    place = st.sampled_from([("", ""), (TRACE, ""), (TRACE, SPAN), (TRACE, OTHER_SPAN), (OTHER_TRACE, SPAN)])
    operation = st.sampled_from(["create", "update", "retract"])
    records = st.builds(
        lambda revision, kind, where, said: record(revision, kind, where, **said),
        st.integers(0, 4),
        operation,
        place,
        attributes,
    )
    erasures = st.builds(Erasure, st.sampled_from([ANA, BEN]), st.integers(1, 4))
    return st.lists(st.one_of(records, records, records, erasures, st.just(Unusable("no_id"))), max_size=10)


def parts(result: Resolution) -> str:
    """Everything in it, with the types of values."""
    return "\n".join(
        repr(
            [each, dict(each.target), dict(each.fields), [dict(one.attributes) for one in each.history], each.set_aside]
        )
        for each in result.states.values()
    )


class TestProperties:
    @given(some_records(), st.data())
    def test_order_and_duplicates_do_not_matter(self, entries: list[Entry], data: st.DataObject) -> None:
        again = data.draw(st.lists(st.sampled_from(entries), max_size=5)) if entries else []
        shuffled = data.draw(st.permutations(entries + again))

        assert resolve(shuffled) == resolve(entries)
        assert parts(resolve(shuffled)) == parts(resolve(entries))

    @given(some_records())
    def test_ids_can_be_resolved_one_at_a_time(self, entries: list[Entry]) -> None:
        for feedback_id, state in resolve(entries).states.items():
            own = [each for each in entries if not isinstance(each, Record) or each.id == feedback_id]
            assert the_state(*own) == state

    @given(some_records())
    def test_what_is_left_resolves_to_the_same(self, entries: list[Entry]) -> None:
        records: Sequence[Record] = [each for each in entries if isinstance(each, Record)]
        once = resolve(records)
        left = [one for state in once.states.values() for one in state.history]
        aside = [one.record for state in once.states.values() for one in state.set_aside]

        assert len(left) + len(aside) == len({each.digest for each in records})
        assert resolve(left + aside) == once

    @given(some_records())
    def test_the_newest_part_of_the_history_decides(self, entries: list[Entry]) -> None:
        for state in resolve(entries).states.values():
            revisions = [each.revision for each in state.history]
            assert revisions == sorted(revisions)
            assert state.retracted == (not state.history or state.history[-1].operation == "retract")
            assert not (state.retracted and state.fields)
            assert {each.submitter for each in state.history} <= {"", state.submitter}

    @given(some_records())
    def test_nothing_erased_is_left_anywhere(self, entries: list[Entry]) -> None:
        result = resolve(entries)
        for state in result.states.values():
            for each in (*state.history, *(one.record for one in state.set_aside)):
                assert each.time > result.erasures.get(each.submitter, -1)

    def test_one_text_in_two_types_is_one_record(self) -> None:
        whole, double = create(1, score=1), create(1, score=1.0)
        assert whole.digest == double.digest
        assert parts(resolve([whole, double])) == parts(resolve([double, whole]))

    def test_the_first_observation_of_a_record_is_kept(self) -> None:
        early, late = (read_mapping(log(observedTimeUnixNano=each)) for each in (7, 8))
        assert the_state(late, early) == the_state(early)

    def test_unusable_entries_are_counted(self) -> None:
        result = resolve([Unusable("no_id"), Unusable("no_id"), Unusable("no_time"), create(1)])
        assert result.unusable == {"no_id": 2, "no_time": 1}
        assert list(result.states) == ["f"]

    def test_a_long_history_takes_no_recursion(self) -> None:
        state = the_state(*(record(each, comment=str(each)) for each in range(5000)))
        assert (len(state.history), dict(state.fields)) == (5000, {COMMENT: "4999"})
