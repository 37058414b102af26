"""What the application knows and no instrumentation can: who is talking, in which conversation, about which message."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Token
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from otel_llm_feedback import attributes as names
from otel_llm_feedback.errors import InvalidField

__all__ = ["USER_ID", "llm_context", "tags_in"]

_KEY = otel_context.create_key("otel_llm_feedback")

USER_ID = "user_id"
"""The one tag whose attribute depends on settings: it stays under this name until a span is tagged."""

MAX_LENGTH = 1024
MAX_NAME = 255

ALIASES = {
    "agent_id": names.AGENT_ID,
    "agent_name": names.AGENT_NAME,
    "agent_version": names.AGENT_VERSION,
    "conversation_id": names.CONVERSATION_ID,
    "environment": names.ENVIRONMENT,
    "message_id": names.TARGET_MESSAGE_ID,
    "prompt_name": names.PROMPT_NAME,
    "prompt_version": names.PROMPT_VERSION,
    "session_id": names.SESSION_ID,
    "user_id": USER_ID,
    "workflow_name": names.WORKFLOW_NAME,
}


P = ParamSpec("P")
T = TypeVar("T")


class Tagging:
    """What `llm_context` returns: a ``with`` block, or a decorator of functions and ``async`` functions."""

    def __init__(self, tags: Mapping[str, AttributeValue]) -> None:
        self._tags = tags
        self._token: Token[Context] | None = None

    def __enter__(self) -> None:
        if self._token is not None:
            raise InvalidField("llm_context", self, "it is entered already: call llm_context(...) anew for every block")
        self._token = otel_context.attach(otel_context.set_value(_KEY, {**tags_in(None), **self._tags}))

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            otel_context.detach(token)

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorate ``function``. Raises InvalidField for a generator, whose body runs in its consumer's context."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidField("function", function, "llm_context cannot decorate a generator: use `with` inside it")

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            with Tagging(self._tags):
                return function(*args, **kwargs)

        @wraps(function)
        async def run_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
            with Tagging(self._tags):
                return await cast("Awaitable[Any]", function(*args, **kwargs))

        return cast("Callable[P, T]", run_coroutine) if inspect.iscoroutinefunction(function) else run


def llm_context(
    *,
    conversation_id: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    message_id: str | None = None,
    prompt_name: str | None = None,
    prompt_version: str | None = None,
    agent_name: str | None = None,
    **more: AttributeValue | None,
) -> Tagging:
    """Tag every LLM span that starts inside this block (also usable as a decorator, of ``async`` functions too).

    Blocks nest, the inner one winning name by name. They follow OpenTelemetry context: into asyncio tasks, and into threads
    to which the context is passed on. What an instrumentation sets itself is never replaced.

    conversation_id: ``gen_ai.conversation.id``.
    user_id: sent only as ``enduser.pseudo.id``, and only when a pseudonym key is set; raw if the settings say so.
    session_id: ``session.id``.
    message_id: the application's own id of the answer, by which `Target.message` finds the call later.
    prompt_name, prompt_version, agent_name: the GenAI attributes of those names.
    more: ``agent_id``, ``agent_version``, ``workflow_name``, ``environment``, or any attribute by its full name.

    Raises InvalidField for a name or value that a span cannot carry. None leaves a tag as it is outside.
    """
    known = {
        "conversation_id": conversation_id,
        "user_id": user_id,
        "session_id": session_id,
        "message_id": message_id,
        "prompt_name": prompt_name,
        "prompt_version": prompt_version,
        "agent_name": agent_name,
    }
    tags: dict[str, AttributeValue] = {
        ALIASES[name]: _text(name, value) for name, value in known.items() if value is not None
    }
    tags |= {ALIASES.get(name, name): _any(_name(name), value) for name, value in more.items() if value is not None}
    return Tagging(tags)


def tags_in(context: Context | None) -> Mapping[str, AttributeValue]:
    """The tags that hold in ``context`` (None: the current one), by attribute name."""
    tags = otel_context.get_value(_KEY, context)
    return tags if isinstance(tags, dict) else {}


def _name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME:
        raise InvalidField("name", name, f"name an attribute with 1 to {MAX_NAME} characters")
    return name


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidField(name, value, "pass text", private=True)
    if not value or len(value) > MAX_LENGTH:
        raise InvalidField(name, value, f"pass 1 to {MAX_LENGTH} characters", private=True)
    return value.encode("utf-8", "replace").decode()


def _any(name: str, value: object) -> AttributeValue:
    if name in ALIASES or isinstance(value, str):
        return _text(name, value)
    if isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, str) for item in value):
        return [_text(name, item) for item in value]
    raise InvalidField(name, value, "pass text, a bool, a float, a 64-bit int or a list of texts")
