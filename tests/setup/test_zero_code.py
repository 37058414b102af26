"""Set-up without code, under the real `opentelemetry-instrument`: nothing but environment variables."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm_feedback import Recorder, Settings, Target, boundary, record_feedback
from otel_llm_feedback.feedback.recorder import default_recorder, set_default_recorder
from otel_llm_feedback.identity import pseudonym
from tests.setup.running import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.openai_server import OpenAIServer
    from otel_llm_feedback.receiver import MemorySink, Receiver

OFFICIAL = "opentelemetry.instrumentation.genai.openai"


@pytest.mark.newest
def test_the_extra_brings_what_sets_the_sdk_up() -> None:
    [configurator] = metadata.entry_points(group="opentelemetry_configurator")
    required = metadata.requires("otel-llm-feedback") or []
    extra = [line for line in required if line.replace("'", '"').endswith('extra == "auto"')]
    assert configurator.dist is not None
    assert [line for line in extra if line.startswith(f"{configurator.dist.name}>=")]


@pytest.mark.newest
@pytest.mark.parametrize("protocol", [None, "grpc", "http/protobuf"])
def test_spans_arrive_normalised_and_the_vote_joined(
    openai_server: OpenAIServer, receiver: Receiver, sink: MemorySink, protocol: str | None
) -> None:
    endpoint = receiver.http_endpoint if protocol == "http/protobuf" else receiver.grpc_endpoint
    environ = {
        "OTEL_TRACES_EXPORTER": "otlp_genai",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_SERVICE_NAME": "zero-code",
        "OTEL_LLM_FEEDBACK_PSEUDONYM_KEY": "not a secret",
        **({} if protocol is None else {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}),
    }
    ended = run("chat", openai_server.base_url, environ=environ, instrumented=True)
    arrived_normalised_and_joined(sink, ended.answer)
    assert ended.said == ""


@pytest.mark.newest
def test_through_the_spool(openai_server: OpenAIServer, receiver: Receiver, sink: MemorySink) -> None:
    environ = {
        "OTEL_TRACES_EXPORTER": "llm_feedback_spool",
        "OTEL_LOGS_EXPORTER": "llm_feedback_spool",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
        "OTEL_SERVICE_NAME": "zero-code",
        "OTEL_LLM_FEEDBACK_PSEUDONYM_KEY": "not a secret",
    }
    ended = run("chat", openai_server.base_url, environ=environ, instrumented=True)
    arrived_normalised_and_joined(sink, ended.answer, status="spooled")
    assert ended.said == ""


def arrived_normalised_and_joined(sink: MemorySink, answer: dict[str, Any], *, status: str = "emitted") -> None:
    assert answer["status"] == status
    assert sink.wait_for(lambda: bool(sink.logs) and len(sink.spans) >= 3, 20)
    [vote] = sink.logs
    by_id = {span.span_id: span for span in sink.spans}
    assert len(by_id) == len(sink.spans), "a span was exported twice"
    chat = by_id[answer["span_id"]]

    # Every installed instrumentation of the client is loaded, each with spans of its own.
    assert chat.scope_name == OFFICIAL
    assert chat.attributes["gen_ai.conversation.id"] == "c-1"
    assert chat.attributes["enduser.pseudo.id"] == pseudonym(b"not a secret", "jane")
    [foreign] = [span for span in sink.spans if span.scope_name == "openinference.instrumentation.openai"]
    assert foreign.attributes["openinference.span.kind"] == "LLM"
    assert foreign.attributes["gen_ai.operation.name"] == "chat"
    assert foreign.attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert isinstance(foreign.attributes["gen_ai.usage.input_tokens"], int)

    assert (vote.trace_id, vote.span_id) == (answer["trace_id"], answer["span_id"]) == (chat.trace_id, chat.span_id)
    assert vote.trace_id != answer["request_trace_id"]
    assert vote.event_name == "gen_ai.evaluation.result"
    assert vote.attributes["llm_feedback.id"] == answer["id"]
    assert vote.attributes["gen_ai.response.id"] == chat.attributes["gen_ai.response.id"]
    assert vote.attributes["enduser.pseudo.id"] == pseudonym(b"not a secret", "jane")
    assert vote.resource_attributes["service.name"] == chat.resource_attributes["service.name"] == "zero-code"


@pytest.mark.newest
def test_wrong_settings_are_said_and_break_nobody(
    openai_server: OpenAIServer, receiver: Receiver, sink: MemorySink
) -> None:
    """The other instrumentors are loaded, the application runs, and its votes go on without the setting."""
    environ = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint,
        "OTEL_LLM_FEEDBACK_RAW_USER_IDS": "perhaps",
    }
    ended = run("wrong_settings", openai_server.base_url, environ=environ, instrumented=True)

    assert "OTEL_LLM_FEEDBACK_RAW_USER_IDS='perhaps'" in ended.said
    assert "no content and no user id is sent" in ended.said
    assert ended.answer == {"status": "emitted"}
    assert sink.wait_for(lambda: any(span.scope_name == OFFICIAL for span in sink.spans), 20)


# --- the instrumentor itself ---

instrumentor = pytest.importorskip("otel_llm_feedback.setup.auto")
sdk_trace = pytest.importorskip("opentelemetry.sdk.trace")


@pytest.fixture
def fresh() -> Iterator[Any]:
    """The instrumentor is one object for the whole process."""
    one = instrumentor.FeedbackInstrumentor()
    yield one
    if one.is_instrumented_by_opentelemetry:
        one.uninstrument()


def test_it_depends_on_no_library(fresh: Any) -> None:
    assert fresh.instrumentation_dependencies() == ()


def test_options_reach_the_spans_and_the_votes(fresh: Any) -> None:
    provider = sdk_trace.TracerProvider(shutdown_on_exit=False)
    fresh.instrument(tracer_provider=provider, pseudonym_key="k", raw_user_ids=True, unknown="ignored")

    assert default_recorder().settings == Settings(b"k", raw_user_ids=True)
    span = provider.get_tracer("t").start_span("chat", attributes={"gen_ai.operation.name": "chat"})
    span.end()
    context = span.get_span_context()
    assert default_recorder().registry.by_span(f"{context.trace_id:032x}", f"{context.span_id:016x}") is not None


def test_a_provider_that_has_the_processor_keeps_its_settings(fresh: Any) -> None:
    provider = sdk_trace.TracerProvider(shutdown_on_exit=False)
    fresh.instrument(tracer_provider=provider, pseudonym_key="first")
    fresh.uninstrument()
    theirs = Recorder(Settings(b"theirs"))
    set_default_recorder(theirs)
    fresh.instrument(tracer_provider=provider, pseudonym_key="second")

    assert default_recorder() is theirs


def test_without_an_sdk_it_says_so_and_votes_keep_the_options(fresh: Any, caplog: pytest.LogCaptureFixture) -> None:
    """(The global TracerProvider of this process is the API's own.)"""
    fresh.instrument(pseudonym_key="k")

    assert "LLM spans are not captured" in caplog.text
    assert default_recorder().settings.pseudonym_key == b"k"


@pytest.mark.parametrize("options", [{"pseudonym_key": ""}, {"pseudonym_key": 7}, {"raw_user_ids": "false"}])
def test_wrong_options_do_not_raise(fresh: Any, options: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    boundary.forget_what_was_said()
    fresh.instrument(tracer_provider=sdk_trace.TracerProvider(shutdown_on_exit=False), **options)

    [said] = [message for message in caplog.messages if "until then" in message]
    assert next(iter(options)) in said
    assert default_recorder().settings.content.mode == "off"


class BrokenProvider:
    def add_span_processor(self, processor: object) -> None:
        raise OSError("a secret")


def test_a_broken_provider_does_not_raise(fresh: Any, caplog: pytest.LogCaptureFixture) -> None:
    boundary.strict(False)
    fresh.instrument(tracer_provider=BrokenProvider())

    assert "OSError" in caplog.text
    assert "secret" not in caplog.text
    assert record_feedback(Target.session("s"), True).reason == "no_logger_provider"
