"""The codes that say why the database or a provider could not be used; errors, logs, accounts and events show them."""

from __future__ import annotations

from vault_domain.entities.text import plain_text

CONNECTION_REFUSED = "connection_refused"
CONNECTION_FAILED = "connection_failed"
CONNECTION_LOST = "connection_lost"
UNKNOWN_HOST = "unknown_host"
AUTHENTICATION_FAILED = "authentication_failed"
DATABASE_MISSING = "database_missing"
PERMISSION_DENIED = "permission_denied"
TLS = "tls"
TIMEOUT = "timeout"
TOO_MANY_CONNECTIONS = "too_many_connections"
READ_ONLY = "read_only"
DISK_FULL = "disk_full"
LOCKED = "locked"
CORRUPT = "corrupt"
SHUTTING_DOWN = "shutting_down"
CLOSED = "closed"
HTTP_404 = "http_404"
REDIRECT = "redirect"
UNREADABLE_ANSWER = "unreadable_answer"
PRIVATE_ADDRESS = "private_address"

REFUSED = "refused"
"""The provider gave no registered code; any other one may be free text."""

OUTCOME_UNKNOWN = "outcome_unknown"
"""Nobody knows whether the provider has consumed the credential."""

NOT_HOME = "not_home"
"""The database is a copy, or has moved, so its vault sends no stored token to a provider."""

_OF_ANY_CONNECTION = frozenset({CONNECTION_REFUSED, CONNECTION_FAILED, CONNECTION_LOST, UNKNOWN_HOST, TLS, TIMEOUT})

STORAGE_CAUSES = _OF_ANY_CONNECTION | {
    *(AUTHENTICATION_FAILED, DATABASE_MISSING, PERMISSION_DENIED, TOO_MANY_CONNECTIONS, READ_ONLY, DISK_FULL),
    *(LOCKED, CORRUPT, SHUTTING_DOWN, CLOSED),
}
"""The causes of a `StorageError`. For any other cause, ``reason`` is the database's own code, such as an SQLSTATE."""

WRITE_CAUSES = frozenset({READ_ONLY, DISK_FULL})
"""The causes that make only writes fail. Reads work meanwhile, so a read does not show that such a fault is over."""

CLOCK_SKEW = "clock_skew"
DPOP_REQUIRED = "dpop_required"
TOKEN_NOT_BOUND = "token_not_bound"
"""The provider gave an access token that is not bound to the account's key, although the host demands it (DPoP)."""
PAR_REQUIRED = "par_required"
"""The provider wants pushed authorization requests (RFC 9126), and its profile does not say where to send them."""
LOGIN_RESTRICTED = "login_restricted"
SUSPENDED = "suspended"
ACCESS_TOKEN_TOO_LONG = "access_token_too_long"

VARIABLE_REFUSED = "variable_refused"
"""A value that is stored with the account would decide where secrets go, and the profile or the host refuses it."""

ACCOUNT_CAUSES = frozenset({LOGIN_RESTRICTED, SUSPENDED, ACCESS_TOKEN_TOO_LONG, VARIABLE_REFUSED})
"""The causes of a failed refresh that concern one account rather than its provider."""

_OF_A_PROVIDER = frozenset({HTTP_404, REDIRECT, UNREADABLE_ANSWER, PRIVATE_ADDRESS, CLOCK_SKEW, DPOP_REQUIRED}) | {
    TOKEN_NOT_BOUND
}

PROVIDER_CAUSES = _OF_ANY_CONNECTION | ACCOUNT_CAUSES | _OF_A_PROVIDER
"""The causes of a failed refresh, in addition to the registered OAuth error codes."""

OUTAGES = _OF_ANY_CONNECTION | {"server_error", "slow_down", "temporarily_unavailable"}
"""The codes of failures that refuse neither a credential nor a request nor a client."""


def provider_cause(code: str | None) -> str | None:
    """Return a cause of a failed refresh unchanged; return None for anything else, because it may be free text."""
    text = plain_text(code)
    return text if text in PROVIDER_CAUSES else None
