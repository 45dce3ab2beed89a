"""RefreshJournal: keeps a provider's answer while the database is away."""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from vault_domain.entities.token import TokenWrite
from vault_domain.ports.refresh_ledger import Attempt


class JournalError(Exception):
    """An entry could not be written: no journal, a full disk, no permission. It never leaves the vault."""


@frozen
class JournalEntry:
    """A provider's answer, sealed, and the attempt that it belongs to."""

    attempt: Attempt
    writes: tuple[TokenWrite, ...]
    actor: str | None = None


class RefreshJournal(Protocol):
    """Durable and private to this host; what it holds is sealed for its place."""

    async def write(self, entry: JournalEntry) -> None:
        """Keep an entry durably; writing it again replaces it.

        Raises:
            JournalError: it is not kept.
        """

    async def entries(self) -> Sequence[JournalEntry]:
        """Return what is kept; what cannot be read is set aside and logged."""

    async def remove(self, entry: JournalEntry) -> None:
        """Forget an entry; one that is gone already is no error."""
