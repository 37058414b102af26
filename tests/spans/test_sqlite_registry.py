from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from otel_llm_feedback import (
    CallRegistry,
    ConfigurationError,
    LLMCall,
    Recorder,
    Settings,
    Target,
    boundary,
    current_target,
    record_feedback,
)
from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.feedback.emit import LogEmitter
from otel_llm_feedback.spans import call_tables
from otel_llm_feedback.spans.sqlite_registry import FRESH_CALLS, SQLiteCallRegistry
from tests.feedback.world import DIMENSIONS, as_sent
from tests.spans.registry_worker import NOW, a_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_llm_feedback.spans.registries import Registry

SECOND = 1_000_000_000
ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "calls.db"


@pytest.fixture
def registry(path: Path, clock: Clock) -> Iterator[SQLiteCallRegistry]:
    made = SQLiteCallRegistry(path, time_ns=clock, counters=Counters())
    yield made
    made.close()


def counted(registry: SQLiteCallRegistry) -> dict[tuple[str, str], int]:
    return registry._counters.snapshot()


def thread_of(registry: SQLiteCallRegistry) -> threading.Thread | None:
    return registry._thread


# -- what every registry does ------------------------------------------------------------------------------------------


class Indexing(SQLiteCallRegistry):
    """One in which no call is fresh when it is looked up."""

    def put(self, call: LLMCall) -> None:
        super().put(call)
        self.upkeep()


class HalfIndexing(SQLiteCallRegistry):
    """One in which the first call is not fresh any more when the next one comes."""

    def put(self, call: LLMCall) -> None:
        super().put(call)
        if len(self) == 1:
            self.upkeep()


KINDS = {"file": SQLiteCallRegistry, "indexed file": Indexing, "half indexed file": HalfIndexing}


@pytest.fixture(params=["memory", *KINDS])
def any_registry(request: pytest.FixtureRequest, path: Path, clock: Clock) -> Iterator[Registry]:
    if request.param == "memory":
        yield CallRegistry(100, 60, time_ns=clock, counters=Counters())
        return
    made = KINDS[request.param](path, 100, 60, time_ns=clock, counters=Counters())
    yield made
    assert made._counters.snapshot() == {}
    made.close()


def test_each_look_up(any_registry: Registry) -> None:
    call = a_call(1, trace=2**127 + 5, response="r", conversation="c", message="m")
    any_registry.put(call)
    assert any_registry.by_span(call.trace_id, call.span_id) == call
    assert any_registry.by_trace(call.trace_id) == call
    assert any_registry.by_response("r") == call
    assert any_registry.by_conversation("c") == call
    assert any_registry.by_message("m") == call
    assert any_registry.by_span(f"{2:032x}", call.span_id) is None
    assert any_registry.by_span(call.trace_id, f"{2:016x}") is None
    for look_up in (
        any_registry.by_trace,
        any_registry.by_response,
        any_registry.by_conversation,
        any_registry.by_message,
    ):
        assert look_up("x") is None
        assert look_up("") is None


@pytest.mark.parametrize("text", ["", "zz", "1", "0" * 31 + "g", " " * 16 + "1", "A" * 32, "0x" + "1" * 30])
def test_ids_that_are_none(any_registry: Registry, text: str) -> None:
    any_registry.put(a_call(int("a" * 16, 16), trace=int("a" * 32, 16)))
    assert any_registry.by_trace(text) is None
    assert any_registry.by_span("a" * 32, text[:16]) is None
    assert any_registry.by_span(text, "a" * 16) is None


def test_every_field_comes_back(any_registry: Registry) -> None:
    texts: dict[str, Any] = {name: f"{name} Ünïcödé 🎉\0\n" for name in LLMCall._fields[5:17]}
    call = a_call(2**64 - 1, trace=2**128 - 1)._replace(**texts, trace_flags=3, error_type="timeout", end_time=NOW + 7)
    least = LLMCall(*[f"{7:032x}", f"{8:016x}", 0, None, False, *[None] * 14, NOW, None, None])  # type: ignore[arg-type]
    for each in (call, least):
        any_registry.put(each)
        found = any_registry.by_span(each.trace_id, each.span_id)
        assert found == each
        assert type(found) is LLMCall
        assert [type(value) for value in found] == [type(value) for value in each]
    assert any_registry.by_message(texts["message_id"]) == call


def test_the_votable_call_counts(any_registry: Registry) -> None:
    tool = a_call(1, votable=False, conversation="c", message="m")
    any_registry.put(tool)
    assert any_registry.by_trace(tool.trace_id) is None
    assert any_registry.by_conversation("c") is None
    assert any_registry.by_message("m") == tool
    chat = a_call(2, conversation="c", message="m")
    any_registry.put(chat)
    any_registry.put(a_call(3, votable=False, conversation="c", message="m"))
    assert any_registry.by_trace(tool.trace_id) == any_registry.by_conversation("c") == chat
    assert any_registry.by_message("m") == chat
    last = a_call(4, conversation="c", message="m")
    any_registry.put(last)
    assert any_registry.by_trace(tool.trace_id) == any_registry.by_conversation("c") == last
    assert any_registry.by_message("m") == last


def test_the_same_span_again_leaves_nothing_of_before(any_registry: Registry) -> None:
    any_registry.put(a_call(1, trace=1, response="old", conversation="old", message="old"))
    call = a_call(1, trace=2, response="new")
    any_registry.put(call)
    assert any_registry.by_response("new") == call
    assert any_registry.by_trace(f"{1:032x}") is None
    assert any_registry.by_response("old") is any_registry.by_conversation("old") is None
    assert any_registry.by_message("old") is None


def test_age(any_registry: Registry, clock: Clock) -> None:
    any_registry.put(a_call(1, response="r", conversation="c", message="m"))
    any_registry.put(a_call(2, response="open", end=None))
    clock.now += 59 * SECOND
    assert any_registry.by_response("open") is not None
    clock.now += SECOND
    assert any_registry.by_response("r") is not None
    assert any_registry.by_response("open") is None
    clock.now += 1
    trace_id, span_id = f"{1:032x}", f"{1:016x}"
    assert any_registry.by_span(trace_id, span_id) is any_registry.by_trace(trace_id) is None
    assert any_registry.by_response("r") is any_registry.by_conversation("c") is any_registry.by_message("m") is None


def test_current_target_takes_any(any_registry: Registry) -> None:
    call = a_call(5, trace=77)
    any_registry.put(call)
    context = trace.SpanContext(77, 78, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(context)):
        target = current_target(any_registry)
    assert target == Target.of(call)


# -- against a model ---------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c"]) | st.none()
AGE = 100


class AgainstAModel(RuleBasedStateMachine):
    """The model: calls in the order of their places. A span put again takes a new place and leaves its old one empty."""

    @initialize(max_calls=st.integers(1, 6))
    def start(self, max_calls: int) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.max_calls = max_calls
        self.registry = self.another()
        self.fresh: list[LLMCall] = []
        self.places: dict[int, LLMCall] = {}
        self.forgotten = 0

    def another(self) -> SQLiteCallRegistry:
        path = f"{self.directory.name}/private/calls.db"
        return SQLiteCallRegistry(path, self.max_calls, AGE / SECOND, time_ns=self.clock, counters=Counters())

    def teardown(self) -> None:
        if hasattr(self, "registry"):
            self.registry.close()
            self.directory.cleanup()

    @rule(
        span=st.integers(1, 5),
        trace=st.integers(1, 3),
        votable=st.booleans(),
        response=KEYS,
        conversation=KEYS,
        message=KEYS,
    )
    def put(self, span: int, trace: int, **rest: Any) -> None:
        call = a_call(span, trace=trace, end=self.clock.now, **rest)
        self.registry.put(call)
        self.fresh.append(call)

    @rule(passed=st.integers(1, 60))
    def wait(self, passed: int) -> None:
        self.clock.now += passed

    @rule()
    def upkeep(self) -> None:
        self.registry.upkeep()
        for call in self.fresh:
            place = max(self.places, default=0) + 1
            self.places = {n: each for n, each in self.places.items() if each.span_id != call.span_id}
            self.places[place] = call
        self.fresh = []
        kept = {n: call for n, call in self.places.items() if n > max(self.places) - self.max_calls}
        self.forgotten += len(self.places) - len(kept)
        while kept and self.is_old(kept[min(kept)]):
            del kept[min(kept)]
        self.places = kept
        assert self.registry._counters.snapshot().get(("forgotten", "max_calls"), 0) == self.forgotten

    @rule()
    def reopen(self) -> None:
        self.registry.close()

    @rule()
    def clear(self) -> None:
        self.registry.clear()
        self.fresh, self.places = [], {}

    def is_old(self, call: LLMCall) -> bool:
        return self.clock.now - (call.end_time or 0) > AGE

    @property
    def known(self) -> list[LLMCall]:
        """Oldest first, each span once."""
        by_span: dict[str, LLMCall] = {}
        for call in (*self.places.values(), *self.fresh):
            by_span.pop(call.span_id, None)
            by_span[call.span_id] = call
        return list(by_span.values())

    def expected(self, field: str, key: str) -> LLMCall | None:
        fitting = [call for call in self.known if getattr(call, field) == key]
        votable = [call for call in fitting if call.votable]
        last = votable or (fitting if field in {"response_id", "message_id"} else [])
        return last[-1] if last and not self.is_old(last[-1]) else None

    @invariant()
    def what_is_found(self) -> None:
        for field, look_up, keys in (
            ("trace_id", self.registry.by_trace, [f"{number:032x}" for number in range(1, 4)]),
            ("response_id", self.registry.by_response, ["a", "b", "c"]),
            ("conversation_id", self.registry.by_conversation, ["a", "b", "c"]),
            ("message_id", self.registry.by_message, ["a", "b", "c"]),
        ):
            assert [look_up(key) for key in keys] == [self.expected(field, key) for key in keys]
        for call in self.known:
            found = self.registry.by_span(call.trace_id, call.span_id)
            assert found == (None if self.is_old(call) else call)
        assert len(self.registry) == len(self.known)


TestAgainstAModel = AgainstAModel.TestCase
TestAgainstAModel.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


# -- bounds and upkeep -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1])
def test_bad_bounds(path: Path, value: int) -> None:
    with pytest.raises(ConfigurationError, match="max_calls"):
        SQLiteCallRegistry(path, value)
    with pytest.raises(ConfigurationError, match="max_age_seconds"):
        SQLiteCallRegistry(path, max_age_seconds=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e10])
def test_ages_that_are_no_ages(path: Path, value: float) -> None:
    with pytest.raises(ConfigurationError, match="max_age_seconds"):
        SQLiteCallRegistry(path, max_age_seconds=value)


def test_the_thread_does_the_upkeep_and_ends_with_the_registry(path: Path) -> None:
    registry = SQLiteCallRegistry(path, 100, time_ns=lambda: NOW, counters=Counters())
    for number in range(1, FRESH_CALLS):
        registry.put(a_call(number, trace=number))
    assert thread_of(registry) is None
    registry.put(a_call(FRESH_CALLS, trace=FRESH_CALLS))
    thread = thread_of(registry)
    assert thread is not None
    counters = registry._counters
    eventually(lambda: counters.snapshot() == {("forgotten", "max_calls"): FRESH_CALLS - 100})
    assert registry.by_trace(f"{FRESH_CALLS:032x}") is not None
    assert len(registry) == 100

    del registry
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()


def test_close_ends_the_thread_and_the_next_use_opens_again(registry: SQLiteCallRegistry, path: Path) -> None:
    def many(start: int) -> threading.Thread:
        for number in range(start, start + 2 * FRESH_CALLS):
            registry.put(a_call(number, trace=number))
        thread = thread_of(registry)
        assert thread is not None
        return thread

    first = many(1)
    registry.close()
    first.join(20)
    assert not first.is_alive()
    assert sorted(each.name for each in path.parent.iterdir()) == ["calls.db", "calls.db.lock"]
    assert registry.by_trace(f"{1:032x}") is not None
    assert many(2000) is not first


@pytest.mark.slow
def test_many_calls_take_little_room(path: Path, clock: Clock) -> None:
    registry = SQLiteCallRegistry(path, 30_000, time_ns=clock, counters=Counters())
    calls = [
        a_call(
            number * 0x9E3779B97F4A7C15 % 2**64,
            trace=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128,
            response=f"chatcmpl-{number:029d}",
            conversation=f"{number // 8:032x}",
        )
        for number in range(1, 50_001)
    ]
    for number, call in enumerate(calls):
        registry.put(call)
        if number % 2000 == 0:
            registry.upkeep()
    registry.upkeep()

    assert len(registry) == 30_000
    assert counted(registry) == {("forgotten", "max_calls"): 20_000}
    assert [registry.by_span(call.trace_id, call.span_id) is not None for call in calls[::500]] == [False] * 40 + [
        True
    ] * 60
    newest = calls[-1]
    assert registry.by_conversation(newest.conversation_id or "") == newest
    log = path.with_name("calls.db-wal").stat().st_size
    registry.close()
    as_text = sum(len(json.dumps(call)) for call in calls[-30_000:])
    assert path.stat().st_size < 1.6 * as_text
    assert log < 10 * as_text  # it is started anew, not continued for ever


@pytest.mark.slow
def test_the_log_is_started_anew_even_if_calls_never_stop_coming(registry: SQLiteCallRegistry, path: Path) -> None:
    for number in range(1, 10_000):
        call = a_call(
            number * 0x9E3779B97F4A7C15 % 2**64,
            trace=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128,
            response=f"chatcmpl-{number:029d}",
        )
        registry.put(call)
        for look_up in (registry.by_response, registry.by_message, registry.by_conversation):
            look_up(f"chatcmpl-{number:029d}")
    assert path.with_name("calls.db-wal").stat().st_size < 40 * 2**20


def test_texts_of_the_same_hash_are_told_apart(registry: SQLiteCallRegistry) -> None:
    for number, text in enumerate("ab", 1):
        registry.put(a_call(number, trace=number, response=text, message=text, conversation=text))
    registry.upkeep()
    registry._usable().execute(
        "UPDATE calls SET (response_key, message_key, conversation_key)"
        " = (SELECT response_key, message_key, conversation_key FROM calls WHERE span = 1)"
    )
    for look_up in (registry.by_response, registry.by_message, registry.by_conversation):
        assert look_up("a") == a_call(1, trace=1, response="a", message="a", conversation="a")


def test_a_long_conversation_is_found_at_once(registry: SQLiteCallRegistry) -> None:
    """Without the right order of an index, SQLite would read the whole conversation each time."""
    for number in range(1, 2001):
        registry.put(a_call(number, conversation="c", message="m", response="r"))
    registry.upkeep()
    connection = registry._usable()
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    connection.set_progress_handler(count, 1)
    for look_up in (registry.by_conversation, registry.by_message, registry.by_response):
        assert look_up("c" if look_up == registry.by_conversation else look_up.__name__[3]) == a_call(
            2000, conversation="c", message="m", response="r"
        )
    assert registry.by_trace(f"{1:032x}") is not None
    connection.set_progress_handler(None, 1)
    assert steps[0] < 4 * 500


def test_many_threads(path: Path) -> None:
    registry = SQLiteCallRegistry(path, time_ns=lambda: NOW, counters=Counters())

    def work(thread: int) -> list[bool]:
        found = []
        for number in range(200):
            call = a_call(thread * 1000 + number + 1, trace=number + 1, response=f"{thread}-{number}")
            registry.put(call)
            found.append(registry.by_response(f"{thread}-{number}") == call)
        return found

    with ThreadPoolExecutor(8) as pool:
        assert all(all(found) for found in pool.map(work, range(8)))
    assert len(registry) == 8 * 200
    assert counted(registry) == {}
    registry.close()


def test_the_format_has_a_version() -> None:
    """If this fails: raise VERSION, and decide what becomes of files of the one before."""
    assert (call_tables.VERSION, zlib.crc32("\n".join(call_tables._TABLES).encode())) == (1, 2966266779)


# -- other processes ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(program: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.spans.registry_worker", program, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def answer(program: str, path: Path) -> Any:
    with running(program, path) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(said)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_process_makes_the_call_and_another_records_the_vote(path: Path) -> None:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    counters = Counters()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    registry = SQLiteCallRegistry(path, counters=counters)
    recorder = Recorder(Settings(), registry, counters, LogEmitter(provider))
    with running("traced", path) as process:
        assert process.stdout is not None
        ids = json.loads(process.stdout.readline())
        receipt = record_feedback(Target.response("chatcmpl-1"), True, recorder=recorder)

    assert receipt.status == "emitted"
    [log] = as_sent(exporter.get_finished_logs())
    assert {"trace_id": log["trace_id"], "span_id": log["span_id"]} == ids
    assert DIMENSIONS.items() <= log["attributes"].items()
    registry.close()


def test_processes_that_write_at_the_same_time_lose_nothing(path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: answer("several", path), range(3)))
    registry = SQLiteCallRegistry(path, time_ns=lambda: NOW, counters=Counters())
    assert [counts for _, counts in answers] == [{}, {}, {}]
    assert len(registry) == 3000
    assert all(registry.by_response(f"{pid}-{number}") for pid, _ in answers for number in (1, 500, 1000))
    registry.close()


@pytest.mark.parametrize("puts", [5, 300, 900])
def test_a_killed_process_loses_nothing(path: Path, registry: SQLiteCallRegistry, puts: int) -> None:
    with running("putting", path) as process:
        assert process.stdout is not None
        for _ in range(puts):
            process.stdout.readline()
        process.kill()
        last = [puts, *map(int, process.stdout.read().split("\n")[:-1])][-1]

    for again in (False, True):
        found = [registry.by_response(f"{process.pid}-{number}") for number in range(1, last + 1)]
        assert None not in found
        if not again:
            registry.upkeep()
    connection = registry._usable()
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert counted(registry) == {}


def test_forks(path: Path) -> None:
    assert answer("forking", path) == [[True] * 5, 0]


def test_a_fork_that_python_is_not_told_of(path: Path) -> None:
    assert answer("forking_in_c", path) == [2, [True, True], True]


# -- the file ----------------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_everything_is_private(registry: SQLiteCallRegistry, path: Path) -> None:
    registry.put(a_call(1))
    names = {each.name: mode(each) for each in path.parent.iterdir()}
    assert names == dict.fromkeys(["calls.db", "calls.db-wal", "calls.db-shm", "calls.db.lock"], 0o600)
    assert mode(path.parent) == 0o700


def make_symlink(path: Path) -> None:
    path.parent.mkdir(0o700)
    target = path.with_name("other")
    target.touch(0o600)
    path.symlink_to(target)


def make_linked_directory(path: Path) -> None:
    real = path.parent.with_name("real")
    real.mkdir(0o700)
    path.parent.symlink_to(real)


def make_open_directory(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o770)


def make_open_file(path: Path) -> None:
    path.parent.mkdir(0o700)
    path.touch(0o640)
    path.chmod(0o640)


def make_directory(path: Path) -> None:
    path.mkdir(0o700, parents=True)
    path.parent.chmod(0o700)


def make_file_for_directory(path: Path) -> None:
    path.parent.touch()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (make_symlink, "it is a symbolic link or a directory"),
        (make_linked_directory, "its directory is a symbolic link"),
        (make_open_directory, "open to other users: chmod 700"),
        (make_open_file, "open to other users: chmod 600"),
        (make_directory, "it is a symbolic link or a directory"),
        (make_file_for_directory, "name a file in a directory"),
    ],
)
def test_a_path_that_is_not_private(path: Path, make: Callable[[Path], None], problem: str) -> None:
    make(path)
    with pytest.raises(ConfigurationError, match=problem):
        SQLiteCallRegistry(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whose", ["file", "directory"])
def test_somebody_elses(path: Path, whose: str) -> None:
    path.parent.mkdir(0o700)
    path.touch(0o600)
    os.chown(path if whose == "file" else path.parent, 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to user 12345"):
        SQLiteCallRegistry(path)


def test_a_newer_version(path: Path) -> None:
    SQLiteCallRegistry(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=2")
    with pytest.raises(ConfigurationError, match="its format is 2, this version knows up to 1: upgrade"):
        SQLiteCallRegistry(path)


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir(0o700)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (it)")
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another program's database"):
        SQLiteCallRegistry(path)
    assert path.read_bytes() == before


def test_a_log_without_its_file_is_not_mixed_into_a_new_one(registry: SQLiteCallRegistry, path: Path) -> None:
    registry.put(a_call(1))
    other = path.with_name("other.db")
    shutil.copy(f"{path}-wal", f"{other}-wal")
    one_more = SQLiteCallRegistry(other, time_ns=lambda: NOW, counters=Counters())
    assert len(registry) == 1
    assert len(one_more) == 0
    assert counted(one_more) == {}
    one_more.close()


# -- damage ------------------------------------------------------------------------------------------------------------


def spoil(path: Path) -> None:
    """Overwrite everything behind the header, from a process of its own: closing the file in this one drops its locks."""
    program = (
        "import os, sys; f = open(sys.argv[1], 'r+b'); f.seek(100); f.write(b'\\xff' * (os.path.getsize(f.name) - 100))"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_set_aside_at_the_start(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir(0o700)
    path.touch(0o600)
    path.write_bytes(content)
    registry = SQLiteCallRegistry(path, time_ns=lambda: NOW, counters=Counters())
    registry.put(a_call(1, response="r"))
    assert registry.by_response("r") is not None
    assert counted(registry) == {("set_aside", "damaged_registry"): 1}
    assert path.with_name("calls.db.corrupt").read_bytes() == content
    assert "is damaged; it is set aside as" in caplog.text
    registry.close()


@pytest.mark.parametrize("first", [True, False])
def test_processes_that_find_the_damage_go_on_with_one_new_file(path: Path, clock: Clock, first: bool) -> None:
    one, other = (SQLiteCallRegistry(path, time_ns=clock, counters=Counters()) for _ in range(2))
    one.put(a_call(1, response="old"))
    one.close()
    assert other.by_response("old") is not None
    spoil(path)
    finder, follower = (one, other) if first else (other, one)

    assert one.by_response("old") is None  # it reads the file anew
    if not first:
        assert one.by_response("old") is None
    one.put(a_call(2, response="new"))
    clock.now += SECOND
    assert other.by_response("new") == a_call(2, response="new")
    other.put(a_call(3, response="newer"))
    assert one.by_response("newer") == a_call(3, response="newer")
    total = counted(one)
    for key, count in counted(other).items():
        total[key] = total.get(key, 0) + count
    assert total[("set_aside", "damaged_registry")] == 1
    for each in (finder, follower):
        each.close()
    assert sorted(each.name for each in path.parent.iterdir()) == ["calls.db", "calls.db.corrupt", "calls.db.lock"]


def test_a_file_without_our_tables_is_damaged(registry: SQLiteCallRegistry, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE fresh")
    registry.put(a_call(1, response="lost"))
    registry.put(a_call(2, response="kept"))
    assert registry.by_response("lost") is None
    assert registry.by_response("kept") is not None
    assert counted(registry) == {("registry_failed", "damaged_file"): 1, ("set_aside", "damaged_registry"): 1}


def test_a_removed_file_is_made_again(registry: SQLiteCallRegistry, path: Path, clock: Clock) -> None:
    registry.put(a_call(1, response="r"))
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()
    clock.now += SECOND
    assert registry.by_response("r") is None
    registry.put(a_call(2, response="r"))
    assert registry.by_response("r") is not None
    assert counted(registry) == {}


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_full_disk(registry: SQLiteCallRegistry) -> None:
    registry.put(a_call(1, response="r"))
    connection = registry._usable()
    pages = call_tables.pragma(connection, "page_count")
    connection.execute(f"PRAGMA max_page_count={pages}").close()
    for number in range(2, 100):
        registry.put(a_call(number, response=f"{number}"))
    failures = counted(registry)[("registry_failed", "disk_full")]
    assert 50 < failures < 98
    assert len(registry) == 99 - failures
    assert registry.by_response("r") is not None
    registry.upkeep()
    assert registry.by_response("r") is not None


def test_a_process_that_stands_still_while_it_writes(registry: SQLiteCallRegistry, path: Path, clock: Clock) -> None:
    registry.put(a_call(1, response="r"))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        registry.put(a_call(2))
        assert counted(registry) == {("registry_failed", "busy"): 1}
        start = time.monotonic()
        for number in range(3, 103):
            registry.put(a_call(number))
        assert time.monotonic() - start < 0.4  # only the first one waited
        assert counted(registry) == {("registry_failed", "busy"): 101}
        assert registry.by_response("r") is not None
        other.execute("ROLLBACK")
    clock.now += SECOND
    registry.put(a_call(200, response="again"))
    assert registry.by_response("again") is not None


def test_a_process_that_stands_still_while_it_opens(path: Path, clock: Clock) -> None:
    path.parent.mkdir(0o700)
    with open(f"{path}.lock", "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        registry = SQLiteCallRegistry(path, time_ns=clock, counters=Counters())
        registry.put(a_call(1, response="r"))
        assert counted(registry) == {("registry_failed", "busy"): 2}
    clock.now += SECOND
    registry.put(a_call(1, response="r"))
    assert registry.by_response("r") is not None
    registry.close()


def test_rights_that_are_changed_later(registry: SQLiteCallRegistry, path: Path, clock: Clock) -> None:
    path.parent.chmod(0o777)
    registry.put(a_call(1, response="r"))
    assert registry.by_response("r") is None
    assert counted(registry) == {("registry_failed", "misconfigured"): 2}
    path.parent.chmod(0o700)
    clock.now += SECOND
    registry.put(a_call(1, response="r"))
    assert registry.by_response("r") is not None


def test_what_cannot_be_stored(registry: SQLiteCallRegistry) -> None:
    odd: list[LLMCall] = [
        a_call(1, response="half \ud83d"),
        a_call(1)._replace(input_tokens=2**63),
        a_call(1)._replace(provider=["a", "list"]),  # type: ignore[arg-type]
    ]
    for call in odd:
        registry.put(call)
    assert registry.by_response("half \ud83d") is None
    assert counted(registry) == {("registry_failed", "not_storable"): 4}
    for call in (
        a_call(2)._replace(span_id="no id"),
        a_call(2)._replace(trace_id=None),  # type: ignore[arg-type]
        a_call(2)._replace(start_time=-(2**63), end_time=2**63 - 1),
    ):
        registry.put(call)
    registry.put(a_call(3, response="sound"))
    registry.upkeep()
    assert counted(registry) == {("registry_failed", "not_storable"): 7}
    assert registry.by_response("sound") is not None
    assert len(registry) == 1


def test_an_error_of_ours_does_not_end_the_thread(path: Path) -> None:
    broken, called = threading.Event(), threading.Semaphore(0)

    def clock() -> int:
        if threading.current_thread() is not threading.main_thread():
            called.release()
            if not broken.is_set():
                broken.set()
                raise RuntimeError("only in the thread, only once")
        return NOW

    boundary.strict(False)
    registry = SQLiteCallRegistry(path, time_ns=clock, counters=Counters())
    before = DEFAULT_COUNTERS.total("internal_error", "RuntimeError")
    for number in range(1, FRESH_CALLS + 1):
        registry.put(a_call(number, trace=number))
    assert called.acquire(timeout=20)
    eventually(lambda: DEFAULT_COUNTERS.total("internal_error", "RuntimeError") == before + 1)
    for number in range(FRESH_CALLS + 1, 2 * FRESH_CALLS + 1):
        registry.put(a_call(number, trace=number))
    assert called.acquire(timeout=20)
    registry.close()


def test_upkeep_without_a_file(registry: SQLiteCallRegistry, path: Path) -> None:
    path.parent.chmod(0o777)
    registry.upkeep()
    assert counted(registry) == {("registry_failed", "misconfigured"): 2}


def test_upkeep_of_a_file_that_cannot_be_opened(registry: SQLiteCallRegistry, path: Path) -> None:
    registry.put(a_call(1))
    path.rename(path.with_name("elsewhere"))
    registry.upkeep()
    assert counted(registry)[("registry_failed", "cannot_open")] >= 1


def test_upkeep_on_a_full_disk_loses_nothing(registry: SQLiteCallRegistry, clock: Clock) -> None:
    for number in range(1, 200):
        registry.put(a_call(number, response=f"{number}"))
    connection = registry._usable()
    connection.execute(f"PRAGMA max_page_count={call_tables.pragma(connection, 'page_count')}").close()
    registry.upkeep()
    assert counted(registry) == {("registry_failed", "disk_full"): 1}
    assert all(registry.by_response(f"{number}") for number in range(1, 200))
    connection.execute("PRAGMA max_page_count=100000").close()
    for _ in range(2):
        registry.upkeep()
        assert all(registry.by_response(f"{number}") for number in range(1, 200))
    assert connection.execute("SELECT count(*) FROM fresh").fetchone() == (0,)
    assert counted(registry) == {("registry_failed", "disk_full"): 1}
