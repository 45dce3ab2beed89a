"""AuditLog: reads audit events in pages. Each mutation appends its events in its own transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from vault_domain.entities.account import Account
from vault_domain.entities.audit import AuditAction, AuditEvent

if TYPE_CHECKING:
    from vault_domain.entities.chain_records import ChainEnd, Seal, Sealing
    from vault_domain.entities.page import Cursor
    from vault_domain.ports.change import Change


@frozen
class Sought:
    """Selects audit events; an attribute that is None excludes no event.

    Attributes:
        account: only events of this account.
        action: only events with this action.
        since: only events that occurred at this time or later, UTC.
    """

    account: Account | None = None
    action: AuditAction | None = None
    since: datetime | None = None


@frozen
class Noticed:
    """An event that belongs to no mutation, for example an event about a read, and how long ago it happened.

    Attributes:
        event: the event; its `occurred_at` is ignored.
        age: time since it happened.
    """

    event: AuditEvent
    age: timedelta = timedelta(0)


Announce = Callable[[datetime], Awaitable[object]]
"""A function that is told the time before which events are about to be deleted."""


class AuditLog(Protocol):
    """Reads and prunes the audit events, and keeps the rows of their chain."""

    async def page(self, tenant_id: str | None, *, limit: int, after: Cursor | None) -> list[AuditEvent]:
        """Return events in an order that never changes; each event carries its cursor, which has two integers.

        The second integer is the event's number; no other event ever has it.

        Events of one token key come in the order of the key's generations. Events of different keys come in the order
        of their commits, except for transactions that ran at the same time.

        The vault seals an event's cursor before it gives the event to a caller, because the cursor's numbers may reveal
        how many events other tenants have.

        A page ends before the events of the oldest transaction that may still add events. So a caller who follows the
        cursors misses no event.
        """

    async def latest(self, tenant_id: str | None, sought: Sought, *, limit: int) -> list[AuditEvent]:
        """Return the latest events that `page` would return and that match ``sought``, in the same order."""

    async def append(self, noticed: Sequence[Noticed], *, apart: timedelta | None) -> Change[None]:
        """Append events that belong to no mutation; the change has the appended events, with their times.

        Args:
            noticed: the events.
            apart: skip an event if an equal event occurred within this time before now. Events are equal if action,
                token key, generation and code are equal. None: append all events. Any other value is allowed only if
                all events are ``decryption_failed``.
        """

    async def prune(self, older_than: timedelta, *, actor: str | None, announce: Announce) -> Change[int]:
        """Delete the events that occurred more than ``older_than`` ago; return their number.

        Events of `LASTING_ACTIONS` stay. If any event was deleted, the event ``audit_pruned`` is appended; its code is
        the time before which events were deleted. The store works in batches, and an interrupted call may be repeated.
        Before anything is deleted, ``announce`` is called with that time, outside of any transaction.
        """

    async def seals(self, *, after: int | None, limit: int) -> list[Seal]:
        """Return the seals with a number greater than ``after``, in order; None: the last seal only."""

    async def chain_ends(self, tenant_ids: Sequence[str]) -> Mapping[str, ChainEnd]:
        """Return the ends of these tenants' chains, by tenant; a tenant without a chain is left out."""

    async def add_seal(self, sealing: Sealing) -> bool:
        """Store a seal and what goes with it; return False, and store nothing, if a seal with its number is stored."""
