"""The floors: what a host would write by hand with the bare driver, on a connection that it holds."""

from __future__ import annotations

from typing import Any

import psycopg

from vault_adapters import TokenKey

Connection = psycopg.AsyncConnection[Any]

SELECT_VALUE = """
SELECT blob, status, expires_at FROM token_vault.token
WHERE tenant_id = %b AND provider = %b AND kind = %b AND identifier = %b
"""

SELECT_ROW = """
SELECT id, status, error_code, expires_at, scopes, generation, last_refreshed_at, lifetime, created_at, updated_at,
       value_id, data_key_id, blob, statement_timestamp()
FROM token_vault.token
WHERE tenant_id = %b AND provider = %b AND kind = %b AND identifier = %b
"""


def parts(key: TokenKey) -> tuple[str, str, str, str]:
    """Return a key as parameters."""
    return key.tenant_id, key.provider, key.kind.value, key.identifier or ""


async def fetch_one(connection: Connection, sql: str, parameters: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Run one prepared statement with binary parameters and results."""
    cursor = psycopg.AsyncCursor(connection)
    await cursor.execute(sql, parameters, prepare=True, binary=True)
    return await cursor.fetchone()


async def fetch_all(connection: Connection, sql: str, parameters: Any) -> list[tuple[Any, ...]]:
    """Run one prepared statement with binary parameters and results; return all rows."""
    cursor = psycopg.AsyncCursor(connection)
    await cursor.execute(sql, parameters, prepare=True, binary=True)
    return await cursor.fetchall()
