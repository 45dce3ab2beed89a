"""Pauses refreshes at a provider that refuses the vault's own OAuth client, or that rejects most of a fleet."""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime, timedelta
from itertools import islice

from attrs import evolve, frozen

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.clients import (
    CLIENT_MISMATCH,
    INVALID_CLIENT,
    MASS_REJECTION,
    ClientRecord,
    ClientScope,
    StoredClients,
)
from vault_domain.entities.errors import StorageError
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.clients import (
    ClientRules,
    concerns,
    holds_back,
    is_abandoned,
    is_mismatch,
    is_paused,
    next_probe,
)
from vault_domain.rules.refresh import Claim
from vault_domain.rules.shares import next_member
from vault_domain.services.refresh.client_ledger import ClientLedger, Verdict
from vault_domain.services.refresh.refusing import paused
from vault_domain.services.tokens.clients import Clients
from vault_domain.services.tokens.homes import HomeService

_log = logging.getLogger(__name__)

_LONGEST_AGE = 5.0
"""Seconds for which a process relies on the records that it read."""

_MOST_CLOSED = 100
"""Largest number of left records that are closed after a read, because a caller waits meanwhile."""

_SAYS_NOTHING_ELSEWHERE = frozenset({None, "invalid_grant", "unauthorized_client"})
"""Codes that do not condemn a credential of another client than the configured one.

That other client may still use the credential.
"""


_NOTHING = StoredClients((), datetime.min.replace(tzinfo=UTC))


@frozen
class _Seen:
    """The records of one provider, and the monotonic time when they were read."""

    stored: StoredClients = _NOTHING
    read_at: float = -math.inf


class ClientGuard:
    """Admits attempts, and takes note of refusals and successes.

    A provider's records hold its pauses, and the refusals that are counted. A process reads these records only before
    an attempt or a batch of a sweep, and relies on them for up to 5 seconds. It reads them again sooner if it has
    changed a record since. While it knows of a pause, it reads them before each batch.
    """

    def __init__(
        self,
        ledger: ClientLedger,
        tasks: Tasks,
        clients: Clients,
        rules: ClientRules,
        home: HomeService,
    ) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self.clients = clients
        self._rules = rules
        self._home = home
        self._seen: dict[str, _Seen] = {}

    async def admit(self, account: Account, claim: Claim) -> None:
        """Let an attempt pass if no pause holds its account back, or if it is the next probe.

        Raises:
            RefreshFailedError: the database is not at home.
            ProviderConfigurationError: the client is paused, so nothing was sent; the ``reason`` says why, and the
                message says when a probe may be sent.
            StorageError: the store failed.
        """
        await self._home.check(account)
        client = self.clients.of(account)
        seen = await self._records(account.provider, claim.now)
        now = claim.now or seen.stored.now
        pauses = [
            record
            for record in seen.stored.records
            if concerns(record, claim.client, client, claim.endpoint) and is_paused(record, now, self._rules)
        ]
        held = [record for record in pauses if holds_back(record, account, claim.error_code)]
        times = [next_probe(record, account, now, self._rules, claim.error_code) for record in held]
        if held and (latest := max(times)) > now:
            raise paused(held[times.index(latest)], account, latest - now)
        for record in held:
            if not await self._probe(record):
                raise paused(record, account, self._rules.probe_interval)
        for record in pauses:
            if record not in held:
                await self._probe(record)  # this attempt can end the pause as a probe can, so it counts as a probe

    async def places(self, provider: str) -> int | None:
        """Return how many accounts of a provider a sweep may take now; None: any number.

        If all accounts of the provider share a client that is paused, a sweep takes one account if a probe is due, else
        none.

        Raises:
            RefreshFailedError: the database is not at home.
            StorageError: the store failed.
        """
        await self._home.check()
        if not self.clients.is_shared(provider):
            return None
        known = self._seen.get(provider)
        is_open = known is not None and any(record.opened_at is not None for record in known.stored.records)
        seen = await self._records(provider, None, fresh=is_open)
        client = self.clients.shared(provider)
        pauses = [
            record
            for record in seen.stored.records
            if record.scope.reason != CLIENT_MISMATCH
            and concerns(record, None, client)
            and is_paused(record, seen.stored.now, self._rules)
        ]
        if not pauses:
            return None
        now = seen.stored.now
        return int(all(next_probe(record, None, now, self._rules) <= now for record in pauses))

    async def succeeded(self, attempt: Attempt) -> None:
        """Take note of a success: end all pauses and all counts of refusals that concern the attempt's credential."""
        mismatch = self._scope(attempt, CLIENT_MISMATCH)
        scopes = [scope for scope in self._known(attempt.account.provider) if scope.client == mismatch.client]
        is_other = self.is_of_another_client(attempt)
        closing = [scope for scope in scopes if scope != mismatch or is_other]
        if is_other and mismatch not in closing:
            closing.append(mismatch)  # other processes may have counted mismatches since the last read
        for scope in closing:
            await self._close(scope)

    async def exchanged(self, account: Account, endpoint: bytes | None) -> None:
        """Take note that a token endpoint exchanged a code: it knows the client, which says nothing of refresh tokens.

        Args:
            account: the account that was connected.
            endpoint: the client at the account's token endpoint; None if all accounts share the endpoint.
        """
        # Other processes may have counted refusals since the last read.
        await self._close(ClientScope(account.provider, endpoint or self.clients.of(account), INVALID_CLIENT))

    def is_of_another_client(self, attempt: Attempt) -> bool:
        """Return whether an attempt presented a credential that is known to belong to another client."""
        return is_mismatch(attempt.client, self.clients.of(attempt.account))

    async def refused(self, attempt: Attempt, reason: str) -> None:
        """Take note of a refusal for which the client is to blame.

        Args:
            attempt: the attempt.
            reason: `INVALID_CLIENT` if the provider refused the client itself; `CLIENT_MISMATCH` if it refused a
                credential of another client; `UNREADABLE_ANSWER` if its answer could not be read.
        """
        await self._count(self._scope(attempt, reason), attempt.account)

    async def readable_again(self, attempt: Attempt) -> None:
        """End the pause of a client for answers that nothing could read, because a kept one was read."""
        await self._close(self._scope(attempt, UNREADABLE_ANSWER))

    @property
    def longest(self) -> timedelta:
        """Length of an account's run of rejections after which its credential is condemned despite a mass rejection."""
        return self._rules.longest

    async def condemn(
        self, attempt: Attempt, code: str | None, *, actor: str | None, is_believed: bool = False
    ) -> Verdict | str:
        """Condemn a credential that the provider rejected for good, unless the client or the provider is at fault.

        Args:
            attempt: the attempt.
            code: the provider's error code, or None.
            actor: who asked for the refresh, for the audit log.
            is_believed: whether the provider has rejected this credential for so long that it is condemned even during
                a mass rejection.

        Returns:
            The verdict; or, if the client or the provider is at fault, the reason for which the credential was not
            condemned: `CLIENT_MISMATCH` or `MASS_REJECTION`.

        Raises:
            StorageError: the store failed.
        """
        account = attempt.account
        if code in _SAYS_NOTHING_ELSEWHERE and self.is_of_another_client(attempt):
            await self.refused(attempt, CLIENT_MISMATCH)
            return CLIENT_MISMATCH
        scope = self._scope(attempt, MASS_REJECTION)
        # One after another, so that this process marks no more credentials than it takes to see a mass rejection.
        verdict, is_new = await self._tasks.in_turn(
            ("client", scope),
            account.tenant_id,
            lambda: self._ledger.condemn(attempt, code or "invalid_grant", scope, is_believed=is_believed, actor=actor),
            most=1,
            choose=next_member,
        )
        if verdict is not Verdict.SPARED:
            return verdict
        self._forget(account.provider)
        if is_new:
            self._report(scope)
        return MASS_REJECTION

    def _scope(self, attempt: Attempt, reason: str) -> ClientScope:
        account = attempt.account
        return ClientScope(account.provider, attempt.endpoint or self.clients.of(account), reason)

    async def _count(self, scope: ClientScope, account: Account) -> None:
        try:
            is_new = await self._ledger.refuse(scope, account)
        except StorageError as error:
            _log.warning("the refusal of a client could not be counted (%s)", error.code)
            return
        self._forget(scope.provider)
        if is_new:
            self._report(scope)

    def _report(self, scope: ClientScope) -> None:
        _log.error(
            "refreshes at %s are paused (%s); one probe every %g seconds shows when they may go on",
            scope.provider,
            scope.reason,
            self._rules.probe_interval.total_seconds(),
        )

    async def _close(self, scope: ClientScope) -> None:
        try:
            was_open = await self._ledger.close(scope, self._seen.get(scope.provider, _Seen()).stored)
        except StorageError as error:
            _log.warning("the end of a pause could not be stored (%s)", error.code)
            return
        self._forget(scope.provider)
        if was_open:
            _log.warning("refreshes at %s go on (%s)", scope.provider, scope.reason)

    async def _probe(self, record: ClientRecord) -> bool:
        is_taken = await self._ledger.take_probe(record.scope, record.probe_at)
        self._forget(record.scope.provider)
        return is_taken

    async def _records(self, provider: str, now: datetime | None, *, fresh: bool = False) -> _Seen:
        seen, time = self._seen.get(provider), self._tasks.monotonic()
        if seen is not None and not fresh and time - seen.read_at < _LONGEST_AGE and not _is_old(seen, now):
            return seen
        seen = _Seen(await self._ledger.records(provider), time)
        self._seen[provider] = seen
        left = (record for record in seen.stored.records if self._is_left(record, seen.stored.now))
        for record in islice(left, _MOST_CLOSED):
            await self._close(record.scope)
        return seen

    def _is_left(self, record: ClientRecord, now: datetime) -> bool:
        """Return whether a record's client is neither configured nor in use any more, such as a former customer's."""
        if not self.clients.is_shared(record.scope.provider) or record.scope.client == self.clients.shared(
            record.scope.provider
        ):
            return False
        return is_abandoned(record, now, self._rules)

    def _known(self, provider: str) -> list[ClientScope]:
        return [record.scope for record in self._seen.get(provider, _Seen()).stored.records]

    def forget_all(self) -> None:
        """Let the next attempt or sweep at each provider read the records again."""
        self._seen.clear()

    def _forget(self, provider: str) -> None:
        """Let the next attempt or sweep read the records again."""
        seen = self._seen.get(provider)
        if seen is not None:
            self._seen[provider] = evolve(seen, read_at=-math.inf)


def _is_old(seen: _Seen, now: datetime | None) -> bool:
    return now is not None and abs((now - seen.stored.now).total_seconds()) >= _LONGEST_AGE
