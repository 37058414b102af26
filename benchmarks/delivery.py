"""Durable delivery: what it adds to the call, how fast it drains, and what it holds."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks.main_job import LLM_TEN, NoLogExporter, bare_emit, one_span, vote
from benchmarks.ratios import Comparison, compare
from benchmarks.sink import sink
from otel_llm_feedback import Content, Recorder, Settings
from otel_llm_feedback.delivery.courier import Courier
from otel_llm_feedback.delivery.encode import encode_log, encode_span
from otel_llm_feedback.delivery.endpoint import endpoint_from
from otel_llm_feedback.delivery.processor import SpoolLogRecordProcessor
from otel_llm_feedback.delivery.records import Signal
from otel_llm_feedback.delivery.spool import Spool
from otel_llm_feedback.feedback.emit import LogEmitter
from otel_llm_feedback.spans.registry import CallRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = "http://127.0.0.1:9"
"""Nothing listens there: what is spooled stays, as in an outage."""

BATCH = 512
RECORDS = 100_000
MILLION = 1_000_000
CALLS = 3_000
WRITERS = 4
STOCK: dict[tuple[str, str], Callable[[str], Any]] = {
    ("logs", "grpc"): lambda base: GrpcLogExporter(endpoint=base),
    ("logs", "http/protobuf"): lambda base: HttpLogExporter(endpoint=f"{base}/v1/logs"),
    ("traces", "grpc"): lambda base: GrpcSpanExporter(endpoint=base),
    ("traces", "http/protobuf"): lambda base: HttpSpanExporter(endpoint=f"{base}/v1/traces"),
}


def run(say: Callable[[str], None]) -> None:
    """Measure and report everything of this module."""
    with sink() as bases:
        say(str(compare(durable_call(NOBODY, "durable record_feedback against a bare Logger.emit", 3.0))))
        say(str(compare(durable_call(bases["http/protobuf"], "the same, delivered at once by the same process"))))
        for signal, protocol in STOCK:
            say(drain(signal, protocol, bases[protocol]))
        for line in latencies(bases["http/protobuf"]):
            say(line)
        say(memory(bases["http/protobuf"]))


@contextmanager
def courier(base: str, protocol: str = "http/protobuf") -> Iterator[Courier]:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder, "spool"), max_bytes=4 << 30, max_age_seconds=86_400)
        made = Courier(spool, {s: endpoint_from({}, s.value, endpoint=base, protocol=protocol) for s in Signal})
        yield made
        made.shutdown(5)


def durable_call(base: str, name: str, aim: float | None = None) -> Comparison:
    """A vote that is on disk when the call returns against a bare emit into memory."""
    plain = LoggerProvider()
    plain.add_log_record_processor(BatchLogRecordProcessor(NoLogExporter(), max_queue_size=1_000_000))
    provider, recorder = durable_recorder(ExitStack().enter_context(courier(base)))
    provider.get_logger("kept")
    return Comparison(name, bare_emit(plain), vote(recorder), aim)


def durable_recorder(to: Courier) -> tuple[LoggerProvider, Recorder]:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SpoolLogRecordProcessor(to))
    return provider, Recorder(Settings(content=Content("on")), CallRegistry(), logs=LogEmitter(provider))


def drain(signal: str, protocol: str, base: str) -> str:
    """Records a second from the spool to the sink, against the stock exporter from memory to the same sink."""
    record = finished(signal)
    exporter = STOCK[signal, protocol](base)
    exporter.export([record] * BATCH)
    begin = time.perf_counter()
    for _ in range(RECORDS // 4 // BATCH):
        exporter.export([record] * BATCH)
    stock = RECORDS // 4 // BATCH * BATCH / (time.perf_counter() - begin)
    exporter.shutdown()
    payload = encode_log(record) if signal == "logs" else encode_span(record)
    with courier(base, protocol) as made:
        for _ in range(RECORDS):
            made.spool.put(Signal(signal), payload, precious=True)
        begin = time.perf_counter()
        report = made.flush(120)
        ours = RECORDS / (time.perf_counter() - begin)
    if not report:
        raise SystemExit(f"not drained: {report}")
    verdict = "" if ours >= 10 * stock else "  MISSED"
    return f"drain {signal:6} over {protocol:13} {ours / stock:5.1f}x  {stock:9,.0f} -> {ours:9,.0f} records/s  aim >= 10{verdict}"


def finished(signal: str) -> Any:
    """One finished log record or span, as an exporter gets it."""
    if signal == "traces":
        spans = InMemorySpanExporter()
        tracing = TracerProvider()
        tracing.add_span_processor(SimpleSpanProcessor(spans))
        one_span(tracing, "opentelemetry.instrumentation.genai.openai", LLM_TEN)()
        return spans.get_finished_spans()[0]
    logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # untyped upstream
    logging = LoggerProvider()
    logging.add_log_record_processor(SimpleLogRecordProcessor(logs))
    vote(Recorder(Settings(), CallRegistry(), logs=LogEmitter(logging)))()
    return logs.get_finished_logs()[0]


def latencies(base: str) -> list[str]:
    """What a call costs at the far end of its distribution while four processes write and drain one directory."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        with context.Pool(WRITERS) as pool:
            times = sorted(chain.from_iterable(pool.starmap(write, [(f"{folder}/spool", base)] * WRITERS)))
    points = {name: times[int(len(times) * share)] for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}
    found = ", ".join(f"{name} {value:.0f} us" for name, value in points.items())
    return [f"durable record_feedback, {WRITERS} processes writing and draining: {found}"]


def write(folder: str, base: str) -> list[float]:
    """In a process of its own: votes at some pace, each timed, in microseconds."""
    spool = Spool(folder, max_bytes=1 << 30, max_age_seconds=86_400)
    made = Courier(spool, {s: endpoint_from({}, s.value, endpoint=base, protocol="http/protobuf") for s in Signal})
    _, recorder = durable_recorder(made)
    record = vote(recorder)
    times = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        record()
        times.append((time.perf_counter() - begin) * 1e6)
        time.sleep(0.001)
    made.shutdown(10)
    return times


def memory(base: str) -> str:
    """How much this process grows with a million records spooled, and after they were drained."""
    payload = encode_log(finished("logs"))
    with courier(base) as made:
        before = resident()
        for _ in range(MILLION):
            made.spool.put(Signal.LOGS, payload, precious=True)
        full = resident()
        made.flush(300)
        return f"memory: {before:.0f} MiB, {full:.0f} MiB with a million records spooled, {resident():.0f} MiB once drained"


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)
