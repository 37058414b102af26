"""Which instrumentation scopes emit LLM spans, as data.

A scope's name is all that is known of most spans without reading their attributes, so it is asked first: names listed here
need no look at the attributes, every other name does.
"""

from __future__ import annotations

__all__ = ["LLM_INSTRUMENTATIONS", "LLM_SCOPES", "RULED_OUT_INSTRUMENTATIONS", "RULED_OUT_SCOPES"]

INSTRUMENTATION_PREFIX = "opentelemetry.instrumentation."

LLM_SCOPES = frozenset(
    "agent_framework ai autogen-core gcp.vertex.agent haystack langsmith litellm openinference openlit"
    " opentelemetry.instrumentation.genai opentelemetry.util.genai pydantic-ai strands-agents vllm".split()
)
"""A scope emits LLM spans when its name is one of these, or one of these followed by a dot."""

LLM_INSTRUMENTATIONS = frozenset(
    "agno alephalpha anthropic bedrock cohere crewai google_generativeai groq haystack langchain llamaindex mistralai"
    " ollama openai openai_agents openai_v2 replicate sagemaker together transformers vertexai voyageai watsonx writer".split()
)
"""The same for what follows ``opentelemetry.instrumentation.`` (OpenLLMetry and the official contrib packages)."""

RULED_OUT_INSTRUMENTATIONS = frozenset(
    "aio_pika aiohttp_client aiohttp_server aiokafka aiopg asgi asyncclick asyncio asyncpg aws_lambda boto cassandra celery"
    " click confluent_kafka dbapi django elasticsearch falcon fastapi flask grpc httpx jinja2 kafka logging mysql mysqlclient"
    " pika psycopg psycopg2 pymemcache pymongo pymssql pymysql pyramid redis remoulade requests sqlalchemy sqlite3 starlette"
    " system_metrics threading tornado tortoiseorm urllib urllib3 wsgi".split()
)
"""Official instrumentations that never emit LLM spans. (botocore is not here: it instruments Bedrock.)"""

RULED_OUT_SCOPES = frozenset({"otel_llm_feedback"})
"""Our own carrier spans are feedback, never what feedback is about."""
