"""Records on SQLite where the database lives: in which file, on which machine and under which path."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from vault_adapters.stores.home_rows import home_columns, home_of
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import MEMORY, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import to_micros
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.home import Home
from vault_domain.ports.change import Change

_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")


class SqliteHomeLedger:
    """Implements `HomeLedger`. A database in memory has no place, because nobody can copy it."""

    def __init__(self, database: SqliteDatabase, queries: Queries, path: str) -> None:
        self._database = database
        self._queries = queries
        self._places = () if path == MEMORY else places_of(Path(path))

    async def look(self) -> tuple[Home | None, Home]:
        """Return the recorded home, and where the database is."""
        rows = await self._database.fetch(self._queries["get_home"])
        return next((home_of(*row) for row in rows), None), Home(self._places)

    async def record(self, home: Home, instead: Home | None) -> None:
        """Record a home in place of another record, or of none."""

        async def work(transaction: Transaction) -> None:
            parameters = home_columns(home, instead) | {"now": to_micros(transaction.now)}
            await transaction.execute(self._queries["record_home"], parameters)

        await self._database.transact(work)

    async def adopt(self, home: Home, *, actor: str | None) -> Change[None]:
        """Record a home in place of any other, and append the event."""

        async def work(transaction: Transaction) -> AuditEvent:
            parameters = home_columns(home, anyway=True) | {"now": to_micros(transaction.now)}
            await transaction.execute(self._queries["record_home"], parameters)
            event = AuditEvent(AuditAction.VAULT_ADOPTED, transaction.now, actor=actor)
            await append_events(transaction, self._queries, [event])
            return event

        return Change(None, (await self._database.transact(work),))


def places_of(path: Path) -> tuple[str, ...]:
    """Return the names of a file's place: the file on its file system, and the path on this machine.

    A file that is renamed stays the same file. A file that a backup replaced keeps its path. A copy has neither, unless
    it has the same path on a machine that says that it is the same. The second name is left out if the machine has no
    id, as in many containers.
    """
    with suppress(OSError):
        file, volume = path.stat(), os.statvfs(path)
        here = f"file:{volume.f_fsid:x}:{file.st_ino:x}"
        machine = _machine_id()
        if machine is None:
            return (here,)
        spot = f"{machine}\n{platform.node()}\n{path.resolve()}"
        return here, f"path:{hashlib.sha256(spot.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"
    return ()


def _machine_id() -> str | None:
    if sys.platform != "linux":
        return f"{uuid.getnode():x}"
    for name in _MACHINE_IDS:
        with suppress(OSError):
            text = Path(name).read_text(encoding="ascii", errors="replace").strip()
            if text and text != "uninitialized":
                return text
    return None
