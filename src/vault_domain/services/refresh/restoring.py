"""Tells the truth after a restore: believes rejections, asks the providers, and lists the users to ask."""

from __future__ import annotations

from datetime import datetime

from vault_domain.entities.account import AccountInfo, ConnectionState
from vault_domain.entities.reports import RestoreReport
from vault_domain.ports.client_states import ClientStates
from vault_domain.ports.event_sink import EventSink
from vault_domain.services.refresh.client_ledger import ClientLedger
from vault_domain.services.refresh.clients import ClientGuard
from vault_domain.services.refresh.sweep import SweepService
from vault_domain.services.tokens.listing import ListingService

_PAGE = 1000


class RestoreService:
    """Takes note that the database is older than the providers."""

    def __init__(
        self,
        states: ClientStates,
        ledger: ClientLedger,
        sink: EventSink,
        guard: ClientGuard,
        sweeping: SweepService,
        listing: ListingService,
    ) -> None:
        self._states = states
        self._ledger = ledger
        self._sink = sink
        self._guard = guard
        self._sweeping = sweeping
        self._listing = listing

    async def restored(self, since: datetime | None, *, actor: str | None) -> RestoreReport:
        """Note the restore, refresh the accounts that are due, and list the accounts to connect again."""
        change = await self._states.note_restore(since, actor=actor)
        self._sink.publish(change.events)
        await self._ledger.end_mass_rejections()
        self._guard.forget_all()
        swept = await self._sweeping.sweep(None, None, actor=actor)
        ask = await self._all(ConnectionState.REAUTHORIZATION_REQUIRED)
        retrying = await self._all(ConnectionState.RETRYING)
        return RestoreReport(change.result, swept, tuple(ask), tuple(retrying))

    async def _all(self, state: ConnectionState) -> list[AccountInfo]:
        found: list[AccountInfo] = []
        after: str | None = None
        while True:
            page = await self._listing.all_accounts(provider=None, state=state, limit=_PAGE, after=after)
            found += page.items
            after = page.next
            if after is None:
                return found
