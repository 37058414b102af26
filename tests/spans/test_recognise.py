from __future__ import annotations

import pytest

from otel_llm_feedback.spans import recognise, scopes
from otel_llm_feedback.spans.recognise import Recogniser, Verdict, has_llm_key, judge_scope
from tests.spans.samples import Sample, samples

ALL = samples()


@pytest.mark.parametrize("sample", ALL, ids=[sample.id for sample in ALL])
def test_every_dialect_is_recognised(sample: Sample) -> None:
    assert judge_scope(sample.scope) is Verdict.ALWAYS or has_llm_key(sample.attributes)


@pytest.mark.parametrize("name", sorted(scopes.LLM_SCOPES))
def test_scopes_are_exact_or_before_a_dot(name: str) -> None:
    found = {judge_scope(name), judge_scope(f"{name}.more"), judge_scope(f"{name}.more.still")}
    assert found == {Verdict.ALWAYS}
    others = {judge_scope(each) for each in (f"{name}x", f"{name}-more", f"{name}_more", f"my.{name}", name.upper())}
    assert others == {Verdict.ASK}


@pytest.mark.parametrize("library", sorted(scopes.LLM_INSTRUMENTATIONS))
def test_instrumentations(library: str) -> None:
    name = f"opentelemetry.instrumentation.{library}"
    assert {judge_scope(name), judge_scope(f"{name}.v1")} == {Verdict.ALWAYS}
    assert judge_scope(f"{name}xyz") is Verdict.ASK


@pytest.mark.parametrize("library", ["fastapi", "httpx", "sqlalchemy", "requests.sessions"])
def test_ruled_out(library: str) -> None:
    assert judge_scope(f"opentelemetry.instrumentation.{library}") is Verdict.NEVER


@pytest.mark.parametrize(
    "name", ["", ".", "..", "aix", "opentelemetry.instrumentation.", "opentelemetry.instrumentation.botocore", "air.ai"]
)
def test_other_scopes_are_asked_about(name: str) -> None:
    assert judge_scope(name) is Verdict.ASK


def test_our_own_spans_are_never_what_feedback_is_about() -> None:
    assert judge_scope("otel_llm_feedback") is Verdict.NEVER


@pytest.mark.parametrize("key", ["gen_ai.system", "llm.x", "openinference.span.kind", "ai.operationId"])
def test_keys(key: str) -> None:
    assert has_llm_key(["http.method", key])


@pytest.mark.parametrize(
    "key", ["gen_ai", "gen_aix.a", "llm", "llmx", "traceloop.workflow.name", "ai.x", "", "session.id"]
)
def test_keys_of_nobody(key: str) -> None:
    assert not has_llm_key([key])


def test_what_was_seen_is_remembered_within_bounds() -> None:
    recogniser = Recogniser()
    for number in range(recognise.MAX_REMEMBERED + 10):
        assert recogniser.verdicts[f"scope{number}"] is Verdict.ASK
        assert not recogniser.is_llm({f"key{number}": 1, "same": 1})
    assert len(recogniser.verdicts) <= recognise.MAX_REMEMBERED
    assert recogniser.verdicts["ai"] is Verdict.ALWAYS
    for _ in range(2):
        assert recogniser.is_llm({"same": 1, "gen_ai.system": 1})
        assert not recogniser.is_llm({})
