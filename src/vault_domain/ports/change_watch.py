"""ChangeWatch: tells a process which rows other processes have changed."""

from collections.abc import Callable
from typing import Protocol

from vault_domain.entities.account import TokenKey


class ChangeHearer(Protocol):
    """Is told about changes, each after its commit."""

    def row_changed(self, mark: str, value: str) -> None:
        """Hear that a row was changed, together with all other rows that have the same mark.

        Args:
            mark: the row's mark; see `ChangeWatch.mark`.
            value: the beginning of the hexadecimal id of the value that is stored now; empty if the row was deleted,
                or its value became invalid or suspect.
        """

    def tenants_changed(self, concerns: Callable[[str], bool]) -> None:
        """Hear that any row of a tenant may have changed if ``concerns`` returns True for the tenant's id."""

    def anything_changed(self) -> None:
        """Hear that any rows may have changed; it is not known which."""


class ChangeWatch(Protocol):
    """Watches the changes of one database."""

    def is_current(self) -> bool:
        """Return whether every committed change has been told to the hearer, except for those of the last moment.

        It is called for each read that memory answers, so it takes microseconds.
        """

    def mark(self, key: TokenKey) -> str | None:
        """Return the mark of a row, which other rows may share; None if changes are not told row by row."""
