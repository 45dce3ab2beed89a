"""Makes accounts with condemned credentials refreshable again."""

from collections.abc import Callable
from datetime import timedelta

from attrs import evolve

from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.reports import RevivalReport
from vault_domain.entities.token import TokenInfo, TokenRef
from vault_domain.ports.accounts import Accounts
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.pages import Condemned, Pages
from vault_domain.services.tokens.account_changes import AccountChanges

Progress = Callable[[RevivalReport], object]

_PER_PAGE = 500

_INTERVAL = timedelta(seconds=0.1)
"""Time between the due times of two revived accounts, so that sweeps do not flood the provider."""


class RevivalService:
    """Revives condemned credentials. The facade has validated the arguments of `revive`.

    Args:
        accounts: tells the time.
        pages: finds condemned credentials.
        changes: revives them.
        sink: receives the audit events.
        per_page: largest number of credentials that are found at once.
    """

    def __init__(
        self, accounts: Accounts, pages: Pages, changes: AccountChanges, sink: EventSink, *, per_page: int = _PER_PAGE
    ) -> None:
        self._accounts = accounts
        self._pages = pages
        self._changes = changes
        self._sink = sink
        self._per_page = per_page

    async def revive(
        self,
        condemned: Condemned,
        *,
        dry_run: bool = False,
        progress: Progress | None = None,
        anew: bool = True,
        actor: str | None,
    ) -> RevivalReport:
        """Revive all condemned credentials that ``condemned`` selects, one by one; return the counts.

        Args:
            condemned: which credentials to revive.
            dry_run: only count.
            progress: called with the counts so far after each page.
            anew: whether failures and runs of refusals of the accounts are forgotten too.
            actor: who revives them, for the audit log.
        """
        _, now = await self._accounts.get_many([])
        # The credentials come in the order of their condemnation. Without this limit, a revived account that is
        # condemned again would come again, and would be revived again and again.
        condemned = evolve(condemned, until=condemned.until or now)
        report, after = RevivalReport(), None
        while True:
            page = await self._pages.tokens(condemned, limit=self._per_page, after=after)
            for info in page:
                if dry_run:
                    is_revived = info.expires_at is None or info.expires_at > now
                else:
                    # The accounts become due one after the other.
                    is_revived = await self._revive(info, report.revived * _INTERVAL, anew, actor)
                report = RevivalReport(report.revived + is_revived, report.skipped + (not is_revived))
            if progress is not None:
                progress(report)
            if len(page) < self._per_page:
                return report
            after = Condemned.place(page[-1])

    async def _revive(self, info: TokenInfo, due_in: timedelta, anew: bool, actor: str | None) -> bool:
        try:
            change = await self._changes.revive(TokenRef.of(info), due_in, anew=anew, actor=actor)
        except DecryptionError:  # another row of the account cannot be used; the store has logged it
            return False
        self._sink.publish(change.events)
        return change.result
