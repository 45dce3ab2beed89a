"""Decides the connection state of an account, and which of its tokens is the credential that a refresh spends."""

from datetime import datetime

from vault_domain.entities.account import AccountInfo, ConnectionState, TokenKind
from vault_domain.entities.causes import REFUSED
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import TokenInfo, TokenStatus
from vault_domain.rules.freshness import is_presentable, is_usable


def credential_of(record: AccountRecord, spends: TokenKind | None = None) -> TokenInfo | None:
    """Return the credential that a refresh of the account spends, or None.

    Args:
        record: the account.
        spends: the kind of token that the provider's refresher takes. None if no refresher is known; then the
            credential is the refresh token, or the API key if there is no refresh token.
    """
    if spends is not None:
        return record.tokens.get(spends)
    return record.tokens.get(TokenKind.REFRESH_TOKEN) or record.tokens.get(TokenKind.API_KEY)


def describe_account(
    record: AccountRecord, now: datetime, spends: TokenKind | None = None, key_problem: str | None = None
) -> AccountInfo:
    """Return the account as a host shows it at ``now``.

    Args:
        record: the account.
        now: the present time.
        spends: see `credential_of`.
        key_problem: why the tenant's own master key cannot be used now; see `Cipher.key_problems`.
    """
    access = record.tokens.get(TokenKind.ACCESS_TOKEN)
    refresh_token = record.tokens.get(TokenKind.REFRESH_TOKEN)
    state, reason = _connection(record, now, spends)
    if key_problem is not None and state is not ConnectionState.REAUTHORIZATION_REQUIRED:
        # Nothing opens, and no refresh begins, until the key can be used again; the user has nothing to do.
        state, reason = ConnectionState.RETRYING, key_problem
    pending = state is ConnectionState.RETRYING
    return AccountInfo(
        account=record.account,
        state=state,
        reason=reason,
        label=record.label,
        scopes=access.scopes if access else (),
        expires_at=access.expires_at if access else None,
        last_refreshed_at=access.last_refreshed_at if access else None,
        next_attempt_at=record.refresh.next_attempt_at if pending else None,
        refresh_token_expires_at=refresh_token.expires_at if refresh_token else None,
        refresh_token_lifetime=refresh_token.lifetime if refresh_token else None,
    )


def _connection(record: AccountRecord, now: datetime, spends: TokenKind | None) -> tuple[ConnectionState, str | None]:
    access = record.tokens.get(TokenKind.ACCESS_TOKEN)
    credential = credential_of(record, spends)
    if credential is not None and credential.status is TokenStatus.INVALID:
        return ConnectionState.REAUTHORIZATION_REQUIRED, credential.error_code
    if credential is not None and credential.status is TokenStatus.UNKNOWN and credential.error_code is not None:
        # The refresh that stored this credential replaced a credential that was marked invalid meanwhile. The provider
        # may have revoked this credential too. The next refresh shows whether this credential works.
        return ConnectionState.RETRYING, credential.error_code
    can_refresh = credential is not None and is_presentable(credential, now)
    if access is not None and not is_usable(access, now) and not can_refresh:
        return ConnectionState.REAUTHORIZATION_REQUIRED, access.error_code or "token_expired"
    if access is None and credential is not None and not can_refresh:
        return ConnectionState.REAUTHORIZATION_REQUIRED, "token_expired"
    refresh = record.refresh
    if refresh.concerns(credential):
        is_unknown = refresh.unknown_at(now) is not None
        if is_unknown or refresh.failures:
            unnamed = "outcome_unknown" if is_unknown else "temporarily_unavailable"
            unnamed = REFUSED if refresh.was_refused(now) else unnamed
            return ConnectionState.RETRYING, refresh.latest_code(now) or unnamed
    return ConnectionState.CONNECTED, None
