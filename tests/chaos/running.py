"""Starts the application of `tests.chaos.app`, listens to it, and counts afterwards where every vote is."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm_feedback.delivery.reader import SpoolReader
from otel_llm_feedback.delivery.records import Signal
from tests.collector.running import Collector
from tests.delivery.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there
PROTOCOLS = ("http/protobuf", "grpc")

EXIT_ALLOWANCE = 5.0 + 2.0
"""Seconds that an exit may take when nobody answers: what the courier allows itself, and a busy machine."""

PATIENCE = 90.0
"""Seconds after which an application that says nothing has failed."""

Ids = Counter[str]


class App:
    """One run of the application. What it says comes from `hear`; `go` lets it go on where it waits."""

    def __init__(
        self,
        *steps: str,
        program: str = "app",
        environ: Mapping[str, str] | None = None,
        instrumented: bool = False,
        **options: Any,
    ) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        python = [str(INSTRUMENT), sys.executable] if instrumented else [sys.executable]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `_end`
        self.process = subprocess.Popen(
            [*python, "-m", f"tests.chaos.{program}", *([json.dumps(options)] if options else []), *steps],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**kept, "PYTHONWARNINGS": "", **(environ or {})},
        )
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.errors = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self._end()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line)
        self._said.put(None)

    def hear(self, key: str) -> dict[str, Any]:
        """The next thing that it says about ``key``; everything before that is skipped."""
        for said in self._lines(PATIENCE):
            if key in said:
                return said
        raise AssertionError(f"it ended without a word of {key!r}: {self._read_errors()}")

    def rest(self) -> list[dict[str, Any]]:
        """All that it has still to say, up to its end."""
        return list(self._lines(PATIENCE))

    def _lines(self, seconds: float) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"it said nothing for {seconds} s: {self._read_errors()}") from None
            if line is None:
                self._said.put(None)
                return
            if line.endswith("\n"):  # a process that is killed may be in the middle of one
                yield json.loads(line)

    def go(self) -> None:
        """Let it go on where it waits."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def exit(self, code: int = 0) -> float:
        """Let it come to its end; how many seconds that took."""
        begin = time.monotonic()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        returned = self.process.wait(PATIENCE)
        seconds = time.monotonic() - begin
        self._end()
        assert returned == code, self.errors
        assert "Traceback" not in self.errors, self.errors
        return seconds

    def signal(self, number: int) -> None:
        """Send it a signal, and wait until that has ended it."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)

    def _read_errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def _end(self) -> None:
        if self._errors.closed:
            return
        self.process.wait(PATIENCE)
        self._listener.join(PATIENCE)
        self.errors = self._read_errors()
        self._errors.close()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def run(*steps: str, **options: Any) -> list[dict[str, Any]]:
    """Run the application to its end; what it said."""
    with App(*steps, **options) as app:
        said = app.rest()
        app.exit()
    return said


def drain(directory: Path, endpoint: str, protocol: str = PROTOCOLS[0]) -> None:
    """The next process on the same spool, which records nothing: it delivers what the one before has left."""
    with App("flush 60", endpoint=endpoint, protocol=protocol, spool_dir=str(directory)) as app:
        report = app.hear("complete")
        assert report["complete"], report
        app.exit()


def endpoint_of(collector: Collector, protocol: str) -> str:
    return collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint


# -- where every vote is -------------------------------------------------------------------------------------------------


def names(count: int, prefix: str = "v", start: int = 0) -> list[str]:
    return [f"{prefix}-{number:05d}" for number in range(start, start + count)]


class Account(NamedTuple):
    """How often each vote is where; ``delivered`` may have duplicates, the others never."""

    delivered: Ids
    spooled: Ids
    dead: Ids

    def places(self) -> tuple[int, int, int]:
        """How many different votes were delivered, are spooled, are dead letters."""
        return len(self.delivered), len(self.spooled), len(self.dead)


def account(directory: Path, sink: ScriptedServer | Collector | None = None) -> Account:
    """Where every vote is now: at the sink, in the spool, among its dead letters."""
    reader = SpoolReader(directory)
    dead = [letter.payload for letter in reader.dead_letters(100_000)]
    spooled = Counter(itertools.chain.from_iterable(ids_in(each) for each in reader.payloads(Signal.LOGS)))
    found = Account(received(sink), spooled, Counter(itertools.chain.from_iterable(map(ids_in, dead))))
    assert set(found.spooled.values()) | set(found.dead.values()) <= {1}, "the spool holds something twice"
    return found


def all_accounted(directory: Path, sink: ScriptedServer | Collector | None, votes: Iterable[str]) -> Account:
    """`account`, after a check that every vote is somewhere: delivered + dead-lettered + still spooled = all."""
    found = account(directory, sink)
    missing = set(votes) - set(found.delivered) - set(found.spooled) - set(found.dead)
    assert not missing, f"{len(missing)} lost: {sorted(missing)[:5]}"
    return found


def all_delivered(
    directory: Path, sink: ScriptedServer | Collector, votes: Iterable[str], *, twice: Iterable[str] = ()
) -> None:
    """Every vote was delivered, and once, but for those that may have come ``twice``; nothing is left in the spool."""
    wanted = set(votes)
    found = all_accounted(directory, sink, wanted)
    assert found.places() == (len(wanted), 0, 0)
    assert {each for each, times in found.delivered.items() if times > 1} <= set(twice)


def received(sink: ScriptedServer | Collector | None) -> Ids:
    if sink is None:
        return Counter()
    if isinstance(sink, ScriptedServer):
        with sink.changed:
            return Counter(sink.received)
    return Counter(log["attributes"].get("llm_feedback.id", "") for log in sink.logs(0))


def arrived(sink: ScriptedServer | Collector, count: int, seconds: float = 60.0) -> None:
    """Wait until so many different votes were received."""
    if isinstance(sink, ScriptedServer):
        assert sink.wait_for(lambda s: len(set(s.received)) >= count, seconds), f"{len(set(sink.received))} arrived"
    else:
        sink.logs(lambda logs: len({log["attributes"].get("llm_feedback.id") for log in logs}) >= count, seconds)


def ids_in(payload: bytes) -> list[str]:
    """The feedback ids in one spooled request."""
    try:
        request = ExportLogsServiceRequest.FromString(payload)
    except Exception:  # noqa: BLE001 - poison is not a request
        return [payload.hex()]
    return [
        pair.value.string_value
        for resource_logs in request.resource_logs
        for scope_logs in resource_logs.scope_logs
        for record in scope_logs.log_records
        for pair in record.attributes
        if pair.key == "llm_feedback.id"
    ]


def span_names(directory: Path) -> list[str]:
    """The names of the spans in the spool."""
    return [
        span.name
        for payload in SpoolReader(directory).payloads(Signal.TRACES)
        for resource_spans in ExportTraceServiceRequest.FromString(payload).resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]
