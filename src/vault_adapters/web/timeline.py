"""The events of one account, newest first."""

from __future__ import annotations

from attrs import frozen

from vault_domain import Account, AuditEvent, TokenVault

_SHOWN = 100


@frozen
class Timeline:
    """Events of an account.

    Attributes:
        events: the newest events, newest first.
        is_complete: whether the audit log holds no further events of the account.
    """

    events: tuple[AuditEvent, ...]
    is_complete: bool


async def timeline(vault: TokenVault, account: Account) -> Timeline:
    """Return the newest events of an account."""
    page = await vault.latest_audit_events(tenant_id=account.tenant_id, account=account, limit=_SHOWN + 1)
    return Timeline(page.items[::-1][:_SHOWN], len(page.items) <= _SHOWN)
