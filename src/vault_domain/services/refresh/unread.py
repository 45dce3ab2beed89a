"""Keeps a provider's answer that cannot be read, and decides how long its credential is not presented again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

from vault_domain.entities.attempt import Attempt, Failure, SealedAnswer
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.errors import RefreshFailedError, VaultError
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.ports.cipher import Sealer
from vault_domain.ports.pages import Pages
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.rules.refusals import backoff
from vault_domain.rules.unread import MOST_KEPT, hold_of
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.unread_seal import unread_key, unread_text
from vault_domain.services.tokens.kept import count_kept

_log = logging.getLogger(__name__)


class UnreadKeeper:
    """Keeps answers that cannot be read: in the journal first, then in the database."""

    def __init__(
        self, pages: Pages, keeper: AnswerKeeper, tasks: Tasks, refreshers: Mapping[str, TokenRefresher]
    ) -> None:
        self._pages = pages
        self._keeper = keeper
        self._tasks = tasks
        self._refreshers = refreshers

    async def keep(
        self,
        attempt: Attempt,
        error: RefreshFailedError,
        state: RefreshState,
        sealer: Sealer,
        *,
        started: float,
        actor: str | None,
    ) -> timedelta | None:
        """Keep the answer of an error, and record the attempt's failure with it.

        Returns:
            The time until the next attempt; None if nothing was kept and no failure was recorded.

        Raises:
            RefreshNotPersistedError: the answer is in this process's memory only.
        """
        if error.answer is None:
            return None
        provider, text = attempt.account.provider, unread_text(attempt, error.answer)
        if text is None or await self._is_full():
            _log.error("an answer of %s that cannot be read is lost, because there is no room for it", provider)
            return None
        hold = hold_of(self._refreshers[provider].rotation, error.answer)
        wait = max(hold, backoff(state.failures + 1, self._tasks.jitter(), error.retry_after))
        sealed = SealedAnswer(
            sealer(unread_key(attempt.account), text), Failure(UNREADABLE_ANSWER, wait, unknown=error.outcome_unknown)
        )
        await self._keeper.keep(attempt, (), sealer, started=started, actor=actor, unread=sealed)
        _log.error("an answer of %s cannot be read, and is kept (attempt %s)", provider, attempt.attempt_id.hex)
        return wait

    async def _is_full(self) -> bool:
        try:
            return (await count_kept(self._pages)).total() >= MOST_KEPT
        except VaultError:
            return False  # the database does not answer; the journal keeps the answer
