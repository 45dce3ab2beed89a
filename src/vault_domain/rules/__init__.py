"""Decisions, as pure functions of what is stored, the time and the policy."""
