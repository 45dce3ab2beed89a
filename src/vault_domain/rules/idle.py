"""Decides when a grant is refreshed because its refresh token would lapse unused, whatever its access token is."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import evolve

from vault_domain.entities.account import TokenKind
from vault_domain.entities.token import TokenInfo, TokenWrite
from vault_domain.rules.freshness import RefreshPolicy


def idle_limit(provider: str, policy: RefreshPolicy) -> timedelta | None:
    """Return the time after a refresh at which a grant of the provider is refreshed again: 80 % of its idle life."""
    idle = policy.idle_lifetimes.get(provider)
    return None if idle is None else idle * 4 // 5


def idle_due(access: TokenInfo, credential: TokenInfo, policy: RefreshPolicy) -> datetime | None:
    """Return the time at which an account is refreshed so that its refresh token does not lapse; None: never.

    A refresh stores the access token and, if the provider rotates, the refresh token. So the later of both times is
    that of the last use which this vault knows.
    """
    limit = idle_limit(access.key.provider, policy)
    if limit is None or credential.key.kind is not TokenKind.REFRESH_TOKEN:
        return None
    return max(_stored_at(access), _stored_at(credential)) + limit


def with_idle_limit(write: TokenWrite, policy: RefreshPolicy) -> TokenWrite:
    """Return the write of an access token with the time after which it makes its account due."""
    limit = idle_limit(write.key.provider, policy)
    if limit is None or write.key.kind is not TokenKind.ACCESS_TOKEN:
        return write
    return evolve(write, due_in=limit)


def _stored_at(info: TokenInfo) -> datetime:
    return info.last_refreshed_at or info.created_at
