"""The registered OAuth error codes, and what each says about a refresh."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from vault_domain.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    VaultError,
)

# The IANA registry "OAuth Extensions Error" and the codes of the documents that it builds on. Only these are kept of
# an answer: any other text in their place may be a token that the provider echoes.
REGISTERED = frozenset(
    {
        # RFC 6749 sections 4.1.2.1 and 5.2
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "access_denied", "unsupported_response_type", "server_error", "temporarily_unavailable",
        # RFC 6750, RFC 7009, RFC 8628, RFC 8707, RFC 9396, RFC 9449, RFC 9470
        "invalid_token", "insufficient_scope", "unsupported_token_type", "authorization_pending", "slow_down",
        "expired_token", "invalid_target", "invalid_authorization_details", "invalid_dpop_proof", "use_dpop_nonce",
        "insufficient_user_authentication",
        # OpenID Connect Core 1.0 section 3.1.2.6 and Unmet Authentication Requirements 1.0
        "interaction_required", "login_required", "account_selection_required", "consent_required",
        "invalid_request_uri", "invalid_request_object", "request_not_supported", "request_uri_not_supported",
        "registration_not_supported", "unmet_authentication_requirements",
    }
)  # fmt: skip

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


def registered_code(members: Mapping[str, Any] | None) -> str | None:
    """Return the OAuth error code of an answer's members, or None where it has none that is registered."""
    code = members.get("error") if members is not None else None
    if not isinstance(code, str):
        return None
    code = _ALIASES.get(code, code)
    return code if code in REGISTERED else None


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
