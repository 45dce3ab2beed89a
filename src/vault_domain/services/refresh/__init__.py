"""Use cases that get a new access token from a provider."""
