"""Set-up: in code, without code, and by declarative configuration. Never breaks a set-up that is already there."""
