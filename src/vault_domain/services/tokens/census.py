"""Counts all accounts and tokens of the database, for metrics."""

from collections import Counter
from collections.abc import Collection

from vault_domain.entities.account import ConnectionState
from vault_domain.entities.errors import StorageError
from vault_domain.entities.measures import Census, StateCount
from vault_domain.ports.pages import Pages
from vault_domain.services.tokens.health import HealthService
from vault_domain.services.tokens.listing import ListingService

MOST_COUNTED = 100_000
"""Largest number of accounts that are counted in one state; it bounds the work while everything is failing."""

_AT_ONCE = 1000


class CensusService:
    """Takes a census. A census reads the whole database, so callers take one seldom.

    Args:
        pages: counts the accounts.
        listing: lists the accounts that are not connected.
        health: counts the tokens.
        refreshed: the providers that this vault has a refresher for. Due accounts of other providers are not reported.
    """

    def __init__(
        self, pages: Pages, listing: ListingService, health: HealthService, refreshed: Collection[str]
    ) -> None:
        self._pages = pages
        self._listing = listing
        self._health = health
        self._refreshed = refreshed

    async def take(self) -> Census:
        """Count the accounts by provider and state, the tokens by provider and health, and the due accounts.

        In a large vault, the counts of tokens of status VALID are estimates, as in a health report.

        Raises:
            StorageError: the database failed.
        """
        counts = await self._pages.count_accounts()
        totals = {count.provider: count.accounts for count in counts}
        states: list[StateCount] = []
        for state in (ConnectionState.RETRYING, ConnectionState.REAUTHORIZATION_REQUIRED):
            found = await self._in_state(state)
            states += [StateCount(provider, state, found[provider]) for provider in totals]
            totals = {provider: max(0, total - found[provider]) for provider, total in totals.items()}
        states += [StateCount(provider, ConnectionState.CONNECTED, count) for provider, count in totals.items()]
        health = await self._health.report(None)
        # While the database takes no writes, the report has a `store_error`, but also the counts and a `store_time`.
        if health.store_error is not None and health.store_time is None:
            raise StorageError("the database failed during the census", retryable=True, reason=health.store_reason)
        due = tuple(count for count in counts if count.provider in self._refreshed)
        return Census(tuple(states), health.counts, due, health.incidents)

    async def _in_state(self, state: ConnectionState) -> Counter[str]:
        """Return the number of accounts in a state, by provider."""
        found: Counter[str] = Counter()
        after: str | None = None
        while found.total() < MOST_COUNTED:
            page = await self._listing.all_accounts(provider=None, state=state, limit=_AT_ONCE, after=after)
            found.update(info.account.provider for info in page.items)
            if (after := page.next) is None:
                break
        return found
