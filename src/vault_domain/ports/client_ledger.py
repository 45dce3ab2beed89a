"""ClientLedger: counts the refusals that an OAuth client gets from its provider.

It also marks a rejected credential invalid, unless most of the client's fleet is rejected.
"""

import enum
from datetime import datetime, timedelta
from typing import Protocol

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.clients import ClientRecord, ClientScope
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.ports.change import Change
from vault_domain.rules.clients import ClientRules

MOST_COUNTED = 1000
"""Largest number of rejections that `ClientLedger.condemn` counts.

`condemn` counts up to `MOST_COUNTED` rejections of accounts other than the attempt's, and adds the attempt's own
rejection. It compares the successes with this sum. So it counts successes only up to the largest sum,
`MOST_COUNTED` + 1.
"""


class Verdict(enum.Enum):
    """The result of asking the store to condemn a credential."""

    CONDEMNED = "condemned"
    """The credential is invalid now, or was invalid before."""
    MOVED = "moved"
    """The credential was replaced or deleted meanwhile, so nothing was marked."""
    SPARED = "spared"
    """Nothing was condemned, because the provider rejects the whole fleet. The caller still has to end the attempt."""


class ClientLedger(Protocol):
    """Keeps one record per `ClientScope`. Each method is one transaction.

    A success of a client is an access token that was stored under this client and whose `last_refreshed_at` is set. If
    the scope names no client, every such token of the provider counts.

    The events ``client_paused`` and ``client_resumed`` have the provider and the scope's reason, but no tenant.
    """

    async def records(self, provider: str | None = None) -> tuple[list[ClientRecord], datetime]:
        """Return the records of a provider, or of all providers, and the store's time."""

    async def refuse(self, scope: ClientScope, account: Account, rules: ClientRules) -> Change[ClientRecord]:
        """Count that an account was refused, and return the new record, which `rules.clients.counted` computes.

        `counted` is told whether tokens of another tenant than the account's are stored, at any provider.

        The event ``client_paused`` is written in the transaction that opens the pause. While no pause is open, counting
        begins again if the client has had a success after the record's ``since``. If the scope's reason is
        `CLIENT_MISMATCH`, a success does not matter.
        """

    async def take_probe(self, scope: ClientScope, seen: datetime | None) -> bool:
        """Set the time of the latest probe to now, so that only one process probes a client at a time.

        Return False, and change nothing, if the stored time differs from ``seen``, or if the scope is not paused.
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

    async def close(self, scope: ClientScope) -> Change[bool]:
        """Delete a record after a success; if its scope was paused, write the event ``client_resumed``."""

    async def condemn(
        self, attempt: Attempt, code: str, scope: ClientScope, rules: ClientRules, *, actor: str | None
    ) -> Change[Verdict]:
        """Mark the attempt's credential invalid as `RefreshLedger.reject` does, unless most of the fleet is rejected.

        The scope's record is locked first, so that processes that store rejections at the same time see each other's.
        The rules are those that `rules.clients.after_restore` returns for the latest time of `note_restore`. Then the
        first of these cases applies:

        - The scope is paused (`rules.clients.is_paused`): nothing is marked, and the refusal is noted in the record.
        - No pause is open, and the accounts that were rejected within ``rules.window``, the attempt's account
          included, are a mass (`rules.clients.is_mass`): a pause is opened, with its event. Credentials that
          were rejected within the window become valid again, each with an event ``account_revived``, and their accounts
          are due now. (`is_mass` is told whether none of these accounts belongs to another tenant than the attempt's,
          although tokens of another tenant are stored, at any provider.)
        - Otherwise: the credential is marked, with its `rejected_at`. If there is a record, its time of the latest
          refusal becomes now. This case also applies if a pause is open but has lasted for ``rules.longest``.

        `MOST_COUNTED` limits the counts. A credential counts as rejected if it is still stored, its ``rejected_at``
        lies in the window, its value was not stored before the latest time of `note_restore`, and its client is the
        scope's client or unknown. If the scope names no client, the credentials of all clients count. If the latest
        attempt of the credential's account had an `Attempt.endpoint`, only this must be the scope's client; the same
        holds for successes. The opening of a pause makes these credentials valid again.
        """

    async def note_restore(self, since: datetime | None, *, actor: str | None) -> Change[datetime]:
        """Note that a backup of this database went into use at a time; None: now. Return the time.

        Raises:
            InvalidInputError: the time lies in the future of the store's clock.

        In one transaction: the time is stored; the records of mass rejections are deleted, each that was a pause with
        the event ``client_resumed``; the accounts whose latest failure has the code `MASS_REJECTION` are due now,
        without a backoff; and the event ``database_restored`` is written, without a tenant.
        """
