"""Whole log records, as the official encoder sends them."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, Sampler, SamplingResult

from otel_llm_feedback import LLMCall, Receipt, Settings, Target, __version__, llm_context
from otel_llm_feedback.counters import DEFAULT_COUNTERS
from otel_llm_feedback.feedback.record import record_feedback
from otel_llm_feedback.feedback.recorder import Recorder, default_recorder, set_default_recorder
from otel_llm_feedback.identity import pseudonym
from tests.feedback.world import CHAT, DIMENSIONS, LEAST, NOW, PASS, SAMPLED, SPAN, TRACE, UNSAMPLED, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.util.types import Attributes

KEY = b"not a secret"
NO_IDS = {"trace_id": "", "span_id": "", "flags": 0}

EMPTY: dict[str, Any] = {
    "trace_id": TRACE,
    "span_id": SPAN,
    "flags": 1,
    "event_name": "gen_ai.evaluation.result",
    "time": NOW,
    "observed": NOW,
    "severity": (9, "INFO"),
    "body": "user feedback",
    "scope": ("otel_llm_feedback", __version__),
    "resource": {"service.name": "test"},
    "dropped": 0,
}
"""All of a log record but its attributes."""


def test_a_thumb(world: World) -> None:
    receipt = world.record(SAMPLED, True)

    assert receipt == Receipt("id-1", "emitted")
    assert world.log() == {
        **EMPTY,
        "attributes": {**LEAST, **PASS, "llm_feedback.target.type": "span", "llm_feedback.trace.sampled": True},
    }
    assert world.counters.snapshot() == {("emitted", ""): 1}


def test_every_field() -> None:
    world = World(Settings(KEY, raw_user_ids=True, max_comment_length=20))
    receipt = world.record(
        f"00-{TRACE}-{SPAN}-01",
        4,
        name="helpfulness",
        label="good",
        comment="Nearly right, but it is Paris in Texas.",
        metadata={"page": 3, "beta": True, "ratio": 0.5, "where": {"x": [1, None]}, "skipped": None, "who": "us"},
        at=datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc),
        feedback_id="mine",
        user_id="jane",
        session_id="s-1",
    )

    assert receipt == Receipt("mine", "emitted")
    assert world.log() == {
        **EMPTY,
        "time": 1_767_323_045_678_901_000,
        "attributes": {
            "gen_ai.evaluation.name": "helpfulness",
            "gen_ai.evaluation.score.value": 4.0,
            "gen_ai.evaluation.score.label": "good",
            "gen_ai.evaluation.explanation": "Nearly right, but it",
            "enduser.pseudo.id": pseudonym(KEY, "jane"),
            "user.id": "jane",
            "session.id": "s-1",
            "llm_feedback.id": "mine",
            "llm_feedback.revision": NOW // 1000,
            "llm_feedback.operation": "create",
            "llm_feedback.kind": "explicit",
            "llm_feedback.target.type": "span",
            "llm_feedback.trace.sampled": True,
            "llm_feedback.truncated": ["comment:39"],
            "llm_feedback.metadata.page": 3,
            "llm_feedback.metadata.beta": True,
            "llm_feedback.metadata.ratio": 0.5,
            "llm_feedback.metadata.where": '{"x":[1,null]}',
            "llm_feedback.metadata.who": "us",
        },
    }
    assert world.counters.snapshot() == {("emitted", ""): 1, ("truncated", "comment"): 1}


def test_types_on_the_wire(world: World) -> None:
    world.record(SAMPLED, 1, metadata={"int": 1, "float": 1.0, "yes": True, "text": "1"})
    attributes = world.log()["attributes"]

    assert type(attributes["gen_ai.evaluation.score.value"]) is float
    kinds = {key: type(attributes[f"llm_feedback.metadata.{key}"]) for key in ("int", "float", "yes", "text")}
    assert kinds == {"int": int, "float": float, "yes": bool, "text": str}
    assert type(attributes["llm_feedback.revision"]) is int
    assert type(attributes["llm_feedback.trace.sampled"]) is bool


@pytest.mark.parametrize(
    ("target", "place", "attributes"),
    [
        (TRACE, {"span_id": "", "flags": 0}, {"llm_feedback.target.type": "trace"}),
        (f"{TRACE}-{SPAN}", {"flags": 0}, {"llm_feedback.target.type": "span"}),
        (UNSAMPLED, {"flags": 0}, {"llm_feedback.target.type": "span", "llm_feedback.trace.sampled": False}),
        (Target.session("s-1"), NO_IDS, {"llm_feedback.target.type": "session", "session.id": "s-1"}),
        (
            Target.entity("ticket", "4711"),
            NO_IDS,
            {
                "llm_feedback.target.type": "entity",
                "llm_feedback.target.entity.key": "ticket",
                "llm_feedback.target.entity.value": "4711",
            },
        ),
        (
            Target.response("chatcmpl-9"),
            NO_IDS,
            {"llm_feedback.target.type": "response", "gen_ai.response.id": "chatcmpl-9"},
        ),
        (
            Target.message("m-9"),
            NO_IDS,
            {"llm_feedback.target.type": "message", "llm_feedback.target.message.id": "m-9"},
        ),
        (
            Target.document(SAMPLED, 0),
            {},
            {
                "llm_feedback.target.type": "document",
                "llm_feedback.target.document.position": 0,
                "llm_feedback.trace.sampled": True,
            },
        ),
        (
            Target.tool_call(TRACE, "call-1"),
            {"span_id": "", "flags": 0},
            {"llm_feedback.target.type": "tool_call", "llm_feedback.target.tool_call.id": "call-1"},
        ),
        (
            Target.text_range(Target.message("m-9"), 0, 12),
            NO_IDS,
            {
                "llm_feedback.target.type": "text_range",
                "llm_feedback.target.text.start": 0,
                "llm_feedback.target.text.end": 12,
                "llm_feedback.target.message.id": "m-9",
            },
        ),
    ],
)
def test_targets_inside_an_unrelated_request(
    world: World, target: object, place: dict[str, object], attributes: dict[str, object]
) -> None:
    """POST /feedback has a span and a context of its own; the record lands on neither."""
    with (
        world.tracer.start_as_current_span("POST /feedback", kind=trace.SpanKind.SERVER),
        llm_context(conversation_id="not this", session_id="nor this", message_id="nor that"),
    ):
        receipt = world.record(target, True)

    assert receipt.status == "emitted"
    assert world.log() == {**EMPTY, **place, "attributes": {**LEAST, **PASS, **attributes}}
    [request] = world.spans()
    assert request["events"] == []


@pytest.fixture
def call_ids(world: World) -> dict[str, str]:
    """The ids of a chat call that has ended, and which the registry knows."""
    span = world.chat({**CHAT, "llm_feedback.target.message.id": "m-1"})
    span.end()
    return {
        "trace_id": f"{span.get_span_context().trace_id:032x}",
        "span_id": f"{span.get_span_context().span_id:016x}",
    }


@pytest.mark.parametrize(
    ("make", "extra"),
    [
        (lambda ids: f"{ids['trace_id']}-{ids['span_id']}", {"llm_feedback.target.type": "span"}),
        (lambda _: Target.response("chatcmpl-1"), {"llm_feedback.target.type": "response"}),
        (
            lambda _: Target.message("m-1"),
            {"llm_feedback.target.type": "message", "llm_feedback.target.message.id": "m-1"},
        ),
        (
            lambda _: Target.document(Target.response("chatcmpl-1"), 2),
            {"llm_feedback.target.type": "document", "llm_feedback.target.document.position": 2},
        ),
    ],
)
def test_known_calls_lend_the_vote_their_ids_and_dimensions(
    world: World, call_ids: dict[str, str], make: Any, extra: dict[str, object]
) -> None:
    with world.tracer.start_as_current_span("POST /feedback"):
        world.record(make(call_ids), True)

    assert world.log() == {
        **EMPTY,
        **call_ids,
        "attributes": {**LEAST, **PASS, **DIMENSIONS, "llm_feedback.trace.sampled": True, **extra},
    }


def test_a_known_trace_as_a_whole(world: World, call_ids: dict[str, str]) -> None:
    world.record(call_ids["trace_id"], True)

    assert world.log() == {
        **EMPTY,
        "trace_id": call_ids["trace_id"],
        "span_id": "",
        "attributes": {
            **LEAST,
            **PASS,
            **DIMENSIONS,
            "llm_feedback.trace.sampled": True,
            "llm_feedback.target.type": "trace",
        },
    }


@pytest.mark.parametrize("handover", [lambda call: call, lambda call: pickle.loads(pickle.dumps(call))])  # noqa: S301 - our own bytes
def test_a_captured_call_in_another_process(world: World, call_ids: dict[str, str], handover: Any) -> None:
    call = world.registry.by_response("chatcmpl-1")
    assert isinstance(call, LLMCall)
    elsewhere = World()
    elsewhere.record(handover(call), False)

    assert (elsewhere.log()["trace_id"], elsewhere.log()["span_id"]) == tuple(call_ids.values())
    assert elsewhere.log()["attributes"].items() >= DIMENSIONS.items()


@pytest.mark.parametrize("ended", [False, True])
def test_the_span_itself(world: World, ended: bool) -> None:
    with world.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        if not ended:
            world.record(span, True)
    if ended:
        world.record(span, True)

    assert world.log()["span_id"] == world.spans()[0]["span_id"]
    assert world.log()["attributes"].items() >= DIMENSIONS.items()
    assert world.spans()[0]["events"] == []


def test_an_unsampled_trace_keeps_its_ids() -> None:
    world = World(sampler=ALWAYS_OFF)
    with world.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        pass
    world.record(span, True)

    context = span.get_span_context()
    assert world.spans() == []
    assert world.log() == {
        **EMPTY,
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "flags": 0,
        "attributes": {**LEAST, **PASS, "llm_feedback.target.type": "span", "llm_feedback.trace.sampled": False},
    }


class RecordOnly(Sampler):
    def should_sample(  # noqa: PLR0917 - the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: trace.SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[trace.Link] | None = None,
        trace_state: trace.TraceState | None = None,
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY, attributes)

    def get_description(self) -> str:
        return "RecordOnly"


def test_a_span_that_is_recorded_but_not_sampled_lends_its_dimensions() -> None:
    world = World(sampler=ParentBased(RecordOnly()))
    with world.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        pass
    world.record(span, True)

    assert world.log()["flags"] == 0
    assert world.log()["attributes"].items() >= {**DIMENSIONS, "llm_feedback.trace.sampled": False}.items()


def test_without_a_key_a_user_id_is_withheld_counted_and_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for user_id in ("jane@example.com", "joe@example.com"):
        assert world.record(SAMPLED, True, user_id=user_id).status == "emitted"

    assert "example.com" not in str(world.logs())
    assert world.counters.snapshot() == {("emitted", ""): 2, ("withheld", "no_pseudonym_key"): 2}
    [warning] = caplog.messages
    assert "OTEL_LLM_FEEDBACK_PSEUDONYM_KEY" in warning
    assert "example.com" not in warning


def test_a_double_click_is_one_vote_and_anybody_elses_is_another() -> None:
    world = World(Settings(KEY))
    ids = [
        str(world.record(SAMPLED, True, user_id=user_id, name=name))
        for user_id, name in [("jane", "n"), ("jane", "n"), ("joe", "n"), ("jane", "m")]
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert [log["attributes"]["llm_feedback.id"] for log in world.logs()] == ids


def test_lots_of_metadata_never_evicts_a_core_attribute() -> None:
    """At 128 attributes the SDK drops the oldest."""
    world = World(Settings(KEY, raw_user_ids=True, max_metadata_keys=1000))
    span = world.chat()
    span.end()
    with pytest.warns(UserWarning, match="dropped"):
        world.record(
            Target.text_range(span, 0, 9),
            True,
            comment="c" * 9000,
            session_id="s",
            user_id="u",
            metadata={f"k{n}": "v" * 2000 for n in range(1000)},
        )
    log = world.log()
    metadata = [name for name in log["attributes"] if name.startswith("llm_feedback.metadata.")]
    core = log["attributes"].keys() - metadata

    assert len(log["attributes"]) == 128
    assert log["dropped"] == 1000 - len(metadata)
    assert core == {
        *LEAST,
        *PASS,
        *DIMENSIONS,
        "gen_ai.evaluation.explanation",
        "enduser.pseudo.id",
        "user.id",
        "session.id",
        "llm_feedback.trace.sampled",
        "llm_feedback.truncated",
        "llm_feedback.target.type",
        "llm_feedback.target.text.start",
        "llm_feedback.target.text.end",
    }
    assert metadata[-1] == "llm_feedback.metadata.k999"


def test_nobody_reads_a_comment_or_a_key_in_a_repr(world: World) -> None:
    secret = World(Settings(b"hunter2hunter2"))
    receipt = secret.record(SAMPLED, True, comment="my salary is", user_id="jane", metadata={"k": "my salary is"})

    for thing in (receipt, secret.recorder, secret.recorder.settings, Target.of(SAMPLED)):
        for private in ("hunter2", "salary", "jane"):
            assert private not in repr(thing)


# --- many at a time ---


def test_asyncio_tasks_keep_to_their_own_targets(world: World) -> None:
    async def request(number: int) -> str:
        with world.tracer.start_as_current_span("chat", attributes=CHAT) as span:
            await asyncio.sleep(0)
            world.record(span, number, feedback_id=f"f-{number}")
            await asyncio.sleep(0)
        return f"{span.get_span_context().span_id:016x}"

    async def main() -> list[str]:
        return await asyncio.gather(*map(request, range(20)))

    span_ids = asyncio.run(main())
    found = {log["attributes"]["llm_feedback.id"]: log for log in world.logs()}
    assert [found[f"f-{number}"]["span_id"] for number in range(20)] == span_ids
    assert [found[f"f-{n}"]["attributes"]["gen_ai.evaluation.score.value"] for n in range(20)] == list(range(20))


def test_threads_share_one_recorder(world: World) -> None:
    start = threading.Barrier(8)

    def votes(thread: int) -> list[Receipt]:
        start.wait(10)
        return [world.record(SAMPLED, True, feedback_id=f"{thread}-{n}", comment="x" * 9000) for n in range(50)]

    with ThreadPoolExecutor(8) as pool:
        receipts = [receipt for some in pool.map(votes, range(8)) for receipt in some]

    assert {receipt.status for receipt in receipts} == {"emitted"}
    assert sorted(map(str, receipts)) == sorted(log["attributes"]["llm_feedback.id"] for log in world.logs())
    assert world.counters.snapshot() == {("emitted", ""): 400, ("truncated", "comment"): 400}


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_fork_while_every_lock_is_held() -> None:
    """The child votes although a thread that it does not have held the locks of registry and counters."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.feedback.apps.fork"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    votes = json.loads(done.stdout)
    assert [vote["status"] for vote in votes] == ["emitted", "emitted"]
    assert [vote["span_id"] for vote in votes] == [SPAN, SPAN]
    assert len({vote["id"] for vote in votes}) == 2


# --- the process-wide recorder ---


@pytest.fixture
def _no_recorder() -> Iterator[None]:
    set_default_recorder(None)
    yield
    set_default_recorder(None)


@pytest.mark.usefixtures("_no_recorder")
def test_the_default_recorder_reads_the_environment_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_LLM_FEEDBACK_PSEUDONYM_KEY", "from the environment")
    recorder = default_recorder()
    monkeypatch.delenv("OTEL_LLM_FEEDBACK_PSEUDONYM_KEY")

    assert recorder.settings.pseudonym_key == b"from the environment"
    assert default_recorder() is recorder


@pytest.mark.usefixtures("_no_recorder")
def test_a_recorder_can_be_set_for_the_process(world: World) -> None:
    set_default_recorder(world.recorder)
    assert record_feedback(SAMPLED, True) == Receipt("id-1", "emitted")
    assert world.log()["span_id"] == SPAN


def test_a_recorder_has_the_shared_registry_and_counters_unless_given_others() -> None:
    one, other = Recorder(Settings()), Recorder(Settings())
    assert one.registry is other.registry
    assert one.counters is other.counters is DEFAULT_COUNTERS
    assert one.new_id() != one.new_id()
