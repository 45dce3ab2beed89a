"""The columns of tokens and accounts that `AccountStates` compares and writes, as parts of statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vault_adapters.stores.columns import PLAIN, TOKEN_ALONE
from vault_adapters.stores.postgres.shaping import row_of
from vault_domain.entities.account import TokenKind

_ROW = {
    "label": "text",
    "credential_value_id": "uuid",
    "attempt_id": "uuid",
    "committed_attempt_id": "uuid",
    "lease_until": "timestamptz",
    "sent_at": "timestamptz",
    "failures": "bigint",
    "next_attempt_at": "timestamptz",
    "unknown_since": "timestamptz",
    "error_code": "text",
    "refused_since": "timestamptz",
    "refused_for": "bigint",
    "endpoint": "bytea",
    "due_at": "timestamptz",
}
"""The columns of an account's row besides its key, with their types."""

_TOKEN = {
    "kind": "text",
    "id": "uuid",
    "value_id": "uuid",
    "status": "text",
    "error_code": "text",
    "expires_at": "timestamptz",
    "lifetime": "bigint",
    "scopes": "text",
    "generation": "bigint",
    "last_refreshed_at": "timestamptz",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "suspect_since": "timestamptz",
    "rejected_at": "timestamptz",
    "noted_value_id": "uuid",
    **{column.name: column.type for column in PLAIN},
}
"""The columns of a token besides its account and its sealed value, with their types."""

_VALUE = {"data_key_id": "bytea", "blob": "bytea", "extra": "bytea"}
"""The columns of a sealed value. In statements they are the part ``sealed``; see `shaping`."""

BINARY_HASH = "pg_catalog.hash_record_extended(ROW({columns}), 0)"
TEXT_HASH = "pg_catalog.hashtextextended(ROW({columns})::text, 0)"
"""The hash of a row's columns on PostgreSQL 13, which cannot hash a record."""


_VERSION_TEXT = "l.kind::text || ' ' || l.version::text"

_SAME_TOKENS = f"""coalesce(pg_catalog.string_agg({_VERSION_TEXT}, ',' ORDER BY l.kind::text COLLATE "C"), '')
            = %(versions)b::text"""
"""Whether the tokens ``l`` are those that were loaded; see `versions_text`."""


def versions_text(versions: Mapping[TokenKind, int]) -> str:
    """Return the versions of tokens as text: each token's kind and version, sorted by the kinds."""
    return ",".join(f"{kind} {version}" for kind, version in sorted((k.value, v) for k, v in versions.items()))


def versions_of(text: str) -> dict[TokenKind, int]:
    """Return the versions from their text."""
    pairs = (each.split(" ") for each in text.split(",") if each)
    return {TokenKind(kind): int(version) for kind, version in pairs}


def state_fragments(row_hash: str) -> dict[str, str]:
    """Return the parts of the statements of ``account_states.sql``, by name.

    The hashes name the columns one by one, so that a column that the host has added does not count, whatever its type.

    Args:
        row_hash: `BINARY_HASH`, or `TEXT_HASH` if the server lacks that function.
    """
    return {
        "token_hash": row_hash.format(columns=", ".join((*TOKEN_ALONE, "t.data_key_id", "t.noted_value_id"))),
        "same_tokens": _SAME_TOKENS,
        "version_text": _VERSION_TEXT,
        "account_hash": row_hash.format(columns=", ".join(f"a.{name}" for name in _ROW)),
        "row_columns": ", ".join(("tenant_id", "provider", "identifier", *_ROW)),
        "row_values": ", ".join(
            ("%(tenant_id)b", "%(provider)b", "%(identifier)b", *(f"%({name})b::{kind}" for name, kind in _ROW.items()))
        ),
        "row_settings": ", ".join(f"{name} = %({name})b::{kind}" for name, kind in _ROW.items()),
        "written_columns": _with_value(", ".join(_TOKEN), ", ".join(_VALUE)),
        "written_settings": _with_value(_settings(_TOKEN), _settings(_VALUE)),
        "written_row": _with_value(row_of(_TOKEN, "w"), row_of(_VALUE, "w")),
    }


def _with_value(columns: str, value: str) -> str:
    return f"{columns}/*sealed*/, {value}/*end sealed*/"


def _settings(columns: Iterable[str]) -> str:
    return ", ".join(f"{name} = w.{name}" for name in columns if name != "kind")
