"""Reads the host's configuration: arguments, environment variables and database URLs."""
