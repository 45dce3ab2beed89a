"""Hands out the access token of an answer that waits for the database, if it may be handed out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import DecryptionError, RefreshNotPersistedError, StorageError, VaultError
from vault_domain.entities.token import Token
from vault_domain.memory.answer import Answer, Moment
from vault_domain.memory.answers import Answers, predicted, replaces
from vault_domain.ports.accounts import Snapshot
from vault_domain.ports.cipher import DESTROYED_KEY, Cipher, UnreadableError
from vault_domain.ports.journal import JournalEntry
from vault_domain.ports.tasks import Tasks
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.fresh_calls import FreshCalls
from vault_domain.services.refresh.journal_seal import is_genuine
from vault_domain.services.tokens.opening import TokenOpener

_log = logging.getLogger(__name__)
T = TypeVar("T")

QUICK_SECONDS = 0.5
"""Longest time in seconds to wait for the database in a check, in a read, and in the commit of a journaled answer.

If the database takes longer, a caller may get a token whose answer is only in the journal.
"""


class WaitingTokens:
    """Checks waiting answers, and hands out their access tokens."""

    def __init__(
        self,
        ledger: AttemptLedger,
        cipher: Cipher,
        opener: TokenOpener,
        answers: Answers,
        calls: FreshCalls,
        tasks: Tasks,
    ) -> None:
        self._ledger = ledger
        self._cipher = cipher
        self._opener = opener
        self._answers = answers
        self._calls = calls
        self._tasks = tasks

    async def verified(self, answer: Answer, seconds: float) -> Answer | None:
        """Return a waiting answer after verifying that this vault wrote it; otherwise, forget it and return None.

        Raises:
            KeyUnavailableError, StorageError: the answer cannot be verified within ``seconds``.
        """
        if answer.genuine:
            return answer
        problem = await self._within("check", answer, lambda: self._problem_with(answer.entry), seconds)
        if problem is None:
            return self._answers.note(answer, genuine=True)
        attempt_id = answer.entry.attempt.attempt_id
        self._answers.drop(answer)
        _log.error("an entry stays in the journal, because %s (attempt %s)", problem, attempt_id.hex)
        return None

    async def token(self, account: Account) -> Token | None:
        """Return the access token of the account's waiting answer.

        Returns:
            None if no answer waits, if the answer has no access token, or if the store has a newer token.

        Raises:
            RefreshNotPersistedError: the answer is in this process's memory only.
            KeyUnavailableError, StorageError: the token may not be handed out now.
            DecryptionError: the token cannot be decrypted.
        """
        answer = self._answers.get(account)
        if answer is not None:
            answer = await self.verified(answer, QUICK_SECONDS)
        if answer is None:
            return None
        if not answer.journaled:
            raise RefreshNotPersistedError(account=account)
        if answer.refused:
            raise StorageError("a resource has rejected the token that waits for the database", retryable=True)
        key = account.key(TokenKind.ACCESS_TOKEN)
        snapshot, row = await self._snapshot(answer), predicted(answer.entry)
        if row is None or (snapshot is not None and not replaces(answer, key, snapshot.token(key.kind))):
            return None
        now = snapshot.now if snapshot is not None else self._answers.store_time(answer)
        if now is None or (snapshot is None and answer.changed):
            raise StorageError("the database does not tell whether a refreshed token is still current", retryable=True)
        if row.info.is_expired(now):
            raise StorageError("a refreshed token expired while it waited for the database", retryable=True)
        return await self._opener.open(key, row, now)

    async def look(self, account: Account) -> Snapshot | None:
        """Read an account; return None if the database does not answer at once."""
        try:
            return await self._calls.call(("look", account), lambda: self._ledger.read(account), QUICK_SECONDS)
        except (TimeoutError, VaultError):
            return None

    async def _snapshot(self, answer: Answer) -> Snapshot | None:
        """Read the account, and note the store's time; return None if the database does not answer at once."""
        try:
            snapshot = await self._within("read", answer, lambda: self._ledger.read(answer.account), QUICK_SECONDS)
        except VaultError:
            return None
        self._answers.note(answer, seen_at=Moment(snapshot.now, self._tasks.monotonic()))
        return snapshot

    async def _within(self, what: str, answer: Answer, work: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
        try:
            return await self._calls.call((what, answer.entry.attempt.attempt_id), work, seconds)
        except TimeoutError:
            pass  # raise the new error below, so that it has no ``__context__``
        raise StorageError("the database did not answer in time", retryable=True)

    async def _problem_with(self, entry: JournalEntry) -> str | None:
        """Return why an entry must not be committed; None if it may be committed."""
        try:
            return None if await is_genuine(entry, self._cipher) else "it was changed or forged"
        except UnreadableError as error:
            # If the data key is destroyed, allow the commit: it drops the answer, or marks the credential invalid.
            return None if error.reason == DESTROYED_KEY else "this database's data keys do not decrypt its seal"
        except DecryptionError:
            return "this database's data keys do not decrypt its seal"
