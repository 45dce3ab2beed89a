"""Exports tokens with their values, page by page; the audit log has the event before a value leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.page import Page
from vault_domain.entities.token import Token, TokenInfo
from vault_domain.ports.accounts import Accounts
from vault_domain.ports.audit_log import AuditLog, Noticed
from vault_domain.ports.event_sink import EventSink
from vault_domain.services.tokens.listing import ListingService
from vault_domain.services.tokens.opening import OvertakenError, TokenOpener

_ROUNDS = 3
"""Number of reads of a row that writes or rotations of keys overtake; more in a row are a fault."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # a placeholder: `AuditLog.append` sets an event's time

Exported = Token | TokenInfo
"""A token, or only the metadata of one whose value cannot be decrypted."""


class ExportService:
    """Returns pages of tokens with their values. The values come from the store, never from this process's memory."""

    def __init__(
        self, listing: ListingService, accounts: Accounts, opener: TokenOpener, audit: AuditLog, sink: EventSink
    ) -> None:
        self._listing = listing
        self._accounts = accounts
        self._opener = opener
        self._audit = audit
        self._sink = sink

    async def page(
        self,
        tenant_id: str,
        *,
        provider: str | None,
        limit: int,
        after: str | None,
        actor: str | None,
        reason: str | None,
    ) -> Page[Exported]:
        """Return a page of a tenant's tokens, after the event about it was stored; see `TokenVault.export_tokens`."""
        listed = await self._listing.tokens(tenant_id, provider=provider, limit=limit, after=after)
        if not listed.items:
            return Page((), listed.next)
        event = AuditEvent(AuditAction.TOKENS_EXPORTED, _LONG_AGO, tenant_id=tenant_id, actor=actor, code=reason)
        told = await self._audit.append([Noticed(event)], apart=None)
        self._sink.publish(told.events)
        opened = await self._opened([info.key for info in listed.items])
        return Page([opened[info.key] or info for info in listed.items if info.key in opened], listed.next)

    async def unreadable(self, keys: Sequence[TokenKey]) -> list[TokenKey]:
        """Decrypt what is stored under these keys; return the keys of the values that do not decrypt."""
        return [key for key, token in (await self._opened(keys)).items() if token is None]

    async def _opened(self, keys: Sequence[TokenKey]) -> dict[TokenKey, Token | None]:
        """Return the tokens that are still stored; None for one whose value cannot be decrypted."""
        opened: dict[TokenKey, Token | None] = {}
        for _ in range(_ROUNDS):
            rows, now = await self._accounts.get_many(keys)
            found = {row.key: row for row in rows}
            overtaken = []
            for key in keys:
                if key not in found:
                    continue  # deleted meanwhile
                try:
                    opened[key] = await self._opener.open(key, found[key], now)
                except OvertakenError:
                    overtaken.append(key)
                except DecryptionError:  # the opener has reported it
                    opened[key] = None
            if not overtaken:
                break
            keys = overtaken
        else:
            opened |= dict.fromkeys(overtaken)
        return opened
