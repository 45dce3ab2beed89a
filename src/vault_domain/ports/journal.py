"""RefreshJournal: keeps a provider's answer until the database has stored it."""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from vault_domain.entities.attempt import Attempt, SealedAnswer
from vault_domain.entities.token import SealedToken, TokenWrite


class JournalError(Exception):
    """The journal could not store an entry (no journal, full disk, no permission). The error never leaves the vault."""


class NoJournalError(JournalError):
    """There is no journal."""


@frozen
class JournalEntry:
    """A provider's answer, sealed, and the attempt that it belongs to.

    Attributes:
        attempt: the attempt that got the answer.
        writes: the sealed tokens of the answer.
        actor: who asked for the refresh, for the audit log.
        problem: None, or an error code if the refresh token that replaced the spent credential cannot be stored. The
            commit then marks the spent credential invalid with this code.
        unread: the whole answer instead of its tokens, because it could not be read; then ``writes`` is empty.
        seal: proves that the entry is as the vault wrote it; None before the entry is sealed.
    """

    attempt: Attempt
    writes: tuple[TokenWrite, ...]
    actor: str | None = None
    problem: str | None = None
    seal: SealedToken | None = None
    unread: SealedAnswer | None = None


class RefreshJournal(Protocol):
    """Keeps providers' answers durably on this machine; the tokens of an answer are sealed."""

    async def write(self, entry: JournalEntry) -> None:
        """Store an entry durably; writing the entry of the same attempt again replaces it.

        Cancelling the caller does not lose the entry, because writing begins before anything is awaited, and the
        cancellation is raised only after the entry is stored. The time for writing is limited.

        Raises:
            JournalError: the entry could not be stored, or was not stored in time. In the second case, the write may
                still succeed later.
        """

    async def entries(self) -> Sequence[JournalEntry]:
        """Return the stored entries; log and leave out unreadable entries, but do not delete them."""

    async def remove(self, entry: JournalEntry) -> None:
        """Delete an entry; an entry that is already gone is no error."""

    async def examine(self) -> str | None:
        """Return the cause for which entries cannot be stored now; None if they can, or if there is no journal."""
