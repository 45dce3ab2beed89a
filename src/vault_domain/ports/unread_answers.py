"""UnreadAnswers: keeps answers of providers that could not be read, until something can read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt, Failure
from vault_domain.entities.token import SealedToken
from vault_domain.ports.change import Change


@frozen
class SealedAnswer:
    """An answer that could not be read, sealed.

    Attributes:
        sealed: the sealed answer, with the references that its attempt needs.
        failure: the failure of the attempt, which is recorded when the answer is stored.
    """

    sealed: SealedToken
    failure: Failure


@frozen
class KeptAnswer:
    """An answer that is kept for an account.

    Attributes:
        account: the account.
        attempt_id: id of the attempt that got the answer.
        sealed: the sealed answer.
        kept_at: time of storing, UTC.
    """

    account: Account
    attempt_id: UUID
    sealed: SealedToken
    kept_at: datetime


class UnreadAnswers(Protocol):
    """Keeps at most one answer for an account. Deleting the account, or erasing its tenant, deletes the answer."""

    async def keep(self, attempt: Attempt, sealed: SealedToken, *, actor: str | None) -> Change[bool]:
        """Keep an answer in place of an earlier one of its account, and append the event ``answer_kept``.

        An answer of the same attempt is replaced without an event.

        Returns:
            False if the credential was replaced or deleted meanwhile; then nothing is kept.

        Raises:
            DataKeyInactiveError: the answer is sealed under a data key that is not active.
        """

    async def kept(self, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[KeptAnswer]:
        """Return up to ``limit`` kept answers, the oldest first.

        Args:
            after: ``kept_at`` and ``attempt_id`` of the last answer of the page before; None: from the first one.
            limit: largest number of answers.
        """

    async def count(self) -> Mapping[str, int]:
        """Return the number of kept answers of each provider that has any."""

    async def drop(self, answer: KeptAnswer) -> None:
        """Delete a kept answer; if it was replaced by that of another attempt, do nothing."""
