"""What becomes of an event that is put together: ways out, counts, receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otel_llm_feedback import Content, FeedbackLost, InvalidField, Receipt, Redactor, Settings, Target, boundary
from otel_llm_feedback.feedback.emit import LogEmitter
from otel_llm_feedback.feedback.event import compose, locate
from otel_llm_feedback.feedback.recorder import Prepared, attempt, send
from otel_llm_feedback.feedback.scales import STARS, Scale
from otel_llm_feedback.feedback.statement import state
from otel_llm_feedback.identity import pseudonym
from otel_llm_feedback.otel_logs import APILoggerProvider
from otel_llm_feedback.slip import current_slip
from tests.feedback.world import NOW, SAMPLED, TRACE, World

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = b"not a secret"

EVERYTHING: dict[str, Any] = {
    "name": "helpful",
    "scale": STARS,
    "label": "fine",
    "categories": ["a", "b"],
    "comment": "c",
    "correction": {"right": [1, None]},
    "weight": 0.5,
    "error_type": "timeout",
    "snapshot_input": "i",
    "snapshot_output": "o",
    "metadata": {"k": [1]},
    "signal": "edited",
    "edit_distance": 0.1,
    "user_id": "jane",
    "submitter_type": "customer",
    "organization_id": "acme",
    "source_type": "human",
    "source_id": "x",
    "source_run_id": "r",
    "source_metadata": {"k": 1},
    "consent": True,
    "session_id": "s",
    "environment": "e",
    "release": "1",
    "prompt_name": "p",
    "prompt_version": "1",
    "project_id": "p",
    "experiment_id": "e",
    "target_start_time": NOW,
    "group_id": "g",
    "group_choice": "l",
    "group_baseline": "r",
    "revision": 5,
    "feedback_id": "mine",
}


@pytest.mark.parametrize("mode", ["span_event", "both"])
def test_a_span_event_says_all_that_a_log_record_says(mode: str) -> None:
    world, plain = World(Settings(KEY)), World(Settings(KEY))
    with world.tracer.start_as_current_span("chat") as span:
        assert world.record(span, 4, mode=mode, **EVERYTHING) == Receipt("mine", "emitted")
    plain.record(span, 4, **EVERYTHING)
    expected = plain.log()["attributes"]
    [recorded] = world.spans()
    [(name, when, attributes)] = recorded["events"]
    assert (name, when) == ("gen_ai.evaluation.result", NOW)
    assert attributes == expected
    assert [log["attributes"] for log in world.logs()] == ([expected] if mode == "both" else [])
    assert world.counters.snapshot() == {("emitted", ""): 1}


@pytest.mark.parametrize("mode", ["span_event", "both"])
@pytest.mark.parametrize(
    "target",
    [TRACE, Target.session("s"), Target.project("p"), Target.experiment("e"), Target.entity("k", "v")],
    ids=str,
)
def test_what_is_no_span_takes_no_span_events(world: World, mode: str, target: Any) -> None:
    with pytest.raises(ValueError, match="mode='log'"):
        world.record(target, True, mode=mode)
    assert world.logs() == world.spans() == []


@pytest.mark.parametrize("mode", ["span_event", "both"])
def test_the_content_switch_holds_for_span_events_too(mode: str) -> None:
    world = World(Settings(content=Content("off")))
    with world.tracer.start_as_current_span("chat") as span:
        world.record(
            span, "hunter2", scale=Scale.freeform("f"), correction="hunter2", metadata={"k": "hunter2"}, mode=mode
        )
    assert "hunter2" not in str(world.spans()) + str(world.logs())
    assert world.counters.snapshot() == {("emitted", ""): 1, ("withheld", "content_off"): 3}


def prepared(world: World, **given: Any) -> Prepared:
    about = Target.of(SAMPLED)
    said = state(world.recorder.settings, True, given)
    place = locate(about, world.registry)
    return Prepared(compose(about, place, said, world.recorder.settings, now=NOW, random_id="id"), said, about)


def test_sending_counts_what_was_changed_on_the_way() -> None:
    hook = Redactor([lambda text: text.replace("Jane", "[NAME]")])
    world = World(Settings(content=Content("redacted", hook), max_comment_length=20, max_metadata_length=4))
    ready = prepared(world, comment="Jane, j@example.com " * 9, metadata={"a": "12345", "b": "12345"}, user_id="jane")
    assert send(ready, "log", world.recorder) == Receipt("id", "emitted")
    assert world.counters.snapshot() == {
        ("emitted", ""): 1,
        ("redacted", "email"): 9,
        ("redacted", "hook"): 1,
        ("truncated", "comment"): 1,
        ("truncated", "metadata"): 2,
        ("withheld", "no_pseudonym_key"): 1,
    }
    assert world.log()["attributes"]["llm_feedback.truncated"] == ["metadata.a:5", "metadata.b:5", "comment:180"]


def test_people_are_counted_as_withheld_only_without_any_way_to_name_them() -> None:
    for settings in (Settings(KEY), Settings(raw_user_ids=True)):
        world = World(settings)
        send(prepared(world, user_id="jane"), "log", world.recorder)
        assert world.counters.snapshot() == {("emitted", ""): 1}
    assert pseudonym(KEY, "jane") not in str(world.logs())


def test_a_receipt_of_a_loss_is_not_sent_again(world: World) -> None:
    lost = Receipt("x", "dropped", "internal_error")
    assert send(lost, "log", world.recorder) is lost
    assert world.logs() == []
    with pytest.raises(FeedbackLost, match="internal_error"):
        lost.raise_for_loss()


class TestAttempt:
    def test_what_it_makes(self, world: World) -> None:
        ready = prepared(world)
        assert attempt(lambda: ready, world.recorder) is ready

    def test_the_callers_mistakes_are_the_callers(self, world: World) -> None:
        def mistaken() -> Prepared:
            raise InvalidField("weight", 5, "pass less")

        with pytest.raises(InvalidField):
            attempt(mistaken, world.recorder)
        assert world.counters.snapshot() == {}

    def test_all_else_is_a_counted_loss(self, world: World) -> None:
        boundary.strict(False)
        assert attempt(lambda: 1 / 0, world.recorder) == Receipt("id-1", "dropped", "internal_error")  # type: ignore[arg-type, return-value] # it never returns
        assert world.counters.snapshot() == {("dropped", "internal_error"): 1}


class Stamping(APILoggerProvider):
    """A logger provider whose logger writes on the slip, as the spool's processor does."""

    def __init__(self, spooled: bool, failure: str) -> None:
        self._stamp = (spooled, failure)

    def get_logger(self, *_: Any, **__: Any) -> Any:
        return self

    def emit(self, **_: Any) -> None:
        slip = current_slip()
        assert slip is not None
        slip.spooled, slip.failure = self._stamp

    def enabled(self, *_: Any, **__: Any) -> bool:
        return True


@pytest.mark.parametrize(
    ("spooled", "failure", "mode", "receipt"),
    [
        (True, "", "log", Receipt("id", "spooled")),
        (False, "", "log", Receipt("id", "emitted")),
        (False, "spool_full", "log", Receipt("id", "dropped", "spool_full")),
        (True, "spool_full", "log", Receipt("id", "spooled")),
        (False, "spool_full", "both", Receipt("id", "emitted", "spool_full")),
        (True, "", "both", Receipt("id", "spooled")),
    ],
)
def test_what_the_spool_says_is_what_the_receipt_says(spooled: bool, failure: str, mode: str, receipt: Receipt) -> None:
    world = World()
    world.recorder.logs = LogEmitter(Stamping(spooled, failure))
    assert send(prepared(world), mode, world.recorder) == receipt
    assert current_slip() is None


@pytest.fixture(autouse=True)
def _strict_again() -> Iterator[None]:
    yield
    boundary.strict(True)
