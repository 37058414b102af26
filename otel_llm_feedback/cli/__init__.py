"""The command ``otel-llm-feedback``: looks into a spool, live or left behind, and does what a person decides about it."""
