"""Records how attempts failed, and remembers which providers reject this client."""

from __future__ import annotations

import logging

from attrs import frozen

from vault_domain.entities.account import Account
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    StorageError,
    VaultError,
)
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.refresh_ledger import Attempt, Failure, RefreshLedger
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.oauth_codes import CLIENT_CODES, registered_code
from vault_domain.rules.refresh import backoff

_log = logging.getLogger(__name__)

_BREAKER_SECONDS = 30.0
"""Time without calls to a provider after it rejected this client, because it would reject each call."""


@frozen
class NothingSent:
    """The attempt ended without tokens to store and without an error.

    Either the provider was not called, because another process was faster or too little of the lease was left, or it
    rejected a credential that another writer had replaced meanwhile.
    """


class FailureRecorder:
    """Records failed attempts, and raises their errors."""

    def __init__(self, ledger: RefreshLedger, sink: EventSink, tasks: Tasks) -> None:
        self._ledger = ledger
        self._sink = sink
        self._tasks = tasks
        self._refused_until: dict[str, tuple[float, str | None]] = {}

    def is_refused(self, provider: str) -> bool:
        """Return whether the provider recently rejected this client, so that it is not called for a while."""
        return self._tasks.monotonic() < self._refused_until.get(provider, (0.0, None))[0]

    def note_success(self, attempt: Attempt) -> None:
        """Take note that the provider answered with tokens."""
        self._refused_until.pop(attempt.account.provider, None)

    def refuse_known_bad(self, account: Account) -> None:
        """Raise `ProviderConfigurationError` while `is_refused` is True for the account's provider."""
        if self.is_refused(account.provider):
            raise ProviderConfigurationError(account=account, reason=self._refused_until[account.provider][1])

    async def record(self, attempt: Attempt, error: VaultError, failures: int, *, actor: str | None) -> NothingSent:
        """Record how an attempt failed and raise a new error, because the refresher's error may hold secrets.

        Args:
            attempt: the attempt.
            error: the refresher's error.
            failures: number of the credential's consecutive failures before this one.
            actor: who asked for the refresh, for the audit log.

        Returns:
            `NothingSent` if the provider rejected a credential that another writer had replaced meanwhile.
        """
        account, reason = attempt.account, registered_code(error.reason)
        if isinstance(error, ReauthorizationRequiredError):
            change = await self._ledger.reject(attempt, reason or "invalid_grant", actor=actor)
            self._sink.publish(change.events)
            if not change.result:
                return NothingSent()
            raise ReauthorizationRequiredError(account=account, reason=reason)
        if not isinstance(error, RefreshFailedError):
            await self._fail(attempt, Failure(reason, backoff(failures + 1, self._tasks.jitter(), None), unknown=False))
            if reason in CLIENT_CODES:
                self._refused_until[account.provider] = (self._tasks.monotonic() + _BREAKER_SECONDS, reason)
            raise ProviderConfigurationError(account=account, reason=reason)
        wait = backoff(failures + 1, self._tasks.jitter(), error.retry_after)
        await self._fail(attempt, Failure(reason, wait, unknown=error.outcome_unknown))
        raise RefreshFailedError(
            account=account, reason=reason, retry_after=wait, outcome_unknown=error.outcome_unknown
        )

    async def _fail(self, attempt: Attempt, failure: Failure) -> None:
        try:
            await self._ledger.fail(attempt, failure)
        except StorageError as error:
            # The lease then runs out, which counts as an unknown outcome; that is the safe assumption.
            _log.warning("a failed refresh could not be recorded (%s)", error.code)
