"""Is this an LLM span? Asked of every span of the application, so it is decided by the scope's name wherever that can be."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from otel_llm_feedback.spans import scopes

__all__ = ["Recogniser", "Verdict", "has_llm_key", "judge_scope"]

PREFIXES = ("gen_ai.", "llm.")
KEYS = frozenset({"openinference.span.kind", "traceloop.span.kind", "ai.operationId", "langsmith.span.kind"})
"""Only these of those dialects: OpenLLMetry for one writes other ``traceloop.`` attributes on every span of the process."""

MAX_REMEMBERED = 4096


class Verdict(Enum):
    """What a scope's name alone says of its spans."""

    ALWAYS = "emits LLM spans"
    NEVER = "never does"
    ASK = "look at the attributes"


def judge_scope(name: str) -> Verdict:
    """Decide by name; exact, or followed by a dot."""
    if name in scopes.RULED_OUT_SCOPES:
        return Verdict.NEVER
    if _is_or_starts(name, scopes.LLM_SCOPES):
        return Verdict.ALWAYS
    if name.startswith(scopes.INSTRUMENTATION_PREFIX):
        library = name[len(scopes.INSTRUMENTATION_PREFIX) :].partition(".")[0]
        if library in scopes.LLM_INSTRUMENTATIONS:
            return Verdict.ALWAYS
        if library in scopes.RULED_OUT_INSTRUMENTATIONS:
            return Verdict.NEVER
    return Verdict.ASK


def _is_or_starts(name: str, known: frozenset[str]) -> bool:
    while name:
        if name in known:
            return True
        name = name.rpartition(".")[0]
    return False


def has_llm_key(keys: Iterable[str]) -> bool:
    """Whether any attribute name belongs to an LLM dialect."""
    return any(key in KEYS or key.startswith(PREFIXES) for key in keys)


class Verdicts(dict[str, Verdict]):
    """`judge_scope`, remembered: a plain look-up for every scope but a new one."""

    def __missing__(self, scope_name: str) -> Verdict:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        verdict = self[scope_name] = judge_scope(scope_name)
        return verdict


class Recogniser:
    """Remembers what it decided: verdicts by scope name, and attribute names that belong to nobody's dialect.

    Both memories are bounded. Races are harmless: the worst is deciding the same thing twice.
    """

    def __init__(self) -> None:
        self.verdicts = Verdicts()
        self._foreign: set[str] = set()

    def is_llm(self, keys: Iterable[str]) -> bool:
        """`has_llm_key`, in one step for names that were all seen before."""
        if self._foreign.issuperset(keys):
            return False
        if has_llm_key(keys):
            return True
        if len(self._foreign) >= MAX_REMEMBERED:
            self._foreign.clear()
        self._foreign.update(keys)
        return False
