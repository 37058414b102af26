"""What people write: as the content switch says, in every place where it can be."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_feedback import ConfigurationError, Content, InvalidField, Redactor, Scale, Settings, configure
from otel_llm_feedback.feedback.fields import clean_metadata
from otel_llm_feedback.feedback.recorder import default_recorder, set_default_recorder
from otel_llm_feedback.feedback.wording import MARGIN, Wording
from tests.feedback.world import LEAST, PASS, SAMPLED, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm_feedback.redaction import ContentMode

EMAIL = "jane@example.com"
CARD = "4111111111111111"
PHONE = "+49 30 12345678"
WRITTEN = f"I am {EMAIL}"
CLEANED = "I am [EMAIL]"

PLACES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "comment": ({"comment": WRITTEN}, {"gen_ai.evaluation.explanation": WRITTEN}),
    "correction": ({"correction": WRITTEN}, {"llm_feedback.correction": WRITTEN}),
    "correction object": ({"correction": {"k": [WRITTEN]}}, {"llm_feedback.correction": f'{{"k":["{WRITTEN}"]}}'}),
    "snapshot_input": ({"snapshot_input": WRITTEN}, {"llm_feedback.snapshot.input": WRITTEN}),
    "snapshot_output": ({"snapshot_output": WRITTEN}, {"llm_feedback.snapshot.output": WRITTEN}),
    "metadata": ({"metadata": {"k": WRITTEN}}, {"llm_feedback.metadata.k": WRITTEN}),
    "nested metadata": (
        {"metadata": {"k": {WRITTEN: [{"deep": WRITTEN}]}}},
        {"llm_feedback.metadata.k": f'{{"{WRITTEN}":[{{"deep":"{WRITTEN}"}}]}}'},
    ),
    "source_metadata": ({"source_metadata": {"k": WRITTEN}}, {"llm_feedback.source.metadata": f'{{"k":"{WRITTEN}"}}'}),
}
"""Everything beside a thumb that holds people's words, and what arrives of it when all is sent."""

CORE = {**LEAST, **PASS, "llm_feedback.target.type": "span", "llm_feedback.trace.sampled": True}


def world_with(content: Content | ContentMode, **limits: int) -> World:
    return World(Settings(content=content, **limits))  # type: ignore[arg-type] # a mode alone is taken too


def sent(content: Content | ContentMode, **given: Any) -> tuple[dict[str, Any], World]:
    world = world_with(content)
    assert world.record(SAMPLED, True, **given).status == "emitted"
    found = world.log()["attributes"]
    assert found.items() >= CORE.items()
    return {name: value for name, value in found.items() if name not in CORE}, world


@pytest.mark.parametrize("place", PLACES)
class TestEveryPlace:
    def test_on(self, place: str) -> None:
        given, meant = PLACES[place]
        found, world = sent("on", **given)
        assert found == meant
        assert world.counters.snapshot() == {("emitted", ""): 1}

    def test_redacted(self, place: str) -> None:
        given, meant = PLACES[place]
        found, world = sent("redacted", **given)
        assert found == {name: text.replace(WRITTEN, CLEANED) for name, text in meant.items()}
        emails = str(meant).count(EMAIL)
        assert world.counters.snapshot() == {("emitted", ""): 1, ("redacted", "email"): emails}

    def test_redacted_is_the_default(self, place: str) -> None:
        given, _ = PLACES[place]
        assert sent(Settings().content, **given)[0] == sent("redacted", **given)[0]

    def test_off(self, place: str) -> None:
        found, world = sent("off", **PLACES[place][0])
        assert found == {}
        assert world.counters.snapshot() == {("emitted", ""): 1, ("withheld", "content_off"): 1}

    def test_a_hook_that_raises_keeps_all_of_it_back(self, place: str) -> None:
        found, _ = sent(Content("redacted", Redactor([_raising])), **PLACES[place][0])
        text = str(found)
        assert "I am" not in text
        assert EMAIL not in text
        assert "[REDACTED]" in text

    def test_a_hook_that_returns_no_text_does_too(self, place: str) -> None:
        printing: Any = print
        found, world = sent(Content("redacted", Redactor([printing])), **PLACES[place][0])
        assert "I am" not in str(found)
        assert world.counters.total("redacted", "withheld") > 0

    def test_a_wrong_type_is_an_error_also_when_it_would_not_be_sent(self, place: str) -> None:
        [field] = PLACES[place][0]
        for content in ("on", "redacted", "off"):
            with pytest.raises(InvalidField):
                world_with(content).record(SAMPLED, True, **{field: {"k": object()}})


def _raising(text: str) -> str:
    raise KeyError(text)


@pytest.mark.parametrize(("content", "left"), [("on", WRITTEN), ("redacted", CLEANED), ("off", None)])
def test_a_freeform_value(content: ContentMode, left: str | None) -> None:
    world = world_with(content)
    world.record(SAMPLED, WRITTEN, scale=Scale.freeform("why"))
    found = world.log()["attributes"]
    assert found.get("gen_ai.evaluation.explanation") == left
    assert found["llm_feedback.scale.name"] == "why"


@pytest.mark.parametrize(
    ("content", "left"), [("on", [WRITTEN, 1]), ("redacted", [CLEANED, 1]), ("off", None)], ids=str
)
def test_a_structured_value(content: ContentMode, left: object) -> None:
    world = world_with(content)
    world.record(SAMPLED, [WRITTEN, 1])
    found = world.log()["attributes"].get("llm_feedback.value")
    assert (None if found is None else json.loads(found)) == left


@pytest.mark.parametrize("content", ["on", "redacted", "off"])
def test_numbers_ids_and_labels_are_no_content(content: ContentMode) -> None:
    given = {"metadata": {"n": 1, "f": 0.5, "b": True}, "categories": "wrong", "session_id": "s", "source_id": "judge"}
    assert sent(content, **given)[0] == {
        "llm_feedback.metadata.n": 1,
        "llm_feedback.metadata.f": 0.5,
        "llm_feedback.metadata.b": True,
        "llm_feedback.categories": ["wrong"],
        "session.id": "s",
        "llm_feedback.source.id": "judge",
    }


class TestJSON:
    def cleaned(self, value: Any, limit: int = 8192) -> str:
        cleaned = Wording(Content()).json("value", value, limit)
        assert cleaned is not None
        return cleaned

    @pytest.mark.parametrize(
        ("value", "left"),
        [
            ({"card": int(CARD)}, {"card": "[CARD]"}),
            ([int(CARD), 7], ["[CARD]", 7]),
            ({"k": f"\n{EMAIL}"}, {"k": "\n[EMAIL]"}),
            ({"k": f"call\n{PHONE}\nor\t{EMAIL}"}, {"k": "call\n[PHONE]\nor\t[EMAIL]"}),
            ({"k": f'"{EMAIL}"'}, {"k": '"[EMAIL]"'}),
            ({"k": f"\\{EMAIL}\\"}, {"k": "\\[EMAIL]\\"}),
            ({EMAIL: {EMAIL: 1}}, {"[EMAIL]": {"[EMAIL]": 1}}),
            ({"password": "hunter2hunter2"}, {"password": "[SECRET]"}),
            ({"api_key": "a8f5f167f44f4964e6c998dee827110c"}, {"api_key": "[SECRET]"}),
            ({"phone": "4930123456"}, {"phone": "[PHONE]"}),
            ({f"{EMAIL} token": "a8f5f167f44f4964e6c998dee827110c"}, None),
            ({"a": [None, True, -1.5e300, 10**30, ""]}, {"a": [None, True, -1.5e300, 10**30, ""]}),
        ],
        ids=str,
    )
    def test_it_stays_valid(self, value: Any, left: Any) -> None:
        cleaned = self.cleaned(value)
        found = json.loads(cleaned)
        assert EMAIL not in cleaned
        assert left is None or found == left

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        )
    )
    def test_so_it_does_whatever_is_in_it(self, value: Any) -> None:
        wording = Wording(Content())
        cleaned = wording.json("value", value, 10**6)
        assert cleaned is not None
        found = json.loads(cleaned)
        if not wording.redactions and not wording.marks:
            assert json.dumps(found) == json.dumps(value)

    @pytest.mark.parametrize("shift", range(12))
    def test_a_cut_within_a_text_hides_nothing(self, shift: int) -> None:
        limit = 40
        text = "\x01" * 20 + "." * shift + f" {EMAIL} " + "\x01" * 200
        cleaned = self.cleaned({"k": text, "more": "x" * 2000}, limit)
        assert "jane" not in cleaned
        assert len(cleaned) <= limit

    @pytest.mark.parametrize("tail", ["\\", '"', "\\\\", '\\"', "\x01", "\x01\x02", "\\u00", "\\\\u0"])
    @pytest.mark.parametrize("shift", range(7))
    def test_a_cut_within_an_escape(self, tail: str, shift: int) -> None:
        limit = 3000
        text = f"{EMAIL} " + "." * (limit + MARGIN - 40 + shift) + tail * 20
        wording = Wording(Content())
        cleaned = wording.json("value", {"k": text}, limit)
        assert cleaned is not None
        assert cleaned.startswith('{"k":"[EMAIL] ...')
        assert wording.marks == [f"value:{len(json.dumps({'k': text}, separators=(',', ':')))}"]


class TestCutting:
    def test_redacted_before_it_is_cut(self) -> None:
        """Half an address is none that could be recognised."""
        for before in range(60):
            wording = Wording(Content())
            text = wording.text("comment", "x " * 20 + "." * before + f" {EMAIL} " + "y " * 2000, 70)
            assert text is not None
            assert not set("jane@example".split("@")) & set(text.replace("@", " ").split())
            assert "jane" not in text

    @pytest.mark.parametrize("distance", range(1, 40, 3))
    def test_also_where_the_look_ahead_ends(self, distance: int) -> None:
        limit = 300
        filler = "x " * ((limit + MARGIN - distance) // 2)
        wording = Wording(Content())
        text = wording.text("comment", f"{filler}{PHONE} {EMAIL} " + "y " * 2000, limit)
        assert text is not None
        assert not {"+49", "jane", "12345678"} & set(text.split())

    def test_long_keys_that_reach_beyond_the_look_ahead(self) -> None:
        token = "eyJ" + "hbGciOiJIUzI1NiJ9" * 3 + "." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0" * 40
        pem = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkq\n" * 100
        for secret in (token, pem):
            text = Wording(Content()).text("comment", "x " * 100 + secret, 300)
            assert text is not None
            assert secret[30:60] not in text

    @pytest.mark.parametrize(
        ("text", "left", "marks"),
        [
            ("x" * 10, "x" * 10, []),
            ("x" * 11, "x" * 10, ["comment:11"]),
            ("x" * 10_000, "x" * 10, ["comment:10000"]),
            (f"a {EMAIL}", "a [EMAIL]", []),
            (f"abcd {EMAIL}", "abcd [EMAI", ["comment:21"]),
            ("a\ud800", "a?", ["comment:2"]),
            (f"{EMAIL} " * 2000, "", ["comment:34000"]),
        ],
        ids=lambda each: ascii(each)[:20],
    )
    def test_marks(self, text: str, left: str, marks: list[str]) -> None:
        wording = Wording(Content())
        cleaned = wording.text("comment", text, 10)
        assert cleaned is not None
        assert cleaned.startswith(left)
        assert len(cleaned) <= 10
        assert wording.marks == marks

    def test_nothing_is_marked_as_cut_that_is_not_sent(self) -> None:
        wording = Wording(Content("off"))
        assert wording.text("comment", "x" * 100, 10) is None
        assert wording.json("value", ["x" * 100], 10) is None
        assert (wording.marks, wording.withheld) == ([], 2)

    def test_marks_and_counts_of_one_vote(self) -> None:
        world = world_with("redacted", max_comment_length=50, max_metadata_length=20)
        world.record(
            SAMPLED,
            True,
            comment=f"{EMAIL}, {CARD}, {PHONE}, " + "x" * 1000,
            correction="y" * 60,
            metadata={"a": f"{EMAIL} {EMAIL}", "b": ["z" * 30]},
        )
        found = world.log()["attributes"]
        assert found["gen_ai.evaluation.explanation"].startswith("[EMAIL], [CARD]")
        assert found["llm_feedback.truncated"] == ["metadata.b:34", "correction:60", "comment:1053"]
        assert world.counters.snapshot() == {
            ("emitted", ""): 1,
            ("redacted", "email"): 3,
            ("redacted", "card"): 1,
            ("redacted", "phone"): 1,
            ("truncated", "metadata"): 1,
            ("truncated", "correction"): 1,
            ("truncated", "comment"): 1,
        }

    @given(st.text(st.characters()), st.integers(0, 20), st.sampled_from(["on", "redacted"]))
    def test_never_too_long_and_always_encodable(self, text: str, limit: int, mode: ContentMode) -> None:
        wording = Wording(Content(mode))
        cleaned = wording.text("comment", text, limit)
        assert cleaned is not None
        cleaned.encode()
        assert len(cleaned) <= limit
        if not wording.marks and not wording.redactions:
            assert cleaned == text


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "1" * 1_000_000, f"{EMAIL} " * 60_000, "\\" * 1_000_000, '"' * 1_000_000, "a.b@" * 250_000],
    ids=lambda text: text[:5],
)
def test_a_megabyte_is_quick(text: str) -> None:
    """Only as much of it is looked at as can be sent."""
    for fields in ({"comment": text}, {"correction": {"k": [text]}}, {"metadata": {"k": {text: text}}}):
        world = world_with("redacted")
        started = time.perf_counter()
        world.record(SAMPLED, True, **fields)
        assert time.perf_counter() - started < 2
        assert len(world.log()["attributes"]["llm_feedback.truncated"]) == 1


def test_hooks_see_each_text_first() -> None:
    seen: list[str] = []

    def hook(text: str) -> str:
        seen.append(text)
        return text.replace("Jane", "[NAME]")

    found, world = sent(
        Content("redacted", Redactor([hook])), comment="Jane", correction={"who": "Jane", "n": 1}, metadata={"k": "joe"}
    )
    assert found["gen_ai.evaluation.explanation"] == "[NAME]"
    assert json.loads(found["llm_feedback.correction"]) == {"who": "[NAME]", "n": 1}
    assert {"Jane", "who: Jane", "joe"} <= set(seen)
    assert world.counters.total("redacted", "hook") == 2


@given(st.text("abcDEF ,.!?'\"();\n_-:@=/+0123456789", max_size=60))
def test_the_short_way_round_finds_as_much_as_the_long_one(text: str) -> None:
    long_way = Redactor([lambda text: text])  # with a hook, nothing is skipped
    assert Redactor().redact(text) == long_way.redact(text)


def test_metadata_without_wording_is_only_cut() -> None:
    marks: list[str] = []
    assert clean_metadata({"k": [EMAIL]}, 5, 10, marks) == {"k": '["jane@exa'}
    assert marks == ["metadata.k:20"]


class TestSetting:
    def test_the_environment(self) -> None:
        for text, mode in [
            ("on", "on"),
            (" Redacted ", "redacted"),
            ("OFF", "off"),
            ("", "redacted"),
            (" ", "redacted"),
        ]:
            assert Settings.from_environ({"OTEL_LLM_FEEDBACK_CONTENT": text}).content.mode == mode
        assert Settings.from_environ({}).content.mode == "redacted"

    def test_an_argument_beats_it(self) -> None:
        environ = {"OTEL_LLM_FEEDBACK_CONTENT": "on"}
        mine = Content("redacted", Redactor([str.upper]))
        assert Settings.from_environ(environ, content="off").content.mode == "off"
        assert Settings.from_environ(environ, content=mine).content is mine

    @pytest.mark.parametrize("bad", ["none", "true", "raw"])
    def test_what_is_no_mode(self, bad: Any) -> None:
        for make in (
            lambda: Settings(content=bad),
            lambda: Settings.from_environ({}, content=bad),
            lambda: Content(bad),
            lambda: configure(content=bad),
        ):
            with pytest.raises(ConfigurationError, match="on, redacted, off") as caught:
                make()
            assert caught.value.field == "content"
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_environ({"OTEL_LLM_FEEDBACK_CONTENT": bad})
        assert caught.value.field == "OTEL_LLM_FEEDBACK_CONTENT"


@pytest.fixture
def _no_recorder() -> Iterator[None]:
    set_default_recorder(None)
    yield
    set_default_recorder(None)


@pytest.mark.usefixtures("_no_recorder")
@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_LLM_FEEDBACK_CONTENT", "none"), ("OTEL_LLM_FEEDBACK_RAW_USER_IDS", "maybe")]
)
def test_a_setting_that_cannot_be_read_never_sends_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, value: str
) -> None:
    monkeypatch.setenv("OTEL_LLM_FEEDBACK_CONTENT", "off")
    monkeypatch.setenv(variable, value)
    assert default_recorder().settings == Settings(content=Content("off"))
    [said] = caplog.messages
    assert variable in said
    assert "no content" in said
