"""Runs one attempt for a claimed account: reads it again, calls the provider once, stores the answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from attrs import evolve

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    StorageError,
    VaultError,
)
from vault_domain.entities.lifetime import limited_expiry
from vault_domain.entities.rotation_policy import RotationKind
from vault_domain.entities.token import StoredToken, TokenDraft, TokenInfo, TokenRef
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.refresh_ledger import Attempt, RefreshLedger, Snapshot
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import RefreshRequest, TokenRefresher
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.refresh import Claim, RefreshTiming, lead
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.commits import Refreshed
from vault_domain.services.refresh.failures import FailureRecorder, NothingSent
from vault_domain.services.refresh.journal_seal import Sealer
from vault_domain.services.tokens.opening import TokenOpener, checked_snapshot
from vault_domain.services.tokens.sealing import drafts_of

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 0.5
"""Extra seconds before a refresher that ignores its deadline is cancelled."""

_AFTER_CLOSING = timedelta(seconds=1)
"""Time after which a caller whom a closing vault refused may ask another vault."""

_WITHDRAWAL_SECONDS = 0.5
"""Longest time for which a caller waits until its lost claim is released."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between attempts to release a lost claim."""

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class AttemptRunner:
    """Runs attempts. Each attempt ends its lease, unless the process or the database fails."""

    def __init__(
        self,
        ledger: RefreshLedger,
        cipher: Cipher,
        opener: TokenOpener,
        keeper: AnswerKeeper,
        failures: FailureRecorder,
        tasks: Tasks,
        policy: RefreshPolicy,
        timing: RefreshTiming,
        refreshers: Mapping[str, TokenRefresher],
    ) -> None:
        self._ledger = ledger
        self._cipher = cipher
        self._opener = opener
        self._keeper = keeper
        self.failures = failures
        self._tasks = tasks
        self._policy = policy
        self._timing = timing
        self._refreshers = refreshers
        self._is_stopped = False
        self._attempted: set[Account] = set()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopped

    @property
    def is_running(self) -> bool:
        """Whether an attempt is running; the provider may be about to answer."""
        return bool(self._attempted)

    def stop(self) -> None:
        """Start no attempt any more, because the vault is closing; running attempts end normally."""
        self._is_stopped = True

    def refuse_if_stopped(self, account: Account) -> None:
        """Raise `RefreshFailedError` after `stop`."""
        if self._is_stopped:
            raise RefreshFailedError(
                "the vault is closing and starts no refresh", account=account, retry_after=_AFTER_CLOSING
            )

    def is_attempting(self, account: Account) -> bool:
        """Return whether this process is refreshing the account, even if the lease seems to be over."""
        return account in self._attempted

    async def claim(self, account: Account, decision: Claim, lease: timedelta) -> Attempt | None:
        """Claim an account as decided, to `run` the attempt next.

        Returns:
            None if another process was faster, or if this process is refreshing the account.

        Raises:
            RefreshFailedError: the vault is closing.
            StorageError: the store failed. If it took the claim all the same, the claim is released once it answers.
        """
        self.refuse_if_stopped(account)
        if account in self._attempted:
            return None
        self._attempted.add(account)
        claimed_at: datetime | None = None
        unclaimed = Attempt(account, self._tasks.new_id(), decision.credential, decision.access, _NEVER, lease)
        try:
            claimed_at = await self._ledger.claim(unclaimed, decision.seen_attempt)
        except StorageError:
            await self._withdraw(unclaimed)
            raise
        finally:
            if claimed_at is None:
                self._attempted.discard(account)
        return None if claimed_at is None else evolve(unclaimed, claimed_at=claimed_at)

    async def run(self, attempt: Attempt, *, started: float, actor: str | None) -> Refreshed | NothingSent:
        """Refresh a claimed account.

        Args:
            attempt: the claimed attempt.
            started: monotonic time (seconds) from before the claim.
            actor: who asked for the refresh, for the audit log.

        Raises:
            ReauthorizationRequiredError: the provider rejected the credential for good; it is marked invalid.
            ProviderConfigurationError: the provider rejects this client or request; no token was changed.
            RefreshFailedError: the refresh failed this time, or the vault is closing.
            RefreshNotPersistedError: the answer is in this process's memory only.
            DecryptionError: the credential cannot be decrypted.
        """
        try:
            return await self._run(attempt, started, actor)
        finally:
            self._attempted.discard(attempt.account)

    async def _run(self, attempt: Attempt, started: float, actor: str | None) -> Refreshed | NothingSent:
        try:
            self.failures.refuse_known_bad(attempt.account)
            prepared = await self._prepare(attempt, started)
            self.refuse_if_stopped(attempt.account)  # nothing is awaited between this check and the request
        except VaultError:
            await self._release(attempt)
            raise
        if prepared is None:
            await self._release(attempt)
            return NothingSent()
        request, failures, sealer = prepared
        answer = await self._ask(request)
        if isinstance(answer, TokenSet):
            self.failures.note_success(attempt)
            problem = self._problem_with(attempt, answer)
            return await self._keep(attempt, drafts_in_time(attempt, answer), sealer, started, actor, problem)
        replacement = answer.refresh_token if isinstance(answer, RefreshFailedError) else None
        if replacement is not None and replacement.reveal():
            key = attempt.account.key(TokenKind.REFRESH_TOKEN)
            draft = TokenDraft(key, replacement, scopes=None, refreshed=True)
            await self._keep(attempt, [draft], sealer, started, actor)
        return await self.failures.record(attempt, answer, failures, actor=actor)

    async def _prepare(self, attempt: Attempt, started: float) -> tuple[RefreshRequest, int, Sealer] | None:
        """Read the account again under the lease; prepare request and sealer before the provider is called."""
        snapshot = checked_snapshot(attempt.account, await self._ledger.read(attempt.account))
        credential = _unmoved_credential(attempt, snapshot)
        if credential is None or snapshot.record is None or self._keeper.is_pending(attempt.account):
            return None  # another writer was faster, or an answer for this credential already waits for the database
        kind = attempt.credential.key.kind
        row = StoredToken(credential, snapshot.sealed[kind])
        token = await self._opener.open(attempt.account.key(kind), row, snapshot.now)
        try:
            sealer = await self._cipher.sealer(attempt.account.tenant_id)
        except UnreadableError:
            return None  # the tenant was erased since the read, so its credential must not be presented
        spent = timedelta(seconds=self._tasks.monotonic() - started)
        if attempt.lease - spent < self._timing.deadline + self._timing.commit_budget:
            return None
        access = snapshot.record.tokens.get(TokenKind.ACCESS_TOKEN)
        scopes = () if access is None else access.scopes
        request = RefreshRequest(attempt.account, token.value, kind, scopes, self._timing.deadline)
        return request, snapshot.record.refresh.failures, sealer

    async def _ask(self, request: RefreshRequest) -> TokenSet | VaultError:
        """Call the provider; return its answer, or turn any exception into one of the port's three errors."""
        refresher = self._refreshers[request.account.provider]
        limit = request.deadline.total_seconds() + _GRACE_SECONDS
        try:
            answer = await self._tasks.within(limit, lambda: refresher.refresh(request))
        except (ReauthorizationRequiredError, ProviderConfigurationError, RefreshFailedError) as error:
            return error
        except Exception as error:
            # Log the type only, because the error's text and traceback may hold a token that the provider echoed.
            _log.warning("a refresher for %s raised %s", request.account.provider, type(error).__qualname__)
            return RefreshFailedError(outcome_unknown=True)
        if isinstance(answer, TokenSet):
            return answer
        _log.error("a refresher for %s returned no TokenSet", request.account.provider)
        return RefreshFailedError(outcome_unknown=True)

    def _problem_with(self, attempt: Attempt, answer: TokenSet) -> str | None:
        """Log that an answer's refresh token cannot be stored; return the code if the stored one is spent by now."""
        problem, provider = answer.refresh_token_problem, attempt.account.provider
        if problem is None:
            return None
        _log.error("%s sent a refresh token that cannot be stored: %s", provider, problem)
        replaced = self._refreshers[provider].rotation.kind is not RotationKind.NON_ROTATING
        return problem if replaced and attempt.credential.key.kind is TokenKind.REFRESH_TOKEN else None

    async def _keep(
        self,
        attempt: Attempt,
        drafts: list[TokenDraft],
        sealer: Sealer,
        started: float,
        actor: str | None,
        problem: str | None = None,
    ) -> Refreshed:
        writes = [
            draft.seal(sealer(draft.key, draft.value), lead(draft.key.kind, draft.lifetime, self._policy))
            for draft in drafts
        ]
        # A provider that is not strict may reject a credential that it has just replaced, without revoking the new one.
        is_strict = self._refreshers[attempt.account.provider].rotation.kind is RotationKind.STRICT
        writes = [evolve(write, value_id=self._tasks.new_id(), keeps_mark=is_strict) for write in writes]
        return await self._keeper.keep(attempt, writes, sealer, started=started, actor=actor, problem=problem)

    async def _withdraw(self, attempt: Attempt) -> None:
        """Release a claim whose acknowledgement may be lost; go on in the background if the store does not answer.

        Nothing was sent to the provider under this attempt's id, so nobody has to wait for the end of its lease.
        """
        with suppress(TimeoutError):
            await self._tasks.share(
                ("withdrawn", attempt.attempt_id), lambda: self._release_when_possible(attempt), _WITHDRAWAL_SECONDS
            )

    async def _release_when_possible(self, attempt: Attempt) -> None:
        end, pause = self._tasks.monotonic() + attempt.lease.total_seconds(), _FIRST_PAUSE
        while not await self._is_released(attempt) and self._tasks.monotonic() < end:
            await self._tasks.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _is_released(self, attempt: Attempt) -> bool:
        try:
            await self._ledger.release(attempt)
        except StorageError as error:
            return not error.retryable
        return True

    async def _release(self, attempt: Attempt) -> None:
        try:
            await self._ledger.release(attempt)
        except StorageError as error:
            _log.warning("an unused lease could not be released (%s); it runs out", error.code)


def _unmoved_credential(attempt: Attempt, snapshot: Snapshot) -> TokenInfo | None:
    """Return the credential; return None if it or the access token changed since the claim."""
    if snapshot.record is None:
        return None
    tokens = snapshot.record.tokens
    credential, access = tokens.get(attempt.credential.key.kind), tokens.get(TokenKind.ACCESS_TOKEN)
    if credential is None or TokenRef.of(credential) != attempt.credential:
        return None
    if (None if access is None else TokenRef.of(access)) != attempt.access:
        return None
    return credential


def drafts_in_time(attempt: Attempt, answer: TokenSet) -> list[TokenDraft]:
    """Return the drafts to store for an answer; a lifetime counts from the claim, which is before the request."""
    access, *others = drafts_of(attempt.account, answer, refreshed=True)
    if access.expires_at is not None:
        expires_at = limited_expiry(access.expires_at, attempt.claimed_at)
        lifetime = access.lifetime or max(expires_at - attempt.claimed_at, timedelta(0)) or None
        return [evolve(access, expires_at=expires_at, lifetime=lifetime), *others]
    if access.lifetime is not None:
        return [evolve(access, expires_at=attempt.claimed_at + access.lifetime), *others]
    return [access, *others]
