"""Turns a provider's OAuth error codes into errors of the vault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from vault_domain.entities.causes import DPOP_REQUIRED, LOGIN_RESTRICTED
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    VaultError,
)
from vault_domain.rules.oauth_codes import registered_code

# Codes that two widely used providers send instead of the registered ones.
_ALIASES = {
    "bad_refresh_token": "invalid_grant",  # GitHub: "Refreshing user access tokens"
    "incorrect_client_credentials": "invalid_client",  # GitHub: "Troubleshooting OAuth app access token requests"
    "invalid_refresh_token": "invalid_grant",  # Slack: oauth.v2.access
}

# These codes of OpenID Connect mean that no refresh succeeds until the user acts at the provider.
_USER_NEEDED = frozenset({"interaction_required", "login_required", "consent_required"})
_PROOF_NEEDED = frozenset({"use_dpop_nonce", "invalid_dpop_proof"})  # RFC 9449 section 5
_NOT_NOW = frozenset({"temporarily_unavailable", "slow_down"})

CONDEMNS_GRANT = frozenset({"invalid_grant"})
"""The codes by which a provider says that a refresh token is permanently invalid."""

CONDEMNS_KEY = CONDEMNS_GRANT | {"invalid_client", "unauthorized_client"}
"""The codes by which a provider says that an API key, such as a client id and secret, is permanently invalid."""


def error_code(members: Mapping[str, Any] | None) -> str | None:
    """Return the registered OAuth error code for the ``error`` among an answer's members, or None."""
    code = members.get("error") if members is not None else None
    if not isinstance(code, str):
        return None
    return registered_code(_ALIASES.get(code, code)) or (code if code == LOGIN_RESTRICTED else None)


def refusal(code: str | None, retry_after: timedelta | None, condemns: frozenset[str]) -> VaultError:
    """Return the error to raise for a provider's refusal.

    Args:
        code: a registered code, or None.
        retry_after: the time from the answer's Retry-After header, or None.
        condemns: the codes that mean that the credential is permanently invalid.
    """
    if code in condemns or code in _USER_NEEDED:
        return ReauthorizationRequiredError(reason=code)
    if code in _PROOF_NEEDED:
        return ProviderConfigurationError(reason=DPOP_REQUIRED, refused=False)
    if code == LOGIN_RESTRICTED:
        return ProviderConfigurationError(reason=code, refused=False)
    if code in _NOT_NOW:
        return RefreshFailedError(reason=code, retry_after=retry_after)
    if code == "server_error":
        return RefreshFailedError(reason=code, retry_after=retry_after, outcome_unknown=True)
    return ProviderConfigurationError(reason=code)
