from __future__ import annotations

from otel_llm_feedback import attributes as names
from otel_llm_feedback.spans import dialects, scopes
from otel_llm_feedback.spans.normalise import CONVERTERS


def all_rules() -> list[dialects.Rename]:
    scoped = [rule for rules in dialects.SCOPED_RENAMES.values() for rule in rules]
    return [*dialects.RENAMES, *dialects.INVOCATION_PARAMETERS, *scoped]


def test_no_rule_leads_to_a_conversation_id() -> None:
    assert [rule for rule in all_rules() if rule.target == names.CONVERSATION_ID] == []


def test_no_rule_reads_or_writes_message_content() -> None:
    content = ("messages", "input.value", "output.value", "system_instructions", "arguments", "result", "prompt.0")
    assert [rule for rule in all_rules() if any(word in rule.source + rule.target for word in content)] == []


def test_every_rule_has_a_converter_and_no_rule_is_there_twice() -> None:
    assert {rule.kind for rule in all_rules()} <= set(CONVERTERS)
    assert len(set(dialects.RENAMES)) == len(dialects.RENAMES)


def test_rules_lead_to_current_names_only() -> None:
    targets = {rule.target for rule in all_rules()}
    assert {target.partition(".")[0] for target in targets} == {"gen_ai", "openai"}
    assert targets.isdisjoint({rule.source for rule in dialects.RENAMES})


def test_a_provider_is_spelled_one_way() -> None:
    values = set(dialects.PROVIDERS.values())
    assert values.isdisjoint(dialects.PROVIDERS)
    assert all(name == name.lower() for name in dialects.PROVIDERS)


def test_no_scope_is_both_llm_and_ruled_out() -> None:
    assert scopes.LLM_INSTRUMENTATIONS.isdisjoint(scopes.RULED_OUT_INSTRUMENTATIONS)
    assert scopes.LLM_SCOPES.isdisjoint(scopes.RULED_OUT_SCOPES)
