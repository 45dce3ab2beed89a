"""Tokens: their metadata, and their values sealed and decrypted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from attrs import field, frozen

from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.choice import Choice
from vault_domain.entities.extra import BEARER, NO_EXTRA, Extra, as_extra, shown_token_type
from vault_domain.entities.lifetime import is_ending
from vault_domain.entities.secret import Secret
from vault_domain.entities.suspicion import MOST_CONFIRMATION, is_suspect


class TokenStatus(Choice):
    """The stored status of a token. Expiry is no status, because it is computed from the clock."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"


class TokenHealth(Choice):
    """The health of a token at a given time: the first member that applies, in this order."""

    INVALID = "invalid"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    SUSPECT = "suspect"
    EXPIRING = "expiring"
    FRESH = "fresh"


class MarkOutcome(Choice):
    """The result of `mark_token_invalid` or of a report of a rejection; only a report may return SUSPECTED."""

    APPLIED = "applied"
    STALE = "stale"
    ALREADY_INVALID = "already_invalid"
    SUSPECTED = "suspected"


DEFAULT_REFRESH_BUFFER = timedelta(minutes=5)
"""Time before expiry from which a token counts as expiring, unless the host configures another."""

RECONNECT_NOTICE = timedelta(days=14)
"""Time before its expiry from which a refresh token counts as expiring, unless the host configures another."""


NO_VALUE = UUID(int=0)
"""Value id of metadata that no store has returned; no stored value has it."""


@frozen
class TokenInfo:
    """The metadata of a stored token, without its value.

    Attributes:
        id: id that the key gets when a value is first stored under it. A key that is deleted and stored again gets a
            new id, and so does a key whose value an import replaces.
        key: the token's key.
        status: VALID, INVALID or UNKNOWN. UNKNOWN comes from an import, or from a refresh that replaced a
            credential marked invalid meanwhile (`TokenWrite.keeps_mark`).
        error_code: reason why the status is INVALID or UNKNOWN, or None.
        expires_at: expiry, UTC; None if no expiry is known.
        scopes: the granted scopes.
        generation: number of the stored value, counted from 1 under this id; 0 if the value waits for the database, and
            so has no number yet.
        last_used_at: time of the last use, UTC, or None; it is written in batches, some time after the use.
        last_refreshed_at: time at which the value was stored, UTC, if a refresh stored it or it replaced another value;
            else None. An import may set another time.
        lifetime: time for which the provider issued the value, or None if unknown.
        created_at: time at which a value was first stored under the key, UTC, or an earlier time from an import.
        updated_at: time of the last change, UTC.
        value_id: random id of the stored value; each stored value has a new one. Every compare-and-set compares it,
            because a generation may occur twice if the database was restored or lost its last transactions.
        suspect_since: time of the first report that a resource rejected this value, UTC, or None. Such reports count
            only for a value that no refresh can replace.
        rejected_at: time at which a refresh condemned this credential, UTC, or None. A host that marks the credential
            invalid sets no time.
        client: fingerprint of the OAuth client under which the value was stored or refreshed, or None if unknown.
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
    value_id: UUID = NO_VALUE
    suspect_since: datetime | None = None
    rejected_at: datetime | None = None
    client: bytes | None = None

    def is_expired(self, now: datetime) -> bool:
        """Return whether the token has expired at ``now``; it expires exactly at `expires_at`."""
        return self.expires_at is not None and self.expires_at <= now

    def health(
        self,
        now: datetime,
        buffer: timedelta = DEFAULT_REFRESH_BUFFER,
        suspicion: timedelta = MOST_CONFIRMATION,
        notice: timedelta = RECONNECT_NOTICE,
    ) -> TokenHealth:
        """Return the token's health at ``now``.

        Args:
            now: a zone-aware time.
            buffer: time before expiry from which a token counts as expiring. If the token's lifetime is known, the
                buffer is limited to half of the lifetime, as for a refresh.
            suspicion: how long the token counts as suspect after the first report of a rejection.
            notice: replaces a shorter ``buffer`` for a refresh token, because a user needs time to connect again.
        """
        if self.status is TokenStatus.INVALID:
            return TokenHealth.INVALID
        if self.is_expired(now):
            return TokenHealth.EXPIRED
        if self.status is TokenStatus.UNKNOWN:
            return TokenHealth.UNKNOWN
        if is_suspect(self.suspect_since, now, suspicion):
            return TokenHealth.SUSPECT
        wanted = max(buffer, notice) if self.key.kind is TokenKind.REFRESH_TOKEN else buffer
        if is_ending(self.expires_at, self.lifetime, now, wanted):
            return TokenHealth.EXPIRING
        return TokenHealth.FRESH


@frozen
class Token:
    """A decrypted token.

    Attributes:
        info: the token's metadata.
        value: the decrypted value.
        extra: the extra members that belong to this access token, such as ``instance_url``; empty for other kinds. They
            cannot be changed, pickled or copied; ``dict(extra)`` gives a plain dictionary.
        token_type: the type that the provider gave to the access token; ``Bearer`` unless it gave another.
    """

    info: TokenInfo
    value: Secret
    extra: Mapping[str, str] = NO_EXTRA
    token_type: str = field(default=BEARER, repr=shown_token_type)

    @property
    def proof_key(self) -> Secret | None:
        """The private key that the token is bound to (DPoP, RFC 9449), or None; `TokenVault.api_proof` uses it."""
        return as_extra(self.extra).proof_key


@frozen
class UsableToken:
    """A token that may be used now.

    Attributes:
        token: the token.
        needs_refresh: whether the token expires within the refresh buffer.
    """

    token: Token
    needs_refresh: bool


@frozen
class SealedToken:
    """A value as the database holds it.

    Attributes:
        data_key_id: id of the tenant's data key that encrypts the value.
        blob: the envelope that holds the ciphertext; see the format page.
        extra: the envelope of the extra members, under the same data key; it opens only together with this blob. None
            if there are no extra members.
    """

    data_key_id: bytes
    blob: bytes = field(repr=False)
    extra: bytes | None = field(default=None, repr=False)


@frozen
class StoredToken:
    """A token as a row: its metadata and its sealed value.

    Attributes:
        info: the metadata.
        sealed: the value.
        version: a number by which the store tells whether the row has changed; None if the store gives none.
        is_end_told: whether an event has told that this refresh token expires soon; `Accounts.change` loads it.
    """

    info: TokenInfo
    sealed: SealedToken
    version: int | None = field(default=None, eq=False)
    is_end_told: bool = False

    @property
    def key(self) -> TokenKey:
        """The key that the row names."""
        return self.info.key


WRONG_ROW = "wrong_row"
"""Reason: the store answered with the row of another key."""

DAMAGED_ROW = "damaged_row"
"""Reason: a row holds something that the vault never stores, such as an unknown status or a value that is too large."""


@frozen
class DamagedToken:
    """Stands for a row that cannot be used, and holds none of the row's data.

    Attributes:
        key: the key that the caller asked for.
        reason: `WRONG_ROW` or `DAMAGED_ROW`.
    """

    key: TokenKey
    reason: str


@frozen
class TokenDraft:
    """A plaintext value to store under a key.

    Attributes:
        key: the key to store the value under.
        value: the plaintext value.
        expires_at: expiry, UTC, or None.
        lifetime: time for which the provider issued the value, or None if unknown. Without `expires_at`, the
            expiry is the store's time plus this lifetime.
        scopes: replaces the stored scopes; None keeps them.
        refreshed: whether a refresh stores the value. If so, the store sets `TokenInfo.last_refreshed_at` and writes
            the event ``token_refreshed``. The store also sets this time for any value that replaces another.
        client: fingerprint of the OAuth client that the value was issued to, or None if unknown.
        extra: the extra members to keep with the value; they replace the stored ones.
    """

    key: TokenKey
    value: Secret
    expires_at: datetime | None = None
    lifetime: timedelta | None = None
    scopes: tuple[str, ...] | None = ()
    refreshed: bool = False
    client: bytes | None = None
    extra: Extra = NO_EXTRA

    def seal(self, sealed: SealedToken, lead: timedelta | None = None, due_in: timedelta | None = None) -> TokenWrite:
        """Return the write that stores this draft with the sealed value."""
        return TokenWrite(
            self.key,
            sealed,
            self.expires_at,
            self.lifetime,
            self.scopes,
            self.refreshed,
            lead,
            client=self.client,
            due_in=due_in,
        )


@frozen
class TokenWrite:
    """A sealed value to store under a key; `TokenDraft` explains the other fields.

    Attributes:
        lead: time before expiry at which the value makes its account due for a sweep; None if the expiry sets no due
            time.
        due_in: longest time from storing the value until its account is due; None if the value sets no such limit.
            If the account's access token is stored in the same transaction and sets a due time, only the access
            token's due time counts.
        value_id: the id that the store gives to the value, so that the writer knows it before the write; no other
            value has it. None: the store makes a random one.
        keeps_mark: matters only if a refresh stores a new credential, and the credential that it replaces was marked
            invalid meanwhile. True: the new credential gets the status UNKNOWN and the mark's error code. False: it
            gets the status VALID.
    """

    key: TokenKey
    sealed: SealedToken
    expires_at: datetime | None = None
    lifetime: timedelta | None = None
    scopes: tuple[str, ...] | None = ()
    refreshed: bool = False
    lead: timedelta | None = None
    value_id: UUID | None = None
    keeps_mark: bool = True
    client: bytes | None = None
    due_in: timedelta | None = None


@frozen
class TokenRef:
    """Refers to one stored value.

    Two references are equal if their keys and their value ids are equal, because every compare-and-set compares these.

    Attributes:
        key: the token's key.
        id: the token's id.
        generation: the value's generation, for events; 0 if the value is not committed yet.
        value_id: the value's id.
    """

    key: TokenKey
    id: UUID = field(eq=False)
    generation: int = field(eq=False)
    value_id: UUID

    @classmethod
    def of(cls, info: TokenInfo) -> TokenRef:
        """Return the reference to the value that ``info`` describes."""
        return cls(info.key, info.id, info.generation, info.value_id)
