"""Keeps a provider's answer: in the journal first, then in the database, else in memory until the vault is closed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

from attrs import evolve

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt, SealedAnswer
from vault_domain.entities.errors import KeyUnavailableError, StorageError
from vault_domain.entities.measures import Operation
from vault_domain.entities.token import Token, TokenWrite
from vault_domain.memory.answer import Answer, Moment
from vault_domain.memory.answers import Answers, in_order
from vault_domain.ports.accounts import Snapshot
from vault_domain.ports.cipher import Cipher, Sealer
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.journal import JournalEntry, JournalError, NoJournalError, RefreshJournal
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.observing import Observed
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.commits import AnswerCommitter, Refreshed
from vault_domain.services.refresh.fresh_calls import FreshCalls
from vault_domain.services.refresh.journal_seal import seal_entry
from vault_domain.services.refresh.waiting_tokens import QUICK_SECONDS, WaitingTokens
from vault_domain.services.tokens.opening import TokenOpener, checked_snapshot

_log = logging.getLogger(__name__)

_FIRST_SHARE = 0.5
"""Share of the commit budget after which a commit counts as hanging, and a new one is started."""

_PATIENCE_SECONDS = 30.0
"""Longest time to wait for a slow commit of an answer that the journal does not hold."""

_TOGETHER = 10
"""Largest number of waiting answers that are committed, or written to the journal, at the same time."""

_LAST_SHARE = 0.2
"""Share of the time for closing that is reserved for the journal."""


class AnswerKeeper:
    """Keeps answers of providers until the database has stored them.

    Args:
        ledger: stores the answers.
        cipher: checks the seals of journal entries, and seals an answer again if its data key was replaced.
        opener: decrypts the tokens that are handed out before they are stored.
        sink: takes the events of the commits.
        journal: keeps the answers on this machine.
        tasks: runs only this keeper's work, so that closing can cancel commits that hang.
        timing: the time limits of a refresh.
        answers: the answers of this process; reads use them too.
        observed: is told of each write to the journal.
    """

    def __init__(
        self,
        ledger: AttemptLedger,
        cipher: Cipher,
        opener: TokenOpener,
        sink: EventSink,
        journal: RefreshJournal,
        tasks: Tasks,
        timing: RefreshTiming,
        answers: Answers,
        observed: Observed | None = None,
    ) -> None:
        self._ledger = ledger
        self._journal = journal
        self._tasks = tasks
        self._answers = answers
        self._budget = timing.commit_budget.total_seconds()
        self._patience = self._budget * _FIRST_SHARE
        calls = FreshCalls(tasks, patience=self._patience)
        self._commits = AnswerCommitter(ledger, cipher, sink, calls)
        self._tokens = WaitingTokens(ledger, cipher, opener, answers, calls, tasks)
        self._closing_since: float | None = None
        self._observed = observed or Observed()
        self._has_journal = True

    async def keep(
        self,
        attempt: Attempt,
        writes: Sequence[TokenWrite],
        sealer: Sealer,
        *,
        started: float,
        actor: str | None,
        problem: str | None = None,
        unread: SealedAnswer | None = None,
    ) -> Refreshed:
        """Write an answer to the journal, then commit it. Nothing is awaited before the write to the journal.

        Args:
            attempt, actor, problem, unread: see `JournalEntry`.
            writes: the answer, sealed by ``sealer``, which seals the journal's entry too.
            started: monotonic time in seconds, taken just before the claim.

        Raises:
            RefreshNotPersistedError: the answer is in this process's memory only.
            KeyUnavailableError, StorageError: the answer waits, and its access token may not be handed out now.
        """
        entry = seal_entry(JournalEntry(attempt, tuple(writes), actor, problem, unread=unread), sealer)
        answer = Answer(entry, Moment(attempt.claimed_at, started), journaled=False)
        committed: Refreshed | None = None
        self._answers.begin(answer)
        try:
            problem_of_journal = await self._write_down(entry)
            answer = evolve(answer, journaled=problem_of_journal is None)
            began = self._tasks.monotonic()
            committed = await self._commits.attempt(entry, self._patience)
        finally:
            if committed is None:  # also if closing the vault cancels this task; `close` then tries again
                self._answers.wait(answer)
        if committed is not None:
            await self._settled(answer)
            return committed
        _log.warning("a refreshed token could not be stored yet")
        if problem_of_journal is not None:
            _log.error("a refreshed token is in memory only: %s", problem_of_journal)
        end = began + self._budget
        if not answer.journaled and self._commits.is_running(entry):
            # The database may be slow, not down. Nothing else can store the answer, so waiting is better than an error.
            end = self._tasks.monotonic() + _PATIENCE_SECONDS
        if await self._retry_until(end, attempt.account):
            return Refreshed()
        return Refreshed(held=await self._tokens.token(attempt.account))

    def is_pending(self, account: Account) -> bool:
        """Return whether an answer for this account waits for the database."""
        return account in self._answers

    async def settle(self, account: Account) -> Token | None:
        """Commit the account's waiting answer before its credential may be used again.

        Returns:
            The access token of the answer, if the answer is only in the journal. None if no answer waits any more, if
            the store has a newer token, or if the answer has no access token.

        Raises:
            RefreshNotPersistedError: the answer is in this process's memory only.
            KeyUnavailableError, StorageError: the access token of the answer may not be handed out now.
        """
        answer = self._answers.get(account)
        if answer is None:
            return None
        if await self._try(account, min(self._patience, QUICK_SECONDS) if answer.journaled else self._patience):
            return None
        return await self._tokens.token(account)

    async def read_settled(self, account: Account) -> Snapshot | Token:
        """Commit the account's waiting answer, then read the account; if the answer must wait, return its token.

        Raises:
            RefreshNotPersistedError, KeyUnavailableError, StorageError: see `settle`; StorageError also if the read
                fails.
            DecryptionError: the account's rows are damaged.
        """
        while (answer := await self.settle(account)) is None:
            snapshot = checked_snapshot(account, await self._ledger.read(account))
            if not self.reopen(account, snapshot):
                return snapshot
        return answer

    async def journal_all(self) -> None:
        """Try to journal every answer that is in memory only; this waits for no commit."""
        if not self._has_journal:
            return
        await self._run([partial(self._journal_one, answer) for answer in self._unjournaled()], "journal")

    async def retry_all(self) -> None:
        """Try to commit every waiting answer."""
        await self._try_together(self._answers.all(), None)
        await self._confirm_committed()

    def reopen(self, account: Account, snapshot: Snapshot) -> bool:
        """If the store has lost a committed answer of the account, let the answer wait again, and return True."""
        if not self._answers.reopen(account, snapshot):
            return False
        _log.warning("the database has lost a refreshed token that it had stored; it is stored again")
        return True

    def stop_waiting(self) -> None:
        """Let nobody wait any longer for a database that does not answer, because the vault is closing."""
        if self._closing_since is None:
            self._closing_since = self._tasks.monotonic()

    async def close(self, seconds: float) -> None:
        """Try for the last time to store the waiting answers: in the database, several at a time, then in the journal.

        This takes about ``seconds`` from `stop_waiting` on, however many answers wait. If the journal holds all waiting
        answers, this method tries only once to store them.
        """
        self.stop_waiting()
        await self._confirm_committed(is_last=True)
        reserve = seconds * _LAST_SHARE
        end = max(self._tasks.monotonic() + reserve, (self._closing_since or 0.0) + seconds - reserve)
        await self._try_together(self._answers.all(), end)
        while self._unjournaled() and self._tasks.monotonic() < end:
            await self._tasks.sleep(0.1)
            await self._try_together(self._unjournaled(), end)

        await self.journal_all()

    def report_lost(self) -> None:
        """Log, when the vault is closed, how many answers are lost with this process's memory."""
        if lost := len(self._unjournaled()):
            _log.error(
                "%d refreshed token sets are lost, because neither the database nor a journal could store them", lost
            )

    async def recover(self) -> int:
        """Commit the journal entries of earlier processes; return the number of entries."""
        entries = await self._journal.entries()
        accounts: dict[Account, list[JournalEntry]] = {}
        for entry in in_order(entries):
            accounts.setdefault(entry.attempt.account, []).append(entry)
        await self._run([partial(self._recover, found) for found in accounts.values()])
        if self._answers:
            _log.warning(
                "the journal held %d refreshed token sets; the database has not stored those of %d accounts yet",
                len(entries),
                len(self._answers),
            )
        return len(entries)

    async def _recover(self, entries: Iterable[JournalEntry]) -> None:
        """Commit one account's entries; if one must wait, the later ones stay in the journal until the next start."""
        for entry in entries:
            if entry.attempt.account in self._answers:
                return
            self._answers.wait(Answer(entry, None, journaled=True, genuine=False))
            await self._try(entry.attempt.account, self._patience)

    async def _try_together(self, waiting: Iterable[Answer], end: float | None) -> None:
        async def retry(account: Account) -> None:
            left = self._patience if end is None else min(self._patience, end - self._tasks.monotonic())
            if left > 0:
                await self._try(account, left)

        await self._run([partial(retry, answer.account) for answer in waiting])

    async def _run(self, jobs: Sequence[Callable[[], Coroutine[Any, Any, None]]], group: str = "answers") -> None:
        if jobs:
            await self._tasks.run_all([(group, job) for job in jobs], _TOGETHER)

    def _unjournaled(self) -> list[Answer]:
        return [answer for answer in self._answers.all() if not answer.journaled]

    async def _try(self, account: Account, seconds: float) -> bool:
        """Commit the account's waiting answer; return whether no answer of the account waits any more."""
        answer = self._answers.get(account)
        if answer is None:
            return True
        try:
            answer = await self._tokens.verified(answer, seconds)
        except (KeyUnavailableError, StorageError):
            return False
        if answer is None:
            return True
        if not answer.journaled:
            answer = await self._journal_again(answer)
        if await self._commits.attempt(answer.entry, seconds) is None:
            return False
        await self._settled(answer)
        return True

    async def _retry_until(self, end: float, account: Account) -> bool:
        pause = 0.05
        while self._closing_since is None and self._tasks.monotonic() + pause < end:
            await self._tasks.sleep(pause)
            if await self._try(account, self._patience):
                return True
            pause = min(pause * 2, 1.0)
        return False

    async def _write_down(self, entry: JournalEntry) -> JournalError | None:
        with self._observed.step(Operation.JOURNAL, entry.attempt.account.provider) as step:
            try:
                await self._journal.write(entry)
            except JournalError as error:
                self._has_journal = not isinstance(error, NoJournalError)
                step.ended("failed" if self._has_journal else "no_journal")
                return error
            step.ended("stored")
        return None

    async def _journal_again(self, answer: Answer) -> Answer:
        """Try again to write an answer to the journal; log no failure, because `keep` logs the first one."""
        if await self._write_down(answer.entry) is not None:
            return answer
        if self._answers.note(answer, journaled=True) is None:  # it was committed meanwhile
            await self._remove(evolve(answer, journaled=True))
            return answer
        return evolve(answer, journaled=True)

    async def _journal_one(self, answer: Answer) -> None:
        await self._journal_again(answer)

    async def _settled(self, answer: Answer) -> None:
        """Keep a committed answer for a while, or forget it."""
        for each in self._answers.commit(answer):
            await self._remove(each)

    async def _confirm_committed(self, *, is_last: bool = False) -> None:
        """Commit lost answers again, and forget answers that were kept long enough; ``is_last`` forgets newer ones too.

        One read of one account returns the store's present timeline. If this read fails, every answer is kept, and
        stays in the journal. An answer that was committed on another timeline also stays, until its commit is confirmed
        on the present one.
        """
        account, now = self._answers.oldest_committed(), math.inf if is_last else self._tasks.monotonic()
        if account is None:
            return
        snapshot = await self._tokens.look(account)
        if snapshot is None or snapshot.timeline is None:
            return
        turned = self._answers.committed_elsewhere(snapshot.timeline)
        await self._run([partial(self._restore, each) for each in turned])
        for answer in self._answers.take_ended(snapshot.timeline, now):
            await self._remove(answer)

    async def _restore(self, account: Account) -> None:
        """Commit an account's lost answers again, one after the other."""
        while (snapshot := await self._tokens.look(account)) is not None and snapshot.timeline is not None:
            if not self.reopen(account, snapshot):
                self._answers.confirm(account, snapshot.timeline)
                return
            if not await self._try(account, self._patience):
                return

    async def _remove(self, answer: Answer) -> None:
        if answer.journaled:
            await self._journal.remove(answer.entry)
