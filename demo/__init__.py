"""A small chat application whose answers get feedback: ``python -m demo``."""
