from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_feedback.spans import dialects, normalise
from otel_llm_feedback.spans.normalise import SOURCES, missing_attributes
from tests.spans.samples import Sample, samples

TABLE = [sample for sample in samples() if sample.expected is not None]
OPENINFERENCE_CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 9,
    "gen_ai.usage.output_tokens": 3,
}
CAPTURED: dict[str, list[dict[str, Any]]] = {
    "official-genai-openai": [{}, {}, {}],
    "openllmetry-openai": [{}, {"gen_ai.request.stream": True}, {}],
    "openinference-openai": [
        {**OPENINFERENCE_CHAT, "gen_ai.request.max_tokens": 10, "gen_ai.request.temperature": 0.2},
        {**OPENINFERENCE_CHAT, "gen_ai.request.stream": True},
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "text-embedding-3-small",
            "gen_ai.usage.input_tokens": 2,
        },
    ],
}

INTS = {
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.request.top_k",
    "gen_ai.request.max_tokens",
    "gen_ai.request.seed",
}
FLOATS = {f"gen_ai.request.{name}" for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")}
LISTS = {"gen_ai.response.finish_reasons", "gen_ai.request.stop_sequences"}
BOOLS = {"gen_ai.request.stream"}


def has_the_right_type(name: str, value: object) -> bool:
    if name in INTS:
        return type(value) is int and abs(value) < 2**63
    if name in FLOATS:
        return type(value) is float and math.isfinite(value)
    if name in LISTS:
        return isinstance(value, list) and bool(value) and all(isinstance(item, str) and item for item in value)
    if name in BOOLS:
        return value is True
    return isinstance(value, str) and bool(value)


@pytest.mark.parametrize("sample", TABLE, ids=[sample.id for sample in TABLE])
def test_every_dialect(sample: Sample) -> None:
    added = missing_attributes(sample.attributes, sample.scope, sample.name)
    assert added == sample.expected
    assert [name for name, value in added.items() if not has_the_right_type(name, value)] == []


@pytest.mark.parametrize("file", sorted(CAPTURED))
def test_captured_spans(file: str) -> None:
    found = [missing_attributes(sample.attributes, sample.scope, sample.name) for sample in samples(file)]
    assert found == CAPTURED[file]


@pytest.mark.parametrize("sample", samples(), ids=[sample.id for sample in samples()])
def test_once_is_enough(sample: Sample) -> None:
    added = missing_attributes(sample.attributes, sample.scope, sample.name)
    assert missing_attributes({**sample.attributes, **added}, sample.scope, sample.name) == {}
    assert "gen_ai.conversation.id" not in added


def test_the_attributes_are_left_alone() -> None:
    attributes = {
        "llm.model_name": "m",
        "llm.invocation_parameters": '{"model": "n"}',
        "openinference.span.kind": "LLM",
    }
    before = dict(attributes)
    missing_attributes(attributes, "openinference", "x")
    assert attributes == before


def test_parameters_in_json_never_replace_what_is_there() -> None:
    attributes = {"gen_ai.request.model": "asked", "llm.invocation_parameters": '{"model": "other"}'}
    assert missing_attributes(attributes, "openinference", "x") == {}


def test_the_named_response_model_beats_the_ambiguous_one() -> None:
    attributes = {"llm.request.model_name": "a", "llm.response.model_name": "b", "llm.model_name": "c"}
    added = missing_attributes(attributes, "openinference", "x")
    assert added == {"gen_ai.request.model": "a", "gen_ai.response.model": "b"}


def test_common_names_count_only_in_the_scope_that_owns_them() -> None:
    assert missing_attributes({"model_name": "m", "agent_name": "a"}, "my.own.code", "x") == {}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"gen_ai.usage.prompt_tokens": "12"}, {"gen_ai.usage.input_tokens": 12}),
        ({"gen_ai.usage.prompt_tokens": 12.0}, {"gen_ai.usage.input_tokens": 12}),
        ({"gen_ai.usage.prompt_tokens": 12.5}, {}),
        ({"gen_ai.usage.prompt_tokens": True}, {}),
        ({"gen_ai.usage.prompt_tokens": math.nan}, {}),
        ({"gen_ai.usage.prompt_tokens": math.inf}, {}),
        ({"gen_ai.usage.prompt_tokens": 2**63}, {}),
        ({"gen_ai.usage.prompt_tokens": "²"}, {}),
        ({"gen_ai.usage.prompt_tokens": "9" * 5000}, {}),
        ({"gen_ai.usage.prompt_tokens": (1, 2)}, {}),
        ({"llm.presence_penalty": math.nan}, {}),
        ({"llm.presence_penalty": True}, {}),
        ({"llm.presence_penalty": 10**400}, {}),
        ({"gen_ai.system": 10**5000}, {}),
        ({"gen_ai.system": ["openai"]}, {}),
        ({"gen_ai.system": "x" * 257}, {}),
        ({"gen_ai.system": ""}, {}),
        ({"gen_ai.system": "SomebodyNew"}, {"gen_ai.provider.name": "somebodynew"}),
        ({"llm.provider": 5, "llm.system": {"a": 1}}, {}),
        ({"traceloop.prompt.version": 10**5000}, {}),
        ({"traceloop.prompt.version": True}, {}),
        ({"traceloop.prompt.version": 1.5}, {"gen_ai.prompt.version": "1.5"}),
        ({"traceloop.span.kind": 10**5000, "traceloop.entity.name": "x"}, {}),
        ({"ai.operationId": ["ai.embed"]}, {}),
        ({"llm.request.type": "unknown"}, {}),
        ({"ai.model.provider": "." * 2_000_000}, {}),
        ({"ai.model.provider": "google"}, {"gen_ai.provider.name": "gcp.gemini"}),
        ({"llm.is_streaming": "True"}, {}),
        ({"llm.is_streaming": False}, {}),
        ({"llm.chat.stop_sequences": ("a", 5, "")}, {"gen_ai.request.stop_sequences": ["a"]}),
        ({"llm.chat.stop_sequences": ()}, {}),
        ({"llm.chat.stop_sequences": {"a": 1}}, {}),
        ({"gen_ai.openai.request.response_format": "text"}, {"gen_ai.output.type": "text"}),
        ({"gen_ai.openai.request.response_format": "yaml"}, {}),
        ({"llm.invocation_parameters": "[" * 60_000}, {}),
        ({"llm.invocation_parameters": '{"model":' * 5_000}, {}),
        ({"llm.invocation_parameters": "1" * 5_000}, {}),
        ({"llm.invocation_parameters": '{"temperature": NaN, "top_p": Infinity, "top_k": 1e400, "stop": null}'}, {}),
        ({"llm.invocation_parameters": '{"model": {"a": 1}, "seed": [1], "stream": "yes"}'}, {}),
        ({"llm.invocation_parameters": json.dumps({"model": "m", "pad": "x" * normalise.MAX_JSON})}, {}),
        ({"llm.invocation_parameters": '["model"]'}, {}),
        (
            {"llm.invocation_parameters": '{"model": "\\ud800", "stop": ["\\udfff", "ü"]}'},
            {"gen_ai.request.model": "?", "gen_ai.request.stop_sequences": ["?", "ü"]},
        ),
        ({"llm.invocation_parameters": b"{}"}, {}),
    ],
)
def test_hostile_and_odd_values(attributes: dict[str, Any], expected: dict[str, Any]) -> None:
    assert missing_attributes(attributes, "x", "y") == expected


NAMES = st.sampled_from(
    sorted(SOURCES | {rule.target for rule in dialects.RENAMES} | {"gen_ai.operation.name", "traceloop.entity.name"})
)
TEXTS = st.sampled_from(
    sorted({value for meanings in dialects.OPERATIONS.values() for value in meanings} | {"openai", "azure", "", "7"})
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PARAMETERS = st.dictionaries(st.sampled_from([rule.source for rule in dialects.INVOCATION_PARAMETERS]), JSON).map(
    json.dumps
)
VALUES = (
    st.text()
    | TEXTS
    | PARAMETERS
    | st.booleans()
    | st.integers()
    | st.just(10**4400)
    | st.floats()
    | st.binary()
    | st.lists(JSON, max_size=3)
    | st.none()
)


@given(
    st.dictionaries(NAMES, VALUES, max_size=12),
    st.sampled_from(["", "litellm", "pydantic-ai", "haystack", "gcp.vertex.agent", "openinference"]),
    st.sampled_from(["x", "call_llm", "haystack.agent.run"]),
)
def test_nothing_is_replaced_and_everything_is_typed_right(attributes: dict[str, Any], scope: str, name: str) -> None:
    before = dict(attributes)
    added = missing_attributes(attributes, scope, name)
    assert attributes.keys() == before.keys()
    assert added.keys().isdisjoint(attributes)
    assert [(key, value) for key, value in added.items() if not has_the_right_type(key, value)] == []
