"""ClientLedger: counts refusals of OAuth clients across processes, and guards the fleet of a client's accounts."""

import enum
from datetime import datetime, timedelta
from typing import Protocol

from vault_domain.entities.account import Account
from vault_domain.entities.clients import ClientRecord, ClientScope
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.ports.change import Change
from vault_domain.ports.refresh_ledger import Attempt
from vault_domain.rules.clients import ClientRules

MOST_COUNTED = 1000
"""Largest number of rejections, and of successes, that the guard of a fleet counts."""


class Verdict(enum.Enum):
    """The result of asking the store to condemn a credential."""

    CONDEMNED = "condemned"
    """The credential is invalid now, or was invalid before."""
    MOVED = "moved"
    """Another value was stored meanwhile; that value stays valid."""
    SPARED = "spared"
    """Nothing was condemned, because the provider rejects the whole fleet. The attempt has not ended."""


class ClientLedger(Protocol):
    """Keeps one record per scope. Each method is one transaction.

    A success of a client is an access token that was stored under it and whose `last_refreshed_at` is set. For a client
    without a name, every such token of the provider counts.

    The events ``client_paused`` and ``client_resumed`` have the provider and the scope's reason, and no tenant.
    """

    async def records(self, provider: str | None = None) -> tuple[list[ClientRecord], datetime]:
        """Return the records of a provider, or of all providers, and the store's time."""

    async def refuse(self, scope: ClientScope, account: Account, rules: ClientRules) -> Change[ClientRecord]:
        """Count the refusal of an account by `rules.clients.counted`; return the new record.

        The event ``client_paused`` is written in the transaction that opens the pause. A success counts if it came
        after the record's ``since``; for a mismatch, no success of the client counts.
        """

    async def take_probe(self, scope: ClientScope, seen: datetime | None) -> bool:
        """Set the time of the latest probe to now if it is still ``seen``; return False if not, or nothing is paused.

        So only one process probes a client at a time.
        """

    async def take_turn(self, provider: str, client: bytes | None, limit: RequestLimit) -> timedelta:
        """Take the turn for one token request of a client by `rules.pacing.next_turn`, and store the new shared time.

        Processes that ask at the same time get different turns.

        Returns:
            Zero if a request may be sent now; else the time to wait, and nothing was stored.
        """

    async def close(self, scope: ClientScope) -> Change[bool]:
        """Delete a record, because the client succeeded; if it was paused, write the event ``client_resumed``."""

    async def condemn(
        self, attempt: Attempt, code: str, scope: ClientScope, rules: ClientRules, *, actor: str | None
    ) -> Change[Verdict]:
        """Mark the attempt's credential invalid as `RefreshLedger.reject` does, unless the fleet is to be spared.

        The scope's record is locked first, so that processes which reject at the same time see each other's
        rejections. Then:

        - While the scope is paused (`rules.clients.is_paused`): nothing is marked, and the refusal is noted in the
          record.
        - If the accounts that were rejected within ``rules.window``, this one included, are a mass
          (`rules.clients.is_mass`): the pause is opened, with its event. Credentials that were rejected within the
          window become valid again, each with an event ``account_revived``, and their accounts are due now.
        - Otherwise, the credential is marked, with its `rejected_at`.

        Rejections and successes are counted up to `MOST_COUNTED`. A rejected credential counts, and is taken back, if
        it is still stored, its ``rejected_at`` lies in the window, and its client is not known to be another one.
        """
