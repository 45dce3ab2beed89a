"""What an OAuth error code says about a refresh."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    VaultError,
)
from vault_domain.rules.oauth_codes import registered_code

# What two widely used providers say instead.
_ALIASES = {
    "bad_refresh_token": "invalid_grant",  # GitHub: "Refreshing user access tokens"
    "incorrect_client_credentials": "invalid_client",  # GitHub: "Troubleshooting OAuth app access token requests"
    "invalid_refresh_token": "invalid_grant",  # Slack: oauth.v2.access
}

# The user is wanted: OpenID Connect's codes mean that no refresh succeeds until then.
_USER_NEEDED = frozenset({"interaction_required", "login_required", "consent_required"})
_NOT_NOW = frozenset({"temporarily_unavailable", "slow_down"})

CONDEMNS_GRANT = frozenset({"invalid_grant"})
"""The codes that say that the credential spent is dead, where that is a grant."""

CONDEMNS_KEY = CONDEMNS_GRANT | {"invalid_client", "unauthorized_client"}
"""The same, where the credential is a client's id and secret: they belong to one account, not to the host."""


def error_code(members: Mapping[str, Any] | None) -> str | None:
    """Return the OAuth error code of an answer's members, or None where it has none that is registered."""
    code = members.get("error") if members is not None else None
    if not isinstance(code, str):
        return None
    return registered_code(_ALIASES.get(code, code))


def refusal(code: str | None, retry_after: timedelta | None, condemns: frozenset[str]) -> VaultError:
    """Return the error that a refusal is.

    Args:
        code: a registered code, or None where there was none.
        retry_after: what the answer's header says.
        condemns: the codes that say that the credential spent is dead.
    """
    if code in condemns or code in _USER_NEEDED:
        return ReauthorizationRequiredError(reason=code)
    if code in _NOT_NOW:
        return RefreshFailedError(reason=code, retry_after=retry_after)
    if code == "server_error":
        return RefreshFailedError(reason=code, retry_after=retry_after, outcome_unknown=True)
    return ProviderConfigurationError(reason=code)
