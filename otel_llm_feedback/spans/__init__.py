"""LLM spans: recognising them in every dialect, tagging them, remembering what a vote needs of them."""
