"""Reads what a host configures: arguments, environment variables and database URLs."""
