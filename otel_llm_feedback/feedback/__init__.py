"""Feedback: what was said about an answer, from the caller's arguments to the record on the wire."""
