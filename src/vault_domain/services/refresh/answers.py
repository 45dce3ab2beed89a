"""Stores a provider's answer in the database, else in the journal, else in memory; logs lost answers."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from datetime import timedelta

from attrs import evolve, frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import (
    DecryptionError,
    KeyUnavailableError,
    RefreshNotPersistedError,
    StorageError,
    VaultError,
)
from vault_domain.entities.token import StoredToken, Token, TokenInfo, TokenStatus, TokenWrite
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.cipher import DESTROYED_KEY, Cipher, UnreadableError
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.journal import JournalEntry, JournalError, RefreshJournal
from vault_domain.ports.refresh_ledger import Attempt, CommitOutcome, RefreshLedger
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.refresh import RefreshTiming
from vault_domain.services.refresh.journal_seal import Sealer, is_genuine, seal_entry
from vault_domain.services.tokens.opening import TokenOpener

_log = logging.getLogger(__name__)
ANSWER_LOST = "answer_lost"
"""Error code of a credential that the provider consumed for an answer that can no longer be decrypted."""

_ROUNDS = 8
_FIRST_SHARE = 0.5
"""Share of the commit budget to wait for the database before the answer is written to the journal too."""

_PATIENCE_SECONDS = 30.0
"""Longest time to wait for a slow commit if there is no journal."""


@frozen
class _Pending:
    entry: JournalEntry
    journaled: bool
    since: float
    checked: bool = True


@frozen
class Refreshed:
    """The provider answered.

    Attributes:
        stored: the new access token as its commit stored it; if this and `held` are None, read the account again.
        held: the new access token if the database could not store it yet, else None.
    """

    stored: StoredToken | None = None
    held: Token | None = None


class AnswerKeeper:
    """Commits answers of providers, and keeps those that cannot be committed yet."""

    def __init__(
        self,
        ledger: RefreshLedger,
        cipher: Cipher,
        opener: TokenOpener,
        sink: EventSink,
        journal: RefreshJournal,
        tasks: Tasks,
        timing: RefreshTiming,
    ) -> None:
        self._ledger = ledger
        self._cipher = cipher
        self._opener = opener
        self._sink = sink
        self._journal = journal
        self._tasks = tasks
        self._timing = timing
        self._pending: dict[Account, _Pending] = {}

    async def keep(
        self,
        attempt: Attempt,
        writes: Sequence[TokenWrite],
        sealer: Sealer,
        *,
        actor: str | None,
        problem: str | None = None,
    ) -> Refreshed:
        """Commit an answer; if the database does not store it in time, write it to the journal.

        ``sealer`` has sealed the writes, and seals the journal's entry. The other arguments are those of
        `JournalEntry`.

        Raises:
            RefreshNotPersistedError: the answer is in this process's memory only.
        """
        entry = seal_entry(JournalEntry(attempt, tuple(writes), actor, problem), sealer)
        budget = self._timing.commit_budget.total_seconds()
        end = self._tasks.monotonic() + budget
        committed = await self._try_commit(entry, budget * _FIRST_SHARE)
        if committed is not None:
            return committed
        _log.warning("a refreshed token could not be stored yet")
        journaled = await self._write_down(entry)
        self._pending[attempt.account] = _Pending(entry, journaled, self._tasks.monotonic())
        if not journaled and self._tasks.is_flying(_flight(entry)):
            # The database may be slow, not down. Nothing else can store the answer, so waiting is better than an error.
            end = self._tasks.monotonic() + _PATIENCE_SECONDS
        if await self._retry_until(end, attempt.account):
            return Refreshed()
        return Refreshed(held=await self._held(attempt.account))

    def is_pending(self, account: Account) -> bool:
        """Return whether an answer for this account waits for the database."""
        return account in self._pending

    async def settle(self, account: Account) -> Token | None:
        """Commit the account's waiting answer before its credential may be used again.

        Returns:
            None if the answer is committed or was overtaken; the new access token if it is only in the journal.

        Raises:
            RefreshNotPersistedError: the answer is in this process's memory only.
        """
        if account not in self._pending or await self._try_pending(account):
            return None
        return await self._held(account)

    async def retry_all(self) -> None:
        """Try to commit every waiting answer."""
        for account in list(self._pending):
            await self._try_pending(account)

    def report_lost(self) -> None:
        """Log, when the vault closes, how many answers are lost with this process's memory."""
        lost = sum(not pending.journaled for pending in self._pending.values())
        if lost:
            _log.error(
                "%d refreshed token sets are lost, because neither the database nor a journal could store them", lost
            )

    async def recover(self) -> int:
        """Commit the journal entries of earlier processes; return the number of entries."""
        entries = await self._journal.entries()
        # Try the latest entry first: if there are two answers for one credential, the later one must be stored.
        for entry in sorted(entries, key=lambda entry: entry.attempt.claimed_at, reverse=True):
            account = entry.attempt.account
            if account not in self._pending:
                self._pending[account] = _Pending(entry, journaled=True, since=self._tasks.monotonic(), checked=False)
                await self._try_pending(account)
        if entries:
            _log.warning("the journal held %d refreshed token sets; %d still wait", len(entries), len(self._pending))
        return len(entries)

    async def _check(self, account: Account, pending: _Pending) -> _Pending | None:
        """Return a waiting answer after verifying that this vault wrote it; otherwise, forget it and return None.

        Raises:
            KeyUnavailableError, StorageError: the answer cannot be verified now.
        """
        if pending.checked:
            return pending
        problem = await self._problem_with(pending.entry)
        if self._pending.get(account) is not pending:
            return self._pending.get(account)
        if problem is None:
            self._pending[account] = evolve(pending, checked=True)
            return self._pending[account]
        del self._pending[account]
        _log.error(
            "an entry stays in the journal, because %s (attempt %s)", problem, pending.entry.attempt.attempt_id.hex
        )
        return None

    async def _problem_with(self, entry: JournalEntry) -> str | None:
        """Return why an entry must not be committed, such as another vault's seal; None if it may be committed."""
        try:
            return None if await is_genuine(entry, self._cipher) else "it was changed or forged"
        except UnreadableError as error:
            # Without its data key, the entry cannot be stored. The commit drops it, or marks its credential as spent.
            return None if error.reason == DESTROYED_KEY else "this database's data keys do not decrypt its seal"
        except DecryptionError:
            return "this database's data keys do not decrypt its seal"

    async def _write_down(self, entry: JournalEntry) -> bool:
        try:
            await self._journal.write(entry)
        except JournalError as error:
            _log.error("a refreshed token is in memory only: %s", error)
            return False
        return True

    async def _try_commit(self, entry: JournalEntry, seconds: float) -> Refreshed | None:
        """Commit an entry; return None if that fails or takes too long. The next try joins a commit that still runs."""
        try:
            return await self._tasks.share(_flight(entry), lambda: self._commit(entry), seconds)
        except TimeoutError:
            return None
        except VaultError as error:  # from the database, or from the master key after a data key rotation
            _log.debug("a commit failed (%s)", error.code)
            return None

    async def _retry_until(self, end: float, account: Account) -> bool:
        pause = 0.05
        while self._tasks.monotonic() + pause < end:
            await self._tasks.sleep(pause)
            if await self._try_pending(account):
                return True
            pause = min(pause * 2, 1.0)
        return False

    async def _try_pending(self, account: Account) -> bool:
        """Commit the account's waiting answer; return whether none waits any more."""
        pending = self._pending.get(account)
        if pending is None:
            return True
        try:
            pending = await self._check(account, pending)
        except (KeyUnavailableError, StorageError):
            return False
        if pending is None:
            return True
        seconds = self._timing.commit_budget.total_seconds() * _FIRST_SHARE
        if await self._try_commit(pending.entry, seconds) is None:
            return False
        if self._pending.get(account) is pending:
            del self._pending[account]
        if pending.journaled:
            await self._journal.remove(pending.entry)
        return True

    async def _held(self, account: Account) -> Token | None:
        pending = self._pending.get(account)
        if pending is not None:
            pending = await self._check(account, pending)
        if pending is None:
            return None
        if not pending.journaled:
            raise RefreshNotPersistedError(account=account)
        return await self._predict(pending)

    async def _predict(self, pending: _Pending) -> Token | None:
        """Return the access token of an answer as the store will store it."""
        attempt = pending.entry.attempt
        write = next((write for write in pending.entry.writes if write.key.kind is TokenKind.ACCESS_TOKEN), None)
        if write is None:
            return None
        waited = timedelta(seconds=self._tasks.monotonic() - pending.since)
        if write.expires_at is not None and write.expires_at <= attempt.claimed_at + waited:
            raise StorageError("a refreshed token expired while it waited for the database", retryable=True)
        info = TokenInfo(
            id=attempt.access.id if attempt.access else attempt.attempt_id,
            key=write.key,
            status=TokenStatus.VALID,
            error_code=None,
            expires_at=write.expires_at,
            scopes=write.scopes or (),
            generation=attempt.access.generation + 1 if attempt.access else 1,
            last_used_at=None,
            last_refreshed_at=attempt.claimed_at,
            lifetime=write.lifetime,
            created_at=attempt.claimed_at,
            updated_at=attempt.claimed_at,
            value_id=write.value_id,
        )
        key = attempt.account.key(TokenKind.ACCESS_TOKEN)
        return await self._opener.open(key, StoredToken(info, write.sealed), attempt.claimed_at)

    async def _commit(self, entry: JournalEntry) -> Refreshed:
        for _ in range(_ROUNDS):
            try:
                change = await self._ledger.commit(entry.attempt, entry.writes, actor=entry.actor)
            except DataKeyInactiveError:
                resealed = await self._reseal(entry)
                if resealed is None:
                    return Refreshed()
                entry = resealed
            else:
                self._sink.publish(change.events)
                if change.result.outcome is not CommitOutcome.WRITTEN:
                    _log.info("a refresh was overtaken by another change (%s)", change.result.outcome.value)
                await self._mark_spent(entry)
                return Refreshed(stored=change.result.access)
        raise StorageError("the tenant's data key kept changing", retryable=True)

    async def _mark_spent(self, entry: JournalEntry) -> None:
        """Mark the credential invalid if the provider replaced it by one that cannot be stored."""
        if entry.problem is not None:
            change = await self._ledger.reject(entry.attempt, entry.problem, actor=entry.actor)
            self._sink.publish(change.events)

    async def _reseal(self, entry: JournalEntry) -> JournalEntry | None:
        """Seal the answer under the active data key; return None if it can no longer be decrypted.

        The caller has just seen that the credential of the attempt is still stored.

        Raises:
            StorageError: the answer does not decrypt, but its data key is not destroyed, so an operator may repair it.
        """
        self._cipher.forget_active([entry.attempt.account.tenant_id])
        try:
            keys = [entry.attempt.account.key(write.key.kind) for write in entry.writes]
            values = [
                (key, await self._cipher.open(key, write.sealed)) for key, write in zip(keys, entry.writes, strict=True)
            ]
        except UnreadableError as error:
            attempt = entry.attempt.attempt_id.hex
            if error.reason != DESTROYED_KEY:
                _log.error(
                    "a refreshed token waits, because it does not decrypt now: %s (attempt %s)", error.reason, attempt
                )
                raise StorageError("a refreshed token does not open", reason=error.reason) from None
            # Either the tenant was erased and has no credential to mark, or a re-encryption destroyed the data key.
            change = await self._ledger.reject(entry.attempt, ANSWER_LOST, actor=entry.actor)
            self._sink.publish(change.events)
            _log.error("a refreshed token is lost: its data key was destroyed before the commit (attempt %s)", attempt)
            return None
        sealed = await self._cipher.seal(values)
        writes = [evolve(write, sealed=value) for write, value in zip(entry.writes, sealed, strict=True)]
        return evolve(entry, writes=tuple(writes))


def _flight(entry: JournalEntry) -> Hashable:
    return "commit", entry.attempt.attempt_id
