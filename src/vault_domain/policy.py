"""Expiry and refresh rules, as pure functions of what is stored, the time and the policy."""

import enum
from datetime import datetime, timedelta

from attrs import frozen

from vault_domain.account import AccountInfo, ConnectionState, TokenKind
from vault_domain.refresh_state import AccountRecord
from vault_domain.token import DEFAULT_REFRESH_BUFFER, TokenInfo, TokenStatus


class Freshness(enum.Enum):
    """What a caller may do with an access token."""

    FRESH = "fresh"
    """Use it."""
    DUE = "due"
    """Use it; it should be refreshed."""
    UNUSABLE = "unusable"
    """Expired or invalid: do not use it."""


@frozen
class RefreshPolicy:
    """When a token is refreshed.

    Attributes:
        buffer: how long before its end an access token is refreshed by a caller who needs it.
    """

    buffer: timedelta = DEFAULT_REFRESH_BUFFER

    @property
    def horizon(self) -> timedelta:
        """How long before its end a sweep refreshes a token: longer, so that a caller rarely waits."""
        return 2 * self.buffer


def is_usable(info: TokenInfo, now: datetime) -> bool:
    """Whether the token may be used at ``now``: not invalid, not expired. An UNKNOWN one may be tried."""
    return info.status is not TokenStatus.INVALID and not info.is_expired(now)


def capped(wanted: timedelta, lifetime: timedelta | None) -> timedelta:
    """Return ``wanted``, but at most half of the lifetime where that is known.

    Without the cap a token that lives for less than the buffer would be due the moment it is stored.
    """
    return wanted if lifetime is None else min(wanted, lifetime / 2)


def is_due(info: TokenInfo, now: datetime, buffer: timedelta) -> bool:
    """Whether at most ``buffer`` is left of the token; one without expiry is never due."""
    return info.expires_at is not None and info.expires_at - now <= buffer


def freshness(info: TokenInfo, now: datetime, policy: RefreshPolicy, buffer: timedelta | None = None) -> Freshness:
    """Judge an access token.

    Args:
        info: the token.
        now: the time to judge by.
        policy: the configured rules.
        buffer: replaces the configured buffer and is taken as it is; None takes the configured one, capped at half
            of the lifetime.
    """
    if not is_usable(info, now):
        return Freshness.UNUSABLE
    wanted = capped(policy.buffer, info.lifetime) if buffer is None else buffer
    return Freshness.DUE if is_due(info, now, wanted) else Freshness.FRESH


def credential_of(record: AccountRecord, spends: TokenKind | None = None) -> TokenInfo | None:
    """Return the credential that a refresh of the account spends, or None.

    Args:
        record: the account.
        spends: the kind that the provider's refresher takes; None where no refresher is known: then it is the
            refresh token, else the API key.
    """
    if spends is not None:
        return record.tokens.get(spends)
    return record.tokens.get(TokenKind.REFRESH_TOKEN) or record.tokens.get(TokenKind.API_KEY)


def describe_account(record: AccountRecord, now: datetime, spends: TokenKind | None = None) -> AccountInfo:
    """Return what a host shows of an account at ``now``."""
    access = record.tokens.get(TokenKind.ACCESS_TOKEN)
    state, reason = _connection(record, now, spends)
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
    )


def _connection(record: AccountRecord, now: datetime, spends: TokenKind | None) -> tuple[ConnectionState, str | None]:
    access = record.tokens.get(TokenKind.ACCESS_TOKEN)
    credential = credential_of(record, spends)
    if credential is not None and credential.status is TokenStatus.INVALID:
        return ConnectionState.REAUTHORIZATION_REQUIRED, credential.error_code
    can_refresh = credential is not None and is_usable(credential, now)
    if access is not None and not is_usable(access, now) and (not can_refresh or credential is access):
        return ConnectionState.REAUTHORIZATION_REQUIRED, access.error_code or "token_expired"
    if access is None and credential is not None and not can_refresh:
        return ConnectionState.REAUTHORIZATION_REQUIRED, "token_expired"
    refresh = record.refresh
    if refresh.concerns(credential):
        if refresh.unknown_at(now) is not None:
            return ConnectionState.RETRYING, refresh.error_code or "outcome_unknown"
        if refresh.failures:
            return ConnectionState.RETRYING, refresh.error_code or "temporarily_unavailable"
    return ConnectionState.CONNECTED, None
