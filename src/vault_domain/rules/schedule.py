"""Decides from the stored values of an account when a sweep refreshes the account."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.imported import ImportedWrite
from vault_domain.entities.lifetime import capped
from vault_domain.entities.token import TokenInfo, TokenStatus, TokenWrite
from vault_domain.rules.freshness import RefreshPolicy

_Stored = tuple[TokenWrite | ImportedWrite, datetime | None]

_ALWAYS = datetime.min.replace(tzinfo=UTC)


def idle_limit(provider: str, policy: RefreshPolicy) -> timedelta | None:
    """Return the longest time between two refreshes of a grant: 80 % of the provider's idle lifetime, or None."""
    idle = policy.idle_lifetimes.get(provider)
    return None if idle is None else idle * 4 // 5


def idle_due(access: TokenInfo | None, credential: TokenInfo, policy: RefreshPolicy) -> datetime | None:
    """Return the time at which an account is refreshed so that its refresh token does not lapse unused; None: never.

    A refresh stores the access token and, if the provider rotates, the refresh token. So the refresh token's last use
    that this vault knows of is the time when the later of the two was stored. Without an access token, it is the time
    when the refresh token was stored.
    """
    limit = idle_limit(credential.key.provider, policy)
    if limit is None or credential.key.kind is not TokenKind.REFRESH_TOKEN:
        return None
    return last_stored(access, credential) + limit


def last_chance(access: TokenInfo, credential: TokenInfo, policy: RefreshPolicy) -> datetime | None:
    """Return the time at which a refresh token is presented despite an unknown outcome, because it lapses soon.

    If the provider has not consumed the refresh token, the grant lives on. If it has, it revokes the grant when it sees
    the refresh token again. But this grant would have lapsed a little later anyway. Return None if the refresh token
    does not lapse unused.

    Without a usable access token, the refresh token is presented after the quiescence, and the returned time does not
    matter.
    """
    idle, due = policy.idle_lifetimes.get(access.key.provider), idle_due(access, credential, policy)
    return None if idle is None or due is None else due + idle / 10


def lead(
    kind: TokenKind, lifetime: timedelta | None, policy: RefreshPolicy, provider: str | None = None
) -> timedelta | None:
    """Return the time before expiry at which a new access token makes its account due; None for other kinds of values.

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


def longest_wait(kind: TokenKind, provider: str, policy: RefreshPolicy) -> timedelta | None:
    """Return the longest time from the storing of a new value until its account becomes due; None: no limit.

    The returned time is the `due_in` of a write. An access token makes its account due after the idle limit. If the
    provider has an idle lifetime, storing a refresh token makes its account due at once, so that the next sweep
    computes the due time by `sweep_time`. The write cannot compute the due time, because it does not read whether the
    account has an access token. If both tokens are stored in one transaction, the access token decides.
    """
    limit = idle_limit(provider, policy)
    if limit is None or kind not in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN):
        return None
    return limit if kind is TokenKind.ACCESS_TOKEN else timedelta(0)


def sweep_time(access: TokenInfo | None, credential: TokenInfo | None, policy: RefreshPolicy) -> datetime | None:
    """Return the time from which sweeps refresh an account; None: never.

    - An access token that was marked INVALID: always.
    - A VALID access token: before it expires, or before the refresh token lapses unused, whichever comes first.
    - An access token of status UNKNOWN: never.
    - No access token: before the refresh token lapses unused.
    """
    if access is not None and access.status is not TokenStatus.VALID:
        return _ALWAYS if access.status is TokenStatus.INVALID else None
    ends = (
        None if access is None else expiring_from(access, policy),
        None if credential is None else idle_due(access, credential, policy),
    )
    return min((at for at in ends if at is not None), default=None)


def last_stored(access: TokenInfo | None, credential: TokenInfo) -> datetime:
    """Return the time at which the later of two tokens was stored."""
    return max(each.last_refreshed_at or each.created_at for each in (access, credential) if each is not None)


def due_at_of(write: TokenWrite | ImportedWrite, expires_at: datetime | None, now: datetime) -> datetime | None:
    """Return the time at which a value that is stored ``now`` makes its account due; None: the value sets no time."""
    times = [] if write.lead is None or expires_at is None else [expires_at - write.lead]
    if write.due_in is not None:
        times.append(_used_at(write, now) + write.due_in)
    return min(times, default=None)


def accounts_due(stored: Iterable[_Stored], now: datetime) -> dict[Account, datetime | None]:
    """Return for each account of values that are stored together when they make it due; None: they set no time.

    If an account's access token sets a time, the account's other values do not count.

    Args:
        stored: each value with its expiry.
        now: the time of storing.
    """
    due: dict[Account, datetime | None] = {}
    for write, expires_at in _access_first(stored):
        account = write.key.account
        due_at = due_at_of(write, expires_at, now)
        due[account] = due.get(account) or due_at
    return due


def _access_first(stored: Iterable[_Stored]) -> list[_Stored]:
    """Return stored values with their expiries, in an order in which the access tokens come first.

    If an account's access token is stored together with other values, it decides when the account is due.
    """
    return sorted(stored, key=lambda each: each[0].lead is None)


def _used_at(write: TokenWrite | ImportedWrite, now: datetime) -> datetime:
    """Return the time since which the credential is idle: ``now``, or an earlier time that an imported value has."""
    known = (write.last_refreshed_at or write.created_at) if isinstance(write, ImportedWrite) else None
    return now if known is None else min(known, now)
