"""How fresh a token is, and when it is due for a refresh."""

import enum
from datetime import datetime, timedelta

from attrs import frozen

from vault_domain.entities.token import DEFAULT_REFRESH_BUFFER, TokenInfo, TokenStatus


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
