"""ChangeWatch: tells a process which rows other processes have changed."""

from collections.abc import Callable
from typing import Protocol

from vault_domain.entities.account import TokenKey


class ChangeHearer(Protocol):
    """Is told about changes, each after its commit."""

    def row_changed(self, mark: str, value: str) -> None:
        """Hear that one row with this mark was changed.

        Several rows may have the same mark, and the hearer cannot tell which of them was changed. So it must count all
        of them as changed, except a remembered row that holds the new value already.

        Args:
            mark: the changed row's mark; see `ChangeWatch.mark`.
            value: the beginning of the hexadecimal id of the value that the changed row holds now; empty if the row was
                deleted, or its value became invalid or suspect.
        """

    def tenants_changed(self, concerns: Callable[[str], bool]) -> None:
        """Hear that any row of some tenants may have changed; ``concerns`` returns True for their ids."""

    def anything_changed(self) -> None:
        """Hear that rows may have changed, without knowing which rows."""


class ChangeWatch(Protocol):
    """Watches the changes of one database."""

    def is_current(self) -> bool:
        """Return whether the hearer has been told of every committed change, except for changes of the last moment.

        The vault calls this for each read that memory answers, so a call must take only microseconds.
        """

    def mark(self, key: TokenKey) -> str | None:
        """Return the mark of a row, which other rows may share; None if the hearer is not told of single rows."""
