"""Records how attempts failed. What a failure says about the client is the matter of `ClientGuard`."""

from __future__ import annotations

import logging

from attrs import frozen

from vault_domain.entities.clients import INVALID_CLIENT
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    StorageError,
    VaultError,
)
from vault_domain.ports.client_ledger import Verdict
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.refresh_ledger import Attempt, Failure, RefreshLedger
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.clients import LONGEST_WAIT
from vault_domain.rules.oauth_codes import registered_code
from vault_domain.rules.refresh import backoff
from vault_domain.services.refresh.clients import ClientGuard

_log = logging.getLogger(__name__)


@frozen
class NothingSent:
    """The attempt ended without tokens to store and without an error.

    Either the provider was not called, because another process was faster or too little of the lease was left, or it
    rejected a credential that another writer had replaced meanwhile.
    """


class FailureRecorder:
    """Records failed attempts, and raises their errors."""

    def __init__(self, ledger: RefreshLedger, sink: EventSink, tasks: Tasks, guard: ClientGuard) -> None:
        self._ledger = ledger
        self._sink = sink
        self._tasks = tasks
        self._guard = guard

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
            verdict = await self._guard.condemn(attempt, reason, actor=actor)
            if verdict is Verdict.MOVED:
                return NothingSent()
            if isinstance(verdict, Verdict):
                raise ReauthorizationRequiredError(account=account, reason=reason)
            await self._fail_for_client(attempt, verdict, failures)
            raise ProviderConfigurationError(account=account, reason=verdict)
        if not isinstance(error, RefreshFailedError):
            if reason == INVALID_CLIENT:
                await self._fail_for_client(attempt, reason, failures)
                await self._guard.refused(attempt)
                raise ProviderConfigurationError(account=account, reason=reason)
            await self._fail(attempt, Failure(reason, backoff(failures + 1, self._tasks.jitter(), None), unknown=False))
            raise ProviderConfigurationError(account=account, reason=reason)
        wait = backoff(failures + 1, self._tasks.jitter(), error.retry_after)
        await self._fail(attempt, Failure(reason, wait, unknown=error.outcome_unknown))
        raise RefreshFailedError(
            account=account, reason=reason, retry_after=wait, outcome_unknown=error.outcome_unknown
        )

    async def _fail_for_client(self, attempt: Attempt, reason: str, failures: int) -> None:
        """Record a failure for which the account is not to blame; it waits for some minutes at most."""
        wait = min(backoff(failures + 1, self._tasks.jitter(), None), LONGEST_WAIT)
        await self._fail(attempt, Failure(reason, wait, unknown=False))

    async def _fail(self, attempt: Attempt, failure: Failure) -> None:
        try:
            await self._ledger.fail(attempt, failure)
        except StorageError as error:
            # The lease then runs out, which counts as an unknown outcome; that is the safe assumption.
            _log.warning("a failed refresh could not be recorded (%s)", error.code)
