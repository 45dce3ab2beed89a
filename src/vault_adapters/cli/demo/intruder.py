"""Plays an intruder who has the database's file but not the secret, and reads and changes rows by SQL.

An intruder bypasses the vault, so this module uses a database driver. No other module outside of the stores uses one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from vault_domain import TokenKey

_READ = "SELECT * FROM token_vault_token WHERE tenant_id = ? AND provider = ? AND kind = ? AND identifier = ?"
_WRITE = (
    "UPDATE token_vault_token SET blob = ?, data_key_id = ? "
    "WHERE tenant_id = ? AND provider = ? AND kind = ? AND identifier = ?"
)


class Intruder:
    """Reads and changes rows by plain SQL.

    Args:
        database: the vault's file.
    """

    def __init__(self, database: Path) -> None:
        self._database = database

    def read(self, key: TokenKey) -> dict[str, Any]:
        """Return a row as the database holds it."""
        with self._connected() as connection:
            connection.row_factory = sqlite3.Row
            return dict(connection.execute(_READ, _place(key)).fetchone())

    def flip_a_bit(self, key: TokenKey) -> None:
        """Change one bit of a stored value."""
        row = self.read(key)
        changed = bytearray(row["blob"])
        changed[-1] ^= 1
        self._write(key, bytes(changed), row["data_key_id"])

    def move(self, source: TokenKey, target: TokenKey) -> None:
        """Copy one row's sealed value and data key id into another row."""
        row = self.read(source)
        self._write(target, row["blob"], row["data_key_id"])

    def occurrences(self, text: str) -> int:
        """Return how often a text occurs in the database's files, including the write-ahead log."""
        files = self._database.parent.glob(self._database.name + "*")
        return sum(file.read_bytes().count(text.encode()) for file in files)

    def _write(self, key: TokenKey, blob: bytes, data_key_id: bytes) -> None:
        with self._connected() as connection, connection:
            connection.execute(_WRITE, (blob, data_key_id, *_place(key)))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._database, timeout=30)) as connection:
            yield connection


def _place(key: TokenKey) -> tuple[str, str, str, str]:
    return key.tenant_id, key.provider, key.kind.value, key.identifier or ""
