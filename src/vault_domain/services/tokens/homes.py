"""Keeps the copy of a database from presenting the original's refresh tokens, which would revoke them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from attrs import evolve

from vault_domain.entities.causes import NOT_HOME
from vault_domain.entities.errors import RefreshFailedError, StorageError
from vault_domain.rules.homes import is_home

if TYPE_CHECKING:
    from vault_domain.entities.account import Account
    from vault_domain.entities.home import Home
    from vault_domain.ports.event_sink import EventSink
    from vault_domain.ports.home_ledger import HomeLedger

_log = logging.getLogger(__name__)

_ELSEWHERE = (
    "this database is a copy, or has moved: it is read, but nothing is refreshed here, until `token-vault adopt` says"
    " that this is its home"
)


class HomeService:
    """Tells whether the vault may send stored tokens to providers.

    Args:
        ledger: the database's home; None: a store that does not know where it lives is always at home.
        sink: receives the audit events.
        deployment: the configured name of the installation, or None.
    """

    def __init__(self, ledger: HomeLedger | None, sink: EventSink, deployment: str | None = None) -> None:
        self._ledger = ledger
        self._sink = sink
        self._deployment = deployment
        self._is_home = ledger is None

    async def settle(self) -> None:
        """Find out whether the database is at home; one without a record is at home here from now on.

        Raises:
            StorageError: the store could not be read.
        """
        if await self.is_home():
            return
        _log.warning("%s", _ELSEWHERE)

    async def is_home(self) -> bool:
        """Return whether the database is at home. Once it is, no later call asks the store."""
        if not self._is_home and self._ledger is not None:
            self._is_home = await self._look(self._ledger)
        return self._is_home

    async def check(self, account: Account | None = None) -> None:
        """Check that the database is at home.

        Raises:
            RefreshFailedError: it is not (``not_home``).
            StorageError: the store could not be read.
        """
        if not self._is_home and not await self.is_home():
            raise RefreshFailedError(_ELSEWHERE, account=account, reason=NOT_HOME)

    async def adopt(self, *, actor: str | None) -> bool:
        """Make this place the home; return whether another place was the home before."""
        if self._ledger is None:
            return False
        was_home = await self.is_home()
        _, found = await self._ledger.look()
        change = await self._ledger.adopt(evolve(found, deployment=self._deployment), actor=actor)
        self._sink.publish(change.events)
        self._is_home = True
        return not was_home

    async def _look(self, ledger: HomeLedger) -> bool:
        recorded, found = await ledger.look()
        found = evolve(found, deployment=self._deployment)
        if recorded is None and await _record(ledger, found, None):
            recorded, _ = await ledger.look()  # another process may have recorded another deployment meanwhile
        if recorded is None:
            return True
        if not is_home(recorded, found):
            return False
        current = evolve(found, places=found.places or recorded.places)
        if current != recorded:
            await _record(ledger, current, recorded)
        return True


async def _record(ledger: HomeLedger, home: Home, instead: Home | None) -> bool:
    """Record a home, if the store takes writes; return whether it does."""
    try:
        await ledger.record(home, instead)
    except StorageError as error:
        _log.info("where this database lives could not be recorded (%s)", error.reason or error.code)
        return False
    return True
