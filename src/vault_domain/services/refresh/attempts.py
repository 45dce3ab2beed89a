"""Claims an account and runs the attempt: reads the account again, calls the provider, and stores the answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from attrs import evolve

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.causes import ACCESS_TOKEN_TOO_LONG, TOKEN_NOT_BOUND
from vault_domain.entities.errors import (
    RefreshFailedError,
    StorageError,
    VaultError,
)
from vault_domain.entities.extra import NO_EXTRA, Extra
from vault_domain.entities.measures import Operation
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.rotation_policy import RotationKind
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import StoredToken, TokenDraft, TokenInfo, TokenRef
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.accounts import Snapshot
from vault_domain.ports.cipher import Cipher, Sealer, UnreadableError
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import RefreshRequest, TokenRefresher
from vault_domain.rules.bounds import DEFAULT_CONCURRENCY
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.grace import listening_time, since_first_request
from vault_domain.rules.refresh import Claim
from vault_domain.rules.timing import RefreshTiming
from vault_domain.rules.turns import settled_at
from vault_domain.services.observing import Observed
from vault_domain.services.refresh.answer_times import drafts_in_time, with_kept_extra, with_renewed_credential
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.clients import ClientGuard
from vault_domain.services.refresh.commits import Refreshed
from vault_domain.services.refresh.endpoints import Endpoints
from vault_domain.services.refresh.exchange import Answer, Exchanges
from vault_domain.services.refresh.failures import FailureRecorder, NothingSent
from vault_domain.services.refresh.pacing import Pacer
from vault_domain.services.refresh.releasing import Releaser
from vault_domain.services.refresh.turns import AttemptTurns
from vault_domain.services.refresh.unread import UnreadKeeper
from vault_domain.services.tokens.opening import TokenOpener, checked_snapshot
from vault_domain.services.tokens.sealing import sealed_by, sealed_write

_log = logging.getLogger(__name__)

_AFTER_CLOSING = timedelta(seconds=1)
"""If a closing vault refuses a caller, the caller may ask another vault after this time."""

_ABOUT_THE_NEXT = frozenset({ACCESS_TOKEN_TOO_LONG, TOKEN_NOT_BOUND})
"""Reasons for which the new credential would fail too, so that the failure is recorded as that of the new one."""

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class AttemptRunner:
    """Runs attempts. Each attempt ends its lease, unless the process or the database fails."""

    def __init__(
        self,
        ledger: AttemptLedger,
        cipher: Cipher,
        opener: TokenOpener,
        keeper: AnswerKeeper,
        failures: FailureRecorder,
        guard: ClientGuard,
        pacer: Pacer,
        tasks: Tasks,
        policy: RefreshPolicy,
        timing: RefreshTiming,
        refreshers: Mapping[str, TokenRefresher],
        unread: UnreadKeeper,
        concurrency: int = DEFAULT_CONCURRENCY,
        observed: Observed | None = None,
    ) -> None:
        self._unread = unread
        self._releaser = Releaser(ledger, tasks)
        self._ledger = ledger
        self._cipher = cipher
        self._opener = opener
        self._keeper = keeper
        self._failures = failures
        self.guard = guard
        self.pacer = pacer
        self.endpoints = Endpoints(refreshers, guard.clients, opener)
        self._tasks = tasks
        self._policy = policy
        self._timing = timing
        self._refreshers = refreshers
        self._observed = observed or Observed()
        self._exchanges = Exchanges(ledger, tasks, timing, refreshers, self._observed)
        self.turns = AttemptTurns(tasks, refreshers, concurrency)
        self._is_stopped = False
        self._attempted: set[Account] = set()

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopped

    @property
    def is_running(self) -> bool:
        """Whether an attempt is running; the provider may be about to answer."""
        return bool(self._attempted) or self._exchanges.is_any_late

    def stop(self) -> None:
        """Start no attempt any more, because the vault is closing; running attempts end normally."""
        self._is_stopped = True
        self._exchanges.stop()

    def refuse_if_stopped(self, account: Account) -> None:
        """Raise `RefreshFailedError` after `stop`."""
        if self._is_stopped:
            raise RefreshFailedError(
                "the vault is closing and starts no refresh", account=account, retry_after=_AFTER_CLOSING
            )

    async def exchanged(self, account: Account) -> None:
        """Take note that a token endpoint exchanged a code for an account, whose tokens are stored."""
        try:
            snapshot = checked_snapshot(account, await self._ledger.read(account))
            endpoint = await self.endpoints.of(account, snapshot)
        except VaultError as error:  # the tokens are stored, so the caller must not see a failure
            _log.warning("a pause could not be ended after a code was exchanged (%s)", error.code)
        else:
            await self.guard.exchanged(account, endpoint)

    def is_attempting(self, account: Account) -> bool:
        """Return whether this process is refreshing the account, even if the lease seems to be over."""
        return account in self._attempted or self._exchanges.is_late(account)

    async def claim(self, account: Account, decision: Claim, lease: timedelta) -> Attempt | None:
        """Claim an account as ``decision`` says; the caller passes the attempt to `run` next.

        Returns:
            None if another process was faster, or if this process is refreshing the account.

        Raises:
            RefreshFailedError: the vault is closing.
            ProviderConfigurationError: the account's client is paused, and this attempt is no probe.
            RateLimitedError: the provider accepts no more requests now.
            StorageError: the store failed. If it stored the claim, the claim is released once the store answers.
        """
        self.refuse_if_stopped(account)
        if self.is_attempting(account):
            return None
        self._attempted.add(account)
        claimed, began = None, self._tasks.monotonic()
        try:
            await self.guard.admit(account, decision)
            await self.pacer.take_turn(account, decision)
            self.refuse_if_stopped(account)
            with self._observed.step(Operation.CLAIM, account.provider) as step:
                claimed = await self._claim(account, decision, lease)
                step.ended("claimed" if claimed else "taken")
        except StorageError as error:
            self.turns.failed(account, began, error)
            raise
        finally:
            if claimed is None:
                self._attempted.discard(account)
        return claimed

    async def _claim(self, account: Account, decision: Claim, lease: timedelta) -> Attempt | None:
        unclaimed = Attempt(
            *(account, self._tasks.new_id(), decision.credential, decision.access, _NEVER, lease),
            client=decision.client,
            endpoint=decision.endpoint,
            stored_at=decision.stored_at,
        )
        try:
            claimed_at = await self._ledger.claim(unclaimed, decision.seen_attempt)
        except StorageError:
            await self._releaser.withdraw(unclaimed, decision.seen_attempt)
            raise
        self.turns.claimed()
        return None if claimed_at is None else evolve(unclaimed, claimed_at=claimed_at)

    async def run(self, attempt: Attempt, *, started: float, actor: str | None) -> Refreshed | NothingSent:
        """Refresh a claimed account.

        Args:
            attempt: the claimed attempt.
            started: monotonic time in seconds, taken just before the claim.
            actor: who asked for the refresh, for the audit log.

        Raises:
            ReauthorizationRequiredError: the provider rejected the credential for good, or the credential is exhausted;
                it is marked invalid.
            ProviderConfigurationError: the provider rejects this client, this request or most of the fleet. The
                account's tokens stay as they are.
            RefreshFailedError: the refresh failed this time, or the vault is closing, or the provider has not answered
                within the deadline. In the last case, the attempt goes on, and a late answer is stored.
            RefreshNotPersistedError: the answer is in this process's memory only.
            KeyUnavailableError, StorageError: the store or a master key failed before the provider was called; or the
                answer waits, and its access token may not be handed out now.
            DecryptionError: the credential cannot be decrypted, or a row of the account is damaged.
        """
        try:
            with self._observed.step(Operation.REFRESH, attempt.account.provider) as step:
                outcome = await self._run(attempt, started, actor)
                step.ended(outcome.name)
                return outcome
        finally:
            self._attempted.discard(attempt.account)

    async def _run(self, attempt: Attempt, started: float, actor: str | None) -> Refreshed | NothingSent:
        try:
            prepared = await self._prepare(attempt, started)
            self.refuse_if_stopped(attempt.account)  # nothing is awaited between this and the exchange's start
        except VaultError:
            await self._releaser.release(attempt)
            raise
        if prepared is None:
            await self._releaser.release(attempt)
            return NothingSent()
        request, state, since_first, sealer, previous, timeline = prepared
        if timeline != attempt.timeline:
            attempt = evolve(attempt, timeline=timeline)

        async def finish(answer: Answer) -> Refreshed | NothingSent:
            if isinstance(answer, TokenSet):
                answer = with_kept_extra(previous, with_renewed_credential(request, answer))
            return await self._finish(attempt, answer, state, sealer, started, actor, previous.proof_key)

        return await self._exchanges.hold(attempt, request, since_first, finish)

    async def _finish(
        self,
        attempt: Attempt,
        answer: Answer,
        state: RefreshState,
        sealer: Sealer,
        started: float,
        actor: str | None,
        proof_key: Secret | None,
    ) -> Refreshed | NothingSent:
        """Keep the provider's answer, or record how the attempt failed."""
        self.turns.end()
        if isinstance(answer, TokenSet):
            return await self.take(attempt, answer, sealer, started, actor)
        replacement = answer.refresh_token if isinstance(answer, RefreshFailedError) else None
        if replacement is not None and replacement.reveal():
            key = attempt.account.key(TokenKind.REFRESH_TOKEN)
            extra = NO_EXTRA.proved_by(proof_key)
            draft = TokenDraft(key, replacement, scopes=None, refreshed=True, extra=extra)
            await self._keep(attempt, [draft], sealer, started, actor)
            if isinstance(answer, RefreshFailedError) and answer.reason in _ABOUT_THE_NEXT:
                attempt = await self._replaced(attempt)
        recorded = None
        if isinstance(answer, RefreshFailedError):
            self.pacer.asked_to_wait(attempt, answer.retry_after)
            recorded = await self._unread.keep(attempt, answer, state, sealer, started=started, actor=actor)
        return await self._failures.record(attempt, answer, state, actor=actor, recorded=recorded)

    async def _replaced(self, attempt: Attempt) -> Attempt:
        """Return the attempt with the credential that its answer has put in place of the spent one."""
        snapshot = checked_snapshot(attempt.account, await self._ledger.read(attempt.account))
        new = None if snapshot.record is None else snapshot.record.tokens.get(attempt.credential.key.kind)
        is_own = new is not None and new.generation == attempt.credential.generation + 1
        return evolve(attempt, credential=TokenRef.of(new)) if new is not None and is_own else attempt

    async def take(
        self, attempt: Attempt, answer: TokenSet, sealer: Sealer, started: float, actor: str | None
    ) -> Refreshed:
        """Keep the tokens of an answer; see `AnswerKeeper.keep`."""
        self._failures.succeeded(attempt.account.provider)
        self.pacer.succeeded(attempt)
        problem = self._problem_with(attempt, answer)
        drafts = drafts_in_time(attempt, answer, self._policy)
        kept = await self._keep(attempt, drafts, sealer, started, actor, problem)
        await self.guard.succeeded(attempt)
        return kept

    async def _prepare(
        self, attempt: Attempt, started: float
    ) -> tuple[RefreshRequest, RefreshState, timedelta, Sealer, Extra, str | None] | None:
        """Read the account again under the lease, and prepare request and sealer; return None if nothing may be sent.

        This also opens the extra members of the stored access token, because a refresh keeps the members that the
        answer lacks. Members of another value are never kept, because the commit compares the access token's value id.
        """
        snapshot = checked_snapshot(attempt.account, await self._ledger.read(attempt.account))
        credential = _unmoved_credential(attempt, snapshot)
        if self._keeper.reopen(attempt.account, snapshot) or not self._is_settled(attempt.account, snapshot):
            return None  # the store's timeline changed after the decision to claim the account
        if credential is None or snapshot.record is None or self._keeper.is_pending(attempt.account):
            return None  # another writer was faster, or an answer of this account already waits for the database
        kind = attempt.credential.key.kind
        row = StoredToken(credential, snapshot.sealed[kind])
        token = await self._opener.open(attempt.account.key(kind), row, snapshot.now)
        previous = await self._opener.previous_extra(attempt.account, snapshot)
        try:
            sealer = await self._cipher.sealer(attempt.account.tenant_id)
        except UnreadableError:
            return None  # the tenant was erased since the read, so its credential must not be presented
        spent = timedelta(seconds=self._tasks.monotonic() - started)
        if attempt.lease - spent < self._timing.deadline + self._timing.commit_budget:
            return None
        access = snapshot.record.tokens.get(TokenKind.ACCESS_TOKEN)
        scopes = () if access is None else access.scopes
        state, timing = snapshot.record.refresh, self._timing
        since_first = since_first_request(state, snapshot.now)
        listening = listening_time(self._refreshers[attempt.account.provider].rotation, since_first, timing)
        request = RefreshRequest(attempt.account, token.value, kind, scopes, listening, timing.deadline, previous)
        return request, state, since_first, sealer, previous, snapshot.timeline

    def _is_settled(self, account: Account, snapshot: Snapshot) -> bool:
        rotation, now = self._refreshers[account.provider].rotation, snapshot.now
        return settled_at(rotation, self._timing.hold, snapshot.turned_at, now) <= now

    def _problem_with(self, attempt: Attempt, answer: TokenSet) -> str | None:
        """Log a problem with an answer's refresh token; return this problem if the provider replaced the old token."""
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
        drafts = self.guard.clients.sign(drafts)
        writes = [sealed_write(draft, sealed_by(sealer, draft), self._policy) for draft in drafts]
        # If the old credential was marked invalid meanwhile, a strict provider may have revoked its replacement too. So
        # the replacement gets the status UNKNOWN. A provider that is not strict may have rejected the old credential
        # because it had just replaced that credential. This says nothing against the replacement, so the replacement is
        # valid.
        is_strict = self._refreshers[attempt.account.provider].rotation.kind is RotationKind.STRICT
        writes = [evolve(write, value_id=self._tasks.new_id(), keeps_mark=is_strict) for write in writes]
        return await self._keeper.keep(attempt, writes, sealer, started=started, actor=actor, problem=problem)


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
