"""Decides whether a token is fresh, due for a refresh, or unusable."""

import enum
import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import field, frozen

from vault_domain.entities.account import TokenKind
from vault_domain.entities.lifetime import capped
from vault_domain.entities.token import DEFAULT_REFRESH_BUFFER, RECONNECT_NOTICE, TokenInfo, TokenStatus


class Freshness(enum.Enum):
    """Whether a caller may use an access token, and whether the token should be refreshed."""

    FRESH = "fresh"
    """Use it."""
    DUE = "due"
    """Use it; it should be refreshed."""
    UNUSABLE = "unusable"
    """Expired or invalid: do not use it."""


@frozen
class RefreshPolicy:
    """The settings by which the vault decides when tokens are due for a refresh.

    Attributes:
        buffer: time before expiry from which a caller's request refreshes an access token.
        notice: time before the expiry of a refresh token from which the vault reports the token as expiring.
        default_lifetimes: by provider, the lifetime of access tokens whose expiry is not known.
        idle_lifetimes: by provider, the time after which a refresh token lapses if it is not used.
        exchanging: the providers at which an access token is its own credential.
    """

    buffer: timedelta = DEFAULT_REFRESH_BUFFER
    notice: timedelta = RECONNECT_NOTICE
    default_lifetimes: Mapping[str, timedelta] = field(factory=dict)
    idle_lifetimes: Mapping[str, timedelta] = field(factory=dict)
    exchanging: frozenset[str] = frozenset()

    @property
    def horizon(self) -> timedelta:
        """Time before expiry from which a sweep refreshes a token; it exceeds the buffer, so callers rarely wait."""
        return 2 * self.buffer


def is_usable(info: TokenInfo, now: datetime) -> bool:
    """Return whether the token is neither invalid nor expired at ``now``. A token of status UNKNOWN may be used."""
    return info.status is not TokenStatus.INVALID and not info.is_expired(now)


def is_presentable(credential: TokenInfo, now: datetime) -> bool:
    """Return whether a credential may be presented to its provider at ``now``.

    An access token that is its own credential may be, even if it has expired, because its lifetime may be the
    provider's default, which is an assumption. So the provider's answer ends the connection, and not the clock.
    """
    is_exchanged = credential.key.kind is TokenKind.ACCESS_TOKEN
    return credential.status is not TokenStatus.INVALID if is_exchanged else is_usable(credential, now)


def is_due(info: TokenInfo, now: datetime, buffer: timedelta) -> bool:
    """Return whether the token expires within ``buffer``; a token without expiry is never due."""
    return info.expires_at is not None and info.expires_at - now <= buffer


def fresh_for(info: TokenInfo, now: datetime, policy: RefreshPolicy) -> float:
    """Return how many seconds the token stays FRESH after ``now``.

    During this time, `freshness` without a ``buffer`` returns FRESH. The result is infinity for a usable token without
    expiry, and not positive for a token that is not fresh.
    """
    if not is_usable(info, now):
        return 0.0
    if info.expires_at is None:
        return math.inf
    return (info.expires_at - now - _wanted(info, policy)).total_seconds()


def freshness(info: TokenInfo, now: datetime, policy: RefreshPolicy, buffer: timedelta | None = None) -> Freshness:
    """Return whether an access token is fresh, due for a refresh, or unusable.

    Args:
        info: the token.
        now: the time to judge by.
        policy: has the configured buffer.
        buffer: used instead of the configured buffer, whatever the lifetime is. None uses the configured buffer,
            but at most half of the lifetime.
    """
    if not is_usable(info, now):
        return Freshness.UNUSABLE
    wanted = _wanted(info, policy) if buffer is None else buffer
    return Freshness.DUE if is_due(info, now, wanted) else Freshness.FRESH


def _wanted(info: TokenInfo, policy: RefreshPolicy) -> timedelta:
    return capped(policy.buffer, info.lifetime)
