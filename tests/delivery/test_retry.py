from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_llm_feedback.delivery.answer import (
    Answer,
    Failure,
    accepted,
    error_text,
    hide,
    read_retry_after,
    read_retry_info,
)
from otel_llm_feedback.delivery.retry import (
    PATIENCE,
    RETRY_AFTER_LIMIT_SECONDS,
    Action,
    Backoff,
    Decision,
    decide,
)

NOW = 1_800_000_000.0

# What each HTTP status must lead to at the first attempt; ranges are inclusive, later lines win.
HTTP = [
    (100, 199, Action.HOLD),
    (200, 299, Action.DELIVERED),
    (300, 399, Action.HOLD),
    (400, 499, Action.HOLD),
    (500, 599, Action.RETRY),
    (400, 400, Action.BISECT),
    (408, 408, Action.RETRY),
    (413, 413, Action.SPLIT),
    (422, 423, Action.BISECT),
    (423, 423, Action.RETRY),
    (425, 425, Action.RETRY),
    (429, 429, Action.RETRY),
    (501, 501, Action.HOLD),
    (505, 505, Action.HOLD),
    (508, 508, Action.HOLD),
    (510, 511, Action.HOLD),
]
GRPC = {
    "OK": Action.DELIVERED,
    "CANCELLED": Action.RETRY,
    "UNKNOWN": Action.RETRY,
    "INVALID_ARGUMENT": Action.BISECT,
    "DEADLINE_EXCEEDED": Action.RETRY,
    "NOT_FOUND": Action.HOLD,
    "ALREADY_EXISTS": Action.HOLD,
    "PERMISSION_DENIED": Action.HOLD,
    "UNAUTHENTICATED": Action.HOLD,
    "RESOURCE_EXHAUSTED": Action.RETRY,
    "FAILED_PRECONDITION": Action.HOLD,
    "ABORTED": Action.RETRY,
    "OUT_OF_RANGE": Action.RETRY,
    "UNIMPLEMENTED": Action.HOLD,
    "INTERNAL": Action.RETRY,
    "UNAVAILABLE": Action.RETRY,
    "DATA_LOSS": Action.RETRY,
}
GIVES_UP = {Action.BISECT, Action.SPLIT}


def test_every_http_status_has_its_action() -> None:
    expected = {status: action for first, last, action in HTTP for status in range(first, last + 1)}
    assert {status: decide(Answer(status)).action for status in range(100, 600)} == expected


def test_every_grpc_code_has_its_action() -> None:
    assert {code.name: decide(Answer(code.name)).action for code in grpc.StatusCode} == GRPC


def test_only_an_answer_about_the_data_can_give_data_up() -> None:
    http = {s for s in range(1000) if decide(Answer(s), attempts=1000).action in GIVES_UP}
    assert http == {400, 413, 422}
    assert {c for c in GRPC if decide(Answer(c), attempts=1000).action in GIVES_UP} == {"INVALID_ARGUMENT"}
    assert not any(decide(Answer(f), attempts=1000).action in GIVES_UP for f in Failure)


@pytest.mark.parametrize("code", [500, "UNKNOWN", "INTERNAL", "A_CODE_OF_TOMORROW"])
def test_a_server_error_that_stays_takes_the_batch_apart(code: int | str) -> None:
    actions = [decide(Answer(code), attempts).action for attempts in range(PATIENCE + 2)]
    assert actions == [Action.RETRY] * PATIENCE + [Action.ISOLATE] * 2


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_status_that_is_none_keeps_the_data(status: int) -> None:
    assert decide(Answer(status)).action is Action.HOLD


@pytest.mark.parametrize("failure", list(Failure))
def test_without_an_answer_the_data_is_kept(failure: Failure) -> None:
    expected = Action.HOLD if failure is Failure.TLS else Action.RETRY
    assert decide(Answer(failure)) == Decision(expected, failure.value)


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (5000000 vs. 4194304)", Action.SPLIT),
        ("RESOURCE_EXHAUSTED", "grpc: received message after decompression larger than max", Action.SPLIT),
        ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (5000000 vs. 4194304)", Action.SPLIT),
        ("RESOURCE_EXHAUSTED", "gRPC message exceeds maximum size 4194304: 5000000", Action.SPLIT),
        ("RESOURCE_EXHAUSTED", "Received message exceeds the maximum configured message size.", Action.SPLIT),
        ("OUT_OF_RANGE", "Error, decoded message length too large: found 5000000 bytes", Action.SPLIT),
        ("RESOURCE_EXHAUSTED", "quota", Action.RETRY),
        ("INTERNAL", "grpc: error unmarshalling request: proto: wrong wireType = 7", Action.BISECT),
        ("INTERNAL", "Exception deserializing request!", Action.BISECT),
        ("UNAVAILABLE", "message larger than max", Action.RETRY),
        (400, "http: request body too large", Action.SPLIT),
        (503, "request body too large", Action.RETRY),
    ],
)
def test_words_tell_size_and_bad_data_from_trouble(code: int | str, message: str, expected: Action) -> None:
    assert decide(Answer(code, message=message)).action is expected


def test_a_server_that_says_when_to_come_back_does_not_mean_the_size() -> None:
    answer = Answer("RESOURCE_EXHAUSTED", retry_after_seconds=3.0, message="queue larger than max")
    assert decide(answer) == Decision(Action.RETRY, "grpc_resource_exhausted", retry_after_seconds=3.0)


def test_a_partial_success_carries_its_number() -> None:
    assert decide(Answer(200, rejected=3)) == Decision(Action.PARTIALLY_REJECTED, "http_200", rejected=3)
    assert decide(Answer("OK")) == Decision(Action.DELIVERED, "grpc_ok")


# --- waiting -----------------------------------------------------------------------------------------------------


@given(
    attempt=st.integers(-5, 10**6),
    luck=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(),
    initial=st.floats(0.001, 10),
    maximum=st.floats(0.001, 1000),
)
def test_a_wait_is_never_negative_and_never_too_long(
    attempt: int, luck: float, retry_after: float | None, initial: float, maximum: float
) -> None:
    backoff = Backoff(initial, maximum)
    for wait in (backoff.delay(attempt, lambda: luck, retry_after), backoff.hold(lambda: luck, retry_after)):
        assert 0 <= wait <= maximum + RETRY_AFTER_LIMIT_SECONDS
        if retry_after is not None and 0 <= retry_after <= RETRY_AFTER_LIMIT_SECONDS:
            assert wait >= retry_after


def test_the_ceiling_doubles_up_to_the_maximum() -> None:
    ceilings = [Backoff(1, 60).delay(attempt, lambda: 1.0) for attempt in range(9)]
    assert ceilings == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_jitter_is_full() -> None:
    chance = random.Random(7)
    waits = [Backoff().delay(5, chance.random) for _ in range(2000)]
    assert min(waits) < 0.2
    assert max(waits) > 31.8
    assert 15 < sum(waits) / len(waits) < 17


def test_a_held_batch_waits_at_least_half_of_the_maximum() -> None:
    assert [Backoff().hold(lambda: 0.0), Backoff().hold(lambda: 1.0)] == [30, 60]


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Friday, 15-Jan-27 08:00:30 GMT", 30.0),
        ("Fri Jan 15 08:00:30 2027", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("٣", None),
        ("9" * 100, None),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
    ],
)
def test_retry_after_is_read(value: str | None, expected: float | None) -> None:
    assert read_retry_after(value, NOW) == expected


@given(
    st.text(max_size=80)
    | st.from_regex(r"[A-Za-z]{0,3},? ?\d{0,3}[ -][A-Za-z]{0,3}[ -]\d{0,6} [\d:]{0,9} ?[A-Z+\d-]{0,6}")
)
def test_any_retry_after_is_a_wait_or_nothing(value: str) -> None:
    seconds = read_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@given(st.integers(0, 10**6))
def test_a_date_is_as_far_away_as_it_says(seconds: int) -> None:
    date = datetime.fromtimestamp(NOW, timezone.utc) + timedelta(seconds=seconds)
    assert read_retry_after(format_datetime(date, usegmt=True), NOW) == seconds


def details(*messages: object) -> bytes:
    status = Status()
    for message in messages:
        detail = AnyMessage()
        detail.Pack(message)  # type: ignore[arg-type]
        status.details.append(detail)
    return bytes(status.SerializeToString())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", None),
        (details(BadRequest()), None),
        (details(RetryInfo()), None),
        (details(BadRequest(), RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))), 2.5),
        (details(RetryInfo(retry_delay=Duration(seconds=-2))), 0.0),
        (b"\xff\xff", None),
        (Status(details=[AnyMessage(type_url="x/google.rpc.RetryInfo", value=b"\xff")]).SerializeToString(), None),
    ],
)
def test_retry_info_is_read(data: bytes, expected: float | None) -> None:
    assert read_retry_info(data) == expected


@given(st.binary(max_size=300))
def test_bytes_from_anywhere_never_raise(data: bytes) -> None:
    assert (read_retry_info(data) or 0) >= 0
    assert accepted(200, "logs", data).rejected >= 0
    assert accepted("OK", "traces", data).rejected >= 0
    assert len(Answer(500, message=error_text(data, "application/x-protobuf")).message) <= 200
    assert len(Answer(500, message=error_text(data, "text/plain")).message) <= 200


def test_a_partial_success_is_read() -> None:
    logs = ExportLogsServiceResponse()
    logs.partial_success.rejected_log_records = 4
    logs.partial_success.error_message = "too old"
    spans = ExportTraceServiceResponse()
    spans.partial_success.rejected_spans = -4
    spans.partial_success.error_message = "a hint"
    assert accepted(200, "logs", logs.SerializeToString()) == Answer(200, rejected=4, message="too old")
    assert accepted("OK", "traces", spans.SerializeToString()) == Answer("OK", rejected=0, message="a hint")


def test_an_acceptance_stays_one_when_its_body_is_garbage() -> None:
    answer = accepted(200, "logs", b"<html>welcome</html>")
    assert answer.garbled
    assert decide(answer).action is Action.DELIVERED


@given(st.text())
def test_a_message_is_one_short_printable_line(text: str) -> None:
    message = Answer(500, message=text).message
    assert len(message) <= 200
    assert message.isprintable()


def test_an_error_is_read_as_otlp_or_as_text() -> None:
    assert error_text(Status(message="no").SerializeToString(), "Application/X-Protobuf; q=1") == "no"
    assert error_text(b"\xff", "application/x-protobuf") == ""
    assert error_text(b"plain \xff", "text/plain") == "plain �"


def test_secrets_are_hidden() -> None:
    assert hide("you sent Bearer abcdef", ("Bearer abcdef", "abcdef")) == "you sent ***"


def test_reasons_are_labels() -> None:
    assert [Answer(c).reason for c in (503, "UNAVAILABLE", Failure.TLS)] == ["http_503", "grpc_unavailable", "tls"]
