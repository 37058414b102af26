"""A vote changed, withdrawn and forgotten: the records, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otel_llm_feedback import (
    ConfigurationError,
    FeedbackError,
    InvalidField,
    InvalidTarget,
    InvalidValue,
    Receipt,
    Settings,
    Target,
    boundary,
    erase_feedback,
    retract_feedback,
    update_feedback,
)
from otel_llm_feedback.feedback.recorder import set_default_recorder
from otel_llm_feedback.feedback.scales import STARS
from otel_llm_feedback.identity import pseudonym
from tests.feedback.test_record import EMPTY
from tests.feedback.world import DIMENSIONS, NOW, SAMPLED, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = b"not a secret"
NO_IDS = {"trace_id": "", "span_id": "", "flags": 0}


def revised(operation: str, **more: object) -> dict[str, Any]:
    return {
        **EMPTY,
        **NO_IDS,
        "attributes": {
            "gen_ai.evaluation.name": "user_feedback",
            "llm_feedback.id": "f-1",
            "llm_feedback.revision": NOW // 1000,
            "llm_feedback.operation": operation,
            **more,
        },
    }


def update(world: World, *args: Any, **fields: Any) -> Receipt:
    return update_feedback(*args, recorder=world.recorder, **fields)


def retract(world: World, *args: Any, **fields: Any) -> Receipt:
    return retract_feedback(*args, recorder=world.recorder, **fields)


class TestUpdate:
    def test_only_what_is_given(self, world: World) -> None:
        assert update(world, "f-1", comment="second thoughts") == Receipt("f-1", "emitted")
        assert world.log() == revised("update", **{"gen_ai.evaluation.explanation": "second thoughts"})
        assert world.counters.snapshot() == {("emitted", ""): 1}

    def test_it_belongs_to_no_span_least_of_all_the_current_one(self, world: World) -> None:
        with world.tracer.start_as_current_span("POST /feedback"):
            update(world, "f-1", False)
        assert world.log() == revised(
            "update", **{"gen_ai.evaluation.score.value": 0.0, "gen_ai.evaluation.score.label": "fail"}
        )

    def test_a_receipt_is_as_good_as_its_id(self, world: World) -> None:
        update(world, Receipt("f-1", "dropped", "whatever"), label="l")
        assert world.log() == revised("update", **{"gen_ai.evaluation.score.label": "l"})

    def test_with_its_target_it_has_ids_and_dimensions_again(self, world: World) -> None:
        span = world.chat()
        span.end()
        update(world, "f-1", 4, target=span, scale=STARS)
        log = world.log()
        assert log["span_id"] == f"{span.get_span_context().span_id:016x}"
        assert log["attributes"].items() >= DIMENSIONS.items()
        assert log["attributes"]["llm_feedback.target.type"] == "span"
        assert log["attributes"]["llm_feedback.score.normalized"] == 0.75
        assert "llm_feedback.kind" not in log["attributes"], "an update does not say again what it does not change"

    def test_clearing(self, world: World) -> None:
        update(world, "f-1", clear=["gen_ai.evaluation.explanation", "llm_feedback.metadata.k", "session.id"])
        cleared = ["gen_ai.evaluation.explanation", "llm_feedback.metadata.k", "session.id"]
        assert world.log() == revised("update", **{"llm_feedback.cleared": cleared})

    def test_all_at_once(self) -> None:
        world = World(Settings(KEY))
        update(
            world,
            "f-1",
            at=NOW - 10**15,
            revision=5,
            user_id="jane",
            metadata={"k": 1},
            categories="x",
            clear=("error.type",),
        )
        assert world.log()["time"] == NOW - 10**15
        assert world.log()["attributes"] == {
            "gen_ai.evaluation.name": "user_feedback",
            "llm_feedback.id": "f-1",
            "llm_feedback.revision": 5,
            "llm_feedback.operation": "update",
            "llm_feedback.metadata.k": 1,
            "llm_feedback.categories": ["x"],
            "llm_feedback.cleared": ["error.type"],
            "enduser.pseudo.id": pseudonym(KEY, "jane"),
        }

    @pytest.mark.parametrize(
        "fields", [{}, {"comment": ""}, {"comment": None}, {"user_id": "u", "revision": 1, "at": NOW}, {"clear": []}]
    )
    def test_nothing_to_change(self, world: World, fields: dict[str, Any]) -> None:
        with pytest.raises(InvalidField, match="what is to change") as caught:
            update(world, "f-1", **fields)
        assert caught.value.field == "value"
        assert world.logs() == []

    @pytest.mark.parametrize(
        "fields",
        [{"comment": "x"}, {"correction": ["x"]}, {"snapshot_input": "x"}, {"metadata": {"k": "x"}}, {"value": [1]}],
    )
    def test_withheld_content_is_not_the_callers_mistake(self, fields: dict[str, Any]) -> None:
        world = World(Settings(content="off"))  # type: ignore[arg-type] # a mode alone is taken too
        assert update(world, "f-1", **fields).status == "emitted"
        assert world.log() == revised("update")

    @pytest.mark.parametrize(
        ("clear", "fix"),
        [
            ("gen_ai.evaluation.explanation", "a list of up to 128"),
            (None, "a list of up to 128"),
            ({"a": 1}, "a list of up to 128"),
            (["llm_feedback.x"] * 129, "a list of up to 128"),
            (["comment"], "gen_ai.evaluation.explanation"),
            ([""], "gen_ai.evaluation.explanation"),
            ([5], "gen_ai.evaluation.explanation"),
            (["llm_feedback." + "x" * 300], "at most 180"),
        ],
        ids=lambda each: str(each)[:20],
    )
    def test_what_cannot_be_cleared(self, world: World, clear: Any, fix: str) -> None:
        with pytest.raises(InvalidField, match=fix) as caught:
            update(world, "f-1", True, clear=clear)
        assert caught.value.field == "clear"

    def test_a_target_that_contradicts_its_context(self, world: World) -> None:
        with pytest.raises(InvalidField, match="the target is another one"):
            update(world, "f-1", True, target=Target.session("a"), session_id="b")

    def test_modes_are_for_the_first_record(self, world: World) -> None:
        unknown: Any = {"mode": "both"}
        with pytest.raises(InvalidField, match="no such keyword"):
            update(world, "f-1", True, **unknown)

    def test_mistakes(self, world: World) -> None:
        with pytest.raises(InvalidValue, match="finite"):
            update(world, "f-1", float("nan"))
        with pytest.raises(InvalidTarget):
            update(world, "f-1", True, target="nowhere")
        with pytest.raises(InvalidField, match="0 to 1"):
            update(world, "f-1", weight=5)
        assert world.logs() == []
        assert world.counters.snapshot() == {}


class TestRetract:
    def test_a_tombstone_without_any_score(self, world: World) -> None:
        assert retract(world, "f-1") == Receipt("f-1", "emitted")
        assert world.log() == revised("retract")

    def test_all_that_it_can_say(self) -> None:
        world = World(Settings(KEY))
        retract(world, Receipt("f-1", "emitted"), target=SAMPLED, at=NOW - 10**15, user_id="jane", revision=9)
        log = world.log()
        assert (log["span_id"], log["time"]) == (EMPTY["span_id"], NOW - 10**15)
        assert log["attributes"] == {
            **revised("retract")["attributes"],
            "llm_feedback.revision": 9,
            "llm_feedback.target.type": "span",
            "llm_feedback.trace.sampled": True,
            "enduser.pseudo.id": pseudonym(KEY, "jane"),
        }

    @pytest.mark.parametrize(
        ("fields", "kind", "field"),
        [
            ({"target": "nowhere"}, InvalidTarget, "target"),
            ({"at": "now"}, InvalidField, "at"),
            ({"user_id": 5}, InvalidField, "user_id"),
            ({"revision": -1}, InvalidField, "revision"),
        ],
    )
    def test_mistakes(self, world: World, fields: dict[str, Any], kind: type[FeedbackError], field: str) -> None:
        with pytest.raises(kind) as caught:
            retract(world, "f-1", **fields)
        assert getattr(caught.value, "field", None) == field
        assert world.logs() == []


@pytest.mark.parametrize("change", [lambda *args: update(*args, True), retract], ids=["update", "retract"])
class TestIds:
    @pytest.mark.parametrize("bad", [None, 5, b"f-1", ["f-1"], object(), True])
    def test_only_texts_and_receipts(self, world: World, change: Callable[..., Receipt], bad: object) -> None:
        with pytest.raises(InvalidField, match="or the Receipt") as caught:
            change(world, bad)
        assert caught.value.field == "feedback_id"
        assert world.logs() == []

    @pytest.mark.parametrize("bad", ["", "  ", "x" * 513])
    def test_not_every_text(self, world: World, change: Callable[..., Receipt], bad: str) -> None:
        with pytest.raises(InvalidField) as caught:
            change(world, bad)
        assert caught.value.field == "feedback_id"

    def test_by_the_recorder_of_the_process(self, world: World, change: Callable[..., Receipt]) -> None:
        set_default_recorder(world.recorder)
        world.recorder = None  # type: ignore[assignment] # use the default one
        try:
            change(world, "f-1")
        finally:
            set_default_recorder(None)
        assert world.log()["attributes"]["llm_feedback.id"] == "f-1"


class TestErase:
    def test_by_pseudonym_and_nothing_else(self) -> None:
        world = World(Settings(KEY, raw_user_ids=True))
        with world.tracer.start_as_current_span("DELETE /account"):
            receipt = erase_feedback("jane", recorder=world.recorder)
        assert receipt == Receipt("id-1", "emitted")
        assert world.log() == {
            **EMPTY,
            **NO_IDS,
            "event_name": "llm_feedback.erasure",
            "attributes": {
                "enduser.pseudo.id": pseudonym(KEY, "jane"),
                "llm_feedback.id": "id-1",
                "llm_feedback.revision": NOW // 1000,
            },
        }

    def test_up_to_when(self) -> None:
        world = World(Settings(KEY))
        erase_feedback("jane", at=NOW - 10**15, recorder=world.recorder)
        assert (world.log()["time"], world.log()["observed"]) == (NOW - 10**15, NOW)

    def test_it_needs_the_key(self, world: World) -> None:
        with pytest.raises(ConfigurationError, match="pseudonym") as caught:
            erase_feedback("jane", recorder=world.recorder)
        assert caught.value.field == "pseudonym_key"
        assert "jane" not in str(caught.value)
        assert world.logs() == []

    @pytest.mark.parametrize("bad", [None, "", " ", 5, b"jane", "x" * 513])
    def test_nobody_is_not_somebody(self, bad: Any) -> None:
        world = World(Settings(KEY))
        with pytest.raises(InvalidField) as caught:
            erase_feedback(bad, recorder=world.recorder)
        assert caught.value.field == "user_id"
        assert world.logs() == []

    def test_a_time_that_is_none(self) -> None:
        with pytest.raises(InvalidField) as caught:
            erase_feedback("jane", at=5, recorder=World(Settings(KEY)).recorder)
        assert caught.value.field == "at"


class Hostile(str):
    """Text whose every method fails."""

    __slots__ = ()

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise OSError("hostile")

    __len__ = strip = isascii = encode = __iter__ = __getitem__ = __str__ = _fail


@pytest.fixture
def _lenient() -> Iterator[None]:
    boundary.strict(False)
    yield
    boundary.strict(True)


@pytest.mark.usefixtures("_lenient")
@pytest.mark.parametrize(
    "call",
    [
        lambda using: update_feedback(Hostile("f-1"), True, recorder=using),
        lambda using: update_feedback("f-1", Hostile("x"), recorder=using),
        lambda using: update_feedback("f-1", True, target=Hostile("x"), recorder=using),
        lambda using: retract_feedback("f-1", user_id=Hostile("x"), recorder=using),
        lambda using: retract_feedback(Hostile("f-1"), recorder=using),
        lambda using: erase_feedback(Hostile("x"), recorder=using),
    ],
)
def test_what_an_arguments_code_raises_stays_inside(call: Callable[..., Receipt]) -> None:
    world = World(Settings(KEY))
    receipt = call(world.recorder)
    assert (receipt.status, receipt.reason) == ("dropped", "internal_error")
    assert world.logs() == []
    assert world.counters.snapshot() == {("dropped", "internal_error"): 1}
