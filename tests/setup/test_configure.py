"""configure(): alone, beside providers that exist, and when it must refuse."""

from __future__ import annotations

import json
import socket
import threading
import weakref
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider, get_logger_provider
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otel_llm_feedback import ConfigurationError, Pipeline, Target, boundary, configure, record_feedback
from otel_llm_feedback.counters import DEFAULT_COUNTERS
from otel_llm_feedback.delivery.shared import running
from otel_llm_feedback.feedback import recorder
from otel_llm_feedback.feedback.recorder import default_recorder
from otel_llm_feedback.spans.registry import default_registry
from tests.setup.running import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm_feedback.receiver import MemorySink, Receiver

KEY = "not a secret"


def hand_made(keywords: dict[str, Any], before: str = "", **environ: str) -> Any:
    return run("hand_made", json.dumps(keywords), before, environ=environ).answer


def the_vote_is_joined(sink: MemorySink, answer: Any, service: str, status: str = "spooled") -> None:
    """One vote, and each of two spans, arrived once; the vote on the LLM span, which is normalised."""
    assert (answer["status"], answer["flushed"], answer["shut_down"]) == (status, True, True)
    assert sink.wait_for(lambda: bool(sink.logs) and len(sink.spans) >= 2, 20)
    assert sorted(span.name for span in sink.spans) == ["POST /chat", "chat"]
    [vote] = sink.logs
    chat = next(span for span in sink.spans if span.name == "chat")
    assert (vote.trace_id, vote.span_id) == (answer["trace_id"], answer["span_id"]) == (chat.trace_id, chat.span_id)
    assert vote.resource_attributes["service.name"] == chat.resource_attributes["service.name"] == service
    assert vote.attributes["gen_ai.conversation.id"] == chat.attributes["gen_ai.conversation.id"] == "c-1"
    assert vote.attributes["gen_ai.provider.name"] == "openai"


class TestAlone:
    """With nothing set up, it creates both providers, with exporters."""

    @pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
    @pytest.mark.parametrize("durable", [True, False])
    def test_endpoint_and_protocol_as_arguments(
        self, receiver: Receiver, sink: MemorySink, protocol: str, durable: bool
    ) -> None:
        endpoint = receiver.grpc_endpoint if protocol == "grpc" else f"{receiver.http_endpoint}/"
        answer = hand_made(
            {"endpoint": endpoint, "protocol": protocol, "service_name": "mine", "durable": durable},
            # Arguments beat the environment.
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
            OTEL_EXPORTER_OTLP_PROTOCOL="no such protocol",
            OTEL_TRACES_EXPORTER="none",
            OTEL_SERVICE_NAME="theirs",
        )
        the_vote_is_joined(sink, answer, "mine", "spooled" if durable else "emitted")
        assert answer["globals"]
        assert answer["owned"] == ["TracerProvider", "LoggerProvider"]
        chat = next(span for span in sink.spans if span.name == "chat")
        assert chat.attributes["gen_ai.operation.name"] == "chat"
        assert chat.attributes["gen_ai.provider.name"] == "openai"

    def test_everything_from_the_environment_grpc(self, receiver: Receiver, sink: MemorySink) -> None:
        answer = hand_made(
            {},
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.grpc_endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_SERVICE_NAME="env",
        )
        the_vote_is_joined(sink, answer, "env")

    def test_http_is_the_protocol_when_nobody_says(self, receiver: Receiver, sink: MemorySink) -> None:
        answer = hand_made({"service_name": "s"}, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint)
        the_vote_is_joined(sink, answer, "s")

    def test_each_signal_has_variables_of_its_own(self, receiver: Receiver, sink: MemorySink) -> None:
        answer = hand_made(
            {"service_name": "s"},
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=receiver.grpc_endpoint,
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=" grpc ",
            OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{receiver.http_endpoint}/v1/logs",
            OTEL_EXPORTER_OTLP_LOGS_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_PROTOCOL="no such protocol",
        )
        the_vote_is_joined(sink, answer, "s")

    def test_signals_can_go_elsewhere_or_nowhere(self, receiver: Receiver, sink: MemorySink) -> None:
        ended = run(
            "hand_made",
            json.dumps({"service_name": "s"}),
            environ={
                "OTEL_TRACES_EXPORTER": "console",
                "OTEL_LOGS_EXPORTER": "None",
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint,
            },
        )
        assert sink.spans == ()
        assert sink.logs == ()
        assert '"gen_ai.provider.name": "openai"' in ended.printed

    @pytest.mark.newest
    def test_votes_that_go_nowhere_are_dropped(self, receiver: Receiver, sink: MemorySink) -> None:
        answer = hand_made({"endpoint": None}, OTEL_TRACES_EXPORTER="none", OTEL_LOGS_EXPORTER="none")
        assert (answer["status"], answer["reason"]) == ("dropped", "no_log_processor")

    def test_twice_is_once(self, receiver: Receiver, sink: MemorySink) -> None:
        keywords = {"endpoint": receiver.http_endpoint, "export_spans": True, "export_logs": True, "service_name": "s"}
        answer = hand_made(keywords, "twice")
        the_vote_is_joined(sink, answer, "s")
        assert answer["owned"] == []

    def test_counters_become_metrics_of_the_application_once(self, receiver: Receiver) -> None:
        answer = hand_made({"endpoint": receiver.http_endpoint, "durable": False}, "metrics,twice")
        assert answer["counters"] == [{"name": "llm_feedback.outcomes", "value": 1, "llm_feedback.outcome": "emitted"}]


class TestBeside:
    """Beside providers that exist."""

    def test_nothing_is_exported_twice(self, receiver: Receiver, sink: MemorySink) -> None:
        answer = hand_made({}, "traces,logs", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint)
        the_vote_is_joined(sink, answer, "theirs", "emitted")
        assert answer["globals"]
        assert answer["owned"] == []

    def test_only_the_missing_logs_are_created_for_the_same_service(self, receiver: Receiver, sink: MemorySink) -> None:
        answer = hand_made({}, "traces", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint)
        the_vote_is_joined(sink, answer, "theirs")
        assert answer["owned"] == ["LoggerProvider"]

    def test_only_the_missing_traces_are_created_for_the_same_service(
        self, receiver: Receiver, sink: MemorySink
    ) -> None:
        answer = hand_made({}, "logs", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint)
        the_vote_is_joined(sink, answer, "theirs", "emitted")
        assert answer["owned"] == ["TracerProvider"]

    def test_a_service_name_is_added_to_what_the_other_provider_says(
        self, receiver: Receiver, sink: MemorySink
    ) -> None:
        hand_made({"service_name": "votes"}, "traces", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint)
        assert sink.wait_for(lambda: bool(sink.logs), 20)
        assert sink.logs[0].resource_attributes["service.name"] == "votes"

    @pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
    @pytest.mark.parametrize("durable", [True, False])
    def test_exporters_when_asked_for(self, receiver: Receiver, sink: MemorySink, protocol: str, durable: bool) -> None:
        traces, logs = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
        pipelines = [
            configure(
                tracer_provider=traces,
                logger_provider=logs,
                endpoint=receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint,
                protocol=protocol,
                export_spans=True,
                export_logs=True,
                durable=durable,
                pseudonym_key=KEY,
            )
            for _ in range(2)
        ]
        span = traces.get_tracer("t").start_span("chat", attributes={"llm.request.type": "chat"})
        span.end()
        assert record_feedback(span, True, user_id="jane").status == ("spooled" if durable else "emitted")
        assert pipelines[0].flush(20)

        [chat], [vote] = sink.spans, sink.logs
        assert chat.attributes["gen_ai.operation.name"] == "chat"
        assert vote.span_id == chat.span_id
        assert "enduser.pseudo.id" in vote.attributes
        spooling = ["SpoolLogRecordProcessor"] if durable else []
        owned = ["BatchSpanProcessor", *spooling, "BatchLogRecordProcessor"]
        assert [type(each).__name__ for each in pipelines[0].owned] == owned
        assert pipelines[1].owned == ()
        assert pipelines[0].shutdown(20)

    def test_the_globals_stay(self) -> None:
        configure(tracer_provider=TracerProvider(shutdown_on_exit=False), logger_provider=LoggerProvider())
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        assert not isinstance(get_logger_provider(), LoggerProvider)

    def test_a_provider_is_not_kept_alive(self) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        configure(tracer_provider=provider, logger_provider=LoggerProvider(shutdown_on_exit=False))
        alive = weakref.ref(provider)
        recorder.set_default_recorder(None)
        del provider
        assert alive() is None


class Spy(SpanProcessor):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.calls.append("flush")
        return True

    def shutdown(self) -> None:
        self.calls.append("shutdown")


class SpyOnLogs(LogRecordProcessor):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_emit(self, log_record: Any) -> None:
        self.calls.append("emit")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.calls.append("flush")
        return True

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def beside(spy: SpanProcessor, **more: Any) -> Pipeline:
    traces, logs = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    traces.add_span_processor(spy)
    return configure(tracer_provider=traces, logger_provider=logs, **more)


class TestPipeline:
    def test_only_what_it_made_is_shut_down(self, receiver: Receiver, sink: MemorySink) -> None:
        spy = Spy()
        pipeline = beside(spy, endpoint=receiver.http_endpoint, export_spans=True)
        pipeline.tracer_provider.get_tracer("t").start_span("s").end()

        assert pipeline.shutdown(20)
        assert [span.name for span in sink.spans] == ["s"]
        assert "shutdown" not in spy.calls

    def test_everything_is_flushed_also_what_was_there(self) -> None:
        spy, spy_on_logs = Spy(), SpyOnLogs()
        pipeline = beside(spy)
        pipeline.logger_provider.add_log_record_processor(spy_on_logs)

        assert pipeline.flush(20)
        assert spy.calls == spy_on_logs.calls == ["flush"]

    def test_nothing_made_nothing_to_shut_down(self) -> None:
        assert beside(Spy()).shutdown(0)

    def test_a_processor_that_says_no(self) -> None:
        class SaysNo(Spy):
            def force_flush(self, timeout_millis: int = 30000) -> bool:
                return False

        assert not beside(SaysNo()).flush(20)

    def test_a_processor_that_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        class Raises(Spy):
            def force_flush(self, timeout_millis: int = 30000) -> bool:
                raise OSError("a secret")

        boundary.strict(False)
        before = DEFAULT_COUNTERS.total("internal_error", "OSError")
        assert not beside(Raises()).flush(20)
        assert DEFAULT_COUNTERS.total("internal_error", "OSError") == before + 1
        assert "secret" not in caplog.text

    def test_a_processor_that_never_ends(self) -> None:
        release = threading.Event()

        class Hangs(Spy):
            def force_flush(self, timeout_millis: int = 30000) -> bool:
                return release.wait(60)

        assert not beside(Hangs()).flush(0.05)
        release.set()

    @pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
    @pytest.mark.parametrize("durable", [True, False])
    def test_a_collector_that_never_answers(self, protocol: str, durable: bool) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            answer = run("hanging", f"http://127.0.0.1:{port}", protocol, str(durable), environ={}).answer

        assert answer["status"] == ("spooled" if durable else "emitted")
        assert answer["ended"] == [False, False]
        assert max(answer["seconds"]) < 5

    def test_its_repr_keeps_secrets(self, receiver: Receiver) -> None:
        pipeline = beside(
            Spy(), endpoint=receiver.http_endpoint, export_spans=True, headers={"k": "hunter2"}, pseudonym_key="hunter2"
        )
        assert "hunter2" not in f"{pipeline!r} {default_recorder()!r}"
        pipeline.shutdown(20)


class Headers(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self.seen.update(context.invocation_metadata())
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def grpc_headers() -> Iterator[tuple[str, dict[str, str]]]:
    servicer = Headers()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", servicer.seen
    server.stop(None).wait(10)


def test_headers_are_sent_in_lower_case_as_grpc_demands(grpc_headers: tuple[str, dict[str, str]]) -> None:
    endpoint, seen = grpc_headers
    pipeline = beside(
        Spy(), endpoint=endpoint, protocol="grpc", export_spans=True, headers={"X-Tenant": "t", "authorization": "b"}
    )
    pipeline.tracer_provider.get_tracer("t").start_span("s").end()
    assert pipeline.flush(20)
    pipeline.shutdown(20)

    assert seen.items() >= {"x-tenant": "t", "authorization": "b"}.items()


class Foreign:
    """A provider that is not the SDK's."""

    def get_tracer(self, *_: Any, **__: Any) -> None: ...


class TestRefusals:
    @pytest.mark.parametrize(
        ("keywords", "field"),
        [
            ({"endpoint": "127.0.0.1:4318"}, "endpoint"),
            ({"protocol": "carrier pigeon"}, "protocol"),
            ({"headers": ["a"]}, "headers"),
            ({"service_name": 5}, "service_name"),
            ({"pseudonym_key": ""}, "pseudonym_key"),
            ({"raw_user_ids": "false"}, "raw_user_ids"),
            ({"tracer_provider": Foreign()}, "tracer_provider"),
            ({"tracer_provider": "global"}, "tracer_provider"),
            ({"tracer_provider": trace.NoOpTracerProvider()}, "tracer_provider"),
            ({"logger_provider": Foreign()}, "logger_provider"),
            ({"logger_provider": NoOpLoggerProvider()}, "logger_provider"),
        ],
    )
    def test_arguments(self, keywords: dict[str, Any], field: str) -> None:
        self.refused(keywords, field)

    @pytest.mark.parametrize(
        ("variable", "value", "field"),
        [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "udp", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"),
            ("OTEL_TRACES_EXPORTER", "otlp,no_such_one", "OTEL_TRACES_EXPORTER"),
            ("OTEL_LOGS_EXPORTER", "no_such_one", "OTEL_LOGS_EXPORTER"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10", "environment"),
            ("OTEL_BLRP_MAX_QUEUE_SIZE", "10", "environment"),
            ("OTEL_LLM_FEEDBACK_RAW_USER_IDS", "perhaps", "OTEL_LLM_FEEDBACK_RAW_USER_IDS"),
        ],
    )
    def test_the_environment(self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str) -> None:
        monkeypatch.setenv(variable, value)
        self.refused({}, field)

    @pytest.mark.parametrize("field", ["OTEL_LOGS_EXPORTER", "environment"])
    def test_nothing_stays_open(
        self, receiver: Receiver, sink: MemorySink, monkeypatch: pytest.MonkeyPatch, field: str
    ) -> None:
        """What had been made by then lets go of the spool: another attempt may use it with another endpoint."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        with monkeypatch.context() as wrong:
            wrong.setenv("OTEL_LOGS_EXPORTER", "otlp" if field == "environment" else "no_such_one")
            wrong.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "10" if field == "environment" else "2048")
            self.refused({}, field)
        assert running() == []

        pipeline = beside(Spy(), endpoint=receiver.http_endpoint, export_logs=True)
        assert record_feedback(Target.session("s"), True).status == "spooled"
        assert pipeline.shutdown(20)
        assert len(sink.logs) == 1

    def refused(self, keywords: dict[str, Any], field: str) -> None:
        """The error; and nothing was changed before it."""
        spy = Spy()
        traces, logs = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
        traces.add_span_processor(spy)
        all_keywords = {
            "tracer_provider": traces,
            "logger_provider": logs,
            "export_spans": True,
            "export_logs": True,
            **keywords,
        }
        with pytest.raises(ConfigurationError) as caught:
            configure(**all_keywords)
        assert caught.value.field == field

        registry = default_registry()
        span = traces.get_tracer("t").start_span("chat", attributes={"gen_ai.operation.name": "chat"})
        span.end()
        assert registry.by_trace(f"{span.get_span_context().trace_id:032x}") is None, "the processor was added"
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        assert not isinstance(get_logger_provider(), LoggerProvider)

    @pytest.mark.parametrize("endpoint", ["http://user:hunter2@[", "ftp://user:hunter2@host", "http://user:hunter2@"])
    @pytest.mark.parametrize("durable", [True, False])
    def test_no_credentials_in_messages(self, endpoint: str, durable: bool) -> None:
        with pytest.raises(ConfigurationError) as caught:
            beside(Spy(), endpoint=endpoint, export_spans=True, durable=durable)
        assert "hunter2" not in str(caught.value)
