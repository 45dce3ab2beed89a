"""Reads kept answers again that could not be read before, and commits their tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from vault_domain.entities.account import Account
from vault_domain.entities.errors import VaultError
from vault_domain.entities.token import TokenRef
from vault_domain.entities.token_set import TokenSet
from vault_domain.entities.unread_answer import UnreadAnswer
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.cipher import DESTROYED_KEY, Cipher, UnreadableError
from vault_domain.ports.pages import AnswerPlace, Pages
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import AnswerReader, TokenRefresher
from vault_domain.rules.unread import KEPT_FOR
from vault_domain.services.refresh.answer_times import with_kept_extra
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.attempts import AttemptRunner
from vault_domain.services.refresh.unread_seal import parsed_unread, unread_key
from vault_domain.services.tokens.opening import TokenOpener, checked_snapshot

_log = logging.getLogger(__name__)

_PAGE = 100
"""Largest number of kept answers that are read from the store at a time."""

_TOGETHER = 10
"""Largest number of kept answers that are read again at the same time."""

_OVERLAP = timedelta(minutes=1)
"""Time before the newest answer for which answers are listed again: one may be committed later than a newer one."""


class Rereader:
    """Reads kept answers again: all of them once, and later only those that were kept since.

    A process has one version of the profiles and refreshers, so it tries each answer once.
    """

    def __init__(
        self,
        pages: Pages,
        ledger: AttemptLedger,
        cipher: Cipher,
        opener: TokenOpener,
        runner: AttemptRunner,
        tasks: Tasks,
        refreshers: Mapping[str, TokenRefresher],
    ) -> None:
        self._pages = pages
        self._ledger = ledger
        self._cipher = cipher
        self._opener = opener
        self._runner = runner
        self._tasks = tasks
        self._readers = {name: each for name, each in refreshers.items() if isinstance(each, AnswerReader)}
        self._seen: AnswerPlace | None = None
        self._tried: dict[UUID, datetime] = {}

    async def read_all(self) -> int:
        """Read the kept answers again; return how many were committed. Errors of the store end it without a report."""
        committed, place = 0, self._seen
        try:
            while self._readers and (page := await self._pages.kept_answers(limit=_PAGE, after=place)):
                done: list[Account] = []
                untried = [(account, attempt_id) for account, (_, attempt_id) in page if attempt_id not in self._tried]
                jobs = [(account.provider, partial(self._visit, account, each, done)) for account, each in untried]
                await self._tasks.run_all(jobs, _TOGETHER)
                committed += len(done)
                place = page[-1][1]
                self._pass([each for _, each in page])
        except VaultError as error:
            _log.warning("answers that could not be read are not read again now (%s)", error.reason or error.code)
        if committed:
            _log.warning("%d answers that could not be read before are read and stored", committed)
        return committed

    def _pass(self, page: list[AnswerPlace]) -> None:
        """Remember the answers of a page that will be listed again, and the time from which that is."""
        since = page[-1][0] - _OVERLAP
        self._seen = since, UUID(int=0)
        self._tried |= {attempt_id: kept_at for kept_at, attempt_id in page}
        self._tried = {attempt_id: at for attempt_id, at in self._tried.items() if at >= since}

    async def _visit(self, account: Account, attempt_id: UUID, done: list[Account]) -> None:
        """Read one kept answer again; a failure leaves it where it is."""
        reader = self._readers.get(account.provider)
        if reader is None:
            return
        try:
            if await self._read(account, attempt_id, reader):
                done.append(account)
        except (VaultError, DataKeyInactiveError) as error:
            _log.warning("a kept answer was not read again (%s)", getattr(error, "reason", None) or "data_key")
        except Exception as error:  # one answer must not keep the others from being read
            _log.error("reading a kept answer again ended with %s", type(error).__qualname__)

    async def _read(self, account: Account, attempt_id: UUID, reader: AnswerReader) -> bool:
        started = self._tasks.monotonic()
        snapshot = checked_snapshot(account, await self._ledger.read(account))
        kept = snapshot.answer
        if kept is None or kept.attempt_id != attempt_id:
            return False
        try:
            text = await self._cipher.open(unread_key(account), kept.sealed)
            sealer = await self._cipher.sealer(account.tenant_id)
        except UnreadableError as error:
            if error.reason == DESTROYED_KEY:
                await self._ledger.reread(account, attempt_id, None)
            _log.error("a kept answer does not decrypt (%s)", error.reason)
            return False
        attempt, answer = parsed_unread(account, text)
        credential = snapshot.token(attempt.credential.key.kind)
        if (
            credential is None
            or TokenRef.of(credential.info) != attempt.credential
            or snapshot.now - kept.kept_at > KEPT_FOR
        ):
            # The account was connected again, or is waited for no longer.
            await self._ledger.reread(account, attempt_id, None)
            return False
        tokens = self._tokens(reader, answer)
        if tokens is None:
            sealed = sealer(unread_key(account), text)
            if sealed.data_key_id != kept.sealed.data_key_id:  # the tenant's data key was rotated since
                await self._ledger.reread(account, attempt_id, sealed)
            return False
        tokens = with_kept_extra(await self._opener.previous_extra(account, snapshot), tokens)
        await self._runner.take(attempt, tokens, sealer, started, None)
        await self._runner.guard.readable_again(attempt)
        return True

    def _tokens(self, reader: AnswerReader, answer: UnreadAnswer) -> TokenSet | None:
        try:
            tokens: object = reader.read_again(answer)
        except Exception as error:  # its text may hold a token
            _log.warning("a refresher could not read a kept answer again (%s)", type(error).__qualname__)
            return None
        return tokens if isinstance(tokens, TokenSet) else None
