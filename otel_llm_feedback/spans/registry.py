"""The call registry: finds a captured call by any id that a vote may come back with. Bounded in count and age."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable

from otel_llm_feedback.counters import DEFAULT_COUNTERS, Counters
from otel_llm_feedback.errors import ConfigurationError
from otel_llm_feedback.spans.call import LLMCall
from otel_llm_feedback.spans.registries import Registry

__all__ = ["CallRegistry", "default_registry", "set_default_registry"]


class CallRegistry:
    """Captured calls of this process, newest wins. Thread-safe; survives a fork.

    max_calls: calls kept; the oldest goes first, counted as ("forgotten", "max_calls").
    max_age_seconds: how long after its end a call can be found.
    time_ns: the clock, nanoseconds since the epoch.
    """

    def __init__(
        self,
        max_calls: int = 10_000,
        max_age_seconds: float = 24 * 3600.0,
        *,
        time_ns: Callable[[], int] = time.time_ns,
        counters: Counters = DEFAULT_COUNTERS,
    ) -> None:
        if max_calls < 1:
            raise ConfigurationError("max_calls", max_calls, "keep at least 1 call")
        if not max_age_seconds > 0:
            raise ConfigurationError("max_age_seconds", max_age_seconds, "give a positive number of seconds")
        self._max_calls = max_calls
        self._max_age = int(max_age_seconds * 1e9)
        self._time_ns = time_ns
        self._counters = counters
        # Calls leave in the order they came. An index therefore needs no list of calls per key: when its one call leaves,
        # every earlier one with that key has left already.
        self._by_span: OrderedDict[str, LLMCall] = OrderedDict()
        self._by_trace: dict[str, LLMCall] = {}
        self._by_conversation: dict[str, LLMCall] = {}
        self._by_response: dict[str, LLMCall] = {}
        self._by_message: dict[str, LLMCall] = {}
        self._reset_lock()
        _renew_lock_in_children(self)

    def __len__(self) -> int:
        return len(self._by_span)

    def put(self, call: LLMCall) -> None:
        """Remember an ended call; the same span again replaces what was known of it."""
        with self._lock:
            known_before = self._by_span.pop(call.span_id, None)
            if known_before is not None:
                self._drop_from_indexes(known_before)
            self._by_span[call.span_id] = call
            votable = call.votable
            for index, key in self._indexes(call):
                if key is not None and (votable or key not in index or not index[key].votable):
                    index[key] = call
            self._trim()

    def by_span(self, trace_id: str, span_id: str) -> LLMCall | None:
        """The call of exactly this span."""
        call = self._fresh(self._by_span, span_id)
        return call if call is not None and call.trace_id == trace_id else None

    def by_trace(self, trace_id: str) -> LLMCall | None:
        """The votable call of this trace that ended last."""
        call = self._fresh(self._by_trace, trace_id)
        return call if call is not None and call.votable else None

    def by_response(self, response_id: str) -> LLMCall | None:
        """The call that the provider answered with this ``gen_ai.response.id``."""
        return self._fresh(self._by_response, response_id)

    def by_conversation(self, conversation_id: str) -> LLMCall | None:
        """The votable call of this conversation that ended last."""
        call = self._fresh(self._by_conversation, conversation_id)
        return call if call is not None and call.votable else None

    def by_message(self, message_id: str) -> LLMCall | None:
        """The call made for this message id of the application: the last one, votable ones before others."""
        return self._fresh(self._by_message, message_id)

    def clear(self) -> None:
        """Forget every call."""
        with self._lock:
            for index in (self._by_span, self._by_trace, self._by_conversation, self._by_response, self._by_message):
                index.clear()

    def _indexes(self, call: LLMCall) -> tuple[tuple[dict[str, LLMCall], str | None], ...]:
        return (
            (self._by_trace, call.trace_id),
            (self._by_conversation, call.conversation_id),
            (self._by_response, call.response_id),
            (self._by_message, call.message_id),
        )

    def _fresh(self, index: dict[str, LLMCall], key: str) -> LLMCall | None:
        call = index.get(key)
        return call if call is not None and not self._expired(call) else None

    def _expired(self, call: LLMCall) -> bool:
        return self._time_ns() - (call.end_time or call.start_time) > self._max_age

    def _trim(self) -> None:
        while len(self._by_span) > self._max_calls:
            self._forget_oldest()
            self._counters.add("forgotten", "max_calls")
        while self._by_span and self._expired(next(iter(self._by_span.values()))):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, call = self._by_span.popitem(last=False)
        self._drop_from_indexes(call)

    def _drop_from_indexes(self, call: LLMCall) -> None:
        for index, key in self._indexes(call):
            if key is not None and index.get(key) is call:
                del index[key]

    def _reset_lock(self) -> None:
        self._lock = threading.Lock()

    def _reset_locks_after_fork(self) -> None:
        self._reset_lock()
        self._counters.reset_lock_after_fork()


def _renew_lock_in_children(registry: CallRegistry) -> None:
    """Another thread may hold the locks at a fork; the child has no such thread to release them."""
    alive = weakref.ref(registry)

    def renew() -> None:
        known = alive()
        if known is not None:
            known._reset_locks_after_fork()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


_default: Registry | None = None


def set_default_registry(registry: Registry | None) -> None:
    """Replace the process-wide registry for whoever asks for it from now on; None: make a new one in memory."""
    global _default
    _default = registry


def default_registry() -> Registry:
    """The registry that every processor and `record_feedback` of this process share unless given another."""
    global _default
    if _default is None:
        _default = CallRegistry()
    return _default
