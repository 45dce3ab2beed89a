"""AccountRepository: reads whole accounts; an account is its tokens and one refresh state."""

from datetime import datetime
from typing import Protocol

from vault_domain.entities.account import Account, ConnectionState
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.page import Cursor
from vault_domain.entities.refresh_state import AccountRecord


class AccountRepository(Protocol):
    """Reads accounts. An account exists while at least one of its tokens is stored."""

    async def get(self, account: Account) -> tuple[AccountRecord | None, datetime]:
        """Read an account in one statement; return it with the store's time.

        Raises:
            DecryptionError: a row of the account is damaged, or belongs to another account.
        """

    async def list_tenant(
        self, tenant_id: str, *, provider: str | None, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List a tenant's accounts, sorted by (provider, identifier); return them with the store's time.

        Accounts with a damaged row are left out.
        """

    async def list_all(
        self, *, provider: str | None, state: ConnectionState | None, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List all tenants' accounts, sorted by (tenant_id, provider, identifier); return them with the store's time.

        Accounts with a damaged row are left out.

        Args:
            provider: only accounts at this provider; None: at all providers.
            state: return every account in this state. Accounts in other states may be returned too, because no index
                tells all states apart; the caller checks the state of each account. None: list all accounts.
            limit: largest number of accounts. If fewer accounts are returned, no other account follows.
            after: list the accounts after this position.
        """

    async def find(self, text: str, *, limit: int, after: Cursor | None) -> tuple[list[AccountRecord], datetime]:
        """List all tenants' accounts that a text names, in the order of `list_all`; return them with the store's time.

        An account is named by the beginning of its label or of its identifier, or by its provider's whole name. The
        letters A to Z count as a to z, and every other character as itself. Accounts with a damaged row are left out.

        Args:
            text: the text, with a to z in place of A to Z, and in Unicode NFC.
            limit: see `list_all`.
            after: list the accounts after this position.
        """

    async def list_tenants(self, *, limit: int, after: str | None) -> list[str]:
        """List the tenants that have a token, sorted by their ids, without reading every token.

        Args:
            limit: largest number of tenants.
            after: list the tenants whose ids come after this one; None: from the first tenant.
        """

    async def count_all(self) -> list[AccountCount]:
        """Count all tenants' accounts, and those that are due now, by provider.

        This reads all accounts and tokens, so call it seldom.
        """

    async def has_sibling(self, account: Account) -> bool:
        """Return whether another tenant has an access or refresh token under the same provider and identifier.

        An index finds such a token, so the call is quick. The result tells nothing else about the other tenant.
        """
