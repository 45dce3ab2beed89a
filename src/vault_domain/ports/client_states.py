"""ClientStates: the records of OAuth clients that providers refuse, and the turns of clients with a request limit."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from vault_domain.entities.clients import ClientDecision, ClientRecord, ClientScope, StoredClients
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.ports.change import Change

T = TypeVar("T")

ClientDecide = Callable[[ClientRecord | None, datetime], ClientDecision[T]]
"""Decides what becomes of a record (None: there is none), given the store's time. It has no side effects."""


class ClientStates(Protocol):
    """Keeps one record per `ClientScope`, and decides nothing about it."""

    async def records(self, provider: str | None = None) -> StoredClients:
        """Return the records of a provider, or of all providers, without damaged ones."""

    async def change(self, scope: ClientScope, decide: ClientDecide[T]) -> ClientDecision[T]:
        """Load the record of a scope, decide, and write the new record with the events, all or nothing.

        Between the load and the write, no other process changes the record: the store keeps others waiting, as many as
        there are. A damaged record counts as none. The change survives a crash of the server.
        """

    async def take_turn(
        self, provider: str, client: bytes | None, tenant_id: str, limit: RequestLimit, ahead: timedelta = timedelta(0)
    ) -> timedelta:
        """Take or reserve the turn for one token request of a client, and store what `rules.pacing.next_turn` returns.

        Processes that ask at the same time get different turns.

        Args:
            provider: the provider's name.
            client: the client; at its token endpoint if accounts have different ones. None: it has no name.
            tenant_id: the account's tenant.
            limit: the provider's limit.
            ahead: zero: take a turn now. More: reserve a turn that comes within this time.

        Returns:
            The time to wait, which `next_turn` returns; zero: a request may be sent now.
        """

    async def note_restore(self, since: datetime | None, *, actor: str | None) -> Change[datetime]:
        """Note that a backup of this database went into use at a time; None: now. Return the time.

        Raises:
            InvalidInputError: the time lies in the future of the store's clock.

        The event ``database_restored`` is written in the same transaction, without a tenant.
        """
