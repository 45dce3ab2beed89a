"""TokenRepository: keeps sealed tokens, one per tenant, provider, kind and identifier."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.page import Cursor
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import (
    RECONNECT_NOTICE,
    DamagedToken,
    StoredToken,
    TokenInfo,
    TokenRef,
    TokenWrite,
)
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites

MOST_COUNTED = 50_000
"""Approximate largest number of valid tokens that a health report on all tenants reads; see `count_health`."""


@frozen
class Reading:
    """The result of reading one key.

    Attributes:
        row: the stored token; None if the key holds no token, or if the row cannot be used.
        now: the store's time of the read; callers judge expiry by it.
        damaged: stands for a row that cannot be used, and says why; else None.
        is_stale: whether the row comes from this process's memory, because the store did not answer.
    """

    row: StoredToken | None
    now: datetime
    damaged: DamagedToken | None = None
    is_stale: bool = False

    @property
    def answer(self) -> StoredToken | DamagedToken | None:
        """The stored token, or the `DamagedToken` that stands for its row; None if nothing is stored."""
        return self.damaged or self.row

    @classmethod
    def of(cls, answer: StoredToken | DamagedToken | None, now: datetime) -> "Reading":
        """Return the reading whose `answer` is ``answer``."""
        return cls(None, now, answer) if isinstance(answer, DamagedToken) else cls(answer, now)


@frozen
class Condemned:
    """Selects credentials that a refresh has condemned: their status is INVALID, and they have a `rejected_at`.

    A credential that a host has marked invalid has no `rejected_at`.

    Attributes:
        provider: the provider's name.
        since: the earliest time of the condemnation, UTC.
        until: the latest time of the condemnation, UTC; None: the present time.
        tenant_id: the tenant; None: all tenants.
        client: only credentials that `ClientStates.count` would count for this client; empty: for a scope without a
            client. None: the credentials of all clients.
        stored_since: only values that were stored at this time or later; None: all values.
    """

    provider: str
    since: datetime
    until: datetime | None = None
    tenant_id: str | None = None
    client: bytes | None = None
    stored_since: datetime | None = None


class TokenRepository(Protocol):
    """Stores and finds sealed tokens.

    - Every mutation appends its audit events in the same transaction; if they cannot be written, it rolls back.
    - All times are the store's.
    - Database failures raise `StorageError`.
    - A key reaches only the rows of the tenant that it names. Names are compared exactly, letter case included.
    - A row that cannot be decoded does not affect other rows: `get` and `get_many` return a `DamagedToken` for its key,
      and lists leave it out.
    """

    def get(self, key: TokenKey, known: StoredToken | None = None) -> Awaitable[Reading]:
        """Read one token. Concurrent reads may share one query; if it fails, each raises its own copy of the error.

        Each call returns a new awaitable, as a method with ``async def`` does. If it is a future, the caller may cancel
        it or set an error in it.

        Args:
            key: the key of the token.
            known: the token as the caller remembers it; None if the caller remembers no token that has a `version`.
                If the `version` shows that the stored row has not changed, the store need not read the row. The answer
                is then this object, or a copy of it if the time of the last use has changed.
        """

    async def get_many(self, keys: Sequence[TokenKey]) -> tuple[Sequence[StoredToken | DamagedToken], datetime]:
        """Return the tokens stored under these distinct keys, and the store's time; without keys, only the time."""

    async def store(self, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[list[TokenInfo]]:
        """Insert or replace tokens, all or none, in the order given; their status becomes VALID.

        This equals the transition `vault_domain.transitions.values.stored`, without a read before the write. A value
        that replaces another sets `last_refreshed_at`, as a refresh does.

        Args:
            writes: each key at most once; all are refreshes, or none is.
            actor: who stores them, for the audit log.

        Raises:
            DataKeyInactiveError: a value is sealed under a data key that is not active.
        """

    async def store_many(self, writes: LateWrites[TokenWrite], *, actor: str | None) -> Change[list[TokenInfo]]:
        """Insert or replace many tokens, all or none; no value comes from a refresh.

        Args:
            writes: the values, which the store takes in parts. If taking them raises an error, nothing is stored.
            actor: who stores the values, for the audit log.

        Returns:
            The metadata of the tokens in the order of the keys.

        Raises:
            DataKeyInactiveError: a value's data key is not active; nothing was written.
        """

    async def find_ending(self, notice: timedelta, *, limit: int, after: Cursor | None) -> list[TokenInfo]:
        """Find refresh tokens that expire soon (`transitions.values.is_ending`) and of which no event has told this.

        They are sorted by (expires_at, tenant_id, id).

        Args:
            notice: time before the expiry.
            limit: largest number of tokens.
            after: find the tokens after this position.
        """

    async def delete_provider(self, tenant_id: str, provider: str, *, actor: str | None) -> Change[int]:
        """Delete a tenant's tokens, labels and refresh states at a provider; return the number of deleted tokens."""

    async def find_expiring(
        self, within: timedelta, *, provider: str | None, limit: int, after: Cursor | None
    ) -> list[TokenInfo]:
        """Find access tokens of status VALID that expire within ``within`` or have expired.

        They are sorted by (expires_at, tenant_id, id).
        """

    async def find_condemned(self, condemned: Condemned, *, limit: int, after: TokenInfo | None) -> list[TokenInfo]:
        """Find condemned credentials, sorted by (rejected_at, tenant_id, identifier, kind); the kind comes last.

        Args:
            condemned: which credentials; its `until` is given.
            limit: largest number of credentials.
            after: find the credentials after this one in the order; it need not be condemned any more.
        """

    async def list_tenant(
        self, tenant_id: str, *, provider: str | None, limit: int, after: Cursor | None
    ) -> list[TokenInfo]:
        """List a tenant's tokens, sorted by (provider, identifier, kind)."""

    async def record_uses(self, uses: Mapping[TokenRef, datetime]) -> None:
        """Store the time of each last use, unless a later use is stored or the key now holds a token with another id.

        It writes no audit event.
        """

    async def count_health(
        self,
        tenant_id: str | None,
        buffer: timedelta,
        suspicion: timedelta = MOST_CONFIRMATION,
        notice: timedelta = RECONNECT_NOTICE,
        most: int = MOST_COUNTED,
    ) -> list[HealthCount]:
        """Count tokens by provider and health, as `TokenInfo.health` judges them, without decrypting.

        If ``tenant_id`` is None and there are many more tokens than ``most``, a store may estimate the counts of tokens
        of status VALID from a sample of about ``most`` tokens. It counts all tokens of other statuses, because even a
        few of them matter.
        """

    async def ping(self) -> None:
        """Return normally if the database answers, takes writes, and has the schema; read no token.

        A store may leave out the test for writes if this test would wait for other writers.

        Raises:
            StorageError: the database does not answer or takes no writes.
            SchemaOutdatedError: the schema is missing or older than this release.
        """
