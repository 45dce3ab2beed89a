"""Stored tokens, sealed and opened, and what is known of them without opening."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from uuid import UUID

from attrs import field, frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.secret import Secret


class TokenStatus(enum.StrEnum):
    """What was said of a token. Expiry is not a status: it is computed from the clock."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class TokenHealth(enum.StrEnum):
    """How a token stands at a moment; the first that holds, in this order."""

    INVALID = "invalid"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    EXPIRING = "expiring"
    FRESH = "fresh"


class MarkOutcome(enum.StrEnum):
    """What `mark_token_invalid` found."""

    APPLIED = "applied"
    STALE = "stale"
    ALREADY_INVALID = "already_invalid"


DEFAULT_REFRESH_BUFFER = timedelta(minutes=5)
"""How long before its end a token counts as expiring."""


@frozen
class TokenInfo:
    """What is known of a stored token; there is no secret in it.

    Attributes:
        id: random, set when the key is first stored: it tells a deleted and stored again key apart.
        key: the token's place.
        status: VALID, INVALID, or UNKNOWN (set by imports only).
        error_code: why it is invalid, or None.
        expires_at: UTC, or None where it is not known to expire.
        scopes: as granted.
        generation: counts the values stored under this id, from 1.
        last_used_at: UTC, written in batches some time after the use, or None.
        last_refreshed_at: UTC, or None.
        lifetime: how long the value was issued for, where known.
        created_at: UTC.
        updated_at: UTC.
    """

    id: UUID
    key: TokenKey
    status: TokenStatus
    error_code: str | None
    expires_at: datetime | None
    scopes: tuple[str, ...]
    generation: int
    last_used_at: datetime | None
    last_refreshed_at: datetime | None
    lifetime: timedelta | None
    created_at: datetime
    updated_at: datetime

    def is_expired(self, now: datetime) -> bool:
        """Whether the token has expired at ``now``; at exactly `expires_at` it has."""
        return self.expires_at is not None and self.expires_at <= now

    def health(self, now: datetime, buffer: timedelta = DEFAULT_REFRESH_BUFFER) -> TokenHealth:
        """Return how the token stands at ``now``.

        Args:
            now: a zone-aware time.
            buffer: how long before its end a token counts as expiring.
        """
        if self.status is TokenStatus.INVALID:
            return TokenHealth.INVALID
        if self.is_expired(now):
            return TokenHealth.EXPIRED
        if self.status is TokenStatus.UNKNOWN:
            return TokenHealth.UNKNOWN
        if self.expires_at is not None and self.expires_at - now <= buffer:
            return TokenHealth.EXPIRING
        return TokenHealth.FRESH


@frozen
class Token:
    """A stored token, opened.

    Attributes:
        info: what is known of it.
        value: the credential.
    """

    info: TokenInfo
    value: Secret


@frozen
class UsableToken:
    """A token that may be used now.

    Attributes:
        token: the token.
        needs_refresh: whether it expires within the buffer.
    """

    token: Token
    needs_refresh: bool


@frozen
class SealedToken:
    """A value as the database holds it.

    Attributes:
        data_key_id: which of the tenant's data keys it is encrypted under.
        blob: the envelope; see the format page.
    """

    data_key_id: bytes
    blob: bytes = field(repr=False)


@frozen
class StoredToken:
    """One row: what is known of the token, and its sealed value."""

    info: TokenInfo
    sealed: SealedToken


@frozen
class TokenDraft:
    """A value to store under a key, in clear still.

    Attributes:
        key: where.
        value: what.
        expires_at: UTC, or None.
        lifetime: how long the value was issued for, where known. Without `expires_at`, the store adds it to its
            own clock.
        scopes: replaces the stored ones; None keeps them.
        refreshed: whether this is a refresh, which sets `last_refreshed_at`.
    """

    key: TokenKey
    value: Secret
    expires_at: datetime | None = None
    lifetime: timedelta | None = None
    scopes: tuple[str, ...] | None = ()
    refreshed: bool = False

    def seal(self, sealed: SealedToken, lead: timedelta | None = None) -> TokenWrite:
        """Return the write of this draft with its value sealed."""
        return TokenWrite(self.key, sealed, self.expires_at, self.lifetime, self.scopes, self.refreshed, lead)


@frozen
class TokenWrite:
    """A sealed value to store under a key; the other fields are those of `TokenDraft`.

    Attributes:
        lead: how long before the end of this value its account is due for a sweep; None where the value sets no such
            time.
    """

    key: TokenKey
    sealed: SealedToken
    expires_at: datetime | None = None
    lifetime: timedelta | None = None
    scopes: tuple[str, ...] | None = ()
    refreshed: bool = False
    lead: timedelta | None = None


@frozen
class TokenRef:
    """Names one stored value: every compare-and-set goes by id and generation."""

    key: TokenKey
    id: UUID
    generation: int

    @classmethod
    def of(cls, info: TokenInfo) -> TokenRef:
        """Return the reference to the value that ``info`` describes."""
        return cls(info.key, info.id, info.generation)
