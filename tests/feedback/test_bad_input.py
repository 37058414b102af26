"""Bad input: a clear error of ours before anything is sent, or a counted, marked truncation; never a poisoned batch."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_CONTEXT, SpanContext

from otel_llm_feedback import (
    FeedbackError,
    InvalidField,
    InvalidTarget,
    InvalidValue,
    Receipt,
    Settings,
    Target,
    boundary,
)
from otel_llm_feedback.feedback.scales import NPS, STARS, THUMBS
from tests.feedback.test_fields import MOMENTS
from tests.feedback.world import LEAST, NOW, PASS, SAMPLED, SPAN, TRACE, World

if TYPE_CHECKING:
    from collections.abc import Iterator


def refused(world: World, target: Any = SAMPLED, value: Any = True, **arguments: Any) -> FeedbackError:
    """The error, after which nothing was sent or counted."""
    with (
        world.tracer.start_as_current_span("another trace"),
        pytest.raises((InvalidTarget, InvalidValue, InvalidField)) as caught,
    ):
        world.record(target, value, **arguments)
    assert world.logs() == []
    assert world.counters.snapshot() == {}
    assert isinstance(caught.value, ValueError)
    return caught.value


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        " ",
        "0" * 32,
        f"{'0' * 32}-{SPAN}",
        f"{TRACE}-{'0' * 16}",
        TRACE[:-1],
        TRACE + "0",
        f"{TRACE}-{SPAN}0",
        f"{TRACE}-{SPAN[:-1]}",
        TRACE[:-1] + "g",
        "\uff10" * 32,
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        "00000000-0000-0000-0000-000000000000",
        "chatcmpl-1",
        "\ud800" * 32,
        TRACE * 100_000,
        0,
        int(TRACE, 16),
        True,
        1.5,
        math.nan,
        object(),
        TRACE.encode(),
        (TRACE, SPAN),
        {"trace_id": TRACE},
        INVALID_SPAN,
        INVALID_SPAN_CONTEXT,
        SpanContext(int(TRACE, 16), 0, is_remote=True),
        SpanContext(0, int(SPAN, 16), is_remote=True),
        SpanContext(2**128, int(SPAN, 16), is_remote=True),
        ReadableSpan("no context"),
        Target,
    ],
    ids=lambda target: f"{type(target).__name__}-{str(target)[:30]!a}",
)
@pytest.mark.parametrize("mode", ["log", "span_event", "both"])
def test_what_is_no_target(world: World, target: object, mode: str) -> None:
    error = refused(world, target, mode=mode)
    assert isinstance(error, InvalidTarget)
    assert error.field in ("target", "trace_id", "span_id")
    assert len(str(error)) < 700


@pytest.mark.parametrize(
    ("arguments", "kind", "field"),
    [
        ({"value": math.nan}, InvalidValue, "value"),
        ({"value": math.inf}, InvalidValue, "value"),
        ({"value": -math.inf}, InvalidValue, "value"),
        ({"value": 2**63}, InvalidValue, "value"),
        ({"value": 10**5000}, InvalidValue, "value"),
        ({"value": None}, InvalidValue, "value"),
        ({"value": object()}, InvalidValue, "value"),
        ({"value": []}, InvalidValue, "value"),
        ({"value": {}}, InvalidValue, "value"),
        ({"value": {1}}, InvalidValue, "value"),
        ({"value": [object()]}, InvalidField, "value"),
        ({"value": {"k": math.nan}}, InvalidField, "value"),
        ({"value": ""}, InvalidValue, "value"),
        ({"value": "x" * 1_000_000}, InvalidValue, "value"),
        ({"label": True}, InvalidValue, "label"),
        ({"label": 5}, InvalidValue, "label"),
        ({"label": ""}, InvalidValue, "label"),
        ({"value": "a", "label": "b"}, InvalidValue, "label"),
        ({"name": ""}, InvalidField, "name"),
        ({"name": " "}, InvalidField, "name"),
        ({"name": None}, InvalidField, "name"),
        ({"name": True}, InvalidField, "name"),
        ({"name": "x" * 181}, InvalidField, "name"),
        ({"comment": 5}, InvalidField, "comment"),
        ({"comment": b"bytes"}, InvalidField, "comment"),
        ({"comment": ["list"]}, InvalidField, "comment"),
        ({"metadata": "text"}, InvalidField, "metadata"),
        ({"metadata": {"": 1}}, InvalidField, "metadata"),
        ({"metadata": {"a b": 1}}, InvalidField, "metadata"),
        ({"metadata": {5: 1}}, InvalidField, "metadata"),
        ({"metadata": {"k": 2**63}}, InvalidField, "metadata.k"),
        ({"metadata": {"k": math.nan}}, InvalidField, "metadata.k"),
        ({"metadata": {"k": object()}}, InvalidField, "metadata.k"),
        ({"at": True}, InvalidField, "at"),
        ({"at": 1_780_000_000}, InvalidField, "at"),
        ({"at": -1}, InvalidField, "at"),
        ({"at": 1.5}, InvalidField, "at"),
        ({"at": "yesterday"}, InvalidField, "at"),
        ({"mode": "trace"}, InvalidField, "mode"),
        ({"mode": None}, InvalidField, "mode"),
        ({"mode": ["log"]}, InvalidField, "mode"),
        ({"feedback_id": ""}, InvalidField, "feedback_id"),
        ({"feedback_id": 7}, InvalidField, "feedback_id"),
        ({"feedback_id": "x" * 513}, InvalidField, "feedback_id"),
        ({"user_id": ""}, InvalidField, "user_id"),
        ({"user_id": 7}, InvalidField, "user_id"),
        ({"session_id": ""}, InvalidField, "session_id"),
        ({"session_id": b"s"}, InvalidField, "session_id"),
    ],
    ids=lambda each: str(list(each)) if isinstance(each, dict) else None,
)
def test_what_else_is_refused(world: World, arguments: dict[str, Any], kind: type[FeedbackError], field: str) -> None:
    error = refused(world, **arguments)
    assert type(error) is kind
    assert getattr(error, "field", None) == field
    assert str(error).startswith(f"{field}=")
    assert len(str(error)) < 300


def test_cyclic_metadata(world: World) -> None:
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    error = refused(world, metadata={"k": cyclic})
    assert isinstance(error, InvalidField)
    assert error.field == "metadata.k"


def test_bottomless_metadata(world: World) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert isinstance(refused(world, metadata={"k": deep}), InvalidField)


@pytest.mark.parametrize(
    "arguments",
    [
        {"value": "hunter2 " * 30},
        {"value": "ok", "label": "hunter2"},
        {"value": b"hunter2"},
        {"value": {"hunter2"}},
        {"value": ["hunter2", object()]},
        {"value": {"k": "hunter2"}, "scale": STARS},
        {"value": ["hunter2"], "scale": THUMBS},
        {"value": "hunter2", "scale": "text"},
        {"value": "hunter2", "scale": NPS},
        {"label": ["hunter2"]},
        {"name": {"k": "hunter2"}},
        {"categories": ["hunter2"] * 33},
        {"categories": ["hunter2", 5]},
        {"categories": {"hunter2": 1}},
        {"correction": ["hunter2", object()]},
        {"correction": b"hunter2"},
        {"snapshot_input": ["hunter2"]},
        {"snapshot_output": {"k": "hunter2"}},
        {"source_metadata": ["hunter2"]},
        {"source_metadata": {"k": {"hunter2"}}},
        {"group_choice": ["hunter2"]},
        {"hunter": "hunter2"},
        {"label": "hunter2 " * 30},
        {"comment": ["hunter2"]},
        {"comment": b"hunter2"},
        {"metadata": ["hunter2"]},
        {"metadata": {"k": ["hunter2", object()]}},
        {"metadata": {"k": {"hunter2"}}},
        {"user_id": ["hunter2"]},
        {"user_id": "hunter2" * 100},
        {"session_id": "hunter2" * 100},
        {"name": "hunter2 " * 30},
    ],
)
def test_what_people_write_stays_out_of_messages(world: World, arguments: dict[str, Any]) -> None:
    error: BaseException | None = refused(world, **arguments)
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__


# --- what is cut instead: marked on the record, and counted ---


def cut(world: World, **arguments: Any) -> dict[str, Any]:
    assert world.record(SAMPLED, True, **arguments).status == "emitted"
    core = {**LEAST, **PASS, "llm_feedback.target.type": "span", "llm_feedback.trace.sampled": True}
    log = world.log()
    assert (log["trace_id"], log["span_id"]) == (TRACE, SPAN)
    assert log["attributes"].items() >= core.items()
    return {name: value for name, value in log["attributes"].items() if name not in core}


def test_a_comment_of_a_megabyte(world: World) -> None:
    assert cut(world, comment="x" * 1_000_000) == {
        "gen_ai.evaluation.explanation": "x" * 8192,
        "llm_feedback.truncated": ["comment:1000000"],
    }
    assert world.counters.total("truncated", "comment") == 1


def test_lone_surrogates(world: World) -> None:
    found = cut(
        world, comment="a\ud800", name="user_feedback", metadata={"k": "\udfff", "n": ["\ud800"]}, session_id="s\ud800"
    )
    assert found == {
        "gen_ai.evaluation.explanation": "a?",
        "llm_feedback.metadata.k": "?",
        "llm_feedback.metadata.n": '["?"]',
        "session.id": "s?",
        "llm_feedback.truncated": ["metadata.k:1", "metadata.n:5", "comment:2"],
    }
    assert world.counters.snapshot() == {
        ("emitted", ""): 1,
        ("truncated", "comment"): 1,
        ("truncated", "metadata"): 2,
    }


@pytest.mark.parametrize(
    "target", [Target.session("s\ud800"), Target.entity("k\ud800", "v\udfff"), Target.message("\ud800")]
)
def test_lone_surrogates_in_a_target(world: World, target: Target) -> None:
    world.record(target, "l\ud800", name="n\ud800", feedback_id="f\ud800")
    log = world.log()

    assert "?" in "".join(
        str(value) for name, value in log["attributes"].items() if "target" in name or "session" in name
    )
    assert log["attributes"]["gen_ai.evaluation.name"] == "n?"
    assert log["attributes"]["gen_ai.evaluation.score.label"] == "l?"
    assert log["attributes"]["llm_feedback.id"] == "f?"


def test_ten_thousand_metadata_keys(world: World) -> None:
    found = cut(world, metadata={f"k{n}": n for n in range(10_000)})
    assert found == {
        **{f"llm_feedback.metadata.k{n}": n for n in range(32)},
        "llm_feedback.truncated": ["metadata:10000"],
    }
    assert world.counters.total("truncated", "metadata") == 1


def test_a_long_metadata_value(world: World) -> None:
    assert cut(world, metadata={"k": "x" * 2000, "n": {"x": "y" * 2000}}) == {
        "llm_feedback.metadata.k": "x" * 1024,
        "llm_feedback.metadata.n": '{"x":"' + "y" * 1018,
        "llm_feedback.truncated": ["metadata.k:2000", "metadata.n:2008"],
    }


def test_metadata_that_tries_to_replace_reserved_names(world: World) -> None:
    reserved = ("llm_feedback.id", "gen_ai.evaluation.score.value", "trace_id", "user.id", "llm_feedback.truncated")
    assert cut(world, metadata=dict.fromkeys(reserved, "stolen")) == {
        f"llm_feedback.metadata.{name}": "stolen" for name in reserved
    }


# --- arguments with code of their own ---


class Hostile(str):
    """Text whose every method fails."""

    __slots__ = ()

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise OSError("hostile")

    __len__ = strip = isascii = encode = __iter__ = __getitem__ = __contains__ = _fail


class Unlikable:
    def __eq__(self, other: object) -> bool:
        raise OSError("hostile")

    def __hash__(self) -> int:
        raise OSError("hostile")

    def __repr__(self) -> str:
        raise OSError("hostile")

    @property  # type: ignore[misc]  # what proxies do
    def __class__(self) -> Any:
        raise OSError("hostile")


class BrokenMapping(dict[str, object]):
    def items(self) -> Any:
        raise OSError("hostile")


@pytest.fixture
def _lenient() -> Iterator[None]:
    boundary.strict(False)
    yield
    boundary.strict(True)


@pytest.mark.usefixtures("_lenient")
@pytest.mark.parametrize(
    "arguments",
    [
        {"target": Hostile(TRACE)},
        {"target": Unlikable()},
        {"value": Hostile("good")},
        {"value": Unlikable()},
        {"comment": Hostile("good")},
        {"name": Hostile("good")},
        {"metadata": BrokenMapping()},
        {"metadata": {"k": Unlikable()}},
        {"mode": Unlikable()},
        {"at": Unlikable()},
        {"user_id": Hostile("jane")},
    ],
    ids=lambda arguments: f"{next(iter(arguments))}-{type(next(iter(arguments.values()))).__name__}",
)
def test_what_their_code_raises_stays_inside(world: World, arguments: dict[str, Any]) -> None:
    try:
        receipt = world.record(**{"target": SAMPLED, "value": True, **arguments})
    except FeedbackError:
        return
    assert receipt == Receipt("id-1", "dropped", "internal_error")
    assert world.counters.snapshot() == {("dropped", "internal_error"): 1}
    assert world.logs() == []


# --- anything at all ---

TEXTS = st.text(st.characters(), max_size=20)
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.complex_numbers()
    | TEXTS
    | st.binary(max_size=5)
    | st.datetimes()
    | MOMENTS
    | st.dates()
    | st.decimals()
    | st.fractions()
    | st.sampled_from([object(), Target, INVALID_SPAN, Unlikable, ..., NotImplemented]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS, inner, max_size=3)
        | st.tuples(inner)
        | st.frozensets(st.integers())
    ),
    max_leaves=6,
)
TARGETS = (
    st.just(SAMPLED)
    | st.sampled_from([TRACE, f"{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-00", "chatcmpl-1"])
    | st.builds(Target.session, TEXTS.filter(str.strip))
    | st.builds(Target.entity, TEXTS.filter(str.strip), TEXTS.filter(str.strip))
    | JUNK
)
KEYS = st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True)


TIMES = st.integers(10**17, 2**63 - 1) | MOMENTS
ANYTHING_FOR = {"target": TARGETS, "value": st.booleans() | st.floats() | TEXTS | JUNK, "at": TIMES | JUNK}
USUAL = st.fixed_dictionaries(
    {"target": st.just(SAMPLED), "value": st.booleans() | st.integers(-10, 10) | st.none(), "comment": TEXTS},
    optional={
        "name": TEXTS,
        "label": TEXTS,
        "metadata": st.dictionaries(KEYS, JUNK, max_size=3),
        "at": TIMES,
        "mode": st.sampled_from(["log", "both", "span_event"]),
        "feedback_id": TEXTS,
        "user_id": TEXTS,
        "session_id": TEXTS,
    },
)
FIELDS = [
    "target",
    "value",
    "comment",
    "name",
    "label",
    "metadata",
    "at",
    "mode",
    "feedback_id",
    "user_id",
    "session_id",
]


@settings(max_examples=400)
@given(usual=USUAL, odd=st.lists(st.sampled_from(FIELDS), max_size=2, unique=True), data=st.data())
def test_anything_is_refused_by_name_or_arrives_as_it_was_meant(
    usual: dict[str, Any], odd: list[str], data: st.DataObject
) -> None:
    given = usual | {field: data.draw(ANYTHING_FOR.get(field, TEXTS | JUNK), field) for field in odd}
    target, value = given.pop("target"), given.pop("value")
    world = World(Settings(b"key"))
    try:
        receipt = world.record(target, value, **given)
    except (InvalidTarget, InvalidValue, InvalidField) as error:
        assert world.logs() == world.spans() == []
        assert error.field.partition(".")[0] in {"target", "trace_id", "span_id", "value", *given}  # noqa: PT017 - may or may not raise
        return
    mode = given.get("mode", "log")
    assert receipt.status in ("emitted", "dropped")  # a carrier may be dropped by the sampler
    logs = world.logs()
    assert len(logs) == (mode != "span_event")
    for log in logs:
        arrived_as_meant(log, receipt, value, given)


def arrived_as_meant(log: dict[str, Any], receipt: Receipt, value: Any, given: dict[str, Any]) -> None:
    attributes = log["attributes"]
    marks = {mark.partition(":")[0] for mark in attributes.get("llm_feedback.truncated", [])}
    assert log["time"] == (NOW if given.get("at") is None else meant_time(given["at"]))
    assert log["dropped"] == 0
    assert None not in attributes.values()
    assert attributes["gen_ai.evaluation.name"] == clean(given.get("name", "user_feedback"))
    assert attributes["llm_feedback.id"] == receipt.id
    label = value if isinstance(value, str) else given.get("label")
    default = {True: "pass", False: "fail"}.get(value) if isinstance(value, bool) else None
    assert attributes.get("gen_ai.evaluation.score.label") == (clean(label) if label is not None else default)
    score = attributes.get("gen_ai.evaluation.score.value")
    structured = isinstance(value, (list, tuple, dict))
    assert score == (None if value is None or structured or isinstance(value, str) else float(value))
    assert ("llm_feedback.value" in attributes) == structured
    if "comment" not in marks:
        comment = given.get("comment") or ""
        assert attributes.get("gen_ai.evaluation.explanation") == (comment if comment.strip() else None)
    for key, meant in (given.get("metadata") or {}).items():
        found = attributes.get(f"llm_feedback.metadata.{key}")
        if isinstance(meant, (list, tuple, dict)) and f"metadata.{key}" not in marks:
            assert json.dumps(json.loads(found)) == json.dumps(meant)
        elif not isinstance(meant, (list, tuple, dict)):
            assert found == (clean(meant) if isinstance(meant, str) else meant)
            assert type(found) is type(meant)


def clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def meant_time(at: Any) -> int:
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return at if isinstance(at, int) else (at - epoch) // timedelta(microseconds=1) * 1000
