"""Upkeep: what a vault keeps besides accounts, keys and clients, and the care of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt, Failure
from vault_domain.entities.choice import Choice
from vault_domain.entities.token import SealedToken
from vault_domain.ports.change import Change


class StateUse(Choice):
    """The result of using a state: this was its first use, it was used before, or it has expired."""

    FIRST = "first"
    USED = "used"
    EXPIRED = "expired"


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


class Upkeep(Protocol):
    """Keeps used states and unread answers, and takes care of the database.

    The record of a used state is kept until the state expires; it holds neither the tenant nor the content of the
    state. Of each account, at most one answer of its provider that could not be read is kept. Deleting the account, or
    erasing its tenant, deletes the answer.
    """

    async def ping(self) -> None:
        """Return normally if the database answers, takes writes, and has the schema; read no token.

        If a write would wait for other writers, a store may ask only whether it has the right to write.

        Raises:
            StorageError: the database does not answer or takes no writes.
            SchemaOutdatedError: the schema is missing or older than this release.
        """

    async def use_state(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Use a state, in one transaction; of several callers, exactly one gets FIRST.

        A state expires at ``expires_at`` by the store's time. The same transaction removes some expired records.

        Args:
            state_id: 32 bytes that name the state.
            expires_at: the time from which the state is no longer valid, UTC.
        """

    async def keep_answer(self, attempt: Attempt, sealed: SealedToken, *, actor: str | None) -> Change[bool]:
        """Keep an answer in place of an earlier one of its account, and append the event ``answer_kept``.

        An answer of the same attempt is replaced without an event.

        Returns:
            False if the credential was replaced or deleted meanwhile; then nothing is kept.

        Raises:
            DataKeyInactiveError: the answer is sealed under a data key that is not active.
        """

    async def kept_answers(self, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[KeptAnswer]:
        """Return up to ``limit`` kept answers, the oldest first.

        Args:
            after: ``kept_at`` and ``attempt_id`` of the last answer of the page before; None: from the first one.
            limit: largest number of answers.
        """

    async def count_answers(self) -> Mapping[str, int]:
        """Return the number of kept answers of each provider that has any."""

    async def drop_answer(self, answer: KeptAnswer) -> None:
        """Delete a kept answer; if it was replaced by that of another attempt, do nothing."""
