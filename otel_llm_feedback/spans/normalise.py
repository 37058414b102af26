"""Any dialect into current GenAI attributes: what is missing, worked out from what is there. Pure functions.

Nothing that is there is changed, and message content is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from opentelemetry.util.types import AttributeValue

from otel_llm_feedback import attributes as names
from otel_llm_feedback.spans import dialects
from otel_llm_feedback.spans.dialects import Rename

__all__ = ["missing_attributes"]

Attributes: TypeAlias = Mapping[str, object]
Additions: TypeAlias = dict[str, AttributeValue]

MAX_JSON = 65_536
"""Longest JSON attribute that is parsed, in characters; longer ones hold content, not parameters."""

MAX_NAME = 256
"""Longest name of a provider, in characters."""


def missing_attributes(attributes: Attributes, scope: str, span_name: str) -> Additions:
    """The current GenAI attributes that this span lacks and its dialect implies. Empty for a span that has them all."""
    added: Additions = {}
    if not SOURCES.isdisjoint(attributes) or scope in dialects.SPAN_NAME_OPERATIONS:
        _add_operation(added, attributes, scope, span_name)
        _rename(added, attributes, attributes, dialects.SCOPED_RENAMES.get(scope, ()))
        _add_openinference(added, attributes)
        _rename(added, attributes, attributes, dialects.RENAMES)
        _add_traceloop_entity(added, attributes)
    return added


def _rename(added: Additions, attributes: Attributes, sources: Attributes, rules: Iterable[Rename]) -> None:
    for source, target, kind in rules:
        if source in sources and target not in added and target not in attributes:
            value = CONVERTERS[kind](sources[source])
            if value is not None:
                added[target] = value


def _add_operation(added: Additions, attributes: Attributes, scope: str, span_name: str) -> None:
    if names.OPERATION_NAME in attributes:
        return
    operation = dialects.SPAN_NAME_OPERATIONS.get(scope, {}).get(span_name)
    scoped = dialects.SCOPED_OPERATIONS.get(scope, {})
    for source, meanings in dialects.OPERATIONS.items():
        if operation is None and source in attributes:
            value = _text(attributes[source]) or ""
            operation = scoped.get(source, {}).get(value) or meanings.get(value)
    if operation == "chat" and _is_completion(attributes):
        operation = "text_completion"
    if operation is not None:
        added[names.OPERATION_NAME] = operation


def _is_completion(attributes: Attributes) -> bool:
    """OpenInference says LLM for both; only the older completions API has prompts and choices instead of messages."""
    return "openinference.span.kind" in attributes and any(
        k.startswith(("llm.prompts", "llm.choices")) for k in attributes
    )


def _add_openinference(added: Additions, attributes: Attributes) -> None:
    if "llm.system" in attributes or "llm.provider" in attributes:
        provider = _openinference_provider(attributes)
        if provider is not None and names.PROVIDER_NAME not in attributes:
            added[names.PROVIDER_NAME] = provider
    for source in ("llm.invocation_parameters", "embedding.invocation_parameters"):
        if source in attributes:
            _rename(added, attributes, _json_object(attributes[source]), dialects.INVOCATION_PARAMETERS)


def _openinference_provider(attributes: Attributes) -> str | None:
    host, system = ((_text(attributes.get(key)) or "").lower() for key in ("llm.provider", "llm.system"))
    pair = dialects.OPENINFERENCE_PROVIDERS.get((host, system))
    return pair or _provider(host) or _provider(system)


def _add_traceloop_entity(added: Additions, attributes: Attributes) -> None:
    target = dialects.TRACELOOP_ENTITY_NAMES.get(_text(attributes.get("traceloop.span.kind")) or "")
    if target is not None:
        _rename(added, attributes, attributes, (Rename("traceloop.entity.name", target),))


def _json_object(text: object) -> dict[str, object]:
    if not isinstance(text, str) or len(text) > MAX_JSON:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# --- one converter per kind: the value in the type that the conventions give the target, or None when it cannot be ---


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    # JSON can spell a lone surrogate, for which encoders drop the attribute.
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _printed(value: object) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63
    return str(value) if is_number else _text(value)


def _int(value: object) -> int | None:
    if isinstance(value, str):
        value = float(value) if value.isascii() and value.isdigit() and len(value) < 16 else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if abs(value) < 2**63 and int(value) == value else None


def _float(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 2**63 else None  # type: ignore[arg-type]  # narrowed by is_number


def _true(value: object) -> bool | None:
    return True if value is True else None


def _texts(value: object) -> list[str] | None:
    items = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    return [text for text in map(_text, items) if text is not None] or None


def _provider(value: object) -> str | None:
    name = (_text(value) or "").lower()
    return None if len(name) > MAX_NAME or name in dialects.NOT_PROVIDERS else dialects.PROVIDERS.get(name, name)


def _vercel_provider(value: object) -> str | None:
    """Vercel says ``vendor.product.api``; the longest known beginning counts, and its plain ``google`` is Gemini."""
    name = (_text(value) or "").lower()[: MAX_NAME + 1]
    while name not in dialects.VERCEL_PROVIDERS and "." in name:
        name = name.rpartition(".")[0]
    return dialects.VERCEL_PROVIDERS.get(name) or _provider(name)


def _output_type(value: object) -> str | None:
    kind = _text(value) or ""
    return "json" if "json" in kind else "text" if kind == "text" else None


CONVERTERS: dict[str, Callable[[object], AttributeValue | None]] = {
    "text": _text,
    "printed": _printed,
    "int": _int,
    "float": _float,
    "true": _true,
    "texts": _texts,
    "provider": _provider,
    "vercel_provider": _vercel_provider,
    "output_type": _output_type,
}

SOURCES = frozenset(
    [rule.source for rules in (dialects.RENAMES, *dialects.SCOPED_RENAMES.values()) for rule in rules]
    + list(dialects.OPERATIONS)
    + ["llm.system", "llm.provider", "llm.invocation_parameters", "embedding.invocation_parameters"]
)
"""A span with none of these speaks the current conventions already: the common case, decided in one step."""
