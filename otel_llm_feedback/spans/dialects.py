"""What other dialects call the current GenAI attributes, as data.

Sources: the deprecated registry of the semantic conventions, and the current releases of OpenLLMetry, OpenInference, the
Vercel AI SDK, LangSmith, Pydantic AI, LiteLLM, Haystack, Google ADK and OpenLIT. Message content has no rows: it is never
touched. No row leads to a conversation id: nobody but the application knows it.
"""

from __future__ import annotations

from typing import NamedTuple

from otel_llm_feedback import attributes as names

__all__ = [
    "INVOCATION_PARAMETERS",
    "LITELLM_CALLS",
    "NOT_PROVIDERS",
    "NOT_VOTABLE_SPANS",
    "OPENINFERENCE_PROVIDERS",
    "OPERATIONS",
    "PROVIDERS",
    "RENAMES",
    "SCOPED_OPERATIONS",
    "SCOPED_RENAMES",
    "SPAN_NAME_OPERATIONS",
    "TRACELOOP_ENTITY_NAMES",
    "VERCEL_PROVIDERS",
    "VOTABLE_OPERATIONS",
    "Rename",
]

LITELLM_CALLS = {
    "completion": "chat",  # LiteLLM calls every chat a completion
    "acompletion": "chat",
    "text_completion": "text_completion",
    "atext_completion": "text_completion",
    "responses": "chat",
    "aresponses": "chat",
    "anthropic_messages": "chat",
    "aanthropic_messages": "chat",
    "generate_content": "generate_content",
    "agenerate_content": "generate_content",
    "generate_content_stream": "generate_content",
    "agenerate_content_stream": "generate_content",
}
"""LiteLLM's call types that a person can judge. It writes them as ``llm.request.type``, and all of them but ``completion`` as
``gen_ai.operation.name`` too: what is awaited, which is everything behind its proxy, is never a plain ``chat`` there.
"""

VOTABLE_OPERATIONS = frozenset(
    {"chat", "generate_content", "text_completion", "invoke_agent", "invoke_workflow"}
).union(LITELLM_CALLS)
"""Operations whose result a person sees and can judge."""

NOT_VOTABLE_SPANS = frozenset({"raw_gen_ai_request"})
"""LiteLLM emits this second span for the same request: never the one that people judge."""


class Rename(NamedTuple):
    """One source attribute, the attribute it becomes, and the type that the conventions give the latter."""

    source: str
    target: str
    kind: str = "text"


RENAMES = (
    # current and deprecated GenAI conventions
    Rename("gen_ai.system", names.PROVIDER_NAME, "provider"),
    Rename("gen_ai.usage.prompt_tokens", names.INPUT_TOKENS, "int"),
    Rename("gen_ai.usage.completion_tokens", names.OUTPUT_TOKENS, "int"),
    Rename("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_write.input_tokens", "int"),
    Rename("gen_ai.openai.request.seed", "gen_ai.request.seed", "int"),
    Rename("gen_ai.openai.request.response_format", "gen_ai.output.type", "output_type"),
    Rename("gen_ai.openai.request.service_tier", "openai.request.service_tier"),
    Rename("gen_ai.openai.response.service_tier", "openai.response.service_tier"),
    Rename("gen_ai.openai.response.system_fingerprint", "openai.response.system_fingerprint"),
    # OpenLLMetry, LiteLLM, OpenLIT
    Rename("gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_write.input_tokens", "int"),
    Rename("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cache_read.input_tokens", "int"),
    Rename("gen_ai.usage.prompt_tokens_details.cached_tokens", "gen_ai.usage.cache_read.input_tokens", "int"),
    Rename("gen_ai.usage.reasoning_tokens", "gen_ai.usage.reasoning.output_tokens", "int"),
    Rename("llm.usage.reasoning_tokens", "gen_ai.usage.reasoning.output_tokens", "int"),
    Rename("gen_ai.is_streaming", names.REQUEST_STREAM, "true"),
    Rename("llm.is_streaming", names.REQUEST_STREAM, "true"),
    Rename("llm.top_k", "gen_ai.request.top_k", "int"),
    Rename("llm.frequency_penalty", "gen_ai.request.frequency_penalty", "float"),
    Rename("llm.presence_penalty", "gen_ai.request.presence_penalty", "float"),
    Rename("llm.chat.stop_sequences", "gen_ai.request.stop_sequences", "texts"),
    Rename("gen_ai.request.reasoning_effort", "gen_ai.request.reasoning.level"),
    Rename("llm.request.reasoning_effort", "gen_ai.request.reasoning.level"),
    Rename("gen_ai.response.finish_reason", names.FINISH_REASONS, "texts"),
    Rename("llm.response.finish_reason", names.FINISH_REASONS, "texts"),
    Rename("llm.response.stop_reason", names.FINISH_REASONS, "texts"),
    Rename("gen_ai.openai.system_fingerprint", "openai.response.system_fingerprint"),
    Rename("traceloop.workflow.name", names.WORKFLOW_NAME),
    Rename("traceloop.prompt.key", names.PROMPT_NAME),
    Rename("traceloop.prompt.version", names.PROMPT_VERSION, "printed"),
    # OpenInference
    Rename("llm.request.model_name", names.REQUEST_MODEL),
    Rename("llm.response.model_name", names.RESPONSE_MODEL),
    Rename("embedding.model_name", names.REQUEST_MODEL),
    # Instrumentations write the model that answered there; it stands in for the requested one where nothing names that.
    Rename("llm.model_name", names.RESPONSE_MODEL),
    Rename("llm.model_name", names.REQUEST_MODEL),
    Rename("llm.token_count.prompt", names.INPUT_TOKENS, "int"),
    Rename("llm.token_count.completion", names.OUTPUT_TOKENS, "int"),
    Rename("llm.token_count.prompt_details.cache_read", "gen_ai.usage.cache_read.input_tokens", "int"),
    Rename("llm.token_count.prompt_details.cache_write", "gen_ai.usage.cache_write.input_tokens", "int"),
    Rename("llm.token_count.completion_details.reasoning", "gen_ai.usage.reasoning.output_tokens", "int"),
    Rename("llm.finish_reason", names.FINISH_REASONS, "texts"),
    Rename("agent.name", names.AGENT_NAME),
    Rename("tool.name", names.TOOL_NAME),
    Rename("tool.description", "gen_ai.tool.description"),
    Rename("tool.id", names.TOOL_CALL_ID),
    # Vercel AI SDK (both its older promptTokens and its newer inputTokens spelling)
    Rename("ai.model.provider", names.PROVIDER_NAME, "vercel_provider"),
    Rename("ai.model.id", names.REQUEST_MODEL),
    Rename("ai.response.id", names.RESPONSE_ID),
    Rename("ai.response.model", names.RESPONSE_MODEL),
    Rename("ai.response.finishReason", names.FINISH_REASONS, "texts"),
    Rename("ai.usage.inputTokens", names.INPUT_TOKENS, "int"),
    Rename("ai.usage.promptTokens", names.INPUT_TOKENS, "int"),
    Rename("ai.usage.outputTokens", names.OUTPUT_TOKENS, "int"),
    Rename("ai.usage.completionTokens", names.OUTPUT_TOKENS, "int"),
    Rename("ai.usage.cachedInputTokens", "gen_ai.usage.cache_read.input_tokens", "int"),
    Rename("ai.usage.reasoningTokens", "gen_ai.usage.reasoning.output_tokens", "int"),
    Rename("ai.toolCall.name", names.TOOL_NAME),
    Rename("ai.toolCall.id", names.TOOL_CALL_ID),
    Rename("ai.telemetry.functionId", names.AGENT_NAME),
    # Haystack
    Rename("haystack.tool.name", names.TOOL_NAME),
    Rename("haystack.tool.call.id", names.TOOL_CALL_ID),
)
"""In order of preference: where two sources have the same target, the first one present wins."""

SCOPED_RENAMES = {
    "pydantic-ai": (Rename("model_name", names.REQUEST_MODEL), Rename("agent_name", names.AGENT_NAME)),
}
"""Names too common to be taken as ours anywhere but in one scope."""

OPERATIONS: dict[str, dict[str, str]] = {
    # Vercel AI SDK: the outer span of a call is the agent's, the inner doGenerate/doStream is the model's
    "ai.operationId": {
        "ai.generateText": "invoke_agent",
        "ai.streamText": "invoke_agent",
        "ai.generateObject": "invoke_agent",
        "ai.streamObject": "invoke_agent",
        "ai.generateText.doGenerate": "chat",
        "ai.streamText.doStream": "chat",
        "ai.generateObject.doGenerate": "chat",
        "ai.streamObject.doStream": "chat",
        "ai.embed": "embeddings",
        "ai.embed.doEmbed": "embeddings",
        "ai.embedMany": "embeddings",
        "ai.embedMany.doEmbed": "embeddings",
        "ai.toolCall": "execute_tool",
        "ai.rerank": "rerank",
    },
    "openinference.span.kind": {
        "LLM": "chat",
        "EMBEDDING": "embeddings",
        "RETRIEVER": "retrieval",
        "AGENT": "invoke_agent",
        "TOOL": "execute_tool",
    },
    "langsmith.span.kind": {
        "llm": "chat",
        "tool": "execute_tool",
        "embedding": "embeddings",
        "retriever": "retrieval",
    },
    "llm.request.type": {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"},
    "traceloop.span.kind": {"workflow": "invoke_workflow", "agent": "invoke_agent", "tool": "execute_tool"},
}
"""Attributes that name the kind of work, in order of preference, and the operation each of their values means."""

SCOPED_OPERATIONS = {
    "litellm": {"llm.request.type": {**LITELLM_CALLS, "aembedding": "embeddings"}},
}

SPAN_NAME_OPERATIONS = {
    "haystack": {
        "haystack.agent.run": "invoke_agent",
        "haystack.chat_generator.run": "chat",
        "haystack.agent.step.llm": "chat",
        "haystack.agent.step.tool": "execute_tool",
        "haystack.pipeline.run": "invoke_workflow",
    },
    "gcp.vertex.agent": {  # Google ADK's older schema; its newer one says generate_content itself
        "call_llm": "generate_content",
        "invocation": "invoke_workflow",
    },
}
"""Scopes that say what a span is by its name alone."""

TRACELOOP_ENTITY_NAMES = {
    "workflow": names.WORKFLOW_NAME,
    "agent": names.AGENT_NAME,
    "tool": names.TOOL_NAME,
}
"""What ``traceloop.entity.name`` names, by ``traceloop.span.kind``."""

NOT_PROVIDERS = frozenset({"gcp.vertex.agent", "_other", ""})
"""Values found where a provider should be: Google ADK's older schema puts its own name there."""

PROVIDERS = {
    "amazon": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "az.ai.inference": "azure.ai.inference",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.inference",
    "azure-openai": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gen_ai",
    "google_genai": "gcp.gen_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Other spellings of the values of ``gen_ai.provider.name``, in lower case. An unknown value is kept."""

VERCEL_PROVIDERS = {
    "google": "gcp.gemini",
    "google.generative-ai": "gcp.gemini",
    "google.vertex": "gcp.vertex_ai",
}
"""Beginnings of ``ai.model.provider`` that `PROVIDERS` does not say."""

OPENINFERENCE_PROVIDERS = {
    ("azure", "openai"): "azure.ai.openai",
    ("google", "vertexai"): "gcp.vertex_ai",
}
"""Pairs of ``llm.provider`` (who hosts) and ``llm.system`` (whose product) that mean more than either alone."""

INVOCATION_PARAMETERS = (
    Rename("model", names.REQUEST_MODEL),
    Rename("stream", names.REQUEST_STREAM, "true"),
    Rename("temperature", "gen_ai.request.temperature", "float"),
    Rename("top_p", "gen_ai.request.top_p", "float"),
    Rename("top_k", "gen_ai.request.top_k", "int"),
    Rename("max_tokens", "gen_ai.request.max_tokens", "int"),
    Rename("max_completion_tokens", "gen_ai.request.max_tokens", "int"),
    Rename("frequency_penalty", "gen_ai.request.frequency_penalty", "float"),
    Rename("presence_penalty", "gen_ai.request.presence_penalty", "float"),
    Rename("seed", "gen_ai.request.seed", "int"),
    Rename("stop", "gen_ai.request.stop_sequences", "texts"),
)
"""Keys of OpenInference's JSON attributes ``llm.invocation_parameters`` and ``embedding.invocation_parameters``."""
