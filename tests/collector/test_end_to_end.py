"""The main job through a real collector: calls in one process, votes in another, joined by trace id and span id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from demo.openai_server import OpenAIServer
from otel_llm_feedback.identity import pseudonym

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.collector.running import Collector, Log, Span

pytestmark = pytest.mark.collector

newest = pytest.mark.newest  # these instrumentations need a newer API than the lowest SDK has
INSTRUMENTATIONS = ["openinference", pytest.param("official", marks=newest), pytest.param("openllmetry", marks=newest)]
STEPS = ("chat", "stream", "embeddings", "error")
MODELS = {"embeddings": "text-embedding-3-small", "error": "does-not-exist"}

Ids = dict[str, dict[str, str]]


@pytest.fixture(scope="module", params=["grpc", "http/protobuf"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=INSTRUMENTATIONS)
def instrumentation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def openai_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture(scope="module")
def ids(
    collector: Collector,
    openai_server: OpenAIServer,
    instrumentation: str,
    protocol: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ids:
    """What the application handed out; the votes on it are recorded when this returns."""
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    spool = str(tmp_path_factory.mktemp("spool"))
    printed = run(spool, "chat", instrumentation, endpoint, protocol, openai_server.base_url)
    run(spool, "vote", endpoint, protocol, stdin=printed)
    found: Ids = json.loads(printed)
    return found


def run(spool: str, app: str, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.collector.apps.{app}", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"TRACELOOP_TRACE_CONTENT": "false", "OTEL_LLM_FEEDBACK_SPOOL_DIR": spool},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def joined(collector: Collector, ids: Ids, step: str) -> tuple[Span, Log]:
    """The LLM span of a step and the one vote on its trace."""
    trace_id = ids[step]["trace_id"]
    (vote,) = [
        log
        for log in collector.logs(until=lambda logs: any(log["trace_id"] == trace_id for log in logs))
        if log["trace_id"] == trace_id
    ]
    spans = collector.spans(until=lambda spans: sum(span["trace_id"] == trace_id for span in spans) >= 2)
    (llm,) = [span for span in spans if span["trace_id"] == trace_id and span["kind"] != "SERVER"]
    return llm, vote


@pytest.mark.parametrize("step", STEPS)
def test_spans_of_every_instrumentation_answer_the_same_query(collector: Collector, ids: Ids, step: str) -> None:
    llm, _ = joined(collector, ids, step)
    attributes = llm["attributes"]

    assert attributes["gen_ai.operation.name"] == ("embeddings" if step == "embeddings" else "chat")
    assert attributes["gen_ai.provider.name"] == "openai"
    assert attributes["gen_ai.request.model"] == MODELS.get(step, "gpt-4o-mini")
    assert attributes["gen_ai.conversation.id"] == f"talk-{step}"
    assert (attributes["gen_ai.prompt.name"], attributes["gen_ai.prompt.version"]) == ("greeting", "3")
    if step == "error":
        assert llm["status"] == "ERROR"
    else:
        assert type(attributes["gen_ai.usage.input_tokens"]) is int
    if step == "chat":
        assert attributes["gen_ai.usage.output_tokens"] > 0
        assert attributes["gen_ai.request.temperature"] == 0.2
        assert attributes["gen_ai.response.finish_reasons"] == ["stop"]


@pytest.mark.parametrize("step", STEPS)
def test_a_vote_from_another_process_is_joined_to_its_span(collector: Collector, ids: Ids, step: str) -> None:
    llm, vote = joined(collector, ids, step)

    # An embedding is not what a person judges: there, the request's own span stands in.
    expected = ids[step]["server_span_id"] if step == "embeddings" else llm["span_id"]
    assert (vote["trace_id"], vote["span_id"]) == (llm["trace_id"], expected)


@pytest.mark.parametrize("step", STEPS)
def test_the_whole_vote(collector: Collector, ids: Ids, step: str) -> None:
    _, vote = joined(collector, ids, step)
    attributes: dict[str, Any] = dict(vote["attributes"])
    feedback_id, revision = attributes.pop("llm_feedback.id"), attributes.pop("llm_feedback.revision")

    assert attributes == {
        "gen_ai.evaluation.name": "user_feedback",
        "gen_ai.evaluation.score.value": 1.0 if step == "chat" else 0.0,
        "gen_ai.evaluation.score.label": "pass" if step == "chat" else "fail",
        "gen_ai.evaluation.explanation": f"about {step} \N{THUMBS UP SIGN}",
        "enduser.pseudo.id": pseudonym(b"not a secret", "jane@example.com"),
        "llm_feedback.operation": "create",
        "llm_feedback.kind": "explicit",
        "llm_feedback.target.type": "span",
        "llm_feedback.metadata.step": step,
        "llm_feedback.metadata.attempt": 1,
        "llm_feedback.metadata.ratio": 0.5,
        "llm_feedback.metadata.retry": False,
        "llm_feedback.metadata.where": '{"page":[1,2]}',
    }
    assert type(attributes["gen_ai.evaluation.score.value"]) is float
    assert len(feedback_id) == 36
    assert revision == vote["observed_time_unix_nano"] // 1000
    assert vote["event_name"] == "gen_ai.evaluation.result"
    assert vote["time_unix_nano"] == 1767323045_000000000
    assert (vote["severity_number"], vote["body"]) == (9, "user feedback")
    assert vote["scope"] == "otel_llm_feedback"
    assert vote["resource"]["service.name"] == "votes"
