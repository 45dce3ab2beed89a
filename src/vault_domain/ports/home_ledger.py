"""HomeLedger: records in the database where it lives, so that a copy of the database can be told from the original."""

from __future__ import annotations

from typing import Protocol

from vault_domain.entities.home import Home
from vault_domain.ports.change import Change


class HomeLedger(Protocol):
    """Keeps the home of one database. A copy of the database has the original's record."""

    async def look(self) -> tuple[Home | None, Home]:
        """Return the recorded home, or None if there is none, and where the database is now.

        The second home has no deployment, because the database does not know the configured one.
        """

    async def record(self, home: Home, instead: Home | None) -> None:
        """Record a home, unless the database has another record than ``instead``; None: unless it has any record."""

    async def adopt(self, home: Home, *, actor: str | None) -> Change[None]:
        """Record a home in place of any other, and write the event ``vault_adopted``."""
