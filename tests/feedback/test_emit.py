"""The two ways out, and what becomes of a vote when one of them is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import NoOpTracerProvider

from otel_llm_feedback import InvalidTarget, Receipt, Settings, Target, boundary, current_target
from otel_llm_feedback.counters import DEFAULT_COUNTERS
from otel_llm_feedback.feedback.emit import LogEmitter, SpanEventEmitter
from tests.feedback.world import CHAT, DIMENSIONS, LEAST, NOW, PASS, SAMPLED, SPAN, TRACE, UNSAMPLED, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context
    from opentelemetry.sdk._logs import ReadWriteLogRecord

EVENT = "gen_ai.evaluation.result"
THUMB = {**LEAST, **PASS, "llm_feedback.target.type": "span", "llm_feedback.trace.sampled": True}


# --- span events ---


def test_on_the_span_that_was_passed_while_it_is_open(world: World) -> None:
    with world.tracer.start_as_current_span("POST /feedback"):
        span = world.chat()
        receipt = world.record(span, True, mode="span_event", at=NOW - 5)
        span.end()

    chat, request = world.spans()
    assert receipt == Receipt("id-1", "emitted")
    assert chat["events"] == [(EVENT, NOW - 5, {**THUMB, **DIMENSIONS})]
    assert request["events"] == []
    assert world.logs() == []
    assert world.counters.snapshot() == {("emitted", ""): 1}


def test_on_the_current_span_when_its_ids_were_passed(world: World) -> None:
    with world.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        ids = span.get_span_context()
        world.record(f"{ids.trace_id:032x}-{ids.span_id:016x}", True, mode="span_event")

    [chat] = world.spans()
    assert [name for name, _, _ in chat["events"]] == [EVENT]


def test_on_the_open_llm_span_that_is_the_current_target(world: World) -> None:
    with (
        world.tracer.start_as_current_span("POST /chat"),
        world.tracer.start_as_current_span("chat", attributes=CHAT),
        world.tracer.start_as_current_span("tool"),
    ):
        target = current_target(world.registry)
        assert target is not None
        world.record(target, True, mode="span_event")

    events = {span["name"]: [name for name, _, _ in span["events"]] for span in world.spans()}
    assert events == {"tool": [], "chat": [EVENT], "POST /chat": []}


@pytest.mark.parametrize("target", [SAMPLED, f"{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01"])
def test_on_a_carrier_when_the_span_is_elsewhere(world: World, target: object) -> None:
    with world.tracer.start_as_current_span("POST /feedback"):
        receipt = world.record(target, True, mode="span_event", at=NOW - 5)

    carrier, request = world.spans()
    known = {} if target == f"{TRACE}-{SPAN}" else {"llm_feedback.trace.sampled": True}
    attributes = {**LEAST, **PASS, "llm_feedback.target.type": "span", **known}
    assert receipt.status == "emitted"
    assert carrier == {
        "name": EVENT,
        "trace_id": TRACE,
        "span_id": carrier["span_id"],
        "parent": SPAN,
        "time": (NOW - 5, NOW - 5),
        "scope": "otel_llm_feedback",
        "attributes": {},
        "links": [(TRACE, SPAN)],
        "events": [(EVENT, NOW - 5, attributes)],
    }
    assert request["trace_id"] != TRACE
    assert request["events"] == []


@pytest.mark.parametrize("make", [lambda span: span, lambda _: Target.response("chatcmpl-1")])
def test_on_a_carrier_when_the_span_has_ended(world: World, make: Any, caplog: pytest.LogCaptureFixture) -> None:
    span = world.chat()
    span.end()
    world.record(make(span), True, mode="span_event")

    chat, carrier = world.spans()
    assert chat["events"] == []
    assert (carrier["trace_id"], carrier["parent"]) == (chat["trace_id"], chat["span_id"])
    assert carrier["links"] == [(chat["trace_id"], chat["span_id"])]
    assert carrier["events"][0][2].items() >= DIMENSIONS.items()
    assert caplog.messages == []


def test_a_carrier_is_no_call_that_anybody_could_vote_on(world: World) -> None:
    span = world.chat()
    span.end()
    call = world.registry.by_response("chatcmpl-1")
    assert call is not None
    world.record(call, True, mode="span_event")

    assert len(world.registry) == 1
    assert world.registry.by_trace(call.trace_id) == call


@pytest.mark.parametrize("target", [UNSAMPLED, f"00-{TRACE}-{SPAN}-00"])
def test_a_carrier_in_an_unsampled_trace_is_dropped_counted_and_said_once(
    target: object, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(sampler=ParentBased(ALWAYS_ON))
    first, second = (world.record(target, True, mode="span_event") for _ in range(2))

    assert first == Receipt("id-1", "dropped", "carrier_not_sampled")
    assert second.reason == "carrier_not_sampled"
    assert world.spans() == []
    assert world.counters.snapshot() == {("dropped", "carrier_not_sampled"): 2}
    [warning] = caplog.messages
    assert "mode='log'" in warning


def test_a_sampler_that_drops_everything() -> None:
    world = World(sampler=ALWAYS_OFF)
    assert world.record(SAMPLED, True, mode="span_event").reason == "carrier_not_sampled"


@pytest.mark.parametrize(
    "target",
    [
        TRACE,
        Target.session("s"),
        Target.entity("k", "v"),
        Target.response("unknown"),
        Target.message("unknown"),
        Target.document(TRACE, 1),
    ],
)
@pytest.mark.parametrize("mode", ["span_event", "both"])
def test_span_events_need_a_span(world: World, target: object, mode: str) -> None:
    with world.tracer.start_as_current_span("current"), pytest.raises(InvalidTarget, match="mode='log'") as caught:
        world.record(target, True, mode=mode)

    assert caught.value.field == "target"
    assert world.logs() == []
    assert world.spans()[0]["events"] == []
    assert world.counters.snapshot() == {}


def test_lots_of_metadata_never_evicts_a_core_attribute_of_a_span_event() -> None:
    world = World(Settings(max_metadata_keys=1000))
    world.record(SAMPLED, True, mode="span_event", metadata={f"k{n}": n for n in range(1000)})
    [(_, _, attributes)] = world.spans()[0]["events"]

    assert len(attributes) == 128
    assert attributes.items() >= THUMB.items()


# --- both ---


def test_both_ways_are_one_vote(world: World) -> None:
    with world.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        receipt = world.record(span, True, mode="both")

    [(_, _, on_span)] = world.spans()[0]["events"]
    assert receipt == Receipt("id-1", "emitted")
    assert world.log()["attributes"] == on_span == {**THUMB, **DIMENSIONS}
    assert world.counters.snapshot() == {("emitted", ""): 1}


def test_the_log_record_goes_out_when_the_carrier_does_not() -> None:
    world = World(sampler=ParentBased(ALWAYS_ON))
    receipt = world.record(UNSAMPLED, True, mode="both")

    assert receipt == Receipt("id-1", "emitted", "carrier_not_sampled")
    receipt.raise_for_loss()
    assert world.log()["span_id"] == SPAN
    assert world.counters.snapshot() == {("emitted", ""): 1, ("incomplete", "carrier_not_sampled"): 1}


def test_the_span_event_goes_out_when_the_log_record_does_not(world: World) -> None:
    world.recorder.logs = LogEmitter(NoOpLoggerProvider())
    receipt = world.record(SAMPLED, True, mode="both")

    assert receipt == Receipt("id-1", "emitted", "no_logger_provider")
    assert len(world.spans()) == 1
    assert world.counters.snapshot() == {("emitted", ""): 1, ("incomplete", "no_logger_provider"): 1}


def test_neither_goes_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.recorder.logs = LogEmitter(NoOpLoggerProvider())
    world.recorder.span_events = SpanEventEmitter(trace.ProxyTracerProvider())
    receipt = world.record(SAMPLED, True, mode="both")

    assert receipt == Receipt("id-1", "dropped", "no_tracer_provider, no_logger_provider")
    assert world.counters.snapshot() == {("dropped", "no_tracer_provider"): 1, ("dropped", "no_logger_provider"): 1}
    assert len(caplog.messages) == 2


# --- providers that are missing or lead nowhere ---


@pytest.mark.parametrize("emitter", [LogEmitter(), LogEmitter(NoOpLoggerProvider())], ids=["global", "given"])
def test_without_a_logger_provider_it_is_dropped_counted_and_said_once(
    world: World, emitter: LogEmitter, caplog: pytest.LogCaptureFixture
) -> None:
    """(No test of this process sets the global providers.)"""
    world.recorder.logs = emitter
    receipts = [world.record(SAMPLED, True, comment="a secret") for _ in range(3)]

    assert receipts[0] == Receipt("id-1", "dropped", "no_logger_provider")
    assert world.counters.snapshot() == {("dropped", "no_logger_provider"): 3}
    [warning] = caplog.messages
    assert "configure()" in warning
    assert "secret" not in warning


def test_without_a_tracer_provider(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.recorder.span_events = SpanEventEmitter()
    receipt = world.record(SAMPLED, True, mode="span_event")

    assert receipt == Receipt("id-1", "dropped", "no_tracer_provider")
    assert world.counters.snapshot() == {("dropped", "no_tracer_provider"): 1}
    assert "TracerProvider" in caplog.text


def test_a_tracer_provider_that_does_nothing(world: World) -> None:
    world.recorder.span_events = SpanEventEmitter(NoOpTracerProvider())
    assert world.record(SAMPLED, True, mode="span_event").status == "dropped"


@pytest.mark.newest
def test_a_logger_provider_without_processors(world: World, caplog: pytest.LogCaptureFixture) -> None:
    provider = LoggerProvider(Resource({}), shutdown_on_exit=False)
    world.recorder.logs = LogEmitter(provider)
    dropped = [world.record(SAMPLED, True) for _ in range(2)]

    assert {receipt.reason for receipt in dropped} == {"no_log_processor"}
    assert world.counters.snapshot() == {("dropped", "no_log_processor"): 2}
    [warning] = caplog.messages
    assert "processor" in warning

    provider.add_log_record_processor(Keeps())
    assert world.record(SAMPLED, True).status == "emitted"


@pytest.mark.newest
def test_a_disabled_sdk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    provider = LoggerProvider(Resource({}), shutdown_on_exit=False)
    provider.add_log_record_processor(Keeps())
    world.recorder.logs = LogEmitter(provider)

    assert world.record(SAMPLED, True).reason == "no_log_processor"


# --- the application's own processors ---


class Keeps(LogRecordProcessor):
    def __init__(self) -> None:
        self.kept: list[ReadWriteLogRecord] = []

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self.kept.append(log_record)

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


class Raises(Keeps):
    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        raise OSError("disk full of secrets")


class RaisesOnStart(SpanProcessor):
    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        raise OSError("disk full of secrets")


@pytest.fixture
def _lenient() -> Iterator[None]:
    """As in production: internal errors are swallowed."""
    boundary.strict(False)
    yield
    boundary.strict(True)


@pytest.mark.usefixtures("_lenient")
def test_what_they_raise_never_reaches_the_caller(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.logger_provider.add_log_record_processor(Raises())
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(RaisesOnStart())
    world.recorder.span_events = SpanEventEmitter(tracer_provider)
    before = DEFAULT_COUNTERS.total("internal_error", "OSError")

    assert world.record(SAMPLED, True) == Receipt("id-1", "dropped", "internal_error")
    assert world.record(SAMPLED, True, mode="span_event").reason == "internal_error"
    assert world.record(SAMPLED, True, mode="both").reason == "internal_error, internal_error"
    assert world.counters.snapshot() == {("dropped", "internal_error"): 4}
    assert DEFAULT_COUNTERS.total("internal_error", "OSError") - before == 4
    [warning] = caplog.messages
    assert "OSError" in warning
    assert "secret" not in caplog.text


def test_the_event_is_told_to_processors_by_its_name(world: World) -> None:
    processor = Keeps()
    world.logger_provider.add_log_record_processor(processor)
    world.record(SAMPLED, True)

    [kept] = processor.kept
    assert kept.log_record.event_name == EVENT
    assert kept.instrumentation_scope is not None
    assert kept.instrumentation_scope.name == "otel_llm_feedback"


class CountingProvider(LoggerProvider):
    """Counts how often a logger is asked for."""

    def __init__(self) -> None:
        super().__init__(Resource({}), shutdown_on_exit=False)
        self.add_log_record_processor(Keeps())
        self.asked = 0

    def get_logger(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().get_logger(*args, **kwargs)


def test_a_logger_is_asked_for_once(world: World) -> None:
    provider = CountingProvider()
    world.recorder.logs = LogEmitter(provider)
    for _ in range(3):
        assert world.record(SAMPLED, True).status == "emitted"
    assert provider.asked == 1
