"""Every event and attribute name that we write, each group with its source.

GenAI names come from the OpenTelemetry GenAI semantic conventions (status Development); the constants that
``opentelemetry-semantic-conventions`` ships lag behind them and move between releases, so they are spelled out here.
Names that the conventions lack live under ``llm_feedback.``: nothing custom may go under ``gen_ai.``.
"""

from __future__ import annotations

# --- GenAI conventions: spans (model/gen-ai/spans.yaml, registry.yaml) ---
OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CONVERSATION_ID = "gen_ai.conversation.id"
AGENT_ID = "gen_ai.agent.id"
AGENT_NAME = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
PROMPT_NAME = "gen_ai.prompt.name"
PROMPT_VERSION = "gen_ai.prompt.version"
WORKFLOW_NAME = "gen_ai.workflow.name"
TOOL_NAME = "gen_ai.tool.name"
TOOL_CALL_ID = "gen_ai.tool.call.id"

# --- GenAI conventions: the event gen_ai.evaluation.result (model/gen-ai/events.yaml) ---
EVALUATION_EVENT = "gen_ai.evaluation.result"
EVALUATION_NAME = "gen_ai.evaluation.name"
SCORE_VALUE = "gen_ai.evaluation.score.value"
SCORE_LABEL = "gen_ai.evaluation.score.label"
EXPLANATION = "gen_ai.evaluation.explanation"

# --- Our own events ---
ERASURE_EVENT = "llm_feedback.erasure"

# --- General conventions (registry: error, session, enduser, user, deployment, service) ---
ERROR_TYPE = "error.type"
SESSION_ID = "session.id"
PSEUDONYM = "enduser.pseudo.id"
USER_ID = "user.id"
ENVIRONMENT = "deployment.environment.name"
SERVICE_NAME = "service.name"
SERVICE_VERSION = "service.version"

# --- Our own ---
SCOPE_NAME = "otel_llm_feedback"
BODY = "user feedback"
ID = "llm_feedback.id"
REVISION = "llm_feedback.revision"
OPERATION = "llm_feedback.operation"
KIND = "llm_feedback.kind"
TARGET_TYPE = "llm_feedback.target.type"
TARGET_MESSAGE_ID = "llm_feedback.target.message.id"
TARGET_DOCUMENT_POSITION = "llm_feedback.target.document.position"
TARGET_TOOL_CALL_ID = "llm_feedback.target.tool_call.id"
TARGET_TEXT_START = "llm_feedback.target.text.start"
TARGET_TEXT_END = "llm_feedback.target.text.end"
TARGET_ENTITY_KEY = "llm_feedback.target.entity.key"
TARGET_ENTITY_VALUE = "llm_feedback.target.entity.value"
TRACE_SAMPLED = "llm_feedback.trace.sampled"
TRUNCATED = "llm_feedback.truncated"
METADATA_PREFIX = "llm_feedback.metadata."
CLEARED = "llm_feedback.cleared"
SIGNAL = "llm_feedback.signal"
EDIT_DISTANCE = "llm_feedback.edit.distance"
SOURCE_TYPE = "llm_feedback.source.type"
SOURCE_ID = "llm_feedback.source.id"
SOURCE_RUN_ID = "llm_feedback.source.run_id"
SOURCE_METADATA = "llm_feedback.source.metadata"
SCORE_NORMALIZED = "llm_feedback.score.normalized"
SCALE_NAME = "llm_feedback.scale.name"
SCALE_TYPE = "llm_feedback.scale.type"
SCALE_MIN = "llm_feedback.scale.min"
SCALE_MAX = "llm_feedback.scale.max"
SCALE_HIGHER_IS_BETTER = "llm_feedback.scale.higher_is_better"
SCALE_CATEGORIES = "llm_feedback.scale.categories"
CATEGORIES = "llm_feedback.categories"
VALUE = "llm_feedback.value"
GROUP_ID = "llm_feedback.group.id"
GROUP_CHOICE = "llm_feedback.group.choice"
GROUP_BASELINE = "llm_feedback.group.baseline"
PROJECT_ID = "llm_feedback.project.id"
EXPERIMENT_ID = "llm_feedback.experiment.id"
OUTCOME = "llm_feedback.outcome"
REASON = "llm_feedback.reason"
