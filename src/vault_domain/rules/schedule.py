"""Decides from the stored values of an account when a sweep refreshes the account."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_domain.entities.account import TokenKind
from vault_domain.entities.lifetime import capped
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import TokenInfo, TokenStatus
from vault_domain.rules.freshness import RefreshPolicy


def idle_limit(provider: str, policy: RefreshPolicy) -> timedelta | None:
    """Return the longest time between two refreshes of a grant: 80 % of the provider's idle lifetime, or None."""
    idle = policy.idle_lifetimes.get(provider)
    return None if idle is None else idle * 4 // 5


def idle_due(access: TokenInfo, credential: TokenInfo, policy: RefreshPolicy) -> datetime | None:
    """Return the time at which an account is refreshed so that its refresh token does not lapse; None: never.

    A refresh stores the access token and, if the provider rotates, the refresh token. So the later of their two times
    is the refresh token's last use that this vault knows of.
    """
    limit = idle_limit(access.key.provider, policy)
    if limit is None or credential.key.kind is not TokenKind.REFRESH_TOKEN:
        return None
    return max(_stored_at(access), _stored_at(credential)) + limit


def last_chance(access: TokenInfo, credential: TokenInfo, policy: RefreshPolicy) -> datetime | None:
    """Return the time at which a refresh token of unknown state is presented after all, because it lapses soon.

    If the provider has consumed it, it revokes the grant a little before the grant would have lapsed. Otherwise the
    grant lives on. None: it does not lapse.
    """
    idle, due = policy.idle_lifetimes.get(access.key.provider), idle_due(access, credential, policy)
    return None if idle is None or due is None else due + idle / 10


def lead(
    kind: TokenKind, lifetime: timedelta | None, policy: RefreshPolicy, provider: str | None = None
) -> timedelta | None:
    """Return the time before expiry at which a new value makes its account due; None if the value sets no time.

    A store subtracts the returned time from the expiry that it stores. The resulting due time is never too late. It may
    be too early, because the store does not read the account's other values. So a sweep asks `decide_ahead` before it
    calls the provider.

    A token that is its own credential cannot be refreshed after its expiry, so its expiry ends the grant. Therefore its
    account becomes due while at least a fifth of the lifetime is left, so that there is time to mend a fault.

    Args:
        kind: the value's kind.
        lifetime: the time for which the provider issued the value, if known.
        policy: when a token is due.
        provider: the provider that issued the value.
    """
    if kind is not TokenKind.ACCESS_TOKEN:
        return None
    ahead = capped(policy.horizon, lifetime)
    return ahead if lifetime is None or provider not in policy.exchanging else max(ahead, lifetime // 5)


def expiring_from(access: TokenInfo, policy: RefreshPolicy) -> datetime | None:
    """Return the time from which sweeps refresh a valid access token because it expires; None: never."""
    ahead = lead(TokenKind.ACCESS_TOKEN, access.lifetime, policy, access.key.provider)
    return None if access.expires_at is None or ahead is None else access.expires_at - ahead


def scheduled(record: AccountRecord | None, policy: RefreshPolicy) -> TokenInfo | None:
    """Return the access token if sweeps refresh it: if it is INVALID, or VALID with an expiry or an idle limit."""
    access = None if record is None else record.tokens.get(TokenKind.ACCESS_TOKEN)
    if access is None or access.status is TokenStatus.INVALID:
        return access
    has_end = access.expires_at is not None or idle_limit(access.key.provider, policy) is not None
    return access if access.status is TokenStatus.VALID and has_end else None


def _stored_at(info: TokenInfo) -> datetime:
    return info.last_refreshed_at or info.created_at
