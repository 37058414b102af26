"""Many at once: everything is checked before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otel_llm_feedback import FeedbackError, InvalidField, InvalidTarget, InvalidValue, Receipt, Target, boundary
from otel_llm_feedback.feedback.record import record_feedback_batch
from otel_llm_feedback.feedback.recorder import set_default_recorder
from tests.feedback.world import NOW, SAMPLED, SPAN, TRACE, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def batch(world: World, items: Any, **arguments: Any) -> list[Receipt]:
    return record_feedback_batch(items, recorder=world.recorder, **arguments)


def test_receipts_in_the_order_of_the_items(world: World) -> None:
    items = [{"target": SAMPLED, "value": number, "feedback_id": f"f-{number}"} for number in range(100)]
    assert batch(world, items) == [Receipt(f"f-{number}", "emitted") for number in range(100)]
    assert [log["attributes"]["gen_ai.evaluation.score.value"] for log in world.logs()] == list(range(100))
    assert world.counters.snapshot() == {("emitted", ""): 100}


def test_each_item_is_what_record_feedback_makes_of_it() -> None:
    item = {
        "target": Target.document(SAMPLED, 2),
        "value": False,
        "comment": "wrong page",
        "categories": ["wrong"],
        "at": NOW - 10**15,
        "metadata": {"k": 1},
    }
    one, many = World(), World()
    one.record(**item)
    batch(many, [item])
    assert many.logs() == one.logs()
    assert list(item) == ["target", "value", "comment", "categories", "at", "metadata"], (
        "the caller's item is untouched"
    )


def test_any_iterable_and_none_at_all(world: World) -> None:
    assert batch(world, iter([])) == []
    assert [each.id for each in batch(world, ({"target": SAMPLED, "label": each} for each in "ab"))] == ["id-1", "id-2"]


@pytest.mark.parametrize(
    ("bad", "kind", "field"),
    [
        ({"target": "nowhere", "value": 1}, InvalidTarget, "target"),
        ({"target": SAMPLED}, InvalidValue, "value"),
        ({"target": SAMPLED, "value": float("nan")}, InvalidValue, "value"),
        ({"target": SAMPLED, "value": 1, "weight": 2}, InvalidField, "weight"),
        ({"target": SAMPLED, "value": 1, "coment": "x"}, InvalidField, "coment"),
        ({"target": SAMPLED, "value": 1, "settings": "x"}, InvalidField, "settings"),
        ({"target": SAMPLED, "value": 1, "mode": "log"}, InvalidField, "mode"),
        ({"target": SAMPLED, "value": 1, "recorder": None}, InvalidField, "recorder"),
        ({"target": SAMPLED, "value": 1, 5: "x"}, InvalidField, "int"),
        ({"target": SAMPLED, "value": 1, "x" * 10**6: "x"}, InvalidField, "x" * 180),
        ({"value": 1}, InvalidField, "items"),
        ({}, InvalidField, "items"),
        (None, InvalidField, "items"),
        ("target", InvalidField, "items"),
        (SAMPLED, InvalidField, "items"),
        ([("target", SAMPLED)], InvalidField, "items"),
    ],
    ids=lambda each: ascii(each)[:40] if isinstance(each, dict) else None,
)
@pytest.mark.parametrize("number", [0, 2])
def test_one_mistake_and_nothing_is_sent(
    world: World, bad: object, kind: type[FeedbackError], field: str, number: int
) -> None:
    items: list[Any] = [{"target": SAMPLED, "value": True} for _ in range(4)]
    items[number] = bad
    with pytest.raises(kind) as caught:
        batch(world, items)

    assert caught.value.item == number
    assert getattr(caught.value, "field", None) == field
    assert len(str(caught.value)) < 900
    assert world.logs() == []
    assert world.counters.snapshot() == {}


@pytest.mark.parametrize("items", [None, 5, object()])
def test_what_holds_no_items(world: World, items: object) -> None:
    with pytest.raises(InvalidField, match="a list of mappings") as caught:
        batch(world, items)
    assert caught.value.item is None


def test_a_single_item_by_mistake(world: World) -> None:
    """A dict is iterable, too: over its keys."""
    with pytest.raises(InvalidField, match="pass mappings"):
        batch(world, {"target": SAMPLED, "value": True})


def test_modes(world: World) -> None:
    with world.tracer.start_as_current_span("chat") as span:
        for mode in ("log", "span_event", "both"):
            batch(world, [{"target": span, "value": True, "signal": "copied"}], mode=mode)
    with pytest.raises(InvalidTarget, match="mode='log'") as caught:
        batch(world, [{"target": SAMPLED, "value": 1}, {"target": TRACE, "value": 1}], mode="both")
    assert caught.value.item == 1
    with pytest.raises(InvalidField, match="'span_event' or 'both'"):
        batch(world, [{"target": SAMPLED, "value": 1}], mode="trace")

    [recorded] = world.spans()
    assert len(recorded["events"]) == len(world.logs()) == 2


class Broken(dict[str, Any]):
    """An item with code of its own, which fails."""

    def __iter__(self) -> Iterator[str]:
        raise OSError("hostile")

    keys = __iter__  # type: ignore[assignment] # that is the point


@pytest.fixture
def _lenient() -> Iterator[None]:
    boundary.strict(False)
    yield
    boundary.strict(True)


@pytest.mark.usefixtures("_lenient")
def test_an_item_whose_own_code_fails_is_lost_alone(world: World) -> None:
    good: Mapping[str, Any] = {"target": SAMPLED, "value": True}
    receipts = batch(world, [good, Broken(good), good])
    assert [each.status for each in receipts] == ["emitted", "dropped", "emitted"]
    assert receipts[1].reason == "internal_error"
    assert world.counters.snapshot() == {("emitted", ""): 2, ("dropped", "internal_error"): 1}


def test_the_recorder_of_the_process(world: World) -> None:
    set_default_recorder(world.recorder)
    try:
        record_feedback_batch([{"target": SAMPLED, "value": True}])
    finally:
        set_default_recorder(None)
    assert world.log()["span_id"] == SPAN
