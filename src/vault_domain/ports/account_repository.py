"""AccountRepository: accounts as wholes, which are their tokens and one refresh state."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from vault_domain.entities.account import Account
from vault_domain.entities.page import Cursor
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import TokenWrite
from vault_domain.ports.change import Change


class AccountRepository(Protocol):
    """Reads and changes accounts. An account exists while one of its tokens does."""

    async def get(self, account: Account) -> tuple[AccountRecord | None, datetime]:
        """Read an account in one statement, and the store's time."""

    async def list_tenant(
        self, tenant_id: str, *, provider: str | None, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List a tenant's accounts by (provider, identifier), and the store's time."""

    async def store_set(
        self, account: Account, writes: Sequence[TokenWrite], *, label: str | None, actor: str | None
    ) -> Change[tuple[AccountRecord, datetime]]:
        """Store an account's tokens in one transaction and end its backoff and unknown outcome.

        Args:
            account: whose.
            writes: at most one per kind; kinds that are not named stay as they are.
            label: replaces the stored one; None keeps it.
            actor: for the audit log.

        Raises:
            DataKeyInactiveError: a value is sealed under a key that is not active.
        """

    async def delete(self, account: Account, *, actor: str | None) -> Change[int]:
        """Delete an account's tokens and refresh state in one transaction; return how many tokens."""
