"""ImportRepository: takes tokens from another system in batches and never puts an old one over a newer one."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from vault_domain.entities.account import TokenKey
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.ports.change import Change


class ImportRun(Protocol):
    """One import: it knows the rows that it stored itself."""

    async def write(
        self, writes: Sequence[ImportedWrite], *, overwrite: bool, actor: str | None
    ) -> Change[list[ImportOutcome]]:
        """Store a batch in one transaction, and an event ``token_imported`` for each row that was stored.

        A key that holds nothing is stored under. A row of this very import that nobody has changed since is replaced
        where ``updated_at`` is later and in the past, and counts as SKIPPED then, as it would have had the rows come
        in the other order. With ``overwrite`` everything else is replaced; otherwise it is SKIPPED. What is replaced
        gets a new id and begins at generation 1, as if it had been deleted and stored again, and its event has the
        code ``replaced``. Times that lie in the future become the present, but for `expires_at`.

        Args:
            writes: each key at most once.
            overwrite: whether to replace what other writers stored.
            actor: for the audit log.

        Returns:
            The outcomes in the order of ``writes``.

        Raises:
            DataKeyInactiveError: a value is sealed under a key that is not active; nothing was written.
        """


class ImportRepository(Protocol):
    """Where imports go."""

    def begin(self, source: str | None) -> ImportRun:
        """Begin an import.

        Args:
            source: names what is imported; another run of the same source knows the rows of this one. None: nobody
                will know them.
        """

    async def existing(self, keys: Sequence[TokenKey]) -> AbstractSet[TokenKey]:
        """Return those of these (distinct) keys that hold a token."""
