"""Records how attempts failed. `ClientGuard` judges what a failure says about the client."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import NoReturn

from attrs import frozen

from vault_domain.entities.attempt import Attempt, Failure
from vault_domain.entities.causes import (
    ACCESS_TOKEN_TOO_LONG,
    ACCOUNT_CAUSES,
    PROVIDER_CAUSES,
    UNREADABLE_ANSWER,
    provider_cause,
)
from vault_domain.entities.clients import CLIENT_MISMATCH, INVALID_CLIENT, MASS_REJECTION
from vault_domain.entities.errors import (
    ConsentRequiredError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    StorageError,
    VaultError,
)
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.clients import LONGEST_WAIT
from vault_domain.rules.oauth_codes import registered_code
from vault_domain.rules.refusals import (
    DEFAULT_EXHAUSTION,
    EXHAUSTED,
    LONGEST_BACKOFF,
    backoff,
    is_counted,
    is_exhausted,
    is_refusal,
    refused_for,
    wait_after,
)
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.client_ledger import Verdict
from vault_domain.services.refresh.clients import ClientGuard
from vault_domain.services.refresh.refusing import ended, unconfigured
from vault_domain.services.tokens.fault_log import FaultLog

_log = logging.getLogger(__name__)

_FAULTS = (PROVIDER_CAUSES - ACCOUNT_CAUSES) | {"server_error", "temporarily_unavailable"}
"""The reasons that concern a provider rather than one account."""


@frozen
class NothingSent:
    """The attempt ended without tokens to store and without an error.

    Either the provider was not called, for example because another process was faster or too little of the lease was
    left; or the provider rejected a credential that another writer had replaced or deleted meanwhile.

    Attributes:
        queued_seconds: seconds for which the caller waited for its turn at the provider.
    """

    queued_seconds: float = 0.0

    @property
    def name(self) -> str:
        """The outcome's code, for observers."""
        return "nothing_sent"


class FailureRecorder:
    """Records failed attempts, and raises their errors."""

    def __init__(
        self,
        ledger: AttemptLedger,
        sink: EventSink,
        tasks: Tasks,
        guard: ClientGuard,
        exhaustion: timedelta = DEFAULT_EXHAUSTION,
    ) -> None:
        self._ledger = ledger
        self._sink = sink
        self._tasks = tasks
        self._guard = guard
        self._exhaustion = exhaustion
        self._faults: dict[str, FaultLog] = {}

    def succeeded(self, provider: str) -> None:
        """Remember that a provider answered with tokens."""
        if provider in self._faults:
            self._faults[provider].worked()

    def _note(self, provider: str, error: VaultError, reason: str | None) -> None:
        """Log an error that concerns the provider as a whole; any other error shows that the provider works."""
        if reason in _FAULTS or (reason is None and isinstance(error, RefreshFailedError)):
            name = f"refreshing at {provider}"
            faults = self._faults.setdefault(provider, FaultLog(_log, name, self._tasks.monotonic))
            faults.failed(reason or error.code)
        else:
            self.succeeded(provider)

    async def record(
        self,
        attempt: Attempt,
        error: VaultError,
        state: RefreshState,
        *,
        actor: str | None,
        recorded: timedelta | None = None,
    ) -> NothingSent:
        """Record how an attempt failed and raise a new error, because the refresher's error may hold secrets.

        Args:
            attempt: the attempt.
            error: the refresher's error.
            state: the account's refresh state, as read after the claim.
            actor: who asked for the refresh, for the audit log.
            recorded: the time until the next attempt if the failure is recorded already, because the answer is kept.

        Returns:
            `NothingSent` if the provider rejected a credential that another writer had replaced or deleted meanwhile.
        """
        account, reason = attempt.account, registered_code(error.reason) or provider_cause(error.reason)
        self._note(account.provider, error, reason)
        if isinstance(error, ReauthorizationRequiredError):
            return await self._condemn(attempt, registered_code(reason), state, actor, error)
        if reason == ACCESS_TOKEN_TOO_LONG:
            # The next answer would be too long as well, and cost another refresh token.
            change = await self._ledger.reject(attempt, reason, actor=actor)
            self._sink.publish(change.events)
            if not change.result:
                return NothingSent()
            raise ended(account, attempt.credential.key.kind, reason)
        if is_refusal(error, reason) and self._guard.is_of_another_client(attempt):
            await self._refuse_client(attempt, CLIENT_MISMATCH, state, actor)
        if is_refusal(error, reason) and is_counted(reason):
            return await self._refuse(attempt, reason, state, actor)
        if isinstance(error, RefreshFailedError):
            wait = recorded or backoff(state.failures + 1, self._tasks.jitter(), error.retry_after)
            if recorded is None:
                await self._fail(attempt, Failure(reason, wait, unknown=error.outcome_unknown), actor)
            if reason == UNREADABLE_ANSWER:
                await self._guard.refused(attempt, reason)
            after = min(wait, LONGEST_BACKOFF)
            raise RefreshFailedError(
                account=account, reason=reason, retry_after=after, outcome_unknown=error.outcome_unknown
            )
        if reason == INVALID_CLIENT:
            await self._refuse_client(attempt, reason, state, actor)
        wait = backoff(state.failures + 1, self._tasks.jitter(), None)
        await self._fail(attempt, Failure(reason, wait, unknown=False), actor)
        raise unconfigured(account, reason)

    async def _refuse_client(self, attempt: Attempt, reason: str, state: RefreshState, actor: str | None) -> NoReturn:
        """Record a refusal for which the client is to blame, let the guard count it, and raise the error."""
        await self._fail_for_client(attempt, reason, state, actor)
        await self._guard.refused(attempt, reason)
        raise ProviderConfigurationError(account=attempt.account, reason=reason)

    async def _refuse(
        self, attempt: Attempt, reason: str | None, state: RefreshState, actor: str | None
    ) -> NothingSent:
        """Record a definite refusal, or condemn the credential if it is exhausted now; then raise the error."""
        run = refused_for(state, attempt.claimed_at, self._exhaustion)
        if is_exhausted(run, self._exhaustion):
            return await self._condemn(attempt, EXHAUSTED, state, actor)
        wait = wait_after(run, self._tasks.jitter())
        failure = Failure(reason, wait, unknown=False, refused=True, refused_for=run)
        await self._fail(attempt, failure, actor)
        raise ProviderConfigurationError(account=attempt.account, reason=reason)

    async def _condemn(
        self,
        attempt: Attempt,
        reason: str | None,
        state: RefreshState,
        actor: str | None,
        said: ReauthorizationRequiredError | None = None,
    ) -> NothingSent:
        """Condemn the credential and raise the error, unless another writer replaced or deleted the credential.

        The credential is not condemned if the client or the provider is at fault; the error then says so.
        """
        longest = self._guard.longest
        # If a run of rejections is at least as long as ``longest``, the credential is condemned even during a mass
        # rejection. The run of an exhausted credential counts definite refusals instead of rejections. So it is not
        # compared with ``longest``.
        was_spared = state.error_code == MASS_REJECTION and reason != EXHAUSTED
        run = refused_for(state, attempt.claimed_at, longest) if was_spared else timedelta(0)
        verdict = await self._guard.condemn(attempt, reason, actor=actor, is_believed=is_exhausted(run, longest))
        if verdict is Verdict.MOVED:
            return NothingSent()
        if isinstance(verdict, Verdict) and isinstance(said, ConsentRequiredError):
            raise ConsentRequiredError(
                scopes=said.scopes, parameters=said.parameters, account=attempt.account, reason=reason
            )
        if isinstance(verdict, Verdict):
            raise ended(attempt.account, attempt.credential.key.kind, reason)
        is_spared = verdict == MASS_REJECTION and reason != EXHAUSTED
        await self._fail_for_client(attempt, verdict, state, actor, spared_for=run if is_spared else None)
        raise ProviderConfigurationError(account=attempt.account, reason=verdict)

    async def _fail_for_client(
        self,
        attempt: Attempt,
        reason: str,
        state: RefreshState,
        actor: str | None,
        *,
        spared_for: timedelta | None = None,
    ) -> None:
        """Record a failure for which the account is not to blame; the account waits for five minutes at most.

        For a rejection that condemned nothing, ``spared_for`` is the length of the run of such rejections; else None.
        """
        wait = min(backoff(state.failures + 1, self._tasks.jitter(), None), LONGEST_WAIT)
        is_spared = spared_for is not None
        failure = Failure(reason, wait, unknown=False, refused=is_spared, refused_for=spared_for)
        await self._fail(attempt, failure, actor)

    async def _fail(self, attempt: Attempt, failure: Failure, actor: str | None) -> None:
        try:
            change = await self._ledger.fail(attempt, failure, actor=actor)
        except StorageError as error:
            # The lease then runs out, which counts as an unknown outcome; that is the safe assumption.
            _log.warning("a failed refresh could not be recorded (%s)", error.code)
        else:
            self._sink.publish(change.events)
