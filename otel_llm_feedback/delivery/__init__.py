"""Bytes to a collector: what is recorded becomes OTLP, is kept on disk, and is sent until it has been accepted."""
