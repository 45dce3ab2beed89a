"""Makes accounts with condemned credentials refreshable again."""

from collections.abc import Callable
from datetime import timedelta

from attrs import evolve

from vault_domain.entities.reports import RevivalReport
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.revival import Condemned, RevivalRepository, Spread

Progress = Callable[[RevivalReport], object]

_PER_TRANSACTION = 500
"""Small enough that a transaction takes a fraction of a second."""

_INTERVAL = timedelta(seconds=0.1)
"""Time between the due times of two revived accounts, so that sweeps do not flood the provider."""


class RevivalService:
    """Revives condemned credentials. The facade has validated the arguments of `revive`.

    Args:
        revivals: the store's condemned credentials.
        sink: receives the audit events.
        per_transaction: largest number of credentials in one transaction.
    """

    def __init__(
        self, revivals: RevivalRepository, sink: EventSink, *, per_transaction: int = _PER_TRANSACTION
    ) -> None:
        self._revivals = revivals
        self._sink = sink
        self._per_transaction = per_transaction

    async def revive(
        self, condemned: Condemned, *, dry_run: bool, progress: Progress | None, actor: str | None
    ) -> RevivalReport:
        """Revive all condemned credentials that ``condemned`` selects, page by page; return the counts.

        Args:
            condemned: which credentials to revive.
            dry_run: only count.
            progress: called with the counts so far after each page.
            actor: who revives them, for the audit log.
        """
        report, after = RevivalReport(), None
        while True:
            # The first due time of a page is the time of its own transaction, plus one interval for each account that
            # earlier pages have revived. So the accounts of the page become due after those of earlier pages.
            spread = Spread(report.revived * _INTERVAL, _INTERVAL)
            change = await self._revivals.revive(
                condemned, after=after, limit=self._per_transaction, spread=spread, dry_run=dry_run, actor=actor
            )
            self._sink.publish(change.events)
            page = change.result
            report = RevivalReport(report.revived + page.revived, report.skipped + page.skipped)
            if progress is not None:
                progress(report)
            after = page.next
            if after is None:
                return report
            # Pages are ordered by the time of condemnation. Without `until`, a revived account that is condemned again
            # would be on a later page, and would be revived again and again.
            condemned = evolve(condemned, until=condemned.until or page.now)
