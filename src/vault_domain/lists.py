"""The lists of a vault: by pages, or walked through; nothing is decrypted for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from vault_domain.account import AccountInfo, ConnectionState
from vault_domain.audit import AuditEvent
from vault_domain.page import Page, walk_pages
from vault_domain.scrub import scrubbed_async
from vault_domain.services import arguments as read
from vault_domain.services.listing import ListingService
from vault_domain.text import as_duration, as_tenant_id
from vault_domain.token import TokenInfo


class VaultLists:
    """The part of `TokenVault` that lists things; it is one with it."""

    __slots__ = ("_listing",)

    def __init__(self, listing: ListingService) -> None:
        self._listing = listing

    @scrubbed_async
    async def find_expiring_tokens(
        self, within: timedelta, *, provider: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[TokenInfo]:
        """Return valid access tokens that expire within ``within``, those already expired included, soonest first.

        Nothing is decrypted. A token without expiry is never among them.
        """
        return await self._listing.expiring(
            as_duration(within, "within"),
            provider=read.as_optional_provider(provider),
            limit=read.as_limit(limit),
            after=after,
        )

    @scrubbed_async
    async def list_tokens(
        self, tenant_id: str, *, provider: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[TokenInfo]:
        """Return a tenant's tokens by provider, kind and identifier; nothing is decrypted."""
        return await self._listing.tokens(
            as_tenant_id(tenant_id),
            provider=read.as_optional_provider(provider),
            limit=read.as_limit(limit),
            after=after,
        )

    @scrubbed_async
    async def list_accounts(
        self,
        tenant_id: str,
        *,
        provider: str | None = None,
        state: ConnectionState | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> Page[AccountInfo]:
        """Return a tenant's accounts by provider and identifier, all or those of one state."""
        return await self._listing.accounts(
            as_tenant_id(tenant_id),
            provider=read.as_optional_provider(provider),
            state=read.as_optional_state(state),
            limit=read.as_limit(limit),
            after=after,
        )

    @scrubbed_async
    async def audit_events(
        self, *, tenant_id: str | None = None, limit: int = 1000, after: str | None = None
    ) -> Page[AuditEvent]:
        """Return what happened, in the order of commits; a page ends before the oldest running transaction.

        Args:
            tenant_id: one tenant's events; None for all.
            limit: 1 to 10,000.
            after: a page's ``next`` or an event's ``cursor``.
        """
        tenant = None if tenant_id is None else as_tenant_id(tenant_id)
        return await self._listing.events(tenant, limit=read.as_limit(limit), after=after)

    def iter_tokens(self, tenant_id: str, *, provider: str | None = None) -> AsyncIterator[TokenInfo]:
        """Walk all pages of `list_tokens`."""
        return walk_pages(lambda after: self.list_tokens(tenant_id, provider=provider, after=after))

    def iter_accounts(
        self, tenant_id: str, *, provider: str | None = None, state: ConnectionState | None = None
    ) -> AsyncIterator[AccountInfo]:
        """Walk all pages of `list_accounts`."""
        return walk_pages(lambda after: self.list_accounts(tenant_id, provider=provider, state=state, after=after))

    def iter_expiring_tokens(self, within: timedelta, *, provider: str | None = None) -> AsyncIterator[TokenInfo]:
        """Walk all pages of `find_expiring_tokens`."""
        return walk_pages(lambda after: self.find_expiring_tokens(within, provider=provider, after=after))

    def iter_audit_events(self, *, tenant_id: str | None = None) -> AsyncIterator[AuditEvent]:
        """Walk all pages of `audit_events`."""
        return walk_pages(lambda after: self.audit_events(tenant_id=tenant_id, after=after))
