"""The registered OAuth error codes; the vault stores and logs no other error code of a provider."""

from vault_domain.entities.text import plain_text

REGISTERED_CODES = frozenset(
    {
        # RFC 6749 sections 5.2, 4.1.2.1 and 4.2.2.1
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_response_type",
        # RFC 6750 section 3.1
        "insufficient_scope",
        "invalid_token",
        # RFC 7009 section 2.2.1
        "unsupported_token_type",
        # RFC 8628 section 3.5
        "authorization_pending",
        "expired_token",
        "slow_down",
        # RFC 8707, RFC 9396, RFC 9449, RFC 9470
        "insufficient_user_authentication",
        "invalid_authorization_details",
        "invalid_dpop_proof",
        "invalid_target",
        "use_dpop_nonce",
        # OpenID Connect Core 1.0 section 3.1.2.6
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "invalid_request_object",
        "invalid_request_uri",
        "login_required",
        "registration_not_supported",
        "request_not_supported",
        "request_uri_not_supported",
        # OpenID Connect Core Error Code unmet_authentication_requirements 1.0
        "unmet_authentication_requirements",
    }
)
"""The codes of the IANA registry "OAuth Extensions Error", without draft and vendor codes."""


def registered_code(code: str | None) -> str | None:
    """Return a registered code unchanged; return None for any other value, because such a value may be free text."""
    text = plain_text(code)
    return text if text in REGISTERED_CODES else None
