"""Reads kept answers again that could not be read before, and commits their tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from vault_domain.entities.attempt import Attempt
from vault_domain.entities.errors import VaultError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import TokenRef
from vault_domain.entities.token_set import TokenSet
from vault_domain.entities.unread_answer import UnreadAnswer
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.cipher import DESTROYED_KEY, Cipher, Sealer, UnreadableError
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import AnswerReader, TokenRefresher
from vault_domain.ports.upkeep import KeptAnswer, Upkeep
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
        upkeep: Upkeep,
        ledger: AttemptLedger,
        cipher: Cipher,
        opener: TokenOpener,
        runner: AttemptRunner,
        tasks: Tasks,
        refreshers: Mapping[str, TokenRefresher],
    ) -> None:
        self._upkeep = upkeep
        self._ledger = ledger
        self._cipher = cipher
        self._opener = opener
        self._runner = runner
        self._tasks = tasks
        self._readers = {name: each for name, each in refreshers.items() if isinstance(each, AnswerReader)}
        self._seen: tuple[datetime, UUID] | None = None
        self._tried: dict[UUID, datetime] = {}

    async def read_all(self) -> int:
        """Read the kept answers again; return how many were committed. Errors of the store end it without a report."""
        committed, place = 0, self._seen
        try:
            while self._readers and (page := await self._upkeep.kept_answers(place, _PAGE)):
                done: list[KeptAnswer] = []
                untried = [kept for kept in page if kept.attempt_id not in self._tried]
                jobs = [(kept.account.provider, partial(self._visit, kept, done)) for kept in untried]
                await self._tasks.run_all(jobs, _TOGETHER)
                committed += len(done)
                place = page[-1].kept_at, page[-1].attempt_id
                self._pass(page)
        except VaultError as error:
            _log.warning("answers that could not be read are not read again now (%s)", error.reason or error.code)
        if committed:
            _log.warning("%d answers that could not be read before are read and stored", committed)
        return committed

    def _pass(self, page: Sequence[KeptAnswer]) -> None:
        """Remember the answers of a page that will be listed again, and the time from which that is."""
        since = page[-1].kept_at - _OVERLAP
        self._seen = since, UUID(int=0)
        self._tried |= {kept.attempt_id: kept.kept_at for kept in page}
        self._tried = {attempt_id: at for attempt_id, at in self._tried.items() if at >= since}

    async def _visit(self, kept: KeptAnswer, done: list[KeptAnswer]) -> None:
        """Read one kept answer again; a failure leaves it where it is."""
        reader = self._readers.get(kept.account.provider)
        if reader is None:
            return
        try:
            if await self._read(kept, reader):
                done.append(kept)
        except (VaultError, DataKeyInactiveError) as error:
            _log.warning("a kept answer was not read again (%s)", getattr(error, "reason", None) or "data_key")
        except Exception as error:  # one answer must not keep the others from being read
            _log.error("reading a kept answer again ended with %s", type(error).__qualname__)

    async def _read(self, kept: KeptAnswer, reader: AnswerReader) -> bool:
        account, started = kept.account, self._tasks.monotonic()
        try:
            text = await self._cipher.open(unread_key(account), kept.sealed)
            sealer = await self._cipher.sealer(account.tenant_id)
        except UnreadableError as error:
            if error.reason == DESTROYED_KEY:
                await self._upkeep.drop_answer(kept)
            _log.error("a kept answer does not decrypt (%s)", error.reason)
            return False
        attempt, answer = parsed_unread(account, text)
        snapshot = checked_snapshot(account, await self._ledger.read(account))
        credential = None if snapshot.record is None else snapshot.record.tokens.get(attempt.credential.key.kind)
        if (
            credential is None
            or TokenRef.of(credential) != attempt.credential
            or snapshot.now - kept.kept_at > KEPT_FOR
        ):
            await self._upkeep.drop_answer(kept)  # the account was connected again, or is waited for no longer
            return False
        tokens = self._tokens(reader, answer)
        if tokens is None:
            return await self._keep_on(kept, attempt, sealer, text)
        tokens = with_kept_extra(await self._opener.previous_extra(account, snapshot), tokens)
        await self._runner.take(attempt, tokens, sealer, started, None)
        await self._runner.guard.readable_again(attempt)
        await self._upkeep.drop_answer(kept)
        return True

    def _tokens(self, reader: AnswerReader, answer: UnreadAnswer) -> TokenSet | None:
        try:
            tokens: object = reader.read_again(answer)
        except Exception as error:  # its text may hold a token
            _log.warning("a refresher could not read a kept answer again (%s)", type(error).__qualname__)
            return None
        return tokens if isinstance(tokens, TokenSet) else None

    async def _keep_on(self, kept: KeptAnswer, attempt: Attempt, sealer: Sealer, text: Secret) -> bool:
        """Leave an answer that still cannot be read; seal it again if the tenant's data key was rotated since."""
        sealed = sealer(unread_key(kept.account), text)
        if sealed.data_key_id != kept.sealed.data_key_id:
            await self._upkeep.keep_answer(attempt, sealed, actor=None)
        return False
