"""Every keyword: the attribute that it becomes, and what it does not take."""

from __future__ import annotations

import json
import math
import types
from collections import UserList, deque
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from otel_llm_feedback import FeedbackError, InvalidField, InvalidValue, Scale, Settings, Target
from otel_llm_feedback.feedback.scales import (
    LIKERT_5,
    LIKERT_7,
    MINUS_TEN_TO_TEN,
    NPS,
    ONE_TO_TEN,
    STARS,
    THUMBS,
    UNIT,
)
from otel_llm_feedback.feedback.statement import FIELDS, PLAIN, SIGNAL_WEIGHTS, Said, Statement, state
from tests.feedback.world import CHAT, LEAST, NOW, PASS, SAMPLED, World

KEY = b"not a secret"
THEN = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)
THEN_NS = 1_767_323_045_678_901_000
ON = Settings(content="on")  # type: ignore[arg-type] # a mode alone is taken too


def said(value: object = None, **given: Any) -> Statement:
    return state(ON, value, given)


def attributes(value: object = None, **given: Any) -> dict[str, Any]:
    return dict(said(value, **given).attributes)


# --- every keyword, as it arrives ---

KEYWORDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "name": ("helpful", {"gen_ai.evaluation.name": "helpful"}),
    "label": ("liked", {"gen_ai.evaluation.score.label": "liked"}),
    "scale": (
        THUMBS,
        {
            "llm_feedback.scale.name": "thumbs",
            "llm_feedback.scale.type": "categorical",
            "llm_feedback.scale.min": 0.0,
            "llm_feedback.scale.max": 1.0,
            "llm_feedback.scale.higher_is_better": True,
            "llm_feedback.scale.categories": '[{"value":0.0,"label":"fail"},{"value":1.0,"label":"pass"}]',
            "llm_feedback.score.normalized": 1.0,
        },
    ),
    "categories": (["wrong", "long"], {"llm_feedback.categories": ["wrong", "long"]}),
    "comment": ("because", {"gen_ai.evaluation.explanation": "because"}),
    "correction": ("Paris", {"llm_feedback.correction": "Paris"}),
    "weight": (0.25, {"llm_feedback.weight": 0.25}),
    "error_type": ("timeout", {"error.type": "timeout"}),
    "snapshot_input": ("asked", {"llm_feedback.snapshot.input": "asked"}),
    "snapshot_output": ("answered", {"llm_feedback.snapshot.output": "answered"}),
    "metadata": (
        {"a": "x", "b": 1, "c": 0.5, "d": True, "e": [1]},
        {
            "llm_feedback.metadata.a": "x",
            "llm_feedback.metadata.b": 1,
            "llm_feedback.metadata.c": 0.5,
            "llm_feedback.metadata.d": True,
            "llm_feedback.metadata.e": "[1]",
        },
    ),
    "signal": (
        "edited",
        {"llm_feedback.signal": "edited", "llm_feedback.kind": "implicit", "llm_feedback.weight": 0.4},
    ),
    "edit_distance": (0.5, {"llm_feedback.edit.distance": 0.5}),
    "submitter_type": ("customer", {"llm_feedback.submitter.type": "customer"}),
    "organization_id": ("acme", {"llm_feedback.organization.id": "acme"}),
    "source_type": ("llm", {"llm_feedback.source.type": "llm"}),
    "source_id": ("judge-1", {"llm_feedback.source.id": "judge-1"}),
    "source_run_id": ("run-1", {"llm_feedback.source.run_id": "run-1"}),
    "source_metadata": ({"t": [1, None]}, {"llm_feedback.source.metadata": '{"t":[1,null]}'}),
    "consent": (False, {"llm_feedback.consent": False}),
    "session_id": ("s-1", {"session.id": "s-1"}),
    "environment": ("staging", {"deployment.environment.name": "staging"}),
    "release": ("1.2", {"service.version": "1.2"}),
    "prompt_name": ("greet", {"gen_ai.prompt.name": "greet"}),
    "prompt_version": ("7", {"gen_ai.prompt.version": "7"}),
    "project_id": ("p-1", {"llm_feedback.project.id": "p-1"}),
    "experiment_id": ("e-1", {"llm_feedback.experiment.id": "e-1"}),
    "target_start_time": (THEN, {"llm_feedback.target.start_time": THEN_NS}),
    "group_id": ("g-1", {"llm_feedback.group.id": "g-1"}),
    "group_choice": ("left", {"llm_feedback.group.choice": "left"}),
    "group_baseline": ("right", {"llm_feedback.group.baseline": "right"}),
    "revision": (7, {"llm_feedback.revision": 7}),
    "feedback_id": ("mine", {"llm_feedback.id": "mine"}),
}
"""A value of each keyword, and all that it adds to the record of a thumb, or changes there."""

ELSEWHERE = {"user_id", "at"}
"""Keywords tested on their own below: what becomes of them is no attribute, or depends on settings."""


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_a_keyword_becomes_its_attributes_and_nothing_else(keyword: str) -> None:
    given, meant = KEYWORDS[keyword]
    world = World(ON)
    world.record(SAMPLED, True, **{keyword: given})
    found = world.log()["attributes"]

    at_least = {**LEAST, **PASS, "llm_feedback.target.type": "span", "llm_feedback.trace.sampled": True}
    assert found == {**at_least, **meant}
    assert {name: type(found[name]) for name in meant} == {name: type(value) for name, value in meant.items()}


def test_every_keyword_is_tested() -> None:
    assert KEYWORDS.keys() | ELSEWHERE == FIELDS == Said.__annotations__.keys() | {"feedback_id"}


@pytest.mark.parametrize("keyword", sorted({*KEYWORDS, *ELSEWHERE} - {"name"}))
def test_none_is_as_good_as_nothing(keyword: str) -> None:
    nothing: dict[str, Any] = {keyword: None}
    assert said(True, **nothing) == said(True)


CONTRACT: dict[str, type | tuple[type, ...]] = {
    "gen_ai.evaluation.name": str,
    "gen_ai.evaluation.score.value": float,
    "gen_ai.evaluation.score.label": str,
    "gen_ai.evaluation.explanation": str,
    "gen_ai.response.id": str,
    "error.type": str,
    "gen_ai.provider.name": str,
    "gen_ai.operation.name": str,
    "gen_ai.request.model": str,
    "gen_ai.response.model": str,
    "gen_ai.conversation.id": str,
    "gen_ai.agent.id": str,
    "gen_ai.agent.name": str,
    "gen_ai.agent.version": str,
    "gen_ai.prompt.name": str,
    "gen_ai.prompt.version": str,
    "gen_ai.workflow.name": str,
    "deployment.environment.name": str,
    "service.version": str,
    "session.id": str,
    "enduser.pseudo.id": str,
    "user.id": str,
    "llm_feedback.id": str,
    "llm_feedback.revision": int,
    "llm_feedback.operation": str,
    "llm_feedback.target.type": str,
    "llm_feedback.target.message.id": str,
    "llm_feedback.target.document.position": int,
    "llm_feedback.target.tool_call.id": str,
    "llm_feedback.target.text.start": int,
    "llm_feedback.target.text.end": int,
    "llm_feedback.target.entity.key": str,
    "llm_feedback.target.entity.value": str,
    "llm_feedback.target.start_time": int,
    "llm_feedback.project.id": str,
    "llm_feedback.experiment.id": str,
    "llm_feedback.kind": str,
    "llm_feedback.signal": str,
    "llm_feedback.edit.distance": float,
    "llm_feedback.source.type": str,
    "llm_feedback.source.id": str,
    "llm_feedback.source.run_id": str,
    "llm_feedback.source.metadata": str,
    "llm_feedback.submitter.type": str,
    "llm_feedback.organization.id": str,
    "llm_feedback.score.normalized": float,
    "llm_feedback.scale.name": str,
    "llm_feedback.scale.type": str,
    "llm_feedback.scale.min": float,
    "llm_feedback.scale.max": float,
    "llm_feedback.scale.higher_is_better": bool,
    "llm_feedback.scale.categories": str,
    "llm_feedback.weight": float,
    "llm_feedback.categories": list,
    "llm_feedback.value": str,
    "llm_feedback.correction": str,
    "llm_feedback.group.id": str,
    "llm_feedback.group.choice": str,
    "llm_feedback.group.baseline": str,
    "llm_feedback.snapshot.input": str,
    "llm_feedback.snapshot.output": str,
    "llm_feedback.trace.sampled": bool,
    "llm_feedback.consent": bool,
    "llm_feedback.truncated": list,
    "llm_feedback.metadata.a": str,
}
"""Every attribute of the wire contract, and its type."""


def test_every_attribute_of_the_contract_can_be_produced_in_its_type() -> None:
    world = World(Settings(KEY, raw_user_ids=True))
    agent = {f"gen_ai.{each}": "x" for each in ("agent.id", "agent.version", "workflow.name")}
    span = world.chat({**CHAT, **agent, "llm_feedback.target.message.id": "m-1"})
    span.end()
    everything = {field: given for field, (given, _) in KEYWORDS.items() if field != "metadata"}
    world.record(span, True, **everything, user_id="jane", metadata={"a": "x" * 2000})
    message = Target.message("m-1")
    targets = [
        message,
        Target.document(message, 1),
        Target.tool_call(message, "t"),
        Target.text_range(message, 0, 1),
        Target.entity("k", "v"),
    ]
    for target in targets:
        world.record(target, {"structured": True})
    found: dict[str, type] = {}
    for log in world.logs():
        found |= {name: type(value) for name, value in log["attributes"].items()}
    assert found == CONTRACT


# --- what each does not take ---

TEXTUAL = "name label error_type submitter_type environment release".split()
IDS = (
    "organization_id source_id source_run_id session_id prompt_name prompt_version project_id experiment_id "
    "group_id group_choice group_baseline user_id feedback_id"
).split()
Bad = list[tuple[tuple[str, ...], str, list[Any]]]
NOT_SO: Bad = [
    ((*TEXTUAL, *IDS), "text", [5, True, b"x", ["x"], {"x": 1}, object()]),
    ((*TEXTUAL, *IDS), "non-empty", ["", " \n"]),
    ((*IDS,), "at most 512", ["x" * 513]),
    ((*TEXTUAL[1:],), "at most 128", ["x" * 129]),
    (("name",), "at most 180", ["x" * 181]),
    (("weight", "edit_distance"), "0 to 1", [-0.1, 1.1, math.nan, True, "1", 2]),
    (("consent",), "True or False", [0, 1, "yes", []]),
    (("source_type",), "human, llm, code, api", ["model", "", 5, ["human"]]),
    (("signal",), "copied", ["clicked", "", 5, ["copied"], {}]),
    (("categories",), "1 to 32 texts", [[], (), set(), 5, {"a": 1}, ["x"] * 33, b"x"]),
    (("categories",), "text", ["", ["a", ""], ["a", 5], [None]]),
    (("categories",), "at most 128", [["x" * 129]]),
    (("comment", "snapshot_input", "snapshot_output"), "pass text", [5, [], b"x"]),
    (("correction",), "lists and dicts", [b"x", {"a"}, object(), {"k": math.nan}, [[object()]]]),
    (("metadata",), "mapping", [5, "x", [("a", 1)]]),
    (("source_metadata",), "mapping", [5, "x", [1]]),
    (("source_metadata",), "lists and dicts", [{"k": object()}]),
    (("scale",), "Scale", [5, "stars", (1, 5), Scale, {"min": 1}]),
    (("at", "target_start_time"), "aware datetime", [True, 1.5, "now"]),
    (("at", "target_start_time"), "time zone", [THEN.replace(tzinfo=None)]),
    (("at", "target_start_time"), "nanoseconds", [1_780_000_000, 2**63]),
    (("revision",), "63 bits", [-1, 2**63, True, 1.0, "1", []]),
]
BAD = [(field, bad, fix) for fields, fix, values in NOT_SO for field in fields for bad in values]


@pytest.mark.parametrize(("field", "bad", "fix"), BAD, ids=lambda each: ascii(each)[:20])
def test_a_bad_value_is_refused_by_name(field: str, bad: Any, fix: str) -> None:
    with pytest.raises((InvalidField, InvalidValue), match=fix) as caught:
        said(True, **{field: bad})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}=")


def test_every_keyword_has_bad_values() -> None:
    assert {field for field, _, _ in BAD} == FIELDS


@pytest.mark.parametrize(
    ("keyword", "advice"),
    [("comments", "comment="), ("weigth", "weight="), ("session", "session_id="), ("zzz", "the keywords are at, cate")],
)
def test_an_unknown_keyword(world: World, keyword: str, advice: str) -> None:
    with pytest.raises(InvalidField, match="no such keyword") as caught:
        world.record(SAMPLED, True, **{keyword: "hunter2"})
    assert caught.value.field == keyword
    assert advice in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert world.logs() == []


@pytest.mark.parametrize("keyword", ["settings", "given", "said", "using"])
def test_names_of_parameters_inside_are_unknown_keywords_too(world: World, keyword: str) -> None:
    with pytest.raises(InvalidField, match="no such keyword"):
        world.record(SAMPLED, True, **{keyword: 1})


# --- values and scales ---


@pytest.mark.parametrize(
    ("scale", "value", "score", "normalised"),
    [
        (THUMBS, True, 1.0, 1.0),
        (THUMBS, "fail", 0.0, 0.0),
        (STARS, 4, 4.0, 0.75),
        (NPS, 9, 9.0, 0.9),
        (LIKERT_5, 1, 1.0, 0.0),
        (LIKERT_7, 7, 7.0, 1.0),
        (MINUS_TEN_TO_TEN, 0, 0.0, 0.5),
        (UNIT, 0.3, 0.3, 0.3),
        (ONE_TO_TEN, 5.5, 5.5, 0.5),
        (Scale.continuous("errors", 0, 4, False), 1, 1.0, 0.75),
        (Scale.continuous("open", 0, None), 5, 5.0, None),
        (Scale.categorical("mood", {"sad": 0, "ok": 2, "glad": 4}), "ok", 2.0, 0.5),
        (Scale.categorical("mood", {"sad": 0, "ok": 2, "glad": 4}), 4, 4.0, 1.0),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_a_value_on_its_scale(scale: Scale, value: Any, score: float, normalised: float | None) -> None:
    found = attributes(value, scale=scale)
    assert found["gen_ai.evaluation.score.value"] == score
    assert found.get("llm_feedback.score.normalized") == normalised
    assert found["llm_feedback.scale.name"] == scale.name
    assert found["llm_feedback.scale.type"] == scale.type
    assert found["llm_feedback.scale.higher_is_better"] is scale.higher_is_better


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        (THUMBS, 2),
        (THUMBS, "up"),
        (STARS, 0),
        (STARS, 6),
        (STARS, 3.5),
        (STARS, True),
        (STARS, "4"),
        (NPS, 11),
        (MINUS_TEN_TO_TEN, -11),
        (UNIT, 1.01),
        (UNIT, math.nan),
        (UNIT, math.inf),
        (ONE_TO_TEN, 0),
        (STARS, {"stars": 4}),
        (STARS, [4]),
        (Scale.freeform("f"), 5),
        (Scale.freeform("f"), " "),
        (Scale.freeform("f"), {"a": 1}),
    ],
)
def test_a_value_off_its_scale(scale: Scale, value: Any) -> None:
    with pytest.raises(InvalidValue, match=f"on the scale '{scale.name}'") as caught:
        said(value, scale=scale)
    assert caught.value.field == "value"


class TestLabelsOnScales:
    def test_a_label_is_the_value_on_a_categorical_scale(self) -> None:
        assert attributes(scale=THUMBS, label="pass") == attributes("pass", scale=THUMBS)
        with pytest.raises(InvalidValue, match="one of 'fail', 'pass'"):
            said(scale=THUMBS, label="hm")

    def test_it_says_more_of_a_number(self) -> None:
        found = attributes(4, scale=STARS, label="good")
        assert (found["gen_ai.evaluation.score.value"], found["gen_ai.evaluation.score.label"]) == (4.0, "good")
        assert attributes(True, scale=THUMBS, label="liked")["gen_ai.evaluation.score.label"] == "liked"

    def test_alone_on_a_scale_of_numbers_it_is_a_label_without_a_score(self) -> None:
        found = attributes(scale=STARS, label="good")
        assert found["gen_ai.evaluation.score.label"] == "good"
        assert not {"gen_ai.evaluation.score.value", "llm_feedback.score.normalized"} & found.keys()

    def test_alone_on_a_freeform_scale_it_is_no_comment(self) -> None:
        found = attributes(scale=Scale.freeform("f"), label="good")
        assert found["gen_ai.evaluation.score.label"] == "good"
        assert "gen_ai.evaluation.explanation" not in found

    def test_two_labels_are_one_too_many(self) -> None:
        for scale in (None, THUMBS):
            with pytest.raises(InvalidValue, match="one of them") as caught:
                said("pass", label="fail", scale=scale)
            assert caught.value.field == "label"
        assert attributes("pass", label="pass", scale=THUMBS) == attributes("pass", scale=THUMBS)


class TestFreeform:
    SCALE = Scale.freeform("why")

    def test_the_value_is_the_comment(self) -> None:
        assert attributes("because", scale=self.SCALE) == {
            "llm_feedback.scale.name": "why",
            "llm_feedback.scale.type": "freeform",
            "gen_ai.evaluation.explanation": "because",
        }

    def test_however_long(self) -> None:
        words = said("x" * 9000, scale=self.SCALE)
        assert words.attributes["gen_ai.evaluation.explanation"] == "x" * 8192
        assert words.marks == ["comment:9000"]

    def test_there_is_no_room_for_another(self) -> None:
        with pytest.raises(InvalidField, match="the value is the comment") as caught:
            said("because", scale=self.SCALE, comment="hunter2")
        assert caught.value.field == "comment"
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("empty", ["", " ", None])
    def test_an_empty_box_is_no_comment(self, empty: str | None) -> None:
        assert attributes("because", scale=self.SCALE, comment=empty) == attributes("because", scale=self.SCALE)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7/10", {"gen_ai.evaluation.score.value": 7.0, "gen_ai.evaluation.score.label": "7/10"}),
        ("Good", {"gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.score.label": "good"}),
        ("\N{THUMBS DOWN SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}", {"gen_ai.evaluation.score.value": 0.0}),
        ("4", {"gen_ai.evaluation.score.value": 4.0, "gen_ai.evaluation.score.label": "4"}),
    ],
)
def test_ratings_as_people_write_them(text: str, meant: dict[str, Any]) -> None:
    found = attributes(text, scale="text")
    assert found.items() >= meant.items()
    assert ("llm_feedback.scale.name" in found) == (text != "4")
    assert attributes(text, scale="text", label="mine")["gen_ai.evaluation.score.label"] == "mine"


@pytest.mark.parametrize("value", ["meh", "11/10", "", 7, True, None, ["good"], {"a": 1}])
def test_what_is_no_rating(value: Any) -> None:
    with pytest.raises(InvalidValue, match="as people write it") as caught:
        said(value, scale="text")
    assert caught.value.field == "value"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'),
        ([1, "a", True], '[1,"a",true]'),
        ((1, 2), "[1,2]"),
        ([[]], "[[]]"),
        (types.MappingProxyType({"a": types.MappingProxyType({"b": 1})}), '{"a":{"b":1}}'),
        ([deque([1]), UserList(["x"]), range(2)], '[[1],["x"],[0,1]]'),
    ],
)
def test_structured_values(value: Any, sent: str) -> None:
    assert attributes(value) == {"llm_feedback.value": sent}
    assert attributes(correction=value) == {"llm_feedback.correction": sent}
    assert attributes(value, label="l")["gen_ai.evaluation.score.label"] == "l"


def test_what_json_cannot_hold() -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    endless = types.MappingProxyType({"k": [0]})
    endless["k"][0] = endless  # type: ignore[call-overload] # that is the point
    for field in ("value", "correction", "source_metadata"):
        bads: list[Any] = [{"k": object()}, {"k": {1}}, {"k": b"x"}, {"k": math.inf}, {"k": cyclic}, endless]
        for bad in bads:
            with pytest.raises(InvalidField) as caught:
                said(**{field: bad})
            assert caught.value.field == field


@pytest.mark.parametrize(
    ("given", "sent"),
    [("wrong", ["wrong"]), (("b", "a"), ["b", "a"]), ({"b", "a"}, ["a", "b"]), (frozenset(["x"]), ["x"])],
)
def test_categories(given: Any, sent: list[str]) -> None:
    assert attributes(categories=given) == {"llm_feedback.categories": sent}


def test_an_evaluator_that_failed(world: World) -> None:
    world.record(SAMPLED, error_type="timeout")
    world.record(SAMPLED, True)
    assert [log["severity"] for log in world.logs()] == [(13, "WARN"), (9, "INFO")]
    assert "gen_ai.evaluation.score.value" not in world.logs()[0]["attributes"]


@pytest.mark.parametrize("signal", SIGNAL_WEIGHTS)
def test_signals(signal: str) -> None:
    assert attributes(signal=signal) == {
        "llm_feedback.signal": signal,
        "llm_feedback.kind": "implicit",
        "llm_feedback.weight": SIGNAL_WEIGHTS[signal],
    }
    assert 0 < SIGNAL_WEIGHTS[signal] < 1
    assert attributes(signal=signal, weight=0)["llm_feedback.weight"] == 0.0


def test_the_signals_of_the_contract() -> None:
    signals = {"copied", "edited", "regenerated", "accepted", "rejected", "abandoned", "escalated", "retried"}
    assert SIGNAL_WEIGHTS.keys() == signals


@pytest.mark.parametrize("consent", [True, False])
def test_consent_is_said_either_way(consent: bool) -> None:
    assert attributes(consent=consent) == {"llm_feedback.consent": consent}


@pytest.mark.parametrize(("given", "sent"), [(0, 0.0), (1, 1.0), (0.5, 0.5)])
def test_fractions_are_doubles(given: float, sent: float) -> None:
    found = attributes(weight=given, edit_distance=given)
    assert found == {"llm_feedback.weight": sent, "llm_feedback.edit.distance": sent}
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize("at", [THEN, THEN.astimezone(timezone(timedelta(hours=9))), THEN_NS])
def test_times(world: World, at: Any) -> None:
    world.record(SAMPLED, True, at=at, target_start_time=at)
    assert (world.log()["time"], world.log()["observed"]) == (THEN_NS, NOW)
    assert world.log()["attributes"]["llm_feedback.target.start_time"] == THEN_NS


def test_prompt_and_session_of_the_vote_beat_those_of_the_call(world: World) -> None:
    span = world.chat()
    span.end()
    world.record(span, True, prompt_version="4")
    found = world.log()["attributes"]
    assert (found["gen_ai.prompt.name"], found["gen_ai.prompt.version"]) == ("greeting", "4")


# --- is anything said at all? ---

ENOUGH = [
    {"value": 0},
    {"value": False},
    {"value": [0]},
    {"label": "l"},
    {"comment": "c"},
    {"correction": "x"},
    {"correction": {}},
    {"categories": "x"},
    {"signal": "copied"},
    {"error_type": "x"},
    {"group_choice": "left"},
    {"value": "w", "scale": Scale.freeform("f")},
]
NOTHING: list[dict[str, Any]] = [
    {},
    {"comment": ""},
    {"comment": " \n"},
    {"correction": ""},
    {"correction": " "},
    {"scale": STARS},
    {"metadata": {"k": 1}, "user_id": "u"},
    {"weight": 1, "consent": True, "edit_distance": 0.1},
    {"group_id": "g", "group_baseline": "b"},
    {"snapshot_input": "x", "snapshot_output": "y", "source_metadata": {"a": 1}, "source_type": "human"},
    {"session_id": "s", "project_id": "p", "at": THEN, "revision": 1},
]


@pytest.mark.parametrize("given", ENOUGH, ids=str)
@pytest.mark.parametrize("content", ["on", "redacted", "off"])
def test_enough(given: dict[str, Any], content: Any) -> None:
    """Also where the settings keep its words from being sent: the caller did nothing wrong."""
    world = World(Settings(content=content))
    assert world.record(SAMPLED, **given).status == "emitted"
    assert len(world.logs()) == 1


@pytest.mark.parametrize("given", NOTHING, ids=str)
def test_nothing(world: World, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="pass a value, or a label") as caught:
        world.record(SAMPLED, **given)
    assert caught.value.field == "value"
    assert world.logs() == []


# --- context beside a target ---


@pytest.mark.parametrize(
    ("target", "field", "attribute"),
    [
        (Target.session("one"), "session_id", "session.id"),
        (Target.project("one"), "project_id", "llm_feedback.project.id"),
        (Target.experiment("one"), "experiment_id", "llm_feedback.experiment.id"),
    ],
    ids=["session", "project", "experiment"],
)
def test_a_target_that_may_also_be_context(world: World, target: Target, field: str, attribute: str) -> None:
    world.record(target, True)
    world.record(target, True, **{field: "one"})
    world.record(SAMPLED, True, **{field: "other"})
    alone, twice, context = (log["attributes"] for log in world.logs())

    assert alone[attribute] == twice[attribute] == "one"
    assert alone["llm_feedback.target.type"] == twice["llm_feedback.target.type"] == target.type
    assert (context[attribute], context["llm_feedback.target.type"]) == ("other", "span")
    assert [log["trace_id"] for log in world.logs()][:2] == ["", ""]

    with pytest.raises(InvalidField, match="the target is another one") as caught:
        world.record(target, True, **{field: "other"})
    assert caught.value.field == field
    assert len(world.logs()) == 3


def test_a_lone_surrogate_does_not_make_a_session_another(world: World) -> None:
    assert world.record(Target.session("s\ud800"), True, session_id="s\ud800").status == "emitted"


def test_the_checks_name_no_attribute_twice() -> None:
    targets = [attribute for attribute, _ in PLAIN.values()]
    assert len(set(targets)) == len(targets)


def test_json_stays_json() -> None:
    found = attributes({"a": "\ud800"})
    assert json.loads(found["llm_feedback.value"]) == {"a": "?"}


def test_the_error_is_of_the_base_that_people_catch() -> None:
    with pytest.raises(FeedbackError):
        said(True, signal="nope")
