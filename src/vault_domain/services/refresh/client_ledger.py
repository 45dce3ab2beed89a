"""Counts refusals of OAuth clients, and condemns rejected credentials unless most of a fleet is rejected."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from attrs import frozen

from vault_domain.entities.account import Account, ConnectionState
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.clients import MASS_REJECTION, ClientRecord, ClientScope, StoredClients
from vault_domain.entities.errors import DecryptionError
from vault_domain.ports.client_states import ClientStates
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.pages import AccountQuery, Condemned, Pages, Refreshed
from vault_domain.rules.bounds import MOST_COUNTED
from vault_domain.rules.clients import ClientRules, after_restore, believing, is_mass
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.tokens.revival import RevivalService
from vault_domain.transitions import clients

_AT_ONCE = 500
"""Largest number of accounts on a page of accounts whose refreshes fail."""


class Verdict(enum.Enum):
    """The result of asking to condemn a credential."""

    CONDEMNED = "condemned"
    """The credential is invalid now, or was invalid before."""
    MOVED = "moved"
    """The credential was replaced or deleted meanwhile, so nothing was marked."""
    SPARED = "spared"
    """Nothing is condemned, because the provider rejects the whole fleet. The caller still has to end the attempt."""


@frozen
class _Pause:
    """The pause that spares a rejected credential, whether it was opened just now, and what it takes back."""

    record: ClientRecord
    is_new: bool
    stored_since: datetime | None


class ClientLedger:
    """Changes the records of clients by the transitions of `transitions.clients`, and publishes the events."""

    def __init__(
        self,
        states: ClientStates,
        attempts: AttemptLedger,
        reviving: RevivalService,
        pages: Pages,
        sink: EventSink,
        rules: ClientRules,
    ) -> None:
        self._states = states
        self._attempts = attempts
        self._reviving = reviving
        self._pages = pages
        self._sink = sink
        self._rules = rules

    async def records(self, provider: str | None = None) -> StoredClients:
        """Return the records of a provider, or of all providers."""
        return await self._states.records(provider)

    async def refuse(self, scope: ClientScope, account: Account) -> bool:
        """Count that an account was refused; return whether this pauses the client."""
        known = (await self._states.records(scope.provider)).of(scope)
        since = None if known is None or known.opened_at is not None else known.since
        succeeded = since is not None and await self._succeeded(scope, since, 1) > 0
        is_sole = await self._is_sole(account.tenant_id)
        decision = await self._states.change(
            scope,
            lambda record, now: clients.refused(
                *(record, now, scope, account, self._rules),
                # If the count has begun again meanwhile, the successes before that do not matter.
                succeeded=record is not None and record.since == since and succeeded,
                is_sole=is_sole,
            ),
        )
        return self._published(decision.events)

    async def take_probe(self, scope: ClientScope, seen: datetime | None) -> bool:
        """Set the time of the latest probe to now; return False if another process was faster."""
        return (await self._states.change(scope, lambda record, now: clients.probed(record, now, seen))).result

    async def close(self, scope: ClientScope, known: StoredClients) -> bool:
        """Delete a record after a success; return whether this ends a pause.

        Args:
            scope: the record's scope.
            known: the records of the provider as they were read last.
        """
        record = known.of(scope)
        if record is not None and record.opened_at is not None and scope.reason == MASS_REJECTION:
            # The process that opened the pause may have died before it had taken back everything.
            await self._take_back(record, known.restored_at, record.opened_at, actor=None)
        return self._published((await self._states.change(scope, clients.closed)).events)

    async def condemn(
        self, attempt: Attempt, code: str, scope: ClientScope, *, is_believed: bool, actor: str | None
    ) -> tuple[Verdict, bool]:
        """Mark the attempt's credential invalid, unless most of the fleet is rejected.

        In a mass rejection, a pause is opened, and then the credentials that were rejected within `ClientRules.window`
        become valid again. Rejections are counted before the credential is marked, and once more afterwards. Of those
        that are stored at the same time, the last one counts all. So no mass rejection is missed, and no lock on the
        client is needed.

        Returns:
            The verdict, and whether a pause was opened.
        """
        rules = believing(self._rules) if is_believed else self._rules
        pause = await self._pause(attempt, scope, rules)
        if pause is not None:
            until = None if pause.is_new else pause.record.opened_at  # if not new, what another process has left over
            await self._take_back(pause.record, pause.stored_since, until, actor=actor)
            return Verdict.SPARED, pause.is_new
        change = await self._attempts.reject(attempt, code, actor=actor)
        self._published(change.events)
        if not change.result:
            return Verdict.MOVED, False
        pause = await self._pause(attempt, scope, rules)
        if pause is None:
            return Verdict.CONDEMNED, False
        await self._take_back(pause.record, pause.stored_since, None, actor=actor)
        return Verdict.SPARED, pause.is_new

    async def end_mass_rejections(self) -> None:
        """Forget the mass rejections of all clients, and wake what was spared; what was rejected stays condemned."""
        for record in (await self._states.records()).records:
            if record.scope.reason == MASS_REJECTION:
                self._published((await self._states.change(record.scope, clients.closed)).events)
        retrying, after = AccountQuery(state=ConnectionState.RETRYING), None
        while True:
            page, _ = await self._pages.accounts(retrying, limit=_AT_ONCE, after=after)
            for each in page:
                if each.refresh.error_code == MASS_REJECTION:
                    with suppress(DecryptionError):  # a value is damaged; the store has logged it
                        await self._attempts.wake(each.account)
            if len(page) < _AT_ONCE:
                return
            after = AccountQuery.place(page[-1])

    async def _pause(self, attempt: Attempt, scope: ClientScope, rules: ClientRules) -> _Pause | None:
        """Return the pause that spares the attempt's credential; open it if the rejections of late are a mass."""
        stored = await self._states.records(scope.provider)
        record = stored.of(scope)
        judged = after_restore(rules, attempt.stored_at, stored.restored_at)
        is_open = record is not None and record.opened_at is not None
        may_be_mass = not is_open and judged.fleet <= MOST_COUNTED
        mass = may_be_mass and await self._is_mass(scope, attempt.account, judged, stored)
        if record is None and not mass:
            return None
        decision = await self._states.change(
            scope, lambda each, now: clients.rejected(each, now, scope, attempt.account, judged, mass=mass)
        )
        is_new = self._published(decision.events)
        return None if decision.result is None else _Pause(decision.result, is_new, stored.restored_at)

    async def _is_mass(self, scope: ClientScope, account: Account, rules: ClientRules, stored: StoredClients) -> bool:
        after = stored.now - rules.window
        latest = stored.now + rules.window  # another process may have a later time
        condemned = _condemned(scope, after, latest, stored.restored_at)
        found = await self._pages.tokens(condemned, limit=MOST_COUNTED, after=None)
        others = [info.key.account for info in found if info.key.account != account]
        rejected = len(others) + 1
        if rejected < rules.fleet:
            return False
        is_own = all(each.tenant_id == account.tenant_id for each in others)
        is_one_tenants = is_own and not await self._is_sole(account.tenant_id)
        succeeded = await self._succeeded(scope, after, rejected)
        return is_mass(rejected, succeeded, rules, is_one_tenants=is_one_tenants)

    async def _succeeded(self, scope: ClientScope, after: datetime, most: int) -> int:
        """Return how many access tokens the client has got after a time, but at most ``most``."""
        refreshed = Refreshed(scope.provider, after + timedelta.resolution, scope.client or b"")
        return len(await self._pages.tokens(refreshed, limit=most, after=None))

    async def _take_back(
        self, record: ClientRecord, stored_since: datetime | None, until: datetime | None, *, actor: str | None
    ) -> None:
        """Make valid again what was rejected since shortly before a pause, and let these accounts be due.

        Their runs of rejections go on, so that grants that have ended are condemned at last.
        """
        assert record.opened_at is not None  # noqa: S101 - callers have checked it
        condemned = _condemned(record.scope, record.opened_at - self._rules.window, until, stored_since)
        await self._reviving.revive(condemned, anew=False, actor=actor)

    async def _is_sole(self, tenant_id: str) -> bool:
        """Return whether no tenant but this one has tokens."""
        found = await self._pages.tenants(limit=1, after=None)
        return set(found) <= {tenant_id} and not await self._pages.tenants(limit=1, after=tenant_id)

    def _published(self, events: Sequence[AuditEvent]) -> bool:
        self._sink.publish(events)
        return bool(events)


def _condemned(scope: ClientScope, after: datetime, until: datetime | None, stored_since: datetime | None) -> Condemned:
    since, client = after + timedelta.resolution, scope.client or b""
    return Condemned(scope.provider, since, until, client=client, stored_since=stored_since)
