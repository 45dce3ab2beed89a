"""Reads the tokens that other systems keep, each from the system's own tables or files; nothing is written there."""
