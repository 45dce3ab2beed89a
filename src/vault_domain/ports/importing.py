"""ImportRepository: stores tokens of another system in batches; in one import, no older value replaces a newer one."""

from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from vault_domain.entities.account import TokenKey
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites

StoreBatch = Callable[[], Awaitable[Change[list[ImportOutcome]]]]
"""Stores a batch of values in one transaction; see `ImportRun.prepare`. It is called at most once.

It raises DataKeyInactiveError if a value is sealed under a data key that is not active; nothing was written then.
"""


class ImportRun(Protocol):
    """One import; it recognizes the rows that it, or an earlier run of the same ``source``, has stored."""

    async def prepare(self, writes: LateWrites[ImportedWrite], *, overwrite: bool, actor: str | None) -> StoreBatch:
        """Seal a batch; return a function that stores it and appends an event ``token_imported`` for each stored row.

        The next batch may be prepared while this one is stored.

        - The key holds nothing: the value is stored, and the outcome is IMPORTED.
        - The key holds a row that this import recognizes: the value replaces the stored one only if the row still
          has the value that the import gave it, and if the ``updated_at`` of the write is later than the row's and
          before the present. Replaced or not, the outcome is SKIPPED, so that the counts do not depend on the order of
          the imported rows.
        - The key holds any other row: if ``overwrite`` is True, the value replaces the stored one, and the outcome is
          REPLACED; otherwise nothing is stored, and the outcome is SKIPPED.

        A token that replaces another gets a new id and begins at generation 1, as if the other had been deleted first.
        Its event has the code ``replaced``. Times in the future, except `expires_at`, become the present time.

        The stored `last_refreshed_at` is that of the write. If the write has none:

        - The key held nothing: no `last_refreshed_at` is stored.
        - The value replaces a row that this import recognizes: the row's `last_refreshed_at` stays.
        - The value replaces any other row: the present time is stored.

        Args:
            writes: each key at most once; there may be none.
            overwrite: whether to replace what other writers stored.
            actor: who imports, for the audit log.

        Returns:
            The function. Its result is the outcomes in the order of the keys.
        """


class ImportRepository(Protocol):
    """Begins imports, and finds out which keys already hold a token."""

    def begin(self, source: str | None) -> ImportRun:
        """Begin an import.

        Args:
            source: the name of the imported data; a later import with the same name recognizes the rows of this import.
                None: no later import recognizes these rows.
        """

    async def existing(self, keys: Sequence[TokenKey]) -> AbstractSet[TokenKey]:
        """Return the subset of these distinct keys that hold a token."""
