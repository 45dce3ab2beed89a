"""RevivalRepository: makes credentials refreshable again after a refresh has condemned them."""

from datetime import datetime, timedelta
from typing import Any, Protocol

from attrs import frozen

from vault_domain.ports.change import Change

Place = tuple[Any, ...]
"""Position in a list of condemned credentials; only the store that returned it can read it."""


@frozen
class Condemned:
    """Selects credentials that a refresh has condemned.

    Attributes:
        provider: the provider's name.
        since: the earliest time of the condemnation, UTC.
        until: the latest time of the condemnation, UTC; None: the store's time.
        tenant_id: the tenant; None: all tenants.
        client: only credentials that `ClientStates.count` would count for this client; empty: for a scope without a
            client. None: the credentials of all clients.
        stored_since: only values that were stored at this time or later; None: all values.
    """

    provider: str
    since: datetime
    until: datetime | None = None
    tenant_id: str | None = None
    client: bytes | None = None
    stored_since: datetime | None = None


@frozen
class Spread:
    """The times at which revived accounts become due, one after the other.

    Attributes:
        first: due time of the first account, counted from the store's time.
        interval: time between two accounts.
    """

    first: timedelta
    interval: timedelta

    def due_in(self, number: int) -> timedelta:
        """Return the due time of an account, counted from the store's time; the first account has number 0."""
        return self.first + number * self.interval


@frozen
class Revived:
    """What was done with one page of condemned credentials.

    Attributes:
        revived: number of credentials that were revived; in a dry run, number that would be revived.
        skipped: number of credentials that have expired, or that another writer changed meanwhile.
        now: the store's time.
        next: position after which the next page begins; None after the last page.
    """

    revived: int
    skipped: int
    now: datetime | None = None
    next: Place | None = None


class RevivalRepository(Protocol):
    """Revives condemned credentials, page by page, earliest condemnation first."""

    async def revive(
        self, condemned: Condemned, *, after: Place | None, limit: int, spread: Spread, dry_run: bool, actor: str | None
    ) -> Change[Revived]:
        """Revive one page of condemned credentials in one transaction.

        A credential is condemned if its status is INVALID and it has a `TokenInfo.rejected_at`. A credential that a
        host marked invalid has no `TokenInfo.rejected_at`, so it stays invalid. For each condemned credential that has
        not expired:

        - Its status becomes VALID. Its error code and `TokenInfo.rejected_at` are cleared. Its value, its value id and
          its generation stay.
        - Its account's backoff, unknown outcome and run of refusals are cleared. A running attempt keeps its lease.
        - Its account is due as ``spread`` says.
        - One event ``account_revived`` is written; its code is the credential's former error code.

        A value that was stored since the page was read stays as it is.

        Args:
            condemned: which credentials to revive.
            after: the `Revived.next` of the previous page; None: from the beginning.
            limit: largest number of credentials on the page.
            spread: when the accounts are due. On each page, `Spread.due_in` gets the number 0 for the first revived
                credential.
            dry_run: change nothing, and only count.
            actor: who revives them, for the audit log.
        """
