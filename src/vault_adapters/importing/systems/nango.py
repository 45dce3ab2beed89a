"""Reads Nango's connections: from its tables, whose credentials may be encrypted, or from what its API returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from vault_adapters.importing.lines import read_lines
from vault_adapters.importing.records import Record
from vault_adapters.importing.systems.columns import as_moment, as_object
from vault_adapters.importing.systems.tables import Row, Tables
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.extra import fitting
from vault_domain.entities.imported import ImportFailure

Opened = Callable[[str, str, str], str | None]
"""Decrypts credentials from their text, IV and tag; returns None if they do not decrypt."""

_ENVIRONMENTS = "SELECT DISTINCT e.name FROM _nango_environments e JOIN _nango_connections c ON c.environment_id = e.id"
_ROWS = """
SELECT c.id, c.connection_id, c.provider_config_key, c.credentials, c.credentials_iv, c.credentials_tag,
    c.connection_config, c.created_at, c.updated_at, u.end_user_id
FROM _nango_connections c
JOIN _nango_environments e ON e.id = c.environment_id
LEFT JOIN end_users u ON u.id = c.end_user_id
WHERE c.deleted IS NOT TRUE AND e.name = ?
ORDER BY c.id
"""
_COUNT = "SELECT count(*) AS rows FROM _nango_connections"

_Found = Record | ImportFailure


def count(tables: Tables) -> int:
    """Return the number of rows that `read` reads, or more."""
    return int(next(tables.select(_COUNT))["rows"])


def reader(opened: Opened | None) -> Callable[[Tables, str | None], Iterator[_Found]]:
    """Return a function that reads the tables; ``opened`` is None if there is no key."""

    def read(tables: Tables, only: str | None) -> Iterator[_Found]:
        if only is None:
            names = [row["name"] for row in tables.select(_ENVIRONMENTS)]
            if len(names) > 1:
                raise InvalidInputError("the tables hold several environments: choose one, such as --only prod")
            only = names[0] if names else ""
        for row in tables.select(_ROWS, only):
            yield from _of_row(row, opened)

    return read


def read_export(stream: BinaryIO) -> Iterator[_Found]:
    """Read JSON lines: the answers of ``GET /connection/{id}``, one a line."""
    for line in read_lines(stream):
        if isinstance(line, ImportFailure):
            yield line
            continue
        if not line.text.strip():
            continue
        connection = as_object(line.text)
        if connection is None:
            yield ImportFailure(line.number, "not_an_object")
            continue
        user = as_object(connection.get("end_user")) or {}
        yield from _tokens(line.number, connection, as_object(connection.get("credentials")), user.get("id"))


def _of_row(row: Row, opened: Opened | None) -> Iterator[_Found]:
    credentials = as_object(row["credentials"])
    sealed = None if credentials is None else credentials.get("encrypted_credentials")
    if sealed is not None:
        if opened is None:
            yield ImportFailure(row["id"], "key_missing")
            return
        parts = (sealed, row["credentials_iv"], row["credentials_tag"])
        text = opened(*parts) if all(isinstance(part, str) for part in parts) else None
        if text is None:
            yield ImportFailure(row["id"], "unreadable_value")
            return
        credentials = as_object(text)
    yield from _tokens(row["id"], row, credentials, row["end_user_id"])


def _tokens(
    number: int, connection: Mapping[str, Any], credentials: Mapping[str, Any] | None, user: object
) -> Iterator[_Found]:
    """Yield a connection's tokens: the tenant is its end user, or else itself."""
    if credentials is None:
        yield ImportFailure(number, "invalid_credentials")
        return
    place = {
        "tenant_id": user or connection.get("connection_id"),
        "provider": connection.get("provider_config_key"),
        "identifier": connection.get("connection_id"),
        "created_at": as_moment(connection.get("created_at")),
        "updated_at": as_moment(connection.get("updated_at")),
    }
    kind = credentials.get("type")
    if kind == "API_KEY":
        yield Record(number, place | {"kind": "api_key", "value": credentials.get("apiKey")})
    elif kind in ("OAUTH2", "MCP_OAUTH2", "MCP_OAUTH2_GENERIC"):
        raw = as_object(credentials.get("raw")) or {}
        values = {
            "kind": "access_token",
            "value": credentials.get("access_token"),
            "expires_at": as_moment(credentials.get("expires_at")),
            "scopes": raw.get("scope"),
            "extra": fitting(as_object(connection.get("connection_config")) or {}),
        }
        yield Record(number, place | values)
        if credentials.get("refresh_token"):
            yield Record(number, place | {"kind": "refresh_token", "value": credentials["refresh_token"]})
    else:
        yield ImportFailure(number, "unsupported_credentials")
