from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, TraceFlags

from otel_llm_feedback import CallRegistry, InvalidField, LLMCall, Settings, Target
from otel_llm_feedback.feedback.event import FeedbackEvent, Place, compose, locate
from otel_llm_feedback.feedback.statement import Statement, state
from tests.feedback.world import CHAT, DIMENSIONS, NOW, SPAN, TRACE, World

KEY = b"not a secret"
NOWHERE = Place(None, None, None, None)


def said(settings: Settings | None = None, value: object = None, **arguments: Any) -> Statement:
    return state(settings or Settings(), value, {"name": "n", **arguments})


def composed(
    target: Target, settings: Settings | None = None, place: Place = NOWHERE, **arguments: Any
) -> FeedbackEvent:
    using = settings or Settings()
    return compose(target, place, said(using, value=1, **arguments), using, now=NOW, random_id="random")


class TestState:
    def test_what_was_said_is_cleaned(self) -> None:
        assert said(value=True, comment="c\ud800", metadata={"k": 1}, user_id="u", at=NOW) == Statement(
            name="n",
            attributes={
                "gen_ai.evaluation.score.value": 1.0,
                "gen_ai.evaluation.score.label": "pass",
                "gen_ai.evaluation.explanation": "c?",
            },
            metadata={"k": 1},
            at=NOW,
            feedback_id=None,
            user_id="u",
            revision=None,
            marks=["comment:2"],
            redactions={},
            withheld=0,
            says=True,
        )

    @pytest.mark.parametrize("field", ["feedback_id", "user_id", "session_id"])
    @pytest.mark.parametrize("value", ["", "  ", 5, b"x", "jane@example.com" * 50])
    def test_ids_are_text_and_never_shown(self, field: str, value: Any) -> None:
        with pytest.raises(InvalidField) as caught:
            said(value=1, **{field: value})
        assert caught.value.field == field
        assert "jane" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_limits_come_from_the_settings(self) -> None:
        settings = Settings(max_comment_length=3, max_metadata_keys=1, max_metadata_length=2)
        words = said(settings, comment="long", metadata={"a": "long", "b": 1})

        assert (words.attributes, words.metadata) == ({"gen_ai.evaluation.explanation": "lon"}, {"a": "lo"})
        assert words.marks == ["metadata.a:4", "metadata:2", "comment:4"]


@pytest.fixture
def call(world: World) -> LLMCall:
    """One captured chat call, which the registry knows."""
    span = world.chat({**CHAT, "llm_feedback.target.message.id": "m-1"})
    span.end()
    found = world.registry.by_response("chatcmpl-1")
    assert found is not None
    assert found.dimensions == DIMENSIONS
    return found


class TestLocate:
    def test_ids_nobody_here_knows(self) -> None:
        registry = CallRegistry()
        assert locate(Target.span(TRACE, SPAN, 1), registry) == Place(TRACE, SPAN, 1, None)
        assert locate(Target.span(TRACE, SPAN), registry) == Place(TRACE, SPAN, None, None)
        assert locate(Target.trace(TRACE), registry) == Place(TRACE, None, None, None)
        for target in (Target.response("r"), Target.message("m"), Target.session("s"), Target.entity("k", "v")):
            assert locate(target, registry) == NOWHERE

    def test_a_known_span(self, world: World, call: LLMCall) -> None:
        here = Place(call.trace_id, call.span_id, 1, call)
        assert locate(Target.span(call.trace_id, call.span_id), world.registry) == here
        assert locate(Target.of(call), CallRegistry()) == here

    def test_what_the_target_says_of_its_flags_counts(self, world: World, call: LLMCall) -> None:
        assert locate(Target.span(call.trace_id, call.span_id, 0), world.registry).trace_flags == 0

    def test_a_known_trace_stays_a_whole_trace(self, world: World, call: LLMCall) -> None:
        assert locate(Target.trace(call.trace_id), world.registry) == Place(call.trace_id, None, 1, call)

    @pytest.mark.parametrize("target", [Target.response("chatcmpl-1"), Target.message("m-1")])
    def test_known_response_and_message_ids(self, world: World, call: LLMCall, target: Target) -> None:
        assert locate(target, world.registry) == Place(call.trace_id, call.span_id, 1, call)

    def test_a_session_or_an_entity_is_never_looked_up(self, world: World, call: LLMCall) -> None:
        for target in (Target.session("conv-1"), Target.session("chatcmpl-1"), Target.entity("m-1", "m-1")):
            assert locate(target, world.registry) == NOWHERE

    def test_another_trace_with_the_same_span_id(self, world: World, call: LLMCall) -> None:
        assert locate(Target.span(TRACE, call.span_id), world.registry).call is None

    def test_an_open_span_is_captured_on_the_spot(self, world: World) -> None:
        span = world.chat()
        place = locate(Target.of(span), world.registry)

        assert place.call is not None
        assert place.call.dimensions == DIMENSIONS
        assert place.call.end_time is None
        span.end()

    def test_an_ended_span_is_what_the_registry_knows_of_it(self, world: World) -> None:
        span = world.chat()
        span.end()
        assert locate(Target.of(span), world.registry).call == world.registry.by_response("chatcmpl-1")
        assert locate(Target.of(span), CallRegistry()).call is None


class TestPlace:
    def test_its_span_context(self) -> None:
        expected = SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=True, trace_flags=TraceFlags(1))
        assert Place(TRACE, SPAN, 1, None).span_context() == expected

    def test_flags_nobody_knows(self) -> None:
        assert Place(TRACE, SPAN, None, None).span_context().trace_flags == 0
        assert Place(TRACE, SPAN, None, None).span_context(unknown_flags=1).trace_flags == 1
        assert Place(TRACE, SPAN, 0, None).span_context(unknown_flags=1).trace_flags == 0

    def test_a_trace_without_a_span(self) -> None:
        context = Place(TRACE, None, None, None).span_context()
        assert (context.trace_id, context.span_id) == (int(TRACE, 16), 0)

    def test_nowhere_is_never_the_current_span(self) -> None:
        assert NOWHERE.span_context() == INVALID_SPAN_CONTEXT


ANYTHING = Target.span(TRACE, SPAN)


class TestCompose:
    def test_the_core_comes_last_and_metadata_first(self, world: World) -> None:
        span = world.chat()
        place = locate(Target.of(span), world.registry)
        span.end()
        event = composed(
            Target.of(span), Settings(KEY), place, metadata={"a": 1, "b": "x" * 2000}, user_id="u", comment="c"
        )
        order = list(event.attributes)

        assert order[:3] == ["llm_feedback.metadata.a", "llm_feedback.metadata.b", "llm_feedback.truncated"]
        assert set(order[3:-10]) == {*DIMENSIONS}
        assert order[-10:] == [
            "enduser.pseudo.id",
            "gen_ai.evaluation.score.value",
            "gen_ai.evaluation.explanation",
            "llm_feedback.trace.sampled",
            "llm_feedback.target.type",
            "llm_feedback.kind",
            "llm_feedback.operation",
            "llm_feedback.revision",
            "llm_feedback.id",
            "gen_ai.evaluation.name",
        ]

    @pytest.mark.parametrize(
        "reserved",
        ["llm_feedback.id", "gen_ai.evaluation.name", "gen_ai.evaluation.score.value", "user.id", "enduser.pseudo.id"],
    )
    def test_metadata_never_replaces_another_name(self, reserved: str) -> None:
        attributes = composed(ANYTHING, metadata={reserved: "stolen"}).attributes

        assert attributes[f"llm_feedback.metadata.{reserved}"] == "stolen"
        assert "stolen" not in [value for name, value in attributes.items() if "metadata" not in name]

    def test_when(self) -> None:
        now = composed(ANYTHING)
        then = composed(ANYTHING, at=NOW - 10**15)

        assert (now.timestamp, now.observed) == (NOW, NOW)
        assert (then.timestamp, then.observed) == (NOW - 10**15, NOW)
        assert then.attributes["llm_feedback.revision"] == NOW // 1000

    def test_the_target_names_its_session_itself(self) -> None:
        assert composed(Target.session("s-1"), session_id="s-2").attributes["session.id"] == "s-1"
        assert composed(ANYTHING, session_id="s-2").attributes["session.id"] == "s-2"

    @pytest.mark.parametrize(("flags", "sampled"), [(None, None), (0, False), (1, True), (2, False), (3, True)])
    def test_sampled_when_known(self, flags: int | None, sampled: bool | None) -> None:
        event = composed(ANYTHING, place=Place(TRACE, SPAN, flags, None))
        assert event.attributes.get("llm_feedback.trace.sampled") is sampled


class TestIds:
    def id_of(self, target: Target = ANYTHING, key: bytes | None = KEY, **arguments: Any) -> str:
        return composed(target, Settings(key), **{"user_id": "jane", **arguments}).id

    def test_the_callers_own_comes_first(self) -> None:
        event = composed(ANYTHING, Settings(KEY), user_id="jane", feedback_id="mine")
        assert event.id == event.attributes["llm_feedback.id"] == "mine"

    def test_a_double_click_is_one_vote(self) -> None:
        assert self.id_of(comment="good") == self.id_of(comment="very good", at=NOW + 5, session_id="s")

    def test_however_the_target_was_spelt(self) -> None:
        spelt = [f"{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"{TRACE}:{SPAN}".upper()]
        assert len({self.id_of(Target.of(each)) for each in spelt}) == 1

    def test_everything_that_makes_it_another_vote(self) -> None:
        others = [
            self.id_of(),
            self.id_of(user_id="joe"),
            self.id_of(name="other"),
            self.id_of(key=b"another key"),
            self.id_of(Target.trace(TRACE)),
            self.id_of(Target.span(TRACE, SPAN[::-1])),
            self.id_of(Target.document(ANYTHING, 0)),
            self.id_of(Target.document(ANYTHING, 1)),
            self.id_of(Target.text_range(ANYTHING, 0, 1)),
            self.id_of(Target.tool_call(ANYTHING, "0")),
            self.id_of(Target.response("x")),
            self.id_of(Target.message("x")),
            self.id_of(Target.session("x")),
            self.id_of(Target.entity("x", "y")),
            self.id_of(Target.entity("x\0", "y")),
        ]
        assert len(set(others)) == len(others)

    @pytest.mark.parametrize("arguments", [{"user_id": None}, {"key": None}])
    def test_random_where_nobody_could_derive_it(self, arguments: dict[str, Any]) -> None:
        assert self.id_of(**arguments) == "random"

    def test_it_is_no_hash_of_what_is_on_the_record(self) -> None:
        """The pseudonym and the id share a key; knowing one must not give the other."""
        event = composed(ANYTHING, Settings(KEY), user_id="jane")
        pseudonym = str(event.attributes["enduser.pseudo.id"])

        assert event.id.replace("-", "")[:12] not in pseudonym
        assert event.id[14] == "8"


class TestPeople:
    def people(self, settings: Settings, user_id: str | None = "jane") -> dict[str, object]:
        attributes = composed(ANYTHING, settings, user_id=user_id).attributes
        return {name: value for name, value in attributes.items() if name in ("enduser.pseudo.id", "user.id")}

    def test_nothing_without_a_key(self) -> None:
        assert self.people(Settings()) == {}

    def test_a_pseudonym_with_one(self) -> None:
        first, again = self.people(Settings(KEY)), self.people(Settings(KEY))
        assert first == again
        assert first != self.people(Settings(b"another"))
        assert first != self.people(Settings(KEY), "joe")
        assert list(first) == ["enduser.pseudo.id"]
        assert "jane" not in str(first)

    def test_the_raw_id_only_when_asked_for(self) -> None:
        assert self.people(Settings(raw_user_ids=True)) == {"user.id": "jane"}
        assert set(self.people(Settings(KEY, raw_user_ids=True))) == {"user.id", "enduser.pseudo.id"}

    def test_nobody(self) -> None:
        assert self.people(Settings(KEY, raw_user_ids=True), None) == {}


def test_a_span_that_is_no_llm_span_has_nothing_to_copy(world: World) -> None:
    span = world.tracer.start_span("POST /chat", attributes={"http.request.method": "POST"})
    place = locate(Target.of(span), world.registry)
    span.end()

    known = composed(Target.of(span), place=place).attributes
    unknown = composed(ANYTHING, place=Place(TRACE, SPAN, 1, None)).attributes
    assert known == unknown
