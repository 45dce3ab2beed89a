"""Commits a provider's answer. If a commit hangs, another try does not wait for it."""

from __future__ import annotations

import logging
from collections.abc import Hashable

from attrs import evolve, frozen

from vault_domain.entities.attempt import CommitOutcome, SealedAnswer
from vault_domain.entities.errors import StorageError, VaultError
from vault_domain.entities.token import StoredToken, Token
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.cipher import DESTROYED_KEY, Cipher, UnreadableError
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.journal import JournalEntry
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.fresh_calls import FreshCalls
from vault_domain.services.refresh.unread_seal import unread_key

_log = logging.getLogger(__name__)
ANSWER_LOST = "answer_lost"
"""Error code of a credential that the provider consumed for an answer that can no longer be decrypted."""

_ROUNDS = 8


@frozen
class Refreshed:
    """The provider answered.

    Attributes:
        stored: the new access token as its commit stored it; if this and `held` are None, read the account again.
        held: the new access token if the database could not store it yet, else None.
    """

    stored: StoredToken | None = None
    held: Token | None = None

    @property
    def name(self) -> str:
        """The outcome's code, for observers."""
        return "refreshed" if self.held is None else "held"


class AnswerCommitter:
    """Commits answers. Several commits of one answer may run at once, because a repeated commit changes nothing.

    Args:
        ledger: stores the answers.
        cipher: seals an answer again if its data key was replaced.
        sink: takes the events.
        calls: runs the commits.
    """

    def __init__(self, ledger: AttemptLedger, cipher: Cipher, sink: EventSink, calls: FreshCalls) -> None:
        self._ledger = ledger
        self._cipher = cipher
        self._sink = sink
        self._calls = calls

    def is_running(self, entry: JournalEntry) -> bool:
        """Return whether a commit of this answer is running; it may still succeed."""
        return self._calls.is_running(_key(entry))

    async def attempt(self, entry: JournalEntry, seconds: float) -> Refreshed | None:
        """Commit an answer; return None if that fails or takes longer than ``seconds``.

        If a commit of the same answer is running and does not hang, wait for that commit.
        """
        try:
            return await self._calls.call(_key(entry), lambda: self._commit(entry), seconds)
        except TimeoutError:
            return None
        except VaultError as error:  # from the database, or from `_reseal`, which needs the master key
            _log.debug("a commit failed (%s)", error.code)
            return None

    async def _commit(self, entry: JournalEntry) -> Refreshed:
        for _ in range(_ROUNDS):
            try:
                if entry.unread is not None:
                    kept = await self._ledger.keep(entry.attempt, entry.unread, actor=entry.actor)
                    self._sink.publish(kept.events)
                    return Refreshed()
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
        """Mark the credential invalid if the provider replaced it by a refresh token that cannot be stored."""
        if entry.problem is not None:
            change = await self._ledger.reject(entry.attempt, entry.problem, actor=entry.actor)
            self._sink.publish(change.events)

    async def _reseal(self, entry: JournalEntry) -> JournalEntry | None:
        """Seal the answer under the active data key; return None if it can no longer be decrypted.

        Call this only after `AttemptLedger.commit` has raised `DataKeyInactiveError`. The ledger raises this error only
        if the credential of the attempt is still stored, so the answer still has to be stored.

        Raises:
            StorageError: the answer does not decrypt, but its data key is not destroyed, so an operator may repair the
                data key.
        """
        self._cipher.forget_active([entry.attempt.account.tenant_id])
        if entry.unread is not None:
            return await self._reseal_unread(entry, entry.unread)
        try:
            keys = [entry.attempt.account.key(write.key.kind) for write in entry.writes]
            pairs = [(key, write.sealed) for key, write in zip(keys, entry.writes, strict=True)]
            values = [(key, await self._cipher.open(key, sealed)) for key, sealed in pairs]
            extras = [
                None if sealed.extra is None else await self._cipher.open_extra(key, sealed) for key, sealed in pairs
            ]
        except UnreadableError as error:
            attempt = entry.attempt.attempt_id.hex
            if error.reason != DESTROYED_KEY:
                _log.error(
                    "a refreshed token waits, because it does not decrypt now: %s (attempt %s)", error.reason, attempt
                )
                raise StorageError("a refreshed token does not open", reason=error.reason) from None
            # If a re-encryption destroyed the data key, `reject` marks the credential invalid, because the provider has
            # consumed it. If the tenant was erased just now, the credential is gone too, and `reject` changes nothing.
            change = await self._ledger.reject(entry.attempt, ANSWER_LOST, actor=entry.actor)
            self._sink.publish(change.events)
            _log.error("a refreshed token is lost: its data key was destroyed before the commit (attempt %s)", attempt)
            return None
        sealed = await self._cipher.seal(values, extras)
        writes = [evolve(write, sealed=value) for write, value in zip(entry.writes, sealed, strict=True)]
        return evolve(entry, writes=tuple(writes))

    async def _reseal_unread(self, entry: JournalEntry, unread: SealedAnswer) -> JournalEntry | None:
        """Seal an answer that could not be read under the active data key; None if it can no longer be decrypted."""
        [sealed] = await self._cipher.reseal([(unread_key(entry.attempt.account), unread.sealed)])
        if isinstance(sealed, UnreadableError):
            _log.error("an answer that could not be read is lost: it does not decrypt (%s)", sealed.reason)
            return None
        return evolve(entry, unread=evolve(unread, sealed=sealed))


def _key(entry: JournalEntry) -> Hashable:
    return "commit", entry.attempt.attempt_id
