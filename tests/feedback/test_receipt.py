from __future__ import annotations

import dataclasses

import pytest

from otel_llm_feedback import FeedbackError, FeedbackLost, Receipt


def test_it_prints_as_its_id() -> None:
    assert str(Receipt("id-1", "emitted")) == "id-1"
    assert f"{Receipt('id-1', 'spooled')}" == "id-1"


def test_it_is_a_frozen_value() -> None:
    receipt = Receipt("id-1", "dropped", "no_logger_provider")

    assert receipt == Receipt("id-1", "dropped", "no_logger_provider")
    assert len({receipt, Receipt("id-1", "dropped", "no_logger_provider"), Receipt("id-1", "emitted")}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        receipt.status = "emitted"  # type: ignore[misc]  # that it fails is the test


def test_a_loss_is_raised_for() -> None:
    with pytest.raises(FeedbackLost, match=r"id-1.*no_logger_provider") as caught:
        Receipt("id-1", "dropped", "no_logger_provider").raise_for_loss()
    assert isinstance(caught.value, FeedbackError)
    assert isinstance(caught.value, RuntimeError)


@pytest.mark.parametrize("receipt", [Receipt("i", "emitted"), Receipt("i", "spooled"), Receipt("i", "emitted", "half")])
def test_everything_else_is_not(receipt: Receipt) -> None:
    receipt.raise_for_loss()
