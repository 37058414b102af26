from __future__ import annotations

from threading import Thread

import pytest

from otel_llm_feedback import Settings, Target, record_feedback, retract_feedback, update_feedback
from otel_llm_feedback.feedback.recorder import default_recorder
from otel_llm_feedback.testing import capture_feedback

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_what_was_recorded_can_be_asserted_on() -> None:
    with capture_feedback() as captured:
        receipt = record_feedback(f"{TRACE}-{SPAN}", True, comment="write to jane@example.com")
        record_feedback(Target.session("s-1"), 3, name="stars")
    vote = captured.one(name="user_feedback")
    assert (vote.id, vote.trace_id, vote.span_id) == (receipt.id, TRACE, SPAN)
    assert (vote.score, vote.label, vote.operation) == (1.0, "pass", "create")
    assert vote.comment == "write to [EMAIL]"
    assert vote.event_name == "gen_ai.evaluation.result"
    assert vote.timestamp > 0
    other = captured.one(name="stars", score=3.0)
    assert (other.trace_id, other.span_id) == ("", "")


def test_a_whole_life() -> None:
    with capture_feedback() as captured:
        receipt = record_feedback(TRACE, False)
        update_feedback(receipt, True)
        retract_feedback(receipt)
    assert [(each.id, each.operation) for each in captured.all] == [
        (receipt.id, "create"),
        (receipt.id, "update"),
        (receipt.id, "retract"),
    ]


def test_one_says_what_there_was_instead() -> None:
    with capture_feedback() as captured:
        record_feedback(TRACE, 0.25)
        with pytest.raises(AssertionError, match=r"0 of these match .*0\.25"):
            captured.one(score=1.0)
        record_feedback(TRACE, 0.25)
        with pytest.raises(AssertionError, match="2 of these match"):
            captured.one(score=0.25)
        assert len(captured.where(score=0.25)) == 2


def test_other_threads_are_captured_and_settings_can_be_given() -> None:
    with capture_feedback(Settings(pseudonym_key=b"key")) as captured:
        thread = Thread(target=record_feedback, args=(TRACE, True), kwargs={"user_id": "jane"})
        thread.start()
        thread.join()
    assert len(captured.one().attributes["enduser.pseudo.id"]) == 64


def test_everything_is_as_before_afterwards() -> None:
    before = default_recorder()
    with capture_feedback() as captured:
        assert default_recorder() is not before
    assert default_recorder() is before
    assert captured.all == []
    assert captured.force_flush()
    captured.shutdown()
