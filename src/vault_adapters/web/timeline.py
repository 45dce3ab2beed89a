"""The events of one account, newest first."""

from __future__ import annotations

from collections import deque

from attrs import frozen

from vault_domain import Account, AuditEvent, TokenVault

_SHOWN = 100
_PAGE, _MOST_PAGES = 1000, 10


@frozen
class Timeline:
    """Events of an account.

    Attributes:
        events: the newest events, newest first.
        is_complete: whether the whole audit log of the tenant was read.
    """

    events: tuple[AuditEvent, ...]
    is_complete: bool


async def timeline(vault: TokenVault, account: Account) -> Timeline:
    """Return the newest events of an account."""
    found: deque[AuditEvent] = deque(maxlen=_SHOWN)
    after: str | None = None
    for _ in range(_MOST_PAGES):
        page = await vault.audit_events(tenant_id=account.tenant_id, limit=_PAGE, after=after)
        found.extend(event for event in page.items if event.account == account)
        after = page.next
        if after is None:
            break
    return Timeline(tuple(reversed(found)), after is None)
