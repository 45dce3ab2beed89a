"""A real OAuth 2 server (django-oauth-toolkit) in a process of its own, on loopback."""

from .client import OAuthServer, Stats, TokenPair, start_oauth_server

__all__ = ["OAuthServer", "Stats", "TokenPair", "start_oauth_server"]
