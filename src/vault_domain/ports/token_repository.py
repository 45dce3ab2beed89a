"""TokenRepository: keeps sealed tokens, one per tenant, provider, kind and identifier."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.page import Cursor
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.token import MarkOutcome, StoredToken, TokenInfo, TokenRef, TokenWrite
from vault_domain.ports.change import Change


@frozen
class Reading:
    """One read of one key.

    Attributes:
        row: what is stored, or None.
        now: the store's time of the read, by which expiry is judged.
    """

    row: StoredToken | None
    now: datetime


class TokenRepository(Protocol):
    """Stores and finds sealed tokens.

    Every mutation appends its audit events in the same transaction; where they cannot be written, it does not
    happen. The store's clock decides all times. Failures of the database are `StorageError`. A key of another
    tenant answers like one that does not exist.
    """

    async def get(self, key: TokenKey) -> Reading:
        """Read one token. Reads that wait at the same time may go as one query, but fail apart."""

    async def get_many(self, keys: Sequence[TokenKey]) -> tuple[list[StoredToken], datetime]:
        """Read the tokens that exist of these (distinct) keys, and the time."""

    async def store(
        self, writes: Sequence[TokenWrite], *, actor: str | None, expected_generation: int | None = None
    ) -> Change[list[TokenInfo]]:
        """Insert or replace, all or nothing, in the order given; the status becomes VALID.

        Args:
            writes: each key at most once.
            actor: for the audit log.
            expected_generation: with a single write only: what must be stored (0: nothing).

        Raises:
            DataKeyInactiveError: a value is sealed under a key that is not active.
            GenerationConflictError: another generation is stored.
        """

    async def mark_invalid(self, ref: TokenRef, error_code: str, *, actor: str | None) -> Change[MarkOutcome]:
        """Make exactly this value invalid; another generation or a row that is gone is STALE."""

    async def delete(self, key: TokenKey, *, actor: str | None) -> Change[bool]:
        """Delete one token; with an account's last token its refresh state goes too."""

    async def delete_provider(self, tenant_id: str, provider: str, *, actor: str | None) -> Change[int]:
        """Delete all tokens and refresh states of a tenant at a provider."""

    async def find_expiring(
        self, within: timedelta, *, provider: str | None, limit: int, after: Cursor | None
    ) -> list[TokenInfo]:
        """Find valid access tokens that expire before then, by (expires_at, tenant_id, id)."""

    async def list_tenant(
        self, tenant_id: str, *, provider: str | None, limit: int, after: Cursor | None
    ) -> list[TokenInfo]:
        """List a tenant's tokens by (provider, kind, identifier)."""

    async def record_uses(self, uses: Mapping[TokenRef, datetime]) -> None:
        """Note when tokens were last used; never moves one back. Not audited, nothing else changes."""

    async def count_health(self, tenant_id: str | None, buffer: timedelta) -> list[HealthCount]:
        """Count tokens by provider and health, decrypting nothing."""

    async def ping(self) -> None:
        """Return if the database answers."""
